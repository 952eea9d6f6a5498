// guest_cpuid.c - what a guest is told it has, that it has no more than that, and XCR0.
// models: corei7_skylake_x corei7_haswell_4770 corei5_lynnfield_750 corei7_sandy_bridge_2600k tigerlake
// cpus: 1
#include "guest_kit.h"

#define DIRTY 0xdeadbeef00000000

GUEST_CODE(do_cpuid, 64, "cpuid");
GUEST_CODE(do_xsetbv, 64, "xsetbv");
GUEST_CODE(do_xgetbv, 64, "xgetbv");
GUEST_CODE(to_cr4, 64, "mov %rax, %cr4");
GUEST_CODE(do_wrmsr, 64, "wrmsr");
GUEST_CODE(do_rdtscp, 64, "rdtscp");
GUEST_CODE(do_invpcid, 64, "invpcid (%rsi), %rdi");

static bool dirty_seen; // a result with something in an upper half

static struct kernel_cpuid ask(u32 leaf, u32 subleaf)
{
    struct kernel_cpuid r = {0, 0, 0, 0};
    u64 all;
    metal_set(&guest, XVCPU_REG_RAX, DIRTY | leaf);
    metal_set(&guest, XVCPU_REG_RCX, DIRTY | subleaf);
    metal_set(&guest, XVCPU_REG_RBX, ~0ul);
    metal_set(&guest, XVCPU_REG_RDX, ~0ul);
    if (GUEST_DO(do_cpuid) != KIT_NO_FAULT) {
        ok(false, "CPUID 0x%x", leaf);
        guest_explain();
        return r;
    }
    all = metal_get(&guest, XVCPU_REG_RAX) | metal_get(&guest, XVCPU_REG_RBX) |
          metal_get(&guest, XVCPU_REG_RCX) | metal_get(&guest, XVCPU_REG_RDX);
    dirty_seen = dirty_seen || all >> 32 != 0;
    r.eax = (u32)metal_get(&guest, XVCPU_REG_RAX);
    r.ebx = (u32)metal_get(&guest, XVCPU_REG_RBX);
    r.ecx = (u32)metal_get(&guest, XVCPU_REG_RCX);
    r.edx = (u32)metal_get(&guest, XVCPU_REG_RDX);
    return r;
}

static u32 set_cr4(u64 value)
{
    metal_set(&guest, XVCPU_REG_RAX, value);
    return GUEST_DO(to_cr4);
}

static bool refuses_cr4(u64 bit)
{
    return guest_faulted(set_cr4(XVCPU_CR4_PAE | bit), 13, 0);
}

static u32 set_efer(u64 bits)
{
    const u64 value = metal_get(&guest, XVCPU_REG_EFER) | bits;
    metal_set(&guest, XVCPU_REG_RCX, XVCPU_MSR_IA32_EFER);
    metal_set(&guest, XVCPU_REG_RAX, (u32)value);
    metal_set(&guest, XVCPU_REG_RDX, 0);
    return GUEST_DO(do_wrmsr);
}

static u32 set_xcr0(u32 index, u64 value)
{
    metal_set(&guest, XVCPU_REG_RCX, DIRTY | index);
    metal_set(&guest, XVCPU_REG_RAX, DIRTY | (u32)value);
    metal_set(&guest, XVCPU_REG_RDX, DIRTY | value >> 32);
    return GUEST_DO(do_xsetbv);
}

static u64 get_xcr0(void)
{
    metal_set(&guest, XVCPU_REG_RCX, 0);
    if (GUEST_DO(do_xgetbv) != KIT_NO_FAULT)
        return METAL_NO_CALL;
    return metal_get(&guest, XVCPU_REG_RDX) << 32 | metal_get(&guest, XVCPU_REG_RAX);
}

static void open_with(const xvcpu_desc *desc)
{
    guest_open(desc);
    GUEST_START(METAL_LONG, do_cpuid);
}

// -- What is seen

