// The simulated machine: processors, memory, VMCS store, VM entry and exit, TLB. See sim.h.

#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif
#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#define SIM_POISON(start, bytes) __asan_poison_memory_region((start), (bytes))
#define SIM_UNPOISON(start, bytes) __asan_unpoison_memory_region((start), (bytes))
#else
#define SIM_POISON(start, bytes) ((void)0)
#define SIM_UNPOISON(start, bytes) ((void)0)
#endif

#include "models.h"

#define SIM_NONE (~(xvcpu_u64)0)
#define SIM_PAGE XVCPU_PAGE_BYTES
#define SIM_SLOTS 8192U // pages the allocation hook can give
#define SIM_RAMS 64U
#define SIM_REGIONS 256U // VMCS regions known at a time
#define SIM_TLB 2048U    // translations a processor keeps
#define SIM_ALLOC_BYTE 0xA5
#define SIM_FREE_BYTE 0x5A
#define SIM_RUBBISH 0xBAD5EED5U

// -- Tables made of the library's own

enum sim_row {
#define SIM_ROW(encoding, name, text, since) SIM_ROW_##name,
    XVCPU_VMCS_FIELDS(SIM_ROW)
#undef SIM_ROW
        SIM_ROWS
};

static const struct sim_field {
    xvcpu_u32 encoding;
    xvcpu_u32 since;
    const char *name;
} sim_fields[SIM_ROWS] = {
#define SIM_ROW(encoding, name, text, since) {(encoding), (since), #name},
    XVCPU_VMCS_FIELDS(SIM_ROW)
#undef SIM_ROW
};

static const struct sim_word {
    xvcpu_u32 msr, true_msr;
    enum sim_row row;
} sim_words[XVCPU_WORD_COUNT] = {
#define SIM_WORD(name, text, field, msr, true_msr) {(msr), (true_msr), SIM_ROW_##field},
    XVCPU_CONTROL_WORDS(SIM_WORD)
#undef SIM_WORD
};

// -- The machine

typedef struct sim_slot {
    bool live, ever;
    xvcpu_u64 pa;
} sim_slot;

typedef struct sim_ram_block {
    void *start;
    xvcpu_u64 pa, bytes;
} sim_ram_block;

typedef struct sim_vmcs {
    bool used, cleared, launched;
    int active_on;         // processor, or -1
    xvcpu_u64 pa;
    unsigned char *memory; // the region, seen by software
    xvcpu_u64 seal;        // what the processor filled the region with
    xvcpu_u32 launch_vmxon; // VMXON number of the launch
    xvcpu_u64 value[SIM_ROWS];
    bool written[SIM_ROWS];
} sim_vmcs;

typedef struct sim_translation {
    bool used, linear;
    xvcpu_u16 vpid;
    xvcpu_u32 permissions;
    xvcpu_u64 eptrta, owner, gla, gpa, hpa; // page numbers
} sim_translation;

typedef struct sim_alloc_plan {
    xvcpu_u32 at; // countdown, 0: nothing planned
    bool onwards;
    sim_page_flaw flaw;
    xvcpu_u32 flaw_at;
} sim_alloc_plan;

static struct sim_machine {
    sim_processor cpus[SIM_CPUS];
    sim_processor snapshot[SIM_CPUS];
    xvcpu_u32 vmxon_number[SIM_CPUS];
    sim_translation tlb[SIM_CPUS][SIM_TLB];
    xvcpu_u32 tlb_next[SIM_CPUS];
    sim_processor *cpu;
    bool strict_host, strict_fields;

    sim_slot slots[SIM_SLOTS];
    xvcpu_u32 free_stack[SIM_SLOTS], free_count;
    xvcpu_u32 live, allocated;
    sim_alloc_plan plan;
    bool low;
    sim_ram_block rams[SIM_RAMS];
    xvcpu_u32 ram_count;
    xvcpu_u64 ram_next;

    sim_vmcs regions[SIM_REGIONS];
    xvcpu_u64 seal_number;

    sim_log_line log[SIM_LOG_LINES];
    xvcpu_u32 log_count;

    sim_guest_callback guest;
    void *guest_context;
    xvcpu_u64 entry;
    sim_guest *running;
    char verdict[16];
    const char *fail_next;
    xvcpu_u32 fail_number;
} sim;

