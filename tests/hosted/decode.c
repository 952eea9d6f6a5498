// What an exit is decoded to, which exits have an instruction to skip, what skipping it does, and
// what a dump shows. Numbers in test names (T53...) are those of the list of correctness traps.

#define XVCPU_IMPLEMENTATION
#include "../sim/sim.h"
#include "machine.h"
#include "tap.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define RUBBISH 0xA5A5A5A5A5A5A5A5U
#define IF XVCPU_RFLAGS_IF
#define STI XVCPU_INTERRUPTIBILITY_STI
#define MOV_SS XVCPU_INTERRUPTIBILITY_MOV_SS
#define NMI_BLOCKED XVCPU_INTERRUPTIBILITY_NMI

// The four kinds of code that differ here.
enum code { REAL, PROTECTED, COMPATIBILITY, LONG };

static void set_code(enum code code)
{
    const xvcpu_u64 ar = code == REAL   ? 0x93
                         : code == LONG ? XVCPU_AR_L | XVCPU_AR_G | 0x9B
                                        : XVCPU_AR_DB | XVCPU_AR_G | 0x9B;
    const xvcpu_u64 entry = get(XVCPU_VMCS_CTRL_ENTRY) & ~XVCPU_ENTRY_IA32E_GUEST;
    put(XVCPU_VMCS_GUEST_CS_AR, ar);
    put(XVCPU_VMCS_CTRL_ENTRY, code >= COMPATIBILITY ? entry | XVCPU_ENTRY_IA32E_GUEST : entry);
}

static void calm(void)
{
    xvcpu_u32 i;
    memset(&vcpu.queue, 0, sizeof vcpu.queue);
    memset(&vcpu.exit, 0xA5, sizeof vcpu.exit); // the exit before
    for (i = 0; i < 16; i++)
        vcpu.gpr[i] = 0x1111111100000000U * (i + 1) % 0xFFFFFFFFFFFFFFFFU + 0x100 * i;
    put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1);
    put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 0);
    put(XVCPU_VMCS_GUEST_ACTIVITY_STATE, 0);
    put(XVCPU_VMCS_GUEST_DEBUGCTL, 0);
    put(XVCPU_VMCS_GUEST_PENDING_DBG, 0);
    put(XVCPU_VMCS_GUEST_RIP, 0x1000);
    put(XVCPU_VMCS_GUEST_RSP, 0x4444444400000444U);
    put(XVCPU_VMCS_EXIT_IDT_VECTORING_INFO, 0);
    put(XVCPU_VMCS_EXIT_IDT_VECTORING_ERROR_CODE, 0);
    put(XVCPU_VMCS_EXIT_INTR_INFO, 0);
    put(XVCPU_VMCS_EXIT_INTR_ERROR_CODE, 0x5A5A);
    put(XVCPU_VMCS_EXIT_QUALIFICATION, 0);
    put(XVCPU_VMCS_EXIT_INSTR_LEN, 7);
    put(XVCPU_VMCS_EXIT_INSTR_INFO, 0x5A5A5A5A);
    put(XVCPU_VMCS_EXIT_GUEST_PHYSICAL_ADDR, 0x123456789000);
    put(XVCPU_VMCS_EXIT_GUEST_LINEAR_ADDR, 0xFFFF800000001000U);
    set_code(LONG);
    vcpu.caps.basic |= XVCPU_VMX_BASIC_INS_OUTS_INFO;
    vcpu.controls[XVCPU_WORD_EXIT] &= ~XVCPU_EXIT_ACK_INTR;
}

static void start(void)
{
    machine_start(NULL, 0);
    calm();
}

// Decodes an exit the way xvcpu_run does.
static const xvcpu_exit *decode(xvcpu_u32 reason)
{
    vcpu.exit.reason = reason;
    vcpu.exit.reason_word = reason;
    vcpu.exit.rip = get(XVCPU_VMCS_GUEST_RIP);
    sim_counts_clear();
    xvcpui_decode(&vcpu);
    return &vcpu.exit;
}

static const xvcpu_exit *decode_qualified(xvcpu_u32 reason, xvcpu_u64 qualification)
{
    calm();
    put(XVCPU_VMCS_EXIT_QUALIFICATION, qualification);
    return decode(reason);
}

// -- T53

static xvcpu_u64 random_state = 0x9E3779B97F4A7C15U;

