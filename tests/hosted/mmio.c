// MMIO decoder: instructions assembled by the real assembler, which also says how long they are;
// random instructions compared with objdump, if there is one; and random bytes.
//
// usage: [SEED=n] mmio        output: TAP

#define _POSIX_C_SOURCE 200809L
#define XVCPU_MMIO_DECODER
#include <unistd.h>

#include "bare.h"

// -- Instructions: X(number, code size, text, accepted, write, bytes, gpr, shift, gpr bytes, sign,
//                    has immediate, immediate)

#define LOADS_AND_STORES(X)                                                                        \
    X(1, 64, "movb %al, (%rbx)", 1, 1, 1, 0, 0, 1, 0, 0, 0)                                        \
    X(2, 64, "movw %cx, (%rbx)", 1, 1, 2, 1, 0, 2, 0, 0, 0)                                        \
    X(3, 64, "movl %edx, (%rbx)", 1, 1, 4, 2, 0, 4, 0, 0, 0)                                       \
    X(4, 64, "movq %rbx, (%rbx)", 1, 1, 8, 3, 0, 8, 0, 0, 0)                                       \
    X(5, 64, "movb %ah, (%rbx)", 1, 1, 1, 0, 8, 1, 0, 0, 0)                                        \
    X(6, 64, "movb %bh, (%rbx)", 1, 1, 1, 3, 8, 1, 0, 0, 0)                                        \
    X(7, 64, "movb %spl, (%rbx)", 1, 1, 1, 4, 0, 1, 0, 0, 0)                                       \
    X(8, 64, "movb %dil, (%rbx)", 1, 1, 1, 7, 0, 1, 0, 0, 0)                                       \
    X(9, 64, "movb %r15b, (%rbx)", 1, 1, 1, 15, 0, 1, 0, 0, 0)                                     \
    X(10, 64, "movq %r8, (%r15)", 1, 1, 8, 8, 0, 8, 0, 0, 0)                                       \
    X(11, 64, "movl %r12d, 0x10(%r13)", 1, 1, 4, 12, 0, 4, 0, 0, 0)                                \
    X(12, 64, "movb (%rbx), %dh", 1, 0, 1, 2, 8, 1, 0, 0, 0)                                       \
    X(13, 64, "movb (%r9), %cl", 1, 0, 1, 1, 0, 1, 0, 0, 0)                                        \
    X(14, 64, "movw (%rax,%rcx,4), %bp", 1, 0, 2, 5, 0, 2, 0, 0, 0)                                \
    X(15, 64, "movl 0x12345678(%rax,%r11,8), %r10d", 1, 0, 4, 10, 0, 4, 0, 0, 0)                   \
    X(16, 64, "movq 0x7f(%rsp), %rsp", 1, 0, 8, 4, 0, 8, 0, 0, 0)                                  \
    X(17, 64, "movl 0x1234(%rip), %esi", 1, 0, 4, 6, 0, 4, 0, 0, 0)                                \
    X(18, 64, "movl 0x1000, %esi", 1, 0, 4, 6, 0, 4, 0, 0, 0)                                      \
    X(19, 64, "movl (,%rbp,2), %esi", 1, 0, 4, 6, 0, 4, 0, 0, 0)                                   \
    X(20, 64, "movl (%rbp), %esi", 1, 0, 4, 6, 0, 4, 0, 0, 0)                                      \
    X(21, 64, "movl (%r13,%rbp), %esi", 1, 0, 4, 6, 0, 4, 0, 0, 0)                                 \
    X(22, 64, "movl (%r12), %esi", 1, 0, 4, 6, 0, 4, 0, 0, 0)                                      \
    X(23, 64, "movl 0x1000(%esi), %esi", 1, 0, 4, 6, 0, 4, 0, 0, 0)                                \
    X(24, 64, "movl %gs:0x10(%rax), %r9d", 1, 0, 4, 9, 0, 4, 0, 0, 0)                              \
    X(25, 64, "movw %r9w, %fs:(%eax)", 1, 1, 2, 9, 0, 2, 0, 0, 0)                                  \
    X(30, 32, "movb %al, (%ebx)", 1, 1, 1, 0, 0, 1, 0, 0, 0)                                       \
    X(31, 32, "movw %si, 0x100(%ebx)", 1, 1, 2, 6, 0, 2, 0, 0, 0)                                  \
    X(32, 32, "movl %esp, 1(%esp)", 1, 1, 4, 4, 0, 4, 0, 0, 0)                                     \
    X(33, 32, "movl 0xfee00020, %edi", 1, 0, 4, 7, 0, 4, 0, 0, 0)                                  \
    X(34, 32, "movb %es:(%bp,%di), %ch", 1, 0, 1, 1, 8, 1, 0, 0, 0)                                \
    X(35, 32, "movl 0x1234(%bx), %ecx", 1, 0, 4, 1, 0, 4, 0, 0, 0)                                 \
    X(36, 32, "movl %ecx, (,%ecx,8)", 1, 1, 4, 1, 0, 4, 0, 0, 0)                                   \
    X(40, 16, "movb %al, (%bx)", 1, 1, 1, 0, 0, 1, 0, 0, 0)                                        \
    X(41, 16, "movw %ax, %es:(%di)", 1, 1, 2, 0, 0, 2, 0, 0, 0)                                    \
    X(42, 16, "movl %ecx, (%bx,%si)", 1, 1, 4, 1, 0, 4, 0, 0, 0)                                   \
    X(43, 16, "movw 0x1234, %cx", 1, 0, 2, 1, 0, 2, 0, 0, 0)                                       \
    X(44, 16, "movw -1(%bp), %cx", 1, 0, 2, 1, 0, 2, 0, 0, 0)                                      \
    X(45, 16, "movw (%bp), %cx", 1, 0, 2, 1, 0, 2, 0, 0, 0)                                        \
    X(46, 16, "movl 0x12345678(%eax,%ebx,2), %ebp", 1, 0, 4, 5, 0, 4, 0, 0, 0)                     \
    X(47, 16, "movw 0x1234(%bp,%si), %dx", 1, 0, 2, 2, 0, 2, 0, 0, 0)                              \
    X(48, 16, "movb (%si), %dh", 1, 0, 1, 2, 8, 1, 0, 0, 0)

