// The simulated processor itself: each of its rules is broken once and must be reported, and what
// a processor would do is done. The library's implementation is not in here: only instructions.

#include "../sim/sim.h"

#include "tap.h"

// -- A virtual machine made by hand, with nothing but instructions

static xvcpu raw;
static void *raw_vmxon, *raw_vmcs, *raw_msr_bitmap, *raw_io_a, *raw_io_b;
static xvcpu_u64 *raw_ept[4]; // PML4, PDPT, PD, PT
static xvcpu_u64 raw_eptp;
static unsigned char *raw_ram;

static void *page(xvcpu_u32 byte)
{
    void *p = sim_hook_alloc_page(NULL);
    sim_check(p != NULL);
    memset(p, (int)byte, 4096);
    return p;
}

static void revision(void *p)
{
    const xvcpu_u32 value = (xvcpu_u32)sim_msr_get(XVCPU_MSR_IA32_VMX_BASIC) & 0x7FFFFFFFU;
    memcpy(p, &value, 4);
}

static void put(xvcpu_u32 field, xvcpu_u64 value)
{
    sim_check_equal(xvcpu_vmwrite(field, value), XVCPU_VMX_SUCCEED);
}

static xvcpu_u64 get(xvcpu_u32 field)
{
    xvcpu_u64 value = 0;
    sim_check_equal(xvcpu_vmread(field, &value), XVCPU_VMX_SUCCEED);
    return value;
}

static void enter_vmx(void)
{
    raw_vmxon = page(0);
    revision(raw_vmxon);
    xvcpu_write_cr4(xvcpu_read_cr4() | XVCPU_CR4_VMXE);
    sim_check_equal(xvcpu_vmxon(sim_phys(raw_vmxon)), XVCPU_VMX_SUCCEED);
}

static void leave_vmx(void)
{
    sim_check_equal(xvcpu_vmxoff(), XVCPU_VMX_SUCCEED);
    xvcpu_write_cr4(xvcpu_read_cr4() & ~XVCPU_CR4_VMXE);
    sim_hook_free_page(NULL, raw_vmxon);
}

static xvcpu_u64 word(xvcpu_u32 msr, xvcpu_u64 wanted)
{
    return (sim_msr_get(msr) & 0xFFFFFFFFU) | wanted;
}

static void write_host(void)
{
    xvcpu_table_register table;
    const sim_processor *cpu = sim_this_cpu();
    put(XVCPU_VMCS_HOST_CR0, xvcpu_read_cr0());
    put(XVCPU_VMCS_HOST_CR3, xvcpu_read_cr3());
    put(XVCPU_VMCS_HOST_CR4, xvcpu_read_cr4());
    put(XVCPU_VMCS_HOST_CS_SELECTOR, xvcpu_read_selector(XVCPU_CS));
    put(XVCPU_VMCS_HOST_SS_SELECTOR, xvcpu_read_selector(XVCPU_SS));
    put(XVCPU_VMCS_HOST_DS_SELECTOR, 0);
    put(XVCPU_VMCS_HOST_ES_SELECTOR, 0);
    put(XVCPU_VMCS_HOST_FS_SELECTOR, 0);
    put(XVCPU_VMCS_HOST_GS_SELECTOR, 0);
    put(XVCPU_VMCS_HOST_TR_SELECTOR, xvcpu_str());
    put(XVCPU_VMCS_HOST_TR_BASE, cpu->segments[XVCPU_TR].base);
    xvcpu_sgdt(&table);
    put(XVCPU_VMCS_HOST_GDTR_BASE, table.base);
    xvcpu_sidt(&table);
    put(XVCPU_VMCS_HOST_IDTR_BASE, table.base);
    put(XVCPU_VMCS_HOST_FS_BASE, xvcpu_rdmsr(XVCPU_MSR_IA32_FS_BASE));
    put(XVCPU_VMCS_HOST_GS_BASE, xvcpu_rdmsr(XVCPU_MSR_IA32_GS_BASE));
    put(XVCPU_VMCS_HOST_SYSENTER_CS, xvcpu_rdmsr(XVCPU_MSR_IA32_SYSENTER_CS));
    put(XVCPU_VMCS_HOST_SYSENTER_ESP, xvcpu_rdmsr(XVCPU_MSR_IA32_SYSENTER_ESP));
    put(XVCPU_VMCS_HOST_SYSENTER_EIP, xvcpu_rdmsr(XVCPU_MSR_IA32_SYSENTER_EIP));
    put(XVCPU_VMCS_HOST_EFER, xvcpu_rdmsr(XVCPU_MSR_IA32_EFER));
    put(XVCPU_VMCS_HOST_PAT, xvcpu_rdmsr(XVCPU_MSR_IA32_PAT));
}

// A guest in 64-bit mode.
static void write_guest(void)
{
    xvcpu_u32 i;
    for (i = XVCPU_ES; i <= XVCPU_GS; i++) {
        put(XVCPU_VMCS_GUEST_ES_SELECTOR + 2 * i, i == XVCPU_CS ? 8 : 16);
        put(XVCPU_VMCS_GUEST_ES_LIMIT + 2 * i, 0xFFFFFFFFU);
        put(XVCPU_VMCS_GUEST_ES_AR + 2 * i, i == XVCPU_CS ? 0xA09B : 0xC093);
    }
    put(XVCPU_VMCS_GUEST_TR_SELECTOR, 24);
    put(XVCPU_VMCS_GUEST_TR_AR, 0x8B);
    put(XVCPU_VMCS_GUEST_TR_LIMIT, 0x67);
    put(XVCPU_VMCS_GUEST_LDTR_AR, XVCPU_AR_UNUSABLE);
    put(XVCPU_VMCS_GUEST_CR0, 0x80000031U);
    put(XVCPU_VMCS_GUEST_CR3, 0x2000);
    put(XVCPU_VMCS_GUEST_CR4, XVCPU_CR4_PAE | XVCPU_CR4_VMXE);
    put(XVCPU_VMCS_CTRL_CR4_MASK, XVCPU_CR4_VMXE);
    put(XVCPU_VMCS_GUEST_EFER, XVCPU_EFER_LME | XVCPU_EFER_LMA);
    put(XVCPU_VMCS_GUEST_PAT, XVCPU_PAT_RESET);
    put(XVCPU_VMCS_GUEST_DR7, 0x400);
    put(XVCPU_VMCS_GUEST_RFLAGS, 2);
    put(XVCPU_VMCS_GUEST_RIP, 0x1000);
    put(XVCPU_VMCS_GUEST_RSP, 0x8000);
    put(XVCPU_VMCS_GUEST_VMCS_LINK_PTR, ~(xvcpu_u64)0);
}

static void write_ept(void)
{
    xvcpu_u32 i;
    for (i = 0; i < 4; i++)
        raw_ept[i] = (xvcpu_u64 *)page(0);
    for (i = 0; i < 3; i++)
        raw_ept[i][0] = sim_phys(raw_ept[i + 1]) | XVCPU_EPT_RWX;
    raw_ram = (unsigned char *)sim_ram(0x10000, 4096);
    for (i = 0; i < 16; i++)
        raw_ept[3][i] = (sim_phys(raw_ram) + i * 4096U) | XVCPU_EPT_RWX | (6U << 3);
    raw_eptp = sim_phys(raw_ept[0]) | 6U | (3U << 3);
    put(XVCPU_VMCS_CTRL_EPTP, raw_eptp);
}

