// lifecycle.c - the life of a virtual CPU: create, bind, run, unbind, again, destroy; every page
// comes back; every call in the wrong order says so; every start state; every register.
// models: corei5_lynnfield_750 corei5_arrandale_m520 corei7_haswell_4770 corei7_skylake_x tigerlake
// cpus: 1
#include "metal.h"

static xvcpu_cpu *cpu;
static struct metal_vm vm;
static xvcpu vcpu, second;

// Counts in RBX and in memory, and says so.
GUEST_CODE(counter, 64,
           "counter_next:\n"
           "inc %rbx\n"
           "incq " GUEST_NUMBER(METAL_DATA) "\n"
           "mov %rbx, %rax\n"
           "vmcall\n"
           "jmp counter_next");

// -- A whole life

static void test_life(void)
{
    const u32 pages = metal_pages;
    xvcpu_error error;
    u32 of_the_ept;

    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    of_the_ept = metal_pages - pages;
    is_u64(of_the_ept, vm.ept.pool.in_use, "pool.in_use is the number of table pages");
    metal_vcpu_create(&vcpu, &vm, cpu, 0);
    is_u64(metal_pages - pages - of_the_ept, XVCPU_VCPU_PAGES, "a virtual CPU takes its pages");
    ok(cpu->active == &vcpu && cpu->current == &vcpu, "bound, active and current");
    METAL_START(&vcpu, &vm, METAL_LONG, counter);
    is_u64(metal_call(&vcpu), 1, "first call");
    is_u64(metal_call(&vcpu), 2, "second call");
    is_u64(vcpu.launched, 1, "launched");

    is_status(xvcpu_unbind(&vcpu, &error), OK, &error, "unbind");
    ok(cpu->active == 0 && cpu->current == 0 && vcpu.launched == 0, "nothing is active");
    is_status(xvcpu_run(&vcpu, &error), NOT_BOUND, &error, "run unbound");
    is_status(xvcpu_unbind(&vcpu, &error), NOT_BOUND, &error, "unbind twice");
    is_status(xvcpu_bind(&vcpu, cpu, &error), OK, &error, "bind again");
    is_u64(metal_call(&vcpu), 3, "it goes on where it was");
    is_u64(*metal_word(&vm, METAL_DATA), 3, "in memory too");

    is_status(xvcpu_destroy(&vcpu, &error), OK, &error, "destroy while bound");
    ok(cpu->active == 0, "which unbinds");
    is_u64(metal_pages - pages, of_the_ept, "its pages are back");
    is_status(xvcpu_destroy(&vcpu, &error), INVALID_STATE, &error, "destroy twice");
    is_status(xvcpu_bind(&vcpu, cpu, &error), INVALID_STATE, &error, "bind after destroy");
    metal_vm_destroy(&vm);
    is_u64(metal_pages, pages, "the EPT's pages are back");
}

// -- Two on one CPU

// Fills every general register from RAX up, then checks at each turn that all are still there.
GUEST_CODE(register_file, 64,
           ".macro each_register do\n"
           "\\do %rbx, 1\n \\do %rcx, 2\n \\do %rdx, 3\n \\do %rsi, 4\n \\do %rdi, 5\n"
           "\\do %rbp, 6\n \\do %r8, 7\n \\do %r9, 8\n \\do %r10, 9\n \\do %r11, 10\n"
           "\\do %r12, 11\n \\do %r13, 12\n \\do %r14, 13\n"
           ".endm\n"
           ".macro put_register reg, n\n"
           "lea \\n(%rax), \\reg\n"
           ".endm\n"
           ".macro add_register reg, n\n"
           "add \\reg, %rax\n inc \\reg\n"
           ".endm\n"
           "each_register put_register\n"
           "xor %r15d, %r15d\n"
           "register_turn:\n"
           "xor %eax, %eax\n"
           "each_register add_register\n"
           "inc %r15\n"
           "vmcall\n"
           "jmp register_turn\n");
#define REGISTERS 13u

static void test_two(void)
{
    bool right = true, states = true;
    u64 turn;

    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    metal_vcpu_create(&vcpu, &vm, cpu, 0);
    metal_vcpu_create(&second, &vm, cpu, 0);
    METAL_START(&vcpu, &vm, METAL_LONG, register_file);
    METAL_START(&second, &vm, METAL_LONG, register_file);
    metal_set(&vcpu, XVCPU_REG_RAX, 0x1111000000000000ul);
    metal_set(&second, XVCPU_REG_RAX, 0x2222000000000000ul);
    metal_set(&second, XVCPU_REG_RSP, METAL_STACK - 0x800);
    for (turn = 1; turn <= 50; turn++) {
        const u64 sum = REGISTERS * (REGISTERS + 1) / 2 + REGISTERS * (turn - 1);
        const u64 a = metal_call(&vcpu);
        const u64 b = metal_call(&second);
        states = states && cpu->current == &second;
        right = right && a == REGISTERS * 0x1111000000000000ul + sum &&
                b == REGISTERS * 0x2222000000000000ul + sum && vcpu.gpr[XVCPU_R15] == turn &&
                second.gpr[XVCPU_R15] == turn;
    }
    ok(right, "two virtual CPUs in turn: each keeps its registers");
    ok(states, "the one that ran last is current");
    is_u64(metal_get(&vcpu, XVCPU_REG_RSP), METAL_STACK, "RSP of the first");
    is_u64(metal_get(&second, XVCPU_REG_RSP), METAL_STACK - 0x800, "RSP of the second");
    // The first in the list of active ones, the last, and one alone.
    metal_vcpu_destroy(&vcpu);
    ok(cpu->active == &second && second.next_active == 0, "one of two leaves the list");
    is_u64(metal_call(&second), REGISTERS * 0x2222000000000000ul + 91 + REGISTERS * 50,
           "the other runs on");
    metal_vcpu_destroy(&second);
    metal_vm_destroy(&vm);
}