#define ACCUMULATOR(X)                                                                             \
    X(50, 64, "movabs 0x1122334455667788, %al", 1, 0, 1, 0, 0, 1, 0, 0, 0)                         \
    X(51, 64, "movabs 0x1122334455667788, %ax", 1, 0, 2, 0, 0, 2, 0, 0, 0)                         \
    X(52, 64, "movabs 0x1122334455667788, %eax", 1, 0, 4, 0, 0, 4, 0, 0, 0)                        \
    X(53, 64, "movabs 0x1122334455667788, %rax", 1, 0, 8, 0, 0, 8, 0, 0, 0)                        \
    X(54, 64, "movabs %al, 0x1122334455667788", 1, 1, 1, 0, 0, 1, 0, 0, 0)                         \
    X(55, 64, ".byte 0x65, 0x48, 0xA3, 1, 2, 3, 4, 5, 6, 7, 8", 1, 1, 8, 0, 0, 8, 0, 0, 0)         \
    X(56, 64, ".byte 0x67, 0xA1, 1, 2, 3, 4", 1, 0, 4, 0, 0, 4, 0, 0, 0)                           \
    X(57, 32, "movl 0xfee000b0, %eax", 1, 0, 4, 0, 0, 4, 0, 0, 0)                                  \
    X(58, 32, "movw %ax, 0xfee000b0", 1, 1, 2, 0, 0, 2, 0, 0, 0)                                   \
    X(59, 32, "movb %es:0xb8000, %al", 1, 0, 1, 0, 0, 1, 0, 0, 0)                                  \
    X(60, 32, ".byte 0x67, 0xA1, 1, 2", 1, 0, 4, 0, 0, 4, 0, 0, 0)                                 \
    X(61, 16, "movw 0x1234, %ax", 1, 0, 2, 0, 0, 2, 0, 0, 0)                                       \
    X(62, 16, "movl %eax, 0x1234", 1, 1, 4, 0, 0, 4, 0, 0, 0)                                      \
    X(63, 16, ".byte 0x67, 0xA2, 0x78, 0x56, 0x34, 0x12", 1, 1, 1, 0, 0, 1, 0, 0, 0)

