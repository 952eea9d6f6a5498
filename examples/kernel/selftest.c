// selftest.c - a program that checks the kernel it runs on. TAP on the console.
// The command line may say what to expect (cpus=N memory=MB disk=SECTORS) or ask for one of the
// bad ends (mode=...); selftest.sh looks at those from outside.
#include "kernel.h"

#define CR0_NE 0x20u
#define CR0_WP 0x10000u
#define CR4_OSXSAVE (1u << 18)
#define RFLAGS_IF 0x200u
#define RFLAGS_DF 0x400u
#define MSR_EFER 0xc0000080u
#define MSR_GS_BASE 0xc0000101u
#define MSR_NOWHERE 0x4fffffffu
#define EFER_LONG_MODE 0x500u
#define VECTOR_TEST 0x40
#define NON_CANONICAL 0x8000000000000000ul
#define DISK_PATTERN 0x6b6e726c00000000ull // sector number in the low half; see selftest.sh

static unsigned test_number;
static unsigned failures;

#define CHECK(condition, ...) check((condition), #condition, __LINE__, __VA_ARGS__)

__attribute__((format(printf, 4, 5)))
static void check(bool good, const char *condition, int line, const char *name, ...)
{
    va_list args;
    kprintf("%sok %u - ", good ? "" : "not ", ++test_number);
    va_start(args, name);
    kvprintf(name, args);
    va_end(args);
    kputc('\n');
    if (!good) {
        failures++;
        kprintf("# line %d: %s\n", line, condition);
    }
}

static void skip(const char *name, const char *why)
{
    kprintf("ok %u - %s # SKIP %s\n", ++test_number, name, why);
}

// The number after "name=" in the command line, or -1.
static long option(const char *name)
{
    const char *at = strstr(kernel_cmdline, name);
    long value = 0;
    if (at == NULL || at[strlen(name)] != '=') {
        return -1;
    }
    for (at += strlen(name) + 1; *at >= '0' && *at <= '9'; at++) {
        value = value * 10 + (*at - '0');
    }
    return value;
}

static bool option_is(const char *text)
{
    return strstr(kernel_cmdline, text) != NULL;
}

// -- State after boot

static void test_boot(void)
{
    CHECK((read_cr0() & CR0_WP) != 0, "CR0.WP is on");
    CHECK((rdmsr(MSR_EFER) & EFER_LONG_MODE) == EFER_LONG_MODE, "long mode is on and active");
    CHECK((read_rflags() & RFLAGS_IF) == 0, "interrupts are off");
    CHECK((u64)(uintptr_t)test_boot >= KERNEL_IMAGE_MAP, "the kernel runs at its high address");
    if (kernel_from_rom) {
        CHECK((read_cr0() & CR0_NE) == 0, "CR0.NE is as the reset left it");
    } else {
        skip("CR0.NE is as the reset left it", "a boot loader ran");
    }
    if ((cpuid(1, 0).ecx & 1u << 26) != 0) {
        u64 wanted = (cpuid(1, 0).ecx & 1u << 28) != 0 ? 7 : 3;
        CHECK((read_cr4() & CR4_OSXSAVE) != 0 && xgetbv(0) == wanted, "XCR0 is %lx", wanted);
    } else {
        skip("XCR0", "no XSAVE");
    }
}

