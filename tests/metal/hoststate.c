// hoststate.c - the host finds itself after a run as it was before: everything that VM entry and
// exit do not keep, with a guest that spoils all of it; and interrupts and NMIs reach the host.
// models: corei5_lynnfield_750 corei7_haswell_4770 corei7_skylake_x tigerlake
// cpus: 1 2
#include "metal.h"

static xvcpu_cpu *cpu;
static struct metal_vm vm;
static xvcpu vcpu;

GUEST_CODE(quiet, 64, "quiet_next: inc %rbx\n mov %rbx, %rax\n vmcall\n jmp quiet_next");

static void start(const u8 *code, const u8 *code_end, const xvcpu_desc *desc)
{
    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    metal_vcpu_create(&vcpu, &vm, cpu, desc);
    metal_start(&vcpu, &vm, METAL_LONG, code, code_end);
}
#define START(name) start(name, name##_end, 0)

static void end(void)
{
    metal_vcpu_destroy(&vcpu);
    metal_vm_destroy(&vm);
}

// -- Descriptor tables and selectors

#define SELECTOR(name)                                                                             \
    static u16 read_##name(void)                                                                   \
    {                                                                                              \
        u16 value;                                                                                 \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(value));                                     \
        return value;                                                                              \
    }                                                                                              \
    static TAP_UNUSED void write_##name(u16 value)                                                 \
    {                                                                                              \
        __asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory");                            \
    }
SELECTOR(ds)
SELECTOR(es)
SELECTOR(fs)
SELECTOR(gs)

static u16 read_ldtr(void)
{
    u16 value;
    __asm__ volatile("sldt %0" : "=r"(value));
    return value;
}

static u16 read_tr(void)
{
    u16 value;
    __asm__ volatile("str %0" : "=r"(value));
    return value;
}

static void load_gdt(const struct metal_table *table)
{
    __asm__ volatile("lgdt %0" : : "m"(*table) : "memory");
}

static void load_idt(const struct metal_table *table)
{
    __asm__ volatile("lidt %0" : : "m"(*table) : "memory");
}

struct tables {
    struct metal_table gdt, idt;
    u16 ldtr, tr, ds, es, fs, gs;
    u64 fs_base, gs_base;
};

static struct tables look_at_tables(void)
{
    struct tables now;
    memset(&now, 0, sizeof now);
    now.gdt = metal_sgdt();
    now.idt = metal_sidt();
    now.ldtr = read_ldtr();
    now.tr = read_tr();
    now.ds = read_ds();
    now.es = read_es();
    now.fs = read_fs();
    now.gs = read_gs();
    now.fs_base = rdmsr(XVCPU_MSR_IA32_FS_BASE);
    now.gs_base = rdmsr(XVCPU_MSR_IA32_GS_BASE);
    return now;
}

static bool tables_are(const struct tables *before, const char *what)
{
    const struct tables now = look_at_tables();
    const bool pass = memcmp(before, &now, sizeof now) == 0;
    ok(pass, "T21 T23 tables, selectors and bases %s", what);
    if (!pass) {
        diag("GDTR %lx:%x %lx:%x", before->gdt.base, before->gdt.limit, now.gdt.base,
             now.gdt.limit);
        diag("IDTR %lx:%x %lx:%x", before->idt.base, before->idt.limit, now.idt.base,
             now.idt.limit);
        diag("LDTR %x %x TR %x %x DS %x %x ES %x %x FS %x %x GS %x %x", before->ldtr, now.ldtr,
             before->tr, now.tr, before->ds, now.ds, before->es, now.es, before->fs, now.fs,
             before->gs, now.gs);
        diag("FS base %lx %lx GS base %lx %lx", before->fs_base, now.fs_base, before->gs_base,
             now.gs_base);
    }
    return pass;
}

// Loads tables and bases of its own.
GUEST_CODE(tables_guest, 64,
           "tables_next:\n"
           "lgdt " GUEST_ADDRESS(tables_guest, tables_gdt) "\n"
           "lidt " GUEST_ADDRESS(tables_guest, tables_idt) "\n"
           "mov $0xc0000100, %ecx\n mov $0x11110000, %eax\n mov $0x2222, %edx\n wrmsr\n"
           "mov $0xc0000101, %ecx\n mov $0x33330000, %eax\n mov $0x4444, %edx\n wrmsr\n"
           "xor %eax, %eax\n lldt %ax\n"
           "inc %rbx\n mov %rbx, %rax\n"
           "vmcall\n"
           "jmp tables_next\n"
           "tables_gdt: .word 0x17\n .quad 0x5000\n"
           "tables_idt: .word 0x27\n .quad 0x5800\n");

static void test_tables(void)
{
    const struct tables before = look_at_tables();
    xvcpu_error error;

    START(tables_guest);
    tables_are(&before, "after bind");
    is_u64(metal_call(&vcpu), 1, "a guest with tables of its own");
    tables_are(&before, "after a run");
    is_u64(metal_get(&vcpu, XVCPU_REG_GDTR_LIMIT), 0x17, "the guest's GDT is the guest's");
    is_u64(metal_get(&vcpu, XVCPU_REG_FS_BASE), 0x0000222211110000ul, "so is its FS base");

    metal_set_field(&vcpu, XVCPU_VMCS_GUEST_RFLAGS, 0);
    is_status(xvcpu_run(&vcpu, &error), ENTRY_FAILED, &error, "a failed entry loads host state");
    tables_are(&before, "after a failed entry");
    metal_set_field(&vcpu, XVCPU_VMCS_GUEST_RFLAGS, 2);
    metal_set_field(&vcpu, XVCPU_VMCS_CTRL_MSR_BITMAP, 1);
    is_status(xvcpu_run(&vcpu, &error), VMFAIL, &error, "a failed VMRESUME");
    tables_are(&before, "after a failed VMRESUME");
    metal_set_field(&vcpu, XVCPU_VMCS_CTRL_MSR_BITMAP, vcpu.msr_bitmap_pa);
    is_u64(metal_call(&vcpu), 2, "put right the guest goes on");

    metal_must(xvcpu_unbind(&vcpu, &error), &error, "unbind");
    tables_are(&before, "after unbind");
    metal_disable(cpu);
    tables_are(&before, "after disable");
    cpu = metal_enable();
    end();
}

// What a kernel with user tasks has: an LDT, a TSS with an I/O permission bitmap, selectors with
// RPL 3. Slots of the kernel's own table come first, so that its handlers work.
#define GDT_LDT 7
#define GDT_TSS 9
#define GDT_SLOTS 11
#define KERNEL_SLOTS 7
#define IO_BITMAP_BYTES 0x2000
#define TSS_BYTES 104
#define TSS_IOMAP 102
#define LDT_SELECTOR (GDT_LDT * 8)
#define TSS_SELECTOR (GDT_TSS * 8)
#define LDT_DATA_SELECTOR 4 // first entry of the LDT
#define DATA_DESCRIPTOR 0x00cf93000000fffful

static u64 own_gdt[GDT_SLOTS] __attribute__((aligned(16)));
static u64 own_ldt[2] __attribute__((aligned(16)));
static u8 own_tss[TSS_BYTES + IO_BITMAP_BYTES + 1] __attribute__((aligned(16)));

static void put_system(u32 slot, const void *base, u32 limit, u64 type)
{
    const u64 address = (u64)(uintptr_t)base;
    own_gdt[slot] = (limit & 0xffff) | (address & 0xffffff) << 16 | (0x80 | type) << 40 |
                    (u64)(limit >> 16 & 0xf) << 48 | (address >> 24 & 0xff) << 56;
    own_gdt[slot + 1] = address >> 32;
}

static u64 system_base(const u64 *descriptor)
{
    return (descriptor[0] >> 16 & 0xffffff) | (descriptor[0] >> 56) << 24 | descriptor[1] << 32;
}

static struct metal_table kernel_gdt;

static void own_tables_on(void)
{
    struct metal_table table = {sizeof own_gdt - 1, (u64)(uintptr_t)own_gdt};
    const u64 *gdt;
    const u16 iomap = TSS_BYTES;

    kernel_gdt = metal_sgdt();
    gdt = (const u64 *)(uintptr_t)kernel_gdt.base;
    memcpy(own_gdt, gdt, KERNEL_SLOTS * 8);
    memcpy(own_tss, (const void *)(uintptr_t)system_base(gdt + KERNEL_TSS_SELECTOR / 8), TSS_BYTES);
    memset(own_tss + TSS_BYTES, 0, IO_BITMAP_BYTES); // every port is open to ring 3
    own_tss[TSS_BYTES + IO_BITMAP_BYTES] = 0xff;
    memcpy(own_tss + TSS_IOMAP, &iomap, sizeof iomap);
    own_ldt[0] = DATA_DESCRIPTOR;
    put_system(GDT_LDT, own_ldt, sizeof own_ldt - 1, 2);
    put_system(GDT_TSS, own_tss, sizeof own_tss - 1, 9);
    load_gdt(&table);
    __asm__ volatile("lldt %w0" : : "r"(LDT_SELECTOR));
    __asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR));
}

