// Guest memory: the page walk against the SDM's rules, once as a table of single cases and once as
// random page tables compared with a second implementation; copies to and from guest memory.
//
// usage: [SEED=n] walk        output: TAP

#include "bare.h"

// Guest-physical pages 0..PAGES-1 at GPA(n), each somewhere else in host memory.
#define PAGES 256U
#define GPA(n) (0x40000ULL + (uint64_t)(n) * 0x1000)

static xvcpu_caps caps;
static xvcpu_ept ept, ept_ad; // the same memory, without and with accessed and dirty flags
static uint32_t permissions[PAGES]; // in both EPTs; 0: not mapped

static uint8_t *guest(uint64_t gpa)
{
    const uint64_t n = (gpa - GPA(0)) / 4096;
    if (gpa < GPA(0) || n >= PAGES)
        bail_out("the test looks for guest memory at %#llx", (unsigned long long)gpa);
    return &bare_ram[n][gpa % 4096];
}

static uint64_t get(uint64_t gpa, int bytes)
{
    uint64_t value = 0;
    memcpy(&value, guest(gpa), (size_t)bytes);
    return value;
}

static void put(uint64_t gpa, uint64_t value, int bytes)
{
    memcpy(guest(gpa), &value, (size_t)bytes);
}

static void set_up(xvcpu_ept *e, int accessed_dirty)
{
    xvcpu_ept_desc desc;
    xvcpu_error error;
    uint32_t n;
    memset(&desc, 0, sizeof desc);
    desc.context = bare_context;
    desc.accessed_dirty = accessed_dirty != 0;
    if (xvcpu_ept_create(e, &desc, &caps, &error) != XVCPU_STATUS_OK)
        bail_out("cannot create an EPT");
    for (n = 0; n < PAGES; n++) {
        // The last sixteen: read-only, execute-only, not mapped, and so on.
        permissions[n] = n < PAGES - 16 ? 7 : (uint32_t[]){1, 4, 0, 5}[n % 4];
        if (permissions[n] != 0 &&
            xvcpu_ept_map(e, GPA(n), bare_ram_physical(n), 4096, permissions[n], XVCPU_MEMORY_WB,
                          &error) != XVCPU_STATUS_OK)
            bail_out("cannot map guest memory");
    }
}

// -- A second implementation: Intel SDM 3A, chapter "Paging", rule after rule

#define BIT(n) (1ULL << (n))
enum mode { NONE, LEGACY, PAE, LEVELS4, LEVELS5, MODES };
static const char *const mode_names[] = {"no paging", "32-bit", "PAE", "4-level", "5-level"};

// One access, and everything it depends on. entry[level] is the entry that the walk comes to.
typedef struct scene {
    enum mode mode;
    xvcpu_paging paging;
    uint64_t gla;
    uint32_t access;
    uint64_t entry_gpa[6], entry[6];
    int with_ad; // accessed and dirty flags in the EPT
} scene;

typedef struct outcome {
    enum { OK, PAGE_FAULT, GENERAL_PROTECTION, EPT_FAULT } kind;
    uint64_t gpa, page_bytes; // OK
    uint64_t error_code;      // PAGE_FAULT
    uint64_t ept_gpa;         // EPT_FAULT
    uint64_t entry[6];        // afterwards
} outcome;

static int ept_allows(uint64_t gpa, uint32_t wanted)
{
    const uint64_t n = (gpa - GPA(0)) / 4096;
    return gpa >= GPA(0) && n < PAGES && (permissions[n] & wanted) == wanted;
}

static int top_level(enum mode mode)
{
    return mode == LEVELS5 ? 5 : mode == LEVELS4 ? 4 : 2;
}

// Address bits an entry points with, if it maps a page of this level (or refers to a table: 1).
static uint64_t address_bits(const scene *s, int level)
{
    const uint64_t width = BIT(s->paging.physical_bits) - 1;
    if (s->mode == LEGACY)
        return level == 2 ? 0xFFC00000 : 0xFFFFF000;
    return width & ~(BIT(12 + 9 * (level - 1)) - 1) & 0x000FFFFFFFFFF000ULL;
}

static int is_leaf(const scene *s, int level, uint64_t e)
{
    if (level == 1)
        return 1;
    if ((e & BIT(7)) == 0)
        return 0;
    return s->mode == LEGACY ? (s->paging.cr4 & BIT(4)) != 0 : level <= 3;
}

static int has_reserved(const scene *s, int level, uint64_t e, int nx)
{
    const uint32_t m = s->paging.physical_bits;
    uint32_t bit;
    if (s->mode == LEGACY) {
        // "Format of a 32-bit page-directory entry that maps a 4-MByte page": bits 21:(M-19), where
        // M is the smaller of 40 and MAXPHYADDR.
        const uint32_t smaller = m > 40 ? 40 : m;
        if (level == 2 && is_leaf(s, level, e)) {
            for (bit = smaller - 19; bit <= 21; bit++) {
                if ((e & BIT(bit)) != 0)
                    return 1;
            }
        }
        return 0;
    }
    for (bit = m; bit <= 51; bit++) {
        if ((e & BIT(bit)) != 0)
            return 1;
    }
    if (!nx && (e & BIT(63)) != 0)
        return 1;
    if (s->mode == PAE && (e >> 52 & 0x7FF) != 0)
        return 1;
    if (level >= 4 && (e & BIT(7)) != 0)
        return 1;
    if (level == 3 && (e & BIT(7)) != 0 && (!s->paging.page1gb_supported || (e >> 13 & 0x1FFFF)))
        return 1;
    if (level == 2 && (e & BIT(7)) != 0 && (e >> 13 & 0xFF) != 0)
        return 1;
    return 0;
}

