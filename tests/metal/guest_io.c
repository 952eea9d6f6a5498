// guest_io.c - ports: what the exit of an access says, how an answer gets into RAX, which ports
// are open, and the string forms.
// models: corei7_skylake_x corei7_haswell_4770 corei5_lynnfield_750 corei7_sandy_bridge_2600k tigerlake
// cpus: 1
#include "guest_kit.h"

#define BEFORE 0x1122334455667788
#define ANSWER 0x8899aabbccddeeff

// -- IN and OUT

GUEST_CODE(in_al, 64, "in $0x70, %al");
GUEST_CODE(in_ax, 64, "in $0x71, %ax");
GUEST_CODE(in_eax, 64, "in $0x72, %eax");
GUEST_CODE(in_dx_al, 64, "in %dx, %al");
GUEST_CODE(in_dx_ax, 64, "in %dx, %ax");
GUEST_CODE(in_dx_eax, 64, "in %dx, %eax");
GUEST_CODE(in_rex, 64, ".byte 0x48; in %dx, %eax"); // REX.W makes it no wider
GUEST_CODE(out_al, 64, "out %al, $0x73");
GUEST_CODE(out_ax, 64, "out %ax, $0x74");
GUEST_CODE(out_eax, 64, "out %eax, $0xff");
GUEST_CODE(out_dx_al, 64, "out %al, %dx");
GUEST_CODE(out_dx_ax, 64, "out %ax, %dx");
GUEST_CODE(out_dx_eax, 64, "out %eax, %dx");

struct io {
    const char *name;
    const u8 *code, *end;
    bool in, immediate;
    u32 bytes, port; // port: what DX holds, or the immediate
    u64 expect;      // RAX after IN, or the value of OUT
};
#define ROW(code, text, in, immediate, bytes, port, expect)                                        \
    {                                                                                              \
        text, code, code##_end, in, immediate, bytes, port, expect                                 \
    }

static const struct io rows[] = {
    ROW(in_al, "IN AL, 70h", true, true, 1, 0x70, 0x11223344556677ff),
    ROW(in_ax, "IN AX, 71h", true, true, 2, 0x71, 0x112233445566eeff),
    ROW(in_eax, "IN EAX, 72h", true, true, 4, 0x72, 0xccddeeff),
    ROW(in_dx_al, "IN AL, DX", true, false, 1, 0x1f0, 0x11223344556677ff),
    ROW(in_dx_ax, "IN AX, DX", true, false, 2, 0xffff, 0x112233445566eeff),
    ROW(in_dx_eax, "IN EAX, DX", true, false, 4, 0xcfc, 0xccddeeff),
    ROW(in_rex, "REX.W IN EAX, DX", true, false, 4, 0, 0xccddeeff),
    ROW(out_al, "OUT 73h, AL", false, true, 1, 0x73, 0x88),
    ROW(out_ax, "OUT 74h, AX", false, true, 2, 0x74, 0x7788),
    ROW(out_eax, "OUT FFh, EAX", false, true, 4, 0xff, 0x55667788),
    ROW(out_dx_al, "OUT DX, AL", false, false, 1, 0x8000, 0x88),
    ROW(out_dx_ax, "OUT DX, AX", false, false, 2, 0x7fff, 0x7788),
    ROW(out_dx_eax, "OUT DX, EAX", false, false, 4, 0xfffd, 0x55667788)};

static bool is_io(u32 reason)
{
    return reason == XVCPU_EXIT_REASON_IO_INSTRUCTION && guest.exit.kind == XVCPU_EXIT_IO;
}

