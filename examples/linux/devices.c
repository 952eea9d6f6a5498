#include "devices.h"

// -- Interrupt controllers (8259)

enum {
    PIC_ICW1 = 0x10,
    PIC_ICW1_ICW4 = 0x01,
    PIC_ICW1_SINGLE = 0x02,
    PIC_ICW4_AUTO_EOI = 0x02,
    PIC_OCW3 = 0x08,
    PIC_OCW3_READ = 0x02,
    PIC_OCW3_READ_ISR = 0x01,
    PIC_OCW2_EOI = 0x20,
    PIC_OCW2_SPECIFIC = 0x40,
    PIC_CASCADE = 2,
    PIC_SPURIOUS = 7,
    PIC_NONE = 8
};

// The input to serve next, PIC_NONE when none: the lowest number wins, and only over what is
// in service already. Rotation, special mask and poll mode are left out: no PC system uses them.
static unsigned pic_highest(const struct pic_chip *c)
{
    unsigned wanted = c->irr & ~(unsigned)c->imr;
    for (unsigned n = 0; n < 8; n++) {
        if (c->isr & (1u << n)) {
            return PIC_NONE;
        }
        if (wanted & (1u << n)) {
            return n;
        }
    }
    return PIC_NONE;
}

static void pic_line(struct pic_chip *c, unsigned n, bool raised)
{
    uint8_t bit = (uint8_t)(1u << n);
    bool was = (c->lines & bit) != 0;
    c->lines = (uint8_t)(raised ? c->lines | bit : c->lines & ~bit);
    if (c->level & bit) {
        c->irr = (uint8_t)(raised ? c->irr | bit : c->irr & ~bit);
    } else if (raised && !was) {
        c->irr |= bit;
    }
}

// The second chip hangs on input 2 of the first: its request follows its output.
static void pic_cascade(struct devices *d)
{
    unsigned bit = 1u << PIC_CASCADE;
    unsigned others = d->pic[0].irr & ~bit;
    d->pic[0].irr = (uint8_t)(pic_highest(&d->pic[1]) != PIC_NONE ? others | bit : others);
}

void pic_set_line(struct devices *d, unsigned irq, bool raised)
{
    pic_line(&d->pic[irq >> 3], irq & 7, raised);
    pic_cascade(d);
}

int pic_vector(const struct devices *d)
{
    unsigned n = pic_highest(&d->pic[0]);
    if (n == PIC_CASCADE) {
        return d->pic[1].vector + (int)pic_highest(&d->pic[1]);
    }
    return n == PIC_NONE ? -1 : d->pic[0].vector + (int)n;
}

static uint8_t pic_acknowledge_chip(struct pic_chip *c)
{
    unsigned n = pic_highest(c);
    if (n == PIC_NONE) {
        return (uint8_t)(c->vector + PIC_SPURIOUS);
    }
    uint8_t bit = (uint8_t)(1u << n);
    if (!(c->level & bit)) {
        c->irr = (uint8_t)(c->irr & ~bit);
    }
    if (!c->auto_eoi) {
        c->isr |= bit;
    }
    return (uint8_t)(c->vector + n);
}

uint8_t pic_acknowledge(struct devices *d)
{
    bool cascaded = pic_highest(&d->pic[0]) == PIC_CASCADE;
    uint8_t vector = pic_acknowledge_chip(&d->pic[0]);
    if (cascaded) {
        vector = pic_acknowledge_chip(&d->pic[1]);
    }
    pic_cascade(d);
    return vector;
}

static void pic_write(struct pic_chip *c, bool data_port, uint8_t value)
{
    if (!data_port && (value & PIC_ICW1)) {
        uint8_t lines = c->lines, level = c->level;
        *c = (struct pic_chip){.lines = lines, .level = level, .init = 2};
        c->has_icw4 = (value & PIC_ICW1_ICW4) != 0;
        c->single = (value & PIC_ICW1_SINGLE) != 0;
    } else if (!data_port && (value & PIC_OCW3)) {
        if (value & PIC_OCW3_READ) {
            c->read_isr = (value & PIC_OCW3_READ_ISR) != 0;
        }
    } else if (!data_port) {
        if ((value & PIC_OCW2_EOI) && (value & PIC_OCW2_SPECIFIC)) {
            c->isr = (uint8_t)(c->isr & ~(1u << (value & 7)));
        } else if (value & PIC_OCW2_EOI) {
            c->isr &= (uint8_t)(c->isr - 1);
        }
    } else if (c->init == 2) {
        c->vector = value & 0xf8;
        c->init = c->single ? (c->has_icw4 ? 4 : 0) : 3;
    } else if (c->init == 3) {
        c->init = c->has_icw4 ? 4 : 0;
    } else if (c->init == 4) {
        c->auto_eoi = (value & PIC_ICW4_AUTO_EOI) != 0;
        c->init = 0;
    } else {
        c->imr = value;
    }
}