static void predict(const scene *s, outcome *o)
{
    const xvcpu_paging *const p = &s->paging;
    const int size = s->mode == LEGACY ? 4 : 8;
    const int nx = s->mode > LEGACY && p->nx_supported && (p->efer & BIT(11)) != 0;
    const int fetch = (s->access & 4) != 0;
    const int write = !fetch && (s->access & 2) != 0;
    const int implicit = (s->access & 8) != 0;
    const int user = p->cpl == 3 && !implicit;
    const int wp = (p->cr0 & BIT(16)) != 0;
    const uint64_t gla = s->mode >= LEVELS4 ? s->gla : s->gla & 0xFFFFFFFF;
    uint64_t e = 0, bad = 0;
    int level, leaf = 0, user_page = 1, writable = 1, xd = 0, allowed, key_allowed = 1;
    memset(o, 0, sizeof *o);
    memcpy(o->entry, s->entry, sizeof o->entry);
    if (write)
        bad |= BIT(1);
    if (user)
        bad |= BIT(2);
    if (fetch && (nx || (p->cr4 & BIT(20)) != 0))
        bad |= BIT(4);

    if (s->mode >= LEVELS4) {
        const int bits = s->mode == LEVELS5 ? 57 : 48;
        const int64_t high = (int64_t)s->gla >> (bits - 1);
        if (high != 0 && high != -1) {
            o->kind = GENERAL_PROTECTION;
            return;
        }
    }
    if (s->mode == NONE) {
        o->gpa = gla;
        o->page_bytes = 4096;
        return;
    }
    o->kind = PAGE_FAULT;
    if (s->mode == PAE && (p->pdpte[gla >> 30] & 1) == 0) {
        o->error_code = bad;
        return;
    }
    for (level = top_level(s->mode); !leaf; level--) {
        if (!ept_allows(s->entry_gpa[level], s->with_ad ? 3 : 1)) {
            o->kind = EPT_FAULT;
            o->ept_gpa = s->entry_gpa[level];
            return;
        }
        e = size == 4 ? s->entry[level] & 0xFFFFFFFF : s->entry[level];
        if ((e & 1) == 0) {
            o->error_code = bad;
            return;
        }
        if (has_reserved(s, level, e, nx)) {
            o->error_code = bad | BIT(0) | BIT(3);
            return;
        }
        user_page &= (int)(e >> 2 & 1);
        writable &= (int)(e >> 1 & 1);
        xd |= (int)(e >> 63);
        if (is_leaf(s, level, e))
            leaf = level;
    }

    // "Determination of Access Rights"
    if (!user) {
        const int smap_stops = (p->cr4 & BIT(21)) != 0 && (implicit || (p->rflags & BIT(18)) == 0);
        if (fetch)
            allowed = user_page ? (p->cr4 & BIT(20)) == 0 && !(nx && xd) : !(nx && xd);
        else if (write)
            allowed = (!wp || writable) && !(user_page && smap_stops);
        else
            allowed = !(user_page && smap_stops);
    } else if (!user_page) {
        allowed = 0;
    } else {
        allowed = fetch ? !(nx && xd) : write ? writable : 1;
    }
    // "Protection Keys"
    if (s->mode >= LEVELS4 && (p->cr4 & BIT(22)) != 0 && user_page && !fetch) {
        const int key = (int)(e >> 59 & 15);
        const int ad = (int)(p->pkru >> (2 * key) & 1), wd = (int)(p->pkru >> (2 * key + 1) & 1);
        key_allowed = !ad && !(wd && write && (user || wp));
    }
    if (!allowed || !key_allowed) {
        o->error_code = bad | BIT(0) | (key_allowed ? 0 : BIT(5));
        return;
    }

    // "Accessed and Dirty Flags"
    for (level = top_level(s->mode); level >= leaf; level--) {
        const uint64_t flags = level == leaf && write ? BIT(5) | BIT(6) : BIT(5);
        if ((o->entry[level] & flags) == flags)
            continue;
        if (!ept_allows(s->entry_gpa[level], 3)) {
            o->kind = EPT_FAULT;
            o->ept_gpa = s->entry_gpa[level];
            return;
        }
        o->entry[level] |= flags;
    }
    o->kind = OK;
    o->page_bytes = s->mode == LEGACY ? (leaf == 2 ? 0x400000 : 0x1000) : BIT(12 + 9 * (leaf - 1));
    o->gpa = (e & address_bits(s, leaf)) | (gla & (o->page_bytes - 1));
    if (s->mode == LEGACY && leaf == 2)
        o->gpa |= (e >> 13 & 0xFF) << 32;
}

// -- Building a scene

// Guest pages that hold the tables by level; any page will do as long as they differ.
static void place(scene *s, const uint32_t *table_page)
{
    const int size = s->mode == LEGACY ? 4 : 8;
    const int bits = s->mode == LEGACY ? 10 : 9;
    const uint64_t gla = s->mode >= LEVELS4 ? s->gla : s->gla & 0xFFFFFFFF;
    const int top = top_level(s->mode);
    int level;
    for (level = top; level > 0; level--) {
        const uint64_t index = gla >> (12 + bits * (level - 1)) & (BIT(bits) - 1);
        s->entry_gpa[level] = GPA(table_page[level]) + index * (uint64_t)size;
        // A table's address; a leaf above level 1 gets its address from the caller.
        if (level > 1 && !is_leaf(s, level, s->entry[level])) {
            s->entry[level] &= ~address_bits(s, 1);
            s->entry[level] |= GPA(table_page[level - 1]);
        }
        if (s->mode == LEGACY)
            s->entry[level] &= 0xFFFFFFFF;
    }
    if (s->mode == PAE)
        s->paging.pdpte[gla >> 30 & 3] |= GPA(table_page[top]);
    else if (s->mode != NONE)
        s->paging.cr3 |= GPA(table_page[top]);
    for (level = top; level > 0 && s->mode != NONE; level--)
        put(s->entry_gpa[level], s->entry[level], size);
}

static void set_mode(scene *s, enum mode mode)
{
    s->mode = mode;
    s->paging.cr0 &= ~(BIT(0) | BIT(31));
    s->paging.cr0 |= mode == NONE ? BIT(0) : BIT(0) | BIT(31);
    s->paging.cr4 &= ~(BIT(5) | BIT(12));
    s->paging.cr4 |= (mode >= PAE ? BIT(5) : 0) | (mode == LEVELS5 ? BIT(12) : 0);
    s->paging.efer &= ~(BIT(8) | BIT(10));
    s->paging.efer |= mode >= LEVELS4 ? BIT(8) | BIT(10) : 0;
}

// Runs the walk and compares it with the prediction, down to the entries in memory.
static int matches(const scene *s, const outcome *o, xvcpu_translation *t)
{
    const int size = s->mode == LEGACY ? 4 : 8;
    int level, good, result;
    memset(t, 0x77, sizeof *t);
    result = xvcpu_walk(s->with_ad ? &ept_ad : &ept, &s->paging, s->gla, s->access, t);
    good = result == (o->kind == OK) &&
           t->fault == (o->kind == PAGE_FAULT || o->kind == GENERAL_PROTECTION) &&
           t->not_canonical == (o->kind == GENERAL_PROTECTION) &&
           t->ept_fault == (o->kind == EPT_FAULT) && t->gpa == o->gpa &&
           t->page_bytes == o->page_bytes && t->error_code == o->error_code &&
           t->fault_gpa == o->ept_gpa && t->bytes_done == 0;
    for (level = top_level(s->mode); level > 0 && s->mode != NONE; level--)
        good &= get(s->entry_gpa[level], size) == o->entry[level];
    return good;
}

