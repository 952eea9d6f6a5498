// metal.h - what the bare-metal tests share: the library with its hooks, guest code written in
// assembly, guest memory, and virtual CPUs ready to run.
//
//     GUEST_CODE(double_it, 64, "again: add %rax, %rax; vmcall; jmp again");
//
//     static struct metal_vm vm;
//     static xvcpu vcpu;
//     xvcpu_cpu *cpu = metal_enable();
//     metal_vm_create(&vm, cpu, METAL_VM_BYTES);
//     metal_vcpu_create(&vcpu, &vm, cpu, 0);
//     METAL_START(&vcpu, &vm, METAL_LONG, double_it);
//     metal_set(&vcpu, XVCPU_REG_RAX, 21);
//     is_u64(metal_call(&vcpu), 42, "the guest doubles");
//
// What cannot fail in a working library (metal_...) ends the test when it does; what is under test
// is called directly. Every guest started here has a budget: a hang becomes a failed call.
//
// Before including it a test may define hooks of its own (XVCPU_TRACE_EXIT, XVCPU_HOST_NMI...).
#ifndef XVCPU_METAL_METAL_H
#define XVCPU_METAL_METAL_H

#include "tap.h"

#define METAL_UNUSED __attribute__((unused))

// -- Hooks: pages
// The allocator counts, hands out pages full of garbage, and fails when it is told to.

#define METAL_GARBAGE 0xa5
#define METAL_NEVER (~0u)

static u32 metal_pages;                     // pages the library holds now
static unsigned metal_fail_in = METAL_NEVER; // so many allocations work, then all fail
static u64 metal_misalign;                  // added to the addresses handed out
static u64 metal_lie;                       // added to physical addresses told

METAL_UNUSED static void *metal_page_alloc(void)
{
    u8 *page;
    if (metal_fail_in == 0)
        return NULL;
    if (metal_fail_in != METAL_NEVER)
        metal_fail_in--;
    page = page_alloc();
    if (!page)
        return NULL;
    memset(page, METAL_GARBAGE, KERNEL_PAGE_SIZE);
    __atomic_fetch_add(&metal_pages, 1, __ATOMIC_RELAXED);
    return page + metal_misalign;
}

METAL_UNUSED static void metal_page_free(void *page)
{
    __atomic_fetch_sub(&metal_pages, 1, __ATOMIC_RELAXED);
    page_free((u8 *)page - metal_misalign);
}

// -- Hooks: log
// The last message of level ERROR is kept for tests; metal_log_level says which are printed.

static int metal_log_level = -1; // XVCPU_LOG_x, or -1: none
static const char *metal_log_item = "";
static const char *metal_log_text = "";
static unsigned metal_log_lines;

METAL_UNUSED static void metal_log(int level, const char *item, const char *text, u64 a, u64 b)
{
    __atomic_fetch_add(&metal_log_lines, 1, __ATOMIC_RELAXED);
    if (level == 0) {
        metal_log_item = item;
        metal_log_text = text;
    }
    if (level <= metal_log_level)
        kprintf("# log %d: %s: %s 0x%lx 0x%lx\n", level, item, text, a, b);
}

// -- Hooks: a host interrupt acknowledged by the exit
// Enters the host's handler through its gate as the processor would have done.

struct metal_table {
    u16 limit;
    u64 base;
} __attribute__((packed));

METAL_UNUSED static struct metal_table metal_sidt(void)
{
    struct metal_table table;
    __asm__ volatile("sidt %0" : "=m"(table));
    return table;
}

METAL_UNUSED static struct metal_table metal_sgdt(void)
{
    struct metal_table table;
    __asm__ volatile("sgdt %0" : "=m"(table));
    return table;
}

static u64 metal_host_interrupts; // calls of the hook

