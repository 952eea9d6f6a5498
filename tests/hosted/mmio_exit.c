// Memory-mapped devices through a whole run: an EPT violation becomes an exit of kind MMIO, the
// caller answers it, the register and RIP are as after the instruction; and what must not become
// one: page walks, fetches, event delivery, accesses over the end of a page.
//
// output: TAP

#define XVCPU_IMPLEMENTATION
#define XVCPU_MMIO_DECODER
#include "../sim/sim.h"
#include "machine.h"
#include "tap.h"

#define RAM_BYTES 0x10000U
#define CODE 0x1000U
#define DEVICE 0xFEC00010ULL
#define READ XVCPU_EPT_READ
#define WRITE XVCPU_EPT_WRITE
#define FETCH XVCPU_EPT_EXECUTE

typedef struct access_case {
    const char *name;
    enum { REAL, PROTECTED, LONG } mode;
    xvcpu_u8 code[12];
    xvcpu_u32 length; // of the instruction; 0: not to be decoded
    xvcpu_u32 access;
    xvcpu_u32 bytes;
    xvcpu_u64 before; // of all registers
    xvcpu_u64 value;  // write: what the exit must show; read: the device's answer
    xvcpu_u32 gpr;    // which register must hold, afterwards,
    xvcpu_u64 after;  // this
    // What spoils it.
    xvcpu_u64 gpa;
    xvcpu_u32 vectoring;
    enum { NOTHING, NO_LINEAR, WALK, UNMAPPED_CODE } flaw;
} access_case;

#define OLD 0x8877665544332211ULL

static const access_case cases[] = {
    {"mov %ecx, (%rbx)", LONG, {0x89, 0x0B}, 2, WRITE, 4, OLD, 0x44332211, 1, OLD, 0, 0, NOTHING},
    {"mov %ch, (%rbx)", LONG, {0x88, 0x2B}, 2, WRITE, 1, OLD, 0x22, 1, OLD, 0, 0, NOTHING},
    {"mov %r9, (%rbx)", LONG, {0x4C, 0x89, 0x0B}, 3, WRITE, 8, OLD, OLD, 9, OLD, 0, 0, NOTHING},
    {"mov %esp, (%rbx)", LONG, {0x89, 0x23}, 2, WRITE, 4, OLD, 0x8000, 1, OLD, 0, 0, NOTHING},
    {"movl $-2, (%rbx)", LONG, {0xC7, 0x03, 0xFE, 0xFF, 0xFF, 0xFF}, 6, WRITE, 4, OLD, 0xFFFFFFFE,
     1, OLD, 0, 0, NOTHING},
    {"mov (%rbx), %edx: zero-extended", LONG, {0x8B, 0x13}, 2, READ, 4, OLD, 0xFFFFFFFFCAFEBABE, 2,
     0xCAFEBABE, 0, 0, NOTHING},
    {"mov (%rbx), %dx: merged", LONG, {0x66, 0x8B, 0x13}, 3, READ, 2, OLD, 0xABCD, 2,
     0x887766554433ABCD, 0, 0, NOTHING},
    {"mov (%rbx), %dh: merged", LONG, {0x8A, 0x33}, 2, READ, 1, OLD, 0xEE, 2, 0x887766554433EE11, 0,
     0, NOTHING},
    {"movzb (%rbx), %r10d", LONG, {0x44, 0x0F, 0xB6, 0x13}, 4, READ, 1, OLD, 0x1FF, 10, 0xFF, 0, 0,
     NOTHING},
    {"movsb (%rbx), %rdx", LONG, {0x48, 0x0F, 0xBE, 0x13}, 4, READ, 1, OLD, 0x80, 2,
     0xFFFFFFFFFFFFFF80, 0, 0, NOTHING},
    {"movsw (%rbx), %edx", LONG, {0x0F, 0xBF, 0x13}, 3, READ, 2, OLD, 0x8000, 2, 0xFFFF8000, 0, 0,
     NOTHING},
    {"mov 0xfec00010, %eax", PROTECTED, {0xA1, 0x10, 0x00, 0xC0, 0xFE}, 5, READ, 4, OLD, 0x12345678,
     0, 0x12345678, 0, 0, NOTHING},
    {"mov %ax, %es:(%di)", REAL, {0x26, 0x89, 0x05}, 3, WRITE, 2, OLD, 0x2211, 0, OLD, 0xB8000, 0,
     NOTHING},

    {"add %ecx, (%rbx)", LONG, {0x01, 0x0B}, 0, READ | WRITE, 0, OLD, 0, 1, OLD, 0, 0, NOTHING},
    {"a store where the processor saw a load", LONG, {0x89, 0x0B}, 0, READ, 0, OLD, 0, 1, OLD, 0, 0,
     NOTHING},
    {"a load where the processor saw a store", LONG, {0x8B, 0x0B}, 0, WRITE, 0, OLD, 0, 1, OLD, 0,
     0, NOTHING},
    {"an instruction fetch", LONG, {0x8B, 0x0B}, 0, FETCH, 0, OLD, 0, 1, OLD, 0, 0, NOTHING},
    {"a page walk", LONG, {0x8B, 0x0B}, 0, READ, 0, OLD, 0, 1, OLD, 0, 0, WALK},
    {"no linear address", LONG, {0x8B, 0x0B}, 0, READ, 0, OLD, 0, 1, OLD, 0, 0, NO_LINEAR},
    {"delivery of an interrupt", LONG, {0x8B, 0x0B}, 0, READ, 0, OLD, 0, 1, OLD, 0, 0x80000030,
     NOTHING},
    {"over the end of a page", LONG, {0x8B, 0x0B}, 0, READ, 0, OLD, 0, 1, OLD, 0xFEC00FFE, 0,
     NOTHING},
    {"code that the guest's tables do not map", LONG, {0x8B, 0x0B}, 0, READ, 0, OLD, 0, 1, OLD, 0,
     0, UNMAPPED_CODE},
};