static void test_leaves(void)
{
    const u32 only_ours = (u32)(XVCPU_CPUID_1_ECX_OSXSAVE | XVCPU_CPUID_1_ECX_HYPERVISOR);
    struct kernel_cpuid got, own;
    u32 last;
    open_with(0);
    own = cpuid(0, 0);
    got = ask(0, 0);
    ok(got.ebx == own.ebx && got.ecx == own.ecx && got.edx == own.edx, "the vendor is the host's");
    ok(got.eax != 0 && got.eax <= own.eax && got.eax <= 0x1f, "last leaf 0x%x", got.eax);
    last = got.eax;

    own = cpuid(1, 0);
    got = ask(1, 0);
    is_u64(got.eax, own.eax, "the signature is the host's");
    is_u64(got.ecx & (XVCPU_CPUID_1_ECX_VMX | XVCPU_CPUID_1_ECX_SMX), 0,
           "T65 VMX and SMX are hidden");
    ok((own.ecx & XVCPU_CPUID_1_ECX_VMX) != 0, "though the processor has VMX");
    is_u64(got.ecx & XVCPU_CPUID_1_ECX_MONITOR, 0, "MONITOR is hidden");
    ok((got.ecx & XVCPU_CPUID_1_ECX_HYPERVISOR) != 0, "the hypervisor bit is set");
    ok((got.ecx & ~own.ecx & ~only_ours) == 0 && (got.edx & ~own.edx) == 0,
       "leaf 1 shows nothing the processor lacks");
    ok((got.edx & (XVCPU_CPUID_1_EDX_FPU | XVCPU_CPUID_1_EDX_MSR | XVCPU_CPUID_1_EDX_APIC)) ==
           (XVCPU_CPUID_1_EDX_FPU | XVCPU_CPUID_1_EDX_MSR | XVCPU_CPUID_1_EDX_APIC),
       "FPU, MSR and APIC are there");
    is_u64(got.ebx >> 16, 1, "APIC id 0, one logical processor");

    if (last >= 7) {
        own = cpuid(7, 0);
        got = ask(7, 0);
        ok((got.ebx & ~own.ebx) == 0 && (got.ecx & ~own.ecx) == 0 && (got.edx & ~own.edx) == 0,
           "leaf 7 shows nothing the processor lacks");
        // SGX, MPX, RTM, HLE, processor trace; nobody switches what they need.
        is_u64(got.ebx & (1u << 2 | 1u << 14 | 1u << 11 | 1u << 4 | 1u << 25), 0,
               "leaf 7: no SGX, MPX, TSX, trace");
    }
    if (last >= 10) {
        got = ask(10, 0);
        ok((got.eax | got.ebx | got.ecx | got.edx) == 0, "no performance counters");
    }
    got = ask(5, 0);
    ok((got.eax | got.ebx | got.ecx | got.edx) == 0, "leaf 5 is empty without MONITOR");

    got = ask(0x40000000, 0);
    ok(got.eax == 0x40000000 && memcmp(&got.ebx, "xvcp", 4) == 0 &&
           memcmp(&got.ecx, "uxvc", 4) == 0 && memcmp(&got.edx, "pu\0\0", 4) == 0,
       "the hypervisor leaf");
    got = ask(0x40000001, 0);
    ok((got.eax | got.ebx | got.ecx | got.edx) == 0, "the next one is empty");

    own = cpuid(0x80000001, 0);
    got = ask(0x80000001, 0);
    ok((got.ecx & ~own.ecx) == 0 && (got.edx & ~own.edx) == 0,
       "leaf 80000001h shows nothing the processor lacks");
    ok((got.edx & 1u << 29) != 0, "and has long mode");
    own = cpuid(0x80000008, 0);
    got = ask(0x80000008, 0);
    is_u64(got.eax & 0xff, own.eax & 0xff, "the physical-address width is the host's");
    is_u64(got.eax >> 8 & 0xff, 48, "linear addresses have 48 bits");
    // Beyond the last leaf the last one answers.
    {
        const struct kernel_cpuid at_last = ask(last, 0);
        got = ask(0x3fffffff, 0);
        ok(got.eax == at_last.eax && got.ebx == at_last.ebx && got.edx == at_last.edx,
           "beyond the last leaf the last one answers");
    }
    ok(!dirty_seen, "T56 all results were zero-extended, all leaves the low 32 bits of RAX");
    guest_close();
}

static void hook(struct xvcpu *vcpu, u32 leaf, u32 subleaf, xvcpu_cpuid_regs *regs, void *context)
{
    (void)vcpu;
    (*(u32 *)context)++;
    if (leaf == 0x40000005)
        regs->edx = subleaf + 1;
    if (leaf == 1)
        regs->ecx &= ~(u32)XVCPU_CPUID_1_ECX_HYPERVISOR;
}

