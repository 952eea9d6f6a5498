// internal.h - what the kernel's own files share.
#ifndef KERNEL_INTERNAL_H
#define KERNEL_INTERNAL_H

#include "kernel.h"
#include "layout.h"

// Called from boot.S.
void kernel_boot(u32 magic, u32 info_pa);
void kernel_boot_ap(u32 cpu);

void memory_add(u64 from, u64 to); // RAM the allocator may hand out
void memory_start(void);           // before the first memory_add
void memory_finish(void);          // after the last: takes the kernel's own pages out

void traps_start(void); // fills the IDT
void traps_load(void);  // on this processor
void cpu_start(u32 cpu); // descriptor tables, extended state, local APIC of this processor
void cpu_start_others(void);
bool cpu_is_ready(void); // the descriptor tables of this processor are the kernel's

void apic_start(bool first); // of this processor; the first does PIC and interval timer too
u32 apic_own_id(void);
void apic_broadcast_init(void); // to all but this one
void apic_broadcast_sipi(u8 page);

// What kernel_try goes back to; the offsets are known to traps.S.
struct try_state {
    u64 rsp;
    struct try_state *outer;
    struct kernel_fault fault;
};

#define CPU_IST_STACK_SIZE 4096u
#define CPU_IST_COUNT 3u // NMI, #DF, #MC
#define CPU_RING0_STACK_SIZE 8192u // for exceptions in ring 3
#define CPU_GDT_ENTRIES 7u

// GS base points here.
struct cpu {
    struct cpu *self;
    u32 id;
    u32 apic_id;
    struct try_state *try_state;
    void (*volatile job)(void *);
    void *volatile job_arg;
    u64 gdt[CPU_GDT_ENTRIES];
    u8 tss[104];
};
struct cpu *cpu_this(void);

#endif
