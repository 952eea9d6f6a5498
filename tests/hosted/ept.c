// EPT: the library's tables against a model that knows only pages, under random operations and with
// an allocator that fails at every point; the encoding rules; the generation that asks for INVEPT.
//
// usage: [SEED=n] ept        output: TAP

#include "bare.h"

#define KB4 0x1000ULL
#define MB2 0x200000ULL
#define GB1 0x40000000ULL
#define GB512 0x8000000000ULL
#define GPA_LIMIT (1ULL << 46) // bare_caps

static xvcpu_caps caps;
static xvcpu_ept ept;
static xvcpu_error error;

static xvcpu_status create(uint32_t max_page_level, int accessed_dirty)
{
    xvcpu_ept_desc desc;
    memset(&desc, 0, sizeof desc);
    memset(&ept, 0x5A, sizeof ept);
    desc.context = bare_context;
    desc.max_page_level = max_page_level;
    desc.accessed_dirty = accessed_dirty != 0;
    return xvcpu_ept_create(&ept, &desc, &caps, &error);
}

static void must_create(uint32_t max_page_level, int accessed_dirty)
{
    if (create(max_page_level, accessed_dirty) != XVCPU_STATUS_OK)
        bail_out("cannot create an EPT: %s", error.detail);
}

static void destroy(const char *what)
{
    xvcpu_ept_destroy(&ept);
    is_hex(bare_in_use, 0, "%s: nothing leaked", what);
}

static void must_map(uint64_t gpa, uint64_t hpa, uint64_t bytes, uint32_t permissions,
                     xvcpu_memory_type type)
{
    if (xvcpu_ept_map(&ept, gpa, hpa, bytes, permissions, type, &error) != XVCPU_STATUS_OK)
        bail_out("cannot map %#llx: %s", (unsigned long long)gpa, error.detail);
}

// The test's own walk: the leaf entry that maps gpa, or null.
static uint64_t *leaf_of(uint64_t gpa, int *level)
{
    uint64_t table = ept.eptp & 0x000FFFFFFFFFF000ULL;
    for (*level = 4;; (*level)--) {
        uint64_t *const entries = (uint64_t *)bare_phys_to_virt(bare_context, table);
        uint64_t *const entry = &entries[(gpa >> (12 + 9 * (*level - 1))) % 512];
        if ((*entry & 7) == 0)
            return NULL;
        if (*level == 1 || (*entry & 0x80) != 0)
            return entry;
        if ((*entry & 7) != 7 || (*entry & 0xF8) != 0 || *level < 2)
            bail_out("a link has permissions or reserved bits wrong: %#llx",
                     (unsigned long long)*entry);
        table = *entry & 0x000FFFFFFFFFF000ULL;
    }
}

// -- Model: for each 4 KiB page of a window of guest-physical memory, what maps it

typedef struct page {
    uint64_t hpa;
    uint8_t permissions; // 0: not mapped
    uint8_t type;
    uint8_t level; // of the leaf
} page;

static uint64_t window; // first address
static uint64_t pages;  // of the window
static page *model;
static uint32_t model_max_level;

static uint64_t level_pages(int level)
{
    return level == 1 ? 1 : level == 2 ? 512 : 512 * 512;
}

static void model_open(uint64_t first, uint64_t count, uint32_t max_level)
{
    window = first;
    pages = count;
    model_max_level = max_level;
    model = (page *)calloc(count, sizeof *model);
    if (!model)
        bail_out("out of memory");
}

static void model_close(void)
{
    free(model);
    model = NULL;
}

// Page numbers count from the beginning of the address space, so that they show the alignment.
static page *at(uint64_t number)
{
    return &model[number - window / KB4];
}

static void model_map(uint64_t gpa, uint64_t hpa, uint64_t bytes, uint32_t permissions, int type)
{
    uint64_t n = gpa / KB4, left = bytes / KB4, frame = hpa / KB4, i;
    while (left > 0) {
        int level = (int)model_max_level;
        while (n % level_pages(level) || frame % level_pages(level) || left < level_pages(level))
            level--;
        for (i = 0; i < level_pages(level); i++, n++, frame++, left--) {
            at(n)->hpa = frame * KB4;
            at(n)->permissions = (uint8_t)permissions;
            at(n)->type = (uint8_t)type;
            at(n)->level = (uint8_t)level;
        }
    }
}

static int model_any(uint64_t gpa, uint64_t bytes, int mapped)
{
    uint64_t i;
    for (i = 0; i < bytes / KB4; i++) {
        if ((at(gpa / KB4 + i)->permissions != 0) == mapped)
            return 1;
    }
    return 0;
}

// A large page that lies on both sides of `gpa` becomes smaller ones. True: it did.
static int model_split(uint64_t gpa, uint32_t unless)
{
    const uint64_t n = gpa / KB4;
    int split = 0;
    uint64_t i;
    if (gpa >= window + pages * KB4)
        return 0;
    while (at(n)->permissions != 0 && at(n)->permissions != unless &&
           n % level_pages(at(n)->level) != 0) {
        const uint64_t size = level_pages(at(n)->level);
        const uint64_t first = n / size * size;
        const uint8_t level = (uint8_t)(at(n)->level - 1);
        for (i = 0; i < size; i++)
            at(first + i)->level = level;
        split = 1;
    }
    return split;
}

static void model_unmap(uint64_t gpa, uint64_t bytes)
{
    (void)model_split(gpa, 0);
    (void)model_split(gpa + bytes, 0);
    memset(at(gpa / KB4), 0, bytes / KB4 * sizeof(page));
}

