// counted.c - the library once more, with CPU instructions that count themselves. Its trampoline is
// that of timed.c; what that writes when the stack moved is not counted.
#define XVCPU_SIMULATED
#include "subject.h"

static struct bench_sums count;

const char *bench_counted(enum bench_exit which, struct bench_setting setting,
                          struct bench_sums *sums)
{
    struct bench_sums once = {0};
    u64 ticks;
    const char *failure;
    count = once;
    failure = run_once(which, setting, BENCH_REPETITIONS, &ticks);
    once = count;
    if (!failure)
        failure = run_once(which, setting, 2 * BENCH_REPETITIONS, &ticks);
    sums->vmreads = count.vmreads - 2 * once.vmreads;
    sums->vmwrites = count.vmwrites - 2 * once.vmwrites;
    sums->rdmsrs = count.rdmsrs - 2 * once.rdmsrs;
    sums->wrmsrs = count.wrmsrs - 2 * once.wrmsrs;
    sums->xsetbvs = count.xsetbvs - 2 * once.xsetbvs;
    return failure;
}

// -- VMX

static xvcpu_vmx_result outcome(bool cf, bool zf)
{
    return cf ? XVCPU_VMX_FAIL_INVALID : zf ? XVCPU_VMX_FAIL_VALID : XVCPU_VMX_SUCCEED;
}

// An instruction with one operand or two that reports in CF and ZF.
#define VMX_INSTRUCTION(text, ...)                                                                 \
    bool cf, zf;                                                                                   \
    __asm__ volatile(text : "=@ccc"(cf), "=@ccz"(zf) : __VA_ARGS__ : "memory");                    \
    return outcome(cf, zf)

xvcpu_vmx_result xvcpu_vmxon(xvcpu_u64 physical)
{
    VMX_INSTRUCTION("vmxon %2", "m"(physical));
}

xvcpu_vmx_result xvcpu_vmxoff(void)
{
    VMX_INSTRUCTION("vmxoff", "i"(0));
}

xvcpu_vmx_result xvcpu_vmclear(xvcpu_u64 physical)
{
    VMX_INSTRUCTION("vmclear %2", "m"(physical));
}

xvcpu_vmx_result xvcpu_vmptrld(xvcpu_u64 physical)
{
    VMX_INSTRUCTION("vmptrld %2", "m"(physical));
}

void xvcpu_vmptrst(xvcpu_u64 *physical)
{
    __asm__ volatile("vmptrst %0" : "=m"(*physical) : : "cc", "memory");
}

xvcpu_vmx_result xvcpu_vmread(xvcpu_u64 field, xvcpu_u64 *value)
{
    bool cf, zf;
    count.vmreads++;
    __asm__ volatile("vmread %3, %2" : "=@ccc"(cf), "=@ccz"(zf), "=r"(*value) : "r"(field));
    return outcome(cf, zf);
}

xvcpu_vmx_result xvcpu_vmwrite(xvcpu_u64 field, xvcpu_u64 value)
{
    count.vmwrites++;
    VMX_INSTRUCTION("vmwrite %3, %2", "r"(field), "r"(value));
}

xvcpu_vmx_result xvcpu_invept(xvcpu_u64 type, xvcpu_u64 eptp)
{
    const u64 descriptor[2] = {eptp, 0};
    VMX_INSTRUCTION("invept %2, %3", "m"(descriptor), "r"(type));
}

xvcpu_vmx_result xvcpu_invvpid(xvcpu_u64 type, xvcpu_u16 vpid, xvcpu_u64 address)
{
    const u64 descriptor[2] = {vpid, address};
    VMX_INSTRUCTION("invvpid %2, %3", "m"(descriptor), "r"(type));
}

// -- Registers

xvcpu_u64 xvcpu_rdmsr(xvcpu_u32 index)
{
    count.rdmsrs++;
    return rdmsr(index);
}

void xvcpu_wrmsr(xvcpu_u32 index, xvcpu_u64 value)
{
    count.wrmsrs++;
    wrmsr(index, value);
}

xvcpu_u64 xvcpu_xgetbv(void)
{
    return xgetbv(0);
}

void xvcpu_xsetbv(xvcpu_u64 value)
{
    count.xsetbvs++;
    xsetbv(0, value);
}

xvcpu_u64 xvcpu_read_cr0(void)
{
    return read_cr0();
}

xvcpu_u64 xvcpu_read_cr3(void)
{
    return read_cr3();
}

xvcpu_u64 xvcpu_read_cr4(void)
{
    return read_cr4();
}

void xvcpu_write_cr0(xvcpu_u64 value)
{
    write_cr0(value);
}

void xvcpu_write_cr4(xvcpu_u64 value)
{
    write_cr4(value);
}

xvcpu_u64 xvcpu_read_dr(xvcpu_u32 number)
{
    u64 value = 0;
    switch (number) {
    case 0: __asm__ volatile("mov %%dr0, %0" : "=r"(value)); break;
    case 1: __asm__ volatile("mov %%dr1, %0" : "=r"(value)); break;
    case 2: __asm__ volatile("mov %%dr2, %0" : "=r"(value)); break;
    case 3: __asm__ volatile("mov %%dr3, %0" : "=r"(value)); break;
    case 6: __asm__ volatile("mov %%dr6, %0" : "=r"(value)); break;
    default: __asm__ volatile("mov %%dr7, %0" : "=r"(value)); break;
    }
    return value;
}

