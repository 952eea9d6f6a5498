// guest_msr.c - RDMSR and WRMSR: the MSRs a guest has, what they refuse, and all the others, which
// are the caller's.
// models: corei7_skylake_x corei7_haswell_4770 corei5_lynnfield_750 corei7_sandy_bridge_2600k tigerlake
// cpus: 1
#include "guest_kit.h"

#define DIRTY 0xa5a5a5a500000000 // upper halves of the registers, which do not count
#define BAD_CANONICAL 0x0000800000000000

GUEST_CODE(do_rdmsr, 64, "rdmsr");
GUEST_CODE(do_wrmsr, 64, "wrmsr");

static u32 read_msr(u32 index, u64 *value)
{
    u32 got;
    metal_set(&guest, XVCPU_REG_RCX, DIRTY | index);
    metal_set(&guest, XVCPU_REG_RAX, DIRTY | 0xdeadbeef);
    metal_set(&guest, XVCPU_REG_RDX, DIRTY | 0xfeedface);
    got = GUEST_DO(do_rdmsr);
    *value = metal_get(&guest, XVCPU_REG_RDX) << 32 | metal_get(&guest, XVCPU_REG_RAX);
    return got;
}

static u32 write_msr(u32 index, u64 value)
{
    metal_set(&guest, XVCPU_REG_RCX, DIRTY | index);
    metal_set(&guest, XVCPU_REG_RAX, DIRTY | (u32)value);
    metal_set(&guest, XVCPU_REG_RDX, DIRTY | value >> 32);
    return GUEST_DO(do_wrmsr);
}

static bool reads(u32 index, u64 want)
{
    u64 value;
    const u32 got = read_msr(index, &value);
    const bool clean =
        metal_get(&guest, XVCPU_REG_RAX) >> 32 == 0 && metal_get(&guest, XVCPU_REG_RDX) >> 32 == 0;
    if (got != KIT_NO_FAULT || value != want || !clean) {
        diag("reading %s: %u, 0x%lx", xvcpu_msr_name(index), got, value);
        return false;
    }
    return true;
}

static bool read_faults(u32 index)
{
    u64 value;
    const u32 got = read_msr(index, &value);
    return guest_faulted(got, 13, 0) && metal_get(&guest, XVCPU_REG_RAX) == (DIRTY | 0xdeadbeef) &&
           metal_get(&guest, XVCPU_REG_RDX) == (DIRTY | 0xfeedface);
}

static bool write_faults(u32 index, u64 value)
{
    const u32 got = write_msr(index, value);
    return guest_faulted(got, 13, 0) && metal_get(&guest, XVCPU_REG_RAX) == (DIRTY | (u32)value) &&
           metal_get(&guest, XVCPU_REG_RDX) == (DIRTY | value >> 32);
}

// Written, read back by the guest, and seen from outside.
static void keeps(u32 index, xvcpu_reg reg, u64 value)
{
    const char *name = xvcpu_msr_name(index);
    ok(write_msr(index, value) == KIT_NO_FAULT && reads(index, value), "%s keeps 0x%lx", name,
       value);
    if (reg != XVCPU_REG_COUNT)
        is_u64(metal_get(&guest, reg), value, "%s: xvcpu_get sees it", name);
}

static void refuses(u32 index, u64 value, const char *why)
{
    const char *name = xvcpu_msr_name(index);
    u64 before, after;
    (void)read_msr(index, &before);
    ok(write_faults(index, value), "T63 %s: %s is #GP(0), EDX:EAX untouched", name, why);
    (void)read_msr(index, &after);
    is_u64(after, before, "T63 %s: %s: nothing is changed", name, why);
}

