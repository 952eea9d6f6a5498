// The life cycle on the simulated processor: enable to disable on every model, every error of
// enable, bind and disable with everything as before, migration, calls in the wrong order.
// T<n> is the number of the trap in the list of things VMX libraries get wrong.

#define XVCPU_IMPLEMENTATION
#include "../sim/sim.h"

#include "status.h"
#include "tap.h"

#define RAM_BYTES 0x200000U

// -- One machine with up to two virtual CPUs

static xvcpu_cpu cpus[SIM_CPUS];
static xvcpu_ept ept;
static xvcpu vcpus[2];
static unsigned char *ram;
static xvcpu_desc wanted; // what create_vcpu uses beside the EPT and the VPID

static void forget(void)
{
    memset(cpus, 0x5C, sizeof cpus); // the old contents do not matter
    memset(&ept, 0, sizeof ept);
    memset(vcpus, 0, sizeof vcpus);
    memset(&wanted, 0, sizeof wanted);
    memset(&error, 0, sizeof error);
}

static xvcpu_cpu *enable(xvcpu_u32 n)
{
    xvcpu_cpu_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.id = n;
    (void)sim_cpu(n);
    must(xvcpu_cpu_enable(&cpus[n], &desc, &error));
    sim_check(xvcpu_cpu_is_enabled(&cpus[n]));
    sim_check(!xvcpu_cpu_is_foreign(&cpus[n]));
    return &cpus[n];
}

static void disable(xvcpu_u32 n)
{
    (void)sim_cpu(n);
    must(xvcpu_cpu_disable(&cpus[n], &error));
    sim_check(!xvcpu_cpu_is_enabled(&cpus[n]));
    sim_check((xvcpu_read_cr4() & XVCPU_CR4_VMXE) == 0);
}

static void create_ept(const xvcpu_caps *caps)
{
    xvcpu_ept_desc desc;
    memset(&desc, 0, sizeof desc);
    must(xvcpu_ept_create(&ept, &desc, caps, &error));
    ram = (unsigned char *)sim_ram(RAM_BYTES, RAM_BYTES);
    must(xvcpu_ept_map(&ept, 0, sim_phys(ram), RAM_BYTES, XVCPU_EPT_RWX, XVCPU_MEMORY_WB, &error));
}

static void create_vcpu(xvcpu_u32 n, const xvcpu_caps *caps)
{
    xvcpu_desc desc = wanted;
    desc.ept = &ept;
    desc.vpid = (xvcpu_u16)(n + 1);
    must(xvcpu_create(&vcpus[n], &desc, caps, &error));
}

static void start(void)
{
    forget();
    (void)enable(0);
    create_ept(&cpus[0].caps);
    create_vcpu(0, &cpus[0].caps);
    must(xvcpu_bind(&vcpus[0], &cpus[0], &error));
    must(xvcpu_preset_long(&vcpus[0], 0x1000, 0x8000, 0x7000, &error));
}

static void stop(void)
{
    (void)sim_cpu(0);
    must(xvcpu_destroy(&vcpus[0], &error));
    xvcpu_ept_destroy(&ept);
    disable(0);
}

// -- A guest with a counter: in its memory, in R12 and in its RIP

typedef struct counter {
    xvcpu_u64 count;  // VMCALLs so far
    xvcpu_u64 gpa;    // where its copy is
    bool hostile;     // changes what VMX does not switch, and wants to find it so again
    xvcpu_u64 fpu[SIM_COMPONENTS], cr2, kernel_gs_base;
} counter;

static void guest_counts(sim_guest *g)
{
    counter *all = (counter *)g->context;
    counter *c = &all[g->vcpu == &vcpus[0] ? 0 : 1];
    xvcpu_u64 *memory = (xvcpu_u64 *)sim_guest_linear(g, 0x400000 + c->gpa, c->gpa,
                                                      XVCPU_EPT_READ | XVCPU_EPT_WRITE);
    sim_check(memory != NULL);
    sim_check_equal(*memory, c->count);
    sim_check_equal(g->gpr[XVCPU_R12], c->count);
    sim_check_equal(sim_get(g, XVCPU_VMCS_GUEST_RIP), 0x8000 + 3 * c->count);
    c->count++;
    *memory = c->count;
    g->gpr[XVCPU_R12] = c->count;
    if (c->hostile) {
        xvcpu_u64 base = 0;
        xvcpu_u32 i;
        for (i = 0; i < SIM_COMPONENTS; i++)
            if (((g->cpu->xcr0 >> i) & 1U) != 0) {
                sim_check_equal(g->cpu->fpu[i], c->fpu[i]); // at first: as after INIT
                c->fpu[i] = g->cpu->fpu[i] = 0x1111111111111111U * c->count + i;
            }
        sim_check_equal(g->cr2, c->cr2);
        sim_check(!sim_guest_rdmsr(g, XVCPU_MSR_IA32_KERNEL_GS_BASE, &base));
        sim_check_equal(base, c->kernel_gs_base);
        for (i = 0; i < 4; i++)
            if ((sim_get(g, XVCPU_VMCS_GUEST_DR7) & XVCPU_DR7_ENABLE_MASK) == 0)
                sim_check_equal(g->cpu->dr7 & XVCPU_DR7_ENABLE_MASK, 0); // no host breakpoint here
        c->cr2 = g->cr2 = 0x6660 + c->count;
        c->kernel_gs_base = 0x12340000 + c->count + c->gpa;
        sim_check(!sim_guest_wrmsr(g, XVCPU_MSR_IA32_KERNEL_GS_BASE, c->kernel_gs_base));
    }
    sim_exit_vmcall(g);
}

static void count_once(xvcpu *vcpu, const counter *c)
{
    const xvcpu_u64 before = c->count;
    must(xvcpu_run(vcpu, &error));
    sim_expect_host(0);
    sim_check_equal(vcpu->exit.reason, XVCPU_EXIT_REASON_VMCALL);
    sim_check_equal(c->count, before + 1);
    xvcpu_answer_done(vcpu, 0);
}

// -- The whole cycle

static void whole_cycle(void *argument)
{
    counter c[2];
    xvcpu_u64 value = 0;
    xvcpu_u32 i;
    (void)argument;
    memset(c, 0, sizeof c);
    c[0].gpa = 0x9000;
    c[0].hostile = true;
    start();
    sim_set_guest(guest_counts, c);
    must(xvcpu_set(&vcpus[0], XVCPU_REG_R12, 0, &error));
    for (i = 0; i < 5; i++)
        count_once(&vcpus[0], &c[0]);
    must(xvcpu_get(&vcpus[0], XVCPU_REG_R12, &value, &error));
    sim_check_equal(value, 5);
    must(xvcpu_get(&vcpus[0], XVCPU_REG_CR2, &value, &error));
    sim_check_equal(value, 0x6665);
    must(xvcpu_unbind(&vcpus[0], &error));
    must(xvcpu_bind(&vcpus[0], &cpus[0], &error));
    count_once(&vcpus[0], &c[0]);
    must(xvcpu_unbind(&vcpus[0], &error));
    stop();
}

