// subject.h - the library and one measurement; included twice, by timed.c and by counted.c, which
// differ in what the library's CPU instructions are.
#include "bench.h"

#define XVCPU_VIRT_TO_PHYS(context, pointer) phys_of(pointer)
#define XVCPU_PHYS_TO_VIRT(context, physical) virt_of(physical)
#define XVCPU_ALLOC_PAGE(context) page_alloc()
#define XVCPU_FREE_PAGE(context, page) page_free(page)
#define XVCPU_STATIC
#define XVCPU_IMPLEMENTATION
#include "xvcpu.h"

#define LEAVE_EVERYTHING                                                                           \
    (XVCPU_LEAVE_SYSCALL_MSRS | XVCPU_LEAVE_DESCRIPTOR_LIMITS | XVCPU_LEAVE_DEBUG_REGISTERS |      \
     XVCPU_LEAVE_FS_GS_BASE | XVCPU_LEAVE_XCR0 | XVCPU_LEAVE_FPU)

static const u32 exit_reasons[BENCH_EXITS] = {
    [BENCH_CPUID] = XVCPU_EXIT_REASON_CPUID,
    [BENCH_CPUID_0] = XVCPU_EXIT_REASON_CPUID,
    [BENCH_CPUID_7] = XVCPU_EXIT_REASON_CPUID,
    [BENCH_RDMSR] = XVCPU_EXIT_REASON_RDMSR,
    [BENCH_WRMSR] = XVCPU_EXIT_REASON_WRMSR,
    [BENCH_CR0] = XVCPU_EXIT_REASON_CR_ACCESS,
    [BENCH_CR4] = XVCPU_EXIT_REASON_CR_ACCESS,
    [BENCH_XSETBV] = XVCPU_EXIT_REASON_XSETBV,
    [BENCH_OUT] = XVCPU_EXIT_REASON_IO_INSTRUCTION,
    [BENCH_RDMSR_OTHER] = XVCPU_EXIT_REASON_RDMSR,
    [BENCH_VMCALL] = XVCPU_EXIT_REASON_VMCALL,
    [BENCH_HLT] = XVCPU_EXIT_REASON_HLT,
    [BENCH_EPT_VIOLATION] = XVCPU_EXIT_REASON_EPT_VIOLATION,
};

static xvcpu_cpu cpu;
static xvcpu_ept ept;
static xvcpu *vcpu; // behind a pointer: no compiler shall know its address, as in most kernels
static void *guest_page;

#define VCPU_PAGES ((sizeof(xvcpu) + KERNEL_PAGE_SIZE - 1) / KERNEL_PAGE_SIZE)

static xvcpu_bool is_done(const xvcpu_exit *exit)
{
    return exit->kind == XVCPU_EXIT_IO && exit->u.io.port == BENCH_PORT_DONE;
}

// -- Handlers

static xvcpu_action handler_default(xvcpu *of, xvcpu_exit *exit, void *context)
{
    (void)of;
    (void)exit;
    (void)context;
    return XVCPU_ACTION_DEFAULT;
}

static xvcpu_action handler_skip(xvcpu *of, xvcpu_exit *exit, void *context)
{
    (void)context;
    if (is_done(exit))
        return XVCPU_ACTION_DEFAULT;
    if (exit->kind == XVCPU_EXIT_MSR_READ) {
        of->gpr[XVCPU_RAX] = 0;
        of->gpr[XVCPU_RDX] = 0;
    }
    return xvcpu_skip_instruction(of, 0) == XVCPU_STATUS_OK ? XVCPU_ACTION_HANDLED
                                                            : XVCPU_ACTION_RETURN;
}

static xvcpu_action handler_memory(xvcpu *of, xvcpu_exit *exit, void *context)
{
    (void)context;
    return xvcpu_set(of, XVCPU_REG_RIP, exit->rip + BENCH_LOAD_BYTES, 0) == XVCPU_STATUS_OK
               ? XVCPU_ACTION_HANDLED
               : XVCPU_ACTION_RETURN;
}

static xvcpu_exit_handler handler_of(enum bench_exit which)
{
    return which < BENCH_RETURNED            ? handler_default
           : which == BENCH_EPT_VIOLATION ? handler_memory
                                          : handler_skip;
}

// -- Set-up

