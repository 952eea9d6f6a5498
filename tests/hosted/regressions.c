// What was wrong once, on the simulated processor. Each name says what happened.

static void host_interrupt(unsigned vector);
#define XVCPU_HOST_INTERRUPT(context, vector) host_interrupt(vector)
#define XVCPU_IMPLEMENTATION
#include "../sim/sim.h"

#include "status.h"
#include "tap.h"

#define RAM_BYTES 0x200000U

static xvcpu_cpu cpu;
static xvcpu_ept ept;
static xvcpu vcpus[2];
static xvcpu_desc wanted; // what start uses beside the EPT and the VPID
static unsigned char *ram;

static void start_without_preset(void)
{
    xvcpu_ept_desc ept_desc;
    xvcpu_u32 i;
    memset(&ept_desc, 0, sizeof ept_desc);
    memset(&error, 0, sizeof error);
    must(xvcpu_cpu_enable(&cpu, NULL, &error));
    must(xvcpu_ept_create(&ept, &ept_desc, &cpu.caps, &error));
    ram = (unsigned char *)sim_ram(RAM_BYTES, RAM_BYTES);
    must(xvcpu_ept_map(&ept, 0, sim_phys(ram), RAM_BYTES, XVCPU_EPT_RWX, XVCPU_MEMORY_WB, &error));
    for (i = 0; i < 2; i++) {
        xvcpu_desc desc = wanted;
        desc.ept = &ept;
        desc.vpid = (xvcpu_u16)(i + 1);
        must(xvcpu_create(&vcpus[i], &desc, &cpu.caps, &error));
        must(xvcpu_bind(&vcpus[i], &cpu, &error));
    }
}

static void start(void)
{
    start_without_preset();
    must(xvcpu_preset_long(&vcpus[1], 0x1000, 0x9000, 0x6000, &error));
    must(xvcpu_preset_long(&vcpus[0], 0x1000, 0x8000, 0x7000, &error));
}

static void stop(void)
{
    must(xvcpu_destroy(&vcpus[1], &error));
    must(xvcpu_destroy(&vcpus[0], &error));
    xvcpu_ept_destroy(&ept);
    must(xvcpu_cpu_disable(&cpu, &error));
}

static void run_to(xvcpu_u32 reason)
{
    must(xvcpu_run(&vcpus[0], &error));
    sim_check_equal(vcpus[0].exit.reason, reason);
}

// -- x87, SSE and AVX registers

#define GUEST_STAMP 0x6E57000000000000U

typedef struct fpu_guest_state {
    xvcpu_u64 expected[SIM_COMPONENTS];
    xvcpu_u32 components; // that it looks at
} fpu_guest_state;

// Wants to find the registers as it left them, and leaves other values.
static void fpu_guest(sim_guest *g)
{
    fpu_guest_state *state = (fpu_guest_state *)g->context;
    xvcpu_u32 i;
    for (i = 0; i < state->components; i++) {
        sim_check_equal(g->cpu->fpu[i], state->expected[i]);
        state->expected[i] = g->cpu->fpu[i] = GUEST_STAMP + 16U * g->entry + i;
    }
    sim_exit_vmcall(g);
}

static void fpu_run_twice(fpu_guest_state *state)
{
    xvcpu_u32 i;
    sim_set_guest(fpu_guest, state);
    for (i = 0; i < 2; i++) {
        run_to(XVCPU_EXIT_REASON_VMCALL);
        xvcpu_answer_done(&vcpus[0], 0);
        sim_expect_host(0);
    }
}

static void host_sse_xcr0_1(void *argument)
{
    fpu_guest_state state;
    sim_processor *host = sim_this_cpu();
    (void)argument;
    memset(&state, 0, sizeof state);
    state.components = 2;
    // A kernel that uses SSE and never heard of XSAVE: enabling VMX turns OSXSAVE on, and XCR0 is
    // what RESET made it.
    host->xcr0 = XVCPU_XCR0_X87;
    sim_snapshot();
    start();
    fpu_run_twice(&state);
    stop();
}