static void make_vmcs(void)
{
    const struct {
        xvcpu_u32 encoding;
    } fields[] = {
#define ROW(encoding, name, text, since) {encoding},
        XVCPU_VMCS_FIELDS(ROW)
#undef ROW
    };
    xvcpu_u32 i;
    memset(&raw, 0, sizeof raw);
    raw_vmcs = page(0);
    revision(raw_vmcs);
    raw.vmcs_pa = sim_phys(raw_vmcs);
    sim_check_equal(xvcpu_vmclear(raw.vmcs_pa), XVCPU_VMX_SUCCEED);
    sim_check_equal(xvcpu_vmptrld(raw.vmcs_pa), XVCPU_VMX_SUCCEED);
    for (i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (sim_field_exists(fields[i].encoding) &&
            XVCPU_VMCS_TYPE(fields[i].encoding) != XVCPU_VMCS_TYPE_READ_ONLY)
            put(fields[i].encoding, 0);
    raw_msr_bitmap = page(0xFF);
    raw_io_a = page(0xFF);
    raw_io_b = page(0xFF);
    put(XVCPU_VMCS_CTRL_PIN, word(XVCPU_MSR_IA32_VMX_TRUE_PINBASED_CTLS,
                                  XVCPU_PIN_EXT_INTR_EXITING | XVCPU_PIN_NMI_EXITING |
                                      XVCPU_PIN_VIRTUAL_NMIS));
    put(XVCPU_VMCS_CTRL_PROC1,
        word(XVCPU_MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
             XVCPU_PROC1_ACTIVATE_SECONDARY | XVCPU_PROC1_MSR_BITMAPS | XVCPU_PROC1_IO_BITMAPS |
                 XVCPU_PROC1_HLT_EXITING));
    put(XVCPU_VMCS_CTRL_PROC2,
        XVCPU_PROC2_EPT | XVCPU_PROC2_UNRESTRICTED_GUEST | XVCPU_PROC2_VPID);
    put(XVCPU_VMCS_CTRL_EXIT,
        word(XVCPU_MSR_IA32_VMX_TRUE_EXIT_CTLS,
             XVCPU_EXIT_HOST_64BIT | XVCPU_EXIT_SAVE_DEBUG | XVCPU_EXIT_LOAD_EFER |
                 XVCPU_EXIT_SAVE_EFER | XVCPU_EXIT_LOAD_PAT | XVCPU_EXIT_SAVE_PAT));
    put(XVCPU_VMCS_CTRL_ENTRY,
        word(XVCPU_MSR_IA32_VMX_TRUE_ENTRY_CTLS,
             XVCPU_ENTRY_IA32E_GUEST | XVCPU_ENTRY_LOAD_DEBUG | XVCPU_ENTRY_LOAD_EFER |
                 XVCPU_ENTRY_LOAD_PAT));
    put(XVCPU_VMCS_CTRL_MSR_BITMAP, sim_phys(raw_msr_bitmap));
    put(XVCPU_VMCS_CTRL_IO_BITMAP_A, sim_phys(raw_io_a));
    put(XVCPU_VMCS_CTRL_IO_BITMAP_B, sim_phys(raw_io_b));
    put(XVCPU_VMCS_CTRL_VPID, 7);
    write_host();
    write_guest();
    write_ept();
}

static void guest_cpuid(sim_guest *g)
{
    sim_exit_cpuid(g, 1, 0);
}

static void start(void)
{
    enter_vmx();
    make_vmcs();
    sim_set_guest(guest_cpuid, NULL);
}

// What a host does after an exit.
static void restore_host(void)
{
    xvcpu_table_register table;
    table.base = sim_this_cpu()->gdtr_base;
    table.limit = SIM_GDT_ENTRIES * 8 - 1;
    xvcpu_lgdt(&table);
    table.base = sim_this_cpu()->idtr_base;
    table.limit = 0x2FF;
    xvcpu_lidt(&table);
    xvcpu_lldt(0x50);
    sim_this_cpu()->gdt[8] &= ~XVCPU_BIT64(41);
    xvcpu_ltr(0x40);
    xvcpu_load_selector(XVCPU_DS, 0x2B);
    xvcpu_load_selector(XVCPU_ES, 0x2B);
    xvcpu_load_selector(XVCPU_FS, 0x33);
    xvcpu_wrmsr(XVCPU_MSR_IA32_FS_BASE, get(XVCPU_VMCS_HOST_FS_BASE));
    xvcpu_write_dr(7, XVCPU_DR7_FIXED_1 | XVCPU_BIT64(1));
}

static xvcpu_u32 enter(void)
{
    const xvcpu_u32 outcome = xvcpui_enter(&raw);
    if (outcome == 0 && (get(XVCPU_VMCS_EXIT_REASON) >> 31) == 0)
        raw.launched = 1;
    return outcome;
}

static void stop(void)
{
    xvcpu_u32 i;
    sim_check_equal(xvcpu_vmclear(raw.vmcs_pa), XVCPU_VMX_SUCCEED);
    for (i = 0; i < 4; i++)
        sim_hook_free_page(NULL, raw_ept[i]);
    sim_hook_free_page(NULL, raw_msr_bitmap);
    sim_hook_free_page(NULL, raw_io_a);
    sim_hook_free_page(NULL, raw_io_b);
    sim_hook_free_page(NULL, raw_vmcs);
    leave_vmx();
}

// -- A whole round is accepted

static void round_trip(void *argument)
{
    const sim_processor *cpu = sim_this_cpu();
    (void)argument;
    start();
    sim_check_equal(enter(), 0);
    sim_check_equal(get(XVCPU_VMCS_EXIT_REASON), XVCPU_EXIT_REASON_CPUID);
    sim_check_equal(get(XVCPU_VMCS_EXIT_INSTR_LEN), 2);
    sim_check_equal(raw.gpr[XVCPU_RAX] & 0xFFFFFFFFU, 1);
    sim_check(sim_vmcs_launched(raw.vmcs_pa));
    sim_check_equal(raw.host_rsp, get(XVCPU_VMCS_HOST_RSP));
    sim_check(raw.host_rsp != 0 && raw.host_rip != 0);
    // As silicon leaves the host.
    sim_check_equal(cpu->gdtr_limit, 0xFFFF);
    sim_check_equal(cpu->idtr_limit, 0xFFFF);
    sim_check_equal(cpu->segments[XVCPU_LDTR].selector, 0);
    sim_check_equal(cpu->segments[XVCPU_TR].limit, 0x67);
    sim_check_equal(cpu->segments[XVCPU_DS].selector, 0);
    sim_check_equal(cpu->dr7, 0x400);
    sim_check_equal(cpu->rflags, 2);
    sim_check_equal(sim_msr_get(XVCPU_MSR_IA32_PAT), get(XVCPU_VMCS_HOST_PAT));
    restore_host();
    sim_check_equal(enter(), 0);
    sim_check_equal(sim_counts.entries, 2);
    restore_host();
    stop();
}

// -- Each of these ends in a failure of the simulator

static void vmread_outside(void)
{
    xvcpu_u64 value;
    (void)xvcpu_vmread(XVCPU_VMCS_GUEST_RIP, &value);
}
static void vmxon_no_vmxe(void)
{
    (void)xvcpu_vmxon(sim_phys(page(0)));
}
static void vmxon_ne_clear(void)
{
    xvcpu_write_cr0(xvcpu_read_cr0() & ~XVCPU_CR0_NE);
    enter_vmx();
}
static void vmxon_unlocked(void)
{
    sim_msr_set_all(XVCPU_MSR_IA32_FEATURE_CONTROL, 0);
    enter_vmx();
}
static void vmxon_outside_off(void)
{
    sim_msr_set_all(XVCPU_MSR_IA32_FEATURE_CONTROL, 1);
    enter_vmx();
}
static void vmxon_shared_region(void)
{
    enter_vmx();
    (void)sim_cpu(1);
    xvcpu_write_cr4(xvcpu_read_cr4() | XVCPU_CR4_VMXE);
    (void)xvcpu_vmxon(sim_phys(raw_vmxon));
}
static void feature_control_locked(void)
{
    xvcpu_wrmsr(XVCPU_MSR_IA32_FEATURE_CONTROL, 5);
}
static void vmxe_cleared(void)
{
    enter_vmx();
    xvcpu_write_cr4(xvcpu_read_cr4() & ~XVCPU_CR4_VMXE);
}
static void ne_cleared(void)
{
    enter_vmx();
    xvcpu_write_cr0(xvcpu_read_cr0() & ~XVCPU_CR0_NE);
}
static void vmxon_region_freed(void)
{
    enter_vmx();
    sim_hook_free_page(NULL, raw_vmxon);
}
static void vmxoff_active(void)
{
    start();
    (void)xvcpu_vmxoff();
}
static void vmptrld_uncleared(void)
{
    enter_vmx();
    raw_vmcs = page(0);
    revision(raw_vmcs);
    (void)xvcpu_vmptrld(sim_phys(raw_vmcs));
}
static void vmptrld_written(void)
{
    enter_vmx();
    raw_vmcs = page(0);
    revision(raw_vmcs);
    (void)xvcpu_vmclear(sim_phys(raw_vmcs));
    ((unsigned char *)raw_vmcs)[100] ^= 1U;
    (void)xvcpu_vmptrld(sim_phys(raw_vmcs));
}
static void second_cpu(void)
{
    void *first = raw_vmxon;
    (void)sim_cpu(1);
    enter_vmx();
    raw_vmxon = first;
}
static void vmptrld_elsewhere(void)
{
    start();
    second_cpu();
    (void)xvcpu_vmptrld(raw.vmcs_pa);
}
static void vmclear_elsewhere(void)
{
    start();
    second_cpu();
    (void)xvcpu_vmclear(raw.vmcs_pa);
}
static void region_written(void)
{
    start();
    ((unsigned char *)raw_vmcs)[200] ^= 1U;
    (void)enter();
}
static void region_written_clear(void)
{
    start();
    ((unsigned char *)raw_vmcs)[9] ^= 1U;
    (void)xvcpu_vmclear(raw.vmcs_pa);
}
static void region_freed(void)
{
    start();
    sim_hook_free_page(NULL, raw_vmcs);
}
static void bitmap_freed(void)
{
    start();
    sim_hook_free_page(NULL, raw_msr_bitmap);
}
static void vmwrite_wide_16(void)
{
    start();
    (void)xvcpu_vmwrite(XVCPU_VMCS_GUEST_CS_SELECTOR, 0x12345);
}
static void vmwrite_wide_32(void)
{
    start();
    (void)xvcpu_vmwrite(XVCPU_VMCS_CTRL_PIN, (xvcpu_u64)1 << 32);
}
static void vmwrite_wide_high(void)
{
    start();
    (void)xvcpu_vmwrite(XVCPU_VMCS_GUEST_PAT_HIGH, (xvcpu_u64)1 << 32);
}
static void unwritten_control(void)
{
    start();
    sim_vmcs_poison(raw.vmcs_pa, XVCPU_VMCS_CTRL_VPID);
    (void)enter();
}
static void unwritten_guest(void)
{
    start();
    sim_strict(true, false);
    sim_vmcs_poison(raw.vmcs_pa, XVCPU_VMCS_GUEST_ES_BASE);
    (void)enter();
}
static void unwritten_unused(void)
{
    start();
    sim_vmcs_poison(raw.vmcs_pa, XVCPU_VMCS_GUEST_SMBASE);
    (void)enter();
}
static void stale_cr3(void)
{
    start();
    sim_this_cpu()->cr3 ^= 0x1000;
    (void)enter();
}
static void stale_gs_base(void)
{
    start();
    xvcpu_wrmsr(XVCPU_MSR_IA32_GS_BASE, 0x1000);
    (void)enter();
}
static void stale_selector(void)
{
    start();
    put(XVCPU_VMCS_HOST_CS_SELECTOR, 0x10);
    (void)enter();
}
static void stale_other_cpu(void)
{
    start();
    sim_check_equal(xvcpu_vmclear(raw.vmcs_pa), 0);
    second_cpu();
    sim_check_equal(xvcpu_vmptrld(raw.vmcs_pa), 0);
    (void)enter();
}
static void host_rsp_lie(void)
{
    start();
    sim_check_equal(enter(), 0);
    put(XVCPU_VMCS_HOST_RSP, 0x1000);
    (void)enter();
}
static void entry_other_vmcs(void)
{
    start();
    raw.vmcs_pa += 4096;
    (void)enter();
}
static void entry_interrupts_on(void)
{
    start();
    sim_this_cpu()->rflags |= XVCPU_RFLAGS_IF;
    (void)enter();
}
static void rdmsr_missing(void)
{
    (void)xvcpu_rdmsr(0x12345);
}
static void wrmsr_missing(void)
{
    xvcpu_wrmsr(0x12345, 0);
}
static void wrmsr_read_only(void)
{
    xvcpu_wrmsr(XVCPU_MSR_IA32_VMX_BASIC, 0);
}
static void wrmsr_canonical(void)
{
    xvcpu_wrmsr(XVCPU_MSR_IA32_LSTAR, (xvcpu_u64)1 << 62);
}
static void wrmsr_pat(void)
{
    xvcpu_wrmsr(XVCPU_MSR_IA32_PAT, 2);
}
static void wrmsr_efer(void)
{
    xvcpu_wrmsr(XVCPU_MSR_IA32_EFER, XVCPU_EFER_LME | XVCPU_BIT64(1));
}
static void wrmsr_xss(void)
{
    xvcpu_wrmsr(XVCPU_MSR_IA32_XSS, XVCPU_BIT64(60));
}
static void cr4_unsupported(void)
{
    xvcpu_write_cr4(xvcpu_read_cr4() | XVCPU_CR4_FRED);
}
static void cr0_nw(void)
{
    xvcpu_write_cr0(xvcpu_read_cr0() | XVCPU_CR0_NW);
}
static void dr7_high(void)
{
    xvcpu_write_dr(7, XVCPU_BIT64(32));
}
static void dr0_enabled(void)
{
    xvcpu_write_dr(0, 0x1234);
}
static void xsetbv_no_x87(void)
{
    xvcpu_xsetbv(XVCPU_XCR0_SSE);
}
static void xsetbv_avx_alone(void)
{
    xvcpu_xsetbv(XVCPU_XCR0_X87 | XVCPU_XCR0_AVX);
}
static void xsetbv_avx512_part(void)
{
    xvcpu_xsetbv(XVCPU_XCR0_X87 | XVCPU_XCR0_SSE | XVCPU_XCR0_AVX | XVCPU_XCR0_OPMASK);
}
static void xsave_unaligned(void)
{
    unsigned char *area = (unsigned char *)page(0);
    xvcpu_xsave(area + 8, XVCPU_XCR0_X87);
}
static void xsave_ts(void)
{
    xvcpu_write_cr0(xvcpu_read_cr0() | XVCPU_CR0_TS);
    xvcpu_xsave(page(0), XVCPU_XCR0_X87);
}
static void xrstor_header(void)
{
    unsigned char *area = (unsigned char *)page(0);
    area[520] = 1;
    xvcpu_xrstor(area, XVCPU_XCR0_X87);
}
static void xrstor_bits(void)
{
    unsigned char *area = (unsigned char *)page(0);
    area[512] = 0x20; // an AVX-512 component that XCR0 has off
    xvcpu_xrstor(area, XVCPU_XCR0_X87);
}
static void xrstor_mxcsr(void)
{
    unsigned char *area = (unsigned char *)page(0);
    area[26] = 1;
    xvcpu_xrstor(area, XVCPU_XCR0_SSE);
}
static void ltr_busy(void)
{
    xvcpu_ltr(0x40);
}
static void ltr_null(void)
{
    xvcpu_ltr(0);
}
static void selector_beyond(void)
{
    xvcpu_load_selector(XVCPU_DS, 0x100);
}
static void free_twice(void)
{
    void *p = page(0);
    sim_hook_free_page(NULL, p);
    sim_hook_free_page(NULL, p);
}
static void free_middle(void)
{
    sim_hook_free_page(NULL, (unsigned char *)page(0) + 16);
}
static void phys_unknown(void)
{
    int local = 0;
    (void)sim_phys(&local);
}
static void virt_unknown(void)
{
    (void)sim_virt(0x1000);
}
static void phys_freed(void)
{
    void *p = page(0);
    sim_hook_free_page(NULL, p);
    (void)sim_phys(p);
}
static void invept_missing(void)
{
    enter_vmx();
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_EPT_VPID_CAP, 0);
    (void)xvcpu_invept(2, 0);
}
static void invvpid_missing(void)
{
    enter_vmx();
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_EPT_VPID_CAP, 0);
    (void)xvcpu_invvpid(2, 0, 0);
}
static void asserts(void)
{
    XVCPU_ASSERT(1 == 2);
}
static void guest_no_exit(sim_guest *g)
{
    (void)g;
}
static void no_exit(void)
{
    start();
    sim_set_guest(guest_no_exit, NULL);
    (void)enter();
}
static void guest_two_exits(sim_guest *g)
{
    sim_exit_cpuid(g, 0, 0);
    sim_exit_cpuid(g, 0, 0);
}
static void two_exits(void)
{
    start();
    sim_set_guest(guest_two_exits, NULL);
    (void)enter();
}
static void guest_pause(sim_guest *g)
{
    sim_exit_instruction(g, XVCPU_EXIT_REASON_PAUSE, 0, 2);
}
static void impossible_exit(void)
{
    start();
    sim_set_guest(guest_pause, NULL);
    (void)enter();
}
static void guest_host_code(sim_guest *g)
{
    (void)xvcpu_rdtsc();
    sim_exit_cpuid(g, 0, 0);
}
static void host_code_in_guest(void)
{
    start();
    sim_set_guest(guest_host_code, NULL);
    (void)enter();
}

