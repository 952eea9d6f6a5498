// Built-in exit handlers and the completion of answered exits. Run by `prove`.
// T<n> is the number of the trap in the list of things VMX libraries get wrong.

#define XVCPU_IMPLEMENTATION
#include "../sim/sim.h"

#include "machine.h"
#include "tap.h"

#define RAM_BYTES 0x10000U
#define COUNT(array) ((xvcpu_u32)(sizeof(array) / sizeof(array)[0]))
#define DIRT 0xD1D1D1D100000000U // in the upper half of a register
#define NONE 0xFFU               // no exception

static xvcpu *const v = &vcpu;

static void start_with(const xvcpu_desc *wanted)
{
    machine_start(wanted, RAM_BYTES);
    must(xvcpu_preset_long(v, 0x3000, 0x1000, 0x8000, &error));
}

static void start(void)
{
    start_with(NULL);
}

static void real_mode(void)
{
    sim_check_equal(xvcpu_preset_real(v, 0, 0x1000, NULL), XVCPU_STATUS_OK);
}

static void protected_mode(void)
{
    sim_check_equal(xvcpu_preset_protected(v, 0x1000, 0x8000, NULL), XVCPU_STATUS_OK);
}

static void long_mode(void)
{
    sim_check_equal(xvcpu_preset_long(v, 0x3000, 0x1000, 0x8000, NULL), XVCPU_STATUS_OK);
}

static void user_mode(void)
{
    long_mode();
    set_reg(XVCPU_REG_CS_RIGHTS, 0xA0FB);
    set_reg(XVCPU_REG_SS_RIGHTS, 0xC0F3);
}

// Lets the built-in handler see one exit, as the run loop would.
static xvcpu_action exits(xvcpu_u32 reason, xvcpu_u64 qualification, xvcpu_u32 length)
{
    put(XVCPU_VMCS_EXIT_QUALIFICATION, qualification);
    put(XVCPU_VMCS_EXIT_INSTR_LEN, length);
    v->exit.reason = reason;
    v->exit.reason_word = reason;
    v->exit.rip = get(XVCPU_VMCS_GUEST_RIP);
    xvcpui_decode(v);
    return xvcpui_builtin(v, &v->exit);
}

// The exception that waits, taken out of the queue; NONE if there is none.
static xvcpu_u32 raised(void)
{
    const xvcpu_u32 info = v->queue.exception.info;
    memset(&v->queue, 0, sizeof v->queue);
    return info != 0 ? info & 0xFFU : NONE;
}

// Did the exit end as it should: handled with RIP moved on, or the exception raised at RIP?
static xvcpu_bool ended(xvcpu_action action, xvcpu_u32 vector)
{
    const xvcpu_u64 moved = get_reg(XVCPU_REG_RIP) - v->exit.rip;
    const xvcpu_u32 length = v->exit.instruction_length;
    const xvcpu_u32 found = raised();
    set_reg(XVCPU_REG_RIP, v->exit.rip);
    if (vector == NONE)
        return action == XVCPU_ACTION_HANDLED && moved == length && found == NONE;
    return action == XVCPU_ACTION_INJECTED && moved == 0 && found == vector;
}

static void cpuid(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_cpuid_regs *regs)
{
    v->gpr[XVCPU_RAX] = DIRT | leaf;
    v->gpr[XVCPU_RBX] = DIRT;
    v->gpr[XVCPU_RCX] = DIRT | subleaf;
    v->gpr[XVCPU_RDX] = DIRT;
    sim_check(ended(exits(XVCPU_EXIT_REASON_CPUID, 0, 2), NONE));
    // T56: whatever was in the upper halves is gone.
    sim_check_equal((v->gpr[XVCPU_RAX] | v->gpr[XVCPU_RBX] | v->gpr[XVCPU_RCX] |
                     v->gpr[XVCPU_RDX]) >> 32, 0);
    regs->eax = (xvcpu_u32)v->gpr[XVCPU_RAX];
    regs->ebx = (xvcpu_u32)v->gpr[XVCPU_RBX];
    regs->ecx = (xvcpu_u32)v->gpr[XVCPU_RCX];
    regs->edx = (xvcpu_u32)v->gpr[XVCPU_RDX];
}

// -- CPUID

static xvcpu_u32 cpuid_reg(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_u32 reg)
{
    xvcpu_cpuid_regs regs;
    cpuid(leaf, subleaf, &regs);
    return reg == 0 ? regs.eax : reg == 1 ? regs.ebx : reg == 2 ? regs.ecx : regs.edx;
}

static xvcpu_bool is_zero(const xvcpu_cpuid_regs *regs)
{
    return (regs->eax | regs->ebx | regs->ecx | regs->edx) == 0;
}

static void all_ones(xvcpu_u32 leaf, xvcpu_u32 subleaf)
{
    const xvcpu_cpuid_regs ones = {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF};
    sim_cpuid_set_all(leaf, subleaf, ones);
}

static void test_cpuid(void *unused)
{
    xvcpu_cpuid_regs regs, host;
    xvcpu_u32 i;
    (void)unused;
    start();
    cpuid(0, 0, &regs);
    is_hex(regs.ebx, 0x756E6547, "T56 vendor, with dirty upper halves");
    host = sim_cpuid_find(sim_this_cpu(), 1, 0)->regs;
    cpuid(1, 0, &regs);
    is_hex(regs.eax, host.eax, "leaf 1: signature");
    is_hex(regs.ecx & (XVCPU_CPUID_1_ECX_VMX | XVCPU_CPUID_1_ECX_SMX | XVCPU_CPUID_1_ECX_MONITOR |
                       XVCPU_CPUID_1_ECX_OSXSAVE | XVCPU_CPUID_1_ECX_X2APIC |
                       XVCPU_CPUID_1_ECX_TSC_DEADLINE | XVCPU_CPUID_1_ECX_PDCM |
                       XVCPU_CPUID_1_ECX_DTES64),
           0, "leaf 1: VMX, MONITOR and what needs an owner are hidden");
    ok((regs.ecx & XVCPU_CPUID_1_ECX_HYPERVISOR) != 0, "leaf 1: hypervisor bit");
    is_hex(regs.ecx & (XVCPU_CPUID_1_ECX_SSE3 | XVCPU_CPUID_1_ECX_XSAVE | XVCPU_CPUID_1_ECX_AVX |
                       XVCPU_CPUID_1_ECX_AES | XVCPU_CPUID_1_ECX_POPCNT),
           XVCPU_CPUID_1_ECX_SSE3 | XVCPU_CPUID_1_ECX_XSAVE | XVCPU_CPUID_1_ECX_AVX |
               XVCPU_CPUID_1_ECX_AES | XVCPU_CPUID_1_ECX_POPCNT,
           "leaf 1: instructions are shown");
    is_hex(regs.edx & (XVCPU_CPUID_1_EDX_HTT | XVCPU_CPUID_1_EDX_ACPI | XVCPU_CPUID_1_EDX_DS |
                       XVCPU_CPUID_1_EDX_TM),
           0, "leaf 1: no threads, no thermal control, no debug store");
    ok((regs.edx & XVCPU_CPUID_1_EDX_FPU) != 0 && (regs.edx & XVCPU_CPUID_1_EDX_APIC) != 0 &&
           (regs.edx & XVCPU_CPUID_1_EDX_PAE) != 0,
       "leaf 1: the basics");
    is_hex(regs.ebx, (host.ebx & 0xFF00U) | 0x10000U, "leaf 1: one logical processor, APIC id 0");
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_OSXSAVE);
    ok((cpuid_reg(1, 0, 2) & XVCPU_CPUID_1_ECX_OSXSAVE) != 0, "leaf 1: OSXSAVE follows CR4");
    cpuid(4, 0, &regs);
    is_hex(regs.eax, 0x121, "leaf 4: the cache is not shared");
    for (i = 0; i < 2; i++) {
        const xvcpu_u32 leaf = i == 0 ? 0xBU : 0x1FU;
        if (leaf > v->caps.max_leaf)
            continue;
        cpuid(leaf, 0, &regs);
        ok(regs.eax == 0 && regs.ebx == 1 && regs.ecx == 0x100 && regs.edx == 0,
           "leaf %#x: one thread", leaf);
        cpuid(leaf, 1, &regs);
        ok(regs.eax == 0 && regs.ebx == 1 && regs.ecx == 0x201, "leaf %#x: one core", leaf);
        cpuid(leaf, 2, &regs);
        ok(regs.eax == 0 && regs.ebx == 0 && regs.ecx == 2, "leaf %#x: no more levels", leaf);
    }
    cpuid(5, 0, &regs);
    ok(is_zero(&regs), "leaf 5: no MONITOR");
    cpuid(0xA, 0, &regs);
    ok(is_zero(&regs), "leaf 0Ah: no performance counters");
    cpuid(0x40000000, 0, &regs);
    ok(regs.eax == 0x40000000 && memcmp(&regs.ebx, "xvcpuxvcpu\0\0", 12) == 0,
       "leaf 40000000h: signature");
    cpuid(0x40000001, 0, &regs);
    ok(is_zero(&regs), "leaf 40000001h: nothing");
    cpuid(0x80000008, 0, &regs);
    is_hex(regs.eax, v->caps.physical_bits | 48U << 8, "leaf 80000008h: address widths");
    is_hex(cpuid_reg(0x80000007, 0, 3), XVCPU_CPUID_EXT_7_EDX_INVARIANT_TSC,
           "leaf 80000007h: invariant TSC");
    is_hex(cpuid_reg(0x80000000, 0, 0), 0x80000008, "leaf 80000000h: the last extended leaf");
    cpuid(0x80000002, 0, &regs);
    is_hex(regs.eax, 0x756D6953, "leaf 80000002h: brand");
    // Beyond the last leaf: the last basic one.
    host = sim_cpuid_find(sim_this_cpu(), v->caps.max_leaf, 0)->regs;
    cpuid(v->caps.max_leaf + 1, 0, &regs);
    ok(memcmp(&regs, &host, sizeof regs) == 0, "a leaf beyond the last basic one");
    cpuid(0x80000009, 0, &regs);
    ok(memcmp(&regs, &host, sizeof regs) == 0, "a leaf beyond the last extended one");
    cpuid(0x50000000, 0, &regs);
    ok(memcmp(&regs, &host, sizeof regs) == 0, "a leaf of no range");
    stop();
}