static void test_rows(void)
{
    u32 i;
    guest_open(0);
    GUEST_START(METAL_LONG, in_al);
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct io *it = &rows[i];
        const xvcpu_exit_io *io = &guest.exit.u.io;
        const u64 after = METAL_CODE + (u64)(it->end - it->code);
        const u64 rax = it->in ? it->expect : BEFORE;
        bool pass;
        u32 again;
        guest_fill_registers(BEFORE);
        // Only DX counts.
        metal_set(&guest, XVCPU_REG_RDX, (BEFORE & ~0xfffful) | (it->immediate ? 0x99 : it->port));
        pass = guest_do(it->code, it->end) == KIT_STOPPED && is_io(guest.exit.reason) &&
               io->port == it->port && io->bytes == it->bytes && io->in == it->in && !io->string &&
               !io->rep && io->immediate == it->immediate && io->count == 1 &&
               guest.exit.instruction_length == after - METAL_CODE &&
               guest.exit.value == (it->in ? 0 : it->expect);
        if (!ok(pass, "%s: the exit has port 0x%x, %u bytes", it->name, it->port, it->bytes)) {
            guest_explain();
            diag("port 0x%x, bytes %u, value 0x%lx", io->port, io->bytes, guest.exit.value);
        }
        pass = true;
        for (again = 0; again < 3; again++)
            pass = pass && is_io(metal_run(&guest)) && guest.exit.rip == METAL_CODE &&
                   metal_get(&guest, XVCPU_REG_RIP) == METAL_CODE && io->port == it->port &&
                   metal_get(&guest, XVCPU_REG_RAX) == BEFORE;
        ok(pass, "T57 %s: not answered, it exits again, nothing done", it->name);
        xvcpu_answer_done(&guest, ANSWER);
        ok(metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest.exit.rip == after &&
               guest_count() == 0,
           "T57 %s: answered, the guest goes on", it->name);
        if (!is_u64(metal_get(&guest, XVCPU_REG_RAX), rax, "T57 %s: RAX", it->name))
            guest_explain();
        pass = guest_do(it->code, it->end) == KIT_STOPPED;
        xvcpu_answer_fault(&guest, 13, 0);
        pass = pass && metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL &&
               guest_faulted((u32)guest_record(0)->vector, 13, 0) &&
               metal_get(&guest, XVCPU_REG_RAX) == rax;
        ok(pass, "%s: answered with #GP, the guest gets it there", it->name);
    }
    guest_close();
}

// -- Ports that are open

static bool exits(const u8 *code, const u8 *end, u32 port)
{
    u32 got;
    metal_set(&guest, XVCPU_REG_RDX, port);
    got = guest_do(code, end);
    return got == KIT_STOPPED && is_io(guest.exit.reason) && guest.exit.u.io.port == port;
}

static bool passes(const u8 *code, const u8 *end, u32 port)
{
    metal_set(&guest, XVCPU_REG_RDX, port);
    return guest_do(code, end) == KIT_NO_FAULT;
}
#define EXITS(code, port) exits(code, code##_end, port)
#define PASSES(code, port) passes(code, code##_end, port)

static void allow(u32 first, u32 last)
{
    xvcpu_error error;
    metal_must(xvcpu_io_allow(&guest, first, last, &error), &error, "xvcpu_io_allow");
}

static void deny(u32 first, u32 last)
{
    xvcpu_error error;
    metal_must(xvcpu_io_deny(&guest, first, last, &error), &error, "xvcpu_io_deny");
}