static void test_switched(void)
{
    static const struct {
        u32 index;
        xvcpu_reg reg;
        u64 value;
        bool address, half; // canonical; 32 bits
    } rows[] = {
        {XVCPU_MSR_IA32_FS_BASE, XVCPU_REG_FS_BASE, 0x00007ffff1234567, true, false},
        {XVCPU_MSR_IA32_GS_BASE, XVCPU_REG_GS_BASE, 0xffff876543210fed, true, false},
        {XVCPU_MSR_IA32_KERNEL_GS_BASE, XVCPU_REG_KERNEL_GS_BASE, 0xffff9abcdef01234, true, false},
        {XVCPU_MSR_IA32_STAR, XVCPU_REG_STAR, 0xfedcba9876543210, false, false},
        {XVCPU_MSR_IA32_LSTAR, XVCPU_REG_LSTAR, 0xffffffff80001234, true, false},
        {XVCPU_MSR_IA32_CSTAR, XVCPU_REG_CSTAR, 0xffffffff80005678, true, false},
        {XVCPU_MSR_IA32_FMASK, XVCPU_REG_FMASK, 0x47700, false, true},
        {XVCPU_MSR_IA32_SYSENTER_CS, XVCPU_REG_SYSENTER_CS, 0x1234, false, true},
        {XVCPU_MSR_IA32_SYSENTER_ESP, XVCPU_REG_SYSENTER_ESP, 0xffff800000123456, true, false},
        {XVCPU_MSR_IA32_SYSENTER_EIP, XVCPU_REG_SYSENTER_EIP, 0x00007fff87654321, true, false}};
    u64 host[sizeof rows / sizeof rows[0]];
    bool same = true;
    u32 i;
    guest_open(0);
    GUEST_START(METAL_LONG, do_rdmsr);
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++)
        host[i] = rdmsr(rows[i].index);
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        keeps(rows[i].index, rows[i].reg, rows[i].value);
        if (rows[i].address) {
            refuses(rows[i].index, BAD_CANONICAL, "a non-canonical address");
            refuses(rows[i].index, 0x7fff000000000000, "another");
        }
        if (rows[i].half && rows[i].index == XVCPU_MSR_IA32_FMASK)
            refuses(rows[i].index, 1ul << 32, "an upper half");
        metal_set(&guest, rows[i].reg, 0x1000);
        ok(reads(rows[i].index, 0x1000), "%s: what xvcpu_set writes the guest reads",
           xvcpu_msr_name(rows[i].index));
    }
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++)
        same = same && rdmsr(rows[i].index) == host[i];
    ok(same, "T24 the host's own are as they were");

    // SWAPGS uses them without an exit.
    {
        GUEST_CODE(do_swapgs, 64, "swapgs");
        metal_set(&guest, XVCPU_REG_GS_BASE, 0x1111000);
        metal_set(&guest, XVCPU_REG_KERNEL_GS_BASE, 0x2222000);
        ok(GUEST_DO(do_swapgs) == KIT_NO_FAULT &&
               metal_get(&guest, XVCPU_REG_GS_BASE) == 0x2222000 &&
               metal_get(&guest, XVCPU_REG_KERNEL_GS_BASE) == 0x1111000,
           "T24 SWAPGS exchanges the guest's");
        ok(reads(XVCPU_MSR_IA32_KERNEL_GS_BASE, 0x1111000), "T24 which it reads");
    }
    // SYSCALL goes where LSTAR says, with the flags FMASK leaves.
    {
        GUEST_CODE(do_syscall, 64, "syscall");
        const u64 after = METAL_CODE + (u64)(do_syscall_end - do_syscall);
        metal_set(&guest, XVCPU_REG_EFER, metal_get(&guest, XVCPU_REG_EFER) | XVCPU_EFER_SCE);
        metal_set(&guest, XVCPU_REG_STAR, (u64)KIT_CODE64 << 32);
        metal_set(&guest, XVCPU_REG_LSTAR, after);
        metal_set(&guest, XVCPU_REG_FMASK, XVCPU_RFLAGS_CF);
        metal_set(&guest, XVCPU_REG_RFLAGS, 2 | XVCPU_RFLAGS_CF | XVCPU_RFLAGS_ZF);
        ok(GUEST_DO(do_syscall) == KIT_NO_FAULT && metal_get(&guest, XVCPU_REG_RCX) == after &&
               (metal_get(&guest, XVCPU_REG_RFLAGS) & (XVCPU_RFLAGS_CF | XVCPU_RFLAGS_ZF)) ==
                   XVCPU_RFLAGS_ZF,
           "T24 SYSCALL goes by the guest's STAR, LSTAR and FMASK");
    }
    guest_close();
}

