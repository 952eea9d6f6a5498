// smp.c - several processors: each its own virtual CPU at the same time, and one virtual CPU that
// moves between them.
// models: corei7_skylake_x corei7_haswell_4770
// cpus: 2 4
#include "metal.h"

static struct metal_vm vm;
static unsigned n_cpus;

// Runs a function on a processor and waits for it.
static void on(unsigned cpu, void (*fn)(void *), void *arg)
{
    if (cpu == cpu_id()) {
        fn(arg);
        return;
    }
    cpu_run_on(cpu, fn, arg);
    cpu_wait(cpu);
}

static void enable_here(void *unused)
{
    (void)unused;
    (void)metal_enable();
}

static void disable_here(void *unused)
{
    (void)unused;
    metal_disable(&metal_cpus[cpu_id()]);
}

// -- All at once

// Says that it is there, waits for all the others, then counts: in memory of all and in RBX.
// R8: how many there are. R9: how often to count.
#define ARRIVED 0x6000
#define SHARED 0x6040
GUEST_CODE(meeting, 64,
           "lock incq " GUEST_NUMBER(ARRIVED) "\n"
           "meeting_wait: pause\n"
           "cmp %r8, " GUEST_NUMBER(ARRIVED) "\n"
           "jb meeting_wait\n"
           "meeting_count:\n"
           "lock incq " GUEST_NUMBER(SHARED) "\n"
           "inc %rbx\n"
           "push %rbx\n"
           "pop %rbx\n"
           "dec %r9\n"
           "jnz meeting_count\n"
           "mov %rbx, %rax\n"
           "vmcall\n");
#define ROUNDS 5000u

static struct party {
    xvcpu vcpu;
    u64 answer;
    u32 revision;
    bool enabled;
} parties[KERNEL_CPUS_MAX];

static void meet(void *unused)
{
    struct party *party = &parties[cpu_id()];
    xvcpu_cpu *cpu = metal_enable();
    xvcpu_desc desc = {0};

    (void)unused;
    party->enabled = xvcpu_cpu_is_enabled(cpu);
    party->revision = cpu->caps.revision;
    if (cpu_id() == 0)
        metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    else
        while (__atomic_load_n(&vm.memory, __ATOMIC_ACQUIRE) == NULL ||
               __atomic_load_n(metal_word(&vm, METAL_CODE), __ATOMIC_ACQUIRE) == 0)
            cpu_pause();
    desc.vpid = (u16)(1 + cpu_id());
    desc.apic_id = cpu_id();
    metal_vcpu_create(&party->vcpu, &vm, cpu, &desc);
    if (cpu_id() == 0)
        (void)metal_page_tables(&vm, METAL_TABLES);
    metal_must(xvcpu_preset_long(&party->vcpu, METAL_TABLES, METAL_CODE,
                                 METAL_STACK - 0x100 * cpu_id(), 0),
               0, "xvcpu_preset_long");
    metal_set(&party->vcpu, XVCPU_REG_R8, n_cpus);
    metal_set(&party->vcpu, XVCPU_REG_R9, ROUNDS);
    metal_budget(&party->vcpu, METAL_BUDGET);
    if (cpu_id() == 0)
        METAL_LOAD(&vm, METAL_CODE, meeting); // the others wait for it
    party->answer = metal_call(&party->vcpu);
    metal_vcpu_destroy(&party->vcpu);
}

static void test_all_at_once(void)
{
    const u32 pages = metal_pages;
    bool enabled = true, counted = true, same = true;
    unsigned i;

    for (i = 1; i < n_cpus; i++)
        cpu_run_on(i, meet, 0);
    meet(0);
    for (i = 1; i < n_cpus; i++)
        cpu_wait(i);
    for (i = 0; i < n_cpus; i++) {
        enabled = enabled && parties[i].enabled;
        counted = counted && parties[i].answer == ROUNDS;
        same = same && parties[i].revision == parties[0].revision;
        if (parties[i].answer != ROUNDS)
            diag("processor %u: 0x%lx", i, parties[i].answer);
    }
    ok(enabled && same, "%u processors enabled in parallel", n_cpus);
    ok(counted, "each ran its own virtual CPU to the end");
    is_u64(*metal_word(&vm, ARRIVED), n_cpus, "all at the same time");
    is_u64(*metal_word(&vm, SHARED), ROUNDS * n_cpus, "on the memory of all of them");
    for (i = 0; i < n_cpus; i++)
        on(i, disable_here, 0);
    metal_vm_destroy(&vm);
    is_u64(metal_pages, pages, "every page came back");
}

