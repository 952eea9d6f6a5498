// The event queue: what is injected, when, in which order, and what comes back when an exit cuts a
// delivery short. Numbers in test names (T42...) are those of the list of correctness traps.

#define XVCPU_IMPLEMENTATION
#include "../sim/sim.h"
#include "machine.h"
#include "tap.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Event information as VMCS fields hold it.
#define VALID ((xvcpu_u32)XVCPU_INTR_INFO_VALID)
#define CODE ((xvcpu_u32)XVCPU_INTR_INFO_ERROR_CODE)
#define BIT12 ((xvcpu_u32)XVCPU_INTR_INFO_NMI_UNBLOCKING)
#define EXTERNAL(vector) (VALID | (xvcpu_u32)(vector))
#define NMI (VALID | 2U << 8 | 2U)
#define HARDWARE(vector) (VALID | 3U << 8 | (xvcpu_u32)(vector))
#define SOFTWARE_INTERRUPT(vector) (VALID | 4U << 8 | (xvcpu_u32)(vector))
#define ICEBP (VALID | 5U << 8 | 1U)
#define SOFTWARE_EXCEPTION(vector) (VALID | 6U << 8 | (xvcpu_u32)(vector))

#define INTERRUPT_WINDOW XVCPU_PROC1_INTR_WINDOW_EXITING
#define NMI_WINDOW XVCPU_PROC1_NMI_WINDOW_EXITING
#define STI XVCPU_INTERRUPTIBILITY_STI
#define MOV_SS XVCPU_INTERRUPTIBILITY_MOV_SS
#define NMI_BLOCKED XVCPU_INTERRUPTIBILITY_NMI
#define IF XVCPU_RFLAGS_IF

// Protected mode, interrupts on, nothing blocked, nothing queued, no window.
static void calm(void)
{
    memset(&vcpu.queue, 0, sizeof vcpu.queue);
    memset(&vcpu.exit, 0, sizeof vcpu.exit);
    vcpu.controls[XVCPU_WORD_PROC1] &= ~(INTERRUPT_WINDOW | NMI_WINDOW);
    vcpu.cr2 = 0;
    vcpu.dr6 = XVCPU_DR6_FIXED_1;
    put(XVCPU_VMCS_CTRL_PROC1, vcpu.controls[XVCPU_WORD_PROC1]);
    put(XVCPU_VMCS_GUEST_CR0, get(XVCPU_VMCS_GUEST_CR0) | XVCPU_CR0_PE);
    put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1 | IF);
    put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 0);
    put(XVCPU_VMCS_GUEST_ACTIVITY_STATE, XVCPU_ACTIVITY_ACTIVE);
    put(XVCPU_VMCS_GUEST_DR7, XVCPU_DR7_FIXED_1);
    put(XVCPU_VMCS_GUEST_DEBUGCTL, 0);
    put(XVCPU_VMCS_GUEST_PENDING_DBG, 0);
    put(XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0);
    put(XVCPU_VMCS_CTRL_ENTRY_ERROR_CODE, 0xEEEE);
    put(XVCPU_VMCS_CTRL_ENTRY_INSTR_LEN, 0);
}

static void start(void)
{
    machine_start(NULL, 0);
    calm();
}

// What the next entry would inject. As after an exit: the valid bit is clear and the event gone.
static xvcpu_u32 next_event(void)
{
    xvcpu_u32 info;
    xvcpui_prepare_events(&vcpu);
    info = (xvcpu_u32)get(XVCPU_VMCS_CTRL_ENTRY_INTR_INFO);
    put(XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, info & ~VALID);
    return (info & VALID) != 0 ? info : 0;
}

static xvcpu_u64 windows(void)
{
    case_equal("windows", "mirror of the control", vcpu.controls[XVCPU_WORD_PROC1],
               get(XVCPU_VMCS_CTRL_PROC1));
    return get(XVCPU_VMCS_CTRL_PROC1) & (INTERRUPT_WINDOW | NMI_WINDOW);
}

// An exit with this original event (IDT-vectoring information).
static void vectoring_exit(xvcpu_u32 reason, xvcpu_u32 info, xvcpu_u32 code, xvcpu_u32 length)
{
    vcpu.exit.reason = reason;
    vcpu.exit.reason_word = reason;
    put(XVCPU_VMCS_EXIT_IDT_VECTORING_INFO, info);
    put(XVCPU_VMCS_EXIT_IDT_VECTORING_ERROR_CODE, code);
    put(XVCPU_VMCS_EXIT_INSTR_LEN, length);
    put(XVCPU_VMCS_EXIT_QUALIFICATION, 0);
    put(XVCPU_VMCS_EXIT_GUEST_PHYSICAL_ADDR, 0);
    put(XVCPU_VMCS_EXIT_GUEST_LINEAR_ADDR, 0);
    put(XVCPU_VMCS_EXIT_INTR_INFO, 0);
    put(XVCPU_VMCS_EXIT_INTR_ERROR_CODE, 0);
    xvcpui_requeue(&vcpu);
    xvcpui_decode(&vcpu);
}

static void exception_exit(xvcpu_u32 info, xvcpu_u32 code, xvcpu_u64 qualification,
                           xvcpu_u32 length)
{
    vcpu.exit.reason = XVCPU_EXIT_REASON_EXCEPTION_NMI;
    vcpu.exit.reason_word = XVCPU_EXIT_REASON_EXCEPTION_NMI;
    put(XVCPU_VMCS_EXIT_IDT_VECTORING_INFO, 0);
    put(XVCPU_VMCS_EXIT_INTR_INFO, info);
    put(XVCPU_VMCS_EXIT_INTR_ERROR_CODE, code);
    put(XVCPU_VMCS_EXIT_QUALIFICATION, qualification);
    put(XVCPU_VMCS_EXIT_INSTR_LEN, length);
    xvcpui_requeue(&vcpu);
    xvcpui_decode(&vcpu);
}

// -- T41

static void injection_outlives_a_failed_entry(void *argument)
{
    (void)argument;
    start();
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_GP, 0x18, 0, &error));
    xvcpui_prepare_events(&vcpu);
    sim_check_equal(get(XVCPU_VMCS_CTRL_ENTRY_INTR_INFO), HARDWARE(13) | CODE);
    // VM-fail: no exit, so the valid bit stays. The event must go before one raised since.
    put(XVCPU_VMCS_CTRL_ENTRY_ERROR_CODE, 0x18);
    must(xvcpu_raise_nmi(&vcpu, &error));
    sim_check_equal(next_event(), HARDWARE(13) | CODE);
    sim_check_equal(get(XVCPU_VMCS_CTRL_ENTRY_ERROR_CODE), 0x18);
    sim_check_equal(next_event(), NMI);
    sim_check_equal(next_event(), 0);

    // The same with an instruction length.
    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, SOFTWARE_INTERRUPT(0x80), 0, 2);
    xvcpui_prepare_events(&vcpu);
    must(xvcpu_raise_nmi(&vcpu, &error));
    sim_check_equal(next_event(), SOFTWARE_INTERRUPT(0x80));
    sim_check_equal(get(XVCPU_VMCS_CTRL_ENTRY_INSTR_LEN), 2);
    sim_check_equal(next_event(), NMI);
    sim_check_equal(next_event(), 0);
    stop();
}