static void test_efer(void)
{
    const u64 long_mode = XVCPU_EFER_LME | XVCPU_EFER_LMA;
    const u64 host = rdmsr(XVCPU_MSR_IA32_EFER);
    guest_open(0);
    GUEST_START(METAL_LONG, do_rdmsr);
    ok(reads(XVCPU_MSR_IA32_EFER, long_mode), "EFER of 64-bit mode");
    keeps(XVCPU_MSR_IA32_EFER, XVCPU_REG_EFER, long_mode | XVCPU_EFER_SCE | XVCPU_EFER_NXE);
    keeps(XVCPU_MSR_IA32_EFER, XVCPU_REG_EFER, long_mode);
    refuses(XVCPU_MSR_IA32_EFER, XVCPU_EFER_LMA, "LME changed with paging on");
    refuses(XVCPU_MSR_IA32_EFER, long_mode | 2, "a reserved bit");
    refuses(XVCPU_MSR_IA32_EFER, long_mode | 1ul << 63, "another");
    ok(write_msr(XVCPU_MSR_IA32_EFER, XVCPU_EFER_LME | XVCPU_EFER_NXE) == KIT_NO_FAULT &&
           reads(XVCPU_MSR_IA32_EFER, long_mode | XVCPU_EFER_NXE),
       "T31 LMA is not the guest's to clear");
    is_u64(rdmsr(XVCPU_MSR_IA32_EFER), host, "T30 the host's EFER is as it was");
    guest_close();
}

static void test_pat(void)
{
    const u64 host = rdmsr(XVCPU_MSR_IA32_PAT);
    guest_open(0);
    GUEST_START(METAL_LONG, do_rdmsr);
    ok(reads(XVCPU_MSR_IA32_PAT, 0x0007040600070406), "T30 PAT is what a reset leaves");
    keeps(XVCPU_MSR_IA32_PAT, XVCPU_REG_PAT, 0x0001040507060600);
    refuses(XVCPU_MSR_IA32_PAT, 0x0002040600070406, "type 2");
    refuses(XVCPU_MSR_IA32_PAT, 0x0003040600070406, "type 3");
    refuses(XVCPU_MSR_IA32_PAT, 0x0807040600070406, "type 8");
    is_u64(rdmsr(XVCPU_MSR_IA32_PAT), host, "T30 the host's PAT is as it was");
    guest_close();
}