METAL_UNUSED static void metal_host_interrupt(u8 vector)
{
    const u8 *gate = (const u8 *)(uintptr_t)(metal_sidt().base + 16ul * vector);
    u64 entry = 0, stack;
    memcpy(&entry, gate, 2);
    memcpy((u8 *)&entry + 2, gate + 6, 6);
    metal_host_interrupts++;
    __asm__ volatile("movq %%rsp, %0\n\t"
                     "andq $-16, %%rsp\n\t"
                     "movl %%ss, %%eax\n\t"
                     "pushq %%rax\n\t"
                     "pushq %0\n\t"
                     "pushfq\n\t"
                     "movl %%cs, %%eax\n\t"
                     "pushq %%rax\n\t"
                     "call *%1"
                     : "=&r"(stack)
                     : "r"(entry)
                     : "rax", "memory", "cc");
}

#ifndef XVCPU_VIRT_TO_PHYS
#define XVCPU_VIRT_TO_PHYS(context, pointer) ((void)(context), phys_of(pointer) + metal_lie)
#define XVCPU_PHYS_TO_VIRT(context, physical) ((void)(context), virt_of(physical))
#endif
#ifndef XVCPU_ALLOC_PAGE
#define XVCPU_ALLOC_PAGE(context) ((void)(context), metal_page_alloc())
#define XVCPU_FREE_PAGE(context, page) ((void)(context), metal_page_free(page))
#endif
#ifndef XVCPU_LOG
#define XVCPU_LOG(context, level, item, text, a, b)                                                \
    ((void)(context), metal_log((int)(level), item, text, a, b))
#endif
#ifndef XVCPU_CPU_ID
#define XVCPU_CPU_ID(context) ((void)(context), cpu_id())
#endif
#ifndef XVCPU_HOST_INTERRUPT
#define XVCPU_HOST_INTERRUPT(context, vector) ((void)(context), metal_host_interrupt(vector))
#endif
#define XVCPU_IMPLEMENTATION
#include "../../xvcpu.h"

// -- Errors

METAL_UNUSED static void metal_explain(const xvcpu_error *error)
{
    diag("%s: %s: value 0x%lx, bits 0x%lx", xvcpu_status_name(error->status),
         error->detail ? error->detail : "(null)", error->value, error->bits);
    if (error->msr != 0)
        diag("  MSR %s", xvcpu_msr_name(error->msr));
    if (error->field != 0)
        diag("  field %s", xvcpu_vmcs_field_name(error->field));
    if (error->instruction_error != 0)
        diag("  VM-instruction error %u: %s", error->instruction_error,
             xvcpu_instruction_error_text(error->instruction_error));
    if (error->exit_reason != 0)
        diag("  exit reason 0x%x, qualification 0x%lx", error->exit_reason, error->qualification);
}

// Ends the test if `status` is a failure.
METAL_UNUSED static void metal_must(xvcpu_status status, const xvcpu_error *error,
                                    const char *what)
{
    if (status == XVCPU_STATUS_OK)
        return;
    if (error)
        metal_explain(error);
    bail_out("%s: %s", what, xvcpu_status_name(status));
}