static void own_tables_off(void)
{
    u64 *gdt = (u64 *)(uintptr_t)kernel_gdt.base;
    gdt[KERNEL_TSS_SELECTOR / 8] &= ~(2ul << 40); // not busy
    load_gdt(&kernel_gdt);
    __asm__ volatile("lldt %w0" : : "r"(0));
    __asm__ volatile("ltr %w0" : : "r"(KERNEL_TSS_SELECTOR));
}

static bool ldt_works(void)
{
    bool zf;
    __asm__ volatile("verr %w1" : "=@ccz"(zf) : "r"(LDT_DATA_SELECTOR));
    return zf;
}

// Ring 3 for two instructions: the TSS limit shows only there. An IN that the bitmap allows goes on
// to the breakpoint; where the bitmap lies beyond the limit it is #GP.
u32 ring3_run(u64 rip, u64 rsp);
void ring3_land(void);
extern u64 ring3_rsp;
__asm__(".pushsection .text\n"
        "ring3_run:\n"
        "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "mov %rsp, ring3_rsp(%rip)\n"
        "push $0x1b\n" // SS
        "push %rsi\n"
        "push $2\n" // RFLAGS: IOPL 0
        "push $0x23\n" // CS
        "push %rdi\n"
        "iretq\n"
        "ring3_land:\n" // with RSP as above and EAX the vector
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
        "ret\n"
        ".popsection\n"
        ".pushsection .bss\n .balign 8\n ring3_rsp: .quad 0\n .popsection\n");

static void leave_ring3(struct kernel_frame *frame)
{
    frame->rax = frame->vector;
    frame->rip = (u64)(uintptr_t)ring3_land;
    frame->cs = KERNEL_CODE_SELECTOR;
    frame->rflags = 2;
    frame->rsp = ring3_rsp;
    frame->ss = KERNEL_DATA_SELECTOR;
}

#define USER_ADDRESS 0x400000ul
#define VECTOR_BP 3
#define VECTOR_GP 13
#define VECTOR_PF 14

static u32 try_in_at_ring3(void)
{
    static const u8 code[] = {0xe4, 0x80, 0xcc}; // in al, 80h; int3
    const u64 cr3 = read_cr3();
    u64 *pml4 = page_alloc(), *pdpt = page_alloc(), *pd = page_alloc(), *pt = page_alloc();
    u8 *page = page_alloc();
    const struct tables before = look_at_tables();
    u32 vector;

    memcpy(pml4, virt_of(cr3 & ~0xffful), KERNEL_PAGE_SIZE);
    pml4[0] = phys_of(pdpt) | 7;
    pdpt[0] = phys_of(pd) | 7;
    pd[USER_ADDRESS >> 21] = phys_of(pt) | 7;
    pt[0] = phys_of(page) | 7;
    memcpy(page, code, sizeof code);
    kernel_set_handler(VECTOR_BP, leave_ring3);
    kernel_set_handler(VECTOR_GP, leave_ring3);
    kernel_set_handler(VECTOR_PF, leave_ring3);
    write_cr3(phys_of(pml4));
    vector = ring3_run(USER_ADDRESS, USER_ADDRESS + 0x800);
    write_cr3(cr3);
    kernel_set_handler(VECTOR_BP, 0);
    kernel_set_handler(VECTOR_GP, 0);
    kernel_set_handler(VECTOR_PF, 0);
    write_ds(before.ds); // ring 3 took them away
    write_es(before.es);
    write_fs(before.fs);
    write_gs(before.gs);
    wrmsr(XVCPU_MSR_IA32_FS_BASE, before.fs_base);
    wrmsr(XVCPU_MSR_IA32_GS_BASE, before.gs_base);
    page_free(pml4);
    page_free(pdpt);
    page_free(pd);
    page_free(pt);
    page_free(page);
    return vector;
}

static void test_own_tables(void)
{
    const struct tables kernel = look_at_tables();
    struct tables before;

    own_tables_on();
    is_u64(try_in_at_ring3(), VECTOR_BP, "the I/O bitmap lets ring 3 use a port");
    // The first was only data for the ring-3 code: these are what the library must keep.
    write_ds(KERNEL_USER_DATA_SELECTOR);
    write_es(KERNEL_USER_DATA_SELECTOR);
    write_fs(KERNEL_USER_DATA_SELECTOR);
    write_gs(LDT_DATA_SELECTOR);
    wrmsr(XVCPU_MSR_IA32_FS_BASE, 0x00007f0012345000ul);
    wrmsr(XVCPU_MSR_IA32_GS_BASE, kernel.gs_base);
    before = look_at_tables();
    ok(before.ldtr == LDT_SELECTOR && before.tr == TSS_SELECTOR && ldt_works(),
       "tables like those of a kernel with user tasks");

    START(tables_guest);
    is_u64(metal_call(&vcpu), 1, "a run");
    tables_are(&before, "like those of a kernel with user tasks");
    ok(ldt_works(), "T21 the LDT is loaded again, not only its selector");
    is_u64(metal_call(&vcpu), 2, "a second run");
    tables_are(&before, "after the second");
    is_u64(try_in_at_ring3(), VECTOR_BP, "T21 the TSS has its limit again: ring 3 may do I/O");

    // Between runs everything goes back, and the next run has to notice.
    own_tables_off();
    write_ds(kernel.ds);
    write_es(kernel.es);
    write_fs(kernel.fs);
    write_gs(kernel.gs);
    wrmsr(XVCPU_MSR_IA32_FS_BASE, kernel.fs_base);
    wrmsr(XVCPU_MSR_IA32_GS_BASE, kernel.gs_base);
    {
        xvcpu_error error; // selectors are taken at bind
        metal_must(xvcpu_unbind(&vcpu, &error), &error, "unbind");
        metal_must(xvcpu_bind(&vcpu, cpu, &error), &error, "bind");
    }
    is_u64(metal_call(&vcpu), 3, "a run with the kernel's own again");
    tables_are(&kernel, "of the kernel");
    end();
}

