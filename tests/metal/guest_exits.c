// guest_exits.c - instructions a guest may not have, exits that are the caller's, and handlers.
// models: corei7_skylake_x corei7_haswell_4770 corei5_lynnfield_750 corei7_sandy_bridge_2600k tigerlake
// cpus: 1
#include "guest_kit.h"

#define EXITS_OF(reason) guest.statistics.exits[XVCPU_EXIT_REASON_##reason]

// -- Instructions of features no guest has

GUEST_CODE(x_vmclear, 64, "vmclear (%rsi)");
GUEST_CODE(x_vmlaunch, 64, "vmlaunch");
GUEST_CODE(x_vmresume, 64, "vmresume");
GUEST_CODE(x_vmptrld, 64, "vmptrld (%rsi)");
GUEST_CODE(x_vmptrst, 64, "vmptrst (%rsi)");
GUEST_CODE(x_vmread, 64, "vmread %rax, %rbx");
GUEST_CODE(x_vmread_memory, 64, "vmread %rax, (%rsi)");
GUEST_CODE(x_vmwrite, 64, "vmwrite %rax, %rbx");
GUEST_CODE(x_vmxoff, 64, "vmxoff");
GUEST_CODE(x_vmxon, 64, "vmxon (%rsi)");
GUEST_CODE(x_invept, 64, "invept (%rsi), %rax");
GUEST_CODE(x_invvpid, 64, "invvpid (%rsi), %rax");
GUEST_CODE(x_vmfunc, 64, ".byte 0x0f, 0x01, 0xd4");
GUEST_CODE(x_getsec, 64, ".byte 0x0f, 0x37");
GUEST_CODE(x_rsm, 64, "rsm");
GUEST_CODE(x_monitor, 64, "monitor");
GUEST_CODE(x_mwait, 64, "mwait");
GUEST_CODE(x_ud2, 64, "ud2");
GUEST_CODE(x_invd, 64, "invd");
GUEST_CODE(x_wbinvd, 64, "wbinvd");
GUEST_CODE(x_pause, 64, "pause");
GUEST_CODE(x_invlpg, 64, "invlpg (%rsi)");
GUEST_CODE(x_rdpmc, 64, "rdpmc");
GUEST_CODE(x_hlt, 64, "hlt");
GUEST_CODE(x_cpuid, 64, "cpuid");

#define CODE(id, name)                                                                             \
    {                                                                                              \
        name, x_##id, x_##id##_end                                                                 \
    }
struct code {
    const char *name;
    const u8 *code, *end;
};

static void test_undefined(void)
{
    static const struct code codes[] = {CODE(vmclear, "VMCLEAR"),
                                        CODE(vmlaunch, "VMLAUNCH"),
                                        CODE(vmresume, "VMRESUME"),
                                        CODE(vmptrld, "VMPTRLD"),
                                        CODE(vmptrst, "VMPTRST"),
                                        CODE(vmread, "VMREAD"),
                                        CODE(vmread_memory, "VMREAD to memory"),
                                        CODE(vmwrite, "VMWRITE"),
                                        CODE(vmxoff, "VMXOFF"),
                                        CODE(vmxon, "VMXON"),
                                        CODE(invept, "INVEPT"),
                                        CODE(invvpid, "INVVPID"),
                                        CODE(vmfunc, "VMFUNC"),
                                        CODE(getsec, "GETSEC"),
                                        CODE(rsm, "RSM"),
                                        CODE(monitor, "MONITOR"),
                                        CODE(mwait, "MWAIT"),
                                        CODE(ud2, "UD2")};
    u32 i, cpl;
    for (cpl = 0; cpl <= 3; cpl += 3) {
        guest_open(0);
        GUEST_START(METAL_LONG, x_ud2);
        guest_set_cpl(cpl, true);
        for (i = 0; i < sizeof codes / sizeof codes[0]; i++) {
            bool pass;
            guest_fill_registers(0);
            metal_set(&guest, XVCPU_REG_RSI, KIT_FREE);
            pass = guest_faulted(guest_do(codes[i].code, codes[i].end), 6, 0);
            pass = pass && *guest_word(KIT_FREE) == 0 && metal_get(&guest, XVCPU_REG_RBX) == 0;
            ok(pass, "T65 %s at CPL %u: #UD, nothing done", codes[i].name, cpl);
        }
        guest_close();
    }
}

