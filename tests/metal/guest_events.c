// guest_events.c - exceptions, NMIs and interrupts on their way into a guest: what its own handlers
// see, how often, and where they go back to.
// models: corei7_skylake_x corei7_haswell_4770 corei5_lynnfield_750 corei7_sandy_bridge_2600k tigerlake
// cpus: 1
static void after_exit(void);
#define XVCPU_TRACE_EXIT(vcpu) ((void)(vcpu), after_exit())
#include "guest_kit.h"

// When CPUID exits under TF the emulator has the single-step trap pending already. A processor has
// not, as the instruction is not complete: take it away, so that the library has to put it there.
static bool drop_pending_trap;

static void after_exit(void)
{
    u64 pending;
    if (drop_pending_trap &&
        metal_vmread(XVCPU_VMCS_GUEST_PENDING_DBG, &pending) == XVCPU_VMX_SUCCEED)
        (void)metal_vmwrite(XVCPU_VMCS_GUEST_PENDING_DBG, pending & ~XVCPU_PENDING_DBG_BS);
}

#define HOLE (KIT_FREE + 0x1000) // a page that tests take away

static void unmap(u64 gpa)
{
    xvcpu_error error;
    metal_must(xvcpu_ept_unmap(&guest_vm.ept, gpa, KERNEL_PAGE_SIZE, &error), &error, "unmap");
}

static void map(u64 gpa)
{
    xvcpu_error error;
    metal_must(xvcpu_ept_map(&guest_vm.ept, gpa, phys_of(guest_vm.memory + gpa), KERNEL_PAGE_SIZE,
                             XVCPU_EPT_RWX, XVCPU_MEMORY_WB, &error),
               &error, "map");
}

static bool is_ept_exit(u32 reason, u64 page)
{
    return reason == XVCPU_EXIT_REASON_EPT_VIOLATION &&
           (guest.exit.u.memory.gpa & ~0xffful) == page;
}

static void raise(u32 vector, u32 error_code, u64 payload)
{
    xvcpu_error error;
    metal_must(xvcpu_raise(&guest, vector, error_code, payload, &error), &error, "xvcpu_raise");
}

static void raise_interrupt(u8 vector)
{
    xvcpu_error error;
    metal_must(xvcpu_raise_interrupt(&guest, vector, &error), &error, "xvcpu_raise_interrupt");
}

static void raise_nmi(void)
{
    xvcpu_error error;
    metal_must(xvcpu_raise_nmi(&guest, &error), &error, "xvcpu_raise_nmi");
}

static void set_if(bool on)
{
    const u64 rflags = metal_get(&guest, XVCPU_REG_RFLAGS) & ~XVCPU_RFLAGS_IF;
    metal_set(&guest, XVCPU_REG_RFLAGS, on ? rflags | XVCPU_RFLAGS_IF : rflags);
}

static u64 blocking(void)
{
    return metal_get(&guest, XVCPU_REG_INTERRUPTIBILITY);
}

// -- Exceptions: every vector

GUEST_CODE(three_calls, 64, "1: nop; nop; vmcall; jmp 1b");

static bool has_error_code(u32 vector)
{
    return (0x227d00u >> vector & 1) != 0;
}

static bool pushes_rf(u32 vector)
{
    return vector != 1 && vector != 3 && vector != 4 && vector != 8 && vector != 18;
}

static void test_all_vectors(void)
{
    u32 vector;
    for (vector = 0; vector < 32; vector++) {
        const struct kit_record *seen = guest_record(0);
        // INT3 and INTO return behind themselves; raised anew they stand for one byte.
        const u64 rip = METAL_CODE + (vector == 3 || vector == 4 ? 1u : 0u);
        u32 error_code = 0;
        u64 payload = 0;
        bool pass;
        if (vector == 2)
            continue; // not an exception
        if (vector == 21 && (guest_cpu->caps.basic & XVCPU_VMX_BASIC_ANY_ERROR_CODE) == 0) {
            skip("#CP: entry takes no error code for it here");
            continue;
        }
        GUEST_START(METAL_LONG, three_calls);
        if (has_error_code(vector))
            error_code = vector == 8 ? 0 : vector == 14 ? 2 : 0x1230 + vector;
        if (vector == 14)
            payload = 0xffff8765deadb000;
        raise(vector, error_code, payload);
        pass = metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest_count() == 1 &&
               seen->vector == vector && seen->error == error_code && seen->rip == rip &&
               seen->rsp == METAL_STACK && seen->cs == KIT_CODE64 &&
               ((seen->rflags & XVCPU_RFLAGS_RF) != 0) == pushes_rf(vector) &&
               (vector != 14 || seen->cr2 == payload) && !xvcpu_has_event(&guest);
        ok(pass, "T42 T44 vector %u: the guest's handler sees vector, error code and RIP", vector);
        if (!pass)
            guest_explain();
    }
}