METAL_UNUSED static bool metal_is_status(xvcpu_status got, xvcpu_status want,
                                         const xvcpu_error *error, const char *what, int line)
{
    const bool pass =
        tap_ok(got == want, __FILE__, line, "%s: %s", what, xvcpu_status_name(want));
    if (!pass && got == XVCPU_STATUS_OK)
        diag("got OK");
    else if (!pass && error)
        metal_explain(error);
    return pass;
}
// Tests a status; `error` (may be null) explains a wrong one.
#define is_status(got, want, error, what)                                                          \
    metal_is_status((got), XVCPU_STATUS_##want, (error), (what), __LINE__)

// -- Guest code
// GUEST_CODE(name, bits, "instructions") puts a program into the test: const u8 name[], name_end[].
// The code runs at METAL_CODE, so an absolute address is `label - name + METAL_CODE`; use
// GUEST_ADDRESS(name, label) in the text. Labels are the file's: make them unique, or numbers.

#define METAL_STRING2(x) #x
#define METAL_STRING(x) METAL_STRING2(x)
#define GUEST_CODE(name, bits, text)                                                               \
    extern const u8 name[], name##_end[];                                                          \
    __asm__(".pushsection .rodata\n"                                                               \
            ".balign 16\n"                                                                         \
            ".code" #bits "\n" #name ":\n" text "\n" #name "_end:\n"                               \
            ".code64\n"                                                                            \
            ".popsection")
#define GUEST_ADDRESS(name, label) "(" #label " - " #name " + " METAL_STRING(METAL_CODE) ")"
#define GUEST_NUMBER(x) METAL_STRING(x)

// -- Guest memory
// One piece from guest-physical 0 on, mapped with all permissions. What lies where is up to the
// test, except for code that METAL_START loads.

#define METAL_CODE 0x1000   // METAL_START: the program
#define METAL_DATA 0x6000   // nothing put here
#define METAL_STACK 0x9000  // METAL_START: initial stack pointer
#define METAL_TABLES 0xa000 // METAL_START, METAL_LONG: three pages of page tables
#define METAL_VM_BYTES 0x20000

struct metal_vm {
    xvcpu_ept ept;
    u8 *memory;
    u64 bytes;
};

METAL_UNUSED static void metal_vm_create(struct metal_vm *vm, const xvcpu_cpu *cpu, u64 bytes)
{
    xvcpu_ept_desc desc = {0};
    xvcpu_error error;
    memset(vm, 0, sizeof *vm);
    vm->bytes = bytes;
    vm->memory = page_alloc_contiguous(bytes / KERNEL_PAGE_SIZE, 1);
    if (!vm->memory)
        bail_out("no memory for a guest");
    metal_must(xvcpu_ept_create(&vm->ept, &desc, &cpu->caps, &error), &error, "xvcpu_ept_create");
    metal_must(xvcpu_ept_map(&vm->ept, 0, phys_of(vm->memory), bytes, XVCPU_EPT_RWX,
                             XVCPU_MEMORY_WB, &error),
               &error, "xvcpu_ept_map");
}

METAL_UNUSED static void metal_vm_destroy(struct metal_vm *vm)
{
    xvcpu_ept_destroy(&vm->ept);
    page_free_contiguous(vm->memory, vm->bytes / KERNEL_PAGE_SIZE);
    vm->memory = NULL;
}

METAL_UNUSED static u64 *metal_word(const struct metal_vm *vm, u64 gpa)
{
    return (u64 *)(void *)(vm->memory + gpa);
}

METAL_UNUSED static void metal_load(struct metal_vm *vm, u64 gpa, const u8 *from, const u8 *end)
{
    if (gpa + (u64)(end - from) > vm->bytes)
        bail_out("guest code does not fit");
    memcpy(vm->memory + gpa, from, (size_t)(end - from));
}
#define METAL_LOAD(vm, gpa, name) metal_load((vm), (gpa), name, name##_end)

#define METAL_PTE_TABLE 0x7ul  // present, writable, user
#define METAL_PTE_LARGE 0x87ul // and 2 MiB
#define METAL_LARGE 0x200000ul

// Guest page tables at `gpa`: virtual = physical for the first GiB, for 4-level paging. Returns
// what CR3 needs. Three pages.
METAL_UNUSED static u64 metal_page_tables(struct metal_vm *vm, u64 gpa)
{
    memset(vm->memory + gpa, 0, 3 * KERNEL_PAGE_SIZE);
    *metal_word(vm, gpa) = (gpa + KERNEL_PAGE_SIZE) | METAL_PTE_TABLE;
    *metal_word(vm, gpa + KERNEL_PAGE_SIZE) = (gpa + 2 * KERNEL_PAGE_SIZE) | METAL_PTE_TABLE;
    for (u64 i = 0; i < 512; i++)
        *metal_word(vm, gpa + 2 * KERNEL_PAGE_SIZE + 8 * i) = i * METAL_LARGE | METAL_PTE_LARGE;
    return gpa;
}

// -- Processors and virtual CPUs

static xvcpu_cpu metal_cpus[KERNEL_CPUS_MAX];

// Enables VMX on this processor.
METAL_UNUSED static xvcpu_cpu *metal_enable(void)
{
    xvcpu_cpu *cpu = &metal_cpus[cpu_id()];
    xvcpu_cpu_desc desc = {0};
    xvcpu_error error;
    desc.id = cpu_id();
    metal_must(xvcpu_cpu_enable(cpu, &desc, &error), &error, "xvcpu_cpu_enable");
    return cpu;
}

METAL_UNUSED static void metal_disable(xvcpu_cpu *cpu)
{
    xvcpu_error error;
    metal_must(xvcpu_cpu_disable(cpu, &error), &error, "xvcpu_cpu_disable");
}

METAL_UNUSED static bool metal_can(const xvcpu_cpu *cpu, xvcpu_control_word word, u64 bits)
{
    return (cpu->caps.controls[word].may_be_1 & bits) == bits;
}

METAL_UNUSED static bool metal_is_unrestricted(const xvcpu_cpu *cpu)
{
    return metal_can(cpu, XVCPU_WORD_PROC2, XVCPU_PROC2_UNRESTRICTED_GUEST);
}

METAL_UNUSED static bool metal_has_timer(const xvcpu_cpu *cpu)
{
    return metal_can(cpu, XVCPU_WORD_PIN, XVCPU_PIN_PREEMPTION_TIMER);
}

// Whether a guest can be given a feature here.
#define METAL_HAS(cpu, feature)                                                                    \
    (((cpu)->caps.features & XVCPU_BIT64(XVCPU_FEATURE_##feature)) != 0)

#define METAL_BUDGET 20000000ul // ticks: some 0.3 s of the emulator

METAL_UNUSED static void metal_budget(xvcpu *vcpu, u64 ticks)
{
    xvcpu_error error;
    if (metal_has_timer(vcpu->cpu))
        metal_must(xvcpu_set_budget(vcpu, ticks, &error), &error, "xvcpu_set_budget");
}

// Creates and binds; `desc` (may be null) has everything but the EPT.
METAL_UNUSED static void metal_vcpu_create(xvcpu *vcpu, struct metal_vm *vm, xvcpu_cpu *cpu,
                                           const xvcpu_desc *desc)
{
    xvcpu_desc own = {0};
    xvcpu_error error;
    if (desc)
        own = *desc;
    own.ept = &vm->ept;
    metal_must(xvcpu_create(vcpu, &own, &cpu->caps, &error), &error, "xvcpu_create");
    metal_must(xvcpu_bind(vcpu, cpu, &error), &error, "xvcpu_bind");
}

METAL_UNUSED static void metal_vcpu_destroy(xvcpu *vcpu)
{
    xvcpu_error error;
    metal_must(xvcpu_destroy(vcpu, &error), &error, "xvcpu_destroy");
}

METAL_UNUSED static u64 metal_get(xvcpu *vcpu, xvcpu_reg reg)
{
    xvcpu_error error;
    u64 value = 0;
    metal_must(xvcpu_get(vcpu, reg, &value, &error), &error, xvcpu_register_name(reg));
    return value;
}

METAL_UNUSED static void metal_set(xvcpu *vcpu, xvcpu_reg reg, u64 value)
{
    xvcpu_error error;
    metal_must(xvcpu_set(vcpu, reg, value, &error), &error, xvcpu_register_name(reg));
}

enum metal_mode { METAL_REAL, METAL_PROTECTED, METAL_LONG };

// Loads a program at METAL_CODE and makes the virtual CPU ready to run it from its start.
METAL_UNUSED static void metal_start(xvcpu *vcpu, struct metal_vm *vm, enum metal_mode mode,
                                     const u8 *code, const u8 *end)
{
    xvcpu_error error;
    metal_load(vm, METAL_CODE, code, end);
    if (mode == METAL_REAL) {
        metal_must(xvcpu_preset_real(vcpu, 0, METAL_CODE, &error), &error, "xvcpu_preset_real");
        metal_set(vcpu, XVCPU_REG_RSP, METAL_STACK);
    } else if (mode == METAL_PROTECTED) {
        metal_must(xvcpu_preset_protected(vcpu, METAL_CODE, METAL_STACK, &error), &error,
                   "xvcpu_preset_protected");
    } else {
        metal_must(xvcpu_preset_long(vcpu, metal_page_tables(vm, METAL_TABLES), METAL_CODE,
                                     METAL_STACK, &error),
                   &error, "xvcpu_preset_long");
    }
    metal_budget(vcpu, METAL_BUDGET);
}
#define METAL_START(vcpu, vm, mode, name) metal_start((vcpu), (vm), (mode), name, name##_end)

#define METAL_FAILED 0xffffffffu

// Runs until the library returns: the basic exit reason, or METAL_FAILED after a failure, which is
// explained. Does not answer exits.
METAL_UNUSED static u32 metal_run(xvcpu *vcpu)
{
    xvcpu_error error;
    if (xvcpu_run(vcpu, &error) != XVCPU_STATUS_OK) {
        metal_explain(&error);
        return METAL_FAILED;
    }
    return vcpu->exit.reason;
}

METAL_UNUSED static void metal_explain_exit(xvcpu *vcpu)
{
    diag("exit %s (%u) at 0x%lx, qualification 0x%lx",
         xvcpu_exit_reason_name(vcpu->exit.reason), vcpu->exit.reason, vcpu->exit.rip,
         vcpu->exit.qualification);
    if (vcpu->exit.reason == XVCPU_EXIT_REASON_EPT_VIOLATION)
        diag("  guest-physical 0x%lx", vcpu->exit.u.memory.gpa);
    if (vcpu->exit.reason == XVCPU_EXIT_REASON_EXCEPTION_NMI)
        diag("  %s", xvcpu_exception_name(vcpu->exit.u.exception.vector));
}

#define METAL_NO_CALL 0xdeadfffffffffffful

// Runs to the guest's next VMCALL, which is then answered: the guest's RAX, or METAL_NO_CALL if it
// did anything else that the library returns for.
METAL_UNUSED static u64 metal_call(xvcpu *vcpu)
{
    const u32 reason = metal_run(vcpu);
    if (reason == XVCPU_EXIT_REASON_VMCALL) {
        const u64 number = vcpu->exit.u.vmcall.number;
        xvcpu_answer_done(vcpu, number); // what is answered becomes RAX
        return number;
    }
    if (reason != METAL_FAILED)
        metal_explain_exit(vcpu);
    return METAL_NO_CALL;
}

// -- The processor behind the library's back

static inline METAL_UNUSED xvcpu_vmx_result metal_vmread(u64 field, u64 *value)
{
    return xvcpu_vmread(field, value);
}

static inline METAL_UNUSED xvcpu_vmx_result metal_vmwrite(u64 field, u64 value)
{
    return xvcpu_vmwrite(field, value);
}

// A field of the VMCS of `vcpu`, which becomes the current one.
METAL_UNUSED static u64 metal_field(xvcpu *vcpu, u32 field)
{
    u64 value = 0;
    (void)metal_get(vcpu, XVCPU_REG_RIP);
    if (metal_vmread(field, &value) != XVCPU_VMX_SUCCEED)
        bail_out("VMREAD of %s", xvcpu_vmcs_field_name(field));
    return value;
}

METAL_UNUSED static void metal_set_field(xvcpu *vcpu, u32 field, u64 value)
{
    (void)metal_get(vcpu, XVCPU_REG_RIP);
    if (metal_vmwrite(field, value) != XVCPU_VMX_SUCCEED)
        bail_out("VMWRITE of %s", xvcpu_vmcs_field_name(field));
}

#endif