static void test_bitmap(void)
{
    static const u32 sample[] = {0, 7, 8, 0x60, 0x71, 0xe9, 0x3f8, 0x7fff, 0x8000, 0xfffe, 0xffff};
    xvcpu_error error;
    bool pass = true;
    u32 i;
    guest_open(0);
    GUEST_START(METAL_LONG, in_al);
    for (i = 0; i < sizeof sample / sizeof sample[0]; i++)
        pass = pass && EXITS(in_dx_al, sample[i]) && !xvcpu_io_is_allowed(&guest, sample[i]);
    ok(pass, "every port is closed at first");

    allow(0xe9, 0xe9); // the emulator answers E9h there
    metal_set(&guest, XVCPU_REG_RAX, 0);
    ok(PASSES(in_dx_al, 0xe9) && metal_get(&guest, XVCPU_REG_RAX) == 0xe9,
       "one port opened: the guest reads the host's device");
    ok(EXITS(in_dx_al, 0xe8) && EXITS(in_dx_al, 0xea), "its neighbours stay closed");
    ok(EXITS(in_dx_ax, 0xe8) && EXITS(in_dx_ax, 0xe9) && EXITS(in_dx_eax, 0xe6),
       "a wider access that touches one of them exits");
    allow(0xe8, 0xeb);
    ok(PASSES(in_dx_eax, 0xe8) && PASSES(in_dx_ax, 0xea) && EXITS(in_dx_ax, 0xeb),
       "with four ports open: an access within them does not");
    deny(0xea, 0xea);
    ok(EXITS(in_dx_eax, 0xe8) && PASSES(in_dx_ax, 0xe8) && EXITS(in_dx_al, 0xea) &&
           PASSES(in_dx_al, 0xeb),
       "one closed again");
    deny(0, 0xffff);

    allow(0x7fff, 0x8000);
    ok(xvcpu_io_is_allowed(&guest, 0x7fff) && xvcpu_io_is_allowed(&guest, 0x8000) &&
           !xvcpu_io_is_allowed(&guest, 0x7ffe) && !xvcpu_io_is_allowed(&guest, 0x8001),
       "a range over both bitmaps");
    ok(PASSES(in_dx_al, 0x7fff) && PASSES(in_dx_al, 0x8000) && PASSES(in_dx_ax, 0x7fff),
       "passes over the boundary");
    ok(EXITS(in_dx_eax, 0x7fff) && EXITS(in_dx_ax, 0x7ffe) && EXITS(in_dx_ax, 0x8000),
       "and not beyond its ends");

    allow(0, 0xffff);
    ok(PASSES(in_dx_al, 0xffff) && PASSES(in_dx_ax, 0xfffe) && PASSES(in_dx_eax, 0xfffc),
       "all ports open: the last ones pass");
    ok(EXITS(in_dx_ax, 0xffff) && EXITS(in_dx_eax, 0xfffd) && EXITS(in_dx_eax, 0xffff),
       "T57 an access that wraps at FFFFh exits nevertheless");
    deny(0xffff, 0xffff);
    ok(EXITS(in_dx_al, 0xffff) && PASSES(in_dx_al, 0xfffe), "the last one closed");
    deny(0, 0xfffe);
    ok(EXITS(in_dx_al, 0) && EXITS(in_dx_al, 0xfffe), "and all the others");
    is_status(xvcpu_io_allow(&guest, 0, 0x10000, &error), INVALID_ARGUMENT, &error,
              "a port above FFFFh");
    is_status(xvcpu_io_allow(&guest, 5, 4, &error), INVALID_ARGUMENT, &error,
              "a range upside down");
    ok(!xvcpu_io_is_allowed(&guest, 0) && !xvcpu_io_is_allowed(&guest, 4), "change nothing");
    guest_close();
}

// The privilege check comes before the exit.
static void test_privilege(void)
{
    const u16 no_bitmap = 0x68;
    guest_open(0);
    GUEST_START(METAL_LONG, in_al);
    memcpy(guest_vm.memory + KIT_TSS + 0x66, &no_bitmap, sizeof no_bitmap);
    guest_set_cpl(3, true);
    metal_set(&guest, XVCPU_REG_RDX, 0x60);
    ok(guest_faulted(GUEST_DO(in_dx_al), 13, 0), "IN at CPL 3 with IOPL 0: #GP without an exit");
    metal_set(&guest, XVCPU_REG_RFLAGS, 2 | XVCPU_RFLAGS_IOPL_MASK);
    ok(EXITS(in_dx_al, 0x60), "with IOPL 3 it exits");
    guest_close();
}

