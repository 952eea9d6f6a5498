// apic.c - local APIC, the two 8259s it replaces, and the interval timer.
#include "internal.h"

#define MSR_APIC_BASE 0x1bu
#define APIC_BASE_X2APIC 0x400u
#define APIC_BASE_ENABLE 0x800u
#define APIC_PA 0xfee00000u

#define PORT_PIC1 0x20
#define PORT_PIC2 0xa0
#define PIC_INIT 0x11  // edge triggered, cascaded, a fourth word follows
#define PIC_LINES 8
#define PIC_CASCADE 2
#define PIC_8086 0x01
#define PIC_ALL_MASKED 0xff

#define PORT_PIT_CHANNEL2 0x42
#define PORT_PIT_COMMAND 0x43
#define PORT_SYSTEM_B 0x61
#define SYSTEM_B_GATE2 0x01
#define SYSTEM_B_SPEAKER 0x02
#define PIT_CHANNEL2_RATE 0xb4  // low byte, high byte, mode 2: counts down again and again
#define PIT_CHANNEL2_LATCH 0x80
#define PIT_HZ 1193182u

#define RFLAGS_IF 0x200u

static struct kernel_lock pit_lock;

// -- Registers

u32 apic_read(u32 offset)
{
    return *(volatile u32 *)virt_of(APIC_PA + offset);
}

void apic_write(u32 offset, u32 value)
{
    *(volatile u32 *)virt_of(APIC_PA + offset) = value;
}

void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

u32 apic_own_id(void)
{
    return apic_read(APIC_ID) >> 24;
}

// -- Start

static void pic_start(u16 port, u8 vector, u8 cascade)
{
    out8(port, PIC_INIT);
    out8((u16)(port + 1), vector);
    out8((u16)(port + 1), cascade);
    out8((u16)(port + 1), PIC_8086);
    out8((u16)(port + 1), PIC_ALL_MASKED);
}

static void pit_start(void)
{
    u8 system = (u8)(in8(PORT_SYSTEM_B) & ~(SYSTEM_B_GATE2 | SYSTEM_B_SPEAKER));
    out8(PORT_SYSTEM_B, (u8)(system | SYSTEM_B_GATE2));
    out8(PORT_PIT_COMMAND, PIT_CHANNEL2_RATE);
    out8(PORT_PIT_CHANNEL2, 0); // 0 is 65536
    out8(PORT_PIT_CHANNEL2, 0);
}

void apic_start(bool first)
{
    u64 base = rdmsr(MSR_APIC_BASE);
    if ((base & APIC_BASE_X2APIC) != 0) {
        kernel_panic("the local APIC was left in x2APIC mode");
    }
    wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
    apic_write(APIC_SPURIOUS, APIC_SPURIOUS_ENABLE | KERNEL_VECTOR_SPURIOUS);
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED);
    apic_write(APIC_LVT_ERROR, APIC_LVT_MASKED);
    apic_write(APIC_LVT_LINT0, first ? APIC_LVT_EXTINT : APIC_LVT_MASKED);
    apic_write(APIC_LVT_LINT1, first ? APIC_LVT_NMI : APIC_LVT_MASKED);
    apic_write(APIC_TIMER_DIVIDE, APIC_TIMER_DIVIDE_BY_1);
    if (first) {
        pic_start(PORT_PIC1, KERNEL_VECTOR_PIC, 1u << PIC_CASCADE);
        pic_start(PORT_PIC2, KERNEL_VECTOR_PIC + PIC_LINES, PIC_CASCADE);
        pit_start();
    }
}

// -- Timer

static void timer_start(u32 lvt, u32 ticks)
{
    apic_write(APIC_TIMER_INITIAL, 0); // stopped while it changes
    apic_write(APIC_LVT_TIMER, lvt);
    apic_write(APIC_TIMER_INITIAL, ticks);
}

void apic_timer_oneshot(u8 vector, u32 ticks)
{
    timer_start(vector, ticks);
}

void apic_timer_periodic(u8 vector, u32 ticks)
{
    timer_start(vector | APIC_LVT_PERIODIC, ticks);
}

void apic_timer_stop(void)
{
    timer_start(APIC_LVT_MASKED, 0);
}

u32 apic_timer_left(void)
{
    return apic_read(APIC_TIMER_CURRENT);
}

// -- Messages to other processors

static void send(u32 destination, u32 command)
{
    u64 rflags = read_rflags();
    cli(); // an interrupt handler may send too, between our two halves
    while ((apic_read(APIC_ICR_LOW) & APIC_ICR_PENDING) != 0) {
        cpu_pause();
    }
    apic_write(APIC_ICR_HIGH, destination << 24);
    apic_write(APIC_ICR_LOW, command);
    if ((rflags & RFLAGS_IF) != 0) {
        sti();
    }
}

void apic_send_ipi(unsigned cpu, u8 vector)
{
    send(cpu_apic_id(cpu), APIC_ICR_ASSERT | vector);
}

void apic_send_nmi(unsigned cpu)
{
    send(cpu_apic_id(cpu), APIC_ICR_NMI | APIC_ICR_ASSERT);
}

void apic_send_init(unsigned cpu)
{
    send(cpu_apic_id(cpu), APIC_ICR_INIT | APIC_ICR_ASSERT);
}

void apic_send_sipi(unsigned cpu, u8 page)
{
    send(cpu_apic_id(cpu), APIC_ICR_SIPI | APIC_ICR_ASSERT | page);
}

void apic_broadcast_init(void)
{
    send(0, APIC_ICR_OTHERS | APIC_ICR_INIT | APIC_ICR_ASSERT);
}

void apic_broadcast_sipi(u8 page)
{
    send(0, APIC_ICR_OTHERS | APIC_ICR_SIPI | APIC_ICR_ASSERT | page);
}

// -- Interval timer

static u16 pit_read(void)
{
    u64 rflags = read_rflags();
    u32 low, high;
    cli();
    lock_take(&pit_lock);
    out8(PORT_PIT_COMMAND, PIT_CHANNEL2_LATCH);
    low = in8(PORT_PIT_CHANNEL2);
    high = in8(PORT_PIT_CHANNEL2);
    lock_release(&pit_lock);
    if ((rflags & RFLAGS_IF) != 0) {
        sti();
    }
    return (u16)(high << 8 | low);
}

// The counter goes round in 55 ms; looking at it more often than that is enough.
void delay_us(u32 microseconds)
{
    u64 left = ((u64)microseconds * PIT_HZ + 999999u) / 1000000u;
    u16 before = pit_read();
    while (left != 0) {
        u16 now = pit_read();
        u16 passed = (u16)(before - now);
        left = passed < left ? left - passed : 0;
        before = now;
        cpu_pause();
    }
}