// -- Wrong order, wrong arguments

static void test_wrong_order(void)
{
    static xvcpu never; // zeroed
    static xvcpu_cpu off;
    static xvcpu_ept no_ept;
    const u32 pages = metal_pages;
    xvcpu_caps not_probed;
    xvcpu_desc desc = {0};
    xvcpu_ept_desc ept_desc = {0};
    xvcpu_error error;
    u64 value;

    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    is_status(xvcpu_bind(&never, cpu, &error), INVALID_STATE, &error, "bind before create");
    is_status(xvcpu_run(&never, &error), INVALID_STATE, &error, "run before create");
    is_status(xvcpu_get(&never, XVCPU_REG_RIP, &value, &error), INVALID_STATE, &error,
              "get before create");
    is_status(xvcpu_destroy(&never, &error), INVALID_STATE, &error, "destroy before create");
    is_status(xvcpu_run(0, &error), INVALID_STATE, &error, "run nothing");

    is_status(xvcpu_create(&vcpu, &desc, &cpu->caps, &error), INVALID_ARGUMENT, &error,
              "create without an EPT");
    desc.ept = &no_ept;
    is_status(xvcpu_create(&vcpu, &desc, &cpu->caps, &error), INVALID_ARGUMENT, &error,
              "create with an EPT that was not created");
    desc.ept = &vm.ept;
    memset(&not_probed, 0, sizeof not_probed);
    is_status(xvcpu_create(&vcpu, &desc, &not_probed, &error), INVALID_ARGUMENT, &error,
              "create with capabilities nobody probed");
    is_status(xvcpu_create(&vcpu, &desc, 0, &error), INVALID_ARGUMENT, &error, "create without");
    desc.canary_first = 1;
    is_status(xvcpu_create(&vcpu, &desc, &cpu->caps, &error), UNINITIALIZED_DESC, &error,
              "first canary of xvcpu_desc");
    desc.canary_first = 0;
    desc.canary_last = 1;
    is_status(xvcpu_create(&vcpu, &desc, &cpu->caps, &error), UNINITIALIZED_DESC, &error,
              "last canary of xvcpu_desc");
    desc.canary_last = 0;
    memset(&ept_desc, METAL_GARBAGE, sizeof ept_desc);
    is_status(xvcpu_ept_create(&no_ept, &ept_desc, &cpu->caps, &error), UNINITIALIZED_DESC, &error,
              "xvcpu_ept_desc full of garbage");
    memset(&ept_desc, 0, sizeof ept_desc);
    ept_desc.canary_last = 1;
    is_status(xvcpu_ept_create(&no_ept, &ept_desc, &cpu->caps, &error), UNINITIALIZED_DESC, &error,
              "last canary of xvcpu_ept_desc");
    desc.required_controls[XVCPU_WORD_PIN] = XVCPU_BIT64(31);
    is_status(xvcpu_create(&vcpu, &desc, &cpu->caps, &error), CONTROL_UNSUPPORTED, &error,
              "a control that does not exist");
    is_u64(error.bits, XVCPU_BIT64(31), "its bit is named");
    is_u64(error.msr, cpu->caps.controls[XVCPU_WORD_PIN].msr, "and its MSR");
    desc.required_controls[XVCPU_WORD_PIN] = 0;
    is_u64(metal_pages - pages, vm.ept.pool.in_use, "none of these keeps a page");

    metal_must(xvcpu_create(&vcpu, &desc, &cpu->caps, &error), &error, "create");
    is_status(xvcpu_run(&vcpu, &error), NOT_BOUND, &error, "run before bind");
    is_status(xvcpu_get(&vcpu, XVCPU_REG_RIP, &value, &error), NOT_BOUND, &error,
              "get before bind");
    is_status(xvcpu_set(&vcpu, XVCPU_REG_RIP, 0, &error), NOT_BOUND, &error, "set before bind");
    is_status(xvcpu_preset_long(&vcpu, 0, 0, 0, &error), NOT_BOUND, &error, "preset before bind");
    is_status(xvcpu_set_budget(&vcpu, 1000, &error), NOT_BOUND, &error, "budget before bind");
    is_status(xvcpu_unbind(&vcpu, &error), NOT_BOUND, &error, "unbind before bind");
    is_status(xvcpu_bind(&vcpu, &off, &error), INVALID_STATE, &error,
              "bind to a CPU that is not enabled");
    is_status(xvcpu_bind(&vcpu, 0, &error), INVALID_STATE, &error, "bind to none");
    metal_must(xvcpu_bind(&vcpu, cpu, &error), &error, "bind");
    is_status(xvcpu_bind(&vcpu, cpu, &error), INVALID_STATE, &error, "bind twice");
    is_status(xvcpu_get(&vcpu, XVCPU_REG_COUNT, &value, &error), UNKNOWN_REGISTER, &error,
              "get an unknown register");
    is_status(xvcpu_set(&vcpu, XVCPU_REG_COUNT, 0, &error), UNKNOWN_REGISTER, &error,
              "set an unknown register");
    is_status(xvcpu_get(&vcpu, XVCPU_REG_RIP, 0, &error), INVALID_ARGUMENT, &error,
              "get to nowhere");
    is_status(xvcpu_set_handler(&vcpu, XVCPU_EXIT_REASON_COUNT, 0, 0, &error), INVALID_ARGUMENT,
              &error, "a handler for a reason that does not exist");
    is_status(xvcpu_bind(&vcpu, cpu, 0), INVALID_STATE, 0, "nobody needs to listen to errors");

    METAL_START(&vcpu, &vm, METAL_LONG, counter);
    is_u64(metal_call(&vcpu), 1, "after all that it runs");
    is_status(xvcpu_cpu_disable(cpu, &error), OK, &error, "disable with a virtual CPU bound");
    is_status(xvcpu_run(&vcpu, &error), NOT_BOUND, &error, "T6 which unbinds it");
    is_status(xvcpu_bind(&vcpu, cpu, &error), INVALID_STATE, &error, "bind after disable");
    cpu = metal_enable();
    is_status(xvcpu_bind(&vcpu, cpu, &error), OK, &error, "bind after enabling again");
    is_u64(metal_call(&vcpu), 2, "it goes on where it was");
    metal_vcpu_destroy(&vcpu);
    metal_vm_destroy(&vm);
    is_u64(metal_pages, pages, "every page came back");
}

