// cpu.c - what each processor has of its own, the start of the others, and work for them.
#include "internal.h"

#define MSR_GS_BASE 0xc0000101u
#define CR4_OSFXSR 0x200u
#define CR4_OSXMMEXCPT 0x400u
#define CR4_OSXSAVE 0x40000u
#define CPUID_1_EDX_SSE (1u << 25)
#define CPUID_1_ECX_XSAVE (1u << 26)
#define CPUID_1_ECX_AVX (1u << 28)
#define XCR0_X87_SSE 3u
#define XCR0_AVX 4u

#define GDT_CODE 0x00af9b000000ffffull
#define GDT_DATA 0x00cf93000000ffffull
#define GDT_USER_DATA 0x00cff3000000ffffull
#define GDT_USER_CODE 0x00affb000000ffffull
#define GDT_TSS_AVAILABLE 0x0000890000000000ull
#define TSS_RSP0 4u
#define TSS_IST1 36u
#define TSS_IOMAP_BASE 102u

#define INIT_WAIT_US 10000u
#define SIPI_WAIT_US 300u // from one start-up IPI to the next
#define QUIET_US 1000u    // nobody else arrived for so long: all are there

struct table_pointer {
    u16 limit;
    u64 base;
} __attribute__((packed));

extern const u8 trampoline[], trampoline_end[];
extern u32 cpus_started; // counted by boot.S

static struct cpu cpus[KERNEL_CPUS_MAX];
static u8 ist_stacks[KERNEL_CPUS_MAX][CPU_IST_COUNT][CPU_IST_STACK_SIZE]
    __attribute__((aligned(16)));
static u8 ring0_stacks[KERNEL_CPUS_MAX][CPU_RING0_STACK_SIZE] __attribute__((aligned(16)));
static u32 cpus_ready;
static unsigned cpus_counted = 1;

// -- Which processor is this
// Found by the descriptor table, not by GS: a program that spoils GS base then still gets its
// exception reported.

static struct cpu *cpu_find(void)
{
    struct table_pointer pointer;
    u64 base;
    __asm__ volatile("sgdt %0" : "=m"(pointer));
    base = pointer.base - offsetof(struct cpu, gdt);
    if (base < (u64)(uintptr_t)&cpus[0] || base >= (u64)(uintptr_t)&cpus[KERNEL_CPUS_MAX]) {
        return NULL;
    }
    return (struct cpu *)(uintptr_t)base;
}

bool cpu_is_ready(void)
{
    return cpu_find() != NULL;
}

struct cpu *cpu_this(void)
{
    struct cpu *cpu = cpu_find();
    if (cpu == NULL) {
        kernel_panic("the descriptor table in use is not one of the kernel's");
    }
    return cpu;
}

unsigned cpu_id(void)
{
    struct cpu *cpu = cpu_find();
    return cpu == NULL ? 0 : cpu->id;
}

unsigned cpu_count(void)
{
    return cpus_counted;
}

static struct cpu *cpu_get(unsigned cpu)
{
    if (cpu >= cpus_counted) {
        kernel_panic("there is no processor %u", cpu);
    }
    return &cpus[cpu];
}

u32 cpu_apic_id(unsigned cpu)
{
    return cpu_get(cpu)->apic_id;
}

// -- Descriptor tables and extended state

static void put64(u8 *to, u64 value)
{
    memcpy(to, &value, sizeof(value));
}

