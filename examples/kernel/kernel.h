// kernel.h - everything the smallest kernel offers to a program.
//
// A program is one or more .c files with `int kernel_main(void)`. It runs on the first processor,
// in ring 0, in long mode, with interrupts off; what it returns is the exit status of run.sh.
//
// Memory as it is while a program runs (on every processor):
//   KERNEL_PHYS_MAP  + pa      all of physical memory below 4 GiB
//   KERNEL_IMAGE_MAP + pa      the first GiB again; the kernel is linked here
// Nothing else is mapped. No physical address is a valid virtual address.
#ifndef KERNEL_H
#define KERNEL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define KERNEL_PHYS_MAP 0xffff800000000000ul
#define KERNEL_IMAGE_MAP 0xffffffff80000000ul
#define KERNEL_PAGE_SIZE 4096ul
#define KERNEL_CPUS_MAX 8u

// -- Program

int kernel_main(void);

// What followed the kernel's name in GRUB, or run.sh --cmdline with a ROM. Never null.
extern const char *kernel_cmdline;

// True if the machine came up through the ROM: no firmware ran before us.
extern bool kernel_from_rom;

// Ends the emulator. run.sh exits with status 0-90; others become 90. Any processor may call it.
__attribute__((noreturn)) void kernel_exit(int status);

// Prints a message and ends with KERNEL_STATUS_PANIC.
__attribute__((noreturn, format(printf, 1, 2))) void kernel_panic(const char *format, ...);
#define KERNEL_STATUS_PANIC 90

// -- Console
// Port E9h always. One call comes out in one piece, whatever other processors print.

void kputc(char c);
void kputs(const char *text); // no newline added
// %s %c %d %i %u %x %X %p %%, with - 0 width .precision(for %s) and l ll z; * for both numbers.
__attribute__((format(printf, 1, 2))) void kprintf(const char *format, ...);
__attribute__((format(printf, 1, 0))) void kvprintf(const char *format, va_list args);
void console_serial(bool on); // copy everything to COM1 too, 115200 8N1

// -- Library

void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t size);
char *strstr(const char *text, const char *part);

// -- Memory
// Physical pages, handed out as addresses in KERNEL_PHYS_MAP, zeroed. Null if there are none.
// Any processor may call these. Freeing what is not allocated is a panic.

void *page_alloc(void);
void page_free(void *page);
void *page_alloc_contiguous(size_t n_pages, size_t align_pages); // align: power of two, 0 is 1
void page_free_contiguous(void *first, size_t n_pages);
size_t pages_free(void);
size_t pages_total(void);

u64 phys_of(const void *va); // panics if va is in neither map
void *virt_of(u64 pa);       // in KERNEL_PHYS_MAP

// -- Exceptions and interrupts

struct kernel_frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8;
    u64 rbp, rdi, rsi, rdx, rcx, rbx, rax;
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss;
};

enum kernel_selector {
    KERNEL_CODE_SELECTOR = 0x08,
    KERNEL_DATA_SELECTOR = 0x10,
    KERNEL_USER_DATA_SELECTOR = 0x1b,
    KERNEL_USER_CODE_SELECTOR = 0x23,
    KERNEL_TSS_SELECTOR = 0x28
};

enum kernel_vector {
    KERNEL_VECTOR_NMI = 2,
    KERNEL_VECTOR_PIC = 0x20,      // the two 8259s, all sixteen lines masked
    KERNEL_VECTOR_WAKE = 0xf0,     // wakes an idle processor for cpu_run_on
    KERNEL_VECTOR_SPURIOUS = 0xff  // local APIC, ignored
};

// One table for all processors. The handler runs with interrupts off and may change the frame;
// a null fn removes it. It sends the APIC's end of interrupt itself. NMI, #DF and #MC have stacks
// of their own. Whatever has no handler prints the registers and is a panic.
void kernel_set_handler(unsigned vector, void (*fn)(struct kernel_frame *));

struct kernel_fault {
    unsigned vector;
    u64 error, rip, cr2;
};

// Calls fn(arg). Returns 0 if it returned, or vector + 1 of the first exception (0-31 except NMI),
// which ends it: stack, callee-saved registers and RFLAGS are as before the call, nothing else is
// undone. Goes before a handler set for that vector. May be nested; `out` may be null.
unsigned kernel_try(void (*fn)(void *), void *arg, struct kernel_fault *out);

// -- Processors
// All are started before kernel_main. Number 0 is the one kernel_main runs on. The others sleep
// in HLT with interrupts on until they get work; the work itself runs with interrupts off.