static void cycle_with_supply(void *argument)
{
    xvcpu_cpu_desc cpu_desc;
    xvcpu_ept_desc ept_desc;
    xvcpu_desc desc;
    counter c[2];
    (void)argument;
    forget();
    memset(&cpu_desc, 0, sizeof cpu_desc);
    memset(&ept_desc, 0, sizeof ept_desc);
    memset(&desc, 0, sizeof desc);
    memset(c, 0, sizeof c);
    c[0].gpa = 0x9000;
    // No allocator at all: any call of the hook fails.
    sim_alloc_fail_from(1);
    cpu_desc.supply.pages = sim_supply(XVCPU_CPU_PAGES);
    cpu_desc.supply.count = XVCPU_CPU_PAGES;
    must(xvcpu_cpu_enable(&cpus[0], &cpu_desc, &error));
    ept_desc.supply.pages = sim_supply(8);
    ept_desc.supply.count = 8;
    must(xvcpu_ept_create(&ept, &ept_desc, &cpus[0].caps, &error));
    ram = (unsigned char *)sim_ram(RAM_BYTES, RAM_BYTES);
    must(xvcpu_ept_map(&ept, 0, sim_phys(ram), RAM_BYTES, XVCPU_EPT_RWX, XVCPU_MEMORY_WB, &error));
    desc.ept = &ept;
    desc.supply.pages = sim_supply(XVCPU_VCPU_PAGES);
    desc.supply.count = XVCPU_VCPU_PAGES;
    must(xvcpu_create(&vcpus[0], &desc, &cpus[0].caps, &error));
    must(xvcpu_bind(&vcpus[0], &cpus[0], &error));
    must(xvcpu_preset_long(&vcpus[0], 0x1000, 0x8000, 0x7000, &error));
    sim_set_guest(guest_counts, c);
    count_once(&vcpus[0], &c[0]);
    stop();
    sim_check_equal(sim_pages_allocated(), 0);
    // One page less is too little, and says so.
    cpu_desc.supply.count = XVCPU_CPU_PAGES;
    must(xvcpu_cpu_enable(&cpus[0], &cpu_desc, &error));
    must(xvcpu_ept_create(&ept, &ept_desc, &cpus[0].caps, &error));
    desc.supply.count = XVCPU_VCPU_PAGES - 1;
    must_fail(xvcpu_create(&vcpus[0], &desc, &cpus[0].caps, &error), OUT_OF_PAGES);
    xvcpu_ept_destroy(&ept);
    disable(0);
}

// Processors without EPT: VMX can be enabled, a virtual CPU cannot be had.
static void cycle_without_ept(void *argument)
{
    xvcpu_ept_desc ept_desc;
    xvcpu_desc desc;
    (void)argument;
    forget();
    memset(&ept_desc, 0, sizeof ept_desc);
    memset(&desc, 0, sizeof desc);
    (void)enable(0);
    must_fail(xvcpu_ept_create(&ept, &ept_desc, &cpus[0].caps, &error), UNSUPPORTED);
    sim_check_equal(error.msr, XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2);
    sim_check_equal(error.bits, XVCPU_PROC2_EPT);
    sim_check(strstr(error.detail, "EPT") != NULL);
    must_fail(xvcpu_create(&vcpus[0], &desc, &cpus[0].caps, &error), UNSUPPORTED);
    sim_check_equal(error.bits, XVCPU_PROC2_EPT);
    disable(0);
}

// -- Enable: each error, and nothing changed by it

static xvcpu_cpu_desc cpu_desc;

static void refused(xvcpu_status status, xvcpu_u32 msr, xvcpu_u64 bits, const char *detail)
{
    const xvcpu_u64 control = sim_msr_get(XVCPU_MSR_IA32_FEATURE_CONTROL);
    xvcpu_status without;
    sim_counts_clear();
    check_status(xvcpu_cpu_enable(&cpus[0], &cpu_desc, &error), status, "xvcpu_cpu_enable",
                 __FILE__, __LINE__);
    sim_check_equal(error.msr, msr);
    sim_check_equal(error.bits, bits);
    if (!strstr(error.detail, detail))
        sim_fail("detail \"%s\" does not say \"%s\"", error.detail, detail);
    sim_check(!xvcpu_cpu_is_enabled(&cpus[0]));
    sim_expect_host(0);
    sim_check_equal(sim_pages_live(), 0);
    sim_check_equal(sim_msr_get(XVCPU_MSR_IA32_FEATURE_CONTROL), control);
    sim_check_equal(sim_counts.wrmsr, 0);
    // The error is optional.
    without = xvcpu_cpu_enable(&cpus[0], &cpu_desc, NULL);
    (void)without;
    sim_expect_host(0);
    sim_check_equal(sim_pages_live(), 0);
}

static void enable_no_vmx(void *argument)
{
    (void)argument;
    sim_cpuid_change_all(1, 0, 2, (xvcpu_u32)XVCPU_CPUID_1_ECX_VMX, 0);
    refused(XVCPU_STATUS_NO_VMX, 0, XVCPU_CPUID_1_ECX_VMX, "VMX");
    sim_check_equal(sim_counts.rdmsr, 0); // its capability MSRs would not exist
}

static void enable_busy(void *argument)
{
    (void)argument;
    sim_this_cpu()->cr4 |= XVCPU_CR4_VMXE;
    sim_snapshot();
    sim_check(xvcpu_cpu_is_foreign(NULL));
    refused(XVCPU_STATUS_VMX_BUSY, 0, XVCPU_CR4_VMXE, "VMXE");
    sim_this_cpu()->cr4 &= ~XVCPU_CR4_VMXE;
    sim_snapshot();
    sim_check(!xvcpu_cpu_is_foreign(NULL));
}

static void enable_firmware_disabled(void *argument)
{
    (void)argument;
    sim_msr_set_all(XVCPU_MSR_IA32_FEATURE_CONTROL, XVCPU_FEATURE_CONTROL_LOCK);
    refused(XVCPU_STATUS_FIRMWARE_DISABLED, XVCPU_MSR_IA32_FEATURE_CONTROL,
            XVCPU_FEATURE_CONTROL_VMX_OUTSIDE_SMX, "locked");
    // VMX inside SMX alone is of no use.
    sim_msr_set_all(XVCPU_MSR_IA32_FEATURE_CONTROL,
                    XVCPU_FEATURE_CONTROL_LOCK | XVCPU_FEATURE_CONTROL_VMX_IN_SMX);
    refused(XVCPU_STATUS_FIRMWARE_DISABLED, XVCPU_MSR_IA32_FEATURE_CONTROL,
            XVCPU_FEATURE_CONTROL_VMX_OUTSIDE_SMX, "locked");
}

static void enable_unlocked_kept(void *argument)
{
    (void)argument;
    sim_msr_set_all(XVCPU_MSR_IA32_FEATURE_CONTROL, 0);
    cpu_desc.keep_feature_control = 1;
    refused(XVCPU_STATUS_FIRMWARE_UNLOCKED, XVCPU_MSR_IA32_FEATURE_CONTROL, 5, "not locked");
}

static void enable_unlocked(void *argument)
{
    (void)argument;
    // Other bits of the MSR are not ours to clear: they stay for good once it is locked.
    sim_msr_set_all(XVCPU_MSR_IA32_FEATURE_CONTROL, XVCPU_FEATURE_CONTROL_LMCE);
    must(xvcpu_cpu_enable(&cpus[0], NULL, &error));
    sim_check_equal(sim_msr_get(XVCPU_MSR_IA32_FEATURE_CONTROL), XVCPU_FEATURE_CONTROL_LMCE | 5U);
    disable(0);
    // The second time it is locked already.
    sim_counts_clear();
    must(xvcpu_cpu_enable(&cpus[0], NULL, &error));
    sim_check_equal(sim_counts.wrmsr, 0);
    disable(0);
}