static unsigned char *sim_arena; // SIM_SLOTS pages
static xvcpu_u16 sim_row_of[XVCPU_VMCS_ENCODING_LIMIT];
static bool sim_ready;

sim_counters sim_counts;

// -- Failures

static jmp_buf *sim_frame;
static char sim_failure_text[1024];
static bool sim_is_quiet;

const char *sim_failure(void)
{
    return sim_failure_text;
}

void sim_quiet(bool quiet)
{
    sim_is_quiet = quiet;
}

_Noreturn void sim_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sim_failure_text, sizeof sim_failure_text, format, arguments);
    va_end(arguments);
    if (!sim_is_quiet || !sim_frame) {
        (void)fprintf(stdout, "# sim: %s (cpu %u, %s)\n", sim_failure_text,
                      sim.cpu ? sim.cpu->id : 0U, sim.cpu ? sim.cpu->model : "-");
        (void)fflush(stdout);
    }
    if (!sim_frame)
        abort();
    longjmp(*sim_frame, 1);
}

void sim_check_equal_at(const char *file, int line, const char *text, xvcpu_u64 got,
                        xvcpu_u64 want)
{
    if (got != want)
        sim_fail("%s:%d: %s is %#llx, not %#llx", file, line, text, (unsigned long long)got,
                 (unsigned long long)want);
}

static bool sim_protect(void (*call)(void *argument), void *argument)
{
    jmp_buf here;
    jmp_buf *const outer = sim_frame;
    bool passed;
    sim_failure_text[0] = 0;
    sim_frame = &here;
    if (setjmp(here) == 0) {
        call(argument);
        passed = true;
    } else {
        passed = false;
    }
    sim_frame = outer;
    return passed;
}

const char *sim_catch(void (*call)(void *argument), void *argument)
{
    const bool quiet = sim_is_quiet;
    bool passed;
    sim_is_quiet = true;
    passed = sim_protect(call, argument);
    sim_is_quiet = quiet;
    if (sim.cpu)
        sim.cpu->in_guest = false;
    sim.running = NULL;
    return passed ? NULL : sim_failure_text;
}

typedef struct sim_test {
    const char *model;
    void (*body)(void *argument);
    void *argument;
} sim_test;

static void sim_run_body(void *argument)
{
    const sim_test *test = (const sim_test *)argument;
    sim_reset(test->model);
    test->body(test->argument);
    sim_expect_clean();
}

bool sim_run(const char *model, void (*test)(void *argument), void *argument)
{
    sim_test all;
    all.model = model;
    all.body = test;
    all.argument = argument;
    return sim_protect(sim_run_body, &all);
}

// -- Processors

sim_processor *sim_cpu(xvcpu_u32 n)
{
    if (n >= SIM_CPUS)
        sim_fail("no processor %u", n);
    sim.cpu = &sim.cpus[n];
    return sim.cpu;
}

sim_processor *sim_this_cpu(void)
{
    return sim.cpu;
}

sim_processor *sim_cpu_at(xvcpu_u32 n)
{
    if (n >= SIM_CPUS)
        sim_fail("no processor %u", n);
    return &sim.cpus[n];
}

void sim_strict(bool host_is_current, bool every_field_written)
{
    sim.strict_host = host_is_current;
    sim.strict_fields = every_field_written;
}

const char *sim_model_name(xvcpu_u32 n)
{
    return n < SIM_MODEL_COUNT ? sim_models[n].name : NULL;
}

static sim_msr *sim_msr_of(sim_processor *cpu, xvcpu_u32 index)
{
    xvcpu_u32 i;
    for (i = 0; i < cpu->msr_count; i++)
        if (cpu->msrs[i].index == index)
            return &cpu->msrs[i];
    return NULL;
}

// The value, or 0 where there is none: for the simulator's own use.
static xvcpu_u64 sim_msr_value(sim_processor *cpu, xvcpu_u32 index)
{
    const sim_msr *msr = sim_msr_of(cpu, index);
    return msr ? msr->value : 0;
}

static void sim_msr_store(sim_processor *cpu, xvcpu_u32 index, xvcpu_u64 value)
{
    sim_msr *msr = sim_msr_of(cpu, index);
    if (msr)
        msr->value = value;
}

