#include "devices.h"

// -- Interrupt controller (8259)
// Linux's driver writes to a second one as well and reads nothing back: as no device hangs on it,
// it is left out. So are level-triggered inputs, rotation, automatic EOI and reading IRR and ISR.

enum {
    PIC_TIMER = 0,
    PIC_UART = 4,
    PIC_ICW1 = 0x10,
    PIC_ICWS_AFTER_FIRST = 3,
    PIC_OCW2_COMMAND = 0xf8,
    PIC_OCW2_SPECIFIC_EOI = 0x60
};

static void pic_edge(struct pic *c, unsigned input)
{
    c->irr |= (uint8_t)(1u << input);
}

// The input to serve next, as a bit, 0 when there is none: the lowest number wins, and only over
// what is in service already.
static unsigned pic_next(const struct pic *c)
{
    unsigned wanted = c->irr & ~(unsigned)c->imr;
    unsigned lowest = wanted & (0 - wanted);
    return c->isr & (2 * lowest - 1) ? 0 : lowest;
}

int pic_vector(const struct devices *d)
{
    unsigned bit = pic_next(&d->pic);
    int input = 0;
    while (bit >> input > 1) {
        input++;
    }
    return bit ? d->pic.vector + input : -1;
}

void pic_acknowledge(struct devices *d)
{
    unsigned bit = pic_next(&d->pic);
    d->pic.irr &= (uint8_t)~bit;
    d->pic.isr |= (uint8_t)bit;
}

static void pic_command(struct pic *c, uint8_t value)
{
    if (value & PIC_ICW1) {
        *c = (struct pic){.init_left = PIC_ICWS_AFTER_FIRST};
    } else if ((value & PIC_OCW2_COMMAND) == PIC_OCW2_SPECIFIC_EOI) {
        c->isr &= (uint8_t)~(1u << (value & 7));
    }
}

static void pic_data(struct pic *c, uint8_t value)
{
    if (!c->init_left) {
        c->imr = value;
    } else if (c->init_left-- == PIC_ICWS_AFTER_FIRST) {
        c->vector = value & 0xf8; // the other two words are about the second controller and modes
    }
}

// -- Timer (8254)
// Of its three channels the first, which interrupts. Linux starts it periodic (mode 2) and soon
// changes to one shot at a time (mode 4). It is not read: the TSC is the better clock.

enum { PIT_HZ = 1193182, PIT_CONTROL_CHANNEL = 0xc0, PIT_CONTROL_PERIODIC = 0x04 };

static void pit_control(struct pit *c, uint8_t value)
{
    if (!(value & PIT_CONTROL_CHANNEL)) {
        *c = (struct pit){.periodic = (value & PIT_CONTROL_PERIODIC) != 0};
    }
}

static void pit_write(struct pit *c, uint64_t now, uint8_t value)
{
    c->second_write = !c->second_write;
    if (c->second_write) {
        c->low_byte = value;
        return;
    }
    c->period = c->low_byte | (uint64_t)value << 8;
    if (c->period == 0) {
        c->period = 0x10000;
    }
    c->start = now;
    c->fired = 0;
    c->counting = true;
}

uint64_t devices_next_event(const struct devices *d)
{
    const struct pit *c = &d->pit;
    if (!c->counting) {
        return UINT64_MAX;
    }
    return c->start + ((c->fired + 1) * c->period * d->tsc_hz + PIT_HZ - 1) / PIT_HZ;
}

void devices_set_time(struct devices *d, uint64_t now)
{
    struct pit *c = &d->pit;
    d->now = now;
    if (now >= devices_next_event(d)) {
        // Ticks that passed unseen are merged, as the interrupt controller would merge them.
        c->fired = (now - c->start) * PIT_HZ / d->tsc_hz / c->period;
        c->counting = c->periodic;
        pic_edge(&d->pic, PIC_TIMER);
    }
}

// -- Serial port (16550)
// It sends, in no time; nothing is ever received. The speed is accepted and ignored.

enum { UART_DATA, UART_IER, UART_IIR_FCR, UART_LCR, UART_MCR, UART_LSR, UART_MSR };
enum {
    UART_IER_THRE = 0x02,
    UART_IER_ALL = 0x0f, // Linux looks for the other four bits to tell chips apart
    UART_IIR_NONE = 0x01,
    UART_IIR_THRE = 0x02,
    UART_IIR_FIFO = 0xc0,
    UART_FCR_ENABLE = 0x01,
    UART_LCR_DLAB = 0x80, // the first two registers are the speed
    UART_MCR_DTR = 0x01,
    UART_MCR_RTS = 0x02,
    UART_MCR_OUT = 0x0c,
    UART_MCR_OUT2 = 0x08,
    UART_MCR_LOOP = 0x10,
    UART_MCR_ALL = 0x1f,
    UART_LSR_EMPTY = 0x60,
    UART_MSR_CONNECTED = 0xb0
};

static bool uart_requests(const struct uart *u)
{
    return (u->ier & UART_IER_THRE) && u->transmitter_empty;
}

// On a PC the interrupt output passes through a gate that OUT2 opens.
static void uart_update(struct devices *d)
{
    struct uart *u = &d->uart;
    bool line = uart_requests(u) && (u->mcr & UART_MCR_OUT2);
    if (line && !u->line) {
        pic_edge(&d->pic, PIC_UART);
    }
    u->line = line;
}