// -- One that moves

// Every kind of state grows by one each round: registers, memory, MSRs, debug registers, SSE.
GUEST_CODE(traveller, 64,
           ".macro next_msr index\n"
           "mov $\\index, %ecx\n rdmsr\n inc %eax\n wrmsr\n"
           ".endm\n"
           "traveller_next:\n"
           "inc %rbx\n"
           "add $3, %r15\n"
           "incq " GUEST_NUMBER(METAL_DATA) "\n"
           "next_msr 0xc0000102\n" // KERNEL_GS_BASE: switched by the library, open
           "next_msr 0xc0000100\n" // FS_BASE: switched by VMX, open
           "next_msr 0xc0000082\n" // LSTAR: switched by the library, each access exits
           "next_msr 0x175\n"      // SYSENTER_ESP
           "mov %dr0, %rax\n inc %rax\n mov %rax, %dr0\n"
           "mov %cr2, %rax\n inc %rax\n mov %rax, %cr2\n"
           "movq %xmm0, %rax\n inc %rax\n movq %rax, %xmm0\n"
           "movq %xmm15, %rax\n inc %rax\n movq %rax, %xmm15\n"
           "movq %xmm0, %rsi\n"
           "mov %rbx, %rax\n"
           "vmcall\n"
           "jmp traveller_next\n");
#define BOUNCES 1000u
#define KERNEL_GS 0x0000111100000000ul
#define FS_START 0x0000222200000000ul
#define LSTAR_START 0x0000333300000000ul
#define CR2_START 0x0000444400000000ul
#define XMM_START 0x5555000000000000ul

static struct journey {
    xvcpu vcpu;
    u32 round;
    u32 wrong;
    u32 host_wrong;
} journey;

static u64 host_value(u32 what)
{
    return 0xffff800000000000ul + 0x10000ul * cpu_id() + 0x100ul * what;
}

// What the guest must not spoil, different on each processor.
static void mark_host(void *unused)
{
    (void)unused;
    wrmsr(XVCPU_MSR_IA32_KERNEL_GS_BASE, host_value(1));
    wrmsr(XVCPU_MSR_IA32_LSTAR, host_value(2));
    wrmsr(XVCPU_MSR_IA32_FS_BASE, host_value(3));
    wrmsr(XVCPU_MSR_IA32_SYSENTER_ESP, host_value(4));
    __asm__ volatile("mov %0, %%dr0" : : "r"(host_value(5)));
    __asm__ volatile("movq %0, %%xmm0\n\tmovq %0, %%xmm15" : : "r"(host_value(6)));
    write_cr2(host_value(7));
}

static bool host_is_marked(void)
{
    u64 dr0, xmm0, xmm15;
    __asm__ volatile("mov %%dr0, %0" : "=r"(dr0));
    __asm__ volatile("movq %%xmm0, %0\n\tmovq %%xmm15, %1" : "=r"(xmm0), "=r"(xmm15));
    return rdmsr(XVCPU_MSR_IA32_KERNEL_GS_BASE) == host_value(1) &&
           rdmsr(XVCPU_MSR_IA32_LSTAR) == host_value(2) &&
           rdmsr(XVCPU_MSR_IA32_FS_BASE) == host_value(3) &&
           rdmsr(XVCPU_MSR_IA32_SYSENTER_ESP) == host_value(4) && dr0 == host_value(5) &&
           xmm0 == host_value(6) && xmm15 == host_value(6);
}

