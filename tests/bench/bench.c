// bench.c - the table of what each exit costs; see README.md.
#include "bench.h"

static unsigned failures;
static struct bench_floor floor;

// Sums of all repetitions as a number for each, with a decimal where it is not whole.
static void print_each(u64 sum, int width)
{
    const u64 tenths = (sum * 10 + BENCH_REPETITIONS / 2) / BENCH_REPETITIONS;
    if (sum % BENCH_REPETITIONS == 0)
        kprintf("%*lu", width, tenths / 10);
    else
        kprintf("%*lu.%lu", width - 2, tenths / 10, tenths % 10);
}

static void print_ratio(u64 sum, u64 of, int width)
{
    const u64 tenths = (sum * 10 + of / 2) / of;
    kprintf("%*lu.%lu", width - 2, tenths / 10, tenths % 10);
}

static void print_line(const char *name, const struct bench_sums *sums)
{
    kprintf("%-20s", name);
    print_each(sums->ticks, 7);
    print_ratio(sums->ticks, floor.loop, 8);
    print_ratio(sums->ticks, floor.called, 9);
    print_each(sums->vmreads, 8);
    print_each(sums->vmwrites, 8);
    print_each(sums->rdmsrs, 6);
    print_each(sums->wrmsrs, 6);
    print_each(sums->xsetbvs, 7);
    kputs("\n");
}

static void print_floor(const char *name, u64 ticks)
{
    const struct bench_sums sums = {
        .ticks = ticks, .vmreads = 3 * BENCH_REPETITIONS, .vmwrites = BENCH_REPETITIONS};
    print_line(name, &sums);
}

static void print_row(enum bench_exit which, struct bench_setting setting)
{
    struct bench_sums sums = {0};
    const char *failure = bench_timed(which, setting, &sums);
    if (!failure)
        failure = bench_counted(which, setting, &sums);
    if (failure) {
        kprintf("%-20s FAILED: %s\n", bench_guests[which].name, failure);
        failures++;
        return;
    }
    print_line(bench_guests[which].name, &sums);
}

static void print_section(const char *title, enum bench_exit first, enum bench_exit limit,
                          struct bench_setting setting)
{
    kprintf("\n%s\n", title);
    for (unsigned which = first; which < limit; which++)
        print_row((enum bench_exit)which, setting);
}

int kernel_main(void)
{
    static const struct bench_setting plain = {0};
    static const struct bench_setting leave = {.leave_to_host = true};
    static const struct bench_setting handler = {.handler = true};
    static const struct bench_setting handler_leave = {.handler = true, .leave_to_host = true};
    const char *failure = bench_floor(&floor);
    if (failure) {
        kprintf("the floor FAILED: %s\n", failure);
        return 1;
    }
    kprintf("%-20s%7s%8s%9s%8s%8s%6s%6s%7s\n", "exit", "ticks", "x loop", "x bare C", "VMREAD",
            "VMWRITE", "RDMSR", "WRMSR", "XSETBV");
    print_floor("floor: bare loop", floor.loop);
    print_floor("floor: bare C", floor.called);
    print_section("Handled inside xvcpu_run", 0, BENCH_RETURNED, plain);
    print_section("Handled inside, leave_to_host = everything", 0, BENCH_RETURNED, leave);
    print_section("Returned to the caller", BENCH_RETURNED, BENCH_EXITS, plain);
    print_section("Returned to the caller, leave_to_host = everything", BENCH_RETURNED, BENCH_EXITS,
                  leave);
    print_section("Through a handler that leaves them to the library", 0, BENCH_RETURNED, handler);
    print_section("Through a handler that handles them", BENCH_RETURNED, BENCH_EXITS, handler);
    print_section("Through a handler that leaves them, leave_to_host = everything", 0,
                  BENCH_RETURNED, handler_leave);
    print_section("Through a handler that handles them, leave_to_host = everything", BENCH_RETURNED,
                  BENCH_EXITS, handler_leave);
    if (failures == 0)
        kputs("\nbench: complete\n");
    return failures != 0;
}
