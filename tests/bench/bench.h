// bench.h - what an exit costs: shared by the table (bench.c) and the test of the budget.
#ifndef BENCH_H
#define BENCH_H

#include "examples/kernel/kernel.h"

#define BENCH_REPETITIONS 1000u
#define BENCH_PORT_DONE 0xf4     // the guest is through; EAX: ticks
#define BENCH_PORT_OTHER 0x80    // what the case "OUT" writes to
#define BENCH_MSR_OTHER 0x123456 // no processor has it
#define BENCH_UNMAPPED 0x10000   // guest-physical address that is not in the EPT
#define BENCH_LOAD_BYTES 5u      // length of the instruction that reads it

enum bench_exit {
    // Handled inside xvcpu_run.
    BENCH_CPUID,   // leaf 1
    BENCH_CPUID_0, // leaf 0
    BENCH_CPUID_7, // leaf 7
    BENCH_RDMSR,
    BENCH_WRMSR,
    BENCH_CR0,
    BENCH_CR4,
    BENCH_XSETBV,
    // Returned to the caller, who answers and runs again.
    BENCH_RETURNED,
    BENCH_OUT = BENCH_RETURNED,
    BENCH_RDMSR_OTHER,
    BENCH_VMCALL,
    BENCH_HLT,
    BENCH_EPT_VIOLATION,
    BENCH_EXITS
};

// A guest program: its machine code, to be run at address 0 in flat 32-bit protected mode with the
// number of repetitions in ESI. It ends with OUT to BENCH_PORT_DONE; EAX is then what its loop took
// in ticks of the TSC less what the same loop took without the instruction that exits.
struct bench_guest {
    const char *name;
    const u8 *code, *end;
};

extern const struct bench_guest bench_guests[BENCH_EXITS];

struct bench_setting {
    bool handler;       // a registered handler sees the exit first
    bool leave_to_host; // desc.leave_to_host: everything; else nothing
};

// Sums over BENCH_REPETITIONS exits.
struct bench_sums {
    u64 ticks;
    u64 vmreads, vmwrites, rdmsrs, wrmsrs, xsetbvs;
};

// Null, or what went wrong.
const char *bench_timed(enum bench_exit which, struct bench_setting setting,
                        struct bench_sums *sums); // fills ticks
const char *bench_counted(enum bench_exit which, struct bench_setting setting,
                          struct bench_sums *sums); // fills all others

// What CPUID exits cost where nothing is done about them but what cannot be left out; ticks of
// BENCH_REPETITIONS exits.
struct bench_floor {
    u64 loop;   // one assembly loop, which does not even execute CPUID
    u64 called; // the same as a function that C calls for each entry, and CPUID executed in C
};

const char *bench_floor(struct bench_floor *floor);

#endif