static void test_library(void)
{
    u8 a[64], b[64];
    memset(a, 0x5a, sizeof(a));
    for (unsigned i = 0; i < 40; i++) {
        a[i] = (u8)i;
    }
    memcpy(b, a, sizeof(b));
    CHECK(memcmp(a, b, sizeof(a)) == 0 && b[39] == 39 && b[63] == 0x5a, "memset, memcpy");
    memmove(a + 3, a, 37);
    CHECK(a[3] == 0 && a[39] == 36 && a[40] == 0x5a && a[2] == 2, "memmove upwards");
    memmove(b, b + 5, 35);
    CHECK(b[0] == 5 && b[34] == 39 && b[35] == 35, "memmove downwards");
    CHECK(memcmp("abc", "abd", 3) < 0 && memcmp("abd", "abc", 3) > 0 && strlen("12345") == 5 &&
              strcmp("a", "a") == 0 && strncmp("ab", "ac", 1) == 0 && strcmp("a", "ab") < 0,
          "memcmp, strlen, strcmp, strncmp");
    CHECK(strstr("one two", "two") != NULL && strstr("one two", "three") == NULL, "strstr");
    // selftest.sh knows what this must look like.
    kprintf("# FORMAT [%d][%5d][%-5d][%05d][%u][%x][%08X][%lx][%llx][%c][%s][%5s][%-5s][%.2s][%%]"
            "[%p][%zu][%ld][%*d]\n",
            -42, 42, 42, -42, 4000000000u, 0xbeefu, 0xbeefu, 0x123456789abcdef0ul,
            0xfedcba9876543210ull, 'c', "str", "r", "l", "cut", (void *)0x1000ul, (size_t)7,
            -9000000000l, 4, 1);
}

// -- Memory

static u64 image_word;

static void test_memory(void)
{
    long megabytes = option("memory");
    size_t before = pages_free();
    u64 *a = page_alloc();
    u64 *b = page_alloc();
    u64 *run;
    u64 *other;
    u64 sum = 0;

    CHECK(a != NULL && b != NULL && a != b, "two pages are two pages");
    CHECK((u64)(uintptr_t)a >= KERNEL_PHYS_MAP && (u64)(uintptr_t)a % KERNEL_PAGE_SIZE == 0 &&
              phys_of(a) < 0x100000000ul,
          "a page is aligned and in the physical map");
    CHECK(pages_free() == before - 2, "two fewer are free");
    memset(a, 0xff, KERNEL_PAGE_SIZE);
    page_free(a);
    a = page_alloc();
    for (unsigned i = 0; i < KERNEL_PAGE_SIZE / 8; i++) {
        sum |= a[i] | b[i];
    }
    CHECK(sum == 0, "pages come zeroed");
    run = page_alloc_contiguous(33, 16);
    other = page_alloc_contiguous(1, 16);
    CHECK(run != NULL && phys_of(run) % (16 * KERNEL_PAGE_SIZE) == 0 && other != NULL &&
              phys_of(other) % (16 * KERNEL_PAGE_SIZE) == 0,
          "33 pages aligned to 16, one more after them");
    page_free(other);
    for (unsigned i = 0; i < 33 * KERNEL_PAGE_SIZE / 8; i++) {
        sum |= run[i];
        run[i] = i;
    }
    CHECK(sum == 0 && a[0] == 0 && b[0] == 0, "they are zeroed and nobody else's");
    page_free_contiguous(run, 33);
    CHECK(run[0] != 0 && run[0] == run[100], "a freed page is poisoned");
    page_free(a);
    page_free(b);
    CHECK(pages_free() == before, "all came back");
    CHECK(page_alloc_contiguous(before + 1, 1) == NULL && page_alloc_contiguous(1, 3) == NULL &&
              page_alloc_contiguous(0, 1) == NULL && pages_free() == before,
          "impossible requests get nothing");

    if (megabytes > 0) {
        size_t pages = (size_t)megabytes * 256;
        CHECK(pages_total() < pages && pages_total() > pages - 2 * 256,
              "%zu of %zu pages of RAM found", pages_total(), pages);
    } else {
        skip("size of RAM", "not told");
    }
    if (pages_total() < 16384) {
        u64 *list = NULL;
        size_t count = 0;
        u64 highest = 0;
        for (u64 *page = page_alloc(); page != NULL; page = page_alloc()) {
            page[0] = (u64)(uintptr_t)list;
            page[1] = count++;
            list = page;
            highest = phys_of(page) > highest ? phys_of(page) : highest;
        }
        CHECK(count == before && pages_free() == 0, "every page can be had");
        CHECK(megabytes <= 0 || highest / 0x100000 >= (u64)megabytes - 1, "up to the last MiB");
        while (list != NULL && list[1] == count - 1) {
            u64 *next = (u64 *)(uintptr_t)list[0];
            count--;
            page_free(list);
            list = next;
        }
        CHECK(count == 0 && pages_free() == before, "no page was handed out twice");
    } else {
        skip("every page can be had", "much memory");
        skip("up to the last MiB", "much memory");
        skip("no page was handed out twice", "much memory");
    }

    image_word = 0x1122334455667788ull;
    CHECK(phys_of(&image_word) >= 0x100000 && phys_of(&image_word) < 0x1000000 &&
              *(volatile u64 *)virt_of(phys_of(&image_word)) == image_word,
          "phys_of an address in the image, virt_of back");
    CHECK((u64)(uintptr_t)virt_of(0x12345678) == KERNEL_PHYS_MAP + 0x12345678 &&
              phys_of(virt_of(0xfee00000)) == 0xfee00000,
          "virt_of, phys_of");
}