// TLB: touch a page, change the tables without telling the processor, touch it again.
static xvcpu_u32 tlb_step, tlb_access;
static xvcpu_u64 tlb_gpa;
static void *tlb_got;
static void guest_touch(sim_guest *g)
{
    tlb_got = sim_guest_access(g, tlb_gpa, tlb_access);
    tlb_step++;
    if (tlb_got)
        sim_exit_cpuid(g, 0, 0);
    else
        sim_exit_ept(g, tlb_gpa, tlb_access, 0, false);
}
static void guest_touch_linear(sim_guest *g)
{
    tlb_got = sim_guest_linear(g, 0x7000, tlb_gpa, XVCPU_EPT_READ);
    sim_exit_cpuid(g, 0, 0);
}
static void touch(xvcpu_u64 gpa, xvcpu_u32 access)
{
    tlb_gpa = gpa;
    tlb_access = access;
    sim_set_guest(guest_touch, NULL);
    sim_check_equal(enter(), 0);
    restore_host();
}
static void touch_linear(xvcpu_u64 gpa)
{
    tlb_gpa = gpa;
    sim_set_guest(guest_touch_linear, NULL);
    sim_check_equal(enter(), 0);
    restore_host();
}
static void tlb_unmap(void)
{
    start();
    touch(0x3000, XVCPU_EPT_READ);
    raw_ept[3][3] = 0;
    touch(0x3000, XVCPU_EPT_READ);
}
static void tlb_protect(void)
{
    start();
    touch(0x3000, XVCPU_EPT_WRITE);
    raw_ept[3][3] &= ~(xvcpu_u64)XVCPU_EPT_WRITE;
    touch(0x3000, XVCPU_EPT_WRITE);
}
static void tlb_remap(void)
{
    start();
    touch(0x3000, XVCPU_EPT_READ);
    raw_ept[3][3] = raw_ept[3][4];
    touch(0x3000, XVCPU_EPT_READ);
}
static void tlb_invvpid_only(void)
{
    start();
    touch(0x3000, XVCPU_EPT_READ);
    raw_ept[3][3] = 0;
    sim_check_equal(xvcpu_invvpid(XVCPU_INVVPID_ALL, 0, 0), 0);
    touch(0x3000, XVCPU_EPT_READ);
}
static void tlb_vpid_reuse(void)
{
    start();
    touch_linear(0x3000);
    touch_linear(0x4000); // as another guest would under the same VPID
}
static void tlb_other_cpu(void)
{
    // INVEPT on one processor does nothing for another.
    start();
    touch(0x3000, XVCPU_EPT_READ);
    sim_check_equal(xvcpu_vmclear(raw.vmcs_pa), 0);
    second_cpu();
    raw_ept[3][3] = 0;
    sim_check_equal(xvcpu_invept(XVCPU_INVEPT_ALL, 0), 0);
    (void)sim_cpu(0);
    raw.launched = 0;
    sim_check_equal(xvcpu_vmptrld(raw.vmcs_pa), 0);
    touch(0x3000, XVCPU_EPT_READ);
}
static void ept_to_nowhere(void)
{
    start();
    raw_ept[3][3] = 0x9000000000U | XVCPU_EPT_RWX | (6U << 3);
    touch(0x3000, XVCPU_EPT_READ);
}
static void leak(void)
{
    (void)page(0);
    sim_expect_clean();
}
static void vmx_left_on(void)
{
    enter_vmx();
    sim_expect_clean();
}
static void msr_left(void)
{
    xvcpu_wrmsr(XVCPU_MSR_IA32_STAR, 1);
    sim_expect_clean();
}
static void dr_left(void)
{
    xvcpu_write_dr(3, 1);
    sim_expect_clean();
}
static void xcr0_left(void)
{
    xvcpu_xsetbv(XVCPU_XCR0_X87);
    sim_expect_clean();
}
static void fpu_left(void)
{
    sim_this_cpu()->fpu[2]++;
    sim_expect_clean();
}
static void tables_left(void)
{
    start();
    (void)enter();
    stop();
    sim_expect_clean();
}
static void gdt_left(void)
{
    sim_this_cpu()->gdt[8] &= ~XVCPU_BIT64(41);
    sim_expect_clean();
}
static void other_cpu_left(void)
{
    (void)sim_cpu(3);
    xvcpu_wrmsr(XVCPU_MSR_IA32_LSTAR, 0);
    (void)sim_cpu(0);
    sim_expect_clean();
}

