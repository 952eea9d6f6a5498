// vmfail.c - VMX instructions that fail and entries that are refused: what is reported, that the
// launch state is right after, that the host's registers are what they were.
// models: corei5_lynnfield_750 corei7_haswell_4770 corei7_skylake_x tigerlake
// cpus: 1
#include "metal.h"

static xvcpu_cpu *cpu;
static struct metal_vm vm;
static xvcpu vcpu;

GUEST_CODE(counter, 64,
           "counter_next:\n"
           "inc %rbx\n"
           "mov %rbx, %rax\n"
           "vmcall\n"
           "jmp counter_next");

// -- A call that looks at what the ABI says a call keeps

struct guarded_result {
    u64 value;
    u64 damage; // a bit for each of RBX, RBP, R12-R15, RSP; 80h DF, 100h IF
};

// Calls function(first, second). After it, guarded_scratch holds RCX, RDX, RSI, R8-R11.
struct guarded_result guarded(void *first, void *second, const void *function);
extern u64 guarded_scratch[7];
__asm__(".pushsection .text\n"
        "guarded:\n"
        "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "sub $8, %rsp\n"
        "mov %rsp, guarded_rsp(%rip)\n"
        "mov %rdx, %rax\n"
        "mov $0x5b5b5b5b, %rbx\n"
        "mov $0x5c5c5c5c, %rbp\n"
        "mov $0x5d5d5d5d, %r12\n"
        "mov $0x5e5e5e5e, %r13\n"
        "mov $0x5f5f5f5f, %r14\n"
        "mov $0x60606060, %r15\n"
        "call *%rax\n"
        "mov %rcx, guarded_scratch(%rip)\n"
        "mov %rdx, guarded_scratch+8(%rip)\n"
        "mov %rsi, guarded_scratch+16(%rip)\n"
        "mov %r8, guarded_scratch+24(%rip)\n"
        "mov %r9, guarded_scratch+32(%rip)\n"
        "mov %r10, guarded_scratch+40(%rip)\n"
        "mov %r11, guarded_scratch+48(%rip)\n"
        "xor %edx, %edx\n"
        "cmp $0x5b5b5b5b, %rbx\n je 1f\n or $0x01, %edx\n1:\n"
        "cmp $0x5c5c5c5c, %rbp\n je 1f\n or $0x02, %edx\n1:\n"
        "cmp $0x5d5d5d5d, %r12\n je 1f\n or $0x04, %edx\n1:\n"
        "cmp $0x5e5e5e5e, %r13\n je 1f\n or $0x08, %edx\n1:\n"
        "cmp $0x5f5f5f5f, %r14\n je 1f\n or $0x10, %edx\n1:\n"
        "cmp $0x60606060, %r15\n je 1f\n or $0x20, %edx\n1:\n"
        "cmp guarded_rsp(%rip), %rsp\n je 1f\n or $0x40, %edx\n1:\n"
        "mov guarded_rsp(%rip), %rsp\n"
        "pushf\n pop %rcx\n"
        "test $0x400, %ecx\n jz 1f\n or $0x80, %edx\n1:\n"
        "test $0x200, %ecx\n jz 1f\n or $0x100, %edx\n1:\n"
        "mov %eax, %eax\n"
        "add $8, %rsp\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
        "ret\n"
        ".popsection\n"
        ".pushsection .bss\n"
        ".balign 8\n"
        "guarded_rsp: .quad 0\n"
        "guarded_scratch: .skip 56\n"
        ".popsection\n");

static xvcpu_status run(xvcpu_error *error, const char *what)
{
    const struct guarded_result result =
        guarded(&vcpu, error, (const void *)(uintptr_t)xvcpu_run);
    is_u64(result.damage, 0, "%s: callee-saved registers, RSP and flags are kept", what);
    return (xvcpu_status)result.value;
}

// The trampoline alone: what compiled code around it would hide. Each call has the same RSP.
static __attribute__((noinline)) u64 enter(const char *what)
{
    const struct guarded_result result = guarded(&vcpu, 0, (const void *)(uintptr_t)xvcpui_enter);
    is_u64(result.damage, 0, "%s: the trampoline keeps registers, RSP and flags", what);
    return result.value;
}

static void start(void)
{
    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    metal_vcpu_create(&vcpu, &vm, cpu, 0);
    METAL_START(&vcpu, &vm, METAL_LONG, counter);
}

static void end(void)
{
    metal_vcpu_destroy(&vcpu);
    metal_vm_destroy(&vm);
}

// -- Bad guest state: the entry begins and fails