static void show(const scene *s, const outcome *o, const xvcpu_translation *t)
{
    static const char *const kinds[] = {"translation", "#PF", "#GP", "EPT fault"};
    int level;
    diag("%s, cr0 %llx, cr4 %llx, efer %llx, cpl %u, rflags %llx, pkru %x, M %u, nx %d, 1g %d, "
         "gla %llx, access %u, ept A/D %d", mode_names[s->mode], (unsigned long long)s->paging.cr0,
         (unsigned long long)s->paging.cr4, (unsigned long long)s->paging.efer, s->paging.cpl,
         (unsigned long long)s->paging.rflags, s->paging.pkru, s->paging.physical_bits,
         s->paging.nx_supported, s->paging.page1gb_supported, (unsigned long long)s->gla, s->access,
         s->with_ad);
    for (level = top_level(s->mode); level > 0; level--)
        diag("entry %d at %#llx: %#llx, want %#llx afterwards", level,
             (unsigned long long)s->entry_gpa[level], (unsigned long long)s->entry[level],
             (unsigned long long)o->entry[level]);
    diag("want %s: gpa %#llx, page %#llx, error %#llx, ept %#llx", kinds[o->kind],
         (unsigned long long)o->gpa, (unsigned long long)o->page_bytes,
         (unsigned long long)o->error_code, (unsigned long long)o->ept_gpa);
    diag("got fault %d, #GP %d, ept %d: gpa %#llx, page %#llx, error %#x, ept %#llx", t->fault,
         t->not_canonical, t->ept_fault, (unsigned long long)t->gpa,
         (unsigned long long)t->page_bytes, t->error_code, (unsigned long long)t->fault_gpa);
}

// -- Cases by hand: what is expected stands here and not in a second program

#define P BIT(0)
#define W BIT(1)
#define U BIT(2)
#define A BIT(5)
#define D BIT(6)
#define PS BIT(7)
#define XD BIT(63)
#define KEY(n) ((uint64_t)(n) << 59)
#define WP BIT(16)
#define PSE BIT(4)
#define SMEP BIT(20)
#define SMAP BIT(21)
#define PKE BIT(22)
#define NXE BIT(11)
#define AC BIT(18)
#define MODE(m) (1U << (m))
#define WIDE (MODE(PAE) | MODE(LEVELS4) | MODE(LEVELS5))
#define LONG (MODE(LEVELS4) | MODE(LEVELS5))
#define EVERY (MODE(LEGACY) | WIDE)
#define RD 1U
#define WR 2U
#define EX 4U
#define SV 8U

typedef struct hand_case {
    const char *name;
    uint32_t modes;
    uint64_t cr0, cr4, efer, rflags;
    uint32_t cpl, access, pkru;
    int level;       // whose entry is changed
    uint64_t clear;  // from P W U A D, which all entries have
    uint64_t set;
    int64_t want;    // error code, or -1: no fault
} hand_case;