static void guest_sse_without_xsave(void *argument)
{
    fpu_guest_state state;
    (void)argument;
    memset(&state, 0, sizeof state);
    state.components = 2;
    wanted.hide_features = XVCPU_BIT64(XVCPU_FEATURE_XSAVE);
    start();
    fpu_run_twice(&state);
    stop();
}

static void host_without_sse(void *argument)
{
    fpu_guest_state state;
    sim_processor *host = sim_this_cpu();
    (void)argument;
    memset(&state, 0, sizeof state);
    state.components = 2;
    host->cr4 &= ~(XVCPU_CR4_OSFXSR | XVCPU_CR4_OSXMMEXCPT);
    sim_snapshot();
    start();
    fpu_run_twice(&state);
    stop();
}

static void xcr0_hidden_half(void *argument)
{
    fpu_guest_state state;
    memset(&state, 0, sizeof state);
    wanted.xcr0_hidden = *(const xvcpu_u64 *)argument;
    sim_this_cpu()->xcr0 = XVCPU_XCR0_X87;
    sim_snapshot();
    start();
    // What is left can be set, all of it.
    must(xvcpu_set(&vcpus[0], XVCPU_REG_XCR0, vcpus[0].xcr0_allowed, &error));
    fpu_run_twice(&state);
    stop();
}

static void host_xcr0_shrinks(void *argument)
{
    fpu_guest_state state;
    sim_processor *host = sim_this_cpu();
    (void)argument;
    memset(&state, 0, sizeof state);
    state.components = 2;
    host->xcr0 = XVCPU_XCR0_X87 | XVCPU_XCR0_SSE | XVCPU_XCR0_AVX;
    sim_snapshot();
    wanted.hide_features = XVCPU_BIT64(XVCPU_FEATURE_AVX);
    start();
    fpu_run_twice(&state);
    host->xcr0 = XVCPU_XCR0_X87 | XVCPU_XCR0_SSE;
    sim_snapshot();
    fpu_run_twice(&state);
    stop();
}

static void xcr0_guest(sim_guest *g)
{
    sim_check_equal(g->cpu->xcr0, *(const xvcpu_u64 *)g->context);
    if (g->entry % 2 == 1)
        sim_exit_xsetbv(g, 0, XVCPU_XCR0_X87 | XVCPU_XCR0_SSE);
    else
        sim_exit_vmcall(g);
}

static void xcr0_left_to_host(void *argument)
{
    const xvcpu_u64 before = sim_this_cpu()->xcr0;
    (void)argument;
    wanted.leave_to_host = XVCPU_LEAVE_XCR0;
    start();
    must(xvcpu_set(&vcpus[0], XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_OSXSAVE, &error));
    sim_set_guest(xcr0_guest, (void *)(uintptr_t)&before);
    run_to(XVCPU_EXIT_REASON_VMCALL);
    sim_expect_host(0);
    stop();
}

// -- Handlers

static void guest_cpuid_then_vmcall(sim_guest *g)
{
    sim_check(g->vcpu == &vcpus[0]);
    sim_check_equal(g->vmcs_pa, vcpus[0].vmcs_pa);
    if (g->entry == 1)
        sim_exit_cpuid(g, 0, 0);
    else
        sim_exit_vmcall(g);
}

static xvcpu_action looks_at_the_other(xvcpu *vcpu, xvcpu_exit *exit, void *context)
{
    xvcpu_u64 rip = 0;
    (void)vcpu;
    (void)exit;
    (void)context;
    must(xvcpu_get(&vcpus[1], XVCPU_REG_RIP, &rip, &error));
    sim_check_equal(rip, 0x9000);
    return XVCPU_ACTION_DEFAULT;
}

static void hook_looks_at_the_other(xvcpu *vcpu, xvcpu_u32 leaf, xvcpu_u32 subleaf,
                                    xvcpu_cpuid_regs *regs, void *context)
{
    (void)leaf;
    (void)subleaf;
    (void)regs;
    (void)looks_at_the_other(vcpu, NULL, context);
}