// -- Instructions that do nothing to the host

static void test_harmless(void)
{
    static const struct code codes[] = {CODE(invd, "INVD"), CODE(wbinvd, "WBINVD"),
                                        CODE(pause, "PAUSE"), CODE(invlpg, "INVLPG")};
    static volatile u64 host_data[512];
    xvcpu_desc desc = {0};
    bool same = true;
    u32 i, round;
    for (round = 0; round < 2; round++) {
        // The second time with all that can exit.
        if (round == 1) {
            desc.optional_controls[XVCPU_WORD_PROC1] =
                XVCPU_PROC1_PAUSE_EXITING | XVCPU_PROC1_INVLPG_EXITING | XVCPU_PROC1_RDTSC_EXITING |
                XVCPU_PROC1_CR3_LOAD_EXITING | XVCPU_PROC1_CR3_STORE_EXITING;
            desc.optional_controls[XVCPU_WORD_PROC2] = XVCPU_PROC2_WBINVD_EXITING;
        }
        guest_open(&desc);
        GUEST_START(METAL_LONG, x_invd);
        for (i = 0; i < 512; i++)
            host_data[i] = i * 3;
        for (i = 0; i < sizeof codes / sizeof codes[0]; i++) {
            guest_fill_registers(0x7070);
            ok(guest_do(codes[i].code, codes[i].end) == KIT_NO_FAULT &&
                   metal_get(&guest, XVCPU_REG_RAX) == 0x7070,
               "%s goes through%s", codes[i].name, round == 1 ? " by an exit" : "");
        }
        for (i = 0; i < 512; i++)
            same = same && host_data[i] == i * 3;
        is_u64(EXITS_OF(INVD), 1, "INVD was not the processor's");
        if (round == 1)
            ok(EXITS_OF(PAUSE) == 1 && EXITS_OF(INVLPG) == 1, "nor PAUSE and INVLPG");
        guest_set_cpl(3, true);
        ok(guest_faulted(GUEST_DO(x_invd), 13, 0) && guest_faulted(GUEST_DO(x_wbinvd), 13, 0) &&
               guest_faulted(GUEST_DO(x_hlt), 13, 0),
           "INVD, WBINVD and HLT at CPL 3: #GP(0)");
        guest_close();
    }
    ok(same, "and the host's memory is as it was");
    guest_open(0);
    GUEST_START(METAL_LONG, x_rdpmc);
    metal_set(&guest, XVCPU_REG_RCX, 0);
    metal_set(&guest, XVCPU_REG_RAX, 0x99);
    ok(guest_faulted(GUEST_DO(x_rdpmc), 13, 0) && metal_get(&guest, XVCPU_REG_RAX) == 0x99,
       "RDPMC: #GP(0)");
    guest_close();
}

static void test_monitor(void)
{
    xvcpu_desc desc = {0};
    xvcpu_error error;
    desc.show_monitor = 1;
    guest_open(&desc);
    GUEST_START(METAL_LONG, x_monitor);
    metal_set(&guest, XVCPU_REG_RAX, KIT_FREE);
    metal_set(&guest, XVCPU_REG_RCX, 0);
    metal_set(&guest, XVCPU_REG_RDX, 0);
    ok(GUEST_DO(x_monitor) == KIT_STOPPED && guest.exit.reason == XVCPU_EXIT_REASON_MONITOR &&
           guest.exit.kind == XVCPU_EXIT_INSTRUCTION && guest.exit.rip == METAL_CODE,
       "MONITOR, when shown, is the caller's");
    xvcpu_answer_done(&guest, 0);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "answered, the guest goes on");
    ok(GUEST_DO(x_mwait) == KIT_STOPPED && guest.exit.reason == XVCPU_EXIT_REASON_MWAIT &&
           guest.exit.kind == XVCPU_EXIT_INSTRUCTION,
       "MWAIT, when shown, is the caller's");
    is_status(xvcpu_skip_instruction(&guest, &error), OK, &error, "skipped");
    ok(metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest.exit.rip == METAL_CODE + 3 &&
           guest_count() == 0,
       "the guest goes on behind it");
    guest_close();
}

// -- VMCALL