static void sim_msr_force(sim_processor *cpu, xvcpu_u32 index, xvcpu_u64 value)
{
    sim_msr *msr = sim_msr_of(cpu, index);
    if (msr)
        msr->value = value;
    else if (cpu->msr_count == SIM_MSRS)
        sim_fail("no room for another MSR");
    else
        sim_add_msr(cpu, index, value, 0, false);
}

bool sim_msr_exists(xvcpu_u32 index)
{
    return sim_msr_of(sim.cpu, index) != NULL;
}

xvcpu_u64 sim_msr_get(xvcpu_u32 index)
{
    if (!sim_msr_exists(index))
        sim_fail("test: MSR %#x does not exist", index);
    return sim_msr_value(sim.cpu, index);
}

void sim_msr_set(xvcpu_u32 index, xvcpu_u64 value)
{
    sim_msr_force(sim.cpu, index, value);
    sim_msr_force(&sim.snapshot[sim.cpu->id], index, value);
}

void sim_msr_set_all(xvcpu_u32 index, xvcpu_u64 value)
{
    xvcpu_u32 i;
    for (i = 0; i < SIM_CPUS; i++) {
        sim_msr_force(&sim.cpus[i], index, value);
        sim_msr_force(&sim.snapshot[i], index, value);
    }
}

static void sim_msr_drop(sim_processor *cpu, xvcpu_u32 index)
{
    sim_msr *msr = sim_msr_of(cpu, index);
    if (msr)
        *msr = cpu->msrs[--cpu->msr_count];
}

void sim_msr_remove_all(xvcpu_u32 index)
{
    xvcpu_u32 i;
    for (i = 0; i < SIM_CPUS; i++) {
        sim_msr_drop(&sim.cpus[i], index);
        sim_msr_drop(&sim.snapshot[i], index);
    }
}

sim_cpuid_row *sim_cpuid_find(sim_processor *cpu, xvcpu_u32 leaf, xvcpu_u32 subleaf)
{
    xvcpu_u32 i;
    for (i = 0; i < cpu->cpuid_count; i++)
        if (cpu->cpuid[i].leaf == leaf &&
            (cpu->cpuid[i].any_subleaf || cpu->cpuid[i].subleaf == subleaf))
            return &cpu->cpuid[i];
    return NULL;
}

void sim_cpuid_set_all(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_cpuid_regs regs)
{
    xvcpu_u32 i;
    for (i = 0; i < SIM_CPUS; i++) {
        sim_cpuid_row *row = sim_cpuid_find(&sim.cpus[i], leaf, subleaf);
        if (row)
            row->regs = regs;
        else if (sim.cpus[i].cpuid_count == SIM_CPUID_ROWS)
            sim_fail("no room for another CPUID leaf");
        else
            sim_add_cpuid(&sim.cpus[i], leaf, subleaf, false, regs.eax, regs.ebx, regs.ecx,
                          regs.edx);
    }
}

void sim_cpuid_change_all(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_u32 reg, xvcpu_u32 clear,
                          xvcpu_u32 set)
{
    xvcpu_u32 i;
    for (i = 0; i < SIM_CPUS; i++) {
        sim_cpuid_row *row = sim_cpuid_find(&sim.cpus[i], leaf, subleaf);
        xvcpu_u32 *value;
        if (!row)
            sim_fail("test: CPUID leaf %#x.%u does not exist", leaf, subleaf);
        value = reg == 0   ? &row->regs.eax
                : reg == 1 ? &row->regs.ebx
                : reg == 2 ? &row->regs.ecx
                           : &row->regs.edx;
        *value = (*value & ~clear) | set;
    }
}

static bool sim_word_is_wide(xvcpu_u32 word)
{
    return word == XVCPU_WORD_PROC3 || word == XVCPU_WORD_EXIT2;
}

static void sim_control_change(xvcpu_control_word word, xvcpu_u64 remove, xvcpu_u64 add)
{
    xvcpu_u32 i, k;
    const xvcpu_u32 shift = sim_word_is_wide(word) ? 0 : 32;
    for (i = 0; i < SIM_CPUS; i++)
        for (k = 0; k < 4; k++) {
            sim_processor *cpu = (k & 1U) != 0 ? &sim.snapshot[i] : &sim.cpus[i];
            sim_msr *msr = sim_msr_of(cpu, k < 2 ? sim_words[word].msr : sim_words[word].true_msr);
            if (!msr || (k >= 2 && sim_words[word].true_msr == 0))
                continue;
            msr->value &= ~(remove << shift);
            if (shift != 0)
                msr->value &= ~remove;
            msr->value |= add << shift;
        }
}