static uint8_t pic_read(const struct pic_chip *c, bool data_port)
{
    if (data_port) {
        return c->imr;
    }
    return c->read_isr ? c->isr : c->irr;
}

// -- Timer (8254)

enum { PIT_HZ = 1193182, PIT_READ_BACK = 3, PIT_STATUS_OUT = 0x80, PIT_STATUS_NULL = 0x40 };
enum { PORT61_GATE = 0x01, PORT61_SPEAKER = 0x02, PORT61_REFRESH = 0x10, PORT61_OUT = 0x20 };

static bool pit_periodic(const struct pit_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

// Input clocks since counting began. Channel 2 stands still while its gate is closed.
static uint64_t pit_elapsed(const struct devices *d, const struct pit_channel *c)
{
    if (!c->counting || (c == &d->pit[2] && !(d->port61 & PORT61_GATE))) {
        return 0;
    }
    return (d->now - c->start) * PIT_HZ / d->tsc_hz;
}

static uint16_t pit_count(const struct devices *d, const struct pit_channel *c)
{
    uint64_t t = pit_elapsed(d, c);
    if (c->mode == 3) {
        return (uint16_t)(c->period - (2 * t) % c->period);
    }
    return (uint16_t)(c->period - (pit_periodic(c) ? t % c->period : t));
}

static bool pit_output(const struct devices *d, const struct pit_channel *c)
{
    uint64_t t = pit_elapsed(d, c);
    switch (c->mode) {
    case 0:
    case 1:
        return c->counting && t >= c->period;
    case 2:
        return t % c->period != c->period - 1;
    case 3:
        return t % c->period < (c->period + 1) / 2;
    default:
        return t != c->period;
    }
}

static void pit_load(struct devices *d, struct pit_channel *c, unsigned count)
{
    c->period = count ? count : 65536;
    c->start = d->now;
    c->fired = 0;
    c->counting = true;
}

static void pit_latch(const struct devices *d, struct pit_channel *c)
{
    if (!c->latched) {
        c->latch = pit_count(d, c);
        c->latched = true;
    }
}

static void pit_control(struct devices *d, uint8_t value)
{
    if (value >> 6 == PIT_READ_BACK) {
        for (unsigned n = 0; n < 3; n++) {
            struct pit_channel *c = &d->pit[n];
            if (!(value & (2u << n))) {
                continue;
            }
            if (!(value & 0x20)) {
                pit_latch(d, c);
            }
            if (!(value & 0x10) && !c->status_latched) {
                c->status = (uint8_t)((c->access << 4) | (c->mode << 1) |
                                      (pit_output(d, c) ? PIT_STATUS_OUT : 0) |
                                      (c->counting ? 0 : PIT_STATUS_NULL));
                c->status_latched = true;
            }
        }
        return;
    }
    struct pit_channel *c = &d->pit[value >> 6];
    uint8_t access = (value >> 4) & 3;
    if (access == 0) {
        pit_latch(d, c);
        return;
    }
    *c = (struct pit_channel){.access = access, .mode = (value >> 1) & 7, .period = 65536};
    if (c->mode > 5) {
        c->mode -= 4; // 6 and 7 are other spellings of 2 and 3
    }
}

static void pit_write(struct devices *d, struct pit_channel *c, uint8_t value)
{
    if (c->access == 1) {
        pit_load(d, c, value);
    } else if (c->access == 2) {
        pit_load(d, c, (unsigned)value << 8);
    } else if (c->second_write) {
        c->second_write = false;
        pit_load(d, c, ((unsigned)value << 8) | c->low_byte);
    } else {
        c->low_byte = value;
        c->second_write = true;
    }
}

static uint8_t pit_read(const struct devices *d, struct pit_channel *c)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    uint16_t count = c->latched ? c->latch : pit_count(d, c);
    bool high = c->access == 2 || (c->access == 3 && c->second_read);
    c->second_read = c->access == 3 && !c->second_read;
    c->latched = c->latched && c->second_read;
    return (uint8_t)(high ? count >> 8 : count);
}