// A processor that has every bit, known and unknown, shows the guest no unknown one.
static void test_cpuid_unknown_bits(void *unused)
{
    xvcpu_cpuid_regs regs;
    (void)unused;
    start();
    all_ones(1, 0);
    all_ones(7, 0);
    all_ones(7, 1);
    all_ones(6, 0);
    all_ones(0x80000001, 0);
    all_ones(0x80000007, 0);
    all_ones(0x80000008, 0);
    cpuid(7, 0, &regs);
    is_hex(regs.eax, 1, "leaf 7: subleaf 1 is the last");
    is_hex(regs.ebx & (XVCPU_CPUID_7_EBX_SGX | XVCPU_CPUID_7_EBX_RDT_M | XVCPU_CPUID_7_EBX_RDT_A |
                       XVCPU_CPUID_7_EBX_INTEL_PT | XVCPU_CPUID_7_EBX_MPX | XVCPU_CPUID_7_EBX_RTM |
                       XVCPU_CPUID_7_EBX_HLE),
           0, "leaf 7 EBX: what needs state or controls is hidden");
    is_hex(regs.ecx & ~(xvcpu_u32)(XVCPU_CPUID_7_ECX_PKU | XVCPU_CPUID_7_ECX_UMIP |
                                   XVCPU_CPUID_7_ECX_RDPID | XVCPU_CPUID_7_ECX_LA57 |
                                   XVCPU_CPUID_7_ECX_WAITPKG | XVCPU_CPUID_7_ECX_CLDEMOTE |
                                   XVCPU_CPUID_7_ECX_MOVDIRI | XVCPU_CPUID_7_ECX_MOVDIR64B |
                                   0x5F42U),
           0, "leaf 7 ECX: nothing unknown");
    is_hex(regs.edx & (XVCPU_CPUID_7_EDX_IBRS_IBPB | XVCPU_CPUID_7_EDX_STIBP |
                       XVCPU_CPUID_7_EDX_SSBD | XVCPU_CPUID_7_EDX_ARCH_CAPABILITIES |
                       XVCPU_CPUID_7_EDX_CET_IBT | XVCPU_CPUID_7_EDX_AMX_TILE |
                       XVCPU_CPUID_7_EDX_UINTR),
           0, "leaf 7 EDX: nothing that comes with an MSR");
    cpuid(7, 1, &regs);
    ok(regs.ebx == 0 && regs.ecx == 0 && regs.edx == 0, "leaf 7.1: nothing unknown");
    is_hex(regs.eax & (XVCPU_CPUID_7_1_EAX_FRED | XVCPU_CPUID_7_1_EAX_LASS |
                       XVCPU_CPUID_7_1_EAX_LAM),
           0, "leaf 7.1 EAX: no FRED, LASS, LAM");
    cpuid(7, 2, &regs);
    ok(is_zero(&regs), "leaf 7.2: nothing");
    sim_cpuid_change_all(0, 0, 0, 0, 0xFFF);
    is_hex(cpuid_reg(0, 0, 0), 0x1F, "leaf 0: no leaf after the last one known");
    sim_cpuid_change_all(0x80000000, 0, 0, 0, 0xFFF);
    is_hex(cpuid_reg(0x80000000, 0, 0), 0x80000008, "leaf 80000000h: the same");
    cpuid(1, 0, &regs);
    is_hex(regs.ecx & (XVCPU_CPUID_1_ECX_VMX | XVCPU_CPUID_1_ECX_SMX | XVCPU_CPUID_1_ECX_SDBG |
                       XVCPU_CPUID_1_ECX_DCA | XVCPU_BIT32(16) | XVCPU_CPUID_1_ECX_OSXSAVE),
           0, "leaf 1 ECX: nothing unknown");
    is_hex(regs.edx & (XVCPU_BIT32(10) | XVCPU_BIT32(20) | XVCPU_BIT32(30) |
                       XVCPU_CPUID_1_EDX_PSN | XVCPU_CPUID_1_EDX_PBE),
           0, "leaf 1 EDX: nothing unknown");
    cpuid(6, 0, &regs);
    ok((regs.eax & ~(xvcpu_u32)4) == 0 && regs.ebx == 0 && regs.ecx == 0 && regs.edx == 0,
       "leaf 6: the timer's constancy at most");
    cpuid(0x80000001, 0, &regs);
    is_hex(regs.ecx & ~(xvcpu_u32)0x121, 0, "leaf 80000001h ECX: nothing unknown");
    is_hex(regs.edx & ~(xvcpu_u32)0x2C100800, 0, "leaf 80000001h EDX: nothing unknown");
    cpuid(0x80000007, 0, &regs);
    ok(regs.eax == 0 && regs.ebx == 0 && regs.ecx == 0 && regs.edx == 0x100,
       "leaf 80000007h: nothing unknown");
    cpuid(0x80000008, 0, &regs);
    ok(regs.ebx == 0 && regs.ecx == 0 && regs.edx == 0, "leaf 80000008h: nothing unknown");
    stop();
}

// Features hidden by the caller take with them what builds on them.
static void test_cpuid_hidden_features(void *unused)
{
    xvcpu_desc desc;
    xvcpu_cpuid_regs regs;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    desc.hide_features = XVCPU_BIT64(XVCPU_FEATURE_AVX);
    start_with(&desc);
    all_ones(7, 0);
    cpuid(7, 0, &regs);
    is_hex(regs.ebx & (XVCPU_CPUID_7_EBX_AVX2 | XVCPU_CPUID_7_EBX_AVX512F | XVCPU_BIT32(17) |
                       XVCPU_BIT32(31)),
           0, "without AVX: no AVX2, no AVX-512");
    is_hex(regs.ecx & 0x5E42U, 0, "without AVX: no VAES, no AVX-512 in ECX");
    is_hex(cpuid_reg(1, 0, 2) & (XVCPU_CPUID_1_ECX_AVX | XVCPU_CPUID_1_ECX_FMA), 0,
           "without AVX: no FMA");
    ok((cpuid_reg(1, 0, 2) & XVCPU_CPUID_1_ECX_XSAVE) != 0, "without AVX: XSAVE stays");
    is_hex(cpuid_reg(0xD, 0, 0) & XVCPU_XCR0_AVX, 0, "without AVX: not in XCR0 either");
    stop();
}

static void test_cpuid_no_sse(void *unused)
{
    xvcpu_desc desc;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    desc.hide_features = XVCPU_BIT64(XVCPU_FEATURE_SSE) | XVCPU_BIT64(XVCPU_FEATURE_XSAVE);
    start_with(&desc);
    is_hex(cpuid_reg(1, 0, 2) & (XVCPU_CPUID_1_ECX_SSE3 | XVCPU_CPUID_1_ECX_SSE4_1 |
                                 XVCPU_CPUID_1_ECX_AES | XVCPU_CPUID_1_ECX_XSAVE),
           0, "without SSE: nothing that uses its registers");
    is_hex(cpuid_reg(1, 0, 3) & XVCPU_CPUID_1_EDX_SSE2, 0, "without SSE: no SSE2");
    is_hex(cpuid_reg(0xD, 0, 0) | cpuid_reg(0xD, 0, 2), 0, "without XSAVE: leaf 0Dh is empty");
    stop();
}

static void test_cpuid_xsave(void *unused)
{
    xvcpu_cpuid_regs regs, component;
    (void)unused;
    start();
    cpuid(0xD, 0, &regs);
    is_hex(regs.eax | (xvcpu_u64)regs.edx << 32, v->xcr0_allowed, "leaf 0Dh: the XCR0 allowed");
    is_hex(regs.ebx, 576, "leaf 0Dh: size for the XCR0 of now");
    set_reg(XVCPU_REG_XCR0, 7);
    cpuid(0xD, 0, &regs);
    component = sim_cpuid_find(sim_this_cpu(), 0xD, 2)->regs;
    is_hex(regs.ebx, component.eax + component.ebx, "leaf 0Dh: size with AVX");
    is_hex(regs.ecx, sim_cpuid_find(sim_this_cpu(), 0xD, 0)->regs.ecx,
           "leaf 0Dh: size for all the guest may have");
    cpuid(0xD, 2, &regs);
    ok(regs.eax == component.eax && regs.ebx == component.ebx, "leaf 0Dh: AVX component");
    cpuid(0xD, 8, &regs);
    ok(is_zero(&regs), "leaf 0Dh: no tracing component");
    cpuid(0xD, 0x45, &regs);
    ok(is_zero(&regs), "leaf 0Dh: subleaf beyond all components");
    all_ones(0xD, 1);
    cpuid(0xD, 1, &regs);
    is_hex(regs.eax & ~(xvcpu_u32)(XVCPU_CPUID_D_1_EAX_XSAVEOPT | XVCPU_CPUID_D_1_EAX_XSAVEC |
                                   XVCPU_CPUID_D_1_EAX_XGETBV_1 | XVCPU_CPUID_D_1_EAX_XSAVES),
           0, "leaf 0Dh.1: no XFD, nothing unknown");
    ok(((regs.eax & XVCPU_CPUID_D_1_EAX_XSAVES) != 0) == xvcpui_has(v, XVCPU_FEATURE_XSAVES),
       "leaf 0Dh.1: XSAVES only with its control");
    is_hex(regs.ebx, 576U + component.eax, "leaf 0Dh.1: compacted size");
    // A component that asks for it starts at a multiple of 64.
    if ((v->xcr0_allowed & XVCPU_XCR0_PKRU) != 0) {
        set_reg(XVCPU_REG_XCR0, 7 | XVCPU_XCR0_PKRU);
        component.eax += 8;
        sim_cpuid_change_all(0xD, 2, 0, 0xFFFFFFFF, component.eax);
        sim_cpuid_change_all(0xD, 9, 2, 0, 2);
        is_hex(cpuid_reg(0xD, 1, 1),
               ((576U + component.eax + 63U) & ~63U) +
                   sim_cpuid_find(sim_this_cpu(), 0xD, 9)->regs.eax,
               "leaf 0Dh.1: compacted size with an aligned component");
    }
    is_hex(regs.ecx, v->xss_allowed, "leaf 0Dh.1: the XSS allowed");
    stop();
}

static void cpuid_hook(xvcpu *asked, xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_cpuid_regs *regs,
                       void *context)
{
    sim_check(asked == v && context == &ept);
    if (leaf == 0x40000000 || leaf == 0x123)
        regs->edx = 0xBEEF0000U + subleaf;
}

