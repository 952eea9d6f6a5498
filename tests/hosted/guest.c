// Guest state: presets, the register table, the rules of control registers. Run by `prove`.
// T<n> is the number of the trap in the list of things VMX libraries get wrong.

#define XVCPU_IMPLEMENTATION
#include "../sim/sim.h"

#include "machine.h"
#include "tap.h"

#define RAM_BYTES 0x10000U
#define PDPT_GPA 0x2020U // 32-byte aligned, and not page aligned on purpose
#define FULL 0xFFFFFFFFFFFFFFFFU

static void start(void)
{
    machine_start(NULL, RAM_BYTES);
}

static void put_pdptes(xvcpu_u64 a, xvcpu_u64 b, xvcpu_u64 c, xvcpu_u64 d)
{
    const xvcpu_u64 pdptes[4] = {a, b, c, d};
    memcpy(ram + PDPT_GPA, pdptes, sizeof pdptes);
}

static void vmcall_guest(sim_guest *g)
{
    sim_exit_vmcall(g);
}

// Enters the guest as it is: the simulator makes all the checks of VM entry.
static void enters(const char *what)
{
    xvcpu_status status;
    memset(&error, 0, sizeof error);
    sim_set_guest(vmcall_guest, NULL);
    status = xvcpu_run(&vcpu, &error);
    ok(status == XVCPU_STATUS_OK && vcpu.exit.reason == XVCPU_EXIT_REASON_VMCALL,
       "%s: VM entry takes it", what);
    if (status != XVCPU_STATUS_OK)
        diag("%s, rule %s", xvcpu_status_name(status), sim_verdict());
    vcpu.exit.answer = XVCPU_ANSWER_NONE;
}

// -- Presets

typedef struct expectation {
    xvcpu_reg reg;
    xvcpu_u64 value;
} expectation;

static void expect(const char *what, const expectation *rows, xvcpu_u32 count)
{
    xvcpu_u32 i;
    for (i = 0; i < count; i++)
        is_hex(get_reg(rows[i].reg), rows[i].value, "%s: %s", what,
               xvcpu_register_name(rows[i].reg));
}

#define COUNT(array) ((xvcpu_u32)(sizeof(array) / sizeof(array)[0]))

static void test_reset(void *unused)
{
    static const expectation rows[] = {
        {XVCPU_REG_CR0, 0x60000010},        {XVCPU_REG_CR2, 0},
        {XVCPU_REG_CR3, 0},                 {XVCPU_REG_CR4, 0},
        {XVCPU_REG_CR8, 0},                 {XVCPU_REG_EFER, 0},
        {XVCPU_REG_XCR0, 1},                {XVCPU_REG_RIP, 0xFFF0},
        {XVCPU_REG_RFLAGS, 2},              {XVCPU_REG_CS, 0xF000},
        {XVCPU_REG_CS_BASE, 0xFFFF0000},    {XVCPU_REG_CS_LIMIT, 0xFFFF},
        {XVCPU_REG_CS_RIGHTS, 0x9B},        {XVCPU_REG_SS, 0},
        {XVCPU_REG_SS_BASE, 0},             {XVCPU_REG_SS_LIMIT, 0xFFFF},
        {XVCPU_REG_SS_RIGHTS, 0x93},        {XVCPU_REG_GS_RIGHTS, 0x93},
        {XVCPU_REG_LDTR_RIGHTS, 0x82},      {XVCPU_REG_TR_RIGHTS, 0x8B},
        {XVCPU_REG_GDTR_LIMIT, 0xFFFF},     {XVCPU_REG_IDTR_LIMIT, 0xFFFF},
        {XVCPU_REG_DR0, 0},                 {XVCPU_REG_DR6, 0xFFFF0FF0},
        {XVCPU_REG_DR7, 0x400},             {XVCPU_REG_PAT, 0x0007040600070406},
        {XVCPU_REG_APIC_BASE, 0xFEE00900},  {XVCPU_REG_RAX, 0},
        {XVCPU_REG_SYSENTER_CS, 0},         {XVCPU_REG_LSTAR, 0},
        {XVCPU_REG_ACTIVITY, 0},            {XVCPU_REG_INTERRUPTIBILITY, 0}};
    xvcpu_cpuid_regs signature;
    xvcpu_cpu_mode mode;
    (void)unused;
    start();
    expect("T30 state after reset", rows, COUNT(rows));
    signature = sim_cpuid_find(sim_this_cpu(), 1, 0)->regs;
    is_hex(get_reg(XVCPU_REG_RDX), signature.eax, "reset: EDX is the processor's signature");
    enters("reset");
    // Everything a guest could have left behind goes away.
    set_reg(XVCPU_REG_RAX, 5);
    set_reg(XVCPU_REG_LSTAR, 0xFFFF800000000000);
    set_reg(XVCPU_REG_DR0, 5);
    set_reg(XVCPU_REG_CR8, 3);
    set_reg(XVCPU_REG_PAT, 0);
    vcpu.mtrr_def_type = 6;
    (void)xvcpu_raise_interrupt(&vcpu, 40, NULL);
    sim_check_equal(xvcpu_preset_reset(&vcpu, NULL), XVCPU_STATUS_OK);
    expect("reset again", rows, COUNT(rows));
    is_hex(vcpu.mtrr_def_type, 0, "reset again: MTRRs off");
    ok(!xvcpu_has_event(&vcpu), "reset again: no event waits");
    ok(xvcpu_get_mode(&vcpu, &mode, NULL) == XVCPU_STATUS_OK && mode == XVCPU_MODE_REAL,
       "reset: real mode");
    stop();
}

