// guest_cr.c - modes and control registers: one guest through all modes, and every rule that makes
// a MOV to a control register fault.
// models: corei7_skylake_x corei7_haswell_4770 corei5_lynnfield_750 corei7_sandy_bridge_2600k tigerlake
// cpus: 1
#include "guest_kit.h"

#define PAE_ROOT 0xd000  // four entries
#define PAE_PD 0xe000    // 2 MiB pages
#define LEGACY_PD 0xf000 // 4 MiB pages
#define MARKER 0x600dc0de
#define HIGH (KIT_FREE + 0x400000) // KIT_FREE again, only with paging

// In every paging mode linear 400000h is physical 0, as linear 0 is.
static void make_tables(void)
{
    (void)metal_page_tables(&guest_vm, METAL_TABLES);
    *guest_word(METAL_TABLES + 2 * KERNEL_PAGE_SIZE + 16) = METAL_PTE_LARGE;
    *guest_word(PAE_ROOT) = PAE_PD | 1;
    *guest_word(PAE_PD) = METAL_PTE_LARGE;
    *guest_word(PAE_PD + 16) = METAL_PTE_LARGE;
    *guest_word(LEGACY_PD) = METAL_PTE_LARGE | METAL_PTE_LARGE << 32;
    *(u32 *)guest_word(KIT_FREE) = MARKER;
}

static xvcpu_cpu_mode mode(void)
{
    xvcpu_error error;
    xvcpu_cpu_mode now = XVCPU_MODE_REAL;
    metal_must(xvcpu_get_mode(&guest, &now, &error), &error, "xvcpu_get_mode");
    return now;
}

static const char *mode_name(xvcpu_cpu_mode which)
{
    static const char *const names[] = {"real", "virtual-8086", "protected", "compatibility",
                                        "64-bit"};
    return names[which];
}

// -- Through all modes

#define CALL(n) "mov $" #n ", %eax; vmcall\n"
#define PAGING(op) "mov %cr0, %eax; " op " $0x80000000, %eax; mov %eax, %cr0\n"
// clang-format off
GUEST_CODE(tour, 16,
           CALL(1)
           "lgdtl " GUEST_ADDRESS(tour, 71f) "\n"
           "mov %cr0, %eax; or $1, %eax; mov %eax, %cr0\n"
           CALL(2)
           "ljmpl $0x18, $" GUEST_ADDRESS(tour, 72f) "\n"
           "71: .word 0x5f; .long " KIT_TEXT(KIT_GDT) "\n"
           ".code32\n"
           "72: mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
           "mov $" KIT_TEXT(METAL_STACK) ", %esp\n"
           CALL(3)
           "mov $0x20, %eax; mov %eax, %cr4; mov $" KIT_TEXT(PAE_ROOT) ", %eax; mov %eax, %cr3\n"
           PAGING("or")
           "mov " KIT_TEXT(HIGH) ", %ebx\n"
           CALL(4)
           "movl $" KIT_TEXT(PAE_PD) " + 1, " KIT_TEXT(PAE_ROOT) " + 8\n"
           "mov %cr3, %eax; mov %eax, %cr3\n"
           "mov " KIT_TEXT(HIGH) " + 0x40000000, %ebx\n"
           CALL(5)
           PAGING("xor")
           "mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr\n"
           "mov $" KIT_TEXT(METAL_TABLES) ", %eax; mov %eax, %cr3\n"
           PAGING("or")
           "mov " KIT_TEXT(HIGH) ", %ebx\n"
           CALL(6)
           "ljmp $0x08, $" GUEST_ADDRESS(tour, 73f) "\n"
           ".code64\n"
           "73: mov " KIT_TEXT(HIGH) ", %ebx\n"
           CALL(7)
           "pushq $0x18; pushq $" GUEST_ADDRESS(tour, 74f) "; lretq\n"
           ".code32\n"
           "74:\n"
           CALL(8)
           "ljmp $0x08, $" GUEST_ADDRESS(tour, 75f) "\n"
           ".code64\n"
           "75:\n"
           CALL(9)
           "pushq $0x18; pushq $" GUEST_ADDRESS(tour, 76f) "; lretq\n"
           ".code32\n"
           "76:\n"
           PAGING("xor")
           CALL(10)
           "mov $0xc0000080, %ecx; rdmsr; and $~0x100, %eax; wrmsr\n"
           "mov $0x10, %eax; mov %eax, %cr4; mov $" KIT_TEXT(LEGACY_PD) ", %eax; mov %eax, %cr3\n"
           PAGING("or")
           "mov " KIT_TEXT(HIGH) ", %ebx\n"
           CALL(11)
           PAGING("xor")
           "ljmp $0x20, $" GUEST_ADDRESS(tour, 77f) "\n"
           ".code16\n"
           "77: mov $0x28, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
           "mov %cr0, %eax; and $~1, %eax; mov %eax, %cr0\n"
           "ljmp $0, $" GUEST_ADDRESS(tour, 78f) "\n"
           "78: xor %eax, %eax; mov %eax, %ds; mov %eax, %ss\n"
           CALL(12));