// -- INS and OUTS

#define FS_BASE 0x3000

struct string_io {
    const char *name;
    enum metal_mode mode;
    const u8 *code, *end;
    bool in, rep, prefix; // prefix: needs the processor to report it
    u32 bytes, address_bits;
    xvcpu_segment segment;
    u64 gla, count;
    bool down;
};

GUEST_CODE(insb64, 64, "insb");
GUEST_CODE(rep_insw64, 64, "rep insw");
GUEST_CODE(insl32of64, 64, "addr32 rep insl");
GUEST_CODE(outsb64, 64, "outsb");
GUEST_CODE(rep_outsl64, 64, "rep outsl %fs:(%rsi), %dx");
GUEST_CODE(rep_outsw64_down, 64, "rep outsw");
GUEST_CODE(insb32, 32, "insb");
GUEST_CODE(rep_outsw32, 32, "rep outsw %cs:(%esi), %dx");
GUEST_CODE(outsb16of32, 32, "addr16 rep outsb");
GUEST_CODE(rep_insb16, 16, "rep insb");
GUEST_CODE(outsl16, 16, "outsl %ss:(%si), %dx");
GUEST_CODE(outsb32of16, 16, "addr32 outsb");

#define STRING(code, mode, in, rep, prefix, bytes, bits, segment, gla, count, down)                \
    {                                                                                              \
#code, mode, code, code##_end, in, rep, prefix, bytes, bits, segment, gla, count, down     \
    }