// -- T42, T43

static void types_by_vector(void *argument)
{
    xvcpu_u32 vector;
    (void)argument;
    start();
    for (vector = 0; vector < 32; vector++) {
        char name[32];
        xvcpu_u32 want = HARDWARE(vector);
        if (vector == XVCPU_EXCEPTION_NMI)
            continue;
        if (vector == XVCPU_EXCEPTION_BP || vector == XVCPU_EXCEPTION_OF)
            want = SOFTWARE_EXCEPTION(vector);
        snprintf(name, sizeof name, "vector %u", vector);
        calm();
        must(xvcpu_raise(&vcpu, vector, 0, 0, &error));
        case_equal(name, "type", next_event() & ~CODE, want);
        // #BP and #OF push RIP + 1; the field is not for the others.
        case_equal(name, "length", get(XVCPU_VMCS_CTRL_ENTRY_INSTR_LEN),
                   vector == XVCPU_EXCEPTION_BP || vector == XVCPU_EXCEPTION_OF);
        case_equal(name, "delivered once", next_event(), 0);
    }
    calm();
    must(xvcpu_raise_nmi(&vcpu, &error));
    sim_check_equal(next_event(), NMI);
    must(xvcpu_raise_interrupt(&vcpu, 0xFE, &error));
    sim_check_equal(next_event(), EXTERNAL(0xFE));
    must(xvcpu_raise_interrupt(&vcpu, 8, &error)); // IRQ 0 of a PC in real mode
    sim_check_equal(next_event(), EXTERNAL(8));
    stop();
}

// An exception the caller asked to see goes back as what it was.
static void types_of_reflected_exceptions(void *argument)
{
    static const struct {
        const char *name;
        xvcpu_u32 info, code, length;
    } rows[] = {
        {"INT1", ICEBP, 0, 1},
        {"INT1 with a prefix", ICEBP, 0, 2},
        {"INT3", SOFTWARE_EXCEPTION(3), 0, 1},
        {"INT3 with a prefix", SOFTWARE_EXCEPTION(3), 0, 3},
        {"INTO", SOFTWARE_EXCEPTION(4), 0, 1},
        {"#DB", HARDWARE(1), 0, 0},
        {"#UD", HARDWARE(6), 0, 0},
        {"#AC", HARDWARE(17) | CODE, 0, 0},
        {"#GP", HARDWARE(13) | CODE, 0x1B, 0},
    };
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        calm();
        // Where the length is undefined the field holds rubbish.
        exception_exit(rows[i].info, rows[i].code, 0, rows[i].length ? rows[i].length : 11);
        xvcpui_reflect(&vcpu);
        case_equal(rows[i].name, "information", next_event(), rows[i].info);
        case_equal(rows[i].name, "length", get(XVCPU_VMCS_CTRL_ENTRY_INSTR_LEN), rows[i].length);
        if ((rows[i].info & CODE) != 0)
            case_equal(rows[i].name, "error code", get(XVCPU_VMCS_CTRL_ENTRY_ERROR_CODE),
                       rows[i].code);
    }
    // Another exception than the one that exited is not mistaken for it.
    calm();
    exception_exit(ICEBP, 0, 0, 4);
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_BP, 0, 0, &error));
    sim_check_equal(next_event(), SOFTWARE_EXCEPTION(3));
    sim_check_equal(get(XVCPU_VMCS_CTRL_ENTRY_INSTR_LEN), 1);
    stop();
}

// -- T44

static void error_codes(void *argument)
{
    const xvcpu_u32 with_code = 1U << 8 | 1U << 10 | 1U << 11 | 1U << 12 | 1U << 13 | 1U << 14 |
                                1U << 17 | 1U << 21;
    xvcpu_u32 any, protection, vector;
    (void)argument;
    start();
    if ((vcpu.controls[XVCPU_WORD_PROC2] & XVCPU_PROC2_UNRESTRICTED_GUEST) == 0)
        sim_fail("the model must have unrestricted guest");
    for (any = 0; any < 2; any++)
        for (protection = 0; protection < 2; protection++)
            for (vector = 0; vector < 32; vector++) {
                char name[64];
                xvcpu_bool want = (with_code >> vector & 1U) != 0 && protection;
                if (vector == XVCPU_EXCEPTION_NMI)
                    continue;
                // Processors that check the vector allow #CP no error code.
                if (vector == XVCPU_EXCEPTION_CP && !any)
                    want = 0;
                snprintf(name, sizeof name, "vector %u, CR0.PE %u, IA32_VMX_BASIC[56] %u", vector,
                         protection, any);
                calm();
                vcpu.caps.basic &= ~XVCPU_VMX_BASIC_ANY_ERROR_CODE;
                if (any)
                    vcpu.caps.basic |= XVCPU_VMX_BASIC_ANY_ERROR_CODE;
                if (!protection)
                    put(XVCPU_VMCS_GUEST_CR0, get(XVCPU_VMCS_GUEST_CR0) & ~XVCPU_CR0_PE);
                must(xvcpu_raise(&vcpu, vector, 0x2A, 0, &error));
                case_equal(name, "error code bit", (next_event() & CODE) != 0, want);
                case_equal(name, "error code", get(XVCPU_VMCS_CTRL_ENTRY_ERROR_CODE),
                           want ? 0x2A : 0xEEEE);
            }
    // VM entry refuses an error code of more than 16 bits.
    calm();
    sim_check(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_GP, 0x10000, 0, &error) ==
              XVCPU_STATUS_INVALID_ARGUMENT);
    sim_check_equal(error.bits, 0x10000);
    sim_check(!xvcpu_has_event(&vcpu));
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_PF, 0xFFFF, 0, &error));
    sim_check_equal(next_event(), HARDWARE(14) | CODE);
    sim_check_equal(get(XVCPU_VMCS_CTRL_ENTRY_ERROR_CODE), 0xFFFF);
    // Without unrestricted guest CR0.PE is always 1 and is not even asked for.
    calm();
    vcpu.controls[XVCPU_WORD_PROC2] &= ~XVCPU_PROC2_UNRESTRICTED_GUEST;
    put(XVCPU_VMCS_GUEST_CR0, get(XVCPU_VMCS_GUEST_CR0) & ~XVCPU_CR0_PE);
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_GP, 0, 0, &error));
    sim_check_equal(next_event(), HARDWARE(13) | CODE);
    stop();
}

// -- T45