// -- Faults

extern const char fault_ud2[], fault_after_int3[], fault_double[];

static void do_nothing(void *arg)
{
    *(int *)arg += 1;
}

static void do_ud2(void *arg)
{
    (void)arg;
    __asm__ volatile(".globl fault_ud2\nfault_ud2: ud2");
}

static void do_int3(void *arg)
{
    (void)arg;
    __asm__ volatile("int3\n.globl fault_after_int3\nfault_after_int3: nop");
}

static void do_read(void *arg)
{
    (void)*(volatile u64 *)arg;
}

static void do_write(void *arg)
{
    *(volatile u64 *)arg = 1;
}

static void do_rdmsr(void *arg)
{
    (void)rdmsr(*(u32 *)arg);
}

static void do_bad_selector(void *arg)
{
    __asm__ volatile("movw %w0, %%es" : : "r"(arg));
}

static void do_divide(void *arg)
{
    __asm__ volatile("xorl %%edx, %%edx; xorl %%ecx, %%ecx; divl %%ecx"
                     :
                     : "a"(arg)
                     : "ecx", "edx");
}

static void do_spoil(void *arg)
{
    (void)arg;
    __asm__ volatile("movq $-1, %%rbx; movq $-1, %%r12; movq $-1, %%r13; movq $-1, %%r14;"
                     "movq $-1, %%r15; std; sti; ud2"
                     :
                     :
                     : "rbx", "r12", "r13", "r14", "r15");
}

static void do_clear_flags(void *arg)
{
    (void)arg;
    __asm__ volatile("cli; ud2");
}

static void do_lose_stack(void *arg)
{
    __asm__ volatile("movq %0, %%rsp; .globl fault_double\nfault_double: pushq %%rax" : : "r"(arg));
}

static void do_lose_gs(void *arg)
{
    wrmsr(MSR_GS_BASE, (u64)(uintptr_t)arg);
    __asm__ volatile("ud2");
}

static unsigned inner_result;

static void do_nested(void *arg)
{
    inner_result = kernel_try(do_ud2, NULL, NULL);
    do_read(arg);
}

// The compiler would not notice: what it keeps in these registers it may reload from the stack.
// RSP is 16-byte aligned before the call, and what is below it belongs to nobody (no red zone).
static u64 registers_lost_by_try(void)
{
    u64 lost;
    __asm__ volatile("pushq %%rbp\n\t"
                     "movq %%rsp, %%rbp\n\t"
                     "andq $-16, %%rsp\n\t"
                     "pushq %%rbp\n\t"
                     "subq $8, %%rsp\n\t"
                     "movl $0x11, %%ebx\n\t"
                     "movl $0x12, %%r12d\n\t"
                     "movl $0x13, %%r13d\n\t"
                     "movl $0x14, %%r14d\n\t"
                     "movl $0x15, %%r15d\n\t"
                     "xorl %%esi, %%esi\n\t"
                     "xorl %%edx, %%edx\n\t"
                     "call kernel_try\n\t"
                     "xorl $7, %%eax\n\t" // #UD + 1
                     "xorq $0x11, %%rbx\n\t"
                     "xorq $0x12, %%r12\n\t"
                     "xorq $0x13, %%r13\n\t"
                     "xorq $0x14, %%r14\n\t"
                     "xorq $0x15, %%r15\n\t"
                     "orq %%rbx, %%rax\n\t"
                     "orq %%r12, %%rax\n\t"
                     "orq %%r13, %%rax\n\t"
                     "orq %%r14, %%rax\n\t"
                     "orq %%r15, %%rax\n\t"
                     "xorq 8(%%rsp), %%rbp\n\t"
                     "orq %%rbp, %%rax\n\t"
                     "movq 8(%%rsp), %%rsp\n\t"
                     "popq %%rbp"
                     : "=a"(lost)
                     : "D"(do_spoil)
                     : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "memory", "cc");
    return lost;
}