static void check_both_rips(void)
{
    xvcpu_u64 rip = 0;
    must(xvcpu_get(&vcpus[0], XVCPU_REG_RIP, &rip, &error));
    sim_check_equal(rip, 0x8002);
    must(xvcpu_get(&vcpus[1], XVCPU_REG_RIP, &rip, &error));
    sim_check_equal(rip, 0x9000);
}

static void handler_other_vcpu(void *argument)
{
    (void)argument;
    start();
    must(xvcpu_set_handler(&vcpus[0], XVCPU_EXIT_REASON_CPUID, looks_at_the_other, NULL, &error));
    sim_set_guest(guest_cpuid_then_vmcall, NULL);
    run_to(XVCPU_EXIT_REASON_VMCALL);
    sim_expect_host(0);
    check_both_rips();
    stop();
}

static void hook_other_vcpu(void *argument)
{
    (void)argument;
    wanted.cpuid_hook = hook_looks_at_the_other;
    start();
    sim_set_guest(guest_cpuid_then_vmcall, NULL);
    run_to(XVCPU_EXIT_REASON_VMCALL);
    sim_expect_host(0);
    check_both_rips();
    stop();
}

static xvcpu_action unbinds(xvcpu *vcpu, xvcpu_exit *exit, void *context)
{
    (void)exit;
    (void)context;
    must(xvcpu_unbind(vcpu, &error));
    return XVCPU_ACTION_HANDLED;
}

static void handler_unbinds(void *argument)
{
    (void)argument;
    start();
    must(xvcpu_set_handler(&vcpus[0], XVCPU_EXIT_REASON_CPUID, unbinds, NULL, &error));
    sim_set_guest(guest_cpuid_then_vmcall, NULL);
    must_fail(xvcpu_run(&vcpus[0], &error), NOT_BOUND);
    sim_expect_host(0);
    stop();
}

// What a kernel with lazy x87 switching does when a handler computes, or waits and is scheduled.
static xvcpu_action changes_the_host(xvcpu *vcpu, xvcpu_exit *exit, void *context)
{
    (void)vcpu;
    (void)exit;
    (void)context;
    sim_this_cpu()->cr0 ^= XVCPU_CR0_TS;
    sim_this_cpu()->cr3 += 0x1000;
    sim_snapshot();
    return XVCPU_ACTION_DEFAULT;
}

static void handler_changes_host(void *argument)
{
    if (*(const xvcpu_u64 *)argument != 0) {
        sim_this_cpu()->cr0 |= XVCPU_CR0_TS;
        sim_snapshot();
    }
    start();
    must(xvcpu_set_handler(&vcpus[0], XVCPU_EXIT_REASON_CPUID, changes_the_host, NULL, &error));
    sim_set_guest(guest_cpuid_then_vmcall, NULL);
    run_to(XVCPU_EXIT_REASON_VMCALL);
    sim_expect_host(0);
    stop();
}

static void guest_in_then_vmcall(sim_guest *g)
{
    if (g->entry > 1)
        sim_check_equal(g->gpr[XVCPU_RAX], 0x42);
    if (sim_get(g, XVCPU_VMCS_GUEST_RIP) == 0x8000 && g->entry < 5)
        sim_exit_in(g, 0x60, 1);
    else
        sim_exit_vmcall(g);
}

static xvcpu_action answers_in(xvcpu *vcpu, xvcpu_exit *exit, void *context)
{
    (void)exit;
    (void)context;
    xvcpu_answer_done(vcpu, 0x42);
    return XVCPU_ACTION_HANDLED;
}