#define IMMEDIATES(X)                                                                              \
    X(70, 64, "movb $0x81, (%rax)", 1, 1, 1, 0, 0, 1, 0, 1, 0x81)                                  \
    X(71, 64, "movw $0x8001, 4(%r9)", 1, 1, 2, 0, 0, 2, 0, 1, 0x8001)                              \
    X(72, 64, "movl $0x80000001, 0x1000(%rax,%rax)", 1, 1, 4, 0, 0, 4, 0, 1, 0x80000001)           \
    X(73, 64, "movq $-2, (%rax)", 1, 1, 8, 0, 0, 8, 0, 1, 0xFFFFFFFFFFFFFFFE)                      \
    X(74, 64, "movq $0x7fffffff, 8(%rip)", 1, 1, 8, 0, 0, 8, 0, 1, 0x7FFFFFFF)                     \
    X(75, 32, "movl $0xdeadbeef, 0xfee00300", 1, 1, 4, 0, 0, 4, 0, 1, 0xDEADBEEF)                  \
    X(76, 32, "movw $0x1234, (%esp)", 1, 1, 2, 0, 0, 2, 0, 1, 0x1234)                              \
    X(77, 16, "movw $0x720, %es:(%di)", 1, 1, 2, 0, 0, 2, 0, 1, 0x720)                             \
    X(78, 16, "movl $0x12345678, 2(%bx)", 1, 1, 4, 0, 0, 4, 0, 1, 0x12345678)                      \
    X(79, 16, "movb $1, 0x1234", 1, 1, 1, 0, 0, 1, 0, 1, 1)

#define EXTENSIONS(X)                                                                              \
    X(80, 64, "movzbl (%rax), %ecx", 1, 0, 1, 1, 0, 4, 0, 0, 0)                                    \
    X(81, 64, "movzbw (%rax), %si", 1, 0, 1, 6, 0, 2, 0, 0, 0)                                     \
    X(82, 64, "movzbq (%rax), %r14", 1, 0, 1, 14, 0, 8, 0, 0, 0)                                   \
    X(83, 64, "movzwl 0x10(%rax), %esp", 1, 0, 2, 4, 0, 4, 0, 0, 0)                                \
    X(84, 64, "movzwq (%r8), %rdi", 1, 0, 2, 7, 0, 8, 0, 0, 0)                                     \
    X(85, 64, "movsbl (%rax), %ebp", 1, 0, 1, 5, 0, 4, 1, 0, 0)                                    \
    X(86, 64, "movsbw (%rax), %r8w", 1, 0, 1, 8, 0, 2, 1, 0, 0)                                    \
    X(87, 64, "movsbq (%rax), %rax", 1, 0, 1, 0, 0, 8, 1, 0, 0)                                    \
    X(88, 64, "movswl (%rax), %edx", 1, 0, 2, 2, 0, 4, 1, 0, 0)                                    \
    X(89, 64, "movswq (%rax), %r9", 1, 0, 2, 9, 0, 8, 1, 0, 0)                                     \
    X(90, 64, "movslq (%rax), %r11", 1, 0, 4, 11, 0, 8, 1, 0, 0)                                   \
    X(91, 64, ".byte 0x63, 0x08", 1, 0, 4, 1, 0, 4, 1, 0, 0)       /* movsxd ecx, [rax] */         \
    X(92, 64, ".byte 0x66, 0x63, 0x08", 1, 0, 2, 1, 0, 2, 1, 0, 0) /* movsxd cx, [rax] */          \
    X(93, 32, "movzbl 0xfec00000, %eax", 1, 0, 1, 0, 0, 4, 0, 0, 0)                                \
    X(94, 32, "movswl (%esi), %ecx", 1, 0, 2, 1, 0, 4, 1, 0, 0)                                    \
    X(95, 32, "movsbw (%esi), %bx", 1, 0, 1, 3, 0, 2, 1, 0, 0)                                     \
    X(96, 16, "movzbw (%si), %cx", 1, 0, 1, 1, 0, 2, 0, 0, 0)                                      \
    X(97, 16, "movzwl (%si), %ecx", 1, 0, 2, 1, 0, 4, 0, 0, 0)                                     \
    X(98, 16, "movsbl 0x40(%ebx), %edi", 1, 0, 1, 7, 0, 4, 1, 0, 0)