static void test_page_fault(void)
{
    const u64 address = METAL_LARGE * 512 + 0x123; // beyond what the guest's tables map
    xvcpu_desc desc = {0};
    desc.exception_bitmap = XVCPU_BIT32(XVCPU_EXCEPTION_PF);
    guest_open(&desc);
    {
        GUEST_CODE(touch_memory, 64, "mov %rbx, %cr2; mov %rcx, (%rax); nop; vmcall");
        GUEST_START(METAL_LONG, touch_memory);
    }
    metal_set(&guest, XVCPU_REG_RAX, address);
    metal_set(&guest, XVCPU_REG_RBX, 0x1111);
    guest_resume(METAL_CODE + 6);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_EXCEPTION_NMI, "a #PF the caller asked for exits");
    ok(guest.exit.u.exception.vector == 14 && guest.exit.u.exception.has_error, "#PF, with error");
    is_u64(guest.exit.u.exception.error_code, 2, "T47 of a write to a page that is not there");
    is_u64(guest.exit.u.exception.address, address, "T47 the address is in the exit record");
    is_u64(metal_get(&guest, XVCPU_REG_CR2), 0x1111, "T47 and CR2 is unchanged");
    raise(14, guest.exit.u.exception.error_code, guest.exit.u.exception.address);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "given back to the guest");
    is_u64(guest_count(), 1, "T47 its handler runs once");
    ok(guest_record(0)->vector == 14 && guest_record(0)->error == 2, "T47 with the error code");
    is_u64(guest_record(0)->cr2, address, "T47 and CR2 has the address");
    is_u64(guest_record(0)->rip, METAL_CODE + 3, "T47 RIP is at the access");
    guest_close();
}

static void test_debug_exception(void)
{
    xvcpu_desc desc = {0};
    guest_open(0);
    GUEST_START(METAL_LONG, three_calls);
    metal_set(&guest, XVCPU_REG_DR6, 0);
    metal_set(&guest, XVCPU_REG_DR7, 0x400 | XVCPU_DR7_GD);
    raise(1, 0, XVCPU_DR6_BS | 4);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "an injected #DB");
    is_u64(guest_count(), 1, "T48 GD is off in the handler: it reads DR6 without another #DB");
    is_u64(guest_record(0)->dr6, 0xffff0ff0 | XVCPU_DR6_BS | 4, "T48 DR6 has the cause");
    is_u64(metal_get(&guest, XVCPU_REG_DR7), 0x400, "T48 DR7.GD is clear");

    // The guest's own access to a debug register while GD is set.
    {
        GUEST_CODE(read_dr0, 64, "mov %dr0, %rcx");
        GUEST_START(METAL_LONG, three_calls);
        metal_set(&guest, XVCPU_REG_DR7, 0x400 | XVCPU_DR7_GD);
        is_u64(GUEST_DO(read_dr0), 1, "T48 MOV DR with GD set is #DB");
    }
    ok((guest_record(0)->dr6 & XVCPU_DR6_BD) != 0 && guest_record(0)->rip == METAL_CODE,
       "T48 a fault, with DR6.BD set");
    guest_close();

    desc.exception_bitmap = XVCPU_BIT32(XVCPU_EXCEPTION_DB);
    guest_open(&desc);
    {
        GUEST_CODE(one_step, 64, "pushfq; orl $0x100, (%rsp); popfq; nop; vmcall");
        GUEST_START(METAL_LONG, one_step);
        guest_resume(METAL_CODE + (u64)(one_step_end - one_step) - 3);
    }
    metal_set(&guest, XVCPU_REG_DR6, 0xffff0ff1);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_EXCEPTION_NMI, "a #DB the caller asked for exits");
    ok(guest.exit.u.exception.vector == 1 && (guest.exit.u.exception.address & XVCPU_DR6_BS) != 0,
       "#DB with BS in the record");
    is_u64(metal_get(&guest, XVCPU_REG_DR6), 0xffff0ff1, "T48 DR6 is unchanged by the exit");
    raise(1, 0, guest.exit.u.exception.address);
    set_if(false);
    metal_set(&guest, XVCPU_REG_RFLAGS, 2);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "given back to the guest");
    ok(guest_count() == 1 && guest_record(0)->vector == 1, "T48 its handler runs once");
    is_u64(guest_record(0)->dr6, 0xffff0ff0 | XVCPU_DR6_BS, "T48 and finds BS in DR6");
    guest_close();
}

