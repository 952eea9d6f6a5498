// guest_ept.c - guest memory: what exits and what the exit says, mappings that change meanwhile,
// page walks in software against those of the processor, and memory that a device answers for.
// models: corei7_skylake_x corei7_haswell_4770 corei5_lynnfield_750 corei7_sandy_bridge_2600k tigerlake
// cpus: 1
#define XVCPU_MMIO_DECODER
#include "guest_kit.h"

#define PAGE (KIT_FREE + 0x1000) // the page whose mapping tests change
#define EPT_CAP(bits) ((guest_cpu->caps.ept_vpid & XVCPU_VMX_EPT_VPID_CAP_##bits) != 0)

GUEST_CODE(load, 64, "mov (%rsi), %rbx");
GUEST_CODE(store, 64, "mov %rdi, (%rsi)");
GUEST_CODE(call, 64, "call *%rsi");
GUEST_CODE(increment, 64, "incq (%rsi)");

static void map_to(u64 gpa, const u8 *to, u32 permissions)
{
    xvcpu_error error;
    metal_must(xvcpu_ept_unmap(&guest_vm.ept, gpa, KERNEL_PAGE_SIZE, &error), &error, "unmap");
    if (permissions != 0)
        metal_must(xvcpu_ept_map(&guest_vm.ept, gpa, phys_of(to), KERNEL_PAGE_SIZE, permissions,
                                 XVCPU_MEMORY_WB, &error),
                   &error, "map");
}

static void map(u64 gpa, u32 permissions)
{
    map_to(gpa, guest_vm.memory + gpa, permissions);
}

// -- Permissions

static void test_permissions(void)
{
    static const struct {
        u32 permissions;
        const char *name;
    } pages[] = {{0, "not mapped"},
                 {XVCPU_EPT_READ, "read-only"},
                 {XVCPU_EPT_READ | XVCPU_EPT_EXECUTE, "read and execute"},
                 {XVCPU_EPT_EXECUTE, "execute-only"},
                 {XVCPU_EPT_READ | XVCPU_EPT_WRITE, "no execute"},
                 {XVCPU_EPT_RWX, "all"}};
    static const struct {
        const char *name;
        const u8 *code, *end;
        u32 needs;
    } accesses[] = {{"load", load, load_end, XVCPU_EPT_READ},
                    {"store", store, store_end, XVCPU_EPT_WRITE},
                    {"call", call, call_end, XVCPU_EPT_EXECUTE},
                    {"increment", increment, increment_end, XVCPU_EPT_READ | XVCPU_EPT_WRITE}};
    u32 i, j;
    guest_open(0);
    GUEST_START(METAL_LONG, load);
    for (i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        if (pages[i].permissions == XVCPU_EPT_EXECUTE && !EPT_CAP(EXECUTE_ONLY)) {
            xvcpu_error error;
            metal_must(xvcpu_ept_unmap(&guest_vm.ept, PAGE, KERNEL_PAGE_SIZE, &error), &error,
                       "unmap");
            is_status(xvcpu_ept_map(&guest_vm.ept, PAGE, phys_of(guest_vm.memory), KERNEL_PAGE_SIZE,
                                    XVCPU_EPT_EXECUTE, XVCPU_MEMORY_WB, &error),
                      UNSUPPORTED, &error, "T67 execute-only where the processor has none");
            continue;
        }
        map(PAGE, pages[i].permissions);
        for (j = 0; j < sizeof accesses / sizeof accesses[0]; j++) {
            const xvcpu_exit_memory *memory = &guest.exit.u.memory;
            const u32 missing = accesses[j].needs & ~pages[i].permissions;
            const u64 gla = PAGE + 8;
            u32 got;
            bool pass;
            *guest_word(PAGE + 8) = 0xc3; // RET
            metal_set(&guest, XVCPU_REG_RSP, METAL_STACK);
            metal_set(&guest, XVCPU_REG_RSI, gla);
            metal_set(&guest, XVCPU_REG_RDI, 0xc3);
            got = guest_do(accesses[j].code, accesses[j].end);
            if (missing == 0) {
                ok(got == KIT_NO_FAULT, "%s page: %s goes through", pages[i].name,
                   accesses[j].name);
                if (got != KIT_NO_FAULT)
                    guest_explain();
                continue;
            }
            pass = got == KIT_STOPPED && guest.exit.reason == XVCPU_EXIT_REASON_EPT_VIOLATION;
            pass = ok(pass && memory->gpa == PAGE + 8 && memory->gla_valid && memory->gla == gla,
                      "%s page: %s exits with its addresses", pages[i].name, accesses[j].name) &&
                   pass;
            ok(pass && !memory->page_walk &&
                   (missing & ((memory->read ? (u32)XVCPU_EPT_READ : 0) |
                               (memory->write ? (u32)XVCPU_EPT_WRITE : 0) |
                               (memory->execute ? (u32)XVCPU_EPT_EXECUTE : 0))) != 0 &&
                   memory->execute == (accesses[j].needs == XVCPU_EPT_EXECUTE),
               "%s page: %s: with what it wanted", pages[i].name, accesses[j].name);
            ok(memory->readable == ((pages[i].permissions & XVCPU_EPT_READ) != 0) &&
                   memory->writable == ((pages[i].permissions & XVCPU_EPT_WRITE) != 0) &&
                   memory->executable == ((pages[i].permissions & XVCPU_EPT_EXECUTE) != 0),
               "%s page: %s: and what the EPT allows", pages[i].name, accesses[j].name);
            is_u64(guest.exit.rip, accesses[j].needs == XVCPU_EPT_EXECUTE ? PAGE + 8 : METAL_CODE,
                   "%s page: %s: RIP is at the instruction", pages[i].name, accesses[j].name);
        }
    }
    guest_close();
}

// -- The guest's own tables in memory that is not there

