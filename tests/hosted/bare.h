// For hosted tests that run the library's own code and need no simulated processor: memory, hooks,
// and CPU instructions that must not be reached. Include it instead of xvcpu.h.
//
// Host-physical memory has two parts, neither of them where its pointers are: pages from the
// allocation hook (scrambled, dirty when allocated, poisoned when free), and RAM for guests.

#ifndef XVCPU_TESTS_BARE_H
#define XVCPU_TESTS_BARE_H

#include "tap.h"

#include <pthread.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__)
#define BARE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BARE_ASAN 1
#endif
#endif
#ifdef BARE_ASAN
#include <sanitizer/asan_interface.h>
#define BARE_POISON(page) __asan_poison_memory_region((page), 4096)
#define BARE_UNPOISON(page) __asan_unpoison_memory_region((page), 4096)
#else
#define BARE_POISON(page) ((void)(page))
#define BARE_UNPOISON(page) ((void)(page))
#endif

static void *bare_alloc(void *context);
static void bare_free(void *context, void *page);
static uint64_t bare_virt_to_phys(void *context, const void *pointer);
static void *bare_phys_to_virt(void *context, uint64_t physical);

#define XVCPU_SIMULATED 1
#define XVCPU_ALLOC_PAGE(context) bare_alloc(context)
#define XVCPU_FREE_PAGE(context, page) bare_free((context), (page))
#define XVCPU_VIRT_TO_PHYS(context, pointer) bare_virt_to_phys((context), (pointer))
#define XVCPU_PHYS_TO_VIRT(context, physical) bare_phys_to_virt((context), (physical))
#define XVCPU_ASSERT(condition)                                                                    \
    ((condition) ? (void)0 : bail_out("assertion failed: %s, line %d", #condition, __LINE__))
#define XVCPU_IMPLEMENTATION
#include "../../xvcpu.h"

// -- Memory

#define BARE_PAGES 6007U          // a prime: every stride below it visits all pages
#define BARE_STRIDE 2749U
#define BARE_PAGES_PA 0x31000000U // of the first page from the allocation hook
#define BARE_RAM_PAGES 1021U
#define BARE_RAM_STRIDE 389U
#define BARE_RAM_PA 0x7A000000U

static _Alignas(4096) uint8_t bare_page[BARE_PAGES][4096];
static _Alignas(4096) uint8_t bare_ram[BARE_RAM_PAGES][4096];
static uint8_t bare_used[BARE_PAGES];
static uint32_t bare_next; // where the search for a free page goes on

static uint32_t bare_in_use;       // pages given out now
static uint32_t bare_allocations;  // since the test last cleared it
static uint32_t bare_fail_at;      // n: the n-th allocation fails, and every one after it
static uint64_t bare_next_physical; // if not 0: the physical address of the next page, a lie
static void (*bare_on_phys_to_virt)(uint64_t physical); // if not null: called first

static void *const bare_context = &bare_in_use;
static const void *bare_lie;
static uint64_t bare_lie_physical;

static void bare_check_context(void *context)
{
    if (context != bare_context)
        bail_out("a hook was called with the wrong context");
}

static void *bare_alloc(void *context)
{
    bare_check_context(context);
    bare_allocations++;
    if (bare_fail_at != 0 && bare_allocations >= bare_fail_at)
        return NULL;
    if (bare_in_use == BARE_PAGES)
        bail_out("the test has too few pages");
    while (bare_used[bare_next])
        bare_next = (bare_next + 1) % BARE_PAGES;
    bare_used[bare_next] = 1;
    bare_in_use++;
    BARE_UNPOISON(bare_page[bare_next]);
    memset(bare_page[bare_next], 0xA7, 4096);
    bare_lie = bare_next_physical ? bare_page[bare_next] : NULL;
    bare_lie_physical = bare_next_physical;
    return bare_page[bare_next];
}

static void bare_free(void *context, void *page)
{
    const uint64_t offset = (uint64_t)((uint8_t *)page - bare_page[0]);
    bare_check_context(context);
    if (offset >= sizeof bare_page || offset % 4096 != 0 || !bare_used[offset / 4096])
        bail_out("a page was freed that was not allocated");
    memset(page, 0xF7, 4096); // would be a present entry to whoever still looks
    BARE_POISON(page);
    bare_used[offset / 4096] = 0;
    bare_in_use--;
}

static uint64_t bare_virt_to_phys(void *context, const void *pointer)
{
    const uint64_t offset = (uint64_t)((const uint8_t *)pointer - bare_page[0]);
    bare_check_context(context);
    if (bare_lie && pointer == bare_lie)
        return bare_lie_physical;
    if (offset >= sizeof bare_page)
        bail_out("XVCPU_VIRT_TO_PHYS of a page the library was not given");
    return BARE_PAGES_PA + (offset / 4096 * BARE_STRIDE % BARE_PAGES) * 4096 + offset % 4096;
}

static uint64_t bare_ram_physical(uint64_t page)
{
    return BARE_RAM_PA + page * BARE_RAM_STRIDE % BARE_RAM_PAGES * 4096;
}

// Pages from the hook by physical page number, filled on first use.
static uint16_t bare_index[BARE_PAGES], bare_ram_index[BARE_RAM_PAGES];
static int bare_indexed;

static void *bare_phys_to_virt(void *context, uint64_t physical)
{
    bare_check_context(context);
    if (bare_on_phys_to_virt)
        bare_on_phys_to_virt(physical);
    if (!bare_indexed) {
        uint32_t i;
        for (i = 0; i < BARE_PAGES; i++)
            bare_index[(uint64_t)i * BARE_STRIDE % BARE_PAGES] = (uint16_t)i;
        for (i = 0; i < BARE_RAM_PAGES; i++)
            bare_ram_index[(uint64_t)i * BARE_RAM_STRIDE % BARE_RAM_PAGES] = (uint16_t)i;
        bare_indexed = 1;
    }
    if (physical >= BARE_PAGES_PA && physical < BARE_PAGES_PA + BARE_PAGES * 4096ULL)
        return &bare_page[bare_index[(physical - BARE_PAGES_PA) / 4096]][physical % 4096];
    if (physical >= BARE_RAM_PA && physical < BARE_RAM_PA + BARE_RAM_PAGES * 4096ULL)
        return &bare_ram[bare_ram_index[(physical - BARE_RAM_PA) / 4096]][physical % 4096];
    bail_out("XVCPU_PHYS_TO_VIRT of %#llx, where there is no memory",
             (unsigned long long)physical);
}

// -- Random numbers: xorshift64*. The seed is printed; argument or SEED in the environment sets it.

static uint64_t bare_random_state;

TAP_UNUSED static void bare_seed(void)
{
    const char *text = getenv("SEED");
    bare_random_state = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * 2654435761U;
    bare_random_state = bare_random_state ? bare_random_state : 1;
    diag("SEED=%#llx", (unsigned long long)bare_random_state);
}

TAP_UNUSED static uint64_t bare_random(void)
{
    bare_random_state ^= bare_random_state >> 12;
    bare_random_state ^= bare_random_state << 25;
    bare_random_state ^= bare_random_state >> 27;
    return bare_random_state * 0x2545F4914F6CDD1DU;
}

TAP_UNUSED static uint64_t bare_below(uint64_t limit)
{
    return bare_random() % limit;
}

// -- Capabilities: a processor that has all there is to EPT

TAP_UNUSED static void bare_caps(xvcpu_caps *caps)
{
    memset(caps, 0, sizeof *caps);
    caps->probed = 1;
    caps->physical_bits = 46;
    caps->linear_bits = 48;
    caps->controls[XVCPU_WORD_PROC2].may_be_1 = XVCPU_PROC2_EPT;
    caps->ept_vpid = XVCPU_VMX_EPT_VPID_CAP_EXECUTE_ONLY | XVCPU_VMX_EPT_VPID_CAP_WALK_4 |
                     XVCPU_VMX_EPT_VPID_CAP_MEMORY_UC | XVCPU_VMX_EPT_VPID_CAP_MEMORY_WB |
                     XVCPU_VMX_EPT_VPID_CAP_PAGE_2M | XVCPU_VMX_EPT_VPID_CAP_PAGE_1G |
                     XVCPU_VMX_EPT_VPID_CAP_ACCESSED_DIRTY;
}

// -- CPU instructions: none may be executed here

#define BARE_NEVER bail_out("%s was called", __func__)

xvcpu_vmx_result xvcpu_vmxon(xvcpu_u64 physical) { (void)physical; BARE_NEVER; }
xvcpu_vmx_result xvcpu_vmxoff(void) { BARE_NEVER; }
xvcpu_vmx_result xvcpu_vmclear(xvcpu_u64 physical) { (void)physical; BARE_NEVER; }
xvcpu_vmx_result xvcpu_vmptrld(xvcpu_u64 physical) { (void)physical; BARE_NEVER; }
void xvcpu_vmptrst(xvcpu_u64 *physical) { (void)physical; BARE_NEVER; }
xvcpu_vmx_result xvcpu_vmread(xvcpu_u64 field, xvcpu_u64 *value)
{
    (void)field, (void)value;
    BARE_NEVER;
}
xvcpu_vmx_result xvcpu_vmwrite(xvcpu_u64 field, xvcpu_u64 value)
{
    (void)field, (void)value;
    BARE_NEVER;
}
xvcpu_vmx_result xvcpu_invept(xvcpu_u64 type, xvcpu_u64 eptp)
{
    (void)type, (void)eptp;
    BARE_NEVER;
}
xvcpu_vmx_result xvcpu_invvpid(xvcpu_u64 type, xvcpu_u16 vpid, xvcpu_u64 address)
{
    (void)type, (void)vpid, (void)address;
    BARE_NEVER;
}
xvcpu_u32 xvcpui_enter(xvcpu *vcpu) { (void)vcpu; BARE_NEVER; }
xvcpu_u64 xvcpu_rdmsr(xvcpu_u32 index) { (void)index; BARE_NEVER; }
void xvcpu_wrmsr(xvcpu_u32 index, xvcpu_u64 value) { (void)index, (void)value; BARE_NEVER; }
xvcpu_u64 xvcpu_read_cr0(void) { BARE_NEVER; }
xvcpu_u64 xvcpu_read_cr3(void) { BARE_NEVER; }
xvcpu_u64 xvcpu_read_cr4(void) { BARE_NEVER; }
void xvcpu_write_cr0(xvcpu_u64 value) { (void)value; BARE_NEVER; }
void xvcpu_write_cr4(xvcpu_u64 value) { (void)value; BARE_NEVER; }
xvcpu_u64 xvcpu_read_dr(xvcpu_u32 number) { (void)number; BARE_NEVER; }
void xvcpu_write_dr(xvcpu_u32 number, xvcpu_u64 value) { (void)number, (void)value; BARE_NEVER; }
void xvcpu_cpuid(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_cpuid_regs *regs)
{
    (void)leaf, (void)subleaf, (void)regs;
    BARE_NEVER;
}
xvcpu_u64 xvcpu_xgetbv(void) { BARE_NEVER; }
void xvcpu_xsetbv(xvcpu_u64 value) { (void)value; BARE_NEVER; }
xvcpu_u64 xvcpu_rdtsc(void) { BARE_NEVER; }
void xvcpu_sgdt(xvcpu_table_register *table) { (void)table; BARE_NEVER; }
void xvcpu_sidt(xvcpu_table_register *table) { (void)table; BARE_NEVER; }
void xvcpu_lgdt(const xvcpu_table_register *table) { (void)table; BARE_NEVER; }
void xvcpu_lidt(const xvcpu_table_register *table) { (void)table; BARE_NEVER; }
xvcpu_u16 xvcpu_sldt(void) { BARE_NEVER; }
void xvcpu_lldt(xvcpu_u16 selector) { (void)selector; BARE_NEVER; }
xvcpu_u16 xvcpu_str(void) { BARE_NEVER; }
void xvcpu_ltr(xvcpu_u16 selector) { (void)selector; BARE_NEVER; }
xvcpu_u16 xvcpu_read_selector(xvcpu_segment segment) { (void)segment; BARE_NEVER; }
void xvcpu_load_selector(xvcpu_segment segment, xvcpu_u16 selector)
{
    (void)segment, (void)selector;
    BARE_NEVER;
}
void xvcpu_xsave(void *area, xvcpu_u64 mask) { (void)area, (void)mask; BARE_NEVER; }
void xvcpu_xrstor(const void *area, xvcpu_u64 mask) { (void)area, (void)mask; BARE_NEVER; }
void xvcpu_fxsave(void *area) { (void)area; BARE_NEVER; }
void xvcpu_fxrstor(const void *area) { (void)area; BARE_NEVER; }
void xvcpu_host_nmi(void) { BARE_NEVER; }

#endif