static xvcpu_u64 random_word(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void random_exit_fields(void)
{
    xvcpu_u32 i;
    put(XVCPU_VMCS_EXIT_QUALIFICATION, random_word());
    put(XVCPU_VMCS_EXIT_INSTR_INFO, random_word() & 0xFFFFFFFF);
    put(XVCPU_VMCS_EXIT_INSTR_LEN, random_word() & 0xFFFFFFFF);
    put(XVCPU_VMCS_EXIT_INTR_INFO, random_word() & 0xFFFFFFFF);
    put(XVCPU_VMCS_EXIT_INTR_ERROR_CODE, random_word() & 0xFFFFFFFF);
    put(XVCPU_VMCS_EXIT_IDT_VECTORING_INFO, random_word() & 0xFFFFFFFF);
    put(XVCPU_VMCS_EXIT_GUEST_PHYSICAL_ADDR, random_word());
    put(XVCPU_VMCS_EXIT_GUEST_LINEAR_ADDR, random_word());
    for (i = 0; i < 16; i++)
        vcpu.gpr[i] = random_word();
}

static void every_reason(void *argument)
{
    xvcpu_u32 reason;
    (void)argument;
    start();
    for (reason = 0; reason <= 0xFFFF; reason++) {
        const xvcpu_bool known = reason < XVCPU_EXIT_REASON_COUNT;
        char name[32];
        const xvcpu_exit *exit;
        snprintf(name, sizeof name, "reason %#x", reason);
        if (reason < 256)
            calm();
        memset(&vcpu.exit, (int)reason & 0xFF, sizeof vcpu.exit);
        random_exit_fields();
        exit = decode(reason);
        case_equal(name, "fault", vcpu.fault.status, XVCPU_STATUS_OK);
        case_equal(name, "answer", exit->answer, XVCPU_ANSWER_NONE);
        if ((xvcpu_u32)exit->kind >= (xvcpu_u32)XVCPU_EXIT_MMIO)
            sim_fail("%s: kind %d", name, (int)exit->kind);
        if (known)
            continue;
        case_equal(name, "kind", exit->kind, XVCPU_EXIT_PLAIN);
        case_equal(name, "length", exit->instruction_length, 0);
        case_equal(name, "qualification", exit->qualification, get(XVCPU_VMCS_EXIT_QUALIFICATION));
        case_equal(name, "instruction information", exit->instruction_info,
                   get(XVCPU_VMCS_EXIT_INSTR_INFO));
        case_equal(name, "interruption information", exit->interruption_info,
                   get(XVCPU_VMCS_EXIT_INTR_INFO));
        if (xvcpu_skip_instruction(&vcpu, &error) != XVCPU_STATUS_INVALID_STATE)
            sim_fail("%s can be skipped", name);
    }
    put(XVCPU_VMCS_EXIT_IDT_VECTORING_INFO, 0);
    stop();
}

static void unknown_guest(sim_guest *g)
{
    const xvcpu_u32 *reason = (const xvcpu_u32 *)g->context;
    sim_exit(g, *reason, 0x123);
}

static void unknown_reasons_reach_the_caller(void *argument)
{
    static const xvcpu_u32 words[] = {35, 38, 71, 86, 255, 1000, 0xFFFF,
                                      0x04000000 | 99, // bus lock flag
                                      0x08000000 | 300};
    xvcpu_u32 reason = 0;
    size_t i;
    (void)argument;
    start();
    must(xvcpu_preset_protected(&vcpu, 0x1000, 0x8000, &error));
    sim_set_guest(unknown_guest, &reason);
    for (i = 0; i < COUNT(words); i++) {
        reason = words[i];
        must(xvcpu_run(&vcpu, &error));
        sim_check_equal(vcpu.exit.reason, reason & 0xFFFF);
        sim_check_equal(vcpu.exit.reason_word, reason);
        sim_check_equal(vcpu.exit.qualification, 0x123);
        sim_check_equal(vcpu.exit.kind, XVCPU_EXIT_PLAIN);
        sim_check_equal(get(XVCPU_VMCS_GUEST_RIP), 0x1000);
    }
    stop();
}

// -- T54

static void who_can_be_skipped(void *argument)
{
    // 1: always has a length; 2: sometimes. Everything else has none.
    static const xvcpu_u8 has_length[86] = {
        [0] = 2,  [9] = 2,  [10] = 1, [11] = 1, [12] = 1, [13] = 1, [14] = 1, [15] = 1, [16] = 1,
        [17] = 1, [18] = 1, [19] = 1, [20] = 1, [21] = 1, [22] = 1, [23] = 1, [24] = 1, [25] = 1,
        [26] = 1, [27] = 1, [28] = 1, [29] = 1, [30] = 1, [31] = 1, [32] = 1, [36] = 1, [39] = 1,
        [40] = 1, [44] = 2, [46] = 1, [47] = 1, [48] = 2, [50] = 1, [51] = 1, [53] = 1, [54] = 1,
        [55] = 1, [57] = 1, [58] = 1, [59] = 2, [60] = 1, [61] = 1, [62] = 2, [63] = 1, [64] = 1,
        [65] = 1, [66] = 2, [67] = 1, [68] = 1, [69] = 1, [70] = 2, [72] = 2, [73] = 2, [76] = 1,
        [77] = 1, [78] = 2, [79] = 2, [80] = 2, [81] = 2, [84] = 2, [85] = 2};
    static const struct {
        const char *name;
        xvcpu_u32 reason, info, vectoring;
        xvcpu_u64 qualification;
        xvcpu_bool skip;
    } sometimes[] = {
        {"INT3", 0, 0x80000603, 0, 0, 1},
        {"INTO", 0, 0x80000604, 0, 0, 1},
        {"INT1", 0, 0x80000501, 0, 0, 1},
        {"#DB", 0, 0x80000301, 0, 0, 0},
        {"#GP in the delivery of INT n", 0, 0x80000B0D, 0x80000480, 0, 0},
        {"NMI", 0, 0x80000202, 0, 0, 0},
        {"task switch by CALL", 9, 0, 0, 0x18, 1},
        {"task switch by IRET", 9, 0, 0, 0x40000018, 1},
        {"task switch by JMP", 9, 0, 0, 0x80000018, 1},
        {"task switch by a gate", 9, 0, 0x80000480, 0xC0000018, 0},
        {"APIC access", 44, 0, 0, 0, 0},
        {"APIC access in the delivery of INT n", 44, 0, 0x80000480, 0x3000, 0},
        {"EPT violation", 48, 0, 0, 0x181, 0},
        {"EPT violation in the delivery of INT n", 48, 0, 0x80000480, 0x181, 0},
        {"VMFUNC", 59, 0, 0, 0, 1},
        {"PML", 62, 0, 0, 0, 0},
        {"SPP", 66, 0, 0, 0, 0},
        {"ENCLV", 70, 0, 0, 0, 0},
        {"ENQCMD", 72, 0, 0, 0, 0},
        {"RDMSRLIST", 78, 0, 0, 0, 0},
    };
    xvcpu_u32 reason;
    size_t i;
    (void)argument;
    start();
    for (reason = 0; reason < 200; reason++) {
        const xvcpu_u8 flag = reason < COUNT(has_length) ? has_length[reason] : 0;
        char name[32];
        xvcpu_status status;
        if (flag == 2)
            continue;
        snprintf(name, sizeof name, "reason %u", reason);
        calm();
        (void)decode(reason);
        status = xvcpu_skip_instruction(&vcpu, &error);
        case_equal(name, "status", status, flag ? XVCPU_STATUS_OK : XVCPU_STATUS_INVALID_STATE);
        case_equal(name, "RIP", get(XVCPU_VMCS_GUEST_RIP), flag ? 0x1007 : 0x1000);
        case_equal(name, "length", vcpu.exit.instruction_length, flag ? 7 : 0);
        // Twice is as good as once.
        if (flag) {
            must(xvcpu_skip_instruction(&vcpu, &error));
            case_equal(name, "RIP", get(XVCPU_VMCS_GUEST_RIP), 0x1007);
        }
    }
    for (i = 0; i < COUNT(sometimes); i++) {
        xvcpu_status status;
        calm();
        put(XVCPU_VMCS_EXIT_INTR_INFO, sometimes[i].info);
        put(XVCPU_VMCS_EXIT_IDT_VECTORING_INFO, sometimes[i].vectoring);
        put(XVCPU_VMCS_EXIT_QUALIFICATION, sometimes[i].qualification);
        (void)decode(sometimes[i].reason);
        status = xvcpu_skip_instruction(&vcpu, &error);
        case_equal(sometimes[i].name, "status", status,
                   sometimes[i].skip ? XVCPU_STATUS_OK : XVCPU_STATUS_INVALID_STATE);
        case_equal(sometimes[i].name, "RIP", get(XVCPU_VMCS_GUEST_RIP),
                   sometimes[i].skip ? 0x1007 : 0x1000);
    }
    // An access that was decoded has an instruction, and its length is the decoder's.
    calm();
    (void)decode(XVCPU_EXIT_REASON_EPT_MISCONFIG);
    vcpu.exit.kind = XVCPU_EXIT_MMIO;
    vcpu.exit.instruction_length = 3;
    must(xvcpu_skip_instruction(&vcpu, &error));
    sim_check_equal(get(XVCPU_VMCS_GUEST_RIP), 0x1003);
    // A return without an exit has no instruction either, whatever the exit before was.
    calm();
    (void)decode(XVCPU_EXIT_REASON_VMCALL);
    vcpu.exit.kind = XVCPU_EXIT_KICKED;
    sim_check(xvcpu_skip_instruction(&vcpu, &error) == XVCPU_STATUS_INVALID_STATE);
    must(xvcpu_unbind(&vcpu, &error));
    sim_check(xvcpu_skip_instruction(&vcpu, &error) == XVCPU_STATUS_NOT_BOUND);
    stop();
}

// -- T55

static void what_skipping_does(void *argument)
{
    static const struct {
        const char *name;
        enum code code;
        xvcpu_u64 rip, rflags, blocking, debugctl;
        xvcpu_u64 rip_after, rflags_after, blocking_after, pending;
    } rows[] = {
        {"plain", LONG, 0x1000, IF, 0, 0, 0x1002, IF, 0, 0},
        {"STI shadow ends", LONG, 0x1000, IF, STI, 0, 0x1002, IF, 0, 0},
        {"MOV SS shadow ends", LONG, 0x1000, 0, MOV_SS, 0, 0x1002, 0, 0, 0},
        {"NMI blocking stays", LONG, 0x1000, IF, STI | NMI_BLOCKED, 0, 0x1002, IF, NMI_BLOCKED, 0},
        {"RF clears", LONG, 0x1000, IF | XVCPU_RFLAGS_RF, 0, 0, 0x1002, IF, 0, 0},
        {"TF: pending single step", LONG, 0x1000, XVCPU_RFLAGS_TF, 0, 0, 0x1002, XVCPU_RFLAGS_TF,
         0, XVCPU_PENDING_DBG_BS},
        {"TF in a shadow", PROTECTED, 0x1000, XVCPU_RFLAGS_TF, MOV_SS, 0, 0x1002, XVCPU_RFLAGS_TF,
         0, XVCPU_PENDING_DBG_BS},
        {"TF with BTF: none", LONG, 0x1000, XVCPU_RFLAGS_TF, 0, XVCPU_DEBUGCTL_BTF, 0x1002,
         XVCPU_RFLAGS_TF, 0, 0},
        {"TF and RF", LONG, 0x1000, XVCPU_RFLAGS_TF | XVCPU_RFLAGS_RF, 0, 0, 0x1002,
         XVCPU_RFLAGS_TF, 0, XVCPU_PENDING_DBG_BS},
        {"protected mode wraps", PROTECTED, 0xFFFFFFFE, 0, 0, 0, 0, 0, 0, 0},
        {"compatibility mode wraps", COMPATIBILITY, 0xFFFFFFFF, 0, 0, 0, 1, 0, 0, 0},
        {"real mode wraps", REAL, 0xFFFFFFFF, 0, 0, 0, 1, 0, 0, 0},
        {"64-bit mode does not", LONG, 0xFFFFFFFE, 0, 0, 0, 0x100000000, 0, 0, 0},
        {"64-bit mode, high", LONG, 0xFFFF8000FFFFFFFF, 0, 0, 0, 0xFFFF800100000001, 0, 0, 0},
    };
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        calm();
        set_code(rows[i].code);
        put(XVCPU_VMCS_GUEST_RIP, rows[i].rip);
        put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1 | rows[i].rflags);
        put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, rows[i].blocking);
        put(XVCPU_VMCS_GUEST_DEBUGCTL, rows[i].debugctl);
        put(XVCPU_VMCS_EXIT_INSTR_LEN, 2);
        (void)decode(XVCPU_EXIT_REASON_CPUID);
        xvcpui_skip(&vcpu);
        case_equal(rows[i].name, "RIP", get(XVCPU_VMCS_GUEST_RIP), rows[i].rip_after);
        case_equal(rows[i].name, "RFLAGS", get(XVCPU_VMCS_GUEST_RFLAGS),
                   XVCPU_RFLAGS_FIXED_1 | rows[i].rflags_after);
        case_equal(rows[i].name, "blocking", get(XVCPU_VMCS_GUEST_INTERRUPTIBILITY),
                   rows[i].blocking_after);
        case_equal(rows[i].name, "pending", get(XVCPU_VMCS_GUEST_PENDING_DBG), rows[i].pending);
    }
    // Legacy code whose CS has the L bit of its descriptor set is still no 64-bit code.
    calm();
    put(XVCPU_VMCS_CTRL_ENTRY, get(XVCPU_VMCS_CTRL_ENTRY) & ~XVCPU_ENTRY_IA32E_GUEST);
    put(XVCPU_VMCS_GUEST_RIP, 0xFFFFFFFF);
    put(XVCPU_VMCS_EXIT_INSTR_LEN, 2);
    (void)decode(XVCPU_EXIT_REASON_CPUID);
    xvcpui_skip(&vcpu);
    sim_check_equal(get(XVCPU_VMCS_GUEST_RIP), 1);
    // A breakpoint that waits already is not lost.
    calm();
    put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1 | XVCPU_RFLAGS_TF);
    put(XVCPU_VMCS_GUEST_PENDING_DBG, XVCPU_PENDING_DBG_ENABLED | 1);
    (void)decode(XVCPU_EXIT_REASON_CPUID);
    xvcpui_skip(&vcpu);
    sim_check_equal(get(XVCPU_VMCS_GUEST_PENDING_DBG),
                    XVCPU_PENDING_DBG_ENABLED | XVCPU_PENDING_DBG_BS | 1);
    stop();
}