static void refused(u32 reason, u64 qualification, u32 launched, const char *what)
{
    xvcpu_error error;
    metal_log_text = "";
    is_status(run(&error, what), ENTRY_FAILED, &error, what);
    is_u64(error.exit_reason, XVCPU_EXIT_REASON_WORD_ENTRY_FAILURE | reason, "%s: exit reason",
           what);
    is_u64(error.qualification, qualification, "%s: qualification", what);
    is_u64(vcpu.launched, launched, "T8 %s: launched stays %u", what, launched);
    has_text(metal_log_text, xvcpu_exit_reason_name(reason), "%s: logged", what);
}

static void test_bad_guest_state(void)
{
    xvcpu_error error;
    u32 round;

    start();
    for (round = 0; round < 2; round++) { // VMLAUNCH, then VMRESUME
        metal_set_field(&vcpu, XVCPU_VMCS_GUEST_RFLAGS, 0);
        refused(XVCPU_EXIT_REASON_ENTRY_FAIL_GUEST_STATE, 0, round, "RFLAGS bit 1 clear");
        metal_set_field(&vcpu, XVCPU_VMCS_GUEST_RFLAGS, 2);
        metal_set_field(&vcpu, XVCPU_VMCS_GUEST_VMCS_LINK_PTR, 0x1001);
        refused(XVCPU_EXIT_REASON_ENTRY_FAIL_GUEST_STATE, 4, round, "link pointer not aligned");
        metal_set_field(&vcpu, XVCPU_VMCS_GUEST_VMCS_LINK_PTR, ~0ul);
        metal_set_field(&vcpu, XVCPU_VMCS_GUEST_TR_AR, 0x10000);
        refused(XVCPU_EXIT_REASON_ENTRY_FAIL_GUEST_STATE, 0, round, "TR unusable");
        metal_set_field(&vcpu, XVCPU_VMCS_GUEST_TR_AR, 0x8b);
        is_status(run(&error, "put right"), OK, &error, "T8 put right it enters");
        is_u64(vcpu.exit.reason, XVCPU_EXIT_REASON_VMCALL, "T8 and runs");
        is_u64(vcpu.exit.u.vmcall.number, round + 1, "T8 from where it was");
        is_u64(vcpu.launched, 1, "T8 now it is launched");
        xvcpu_answer_done(&vcpu, 0);
    }
    end();
}

// The second MSR to load is FS_BASE, which may not be in the list: exit reason 34 counts from 1.
static void test_bad_msr_load(void)
{
    static u64 area[4] __attribute__((aligned(16)));
    xvcpu_error error;

    start();
    area[0] = XVCPU_MSR_IA32_SYSENTER_CS;
    area[1] = 0x10;
    area[2] = XVCPU_MSR_IA32_FS_BASE;
    metal_set_field(&vcpu, XVCPU_VMCS_CTRL_ENTRY_MSR_LOAD_ADDR, phys_of(area));
    metal_set_field(&vcpu, XVCPU_VMCS_CTRL_ENTRY_MSR_LOAD_COUNT, 2);
    refused(XVCPU_EXIT_REASON_ENTRY_FAIL_MSR_LOAD, 2, 0, "T76 FS_BASE in the MSR-load area");
    metal_set_field(&vcpu, XVCPU_VMCS_CTRL_ENTRY_MSR_LOAD_COUNT, 0);
    is_status(run(&error, "put right"), OK, &error, "T8 put right it enters");
    end();
}

// -- Bad controls, bad host state: the instruction fails

static void fails(u32 number, const char *instruction, const char *text, u32 launched,
                  const char *what)
{
    xvcpu_error error;
    metal_log_text = metal_log_item = "";
    is_status(run(&error, what), VMFAIL, &error, what);
    is_u64(error.instruction_error, number, "%s: VM-instruction error", what);
    has_text(error.detail, instruction, "%s: the instruction is named", what);
    has_text(xvcpu_instruction_error_text(error.instruction_error), text, "%s: its text", what);
    ok(xvcpu_instruction_error_hint(error.instruction_error)[0] != 0, "%s: its hint", what);
    ok(metal_log_item == error.detail &&
           metal_log_text == xvcpu_instruction_error_text(error.instruction_error),
       "%s: logged", what);
    is_u64(vcpu.launched, launched, "T8 %s: launched stays %u", what, launched);
}