static void guest(sim_guest *g)
{
    const access_case *const c = (const access_case *)g->context;
    if (g->entry > 1) {
        sim_exit_hlt(g);
        return;
    }
    sim_exit_ept(g, c->gpa ? c->gpa : DEVICE, c->access, c->gpa ? c->gpa : DEVICE,
                 c->flaw != NO_LINEAR);
    if (c->flaw == WALK)
        g->exit.qualification &= ~XVCPU_QUAL_EPT_TRANSLATED;
    if (c->vectoring)
        sim_exit_set_vectoring(g, c->vectoring, 0, 0);
}

static void one_case(void *argument)
{
    const access_case *const c = (const access_case *)argument;
    xvcpu_u64 entry, i;
    machine_start(NULL, RAM_BYTES);
    memcpy(ram + CODE, c->code, sizeof c->code);
    // Identity for the first 2 MiB, in 2 MiB pages.
    entry = 0x4000 | XVCPU_PTE_P | XVCPU_PTE_W;
    memcpy(ram + 0x3000, &entry, 8);
    entry = 0x5000 | XVCPU_PTE_P | XVCPU_PTE_W;
    memcpy(ram + 0x4000, &entry, 8);
    entry = c->flaw == UNMAPPED_CODE ? 0 : XVCPU_PTE_P | XVCPU_PTE_W | XVCPU_PTE_PS;
    memcpy(ram + 0x5000, &entry, 8);
    if (c->mode == REAL)
        must(xvcpu_preset_real(&vcpu, CODE / 16, 0, &error));
    else if (c->mode == PROTECTED)
        must(xvcpu_preset_protected(&vcpu, CODE, 0x8000, &error));
    else
        must(xvcpu_preset_long(&vcpu, 0x3000, CODE, 0x8000, &error));
    for (i = 0; i < 16; i++)
        vcpu.gpr[i] = i == XVCPU_RSP ? 0 : c->before;
    sim_set_guest(guest, (void *)(uintptr_t)c);
    must(xvcpu_run(&vcpu, &error));
    sim_check_equal(vcpu.exit.reason, XVCPU_EXIT_REASON_EPT_VIOLATION);
    if (c->length == 0) {
        sim_check(vcpu.exit.kind == XVCPU_EXIT_PLAIN);
        sim_check_equal(vcpu.exit.u.memory.bytes, 0);
        sim_check_equal(vcpu.exit.instruction_length, 0);
    } else {
        const xvcpu_exit_memory *const m = &vcpu.exit.u.memory;
        const xvcpu_u64 rip = vcpu.exit.rip;
        xvcpu_u64 now = 0;
        sim_check(vcpu.exit.kind == XVCPU_EXIT_MMIO);
        sim_check_equal(m->gpa, c->gpa ? c->gpa : DEVICE);
        sim_check(m->gla_valid && !m->readable && !m->writable);
        sim_check_equal(m->bytes, c->bytes);
        sim_check(m->write == (c->access == WRITE) && m->read == (c->access == READ));
        if (m->write)
            sim_check_equal(vcpu.exit.value, c->value);
        xvcpu_answer_done(&vcpu, c->value);
        must(xvcpu_run(&vcpu, &error));
        sim_check_equal(vcpu.exit.reason, XVCPU_EXIT_REASON_HLT);
        sim_check_equal(vcpu.exit.rip, rip + c->length);
        must(xvcpu_get(&vcpu, (xvcpu_reg)(XVCPU_REG_RAX + c->gpr), &now, &error));
        sim_check_equal(now, c->after);
    }
    stop();
}

int main(void)
{
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ok(sim_run("skylake", one_case, (void *)(uintptr_t)&cases[i]), "%s%s",
           cases[i].length ? "" : "stays an EPT violation: ", cases[i].name);
    return done_testing();
}