static const hand_case cases[] = {
    {"all is permitted", EVERY, WP, SMAP, 0, AC, 0, WR, 0, 1, 0, 0, -1},
    {"user access", EVERY, WP, SMEP | SMAP, NXE, 0, 3, WR, 0, 1, 0, 0, -1},
    {"not present, read", EVERY, WP, 0, 0, 0, 0, RD, 0, 1, P, 0, 0},
    {"not present, write", EVERY, WP, 0, 0, 0, 0, WR, 0, 1, P, 0, 2},
    {"not present, user write", EVERY, WP, 0, 0, 0, 3, WR, 0, 1, P, 0, 6},
    {"not present, implicit access at CPL 3", EVERY, WP, 0, 0, 0, 3, RD | SV, 0, 1, P, 0, 0},
    {"not present in the directory", EVERY, WP, 0, 0, 0, 3, RD, 0, 2, P, 0, 4},
    {"not present, all else set: reserved bits do not matter", EVERY, WP, 0, 0, 0, 3, RD, 0, 1, P,
     0x7FFULL << 52 | XD, 4},
    {"not present, fetch: no I/D without NXE and SMEP", EVERY, WP, 0, 0, 0, 3, EX, 0, 1, P, 0, 4},
    {"not present, fetch: I/D with SMEP", EVERY, WP, SMEP, 0, 0, 3, EX, 0, 1, P, 0, 0x14},
    {"not present, fetch: I/D with NXE", WIDE, WP, 0, NXE, 0, 3, EX, 0, 1, P, 0, 0x14},
    {"not present, fetch: NXE has no effect in 32-bit paging", MODE(LEGACY), WP, 0, NXE, 0, 3, EX,
     0, 1, P, 0, 4},
    {"a fetch is no write", EVERY, WP, SMEP, 0, 0, 3, EX | WR, 0, 1, P, 0, 0x14},

    {"user read of a supervisor page", EVERY, WP, 0, 0, 0, 3, RD, 0, 1, U, 0, 5},
    {"user read below a supervisor directory", EVERY, WP, 0, 0, 0, 3, RD, 0, 2, U, 0, 5},
    {"user write of a supervisor page", EVERY, WP, 0, 0, 0, 3, WR, 0, 1, U, 0, 7},
    {"CPL 2 is supervisor", EVERY, WP, 0, 0, 0, 2, WR, 0, 1, U, 0, -1},
    {"implicit access at CPL 3 of a supervisor page", EVERY, WP, 0, 0, 0, 3, WR | SV, 0, 1, U, 0,
     -1},
    {"user write of a read-only page, WP clear", EVERY, 0, 0, 0, 0, 3, WR, 0, 1, W, 0, 7},
    {"user write below a read-only directory", EVERY, WP, 0, 0, 0, 3, WR, 0, 2, W, 0, 7},
    {"user read of a read-only page", EVERY, WP, 0, 0, 0, 3, RD, 0, 1, W, 0, -1},
    {"supervisor write of a read-only page, WP set", EVERY, WP, 0, 0, 0, 0, WR, 0, 1, W, 0, 3},
    {"supervisor write of a read-only page, WP clear", EVERY, 0, 0, 0, 0, 0, WR, 0, 1, W, 0, -1},
    {"supervisor write of a read-only supervisor page, WP set", EVERY, WP, 0, 0, 0, 0, WR, 0, 1,
     W | U, 0, 3},
    {"read and write at once", EVERY, WP, 0, 0, 0, 3, RD | WR, 0, 1, W, 0, 7},

    {"user fetch, XD", WIDE, WP, 0, NXE, 0, 3, EX, 0, 1, 0, XD, 0x15},
    {"user fetch, XD in the directory", WIDE, WP, 0, NXE, 0, 3, EX, 0, 2, 0, XD, 0x15},
    {"supervisor fetch, XD", WIDE, WP, 0, NXE, 0, 0, EX, 0, 1, U, XD, 0x11},
    {"user read, XD", WIDE, WP, 0, NXE, 0, 3, RD, 0, 1, 0, XD, -1},
    {"XD is reserved without NXE: fetch", WIDE, WP, 0, 0, 0, 3, EX, 0, 1, 0, XD, 0xD},
    {"XD is reserved without NXE: read", WIDE, WP, 0, 0, 0, 0, RD, 0, 2, 0, XD, 0x9},
    {"XD is reserved without NXE: I/D with SMEP", WIDE, WP, SMEP, 0, 0, 3, EX, 0, 1, 0, XD, 0x1D},
    {"supervisor fetch from a user page", EVERY, WP, 0, 0, 0, 0, EX, 0, 1, 0, 0, -1},
    {"SMEP: supervisor fetch from a user page", EVERY, WP, SMEP, 0, 0, 0, EX, 0, 1, 0, 0, 0x11},
    {"SMEP: supervisor fetch from a supervisor page", EVERY, WP, SMEP, 0, 0, 0, EX, 0, 2, U, 0, -1},
    {"SMEP: user fetch", EVERY, WP, SMEP, 0, 0, 3, EX, 0, 1, 0, 0, -1},
    {"SMEP and SMAP: supervisor read", EVERY, WP, SMEP, 0, 0, 0, RD, 0, 1, 0, 0, -1},
    {"user fetch from a supervisor page", EVERY, WP, 0, 0, 0, 3, EX, 0, 1, U, 0, 5},

    {"SMAP: supervisor read of a user page", EVERY, WP, SMAP, 0, 0, 0, RD, 0, 1, 0, 0, 1},
    {"SMAP: supervisor write of a user page, WP clear", EVERY, 0, SMAP, 0, 0, 0, WR, 0, 1, 0, 0, 3},
    {"SMAP: AC lets it", EVERY, WP, SMAP, 0, AC, 0, WR, 0, 1, 0, 0, -1},
    {"SMAP: AC does not let implicit accesses", EVERY, WP, SMAP, 0, AC, 0, RD | SV, 0, 1, 0, 0, 1},
    {"SMAP: implicit access at CPL 3", EVERY, WP, SMAP, 0, AC, 3, RD | SV, 0, 1, 0, 0, 1},
    {"SMAP: supervisor page", EVERY, WP, SMAP, 0, 0, 0, WR, 0, 1, U, 0, -1},
    {"SMAP: user access", EVERY, WP, SMAP, 0, 0, 3, WR, 0, 1, 0, 0, -1},
    {"SMAP: fetch", EVERY, WP, SMAP, 0, 0, 0, EX, 0, 1, 0, 0, -1},
    {"SMAP: AC does not lift WP", EVERY, WP, SMAP, 0, AC, 0, WR, 0, 1, W, 0, 3},

    {"key 5: access disabled, user read", LONG, WP, PKE, 0, 0, 3, RD, 1U << 10, 1, 0, KEY(5), 0x25},
    {"key 5: access disabled, supervisor read of a user page", LONG, WP, PKE, 0, 0, 0, RD, 1U << 10,
     1, 0, KEY(5), 0x21},
    {"key 5: access disabled, supervisor page", LONG, WP, PKE, 0, 0, 0, WR, 1U << 10, 1, U, KEY(5),
     -1},
    {"key 5: access disabled, fetch", LONG, WP, PKE, 0, 0, 3, EX, 1U << 10, 1, 0, KEY(5), -1},
    {"key 15: write disabled, user write", LONG, WP, PKE, 0, 0, 3, WR, 1U << 31, 1, 0, KEY(15),
     0x27},
    {"key 15: write disabled, user read", LONG, WP, PKE, 0, 0, 3, RD, 1U << 31, 1, 0, KEY(15), -1},
    {"key 15: write disabled, supervisor, WP set", LONG, WP, PKE, 0, 0, 0, WR, 1U << 31, 1, 0,
     KEY(15), 0x23},
    {"key 15: write disabled, supervisor, WP clear", LONG, 0, PKE, 0, 0, 0, WR, 1U << 31, 1, 0,
     KEY(15), -1},
    {"key 15: write disabled, user, WP clear", LONG, 0, PKE, 0, 0, 3, WR, 1U << 31, 1, 0, KEY(15),
     0x27},
    {"another key", LONG, WP, PKE, 0, 0, 3, WR, ~(3U << 8), 1, 0, KEY(4), -1},
    {"keys are ignored without PKE", LONG, WP, 0, 0, 0, 3, WR, ~0U, 1, 0, KEY(5), -1},
    {"keys of tables are ignored", LONG, WP, PKE, 0, 0, 3, WR, ~3U, 2, 0, KEY(5), -1},
    {"PKE has no effect in PAE paging, which reserves the bits", MODE(PAE), WP, PKE, 0, 0, 3, RD,
     ~0U, 1, 0, KEY(5), 0xD},
    {"PKE has no effect in PAE and 32-bit paging", MODE(PAE) | MODE(LEGACY), WP, PKE, 0, 0, 3, WR,
     ~0U, 1, 0, 0, -1},

    {"reserved: address bit 46 of 46", WIDE, WP, 0, 0, 0, 0, RD, 0, 1, 0, BIT(46), 9},
    {"reserved: address bit 51 of 46, in the directory", WIDE, WP, 0, 0, 0, 3, WR, 0, 2, 0, BIT(51),
     0xF},
    {"not reserved: bit 52 in 4-level paging", LONG, WP, 0, 0, 0, 0, RD, 0, 1, 0, BIT(52), -1},
    {"reserved: bit 52 in PAE paging", MODE(PAE), WP, 0, 0, 0, 0, RD, 0, 1, 0, BIT(52), 9},
    {"reserved: bit 62 in PAE paging", MODE(PAE), WP, 0, 0, 0, 0, RD, 0, 2, 0, BIT(62), 9},
    {"reserved: PS in a PML4 entry", LONG, WP, 0, 0, 0, 0, RD, 0, 4, 0, PS, 9},
    {"reserved: PS in a PML5 entry", MODE(LEVELS5), WP, 0, 0, 0, 0, RD, 0, 5, 0, PS, 9},
    {"reserved: bit 13 of a 2 MiB page", WIDE, WP, 0, 0, 0, 0, RD, 0, 2, 0, PS | BIT(13), 9},
    {"reserved: bit 20 of a 2 MiB page", WIDE, WP, 0, 0, 0, 0, RD, 0, 2, 0, PS | BIT(20), 9},
    {"not reserved: bit 12 (PAT) of a 2 MiB page", WIDE, WP, 0, 0, 0, 0, RD, 0, 2, 0,
     PS | BIT(12) | BIT(21), -1},
    {"not reserved: bit 7 (PAT) of a 4 KiB page", EVERY, WP, 0, 0, 0, 0, RD, 0, 1, 0, PS, -1},
    {"reserved: bit 29 of a 1 GiB page", LONG, WP, 0, 0, 0, 0, RD, 0, 3, 0, PS | BIT(29), 9},
    {"not reserved: bit 12 (PAT) of a 1 GiB page", LONG, WP, 0, 0, 0, 0, RD, 0, 3, 0,
     PS | BIT(12) | BIT(30), -1},
    {"reserved before rights: user access, supervisor entry", LONG, WP, 0, 0, 0, 3, WR, 0, 1, U | W,
     BIT(50), 0xF},
    {"reserved: bit 21 of a 4 MiB page", MODE(LEGACY), WP, PSE, 0, 0, 0, RD, 0, 2, 0, PS | BIT(21),
     9},
    {"not reserved: bit 20 of a 4 MiB page, 46 address bits", MODE(LEGACY), WP, PSE, 0, 0, 0, RD, 0,
     2, 0, PS | BIT(20), -1},
    {"PS without PSE is ignored", MODE(LEGACY), WP, 0, 0, 0, 0, RD, 0, 2, 0, PS, -1},
    {"4 MiB page, user write", MODE(LEGACY), WP, PSE, 0, 0, 3, WR, 0, 2, W, PS, 7},
};