#define GUEST_PT 0xe000
#define GUEST_PD 0xd000
#define FAR 0x40000000ul

static void far_tables(void)
{
    memset(guest_vm.memory + GUEST_PD, 0, 2 * KERNEL_PAGE_SIZE);
    *guest_word(METAL_TABLES + KERNEL_PAGE_SIZE + 8) = GUEST_PD | METAL_PTE_TABLE;
    *guest_word(GUEST_PD) = GUEST_PT | METAL_PTE_TABLE;
    *guest_word(GUEST_PT) = KIT_FREE | METAL_PTE_TABLE;
}

static void test_page_walk(void)
{
    const xvcpu_exit_memory *memory = &guest.exit.u.memory;
    guest_open(0);
    GUEST_START(METAL_LONG, load);
    far_tables();
    *guest_word(KIT_FREE + 0x120) = 0xfeedface;
    metal_set(&guest, XVCPU_REG_RSI, FAR + 0x120);
    map(GUEST_PT, 0);
    ok(GUEST_DO(load) == KIT_STOPPED && guest.exit.reason == XVCPU_EXIT_REASON_EPT_VIOLATION &&
           memory->page_walk,
       "a page table that is not mapped: the exit says page walk");
    ok(memory->gpa == GUEST_PT && memory->gla_valid && memory->gla == FAR + 0x120,
       "with the address of the entry and of the access");
    ok(guest.exit.kind == XVCPU_EXIT_PLAIN, "and it is no access to a device");
    map(GUEST_PT, XVCPU_EPT_READ);
    if (GUEST_DO(load) == KIT_NO_FAULT)
        skip("a page table it cannot write: the emulator sets the accessed flag nevertheless");
    else
        ok(guest.exit.reason == XVCPU_EXIT_REASON_EPT_VIOLATION && memory->page_walk &&
               memory->write && memory->readable && !memory->writable,
           "a page table it cannot write: setting the accessed flag exits");
    *guest_word(GUEST_PT) &= ~XVCPU_PTE_A;
    map(GUEST_PT, XVCPU_EPT_RWX);
    ok(GUEST_DO(load) == KIT_NO_FAULT && metal_get(&guest, XVCPU_REG_RBX) == 0xfeedface,
       "mapped: the load is done");
    is_u64(*guest_word(GUEST_PT), KIT_FREE | METAL_PTE_TABLE | XVCPU_PTE_A, "and the flag is set");
    map(KIT_FREE, 0);
    ok(GUEST_DO(load) == KIT_STOPPED && guest.exit.reason == XVCPU_EXIT_REASON_EPT_VIOLATION &&
           !memory->page_walk && memory->gpa == KIT_FREE + 0x120 && memory->gla == FAR + 0x120,
       "the page itself is not mapped: no page walk");
    map(KIT_FREE, XVCPU_EPT_RWX);
    guest_close();
}

// -- Mappings that change

static void test_remap(void)
{
    GUEST_CODE(watch, 64, "1: mov (%rsi), %rax; mov %rax, (%rsi); vmcall; jmp 1b");
    u8 *pages[8];
    xvcpu_error error;
    bool contents = true, exits = true;
    u32 i;
    guest_open(0);
    GUEST_START(METAL_LONG, watch);
    metal_set(&guest, XVCPU_REG_RSI, PAGE);
    for (i = 0; i < 8; i++) {
        pages[i] = page_alloc();
        *(u64 *)(void *)pages[i] = 0x1000 + i;
        map_to(PAGE, pages[i], XVCPU_EPT_RWX);
        contents = contents && metal_call(&guest) == 0x1000 + i;
    }
    ok(contents, "T68 after each remap the guest reads the new page");
    // The value read before the change is written after it, to the page that is mapped then.
    for (i = 0; i < 8; i++) {
        metal_must(xvcpu_ept_protect(&guest_vm.ept, PAGE, KERNEL_PAGE_SIZE, XVCPU_EPT_READ, &error),
                   &error, "protect");
        exits = exits && metal_run(&guest) == XVCPU_EXIT_REASON_EPT_VIOLATION &&
                guest.exit.u.memory.write && guest.exit.u.memory.gpa == PAGE;
        map_to(PAGE, pages[i], XVCPU_EPT_RWX);
        exits = exits && metal_call(&guest) == 0x1007;
        exits = exits && *(u64 *)(void *)pages[i] == 0x1007;
        metal_must(xvcpu_ept_unmap(&guest_vm.ept, PAGE, KERNEL_PAGE_SIZE, &error), &error, "unmap");
        exits = exits && metal_run(&guest) == XVCPU_EXIT_REASON_EPT_VIOLATION &&
                guest.exit.u.memory.read && guest.exit.rip == METAL_CODE;
        map_to(PAGE, pages[i], XVCPU_EPT_RWX);
        exits = exits && metal_call(&guest) == 0x1007;
    }
    ok(exits, "T68 each protect and unmap is seen by the next access");
    is_u64(guest.ept_generation, guest_vm.ept.generation,
           "T68 the last change was followed by INVEPT");
    guest_close();
    for (i = 0; i < 8; i++)
        page_free(pages[i]);
}

// -- Large pages

static u64 guest_reads(u64 gla)
{
    metal_set(&guest, XVCPU_REG_RSI, gla);
    metal_set(&guest, XVCPU_REG_RBX, 0xdead);
    if (GUEST_DO(load) != KIT_NO_FAULT)
        return METAL_NO_CALL;
    return metal_get(&guest, XVCPU_REG_RBX);
}