static void when_events_go_in(void *argument)
{
    static const struct {
        const char *name;
        xvcpu_u64 rflags, blocking, activity;
        xvcpu_bool interrupt;
        xvcpu_u64 interrupt_window;
        xvcpu_bool nmi;
        xvcpu_u64 nmi_window;
    } rows[] = {
        {"ready", IF, 0, 0, 1, 0, 1, 0},
        {"IF clear", 0, 0, 0, 0, INTERRUPT_WINDOW, 1, 0},
        // The NMI window may open inside the shadow; the interrupt window cannot.
        {"STI shadow", IF, STI, 0, 0, INTERRUPT_WINDOW, 0, INTERRUPT_WINDOW},
        {"MOV SS shadow", IF, MOV_SS, 0, 0, INTERRUPT_WINDOW, 0, NMI_WINDOW},
        {"MOV SS shadow, IF clear", 0, MOV_SS, 0, 0, INTERRUPT_WINDOW, 0, NMI_WINDOW},
        {"NMI blocked", IF, NMI_BLOCKED, 0, 1, 0, 0, NMI_WINDOW},
        {"NMI blocked, IF clear", 0, NMI_BLOCKED, 0, 0, INTERRUPT_WINDOW, 0, NMI_WINDOW},
        {"NMI blocked, STI shadow", IF, NMI_BLOCKED | STI, 0, 0, INTERRUPT_WINDOW, 0,
         INTERRUPT_WINDOW},
        {"HLT", IF, 0, XVCPU_ACTIVITY_HLT, 1, 0, 1, 0},
        {"HLT, IF clear", 0, 0, XVCPU_ACTIVITY_HLT, 0, INTERRUPT_WINDOW, 1, 0},
        {"shutdown", IF, 0, XVCPU_ACTIVITY_SHUTDOWN, 0, INTERRUPT_WINDOW, 1, 0},
        {"wait for SIPI", IF, 0, XVCPU_ACTIVITY_WAIT_FOR_SIPI, 0, INTERRUPT_WINDOW, 0,
         NMI_WINDOW},
    };
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        xvcpu_bool accepts;
        calm();
        put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1 | rows[i].rflags);
        put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, rows[i].blocking);
        put(XVCPU_VMCS_GUEST_ACTIVITY_STATE, rows[i].activity);
        accepts = xvcpu_accepts_interrupt(&vcpu);
        must(xvcpu_raise_interrupt(&vcpu, 0x31, &error));
        case_equal(rows[i].name, "interrupt", next_event(), rows[i].interrupt ? EXTERNAL(0x31) : 0);
        case_equal(rows[i].name, "accepts_interrupt", accepts, rows[i].interrupt);
        case_equal(rows[i].name, "window for it", windows(), rows[i].interrupt_window);
        case_equal(rows[i].name, "waits", xvcpu_has_event(&vcpu), !rows[i].interrupt);
        case_equal(rows[i].name, "taken back", xvcpu_cancel_interrupt(&vcpu, 0x31),
                   !rows[i].interrupt);
        if (rows[i].interrupt)
            case_equal(rows[i].name, "activity", get(XVCPU_VMCS_GUEST_ACTIVITY_STATE), 0);
        (void)next_event();
        case_equal(rows[i].name, "window closed", windows(), 0);

        put(XVCPU_VMCS_GUEST_ACTIVITY_STATE, rows[i].activity);
        must(xvcpu_raise_nmi(&vcpu, &error));
        case_equal(rows[i].name, "NMI", next_event(), rows[i].nmi ? NMI : 0);
        case_equal(rows[i].name, "window for the NMI", windows(), rows[i].nmi_window);
        case_equal(rows[i].name, "NMI waits", xvcpu_has_event(&vcpu), !rows[i].nmi);
        if (rows[i].nmi)
            case_equal(rows[i].name, "activity", get(XVCPU_VMCS_GUEST_ACTIVITY_STATE), 0);
    }
    stop();
}

// Exceptions need no window; only shutdown and the wait for a SIPI hold them back.
static void when_exceptions_go_in(void *argument)
{
    static const struct {
        const char *name;
        xvcpu_u32 vector;
        xvcpu_u64 blocking, activity;
        xvcpu_bool taken;
    } rows[] = {
        {"#GP in an STI shadow", 13, STI, 0, 1},
        {"#GP in a MOV SS shadow, NMI blocked", 13, MOV_SS | NMI_BLOCKED, 0, 1},
        {"#GP in HLT", 13, 0, XVCPU_ACTIVITY_HLT, 1},
        {"#DB in HLT", 1, 0, XVCPU_ACTIVITY_HLT, 1},
        {"#MC in HLT", 18, 0, XVCPU_ACTIVITY_HLT, 1},
        {"#GP in shutdown", 13, 0, XVCPU_ACTIVITY_SHUTDOWN, 0},
        {"#MC in shutdown", 18, 0, XVCPU_ACTIVITY_SHUTDOWN, 1},
        {"#MC while waiting for a SIPI", 18, 0, XVCPU_ACTIVITY_WAIT_FOR_SIPI, 0},
        {"#GP while waiting for a SIPI", 13, 0, XVCPU_ACTIVITY_WAIT_FOR_SIPI, 0},
    };
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        calm();
        put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1);
        if ((rows[i].blocking & STI) != 0)
            put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1 | IF);
        put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, rows[i].blocking);
        put(XVCPU_VMCS_GUEST_ACTIVITY_STATE, rows[i].activity);
        must(xvcpu_raise(&vcpu, rows[i].vector, 0, 0, &error));
        case_equal(rows[i].name, "taken", next_event() != 0, rows[i].taken);
        case_equal(rows[i].name, "waits", xvcpu_has_event(&vcpu), !rows[i].taken);
        // Entry accepts few exceptions in HLT; delivery ends that state.
        case_equal(rows[i].name, "activity", get(XVCPU_VMCS_GUEST_ACTIVITY_STATE),
                   rows[i].taken ? XVCPU_ACTIVITY_ACTIVE : rows[i].activity);
    }
    stop();
}

static void nmi_without_virtual_nmis(void *argument)
{
    static const struct {
        const char *name;
        xvcpu_u64 rflags, blocking;
        xvcpu_bool taken;
        xvcpu_u64 window;
    } rows[] = {
        {"ready", 0, 0, 1, 0},
        {"MOV SS shadow", IF, MOV_SS, 0, INTERRUPT_WINDOW},
        {"STI shadow", IF, STI, 0, INTERRUPT_WINDOW},
        // With the interrupt window the guest would exit for ever without a step.
        {"NMI blocked", IF, NMI_BLOCKED, 0, 0},
    };
    size_t i;
    (void)argument;
    start();
    vcpu.controls[XVCPU_WORD_PIN] &= ~XVCPU_PIN_VIRTUAL_NMIS;
    for (i = 0; i < COUNT(rows); i++) {
        calm();
        put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1 | rows[i].rflags);
        put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, rows[i].blocking);
        must(xvcpu_raise_nmi(&vcpu, &error));
        case_equal(rows[i].name, "NMI", next_event(), rows[i].taken ? NMI : 0);
        case_equal(rows[i].name, "window", windows(), rows[i].window);
    }
    stop();
}

// -- Priority and windows

