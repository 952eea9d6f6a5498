// guest_kit.h - a guest with an IDT of its own, for the guest_*.c tests.
//
// The handlers write down what they were called with and go back, to guest_resume() if that was
// set and the event is a fault. So a test loads a few instructions, lets the guest run them, and
// looks at what the guest's own handlers saw.
#ifndef XVCPU_METAL_GUEST_KIT_H
#define XVCPU_METAL_GUEST_KIT_H

#include "metal.h"

// -- Where things are in guest memory, above what metal.h uses

#define KIT_IDT 0x10000 // the 64-bit IDT fills this page
#define KIT_GDT 0x11000 // and the TSS
#define KIT_TSS 0x11800
#define KIT_LOG 0x12000    // two pages
#define KIT_COUNT 0x12000  // records written
#define KIT_RESUME 0x12008 // where a fault goes on, 0: where it came from
#define KIT_RECORDS 0x12040
#define KIT_HANDLERS 0x14000 // two pages
#define KIT_IDT32 0x16000
#define KIT_HANDLERS32 0x17000 // two pages
#define KIT_FREE 0x19000       // five pages for the test
#define KIT_RSP0 0x1f000       // stack of handlers that come from CPL 3

#define KIT_CODE64 0x08
#define KIT_DATA 0x10
#define KIT_CODE32 0x18
#define KIT_CODE16 0x20
#define KIT_DATA16 0x28
#define KIT_USER_DATA 0x33
#define KIT_USER_CODE64 0x3b
#define KIT_USER_CODE32 0x43
#define KIT_TSS_SELECTOR 0x48

#define KIT_TEXT(x) METAL_STRING(x)
#define KIT_VMCALL ".byte 0x0f, 0x01, 0xc1\n"

// Vectors 8, 10 to 14, 17 and 21 push an error code.
#define KIT_ERROR_CODE_VECTORS "0x227d00"