static void test_large_pages(void)
{
    const u64 big = 512;
    const u64 at2m = FAR, at1g = 2 * FAR;
    u8 *memory = page_alloc_contiguous(big, big);
    xvcpu_ept_mapping mapping;
    xvcpu_ept_desc desc = {0};
    static xvcpu_ept small;
    xvcpu_error error;
    u64 i;
    if (!memory)
        bail_out("no 2 MiB of memory");
    guest_open(0);
    GUEST_START(METAL_LONG, load);
    // The guest's own tables: 1 GiB from 1 GiB on and 1 GiB from 2 GiB on, one to one.
    memset(guest_vm.memory + GUEST_PD, 0, 2 * KERNEL_PAGE_SIZE);
    *guest_word(METAL_TABLES + KERNEL_PAGE_SIZE + 8) = GUEST_PD | METAL_PTE_TABLE;
    *guest_word(METAL_TABLES + KERNEL_PAGE_SIZE + 16) = GUEST_PT | METAL_PTE_TABLE;
    for (i = 0; i < 512; i++) {
        *guest_word(GUEST_PD + 8 * i) = (at2m + i * METAL_LARGE) | METAL_PTE_LARGE;
        *guest_word(GUEST_PT + 8 * i) = (at1g + i * METAL_LARGE) | METAL_PTE_LARGE;
    }
    for (i = 0; i < big; i++)
        *(u64 *)(void *)(memory + i * KERNEL_PAGE_SIZE + 16) = 0x2000 + i;

    metal_must(xvcpu_ept_map(&guest_vm.ept, at2m, phys_of(memory), METAL_LARGE, XVCPU_EPT_RWX,
                             XVCPU_MEMORY_WB, &error),
               &error, "map 2 MiB");
    ok(xvcpu_ept_translate(&guest_vm.ept, at2m + 0x12345, &mapping) &&
           mapping.hpa == phys_of(memory) + 0x12345 &&
           mapping.page_bytes == (EPT_CAP(PAGE_2M) ? METAL_LARGE : KERNEL_PAGE_SIZE),
       "2 MiB are mapped by a page of %lu", mapping.page_bytes);
    ok(guest_reads(at2m + 16) == 0x2000 &&
           guest_reads(at2m + 511 * KERNEL_PAGE_SIZE + 16) == 0x21ff,
       "the guest reads its first and its last page");
    metal_must(
        xvcpu_ept_unmap(&guest_vm.ept, at2m + 7 * KERNEL_PAGE_SIZE, KERNEL_PAGE_SIZE, &error),
        &error, "unmap");
    ok(guest_reads(at2m + 6 * KERNEL_PAGE_SIZE + 16) == 0x2006 &&
           guest_reads(at2m + 8 * KERNEL_PAGE_SIZE + 16) == 0x2008,
       "T71 a hole of 4 KiB: the pages beside it stay");
    ok(guest_reads(at2m + 7 * KERNEL_PAGE_SIZE + 16) == METAL_NO_CALL &&
           guest.exit.u.memory.gpa == at2m + 7 * KERNEL_PAGE_SIZE + 16,
       "T71 the hole exits");
    metal_must(xvcpu_ept_protect(&guest_vm.ept, at2m + 9 * KERNEL_PAGE_SIZE, KERNEL_PAGE_SIZE,
                                 XVCPU_EPT_READ, &error),
               &error, "protect");
    metal_set(&guest, XVCPU_REG_RDI, 0x77);
    metal_set(&guest, XVCPU_REG_RSI, at2m + 9 * KERNEL_PAGE_SIZE);
    ok(GUEST_DO(store) == KIT_STOPPED && guest.exit.u.memory.write,
       "T71 one page of it read-only: a store exits");
    metal_set(&guest, XVCPU_REG_RSI, at2m + 10 * KERNEL_PAGE_SIZE);
    ok(GUEST_DO(store) == KIT_NO_FAULT && *(u64 *)(void *)(memory + 10 * KERNEL_PAGE_SIZE) == 0x77,
       "T71 the next page is as it was");

    metal_must(xvcpu_ept_map(&guest_vm.ept, at1g, 0, FAR, XVCPU_EPT_READ, XVCPU_MEMORY_WB, &error),
               &error, "map 1 GiB");
    ok(xvcpu_ept_translate(&guest_vm.ept, at1g + 0x12345678, &mapping) &&
           mapping.hpa == 0x12345678 &&
           mapping.page_bytes == (EPT_CAP(PAGE_1G)   ? FAR
                                  : EPT_CAP(PAGE_2M) ? METAL_LARGE
                                                     : KERNEL_PAGE_SIZE),
       "1 GiB is mapped by pages of %lu", mapping.page_bytes);
    is_u64(guest_reads(at1g + phys_of(memory) + 20 * KERNEL_PAGE_SIZE + 16), 0x2014,
           "the guest reads the machine's memory through it");

    // The same memory in another EPT, of small pages only.
    desc.max_page_level = 1;
    metal_must(xvcpu_ept_create(&small, &desc, &guest_cpu->caps, &error), &error, "ept");
    metal_must(xvcpu_ept_map(&small, 0, phys_of(guest_vm.memory), guest_vm.bytes, XVCPU_EPT_RWX,
                             XVCPU_MEMORY_WB, &error),
               &error, "map");
    metal_must(xvcpu_ept_map(&small, at2m, phys_of(memory), METAL_LARGE, XVCPU_EPT_RWX,
                             XVCPU_MEMORY_WB, &error),
               &error, "map");
    metal_must(xvcpu_set_ept(&guest, &small, &error), &error, "xvcpu_set_ept");
    ok(xvcpu_ept_translate(&small, at2m + 0x12345, &mapping) &&
           mapping.page_bytes == KERNEL_PAGE_SIZE,
       "an EPT of small pages");
    is_u64(guest_reads(at2m + 7 * KERNEL_PAGE_SIZE + 16), 0x2007, "the guest runs on it");
    ok(guest_reads(at1g + 0x1000) == METAL_NO_CALL, "where the other mapping is not");
    metal_must(xvcpu_set_ept(&guest, &guest_vm.ept, &error), &error, "xvcpu_set_ept");
    ok(guest_reads(at2m + 7 * KERNEL_PAGE_SIZE + 16) == METAL_NO_CALL, "and back on the first");
    xvcpu_ept_destroy(&small);
    guest_close();
    page_free_contiguous(memory, big);
}