static void test_bad_controls(void)
{
    static const char *const names[2] = {"VMLAUNCH", "VMRESUME"};
    xvcpu_error error;
    u64 good;
    u32 round;

    start();
    for (round = 0; round < 2; round++) {
        const char *const name = names[round];
        good = metal_field(&vcpu, XVCPU_VMCS_CTRL_PIN);
        metal_set_field(&vcpu, XVCPU_VMCS_CTRL_PIN, 0);
        fails(7, name, "control", round, "pin controls 0");
        metal_set_field(&vcpu, XVCPU_VMCS_CTRL_PIN, good);

        good = metal_field(&vcpu, XVCPU_VMCS_HOST_CS_SELECTOR);
        metal_set_field(&vcpu, XVCPU_VMCS_HOST_CS_SELECTOR, 0);
        fails(8, name, "host", round, "host CS 0");
        metal_set_field(&vcpu, XVCPU_VMCS_HOST_CS_SELECTOR, good);

        good = metal_field(&vcpu, XVCPU_VMCS_HOST_TR_SELECTOR);
        metal_set_field(&vcpu, XVCPU_VMCS_HOST_TR_SELECTOR, good | 3);
        fails(8, name, "host", round, "T20 host TR with an RPL");
        metal_set_field(&vcpu, XVCPU_VMCS_HOST_TR_SELECTOR, good);

        good = metal_field(&vcpu, XVCPU_VMCS_CTRL_MSR_BITMAP);
        metal_set_field(&vcpu, XVCPU_VMCS_CTRL_MSR_BITMAP, good + 1);
        fails(7, name, "control", round, "MSR bitmap not aligned");
        metal_set_field(&vcpu, XVCPU_VMCS_CTRL_MSR_BITMAP, good);

        is_status(run(&error, "put right"), OK, &error, "T8 put right it enters");
        is_u64(vcpu.exit.u.vmcall.number, round + 1, "T8 and runs");
        xvcpu_answer_done(&vcpu, 0);
    }
    end();
}

// What the library must never do: the wrong one of VMLAUNCH and VMRESUME.
static void test_wrong_launch_state(void)
{
    xvcpu_error error;

    start();
    vcpu.launched = 1;
    fails(5, "VMRESUME", "not launched", 1, "VMRESUME of a clear VMCS");
    vcpu.launched = 0;
    is_status(run(&error, "VMLAUNCH"), OK, &error, "VMLAUNCH");
    xvcpu_answer_done(&vcpu, 0);
    vcpu.launched = 0;
    fails(4, "VMLAUNCH", "not clear", 0, "VMLAUNCH of a launched VMCS");
    vcpu.launched = 1;
    is_status(run(&error, "VMRESUME"), OK, &error, "VMRESUME");
    is_u64(vcpu.exit.u.vmcall.number, 2, "the guest went on");
    end();
}

// -- No current VMCS: no error number

static void lose_current_vmcs(void)
{
    if (xvcpu_vmclear(vcpu.vmcs_pa) != XVCPU_VMX_SUCCEED)
        bail_out("VMCLEAR");
}

static void test_no_current_vmcs(void)
{
    xvcpu_error error;
    u64 value;

    start();
    is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_VMCALL, "first call");
    metal_must(xvcpu_skip_instruction(&vcpu, &error), &error, "xvcpu_skip_instruction");
    lose_current_vmcs();
    is_status(xvcpu_get(&vcpu, XVCPU_REG_RIP, &value, &error), VMFAIL_INVALID, &error,
              "T9 VMREAD without a current VMCS");
    is_u64(error.instruction_error, 0, "T9 no error number");
    has_text(error.detail, "VMREAD", "T9 the instruction is named");
    is_u64(error.field, XVCPU_VMCS_GUEST_RIP, "T9 and the field");
    is_status(xvcpu_set(&vcpu, XVCPU_REG_RSP, 0, &error), VMFAIL_INVALID, &error,
              "T9 VMWRITE without a current VMCS");
    has_text(error.detail, "VMWRITE", "T9 the instruction is named");
    is_u64(error.field, XVCPU_VMCS_GUEST_RSP, "T9 and the field");
    is_status(run(&error, "T9 run"), VMFAIL_INVALID, &error, "T9 run");
    is_u64(error.instruction_error, 0, "T9 no error number");

    metal_must(xvcpu_unbind(&vcpu, &error), &error, "unbind");
    metal_must(xvcpu_bind(&vcpu, cpu, &error), &error, "bind");
    metal_set(&vcpu, XVCPU_REG_RSP, METAL_STACK);
    is_u64(metal_call(&vcpu), 2, "T9 bound again it goes on");
    end();
}

// -- The trampoline by itself

GUEST_CODE(leave_traces, 64,
           ".irp reg, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15\n"
           "mov $0x6e6e6e6e, %\\reg\n"
           ".endr\n"
           "std\n"
           "vmcall\n");

static void load_limits(const struct metal_table *gdt, const struct metal_table *idt)
{
    __asm__ volatile("lgdt %0\n\tlidt %1" : : "m"(*gdt), "m"(*idt) : "memory");
}