// True: somebody may hold a translation that is no longer right.
static int model_protect(uint64_t gpa, uint64_t bytes, uint32_t permissions)
{
    int stale = model_split(gpa, permissions);
    uint64_t i;
    stale |= model_split(gpa + bytes, permissions);
    for (i = 0; i < bytes / KB4; i++) {
        page *const p = at(gpa / KB4 + i);
        stale |= (p->permissions & ~permissions) != 0;
        p->permissions = (uint8_t)permissions;
    }
    return stale;
}

// Tables a tree for the model needs: the root, and at each level one per block with a smaller leaf.
static uint32_t model_tables(void)
{
    const uint64_t first = window / KB4;
    uint32_t count = 1;
    int level;
    for (level = 1; level <= 3; level++) {
        const uint64_t block = level_pages(level) * 512;
        uint64_t counted = ~0ULL, n;
        for (n = first; n < first + pages; n++) {
            if (at(n)->permissions != 0 && at(n)->level <= level && n / block != counted) {
                counted = n / block;
                count++;
            }
        }
    }
    return count;
}

// Compares every page of the window, and the number of tables. False: prints the first difference.
static int agrees(const char *after)
{
    const uint64_t first = window / KB4;
    uint64_t n;
    xvcpu_ept_mapping m;
    for (n = first; n < first + pages; n++) {
        const page *const p = at(n);
        const uint64_t inside = bare_below(KB4);
        const int mapped = xvcpu_ept_translate(&ept, n * KB4 + inside, &m);
        if (mapped != (p->permissions != 0) ||
            (mapped && (m.hpa != p->hpa + inside || m.permissions != p->permissions ||
                        m.memory_type != p->type || m.page_bytes != level_pages(p->level) * KB4 ||
                        m.ignore_pat || m.accessed || m.dirty))) {
            diag("after %s: page %#llx: mapped %d, want %d; hpa %#llx, want %#llx; permissions "
                 "%u, want %u; type %u, want %u; page %#llx, want level %u",
                 after, (unsigned long long)(n * KB4), mapped, p->permissions != 0,
                 (unsigned long long)m.hpa, (unsigned long long)(p->hpa + inside), m.permissions,
                 p->permissions, m.memory_type, p->type, (unsigned long long)m.page_bytes,
                 p->level);
            return 0;
        }
    }
    if (ept.pool.in_use != model_tables() || bare_in_use != ept.pool.in_use) {
        diag("after %s: %u tables, the hook says %u, want %u", after, ept.pool.in_use, bare_in_use,
             model_tables());
        return 0;
    }
    return 1;
}

// -- Random operations

static const uint32_t valid_permissions[] = {1, 3, 4, 5, 7};
static const int valid_types[] = {0, 1, 4, 5, 6};
#define ONE_OF(array) ((array)[bare_below(sizeof(array) / sizeof((array)[0]))])

static uint64_t random_address(uint64_t base, uint64_t count)
{
    static const uint64_t steps[] = {1, 1, 512, 512, 512 * 512};
    const uint64_t step = ONE_OF(steps);
    const uint64_t n = base / KB4 + bare_below(count + 1);
    const uint64_t rounded = n / step * step;
    return (rounded < base / KB4 ? base / KB4 : rounded) * KB4;
}

enum operation { MAP, UNMAP, PROTECT };

typedef struct request {
    enum operation operation;
    uint64_t gpa, hpa, bytes;
    uint32_t permissions;
    int type;
} request;

static void random_request(request *r)
{
    uint64_t a, b;
    r->operation = (enum operation)bare_below(3);
    do {
        a = random_address(window, pages);
        b = random_address(window, pages);
    } while (a == b);
    if (b < a) {
        const uint64_t swap = a;
        a = b;
        b = swap;
    }
    // Most of the time a range that is wholly unmapped or mapped, as the operation needs it.
    if (r->operation != UNMAP && bare_below(4) != 0) {
        uint64_t n = a / KB4, m;
        while (n < b / KB4 && (at(n)->permissions != 0) != (r->operation == PROTECT))
            n++;
        for (m = n; m < b / KB4 && (at(m)->permissions != 0) == (r->operation == PROTECT);)
            m++;
        a = m > n ? n * KB4 : a;
        b = m > n ? m * KB4 : b;
    }
    r->gpa = a;
    r->bytes = b - a;
    // Half of the time aligned with the guest-physical address, which makes large pages.
    r->hpa = bare_below(2) ? (r->gpa + bare_below(8) * GB1) % (GPA_LIMIT / 2)
                           : random_address(GB1, 1 << 24);
    r->permissions = ONE_OF(valid_permissions);
    r->type = ONE_OF(valid_types);
}

static xvcpu_status apply(const request *r)
{
    memset(&error, 0x33, sizeof error);
    switch (r->operation) {
    case MAP:
        return xvcpu_ept_map(&ept, r->gpa, r->hpa, r->bytes, r->permissions,
                             (xvcpu_memory_type)r->type, &error);
    case UNMAP: return xvcpu_ept_unmap(&ept, r->gpa, r->bytes, &error);
    case PROTECT: return xvcpu_ept_protect(&ept, r->gpa, r->bytes, r->permissions, &error);
    }
    return XVCPU_STATUS_OK;
}

// The first address of a range that is (or is not) mapped.
static uint64_t model_first(const request *r, int mapped)
{
    uint64_t n = r->gpa / KB4;
    while ((at(n)->permissions != 0) != mapped)
        n++;
    return n * KB4;
}