static void order_of_events(void *argument)
{
    (void)argument;
    start();
    must(xvcpu_raise_interrupt(&vcpu, 0x30, &error));
    must(xvcpu_raise_interrupt(&vcpu, 0xE1, &error));
    must(xvcpu_raise_interrupt(&vcpu, 0x7F, &error));
    must(xvcpu_raise_interrupt(&vcpu, 0x80, &error));
    must(xvcpu_raise_interrupt(&vcpu, 0x80, &error)); // merges with the one that waits
    must(xvcpu_raise_interrupt(&vcpu, 0xFF, &error));
    must(xvcpu_raise_interrupt(&vcpu, 0, &error));
    must(xvcpu_raise_nmi(&vcpu, &error));
    must(xvcpu_raise_nmi(&vcpu, &error));
    sim_check(xvcpu_raise_nmi(&vcpu, &error) == XVCPU_STATUS_QUEUE_FULL);
    sim_check(!xvcpu_accepts_interrupt(&vcpu)); // others are before it
    // An exception is of the last instruction, so it is before what waits for the next.
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_UD, 0, 0, &error));
    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, SOFTWARE_INTERRUPT(0x21), 0, 2);
    sim_check_equal(next_event(), SOFTWARE_INTERRUPT(0x21));
    sim_check_equal(windows(), INTERRUPT_WINDOW | NMI_WINDOW);
    sim_check_equal(next_event(), HARDWARE(6));
    sim_check_equal(windows(), INTERRUPT_WINDOW | NMI_WINDOW);
    sim_check_equal(next_event(), NMI);
    sim_check_equal(windows(), INTERRUPT_WINDOW | NMI_WINDOW);
    put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, NMI_BLOCKED); // in the guest's NMI handler
    sim_check_equal(next_event(), EXTERNAL(0xFF));
    sim_check_equal(windows(), INTERRUPT_WINDOW | NMI_WINDOW);
    put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 0);
    sim_check_equal(next_event(), NMI);
    sim_check_equal(windows(), INTERRUPT_WINDOW);
    sim_check_equal(next_event(), EXTERNAL(0xE1));
    sim_check_equal(next_event(), EXTERNAL(0x80));
    sim_check_equal(next_event(), EXTERNAL(0x7F));
    sim_check_equal(windows(), INTERRUPT_WINDOW);
    sim_check_equal(next_event(), EXTERNAL(0x30));
    sim_check_equal(next_event(), EXTERNAL(0));
    sim_check_equal(windows(), 0);
    sim_check(!xvcpu_has_event(&vcpu));
    sim_check_equal(next_event(), 0);
    stop();
}

static void cost(void *argument)
{
    xvcpu_u32 i;
    (void)argument;
    start();
    sim_counts_clear();
    for (i = 0; i < 10; i++)
        xvcpui_prepare_events(&vcpu);
    sim_check(!xvcpui_events_pending(&vcpu));
    sim_check_equal(sim_counts.vmread + sim_counts.vmwrite, 0);

    // A window that stays open is not written again, and closing it is one VMWRITE.
    put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1);
    must(xvcpu_raise_interrupt(&vcpu, 0x40, &error));
    sim_check(xvcpui_events_pending(&vcpu));
    xvcpui_prepare_events(&vcpu);
    sim_check_equal(sim_counts.vmwrite, 1);
    xvcpui_prepare_events(&vcpu);
    sim_check_equal(sim_counts.vmwrite, 1);
    sim_check(xvcpu_cancel_interrupt(&vcpu, 0x40));
    sim_check(!xvcpu_cancel_interrupt(&vcpu, 0x40));
    sim_check(xvcpui_events_pending(&vcpu)); // the window is still open
    sim_counts_clear();
    xvcpui_prepare_events(&vcpu);
    sim_check_equal(sim_counts.vmread, 0);
    sim_check_equal(sim_counts.vmwrite, 1);
    sim_check_equal(windows(), 0);
    sim_check(!xvcpui_events_pending(&vcpu));
    stop();
}

static void arguments_are_checked(void *argument)
{
    static xvcpu never;
    (void)argument;
    start();
    sim_check(xvcpu_raise(&vcpu, 32, 0, 0, &error) == XVCPU_STATUS_INVALID_ARGUMENT);
    sim_check_equal(error.value, 32);
    sim_check(xvcpu_raise(&vcpu, 2, 0, 0, &error) == XVCPU_STATUS_INVALID_ARGUMENT);
    sim_check(xvcpu_raise(&vcpu, 0xFFFFFFFFU, 0, 0, NULL) == XVCPU_STATUS_INVALID_ARGUMENT);
    sim_check(!xvcpu_has_event(&vcpu));
    sim_check(xvcpu_raise(&never, 13, 0, 0, &error) == XVCPU_STATUS_INVALID_STATE);
    sim_check(xvcpu_raise_nmi(&never, &error) == XVCPU_STATUS_INVALID_STATE);
    sim_check(xvcpu_raise_interrupt(&never, 40, &error) == XVCPU_STATUS_INVALID_STATE);
    sim_check(!xvcpu_cancel_interrupt(&never, 40));
    sim_check(!xvcpu_has_event(&never));
    sim_check(!xvcpu_accepts_interrupt(&never));
    sim_check(xvcpu_raise(NULL, 13, 0, 0, NULL) == XVCPU_STATUS_INVALID_STATE);
    // Raising needs no VMCS: an unbound virtual CPU keeps it for later.
    must(xvcpu_unbind(&vcpu, &error));
    sim_counts_clear();
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_GP, 0, 0, &error));
    must(xvcpu_raise_nmi(&vcpu, &error));
    must(xvcpu_raise_interrupt(&vcpu, 0x20, &error));
    sim_check(xvcpu_has_event(&vcpu));
    sim_check(!xvcpu_accepts_interrupt(&vcpu));
    sim_check_equal(sim_counts.vmread + sim_counts.vmwrite, 0);
    must(xvcpu_bind(&vcpu, &cpu, &error));
    sim_check_equal(next_event() & ~CODE, HARDWARE(13));
    stop();
}

// -- T47

static void page_fault_address(void *argument)
{
    (void)argument;
    start();
    // An exit caused by #PF leaves CR2 alone: the address is in the qualification.
    vcpu.cr2 = 0x1111;
    exception_exit(HARDWARE(14) | CODE, 6, 0xFFFF800012345678, 0);
    sim_check_equal(vcpu.cr2, 0x1111);
    sim_check_equal(vcpu.exit.u.exception.address, 0xFFFF800012345678);
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_PF, 6, vcpu.exit.u.exception.address, &error));
    sim_check_equal(vcpu.cr2, 0x1111); // not before it is delivered
    sim_check_equal(next_event(), HARDWARE(14) | CODE);
    sim_check_equal(get(XVCPU_VMCS_CTRL_ENTRY_ERROR_CODE), 6);
    sim_check_equal(vcpu.cr2, 0xFFFF800012345678);

    // A #PF whose delivery was cut short has CR2 loaded already.
    vcpu.cr2 = 0x2222;
    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, HARDWARE(14) | CODE, 2, 0);
    sim_check_equal(next_event(), HARDWARE(14) | CODE);
    sim_check_equal(vcpu.cr2, 0x2222);

    // A second fault in its delivery does not lose the address of the first, or of itself.
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_PF, 0, 0x3000, &error));
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_GP, 0, 0, &error));
    sim_check_equal(next_event(), HARDWARE(8) | CODE);
    sim_check_equal(vcpu.cr2, 0x3000);
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_PF, 0, 0x4000, &error));
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_PF, 0, 0x5000, &error));
    sim_check_equal(next_event(), HARDWARE(8) | CODE);
    sim_check_equal(vcpu.cr2, 0x5000);
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_UD, 0, 0x6000, &error)); // has none
    (void)next_event();
    sim_check_equal(vcpu.cr2, 0x5000);
    stop();
}