// -- NMIs

// Vector 2's own handler: writes E, asks CPUID so that the library is in between, writes L.
#define TRACE (KIT_FREE + 8)
// clang-format off
GUEST_CODE(nmi_handler, 64,
           "push %rax; push %rbx; push %rcx; push %rdx\n"
           "mov " KIT_TEXT(KIT_FREE) ", %eax\n"
           "movb $'E', " KIT_TEXT(KIT_FREE) "+8(%rax)\n"
           "incl " KIT_TEXT(KIT_FREE) "\n"
           "xor %eax, %eax; cpuid; xor %eax, %eax; cpuid\n"
           "mov " KIT_TEXT(KIT_FREE) ", %eax\n"
           "movb $'L', " KIT_TEXT(KIT_FREE) "+8(%rax)\n"
           "incl " KIT_TEXT(KIT_FREE) "\n"
           "pop %rdx; pop %rcx; pop %rbx; pop %rax\n"
           "iretq");
// clang-format on

static void use_nmi_handler(void)
{
    METAL_LOAD(&guest_vm, KIT_FREE + 0x800, nmi_handler);
    guest_gate(2, KIT_FREE + 0x800, 0x8e);
}

static const char *trace(void)
{
    return (const char *)guest_vm.memory + TRACE;
}

GUEST_CODE(nop_calls, 64, "1: nop; nop; nop; nop; vmcall; jmp 1b");

static void test_nmi(void)
{
    xvcpu_error error;
    guest_open(0);
    GUEST_START(METAL_LONG, nop_calls);
    use_nmi_handler();
    raise_nmi();
    raise_nmi();
    is_status(xvcpu_raise_nmi(&guest, &error), QUEUE_FULL, &error, "a third NMI");
    is_u64(metal_call(&guest), 0, "the guest runs its code");
    ok(strcmp(trace(), "ELEL") == 0, "T45 two NMIs, the second after the first one's IRET");
    if (strcmp(trace(), "ELEL") != 0)
        diag("%s", trace());
    ok(!xvcpu_has_event(&guest), "T45 nothing is left");
    is_u64(blocking(), 0, "T45 and NMIs are not blocked after IRET");

    // With IF clear and with an interrupt waiting, the NMI alone goes in.
    GUEST_START(METAL_LONG, nop_calls);
    use_nmi_handler();
    raise_interrupt(0x60);
    raise_nmi();
    is_u64(metal_call(&guest), 0, "IF clear");
    ok(strcmp(trace(), "EL") == 0 && guest_count() == 0 && xvcpu_has_event(&guest),
       "T45 the NMI goes in, the interrupt waits");
    set_if(true);
    is_u64(metal_call(&guest), 0, "IF set");
    ok(guest_count() == 1 && guest_record(0)->vector == 0x60 && !xvcpu_has_event(&guest),
       "T45 then it goes in too");

    // The handler calls us: NMIs are blocked, and one raised now waits for its IRET.
    {
        GUEST_CODE(nmi_calls, 64, "vmcall; vmcall; iretq");
        GUEST_START(METAL_LONG, nop_calls);
        METAL_LOAD(&guest_vm, KIT_FREE, nmi_calls);
    }
    guest_gate(2, KIT_FREE, 0x8e);
    raise_nmi();
    is_u64(metal_call(&guest), 0, "call from the NMI handler");
    is_u64(blocking(), XVCPU_INTERRUPTIBILITY_NMI, "T45 NMIs are blocked in it");
    raise_nmi();
    is_u64(metal_call(&guest), 0, "second call");
    ok(guest.exit.rip == KIT_FREE + 3 && xvcpu_has_event(&guest), "T45 the second one waits");
    is_u64(metal_call(&guest), 0, "after the IRET");
    is_u64(guest.exit.rip, KIT_FREE, "T45 it goes in");
    guest_close();
}