// clang-format on

static void test_tour(const xvcpu_desc *desc, const char *how)
{
    static const struct {
        xvcpu_cpu_mode mode;
        const char *what;
        u64 cr0, cr4, efer;
        bool high;
    } steps[] = {
        {XVCPU_MODE_REAL, "real mode", 0, 0, 0, false},
        {XVCPU_MODE_PROTECTED, "16-bit protected mode", XVCPU_CR0_PE, 0, 0, false},
        {XVCPU_MODE_PROTECTED, "32-bit protected mode", XVCPU_CR0_PE, 0, 0, false},
        {XVCPU_MODE_PROTECTED, "PAE paging", XVCPU_CR0_PE | XVCPU_CR0_PG, XVCPU_CR4_PAE, 0, true},
        {XVCPU_MODE_PROTECTED, "another PDPTE", XVCPU_CR0_PE | XVCPU_CR0_PG, XVCPU_CR4_PAE, 0,
         true},
        {XVCPU_MODE_COMPATIBILITY, "IA-32e mode", XVCPU_CR0_PE | XVCPU_CR0_PG, XVCPU_CR4_PAE,
         XVCPU_EFER_LME | XVCPU_EFER_LMA, true},
        {XVCPU_MODE_64BIT, "64-bit mode", XVCPU_CR0_PE | XVCPU_CR0_PG, XVCPU_CR4_PAE,
         XVCPU_EFER_LME | XVCPU_EFER_LMA, true},
        {XVCPU_MODE_COMPATIBILITY, "to compatibility mode", XVCPU_CR0_PE | XVCPU_CR0_PG,
         XVCPU_CR4_PAE, XVCPU_EFER_LME | XVCPU_EFER_LMA, true},
        {XVCPU_MODE_64BIT, "and back", XVCPU_CR0_PE | XVCPU_CR0_PG, XVCPU_CR4_PAE,
         XVCPU_EFER_LME | XVCPU_EFER_LMA, true},
        {XVCPU_MODE_PROTECTED, "out of IA-32e mode", XVCPU_CR0_PE, XVCPU_CR4_PAE, XVCPU_EFER_LME,
         false},
        {XVCPU_MODE_PROTECTED, "32-bit paging", XVCPU_CR0_PE | XVCPU_CR0_PG, XVCPU_CR4_PSE, 0,
         true},
        {XVCPU_MODE_REAL, "real mode again", 0, XVCPU_CR4_PSE, 0, false}};
    u32 i;
    guest_open(desc);
    diag("%s", how);
    if (!metal_is_unrestricted(guest_cpu)) {
        xvcpu_error error;
        skip("modes without paging: no unrestricted guest here");
        is_status(xvcpu_preset_real(&guest, 0, 0, &error), UNSUPPORTED, &error, "real mode");
        is_status(xvcpu_preset_protected(&guest, 0, 0, &error), UNSUPPORTED, &error,
                  "protected mode");
        guest_close();
        return;
    }
    GUEST_START(METAL_REAL, tour);
    make_tables();
    for (i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        const u64 efer_mask = XVCPU_EFER_LME | XVCPU_EFER_LMA;
        const bool long_mode = (steps[i].efer & XVCPU_EFER_LMA) != 0;
        u64 cr0, cr4, efer;
        metal_set(&guest, XVCPU_REG_RBX, 0);
        if (!is_u64(metal_call(&guest), i + 1, "T31 %s: the guest gets there", steps[i].what))
            break;
        ok(mode() == steps[i].mode, "T31 %s: xvcpu_get_mode says %s", steps[i].what,
           mode_name(mode()));
        cr0 = metal_get(&guest, XVCPU_REG_CR0);
        cr4 = metal_get(&guest, XVCPU_REG_CR4);
        efer = metal_get(&guest, XVCPU_REG_EFER);
        ok((cr0 & (XVCPU_CR0_PE | XVCPU_CR0_PG)) == steps[i].cr0 && cr4 == steps[i].cr4 &&
               (efer & efer_mask) == steps[i].efer,
           "T31 %s: CR0 0x%lx, CR4 0x%lx, EFER 0x%lx", steps[i].what, cr0, cr4, efer);
        ok(((metal_field(&guest, XVCPU_VMCS_CTRL_ENTRY) & XVCPU_ENTRY_IA32E_GUEST) != 0) ==
                   long_mode &&
               metal_field(&guest, XVCPU_VMCS_GUEST_EFER) == efer,
           "T32 %s: the VMCS agrees", steps[i].what);
        if (steps[i].high && (i < 7 || i == 10))
            is_u64(metal_get(&guest, XVCPU_REG_RBX), MARKER, "T34 %s: reads through its tables",
                   steps[i].what);
        if (i == 4)
            ok(metal_field(&guest, XVCPU_VMCS_GUEST_PDPTE0) == (PAE_PD | 1) &&
                   metal_field(&guest, XVCPU_VMCS_GUEST_PDPTE1) == (PAE_PD | 1) &&
                   metal_field(&guest, XVCPU_VMCS_GUEST_PDPTE2) == 0,
               "T34 the PDPTEs are in the VMCS");
    }

    {
        // The frame of an IRET to virtual-8086 mode: CS is METAL_CODE / 16.
        // clang-format off
        GUEST_CODE(v86, 32,
                   "xor %eax, %eax; pushl %eax; pushl %eax; pushl %eax; pushl %eax\n"
                   "pushl %eax; pushl $0x8000; pushl $0x20002; pushl $0x100; pushl $79f - v86\n"
                   "iretl\n"
                   ".code16\n"
                   "79: mov $0x1234, %ax; vmcall\n");
        // clang-format on
        GUEST_START(METAL_PROTECTED, v86);
        is_u64(metal_call(&guest) & 0xffff, 0x1234, "virtual-8086 mode");
        ok(mode() == XVCPU_MODE_VIRTUAL_8086, "T31 which xvcpu_get_mode knows");
    }
    guest_close();
}

