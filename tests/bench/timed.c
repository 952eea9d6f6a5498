// timed.c - the library as everybody compiles it, and the floor to compare it with.
#include "subject.h"

// The difference of two runs: whatever comes once a run cancels out.
const char *bench_timed(enum bench_exit which, struct bench_setting setting,
                        struct bench_sums *sums)
{
    u64 once = 0, twice = 0;
    const char *failure = run_once(which, setting, BENCH_REPETITIONS, &once);
    if (!failure)
        failure = run_once(which, setting, 2 * BENCH_REPETITIONS, &twice);
    sums->ticks = twice - once;
    return failure;
}

// -- Floor

// The least that can be done about a CPUID exit: all general registers saved, the exit recognised,
// RIP moved on, all general registers loaded.

#define FLOOR_FAILED 0xffffffffu

// Goes on while the exit reason is CPUID. Returns the last exit reason, or FLOOR_FAILED.
u32 bench_floor_loop(u64 *gpr);

// Enters once, by VMLAUNCH or by VMRESUME. Returns 0, or FLOOR_FAILED.
u32 bench_floor_enter(u64 *gpr, u32 launched);

#define FLOOR_LOAD                                                                                 \
    "mov 0(%rdi), %rax\n mov 8(%rdi), %rcx\n mov 16(%rdi), %rdx\n mov 24(%rdi), %rbx\n"            \
    "mov 40(%rdi), %rbp\n mov 48(%rdi), %rsi\n mov 64(%rdi), %r8\n mov 72(%rdi), %r9\n"            \
    "mov 80(%rdi), %r10\n mov 88(%rdi), %r11\n mov 96(%rdi), %r12\n mov 104(%rdi), %r13\n"         \
    "mov 112(%rdi), %r14\n mov 120(%rdi), %r15\n mov 56(%rdi), %rdi\n"

#define FLOOR_SAVE                                                                                 \
    "push %rdi\n mov 8(%rsp), %rdi\n pop 56(%rdi)\n"                                               \
    "mov %rax, 0(%rdi)\n mov %rcx, 8(%rdi)\n mov %rdx, 16(%rdi)\n mov %rbx, 24(%rdi)\n"            \
    "mov %rbp, 40(%rdi)\n mov %rsi, 48(%rdi)\n mov %r8, 64(%rdi)\n mov %r9, 72(%rdi)\n"            \
    "mov %r10, 80(%rdi)\n mov %r11, 88(%rdi)\n mov %r12, 96(%rdi)\n mov %r13, 104(%rdi)\n"         \
    "mov %r14, 112(%rdi)\n mov %r15, 120(%rdi)\n"

#define FLOOR_PUSH                                                                                 \
    "push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n push %rdi\n"

#define FLOOR_POP                                                                                  \
    "pop %rdi\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"

// HOST_RSP is 6C14h, HOST_RIP 6C16h.
#define FLOOR_HOST(label)                                                                          \
    "mov $0x6c14, %eax\n vmwrite %rsp, %rax\n"                                                     \
    "lea " label "(%rip), %rdx\n mov $0x6c16, %eax\n vmwrite %rdx, %rax\n"

// Exit reason is 4402h, guest RIP 681Eh, length of the instruction 440Ch.
__asm__(".pushsection .text\n"
        "bench_floor_loop:\n" FLOOR_PUSH FLOOR_HOST("1f") FLOOR_LOAD
        "vmlaunch\n"
        "2: mov $-1, %eax\n"
        "3:\n" FLOOR_POP
        "ret\n"
        "1:\n" FLOOR_SAVE
        "mov $0x4402, %edx\n vmread %rdx, %rax\n"
        "cmp $10, %eax\n jne 3b\n"
        "mov $0x681e, %edx\n vmread %rdx, %rcx\n"
        "mov $0x440c, %eax\n vmread %rax, %rsi\n"
        "add %rsi, %rcx\n vmwrite %rcx, %rdx\n" FLOOR_LOAD
        "vmresume\n"
        "jmp 2b\n"
        "bench_floor_enter:\n" FLOOR_PUSH
        "test %esi, %esi\n jnz 4f\n" FLOOR_HOST("5f") FLOOR_LOAD
        "vmlaunch\n"
        "jmp 6f\n"
        "4:\n" FLOOR_LOAD
        "vmresume\n"
        "6: mov $-1, %eax\n"
        "jmp 7f\n"
        "5:\n" FLOOR_SAVE
        "xor %eax, %eax\n"
        "7:\n" FLOOR_POP
        "ret\n"
        ".popsection\n");

static u64 floor_read(u64 field)
{
    u64 value;
    __asm__ volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "cc");
    return value;
}

static __attribute__((noinline)) u32 floor_called(u64 *gpr)
{
    u32 launched = 0;
    while (bench_floor_enter(gpr, launched) == 0) {
        const u32 reason = (u32)floor_read(XVCPU_VMCS_EXIT_REASON);
        const u64 next =
            floor_read(XVCPU_VMCS_GUEST_RIP) + floor_read(XVCPU_VMCS_EXIT_INSTR_LEN);
        struct kernel_cpuid result;
        if (reason != XVCPU_EXIT_REASON_CPUID)
            return reason;
        result = cpuid((u32)gpr[XVCPU_RAX], (u32)gpr[XVCPU_RCX]);
        gpr[XVCPU_RAX] = result.eax;
        gpr[XVCPU_RBX] = result.ebx;
        gpr[XVCPU_RCX] = result.ecx;
        gpr[XVCPU_RDX] = result.edx;
        __asm__ volatile("vmwrite %1, %0" : : "r"((u64)XVCPU_VMCS_GUEST_RIP), "r"(next) : "cc");
        launched = 1;
    }
    return FLOOR_FAILED;
}

static const char *floor_once(u32 (*run)(u64 *gpr), u64 repetitions, u64 *ticks)
{
    const struct bench_setting setting = {0};
    xvcpu_error error = {0};
    const char *failure = 0;
    struct host_tables tables;
    xvcpu_status status;
    save_tables(&tables);
    status = prepare(BENCH_CPUID, setting, &error);
    if (status != XVCPU_STATUS_OK) {
        failure = describe(status, &error);
    } else {
        u32 reason;
        vcpu->gpr[XVCPU_RSI] = repetitions;
        reason = run(vcpu->gpr);
        if (reason != XVCPU_EXIT_REASON_IO_INSTRUCTION)
            failure = reason == FLOOR_FAILED ? "VM-fail" : xvcpu_exit_reason_name(reason & 0xffff);
        *ticks = (u32)vcpu->gpr[XVCPU_RAX];
        // Behind the library's back: it has to write them again.
        vcpu->host_rsp = 0;
        vcpu->host_rip = 0;
    }
    tear_down();
    restore_tables(&tables);
    return failure;
}

static const char *floor_difference(u32 (*run)(u64 *gpr), u64 *ticks)
{
    u64 once = 0, twice = 0;
    const char *failure = floor_once(run, BENCH_REPETITIONS, &once);
    if (!failure)
        failure = floor_once(run, 2 * BENCH_REPETITIONS, &twice);
    *ticks = twice - once;
    if (!failure && *ticks == 0)
        failure = "took no time";
    return failure;
}

const char *bench_floor(struct bench_floor *floor)
{
    const char *failure = floor_difference(bench_floor_loop, &floor->loop);
    return failure ? failure : floor_difference(floor_called, &floor->called);
}