static void test_cpuid_options(void *unused)
{
    static const xvcpu_cpuid_entry table[] = {{2, 0, 1, {1, 2, 3, 4}},
                                              {0x123, 7, 0, {5, 6, 7, 8}}};
    xvcpu_desc desc;
    xvcpu_cpuid_regs regs;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    desc.cpuid_table = table;
    desc.cpuid_entries = COUNT(table);
    desc.cpuid_hook = cpuid_hook;
    desc.context = &ept;
    desc.show_monitor = 1;
    desc.apic_id = 0x25;
    memcpy(desc.hypervisor_id, "ABCDEFGHIJKL", 12);
    start_with(&desc);
    cpuid(2, 9, &regs);
    ok(regs.eax == 1 && regs.ebx == 2 && regs.ecx == 3 && regs.edx == 4,
       "caller's table, any subleaf");
    cpuid(0x123, 7, &regs);
    ok(regs.eax == 5 && regs.edx == 0xBEEF0007U, "caller's table, then the hook");
    cpuid(0x123, 6, &regs);
    ok(regs.eax != 5 && regs.edx == 0xBEEF0006U, "caller's table, another subleaf");
    cpuid(0x40000000, 3, &regs);
    ok(memcmp(&regs.ebx, "ABCDEFGH", 8) == 0 && regs.edx == 0xBEEF0003U,
       "caller's signature, then the hook");
    cpuid(1, 0, &regs);
    ok((regs.ecx & XVCPU_CPUID_1_ECX_MONITOR) != 0, "MONITOR is shown on request");
    is_hex(regs.ebx >> 24, 0x25, "APIC id in leaf 1");
    is_hex(cpuid_reg(0xB, 0, 3), 0x25, "APIC id in leaf 0Bh");
    is_hex(cpuid_reg(5, 0, 0), 64, "leaf 5 with MONITOR");
    stop();
}

static void test_cpuid_hidden_hypervisor(void *unused)
{
    xvcpu_desc desc;
    xvcpu_cpuid_regs regs, host;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    desc.hide_hypervisor = 1;
    start_with(&desc);
    is_hex(cpuid_reg(1, 0, 2) & XVCPU_CPUID_1_ECX_HYPERVISOR, 0, "no hypervisor bit");
    host = sim_cpuid_find(sim_this_cpu(), v->caps.max_leaf, 0)->regs;
    cpuid(0x40000000, 0, &regs);
    ok(memcmp(&regs, &host, sizeof regs) == 0, "leaf 40000000h is beyond the last");
    stop();
}

static void test_cpuid_ospke(void *unused)
{
    (void)unused;
    sim_cpuid_change_all(7, 0, 2, 0, (xvcpu_u32)XVCPU_CPUID_7_ECX_OSPKE);
    start();
    if (!ok(xvcpui_has(v, XVCPU_FEATURE_PKU), "the model has protection keys"))
        diag("the two tests below mean nothing");
    is_hex(cpuid_reg(7, 0, 2) & XVCPU_CPUID_7_ECX_OSPKE, 0, "OSPKE is the guest's, not the host's");
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_PKE);
    ok((cpuid_reg(7, 0, 2) & XVCPU_CPUID_7_ECX_OSPKE) != 0, "OSPKE follows CR4.PKE");
    stop();
}

static void cpuid_guest(sim_guest *g)
{
    const xvcpu_u32 wanted = *(const xvcpu_u32 *)g->context;
    if (g->entry % (wanted + 1U) != 0)
        sim_exit_cpuid(g, 1, 0);
    else
        sim_exit_vmcall(g);
}

// The price of an exit: VMREADs and VMWRITEs of nine CPUIDs less those of none.
static void test_cpuid_price(void *unused)
{
    xvcpu_u32 wanted = 9;
    sim_counters first;
    (void)unused;
    start();
    sim_set_guest(cpuid_guest, &wanted);
    sim_check_equal(xvcpu_run(v, NULL), XVCPU_STATUS_OK);
    xvcpu_answer_done(v, 0);
    sim_counts_clear();
    sim_check_equal(xvcpu_run(v, NULL), XVCPU_STATUS_OK);
    first = sim_counts;
    xvcpu_answer_done(v, 0);
    wanted = 0;
    sim_counts_clear();
    sim_check_equal(xvcpu_run(v, NULL), XVCPU_STATUS_OK);
    sim_check(first.entries == 10 && sim_counts.entries == 1);
    ok(first.vmread - sim_counts.vmread <= 9 * 5, "a CPUID exit makes at most 5 VMREADs");
    ok(first.vmwrite - sim_counts.vmwrite <= 9 * 2, "a CPUID exit makes at most 2 VMWRITEs");
    diag("%g VMREADs, %g VMWRITEs", (double)(first.vmread - sim_counts.vmread) / 9,
         (double)(first.vmwrite - sim_counts.vmwrite) / 9);
    stop();
}

// -- Control registers

#define TO_CR(number, gpr) ((xvcpu_u64)(number) | (xvcpu_u64)(gpr) << 8)
#define FROM_CR(number, gpr) (TO_CR(number, gpr) | 1U << 4)
#define CLTS (2U << 4)
#define LMSW(value) ((xvcpu_u64)(value) << 16 | 3U << 4)

static void test_cr(void *unused)
{
    static const struct {
        void (*mode)(void);
        xvcpu_u32 number;
        xvcpu_u64 value;
        xvcpu_u32 vector;
        const char *what;
    } rows[] = {
        {long_mode, 0, 0x80010033, NONE, "T60 CR0 as it is"},
        {long_mode, 0, 0x00010033, XVCPU_EXCEPTION_GP, "T60 PG cleared in 64-bit mode"},
        {long_mode, 0, 0x80010032, XVCPU_EXCEPTION_GP, "T60 PG without PE"},
        {long_mode, 0, 0xA0010033, XVCPU_EXCEPTION_GP, "T60 NW without CD"},
        {long_mode, 0, 0xE0010033, NONE, "T60 NW with CD"},
        {long_mode, 0, 0x180010033, XVCPU_EXCEPTION_GP, "T60 bit 32"},
        {long_mode, 0, 0x80010073, NONE, "T60 a reserved bit of the lower half is ignored"},
        {protected_mode, 0, DIRT | 0x31, NONE, "T60 32-bit code: the upper half is ignored"},
        {protected_mode, 0, 0x30, NONE, "T60 to real mode"},
        {long_mode, 4, 0x20, NONE, "T61 CR4 as it is"},
        {long_mode, 4, 0, XVCPU_EXCEPTION_GP, "T61 PAE cleared in IA-32e mode"},
        {long_mode, 4, 0x2020, XVCPU_EXCEPTION_GP, "T61 VMXE"},
        {long_mode, 4, 0x20020, NONE, "T61 PCIDE"},
        {long_mode, 4, 0x8020, XVCPU_EXCEPTION_GP, "T61 reserved bit"},
        {protected_mode, 4, DIRT | 0x20, NONE, "T61 32-bit code: the upper half is ignored"},
        {protected_mode, 4, 0x20000, XVCPU_EXCEPTION_GP, "T61 PCIDE outside IA-32e mode"},
        {long_mode, 3, 0x5000, NONE, "CR3"},
        {long_mode, 3, 0x8000000000005000, XVCPU_EXCEPTION_GP, "CR3 bit 63 without PCIDE"},
        {long_mode, 3, 0xFFF0000000005000, XVCPU_EXCEPTION_GP, "CR3 beyond memory"},
        {long_mode, 8, 15, NONE, "CR8"},
        {long_mode, 8, 16, XVCPU_EXCEPTION_GP, "CR8 reserved bit"}};
    static const xvcpu_u32 gprs[] = {XVCPU_RAX, XVCPU_RSP, XVCPU_R15};
    xvcpu_u32 i, n;
    (void)unused;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        const xvcpu_reg reg = rows[i].number == 0   ? XVCPU_REG_CR0
                              : rows[i].number == 3 ? XVCPU_REG_CR3
                              : rows[i].number == 4 ? XVCPU_REG_CR4
                                                    : XVCPU_REG_CR8;
        for (n = 0; n < COUNT(gprs); n++) {
            xvcpu_u64 before;
            xvcpu_bool right;
            rows[i].mode();
            before = get_reg(reg);
            if (gprs[n] == XVCPU_RSP)
                set_reg(XVCPU_REG_RSP, rows[i].value);
            else
                v->gpr[gprs[n]] = rows[i].value;
            right = ended(exits(XVCPU_EXIT_REASON_CR_ACCESS, TO_CR(rows[i].number, gprs[n]), 3),
                          rows[i].vector);
            if (rows[i].vector != NONE)
                right = right && get_reg(reg) == before;
            else if (rows[i].mode == long_mode && rows[i].value != 0x80010073)
                right = right && get_reg(reg) == rows[i].value;
            ok(right, "%s, register %u", rows[i].what, gprs[n]);
        }
    }
    // MOV from CR3 and CR8.
    long_mode();
    v->cr8 = 11;
    v->gpr[XVCPU_RBX] = DIRT;
    ok(ended(exits(XVCPU_EXIT_REASON_CR_ACCESS, FROM_CR(8, XVCPU_RBX), 4), NONE) &&
           v->gpr[XVCPU_RBX] == 11,
       "MOV from CR8");
    ok(ended(exits(XVCPU_EXIT_REASON_CR_ACCESS, FROM_CR(3, XVCPU_RSP), 3), NONE) &&
           get_reg(XVCPU_REG_RSP) == 0x3000,
       "MOV from CR3 to RSP");
    // The bit that asks not to flush exists only with PCIDE, and is no bit of CR3.
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_PCIDE);
    v->gpr[XVCPU_RAX] = XVCPU_CR3_NO_FLUSH | 0x5003;
    v->flush_vpid = 0;
    ok(ended(exits(XVCPU_EXIT_REASON_CR_ACCESS, TO_CR(3, XVCPU_RAX), 3), NONE) &&
           get_reg(XVCPU_REG_CR3) == 0x5003 && !v->flush_vpid,
       "MOV to CR3 with the no-flush bit");
    v->gpr[XVCPU_RAX] = 0x5003;
    ok(ended(exits(XVCPU_EXIT_REASON_CR_ACCESS, TO_CR(3, XVCPU_RAX), 3), NONE) && v->flush_vpid,
       "MOV to CR3 without it drops translations");
    stop();
}