static void handler_answers(void *argument)
{
    (void)argument;
    start();
    must(xvcpu_set_handler(&vcpus[0], XVCPU_EXIT_REASON_IO_INSTRUCTION, answers_in, NULL, &error));
    sim_set_guest(guest_in_then_vmcall, NULL);
    run_to(XVCPU_EXIT_REASON_VMCALL);
    sim_check_equal(vcpus[0].statistics.exits[XVCPU_EXIT_REASON_IO_INSTRUCTION], 1);
    sim_check_equal(vcpus[0].exit.answer, XVCPU_ANSWER_NONE);
    stop();
}

// -- The budget

static void guest_vmcall(sim_guest *g)
{
    sim_exit_vmcall(g);
}

static void budget_without_end(void *argument)
{
    (void)argument;
    sim_control_remove_all(XVCPU_WORD_EXIT, XVCPU_EXIT_SAVE_PREEMPTION_TIMER);
    start();
    sim_set_guest(guest_vmcall, NULL);
    must(xvcpu_set_budget(&vcpus[0], ~(xvcpu_u64)0, &error));
    run_to(XVCPU_EXIT_REASON_VMCALL);
    stop();
}

static xvcpu_action rearms(xvcpu *vcpu, xvcpu_exit *exit, void *context)
{
    (void)exit;
    must(xvcpu_set_budget(vcpu, 1000000, &error));
    return *(const xvcpu_action *)context;
}

static void guest_timer(sim_guest *g)
{
    sim_check(sim_control(g, XVCPU_WORD_PIN, XVCPU_PIN_PREEMPTION_TIMER));
    if (g->entry == 1) {
        sim_set(g, XVCPU_VMCS_GUEST_PREEMPTION_TIMER, 0);
        (void)sim_exit(g, XVCPU_EXIT_REASON_PREEMPTION_TIMER, 0);
    } else {
        sim_check(sim_get(g, XVCPU_VMCS_GUEST_PREEMPTION_TIMER) != 0);
        sim_exit_vmcall(g);
    }
}

static void budget_rearmed(void *argument)
{
    xvcpu_action action = XVCPU_ACTION_RETURN;
    (void)argument;
    start();
    must(xvcpu_set_handler(&vcpus[0], XVCPU_EXIT_REASON_PREEMPTION_TIMER, rearms, &action, &error));
    sim_set_guest(guest_timer, NULL);
    must(xvcpu_set_budget(&vcpus[0], 1000, &error));
    run_to(XVCPU_EXIT_REASON_PREEMPTION_TIMER);
    run_to(XVCPU_EXIT_REASON_VMCALL);
    stop();
}

static xvcpu_action handles(xvcpu *vcpu, xvcpu_exit *exit, void *context)
{
    (void)vcpu;
    (void)exit;
    (void)context;
    return XVCPU_ACTION_HANDLED;
}

static void guest_timer_once(sim_guest *g)
{
    if (g->entry > 3)
        sim_fail("the timer ends one run after another");
    if (sim_control(g, XVCPU_WORD_PIN, XVCPU_PIN_PREEMPTION_TIMER)) {
        sim_set(g, XVCPU_VMCS_GUEST_PREEMPTION_TIMER, 0);
        (void)sim_exit(g, XVCPU_EXIT_REASON_PREEMPTION_TIMER, 0);
    } else {
        sim_exit_vmcall(g);
    }
}

static void budget_handled(void *argument)
{
    (void)argument;
    start();
    must(xvcpu_set_handler(&vcpus[0], XVCPU_EXIT_REASON_PREEMPTION_TIMER, handles, NULL, &error));
    sim_set_guest(guest_timer_once, NULL);
    must(xvcpu_set_budget(&vcpus[0], 1000, &error));
    run_to(XVCPU_EXIT_REASON_VMCALL);
    stop();
}

// -- Events and start states