unsigned cpu_count(void);
unsigned cpu_id(void);
u32 cpu_apic_id(unsigned cpu);
void cpu_run_on(unsigned cpu, void (*fn)(void *), void *arg); // returns at once; not for oneself
void cpu_wait(unsigned cpu);                                  // until it is idle again

struct kernel_lock {
    u32 taken;
};
void lock_take(struct kernel_lock *lock); // spins; interrupts are the caller's business
void lock_release(struct kernel_lock *lock);

// -- Local APIC (memory-mapped mode). Enabled on every processor before kernel_main.

enum kernel_apic {
    APIC_ID = 0x20,
    APIC_TPR = 0x80,
    APIC_EOI = 0xb0,
    APIC_SPURIOUS = 0xf0,
    APIC_ISR = 0x100, // 8 registers, 16 bytes apart; likewise IRR
    APIC_IRR = 0x200,
    APIC_ICR_LOW = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
    APIC_SPURIOUS_ENABLE = 0x100,
    APIC_LVT_MASKED = 0x10000,
    APIC_LVT_PERIODIC = 0x20000,
    APIC_LVT_NMI = 0x400,
    APIC_LVT_EXTINT = 0x700,
    APIC_TIMER_DIVIDE_BY_1 = 0xb,
    APIC_ICR_NMI = 0x400,
    APIC_ICR_INIT = 0x500,
    APIC_ICR_SIPI = 0x600,
    APIC_ICR_PENDING = 0x1000,
    APIC_ICR_ASSERT = 0x4000,
    APIC_ICR_OTHERS = 0xc0000
};

u32 apic_read(u32 offset);
void apic_write(u32 offset, u32 value);
void apic_eoi(void);
void apic_timer_oneshot(u8 vector, u32 ticks); // divided by 1
void apic_timer_periodic(u8 vector, u32 ticks);
void apic_timer_stop(void);
u32 apic_timer_left(void);
void apic_send_ipi(unsigned cpu, u8 vector); // also to oneself
void apic_send_nmi(unsigned cpu);
void apic_send_init(unsigned cpu);           // the processor is lost until a SIPI
void apic_send_sipi(unsigned cpu, u8 page);

// -- Disk: first ATA disk, polled

u64 disk_sectors(void); // 0: there is none
int disk_read(u64 lba, u32 sectors, void *buffer); // 0 if all was read
#define DISK_SECTOR_SIZE 512u

// -- Time

void delay_us(u32 microseconds); // by the interval timer

// -- Instructions

static inline void out8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out16(u16 port, u16 value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out32(u16 port, u32 value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline u8 in8(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline u16 in16(u16 port)
{
    u16 value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline u32 in32(u16 port)
{
    u32 value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline u64 rdmsr(u32 msr)
{
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return (u64)high << 32 | low;
}

static inline void wrmsr(u32 msr, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline u64 rdtsc(void)
{
    u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (u64)high << 32 | low;
}

struct kernel_cpuid {
    u32 eax, ebx, ecx, edx;
};

static inline struct kernel_cpuid cpuid(u32 leaf, u32 subleaf)
{
    struct kernel_cpuid r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(subleaf)
                     : "memory");
    return r;
}

static inline void cli(void)
{
    __asm__ volatile("cli" : : : "memory");
}

static inline void sti(void)
{
    __asm__ volatile("sti" : : : "memory");
}

static inline void hlt(void)
{
    __asm__ volatile("hlt" : : : "memory");
}

// STI holds interrupts off for one more instruction: none can slip in before the HLT.
static inline void sti_hlt(void)
{
    __asm__ volatile("sti; hlt" : : : "memory");
}

static inline void cpu_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

static inline u64 read_rflags(void)
{
    u64 value;
    __asm__ volatile("pushfq; popq %0" : "=r"(value) : : "memory");
    return value;
}

#define KERNEL_REGISTER(name)                                                                      \
    static inline u64 read_##name(void)                                                            \
    {                                                                                              \
        u64 value;                                                                                 \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(value) : : "memory");                        \
        return value;                                                                              \
    }                                                                                              \
    static inline void write_##name(u64 value)                                                     \
    {                                                                                              \
        __asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory");                            \
    }
KERNEL_REGISTER(cr0)
KERNEL_REGISTER(cr2)
KERNEL_REGISTER(cr3)
KERNEL_REGISTER(cr4)
#undef KERNEL_REGISTER

static inline u64 xgetbv(u32 index)
{
    u32 low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index) : "memory");
    return (u64)high << 32 | low;
}

static inline void xsetbv(u32 index, u64 value)
{
    __asm__ volatile("xsetbv" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

#endif
