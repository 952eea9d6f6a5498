// Hosted test of the device models: each check names the behaviour Linux relies on.
#include "devices.h"

#include <stdio.h>
#include <stdlib.h>

static int checks, failures;
static char console_text[16];
static unsigned console_length;

static void check(bool ok, const char *what)
{
    checks++;
    if (!ok) {
        failures++;
    }
    printf("%sok %d - %s\n", ok ? "" : "not ", checks, what);
}

static void console(uint8_t byte)
{
    if (console_length < sizeof console_text) {
        console_text[console_length++] = (char)byte;
    }
}

static struct devices d;

static bool pending(void)
{
    return pic_vector(&d) >= 0;
}

// The vector the processor gets, -1 without a request.
static int acknowledge(void)
{
    int vector = pic_vector(&d);
    pic_acknowledge(&d);
    return vector;
}

static void out(uint16_t port, uint8_t value)
{
    devices_out(&d, port, value);
}

static uint8_t in(uint16_t port)
{
    return (uint8_t)devices_in(&d, port, 1);
}

// As Linux sets them up: vectors 30h and 38h.
static void start(void)
{
    devices_init(&d, 1193182 * 10, 1000, console); // ten guest ticks a timer clock
    out(0x20, 0x11);
    out(0x21, 0x30);
    out(0x21, 0x04);
    out(0x21, 0x01);
    out(0xa0, 0x11);
    out(0xa1, 0x38);
    out(0xa1, 0x02);
    out(0xa1, 0x01);
    out(0x21, 0x00);
    out(0xa1, 0x00);
    console_length = 0;
}

static void periodic_timer(unsigned count)
{
    out(0x43, 0x34);
    out(0x40, (uint8_t)count);
    out(0x40, (uint8_t)(count >> 8));
}

static void test_pic(void)
{
    start();
    out(0x21, 0xfb);
    check(in(0x21) == 0xfb, "8259: the mask reads back");
    out(0xa1, 0xfe);
    check(in(0x21) == 0xfb && d.unknown_writes == 0, "8259: the second one is silently absent");
    out(0x21, 0xff);
    periodic_timer(100);
    devices_set_time(&d, 2000);
    check(!pending(), "8259: a masked request does not interrupt");
    out(0x21, 0x00);
    check(pending(), "8259: unmasking lets a latched request through");
    check(acknowledge() == 0x30, "8259: the vector is base plus line");
    check(!pending(), "8259: acknowledging takes the request");
    devices_set_time(&d, 3000);
    check(!pending(), "8259: a line in service holds its own next request back");
    out(0x20, 0x61);
    check(!pending(), "8259: the EOI of another line changes nothing");
    out(0x20, 0x60);
    check(pending(), "8259: its own EOI lets the next request through");
    check(acknowledge() == 0x30, "8259: and it is the same line");
    out(0x20, 0x60);
    check(acknowledge() == -1, "8259: without a request there is nothing to acknowledge");
    devices_set_time(&d, 4000);
    check(pending(), "8259: and that put nothing in service");

    start();
    out(0x21, 0xfe);
    out(0x3f8 + 4, 0x08);
    out(0x3f8 + 1, 0x02);
    check(!pending(), "8259: line 4 masked, line 0 idle");
    periodic_timer(100);
    devices_set_time(&d, 2000);
    out(0x21, 0x00);
    check(acknowledge() == 0x30, "8259: the lower line goes first");
    check(!pending(), "8259: a higher line waits for the EOI of the lower one");
    out(0x20, 0x60);
    check(acknowledge() == 0x34, "8259: then it is delivered");
    devices_set_time(&d, 3000);
    check(acknowledge() == 0x30, "8259: a lower line interrupts the service of a higher one");
    out(0x20, 0x11);
    out(0x21, 0x77);
    out(0x21, 0x04);
    out(0x21, 0x01);
    check(in(0x21) == 0, "8259: initialisation words do not reach the mask");
    devices_set_time(&d, 4000);
    check(acknowledge() == 0x70, "8259: the low bits of the vector are the line's");
}