// Makes the model do the same; false if the library did not do what it should have.
static int expect(const request *r, xvcpu_status status, uint64_t generation)
{
    int stale = 0;
    if (r->operation == MAP && model_any(r->gpa, r->bytes, 1)) {
        if (status != XVCPU_STATUS_ALREADY_MAPPED || error.value != model_first(r, 1))
            return 0;
    } else if (r->operation == PROTECT && model_any(r->gpa, r->bytes, 0)) {
        if (status != XVCPU_STATUS_NOT_MAPPED || error.value != model_first(r, 0))
            return 0;
    } else if (status != XVCPU_STATUS_OK) {
        return 0;
    } else if (r->operation == MAP) {
        model_map(r->gpa, r->hpa, r->bytes, r->permissions, r->type);
    } else if (r->operation == UNMAP) {
        stale = model_any(r->gpa, r->bytes, 1);
        model_unmap(r->gpa, r->bytes);
    } else {
        stale = model_protect(r->gpa, r->bytes, r->permissions);
    }
    if ((ept.generation != generation) != stale || ept.generation < generation) {
        diag("T68: generation went from %llu to %llu, stale translations: %d",
             (unsigned long long)generation, (unsigned long long)ept.generation, stale);
        return 0;
    }
    return 1;
}

// With `fail`, each operation is first tried with the allocator failing at its 1st, 2nd... page:
// the tries must change nothing at all.
static void random_operations(const char *name, uint64_t first, uint64_t count, uint32_t max_level,
                              int operations, int fail)
{
    static const char *const names[] = {"map", "unmap", "protect"};
    int i, good = 1, failures = 0, done[3] = {0, 0, 0};
    model_open(first, count, max_level);
    must_create(max_level, 0);
    for (i = 0; i < operations && good; i++) {
        request r;
        uint64_t generation = ept.generation;
        uint32_t n;
        xvcpu_status status = XVCPU_STATUS_OUT_OF_PAGES;
        random_request(&r);
        for (n = 1; good && status == XVCPU_STATUS_OUT_OF_PAGES; n = n < 8 ? n + 1 : n * 2) {
            bare_allocations = 0;
            bare_fail_at = fail ? n : 0;
            status = apply(&r);
            bare_fail_at = 0;
            if (status == XVCPU_STATUS_OUT_OF_PAGES) {
                failures++;
                good = error.status == status && error.detail && ept.generation == generation &&
                       agrees("a failed allocation");
            }
        }
        if (!good)
            diag("a failed %s changed something", names[r.operation]);
        else
            good = expect(&r, status, generation) && agrees(names[r.operation]);
        if (!good)
            diag("operation %d: %s %#llx + %#llx -> %#llx, permissions %u: %s", i,
                 names[r.operation], (unsigned long long)r.gpa, (unsigned long long)r.bytes,
                 (unsigned long long)r.hpa, r.permissions, xvcpu_status_name(status));
        done[r.operation] += status == XVCPU_STATUS_OK;
    }
    ok(good, "%s: %d random operations agree with the model (%d maps, %d unmaps, %d protects, %d "
             "failed allocations)", name, i, done[MAP], done[UNMAP], done[PROTECT], failures);
    ok(done[MAP] > operations / 50 && done[UNMAP] > operations / 50 &&
           done[PROTECT] > operations / 50 && (failures > operations / 10) == fail,
       "%s: every kind of operation was done", name);
    destroy(name);
    model_close();
}

// -- Creation