static void test_nmi_cut_short(void)
{
    guest_open(0);
    GUEST_START(METAL_LONG, nop_calls);
    use_nmi_handler();
    raise_nmi();
    unmap(KIT_IDT);
    ok(is_ept_exit(metal_run(&guest), KIT_IDT), "the NMI's gate is not mapped");
    is_u64(blocking(), 0, "T50 blocking by NMI is taken back");
    ok(xvcpu_has_event(&guest), "T50 and the NMI waits again");
    map(KIT_IDT);
    is_u64(metal_call(&guest), 0, "with the gate mapped");
    ok(strcmp(trace(), "EL") == 0, "T50 the NMI is delivered once");
    is_u64(blocking(), 0, "T50 and its IRET ends the blocking");
    guest_close();
}

static void test_iret_that_faults(void)
{
    // The handler returns by a frame that lies in a page the EPT does not map.
    // clang-format off
    GUEST_CODE(nmi_far_frame, 64,
               "incl " KIT_TEXT(KIT_FREE) "\n"
               "cmpl $1, " KIT_TEXT(KIT_FREE) "\n"
               "jne 1f\n"
               "mov $" KIT_TEXT(HOLE) ", %esp\n"
               "1: mov 0(%rsp), %rbx; iretq\n");
    // clang-format on
    u64 *frame;
    guest_open(0);
    GUEST_START(METAL_LONG, nop_calls);
    METAL_LOAD(&guest_vm, KIT_FREE + 0x800, nmi_far_frame);
    guest_gate(2, KIT_FREE + 0x800, 0x8e);
    frame = guest_word(HOLE);
    frame[0] = METAL_CODE + 2; // second of the NOPs
    frame[1] = KIT_CODE64;
    frame[2] = 2;
    frame[3] = METAL_STACK;
    frame[4] = KIT_DATA;
    // The MOV before the IRET would fault first: start with that one out of the way.
    memset(guest_vm.memory + KIT_FREE + 0x800 + (u64)(nmi_far_frame_end - nmi_far_frame) - 6, 0x90,
           4);
    raise_nmi();
    unmap(HOLE);
    if (!ok(is_ept_exit(metal_run(&guest), HOLE) && (guest.exit.u.memory.gla & ~0xffful) == HOLE,
            "IRET from the NMI handler reads a frame that is not mapped"))
        guest_explain();
    ok((guest.exit.qualification & XVCPU_QUAL_EPT_NMI_UNBLOCKING) != 0,
       "T51 the exit says that NMIs were unblocked");
    is_u64(blocking(), XVCPU_INTERRUPTIBILITY_NMI, "T51 they are blocked again");
    raise_nmi();
    map(HOLE);
    // RBX is the return address of the second NMI.
    memcpy(guest_vm.memory + KIT_FREE + 0x800 + (u64)(nmi_far_frame_end - nmi_far_frame) - 6,
           "\x48\x8b\x1c\x24", 4);
    is_u64(metal_call(&guest), 0, "mapped, with another NMI waiting");
    is_u64(*(u32 *)guest_word(KIT_FREE), 2, "T51 it is delivered once");
    is_u64(metal_get(&guest, XVCPU_REG_RBX), METAL_CODE + 2,
           "T51 after the IRET, not before it ran again");
    is_u64(blocking(), 0, "T51 nothing is blocked in the end");
    guest_close();
}

// -- External interrupts

GUEST_CODE(sti_later, 64, "vmcall; sti; nop; nop; vmcall");

static void test_hundred(void)
{
    bool order = true;
    u32 i;
    guest_open(0);
    GUEST_START(METAL_LONG, sti_later);
    for (i = 0; i < 100; i++)
        raise_interrupt((u8)(0x30 + i * 37 % 100));
    raise_interrupt(0x30); // waits already
    is_u64(metal_call(&guest), 0, "with IF clear");
    ok(guest_count() == 0 && xvcpu_has_event(&guest), "T45 none goes in");
    ok(!xvcpu_accepts_interrupt(&guest), "T45 which xvcpu_accepts_interrupt says");
    is_u64(metal_call(&guest), 0, "STI");
    is_u64(guest_count(), 100, "T46 a hundred handlers ran");
    for (i = 0; i < 100; i++)
        order = order && guest_record(i)->vector == 0x30 + 99 - i &&
                guest_record(i)->rip == guest_record(0)->rip;
    ok(order, "T46 each once, the highest vector first");
    is_u64(guest_record(0)->rip, METAL_CODE + 5, "T46 one instruction after STI");
    ok(!xvcpu_has_event(&guest) && xvcpu_accepts_interrupt(&guest), "T46 nothing is left");
    is_u64(metal_field(&guest, XVCPU_VMCS_CTRL_PROC1) & XVCPU_PROC1_INTR_WINDOW_EXITING,
           XVCPU_PROC1_INTR_WINDOW_EXITING & 0, "T46 and no window is open");

    GUEST_START(METAL_LONG, sti_later);
    raise_interrupt(0x41);
    raise_interrupt(0x42);
    ok(xvcpu_cancel_interrupt(&guest, 0x42) && !xvcpu_cancel_interrupt(&guest, 0x42),
       "one of two is taken back");
    (void)metal_call(&guest);
    (void)metal_call(&guest);
    ok(guest_count() == 1 && guest_record(0)->vector == 0x41, "the other one is delivered");
    guest_close();
}