// -- T48

static void debug_registers(void *argument)
{
    const xvcpu_u64 fixed = XVCPU_DR6_FIXED_1;
    xvcpu_u64 host_dr6;
    static const struct {
        const char *name;
        xvcpu_u64 before, payload, after; // without the fixed bits; RTM and BLD as in DR6
    } rows[] = {
        {"single step", 0, XVCPU_DR6_BS, XVCPU_DR6_BS | XVCPU_DR6_RTM | XVCPU_DR6_BLD},
        {"breakpoint 1 after 0", 1, 2, 2 | XVCPU_DR6_RTM | XVCPU_DR6_BLD},
        {"BS stays", XVCPU_DR6_BS, 8, 8 | XVCPU_DR6_BS | XVCPU_DR6_RTM | XVCPU_DR6_BLD},
        {"access to a debug register", 0, XVCPU_DR6_BD,
         XVCPU_DR6_BD | XVCPU_DR6_RTM | XVCPU_DR6_BLD},
        {"transaction", XVCPU_DR6_RTM | XVCPU_DR6_BLD, XVCPU_QUAL_DB_RTM, XVCPU_DR6_BLD},
        {"bus lock", XVCPU_DR6_RTM | XVCPU_DR6_BLD, XVCPU_QUAL_DB_BLD, XVCPU_DR6_RTM},
        {"INT1", 5 | XVCPU_DR6_RTM | XVCPU_DR6_BLD, 0, 5 | XVCPU_DR6_RTM | XVCPU_DR6_BLD},
        {"undefined bits", 0, 0xFFF0 & ~(xvcpu_u64)0xE800,
         XVCPU_DR6_RTM | XVCPU_DR6_BLD},
    };
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        const xvcpu_u64 base = fixed & ~(XVCPU_DR6_RTM | XVCPU_DR6_BLD);
        const xvcpu_u64 before = base | rows[i].before |
                                 (rows[i].before < 0x800 ? XVCPU_DR6_RTM | XVCPU_DR6_BLD : 0);
        calm();
        vcpu.dr6 = before | (rows[i].before == XVCPU_DR6_BS ? XVCPU_DR6_RTM | XVCPU_DR6_BLD : 0);
        put(XVCPU_VMCS_GUEST_DR7, 0x2403); // GD, breakpoint 0
        put(XVCPU_VMCS_GUEST_DEBUGCTL, XVCPU_DEBUGCTL_LBR | XVCPU_DEBUGCTL_BTF);
        must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_DB, 0, rows[i].payload, &error));
        case_equal(rows[i].name, "DR7 before delivery", get(XVCPU_VMCS_GUEST_DR7), 0x2403);
        case_equal(rows[i].name, "information", next_event(), HARDWARE(1));
        case_equal(rows[i].name, "DR6", vcpu.dr6, base | rows[i].after);
        case_equal(rows[i].name, "DR7", get(XVCPU_VMCS_GUEST_DR7), 0x403);
        case_equal(rows[i].name, "DEBUGCTL", get(XVCPU_VMCS_GUEST_DEBUGCTL), 0);
    }
    // An exit caused by #DB leaves DR6 alone.
    calm();
    exception_exit(HARDWARE(1), 0, XVCPU_QUAL_DB_BS, 0);
    sim_check_equal(vcpu.dr6, fixed);
    xvcpui_reflect(&vcpu);
    sim_check_equal(next_event(), HARDWARE(1));
    sim_check_equal(vcpu.dr6, fixed | XVCPU_DR6_BS);
    // A #DB cut short has all of it done already.
    calm();
    put(XVCPU_VMCS_GUEST_DR7, 0x2400);
    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, HARDWARE(1), 0, 0);
    sim_check_equal(next_event(), HARDWARE(1));
    sim_check_equal(get(XVCPU_VMCS_GUEST_DR7), 0x2400);
    sim_check_equal(vcpu.dr6, fixed);
    // While the guest's DR6 is in the processor, the processor's is the one that counts.
    calm();
    vcpu.guest_loaded = 1;
    host_dr6 = sim_this_cpu()->dr6;
    sim_this_cpu()->dr6 = fixed | XVCPU_DR6_BT;
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_DB, 0, XVCPU_DR6_BS, &error));
    (void)next_event();
    sim_check_equal(sim_this_cpu()->dr6, fixed | XVCPU_DR6_BT | XVCPU_DR6_BS);
    sim_check_equal(vcpu.dr6, sim_this_cpu()->dr6);
    vcpu.guest_loaded = 0;
    sim_this_cpu()->dr6 = host_dr6;
    // A #DB that gives way to another exception leaves its trace.
    calm();
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_DB, 0, XVCPU_DR6_BS, &error));
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_GP, 0, 0, &error));
    sim_check_equal(next_event() & ~CODE, HARDWARE(13));
    sim_check_equal(vcpu.dr6, fixed | XVCPU_DR6_BS);
    stop();
}

// VM entry fails if a shadow has no pending single-step trap while TF is set, and the exit for a
// #DB drops that trap.
static void debug_exit_in_a_shadow(void *argument)
{
    static const struct {
        const char *name;
        xvcpu_u64 rflags, blocking, debugctl;
        xvcpu_u32 info;
        xvcpu_u64 pending;
    } rows[] = {
        {"TF in a MOV SS shadow", XVCPU_RFLAGS_TF, MOV_SS, 0, HARDWARE(1), XVCPU_PENDING_DBG_BS},
        {"INT1 there", XVCPU_RFLAGS_TF, MOV_SS, 0, ICEBP, XVCPU_PENDING_DBG_BS},
        {"TF in an STI shadow", XVCPU_RFLAGS_TF | IF, STI, 0, HARDWARE(1), XVCPU_PENDING_DBG_BS},
        {"stepping over branches", XVCPU_RFLAGS_TF, MOV_SS, XVCPU_DEBUGCTL_BTF, HARDWARE(1), 0},
        {"no TF", 0, MOV_SS, 0, HARDWARE(1), 0},
        {"no shadow", XVCPU_RFLAGS_TF, 0, 0, HARDWARE(1), 0},
        {"not #DB", XVCPU_RFLAGS_TF, MOV_SS, 0, HARDWARE(6), 0},
    };
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        calm();
        put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1 | rows[i].rflags);
        put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, rows[i].blocking);
        put(XVCPU_VMCS_GUEST_DEBUGCTL, rows[i].debugctl);
        exception_exit(rows[i].info, 0, 0, 1);
        case_equal(rows[i].name, "pending", get(XVCPU_VMCS_GUEST_PENDING_DBG), rows[i].pending);
    }
    stop();
}

// -- T49