static void test_create(void)
{
    xvcpu_ept_desc desc;
    const uint64_t all = caps.ept_vpid;
    xvcpu_status status;
    memset(&desc, 0, sizeof desc);
    must_create(0, 0);
    is_hex(ept.eptp, ept.root_pa | 6 | 3 << 3, "T16: EPTP: write-back, 4 levels, no flags");
    ok(ept.root_pa == bare_virt_to_phys(bare_context, ept.root), "EPTP: physical address");
    ok(ept.pool.in_use == 1 && ept.max_page_level == 3 && ept.levels == 4, "a new EPT is a root");
    ok(ept.generation != 0, "T68: a new EPT is to be invalidated before its first use");
    destroy("an EPT");
    xvcpu_ept_destroy(&ept);
    ok(bare_in_use == 0, "destroyed twice");
    ok(!xvcpu_ept_translate(&ept, 0, NULL) && !xvcpu_ept_pointer(&ept, 0, 0, NULL) &&
           xvcpu_ept_unmap(&ept, 0, KB4, NULL) == XVCPU_STATUS_INVALID_STATE,
       "a destroyed EPT is refused");

    must_create(0, 1);
    is_hex(ept.eptp, ept.root_pa | 6 | 3 << 3 | 1 << 6, "T16: EPTP: accessed and dirty flags");
    destroy("an EPT with accessed and dirty flags");
    caps.ept_vpid = all & ~XVCPU_VMX_EPT_VPID_CAP_MEMORY_WB;
    must_create(0, 0);
    is_hex(ept.eptp, ept.root_pa | 0 | 3 << 3, "T16: EPTP: uncacheable without write-back");
    destroy("an uncacheable EPT");
    caps.ept_vpid = all & ~XVCPU_VMX_EPT_VPID_CAP_PAGE_1G;
    must_create(3, 0);
    is_hex(ept.max_page_level, 2, "no 1 GiB pages where the processor has none");
    destroy("an EPT without 1 GiB pages");
    caps.ept_vpid = all & ~XVCPU_VMX_EPT_VPID_CAP_PAGE_2M & ~XVCPU_VMX_EPT_VPID_CAP_PAGE_1G;
    must_create(0, 0);
    is_hex(ept.max_page_level, 1, "4 KiB pages only where the processor has no others");
    destroy("an EPT with small pages");

    caps.ept_vpid = all & ~XVCPU_VMX_EPT_VPID_CAP_ACCESSED_DIRTY;
    ok(create(0, 1) == XVCPU_STATUS_UNSUPPORTED && error.msr == 0x48C && error.bits == 1U << 21,
       "T16: accessed and dirty flags asked for and missing");
    ok(create(0, 0) == XVCPU_STATUS_OK, "not asked for: no matter");
    destroy("an EPT on such a processor");
    caps.ept_vpid = all & ~XVCPU_VMX_EPT_VPID_CAP_WALK_4;
    ok(create(0, 0) == XVCPU_STATUS_UNSUPPORTED && error.msr == 0x48C && error.bits == 1U << 6,
       "T16: no 4-level walk");
    caps.ept_vpid = all & ~XVCPU_VMX_EPT_VPID_CAP_MEMORY_WB & ~XVCPU_VMX_EPT_VPID_CAP_MEMORY_UC;
    ok(create(0, 0) == XVCPU_STATUS_UNSUPPORTED && error.msr == 0x48C &&
           error.bits == (1U << 14 | 1U << 8), "T16: no memory type");
    caps.ept_vpid = all;
    caps.controls[XVCPU_WORD_PROC2].may_be_1 = ~XVCPU_PROC2_EPT;
    ok(create(0, 0) == XVCPU_STATUS_UNSUPPORTED && error.msr == 0x48B && error.bits == 2,
       "no EPT at all");
    caps.controls[XVCPU_WORD_PROC2].may_be_1 = XVCPU_PROC2_EPT;
    ok(create(4, 0) == XVCPU_STATUS_INVALID_ARGUMENT, "no page level 4");
    desc.canary_first = 1;
    status = xvcpu_ept_create(&ept, &desc, &caps, &error);
    ok(status == XVCPU_STATUS_UNINITIALIZED_DESC, "first canary");
    desc.canary_first = 0;
    desc.canary_last = 1;
    status = xvcpu_ept_create(&ept, &desc, &caps, NULL);
    ok(status == XVCPU_STATUS_UNINITIALIZED_DESC, "last canary, no error wanted");
    ok(xvcpu_ept_create(&ept, NULL, &caps, &error) == XVCPU_STATUS_INVALID_ARGUMENT &&
           xvcpu_ept_create(NULL, &desc, &caps, &error) == XVCPU_STATUS_INVALID_ARGUMENT &&
           xvcpu_ept_create(&ept, &desc, NULL, &error) == XVCPU_STATUS_INVALID_ARGUMENT,
       "null arguments");

    bare_allocations = 0;
    bare_fail_at = 1;
    ok(create(0, 0) == XVCPU_STATUS_OUT_OF_PAGES, "no page for the root");
    bare_fail_at = 0;
    bare_next_physical = 1ULL << 46;
    ok(create(0, 0) == XVCPU_STATUS_BAD_PAGE && error.value == 1ULL << 46,
       "a root that lies beyond the physical-address width");
    bare_next_physical = 0x12345800;
    ok(create(0, 0) == XVCPU_STATUS_BAD_PAGE, "a root that is not aligned");
    bare_next_physical = 0;
    caps.basic = XVCPU_VMX_BASIC_ADDRESS_32BIT;
    bare_next_physical = 1ULL << 32;
    ok(create(0, 0) == XVCPU_STATUS_BAD_PAGE, "T4: a root above 4 GiB where that is forbidden");
    bare_next_physical = 0;
    caps.basic = 0;
    is_hex(bare_in_use, 0, "failed creations leak nothing");
    must_create(0, 0);
    bare_next_physical = 1ULL << 46;
    ok(xvcpu_ept_map(&ept, 0, 0, KB4, 7, XVCPU_MEMORY_WB, &error) == XVCPU_STATUS_BAD_PAGE &&
           ept.pool.in_use == 1 && !xvcpu_ept_translate(&ept, 0, NULL),
       "a table that lies beyond the physical-address width: not mapped");
    bare_next_physical = 0;
    bare_lie = NULL;
    destroy("bad pages");
}

// A build without allocation hooks gives the pages in the desc.
static void test_supply(void)
{
    static _Alignas(4096) uint8_t dummy;
    xvcpu_ept_desc desc;
    uint32_t i;
    (void)dummy;
    memset(&desc, 0, sizeof desc);
    desc.context = bare_context;
    desc.supply.pages = bare_page[0];
    desc.supply.count = 4;
    for (i = 0; i < desc.supply.count; i++)
        BARE_UNPOISON(bare_page[i]);
    bare_allocations = 0;
    if (xvcpu_ept_create(&ept, &desc, &caps, &error) != XVCPU_STATUS_OK)
        bail_out("cannot create from a supply");
    ok(xvcpu_ept_map(&ept, 0, GB1, KB4, 7, XVCPU_MEMORY_WB, &error) == XVCPU_STATUS_OK &&
           ept.pool.in_use == 4, "supplied pages: exactly enough");
    ok(xvcpu_ept_map(&ept, MB2, GB1, KB4, 7, XVCPU_MEMORY_WB, &error) ==
           XVCPU_STATUS_OUT_OF_PAGES, "supplied pages: one too few");
    ok(xvcpu_ept_unmap(&ept, 0, KB4, &error) == XVCPU_STATUS_OK && ept.pool.in_use == 1,
       "supplied pages: tables go back");
    ok(xvcpu_ept_map(&ept, MB2, GB1, KB4, 7, XVCPU_MEMORY_WB, &error) == XVCPU_STATUS_OK,
       "supplied pages: and are used again");
    xvcpu_ept_destroy(&ept);
    ok(ept.pool.in_use == 0 && bare_allocations == 0, "supplied pages: no hook was called");
    for (i = 0; i < 4; i++)
        BARE_POISON(bare_page[i]);
}

// -- Arguments