static void test_vmcall(void)
{
    GUEST_CODE(two_calls, 64, "vmcall; mov %rax, %rbx; vmcall");
    u32 cpl;
    for (cpl = 0; cpl <= 3; cpl += 3) {
        guest_open(0);
        GUEST_START(METAL_LONG, two_calls);
        guest_set_cpl(cpl, true);
        guest_fill_registers(0x1234567890);
        is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "VMCALL at CPL %u", cpl);
        ok(guest.exit.kind == XVCPU_EXIT_INSTRUCTION &&
               guest.exit.u.vmcall.number == 0x1234567890 && guest.exit.instruction_length == 3,
           "VMCALL: its number is RAX");
        is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "not answered: again");
        is_u64(guest.exit.rip, METAL_CODE, "at the same place");
        xvcpu_answer_done(&guest, 0xfedcba9876543210);
        is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "answered: the next one");
        ok(guest.exit.rip == METAL_CODE + 6 &&
               metal_get(&guest, XVCPU_REG_RBX) == 0xfedcba9876543210 &&
               metal_get(&guest, XVCPU_REG_RCX) == 0x1234567890,
           "the answer is RAX, and no other register");
        xvcpu_answer_fault(&guest, 6, 0);
        guest_resume(METAL_CODE + 6);
        is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "answered with #UD");
        ok(guest_count() == 1 && guest_record(0)->vector == 6 &&
               guest_record(0)->rip == METAL_CODE + 6,
           "the guest gets #UD at the VMCALL");
        guest_close();
    }
}

// -- Task switches

static void test_task_switch(void)
{
    GUEST_CODE(task_jump, 32, "ljmp $0x50, $0");
    GUEST_CODE(task_call, 32, "lcall $0x50, $0");
    GUEST_CODE(task_gate, 32, "int $0x31");
    GUEST_CODE(task_return, 32, "pushl $0x4002; popfl; iretl");
    const struct xvcpu_exit_task_switch *task = &guest.exit.u.task_switch;
    xvcpu_error error;
    guest_open(0);
    if (!metal_is_unrestricted(guest_cpu)) {
        skip("task switches: no unrestricted guest here");
        guest_close();
        return;
    }
    GUEST_START(METAL_PROTECTED, task_jump);
    // An available TSS after the current one, and a task gate to it.
    *guest_word(KIT_GDT + 0x50) = 0x0000890000000067 | (u64)(KIT_TSS + 0x100) << 16;
    *guest_word(KIT_IDT32 + 8 * 0x31) = (u64)0x50 << 16 | (u64)0x85 << 40;
    *guest_word(KIT_TSS) = 0x50; // back link, for IRET
    ok(GUEST_DO(task_jump) == KIT_STOPPED && guest.exit.reason == XVCPU_EXIT_REASON_TASK_SWITCH &&
           task->selector == 0x50 && task->source == XVCPU_QUAL_TASK_SOURCE_JMP,
       "JMP to a TSS: returned, with its selector");
    ok(guest.exit.rip == METAL_CODE && guest.exit.kind == XVCPU_EXIT_PLAIN &&
           guest.exit.instruction_length == 7,
       "JMP to a TSS: RIP is at it, its length is known");
    is_status(xvcpu_skip_instruction(&guest, &error), OK, &error, "skipped");
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "the guest goes on");
    ok(GUEST_DO(task_call) == KIT_STOPPED && guest.exit.reason == XVCPU_EXIT_REASON_TASK_SWITCH &&
           task->selector == 0x50 && task->source == XVCPU_QUAL_TASK_SOURCE_CALL,
       "CALL to a TSS");
    // Back link points to a busy TSS, as a nested task's does.
    *guest_word(KIT_GDT + 0x50) |= 2ul << 40;
    ok(GUEST_DO(task_return) == KIT_STOPPED && guest.exit.reason == XVCPU_EXIT_REASON_TASK_SWITCH &&
           task->selector == 0x50 && task->source == XVCPU_QUAL_TASK_SOURCE_IRET,
       "IRET of a nested task");
    *guest_word(KIT_GDT + 0x50) &= ~(2ul << 40);
    metal_set(&guest, XVCPU_REG_RFLAGS, 2);
    ok(GUEST_DO(task_gate) == KIT_STOPPED && guest.exit.reason == XVCPU_EXIT_REASON_TASK_SWITCH &&
           task->selector == 0x50 && task->source == XVCPU_QUAL_TASK_SOURCE_GATE,
       "a task gate in the IDT");
    ok(xvcpu_has_event(&guest) && (guest.queue.interrupted.info & 0xff) == 0x31,
       "whose interrupt waits for the caller");
    guest.queue.interrupted.info = 0;
    ok(!xvcpu_has_event(&guest), "who takes it");
    guest_close();
}