typedef struct misuse {
    const char *what;
    void (*body)(void);
    const char *report; // must be in the failure's text
} misuse;

static const misuse misuses[] = {
    {"VMREAD outside VMX operation", vmread_outside, "#UD in the host: VMREAD"},
    {"VMXON with CR4.VMXE clear", vmxon_no_vmxe, "VMXE clear"},
    {"VMXON with CR0.NE clear", vmxon_ne_clear, "VMXON: CR0"},
    {"VMXON with IA32_FEATURE_CONTROL unlocked", vmxon_unlocked, "IA32_FEATURE_CONTROL"},
    {"VMXON with VMX outside SMX off", vmxon_outside_off, "IA32_FEATURE_CONTROL"},
    {"one VMXON region for two processors", vmxon_shared_region, "in use by processor 0"},
    {"WRMSR of a locked IA32_FEATURE_CONTROL", feature_control_locked, "locked"},
    {"CR4.VMXE cleared in VMX operation", vmxe_cleared, "VMX operation fixes"},
    {"CR0.NE cleared in VMX operation", ne_cleared, "VMX operation fixes"},
    {"VMXON region freed in use", vmxon_region_freed, "VMXON region freed"},
    {"VMXOFF with an active VMCS", vmxoff_active, "VMXOFF with a VMCS active"},
    {"VMPTRLD before VMCLEAR", vmptrld_uncleared, "never VMCLEARed"},
    {"VMPTRLD of a region written since VMCLEAR", vmptrld_written, "written since its VMCLEAR"},
    {"VMPTRLD of what is active elsewhere", vmptrld_elsewhere, "active on processor 0"},
    {"VMCLEAR of what is active elsewhere", vmclear_elsewhere, "active on processor 0"},
    {"active region written, then entered", region_written, "active VMCS was written"},
    {"active region written, then cleared", region_written_clear, "active VMCS was written"},
    {"active region freed", region_freed, "VMCS region freed while active"},
    {"bitmap of an active VMCS freed", bitmap_freed, "bitmap freed"},
    {"17 bits into a 16-bit field", vmwrite_wide_16, "cut off"},
    {"33 bits into a 32-bit field", vmwrite_wide_32, "cut off"},
    {"33 bits into a high half", vmwrite_wide_high, "cut off"},
    {"a control field nobody wrote", unwritten_control, "CTRL_VPID, which nobody wrote"},
    {"a guest field nobody wrote", unwritten_guest, "GUEST_ES_BASE, which nobody wrote"},
    {"a field nobody needs nor wrote", unwritten_unused, "GUEST_SMBASE exists"},
    {"HOST_CR3 is stale", stale_cr3, "HOST_CR3"},
    {"HOST_GS_BASE is stale", stale_gs_base, "HOST_GS_BASE"},
    {"HOST_CS_SELECTOR is another", stale_selector, "HOST_CS_SELECTOR"},
    {"host state of another processor", stale_other_cpu, "stale host state"},
    {"host_rsp says what HOST_RSP is not", host_rsp_lie, "exit into nowhere"},
    {"entry with another VMCS current", entry_other_vmcs, "another virtual CPU's VMCS"},
    {"entry with interrupts on", entry_interrupts_on, "interrupts enabled"},
    {"RDMSR of no MSR", rdmsr_missing, "no such MSR"},
    {"WRMSR of no MSR", wrmsr_missing, "no such MSR"},
    {"WRMSR of a read-only MSR", wrmsr_read_only, "read-only"},
    {"WRMSR LSTAR not canonical", wrmsr_canonical, "not canonical"},
    {"WRMSR PAT type 2", wrmsr_pat, "memory type"},
    {"WRMSR EFER reserved bit", wrmsr_efer, "reserved bits"},
    {"WRMSR XSS unsupported", wrmsr_xss, "unsupported component"},
    {"MOV CR4 with a bit the model lacks", cr4_unsupported, "bits the model lacks"},
    {"MOV CR0 NW without CD", cr0_nw, "NW without CD"},
    {"MOV DR7 bit 32", dr7_high, "bits 63:32"},
    {"MOV DR0 while DR7 enables it", dr0_enabled, "DR7 enables it"},
    {"XSETBV without x87", xsetbv_no_x87, "value of XCR0"},
    {"XSETBV AVX without SSE", xsetbv_avx_alone, "value of XCR0"},
    {"XSETBV a part of AVX-512", xsetbv_avx512_part, "value of XCR0"},
    {"XSAVE area off by 8", xsave_unaligned, "not aligned"},
    {"XSAVE with CR0.TS", xsave_ts, "#NM"},
    {"XRSTOR header not zero", xrstor_header, "header"},
    {"XRSTOR component off in XCR0", xrstor_bits, "XSTATE_BV"},
    {"XRSTOR MXCSR reserved bit", xrstor_mxcsr, "MXCSR"},
    {"LTR of a busy TSS", ltr_busy, "busy"},
    {"LTR of null", ltr_null, "null selector"},
    {"selector beyond the GDT", selector_beyond, "beyond the GDT"},
    {"page freed twice", free_twice, "freed twice"},
    {"free in the middle of a page", free_middle, "no page"},
    {"physical address of a stack variable", phys_unknown, "no memory of the machine"},
    {"pointer to no memory", virt_unknown, "is no memory"},
    {"physical address of a freed page", phys_freed, "not allocated"},
    {"INVEPT on a processor without it", invept_missing, "#UD in the host: INVEPT"},
    {"INVVPID on a processor without it", invvpid_missing, "#UD in the host: INVVPID"},
    {"XVCPU_ASSERT", asserts, "XVCPU_ASSERT"},
    {"guest that chooses no exit", no_exit, "chose no exit"},
    {"guest that chooses two", two_exits, "chose two exits"},
    {"exit that the controls exclude", impossible_exit, "cannot happen"},
    {"host code inside a guest", host_code_in_guest, "while a guest runs"},
    {"EPT unmap without INVEPT", tlb_unmap, "INVEPT is missing"},
    {"EPT write-protect without INVEPT", tlb_protect, "INVEPT is missing"},
    {"EPT remap without INVEPT", tlb_remap, "INVEPT is missing"},
    {"EPT unmap with INVVPID only", tlb_invvpid_only, "INVEPT is missing"},
    {"VPID used again without INVVPID", tlb_vpid_reuse, "INVVPID is missing"},
    {"INVEPT on the wrong processor", tlb_other_cpu, "INVEPT is missing"},
    {"EPT maps to no memory", ept_to_nowhere, "is no memory"},
    {"a page leaked", leak, "1 pages leaked"},
    {"VMX left on", vmx_left_on, "still in VMX operation"},
    {"an MSR left changed", msr_left, "MSR 0xc0000081"},
    {"a DR left changed", dr_left, "DR3"},
    {"XCR0 left changed", xcr0_left, "XCR0"},
    {"AVX state left changed", fpu_left, "component 2"},
    {"descriptor tables as the exit left them", tables_left, "host "},
    {"TSS descriptor left changed", gdt_left, "GDT entry 8"},
    {"an MSR of another processor left changed", other_cpu_left, "MSR 0xc0000082"},
};

