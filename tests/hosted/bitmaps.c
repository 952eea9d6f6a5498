// MSR and I/O bitmaps: bounds, layout, what is denied from the start, and the MSRs that must never
// be opened.
//
// usage: [SEED=n] bitmaps        output: TAP

#include "bare.h"

static xvcpu vcpu;
static xvcpu_error error;
static uint8_t *msrs, *io_a, *io_b;

// A virtual CPU as far as bitmaps need one.
static void set_up(void)
{
    memset(&vcpu, 0, sizeof vcpu);
    vcpu.magic = XVCPUI_MAGIC_VCPU;
    msrs = (uint8_t *)bare_alloc(bare_context);
    io_a = (uint8_t *)bare_alloc(bare_context);
    io_b = (uint8_t *)bare_alloc(bare_context);
    vcpu.msr_bitmap = msrs;
    vcpu.io_bitmap_a = io_a;
    vcpu.io_bitmap_b = io_b;
    vcpu.features = ~0ULL;
    memset(vcpu.controls, 0xFF, sizeof vcpu.controls);
    memset(msrs, 0xFF, 4096);
    memset(io_a, 0xFF, 4096);
    memset(io_b, 0xFF, 4096);
}

// The processor's own look-up. SDM "MSR-Bitmap Address": 1 exits.
static int msr_exits(uint32_t index, int write)
{
    uint32_t part;
    if (index <= 0x1FFF)
        part = write ? 2048 : 0;
    else if (index >= 0xC0000000 && index <= 0xC0001FFF)
        part = write ? 3072 : 1024;
    else
        return 1;
    return msrs[part + (index & 0x1FFF) / 8] >> (index & 7) & 1;
}

static int port_exits(uint32_t port)
{
    return (port < 0x8000 ? io_a : io_b)[(port & 0x7FFF) / 8] >> (port & 7) & 1;
}

static uint32_t count_open_msrs(void)
{
    uint32_t count = 0, i;
    for (i = 0; i < 0x2000; i++)
        count += 4U - (uint32_t)(msr_exits(i, 0) + msr_exits(i, 1) + msr_exits(0xC0000000 + i, 0) +
                                 msr_exits(0xC0000000 + i, 1));
    return count;
}

static xvcpu_status allow(uint32_t first, uint32_t last, int read, int write)
{
    return xvcpu_msr_allow(&vcpu, first, last, read != 0, write != 0, &error);
}

