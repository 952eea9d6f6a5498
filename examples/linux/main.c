// A VMM that boots an unmodified Linux. kernel_main at the end is the whole story in order.
#include "../kernel/kernel.h"

#include "devices.h"
#include "loader.h"

// -- The library and what it needs from the kernel

static void log_line(unsigned level, const char *item, const char *text, u64 a, u64 b);


#define XVCPU_VIRT_TO_PHYS(context, pointer) ((void)(context), phys_of(pointer))
#define XVCPU_PHYS_TO_VIRT(context, pa) ((void)(context), virt_of(pa))
#define XVCPU_ALLOC_PAGE(context) ((void)(context), page_alloc())
#define XVCPU_FREE_PAGE(context, page) ((void)(context), page_free(page))
#define XVCPU_LOG(context, level, item, text, a, b)                                                \
    ((void)(context), log_line((unsigned)(level), (item), (text), (a), (b)))
// Ticks between an exit and the next entry, by exit reason: here one tick is one instruction.
static u64 exit_tsc, host_ticks[128];
#define XVCPU_TRACE_EXIT(vcpu) (exit_tsc = rdtsc())
#define XVCPU_TRACE_ENTRY(vcpu) (host_ticks[(vcpu)->exit.reason & 127u] += rdtsc() - exit_tsc)
#define XVCPU_IMPLEMENTATION
#include "../../xvcpu.h"

static void log_line(unsigned level, const char *item, const char *text, u64 a, u64 b)
{
    if (level <= XVCPU_LOG_WARNING) {
        kprintf("xvcpu: %s: %s (0x%lx, 0x%lx)\n", item, text, a, b);
    }
}

// -- The virtual machine

#define MIB 0x100000u
#define GUEST_RAM (128 * MIB)
#define PAGES_2M 512u
#define GUEST_TSC_HZ 100000000ull // as the command line in payload.sh says
#define MARKER "xvcpu-linux: userspace reached"
#define RFLAGS_IF 0x200u

static xvcpu_cpu cpu;
static xvcpu_ept ept;
static xvcpu vcpu;
static struct devices devices;
static u64 tsc_offset;   // guest time is the processor's TSC plus this
static u64 time_skipped; // how far it was moved ahead while the guest slept
static bool marker_seen;

// What was asked for and refused, to see what a guest would like to have.
static struct msr_count {
    u32 index;
    u32 count;
} refused_msrs[32];

static void must(xvcpu_status status, const xvcpu_error *error, const char *what)
{
    if (status != XVCPU_STATUS_OK) {
        kernel_panic("%s: %s: %s (%s, value 0x%lx, bits 0x%lx)", what, xvcpu_status_name(status),
                     xvcpu_status_text(status), error->detail, error->value, error->bits);
    }
}

static u64 guest_now(void)
{
    return rdtsc() + tsc_offset;
}

static void console(u8 byte)
{
    static char line[160];
    static size_t length;
    if (byte >= ' ' && length < sizeof line - 1) {
        line[length++] = (char)byte;
    }
    if (byte == '\n') {
        line[length] = 0;
        kprintf("guest| %s\n", line);
        marker_seen = marker_seen || strcmp(line, MARKER) == 0;
        length = 0;
    }
}

// -- What the guest wants from us

static const char *port_access(const xvcpu_exit *exit)
{
    const xvcpu_exit_io *io = &exit->u.io;
    if (io->string) {
        return "string I/O is not part of this example";
    }
    if (io->in) {
        xvcpu_answer_done(&vcpu, devices_in(&devices, io->port, io->bytes));
        return NULL;
    }
    devices_out(&devices, io->port, io->bytes, (u32)exit->value);
    xvcpu_answer_done(&vcpu, 0);
    return devices.reset ? "the guest reset itself" : NULL;
}

// Nobody gains from waiting: time jumps to the next timer interrupt.
static const char *halted(void)
{
    xvcpu_error error;
    u64 rflags, next = devices_next_event(&devices);
    must(xvcpu_get(&vcpu, XVCPU_REG_RFLAGS, &rflags, &error), &error, "get RFLAGS");
    if (!(rflags & RFLAGS_IF)) {
        return "the guest is off"; // without ACPI, this is how Linux ends
    }
    if (pic_vector(&devices) < 0) {
        if (next == UINT64_MAX) {
            return "the guest sleeps and nothing will wake it";
        }
        u64 now = guest_now();
        if (next > now) {
            time_skipped += next - now;
            tsc_offset += next - now;
            must(xvcpu_set(&vcpu, XVCPU_REG_TSC_OFFSET, tsc_offset, &error), &error, "set TSC");
        }
    }
    return NULL; // RIP is past the HLT already
}

static const char *refuse_msr(u32 index)
{
    struct msr_count *entry = refused_msrs;
    struct msr_count *last = refused_msrs + sizeof refused_msrs / sizeof refused_msrs[0] - 1;
    while (entry < last && entry->count && entry->index != index) {
        entry++;
    }
    entry->index = index;
    entry->count++;
    xvcpu_answer_fault(&vcpu, XVCPU_EXCEPTION_GP, 0);
    return NULL;
}