static void deliveries_cut_short(void *argument)
{
    static const struct {
        const char *name;
        xvcpu_u32 info, code, length;
    } rows[] = {
        {"external interrupt", EXTERNAL(0x44), 0, 0},
        {"NMI", NMI, 0, 0},
        {"#UD", HARDWARE(6), 0, 0},
        {"#GP", HARDWARE(13) | CODE, 0xFFFF, 0},
        {"#PF", HARDWARE(14) | CODE, 2, 0},
        {"#DF", HARDWARE(8) | CODE, 0, 0},
        {"INT n", SOFTWARE_INTERRUPT(0x80), 0, 2},
        {"INT n, 15 bytes", SOFTWARE_INTERRUPT(0xFF), 0, 15},
        {"INT1", ICEBP, 0, 1},
        {"INT3", SOFTWARE_EXCEPTION(3), 0, 1},
        {"INTO", SOFTWARE_EXCEPTION(4), 0, 1},
    };
    static const xvcpu_u32 reasons[] = {
        XVCPU_EXIT_REASON_EXCEPTION_NMI, XVCPU_EXIT_REASON_TASK_SWITCH,
        XVCPU_EXIT_REASON_APIC_ACCESS,   XVCPU_EXIT_REASON_EPT_VIOLATION,
        XVCPU_EXIT_REASON_EPT_MISCONFIG, XVCPU_EXIT_REASON_PML_FULL,
        XVCPU_EXIT_REASON_SPP_EVENT};
    size_t i, j;
    xvcpu_u32 undefined;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++)
        for (j = 0; j < COUNT(reasons); j++)
            for (undefined = 0; undefined < 2; undefined++) {
                calm();
                // Bit 12 is undefined in one field and reserved in the other.
                vectoring_exit(reasons[j], rows[i].info | (undefined ? BIT12 : 0), rows[i].code,
                               rows[i].length ? rows[i].length : 9);
                case_equal(rows[i].name, "waits", xvcpu_has_event(&vcpu), 1);
                case_equal(rows[i].name, "information", next_event(), rows[i].info);
                if ((rows[i].info & CODE) != 0)
                    case_equal(rows[i].name, "error code", get(XVCPU_VMCS_CTRL_ENTRY_ERROR_CODE),
                               rows[i].code);
                case_equal(rows[i].name, "length", get(XVCPU_VMCS_CTRL_ENTRY_INSTR_LEN),
                           rows[i].length);
                case_equal(rows[i].name, "once", next_event(), 0);
            }
    calm();
    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, HARDWARE(6) & ~VALID, 0, 3);
    sim_check(!xvcpu_has_event(&vcpu));

    // Whoever handles the exit may change the guest: an interrupt it no longer takes waits again.
    calm();
    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, EXTERNAL(0x44), 0, 0);
    put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1);
    sim_check_equal(next_event(), 0);
    sim_check_equal(windows(), INTERRUPT_WINDOW);
    put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1 | IF);
    sim_check_equal(next_event(), EXTERNAL(0x44));
    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, NMI, 0, 0);
    put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, MOV_SS);
    sim_check_equal(next_event(), 0);
    sim_check_equal(windows(), NMI_WINDOW);
    put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 0);
    sim_check_equal(next_event(), NMI);
    stop();
}

// -- T50, T51

static void nmi_cut_short(void *argument)
{
    (void)argument;
    start();
    put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, NMI_BLOCKED);
    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, NMI, 0, 0);
    sim_check_equal(get(XVCPU_VMCS_GUEST_INTERRUPTIBILITY), 0);
    sim_check_equal(next_event(), NMI);
    // Another event cut short in an NMI handler leaves the blocking as it is.
    put(XVCPU_VMCS_GUEST_INTERRUPTIBILITY, NMI_BLOCKED);
    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, HARDWARE(6), 0, 0);
    sim_check_equal(get(XVCPU_VMCS_GUEST_INTERRUPTIBILITY), NMI_BLOCKED);
    stop();
}

static void nmi_unblocked_by_iret(void *argument)
{
    static const struct {
        const char *name;
        xvcpu_u32 reason, info;
        xvcpu_u64 qualification;
        xvcpu_u32 vectoring;
        xvcpu_bool blocked;
    } rows[] = {
        {"#GP", 0, HARDWARE(13) | CODE | BIT12, 0, 0, 1},
        {"#PF", 0, HARDWARE(14) | CODE | BIT12, 0, 0, 1},
        {"#GP, bit clear", 0, HARDWARE(13) | CODE, 0, 0, 0},
        {"#GP in the middle of a delivery", 0, HARDWARE(13) | CODE | BIT12, 0, HARDWARE(6), 0},
        {"#DF", 0, HARDWARE(8) | CODE | BIT12, 0, 0, 0},
        {"EPT violation", XVCPU_EXIT_REASON_EPT_VIOLATION, 0, BIT12, 0, 1},
        {"EPT violation, bit clear", XVCPU_EXIT_REASON_EPT_VIOLATION, 0, 0x183, 0, 0},
        {"EPT violation in a delivery", XVCPU_EXIT_REASON_EPT_VIOLATION, 0, BIT12, EXTERNAL(50),
         0},
        {"PML", XVCPU_EXIT_REASON_PML_FULL, 0, BIT12, 0, 1},
        {"PML in a delivery", XVCPU_EXIT_REASON_PML_FULL, 0, BIT12, HARDWARE(6), 0},
        {"SPP", XVCPU_EXIT_REASON_SPP_EVENT, 0, BIT12, 0, 1},
        {"instruction timeout", XVCPU_EXIT_REASON_INSTRUCTION_TIMEOUT, 0, BIT12, 0, 1},
        // Bit 12 is something else, or nothing, elsewhere.
        {"EPT misconfiguration", XVCPU_EXIT_REASON_EPT_MISCONFIG, 0, BIT12, 0, 0},
        {"APIC access", XVCPU_EXIT_REASON_APIC_ACCESS, 0, BIT12, 0, 0},
        {"task switch", XVCPU_EXIT_REASON_TASK_SWITCH, 0, BIT12, 0, 0},
    };
    size_t i;
    (void)argument;
    start();
    for (i = 0; i < COUNT(rows); i++) {
        calm();
        vcpu.exit.reason = rows[i].reason;
        put(XVCPU_VMCS_EXIT_IDT_VECTORING_INFO, rows[i].vectoring);
        put(XVCPU_VMCS_EXIT_INTR_INFO, rows[i].info);
        put(XVCPU_VMCS_EXIT_INTR_ERROR_CODE, 0);
        put(XVCPU_VMCS_EXIT_QUALIFICATION, rows[i].qualification);
        put(XVCPU_VMCS_EXIT_GUEST_PHYSICAL_ADDR, 0);
        put(XVCPU_VMCS_EXIT_GUEST_LINEAR_ADDR, 0);
        put(XVCPU_VMCS_EXIT_INSTR_LEN, 0);
        xvcpui_requeue(&vcpu);
        xvcpui_decode(&vcpu);
        case_equal(rows[i].name, "blocking", get(XVCPU_VMCS_GUEST_INTERRUPTIBILITY),
                   rows[i].blocked ? NMI_BLOCKED : 0);
    }
    stop();
}

// -- T52

// Classes as in SDM 3A, table "Interrupt and Exception Classes".
static int class_of(xvcpu_u32 vector)
{
    static const char classes[33] = "cbbbbbbbdbccccpbbbbbpcbbbbbbbbbb";
    return classes[vector];
}