static void test_permissions(void)
{
    uint32_t p;
    int capable, good = 1;
    const uint64_t all = caps.ept_vpid;
    for (capable = 0; capable < 2; capable++) {
        caps.ept_vpid = capable ? all : all & ~XVCPU_VMX_EPT_VPID_CAP_EXECUTE_ONLY;
        must_create(0, 0);
        must_map(MB2, MB2, KB4, 7, XVCPU_MEMORY_WB);
        for (p = 0; p < 40; p++) {
            // Row by row: what the processor would call a misconfiguration, or not present.
            static const xvcpu_status table[8] = {
                XVCPU_STATUS_INVALID_ARGUMENT, // ---
                XVCPU_STATUS_OK,               // r--
                XVCPU_STATUS_INVALID_ARGUMENT, // -w-
                XVCPU_STATUS_OK,               // rw-
                XVCPU_STATUS_OK,               // --x, with the capability
                XVCPU_STATUS_OK,               // r-x
                XVCPU_STATUS_INVALID_ARGUMENT, // -wx
                XVCPU_STATUS_OK,               // rwx
            };
            xvcpu_status want = p > 7 ? XVCPU_STATUS_INVALID_ARGUMENT : table[p];
            xvcpu_status mapped, changed;
            xvcpu_error map_error;
            if (p == 4 && !capable)
                want = XVCPU_STATUS_UNSUPPORTED;
            mapped = xvcpu_ept_map(&ept, 0, 0, KB4, p, XVCPU_MEMORY_WB, &map_error);
            changed = xvcpu_ept_protect(&ept, MB2, KB4, p, &error);
            if (mapped != want || changed != want ||
                xvcpu_ept_translate(&ept, 0, NULL) != (want == XVCPU_STATUS_OK) ||
                (want == XVCPU_STATUS_UNSUPPORTED &&
                 (error.msr != 0x48C || error.bits != 1 || map_error.msr != 0x48C))) {
                diag("permissions %u: map %s, protect %s", p, xvcpu_status_name(mapped),
                     xvcpu_status_name(changed));
                good = 0;
            }
            if (xvcpu_ept_unmap(&ept, 0, KB4, &error) != XVCPU_STATUS_OK)
                good = 0;
        }
        xvcpu_ept_destroy(&ept);
    }
    caps.ept_vpid = all;
    ok(good, "T67: permissions the processor has no meaning for are refused");
    good = 1;
    must_create(0, 0);
    for (p = 0; p < 16; p++) {
        const int want = p == 0 || p == 1 || p == 4 || p == 5 || p == 6;
        const xvcpu_status status =
            xvcpu_ept_map(&ept, p * GB1, GB1, MB2, 7, (xvcpu_memory_type)p, &error);
        int level;
        const uint64_t *const leaf = leaf_of(p * GB1, &level);
        good &= status == (want ? XVCPU_STATUS_OK : XVCPU_STATUS_INVALID_ARGUMENT);
        good &= want ? leaf && *leaf == (GB1 | 7 | p << 3 | 0x80) && level == 2 : !leaf;
    }
    ok(good, "T67: memory types 2, 3 and 7 and up are refused, the others encoded");
    destroy("memory types");
}

// Every leaf the library can write, against the SDM's list of misconfigurations.
static void test_encoder(void)
{
    static const uint64_t sizes[] = {0, KB4, MB2, GB1};
    const uint64_t above = ~((1ULL << 46) - 1) & 0x000FFFFFFFFFF000ULL;
    int i, good = 1;
    must_create(0, 0);
    for (i = 0; i < 3000 && good; i++) {
        const int level = 1 + (int)bare_below(3);
        const uint64_t gpa = bare_below(GPA_LIMIT / sizes[level]) * sizes[level];
        const uint64_t hpa = bare_below(GPA_LIMIT / sizes[level]) * sizes[level];
        const uint32_t permissions = (uint32_t)bare_below(16);
        const uint32_t type = (uint32_t)bare_below(9);
        const xvcpu_status status = xvcpu_ept_map(&ept, gpa, hpa, sizes[level], permissions,
                                                  (xvcpu_memory_type)type, &error);
        int found;
        const uint64_t *const leaf = leaf_of(gpa, &found);
        if (status == XVCPU_STATUS_OK) {
            const uint64_t e = leaf ? *leaf : 0;
            good = leaf && found == level && ((e & 2) == 0 || (e & 1) != 0) && (e & 7) != 0 &&
                   (e >> 3 & 7) != 2 && (e >> 3 & 7) != 3 && (e >> 3 & 7) != 7 &&
                   (e & above) == 0 && (e & (sizes[level] - 1) & ~0xFFFULL) == 0 &&
                   e == (hpa | permissions | type << 3 | (level > 1 ? 0x80 : 0));
        } else {
            good = !leaf && status == XVCPU_STATUS_INVALID_ARGUMENT;
        }
        if (xvcpu_ept_unmap(&ept, gpa, sizes[level], &error) != XVCPU_STATUS_OK ||
            ept.pool.in_use != 1)
            good = 0;
    }
    ok(good, "T67: encoder: %d random leaves, none misconfigured", i);
    destroy("encoder");
}