void sim_control_remove_all(xvcpu_control_word word, xvcpu_u64 bits)
{
    sim_control_change(word, bits, 0);
}

void sim_control_add_all(xvcpu_control_word word, xvcpu_u64 bits)
{
    sim_control_change(word, 0, bits);
}

static void sim_word_caps(sim_processor *cpu, xvcpu_u32 word, xvcpu_u64 *must, xvcpu_u64 *may)
{
    const bool use_true = (sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_BASIC) &
                           XVCPU_VMX_BASIC_TRUE_CONTROLS) != 0;
    const xvcpu_u64 value =
        sim_msr_value(cpu, use_true && sim_words[word].true_msr != 0 ? sim_words[word].true_msr
                                                                     : sim_words[word].msr);
    *must = sim_word_is_wide(word) ? 0 : value & 0xFFFFFFFFU;
    *may = sim_word_is_wide(word) ? value : value >> 32;
}

static bool sim_may(sim_processor *cpu, xvcpu_u32 word, xvcpu_u64 bits)
{
    xvcpu_u64 must, may;
    sim_word_caps(cpu, word, &must, &may);
    return (may & bits) == bits;
}

static xvcpu_u32 sim_physical_bits(sim_processor *cpu)
{
    const sim_cpuid_row *row = sim_cpuid_find(cpu, 0x80000008U, 0);
    return row ? row->regs.eax & 0xFFU : 36;
}

static xvcpu_u32 sim_linear_bits(sim_processor *cpu)
{
    const sim_cpuid_row *row = sim_cpuid_find(cpu, 0x80000008U, 0);
    return row ? (row->regs.eax >> 8) & 0xFFU : 48;
}

static bool sim_canonical_at(xvcpu_u64 address, xvcpu_u32 bits)
{
    const xvcpu_u64 top = address >> (bits - 1);
    return top == 0 || top == (SIM_NONE >> (bits - 1));
}

static bool sim_canonical(sim_processor *cpu, xvcpu_u64 address)
{
    return sim_canonical_at(address, sim_linear_bits(cpu));
}

// Width of the addresses in VMX structures.
static xvcpu_u32 sim_vmx_bits(sim_processor *cpu)
{
    return (sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_BASIC) & XVCPU_VMX_BASIC_ADDRESS_32BIT) != 0
               ? 32
               : sim_physical_bits(cpu);
}

// Every instruction function starts here.
static sim_processor *sim_host(const char *instruction)
{
    if (!sim.cpu)
        sim_fail("%s: no machine: sim_reset first", instruction);
    if (sim.cpu->in_guest)
        sim_fail("%s executed by the host while a guest runs", instruction);
    return sim.cpu;
}

static void sim_gp(const char *instruction, const char *why, xvcpu_u64 a, xvcpu_u64 b)
{
    sim_fail("#GP in the host: %s: %s (%#llx, %#llx)", instruction, why, (unsigned long long)a,
             (unsigned long long)b);
}

// -- Memory

void *sim_hook_alloc_page(void *context)
{
    sim_slot *slot;
    unsigned char *page;
    xvcpu_u32 index;
    xvcpu_u64 mixed;
    sim_page_flaw flaw = (sim_page_flaw)0;
    (void)context;
    if (sim.cpu && sim.cpu->in_guest)
        sim_fail("page allocated while a guest runs");
    sim.allocated++;
    if (sim.plan.flaw_at != 0 && --sim.plan.flaw_at == 0)
        flaw = sim.plan.flaw;
    if (sim.plan.at != 0) {
        if (sim.plan.onwards && sim.plan.at == 1)
            return NULL;
        if (--sim.plan.at == 0)
            return NULL;
    }
    if (sim.free_count == 0)
        sim_fail("the machine is out of pages: more than %u", SIM_SLOTS);
    index = sim.free_stack[--sim.free_count];
    slot = &sim.slots[index];
    page = sim_arena + (size_t)index * SIM_PAGE;
    SIM_UNPOISON(page, SIM_PAGE);
    if (slot->ever) {
        xvcpu_u32 i;
        for (i = 0; i < SIM_PAGE; i++)
            if (page[i] != SIM_FREE_BYTE)
                sim_fail("page written after it was freed: offset %#x", i);
    }
    memset(page, SIM_ALLOC_BYTE, SIM_PAGE);
    // An odd multiplier permutes: neighbours in virtual memory are none in physical memory.
    mixed = (index * 1597U + 77U) & (SIM_SLOTS - 1U);
    slot->pa = (sim.low ? 0x02000000U : 0x100000000U) + mixed * SIM_PAGE;
    if (flaw == SIM_PAGE_MISALIGNED)
        slot->pa += 8;
    else if (flaw == SIM_PAGE_TOO_HIGH)
        slot->pa |= XVCPU_BIT64(sim_physical_bits(sim.cpu));
    slot->live = true;
    slot->ever = true;
    sim.live++;
    return page;
}

