// budget.c - what an exit may cost: VMCS and MSR accesses counted, instructions by the TSC, which
// in the emulator counts them. See tests/bench.
// models: corei7_skylake_x corei7_haswell_4770
// cpus: 1
// with: tests/bench/timed.c tests/bench/counted.c tests/bench/guests.c
#include "../bench/bench.h"
#include "tap.h"

#define VMREADS_MAX 5u
#define VMWRITES_MAX 2u
// In hundredths. "Bare" is a guest entered by a function that C calls, and CPUID executed in C; the
// bare loop does without a call, without the host's registers and without CPUID itself.
#define TIMES_BARE_MAX 250u
#define TIMES_LOOP_MAX 350u

static struct bench_floor floor;

static bool measure(enum bench_exit which, struct bench_setting setting, struct bench_sums *sums)
{
    const char *failure;
    memset(sums, 0, sizeof *sums);
    failure = bench_timed(which, setting, sums);
    if (!failure)
        failure = bench_counted(which, setting, sums);
    if (failure)
        diag("%s: %s", bench_guests[which].name, failure);
    return !failure;
}

static void test_cpuid(enum bench_exit which, struct bench_setting setting, const char *how)
{
    struct bench_sums sums;
    if (!ok(measure(which, setting, &sums), "%s%s is measured", bench_guests[which].name, how))
        return;
    diag("%lu ticks each; bare loop %lu, bare in C %lu", sums.ticks / BENCH_REPETITIONS,
         floor.loop / BENCH_REPETITIONS, floor.called / BENCH_REPETITIONS);
    // Less would mean that the measurement sees nothing.
    ok(sums.ticks > floor.loop, "%s%s: not below the floor", bench_guests[which].name, how);
    ok(sums.vmreads >= 3 * BENCH_REPETITIONS && sums.vmreads <= VMREADS_MAX * BENCH_REPETITIONS,
       "%s%s: at most %u VMREADs, %lu in %u", bench_guests[which].name, how, VMREADS_MAX,
       sums.vmreads, BENCH_REPETITIONS);
    ok(sums.vmwrites >= BENCH_REPETITIONS && sums.vmwrites <= VMWRITES_MAX * BENCH_REPETITIONS,
       "%s%s: at most %u VMWRITEs, %lu in %u", bench_guests[which].name, how, VMWRITES_MAX,
       sums.vmwrites, BENCH_REPETITIONS);
    ok(sums.rdmsrs + sums.wrmsrs == 0, "%s%s: no MSR access", bench_guests[which].name, how);
    ok(sums.xsetbvs == 0, "%s%s: no XSETBV", bench_guests[which].name, how);
    if (which == BENCH_CPUID_7)
        return; // for those with more to compute the accesses count, not the instructions
    ok(sums.ticks * 100 <= floor.called * TIMES_BARE_MAX,
       "%s%s: at most 2.5 times a bare exit, %lu/100", bench_guests[which].name, how,
       sums.ticks * 100 / floor.called);
    if (which == BENCH_CPUID)
        ok(sums.ticks * 100 <= floor.loop * TIMES_LOOP_MAX,
           "%s%s: at most 3.5 times the bare loop, %lu/100", bench_guests[which].name, how,
           sums.ticks * 100 / floor.loop);
}

// What is handled inside leaves the host's registers where they are.
static void test_inside(void)
{
    const struct bench_setting setting = {0};
    for (unsigned which = 0; which < BENCH_RETURNED; which++) {
        const u64 xsetbvs = which == BENCH_XSETBV ? BENCH_REPETITIONS : 0;
        struct bench_sums sums;
        ok(measure((enum bench_exit)which, setting, &sums) && sums.vmreads != 0 &&
               sums.rdmsrs + sums.wrmsrs == 0 && sums.xsetbvs == xsetbvs,
           "%s inside: no MSR access, %s XSETBV", bench_guests[which].name,
           xsetbvs != 0 ? "one" : "no");
    }
}

static void test_returned(void)
{
    const struct bench_setting nothing_left = {0};
    const struct bench_setting all_left = {.leave_to_host = true};
    for (unsigned which = BENCH_RETURNED; which < BENCH_EXITS; which++) {
        struct bench_sums sums;
        ok(measure((enum bench_exit)which, all_left, &sums) && sums.vmreads != 0 &&
               sums.rdmsrs + sums.wrmsrs == 0 && sums.xsetbvs == 0,
           "%s returned, all left to the host: no MSR access, no XSETBV",
           bench_guests[which].name);
        // The counters see something where there is something.
        ok(measure((enum bench_exit)which, nothing_left, &sums) && sums.rdmsrs != 0,
           "%s returned, nothing left to it: MSRs are looked at", bench_guests[which].name);
    }
}

int kernel_main(void)
{
    const struct bench_setting nothing_left = {0};
    const struct bench_setting all_left = {.leave_to_host = true};
    const char *failure = bench_floor(&floor);
    if (!ok(!failure && floor.called > floor.loop, "the floor is measured"))
        bail_out("%s", failure ? failure : "no floor");
    for (unsigned which = BENCH_CPUID; which <= BENCH_CPUID_7; which++) {
        test_cpuid((enum bench_exit)which, nothing_left, "");
        test_cpuid((enum bench_exit)which, all_left, ", all left to the host");
    }
    test_inside();
    test_returned();
    return tap_done();
}