// The shadow of STI or MOV SS covers a load that exits in between.
static void test_shadow(void)
{
    GUEST_CODE(sti_load, 64, "sti; mov " KIT_TEXT(HOLE) ", %ecx; nop; nop; vmcall");
    GUEST_CODE(ss_load, 64, "mov %ebx, %ss; mov " KIT_TEXT(HOLE) ", %ecx; nop; nop; vmcall");
    u32 i;
    for (i = 0; i < 4; i++) {
        const bool nmi = (i & 1) != 0, ss = (i & 2) != 0;
        const u64 load = METAL_CODE + (ss ? 2 : 1);
        const char *what = ss ? (nmi ? "NMI after MOV SS" : "interrupt after MOV SS")
                              : (nmi ? "NMI after STI" : "interrupt after STI");
        guest_open(0);
        if (ss) {
            GUEST_START(METAL_LONG, ss_load);
            metal_set(&guest, XVCPU_REG_RBX, KIT_DATA);
            set_if(true);
        } else {
            GUEST_START(METAL_LONG, sti_load);
        }
        unmap(HOLE);
        ok(is_ept_exit(metal_run(&guest), HOLE) && guest.exit.rip == load, "%s: the load exits",
           what);
        is_u64(blocking(), ss ? XVCPU_INTERRUPTIBILITY_MOV_SS : XVCPU_INTERRUPTIBILITY_STI,
               "T45 %s: in the shadow", what);
        ok(!xvcpu_accepts_interrupt(&guest), "T45 %s: which takes no interrupt", what);
        if (nmi)
            raise_nmi();
        else
            raise_interrupt(0x77);
        *(u32 *)guest_word(HOLE) = 0xabcdef01;
        map(HOLE);
        is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "%s: mapped", what);
        is_u64(metal_get(&guest, XVCPU_REG_RCX), 0xabcdef01, "%s: the load is done", what);
        ok(guest_count() == 1 && guest_record(0)->vector == (nmi ? 2 : 0x77),
           "T46 %s: delivered once", what);
        is_u64(guest_record(0)->rip, load + 7, "T45 T46 %s: right after the load", what);
        guest_close();
    }
}

static void test_hlt(void)
{
    GUEST_CODE(halts, 64, "hlt; nop; vmcall");
    GUEST_CODE(sti_halts, 64, "vmcall; sti; hlt; vmcall");
    guest_open(0);

    GUEST_START(METAL_LONG, halts);
    set_if(true);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_HLT, "HLT with nothing waiting returns");
    ok(xvcpu_accepts_interrupt(&guest), "T64 the guest waits for an interrupt");
    raise_interrupt(0x55);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "T64 which ends the HLT");
    ok(guest_count() == 1 && guest_record(0)->vector == 0x55, "T64 its handler ran once");
    is_u64(guest_record(0)->rip, METAL_CODE + 1, "T64 and returns behind the HLT");

    GUEST_START(METAL_LONG, sti_halts);
    is_u64(metal_call(&guest), 0, "before STI; HLT");
    raise_interrupt(0x56);
    is_u64(metal_call(&guest), 0, "T64 STI; HLT with an interrupt waiting does not return");
    ok(guest_count() == 1 && guest_record(0)->vector == 0x56 &&
           guest_record(0)->rip == METAL_CODE + 5,
       "T64 the interrupt comes right after the HLT");

    GUEST_START(METAL_LONG, halts);
    raise_interrupt(0x57);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_HLT, "T64 with IF clear the interrupt is no help");
    is_u64(guest_count(), 0, "T64 and is not delivered");
    raise_nmi();
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "T64 an NMI is");
    ok(guest_count() == 1 && guest_record(0)->vector == 2 && guest_record(0)->rip == METAL_CODE + 1,
       "T64 and returns behind the HLT");

    GUEST_START(METAL_LONG, nop_calls);
    set_if(true);
    metal_set(&guest, XVCPU_REG_ACTIVITY, XVCPU_ACTIVITY_HLT);
    raise_interrupt(0x58);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "in activity state HLT");
    ok(guest_count() == 1 && guest_record(0)->vector == 0x58 && guest_record(0)->rip == METAL_CODE,
       "T64 an interrupt is delivered");
    is_u64(metal_get(&guest, XVCPU_REG_ACTIVITY), XVCPU_ACTIVITY_ACTIVE, "T64 and ends the state");
    guest_close();
}