static void scene_reset(scene *s)
{
    memset(s, 0, sizeof *s);
    s->paging.physical_bits = 46;
    s->paging.nx_supported = 1;
    s->paging.page1gb_supported = 1;
}

static void test_cases(void)
{
    static const uint32_t tables[6] = {0, 31, 32, 33, 34, 35};
    static const uint64_t glas[] = {0, 0x87654321, 0x87654321, 0xFFFF987654321876,
                                    0xFF23456789ABCDEF};
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const hand_case *const c = &cases[i];
        int mode, good = 1, level;
        for (mode = LEGACY; mode <= LEVELS5 && good; mode++) {
            scene s;
            outcome o;
            xvcpu_translation t;
            if ((c->modes & MODE(mode)) == 0)
                continue;
            scene_reset(&s);
            s.paging.cr0 = c->cr0;
            s.paging.cr4 = c->cr4;
            s.paging.efer = c->efer;
            s.paging.rflags = c->rflags;
            s.paging.cpl = c->cpl;
            s.paging.pkru = c->pkru;
            set_mode(&s, (enum mode)mode);
            s.gla = glas[mode];
            s.access = c->access;
            for (level = 5; level > 0; level--)
                s.entry[level] = P | W | U | A | D;
            s.paging.pdpte[s.gla >> 30 & 3] = P;
            s.entry[c->level] = (s.entry[c->level] & ~c->clear) | c->set;
            if (s.mode == LEGACY)
                s.entry[c->level] &= 0xFFFFFFFF;
            place(&s, tables);
            good = xvcpu_walk(&ept, &s.paging, s.gla, s.access, &t) == (c->want < 0) &&
                   t.fault == (c->want >= 0) && !t.not_canonical && !t.ept_fault &&
                   t.error_code == (c->want < 0 ? 0 : (uint32_t)c->want);
            // The second implementation answers to the table as well.
            predict(&s, &o);
            good &= o.kind == (c->want < 0 ? OK : PAGE_FAULT) &&
                    o.error_code == (c->want < 0 ? 0 : (uint64_t)c->want);
            good &= matches(&s, &o, &t);
            if (!good)
                show(&s, &o, &t);
        }
        ok(good, "walk: %s", c->name);
    }
}

// What the table has no columns for.
static void test_special(void)
{
    static const uint32_t tables[6] = {0, 31, 32, 33, 34, 35};
    scene s;
    outcome o;
    xvcpu_translation t;
    int i;

    scene_reset(&s);
    set_mode(&s, NONE);
    s.gla = 0x123456789ABCDEF0;
    s.access = WR;
    s.paging.cpl = 3;
    ok(xvcpu_walk(&ept, &s.paging, s.gla, s.access, &t) && t.gpa == 0x9ABCDEF0,
       "paging off: an address of 32 bits, no check");

    // Canonical addresses: one below, at and above each border.
    for (i = 0; i < 2; i++) {
        const uint64_t low = i ? BIT(56) : BIT(47);
        int canonical;
        scene_reset(&s);
        set_mode(&s, i ? LEVELS5 : LEVELS4);
        s.paging.cr3 = GPA(0);
        put(GPA(0), 0, 8);
        memset(guest(GPA(0)), 0, 4096);
        canonical = !xvcpu_walk(&ept, &s.paging, low - 1, RD, &t) && !t.not_canonical && t.fault;
        ok(canonical && !xvcpu_walk(&ept, &s.paging, 0 - low, RD, &t) && !t.not_canonical &&
               !xvcpu_walk(&ept, &s.paging, low, RD, &t) && t.not_canonical && t.fault &&
               t.error_code == 0 && !xvcpu_walk(&ept, &s.paging, 0 - low - 1, WR, &t) &&
               t.not_canonical, "%s: borders of canonical addresses", mode_names[s.mode]);
    }

    scene_reset(&s);
    set_mode(&s, PAE);
    s.gla = 0xC0001000;
    s.access = RD;
    s.paging.pdpte[3] = GPA(32); // not present
    s.paging.pdpte[0] = s.paging.pdpte[1] = s.paging.pdpte[2] = GPA(33) | P;
    ok(!xvcpu_walk(&ept, &s.paging, s.gla, s.access, &t) && t.fault && t.error_code == 0,
       "T34: PAE: a PDPTE that is not present");
    memset(&s.paging.pdpte, 0, sizeof s.paging.pdpte);
    s.paging.pdpte[3] = P;
    s.entry[2] = P | W | U | PS | 0x200000;
    s.entry[1] = 0;
    s.paging.cpl = 3;
    s.access = WR;
    place(&s, tables);
    ok(xvcpu_walk(&ept, &s.paging, s.gla, s.access, &t) && t.gpa == 0x201000 &&
           t.page_bytes == 0x200000,
       "T34: PAE: the loaded PDPTEs are used, which have no U/S and R/W");

    // 4 MiB pages above 4 GiB (PSE-36).
    for (i = 0; i < 3; i++) {
        static const uint32_t widths[] = {32, 36, 40};
        uint32_t bit;
        int good = 1;
        for (bit = 13; bit <= 21; bit++) {
            scene_reset(&s);
            s.paging.cr4 = PSE;
            s.paging.physical_bits = widths[i];
            set_mode(&s, LEGACY);
            s.gla = 0x00801234;
            s.access = RD;
            s.entry[2] = P | W | U | PS | 0xFFC00000 | BIT(bit);
            place(&s, tables);
            if (xvcpu_walk(&ept, &s.paging, s.gla, s.access, &t))
                good &= 32 + bit - 13 < widths[i] && t.page_bytes == 0x400000 &&
                        t.gpa == (0xFFC01234 | BIT(32 + bit - 13));
            else
                good &= 32 + bit - 13 >= widths[i] && t.error_code == 9;
        }
        ok(good, "32-bit: 4 MiB pages with %u physical-address bits", widths[i]);
    }

    scene_reset(&s);
    set_mode(&s, LEVELS4);
    s.paging.page1gb_supported = 0;
    s.gla = 0x40000000;
    s.access = RD;
    s.entry[4] = s.entry[3] = P | W | U;
    s.entry[3] |= PS;
    place(&s, tables);
    ok(!xvcpu_walk(&ept, &s.paging, s.gla, s.access, &t) && t.error_code == 9,
       "a 1 GiB page where there are none has a reserved bit set");
    s.paging.page1gb_supported = 1;
    ok(xvcpu_walk(&ept, &s.paging, s.gla + 0x12345678, s.access, &t) && t.gpa == 0x12345678 &&
           t.page_bytes == BIT(30), "a 1 GiB page");
    s.paging.nx_supported = 0;
    s.paging.efer |= NXE;
    s.entry[3] |= XD;
    place(&s, tables);
    ok(!xvcpu_walk(&ept, &s.paging, s.gla, s.access, &t) && t.error_code == 9,
       "XD is reserved where the processor does not have it");

    // A table in a page that the EPT lets only read: fine until a flag has to be set.
    for (i = 0; i < 2; i++) {
        static const uint32_t read_only[6] = {0, 31, PAGES - 16, 33, 34, 35};
        scene_reset(&s);
        set_mode(&s, LEVELS4);
        s.access = WR;
        s.gla = 0x7000;
        s.entry[1] = s.entry[2] = s.entry[3] = s.entry[4] = P | W | U | (i ? A : 0);
        place(&s, read_only);
        predict(&s, &o);
        if (i)
            ok(matches(&s, &o, &t) && o.kind == OK && get(s.entry_gpa[1], 8) & D,
               "read-only table, nothing to set in it");
        else
            ok(matches(&s, &o, &t) && t.ept_fault && !t.fault && t.fault_gpa == s.entry_gpa[2] &&
                   (get(s.entry_gpa[1], 8) & D) == 0,
               "read-only table, accessed flag to be set: EPT violation");
        s.with_ad = 1;
        place(&s, read_only);
        predict(&s, &o);
        ok(matches(&s, &o, &t) && t.ept_fault && t.fault_gpa == s.entry_gpa[2],
           "with EPT accessed and dirty flags each use of a table is a write");
    }
}