// clang-format off
extern const u8 kit_handlers64[], kit_handlers64_end[], kit_handlers32[], kit_handlers32_end[];
__asm__(".pushsection .rodata\n"
        ".balign 16\n"
        ".code64\n"
        "kit_handlers64:\n"
        ".set kit_vector, 0\n"
        ".rept 256\n"
        ".balign 16\n"
        ".set kit_plain, 1\n"
        ".if kit_vector < 32\n"
        ".set kit_plain, !((" KIT_ERROR_CODE_VECTORS " >> kit_vector) & 1)\n"
        ".endif\n"
        ".if kit_plain\n"
        "pushq $0\n"
        ".endif\n"
        "pushq $kit_vector\n"
        "jmp 1f\n"
        ".set kit_vector, kit_vector + 1\n"
        ".endr\n"
        "1: push %rax\n"
        "push %rbx\n"
        "mov " KIT_TEXT(KIT_COUNT) ", %eax\n"
        "shl $6, %eax\n"
        "mov 16(%rsp), %rbx\n" // vector
        "mov %rbx, " KIT_TEXT(KIT_RECORDS) "+0(%rax)\n"
        "mov 24(%rsp), %rbx\n" // error code
        "mov %rbx, " KIT_TEXT(KIT_RECORDS) "+8(%rax)\n"
        "mov 32(%rsp), %rbx\n" // RIP
        "mov %rbx, " KIT_TEXT(KIT_RECORDS) "+16(%rax)\n"
        "mov 40(%rsp), %rbx\n" // CS
        "mov %rbx, " KIT_TEXT(KIT_RECORDS) "+24(%rax)\n"
        "mov 48(%rsp), %rbx\n" // RFLAGS
        "mov %rbx, " KIT_TEXT(KIT_RECORDS) "+32(%rax)\n"
        "mov 56(%rsp), %rbx\n" // RSP
        "mov %rbx, " KIT_TEXT(KIT_RECORDS) "+40(%rax)\n"
        "mov %cr2, %rbx\n"
        "mov %rbx, " KIT_TEXT(KIT_RECORDS) "+48(%rax)\n"
        "mov %dr6, %rbx\n"
        "mov %rbx, " KIT_TEXT(KIT_RECORDS) "+56(%rax)\n"
        "incl " KIT_TEXT(KIT_COUNT) "\n"
        "cmpl $32, 16(%rsp)\n"
        "jae 2f\n"
        "cmpl $2, 16(%rsp)\n"
        "je 2f\n"
        "mov " KIT_TEXT(KIT_RESUME) ", %rbx\n"
        "test %rbx, %rbx\n"
        "jz 2f\n"
        "mov %rbx, 32(%rsp)\n"
        "2: pop %rbx\n"
        "pop %rax\n"
        "add $16, %rsp\n"
        "iretq\n"
        "kit_handlers64_end:\n"
        ".balign 16\n"
        ".code32\n"
        "kit_handlers32:\n"
        ".set kit_vector, 0\n"
        ".rept 256\n"
        ".balign 16\n"
        ".set kit_plain, 1\n"
        ".if kit_vector < 32\n"
        ".set kit_plain, !((" KIT_ERROR_CODE_VECTORS " >> kit_vector) & 1)\n"
        ".endif\n"
        ".if kit_plain\n"
        "pushl $0\n"
        ".endif\n"
        "pushl $kit_vector\n"
        "jmp 1f\n"
        ".set kit_vector, kit_vector + 1\n"
        ".endr\n"
        "1: push %eax\n"
        "push %ebx\n"
        "mov " KIT_TEXT(KIT_COUNT) ", %eax\n"
        "shl $6, %eax\n"
        "mov 8(%esp), %ebx\n"
        "mov %ebx, " KIT_TEXT(KIT_RECORDS) "+0(%eax)\n"
        "mov 12(%esp), %ebx\n"
        "mov %ebx, " KIT_TEXT(KIT_RECORDS) "+8(%eax)\n"
        "mov 16(%esp), %ebx\n"
        "mov %ebx, " KIT_TEXT(KIT_RECORDS) "+16(%eax)\n"
        "mov 20(%esp), %ebx\n"
        "mov %ebx, " KIT_TEXT(KIT_RECORDS) "+24(%eax)\n"
        "mov 24(%esp), %ebx\n"
        "mov %ebx, " KIT_TEXT(KIT_RECORDS) "+32(%eax)\n"
        "mov %cr2, %ebx\n"
        "mov %ebx, " KIT_TEXT(KIT_RECORDS) "+48(%eax)\n"
        "mov %dr6, %ebx\n"
        "mov %ebx, " KIT_TEXT(KIT_RECORDS) "+56(%eax)\n"
        "incl " KIT_TEXT(KIT_COUNT) "\n"
        "cmpl $32, 8(%esp)\n"
        "jae 2f\n"
        "cmpl $2, 8(%esp)\n"
        "je 2f\n"
        "mov " KIT_TEXT(KIT_RESUME) ", %ebx\n"
        "test %ebx, %ebx\n"
        "jz 2f\n"
        "mov %ebx, 16(%esp)\n"
        "2: pop %ebx\n"
        "pop %eax\n"
        "add $8, %esp\n"
        "iret\n"
        "kit_handlers32_end:\n"
        ".code64\n"
        ".popsection");
// clang-format on

// -- The one guest

static xvcpu_cpu *guest_cpu;
static struct metal_vm guest_vm;
static xvcpu guest;

struct kit_record {
    u64 vector, error, rip, cs, rflags, rsp, cr2, dr6;
};

METAL_UNUSED static u64 *guest_word(u64 gpa)
{
    return metal_word(&guest_vm, gpa);
}

METAL_UNUSED static u64 guest_count(void)
{
    return *guest_word(KIT_COUNT);
}

METAL_UNUSED static const struct kit_record *guest_record(u64 i)
{
    return (const struct kit_record *)(const void *)(guest_vm.memory + KIT_RECORDS) + i;
}

METAL_UNUSED static void guest_forget(void)
{
    memset(guest_vm.memory + KIT_LOG, 0, 2 * KERNEL_PAGE_SIZE);
}