static void cost_of_cpuid(void *argument)
{
    (void)argument;
    start();
    put(XVCPU_VMCS_EXIT_INSTR_LEN, 2);
    (void)decode(XVCPU_EXIT_REASON_CPUID);
    sim_check_equal(sim_counts.vmread, 0);
    sim_check_equal(vcpu.exit.kind, XVCPU_EXIT_INSTRUCTION);
    sim_check_equal(vcpu.exit.instruction_length, 0); // not one left from the exit before
    xvcpui_skip(&vcpu);
    sim_check_equal(sim_counts.vmread, 3);
    sim_check_equal(sim_counts.vmwrite, 1);
    sim_check_equal(vcpu.exit.instruction_length, 2);
    // Other instructions: the length read by decoding is not read again.
    calm();
    (void)decode(XVCPU_EXIT_REASON_RDMSR);
    sim_check_equal(sim_counts.vmread, 1);
    xvcpui_skip(&vcpu);
    sim_check_equal(sim_counts.vmread, 3);
    // Exits that say nothing but their reason.
    (void)decode(XVCPU_EXIT_REASON_INTERRUPT_WINDOW);
    sim_check_equal(sim_counts.vmread, 0);
    (void)decode(XVCPU_EXIT_REASON_PREEMPTION_TIMER);
    sim_check_equal(sim_counts.vmread, 0);
    (void)decode(XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT);
    sim_check_equal(sim_counts.vmread, 0);
    stop();
}