// RDI is KIT_FREE + 100h, RSI KIT_FREE + 200h, RCX 1_0002_0003h; real mode has ES 1900h, DS 1000h
// and SS 0800h, protected mode ES base 1000h.
static void test_strings(void)
{
    const struct string_io strings[] = {
        STRING(insb64, METAL_LONG, true, false, false, 1, 64, XVCPU_ES, KIT_FREE + 0x100, 1, false),
        STRING(rep_insw64, METAL_LONG, true, true, false, 2, 64, XVCPU_ES, KIT_FREE + 0x100,
               0x100020003, false),
        STRING(insl32of64, METAL_LONG, true, true, true, 4, 32, XVCPU_ES, KIT_FREE + 0x100, 0x20003,
               false),
        STRING(outsb64, METAL_LONG, false, false, false, 1, 64, XVCPU_DS, KIT_FREE + 0x200, 1,
               false),
        STRING(rep_outsl64, METAL_LONG, false, true, true, 4, 64, XVCPU_FS,
               KIT_FREE + 0x200 + FS_BASE, 0x100020003, false),
        STRING(rep_outsw64_down, METAL_LONG, false, true, false, 2, 64, XVCPU_DS, KIT_FREE + 0x200,
               0x100020003, true),
        STRING(insb32, METAL_PROTECTED, true, false, false, 1, 32, XVCPU_ES,
               KIT_FREE + 0x100 + 0x1000, 1, false),
        STRING(rep_outsw32, METAL_PROTECTED, false, true, true, 2, 32, XVCPU_CS, KIT_FREE + 0x200,
               0x20003, false),
        STRING(outsb16of32, METAL_PROTECTED, false, true, true, 1, 16, XVCPU_DS,
               (KIT_FREE + 0x200) & 0xffff, 3, false),
        STRING(rep_insb16, METAL_REAL, true, true, false, 1, 16, XVCPU_ES,
               0x19000 + ((KIT_FREE + 0x100) & 0xffff), 3, false),
        STRING(outsl16, METAL_REAL, false, false, true, 4, 16, XVCPU_SS,
               0x8000 + ((KIT_FREE + 0x200) & 0xffff), 1, false),
        STRING(outsb32of16, METAL_REAL, false, false, true, 1, 32, XVCPU_DS,
               0x10000 + ((KIT_FREE + 0x200) & 0xffff), 1, false)};
    xvcpu_error error;
    u32 i;
    guest_open(0);
    for (i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        const struct string_io *it = &strings[i];
        const xvcpu_exit_io *io = &guest.exit.u.io;
        const u64 after = METAL_CODE + (u64)(it->end - it->code);
        bool pass;
        if (it->mode != METAL_LONG && !metal_is_unrestricted(guest_cpu)) {
            skip("%s: no unrestricted guest here", it->name);
            continue;
        }
        if (it->prefix && (guest_cpu->caps.basic & XVCPU_VMX_BASIC_INS_OUTS_INFO) == 0) {
            skip("%s: this processor does not report prefixes", it->name);
            continue;
        }
        guest_start(it->mode, it->code, it->end);
        metal_set(&guest, XVCPU_REG_RDX, 0x1f0);
        metal_set(&guest, XVCPU_REG_RCX, 0x100020003);
        // Real mode keeps its offsets below 64 KiB.
        metal_set(&guest, XVCPU_REG_RDI,
                  (KIT_FREE + 0x100) & (it->mode == METAL_REAL ? 0xffff : ~0ul));
        metal_set(&guest, XVCPU_REG_RSI,
                  (KIT_FREE + 0x200) & (it->mode == METAL_REAL ? 0xffff : ~0ul));
        metal_set(&guest, XVCPU_REG_FS_BASE, FS_BASE);
        if (it->mode == METAL_PROTECTED)
            metal_set(&guest, XVCPU_REG_ES_BASE, 0x1000);
        if (it->mode == METAL_REAL) {
            metal_set(&guest, XVCPU_REG_ES, 0x1900);
            metal_set(&guest, XVCPU_REG_ES_BASE, 0x19000);
            metal_set(&guest, XVCPU_REG_DS, 0x1000);
            metal_set(&guest, XVCPU_REG_DS_BASE, 0x10000);
            metal_set(&guest, XVCPU_REG_SS, 0x800);
            metal_set(&guest, XVCPU_REG_SS_BASE, 0x8000);
        }
        if (it->down)
            metal_set(&guest, XVCPU_REG_RFLAGS, 2 | XVCPU_RFLAGS_DF);
        pass = guest_do(it->code, it->end) == KIT_STOPPED && is_io(guest.exit.reason) &&
               io->string && io->in == it->in && io->rep == it->rep && io->bytes == it->bytes &&
               io->port == 0x1f0 && !io->immediate && io->address_bits == it->address_bits &&
               io->segment == it->segment && io->gla == it->gla && io->count == it->count &&
               guest.exit.instruction_length == after - METAL_CODE;
        if (!ok(pass, "T58 %s: %u bits, segment %u, 0x%lx elements at 0x%lx", it->name,
                it->address_bits, (u32)it->segment, it->count, it->gla)) {
            guest_explain();
            diag("address_bits %u, segment %u, count 0x%lx, address 0x%lx, bytes %u, length %u",
                 io->address_bits, io->segment, io->count, io->gla, io->bytes,
                 guest.exit.instruction_length);
        }
        ok(((metal_get(&guest, XVCPU_REG_RFLAGS) & XVCPU_RFLAGS_DF) != 0) == it->down,
           "T58 %s: the direction is in RFLAGS", it->name);
        xvcpu_answer_done(&guest, 0);
        is_status(xvcpu_run(&guest, &error), NOT_ANSWERED, &error, "answered as if no string");
        guest.exit.answer = XVCPU_ANSWER_NONE;
        is_status(xvcpu_skip_instruction(&guest, &error), OK, &error, "skipped");
        ok(metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && guest.exit.rip == after,
           "T58 %s: the guest goes on behind it", it->name);
    }
    guest_close();
}