// -- Walks in software against those of the processor

static u32 compared, different;

static xvcpu_paging paging(void)
{
    xvcpu_error error;
    xvcpu_paging now;
    metal_must(xvcpu_get_paging(&guest, &now, &error), &error, "xvcpu_get_paging");
    return now;
}

// Copies of the tables: both sides have to find and leave the same. All entries that are in use lie
// at the beginning of their page.
#define TABLES 5
#define TABLE_BYTES 1152

static u8 at_first[TABLES][TABLE_BYTES], by_library[TABLES][TABLE_BYTES];

static u8 *table(u32 i)
{
    return guest_vm.memory + METAL_TABLES + i * KERNEL_PAGE_SIZE;
}

static void save_tables(u8 (*to)[TABLE_BYTES])
{
    u32 i;
    for (i = 0; i < TABLES; i++)
        memcpy(to[i], table(i), TABLE_BYTES);
}

static void restore_tables(void)
{
    u32 i;
    for (i = 0; i < TABLES; i++)
        memcpy(table(i), at_first[i], TABLE_BYTES);
}

static bool tables_are(u8 (*want)[TABLE_BYTES])
{
    bool same = true;
    u32 i;
    for (i = 0; i < TABLES; i++)
        same = same && memcmp(want[i], table(i), TABLE_BYTES) == 0;
    return same;
}

// The library's walk and the guest's access, from the same tables.
static void compare(u64 gla, u32 access, const u8 *code, const u8 *end, const char *what)
{
    const struct kit_record *record = guest_record(0);
    const xvcpu_paging now = paging();
    xvcpu_translation t;
    u64 value = 0;
    bool walked, read, same;
    u32 got;

    save_tables(at_first);
    walked = xvcpu_walk(&guest_vm.ept, &now, gla, access, &t);
    save_tables(by_library);
    restore_tables();

    metal_set(&guest, XVCPU_REG_RSP, METAL_STACK);
    metal_set(&guest, XVCPU_REG_RSI, gla);
    metal_set(&guest, XVCPU_REG_RDI, 0xc3);
    metal_set(&guest, XVCPU_REG_RBX, 0);
    got = guest_do(code, end);
    if (walked) {
        same = got == KIT_NO_FAULT;
        if (access == XVCPU_ACCESS_READ) {
            read = xvcpu_read_guest(&guest_vm.ept, &now, gla, &value, code == load ? 8 : 4, access,
                                    &t);
            same = same && read && value == metal_get(&guest, XVCPU_REG_RBX) && value != 0;
        }
    } else {
        same = got == 14 && guest_count() == 1 && t.fault && !t.not_canonical && !t.ept_fault &&
               record->error == t.error_code && record->cr2 == gla &&
               record->rip == (access == XVCPU_ACCESS_EXECUTE ? gla : METAL_CODE);
    }
    if (same && !tables_are(by_library)) {
        diag("accessed and dirty flags differ");
        same = false;
    }
    restore_tables();
    compared++;
    if (!same && different++ < 5) {
        diag("%s: 0x%lx, access %u: library %s, error 0x%x; guest %u, error 0x%lx, CR2 0x%lx", what,
             gla, access, walked ? "goes through" : "faults", t.error_code, got, record->error,
             record->cr2);
        if (got == KIT_STOPPED)
            metal_explain_exit(&guest);
    }
}

GUEST_CODE(load32, 32, "mov (%esi), %ebx");
GUEST_CODE(store32, 32, "mov %edi, (%esi)");
GUEST_CODE(call32, 32, "call *%esi");

static const u64 entry_flags[] = {XVCPU_PTE_P | XVCPU_PTE_W | XVCPU_PTE_U,
                                  XVCPU_PTE_P | XVCPU_PTE_U,
                                  XVCPU_PTE_P | XVCPU_PTE_W,
                                  XVCPU_PTE_P,
                                  0,
                                  XVCPU_PTE_P | XVCPU_PTE_W | XVCPU_PTE_U | 1ul << 63,
                                  XVCPU_PTE_P | XVCPU_PTE_W | XVCPU_PTE_U | 1ul << 51};
#define ENTRIES (sizeof entry_flags / sizeof entry_flags[0])

struct walk_case {
    const char *name;
    u32 cpl;
    u64 cr0_off, cr4, efer, rflags;
    u64 feature;
    bool supervisor_code; // the identity mapping is not for CPL 3
};

static const struct walk_case walk_cases[] = {
    {"CPL 0", 0, 0, 0, XVCPU_EFER_NXE, 0, 0, false},
    {"CPL 0, WP clear", 0, XVCPU_CR0_WP, 0, XVCPU_EFER_NXE, 0, 0, false},
    {"CPL 0, NXE clear", 0, 0, 0, 0, 0, 0, false},
    {"CPL 3", 3, 0, 0, XVCPU_EFER_NXE, 0, 0, false},
    {"CPL 3, WP and NXE clear", 3, XVCPU_CR0_WP, 0, 0, 0, 0, false},
    {"SMEP", 0, 0, XVCPU_CR4_SMEP, XVCPU_EFER_NXE, 0, XVCPU_BIT64(XVCPU_FEATURE_SMEP), true},
    {"SMAP", 0, 0, XVCPU_CR4_SMAP, XVCPU_EFER_NXE, 0, XVCPU_BIT64(XVCPU_FEATURE_SMAP), true},
    {"SMAP with AC", 0, 0, XVCPU_CR4_SMAP, XVCPU_EFER_NXE, XVCPU_RFLAGS_AC,
     XVCPU_BIT64(XVCPU_FEATURE_SMAP), true}};