// -- Decoding

static void nothing_is_left_over(void *argument)
{
    xvcpu_u32 reason;
    (void)argument;
    start();
    for (reason = 0; reason < XVCPU_EXIT_REASON_COUNT; reason++) {
        char name[32];
        const xvcpu_exit *exit;
        snprintf(name, sizeof name, "reason %u", reason);
        calm(); // fills the record with A5h
        put(XVCPU_VMCS_EXIT_INSTR_INFO, 0);
        exit = decode(reason);
        if (exit->qualification == RUBBISH || exit->instruction_info == (xvcpu_u32)RUBBISH ||
            exit->interruption_info == (xvcpu_u32)RUBBISH ||
            exit->interruption_error == (xvcpu_u32)RUBBISH || exit->value == RUBBISH ||
            exit->instruction_length == (xvcpu_u32)RUBBISH ||
            (xvcpu_u32)exit->kind == (xvcpu_u32)RUBBISH ||
            (xvcpu_u32)exit->answer == (xvcpu_u32)RUBBISH)
            sim_fail("%s leaves a member as it was", name);
    }
    stop();
}

static void decode_control_registers(void *argument)
{
    static const struct {
        const char *name;
        enum code code;
        xvcpu_u64 qualification;
        xvcpu_u8 number, access, gpr;
        xvcpu_bool memory;
        xvcpu_u16 lmsw;
        xvcpu_u64 value;
    } rows[] = {
        {"MOV CR0, RCX", LONG, 0x100, 0, 0, 1, 0, 0, 0x2222222200000100},
        {"MOV CR4, R15", LONG, 0xF04, 4, 0, 15, 0, 0, 0xF00},
        {"MOV CR3, RSP", LONG, 0x403, 3, 0, 4, 0, 0, 0x4444444400000444},
        {"MOV CR3, ESP", PROTECTED, 0x403, 3, 0, 4, 0, 0, 0x444},
        {"MOV CR0, ECX", PROTECTED, 0x100, 0, 0, 1, 0, 0, 0x100},
        {"MOV CR0, ECX", COMPATIBILITY, 0x100, 0, 0, 1, 0, 0, 0x100},
        {"MOV CR0, ECX in real mode", REAL, 0x100, 0, 0, 1, 0, 0, 0x100},
        {"MOV RDX, CR8", LONG, 0x218, 8, 1, 2, 0, 0, 0},
        {"CLTS", LONG, 0x20, 0, 2, 0, 0, 0, 0},
        {"LMSW register", LONG, 0xFFF10030, 0, 3, 0, 0, 0xFFF1, 0xFFF1},
        {"LMSW memory", LONG, 0x00090070, 0, 3, 0, 1, 9, 9},
        {"undefined bits", LONG, 0xFFFFFFFF0000F1C3 & ~(xvcpu_u64)0x40, 3, 0, 1, 0, 0,
         0x2222222200000100},
    };
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        const xvcpu_exit *exit;
        calm();
        vcpu.gpr[15] = 0xF00;
        set_code(rows[i].code);
        put(XVCPU_VMCS_EXIT_QUALIFICATION, rows[i].qualification);
        exit = decode(XVCPU_EXIT_REASON_CR_ACCESS);
        case_equal(rows[i].name, "kind", exit->kind, XVCPU_EXIT_CR);
        case_equal(rows[i].name, "number", exit->u.cr.number, rows[i].number);
        case_equal(rows[i].name, "access", exit->u.cr.access, rows[i].access);
        if (rows[i].access < 2)
            case_equal(rows[i].name, "register", exit->u.cr.gpr, rows[i].gpr);
        case_equal(rows[i].name, "memory", exit->u.cr.memory, rows[i].memory);
        case_equal(rows[i].name, "LMSW source", exit->u.cr.lmsw, rows[i].lmsw);
        case_equal(rows[i].name, "value", exit->value, rows[i].value);
        case_equal(rows[i].name, "length", exit->instruction_length, 7);
    }
    stop();
}