static void sim_page_not_in_use(xvcpu_u64 pa)
{
    xvcpu_u32 i;
    for (i = 0; i < SIM_CPUS; i++)
        if (sim.cpus[i].vmx_root && sim.cpus[i].vmxon_pa == pa)
            sim_fail("VMXON region freed while processor %u is in VMX operation", i);
    for (i = 0; i < SIM_REGIONS; i++) {
        sim_vmcs *v = &sim.regions[i];
        if (!v->used)
            continue;
        if (v->pa == pa) {
            if (v->active_on >= 0)
                sim_fail("VMCS region freed while active on processor %d", v->active_on);
            v->used = false;
        } else if (v->active_on >= 0 && (v->value[SIM_ROW_CTRL_MSR_BITMAP] == pa ||
                                         v->value[SIM_ROW_CTRL_IO_BITMAP_A] == pa ||
                                         v->value[SIM_ROW_CTRL_IO_BITMAP_B] == pa)) {
            sim_fail("bitmap freed while the VMCS that points to it is active");
        }
    }
}

static sim_slot *sim_slot_of(const void *pointer, size_t *offset)
{
    const uintptr_t at = (uintptr_t)pointer, start = (uintptr_t)sim_arena;
    if (!sim_arena || at < start || at >= start + (uintptr_t)SIM_SLOTS * SIM_PAGE)
        return NULL;
    *offset = (at - start) % SIM_PAGE;
    return &sim.slots[(at - start) / SIM_PAGE];
}

void sim_hook_free_page(void *context, void *page)
{
    size_t offset = 0;
    sim_slot *slot = sim_slot_of(page, &offset);
    (void)context;
    if (!slot || offset != 0)
        sim_fail("free of what is no page");
    if (!slot->live)
        sim_fail("page freed twice");
    sim_page_not_in_use(slot->pa);
    memset(page, SIM_FREE_BYTE, SIM_PAGE);
    SIM_POISON(page, SIM_PAGE);
    slot->live = false;
    sim.live--;
    sim.free_stack[sim.free_count++] = (xvcpu_u32)(slot - sim.slots);
}

xvcpu_u64 sim_phys(const void *pointer)
{
    size_t offset = 0;
    const sim_slot *slot = sim_slot_of(pointer, &offset);
    xvcpu_u32 i;
    if (slot) {
        if (!slot->live)
            sim_fail("physical address asked of a page that is not allocated");
        return slot->pa + offset;
    }
    for (i = 0; i < sim.ram_count; i++) {
        const uintptr_t at = (uintptr_t)pointer, start = (uintptr_t)sim.rams[i].start;
        if (at >= start && at < start + sim.rams[i].bytes)
            return sim.rams[i].pa + (at - start);
    }
    sim_fail("physical address asked of a pointer into no memory of the machine");
}