// -- MOV to CR: what faults, and what is seen

GUEST_CODE(to_cr0, 64, "mov %rax, %cr0");
GUEST_CODE(to_cr3, 64, "mov %rax, %cr3");
GUEST_CODE(to_cr4, 64, "mov %rax, %cr4");
GUEST_CODE(to_cr8, 64, "mov %rax, %cr8");
GUEST_CODE(from_cr0, 64, "mov %cr0, %rbx");
GUEST_CODE(from_cr3, 64, "mov %cr3, %rbx");
GUEST_CODE(from_cr4, 64, "mov %cr4, %rbx");
GUEST_CODE(from_cr8, 64, "mov %cr8, %rbx");
GUEST_CODE(to_cr0_32, 32, "mov %eax, %cr0");
GUEST_CODE(to_cr3_32, 32, "mov %eax, %cr3");
GUEST_CODE(to_cr4_32, 32, "mov %eax, %cr4");
GUEST_CODE(from_cr3_32, 32, "mov %cr3, %ebx");

#define WRITE(code, value) (metal_set(&guest, XVCPU_REG_RAX, (value)), GUEST_DO(code))

static u64 read_by(const u8 *code, const u8 *end)
{
    metal_set(&guest, XVCPU_REG_RBX, 0xbadbadbadbadbadb);
    if (guest_do(code, end) != KIT_NO_FAULT) {
        guest_explain();
        return METAL_NO_CALL;
    }
    return metal_get(&guest, XVCPU_REG_RBX);
}
#define READ(code) read_by(code, code##_end)

static void refuses_cr0(u64 value, const char *what)
{
    const u64 before = READ(from_cr0);
    const u64 field = metal_field(&guest, XVCPU_VMCS_GUEST_CR0);
    ok(guest_faulted(WRITE(to_cr0, value), 13, 0), "T60 %s: #GP(0)", what);
    ok(READ(from_cr0) == before && metal_field(&guest, XVCPU_VMCS_GUEST_CR0) == field,
       "T60 %s: CR0 is unchanged", what);
}

