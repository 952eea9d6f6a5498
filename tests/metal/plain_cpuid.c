// plain_cpuid.c - CPUID exits that take the short way round inside xvcpu_run: the same answers and
// the same state as by the general way, and nobody who wants in has to wait.
// models: corei7_skylake_x corei7_haswell_4770 tigerlake
// cpus: 1
struct xvcpu;
static void before_entry(struct xvcpu *vcpu);
#define XVCPU_TRACE_ENTRY(vcpu) before_entry(vcpu)
#include "metal.h"

#define SPARE_PAGE 0x80000ul // mapped for nothing but to be unmapped
#define RUNAWAY 5000u        // entries after which a guest is given up

static xvcpu_cpu *cpu;
static struct metal_vm vm;
static xvcpu vcpu;

// -- What happens while the guest runs

static unsigned entries, kick_at, unmap_at;
static bool caught_up, reasons_right, rips_right;
static u64 expected_rip;

static void before_entry(struct xvcpu *of)
{
    entries++;
    if (entries == unmap_at)
        metal_must(xvcpu_ept_unmap(&vm.ept, SPARE_PAGE, KERNEL_PAGE_SIZE, NULL), NULL, "unmap");
    else if (unmap_at != 0 && entries == unmap_at + 1)
        caught_up = of->ept_generation == vm.ept.generation;
    if (entries > 4) {
        reasons_right = reasons_right && of->exit.reason == XVCPU_EXIT_REASON_CPUID;
        rips_right = rips_right && of->exit.rip == expected_rip;
    }
    if (entries == kick_at || entries == RUNAWAY)
        xvcpu_kick(of);
}

static void watch(unsigned kick, unsigned unmap)
{
    entries = 0;
    kick_at = kick;
    unmap_at = unmap;
    caught_up = false;
    reasons_right = true;
    rips_right = true;
}

// -- Guests

GUEST_CODE(endless, 64,
           "endless_again:\n"
           "mov $1, %eax\n"
           "cpuid\n"
           "jmp endless_again");

// Four times before it counts: the first exits go the general way.
#define WARM_UP                                                                                    \
    "mov $4, %ebp\n"                                                                               \
    "1: mov $1, %eax\n cpuid\n"                                                                    \
    "dec %ebp\n jnz 1b\n"

GUEST_CODE(ask, 64,
           WARM_UP "2: mov $0x11, %eax\n"
                   "vmcall\n" // the caller puts leaf and subleaf into RSI and RDI
                   "mov %rsi, %rax\n"
                   "mov %rdi, %rcx\n"
                   "mov $-1, %rbx\n"
                   "mov $-1, %rdx\n"
                   "cpuid\n"
                   "mov %rax, %r12\n"
                   "jmp 2b");

GUEST_CODE(trap, 64,
           WARM_UP "pushfq\n"
                   "orl $0x100, (%rsp)\n"
                   "popfq\n"
                   "mov $1, %eax\n" // #DB after this one
                   "cpuid\n"        // and after this one
                   "nop\n"
                   "vmcall");

GUEST_CODE(shadow, 64,
           WARM_UP "mov $1, %eax\n"
                   "sti\n"
                   "cpuid\n"
                   "vmcall");

// -- Tests

static void test_answers(void)
{
    static const u32 leaves[] = {0, 1, 2, 4, 5, 6, 7, 0xa, 0xb, 0xd, 0x14, 0x1f, 0x20, 0x40000000,
                                 0x40000001, 0x80000000, 0x80000001, 0x80000008, 0xffffffff};
    u64 answers[2][sizeof leaves / sizeof leaves[0]][2][4];
    xvcpu_error error;
    memset(answers, 0, sizeof answers);
    for (unsigned way = 0; way < 2; way++) {
        metal_vcpu_create(&vcpu, &vm, cpu, 0);
        METAL_START(&vcpu, &vm, METAL_LONG, ask);
        for (unsigned i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
            for (unsigned sub = 0; sub < 2; sub++) {
                if (metal_call(&vcpu) != 0x11)
                    bail_out("the guest does not ask");
                // A table with a leaf nobody asks for sends them all the general way.
                if (way == 1) {
                    static const xvcpu_cpuid_entry nobodys = {0x12345, 0, 1, {0, 0, 0, 0}};
                    vcpu.desc.cpuid_table = &nobodys;
                    vcpu.desc.cpuid_entries = 1;
                }
                vcpu.gpr[XVCPU_RSI] = leaves[i];
                vcpu.gpr[XVCPU_RDI] = sub;
                if (metal_run(&vcpu) != XVCPU_EXIT_REASON_VMCALL)
                    bail_out("the guest did not come back");
                answers[way][i][sub][0] = vcpu.gpr[XVCPU_R12];
                answers[way][i][sub][1] = vcpu.gpr[XVCPU_RBX];
                answers[way][i][sub][2] = vcpu.gpr[XVCPU_RCX];
                answers[way][i][sub][3] = vcpu.gpr[XVCPU_RDX];
            }
        }
        metal_must(xvcpu_destroy(&vcpu, &error), &error, "xvcpu_destroy");
    }
    for (unsigned i = 0; i < sizeof leaves / sizeof leaves[0]; i++)
        ok(memcmp(answers[0][i], answers[1][i], sizeof answers[0][i]) == 0,
           "leaf 0x%x: one answer, whichever way", leaves[i]);
    ok(answers[0][0][0][0] != 0 && answers[0][1][0][3] != 0, "and answers they are");
}