static void test_msr_bounds(void)
{
    static const struct {
        uint32_t first, last;
        xvcpu_status want;
        const char *name;
    } table[] = {
        {0x0, 0x0, XVCPU_STATUS_OK, "the first"},
        {0x1FFF, 0x1FFF, XVCPU_STATUS_OK, "the last of the low range"},
        {0x2000, 0x2000, XVCPU_STATUS_INVALID_ARGUMENT, "after the low range"},
        {0x1FFF, 0x2000, XVCPU_STATUS_INVALID_ARGUMENT, "out of the low range"},
        {0xBFFFFFFF, 0xC0000000, XVCPU_STATUS_INVALID_ARGUMENT, "into the high range"},
        {0xC0000000, 0xC0000000, XVCPU_STATUS_OK, "the first of the high range"},
        {0xC0001FFF, 0xC0001FFF, XVCPU_STATUS_OK, "the last of the high range"},
        {0xC0001FFF, 0xC0002000, XVCPU_STATUS_INVALID_ARGUMENT, "out of the high range"},
        {0xFFFFFFFF, 0xFFFFFFFF, XVCPU_STATUS_INVALID_ARGUMENT, "the very last"},
        {0x1000, 0xC0000000, XVCPU_STATUS_INVALID_ARGUMENT, "from one range to the other"},
        {0x0, 0xC0001FFF, XVCPU_STATUS_INVALID_ARGUMENT, "both ranges"},
        {0x5, 0x4, XVCPU_STATUS_INVALID_ARGUMENT, "backwards"},
        {0xC0000000, 0x0, XVCPU_STATUS_INVALID_ARGUMENT, "backwards over both"},
    };
    size_t i;
    for (i = 0; i < sizeof table / sizeof table[0]; i++) {
        xvcpu_status denied;
        const xvcpu_status status = allow(table[i].first, table[i].last, 1, 1);
        const int open = !msr_exits(table[i].first, 0) && !msr_exits(table[i].first, 1);
        const uint32_t count = count_open_msrs();
        denied = xvcpu_msr_deny(&vcpu, table[i].first, table[i].last, 1, 1, &error);
        ok(status == table[i].want && denied == table[i].want &&
               open == (status == XVCPU_STATUS_OK) && count == (open ? 2 : 0) &&
               count_open_msrs() == 0, "T62: bounds: %s", table[i].name);
    }
    ok(!xvcpu_msr_is_allowed(&vcpu, 0x2000, 0) && !xvcpu_msr_is_allowed(&vcpu, 0xBFFFFFFF, 1) &&
           !xvcpu_msr_is_allowed(&vcpu, 0xC0002000, 0) && !xvcpu_msr_is_allowed(&vcpu, ~0U, 1),
       "T62: what has no bit always exits");
    ok(allow(0x400, 0x40F, 0, 0) == XVCPU_STATUS_OK && count_open_msrs() == 0,
       "neither reads nor writes: nothing");
    ok(allow(0x400, 0x40F, 1, 0) == XVCPU_STATUS_OK && count_open_msrs() == 16 &&
           !msr_exits(0x400, 0) && msr_exits(0x400, 1) && xvcpu_msr_is_allowed(&vcpu, 0x40F, 0) &&
           !xvcpu_msr_is_allowed(&vcpu, 0x40F, 1) && !xvcpu_msr_is_allowed(&vcpu, 0x410, 0),
       "reads only");
    ok(xvcpu_msr_deny(&vcpu, 0x408, 0x417, 1, 0, NULL) == XVCPU_STATUS_OK &&
           count_open_msrs() == 8, "a part taken back");
    memset(msrs, 0xFF, 4096);
}

// Every MSR by itself: the library's answers, the bits and a plain array agree.
static void test_msr_random(void)
{
    static uint8_t open[2][0x4000];
    int round, good = 1;
    uint32_t i;
    memset(open, 0, sizeof open);
    for (round = 0; round < 3000 && good; round++) {
        const uint32_t base = bare_below(2) ? 0xC0000000 : 0;
        const uint32_t slot = base ? 0x2000 : 0;
        // Above these nothing is guarded, see the table below.
        const uint32_t low = base ? 0x200 : 0x1600;
        const uint32_t a = low + (uint32_t)bare_below(0x2000 - low);
        const uint32_t b = a + (uint32_t)bare_below(bare_below(4) ? 20 : 0x2000 - a) % (0x2000 - a);
        const int read = (int)bare_below(2), write = (int)bare_below(2), deny = (int)bare_below(2);
        xvcpu_status status;
        if (deny)
            status = xvcpu_msr_deny(&vcpu, base + a, base + b, read != 0, write != 0, &error);
        else
            status = allow(base + a, base + b, read, write);
        good = status == XVCPU_STATUS_OK;
        for (i = a; i <= b; i++) {
            if (read)
                open[0][slot + i] = !deny;
            if (write)
                open[1][slot + i] = !deny;
        }
        if (round % 30 != 0)
            continue;
        for (i = 0; i < 0x4000 && good; i++) {
            const uint32_t index = i < 0x2000 ? i : 0xC0000000 + i - 0x2000;
            int write_too;
            for (write_too = 0; write_too < 2; write_too++)
                good &= open[write_too][i] == !msr_exits(index, write_too) &&
                        open[write_too][i] == xvcpu_msr_is_allowed(&vcpu, index, write_too != 0);
        }
    }
    ok(good, "T62: %d random ranges", round);
    memset(msrs, 0xFF, 4096);
}