// T23: while bound, the kernel moves its tables and changes the bases.
static void test_moving_tables(void)
{
    static u64 moved_gdt[8192];
    const struct tables before = look_at_tables();
    struct tables moved;
    u8 *idt = page_alloc();
    struct metal_table table;

    START(tables_guest);
    is_u64(metal_call(&vcpu), 1, "a run");
    memcpy(idt, (const void *)(uintptr_t)before.idt.base, (size_t)before.idt.limit + 1);
    table.base = (u64)(uintptr_t)idt;
    table.limit = (u16)(before.idt.limit - 16);
    load_idt(&table);
    memcpy(moved_gdt, (const void *)(uintptr_t)before.gdt.base, (size_t)before.gdt.limit + 1);
    table.base = (u64)(uintptr_t)moved_gdt;
    table.limit = (u16)(before.gdt.limit + 16);
    load_gdt(&table);
    wrmsr(XVCPU_MSR_IA32_FS_BASE, 0x00007f0000001000ul);
    wrmsr(XVCPU_MSR_IA32_GS_BASE, 0x00007f0000002000ul);
    moved = look_at_tables();
    is_u64(metal_call(&vcpu), 2, "a run after the kernel moved its tables");
    tables_are(&moved, "that moved while bound");
    load_idt(&before.idt);
    load_gdt(&before.gdt);
    wrmsr(XVCPU_MSR_IA32_FS_BASE, before.fs_base);
    wrmsr(XVCPU_MSR_IA32_GS_BASE, before.gs_base);
    is_u64(metal_call(&vcpu), 3, "a run after they moved back");
    tables_are(&before, "that moved back");
    end();
    page_free(idt);
}

// What the host takes care of itself is left alone.
static void test_left_to_host(void)
{
    const struct tables before = look_at_tables();
    xvcpu_desc desc = {0};

    desc.leave_to_host = XVCPU_LEAVE_DESCRIPTOR_LIMITS | XVCPU_LEAVE_SYSCALL_MSRS |
                         XVCPU_LEAVE_DEBUG_REGISTERS | XVCPU_LEAVE_FS_GS_BASE | XVCPU_LEAVE_XCR0 |
                         XVCPU_LEAVE_FPU;
    start(quiet, quiet_end, &desc);
    is_u64(metal_call(&vcpu), 1, "a run with everything left to the host");
    is_u64(metal_sgdt().limit, 0xffff, "leaves the GDT limit as the exit made it");
    is_u64(metal_sidt().limit, 0xffff, "and the IDT limit");
    load_gdt(&before.gdt);
    load_idt(&before.idt);
    is_u64(metal_call(&vcpu), 2, "and another one");
    load_gdt(&before.gdt);
    load_idt(&before.idt);
    tables_are(&before, "put right by the host");
    end();
}

// -- Address space

#define PRIVATE_SLOT 1ul
#define PRIVATE_ADDRESS (PRIVATE_SLOT << 39)
#define MARK 0x5a5a1234fedcul

static u64 read_private(void)
{
    return *(volatile u64 *)(uintptr_t)PRIVATE_ADDRESS;
}

static void test_cr3(void)
{
    const u64 first = read_cr3();
    u64 *pml4 = page_alloc(), *pdpt = page_alloc(), *pd = page_alloc(), *pt = page_alloc();
    u64 *page = page_alloc();

    memcpy(pml4, virt_of(first & ~0xffful), KERNEL_PAGE_SIZE);
    pml4[PRIVATE_SLOT] = phys_of(pdpt) | 3;
    pdpt[0] = phys_of(pd) | 3;
    pd[0] = phys_of(pt) | 3;
    pt[0] = phys_of(page) | 3;
    *page = MARK;

    START(quiet);
    is_u64(metal_call(&vcpu), 1, "a run in the first address space");
    is_u64(read_cr3(), first, "T22 CR3 after it");
    write_cr3(phys_of(pml4));
    is_u64(metal_call(&vcpu), 2, "a run in the second");
    is_u64(read_cr3(), phys_of(pml4), "T22 CR3 after it");
    if (read_cr3() == phys_of(pml4))
        is_u64(read_private(), MARK, "T22 what only the second maps is there");
    write_cr3(first);
    is_u64(metal_call(&vcpu), 3, "a run in the first again");
    is_u64(read_cr3(), first, "T22 CR3 after it");

    if (!METAL_HAS(cpu, PCID)) {
        skip("no PCID here");
    } else {
        write_cr4(read_cr4() | XVCPU_CR4_PCIDE);
        write_cr3(phys_of(pml4) | 5 | XVCPU_CR3_NO_FLUSH);
        is_u64(metal_call(&vcpu), 4, "a run with a PCID");
        is_u64(read_cr3(), phys_of(pml4) | 5, "T22 CR3 with its PCID after it");
        ok((read_cr4() & XVCPU_CR4_PCIDE) != 0, "T22 CR4.PCIDE after it");
        is_u64(metal_field(&vcpu, XVCPU_VMCS_HOST_CR3) >> 63, 0, "T22 bit 63 is not in HOST_CR3");
        write_cr3(first);
        write_cr4(read_cr4() & ~XVCPU_CR4_PCIDE);
        is_u64(metal_call(&vcpu), 5, "a run without");
        ok((read_cr4() & XVCPU_CR4_PCIDE) == 0 && read_cr3() == first, "T22 CR3, CR4 after it");
    }
    end();
    page_free(pml4);
    page_free(pdpt);
    page_free(pd);
    page_free(pt);
    page_free(page);
}

// -- MSRs of SYSCALL, SWAPGS and RDTSCP

// Writes its own values, uses them, and each time reads them back: R8-R13.
#define SYSCALL_MSRS                                                                               \
    "mov $0xc0000081, %ecx\n rdmsr\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, %r8\n"              \
    "mov $0xc0000082, %ecx\n rdmsr\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, %r9\n"              \
    "mov $0xc0000083, %ecx\n rdmsr\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, %r10\n"             \
    "mov $0xc0000084, %ecx\n rdmsr\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, %r11\n"             \
    "mov $0xc0000102, %ecx\n rdmsr\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, %r12\n"             \
    "mov $0xc0000101, %ecx\n rdmsr\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, %r13\n"
