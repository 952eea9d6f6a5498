// vmxon.c - probing, and VMX on and off: what it needs, what it changes, that all of it goes back.
// models: core2_penryn_t9600 corei5_lynnfield_750 corei5_arrandale_m520 corei7_sandy_bridge_2600k
// models: corei7_haswell_4770 corei7_skylake_x tigerlake p4_prescott_celeron_336 athlon64_venice
// cpus: 1
#include "metal.h"

static xvcpu_caps caps;
static xvcpu_cpu cpu, other;

// What enable may change, and a failed one must not.
struct machine {
    u64 cr0, cr4, feature_control;
    u32 library_pages;
    u64 free_pages;
};

static struct machine look(void)
{
    struct machine now;
    now.cr0 = read_cr0();
    now.cr4 = read_cr4();
    now.feature_control = rdmsr(XVCPU_MSR_IA32_FEATURE_CONTROL);
    now.library_pages = metal_pages;
    now.free_pages = pages_free();
    return now;
}

static void is_unchanged(const struct machine *before, const char *what)
{
    const struct machine now = look();
    const bool pass = now.cr0 == before->cr0 && now.cr4 == before->cr4 &&
                      now.feature_control == before->feature_control &&
                      now.library_pages == before->library_pages &&
                      now.free_pages == before->free_pages;
    ok(pass, "%s: nothing is changed", what);
    if (!pass) {
        diag("CR0 0x%lx 0x%lx, CR4 0x%lx 0x%lx", before->cr0, now.cr0, before->cr4, now.cr4);
        diag("IA32_FEATURE_CONTROL 0x%lx 0x%lx, pages %u %u, free %lu %lu",
             before->feature_control, now.feature_control, before->library_pages,
             now.library_pages, before->free_pages, now.free_pages);
    }
}

// -- Probe

static bool can(xvcpu_control_word word, u64 bits)
{
    return (caps.controls[word].may_be_1 & bits) == bits;
}

#define EPT_FAMILY (XVCPU_PROC2_EPT | XVCPU_PROC2_VPID)
#define SANDY_FAMILY (EPT_FAMILY | XVCPU_PROC2_UNRESTRICTED_GUEST)
#define HASWELL_FAMILY                                                                             \
    (SANDY_FAMILY | XVCPU_PROC2_APIC_REG_VIRT | XVCPU_PROC2_VIRT_INTR_DELIVERY |      \
     XVCPU_PROC2_INVPCID | XVCPU_PROC2_VMFUNC)
#define SKYLAKE_FAMILY                                                                             \
    (HASWELL_FAMILY | XVCPU_PROC2_PML | XVCPU_PROC2_XSAVES | XVCPU_PROC2_TSC_SCALING)

// What is known of these processors from elsewhere; `without` is what the next family added.
static const struct {
    u32 model;
    const char *name;
    u64 with, without;
} processors[] = {
    {0x17, "Penryn", 0, EPT_FAMILY},
    {0x1e, "Lynnfield", EPT_FAMILY, XVCPU_PROC2_UNRESTRICTED_GUEST},
    {0x25, "Arrandale", SANDY_FAMILY, XVCPU_PROC2_INVPCID | XVCPU_PROC2_VMFUNC},
    {0x2a, "Sandy Bridge", SANDY_FAMILY, XVCPU_PROC2_INVPCID | XVCPU_PROC2_VMFUNC},
    {0x3c, "Haswell", HASWELL_FAMILY, XVCPU_PROC2_PML | XVCPU_PROC2_XSAVES},
    {0x55, "Skylake X", SKYLAKE_FAMILY, 0},
    {0x8c, "Tiger Lake", SKYLAKE_FAMILY, 0}};

