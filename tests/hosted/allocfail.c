// Every allocation of a whole life cycle is made to fail in turn, and to give a page that VMX
// cannot use: the call says so and changes nothing, and whatever is done next, nothing is left
// behind.

#define XVCPU_IMPLEMENTATION
#include "../sim/sim.h"

#include "tap.h"

#define FAR_GPA XVCPU_BIT64(39)

static xvcpu_cpu cpu;
static xvcpu_ept ept;
static xvcpu vcpus[2];
static xvcpu_error error;
static xvcpu_u64 ram_pa;

// How a test goes wrong, and what it does then.
typedef struct trouble {
    xvcpu_u32 n;         // the allocation
    sim_page_flaw flaw;  // 0: it fails
    bool from;           // and so do all after it
    bool give_up;        // tear down at once; else try the call again and go on
    bool no_error;       // the caller wants no details
    bool reached;        // out: there was an n-th allocation
} trouble;

static trouble *now;
static bool gone_wrong; // the failure was seen

typedef enum step {
    STEP_ENABLE = 0,
    STEP_EPT,
    STEP_MAP_SMALL,
    STEP_MAP_FAR,
    STEP_MAP_LARGE,
    STEP_PROTECT,
    STEP_UNMAP,
    STEP_CREATE,
    STEP_CREATE_SECOND,
    STEP_BIND,
    STEP_RUN,
    STEP_COUNT
} step;

static void guest(sim_guest *g)
{
    sim_exit_vmcall(g);
}

static xvcpu_status create(xvcpu_u32 n, xvcpu_error *e)
{
    xvcpu_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.ept = &ept;
    desc.vpid = (xvcpu_u16)(n + 1);
    return xvcpu_create(&vcpus[n], &desc, &cpu.caps, e);
}

static xvcpu_status do_step(step which, xvcpu_error *e)
{
    xvcpu_ept_desc ept_desc;
    xvcpu_status status;
    memset(&ept_desc, 0, sizeof ept_desc);
    switch (which) {
    case STEP_ENABLE: return xvcpu_cpu_enable(&cpu, NULL, e);
    case STEP_EPT: return xvcpu_ept_create(&ept, &ept_desc, &cpu.caps, e);
    case STEP_MAP_SMALL: // two page tables: over a 2-MByte border
        return xvcpu_ept_map(&ept, 0x1FF000, ram_pa + 0x1FF000, 0x2000, XVCPU_EPT_RWX,
                             XVCPU_MEMORY_WB, e);
    case STEP_MAP_FAR: // new tables at three levels
        return xvcpu_ept_map(&ept, FAR_GPA, ram_pa, 0x1000, XVCPU_EPT_RWX,
                             XVCPU_MEMORY_WB, e);
    case STEP_MAP_LARGE:
        return xvcpu_ept_map(&ept, 0x400000, ram_pa + 0x200000, 0x200000, XVCPU_EPT_RWX,
                             XVCPU_MEMORY_WB, e);
    case STEP_PROTECT: // splits the large page
        return xvcpu_ept_protect(&ept, 0x401000, 0x1000, XVCPU_EPT_READ, e);
    case STEP_UNMAP: // splits nothing any more, or what protect could not
        status = xvcpu_ept_map(&ept, 0x800000, ram_pa + 0x200000, 0x200000, XVCPU_EPT_RWX,
                               XVCPU_MEMORY_WB, e);
        if (status == XVCPU_STATUS_ALREADY_MAPPED)
            status = XVCPU_STATUS_OK; // the second try: the first got this far
        return status == XVCPU_STATUS_OK ? xvcpu_ept_unmap(&ept, 0x801000, 0x1000, e) : status;
    case STEP_CREATE: return create(0, e);
    case STEP_CREATE_SECOND: return create(1, e);
    case STEP_BIND:
        status = xvcpu_bind(&vcpus[0], &cpu, e);
        return status == XVCPU_STATUS_OK ? xvcpu_preset_long(&vcpus[0], 0x1000, 0x8000, 0x7000, e)
                                         : status;
    case STEP_RUN: return xvcpu_run(&vcpus[0], e);
    case STEP_COUNT:
    default: return XVCPU_STATUS_OK;
    }
}

// What a caller would see of the address space.
static xvcpu_u64 picture(void)
{
    static const xvcpu_u64 places[] = {0,        0x1FF000, 0x200000, 0x201000, 0x400000,
                                       0x401000, 0x402000, 0x5FF000, 0x801000, 0x802000,
                                       FAR_GPA};
    xvcpu_u64 sum = 0;
    xvcpu_u32 i;
    if (ept.root == NULL)
        return 0;
    for (i = 0; i < sizeof places / sizeof places[0]; i++) {
        xvcpu_ept_mapping m;
        memset(&m, 0, sizeof m);
        if (xvcpu_ept_translate(&ept, places[i], &m))
            sum = sum * 1000003U + m.hpa * 8 + m.permissions;
        else
            sum = sum * 1000003U + 1;
    }
    return sum;
}