static void decode_debug_registers(void *argument)
{
    const xvcpu_exit *exit;
    (void)argument;
    start();
    exit = decode_qualified(XVCPU_EXIT_REASON_MOV_DR, 0x107); // MOV DR7, RCX
    sim_check_equal(exit->kind, XVCPU_EXIT_DR);
    sim_check_equal(exit->u.dr.number, 7);
    sim_check_equal(exit->u.dr.gpr, 1);
    sim_check(!exit->u.dr.read);
    sim_check_equal(exit->value, 0x2222222200000100);
    exit = decode_qualified(XVCPU_EXIT_REASON_MOV_DR, 0xC16); // MOV R12, DR6
    sim_check_equal(exit->u.dr.number, 6);
    sim_check_equal(exit->u.dr.gpr, 12);
    sim_check(exit->u.dr.read);
    sim_check_equal(exit->value, 0);
    calm();
    set_code(PROTECTED);
    put(XVCPU_VMCS_EXIT_QUALIFICATION, 0x400); // MOV DR0, ESP
    sim_check_equal(decode(XVCPU_EXIT_REASON_MOV_DR)->value, 0x444);
    stop();
}

static void decode_io(void *argument)
{
    static const struct {
        const char *name;
        xvcpu_u64 qualification;
        xvcpu_u32 info;
        xvcpu_u16 port;
        xvcpu_u8 bytes;
        xvcpu_bool in, string, rep, immediate;
        xvcpu_u8 address_bits, segment;
        xvcpu_u64 count, value;
    } rows[] = {
        {"OUT DX, AL", 0x03F80000, 0, 0x3F8, 1, 0, 0, 0, 0, 0, 0, 1, 0xDD},
        {"OUT 80h, AX", 0x00800041, 0, 0x80, 2, 0, 0, 0, 1, 0, 0, 1, 0xCCDD},
        {"OUT DX, EAX", 0xFFFF0003, 0, 0xFFFF, 4, 0, 0, 0, 0, 0, 0, 1, 0xAABBCCDD},
        {"IN AL, DX", 0x00600008, 0, 0x60, 1, 1, 0, 0, 0, 0, 0, 1, 0},
        {"IN EAX, 0CFh", 0x00CF004B, 0, 0xCF, 4, 1, 0, 0, 1, 0, 0, 1, 0},
        {"OUTSB", 0x03F80010, 0x00018000, 0x3F8, 1, 0, 1, 0, 0, 16, XVCPU_DS, 1, 0},
        {"FS OUTSD", 0x03F80013, 0x00020080, 0x3F8, 4, 0, 1, 0, 0, 32, XVCPU_FS, 1, 0},
        {"REP OUTSW", 0x03F80031, 0x00018100, 0x3F8, 2, 0, 1, 1, 0, 64, XVCPU_DS,
         0x8765432112345678, 0},
        {"REP OUTSW, 32", 0x03F80031, 0x00018080, 0x3F8, 2, 0, 1, 1, 0, 32, XVCPU_DS, 0x12345678,
         0},
        {"REP INSB, 16", 0x03F80038, 0xFFFFFC7F, 0x3F8, 1, 1, 1, 1, 0, 16, XVCPU_ES, 0x5678, 0},
        {"INSD", 0x03F8001B, 0x00010080, 0x3F8, 4, 1, 1, 0, 0, 32, XVCPU_ES, 1, 0},
    };
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        const xvcpu_exit *exit;
        calm();
        vcpu.gpr[XVCPU_RAX] = 0x99999999AABBCCDD;
        vcpu.gpr[XVCPU_RCX] = 0x8765432112345678;
        put(XVCPU_VMCS_EXIT_QUALIFICATION, rows[i].qualification | 0xFF80); // 15:7 undefined
        put(XVCPU_VMCS_EXIT_INSTR_INFO, rows[i].info);
        exit = decode(XVCPU_EXIT_REASON_IO_INSTRUCTION);
        case_equal(rows[i].name, "kind", exit->kind, XVCPU_EXIT_IO);
        case_equal(rows[i].name, "port", exit->u.io.port, rows[i].port);
        case_equal(rows[i].name, "bytes", exit->u.io.bytes, rows[i].bytes);
        case_equal(rows[i].name, "in", exit->u.io.in, rows[i].in);
        case_equal(rows[i].name, "string", exit->u.io.string, rows[i].string);
        case_equal(rows[i].name, "rep", exit->u.io.rep, rows[i].rep);
        case_equal(rows[i].name, "immediate", exit->u.io.immediate, rows[i].immediate);
        case_equal(rows[i].name, "address size", exit->u.io.address_bits, rows[i].address_bits);
        case_equal(rows[i].name, "segment", exit->u.io.segment, rows[i].segment);
        case_equal(rows[i].name, "count", exit->u.io.count, rows[i].count);
        case_equal(rows[i].name, "value", exit->value, rows[i].value);
        case_equal(rows[i].name, "linear address", exit->u.io.gla,
                   rows[i].string ? 0xFFFF800000001000 : 0);
        case_equal(rows[i].name, "length", exit->instruction_length, 7);
        if (!rows[i].string)
            case_equal(rows[i].name, "VMREADs", sim_counts.vmread, 2);
    }
    // Without IA32_VMX_BASIC[54] the code segment tells the address size.
    for (i = REAL; i <= LONG; i++) {
        static const xvcpu_u8 bits[] = {16, 32, 32, 64};
        const xvcpu_exit *exit;
        calm();
        vcpu.caps.basic &= ~XVCPU_VMX_BASIC_INS_OUTS_INFO;
        set_code((enum code)i);
        put(XVCPU_VMCS_EXIT_QUALIFICATION, 0x03F80031);
        exit = decode(XVCPU_EXIT_REASON_IO_INSTRUCTION);
        sim_check_equal(exit->u.io.address_bits, bits[i]);
        sim_check_equal(exit->u.io.segment, XVCPU_DS);
        sim_check_equal(exit->instruction_info, 0);
    }
    stop();
}