// -- Entries that change under the walk

static uint64_t racing_gpa, racing_value;
static uint32_t racing_page, racing_looks, racing_mode;

// The walk asks for the pointer once to read the entry and once more to set its flags.
static void race(uint64_t physical)
{
    uint64_t now;
    if (physical != bare_ram_physical(racing_page) + racing_gpa % 4096)
        return;
    racing_looks++;
    if (racing_looks % 2 != 0)
        return;
    memcpy(&now, guest(racing_gpa), 8);
    if (racing_mode == 0)
        now = racing_value; // paged out
    else if (racing_mode == 1 && racing_looks == 2)
        now ^= BIT(9) | BIT(13); // another page, once
    else if (racing_mode == 2)
        now ^= BIT(9); // forever
    memcpy(guest(racing_gpa), &now, 8);
}

static void test_races(void)
{
    static const uint32_t tables[6] = {0, 31, 32, 33, 34, 35};
    scene s;
    xvcpu_translation t;
    int result;
    for (racing_mode = 0; racing_mode < 3; racing_mode++) {
        scene_reset(&s);
        set_mode(&s, LEVELS4);
        s.gla = 0x7000;
        s.access = WR;
        s.entry[4] = s.entry[3] = s.entry[2] = P | W | U | A;
        s.entry[1] = P | W | U | GPA(0x100);
        place(&s, tables);
        racing_gpa = s.entry_gpa[1];
        racing_page = 31;
        racing_looks = 0;
        racing_value = 0x00ABCDEF00000000;
        bare_on_phys_to_virt = race;
        result = xvcpu_walk(&ept, &s.paging, s.gla, s.access, &t);
        bare_on_phys_to_virt = NULL;
        if (racing_mode == 0)
            ok(!result && t.fault && t.error_code == 2 && get(racing_gpa, 8) == racing_value,
               "an entry paged out by another CPU during the walk stays untouched");
        else if (racing_mode == 1)
            ok(result && t.gpa == (GPA(0x100) ^ BIT(13)) &&
                   get(racing_gpa, 8) == ((s.entry[1] ^ BIT(9) ^ BIT(13)) | A | D),
               "an entry changed during the walk: the walk sees the new one");
        else
            ok(!result && t.fault && !t.ept_fault && racing_looks < 100,
               "an entry that changes for ever does not hold the host");
    }
}

// -- Random page tables

static uint64_t random_entry(void)
{
    const uint64_t r = bare_random();
    uint64_t e = 0;
    e |= r & 0x1F ? P : 0;
    e |= r >> 5 & 7 ? W : 0;
    e |= r >> 8 & 7 ? U : 0;
    e |= r >> 11 & 1 ? A : 0;
    e |= r >> 12 & 1 ? D : 0;
    e |= (r >> 13 & 7) == 0 ? PS : 0;
    e |= (r >> 16 & 7) == 0 ? XD : 0;
    e |= (r >> 19 & 3) == 0 ? KEY(r >> 21 & 15) : 0;
    e |= (r >> 25 & 3) == 0 ? (r >> 27 & 3) << 3 | (r >> 29 & 15) << 8 : 0;
    if ((r >> 33 & 7) == 0)
        e |= BIT(12 + (r >> 36) % 51);
    return e;
}