static void test_cr0(void)
{
    const u64 host_cr0 = read_cr0();
    u64 cr0, value;
    u32 i;
    guest_open(0);
    GUEST_START(METAL_LONG, to_cr0);
    cr0 = READ(from_cr0);
    is_u64(cr0, metal_get(&guest, XVCPU_REG_CR0), "the guest reads what xvcpu_get gives");
    refuses_cr0(cr0 & ~XVCPU_CR0_PE, "PG without PE");
    refuses_cr0(cr0 | XVCPU_CR0_NW, "NW without CD");
    refuses_cr0(cr0 | 1ul << 32, "upper half");
    refuses_cr0(cr0 & ~XVCPU_CR0_PG, "PG cleared in 64-bit mode");
    for (i = 0; i < 6; i++) {
        static const u64 bits[] = {XVCPU_CR0_MP, XVCPU_CR0_EM, XVCPU_CR0_TS,
                                   XVCPU_CR0_NE, XVCPU_CR0_WP, XVCPU_CR0_AM};
        value = cr0 ^ bits[i];
        ok(WRITE(to_cr0, value) == KIT_NO_FAULT && READ(from_cr0) == value,
           "T60 bit %u of CR0 is the guest's", (u32)__builtin_ctzl(bits[i]));
        is_u64(metal_get(&guest, XVCPU_REG_CR0), value, "T60 and xvcpu_get sees it");
    }
    ok(WRITE(to_cr0, cr0 & ~XVCPU_CR0_NE) == KIT_NO_FAULT &&
           READ(from_cr0) == (cr0 & ~XVCPU_CR0_NE),
       "T60 the guest believes NE to be 0");
    is_u64(metal_field(&guest, XVCPU_VMCS_GUEST_CR0) & XVCPU_CR0_NE, XVCPU_CR0_NE,
           "T60 VMX wants it 1, and it is");
    value = cr0 | XVCPU_CR0_CD | XVCPU_CR0_NW;
    ok(WRITE(to_cr0, value) == KIT_NO_FAULT && READ(from_cr0) == value,
       "T26 the guest turns its caches off");
    is_u64(metal_field(&guest, XVCPU_VMCS_GUEST_CR0) & (XVCPU_CR0_CD | XVCPU_CR0_NW), 0,
           "T26 the processor's stay on");
    is_u64(read_cr0(), host_cr0, "T26 the host's CR0 is as it was");
    metal_set(&guest, XVCPU_REG_CR0, value);
    is_u64(metal_field(&guest, XVCPU_VMCS_GUEST_CR0) & (XVCPU_CR0_CD | XVCPU_CR0_NW), 0,
           "T26 xvcpu_set keeps them out of the VMCS as well");
    value = cr0 | XVCPU_CR0_CD;
    ok(WRITE(to_cr0, value) == KIT_NO_FAULT && READ(from_cr0) == value, "T26 CD alone");
    ok(WRITE(to_cr0, cr0 | 1ul << 6 | 1ul << 17) == KIT_NO_FAULT && READ(from_cr0) == cr0,
       "T60 reserved bits of the lower half are ignored");
    guest_close();
}

static void refuses_cr4(u64 value, const char *what)
{
    const u64 before = READ(from_cr4);
    const u64 field = metal_field(&guest, XVCPU_VMCS_GUEST_CR4);
    ok(guest_faulted(WRITE(to_cr4, value), 13, 0), "T61 %s: #GP(0)", what);
    ok(READ(from_cr4) == before && metal_field(&guest, XVCPU_VMCS_GUEST_CR4) == field,
       "T61 %s: CR4 is unchanged", what);
}

static void takes_cr4(u64 value, const char *what)
{
    ok(WRITE(to_cr4, value) == KIT_NO_FAULT && READ(from_cr4) == value, "T61 %s", what);
    is_u64(metal_get(&guest, XVCPU_REG_CR4), value, "T61 %s: xvcpu_get sees it", what);
}

