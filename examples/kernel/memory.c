// memory.c - the page allocator: one bit per page of the first 4 GiB, set when it is not free.
#include "internal.h"

#define PAGES (0x100000000ull / KERNEL_PAGE_SIZE)
#define WORDS (PAGES / 64)
#define LOWEST LAYOUT_LOAD        // below is the trampoline, firmware data, the video memory
#define POISON_WORD 0xdfdfdfdfdfdfdfdfull // freed pages: a late use of one shows

static u64 taken[WORDS];
static u64 known[WORDS]; // is RAM of ours at all: catches a bad page_free
static size_t free_count;
static size_t total_count;
static size_t next_word;
static struct kernel_lock memory_lock;

extern char kernel_end[];

static u64 bit_of(u64 page)
{
    return 1ull << (page % 64);
}

static bool is_taken(u64 page)
{
    return (taken[page / 64] & bit_of(page)) != 0;
}

static u64 memory_take(void)
{
    u64 rflags = read_rflags();
    cli();
    lock_take(&memory_lock);
    return rflags;
}

static void memory_release(u64 rflags)
{
    lock_release(&memory_lock);
    if ((rflags & 0x200) != 0) {
        sti();
    }
}

static void fill(void *page, size_t n_pages, u64 word)
{
    size_t words = n_pages * KERNEL_PAGE_SIZE / 8;
    __asm__ volatile("rep stosq" : "+D"(page), "+c"(words) : "a"(word) : "memory");
}

void memory_start(void)
{
    memset(taken, 0xff, sizeof(taken));
}

void memory_add(u64 from, u64 to)
{
    u64 first = (from + KERNEL_PAGE_SIZE - 1) / KERNEL_PAGE_SIZE;
    u64 end = to / KERNEL_PAGE_SIZE;
    if (first < LOWEST / KERNEL_PAGE_SIZE) {
        first = LOWEST / KERNEL_PAGE_SIZE;
    }
    if (end > PAGES) {
        end = PAGES;
    }
    for (u64 page = first; page < end; page++) {
        taken[page / 64] &= ~bit_of(page);
    }
}

void memory_finish(void)
{
    u64 end = (phys_of(kernel_end) + KERNEL_PAGE_SIZE - 1) / KERNEL_PAGE_SIZE;
    for (u64 page = LOWEST / KERNEL_PAGE_SIZE; page < end; page++) {
        taken[page / 64] |= bit_of(page);
    }
    for (size_t i = 0; i < WORDS; i++) {
        known[i] = ~taken[i];
        for (u64 rest = known[i]; rest != 0; rest &= rest - 1) {
            total_count++;
        }
    }
    free_count = total_count;
}

size_t pages_free(void)
{
    return __atomic_load_n(&free_count, __ATOMIC_RELAXED);
}

size_t pages_total(void)
{
    return total_count;
}

void *page_alloc(void)
{
    u64 rflags = memory_take();
    void *result = NULL;
    for (size_t i = 0; i < WORDS && result == NULL; i++) {
        size_t word = (next_word + i) % WORDS;
        if (taken[word] != ~0ull) {
            u64 page = word * 64 + (u64)__builtin_ctzll(~taken[word]);
            taken[word] |= bit_of(page);
            free_count--;
            next_word = word;
            result = virt_of(page * KERNEL_PAGE_SIZE);
        }
    }
    memory_release(rflags);
    if (result != NULL) {
        fill(result, 1, 0);
    }
    return result;
}

void page_free(void *page)
{
    page_free_contiguous(page, 1);
}

void *page_alloc_contiguous(size_t n_pages, size_t align_pages)
{
    u64 rflags;
    u64 first = 0;
    u64 run = 0;
    if (align_pages == 0) {
        align_pages = 1;
    }
    if (n_pages == 0 || n_pages > PAGES || (align_pages & (align_pages - 1)) != 0) {
        return NULL;
    }
    rflags = memory_take();
    for (u64 page = 0; page < PAGES && run < n_pages; page++) {
        if (run == 0) {
            // Nothing can start here: go on with the next word or the next aligned page.
            if (taken[page / 64] == ~0ull) {
                page |= 63;
                continue;
            }
            if (page % align_pages != 0) {
                page |= align_pages - 1;
                continue;
            }
            first = page;
        }
        run = is_taken(page) ? 0 : run + 1;
    }
    if (run == n_pages) {
        for (u64 page = first; page < first + n_pages; page++) {
            taken[page / 64] |= bit_of(page);
        }
        free_count -= n_pages;
    }
    memory_release(rflags);
    if (run != n_pages) {
        return NULL;
    }
    fill(virt_of(first * KERNEL_PAGE_SIZE), n_pages, 0);
    return virt_of(first * KERNEL_PAGE_SIZE);
}

void page_free_contiguous(void *first, size_t n_pages)
{
    u64 pa = phys_of(first);
    u64 from = pa / KERNEL_PAGE_SIZE;
    u64 rflags;
    if (pa % KERNEL_PAGE_SIZE != 0 || n_pages > PAGES || from + n_pages > PAGES) {
        kernel_panic("freeing %zu pages at %p", n_pages, first);
    }
    rflags = memory_take();
    for (u64 page = from; page < from + n_pages; page++) {
        if ((known[page / 64] & bit_of(page)) == 0 || !is_taken(page)) {
            kernel_panic("freeing physical page 0x%lx, which is not allocated",
                         page * KERNEL_PAGE_SIZE);
        }
        fill(virt_of(page * KERNEL_PAGE_SIZE), 1, POISON_WORD);
        taken[page / 64] &= ~bit_of(page);
    }
    free_count += n_pages;
    memory_release(rflags);
}

u64 phys_of(const void *va)
{
    u64 address = (u64)(uintptr_t)va;
    if (address >= KERNEL_IMAGE_MAP && address < KERNEL_IMAGE_MAP + 0x40000000ul) {
        return address - KERNEL_IMAGE_MAP;
    }
    if (address >= KERNEL_PHYS_MAP && address < KERNEL_PHYS_MAP + 0x100000000ul) {
        return address - KERNEL_PHYS_MAP;
    }
    kernel_panic("phys_of(%p): not an address of ours", va);
}

void *virt_of(u64 pa)
{
    if (pa >= 0x100000000ul) {
        kernel_panic("virt_of(0x%lx): not mapped", pa);
    }
    return (void *)(uintptr_t)(KERNEL_PHYS_MAP + pa);
}