enum walk_mode { WALK_64BIT, WALK_PAE, WALK_LEGACY };

#define W_ROOT METAL_TABLES            // PML4, PDPT or page directory
#define W_PDPT (METAL_TABLES + 0x1000) // 64-bit
#define W_LOW (METAL_TABLES + 0x2000)  // identity: the first 2 MiB, or 4 MiB in the root itself
#define W_PD (METAL_TABLES + 0x3000)
#define W_PT (METAL_TABLES + 0x4000)

static void put_entry(enum walk_mode mode, u64 table, u64 index, u64 value)
{
    const u32 bytes = mode == WALK_LEGACY ? 4 : 8;
    memcpy(guest_vm.memory + table + bytes * index, &value, bytes);
}

// Linear 40000000h on: one page for each of entry_flags, then large ones.
static u32 walk_tables(enum walk_mode mode, const struct walk_case *the_case, u64 *glas)
{
    const u64 all = XVCPU_PTE_P | XVCPU_PTE_W | XVCPU_PTE_U;
    const u64 large = mode == WALK_LEGACY ? 2 * METAL_LARGE : METAL_LARGE;
    // With its flags set: code, stack and tables of the kit use it in every access.
    const u64 identity = (the_case->supervisor_code ? all & ~XVCPU_PTE_U : all) | XVCPU_PTE_PS |
                         XVCPU_PTE_A | XVCPU_PTE_D;
    const u64 tables_all = mode == WALK_PAE ? XVCPU_PTE_P : all;
    u32 count = 0;
    u64 i;
    memset(table(0), 0, TABLES * KERNEL_PAGE_SIZE);
    if (mode == WALK_LEGACY) {
        put_entry(mode, W_ROOT, 0, identity);
        put_entry(mode, W_ROOT, FAR / large, W_PT | all);
        put_entry(mode, W_ROOT, FAR / large + 1, all | XVCPU_PTE_PS);
        put_entry(mode, W_ROOT, FAR / large + 2, all | XVCPU_PTE_PS | 1ul << 21); // reserved
        put_entry(mode, W_ROOT, FAR / large + 3, XVCPU_PTE_P | XVCPU_PTE_PS);
    } else {
        if (mode == WALK_64BIT) {
            put_entry(mode, W_ROOT, 0, W_PDPT | all | XVCPU_PTE_A);
            put_entry(mode, W_PDPT, 0, W_LOW | all | XVCPU_PTE_A);
            put_entry(mode, W_PDPT, 1, W_PD | all);
        } else {
            put_entry(mode, W_ROOT, 0, W_LOW | tables_all);
            put_entry(mode, W_ROOT, 1, W_PD | tables_all);
        }
        put_entry(mode, W_LOW, 0, identity);
        put_entry(mode, W_PD, 0, W_PT | all);
        put_entry(mode, W_PD, 1, all | XVCPU_PTE_PS);
        put_entry(mode, W_PD, 2, all | XVCPU_PTE_PS | 1ul << 13); // reserved
        put_entry(mode, W_PD, 3, XVCPU_PTE_P | XVCPU_PTE_PS);
        put_entry(mode, W_PD, 4, W_PT | XVCPU_PTE_P | XVCPU_PTE_U); // read-only from above
        put_entry(mode, W_PD, 5, W_PT | all | 1ul << 63);           // no execute from above
        put_entry(mode, W_PD, 6, W_PT | XVCPU_PTE_P | XVCPU_PTE_W); // supervisor from above
    }
    for (i = 0; i < ENTRIES; i++) {
        put_entry(mode, W_PT, i, KIT_FREE | entry_flags[i]);
        glas[count++] = FAR + i * KERNEL_PAGE_SIZE + 0x40;
    }
    for (i = 1; i < 4; i++)
        glas[count++] = FAR + i * large + KIT_FREE + 0x40;
    if (mode != WALK_LEGACY)
        for (i = 4; i < 7; i++)
            glas[count++] = FAR + i * large + 0x40;
    glas[count++] = FAR + 9 * large; // nothing there
    if (mode == WALK_64BIT &&
        (guest_cpu->caps.features & XVCPU_BIT64(XVCPU_FEATURE_PAGE1GB)) != 0) {
        put_entry(mode, W_PDPT, 2, all | XVCPU_PTE_PS);
        glas[count++] = 2 * FAR + KIT_FREE + 0x40;
        put_entry(mode, W_PDPT, 3, all | XVCPU_PTE_PS | 1ul << 20); // reserved
        glas[count++] = 3 * FAR + KIT_FREE + 0x40;
    }
    return count;
}

static void test_walks_in(enum walk_mode mode)
{
    static const char *const names[] = {"64-bit", "PAE", "32-bit"};
    const bool long_mode = mode == WALK_64BIT;
    u64 glas[32];
    u32 i, j, n;
    for (i = 0; i < sizeof walk_cases / sizeof walk_cases[0]; i++) {
        const struct walk_case *it = &walk_cases[i];
        if ((guest_cpu->caps.features & it->feature) != it->feature)
            continue;
        guest_open(0);
        guest_start(long_mode ? METAL_LONG : METAL_PROTECTED, load, load_end);
        n = walk_tables(mode, it, glas);
        *(u32 *)(void *)(guest_vm.memory + KIT_TSS + 8) = long_mode ? 0 : KIT_DATA; // SS0
        memset(guest_vm.memory + KIT_FREE, 0xc3, KERNEL_PAGE_SIZE);
        metal_set(&guest, XVCPU_REG_EFER,
                  (metal_get(&guest, XVCPU_REG_EFER) & ~XVCPU_EFER_NXE) | it->efer);
        metal_set(&guest, XVCPU_REG_CR4,
                  it->cr4 | (mode == WALK_LEGACY ? XVCPU_CR4_PSE : XVCPU_CR4_PAE));
        metal_set(&guest, XVCPU_REG_CR3, W_ROOT);
        metal_set(&guest, XVCPU_REG_CR0,
                  (metal_get(&guest, XVCPU_REG_CR0) | XVCPU_CR0_PG | XVCPU_CR0_WP) & ~it->cr0_off);
        metal_set(&guest, XVCPU_REG_RFLAGS, 2 | it->rflags);
        guest_set_cpl(it->cpl, long_mode);
        compared = different = 0;
        for (j = 0; j < n; j++) {
            if (long_mode) {
                compare(glas[j], XVCPU_ACCESS_READ, load, load_end, it->name);
                compare(glas[j], XVCPU_ACCESS_WRITE, store, store_end, it->name);
                compare(glas[j], XVCPU_ACCESS_EXECUTE, call, call_end, it->name);
            } else {
                compare(glas[j], XVCPU_ACCESS_READ, load32, load32_end, it->name);
                compare(glas[j], XVCPU_ACCESS_WRITE, store32, store32_end, it->name);
                compare(glas[j], XVCPU_ACCESS_EXECUTE, call32, call32_end, it->name);
            }
        }
        ok(different == 0 && compared == 3 * n,
           "%s paging, %s: %u accesses, the library's walk and the processor's agree", names[mode],
           it->name, compared);
        guest_close();
    }
}