static void test_random(void)
{
    enum { ROUNDS = 300000 };
    static const uint32_t widths[] = {32, 36, 39, 40, 46, 52};
    static const uint32_t accesses[] = {RD,      RD,      WR,      WR,      EX, EX,
                                        RD | WR, RD | SV, WR | SV, EX | SV, 0};
    uint32_t kinds[4] = {0, 0, 0, 0}, codes[64], different = 0;
    uint32_t round, good = 1, i;
    memset(codes, 0, sizeof codes);
    for (round = 0; round < ROUNDS && good; round++) {
        scene s;
        outcome o;
        xvcpu_translation t;
        uint32_t table_page[6];
        int level;
        memset(&s, 0, sizeof s);
        s.paging.cr0 = bare_random() & WP;
        s.paging.cr4 = bare_random() & (PSE | SMEP | SMAP | PKE);
        s.paging.nx_supported = bare_below(8) != 0;
        s.paging.efer = s.paging.nx_supported ? bare_random() & NXE : 0;
        s.paging.rflags = bare_random() & AC;
        s.paging.cpl = (uint32_t)(bare_below(2) ? 3 : bare_below(4));
        s.paging.pkru = (uint32_t)(bare_random() & bare_random());
        s.paging.physical_bits = widths[bare_below(6)];
        s.paging.page1gb_supported = bare_below(2) != 0;
        set_mode(&s, (enum mode)(bare_below(20) ? 1 + bare_below(4) : 0));
        s.with_ad = (int)bare_below(2);
        s.access = accesses[bare_below(sizeof accesses / sizeof accesses[0])];
        s.gla = bare_random();
        if (bare_below(50) && s.mode >= LEVELS4) {
            const int bits = s.mode == LEVELS5 ? 57 : 48;
            s.gla = (uint64_t)((int64_t)(s.gla << (64 - bits)) >> (64 - bits));
        }
        s.paging.cr3 = bare_random() & 0xFFF;
        s.paging.pdpte[s.gla >> 30 & 3] = bare_below(40) != 0;
        for (level = 1; level <= 5; level++) {
            // Distinct pages; now and then one the EPT restricts.
            table_page[level] = (uint32_t)level * 40 + (uint32_t)bare_below(40);
            if (bare_below(60) == 0)
                table_page[level] = PAGES - 16 + (uint32_t)level;
            s.entry[level] = random_entry();
            // An address for large pages that is, mostly, well formed.
            if ((s.entry[level] & PS) != 0 && level > 1 && bare_below(4))
                s.entry[level] |= (bare_random() & (BIT(s.paging.physical_bits) - 1)) >>
                                  (level == 3 ? 30 : 22) << (level == 3 ? 30 : 22);
        }
        s.entry[1] |= bare_random() & (BIT(s.paging.physical_bits) - 1) & ~0xFFFULL;
        place(&s, table_page);
        predict(&s, &o);
        good = (uint32_t)matches(&s, &o, &t);
        if (!good)
            show(&s, &o, &t);
        kinds[o.kind]++;
        if (o.kind == PAGE_FAULT)
            codes[o.error_code & 63]++;
    }
    for (i = 0; i < 64; i++)
        different += codes[i] != 0;
    ok(good, "%u random walks agree with a second implementation (%u translations, %u page faults, "
             "%u #GP, %u EPT faults)", round, kinds[OK], kinds[PAGE_FAULT],
       kinds[GENERAL_PROTECTION], kinds[EPT_FAULT]);
    ok(kinds[OK] > ROUNDS / 20 && kinds[PAGE_FAULT] > ROUNDS / 20 &&
           kinds[GENERAL_PROTECTION] > ROUNDS / 1000 && kinds[EPT_FAULT] > ROUNDS / 1000 &&
           different == 22, "every outcome occurred, and %u different error codes", different);
}

// -- Copies