static void travel(void *arg)
{
    struct journey *j = arg;
    xvcpu *v = &j->vcpu;
    const u64 n = ++j->round;
    const unsigned here = cpu_id();
    const struct metal_table gdt = metal_sgdt();
    xvcpu_error error;

    metal_must(xvcpu_bind(v, &metal_cpus[here], &error), &error, "bind");
    metal_budget(v, METAL_BUDGET);
    if (metal_call(v) != n || v->gpr[XVCPU_R15] != 3 * n || *metal_word(&vm, METAL_DATA) != n ||
        v->gpr[XVCPU_RSI] != XMM_START + n ||
        metal_get(v, XVCPU_REG_KERNEL_GS_BASE) != KERNEL_GS + n ||
        metal_get(v, XVCPU_REG_FS_BASE) != FS_START + n ||
        metal_get(v, XVCPU_REG_LSTAR) != LSTAR_START + n ||
        metal_get(v, XVCPU_REG_SYSENTER_ESP) != n || metal_get(v, XVCPU_REG_DR0) != n ||
        metal_get(v, XVCPU_REG_CR2) != CR2_START + n) {
        if (j->wrong++ == 0)
            diag("wrong on processor %u in round %lu", here, n);
    }
    metal_must(xvcpu_unbind(v, &error), &error, "unbind");
    if (!host_is_marked() || metal_sgdt().base != gdt.base || metal_sgdt().limit != gdt.limit ||
        cpu_id() != here)
        j->host_wrong++;
}

static void test_travel(void)
{
    xvcpu_error error;
    u64 high = 0;
    unsigned i;

    for (i = 0; i < n_cpus; i++) {
        on(i, enable_here, 0);
        on(i, mark_host, 0);
    }
    metal_vm_create(&vm, &metal_cpus[0], METAL_VM_BYTES);
    metal_vcpu_create(&journey.vcpu, &vm, &metal_cpus[0], 0);
    METAL_START(&journey.vcpu, &vm, METAL_LONG, traveller);
    metal_set(&journey.vcpu, XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_OSFXSR);
    metal_set(&journey.vcpu, XVCPU_REG_KERNEL_GS_BASE, KERNEL_GS);
    metal_set(&journey.vcpu, XVCPU_REG_FS_BASE, FS_START);
    metal_set(&journey.vcpu, XVCPU_REG_LSTAR, LSTAR_START);
    metal_set(&journey.vcpu, XVCPU_REG_CR2, CR2_START);
    memcpy((u8 *)journey.vcpu.guest_xsave + 160, &(u64){XMM_START}, 8);           // XMM0
    memcpy((u8 *)journey.vcpu.guest_xsave + 160 + 15 * 16, &(u64){XMM_START}, 8); // XMM15
    memcpy((u8 *)journey.vcpu.guest_xsave + 512, &(u64){XVCPU_XCR0_SSE}, 8);      // and in use
    metal_must(xvcpu_unbind(&journey.vcpu, &error), &error, "unbind");
    for (i = 0; i < BOUNCES; i++)
        on(i % n_cpus, travel, &journey);
    is_u64(journey.round, BOUNCES, "T7 %u stays on %u processors in turn", BOUNCES, n_cpus);
    is_u64(journey.wrong, 0, "T7 registers, memory, MSRs, DR0, CR2, XMM: right after each");
    is_u64(journey.host_wrong, 0, "T23 each processor found its own state again");
    memcpy(&high, (u8 *)journey.vcpu.guest_xsave + 160 + 15 * 16, 8);
    is_u64(high, XMM_START + BOUNCES, "T28 XMM15 too");
    metal_vcpu_destroy(&journey.vcpu);
    metal_vm_destroy(&vm);
}

// -- The wrong processor

static struct wrong {
    xvcpu vcpu;
    xvcpu_status enable;
    xvcpu_cpu cpu;
    u64 call;
} wrong;