// -- A delivery that is cut short

GUEST_CODE(load_bad_ds, 64, "mov %ebx, %ds");
GUEST_CODE(int_50, 64, "int $0x50; nop; vmcall");
GUEST_CODE(int_3, 64, "int3; nop; vmcall");
GUEST_CODE(int_1, 64, ".byte 0xf1; nop; vmcall");
// INTO exists outside 64-bit mode only.
// clang-format off
GUEST_CODE(into, 64,
           "pushq $0x18; pushq $" GUEST_ADDRESS(into, 71f) "; lretq\n"
           ".code32\n"
           "71: movb $0x7f, %al; addb $1, %al; into; nop; vmcall\n"
           ".code64");
// clang-format on

struct cut {
    const char *name;
    const u8 *code, *end;
    u32 vector;
    u32 raised; // vector + 1 raised by us
    u64 error, rip, cr2;
    bool nmi, interrupt;
};

static void test_cut_short(void)
{
    const u64 into_rip = METAL_CODE + (u64)(into_end - into) - 4;
    const struct cut cuts[] = {
        {"#GP of the guest", load_bad_ds, load_bad_ds_end, 13, 0, 0xfff8, METAL_CODE, 0, 0, 0},
        {"injected #PF", nop_calls, nop_calls_end, 14, 15, 2, METAL_CODE, 0x7654321, 0, 0},
        {"injected #UD", nop_calls, nop_calls_end, 6, 7, 0, METAL_CODE, 0, 0, 0},
        {"injected interrupt", nop_calls, nop_calls_end, 0x99, 0, 0, METAL_CODE, 0, 0, 1},
        {"injected NMI", nop_calls, nop_calls_end, 2, 0, 0, METAL_CODE, 0, 1, 0},
        {"INT 50h", int_50, int_50_end, 0x50, 0, 0, METAL_CODE + 2, 0, 0, 0},
        {"INT3", int_3, int_3_end, 3, 0, 0, METAL_CODE + 1, 0, 0, 0},
        {"INT1", int_1, int_1_end, 1, 0, 0, METAL_CODE + 1, 0, 0, 0},
        {"INTO", into, into_end, 4, 0, 0, into_rip, 0, 0, 0}};
    u32 i;
    for (i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        const struct cut *cut = &cuts[i];
        const struct kit_record *seen;
        bool pass;
        guest_open(0);
        seen = guest_record(0);
        guest_start(METAL_LONG, cut->code, cut->end);
        metal_set(&guest, XVCPU_REG_RBX, 0xfff8);
        metal_set(&guest, XVCPU_REG_CR2, 0x5555);
        set_if(true);
        if (cut->code == load_bad_ds) {
            memcpy(guest_vm.memory + METAL_CODE + (load_bad_ds_end - load_bad_ds), "\x0f\x01\xc1",
                   3);
            guest_resume(METAL_CODE + (u64)(load_bad_ds_end - load_bad_ds));
        }
        if (cut->raised != 0)
            raise(cut->raised - 1, (u32)cut->error, cut->cr2);
        if (cut->interrupt)
            raise_interrupt((u8)cut->vector);
        if (cut->nmi)
            raise_nmi();
        unmap(KIT_IDT);
        ok(is_ept_exit(metal_run(&guest), KIT_IDT) && guest_count() == 0 && xvcpu_has_event(&guest),
           "T49 %s: its gate is not mapped, the event waits", cut->name);
        ok(!xvcpu_accepts_interrupt(&guest), "T49 %s: and goes first", cut->name);
        // Entered again with nothing changed: the same exit, still once.
        ok(is_ept_exit(metal_run(&guest), KIT_IDT) && guest_count() == 0, "T49 %s: again",
           cut->name);
        map(KIT_IDT);
        pass = metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest_count() == 1 &&
               seen->vector == cut->vector && seen->error == cut->error && seen->rip == cut->rip &&
               (cut->cr2 == 0 || seen->cr2 == cut->cr2) && !xvcpu_has_event(&guest);
        ok(pass, "T49 %s: delivered once, vector %u, error code 0x%lx, return to %lu", cut->name,
           cut->vector, cut->error, cut->rip - METAL_CODE);
        if (!pass)
            guest_explain();
        guest_close();
    }
}