static void test_probe(void)
{
    const struct machine before = look();
    xvcpu_error error;
    bool consistent = true;
    u32 word, i;

    is_status(xvcpu_probe(&caps, &error), OK, &error, "probe");
    is_unchanged(&before, "probe");
    ok(caps.probed && caps.family == 6, "family 6, model 0x%x, stepping %u", caps.model,
       caps.stepping);
    ok((caps.revision >> 31) == 0 && caps.revision == (u32)(caps.basic & 0x7fffffff),
       "T3 revision 0x%x has 31 bits", caps.revision);
    ok(caps.region_bytes > 0 && caps.region_bytes <= 4096, "T4 region size %u",
       caps.region_bytes);
    is_u64(caps.physical_bits, cpuid(0x80000008, 0).eax & 0xff, "physical-address width");
    is_u64(caps.linear_bits, cpuid(0x80000008, 0).eax >> 8 & 0xff, "linear-address width");
    ok((caps.cr0_fixed0 & XVCPU_CR0_NE) != 0 && (caps.cr4_fixed0 & XVCPU_CR4_VMXE) != 0,
       "CR0.NE and CR4.VMXE must be 1");
    for (word = 0; word < XVCPU_WORD_COUNT; word++) {
        const xvcpu_control_caps *controls = &caps.controls[word];
        consistent = consistent && (controls->must_be_1 & ~controls->may_be_1) == 0 &&
                     (controls->msr != 0) == (controls->may_be_1 != 0);
    }
    ok(consistent, "what must be 1 may be 1 in every word of controls");
    is_u64(caps.controls[XVCPU_WORD_PIN].msr,
           (caps.basic & XVCPU_VMX_BASIC_TRUE_CONTROLS) != 0 ? XVCPU_MSR_IA32_VMX_TRUE_PINBASED_CTLS
                                                             : XVCPU_MSR_IA32_VMX_PINBASED_CTLS,
           "T12 TRUE controls only where bit 55 says so");
    for (i = 0; i < sizeof processors / sizeof processors[0]; i++) {
        if (processors[i].model != caps.model)
            continue;
        ok(can(XVCPU_WORD_PROC2, processors[i].with), "%s has what it has", processors[i].name);
        ok((caps.controls[XVCPU_WORD_PROC2].may_be_1 & processors[i].without) == 0,
           "%s lacks what came later", processors[i].name);
        break;
    }
    ok(i < sizeof processors / sizeof processors[0], "the model is known to this test");
    metal_log_lines = 0;
    xvcpu_report(&caps, 0);
    ok(metal_log_lines > 50, "report of %u lines", metal_log_lines);
}

// -- What stands in the way

static void test_refusals(void)
{
    struct machine before;
    xvcpu_cpu_desc desc = {0};
    xvcpu_error error;

    ok((read_cr0() & XVCPU_CR0_NE) == 0 && rdmsr(XVCPU_MSR_IA32_FEATURE_CONTROL) == 0,
       "the test starts with CR0.NE clear and IA32_FEATURE_CONTROL 0");
    is_status(xvcpu_cpu_enable(0, 0, &error), INVALID_ARGUMENT, &error, "no cpu");
    ok(!xvcpu_cpu_is_enabled(&cpu) && !xvcpu_cpu_is_enabled(0), "not enabled yet");
    ok(!xvcpu_cpu_is_foreign(0), "nobody uses VMX");
    is_status(xvcpu_cpu_disable(&cpu, &error), INVALID_STATE, &error, "disable before enable");

    before = look();
    memset(&desc, METAL_GARBAGE, sizeof desc);
    is_status(xvcpu_cpu_enable(&cpu, &desc, &error), UNINITIALIZED_DESC, &error,
              "desc full of garbage");
    memset(&desc, 0, sizeof desc);
    desc.canary_last = 1;
    is_status(xvcpu_cpu_enable(&cpu, &desc, &error), UNINITIALIZED_DESC, &error, "last canary");
    is_unchanged(&before, "bad desc");

    memset(&desc, 0, sizeof desc);
    desc.id = 5;
    is_status(xvcpu_cpu_enable(&cpu, &desc, &error), WRONG_CPU, &error, "id of another CPU");
    is_unchanged(&before, "wrong CPU");

    memset(&desc, 0, sizeof desc);
    desc.keep_cr0 = 1;
    is_status(xvcpu_cpu_enable(&cpu, &desc, &error), CR0_FIXED, &error, "T1 CR0.NE clear and kept");
    is_u64(error.bits, XVCPU_CR0_NE, "T1 the offending bit is NE");
    has_text(error.detail, "NE", "T1 the detail names it");
    is_u64(error.msr, XVCPU_MSR_IA32_VMX_CR0_FIXED0, "T1 and the MSR");
    is_unchanged(&before, "CR0.NE");

    memset(&desc, 0, sizeof desc);
    desc.keep_feature_control = 1;
    is_status(xvcpu_cpu_enable(&cpu, &desc, &error), FIRMWARE_UNLOCKED, &error,
              "IA32_FEATURE_CONTROL open and kept");
    is_u64(error.msr, XVCPU_MSR_IA32_FEATURE_CONTROL, "the MSR is named");
    is_u64(error.bits, XVCPU_FEATURE_CONTROL_LOCK | XVCPU_FEATURE_CONTROL_VMX_OUTSIDE_SMX,
           "with the bits that are missing");
    is_unchanged(&before, "unlocked");
    ok(!xvcpu_cpu_is_enabled(&cpu), "not enabled by any of these");
}