static void run_misuse(void *argument)
{
    ((const misuse *)argument)->body();
}

// The end of sim_run must not be what fails: it is reached only if nothing tripped.
static void test_misuses(void)
{
    xvcpu_u32 i;
    for (i = 0; i < sizeof misuses / sizeof misuses[0]; i++) {
        misuse copy = misuses[i];
        bool passed;
        sim_quiet(true);
        passed = sim_run(NULL, run_misuse, &copy);
        sim_quiet(false);
        if (!ok(!passed && strstr(sim_failure(), copy.report) != NULL, "reported: %s", copy.what))
            diag("said: %s", sim_failure());
    }
}

// -- What a processor reports, the simulator reports and goes on

typedef struct rule {
    xvcpu_u32 field;
    xvcpu_u64 clear, set;
    const char *verdict;
    xvcpu_u32 outcome; // 7 or 8: VM-instruction error; 33: exit reason
} rule;

static const rule rules[] = {
    {XVCPU_VMCS_CTRL_PIN, 2, 0, "CTL-001", 7},
    {XVCPU_VMCS_CTRL_PIN, 0, XVCPU_BIT64(20), "CTL-002", 7},
    {XVCPU_VMCS_CTRL_PROC1, 2, 0, "CTL-003", 7},
    {XVCPU_VMCS_CTRL_PROC1, 0, XVCPU_BIT64(0), "CTL-004", 7},
    {XVCPU_VMCS_CTRL_PROC2, 0, XVCPU_BIT64(29), "CTL-006", 7},
    {XVCPU_VMCS_CTRL_CR3_TARGET_COUNT, 0, 5, "CTL-008", 7},
    {XVCPU_VMCS_CTRL_IO_BITMAP_A, 0, 8, "CTL-009", 7},
    {XVCPU_VMCS_CTRL_IO_BITMAP_A, 0, XVCPU_BIT64(50), "CTL-010", 7},
    {XVCPU_VMCS_CTRL_IO_BITMAP_B, 0, 8, "CTL-011", 7},
    {XVCPU_VMCS_CTRL_MSR_BITMAP, 0, 8, "CTL-013", 7},
    {XVCPU_VMCS_CTRL_PIN, XVCPU_PIN_NMI_EXITING, 0, "CTL-019", 7},
    {XVCPU_VMCS_CTRL_PROC2, 0, XVCPU_PROC2_VIRT_X2APIC, "CTL-023", 7},
    {XVCPU_VMCS_CTRL_PROC2, 0, XVCPU_PROC2_VIRT_INTR_DELIVERY, "CTL-025", 7},
    {XVCPU_VMCS_CTRL_PIN, 0, XVCPU_PIN_POSTED_INTR, "CTL-029", 7},
    {XVCPU_VMCS_CTRL_VPID, 0xFFFF, 0, "CTL-037", 7},
    {XVCPU_VMCS_CTRL_EPTP, 7, 1, "CTL-038", 7},
    {XVCPU_VMCS_CTRL_EPTP, 0x38, 2U << 3, "CTL-039", 7},
    {XVCPU_VMCS_CTRL_EPTP, 0, 0x800, "CTL-042", 7},
    {XVCPU_VMCS_CTRL_EPTP, 0, XVCPU_BIT64(47), "CTL-043", 7},
    {XVCPU_VMCS_CTRL_PROC2, XVCPU_PROC2_EPT, 0, "CTL-044", 7},
    {XVCPU_VMCS_CTRL_PROC2, 0, XVCPU_PROC2_TSC_SCALING, "CTL-074", 7},
    {XVCPU_VMCS_CTRL_EXIT, 2, 0, "CTL-084", 7},
    {XVCPU_VMCS_CTRL_EXIT, 0, XVCPU_EXIT_CLEAR_UINV, "CTL-085", 7},
    {XVCPU_VMCS_CTRL_EXIT, 0, XVCPU_EXIT_SAVE_PREEMPTION_TIMER, "CTL-087", 7},
    {XVCPU_VMCS_CTRL_ENTRY, 1, 0, "CTL-094", 7},
    {XVCPU_VMCS_CTRL_ENTRY, 0, XVCPU_ENTRY_TO_SMM, "CTL-095", 7},
    {XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0, 0x80000103U, "CTL-096", 7},
    {XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0, 0x80000203U, "CTL-098", 7},
    {XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0, 0x80000320U, "CTL-099", 7},
    {XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0, 0x80000C03U, "CTL-103", 7},
    {XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0, 0x8000030DU, "CTL-105", 7},
    {XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0, 0x80000B06U, "CTL-106", 7},
    {XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0, 0x80001306U, "CTL-109", 7},
    {XVCPU_VMCS_HOST_CR0, XVCPU_CR0_NE, 0, "HOST-001", 8},
    {XVCPU_VMCS_HOST_CR4, XVCPU_CR4_VMXE, 0, "HOST-003", 8},
    {XVCPU_VMCS_HOST_CR4, 0, XVCPU_CR4_LA57, "HOST-004", 8},
    {XVCPU_VMCS_HOST_CR3, 0, XVCPU_BIT64(63), "HOST-006", 8},
    {XVCPU_VMCS_HOST_SYSENTER_EIP, XVCPU_BIT64(50), 0, "HOST-008", 8},
    {XVCPU_VMCS_HOST_PAT, 0xFF, 2, "HOST-010", 8},
    {XVCPU_VMCS_HOST_EFER, 0, 2, "HOST-011", 8},
    {XVCPU_VMCS_HOST_EFER, XVCPU_EFER_LMA, 0, "HOST-012", 8},
    {XVCPU_VMCS_HOST_CS_SELECTOR, 0, 3, "HOST-029", 8},
    {XVCPU_VMCS_HOST_DS_SELECTOR, 0, 4, "HOST-031", 8},
    {XVCPU_VMCS_HOST_CS_SELECTOR, 0xFFFF, 0, "HOST-036", 8},
    {XVCPU_VMCS_HOST_TR_SELECTOR, 0xFFFF, 0, "HOST-037", 8},
    {XVCPU_VMCS_HOST_GS_BASE, XVCPU_BIT64(62), 0, "HOST-040", 8},
    {XVCPU_VMCS_GUEST_CR0, XVCPU_CR0_NE, 0, "GUEST-001", 33},
    {XVCPU_VMCS_GUEST_CR0, XVCPU_CR0_PE, 0, "GUEST-003", 33},
    {XVCPU_VMCS_GUEST_CR4, XVCPU_CR4_VMXE, 0, "GUEST-004", 33},
    {XVCPU_VMCS_GUEST_CR4, XVCPU_CR4_PAE, 0, "GUEST-009", 33},
    {XVCPU_VMCS_GUEST_CR3, 0, XVCPU_BIT64(46), "GUEST-012", 33},
    {XVCPU_VMCS_GUEST_DR7, 0, XVCPU_BIT64(32), "GUEST-013", 33},
    {XVCPU_VMCS_GUEST_DEBUGCTL, 0, XVCPU_BIT64(3), "GUEST-007", 33},
    {XVCPU_VMCS_GUEST_PAT, 0xFF, 3, "GUEST-019", 33},
    {XVCPU_VMCS_GUEST_EFER, 0, XVCPU_BIT64(1), "GUEST-020", 33},
    {XVCPU_VMCS_GUEST_EFER, XVCPU_EFER_LMA, 0, "GUEST-021", 33},
    {XVCPU_VMCS_GUEST_EFER, XVCPU_EFER_LME, 0, "GUEST-022", 33},
    {XVCPU_VMCS_GUEST_TR_SELECTOR, 0, 4, "GUEST-042", 33},
    {XVCPU_VMCS_GUEST_FS_BASE, 0, XVCPU_BIT64(60), "GUEST-064", 33},
    {XVCPU_VMCS_GUEST_CS_BASE, 0, XVCPU_BIT64(32), "GUEST-067", 33},
    {XVCPU_VMCS_GUEST_CS_AR, 15, 2, "GUEST-072", 33},
    {XVCPU_VMCS_GUEST_SS_AR, 15, 1, "GUEST-073", 33},
    {XVCPU_VMCS_GUEST_DS_AR, 1, 0, "GUEST-074", 33},
    {XVCPU_VMCS_GUEST_GS_AR, 1, 0, "GUEST-077", 33},
    {XVCPU_VMCS_GUEST_CS_AR, XVCPU_AR_S, 0, "GUEST-082", 33},
    {XVCPU_VMCS_GUEST_CS_AR, 0, 0x60, "GUEST-089", 33},
    {XVCPU_VMCS_GUEST_SS_AR, XVCPU_AR_P, 0, "GUEST-102", 33},
    {XVCPU_VMCS_GUEST_CS_AR, 0, 0x100, "GUEST-107", 33},
    {XVCPU_VMCS_GUEST_CS_AR, 0, XVCPU_AR_DB, "GUEST-113", 33},
    {XVCPU_VMCS_GUEST_DS_LIMIT, 0xFFF, 0, "GUEST-116", 33},
    {XVCPU_VMCS_GUEST_FS_AR, XVCPU_AR_G, 0, "GUEST-124", 33},
    {XVCPU_VMCS_GUEST_ES_AR, 0, XVCPU_BIT64(20), "GUEST-129", 33},
    {XVCPU_VMCS_GUEST_TR_AR, 15, 3, "GUEST-133", 33},
    {XVCPU_VMCS_GUEST_TR_AR, 0, XVCPU_AR_UNUSABLE, "GUEST-139", 33},
    {XVCPU_VMCS_GUEST_LDTR_AR, XVCPU_AR_UNUSABLE, 0x83, "GUEST-141", 33},
    {XVCPU_VMCS_GUEST_GDTR_LIMIT, 0, 0x10000, "GUEST-150", 33},
    {XVCPU_VMCS_GUEST_RIP, 0, XVCPU_BIT64(60), "GUEST-153", 33},
    {XVCPU_VMCS_GUEST_RFLAGS, 2, 0, "GUEST-158", 33},
    {XVCPU_VMCS_GUEST_RFLAGS, 0, XVCPU_BIT64(15), "GUEST-155", 33},
    {XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0, 0x80000030U, "GUEST-161", 33},
    {XVCPU_VMCS_GUEST_ACTIVITY_STATE, 0, 4, "GUEST-165", 33},
    {XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 0, 32, "GUEST-173", 33},
    {XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 0, 3, "GUEST-174", 33},
    {XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 0, 1, "GUEST-175", 33},
    {XVCPU_VMCS_GUEST_PENDING_DBG, 0, 16, "GUEST-185", 33},
    {XVCPU_VMCS_GUEST_VMCS_LINK_PTR, 0xFFF, 0, "GUEST-196", 33},
};

