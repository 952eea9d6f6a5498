#ifndef SIM_H
#define SIM_H

// A simulated machine with VMX, for hosted tests: the library's instruction functions
// (XVCPU_SIMULATED) run against it. It is stricter than silicon: whatever would be a fault, a
// silent corruption or a stale value on a real processor ends the test with a sentence that says
// what was done wrong. What a real processor reports (VMfail, a failed VM entry) it reports too.
//
// How a test uses it:
//
//     #define XVCPU_IMPLEMENTATION
//     #include "../sim/sim.h"
//
//     static void guest(sim_guest *g) { sim_exit_cpuid(g, 0, 0); }
//
//     static void test(void *argument)
//     {
//         sim_set_guest(guest, NULL);
//         ... xvcpu_cpu_enable, xvcpu_ept_create, xvcpu_create, xvcpu_bind, xvcpu_run ...
//         sim_check(value == 5);
//     }
//
//     ok(sim_run("skylake", test, NULL), "...");     // reset, test, sim_expect_clean
//
// Link with sim.c. One host thread only: the processors take turns, sim_cpu(n) says whose turn.

#include <stdbool.h>

#include "glue.h"

// The instruction functions are the library's; a file without the implementation (sim.c, or a
// test of the simulator) needs their declarations from here.
#ifndef XVCPU_IMPLEMENTATION
typedef struct xvcpu_table_register {
    xvcpu_u16 limit;
    xvcpu_u64 base;
} xvcpu_table_register;

xvcpu_vmx_result xvcpu_vmxon(xvcpu_u64 physical);
xvcpu_vmx_result xvcpu_vmxoff(void);
xvcpu_vmx_result xvcpu_vmclear(xvcpu_u64 physical);
xvcpu_vmx_result xvcpu_vmptrld(xvcpu_u64 physical);
void xvcpu_vmptrst(xvcpu_u64 *physical);
xvcpu_vmx_result xvcpu_vmread(xvcpu_u64 field, xvcpu_u64 *value);
xvcpu_vmx_result xvcpu_vmwrite(xvcpu_u64 field, xvcpu_u64 value);
xvcpu_vmx_result xvcpu_invept(xvcpu_u64 type, xvcpu_u64 eptp);
xvcpu_vmx_result xvcpu_invvpid(xvcpu_u64 type, xvcpu_u16 vpid, xvcpu_u64 address);
xvcpu_u32 xvcpui_enter(xvcpu *vcpu);
xvcpu_u64 xvcpu_rdmsr(xvcpu_u32 index);
void xvcpu_wrmsr(xvcpu_u32 index, xvcpu_u64 value);
xvcpu_u64 xvcpu_read_cr0(void);
xvcpu_u64 xvcpu_read_cr3(void);
xvcpu_u64 xvcpu_read_cr4(void);
void xvcpu_write_cr0(xvcpu_u64 value);
void xvcpu_write_cr4(xvcpu_u64 value);
xvcpu_u64 xvcpu_read_dr(xvcpu_u32 number);
void xvcpu_write_dr(xvcpu_u32 number, xvcpu_u64 value);
void xvcpu_cpuid(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_cpuid_regs *regs);
xvcpu_u64 xvcpu_xgetbv(void);
void xvcpu_xsetbv(xvcpu_u64 value);
xvcpu_u64 xvcpu_rdtsc(void);
void xvcpu_sgdt(xvcpu_table_register *table);
void xvcpu_sidt(xvcpu_table_register *table);
void xvcpu_lgdt(const xvcpu_table_register *table);
void xvcpu_lidt(const xvcpu_table_register *table);
xvcpu_u16 xvcpu_sldt(void);
void xvcpu_lldt(xvcpu_u16 selector);
xvcpu_u16 xvcpu_str(void);
void xvcpu_ltr(xvcpu_u16 selector);
xvcpu_u16 xvcpu_read_selector(xvcpu_segment segment);
void xvcpu_load_selector(xvcpu_segment segment, xvcpu_u16 selector);
void xvcpu_xsave(void *area, xvcpu_u64 mask);
void xvcpu_xrstor(const void *area, xvcpu_u64 mask);
void xvcpu_fxsave(void *area);
void xvcpu_fxrstor(const void *area);
void xvcpu_host_nmi(void);
#endif