// -- Pages

// VMCLEAR is what makes a region usable, not zeros: between create and bind the region is spoilt.
static void test_dirty_vmcs(void)
{
    const u32 revision = cpu->caps.revision;
    xvcpu_desc desc = {0};
    xvcpu_error error;

    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    desc.ept = &vm.ept;
    metal_must(xvcpu_create(&vcpu, &desc, &cpu->caps, &error), &error, "create");
    memset(vcpu.vmcs, METAL_GARBAGE, cpu->caps.region_bytes);
    memcpy(vcpu.vmcs, &revision, sizeof revision);
    is_status(xvcpu_bind(&vcpu, cpu, &error), OK, &error, "T5 bind with a dirty VMCS region");
    METAL_START(&vcpu, &vm, METAL_LONG, counter);
    is_u64(metal_call(&vcpu), 1, "T5 T18 it is launched: VMCLEAR, then every field was written");
    is_u64(metal_call(&vcpu), 2, "T5 and resumed");
    metal_must(xvcpu_unbind(&vcpu, &error), &error, "unbind");
    metal_must(xvcpu_bind(&vcpu, cpu, &error), &error, "bind");
    is_u64(metal_call(&vcpu), 3, "T7 launched again after VMCLEAR");
    metal_vcpu_destroy(&vcpu);
    metal_vm_destroy(&vm);
}

static void test_supply(void)
{
    static u8 pages[XVCPU_VCPU_PAGES][4096] __attribute__((aligned(4096)));
    static u8 tables[8][4096] __attribute__((aligned(4096)));
    const u32 before = metal_pages;
    xvcpu_ept_desc ept_desc = {0};
    xvcpu_desc desc = {0};
    xvcpu_error error;
    u32 round;

    memset(pages, METAL_GARBAGE, sizeof pages);
    memset(tables, METAL_GARBAGE, sizeof tables);
    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    xvcpu_ept_destroy(&vm.ept);
    ept_desc.supply.pages = tables;
    ept_desc.supply.count = 2;
    metal_must(xvcpu_ept_create(&vm.ept, &ept_desc, &cpu->caps, &error), &error, "EPT");
    is_status(xvcpu_ept_map(&vm.ept, 0, phys_of(vm.memory), vm.bytes, XVCPU_EPT_RWX,
                            XVCPU_MEMORY_WB, &error),
              OUT_OF_PAGES, &error, "an EPT with too few pages supplied");
    ok(vm.ept.pool.in_use == 1 && !xvcpu_ept_translate(&vm.ept, 0, 0), "maps nothing");
    xvcpu_ept_destroy(&vm.ept);
    ept_desc.supply.count = 8;
    metal_must(xvcpu_ept_create(&vm.ept, &ept_desc, &cpu->caps, &error), &error, "EPT");
    is_status(xvcpu_ept_map(&vm.ept, 0, phys_of(vm.memory), vm.bytes, XVCPU_EPT_RWX,
                            XVCPU_MEMORY_WB, &error),
              OK, &error, "an EPT with enough");

    desc.ept = &vm.ept;
    desc.supply.pages = pages;
    desc.supply.count = XVCPU_VCPU_PAGES - 1;
    is_status(xvcpu_create(&vcpu, &desc, &cpu->caps, &error), OUT_OF_PAGES, &error,
              "a virtual CPU with too few pages supplied");
    for (round = 0; round < 2; round++) {
        desc.supply.count = XVCPU_VCPU_PAGES;
        is_status(xvcpu_create(&vcpu, &desc, &cpu->caps, &error), OK, &error,
                  "a virtual CPU with XVCPU_VCPU_PAGES supplied");
        metal_must(xvcpu_bind(&vcpu, cpu, &error), &error, "bind");
        METAL_START(&vcpu, &vm, METAL_LONG, counter);
        is_u64(metal_call(&vcpu), 1, "runs");
        metal_vcpu_destroy(&vcpu);
    }
    is_u64(metal_pages, before, "the allocator was not asked");
    metal_vm_destroy(&vm);
}