static void enable_cr0(void *argument)
{
    (void)argument;
    sim_this_cpu()->cr0 &= ~XVCPU_CR0_NE;
    sim_snapshot();
    cpu_desc.keep_cr0 = 1;
    refused(XVCPU_STATUS_CR0_FIXED, XVCPU_MSR_IA32_VMX_CR0_FIXED0, XVCPU_CR0_NE, "CR0.NE");
    cpu_desc.keep_cr0 = 0;
    must(xvcpu_cpu_enable(&cpus[0], &cpu_desc, &error));
    sim_check((xvcpu_read_cr0() & XVCPU_CR0_NE) != 0);
    disable(0);
    sim_check((xvcpu_read_cr0() & XVCPU_CR0_NE) == 0);
    // A bit that nobody would set behind the kernel's back.
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_CR0_FIXED0, 0x80000021U | XVCPU_CR0_EM);
    refused(XVCPU_STATUS_CR0_FIXED, XVCPU_MSR_IA32_VMX_CR0_FIXED0, XVCPU_CR0_EM, "CR0");
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_CR0_FIXED0, 0x80000021U);
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_CR0_FIXED1, 0xFFFFFFFFU & ~XVCPU_CR0_WP);
    refused(XVCPU_STATUS_CR0_FIXED, XVCPU_MSR_IA32_VMX_CR0_FIXED0, XVCPU_CR0_WP, "CR0");
}

static void enable_cr4(void *argument)
{
    (void)argument;
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_CR4_FIXED1,
                    sim_msr_get(XVCPU_MSR_IA32_VMX_CR4_FIXED1) & ~XVCPU_CR4_PGE);
    refused(XVCPU_STATUS_CR4_FIXED, XVCPU_MSR_IA32_VMX_CR4_FIXED0, XVCPU_CR4_PGE, "CR4");
}

static void enable_osxsave_off(void *argument)
{
    const xvcpu_bool has = sim_this_cpu()->xcr0_supported != 0;
    (void)argument;
    sim_this_cpu()->cr4 &= ~XVCPU_CR4_OSXSAVE;
    sim_snapshot();
    must(xvcpu_cpu_enable(&cpus[0], NULL, &error));
    sim_check_equal((xvcpu_read_cr4() & XVCPU_CR4_OSXSAVE) != 0, has);
    disable(0);
    sim_expect_host(0);
}

static void bad_basic(xvcpu_u64 basic, const char *detail)
{
    const xvcpu_u64 before = sim_msr_get(XVCPU_MSR_IA32_VMX_BASIC);
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_BASIC, basic);
    refused(XVCPU_STATUS_BAD_BASIC, XVCPU_MSR_IA32_VMX_BASIC, 0, detail);
    sim_check_equal(error.value, basic);
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_BASIC, before);
}

static void enable_bad_basic(void *argument)
{
    const xvcpu_u64 basic = sim_msr_get(XVCPU_MSR_IA32_VMX_BASIC);
    const xvcpu_u64 no_size = basic & ~XVCPU_VMX_BASIC_REGION_SIZE_MASK;
    (void)argument;
    bad_basic(no_size, "region size");
    bad_basic(no_size | ((xvcpu_u64)4097 << 32), "region size"); // T4
    bad_basic(basic & ~XVCPU_VMX_BASIC_MEMORY_TYPE_MASK, "memory type");
    bad_basic(basic | XVCPU_BIT64(31), "bit 31");
    // All of a page is allowed.
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_BASIC, no_size | ((xvcpu_u64)4096 << 32));
    must(xvcpu_cpu_enable(&cpus[0], NULL, &error));
    disable(0);
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_BASIC, basic);
}

static void enable_pages(void *argument)
{
    xvcpu_u64 basic = sim_msr_get(XVCPU_MSR_IA32_VMX_BASIC);
    (void)argument;
    sim_alloc_fail_from(1);
    refused(XVCPU_STATUS_OUT_OF_PAGES, 0, 0, "page");
    sim_alloc_fail_at(0);
    sim_alloc_flaw_at(1, SIM_PAGE_MISALIGNED);
    must_fail(xvcpu_cpu_enable(&cpus[0], NULL, &error), BAD_PAGE);
    sim_check_equal(error.value & 0xFFFU, 8);
    sim_check_equal(sim_pages_live(), 0);
    sim_alloc_flaw_at(1, SIM_PAGE_TOO_HIGH);
    must_fail(xvcpu_cpu_enable(&cpus[0], NULL, &error), BAD_PAGE);
    sim_check_equal(sim_pages_live(), 0);
    // T4: addresses of 32 bits.
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_BASIC, basic | XVCPU_VMX_BASIC_ADDRESS_32BIT);
    refused(XVCPU_STATUS_BAD_PAGE, 0, 0, "page");
    sim_low_memory(true);
    must(xvcpu_cpu_enable(&cpus[0], NULL, &error));
    disable(0);
}

// Which kind of bad page it was must not depend on whether somebody asked for details.
static void enable_pages_no_error(void *argument)
{
    (void)argument;
    sim_alloc_flaw_at(1, SIM_PAGE_MISALIGNED);
    sim_check_equal(xvcpu_cpu_enable(&cpus[0], NULL, NULL), XVCPU_STATUS_BAD_PAGE);
    sim_check_equal(sim_pages_live(), 0);
}

static void enable_vmxon_fails(void *argument)
{
    (void)argument;
    sim_this_cpu()->cr0 &= ~XVCPU_CR0_NE;
    sim_snapshot();
    sim_vmfail_next("VMXON", 0);
    must_fail(xvcpu_cpu_enable(&cpus[0], NULL, &error), VMFAIL_INVALID);
    sim_check(strstr(error.detail, "VMXON") != NULL);
    sim_check_equal(error.instruction_error, 0); // T9
    sim_check(!xvcpu_cpu_is_enabled(&cpus[0]));
    sim_expect_host(0); // T2
    sim_check_equal(sim_pages_live(), 0);
}

static void enable_arguments(void *argument)
{
    (void)argument;
    must_fail(xvcpu_cpu_enable(NULL, NULL, &error), INVALID_ARGUMENT);
    cpu_desc.canary_first = 1;
    refused(XVCPU_STATUS_UNINITIALIZED_DESC, 0, 0, "xvcpu_cpu_desc");
    cpu_desc.canary_first = 0;
    cpu_desc.canary_last = 1;
    refused(XVCPU_STATUS_UNINITIALIZED_DESC, 0, 0, "xvcpu_cpu_desc");
    cpu_desc.canary_last = 0;
    cpu_desc.id = 2;
    refused(XVCPU_STATUS_WRONG_CPU, 0, 0, "");
    cpu_desc.id = 0;
    sim_check(!xvcpu_cpu_is_enabled(NULL));
    must_fail(xvcpu_cpu_disable(NULL, &error), INVALID_STATE);
    must_fail(xvcpu_cpu_disable(&cpus[0], &error), INVALID_STATE);
    // Probing changes nothing.
    sim_counts_clear();
    must(xvcpu_probe(&cpus[1].caps, &error));
    sim_check_equal(sim_counts.wrmsr + sim_counts.cr_write + sim_counts.vmxon, 0);
    must_fail(xvcpu_probe(NULL, &error), INVALID_ARGUMENT);
    // Twice: the second is refused, the first goes on.
    must(xvcpu_cpu_enable(&cpus[0], NULL, &error));
    must_fail(xvcpu_cpu_enable(&cpus[0], NULL, &error), VMX_BUSY);
    must_fail(xvcpu_cpu_enable(&cpus[1], NULL, &error), VMX_BUSY);
    sim_check(xvcpu_cpu_is_enabled(&cpus[0]));
    sim_check(xvcpu_cpu_is_foreign(&cpus[1]));
    // From another processor it cannot be disabled.
    (void)sim_cpu(1);
    must_fail(xvcpu_cpu_disable(&cpus[0], &error), WRONG_CPU);
    sim_check(xvcpu_cpu_is_enabled(&cpus[0]));
    disable(0);
    must_fail(xvcpu_cpu_disable(&cpus[0], &error), INVALID_STATE);
}

static void run_enable_test(void *argument)
{
    void (*body)(void *unused);
    forget();
    memset(&cpu_desc, 0, sizeof cpu_desc);
    memcpy(&body, argument, sizeof body);
    body(NULL);
}