static void run_rule(void *argument)
{
    const rule *r = (const rule *)argument;
    xvcpu_u32 outcome;
    start();
    sim_strict(false, true);
    put(r->field, (get(r->field) & ~r->clear) | r->set);
    outcome = enter();
    if (strcmp(sim_verdict(), r->verdict) != 0)
        sim_fail("verdict %s, not %s", sim_verdict(), r->verdict);
    if (r->outcome == 33) {
        sim_check_equal(outcome, 0);
        sim_check_equal(get(XVCPU_VMCS_EXIT_REASON), 0x80000021U);
        sim_check(!sim_vmcs_launched(raw.vmcs_pa));
        sim_check_equal(raw.launched, 0);
    } else {
        sim_check_equal(outcome, XVCPU_VMX_FAIL_VALID);
        sim_check_equal(get(XVCPU_VMCS_EXIT_INSTRUCTION_ERROR), r->outcome);
        sim_check(!sim_vmcs_launched(raw.vmcs_pa));
    }
    // A failed entry leaves the event where it was.
    if (r->field == XVCPU_VMCS_CTRL_ENTRY_INTR_INFO)
        sim_check((get(XVCPU_VMCS_CTRL_ENTRY_INTR_INFO) >> 31) == 1);
}

static void test_rules(void)
{
    xvcpu_u32 i;
    for (i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        rule copy = rules[i];
        bool passed;
        sim_quiet(true);
        passed = sim_run(NULL, run_rule, &copy);
        sim_quiet(false);
        // The body does not clean up: that it got there is what counts.
        if (!ok(!passed && strstr(sim_failure(), "still in VMX operation") != NULL,
                "entry refused: %s", copy.verdict))
            diag("said: %s", sim_failure());
    }
}

// -- Results of VMX instructions

static void vmfail(xvcpu_vmx_result got, xvcpu_u32 number)
{
    sim_check_equal(got, XVCPU_VMX_FAIL_VALID);
    sim_check_equal(get(XVCPU_VMCS_EXIT_INSTRUCTION_ERROR), number);
}