uint64_t devices_next_event(const struct devices *d)
{
    const struct pit_channel *c = &d->pit[0];
    if (!c->counting || (c->fired && !pit_periodic(c))) {
        return UINT64_MAX;
    }
    return c->start + ((c->fired + 1) * c->period * d->tsc_hz + PIT_HZ - 1) / PIT_HZ;
}

void devices_set_time(struct devices *d, uint64_t now)
{
    struct pit_channel *c = &d->pit[0];
    d->now = now;
    if (now >= devices_next_event(d)) {
        // Ticks that passed unseen are merged, as the interrupt controller would merge them.
        c->fired = pit_elapsed(d, c) / c->period;
        pic_set_line(d, 0, false);
        pic_set_line(d, 0, true);
    }
}

// -- Serial port (16550)

enum { UART_BASE = 0x3f8, UART_IRQ = 4 };
enum { UART_DATA, UART_IER, UART_IIR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCRATCH };
enum {
    UART_IER_THRE = 0x02,
    UART_IIR_NONE = 0x01,
    UART_IIR_THRE = 0x02,
    UART_IIR_FIFO = 0xc0,
    UART_FCR_ENABLE = 0x01,
    UART_LCR_DLAB = 0x80,
    UART_MCR_OUT2 = 0x08,
    UART_MCR_LOOP = 0x10,
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
    pic_set_line(d, UART_IRQ, uart_requests(&d->uart) && (d->uart.mcr & UART_MCR_OUT2));
}

static void uart_write(struct devices *d, unsigned reg, uint8_t value)
{
    struct uart *u = &d->uart;
    bool dlab = (u->lcr & UART_LCR_DLAB) != 0;
    switch (reg) {
    case UART_DATA:
        if (dlab) {
            u->divisor_low = value;
            break;
        }
        if (!(u->mcr & UART_MCR_LOOP)) {
            d->console(value);
        }
        // Sent at once: the request falls and rises again, which is the next edge.
        u->transmitter_empty = false;
        uart_update(d);
        u->transmitter_empty = true;
        break;
    case UART_IER:
        if (dlab) {
            u->divisor_high = value;
            break;
        }
        // Switching the interrupt on while the transmitter is empty raises it, also anew.
        if (value & ~u->ier & UART_IER_THRE) {
            u->transmitter_empty = true;
        }
        u->ier = value & 0x0f;
        break;
    case UART_IIR:
        u->fcr = value;
        break;
    case UART_LCR:
        u->lcr = value;
        break;
    case UART_MCR:
        u->mcr = value & 0x1f;
        break;
    case UART_SCRATCH:
        u->scratch = value;
        break;
    default:
        break;
    }
    uart_update(d);
}

static uint8_t uart_read(struct devices *d, unsigned reg)
{
    struct uart *u = &d->uart;
    bool dlab = (u->lcr & UART_LCR_DLAB) != 0;
    uint8_t fifo = (u->fcr & UART_FCR_ENABLE) ? UART_IIR_FIFO : 0;
    switch (reg) {
    case UART_DATA:
        return dlab ? u->divisor_low : 0;
    case UART_IER:
        return dlab ? u->divisor_high : u->ier;
    case UART_IIR:
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
        // In loopback the four outputs come back as inputs: OUT2, OUT1, DTR, RTS.
        return (uint8_t)(((u->mcr & 0x0c) << 4) | ((u->mcr & 1) << 5) | ((u->mcr & 2) << 3));
    default:
        return u->scratch;
    }
}

// -- Ports

enum {
    PORT_PIC1 = 0x20,
    PORT_PIC2 = 0xa0,
    PORT_PIT = 0x40,
    PORT_PIT_CONTROL = 0x43,
    PORT_61 = 0x61,
    PORT_KEYBOARD = 0x64,
    KEYBOARD_RESET = 0xfe,
    PORT_CMOS_INDEX = 0x70,
    PORT_CMOS_DATA = 0x71,
    PORT_DELAY = 0x80,
    PORT_ELCR = 0x4d0
};