static void start_there(void *unused)
{
    xvcpu_cpu_desc desc = {0}; // id 0
    (void)unused;
    metal_disable(&metal_cpus[cpu_id()]);
    wrong.enable = xvcpu_cpu_enable(&wrong.cpu, &desc, 0);
    (void)metal_enable();
    metal_vcpu_create(&wrong.vcpu, &vm, &metal_cpus[cpu_id()], 0);
    METAL_START(&wrong.vcpu, &vm, METAL_LONG, traveller);
    metal_set(&wrong.vcpu, XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_OSFXSR);
    wrong.call = metal_call(&wrong.vcpu);
}

static void go_on_there(void *unused)
{
    (void)unused;
    wrong.call = metal_call(&wrong.vcpu);
}

static void unbind_there(void *unused)
{
    xvcpu_error error;
    (void)unused;
    metal_must(xvcpu_unbind(&wrong.vcpu, &error), &error, "unbind");
}

static void test_wrong_cpu(void)
{
    xvcpu_error error;
    u64 value;

    metal_vm_create(&vm, &metal_cpus[0], METAL_VM_BYTES);
    on(1, start_there, 0);
    is_status(wrong.enable, WRONG_CPU, 0, "enable with the id of another processor");
    is_u64(wrong.call, 1, "bound to processor 1, it runs there");
    is_status(xvcpu_run(&wrong.vcpu, &error), WRONG_CPU, &error, "run here");
    is_status(xvcpu_get(&wrong.vcpu, XVCPU_REG_RIP, &value, &error), WRONG_CPU, &error,
              "get here");
    is_status(xvcpu_set_budget(&wrong.vcpu, 1, &error), WRONG_CPU, &error, "budget here");
    is_status(xvcpu_unbind(&wrong.vcpu, &error), WRONG_CPU, &error, "unbind here");
    is_status(xvcpu_destroy(&wrong.vcpu, &error), WRONG_CPU, &error, "destroy here");
    is_status(xvcpu_bind(&wrong.vcpu, &metal_cpus[0], &error), INVALID_STATE, &error,
              "bind here while it is bound there");
    is_status(xvcpu_cpu_disable(&metal_cpus[1], &error), WRONG_CPU, &error,
              "disable another processor");
    on(1, go_on_there, 0);
    is_u64(wrong.call, 2, "none of these did any harm");
    on(1, unbind_there, 0);
    is_status(xvcpu_bind(&wrong.vcpu, &metal_cpus[1], &error), WRONG_CPU, &error,
              "bind to another processor");
    is_status(xvcpu_bind(&wrong.vcpu, &metal_cpus[0], &error), OK, &error,
              "unbound there it can be bound here");
    metal_budget(&wrong.vcpu, METAL_BUDGET);
    is_u64(metal_call(&wrong.vcpu), 3, "and goes on");
    metal_vcpu_destroy(&wrong.vcpu);
    metal_vm_destroy(&vm);
}

// -- Disable under a virtual CPU

static struct two_active {
    xvcpu first, second;
    xvcpu_status status;
} two;

static void leave_active(void *unused)
{
    xvcpu_cpu *cpu = &metal_cpus[cpu_id()];
    (void)unused;
    metal_vcpu_create(&two.first, &vm, cpu, 0);
    METAL_START(&two.first, &vm, METAL_LONG, traveller);
    metal_vcpu_create(&two.second, &vm, cpu, 0);
    METAL_START(&two.second, &vm, METAL_LONG, traveller);
    metal_set(&two.first, XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_OSFXSR);
    metal_set(&two.second, XVCPU_REG_CR4, XVCPU_CR4_PAE | XVCPU_CR4_OSFXSR);
    (void)metal_call(&two.first);
    (void)metal_call(&two.second);
    (void)metal_call(&two.second);
    two.status = xvcpu_cpu_disable(cpu, 0);
}