static void test_presets(void *unused)
{
    static const expectation real[] = {
        {XVCPU_REG_CR0, 0x10},       {XVCPU_REG_CS, 0x07C0},      {XVCPU_REG_CS_BASE, 0x7C00},
        {XVCPU_REG_RIP, 0x10},       {XVCPU_REG_CS_LIMIT, 0xFFFF}, {XVCPU_REG_RFLAGS, 2},
        {XVCPU_REG_DS_BASE, 0},      {XVCPU_REG_RDX, 0}};
    static const expectation protect[] = {
        {XVCPU_REG_CR0, 0x31},          {XVCPU_REG_CS_RIGHTS, 0xC09B},
        {XVCPU_REG_SS_RIGHTS, 0xC093},  {XVCPU_REG_CS_LIMIT, 0xFFFFFFFF},
        {XVCPU_REG_RIP, 0x100000},      {XVCPU_REG_RSP, 0x9000},
        {XVCPU_REG_LDTR_RIGHTS, 0x10000}, {XVCPU_REG_IDTR_LIMIT, 0}};
    static const expectation longs[] = {
        {XVCPU_REG_CR0, 0x80010033},    {XVCPU_REG_CR4, 0x20},
        {XVCPU_REG_EFER, 0x500},        {XVCPU_REG_CR3, 0x3000},
        {XVCPU_REG_CS_RIGHTS, 0xA09B},  {XVCPU_REG_RIP, 0xFFFFFFFF80000000},
        {XVCPU_REG_RSP, 0x8000}};
    xvcpu_cpu_mode mode;
    (void)unused;
    start();
    sim_check_equal(xvcpu_preset_real(&vcpu, 0x07C0, 0x10, &error), XVCPU_STATUS_OK);
    expect("real", real, COUNT(real));
    enters("real");
    sim_check_equal(xvcpu_preset_protected(&vcpu, 0x100000, 0x9000, &error), XVCPU_STATUS_OK);
    expect("protected", protect, COUNT(protect));
    enters("protected");
    ok(xvcpu_get_mode(&vcpu, &mode, NULL) == XVCPU_STATUS_OK && mode == XVCPU_MODE_PROTECTED,
       "protected: mode");
    sim_check_equal(xvcpu_preset_long(&vcpu, 0x3000, 0xFFFFFFFF80000000, 0x8000, &error),
                    XVCPU_STATUS_OK);
    expect("long", longs, COUNT(longs));
    enters("long");
    ok(xvcpu_get_mode(&vcpu, &mode, NULL) == XVCPU_STATUS_OK && mode == XVCPU_MODE_64BIT,
       "long: mode");
    ok((get(XVCPU_VMCS_CTRL_ENTRY) & XVCPU_ENTRY_IA32E_GUEST) != 0,
       "T31 long: IA-32e mode control is on");
    // From 64-bit mode back to the start: nothing of it may stay.
    sim_check_equal(xvcpu_preset_real(&vcpu, 0x07C0, 0x10, &error), XVCPU_STATUS_OK);
    expect("real after long", real, COUNT(real));
    is_hex(get_reg(XVCPU_REG_EFER), 0, "T31 real after long: EFER");
    ok((get(XVCPU_VMCS_CTRL_ENTRY) & XVCPU_ENTRY_IA32E_GUEST) == 0,
       "T31 real after long: IA-32e mode control is off");
    enters("real after long");
    ok(xvcpu_preset_long(&vcpu, FULL << 52, 0, 0, &error) == XVCPU_STATUS_BAD_VALUE &&
           error.bits == FULL << 52,
       "long: CR3 beyond the physical addresses is refused, with its bits");
    ok(xvcpu_preset_long(&vcpu, 0, 0x800000000000, 0, &error) == XVCPU_STATUS_BAD_VALUE,
       "long: RIP that is not canonical is refused");
    is_hex(get_reg(XVCPU_REG_RIP), 0x10, "long: a refusal changes nothing");
    stop();
}

static void test_sipi(void *unused)
{
    (void)unused;
    start();
    ok(xvcpu_start_sipi(&vcpu, 0x9A, &error) == XVCPU_STATUS_INVALID_STATE,
       "SIPI: refused unless the virtual CPU waits for one");
    set_reg(XVCPU_REG_SYSENTER_CS, 0x55);
    set_reg(XVCPU_REG_PAT, 0x0606060606060606);
    set_reg(XVCPU_REG_RBX, 7);
    vcpu.mtrr_def_type = 0x806;
    sim_check_equal(xvcpu_preset_wait_sipi(&vcpu, &error), XVCPU_STATUS_OK);
    is_hex(get_reg(XVCPU_REG_ACTIVITY), XVCPU_ACTIVITY_WAIT_FOR_SIPI, "INIT: waits for SIPI");
    is_hex(get_reg(XVCPU_REG_RBX), 0, "INIT: RBX");
    is_hex(get_reg(XVCPU_REG_SYSENTER_CS), 0x55, "INIT keeps MSRs");
    is_hex(get_reg(XVCPU_REG_PAT), 0x0606060606060606, "INIT keeps PAT");
    is_hex(vcpu.mtrr_def_type, 0x806, "INIT keeps MTRRs");
    sim_check_equal(xvcpu_start_sipi(&vcpu, 0x9A, &error), XVCPU_STATUS_OK);
    is_hex(get_reg(XVCPU_REG_CS), 0x9A00, "SIPI: CS");
    is_hex(get_reg(XVCPU_REG_CS_BASE), 0x9A000, "SIPI: CS base");
    is_hex(get_reg(XVCPU_REG_RIP), 0, "SIPI: RIP");
    is_hex(get_reg(XVCPU_REG_ACTIVITY), XVCPU_ACTIVITY_ACTIVE, "SIPI: active");
    enters("SIPI");
    stop();
}

static void test_no_sipi_state(void *unused)
{
    (void)unused;
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_MISC, sim_msr_get(XVCPU_MSR_IA32_VMX_MISC) &
                                                 ~XVCPU_VMX_MISC_ACTIVITY_WAIT_FOR_SIPI);
    start();
    ok(xvcpu_preset_wait_sipi(&vcpu, &error) == XVCPU_STATUS_UNSUPPORTED &&
           error.msr == XVCPU_MSR_IA32_VMX_MISC,
       "INIT: UNSUPPORTED where the activity state is missing");
    stop();
}

static void test_no_unrestricted_guest(void *unused)
{
    (void)unused;
    sim_control_remove_all(XVCPU_WORD_PROC2, XVCPU_PROC2_UNRESTRICTED_GUEST);
    start();
    ok(xvcpu_preset_real(&vcpu, 0, 0, &error) == XVCPU_STATUS_UNSUPPORTED &&
           error.bits == XVCPU_PROC2_UNRESTRICTED_GUEST,
       "restricted: no real mode, with the control's name");
    ok(xvcpu_preset_reset(&vcpu, &error) == XVCPU_STATUS_UNSUPPORTED, "restricted: no reset");
    ok(xvcpu_preset_protected(&vcpu, 0, 0, &error) == XVCPU_STATUS_UNSUPPORTED,
       "restricted: no protected mode without paging");
    sim_check_equal(xvcpu_preset_long(&vcpu, 0x3000, 0x1000, 0, &error), XVCPU_STATUS_OK);
    enters("restricted, long");
    set_reg(XVCPU_REG_CS_RIGHTS, 0xC09B);
    ok(xvcpu_set(&vcpu, XVCPU_REG_CR0, 0x31, &error) == XVCPU_STATUS_UNSUPPORTED,
       "restricted: CR0.PG cannot be cleared");
    is_hex(get_reg(XVCPU_REG_CR0), 0x80010033, "restricted: CR0 is unchanged");
    stop();
}

// -- CR0 and CR4: register and shadow

static void test_shadows(void *unused)
{
    xvcpu_u64 real;
    (void)unused;
    start();
    real = get(XVCPU_VMCS_GUEST_CR0);
    is_hex(get_reg(XVCPU_REG_CR0) & (XVCPU_CR0_CD | XVCPU_CR0_NW), XVCPU_CR0_CD | XVCPU_CR0_NW,
           "T26 the guest reads CD and NW as set");
    is_hex(real & (XVCPU_CR0_CD | XVCPU_CR0_NW), 0, "T26 CD and NW never reach the register");
    ok((real & XVCPU_CR0_NE) != 0 && (get_reg(XVCPU_REG_CR0) & XVCPU_CR0_NE) == 0,
       "T1 NE is 1 in the register and 0 for the guest");
    ok((get(XVCPU_VMCS_GUEST_CR4) & XVCPU_CR4_VMXE) != 0 &&
           (get_reg(XVCPU_REG_CR4) & XVCPU_CR4_VMXE) == 0,
       "T39 VMXE is 1 in the register and 0 for the guest");
    ok((sim_this_cpu()->cr4 & XVCPU_CR4_MCE) != 0 &&
           (get(XVCPU_VMCS_GUEST_CR4) & XVCPU_CR4_MCE) != 0 &&
           (get_reg(XVCPU_REG_CR4) & XVCPU_CR4_MCE) == 0,
       "MCE in the register is the host's, for the guest its own");
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_MCE | XVCPU_CR4_OSXSAVE);
    ok((get_reg(XVCPU_REG_CR4) & XVCPU_CR4_MCE) != 0, "the guest sees the MCE it set");
    ok(vcpu.osxsave, "OSXSAVE is mirrored for CPUID");
    set_reg(XVCPU_REG_CR4, 0);
    ok(!vcpu.osxsave, "and so is its end");
    set_reg(XVCPU_REG_CR0, XVCPU_CR0_ET | XVCPU_CR0_TS);
    is_hex(get(XVCPU_VMCS_GUEST_CR0) & XVCPU_CR0_TS, XVCPU_CR0_TS,
           "a bit the guest owns is in the register");
    put(XVCPU_VMCS_GUEST_CR0, get(XVCPU_VMCS_GUEST_CR0) & ~XVCPU_CR0_TS);
    is_hex(get_reg(XVCPU_REG_CR0) & XVCPU_CR0_TS, 0, "and is read from there");
    stop();
}