GUEST_CODE(syscall_guest, 64,
           "mov $0xc0000080, %ecx\n rdmsr\n or $1, %eax\n wrmsr\n" // EFER.SCE
           "mov $0xc0000081, %ecx\n mov $0, %eax\n mov $0x00230018, %edx\n wrmsr\n"
           "mov $0xc0000082, %ecx\n mov $" GUEST_ADDRESS(syscall_guest, syscall_entry) ", %eax\n"
           "xor %edx, %edx\n wrmsr\n"
           "mov $0xc0000083, %ecx\n mov $0x12345000, %eax\n xor %edx, %edx\n wrmsr\n"
           "mov $0xc0000084, %ecx\n mov $0x100, %eax\n xor %edx, %edx\n wrmsr\n"
           "mov $0xc0000101, %ecx\n mov $0x1000, %eax\n mov $0x1111, %edx\n wrmsr\n"
           "mov $0xc0000102, %ecx\n mov $0x2000, %eax\n mov $0x2222, %edx\n wrmsr\n"
           SYSCALL_MSRS
           "mov $1, %eax\n vmcall\n"
           "swapgs\n" // no exit
           SYSCALL_MSRS
           "mov $2, %eax\n vmcall\n"
           SYSCALL_MSRS
           "mov $3, %eax\n vmcall\n"
           "syscall\n"
           "syscall_back: ud2\n"
           "syscall_entry: mov %rcx, %rsi\n mov %cs, %edi\n mov $4, %eax\n vmcall\n");

struct syscall_msrs {
    u64 star, lstar, cstar, fmask, kernel_gs, gs;
};

static struct syscall_msrs read_syscall_msrs(void)
{
    struct syscall_msrs now;
    now.star = rdmsr(XVCPU_MSR_IA32_STAR);
    now.lstar = rdmsr(XVCPU_MSR_IA32_LSTAR);
    now.cstar = rdmsr(XVCPU_MSR_IA32_CSTAR);
    now.fmask = rdmsr(XVCPU_MSR_IA32_FMASK);
    now.kernel_gs = rdmsr(XVCPU_MSR_IA32_KERNEL_GS_BASE);
    now.gs = rdmsr(XVCPU_MSR_IA32_GS_BASE);
    return now;
}

static void syscall_msrs_are(const struct syscall_msrs *want, const char *what)
{
    const struct syscall_msrs now = read_syscall_msrs();
    ok(memcmp(&now, want, sizeof now) == 0, "T24 the host's SYSCALL and GS MSRs %s", what);
    if (memcmp(&now, want, sizeof now) != 0) {
        diag("STAR %lx %lx, LSTAR %lx %lx, CSTAR %lx %lx", want->star, now.star, want->lstar,
             now.lstar, want->cstar, now.cstar);
        diag("FMASK %lx %lx, KERNEL_GS %lx %lx, GS %lx %lx", want->fmask, now.fmask,
             want->kernel_gs, now.kernel_gs, want->gs, now.gs);
    }
}

static bool guest_has(u64 kernel_gs, u64 gs)
{
    const u64 *r = vcpu.gpr;
    const u64 lstar = metal_get(&vcpu, XVCPU_REG_LSTAR);
    return r[XVCPU_R8] == 0x0023001800000000ul && r[XVCPU_R9] == lstar &&
           r[XVCPU_R10] == 0x12345000 && r[XVCPU_R11] == 0x100 && r[XVCPU_R12] == kernel_gs &&
           r[XVCPU_R13] == gs && metal_get(&vcpu, XVCPU_REG_KERNEL_GS_BASE) == kernel_gs;
}

static struct syscall_msrs seen_in_handler;

static xvcpu_action look_at_msrs(xvcpu *v, xvcpu_exit *exit, void *context)
{
    (void)v;
    (void)exit;
    (void)context;
    seen_in_handler = read_syscall_msrs();
    return XVCPU_ACTION_DEFAULT;
}

static void test_syscall_msrs(void)
{
    const struct syscall_msrs kernel = read_syscall_msrs();
    struct syscall_msrs host;
    xvcpu_error error;

    if (!METAL_HAS(cpu, SYSCALL)) {
        skip("T24 no SYSCALL here");
        return;
    }
    wrmsr(XVCPU_MSR_IA32_STAR, 0x001b000800000000ul);
    wrmsr(XVCPU_MSR_IA32_LSTAR, 0xffffffff80123456ul);
    wrmsr(XVCPU_MSR_IA32_CSTAR, 0xffffffff80654321ul);
    wrmsr(XVCPU_MSR_IA32_FMASK, 0x47700);
    wrmsr(XVCPU_MSR_IA32_KERNEL_GS_BASE, 0x00007f1122334455ul);
    host = read_syscall_msrs();
    START(syscall_guest);
    syscall_msrs_are(&host, "after bind");
    metal_must(xvcpu_set_handler(&vcpu, XVCPU_EXIT_REASON_VMCALL, look_at_msrs, 0, &error), &error,
               "xvcpu_set_handler");
    is_u64(metal_call(&vcpu), 1, "a guest with values of its own");
    syscall_msrs_are(&host, "after a run");
    ok(memcmp(&seen_in_handler, &host, sizeof host) == 0, "T24 and inside a handler");
    ok(guest_has(0x0000222200002000ul, 0x0000111100001000ul), "T24 the guest has its own");

    wrmsr(XVCPU_MSR_IA32_KERNEL_GS_BASE, 0x00007f5566778899ul); // SWAPGS in the host does that
    host.kernel_gs = 0x00007f5566778899ul;
    is_u64(metal_call(&vcpu), 2, "the guest did SWAPGS");
    syscall_msrs_are(&host, "after SWAPGS");
    ok(guest_has(0x0000111100001000ul, 0x0000222200002000ul), "T24 the guest has them swapped");
    is_u64(metal_call(&vcpu), 3, "again");
    ok(guest_has(0x0000111100001000ul, 0x0000222200002000ul), "T24 the next run has them too");
    is_u64(metal_call(&vcpu), 4, "the guest did SYSCALL");
    is_u64(vcpu.gpr[XVCPU_RDI], 0x18, "T24 with the CS of its STAR");
    is_u64(vcpu.exit.rip > vcpu.gpr[XVCPU_RSI] ? vcpu.gpr[XVCPU_RSI] + 2 : 0,
           metal_get(&vcpu, XVCPU_REG_LSTAR), "T24 and went to its LSTAR");
    syscall_msrs_are(&host, "after SYSCALL");
    end();
    syscall_msrs_are(&host, "after destroy");
    wrmsr(XVCPU_MSR_IA32_STAR, kernel.star);
    wrmsr(XVCPU_MSR_IA32_LSTAR, kernel.lstar);
    wrmsr(XVCPU_MSR_IA32_CSTAR, kernel.cstar);
    wrmsr(XVCPU_MSR_IA32_FMASK, kernel.fmask);
    wrmsr(XVCPU_MSR_IA32_KERNEL_GS_BASE, kernel.kernel_gs);
}

GUEST_CODE(tsc_aux_guest, 64,
           "mov $0xc0000103, %ecx\n mov $0x77, %eax\n xor %edx, %edx\n wrmsr\n"
           "rdtscp\n mov %ecx, %eax\n vmcall\n"
           "rdtscp\n mov %ecx, %eax\n vmcall\n");

static void test_tsc_aux(void)
{
    if (!METAL_HAS(cpu, RDTSCP)) {
        skip("T24 no RDTSCP for guests here");
        return;
    }
    wrmsr(XVCPU_MSR_IA32_TSC_AUX, 0x1234);
    START(tsc_aux_guest);
    is_u64(metal_call(&vcpu), 0x77, "T24 RDTSCP gives the guest its TSC_AUX");
    is_u64(rdmsr(XVCPU_MSR_IA32_TSC_AUX), 0x1234, "T24 the host has its own");
    is_u64(metal_call(&vcpu), 0x77, "T24 again");
    is_u64(rdmsr(XVCPU_MSR_IA32_TSC_AUX), 0x1234, "T24 again");
    wrmsr(XVCPU_MSR_IA32_TSC_AUX, 0);
    end();
}