static void test_ranges(void)
{
    static const struct {
        uint64_t gpa, bytes, hpa;
        xvcpu_status map, other;
        const char *name;
    } table[] = {
        {0, 0, 0, XVCPU_STATUS_INVALID_ARGUMENT, XVCPU_STATUS_INVALID_ARGUMENT, "no bytes"},
        {1, KB4, 0, XVCPU_STATUS_INVALID_ARGUMENT, XVCPU_STATUS_INVALID_ARGUMENT, "gpa"},
        {0, 1, 0, XVCPU_STATUS_INVALID_ARGUMENT, XVCPU_STATUS_INVALID_ARGUMENT, "bytes"},
        {0, KB4, 8, XVCPU_STATUS_INVALID_ARGUMENT, XVCPU_STATUS_OK, "hpa"},
        {GPA_LIMIT - KB4, KB4, 0, XVCPU_STATUS_OK, XVCPU_STATUS_OK, "the last page"},
        {GPA_LIMIT, KB4, 0, XVCPU_STATUS_INVALID_ARGUMENT, XVCPU_STATUS_INVALID_ARGUMENT,
         "the page after it"},
        {GPA_LIMIT - KB4, 2 * KB4, 0, XVCPU_STATUS_INVALID_ARGUMENT, XVCPU_STATUS_INVALID_ARGUMENT,
         "both"},
        {0xFFFFFFFFFFFFF000, KB4, 0, XVCPU_STATUS_INVALID_ARGUMENT, XVCPU_STATUS_INVALID_ARGUMENT,
         "the last page of 64 bits"},
        {KB4, 0xFFFFFFFFFFFFF000, 0, XVCPU_STATUS_INVALID_ARGUMENT, XVCPU_STATUS_INVALID_ARGUMENT,
         "a range that wraps to 0"},
        {2 * KB4, 0xFFFFFFFFFFFFF000, 0, XVCPU_STATUS_INVALID_ARGUMENT,
         XVCPU_STATUS_INVALID_ARGUMENT, "a range that wraps past 0"},
        {0, KB4, GPA_LIMIT - KB4, XVCPU_STATUS_OK, XVCPU_STATUS_OK, "the last host page"},
        {0, 2 * KB4, GPA_LIMIT - KB4, XVCPU_STATUS_INVALID_ARGUMENT, XVCPU_STATUS_OK,
         "past the last host page"},
        {0, KB4, GPA_LIMIT, XVCPU_STATUS_INVALID_ARGUMENT, XVCPU_STATUS_OK,
         "beyond the host's address width"},
        {0, 2 * KB4, 0xFFFFFFFFFFFFF000, XVCPU_STATUS_INVALID_ARGUMENT, XVCPU_STATUS_OK,
         "a host range that wraps"},
    };
    size_t i;
    must_create(0, 0);
    for (i = 0; i < sizeof table / sizeof table[0]; i++) {
        const xvcpu_status map = xvcpu_ept_map(&ept, table[i].gpa, table[i].hpa, table[i].bytes, 7,
                                               XVCPU_MEMORY_WB, &error);
        const char *const detail = error.detail;
        xvcpu_status unmap, protect;
        const xvcpu_status want =
            table[i].other != XVCPU_STATUS_OK    ? table[i].other
            : table[i].map == XVCPU_STATUS_OK ? XVCPU_STATUS_OK
                                              : XVCPU_STATUS_NOT_MAPPED;
        protect = xvcpu_ept_protect(&ept, table[i].gpa, table[i].bytes, 5, &error);
        unmap = xvcpu_ept_unmap(&ept, table[i].gpa, table[i].bytes, &error);
        ok(map == table[i].map && unmap == table[i].other && protect == want &&
               ept.pool.in_use == 1 && (map == XVCPU_STATUS_OK || detail),
           "range: %s", table[i].name);
    }
    destroy("ranges");
    caps.physical_bits = 52;
    must_create(0, 0);
    must_map((1ULL << 48) - GB1, 0, GB1, 7, XVCPU_MEMORY_WB);
    ok(xvcpu_ept_unmap(&ept, (1ULL << 48) - KB4, KB4, &error) == XVCPU_STATUS_OK &&
           xvcpu_ept_translate(&ept, (1ULL << 48) - 2 * KB4, NULL) &&
           !xvcpu_ept_translate(&ept, (1ULL << 48) - KB4, NULL),
       "a split at the end of what 4 levels map");
    ok(xvcpu_ept_map(&ept, 1ULL << 48, 0, KB4, 7, XVCPU_MEMORY_WB, &error) ==
               XVCPU_STATUS_INVALID_ARGUMENT && !xvcpu_ept_translate(&ept, 1ULL << 48, NULL) &&
           !xvcpu_ept_translate(&ept, 1ULL << 63, NULL),
       "nothing above 48 bits, though physical addresses have 52");
    must_map(0, (1ULL << 52) - GB1, GB1, 7, XVCPU_MEMORY_WB);
    destroy("the top of the address space");
    caps.physical_bits = 46;
}

static void test_map_errors(void)
{
    must_create(0, 0);
    must_map(0x5000, GB1, KB4, 7, XVCPU_MEMORY_WB);
    ok(xvcpu_ept_map(&ept, 0, 0, GB1, 7, XVCPU_MEMORY_WB, &error) == XVCPU_STATUS_ALREADY_MAPPED &&
           error.value == 0x5000 && ept.pool.in_use == 4,
       "a page in the middle is mapped already: the first such address is told");
    ok(xvcpu_ept_protect(&ept, 0x5000, 2 * KB4, 1, &error) == XVCPU_STATUS_NOT_MAPPED &&
           error.value == 0x6000, "protect across a hole: the first address is told");
    ok(xvcpu_ept_map(&ept, 0x5000, 0, KB4, 7, XVCPU_MEMORY_WB, NULL) ==
           XVCPU_STATUS_ALREADY_MAPPED, "no error wanted");
    destroy("map errors");
}

// -- Generation