static void test_kick(void)
{
    metal_vcpu_create(&vcpu, &vm, cpu, 0);
    METAL_START(&vcpu, &vm, METAL_LONG, endless);
    expected_rip = METAL_CODE + 5;
    watch(100, 0);
    is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_CPUID, "a guest that does nothing but CPUID");
    is_u64(vcpu.exit.kind, XVCPU_EXIT_KICKED, "is left by a kick");
    is_u64(entries, 100, "after the entry under way");
    is_u64(vcpu.statistics.exits[XVCPU_EXIT_REASON_CPUID], 100, "every exit is counted");
    ok(reasons_right, "the hook before an entry sees the reason of the exit");
    ok(rips_right, "and where it was");
    watch(50, 0);
    is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_CPUID, "and again");
    is_u64(entries, 50, "after as many entries as it should");

    metal_must(xvcpu_ept_map(&vm.ept, SPARE_PAGE, phys_of(vm.memory), KERNEL_PAGE_SIZE,
                             XVCPU_EPT_RWX, XVCPU_MEMORY_WB, NULL),
               NULL, "xvcpu_ept_map");
    watch(60, 40);
    is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_CPUID, "while it runs a page is unmapped");
    ok(caught_up, "the next entry is after an INVEPT");
    metal_vcpu_destroy(&vcpu);
}

static void test_budget(void)
{
    if (!metal_has_timer(cpu)) {
        skip("no preemption timer");
        return;
    }
    metal_vcpu_create(&vcpu, &vm, cpu, 0);
    METAL_START(&vcpu, &vm, METAL_LONG, endless);
    metal_budget(&vcpu, 2000);
    watch(0, 0);
    is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_PREEMPTION_TIMER, "a budget ends it");
    ok(entries > 1 && entries < RUNAWAY, "in time: %u entries", entries);
    metal_vcpu_destroy(&vcpu);
}

static void test_trap(void)
{
    xvcpu_desc desc = {0};
    u64 length = (u64)(trap_end - trap);
    desc.exception_bitmap = XVCPU_BIT32(XVCPU_EXCEPTION_DB);
    metal_vcpu_create(&vcpu, &vm, cpu, &desc);
    METAL_START(&vcpu, &vm, METAL_LONG, trap);
    watch(0, 0);
    is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_EXCEPTION_NMI, "single step: an instruction");
    is_u64(vcpu.exit.rip, METAL_CODE + length - 6, "before CPUID");
    is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_EXCEPTION_NMI, "single step: CPUID");
    is_u64(vcpu.exit.rip, METAL_CODE + length - 4, "traps right after it");
    is_u64(vcpu.exit.u.exception.vector, XVCPU_EXCEPTION_DB, "with #DB");
    metal_vcpu_destroy(&vcpu);
}

static void test_shadow(void)
{
    metal_vcpu_create(&vcpu, &vm, cpu, 0);
    METAL_START(&vcpu, &vm, METAL_LONG, shadow);
    watch(0, 0);
    is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_VMCALL, "CPUID right after STI");
    is_u64(metal_get(&vcpu, XVCPU_REG_INTERRUPTIBILITY), 0, "ends the shadow");
    metal_vcpu_destroy(&vcpu);
}

int kernel_main(void)
{
    cpu = metal_enable();
    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    test_answers();
    test_kick();
    test_budget();
    test_trap();
    test_shadow();
    metal_vm_destroy(&vm);
    metal_disable(cpu);
    is_u64(metal_pages, 0, "every page is back");
    return tap_done();
}