static void test_own_answers(void)
{
    static const xvcpu_cpuid_entry table[] = {
        {0x40000005, 0, 1, {0x11111111, 0x22222222, 0x33333333, 0x44444444}},
        {4, 1, 0, {5, 6, 7, 8}}};
    static const char id[12] = "ThirteenByte";
    struct kernel_cpuid got, other;
    xvcpu_desc desc = {0};
    u32 calls = 0;

    desc.cpuid_table = table;
    desc.cpuid_entries = 2;
    desc.apic_id = 5;
    memcpy(desc.hypervisor_id, id, 12);
    open_with(&desc);
    got = ask(0x40000005, 77);
    ok(got.eax == 0x11111111 && got.ebx == 0x22222222 && got.ecx == 0x33333333 &&
           got.edx == 0x44444444,
       "an entry of the caller's table, any subleaf");
    got = ask(4, 1);
    other = ask(4, 0);
    ok(got.eax == 5 && got.ebx == 6 && got.ecx == 7 && got.edx == 8 && other.eax != 5,
       "one for a single subleaf");
    got = ask(0x40000000, 0);
    ok(memcmp(&got.ebx, id, 4) == 0 && memcmp(&got.ecx, id + 4, 4) == 0 &&
           memcmp(&got.edx, id + 8, 4) == 0,
       "the caller's hypervisor name");
    is_u64(ask(1, 0).ebx >> 24, 5, "the APIC id is the caller's");
    is_u64(guest_do(do_cpuid, do_cpuid_end), KIT_NO_FAULT, "more than once");
    guest_close();

    desc.cpuid_hook = hook;
    desc.context = &calls;
    open_with(&desc);
    got = ask(0x40000005, 8);
    ok(got.eax == 0x11111111 && got.edx == 9 && calls == 1, "a hook sees the answer last");
    is_u64(ask(1, 0).ecx & XVCPU_CPUID_1_ECX_HYPERVISOR, 0, "and may change a built-in one");
    guest_close();

    memset(&desc, 0, sizeof desc);
    desc.hide_hypervisor = 1;
    desc.show_monitor = 1;
    open_with(&desc);
    got = ask(1, 0);
    is_u64(got.ecx & XVCPU_CPUID_1_ECX_HYPERVISOR, 0, "hide_hypervisor: no bit");
    is_u64(got.ecx & XVCPU_CPUID_1_ECX_MONITOR, cpuid(1, 0).ecx & XVCPU_CPUID_1_ECX_MONITOR,
           "show_monitor: the host's bit");
    got = ask(0x40000000, 0);
    ok(memcmp(&got.ebx, "xvcp", 4) != 0, "hide_hypervisor: no leaf");
    guest_close();
}

// -- XSAVE

static u32 host_xsave_bytes(u64 xcr0)
{
    const u64 before = xgetbv(0);
    u32 bytes;
    xsetbv(0, xcr0);
    bytes = cpuid(13, 0).ebx;
    xsetbv(0, before);
    return bytes;
}