static u64 rip_of(const char *label)
{
    return (u64)(uintptr_t)label;
}

static void test_faults(void)
{
    struct kernel_fault fault;
    u32 msr = MSR_NOWHERE;
    int calls = 0;
    unsigned result;
    u64 rflags, rflags_on;

    CHECK(kernel_try(do_nothing, &calls, &fault) == 0 && calls == 1, "no fault is no fault");
    result = kernel_try(do_ud2, NULL, &fault);
    CHECK(result == 6 + 1 && fault.vector == 6 && fault.rip == rip_of(fault_ud2), "#UD");
    result = kernel_try(do_int3, NULL, &fault);
    CHECK(result == 3 + 1 && fault.rip == rip_of(fault_after_int3), "#BP, a trap");
    CHECK(kernel_try(do_divide, NULL, &fault) == 0 + 1, "#DE, vector 0");
    result = kernel_try(do_rdmsr, &msr, &fault);
    CHECK(result == 13 + 1 && fault.error == 0, "#GP by an MSR that is not there");
    result = kernel_try(do_read, (void *)NON_CANONICAL, &fault);
    CHECK(result == 13 + 1, "#GP by a non-canonical address");
    result = kernel_try(do_bad_selector, (void *)0x1230ul, &fault);
    CHECK(result == 13 + 1 && fault.error == 0x1230, "#GP with a selector for error code");
    result = kernel_try(do_read, NULL, &fault);
    CHECK(result == 14 + 1 && fault.cr2 == 0 && fault.error == 0, "#PF at null");
    result = kernel_try(do_write, (void *)0x2008ul, &fault);
    CHECK(result == 14 + 1 && fault.cr2 == 0x2008 && fault.error == 2, "#PF by a write");
    result = kernel_try(do_read, (void *)(uintptr_t)phys_of(&image_word), &fault);
    CHECK(result == 14 + 1 && fault.cr2 == phys_of(&image_word),
          "a physical address is not a virtual one");
    result = kernel_try(do_read, (void *)(KERNEL_PHYS_MAP + 0x100000000ul), &fault);
    CHECK(result == 14 + 1, "#PF after the end of the physical map");
    CHECK(kernel_try(do_read, virt_of(0xffe00000), NULL) == 0, "the last of it is mapped");

    CHECK(registers_lost_by_try() == 0, "registers are restored");
    (void)kernel_try(do_spoil, NULL, NULL);
    rflags = read_rflags();
    sti();
    (void)kernel_try(do_spoil, NULL, NULL);
    rflags_on = read_rflags();
    cli();
    CHECK((rflags & (RFLAGS_IF | RFLAGS_DF)) == 0 && (rflags_on & RFLAGS_IF) != 0,
          "and so are the flags");
    sti();
    result = kernel_try(do_clear_flags, NULL, NULL);
    rflags = read_rflags();
    cli();
    CHECK(result == 7 && (rflags & RFLAGS_IF) != 0, "also those that were set");
    inner_result = 0;
    result = kernel_try(do_nested, (void *)0x3000ul, &fault);
    CHECK(inner_result == 7 && result == 15 && fault.cr2 == 0x3000, "one in another");
    result = kernel_try(do_lose_stack, (void *)0x4000ul, &fault);
    CHECK(result == 8 + 1 && fault.rip == rip_of(fault_double), "#DF has a stack of its own");
    result = kernel_try(do_lose_gs, NULL, NULL);
    CHECK(result == 7 && cpu_id() == 0, "a fault finds its processor without GS");
}

// -- Interrupts

static volatile unsigned hits[KERNEL_CPUS_MAX];
static volatile u64 hit_frame[KERNEL_CPUS_MAX];
static volatile u64 hit_rsp;