// -- Debug registers

static u64 dr_get(u32 n)
{
    return xvcpu_read_dr(n);
}

static void dr_set(u32 n, u64 value)
{
    xvcpu_write_dr(n, value);
}

static volatile u32 debug_traps;
static volatile u64 debug_status;
static volatile u64 watched; // the host's watchpoint is here

static void count_debug(struct kernel_frame *frame)
{
    (void)frame;
    debug_traps = debug_traps + 1;
    debug_status = dr_get(6);
    dr_set(6, XVCPU_DR6_FIXED_1);
}

#define DR7_WRITE_8(n) (1ul << (2 * (n)) | 9ul << (16 + 4 * (n)))  // local, on writes, 8 bytes
#define DR7_ACCESS_8(n) (1ul << (2 * (n)) | 11ul << (16 + 4 * (n))) // on any access
#define WATCHED_BY_GUEST 0x6000

// Sets a watchpoint of its own and runs into it. The caller sees its #DB.
GUEST_CODE(watch_guest, 64,
           "mov $" GUEST_NUMBER(WATCHED_BY_GUEST) ", %eax\n mov %rax, %dr0\n"
           "mov $0x7000, %eax\n mov %rax, %dr1\n"
           "mov $0x7100, %eax\n mov %rax, %dr2\n"
           "mov $0x7200, %eax\n mov %rax, %dr3\n"
           "mov $0xffff4ff4, %eax\n mov %rax, %dr6\n"
           "mov $0x00090401, %eax\n mov %rax, %dr7\n"
           "vmcall\n"
           "mov %dr6, %rax\n"
           "vmcall\n"
           "watch_again:\n"
           "movq $1, " GUEST_NUMBER(WATCHED_BY_GUEST) "\n"
           "nop\n"
           "mov %dr0, %rax\n"
           "vmcall\n"
           "jmp watch_again\n");

static void host_debug_is(const u64 *want, const char *what)
{
    bool pass = true;
    u32 i;
    for (i = 0; i < 8; i++)
        if (i != 4 && i != 5 && dr_get(i) != want[i]) {
            pass = false;
            diag("DR%u: 0x%lx, want 0x%lx", i, dr_get(i), want[i]);
        }
    ok(pass, "T25 the host's debug registers %s", what);
}

static void test_debug_registers(void)
{
    xvcpu_desc desc = {0};
    u64 host[8];
    u32 i;

    kernel_set_handler(XVCPU_EXCEPTION_DB, count_debug);
    dr_set(0, (u64)(uintptr_t)&watched);
    dr_set(1, 0xffff800000001000ul);
    dr_set(2, 0xffff800000002000ul);
    dr_set(3, 0xffff800000003000ul);
    dr_set(7, XVCPU_DR7_FIXED_1 | DR7_WRITE_8(0));
    watched = 1;
    is_u64(debug_traps, 1, "T25 the host's watchpoint fires");
    debug_traps = 0;
    dr_set(6, XVCPU_DR6_FIXED_1 | XVCPU_DR6_BD | 2);
    for (i = 0; i < 8; i++)
        host[i] = dr_get(i);

    desc.exception_bitmap = 1u << XVCPU_EXCEPTION_DB;
    start(watch_guest, watch_guest_end, &desc);
    metal_set(&vcpu, XVCPU_REG_RAX, 7);
    is_u64(metal_call(&vcpu), 0x90401, "a guest with a watchpoint of its own");
    host_debug_is(host, "after a run");
    is_u64(metal_get(&vcpu, XVCPU_REG_DR0), WATCHED_BY_GUEST, "T25 the guest has its DR0");
    is_u64(metal_get(&vcpu, XVCPU_REG_DR3), 0x7200, "T25 and its DR3");
    is_u64(metal_get(&vcpu, XVCPU_REG_DR7), 0x90401, "T25 and its DR7");
    is_u64(metal_get(&vcpu, XVCPU_REG_DR6), 0xffff4ff4, "T25 and its DR6");
    is_u64(metal_call(&vcpu), 0xffff4ff4, "T25 it reads its own DR6");
    host_debug_is(host, "after that");
    for (i = 0; i < 2; i++) {
        is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_EXCEPTION_NMI, "T25 the guest's fires");
        is_u64(vcpu.exit.u.exception.vector, XVCPU_EXCEPTION_DB, "T25 as #DB");
        is_u64(vcpu.exit.u.exception.address & XVCPU_DR6_B_MASK, 1, "T25 by DR0");
        host_debug_is(host, "after the guest's #DB");
        is_u64(metal_call(&vcpu), WATCHED_BY_GUEST, "T25 the guest reads its own DR0");
        host_debug_is(host, "after the next run");
    }
    is_u64(debug_traps, 0, "T25 the host's did not fire meanwhile");
    watched = 2;
    is_u64(debug_traps, 1, "T25 and fires when it should");
    is_u64(debug_status & XVCPU_DR6_B_MASK, 1, "T25 by DR0");
    end();

    // The guest watches what the host uses: with the host's watchpoints on, the guest's addresses
    // must not be in the registers for a moment.
    debug_traps = 0;
    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    metal_vcpu_create(&vcpu, &vm, cpu, &desc);
    METAL_START(&vcpu, &vm, METAL_LONG, quiet);
    dr_set(7, XVCPU_DR7_FIXED_1 | DR7_ACCESS_8(0) | DR7_ACCESS_8(1) | DR7_ACCESS_8(2) |
                  DR7_ACCESS_8(3));
    for (i = 0; i < 8; i++)
        host[i] = dr_get(i);
    metal_set(&vcpu, XVCPU_REG_DR0, (u64)(uintptr_t)&vcpu.controls[XVCPU_WORD_PROC1]);
    metal_set(&vcpu, XVCPU_REG_DR1, (u64)(uintptr_t)&vcpu.gpr[0]);
    metal_set(&vcpu, XVCPU_REG_DR2, (u64)(uintptr_t)&vcpu.host_rsp);
    metal_set(&vcpu, XVCPU_REG_DR3, (u64)(uintptr_t)&vcpu.queue.interrupts[0]);
    metal_set(&vcpu, XVCPU_REG_DR7, DR7_ACCESS_8(0) | DR7_ACCESS_8(1) | DR7_ACCESS_8(2) |
                                        DR7_ACCESS_8(3) | XVCPU_DR7_FIXED_1);
    is_u64(metal_call(&vcpu), 1, "a guest that watches the host's memory");
    is_u64(metal_call(&vcpu), 2, "twice");
    is_u64(debug_traps, 0, "T25 gives the host no #DB");
    host_debug_is(host, "after it");
    dr_set(7, XVCPU_DR7_FIXED_1);
    kernel_set_handler(XVCPU_EXCEPTION_DB, 0);
    end();
}

// -- CR0, CR2

GUEST_CODE(cache_guest, 64,
           "mov %cr0, %rax\n or $0x60000000, %rax\n mov %rax, %cr0\n" // CD and NW
           "mov %cr0, %rax\n vmcall\n"
           "wbinvd\n"
           "mov %cr0, %rax\n and $~0x60000000, %rax\n mov %rax, %cr0\n"
           "mov %cr0, %rax\n vmcall\n");