static void test_host_without_mce(void *unused)
{
    (void)unused;
    sim_this_cpu()->cr4 &= ~XVCPU_CR4_MCE;
    sim_snapshot();
    start();
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_MCE);
    is_hex(get(XVCPU_VMCS_GUEST_CR4) & XVCPU_CR4_MCE, 0,
           "MCE stays off in the register where the host has it off");
    ok((get_reg(XVCPU_REG_CR4) & XVCPU_CR4_MCE) != 0, "and the guest sees its own");
    stop();
}

// -- Rules of control registers

#define PE XVCPU_CR0_PE
#define PG XVCPU_CR0_PG
#define ET XVCPU_CR0_ET
#define CD XVCPU_CR0_CD
#define NW XVCPU_CR0_NW

// The state a row starts from.
typedef enum base_state {
    UNPAGED = 0,  // protected mode, 32-bit code
    UNPAGED_LME,  // the same with EFER.LME
    UNPAGED_LME_PAE,
    PAGED_32,
    PAGED_PAE,
    COMPATIBILITY,
    LONG,
    LONG_PCID // CR4.PCIDE on, 32-bit code
} base_state;

static void go(base_state state)
{
    put_pdptes(0x4001, 0x5001, 0, 0x6001);
    if (state >= COMPATIBILITY) {
        sim_check_equal(xvcpu_preset_long(&vcpu, 0x3000, 0x1000, 0, NULL), XVCPU_STATUS_OK);
        if (state != LONG)
            set_reg(XVCPU_REG_CS_RIGHTS, 0xC09B);
        if (state == LONG_PCID)
            set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_PCIDE);
        return;
    }
    sim_check_equal(xvcpu_preset_protected(&vcpu, 0x1000, 0, NULL), XVCPU_STATUS_OK);
    set_reg(XVCPU_REG_CR3, PDPT_GPA);
    if (state == UNPAGED_LME || state == UNPAGED_LME_PAE)
        set_reg(XVCPU_REG_EFER, XVCPU_EFER_LME);
    if (state == UNPAGED_LME_PAE || state == PAGED_PAE)
        set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE);
    if (state == PAGED_32 || state == PAGED_PAE)
        set_reg(XVCPU_REG_CR0, PE | PG | ET);
}

typedef struct cr_row {
    base_state from;
    xvcpu_u64 value;
    xvcpu_u64 bad; // 0: accepted
    const char *what;
} cr_row;

static const cr_row cr0_rows[] = {
    {UNPAGED, PE | ET, 0, "nothing new"},
    {UNPAGED, ET, 0, "to real mode"},
    {UNPAGED, PE | PG | ET, 0, "paging on"},
    {UNPAGED, PG | ET, PG, "PG without PE"},
    {UNPAGED, PE | NW | ET, NW, "NW without CD"},
    {UNPAGED, PE | NW | CD | ET, 0, "NW with CD"},
    {UNPAGED, PE | CD | ET, 0, "CD alone"},
    {UNPAGED, PE | ET | XVCPU_BIT64(32), XVCPU_BIT64(32), "bit 32"},
    {UNPAGED_LME, PE | PG | ET, PG, "PG with LME and no PAE"},
    {UNPAGED_LME_PAE, PE | PG | ET, 0, "into IA-32e mode"},
    {PAGED_32, PE | ET, 0, "paging off"},
    {PAGED_32, PG | ET, PG, "PE cleared with PG set"},
    {COMPATIBILITY, PE | ET, 0, "out of IA-32e mode"},
    {LONG, PE | ET, PG, "PG cleared in 64-bit mode"},
    {LONG, PE | PG | ET | CD, 0, "CD in 64-bit mode"},
    {LONG_PCID, PE | ET, PG, "PG cleared with PCIDE set"},
};

static const cr_row cr4_rows[] = {
    {UNPAGED, XVCPU_CR4_PAE, 0, "PAE"},
    {UNPAGED, XVCPU_CR4_VMXE, XVCPU_CR4_VMXE, "VMXE, which no guest is shown"},
    {UNPAGED, XVCPU_CR4_SMXE, XVCPU_CR4_SMXE, "SMXE"},
    {UNPAGED, XVCPU_BIT64(15), XVCPU_BIT64(15), "a reserved bit"},
    {UNPAGED, XVCPU_BIT64(40), XVCPU_BIT64(40), "a reserved bit of the upper half"},
    {UNPAGED, XVCPU_CR4_CET, XVCPU_CR4_CET, "CET"},
    {UNPAGED, XVCPU_CR4_PCIDE, XVCPU_CR4_PCIDE, "PCIDE outside IA-32e mode"},
    {UNPAGED, XVCPU_CR4_LA57, XVCPU_CR4_LA57, "LA57 on a processor without"},
    {PAGED_32, XVCPU_CR4_PAE, 0, "PAE with paging on"},
    {PAGED_PAE, 0, 0, "PAE off with paging on"},
    {COMPATIBILITY, 0, XVCPU_CR4_PAE, "PAE cleared in compatibility mode"},
    {LONG, 0, XVCPU_CR4_PAE, "PAE cleared in 64-bit mode"},
    {LONG, XVCPU_CR4_PAE | XVCPU_CR4_PCIDE, 0, "PCIDE in 64-bit mode"},
    {LONG_PCID, XVCPU_CR4_PAE, 0, "PCIDE off again"},
    {LONG, XVCPU_CR4_PAE | XVCPU_CR4_SMEP | XVCPU_CR4_OSXSAVE, 0, "SMEP and OSXSAVE"},
};