static void test_cr4(const xvcpu_desc *desc)
{
    u64 cr3;
    guest_open(desc);
    GUEST_START(METAL_LONG, to_cr4);
    is_u64(READ(from_cr4), XVCPU_CR4_PAE, "T39 the guest reads VMXE as 0");
    is_u64(metal_field(&guest, XVCPU_VMCS_GUEST_CR4) & XVCPU_CR4_VMXE, XVCPU_CR4_VMXE,
           "T39 while it is 1");
    refuses_cr4(XVCPU_CR4_PAE | XVCPU_CR4_VMXE, "VMXE (T39)");
    refuses_cr4(XVCPU_CR4_PAE | XVCPU_CR4_SMXE, "SMXE");
    refuses_cr4(0, "clearing PAE in IA-32e mode");
    refuses_cr4(XVCPU_CR4_PAE | 1ul << 15, "reserved bit 15");
    refuses_cr4(XVCPU_CR4_PAE | 1ul << 31, "reserved bit 31");
    refuses_cr4(XVCPU_CR4_PAE | 1ul << 32, "upper half");
    refuses_cr4(XVCPU_CR4_PAE | XVCPU_CR4_LA57, "LA57 in IA-32e mode");
    refuses_cr4(XVCPU_CR4_PAE | XVCPU_CR4_CET, "CET, which guests do not have");
    takes_cr4(XVCPU_CR4_PAE | XVCPU_CR4_PGE | XVCPU_CR4_PSE, "PGE and PSE");
    takes_cr4(XVCPU_CR4_PAE | XVCPU_CR4_TSD | XVCPU_CR4_DE | XVCPU_CR4_OSFXSR |
                  XVCPU_CR4_OSXMMEXCPT,
              "TSD, DE, OSFXSR, OSXMMEXCPT");
    takes_cr4(XVCPU_CR4_PAE | XVCPU_CR4_MCE, "MCE");
    takes_cr4(XVCPU_CR4_PAE, "and back");
    is_u64(metal_field(&guest, XVCPU_VMCS_GUEST_CR4) & XVCPU_CR4_MCE, read_cr4() & XVCPU_CR4_MCE,
           "T61 MCE in the register is the host's");
    if (METAL_HAS(guest_cpu, FSGSBASE))
        takes_cr4(XVCPU_CR4_PAE | XVCPU_CR4_FSGSBASE, "FSGSBASE");
    else
        refuses_cr4(XVCPU_CR4_PAE | XVCPU_CR4_FSGSBASE, "FSGSBASE where it does not exist");

    cr3 = READ(from_cr3);
    is_u64(cr3, METAL_TABLES, "the guest reads its CR3");
    ok(guest_faulted(WRITE(to_cr3, cr3 | 1ul << 52), 13, 0), "T61 CR3 beyond MAXPHYADDR: #GP(0)");
    ok(guest_faulted(WRITE(to_cr3, cr3 | 1ul << 63), 13, 0),
       "T61 CR3 bit 63 without PCIDE: #GP(0)");
    is_u64(READ(from_cr3), cr3, "T61 CR3 is unchanged");
    if (METAL_HAS(guest_cpu, PCID)) {
        ok(WRITE(to_cr3, cr3 | 5) == KIT_NO_FAULT, "CR3 with its lowest bits set");
        refuses_cr4(XVCPU_CR4_PAE | XVCPU_CR4_PCIDE, "PCIDE with such a CR3");
        ok(WRITE(to_cr3, cr3) == KIT_NO_FAULT, "CR3 with them clear");
        takes_cr4(XVCPU_CR4_PAE | XVCPU_CR4_PCIDE, "PCIDE then");
        ok(WRITE(to_cr3, cr3 | 0x7ff | 1ul << 63) == KIT_NO_FAULT,
           "T61 with it CR3 takes a PCID and bit 63");
        is_u64(READ(from_cr3), cr3 | 0x7ff, "T61 and bit 63 reads 0");
        ok(WRITE(to_cr4, XVCPU_CR4_PAE) == KIT_NO_FAULT, "PCIDE can be cleared");
    } else {
        refuses_cr4(XVCPU_CR4_PAE | XVCPU_CR4_PCIDE, "PCIDE where it does not exist");
    }
    guest_close();
}