// What must hold before an MSR may be opened: Y always, N never, else the circumstance.
enum circumstance {
    N, Y,
    SWITCHED,   // the library switches STAR and the others
    AUX,        // ... and the guest has TSC_AUX
    XCR0,       // ... XCR0 and XSS
    EFER, DEBUG, PAT_IN, PAT_ALL, CET, PKRS, BNDCFGS, RTIT, LBR, // the controls are on
    CIRCUMSTANCES
};

static const struct {
    uint32_t index;
    const char *name;
    enum circumstance read, write;
} guarded[] = {
    {0x10, "TIME_STAMP_COUNTER", Y, N},
    {0x1B, "APIC_BASE", N, N},
    {0x3A, "FEATURE_CONTROL", N, N},
    {0x3B, "TSC_ADJUST", N, N},
    {0x48, "SPEC_CTRL", Y, Y},
    {0x79, "BIOS_UPDT_TRIG", Y, N},
    {0xFE, "MTRRCAP", N, N},
    {0x174, "SYSENTER_CS", Y, Y},
    {0x175, "SYSENTER_ESP", Y, Y},
    {0x176, "SYSENTER_EIP", Y, Y},
    {0x1A0, "MISC_ENABLE", N, N},
    {0x1C4, "XFD", N, N},
    {0x1C5, "XFD_ERR", N, N},
    {0x1D9, "DEBUGCTL", DEBUG, N},
    {0x200, "MTRR_PHYSBASE0", N, N},
    {0x213, "MTRR_PHYSMASK9", N, N},
    {0x250, "MTRR_FIX64K_00000", N, N},
    {0x26F, "MTRR_FIX4K_F8000", N, N},
    {0x277, "PAT", PAT_IN, PAT_ALL},
    {0x2FF, "MTRR_DEF_TYPE", N, N},
    {0x480, "VMX_BASIC", N, N},
    {0x48C, "VMX_EPT_VPID_CAP", N, N},
    {0x493, "VMX_EXIT_CTLS2", N, N},
    {0x570, "RTIT_CTL", RTIT, RTIT},
    {0x6A0, "U_CET", Y, Y},
    {0x6A2, "S_CET", CET, CET},
    {0x6A8, "INTERRUPT_SSP_TABLE_ADDR", CET, CET},
    {0x6E0, "TSC_DEADLINE", Y, Y},
    {0x6E1, "PKRS", PKRS, PKRS},
    {0x808, "X2APIC_TPR", Y, Y},
    {0xD90, "BNDCFGS", BNDCFGS, BNDCFGS},
    {0xDA0, "XSS", XCR0, N},
    {0x14CE, "LBR_CTL", LBR, LBR},
    {0xC0000080, "EFER", EFER, N},
    {0xC0000081, "STAR", SWITCHED, N},
    {0xC0000082, "LSTAR", SWITCHED, N},
    {0xC0000083, "CSTAR", SWITCHED, N},
    {0xC0000084, "FMASK", SWITCHED, N},
    {0xC0000100, "FS_BASE", Y, Y},
    {0xC0000101, "GS_BASE", Y, Y},
    {0xC0000102, "KERNEL_GS_BASE", SWITCHED, SWITCHED},
    {0xC0000103, "TSC_AUX", AUX, N},
};