static void check_rows(const char *trap, xvcpu_reg reg, const cr_row *rows, xvcpu_u32 count)
{
    xvcpu_u32 i;
    for (i = 0; i < count; i++) {
        xvcpu_u64 before, cr3, efer;
        xvcpu_status status;
        memset(&error, 0, sizeof error);
        go(rows[i].from);
        before = get_reg(reg);
        cr3 = get_reg(XVCPU_REG_CR3);
        efer = get_reg(XVCPU_REG_EFER);
        status = xvcpu_set(&vcpu, reg, rows[i].value, &error);
        if (rows[i].bad == 0) {
            ok(status == XVCPU_STATUS_OK && get_reg(reg) == rows[i].value, "%s %s: %s", trap,
               xvcpu_register_name(reg), rows[i].what);
            enters(rows[i].what);
        } else {
            ok(status == XVCPU_STATUS_BAD_VALUE && error.bits == rows[i].bad, "%s %s: %s refused",
               trap, xvcpu_register_name(reg), rows[i].what);
            ok(get_reg(reg) == before && get_reg(XVCPU_REG_CR3) == cr3 &&
                   get_reg(XVCPU_REG_EFER) == efer,
               "%s %s: %s changed nothing", trap, xvcpu_register_name(reg), rows[i].what);
        }
        if ((status == XVCPU_STATUS_OK) != (rows[i].bad == 0))
            diag("status %s, bits %#llx", xvcpu_status_name(status),
                 (unsigned long long)error.bits);
    }
}

static void test_control_registers(void *unused)
{
    (void)unused;
    start();
    check_rows("T60", XVCPU_REG_CR0, cr0_rows, COUNT(cr0_rows));
    check_rows("T61", XVCPU_REG_CR4, cr4_rows, COUNT(cr4_rows));
    go(UNPAGED);
    set_reg(XVCPU_REG_CR3, 0);
    ok(xvcpu_set(&vcpu, XVCPU_REG_CR4, XVCPU_CR4_PCIDE, NULL) == XVCPU_STATUS_BAD_VALUE,
       "T61 PCIDE outside IA-32e mode is refused, whatever CR3 holds");
    // PCIDE may only be set with an empty PCID in CR3.
    go(LONG);
    set_reg(XVCPU_REG_CR3, 0x3001);
    ok(xvcpu_set(&vcpu, XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_PCIDE, NULL) ==
           XVCPU_STATUS_BAD_VALUE,
       "T61 PCIDE with bits 11:0 of CR3 set is refused");
    // SDM "Initializing IA-32e Mode": CS.L and a 16-bit TSS.
    go(UNPAGED_LME_PAE);
    set_reg(XVCPU_REG_CS_RIGHTS, 0xA09B);
    ok(xvcpu_set(&vcpu, XVCPU_REG_CR0, PE | PG | ET, NULL) == XVCPU_STATUS_BAD_VALUE,
       "T60 PG with LME and CS.L is refused");
    go(UNPAGED_LME_PAE);
    set_reg(XVCPU_REG_TR_RIGHTS, 0x83);
    ok(xvcpu_set(&vcpu, XVCPU_REG_CR0, PE | PG | ET, NULL) == XVCPU_STATUS_BAD_VALUE,
       "T60 PG with LME and a 16-bit TSS is refused");
    ok(xvcpu_set(&vcpu, XVCPU_REG_CR0, PE | ET | XVCPU_BIT64(6), NULL) == XVCPU_STATUS_BAD_VALUE,
       "a bit of CR0 that does not exist is refused");
    stop();
}

// Into IA-32e mode and out again, step by step as an operating system does it.
static void test_long_and_back(void *unused)
{
    (void)unused;
    start();
    go(UNPAGED_LME_PAE);
    is_hex(get_reg(XVCPU_REG_EFER), XVCPU_EFER_LME, "T31 before: LME without LMA");
    vcpu.flush_vpid = 0;
    set_reg(XVCPU_REG_CR0, PE | PG | ET);
    is_hex(get_reg(XVCPU_REG_EFER), XVCPU_EFER_LME | XVCPU_EFER_LMA, "T31 in: EFER.LMA");
    ok((get(XVCPU_VMCS_CTRL_ENTRY) & XVCPU_ENTRY_IA32E_GUEST) != 0, "T31 in: the control");
    ok(vcpu.flush_vpid, "paging on: translations are dropped");
    enters("T31 in");
    is_hex(xvcpu_set(&vcpu, XVCPU_REG_EFER, 0, NULL), XVCPU_STATUS_BAD_VALUE,
           "T63 EFER.LME cannot change with paging on");
    set_reg(XVCPU_REG_EFER, XVCPU_EFER_LME | XVCPU_EFER_NXE);
    is_hex(get_reg(XVCPU_REG_EFER), XVCPU_EFER_LME | XVCPU_EFER_LMA | XVCPU_EFER_NXE,
           "EFER.LMA is not software's to write");
    set_reg(XVCPU_REG_CR0, PE | ET);
    is_hex(get_reg(XVCPU_REG_EFER), XVCPU_EFER_LME | XVCPU_EFER_NXE, "T31 out: EFER.LMA");
    ok((get(XVCPU_VMCS_CTRL_ENTRY) & XVCPU_ENTRY_IA32E_GUEST) == 0, "T31 out: the control");
    enters("T31 out");
    set_reg(XVCPU_REG_EFER, 0);
    set_reg(XVCPU_REG_CR0, PE | PG | ET);
    is_hex(get_reg(XVCPU_REG_EFER), 0, "T31 paging without LME leaves EFER alone");
    // T32: what an exit stored in the VMCS counts, not what was written there before.
    sim_check_equal(xvcpu_preset_long(&vcpu, 0x3000, 0x1000, 0, NULL), XVCPU_STATUS_OK);
    put(XVCPU_VMCS_GUEST_EFER, XVCPU_EFER_LME);
    put(XVCPU_VMCS_CTRL_ENTRY, get(XVCPU_VMCS_CTRL_ENTRY) & ~XVCPU_ENTRY_IA32E_GUEST);
    is_hex(get_reg(XVCPU_REG_EFER), XVCPU_EFER_LME, "T32 EFER is re-read");
    ok(xvcpui_mode(&vcpu) == XVCPU_MODE_PROTECTED, "T32 the mode is re-read");
    stop();
}