// -- Create

static void create_errors(void *argument)
{
    xvcpu_desc desc;
    xvcpu_caps blank;
    xvcpu_ept no_ept;
    const xvcpu_caps *caps;
    xvcpu_u32 pages;
    (void)argument;
    forget();
    memset(&desc, 0, sizeof desc);
    memset(&blank, 0, sizeof blank);
    memset(&no_ept, 0, sizeof no_ept);
    caps = &enable(0)->caps;
    create_ept(caps);
    pages = sim_pages_live();
    desc.ept = &ept;
    must_fail(xvcpu_create(NULL, &desc, caps, &error), INVALID_ARGUMENT);
    must_fail(xvcpu_create(&vcpus[0], NULL, caps, &error), INVALID_ARGUMENT);
    must_fail(xvcpu_create(&vcpus[0], &desc, NULL, &error), INVALID_ARGUMENT);
    must_fail(xvcpu_create(&vcpus[0], &desc, &blank, &error), INVALID_ARGUMENT);
    desc.ept = NULL;
    must_fail(xvcpu_create(&vcpus[0], &desc, caps, &error), INVALID_ARGUMENT);
    desc.ept = &no_ept;
    must_fail(xvcpu_create(&vcpus[0], &desc, caps, &error), INVALID_ARGUMENT);
    desc.ept = &ept;
    desc.canary_first = 7;
    must_fail(xvcpu_create(&vcpus[0], &desc, caps, &error), UNINITIALIZED_DESC);
    desc.canary_first = 0;
    desc.canary_last = 7;
    must_fail(xvcpu_create(&vcpus[0], &desc, caps, &error), UNINITIALIZED_DESC);
    desc.canary_last = 0;
    desc.require_features = XVCPU_BIT64(XVCPU_FEATURE_LA57);
    must_fail(xvcpu_create(&vcpus[0], &desc, caps, &error), UNSUPPORTED);
    sim_check(strcmp(error.detail, xvcpu_feature_name(XVCPU_FEATURE_LA57)) == 0);
    desc.require_features = 0;
    desc.required_controls[XVCPU_WORD_PROC2] = XVCPU_PROC2_PCONFIG;
    must_fail(xvcpu_create(&vcpus[0], &desc, caps, &error), CONTROL_UNSUPPORTED);
    sim_check_equal(error.msr, XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2);
    sim_check_equal(error.bits, XVCPU_PROC2_PCONFIG);
    desc.required_controls[XVCPU_WORD_PROC2] = 0;
    desc.required_controls[XVCPU_WORD_PROC3] = XVCPU_PROC3_HLAT;
    must_fail(xvcpu_create(&vcpus[0], &desc, caps, &error), CONTROL_UNSUPPORTED);
    sim_check_equal(error.msr, XVCPU_MSR_IA32_VMX_PROCBASED_CTLS3);
    sim_check_equal(sim_pages_live(), pages);
    must_fail(xvcpu_destroy(&vcpus[0], &error), INVALID_STATE);
    xvcpu_ept_destroy(&ept);
    disable(0);
}

// -- Bind

static void bind_refused(xvcpu_status status, const char *detail)
{
    check_status(xvcpu_bind(&vcpus[0], &cpus[0], &error), status, "xvcpu_bind", __FILE__, __LINE__);
    if (!strstr(error.detail, detail))
        sim_fail("detail \"%s\" does not say \"%s\"", error.detail, detail);
    must_fail(xvcpu_unbind(&vcpus[0], &error), NOT_BOUND);
    must_fail(xvcpu_run(&vcpus[0], &error), NOT_BOUND);
}

static void bind_errors(void *argument)
{
    sim_processor *cpu = sim_cpu_at(0);
    const sim_segment tr = cpu->segments[XVCPU_TR], cs = cpu->segments[XVCPU_CS];
    counter c[2];
    (void)argument;
    forget();
    memset(c, 0, sizeof c);
    c[0].gpa = 0x9000;
    (void)enable(0);
    create_ept(&cpus[0].caps);
    must_fail(xvcpu_bind(&vcpus[0], &cpus[0], &error), INVALID_STATE); // not created
    create_vcpu(0, &cpus[0].caps);
    must_fail(xvcpu_bind(&vcpus[0], &cpus[1], &error), INVALID_STATE); // not enabled
    must_fail(xvcpu_bind(&vcpus[0], NULL, &error), INVALID_STATE);
    must_fail(xvcpu_bind(NULL, &cpus[0], &error), INVALID_STATE);
    (void)sim_cpu(1);
    must_fail(xvcpu_bind(&vcpus[0], &cpus[0], &error), WRONG_CPU);
    (void)sim_cpu(0);
    cpu->segments[XVCPU_TR].selector = 0; // T20: a kernel without a TSS
    bind_refused(XVCPU_STATUS_NO_TSS, "TR");
    cpu->segments[XVCPU_TR].selector = 0x44;
    bind_refused(XVCPU_STATUS_BAD_HOST_STATE, "TR");
    cpu->segments[XVCPU_TR] = tr;
    cpu->segments[XVCPU_CS].selector = 0;
    bind_refused(XVCPU_STATUS_BAD_HOST_STATE, "CS");
    cpu->segments[XVCPU_CS] = cs;
    sim_vmfail_next("VMCLEAR", 2);
    bind_refused(XVCPU_STATUS_VMFAIL_INVALID, "VMCLEAR");
    sim_vmfail_next("VMPTRLD", 9);
    bind_refused(XVCPU_STATUS_VMFAIL_INVALID, "VMPTRLD");
    sim_vmfail_next("VMWRITE", 12);
    bind_refused(XVCPU_STATUS_VMFAIL, "VMWRITE");
    sim_check_equal(error.status, XVCPU_STATUS_NOT_BOUND);
    // After all that it still works.
    must(xvcpu_bind(&vcpus[0], &cpus[0], &error));
    must_fail(xvcpu_bind(&vcpus[0], &cpus[0], &error), INVALID_STATE); // bound already
    must(xvcpu_preset_long(&vcpus[0], 0x1000, 0x8000, 0x7000, &error));
    sim_set_guest(guest_counts, c);
    count_once(&vcpus[0], &c[0]);
    stop();
}

// A virtual CPU goes only where its controls and features exist.
static void bind_other_capabilities(void *argument)
{
    (void)argument;
    start();
    must(xvcpu_unbind(&vcpus[0], &error));
    (void)enable(1);
    cpus[1].caps.revision ^= 1U;
    must_fail(xvcpu_bind(&vcpus[0], &cpus[1], &error), CONTROL_UNSUPPORTED);
    sim_check_equal(error.msr, XVCPU_MSR_IA32_VMX_BASIC);
    cpus[1].caps.revision ^= 1U;
    cpus[1].caps.controls[XVCPU_WORD_PROC2].may_be_1 &= ~XVCPU_PROC2_EPT;
    must_fail(xvcpu_bind(&vcpus[0], &cpus[1], &error), CONTROL_UNSUPPORTED);
    sim_check_equal(error.bits, XVCPU_PROC2_EPT);
    cpus[1].caps.controls[XVCPU_WORD_PROC2].may_be_1 |= XVCPU_PROC2_EPT;
    cpus[1].caps.features &= ~XVCPU_BIT64(XVCPU_FEATURE_NX);
    must_fail(xvcpu_bind(&vcpus[0], &cpus[1], &error), UNSUPPORTED);
    disable(1);
    stop();
}

// -- Wrong order