static void test_generation(void)
{
    uint64_t g;
    must_create(0, 0);
    g = ept.generation;
    must_map(0, 0, GB1, 7, XVCPU_MEMORY_WB);
    is_hex(ept.generation, g, "T68: not present to present needs no INVEPT");
    (void)!xvcpu_ept_protect(&ept, MB2, MB2, 7, &error);
    is_hex(ept.generation, g, "T68: nor does a change of nothing");
    ok(ept.pool.in_use == 2, "and nothing was split for it");
    (void)!xvcpu_ept_protect(&ept, 0, GB1, 5, &error);
    ok(ept.generation > g, "T68: a permission taken away does");
    g = ept.generation;
    (void)!xvcpu_ept_protect(&ept, 0, GB1, 7, &error);
    is_hex(ept.generation, g, "T68: a permission given does not");
    (void)!xvcpu_ept_protect(&ept, MB2, KB4, 5, &error);
    ok(ept.generation > g, "T68: a split does");
    g = ept.generation;
    (void)!xvcpu_ept_unmap(&ept, GB1, GB1, &error);
    is_hex(ept.generation, g, "T68: unmapping a hole does not");
    (void)!xvcpu_ept_unmap(&ept, 0, KB4, &error);
    ok(ept.generation > g, "T68: unmapping does");
    g = ept.generation;
    must_map(0, GB1, KB4, 7, XVCPU_MEMORY_WB);
    is_hex(ept.generation, g, "T68: a remap was counted when the old page went");
    destroy("generation");
}

// -- Splits

static void test_split(void)
{
    static const struct {
        uint64_t gpa, bytes;
        uint32_t tables; // after the split
    } table[] = {
        {0, KB4, 4},                   // first page: 1 GiB -> 2 MiB -> 4 KiB
        {GB1 - KB4, KB4, 4},           // last page
        {MB2, MB2, 3},                 // a whole 2 MiB page
        {MB2 + KB4, KB4, 4},           // both ends in the same table
        {MB2 - KB4, 2 * KB4, 5},       // the ends in two tables
        {5 * KB4, GB1 - 10 * KB4, 5},  // everything but the edges
        {MB2, GB1 - 2 * MB2, 3},
    };
    size_t i;
    int unmap, flags;
    for (i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (unmap = 0; unmap < 2; unmap++) {
            int good = 1, level;
            uint32_t fail;
            for (flags = 0; flags < 8 && good; flags++) {
                // Bits nobody but the processor and this test set: ignore PAT, accessed, dirty.
                const uint64_t set = (flags & 1 ? 0x40U : 0) | (flags & 2 ? 0x100U : 0) |
                                     (flags & 4 ? 0x200U : 0);
                uint64_t gpa;
                uint64_t *leaf;
                xvcpu_status status = XVCPU_STATUS_OUT_OF_PAGES;
                must_create(0, 1);
                must_map(GB1, 3 * GB1, GB1, 7, XVCPU_MEMORY_WT);
                leaf = leaf_of(GB1, &level);
                if (!leaf || level != 3)
                    bail_out("no 1 GiB page");
                *leaf |= set;
                for (fail = 1; status == XVCPU_STATUS_OUT_OF_PAGES && good; fail++) {
                    bare_allocations = 0;
                    bare_fail_at = fail;
                    status = unmap ? xvcpu_ept_unmap(&ept, GB1 + table[i].gpa, table[i].bytes, NULL)
                                   : xvcpu_ept_protect(&ept, GB1 + table[i].gpa, table[i].bytes, 1,
                                                       NULL);
                    bare_fail_at = 0;
                    if (status == XVCPU_STATUS_OUT_OF_PAGES)
                        good = *leaf == (3 * GB1 | set | 7 | 4 << 3 | 0x80) &&
                               ept.pool.in_use == 2 && ept.generation == 1;
                }
                good = good && status == XVCPU_STATUS_OK && fail == table[i].tables;
                // A range at a time is enough: entries between are of one kind.
                for (gpa = 0; gpa < GB1 && good;
                     gpa += gpa % MB2 == 9 * KB4 ? MB2 - 18 * KB4 : KB4) {
                    const int inside = gpa >= table[i].gpa && gpa - table[i].gpa < table[i].bytes;
                    const uint64_t offset = bare_below(KB4);
                    xvcpu_ept_mapping m;
                    const int mapped = xvcpu_ept_translate(&ept, GB1 + gpa + offset, &m);
                    if (inside && unmap)
                        good = !mapped;
                    else
                        good = mapped && m.hpa == 3 * GB1 + gpa + offset &&
                               m.permissions == (inside ? 1 : 7) && m.memory_type == 4 &&
                               m.ignore_pat == (flags & 1) && m.accessed == (flags >> 1 & 1) &&
                               m.dirty == (flags >> 2 & 1);
                    if (mapped) {
                        leaf = leaf_of(GB1 + gpa, &level);
                        good &= leaf && ((*leaf >> 7 & 1) == (level > 1));
                    }
                    if (!good)
                        diag("page %#llx, flags %d", (unsigned long long)gpa, flags);
                }
                // Not one table more than needed; unmapping may leave fewer.
                good = good && (unmap ? ept.pool.in_use <= table[i].tables
                                      : ept.pool.in_use == table[i].tables);
                xvcpu_ept_destroy(&ept);
                good = good && bare_in_use == 0;
            }
            ok(good, "T71: %s %#llx + %#llx of 1 GiB keeps type, ignore-PAT, permissions, A/D",
               unmap ? "unmapping" : "protecting", (unsigned long long)table[i].gpa,
               (unsigned long long)table[i].bytes);
        }
    }
}

// A guest on another CPU walks while large pages are split: a page nobody touches never vanishes.
static uint32_t stop_reading, reader_failed, reader_rounds;