// A caller that does the data, in two parts, up and down.
static void test_partial(void)
{
    u32 down;
    for (down = 0; down < 2; down++) {
        const u64 start = KIT_FREE + 0x100;
        const u64 step = down != 0 ? ~0ul : 1;
        u64 i, at = start;
        u8 byte = 'a';
        xvcpu_error error;
        xvcpu_paging paging;
        xvcpu_translation t;
        bool pass = true;
        GUEST_CODE(rep_insb, 64, "rep insb");
        guest_open(0);
        GUEST_START(METAL_LONG, rep_insb);
        metal_set(&guest, XVCPU_REG_RDX, 0x1f0);
        metal_set(&guest, XVCPU_REG_RCX, 6);
        metal_set(&guest, XVCPU_REG_RDI, start);
        metal_set(&guest, XVCPU_REG_RFLAGS, 2 | (down != 0 ? XVCPU_RFLAGS_DF : 0));
        metal_must(xvcpu_get_paging(&guest, &paging, &error), &error, "xvcpu_get_paging");
        ok(GUEST_DO(rep_insb) == KIT_STOPPED && guest.exit.u.io.count == 6 &&
               guest.exit.u.io.gla == start,
           "T58 REP INSB of six bytes");
        for (i = 0; i < 6; i++) {
            pass = pass &&
                   xvcpu_write_guest(&guest_vm.ept, &paging, at, &byte, 1, XVCPU_ACCESS_WRITE, &t);
            byte++;
            at += step;
            metal_set(&guest, XVCPU_REG_RCX, 5 - i);
            metal_set(&guest, XVCPU_REG_RDI, at);
            if (i == 3) // the rest after another entry
                pass = pass && is_io(metal_run(&guest)) && guest.exit.u.io.count == 2 &&
                       guest.exit.u.io.gla == at && guest.exit.rip == METAL_CODE;
        }
        ok(pass, "T58 four moved: the guest asks for the other two");
        metal_must(xvcpu_skip_instruction(&guest, &error), &error, "skip");
        ok(metal_run(&guest) == XVCPU_EXIT_REASON_VMCALL && metal_get(&guest, XVCPU_REG_RCX) == 0 &&
               memcmp(guest_vm.memory + (down != 0 ? start - 5 : start),
                      down != 0 ? "fedcba" : "abcdef", 6) == 0,
           "T58 %s: all six are in place", down != 0 ? "down" : "up");
        guest_close();
    }
}

static void test_other_modes(void)
{
    GUEST_CODE(real_in, 16, "in %dx, %eax; mov %eax, %ebx; in $0x21, %al; out %ax, $0x80; vmcall");
    guest_open(0);
    if (!metal_is_unrestricted(guest_cpu)) {
        skip("real mode: no unrestricted guest here");
        guest_close();
        return;
    }
    GUEST_START(METAL_REAL, real_in);
    guest_fill_registers(0x11223344);
    metal_set(&guest, XVCPU_REG_RDX, 0xcfc);
    ok(is_io(metal_run(&guest)) && guest.exit.u.io.bytes == 4 && guest.exit.u.io.port == 0xcfc,
       "T57 real mode: IN EAX, DX");
    xvcpu_answer_done(&guest, ANSWER);
    ok(is_io(metal_run(&guest)) && guest.exit.u.io.bytes == 1 && guest.exit.u.io.port == 0x21 &&
           guest.exit.u.io.immediate,
       "T57 real mode: IN AL, 21h");
    xvcpu_answer_done(&guest, 0x5a);
    ok(is_io(metal_run(&guest)) && guest.exit.u.io.bytes == 2 && guest.exit.value == 0xee5a,
       "T57 real mode: OUT 80h, AX has both answers merged");
    xvcpu_answer_done(&guest, 0);
    (void)metal_call(&guest);
    is_u64(metal_get(&guest, XVCPU_REG_RBX), 0xccddeeff, "T57 real mode: EAX");
    guest_close();
}

int kernel_main(void)
{
    test_rows();
    test_bitmap();
    test_privilege();
    test_strings();
    test_partial();
    test_other_modes();
    return tap_done();
}