// Takes away what a circumstance stands for; 0: there are no more ways to.
static int take_away(enum circumstance c, int way)
{
    uint64_t *const entry = &vcpu.controls[XVCPU_WORD_ENTRY];
    uint64_t *const exit_controls = &vcpu.controls[XVCPU_WORD_EXIT];
    static const struct {
        enum circumstance circumstance;
        uint32_t entry_bit, exit_bit; // by number; 99: none
    } controls[] = {{EFER, 15, 99}, {DEBUG, 2, 99},    {PAT_IN, 14, 99},  {PAT_ALL, 14, 18},
                    {CET, 20, 28},  {PKRS, 22, 29},    {BNDCFGS, 16, 23}, {RTIT, 18, 25},
                    {LBR, 21, 26}};
    size_t i;
    if ((c == SWITCHED || c == AUX) && way == 0)
        return vcpu.desc.leave_to_host = XVCPU_LEAVE_SYSCALL_MSRS, 1;
    if (c == SWITCHED && way == 1)
        return vcpu.features &= ~XVCPU_BIT64(XVCPU_FEATURE_SYSCALL), 1;
    if (c == AUX && way == 1)
        return vcpu.features &= ~XVCPU_BIT64(XVCPU_FEATURE_RDTSCP), 1;
    if (c == XCR0 && way == 0)
        return vcpu.desc.leave_to_host = XVCPU_LEAVE_XCR0, 1;
    if (c == XCR0 && way == 1)
        return vcpu.features &= ~XVCPU_BIT64(XVCPU_FEATURE_XSAVES), 1;
    for (i = 0; i < sizeof controls / sizeof controls[0]; i++) {
        if (controls[i].circumstance != c)
            continue;
        if (way == 0)
            return *entry &= ~(1ULL << controls[i].entry_bit), 1;
        if (way == 1 && controls[i].exit_bit != 99)
            return *exit_controls &= ~(1ULL << controls[i].exit_bit), 1;
        if (way == 2 && c == PAT_ALL)
            return *exit_controls &= ~(1ULL << 19), 1;
    }
    return 0;
}

static void put_back(void)
{
    vcpu.desc.leave_to_host = 0;
    vcpu.features = ~0ULL;
    memset(vcpu.controls, 0xFF, sizeof vcpu.controls);
}

// Opens one MSR, a range with it in the middle, and the whole range of the bitmap.
static int opens(uint32_t index, int write)
{
    const xvcpu_status alone = allow(index, index, !write, write);
    const int open = !msr_exits(index, write);
    const int named = alone == XVCPU_STATUS_OK || (error.msr == index && error.detail);
    int good = (alone == XVCPU_STATUS_OK) == open && named &&
               count_open_msrs() == (open ? 1U : 0U);
    (void)!xvcpu_msr_deny(&vcpu, index, index, 1, 1, NULL);
    if (!open) {
        const uint32_t base = index & 0xC0000000;
        good &= allow(base, base + 0x1FFF, !write, write) == XVCPU_STATUS_INVALID_ARGUMENT &&
                allow(index, base + 0x1FFF, 1, write) == XVCPU_STATUS_INVALID_ARGUMENT &&
                allow(base, index, 1, 1) == XVCPU_STATUS_INVALID_ARGUMENT &&
                count_open_msrs() == 0;
    }
    return good ? open : -1;
}

static void test_guarded(void)
{
    size_t i;
    for (i = 0; i < sizeof guarded / sizeof guarded[0]; i++) {
        int write, good = 1;
        for (write = 0; write < 2; write++) {
            const enum circumstance c = write ? guarded[i].write : guarded[i].read;
            int way;
            put_back();
            good &= opens(guarded[i].index, write) == (c != N);
            // The exit controls matter to writes alone; reads need the entry's.
            for (way = 0; take_away(c, way); way++) {
                const int exit_only = !write && way > 0 && c >= EFER;
                good &= opens(guarded[i].index, write) == exit_only;
                put_back();
            }
        }
        ok(good, "%s: %s, %s", guarded[i].name,
           guarded[i].read == N   ? "never read"
           : guarded[i].read == Y ? "may be read"
                                  : "read if switched",
           guarded[i].write == N   ? "never written"
           : guarded[i].write == Y ? "may be written"
                                   : "written if switched");
    }
    put_back();
    ok(xvcpu_msr_deny(&vcpu, 0xC0000080, 0xC0000084, 1, 1, &error) == XVCPU_STATUS_OK &&
           xvcpu_msr_deny(&vcpu, 0, 0x1FFF, 1, 1, &error) == XVCPU_STATUS_OK,
       "anything may be denied");
}