// Lets the allocation fail at every place in turn.
static void test_out_of_pages(void)
{
    xvcpu_desc desc = {0};
    xvcpu_error error;
    bool all = true;
    u32 before, n;

    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    before = metal_pages;
    desc.ept = &vm.ept;
    for (n = 0; n < XVCPU_VCPU_PAGES; n++) {
        metal_fail_in = n;
        all = all && xvcpu_create(&vcpu, &desc, &cpu->caps, &error) == XVCPU_STATUS_OUT_OF_PAGES &&
              error.status == XVCPU_STATUS_OUT_OF_PAGES && metal_pages == before;
        metal_fail_in = n;
        all = all && xvcpu_create(&vcpu, &desc, &cpu->caps, 0) == XVCPU_STATUS_OUT_OF_PAGES &&
              metal_pages == before;
    }
    metal_fail_in = METAL_NEVER;
    ok(all, "out of pages at each of %u places: all go back", XVCPU_VCPU_PAGES);
    metal_misalign = 8;
    is_status(xvcpu_create(&vcpu, &desc, &cpu->caps, &error), BAD_PAGE, &error, "bad page");
    metal_misalign = 0;
    is_u64(metal_pages, before, "goes back too");
    is_status(xvcpu_create(&vcpu, &desc, &cpu->caps, &error), OK, &error, "then it works");
    metal_vcpu_destroy(&vcpu);
    metal_vm_destroy(&vm);
}

// -- Start states

// Each adds up what it finds and then writes to memory the way its mode does.
GUEST_CODE(real_guest, 16,
           "mov %cs, %ax\n"
           "mov %ax, %ds\n"
           "movl $0x12345678, " GUEST_NUMBER(METAL_DATA) "\n"
           "push %ax\n"
           "call real_sub\n"
           "pop %ax\n"
           "vmcall\n"
           "smsw %ax\n"
           "vmcall\n"
           "real_sub:\n"
           "mov %sp, %bx\n"
           "ret\n");

GUEST_CODE(protected_guest, 32,
           "movl $0x87654321, " GUEST_NUMBER(METAL_DATA) "\n"
           "push $0x77\n"
           "call protected_sub\n"
           "pop %eax\n"
           "vmcall\n"
           "mov %cr0, %eax\n"
           "vmcall\n"
           "protected_sub:\n"
           "mov %esp, %ebx\n"
           "mov %cs, %ecx\n"
           "ret\n");

GUEST_CODE(long_guest, 64,
           "movabs $0x1122334455667788, %rax\n"
           "mov %rax, " GUEST_NUMBER(METAL_DATA) "\n"
           "push $0x55\n"
           "call long_sub\n"
           "pop %rax\n"
           "vmcall\n"
           "mov %cr0, %rax\n"
           "vmcall\n"
           "mov %cr4, %rax\n"
           "vmcall\n"
           "mov $0xc0000080, %ecx\n"
           "rdmsr\n"
           "vmcall\n"
           "mov %cr3, %rax\n"
           "vmcall\n"
           "long_sub:\n"
           "mov %rsp, %rbx\n"
           "lea (%rip), %rcx\n"
           "1: ret\n");

// At FFFFFFF0h, where a processor starts: 16 bytes to the end of the address space.
GUEST_CODE(reset_guest, 16,
           "mov %dx, %ax\n"
           "vmcall\n"
           "mov %cs, %ax\n"
           "vmcall\n"
           "hlt\n");

static xvcpu_cpu_mode mode_of(xvcpu *v)
{
    xvcpu_cpu_mode mode = XVCPU_MODE_REAL;
    xvcpu_error error;
    metal_must(xvcpu_get_mode(v, &mode, &error), &error, "xvcpu_get_mode");
    return mode;
}