static void test_disable(void)
{
    xvcpu_error error;

    metal_vm_create(&vm, &metal_cpus[0], METAL_VM_BYTES);
    on(1, leave_active, 0);
    is_status(two.status, OK, 0, "T6 disable with two virtual CPUs active");
    ok(!xvcpu_cpu_is_enabled(&metal_cpus[1]) && metal_cpus[1].active == 0, "T6 none is left");
    ok(two.first.launched == 0 && two.second.launched == 0, "T6 both are clear");
    is_status(xvcpu_run(&two.first, &error), NOT_BOUND, &error, "T6 both are unbound");
    is_status(xvcpu_bind(&two.first, &metal_cpus[0], &error), OK, &error, "T6 bind elsewhere");
    is_status(xvcpu_bind(&two.second, &metal_cpus[0], &error), OK, &error, "T6 both");
    metal_budget(&two.first, METAL_BUDGET);
    metal_budget(&two.second, METAL_BUDGET);
    is_u64(metal_call(&two.first), 2, "T6 the first goes on");
    is_u64(metal_call(&two.second), 3, "T6 the second goes on");
    metal_vcpu_destroy(&two.first);
    metal_vcpu_destroy(&two.second);
    metal_vm_destroy(&vm);
    on(1, enable_here, 0);
}

// -- Kick

#define VECTOR_KICK 0x51
#define RUNNING 0x6000
GUEST_CODE(spinner, 64,
           "sti\n"
           "spinner_on:\n"
           "incq " GUEST_NUMBER(RUNNING) "\n"
           "jmp spinner_on\n");

static struct kicked {
    xvcpu vcpu;
    u32 interrupts;  // exits for one
    u32 kicks;       // returns with KICKED
    u32 others;
    u32 handled;     // calls of the host's handler
} kicked;

static void count_kick(struct kernel_frame *frame)
{
    (void)frame;
    kicked.handled++;
    apic_eoi();
}

static void run_until_kicked(void *unused)
{
    (void)unused;
    metal_vcpu_create(&kicked.vcpu, &vm, &metal_cpus[cpu_id()], 0);
    METAL_START(&kicked.vcpu, &vm, METAL_LONG, spinner);
    metal_budget(&kicked.vcpu, 10 * METAL_BUDGET);
    while (kicked.kicks == 0 && kicked.others == 0) {
        const u32 reason = metal_run(&kicked.vcpu);
        if (kicked.vcpu.exit.kind == XVCPU_EXIT_KICKED) {
            kicked.kicks++;
        } else if (reason == XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT) {
            kicked.interrupts++;
            sti();
            cpu_pause();
            cli();
        } else {
            kicked.others++;
            metal_explain_exit(&kicked.vcpu);
        }
    }
    metal_vcpu_destroy(&kicked.vcpu);
}

static void test_kick(void)
{
    volatile u64 *running;

    metal_vm_create(&vm, &metal_cpus[0], METAL_VM_BYTES);
    running = metal_word(&vm, RUNNING);
    kernel_set_handler(VECTOR_KICK, count_kick);
    cpu_run_on(1, run_until_kicked, 0);
    while (*running < 100)
        cpu_pause();
    xvcpu_kick(&kicked.vcpu);
    apic_send_ipi(1, VECTOR_KICK);
    cpu_wait(1);
    ok(kicked.kicks == 1 && kicked.others == 0, "a kick and an interrupt end a run elsewhere");
    ok(kicked.interrupts == 1 && kicked.handled == 1, "T29 the host saw the interrupt once");
    kernel_set_handler(VECTOR_KICK, 0);
    metal_vm_destroy(&vm);
}

int kernel_main(void)
{
    const u64 gs = rdmsr(XVCPU_MSR_IA32_GS_BASE);
    unsigned i;

    n_cpus = cpu_count();
    if (!ok(n_cpus > 1, "%u processors", n_cpus))
        return tap_done();
    test_all_at_once();
    test_travel();
    test_wrong_cpu();
    test_disable();
    test_kick();
    for (i = 0; i < n_cpus; i++)
        on(i, disable_here, 0);
    is_u64(metal_pages, 0, "every page came back");
    is_u64(rdmsr(XVCPU_MSR_IA32_GS_BASE), gs, "GS base of the kernel");
    return tap_done();
}