// Null: go on. Otherwise why not.
static const char *handle(const xvcpu_exit *exit)
{
    switch (exit->reason) {
    case XVCPU_EXIT_REASON_IO_INSTRUCTION:
        return port_access(exit);
    case XVCPU_EXIT_REASON_HLT:
        return halted();
    case XVCPU_EXIT_REASON_RDMSR:
    case XVCPU_EXIT_REASON_WRMSR:
        return refuse_msr(exit->u.msr.index);
    case XVCPU_EXIT_REASON_PREEMPTION_TIMER:
        return NULL; // a device has something to do
    case XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT:
        sti(); // ours: the host takes it here
        cpu_pause();
        cli();
        return NULL;
    case XVCPU_EXIT_REASON_TRIPLE_FAULT:
        return "triple fault";
    default:
        kprintf("exit %s, RIP 0x%lx, qualification 0x%lx\n", xvcpu_exit_reason_name(exit->reason),
                exit->rip, exit->qualification);
        return "an exit nobody handles";
    }
}

// One round: deliver what the devices ask for, run until the next thing to do, do it.
static const char *step(void)
{
    xvcpu_error error;
    devices_set_time(&devices, guest_now());
    u64 next = devices_next_event(&devices);
    u64 budget = next == UINT64_MAX ? GUEST_TSC_HZ : next - devices.now;
    must(xvcpu_set_budget(&vcpu, budget, &error), &error, "set budget");

    // The library delivers the interrupt when the guest can take it. Only then is it acknowledged;
    // until then the controllers may change their mind, so it is offered anew each time.
    int vector = pic_vector(&devices);
    if (vector >= 0) {
        must(xvcpu_raise_interrupt(&vcpu, (u8)vector, &error), &error, "raise interrupt");
    }
    must(xvcpu_run(&vcpu, &error), &error, "run");
    if (vector >= 0 && !xvcpu_cancel_interrupt(&vcpu, (u8)vector)) {
        pic_acknowledge(&devices);
    }
    devices_set_time(&devices, guest_now());
    return handle(&vcpu.exit);
}

// -- From the disk to the end

static void set_up(void)
{
    static xvcpu_cpu_desc cpu_desc;
    static xvcpu_ept_desc ept_desc;
    static xvcpu_desc desc;
    xvcpu_error error;
    struct linux_entry entry;

    u8 *ram = page_alloc_contiguous(GUEST_RAM / KERNEL_PAGE_SIZE, PAGES_2M);
    if (!ram) {
        kernel_panic("no memory for the guest");
    }
    const char *problem = linux_load(ram, GUEST_RAM, disk_read, &entry);
    if (problem) {
        kernel_panic("%s", problem);
    }
    must(xvcpu_cpu_enable(&cpu, &cpu_desc, &error), &error, "enable VMX");
    must(xvcpu_ept_create(&ept, &ept_desc, &cpu.caps, &error), &error, "create EPT");
    must(xvcpu_ept_map(&ept, 0, phys_of(ram), GUEST_RAM, XVCPU_EPT_RWX, XVCPU_MEMORY_WB, &error),
         &error, "map guest memory");
    desc.ept = &ept;
    must(xvcpu_create(&vcpu, &desc, &cpu.caps, &error), &error, "create");
    must(xvcpu_bind(&vcpu, &cpu, &error), &error, "bind");
    must(xvcpu_preset_protected(&vcpu, entry.rip, 0, &error), &error, "preset");
    must(xvcpu_set(&vcpu, XVCPU_REG_RSI, entry.rsi, &error), &error, "set RSI");

    tsc_offset = 0 - rdtsc(); // the guest's time begins at 0
    must(xvcpu_set(&vcpu, XVCPU_REG_TSC_OFFSET, tsc_offset, &error), &error, "set TSC");
    devices_init(&devices, GUEST_TSC_HZ, guest_now(), console);
}

static void report(u64 ticks)
{
    kprintf("%-24s %10s %22s\n", "exit reason", "count", "host instructions each");
    u64 exits = 0, host = 0;
    for (u32 reason = 0; reason < XVCPU_EXIT_REASON_COUNT; reason++) {
        u64 count = vcpu.statistics.exits[reason];
        if (count) {
            kprintf("%-24s %10lu %22lu\n", xvcpu_exit_reason_name(reason), count,
                    host_ticks[reason] / count);
            host += host_ticks[reason];
        }
        exits += count;
    }
    kprintf("%-24s %10lu %22lu\n", "all", exits, host / (exits ? exits : 1));
    kprintf("port accesses nobody answered: %lu reads, %lu writes\n", devices.unknown_reads,
            devices.unknown_writes);
    for (const struct msr_count *entry = refused_msrs; entry->count; entry++) {
        kprintf("MSR 0x%x refused %u times (%s)\n", entry->index, entry->count,
                xvcpu_msr_name(entry->index));
    }
    kprintf("%lu million instructions, guest and host; %lu million ticks slept through\n",
            ticks / 1000000, time_skipped / 1000000);
}

int kernel_main(void)
{
    const char *end = NULL;
    set_up();
    u64 start = exit_tsc = rdtsc();
    while (!end) {
        end = step();
    }
    u64 ticks = rdtsc() - start;
    kprintf("linux: %s\n", end);
    report(ticks);
    kprintf("linux: %s\n", marker_seen ? "PASS" : "FAIL");
    return marker_seen ? 0 : 1;
}