static void test_presets(void)
{
    xvcpu_error error;
    u64 value;

    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    metal_vcpu_create(&vcpu, &vm, cpu, 0);

    METAL_START(&vcpu, &vm, METAL_LONG, long_guest);
    is_u64(mode_of(&vcpu), XVCPU_MODE_64BIT, "long: 64-bit mode");
    is_u64(metal_call(&vcpu), 0x55, "long: the stack works");
    is_u64(*metal_word(&vm, METAL_DATA), 0x1122334455667788ul, "long: so does memory");
    is_u64(vcpu.gpr[XVCPU_RBX], METAL_STACK - 16, "long: RSP is as given");
    value = metal_call(&vcpu);
    ok((value & (XVCPU_CR0_PE | XVCPU_CR0_PG)) == (XVCPU_CR0_PE | XVCPU_CR0_PG) &&
           (value & (XVCPU_CR0_CD | XVCPU_CR0_NW)) == 0,
       "long: CR0 0x%lx has paging, and caches on", value);
    is_u64(metal_call(&vcpu), XVCPU_CR4_PAE, "T39 long: CR4 has PAE alone; VMXE is hidden");
    is_u64(metal_call(&vcpu), XVCPU_EFER_LME | XVCPU_EFER_LMA, "T31 long: EFER has LME and LMA");
    is_u64(metal_call(&vcpu), METAL_TABLES, "long: CR3 is as given");
    is_status(xvcpu_preset_long(&vcpu, 0, 0x0000800000000000ul, 0, &error), BAD_VALUE, &error,
              "long: RIP not canonical");
    is_status(xvcpu_preset_long(&vcpu, 1ul << 60, 0, 0, &error), BAD_VALUE, &error,
              "long: CR3 beyond the address width");
    is_u64(metal_get(&vcpu, XVCPU_REG_CR3), METAL_TABLES, "long: a refused preset changes nothing");

    if (!metal_is_unrestricted(cpu)) {
        is_status(xvcpu_preset_real(&vcpu, 0, 0, &error), UNSUPPORTED, &error, "real");
        is_u64(error.bits, XVCPU_PROC2_UNRESTRICTED_GUEST, "the control it takes is named");
        is_status(xvcpu_preset_reset(&vcpu, &error), UNSUPPORTED, &error, "reset");
        is_status(xvcpu_preset_protected(&vcpu, 0, 0, &error), UNSUPPORTED, &error, "protected");
        is_status(xvcpu_preset_wait_sipi(&vcpu, &error), UNSUPPORTED, &error, "wait for SIPI");
        is_u64(mode_of(&vcpu), XVCPU_MODE_64BIT, "none of these changed anything");
        metal_vcpu_destroy(&vcpu);
        metal_vm_destroy(&vm);
        return;
    }

    METAL_START(&vcpu, &vm, METAL_REAL, real_guest);
    is_u64(mode_of(&vcpu), XVCPU_MODE_REAL, "real: real mode");
    is_u64(metal_call(&vcpu) & 0xffff, 0, "real: CS is 0, the stack works");
    is_u64(*metal_word(&vm, METAL_DATA) & 0xffffffff, 0x12345678, "real: memory works");
    is_u64(vcpu.gpr[XVCPU_RBX] & 0xffff, METAL_STACK - 4, "real: SP");
    is_u64(metal_call(&vcpu) & (XVCPU_CR0_PE | XVCPU_CR0_PG), 0, "real: CR0.PE is 0");
    is_status(xvcpu_preset_real(&vcpu, 0x0080, METAL_CODE - 0x800, &error), OK, &error,
              "real: at another CS");
    metal_set(&vcpu, XVCPU_REG_RSP, METAL_STACK);
    is_u64(metal_call(&vcpu) & 0xffff, 0x80, "real: CS is as given");

    METAL_START(&vcpu, &vm, METAL_PROTECTED, protected_guest);
    is_u64(mode_of(&vcpu), XVCPU_MODE_PROTECTED, "protected: protected mode");
    is_u64(metal_call(&vcpu), 0x77, "protected: the stack works");
    is_u64(*metal_word(&vm, METAL_DATA) & 0xffffffff, 0x87654321, "protected: memory works");
    is_u64(vcpu.gpr[XVCPU_RBX], METAL_STACK - 8, "protected: ESP is as given");
    value = metal_call(&vcpu);
    ok((value & XVCPU_CR0_PE) != 0 && (value & XVCPU_CR0_PG) == 0,
       "protected: CR0 0x%lx has no paging", value);

    // The top of the address space: one page of guest memory more.
    metal_must(xvcpu_ept_map(&vm.ept, 0xfffff000, phys_of(vm.memory + 0xf000), 0x1000,
                             XVCPU_EPT_RWX, XVCPU_MEMORY_WB, &error),
               &error, "map the reset vector");
    METAL_LOAD(&vm, 0xfff0, reset_guest);
    is_status(xvcpu_preset_reset(&vcpu, &error), OK, &error, "reset");
    metal_budget(&vcpu, METAL_BUDGET);
    is_u64(metal_get(&vcpu, XVCPU_REG_CS_BASE), 0xffff0000, "reset: CS base");
    is_u64(metal_get(&vcpu, XVCPU_REG_RFLAGS), 2, "reset: RFLAGS");
    is_u64(metal_get(&vcpu, XVCPU_REG_CR0), 0x60000010, "reset: CR0 as the guest sees it");
    is_u64(metal_get(&vcpu, XVCPU_REG_PAT), 0x0007040600070406ul, "T30 reset: PAT");
    is_u64(metal_call(&vcpu) & 0xffff, cpuid(1, 0).eax & 0xffff, "reset: DX has the signature");
    is_u64(metal_call(&vcpu) & 0xffff, 0xf000, "reset: CS is F000h");
    is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_HLT, "reset: HLT comes back to the caller");
    is_u64(vcpu.exit.rip, 0xfff8 + 2, "reset: at its address");

    metal_vcpu_destroy(&vcpu);
    metal_vm_destroy(&vm);
}

