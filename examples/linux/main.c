// A VMM that boots an unmodified Linux. kernel_main at the end is the whole story in order.
#include "../kernel/kernel.h"

#include "devices.h"
#include "loader.h"

// -- The library and what it needs from the kernel

#define XVCPU_VIRT_TO_PHYS(context, pointer) ((void)(context), phys_of(pointer))
#define XVCPU_PHYS_TO_VIRT(context, pa) ((void)(context), virt_of(pa))
#define XVCPU_ALLOC_PAGE(context) ((void)(context), page_alloc())
#define XVCPU_FREE_PAGE(context, page) ((void)(context), page_free(page))
#define XVCPU_LOG(context, level, item, text, a, b)                                                \
    ((void)(context), (level) <= XVCPU_LOG_WARNING                                                 \
                          ? kprintf("xvcpu: %s: %s (0x%lx, 0x%lx)\n", item, text, (u64)(a),        \
                                    (u64)(b))                                                      \
                          : (void)0)
// Ticks between an exit and the next entry, by exit reason: here one tick is one instruction.
static u64 exit_tsc, host_ticks[128];
#define XVCPU_TRACE_EXIT(vcpu) (exit_tsc = rdtsc())
#define XVCPU_TRACE_ENTRY(vcpu) (host_ticks[(vcpu)->exit.reason & 127u] += rdtsc() - exit_tsc)
#define XVCPU_IMPLEMENTATION
#include "../../xvcpu.h"

// -- The virtual machine

#define MIB 0x100000u
#define GUEST_RAM (128 * MIB)
#define PAGES_2M 512u
#define GUEST_TSC_HZ 100000000ull // as the command line in payload.sh says
#define MARKER "xvcpu-linux: userspace reached"

static xvcpu_cpu cpu;
static xvcpu_ept ept;
static xvcpu vcpu;
static struct devices devices;
static u64 tsc_offset; // guest time is the processor's TSC plus this
static bool marker_seen;
static u64 returned[128]; // exits the library handed to us, by reason; it handles the others

// MSRs the library leaves to us: the guest gets #GP, which Linux takes for "there is none".
static u32 refused_msrs[32];
static u32 refused_count;

static void must(xvcpu_status status, const xvcpu_error *error, const char *what)
{
    if (status != XVCPU_STATUS_OK) {
        kprintf("linux: cannot %s: %s: %s (value 0x%lx, bits 0x%lx)\n", what,
                xvcpu_status_text(status), error->detail, error->value, error->bits);
        kernel_exit(1);
    }
}

static void need(xvcpu_control_word word, u64 control, const char *what)
{
    if (!(cpu.caps.controls[word].may_be_1 & control)) {
        kprintf("linux: this processor has no %s\n", what);
        kernel_exit(1);
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
        return "the guest used string I/O (INS or OUTS), which this example does not do";
    }
    if (io->in) {
        xvcpu_answer_done(&vcpu, devices_in(&devices, io->port, io->bytes));
        return NULL;
    }
    devices_out(&devices, io->port, (u32)exit->value);
    xvcpu_answer_done(&vcpu, 0);
    return devices.reset ? "the guest reset itself" : NULL;
}

// Nobody gains from waiting: time jumps to the next timer interrupt.
static const char *halted(void)
{
    xvcpu_error error;
    u64 rflags, next = devices_next_event(&devices);
    must(xvcpu_get(&vcpu, XVCPU_REG_RFLAGS, &rflags, &error), &error, "get RFLAGS");
    if (!(rflags & XVCPU_RFLAGS_IF)) {
        return "the guest is off"; // without ACPI this, for ever, is how Linux ends
    }
    if (pic_vector(&devices) < 0) {
        if (next == UINT64_MAX) {
            return "the guest sleeps and nothing will wake it";
        }
        u64 now = guest_now();
        if (next > now) {
            tsc_offset += next - now;
            must(xvcpu_set(&vcpu, XVCPU_REG_TSC_OFFSET, tsc_offset, &error), &error, "set TSC");
        }
    }
    return NULL; // RIP is past the HLT already
}

static const char *refuse_msr(u32 index)
{
    u32 n = 0;
    while (n < refused_count && refused_msrs[n] != index) {
        n++;
    }
    if (n == refused_count && n < sizeof refused_msrs / sizeof refused_msrs[0]) {
        refused_msrs[refused_count++] = index;
    }
    xvcpu_answer_fault(&vcpu, XVCPU_EXCEPTION_GP, 0);
    return NULL;
}