static void test_cr8(void)
{
    GUEST_CODE(cr8_r15, 64, "mov %cr8, %r15");
    GUEST_CODE(r15_cr8, 64, "mov %r15, %cr8");
    GUEST_CODE(cr8_rsp, 64, "mov %cr8, %rsp");
    GUEST_CODE(rsp_cr8, 64, "mov %rsp, %cr8");
    GUEST_CODE(cr3_rsp, 64, "mov %cr3, %rsp");
    u64 before, after;
    guest_open(0);
    GUEST_START(METAL_LONG, to_cr8);
    __asm__ volatile("mov %%cr8, %0" : "=r"(before));
    ok(WRITE(to_cr8, 5) == KIT_NO_FAULT && READ(from_cr8) == 5, "T19 CR8 is the guest's own");
    is_u64(metal_get(&guest, XVCPU_REG_CR8), 5, "T19 xvcpu_get sees it");
    __asm__ volatile("mov %%cr8, %0" : "=r"(after));
    is_u64(after, before, "T19 the host's CR8 is untouched");
    ok(guest_faulted(WRITE(to_cr8, 0x10), 13, 0) && READ(from_cr8) == 5, "CR8 above 15: #GP(0)");
    metal_set(&guest, XVCPU_REG_R15, 9);
    ok(GUEST_DO(r15_cr8) == KIT_NO_FAULT && GUEST_DO(cr8_r15) == KIT_NO_FAULT &&
           metal_get(&guest, XVCPU_REG_R15) == 9,
       "from and to R15");
    ok(GUEST_DO(cr8_rsp) == KIT_NO_FAULT && metal_get(&guest, XVCPU_REG_RSP) == 9,
       "to RSP, which the VMCS holds");
    metal_set(&guest, XVCPU_REG_RSP, 3);
    ok(GUEST_DO(rsp_cr8) == KIT_NO_FAULT && metal_get(&guest, XVCPU_REG_CR8) == 3, "from RSP");
    ok(GUEST_DO(cr3_rsp) == KIT_NO_FAULT && metal_get(&guest, XVCPU_REG_RSP) == METAL_TABLES,
       "CR3 to RSP");
    guest_close();
}

static void test_status_word(void)
{
    GUEST_CODE(lmsw_ax, 64, "lmsw %ax");
    GUEST_CODE(lmsw_memory, 64, "lmsw " KIT_TEXT(KIT_FREE));
    GUEST_CODE(smsw_rbx, 64, "smsw %rbx");
    GUEST_CODE(clear_ts, 64, "clts");
    u64 cr0;
    guest_open(0);
    GUEST_START(METAL_LONG, lmsw_ax);
    cr0 = READ(from_cr0) & ~(u64)(XVCPU_CR0_MP | XVCPU_CR0_EM | XVCPU_CR0_TS);
    ok(WRITE(lmsw_ax, 0) == KIT_NO_FAULT && READ(from_cr0) == cr0, "T60 LMSW cannot clear PE");
    ok(WRITE(lmsw_ax, 0xfff0) == KIT_NO_FAULT && READ(from_cr0) == cr0,
       "T60 LMSW sees only four bits");
    ok(WRITE(lmsw_ax, 0x0f) == KIT_NO_FAULT &&
           READ(from_cr0) == (cr0 | XVCPU_CR0_MP | XVCPU_CR0_EM | XVCPU_CR0_TS),
       "T60 LMSW sets MP, EM and TS");
    is_u64(READ(smsw_rbx), cr0 | XVCPU_CR0_MP | XVCPU_CR0_EM | XVCPU_CR0_TS, "SMSW reads them");
    ok(GUEST_DO(clear_ts) == KIT_NO_FAULT && READ(from_cr0) == (cr0 | XVCPU_CR0_MP | XVCPU_CR0_EM),
       "T60 CLTS clears TS alone");
    *guest_word(KIT_FREE) = 0x0a;
    ok(GUEST_DO(lmsw_memory) == KIT_NO_FAULT &&
           READ(from_cr0) == (cr0 | XVCPU_CR0_MP | XVCPU_CR0_TS),
       "T60 LMSW from memory");
    is_u64(metal_get(&guest, XVCPU_REG_CR0), cr0 | XVCPU_CR0_MP | XVCPU_CR0_TS,
           "T60 xvcpu_get sees it");
    guest_close();
    if (metal_is_unrestricted(guest_cpu)) {
        GUEST_CODE(real_lmsw, 16, "mov $1, %ax; lmsw %ax; smsw %bx; vmcall");
        guest_open(0);
        GUEST_START(METAL_REAL, real_lmsw);
        (void)metal_call(&guest);
        ok((metal_get(&guest, XVCPU_REG_RBX) & 0xf) == 1 && mode() == XVCPU_MODE_PROTECTED,
           "T60 LMSW enters protected mode");
        guest_close();
    } else {
        skip("LMSW in real mode: no unrestricted guest here");
    }
}

// -- Rules outside 64-bit mode