enum { CMOS_A = 10, CMOS_B = 11, CMOS_C = 12, CMOS_D = 13, CMOS_CENTURY = 50 };

void devices_init(struct devices *d, uint64_t tsc_hz, uint64_t now, void (*console)(uint8_t))
{
    *d = (struct devices){.tsc_hz = tsc_hz, .now = now, .console = console};
    d->pic[0].imr = d->pic[1].imr = 0xff;
    for (unsigned n = 0; n < 3; n++) {
        d->pit[n].period = 65536;
        d->pit[n].access = 3;
    }
    // The clock stands still at 12:00 on 1 January 2025 (binary-coded decimal, 24 hours).
    d->cmos[4] = 0x12;
    d->cmos[6] = 0x04;
    d->cmos[7] = d->cmos[8] = 0x01;
    d->cmos[9] = 0x25;
    d->cmos[CMOS_CENTURY] = 0x20;
    d->cmos[CMOS_A] = 0x26; // running, no update in progress
    d->cmos[CMOS_B] = 0x02;
    d->cmos[CMOS_D] = 0x80; // the battery is good
}

static bool known_port(uint16_t port)
{
    return (port & ~1u) == PORT_PIC1 || (port & ~1u) == PORT_PIC2 || (port & ~3u) == PORT_PIT ||
           port == PORT_61 || (port & ~1u) == PORT_CMOS_INDEX || (port & ~1u) == PORT_ELCR ||
           (port & ~7u) == UART_BASE;
}

uint32_t devices_in(struct devices *d, uint16_t port, unsigned size)
{
    uint32_t nobody = size >= 4 ? UINT32_MAX : (1u << (8 * size)) - 1;
    // All of these devices are one byte wide; the rest of a wider access meets nobody.
    nobody &= ~0xffu;
    if (!known_port(port) || port == PORT_PIT_CONTROL || port == PORT_CMOS_INDEX) {
        d->unknown_reads++;
        return nobody | 0xff;
    }
    if ((port & ~1u) == PORT_PIC1 || (port & ~1u) == PORT_PIC2) {
        return nobody | pic_read(&d->pic[(port & ~1u) == PORT_PIC2], port & 1);
    }
    if ((port & ~1u) == PORT_ELCR) {
        return nobody | d->pic[port & 1].level;
    }
    if ((port & ~3u) == PORT_PIT) {
        return nobody | pit_read(d, &d->pit[port & 3]);
    }
    if (port == PORT_61) {
        d->port61 ^= PORT61_REFRESH;
        return nobody | d->port61 | (pit_output(d, &d->pit[2]) ? PORT61_OUT : 0u);
    }
    if (port == PORT_CMOS_DATA) {
        return nobody | d->cmos[d->cmos_index];
    }
    return nobody | uart_read(d, port & 7u);
}

void devices_out(struct devices *d, uint16_t port, unsigned size, uint32_t wide)
{
    uint8_t value = (uint8_t)wide;
    (void)size;
    if ((port & ~1u) == PORT_PIC1 || (port & ~1u) == PORT_PIC2) {
        pic_write(&d->pic[(port & ~1u) == PORT_PIC2], port & 1, value);
        pic_cascade(d);
    } else if ((port & ~1u) == PORT_ELCR) {
        d->pic[port & 1].level = value;
    } else if (port == PORT_PIT_CONTROL) {
        pit_control(d, value);
    } else if ((port & ~3u) == PORT_PIT) {
        pit_write(d, &d->pit[port & 3], value);
    } else if (port == PORT_61) {
        if (value & ~d->port61 & PORT61_GATE) {
            d->pit[2].start = d->now; // opening the gate starts the count
        }
        d->port61 = value & (PORT61_GATE | PORT61_SPEAKER);
    } else if (port == PORT_CMOS_INDEX) {
        d->cmos_index = value & 0x7f;
    } else if (port == PORT_CMOS_DATA) {
        if (d->cmos_index != CMOS_C && d->cmos_index != CMOS_D) {
            d->cmos[d->cmos_index] = value;
        }
    } else if ((port & ~7u) == UART_BASE) {
        uart_write(d, port & 7u, value);
    } else if (port == PORT_KEYBOARD && value == KEYBOARD_RESET) {
        d->reset = true;
    } else if (port != PORT_DELAY) {
        d->unknown_writes++;
    }
}