static void test_xsave(void)
{
    const u64 avx512 = XVCPU_XCR0_OPMASK | XVCPU_XCR0_ZMM_HI256 | XVCPU_XCR0_HI16_ZMM;
    u64 allowed, described, value, host, last = 1;
    struct kernel_cpuid got;
    u32 wrong = 0, taken = 0, sizes = 0, i;
    open_with(0);
    if (!METAL_HAS(guest_cpu, XSAVE)) {
        ok((ask(1, 0).ecx & XVCPU_CPUID_1_ECX_XSAVE) == 0 && refuses_cr4(XVCPU_CR4_OSXSAVE) &&
               guest_faulted(set_xcr0(0, 1), 6, 0),
           "no XSAVE here: hidden, #GP for CR4.OSXSAVE, #UD for XSETBV");
        guest_close();
        return;
    }
    host = xgetbv(0);
    is_u64(ask(1, 0).ecx & XVCPU_CPUID_1_ECX_OSXSAVE, 0, "OSXSAVE is clear while CR4.OSXSAVE is");
    ok(guest_faulted(set_xcr0(0, 1), 6, 0), "T59 XSETBV then is #UD");
    is_u64(set_cr4(XVCPU_CR4_PAE | XVCPU_CR4_OSXSAVE), KIT_NO_FAULT, "the guest sets CR4.OSXSAVE");
    is_u64(ask(1, 0).ecx & XVCPU_CPUID_1_ECX_OSXSAVE, XVCPU_CPUID_1_ECX_OSXSAVE,
           "OSXSAVE is set in CPUID");
    (void)set_cr4(XVCPU_CR4_PAE);
    is_u64(ask(1, 0).ecx & XVCPU_CPUID_1_ECX_OSXSAVE, 0, "and clear again with it");
    (void)set_cr4(XVCPU_CR4_PAE | XVCPU_CR4_OSXSAVE);

    got = ask(13, 0);
    allowed = (u64)got.edx << 32 | got.eax;
    ok((allowed & ~guest_cpu->caps.xcr0_mask) == 0 && (allowed & 3) == 3, "XCR0 may have 0x%lx",
       allowed);
    is_u64(allowed & (XVCPU_XCR0_BNDREGS | XVCPU_XCR0_BNDCSR), 0, "no MPX");
    is_u64(get_xcr0(), 1, "XCR0 is 1 at first");
    is_u64(got.ebx, 576, "its area has 576 bytes");
    // The emulator's tigerlake has PKRU in XCR0, but says nothing of its place.
    described = 3;
    for (i = 2; i < 63; i++)
        if (cpuid(13, i).eax != 0)
            described |= 1ul << i;
    if ((allowed & ~described) == 0)
        is_u64(got.ecx, host_xsave_bytes(allowed), "and the largest what the processor says");
    else
        skip("the largest area: the processor does not describe components 0x%lx",
             allowed & ~described);

    // Every combination of the lowest ten bits, against the rules once more.
    for (value = 0; value < 1024; value++) {
        const bool good = (value & 1) != 0 && (value & ~allowed) == 0 &&
                          ((value & XVCPU_XCR0_AVX) == 0 || (value & XVCPU_XCR0_SSE) != 0) &&
                          ((value & avx512) == 0 ||
                           ((value & avx512) == avx512 && (value & XVCPU_XCR0_AVX) != 0));
        const u32 result = set_xcr0(0, value);
        if (good) {
            wrong += result != KIT_NO_FAULT || get_xcr0() != value ||
                     metal_get(&guest, XVCPU_REG_XCR0) != value;
            last = value;
            taken++;
            got = ask(13, 0);
            if ((value & ~described) == 0)
                sizes += got.ebx != host_xsave_bytes(value);
        } else {
            wrong += !guest_faulted(result, 13, 0);
            wrong += metal_get(&guest, XVCPU_REG_XCR0) != last;
        }
        wrong += xgetbv(0) != host;
    }
    is_u64(wrong, 0, "T59 1024 values for XCR0: %u taken, the others #GP(0), the host untouched",
           taken);
    is_u64(sizes, 0, "the size in leaf 13 follows XCR0");
    ok(taken >= 2, "T59 some were taken");
    ok(guest_faulted(set_xcr0(0, 1ul << 63 | 1), 13, 0) &&
           guest_faulted(set_xcr0(0, 1ul << 32 | 1), 13, 0),
       "T59 upper half: #GP(0)");
    ok(guest_faulted(set_xcr0(1, 1), 13, 0) && guest_faulted(set_xcr0(0xffffffff, 1), 13, 0),
       "T59 no other XCR: #GP(0)");
    guest_set_cpl(3, true);
    ok(guest_faulted(set_xcr0(0, 1), 13, 0), "T59 at CPL 3: #GP(0)");
    guest_set_cpl(0, true);
    is_u64(xgetbv(0), host, "T59 the host's XCR0 is as it was");
    guest_close();

    {
        xvcpu_desc desc = {0};
        desc.xcr0_hidden = XVCPU_XCR0_AVX | avx512;
        open_with(&desc);
        (void)set_cr4(XVCPU_CR4_PAE | XVCPU_CR4_OSXSAVE);
        ok((ask(13, 0).eax & (XVCPU_XCR0_AVX | avx512)) == 0 &&
               guest_faulted(set_xcr0(0, 7), 13, 0) && set_xcr0(0, 3) == KIT_NO_FAULT,
           "xcr0_hidden: neither shown nor taken");
        guest_close();
    }
}

// -- Hidden features cannot be used

