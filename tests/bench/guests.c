// guests.c - the guest programs: one loop each around an instruction that exits.
//
// EBP repetitions, ESI counter, EDI ticks. `setup` and `exits` may use EAX, EBX, ECX and EDX; EBX
// and what `prologue` leaves there stays if `exits` does not change it.
#include "bench.h"

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

#define GUEST(name, prologue, setup, exits)                                                        \
    __asm__(".pushsection .rodata.bench, \"a\", @progbits\n"                                       \
            ".code32\n"                                                                            \
            "bench_" #name ":\n"                                                                   \
            "mov %esi, %ebp\n" prologue                                                            \
            /* Once before: what is done the first time only is not meant here. */                 \
            setup exits                                                                            \
            "mov %ebp, %esi\n"                                                                     \
            "rdtsc\n"                                                                              \
            "mov %eax, %edi\n"                                                                     \
            "1:\n" setup exits                                                                     \
            "dec %esi\n"                                                                           \
            "jnz 1b\n"                                                                             \
            "rdtsc\n"                                                                              \
            "sub %edi, %eax\n"                                                                     \
            "mov %eax, %edi\n"                                                                     \
            "mov %ebp, %esi\n"                                                                     \
            "rdtsc\n"                                                                              \
            "add %eax, %edi\n"                                                                     \
            "1:\n" setup                                                                           \
            "dec %esi\n"                                                                           \
            "jnz 1b\n"                                                                             \
            "rdtsc\n"                                                                              \
            "sub %eax, %edi\n"                                                                     \
            "mov %edi, %eax\n"                                                                     \
            "out %eax, $" TEXT(BENCH_PORT_DONE) "\n"                                               \
            "bench_" #name "_end:\n"                                                               \
            ".code64\n"                                                                            \
            ".popsection\n");                                                                      \
    extern const u8 bench_##name[], bench_##name##_end[];

GUEST(cpuid, "", "mov $1, %eax\n xor %ecx, %ecx\n", "cpuid\n")
GUEST(cpuid_0, "", "xor %eax, %eax\n xor %ecx, %ecx\n", "cpuid\n")
GUEST(cpuid_7, "", "mov $7, %eax\n xor %ecx, %ecx\n", "cpuid\n")
GUEST(rdmsr, "", "mov $0x1a0, %ecx\n", "rdmsr\n") // IA32_MISC_ENABLE
GUEST(wrmsr, "mov $0x1a0, %ecx\n rdmsr\n mov %eax, %ebx\n",
      "mov $0x1a0, %ecx\n mov %ebx, %eax\n xor %edx, %edx\n", "wrmsr\n")
GUEST(cr0, "mov %cr0, %ebx\n", "xor $0x40000000, %ebx\n", "mov %ebx, %cr0\n") // CD
GUEST(cr4, "mov %cr4, %ebx\n", "xor $0x40, %ebx\n", "mov %ebx, %cr4\n")       // MCE
// CR4.OSXSAVE; then XCR0 = x87 and x87 + SSE by turns.
GUEST(xsetbv, "mov %cr4, %eax\n or $0x40000, %eax\n mov %eax, %cr4\n mov $1, %ebx\n",
      "xor $2, %ebx\n mov %ebx, %eax\n xor %edx, %edx\n xor %ecx, %ecx\n", "xsetbv\n")
GUEST(out, "", "", "out %al, $" TEXT(BENCH_PORT_OTHER) "\n")
GUEST(rdmsr_other, "", "mov $" TEXT(BENCH_MSR_OTHER) ", %ecx\n", "rdmsr\n")
GUEST(vmcall, "", "", "vmcall\n")
GUEST(hlt, "", "", "hlt\n")
GUEST(ept_violation, "", "", ".byte 0xa1\n .long " TEXT(BENCH_UNMAPPED) "\n") // mov moffs, %eax

#define ROW(text, name)                                                                            \
    {                                                                                              \
        text, bench_##name, bench_##name##_end                                                     \
    }

const struct bench_guest bench_guests[BENCH_EXITS] = {
    [BENCH_CPUID] = ROW("CPUID, leaf 1", cpuid),
    [BENCH_CPUID_0] = ROW("CPUID, leaf 0", cpuid_0),
    [BENCH_CPUID_7] = ROW("CPUID, leaf 7", cpuid_7),
    [BENCH_RDMSR] = ROW("RDMSR, known", rdmsr),
    [BENCH_WRMSR] = ROW("WRMSR, known", wrmsr),
    [BENCH_CR0] = ROW("MOV to CR0", cr0),
    [BENCH_CR4] = ROW("MOV to CR4", cr4),
    [BENCH_XSETBV] = ROW("XSETBV", xsetbv),
    [BENCH_OUT] = ROW("OUT", out),
    [BENCH_RDMSR_OTHER] = ROW("RDMSR, unknown", rdmsr_other),
    [BENCH_VMCALL] = ROW("VMCALL", vmcall),
    [BENCH_HLT] = ROW("HLT", hlt),
    [BENCH_EPT_VIOLATION] = ROW("EPT violation", ept_violation),
};