static void decode_msrs(void *argument)
{
    const xvcpu_exit *exit;
    (void)argument;
    start();
    vcpu.gpr[XVCPU_RCX] = 0xDEADBEEFC0000080;
    vcpu.gpr[XVCPU_RAX] = 0xDEADBEEF11223344;
    vcpu.gpr[XVCPU_RDX] = 0xDEADBEEF55667788;
    exit = decode(XVCPU_EXIT_REASON_RDMSR);
    sim_check_equal(exit->kind, XVCPU_EXIT_MSR_READ);
    sim_check_equal(exit->u.msr.index, 0xC0000080);
    sim_check_equal(exit->value, 0);
    exit = decode(XVCPU_EXIT_REASON_WRMSR);
    sim_check_equal(exit->kind, XVCPU_EXIT_MSR_WRITE);
    sim_check_equal(exit->u.msr.index, 0xC0000080);
    sim_check_equal(exit->value, 0x5566778811223344);
    sim_check_equal(sim_counts.vmread, 1);
    vcpu.gpr[XVCPU_RCX] = 0xDEADBEEF00000000;
    exit = decode(XVCPU_EXIT_REASON_XSETBV);
    sim_check_equal(exit->kind, XVCPU_EXIT_INSTRUCTION);
    sim_check_equal(exit->u.msr.index, 0);
    sim_check_equal(exit->value, 0x5566778811223344);
    vcpu.gpr[XVCPU_RCX] = 0xDEADBEEF40000001;
    exit = decode(XVCPU_EXIT_REASON_RDPMC);
    sim_check_equal(exit->u.msr.index, 0x40000001);
    exit = decode(XVCPU_EXIT_REASON_VMCALL);
    sim_check_equal(exit->u.vmcall.number, 0xDEADBEEF11223344);
    set_code(PROTECTED);
    exit = decode(XVCPU_EXIT_REASON_VMCALL);
    sim_check_equal(exit->u.vmcall.number, 0x11223344);
    sim_check_equal(exit->kind, XVCPU_EXIT_INSTRUCTION);
    stop();
}

static void decode_exceptions(void *argument)
{
    static const struct {
        const char *name;
        xvcpu_u32 info;
        xvcpu_u64 qualification;
        xvcpu_u8 vector, type;
        xvcpu_bool has_error;
        xvcpu_u32 error_code, length;
    } rows[] = {
        {"#PF", 0x80000B0E, 0xFFFF800012345678, 14, 3, 1, 0x5A5A, 0},
        {"#UD", 0x80000306, 0, 6, 3, 0, 0, 0},
        {"#DB", 0x80000301, 0x4001, 1, 3, 0, 0, 0},
        {"INT3", 0x80000603, 0, 3, 6, 0, 0, 7},
        {"INT1", 0x80000501, 0, 1, 5, 0, 0, 7},
        {"NMI", 0x80000202, 0, 2, 2, 0, 0, 0},
    };
    const xvcpu_exit *exit;
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        calm();
        put(XVCPU_VMCS_EXIT_INTR_INFO, rows[i].info);
        put(XVCPU_VMCS_EXIT_QUALIFICATION, rows[i].qualification);
        exit = decode(XVCPU_EXIT_REASON_EXCEPTION_NMI);
        case_equal(rows[i].name, "kind", exit->kind, XVCPU_EXIT_PLAIN);
        case_equal(rows[i].name, "information", exit->interruption_info, rows[i].info);
        case_equal(rows[i].name, "vector", exit->u.exception.vector, rows[i].vector);
        case_equal(rows[i].name, "type", exit->u.exception.type, rows[i].type);
        case_equal(rows[i].name, "has error", exit->u.exception.has_error, rows[i].has_error);
        case_equal(rows[i].name, "error code", exit->u.exception.error_code, rows[i].error_code);
        case_equal(rows[i].name, "address", exit->u.exception.address, rows[i].qualification);
        case_equal(rows[i].name, "length", exit->instruction_length, rows[i].length);
    }
    // The vector of an external interrupt is there only if the exit acknowledged it.
    calm();
    put(XVCPU_VMCS_EXIT_INTR_INFO, 0x800000EC);
    exit = decode(XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT);
    sim_check_equal(exit->u.vector, 0);
    sim_check_equal(exit->interruption_info, 0);
    vcpu.controls[XVCPU_WORD_EXIT] |= XVCPU_EXIT_ACK_INTR;
    exit = decode(XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT);
    sim_check_equal(exit->u.vector, 0xEC);
    sim_check_equal(exit->interruption_info, 0x800000EC);
    vcpu.controls[XVCPU_WORD_EXIT] &= ~XVCPU_EXIT_ACK_INTR;
    sim_check_equal(decode_qualified(XVCPU_EXIT_REASON_SIPI, 0x9A)->u.vector, 0x9A);
    sim_check_equal(decode_qualified(XVCPU_EXIT_REASON_VIRTUALIZED_EOI, 0x31)->u.vector, 0x31);
    exit = decode_qualified(XVCPU_EXIT_REASON_TASK_SWITCH, 0x80000028);
    sim_check_equal(exit->u.task_switch.selector, 0x28);
    sim_check_equal(exit->u.task_switch.source, XVCPU_QUAL_TASK_SOURCE_JMP);
    stop();
}