static void test_copies(void)
{
    static u8 buffer[2 * 4096], back[2 * 4096];
    xvcpu_translation t;
    xvcpu_paging now;
    u64 i;
    guest_open(0);
    GUEST_START(METAL_LONG, load);
    far_tables();
    *guest_word(GUEST_PT + 8) = (KIT_FREE + 0x3000) | METAL_PTE_TABLE; // not the page that follows
    now = paging();
    for (i = 0; i < sizeof buffer; i++)
        buffer[i] = (u8)(i * 7 + 1);
    ok(xvcpu_write_guest(&guest_vm.ept, &now, FAR, buffer, sizeof buffer, XVCPU_ACCESS_WRITE, &t) &&
           t.bytes_done == sizeof buffer,
       "a copy over two pages that are apart");
    ok(memcmp(guest_vm.memory + KIT_FREE, buffer, 4096) == 0 &&
           memcmp(guest_vm.memory + KIT_FREE + 0x3000, buffer + 4096, 4096) == 0,
       "is where the guest's tables say");
    is_u64(guest_reads(FAR + 4096 - 4), *(u64 *)(void *)(buffer + 4092),
           "the guest reads it across the boundary");
    metal_set(&guest, XVCPU_REG_RSI, FAR + 4096 - 3);
    metal_set(&guest, XVCPU_REG_RDI, 0x1122334455667788);
    ok(GUEST_DO(store) == KIT_NO_FAULT &&
           xvcpu_read_guest(&guest_vm.ept, &now, FAR, back, sizeof back, XVCPU_ACCESS_READ, &t) &&
           memcmp(back + 4093, "\x88\x77\x66\x55\x44\x33\x22\x11", 8) == 0,
       "and what it writes is read back");
    ok(!xvcpu_read_guest(&guest_vm.ept, &now, FAR + 4096, back, sizeof back, XVCPU_ACCESS_READ,
                         &t) &&
           t.bytes_done == 4096 && t.fault_gva == FAR + 8192 && t.fault && t.error_code == 0,
       "a copy stops at the first page that is not there");
    ok(!xvcpu_walk(&guest_vm.ept, &now, 0x800000000000, XVCPU_ACCESS_READ, &t) && t.fault &&
           t.not_canonical,
       "a non-canonical address is #GP");
    ok(!xvcpu_read_guest(&guest_vm.ept, &now, 0x3000010, back, 8, XVCPU_ACCESS_READ, &t) &&
           t.ept_fault && !t.fault && t.fault_gpa == 0x3000010 && t.bytes_done == 0,
       "a page the EPT does not map is told apart");
    guest_close();
}

// -- Memory that a device answers for

#define DEVICE 0x100000 // nothing is mapped there
#define ANSWER 0x8899aabbccddeeff
#define BEFORE 0x1122334455667788

struct mmio {
    const char *name;
    const u8 *code, *end;
    bool write;
    u32 bytes;
    xvcpu_reg reg;
    u64 expect; // loads: the register afterwards; stores: the value
};

#define LOAD(id, text) GUEST_CODE(mmio_##id, 64, text)
LOAD(l1, "mov (%rsi), %al");
LOAD(l2, "mov (%rsi), %ah");
LOAD(l3, "mov 0(%rsi,%rbp,8), %bx");
LOAD(l4, "mov 0x12345678(%rdi), %ecx");
LOAD(l5, "mov (%rsi), %rdx");
LOAD(l6, "mov (%rsi), %r9");
LOAD(l7, "mov (%rsi), %dil");
LOAD(l8, "mov (%rsi), %rsp");
LOAD(l9, "mov (%rsi), %r13b");
LOAD(l10, ".byte 0xa0; .quad " KIT_TEXT(DEVICE));
LOAD(l11, ".byte 0x48, 0xa1; .quad " KIT_TEXT(DEVICE));
LOAD(l12, "mov %fs:" KIT_TEXT(DEVICE) ", %eax");
LOAD(z1, "movzbw (%rsi), %ax");
LOAD(z2, "movzbl (%rsi), %eax");
LOAD(z3, "movzbq (%rsi), %rax");
LOAD(z4, "movzwl (%rsi), %r8d");
LOAD(z5, "movzwq (%rsi), %rax");
LOAD(s1, "movsbw (%rsi), %ax");
LOAD(s2, "movsbl (%rsi), %eax");
LOAD(s3, "movsbq (%rsi), %rax");
LOAD(s4, "movswl (%rsi), %eax");
LOAD(s5, "movswq (%rsi), %rax");
LOAD(s6, "movslq (%rsi), %rax");
LOAD(w1, "mov %al, (%rsi)");
LOAD(w2, "mov %ah, (%rsi)");
LOAD(w3, "mov %r10b, (%rsi)");
LOAD(w4, "mov %bx, (%rsi)");
LOAD(w5, "mov %edx, 0x10(%rdi,%rbp,4)");
LOAD(w6, "mov %r15, (%rsi)");
LOAD(w7, "mov %rsp, (%rsi)");
LOAD(w8, "movb $0x5a, (%rsi)");
LOAD(w9, "movw $0xa55a, (%rsi)");
LOAD(w10, "movl $0x87654321, (%rsi)");
LOAD(w11, "movq $-0x12345678, (%rsi)");
LOAD(w12, ".byte 0x48, 0xa3; .quad " KIT_TEXT(DEVICE));
LOAD(w13, "mov %bpl, (%rsi)");

