// traps.c - the interrupt descriptor table, kernel_try, and what is said about an exception
// nobody expected.
#include "internal.h"

#define VECTORS 256u
#define EXCEPTIONS 32u
#define STUB_SIZE 16u
#define VECTOR_BREAKPOINT 3
#define VECTOR_OVERFLOW 4
#define VECTOR_DOUBLE_FAULT 8
#define VECTOR_MACHINE_CHECK 18
#define IST_NMI 1
#define IST_DOUBLE_FAULT 2
#define IST_MACHINE_CHECK 3
#define GATE_INTERRUPT 0x8e // present, DPL 0
#define GATE_DPL_3 0x60
#define RFLAGS_ALWAYS 0x2
#define REPORT_STACK_WORDS 8

struct gate {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_middle;
    u32 offset_high, reserved;
};

struct table_pointer {
    u16 limit;
    u64 base;
} __attribute__((packed));

extern const u8 trap_stubs[VECTORS][STUB_SIZE];
extern const u8 try_land[];
unsigned try_call(void (*fn)(void *), void *arg, struct try_state *state);
void traps_dispatch(struct kernel_frame *frame);

static struct gate idt[VECTORS];
static void (*handlers[VECTORS])(struct kernel_frame *);

static const char *const names[EXCEPTIONS] = {
    "#DE divide error", "#DB debug", "NMI", "#BP breakpoint", "#OF overflow", "#BR bound",
    "#UD invalid opcode", "#NM device not available", "#DF double fault", "coprocessor overrun",
    "#TS invalid TSS", "#NP segment not present", "#SS stack", "#GP general protection",
    "#PF page fault", "vector 15", "#MF x87", "#AC alignment", "#MC machine check", "#XM SIMD",
    "#VE virtualization", "#CP control protection", "vector 22", "vector 23", "vector 24",
    "vector 25", "vector 26", "vector 27", "vector 28", "vector 29", "vector 30", "vector 31"};

static void gate_set(unsigned vector, u8 ist, u8 type)
{
    u64 stub = (u64)(uintptr_t)trap_stubs[vector];
    struct gate *gate = &idt[vector];
    gate->offset_low = (u16)stub;
    gate->selector = KERNEL_CODE_SELECTOR;
    gate->ist = ist;
    gate->type = type;
    gate->offset_middle = (u16)(stub >> 16);
    gate->offset_high = (u32)(stub >> 32);
}

void traps_start(void)
{
    for (unsigned vector = 0; vector < VECTORS; vector++) {
        gate_set(vector, 0, GATE_INTERRUPT);
    }
    gate_set(KERNEL_VECTOR_NMI, IST_NMI, GATE_INTERRUPT);
    gate_set(VECTOR_DOUBLE_FAULT, IST_DOUBLE_FAULT, GATE_INTERRUPT);
    gate_set(VECTOR_MACHINE_CHECK, IST_MACHINE_CHECK, GATE_INTERRUPT);
    gate_set(VECTOR_BREAKPOINT, 0, GATE_INTERRUPT | GATE_DPL_3);
    gate_set(VECTOR_OVERFLOW, 0, GATE_INTERRUPT | GATE_DPL_3);
}

void traps_load(void)
{
    struct table_pointer pointer = {sizeof(idt) - 1, (u64)(uintptr_t)idt};
    __asm__ volatile("lidt %0" : : "m"(pointer) : "memory");
}

void kernel_set_handler(unsigned vector, void (*fn)(struct kernel_frame *))
{
    if (vector >= VECTORS) {
        kernel_panic("kernel_set_handler: there is no vector %u", vector);
    }
    __atomic_store_n(&handlers[vector], fn, __ATOMIC_RELEASE);
}

// -- kernel_try

unsigned kernel_try(void (*fn)(void *), void *arg, struct kernel_fault *out)
{
    struct cpu *cpu = cpu_this();
    struct try_state state = {.outer = cpu->try_state};
    unsigned result;
    cpu->try_state = &state;
    result = try_call(fn, arg, &state);
    cpu->try_state = state.outer;
    if (result != 0 && out != NULL) {
        *out = state.fault;
    }
    return result;
}