static void wrong_order(void *argument)
{
    xvcpu_u64 value = 0x77;
    xvcpu_cpu_mode mode;
    xvcpu_paging paging;
    counter c[2];
    xvcpu *const v = &vcpus[0];
    (void)argument;
    memset(c, 0, sizeof c);
    c[0].gpa = 0x9000;
    start();
    sim_set_guest(guest_counts, c);
    count_once(v, &c[0]);
    // Bound to processor 0, asked on processor 1: nothing is touched there.
    (void)enable(1);
    sim_counts_clear();
    must_fail(xvcpu_run(v, &error), WRONG_CPU);
    must_fail(xvcpu_get(v, XVCPU_REG_RIP, &value, &error), WRONG_CPU);
    must_fail(xvcpu_set(v, XVCPU_REG_RIP, 1, &error), WRONG_CPU);
    must_fail(xvcpu_unbind(v, &error), WRONG_CPU);
    must_fail(xvcpu_destroy(v, &error), WRONG_CPU);
    must_fail(xvcpu_bind(v, &cpus[1], &error), INVALID_STATE); // unbind there first
    must_fail(xvcpu_set_ept(v, &ept, &error), WRONG_CPU);
    must_fail(xvcpu_preset_real(v, 0, 0x7C00, &error), WRONG_CPU);
    must_fail(xvcpu_set_budget(v, 1000, &error), WRONG_CPU);
    sim_check_equal(sim_counts.vmread + sim_counts.vmwrite + sim_counts.vmclear +
                        sim_counts.vmptrld + sim_counts.entries,
                    0);
    sim_check_equal(value, 0x77);
    disable(1);
    (void)sim_cpu(0);
    count_once(v, &c[0]);
    // Unbound.
    must(xvcpu_unbind(v, &error));
    sim_counts_clear();
    must_fail(xvcpu_unbind(v, &error), NOT_BOUND);
    must_fail(xvcpu_run(v, &error), NOT_BOUND);
    must_fail(xvcpu_get(v, XVCPU_REG_RIP, &value, &error), NOT_BOUND);
    must_fail(xvcpu_get(v, XVCPU_REG_RAX, &value, &error), NOT_BOUND);
    must_fail(xvcpu_set(v, XVCPU_REG_RIP, 1, &error), NOT_BOUND);
    must_fail(xvcpu_get_mode(v, &mode, &error), NOT_BOUND);
    must_fail(xvcpu_get_paging(v, &paging, &error), NOT_BOUND);
    must_fail(xvcpu_preset_reset(v, &error), NOT_BOUND);
    must_fail(xvcpu_preset_protected(v, 0, 0, &error), NOT_BOUND);
    must_fail(xvcpu_preset_long(v, 0, 0, 0, &error), NOT_BOUND);
    must_fail(xvcpu_preset_wait_sipi(v, &error), NOT_BOUND);
    must_fail(xvcpu_start_sipi(v, 1, &error), NOT_BOUND);
    must_fail(xvcpu_skip_instruction(v, &error), NOT_BOUND);
    must_fail(xvcpu_set_budget(v, 1, &error), NOT_BOUND);
    sim_check_equal(sim_counts.vmread + sim_counts.vmwrite + sim_counts.vmclear +
                        sim_counts.vmptrld + sim_counts.entries,
                    0);
    sim_check_equal(value, 0x77);
    must(xvcpu_bind(v, &cpus[0], &error));
    count_once(v, &c[0]);
    stop();
    // Destroyed.
    must_fail(xvcpu_run(v, &error), INVALID_STATE);
    must_fail(xvcpu_unbind(v, &error), INVALID_STATE);
    must_fail(xvcpu_destroy(v, &error), INVALID_STATE);
    must_fail(xvcpu_bind(v, &cpus[0], &error), INVALID_STATE);
    must_fail(xvcpu_set_handler(v, 0, NULL, NULL, &error), INVALID_STATE);
}

// -- Disable with virtual CPUs still there (T6)

static void disable_with_active(void *argument)
{
    counter c[2];
    (void)argument;
    memset(c, 0, sizeof c);
    c[0].gpa = 0x9000;
    c[1].gpa = 0xA000;
    start();
    create_vcpu(1, &cpus[0].caps);
    must(xvcpu_bind(&vcpus[1], &cpus[0], &error));
    must(xvcpu_preset_long(&vcpus[1], 0x1000, 0x8000, 0x7000, &error));
    sim_set_guest(guest_counts, c);
    count_once(&vcpus[0], &c[0]);
    count_once(&vcpus[1], &c[1]);
    disable(0); // the simulator fails on VMXOFF with an active VMCS
    must_fail(xvcpu_run(&vcpus[0], &error), NOT_BOUND);
    must_fail(xvcpu_run(&vcpus[1], &error), NOT_BOUND);
    // They live on: enabled again, they go on where they were.
    (void)enable(0);
    must(xvcpu_bind(&vcpus[1], &cpus[0], &error));
    count_once(&vcpus[1], &c[1]);
    must(xvcpu_destroy(&vcpus[1], &error));
    disable(0);
    must(xvcpu_destroy(&vcpus[0], &error)); // VMX is off: no instruction of it is left to run
    xvcpu_ept_destroy(&ept);
}

// -- Two virtual CPUs take turns on one processor

static void two_on_one(void *argument)
{
    counter c[2];
    xvcpu_u32 i;
    xvcpu_u64 value;
    (void)argument;
    memset(c, 0, sizeof c);
    c[0].gpa = 0x9000;
    c[1].gpa = 0xA000;
    c[0].hostile = c[1].hostile = true;
    start();
    create_vcpu(1, &cpus[0].caps);
    must(xvcpu_bind(&vcpus[1], &cpus[0], &error));
    must(xvcpu_preset_long(&vcpus[1], 0x1000, 0x8000, 0x7000, &error));
    sim_set_guest(guest_counts, c);
    for (i = 0; i < 20; i++) {
        const xvcpu_u32 n = (i * 7 / 3) % 2;
        count_once(&vcpus[n], &c[n]);
        must(xvcpu_get(&vcpus[1 - n], XVCPU_REG_RIP, &value, &error));
        sim_check(value == 0x8000 + 3 * c[1 - n].count ||
                  value + 3 == 0x8000 + 3 * c[1 - n].count);
    }
    // No VMPTRLD where the VMCS is current already.
    count_once(&vcpus[0], &c[0]);
    sim_counts_clear();
    count_once(&vcpus[0], &c[0]);
    sim_check_equal(sim_counts.vmptrld, 0);
    count_once(&vcpus[1], &c[1]);
    sim_check_equal(sim_counts.vmptrld, 1);
    must(xvcpu_unbind(&vcpus[0], &error));
    count_once(&vcpus[1], &c[1]);
    must(xvcpu_destroy(&vcpus[1], &error));
    stop();
}

// -- Migration (T7, T23, T70)

static void migration(void *argument)
{
    counter c[2];
    xvcpu_u32 i, n;
    (void)argument;
    memset(c, 0, sizeof c);
    c[0].gpa = 0x9000;
    c[0].hostile = true;
    start();
    for (n = 1; n < SIM_CPUS; n++)
        (void)enable(n);
    (void)sim_cpu(0);
    sim_set_guest(guest_counts, c);
    for (i = 0; i < 1000; i++) {
        count_once(&vcpus[0], &c[0]);
        if (i % 3 == 0)
            count_once(&vcpus[0], &c[0]);
        must(xvcpu_unbind(&vcpus[0], &error));
        n = (i * 5 + 1) % SIM_CPUS;
        (void)sim_cpu(n);
        must(xvcpu_bind(&vcpus[0], &cpus[n], &error));
        if (i == 500) { // the guest's own tables change while it is elsewhere
            unsigned char *moved = ram + 0xB000;
            memcpy(moved, ram + c[0].gpa, 8);
            memmove(ram + 0x9000, moved, 8);
        }
    }
    count_once(&vcpus[0], &c[0]);
    must(xvcpu_unbind(&vcpus[0], &error));
    for (n = SIM_CPUS; n-- > 1;)
        disable(n);
    stop();
}