static void test_cr0(void)
{
    const u64 caching = XVCPU_CR0_CD | XVCPU_CR0_NW;
    const u64 before = read_cr0();

    START(cache_guest);
    is_u64(metal_call(&vcpu) & caching, caching, "T26 the guest turns its caches off");
    is_u64(read_cr0(), before, "T26 the host's CR0 is as before");
    is_u64(metal_field(&vcpu, XVCPU_VMCS_GUEST_CR0) & caching, 0,
           "T26 the bits never reach the register");
    is_u64(metal_call(&vcpu) & caching, 0, "T26 the guest turns them on");
    is_u64(read_cr0(), before, "T26 the host's CR0 is as before");
    end();
}

static void touch_nothing_mapped(void *unused)
{
    (void)unused;
    (void)*(volatile u8 *)(uintptr_t)0x123450ul;
}

GUEST_CODE(cr2_guest, 64,
           "mov %rbx, %cr2\n"
           "cr2_again: mov %cr2, %rax\n vmcall\n jmp cr2_again\n");

static void test_cr2(void)
{
    static xvcpu second;
    u32 i;

    START(cr2_guest);
    metal_vcpu_create(&second, &vm, cpu, 0);
    METAL_START(&second, &vm, METAL_LONG, cr2_guest);
    metal_set(&vcpu, XVCPU_REG_RBX, 0xaaaa5555aaaa5555ul);
    metal_set(&second, XVCPU_REG_RBX, 0x1234ul);
    for (i = 0; i < 3; i++) {
        struct kernel_fault fault = {0};
        is_u64(metal_call(&vcpu), 0xaaaa5555aaaa5555ul, "T27 CR2 of the first guest");
        is_u64(kernel_try(touch_nothing_mapped, 0, &fault), VECTOR_PF + 1,
               "a page fault in the host");
        is_u64(fault.cr2, 0x123450, "T27 CR2 of the host");
        is_u64(metal_call(&second), 0x1234, "T27 CR2 of the second guest");
    }
    is_u64(metal_get(&vcpu, XVCPU_REG_CR2), 0xaaaa5555aaaa5555ul, "T27 xvcpu_get");
    metal_vcpu_destroy(&second);
    end();
}

// -- x87, SSE, AVX, AVX-512

struct vectors {
    u8 zmm[32][64];
    u64 k[8];
    u64 xcr0;
    u8 st0[16];
    u32 mxcsr;
    u16 fcw;
} __attribute__((aligned(64)));

static u64 vector_xcr0; // what this kernel runs with; 0 without XSAVE

static bool has_avx(void)
{
    return (vector_xcr0 & XVCPU_XCR0_AVX) != 0;
}

static bool has_avx512(void)
{
    return (vector_xcr0 & XVCPU_XCR0_OPMASK) != 0;
}

#define LOW_16 "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15"
#define HIGH_16 "16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31"
#define EACH(numbers, text) ".irp n, " numbers "\n" text "\n.endr\n"

static void vectors_load(const struct vectors *v)
{
    if (has_avx512())
        __asm__ volatile(EACH(LOW_16, "vmovdqu64 64 * \\n(%0), %%zmm\\n")
                             EACH(HIGH_16, "vmovdqu64 64 * \\n(%0), %%zmm\\n")
                                 EACH("0, 1, 2, 3, 4, 5, 6, 7", "kmovq 8 * \\n(%1), %%k\\n")
                         :
                         : "r"(v->zmm), "r"(v->k)
                         : "memory");
    else if (has_avx())
        __asm__ volatile(EACH(LOW_16, "vmovdqu 64 * \\n(%0), %%ymm\\n") : : "r"(v->zmm) : "memory");
    else
        __asm__ volatile(EACH(LOW_16, "movdqu 64 * \\n(%0), %%xmm\\n") : : "r"(v->zmm) : "memory");
    __asm__ volatile("ldmxcsr %0\n\tfninit\n\tfldcw %1\n\tfldt %2"
                     :
                     : "m"(v->mxcsr), "m"(v->fcw), "m"(v->st0));
}

static void vectors_store(struct vectors *v)
{
    memset(v, 0, sizeof *v);
    if (has_avx512())
        __asm__ volatile(EACH(LOW_16, "vmovdqu64 %%zmm\\n, 64 * \\n(%0)")
                             EACH(HIGH_16, "vmovdqu64 %%zmm\\n, 64 * \\n(%0)")
                                 EACH("0, 1, 2, 3, 4, 5, 6, 7", "kmovq %%k\\n, 8 * \\n(%1)")
                         :
                         : "r"(v->zmm), "r"(v->k)
                         : "memory");
    else if (has_avx())
        __asm__ volatile(EACH(LOW_16, "vmovdqu %%ymm\\n, 64 * \\n(%0)") : : "r"(v->zmm) : "memory");
    else
        __asm__ volatile(EACH(LOW_16, "movdqu %%xmm\\n, 64 * \\n(%0)") : : "r"(v->zmm) : "memory");
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1\n\tfstpt %2\n\tfldt %2"
                     : "=m"(v->mxcsr), "=m"(v->fcw), "=m"(v->st0));
    v->xcr0 = vector_xcr0 != 0 ? xgetbv(0) : 0;
}

// Turns the extended state on that R8 asks for, fills what its level (R9: 0 SSE, 1 AVX, 2 AVX-512)
// has with R10, changes the control words; then, again and again, says what it finds: RAX is the
// or of all differences, RBX its XCR0.
GUEST_CODE(vector_guest, 64,
           "mov %cr4, %rax\n or $0x600, %eax\n test %r8, %r8\n jz 1f\n or $0x40000, %eax\n"
           "1: mov %rax, %cr4\n"
           "test %r8, %r8\n jz 1f\n"
           "xor %ecx, %ecx\n mov %r8d, %eax\n xor %edx, %edx\n xsetbv\n"
           "1: movq %r10, %xmm0\n punpcklqdq %xmm0, %xmm0\n"
           ".irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
           "movdqa %xmm0, %xmm\\n\n"
           ".endr\n"
           "test %r9, %r9\n jz 2f\n"
           ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
           "vinsertf128 $1, %xmm0, %ymm\\n, %ymm\\n\n"
           ".endr\n"
           "cmp $2, %r9\n jb 2f\n"
           ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n"
           "vpbroadcastq %r10, %zmm\\n\n"
           ".endr\n"
           ".irp n, 0, 1, 2, 3, 4, 5, 6, 7\n"
           "kmovq %r10, %k\\n\n"
           ".endr\n"
           "2:\n"
           "fninit\n"
           "movw $0x27f, 0x6000\n fldcw 0x6000\n fldpi\n"
           "movl $0x1fc0, 0x6000\n ldmxcsr 0x6000\n"
           "vector_again:\n"
           "xor %eax, %eax\n"
           ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
           "movdqu %xmm\\n, 0x6000\n"
           "mov 0x6000, %rcx\n xor %r10, %rcx\n or %rcx, %rax\n"
           "mov 0x6008, %rcx\n xor %r10, %rcx\n or %rcx, %rax\n"
           ".endr\n"
           "test %r9, %r9\n jz 3f\n"
           ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
           "vmovdqu %ymm\\n, 0x6000\n"
           "mov 0x6018, %rcx\n xor %r10, %rcx\n or %rcx, %rax\n"
           ".endr\n"
           "cmp $2, %r9\n jb 3f\n"
           ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n"
           "vmovdqu64 %zmm\\n, 0x6000\n"
           "mov 0x6038, %rcx\n xor %r10, %rcx\n or %rcx, %rax\n"
           ".endr\n"
           ".irp n, 0, 1, 2, 3, 4, 5, 6, 7\n"
           "kmovq %k\\n, %rcx\n xor %r10, %rcx\n or %rcx, %rax\n"
           ".endr\n"
           "3:\n"
           "movl $0, 0x6000\n fnstcw 0x6000\n mov 0x6000, %ecx\n xor $0x27f, %ecx\n or %rcx, %rax\n"
           "stmxcsr 0x6000\n mov 0x6000, %ecx\n and $~0x3f, %ecx\n xor $0x1fc0, %ecx\n"
           "and $~0x3f, %ecx\n or %rcx, %rax\n"
           "mov %rax, %r11\n xor %ebx, %ebx\n"
           "test %r8, %r8\n jz 4f\n"
           "xor %ecx, %ecx\n xgetbv\n mov %eax, %ebx\n"
           "4: mov %r11, %rax\n"
           "vmcall\n"
           "jmp vector_again\n");