static bool end_try(struct kernel_frame *frame, u64 cr2)
{
    struct try_state *state = cpu_is_ready() ? cpu_this()->try_state : NULL;
    if (state == NULL) {
        return false;
    }
    state->fault.vector = (unsigned)frame->vector;
    state->fault.error = frame->error;
    state->fault.rip = frame->rip;
    state->fault.cr2 = cr2;
    frame->rax = frame->vector + 1;
    frame->rip = (u64)(uintptr_t)try_land;
    frame->cs = KERNEL_CODE_SELECTOR;
    frame->rflags = RFLAGS_ALWAYS; // the right ones are on the stack
    frame->rsp = state->rsp;
    frame->ss = KERNEL_DATA_SELECTOR;
    return true;
}

// -- Report

static void read_word(void *arg)
{
    u64 *word = arg;
    *word = *(volatile u64 *)(uintptr_t)*word;
}

static void report(const struct kernel_frame *f, u64 cr2)
{
    kprintf("\nKERNEL: %s, vector %lu, error 0x%lx, on processor %u\n",
            f->vector < EXCEPTIONS ? names[f->vector] : "unexpected interrupt", f->vector,
            f->error, cpu_id());
    kprintf("  rip %016lx  cs %04lx  rflags %08lx\n", f->rip, f->cs, f->rflags);
    kprintf("  rsp %016lx  ss %04lx  cr2 %016lx\n", f->rsp, f->ss, cr2);
    kprintf("  rax %016lx rbx %016lx rcx %016lx\n", f->rax, f->rbx, f->rcx);
    kprintf("  rdx %016lx rsi %016lx rdi %016lx\n", f->rdx, f->rsi, f->rdi);
    kprintf("  rbp %016lx r8  %016lx r9  %016lx\n", f->rbp, f->r8, f->r9);
    kprintf("  r10 %016lx r11 %016lx r12 %016lx\n", f->r10, f->r11, f->r12);
    kprintf("  r13 %016lx r14 %016lx r15 %016lx\n", f->r13, f->r14, f->r15);
    kprintf("  cr0 %lx cr3 %lx cr4 %lx\n", read_cr0(), read_cr3(), read_cr4());
    if (!cpu_is_ready()) {
        return; // kernel_try, which guards the reads below, would not work
    }
    kprintf("  stack");
    for (u64 i = 0; i < REPORT_STACK_WORDS; i++) {
        u64 word = f->rsp + i * sizeof(word);
        if (kernel_try(read_word, &word, NULL) != 0) {
            break;
        }
        kprintf(" %lx", word);
    }
    kprintf("\n");
}

void traps_dispatch(struct kernel_frame *frame)
{
    u64 cr2 = read_cr2(); // before anything here can fault
    unsigned vector = (unsigned)frame->vector;
    void (*handler)(struct kernel_frame *) = __atomic_load_n(&handlers[vector], __ATOMIC_ACQUIRE);

    if (vector < EXCEPTIONS && vector != KERNEL_VECTOR_NMI && end_try(frame, cr2)) {
        return;
    }
    if (handler != NULL) {
        if (vector == KERNEL_VECTOR_NMI && cpu_is_ready()) {
            // An exception must not leave an NMI handler sideways: NMIs would stay blocked.
            struct try_state *interrupted = cpu_this()->try_state;
            cpu_this()->try_state = NULL;
            handler(frame);
            cpu_this()->try_state = interrupted;
        } else {
            handler(frame);
        }
        return;
    }
    if (vector == KERNEL_VECTOR_SPURIOUS) {
        return;
    }
    if (vector == KERNEL_VECTOR_WAKE) {
        apic_eoi();
        return;
    }
    report(frame, cr2);
    kernel_panic("%s", vector < EXCEPTIONS ? names[vector] : "unexpected interrupt");
}