static void uart_write(struct devices *d, unsigned reg, uint8_t value)
{
    struct uart *u = &d->uart;
    if (reg <= UART_IER && (u->lcr & UART_LCR_DLAB)) {
        return;
    }
    switch (reg) {
    case UART_DATA:
        if (!(u->mcr & UART_MCR_LOOP)) {
            d->console(value);
        }
        // Sent at once: the request falls and rises again, which is the next edge.
        u->transmitter_empty = false;
        uart_update(d);
        u->transmitter_empty = true;
        break;
    case UART_IER:
        // Switching the interrupt on while the transmitter is empty raises it, also anew.
        if (value & ~u->ier & UART_IER_THRE) {
            u->transmitter_empty = true;
        }
        u->ier = value & UART_IER_ALL;
        break;
    case UART_IIR_FCR:
        u->fcr = value;
        break;
    case UART_LCR:
        u->lcr = value;
        break;
    case UART_MCR:
        u->mcr = value & UART_MCR_ALL;
        break;
    default:
        break;
    }
    uart_update(d);
}

static uint8_t uart_read(struct devices *d, unsigned reg)
{
    struct uart *u = &d->uart;
    uint8_t fifo = (u->fcr & UART_FCR_ENABLE) ? UART_IIR_FIFO : 0;
    switch (reg) {
    case UART_IER:
        return u->ier;
    case UART_IIR_FCR:
        if (!uart_requests(u)) {
            return fifo | UART_IIR_NONE;
        }
        u->transmitter_empty = false; // reading the cause answers it
        uart_update(d);
        return fifo | UART_IIR_THRE;
    case UART_LCR:
        return u->lcr;
    case UART_MCR:
        return u->mcr;
    case UART_LSR:
        return UART_LSR_EMPTY;
    case UART_MSR:
        if (!(u->mcr & UART_MCR_LOOP)) {
            return UART_MSR_CONNECTED;
        }
        // In loopback, by which Linux finds the chip, the four outputs come back as inputs.
        return (uint8_t)((u->mcr & UART_MCR_OUT) << 4 | (u->mcr & UART_MCR_DTR) << 5 |
                         (u->mcr & UART_MCR_RTS) << 3);
    default:
        return 0;
    }
}

// -- Ports

enum {
    PORT_PIC = 0x20, // command, then data
    PORT_PIC2 = 0xa0,
    PORT_PIT = 0x40,
    PORT_PIT2 = 0x42,
    PORT_PIT_CONTROL = 0x43,
    PORT_KEYBOARD = 0x64,
    KEYBOARD_RESET = 0xfe,
    PORT_CMOS_INDEX = 0x70,
    CMOS_INDEX_BITS = 0x7f, // the eighth is not the chip's: it masks NMIs
    PORT_CMOS_DATA = 0x71,
    PORT_DELAY = 0x80,
    PORT_UART = 0x3f8 // eight registers
};

enum { CMOS_HOUR = 4, CMOS_WEEKDAY = 6, CMOS_DAY, CMOS_MONTH, CMOS_YEAR, CMOS_A, CMOS_B };
enum { CMOS_D = 13, CMOS_CENTURY = 50 };

void devices_init(struct devices *d, uint64_t tsc_hz, uint64_t now, void (*console)(uint8_t))
{
    *d = (struct devices){.tsc_hz = tsc_hz, .now = now, .console = console};
    d->pic.imr = 0xff;
    // The clock stands still at 12:00 on Wednesday, 1 January 2025 (binary-coded decimal).
    d->cmos[CMOS_HOUR] = 0x12;
    d->cmos[CMOS_WEEKDAY] = 0x04;
    d->cmos[CMOS_DAY] = d->cmos[CMOS_MONTH] = 0x01;
    d->cmos[CMOS_YEAR] = 0x25;
    d->cmos[CMOS_CENTURY] = 0x20;
    d->cmos[CMOS_A] = 0x26; // running, no update in progress
    d->cmos[CMOS_B] = 0x02; // 24 hours
    d->cmos[CMOS_D] = 0x80; // the battery is good
}

uint32_t devices_in(struct devices *d, uint16_t port, unsigned size)
{
    uint32_t nobody = UINT32_MAX >> (32 - 8 * size);
    // All of these devices are one byte wide; the rest of a wider access meets nobody.
    uint32_t rest = nobody & ~0xffu;
    if (port == PORT_PIC + 1) {
        return rest | d->pic.imr;
    }
    if (port == PORT_CMOS_DATA) {
        return rest | d->cmos[d->cmos_index];
    }
    if ((port & ~7u) == PORT_UART) {
        return rest | uart_read(d, port & 7u);
    }
    if (port == PORT_PIT2) {
        return rest; // as it does not count, Linux soon gives up measuring the TSC by it
    }
    d->unknown_reads++;
    return nobody;
}

void devices_out(struct devices *d, uint16_t port, uint32_t wide)
{
    uint8_t value = (uint8_t)wide;
    if (port == PORT_PIC) {
        pic_command(&d->pic, value);
    } else if (port == PORT_PIC + 1) {
        pic_data(&d->pic, value);
    } else if (port == PORT_PIT) {
        pit_write(&d->pit, d->now, value);
    } else if (port == PORT_PIT_CONTROL) {
        pit_control(&d->pit, value);
    } else if (port == PORT_CMOS_INDEX) {
        d->cmos_index = value & CMOS_INDEX_BITS;
    } else if (port == PORT_CMOS_DATA) {
        d->cmos[d->cmos_index] = value;
    } else if ((port & ~7u) == PORT_UART) {
        uart_write(d, port & 7u, value);
    } else if (port == PORT_KEYBOARD && value == KEYBOARD_RESET) {
        d->reset = true;
    } else if (port != PORT_DELAY && (port & ~1u) != PORT_PIC2) {
        d->unknown_writes++;
    }
}