// -- Two faults at once, and three

static void test_double_fault(void)
{
    xvcpu_desc desc = {0};
    u32 reason;
    guest_open(0);
    GUEST_START(METAL_LONG, three_calls);
    raise(13, 0x10, 0);
    raise(11, 0x20, 0);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "two contributory exceptions");
    ok(guest_count() == 1 && guest_record(0)->vector == 8 && guest_record(0)->error == 0,
       "T52 are one #DF with error code 0");

    GUEST_START(METAL_LONG, three_calls);
    raise(1, 0, 0);
    raise(13, 0x10, 0);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "a benign and a contributory one");
    ok(guest_count() == 1 && guest_record(0)->vector == 13 && guest_record(0)->error == 0x10,
       "T52 are not: the second is delivered");

    GUEST_START(METAL_LONG, three_calls);
    raise(13, 0, 0);
    raise(13, 0, 0);
    raise(14, 0, 0x1000);
    reason = metal_run(&guest);
    ok(reason == XVCPU_EXIT_REASON_TRIPLE_FAULT && guest_count() == 0,
       "T52 a fault on top of #DF is a triple fault");

    // The guest's own: no gates at all.
    {
        GUEST_CODE(undefined, 64, "ud2");
        GUEST_START(METAL_LONG, undefined);
    }
    metal_set(&guest, XVCPU_REG_IDTR_LIMIT, 0);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_TRIPLE_FAULT, "without an IDT: triple fault");
    is_u64(guest.exit.rip, METAL_CODE, "at the instruction");
    guest_close();

    // The caller watches #NP; one arises while the guest's #GP is delivered.
    desc.exception_bitmap = XVCPU_BIT32(XVCPU_EXCEPTION_NP);
    guest_open(&desc);
    GUEST_START(METAL_LONG, load_bad_ds);
    metal_set(&guest, XVCPU_REG_RBX, 0xfff8);
    memcpy(guest_vm.memory + METAL_CODE + (load_bad_ds_end - load_bad_ds), "\x0f\x01\xc1", 3);
    guest_resume(METAL_CODE + (u64)(load_bad_ds_end - load_bad_ds));
    guest_gate(13, 0, 0x0e); // not present
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_EXCEPTION_NMI, "#NP under a #GP exits");
    is_u64(guest.exit.u.exception.vector, 11, "as #NP");
    raise(11, guest.exit.u.exception.error_code, 0);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "given back");
    ok(guest_count() == 1 && guest_record(0)->vector == 8, "T52 the guest sees #DF");
    if (guest_record(0)->vector != 8)
        guest_explain();
    guest_close();
}

// -- Debugging inside the guest

static void test_single_step(void)
{
    // clang-format off
    GUEST_CODE(steps, 64,
               "pushfq; orl $0x100, (%rsp); popfq\n"
               "81: nop\n"
               "82: xor %eax, %eax\n"
               "83: cpuid\n"
               "84: nop\n"
               "85: pushfq; andl $~0x100, (%rsp)\n"
               "86: popfq\n"
               "87: vmcall");
    // clang-format on
    // Each trap is reported behind the instruction.
    extern const u64 step_rips[], step_rips_end[];
    __asm__(".pushsection .rodata\n"
            ".balign 8\n"
            "step_rips: .quad 82b-steps, 83b-steps, 84b-steps, 85b-steps, 85b+1-steps, "
            "86b-steps, 87b-steps\n"
            "step_rips_end:\n"
            ".popsection");
    const u64 count = (u64)(step_rips_end - step_rips);
    bool pass = true;
    u64 i;
    guest_open(0);
    GUEST_START(METAL_LONG, steps);
    drop_pending_trap = true;
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "the guest single-steps");
    drop_pending_trap = false;
    is_u64(guest_count(), count, "T55 a #DB for each instruction");
    for (i = 0; i < count; i++)
        pass = pass && guest_record(i)->vector == 1 &&
               guest_record(i)->rip == METAL_CODE + step_rips[i] &&
               (guest_record(i)->dr6 & XVCPU_DR6_BS) != 0;
    ok(pass, "T55 right behind it, CPUID included, with DR6.BS");
    if (!pass)
        guest_explain();
    guest_close();
}