static struct vectors host_vectors, now_vectors, handler_vectors;

static xvcpu_action look_at_vectors(xvcpu *v, xvcpu_exit *exit, void *context)
{
    (void)v;
    (void)exit;
    (void)context;
    vectors_store(&handler_vectors);
    return XVCPU_ACTION_DEFAULT;
}

static void run_with_vectors(u64 *answer)
{
    vectors_load(&host_vectors);
    *answer = metal_call(&vcpu);
    vectors_store(&now_vectors);
}

// Before the first load the image is made from what the registers then really hold, so that
// comparing two images compares registers, not their representation.
static void make_host_vectors(void)
{
    u8 *bytes = &host_vectors.zmm[0][0];
    u32 i;
    memset(&host_vectors, 0, sizeof host_vectors);
    for (i = 0; i < sizeof host_vectors.zmm; i++)
        bytes[i] = (u8)(i * 7 + 3);
    for (i = 0; i < 8; i++)
        host_vectors.k[i] = 0x0101010101010101ul * (i + 1);
    memcpy(host_vectors.st0, "\x00\x11\x22\x33\x44\x55\x66\x80\x00\x40", 10);
    host_vectors.mxcsr = 0x3f80;
    host_vectors.fcw = 0x17f;
    vectors_load(&host_vectors);
    vectors_store(&host_vectors);
}

static void one_vector_case(u64 guest_xcr0, u32 level, const char *what)
{
    xvcpu_error error;
    u64 answer;

    START(vector_guest);
    metal_set(&vcpu, XVCPU_REG_R8, guest_xcr0);
    metal_set(&vcpu, XVCPU_REG_R9, level);
    metal_set(&vcpu, XVCPU_REG_R10, 0xfeedface12345678ul);
    metal_must(xvcpu_set_handler(&vcpu, XVCPU_EXIT_REASON_VMCALL, look_at_vectors, 0, &error),
               &error, "xvcpu_set_handler");
    run_with_vectors(&answer);
    is_u64(answer, 0, "T28 %s: the guest finds what it wrote", what);
    ok(memcmp(&host_vectors, &now_vectors, sizeof now_vectors) == 0,
       "T28 %s: the host's registers and XCR0 are as before", what);
    ok(memcmp(&host_vectors, &handler_vectors, sizeof now_vectors) == 0,
       "T28 %s: in a handler too", what);
    run_with_vectors(&answer);
    is_u64(answer, 0, "T28 %s: the guest finds it in the next run", what);
    is_u64(vcpu.gpr[XVCPU_RBX], guest_xcr0, "T28 %s: and its XCR0", what);
    ok(memcmp(&host_vectors, &now_vectors, sizeof now_vectors) == 0,
       "T28 %s: the host's registers after that", what);
    end();
}

static void test_vectors(void)
{
    const u64 cr0 = read_cr0();
    u64 answer, all;

    vector_xcr0 = (read_cr4() & XVCPU_CR4_OSXSAVE) != 0 ? xgetbv(0) : 0;
    make_host_vectors();
    one_vector_case(0, 0, "SSE without XSAVE");
    if (!METAL_HAS(cpu, XSAVE)) {
        skip("T28 no XSAVE here");
    } else {
        one_vector_case(XVCPU_XCR0_X87 | XVCPU_XCR0_SSE, 0, "XCR0 with SSE");
        all = XVCPU_XCR0_X87 | XVCPU_XCR0_SSE | XVCPU_XCR0_AVX;
        if (METAL_HAS(cpu, AVX))
            one_vector_case(all, 1, "XCR0 with AVX");
        else
            skip("T28 no AVX here");
        all |= XVCPU_XCR0_OPMASK | XVCPU_XCR0_ZMM_HI256 | XVCPU_XCR0_HI16_ZMM;
        if (METAL_HAS(cpu, AVX512))
            one_vector_case(all, 2, "XCR0 with AVX-512");
        else
            skip("T28 no AVX-512 here");
    }

    // A kernel that saves lazily: CR0.TS is set, and no #NM may come of what the library does.
    START(vector_guest);
    metal_set(&vcpu, XVCPU_REG_R10, 0x1122334455667788ul);
    vectors_load(&host_vectors);
    write_cr0(cr0 | XVCPU_CR0_TS);
    answer = metal_call(&vcpu);
    is_u64(read_cr0(), cr0 | XVCPU_CR0_TS, "T28 CR0.TS of the host is kept");
    write_cr0(cr0);
    vectors_store(&now_vectors);
    is_u64(answer, 0, "T28 the guest has its registers all the same");
    ok(memcmp(&host_vectors, &now_vectors, sizeof now_vectors) == 0, "T28 so has the host");
    end();
}

// -- Interrupts and NMIs

#define VECTOR_TIMER 0x41
#define TIMER_TICKS 3000
#define ROUNDS 10u
#define GUEST_COUNTER 0x6000
#define GUEST_FLAG 0x6040

static volatile u32 timer_ticks, timer_with_if;

static void count_timer(struct kernel_frame *frame)
{
    timer_ticks = timer_ticks + 1;
    if ((frame->rflags & XVCPU_RFLAGS_IF) != 0)
        timer_with_if = timer_with_if + 1;
    apic_eoi();
}

GUEST_CODE(spin_guest, 64,
           "sti\n"
           "spin_on: incq " GUEST_NUMBER(GUEST_COUNTER) "\n jmp spin_on\n");
GUEST_CODE(spin_exits_guest, 64,
           "sti\n"
           "spin_exits_on: incq " GUEST_NUMBER(GUEST_COUNTER) "\n"
           "xor %eax, %eax\n cpuid\n jmp spin_exits_on\n");

static void let_interrupts_in(void)
{
    sti();
    cpu_pause();
    cpu_pause();
    cli();
}