static void test_pdptes(void *unused)
{
    static const struct {
        xvcpu_u64 entry;
        xvcpu_bool good;
        const char *what;
    } rows[] = {{0x5001, 1, "present"},
                {0x5019, 1, "PWT and PCD"},
                {0x5001 | 0xE00, 1, "bits for software"},
                {0x5003, 0, "bit 1"},
                {0x5005, 0, "bit 2"},
                {0x5021, 0, "bit 5"},
                {0x5101, 0, "bit 8"},
                {0x5001 | XVCPU_BIT64(52), 0, "bit 52"},
                {0x5001 | XVCPU_BIT64(63), 0, "bit 63"},
                {0x51E6 | XVCPU_BIT64(63), 1, "not present, anything"}};
    xvcpu_u32 i, n;
    (void)unused;
    start();
    go(UNPAGED);
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE);
    is_hex(get(XVCPU_VMCS_GUEST_PDPTE0), 0, "T34 before paging: not loaded");
    set_reg(XVCPU_REG_CR0, PE | PG | ET);
    is_hex(get(XVCPU_VMCS_GUEST_PDPTE0), 0x4001, "T34 CR0.PG loads entry 0");
    is_hex(get(XVCPU_VMCS_GUEST_PDPTE1), 0x5001, "T34 CR0.PG loads entry 1");
    is_hex(get(XVCPU_VMCS_GUEST_PDPTE2), 0, "T34 CR0.PG loads entry 2");
    is_hex(get(XVCPU_VMCS_GUEST_PDPTE3), 0x6001, "T34 CR0.PG loads entry 3");
    enters("T34 PAE paging");
    put_pdptes(0x7001, 0, 0, 0);
    set_reg(XVCPU_REG_CR0, PE | PG | ET | XVCPU_CR0_TS);
    is_hex(get(XVCPU_VMCS_GUEST_PDPTE0), 0x4001, "T34 another bit of CR0 does not");
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_PGE);
    is_hex(get(XVCPU_VMCS_GUEST_PDPTE0), 0x7001, "T34 CR4.PGE does");
    put_pdptes(0x8001, 0, 0, 0);
    set_reg(XVCPU_REG_CR3, PDPT_GPA);
    is_hex(get(XVCPU_VMCS_GUEST_PDPTE0), 0x8001, "T34 CR3 does");
    set_reg(XVCPU_REG_CR4, 0);
    put_pdptes(0x9001, 0, 0, 0);
    set_reg(XVCPU_REG_CR4, XVCPU_CR4_PAE);
    is_hex(get(XVCPU_VMCS_GUEST_PDPTE0), 0x9001, "T34 CR4.PAE does");
    for (i = 0; i < COUNT(rows); i++) {
        for (n = 0; n < 4; n++) {
            xvcpu_u64 entries[4] = {0, 0, 0, 0};
            xvcpu_status status;
            entries[n] = rows[i].entry;
            put_pdptes(entries[0], entries[1], entries[2], entries[3]);
            put(XVCPU_VMCS_GUEST_PDPTE0, 0xA001);
            status = xvcpu_set(&vcpu, XVCPU_REG_CR3, PDPT_GPA, NULL);
            ok(rows[i].good
                   ? status == XVCPU_STATUS_OK
                   : status == XVCPU_STATUS_BAD_VALUE && get(XVCPU_VMCS_GUEST_PDPTE0) == 0xA001,
               "T34 entry %u: %s", n, rows[i].what);
        }
    }
    ok(xvcpu_set(&vcpu, XVCPU_REG_CR3, 0x40000000, NULL) == XVCPU_STATUS_BAD_VALUE,
       "T34 entries outside of the guest's memory");
    put_pdptes(3, 0, 0, 0);
    ok(xvcpu_set(&vcpu, XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_PSE, NULL) ==
               XVCPU_STATUS_BAD_VALUE &&
           get_reg(XVCPU_REG_CR4) == XVCPU_CR4_PAE,
       "T34 CR4 refused for its PDPTEs");
    ok(xvcpu_set(&vcpu, XVCPU_REG_CR0, PE | PG | ET | CD, NULL) == XVCPU_STATUS_BAD_VALUE &&
           get_reg(XVCPU_REG_CR0) == (PE | PG | ET | XVCPU_CR0_TS),
       "T34 CR0 refused for its PDPTEs");
    stop();
}

// -- The register table

// A value each register takes, with the registers it depends on at their reset values.
static xvcpu_u64 good_value(xvcpu_reg reg)
{
    switch ((xvcpu_u32)reg) {
    case XVCPU_REG_RFLAGS: return 0xAD7;
    case XVCPU_REG_ES_RIGHTS:
    case XVCPU_REG_DS_RIGHTS:
    case XVCPU_REG_FS_RIGHTS:
    case XVCPU_REG_GS_RIGHTS: return 0xF1;
    case XVCPU_REG_CS_RIGHTS: return 0x409F;
    case XVCPU_REG_SS_RIGHTS: return 0x4097;
    case XVCPU_REG_LDTR_RIGHTS: return 0x1082;
    case XVCPU_REG_TR_RIGHTS: return 0x83;
    case XVCPU_REG_GDTR_LIMIT:
    case XVCPU_REG_IDTR_LIMIT: return 0x7FF;
    case XVCPU_REG_ES_BASE:
    case XVCPU_REG_CS_BASE:
    case XVCPU_REG_SS_BASE:
    case XVCPU_REG_DS_BASE: return 0x89ABCDEF;
    case XVCPU_REG_CR0: return 0x60000031;
    case XVCPU_REG_CR3: return 0x12345018;
    case XVCPU_REG_CR4: return 0x6A0;
    case XVCPU_REG_CR8: return 9;
    case XVCPU_REG_XCR0: return 7;
    case XVCPU_REG_DR6: return 0xFFFF4FF5;
    case XVCPU_REG_DR7: return 0xF00F0755;
    case XVCPU_REG_EFER: return 0x801;
    case XVCPU_REG_PAT: return 0x0706050401000607;
    case XVCPU_REG_DEBUGCTL: return 2;
    case XVCPU_REG_FMASK:
    case XVCPU_REG_TSC_AUX:
    case XVCPU_REG_SYSENTER_CS: return 0xFEDCBA98;
    case XVCPU_REG_XSS: return 0;
    case XVCPU_REG_APIC_BASE: return 0xFED00900;
    case XVCPU_REG_ACTIVITY: return 1;
    case XVCPU_REG_INTERRUPTIBILITY: return 8;
    case XVCPU_REG_PENDING_DEBUG: return 0x1005;
    default:
        return xvcpui_registers[reg].width == 16   ? 0x1238U
               : xvcpui_registers[reg].width == 32 ? 0x89ABCDEFU
                                                   : 0xFFFF8123456789ABU;
    }
}

static void test_round_trip(void *unused)
{
    xvcpu_u32 i, k;
    xvcpu_u64 before[XVCPU_REG_COUNT];
    (void)unused;
    start();
    for (i = 0; i < XVCPU_REG_COUNT; i++) {
        const xvcpu_reg reg = (xvcpu_reg)i;
        xvcpu_u32 changed = 0;
        sim_check_equal(xvcpu_preset_reset(&vcpu, NULL), XVCPU_STATUS_OK);
        for (k = 0; k < XVCPU_REG_COUNT; k++)
            before[k] = get_reg((xvcpu_reg)k);
        set_reg(reg, good_value(reg));
        for (k = 0; k < XVCPU_REG_COUNT; k++)
            changed += k != i && before[k] != get_reg((xvcpu_reg)k);
        is_hex(get_reg(reg), good_value(reg), "%s keeps what is written", xvcpu_register_name(reg));
        is_hex(changed, 0, "%s changes no other register", xvcpu_register_name(reg));
    }
    is_text(xvcpu_register_name(XVCPU_REG_RAX), "RAX", "first name");
    is_text(xvcpu_register_name(XVCPU_REG_PENDING_DEBUG), "PENDING_DEBUG", "last name");
    is_text(xvcpu_register_name((xvcpu_reg)XVCPU_REG_COUNT), "unknown register", "no name");
    stop();
}