static void test_pages(void)
{
    struct machine before = look();
    xvcpu_error error;

    metal_fail_in = 0;
    is_status(xvcpu_cpu_enable(&cpu, 0, &error), OUT_OF_PAGES, &error, "no page");
    metal_fail_in = METAL_NEVER;
    is_unchanged(&before, "no page");

    metal_misalign = 64;
    is_status(xvcpu_cpu_enable(&cpu, 0, &error), BAD_PAGE, &error, "page not aligned");
    metal_misalign = 0;
    is_unchanged(&before, "page not aligned");

    metal_lie = 1ul << 52;
    is_status(xvcpu_cpu_enable(&cpu, 0, &error), BAD_PAGE, &error, "page beyond MAXPHYADDR");
    is_u64(error.value >> 52, 1, "with its address");
    metal_lie = 0;
    is_unchanged(&before, "page beyond MAXPHYADDR");
}

// The region VMXON is told is not the one prepared but the page after it: no revision identifier.
static void test_vmxon_fails(void)
{
    u8 *two = page_alloc_contiguous(2, 1);
    struct machine before = look();
    xvcpu_cpu_desc desc = {0};
    xvcpu_error error;

    desc.supply.pages = two;
    desc.supply.count = 1;
    metal_lie = KERNEL_PAGE_SIZE;
    is_status(xvcpu_cpu_enable(&cpu, &desc, &error), VMFAIL_INVALID, &error,
              "T2 VMXON without a revision identifier");
    metal_lie = 0;
    has_text(error.detail, "VMXON", "T2 the instruction is named");
    before.feature_control = 5; // locked right before VMXON, and for good
    is_unchanged(&before, "T2 failed VMXON");
    ok(!xvcpu_cpu_is_enabled(&cpu), "T2 not enabled");
    page_free_contiguous(two, 2);
}

// -- On and off

static void test_cycle(void)
{
    struct machine before = look();
    xvcpu_cpu_desc desc = {0};
    xvcpu_error error;

    is_status(xvcpu_cpu_enable(&cpu, 0, &error), OK, &error, "enable");
    is_u64(rdmsr(XVCPU_MSR_IA32_FEATURE_CONTROL),
           XVCPU_FEATURE_CONTROL_LOCK | XVCPU_FEATURE_CONTROL_VMX_OUTSIDE_SMX,
           "IA32_FEATURE_CONTROL is locked with VMX on");
    is_u64(read_cr0(), before.cr0 | XVCPU_CR0_NE, "T1 CR0.NE was set, nothing else");
    is_u64(read_cr4(), before.cr4 | XVCPU_CR4_VMXE, "CR4.VMXE was set, nothing else");
    is_u64(metal_pages, XVCPU_CPU_PAGES, "one page taken");
    is_u64(*(u32 *)cpu.vmxon_region, cpu.caps.revision, "T3 the region starts with the revision");
    ok(xvcpu_cpu_is_enabled(&cpu), "is_enabled");
    ok(!xvcpu_cpu_is_foreign(&cpu), "not foreign to its owner");
    ok(xvcpu_cpu_is_foreign(0) && xvcpu_cpu_is_foreign(&other), "foreign to all others");

    is_status(xvcpu_cpu_enable(&cpu, 0, &error), VMX_BUSY, &error, "enable twice");
    ok(xvcpu_cpu_is_enabled(&cpu), "which leaves the running one alone");
    is_status(xvcpu_cpu_enable(&other, 0, &error), VMX_BUSY, &error, "enable by another");
    is_u64(error.bits, XVCPU_CR4_VMXE, "CR4.VMXE is named");
    is_status(xvcpu_cpu_disable(&other, &error), INVALID_STATE, &error, "disable by another");
    is_u64(metal_pages, XVCPU_CPU_PAGES, "still one page");

    is_status(xvcpu_cpu_disable(&cpu, &error), OK, &error, "disable");
    before.feature_control = rdmsr(XVCPU_MSR_IA32_FEATURE_CONTROL);
    is_unchanged(&before, "T1 after disable");
    ok(!xvcpu_cpu_is_enabled(&cpu) && !xvcpu_cpu_is_foreign(&cpu), "off");
    is_status(xvcpu_cpu_disable(&cpu, &error), INVALID_STATE, &error, "disable twice");

    desc.keep_feature_control = 1;
    is_status(xvcpu_cpu_enable(&cpu, &desc, &error), OK, &error,
              "IA32_FEATURE_CONTROL kept, as it is right now");
    is_status(xvcpu_cpu_disable(&cpu, &error), OK, &error, "disable");
    is_unchanged(&before, "second cycle");
}