#define ROW(id, text, write, bytes, reg, expect)                                                   \
    {                                                                                              \
        text, mmio_##id, mmio_##id##_end, write, bytes, XVCPU_REG_##reg, expect                    \
    }

static void test_mmio(void)
{
    const struct mmio rows[] = {
        ROW(l1, "MOV AL", false, 1, RAX, 0x11223344556677ff),
        ROW(l2, "MOV AH", false, 1, RAX, 0x112233445566ff88),
        ROW(l3, "MOV BX", false, 2, RBX, 0x112233445566eeff),
        ROW(l4, "MOV ECX", false, 4, RCX, 0xccddeeff),
        ROW(l5, "MOV RDX", false, 8, RDX, ANSWER),
        ROW(l6, "MOV R9", false, 8, R9, ANSWER),
        ROW(l7, "MOV DIL", false, 1, RDI, 0),
        ROW(l8, "MOV RSP", false, 8, RSP, ANSWER),
        ROW(l9, "MOV R13B", false, 1, R13, 0x11223344556677ff),
        ROW(l10, "MOV AL, address", false, 1, RAX, 0x11223344556677ff),
        ROW(l11, "MOV RAX, address", false, 8, RAX, ANSWER),
        ROW(l12, "MOV EAX, FS:", false, 4, RAX, 0xccddeeff),
        ROW(z1, "MOVZX AX, byte", false, 1, RAX, 0x11223344556600ff),
        ROW(z2, "MOVZX EAX, byte", false, 1, RAX, 0xff),
        ROW(z3, "MOVZX RAX, byte", false, 1, RAX, 0xff),
        ROW(z4, "MOVZX R8D, word", false, 2, R8, 0xeeff),
        ROW(z5, "MOVZX RAX, word", false, 2, RAX, 0xeeff),
        ROW(s1, "MOVSX AX, byte", false, 1, RAX, 0x112233445566ffff),
        ROW(s2, "MOVSX EAX, byte", false, 1, RAX, 0xffffffff),
        ROW(s3, "MOVSX RAX, byte", false, 1, RAX, 0xffffffffffffffff),
        ROW(s4, "MOVSX EAX, word", false, 2, RAX, 0xffffeeff),
        ROW(s5, "MOVSX RAX, word", false, 2, RAX, 0xffffffffffffeeff),
        ROW(s6, "MOVSXD RAX, dword", false, 4, RAX, 0xffffffffccddeeff),
        ROW(w1, "MOV from AL", true, 1, RAX, 0x88),
        ROW(w2, "MOV from AH", true, 1, RAX, 0x77),
        ROW(w3, "MOV from R10B", true, 1, R10, 0x88),
        ROW(w4, "MOV from BX", true, 2, RBX, 0x7788),
        ROW(w5, "MOV from EDX", true, 4, RDX, 0x55667788),
        ROW(w6, "MOV from R15", true, 8, R15, BEFORE),
        ROW(w7, "MOV from RSP", true, 8, RSP, BEFORE),
        ROW(w8, "MOV byte", true, 1, RAX, 0x5a),
        ROW(w9, "MOV word", true, 2, RAX, 0xa55a),
        ROW(w10, "MOV dword", true, 4, RAX, 0x87654321),
        ROW(w11, "MOV qword, sign-extended", true, 8, RAX, 0xffffffffedcba988),
        ROW(w12, "MOV from RAX, address", true, 8, RAX, BEFORE),
        ROW(w13, "MOV from BPL", true, 1, RBP, 2)};
    u32 i, reg;
    guest_open(0);
    GUEST_START(METAL_LONG, load);
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct mmio *it = &rows[i];
        const xvcpu_exit_memory *memory = &guest.exit.u.memory;
        const u64 after = METAL_CODE + (u64)(it->end - it->code);
        u64 gpa = DEVICE;
        u64 expect = it->expect;
        bool pass;
        for (reg = XVCPU_REG_RAX; reg <= XVCPU_REG_R15; reg++)
            metal_set(&guest, (xvcpu_reg)reg, BEFORE);
        metal_set(&guest, XVCPU_REG_RBP, 2);
        metal_set(&guest, XVCPU_REG_RSI, DEVICE);
        metal_set(&guest, XVCPU_REG_RDI, DEVICE);
        if (it->code == mmio_l3)
            gpa += 16;
        if (it->code == mmio_l4)
            metal_set(&guest, XVCPU_REG_RDI, (DEVICE - 0x12345678) & ~0ul);
        if (it->code == mmio_l7)
            expect = (DEVICE & ~0xfful) | 0xff;
        if (it->code == mmio_w5)
            gpa += 0x18;
        pass = guest_do(it->code, it->end) == KIT_STOPPED && guest.exit.kind == XVCPU_EXIT_MMIO &&
               guest.exit.reason == XVCPU_EXIT_REASON_EPT_VIOLATION && memory->gpa == gpa &&
               memory->gla == gpa && memory->bytes == it->bytes && memory->write == it->write &&
               memory->read == !it->write && guest.exit.rip == METAL_CODE &&
               guest.exit.instruction_length == after - METAL_CODE;
        if (it->write)
            pass = pass && guest.exit.value == expect;
        if (!ok(pass, "MMIO %s: decoded, %u bytes", it->name, it->bytes)) {
            metal_explain_exit(&guest);
            diag("kind %u, bytes %u, value 0x%lx, length %u", (u32)guest.exit.kind, memory->bytes,
                 guest.exit.value, guest.exit.instruction_length);
        }
        // Not answered: the same again.
        pass = metal_run(&guest) == XVCPU_EXIT_REASON_EPT_VIOLATION &&
               guest.exit.kind == XVCPU_EXIT_MMIO && guest.exit.rip == METAL_CODE;
        xvcpu_answer_done(&guest, ANSWER);
        pass = pass && metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest.exit.rip == after &&
               guest_count() == 0;
        if (!it->write)
            pass = pass && metal_get(&guest, it->reg) == expect;
        if (!ok(pass, "MMIO %s: answered", it->name))
            diag("register 0x%lx, want 0x%lx", metal_get(&guest, it->reg), expect);
    }
    {
        GUEST_CODE(move_string, 64, "movsb");
        metal_set(&guest, XVCPU_REG_RSI, DEVICE);
        metal_set(&guest, XVCPU_REG_RDI, KIT_FREE);
        ok(GUEST_DO(increment) == KIT_STOPPED && guest.exit.kind == XVCPU_EXIT_PLAIN &&
               guest.exit.u.memory.gpa == DEVICE,
           "MMIO by INC is returned undecoded");
        ok(GUEST_DO(move_string) == KIT_STOPPED && guest.exit.kind == XVCPU_EXIT_PLAIN &&
               guest.exit.u.memory.gpa == DEVICE,
           "MMIO by MOVS is returned undecoded");
        metal_set(&guest, XVCPU_REG_RSP, METAL_STACK);
        ok(GUEST_DO(load) == KIT_STOPPED && guest.exit.kind == XVCPU_EXIT_MMIO, "MMIO by MOV");
    }
    xvcpu_answer_fault(&guest, 13, 0);
    ok(metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest_count() == 1 &&
           guest_record(0)->vector == 13 && guest_record(0)->rip == METAL_CODE,
       "MMIO answered with #GP: the guest gets it at the instruction");
    guest_close();
}