// -- Descriptor tables

static void test_descriptor_tables(void)
{
    GUEST_CODE(d_sgdt, 64, "sgdt (%rsi)");
    GUEST_CODE(d_sidt, 64, "sidt (%rsi)");
    GUEST_CODE(d_lgdt, 64, "lgdt (%rsi)");
    GUEST_CODE(d_lidt, 64, "lidt (%rsi)");
    GUEST_CODE(d_sldt, 64, "sldt %ax");
    GUEST_CODE(d_str, 64, "str %ax");
    GUEST_CODE(d_lldt, 64, "lldt %ax");
    GUEST_CODE(d_ltr, 64, "ltr %ax");
    const struct {
        const char *name;
        const u8 *code, *end;
        bool store;
        u32 table, reason;
    } rows[] = {{"SGDT", d_sgdt, d_sgdt_end, true, 0, XVCPU_EXIT_REASON_GDTR_IDTR_ACCESS},
                {"SIDT", d_sidt, d_sidt_end, true, 1, XVCPU_EXIT_REASON_GDTR_IDTR_ACCESS},
                {"LGDT", d_lgdt, d_lgdt_end, false, 0, XVCPU_EXIT_REASON_GDTR_IDTR_ACCESS},
                {"LIDT", d_lidt, d_lidt_end, false, 1, XVCPU_EXIT_REASON_GDTR_IDTR_ACCESS},
                {"SLDT", d_sldt, d_sldt_end, true, 2, XVCPU_EXIT_REASON_LDTR_TR_ACCESS},
                {"STR", d_str, d_str_end, true, 3, XVCPU_EXIT_REASON_LDTR_TR_ACCESS},
                {"LLDT", d_lldt, d_lldt_end, false, 2, XVCPU_EXIT_REASON_LDTR_TR_ACCESS},
                {"LTR", d_ltr, d_ltr_end, false, 3, XVCPU_EXIT_REASON_LDTR_TR_ACCESS}};
    xvcpu_desc desc = {0};
    xvcpu_error error;
    u32 i;
    desc.required_controls[XVCPU_WORD_PROC2] = XVCPU_PROC2_DESC_TABLE_EXITING;
    if (!metal_can(guest_cpu, XVCPU_WORD_PROC2, XVCPU_PROC2_DESC_TABLE_EXITING)) {
        static xvcpu unmade;
        guest_open(0);
        desc.ept = &guest_vm.ept;
        is_status(xvcpu_create(&unmade, &desc, &guest_cpu->caps, &error), CONTROL_UNSUPPORTED,
                  &error, "descriptor-table exiting where it does not exist");
        is_u64(error.bits, XVCPU_PROC2_DESC_TABLE_EXITING, "is named");
        guest_close();
        return;
    }
    guest_open(&desc);
    GUEST_START(METAL_LONG, d_sgdt);
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const u64 after = METAL_CODE + (u64)(rows[i].end - rows[i].code);
        metal_set(&guest, XVCPU_REG_RSI, KIT_FREE);
        metal_set(&guest, XVCPU_REG_RAX, 0x1111);
        ok(guest_do(rows[i].code, rows[i].end) == KIT_STOPPED &&
               guest.exit.reason == rows[i].reason && guest.exit.kind == XVCPU_EXIT_INSTRUCTION &&
               guest.exit.u.descriptor.store == rows[i].store &&
               guest.exit.u.descriptor.table == rows[i].table && guest.exit.rip == METAL_CODE &&
               guest.exit.instruction_length == after - METAL_CODE,
           "%s: returned, decoded", rows[i].name);
        xvcpu_answer_done(&guest, 0);
        ok(metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest.exit.rip == after &&
               guest_count() == 0 && metal_get(&guest, XVCPU_REG_RAX) == 0x1111 &&
               *guest_word(KIT_FREE) == 0,
           "%s: answered, the guest goes on", rows[i].name);
    }
    ok(metal_get(&guest, XVCPU_REG_GDTR_BASE) == KIT_GDT &&
           metal_get(&guest, XVCPU_REG_IDTR_BASE) == KIT_IDT,
       "nothing was loaded");
    guest_close();
}