static void test_bad_values(void *unused)
{
    static const struct {
        xvcpu_reg reg;
        xvcpu_u64 value, bits;
    } rows[] = {{XVCPU_REG_ES, 0x10000, 0x10000},
                {XVCPU_REG_CS_LIMIT, 0x100000000, 0x100000000},
                {XVCPU_REG_SYSENTER_CS, 0x300000000, 0x300000000},
                {XVCPU_REG_CS_BASE, 0x500000000, 0x500000000},
                {XVCPU_REG_FS_BASE, 0x0000800000000000, 0xFFFF800000000000},
                {XVCPU_REG_GS_BASE, 0x7FFF800000000000, 0xFFFF800000000000},
                {XVCPU_REG_TR_BASE, 0x0001000000000000, 0xFFFF800000000000},
                {XVCPU_REG_GDTR_BASE, 0x8000000000000000, 0xFFFF800000000000},
                {XVCPU_REG_RIP, 0x0000900000000000, 0xFFFF800000000000},
                {XVCPU_REG_SYSENTER_EIP, 0x0000900000000000, 0xFFFF800000000000},
                {XVCPU_REG_LSTAR, 0x0000900000000000, 0xFFFF800000000000},
                {XVCPU_REG_KERNEL_GS_BASE, 0x0000900000000000, 0xFFFF800000000000},
                {XVCPU_REG_FMASK, 0x100000000, 0x100000000},
                {XVCPU_REG_TSC_AUX, 0x100000000, 0x100000000},
                {XVCPU_REG_GDTR_LIMIT, 0x10000, 0x10000},
                {XVCPU_REG_CS_RIGHTS, 0x19B, 0x100},
                {XVCPU_REG_CS_RIGHTS, 0x1009B, 0x10000},
                {XVCPU_REG_CS_RIGHTS, 0x91, 0xF},
                {XVCPU_REG_CS_RIGHTS, 0x1B, 0x80},
                {XVCPU_REG_CS_RIGHTS, 0x8B, 0x10},
                {XVCPU_REG_SS_RIGHTS, 0x91, 0xF},
                {XVCPU_REG_SS_RIGHTS, 0x9B, 0xF},
                {XVCPU_REG_DS_RIGHTS, 0x92, 0xF},
                {XVCPU_REG_DS_RIGHTS, 0x99, 0xF},
                {XVCPU_REG_DS_RIGHTS, 0x20093, 0x20000},
                {XVCPU_REG_LDTR_RIGHTS, 0x8B, 0xF},
                {XVCPU_REG_TR_RIGHTS, 0x10000, 0x10000},
                {XVCPU_REG_TR_RIGHTS, 0x89, 0xF},
                {XVCPU_REG_RFLAGS, 0, 2},
                {XVCPU_REG_RFLAGS, 0xA, 8},
                {XVCPU_REG_RFLAGS, 0x8002, 0x8000},
                {XVCPU_REG_RFLAGS, 0x400002, 0x400000},
                {XVCPU_REG_RFLAGS, 0x20002, 0x20000}, // VM in real mode
                {XVCPU_REG_CR3, FULL << 52, FULL << 52},
                {XVCPU_REG_CR8, 16, 16},
                {XVCPU_REG_XCR0, 0, 1},
                {XVCPU_REG_DR6, 0x1FFFF0FF0, 0x100000000},
                {XVCPU_REG_DR7, 0x100000400, 0x100000000},
                {XVCPU_REG_EFER, 2, 2},
                {XVCPU_REG_EFER, 0x1000, 0x1000},
                {XVCPU_REG_PAT, 0x0007040600020406, 0xFF0000},
                {XVCPU_REG_PAT, 0x0807040600070406, 0xFF00000000000000},
                {XVCPU_REG_DEBUGCTL, 0x40, 0x40},
                {XVCPU_REG_XSS, 0x10000, 0x10000},
                {XVCPU_REG_APIC_BASE, 0xFEE00D00, 0x400},
                {XVCPU_REG_APIC_BASE, 0xFEE00801, 1},
                {XVCPU_REG_ACTIVITY, 4, 4},
                {XVCPU_REG_INTERRUPTIBILITY, 0x20, 0x20},
                {XVCPU_REG_INTERRUPTIBILITY, 4, 4},
                {XVCPU_REG_INTERRUPTIBILITY, 1, 1}, // IF is 0
                {XVCPU_REG_PENDING_DEBUG, 0x2000, 0x2000}};
    xvcpu_u32 i;
    (void)unused;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        const xvcpu_u64 before = get_reg(rows[i].reg);
        const xvcpu_status status = xvcpu_set(&vcpu, rows[i].reg, rows[i].value, &error);
        ok(status == XVCPU_STATUS_BAD_VALUE && error.value == rows[i].value,
           "T63 %s refuses %#llx", xvcpu_register_name(rows[i].reg),
           (unsigned long long)rows[i].value);
        is_hex(error.bits, rows[i].bits, "and names the bits");
        is_text(error.detail, xvcpu_register_name(rows[i].reg), "and the register");
        is_hex(get_reg(rows[i].reg), before, "and changes nothing");
    }
    stop();
}

// A segment that is not usable may be anything but where the processor always uses it.
static void test_unusable(void *unused)
{
    (void)unused;
    start();
    set_reg(XVCPU_REG_DS_RIGHTS, 0x10000);
    set_reg(XVCPU_REG_LDTR_RIGHTS, 0x1FFFF);
    set_reg(XVCPU_REG_GS_RIGHTS, 0x10000);
    enters("segments that are not usable");
    is_hex(xvcpu_set(&vcpu, XVCPU_REG_FS_RIGHTS, 0x30000, NULL), XVCPU_STATUS_BAD_VALUE,
           "reserved bits count all the same");
    stop();
}

static void test_without_long_mode(void *unused)
{
    xvcpu_desc desc;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    desc.hide_features = XVCPU_BIT64(XVCPU_FEATURE_LM);
    machine_start(&desc, RAM_BYTES);
    ok(xvcpu_preset_long(&vcpu, 0x3000, 0, 0, &error) == XVCPU_STATUS_UNSUPPORTED &&
           error.bits == XVCPU_BIT64(XVCPU_FEATURE_LM),
       "no 64-bit mode for a guest that is not shown it");
    is_hex(xvcpu_set(&vcpu, XVCPU_REG_EFER, XVCPU_EFER_LME, NULL), XVCPU_STATUS_BAD_VALUE,
           "EFER.LME neither");
    stop();
}

static void test_misuse(void *unused)
{
    xvcpu_u64 value;
    xvcpu_cpu_mode mode;
    xvcpu_paging paging;
    (void)unused;
    start();
    ok(xvcpu_get(&vcpu, (xvcpu_reg)XVCPU_REG_COUNT, &value, &error) ==
               XVCPU_STATUS_UNKNOWN_REGISTER &&
           error.value == XVCPU_REG_COUNT,
       "get: no such register");
    ok(xvcpu_set(&vcpu, (xvcpu_reg)XVCPU_REG_COUNT, 0, &error) == XVCPU_STATUS_UNKNOWN_REGISTER,
       "set: no such register");
    ok(xvcpu_get(&vcpu, XVCPU_REG_RAX, NULL, &error) == XVCPU_STATUS_INVALID_ARGUMENT,
       "get: nowhere to put it");
    ok(xvcpu_get_mode(&vcpu, NULL, &error) == XVCPU_STATUS_INVALID_ARGUMENT, "mode: null");
    ok(xvcpu_get_paging(&vcpu, NULL, &error) == XVCPU_STATUS_INVALID_ARGUMENT, "paging: null");
    sim_check_equal(xvcpu_unbind(&vcpu, &error), XVCPU_STATUS_OK);
    ok(xvcpu_get(&vcpu, XVCPU_REG_RAX, &value, &error) == XVCPU_STATUS_NOT_BOUND, "get: not bound");
    ok(xvcpu_set(&vcpu, XVCPU_REG_RAX, 0, &error) == XVCPU_STATUS_NOT_BOUND, "set: not bound");
    ok(xvcpu_get_mode(&vcpu, &mode, &error) == XVCPU_STATUS_NOT_BOUND, "mode: not bound");
    ok(xvcpu_get_paging(&vcpu, &paging, &error) == XVCPU_STATUS_NOT_BOUND, "paging: not bound");
    ok(xvcpu_preset_real(&vcpu, 0, 0, &error) == XVCPU_STATUS_NOT_BOUND, "real: not bound");
    ok(xvcpu_preset_long(&vcpu, 0, 0, 0, &error) == XVCPU_STATUS_NOT_BOUND, "long: not bound");
    ok(xvcpu_start_sipi(&vcpu, 0, &error) == XVCPU_STATUS_NOT_BOUND, "SIPI: not bound");
    stop();
}