static void test_results(void *argument)
{
    xvcpu_u64 value = 0;
    void *other;
    (void)argument;
    // VMXON
    other = page(0);
    xvcpu_write_cr4(xvcpu_read_cr4() | XVCPU_CR4_VMXE);
    sim_check_equal(xvcpu_vmxon(sim_phys(other)), XVCPU_VMX_FAIL_INVALID); // revision 0
    revision(other);
    ((unsigned char *)other)[3] |= 0x80U;
    sim_check_equal(xvcpu_vmxon(sim_phys(other)), XVCPU_VMX_FAIL_INVALID); // shadow bit
    revision(other);
    sim_check_equal(xvcpu_vmxon(sim_phys(other) + 8), XVCPU_VMX_FAIL_INVALID);
    sim_check_equal(xvcpu_vmxon(XVCPU_BIT64(50)), XVCPU_VMX_FAIL_INVALID);
    xvcpu_write_cr4(xvcpu_read_cr4() & ~XVCPU_CR4_VMXE);
    sim_hook_free_page(NULL, other);
    enter_vmx();
    // Without a current VMCS there is no error number.
    sim_check_equal(xvcpu_vmread(XVCPU_VMCS_GUEST_RIP, &value), XVCPU_VMX_FAIL_INVALID);
    sim_check_equal(xvcpu_vmwrite(XVCPU_VMCS_GUEST_RIP, 0), XVCPU_VMX_FAIL_INVALID);
    sim_check_equal(xvcpu_vmclear(sim_phys(raw_vmxon)), XVCPU_VMX_FAIL_INVALID);
    sim_check_equal(xvcpui_enter(&raw), XVCPU_VMX_FAIL_INVALID);
    make_vmcs();
    vmfail(xvcpu_vmxon(sim_phys(raw_vmxon)), 15);
    vmfail(xvcpu_vmclear(8), 2);
    vmfail(xvcpu_vmclear(sim_phys(raw_vmxon)), 3);
    vmfail(xvcpu_vmptrld(XVCPU_BIT64(50)), 9);
    vmfail(xvcpu_vmptrld(sim_phys(raw_vmxon)), 10);
    other = page(0);
    vmfail(xvcpu_vmptrld(sim_phys(other)), 11);
    sim_hook_free_page(NULL, other);
    vmfail(xvcpu_vmread(0x6FFE, &value), 12);
    vmfail(xvcpu_vmread(XVCPU_VMCS_GUEST_RIP + 1, &value), 12); // no high half
    vmfail(xvcpu_vmread(XVCPU_VMCS_CTRL_PROC3, &value), 12);    // the model lacks it
    vmfail(xvcpu_vmwrite(XVCPU_VMCS_HOST_PKRS, 0), 12);
    vmfail(xvcpu_invept(3, 0), 28);
    vmfail(xvcpu_invept(XVCPU_INVEPT_SINGLE, 1), 28);
    vmfail(xvcpu_invvpid(4, 1, 0), 28);
    vmfail(xvcpu_invvpid(XVCPU_INVVPID_SINGLE, 0, 0), 28);
    vmfail(xvcpu_invvpid(XVCPU_INVVPID_ADDRESS, 1, XVCPU_BIT64(60)), 28);
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_EPT_VPID_CAP,
                    sim_msr_get(XVCPU_MSR_IA32_VMX_EPT_VPID_CAP) &
                        ~(XVCPU_VMX_EPT_VPID_CAP_INVEPT_SINGLE |
                          XVCPU_VMX_EPT_VPID_CAP_INVVPID_SINGLE));
    vmfail(xvcpu_invept(XVCPU_INVEPT_SINGLE, raw_eptp), 28);
    vmfail(xvcpu_invvpid(XVCPU_INVVPID_SINGLE, 1, 0), 28);
    // Read-only fields can be written only where IA32_VMX_MISC[29] says so.
    put(XVCPU_VMCS_EXIT_REASON, 5);
    sim_msr_set_all(XVCPU_MSR_IA32_VMX_MISC,
                    sim_msr_get(XVCPU_MSR_IA32_VMX_MISC) & ~XVCPU_VMX_MISC_VMWRITE_ALL);
    vmfail(xvcpu_vmwrite(XVCPU_VMCS_EXIT_REASON, 6), 13);
    sim_check_equal(get(XVCPU_VMCS_EXIT_REASON), 5);
    // Halves of a 64-bit field.
    put(XVCPU_VMCS_GUEST_DEBUGCTL, 0x1122334455667788U);
    sim_check_equal(get(XVCPU_VMCS_GUEST_DEBUGCTL_HIGH), 0x11223344U);
    put(XVCPU_VMCS_GUEST_DEBUGCTL_HIGH, 0);
    sim_check_equal(get(XVCPU_VMCS_GUEST_DEBUGCTL), 0x55667788U);
    put(XVCPU_VMCS_GUEST_DEBUGCTL, 0);
    // Launch state.
    sim_set_guest(guest_cpuid, NULL);
    raw.launched = 1;
    sim_check_equal(enter(), XVCPU_VMX_FAIL_VALID);
    sim_check_equal(get(XVCPU_VMCS_EXIT_INSTRUCTION_ERROR), 5);
    raw.launched = 0;
    sim_check_equal(enter(), 0);
    raw.launched = 0;
    restore_host();
    sim_check_equal(enter(), XVCPU_VMX_FAIL_VALID);
    sim_check_equal(get(XVCPU_VMCS_EXIT_INSTRUCTION_ERROR), 4);
    stop();
}

// -- TLB: what is enough

static void test_tlb(void *argument)
{
    (void)argument;
    start();
    touch(0x3000, XVCPU_EPT_READ);
    sim_check(tlb_got == raw_ram + 0x3000);
    raw_ept[3][3] = 0;
    sim_check_equal(xvcpu_invept(XVCPU_INVEPT_SINGLE, raw_eptp), 0);
    touch(0x3000, XVCPU_EPT_READ);
    sim_check(tlb_got == NULL);
    sim_check_equal(get(XVCPU_VMCS_EXIT_REASON), XVCPU_EXIT_REASON_EPT_VIOLATION);
    sim_check_equal(get(XVCPU_VMCS_EXIT_QUALIFICATION), XVCPU_EPT_READ);
    sim_check_equal(get(XVCPU_VMCS_EXIT_GUEST_PHYSICAL_ADDR), 0x3000);
    // Not present to present, and less to more, need nothing.
    raw_ept[3][3] = raw_ept[3][5] & ~(xvcpu_u64)XVCPU_EPT_WRITE;
    touch(0x3008, XVCPU_EPT_READ);
    sim_check(tlb_got == raw_ram + 0x5008);
    raw_ept[3][3] |= XVCPU_EPT_WRITE;
    touch(0x3008, XVCPU_EPT_WRITE);
    sim_check(tlb_got == raw_ram + 0x5008);
    // A violation says what was allowed.
    raw_ept[3][6] &= ~(xvcpu_u64)XVCPU_EPT_WRITE;
    touch(0x6000, XVCPU_EPT_WRITE);
    sim_check_equal(get(XVCPU_VMCS_EXIT_QUALIFICATION), 2U | (5U << 3));
    // A misconfiguration is another exit.
    raw_ept[3][7] = (raw_ept[3][7] & ~(xvcpu_u64)0x3F) | XVCPU_EPT_WRITE;
    touch(0x7000, XVCPU_EPT_WRITE);
    sim_check_equal(get(XVCPU_VMCS_EXIT_REASON), XVCPU_EXIT_REASON_EPT_MISCONFIG);
    // Linear translations: INVVPID, or another VPID, is enough.
    touch_linear(0x8000);
    sim_check_equal(xvcpu_invvpid(XVCPU_INVVPID_SINGLE, 7, 0), 0);
    touch_linear(0x9000);
    put(XVCPU_VMCS_CTRL_VPID, 8);
    touch_linear(0xA000);
    // Without VPID every entry drops them.
    put(XVCPU_VMCS_CTRL_PROC2, get(XVCPU_VMCS_CTRL_PROC2) & ~XVCPU_PROC2_VPID);
    touch_linear(0xB000);
    touch_linear(0xC000);
    stop();
}

// -- Injection and windows

static xvcpu_u32 seen_info, seen_calls;
static void guest_sees(sim_guest *g)
{
    seen_info = g->injected_info;
    seen_calls++;
    sim_exit_cpuid(g, 0, 0);
}