static void test_trampoline(void)
{
    const struct metal_table gdt = metal_sgdt(), idt = metal_sidt();
    bool scrubbed = true;
    u64 good, rsp;
    u32 i;

    start();
    METAL_START(&vcpu, &vm, METAL_LONG, leave_traces);
    good = metal_field(&vcpu, XVCPU_VMCS_CTRL_PIN);
    metal_set_field(&vcpu, XVCPU_VMCS_CTRL_PIN, 0);
    is_u64(enter("VMfailValid"), XVCPU_VMX_FAIL_VALID, "VMfailValid");
    metal_set_field(&vcpu, XVCPU_VMCS_CTRL_PIN, good);
    is_u64(enter("exit"), 0, "a guest with every register changed");
    load_limits(&gdt, &idt); // left to xvcpu_run
    for (i = 0; i < 7; i++)
        scrubbed = scrubbed && guarded_scratch[i] == 0;
    ok(scrubbed, "T75 none of its values is left in the others");
    is_u64(vcpu.gpr[XVCPU_R15], 0x6e6e6e6e, "they are in xvcpu.gpr");
    is_u64(vcpu.gpr[XVCPU_RDI], 0x6e6e6e6e, "all of them");

    vcpu.launched = 1;
    rsp = vcpu.host_rsp;
    lose_current_vmcs();
    is_u64(enter("T9 VMRESUME"), XVCPU_VMX_FAIL_INVALID, "T9 VMRESUME without a current VMCS");
    is_u64(vcpu.host_rsp, rsp, "T9 HOST_RSP was not written for that");
    vcpu.host_rsp = 0;
    is_u64(enter("T9 VMWRITE"), XVCPU_VMX_FAIL_INVALID, "T9 VMWRITE of HOST_RSP");
    ok(vcpu.host_rsp == 0 && vcpu.host_rip == 0, "T9 which is not taken for written");
    end();
}

// -- VMWRITE that fails

static void test_unsupported_field(void)
{
    const u32 field = 0x6fe; // 16-bit control that no processor has
    xvcpu_error error;
    u64 value = 0;

    start();
    (void)metal_get(&vcpu, XVCPU_REG_RIP);
    ok(!xvcpu_vmcs_field_exists(&cpu->caps, field), "field 0x%x does not exist", field);
    is_u64(metal_vmwrite(field, 0), XVCPU_VMX_FAIL_VALID, "VMWRITE says so");
    (void)metal_vmread(XVCPU_VMCS_EXIT_INSTRUCTION_ERROR, &value);
    is_u64(value, 12, "with error 12");
    xvcpui_vmcs_write(&vcpu, field, 0);
    xvcpui_vmcs_write(&vcpu, field + 2, 0); // only the first is kept
    (void)xvcpui_vmcs_read(&vcpu, field);
    is_status(run(&error, "unsupported field"), VMFAIL, &error, "the run reports it");
    is_u64(error.field, field, "the field is named, the first of three");
    is_u64(error.instruction_error, 12, "with error 12");
    has_text(error.detail, "VMWRITE", "and the instruction");
    has_text(xvcpu_instruction_error_text(12), "unsupported", "its text");
    is_u64(metal_call(&vcpu), 1, "once: then it runs");
    end();
}

// -- Entry right after MOV to SS, in the host

static u64 resume_after_mov_ss(void)
{
    bool cf, zf;
    __asm__ volatile("mov %%ss, %%eax\n\t"
                     "mov %%eax, %%ss\n\t"
                     "vmresume"
                     : "=@ccc"(cf), "=@ccz"(zf)
                     :
                     : "rax", "memory");
    return cf ? XVCPU_VMX_FAIL_INVALID : zf ? XVCPU_VMX_FAIL_VALID : XVCPU_VMX_SUCCEED;
}

static void test_mov_ss(void)
{
    u64 number = 0;

    start();
    is_u64(metal_call(&vcpu), 1, "launched");
    is_u64(resume_after_mov_ss(), XVCPU_VMX_FAIL_VALID, "T10 VMRESUME right after MOV SS fails");
    (void)metal_vmread(XVCPU_VMCS_EXIT_INSTRUCTION_ERROR, &number);
    is_u64(number, 26, "T10 with error 26");
    has_text(xvcpu_instruction_error_text(26), "MOV SS", "T10 its text");
    is_u64(metal_call(&vcpu), 2, "T10 the library's own entry is not affected");
    end();
}

int kernel_main(void)
{
    cpu = metal_enable();
    test_bad_guest_state();
    test_bad_msr_load();
    test_bad_controls();
    test_wrong_launch_state();
    test_no_current_vmcs();
    test_trampoline();
    test_unsupported_field();
    test_mov_ss();
    metal_disable(cpu);
    is_u64(metal_pages, 0, "every page came back");
    return tap_done();
}