static void test_mmio_16_and_32(void)
{
    GUEST_CODE(load_32, 32, "mov " KIT_TEXT(DEVICE) "(%esi), %eax; movw (%edi), %bx; vmcall");
    GUEST_CODE(load_16, 16, "mov $0xffff, %ax; mov %ax, %ds; mov 0x10, %ax; mov %bx, 0x12; vmcall");
    guest_open(0);
    if (!metal_is_unrestricted(guest_cpu)) {
        skip("MMIO in 16 and 32-bit code: no unrestricted guest here");
        guest_close();
        return;
    }
    GUEST_START(METAL_PROTECTED, load_32);
    metal_set(&guest, XVCPU_REG_RSI, 8);
    metal_set(&guest, XVCPU_REG_RDI, DEVICE + 6);
    metal_set(&guest, XVCPU_REG_RBX, 0x11111111);
    ok(metal_run(&guest) == XVCPU_EXIT_REASON_EPT_VIOLATION && guest.exit.kind == XVCPU_EXIT_MMIO &&
           guest.exit.u.memory.gpa == DEVICE + 8 && guest.exit.u.memory.bytes == 4 &&
           guest.exit.instruction_length == 6,
       "MMIO in 32-bit code: four bytes");
    xvcpu_answer_done(&guest, ANSWER);
    ok(metal_run(&guest) == XVCPU_EXIT_REASON_EPT_VIOLATION && guest.exit.kind == XVCPU_EXIT_MMIO &&
           guest.exit.u.memory.gpa == DEVICE + 6 && guest.exit.u.memory.bytes == 2,
       "MMIO in 32-bit code: two bytes");
    xvcpu_answer_done(&guest, ANSWER);
    is_u64(metal_call(&guest), 0xccddeeff, "MMIO in 32-bit code: EAX");
    is_u64(metal_get(&guest, XVCPU_REG_RBX), 0x1111eeff, "MMIO in 32-bit code: BX");

    GUEST_START(METAL_REAL, load_16);
    metal_set(&guest, XVCPU_REG_RBX, 0xabcd1234);
    ok(metal_run(&guest) == XVCPU_EXIT_REASON_EPT_VIOLATION && guest.exit.kind == XVCPU_EXIT_MMIO &&
           guest.exit.u.memory.gpa == DEVICE && guest.exit.u.memory.bytes == 2 &&
           guest.exit.u.memory.read,
       "MMIO in real mode: two bytes at FFFF:0010");
    xvcpu_answer_done(&guest, ANSWER);
    ok(metal_run(&guest) == XVCPU_EXIT_REASON_EPT_VIOLATION && guest.exit.kind == XVCPU_EXIT_MMIO &&
           guest.exit.u.memory.gpa == DEVICE + 2 && guest.exit.u.memory.write &&
           guest.exit.value == 0x1234,
       "MMIO in real mode: a store");
    xvcpu_answer_done(&guest, 0);
    is_u64(metal_call(&guest) & 0xffff, 0xeeff, "MMIO in real mode: AX");
    guest_close();
}

int kernel_main(void)
{
    test_permissions();
    test_page_walk();
    test_remap();
    test_large_pages();
    test_walks_in(WALK_64BIT);
    if (metal_is_unrestricted(guest_cpu)) {
        test_walks_in(WALK_PAE);
        test_walks_in(WALK_LEGACY);
    } else {
        skip("PAE and 32-bit paging: no unrestricted guest here");
    }
    test_copies();
    test_mmio();
    test_mmio_16_and_32();
    return tap_done();
}