static void on_interrupt(struct kernel_frame *frame)
{
    hits[cpu_id()]++;
    hit_frame[cpu_id()] = (u64)(uintptr_t)frame;
    if (frame->vector != KERNEL_VECTOR_NMI) {
        apic_eoi();
    }
}

static void on_int(struct kernel_frame *frame)
{
    hit_rsp = frame->rsp;
    frame->rax = frame->rax + frame->rbx + frame->r15 + frame->vector;
}

static void reset_hits(void)
{
    for (unsigned i = 0; i < KERNEL_CPUS_MAX; i++) {
        hits[i] = 0;
        hit_frame[i] = 0;
    }
}

static bool wait_hits(unsigned cpu, unsigned count)
{
    for (unsigned i = 0; i < 100 && hits[cpu] < count; i++) {
        delay_us(50);
    }
    return hits[cpu] >= count;
}

static u64 ist_top(unsigned number)
{
    struct __attribute__((packed)) {
        u16 limit;
        u64 base;
    } gdt;
    u16 tr;
    u64 base;
    u64 top;
    const u64 *entry;
    __asm__ volatile("sgdt %0" : "=m"(gdt));
    __asm__ volatile("str %0" : "=r"(tr));
    entry = (const u64 *)(uintptr_t)(gdt.base + tr);
    base = (entry[0] >> 16 & 0xffffff) | (entry[0] >> 56) << 24 | entry[1] << 32;
    memcpy(&top, (const void *)(uintptr_t)(base + 36 + (number - 1) * 8ul), sizeof(top));
    return top;
}

static void test_interrupts(void)
{
    u64 rax = 1000;
    u64 rsp;
    u32 left;
    unsigned seen;
    u64 tsc;

    kernel_set_handler(VECTOR_TEST, on_int);
    __asm__ volatile("movq $200, %%rbx; movq $30, %%r15; movq %%rsp, %1; int $0x40"
                     : "+a"(rax), "=&r"(rsp)
                     :
                     : "rbx", "r15", "memory");
    CHECK(rax == 1000 + 200 + 30 + VECTOR_TEST && hit_rsp == rsp,
          "a handler sees and changes the frame");

    kernel_set_handler(VECTOR_TEST, on_interrupt);
    reset_hits();
    apic_send_ipi(0, VECTOR_TEST);
    delay_us(10);
    seen = hits[0];
    sti();
    CHECK(wait_hits(0, 1) && seen == 0, "an interrupt to oneself comes when it is let in");
    cli();

    kernel_set_handler(KERNEL_VECTOR_NMI, on_interrupt);
    reset_hits();
    apic_send_nmi(0);
    CHECK(wait_hits(0, 1), "an NMI comes with interrupts off");
    CHECK(hit_frame[0] + sizeof(struct kernel_frame) == ist_top(1), "on its own stack");

    reset_hits();
    apic_timer_oneshot(VECTOR_TEST, 5000);
    left = apic_timer_left();
    CHECK(left > 0 && left <= 5000, "the APIC timer counts down");
    sti();
    CHECK(wait_hits(0, 1), "and fires");
    delay_us(500);
    CHECK(hits[0] == 1, "once");
    reset_hits();
    apic_timer_periodic(VECTOR_TEST, 20000);
    for (unsigned i = 0; i < 1000 && hits[0] < 5; i++) {
        sti_hlt();
    }
    CHECK(hits[0] == 5, "or again and again, and wakes a HLT");
    apic_timer_stop();
    seen = hits[0];
    delay_us(1000);
    CHECK(hits[0] == seen, "until it is stopped");
    tsc = rdtsc();
    delay_us(1000);
    CHECK(rdtsc() - tsc > 1000, "nothing else interrupts in a millisecond");
    cli();
}

// -- Processors

struct job {
    unsigned id;
    u64 rsp, rflags, cr0, cr3, cr4, gs, ist, efer;
    u16 tr;
    unsigned fault;
    unsigned nmi_hits;
    bool on_nmi_stack;
};

static struct kernel_lock counter_lock;
static volatile unsigned counter;
static volatile unsigned meeting;