static void test_lmsw_clts(void *unused)
{
    (void)unused;
    start();
    protected_mode();
    set_reg(XVCPU_REG_CR0, 0x3F);
    ok(ended(exits(XVCPU_EXIT_REASON_CR_ACCESS, CLTS, 2), NONE) && get_reg(XVCPU_REG_CR0) == 0x37,
       "T60 CLTS");
    ok(ended(exits(XVCPU_EXIT_REASON_CR_ACCESS, LMSW(0), 3), NONE) &&
           get_reg(XVCPU_REG_CR0) == 0x31,
       "T60 LMSW cannot clear PE, and clears the others");
    ok(ended(exits(XVCPU_EXIT_REASON_CR_ACCESS, LMSW(0xFFFE), 3), NONE) &&
           get_reg(XVCPU_REG_CR0) == 0x3F,
       "T60 LMSW changes four bits only");
    set_reg(XVCPU_REG_CR0, 0x11);
    ok(ended(exits(XVCPU_EXIT_REASON_CR_ACCESS, LMSW(0xFFFE), 3), NONE) &&
           get_reg(XVCPU_REG_CR0) == 0x1F,
       "T60 LMSW sets four bits only");
    real_mode();
    ok(ended(exits(XVCPU_EXIT_REASON_CR_ACCESS, LMSW(1), 3), NONE) &&
           get_reg(XVCPU_REG_CR0) == 0x11,
       "T60 LMSW sets PE");
    stop();
}

static void test_cr_without_unrestricted(void *unused)
{
    xvcpu_action action;
    (void)unused;
    sim_control_remove_all(XVCPU_WORD_PROC2, XVCPU_PROC2_UNRESTRICTED_GUEST);
    start();
    set_reg(XVCPU_REG_CS_RIGHTS, 0xC09B);
    v->gpr[XVCPU_RAX] = 0x31;
    action = exits(XVCPU_EXIT_REASON_CR_ACCESS, TO_CR(0, XVCPU_RAX), 3);
    ok(action == XVCPU_ACTION_RETURN && v->exit.kind == XVCPU_EXIT_CR &&
           get_reg(XVCPU_REG_RIP) == 0x1000 && get_reg(XVCPU_REG_CR0) == 0x80010033 &&
           raised() == NONE,
       "restricted: leaving paged protected mode is the caller's");
    v->gpr[XVCPU_RAX] = 0x20000031;
    ok(ended(exits(XVCPU_EXIT_REASON_CR_ACCESS, TO_CR(0, XVCPU_RAX), 3), XVCPU_EXCEPTION_GP),
       "restricted: what is illegal stays #GP");
    stop();
}

// -- Debug registers

#define TO_DR(number, gpr) ((xvcpu_u64)(number) | (xvcpu_u64)(gpr) << 8)
#define FROM_DR(number, gpr) (TO_DR(number, gpr) | 1U << 4)

static void test_dr(void *unused)
{
    xvcpu_u32 i;
    (void)unused;
    start();
    for (i = 0; i < 4; i++) {
        v->gpr[XVCPU_RAX] = 0x123456789ABCD000U + i;
        ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, TO_DR(i, XVCPU_RAX), 3), NONE) &&
               get_reg((xvcpu_reg)(XVCPU_REG_DR0 + i)) == 0x123456789ABCD000U + i,
           "MOV to DR%u", i);
        ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, FROM_DR(i, XVCPU_RSP), 3), NONE) &&
               get_reg(XVCPU_REG_RSP) == 0x123456789ABCD000U + i,
           "MOV from DR%u to RSP", i);
    }
    v->gpr[XVCPU_RAX] = 0xFFFFFFFF;
    ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, TO_DR(6, XVCPU_RAX), 3), NONE) &&
           get_reg(XVCPU_REG_DR6) == 0xFFFFEFFF,
       "MOV to DR6: bit 12 stays 0");
    v->gpr[XVCPU_RAX] = 0;
    ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, TO_DR(4, XVCPU_RAX), 3), NONE) &&
           get_reg(XVCPU_REG_DR6) == 0xFFFF0FF0,
       "MOV to DR4 is DR6: fixed bits stay 1");
    v->gpr[XVCPU_RAX] = 0xFFFF0355;
    ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, TO_DR(5, XVCPU_RAX), 3), NONE) &&
           get_reg(XVCPU_REG_DR7) == 0xFFFF0755,
       "MOV to DR5 is DR7");
    ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, FROM_DR(7, XVCPU_RCX), 3), NONE) &&
           v->gpr[XVCPU_RCX] == 0xFFFF0755,
       "MOV from DR7");
    v->gpr[XVCPU_RAX] = 0x100000400;
    ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, TO_DR(7, XVCPU_RAX), 3), XVCPU_EXCEPTION_GP),
       "MOV to DR7: upper half is #GP");
    ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, TO_DR(6, XVCPU_RAX), 3), XVCPU_EXCEPTION_GP),
       "MOV to DR6: upper half is #GP");
    is_hex(get_reg(XVCPU_REG_DR7), 0xFFFF0755, "and nothing changed");
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_DE);
    ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, TO_DR(4, XVCPU_RAX), 3), XVCPU_EXCEPTION_UD),
       "DR4 with CR4.DE is #UD");
    ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, FROM_DR(5, XVCPU_RAX), 3), XVCPU_EXCEPTION_UD),
       "DR5 with CR4.DE is #UD");
    set_reg(XVCPU_REG_DR7, 0x2400);
    ok(exits(XVCPU_EXIT_REASON_MOV_DR, FROM_DR(0, XVCPU_RAX), 3) == XVCPU_ACTION_INJECTED &&
           v->queue.exception.payload == XVCPU_DR6_BD && raised() == XVCPU_EXCEPTION_DB,
       "DR7.GD makes it #DB with DR6.BD");
    user_mode();
    set_reg(XVCPU_REG_DR7, 0x2400);
    ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, FROM_DR(0, XVCPU_RAX), 3), XVCPU_EXCEPTION_GP),
       "privilege comes before DR7.GD");
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_DE);
    ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, FROM_DR(4, XVCPU_RAX), 3), XVCPU_EXCEPTION_UD),
       "#UD comes before privilege");
    protected_mode();
    v->gpr[XVCPU_RAX] = DIRT | 0x400;
    ok(ended(exits(XVCPU_EXIT_REASON_MOV_DR, TO_DR(7, XVCPU_RAX), 3), NONE),
       "32-bit code: the upper half is ignored");
    stop();
}

// With breakpoints on, the guest's debug registers are in the processor: writes go there at once.
static void mov_dr_guest(sim_guest *g)
{
    switch (g->entry) {
    case 1:
        g->gpr[XVCPU_RAX] = 0x401;
        sim_exit_mov_dr(g, 7, XVCPU_RAX, false);
        break;
    case 2:
        g->gpr[XVCPU_RAX] = 0x12345678;
        sim_exit_mov_dr(g, 0, XVCPU_RAX, false);
        break;
    case 3:
        sim_check_equal(g->cpu->dr[0], 0x12345678);
        g->gpr[XVCPU_RAX] = 0xFFFF4FF1;
        sim_exit_mov_dr(g, 6, XVCPU_RAX, false);
        break;
    case 4:
        sim_check_equal(g->cpu->dr6, 0xFFFF4FF1);
        g->cpu->dr6 = 0xFFFF0FF8; // as a #DB of its own would
        sim_exit_mov_dr(g, 6, XVCPU_RBX, true);
        break;
    default:
        sim_check_equal(g->gpr[XVCPU_RBX], 0xFFFF0FF8);
        sim_exit_vmcall(g);
    }
}

static void test_dr_live(void *unused)
{
    (void)unused;
    start();
    sim_set_guest(mov_dr_guest, NULL);
    sim_check_equal(xvcpu_run(v, NULL), XVCPU_STATUS_OK);
    is_hex(get_reg(XVCPU_REG_DR6), 0xFFFF0FF8, "T25 DR6 of a running guest is kept");
    is_hex(get_reg(XVCPU_REG_DR0), 0x12345678, "T25 and DR0");
    stop();
}

// -- XSETBV

static void xsetbv_guest(sim_guest *g)
{
    if (g->entry == 1) {
        sim_exit_xsetbv(g, 0, *(const xvcpu_u64 *)g->context);
        return;
    }
    // The guest runs with what it has set; a bad value has raised #GP instead.
    sim_check_equal(g->cpu->xcr0, v->xcr0);
    sim_check_equal(g->injected_info & 0xFFU, v->xcr0 == 1 ? XVCPU_EXCEPTION_GP : 0);
    sim_exit_vmcall(g);
}

static void test_xsetbv(void *unused)
{
    static const xvcpu_u32 bits[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 17, 18, 19, 63};
    const xvcpu_u64 allowed = 0x602FF;
    xvcpu_u32 i, n, wrong = 0;
    (void)unused;
    start();
    v->xcr0_allowed = allowed;
    for (i = 0; i < 1U << COUNT(bits); i++) {
        xvcpu_u64 b = 0;
        xvcpu_bool legal;
        xvcpu_action action;
        for (n = 0; n < COUNT(bits); n++)
            if ((i >> n & 1U) != 0)
                b |= XVCPU_BIT64(bits[n]);
        legal = (b & ~allowed) == 0 && (b & 1) != 0 && !((b & 4) != 0 && (b & 2) == 0) &&
                ((b & 8) != 0) == ((b & 16) != 0) &&
                ((b & 0xE0) == 0 || ((b & 0xE0) == 0xE0 && (b & 4) != 0)) &&
                ((b & 0x20000) != 0) == ((b & 0x40000) != 0);
        v->gpr[XVCPU_RCX] = DIRT;
        v->gpr[XVCPU_RAX] = DIRT | (xvcpu_u32)b;
        v->gpr[XVCPU_RDX] = DIRT | b >> 32;
        v->xcr0 = 1;
        action = exits(XVCPU_EXIT_REASON_XSETBV, 0, 3);
        wrong += !ended(action, legal ? NONE : XVCPU_EXCEPTION_GP) || v->xcr0 != (legal ? b : 1);
    }
    is_hex(wrong, 0, "T59 XSETBV: all combinations of 15 bits");
    v->gpr[XVCPU_RCX] = 1;
    v->gpr[XVCPU_RAX] = 1;
    v->gpr[XVCPU_RDX] = 0;
    ok(ended(exits(XVCPU_EXIT_REASON_XSETBV, 0, 3), XVCPU_EXCEPTION_GP),
       "T59 XSETBV: there is only XCR0");
    user_mode();
    v->gpr[XVCPU_RCX] = 0;
    v->gpr[XVCPU_RAX] = 1;
    v->gpr[XVCPU_RDX] = 0;
    ok(ended(exits(XVCPU_EXIT_REASON_XSETBV, 0, 3), XVCPU_EXCEPTION_GP), "T59 XSETBV: CPL 0 only");
    stop();
}