static void test_tsc(void)
{
    GUEST_CODE(do_rdtsc, 64, "rdtsc");
    GUEST_CODE(do_rdtscp, 64, "rdtscp");
    u64 first, second;
    guest_open(0);
    GUEST_START(METAL_LONG, do_rdmsr);
    ok(write_msr(XVCPU_MSR_IA32_TIME_STAMP_COUNTER, 0x5000000000) == KIT_NO_FAULT,
       "the guest sets its time-stamp counter");
    ok(GUEST_DO(do_rdtsc) == KIT_NO_FAULT, "RDTSC");
    first = metal_get(&guest, XVCPU_REG_RDX) << 32 | metal_get(&guest, XVCPU_REG_RAX);
    ok(first >= 0x5000000000 && first < 0x5000000000 + 100000000, "which goes on from there");
    ok(read_msr(XVCPU_MSR_IA32_TIME_STAMP_COUNTER, &second) == KIT_NO_FAULT && second > first &&
           second - first < 100000000,
       "RDMSR agrees with RDTSC");
    if ((cpuid(7, 0).ebx & XVCPU_CPUID_7_EBX_TSC_ADJUST) != 0) {
        u64 adjust;
        (void)read_msr(XVCPU_MSR_IA32_TSC_ADJUST, &adjust);
        ok(write_msr(XVCPU_MSR_IA32_TSC_ADJUST, adjust + (1ul << 40)) == KIT_NO_FAULT &&
               reads(XVCPU_MSR_IA32_TSC_ADJUST, adjust + (1ul << 40)),
           "TSC_ADJUST");
        ok(read_msr(XVCPU_MSR_IA32_TIME_STAMP_COUNTER, &second) == KIT_NO_FAULT &&
               second >> 40 == (first >> 40 | 1),
           "moves the counter");
    } else {
        ok(read_faults(XVCPU_MSR_IA32_TSC_ADJUST), "no TSC_ADJUST here: #GP");
    }
    if (METAL_HAS(guest_cpu, RDTSCP)) {
        const u64 host = rdmsr(XVCPU_MSR_IA32_TSC_AUX);
        keeps(XVCPU_MSR_IA32_TSC_AUX, XVCPU_REG_TSC_AUX, 0x1234567);
        refuses(XVCPU_MSR_IA32_TSC_AUX, 1ul << 32, "an upper half");
        metal_set(&guest, XVCPU_REG_RCX, DIRTY);
        ok(GUEST_DO(do_rdtscp) == KIT_NO_FAULT && metal_get(&guest, XVCPU_REG_RCX) == 0x1234567,
           "T24 RDTSCP gives the guest's TSC_AUX");
        is_u64(rdmsr(XVCPU_MSR_IA32_TSC_AUX), host, "T24 the host's is as it was");
    } else {
        ok(read_faults(XVCPU_MSR_IA32_TSC_AUX) && guest_faulted(GUEST_DO(do_rdtscp), 6, 0),
           "no RDTSCP here: #GP for TSC_AUX, #UD for RDTSCP");
    }
    guest_close();
}