// The guest's linear mappings change on one processor; what another one cached is stale.
static xvcpu_u64 linear_gpa;
static void guest_linear(sim_guest *g)
{
    sim_check(sim_guest_linear(g, 0x500000, linear_gpa, XVCPU_EPT_READ) != NULL);
    sim_exit_vmcall(g);
}

static void run_linear(xvcpu_u64 gpa)
{
    linear_gpa = gpa;
    must(xvcpu_run(&vcpus[0], &error));
    xvcpu_answer_done(&vcpus[0], 0);
}

static void migration_translations(void *argument)
{
    (void)argument;
    start();
    (void)enable(1);
    (void)sim_cpu(0);
    sim_set_guest(guest_linear, NULL);
    run_linear(0x3000);
    must(xvcpu_unbind(&vcpus[0], &error));
    (void)sim_cpu(1);
    must(xvcpu_bind(&vcpus[0], &cpus[1], &error));
    run_linear(0x4000); // nothing cached here yet
    must(xvcpu_unbind(&vcpus[0], &error));
    (void)sim_cpu(0);
    must(xvcpu_bind(&vcpus[0], &cpus[0], &error));
    run_linear(0x4000); // and here 0x3000 was
    // Another virtual CPU with the same VPID.
    must(xvcpu_destroy(&vcpus[0], &error));
    create_vcpu(0, &cpus[0].caps);
    must(xvcpu_bind(&vcpus[0], &cpus[0], &error));
    must(xvcpu_preset_long(&vcpus[0], 0x1000, 0x8000, 0x7000, &error));
    run_linear(0x5000);
    disable(1);
    stop();
}

// EPT changes reach every processor that has run the guest (T68, T69).
static xvcpu_u64 touched_gpa;
static xvcpu_u32 touched_access;
static bool touched;
static void guest_touches(sim_guest *g)
{
    touched = sim_guest_access(g, touched_gpa, touched_access) != NULL;
    if (touched)
        sim_exit_vmcall(g);
    else
        sim_exit_ept(g, touched_gpa, touched_access, 0, false);
}

static bool touch(xvcpu_u32 n, xvcpu_u64 gpa, xvcpu_u32 access)
{
    touched_gpa = gpa;
    touched_access = access;
    must(xvcpu_run(&vcpus[n], &error));
    if (touched)
        xvcpu_answer_done(&vcpus[n], 0);
    else
        sim_check_equal(vcpus[n].exit.reason, XVCPU_EXIT_REASON_EPT_VIOLATION);
    return touched;
}

static void ept_changes(void *argument)
{
    const xvcpu_u32 which = *(const xvcpu_u32 *)argument;
    xvcpu_u64 cap;
    forget();
    cap = sim_msr_get(XVCPU_MSR_IA32_VMX_EPT_VPID_CAP);
    if (which == 1)
        cap &= ~(XVCPU_VMX_EPT_VPID_CAP_INVEPT_SINGLE | XVCPU_VMX_EPT_VPID_CAP_INVVPID_SINGLE);
    if (which == 2)
        cap &= ~(XVCPU_VMX_EPT_VPID_CAP_INVEPT_ALL | XVCPU_VMX_EPT_VPID_CAP_INVVPID_ALL);
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_EPT_VPID_CAP, cap);
    start();
    (void)enable(1);
    create_vcpu(1, &cpus[1].caps);
    must(xvcpu_bind(&vcpus[1], &cpus[1], &error));
    must(xvcpu_preset_long(&vcpus[1], 0x1000, 0x8000, 0x7000, &error));
    sim_set_guest(guest_touches, NULL);
    (void)sim_cpu(0);
    sim_check(touch(0, 0x10000, XVCPU_EPT_WRITE));
    (void)sim_cpu(1);
    sim_check(touch(1, 0x10000, XVCPU_EPT_WRITE));
    must(xvcpu_ept_protect(&ept, 0x10000, 0x1000, XVCPU_EPT_READ, &error));
    sim_check(!touch(1, 0x10000, XVCPU_EPT_WRITE));
    (void)sim_cpu(0);
    sim_check(!touch(0, 0x10000, XVCPU_EPT_WRITE));
    sim_check(touch(0, 0x10000, XVCPU_EPT_READ));
    must(xvcpu_ept_unmap(&ept, 0x10000, 0x1000, &error));
    sim_check(!touch(0, 0x10000, XVCPU_EPT_READ));
    (void)sim_cpu(1);
    sim_check(!touch(1, 0x10000, XVCPU_EPT_READ));
    // Not present to present: no INVEPT is due, and none is made.
    must(xvcpu_ept_map(&ept, 0x10000, sim_phys(ram) + 0x20000, 0x1000, XVCPU_EPT_RWX,
                       XVCPU_MEMORY_WB, &error));
    sim_counts_clear();
    sim_check(touch(1, 0x10000, XVCPU_EPT_READ));
    sim_check_equal(sim_counts.invept, 0);
    // Somewhere else.
    must(xvcpu_ept_unmap(&ept, 0x10000, 0x1000, &error));
    must(xvcpu_ept_map(&ept, 0x10000, sim_phys(ram) + 0x30000, 0x1000, XVCPU_EPT_RWX,
                       XVCPU_MEMORY_WB, &error));
    sim_check(touch(1, 0x10000, XVCPU_EPT_READ));
    (void)sim_cpu(0);
    sim_check(touch(0, 0x10000, XVCPU_EPT_READ));
    // Nothing changed: nothing is flushed.
    sim_counts_clear();
    sim_check(touch(0, 0x10000, XVCPU_EPT_READ));
    sim_check_equal(sim_counts.invept + sim_counts.invvpid, 0);
    (void)sim_cpu(1);
    must(xvcpu_destroy(&vcpus[1], &error));
    disable(1);
    stop();
}

// The EPT changes while the virtual CPU is elsewhere: what it left behind here is stale.
static void migration_ept(void *argument)
{
    (void)argument;
    start();
    (void)enable(1);
    sim_set_guest(guest_touches, NULL);
    (void)sim_cpu(0);
    sim_check(touch(0, 0x10000, XVCPU_EPT_READ));
    must(xvcpu_unbind(&vcpus[0], &error));
    (void)sim_cpu(1);
    must(xvcpu_bind(&vcpus[0], &cpus[1], &error));
    sim_check(touch(0, 0x11000, XVCPU_EPT_READ));
    must(xvcpu_ept_unmap(&ept, 0x10000, 0x1000, &error));
    sim_check(touch(0, 0x11000, XVCPU_EPT_READ));
    must(xvcpu_unbind(&vcpus[0], &error));
    (void)sim_cpu(0);
    must(xvcpu_bind(&vcpus[0], &cpus[0], &error));
    sim_check(!touch(0, 0x10000, XVCPU_EPT_READ));
    disable(1);
    stop();
}

static void another_ept(void *argument)
{
    xvcpu_ept second;
    xvcpu_ept_desc desc;
    (void)argument;
    start();
    memset(&desc, 0, sizeof desc);
    memset(&second, 0, sizeof second);
    must(xvcpu_ept_create(&second, &desc, &cpus[0].caps, &error));
    must(xvcpu_ept_map(&second, 0, sim_phys(ram) + 0x100000, 0x1000, XVCPU_EPT_RWX, XVCPU_MEMORY_WB,
                       &error));
    sim_set_guest(guest_touches, NULL);
    sim_check(touch(0, 0, XVCPU_EPT_READ));
    must_fail(xvcpu_set_ept(&vcpus[0], NULL, &error), INVALID_ARGUMENT);
    must(xvcpu_set_ept(&vcpus[0], &second, &error));
    sim_check(touch(0, 0, XVCPU_EPT_READ));
    sim_check(!touch(0, 0x1000, XVCPU_EPT_READ));
    must(xvcpu_set_ept(&vcpus[0], &ept, &error));
    sim_check(touch(0, 0x1000, XVCPU_EPT_READ));
    xvcpu_ept_destroy(&second);
    stop();
}