static void test_hidden(void)
{
    GUEST_CODE(do_rdpid, 64, ".byte 0xf3, 0x0f, 0xc7, 0xf8");
    GUEST_CODE(do_xsaves, 64, ".byte 0x48, 0x0f, 0xc7, 0x2e");
    GUEST_CODE(do_wrfsbase, 64, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xd0");
    xvcpu_desc desc = {0};
    u32 i;
    static const struct {
        const char *name;
        xvcpu_feature feature;
        u64 cr4;
    } by_cr4[] = {{"PCID", XVCPU_FEATURE_PCID, XVCPU_CR4_PCIDE},
                  {"FSGSBASE", XVCPU_FEATURE_FSGSBASE, XVCPU_CR4_FSGSBASE},
                  {"SMEP", XVCPU_FEATURE_SMEP, XVCPU_CR4_SMEP},
                  {"SMAP", XVCPU_FEATURE_SMAP, XVCPU_CR4_SMAP},
                  {"UMIP", XVCPU_FEATURE_UMIP, XVCPU_CR4_UMIP},
                  {"PKU", XVCPU_FEATURE_PKU, XVCPU_CR4_PKE},
                  {"PGE", XVCPU_FEATURE_PGE, XVCPU_CR4_PGE},
                  {"DE", XVCPU_FEATURE_DE, XVCPU_CR4_DE},
                  {"MCE", XVCPU_FEATURE_MCE, XVCPU_CR4_MCE}};

    desc.hide_features = XVCPU_BIT64(XVCPU_FEATURE_RDTSCP) | XVCPU_BIT64(XVCPU_FEATURE_INVPCID) |
                         XVCPU_BIT64(XVCPU_FEATURE_XSAVE) | XVCPU_BIT64(XVCPU_FEATURE_NX) |
                         XVCPU_BIT64(XVCPU_FEATURE_SYSCALL);
    for (i = 0; i < sizeof by_cr4 / sizeof by_cr4[0]; i++)
        desc.hide_features |= XVCPU_BIT64(by_cr4[i].feature);
    open_with(&desc);
    ok((ask(0x80000001, 0).edx & (1u << 27 | 1u << 20 | 1u << 11)) == 0,
       "RDTSCP, NX and SYSCALL are hidden");
    ok(guest_faulted(GUEST_DO(do_rdtscp), 6, 0), "RDTSCP: #UD");
    ok((ask(7, 0).ebx & 1u << 10) == 0 && guest_faulted(GUEST_DO(do_invpcid), 6, 0),
       "INVPCID: hidden, #UD");
    ok((ask(7, 0).ecx & 1u << 22) == 0 && guest_faulted(GUEST_DO(do_rdpid), 6, 0),
       "RDPID, which needs RDTSCP: hidden, #UD");
    ok((ask(1, 0).ecx & (XVCPU_CPUID_1_ECX_XSAVE | XVCPU_CPUID_1_ECX_AVX)) == 0 &&
           (ask(7, 0).ebx & (1u << 5 | 1u << 16)) == 0 && ask(13, 0).eax == 0,
       "XSAVE is hidden, and AVX, AVX2, AVX512, which need it");
    ok(refuses_cr4(XVCPU_CR4_OSXSAVE), "XSAVE: CR4.OSXSAVE is #GP(0)");
    ok(guest_faulted(GUEST_DO(do_xgetbv), 6, 0) && guest_faulted(GUEST_DO(do_xsaves), 6, 0),
       "XSAVE: XGETBV and XSAVES are #UD");
    ok(guest_faulted(set_efer(XVCPU_EFER_NXE), 13, 0), "NX: EFER.NXE is #GP(0)");
    ok(guest_faulted(set_efer(XVCPU_EFER_SCE), 13, 0), "SYSCALL: EFER.SCE is #GP(0)");
    for (i = 0; i < sizeof by_cr4 / sizeof by_cr4[0]; i++)
        ok(refuses_cr4(by_cr4[i].cr4), "%s: its bit of CR4 is #GP(0)", by_cr4[i].name);
    ok(guest_faulted(GUEST_DO(do_wrfsbase), 6, 0), "FSGSBASE: WRFSBASE is #UD");
    guest_close();

    // Not hidden, they work where the processor has them.
    open_with(0);
    if (METAL_HAS(guest_cpu, RDTSCP))
        ok((ask(0x80000001, 0).edx & 1u << 27) != 0 && GUEST_DO(do_rdtscp) == KIT_NO_FAULT,
           "RDTSCP works where it is shown");
    else
        ok((ask(0x80000001, 0).edx & 1u << 27) == 0 && guest_faulted(GUEST_DO(do_rdtscp), 6, 0),
           "RDTSCP does not exist here");
    metal_set(&guest, XVCPU_REG_RSI, KIT_FREE);
    metal_set(&guest, XVCPU_REG_RDI, 2);
    if (METAL_HAS(guest_cpu, INVPCID))
        ok((ask(7, 0).ebx & 1u << 10) != 0 && GUEST_DO(do_invpcid) == KIT_NO_FAULT,
           "INVPCID works where it is shown");
    else
        ok((ask(7, 0).ebx & 1u << 10) == 0 && guest_faulted(GUEST_DO(do_invpcid), 6, 0),
           "INVPCID does not exist here");
    ok(set_efer(XVCPU_EFER_NXE | XVCPU_EFER_SCE) == KIT_NO_FAULT,
       "EFER.NXE and SCE can be set where they are shown");
    guest_close();
}

int kernel_main(void)
{
    test_leaves();
    test_own_answers();
    test_xsave();
    test_hidden();
    return tap_done();
}