// -- Handlers

struct watch {
    xvcpu_action action;
    u32 calls, reason;
    u64 kernel_gs;
    bool skip;
};

static xvcpu_action handler(struct xvcpu *vcpu, xvcpu_exit *exit, void *context)
{
    struct watch *watch = context;
    xvcpu_error error;
    watch->calls++;
    watch->reason = exit->reason;
    watch->kernel_gs = rdmsr(XVCPU_MSR_IA32_KERNEL_GS_BASE);
    if (watch->skip) {
        vcpu->gpr[XVCPU_RAX] = 0x4711;
        metal_must(xvcpu_skip_instruction(vcpu, &error), &error, "skip");
    }
    if (watch->action == XVCPU_ACTION_INJECTED)
        metal_must(xvcpu_raise(vcpu, 6, 0, 0, &error), &error, "raise");
    return watch->action;
}

static void test_handlers(void)
{
    GUEST_CODE(x_in, 64, "in $0x60, %al");
    const u64 host_gs = rdmsr(XVCPU_MSR_IA32_KERNEL_GS_BASE);
    struct watch watch = {XVCPU_ACTION_DEFAULT, 0, 0, 0, false};
    xvcpu_error error;
    guest_open(0);
    GUEST_START(METAL_LONG, x_cpuid);
    metal_set(&guest, XVCPU_REG_KERNEL_GS_BASE, 0x5555000);
    is_status(xvcpu_set_handler(&guest, XVCPU_EXIT_REASON_COUNT, handler, 0, &error),
              INVALID_ARGUMENT, &error, "a handler for no reason");
    metal_must(xvcpu_set_handler(&guest, XVCPU_EXIT_REASON_CPUID, handler, &watch, &error), &error,
               "handler");
    metal_set(&guest, XVCPU_REG_RAX, 0);
    ok(GUEST_DO(x_cpuid) == KIT_NO_FAULT && watch.calls == 1 &&
           watch.reason == XVCPU_EXIT_REASON_CPUID && metal_get(&guest, XVCPU_REG_RBX) != 0,
       "default: the handler sees the exit, then the built-in one answers");
    is_u64(watch.kernel_gs, host_gs, "with the host's own state loaded");
    is_u64(metal_get(&guest, XVCPU_REG_KERNEL_GS_BASE), 0x5555000, "and the guest's is kept");
    watch.action = XVCPU_ACTION_HANDLED;
    watch.skip = true;
    ok(GUEST_DO(x_cpuid) == KIT_NO_FAULT && watch.calls == 2 &&
           metal_get(&guest, XVCPU_REG_RAX) == 0x4711,
       "handled: nobody else sees it");
    watch.skip = false;
    watch.action = XVCPU_ACTION_INJECTED;
    ok(guest_faulted(GUEST_DO(x_cpuid), 6, 0) && watch.calls == 3,
       "injected: the guest gets the event");
    watch.action = XVCPU_ACTION_RETURN;
    ok(GUEST_DO(x_cpuid) == KIT_STOPPED && watch.calls == 4 &&
           guest.exit.reason == XVCPU_EXIT_REASON_CPUID && guest.exit.rip == METAL_CODE &&
           metal_get(&guest, XVCPU_REG_RIP) == METAL_CODE,
       "return: the caller has it, RIP not advanced");
    metal_must(xvcpu_set_handler(&guest, XVCPU_EXIT_REASON_CPUID, 0, 0, &error), &error, "none");
    ok(GUEST_DO(x_cpuid) == KIT_NO_FAULT && watch.calls == 4, "taken away again");

    metal_must(xvcpu_set_handler(&guest, XVCPU_EXIT_REASON_IO_INSTRUCTION, handler, &watch, &error),
               &error, "handler");
    watch.action = XVCPU_ACTION_HANDLED;
    watch.skip = true;
    ok(GUEST_DO(x_in) == KIT_NO_FAULT && watch.calls == 5 &&
           watch.reason == XVCPU_EXIT_REASON_IO_INSTRUCTION &&
           metal_get(&guest, XVCPU_REG_RAX) == 0x4711,
       "a port, done by a handler inside xvcpu_run");
    watch.action = XVCPU_ACTION_DEFAULT;
    watch.skip = false;
    ok(GUEST_DO(x_in) == KIT_STOPPED && watch.calls == 6 && guest.exit.kind == XVCPU_EXIT_IO &&
           guest.exit.u.io.port == 0x60,
       "an unknown port is the caller's");
    guest_close();
}