// -- A host that changes while a virtual CPU stays bound (T22, T23)

static void host_changes(void *argument)
{
    counter c[2];
    sim_processor *cpu;
    xvcpu_u64 table[SIM_GDT_ENTRIES * 2];
    (void)argument;
    memset(c, 0, sizeof c);
    c[0].gpa = 0x9000;
    start();
    sim_set_guest(guest_counts, c);
    cpu = sim_cpu(0);
    count_once(&vcpus[0], &c[0]);
    cpu->cr3 += 0x1000; // another address space
    sim_snapshot();
    count_once(&vcpus[0], &c[0]);
    xvcpu_wrmsr(XVCPU_MSR_IA32_FS_BASE, 0x1111000);
    xvcpu_wrmsr(XVCPU_MSR_IA32_GS_BASE, 0x2222000);
    xvcpu_wrmsr(XVCPU_MSR_IA32_KERNEL_GS_BASE, 0x3333000);
    sim_snapshot();
    count_once(&vcpus[0], &c[0]);
    cpu->cr4 ^= XVCPU_CR4_PGE;
    cpu->cr0 ^= XVCPU_CR0_WP;
    sim_snapshot();
    count_once(&vcpus[0], &c[0]);
    cpu->dr7 = XVCPU_DR7_FIXED_1;
    cpu->dr[2] = 0x999000;
    cpu->dr7 |= XVCPU_BIT64(5);
    sim_snapshot();
    count_once(&vcpus[0], &c[0]);
    // A GDT somewhere else, with another limit.
    memset(table, 0, sizeof table);
    memcpy(table, cpu->gdt, sizeof cpu->gdt);
    cpu->gdtr_base = (xvcpu_u64)(uintptr_t)table;
    cpu->gdtr_limit = sizeof table - 1;
    cpu->idtr_base += 8;
    cpu->idtr_limit = 0xFFF;
    sim_snapshot();
    count_once(&vcpus[0], &c[0]);
    cpu->segments[XVCPU_LDTR].selector = 0;
    sim_snapshot();
    count_once(&vcpus[0], &c[0]);
    // Lazy x87 switching: TS is set when the guest is run.
    cpu->cr0 |= XVCPU_CR0_TS;
    sim_snapshot();
    count_once(&vcpus[0], &c[0]);
    // Limits as an exit leaves them: nothing to put back.
    cpu->gdtr_base = (xvcpu_u64)(uintptr_t)cpu->gdt;
    cpu->gdtr_limit = cpu->idtr_limit = 0xFFFF;
    sim_snapshot();
    count_once(&vcpus[0], &c[0]);
    stop();
}

// User selectors and their RPL do not fit the VMCS, and yet stay (T20).
static void host_selectors(void *argument)
{
    counter c[2];
    sim_processor *cpu;
    (void)argument;
    memset(c, 0, sizeof c);
    c[0].gpa = 0x9000;
    cpu = sim_cpu(0);
    cpu->segments[XVCPU_DS].selector = 0x10;
    cpu->segments[XVCPU_ES].selector = 0;
    cpu->segments[XVCPU_FS].selector = 0x2B;
    cpu->segments[XVCPU_GS].selector = 0x33;
    sim_snapshot();
    start();
    sim_set_guest(guest_counts, c);
    count_once(&vcpus[0], &c[0]);
    count_once(&vcpus[0], &c[0]);
    stop();
}

// A guest with a breakpoint of its own, in a host with one (T25): neither sees the other's.
static void guest_with_breakpoint(sim_guest *g)
{
    sim_check_equal(g->cpu->dr[0], 0x123456);
    sim_check_equal(g->cpu->dr7 & XVCPU_DR7_ENABLE_MASK, 2);
    sim_exit_vmcall(g);
}

static void breakpoints(void *argument)
{
    (void)argument;
    start();
    must(xvcpu_set(&vcpus[0], XVCPU_REG_DR0, 0x123456, &error));
    must(xvcpu_set(&vcpus[0], XVCPU_REG_DR7, 0x402, &error));
    sim_set_guest(guest_with_breakpoint, NULL);
    must(xvcpu_run(&vcpus[0], &error));
    sim_expect_host(0);
    xvcpu_answer_done(&vcpus[0], 0);
    xvcpu_kick(&vcpus[0]); // returns without an exit in between
    must(xvcpu_run(&vcpus[0], &error));
    sim_check_equal(vcpus[0].exit.kind, XVCPU_EXIT_KICKED);
    sim_expect_host(0);
    stop();
}

// -- Host NMI and interrupt (T29)

static void guest_nmi(sim_guest *g)
{
    if (g->entry == 1)
        sim_exit_nmi(g);
    else
        sim_exit_interrupt(g, 0x30);
}

static void host_events(void *argument)
{
    (void)argument;
    start();
    sim_set_guest(guest_nmi, NULL);
    must(xvcpu_run(&vcpus[0], &error));
    sim_check_equal(vcpus[0].exit.reason, XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT);
    sim_check_equal(sim_this_cpu()->nmis_taken, 1);
    sim_expect_host(0);
    stop();
}

// -- Entries that fail (T8, T41)

static void failed_entries(void *argument)
{
    counter c[2];
    (void)argument;
    memset(c, 0, sizeof c);
    c[0].gpa = 0x9000;
    start();
    sim_set_guest(guest_counts, c);
    // A bad guest state: an exit with bit 31, no launch.
    sim_vmcs_set(vcpus[0].vmcs_pa, XVCPU_VMCS_GUEST_RFLAGS, 0);
    must_fail(xvcpu_run(&vcpus[0], &error), ENTRY_FAILED);
    sim_check_equal(error.exit_reason, 0x80000021U);
    sim_check_equal(vcpus[0].launched, 0);
    sim_expect_host(0);
    // A bad control: VMfailValid 7, from VMLAUNCH.
    sim_vmcs_set(vcpus[0].vmcs_pa, XVCPU_VMCS_GUEST_RFLAGS, 2);
    sim_vmcs_set(vcpus[0].vmcs_pa, XVCPU_VMCS_CTRL_CR3_TARGET_COUNT, 9);
    must_fail(xvcpu_run(&vcpus[0], &error), VMFAIL);
    sim_check_equal(error.instruction_error, 7);
    sim_check(strcmp(error.detail, "VMLAUNCH") == 0);
    sim_expect_host(0);
    sim_vmcs_set(vcpus[0].vmcs_pa, XVCPU_VMCS_CTRL_CR3_TARGET_COUNT, 0);
    // Mended: it launches, and then resumes.
    count_once(&vcpus[0], &c[0]);
    sim_check_equal(vcpus[0].launched, 1);
    count_once(&vcpus[0], &c[0]);
    // The same from VMRESUME.
    sim_vmcs_set(vcpus[0].vmcs_pa, XVCPU_VMCS_CTRL_CR3_TARGET_COUNT, 9);
    must_fail(xvcpu_run(&vcpus[0], &error), VMFAIL);
    sim_check(strcmp(error.detail, "VMRESUME") == 0);
    sim_vmcs_set(vcpus[0].vmcs_pa, XVCPU_VMCS_CTRL_CR3_TARGET_COUNT, 0);
    count_once(&vcpus[0], &c[0]);
    // VM instructions that fail on the way are reported, not dropped.
    sim_vmfail_next("VMREAD", 12);
    must_fail(xvcpu_run(&vcpus[0], &error), VMFAIL);
    sim_check_equal(error.instruction_error, 12);
    must(xvcpu_ept_unmap(&ept, 0x10000, 0x1000, &error));
    sim_vmfail_next("INVEPT", 28);
    must_fail(xvcpu_run(&vcpus[0], &error), VMFAIL);
    sim_check_equal(error.instruction_error, 28);
    sim_check(strcmp(error.detail, "INVEPT") == 0);
    sim_expect_host(0);
    stop();
}