static void merge_table(void *argument)
{
    xvcpu_u32 first, second, cut_short;
    (void)argument;
    start();
    for (cut_short = 0; cut_short < 2; cut_short++)
        for (first = 0; first < 32; first++)
            for (second = 0; second < 32; second++) {
                char name[64];
                const int a = class_of(first), b = class_of(second);
                const xvcpu_bool triple = a == 'd' && b != 'b';
                const xvcpu_bool twice =
                    (a == 'c' && b == 'c') || (a == 'p' && (b == 'c' || b == 'p'));
                const xvcpu_u32 vector = twice ? 8 : second;
                xvcpu_u32 want = HARDWARE(vector);
                if (first == 2 || second == 2)
                    continue;
                if (!twice && (second == 3 || second == 4))
                    want = SOFTWARE_EXCEPTION(second);
                snprintf(name, sizeof name, "%s then %s%s", xvcpu_exception_name(first),
                         xvcpu_exception_name(second), cut_short ? " in its delivery" : "");
                calm();
                vcpu.caps.basic |= XVCPU_VMX_BASIC_ANY_ERROR_CODE;
                if (cut_short)
                    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION,
                                   HARDWARE(first) |
                                       ((XVCPU_EXCEPTION_ERROR_CODE_MASK >> first & 1U) ? CODE : 0),
                                   0x77, 1);
                else
                    must(xvcpu_raise(&vcpu, first, 0x77, 0x7000, &error));
                must(xvcpu_raise(&vcpu, second, 0x55, 0x5000, &error));
                case_equal(name, "triple fault", vcpu.queue.triple_fault, triple);
                case_equal(name, "waits", xvcpu_has_event(&vcpu), 1);
                if (triple) {
                    // Nothing reaches a processor in shutdown.
                    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_UD, 0, 0, &error));
                    case_equal(name, "event", next_event(), 0);
                    continue;
                }
                case_equal(name, "event", next_event() & ~CODE, want);
                if ((XVCPU_EXCEPTION_ERROR_CODE_MASK >> vector & 1U) != 0)
                    case_equal(name, "error code", get(XVCPU_VMCS_CTRL_ENTRY_ERROR_CODE),
                               twice ? 0 : 0x55);
                case_equal(name, "no other", next_event(), 0);
            }
    stop();
}

// A fault in the delivery of something that is no exception: benign, so the fault goes first.
static void fault_in_the_delivery_of_an_interrupt(void *argument)
{
    (void)argument;
    start();
    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, EXTERNAL(0xA5), 0, 0);
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_PF, 0, 0x9000, &error));
    sim_check_equal(next_event(), HARDWARE(14) | CODE);
    sim_check_equal(windows(), INTERRUPT_WINDOW);
    sim_check_equal(next_event(), EXTERNAL(0xA5)); // acknowledged, so it must not be lost
    sim_check_equal(next_event(), 0);

    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, NMI, 0, 0);
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_NP, 0x10, 0, &error));
    sim_check_equal(next_event(), HARDWARE(11) | CODE);
    sim_check_equal(next_event(), NMI);
    sim_check_equal(next_event(), 0);

    // INT n runs again and asks again.
    vectoring_exit(XVCPU_EXIT_REASON_EPT_VIOLATION, SOFTWARE_INTERRUPT(0x80), 0, 2);
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_GP, 0x402, 0, &error));
    sim_check_equal(next_event(), HARDWARE(13) | CODE);
    sim_check_equal(next_event(), 0);
    sim_check_equal(vcpu.queue.triple_fault, 0);

    // An intercepted exception in the delivery of another: raising it again merges the two.
    put(XVCPU_VMCS_EXIT_IDT_VECTORING_INFO, HARDWARE(13) | CODE);
    put(XVCPU_VMCS_EXIT_IDT_VECTORING_ERROR_CODE, 0x10);
    put(XVCPU_VMCS_EXIT_INTR_INFO, HARDWARE(14) | CODE);
    put(XVCPU_VMCS_EXIT_INTR_ERROR_CODE, 0);
    put(XVCPU_VMCS_EXIT_QUALIFICATION, 0x8000);
    vcpu.exit.reason = XVCPU_EXIT_REASON_EXCEPTION_NMI;
    xvcpui_requeue(&vcpu);
    xvcpui_decode(&vcpu);
    xvcpui_reflect(&vcpu);
    // #GP then #PF are not a double fault: the #PF is handled, and the #GP comes again.
    sim_check_equal(next_event(), HARDWARE(14) | CODE);
    sim_check_equal(next_event(), 0);
    stop();
}

// Faults set RF in the flags they push, so that an instruction breakpoint does not hit twice.
static void resume_flag(void *argument)
{
    xvcpu_u32 vector;
    (void)argument;
    start();
    for (vector = 0; vector < 32; vector++) {
        const xvcpu_bool fault =
            vector != 1 && vector != 3 && vector != 4 && vector != 8 && vector != 18;
        char name[32];
        if (vector == 2)
            continue;
        snprintf(name, sizeof name, "vector %u", vector);
        calm();
        must(xvcpu_raise(&vcpu, vector, 0, 0, &error));
        (void)next_event();
        case_equal(name, "RF", (get(XVCPU_VMCS_GUEST_RFLAGS) & XVCPU_RFLAGS_RF) != 0, fault);
    }
    calm();
    must(xvcpu_raise_nmi(&vcpu, &error));
    (void)next_event();
    must(xvcpu_raise_interrupt(&vcpu, 99, &error));
    (void)next_event();
    sim_check_equal(get(XVCPU_VMCS_GUEST_RFLAGS), XVCPU_RFLAGS_FIXED_1 | IF);
    stop();
}

// -- T46: the whole of it, through xvcpu_run with real VM entries

#define INTERRUPTS 100U
#define FIRST_VECTOR 0x50U

static struct {
    xvcpu_u8 seen[400];
    xvcpu_u32 count;
    xvcpu_u32 handler; // entries left until the handler ends
} machine;

// Interrupts are on again. No exit comes by itself: only the window stops this guest.
static void run_on(sim_guest *g)
{
    sim_set(g, XVCPU_VMCS_GUEST_RFLAGS, sim_get(g, XVCPU_VMCS_GUEST_RFLAGS) | IF);
    if (machine.count == INTERRUPTS)
        sim_exit_hlt(g);
    else if (sim_control(g, XVCPU_WORD_PROC1, INTERRUPT_WINDOW))
        sim_exit(g, XVCPU_EXIT_REASON_INTERRUPT_WINDOW, 0);
    else
        sim_fail("no window, and %u interrupts wait", INTERRUPTS - machine.count);
}

// A guest whose handlers run with interrupts off, some over several exits, some without any.
static void interrupted_guest(sim_guest *g)
{
    const xvcpu_u64 rflags = sim_get(g, XVCPU_VMCS_GUEST_RFLAGS);
    if (g->injected_info != 0) { // through an interrupt gate: IF is clear
        if (machine.count == COUNT(machine.seen))
            sim_fail("more interrupts than were raised");
        machine.seen[machine.count++] = (xvcpu_u8)g->injected_info;
        machine.handler = machine.count % 4;
        if (machine.handler == 0) {
            run_on(g); // IRET
            return;
        }
    } else if (machine.handler > 1) {
        machine.handler--;
    } else if (machine.handler == 1) {
        machine.handler = 0;
        if (machine.count % 2 == 0) {
            run_on(g);
            return;
        }
        // STI: interrupts come after the next instruction, and that one exits.
        sim_set(g, XVCPU_VMCS_GUEST_RFLAGS, rflags | IF);
        sim_set(g, XVCPU_VMCS_GUEST_INTERRUPTIBILITY, STI);
    } else if ((rflags & IF) == 0) {
        run_on(g); // before the first interrupt
        return;
    }
    sim_exit_cpuid(g, 0, 0);
}