static void *reader(void *unused)
{
    uint64_t n = 0;
    (void)unused;
    while (!__atomic_load_n(&stop_reading, __ATOMIC_ACQUIRE)) {
        const uint64_t gpa = (n * MB2) % GB1 + 0x1FF123;
        xvcpu_ept_mapping m;
        if (!xvcpu_ept_translate(&ept, gpa, &m) || m.hpa != 5 * GB1 + gpa || m.permissions != 7)
            __atomic_store_n(&reader_failed, 1, __ATOMIC_RELEASE);
        n++;
        __atomic_add_fetch(&reader_rounds, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void test_concurrent(void)
{
    pthread_t thread;
    uint64_t i;
    int round;
    for (round = 0; round < 20; round++) {
        must_create(0, 0);
        must_map(0, 5 * GB1, GB1, 7, XVCPU_MEMORY_WB);
        stop_reading = 0;
        if (pthread_create(&thread, NULL, reader, NULL) != 0)
            bail_out("no thread");
        while (__atomic_load_n(&reader_rounds, __ATOMIC_RELAXED) < (uint32_t)round * 10)
            ;
        for (i = 0; i < 512; i++)
            (void)!xvcpu_ept_protect(&ept, i * MB2, KB4, 1, &error);
        __atomic_store_n(&stop_reading, 1, __ATOMIC_RELEASE);
        (void)pthread_join(thread, NULL);
        xvcpu_ept_destroy(&ept);
    }
    ok(!reader_failed && reader_rounds > 100,
       "T71: a walk on another CPU never misses a page while its neighbours are split");
}

// -- Access by the host

static void test_access(void)
{
    static uint8_t buffer[3 * 4096], back[3 * 4096];
    uint64_t bytes, i;
    uint8_t *pointer;
    must_create(0, 0);
    for (i = 0; i < 4; i++)
        must_map(0x10000 + i * KB4, bare_ram_physical(i), KB4, i == 2 ? 1 : i == 3 ? 4 : 3,
                 XVCPU_MEMORY_WB);
    for (i = 0; i < sizeof buffer; i++)
        buffer[i] = (uint8_t)bare_random();
    is_hex(xvcpu_ept_write(&ept, 0x10123, buffer, 4096), 4096, "a write across two pages");
    ok(memcmp(&bare_ram[0][0x123], buffer, 4096 - 0x123) == 0 &&
           memcmp(&bare_ram[1][0], buffer + 4096 - 0x123, 0x123) == 0,
       "went to where the pages are");
    ok(xvcpu_ept_read(&ept, 0x10123, back, 4096) == 4096 && memcmp(buffer, back, 4096) == 0,
       "and is read back");
    is_hex(xvcpu_ept_write(&ept, 0x11800, buffer, 4096), 0x800,
           "a write stops at a read-only page");
    is_hex(xvcpu_ept_read(&ept, 0x11800, back, 3 * 4096), 0x1800,
           "a read stops at an execute-only page");
    is_hex(xvcpu_ept_read(&ept, 0xFFFFFFFFFFFFFFF8, back, 16), 0, "no read beyond 64 bits");
    is_hex(xvcpu_ept_read(&ept, 0x10000, back, 0), 0, "a read of nothing");
    pointer = (uint8_t *)xvcpu_ept_pointer(&ept, 0x11234, XVCPU_EPT_WRITE, &bytes);
    ok(pointer == &bare_ram[1][0x234] && bytes == 0x1000 - 0x234, "a pointer into a page");
    ok(!xvcpu_ept_pointer(&ept, 0x12000, XVCPU_EPT_WRITE, &bytes) && bytes == 0,
       "no pointer without the permission");
    ok(xvcpu_ept_pointer(&ept, 0x13000, XVCPU_EPT_EXECUTE, NULL) == bare_ram[3] &&
           xvcpu_ept_pointer(&ept, 0x13000, 0, NULL) == bare_ram[3] &&
           !xvcpu_ept_pointer(&ept, 0x14000, 0, NULL), "a pointer to fetch, or for any page");
    destroy("access");

    must_create(0, 1);
    must_map(0, bare_ram_physical(0), KB4, 7, XVCPU_MEMORY_WB);
    must_map(KB4, bare_ram_physical(1), KB4, 7, XVCPU_MEMORY_WB);
    {
        xvcpu_ept_mapping r, w;
        (void)xvcpu_ept_read(&ept, 0, back, 1);
        (void)xvcpu_ept_write(&ept, KB4, back, 1);
        ok(xvcpu_ept_translate(&ept, 0, &r) && xvcpu_ept_translate(&ept, KB4, &w) && r.accessed &&
               !r.dirty && w.accessed && w.dirty,
           "what the host reads and writes for the guest shows in accessed and dirty flags");
        ok(xvcpu_ept_protect(&ept, 0, 2 * KB4, 5, &error) == XVCPU_STATUS_OK &&
               xvcpu_ept_translate(&ept, KB4, &w) && w.accessed && w.dirty && w.permissions == 5,
           "protect keeps them");
    }
    destroy("accessed and dirty flags");
}

int main(void)
{
    plan(0);
    bare_seed();
    bare_caps(&caps);
    test_create();
    test_supply();
    test_permissions();
    test_encoder();
    test_ranges();
    test_map_errors();
    test_generation();
    test_split();
    test_concurrent();
    test_access();
    // 24 MiB over the border of two 1 GiB regions: many splits, and failures at every allocation.
    random_operations("2 MiB pages, failing allocator", GB1 - 6 * MB2, 12 * 512, 3, 1500, 1);
    random_operations("4 KiB pages, failing allocator", GB512 - MB2, 1024, 1, 600, 1);
    // 4 GiB over the border of two 512 GiB regions.
    random_operations("1 GiB pages", GB512 - 2 * GB1, 4 * 512 * 512, 3, 60, 0);
    random_operations("2 MiB pages at most", GB512 - GB1, 2 * 512 * 512, 2, 100, 0);
    return done_testing();
}