void xvcpu_write_dr(xvcpu_u32 number, xvcpu_u64 value)
{
    switch (number) {
    case 0: __asm__ volatile("mov %0, %%dr0" : : "r"(value)); break;
    case 1: __asm__ volatile("mov %0, %%dr1" : : "r"(value)); break;
    case 2: __asm__ volatile("mov %0, %%dr2" : : "r"(value)); break;
    case 3: __asm__ volatile("mov %0, %%dr3" : : "r"(value)); break;
    case 6: __asm__ volatile("mov %0, %%dr6" : : "r"(value)); break;
    default: __asm__ volatile("mov %0, %%dr7" : : "r"(value) : "memory"); break;
    }
}

void xvcpu_cpuid(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_cpuid_regs *regs)
{
    const struct kernel_cpuid result = cpuid(leaf, subleaf);
    regs->eax = result.eax;
    regs->ebx = result.ebx;
    regs->ecx = result.ecx;
    regs->edx = result.edx;
}

xvcpu_u64 xvcpu_rdtsc(void)
{
    return rdtsc();
}

// -- Descriptor tables and selectors

struct table_operand {
    u16 limit;
    u64 base;
} __attribute__((packed));

#define STORE_TABLE(text)                                                                          \
    struct table_operand operand;                                                                  \
    __asm__ volatile(text " %0" : "=m"(operand));                                                  \
    table->limit = operand.limit;                                                                  \
    table->base = operand.base

#define LOAD_TABLE(text)                                                                           \
    const struct table_operand operand = {table->limit, table->base};                              \
    __asm__ volatile(text " %0" : : "m"(operand) : "memory")

void xvcpu_sgdt(xvcpu_table_register *table)
{
    STORE_TABLE("sgdt");
}

void xvcpu_sidt(xvcpu_table_register *table)
{
    STORE_TABLE("sidt");
}

void xvcpu_lgdt(const xvcpu_table_register *table)
{
    LOAD_TABLE("lgdt");
}

void xvcpu_lidt(const xvcpu_table_register *table)
{
    LOAD_TABLE("lidt");
}

xvcpu_u16 xvcpu_sldt(void)
{
    u16 selector;
    __asm__ volatile("sldt %0" : "=m"(selector));
    return selector;
}

void xvcpu_lldt(xvcpu_u16 selector)
{
    __asm__ volatile("lldt %0" : : "m"(selector) : "memory");
}

xvcpu_u16 xvcpu_str(void)
{
    u16 selector;
    __asm__ volatile("str %0" : "=m"(selector));
    return selector;
}

void xvcpu_ltr(xvcpu_u16 selector)
{
    __asm__ volatile("ltr %0" : : "m"(selector) : "memory");
}

xvcpu_u16 xvcpu_read_selector(xvcpu_segment segment)
{
    u32 selector = 0;
    switch ((u32)segment) {
    case XVCPU_ES: __asm__ volatile("mov %%es, %0" : "=r"(selector)); break;
    case XVCPU_CS: __asm__ volatile("mov %%cs, %0" : "=r"(selector)); break;
    case XVCPU_SS: __asm__ volatile("mov %%ss, %0" : "=r"(selector)); break;
    case XVCPU_DS: __asm__ volatile("mov %%ds, %0" : "=r"(selector)); break;
    case XVCPU_FS: __asm__ volatile("mov %%fs, %0" : "=r"(selector)); break;
    default: __asm__ volatile("mov %%gs, %0" : "=r"(selector)); break;
    }
    return (u16)selector;
}

void xvcpu_load_selector(xvcpu_segment segment, xvcpu_u16 selector)
{
    const u32 value = selector;
    switch ((u32)segment) {
    case XVCPU_ES: __asm__ volatile("mov %0, %%es" : : "r"(value) : "memory"); break;
    case XVCPU_DS: __asm__ volatile("mov %0, %%ds" : : "r"(value) : "memory"); break;
    case XVCPU_FS: __asm__ volatile("mov %0, %%fs" : : "r"(value) : "memory"); break;
    default: __asm__ volatile("mov %0, %%gs" : : "r"(value) : "memory"); break;
    }
}

// -- Extended state

#define MASK_OPERANDS "a"((u32)mask), "d"((u32)(mask >> 32))

void xvcpu_xsave(void *area, xvcpu_u64 mask)
{
    __asm__ volatile("xsave64 (%0)" : : "r"(area), MASK_OPERANDS : "memory");
}

void xvcpu_xrstor(const void *area, xvcpu_u64 mask)
{
    __asm__ volatile("xrstor64 (%0)" : : "r"(area), MASK_OPERANDS : "memory");
}

void xvcpu_fxsave(void *area)
{
    __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

void xvcpu_fxrstor(const void *area)
{
    __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

void xvcpu_host_nmi(void)
{
    __asm__ volatile("int $2" : : : "memory");
}