static void job_state(void *arg)
{
    struct job *job = arg;
    job->id = cpu_id();
    job->rsp = (u64)(uintptr_t)__builtin_frame_address(0);
    job->rflags = read_rflags();
    job->cr0 = read_cr0();
    job->cr3 = read_cr3();
    job->cr4 = read_cr4();
    job->gs = rdmsr(MSR_GS_BASE);
    job->efer = rdmsr(MSR_EFER);
    job->ist = ist_top(1);
    __asm__ volatile("str %0" : "=r"(job->tr));
    job->fault = kernel_try(do_ud2, NULL, NULL);
    apic_send_nmi(job->id);
    (void)wait_hits(job->id, 1);
    job->nmi_hits = hits[job->id];
    job->on_nmi_stack = hit_frame[job->id] + sizeof(struct kernel_frame) == job->ist;
}

static void job_count(void *arg)
{
    enum { BATCH = 10 };
    void *pages[BATCH];
    unsigned ours = 0;
    (void)arg;
    for (unsigned i = 0; i < 500; i++) {
        unsigned value;
        // Each at a pace of its own: processors in step could miss each other every time.
        for (unsigned k = i * (2 * cpu_id() + 1) % 13; k != 0; k--) {
            cpu_pause();
        }
        lock_take(&counter_lock);
        value = counter;
        for (unsigned k = 0; k < 20; k++) {
            cpu_pause(); // the emulator changes processors every few instructions
        }
        counter = value + 1;
        lock_release(&counter_lock);
    }
    for (unsigned i = 0; i < 500; i++) {
        for (unsigned k = i * (2 * cpu_id() + 1) % 13; k != 0; k--) {
            cpu_pause();
        }
        pages[ours++] = page_alloc();
        if (ours == BATCH) {
            while (ours != 0) {
                page_free(pages[--ours]);
            }
        }
    }
}

// Returns only when all are here at once.
static void job_meet(void *arg)
{
    unsigned all = *(unsigned *)arg;
    __atomic_fetch_add(&meeting, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&meeting, __ATOMIC_ACQUIRE) < all) {
        cpu_pause();
    }
}

static void job_print(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 20; i++) {
        kprintf("# PRINT processor %u line %u of twenty\n", cpu_id(), i);
    }
}

static void test_processors(void)
{
    static struct job jobs[KERNEL_CPUS_MAX];
    long wanted = option("cpus");
    unsigned count = cpu_count();
    size_t before = pages_free();
    unsigned good = 0;

    if (wanted > 0) {
        CHECK(count == (unsigned)wanted, "%u processors of %ld", count, wanted);
    } else {
        skip("number of processors", "not told");
    }
    CHECK(cpu_id() == 0, "this is number 0");
    reset_hits();
    job_state(&jobs[0]);
    for (unsigned i = 1; i < count; i++) {
        cpu_run_on(i, job_state, &jobs[i]);
    }
    for (unsigned i = 1; i < count; i++) {
        cpu_wait(i);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct job *job = &jobs[i];
        CHECK(job->id == i && (job->rflags & RFLAGS_IF) == 0 && job->fault == 7,
              "processor %u works, interrupts off, faults are caught", i);
        CHECK(job->cr0 == jobs[0].cr0 && job->cr3 == jobs[0].cr3 && job->cr4 == jobs[0].cr4 &&
                  job->efer == jobs[0].efer && job->tr == KERNEL_TSS_SELECTOR,
              "processor %u has the same control registers", i);
        CHECK(job->nmi_hits == 1 && job->on_nmi_stack, "processor %u has an NMI stack", i);
        for (unsigned k = 0; k < i; k++) {
            const struct job *other = &jobs[k];
            if (job->gs != other->gs && job->ist != other->ist &&
                job->rsp / 0x8000 != other->rsp / 0x8000 && cpu_apic_id(i) != cpu_apic_id(k)) {
                good++;
            }
        }
    }
    CHECK(good == count * (count - 1) / 2, "each has its own stacks, GS base and APIC ID");

    counter = 0;
    for (unsigned i = 1; i < count; i++) {
        cpu_run_on(i, job_count, NULL);
    }
    job_count(NULL);
    for (unsigned i = 1; i < count; i++) {
        cpu_wait(i);
    }
    CHECK(counter == 500 * count, "a lock holds");
    CHECK(pages_free() == before, "the allocator is locked");

    meeting = 0;
    for (unsigned i = 1; i < count; i++) {
        cpu_run_on(i, job_meet, &count);
    }
    job_meet(&count);
    CHECK(meeting == count, "all run at the same time");
    for (unsigned i = 1; i < count; i++) {
        cpu_wait(i);
    }

    reset_hits();
    good = 0;
    for (unsigned i = 1; i < count; i++) {
        apic_send_ipi(i, VECTOR_TEST);
        good += wait_hits(i, 1) && hits[0] == 0;
    }
    CHECK(good == count - 1, "an idle processor takes interrupts");

    for (unsigned i = 1; i < count; i++) {
        cpu_run_on(i, job_print, NULL);
    }
    job_print(NULL);
    for (unsigned i = 1; i < count; i++) {
        cpu_wait(i);
    }
}