static void test_breakpoint(void)
{
    // clang-format off
    GUEST_CODE(watches, 64,
               "mov $" KIT_TEXT(KIT_FREE) ", %eax; mov %rax, %dr1\n"
               "mov $0x00d00404, %eax; mov %rax, %dr7\n" // L1, write, four bytes
               "incl " KIT_TEXT(KIT_FREE) "+4\n"
               "incl " KIT_TEXT(KIT_FREE) "\n"
               "91: xor %eax, %eax; mov %rax, %dr7\n"
               "incl " KIT_TEXT(KIT_FREE) "\n"
               "vmcall");
    // clang-format on
    // clang-format off
    GUEST_CODE(breaks, 64,
               "mov $" GUEST_ADDRESS(breaks, 92f) ", %eax; mov %rax, %dr3\n"
               "mov $0x00000440, %eax; mov %rax, %dr7\n" // L3, execution
               "nop; 92: nop; nop\n"
               "93: vmcall");
    // clang-format on
    extern const u64 break_rips[];
    __asm__(".pushsection .rodata\n"
            ".balign 8\n"
            "break_rips: .quad 91b-watches, 92b-breaks, 93b-breaks\n"
            ".popsection");
    guest_open(0);
    GUEST_START(METAL_LONG, watches);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "the guest watches a variable");
    ok(guest_count() == 1 && guest_record(0)->vector == 1, "T25 its watchpoint fires once");
    is_u64(guest_record(0)->rip, METAL_CODE + break_rips[0], "T25 behind the write");
    is_u64(guest_record(0)->dr6 & 0xf, 2, "T25 and DR6 names DR1");
    is_u64(metal_get(&guest, XVCPU_REG_DR1), KIT_FREE, "T25 DR1 is the guest's");

    GUEST_START(METAL_LONG, breaks);
    guest_resume(METAL_CODE + break_rips[2]);
    is_u64(metal_run(&guest), XVCPU_EXIT_REASON_VMCALL, "the guest sets a breakpoint");
    ok(guest_count() == 1 && guest_record(0)->vector == 1, "T25 it fires once");
    is_u64(guest_record(0)->rip, METAL_CODE + break_rips[1], "T25 before the instruction");
    is_u64(guest_record(0)->dr6 & 0xf, 8, "T25 and DR6 names DR3");
    is_u64(read_rflags() & XVCPU_RFLAGS_IF, 0, "T29 interrupts stay off in the host");
    guest_close();
}

// -- Real mode pushes no error codes

static void test_real_mode(void)
{
    GUEST_CODE(real_calls, 16, "1: nop; vmcall; jmp 1b");
    u32 i;
    guest_open(0);
    if (!metal_is_unrestricted(guest_cpu)) {
        skip("real mode: no unrestricted guest here");
        guest_close();
        return;
    }
    for (i = 0; i < 3; i++) {
        u16 *stack;
        bool pass;
        GUEST_START(METAL_REAL, real_calls);
        memcpy(guest_vm.memory + KIT_FREE % 0x10000, "\x0f\x01\xc1", 3);
        *(u32 *)guest_word(4 * (i == 2 ? 8 : 13)) = 0x9000; // 0:9000h is the stack's end
        memcpy(guest_vm.memory + 0x9000, "\x0f\x01\xc1", 3);
        if (i < 2)
            raise(13, 0x18 * i, 0);
        else
            raise_interrupt(8);
        set_if(true);
        stack = (u16 *)(void *)(guest_vm.memory + METAL_STACK - 6);
        pass = metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest.exit.rip == 0x9000 &&
               metal_get(&guest, XVCPU_REG_RSP) == METAL_STACK - 6 && stack[0] == METAL_CODE &&
               stack[1] == 0;
        ok(pass, "T44 real mode: %s pushes three words", i < 2 ? "#GP" : "interrupt 8");
        if (!pass)
            guest_explain();
    }
    guest_close();
}

int kernel_main(void)
{
    guest_open(0);
    test_all_vectors();
    guest_close();
    test_page_fault();
    test_debug_exception();
    test_nmi();
    test_nmi_cut_short();
    test_iret_that_faults();
    test_hundred();
    test_shadow();
    test_hlt();
    test_cut_short();
    test_double_fault();
    test_single_step();
    test_breakpoint();
    test_real_mode();
    return tap_done();
}