// With the guest loaded: the host executes XSETBV for a good value, and never for a bad one. The
// simulated processor would end the test with a fault.
static void test_xsetbv_live(void *unused)
{
    xvcpu_u64 value = 7;
    (void)unused;
    start();
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_OSXSAVE);
    sim_set_guest(xsetbv_guest, &value);
    sim_check_equal(xvcpu_run(v, NULL), XVCPU_STATUS_OK);
    is_hex(get_reg(XVCPU_REG_XCR0), 7, "T59 XSETBV of a running guest");
    stop();
}

static void test_xsetbv_live_bad(void *unused)
{
    xvcpu_u64 value = 5;
    (void)unused;
    start();
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_OSXSAVE);
    sim_set_guest(xsetbv_guest, &value);
    sim_check_equal(xvcpu_run(v, NULL), XVCPU_STATUS_OK);
    is_hex(get_reg(XVCPU_REG_XCR0), 1, "T59 a bad XSETBV of a running guest changes nothing");
    stop();
}

// -- MSRs

static xvcpu_action rdmsr(xvcpu_u32 index)
{
    v->gpr[XVCPU_RCX] = DIRT | index;
    v->gpr[XVCPU_RAX] = DIRT | 0x11111111;
    v->gpr[XVCPU_RDX] = DIRT | 0x22222222;
    return exits(XVCPU_EXIT_REASON_RDMSR, 0, 2);
}

static xvcpu_action wrmsr(xvcpu_u32 index, xvcpu_u64 value)
{
    v->gpr[XVCPU_RCX] = DIRT | index;
    v->gpr[XVCPU_RAX] = DIRT | (xvcpu_u32)value;
    v->gpr[XVCPU_RDX] = DIRT | value >> 32;
    return exits(XVCPU_EXIT_REASON_WRMSR, 0, 2);
}

static xvcpu_bool registers_untouched(xvcpu_u32 eax, xvcpu_u32 edx)
{
    return v->gpr[XVCPU_RAX] == (DIRT | eax) && v->gpr[XVCPU_RDX] == (DIRT | edx);
}

static void test_msr_values(void *unused)
{
    static const struct {
        xvcpu_u32 index;
        xvcpu_u64 value;
    } rows[] = {{XVCPU_MSR_IA32_EFER, 0xD01},
                {XVCPU_MSR_IA32_PAT, 0x0001040506070006},
                {XVCPU_MSR_IA32_APIC_BASE, 0xFED00900},
                {XVCPU_MSR_IA32_SYSENTER_CS, 0xFFFF0010},
                {XVCPU_MSR_IA32_SYSENTER_ESP, 0xFFFF800000001000},
                {XVCPU_MSR_IA32_SYSENTER_EIP, 0x00007FFFFFFFFFFF},
                {XVCPU_MSR_IA32_STAR, 0x0023001000000000},
                {XVCPU_MSR_IA32_LSTAR, 0xFFFFFFFF80000000},
                {XVCPU_MSR_IA32_CSTAR, 0xFFFFFFFF80001000},
                {XVCPU_MSR_IA32_FMASK, 0x47700},
                {XVCPU_MSR_IA32_FS_BASE, 0x7000},
                {XVCPU_MSR_IA32_GS_BASE, 0xFFFF888000000000},
                {XVCPU_MSR_IA32_KERNEL_GS_BASE, 0xFFFF888000001000},
                {XVCPU_MSR_IA32_TSC_AUX, 0x80000001},
                {XVCPU_MSR_IA32_TSC_ADJUST, 0xFFFFFFFFFFFF0000},
                {XVCPU_MSR_IA32_MISC_ENABLE, 0x801801},
                {XVCPU_MSR_IA32_MTRR_DEF_TYPE, 0xC06},
                {XVCPU_MSR_IA32_MTRR_PHYSBASE0, 0xC0000006},
                {XVCPU_MSR_IA32_MTRR_PHYSMASK0, 0x3FC0000800},
                {XVCPU_MSR_IA32_MTRR_PHYSMASK7, 0x800},
                {XVCPU_MSR_IA32_MTRR_FIX64K_00000, 0x0606060606060606},
                {XVCPU_MSR_IA32_MTRR_FIX16K_80000, 0x0101010101010101},
                {XVCPU_MSR_IA32_MTRR_FIX16K_A0000, 0},
                {XVCPU_MSR_IA32_MTRR_FIX4K_C0000, 0x0505050505050505},
                {XVCPU_MSR_IA32_MTRR_FIX4K_F8000, 0x0404040404040404},
                {XVCPU_MSR_IA32_DEBUGCTL, 2},
                {XVCPU_MSR_IA32_XSS, 0},
                {XVCPU_MSR_IA32_MCG_STATUS, 0}};
    xvcpu_u32 i, k;
    (void)unused;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        ok(ended(wrmsr(rows[i].index, rows[i].value), NONE), "WRMSR %s",
           xvcpu_msr_name(rows[i].index));
        ok(ended(rdmsr(rows[i].index), NONE) && v->gpr[XVCPU_RAX] == (xvcpu_u32)rows[i].value &&
               v->gpr[XVCPU_RDX] == rows[i].value >> 32,
           "T56 RDMSR %s", xvcpu_msr_name(rows[i].index));
    }
    for (k = 0; k < COUNT(rows); k++) {
        (void)rdmsr(rows[k].index);
        sim_check(ended(XVCPU_ACTION_HANDLED, NONE));
        is_hex(v->gpr[XVCPU_RAX] | v->gpr[XVCPU_RDX] << 32, rows[k].value, "%s kept its own value",
               xvcpu_msr_name(rows[k].index));
    }
    ok(ended(rdmsr(XVCPU_MSR_IA32_FEATURE_CONTROL), NONE) && v->gpr[XVCPU_RAX] == 1,
       "IA32_FEATURE_CONTROL is locked, with VMX off");
    ok(ended(rdmsr(XVCPU_MSR_IA32_MTRRCAP), NONE) && v->gpr[XVCPU_RAX] == 0x508,
       "IA32_MTRRCAP: 8 variable ranges, fixed ranges, write combining");
    ok(ended(rdmsr(XVCPU_MSR_IA32_MCG_CAP), NONE) && v->gpr[XVCPU_RAX] == 0,
       "no machine-check bank");
    ok(ended(wrmsr(XVCPU_MSR_IA32_BIOS_SIGN_ID, 0), NONE) &&
           ended(rdmsr(XVCPU_MSR_IA32_BIOS_SIGN_ID), NONE) && v->gpr[XVCPU_RAX] == 0 &&
           v->gpr[XVCPU_RDX] == 1,
       "IA32_BIOS_SIGN_ID: a revision");
    ok(ended(wrmsr(XVCPU_MSR_IA32_BIOS_UPDT_TRIG, 0x1000), NONE), "no guest loads microcode");
    is_hex(sim_counts.wrmsr, 0, "no WRMSR on the processor while the host's state is loaded");
    stop();
}

static void test_msr_faults(void *unused)
{
    static const struct {
        xvcpu_u32 index;
        xvcpu_u64 value;
    } rows[] = {{XVCPU_MSR_IA32_EFER, 0x502},
                {XVCPU_MSR_IA32_EFER, 0x1500},
                {XVCPU_MSR_IA32_EFER, 0x100000500},
                {XVCPU_MSR_IA32_EFER, 0}, // LME with paging on
                {XVCPU_MSR_IA32_PAT, 0x0002000000000000},
                {XVCPU_MSR_IA32_PAT, 3},
                {XVCPU_MSR_IA32_PAT, 0x0800},
                {XVCPU_MSR_IA32_APIC_BASE, 0xFEE00D00},
                {XVCPU_MSR_IA32_APIC_BASE, 0xFEE00901},
                {XVCPU_MSR_IA32_APIC_BASE, 0xFFF00000FEE00900},
                {XVCPU_MSR_IA32_APIC_BASE, 0x00080000FEE00900}, // no such physical address
                {XVCPU_MSR_IA32_SYSENTER_CS, 0x100000008},
                {XVCPU_MSR_IA32_SYSENTER_ESP, 0x0000800000000000},
                {XVCPU_MSR_IA32_SYSENTER_EIP, 0xFFFF700000000000},
                {XVCPU_MSR_IA32_LSTAR, 0x0000800000000000},
                {XVCPU_MSR_IA32_CSTAR, 0x8000000000000000},
                {XVCPU_MSR_IA32_FMASK, 0x100000000},
                {XVCPU_MSR_IA32_FS_BASE, 0x0000800000000000},
                {XVCPU_MSR_IA32_GS_BASE, 0x0000800000000000},
                {XVCPU_MSR_IA32_KERNEL_GS_BASE, 0x0000800000000000},
                {XVCPU_MSR_IA32_TSC_AUX, 0x100000000},
                {XVCPU_MSR_IA32_MISC_ENABLE, 0x401801}, // limit of CPUID leaves
                {XVCPU_MSR_IA32_MTRR_DEF_TYPE, 0x107},
                {XVCPU_MSR_IA32_MTRR_DEF_TYPE, 0x807},
                {XVCPU_MSR_IA32_MTRR_PHYSBASE0, 0x2},
                {XVCPU_MSR_IA32_MTRR_PHYSBASE0, 0x106},
                {XVCPU_MSR_IA32_MTRR_PHYSBASE0, 0xFFF0000000000006},
                {XVCPU_MSR_IA32_MTRR_PHYSMASK0, 0x400},
                {XVCPU_MSR_IA32_MTRR_FIX64K_00000, 0x0606060206060606},
                {XVCPU_MSR_IA32_MTRR_FIX4K_F8000, 0x0700000000000000},
                {XVCPU_MSR_IA32_DEBUGCTL, 0x40},
                {XVCPU_MSR_IA32_XSS, 0x100},
                {XVCPU_MSR_IA32_FEATURE_CONTROL, 5},
                {XVCPU_MSR_IA32_MTRRCAP, 0x508},
                {XVCPU_MSR_IA32_MCG_CAP, 0},
                {XVCPU_MSR_IA32_MCG_STATUS, 1},
                {XVCPU_MSR_IA32_PLATFORM_ID, 0},
                {XVCPU_MSR_IA32_SPEC_CTRL, 1},
                {XVCPU_MSR_IA32_PRED_CMD, 1},
                {XVCPU_MSR_IA32_VMX_BASIC, 0},
                {XVCPU_MSR_IA32_VMX_EXIT_CTLS2, 0}};
    static const xvcpu_u32 unreadable[] = {
        XVCPU_MSR_IA32_SPEC_CTRL, XVCPU_MSR_IA32_PRED_CMD, XVCPU_MSR_IA32_ARCH_CAPABILITIES,
        XVCPU_MSR_IA32_VMX_BASIC, XVCPU_MSR_IA32_VMX_VMFUNC, XVCPU_MSR_IA32_SMBASE};
    xvcpu_u32 i;
    (void)unused;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        xvcpu_u64 before = 0, after = 0;
        const xvcpui_msr_outcome readable = xvcpui_read_msr(v, rows[i].index, &before);
        const xvcpu_action action = wrmsr(rows[i].index, rows[i].value);
        ok(registers_untouched((xvcpu_u32)rows[i].value, (xvcpu_u32)(rows[i].value >> 32)) &&
               ended(action, XVCPU_EXCEPTION_GP),
           "T63 WRMSR %s, %#llx: #GP", xvcpu_msr_name(rows[i].index),
           (unsigned long long)rows[i].value);
        ok(xvcpui_read_msr(v, rows[i].index, &after) == readable && before == after,
           "T63 and nothing changed");
    }
    for (i = 0; i < COUNT(unreadable); i++) {
        const xvcpu_action action = rdmsr(unreadable[i]);
        ok(registers_untouched(0x11111111, 0x22222222) && ended(action, XVCPU_EXCEPTION_GP),
           "T63 RDMSR %s: #GP with EDX:EAX untouched", xvcpu_msr_name(unreadable[i]));
    }
    stop();
}