static void test_what_was_on_stays_on(void)
{
    struct machine before;
    xvcpu_cpu_desc desc = {0};
    xvcpu_error error;
    const u64 cr0 = read_cr0(), cr4 = read_cr4();

    write_cr0(cr0 | XVCPU_CR0_NE);
    before = look();
    desc.keep_cr0 = 1;
    is_status(xvcpu_cpu_enable(&cpu, &desc, &error), OK, &error, "CR0.NE set and kept");
    is_status(xvcpu_cpu_disable(&cpu, &error), OK, &error, "disable");
    is_unchanged(&before, "CR0.NE was set before");
    write_cr0(cr0);

    if ((cpuid(1, 0).ecx & XVCPU_CPUID_1_ECX_XSAVE) == 0) {
        skip("no XSAVE here");
        return;
    }
    write_cr4(cr4 & ~XVCPU_CR4_OSXSAVE);
    before = look();
    metal_must(xvcpu_cpu_enable(&cpu, 0, &error), &error, "enable");
    is_u64(read_cr4(), cr4 | XVCPU_CR4_OSXSAVE | XVCPU_CR4_VMXE, "CR4.OSXSAVE is set by enable");
    metal_must(xvcpu_cpu_disable(&cpu, &error), &error, "disable");
    is_unchanged(&before, "CR4.OSXSAVE was clear before");
    write_cr4(cr4);
}

static void test_somebody_else(void)
{
    struct machine before;
    xvcpu_error error;

    write_cr4(read_cr4() | XVCPU_CR4_VMXE);
    before = look();
    ok(xvcpu_cpu_is_foreign(0) && xvcpu_cpu_is_foreign(&cpu), "CR4.VMXE set by somebody else");
    is_status(xvcpu_cpu_enable(&cpu, 0, &error), VMX_BUSY, &error, "enable then");
    is_unchanged(&before, "busy");
    write_cr4(read_cr4() & ~XVCPU_CR4_VMXE);
}

static void test_supply(void)
{
    const struct machine before = look();
    static u8 page[4096] __attribute__((aligned(4096)));
    xvcpu_cpu_desc desc = {0};
    xvcpu_error error;

    desc.supply.pages = page;
    desc.supply.count = XVCPU_CPU_PAGES;
    is_status(xvcpu_cpu_enable(&cpu, &desc, &error), OK, &error, "enable with a supplied page");
    is_u64((uintptr_t)cpu.vmxon_region, (uintptr_t)page, "which is used");
    is_u64(metal_pages, 0, "and none of the allocator's");
    is_status(xvcpu_cpu_disable(&cpu, &error), OK, &error, "disable");
    is_unchanged(&before, "supplied page");
}

// -- Processors that cannot

static void test_no_ept(void)
{
    struct machine before;
    xvcpu_ept_desc ept_desc = {0};
    static xvcpu_ept ept;
    static xvcpu vcpu;
    xvcpu_desc desc = {0};
    xvcpu_error error;

    metal_must(xvcpu_cpu_enable(&cpu, 0, &error), &error, "enable");
    before = look();
    is_status(xvcpu_ept_create(&ept, &ept_desc, &cpu.caps, &error), UNSUPPORTED, &error,
              "xvcpu_ept_create");
    has_text(error.detail, "EPT", "the detail says EPT");
    desc.ept = &ept;
    is_status(xvcpu_create(&vcpu, &desc, &cpu.caps, &error), UNSUPPORTED, &error, "xvcpu_create");
    has_text(error.detail, "EPT", "the detail says EPT");
    is_u64(error.msr, XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2, "and where it would show");
    is_unchanged(&before, "no EPT");
    metal_must(xvcpu_cpu_disable(&cpu, &error), &error, "disable");
}

static void test_no_vmx(void)
{
    const u64 cr0 = read_cr0(), cr4 = read_cr4();
    xvcpu_error error;

    is_status(xvcpu_probe(&caps, &error), NO_VMX, &error, "probe");
    ok(!caps.probed, "no capabilities");
    is_status(xvcpu_cpu_enable(&cpu, 0, &error), NO_VMX, &error, "enable");
    has_text(error.detail, "VMX", "the detail says where it looked");
    has_text(xvcpu_status_text(error.status), "no VMX", "the status says it in words");
    ok(xvcpu_status_remedy(error.status)[0] != 0, "with a remedy");
    ok(read_cr0() == cr0 && read_cr4() == cr4 && metal_pages == 0, "nothing is changed");
    ok(!xvcpu_cpu_is_enabled(&cpu) && !xvcpu_cpu_is_foreign(0), "not on");
}

int kernel_main(void)
{
    if ((cpuid(1, 0).ecx & XVCPU_CPUID_1_ECX_VMX) == 0) {
        test_no_vmx();
        return tap_done();
    }
    test_probe();
    test_refusals();
    test_pages();
    test_vmxon_fails();
    test_cycle();
    test_what_was_on_stays_on();
    test_somebody_else();
    test_supply();
    if (!can(XVCPU_WORD_PROC2, XVCPU_PROC2_EPT))
        test_no_ept();
    return tap_done();
}