static void test_others(void)
{
    const u64 apic_base = 0xfee00000;
    u32 i;
    u64 value;
    guest_open(0);
    GUEST_START(METAL_LONG, do_rdmsr);
    ok(reads(XVCPU_MSR_IA32_APIC_BASE, apic_base | XVCPU_APIC_BASE_BSP | XVCPU_APIC_BASE_ENABLE),
       "APIC_BASE of the first processor");
    keeps(XVCPU_MSR_IA32_APIC_BASE, XVCPU_REG_APIC_BASE, 0xfed00000 | XVCPU_APIC_BASE_ENABLE);
    refuses(XVCPU_MSR_IA32_APIC_BASE, apic_base | XVCPU_APIC_BASE_ENABLE | 1ul << 10,
            "x2APIC mode");
    refuses(XVCPU_MSR_IA32_APIC_BASE, apic_base | 1, "a reserved bit");
    refuses(XVCPU_MSR_IA32_APIC_BASE, 1ul << 52, "an address beyond MAXPHYADDR");

    ok(read_msr(XVCPU_MSR_IA32_MISC_ENABLE, &value) == KIT_NO_FAULT &&
           (value & XVCPU_MISC_ENABLE_MONITOR) == 0 &&
           (value & XVCPU_MISC_ENABLE_PEBS_UNAVAILABLE) != 0,
       "MISC_ENABLE: no MONITOR, no PEBS");
    keeps(XVCPU_MSR_IA32_MISC_ENABLE, XVCPU_REG_COUNT, value ^ XVCPU_MISC_ENABLE_FAST_STRING);
    refuses(XVCPU_MSR_IA32_MISC_ENABLE, value ^ XVCPU_MISC_ENABLE_MONITOR, "turning MONITOR on");

    ok(read_msr(XVCPU_MSR_IA32_MTRRCAP, &value) == KIT_NO_FAULT && (value & 0xff) == 8 &&
           (value & XVCPU_MTRRCAP_FIX) != 0,
       "MTRRCAP: eight variable ranges, and the fixed ones");
    refuses(XVCPU_MSR_IA32_MTRRCAP, 0, "read-only");
    for (i = 0; i < 8; i++) {
        keeps(XVCPU_MSR_IA32_MTRR_PHYSBASE0 + 2 * i, XVCPU_REG_COUNT, 0x80000000 + (i << 20) + 6);
        keeps(XVCPU_MSR_IA32_MTRR_PHYSBASE0 + 2 * i + 1, XVCPU_REG_COUNT, 0xfff00800);
    }
    refuses(XVCPU_MSR_IA32_MTRR_PHYSBASE0, 0x80000002, "type 2");
    refuses(XVCPU_MSR_IA32_MTRR_PHYSBASE0, 0x80000007, "UC-, which only the PAT has");
    refuses(XVCPU_MSR_IA32_MTRR_PHYSBASE0 + 1, 1ul << 52, "beyond MAXPHYADDR");
    keeps(XVCPU_MSR_IA32_MTRR_FIX64K_00000, XVCPU_REG_COUNT, 0x0606060606060606);
    keeps(XVCPU_MSR_IA32_MTRR_FIX16K_80000, XVCPU_REG_COUNT, 0x0506060606060606);
    keeps(XVCPU_MSR_IA32_MTRR_FIX16K_A0000, XVCPU_REG_COUNT, 0x0406060606060606);
    for (i = 0; i < 8; i++)
        keeps(XVCPU_MSR_IA32_MTRR_FIX4K_C0000 + i, XVCPU_REG_COUNT,
              0x0101010101010100 + 4 * (i & 1));
    refuses(XVCPU_MSR_IA32_MTRR_FIX64K_00000, 0x0206060606060606, "type 2");
    keeps(XVCPU_MSR_IA32_MTRR_DEF_TYPE, XVCPU_REG_COUNT, 0xc06);
    refuses(XVCPU_MSR_IA32_MTRR_DEF_TYPE, 0x1c06, "a reserved bit");
    ok(reads(XVCPU_MSR_IA32_MTRR_FIX16K_80000, 0x0506060606060606) &&
           reads(XVCPU_MSR_IA32_MTRR_PHYSBASE0 + 14, 0x80700006),
       "each MTRR has kept its own");

    ok(reads(XVCPU_MSR_IA32_FEATURE_CONTROL, XVCPU_FEATURE_CONTROL_LOCK),
       "FEATURE_CONTROL is locked with VMX off");
    refuses(XVCPU_MSR_IA32_FEATURE_CONTROL, 5, "turning VMX on");
    ok(read_faults(XVCPU_MSR_IA32_VMX_BASIC) && read_faults(XVCPU_MSR_IA32_VMX_MISC) &&
           read_faults(XVCPU_MSR_IA32_VMX_EPT_VPID_CAP),
       "T65 VMX capability MSRs: #GP");
    ok(read_faults(XVCPU_MSR_IA32_SPEC_CTRL) && read_faults(XVCPU_MSR_IA32_ARCH_CAPABILITIES),
       "MSRs of features the guest is not shown: #GP");
    ok(reads(XVCPU_MSR_IA32_MCG_CAP, 0), "no machine-check banks");
    keeps(XVCPU_MSR_IA32_DEBUGCTL, XVCPU_REG_DEBUGCTL, XVCPU_DEBUGCTL_BTF);
    refuses(XVCPU_MSR_IA32_DEBUGCTL, XVCPU_DEBUGCTL_LBR, "branch records");
    if (METAL_HAS(guest_cpu, XSAVES))
        refuses(XVCPU_MSR_IA32_XSS, 1ul << 40, "a state component that does not exist");
    else
        ok(read_faults(XVCPU_MSR_IA32_XSS), "no XSS here: #GP");
    guest_close();
}

// -- What the library does not know