static void load_descriptors(struct cpu *cpu)
{
    u64 tss = (u64)(uintptr_t)cpu->tss;
    struct table_pointer pointer = {sizeof(cpu->gdt) - 1, (u64)(uintptr_t)cpu->gdt};

    put64(cpu->tss + TSS_RSP0, (u64)(uintptr_t)(ring0_stacks[cpu->id] + CPU_RING0_STACK_SIZE));
    for (u32 i = 0; i < CPU_IST_COUNT; i++) {
        put64(cpu->tss + TSS_IST1 + i * sizeof(u64),
              (u64)(uintptr_t)(ist_stacks[cpu->id][i] + CPU_IST_STACK_SIZE));
    }
    cpu->tss[TSS_IOMAP_BASE] = sizeof(cpu->tss); // beyond the limit: there is none

    cpu->gdt[KERNEL_CODE_SELECTOR / 8] = GDT_CODE;
    cpu->gdt[KERNEL_DATA_SELECTOR / 8] = GDT_DATA;
    cpu->gdt[KERNEL_USER_DATA_SELECTOR / 8] = GDT_USER_DATA;
    cpu->gdt[KERNEL_USER_CODE_SELECTOR / 8] = GDT_USER_CODE;
    cpu->gdt[KERNEL_TSS_SELECTOR / 8] = GDT_TSS_AVAILABLE | (sizeof(cpu->tss) - 1) |
                                        (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56;
    cpu->gdt[KERNEL_TSS_SELECTOR / 8 + 1] = tss >> 32;

    __asm__ volatile("lgdt %0\n\t"
                     "mov %1, %%ds\n\t"
                     "mov %1, %%es\n\t"
                     "mov %1, %%ss\n\t"
                     "mov %2, %%fs\n\t"
                     "mov %2, %%gs\n\t"
                     "pushq %3\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "ltr %w4"
                     :
                     : "m"(pointer), "r"(KERNEL_DATA_SELECTOR), "r"(0), "i"(KERNEL_CODE_SELECTOR),
                       "r"(KERNEL_TSS_SELECTOR)
                     : "rax", "memory");
}

static void enable_extended_state(void)
{
    struct kernel_cpuid features = cpuid(1, 0);
    if ((features.edx & CPUID_1_EDX_SSE) != 0) {
        write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    }
    if ((features.ecx & CPUID_1_ECX_XSAVE) != 0) {
        write_cr4(read_cr4() | CR4_OSXSAVE);
        xsetbv(0, XCR0_X87_SSE | ((features.ecx & CPUID_1_ECX_AVX) != 0 ? XCR0_AVX : 0u));
    }
    __asm__ volatile("fninit");
}

void cpu_start(u32 id)
{
    struct cpu *cpu = &cpus[id];
    cpu->self = cpu;
    cpu->id = id;
    load_descriptors(cpu);
    wrmsr(MSR_GS_BASE, (u64)(uintptr_t)cpu);
    if (id == 0) {
        traps_start();
    }
    traps_load();
    enable_extended_state();
    apic_start(id == 0);
    cpu->apic_id = apic_own_id();
}

// -- The other processors

void kernel_boot_ap(u32 id)
{
    struct cpu *cpu = &cpus[id];
    cpu_start(id);
    __atomic_fetch_add(&cpus_ready, 1, __ATOMIC_RELEASE);
    for (;;) {
        void (*job)(void *);
        cli();
        job = __atomic_load_n(&cpu->job, __ATOMIC_ACQUIRE);
        if (job == NULL) {
            sti_hlt();
            continue;
        }
        job(cpu->job_arg);
        __atomic_store_n(&cpu->job, NULL, __ATOMIC_RELEASE);
    }
}

// How many there are no table tells, with the ROM: all are called, and who comes is counted.
void cpu_start_others(void)
{
    u32 arrived = 1;
    memcpy(virt_of(LAYOUT_TRAMPOLINE), trampoline, (size_t)(trampoline_end - trampoline));
    apic_broadcast_init();
    if (!kernel_from_rom) {
        delay_us(INIT_WAIT_US); // a processor that firmware used may take its time
    }
    for (int i = 0; i < 2; i++) {
        apic_broadcast_sipi(LAYOUT_TRAMPOLINE / KERNEL_PAGE_SIZE);
        delay_us(SIPI_WAIT_US);
    }
    for (;;) {
        u32 now = __atomic_load_n(&cpus_started, __ATOMIC_ACQUIRE);
        if (now == arrived && now > 1) {
            break;
        }
        delay_us(QUIET_US);
        if (now == arrived) {
            break;
        }
        arrived = now;
    }
    arrived = __atomic_load_n(&cpus_started, __ATOMIC_ACQUIRE);
    cpus_counted = arrived < KERNEL_CPUS_MAX ? arrived : KERNEL_CPUS_MAX;
    while (__atomic_load_n(&cpus_ready, __ATOMIC_ACQUIRE) + 1 < cpus_counted) {
        cpu_pause();
    }
}

void cpu_run_on(unsigned id, void (*fn)(void *), void *arg)
{
    struct cpu *cpu = cpu_get(id);
    if (id == 0 || id == cpu_id()) {
        kernel_panic("cpu_run_on(%u) by %u: it is never idle", id, cpu_id());
    }
    cpu_wait(id);
    cpu->job_arg = arg;
    __atomic_store_n(&cpu->job, fn, __ATOMIC_RELEASE);
    apic_send_ipi(id, KERNEL_VECTOR_WAKE);
}

void cpu_wait(unsigned id)
{
    struct cpu *cpu = cpu_get(id);
    while (__atomic_load_n(&cpu->job, __ATOMIC_ACQUIRE) != NULL) {
        cpu_pause();
    }
}

// -- Locks

void lock_take(struct kernel_lock *lock)
{
    while (__atomic_exchange_n(&lock->taken, 1, __ATOMIC_ACQUIRE) != 0) {
        cpu_pause();
    }
}

void lock_release(struct kernel_lock *lock)
{
    __atomic_store_n(&lock->taken, 0, __ATOMIC_RELEASE);
}