// True: go on. False: the test gives up here.
static bool take(step which)
{
    const xvcpu_u32 pages = sim_pages_live(), made = sim_pages_allocated();
    const xvcpu_u64 before = picture();
    const bool flawed = now->flaw != 0;
    const xvcpu_status want = flawed ? XVCPU_STATUS_BAD_PAGE : XVCPU_STATUS_OUT_OF_PAGES;
    xvcpu_status status = do_step(which, now->no_error ? NULL : &error);
    if (sim_pages_allocated() >= now->n && made < now->n)
        now->reached = true;
    if (status == XVCPU_STATUS_OK) {
        // The XSAVE areas are used by pointer only: how high they lie does not matter.
        if (now->reached && now->flaw == SIM_PAGE_TOO_HIGH &&
            (which == STEP_CREATE || which == STEP_CREATE_SECOND))
            gone_wrong = true;
        if (now->reached && !gone_wrong)
            sim_fail("step %d: allocation %u went wrong and the call succeeded", (int)which,
                     now->n);
        return true;
    }
    gone_wrong = true;
    if (status != want)
        sim_fail("step %d: %s, not %s", (int)which, xvcpu_status_name(status),
                 xvcpu_status_name(want));
    if (!now->no_error) {
        sim_check_equal(error.status, want);
        sim_check(error.detail != NULL);
    }
    // All or nothing. (The unmap step is two calls, and only the second has failed or neither.)
    if (which != STEP_UNMAP) {
        sim_check_equal(sim_pages_live(), pages);
        sim_check_equal(picture(), before);
    }
    sim_expect_host(0);
    if (now->give_up)
        return false;
    sim_alloc_fail_at(0);
    sim_alloc_flaw_at(0, SIM_PAGE_MISALIGNED);
    status = do_step(which, &error);
    if (status != XVCPU_STATUS_OK)
        sim_fail("step %d, tried again: %s (%s)", (int)which, xvcpu_status_name(status),
                 error.detail);
    return true;
}

static void cycle(void *argument)
{
    xvcpu_u32 done = 0, i;
    now = (trouble *)argument;
    now->reached = false;
    gone_wrong = false;
    memset(&cpu, 0, sizeof cpu);
    memset(&ept, 0, sizeof ept);
    memset(vcpus, 0, sizeof vcpus);
    ram_pa = sim_phys(sim_ram(0x400000, 0x200000));
    sim_set_guest(guest, NULL);
    if (now->flaw != 0)
        sim_alloc_flaw_at(now->n, now->flaw);
    else if (now->from)
        sim_alloc_fail_from(now->n);
    else
        sim_alloc_fail_at(now->n);
    while (done < STEP_COUNT && take((step)done))
        done++;
    // A failed call leaves nothing to destroy, and destroying what is not there is harmless.
    if (done > STEP_CREATE)
        sim_check_equal(xvcpu_destroy(&vcpus[0], &error), XVCPU_STATUS_OK);
    if (done > STEP_CREATE_SECOND)
        sim_check_equal(xvcpu_destroy(&vcpus[1], &error), XVCPU_STATUS_OK);
    for (i = 0; i < 2; i++)
        sim_check_equal(xvcpu_destroy(&vcpus[i], &error), XVCPU_STATUS_INVALID_STATE);
    if (done > STEP_EPT)
        xvcpu_ept_destroy(&ept);
    if (done > STEP_ENABLE)
        sim_check_equal(xvcpu_cpu_disable(&cpu, &error), XVCPU_STATUS_OK);
    else
        sim_check(!xvcpu_cpu_is_enabled(&cpu));
    // sim_run goes on with sim_expect_clean: no page, no VMX, no register changed.
}

static xvcpu_u32 series(const char *model, const trouble *kind, const char *name)
{
    xvcpu_u32 n;
    bool passed = true;
    for (n = 1; passed; n++) {
        trouble p = *kind;
        p.n = n;
        passed = sim_run(model, cycle, &p);
        if (!passed)
            diag("allocation %u", n);
        else if (!p.reached)
            break;
    }
    ok(passed, "%s: each of %u allocations %s", model, n - 1, name);
    return n - 1;
}

int main(void)
{
    static const struct {
        const char *name;
        trouble kind;
    } kinds[] = {
        {"fails, tried again", {0, (sim_page_flaw)0, false, false, false, false}},
        {"fails, given up", {0, (sim_page_flaw)0, false, true, false, false}},
        {"and all after it fail, given up", {0, (sim_page_flaw)0, true, true, false, false}},
        {"and all after it fail, tried again", {0, (sim_page_flaw)0, true, false, false, false}},
        {"fails, no details wanted", {0, (sim_page_flaw)0, false, true, true, false}},
        {"is misaligned, tried again", {0, SIM_PAGE_MISALIGNED, false, false, false, false}},
        {"is misaligned, given up", {0, SIM_PAGE_MISALIGNED, false, true, false, false}},
        {"is misaligned, no details wanted", {0, SIM_PAGE_MISALIGNED, false, true, true, false}},
        {"is too high, tried again", {0, SIM_PAGE_TOO_HIGH, false, false, false, false}},
        {"is too high, given up", {0, SIM_PAGE_TOO_HIGH, false, true, false, false}},
    };
    static const char *const models[] = {"nehalem", "skylake"};
    xvcpu_u32 i, k;
    for (k = 0; k < 2; k++)
        for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
            const xvcpu_u32 count = series(models[k], &kinds[i].kind, kinds[i].name);
            // VMXON region; EPT root and tables; six pages a virtual CPU.
            if (i == 0)
                ok(count > XVCPU_CPU_PAGES + 2 * XVCPU_VCPU_PAGES + 6, "%s: %u allocations in all",
                   models[k], count);
        }
    return done_testing();
}