// -- Registers

static const struct {
    xvcpu_reg reg;
    u64 value;
} good_values[] = {{XVCPU_REG_RAX, 0x0123456789abcdeful},
                   {XVCPU_REG_RCX, ~0ul},
                   {XVCPU_REG_RDX, 1},
                   {XVCPU_REG_RBX, 0x8000000000000000ul},
                   {XVCPU_REG_RSP, 0xdeadbeefcafeul},
                   {XVCPU_REG_RBP, 0x1111111111111111ul},
                   {XVCPU_REG_RSI, 0x2222222222222222ul},
                   {XVCPU_REG_RDI, 0x3333333333333333ul},
                   {XVCPU_REG_R8, 0x0808080808080808ul},
                   {XVCPU_REG_R9, 0x0909090909090909ul},
                   {XVCPU_REG_R10, 0x1010101010101010ul},
                   {XVCPU_REG_R11, 0x1111111111111112ul},
                   {XVCPU_REG_R12, 0x1212121212121212ul},
                   {XVCPU_REG_R13, 0x1313131313131313ul},
                   {XVCPU_REG_R14, 0x1414141414141414ul},
                   {XVCPU_REG_R15, 0x1515151515151515ul},
                   {XVCPU_REG_RIP, 0xffffffff80001000ul},
                   {XVCPU_REG_RFLAGS, 0x246},
                   {XVCPU_REG_ES, 0x2b},
                   {XVCPU_REG_FS, 0x33},
                   {XVCPU_REG_FS_BASE, 0x00007fff12345678ul},
                   {XVCPU_REG_GS_BASE, 0xffff888000001234ul},
                   {XVCPU_REG_TR_BASE, 0xfffffe0000003000ul},
                   {XVCPU_REG_DS_BASE, 0xabcd0000},
                   {XVCPU_REG_DS_LIMIT, 0xfffff},
                   {XVCPU_REG_DS_RIGHTS, 0x0093},
                   {XVCPU_REG_LDTR_RIGHTS, 0x10000},
                   {XVCPU_REG_GDTR_BASE, 0xffffffff81000000ul},
                   {XVCPU_REG_GDTR_LIMIT, 0x7f},
                   {XVCPU_REG_IDTR_BASE, 0xffffffff82000000ul},
                   {XVCPU_REG_IDTR_LIMIT, 0xfff},
                   {XVCPU_REG_CR2, 0x00007ffffffff123ul},
                   {XVCPU_REG_CR3, 0x5000},
                   {XVCPU_REG_CR8, 0xb},
                   {XVCPU_REG_DR0, 0xffffffff81234560ul},
                   {XVCPU_REG_DR1, 0x1000},
                   {XVCPU_REG_DR2, 0x2000},
                   {XVCPU_REG_DR3, 0x3000},
                   {XVCPU_REG_DR6, 0xffff0ff1},
                   {XVCPU_REG_DR7, 0x00000402},
                   {XVCPU_REG_EFER, 0x500},
                   {XVCPU_REG_PAT, 0x0007040600070401ul},
                   {XVCPU_REG_SYSENTER_CS, 0x10},
                   {XVCPU_REG_SYSENTER_ESP, 0xffffffff83000000ul},
                   {XVCPU_REG_SYSENTER_EIP, 0xffffffff84000000ul},
                   {XVCPU_REG_STAR, 0x0023001000000000ul},
                   {XVCPU_REG_LSTAR, 0xffffffff85000000ul},
                   {XVCPU_REG_CSTAR, 0xffffffff86000000ul},
                   {XVCPU_REG_FMASK, 0x47700},
                   {XVCPU_REG_KERNEL_GS_BASE, 0xffff888000000000ul},
                   {XVCPU_REG_TSC_AUX, 0x1234},
                   {XVCPU_REG_TSC_OFFSET, 0xfffffffffffff000ul},
                   {XVCPU_REG_APIC_BASE, 0xfee00900ul},
                   {XVCPU_REG_INTERRUPTIBILITY, 1}};