// -- What ends a run without an instruction

static void test_others(void)
{
    GUEST_CODE(forever, 64, "1: inc %rbx; jmp 1b");
    xvcpu_desc desc = {0};
    xvcpu_error error;
    u64 count;
    guest_open(0);
    GUEST_START(METAL_LONG, forever);
    metal_set(&guest, XVCPU_REG_RBX, 0);
    metal_budget(&guest, 100000);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_PREEMPTION_TIMER, "T73 a budget ends a loop");
    count = metal_get(&guest, XVCPU_REG_RBX);
    ok(count > 1000 && count < 1000000, "T73 after %lu rounds", count);
    metal_budget(&guest, 100000);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_PREEMPTION_TIMER, "T73 another one the next");
    ok(metal_get(&guest, XVCPU_REG_RBX) > count + 1000, "T73 from where it was");
    is_status(xvcpu_skip_instruction(&guest, &error), INVALID_STATE, &error,
              "T54 no instruction to skip there");
    xvcpu_answer_done(&guest, 0);
    is_status(xvcpu_run(&guest, &error), NOT_ANSWERED, &error, "nor to answer");
    guest.exit.answer = XVCPU_ANSWER_NONE;

    GUEST_START(METAL_LONG, x_cpuid);
    xvcpu_kick(&guest);
    is_status(xvcpu_run(&guest, &error), OK, &error, "a run after a kick");
    ok(guest.exit.kind == XVCPU_EXIT_KICKED && metal_get(&guest, XVCPU_REG_RIP) == METAL_CODE,
       "returns at once, the guest has not moved");
    ok(GUEST_DO(x_cpuid) == KIT_NO_FAULT, "once");

    metal_set(&guest, XVCPU_REG_IDTR_LIMIT, 0);
    ok(GUEST_DO(x_ud2) == KIT_STOPPED && guest.exit.reason == XVCPU_EXIT_REASON_TRIPLE_FAULT &&
           guest.exit.kind == XVCPU_EXIT_PLAIN && guest.exit.rip == METAL_CODE,
       "a triple fault is returned");
    guest_close();

    desc.exception_bitmap = XVCPU_BIT32(XVCPU_EXCEPTION_UD) | XVCPU_BIT32(XVCPU_EXCEPTION_BP);
    guest_open(&desc);
    GUEST_START(METAL_LONG, x_ud2);
    ok(GUEST_DO(x_ud2) == KIT_STOPPED && guest.exit.reason == XVCPU_EXIT_REASON_EXCEPTION_NMI &&
           guest.exit.u.exception.vector == 6 && !guest.exit.u.exception.has_error &&
           guest.exit.rip == METAL_CODE && guest_count() == 0,
       "an exception the caller asked for is returned");
    metal_must(xvcpu_raise(&guest, 6, 0, 0, &error), &error, "raise");
    ok(metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest_count() == 1 &&
           guest_record(0)->vector == 6 && guest_record(0)->rip == METAL_CODE,
       "and given back");
    {
        GUEST_CODE(x_int3, 64, "int3");
        ok(GUEST_DO(x_int3) == KIT_STOPPED && guest.exit.u.exception.vector == 3 &&
               guest.exit.u.exception.type == XVCPU_INTR_TYPE_SOFTWARE_EXCEPTION &&
               guest.exit.instruction_length == 1,
           "T42 INT3 is a software exception of one byte");
        metal_must(xvcpu_raise(&guest, 3, 0, 0, &error), &error, "raise");
        ok(metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest_count() == 1 &&
               guest_record(0)->vector == 3 && guest_record(0)->rip == METAL_CODE + 1,
           "T42 given back, it returns behind the instruction");
    }
    guest_close();
}

int kernel_main(void)
{
    test_undefined();
    test_harmless();
    test_monitor();
    test_vmcall();
    test_task_switch();
    test_descriptor_tables();
    test_handlers();
    test_others();
    return tap_done();
}