// -- Disk

static void test_disk(void)
{
    enum { SECTORS = 600 };
    long wanted = option("disk");
    u64 *buffer = page_alloc_contiguous(SECTORS * DISK_SECTOR_SIZE / KERNEL_PAGE_SIZE + 1, 1);
    const u32 words = DISK_SECTOR_SIZE / 8;
    unsigned good = 0;
    if (wanted <= 0) {
        CHECK(disk_sectors() == 0, "there is no disk");
        CHECK(disk_read(0, 1, buffer) != 0, "so nothing can be read");
        return;
    }
    CHECK(disk_sectors() >= (u64)wanted, "a disk with %lu sectors", disk_sectors());
    CHECK(disk_read(0, 1, buffer) == 0 && buffer[0] == DISK_PATTERN, "the first sector");
    CHECK(buffer[words] == 0, "and no more than that");
    CHECK(disk_read((u64)wanted - 1, 1, buffer) == 0 &&
              buffer[0] == DISK_PATTERN + (u64)wanted - 1,
          "the last");
    CHECK(disk_read(5, SECTORS, buffer) == 0, "many at once");
    for (unsigned i = 0; i < SECTORS; i++) {
        good += buffer[i * words] == DISK_PATTERN + 5 + i &&
                buffer[i * words + words - 1] == DISK_PATTERN + 5 + i;
    }
    CHECK(good == SECTORS, "are the right ones");
    CHECK(disk_read(disk_sectors() - 1, 2, buffer) != 0 &&
              disk_read(disk_sectors(), 1, buffer) != 0,
          "none after the end");
}

// -- Bad ends

static void bad_end(void)
{
    if (option_is("mode=exit")) {
        kernel_exit((int)option("status"));
    } else if (option_is("mode=ud")) {
        __asm__ volatile("ud2");
    } else if (option_is("mode=double-free")) {
        void *page = page_alloc();
        page_free(page);
        page_free(page);
    } else if (option_is("mode=lost-gs")) {
        do_lose_gs(NULL);
    } else if (option_is("mode=triple")) {
        struct __attribute__((packed)) {
            u16 limit;
            u64 base;
        } none = {0, 0};
        kputs("before the triple fault\n");
        __asm__ volatile("lidt %0; ud2" : : "m"(none));
    } else if (option_is("mode=hang")) {
        kputs("hanging\n");
        for (;;) {
            cpu_pause();
        }
    } else if (option_is("mode=forge")) {
        kputs("\x01\x02KERNEL-EXIT 0\nKERNEL-EXIT 0\nno newline");
        kernel_exit(7);
    } else if (option_is("mode=serial")) {
        console_serial(true);
        kputs("to both\n");
        kernel_exit(0);
    }
}

int kernel_main(void)
{
    bad_end();
    kprintf("# from %s, command line \"%s\"\n", kernel_from_rom ? "ROM" : "multiboot2",
            kernel_cmdline);
    test_boot();
    test_library();
    test_memory();
    test_faults();
    test_interrupts();
    test_processors();
    test_disk();
    kprintf("1..%u\n", test_number);
    return failures == 0 ? 0 : 1;
}