// -- Interrupt shadows and pending debug exceptions

static void test_shadow_upkeep(void *unused)
{
    (void)unused;
    start();
    set_reg(XVCPU_REG_RFLAGS, 0x202);
    set_reg(XVCPU_REG_INTERRUPTIBILITY, XVCPU_INTERRUPTIBILITY_STI);
    enters("T37 STI shadow");
    is_hex(xvcpu_set(&vcpu, XVCPU_REG_ACTIVITY, XVCPU_ACTIVITY_HLT, NULL), XVCPU_STATUS_BAD_VALUE,
           "T37 no HLT in a shadow");
    is_hex(xvcpu_set(&vcpu, XVCPU_REG_INTERRUPTIBILITY, 3, NULL), XVCPU_STATUS_BAD_VALUE,
           "T37 never both shadows");
    set_reg(XVCPU_REG_RFLAGS, 0x302);
    is_hex(get_reg(XVCPU_REG_PENDING_DEBUG), XVCPU_PENDING_DBG_BS,
           "T38 TF in a shadow makes the trap pending");
    enters("T38 TF in a shadow");
    set_reg(XVCPU_REG_DEBUGCTL, XVCPU_DEBUGCTL_BTF);
    is_hex(get_reg(XVCPU_REG_PENDING_DEBUG), 0, "T38 not with BTF");
    enters("T38 TF and BTF in a shadow");
    set_reg(XVCPU_REG_DEBUGCTL, 0);
    set_reg(XVCPU_REG_RFLAGS, 2);
    is_hex(get_reg(XVCPU_REG_INTERRUPTIBILITY), 0, "T37 the STI shadow ends with IF");
    set_reg(XVCPU_REG_PENDING_DEBUG, 0);
    set_reg(XVCPU_REG_ACTIVITY, XVCPU_ACTIVITY_HLT);
    is_hex(xvcpu_set(&vcpu, XVCPU_REG_INTERRUPTIBILITY, 2, NULL), XVCPU_STATUS_BAD_VALUE,
           "T37 no shadow in HLT");
    set_reg(XVCPU_REG_ACTIVITY, XVCPU_ACTIVITY_ACTIVE);
    set_reg(XVCPU_REG_SS_RIGHTS, 0xF3);
    is_hex(xvcpu_set(&vcpu, XVCPU_REG_ACTIVITY, XVCPU_ACTIVITY_HLT, NULL), XVCPU_STATUS_BAD_VALUE,
           "HLT only with CPL 0");
    stop();
}

// -- Modes and paging

static void test_modes(void *unused)
{
    xvcpu_paging paging;
    (void)unused;
    start();
    ok(xvcpui_mode(&vcpu) == XVCPU_MODE_REAL && xvcpui_cpl(&vcpu) == 0, "real mode");
    go(PAGED_PAE);
    ok(xvcpui_mode(&vcpu) == XVCPU_MODE_PROTECTED, "protected mode");
    memset(&paging, 0xAA, sizeof paging);
    sim_check_equal(xvcpu_get_paging(&vcpu, &paging, NULL), XVCPU_STATUS_OK);
    is_hex(paging.cr0, PE | PG | ET, "paging: CR0 as the guest sees it");
    is_hex(paging.cr4, XVCPU_CR4_PAE, "paging: CR4 as the guest sees it");
    is_hex(paging.cr3, PDPT_GPA, "paging: CR3");
    is_hex(paging.pdpte[3], 0x6001, "paging: PDPTE 3");
    is_hex(paging.physical_bits, cpu.caps.physical_bits, "paging: physical-address width");
    ok(paging.nx_supported && paging.page1gb_supported && paging.pkru == 0 && paging.cpl == 0,
       "paging: features");
    set_reg(XVCPU_REG_RFLAGS, 0x20202);
    set_reg(XVCPU_REG_SS_RIGHTS, 0xF3);
    ok(xvcpui_mode(&vcpu) == XVCPU_MODE_VIRTUAL_8086 && xvcpui_cpl(&vcpu) == 3,
       "virtual-8086 mode");
    go(COMPATIBILITY);
    ok(xvcpui_mode(&vcpu) == XVCPU_MODE_COMPATIBILITY, "compatibility mode");
    is_hex(xvcpu_set(&vcpu, XVCPU_REG_RFLAGS, 0x20002, NULL), XVCPU_STATUS_BAD_VALUE,
           "no virtual-8086 mode inside IA-32e mode");
    go(LONG);
    ok(xvcpui_mode(&vcpu) == XVCPU_MODE_64BIT, "64-bit mode");
    set_reg(XVCPU_REG_SS_RIGHTS, 0xC0F3);
    sim_check_equal(xvcpu_get_paging(&vcpu, &paging, NULL), XVCPU_STATUS_OK);
    ok(paging.cpl == 3 && paging.efer == (XVCPU_EFER_LME | XVCPU_EFER_LMA),
       "paging: CPL and EFER");
    stop();
}

// Rights of protection keys: from the saved extended state.
static void test_pkru(void *unused)
{
    const xvcpu_u32 pkru = 0x55555554;
    const xvcpu_u64 present = XVCPU_XCR0_PKRU;
    xvcpu_u8 *area;
    xvcpu_u32 offset;
    xvcpu_paging paging;
    (void)unused;
    start();
    offset = sim_cpuid_find(sim_this_cpu(), 0xD, 9)->regs.ebx;
    area = (xvcpu_u8 *)vcpu.guest_xsave;
    memcpy(area + offset, &pkru, sizeof pkru);
    memcpy(area + 512, &present, sizeof present);
    sim_check_equal(xvcpu_get_paging(&vcpu, &paging, NULL), XVCPU_STATUS_OK);
    is_hex(paging.pkru, 0, "PKRU without its XCR0 bit");
    memset(area + 512, 0, sizeof present);
    set_reg(XVCPU_REG_XCR0, XVCPU_XCR0_X87 | XVCPU_XCR0_PKRU);
    sim_check_equal(xvcpu_get_paging(&vcpu, &paging, NULL), XVCPU_STATUS_OK);
    is_hex(paging.pkru, 0, "PKRU in its initial state");
    memcpy(area + 512, &present, sizeof present);
    sim_check_equal(xvcpu_get_paging(&vcpu, &paging, NULL), XVCPU_STATUS_OK);
    is_hex(paging.pkru, pkru, "PKRU as saved");
    sim_check_equal(xvcpu_preset_reset(&vcpu, NULL), XVCPU_STATUS_OK);
    ok(area[0] == 0x7F && area[1] == 3 && area[24] == 0x80 && area[25] == 0x1F &&
           area[512] == 0 && area[513] == 0,
       "reset: extended state is initial, with legal FCW and MXCSR");
    stop();
}