// An MSR that belongs to a feature the guest does not see faults, whatever the host has.
static void test_msr_hidden(void *unused)
{
    static const xvcpu_u32 gone[] = {XVCPU_MSR_IA32_SYSENTER_CS, XVCPU_MSR_IA32_SYSENTER_EIP,
                                     XVCPU_MSR_IA32_TSC_AUX, XVCPU_MSR_IA32_LSTAR,
                                     XVCPU_MSR_IA32_KERNEL_GS_BASE, XVCPU_MSR_IA32_XSS,
                                     XVCPU_MSR_IA32_TSC_ADJUST,
                                     XVCPU_MSR_IA32_UMWAIT_CONTROL};
    xvcpu_desc desc;
    xvcpu_u32 i;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    sim_cpuid_change_all(7, 0, 1, (xvcpu_u32)XVCPU_CPUID_7_EBX_TSC_ADJUST, 0);
    desc.hide_features = XVCPU_BIT64(XVCPU_FEATURE_SEP) | XVCPU_BIT64(XVCPU_FEATURE_RDTSCP) |
                         XVCPU_BIT64(XVCPU_FEATURE_SYSCALL) | XVCPU_BIT64(XVCPU_FEATURE_XSAVES) |
                         XVCPU_BIT64(XVCPU_FEATURE_WAITPKG);
    start_with(&desc);
    for (i = 0; i < COUNT(gone); i++) {
        ok(ended(rdmsr(gone[i]), XVCPU_EXCEPTION_GP), "RDMSR %s, hidden", xvcpu_msr_name(gone[i]));
        ok(ended(wrmsr(gone[i], 0), XVCPU_EXCEPTION_GP), "WRMSR %s, hidden",
           xvcpu_msr_name(gone[i]));
    }
    stop();
}

static void test_msr_unknown(void *unused)
{
    static const xvcpu_u32 indexes[] = {0x12345, 0x40000000, 0xC0002000, 0x6E0, 0x802, 0x210};
    xvcpu_u32 i;
    (void)unused;
    start();
    for (i = 0; i < COUNT(indexes); i++) {
        xvcpu_action action = rdmsr(indexes[i]);
        ok(action == XVCPU_ACTION_RETURN && v->exit.kind == XVCPU_EXIT_MSR_READ &&
               v->exit.u.msr.index == indexes[i] && get_reg(XVCPU_REG_RIP) == v->exit.rip &&
               registers_untouched(0x11111111, 0x22222222),
           "RDMSR %#x is the caller's", indexes[i]);
        action = wrmsr(indexes[i], 0x123456789A);
        ok(action == XVCPU_ACTION_RETURN && v->exit.kind == XVCPU_EXIT_MSR_WRITE &&
               v->exit.value == 0x123456789A && get_reg(XVCPU_REG_RIP) == v->exit.rip,
           "WRMSR %#x is the caller's", indexes[i]);
    }
    (void)rdmsr(0x12345);
    xvcpu_answer_done(v, 0xAABBCCDD11223344);
    sim_check_equal(xvcpui_complete(v, &error), XVCPU_STATUS_OK);
    ok(v->gpr[XVCPU_RAX] == 0x11223344 && v->gpr[XVCPU_RDX] == 0xAABBCCDD &&
           get_reg(XVCPU_REG_RIP) == v->exit.rip + 2,
       "T56 the caller's answer becomes EDX:EAX, zero-extended");
    (void)rdmsr(0x12345);
    xvcpu_answer_fault(v, XVCPU_EXCEPTION_GP, 0);
    sim_check_equal(xvcpui_complete(v, &error), XVCPU_STATUS_OK);
    ok(registers_untouched(0x11111111, 0x22222222) && get_reg(XVCPU_REG_RIP) == v->exit.rip &&
           raised() == XVCPU_EXCEPTION_GP,
       "T63 the caller's #GP leaves EDX:EAX untouched");
    stop();
}

static void test_umwait(void *unused)
{
    (void)unused;
    start();
    if (!ok(xvcpui_has(v, XVCPU_FEATURE_WAITPKG), "the model has WAITPKG"))
        diag("the tests below mean nothing");
    ok(ended(wrmsr(XVCPU_MSR_IA32_UMWAIT_CONTROL, 0x186A1), NONE) &&
           ended(rdmsr(XVCPU_MSR_IA32_UMWAIT_CONTROL), NONE) && v->gpr[XVCPU_RAX] == 0x186A1,
       "IA32_UMWAIT_CONTROL is kept");
    ok(ended(wrmsr(XVCPU_MSR_IA32_UMWAIT_CONTROL, 2), XVCPU_EXCEPTION_GP),
       "T63 IA32_UMWAIT_CONTROL: reserved bit");
    stop();
}

static xvcpu_u64 guest_tsc(void)
{
    (void)rdmsr(XVCPU_MSR_IA32_TIME_STAMP_COUNTER);
    sim_check(ended(XVCPU_ACTION_HANDLED, NONE));
    return v->gpr[XVCPU_RAX] | v->gpr[XVCPU_RDX] << 32;
}

static void test_tsc(void *unused)
{
    xvcpu_u64 tsc;
    (void)unused;
    start();
    put(XVCPU_VMCS_CTRL_TSC_OFFSET, 0x100000000000);
    tsc = guest_tsc();
    ok(tsc > 0x100000000000 && tsc < 0x100010000000, "RDMSR of the TSC adds the offset");
    ok(ended(wrmsr(XVCPU_MSR_IA32_TIME_STAMP_COUNTER, 0), NONE), "WRMSR of the TSC");
    ok(guest_tsc() < 1000, "the TSC starts again where it was set");
    (void)rdmsr(XVCPU_MSR_IA32_TSC_ADJUST);
    sim_check(ended(XVCPU_ACTION_HANDLED, NONE));
    is_hex((v->gpr[XVCPU_RAX] | v->gpr[XVCPU_RDX] << 32) + 0x100000000000,
           get_reg(XVCPU_REG_TSC_OFFSET), "TSC_ADJUST says by how much");
    ok(ended(wrmsr(XVCPU_MSR_IA32_TSC_ADJUST, 0), NONE), "WRMSR of TSC_ADJUST");
    is_hex(get_reg(XVCPU_REG_TSC_OFFSET), 0x100000000000, "TSC_ADJUST 0 undoes it");
    v->gpr[XVCPU_RAX] = DIRT;
    v->gpr[XVCPU_RDX] = DIRT;
    v->switched[XVCPU_SWITCHED_TSC_AUX] = 0x77;
    ok(ended(exits(XVCPU_EXIT_REASON_RDTSCP, 0, 3), NONE) && v->gpr[XVCPU_RCX] == 0x77 &&
           v->gpr[XVCPU_RDX] == 0x1000,
       "T56 RDTSCP: EDX:EAX and ECX, zero-extended");
    v->gpr[XVCPU_RCX] = 5;
    ok(ended(exits(XVCPU_EXIT_REASON_RDTSC, 0, 2), NONE) && v->gpr[XVCPU_RCX] == 5 &&
           v->gpr[XVCPU_RDX] == 0x1000,
       "RDTSC leaves ECX alone");
    stop();
}

static void test_scaled_tsc(void *unused)
{
    xvcpu_desc desc;
    xvcpu_u64 host, guest;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    desc.required_controls[XVCPU_WORD_PROC2] = XVCPU_PROC2_TSC_SCALING;
    start_with(&desc);
    put(XVCPU_VMCS_CTRL_TSC_MULTIPLIER, XVCPU_BIT64(48) * 5 / 2);
    put(XVCPU_VMCS_CTRL_TSC_OFFSET, 1000);
    sim_this_cpu()->tsc = XVCPU_BIT64(60);
    host = sim_this_cpu()->tsc;
    guest = guest_tsc() - 1000;
    ok(guest >= host * 2 + host / 2 && guest < host * 2 + host / 2 + 1000,
       "TSC: multiplied in 128 bits, then the offset");
    ok(ended(wrmsr(XVCPU_MSR_IA32_TIME_STAMP_COUNTER, 7), NONE) && guest_tsc() < 1000,
       "WRMSR of a scaled TSC");
    stop();
}

// -- HLT