// A value no guest could have, in otherwise the same state.
static const struct {
    xvcpu_reg reg;
    u64 value, bits;
} bad_values[] = {{XVCPU_REG_RIP, 0x0000800000000000ul, 0},
                  {XVCPU_REG_RFLAGS, 0x8002, 0x8000},
                  {XVCPU_REG_RFLAGS, 0x0, 0x2},
                  {XVCPU_REG_ES, 0x10000, 0x10000},
                  {XVCPU_REG_FS_BASE, 0x0001000000000000ul, 0},
                  {XVCPU_REG_GDTR_LIMIT, 0x10000, 0x10000},
                  {XVCPU_REG_CR0, 0x80000010, 0x80000000},
                  {XVCPU_REG_CR0, 0x100000033ul, 0x100000000ul},
                  {XVCPU_REG_CR4, XVCPU_CR4_VMXE | XVCPU_CR4_PAE, XVCPU_CR4_VMXE},
                  {XVCPU_REG_CR4, 0, XVCPU_CR4_PAE},
                  {XVCPU_REG_CR8, 0x10, 0x10},
                  {XVCPU_REG_DR6, 0x100000000ul, 0x100000000ul},
                  {XVCPU_REG_DR7, 0x100000400ul, 0x100000000ul},
                  {XVCPU_REG_EFER, 0x502, 0x2},
                  {XVCPU_REG_PAT, 0x0007040600070402ul, 0xff},
                  {XVCPU_REG_LSTAR, 0x0000800000000000ul, 0},
                  {XVCPU_REG_CS_RIGHTS, 0x10000, 0x10000},
                  {XVCPU_REG_XCR0, 0, 1},
                  {XVCPU_REG_ACTIVITY, 4, 4},
                  {XVCPU_REG_DEBUGCTL, 0x8000, 0x8000}};

static void test_registers(void)
{
    static u64 values[XVCPU_REG_COUNT];
    xvcpu_error error;
    u32 i, wrong;

    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    metal_vcpu_create(&vcpu, &vm, cpu, 0);
    METAL_START(&vcpu, &vm, METAL_LONG, counter);

    // Written back as they are: nothing may move. EFER.LMA is the processor's own.
    for (i = 0; i < XVCPU_REG_COUNT; i++)
        values[i] = metal_get(&vcpu, (xvcpu_reg)i);
    for (wrong = 0, i = 0; i < XVCPU_REG_COUNT; i++)
        if (xvcpu_set(&vcpu, (xvcpu_reg)i, values[i], &error) != XVCPU_STATUS_OK) {
            wrong++;
            metal_explain(&error);
        }
    is_u64(wrong, 0, "each of %u registers accepts the value it has", XVCPU_REG_COUNT);
    for (wrong = 0, i = 0; i < XVCPU_REG_COUNT; i++)
        if (metal_get(&vcpu, (xvcpu_reg)i) != values[i]) {
            wrong++;
            diag("%s", xvcpu_register_name((xvcpu_reg)i));
        }
    is_u64(wrong, 0, "and keeps it");
    is_u64(metal_call(&vcpu), 1, "the guest still runs");

    for (wrong = 0, i = 0; i < sizeof bad_values / sizeof bad_values[0]; i++) {
        const xvcpu_reg reg = bad_values[i].reg;
        const u64 before = metal_get(&vcpu, reg);
        if (xvcpu_set(&vcpu, reg, bad_values[i].value, &error) != XVCPU_STATUS_BAD_VALUE ||
            (bad_values[i].bits != 0 && error.bits != bad_values[i].bits) ||
            error.value != bad_values[i].value || metal_get(&vcpu, reg) != before) {
            wrong++;
            diag("%s = 0x%lx", xvcpu_register_name(reg), bad_values[i].value);
            metal_explain(&error);
        }
    }
    is_u64(wrong, 0, "%u impossible values are refused, the bits named, nothing changed", i);
    is_u64(metal_call(&vcpu), 2, "the guest still runs");

    for (wrong = 0, i = 0; i < sizeof good_values / sizeof good_values[0]; i++)
        if (xvcpu_set(&vcpu, good_values[i].reg, good_values[i].value, &error) !=
            XVCPU_STATUS_OK) {
            wrong++;
            metal_explain(&error);
        }
    is_u64(wrong, 0, "%u registers take another value", i);
    for (wrong = 0, i = 0; i < sizeof good_values / sizeof good_values[0]; i++)
        if (metal_get(&vcpu, good_values[i].reg) != good_values[i].value) {
            wrong++;
            diag("%s: 0x%lx", xvcpu_register_name(good_values[i].reg),
                 metal_get(&vcpu, good_values[i].reg));
        }
    is_u64(wrong, 0, "and give it back");
    metal_must(xvcpu_unbind(&vcpu, &error), &error, "unbind");
    metal_must(xvcpu_bind(&vcpu, cpu, &error), &error, "bind");
    for (wrong = 0, i = 0; i < sizeof good_values / sizeof good_values[0]; i++)
        if (metal_get(&vcpu, good_values[i].reg) != good_values[i].value) {
            wrong++;
            diag("%s: 0x%lx", xvcpu_register_name(good_values[i].reg),
                 metal_get(&vcpu, good_values[i].reg));
        }
    is_u64(wrong, 0, "after unbind and bind too");
    metal_vcpu_destroy(&vcpu);
    metal_vm_destroy(&vm);
}

// -- Coming back

GUEST_CODE(spin_dark, 64, "cli\n spin_dark_on: inc %rbx\n jmp spin_dark_on");

