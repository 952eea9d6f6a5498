// The PC a Linux guest expects to find, as little of it as it takes: an interrupt controller
// (8259), a timer (8254), a serial port (16550), a clock chip (CMOS) and the reset line of the
// keyboard controller. Plain C without a library: it also runs in a hosted test.
//
// Time is the guest's time stamp counter. Call devices_set_time before anything else after an
// exit; between two calls time stands still for every device.
#ifndef DEVICES_H
#define DEVICES_H

#include <stdbool.h>
#include <stdint.h>

struct pic {
    uint8_t irr; // requested
    uint8_t isr; // in service
    uint8_t imr; // masked
    uint8_t vector;    // of input 0
    uint8_t init_left; // how many initialisation words are still to come
};

struct pit {
    uint64_t start;  // guest time at which counting began
    uint64_t period; // 1..65536 input clocks
    uint64_t fired;  // periods since start that are over
    bool counting;
    bool periodic;
    bool second_write; // the high byte of a count comes next
    uint8_t low_byte;
};

struct uart {
    uint8_t ier, fcr, lcr, mcr;
    bool transmitter_empty; // the interrupt condition, not the line status bit
    bool line;              // the interrupt output, to find its edges
};

struct devices {
    uint64_t tsc_hz;
    uint64_t now;
    void (*console)(uint8_t byte);
    struct pic pic;
    struct pit pit;
    struct uart uart;
    uint8_t cmos_index;
    uint8_t cmos[128];
    bool reset;              // the guest pulled the processor's reset line
    uint64_t unknown_reads;  // of ports nobody is behind: they read as all ones
    uint64_t unknown_writes; // and these went nowhere
};

// Power-on state. console receives each byte the guest sends to its serial port.
void devices_init(struct devices *d, uint64_t tsc_hz, uint64_t now, void (*console)(uint8_t byte));

// Moves time on and raises the interrupts that became due.
void devices_set_time(struct devices *d, uint64_t now);

// Guest time of the next event that needs devices_set_time, all ones when none is planned.
uint64_t devices_next_event(const struct devices *d);

// One port access of 1, 2 or 4 bytes.
uint32_t devices_in(struct devices *d, uint16_t port, unsigned size);
void devices_out(struct devices *d, uint16_t port, uint32_t value);

// The vector the processor would get if it acknowledged now, -1 while nothing asks for it; and
// the acknowledgement itself.
int pic_vector(const struct devices *d);
void pic_acknowledge(struct devices *d);

#endif