static void hundred_interrupts(void *argument)
{
    xvcpu_u32 i;
    (void)argument;
    start();
    must(xvcpu_preset_protected(&vcpu, 0x1000, 0x8000, &error));
    memset(&machine, 0, sizeof machine);
    sim_set_guest(interrupted_guest, NULL);
    for (i = 0; i < INTERRUPTS; i++)
        must(xvcpu_raise_interrupt(&vcpu, (xvcpu_u8)(FIRST_VECTOR + i * 37U % INTERRUPTS), &error));
    for (i = 0; i < 2000 && machine.count < INTERRUPTS; i++) {
        must(xvcpu_run(&vcpu, &error));
        if (vcpu.exit.reason != XVCPU_EXIT_REASON_HLT)
            sim_fail("unexpected exit %u", vcpu.exit.reason);
    }
    sim_check_equal(machine.count, INTERRUPTS);
    for (i = 0; i < INTERRUPTS; i++)
        sim_check_equal(machine.seen[i], FIRST_VECTOR + INTERRUPTS - 1U - i); // highest first
    sim_check(!xvcpu_has_event(&vcpu));
    sim_check(vcpu.statistics.exits[XVCPU_EXIT_REASON_INTERRUPT_WINDOW] > 0);
    stop();
}

// A guest whose every interrupt is cut short twice by an EPT violation, and that gets NMIs too.
static struct {
    xvcpu_u32 delivered, cut, nmis;
} rough;

static void rough_guest(sim_guest *g)
{
    if (g->injected_info != 0 && rough.cut < 2) {
        rough.cut++;
        // Not delivered yet: flags as before, but NMIs are blocked first of all.
        sim_set(g, XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1 | IF);
        if ((g->injected_info >> 8 & 7U) == 2)
            sim_set(g, XVCPU_VMCS_GUEST_INTERRUPTIBILITY, NMI_BLOCKED);
        sim_exit_ept(g, 0xFEE00000, XVCPU_EPT_READ, 0, false);
        sim_exit_set_vectoring(g, g->injected_info | BIT12, 0, 0);
        return;
    }
    if (g->injected_info != 0) {
        rough.cut = 0;
        if ((g->injected_info >> 8 & 7U) == 2)
            rough.nmis++;
        else
            rough.delivered++;
        sim_set(g, XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 0); // the handler has returned
        sim_set(g, XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1 | IF);
    }
    if (rough.delivered == 5 && rough.nmis == 2)
        sim_exit_hlt(g);
    else
        sim_exit_cpuid(g, 0, 0);
}

static void rough_deliveries(void *argument)
{
    xvcpu_u32 i, violations = 0;
    (void)argument;
    start();
    must(xvcpu_preset_protected(&vcpu, 0x1000, 0x8000, &error));
    put(XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1 | IF);
    memset(&rough, 0, sizeof rough);
    sim_set_guest(rough_guest, NULL);
    for (i = 0; i < 5; i++)
        must(xvcpu_raise_interrupt(&vcpu, (xvcpu_u8)(0x60 + i), &error));
    must(xvcpu_raise_nmi(&vcpu, &error));
    must(xvcpu_raise_nmi(&vcpu, &error));
    for (i = 0; i < 100; i++) {
        must(xvcpu_run(&vcpu, &error));
        if (vcpu.exit.reason == XVCPU_EXIT_REASON_HLT)
            break;
        sim_check_equal(vcpu.exit.reason, XVCPU_EXIT_REASON_EPT_VIOLATION);
        violations++;
    }
    sim_check_equal(violations, 14);
    sim_check_equal(rough.delivered, 5);
    sim_check_equal(rough.nmis, 2);
    stop();
}

static void triple_fault_guest(sim_guest *g)
{
    sim_exit_vmcall(g);
}

static void triple_fault_is_an_exit(void *argument)
{
    (void)argument;
    start();
    must(xvcpu_preset_protected(&vcpu, 0x1000, 0x8000, &error));
    sim_set_guest(triple_fault_guest, NULL);
    must(xvcpu_run(&vcpu, &error));
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_GP, 0, 0, &error));
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_GP, 0, 0, &error));
    must(xvcpu_raise(&vcpu, XVCPU_EXCEPTION_GP, 0, 0, &error));
    must(xvcpu_run(&vcpu, &error));
    sim_check_equal(vcpu.exit.reason, XVCPU_EXIT_REASON_TRIPLE_FAULT);
    // The VMCALL of the exit before is over.
    sim_check(xvcpu_skip_instruction(&vcpu, &error) == XVCPU_STATUS_INVALID_STATE);
    sim_check(!xvcpu_has_event(&vcpu));
    stop();
}

static const struct {
    const char *name;
    void (*test)(void *argument);
} tests[] = {
    {"T41 an event outlives an entry that failed", injection_outlives_a_failed_entry},
    {"T42 type of every vector, NMI and interrupts", types_by_vector},
    {"T42 T43 exceptions that exited go back with type and length", types_of_reflected_exceptions},
    {"T44 error codes by vector, CR0.PE and IA32_VMX_BASIC[56]", error_codes},
    {"T45 interrupts and NMIs: injected, or which window", when_events_go_in},
    {"T45 exceptions by activity state", when_exceptions_go_in},
    {"T45 NMIs without virtual NMIs", nmi_without_virtual_nmis},
    {"T46 order of events, windows while one waits", order_of_events},
    {"T46 100 interrupts: each once, in order", hundred_interrupts},
    {"nothing to do costs nothing; controls are written when they change", cost},
    {"arguments and objects are checked", arguments_are_checked},
    {"T47 #PF and CR2", page_fault_address},
    {"T48 #DB, DR6, DR7.GD, DEBUGCTL", debug_registers},
    {"T38 T48 #DB exit in a shadow keeps the single-step trap", debug_exit_in_a_shadow},
    {"T49 deliveries cut short go in again as they were", deliveries_cut_short},
    {"T49 T50 deliveries cut short again and again", rough_deliveries},
    {"T50 an NMI cut short is not blocked", nmi_cut_short},
    {"T51 NMIs unblocked by an IRET that faulted", nmi_unblocked_by_iret},
    {"T52 every pair of exceptions", merge_table},
    {"T52 faults in the delivery of interrupts", fault_in_the_delivery_of_an_interrupt},
    {"T52 a triple fault ends the run", triple_fault_is_an_exit},
    {"faults set RF", resume_flag},
};

int main(void)
{
    size_t i;
    plan((int)COUNT(tests));
    for (i = 0; i < COUNT(tests); i++)
        ok(sim_run("skylake", tests[i].test, NULL), "%s", tests[i].name);
    return done_testing();
}