// CPUID is handled inside: the budget must not start anew with each exit.
GUEST_CODE(spin_cpuid, 64, "spin_cpuid_on: inc %rsi\n xor %eax, %eax\n cpuid\n jmp spin_cpuid_on");

static void test_budget(void)
{
    const u64 budgets[] = {1000, 100000, 1000000};
    const u64 slack = 20000; // what the library does around the guest
    xvcpu_error error;
    u64 before, took, rbx;
    u32 i;

    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    metal_vcpu_create(&vcpu, &vm, cpu, 0);
    if (!metal_has_timer(cpu)) {
        is_status(xvcpu_set_budget(&vcpu, 1000, &error), UNSUPPORTED, &error, "T73 budget");
        metal_vcpu_destroy(&vcpu);
        metal_vm_destroy(&vm);
        return;
    }
    METAL_START(&vcpu, &vm, METAL_LONG, spin_dark);
    for (i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        const u64 step = 1ul << cpu->caps.timer_shift;
        is_status(xvcpu_set_budget(&vcpu, budgets[i], &error), OK, &error, "T73 budget");
        rbx = vcpu.gpr[XVCPU_RBX];
        before = rdtsc();
        is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_PREEMPTION_TIMER,
               "T73 a guest that spins with interrupts off comes back");
        took = rdtsc() - before;
        ok(took + step >= budgets[i] && took <= budgets[i] + slack,
           "T73 after %lu ticks, budget %lu", took, budgets[i]);
        // Two instructions a round, one tick each.
        ok((vcpu.gpr[XVCPU_RBX] - rbx) * 2 <= budgets[i] + 2 * step &&
               (vcpu.gpr[XVCPU_RBX] - rbx) * 2 + 2 * step + 2 >= budgets[i],
           "T73 the guest had all of it: %lu rounds", vcpu.gpr[XVCPU_RBX] - rbx);
    }
    ok((metal_field(&vcpu, XVCPU_VMCS_CTRL_PIN) & XVCPU_PIN_PREEMPTION_TIMER) == 0,
       "T73 a budget used up is over");

    metal_must(xvcpu_set_budget(&vcpu, ~0ul, &error), &error, "budget");
    is_u64(metal_field(&vcpu, XVCPU_VMCS_GUEST_PREEMPTION_TIMER), 0xffffffff,
           "T73 more than the counter holds is as much as it holds");
    metal_must(xvcpu_set_budget(&vcpu, 1, &error), &error, "budget");
    is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_PREEMPTION_TIMER, "T73 a single tick");
    metal_must(xvcpu_set_budget(&vcpu, 1000, &error), &error, "budget");
    metal_must(xvcpu_set_budget(&vcpu, 0, &error), &error, "budget");
    ok((metal_field(&vcpu, XVCPU_VMCS_CTRL_PIN) & XVCPU_PIN_PREEMPTION_TIMER) == 0,
       "T73 0 takes it back");

    METAL_START(&vcpu, &vm, METAL_LONG, spin_cpuid);
    metal_must(xvcpu_set_budget(&vcpu, 100000, &error), &error, "budget");
    before = rdtsc();
    is_u64(metal_run(&vcpu), XVCPU_EXIT_REASON_PREEMPTION_TIMER,
           "T73 exits handled inside do not renew it");
    took = rdtsc() - before;
    ok(vcpu.gpr[XVCPU_RSI] > 100, "T73 there were %lu", vcpu.gpr[XVCPU_RSI]);
    diag("%lu exits in %lu ticks", vcpu.gpr[XVCPU_RSI], took);
    metal_vcpu_destroy(&vcpu);
    metal_vm_destroy(&vm);
}

static void test_kick(void)
{
    xvcpu_error error;

    metal_vm_create(&vm, cpu, METAL_VM_BYTES);
    metal_vcpu_create(&vcpu, &vm, cpu, 0);
    METAL_START(&vcpu, &vm, METAL_LONG, counter);
    is_u64(metal_call(&vcpu), 1, "before the kick");
    xvcpu_kick(&vcpu);
    is_status(xvcpu_run(&vcpu, &error), OK, &error, "kicked run");
    is_u64(vcpu.exit.kind, XVCPU_EXIT_KICKED, "kind KICKED");
    is_u64(*metal_word(&vm, METAL_DATA), 1, "the guest did not run");
    is_u64(metal_call(&vcpu), 2, "one kick is one return");
    ok(vcpu.exit.kind != XVCPU_EXIT_KICKED, "the next exit is the guest's");
    xvcpu_kick(0); // nobody: nothing
    metal_vcpu_destroy(&vcpu);
    metal_vm_destroy(&vm);
}

int kernel_main(void)
{
    const u64 free_pages = pages_free();
    cpu = metal_enable();
    test_life();
    test_two();
    test_wrong_order();
    test_dirty_vmcs();
    test_supply();
    test_out_of_pages();
    test_presets();
    test_registers();
    test_budget();
    test_kick();
    metal_disable(cpu);
    is_u64(metal_pages, 0, "the library holds no page");
    is_u64(pages_free(), free_pages, "as many pages are free as at the start");
    return tap_done();
}