static void test_ports(void)
{
    static uint8_t open[0x10000];
    int round, good = 1;
    uint32_t i;
    ok(xvcpu_io_allow(&vcpu, 0x3F8, 0x3FF, &error) == XVCPU_STATUS_OK && io_a[0x7F] == 0 &&
           io_a[0x7E] == 0xFF && io_a[0x80] == 0xFF, "ports 3F8h-3FFh are byte 7Fh of bitmap A");
    ok(xvcpu_io_allow(&vcpu, 0x8001, 0x8001, &error) == XVCPU_STATUS_OK && io_b[0] == 0xFD,
       "port 8001h is bit 1 of bitmap B");
    ok(xvcpu_io_allow(&vcpu, 0x7FFF, 0x8000, NULL) == XVCPU_STATUS_OK && io_a[4095] == 0x7F &&
           io_b[0] == 0xFC, "a range over both bitmaps");
    ok(xvcpu_io_allow(&vcpu, 0xFFFF, 0x10000, &error) == XVCPU_STATUS_INVALID_ARGUMENT &&
           error.value == 0x10000 && io_b[4095] == 0xFF && !xvcpu_io_is_allowed(&vcpu, 0x10000) &&
           !xvcpu_io_is_allowed(&vcpu, ~0U), "no port 10000h");
    ok(xvcpu_io_allow(&vcpu, 0, ~0U, &error) == XVCPU_STATUS_INVALID_ARGUMENT &&
           xvcpu_io_deny(&vcpu, 0x10000, 0x10000, &error) == XVCPU_STATUS_INVALID_ARGUMENT &&
           xvcpu_io_allow(&vcpu, 6, 5, &error) == XVCPU_STATUS_INVALID_ARGUMENT && io_a[0] == 0xFF,
       "impossible ranges change nothing");
    ok(xvcpu_io_allow(&vcpu, 0, 0xFFFF, &error) == XVCPU_STATUS_OK && io_a[0] == 0 &&
           io_b[4095] == 0 && xvcpu_io_is_allowed(&vcpu, 0xFFFF), "all ports");
    ok(xvcpu_io_deny(&vcpu, 0, 0xFFFF, &error) == XVCPU_STATUS_OK && io_a[4095] == 0xFF &&
           io_b[0] == 0xFF && !xvcpu_io_is_allowed(&vcpu, 0), "and none");
    memset(open, 0, sizeof open);
    for (round = 0; round < 1000 && good; round++) {
        const uint32_t a = (uint32_t)bare_below(0x10000);
        const uint32_t b = a + (uint32_t)bare_below(bare_below(4) ? 16 : 0x10000) % (0x10000 - a);
        const int deny = (int)bare_below(2);
        good = (deny ? xvcpu_io_deny(&vcpu, a, b, &error) : xvcpu_io_allow(&vcpu, a, b, &error)) ==
               XVCPU_STATUS_OK;
        memset(open + a, !deny, b - a + 1);
        for (i = 0; i < 0x10000 && good && round % 20 == 0; i++)
            good = open[i] == !port_exits(i) && open[i] == xvcpu_io_is_allowed(&vcpu, i);
    }
    ok(good, "%d random ranges of ports", round);
}

static void test_states(void)
{
    vcpu.magic = 0;
    ok(allow(0x400, 0x400, 1, 1) == XVCPU_STATUS_INVALID_STATE &&
           xvcpu_io_allow(&vcpu, 0, 0, &error) == XVCPU_STATUS_INVALID_STATE &&
           !xvcpu_msr_is_allowed(&vcpu, 0, 0) && !xvcpu_io_is_allowed(&vcpu, 0),
       "a virtual CPU that was not created");
    ok(xvcpu_msr_allow(NULL, 0, 0, 1, 1, &error) == XVCPU_STATUS_INVALID_STATE &&
           xvcpu_io_deny(NULL, 0, 0, &error) == XVCPU_STATUS_INVALID_STATE &&
           !xvcpu_msr_is_allowed(NULL, 0, 0) && !xvcpu_io_is_allowed(NULL, 0), "none at all");
}

int main(void)
{
    plan(0);
    bare_seed();
    set_up();
    test_msr_bounds();
    test_msr_random();
    test_guarded();
    test_ports();
    test_states();
    bare_free(bare_context, msrs);
    bare_free(bare_context, io_a);
    bare_free(bare_context, io_b);
    return done_testing();
}