static void test_copies(void)
{
    // 4-level tables: virtual page i of the window is guest page page_of[i], or not present.
    enum { COUNT = 12 };
    static const uint64_t base = 0xFFFF800000000000ULL;
    static uint8_t data[COUNT * 4096], back[COUNT * 4096], before[COUNT * 4096];
    static const int page_of[COUNT] = {100, 57, 102, 3, 104, 105, -1, 107, (int)PAGES - 16,
                                       (int)PAGES - 15, (int)PAGES - 14, 111};
    xvcpu_paging p;
    xvcpu_translation t;
    scene s;
    uint64_t i;
    int round, good = 1;
    scene_reset(&s);
    set_mode(&s, LEVELS4);
    p = s.paging;
    p.cr0 |= WP;
    p.cr3 = GPA(40);
    for (i = 40; i < 44; i++)
        memset(guest(GPA(i)), 0, 4096);
    put(GPA(40) + 256 * 8, GPA(41) | P | W | U, 8);
    put(GPA(41), GPA(42) | P | W | U, 8);
    put(GPA(42), GPA(43) | P | W | U, 8);
    for (i = 0; i < COUNT; i++)
        put(GPA(43) + i * 8, page_of[i] < 0 ? 0 : GPA(page_of[i]) | P | (i == 7 ? 0 : W) | U, 8);
    for (i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)bare_random();

    ok(xvcpu_write_guest(&ept, &p, base + 0x800, data, 0x3000, 0, &t) && t.bytes_done == 0x3000 &&
           !t.fault && !t.ept_fault, "a write over four pages");
    ok(memcmp(guest(GPA(100) + 0x800), data, 0x800) == 0 &&
           memcmp(guest(GPA(57)), data + 0x800, 4096) == 0 &&
           memcmp(guest(GPA(3)), data + 0x2800, 0x800) == 0, "went to the four guest pages");
    ok((get(GPA(43), 8) & (A | D)) == (A | D) && (get(GPA(43) + 32, 8) & (A | D)) == 0,
       "and set the dirty flags of those pages only");
    ok(xvcpu_read_guest(&ept, &p, base + 0x800, back, 0x3000, 0, &t) && t.bytes_done == 0x3000 &&
           memcmp(data, back, 0x3000) == 0, "and is read back");
    ok((get(GPA(43) + 32, 8) & A) == 0 && xvcpu_read_guest(&ept, &p, base + 0x4000, back, 1, 0, &t)
           && (get(GPA(43) + 32, 8) & (A | D)) == A, "a read sets the accessed flag alone");
    ok(!xvcpu_read_guest(&ept, &p, base + 0x5F00, back, 0x200, 0, &t) && t.fault && !t.ept_fault &&
           t.error_code == 0 && t.bytes_done == 0x100 && t.fault_gva == base + 0x6000,
       "a read into a page that is not present: how far it got, and where it stopped");
    memset(back, 0, sizeof back);
    ok(!xvcpu_write_guest(&ept, &p, base + 0x6FFF, data, 2, 0, &t) && t.bytes_done == 0 &&
           t.fault_gva == base + 0x6FFF && t.error_code == 2, "a write that faults at once");
    ok(!xvcpu_write_guest(&ept, &p, base + 0x7FFE, data, 4, 0, &t) && t.error_code == 3 &&
           t.fault_gva == base + 0x7FFE, "a write to a read-only page");
    ok(!xvcpu_write_guest(&ept, &p, base + 0x8000, data, 4, 0, &t) && !t.fault && t.ept_fault &&
           t.fault_gpa == GPA(PAGES - 16) && t.fault_gva == base + 0x8000,
       "a write to a page the EPT does not let write");
    ok(!xvcpu_read_guest(&ept, &p, base + 0x8FFC, back, 8, 0, &t) && t.ept_fault &&
           t.bytes_done == 4 && t.fault_gpa == GPA(PAGES - 15), "a read of an execute-only page");
    ok(xvcpu_read_guest(&ept, &p, base + 0x9123, back, 8, XVCPU_ACCESS_EXECUTE, &t) &&
           memcmp(back, guest(GPA(PAGES - 15) + 0x123), 8) == 0, "a fetch from it");
    ok(!xvcpu_read_guest(&ept, &p, base + 0x8000, back, 8, XVCPU_ACCESS_EXECUTE, &t) && t.ept_fault,
       "a fetch from a page the EPT does not let execute");
    ok(xvcpu_read_guest(&ept, &p, 0x1234, back, 0, 0, &t) && t.bytes_done == 0,
       "a copy of nothing touches nothing");
    p.cpl = 3;
    ok(xvcpu_write_guest(&ept, &p, base + 0x100, data, 8, 0, &t), "as the user");
    put(GPA(43), get(GPA(43), 8) & ~U, 8);
    ok(!xvcpu_write_guest(&ept, &p, base + 0x100, data, 8, 0, &t) && t.error_code == 7,
       "not to a supervisor page");
    ok(xvcpu_write_guest(&ept, &p, base + 0x100, data, 8, XVCPU_ACCESS_SUPERVISOR, &t),
       "but with an implicit access");
    put(GPA(43), get(GPA(43), 8) | U, 8);
    p.cpl = 0;
    ok(!xvcpu_read_guest(&ept, &p, base - 4, back, 8, 0, &t) && t.fault && t.not_canonical &&
           t.bytes_done == 0 && t.fault_gva == base - 4, "from an address that is not canonical");

    // The ends of the address space.
    put(GPA(40) + 511 * 8, GPA(44) | P | W | U, 8);
    put(GPA(44) + 511 * 8, GPA(45) | P | W | U, 8);
    put(GPA(45) + 511 * 8, GPA(46) | P | W | U, 8);
    put(GPA(46) + 511 * 8, GPA(110) | P | W | U, 8);
    put(GPA(40), GPA(47) | P | W | U, 8);
    put(GPA(47), GPA(48) | P | W | U, 8);
    put(GPA(48), GPA(49) | P | W | U, 8);
    put(GPA(49), GPA(111) | P | W | U, 8);
    ok(xvcpu_write_guest(&ept, &p, 0xFFFFFFFFFFFFFFFC, data, 8, 0, &t) && t.bytes_done == 8 &&
           memcmp(guest(GPA(110) + 0xFFC), data, 4) == 0 &&
           memcmp(guest(GPA(111)), data + 4, 4) == 0,
       "64-bit linear addresses wrap to 0");
    put(GPA(40) + 255 * 8, GPA(44) | P | W | U, 8);
    ok(!xvcpu_write_guest(&ept, &p, 0x00007FFFFFFFFFF8, data, 16, 0, &t) && t.not_canonical &&
           t.bytes_done == 8 && t.fault_gva == 0x0000800000000000,
       "a copy that runs out of canonical addresses");
    {
        xvcpu_paging legacy;
        memset(&legacy, 0, sizeof legacy);
        legacy.cr0 = BIT(0) | BIT(31);
        legacy.cr3 = GPA(50);
        legacy.physical_bits = 46;
        put(GPA(50) + 1023 * 4, GPA(51) | P | W, 4);
        put(GPA(51) + 1023 * 4, GPA(120) | P | W, 4);
        put(GPA(50), GPA(52) | P | W, 4);
        put(GPA(52), GPA(121) | P | W, 4);
        ok(xvcpu_write_guest(&ept, &legacy, 0xFFFFFFFC, data, 8, 0, &t) && t.bytes_done == 8 &&
               memcmp(guest(GPA(120) + 0xFFC), data, 4) == 0 &&
               memcmp(guest(GPA(121)), data + 4, 4) == 0, "32-bit linear addresses wrap to 0");
        put(GPA(52), 0, 4);
        ok(!xvcpu_write_guest(&ept, &legacy, 0xFFFFFFFC, data, 8, 0, &t) && t.bytes_done == 4 &&
               t.fault_gva == 0 && t.error_code == 2, "and fault there");
        legacy.cr0 = BIT(0);
        ok(xvcpu_read_guest(&ept, &legacy, GPA(120) + 0xFFC, back, 4, 0, &t) &&
               memcmp(back, data, 4) == 0, "paging off");
    }

    // A large page of the guest over small ones of the EPT, some of which cannot be read.
    put(GPA(40) + 257 * 8, GPA(53) | P | W | U, 8);
    put(GPA(53), GPA(54) | P | W | U, 8);
    put(GPA(54), P | W | U | PS, 8); // 2 MiB from 0
    ok(!xvcpu_read_guest(&ept, &p, base + BIT(39) + GPA(PAGES - 17) + 0xFF0, back, 0x2010, 0, &t) &&
           t.ept_fault && t.bytes_done == 0x1010 && t.fault_gpa == GPA(PAGES - 15) &&
           t.fault_gva == base + BIT(39) + GPA(PAGES - 15) &&
           memcmp(back, guest(GPA(PAGES - 17) + 0xFF0), 0x10) == 0,
       "a large page that the EPT maps in part");

    // Random copies between the pages that can be written, against a plain buffer.
    for (i = 0; i < 6; i++)
        memcpy(before + i * 4096, guest(GPA(page_of[i])), 4096);
    for (round = 0; round < 2000 && good; round++) {
        const uint64_t from = bare_below(6 * 4096);
        const uint64_t bytes = bare_below(6 * 4096 - from) % (bare_below(2) ? 100 : 30000);
        const uint64_t source = bare_below(sizeof data - bytes);
        if (bare_below(2)) {
            good = xvcpu_write_guest(&ept_ad, &p, base + from, data + source, bytes, 0, &t);
            memcpy(before + from, data + source, bytes);
        } else {
            good = xvcpu_read_guest(&ept_ad, &p, base + from, back, bytes, 0, &t) &&
                   memcmp(back, before + from, bytes) == 0;
        }
        good = good && t.bytes_done == bytes;
    }
    for (i = 0; i < 6 && good; i++)
        good = memcmp(before + i * 4096, guest(GPA(page_of[i])), 4096) == 0;
    ok(good, "%d random copies", round);
}

int main(void)
{
    plan(0);
    bare_seed();
    bare_caps(&caps);
    set_up(&ept, 0);
    set_up(&ept_ad, 1);
    test_cases();
    test_special();
    test_races();
    test_random();
    test_copies();
    xvcpu_ept_destroy(&ept);
    xvcpu_ept_destroy(&ept_ad);
    is_hex(bare_in_use, 0, "nothing leaked");
    return done_testing();
}