static void shutdown_then_reset(void *argument)
{
    (void)argument;
    start();
    sim_set_guest(guest_vmcall, NULL);
    must(xvcpu_set(&vcpus[0], XVCPU_REG_RFLAGS, XVCPU_RFLAGS_FIXED_1 | XVCPU_RFLAGS_IF, &error));
    must(xvcpu_raise_interrupt(&vcpus[0], 0x40, &error));
    must(xvcpu_raise(&vcpus[0], XVCPU_EXCEPTION_GP, 0, 0, &error));
    must(xvcpu_raise(&vcpus[0], XVCPU_EXCEPTION_GP, 0, 0, &error));
    must(xvcpu_raise(&vcpus[0], XVCPU_EXCEPTION_GP, 0, 0, &error));
    run_to(XVCPU_EXIT_REASON_TRIPLE_FAULT);
    // What waited before the reset must not reach the guest after it.
    must(xvcpu_preset_reset(&vcpus[0], &error));
    run_to(XVCPU_EXIT_REASON_VMCALL);
    stop();
}

static void guest_no_injection(sim_guest *g)
{
    sim_check_equal(g->injected_info, 0);
    sim_exit_vmcall(g);
}

static void failed_run_then_reset(void *argument)
{
    (void)argument;
    start();
    sim_set_guest(guest_no_injection, NULL);
    must(xvcpu_set(&vcpus[0], XVCPU_REG_RFLAGS, XVCPU_RFLAGS_FIXED_1 | XVCPU_RFLAGS_IF, &error));
    must(xvcpu_raise_interrupt(&vcpus[0], 0x40, &error));
    sim_vmfail_next("INVEPT", 28); // comes after the interrupt has been written to the VMCS
    must_fail(xvcpu_run(&vcpus[0], &error), VMFAIL);
    must(xvcpu_preset_reset(&vcpus[0], &error));
    run_to(XVCPU_EXIT_REASON_VMCALL);
    stop();
}

static void bind_32bit_paged_only(void *argument)
{
    xvcpu_u64 value = 0;
    (void)argument;
    wanted.hide_features = XVCPU_BIT64(XVCPU_FEATURE_LM);
    start_without_preset();
    sim_set_guest(guest_vmcall, NULL);
    run_to(XVCPU_EXIT_REASON_VMCALL);
    must(xvcpu_get(&vcpus[0], XVCPU_REG_CR0, &value, &error));
    sim_check_equal(value & (XVCPU_CR0_PE | XVCPU_CR0_PG), XVCPU_CR0_PE | XVCPU_CR0_PG);
    stop();
}

// -- Life cycle

static void created_twice(void *argument)
{
    xvcpu_desc desc;
    (void)argument;
    start();
    memset(&desc, 0, sizeof desc);
    desc.ept = &ept;
    must_fail(xvcpu_create(&vcpus[0], &desc, &cpu.caps, &error), INVALID_STATE);
    must(xvcpu_cpu_disable(&cpu, &error)); // went round and round: the list had no way out
    must(xvcpu_destroy(&vcpus[1], &error));
    must(xvcpu_destroy(&vcpus[0], &error));
    xvcpu_ept_destroy(&ept);
}

static void enabled_on_wrong_cpu(void *argument)
{
    xvcpu_cpu_desc desc;
    (void)argument;
    memset(&desc, 0, sizeof desc);
    desc.id = 1;
    (void)sim_cpu(1);
    must(xvcpu_cpu_enable(&cpu, &desc, &error));
    (void)sim_cpu(0);
    must_fail(xvcpu_cpu_enable(&cpu, &desc, &error), WRONG_CPU);
    (void)sim_cpu(1);
    must(xvcpu_cpu_disable(&cpu, &error));
}

static void guest_wide_gs(sim_guest *g)
{
    // Canonical for a processor of 57 bits, and WRMSR goes by the processor, not by CR4.LA57.
    sim_check(!sim_guest_wrmsr(g, XVCPU_MSR_IA32_KERNEL_GS_BASE, XVCPU_BIT64(50)));
    sim_exit_vmcall(g);
}