static void test_compatibility(void)
{
    // clang-format off
    GUEST_CODE(compatible, 64,
               "pushq $0x18; pushq $" GUEST_ADDRESS(compatible, 81f) "; lretq\n"
               ".code32\n"
               "81: mov %cr0, %eax; xor $0x80000000, %eax\n"
               "82: mov %eax, %cr0\n"
               "83: mov %eax, %ebx; mov %cr0, %eax; vmcall\n");
    // clang-format on
    extern const u64 compatible_offsets[];
    u64 value;
    __asm__(".pushsection .rodata\n"
            ".balign 8\n"
            "compatible_offsets: .quad 82b-compatible, 83b-compatible\n"
            ".popsection");
    if (METAL_HAS(guest_cpu, PCID)) {
        guest_open(0);
        GUEST_START(METAL_LONG, compatible);
        guest_resume(METAL_CODE + compatible_offsets[1]);
        metal_set(&guest, XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_PCIDE);
        value = metal_call(&guest);
        ok((value & XVCPU_CR0_PG) != 0 && guest_count() == 1 && guest_record(0)->vector == 13 &&
               guest_record(0)->rip == METAL_CODE + compatible_offsets[0],
           "T60 clearing PG with PCIDE set: #GP(0)");
        guest_close();
    } else {
        skip("PCIDE: no PCID here");
    }
    if (metal_is_unrestricted(guest_cpu)) {
        skip("MOV to CR0 that the processor cannot run: it can");
        return;
    }
    guest_open(0);
    GUEST_START(METAL_LONG, compatible);
    guest_resume(METAL_CODE + compatible_offsets[1]);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_CR_ACCESS,
           "T60 paging off where the processor cannot run that: returned");
    ok(guest.exit.kind == XVCPU_EXIT_CR && guest.exit.u.cr.number == 0 &&
           guest.exit.u.cr.access == XVCPU_QUAL_CR_ACCESS_WRITE &&
           guest.exit.u.cr.gpr == XVCPU_RAX && (guest.exit.value & XVCPU_CR0_PG) == 0 &&
           guest.exit.rip == METAL_CODE + compatible_offsets[0],
       "T60 with all about the instruction");
    ok(mode() == XVCPU_MODE_COMPATIBILITY, "T60 and nothing done");
    xvcpu_answer_fault(&guest, 13, 0);
    value = metal_call(&guest);
    ok((value & XVCPU_CR0_PG) != 0 && guest_count() == 1 && guest_record(0)->vector == 13,
       "T60 answered with a fault: #GP(0) in the guest");
    guest_close();
}