#define SIM_CPUS 4U
#define SIM_MSRS 320U
#define SIM_CPUID_ROWS 64U
#define SIM_COMPONENTS 20U // XSAVE components 0..19
#define SIM_GDT_ENTRIES 16U

// -- Failures and test frame

// Runs one test on a fresh machine of this model (null: "skylake") and checks sim_expect_clean at
// its end. True: passed. A failure was printed as a TAP comment and is in sim_failure().
bool sim_run(const char *model, void (*test)(void *argument), void *argument);
// Text of the failure of the last sim_run; empty if it passed.
const char *sim_failure(void);
// Ends the running test (longjmp to sim_run); outside of sim_run: prints and aborts.
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Failures are expected: do not print them. sim_run does not change it.
void sim_quiet(bool quiet);
#define sim_check(condition)                                                                       \
    ((condition) ? (void)0 : sim_fail("%s:%d: not true: %s", __FILE__, __LINE__, #condition))
#define sim_check_equal(got, want)                                                                 \
    sim_check_equal_at(__FILE__, __LINE__, #got, (xvcpu_u64)(got), (xvcpu_u64)(want))
void sim_check_equal_at(const char *file, int line, const char *text, xvcpu_u64 got,
                        xvcpu_u64 want);
// Runs `call(argument)` and returns the text of the simulator's failure in it, or null.
const char *sim_catch(void (*call)(void *argument), void *argument);

// A fresh machine: SIM_CPUS processors of the model, no pages, counters 0, processor 0 current.
void sim_reset(const char *model);
// Nothing left behind: no page allocated, no processor in VMX operation, and sim_expect_host for
// every processor.
void sim_expect_clean(void);

// -- Processors

typedef struct sim_msr {
    xvcpu_u32 index;
    bool read_only;     // WRMSR is #GP
    xvcpu_u64 reserved; // bits that must be 0 in a WRMSR
    xvcpu_u64 value;
} sim_msr;

typedef struct sim_cpuid_row {
    xvcpu_u32 leaf, subleaf;
    bool any_subleaf;
    xvcpu_cpuid_regs regs;
} sim_cpuid_row;

typedef struct sim_segment {
    xvcpu_u16 selector;
    xvcpu_u32 limit, rights;
    xvcpu_u64 base;
} sim_segment;

// One processor. While a guest runs, what VMX switches is in the VMCS (sim_get, sim_set); what VMX
// does not switch (DR0-3, DR6, CR2, CR8, XCR0, other MSRs, x87/SSE) is here: the guest changes it
// here and the host finds it so. A test may change anything before; sim_snapshot makes that the
// state the host must be found in again.
typedef struct sim_processor {
    xvcpu_u32 id;
    const char *model;
    bool in_guest;
    xvcpu_u64 cr0, cr2, cr3, cr4, cr8;
    xvcpu_u64 cr4_supported; // MOV CR4 accepts these
    xvcpu_u64 dr[4], dr6, dr7;
    xvcpu_u64 rflags;
    xvcpu_u64 xcr0, xcr0_supported, xss_supported;
    xvcpu_u64 tsc;
    xvcpu_u64 fpu[SIM_COMPONENTS]; // a stamp standing for the contents of each component
    xvcpu_u64 gdtr_base, idtr_base;
    xvcpu_u32 gdtr_limit, idtr_limit;
    sim_segment segments[XVCPU_SEGMENT_COUNT]; // FS and GS base are in the MSRs
    xvcpu_u64 gdt[SIM_GDT_ENTRIES];            // what gdtr_base points to after reset
    xvcpu_u64 idt[2];
    xvcpu_u64 tss[16];

    sim_msr msrs[SIM_MSRS];
    xvcpu_u32 msr_count;
    sim_cpuid_row cpuid[SIM_CPUID_ROWS];
    xvcpu_u32 cpuid_count;

    bool vmx_root;        // after VMXON
    xvcpu_u64 vmxon_pa;
    xvcpu_u64 current_pa; // current VMCS, all ones: none
    xvcpu_u32 nmis_taken; // xvcpu_host_nmi calls
} sim_processor;

// Makes processor n the one that executes from now on, and returns it.
sim_processor *sim_cpu(xvcpu_u32 n);
sim_processor *sim_this_cpu(void);
// Any processor without switching to it.
sim_processor *sim_cpu_at(xvcpu_u32 n);
// Two checks at VM entry that no processor makes, both on after reset: the host-state fields hold
// what the processor holds now; every field that this processor has was written once.
void sim_strict(bool host_is_current, bool every_field_written);

// MSRs and CPUID of the current processor; *_all: of every processor. These change the machine
// behind the library's back and count as its initial state (no sim_snapshot needed).
xvcpu_u64 sim_msr_get(xvcpu_u32 index);             // fails if it does not exist
void sim_msr_set(xvcpu_u32 index, xvcpu_u64 value); // adds it if it does not exist
void sim_msr_set_all(xvcpu_u32 index, xvcpu_u64 value);
void sim_msr_remove_all(xvcpu_u32 index);
bool sim_msr_exists(xvcpu_u32 index);
sim_cpuid_row *sim_cpuid_find(sim_processor *cpu, xvcpu_u32 leaf, xvcpu_u32 subleaf); // or null
void sim_cpuid_set_all(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_cpuid_regs regs);
// Clears and sets bits of one CPUID register (0 EAX .. 3 EDX) on every processor.
void sim_cpuid_change_all(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_u32 reg, xvcpu_u32 clear,
                          xvcpu_u32 set);
// Takes control bits away from (or gives them to) every processor: both the plain and the TRUE
// capability MSR of the word.
void sim_control_remove_all(xvcpu_control_word word, xvcpu_u64 bits);
void sim_control_add_all(xvcpu_control_word word, xvcpu_u64 bits);

// Models: "minimal", "penryn", "nehalem", "haswell", "skylake", "tigerlake". n-th name, or null.
const char *sim_model_name(xvcpu_u32 n);

// The state each processor must be found in at the end (or by sim_expect_host). Taken by
// sim_reset; take it again after changing a processor directly.
void sim_snapshot(void);
// The current processor's state is that of the snapshot, apart from CR4.VMXE, the feature-control
// lock, CR2, TSC and the parts in `left`, xvcpu_leave_to_host bits that a guest may have changed.
#define SIM_LEFT_FPU 0x10000U
void sim_expect_host(xvcpu_u32 left);

// -- Memory

// Physical memory for guests: contiguous, aligned to `alignment` bytes (a power of two, at least
// 4096) in physical address and in virtual address, zeroed. Given back by sim_reset.
void *sim_ram(xvcpu_u64 bytes, xvcpu_u64 alignment);
xvcpu_u64 sim_phys(const void *pointer); // fails for memory the machine does not have
void *sim_virt(xvcpu_u64 physical);      // same
bool sim_phys_exists(xvcpu_u64 physical);
// Pages for a desc's supply (memory of the machine that does not count as allocated).
void *sim_supply(xvcpu_u32 pages);

xvcpu_u32 sim_pages_live(void);       // allocated by the hook and not freed
xvcpu_u32 sim_pages_allocated(void);  // number of allocations since reset
void sim_alloc_fail_at(xvcpu_u32 n);  // the n-th allocation from now (1 is the next) gives null;
                                      // 0: none. It and only it fails.
void sim_alloc_fail_from(xvcpu_u32 n); // that one and all after it
// The n-th allocation from now has this flaw (a real page all the same; it must be freed again).
typedef enum sim_page_flaw {
    SIM_PAGE_MISALIGNED = 1, // physical address off by 8
    SIM_PAGE_TOO_HIGH = 2,   // physical address beyond MAXPHYADDR
    SIM_PAGE_ABOVE_4G = 3    // this one is what all pages are, unless sim_low_memory
} sim_page_flaw;
void sim_alloc_flaw_at(xvcpu_u32 n, sim_page_flaw flaw);
void sim_low_memory(bool low); // pages allocated from now on lie below 4 GiB

// -- Log

#define SIM_LOG_LINES 512U
typedef struct sim_log_line {
    int level;
    char item[64];
    char text[128];
    xvcpu_u64 a, b;
} sim_log_line;
xvcpu_u32 sim_log_count(void);                   // lines since reset
const sim_log_line *sim_log_at(xvcpu_u32 index); // null if too old or not there yet
const sim_log_line *sim_log_find(const char *item); // last line whose item contains this
void sim_log_clear(void);

// -- Counters: every call of the library's instruction functions since the last clearing

typedef struct sim_counters {
    xvcpu_u64 vmread, vmwrite, rdmsr, wrmsr, xsetbv, xgetbv, invept, invvpid;
    xvcpu_u64 vmclear, vmptrld, entries, vmxon, vmxoff, cpuid, rdtsc;
    xvcpu_u64 dr_read, dr_write, cr_read, cr_write, table_load, table_store, selector_load;
    xvcpu_u64 xsave, xrstor; // with fxsave, fxrstor
} sim_counters;
extern sim_counters sim_counts;
void sim_counts_clear(void);

// -- VMCS, looked at from outside (no VMREAD, not counted)

// A field of the VMCS in the region at this physical address.
xvcpu_u64 sim_vmcs_get(xvcpu_u64 region_pa, xvcpu_u32 field);
void sim_vmcs_set(xvcpu_u64 region_pa, xvcpu_u32 field, xvcpu_u64 value); // no check at all
bool sim_vmcs_written(xvcpu_u64 region_pa, xvcpu_u32 field);
bool sim_vmcs_launched(xvcpu_u64 region_pa);
// Makes a field unwritten again: needing it is a failure.
void sim_vmcs_poison(xvcpu_u64 region_pa, xvcpu_u32 field);
// Does this processor have the field? By capability, as the SDM's table of fields says.
bool sim_field_exists(xvcpu_u32 field);
// The next such instruction ("VMXON", "VMPTRLD", "INVEPT"...) fails though nothing is wrong:
// number 0: VMfailInvalid; else VMfailValid with this VM-instruction error if a VMCS is current.
void sim_vmfail_next(const char *instruction, xvcpu_u32 number);
// The rule that the last VM entry broke ("CTL-019", "HOST-004", "GUEST-017"...; the ids of the
// table of VM-entry checks), or an empty text if it was accepted.
const char *sim_verdict(void);

// -- Guests

typedef struct sim_exit_info {
    bool chosen;
    xvcpu_u32 reason; // whole word
    xvcpu_u64 qualification;
    xvcpu_u32 intr_info, intr_error;               // exiting event
    xvcpu_u32 idt_info, idt_error;                 // original event (IDT vectoring)
    xvcpu_u32 length, instruction_info;            // undefined ones hold rubbish by default
    xvcpu_u64 gpa, gla, io_rcx, io_rsi, io_rdi, io_rip;
} sim_exit_info;

// What runs in VMX non-root operation. The callback is called once an entry, after events were
// injected and windows, timer and so on were looked at; it must choose an exit with a sim_exit_
// function (or fill g->exit and set chosen).
typedef struct sim_guest {
    xvcpu *vcpu;
    sim_processor *cpu;
    xvcpu_u64 vmcs_pa;
    void *context;
    xvcpu_u64 gpr[16]; // [XVCPU_RSP] mirrors the VMCS field GUEST_RSP
    xvcpu_u64 cr2;
    xvcpu_u64 entry;   // number of this VM entry, from 1
    // What this entry injected; info 0: nothing.
    xvcpu_u32 injected_info, injected_error, injected_length;
    sim_exit_info exit;
} sim_guest;

typedef void (*sim_guest_callback)(sim_guest *g);
void sim_set_guest(sim_guest_callback callback, void *context);

// Any field of the current VMCS, without check or count.
xvcpu_u64 sim_get(sim_guest *g, xvcpu_u32 field);
void sim_set(sim_guest *g, xvcpu_u32 field, xvcpu_u64 value);
bool sim_control(sim_guest *g, xvcpu_control_word word, xvcpu_u64 bits); // all of them set

// Exits. Every one leaves RIP at the instruction. An exit that the controls make impossible
// (HLT without HLT exiting) is a failure of the test itself.
sim_exit_info *sim_exit(sim_guest *g, xvcpu_u32 reason, xvcpu_u64 qualification);
void sim_exit_instruction(sim_guest *g, xvcpu_u32 reason, xvcpu_u64 qualification,
                          xvcpu_u32 length);
void sim_exit_cpuid(sim_guest *g, xvcpu_u32 leaf, xvcpu_u32 subleaf);   // 2 bytes
void sim_exit_rdmsr(sim_guest *g, xvcpu_u32 index);                     // 2 bytes
void sim_exit_wrmsr(sim_guest *g, xvcpu_u32 index, xvcpu_u64 value);    // 2 bytes
void sim_exit_hlt(sim_guest *g);                                        // 1 byte
void sim_exit_vmcall(sim_guest *g);                                     // 3 bytes
void sim_exit_xsetbv(sim_guest *g, xvcpu_u32 index, xvcpu_u64 value);   // 3 bytes
void sim_exit_in(sim_guest *g, xvcpu_u16 port, xvcpu_u32 bytes);        // DX form, 1 byte
void sim_exit_out(sim_guest *g, xvcpu_u16 port, xvcpu_u32 bytes, xvcpu_u32 value);
void sim_exit_mov_to_cr(sim_guest *g, xvcpu_u32 cr, xvcpu_u32 gpr);     // 3 bytes
void sim_exit_mov_from_cr(sim_guest *g, xvcpu_u32 cr, xvcpu_u32 gpr);
void sim_exit_mov_dr(sim_guest *g, xvcpu_u32 dr, xvcpu_u32 gpr, bool read);
void sim_exit_interrupt(sim_guest *g, xvcpu_u32 vector); // vector saved only with acknowledge
void sim_exit_nmi(sim_guest *g);
void sim_exit_exception(sim_guest *g, xvcpu_u32 vector, xvcpu_u32 error_code,
                        xvcpu_u64 qualification);
// Also vectoring: the event under delivery when the exit happened.
void sim_exit_set_vectoring(sim_guest *g, xvcpu_u32 info, xvcpu_u32 error_code, xvcpu_u32 length);

// The guest executes MOV to CR0, CR3 or CR4: an exit by the guest/host mask, or it takes effect.
// True: it exits (and the exit is chosen).
bool sim_guest_mov_to_cr(sim_guest *g, xvcpu_u32 cr, xvcpu_u32 gpr);
// The guest executes RDMSR or WRMSR, OUT or IN: true: it exits, by the bitmaps. Else done on the
// processor (MSRs that VMX switches: on the VMCS field).
bool sim_guest_rdmsr(sim_guest *g, xvcpu_u32 index, xvcpu_u64 *value);
bool sim_guest_wrmsr(sim_guest *g, xvcpu_u32 index, xvcpu_u64 value);

// Guest-physical access through the EPT and the simulated TLB. `access`: XVCPU_EPT_ bits.
// Null: EPT violation or misconfiguration (sim_exit_ept then makes the exit). A translation that
// the TLB still holds but the tables no longer give is a failure: an INVEPT is missing.
void *sim_guest_access(sim_guest *g, xvcpu_u64 gpa, xvcpu_u32 access);
// The same for a linear address that the guest's own tables map to `gpa` (the test says so): a
// translation cached for another guest context under the same VPID is a failure.
void *sim_guest_linear(sim_guest *g, xvcpu_u64 gla, xvcpu_u64 gpa, xvcpu_u32 access);
void sim_guest_flush(sim_guest *g); // the guest's own MOV CR3 or INVLPG of everything
// Chooses the exit for an access that sim_guest_access refused.
void sim_exit_ept(sim_guest *g, xvcpu_u64 gpa, xvcpu_u32 access, xvcpu_u64 gla, bool gla_valid);

#endif // SIM_H