static void decode_memory(void *argument)
{
    static const struct {
        const char *name;
        xvcpu_u32 reason;
        xvcpu_u64 qualification;
        const char *flags; // r w x: did; R W X: could; L: linear address; P: page walk
    } rows[] = {
        {"read, nothing allowed", 48, 0x181, "rL"},
        {"write to read-only", 48, 0x18A, "wRL"},
        {"write to read-execute", 48, 0x1AA, "wRXL"},
        {"fetch from read-write", 48, 0x19C, "xRWL"},
        {"page walk", 48, 0x081, "rLP"},
        {"page walk writing an accessed flag", 48, 0x083, "rwLP"},
        {"no linear address", 48, 0x001, "r"},
        {"no linear address, bit 8 undefined", 48, 0x101, "r"},
        {"misconfiguration: no qualification", 49, 0x1BF, ""},
        {"SPP miss", 66, 0x800, "wL"},
    };
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        const xvcpu_exit *exit = decode_qualified(rows[i].reason, rows[i].qualification);
        const xvcpu_exit_memory *memory = &exit->u.memory;
        char flags[16];
        snprintf(flags, sizeof flags, "%s%s%s%s%s%s%s%s", memory->read ? "r" : "",
                 memory->write ? "w" : "", memory->execute ? "x" : "", memory->readable ? "R" : "",
                 memory->writable ? "W" : "", memory->executable ? "X" : "",
                 memory->gla_valid ? "L" : "", memory->page_walk ? "P" : "");
        if (strcmp(flags, rows[i].flags) != 0)
            sim_fail("%s: got \"%s\", want \"%s\"", rows[i].name, flags, rows[i].flags);
        case_equal(rows[i].name, "kind", exit->kind, XVCPU_EXIT_PLAIN);
        case_equal(rows[i].name, "gpa", memory->gpa, 0x123456789000);
        case_equal(rows[i].name, "gla", memory->gla,
                   memory->gla_valid ? 0xFFFF800000001000 : 0);
        case_equal(rows[i].name, "not decoded", memory->bytes, 0);
        case_equal(rows[i].name, "qualification", exit->qualification,
                   rows[i].reason == 49 ? 0 : rows[i].qualification);
    }
    stop();
}

static void decode_others(void *argument)
{
    static const struct {
        const char *name;
        xvcpu_u32 reason, info;
        xvcpu_bool store;
        xvcpu_u8 table;
    } tables[] = {
        {"SGDT", 46, 0x00000000, 1, 0}, {"SIDT", 46, 0x10000000, 1, 1},
        {"LGDT", 46, 0x20000000, 0, 0}, {"LIDT", 46, 0x30000000, 0, 1},
        {"SLDT", 47, 0x00000000, 1, 2}, {"STR", 47, 0x10000000, 1, 3},
        {"LLDT", 47, 0x20000000, 0, 2}, {"LTR", 47, 0x30000000, 0, 3},
    };
    static const struct {
        xvcpu_u32 reason;
        xvcpu_bool qualification, info;
    } plain[] = {
        {XVCPU_EXIT_REASON_INVLPG, 1, 0}, {XVCPU_EXIT_REASON_VMCLEAR, 1, 1},
        {XVCPU_EXIT_REASON_VMREAD, 1, 1}, {XVCPU_EXIT_REASON_INVEPT, 1, 1},
        {XVCPU_EXIT_REASON_INVPCID, 1, 1}, {XVCPU_EXIT_REASON_MWAIT, 1, 0},
        {XVCPU_EXIT_REASON_WBINVD, 1, 0}, {XVCPU_EXIT_REASON_RDRAND, 1, 1},
        {XVCPU_EXIT_REASON_TPAUSE, 1, 1}, {XVCPU_EXIT_REASON_XSAVES, 1, 1},
        {XVCPU_EXIT_REASON_LOADIWKEY, 1, 1}, {XVCPU_EXIT_REASON_HLT, 0, 0},
        {XVCPU_EXIT_REASON_RDTSC, 0, 0}, {XVCPU_EXIT_REASON_PAUSE, 0, 0},
        {XVCPU_EXIT_REASON_INVD, 0, 0}, {XVCPU_EXIT_REASON_MONITOR, 0, 0},
    };
    const xvcpu_exit *exit;
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(tables); i++) {
        calm();
        put(XVCPU_VMCS_EXIT_INSTR_INFO, tables[i].info | 0x00418080);
        put(XVCPU_VMCS_EXIT_QUALIFICATION, 0x40);
        exit = decode(tables[i].reason);
        case_equal(tables[i].name, "kind", exit->kind, XVCPU_EXIT_INSTRUCTION);
        case_equal(tables[i].name, "store", exit->u.descriptor.store, tables[i].store);
        case_equal(tables[i].name, "table", exit->u.descriptor.table, tables[i].table);
        case_equal(tables[i].name, "information", exit->instruction_info,
                   tables[i].info | 0x00418080);
        case_equal(tables[i].name, "displacement", exit->qualification, 0x40);
    }
    for (i = 0; i < COUNT(plain); i++) {
        char name[32];
        snprintf(name, sizeof name, "reason %u", plain[i].reason);
        exit = decode_qualified(plain[i].reason, 0x77);
        case_equal(name, "kind", exit->kind, XVCPU_EXIT_INSTRUCTION);
        case_equal(name, "length", exit->instruction_length, 7);
        case_equal(name, "qualification", exit->qualification, plain[i].qualification ? 0x77 : 0);
        case_equal(name, "information", exit->instruction_info, plain[i].info ? 0x5A5A5A5A : 0);
    }
    exit = decode_qualified(XVCPU_EXIT_REASON_APIC_ACCESS, 0x10B0 | 0x10000);
    sim_check_equal(exit->u.apic.offset, 0xB0);
    sim_check_equal(exit->u.apic.access, XVCPU_QUAL_APIC_TYPE_WRITE);
    exit = decode_qualified(XVCPU_EXIT_REASON_APIC_ACCESS, 0x0020);
    sim_check_equal(exit->u.apic.access, XVCPU_QUAL_APIC_TYPE_READ);
    exit = decode_qualified(XVCPU_EXIT_REASON_APIC_WRITE, 0x300);
    sim_check_equal(exit->u.apic.offset, 0x300);
    sim_check_equal(exit->kind, XVCPU_EXIT_PLAIN);
    stop();
}