static void test_interrupts(const u8 *code, const u8 *code_end, bool acknowledge, const char *what)
{
    xvcpu_desc desc = {0};
    u64 hooked = metal_host_interrupts;
    bool reason = true, off = true, not_before = true, once = true, progress = true, vector = true;
    u64 counter = 0;
    u32 i;

    desc.acknowledge_interrupts = acknowledge;
    start(code, code_end, &desc);
    kernel_set_handler(VECTOR_TIMER, count_timer);
    timer_ticks = timer_with_if = 0;
    for (i = 1; i <= ROUNDS; i++) {
        metal_budget(&vcpu, METAL_BUDGET);
        apic_timer_oneshot(VECTOR_TIMER, TIMER_TICKS);
        reason = reason && metal_run(&vcpu) == XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT;
        off = off && (read_rflags() & XVCPU_RFLAGS_IF) == 0;
        vector = vector && (!acknowledge || vcpu.exit.u.vector == VECTOR_TIMER);
        not_before = not_before && timer_ticks == (acknowledge ? i : i - 1);
        let_interrupts_in();
        once = once && timer_ticks == i;
        let_interrupts_in();
        once = once && timer_ticks == i;
        progress = progress && *metal_word(&vm, GUEST_COUNTER) > counter;
        counter = *metal_word(&vm, GUEST_COUNTER);
        if (!reason || !once)
            break; // what is in service blocks all that follow
    }
    ok(reason, "T29 %s: a timer interrupt ends the run", what);
    ok(off, "T29 %s: interrupts are off after it", what);
    ok(vector, "T66 %s: the vector is told where it was acknowledged", what);
    if (acknowledge)
        ok(not_before && timer_with_if == 0,
           "T66 %s: the handler ran before the run returned, with interrupts off", what);
    else
        ok(not_before, "T29 %s: the handler runs when interrupts are enabled, not before", what);
    ok(once, "T29 T66 %s: %u interrupts, %u calls of the handler", what, ROUNDS, timer_ticks);
    is_u64(metal_host_interrupts - hooked, acknowledge ? ROUNDS : 0, "T66 %s: calls of the hook",
           what);
    ok(progress, "T29 %s: the guest went on in between", what);
    apic_timer_stop();
    kernel_set_handler(VECTOR_TIMER, 0);
    end();
}

// Sends NMIs through the host's APIC, which lies at GUEST_APIC, to the processor it runs on.
#define GUEST_APIC 0x3fe00000
#define GUEST_ICR_HIGH 0x3fe00310
#define GUEST_ICR_LOW 0x3fe00300
GUEST_CODE(nmi_guest, 64,
           "mov $10, %ebx\n"
           "nmi_next:\n"
           "mov %r8d, " GUEST_NUMBER(GUEST_ICR_HIGH) "\n"
           "movl $0x4400, " GUEST_NUMBER(GUEST_ICR_LOW) "\n"
           "mov $100, %ecx\n"
           "1: loop 1b\n"
           "dec %ebx\n"
           "jnz nmi_next\n"
           "mov $0x4e4d49, %eax\n"
           "vmcall\n");

static volatile u32 nmis, nmis_wrong;
static struct tables nmi_tables;
static u64 nmi_lstar, nmi_cr3;

static void count_nmi(struct kernel_frame *frame)
{
    struct tables now = look_at_tables();
    (void)frame;
    nmis = nmis + 1;
    if (memcmp(&now, &nmi_tables, sizeof now) != 0 || rdmsr(XVCPU_MSR_IA32_LSTAR) != nmi_lstar ||
        read_cr3() != nmi_cr3)
        nmis_wrong = nmis_wrong + 1;
}

static void expect_nmis(void)
{
    nmis = nmis_wrong = 0;
    nmi_tables = look_at_tables();
    nmi_lstar = rdmsr(XVCPU_MSR_IA32_LSTAR);
    nmi_cr3 = read_cr3();
    kernel_set_handler(KERNEL_VECTOR_NMI, count_nmi);
}

static void test_nmi(void)
{
    xvcpu_error error;
    u32 after;

    START(nmi_guest);
    metal_must(xvcpu_ept_map(&vm.ept, GUEST_APIC, 0xfee00000, 0x1000, XVCPU_EPT_RWX,
                             XVCPU_MEMORY_UC, &error),
               &error, "map the APIC");
    metal_set(&vcpu, XVCPU_REG_R8, (u64)cpu_apic_id(cpu_id()) << 24);
    metal_set(&vcpu, XVCPU_REG_LSTAR, 0x1234);
    expect_nmis();
    is_u64(metal_call(&vcpu), 0x4e4d49, "T29 NMIs do not end the run");
    is_u64(nmis, 10, "T29 each of 10 reached the host's handler once");
    is_u64(nmis_wrong, 0, "T29 on the host's own state");
    after = nmis;
    apic_send_nmi(cpu_id());
    delay_us(10);
    is_u64(nmis - after, 1, "T29 NMIs are not blocked after the run");
    kernel_set_handler(KERNEL_VECTOR_NMI, 0);
    end();
}

// Counts until somebody raises the flag.
GUEST_CODE(until_flag_guest, 64,
           "sti\n"
           "until_flag: incq " GUEST_NUMBER(GUEST_COUNTER) "\n"
           "cmpq $0, " GUEST_NUMBER(GUEST_FLAG) "\n"
           "je until_flag\n"
           "mov $0x464c4147, %eax\n"
           "vmcall\n");

static void send_nmis(void *arg)
{
    const unsigned target = *(const unsigned *)arg;
    volatile u64 *counter = metal_word(&vm, GUEST_COUNTER);
    u32 i;
    for (i = 0; i < ROUNDS; i++) {
        const u64 before = *counter;
        u32 patience = 1000000;
        while (*counter < before + 20 && --patience != 0) // the guest is running
            cpu_pause();
        apic_send_nmi(target);
        while (nmis <= i && --patience != 0)
            cpu_pause();
    }
    *(volatile u64 *)metal_word(&vm, GUEST_FLAG) = 1;
}

static void test_nmi_from_elsewhere(void)
{
    unsigned here = cpu_id();
    u64 answer;

    if (cpu_count() < 2) {
        skip("T29 one processor: no NMI from another");
        return;
    }
    START(until_flag_guest);
    metal_budget(&vcpu, 5 * METAL_BUDGET);
    expect_nmis();
    cpu_run_on(1, send_nmis, &here);
    answer = metal_call(&vcpu);
    cpu_wait(1);
    is_u64(answer, 0x464c4147, "T29 NMIs from another processor do not end the run");
    is_u64(nmis, ROUNDS, "T29 each reached the host's handler once");
    is_u64(nmis_wrong, 0, "T29 on the host's own state");
    kernel_set_handler(KERNEL_VECTOR_NMI, 0);
    end();
}

int kernel_main(void)
{
    cpu = metal_enable();
    test_tables();
    test_own_tables();
    test_moving_tables();
    test_left_to_host();
    test_cr3();
    test_syscall_msrs();
    test_tsc_aux();
    test_debug_registers();
    test_cr0();
    test_cr2();
    test_vectors();
    test_interrupts(spin_guest, spin_guest_end, false, "not acknowledged");
    test_interrupts(spin_guest, spin_guest_end, true, "acknowledged");
    test_interrupts(spin_exits_guest, spin_exits_guest_end, false, "among other exits");
    test_nmi();
    test_nmi_from_elsewhere();
    metal_disable(cpu);
    is_u64(metal_pages, 0, "every page came back");
    return tap_done();
}