static void test_protected(const xvcpu_desc *desc, const char *how)
{
    const u64 pe = XVCPU_CR0_PE | XVCPU_CR0_ET | XVCPU_CR0_NE;
    u64 rights;
    guest_open(desc);
    diag("%s", how);
    if (!metal_is_unrestricted(guest_cpu)) {
        skip("32-bit protected mode: no unrestricted guest here");
        guest_close();
        return;
    }
    // PAE paging, and entries with reserved bits.
    GUEST_START(METAL_PROTECTED, to_cr0_32);
    make_tables();
    metal_set(&guest, XVCPU_REG_CR3, PAE_ROOT);
    metal_set(&guest, XVCPU_REG_CR4, XVCPU_CR4_PAE);
    *guest_word(PAE_ROOT + 24) = PAE_PD | 3; // bit 1 is reserved
    ok(guest_faulted(WRITE(to_cr0_32, pe | XVCPU_CR0_PG), 13, 0),
       "T34 paging on with a bad PDPTE: #GP(0)");
    is_u64(metal_get(&guest, XVCPU_REG_CR0) & XVCPU_CR0_PG, 0, "T34 paging stays off");
    *guest_word(PAE_ROOT + 24) = 2; // not present: reserved bits do not count
    ok(WRITE(to_cr0_32, pe | XVCPU_CR0_PG) == KIT_NO_FAULT, "T34 not present, they are ignored");
    *guest_word(PAE_ROOT + 0x60 + 0) = PAE_PD | XVCPU_PTE_PWT | 1; // to tell it from the other
    *guest_word(PAE_ROOT + 0x60 + 8) = PAE_PD | 1ul << 52 | 1;
    ok(guest_faulted(WRITE(to_cr3_32, PAE_ROOT + 0x60), 13, 0),
       "T34 MOV CR3 to a bad PDPTE: #GP(0)");
    is_u64(READ(from_cr3_32), PAE_ROOT, "T34 CR3 is unchanged");
    *guest_word(PAE_ROOT + 0x60 + 8) = 0;
    ok(WRITE(to_cr3_32, PAE_ROOT + 0x60) == KIT_NO_FAULT && READ(from_cr3_32) == PAE_ROOT + 0x60,
       "T34 without it, CR3 takes a root in the middle of a page");
    is_u64(metal_field(&guest, XVCPU_VMCS_GUEST_PDPTE0), PAE_PD | XVCPU_PTE_PWT | 1,
           "T34 its PDPTE is loaded");
    metal_set(&guest, XVCPU_REG_CR3, PAE_ROOT);
    is_u64(metal_field(&guest, XVCPU_VMCS_GUEST_PDPTE0), PAE_PD | 1,
           "T34 xvcpu_set of CR3 loads them too");
    metal_set(&guest, XVCPU_REG_CR3, PAE_ROOT + 0x60);
    *guest_word(PAE_ROOT + 0x60 + 16) = PAE_PD | 5;
    ok(WRITE(to_cr4_32, XVCPU_CR4_PAE) == KIT_NO_FAULT,
       "T34 MOV CR4 that changes nothing reads no PDPTEs");
    ok(guest_faulted(WRITE(to_cr4_32, XVCPU_CR4_PAE | XVCPU_CR4_PGE), 13, 0),
       "T34 one that changes PGE does: #GP(0)");
    *guest_word(PAE_ROOT + 0x60 + 16) = 0;
    ok(guest_faulted(WRITE(to_cr4_32, XVCPU_CR4_PAE | XVCPU_CR4_PCIDE), 13, 0),
       "T61 PCIDE outside IA-32e mode: #GP(0)");
    ok(mode() == XVCPU_MODE_PROTECTED, "T31 protected mode");

    // Entering IA-32e mode.
    GUEST_START(METAL_PROTECTED, to_cr0_32);
    make_tables();
    metal_set(&guest, XVCPU_REG_EFER, XVCPU_EFER_LME);
    metal_set(&guest, XVCPU_REG_CR3, METAL_TABLES);
    ok(guest_faulted(WRITE(to_cr0_32, pe | XVCPU_CR0_PG), 13, 0),
       "T60 PG with LME and without PAE: #GP(0)");
    metal_set(&guest, XVCPU_REG_CR4, XVCPU_CR4_PAE);
    rights = metal_get(&guest, XVCPU_REG_CS_RIGHTS);
    metal_set(&guest, XVCPU_REG_CS_RIGHTS, rights | XVCPU_AR_L);
    ok(guest_faulted(WRITE(to_cr0_32, pe | XVCPU_CR0_PG), 13, 0),
       "T60 PG with LME and CS.L: #GP(0)");
    metal_set(&guest, XVCPU_REG_CS_RIGHTS, rights);
    rights = metal_get(&guest, XVCPU_REG_TR_RIGHTS);
    metal_set(&guest, XVCPU_REG_TR_RIGHTS,
              (rights & ~XVCPU_AR_TYPE_MASK) | XVCPU_SYSTEM_TSS16_BUSY);
    ok(guest_faulted(WRITE(to_cr0_32, pe | XVCPU_CR0_PG), 13, 0),
       "T60 PG with LME and a 16-bit TSS: #GP(0)");
    metal_set(&guest, XVCPU_REG_TR_RIGHTS, rights);
    is_u64(metal_get(&guest, XVCPU_REG_EFER), XVCPU_EFER_LME, "T31 LMA is clear all the while");
    ok(WRITE(to_cr0_32, pe | XVCPU_CR0_PG) == KIT_NO_FAULT, "T31 with all in order it works");
    is_u64(metal_get(&guest, XVCPU_REG_EFER), XVCPU_EFER_LME | XVCPU_EFER_LMA, "T31 LMA is set");
    ok(mode() == XVCPU_MODE_COMPATIBILITY, "T31 compatibility mode");
    guest_close();
}

int kernel_main(void)
{
    const u64 cr3_exits = XVCPU_PROC1_CR3_LOAD_EXITING | XVCPU_PROC1_CR3_STORE_EXITING;
    xvcpu_desc desc = {0};
    test_tour(0, "MOV to CR3 by the processor, where it can");
    test_cr0();
    test_cr4(0);
    test_cr8();
    test_status_word();
    test_compatibility();
    test_protected(0, "MOV to CR3 by the processor, where it can");
    desc.required_controls[XVCPU_WORD_PROC1] = cr3_exits;
    test_tour(&desc, "MOV to CR3 by the library");
    test_cr4(&desc);
    test_protected(&desc, "MOV to CR3 by the library");
    return tap_done();
}