METAL_UNUSED static void guest_resume(u64 rip)
{
    *guest_word(KIT_RESUME) = rip;
}

// A gate of the 64-bit IDT; type_attributes as 8Eh (interrupt gate), 0: not present.
METAL_UNUSED static void guest_gate(u32 vector, u64 handler, u32 type_attributes)
{
    u64 *gate = guest_word(KIT_IDT + 16 * vector);
    gate[0] = (handler & 0xffff) | KIT_CODE64 << 16 | (u64)type_attributes << 40 |
              (handler >> 16 & 0xffff) << 48;
    gate[1] = handler >> 32;
}

METAL_UNUSED static void guest_gate32(u32 vector, u32 handler, u32 type_attributes)
{
    *guest_word(KIT_IDT32 + 8 * vector) = (handler & 0xffff) | KIT_CODE32 << 16 |
                                          (u64)type_attributes << 40 | (u64)(handler >> 16) << 48;
}

METAL_UNUSED static void guest_tables(void)
{
    static const u64 gdt[] = {0,
                              0x00af9b000000ffff,
                              0x00cf93000000ffff,
                              0x00cf9b000000ffff,
                              0x00009b000000ffff,
                              0x000093000000ffff,
                              0x00cff3000000ffff,
                              0x00affb000000ffff,
                              0x00cffb000000ffff,
                              0x00008b0000000067 | (u64)KIT_TSS << 16,
                              0};
    const u64 rsp0 = KIT_RSP0;
    u32 i;
    memset(guest_vm.memory + KIT_IDT, 0, guest_vm.bytes - KIT_IDT);
    memcpy(guest_vm.memory + KIT_GDT, gdt, sizeof gdt);
    memcpy(guest_vm.memory + KIT_TSS + 4, &rsp0, sizeof rsp0);
    METAL_LOAD(&guest_vm, KIT_HANDLERS, kit_handlers64);
    METAL_LOAD(&guest_vm, KIT_HANDLERS32, kit_handlers32);
    for (i = 0; i < 256; i++) {
        guest_gate(i, KIT_HANDLERS + 16 * i, i == 3 || i == 4 ? 0xee : 0x8e);
        guest_gate32(i, KIT_HANDLERS32 + 16 * i, 0x8e);
    }
}

// A fresh virtual CPU on the guest's memory; `desc` may be null.
METAL_UNUSED static void guest_open(const xvcpu_desc *desc)
{
    if (!guest_cpu)
        guest_cpu = metal_enable();
    metal_vm_create(&guest_vm, guest_cpu, METAL_VM_BYTES);
    metal_vcpu_create(&guest, &guest_vm, guest_cpu, desc);
}

METAL_UNUSED static void guest_close(void)
{
    metal_vcpu_destroy(&guest);
    metal_vm_destroy(&guest_vm);
}

// Ready to run `code` at METAL_CODE, with the tables of its mode loaded and nothing logged.
METAL_UNUSED static void guest_start(enum metal_mode mode, const u8 *code, const u8 *end)
{
    guest_tables();
    metal_start(&guest, &guest_vm, mode, code, end);
    if (mode == METAL_REAL)
        return;
    metal_set(&guest, XVCPU_REG_GDTR_BASE, KIT_GDT);
    metal_set(&guest, XVCPU_REG_GDTR_LIMIT, 0x5f);
    metal_set(&guest, XVCPU_REG_TR_BASE, KIT_TSS);
    metal_set(&guest, XVCPU_REG_TR_LIMIT, 0x67);
    metal_set(&guest, XVCPU_REG_TR, KIT_TSS_SELECTOR);
    metal_set(&guest, XVCPU_REG_IDTR_BASE, mode == METAL_LONG ? KIT_IDT : KIT_IDT32);
    metal_set(&guest, XVCPU_REG_IDTR_LIMIT, mode == METAL_LONG ? 0xfff : 0x7ff);
    if (mode == METAL_PROTECTED)
        metal_set(&guest, XVCPU_REG_CS, KIT_CODE32);
}
#define GUEST_START(mode, name) guest_start((mode), name, name##_end)

