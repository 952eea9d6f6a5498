// The PC a Linux guest expects to find, as little of it as it takes: two interrupt controllers
// (8259), a timer (8254), a serial port (16550), a clock chip (CMOS) and the reset line of the
// keyboard controller. Plain C without a library: it also runs in a hosted test.
//
// Time is the guest's time stamp counter. Call devices_set_time before anything else after an
// exit; between two calls time stands still for every device.
#ifndef DEVICES_H
#define DEVICES_H

#include <stdbool.h>
#include <stdint.h>

struct pic_chip {
    uint8_t lines;   // level of the eight inputs, to find edges
    uint8_t level;   // inputs that are level-triggered (ELCR)
    uint8_t irr;     // requested
    uint8_t isr;     // in service
    uint8_t imr;     // masked
    uint8_t vector; // of input 0
    uint8_t init;    // which initialisation word comes next, 0 when none is awaited
    bool has_icw4;
    bool single;
    bool auto_eoi;
    bool read_isr;
};

struct pit_channel {
    uint64_t start;   // guest time at which counting began
    uint64_t period; // 1..65536 input clocks
    uint64_t fired;   // output events since start
    uint16_t latch;
    uint8_t mode;
    uint8_t access; // 1 low byte, 2 high byte, 3 low then high
    uint8_t status;
    uint8_t low_byte;
    bool counting;
    bool latched;
    bool status_latched;
    bool second_write;
    bool second_read;
};

struct uart {
    uint8_t ier, lcr, mcr, fcr, scratch, divisor_low, divisor_high;
    bool transmitter_empty; // the interrupt condition, not the line status bit
};

struct devices {
    uint64_t tsc_hz;
    uint64_t now;
    void (*console)(uint8_t byte);
    struct pic_chip pic[2];
    struct pit_channel pit[3];
    struct uart uart;
    uint8_t port61;
    uint8_t cmos_index;
    uint8_t cmos[128];
    bool reset;               // the guest pulled the processor's reset line
    uint64_t unknown_reads;   // of ports nobody is behind: they read as all ones
    uint64_t unknown_writes; // and these went nowhere
};

// Power-on state. console receives each byte the guest sends to its first serial port.
void devices_init(struct devices *d, uint64_t tsc_hz, uint64_t now, void (*console)(uint8_t byte));

// Moves time on and raises the interrupts that became due.
void devices_set_time(struct devices *d, uint64_t now);

// Guest time of the next event that needs devices_set_time, all ones when none is planned.
uint64_t devices_next_event(const struct devices *d);

// One port access of 1, 2 or 4 bytes.
uint32_t devices_in(struct devices *d, uint16_t port, unsigned size);
void devices_out(struct devices *d, uint16_t port, unsigned size, uint32_t value);

// Level of one of the sixteen interrupt lines, for devices that live elsewhere.
void pic_set_line(struct devices *d, unsigned irq, bool raised);

// The vector the processor would get if it acknowledged now, -1 while nothing asks for it; and
// the acknowledgement itself.
int pic_vector(const struct devices *d);
uint8_t pic_acknowledge(struct devices *d);

#endif