static void test_hlt(void *unused)
{
    xvcpu_action action;
    (void)unused;
    start();
    set_reg(XVCPU_REG_RFLAGS, 0x202);
    action = exits(XVCPU_EXIT_REASON_HLT, 0, 1);
    ok(action == XVCPU_ACTION_RETURN && v->exit.kind == XVCPU_EXIT_PLAIN &&
           get_reg(XVCPU_REG_RIP) == 0x1001 && get_reg(XVCPU_REG_ACTIVITY) == XVCPU_ACTIVITY_ACTIVE,
       "T64 HLT with nothing to do returns, completed");
    (void)xvcpu_raise_interrupt(v, 0x40, NULL);
    ok(exits(XVCPU_EXIT_REASON_HLT, 0, 1) == XVCPU_ACTION_HANDLED &&
           get_reg(XVCPU_REG_RIP) == 0x1002,
       "T64 HLT with an interrupt waiting goes on");
    set_reg(XVCPU_REG_INTERRUPTIBILITY, XVCPU_INTERRUPTIBILITY_STI);
    ok(exits(XVCPU_EXIT_REASON_HLT, 0, 1) == XVCPU_ACTION_HANDLED &&
           get_reg(XVCPU_REG_INTERRUPTIBILITY) == 0,
       "T64 STI;HLT with an interrupt waiting goes on, and the shadow is over");
    set_reg(XVCPU_REG_RFLAGS, 2);
    ok(exits(XVCPU_EXIT_REASON_HLT, 0, 1) == XVCPU_ACTION_RETURN,
       "T64 with interrupts off it stays");
    (void)xvcpu_raise_nmi(v, NULL);
    ok(exits(XVCPU_EXIT_REASON_HLT, 0, 1) == XVCPU_ACTION_HANDLED, "T64 an NMI ends it");
    set_reg(XVCPU_REG_INTERRUPTIBILITY, XVCPU_INTERRUPTIBILITY_NMI);
    ok(exits(XVCPU_EXIT_REASON_HLT, 0, 1) == XVCPU_ACTION_RETURN, "T64 unless NMIs are blocked");
    memset(&v->queue, 0, sizeof v->queue);
    set_reg(XVCPU_REG_INTERRUPTIBILITY, 0);
    set_reg(XVCPU_REG_RFLAGS, 0x102);
    ok(exits(XVCPU_EXIT_REASON_HLT, 0, 1) == XVCPU_ACTION_HANDLED,
       "T64 a single-step trap ends it");
    stop();
}

// -- Instructions of hidden features, and the rest

static void test_other_exits(void *unused)
{
    static const struct {
        xvcpu_u32 reason;
        xvcpu_u32 vector;
    } rows[] = {{XVCPU_EXIT_REASON_VMCLEAR, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_VMLAUNCH, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_VMPTRLD, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_VMPTRST, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_VMREAD, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_VMRESUME, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_VMWRITE, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_VMXOFF, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_VMXON, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_INVEPT, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_INVVPID, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_VMFUNC, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_GETSEC, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_RSM, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_ENCLS, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_ENCLV, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_MONITOR, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_MWAIT, XVCPU_EXCEPTION_UD},
                {XVCPU_EXIT_REASON_RDPMC, XVCPU_EXCEPTION_GP},
                {XVCPU_EXIT_REASON_INVD, NONE},
                {XVCPU_EXIT_REASON_WBINVD, NONE},
                {XVCPU_EXIT_REASON_PAUSE, NONE}};
    xvcpu_u32 i;
    (void)unused;
    start();
    for (i = 0; i < COUNT(rows); i++)
        ok(ended(exits(rows[i].reason, 0, 3), rows[i].vector), "T65 %s",
           xvcpu_exit_reason_name(rows[i].reason));
    v->flush_vpid = 0;
    ok(ended(exits(XVCPU_EXIT_REASON_INVLPG, 0x5000, 3), NONE) && v->flush_vpid,
       "INVLPG drops translations");
    ok(exits(XVCPU_EXIT_REASON_INTERRUPT_WINDOW, 0, 0) == XVCPU_ACTION_HANDLED &&
           get_reg(XVCPU_REG_RIP) == v->exit.rip,
       "T54 interrupt window: handled, RIP stays");
    ok(exits(XVCPU_EXIT_REASON_NMI_WINDOW, 0, 0) == XVCPU_ACTION_HANDLED &&
           get_reg(XVCPU_REG_RIP) == v->exit.rip,
       "T54 NMI window: handled, RIP stays");
    stop();
}

static void test_shown_monitor(void *unused)
{
    xvcpu_desc desc;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    desc.show_monitor = 1;
    start_with(&desc);
    ok(exits(XVCPU_EXIT_REASON_MWAIT, 0, 3) == XVCPU_ACTION_RETURN &&
           v->exit.kind == XVCPU_EXIT_INSTRUCTION && get_reg(XVCPU_REG_RIP) == v->exit.rip,
       "MWAIT is the caller's where it is shown");
    stop();
}

// Every exit reason there is and is not: none is advanced over unless handled, and what nobody
// knows is returned.
static void test_all_reasons(void *unused)
{
    xvcpu_u32 reason, wrong = 0, returned = 0;
    (void)unused;
    start();
    for (reason = 0; reason <= 0xFFFF; reason++) {
        xvcpu_action action;
        set_reg(XVCPU_REG_RIP, 0x1000);
        v->gpr[XVCPU_RCX] = 0x12345; // no such MSR, no such XCR
        action = exits(reason, 0, 3);
        if (action == XVCPU_ACTION_DEFAULT)
            wrong++;
        if (action == XVCPU_ACTION_INJECTED)
            wrong += raised() == NONE || get_reg(XVCPU_REG_RIP) != 0x1000;
        if (action == XVCPU_ACTION_RETURN && reason != XVCPU_EXIT_REASON_HLT)
            wrong += get_reg(XVCPU_REG_RIP) != 0x1000 || raised() != NONE;
        if (reason >= XVCPU_EXIT_REASON_COUNT)
            returned += action == XVCPU_ACTION_RETURN;
    }
    is_hex(wrong, 0, "T53 all reasons 0 to FFFFh: RIP moves only over what was done");
    is_hex(returned, 0x10000 - XVCPU_EXIT_REASON_COUNT, "T53 unknown reasons are the caller's");
    stop();
}

// -- Answers

static xvcpu_status answer(xvcpu_u64 value)
{
    xvcpu_answer_done(v, value);
    return xvcpui_complete(v, &error);
}

static void io(xvcpu_u32 bytes, xvcpu_bool in, xvcpu_bool string)
{
    set_reg(XVCPU_REG_RIP, 0x1000);
    sim_check_equal(exits(XVCPU_EXIT_REASON_IO_INSTRUCTION,
                          (xvcpu_u64)0x3F8 << 16 | (bytes - 1U) | (in ? 8U : 0U) |
                              (string ? 16U : 0U),
                          1),
                    XVCPU_ACTION_RETURN);
}

static void test_io_answers(void *unused)
{
    static const struct {
        xvcpu_u32 bytes;
        xvcpu_u64 before, value, after;
    } rows[] = {{1, 0x8877665544332211, 0xAB, 0x88776655443322AB},
                {1, 0x8877665544332211, 0xFFFFFFCD, 0x88776655443322CD},
                {2, 0x8877665544332211, 0xABCD, 0x887766554433ABCD},
                {2, 0xFFFFFFFFFFFFFFFF, 0, 0xFFFFFFFFFFFF0000},
                {4, 0x8877665544332211, 0x12345678, 0x12345678},
                {4, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF80000000, 0x80000000}};
    xvcpu_u32 i;
    (void)unused;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        v->gpr[XVCPU_RAX] = rows[i].before;
        io(rows[i].bytes, 1, 0);
        is_hex(get_reg(XVCPU_REG_RIP), 0x1000, "T57 IN: RIP waits for the answer");
        sim_check_equal(answer(rows[i].value), XVCPU_STATUS_OK);
        is_hex(v->gpr[XVCPU_RAX], rows[i].after, "T57 IN of %u bytes", rows[i].bytes);
        is_hex(get_reg(XVCPU_REG_RIP), 0x1001, "T57 IN: then moves on");
        v->gpr[XVCPU_RAX] = 0x5555;
        set_reg(XVCPU_REG_RIP, 0x2000);
        sim_check_equal(xvcpui_complete(v, NULL), XVCPU_STATUS_OK);
        ok(get_reg(XVCPU_REG_RIP) == 0x2000 && v->gpr[XVCPU_RAX] == 0x5555,
           "T57 IN: an answer counts once");
    }
    v->gpr[XVCPU_RAX] = 0x1122334455667788;
    io(2, 0, 0);
    is_hex(v->exit.value, 0x7788, "OUT: the guest's value");
    sim_check_equal(answer(0xFFFF), XVCPU_STATUS_OK);
    ok(v->gpr[XVCPU_RAX] == 0x1122334455667788 && get_reg(XVCPU_REG_RIP) == 0x1001,
       "OUT changes no register");
    io(1, 1, 0);
    sim_check_equal(xvcpui_complete(v, NULL), XVCPU_STATUS_OK);
    ok(get_reg(XVCPU_REG_RIP) == 0x1000, "no answer: the instruction runs again");
    stop();
}

static void mmio(xvcpu_u32 bytes, xvcpu_u32 gpr, xvcpu_u32 gpr_bytes, xvcpu_u32 shift,
                 xvcpu_bool sign, xvcpu_bool write)
{
    xvcpu_exit_memory *memory = &v->exit.u.memory;
    set_reg(XVCPU_REG_RIP, 0x1000);
    (void)exits(XVCPU_EXIT_REASON_EPT_VIOLATION, write ? 2 : 1, 0);
    v->exit.kind = XVCPU_EXIT_MMIO;
    v->exit.instruction_length = 4;
    memory->bytes = (xvcpu_u8)bytes;
    memory->gpr = (xvcpu_u8)gpr;
    memory->gpr_bytes = (xvcpu_u8)gpr_bytes;
    memory->gpr_shift = (xvcpu_u8)shift;
    memory->sign_extend = sign;
}