// Flat segments for code of this privilege.
METAL_UNUSED static void guest_set_cpl(u32 cpl, bool long_mode)
{
    const u64 code = long_mode ? XVCPU_AR_L : XVCPU_AR_DB;
    const u64 dpl = (u64)cpl << 5;
    const u64 flat = 0x93 | XVCPU_AR_G | XVCPU_AR_DB;
    metal_set(&guest, XVCPU_REG_CS,
              cpl == 0 ? (long_mode ? KIT_CODE64 : KIT_CODE32)
                       : (long_mode ? KIT_USER_CODE64 : KIT_USER_CODE32));
    metal_set(&guest, XVCPU_REG_CS_RIGHTS, 0x9b | XVCPU_AR_G | code | dpl);
    metal_set(&guest, XVCPU_REG_SS, cpl == 0 ? KIT_DATA : KIT_USER_DATA);
    metal_set(&guest, XVCPU_REG_SS_RIGHTS, flat | dpl);
    metal_set(&guest, XVCPU_REG_DS, cpl == 0 ? KIT_DATA : KIT_USER_DATA);
    metal_set(&guest, XVCPU_REG_DS_RIGHTS, flat | dpl);
    metal_set(&guest, XVCPU_REG_ES, cpl == 0 ? KIT_DATA : KIT_USER_DATA);
    metal_set(&guest, XVCPU_REG_ES_RIGHTS, flat | dpl);
}

// -- One instruction at a time

#define KIT_NO_FAULT 256u
#define KIT_STOPPED 257u // an exit that the library returned; see guest.exit

METAL_UNUSED static void guest_fill_registers(u64 value)
{
    u32 reg;
    for (reg = XVCPU_REG_RAX; reg <= XVCPU_REG_R15; reg++)
        if (reg != XVCPU_REG_RSP)
            metal_set(&guest, (xvcpu_reg)reg, value);
}

// Lets the guest, set up before, run a few instructions at METAL_CODE: KIT_NO_FAULT, the vector of
// the exception that ended them, or KIT_STOPPED.
METAL_UNUSED static u32 guest_do(const u8 *code, const u8 *end)
{
    const u64 after = METAL_CODE + (u64)(end - code);
    guest.exit.answer = XVCPU_ANSWER_NONE;
    guest_forget();
    metal_load(&guest_vm, METAL_CODE, code, end);
    memcpy(guest_vm.memory + after, "\x0f\x01\xc1", 3);
    guest_resume(after);
    metal_set(&guest, XVCPU_REG_RIP, METAL_CODE);
    metal_budget(&guest, METAL_BUDGET);
    if (metal_run(&guest) != XVCPU_EXIT_REASON_VMCALL || guest.exit.rip != after)
        return KIT_STOPPED;
    return guest_count() == 0 ? KIT_NO_FAULT : (u32)guest_record(0)->vector;
}
#define GUEST_DO(name) guest_do(name, name##_end)

// The exception was `vector` with this error code, raised by the first instruction.
METAL_UNUSED static bool guest_faulted(u32 got, u32 vector, u64 error)
{
    const struct kit_record *record = guest_record(0);
    const bool pass =
        got == vector && guest_count() == 1 && record->error == error && record->rip == METAL_CODE;
    if (!pass) {
        if (got == KIT_STOPPED)
            metal_explain_exit(&guest);
        else
            diag("vector %u, %lu events, error 0x%lx, RIP 0x%lx", got, guest_count(), record->error,
                 record->rip);
    }
    return pass;
}

METAL_UNUSED static void guest_explain(void)
{
    u64 i;
    metal_explain_exit(&guest);
    for (i = 0; i < guest_count() && i < 8; i++)
        diag("  vector %lu, error 0x%lx, RIP 0x%lx, RFLAGS 0x%lx, CR2 0x%lx, DR6 0x%lx",
             guest_record(i)->vector, guest_record(i)->error, guest_record(i)->rip,
             guest_record(i)->rflags, guest_record(i)->cr2, guest_record(i)->dr6);
}

#endif