static void test_unknown(void)
{
    static const u32 indexes[] = {0x12345678, 0x7ff,      0x2000,     0x40000000,
                                  0xbfffffff, 0xc0000fff, 0xc0002000, 0xffffffff};
    u64 value;
    u32 i;
    guest_open(0);
    GUEST_START(METAL_LONG, do_rdmsr);
    for (i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        const u32 index = indexes[i];
        const u64 after = METAL_CODE + 2;
        bool pass = read_msr(index, &value) == KIT_STOPPED &&
                    guest.exit.reason == XVCPU_EXIT_REASON_RDMSR &&
                    guest.exit.kind == XVCPU_EXIT_MSR_READ && guest.exit.u.msr.index == index &&
                    guest.exit.rip == METAL_CODE;
        ok(pass, "T62 reading 0x%x is the caller's", index);
        pass = metal_run(&guest) == XVCPU_EXIT_REASON_RDMSR && guest.exit.rip == METAL_CODE;
        xvcpu_answer_done(&guest, 0x1122334455667788);
        pass = pass && metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest.exit.rip == after &&
               guest_count() == 0 && metal_get(&guest, XVCPU_REG_RAX) == 0x55667788 &&
               metal_get(&guest, XVCPU_REG_RDX) == 0x11223344;
        ok(pass, "T56 answered, EDX:EAX have the value, with upper halves clear");
        pass = read_msr(index, &value) == KIT_STOPPED;
        xvcpu_answer_fault(&guest, 13, 0);
        pass = pass && metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest_count() == 1 &&
               guest_record(0)->vector == 13 && guest_record(0)->rip == METAL_CODE &&
               metal_get(&guest, XVCPU_REG_RAX) == (DIRTY | 0xdeadbeef) &&
               metal_get(&guest, XVCPU_REG_RDX) == (DIRTY | 0xfeedface);
        ok(pass, "T63 answered with #GP, EDX:EAX are untouched");

        pass = write_msr(index, 0xfedcba9876543210) == KIT_STOPPED &&
               guest.exit.reason == XVCPU_EXIT_REASON_WRMSR &&
               guest.exit.kind == XVCPU_EXIT_MSR_WRITE && guest.exit.u.msr.index == index &&
               guest.exit.value == 0xfedcba9876543210;
        ok(pass, "T62 writing 0x%x is the caller's", index);
        xvcpu_answer_done(&guest, 0);
        pass = metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest.exit.rip == after &&
               guest_count() == 0 && metal_get(&guest, XVCPU_REG_RAX) == (DIRTY | 0x76543210);
        ok(pass, "answered, the guest goes on with its registers");
        pass = write_msr(index, 0) == KIT_STOPPED;
        xvcpu_answer_fault(&guest, 13, 0);
        ok(pass && metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest_count() == 1 &&
               guest_record(0)->vector == 13,
           "answered with #GP, the guest gets it");
    }
    guest_close();
}

static bool allow(u32 first, u32 last, bool read, bool write)
{
    xvcpu_error error;
    return xvcpu_msr_allow(&guest, first, last, read, write, &error) == XVCPU_STATUS_OK;
}