static void narrower_cpu(void *argument)
{
    static xvcpu_cpu narrow;
    xvcpu_cpu_desc desc;
    sim_cpuid_row *row;
    (void)argument;
    memset(&desc, 0, sizeof desc);
    desc.id = 1;
    wanted.hide_features = XVCPU_BIT64(XVCPU_FEATURE_LA57);
    row = sim_cpuid_find(sim_cpu_at(1), XVCPU_CPUID_LEAF_ADDRESS_SIZES, 0);
    sim_check(row && (row->regs.eax >> 8 & 0xFFU) == 57);
    row->regs.eax = (row->regs.eax & 0xFFU) | 48U << 8;
    start();
    sim_set_guest(guest_wide_gs, NULL);
    run_to(XVCPU_EXIT_REASON_VMCALL);
    must(xvcpu_unbind(&vcpus[0], &error));
    (void)sim_cpu(1);
    must(xvcpu_cpu_enable(&narrow, &desc, &error));
    must_fail(xvcpu_bind(&vcpus[0], &narrow, &error), UNSUPPORTED);
    must(xvcpu_cpu_disable(&narrow, &error));
    (void)sim_cpu(0);
    stop();
}

static void poorer_ept(void *argument)
{
    static xvcpu_cpu poor;
    xvcpu_cpu_desc desc;
    (void)argument;
    memset(&desc, 0, sizeof desc);
    desc.id = 1;
    start();
    must(xvcpu_unbind(&vcpus[0], &error));
    (void)sim_cpu(1);
    must(xvcpu_cpu_enable(&poor, &desc, &error));
    poor.caps.ept_vpid &= ~(xvcpu_u64)XVCPU_VMX_EPT_VPID_CAP_PAGE_1G;
    must_fail(xvcpu_bind(&vcpus[0], &poor, &error), UNSUPPORTED);
    sim_check_equal(error.bits, XVCPU_VMX_EPT_VPID_CAP_PAGE_1G);
    must(xvcpu_cpu_disable(&poor, &error));
    (void)sim_cpu(0);
    stop();
}

// -- States no interrupt ends

static void waits_for_sipi(void *argument)
{
    (void)argument;
    start();
    must(xvcpu_preset_wait_sipi(&vcpus[0], &error));
    must_fail(xvcpu_run(&vcpus[0], &error), INVALID_STATE);
    must(xvcpu_start_sipi(&vcpus[0], 8, &error));
    sim_set_guest(guest_vmcall, NULL);
    run_to(XVCPU_EXIT_REASON_VMCALL);
    stop();
}

// -- Capabilities that contradict themselves

static void empty_component(void *argument)
{
    sim_cpuid_row *row = sim_cpuid_find(sim_cpu_at(0), XVCPU_CPUID_LEAF_XSAVE, 9);
    (void)argument;
    sim_check(row && row->regs.eax != 0);
    row->regs.eax = 0;
    start();
    sim_check_equal(cpu.caps.xcr0_mask & XVCPU_XCR0_PKRU, 0);
    sim_check((vcpus[0].features & XVCPU_BIT64(XVCPU_FEATURE_PKU)) == 0);
    stop();
}

// -- Acknowledged interrupts

static unsigned interrupts_seen, last_vector;

static void host_interrupt(unsigned vector)
{
    interrupts_seen++;
    last_vector = vector;
    sim_expect_host(0);
}

static void guest_interrupted(sim_guest *g)
{
    if (g->entry == 1)
        sim_exit_interrupt(g, 0x51);
    else
        sim_exit_vmcall(g);
}

static xvcpu_action takes_it(struct xvcpu *vcpu, xvcpu_exit *exit, void *context)
{
    (void)vcpu;
    (void)exit;
    (void)context;
    return XVCPU_ACTION_HANDLED;
}

static void interrupt_handled(void *argument)
{
    (void)argument;
    wanted.acknowledge_interrupts = 1;
    interrupts_seen = 0;
    start();
    must(
        xvcpu_set_handler(&vcpus[0], XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT, takes_it, NULL, &error));
    sim_set_guest(guest_interrupted, NULL);
    run_to(XVCPU_EXIT_REASON_VMCALL);
    sim_check_equal(interrupts_seen, 1);
    sim_check_equal(last_vector, 0x51);
    stop();
}