static xvcpu_status prepare(enum bench_exit which, struct bench_setting setting, xvcpu_error *error)
{
    const struct bench_guest *guest = &bench_guests[which];
    const xvcpu_ept_desc ept_desc = {0};
    xvcpu_desc desc = {0};
    xvcpu_status status;

    vcpu = page_alloc_contiguous(VCPU_PAGES, 1);
    guest_page = page_alloc();
    memcpy(guest_page, guest->code, (size_t)(guest->end - guest->code));
    desc.ept = &ept;
    desc.leave_to_host = setting.leave_to_host ? LEAVE_EVERYTHING : XVCPU_LEAVE_NOTHING;
    if ((status = xvcpu_cpu_enable(&cpu, 0, error)) != XVCPU_STATUS_OK ||
        (status = xvcpu_ept_create(&ept, &ept_desc, &cpu.caps, error)) != XVCPU_STATUS_OK ||
        (status = xvcpu_ept_map(&ept, 0, phys_of(guest_page), KERNEL_PAGE_SIZE, XVCPU_EPT_RWX,
                                XVCPU_MEMORY_WB, error)) != XVCPU_STATUS_OK ||
        (status = xvcpu_create(vcpu, &desc, &cpu.caps, error)) != XVCPU_STATUS_OK ||
        (status = xvcpu_bind(vcpu, &cpu, error)) != XVCPU_STATUS_OK ||
        (status = xvcpu_preset_protected(vcpu, 0, 0, error)) != XVCPU_STATUS_OK)
        return status;
    return setting.handler
               ? xvcpu_set_handler(vcpu, exit_reasons[which], handler_of(which), 0, error)
               : XVCPU_STATUS_OK;
}

static void tear_down(void)
{
    (void)xvcpu_destroy(vcpu, 0);
    xvcpu_ept_destroy(&ept);
    (void)xvcpu_cpu_disable(&cpu, 0);
    page_free(guest_page);
    page_free_contiguous(vcpu, VCPU_PAGES);
}

// A run that leaves the tables to the host leaves it with other limits, and the runs after it would
// find nothing to put back.
struct host_tables {
    struct {
        u8 bytes[10];
    } gdt, idt;
};

static void save_tables(struct host_tables *tables)
{
    __asm__ volatile("sgdt %0\n\tsidt %1" : "=m"(tables->gdt), "=m"(tables->idt));
}

static void restore_tables(const struct host_tables *tables)
{
    __asm__ volatile("lgdt %0\n\tlidt %1" : : "m"(tables->gdt), "m"(tables->idt) : "memory");
}

// -- Measurement

static const char *describe(xvcpu_status status, const xvcpu_error *error)
{
    kprintf("# %s: %s\n", xvcpu_status_name(status), error->detail ? error->detail : "");
    return xvcpu_status_text(status);
}

// What a caller does who runs the guest and answers.
static xvcpu_status run_to_end(enum bench_exit which, xvcpu_error *error)
{
    xvcpu_status status;
    while ((status = xvcpu_run(vcpu, error)) == XVCPU_STATUS_OK) {
        if (is_done(&vcpu->exit) || vcpu->exit.reason != exit_reasons[which])
            break;
        if (which == BENCH_EPT_VIOLATION) {
            status = xvcpu_set(vcpu, XVCPU_REG_RIP, vcpu->exit.rip + BENCH_LOAD_BYTES, error);
            if (status != XVCPU_STATUS_OK)
                break;
        } else if (which != BENCH_HLT) { // which is over already
            xvcpu_answer_done(vcpu, 0);
        }
    }
    return status;
}

static const char *run_once(enum bench_exit which, struct bench_setting setting, u64 repetitions,
                            u64 *ticks)
{
    xvcpu_error error = {0};
    u64 exits;
    const char *failure = 0;
    struct host_tables tables;
    xvcpu_status status;
    save_tables(&tables);
    status = prepare(which, setting, &error);
    if (status == XVCPU_STATUS_OK) {
        vcpu->gpr[XVCPU_RSI] = repetitions;
        status = run_to_end(which, &error);
    }
    if (status != XVCPU_STATUS_OK) {
        failure = describe(status, &error);
    } else if (!is_done(&vcpu->exit)) {
        kprintf("# %s at %lx\n", xvcpu_exit_reason_name(vcpu->exit.reason), vcpu->exit.rip);
        failure = "an exit nobody expected";
    } else {
        // One to warm up; some guests have one more in the prologue, or the OUT at the end is one.
        exits = vcpu->statistics.exits[exit_reasons[which]];
        if (exits < repetitions + 1 || exits > repetitions + 2)
            failure = "a number of exits nobody expected";
        *ticks = (u32)vcpu->gpr[XVCPU_RAX];
    }
    tear_down();
    restore_tables(&tables);
    return failure;
}