static void *sim_virt_or_null(xvcpu_u64 physical)
{
    xvcpu_u32 i;
    const xvcpu_u64 page = physical & ~(xvcpu_u64)(SIM_PAGE - 1U);
    for (i = 0; i < sim.ram_count; i++)
        if (physical >= sim.rams[i].pa && physical - sim.rams[i].pa < sim.rams[i].bytes)
            return (unsigned char *)sim.rams[i].start + (physical - sim.rams[i].pa);
    for (i = 0; i < 2; i++) {
        const xvcpu_u64 base = i == 0 ? 0x100000000U : 0x02000000U;
        if (page >= base && page < base + (xvcpu_u64)SIM_SLOTS * SIM_PAGE) {
            // Inverse of the multiplier in sim_hook_alloc_page, found by trying.
            static xvcpu_u32 inverse;
            xvcpu_u32 index;
            while (((inverse * 1597U) & (SIM_SLOTS - 1U)) != 1U)
                inverse++;
            index = (((xvcpu_u32)((page - base) / SIM_PAGE) - 77U) * inverse) & (SIM_SLOTS - 1U);
            if (sim.slots[index].live &&
                (sim.slots[index].pa & ~(xvcpu_u64)(SIM_PAGE - 1U)) == page)
                return sim_arena + (size_t)index * SIM_PAGE + (physical - page);
        }
    }
    return NULL;
}

void *sim_virt(xvcpu_u64 physical)
{
    void *pointer = sim_virt_or_null(physical);
    if (!pointer)
        sim_fail("physical address %#llx is no memory", (unsigned long long)physical);
    return pointer;
}

bool sim_phys_exists(xvcpu_u64 physical)
{
    return sim_virt_or_null(physical) != NULL;
}

xvcpu_u64 sim_hook_virt_to_phys(void *context, const void *pointer)
{
    (void)context;
    return sim_phys(pointer);
}

void *sim_hook_phys_to_virt(void *context, xvcpu_u64 physical)
{
    (void)context;
    return sim_virt(physical);
}

void *sim_ram(xvcpu_u64 bytes, xvcpu_u64 alignment)
{
    sim_ram_block *block = &sim.rams[sim.ram_count];
    if (sim.ram_count == SIM_RAMS)
        sim_fail("no room for another block of memory");
    if (alignment < SIM_PAGE)
        alignment = SIM_PAGE;
    bytes = (bytes + SIM_PAGE - 1) & ~(xvcpu_u64)(SIM_PAGE - 1U);
    block->start = aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1));
    if (!block->start)
        sim_fail("the host has no %llu bytes", (unsigned long long)bytes);
    memset(block->start, 0, bytes);
    // A gap behind every block: what runs over its end is found.
    sim.ram_next = (sim.ram_next + alignment - 1) & ~(alignment - 1);
    block->pa = sim.ram_next;
    block->bytes = bytes;
    sim.ram_next += bytes + SIM_PAGE;
    sim.ram_count++;
    return block->start;
}

void *sim_supply(xvcpu_u32 pages)
{
    void *start = sim_ram((xvcpu_u64)pages * SIM_PAGE, SIM_PAGE);
    memset(start, SIM_ALLOC_BYTE, (size_t)pages * SIM_PAGE);
    return start;
}

xvcpu_u32 sim_pages_live(void)
{
    return sim.live;
}

xvcpu_u32 sim_pages_allocated(void)
{
    return sim.allocated;
}

void sim_alloc_fail_at(xvcpu_u32 n)
{
    sim.plan.at = n;
    sim.plan.onwards = false;
}

void sim_alloc_fail_from(xvcpu_u32 n)
{
    sim.plan.at = n;
    sim.plan.onwards = true;
}

void sim_alloc_flaw_at(xvcpu_u32 n, sim_page_flaw flaw)
{
    sim.plan.flaw_at = n;
    sim.plan.flaw = flaw;
}

void sim_low_memory(bool low)
{
    sim.low = low;
}

// -- Log, assertions, CPU id

void sim_hook_log(void *context, int level, const char *item, const char *text, uint64_t a,
                  uint64_t b)
{
    sim_log_line *line = &sim.log[sim.log_count % SIM_LOG_LINES];
    (void)context;
    if (!item || !text)
        sim_fail("XVCPU_LOG with a null text");
    if (level < XVCPU_LOG_ERROR || level > XVCPU_LOG_DEBUG)
        sim_fail("XVCPU_LOG with level %d", level);
    line->level = level;
    (void)snprintf(line->item, sizeof line->item, "%s", item);
    (void)snprintf(line->text, sizeof line->text, "%s", text);
    line->a = a;
    line->b = b;
    sim.log_count++;
}

xvcpu_u32 sim_log_count(void)
{
    return sim.log_count;
}