// -- List

typedef struct test {
    const char *model;
    const char *name;
    void (*body)(void *argument);
    xvcpu_u64 argument;
} test;

static test tests[] = {
    {NULL, "a host that uses SSE but not XSAVE lost its XMM registers", host_sse_xcr0_1, 0},
    {NULL, "a guest without XSAVE lost its XMM registers and saw the host's",
     guest_sse_without_xsave, 0},
    {"tigerlake", "a guest without XSAVE lost its XMM registers and saw the host's",
     guest_sse_without_xsave, 0},
    {"nehalem", "a host with SSE off: FXSAVE left the guest's XMM registers out",
     host_without_sse, 0},
    {NULL, "xcr0_hidden without SSE: XSETBV of AVX alone in the host", xcr0_hidden_half,
     XVCPU_XCR0_SSE},
    {NULL, "xcr0_hidden without AVX: XSETBV of AVX-512 alone in the host", xcr0_hidden_half,
     XVCPU_XCR0_AVX},
    {NULL, "xcr0_hidden with part of AVX-512: XSETBV of the rest in the host", xcr0_hidden_half,
     XVCPU_XCR0_OPMASK},
    {NULL, "the host's XCR0 lost a bit between runs: XRSTOR faulted", host_xcr0_shrinks, 0},
    {NULL, "XCR0 left to the host was the guest's all the same", xcr0_left_to_host, 0},
    {NULL, "a handler that looks at another virtual CPU left its VMCS current",
     handler_other_vcpu, 0},
    {NULL, "a CPUID hook that looks at another virtual CPU left its VMCS current",
     hook_other_vcpu, 0},
    {NULL, "a handler that set CR0.TS and switched CR3: #NM in the host, an old CR3",
     handler_changes_host, 0},
    {NULL, "a handler that cleared CR0.TS found it set again, and an old CR3",
     handler_changes_host, 1},
    {NULL, "a handler that unbinds: the run went on without a VMCS", handler_unbinds, 0},
    {NULL, "a handler's answer was thrown away with ACTION_HANDLED", handler_answers, 0},
    {NULL, "a budget beyond the end of the TSC ended at once", budget_without_end, 0},
    {NULL, "a budget set by the timer's handler was thrown away", budget_rearmed, 0},
    {NULL, "a budget whose end a handler took for handled ended every entry", budget_handled, 0},
    {NULL, "an interrupt waiting at a triple fault was injected after the reset",
     shutdown_then_reset, 0},
    {NULL, "an event of a run that failed was injected after the reset", failed_run_then_reset, 0},
    {NULL, "a live virtual CPU was created again: disable never ended", created_twice, 0},
    {NULL, "enabling on the wrong processor forgot the one in use", enabled_on_wrong_cpu, 0},
    {"tigerlake", "bound to a processor with narrower addresses: WRMSR of the guest's would fault",
     narrower_cpu, 0},
    {"nehalem", "no unrestricted guest and LM hidden: could not be bound", bind_32bit_paged_only,
     0},
    {NULL, "bound to a processor whose EPT has no 1 GiB pages", poorer_ept, 0},
    {NULL, "a guest that waits for a SIPI had the processor for good", waits_for_sipi, 0},
    {"tigerlake", "an XCR0 component without a size was offered", empty_component, 0},
    {NULL, "an acknowledged interrupt was lost when a handler handled the exit", interrupt_handled,
     0},
};

static void one_test(void *argument)
{
    test *it = (test *)argument;
    memset(&cpu, 0x5C, sizeof cpu);
    memset(&ept, 0, sizeof ept);
    memset(vcpus, 0, sizeof vcpus);
    memset(&wanted, 0, sizeof wanted);
    it->body(&it->argument);
}

int main(void)
{
    xvcpu_u32 i;
    for (i = 0; i < sizeof tests / sizeof tests[0]; i++)
        ok(sim_run(tests[i].model, one_test, &tests[i]), "%s", tests[i].name);
    return done_testing();
}