// -- Dump

static void dump(void *argument)
{
    xvcpu_u32 i, lines = 0;
    xvcpu_u64 controls;
    const sim_log_line *line;
    (void)argument;
    start();
    vcpu.gpr[XVCPU_RBX] = 0x1234567890ABCDEF;
    put(XVCPU_VMCS_GUEST_RSP, 0xFEDCBA98);
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_GP, 0x18, 0, &error));
    must(xvcpu_raise_interrupt(&vcpu, 0x41, &error));
    must(xvcpu_raise_nmi(&vcpu, &error));
    vcpu.exit.reason = 0xFFFF; // never an index
    vcpu.exit.reason_word = 0xFFFF;
    memset(&vcpu.fault, 0, sizeof vcpu.fault);
    vcpu.fault.status = XVCPU_STATUS_VMFAIL;
    sim_log_clear();
    sim_counts_clear();
    xvcpu_dump(&vcpu);
    sim_check_equal(sim_counts.vmwrite, 0);
    sim_check_equal(vcpu.fault.status, XVCPU_STATUS_VMFAIL);
    sim_check_equal(vcpu.fault.field, 0);
    vcpu.fault.status = XVCPU_STATUS_OK;

    // Every field that exists, once, with its value; and no other.
    for (i = 0; i < sim_log_count(); i++) {
        line = sim_log_at(i);
        if (line && strcmp(line->text, "VMCS field, value") == 0) {
            lines++;
            sim_check(sim_field_exists((xvcpu_u32)line->a));
            sim_check(strcmp(line->item, xvcpu_vmcs_field_name((xvcpu_u32)line->a)) == 0);
            // A read-only field before the first exit is anything.
            if (sim_vmcs_written(vcpu.vmcs_pa, (xvcpu_u32)line->a) &&
                line->b != get((xvcpu_u32)line->a))
                sim_fail("%s: value %#llx", line->item, (unsigned long long)line->b);
        }
    }
    for (i = 0; i < XVCPUI_VMCS_FIELD_COUNT; i++)
        lines -= sim_field_exists(xvcpui_vmcs_fields[i].encoding);
    sim_check_equal(lines, 0);

    // A line for every control that is on.
    controls = vcpu.controls[XVCPU_WORD_PROC1];
    lines = 0;
    for (i = 0; i < sim_log_count(); i++) {
        line = sim_log_at(i);
        if (line && strcmp(line->text, xvcpu_control_word_name(XVCPU_WORD_PROC1)) == 0) {
            lines++;
            sim_check((controls >> line->a & 1U) != 0);
            sim_check(strcmp(line->item,
                             xvcpu_control_name(XVCPU_WORD_PROC1, (xvcpu_u32)line->a)) == 0);
        }
    }
    sim_check_equal(lines, (xvcpu_u32)__builtin_popcountll(controls));

    line = sim_log_find("RBX");
    sim_check(line && line->b == 0x1234567890ABCDEF);
    line = sim_log_find("GUEST_RSP");
    sim_check(line && line->b == 0xFEDCBA98);
    line = sim_log_find("queue: interrupts");
    sim_check(line && line->a == 0x40 && line->b == 2);
    line = sim_log_find("queue: NMIs");
    sim_check(line && line->a == 1 && line->b == 0);
    sim_check(sim_log_find("queue: exception") != NULL);
    sim_check(sim_log_find("queue: interrupted") == NULL);
    memset(&vcpu.queue, 0, sizeof vcpu.queue);

    must(xvcpu_unbind(&vcpu, &error));
    sim_log_clear();
    sim_counts_clear();
    xvcpu_dump(&vcpu);
    sim_check_equal(sim_counts.vmread, 0);
    line = sim_log_find("dump");
    sim_check(line && line->level == XVCPU_LOG_ERROR);
    stop();
}

static const struct {
    const char *name;
    void (*test)(void *argument);
} tests[] = {
    {"T53 reasons 0-FFFFh with random fields", every_reason},
    {"T53 unknown reasons reach the caller, RIP not advanced", unknown_reasons_reach_the_caller},
    {"T54 exits that can be skipped, and those that cannot", who_can_be_skipped},
    {"T55 what skipping an instruction does", what_skipping_does},
    {"T55 CPUID: 3 VMREADs, 1 VMWRITE; nothing read twice", cost_of_cpuid},
    {"no member is left over from the exit before", nothing_is_left_over},
    {"control registers", decode_control_registers},
    {"debug registers", decode_debug_registers},
    {"T58 I/O", decode_io},
    {"T56 MSRs, XSETBV, RDPMC, VMCALL: dirty upper halves", decode_msrs},
    {"T47 T48 exceptions, interrupts, SIPI, task switch", decode_exceptions},
    {"EPT violation, misconfiguration, SPP", decode_memory},
    {"descriptor tables, APIC and the rest", decode_others},
    {"dump: every field that exists, controls, registers, queue", dump},
};

int main(void)
{
    size_t i;
    plan((int)COUNT(tests));
    for (i = 0; i < COUNT(tests); i++)
        ok(sim_run("skylake", tests[i].test, NULL), "%s", tests[i].name);
    return done_testing();
}