static void test_pit(void)
{
    start();
    check(devices_next_event(&d) == UINT64_MAX, "8254: no event before a count is loaded");
    out(0x43, 0x34);
    out(0x40, 100);
    check(devices_next_event(&d) == UINT64_MAX, "8254: nor after half of one");
    out(0x40, 0);
    check(devices_next_event(&d) == 2000, "8254: mode 2 fires after one period");
    devices_set_time(&d, 1999);
    check(!pending(), "8254: not a tick early");
    devices_set_time(&d, 2000);
    check(pending(), "8254: on time");
    check(devices_next_event(&d) == 3000, "8254: mode 2 fires again");
    devices_set_time(&d, 5500);
    check(devices_next_event(&d) == 6000, "8254: missed periods are merged, the phase is kept");

    start();
    out(0x43, 0x38);
    out(0x40, 0x2c);
    out(0x40, 0x01);
    check(devices_next_event(&d) == 4000, "8254: mode 4 fires once after 300 clocks");
    devices_set_time(&d, 4000);
    check(pending() && devices_next_event(&d) == UINT64_MAX, "8254: and not again");
    acknowledge();
    out(0x20, 0x60);
    out(0x40, 0x64);
    out(0x40, 0x00);
    check(devices_next_event(&d) == 5000, "8254: a new count without a control word rearms it");
    out(0x43, 0xb0);
    check(devices_next_event(&d) == 5000, "8254: other channels are not this one");
    check(in(0x42) == 0, "8254: the one that Linux may measure the TSC by stands still at 0");
    out(0x43, 0x30);
    check(devices_next_event(&d) == UINT64_MAX, "8254: a control word stops the count");
    periodic_timer(0);
    check(devices_next_event(&d) == 4000 + 65536 * 10, "8254: a count of 0 is 65536");

    devices_init(&d, 1193182 * 3 / 2, 0, console);
    periodic_timer(3);
    check(devices_next_event(&d) == 5, "8254: an event between two guest ticks is at the later");
}

static void test_uart(void)
{
    start();
    out(0x3fb, 0x80);
    out(0x3f8, 0x01);
    out(0x3f9, 0x02);
    out(0x3fb, 0x03);
    check(console_length == 0 && in(0x3f9) == 0, "16550: behind DLAB is the speed");
    out(0x3f9, 0xff);
    check(in(0x3f9) == 0x0f, "16550: four bits of IER exist");
    out(0x3f9, 0);
    out(0x3fc, 0x1a);
    check((in(0x3fe) & 0xf0) == 0x90, "16550: loopback brings OUT2 and RTS back as DCD and CTS");
    out(0x3f8, 'x');
    check(console_length == 0, "16550: nothing leaves in loopback");
    out(0x3fc, 0);
    check((in(0x3fa) & 0xc0) == 0, "16550: no FIFO before it is switched on");
    out(0x3fa, 0x01);
    check((in(0x3fa) & 0xc0) == 0xc0, "16550: FIFO found");
    check(in(0x3fb) == 0x03, "16550: LCR reads back");
    out(0x3f8, 'h');
    out(0x3f8, 'i');
    check(console_length == 2 && console_text[0] == 'h' && console_text[1] == 'i',
          "16550: bytes reach the console in order");
    check((in(0x3fd) & 0x61) == 0x60, "16550: always ready to send, nothing received");

    out(0x3f9, 0x02);
    check(!pending(), "16550: OUT2 gates the interrupt");
    out(0x3fc, 0x08);
    check(pending() && acknowledge() == 0x34, "16550: empty transmitter interrupts");
    out(0x20, 0x64);
    check((in(0x3fa) & 0x0f) == 0x02, "16550: IIR names the cause");
    check((in(0x3fa) & 0x0f) == 0x01, "16550: reading it answers the request");
    out(0x3f8, '!');
    check(pending(), "16550: each byte written asks for the next");
    acknowledge();
    out(0x20, 0x64);
    out(0x3f8, '!');
    check(pending(), "16550: with a new edge even if the last was not answered");
    acknowledge();
    out(0x20, 0x64);
    out(0x3fb, 0x03);
    check(!pending(), "16550: a request that stays up asks only once");
    out(0x3f9, 0x00);
    out(0x3f9, 0x02);
    check(pending(), "16550: switching the interrupt on raises it anew");
    check(in(0x2fd) == 0xff, "16550: there is no second port");
}

static void test_rest(void)
{
    start();
    out(0x70, 0x8d);
    check(in(0x71) == 0x80, "CMOS: battery good; the NMI bit is not part of the index");
    out(0x70, 10);
    check(!(in(0x71) & 0x80), "CMOS: no update in progress");
    out(0x70, 9);
    check(in(0x71) == 0x25, "CMOS: the year is 25");
    out(0x80, 0);
    check(d.unknown_writes == 0, "port 80h is nobody's, and not counted");
    check(devices_in(&d, 0xcfc, 4) == UINT32_MAX && d.unknown_reads == 1,
          "unknown ports read as ones in full width and are counted");
    devices_out(&d, 0xcf8, 0x80000000);
    check(d.unknown_writes == 1, "writes to them are counted");
    check(devices_in(&d, 0x21, 2) == 0xff00, "the upper byte of a wide access meets nobody");
    out(0x64, 0xd1);
    check(!d.reset, "other keyboard controller commands do nothing");
    out(0x64, 0xfe);
    check(d.reset, "keyboard controller: FEh resets");
}

int main(void)
{
    test_pic();
    test_pit();
    test_uart();
    test_rest();
    printf("1..%d\n", checks);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