// What must be flushed and could not be is still due.
static void failed_flush(void *argument)
{
    (void)argument;
    start();
    sim_set_guest(guest_touches, NULL);
    sim_check(touch(0, 0x10000, XVCPU_EPT_READ));
    must(xvcpu_ept_unmap(&ept, 0x10000, 0x1000, &error));
    sim_vmfail_next("INVEPT", 28);
    must_fail(xvcpu_run(&vcpus[0], &error), VMFAIL);
    sim_check(!touch(0, 0x10000, XVCPU_EPT_READ));
    stop();
}

static void failed_ends(void *argument)
{
    (void)argument;
    start();
    sim_vmfail_next("VMCLEAR", 2);
    must_fail(xvcpu_unbind(&vcpus[0], &error), VMFAIL);
    sim_check_equal(error.instruction_error, 2);
    sim_vmfail_next("VMCLEAR", 2);
    must_fail(xvcpu_destroy(&vcpus[0], &error), VMFAIL);
    sim_vmfail_next("VMCLEAR", 2);
    must_fail(xvcpu_cpu_disable(&cpus[0], &error), VMFAIL);
    sim_check(xvcpu_cpu_is_enabled(&cpus[0]));
    must(xvcpu_destroy(&vcpus[0], &error));
    sim_vmfail_next("VMXOFF", 0);
    must_fail(xvcpu_cpu_disable(&cpus[0], &error), VMFAIL_INVALID);
    sim_check(xvcpu_cpu_is_enabled(&cpus[0]));
    xvcpu_ept_destroy(&ept);
    disable(0);
}

// -- What is left to the host on purpose

static void left_to_host(void *argument)
{
    counter c[2];
    (void)argument;
    memset(c, 0, sizeof c);
    c[0].gpa = 0x9000;
    forget();
    wanted.leave_to_host = XVCPU_LEAVE_SYSCALL_MSRS | XVCPU_LEAVE_DESCRIPTOR_LIMITS |
                           XVCPU_LEAVE_DEBUG_REGISTERS | XVCPU_LEAVE_FS_GS_BASE |
                           XVCPU_LEAVE_XCR0 | XVCPU_LEAVE_FPU;
    // Selectors with an RPL are put back only together with the tables' limits.
    sim_this_cpu()->segments[XVCPU_DS].selector = 0;
    sim_this_cpu()->segments[XVCPU_ES].selector = 0;
    sim_this_cpu()->segments[XVCPU_FS].selector = 0;
    sim_snapshot();
    (void)enable(0);
    create_ept(&cpus[0].caps);
    create_vcpu(0, &cpus[0].caps);
    must(xvcpu_bind(&vcpus[0], &cpus[0], &error));
    must(xvcpu_preset_long(&vcpus[0], 0x1000, 0x8000, 0x7000, &error));
    sim_set_guest(guest_counts, c);
    must(xvcpu_run(&vcpus[0], &error));
    sim_expect_host(wanted.leave_to_host | SIM_LEFT_FPU);
    xvcpu_answer_done(&vcpus[0], 0);
    sim_counts_clear();
    must(xvcpu_run(&vcpus[0], &error));
    // That is what it is for: none of this is touched in a run.
    sim_check_equal(sim_counts.wrmsr + sim_counts.xsetbv + sim_counts.dr_write +
                        sim_counts.table_load + sim_counts.selector_load + sim_counts.xsave,
                    0);
    stop();
    sim_cpu_at(0)->dr7 = XVCPU_DR7_FIXED_1 | XVCPU_BIT64(1);
    sim_snapshot(); // the host lives with what the exits left
}

typedef struct test {
    const char *model;
    const char *name;
    void (*body)(void *argument);
} test;

static const test enable_tests[] = {
    {NULL, "no VMX", enable_no_vmx},
    {NULL, "CR4.VMXE on already", enable_busy},
    {NULL, "disabled by the firmware", enable_firmware_disabled},
    {NULL, "not locked, and to be left so", enable_unlocked_kept},
    {NULL, "not locked", enable_unlocked},
    {NULL, "CR0 against the fixed bits", enable_cr0},
    {NULL, "CR4 against the fixed bits", enable_cr4},
    {NULL, "CR4.OSXSAVE off", enable_osxsave_off},
    {"nehalem", "CR4.OSXSAVE does not exist", enable_osxsave_off},
    {NULL, "IA32_VMX_BASIC", enable_bad_basic},
    {NULL, "pages", enable_pages},
    {NULL, "pages, error not asked for", enable_pages_no_error},
    {NULL, "VMXON fails", enable_vmxon_fails},
    {NULL, "arguments, twice, wrong processor", enable_arguments},
};

static const test tests[] = {
    {NULL, "pages from a supply, no allocator", cycle_with_supply},
    {"minimal", "no EPT: says so", cycle_without_ept},
    {"penryn", "no EPT: says so", cycle_without_ept},
    {NULL, "create: errors", create_errors},
    {NULL, "bind: errors", bind_errors},
    {NULL, "bind: a processor with other capabilities", bind_other_capabilities},
    {NULL, "calls in the wrong order change nothing", wrong_order},
    {NULL, "disable with active virtual CPUs", disable_with_active},
    {NULL, "two virtual CPUs on one processor", two_on_one},
    {"nehalem", "two virtual CPUs on one processor", two_on_one},
    {NULL, "1000 migrations over 4 processors", migration},
    {"nehalem", "1000 migrations over 4 processors", migration},
    {NULL, "migration: translations left behind", migration_translations},
    {NULL, "migration: the EPT changes meanwhile", migration_ept},
    {NULL, "another EPT for a virtual CPU", another_ept},
    {NULL, "a host that changes between runs", host_changes},
    {"tigerlake", "a host that changes between runs", host_changes},
    {NULL, "host selectors with RPL", host_selectors},
    {NULL, "guest breakpoints and host breakpoints", breakpoints},
    {NULL, "host NMI and interrupt during a run", host_events},
    {NULL, "entries that fail", failed_entries},
    {NULL, "a flush that fails is still due", failed_flush},
    {NULL, "unbind, destroy, disable that fail", failed_ends},
    {NULL, "what is left to the host costs nothing", left_to_host},
};

int main(void)
{
    static const char *const models[] = {"nehalem", "haswell", "skylake", "tigerlake"};
    xvcpu_u32 i;
    for (i = 0; i < sizeof models / sizeof models[0]; i++)
        ok(sim_run(models[i], whole_cycle, NULL), "whole cycle on %s", models[i]);
    for (i = 0; i < sizeof enable_tests / sizeof enable_tests[0]; i++) {
        void (*body)(void *argument) = enable_tests[i].body;
        ok(sim_run(enable_tests[i].model, run_enable_test, &body), "enable: %s",
           enable_tests[i].name);
    }
    for (i = 0; i < 3; i++)
        ok(sim_run(NULL, ept_changes, &i), "EPT changes on two processors, %s",
           i == 0   ? "all kinds of INVEPT"
           : i == 1 ? "global INVEPT only"
                    : "single-context INVEPT only");
    for (i = 0; i < sizeof tests / sizeof tests[0]; i++)
        ok(sim_run(tests[i].model, tests[i].body, NULL), "%s%s%s", tests[i].name,
           tests[i].model ? ", " : "", tests[i].model ? tests[i].model : "");
    return done_testing();
}