// The order of prefixes is free, repeats count once, REX only right before the opcode.
#define PREFIXES(X)                                                                                \
    X(110, 64, ".byte 0x66, 0x48, 0x89, 0x18", 1, 1, 8, 3, 0, 8, 0, 0, 0)                          \
    X(111, 64, ".byte 0x48, 0x66, 0x89, 0x18", 1, 1, 2, 3, 0, 2, 0, 0, 0)                          \
    X(112, 64, ".byte 0x66, 0x66, 0x67, 0x65, 0x89, 0x18", 1, 1, 2, 3, 0, 2, 0, 0, 0)              \
    X(113, 64, ".byte 0x4c, 0x40, 0x89, 0x18", 1, 1, 4, 3, 0, 4, 0, 0, 0)                          \
    X(114, 64, ".byte 0x40, 0x88, 0x20", 1, 1, 1, 4, 0, 1, 0, 0, 0) /* spl */                      \
    X(115, 64, ".byte 0x41, 0x2e, 0x88, 0x20", 1, 1, 1, 0, 8, 1, 0, 0, 0) /* ah: REX is dead */    \
    X(116, 64, ".byte 0x42, 0x8b, 0x04, 0x25, 0, 0, 0, 0", 1, 0, 4, 0, 0, 4, 0, 0, 0)              \
    X(117, 64, ".byte 0x41, 0x8b, 0x45, 0x00", 1, 0, 4, 0, 0, 4, 0, 0, 0)                          \
    X(118, 64, ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x89,0x18", \
      1, 1, 2, 3, 0, 2, 0, 0, 0) /* 15 bytes */                                                    \
    X(119, 64, ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,"      \
               "0x89,0x18", 0, 0, 0, 0, 0, 0, 0, 0, 0) /* 16 bytes */