static void test_events(void *argument)
{
    (void)argument;
    start();
    seen_calls = 0;
    sim_set_guest(guest_sees, NULL);
    put(XVCPU_VMCS_GUEST_RFLAGS, 2 | XVCPU_RFLAGS_IF);
    put(XVCPU_VMCS_CTRL_PROC1, get(XVCPU_VMCS_CTRL_PROC1) | XVCPU_PROC1_INTR_WINDOW_EXITING);
    // The window is open: the guest does not get to run.
    sim_check_equal(enter(), 0);
    restore_host();
    sim_check_equal(get(XVCPU_VMCS_EXIT_REASON), XVCPU_EXIT_REASON_INTERRUPT_WINDOW);
    sim_check_equal(seen_calls, 0);
    // An STI shadow keeps it shut.
    put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, XVCPU_INTERRUPTIBILITY_STI);
    sim_check_equal(enter(), 0);
    restore_host();
    sim_check_equal(seen_calls, 1);
    sim_check_equal(seen_info, 0);
    // Delivery shuts it too, and the exit takes the valid bit away.
    put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 0);
    put(XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0x80000030U);
    sim_check_equal(enter(), 0);
    restore_host();
    sim_check_equal(seen_info, 0x80000030U);
    sim_check_equal(get(XVCPU_VMCS_CTRL_ENTRY_INTR_INFO), 0x30);
    sim_check_equal(get(XVCPU_VMCS_GUEST_RFLAGS) & XVCPU_RFLAGS_IF, 0);
    // NMI: blocks further ones.
    put(XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0x80000202U);
    sim_check_equal(enter(), 0);
    restore_host();
    sim_check_equal(get(XVCPU_VMCS_GUEST_INTERRUPTIBILITY), XVCPU_INTERRUPTIBILITY_NMI);
    put(XVCPU_VMCS_CTRL_PROC1, get(XVCPU_VMCS_CTRL_PROC1) | XVCPU_PROC1_NMI_WINDOW_EXITING);
    seen_calls = 0;
    sim_check_equal(enter(), 0);
    restore_host();
    sim_check_equal(seen_calls, 1);
    put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 0);
    sim_check_equal(enter(), 0);
    restore_host();
    sim_check_equal(get(XVCPU_VMCS_EXIT_REASON), XVCPU_EXIT_REASON_NMI_WINDOW);
    // Timer at 0.
    put(XVCPU_VMCS_CTRL_PIN, get(XVCPU_VMCS_CTRL_PIN) | XVCPU_PIN_PREEMPTION_TIMER);
    sim_check_equal(enter(), 0);
    restore_host();
    sim_check_equal(get(XVCPU_VMCS_EXIT_REASON), XVCPU_EXIT_REASON_PREEMPTION_TIMER);
    stop();
}

// -- Memory

static void test_memory(void *argument)
{
    void *pages[40];
    xvcpu_u32 i;
    xvcpu_u64 up = 0;
    unsigned char *ram;
    (void)argument;
    for (i = 0; i < 40; i++) {
        pages[i] = sim_hook_alloc_page(NULL);
        sim_check(pages[i] != NULL);
        sim_check_equal(((unsigned char *)pages[i])[4095], 0xA5);
        sim_check(sim_phys(pages[i]) != (xvcpu_u64)(uintptr_t)pages[i]);
        sim_check(sim_virt(sim_phys(pages[i]) + 5) == (unsigned char *)pages[i] + 5);
        if (i > 0)
            up += sim_phys(pages[i]) == sim_phys(pages[i - 1]) + 4096 ? 1U : 0U;
    }
    sim_check_equal(up, 0);
    sim_check_equal(sim_pages_live(), 40);
    for (i = 0; i < 40; i++)
        sim_hook_free_page(NULL, pages[i]);
    sim_alloc_fail_at(2);
    pages[0] = sim_hook_alloc_page(NULL);
    sim_check(pages[0] != NULL && sim_hook_alloc_page(NULL) == NULL);
    pages[1] = sim_hook_alloc_page(NULL);
    sim_check(pages[1] != NULL);
    sim_alloc_fail_from(1);
    sim_check(sim_hook_alloc_page(NULL) == NULL && sim_hook_alloc_page(NULL) == NULL);
    sim_alloc_fail_at(0);
    sim_alloc_flaw_at(1, SIM_PAGE_MISALIGNED);
    pages[2] = sim_hook_alloc_page(NULL);
    sim_check_equal(sim_phys(pages[2]) & 0xFFFU, 8);
    sim_alloc_flaw_at(1, SIM_PAGE_TOO_HIGH);
    pages[3] = sim_hook_alloc_page(NULL);
    sim_check((sim_phys(pages[3]) >> 46) != 0);
    sim_low_memory(true);
    pages[4] = sim_hook_alloc_page(NULL);
    sim_check((sim_phys(pages[4]) >> 32) == 0);
    for (i = 0; i < 5; i++)
        sim_hook_free_page(NULL, pages[i]);
    ram = (unsigned char *)sim_ram(0x400000, 0x200000);
    sim_check_equal(sim_phys(ram) & 0x1FFFFFU, 0);
    sim_check_equal(sim_phys(ram + 0x212345), sim_phys(ram) + 0x212345);
    sim_check(!sim_phys_exists(sim_phys(ram) + 0x400000));
}

// -- Extended state

static void test_extended_state(void *argument)
{
    sim_processor *cpu = sim_this_cpu();
    unsigned char *area = (unsigned char *)page(0), *zero = (unsigned char *)page(0);
    const xvcpu_u64 x87 = cpu->fpu[0], sse = cpu->fpu[1], avx = cpu->fpu[2];
    (void)argument;
    xvcpu_xsave(area, ~(xvcpu_u64)0);
    xvcpu_xrstor(zero, XVCPU_XCR0_X87 | XVCPU_XCR0_SSE); // header 0: initial state
    sim_check_equal(cpu->fpu[0], 0);
    sim_check_equal(cpu->fpu[1], 0);
    sim_check_equal(cpu->fpu[2], avx);
    cpu->fpu[2] = 1;
    xvcpu_xrstor(area, XVCPU_XCR0_SSE);
    sim_check_equal(cpu->fpu[0], 0);
    sim_check_equal(cpu->fpu[1], sse);
    xvcpu_xrstor(area, ~(xvcpu_u64)0);
    sim_check_equal(cpu->fpu[0], x87);
    sim_check_equal(cpu->fpu[2], avx);
    xvcpu_fxsave(zero);
    cpu->fpu[0] = 5;
    cpu->fpu[1] = 6;
    xvcpu_fxrstor(zero);
    sim_check_equal(cpu->fpu[0], x87);
    sim_check_equal(cpu->fpu[1], sse);
    sim_hook_free_page(NULL, area);
    sim_hook_free_page(NULL, zero);
}

// -- Models

static void test_model(void *argument)
{
    static const xvcpu_u32 words[4] = {XVCPU_MSR_IA32_VMX_PINBASED_CTLS,
                                       XVCPU_MSR_IA32_VMX_PROCBASED_CTLS,
                                       XVCPU_MSR_IA32_VMX_EXIT_CTLS, XVCPU_MSR_IA32_VMX_ENTRY_CTLS};
    const bool true_msrs = ((sim_msr_get(XVCPU_MSR_IA32_VMX_BASIC) >> 55) & 1U) != 0;
    xvcpu_cpuid_regs regs;
    xvcpu_u32 i;
    (void)argument;
    for (i = 0; i < 4; i++) {
        const xvcpu_u64 plain = sim_msr_get(words[i]);
        sim_check_equal((plain & 0xFFFFFFFFU) & ~(plain >> 32), 0);
        sim_check_equal(sim_msr_exists(XVCPU_MSR_IA32_VMX_TRUE_PINBASED_CTLS + i), true_msrs);
        if (true_msrs) {
            const xvcpu_u64 loose = sim_msr_get(XVCPU_MSR_IA32_VMX_TRUE_PINBASED_CTLS + i);
            sim_check_equal((loose & 0xFFFFFFFFU) & ~plain, 0); // asks for no more
            sim_check_equal(loose >> 32, plain >> 32);
        }
    }
    sim_check_equal((sim_msr_get(XVCPU_MSR_IA32_VMX_BASIC) >> 50) & 15U, 6);
    xvcpu_cpuid(1, 0, &regs);
    sim_check_equal((regs.ecx >> 27) & 1U, (xvcpu_read_cr4() >> 18) & 1U);
    enter_vmx();
    leave_vmx();
}

int main(void)
{
    xvcpu_u32 i;
    const char *name;
    ok(sim_run(NULL, round_trip, NULL), "a virtual machine made by hand runs");
    test_misuses();
    test_rules();
    ok(sim_run(NULL, test_results, NULL), "VMX instructions fail with the numbers of the SDM");
    ok(sim_run(NULL, test_tlb, NULL), "translations: INVEPT and INVVPID that are enough");
    ok(sim_run(NULL, test_events, NULL), "injection, windows, timer");
    ok(sim_run(NULL, test_memory, NULL), "pages, memory, planned failures");
    ok(sim_run(NULL, test_extended_state, NULL), "XSAVE, XRSTOR, FXSAVE, FXRSTOR");
    for (i = 0; (name = sim_model_name(i)) != NULL; i++)
        ok(sim_run(name, test_model, NULL), "model %s is consistent", name);
    return done_testing();
}