// -- XCR0

// The rules again, each as the sentence of the SDM.
static xvcpu_bool xcr0_is_legal(xvcpu_u64 value, xvcpu_u64 supported)
{
    const xvcpu_u64 b = value;
    if ((b & ~supported) != 0 || !(b & 1))
        return 0; // unsupported bit; x87 is not optional
    if ((b & 4) && !(b & 2))
        return 0; // AVX without SSE
    if (!(b & 8) != !(b & 16))
        return 0; // one of BNDREGS and BNDCSR
    if ((b & 0xE0) && ((b & 0xE0) != 0xE0 || !(b & 4)))
        return 0; // AVX-512 in part, or without AVX
    if (!(b & 0x20000) != !(b & 0x40000))
        return 0; // half of the tile state
    if ((b & 0x80000) && (b & 0x18))
        return 0; // APX where the bounds registers would be
    return 1;
}

static void test_xcr0(void *unused)
{
    static const xvcpu_u32 bits[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 18, 19, 63};
    static const xvcpu_u64 supported[] = {0x1,   0x3,     0x7,     0x1F,   0xE7,
                                          0x2E7, 0x600FF, 0x602FF, 0xE02FF};
    xvcpu_u32 i, s, n, wrong;
    (void)unused;
    start();
    for (s = 0; s < COUNT(supported); s++) {
        vcpu.xcr0_allowed = supported[s];
        wrong = 0;
        for (i = 0; i < 1U << COUNT(bits); i++) {
            xvcpu_u64 value = 0;
            xvcpu_bool refused;
            for (n = 0; n < COUNT(bits); n++)
                if ((i >> n & 1U) != 0)
                    value |= XVCPU_BIT64(bits[n]);
            vcpu.xcr0 = 1;
            refused = xvcpui_set_xcr0_checked(&vcpu, value);
            wrong +=
                refused == xcr0_is_legal(value, supported[s]) || vcpu.xcr0 != (refused ? 1 : value);
        }
        is_hex(wrong, 0, "T59 all combinations of 14 bits, supported %#llx",
               (unsigned long long)supported[s]);
    }
    is_hex(sim_counts.xsetbv, 0, "T59 no XSETBV while the host's state is loaded");
    stop();
}

// -- What VMX does not switch

static void change_lstar(sim_guest *g)
{
    if (g->entry == 1)
        sim_exit_wrmsr(g, XVCPU_MSR_IA32_LSTAR, 0xFFFF800000123000);
    else if (g->entry == 2)
        sim_exit_wrmsr(g, XVCPU_MSR_IA32_STAR, 0x0011000800000000);
    else
        sim_exit_vmcall(g);
}

static void test_switched(void *unused)
{
    xvcpu_u64 live;
    (void)unused;
    start();
    set_reg(XVCPU_REG_LSTAR, 0xFFFF800000001000);
    ok(sim_msr_get(XVCPU_MSR_IA32_LSTAR) != 0xFFFF800000001000,
       "T24 the host's MSR stays while the host runs");
    sim_set_guest(change_lstar, NULL);
    sim_check_equal(xvcpu_run(&vcpu, NULL), XVCPU_STATUS_OK);
    is_hex(get_reg(XVCPU_REG_LSTAR), 0xFFFF800000123000, "T24 the guest's WRMSR is kept");
    is_hex(get_reg(XVCPU_REG_STAR), 0x0011000800000000, "T24 and the next");
    // With the guest loaded a write has to reach the processor at once.
    live = sim_msr_get(XVCPU_MSR_IA32_LSTAR);
    vcpu.guest_loaded = 1;
    xvcpui_set_switched(&vcpu, XVCPU_SWITCHED_LSTAR, 0xFFFF800000777000);
    is_hex(sim_msr_get(XVCPU_MSR_IA32_LSTAR), 0xFFFF800000777000, "T24 live: written through");
    xvcpu_wrmsr(XVCPU_MSR_IA32_LSTAR, live);
    live = sim_msr_get(XVCPU_MSR_IA32_KERNEL_GS_BASE);
    vcpu.switched[XVCPU_SWITCHED_KERNEL_GS_BASE] = 5;
    is_hex(xvcpui_get_switched(&vcpu, XVCPU_SWITCHED_KERNEL_GS_BASE), live,
           "T24 live: KERNEL_GS_BASE is read from the processor, as SWAPGS does not exit");
    vcpu.guest_loaded = 0;
    is_hex(xvcpui_get_switched(&vcpu, XVCPU_SWITCHED_KERNEL_GS_BASE), 5, "T24 not live");
    stop();
}

// Where VMX does not switch the PAT it is kept all the same.
static void test_without_pat_controls(void *unused)
{
    (void)unused;
    sim_control_remove_all(XVCPU_WORD_ENTRY, XVCPU_ENTRY_LOAD_PAT);
    start();
    is_hex(get_reg(XVCPU_REG_PAT), 0x0007040600070406, "T30 PAT without its controls");
    set_reg(XVCPU_REG_PAT, 6);
    is_hex(get_reg(XVCPU_REG_PAT), 6, "PAT without its controls is kept");
    enters("without PAT controls");
    stop();
}

static void test_apic_id(void *unused)
{
    xvcpu_desc desc;
    (void)unused;
    memset(&desc, 0, sizeof desc);
    desc.apic_id = 3;
    machine_start(&desc, RAM_BYTES);
    is_hex(get_reg(XVCPU_REG_APIC_BASE), 0xFEE00800, "IA32_APIC_BASE: not the bootstrap processor");
    stop();
}

typedef struct test_row {
    const char *name;
    const char *model;
    void (*run)(void *argument);
} test_row;

int main(void)
{
    static const test_row rows[] = {
        {"reset", "skylake", test_reset},
        {"presets", "skylake", test_presets},
        {"presets on haswell", "haswell", test_presets},
        {"presets on tigerlake", "tigerlake", test_presets},
        {"SIPI", "skylake", test_sipi},
        {"no wait-for-SIPI", "skylake", test_no_sipi_state},
        {"no unrestricted guest", "skylake", test_no_unrestricted_guest},
        {"shadows", "skylake", test_shadows},
        {"host without MCE", "skylake", test_host_without_mce},
        {"control registers", "skylake", test_control_registers},
        {"long and back", "skylake", test_long_and_back},
        {"PDPTEs", "skylake", test_pdptes},
        {"round trip", "skylake", test_round_trip},
        {"bad values", "skylake", test_bad_values},
        {"unusable segments", "skylake", test_unusable},
        {"no long mode", "skylake", test_without_long_mode},
        {"misuse", "skylake", test_misuse},
        {"interrupt shadows", "skylake", test_shadow_upkeep},
        {"modes", "skylake", test_modes},
        {"PKRU", "skylake", test_pkru},
        {"XCR0", "skylake", test_xcr0},
        {"switched MSRs", "skylake", test_switched},
        {"no PAT controls", "skylake", test_without_pat_controls},
        {"APIC id", "skylake", test_apic_id},
    };
    xvcpu_u32 i;
    for (i = 0; i < COUNT(rows); i++)
        if (!ok(sim_run(rows[i].model, rows[i].run, NULL), "%s: nothing left behind",
                rows[i].name))
            diag("%s", sim_failure());
    return done_testing();
}