#define REFUSED(X)                                                                                 \
    X(130, 64, "movl %eax, %ebx", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                       \
    X(131, 64, "movb $1, %bl", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                          \
    X(132, 64, ".byte 0xc7, 0xc0, 1, 0, 0, 0", 0, 0, 0, 0, 0, 0, 0, 0, 0)                          \
    X(133, 64, ".byte 0xc7, 0x08, 1, 0, 0, 0", 0, 0, 0, 0, 0, 0, 0, 0, 0) /* C7 /1 */              \
    X(134, 64, "movzbl %al, %ebx", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                      \
    X(135, 64, "addl %eax, (%rbx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                     \
    X(136, 64, "lock incl (%rbx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                      \
    X(137, 64, "xchgl %eax, (%rbx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                    \
    X(138, 64, "rep movsb", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                             \
    X(139, 64, "stosl", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                                 \
    X(140, 64, "movups %xmm0, (%rbx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                  \
    X(141, 64, "movbe %eax, (%rbx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                    \
    X(142, 64, "pushq (%rbx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                          \
    X(143, 64, "call *(%rbx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                          \
    X(144, 64, "movw %ds, (%rbx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                      \
    X(145, 64, "testl %eax, (%rbx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                    \
    X(146, 64, ".byte 0xf0, 0x89, 0x18", 0, 0, 0, 0, 0, 0, 0, 0, 0) /* LOCK MOV: #UD */            \
    X(147, 64, ".byte 0xf3, 0x0f, 0xb8, 0x18", 0, 0, 0, 0, 0, 0, 0, 0, 0) /* POPCNT */             \
    X(148, 32, "arpl %ax, (%ebx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                      \
    X(149, 32, "incl (%eax)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                           \
    X(150, 32, ".byte 0x48, 0x89, 0x18", 0, 0, 0, 0, 0, 0, 0, 0, 0) /* dec eax, not REX.W */       \
    X(151, 16, "cmpxchgl %eax, (%bx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)                                  \
    X(152, 64, "vmovd %xmm0, (%rbx)", 0, 0, 0, 0, 0, 0, 0, 0, 0)

#define INSTRUCTIONS(X)                                                                            \
    LOADS_AND_STORES(X) ACCUMULATOR(X) IMMEDIATES(X) EXTENSIONS(X) PREFIXES(X) REFUSED(X)

#define ASSEMBLE(number, size, text, accepted, write, bytes, gpr, shift, gpr_bytes, sign, has, imm)\
    __asm__(".pushsection .rodata\n.code" #size "\ntest_mmio_" #number ":\n" text                  \
            "\ntest_mmio_end_" #number ":\n.code64\n.popsection\n");                               \
    extern const uint8_t test_mmio_##number[], test_mmio_end_##number[];
INSTRUCTIONS(ASSEMBLE)

typedef struct instruction {
    const uint8_t *first, *end;
    const char *text;
    int size, accepted;
    xvcpu_exit_memory memory;
    uint64_t immediate;
} instruction;

#define ROW(number, size, text, accepted, write, bytes, gpr, shift, gpr_bytes, sign, has, imm)     \
    {test_mmio_##number, test_mmio_end_##number, text, size, accepted,                             \
     {0, 0, 0, !(write), write, 0, 0, 0, 0, 0, bytes, gpr, shift, gpr_bytes, sign, has}, imm},

static const instruction instructions[] = {INSTRUCTIONS(ROW)};

typedef struct decoded {
    int accepted;
    xvcpu_exit_memory memory;
    uint64_t immediate;
    uint32_t length;
} decoded;

// Decodes from a copy of exactly `count` bytes, so that a look at one more is noticed.
static decoded decode(const uint8_t *bytes, uint32_t count, xvcpu_cpu_mode mode, int is_32bit)
{
    decoded d;
    uint8_t *const copy = (uint8_t *)malloc(count ? count : 1);
    const xvcpu_exit_memory *const m = &d.memory;
    memset(&d, 0x55, sizeof d);
    d.memory.read = d.memory.write = d.memory.sign_extend = d.memory.immediate = 1;
    d.memory.gla_valid = d.memory.execute = d.memory.page_walk = d.memory.readable =
        d.memory.writable = d.memory.executable = 0;
    memcpy(copy, bytes, count);
    d.accepted = xvcpui_decode_mmio(count ? copy : copy + 1, count, mode, is_32bit != 0, &d.memory,
                                    &d.immediate, &d.length);
    free(copy);
    if (!d.accepted && (m->bytes != 0x55 || m->gpr != 0x55 || m->gpr_shift != 0x55 || !m->read ||
                        !m->write || d.length != 0x55555555))
        bail_out("a refused instruction left something behind");
    return d;
}

static int same(const decoded *d, const instruction *i, uint32_t length)
{
    const xvcpu_exit_memory *const a = &d->memory, *const b = &i->memory;
    return d->accepted == i->accepted &&
           (!d->accepted ||
            (a->read == b->read && a->write == b->write && a->bytes == b->bytes &&
             a->gpr == b->gpr && a->gpr_shift == b->gpr_shift && a->gpr_bytes == b->gpr_bytes &&
             a->sign_extend == b->sign_extend && a->immediate == b->immediate &&
             (!a->immediate || d->immediate == i->immediate) && d->length == length));
}

static void test_assembled(void)
{
    size_t i;
    for (i = 0; i < sizeof instructions / sizeof instructions[0]; i++) {
        const instruction *const n = &instructions[i];
        const uint32_t length = (uint32_t)(n->end - n->first);
        const xvcpu_cpu_mode mode = n->size == 64   ? XVCPU_MODE_64BIT
                                    : n->size == 32 ? XVCPU_MODE_PROTECTED
                                                    : XVCPU_MODE_REAL;
        uint8_t more[64];
        uint32_t less;
        decoded d = decode(n->first, length, mode, n->size == 32);
        int good = same(&d, n, length);
        // With other bytes behind it, and in the other modes with the same sizes.
        memset(more, 0x66, sizeof more);
        memcpy(more, n->first, length);
        d = decode(more, length < 15 ? 15 : length, mode, n->size != 16);
        if (n->size == 64)
            d = decode(more, length < 15 ? 15 : length, mode, n->size == 16);
        good &= same(&d, n, length);
        if (n->size == 32)
            d = decode(more, 15, XVCPU_MODE_COMPATIBILITY, 1);
        if (n->size == 16)
            d = decode(more, 15, XVCPU_MODE_VIRTUAL_8086, 0);
        good &= same(&d, n, length);
        // No part of an instruction is an instruction.
        for (less = 0; less < length; less++) {
            d = decode(n->first, less, mode, n->size == 32);
            good &= !d.accepted;
        }
        ok(good, "%d bits: %s%s", n->size, n->accepted ? "" : "refused: ", n->text);
        if (!good) {
            d = decode(n->first, length, mode, n->size == 32);
            diag("accepted %d, write %d, bytes %u, gpr %u, shift %u, gpr bytes %u, sign %d, "
                 "immediate %d %#llx, length %u, want %u", d.accepted, d.memory.write,
                 d.memory.bytes, d.memory.gpr, d.memory.gpr_shift, d.memory.gpr_bytes,
                 d.memory.sign_extend, d.memory.immediate, (unsigned long long)d.immediate,
                 d.length, length);
        }
    }
}

static void test_fuzz(void)
{
    enum { ROUNDS = 400000 };
    static const xvcpu_cpu_mode modes[] = {XVCPU_MODE_REAL, XVCPU_MODE_VIRTUAL_8086,
                                           XVCPU_MODE_PROTECTED, XVCPU_MODE_COMPATIBILITY,
                                           XVCPU_MODE_64BIT};
    static const uint8_t likely[] = {0x66, 0x67, 0x48, 0x44, 0x41, 0x2E, 0x65, 0x0F, 0x88, 0x89,
                                     0x8A, 0x8B, 0xA0, 0xA3, 0xC6, 0xC7, 0x63, 0xF0, 0xF3, 0xB6};
    uint32_t round, accepted = 0;
    int good = 1;
    for (round = 0; round < ROUNDS && good; round++) {
        uint8_t bytes[20];
        const uint32_t count = (uint32_t)bare_below(sizeof bytes + 1);
        uint32_t i;
        decoded d;
        for (i = 0; i < sizeof bytes; i++)
            bytes[i] = bare_below(3) && i < 8 ? likely[bare_below(sizeof likely)]
                                              : (uint8_t)bare_random();
        d = decode(bytes, count, modes[bare_below(5)], (int)bare_below(2));
        if (!d.accepted)
            continue;
        accepted++;
        good = d.length >= 2 && d.length <= count && d.length <= 15 &&
               d.memory.read != d.memory.write && d.memory.gpr < 16 &&
               d.memory.bytes <= d.memory.gpr_bytes &&
               (d.memory.bytes == 1 || d.memory.bytes == 2 || d.memory.bytes == 4 ||
                d.memory.bytes == 8) && (d.memory.gpr_shift == 0 || d.memory.gpr_shift == 8);
    }
    ok(good && accepted > ROUNDS / 20, "%u random byte strings, %u of them accepted", round,
       accepted);
}

// -- objdump as a second opinion

// The register at the end or the beginning of objdump's operands: number, bytes, shift.
static int parse_register(const char *name, int *number, int *bytes, int *shift)
{
    static const char *const legacy[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    static const char *const low[] = {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"};
    static const char *const high[] = {"ah", "ch", "dh", "bh"};
    char text[8];
    size_t n = 0;
    int i;
    if (*name++ != '%')
        return 0;
    while (n < 7 && ((name[n] >= 'a' && name[n] <= 'z') || (name[n] >= '0' && name[n] <= '9'))) {
        text[n] = name[n];
        n++;
    }
    text[n] = 0;
    *shift = 0;
    for (i = 0; i < 8; i++) {
        *number = i;
        *bytes = strcmp(text, legacy[i]) == 0                        ? 2
                 : text[0] == 'e' && strcmp(text + 1, legacy[i]) == 0 ? 4
                 : text[0] == 'r' && strcmp(text + 1, legacy[i]) == 0 ? 8
                 : strcmp(text, low[i]) == 0                         ? 1
                                                                     : 0;
        if (*bytes)
            return 1;
        if (i < 4 && strcmp(text, high[i]) == 0) {
            *bytes = 1;
            *shift = 8;
            return 1;
        }
    }
    if (text[0] == 'r' && text[1] >= '0' && text[1] <= '9') {
        char *suffix;
        *number = (int)strtol(text + 1, &suffix, 10);
        *bytes = *suffix == 0 ? 8 : *suffix == 'd' ? 4 : *suffix == 'w' ? 2 : 1;
        return 1;
    }
    return 0;
}

// Memory-operand size and sign extension by objdump's mnemonic; 0: as the register.
static int parse_mnemonic(const char *text, int *bytes, int *sign)
{
    static const struct {
        const char *name;
        int bytes, sign;
    } table[] = {{"movzb", 1, 0},  {"movzw", 2, 0},  {"movsb", 1, 1}, {"movsw", 2, 1},
                 {"movsl", 4, 1},  {"movsxd", 0, 1}, {"movabs", 0, 0}, {"movb ", 1, 0},
                 {"movw ", 2, 0},  {"movl ", 4, 0},  {"movq ", 8, 0}, {"mov ", 0, 0}};
    size_t i;
    for (i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strncmp(text, table[i].name, strlen(table[i].name)) == 0) {
            *bytes = table[i].bytes;
            *sign = table[i].sign;
            return 1;
        }
    }
    return 0;
}

// Compares with a line of objdump: its length in bytes and what is behind the last tab.
static int agrees(const decoded *d, uint32_t length, const char *text)
{
    const char *mnemonic = strstr(text, "mov");
    const char *comma, *operand;
    int bytes, sign, number = 0, gpr_bytes = 0, shift = 0;
    if (!mnemonic || length != d->length || !parse_mnemonic(mnemonic, &bytes, &sign))
        return 0;
    operand = mnemonic + strcspn(mnemonic, " ");
    operand += strspn(operand, " ");
    // The last comma outside parentheses divides source and destination.
    {
        int depth = 0;
        const char *p;
        comma = NULL;
        for (p = operand; *p; p++) {
            depth += (*p == '(') - (*p == ')');
            if (*p == ',' && depth == 0)
                comma = p;
        }
    }
    if (!comma || sign != d->memory.sign_extend)
        return 0;
    if (*operand == '$') {
        const uint64_t immediate = strtoull(operand + 1, NULL, 16);
        return d->memory.write && d->memory.immediate && d->memory.bytes == bytes &&
               d->immediate == (bytes == 8 ? immediate : immediate & ((1ULL << (8 * bytes)) - 1));
    }
    if (d->memory.write) {
        const char *const parenthesis = strchr(operand, '(');
        if (parenthesis && parenthesis < comma)
            return 0;
        if (!parse_register(operand, &number, &gpr_bytes, &shift))
            return 0;
    } else if (!parse_register(comma + 1, &number, &gpr_bytes, &shift)) {
        return 0;
    }
    return !d->memory.immediate && d->memory.gpr == number && d->memory.gpr_bytes == gpr_bytes &&
           d->memory.gpr_shift == shift && d->memory.bytes == (bytes ? bytes : gpr_bytes);
}

// Well-formed instructions, 16 bytes each (NOPs behind them), in a file for objdump.
static void test_objdump(int size)
{
    enum { COUNT = 3000, SLOT = 32 };
    static decoded results[COUNT];
    static uint8_t image[COUNT * SLOT];
    static const uint8_t opcodes[] = {0x88, 0x89, 0x8A, 0x8B, 0xA0, 0xA1, 0xA2, 0xA3, 0xC6, 0xC7,
                                      0x63, 0xB6, 0xB7, 0xBE, 0xBF};
    static const uint8_t segments[] = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65};
    char path[] = "/tmp/mmio-XXXXXX", command[200], line[400];
    int file, i, compared = 0, accepted = 0, good = 1;
    FILE *pipe;
    memset(image, 0x90, sizeof image);
    for (i = 0; i < COUNT; i++) {
        uint8_t *p = image + i * SLOT;
        const uint8_t opcode = opcodes[bare_below(size == 64 ? 15 : 10)];
        uint32_t k;
        if (bare_below(4) == 0)
            *p++ = segments[bare_below(6)];
        if (bare_below(3) == 0)
            *p++ = 0x66;
        if (bare_below(3) == 0)
            *p++ = 0x67;
        if (size == 64 && bare_below(2))
            *p++ = (uint8_t)(0x40 + bare_below(16));
        if (opcode >= 0xB6 && opcode <= 0xBF)
            *p++ = 0x0F;
        *p++ = opcode;
        *p = (uint8_t)bare_random();
        if (opcode == 0xC6 || opcode == 0xC7)
            *p &= 0xC7;
        if (*p >= 0xC0)
            *p &= 0xBF; // memory
        for (k = 1; k < 10; k++)
            p[k] = (uint8_t)bare_random();
        results[i] = decode(image + i * SLOT, 15,
                            size == 64   ? XVCPU_MODE_64BIT
                            : size == 32 ? XVCPU_MODE_PROTECTED
                                         : XVCPU_MODE_REAL,
                            size == 32);
        accepted += results[i].accepted;
        // Nothing behind the instruction may look like the continuation of another one.
        memset(image + i * SLOT + (results[i].accepted ? results[i].length : 0), 0x90,
               SLOT - (results[i].accepted ? results[i].length : 0));
    }
    file = mkstemp(path);
    if (file < 0 || write(file, image, sizeof image) != (ssize_t)sizeof image)
        bail_out("cannot write %s", path);
    (void)close(file);
    (void)snprintf(command, sizeof command,
                   "LC_ALL=C objdump -D -w --insn-width=15 -b binary -m i386%s %s 2>/dev/null",
                   size == 64 ? ":x86-64" : size == 32 ? "" : " -M i8086", path);
    pipe = popen(command, "r");
    if (!pipe)
        bail_out("popen failed");
    while (fgets(line, sizeof line, pipe)) {
        char *hex, *text;
        const unsigned long address = strtoul(line, &hex, 16);
        uint32_t length = 0;
        if (*hex != ':' || address % SLOT != 0 || address / SLOT >= COUNT)
            continue;
        text = strrchr(line, '\t');
        text[strcspn(text, "\n")] = 0;
        for (hex += 2; hex + 2 < text && *hex != ' ' && *hex != '\t'; hex += 3)
            length++;
        if (!results[address / SLOT].accepted)
            continue;
        compared++;
        if (!agrees(&results[address / SLOT], length, text)) {
            const decoded *const d = &results[address / SLOT];
            diag("%d bits:%s: length %u, want %u; write %d, bytes %u, gpr %u, shift %u, gpr bytes "
                 "%u, sign %d, immediate %d %#llx", size, text, d->length, length, d->memory.write,
                 d->memory.bytes, d->memory.gpr, d->memory.gpr_shift, d->memory.gpr_bytes,
                 d->memory.sign_extend, d->memory.immediate, (unsigned long long)d->immediate);
            good = 0;
        }
    }
    (void)pclose(pipe);
    (void)remove(path);
    ok(accepted == COUNT, "%d bits: all of %d well-formed instructions are accepted", size, COUNT);
    if (compared == 0)
        ok(1, "%d bits: comparison with objdump # SKIP no objdump", size);
    else
        ok(good && compared == COUNT, "%d bits: objdump agrees about %d instructions", size,
           compared);
}

int main(void)
{
    plan(0);
    bare_seed();
    test_assembled();
    test_fuzz();
    test_objdump(64);
    test_objdump(32);
    test_objdump(16);
    return done_testing();
}