const sim_log_line *sim_log_at(xvcpu_u32 index)
{
    if (index >= sim.log_count || index + SIM_LOG_LINES < sim.log_count)
        return NULL;
    return &sim.log[index % SIM_LOG_LINES];
}

const sim_log_line *sim_log_find(const char *item)
{
    xvcpu_u32 i;
    for (i = sim.log_count; i-- > 0;) {
        const sim_log_line *line = sim_log_at(i);
        if (!line)
            return NULL;
        if (strstr(line->item, item))
            return line;
    }
    return NULL;
}

void sim_log_clear(void)
{
    sim.log_count = 0;
}

void sim_hook_assert(const char *condition, const char *file, int line)
{
    sim_fail("XVCPU_ASSERT(%s) at %s:%d", condition, file, line);
}

uint32_t sim_hook_cpu_id(void)
{
    return sim.cpu->id;
}

void sim_counts_clear(void)
{
    memset(&sim_counts, 0, sizeof sim_counts);
}

// -- Reset and end

void sim_snapshot(void)
{
    xvcpu_u32 i;
    memcpy(sim.snapshot, sim.cpus, sizeof sim.snapshot);
    // VMX on now is to be off at the end.
    for (i = 0; i < SIM_CPUS; i++)
        if (sim.cpus[i].vmx_root)
            sim.snapshot[i].cr4 &= ~XVCPU_CR4_VMXE;
}

void sim_reset(const char *model)
{
    xvcpu_u32 i, m = SIM_MODEL_COUNT;
    for (i = 0; i < SIM_MODEL_COUNT; i++)
        if (strcmp(sim_models[i].name, model ? model : "skylake") == 0)
            m = i;
    if (m == SIM_MODEL_COUNT)
        sim_fail("no model \"%s\"", model);
    for (i = 0; i < sim.ram_count; i++)
        free(sim.rams[i].start);
    if (!sim_ready) {
        memset(sim_row_of, 0xFF, sizeof sim_row_of);
        for (i = 0; i < SIM_ROWS; i++)
            sim_row_of[sim_fields[i].encoding] = (xvcpu_u16)i;
        sim_arena = (unsigned char *)aligned_alloc(SIM_PAGE, (size_t)SIM_SLOTS * SIM_PAGE);
        if (!sim_arena)
            sim_fail("the host has no memory for the machine");
        sim_ready = true;
    }
    SIM_POISON(sim_arena, (size_t)SIM_SLOTS * SIM_PAGE);
    memset(&sim, 0, sizeof sim);
    for (i = 0; i < SIM_SLOTS; i++)
        sim.free_stack[i] = (i * 2731U + 11U) & (SIM_SLOTS - 1U);
    sim.free_count = SIM_SLOTS;
    sim.ram_next = 0x800000000U;
    for (i = 0; i < SIM_CPUS; i++)
        sim_build_processor(&sim.cpus[i], i, &sim_models[m]);
    sim.cpu = &sim.cpus[0];
    sim.strict_host = true;
    sim.strict_fields = true;
    sim_counts_clear();
    sim_snapshot();
}

static void sim_same(const char *what, xvcpu_u64 now, xvcpu_u64 before)
{
    if (now != before)
        sim_fail("host %s is %#llx, was %#llx", what, (unsigned long long)now,
                 (unsigned long long)before);
}

static bool sim_msr_is_left(xvcpu_u32 index, xvcpu_u32 left)
{
    switch (index) {
    case XVCPU_MSR_IA32_STAR:
    case XVCPU_MSR_IA32_LSTAR:
    case XVCPU_MSR_IA32_CSTAR:
    case XVCPU_MSR_IA32_FMASK:
    case XVCPU_MSR_IA32_KERNEL_GS_BASE:
    case XVCPU_MSR_IA32_TSC_AUX: return (left & XVCPU_LEAVE_SYSCALL_MSRS) != 0;
    case XVCPU_MSR_IA32_XSS: return (left & XVCPU_LEAVE_XCR0) != 0;
    case XVCPU_MSR_IA32_DEBUGCTL: return (left & XVCPU_LEAVE_DEBUG_REGISTERS) != 0;
    case XVCPU_MSR_IA32_TIME_STAMP_COUNTER: return true;
    default: return false;
    }
}