static void test_mmio_answers(void *unused)
{
    static const struct {
        xvcpu_u32 bytes, gpr_bytes, shift;
        xvcpu_bool sign;
        xvcpu_u64 value, after;
        const char *what;
    } rows[] = {{8, 8, 0, 0, 0x8899AABBCCDDEEFF, 0x8899AABBCCDDEEFF, "MOV r64"},
                {4, 4, 0, 0, 0x8899AABBCCDDEEFF, 0xCCDDEEFF, "MOV r32"},
                {2, 2, 0, 0, 0x8899AABBCCDDEEFF, 0x112233445566EEFF, "MOV r16"},
                {1, 1, 0, 0, 0x8899AABBCCDDEEFF, 0x11223344556677FF, "MOV r8"},
                {1, 1, 8, 0, 0x8899AABBCCDDEEFF, 0x112233445566FF88, "MOV high r8"},
                {1, 4, 0, 0, 0xF0, 0xF0, "MOVZX r32, r/m8"},
                {1, 4, 0, 1, 0xF0, 0xFFFFFFF0, "MOVSX r32, r/m8"},
                {1, 8, 0, 1, 0xF0, 0xFFFFFFFFFFFFFFF0, "MOVSX r64, r/m8"},
                {2, 8, 0, 1, 0x7000, 0x7000, "MOVSX r64, r/m16"},
                {1, 2, 0, 1, 0x80, 0x112233445566FF80, "MOVSX r16, r/m8"},
                {4, 8, 0, 1, 0x80000000, 0xFFFFFFFF80000000, "MOVSXD r64"}};
    xvcpu_u32 i, n;
    static const xvcpu_u32 gprs[] = {XVCPU_RBX, XVCPU_RSP};
    (void)unused;
    start();
    for (i = 0; i < COUNT(rows); i++)
        for (n = 0; n < COUNT(gprs); n++) {
            xvcpui_write_gpr(v, gprs[n], 0x1122334455667788);
            mmio(rows[i].bytes, gprs[n], rows[i].gpr_bytes, rows[i].shift, rows[i].sign, 0);
            sim_check_equal(answer(rows[i].value), XVCPU_STATUS_OK);
            is_hex(xvcpui_read_gpr(v, gprs[n]), rows[i].after, "memory read, %s, register %u",
                   rows[i].what, gprs[n]);
            is_hex(get_reg(XVCPU_REG_RIP), 0x1004, "and RIP moves by the decoded length");
        }
    v->gpr[XVCPU_RBX] = 5;
    mmio(4, XVCPU_RBX, 4, 0, 0, 1);
    sim_check_equal(answer(9), XVCPU_STATUS_OK);
    ok(v->gpr[XVCPU_RBX] == 5 && get_reg(XVCPU_REG_RIP) == 0x1004,
       "memory write changes no register");
    stop();
}

// CR and DR exits that the built-in handlers leave to the caller.
static void test_cr_dr_answers(void *unused)
{
    (void)unused;
    start();
    set_reg(XVCPU_REG_RIP, 0x1000);
    v->gpr[XVCPU_RBX] = 0x77;
    ok(exits(XVCPU_EXIT_REASON_CR_ACCESS, FROM_CR(2, XVCPU_RBX), 3) == XVCPU_ACTION_RETURN &&
           v->exit.kind == XVCPU_EXIT_CR && get_reg(XVCPU_REG_RIP) == 0x1000,
       "a control register that never exits is the caller's");
    sim_check_equal(answer(DIRT | 0x1234), XVCPU_STATUS_OK);
    ok(v->gpr[XVCPU_RBX] == (DIRT | 0x1234) && get_reg(XVCPU_REG_RIP) == 0x1003,
       "MOV from CR: the answer is the register");
    ok(exits(XVCPU_EXIT_REASON_CR_ACCESS, TO_CR(2, XVCPU_RBX), 3) == XVCPU_ACTION_RETURN,
       "and a write");
    sim_check_equal(answer(0), XVCPU_STATUS_OK);
    ok(v->gpr[XVCPU_RBX] == (DIRT | 0x1234) && get_reg(XVCPU_REG_RIP) == 0x1006,
       "MOV to CR: no register changes");
    // A handler of the caller's that returns the exit sees MOV DR before the built-in one.
    protected_mode();
    (void)exits(XVCPU_EXIT_REASON_MOV_DR, FROM_DR(1, XVCPU_RCX), 3);
    set_reg(XVCPU_REG_RIP, 0x1000);
    sim_check_equal(answer(DIRT | 0x99), XVCPU_STATUS_OK);
    ok(v->gpr[XVCPU_RCX] == 0x99 && get_reg(XVCPU_REG_RIP) == 0x1003,
       "MOV from DR: the answer is the register, 32 bits of it in 32-bit code");
    v->gpr[XVCPU_RCX] = 0x88;
    (void)exits(XVCPU_EXIT_REASON_MOV_DR, TO_DR(1, XVCPU_RCX), 3);
    sim_check_equal(answer(0), XVCPU_STATUS_OK);
    is_hex(v->gpr[XVCPU_RCX], 0x88, "MOV to DR: no register changes");
    (void)wrmsr(0x12345, 5);
    sim_check_equal(answer(0), XVCPU_STATUS_OK);
    ok(registers_untouched(5, 0) && get_reg(XVCPU_REG_RIP) == v->exit.rip + 2,
       "WRMSR: no register changes");
    stop();
}

static void misfit(const char *what)
{
    const xvcpu_u64 rip = get_reg(XVCPU_REG_RIP);
    const xvcpu_u64 rax = v->gpr[XVCPU_RAX];
    xvcpu_status status;
    memset(&error, 0, sizeof error);
    xvcpu_answer_done(v, 0x77);
    status = xvcpui_complete(v, &error);
    ok(status == XVCPU_STATUS_NOT_ANSWERED && error.detail && error.detail[0] != 0 &&
           get_reg(XVCPU_REG_RIP) == rip && v->gpr[XVCPU_RAX] == rax,
       "%s cannot be answered \"done\": %s", what, error.detail ? error.detail : "");
    v->exit.answer = XVCPU_ANSWER_NONE;
}

static void test_other_answers(void *unused)
{
    (void)unused;
    start();
    set_reg(XVCPU_REG_RIP, 0x1000);
    v->gpr[XVCPU_RAX] = 42;
    ok(exits(XVCPU_EXIT_REASON_VMCALL, 0, 3) == XVCPU_ACTION_RETURN &&
           v->exit.u.vmcall.number == 42,
       "VMCALL is the caller's");
    sim_check_equal(answer(0xFFFFFFFFFFFFFFFE), XVCPU_STATUS_OK);
    ok(v->gpr[XVCPU_RAX] == 0xFFFFFFFFFFFFFFFE && get_reg(XVCPU_REG_RIP) == 0x1003,
       "VMCALL: the answer is RAX");
    io(1, 1, 1);
    misfit("string I/O");
    (void)exits(XVCPU_EXIT_REASON_EPT_VIOLATION, 1, 0);
    misfit("a memory access that was not decoded");
    v->exit.kind = XVCPU_EXIT_MMIO;
    misfit("a memory access decoded in part");
    (void)exits(XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT, 0, 0);
    misfit("an interrupt");
    v->exit.kind = XVCPU_EXIT_KICKED;
    misfit("a kick");
    xvcpu_answer_fault(v, XVCPU_EXCEPTION_UD, 0);
    ok(xvcpui_complete(v, &error) == XVCPU_STATUS_NOT_ANSWERED, "a kick cannot fault");
    v->exit.answer = XVCPU_ANSWER_NONE;
    (void)exits(XVCPU_EXIT_REASON_HLT, 0, 1);
    xvcpu_answer_fault(v, XVCPU_EXCEPTION_UD, 0);
    ok(xvcpui_complete(v, &error) == XVCPU_STATUS_NOT_ANSWERED,
       "a HLT that completed cannot fault");
    v->exit.answer = XVCPU_ANSWER_NONE;
    // A page fault for an access to memory: CR2 is its address.
    put(XVCPU_VMCS_EXIT_GUEST_LINEAR_ADDR, 0x7654321);
    (void)exits(XVCPU_EXIT_REASON_EPT_VIOLATION, 0x181, 0);
    xvcpu_answer_fault(v, XVCPU_EXCEPTION_PF, 6);
    sim_check_equal(xvcpui_complete(v, &error), XVCPU_STATUS_OK);
    ok(v->queue.exception.payload == 0x7654321 && v->queue.exception.error_code == 6 &&
           raised() == XVCPU_EXCEPTION_PF,
       "T47 #PF instead of a memory access carries its address");
    xvcpu_answer_done(NULL, 0);
    xvcpu_answer_fault(NULL, 0, 0);
    ok(1, "answers to no virtual CPU are ignored");
    stop();
}

typedef struct test_row {
    const char *name;
    void (*run)(void *argument);
    const char *model; // null: skylake
} test_row;

int main(void)
{
    static const test_row rows[] = {
        {"CPUID", test_cpuid, NULL},
        {"CPUID, unknown bits", test_cpuid_unknown_bits, NULL},
        {"CPUID, hidden features", test_cpuid_hidden_features, NULL},
        {"CPUID, no SSE", test_cpuid_no_sse, NULL},
        {"CPUID, extended state", test_cpuid_xsave, NULL},
        {"CPUID, options", test_cpuid_options, NULL},
        {"CPUID, hidden hypervisor", test_cpuid_hidden_hypervisor, NULL},
        {"CPUID, protection keys", test_cpuid_ospke, NULL},
        {"CPUID, price", test_cpuid_price, NULL},
        {"control registers", test_cr, NULL},
        {"LMSW and CLTS", test_lmsw_clts, NULL},
        {"CR0 without unrestricted guest", test_cr_without_unrestricted, NULL},
        {"debug registers", test_dr, NULL},
        {"debug registers, live", test_dr_live, NULL},
        {"XSETBV", test_xsetbv, NULL},
        {"XSETBV, live", test_xsetbv_live, NULL},
        {"XSETBV, live and bad", test_xsetbv_live_bad, NULL},
        {"MSR values", test_msr_values, NULL},
        {"MSR faults", test_msr_faults, NULL},
        {"MSRs of hidden features", test_msr_hidden, NULL},
        {"unknown MSRs", test_msr_unknown, NULL},
        {"TSC", test_tsc, NULL},
        {"TSC, scaled", test_scaled_tsc, NULL},
        {"UMWAIT", test_umwait, "tigerlake"},
        {"HLT", test_hlt, NULL},
        {"other exits", test_other_exits, NULL},
        {"MONITOR shown", test_shown_monitor, NULL},
        {"all reasons", test_all_reasons, NULL},
        {"I/O answers", test_io_answers, NULL},
        {"memory answers", test_mmio_answers, NULL},
        {"CR and DR answers", test_cr_dr_answers, NULL},
        {"other answers", test_other_answers, NULL},
    };
    xvcpu_u32 i;
    for (i = 0; i < COUNT(rows); i++)
        if (!ok(sim_run(rows[i].model, rows[i].run, NULL), "%s: nothing left behind", rows[i].name))
            diag("%s", sim_failure());
    return done_testing();
}