// Null: go on. Otherwise why not.
static const char *handle(const xvcpu_exit *exit)
{
    returned[exit->reason & 127u]++;
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
        return "the guest triple-faulted";
    default:
        kprintf("linux: exit %s at RIP 0x%lx, qualification 0x%lx\n",
                xvcpu_exit_reason_name(exit->reason), exit->rip, exit->qualification);
        return "an exit this example does not handle";
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
    must(xvcpu_run(&vcpu, &error), &error, "run the guest");
    if (vector >= 0 && !xvcpu_cancel_interrupt(&vcpu, (u8)vector)) {
        pic_acknowledge(&devices);
    }
    devices_set_time(&devices, guest_now());
    return handle(&vcpu.exit);
}

// -- From the disk to the end

static void set_up(void)
{
    const xvcpu_ept_desc ept_desc = {0};
    const xvcpu_desc desc = {.ept = &ept};
    xvcpu_error error;
    struct linux_entry entry;

    must(xvcpu_cpu_enable(&cpu, NULL, &error), &error, "enable VMX");
    need(XVCPU_WORD_PROC2, XVCPU_PROC2_EPT, "EPT, without which xvcpu.h runs no guest");
    need(XVCPU_WORD_PROC2, XVCPU_PROC2_UNRESTRICTED_GUEST,
         "\"unrestricted guest\", and Linux starts without paging");
    need(XVCPU_WORD_PIN, XVCPU_PIN_PREEMPTION_TIMER,
         "VMX-preemption timer, by which this example keeps the guest's timer");

    u8 *ram = page_alloc_contiguous(GUEST_RAM / KERNEL_PAGE_SIZE, PAGES_2M);
    const char *problem =
        ram ? linux_load(ram, GUEST_RAM, disk_read, &entry) : "too little memory for the guest";
    if (problem) {
        kprintf("linux: %s\n", problem);
        kernel_exit(1);
    }
    must(xvcpu_ept_create(&ept, &ept_desc, &cpu.caps, &error), &error, "create the EPT");
    must(xvcpu_ept_map(&ept, 0, phys_of(ram), GUEST_RAM, XVCPU_EPT_RWX, XVCPU_MEMORY_WB, &error),
         &error, "map guest memory");
    must(xvcpu_create(&vcpu, &desc, &cpu.caps, &error), &error, "create the virtual CPU");
    must(xvcpu_bind(&vcpu, &cpu, &error), &error, "bind it");
    must(xvcpu_preset_protected(&vcpu, entry.rip, 0, &error), &error, "set its registers");
    must(xvcpu_set(&vcpu, XVCPU_REG_RSI, entry.rsi, &error), &error, "set RSI");

    tsc_offset = 0 - rdtsc(); // the guest's time begins at 0
    must(xvcpu_set(&vcpu, XVCPU_REG_TSC_OFFSET, tsc_offset, &error), &error, "set TSC");
    devices_init(&devices, GUEST_TSC_HZ, guest_now(), console);
}

static const char *msr_name(u32 index)
{
    switch (index) { // some that xvcpu.h has no name for
    case 0x34:
        return "SMI_COUNT";
    case 0x4e:
        return "PPIN_CTL";
    case 0x64e:
        return "PPERF";
    case 0xc0011029:
        return "AMD DE_CFG";
    default:
        return xvcpu_msr_name(index);
    }
}

static void report(u64 ticks)
{
    u64 host = 0;
    kprintf("\nWhy the guest exited, how often, how often the library left it to the VMM, and how\n"
            "many instructions the host then executed until the next entry, on average:\n\n"
            "%-18s %8s %8s %14s\n", "exit reason", "exits", "to VMM", "instructions");
    for (u32 reason = 0; reason < XVCPU_EXIT_REASON_COUNT; reason++) {
        u64 count = vcpu.statistics.exits[reason];
        if (count) {
            kprintf("%-18s %8lu %8lu %14lu\n", xvcpu_exit_reason_name(reason), count,
                    returned[reason], host_ticks[reason] / count);
            host += host_ticks[reason];
        }
    }
    kprintf("\nin all %lu million instructions (the emulator's TSC counts them), the host's: %lu\n",
            ticks / 1000000, host / 1000000);
    kprintf("ports without a device: %lu reads (got all ones), %lu writes (ignored)\n",
            devices.unknown_reads, devices.unknown_writes);
    kprintf("MSRs refused with #GP:");
    for (u32 n = 0; n < refused_count; n++) {
        kprintf("%s %s (%xh)", n ? "," : "", msr_name(refused_msrs[n]), refused_msrs[n]);
    }
    kprintf("\n");
}

int kernel_main(void)
{
    const char *end = NULL;
    set_up();
    kprintf("linux: a guest with %u MiB of memory starts\n", GUEST_RAM / MIB);
    u64 start = exit_tsc = rdtsc();
    while (!end) {
        end = step();
    }
    u64 ticks = rdtsc() - start;
    kprintf("linux: %s\n", end);
    report(ticks);
    kprintf("\nlinux: %s\n", marker_seen ? "PASS, the guest reached its userspace"
                                          : "FAIL, the guest did not reach its userspace");
    return marker_seen ? 0 : 1;
}