// The emulator has no MSR at the ends of the ranges: #GP without an exit shows that they are open.
static void test_bitmap(void)
{
    static const u32 ends[] = {0x10, 0x1fff, 0xc0000000, 0xc0001fff};
    xvcpu_error error;
    u64 value;
    u32 i;
    guest_open(0);
    GUEST_START(METAL_LONG, do_rdmsr);
    for (i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        const u64 exits = guest.statistics.exits[XVCPU_EXIT_REASON_RDMSR];
        const u64 writes = guest.statistics.exits[XVCPU_EXIT_REASON_WRMSR];
        ok(!xvcpu_msr_is_allowed(&guest, ends[i], false) &&
               !xvcpu_msr_is_allowed(&guest, ends[i], true),
           "T62 0x%x is closed at first", ends[i]);
        (void)read_msr(ends[i], &value);
        is_u64(guest.statistics.exits[XVCPU_EXIT_REASON_RDMSR], exits + 1, "T62 0x%x: it exits",
               ends[i]);
        ok(allow(ends[i], ends[i], true, false) && xvcpu_msr_is_allowed(&guest, ends[i], false) &&
               !xvcpu_msr_is_allowed(&guest, ends[i], true),
           "T62 0x%x: opened for reading alone", ends[i]);
        if (ends[i] == 0x10)
            ok(read_msr(ends[i], &value) == KIT_NO_FAULT, "T62 0x10: the processor answers");
        else
            ok(read_faults(ends[i]), "T62 0x%x: the processor's own #GP", ends[i]);
        is_u64(guest.statistics.exits[XVCPU_EXIT_REASON_RDMSR], exits + 1,
               "T62 0x%x: without an exit", ends[i]);
        (void)write_msr(ends[i], 0);
        is_u64(guest.statistics.exits[XVCPU_EXIT_REASON_WRMSR], writes + 1,
               "T62 0x%x: writing exits", ends[i]);
        ok(xvcpu_msr_deny(&guest, ends[i], ends[i], true, false, &error) == XVCPU_STATUS_OK,
           "T62 0x%x: closed again", ends[i]);
        (void)read_msr(ends[i], &value);
        is_u64(guest.statistics.exits[XVCPU_EXIT_REASON_RDMSR], exits + 2,
               "T62 0x%x: it exits again", ends[i]);
    }
    ok(allow(0x1000, 0x100f, true, true) && xvcpu_msr_is_allowed(&guest, 0x1000, true) &&
           xvcpu_msr_is_allowed(&guest, 0x100f, false) &&
           !xvcpu_msr_is_allowed(&guest, 0xfff, false) &&
           !xvcpu_msr_is_allowed(&guest, 0x1010, true),
       "T62 a range");
    is_status(xvcpu_msr_allow(&guest, 0x1fff, 0x2000, true, true, &error), INVALID_ARGUMENT, &error,
              "T62 beyond 1FFFh");
    is_status(xvcpu_msr_allow(&guest, 0xbfffffff, 0xc0000000, true, true, &error), INVALID_ARGUMENT,
              &error, "T62 below C0000000h");
    is_status(xvcpu_msr_allow(&guest, 0xc0001fff, 0xc0002000, true, true, &error), INVALID_ARGUMENT,
              &error, "T62 beyond C0001FFFh");

    // What the library has to see stays closed, and works.
    is_status(xvcpu_msr_allow(&guest, XVCPU_MSR_IA32_EFER, XVCPU_MSR_IA32_EFER, true, true, &error),
              INVALID_ARGUMENT, &error, "EFER cannot be opened");
    is_u64(error.msr, XVCPU_MSR_IA32_EFER, "which the error names");
    is_status(xvcpu_msr_allow(&guest, 0xc0000000, 0xc0001fff, false, true, &error),
              INVALID_ARGUMENT, &error, "nor can a range with it");
    is_status(
        xvcpu_msr_allow(&guest, XVCPU_MSR_IA32_LSTAR, XVCPU_MSR_IA32_LSTAR, false, true, &error),
        INVALID_ARGUMENT, &error, "nor LSTAR for writing");
    ok(!xvcpu_msr_is_allowed(&guest, XVCPU_MSR_IA32_EFER, true) &&
           !xvcpu_msr_is_allowed(&guest, XVCPU_MSR_IA32_LSTAR, true) &&
           !xvcpu_msr_is_allowed(&guest, 0xc0000000, true),
       "nothing of it is open");
    ok(write_faults(XVCPU_MSR_IA32_LSTAR, BAD_CANONICAL) &&
           write_faults(XVCPU_MSR_IA32_EFER, 1ul << 40),
       "both refuse what they refused");
    guest_close();
}

int kernel_main(void)
{
    test_switched();
    test_efer();
    test_pat();
    test_tsc();
    test_others();
    test_unknown();
    test_bitmap();
    return tap_done();
}