void sim_expect_host(xvcpu_u32 left)
{
    static const char *const names[XVCPU_SEGMENT_COUNT] = {"ES", "CS", "SS",   "DS",
                                                           "FS", "GS", "LDTR", "TR"};
    const sim_processor *now = sim.cpu, *was = &sim.snapshot[sim.cpu->id];
    char text[64];
    xvcpu_u32 i;
    // Enable may set NE; disable must clear it again.
    sim_same("CR0", now->cr0 & ~(now->vmx_root ? XVCPU_CR0_NE : 0),
             was->cr0 & ~(now->vmx_root ? XVCPU_CR0_NE : 0));
    sim_same("CR3", now->cr3, was->cr3);
    sim_same("CR4", now->cr4 & ~(now->vmx_root ? XVCPU_CR4_VMXE : 0),
             was->cr4 & ~(now->vmx_root ? XVCPU_CR4_VMXE : 0));
    sim_same("CR8", now->cr8, was->cr8);
    if ((left & XVCPU_LEAVE_XCR0) == 0)
        sim_same("XCR0", now->xcr0, was->xcr0);
    if ((left & XVCPU_LEAVE_DEBUG_REGISTERS) == 0) {
        for (i = 0; i < 4; i++) {
            (void)snprintf(text, sizeof text, "DR%u", i);
            sim_same(text, now->dr[i], was->dr[i]);
        }
        sim_same("DR6", now->dr6, was->dr6);
        sim_same("DR7", now->dr7, was->dr7);
    }
    sim_same("GDTR base", now->gdtr_base, was->gdtr_base);
    sim_same("IDTR base", now->idtr_base, was->idtr_base);
    if ((left & XVCPU_LEAVE_DESCRIPTOR_LIMITS) == 0) {
        sim_same("GDTR limit", now->gdtr_limit, was->gdtr_limit);
        sim_same("IDTR limit", now->idtr_limit, was->idtr_limit);
        sim_same("LDTR", now->segments[XVCPU_LDTR].selector, was->segments[XVCPU_LDTR].selector);
        sim_same("TR limit", now->segments[XVCPU_TR].limit, was->segments[XVCPU_TR].limit);
    }
    for (i = 0; i < XVCPU_SEGMENT_COUNT; i++)
        if (i != XVCPU_LDTR)
            sim_same(names[i], now->segments[i].selector, was->segments[i].selector);
    sim_same("TR base", now->segments[XVCPU_TR].base, was->segments[XVCPU_TR].base);
    for (i = 0; i < SIM_GDT_ENTRIES; i++)
        if (now->gdt[i] != was->gdt[i])
            sim_fail("GDT entry %u was changed", i);
    for (i = 0; i < was->msr_count; i++) {
        const sim_msr *msr = sim_msr_of(sim.cpu, was->msrs[i].index);
        if (!msr || sim_msr_is_left(msr->index, left))
            continue;
        if (msr->index == XVCPU_MSR_IA32_FEATURE_CONTROL &&
            (was->msrs[i].value & XVCPU_FEATURE_CONTROL_LOCK) == 0 &&
            msr->value == (was->msrs[i].value | 5U))
            continue;
        (void)snprintf(text, sizeof text, "MSR %#x", msr->index);
        sim_same(text, msr->value, was->msrs[i].value);
    }
    if ((left & SIM_LEFT_FPU) == 0)
        for (i = 0; i < SIM_COMPONENTS; i++) {
            // A component that the host has off in XCR0 holds nothing of the host's.
            if (i > 1 && ((was->xcr0 >> i) & 1U) == 0)
                continue;
            (void)snprintf(text, sizeof text, "x87/SSE state component %u", i);
            sim_same(text, now->fpu[i], was->fpu[i]);
        }
}

void sim_expect_clean(void)
{
    sim_processor *const current = sim.cpu;
    xvcpu_u32 i;
    for (i = 0; i < SIM_CPUS; i++) {
        sim.cpu = &sim.cpus[i];
        if (sim.cpu->in_guest)
            sim_fail("processor %u is still in the guest", i);
        if (sim.cpu->vmx_root)
            sim_fail("processor %u is still in VMX operation", i);
        sim_expect_host(0);
    }
    sim.cpu = current;
    if (sim.live != 0)
        sim_fail("%u pages leaked", sim.live);
}

#include "cpu.h"
#include "checks.h"
#include "vmx.h"
