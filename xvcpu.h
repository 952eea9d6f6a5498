// xvcpu.h - virtual CPUs for any x86-64 kernel, on Intel VMX. MIT or public domain, see the end.
//
// One header, no dependency. It turns a processor with VT-x into virtual CPUs: enables VMX, builds
// the VMCS, the EPT and the bitmaps, enters the guest, decodes every exit, handles those that need
// no knowledge of your devices, and hands you the rest.
//
// DO THIS
//   In one C or C++ file of the kernel:
//
//     #define XVCPU_VIRT_TO_PHYS(context, pointer) my_virt_to_phys(pointer)
//     #define XVCPU_PHYS_TO_VIRT(context, physical) my_phys_to_virt(physical)
//     #define XVCPU_ALLOC_PAGE(context) my_page_alloc()
//     #define XVCPU_FREE_PAGE(context, page) my_page_free(page)
//     #define XVCPU_IMPLEMENTATION
//     #include "xvcpu.h"
//
//   In the others just include it. Then, with interrupts off and on the CPU that shall run the
//   guest (every object is yours and must not move; every call can tell you why it failed):
//
//     xvcpu_cpu_enable(&cpu, 0, &error)                      once on each physical CPU
//     xvcpu_ept_create(&ept, &ept_desc, &cpu.caps, &error)   an empty guest-physical address space
//     xvcpu_ept_map(&ept, gpa, hpa, bytes, XVCPU_EPT_RWX, XVCPU_MEMORY_WB, &error)
//     xvcpu_create(&vcpu, &desc, &cpu.caps, &error)          desc zeroed; desc.ept = &ept
//     xvcpu_bind(&vcpu, &cpu, &error)                        the VMCS is active here from now on
//     xvcpu_preset_real(&vcpu, 0, 0x7c00, &error)            or another start state
//     while (xvcpu_run(&vcpu, &error) == XVCPU_STATUS_OK)    look at vcpu.exit; answer; again
//     xvcpu_unbind, xvcpu_destroy, xvcpu_ept_destroy, xvcpu_cpu_disable
//
// HOOKS: macros, defined before the implementation is included. `context` is the pointer you put
// into the desc of the object concerned.
//   XVCPU_VIRT_TO_PHYS(context, pointer)   required. Physical address of a page the library was
//                                          given, as a 64-bit integer.
//   XVCPU_PHYS_TO_VIRT(context, physical)  required. Pointer to a page the library was given, and
//                                          to whatever an EPT maps: null where you have none, as
//                                          for a device's memory. The library itself reads page
//                                          tables of guests with PAE paging, and instructions with
//                                          XVCPU_MMIO_DECODER: the guest chooses the address.
//   XVCPU_ALLOC_PAGE(context)              both or none. A 4 KiB aligned page of 4 KiB, or null; it
//   XVCPU_FREE_PAGE(context, page)         need not be zeroed. Without them each desc's `supply`
//                                          gives the pages (XVCPU_CPU_PAGES, XVCPU_VCPU_PAGES).
//   XVCPU_LOG(context, level, item, text, a, b)   default: nothing. Two constant texts and two
//                                          64-bit values; no format string, no varargs.
//   XVCPU_ASSERT(condition)                default: nothing.
//   XVCPU_MEMCPY(to, from, bytes)          both or none. Default: REP MOVSB and REP STOSB.
//   XVCPU_MEMSET(to, byte, bytes)
//   XVCPU_CPU_ID(context)                  if defined, calls on the wrong CPU fail with WRONG_CPU.
//   XVCPU_HOST_NMI(context)                an NMI ended the run. Default: INT 2, your own handler.
//                                          Yours has to execute IRET, or NMIs stay blocked.
//   XVCPU_HOST_INTERRUPT(context, vector)  with desc.acknowledge_interrupts: run your handler.
//   XVCPU_TRACE_ENTRY(vcpu), XVCPU_TRACE_EXIT(vcpu)   right before entry, right after exit.
//
// OPTIONS: macros
//   XVCPU_IMPLEMENTATION     in one file: the functions, not only their declarations
//   XVCPU_STATIC             in the files that have it: everything static
//   XVCPU_API                linkage of the public functions, default extern
//   XVCPU_DEFINITIONS_ONLY   constants and types alone, for those who write the rest themselves
//   XVCPU_INSTRUCTIONS       the CPU instructions (xvcpu_vmread, ...) without the implementation
//   XVCPU_CONFIG_HEADER      name of a header with these macros, included first
//   XVCPU_TEXT_SECTION       section of the trampoline, default ".text.xvcpu"
//   XVCPU_INTEL_SYNTAX       needed with gcc -masm=intel
//   XVCPU_MMIO_DECODER       decode the instruction of an EPT violation, so that it can be answered
//   XVCPU_NO_TARGET_PRAGMA   do not tell the compiler to keep its hands off SSE registers (only
//                            needed if a hook is an always_inline function built for SSE)
//   XVCPU_SIMULATED          the CPU instructions are supplied by you, as a set (see tests/sim)
//
// WHAT IT DOES NOT DO
//   No devices, no interrupt controller, no firmware, no scheduler, no nested VMX for the guest, no
//   AMD, no 32-bit host, no guest without EPT. INS and OUTS exits are decoded but the data is moved
//   by you; a task switch of the guest is returned to you.
//
// WHAT THE GUEST CANNOT DO, unless you say so
//   Use a port or an MSR of the host; see a CPU feature whose control is off; put a value into a
//   host register that was not checked; keep the host from its interrupts. What a guest can do
//   wrong gives the guest a fault, never the host.
//
// MEMORY AND INTERRUPTS
//   One virtual CPU is used by one CPU at a time; from bind to unbind the thread stays on its CPU,
//   and the object never moves. Only xvcpu_kick may be called from anywhere.
//   bind, run and unbind want interrupts off and leave them off; an external interrupt ends the run
//   (reason EXTERNAL_INTERRUPT): enable interrupts for an instant to let it in. Two virtual CPUs
//   share nothing but an EPT; changing an EPT while others use it is for you to lock, and before
//   memory is taken away whoever runs on it must leave the guest (see xvcpu_ept_unmap).
//   The host's MSRs, XCR0, x87/SSE/AVX registers, debug registers and descriptor-table limits are
//   put back whenever xvcpu_run returns; desc.leave_to_host saves that work where you do not care.
//   The host's SYSENTER, SYSCALL, TSC_AUX, PAT, EFER and XSS MSRs are read when a virtual CPU is
//   bound: bind it again after changing one. IA32_DEBUGCTL is 0 after a run unless
//   desc.restore_debugctl is set (not every emulator lets it be read).
//   Reloading TR, LDTR and selectors with an RPL writes to the GDT: in a kernel whose GDT is
//   read-only set XVCPU_LEAVE_DESCRIPTOR_LIMITS, or keep the TSS limit at 67h.
//   The library itself uses no SSE register.
//
// ERRORS
//   A status, and in xvcpu_error what was wrong: detail names it, value holds it, bits are the
//   offending bits, msr and field where to look; exit_reason and qualification are those of a
//   failed VM entry. xvcpu_status_text and _remedy explain a status, xvcpu_instruction_error_text
//   and _hint a VM-instruction error. All failures pass xvcpui_fail: a breakpoint there sees each.
//
// CONTENTS: the sections, in this order (grep -n '^// --' gives their lines)
//   Configuration
//   Architecture constants
//   Types
//   Types: capabilities
//   Types: physical CPU
//   Types: EPT
//   Types: guest memory
//   Types: virtual CPU
//   API
//   API: names
//   API: capabilities
//   API: VMX on and off
//   API: EPT
//   API: virtual CPU, life cycle
//   API: virtual CPU, state
//   API: bitmaps
//   API: events
//   API: run
//   API: dump
//   API: guest side
//   CPU instructions
//   Implementation: hooks
//   Implementation: bits and memory
//   Implementation: errors
//   Implementation: pages
//   Implementation: current VMCS
//   Implementation: VM-entry trampoline
//   Implementation: names
//   Implementation: capabilities
//   Implementation: VMX on and off
//   Implementation: EPT
//   Implementation: bitmaps
//   Implementation: guest memory
//   Implementation: host state
//   Implementation: guest state
//   Implementation: guest state, reading
//   Implementation: guest state, checks
//   Implementation: guest state, writing
//   Implementation: guest state, presets
//   Implementation: guest state, register table
//   Implementation: events
//   Implementation: decode
//   Implementation: MMIO decoder
//   Implementation: built-in handlers
//   Implementation: CPUID
//   Implementation: control and debug registers
//   Implementation: MSRs
//   Implementation: other exits
//   Implementation: answers
//   Implementation: virtual CPU
//   Implementation: what VMX does not switch
//   Implementation: run
//   Implementation: dump
#ifndef XVCPU_H
#define XVCPU_H

// -- Configuration

#ifdef XVCPU_CONFIG_HEADER
#include XVCPU_CONFIG_HEADER
#endif

#define XVCPU_VERSION_MAJOR 0
#define XVCPU_VERSION_MINOR 1
#define XVCPU_VERSION_PATCH 0
#define XVCPU_VERSION                                                                              \
    (XVCPU_VERSION_MAJOR * 10000 + XVCPU_VERSION_MINOR * 100 + XVCPU_VERSION_PATCH)

// Section titles in this file are those of the Intel SDM, Volume 3C, in this edition.
#define XVCPU_SDM_EDITION "326019-092 (June 2026)"

#if !defined(__x86_64__)
#error "xvcpu.h: x86-64 only: VMX root operation is entered from 64-bit mode"
#endif
#if !defined(__GNUC__)
#error "xvcpu.h: gcc or clang needed (inline assembly, attributes)"
#endif

// Linkage of every public function. Define XVCPU_STATIC before including to keep the whole
// library inside one translation unit; define XVCPU_API yourself for anything else.
#ifndef XVCPU_API
#ifdef XVCPU_STATIC
#define XVCPU_API static __attribute__((unused))
#else
#define XVCPU_API extern
#endif
#endif

#define XVCPU_MUST_CHECK __attribute__((warn_unused_result))

// Types of our own: a kernel's <stdint.h> may be missing or disagree with the compiler's.
typedef __UINT8_TYPE__ xvcpu_u8;
typedef __UINT16_TYPE__ xvcpu_u16;
typedef __UINT32_TYPE__ xvcpu_u32;
typedef __UINT64_TYPE__ xvcpu_u64;
typedef __INT32_TYPE__ xvcpu_i32;
typedef __INT64_TYPE__ xvcpu_i64;
typedef __SIZE_TYPE__ xvcpu_usize;
typedef __UINTPTR_TYPE__ xvcpu_uptr;
#ifdef __cplusplus
typedef decltype(1 == 1) xvcpu_bool;
#else
typedef _Bool xvcpu_bool;
#endif

#define XVCPU_BIT64(n) ((xvcpu_u64)1 << (n))
#define XVCPU_BIT32(n) ((xvcpu_u32)1 << (n))

// Every hardware structure the library allocates is one page of this size.
#define XVCPU_PAGE_BYTES 4096U

// -- Architecture constants
// Everything the processor defines and this library names. It needs no implementation and no
// standard header. Three rules hold for the whole section:
//   1. One table, one truth: a thing with a name is a row of an X-macro table, and enum, name,
//      dump line and test come from that row. Write X so that it uses a row's name only with # or
//      ## (directly, not through another macro): then a kernel that has its own macro PIN, HLT or
//      CPUID does no harm.
//   2. A mask is always 64 bits wide and in place, whatever the width of its field: ~MASK is then
//      right on every register. A part of several bits has _SHIFT and _MASK, a part of one bit has
//      the name alone.
//   3. The name is the one of Intel's Software Developer's Manual (SDM).

// Bits high..low of a 64-bit value, both included, as the SDM writes 44:32.
#define XVCPU_BITS64(high, low)                                                                    \
    ((~(xvcpu_u64)0 >> (63 - (high) + (low))) << (low))

// XVCPU_PART(value, VMX_BASIC_REGION_SIZE) reads a part; XVCPU_PART_OF(NAME, x) places it.
#define XVCPU_PART(value, name)                                                                    \
    (((xvcpu_u64)(value) & XVCPU_##name##_MASK) >> XVCPU_##name##_SHIFT)
#define XVCPU_PART_OF(name, x)                                                                     \
    (((xvcpu_u64)(x) << XVCPU_##name##_SHIFT) & XVCPU_##name##_MASK)

// Control words. X(name, text, VMCS field, capability MSR, its TRUE variant or 0). PROC3 and EXIT2
// are 64 bits wide and their MSRs hold only "may be 1" bits; the others are 32 bits wide and their
// MSRs hold "must be 1" in bits 31:0 and "may be 1" in bits 63:32.
#define XVCPU_CONTROL_WORDS(X)                                                                     \
    X(PIN, "pin-based VM-execution controls", CTRL_PIN,                                            \
      XVCPU_MSR_IA32_VMX_PINBASED_CTLS, XVCPU_MSR_IA32_VMX_TRUE_PINBASED_CTLS)                     \
    X(PROC1, "primary processor-based VM-execution controls", CTRL_PROC1,                          \
      XVCPU_MSR_IA32_VMX_PROCBASED_CTLS, XVCPU_MSR_IA32_VMX_TRUE_PROCBASED_CTLS)                   \
    X(PROC2, "secondary processor-based VM-execution controls", CTRL_PROC2,                        \
      XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2, 0)                                                       \
    X(PROC3, "tertiary processor-based VM-execution controls", CTRL_PROC3,                         \
      XVCPU_MSR_IA32_VMX_PROCBASED_CTLS3, 0)                                                       \
    X(EXIT, "primary VM-exit controls", CTRL_EXIT,                                                 \
      XVCPU_MSR_IA32_VMX_EXIT_CTLS, XVCPU_MSR_IA32_VMX_TRUE_EXIT_CTLS)                             \
    X(EXIT2, "secondary VM-exit controls", CTRL_EXIT2,                                             \
      XVCPU_MSR_IA32_VMX_EXIT_CTLS2, 0)                                                            \
    X(ENTRY, "VM-entry controls", CTRL_ENTRY,                                                      \
      XVCPU_MSR_IA32_VMX_ENTRY_CTLS, XVCPU_MSR_IA32_VMX_TRUE_ENTRY_CTLS)

// Control bits. X(word, name, bit number, text).
#define XVCPU_CONTROLS(X)                                                                          \
    X(PIN, EXT_INTR_EXITING, 0, "External-interrupt exiting")                                      \
    X(PIN, NMI_EXITING, 3, "NMI exiting")                                                          \
    X(PIN, VIRTUAL_NMIS, 5, "Virtual NMIs")                                                        \
    X(PIN, PREEMPTION_TIMER, 6, "Activate VMX-preemption timer")                                   \
    X(PIN, POSTED_INTR, 7, "Process posted interrupts")                                            \
    X(PROC1, INTR_WINDOW_EXITING, 2, "Interrupt-window exiting")                                   \
    X(PROC1, TSC_OFFSETTING, 3, "Use TSC offsetting")                                              \
    X(PROC1, HLT_EXITING, 7, "HLT exiting")                                                        \
    X(PROC1, INVLPG_EXITING, 9, "INVLPG exiting")                                                  \
    X(PROC1, MWAIT_EXITING, 10, "MWAIT exiting")                                                   \
    X(PROC1, RDPMC_EXITING, 11, "RDPMC exiting")                                                   \
    X(PROC1, RDTSC_EXITING, 12, "RDTSC exiting")                                                   \
    X(PROC1, CR3_LOAD_EXITING, 15, "CR3-load exiting")                                             \
    X(PROC1, CR3_STORE_EXITING, 16, "CR3-store exiting")                                           \
    X(PROC1, ACTIVATE_TERTIARY, 17, "Activate tertiary controls")                                  \
    X(PROC1, CR8_LOAD_EXITING, 19, "CR8-load exiting")                                             \
    X(PROC1, CR8_STORE_EXITING, 20, "CR8-store exiting")                                           \
    X(PROC1, TPR_SHADOW, 21, "Use TPR shadow")                                                     \
    X(PROC1, NMI_WINDOW_EXITING, 22, "NMI-window exiting")                                         \
    X(PROC1, MOV_DR_EXITING, 23, "MOV-DR exiting")                                                 \
    X(PROC1, UNCOND_IO_EXITING, 24, "Unconditional I/O exiting")                                   \
    X(PROC1, IO_BITMAPS, 25, "Use I/O bitmaps")                                                    \
    X(PROC1, MTF, 27, "Monitor trap flag")                                                         \
    X(PROC1, MSR_BITMAPS, 28, "Use MSR bitmaps")                                                   \
    X(PROC1, MONITOR_EXITING, 29, "MONITOR exiting")                                               \
    X(PROC1, PAUSE_EXITING, 30, "PAUSE exiting")                                                   \
    X(PROC1, ACTIVATE_SECONDARY, 31, "Activate secondary controls")                                \
    X(PROC2, VIRT_APIC_ACCESSES, 0, "Virtualize APIC accesses")                                    \
    X(PROC2, EPT, 1, "Enable EPT")                                                                 \
    X(PROC2, DESC_TABLE_EXITING, 2, "Descriptor-table exiting")                                    \
    X(PROC2, RDTSCP, 3, "Enable RDTSCP")                                                           \
    X(PROC2, VIRT_X2APIC, 4, "Virtualize x2APIC mode")                                             \
    X(PROC2, VPID, 5, "Enable VPID")                                                               \
    X(PROC2, WBINVD_EXITING, 6, "WBINVD exiting")                                                  \
    X(PROC2, UNRESTRICTED_GUEST, 7, "Unrestricted guest")                                          \
    X(PROC2, APIC_REG_VIRT, 8, "APIC-register virtualization")                                     \
    X(PROC2, VIRT_INTR_DELIVERY, 9, "Virtual-interrupt delivery")                                  \
    X(PROC2, PAUSE_LOOP_EXITING, 10, "PAUSE-loop exiting")                                         \
    X(PROC2, RDRAND_EXITING, 11, "RDRAND exiting")                                                 \
    X(PROC2, INVPCID, 12, "Enable INVPCID")                                                        \
    X(PROC2, VMFUNC, 13, "Enable VM functions")                                                    \
    X(PROC2, VMCS_SHADOWING, 14, "VMCS shadowing")                                                 \
    X(PROC2, ENCLS_EXITING, 15, "Enable ENCLS exiting")                                            \
    X(PROC2, RDSEED_EXITING, 16, "RDSEED exiting")                                                 \
    X(PROC2, PML, 17, "Enable PML")                                                                \
    X(PROC2, EPT_VIOLATION_VE, 18, "EPT-violation #VE")                                            \
    X(PROC2, CONCEAL_VMX_FROM_PT, 19, "Conceal VMX from PT")                                       \
    X(PROC2, XSAVES, 20, "Enable XSAVES/XRSTORS")                                                  \
    X(PROC2, PASID_TRANSLATION, 21, "PASID translation")                                           \
    X(PROC2, MBEC, 22, "Mode-based execute control for EPT")                                       \
    X(PROC2, SPP, 23, "Sub-page write permissions for EPT")                                        \
    X(PROC2, PT_USES_GPA, 24, "Intel PT uses guest physical addresses")                            \
    X(PROC2, TSC_SCALING, 25, "Use TSC scaling")                                                   \
    X(PROC2, USER_WAIT_PAUSE, 26, "Enable user wait and pause")                                    \
    X(PROC2, PCONFIG, 27, "Enable PCONFIG")                                                        \
    X(PROC2, ENCLV_EXITING, 28, "Enable ENCLV exiting")                                            \
    X(PROC2, BUS_LOCK_DETECTION, 30, "VMM bus-lock detection")                                     \
    X(PROC2, INSTR_TIMEOUT, 31, "Instruction timeout")                                             \
    X(PROC3, LOADIWKEY_EXITING, 0, "LOADIWKEY exiting")                                            \
    X(PROC3, HLAT, 1, "Enable HLAT")                                                               \
    X(PROC3, EPT_PAGING_WRITE, 2, "EPT paging-write control")                                      \
    X(PROC3, GUEST_PAGING_VERIFY, 3, "Guest-paging verification")                                  \
    X(PROC3, IPI_VIRT, 4, "IPI virtualization")                                                    \
    X(PROC3, SEAM_GPAW, 5, "SEAM guest-physical-address width")                                    \
    X(PROC3, MSR_LIST, 6, "Enable MSR-list instructions")                                          \
    X(PROC3, VIRT_SPEC_CTRL, 7, "Virtualize IA32_SPEC_CTRL")                                       \
    X(PROC3, APIC_TIMER_VIRT, 8, "APIC-timer virtualization")                                      \
    X(PROC3, PBNDKB, 9, "Enable PBNDKB")                                                           \
    X(PROC3, PEBS_USES_GPA, 12, "PEBS uses guest physical addresses")                              \
    X(EXIT, SAVE_DEBUG, 2, "Save debug controls")                                                  \
    X(EXIT, HOST_64BIT, 9, "Host address-space size")                                              \
    X(EXIT, LOAD_PERF_GLOBAL_CTRL, 12, "Load IA32_PERF_GLOBAL_CTRL")                               \
    X(EXIT, ACK_INTR, 15, "Acknowledge interrupt on exit")                                         \
    X(EXIT, SAVE_PAT, 18, "Save IA32_PAT")                                                         \
    X(EXIT, LOAD_PAT, 19, "Load IA32_PAT")                                                         \
    X(EXIT, SAVE_EFER, 20, "Save IA32_EFER")                                                       \
    X(EXIT, LOAD_EFER, 21, "Load IA32_EFER")                                                       \
    X(EXIT, SAVE_PREEMPTION_TIMER, 22, "Save VMX-preemption timer value")                          \
    X(EXIT, CLEAR_BNDCFGS, 23, "Clear IA32_BNDCFGS")                                               \
    X(EXIT, CONCEAL_VMX_FROM_PT, 24, "Conceal VMX from PT")                                        \
    X(EXIT, CLEAR_RTIT_CTL, 25, "Clear IA32_RTIT_CTL")                                             \
    X(EXIT, CLEAR_LBR_CTL, 26, "Clear IA32_LBR_CTL")                                               \
    X(EXIT, CLEAR_UINV, 27, "Clear UINV")                                                          \
    X(EXIT, LOAD_CET, 28, "Load CET state")                                                        \
    X(EXIT, LOAD_PKRS, 29, "Load PKRS")                                                            \
    X(EXIT, SAVE_PERF_GLOBAL_CTRL, 30, "Save IA32_PERF_GLOBAL_CTRL")                               \
    X(EXIT, ACTIVATE_SECONDARY, 31, "Activate secondary controls")                                 \
    X(EXIT2, SAVE_FRED, 0, "Save FRED")                                                            \
    X(EXIT2, LOAD_FRED, 1, "Load FRED")                                                            \
    X(EXIT2, LOAD_SPEC_CTRL, 2, "Load IA32_SPEC_CTRL")                                             \
    X(EXIT2, PREMATURELY_BUSY_SS, 3, "Prematurely busy shadow stack")                              \
    X(ENTRY, LOAD_DEBUG, 2, "Load debug controls")                                                 \
    X(ENTRY, IA32E_GUEST, 9, "IA-32e mode guest")                                                  \
    X(ENTRY, TO_SMM, 10, "Entry to SMM")                                                           \
    X(ENTRY, DEACT_DUAL_MONITOR, 11, "Deactivate dual-monitor treatment")                          \
    X(ENTRY, LOAD_PERF_GLOBAL_CTRL, 13, "Load IA32_PERF_GLOBAL_CTRL")                              \
    X(ENTRY, LOAD_PAT, 14, "Load IA32_PAT")                                                        \
    X(ENTRY, LOAD_EFER, 15, "Load IA32_EFER")                                                      \
    X(ENTRY, LOAD_BNDCFGS, 16, "Load IA32_BNDCFGS")                                                \
    X(ENTRY, CONCEAL_VMX_FROM_PT, 17, "Conceal VMX from PT")                                       \
    X(ENTRY, LOAD_RTIT_CTL, 18, "Load IA32_RTIT_CTL")                                              \
    X(ENTRY, LOAD_UINV, 19, "Load UINV")                                                           \
    X(ENTRY, LOAD_CET, 20, "Load CET state")                                                       \
    X(ENTRY, LOAD_LBR_CTL, 21, "Load guest IA32_LBR_CTL")                                          \
    X(ENTRY, LOAD_PKRS, 22, "Load PKRS")                                                           \
    X(ENTRY, LOAD_FRED, 23, "Load FRED")                                                           \
    X(ENTRY, LOAD_SPEC_CTRL, 24, "Load IA32_SPEC_CTRL")                                            \
    X(ENTRY, SEAM_TELEMETRY, 25, "Allow SEAM-guest telemetry")

// Bit numbers. An enumerator is an int, so a 64-bit mask cannot be one: the masks are below.
enum xvcpu_control_bit {
#define XVCPUI_ROW(word, name, bit, text) XVCPU_##word##_##name##_BIT = (bit),
    XVCPU_CONTROLS(XVCPUI_ROW)
#undef XVCPUI_ROW
    XVCPU_CONTROL_BIT_LIMIT = 64
};
#define XVCPU_PIN_EXT_INTR_EXITING XVCPU_BIT64(XVCPU_PIN_EXT_INTR_EXITING_BIT)
#define XVCPU_PIN_NMI_EXITING XVCPU_BIT64(XVCPU_PIN_NMI_EXITING_BIT)
#define XVCPU_PIN_VIRTUAL_NMIS XVCPU_BIT64(XVCPU_PIN_VIRTUAL_NMIS_BIT)
#define XVCPU_PIN_PREEMPTION_TIMER XVCPU_BIT64(XVCPU_PIN_PREEMPTION_TIMER_BIT)
#define XVCPU_PIN_POSTED_INTR XVCPU_BIT64(XVCPU_PIN_POSTED_INTR_BIT)

#define XVCPU_PROC1_INTR_WINDOW_EXITING XVCPU_BIT64(XVCPU_PROC1_INTR_WINDOW_EXITING_BIT)
#define XVCPU_PROC1_TSC_OFFSETTING XVCPU_BIT64(XVCPU_PROC1_TSC_OFFSETTING_BIT)
#define XVCPU_PROC1_HLT_EXITING XVCPU_BIT64(XVCPU_PROC1_HLT_EXITING_BIT)
#define XVCPU_PROC1_INVLPG_EXITING XVCPU_BIT64(XVCPU_PROC1_INVLPG_EXITING_BIT)
#define XVCPU_PROC1_MWAIT_EXITING XVCPU_BIT64(XVCPU_PROC1_MWAIT_EXITING_BIT)
#define XVCPU_PROC1_RDPMC_EXITING XVCPU_BIT64(XVCPU_PROC1_RDPMC_EXITING_BIT)
#define XVCPU_PROC1_RDTSC_EXITING XVCPU_BIT64(XVCPU_PROC1_RDTSC_EXITING_BIT)
#define XVCPU_PROC1_CR3_LOAD_EXITING XVCPU_BIT64(XVCPU_PROC1_CR3_LOAD_EXITING_BIT)
#define XVCPU_PROC1_CR3_STORE_EXITING XVCPU_BIT64(XVCPU_PROC1_CR3_STORE_EXITING_BIT)
#define XVCPU_PROC1_ACTIVATE_TERTIARY XVCPU_BIT64(XVCPU_PROC1_ACTIVATE_TERTIARY_BIT)
#define XVCPU_PROC1_CR8_LOAD_EXITING XVCPU_BIT64(XVCPU_PROC1_CR8_LOAD_EXITING_BIT)
#define XVCPU_PROC1_CR8_STORE_EXITING XVCPU_BIT64(XVCPU_PROC1_CR8_STORE_EXITING_BIT)
#define XVCPU_PROC1_TPR_SHADOW XVCPU_BIT64(XVCPU_PROC1_TPR_SHADOW_BIT)
#define XVCPU_PROC1_NMI_WINDOW_EXITING XVCPU_BIT64(XVCPU_PROC1_NMI_WINDOW_EXITING_BIT)
#define XVCPU_PROC1_MOV_DR_EXITING XVCPU_BIT64(XVCPU_PROC1_MOV_DR_EXITING_BIT)
#define XVCPU_PROC1_UNCOND_IO_EXITING XVCPU_BIT64(XVCPU_PROC1_UNCOND_IO_EXITING_BIT)
#define XVCPU_PROC1_IO_BITMAPS XVCPU_BIT64(XVCPU_PROC1_IO_BITMAPS_BIT)
#define XVCPU_PROC1_MTF XVCPU_BIT64(XVCPU_PROC1_MTF_BIT)
#define XVCPU_PROC1_MSR_BITMAPS XVCPU_BIT64(XVCPU_PROC1_MSR_BITMAPS_BIT)
#define XVCPU_PROC1_MONITOR_EXITING XVCPU_BIT64(XVCPU_PROC1_MONITOR_EXITING_BIT)
#define XVCPU_PROC1_PAUSE_EXITING XVCPU_BIT64(XVCPU_PROC1_PAUSE_EXITING_BIT)
#define XVCPU_PROC1_ACTIVATE_SECONDARY XVCPU_BIT64(XVCPU_PROC1_ACTIVATE_SECONDARY_BIT)

#define XVCPU_PROC2_VIRT_APIC_ACCESSES XVCPU_BIT64(XVCPU_PROC2_VIRT_APIC_ACCESSES_BIT)
#define XVCPU_PROC2_EPT XVCPU_BIT64(XVCPU_PROC2_EPT_BIT)
#define XVCPU_PROC2_DESC_TABLE_EXITING XVCPU_BIT64(XVCPU_PROC2_DESC_TABLE_EXITING_BIT)
#define XVCPU_PROC2_RDTSCP XVCPU_BIT64(XVCPU_PROC2_RDTSCP_BIT)
#define XVCPU_PROC2_VIRT_X2APIC XVCPU_BIT64(XVCPU_PROC2_VIRT_X2APIC_BIT)
#define XVCPU_PROC2_VPID XVCPU_BIT64(XVCPU_PROC2_VPID_BIT)
#define XVCPU_PROC2_WBINVD_EXITING XVCPU_BIT64(XVCPU_PROC2_WBINVD_EXITING_BIT)
#define XVCPU_PROC2_UNRESTRICTED_GUEST XVCPU_BIT64(XVCPU_PROC2_UNRESTRICTED_GUEST_BIT)
#define XVCPU_PROC2_APIC_REG_VIRT XVCPU_BIT64(XVCPU_PROC2_APIC_REG_VIRT_BIT)
#define XVCPU_PROC2_VIRT_INTR_DELIVERY XVCPU_BIT64(XVCPU_PROC2_VIRT_INTR_DELIVERY_BIT)
#define XVCPU_PROC2_PAUSE_LOOP_EXITING XVCPU_BIT64(XVCPU_PROC2_PAUSE_LOOP_EXITING_BIT)
#define XVCPU_PROC2_RDRAND_EXITING XVCPU_BIT64(XVCPU_PROC2_RDRAND_EXITING_BIT)
#define XVCPU_PROC2_INVPCID XVCPU_BIT64(XVCPU_PROC2_INVPCID_BIT)
#define XVCPU_PROC2_VMFUNC XVCPU_BIT64(XVCPU_PROC2_VMFUNC_BIT)
#define XVCPU_PROC2_VMCS_SHADOWING XVCPU_BIT64(XVCPU_PROC2_VMCS_SHADOWING_BIT)
#define XVCPU_PROC2_ENCLS_EXITING XVCPU_BIT64(XVCPU_PROC2_ENCLS_EXITING_BIT)
#define XVCPU_PROC2_RDSEED_EXITING XVCPU_BIT64(XVCPU_PROC2_RDSEED_EXITING_BIT)
#define XVCPU_PROC2_PML XVCPU_BIT64(XVCPU_PROC2_PML_BIT)
#define XVCPU_PROC2_EPT_VIOLATION_VE XVCPU_BIT64(XVCPU_PROC2_EPT_VIOLATION_VE_BIT)
#define XVCPU_PROC2_CONCEAL_VMX_FROM_PT XVCPU_BIT64(XVCPU_PROC2_CONCEAL_VMX_FROM_PT_BIT)
#define XVCPU_PROC2_XSAVES XVCPU_BIT64(XVCPU_PROC2_XSAVES_BIT)
#define XVCPU_PROC2_PASID_TRANSLATION XVCPU_BIT64(XVCPU_PROC2_PASID_TRANSLATION_BIT)
#define XVCPU_PROC2_MBEC XVCPU_BIT64(XVCPU_PROC2_MBEC_BIT)
#define XVCPU_PROC2_SPP XVCPU_BIT64(XVCPU_PROC2_SPP_BIT)
#define XVCPU_PROC2_PT_USES_GPA XVCPU_BIT64(XVCPU_PROC2_PT_USES_GPA_BIT)
#define XVCPU_PROC2_TSC_SCALING XVCPU_BIT64(XVCPU_PROC2_TSC_SCALING_BIT)
#define XVCPU_PROC2_USER_WAIT_PAUSE XVCPU_BIT64(XVCPU_PROC2_USER_WAIT_PAUSE_BIT)
#define XVCPU_PROC2_PCONFIG XVCPU_BIT64(XVCPU_PROC2_PCONFIG_BIT)
#define XVCPU_PROC2_ENCLV_EXITING XVCPU_BIT64(XVCPU_PROC2_ENCLV_EXITING_BIT)
#define XVCPU_PROC2_BUS_LOCK_DETECTION XVCPU_BIT64(XVCPU_PROC2_BUS_LOCK_DETECTION_BIT)
#define XVCPU_PROC2_INSTR_TIMEOUT XVCPU_BIT64(XVCPU_PROC2_INSTR_TIMEOUT_BIT)

#define XVCPU_PROC3_LOADIWKEY_EXITING XVCPU_BIT64(XVCPU_PROC3_LOADIWKEY_EXITING_BIT)
#define XVCPU_PROC3_HLAT XVCPU_BIT64(XVCPU_PROC3_HLAT_BIT)
#define XVCPU_PROC3_EPT_PAGING_WRITE XVCPU_BIT64(XVCPU_PROC3_EPT_PAGING_WRITE_BIT)
#define XVCPU_PROC3_GUEST_PAGING_VERIFY XVCPU_BIT64(XVCPU_PROC3_GUEST_PAGING_VERIFY_BIT)
#define XVCPU_PROC3_IPI_VIRT XVCPU_BIT64(XVCPU_PROC3_IPI_VIRT_BIT)
#define XVCPU_PROC3_SEAM_GPAW XVCPU_BIT64(XVCPU_PROC3_SEAM_GPAW_BIT)
#define XVCPU_PROC3_MSR_LIST XVCPU_BIT64(XVCPU_PROC3_MSR_LIST_BIT)
#define XVCPU_PROC3_VIRT_SPEC_CTRL XVCPU_BIT64(XVCPU_PROC3_VIRT_SPEC_CTRL_BIT)
#define XVCPU_PROC3_APIC_TIMER_VIRT XVCPU_BIT64(XVCPU_PROC3_APIC_TIMER_VIRT_BIT)
#define XVCPU_PROC3_PBNDKB XVCPU_BIT64(XVCPU_PROC3_PBNDKB_BIT)
#define XVCPU_PROC3_PEBS_USES_GPA XVCPU_BIT64(XVCPU_PROC3_PEBS_USES_GPA_BIT)

#define XVCPU_EXIT_SAVE_DEBUG XVCPU_BIT64(XVCPU_EXIT_SAVE_DEBUG_BIT)
#define XVCPU_EXIT_HOST_64BIT XVCPU_BIT64(XVCPU_EXIT_HOST_64BIT_BIT)
#define XVCPU_EXIT_LOAD_PERF_GLOBAL_CTRL XVCPU_BIT64(XVCPU_EXIT_LOAD_PERF_GLOBAL_CTRL_BIT)
#define XVCPU_EXIT_ACK_INTR XVCPU_BIT64(XVCPU_EXIT_ACK_INTR_BIT)
#define XVCPU_EXIT_SAVE_PAT XVCPU_BIT64(XVCPU_EXIT_SAVE_PAT_BIT)
#define XVCPU_EXIT_LOAD_PAT XVCPU_BIT64(XVCPU_EXIT_LOAD_PAT_BIT)
#define XVCPU_EXIT_SAVE_EFER XVCPU_BIT64(XVCPU_EXIT_SAVE_EFER_BIT)
#define XVCPU_EXIT_LOAD_EFER XVCPU_BIT64(XVCPU_EXIT_LOAD_EFER_BIT)
#define XVCPU_EXIT_SAVE_PREEMPTION_TIMER XVCPU_BIT64(XVCPU_EXIT_SAVE_PREEMPTION_TIMER_BIT)
#define XVCPU_EXIT_CLEAR_BNDCFGS XVCPU_BIT64(XVCPU_EXIT_CLEAR_BNDCFGS_BIT)
#define XVCPU_EXIT_CONCEAL_VMX_FROM_PT XVCPU_BIT64(XVCPU_EXIT_CONCEAL_VMX_FROM_PT_BIT)
#define XVCPU_EXIT_CLEAR_RTIT_CTL XVCPU_BIT64(XVCPU_EXIT_CLEAR_RTIT_CTL_BIT)
#define XVCPU_EXIT_CLEAR_LBR_CTL XVCPU_BIT64(XVCPU_EXIT_CLEAR_LBR_CTL_BIT)
#define XVCPU_EXIT_CLEAR_UINV XVCPU_BIT64(XVCPU_EXIT_CLEAR_UINV_BIT)
#define XVCPU_EXIT_LOAD_CET XVCPU_BIT64(XVCPU_EXIT_LOAD_CET_BIT)
#define XVCPU_EXIT_LOAD_PKRS XVCPU_BIT64(XVCPU_EXIT_LOAD_PKRS_BIT)
#define XVCPU_EXIT_SAVE_PERF_GLOBAL_CTRL XVCPU_BIT64(XVCPU_EXIT_SAVE_PERF_GLOBAL_CTRL_BIT)
#define XVCPU_EXIT_ACTIVATE_SECONDARY XVCPU_BIT64(XVCPU_EXIT_ACTIVATE_SECONDARY_BIT)

#define XVCPU_EXIT2_SAVE_FRED XVCPU_BIT64(XVCPU_EXIT2_SAVE_FRED_BIT)
#define XVCPU_EXIT2_LOAD_FRED XVCPU_BIT64(XVCPU_EXIT2_LOAD_FRED_BIT)
#define XVCPU_EXIT2_LOAD_SPEC_CTRL XVCPU_BIT64(XVCPU_EXIT2_LOAD_SPEC_CTRL_BIT)
#define XVCPU_EXIT2_PREMATURELY_BUSY_SS XVCPU_BIT64(XVCPU_EXIT2_PREMATURELY_BUSY_SS_BIT)

#define XVCPU_ENTRY_LOAD_DEBUG XVCPU_BIT64(XVCPU_ENTRY_LOAD_DEBUG_BIT)
#define XVCPU_ENTRY_IA32E_GUEST XVCPU_BIT64(XVCPU_ENTRY_IA32E_GUEST_BIT)
#define XVCPU_ENTRY_TO_SMM XVCPU_BIT64(XVCPU_ENTRY_TO_SMM_BIT)
#define XVCPU_ENTRY_DEACT_DUAL_MONITOR XVCPU_BIT64(XVCPU_ENTRY_DEACT_DUAL_MONITOR_BIT)
#define XVCPU_ENTRY_LOAD_PERF_GLOBAL_CTRL XVCPU_BIT64(XVCPU_ENTRY_LOAD_PERF_GLOBAL_CTRL_BIT)
#define XVCPU_ENTRY_LOAD_PAT XVCPU_BIT64(XVCPU_ENTRY_LOAD_PAT_BIT)
#define XVCPU_ENTRY_LOAD_EFER XVCPU_BIT64(XVCPU_ENTRY_LOAD_EFER_BIT)
#define XVCPU_ENTRY_LOAD_BNDCFGS XVCPU_BIT64(XVCPU_ENTRY_LOAD_BNDCFGS_BIT)
#define XVCPU_ENTRY_CONCEAL_VMX_FROM_PT XVCPU_BIT64(XVCPU_ENTRY_CONCEAL_VMX_FROM_PT_BIT)
#define XVCPU_ENTRY_LOAD_RTIT_CTL XVCPU_BIT64(XVCPU_ENTRY_LOAD_RTIT_CTL_BIT)
#define XVCPU_ENTRY_LOAD_UINV XVCPU_BIT64(XVCPU_ENTRY_LOAD_UINV_BIT)
#define XVCPU_ENTRY_LOAD_CET XVCPU_BIT64(XVCPU_ENTRY_LOAD_CET_BIT)
#define XVCPU_ENTRY_LOAD_LBR_CTL XVCPU_BIT64(XVCPU_ENTRY_LOAD_LBR_CTL_BIT)
#define XVCPU_ENTRY_LOAD_PKRS XVCPU_BIT64(XVCPU_ENTRY_LOAD_PKRS_BIT)
#define XVCPU_ENTRY_LOAD_FRED XVCPU_BIT64(XVCPU_ENTRY_LOAD_FRED_BIT)
#define XVCPU_ENTRY_LOAD_SPEC_CTRL XVCPU_BIT64(XVCPU_ENTRY_LOAD_SPEC_CTRL_BIT)
#define XVCPU_ENTRY_SEAM_TELEMETRY XVCPU_BIT64(XVCPU_ENTRY_SEAM_TELEMETRY_BIT)

// Default-1 class: bits that are 1 unless IA32_VMX_BASIC[55] reports the TRUE capability MSRs. Most
// are reserved; CR3-load/store exiting and save/load debug controls are the ones that are not.
#define XVCPU_PIN_DEFAULT1 (XVCPU_BITS64(2, 1) | XVCPU_BIT64(4))
#define XVCPU_PROC1_DEFAULT1                                                                       \
    (XVCPU_BIT64(1) | XVCPU_BITS64(6, 4) | XVCPU_BIT64(8) | XVCPU_BITS64(16, 13) |                 \
     XVCPU_BIT64(26))
#define XVCPU_EXIT_DEFAULT1                                                                        \
    (XVCPU_BITS64(8, 0) | XVCPU_BITS64(11, 10) | XVCPU_BITS64(14, 13) | XVCPU_BITS64(17, 16))
#define XVCPU_ENTRY_DEFAULT1 (XVCPU_BITS64(8, 0) | XVCPU_BIT64(12))

// The parts of a VMCS encoding.
#define XVCPU_VMCS_ENCODING_HIGH XVCPU_BIT64(0) // upper 32 bits of a 64-bit field
#define XVCPU_VMCS_ENCODING_INDEX_SHIFT 1
#define XVCPU_VMCS_ENCODING_INDEX_MASK XVCPU_BITS64(9, 1)
#define XVCPU_VMCS_ENCODING_TYPE_SHIFT 10
#define XVCPU_VMCS_ENCODING_TYPE_MASK XVCPU_BITS64(11, 10)
#define XVCPU_VMCS_ENCODING_WIDTH_SHIFT 13
#define XVCPU_VMCS_ENCODING_WIDTH_MASK XVCPU_BITS64(14, 13)

#define XVCPU_VMCS_TYPE(encoding) ((xvcpu_u32)XVCPU_PART((encoding), VMCS_ENCODING_TYPE))
#define XVCPU_VMCS_TYPE_CONTROL 0
#define XVCPU_VMCS_TYPE_READ_ONLY 1
#define XVCPU_VMCS_TYPE_GUEST 2
#define XVCPU_VMCS_TYPE_HOST 3

#define XVCPU_VMCS_WIDTH(encoding) ((xvcpu_u32)XVCPU_PART((encoding), VMCS_ENCODING_WIDTH))
#define XVCPU_VMCS_WIDTH_16 0
#define XVCPU_VMCS_WIDTH_64 1
#define XVCPU_VMCS_WIDTH_32 2
#define XVCPU_VMCS_WIDTH_NATURAL 3

// When a VMCS field exists. VMREAD or VMWRITE of a field that the processor lacks fails, and the
// only sure sign that it has one is a capability: the field exists if either of two alternatives
// holds. An alternative is (source << 8 | number); the first is in bits 13:0, the second in 29:16.
enum xvcpu_since_source {
    XVCPU_SINCE_SOURCE_NEVER = 0,       // not a field to use; also "no second alternative"
    XVCPU_SINCE_SOURCE_ALWAYS = 1,      // on every VMX processor
    XVCPU_SINCE_SOURCE_BASIC = 2,       // IA32_VMX_BASIC bit <number> is 1
    XVCPU_SINCE_SOURCE_VMFUNC = 3,      // IA32_VMX_VMFUNC bit <number> is 1 (needs PROC2 VMFUNC)
    XVCPU_SINCE_SOURCE_CR3_TARGETS = 4, // IA32_VMX_MISC[24:16] is at least <number>
    XVCPU_SINCE_SOURCE_FRED = 5,        // CPUID.(7,1):EAX[17] is 1
    XVCPU_SINCE_SOURCE_CONTROLS = 7,    // above it, one per control word, in the order of
#define XVCPUI_ROW(name, text, field, msr, true_msr) XVCPU_SINCE_SOURCE_##name,
    XVCPU_CONTROL_WORDS(XVCPUI_ROW)     // the words: control bit <number> may be 1
#undef XVCPUI_ROW
    XVCPU_SINCE_SOURCE_COUNT
};

#define XVCPU_SINCE_PACK(source, number) (((xvcpu_u32)(source) << 8) | (xvcpu_u32)(number))
#define XVCPU_SINCE_SOURCE(since) (((xvcpu_u32)(since) >> 8) & 0x3FU)
#define XVCPU_SINCE_NUMBER(since) ((xvcpu_u32)(since) & 0xFFU)
#define XVCPU_SINCE_SECOND(since) (((xvcpu_u32)(since) >> 16) & 0x3FFFU)
// The encoding is not in the SDM's own table (App. B of 2026-02): known from other sources, never
// touched unless the control it belongs to may be 1.
#define XVCPU_SINCE_DOUBTFUL ((xvcpu_u32)1 << 30)

#define XVCPU_SINCE_NEVER XVCPU_SINCE_PACK(XVCPU_SINCE_SOURCE_NEVER, 0)
#define XVCPU_SINCE_ALWAYS XVCPU_SINCE_PACK(XVCPU_SINCE_SOURCE_ALWAYS, 0)
#define XVCPU_SINCE_BASIC(bit) XVCPU_SINCE_PACK(XVCPU_SINCE_SOURCE_BASIC, (bit))
#define XVCPU_SINCE_VMFUNC(bit) XVCPU_SINCE_PACK(XVCPU_SINCE_SOURCE_VMFUNC, (bit))
#define XVCPU_SINCE_CR3_TARGETS(count) XVCPU_SINCE_PACK(XVCPU_SINCE_SOURCE_CR3_TARGETS, (count))
#define XVCPU_SINCE_FRED XVCPU_SINCE_PACK(XVCPU_SINCE_SOURCE_FRED, 0)
#define XVCPU_SINCE_IF(word, name)                                                                 \
    XVCPU_SINCE_PACK(XVCPU_SINCE_SOURCE_##word, XVCPU_##word##_##name##_BIT)
#define XVCPU_SINCE_EITHER(word1, name1, word2, name2)                                             \
    (XVCPU_SINCE_PACK(XVCPU_SINCE_SOURCE_##word1, XVCPU_##word1##_##name1##_BIT) |                 \
     (XVCPU_SINCE_PACK(XVCPU_SINCE_SOURCE_##word2, XVCPU_##word2##_##name2##_BIT) << 16))

// VMCS fields, by width. X(encoding, name, text, since).
#define XVCPU_VMCS_FIELDS_16(X)                                                                    \
    X(0x0000, CTRL_VPID, "Virtual-processor identifier (VPID)", XVCPU_SINCE_IF(PROC2, VPID))       \
    X(0x0002, CTRL_POSTED_INTR_NV, "Posted-interrupt notification vector",                         \
      XVCPU_SINCE_IF(PIN, POSTED_INTR))                                                            \
    X(0x0004, CTRL_EPTP_INDEX, "EPTP index", XVCPU_SINCE_IF(PROC2, EPT_VIOLATION_VE))              \
    X(0x0006, CTRL_HLAT_PREFIX_SIZE, "HLAT prefix size", XVCPU_SINCE_IF(PROC3, HLAT))              \
    X(0x0008, CTRL_LAST_PID_PTR_INDEX, "Last PID-pointer index", XVCPU_SINCE_IF(PROC3, IPI_VIRT))  \
    X(0x000A, CTRL_VIRTUAL_TIMER_VECTOR, "Virtual timer vector",                                   \
      XVCPU_SINCE_DOUBTFUL | XVCPU_SINCE_IF(PROC3, APIC_TIMER_VIRT))                               \
    X(0x0800, GUEST_ES_SELECTOR, "Guest ES selector", XVCPU_SINCE_ALWAYS)                          \
    X(0x0802, GUEST_CS_SELECTOR, "Guest CS selector", XVCPU_SINCE_ALWAYS)                          \
    X(0x0804, GUEST_SS_SELECTOR, "Guest SS selector", XVCPU_SINCE_ALWAYS)                          \
    X(0x0806, GUEST_DS_SELECTOR, "Guest DS selector", XVCPU_SINCE_ALWAYS)                          \
    X(0x0808, GUEST_FS_SELECTOR, "Guest FS selector", XVCPU_SINCE_ALWAYS)                          \
    X(0x080A, GUEST_GS_SELECTOR, "Guest GS selector", XVCPU_SINCE_ALWAYS)                          \
    X(0x080C, GUEST_LDTR_SELECTOR, "Guest LDTR selector", XVCPU_SINCE_ALWAYS)                      \
    X(0x080E, GUEST_TR_SELECTOR, "Guest TR selector", XVCPU_SINCE_ALWAYS)                          \
    X(0x0810, GUEST_INTR_STATUS, "Guest interrupt status",                                         \
      XVCPU_SINCE_IF(PROC2, VIRT_INTR_DELIVERY))                                                   \
    X(0x0812, GUEST_PML_INDEX, "PML index", XVCPU_SINCE_IF(PROC2, PML))                            \
    X(0x0814, GUEST_UINV, "Guest UINV", XVCPU_SINCE_EITHER(ENTRY, LOAD_UINV, EXIT, CLEAR_UINV))    \
    X(0x0C00, HOST_ES_SELECTOR, "Host ES selector", XVCPU_SINCE_ALWAYS)                            \
    X(0x0C02, HOST_CS_SELECTOR, "Host CS selector", XVCPU_SINCE_ALWAYS)                            \
    X(0x0C04, HOST_SS_SELECTOR, "Host SS selector", XVCPU_SINCE_ALWAYS)                            \
    X(0x0C06, HOST_DS_SELECTOR, "Host DS selector", XVCPU_SINCE_ALWAYS)                            \
    X(0x0C08, HOST_FS_SELECTOR, "Host FS selector", XVCPU_SINCE_ALWAYS)                            \
    X(0x0C0A, HOST_GS_SELECTOR, "Host GS selector", XVCPU_SINCE_ALWAYS)                            \
    X(0x0C0C, HOST_TR_SELECTOR, "Host TR selector", XVCPU_SINCE_ALWAYS)

#define XVCPU_VMCS_FIELDS_64(X)                                                                    \
    X(0x2000, CTRL_IO_BITMAP_A, "Address of I/O bitmap A", XVCPU_SINCE_IF(PROC1, IO_BITMAPS))      \
    X(0x2002, CTRL_IO_BITMAP_B, "Address of I/O bitmap B", XVCPU_SINCE_IF(PROC1, IO_BITMAPS))      \
    X(0x2004, CTRL_MSR_BITMAP, "Address of MSR bitmaps", XVCPU_SINCE_IF(PROC1, MSR_BITMAPS))       \
    X(0x2006, CTRL_EXIT_MSR_STORE_ADDR, "VM-exit MSR-store address", XVCPU_SINCE_ALWAYS)           \
    X(0x2008, CTRL_EXIT_MSR_LOAD_ADDR, "VM-exit MSR-load address", XVCPU_SINCE_ALWAYS)             \
    X(0x200A, CTRL_ENTRY_MSR_LOAD_ADDR, "VM-entry MSR-load address", XVCPU_SINCE_ALWAYS)           \
    X(0x200C, CTRL_EXECUTIVE_VMCS_PTR, "Executive-VMCS pointer", XVCPU_SINCE_BASIC(49))            \
    X(0x200E, CTRL_PML_ADDR, "PML address", XVCPU_SINCE_IF(PROC2, PML))                            \
    X(0x2010, CTRL_TSC_OFFSET, "TSC offset", XVCPU_SINCE_IF(PROC1, TSC_OFFSETTING))                \
    X(0x2012, CTRL_VIRTUAL_APIC_ADDR, "Virtual-APIC address", XVCPU_SINCE_IF(PROC1, TPR_SHADOW))   \
    X(0x2014, CTRL_APIC_ACCESS_ADDR, "APIC-access address",                                        \
      XVCPU_SINCE_IF(PROC2, VIRT_APIC_ACCESSES))                                                   \
    X(0x2016, CTRL_POSTED_INTR_DESC_ADDR, "Posted-interrupt descriptor address",                   \
      XVCPU_SINCE_IF(PIN, POSTED_INTR))                                                            \
    X(0x2018, CTRL_VMFUNC_CONTROLS, "VM-function controls", XVCPU_SINCE_IF(PROC2, VMFUNC))         \
    X(0x201A, CTRL_EPTP, "EPT pointer (EPTP)", XVCPU_SINCE_IF(PROC2, EPT))                         \
    X(0x201C, CTRL_EOI_EXIT_BITMAP0, "EOI-exit bitmap 0",                                          \
      XVCPU_SINCE_IF(PROC2, VIRT_INTR_DELIVERY))                                                   \
    X(0x201E, CTRL_EOI_EXIT_BITMAP1, "EOI-exit bitmap 1",                                          \
      XVCPU_SINCE_IF(PROC2, VIRT_INTR_DELIVERY))                                                   \
    X(0x2020, CTRL_EOI_EXIT_BITMAP2, "EOI-exit bitmap 2",                                          \
      XVCPU_SINCE_IF(PROC2, VIRT_INTR_DELIVERY))                                                   \
    X(0x2022, CTRL_EOI_EXIT_BITMAP3, "EOI-exit bitmap 3",                                          \
      XVCPU_SINCE_IF(PROC2, VIRT_INTR_DELIVERY))                                                   \
    X(0x2024, CTRL_EPTP_LIST_ADDR, "EPTP-list address", XVCPU_SINCE_VMFUNC(0))                     \
    X(0x2026, CTRL_VMREAD_BITMAP_ADDR, "VMREAD-bitmap address",                                    \
      XVCPU_SINCE_IF(PROC2, VMCS_SHADOWING))                                                       \
    X(0x2028, CTRL_VMWRITE_BITMAP_ADDR, "VMWRITE-bitmap address",                                  \
      XVCPU_SINCE_IF(PROC2, VMCS_SHADOWING))                                                       \
    X(0x202A, CTRL_VE_INFO_ADDR, "Virtualization-exception information address",                   \
      XVCPU_SINCE_IF(PROC2, EPT_VIOLATION_VE))                                                     \
    X(0x202C, CTRL_XSS_EXITING_BITMAP, "XSS-exiting bitmap", XVCPU_SINCE_IF(PROC2, XSAVES))        \
    X(0x202E, CTRL_ENCLS_EXITING_BITMAP, "ENCLS-exiting bitmap",                                   \
      XVCPU_SINCE_IF(PROC2, ENCLS_EXITING))                                                        \
    X(0x2030, CTRL_SPPTP, "Sub-page-permission-table pointer (SPPTP)",                             \
      XVCPU_SINCE_IF(PROC2, SPP))                                                                  \
    X(0x2032, CTRL_TSC_MULTIPLIER, "TSC multiplier", XVCPU_SINCE_IF(PROC2, TSC_SCALING))           \
    X(0x2034, CTRL_PROC3, "Tertiary processor-based VM-execution controls",                        \
      XVCPU_SINCE_IF(PROC1, ACTIVATE_TERTIARY))                                                    \
    X(0x2036, CTRL_ENCLV_EXITING_BITMAP, "ENCLV-exiting bitmap",                                   \
      XVCPU_SINCE_DOUBTFUL | XVCPU_SINCE_IF(PROC2, ENCLV_EXITING))                                 \
    X(0x2038, CTRL_LOW_PASID_DIR_ADDR, "Low PASID directory address",                              \
      XVCPU_SINCE_IF(PROC2, PASID_TRANSLATION))                                                    \
    X(0x203A, CTRL_HIGH_PASID_DIR_ADDR, "High PASID directory address",                            \
      XVCPU_SINCE_IF(PROC2, PASID_TRANSLATION))                                                    \
    X(0x203C, CTRL_SEAM_SHARED_EPTP, "SEAM shared EPT pointer", XVCPU_SINCE_IF(PROC3, SEAM_GPAW))  \
    X(0x203E, CTRL_PCONFIG_EXITING_BITMAP, "PCONFIG-exiting bitmap",                               \
      XVCPU_SINCE_IF(PROC2, PCONFIG))                                                              \
    X(0x2040, CTRL_HLATP, "Hypervisor-managed linear-address translation pointer (HLATP)",         \
      XVCPU_SINCE_IF(PROC3, HLAT))                                                                 \
    X(0x2042, CTRL_PID_PTR_TABLE_ADDR, "PID-pointer table address",                                \
      XVCPU_SINCE_IF(PROC3, IPI_VIRT))                                                             \
    X(0x2044, CTRL_EXIT2, "Secondary VM-exit controls", XVCPU_SINCE_IF(EXIT, ACTIVATE_SECONDARY))  \
    X(0x204A, CTRL_SPEC_CTRL_MASK, "IA32_SPEC_CTRL mask", XVCPU_SINCE_IF(PROC3, VIRT_SPEC_CTRL))   \
    X(0x204C, CTRL_SPEC_CTRL_SHADOW, "IA32_SPEC_CTRL shadow",                                      \
      XVCPU_SINCE_IF(PROC3, VIRT_SPEC_CTRL))                                                       \
    X(0x204E, CTRL_GUEST_DEADLINE_SHADOW, "Guest deadline shadow",                                 \
      XVCPU_SINCE_DOUBTFUL | XVCPU_SINCE_IF(PROC3, APIC_TIMER_VIRT))                               \
    X(0x2052, CTRL_INJECTED_EVENT_DATA, "Injected-event data", XVCPU_SINCE_FRED)                   \
    X(0x2400, EXIT_GUEST_PHYSICAL_ADDR, "Guest-physical address", XVCPU_SINCE_IF(PROC2, EPT))      \
    X(0x2402, EXIT_MSR_DATA, "MSR data", XVCPU_SINCE_IF(PROC3, MSR_LIST))                          \
    X(0x2404, EXIT_ORIGINAL_EVENT_DATA, "Original-event data", XVCPU_SINCE_FRED)                   \
    X(0x2800, GUEST_VMCS_LINK_PTR, "VMCS link pointer", XVCPU_SINCE_ALWAYS)                        \
    X(0x2802, GUEST_DEBUGCTL, "Guest IA32_DEBUGCTL", XVCPU_SINCE_ALWAYS)                           \
    X(0x2804, GUEST_PAT, "Guest IA32_PAT", XVCPU_SINCE_EITHER(ENTRY, LOAD_PAT, EXIT, SAVE_PAT))    \
    X(0x2806, GUEST_EFER, "Guest IA32_EFER",                                                       \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_EFER, EXIT, SAVE_EFER))                                       \
    X(0x2808, GUEST_PERF_GLOBAL_CTRL, "Guest IA32_PERF_GLOBAL_CTRL",                               \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_PERF_GLOBAL_CTRL, EXIT, SAVE_PERF_GLOBAL_CTRL))               \
    X(0x280A, GUEST_PDPTE0, "Guest PDPTE0", XVCPU_SINCE_IF(PROC2, EPT))                            \
    X(0x280C, GUEST_PDPTE1, "Guest PDPTE1", XVCPU_SINCE_IF(PROC2, EPT))                            \
    X(0x280E, GUEST_PDPTE2, "Guest PDPTE2", XVCPU_SINCE_IF(PROC2, EPT))                            \
    X(0x2810, GUEST_PDPTE3, "Guest PDPTE3", XVCPU_SINCE_IF(PROC2, EPT))                            \
    X(0x2812, GUEST_BNDCFGS, "Guest IA32_BNDCFGS",                                                 \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_BNDCFGS, EXIT, CLEAR_BNDCFGS))                                \
    X(0x2814, GUEST_RTIT_CTL, "Guest IA32_RTIT_CTL",                                               \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_RTIT_CTL, EXIT, CLEAR_RTIT_CTL))                              \
    X(0x2816, GUEST_LBR_CTL, "Guest IA32_LBR_CTL",                                                 \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_LBR_CTL, EXIT, CLEAR_LBR_CTL))                                \
    X(0x2818, GUEST_PKRS, "Guest IA32_PKRS", XVCPU_SINCE_IF(ENTRY, LOAD_PKRS))                     \
    X(0x281A, GUEST_FRED_CONFIG, "Guest IA32_FRED_CONFIG",                                         \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_FRED, EXIT2, SAVE_FRED))                                      \
    X(0x281C, GUEST_FRED_RSP1, "Guest IA32_FRED_RSP1",                                             \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_FRED, EXIT2, SAVE_FRED))                                      \
    X(0x281E, GUEST_FRED_RSP2, "Guest IA32_FRED_RSP2",                                             \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_FRED, EXIT2, SAVE_FRED))                                      \
    X(0x2820, GUEST_FRED_RSP3, "Guest IA32_FRED_RSP3",                                             \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_FRED, EXIT2, SAVE_FRED))                                      \
    X(0x2822, GUEST_FRED_STKLVLS, "Guest IA32_FRED_STKLVLS",                                       \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_FRED, EXIT2, SAVE_FRED))                                      \
    X(0x2824, GUEST_FRED_SSP1, "Guest IA32_FRED_SSP1",                                             \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_FRED, EXIT2, SAVE_FRED))                                      \
    X(0x2826, GUEST_FRED_SSP2, "Guest IA32_FRED_SSP2",                                             \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_FRED, EXIT2, SAVE_FRED))                                      \
    X(0x2828, GUEST_FRED_SSP3, "Guest IA32_FRED_SSP3",                                             \
      XVCPU_SINCE_EITHER(ENTRY, LOAD_FRED, EXIT2, SAVE_FRED))                                      \
    X(0x282E, GUEST_SPEC_CTRL, "Guest IA32_SPEC_CTRL",                                             \
      XVCPU_SINCE_DOUBTFUL | XVCPU_SINCE_IF(ENTRY, LOAD_SPEC_CTRL))                                \
    X(0x2830, GUEST_DEADLINE, "Guest deadline",                                                    \
      XVCPU_SINCE_DOUBTFUL | XVCPU_SINCE_IF(PROC3, APIC_TIMER_VIRT))                               \
    X(0x2C00, HOST_PAT, "Host IA32_PAT", XVCPU_SINCE_IF(EXIT, LOAD_PAT))                           \
    X(0x2C02, HOST_EFER, "Host IA32_EFER", XVCPU_SINCE_IF(EXIT, LOAD_EFER))                        \
    X(0x2C04, HOST_PERF_GLOBAL_CTRL, "Host IA32_PERF_GLOBAL_CTRL",                                 \
      XVCPU_SINCE_IF(EXIT, LOAD_PERF_GLOBAL_CTRL))                                                 \
    X(0x2C06, HOST_PKRS, "Host IA32_PKRS", XVCPU_SINCE_IF(EXIT, LOAD_PKRS))                        \
    X(0x2C08, HOST_FRED_CONFIG, "Host IA32_FRED_CONFIG", XVCPU_SINCE_IF(EXIT2, LOAD_FRED))         \
    X(0x2C0A, HOST_FRED_RSP1, "Host IA32_FRED_RSP1", XVCPU_SINCE_IF(EXIT2, LOAD_FRED))             \
    X(0x2C0C, HOST_FRED_RSP2, "Host IA32_FRED_RSP2", XVCPU_SINCE_IF(EXIT2, LOAD_FRED))             \
    X(0x2C0E, HOST_FRED_RSP3, "Host IA32_FRED_RSP3", XVCPU_SINCE_IF(EXIT2, LOAD_FRED))             \
    X(0x2C10, HOST_FRED_STKLVLS, "Host IA32_FRED_STKLVLS", XVCPU_SINCE_IF(EXIT2, LOAD_FRED))       \
    X(0x2C12, HOST_FRED_SSP1, "Host IA32_FRED_SSP1", XVCPU_SINCE_IF(EXIT2, LOAD_FRED))             \
    X(0x2C14, HOST_FRED_SSP2, "Host IA32_FRED_SSP2", XVCPU_SINCE_IF(EXIT2, LOAD_FRED))             \
    X(0x2C16, HOST_FRED_SSP3, "Host IA32_FRED_SSP3", XVCPU_SINCE_IF(EXIT2, LOAD_FRED))             \
    X(0x2C1A, HOST_SPEC_CTRL, "Host IA32_SPEC_CTRL",                                               \
      XVCPU_SINCE_DOUBTFUL | XVCPU_SINCE_IF(EXIT2, LOAD_SPEC_CTRL))

#define XVCPU_VMCS_FIELDS_32(X)                                                                    \
    X(0x4000, CTRL_PIN, "Pin-based VM-execution controls", XVCPU_SINCE_ALWAYS)                     \
    X(0x4002, CTRL_PROC1, "Primary processor-based VM-execution controls", XVCPU_SINCE_ALWAYS)     \
    X(0x4004, CTRL_EXCEPTION_BITMAP, "Exception bitmap", XVCPU_SINCE_ALWAYS)                       \
    X(0x4006, CTRL_PF_ERROR_MASK, "Page-fault error-code mask", XVCPU_SINCE_ALWAYS)                \
    X(0x4008, CTRL_PF_ERROR_MATCH, "Page-fault error-code match", XVCPU_SINCE_ALWAYS)              \
    X(0x400A, CTRL_CR3_TARGET_COUNT, "CR3-target count", XVCPU_SINCE_ALWAYS)                       \
    X(0x400C, CTRL_EXIT, "Primary VM-exit controls", XVCPU_SINCE_ALWAYS)                           \
    X(0x400E, CTRL_EXIT_MSR_STORE_COUNT, "VM-exit MSR-store count", XVCPU_SINCE_ALWAYS)            \
    X(0x4010, CTRL_EXIT_MSR_LOAD_COUNT, "VM-exit MSR-load count", XVCPU_SINCE_ALWAYS)              \
    X(0x4012, CTRL_ENTRY, "VM-entry controls", XVCPU_SINCE_ALWAYS)                                 \
    X(0x4014, CTRL_ENTRY_MSR_LOAD_COUNT, "VM-entry MSR-load count", XVCPU_SINCE_ALWAYS)            \
    X(0x4016, CTRL_ENTRY_INTR_INFO,                                                                \
      "Injected-event identification (older: VM-entry interruption-information field)",            \
      XVCPU_SINCE_ALWAYS)                                                                          \
    X(0x4018, CTRL_ENTRY_ERROR_CODE,                                                               \
      "Injected-event error code (older: VM-entry exception error code)", XVCPU_SINCE_ALWAYS)      \
    X(0x401A, CTRL_ENTRY_INSTR_LEN, "VM-entry instruction length", XVCPU_SINCE_ALWAYS)             \
    X(0x401C, CTRL_TPR_THRESHOLD, "TPR threshold", XVCPU_SINCE_IF(PROC1, TPR_SHADOW))              \
    X(0x401E, CTRL_PROC2, "Secondary processor-based VM-execution controls",                       \
      XVCPU_SINCE_IF(PROC1, ACTIVATE_SECONDARY))                                                   \
    X(0x4020, CTRL_PLE_GAP, "PLE_Gap", XVCPU_SINCE_IF(PROC2, PAUSE_LOOP_EXITING))                  \
    X(0x4022, CTRL_PLE_WINDOW, "PLE_Window", XVCPU_SINCE_IF(PROC2, PAUSE_LOOP_EXITING))            \
    X(0x4024, CTRL_INSTR_TIMEOUT, "Instruction-timeout control",                                   \
      XVCPU_SINCE_IF(PROC2, INSTR_TIMEOUT))                                                        \
    X(0x4026, CTRL_SEAM_KEYID, "SEAM-guest key identifier", XVCPU_SINCE_IF(PROC3, SEAM_GPAW))      \
    X(0x4400, EXIT_INSTRUCTION_ERROR, "VM-instruction error", XVCPU_SINCE_ALWAYS)                  \
    X(0x4402, EXIT_REASON, "Exit reason", XVCPU_SINCE_ALWAYS)                                      \
    X(0x4404, EXIT_INTR_INFO,                                                                      \
      "Exiting-event identification (older: VM-exit interruption information)",                    \
      XVCPU_SINCE_ALWAYS)                                                                          \
    X(0x4406, EXIT_INTR_ERROR_CODE,                                                                \
      "Exiting-event error code (older: VM-exit interruption error code)", XVCPU_SINCE_ALWAYS)     \
    X(0x4408, EXIT_IDT_VECTORING_INFO,                                                             \
      "Original-event identification (older: IDT-vectoring information)", XVCPU_SINCE_ALWAYS)      \
    X(0x440A, EXIT_IDT_VECTORING_ERROR_CODE,                                                       \
      "Original-event error code (older: IDT-vectoring error code)", XVCPU_SINCE_ALWAYS)           \
    X(0x440C, EXIT_INSTR_LEN, "VM-exit instruction length", XVCPU_SINCE_ALWAYS)                    \
    X(0x440E, EXIT_INSTR_INFO, "VM-exit instruction information", XVCPU_SINCE_ALWAYS)              \
    X(0x4800, GUEST_ES_LIMIT, "Guest ES limit", XVCPU_SINCE_ALWAYS)                                \
    X(0x4802, GUEST_CS_LIMIT, "Guest CS limit", XVCPU_SINCE_ALWAYS)                                \
    X(0x4804, GUEST_SS_LIMIT, "Guest SS limit", XVCPU_SINCE_ALWAYS)                                \
    X(0x4806, GUEST_DS_LIMIT, "Guest DS limit", XVCPU_SINCE_ALWAYS)                                \
    X(0x4808, GUEST_FS_LIMIT, "Guest FS limit", XVCPU_SINCE_ALWAYS)                                \
    X(0x480A, GUEST_GS_LIMIT, "Guest GS limit", XVCPU_SINCE_ALWAYS)                                \
    X(0x480C, GUEST_LDTR_LIMIT, "Guest LDTR limit", XVCPU_SINCE_ALWAYS)                            \
    X(0x480E, GUEST_TR_LIMIT, "Guest TR limit", XVCPU_SINCE_ALWAYS)                                \
    X(0x4810, GUEST_GDTR_LIMIT, "Guest GDTR limit", XVCPU_SINCE_ALWAYS)                            \
    X(0x4812, GUEST_IDTR_LIMIT, "Guest IDTR limit", XVCPU_SINCE_ALWAYS)                            \
    X(0x4814, GUEST_ES_AR, "Guest ES access rights", XVCPU_SINCE_ALWAYS)                           \
    X(0x4816, GUEST_CS_AR, "Guest CS access rights", XVCPU_SINCE_ALWAYS)                           \
    X(0x4818, GUEST_SS_AR, "Guest SS access rights", XVCPU_SINCE_ALWAYS)                           \
    X(0x481A, GUEST_DS_AR, "Guest DS access rights", XVCPU_SINCE_ALWAYS)                           \
    X(0x481C, GUEST_FS_AR, "Guest FS access rights", XVCPU_SINCE_ALWAYS)                           \
    X(0x481E, GUEST_GS_AR, "Guest GS access rights", XVCPU_SINCE_ALWAYS)                           \
    X(0x4820, GUEST_LDTR_AR, "Guest LDTR access rights", XVCPU_SINCE_ALWAYS)                       \
    X(0x4822, GUEST_TR_AR, "Guest TR access rights", XVCPU_SINCE_ALWAYS)                           \
    X(0x4824, GUEST_INTERRUPTIBILITY, "Guest interruptibility state", XVCPU_SINCE_ALWAYS)          \
    X(0x4826, GUEST_ACTIVITY_STATE, "Guest activity state", XVCPU_SINCE_ALWAYS)                    \
    X(0x4828, GUEST_SMBASE, "Guest SMBASE", XVCPU_SINCE_ALWAYS)                                    \
    X(0x482A, GUEST_SYSENTER_CS, "Guest IA32_SYSENTER_CS", XVCPU_SINCE_ALWAYS)                     \
    X(0x482E, GUEST_PREEMPTION_TIMER, "VMX-preemption timer value",                                \
      XVCPU_SINCE_IF(PIN, PREEMPTION_TIMER))                                                       \
    X(0x4830, GUEST_RSVD_4830, "(undocumented 32-bit guest-state slot)",                           \
      XVCPU_SINCE_DOUBTFUL | XVCPU_SINCE_NEVER)                                                    \
    X(0x4C00, HOST_SYSENTER_CS, "Host IA32_SYSENTER_CS", XVCPU_SINCE_ALWAYS)

#define XVCPU_VMCS_FIELDS_NATURAL(X)                                                               \
    X(0x6000, CTRL_CR0_MASK, "CR0 guest/host mask", XVCPU_SINCE_ALWAYS)                            \
    X(0x6002, CTRL_CR4_MASK, "CR4 guest/host mask", XVCPU_SINCE_ALWAYS)                            \
    X(0x6004, CTRL_CR0_READ_SHADOW, "CR0 read shadow", XVCPU_SINCE_ALWAYS)                         \
    X(0x6006, CTRL_CR4_READ_SHADOW, "CR4 read shadow", XVCPU_SINCE_ALWAYS)                         \
    X(0x6008, CTRL_CR3_TARGET0, "CR3-target value 0", XVCPU_SINCE_CR3_TARGETS(1))                  \
    X(0x600A, CTRL_CR3_TARGET1, "CR3-target value 1", XVCPU_SINCE_CR3_TARGETS(2))                  \
    X(0x600C, CTRL_CR3_TARGET2, "CR3-target value 2", XVCPU_SINCE_CR3_TARGETS(3))                  \
    X(0x600E, CTRL_CR3_TARGET3, "CR3-target value 3", XVCPU_SINCE_CR3_TARGETS(4))                  \
    X(0x6400, EXIT_QUALIFICATION, "Exit qualification", XVCPU_SINCE_ALWAYS)                        \
    X(0x6402, EXIT_IO_RCX, "I/O RCX", XVCPU_SINCE_ALWAYS)                                          \
    X(0x6404, EXIT_IO_RSI, "I/O RSI", XVCPU_SINCE_ALWAYS)                                          \
    X(0x6406, EXIT_IO_RDI, "I/O RDI", XVCPU_SINCE_ALWAYS)                                          \
    X(0x6408, EXIT_IO_RIP, "I/O RIP", XVCPU_SINCE_ALWAYS)                                          \
    X(0x640A, EXIT_GUEST_LINEAR_ADDR, "Guest-linear address", XVCPU_SINCE_ALWAYS)                  \
    X(0x6800, GUEST_CR0, "Guest CR0", XVCPU_SINCE_ALWAYS)                                          \
    X(0x6802, GUEST_CR3, "Guest CR3", XVCPU_SINCE_ALWAYS)                                          \
    X(0x6804, GUEST_CR4, "Guest CR4", XVCPU_SINCE_ALWAYS)                                          \
    X(0x6806, GUEST_ES_BASE, "Guest ES base", XVCPU_SINCE_ALWAYS)                                  \
    X(0x6808, GUEST_CS_BASE, "Guest CS base", XVCPU_SINCE_ALWAYS)                                  \
    X(0x680A, GUEST_SS_BASE, "Guest SS base", XVCPU_SINCE_ALWAYS)                                  \
    X(0x680C, GUEST_DS_BASE, "Guest DS base", XVCPU_SINCE_ALWAYS)                                  \
    X(0x680E, GUEST_FS_BASE, "Guest FS base", XVCPU_SINCE_ALWAYS)                                  \
    X(0x6810, GUEST_GS_BASE, "Guest GS base", XVCPU_SINCE_ALWAYS)                                  \
    X(0x6812, GUEST_LDTR_BASE, "Guest LDTR base", XVCPU_SINCE_ALWAYS)                              \
    X(0x6814, GUEST_TR_BASE, "Guest TR base", XVCPU_SINCE_ALWAYS)                                  \
    X(0x6816, GUEST_GDTR_BASE, "Guest GDTR base", XVCPU_SINCE_ALWAYS)                              \
    X(0x6818, GUEST_IDTR_BASE, "Guest IDTR base", XVCPU_SINCE_ALWAYS)                              \
    X(0x681A, GUEST_DR7, "Guest DR7", XVCPU_SINCE_ALWAYS)                                          \
    X(0x681C, GUEST_RSP, "Guest RSP", XVCPU_SINCE_ALWAYS)                                          \
    X(0x681E, GUEST_RIP, "Guest RIP", XVCPU_SINCE_ALWAYS)                                          \
    X(0x6820, GUEST_RFLAGS, "Guest RFLAGS", XVCPU_SINCE_ALWAYS)                                    \
    X(0x6822, GUEST_PENDING_DBG, "Guest pending debug exceptions", XVCPU_SINCE_ALWAYS)             \
    X(0x6824, GUEST_SYSENTER_ESP, "Guest IA32_SYSENTER_ESP", XVCPU_SINCE_ALWAYS)                   \
    X(0x6826, GUEST_SYSENTER_EIP, "Guest IA32_SYSENTER_EIP", XVCPU_SINCE_ALWAYS)                   \
    X(0x6828, GUEST_S_CET, "Guest IA32_S_CET", XVCPU_SINCE_IF(ENTRY, LOAD_CET))                    \
    X(0x682A, GUEST_SSP, "Guest SSP", XVCPU_SINCE_IF(ENTRY, LOAD_CET))                             \
    X(0x682C, GUEST_INTR_SSP_TABLE, "Guest IA32_INTERRUPT_SSP_TABLE_ADDR",                         \
      XVCPU_SINCE_IF(ENTRY, LOAD_CET))                                                             \
    X(0x6C00, HOST_CR0, "Host CR0", XVCPU_SINCE_ALWAYS)                                            \
    X(0x6C02, HOST_CR3, "Host CR3", XVCPU_SINCE_ALWAYS)                                            \
    X(0x6C04, HOST_CR4, "Host CR4", XVCPU_SINCE_ALWAYS)                                            \
    X(0x6C06, HOST_FS_BASE, "Host FS base", XVCPU_SINCE_ALWAYS)                                    \
    X(0x6C08, HOST_GS_BASE, "Host GS base", XVCPU_SINCE_ALWAYS)                                    \
    X(0x6C0A, HOST_TR_BASE, "Host TR base", XVCPU_SINCE_ALWAYS)                                    \
    X(0x6C0C, HOST_GDTR_BASE, "Host GDTR base", XVCPU_SINCE_ALWAYS)                                \
    X(0x6C0E, HOST_IDTR_BASE, "Host IDTR base", XVCPU_SINCE_ALWAYS)                                \
    X(0x6C10, HOST_SYSENTER_ESP, "Host IA32_SYSENTER_ESP", XVCPU_SINCE_ALWAYS)                     \
    X(0x6C12, HOST_SYSENTER_EIP, "Host IA32_SYSENTER_EIP", XVCPU_SINCE_ALWAYS)                     \
    X(0x6C14, HOST_RSP, "Host RSP", XVCPU_SINCE_ALWAYS)                                            \
    X(0x6C16, HOST_RIP, "Host RIP", XVCPU_SINCE_ALWAYS)                                            \
    X(0x6C18, HOST_S_CET, "Host IA32_S_CET", XVCPU_SINCE_IF(EXIT, LOAD_CET))                       \
    X(0x6C1A, HOST_SSP, "Host SSP", XVCPU_SINCE_IF(EXIT, LOAD_CET))                                \
    X(0x6C1C, HOST_INTR_SSP_TABLE, "Host IA32_INTERRUPT_SSP_TABLE_ADDR",                           \
      XVCPU_SINCE_IF(EXIT, LOAD_CET))

#define XVCPU_VMCS_FIELDS(X)                                                                       \
    XVCPU_VMCS_FIELDS_16(X)                                                                        \
    XVCPU_VMCS_FIELDS_64(X)                                                                        \
    XVCPU_VMCS_FIELDS_32(X)                                                                        \
    XVCPU_VMCS_FIELDS_NATURAL(X)

// XVCPU_VMCS_GUEST_EFER is the whole field in 64-bit mode, XVCPU_VMCS_GUEST_EFER_HIGH its upper
// half: only 64-bit fields have one, and it is derived so that the two cannot drift apart.
enum xvcpu_vmcs_field {
#define XVCPUI_ROW(encoding, name, text, since) XVCPU_VMCS_##name = (encoding),
    XVCPU_VMCS_FIELDS(XVCPUI_ROW)
#undef XVCPUI_ROW
#define XVCPUI_ROW(encoding, name, text, since) XVCPU_VMCS_##name##_HIGH = (encoding) + 1,
    XVCPU_VMCS_FIELDS_64(XVCPUI_ROW)
#undef XVCPUI_ROW
    XVCPU_VMCS_ENCODING_LIMIT = 0x8000 // one more than the largest encoding there can be
};

// Exit reasons. Flags of a row: is the VM-exit instruction length valid (ALWAYS, SOMETIMES, NEVER),
// the class (a fault-like exit happens before the instruction, a trap-like one after it, an event
// between two; after a failed entry the guest never ran), and the layout of the instruction
// information field.
#define XVCPU_REASON_LENGTH_NEVER 0U
#define XVCPU_REASON_LENGTH_SOMETIMES 1U
#define XVCPU_REASON_LENGTH_ALWAYS 2U

#define XVCPU_REASON_CLASS_NONE 0U
#define XVCPU_REASON_CLASS_FAULT 1U
#define XVCPU_REASON_CLASS_TRAP 2U
#define XVCPU_REASON_CLASS_EVENT 3U
#define XVCPU_REASON_CLASS_ENTRY_FAILURE 4U

#define XVCPU_REASON_INFO_NONE 0U
#define XVCPU_REASON_INFO_INS_OUTS 1U
#define XVCPU_REASON_INFO_INVEPT_INVVPID 2U // also INVPCID
#define XVCPU_REASON_INFO_GDTR_IDTR 3U
#define XVCPU_REASON_INFO_LDTR_TR 4U
#define XVCPU_REASON_INFO_RDRAND_RDSEED 5U
#define XVCPU_REASON_INFO_TPAUSE_UMWAIT 6U
#define XVCPU_REASON_INFO_VMX_MEM 7U // VMCLEAR, VMPTRLD, VMPTRST, VMXON, XSAVES, XRSTORS
#define XVCPU_REASON_INFO_VMREAD_VMWRITE 8U
#define XVCPU_REASON_INFO_LOADIWKEY 9U
#define XVCPU_REASON_INFO_IO_FIELDS 10U  // not this field: I/O RCX, RSI, RDI and RIP are valid
#define XVCPU_REASON_INFO_MSR_DATA 11U   // not this field: the MSR-data field holds the value
#define XVCPU_REASON_INFO_UNVERIFIED 12U // no source says

#define XVCPU_REASON(length, class_name, info)                                                     \
    (XVCPU_REASON_LENGTH_##length | (XVCPU_REASON_CLASS_##class_name << 4) |                       \
     (XVCPU_REASON_INFO_##info << 8))
#define XVCPU_REASON_LENGTH(flags) ((flags) & 0xFU)
#define XVCPU_REASON_CLASS(flags) (((flags) >> 4) & 0xFU)
#define XVCPU_REASON_INFO(flags) (((flags) >> 8) & 0xFU)

// X(number, name, text, flags). The rows are numbered without a gap.
#define XVCPU_EXIT_REASONS(X)                                                                      \
    X(0, EXCEPTION_NMI, "Exception or non-maskable interrupt (NMI)",                               \
      XVCPU_REASON(SOMETIMES, FAULT, NONE))                                                        \
    X(1, EXTERNAL_INTERRUPT, "External interrupt", XVCPU_REASON(NEVER, EVENT, NONE))               \
    X(2, TRIPLE_FAULT, "Triple fault", XVCPU_REASON(NEVER, EVENT, NONE))                           \
    X(3, INIT, "INIT signal", XVCPU_REASON(NEVER, EVENT, NONE))                                    \
    X(4, SIPI, "Start-up IPI (SIPI)", XVCPU_REASON(NEVER, EVENT, NONE))                            \
    X(5, IO_SMI, "I/O system-management interrupt (SMI)", XVCPU_REASON(NEVER, EVENT, IO_FIELDS))   \
    X(6, OTHER_SMI, "Other SMI", XVCPU_REASON(NEVER, EVENT, NONE))                                 \
    X(7, INTERRUPT_WINDOW, "Interrupt window", XVCPU_REASON(NEVER, EVENT, NONE))                   \
    X(8, NMI_WINDOW, "NMI window", XVCPU_REASON(NEVER, EVENT, NONE))                               \
    X(9, TASK_SWITCH, "Task switch", XVCPU_REASON(SOMETIMES, FAULT, NONE))                         \
    X(10, CPUID, "CPUID", XVCPU_REASON(ALWAYS, FAULT, NONE))                                       \
    X(11, GETSEC, "GETSEC", XVCPU_REASON(ALWAYS, FAULT, NONE))                                     \
    X(12, HLT, "HLT", XVCPU_REASON(ALWAYS, FAULT, NONE))                                           \
    X(13, INVD, "INVD", XVCPU_REASON(ALWAYS, FAULT, NONE))                                         \
    X(14, INVLPG, "INVLPG", XVCPU_REASON(ALWAYS, FAULT, NONE))                                     \
    X(15, RDPMC, "RDPMC", XVCPU_REASON(ALWAYS, FAULT, NONE))                                       \
    X(16, RDTSC, "RDTSC", XVCPU_REASON(ALWAYS, FAULT, NONE))                                       \
    X(17, RSM, "RSM", XVCPU_REASON(ALWAYS, FAULT, NONE))                                           \
    X(18, VMCALL, "VMCALL", XVCPU_REASON(ALWAYS, FAULT, NONE))                                     \
    X(19, VMCLEAR, "VMCLEAR", XVCPU_REASON(ALWAYS, FAULT, VMX_MEM))                                \
    X(20, VMLAUNCH, "VMLAUNCH", XVCPU_REASON(ALWAYS, FAULT, NONE))                                 \
    X(21, VMPTRLD, "VMPTRLD", XVCPU_REASON(ALWAYS, FAULT, VMX_MEM))                                \
    X(22, VMPTRST, "VMPTRST", XVCPU_REASON(ALWAYS, FAULT, VMX_MEM))                                \
    X(23, VMREAD, "VMREAD", XVCPU_REASON(ALWAYS, FAULT, VMREAD_VMWRITE))                           \
    X(24, VMRESUME, "VMRESUME", XVCPU_REASON(ALWAYS, FAULT, NONE))                                 \
    X(25, VMWRITE, "VMWRITE", XVCPU_REASON(ALWAYS, FAULT, VMREAD_VMWRITE))                         \
    X(26, VMXOFF, "VMXOFF", XVCPU_REASON(ALWAYS, FAULT, NONE))                                     \
    X(27, VMXON, "VMXON", XVCPU_REASON(ALWAYS, FAULT, VMX_MEM))                                    \
    X(28, CR_ACCESS, "Control-register accesses", XVCPU_REASON(ALWAYS, FAULT, NONE))               \
    X(29, MOV_DR, "MOV DR", XVCPU_REASON(ALWAYS, FAULT, NONE))                                     \
    X(30, IO_INSTRUCTION, "I/O instruction", XVCPU_REASON(ALWAYS, FAULT, INS_OUTS))                \
    X(31, RDMSR, "RDMSR", XVCPU_REASON(ALWAYS, FAULT, NONE))                                       \
    X(32, WRMSR, "WRMSR (also WRMSRNS)", XVCPU_REASON(ALWAYS, FAULT, NONE))                        \
    X(33, ENTRY_FAIL_GUEST_STATE, "VM-entry failure due to invalid guest state",                   \
      XVCPU_REASON(NEVER, ENTRY_FAILURE, NONE))                                                    \
    X(34, ENTRY_FAIL_MSR_LOAD, "VM-entry failure due to MSR loading",                              \
      XVCPU_REASON(NEVER, ENTRY_FAILURE, NONE))                                                    \
    X(35, RESERVED_35, "(reserved; not listed by the SDM)", XVCPU_REASON(NEVER, NONE, NONE))       \
    X(36, MWAIT, "MWAIT", XVCPU_REASON(ALWAYS, FAULT, NONE))                                       \
    X(37, MONITOR_TRAP_FLAG, "Monitor trap flag", XVCPU_REASON(NEVER, EVENT, NONE))                \
    X(38, RESERVED_38, "(reserved; not listed by the SDM)", XVCPU_REASON(NEVER, NONE, NONE))       \
    X(39, MONITOR, "MONITOR", XVCPU_REASON(ALWAYS, FAULT, NONE))                                   \
    X(40, PAUSE, "PAUSE", XVCPU_REASON(ALWAYS, FAULT, NONE))                                       \
    X(41, ENTRY_FAIL_MACHINE_CHECK, "VM-entry failure due to machine-check event",                 \
      XVCPU_REASON(NEVER, ENTRY_FAILURE, NONE))                                                    \
    X(42, RESERVED_42, "(reserved; not listed by the SDM)", XVCPU_REASON(NEVER, NONE, NONE))       \
    X(43, TPR_BELOW_THRESHOLD, "TPR below threshold", XVCPU_REASON(NEVER, TRAP, NONE))             \
    X(44, APIC_ACCESS, "APIC access", XVCPU_REASON(SOMETIMES, FAULT, NONE))                        \
    X(45, VIRTUALIZED_EOI, "Virtualized EOI", XVCPU_REASON(NEVER, TRAP, NONE))                     \
    X(46, GDTR_IDTR_ACCESS, "Access to GDTR or IDTR", XVCPU_REASON(ALWAYS, FAULT, GDTR_IDTR))      \
    X(47, LDTR_TR_ACCESS, "Access to LDTR or TR", XVCPU_REASON(ALWAYS, FAULT, LDTR_TR))            \
    X(48, EPT_VIOLATION, "EPT violation", XVCPU_REASON(SOMETIMES, FAULT, NONE))                    \
    X(49, EPT_MISCONFIG, "EPT misconfiguration", XVCPU_REASON(NEVER, FAULT, NONE))                 \
    X(50, INVEPT, "INVEPT", XVCPU_REASON(ALWAYS, FAULT, INVEPT_INVVPID))                           \
    X(51, RDTSCP, "RDTSCP", XVCPU_REASON(ALWAYS, FAULT, NONE))                                     \
    X(52, PREEMPTION_TIMER, "VMX-preemption timer expired", XVCPU_REASON(NEVER, EVENT, NONE))      \
    X(53, INVVPID, "INVVPID", XVCPU_REASON(ALWAYS, FAULT, INVEPT_INVVPID))                         \
    X(54, WBINVD, "WBINVD or WBNOINVD", XVCPU_REASON(ALWAYS, FAULT, NONE))                         \
    X(55, XSETBV, "XSETBV", XVCPU_REASON(ALWAYS, FAULT, NONE))                                     \
    X(56, APIC_WRITE, "APIC write", XVCPU_REASON(NEVER, TRAP, NONE))                               \
    X(57, RDRAND, "RDRAND", XVCPU_REASON(ALWAYS, FAULT, RDRAND_RDSEED))                            \
    X(58, INVPCID, "INVPCID", XVCPU_REASON(ALWAYS, FAULT, INVEPT_INVVPID))                         \
    X(59, VMFUNC, "VMFUNC", XVCPU_REASON(SOMETIMES, FAULT, NONE))                                  \
    X(60, ENCLS, "ENCLS", XVCPU_REASON(ALWAYS, FAULT, NONE))                                       \
    X(61, RDSEED, "RDSEED", XVCPU_REASON(ALWAYS, FAULT, RDRAND_RDSEED))                            \
    X(62, PML_FULL, "Page-modification log full", XVCPU_REASON(SOMETIMES, FAULT, NONE))            \
    X(63, XSAVES, "XSAVES", XVCPU_REASON(ALWAYS, FAULT, VMX_MEM))                                  \
    X(64, XRSTORS, "XRSTORS", XVCPU_REASON(ALWAYS, FAULT, VMX_MEM))                                \
    X(65, PCONFIG, "PCONFIG", XVCPU_REASON(ALWAYS, FAULT, NONE))                                   \
    X(66, SPP_EVENT, "SPP-related event", XVCPU_REASON(SOMETIMES, FAULT, NONE))                    \
    X(67, UMWAIT, "UMWAIT", XVCPU_REASON(ALWAYS, FAULT, TPAUSE_UMWAIT))                            \
    X(68, TPAUSE, "TPAUSE", XVCPU_REASON(ALWAYS, FAULT, TPAUSE_UMWAIT))                            \
    X(69, LOADIWKEY, "LOADIWKEY", XVCPU_REASON(ALWAYS, FAULT, LOADIWKEY))                          \
    X(70, ENCLV, "ENCLV", XVCPU_REASON(SOMETIMES, FAULT, NONE))                                    \
    X(71, RESERVED_71, "(reserved; not listed by the SDM)", XVCPU_REASON(NEVER, NONE, NONE))       \
    X(72, ENQCMD_PASID, "ENQCMD PASID translation failure", XVCPU_REASON(SOMETIMES, FAULT, NONE))  \
    X(73, ENQCMDS_PASID, "ENQCMDS PASID translation failure",                                      \
      XVCPU_REASON(SOMETIMES, FAULT, NONE))                                                        \
    X(74, BUS_LOCK, "Bus lock", XVCPU_REASON(NEVER, TRAP, NONE))                                   \
    X(75, INSTRUCTION_TIMEOUT, "Instruction timeout", XVCPU_REASON(NEVER, EVENT, NONE))            \
    X(76, SEAMCALL, "SEAMCALL", XVCPU_REASON(ALWAYS, FAULT, NONE))                                 \
    X(77, TDCALL, "TDCALL", XVCPU_REASON(ALWAYS, FAULT, NONE))                                     \
    X(78, RDMSRLIST, "RDMSRLIST", XVCPU_REASON(SOMETIMES, FAULT, NONE))                            \
    X(79, WRMSRLIST, "WRMSRLIST", XVCPU_REASON(SOMETIMES, FAULT, MSR_DATA))                        \
    X(80, URDMSR, "URDMSR", XVCPU_REASON(SOMETIMES, FAULT, UNVERIFIED))                            \
    X(81, UWRMSR, "UWRMSR", XVCPU_REASON(SOMETIMES, FAULT, UNVERIFIED))                            \
    X(82, RESERVED_82, "(reserved; not listed)", XVCPU_REASON(NEVER, NONE, NONE))                  \
    X(83, RESERVED_83, "(reserved; not listed)", XVCPU_REASON(NEVER, NONE, NONE))                  \
    X(84, RDMSR_IMM, "RDMSR with immediate index", XVCPU_REASON(SOMETIMES, FAULT, UNVERIFIED))     \
    X(85, WRMSRNS_IMM, "WRMSRNS with immediate index",                                             \
      XVCPU_REASON(SOMETIMES, FAULT, UNVERIFIED))

enum xvcpu_exit_reason {
#define XVCPUI_ROW(number, name, text, flags) XVCPU_EXIT_REASON_##name = (number),
    XVCPU_EXIT_REASONS(XVCPUI_ROW)
#undef XVCPUI_ROW
    XVCPU_EXIT_REASON_COUNT
};

// VM-instruction errors. X(number, name, meaning, hint).
#define XVCPU_INSTRUCTION_ERRORS(X)                                                                \
    X(1, VMCALL_IN_ROOT, "VMCALL executed in VMX root operation",                                  \
      "VMCALL from the host with no dual-monitor SMM support; often a guest hypercall stub run "   \
      "on the host")                                                                               \
    X(2, VMCLEAR_BAD_ADDRESS, "VMCLEAR given an invalid physical address",                         \
      "operand not 4-KByte aligned or beyond the physical-address width")                          \
    X(3, VMCLEAR_VMXON_POINTER, "VMCLEAR given the VMXON pointer",                                 \
      "the VMXON region was passed as a VMCS")                                                     \
    X(4, VMLAUNCH_NOT_CLEAR, "VMLAUNCH with a VMCS whose launch state is not clear",               \
      "second VMLAUNCH without VMCLEAR; use VMRESUME")                                             \
    X(5, VMRESUME_NOT_LAUNCHED, "VMRESUME with a VMCS whose launch state is not launched",         \
      "first entry must be VMLAUNCH; also after VMCLEAR or migration to another CPU")              \
    X(6, VMRESUME_AFTER_VMXOFF,                                                                    \
      "VMRESUME after VMXOFF: VMXOFF and VMXON ran between the launch and the resume",             \
      "older SDMs described it as a corrupted VMCS; launch again after VMCLEAR")                   \
    X(7, ENTRY_BAD_CONTROLS,                                                                       \
      "VM entry with an invalid VM-execution, VM-exit or VM-entry control field",                  \
      "one of the control-field checks failed; may also be reported when host fields are bad "     \
      "too")                                                                                       \
    X(8, ENTRY_BAD_HOST_STATE, "VM entry with an invalid host-state field",                        \
      "one of the host-state checks failed")                                                       \
    X(9, VMPTRLD_BAD_ADDRESS, "VMPTRLD given an invalid physical address",                         \
      "operand not 4-KByte aligned or beyond the physical-address width")                          \
    X(10, VMPTRLD_VMXON_POINTER, "VMPTRLD given the VMXON pointer",                                \
      "the VMXON region was passed as a VMCS")                                                     \
    X(11, VMPTRLD_BAD_REVISION, "VMPTRLD of a region with a wrong VMCS revision identifier",       \
      "first dword must equal IA32_VMX_BASIC[30:0]; bit 31 set without VMCS-shadowing support "    \
      "gives the same error")                                                                      \
    X(12, UNSUPPORTED_FIELD, "VMREAD or VMWRITE of an unsupported VMCS component",                 \
      "encoding not supported on this processor (optional feature) or reserved bits set in the "   \
      "encoding operand")                                                                          \
    X(13, VMWRITE_READ_ONLY, "VMWRITE to a read-only component",                                   \
      "exit-information field written while IA32_VMX_MISC[29]=0")                                  \
    X(15, VMXON_IN_ROOT, "VMXON executed in VMX root operation",                                   \
      "VMX already on for this logical processor")                                                 \
    X(16, ENTRY_BAD_EXECUTIVE_POINTER, "VM entry with an invalid executive-VMCS pointer",          \
      "SMM return: pointer misaligned, too wide, or wrong revision")                               \
    X(17, ENTRY_EXECUTIVE_NOT_LAUNCHED, "VM entry with a non-launched executive VMCS",             \
      "SMM return")                                                                                \
    X(18, ENTRY_EXECUTIVE_NOT_VMXON,                                                               \
      "VM entry with an executive-VMCS pointer that is not the VMXON pointer",                     \
      "deactivating the dual-monitor treatment")                                                   \
    X(19, VMCALL_NOT_CLEAR, "VMCALL with a non-clear VMCS",                                        \
      "activating the dual-monitor treatment")                                                     \
    X(20, VMCALL_BAD_EXIT_CONTROLS, "VMCALL with invalid VM-exit control fields",                  \
      "activating the dual-monitor treatment")                                                     \
    X(22, VMCALL_BAD_MSEG_REVISION, "VMCALL with an incorrect MSEG revision identifier",           \
      "activating the dual-monitor treatment")                                                     \
    X(23, VMXOFF_DUAL_MONITOR, "VMXOFF under dual-monitor treatment of SMIs and SMM",              \
      "turn the treatment off first")                                                              \
    X(24, VMCALL_BAD_SMM_FEATURES, "VMCALL with invalid SMM-monitor features",                     \
      "activating the dual-monitor treatment")                                                     \
    X(25, ENTRY_BAD_EXECUTIVE_CONTROLS,                                                            \
      "VM entry with invalid VM-execution control fields in the executive VMCS",                   \
      "SMM return; used in place of error 7")                                                      \
    X(26, ENTRY_MOV_SS_BLOCKING, "VM entry with events blocked by MOV SS",                         \
      "MOV SS / POP SS directly before VMLAUNCH or VMRESUME")                                      \
    X(28, INVALIDATE_BAD_OPERAND, "Invalid operand to INVEPT or INVVPID",                          \
      "unsupported type, reserved descriptor bits, VPID 0, non-canonical address, or invalid "     \
      "EPTP")

enum xvcpu_instruction_error {
#define XVCPUI_ROW(number, name, meaning, hint) XVCPU_VMX_ERROR_##name = (number),
    XVCPU_INSTRUCTION_ERRORS(XVCPUI_ROW)
#undef XVCPUI_ROW
    XVCPU_VMX_ERROR_LIMIT = 29 // one more than the largest number
};

// MSR indexes. They do not fit an int, so they are no enum. Architectural MSRs keep the IA32_ of
// their names.
// VMX and its switch.
#define XVCPU_MSR_IA32_FEATURE_CONTROL 0x0000003AU
#define XVCPU_MSR_IA32_SMM_MONITOR_CTL 0x0000009BU
#define XVCPU_MSR_IA32_VMX_BASIC 0x00000480U
#define XVCPU_MSR_IA32_VMX_PINBASED_CTLS 0x00000481U
#define XVCPU_MSR_IA32_VMX_PROCBASED_CTLS 0x00000482U
#define XVCPU_MSR_IA32_VMX_EXIT_CTLS 0x00000483U
#define XVCPU_MSR_IA32_VMX_ENTRY_CTLS 0x00000484U
#define XVCPU_MSR_IA32_VMX_MISC 0x00000485U
#define XVCPU_MSR_IA32_VMX_CR0_FIXED0 0x00000486U
#define XVCPU_MSR_IA32_VMX_CR0_FIXED1 0x00000487U
#define XVCPU_MSR_IA32_VMX_CR4_FIXED0 0x00000488U
#define XVCPU_MSR_IA32_VMX_CR4_FIXED1 0x00000489U
#define XVCPU_MSR_IA32_VMX_VMCS_ENUM 0x0000048AU
#define XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2 0x0000048BU
#define XVCPU_MSR_IA32_VMX_EPT_VPID_CAP 0x0000048CU
#define XVCPU_MSR_IA32_VMX_TRUE_PINBASED_CTLS 0x0000048DU
#define XVCPU_MSR_IA32_VMX_TRUE_PROCBASED_CTLS 0x0000048EU
#define XVCPU_MSR_IA32_VMX_TRUE_EXIT_CTLS 0x0000048FU
#define XVCPU_MSR_IA32_VMX_TRUE_ENTRY_CTLS 0x00000490U
#define XVCPU_MSR_IA32_VMX_VMFUNC 0x00000491U
#define XVCPU_MSR_IA32_VMX_PROCBASED_CTLS3 0x00000492U
#define XVCPU_MSR_IA32_VMX_EXIT_CTLS2 0x00000493U

// System calls, segments, paging.
#define XVCPU_MSR_IA32_EFER 0xC0000080U
#define XVCPU_MSR_IA32_STAR 0xC0000081U
#define XVCPU_MSR_IA32_LSTAR 0xC0000082U
#define XVCPU_MSR_IA32_CSTAR 0xC0000083U
#define XVCPU_MSR_IA32_FMASK 0xC0000084U
#define XVCPU_MSR_IA32_FS_BASE 0xC0000100U
#define XVCPU_MSR_IA32_GS_BASE 0xC0000101U
#define XVCPU_MSR_IA32_KERNEL_GS_BASE 0xC0000102U
#define XVCPU_MSR_IA32_TSC_AUX 0xC0000103U
#define XVCPU_MSR_IA32_SYSENTER_CS 0x00000174U
#define XVCPU_MSR_IA32_SYSENTER_ESP 0x00000175U
#define XVCPU_MSR_IA32_SYSENTER_EIP 0x00000176U
#define XVCPU_MSR_IA32_PAT 0x00000277U
#define XVCPU_MSR_IA32_PKRS 0x000006E1U
#define XVCPU_MSR_IA32_XSS 0x00000DA0U
#define XVCPU_MSR_IA32_XFD 0x000001C4U
#define XVCPU_MSR_IA32_XFD_ERR 0x000001C5U

// Time.
#define XVCPU_MSR_IA32_TIME_STAMP_COUNTER 0x00000010U
#define XVCPU_MSR_IA32_TSC_ADJUST 0x0000003BU
#define XVCPU_MSR_IA32_TSC_DEADLINE 0x000006E0U
#define XVCPU_MSR_IA32_MPERF 0x000000E7U
#define XVCPU_MSR_IA32_APERF 0x000000E8U
#define XVCPU_MSR_IA32_UMWAIT_CONTROL 0x000000E1U

// Local APIC.
#define XVCPU_MSR_IA32_APIC_BASE 0x0000001BU
#define XVCPU_MSR_IA32_X2APIC_APICID 0x00000802U
#define XVCPU_MSR_IA32_X2APIC_VERSION 0x00000803U
#define XVCPU_MSR_IA32_X2APIC_TPR 0x00000808U
#define XVCPU_MSR_IA32_X2APIC_PPR 0x0000080AU
#define XVCPU_MSR_IA32_X2APIC_EOI 0x0000080BU
#define XVCPU_MSR_IA32_X2APIC_LDR 0x0000080DU
#define XVCPU_MSR_IA32_X2APIC_SIVR 0x0000080FU
#define XVCPU_MSR_IA32_X2APIC_ISR0 0x00000810U
#define XVCPU_MSR_IA32_X2APIC_TMR0 0x00000818U
#define XVCPU_MSR_IA32_X2APIC_IRR0 0x00000820U
#define XVCPU_MSR_IA32_X2APIC_ESR 0x00000828U
#define XVCPU_MSR_IA32_X2APIC_LVT_CMCI 0x0000082FU
#define XVCPU_MSR_IA32_X2APIC_ICR 0x00000830U
#define XVCPU_MSR_IA32_X2APIC_LVT_TIMER 0x00000832U
#define XVCPU_MSR_IA32_X2APIC_LVT_THERMAL 0x00000833U
#define XVCPU_MSR_IA32_X2APIC_LVT_PMI 0x00000834U
#define XVCPU_MSR_IA32_X2APIC_LVT_LINT0 0x00000835U
#define XVCPU_MSR_IA32_X2APIC_LVT_LINT1 0x00000836U
#define XVCPU_MSR_IA32_X2APIC_LVT_ERROR 0x00000837U
#define XVCPU_MSR_IA32_X2APIC_INIT_COUNT 0x00000838U
#define XVCPU_MSR_IA32_X2APIC_CUR_COUNT 0x00000839U
#define XVCPU_MSR_IA32_X2APIC_DIV_CONF 0x0000083EU
#define XVCPU_MSR_IA32_X2APIC_SELF_IPI 0x0000083FU
#define XVCPU_MSR_X2APIC_FIRST 0x00000800U
#define XVCPU_MSR_X2APIC_LAST 0x000008FFU

// Speculation.
#define XVCPU_MSR_IA32_SPEC_CTRL 0x00000048U
#define XVCPU_MSR_IA32_PRED_CMD 0x00000049U
#define XVCPU_MSR_IA32_CORE_CAPABILITIES 0x000000CFU
#define XVCPU_MSR_IA32_ARCH_CAPABILITIES 0x0000010AU
#define XVCPU_MSR_IA32_FLUSH_CMD 0x0000010BU
#define XVCPU_MSR_IA32_TSX_CTRL 0x00000122U
#define XVCPU_MSR_IA32_MCU_OPT_CTRL 0x00000123U

// Control-flow enforcement, FRED, user interrupts.
#define XVCPU_MSR_IA32_U_CET 0x000006A0U
#define XVCPU_MSR_IA32_S_CET 0x000006A2U
#define XVCPU_MSR_IA32_PL0_SSP 0x000006A4U
#define XVCPU_MSR_IA32_PL1_SSP 0x000006A5U
#define XVCPU_MSR_IA32_PL2_SSP 0x000006A6U
#define XVCPU_MSR_IA32_PL3_SSP 0x000006A7U
#define XVCPU_MSR_IA32_INTERRUPT_SSP_TABLE_ADDR 0x000006A8U
#define XVCPU_MSR_IA32_FRED_RSP0 0x000001CCU
#define XVCPU_MSR_IA32_FRED_RSP1 0x000001CDU
#define XVCPU_MSR_IA32_FRED_RSP2 0x000001CEU
#define XVCPU_MSR_IA32_FRED_RSP3 0x000001CFU
#define XVCPU_MSR_IA32_FRED_STKLVLS 0x000001D0U
#define XVCPU_MSR_IA32_FRED_SSP1 0x000001D1U
#define XVCPU_MSR_IA32_FRED_SSP2 0x000001D2U
#define XVCPU_MSR_IA32_FRED_SSP3 0x000001D3U
#define XVCPU_MSR_IA32_FRED_CONFIG 0x000001D4U
#define XVCPU_MSR_IA32_UINTR_RR 0x00000985U
#define XVCPU_MSR_IA32_UINTR_HANDLER 0x00000986U
#define XVCPU_MSR_IA32_UINTR_STACKADJUST 0x00000987U
#define XVCPU_MSR_IA32_UINTR_MISC 0x00000988U
#define XVCPU_MSR_IA32_UINTR_PD 0x00000989U
#define XVCPU_MSR_IA32_UINTR_TT 0x0000098AU

// Debug, trace, performance.
#define XVCPU_MSR_IA32_DEBUGCTL 0x000001D9U
#define XVCPU_MSR_IA32_RTIT_CTL 0x00000570U
#define XVCPU_MSR_IA32_LBR_CTL 0x000014CEU
#define XVCPU_MSR_IA32_BNDCFGS 0x00000D90U
#define XVCPU_MSR_IA32_PMC0 0x000000C1U
#define XVCPU_MSR_IA32_PERFEVTSEL0 0x00000186U
#define XVCPU_MSR_IA32_PERF_STATUS 0x00000198U
#define XVCPU_MSR_IA32_PERF_CTL 0x00000199U
#define XVCPU_MSR_IA32_FIXED_CTR0 0x00000309U
#define XVCPU_MSR_IA32_PERF_CAPABILITIES 0x00000345U
#define XVCPU_MSR_IA32_FIXED_CTR_CTRL 0x0000038DU
#define XVCPU_MSR_IA32_PERF_GLOBAL_STATUS 0x0000038EU
#define XVCPU_MSR_IA32_PERF_GLOBAL_CTRL 0x0000038FU
#define XVCPU_MSR_IA32_PERF_GLOBAL_OVF_CTRL 0x00000390U
#define XVCPU_MSR_IA32_PEBS_ENABLE 0x000003F1U
#define XVCPU_MSR_IA32_DS_AREA 0x00000600U

// Memory types.
#define XVCPU_MSR_IA32_MTRRCAP 0x000000FEU
#define XVCPU_MSR_IA32_MTRR_PHYSBASE0 0x00000200U
#define XVCPU_MSR_IA32_MTRR_PHYSMASK0 0x00000201U
#define XVCPU_MSR_IA32_MTRR_PHYSBASE1 0x00000202U
#define XVCPU_MSR_IA32_MTRR_PHYSMASK1 0x00000203U
#define XVCPU_MSR_IA32_MTRR_PHYSBASE2 0x00000204U
#define XVCPU_MSR_IA32_MTRR_PHYSMASK2 0x00000205U
#define XVCPU_MSR_IA32_MTRR_PHYSBASE3 0x00000206U
#define XVCPU_MSR_IA32_MTRR_PHYSMASK3 0x00000207U
#define XVCPU_MSR_IA32_MTRR_PHYSBASE4 0x00000208U
#define XVCPU_MSR_IA32_MTRR_PHYSMASK4 0x00000209U
#define XVCPU_MSR_IA32_MTRR_PHYSBASE5 0x0000020AU
#define XVCPU_MSR_IA32_MTRR_PHYSMASK5 0x0000020BU
#define XVCPU_MSR_IA32_MTRR_PHYSBASE6 0x0000020CU
#define XVCPU_MSR_IA32_MTRR_PHYSMASK6 0x0000020DU
#define XVCPU_MSR_IA32_MTRR_PHYSBASE7 0x0000020EU
#define XVCPU_MSR_IA32_MTRR_PHYSMASK7 0x0000020FU
#define XVCPU_MSR_IA32_MTRR_PHYSBASE8 0x00000210U
#define XVCPU_MSR_IA32_MTRR_PHYSMASK8 0x00000211U
#define XVCPU_MSR_IA32_MTRR_PHYSBASE9 0x00000212U
#define XVCPU_MSR_IA32_MTRR_PHYSMASK9 0x00000213U
#define XVCPU_MSR_IA32_MTRR_FIX64K_00000 0x00000250U
#define XVCPU_MSR_IA32_MTRR_FIX16K_80000 0x00000258U
#define XVCPU_MSR_IA32_MTRR_FIX16K_A0000 0x00000259U
#define XVCPU_MSR_IA32_MTRR_FIX4K_C0000 0x00000268U
#define XVCPU_MSR_IA32_MTRR_FIX4K_C8000 0x00000269U
#define XVCPU_MSR_IA32_MTRR_FIX4K_D0000 0x0000026AU
#define XVCPU_MSR_IA32_MTRR_FIX4K_D8000 0x0000026BU
#define XVCPU_MSR_IA32_MTRR_FIX4K_E0000 0x0000026CU
#define XVCPU_MSR_IA32_MTRR_FIX4K_E8000 0x0000026DU
#define XVCPU_MSR_IA32_MTRR_FIX4K_F0000 0x0000026EU
#define XVCPU_MSR_IA32_MTRR_FIX4K_F8000 0x0000026FU
#define XVCPU_MSR_IA32_MTRR_DEF_TYPE 0x000002FFU

// Machine check, thermal, power, platform.
#define XVCPU_MSR_IA32_P5_MC_ADDR 0x00000000U
#define XVCPU_MSR_IA32_P5_MC_TYPE 0x00000001U
#define XVCPU_MSR_IA32_MONITOR_FILTER_SIZE 0x00000006U
#define XVCPU_MSR_IA32_PLATFORM_ID 0x00000017U
#define XVCPU_MSR_IA32_BIOS_UPDT_TRIG 0x00000079U
#define XVCPU_MSR_IA32_BIOS_SIGN_ID 0x0000008BU
#define XVCPU_MSR_IA32_SMBASE 0x0000009EU
#define XVCPU_MSR_PLATFORM_INFO 0x000000CEU
#define XVCPU_MSR_MISC_FEATURES_ENABLES 0x00000140U
#define XVCPU_MSR_IA32_MCG_CAP 0x00000179U
#define XVCPU_MSR_IA32_MCG_STATUS 0x0000017AU
#define XVCPU_MSR_IA32_MCG_CTL 0x0000017BU
#define XVCPU_MSR_IA32_CLOCK_MODULATION 0x0000019AU
#define XVCPU_MSR_IA32_THERM_INTERRUPT 0x0000019BU
#define XVCPU_MSR_IA32_THERM_STATUS 0x0000019CU
#define XVCPU_MSR_IA32_MISC_ENABLE 0x000001A0U
#define XVCPU_MSR_IA32_ENERGY_PERF_BIAS 0x000001B0U
#define XVCPU_MSR_IA32_PACKAGE_THERM_STATUS 0x000001B1U
#define XVCPU_MSR_IA32_PACKAGE_THERM_INTERRUPT 0x000001B2U
#define XVCPU_MSR_IA32_MC0_CTL2 0x00000280U
#define XVCPU_MSR_IA32_MC0_CTL 0x00000400U
#define XVCPU_MSR_IA32_MC0_STATUS 0x00000401U
#define XVCPU_MSR_IA32_MC0_ADDR 0x00000402U
#define XVCPU_MSR_IA32_MC0_MISC 0x00000403U
#define XVCPU_MSR_RAPL_POWER_UNIT 0x00000606U
#define XVCPU_MSR_IA32_PM_ENABLE 0x00000770U
#define XVCPU_MSR_IA32_HWP_CAPABILITIES 0x00000771U
#define XVCPU_MSR_IA32_HWP_REQUEST 0x00000774U
#define XVCPU_MSR_IA32_TME_CAPABILITY 0x00000981U
#define XVCPU_MSR_IA32_TME_ACTIVATE 0x00000982U

// Every MSR above that has a name of its own, for a look-up by number.
#define XVCPU_MSRS(X)                                                                              \
    X(IA32_FEATURE_CONTROL)                                                                        \
    X(IA32_SMM_MONITOR_CTL)                                                                        \
    X(IA32_VMX_BASIC)                                                                              \
    X(IA32_VMX_PINBASED_CTLS)                                                                      \
    X(IA32_VMX_PROCBASED_CTLS)                                                                     \
    X(IA32_VMX_EXIT_CTLS)                                                                          \
    X(IA32_VMX_ENTRY_CTLS)                                                                         \
    X(IA32_VMX_MISC)                                                                               \
    X(IA32_VMX_CR0_FIXED0)                                                                         \
    X(IA32_VMX_CR0_FIXED1)                                                                         \
    X(IA32_VMX_CR4_FIXED0)                                                                         \
    X(IA32_VMX_CR4_FIXED1)                                                                         \
    X(IA32_VMX_VMCS_ENUM)                                                                          \
    X(IA32_VMX_PROCBASED_CTLS2)                                                                    \
    X(IA32_VMX_EPT_VPID_CAP)                                                                       \
    X(IA32_VMX_TRUE_PINBASED_CTLS)                                                                 \
    X(IA32_VMX_TRUE_PROCBASED_CTLS)                                                                \
    X(IA32_VMX_TRUE_EXIT_CTLS)                                                                     \
    X(IA32_VMX_TRUE_ENTRY_CTLS)                                                                    \
    X(IA32_VMX_VMFUNC)                                                                             \
    X(IA32_VMX_PROCBASED_CTLS3)                                                                    \
    X(IA32_VMX_EXIT_CTLS2)                                                                         \
    X(IA32_EFER)                                                                                   \
    X(IA32_STAR)                                                                                   \
    X(IA32_LSTAR)                                                                                  \
    X(IA32_CSTAR)                                                                                  \
    X(IA32_FMASK)                                                                                  \
    X(IA32_FS_BASE)                                                                                \
    X(IA32_GS_BASE)                                                                                \
    X(IA32_KERNEL_GS_BASE)                                                                         \
    X(IA32_TSC_AUX)                                                                                \
    X(IA32_SYSENTER_CS)                                                                            \
    X(IA32_SYSENTER_ESP)                                                                           \
    X(IA32_SYSENTER_EIP)                                                                           \
    X(IA32_PAT)                                                                                    \
    X(IA32_PKRS)                                                                                   \
    X(IA32_XSS)                                                                                    \
    X(IA32_XFD)                                                                                    \
    X(IA32_XFD_ERR)                                                                                \
    X(IA32_TIME_STAMP_COUNTER)                                                                     \
    X(IA32_TSC_ADJUST)                                                                             \
    X(IA32_TSC_DEADLINE)                                                                           \
    X(IA32_MPERF)                                                                                  \
    X(IA32_APERF)                                                                                  \
    X(IA32_UMWAIT_CONTROL)                                                                         \
    X(IA32_APIC_BASE)                                                                              \
    X(IA32_X2APIC_APICID)                                                                          \
    X(IA32_X2APIC_VERSION)                                                                         \
    X(IA32_X2APIC_TPR)                                                                             \
    X(IA32_X2APIC_PPR)                                                                             \
    X(IA32_X2APIC_EOI)                                                                             \
    X(IA32_X2APIC_LDR)                                                                             \
    X(IA32_X2APIC_SIVR)                                                                            \
    X(IA32_X2APIC_ISR0)                                                                            \
    X(IA32_X2APIC_TMR0)                                                                            \
    X(IA32_X2APIC_IRR0)                                                                            \
    X(IA32_X2APIC_ESR)                                                                             \
    X(IA32_X2APIC_LVT_CMCI)                                                                        \
    X(IA32_X2APIC_ICR)                                                                             \
    X(IA32_X2APIC_LVT_TIMER)                                                                       \
    X(IA32_X2APIC_LVT_THERMAL)                                                                     \
    X(IA32_X2APIC_LVT_PMI)                                                                         \
    X(IA32_X2APIC_LVT_LINT0)                                                                       \
    X(IA32_X2APIC_LVT_LINT1)                                                                       \
    X(IA32_X2APIC_LVT_ERROR)                                                                       \
    X(IA32_X2APIC_INIT_COUNT)                                                                      \
    X(IA32_X2APIC_CUR_COUNT)                                                                       \
    X(IA32_X2APIC_DIV_CONF)                                                                        \
    X(IA32_X2APIC_SELF_IPI)                                                                        \
    X(IA32_SPEC_CTRL)                                                                              \
    X(IA32_PRED_CMD)                                                                               \
    X(IA32_CORE_CAPABILITIES)                                                                      \
    X(IA32_ARCH_CAPABILITIES)                                                                      \
    X(IA32_FLUSH_CMD)                                                                              \
    X(IA32_TSX_CTRL)                                                                               \
    X(IA32_MCU_OPT_CTRL)                                                                           \
    X(IA32_U_CET)                                                                                  \
    X(IA32_S_CET)                                                                                  \
    X(IA32_PL0_SSP)                                                                                \
    X(IA32_PL1_SSP)                                                                                \
    X(IA32_PL2_SSP)                                                                                \
    X(IA32_PL3_SSP)                                                                                \
    X(IA32_INTERRUPT_SSP_TABLE_ADDR)                                                               \
    X(IA32_FRED_RSP0)                                                                              \
    X(IA32_FRED_RSP1)                                                                              \
    X(IA32_FRED_RSP2)                                                                              \
    X(IA32_FRED_RSP3)                                                                              \
    X(IA32_FRED_STKLVLS)                                                                           \
    X(IA32_FRED_SSP1)                                                                              \
    X(IA32_FRED_SSP2)                                                                              \
    X(IA32_FRED_SSP3)                                                                              \
    X(IA32_FRED_CONFIG)                                                                            \
    X(IA32_UINTR_RR)                                                                               \
    X(IA32_UINTR_HANDLER)                                                                          \
    X(IA32_UINTR_STACKADJUST)                                                                      \
    X(IA32_UINTR_MISC)                                                                             \
    X(IA32_UINTR_PD)                                                                               \
    X(IA32_UINTR_TT)                                                                               \
    X(IA32_DEBUGCTL)                                                                               \
    X(IA32_RTIT_CTL)                                                                               \
    X(IA32_LBR_CTL)                                                                                \
    X(IA32_BNDCFGS)                                                                                \
    X(IA32_PMC0)                                                                                   \
    X(IA32_PERFEVTSEL0)                                                                            \
    X(IA32_PERF_STATUS)                                                                            \
    X(IA32_PERF_CTL)                                                                               \
    X(IA32_FIXED_CTR0)                                                                             \
    X(IA32_PERF_CAPABILITIES)                                                                      \
    X(IA32_FIXED_CTR_CTRL)                                                                         \
    X(IA32_PERF_GLOBAL_STATUS)                                                                     \
    X(IA32_PERF_GLOBAL_CTRL)                                                                       \
    X(IA32_PERF_GLOBAL_OVF_CTRL)                                                                   \
    X(IA32_PEBS_ENABLE)                                                                            \
    X(IA32_DS_AREA)                                                                                \
    X(IA32_MTRRCAP)                                                                                \
    X(IA32_MTRR_PHYSBASE0)                                                                         \
    X(IA32_MTRR_PHYSMASK0)                                                                         \
    X(IA32_MTRR_PHYSBASE1)                                                                         \
    X(IA32_MTRR_PHYSMASK1)                                                                         \
    X(IA32_MTRR_PHYSBASE2)                                                                         \
    X(IA32_MTRR_PHYSMASK2)                                                                         \
    X(IA32_MTRR_PHYSBASE3)                                                                         \
    X(IA32_MTRR_PHYSMASK3)                                                                         \
    X(IA32_MTRR_PHYSBASE4)                                                                         \
    X(IA32_MTRR_PHYSMASK4)                                                                         \
    X(IA32_MTRR_PHYSBASE5)                                                                         \
    X(IA32_MTRR_PHYSMASK5)                                                                         \
    X(IA32_MTRR_PHYSBASE6)                                                                         \
    X(IA32_MTRR_PHYSMASK6)                                                                         \
    X(IA32_MTRR_PHYSBASE7)                                                                         \
    X(IA32_MTRR_PHYSMASK7)                                                                         \
    X(IA32_MTRR_PHYSBASE8)                                                                         \
    X(IA32_MTRR_PHYSMASK8)                                                                         \
    X(IA32_MTRR_PHYSBASE9)                                                                         \
    X(IA32_MTRR_PHYSMASK9)                                                                         \
    X(IA32_MTRR_FIX64K_00000)                                                                      \
    X(IA32_MTRR_FIX16K_80000)                                                                      \
    X(IA32_MTRR_FIX16K_A0000)                                                                      \
    X(IA32_MTRR_FIX4K_C0000)                                                                       \
    X(IA32_MTRR_FIX4K_C8000)                                                                       \
    X(IA32_MTRR_FIX4K_D0000)                                                                       \
    X(IA32_MTRR_FIX4K_D8000)                                                                       \
    X(IA32_MTRR_FIX4K_E0000)                                                                       \
    X(IA32_MTRR_FIX4K_E8000)                                                                       \
    X(IA32_MTRR_FIX4K_F0000)                                                                       \
    X(IA32_MTRR_FIX4K_F8000)                                                                       \
    X(IA32_MTRR_DEF_TYPE)                                                                          \
    X(IA32_P5_MC_ADDR)                                                                             \
    X(IA32_P5_MC_TYPE)                                                                             \
    X(IA32_MONITOR_FILTER_SIZE)                                                                    \
    X(IA32_PLATFORM_ID)                                                                            \
    X(IA32_BIOS_UPDT_TRIG)                                                                         \
    X(IA32_BIOS_SIGN_ID)                                                                           \
    X(IA32_SMBASE)                                                                                 \
    X(PLATFORM_INFO)                                                                               \
    X(MISC_FEATURES_ENABLES)                                                                       \
    X(IA32_MCG_CAP)                                                                                \
    X(IA32_MCG_STATUS)                                                                             \
    X(IA32_MCG_CTL)                                                                                \
    X(IA32_CLOCK_MODULATION)                                                                       \
    X(IA32_THERM_INTERRUPT)                                                                        \
    X(IA32_THERM_STATUS)                                                                           \
    X(IA32_MISC_ENABLE)                                                                            \
    X(IA32_ENERGY_PERF_BIAS)                                                                       \
    X(IA32_PACKAGE_THERM_STATUS)                                                                   \
    X(IA32_PACKAGE_THERM_INTERRUPT)                                                                \
    X(IA32_MC0_CTL2)                                                                               \
    X(IA32_MC0_CTL)                                                                                \
    X(IA32_MC0_STATUS)                                                                             \
    X(IA32_MC0_ADDR)                                                                               \
    X(IA32_MC0_MISC)                                                                               \
    X(RAPL_POWER_UNIT)                                                                             \
    X(IA32_PM_ENABLE)                                                                              \
    X(IA32_HWP_CAPABILITIES)                                                                       \
    X(IA32_HWP_REQUEST)                                                                            \
    X(IA32_TME_CAPABILITY)                                                                         \
    X(IA32_TME_ACTIVATE)

// Numbered families. Ask IA32_MTRRCAP and IA32_MCG_CAP how many there are.
#define XVCPU_MSR_IA32_MTRR_PHYSBASE(n) (XVCPU_MSR_IA32_MTRR_PHYSBASE0 + 2U * (xvcpu_u32)(n))
#define XVCPU_MSR_IA32_MTRR_PHYSMASK(n) (XVCPU_MSR_IA32_MTRR_PHYSMASK0 + 2U * (xvcpu_u32)(n))
#define XVCPU_MSR_IA32_MC_FIRST XVCPU_MSR_IA32_MC0_CTL
#define XVCPU_MSR_IA32_MC_LAST 0x0000047FU
#define XVCPU_MSR_IA32_MC_CTL(n) (XVCPU_MSR_IA32_MC0_CTL + 4U * (xvcpu_u32)(n))
#define XVCPU_MSR_IA32_MC_STATUS(n) (XVCPU_MSR_IA32_MC0_STATUS + 4U * (xvcpu_u32)(n))
#define XVCPU_MSR_IA32_MC_ADDR(n) (XVCPU_MSR_IA32_MC0_ADDR + 4U * (xvcpu_u32)(n))
#define XVCPU_MSR_IA32_MC_MISC(n) (XVCPU_MSR_IA32_MC0_MISC + 4U * (xvcpu_u32)(n))

// The two ranges that an MSR bitmap covers, and where its four parts are (byte offsets). Every
// other MSR always exits.
#define XVCPU_MSR_BITMAP_LOW_LAST 0x00001FFFU
#define XVCPU_MSR_BITMAP_HIGH_FIRST 0xC0000000U
#define XVCPU_MSR_BITMAP_HIGH_LAST 0xC0001FFFU
#define XVCPU_MSR_BITMAP_READ_LOW_OFFSET 0
#define XVCPU_MSR_BITMAP_READ_HIGH_OFFSET 1024
#define XVCPU_MSR_BITMAP_WRITE_LOW_OFFSET 2048
#define XVCPU_MSR_BITMAP_WRITE_HIGH_OFFSET 3072

// VMX capability MSRs.
#define XVCPU_VMX_BASIC_REVISION_SHIFT 0
#define XVCPU_VMX_BASIC_REVISION_MASK XVCPU_BITS64(30, 0)
#define XVCPU_VMX_BASIC_REGION_SIZE_SHIFT 32 // bytes of a VMXON or VMCS region, 1..4096
#define XVCPU_VMX_BASIC_REGION_SIZE_MASK XVCPU_BITS64(44, 32)
#define XVCPU_VMX_BASIC_ADDRESS_32BIT XVCPU_BIT64(48)
#define XVCPU_VMX_BASIC_DUAL_MONITOR XVCPU_BIT64(49)
#define XVCPU_VMX_BASIC_MEMORY_TYPE_SHIFT 50 // XVCPU_MEMORY_TYPE_*
#define XVCPU_VMX_BASIC_MEMORY_TYPE_MASK XVCPU_BITS64(53, 50)
#define XVCPU_VMX_BASIC_INS_OUTS_INFO XVCPU_BIT64(54)
#define XVCPU_VMX_BASIC_TRUE_CONTROLS XVCPU_BIT64(55)
#define XVCPU_VMX_BASIC_ANY_ERROR_CODE XVCPU_BIT64(56) // injection: error code is optional
#define XVCPU_VMX_BASIC_NESTED_EXCEPTION XVCPU_BIT64(58)

// IA32_VMX_*_CTLS of the 32-bit control words.
#define XVCPU_VMX_CTLS_MUST_BE_1_SHIFT 0
#define XVCPU_VMX_CTLS_MUST_BE_1_MASK XVCPU_BITS64(31, 0)
#define XVCPU_VMX_CTLS_MAY_BE_1_SHIFT 32
#define XVCPU_VMX_CTLS_MAY_BE_1_MASK XVCPU_BITS64(63, 32)

#define XVCPU_VMX_MISC_TIMER_RATE_SHIFT 0 // the preemption timer counts when this TSC bit toggles
#define XVCPU_VMX_MISC_TIMER_RATE_MASK XVCPU_BITS64(4, 0)
#define XVCPU_VMX_MISC_SAVES_LMA XVCPU_BIT64(5)
#define XVCPU_VMX_MISC_ACTIVITY_HLT XVCPU_BIT64(6)
#define XVCPU_VMX_MISC_ACTIVITY_SHUTDOWN XVCPU_BIT64(7)
#define XVCPU_VMX_MISC_ACTIVITY_WAIT_FOR_SIPI XVCPU_BIT64(8)
#define XVCPU_VMX_MISC_INTEL_PT XVCPU_BIT64(14)
#define XVCPU_VMX_MISC_RDMSR_SMBASE XVCPU_BIT64(15)
#define XVCPU_VMX_MISC_CR3_TARGETS_SHIFT 16
#define XVCPU_VMX_MISC_CR3_TARGETS_MASK XVCPU_BITS64(24, 16)
#define XVCPU_VMX_MISC_MSR_LIST_MAX_SHIFT 25 // N: at most 512 * (N + 1) entries
#define XVCPU_VMX_MISC_MSR_LIST_MAX_MASK XVCPU_BITS64(27, 25)
#define XVCPU_VMX_MISC_SMM_MONITOR_CTL_BIT2 XVCPU_BIT64(28)
#define XVCPU_VMX_MISC_VMWRITE_ALL XVCPU_BIT64(29) // VMWRITE may write read-only fields
#define XVCPU_VMX_MISC_ZERO_LENGTH_INJECTION XVCPU_BIT64(30)
#define XVCPU_VMX_MISC_MSEG_REVISION_SHIFT 32
#define XVCPU_VMX_MISC_MSEG_REVISION_MASK XVCPU_BITS64(63, 32)

#define XVCPU_VMX_VMCS_ENUM_MAX_INDEX_SHIFT 1
#define XVCPU_VMX_VMCS_ENUM_MAX_INDEX_MASK XVCPU_BITS64(9, 1)

#define XVCPU_VMX_EPT_VPID_CAP_EXECUTE_ONLY XVCPU_BIT64(0)
#define XVCPU_VMX_EPT_VPID_CAP_WALK_4 XVCPU_BIT64(6)
#define XVCPU_VMX_EPT_VPID_CAP_WALK_5 XVCPU_BIT64(7)
#define XVCPU_VMX_EPT_VPID_CAP_MEMORY_UC XVCPU_BIT64(8)
#define XVCPU_VMX_EPT_VPID_CAP_MEMORY_WB XVCPU_BIT64(14)
#define XVCPU_VMX_EPT_VPID_CAP_PAGE_2M XVCPU_BIT64(16)
#define XVCPU_VMX_EPT_VPID_CAP_PAGE_1G XVCPU_BIT64(17)
#define XVCPU_VMX_EPT_VPID_CAP_INVEPT XVCPU_BIT64(20)
#define XVCPU_VMX_EPT_VPID_CAP_ACCESSED_DIRTY XVCPU_BIT64(21)
#define XVCPU_VMX_EPT_VPID_CAP_ADVANCED_EXIT_INFO XVCPU_BIT64(22)
#define XVCPU_VMX_EPT_VPID_CAP_SUPERVISOR_SHADOW_STACK XVCPU_BIT64(23)
#define XVCPU_VMX_EPT_VPID_CAP_INVEPT_SINGLE XVCPU_BIT64(25)
#define XVCPU_VMX_EPT_VPID_CAP_INVEPT_ALL XVCPU_BIT64(26)
#define XVCPU_VMX_EPT_VPID_CAP_INVVPID XVCPU_BIT64(32)
#define XVCPU_VMX_EPT_VPID_CAP_INVVPID_ADDRESS XVCPU_BIT64(40)
#define XVCPU_VMX_EPT_VPID_CAP_INVVPID_SINGLE XVCPU_BIT64(41)
#define XVCPU_VMX_EPT_VPID_CAP_INVVPID_ALL XVCPU_BIT64(42)
#define XVCPU_VMX_EPT_VPID_CAP_INVVPID_SINGLE_GLOBALS XVCPU_BIT64(43)
#define XVCPU_VMX_EPT_VPID_CAP_HLAT_PREFIX_MAX_SHIFT 48
#define XVCPU_VMX_EPT_VPID_CAP_HLAT_PREFIX_MAX_MASK XVCPU_BITS64(53, 48)

#define XVCPU_VMX_VMFUNC_EPTP_SWITCHING XVCPU_BIT64(0)

#define XVCPU_FEATURE_CONTROL_LOCK XVCPU_BIT64(0) // VMXON needs it; later writes fault
#define XVCPU_FEATURE_CONTROL_VMX_IN_SMX XVCPU_BIT64(1)
#define XVCPU_FEATURE_CONTROL_VMX_OUTSIDE_SMX XVCPU_BIT64(2)
#define XVCPU_FEATURE_CONTROL_SENTER_LOCAL_SHIFT 8
#define XVCPU_FEATURE_CONTROL_SENTER_LOCAL_MASK XVCPU_BITS64(14, 8)
#define XVCPU_FEATURE_CONTROL_SENTER_GLOBAL XVCPU_BIT64(15)
#define XVCPU_FEATURE_CONTROL_SGX_LAUNCH_CONTROL XVCPU_BIT64(17)
#define XVCPU_FEATURE_CONTROL_SGX XVCPU_BIT64(18)
#define XVCPU_FEATURE_CONTROL_LMCE XVCPU_BIT64(20)

#define XVCPU_SMM_MONITOR_CTL_VALID XVCPU_BIT64(0)
#define XVCPU_SMM_MONITOR_CTL_SMI_UNBLOCKING XVCPU_BIT64(2)
#define XVCPU_SMM_MONITOR_CTL_MSEG_BASE_SHIFT 12
#define XVCPU_SMM_MONITOR_CTL_MSEG_BASE_MASK XVCPU_BITS64(31, 12)

// Other MSRs.
#define XVCPU_EFER_SCE XVCPU_BIT64(0)
#define XVCPU_EFER_LME XVCPU_BIT64(8)
#define XVCPU_EFER_LMA XVCPU_BIT64(10)
#define XVCPU_EFER_NXE XVCPU_BIT64(11)

#define XVCPU_STAR_LEGACY_EIP_SHIFT 0 // reserved on Intel processors
#define XVCPU_STAR_LEGACY_EIP_MASK XVCPU_BITS64(31, 0)
#define XVCPU_STAR_SYSCALL_CS_SHIFT 32
#define XVCPU_STAR_SYSCALL_CS_MASK XVCPU_BITS64(47, 32)
#define XVCPU_STAR_SYSRET_CS_SHIFT 48
#define XVCPU_STAR_SYSRET_CS_MASK XVCPU_BITS64(63, 48)

#define XVCPU_FMASK_RFLAGS_SHIFT 0
#define XVCPU_FMASK_RFLAGS_MASK XVCPU_BITS64(31, 0)
#define XVCPU_TSC_AUX_VALUE_SHIFT 0
#define XVCPU_TSC_AUX_VALUE_MASK XVCPU_BITS64(31, 0)
#define XVCPU_SYSENTER_CS_VALUE_SHIFT 0
#define XVCPU_SYSENTER_CS_VALUE_MASK XVCPU_BITS64(31, 0)
#define XVCPU_PKRS_RIGHTS_SHIFT 0
#define XVCPU_PKRS_RIGHTS_MASK XVCPU_BITS64(31, 0)
#define XVCPU_SMBASE_ADDRESS_SHIFT 0
#define XVCPU_SMBASE_ADDRESS_MASK XVCPU_BITS64(31, 0)
#define XVCPU_BIOS_SIGN_ID_REVISION_SHIFT 32
#define XVCPU_BIOS_SIGN_ID_REVISION_MASK XVCPU_BITS64(63, 32)
#define XVCPU_UMWAIT_CONTROL_LIMITS_SHIFT 0
#define XVCPU_UMWAIT_CONTROL_LIMITS_MASK XVCPU_BITS64(31, 0)
#define XVCPU_UMWAIT_CONTROL_C02_DISABLE XVCPU_BIT64(0)
#define XVCPU_UMWAIT_CONTROL_MAX_TIME_SHIFT 2
#define XVCPU_UMWAIT_CONTROL_MAX_TIME_MASK XVCPU_BITS64(31, 2)

#define XVCPU_DEBUGCTL_LBR XVCPU_BIT64(0)
#define XVCPU_DEBUGCTL_BTF XVCPU_BIT64(1)
#define XVCPU_DEBUGCTL_BUS_LOCK_DETECT XVCPU_BIT64(2)
#define XVCPU_DEBUGCTL_TR XVCPU_BIT64(6)
#define XVCPU_DEBUGCTL_BTS XVCPU_BIT64(7)
#define XVCPU_DEBUGCTL_BTINT XVCPU_BIT64(8)
#define XVCPU_DEBUGCTL_BTS_OFF_OS XVCPU_BIT64(9)
#define XVCPU_DEBUGCTL_BTS_OFF_USR XVCPU_BIT64(10)
#define XVCPU_DEBUGCTL_FREEZE_LBRS_ON_PMI XVCPU_BIT64(11)
#define XVCPU_DEBUGCTL_FREEZE_PERFMON_ON_PMI XVCPU_BIT64(12)
#define XVCPU_DEBUGCTL_UNCORE_PMI XVCPU_BIT64(13)
#define XVCPU_DEBUGCTL_FREEZE_WHILE_SMM XVCPU_BIT64(14)
#define XVCPU_DEBUGCTL_RTM XVCPU_BIT64(15)

#define XVCPU_SPEC_CTRL_IBRS XVCPU_BIT64(0)
#define XVCPU_SPEC_CTRL_STIBP XVCPU_BIT64(1)
#define XVCPU_SPEC_CTRL_SSBD XVCPU_BIT64(2)
#define XVCPU_SPEC_CTRL_IPRED_DIS_U XVCPU_BIT64(3)
#define XVCPU_SPEC_CTRL_IPRED_DIS_S XVCPU_BIT64(4)
#define XVCPU_SPEC_CTRL_RRSBA_DIS_U XVCPU_BIT64(5)
#define XVCPU_SPEC_CTRL_RRSBA_DIS_S XVCPU_BIT64(6)
#define XVCPU_SPEC_CTRL_PSFD XVCPU_BIT64(7)
#define XVCPU_SPEC_CTRL_DDPD_U XVCPU_BIT64(8)
#define XVCPU_SPEC_CTRL_BHI_DIS_S XVCPU_BIT64(10)

#define XVCPU_PRED_CMD_IBPB XVCPU_BIT64(0)
#define XVCPU_FLUSH_CMD_L1D XVCPU_BIT64(0)

#define XVCPU_ARCH_CAPABILITIES_RDCL_NO XVCPU_BIT64(0)
#define XVCPU_ARCH_CAPABILITIES_IBRS_ALL XVCPU_BIT64(1)
#define XVCPU_ARCH_CAPABILITIES_RSBA XVCPU_BIT64(2)
#define XVCPU_ARCH_CAPABILITIES_SKIP_L1DFL_VMENTRY XVCPU_BIT64(3)
#define XVCPU_ARCH_CAPABILITIES_SSB_NO XVCPU_BIT64(4)
#define XVCPU_ARCH_CAPABILITIES_MDS_NO XVCPU_BIT64(5)
#define XVCPU_ARCH_CAPABILITIES_IF_PSCHANGE_MC_NO XVCPU_BIT64(6)
#define XVCPU_ARCH_CAPABILITIES_TSX_CTRL XVCPU_BIT64(7)
#define XVCPU_ARCH_CAPABILITIES_TAA_NO XVCPU_BIT64(8)
#define XVCPU_ARCH_CAPABILITIES_FB_CLEAR XVCPU_BIT64(17)
#define XVCPU_ARCH_CAPABILITIES_RRSBA XVCPU_BIT64(19)
#define XVCPU_ARCH_CAPABILITIES_BHI_NO XVCPU_BIT64(20)
#define XVCPU_ARCH_CAPABILITIES_PBRSB_NO XVCPU_BIT64(24)
#define XVCPU_ARCH_CAPABILITIES_GDS_NO XVCPU_BIT64(26)
#define XVCPU_ARCH_CAPABILITIES_RFDS_NO XVCPU_BIT64(27)
#define XVCPU_ARCH_CAPABILITIES_RFDS_CLEAR XVCPU_BIT64(28)

// IA32_U_CET and IA32_S_CET.
#define XVCPU_CET_SH_STK_EN XVCPU_BIT64(0)
#define XVCPU_CET_WR_SHSTK_EN XVCPU_BIT64(1)
#define XVCPU_CET_ENDBR_EN XVCPU_BIT64(2)
#define XVCPU_CET_LEG_IW_EN XVCPU_BIT64(3)
#define XVCPU_CET_NO_TRACK_EN XVCPU_BIT64(4)
#define XVCPU_CET_SUPPRESS_DIS XVCPU_BIT64(5)
#define XVCPU_CET_SUPPRESS XVCPU_BIT64(10)
#define XVCPU_CET_TRACKER XVCPU_BIT64(11)
#define XVCPU_CET_BITMAP_BASE_SHIFT 12
#define XVCPU_CET_BITMAP_BASE_MASK XVCPU_BITS64(63, 12)

#define XVCPU_FRED_RSP_ADDRESS_SHIFT 6
#define XVCPU_FRED_RSP_ADDRESS_MASK XVCPU_BITS64(63, 6)
#define XVCPU_FRED_SSP_ADDRESS_SHIFT 3
#define XVCPU_FRED_SSP_ADDRESS_MASK XVCPU_BITS64(63, 3)
#define XVCPU_FRED_CONFIG_LEVEL_SHIFT 0
#define XVCPU_FRED_CONFIG_LEVEL_MASK XVCPU_BITS64(1, 0)
#define XVCPU_FRED_CONFIG_DECREMENT_SSP XVCPU_BIT64(3)
#define XVCPU_FRED_CONFIG_STACK_DECREMENT_SHIFT 6 // in units of 64 bytes
#define XVCPU_FRED_CONFIG_STACK_DECREMENT_MASK XVCPU_BITS64(8, 6)
#define XVCPU_FRED_CONFIG_INTERRUPT_LEVEL_SHIFT 9
#define XVCPU_FRED_CONFIG_INTERRUPT_LEVEL_MASK XVCPU_BITS64(10, 9)
#define XVCPU_FRED_CONFIG_HANDLERS_SHIFT 12
#define XVCPU_FRED_CONFIG_HANDLERS_MASK XVCPU_BITS64(63, 12)

#define XVCPU_RTIT_CTL_TRACE_EN XVCPU_BIT64(0)
#define XVCPU_LBR_CTL_LBR_EN XVCPU_BIT64(0)
#define XVCPU_LBR_CTL_OS XVCPU_BIT64(1)
#define XVCPU_LBR_CTL_USR XVCPU_BIT64(2)
#define XVCPU_LBR_CTL_CALL_STACK XVCPU_BIT64(3)
#define XVCPU_LBR_CTL_FILTER_SHIFT 16
#define XVCPU_LBR_CTL_FILTER_MASK XVCPU_BITS64(22, 16)
#define XVCPU_BNDCFGS_ENABLE XVCPU_BIT64(0)
#define XVCPU_BNDCFGS_PRESERVE XVCPU_BIT64(1)
#define XVCPU_BNDCFGS_BASE_SHIFT 12
#define XVCPU_BNDCFGS_BASE_MASK XVCPU_BITS64(63, 12)

#define XVCPU_APIC_BASE_BSP XVCPU_BIT64(8)
#define XVCPU_APIC_BASE_X2APIC XVCPU_BIT64(10)
#define XVCPU_APIC_BASE_ENABLE XVCPU_BIT64(11)
#define XVCPU_APIC_BASE_ADDRESS_SHIFT 12 // further limited by MAXPHYADDR
#define XVCPU_APIC_BASE_ADDRESS_MASK XVCPU_BITS64(51, 12)

#define XVCPU_MISC_ENABLE_FAST_STRING XVCPU_BIT64(0)
#define XVCPU_MISC_ENABLE_EMON XVCPU_BIT64(7)
#define XVCPU_MISC_ENABLE_BTS_UNAVAILABLE XVCPU_BIT64(11)
#define XVCPU_MISC_ENABLE_PEBS_UNAVAILABLE XVCPU_BIT64(12)
#define XVCPU_MISC_ENABLE_EIST XVCPU_BIT64(16)
#define XVCPU_MISC_ENABLE_MONITOR XVCPU_BIT64(18)
#define XVCPU_MISC_ENABLE_LIMIT_CPUID_MAXVAL XVCPU_BIT64(22)
#define XVCPU_MISC_ENABLE_XTPR_DISABLE XVCPU_BIT64(23)
#define XVCPU_MISC_ENABLE_XD_DISABLE XVCPU_BIT64(34)

#define XVCPU_TME_ACTIVATE_LOCK XVCPU_BIT64(0)
#define XVCPU_TME_ACTIVATE_ENABLE XVCPU_BIT64(1)
#define XVCPU_TME_ACTIVATE_KEYID_BITS_SHIFT 32
#define XVCPU_TME_ACTIVATE_KEYID_BITS_MASK XVCPU_BITS64(35, 32)
#define XVCPU_TME_ACTIVATE_TDX_KEYID_BITS_SHIFT 36 // shorten physical addresses
#define XVCPU_TME_ACTIVATE_TDX_KEYID_BITS_MASK XVCPU_BITS64(39, 36)

#define XVCPU_MTRRCAP_VCNT_SHIFT 0
#define XVCPU_MTRRCAP_VCNT_MASK XVCPU_BITS64(7, 0)
#define XVCPU_MTRRCAP_FIX XVCPU_BIT64(8)
#define XVCPU_MTRRCAP_WC XVCPU_BIT64(10)
#define XVCPU_MTRRCAP_SMRR XVCPU_BIT64(11)
#define XVCPU_MTRR_DEF_TYPE_TYPE_SHIFT 0
#define XVCPU_MTRR_DEF_TYPE_TYPE_MASK XVCPU_BITS64(7, 0)
#define XVCPU_MTRR_DEF_TYPE_FIXED_ENABLE XVCPU_BIT64(10)
#define XVCPU_MTRR_DEF_TYPE_ENABLE XVCPU_BIT64(11)
#define XVCPU_MTRR_PHYSBASE_TYPE_SHIFT 0
#define XVCPU_MTRR_PHYSBASE_TYPE_MASK XVCPU_BITS64(7, 0)
#define XVCPU_MTRR_PHYSBASE_ADDRESS_SHIFT 12
#define XVCPU_MTRR_PHYSBASE_ADDRESS_MASK XVCPU_BITS64(51, 12)
#define XVCPU_MTRR_PHYSMASK_VALID XVCPU_BIT64(11)
#define XVCPU_MTRR_PHYSMASK_ADDRESS_SHIFT 12
#define XVCPU_MTRR_PHYSMASK_ADDRESS_MASK XVCPU_BITS64(51, 12)
#define XVCPU_MCG_CAP_COUNT_SHIFT 0
#define XVCPU_MCG_CAP_COUNT_MASK XVCPU_BITS64(7, 0)
#define XVCPU_MCG_CAP_CTL_P XVCPU_BIT64(8)

// Memory types: PAT bytes, MTRRs, EPT entries, IA32_VMX_BASIC.
#define XVCPU_MEMORY_TYPE_UC 0
#define XVCPU_MEMORY_TYPE_WC 1
#define XVCPU_MEMORY_TYPE_WT 4
#define XVCPU_MEMORY_TYPE_WP 5
#define XVCPU_MEMORY_TYPE_WB 6
#define XVCPU_MEMORY_TYPE_UC_MINUS 7 // PAT only
// IA32_PAT after reset: WB WT UC- UC, twice.
#define XVCPU_PAT_RESET ((xvcpu_u64)0x0007040600070406U)
// The byte of entry n (0..7).
#define XVCPU_PAT_ENTRY_SHIFT(n) (8 * (n))
#define XVCPU_PAT_ENTRY_MASK(n) ((xvcpu_u64)0xFF << XVCPU_PAT_ENTRY_SHIFT(n))

// VMXON and VMCS region: byte offsets. Bit 31 of the revision marks a shadow VMCS.
#define XVCPU_VMCS_REGION_REVISION_OFFSET 0
#define XVCPU_VMCS_REGION_ABORT_OFFSET 4
#define XVCPU_VMCS_REGION_SHADOW XVCPU_BIT64(31)

// VMX-abort indicator.
#define XVCPU_VMX_ABORT_GUEST_MSR_SAVE 1
#define XVCPU_VMX_ABORT_HOST_PDPTE 2
#define XVCPU_VMX_ABORT_VMCS_CORRUPT 3
#define XVCPU_VMX_ABORT_HOST_MSR_LOAD 4
#define XVCPU_VMX_ABORT_MACHINE_CHECK 5
#define XVCPU_VMX_ABORT_HOST_ADDRESS_SIZE 6

// Entry of a VM-entry or VM-exit MSR list: byte offsets and size. The list is 16-byte aligned.
#define XVCPU_MSR_AREA_INDEX_OFFSET 0
#define XVCPU_MSR_AREA_RESERVED_OFFSET 4
#define XVCPU_MSR_AREA_DATA_OFFSET 8
#define XVCPU_MSR_AREA_ENTRY_SIZE 16

// Exit-reason field, beside the basic reason.
#define XVCPU_EXIT_REASON_WORD_BASIC_SHIFT 0
#define XVCPU_EXIT_REASON_WORD_BASIC_MASK XVCPU_BITS64(15, 0)
#define XVCPU_EXIT_REASON_WORD_BUSY_SHADOW_STACK XVCPU_BIT64(25)
#define XVCPU_EXIT_REASON_WORD_BUS_LOCK XVCPU_BIT64(26)
#define XVCPU_EXIT_REASON_WORD_ENCLAVE XVCPU_BIT64(27)
#define XVCPU_EXIT_REASON_WORD_PENDING_MTF XVCPU_BIT64(28)
#define XVCPU_EXIT_REASON_WORD_FROM_ROOT XVCPU_BIT64(29)
#define XVCPU_EXIT_REASON_WORD_ENTRY_FAILURE XVCPU_BIT64(31)

// Event identification, older name interruption information: injected (VM entry), exiting (VM exit)
// and original (IDT vectoring). NMI_UNBLOCKING is defined for the exiting one only.
#define XVCPU_INTR_INFO_VECTOR_SHIFT 0
#define XVCPU_INTR_INFO_VECTOR_MASK XVCPU_BITS64(7, 0)
#define XVCPU_INTR_INFO_TYPE_SHIFT 8
#define XVCPU_INTR_INFO_TYPE_MASK XVCPU_BITS64(10, 8)
#define XVCPU_INTR_INFO_ERROR_CODE XVCPU_BIT64(11)
#define XVCPU_INTR_INFO_NMI_UNBLOCKING XVCPU_BIT64(12)
#define XVCPU_INTR_INFO_NESTED XVCPU_BIT64(13)
#define XVCPU_INTR_INFO_VALID XVCPU_BIT64(31)
#define XVCPU_INTR_TYPE_EXTERNAL_INTERRUPT 0
#define XVCPU_INTR_TYPE_NMI 2
#define XVCPU_INTR_TYPE_HARDWARE_EXCEPTION 3
#define XVCPU_INTR_TYPE_SOFTWARE_INTERRUPT 4
#define XVCPU_INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION 5 // INT1
#define XVCPU_INTR_TYPE_SOFTWARE_EXCEPTION 6 // INT3, INTO
#define XVCPU_INTR_TYPE_OTHER 7
// Vectors of XVCPU_INTR_TYPE_OTHER.
#define XVCPU_INTR_OTHER_MTF 0
#define XVCPU_INTR_OTHER_SYSCALL 1
#define XVCPU_INTR_OTHER_SYSENTER 2

// Guest interruptibility state.
#define XVCPU_INTERRUPTIBILITY_STI XVCPU_BIT64(0)
#define XVCPU_INTERRUPTIBILITY_MOV_SS XVCPU_BIT64(1)
#define XVCPU_INTERRUPTIBILITY_SMI XVCPU_BIT64(2)
#define XVCPU_INTERRUPTIBILITY_NMI XVCPU_BIT64(3) // with virtual NMIs: blocking of virtual NMIs
#define XVCPU_INTERRUPTIBILITY_ENCLAVE XVCPU_BIT64(4)
#define XVCPU_INTERRUPTIBILITY_RESERVED_SHIFT 5
#define XVCPU_INTERRUPTIBILITY_RESERVED_MASK XVCPU_BITS64(31, 5)

// Guest activity state (a number, not bits).
#define XVCPU_ACTIVITY_ACTIVE 0
#define XVCPU_ACTIVITY_HLT 1
#define XVCPU_ACTIVITY_SHUTDOWN 2
#define XVCPU_ACTIVITY_WAIT_FOR_SIPI 3

// Guest pending debug exceptions.
#define XVCPU_PENDING_DBG_B_SHIFT 0 // B3-B0
#define XVCPU_PENDING_DBG_B_MASK XVCPU_BITS64(3, 0)
#define XVCPU_PENDING_DBG_BLD XVCPU_BIT64(11)
#define XVCPU_PENDING_DBG_ENABLED XVCPU_BIT64(12)
#define XVCPU_PENDING_DBG_BS XVCPU_BIT64(14)
#define XVCPU_PENDING_DBG_RTM XVCPU_BIT64(16)

// Segment access rights in the VMCS: bits 55:40 of a descriptor, plus "unusable".
#define XVCPU_AR_TYPE_SHIFT 0
#define XVCPU_AR_TYPE_MASK XVCPU_BITS64(3, 0)
#define XVCPU_AR_S XVCPU_BIT64(4)
#define XVCPU_AR_DPL_SHIFT 5
#define XVCPU_AR_DPL_MASK XVCPU_BITS64(6, 5)
#define XVCPU_AR_P XVCPU_BIT64(7)
#define XVCPU_AR_AVL XVCPU_BIT64(12)
#define XVCPU_AR_L XVCPU_BIT64(13)
#define XVCPU_AR_DB XVCPU_BIT64(14)
#define XVCPU_AR_G XVCPU_BIT64(15)
#define XVCPU_AR_UNUSABLE XVCPU_BIT64(16)
#define XVCPU_AR_RESERVED_LOW_SHIFT 8
#define XVCPU_AR_RESERVED_LOW_MASK XVCPU_BITS64(11, 8)
#define XVCPU_AR_RESERVED_HIGH_SHIFT 17
#define XVCPU_AR_RESERVED_HIGH_MASK XVCPU_BITS64(31, 17)

// Segment types: code and data (S = 1), system (S = 0).
#define XVCPU_SEGMENT_DATA_RO 0
#define XVCPU_SEGMENT_ACCESSED XVCPU_BIT64(0)
#define XVCPU_SEGMENT_DATA_WRITABLE XVCPU_BIT64(1)
#define XVCPU_SEGMENT_DATA_EXPAND_DOWN XVCPU_BIT64(2)
#define XVCPU_SEGMENT_CODE_READABLE XVCPU_BIT64(1)
#define XVCPU_SEGMENT_CODE_CONFORMING XVCPU_BIT64(2)
#define XVCPU_SEGMENT_CODE XVCPU_BIT64(3)
#define XVCPU_SEGMENT_DATA_RW_ACCESSED 3
#define XVCPU_SEGMENT_CODE_RX_ACCESSED 11
#define XVCPU_SYSTEM_TSS16_AVAILABLE 1
#define XVCPU_SYSTEM_LDT 2
#define XVCPU_SYSTEM_TSS16_BUSY 3
#define XVCPU_SYSTEM_CALL_GATE16 4
#define XVCPU_SYSTEM_TASK_GATE 5
#define XVCPU_SYSTEM_TSS_AVAILABLE 9
#define XVCPU_SYSTEM_TSS_BUSY 11
#define XVCPU_SYSTEM_CALL_GATE 12
#define XVCPU_SYSTEM_INTERRUPT_GATE 14
#define XVCPU_SYSTEM_TRAP_GATE 15

// Selectors.
#define XVCPU_SELECTOR_RPL_SHIFT 0
#define XVCPU_SELECTOR_RPL_MASK XVCPU_BITS64(1, 0)
#define XVCPU_SELECTOR_TI XVCPU_BIT64(2)
#define XVCPU_SELECTOR_INDEX_SHIFT 3
#define XVCPU_SELECTOR_INDEX_MASK XVCPU_BITS64(15, 3)

// EPT pointer and HLAT pointer. The addresses are further limited by MAXPHYADDR.
#define XVCPU_EPTP_MEMORY_TYPE_SHIFT 0
#define XVCPU_EPTP_MEMORY_TYPE_MASK XVCPU_BITS64(2, 0)
#define XVCPU_EPTP_WALK_MINUS_1_SHIFT 3
#define XVCPU_EPTP_WALK_MINUS_1_MASK XVCPU_BITS64(5, 3)
#define XVCPU_EPTP_ACCESSED_DIRTY XVCPU_BIT64(6)
#define XVCPU_EPTP_SUPERVISOR_SHADOW_STACK XVCPU_BIT64(7)
#define XVCPU_EPTP_RESERVED_SHIFT 8
#define XVCPU_EPTP_RESERVED_MASK XVCPU_BITS64(11, 8)
#define XVCPU_EPTP_ADDRESS_SHIFT 12
#define XVCPU_EPTP_ADDRESS_MASK XVCPU_BITS64(51, 12)
#define XVCPU_HLATP_PWT XVCPU_BIT64(3)
#define XVCPU_HLATP_PCD XVCPU_BIT64(4)
#define XVCPU_HLATP_ADDRESS_SHIFT 12
#define XVCPU_HLATP_ADDRESS_MASK XVCPU_BITS64(51, 12)

// EPT entries.
#define XVCPU_EPTE_READ XVCPU_BIT64(0)
#define XVCPU_EPTE_WRITE XVCPU_BIT64(1)
#define XVCPU_EPTE_EXECUTE XVCPU_BIT64(2) // with mode-based control: supervisor mode
#define XVCPU_EPTE_MEMORY_TYPE_SHIFT 3 // leaf only
#define XVCPU_EPTE_MEMORY_TYPE_MASK XVCPU_BITS64(5, 3)
#define XVCPU_EPTE_IGNORE_PAT XVCPU_BIT64(6) // leaf only
#define XVCPU_EPTE_LARGE XVCPU_BIT64(7) // leaf above the last level
#define XVCPU_EPTE_ACCESSED XVCPU_BIT64(8)
#define XVCPU_EPTE_DIRTY XVCPU_BIT64(9) // leaf only
#define XVCPU_EPTE_USER_EXECUTE XVCPU_BIT64(10) // with mode-based control
#define XVCPU_EPTE_ADDRESS_SHIFT 12
#define XVCPU_EPTE_ADDRESS_MASK XVCPU_BITS64(51, 12)
#define XVCPU_EPTE_VERIFY_PAGING XVCPU_BIT64(57)
#define XVCPU_EPTE_PAGING_WRITE XVCPU_BIT64(58)
#define XVCPU_EPTE_SUPERVISOR_SHADOW_STACK XVCPU_BIT64(60)
#define XVCPU_EPTE_SUBPAGE_WRITE XVCPU_BIT64(61)
#define XVCPU_EPTE_SUPPRESS_VE XVCPU_BIT64(63)

// Types of INVEPT and INVVPID.
#define XVCPU_INVEPT_SINGLE 1
#define XVCPU_INVEPT_ALL 2
#define XVCPU_INVVPID_ADDRESS 0
#define XVCPU_INVVPID_SINGLE 1
#define XVCPU_INVVPID_ALL 2
#define XVCPU_INVVPID_SINGLE_GLOBALS 3

// Page-table entries of the guest or the host.
#define XVCPU_PTE_P XVCPU_BIT64(0)
#define XVCPU_PTE_W XVCPU_BIT64(1)
#define XVCPU_PTE_U XVCPU_BIT64(2)
#define XVCPU_PTE_PWT XVCPU_BIT64(3)
#define XVCPU_PTE_PCD XVCPU_BIT64(4)
#define XVCPU_PTE_A XVCPU_BIT64(5)
#define XVCPU_PTE_D XVCPU_BIT64(6)
#define XVCPU_PTE_PS XVCPU_BIT64(7) // in a table above the last level
#define XVCPU_PTE_PAT XVCPU_BIT64(7) // in a 4-KByte page
#define XVCPU_PTE_G XVCPU_BIT64(8)
#define XVCPU_PTE_RESTART XVCPU_BIT64(11) // HLAT
#define XVCPU_PTE_PAT_LARGE XVCPU_BIT64(12) // in a large page
#define XVCPU_PTE_ADDRESS_SHIFT 12
#define XVCPU_PTE_ADDRESS_MASK XVCPU_BITS64(51, 12)
#define XVCPU_PTE_PKEY_SHIFT 59
#define XVCPU_PTE_PKEY_MASK XVCPU_BITS64(62, 59)
#define XVCPU_PTE_XD XVCPU_BIT64(63)

// Exit qualification, by reason.
#define XVCPU_QUAL_DB_B_SHIFT 0 // B3-B0
#define XVCPU_QUAL_DB_B_MASK XVCPU_BITS64(3, 0)
#define XVCPU_QUAL_DB_BLD XVCPU_BIT64(11) // polarity opposite to DR6
#define XVCPU_QUAL_DB_BD XVCPU_BIT64(13)
#define XVCPU_QUAL_DB_BS XVCPU_BIT64(14)
#define XVCPU_QUAL_DB_RTM XVCPU_BIT64(16) // polarity opposite to DR6
#define XVCPU_QUAL_SIPI_VECTOR_SHIFT 0
#define XVCPU_QUAL_SIPI_VECTOR_MASK XVCPU_BITS64(7, 0)
#define XVCPU_QUAL_TASK_SELECTOR_SHIFT 0
#define XVCPU_QUAL_TASK_SELECTOR_MASK XVCPU_BITS64(15, 0)
#define XVCPU_QUAL_TASK_SOURCE_SHIFT 30
#define XVCPU_QUAL_TASK_SOURCE_MASK XVCPU_BITS64(31, 30)
#define XVCPU_QUAL_TASK_SOURCE_CALL 0
#define XVCPU_QUAL_TASK_SOURCE_IRET 1
#define XVCPU_QUAL_TASK_SOURCE_JMP 2
#define XVCPU_QUAL_TASK_SOURCE_GATE 3
#define XVCPU_QUAL_CR_NUMBER_SHIFT 0
#define XVCPU_QUAL_CR_NUMBER_MASK XVCPU_BITS64(3, 0)
#define XVCPU_QUAL_CR_ACCESS_SHIFT 4
#define XVCPU_QUAL_CR_ACCESS_MASK XVCPU_BITS64(5, 4)
#define XVCPU_QUAL_CR_ACCESS_WRITE 0
#define XVCPU_QUAL_CR_ACCESS_READ 1
#define XVCPU_QUAL_CR_ACCESS_CLTS 2
#define XVCPU_QUAL_CR_ACCESS_LMSW 3
#define XVCPU_QUAL_CR_LMSW_MEMORY XVCPU_BIT64(6)
#define XVCPU_QUAL_CR_GPR_SHIFT 8
#define XVCPU_QUAL_CR_GPR_MASK XVCPU_BITS64(11, 8)
#define XVCPU_QUAL_CR_LMSW_DATA_SHIFT 16
#define XVCPU_QUAL_CR_LMSW_DATA_MASK XVCPU_BITS64(31, 16)
#define XVCPU_QUAL_DR_NUMBER_SHIFT 0
#define XVCPU_QUAL_DR_NUMBER_MASK XVCPU_BITS64(2, 0)
#define XVCPU_QUAL_DR_READ XVCPU_BIT64(4) // 1: MOV from DR
#define XVCPU_QUAL_DR_GPR_SHIFT 8
#define XVCPU_QUAL_DR_GPR_MASK XVCPU_BITS64(11, 8)
// I/O instruction, and I/O SMI.
#define XVCPU_QUAL_IO_SIZE_MINUS_1_SHIFT 0
#define XVCPU_QUAL_IO_SIZE_MINUS_1_MASK XVCPU_BITS64(2, 0)
#define XVCPU_QUAL_IO_IN XVCPU_BIT64(3)
#define XVCPU_QUAL_IO_STRING XVCPU_BIT64(4)
#define XVCPU_QUAL_IO_REP XVCPU_BIT64(5)
#define XVCPU_QUAL_IO_IMMEDIATE XVCPU_BIT64(6)
#define XVCPU_QUAL_IO_PORT_SHIFT 16
#define XVCPU_QUAL_IO_PORT_MASK XVCPU_BITS64(31, 16)
#define XVCPU_QUAL_WRMSR_NS 1
#define XVCPU_QUAL_ENTRY_FAIL_PDPTE 2
#define XVCPU_QUAL_ENTRY_FAIL_NMI 3
#define XVCPU_QUAL_ENTRY_FAIL_LINK_POINTER 4
#define XVCPU_QUAL_MWAIT_ARMED 1
#define XVCPU_QUAL_WBINVD_WBNOINVD 1
#define XVCPU_QUAL_EOI_VECTOR_SHIFT 0
#define XVCPU_QUAL_EOI_VECTOR_MASK XVCPU_BITS64(7, 0)
#define XVCPU_QUAL_APIC_WRITE_OFFSET_SHIFT 0
#define XVCPU_QUAL_APIC_WRITE_OFFSET_MASK XVCPU_BITS64(11, 0)
#define XVCPU_QUAL_ENQCMD_PASID_SHIFT 0
#define XVCPU_QUAL_ENQCMD_PASID_MASK XVCPU_BITS64(19, 0)
#define XVCPU_QUAL_ENQCMDS_SOURCE_SHIFT 0
#define XVCPU_QUAL_ENQCMDS_SOURCE_MASK XVCPU_BITS64(31, 0)
#define XVCPU_QUAL_APIC_OFFSET_SHIFT 0
#define XVCPU_QUAL_APIC_OFFSET_MASK XVCPU_BITS64(11, 0)
#define XVCPU_QUAL_APIC_TYPE_SHIFT 12
#define XVCPU_QUAL_APIC_TYPE_MASK XVCPU_BITS64(15, 12)
#define XVCPU_QUAL_APIC_TYPE_READ 0
#define XVCPU_QUAL_APIC_TYPE_WRITE 1
#define XVCPU_QUAL_APIC_TYPE_FETCH 2
#define XVCPU_QUAL_APIC_TYPE_EVENT 3
#define XVCPU_QUAL_APIC_TYPE_ASYNC 4
#define XVCPU_QUAL_APIC_TYPE_PHYSICAL_EVENT 10
#define XVCPU_QUAL_APIC_TYPE_PHYSICAL_ASYNC 11
#define XVCPU_QUAL_APIC_TYPE_PHYSICAL 15
#define XVCPU_QUAL_APIC_ASYNC XVCPU_BIT64(16)
#define XVCPU_QUAL_EPT_READ XVCPU_BIT64(0)
#define XVCPU_QUAL_EPT_WRITE XVCPU_BIT64(1)
#define XVCPU_QUAL_EPT_FETCH XVCPU_BIT64(2)
#define XVCPU_QUAL_EPT_READABLE XVCPU_BIT64(3)
#define XVCPU_QUAL_EPT_WRITABLE XVCPU_BIT64(4)
#define XVCPU_QUAL_EPT_EXECUTABLE XVCPU_BIT64(5)
#define XVCPU_QUAL_EPT_USER_EXECUTABLE XVCPU_BIT64(6)
#define XVCPU_QUAL_EPT_LINEAR_VALID XVCPU_BIT64(7)
#define XVCPU_QUAL_EPT_TRANSLATED XVCPU_BIT64(8) // 0: access to a paging-structure entry
#define XVCPU_QUAL_EPT_USER_LINEAR XVCPU_BIT64(9)
#define XVCPU_QUAL_EPT_PAGE_WRITABLE XVCPU_BIT64(10)
#define XVCPU_QUAL_EPT_PAGE_XD XVCPU_BIT64(11)
#define XVCPU_QUAL_EPT_NMI_UNBLOCKING XVCPU_BIT64(12)
#define XVCPU_QUAL_EPT_SHADOW_STACK XVCPU_BIT64(13)
#define XVCPU_QUAL_EPT_SUPERVISOR_SHADOW_STACK XVCPU_BIT64(14)
#define XVCPU_QUAL_EPT_PAGING_VERIFICATION XVCPU_BIT64(15)
#define XVCPU_QUAL_EPT_ASYNC XVCPU_BIT64(16)
#define XVCPU_QUAL_PML_NMI_UNBLOCKING XVCPU_BIT64(12)
#define XVCPU_QUAL_PML_ASYNC XVCPU_BIT64(16)
#define XVCPU_QUAL_SPP_MISS XVCPU_BIT64(11)
#define XVCPU_QUAL_SPP_NMI_UNBLOCKING XVCPU_BIT64(12)
#define XVCPU_QUAL_SPP_ASYNC XVCPU_BIT64(16)
#define XVCPU_QUAL_TIMEOUT_INVALID XVCPU_BIT64(0)
#define XVCPU_QUAL_TIMEOUT_NMI_UNBLOCKING XVCPU_BIT64(12)

// VM-exit instruction information. The layouts never contradict each other, so the parts are named
// once; which of them an exit has is the INFO kind of its reason.
#define XVCPU_INSTR_INFO_SCALE_SHIFT 0
#define XVCPU_INSTR_INFO_SCALE_MASK XVCPU_BITS64(1, 0)
#define XVCPU_INSTR_INFO_REG1_SHIFT 3
#define XVCPU_INSTR_INFO_REG1_MASK XVCPU_BITS64(6, 3)
#define XVCPU_INSTR_INFO_ADDRESS_SIZE_SHIFT 7 // 0, 1, 2: 16, 32, 64 bits
#define XVCPU_INSTR_INFO_ADDRESS_SIZE_MASK XVCPU_BITS64(9, 7)
#define XVCPU_INSTR_INFO_REGISTER XVCPU_BIT64(10) // the operand is register REG1, not memory
#define XVCPU_INSTR_INFO_OPERAND_32 XVCPU_BIT64(11) // SGDT, SIDT, LGDT, LIDT
#define XVCPU_INSTR_INFO_OPERAND_SIZE_SHIFT 11 // RDRAND, RDSEED: 0, 1, 2: 16, 32, 64 bits
#define XVCPU_INSTR_INFO_OPERAND_SIZE_MASK XVCPU_BITS64(12, 11)
#define XVCPU_INSTR_INFO_SEGMENT_SHIFT 15 // XVCPU_SEGMENT_REGISTER_*
#define XVCPU_INSTR_INFO_SEGMENT_MASK XVCPU_BITS64(17, 15)
#define XVCPU_INSTR_INFO_INDEX_REG_SHIFT 18
#define XVCPU_INSTR_INFO_INDEX_REG_MASK XVCPU_BITS64(21, 18)
#define XVCPU_INSTR_INFO_INDEX_INVALID XVCPU_BIT64(22)
#define XVCPU_INSTR_INFO_BASE_REG_SHIFT 23
#define XVCPU_INSTR_INFO_BASE_REG_MASK XVCPU_BITS64(26, 23)
#define XVCPU_INSTR_INFO_BASE_INVALID XVCPU_BIT64(27)
#define XVCPU_INSTR_INFO_IDENTITY_SHIFT 28
#define XVCPU_INSTR_INFO_IDENTITY_MASK XVCPU_BITS64(29, 28)
#define XVCPU_INSTR_INFO_REG2_SHIFT 28
#define XVCPU_INSTR_INFO_REG2_MASK XVCPU_BITS64(31, 28)
// IDENTITY of a GDTR or IDTR access, and of an LDTR or TR access.
#define XVCPU_INSTR_INFO_SGDT 0
#define XVCPU_INSTR_INFO_SIDT 1
#define XVCPU_INSTR_INFO_LGDT 2
#define XVCPU_INSTR_INFO_LIDT 3
#define XVCPU_INSTR_INFO_SLDT 0
#define XVCPU_INSTR_INFO_STR 1
#define XVCPU_INSTR_INFO_LLDT 2
#define XVCPU_INSTR_INFO_LTR 3
#define XVCPU_SEGMENT_REGISTER_ES 0
#define XVCPU_SEGMENT_REGISTER_CS 1
#define XVCPU_SEGMENT_REGISTER_SS 2
#define XVCPU_SEGMENT_REGISTER_DS 3
#define XVCPU_SEGMENT_REGISTER_FS 4
#define XVCPU_SEGMENT_REGISTER_GS 5

// Control registers.
#define XVCPU_CR0_PE XVCPU_BIT64(0)
#define XVCPU_CR0_MP XVCPU_BIT64(1)
#define XVCPU_CR0_EM XVCPU_BIT64(2)
#define XVCPU_CR0_TS XVCPU_BIT64(3)
#define XVCPU_CR0_ET XVCPU_BIT64(4)
#define XVCPU_CR0_NE XVCPU_BIT64(5)
#define XVCPU_CR0_WP XVCPU_BIT64(16)
#define XVCPU_CR0_AM XVCPU_BIT64(18)
#define XVCPU_CR0_NW XVCPU_BIT64(29)
#define XVCPU_CR0_CD XVCPU_BIT64(30)
#define XVCPU_CR0_PG XVCPU_BIT64(31)
#define XVCPU_CR3_PWT XVCPU_BIT64(3)
#define XVCPU_CR3_PCD XVCPU_BIT64(4)
#define XVCPU_CR3_PCID_SHIFT 0
#define XVCPU_CR3_PCID_MASK XVCPU_BITS64(11, 0)
#define XVCPU_CR3_ADDRESS_SHIFT 12
#define XVCPU_CR3_ADDRESS_MASK XVCPU_BITS64(51, 12)
#define XVCPU_CR3_LAM_U57 XVCPU_BIT64(61)
#define XVCPU_CR3_LAM_U48 XVCPU_BIT64(62)
#define XVCPU_CR3_NO_FLUSH XVCPU_BIT64(63) // of the value moved to CR3, never of CR3 itself
#define XVCPU_CR4_VME XVCPU_BIT64(0)
#define XVCPU_CR4_PVI XVCPU_BIT64(1)
#define XVCPU_CR4_TSD XVCPU_BIT64(2)
#define XVCPU_CR4_DE XVCPU_BIT64(3)
#define XVCPU_CR4_PSE XVCPU_BIT64(4)
#define XVCPU_CR4_PAE XVCPU_BIT64(5)
#define XVCPU_CR4_MCE XVCPU_BIT64(6)
#define XVCPU_CR4_PGE XVCPU_BIT64(7)
#define XVCPU_CR4_PCE XVCPU_BIT64(8)
#define XVCPU_CR4_OSFXSR XVCPU_BIT64(9)
#define XVCPU_CR4_OSXMMEXCPT XVCPU_BIT64(10)
#define XVCPU_CR4_UMIP XVCPU_BIT64(11)
#define XVCPU_CR4_LA57 XVCPU_BIT64(12)
#define XVCPU_CR4_VMXE XVCPU_BIT64(13)
#define XVCPU_CR4_SMXE XVCPU_BIT64(14)
#define XVCPU_CR4_FSGSBASE XVCPU_BIT64(16)
#define XVCPU_CR4_PCIDE XVCPU_BIT64(17)
#define XVCPU_CR4_OSXSAVE XVCPU_BIT64(18)
#define XVCPU_CR4_KL XVCPU_BIT64(19)
#define XVCPU_CR4_SMEP XVCPU_BIT64(20)
#define XVCPU_CR4_SMAP XVCPU_BIT64(21)
#define XVCPU_CR4_PKE XVCPU_BIT64(22)
#define XVCPU_CR4_CET XVCPU_BIT64(23)
#define XVCPU_CR4_PKS XVCPU_BIT64(24)
#define XVCPU_CR4_UINTR XVCPU_BIT64(25)
#define XVCPU_CR4_LASS XVCPU_BIT64(27)
#define XVCPU_CR4_LAM_SUP XVCPU_BIT64(28)
#define XVCPU_CR4_FRED XVCPU_BIT64(32)
#define XVCPU_CR8_TPR_SHIFT 0
#define XVCPU_CR8_TPR_MASK XVCPU_BITS64(3, 0)

// Flags.
#define XVCPU_RFLAGS_CF XVCPU_BIT64(0)
#define XVCPU_RFLAGS_FIXED_1 XVCPU_BIT64(1) // reads as 1
#define XVCPU_RFLAGS_PF XVCPU_BIT64(2)
#define XVCPU_RFLAGS_AF XVCPU_BIT64(4)
#define XVCPU_RFLAGS_ZF XVCPU_BIT64(6)
#define XVCPU_RFLAGS_SF XVCPU_BIT64(7)
#define XVCPU_RFLAGS_TF XVCPU_BIT64(8)
#define XVCPU_RFLAGS_IF XVCPU_BIT64(9)
#define XVCPU_RFLAGS_DF XVCPU_BIT64(10)
#define XVCPU_RFLAGS_OF XVCPU_BIT64(11)
#define XVCPU_RFLAGS_IOPL_SHIFT 12
#define XVCPU_RFLAGS_IOPL_MASK XVCPU_BITS64(13, 12)
#define XVCPU_RFLAGS_NT XVCPU_BIT64(14)
#define XVCPU_RFLAGS_RF XVCPU_BIT64(16)
#define XVCPU_RFLAGS_VM XVCPU_BIT64(17)
#define XVCPU_RFLAGS_AC XVCPU_BIT64(18)
#define XVCPU_RFLAGS_VIF XVCPU_BIT64(19)
#define XVCPU_RFLAGS_VIP XVCPU_BIT64(20)
#define XVCPU_RFLAGS_ID XVCPU_BIT64(21)

// Extended state: XCR0, IA32_XSS.
#define XVCPU_XCR0_X87 XVCPU_BIT64(0)
#define XVCPU_XCR0_SSE XVCPU_BIT64(1)
#define XVCPU_XCR0_AVX XVCPU_BIT64(2)
#define XVCPU_XCR0_BNDREGS XVCPU_BIT64(3)
#define XVCPU_XCR0_BNDCSR XVCPU_BIT64(4)
#define XVCPU_XCR0_OPMASK XVCPU_BIT64(5)
#define XVCPU_XCR0_ZMM_HI256 XVCPU_BIT64(6)
#define XVCPU_XCR0_HI16_ZMM XVCPU_BIT64(7)
#define XVCPU_XCR0_PKRU XVCPU_BIT64(9)
#define XVCPU_XCR0_TILECFG XVCPU_BIT64(17)
#define XVCPU_XCR0_TILEDATA XVCPU_BIT64(18)
#define XVCPU_XCR0_APX XVCPU_BIT64(19)
#define XVCPU_XSS_PT XVCPU_BIT64(8)
#define XVCPU_XSS_PASID XVCPU_BIT64(10)
#define XVCPU_XSS_CET_U XVCPU_BIT64(11)
#define XVCPU_XSS_CET_S XVCPU_BIT64(12)
#define XVCPU_XSS_HDC XVCPU_BIT64(13)
#define XVCPU_XSS_UINTR XVCPU_BIT64(14)
#define XVCPU_XSS_LBR XVCPU_BIT64(15)
#define XVCPU_XSS_HWP XVCPU_BIT64(16)

// Debug registers. After reset DR6 is FIXED_1 and DR7 is FIXED_1.
#define XVCPU_DR6_B_SHIFT 0
#define XVCPU_DR6_B_MASK XVCPU_BITS64(3, 0)
#define XVCPU_DR6_BLD XVCPU_BIT64(11) // 0 means a bus lock was detected
#define XVCPU_DR6_BD XVCPU_BIT64(13)
#define XVCPU_DR6_BS XVCPU_BIT64(14)
#define XVCPU_DR6_BT XVCPU_BIT64(15)
#define XVCPU_DR6_RTM XVCPU_BIT64(16) // 0 means inside a transaction
#define XVCPU_DR6_FIXED_1 (XVCPU_BITS64(11, 4) | XVCPU_BITS64(31, 16))
#define XVCPU_DR7_ENABLE_SHIFT 0
#define XVCPU_DR7_ENABLE_MASK XVCPU_BITS64(7, 0)
#define XVCPU_DR7_LE XVCPU_BIT64(8)
#define XVCPU_DR7_GE XVCPU_BIT64(9)
#define XVCPU_DR7_FIXED_1 XVCPU_BIT64(10)
#define XVCPU_DR7_RTM XVCPU_BIT64(11)
#define XVCPU_DR7_GD XVCPU_BIT64(13)
#define XVCPU_DR7_CONDITIONS_SHIFT 16
#define XVCPU_DR7_CONDITIONS_MASK XVCPU_BITS64(31, 16)

// Exceptions. X(vector, name, mnemonic, text, 1 if it pushes an error code in protected mode). The
// rows are numbered without a gap.
#define XVCPU_EXCEPTIONS(X)                                                                        \
    X(0, DE, "#DE", "divide error", 0)                                                             \
    X(1, DB, "#DB", "debug exception", 0)                                                          \
    X(2, NMI, "NMI", "non-maskable interrupt", 0)                                                  \
    X(3, BP, "#BP", "breakpoint", 0)                                                               \
    X(4, OF, "#OF", "overflow", 0)                                                                 \
    X(5, BR, "#BR", "bound range exceeded", 0)                                                     \
    X(6, UD, "#UD", "invalid opcode", 0)                                                           \
    X(7, NM, "#NM", "device not available", 0)                                                     \
    X(8, DF, "#DF", "double fault", 1)                                                             \
    X(9, CSO, "#9", "coprocessor segment overrun", 0)                                              \
    X(10, TS, "#TS", "invalid TSS", 1)                                                             \
    X(11, NP, "#NP", "segment not present", 1)                                                     \
    X(12, SS, "#SS", "stack fault", 1)                                                             \
    X(13, GP, "#GP", "general protection", 1)                                                      \
    X(14, PF, "#PF", "page fault", 1)                                                              \
    X(15, RESERVED_15, "#15", "reserved", 0)                                                       \
    X(16, MF, "#MF", "x87 floating-point error", 0)                                                \
    X(17, AC, "#AC", "alignment check", 1)                                                         \
    X(18, MC, "#MC", "machine check", 0)                                                           \
    X(19, XM, "#XM", "SIMD floating-point exception", 0)                                           \
    X(20, VE, "#VE", "virtualization exception", 0)                                                \
    X(21, CP, "#CP", "control protection", 1)

enum xvcpu_exception {
#define XVCPUI_ROW(vector, name, mnemonic, text, error_code) XVCPU_EXCEPTION_##name = (vector),
    XVCPU_EXCEPTIONS(XVCPUI_ROW)
#undef XVCPUI_ROW
    XVCPU_EXCEPTION_LAST = XVCPU_EXCEPTION_CP,
    XVCPU_EXCEPTION_LIMIT = 32 // vectors below it are reserved for exceptions
};

// Bit n: vector n pushes an error code.
#define XVCPUI_ERROR_CODE_BIT(vector, name, mnemonic, text, error_code)                            \
    | ((xvcpu_u32)(error_code) << (vector))
#define XVCPU_EXCEPTION_ERROR_CODE_MASK ((xvcpu_u32)0 XVCPU_EXCEPTIONS(XVCPUI_ERROR_CODE_BIT))

// Error code of #PF, and of exceptions that name a selector.
#define XVCPU_PF_ERROR_P XVCPU_BIT64(0)
#define XVCPU_PF_ERROR_W XVCPU_BIT64(1)
#define XVCPU_PF_ERROR_U XVCPU_BIT64(2)
#define XVCPU_PF_ERROR_RSVD XVCPU_BIT64(3)
#define XVCPU_PF_ERROR_I XVCPU_BIT64(4)
#define XVCPU_PF_ERROR_PK XVCPU_BIT64(5)
#define XVCPU_PF_ERROR_SS XVCPU_BIT64(6)
#define XVCPU_PF_ERROR_HLAT XVCPU_BIT64(7)
#define XVCPU_PF_ERROR_SGX XVCPU_BIT64(15)
#define XVCPU_SELECTOR_ERROR_EXT XVCPU_BIT64(0)
#define XVCPU_SELECTOR_ERROR_IDT XVCPU_BIT64(1)
#define XVCPU_SELECTOR_ERROR_TI XVCPU_BIT64(2)
#define XVCPU_SELECTOR_ERROR_INDEX_SHIFT 3
#define XVCPU_SELECTOR_ERROR_INDEX_MASK XVCPU_BITS64(15, 3)

// CPUID: leaves, and the bits a hypervisor reads or changes.
#define XVCPU_CPUID_LEAF_VENDOR 0x00000000U
#define XVCPU_CPUID_LEAF_FEATURES 0x00000001U
#define XVCPU_CPUID_LEAF_CACHE 0x00000004U
#define XVCPU_CPUID_LEAF_MONITOR 0x00000005U
#define XVCPU_CPUID_LEAF_THERMAL 0x00000006U
#define XVCPU_CPUID_LEAF_EXTENDED_FEATURES 0x00000007U
#define XVCPU_CPUID_LEAF_PERFMON 0x0000000AU
#define XVCPU_CPUID_LEAF_TOPOLOGY 0x0000000BU
#define XVCPU_CPUID_LEAF_XSAVE 0x0000000DU
#define XVCPU_CPUID_LEAF_SGX 0x00000012U
#define XVCPU_CPUID_LEAF_INTEL_PT 0x00000014U
#define XVCPU_CPUID_LEAF_TSC 0x00000015U
#define XVCPU_CPUID_LEAF_FREQUENCY 0x00000016U
#define XVCPU_CPUID_LEAF_KEY_LOCKER 0x00000019U
#define XVCPU_CPUID_LEAF_LBR 0x0000001CU
#define XVCPU_CPUID_LEAF_TOPOLOGY_V2 0x0000001FU
#define XVCPU_CPUID_LEAF_HYPERVISOR 0x40000000U
#define XVCPU_CPUID_LEAF_EXTENDED 0x80000000U
#define XVCPU_CPUID_LEAF_EXTENDED_SIGNATURE 0x80000001U
#define XVCPU_CPUID_LEAF_BRAND_FIRST 0x80000002U
#define XVCPU_CPUID_LEAF_BRAND_LAST 0x80000004U
#define XVCPU_CPUID_LEAF_INVARIANT_TSC 0x80000007U
#define XVCPU_CPUID_LEAF_ADDRESS_SIZES 0x80000008U

#define XVCPU_CPUID_1_EBX_CLFLUSH_SHIFT 8 // in units of 8 bytes
#define XVCPU_CPUID_1_EBX_CLFLUSH_MASK XVCPU_BITS64(15, 8)
#define XVCPU_CPUID_1_EBX_LOGICAL_COUNT_SHIFT 16
#define XVCPU_CPUID_1_EBX_LOGICAL_COUNT_MASK XVCPU_BITS64(23, 16)
#define XVCPU_CPUID_1_EBX_APIC_ID_SHIFT 24
#define XVCPU_CPUID_1_EBX_APIC_ID_MASK XVCPU_BITS64(31, 24)
#define XVCPU_CPUID_1_ECX_SSE3 XVCPU_BIT64(0)
#define XVCPU_CPUID_1_ECX_PCLMULQDQ XVCPU_BIT64(1)
#define XVCPU_CPUID_1_ECX_DTES64 XVCPU_BIT64(2)
#define XVCPU_CPUID_1_ECX_MONITOR XVCPU_BIT64(3)
#define XVCPU_CPUID_1_ECX_DS_CPL XVCPU_BIT64(4)
#define XVCPU_CPUID_1_ECX_VMX XVCPU_BIT64(5)
#define XVCPU_CPUID_1_ECX_SMX XVCPU_BIT64(6)
#define XVCPU_CPUID_1_ECX_EIST XVCPU_BIT64(7)
#define XVCPU_CPUID_1_ECX_TM2 XVCPU_BIT64(8)
#define XVCPU_CPUID_1_ECX_SSSE3 XVCPU_BIT64(9)
#define XVCPU_CPUID_1_ECX_SDBG XVCPU_BIT64(11)
#define XVCPU_CPUID_1_ECX_FMA XVCPU_BIT64(12)
#define XVCPU_CPUID_1_ECX_CMPXCHG16B XVCPU_BIT64(13)
#define XVCPU_CPUID_1_ECX_XTPR XVCPU_BIT64(14)
#define XVCPU_CPUID_1_ECX_PDCM XVCPU_BIT64(15)
#define XVCPU_CPUID_1_ECX_PCID XVCPU_BIT64(17)
#define XVCPU_CPUID_1_ECX_DCA XVCPU_BIT64(18)
#define XVCPU_CPUID_1_ECX_SSE4_1 XVCPU_BIT64(19)
#define XVCPU_CPUID_1_ECX_SSE4_2 XVCPU_BIT64(20)
#define XVCPU_CPUID_1_ECX_X2APIC XVCPU_BIT64(21)
#define XVCPU_CPUID_1_ECX_MOVBE XVCPU_BIT64(22)
#define XVCPU_CPUID_1_ECX_POPCNT XVCPU_BIT64(23)
#define XVCPU_CPUID_1_ECX_TSC_DEADLINE XVCPU_BIT64(24)
#define XVCPU_CPUID_1_ECX_AES XVCPU_BIT64(25)
#define XVCPU_CPUID_1_ECX_XSAVE XVCPU_BIT64(26)
#define XVCPU_CPUID_1_ECX_OSXSAVE XVCPU_BIT64(27)
#define XVCPU_CPUID_1_ECX_AVX XVCPU_BIT64(28)
#define XVCPU_CPUID_1_ECX_F16C XVCPU_BIT64(29)
#define XVCPU_CPUID_1_ECX_RDRAND XVCPU_BIT64(30)
#define XVCPU_CPUID_1_ECX_HYPERVISOR XVCPU_BIT64(31)
#define XVCPU_CPUID_1_EDX_FPU XVCPU_BIT64(0)
#define XVCPU_CPUID_1_EDX_VME XVCPU_BIT64(1)
#define XVCPU_CPUID_1_EDX_DE XVCPU_BIT64(2)
#define XVCPU_CPUID_1_EDX_PSE XVCPU_BIT64(3)
#define XVCPU_CPUID_1_EDX_TSC XVCPU_BIT64(4)
#define XVCPU_CPUID_1_EDX_MSR XVCPU_BIT64(5)
#define XVCPU_CPUID_1_EDX_PAE XVCPU_BIT64(6)
#define XVCPU_CPUID_1_EDX_MCE XVCPU_BIT64(7)
#define XVCPU_CPUID_1_EDX_CX8 XVCPU_BIT64(8)
#define XVCPU_CPUID_1_EDX_APIC XVCPU_BIT64(9)
#define XVCPU_CPUID_1_EDX_SEP XVCPU_BIT64(11)
#define XVCPU_CPUID_1_EDX_MTRR XVCPU_BIT64(12)
#define XVCPU_CPUID_1_EDX_PGE XVCPU_BIT64(13)
#define XVCPU_CPUID_1_EDX_MCA XVCPU_BIT64(14)
#define XVCPU_CPUID_1_EDX_CMOV XVCPU_BIT64(15)
#define XVCPU_CPUID_1_EDX_PAT XVCPU_BIT64(16)
#define XVCPU_CPUID_1_EDX_PSE36 XVCPU_BIT64(17)
#define XVCPU_CPUID_1_EDX_PSN XVCPU_BIT64(18)
#define XVCPU_CPUID_1_EDX_CLFSH XVCPU_BIT64(19)
#define XVCPU_CPUID_1_EDX_DS XVCPU_BIT64(21)
#define XVCPU_CPUID_1_EDX_ACPI XVCPU_BIT64(22)
#define XVCPU_CPUID_1_EDX_MMX XVCPU_BIT64(23)
#define XVCPU_CPUID_1_EDX_FXSR XVCPU_BIT64(24)
#define XVCPU_CPUID_1_EDX_SSE XVCPU_BIT64(25)
#define XVCPU_CPUID_1_EDX_SSE2 XVCPU_BIT64(26)
#define XVCPU_CPUID_1_EDX_SS XVCPU_BIT64(27)
#define XVCPU_CPUID_1_EDX_HTT XVCPU_BIT64(28)
#define XVCPU_CPUID_1_EDX_TM XVCPU_BIT64(29)
#define XVCPU_CPUID_1_EDX_PBE XVCPU_BIT64(31)
#define XVCPU_CPUID_7_EBX_FSGSBASE XVCPU_BIT64(0)
#define XVCPU_CPUID_7_EBX_TSC_ADJUST XVCPU_BIT64(1)
#define XVCPU_CPUID_7_EBX_SGX XVCPU_BIT64(2)
#define XVCPU_CPUID_7_EBX_BMI1 XVCPU_BIT64(3)
#define XVCPU_CPUID_7_EBX_HLE XVCPU_BIT64(4)
#define XVCPU_CPUID_7_EBX_AVX2 XVCPU_BIT64(5)
#define XVCPU_CPUID_7_EBX_SMEP XVCPU_BIT64(7)
#define XVCPU_CPUID_7_EBX_BMI2 XVCPU_BIT64(8)
#define XVCPU_CPUID_7_EBX_ERMS XVCPU_BIT64(9)
#define XVCPU_CPUID_7_EBX_INVPCID XVCPU_BIT64(10)
#define XVCPU_CPUID_7_EBX_RTM XVCPU_BIT64(11)
#define XVCPU_CPUID_7_EBX_RDT_M XVCPU_BIT64(12)
#define XVCPU_CPUID_7_EBX_MPX XVCPU_BIT64(14)
#define XVCPU_CPUID_7_EBX_RDT_A XVCPU_BIT64(15)
#define XVCPU_CPUID_7_EBX_AVX512F XVCPU_BIT64(16)
#define XVCPU_CPUID_7_EBX_RDSEED XVCPU_BIT64(18)
#define XVCPU_CPUID_7_EBX_ADX XVCPU_BIT64(19)
#define XVCPU_CPUID_7_EBX_SMAP XVCPU_BIT64(20)
#define XVCPU_CPUID_7_EBX_CLFLUSHOPT XVCPU_BIT64(23)
#define XVCPU_CPUID_7_EBX_CLWB XVCPU_BIT64(24)
#define XVCPU_CPUID_7_EBX_INTEL_PT XVCPU_BIT64(25)
#define XVCPU_CPUID_7_EBX_SHA XVCPU_BIT64(29)
#define XVCPU_CPUID_7_ECX_UMIP XVCPU_BIT64(2)
#define XVCPU_CPUID_7_ECX_PKU XVCPU_BIT64(3)
#define XVCPU_CPUID_7_ECX_OSPKE XVCPU_BIT64(4)
#define XVCPU_CPUID_7_ECX_WAITPKG XVCPU_BIT64(5)
#define XVCPU_CPUID_7_ECX_CET_SS XVCPU_BIT64(7)
#define XVCPU_CPUID_7_ECX_TME XVCPU_BIT64(13)
#define XVCPU_CPUID_7_ECX_LA57 XVCPU_BIT64(16)
#define XVCPU_CPUID_7_ECX_RDPID XVCPU_BIT64(22)
#define XVCPU_CPUID_7_ECX_KEY_LOCKER XVCPU_BIT64(23)
#define XVCPU_CPUID_7_ECX_BUS_LOCK_DETECT XVCPU_BIT64(24)
#define XVCPU_CPUID_7_ECX_CLDEMOTE XVCPU_BIT64(25)
#define XVCPU_CPUID_7_ECX_MOVDIRI XVCPU_BIT64(27)
#define XVCPU_CPUID_7_ECX_MOVDIR64B XVCPU_BIT64(28)
#define XVCPU_CPUID_7_ECX_ENQCMD XVCPU_BIT64(29)
#define XVCPU_CPUID_7_ECX_SGX_LC XVCPU_BIT64(30)
#define XVCPU_CPUID_7_ECX_PKS XVCPU_BIT64(31)
#define XVCPU_CPUID_7_EDX_FSRM XVCPU_BIT64(4)
#define XVCPU_CPUID_7_EDX_UINTR XVCPU_BIT64(5)
#define XVCPU_CPUID_7_EDX_MD_CLEAR XVCPU_BIT64(10)
#define XVCPU_CPUID_7_EDX_SERIALIZE XVCPU_BIT64(14)
#define XVCPU_CPUID_7_EDX_HYBRID XVCPU_BIT64(15)
#define XVCPU_CPUID_7_EDX_TSXLDTRK XVCPU_BIT64(16)
#define XVCPU_CPUID_7_EDX_PCONFIG XVCPU_BIT64(18)
#define XVCPU_CPUID_7_EDX_ARCH_LBR XVCPU_BIT64(19)
#define XVCPU_CPUID_7_EDX_CET_IBT XVCPU_BIT64(20)
#define XVCPU_CPUID_7_EDX_AMX_BF16 XVCPU_BIT64(22)
#define XVCPU_CPUID_7_EDX_AMX_TILE XVCPU_BIT64(24)
#define XVCPU_CPUID_7_EDX_AMX_INT8 XVCPU_BIT64(25)
#define XVCPU_CPUID_7_EDX_IBRS_IBPB XVCPU_BIT64(26)
#define XVCPU_CPUID_7_EDX_STIBP XVCPU_BIT64(27)
#define XVCPU_CPUID_7_EDX_L1D_FLUSH XVCPU_BIT64(28)
#define XVCPU_CPUID_7_EDX_ARCH_CAPABILITIES XVCPU_BIT64(29)
#define XVCPU_CPUID_7_EDX_CORE_CAPABILITIES XVCPU_BIT64(30)
#define XVCPU_CPUID_7_EDX_SSBD XVCPU_BIT64(31)
#define XVCPU_CPUID_7_1_EAX_LASS XVCPU_BIT64(6)
#define XVCPU_CPUID_7_1_EAX_FRED XVCPU_BIT64(17)
#define XVCPU_CPUID_7_1_EAX_LKGS XVCPU_BIT64(18)
#define XVCPU_CPUID_7_1_EAX_WRMSRNS XVCPU_BIT64(19)
#define XVCPU_CPUID_7_1_EAX_NMI_SOURCE XVCPU_BIT64(20)
#define XVCPU_CPUID_7_1_EAX_LAM XVCPU_BIT64(26)
#define XVCPU_CPUID_7_1_EAX_MSRLIST XVCPU_BIT64(27)
#define XVCPU_CPUID_D_1_EAX_XSAVEOPT XVCPU_BIT64(0)
#define XVCPU_CPUID_D_1_EAX_XSAVEC XVCPU_BIT64(1)
#define XVCPU_CPUID_D_1_EAX_XGETBV_1 XVCPU_BIT64(2)
#define XVCPU_CPUID_D_1_EAX_XSAVES XVCPU_BIT64(3)
#define XVCPU_CPUID_D_1_EAX_XFD XVCPU_BIT64(4)
#define XVCPU_CPUID_EXT_1_ECX_LAHF XVCPU_BIT64(0)
#define XVCPU_CPUID_EXT_1_ECX_LZCNT XVCPU_BIT64(5)
#define XVCPU_CPUID_EXT_1_ECX_PREFETCHW XVCPU_BIT64(8)
#define XVCPU_CPUID_EXT_1_EDX_SYSCALL XVCPU_BIT64(11)
#define XVCPU_CPUID_EXT_1_EDX_NX XVCPU_BIT64(20)
#define XVCPU_CPUID_EXT_1_EDX_PAGE_1G XVCPU_BIT64(26)
#define XVCPU_CPUID_EXT_1_EDX_RDTSCP XVCPU_BIT64(27)
#define XVCPU_CPUID_EXT_1_EDX_LM XVCPU_BIT64(29)
#define XVCPU_CPUID_EXT_7_EDX_INVARIANT_TSC XVCPU_BIT64(8)
#define XVCPU_CPUID_EXT_8_EAX_PHYSICAL_BITS_SHIFT 0
#define XVCPU_CPUID_EXT_8_EAX_PHYSICAL_BITS_MASK XVCPU_BITS64(7, 0)
#define XVCPU_CPUID_EXT_8_EAX_LINEAR_BITS_SHIFT 8
#define XVCPU_CPUID_EXT_8_EAX_LINEAR_BITS_MASK XVCPU_BITS64(15, 8)


// -- Types

// Every status with its cause and its remedy; xvcpu_status_name and xvcpu_status_text read this.
#define XVCPU_STATUSES(X)                                                                          \
    X(OK, "success", "")                                                                           \
    X(INVALID_ARGUMENT, "an argument is out of its documented range",                              \
      "error.detail names the argument, error.value holds it")                                     \
    X(INVALID_STATE, "the object is in a state that does not allow this call",                     \
      "follow the life cycle: probe, enable, create, bind, run, unbind, destroy, disable")         \
    X(UNINITIALIZED_DESC, "a desc has its canaries set: it was not zeroed",                        \
      "clear the desc with = {0} before filling it in")                                            \
    X(OUT_OF_PAGES, "the page allocator returned nothing, or the desc's pages are used up",        \
      "free memory, or give more pages in the desc")                                               \
    X(BAD_PAGE, "a page is not 4 KiB aligned or lies beyond what VMX can address",                 \
      "error.value is its physical address: check XVCPU_VIRT_TO_PHYS and the allocator")           \
    X(NO_VMX, "CPUID.1:ECX.VMX is 0: this processor has no VMX",                                   \
      "run on an Intel processor with VT-x, or let the outer hypervisor expose it")                \
    X(VMX_BUSY, "CR4.VMXE is already 1: somebody else runs VMX on this processor",                 \
      "stop the other hypervisor first")                                                           \
    X(FIRMWARE_DISABLED, "IA32_FEATURE_CONTROL is locked with VMX outside SMX off",                \
      "turn VT-x on in the firmware set-up, then power-cycle")                                     \
    X(FIRMWARE_UNLOCKED, "IA32_FEATURE_CONTROL is not locked and the desc forbids to lock it",     \
      "clear keep_feature_control, or write bits 0 and 2 before")                                  \
    X(CR0_FIXED, "CR0 has bits that VMX operation does not allow",                                 \
      "error.bits are the offending bits: IA32_VMX_CR0_FIXED0/1")                                  \
    X(CR4_FIXED, "CR4 has bits that VMX operation does not allow",                                 \
      "error.bits are the offending bits: IA32_VMX_CR4_FIXED0/1")                                  \
    X(BAD_BASIC, "IA32_VMX_BASIC reports something this library cannot use",                       \
      "error.detail says what; a hypervisor below us may be at fault")                             \
    X(NOT_64BIT, "the processor is not in 64-bit mode with paging on",                             \
      "call from long mode")                                                                       \
    X(UNSUPPORTED, "this processor lacks the feature asked for",                                   \
      "error.detail names it; error.msr and error.bits say where it would show")                   \
    X(CONTROL_UNSUPPORTED, "a required VMX control cannot be set (or cleared) on this processor",  \
      "error.msr is the capability MSR, error.bits the controls")                                  \
    X(NO_TSS, "the task register is 0: VM exits need a TSS to return to",                          \
      "load a TSS with LTR before binding")                                                        \
    X(BAD_HOST_STATE, "the host state cannot be put into a VMCS",                                  \
      "error.detail names the register, error.value holds it")                                     \
    X(NOT_BOUND, "the virtual CPU is not bound to this processor", "call xvcpu_bind first")        \
    X(WRONG_CPU, "called on another processor than the one the object belongs to",                 \
      "pin the thread, or unbind there and bind here")                                             \
    X(VMFAIL_INVALID, "a VMX instruction failed and there was no current VMCS to say why",         \
      "error.detail names the instruction")                                                        \
    X(VMFAIL, "a VMX instruction failed", "error.instruction_error is the VM-instruction error")   \
    X(ENTRY_FAILED, "VM entry failed after it had begun to load guest state",                      \
      "error.exit_reason and error.qualification say which check; see VM-entry checks")            \
    X(ALREADY_MAPPED, "a part of the range is mapped already", "unmap it first")                   \
    X(NOT_MAPPED, "a part of the range is not mapped", "error.value is the first such address")    \
    X(UNKNOWN_REGISTER, "no register has this id", "use an XVCPU_REG_ constant")                   \
    X(BAD_VALUE, "the register does not accept this value",                                        \
      "error.bits are the offending bits where known")                                             \
    X(QUEUE_FULL, "an event of this kind is waiting already", "run the guest first")               \
    X(NOT_ANSWERED, "an answer does not fit the exit it was given for",                            \
      "error.detail says what the exit needs")

typedef enum xvcpu_status {
#define XVCPUI_STATUS_ENUM(name, cause, remedy) XVCPU_STATUS_##name,
    XVCPU_STATUSES(XVCPUI_STATUS_ENUM)
#undef XVCPUI_STATUS_ENUM
        XVCPU_STATUS_COUNT
} xvcpu_status;

// What went wrong. Only the parts that apply are set; the rest is 0.
typedef struct xvcpu_error {
    xvcpu_status status;
    xvcpu_u32 instruction_error; // VM-instruction error, 0 if none
    xvcpu_u32 exit_reason;       // whole exit-reason word of a failed VM entry
    xvcpu_u32 msr;               // MSR concerned: where a capability is read, or the one refused
    xvcpu_u32 field;             // VMCS field concerned
    xvcpu_u64 qualification;     // exit qualification of a failed VM entry
    xvcpu_u64 value;             // the value found
    xvcpu_u64 bits;              // the offending or missing bits of it
    const char *detail;          // constant text; never null after a failure
} xvcpu_error;

// Outcome of one VMX instruction. SDM "Conventions" (VMX Instruction Reference).
typedef enum xvcpu_vmx_result {
    XVCPU_VMX_SUCCEED = 0,
    XVCPU_VMX_FAIL_INVALID = 1, // CF: no current VMCS, hence no error number
    XVCPU_VMX_FAIL_VALID = 2    // ZF: the error number is in VMCS field 4400h
} xvcpu_vmx_result;

// Levels of XVCPU_LOG: a VM entry that failed; what you should know; reports and dumps; the rest.
typedef enum xvcpu_log_level {
    XVCPU_LOG_ERROR = 0,
    XVCPU_LOG_WARNING = 1,
    XVCPU_LOG_INFO = 2,
    XVCPU_LOG_DEBUG = 3
} xvcpu_log_level;

// -- Types: capabilities

typedef enum xvcpu_control_word {
    XVCPU_WORD_PIN = 0, // pin-based
    XVCPU_WORD_PROC1,   // primary processor-based
    XVCPU_WORD_PROC2,   // secondary
    XVCPU_WORD_PROC3,   // tertiary, 64 bits
    XVCPU_WORD_EXIT,    // primary VM-exit
    XVCPU_WORD_EXIT2,   // secondary, 64 bits
    XVCPU_WORD_ENTRY,   // VM-entry
    XVCPU_WORD_COUNT
} xvcpu_control_word;

// The settings a processor allows for one word of controls.
typedef struct xvcpu_control_caps {
    xvcpu_u64 must_be_1; // bits that must be 1 ("allowed 0-settings")
    xvcpu_u64 may_be_1;  // bits that may be 1 ("allowed 1-settings")
    xvcpu_u32 msr;       // where this was read; 0: the word does not exist here
} xvcpu_control_caps;

// CPUID result in the order the instruction returns it.
typedef struct xvcpu_cpuid_regs {
    xvcpu_u32 eax, ebx, ecx, edx;
} xvcpu_cpuid_regs;

// Features a guest may be shown: one row says all that has to agree about a feature.
// X(id, needs, word, controls, leaf, subleaf, reg, cpuid bits, CR4 bits, XCR0 bits, XSS bits)
//   needs     another feature that must be on as well (NONE: nothing)
//   controls  bits of `word` that must be settable, and are set for a guest that sees the feature
//   cpuid     where the processor says it has the feature and where the guest is told
#define XVCPU_FEATURES(X)                                                                          \
    X(NONE, NONE, ENTRY, 0, 0, 0, A, 0, 0, 0, 0)                                                   \
    X(VME, NONE, ENTRY, 0, 1, 0, D, XVCPU_BIT32(1), XVCPU_CR4_VME | XVCPU_CR4_PVI, 0, 0)           \
    X(DE, NONE, ENTRY, 0, 1, 0, D, XVCPU_BIT32(2), XVCPU_CR4_DE, 0, 0)                             \
    X(PSE, NONE, ENTRY, 0, 1, 0, D, XVCPU_BIT32(3), XVCPU_CR4_PSE, 0, 0)                           \
    X(TSC, NONE, ENTRY, 0, 1, 0, D, XVCPU_BIT32(4), XVCPU_CR4_TSD, 0, 0)                           \
    X(PAE, NONE, ENTRY, 0, 1, 0, D, XVCPU_BIT32(6), XVCPU_CR4_PAE, 0, 0)                           \
    X(MCE, NONE, ENTRY, 0, 1, 0, D, XVCPU_BIT32(7), XVCPU_CR4_MCE, 0, 0)                           \
    X(SEP, NONE, ENTRY, 0, 1, 0, D, XVCPU_BIT32(11), 0, 0, 0)                                      \
    X(PGE, NONE, ENTRY, 0, 1, 0, D, XVCPU_BIT32(13), XVCPU_CR4_PGE, 0, 0)                          \
    X(FXSR, NONE, ENTRY, 0, 1, 0, D, XVCPU_BIT32(24), XVCPU_CR4_OSFXSR, 0, 0)                      \
    X(SSE, FXSR, ENTRY, 0, 1, 0, D, XVCPU_BIT32(25), XVCPU_CR4_OSXMMEXCPT, 0, 0)                   \
    X(PCID, LM, ENTRY, 0, 1, 0, C, XVCPU_BIT32(17), XVCPU_CR4_PCIDE, 0, 0)                         \
    X(XSAVE, FXSR, ENTRY, 0, 1, 0, C, XVCPU_BIT32(26), XVCPU_CR4_OSXSAVE,                          \
      XVCPU_XCR0_X87 | XVCPU_XCR0_SSE, 0)                                                          \
    X(AVX, XSAVE, ENTRY, 0, 1, 0, C, XVCPU_BIT32(28), 0, XVCPU_XCR0_AVX, 0)                        \
    X(FMA, AVX, ENTRY, 0, 1, 0, C, XVCPU_BIT32(12), 0, 0, 0)                                       \
    X(F16C, AVX, ENTRY, 0, 1, 0, C, XVCPU_BIT32(29), 0, 0, 0)                                      \
    X(AVX2, AVX, ENTRY, 0, 7, 0, B, XVCPU_BIT32(5), 0, 0, 0)                                       \
    X(AVX512, AVX, ENTRY, 0, 7, 0, B, XVCPU_BIT32(16), 0,                                          \
      XVCPU_XCR0_OPMASK | XVCPU_XCR0_ZMM_HI256 | XVCPU_XCR0_HI16_ZMM, 0)                           \
    X(FSGSBASE, LM, ENTRY, 0, 7, 0, B, XVCPU_BIT32(0), XVCPU_CR4_FSGSBASE, 0, 0)                   \
    X(SMEP, NONE, ENTRY, 0, 7, 0, B, XVCPU_BIT32(7), XVCPU_CR4_SMEP, 0, 0)                         \
    X(SMAP, NONE, ENTRY, 0, 7, 0, B, XVCPU_BIT32(20), XVCPU_CR4_SMAP, 0, 0)                        \
    X(INVPCID, NONE, PROC2, XVCPU_PROC2_INVPCID, 7, 0, B, XVCPU_BIT32(10), 0, 0, 0)                \
    X(UMIP, NONE, ENTRY, 0, 7, 0, C, XVCPU_BIT32(2), XVCPU_CR4_UMIP, 0, 0)                         \
    X(PKU, XSAVE, ENTRY, 0, 7, 0, C, XVCPU_BIT32(3), XVCPU_CR4_PKE, XVCPU_XCR0_PKRU, 0)            \
    X(LA57, LM, ENTRY, 0, 7, 0, C, XVCPU_BIT32(16), XVCPU_CR4_LA57, 0, 0)                          \
    X(RDPID, RDTSCP, PROC2, XVCPU_PROC2_RDTSCP, 7, 0, C, XVCPU_BIT32(22), 0, 0, 0)                 \
    X(WAITPKG, NONE, PROC2, XVCPU_PROC2_USER_WAIT_PAUSE, 7, 0, C, XVCPU_BIT32(5), 0, 0, 0)         \
    X(XSAVES, XSAVE, PROC2, XVCPU_PROC2_XSAVES, 13, 1, A, XVCPU_BIT32(3), 0, 0, 0)                 \
    X(SYSCALL, LM, ENTRY, 0, 0x80000001U, 0, D, XVCPU_BIT32(11), 0, 0, 0)                          \
    X(NX, NONE, ENTRY, XVCPU_ENTRY_LOAD_EFER, 0x80000001U, 0, D, XVCPU_BIT32(20), 0, 0, 0)         \
    X(PAGE1GB, LM, ENTRY, 0, 0x80000001U, 0, D, XVCPU_BIT32(26), 0, 0, 0)                          \
    X(RDTSCP, NONE, PROC2, XVCPU_PROC2_RDTSCP, 0x80000001U, 0, D, XVCPU_BIT32(27), 0, 0, 0)        \
    X(LM, PAE, ENTRY, XVCPU_ENTRY_LOAD_EFER, 0x80000001U, 0, D, XVCPU_BIT32(29), 0, 0, 0)

typedef enum xvcpu_feature {
#define XVCPUI_FEATURE_ENUM(id, needs, word, ctl, leaf, sub, reg, bits, cr4, xcr0, xss)            \
    XVCPU_FEATURE_##id,
    XVCPU_FEATURES(XVCPUI_FEATURE_ENUM)
#undef XVCPUI_FEATURE_ENUM
        XVCPU_FEATURE_COUNT
} xvcpu_feature;

// What this processor can do. Filled by xvcpu_probe; the same on every core of most machines.
typedef struct xvcpu_caps {
    xvcpu_u64 basic;      // IA32_VMX_BASIC
    xvcpu_u64 misc;       // IA32_VMX_MISC
    xvcpu_u64 cr0_fixed0; // bits of CR0 that must be 1
    xvcpu_u64 cr0_fixed1; // bits of CR0 that may be 1
    xvcpu_u64 cr4_fixed0; // the same for CR4
    xvcpu_u64 cr4_fixed1;
    xvcpu_u64 vmcs_enum; // IA32_VMX_VMCS_ENUM
    xvcpu_u64 ept_vpid;  // IA32_VMX_EPT_VPID_CAP, 0 if it does not exist
    xvcpu_u64 vmfunc;    // IA32_VMX_VMFUNC, 0 if it does not exist
    xvcpu_control_caps controls[XVCPU_WORD_COUNT];
    xvcpu_u64 features;  // XVCPU_BIT64(XVCPU_FEATURE_x): what a guest can be given here
    xvcpu_u64 xcr0_mask; // XCR0 bits the processor supports
    xvcpu_u64 xss_mask;  // IA32_XSS bits the processor supports
    xvcpu_u32 revision;  // VMCS revision identifier
    xvcpu_u32 region_bytes;   // of a VMXON region or VMCS: 1 to 4096
    xvcpu_u32 physical_bits;  // MAXPHYADDR, less the bits memory encryption takes
    xvcpu_u32 linear_bits;    // 48 or 57
    xvcpu_u32 max_leaf;       // CPUID.0:EAX
    xvcpu_u32 max_ext_leaf;   // CPUID.80000000h:EAX
    xvcpu_u32 xsave_bytes;    // XSAVE area for all of xcr0_mask, standard form; 0: no XSAVE
    xvcpu_u32 timer_shift;    // the preemption timer counts TSC >> timer_shift
    xvcpu_u32 cr3_targets;    // CR3-target values supported
    xvcpu_u32 family, model, stepping; // as CPUID displays them
    xvcpu_bool probed;                 // xvcpu_probe was successful
} xvcpu_caps;

// -- Types: physical CPU

// Pages for a build without an allocator: `count` 4 KiB pages at `pages`, owned by the library
// from the call that takes them until the object is destroyed. Physically they may be anywhere.
typedef struct xvcpu_page_supply {
    void *pages;     // 4 KiB aligned; null: the hooks give the pages
    xvcpu_u32 count; // XVCPU_CPU_PAGES, XVCPU_VCPU_PAGES, or what an EPT may take
} xvcpu_page_supply;

// Free pages of one object, linked through their own first bytes; also counts what is in use.
typedef struct xvcpu_pool {
    void *context;       // passed to the allocation hooks
    void *free_list;     // supplied pages not in use
    xvcpu_u32 in_use;    // pages this object holds now
    xvcpu_bool supplied; // pages come from a supply, not from the hooks
} xvcpu_pool;

// Pages each object takes, for callers that supply them.
#define XVCPU_CPU_PAGES 1U  // VMXON region
#define XVCPU_VCPU_PAGES 6U // VMCS, MSR bitmap, I/O bitmaps A and B, guest and host XSAVE areas

struct xvcpu;

typedef struct xvcpu_cpu_desc {
    xvcpu_u32 canary_first;          // must be 0
    void *context;                   // passed to every hook called for this CPU
    xvcpu_page_supply supply;        // needed only without allocation hooks
    xvcpu_u32 id;                    // what XVCPU_CPU_ID returns on this CPU, if that is defined
    xvcpu_bool keep_feature_control; // never write IA32_FEATURE_CONTROL: fail if it is unlocked
    xvcpu_bool keep_cr0;             // never set CR0.NE: fail if it is clear
    xvcpu_u32 canary_last;           // must be 0
} xvcpu_cpu_desc;

// VMX state of one physical CPU. Lives as long as VMX is enabled there; must not move.
typedef struct xvcpu_cpu {
    void *context;   // desc.context
    xvcpu_caps caps; // of this CPU: what xvcpu_ept_create and xvcpu_create want
    xvcpu_pool pool;
    void *vmxon_region;
    xvcpu_u64 vmxon_pa;
    xvcpu_u64 saved_cr0; // as found by enable; disable puts back the bits it changed
    xvcpu_u64 saved_cr4;
    struct xvcpu *active;  // list of the virtual CPUs whose VMCS is active here
    struct xvcpu *current; // whose VMCS is current here
    xvcpu_u32 id;          // desc.id
    xvcpu_u32 enabled; // XVCPUI_MAGIC_CPU while ours
} xvcpu_cpu;

// -- Types: EPT

// Bits. Not WRITE without READ; EXECUTE alone only where the processor can.
typedef enum xvcpu_ept_permission {
    XVCPU_EPT_READ = 1,
    XVCPU_EPT_WRITE = 2,
    XVCPU_EPT_EXECUTE = 4,
    XVCPU_EPT_RWX = 7
} xvcpu_ept_permission;

// Memory is WB, device registers are UC; the guest's PAT is combined with it. SDM "EPT and Memory
// Typing".
typedef enum xvcpu_memory_type {
    XVCPU_MEMORY_UC = 0,
    XVCPU_MEMORY_WC = 1,
    XVCPU_MEMORY_WT = 4,
    XVCPU_MEMORY_WP = 5,
    XVCPU_MEMORY_WB = 6
} xvcpu_memory_type;

typedef struct xvcpu_ept_desc {
    xvcpu_u32 canary_first; // must be 0
    void *context;          // passed to every hook called for this EPT
    xvcpu_page_supply supply; // needed only without allocation hooks
    xvcpu_bool accessed_dirty; // turn accessed and dirty flags on; UNSUPPORTED where absent
    xvcpu_u32 max_page_level;  // largest leaf: 1 4 KiB, 2 2 MiB, 3 1 GiB; 0: what the CPU can do
    xvcpu_u32 canary_last;     // must be 0
} xvcpu_ept_desc;

// A guest-physical address space. Shared by the virtual CPUs of one VM; must not move.
typedef struct xvcpu_ept {
    void *context;   // desc.context
    xvcpu_pool pool; // pool.in_use is the exact number of table pages
    xvcpu_u64 *root; // the top table
    xvcpu_u64 root_pa;
    xvcpu_u64 eptp;       // ready to be written to the VMCS
    xvcpu_u64 capability; // IA32_VMX_EPT_VPID_CAP it was made for
    xvcpu_u64 generation; // grows with every change that needs INVEPT
    xvcpu_u32 physical_bits;  // MAXPHYADDR it was made for
    xvcpu_u32 max_page_level; // as in the desc, resolved
    xvcpu_u32 levels; // page-walk length: 4
    xvcpu_u32 magic;
} xvcpu_ept;

// What xvcpu_ept_translate found.
typedef struct xvcpu_ept_mapping {
    xvcpu_u64 hpa;         // host-physical address of the very byte asked for
    xvcpu_u64 page_bytes;  // size of the mapping page
    xvcpu_u32 permissions; // xvcpu_ept_permission bits
    xvcpu_u32 memory_type; // xvcpu_memory_type
    xvcpu_bool ignore_pat;      // the guest's PAT has no say
    xvcpu_bool accessed, dirty; // with desc.accessed_dirty
} xvcpu_ept_mapping;

// -- Types: guest memory

typedef enum xvcpu_cpu_mode {
    XVCPU_MODE_REAL = 0,
    XVCPU_MODE_VIRTUAL_8086,
    XVCPU_MODE_PROTECTED,
    XVCPU_MODE_COMPATIBILITY,
    XVCPU_MODE_64BIT
} xvcpu_cpu_mode;

// What a page walk depends on; filled from a bound virtual CPU by xvcpu_get_paging.
typedef struct xvcpu_paging {
    xvcpu_u64 cr0, cr3, cr4, efer, rflags; // as the guest sees them
    xvcpu_u64 pdpte[4]; // PAE paging: the loaded page-directory-pointer entries
    xvcpu_u32 cpl;           // 0 to 3; change it to ask for another
    xvcpu_u32 physical_bits; // MAXPHYADDR of the guest
    xvcpu_u32 pkru; // used when CR4.PKE is set
    xvcpu_bool nx_supported, page1gb_supported; // the guest sees NX, PAGE1GB
} xvcpu_paging;

// Bits: what is done there. The privilege is xvcpu_paging.cpl.
typedef enum xvcpu_access {
    XVCPU_ACCESS_READ = 1,
    XVCPU_ACCESS_WRITE = 2,
    XVCPU_ACCESS_EXECUTE = 4,
    XVCPU_ACCESS_SUPERVISOR = 8 // implicit supervisor access: descriptor tables, TSS
} xvcpu_access;

// What xvcpu_walk and the copy functions found.
typedef struct xvcpu_translation {
    xvcpu_u64 gpa;              // of the last page walked; 0 after a fault
    xvcpu_u64 page_bytes;       // of the guest page
    xvcpu_bool fault;           // the guest gets a page fault (or #GP for a non-canonical address)
    xvcpu_bool not_canonical;   // with fault: #GP(0), not #PF
    xvcpu_bool ept_fault;       // a guest paging structure or the page is not mapped in the EPT
    xvcpu_u64 fault_gpa;        // with ept_fault
    xvcpu_u32 error_code;       // page-fault error code
    xvcpu_u64 bytes_done;       // copy functions: bytes moved before the fault
    xvcpu_u64 fault_gva;        // copy functions: first address not accessible
} xvcpu_translation;

// -- Types: virtual CPU

// Index of a general register in xvcpu.gpr: its hardware number.
typedef enum xvcpu_gpr {
    XVCPU_RAX = 0,
    XVCPU_RCX,
    XVCPU_RDX,
    XVCPU_RBX,
    XVCPU_RSP, // lives in the VMCS: use xvcpu_get/xvcpu_set; the slot is not loaded
    XVCPU_RBP,
    XVCPU_RSI,
    XVCPU_RDI,
    XVCPU_R8,
    XVCPU_R9,
    XVCPU_R10,
    XVCPU_R11,
    XVCPU_R12,
    XVCPU_R13,
    XVCPU_R14,
    XVCPU_R15
} xvcpu_gpr;

typedef enum xvcpu_segment {
    XVCPU_ES = 0,
    XVCPU_CS,
    XVCPU_SS,
    XVCPU_DS,
    XVCPU_FS,
    XVCPU_GS,
    XVCPU_LDTR,
    XVCPU_TR,
    XVCPU_SEGMENT_COUNT
} xvcpu_segment;

// Where a register lives.
typedef enum xvcpu_reg_home {
    XVCPU_HOME_GPR = 0, // xvcpu.gpr[arg]
    XVCPU_HOME_VMCS,    // VMCS field arg
    XVCPU_HOME_SOFT     // kept by the library, or needs upkeep when read or written
} xvcpu_reg_home;

// Every register of a virtual CPU: X(id, home, argument, width in bits)
#define XVCPU_REGISTERS(X)                                                                         \
    X(RAX, GPR, XVCPU_RAX, 64)                                                                     \
    X(RCX, GPR, XVCPU_RCX, 64)                                                                     \
    X(RDX, GPR, XVCPU_RDX, 64)                                                                     \
    X(RBX, GPR, XVCPU_RBX, 64)                                                                     \
    X(RSP, VMCS, XVCPU_VMCS_GUEST_RSP, 64)                                                         \
    X(RBP, GPR, XVCPU_RBP, 64)                                                                     \
    X(RSI, GPR, XVCPU_RSI, 64)                                                                     \
    X(RDI, GPR, XVCPU_RDI, 64)                                                                     \
    X(R8, GPR, XVCPU_R8, 64)                                                                       \
    X(R9, GPR, XVCPU_R9, 64)                                                                       \
    X(R10, GPR, XVCPU_R10, 64)                                                                     \
    X(R11, GPR, XVCPU_R11, 64)                                                                     \
    X(R12, GPR, XVCPU_R12, 64)                                                                     \
    X(R13, GPR, XVCPU_R13, 64)                                                                     \
    X(R14, GPR, XVCPU_R14, 64)                                                                     \
    X(R15, GPR, XVCPU_R15, 64)                                                                     \
    X(RIP, VMCS, XVCPU_VMCS_GUEST_RIP, 64)                                                         \
    X(RFLAGS, VMCS, XVCPU_VMCS_GUEST_RFLAGS, 64)                                                   \
    X(ES, VMCS, XVCPU_VMCS_GUEST_ES_SELECTOR, 16)                                                  \
    X(CS, VMCS, XVCPU_VMCS_GUEST_CS_SELECTOR, 16)                                                  \
    X(SS, VMCS, XVCPU_VMCS_GUEST_SS_SELECTOR, 16)                                                  \
    X(DS, VMCS, XVCPU_VMCS_GUEST_DS_SELECTOR, 16)                                                  \
    X(FS, VMCS, XVCPU_VMCS_GUEST_FS_SELECTOR, 16)                                                  \
    X(GS, VMCS, XVCPU_VMCS_GUEST_GS_SELECTOR, 16)                                                  \
    X(LDTR, VMCS, XVCPU_VMCS_GUEST_LDTR_SELECTOR, 16)                                              \
    X(TR, VMCS, XVCPU_VMCS_GUEST_TR_SELECTOR, 16)                                                  \
    X(ES_BASE, VMCS, XVCPU_VMCS_GUEST_ES_BASE, 64)                                                 \
    X(CS_BASE, VMCS, XVCPU_VMCS_GUEST_CS_BASE, 64)                                                 \
    X(SS_BASE, VMCS, XVCPU_VMCS_GUEST_SS_BASE, 64)                                                 \
    X(DS_BASE, VMCS, XVCPU_VMCS_GUEST_DS_BASE, 64)                                                 \
    X(FS_BASE, VMCS, XVCPU_VMCS_GUEST_FS_BASE, 64)                                                 \
    X(GS_BASE, VMCS, XVCPU_VMCS_GUEST_GS_BASE, 64)                                                 \
    X(LDTR_BASE, VMCS, XVCPU_VMCS_GUEST_LDTR_BASE, 64)                                             \
    X(TR_BASE, VMCS, XVCPU_VMCS_GUEST_TR_BASE, 64)                                                 \
    X(ES_LIMIT, VMCS, XVCPU_VMCS_GUEST_ES_LIMIT, 32)                                               \
    X(CS_LIMIT, VMCS, XVCPU_VMCS_GUEST_CS_LIMIT, 32)                                               \
    X(SS_LIMIT, VMCS, XVCPU_VMCS_GUEST_SS_LIMIT, 32)                                               \
    X(DS_LIMIT, VMCS, XVCPU_VMCS_GUEST_DS_LIMIT, 32)                                               \
    X(FS_LIMIT, VMCS, XVCPU_VMCS_GUEST_FS_LIMIT, 32)                                               \
    X(GS_LIMIT, VMCS, XVCPU_VMCS_GUEST_GS_LIMIT, 32)                                               \
    X(LDTR_LIMIT, VMCS, XVCPU_VMCS_GUEST_LDTR_LIMIT, 32)                                           \
    X(TR_LIMIT, VMCS, XVCPU_VMCS_GUEST_TR_LIMIT, 32)                                               \
    X(ES_RIGHTS, VMCS, XVCPU_VMCS_GUEST_ES_AR, 32)                                                 \
    X(CS_RIGHTS, VMCS, XVCPU_VMCS_GUEST_CS_AR, 32)                                                 \
    X(SS_RIGHTS, VMCS, XVCPU_VMCS_GUEST_SS_AR, 32)                                                 \
    X(DS_RIGHTS, VMCS, XVCPU_VMCS_GUEST_DS_AR, 32)                                                 \
    X(FS_RIGHTS, VMCS, XVCPU_VMCS_GUEST_FS_AR, 32)                                                 \
    X(GS_RIGHTS, VMCS, XVCPU_VMCS_GUEST_GS_AR, 32)                                                 \
    X(LDTR_RIGHTS, VMCS, XVCPU_VMCS_GUEST_LDTR_AR, 32)                                             \
    X(TR_RIGHTS, VMCS, XVCPU_VMCS_GUEST_TR_AR, 32)                                                 \
    X(GDTR_BASE, VMCS, XVCPU_VMCS_GUEST_GDTR_BASE, 64)                                             \
    X(GDTR_LIMIT, VMCS, XVCPU_VMCS_GUEST_GDTR_LIMIT, 32)                                           \
    X(IDTR_BASE, VMCS, XVCPU_VMCS_GUEST_IDTR_BASE, 64)                                             \
    X(IDTR_LIMIT, VMCS, XVCPU_VMCS_GUEST_IDTR_LIMIT, 32)                                           \
    X(CR0, SOFT, 0, 64)                                                                            \
    X(CR2, SOFT, 0, 64)                                                                            \
    X(CR3, SOFT, 0, 64)                                                                            \
    X(CR4, SOFT, 0, 64)                                                                            \
    X(CR8, SOFT, 0, 64)                                                                            \
    X(XCR0, SOFT, 0, 64)                                                                           \
    X(DR0, SOFT, 0, 64)                                                                            \
    X(DR1, SOFT, 1, 64)                                                                            \
    X(DR2, SOFT, 2, 64)                                                                            \
    X(DR3, SOFT, 3, 64)                                                                            \
    X(DR6, SOFT, 6, 64)                                                                            \
    X(DR7, VMCS, XVCPU_VMCS_GUEST_DR7, 64)                                                         \
    X(EFER, SOFT, 0, 64)                                                                           \
    X(PAT, SOFT, 0, 64)                                                                            \
    X(DEBUGCTL, VMCS, XVCPU_VMCS_GUEST_DEBUGCTL, 64)                                               \
    X(SYSENTER_CS, VMCS, XVCPU_VMCS_GUEST_SYSENTER_CS, 32)                                         \
    X(SYSENTER_ESP, VMCS, XVCPU_VMCS_GUEST_SYSENTER_ESP, 64)                                       \
    X(SYSENTER_EIP, VMCS, XVCPU_VMCS_GUEST_SYSENTER_EIP, 64)                                       \
    X(STAR, SOFT, 0, 64)                                                                           \
    X(LSTAR, SOFT, 1, 64)                                                                          \
    X(CSTAR, SOFT, 2, 64)                                                                          \
    X(FMASK, SOFT, 3, 64)                                                                          \
    X(KERNEL_GS_BASE, SOFT, 4, 64)                                                                 \
    X(TSC_AUX, SOFT, 5, 64)                                                                        \
    X(XSS, SOFT, 0, 64)                                                                            \
    X(APIC_BASE, SOFT, 0, 64)                                                                      \
    X(TSC_OFFSET, VMCS, XVCPU_VMCS_CTRL_TSC_OFFSET, 64)                                            \
    X(ACTIVITY, VMCS, XVCPU_VMCS_GUEST_ACTIVITY_STATE, 32)                                         \
    X(INTERRUPTIBILITY, VMCS, XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 32)                               \
    X(PENDING_DEBUG, VMCS, XVCPU_VMCS_GUEST_PENDING_DBG, 64)

typedef enum xvcpu_reg {
#define XVCPUI_REG_ENUM(id, home, arg, width) XVCPU_REG_##id,
    XVCPU_REGISTERS(XVCPUI_REG_ENUM)
#undef XVCPUI_REG_ENUM
        XVCPU_REG_COUNT
} xvcpu_reg;

// MSRs that VMX does not switch and SYSCALL, SWAPGS or RDTSCP use: order of xvcpu.switched.
typedef enum xvcpu_switched_msr {
    XVCPU_SWITCHED_STAR = 0,
    XVCPU_SWITCHED_LSTAR,
    XVCPU_SWITCHED_CSTAR,
    XVCPU_SWITCHED_FMASK,
    XVCPU_SWITCHED_KERNEL_GS_BASE,
    XVCPU_SWITCHED_TSC_AUX,
    XVCPU_SWITCHED_COUNT
} xvcpu_switched_msr;

// One event on its way into the guest.
typedef struct xvcpu_event {
    xvcpu_u32 info;       // VM-entry interruption-information format; bit 31: present
    xvcpu_u32 error_code; // used when info says so
    xvcpu_u32 length;     // instruction length, software events only
    xvcpu_u64 payload;    // #PF: the CR2 to load; #DB: the DR6 bits to set
    xvcpu_bool has_payload;
} xvcpu_event;

// What waits for the guest, in the order it goes in.
typedef struct xvcpu_event_queue {
    xvcpu_event interrupted;    // a delivery that an exit cut short; goes first
    xvcpu_event exception;      // raised by the library or the caller
    xvcpu_u64 interrupts[4];    // external interrupts waiting, one bit a vector
    xvcpu_u32 nmis;             // waiting NMIs: at most 2, as one is latched and one may be due
    xvcpu_bool triple_fault;    // merging ended in shutdown
} xvcpu_event_queue;

// How an exit was or is to be answered.
typedef enum xvcpu_answer {
    XVCPU_ANSWER_NONE = 0, // caller: nothing done, the instruction runs again
    XVCPU_ANSWER_DONE,     // caller: completed, value is the result
    XVCPU_ANSWER_FAULT     // caller: inject fault_vector/fault_error into the guest instead
} xvcpu_answer;

// What a handler did with an exit.
typedef enum xvcpu_action {
    XVCPU_ACTION_DEFAULT = 0, // not mine: let the built-in handler see it
    XVCPU_ACTION_HANDLED,     // the guest may go on, after the answer if the handler gave one
    XVCPU_ACTION_INJECTED,    // an event was queued for the guest
    XVCPU_ACTION_RETURN       // return from xvcpu_run to the caller
} xvcpu_action;

// What kind of answer an exit waits for. Any but KICKED, and HLT, may be answered with a fault too.
typedef enum xvcpu_exit_kind {
    XVCPU_EXIT_PLAIN = 0,  // nothing to complete
    XVCPU_EXIT_INSTRUCTION, // complete: RIP moves past the instruction; VMCALL: value becomes RAX
    XVCPU_EXIT_IO,         // u.io; IN: value becomes AL, AX or EAX; not for INS and OUTS
    XVCPU_EXIT_MSR_READ,   // u.msr; value becomes EDX:EAX
    XVCPU_EXIT_MSR_WRITE,  // u.msr; value is the guest's EDX:EAX
    XVCPU_EXIT_CR,         // u.cr; a read: value becomes u.cr.gpr. Rare: the library does the rest
    XVCPU_EXIT_DR,         // u.dr; likewise. Only if a handler of the caller's returns it
    XVCPU_EXIT_MMIO,       // u.memory with a decoded access; a load: value becomes u.memory.gpr
    XVCPU_EXIT_KICKED      // no guest exit: xvcpu_kick asked for a return
} xvcpu_exit_kind;

typedef struct xvcpu_exit_io {
    xvcpu_u16 port;
    xvcpu_u8 bytes;        // 1, 2 or 4
    xvcpu_bool in;         // the guest reads
    xvcpu_bool string;     // INS or OUTS
    xvcpu_bool rep;        // with a repeat prefix
    xvcpu_bool immediate;  // the port was in the instruction, not in DX
    xvcpu_u8 address_bits; // string only: 16, 32 or 64
    xvcpu_u8 segment;      // string only: xvcpu_segment
    xvcpu_u64 gla;         // string only: linear address of the first element
    xvcpu_u64 count;       // 1, or the REP count by the address size
} xvcpu_exit_io;

typedef struct xvcpu_exit_cr {
    xvcpu_u8 number;   // control register
    xvcpu_u8 access;   // XVCPU_QUAL_CR_ACCESS_*: 0 to CR, 1 from CR, 2 CLTS, 3 LMSW
    xvcpu_u8 gpr;      // general register of a MOV
    xvcpu_bool memory; // LMSW with a memory operand
    xvcpu_u16 lmsw;    // LMSW source
} xvcpu_exit_cr;

typedef struct xvcpu_exit_dr {
    xvcpu_u8 number; // debug register, 4 and 5 as the guest said
    xvcpu_u8 gpr;    // general register
    xvcpu_bool read; // MOV from DR
} xvcpu_exit_dr;

typedef struct xvcpu_exit_msr {
    xvcpu_u32 index; // ECX: MSR, or XCR of XSETBV, or counter of RDPMC
} xvcpu_exit_msr;

typedef struct xvcpu_exit_memory {
    xvcpu_u64 gpa;         // where in guest-physical memory, to the byte
    xvcpu_u64 gla;         // linear address, valid when gla_valid
    xvcpu_bool gla_valid;
    xvcpu_bool read, write, execute; // what the guest did
    xvcpu_bool page_walk;            // the access was to a guest paging structure
    xvcpu_bool readable, writable, executable; // what the EPT allowed
    xvcpu_u8 bytes;        // MMIO: size of the access, 0 if not decoded
    xvcpu_u8 gpr;          // MMIO: register read into or written from
    xvcpu_u8 gpr_shift;    // MMIO: 8 for AH, CH, DH, BH
    xvcpu_u8 gpr_bytes;    // MMIO: operand size the value is extended to
    xvcpu_bool sign_extend; // MMIO: MOVSX
    xvcpu_bool immediate;  // MMIO: the value written was in the instruction
} xvcpu_exit_memory;

typedef struct xvcpu_exit_task_switch {
    xvcpu_u16 selector; // of the new task's TSS
    xvcpu_u8 source; // 0 CALL, 1 IRET, 2 JMP, 3 task gate in the IDT
} xvcpu_exit_task_switch;

typedef struct xvcpu_exit_apic {
    xvcpu_u16 offset; // in the APIC page
    xvcpu_u8 access;  // XVCPU_QUAL_APIC_TYPE_*
} xvcpu_exit_apic;

typedef struct xvcpu_exit_descriptor {
    xvcpu_bool store;      // SGDT, SIDT, SLDT, STR; else a load
    xvcpu_u8 table;        // 0 GDTR, 1 IDTR, 2 LDTR, 3 TR
} xvcpu_exit_descriptor;

typedef struct xvcpu_exit_exception {
    xvcpu_u8 vector;
    xvcpu_u8 type;         // XVCPU_INTR_TYPE_*
    xvcpu_bool has_error;  // error_code is valid
    xvcpu_u32 error_code;
    xvcpu_u64 address;     // #PF: linear address; #DB: DR6-like bits: the payload of xvcpu_raise
} xvcpu_exit_exception;

typedef struct xvcpu_exit_vmcall {
    xvcpu_u64 number;      // RAX
} xvcpu_exit_vmcall;

// One decoded exit; valid until the next xvcpu_run. With kind KICKED nothing but the kind is valid.
// The member of `u` that is valid goes by the kind, or else by the reason; the others are stale:
//   io           IO
//   cr, dr       CR, DR
//   msr          MSR_READ, MSR_WRITE; XSETBV, RDPMC
//   memory       MMIO; EPT_VIOLATION, EPT_MISCONFIG (gpa alone), SPP_EVENT
//   exception    EXCEPTION_NMI
//   task_switch  TASK_SWITCH
//   apic         APIC_ACCESS, APIC_WRITE
//   descriptor   GDTR_IDTR_ACCESS, LDTR_TR_ACCESS
//   vmcall       VMCALL
//   vector       EXTERNAL_INTERRUPT if acknowledged, SIPI, VIRTUALIZED_EOI
// A reason this library does not know has kind PLAIN and all the raw words.
typedef struct xvcpu_exit {
    xvcpu_u32 reason;             // basic exit reason, XVCPU_EXIT_REASON_x
    xvcpu_u32 reason_word;        // with the flag bits
    xvcpu_exit_kind kind;         // look here first
    xvcpu_answer answer;          // written by the caller before the next run
    xvcpu_u64 value;              // what the guest writes: MOV to CR or DR, LMSW, OUT, WRMSR,
                                  // XSETBV, MMIO; else 0, and then the caller's answer
    xvcpu_u32 fault_vector;       // with XVCPU_ANSWER_FAULT
    xvcpu_u32 fault_error;        // its error code
    xvcpu_u64 rip;                // of the instruction, or where the event came in
    xvcpu_u32 instruction_length; // 0 where the SDM leaves it undefined
    xvcpu_u32 instruction_info;   // where the reason has a layout for it, else 0
    xvcpu_u64 qualification;      // where the SDM defines one for the reason, else 0; WRMSR: 0
    xvcpu_u32 interruption_info;  // exceptions, acknowledged external interrupts; else 0
    xvcpu_u32 interruption_error; // error code that belongs to it
    union xvcpu_exit_detail {
        xvcpu_exit_io io;
        xvcpu_exit_cr cr;
        xvcpu_exit_dr dr;
        xvcpu_exit_msr msr;
        xvcpu_exit_memory memory;
        xvcpu_exit_task_switch task_switch;
        xvcpu_exit_apic apic;
        xvcpu_exit_descriptor descriptor;
        xvcpu_exit_exception exception;
        xvcpu_exit_vmcall vmcall;
        xvcpu_u8 vector; // external interrupt (acknowledged), SIPI, virtualized EOI
    } u;
} xvcpu_exit;

// A handler for one exit reason; runs with the host's own state loaded and interrupts off. `exit`
// is vcpu->exit, `context` what xvcpu_set_handler was given. With HANDLED or INJECTED an answer it
// gave is carried out; without one the instruction runs again, unless it was skipped.
typedef xvcpu_action (*xvcpu_exit_handler)(struct xvcpu *vcpu, xvcpu_exit *exit, void *context);

// Changes what CPUID returns to the guest: `regs` holds the answer of desc.cpuid_table or the
// built-in one. Runs like a handler; `context` is desc.context.
typedef void (*xvcpu_cpuid_hook)(struct xvcpu *vcpu, xvcpu_u32 leaf, xvcpu_u32 subleaf,
                                 xvcpu_cpuid_regs *regs, void *context);

// A CPUID answer of the caller's own; replaces the built-in one.
typedef struct xvcpu_cpuid_entry {
    xvcpu_u32 leaf;         // EAX
    xvcpu_u32 subleaf;      // ECX
    xvcpu_bool any_subleaf; // ECX does not matter
    xvcpu_cpuid_regs regs;  // the answer, as it is
} xvcpu_cpuid_entry;

// What is left to the host, by explicit choice: each saves work at every return from xvcpu_run.
typedef enum xvcpu_leave_to_host {
    XVCPU_LEAVE_NOTHING = 0,
    XVCPU_LEAVE_SYSCALL_MSRS = 1,    // STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE, TSC_AUX
    XVCPU_LEAVE_DESCRIPTOR_LIMITS = 2, // GDTR/IDTR limits, LDTR, TR limit, selectors with an RPL
    XVCPU_LEAVE_DEBUG_REGISTERS = 4, // DR0-DR3, DR6, DR7
    XVCPU_LEAVE_FS_GS_BASE = 8,      // HOST_FS/GS_BASE read at bind only
    XVCPU_LEAVE_XCR0 = 16,           // XCR0 and IA32_XSS: the guest runs with the host's
    XVCPU_LEAVE_FPU = 32             // x87/SSE/AVX registers: guest and host share them
} xvcpu_leave_to_host;

typedef struct xvcpu_desc {
    xvcpu_u32 canary_first; // must be 0
    void *context;          // passed to every hook and handler called for this virtual CPU
    xvcpu_page_supply supply; // needed only without allocation hooks
    xvcpu_ept *ept;         // required: the guest-physical address space; outlives the virtual CPU
    xvcpu_u16 vpid;         // 1..65535, unique among the virtual CPUs of a CPU; 0: no VPID. Not
                            // used where the processor has none
    xvcpu_u32 apic_id;      // shown in CPUID; 0 is the bootstrap processor (IA32_APIC_BASE.BSP)
    xvcpu_u64 hide_features; // XVCPU_BIT64(XVCPU_FEATURE_x) the guest shall not see
    xvcpu_u64 require_features; // creation fails where one of these is missing
    xvcpu_u64 xcr0_hidden;  // XCR0 bits the guest shall not set though its features allow them
    // Controls on top of those the library needs, per word: fail if missing, or take if there.
    xvcpu_u64 required_controls[XVCPU_WORD_COUNT];
    xvcpu_u64 optional_controls[XVCPU_WORD_COUNT];
    xvcpu_u32 exception_bitmap; // bit n: exception n exits to the caller
    xvcpu_u32 leave_to_host;    // xvcpu_leave_to_host bits
    xvcpu_bool restore_debugctl; // put IA32_DEBUGCTL back after runs; the MSR must exist
    // External-interrupt exits carry the vector in u.vector: the interrupt is the caller's to serve
    // then, by XVCPU_HOST_INTERRUPT when the run returns or by hand. false: it is still pending.
    xvcpu_bool acknowledge_interrupts;
    xvcpu_bool no_hlt_exit;     // HLT halts the processor until an interrupt ends the run
    xvcpu_bool show_monitor;    // MONITOR/MWAIT shown in CPUID (they exit to the caller)
    xvcpu_bool hide_hypervisor; // no hypervisor bit and leaf in CPUID
    char hypervisor_id[12];     // CPUID.40000000h signature; all 0: "xvcpuxvcpu\0\0"
    const xvcpu_cpuid_entry *cpuid_table; // answers that replace the built-in ones; not copied
    xvcpu_u32 cpuid_entries;              // rows of it; the first that fits counts
    xvcpu_cpuid_hook cpuid_hook;          // has the last word; null: none
    xvcpu_u32 canary_last;                // must be 0
} xvcpu_desc;

// State of the host that entry and exit do not keep. Taken at each run, put back after it.
typedef struct xvcpu_host_state {
    xvcpu_u64 cr0, cr3, cr4;
    xvcpu_u64 ts_em; // CR0.TS and CR0.EM as found, off while the guest's state is loaded
    xvcpu_u64 fs_base, gs_base, gdtr_base, idtr_base, tr_base;
    xvcpu_u64 sysenter_esp;
    xvcpu_u64 switched[XVCPU_SWITCHED_COUNT];
    xvcpu_u64 xcr0, xss;
    xvcpu_u64 dr[4], dr6, dr7;
    xvcpu_u64 debugctl; // with desc.restore_debugctl
    xvcpu_u16 gdtr_limit, idtr_limit;
    xvcpu_u16 es, cs, ss, ds, fs, gs, tr, ldtr; // with RPL and TI, as found
    xvcpu_u32 tr_limit;
} xvcpu_host_state;

// Counters for tests, benchmarks and the curious.
typedef struct xvcpu_statistics {
    xvcpu_u64 exits[XVCPU_EXIT_REASON_COUNT + 1]; // by basic reason; last: unknown reasons
} xvcpu_statistics;

#define XVCPU_CPUID_MASKS 9U // registers of CPUID that are feature bits

// A virtual CPU. Must not move between create and destroy. The members up to `launched` are
// known to the trampoline by offset.
typedef struct xvcpu {
    xvcpu_u64 gpr[16]; // general registers of the guest; [XVCPU_RSP] is not used
    xvcpu_u64 cr2;
    xvcpu_u64 host_rsp; // what HOST_RSP holds now; 0: unknown
    xvcpu_u64 host_rip; // what HOST_RIP holds now; 0: unknown
    xvcpu_u32 launched; // the VMCS's launch state
    xvcpu_u32 magic;

    xvcpu_exit exit;
    xvcpu_event_queue queue;
    void *context;
    xvcpu_cpu *cpu; // bound here, or null
    xvcpu_ept *ept;
    xvcpu_caps caps; // of the CPU it was created for; bind checks the next one against it
    xvcpu_pool pool;
    void *vmcs, *msr_bitmap, *io_bitmap_a, *io_bitmap_b, *guest_xsave, *host_xsave;
    xvcpu_u64 vmcs_pa, msr_bitmap_pa, io_bitmap_a_pa, io_bitmap_b_pa;
    struct xvcpu *next_active; // list of xvcpu_cpu.active
    xvcpu_cpu *active_on;      // the CPU on which the VMCS is active, or null

    xvcpu_u64 controls[XVCPU_WORD_COUNT]; // as written to the VMCS
    xvcpu_u64 features;        // what this guest sees
    xvcpu_u64 cr0_guest_owned; // CR0 bits the guest changes without an exit
    xvcpu_u64 cr4_guest_owned;
    xvcpu_u64 cr4_allowed; // CR4 bits the guest may set at all
    xvcpu_u64 xcr0_allowed, xss_allowed, efer_allowed;
    xvcpu_u64 ept_generation; // of the last INVEPT for this virtual CPU on this CPU
    xvcpu_bool flush_vpid;    // INVVPID before the next entry

    xvcpu_u64 dr[4], dr6;
    xvcpu_u64 cr8;
    xvcpu_u64 xcr0, xss;
    xvcpu_u64 switched[XVCPU_SWITCHED_COUNT]; // the guest's
    xvcpu_u64 pat;        // used where the PAT controls are missing
    xvcpu_u64 apic_base, misc_enable, tsc_adjust, mtrr_def_type;
    xvcpu_u64 mtrr_fixed[11], mtrr_variable[16];
    xvcpu_u64 umwait_control; // kept for the guest; the processor goes by the host's
    xvcpu_bool osxsave;   // guest's CR4.OSXSAVE, mirrored for CPUID
    xvcpu_bool ospke;     // likewise CR4.PKE; no guest changes either without an exit
    xvcpu_u32 cpuid_masks[XVCPU_CPUID_MASKS]; // CPUID bits this guest may see; see cpuid_ready
    xvcpu_u32 cpuid_1_ebx, cpuid_1_ecx; // CPUID bits of leaf 1 this guest sees in any case
    xvcpu_bool cpuid_ready; // cpuid_masks is filled, which the first CPUID does

    xvcpu_host_state host;
    xvcpu_bool guest_loaded;   // the guest's MSRs, XCR0, FPU, DRs are in the processor
    xvcpu_bool guest_dr_loaded;
    xvcpu_u64 budget_end; // TSC at which the budget ends, where the timer is not saved
    xvcpu_bool set_up;         // every VMCS field was written once
    xvcpu_u32 kick;            // written by other CPUs
    xvcpu_u64 budget_ticks;    // TSC ticks the next run may take; 0: no limit
    xvcpu_error fault;         // first VMREAD/VMWRITE that failed since it was last looked at
    xvcpu_exit_handler handlers[XVCPU_EXIT_REASON_COUNT];
    void *handler_context[XVCPU_EXIT_REASON_COUNT];
    xvcpu_desc desc;
    xvcpu_statistics statistics;
} xvcpu;

// -- API

#ifdef __cplusplus
extern "C" {
#endif

#ifndef XVCPU_DEFINITIONS_ONLY

// Every function that can fail takes an `error`, which may be null, is filled on failure and left
// alone on success. Nothing here locks: two CPUs may work on different objects at the same time, on
// the same one only where it says so. Two groups of statuses recur in the lists of errors:
//   VMFAIL*      VMFAIL or VMFAIL_INVALID; detail names the VMX instruction
//   not bound*   INVALID_STATE (not created), NOT_BOUND, WRONG_CPU, and VMFAIL* from VMPTRLD, which
//                is executed where another virtual CPU's VMCS is current

// -- API: names

// Constant texts, never null; a fixed text stands for what is unknown.

// Short name of a status, as in XVCPU_STATUS_x without the prefix.
XVCPU_API const char *xvcpu_status_name(xvcpu_status status);
// Cause of a status in words.
XVCPU_API const char *xvcpu_status_text(xvcpu_status status);
// What to do about a status; may be empty.
XVCPU_API const char *xvcpu_status_remedy(xvcpu_status status);
// Name of a VMCS field by encoding, of either half. SDM "Field Encoding in VMCS".
XVCPU_API const char *xvcpu_vmcs_field_name(xvcpu_u32 encoding);
// Name of a basic exit reason. SDM "VMX Basic Exit Reasons".
XVCPU_API const char *xvcpu_exit_reason_name(xvcpu_u32 basic_reason);
// Meaning of a VM-instruction error number. SDM "VM Instruction Error Numbers".
XVCPU_API const char *xvcpu_instruction_error_text(xvcpu_u32 number);
// What usually causes a VM-instruction error.
XVCPU_API const char *xvcpu_instruction_error_hint(xvcpu_u32 number);
// Name of an MSR by index.
XVCPU_API const char *xvcpu_msr_name(xvcpu_u32 index);
// Name of a control by word and bit number.
XVCPU_API const char *xvcpu_control_name(xvcpu_control_word word, xvcpu_u32 bit);
// Name of a word of controls.
XVCPU_API const char *xvcpu_control_word_name(xvcpu_control_word word);
// Mnemonic of an exception vector ("#GP").
XVCPU_API const char *xvcpu_exception_name(xvcpu_u32 vector);
// Name of a register id.
XVCPU_API const char *xvcpu_register_name(xvcpu_reg reg);
// Name of a feature of the table XVCPU_FEATURES.
XVCPU_API const char *xvcpu_feature_name(xvcpu_feature feature);

// -- API: capabilities

// Reads every VMX capability of this processor. Changes nothing but `caps`.
// Needs: CPL 0.
// Errors: INVALID_ARGUMENT (caps is null), NO_VMX, BAD_BASIC (the rest of caps is filled all the
// same). SDM "Discovering Support for VMX", "VMX Capability Reporting Facility".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_probe(xvcpu_caps *caps, xvcpu_error *error);

// Writes a readable report of `caps` through XVCPU_LOG at level INFO, a line a fact.
// caps: not null. context: passed to XVCPU_LOG.
XVCPU_API void xvcpu_report(const xvcpu_caps *caps, void *context);

// Works out the setting of one word of controls: what is neither required nor optional is 0 where 0
// is allowed.
// required: bits that must be settable. optional: bits taken where the processor has them.
// setting: gets the value to write.
// Errors: INVALID_ARGUMENT, CONTROL_UNSUPPORTED (msr, bits; detail names the first of them).
// SDM "Algorithms for Determining VMX Capabilities".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status
xvcpu_negotiate(const xvcpu_caps *caps, xvcpu_control_word word, xvcpu_u64 required,
                xvcpu_u64 optional, xvcpu_u64 *setting, xvcpu_error *error);

// Tells whether a VMCS field exists on the processor `caps` describes.
// encoding: of either half. Unknown fields do not exist. SDM "Field Encoding in VMCS".
XVCPU_API xvcpu_bool xvcpu_vmcs_field_exists(const xvcpu_caps *caps, xvcpu_u32 encoding);

// -- API: VMX on and off

// Puts this processor into VMX operation. On failure the processor is as before, but for
// IA32_FEATURE_CONTROL, which stays locked if VMXON itself fails.
// cpu: must not move until xvcpu_cpu_disable; its old contents do not matter.
// desc: zeroed first; may be null.
// Needs: CPL 0, interrupts off, on the CPU meant. Call on each CPU that shall run guests. Turns
// CR4.VMXE on, and CR4.OSXSAVE and CR0.NE where they are off and needed.
// Errors: INVALID_ARGUMENT (cpu is null), UNINITIALIZED_DESC, VMX_BUSY (also if enabled by us; cpu
// is not touched), WRONG_CPU, NO_VMX, BAD_BASIC, CR0_FIXED, CR4_FIXED, FIRMWARE_DISABLED,
// FIRMWARE_UNLOCKED, OUT_OF_PAGES, BAD_PAGE, VMFAIL*.
// SDM "Enabling and Entering VMX Operation", "Restrictions on VMX Operation".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_cpu_enable(xvcpu_cpu *cpu, const xvcpu_cpu_desc *desc,
                                                         xvcpu_error *error);

// Leaves VMX operation: VMCLEARs every VMCS active here (those virtual CPUs become unbound),
// VMXOFF, puts CR4.VMXE and what enable turned on in CR0 and CR4 back, frees the page.
// Needs: interrupts off, on the CPU that was enabled.
// Errors: INVALID_STATE (not enabled by this cpu), WRONG_CPU, VMFAIL* (VMX stays on; virtual CPUs
// whose VMCLEAR worked are unbound). SDM "Enabling and Entering VMX Operation".
XVCPU_API xvcpu_status xvcpu_cpu_disable(xvcpu_cpu *cpu, xvcpu_error *error);

// True if `cpu`, which may be null, is in VMX operation by our doing.
XVCPU_API xvcpu_bool xvcpu_cpu_is_enabled(const xvcpu_cpu *cpu);

// True if CR4.VMXE is set on this processor and not by `cpu`, which may be null. Needs: CPL 0.
XVCPU_API xvcpu_bool xvcpu_cpu_is_foreign(const xvcpu_cpu *cpu);

// -- API: EPT

// Makes an empty guest-physical address space.
// ept: must not move until destroyed; its old contents do not matter. desc: zeroed first.
// caps: of the processors it will be used on.
// Errors: INVALID_ARGUMENT (null, caps not filled, desc.max_page_level > 3), UNINITIALIZED_DESC,
// UNSUPPORTED (no 4-level EPT, or an option the processor lacks), OUT_OF_PAGES, BAD_PAGE.
// SDM "The Extended Page Table Mechanism (EPT)".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_ept_create(xvcpu_ept *ept, const xvcpu_ept_desc *desc,
                                                         const xvcpu_caps *caps,
                                                         xvcpu_error *error);

// Frees every table page; the memory mapped is not touched. Null or not created: does nothing.
// Needs: no virtual CPU uses it any more.
XVCPU_API void xvcpu_ept_destroy(xvcpu_ept *ept);

// Maps [gpa, gpa + bytes) to host-physical memory from `hpa`, with the largest pages alignment and
// capability allow. On failure nothing is mapped and no page is kept.
// gpa, hpa, bytes: multiples of 4096, bytes not 0; within MAXPHYADDR, gpa also within 48 bits.
// permissions: xvcpu_ept_permission bits, not 0, not write without read.
// Needs: a lock of yours if others change the same EPT. Virtual CPUs may run: what was not mapped
// needs no INVEPT.
// Errors: INVALID_STATE (not created), INVALID_ARGUMENT, UNSUPPORTED (execute-only), ALREADY_MAPPED
// (value: the first such gpa), OUT_OF_PAGES, BAD_PAGE. SDM "EPT Translation Mechanism".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_ept_map(xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u64 hpa,
                                                      xvcpu_u64 bytes, xvcpu_u32 permissions,
                                                      xvcpu_memory_type type, xvcpu_error *error);

// Unmaps [gpa, gpa + bytes), splitting large pages at its ends and freeing empty tables; parts not
// mapped are skipped.
// gpa, bytes: as for xvcpu_ept_map.
// Needs: a lock of yours if others change the same EPT. The tables freed go back to the allocator
// during the call: virtual CPUs of this EPT that run elsewhere have to leave the guest before it
// (xvcpu_kick) and stay out until it returns. Each does INVEPT by itself when it enters again.
// Errors: INVALID_STATE (not created), INVALID_ARGUMENT, OUT_OF_PAGES, BAD_PAGE (for a split;
// nothing is changed). SDM "Guidelines for Use of the INVEPT Instruction".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_ept_unmap(xvcpu_ept *ept, xvcpu_u64 gpa,
                                                        xvcpu_u64 bytes, xvcpu_error *error);

// Changes the permissions of a range that is wholly mapped. On failure nothing is changed.
// gpa, bytes, permissions: as for xvcpu_ept_map.
// Needs: a lock of yours if others change the same EPT. A virtual CPU that runs elsewhere may use
// the old permissions until it leaves the guest: kick it where that matters.
// Errors: INVALID_STATE (not created), INVALID_ARGUMENT, UNSUPPORTED (execute-only), NOT_MAPPED
// (value: the first such gpa), OUT_OF_PAGES, BAD_PAGE.
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_ept_protect(xvcpu_ept *ept, xvcpu_u64 gpa,
                                                          xvcpu_u64 bytes, xvcpu_u32 permissions,
                                                          xvcpu_error *error);

// Looks one guest-physical address up. False: not mapped.
// gpa: any alignment. mapping: may be null; all 0 where not mapped.
XVCPU_API xvcpu_bool xvcpu_ept_translate(const xvcpu_ept *ept, xvcpu_u64 gpa,
                                         xvcpu_ept_mapping *mapping);

// Host address of guest-physical memory. Null: not mapped with all of `permissions`, or
// XVCPU_PHYS_TO_VIRT has no pointer.
// permissions: xvcpu_ept_permission bits; 0: any mapping will do. With desc.accessed_dirty they are
// recorded like an access of the guest.
// bytes: may be null; how many bytes from there are in the same EPT page, hence contiguous.
XVCPU_API void *xvcpu_ept_pointer(const xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u32 permissions,
                                  xvcpu_u64 *bytes);

// Copies from or to guest-physical memory; returns how many bytes were moved before the first one
// that is not mapped with the permission needed. gpa, bytes: any.
XVCPU_API xvcpu_u64 xvcpu_ept_read(const xvcpu_ept *ept, xvcpu_u64 gpa, void *to, xvcpu_u64 bytes);
XVCPU_API xvcpu_u64 xvcpu_ept_write(const xvcpu_ept *ept, xvcpu_u64 gpa, const void *from,
                                    xvcpu_u64 bytes);

// -- API: virtual CPU, life cycle

// Makes a virtual CPU: negotiates its controls and features, allocates its pages, denies every MSR
// and port but a few MSRs that are switched. Touches no VMCS. On failure no page is kept.
// vcpu: must not move until destroyed; its old contents do not matter. desc: zeroed first; copied,
// but what it points to must stay. caps: of the CPU it will first run on.
// Errors: INVALID_ARGUMENT (null, caps not probed, desc.ept not created), UNINITIALIZED_DESC,
// UNSUPPORTED (no EPT or INVEPT, or one of desc.require_features), CONTROL_UNSUPPORTED,
// OUT_OF_PAGES, BAD_PAGE.
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_create(xvcpu *vcpu, const xvcpu_desc *desc,
                                                     const xvcpu_caps *caps, xvcpu_error *error);

// Binds a virtual CPU to the physical CPU this runs on: makes its VMCS active and current there,
// takes the host state, and, the first time, writes every VMCS field (the guest is then as after
// RESET; without "unrestricted guest", in paged mode with nothing at RIP 0: use a preset).
// Needs: interrupts off, `cpu` is this CPU. Bound elsewhere, it must be unbound there first.
// Several virtual CPUs may be bound to one CPU. On failure it is not bound.
// Errors: INVALID_STATE (not created, VMX not enabled by cpu, bound already), WRONG_CPU,
// CONTROL_UNSUPPORTED, UNSUPPORTED (both: this CPU lacks what the virtual CPU was made with),
// NOT_64BIT, NO_TSS, BAD_HOST_STATE, VMFAIL*.
// SDM "Software Use of Virtual-Machine Control Structures", "Host-State Area".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_bind(xvcpu *vcpu, xvcpu_cpu *cpu, xvcpu_error *error);

// Undoes xvcpu_bind with VMCLEAR; the virtual CPU may then be bound anywhere.
// Needs: interrupts off, on the CPU it is bound to, not running.
// Errors: INVALID_STATE (not created), NOT_BOUND, WRONG_CPU, VMFAIL*.
XVCPU_API xvcpu_status xvcpu_unbind(xvcpu *vcpu, xvcpu_error *error);

// Unbinds if need be (then: on that CPU, interrupts off) and frees every page.
// Errors: INVALID_STATE (not created; a zeroed vcpu is harmless), WRONG_CPU, VMFAIL*; nothing is
// freed then.
XVCPU_API xvcpu_status xvcpu_destroy(xvcpu *vcpu, xvcpu_error *error);

// Gives the virtual CPU another guest-physical address space.
// ept: created with caps like its own; stays the caller's.
// Needs: bound to this CPU, not running. Errors: INVALID_ARGUMENT (ept not created), not bound*.
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_set_ept(xvcpu *vcpu, xvcpu_ept *ept,
                                                      xvcpu_error *error);

// -- API: virtual CPU, state

// All that take a vcpu need it bound to this CPU and not running. VMFAIL* here are also VMREADs and
// VMWRITEs that failed, with the VMCS field in error.field.
//
// A preset starts from the state after RESET (wait_sipi: INIT), drops waiting events and forgets
// the last exit; the TSC goes on. real, protected and long leave caches and MTRRs as firmware does.

// Real mode at cs:ip with 64 KiB segments, the others at 0; SP is 0, interrupts are off. A boot
// sector wants its drive number in DL besides (xvcpu_set).
// Errors: not bound*, UNSUPPORTED (no "unrestricted guest").
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_preset_real(xvcpu *vcpu, xvcpu_u16 cs, xvcpu_u16 ip,
                                                          xvcpu_error *error);
// The state after RESET or power-up: CS base FFFF0000h, RIP FFF0h, caches off.
// Errors: not bound*, UNSUPPORTED (no "unrestricted guest"). SDM 3A "Processor State After Reset".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_preset_reset(xvcpu *vcpu, xvcpu_error *error);
// 32-bit protected mode without paging, flat 4 GiB segments (8 code, 16 data). GDT and IDT are
// empty: the guest loads its own before it loads a segment or takes an interrupt.
// Errors: not bound*, UNSUPPORTED (no "unrestricted guest").
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_preset_protected(xvcpu *vcpu, xvcpu_u32 eip,
                                                               xvcpu_u32 esp, xvcpu_error *error);
// 64-bit mode, flat segments, empty GDT and IDT.
// cr3: guest-physical address of the guest's 4-level page tables. rip: canonical. rsp: not checked.
// Errors: not bound*, UNSUPPORTED (the guest does not see LM), BAD_VALUE (cr3 or rip).
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_preset_long(xvcpu *vcpu, xvcpu_u64 cr3,
                                                          xvcpu_u64 rip, xvcpu_u64 rsp,
                                                          xvcpu_error *error);
// After INIT, waiting for a start-up IPI. INIT keeps MSRs, TSC, XCR0 and the extended state.
// Do not run it before xvcpu_start_sipi: a processor that waits for a SIPI takes no interrupt.
// Errors: not bound*, UNSUPPORTED (no "unrestricted guest", or no such activity state).
// SDM "Guest Non-Register State".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_preset_wait_sipi(xvcpu *vcpu, xvcpu_error *error);
// Starts a virtual CPU that waits for a SIPI in real mode at vector << 12.
// Errors: not bound*, INVALID_STATE also if it does not wait for one.
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_start_sipi(xvcpu *vcpu, xvcpu_u8 vector,
                                                         xvcpu_error *error);

// Reads a register, as the guest would see it.
// reg: XVCPU_REG_x. value: not null; zero-extended.
// Errors: not bound*, UNKNOWN_REGISTER, INVALID_ARGUMENT (value is null).
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_get(xvcpu *vcpu, xvcpu_reg reg, xvcpu_u64 *value,
                                                  xvcpu_error *error);
// Writes a register, and what depends on it: EFER.LMA and the IA-32e-mode control, PDPTEs, shadows.
// Control registers obey the rules of MOV and WRMSR, so to enter a mode: EFER, CR4, CR3, CR0, then
// segments. Rules between segments are checked by VM entry alone.
// Errors: not bound*, UNKNOWN_REGISTER, BAD_VALUE (bits; detail names the register, or the PDPTEs
// the value selects; nothing is changed), UNSUPPORTED (a CR0 without paging or protection where
// there is no "unrestricted guest"). SDM "Checks on the Guest State Area".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_set(xvcpu *vcpu, xvcpu_reg reg, xvcpu_u64 value,
                                                  xvcpu_error *error);

// The mode the guest executes in, from its own state. SDM 3A "Modes of Operation".
// Errors: not bound*, INVALID_ARGUMENT (mode is null).
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_get_mode(xvcpu *vcpu, xvcpu_cpu_mode *mode,
                                                       xvcpu_error *error);

// What a page walk needs, read from the guest's state; good until the guest runs again.
// Errors: not bound*, INVALID_ARGUMENT (paging is null).
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_get_paging(xvcpu *vcpu, xvcpu_paging *paging,
                                                         xvcpu_error *error);

// Guest-virtual (linear) to guest-physical through the guest's own page tables, with the guest's
// rights and faults. Sets accessed and dirty flags as the processor would.
// access: xvcpu_access bits. A fetch is no data access: EXECUTE makes READ and WRITE ignored.
// ept, paging, out: not null. True: out->gpa is valid (not necessarily mapped in the EPT). False:
// out says which fault the guest gets, or with ept_fault, that its tables are not all in the EPT.
// SDM 3A "Paging".
XVCPU_API xvcpu_bool xvcpu_walk(const xvcpu_ept *ept, const xvcpu_paging *paging, xvcpu_u64 gla,
                                xvcpu_u32 access, xvcpu_translation *out);

// Copies from or to guest-virtual memory; true: all bytes. Bytes before a fault are copied, and
// out->bytes_done counts them.
// access: as for xvcpu_walk; READ (unless EXECUTE) or WRITE is implied. gla, bytes: any; it may
// cross pages, and wraps at 4 GiB outside IA-32e mode.
XVCPU_API xvcpu_bool xvcpu_read_guest(const xvcpu_ept *ept, const xvcpu_paging *paging,
                                      xvcpu_u64 gla, void *to, xvcpu_u64 bytes, xvcpu_u32 access,
                                      xvcpu_translation *out);
XVCPU_API xvcpu_bool xvcpu_write_guest(const xvcpu_ept *ept, const xvcpu_paging *paging,
                                       xvcpu_u64 gla, const void *from, xvcpu_u64 bytes,
                                       xvcpu_u32 access, xvcpu_translation *out);

// -- API: bitmaps

// Lets the guest read and/or write MSRs first..last itself, or takes that back. All or nothing.
// first, last: both in 0-1FFFh or both in C0000000h-C0001FFFh. What the guest then finds there is
// the processor's MSR, hence the host's unless it is switched.
// Needs: not running. Bound or not.
// Errors: INVALID_STATE (not created), INVALID_ARGUMENT (range; allow: error.msr must stay
// intercepted, as the library or the host depends on it). SDM "MSR-Bitmap Address".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_msr_allow(xvcpu *vcpu, xvcpu_u32 first,
                                                        xvcpu_u32 last, xvcpu_bool read,
                                                        xvcpu_bool write, xvcpu_error *error);
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_msr_deny(xvcpu *vcpu, xvcpu_u32 first, xvcpu_u32 last,
                                                       xvcpu_bool read, xvcpu_bool write,
                                                       xvcpu_error *error);
// True if the guest reads (or with `write`, writes) this MSR without an exit.
XVCPU_API xvcpu_bool xvcpu_msr_is_allowed(const xvcpu *vcpu, xvcpu_u32 index, xvcpu_bool write);

// Lets the guest use the host's ports first..last itself, or takes that back.
// first, last: 0 to FFFFh. Needs: not running. Bound or not.
// Errors: INVALID_STATE (not created), INVALID_ARGUMENT. SDM "I/O-Bitmap Addresses".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_io_allow(xvcpu *vcpu, xvcpu_u32 first, xvcpu_u32 last,
                                                       xvcpu_error *error);
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_io_deny(xvcpu *vcpu, xvcpu_u32 first, xvcpu_u32 last,
                                                      xvcpu_error *error);
// True if the guest uses this port without an exit.
XVCPU_API xvcpu_bool xvcpu_io_is_allowed(const xvcpu *vcpu, xvcpu_u32 port);

// -- API: events

// Queues an exception as if the instruction at RIP had raised it. A second exception merges with a
// waiting one by the architecture's rules (double fault, triple fault). An exception the caller
// asked to see (desc.exception_bitmap) goes back to the guest this way too.
// error_code: at most FFFFh; ignored for vectors without one. payload: CR2 for #PF, the new DR6
// bits for #DB, else ignored.
// Needs, as all of this section: bound or not; not from another CPU while it runs.
// Errors: INVALID_STATE (not created), INVALID_ARGUMENT (vector > 31 or 2; error_code).
// SDM 3A "Interrupt 8 - Double Fault Exception (#DF)".
XVCPU_API xvcpu_status xvcpu_raise(xvcpu *vcpu, xvcpu_u32 vector, xvcpu_u32 error_code,
                                   xvcpu_u64 payload, xvcpu_error *error);
// Queues an NMI. Errors: INVALID_STATE (not created), QUEUE_FULL (two wait: hardware latches one
// while one is handled).
XVCPU_API xvcpu_status xvcpu_raise_nmi(xvcpu *vcpu, xvcpu_error *error);
// Queues an external interrupt; higher vectors go first; a vector already waiting merges. Vectors
// below 16 are allowed: a PC's interrupt controller starts at 8 in real mode. From another CPU:
// tell the thread that runs it, and xvcpu_kick. Errors: INVALID_STATE (not created).
XVCPU_API xvcpu_status xvcpu_raise_interrupt(xvcpu *vcpu, xvcpu_u8 vector, xvcpu_error *error);
// Takes a waiting external interrupt back. True if it was waiting; false: it went in, or never was.
XVCPU_API xvcpu_bool xvcpu_cancel_interrupt(xvcpu *vcpu, xvcpu_u8 vector);
// True while anything waits to be delivered.
XVCPU_API xvcpu_bool xvcpu_has_event(const xvcpu *vcpu);
// True if an external interrupt raised now would be delivered by the next entry. False where
// another event waits before it, and where the virtual CPU is not bound here.
XVCPU_API xvcpu_bool xvcpu_accepts_interrupt(xvcpu *vcpu);

// -- API: run

// Runs the guest until the caller is needed; vcpu->exit then says why. Before it is called again
// the caller answers the exit with xvcpu_answer_*; not answered, the instruction runs again. HLT
// needs no answer: it is complete when the exit is returned.
// Needs: bound to this CPU, interrupts off (they stay off; to let a host interrupt that ended the
// run in, enable them for an instant). A thread must stay on this CPU from bind to unbind.
// Errors: not bound*, NOT_ANSWERED (the answer stays until corrected), INVALID_ARGUMENT (vector or
// error code of xvcpu_answer_fault), NO_TSS, BAD_HOST_STATE, ENTRY_FAILED, VMFAIL*.
// SDM "VM Entries", "VM Exits".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_run(xvcpu *vcpu, xvcpu_error *error);

// Answers the exit in vcpu->exit: the instruction is complete, and the next run goes on after it.
// value: what was read: by IN, RDMSR, MOV from CR or DR, an MMIO load; VMCALL: RAX. Else ignored.
// Not for kind PLAIN or KICKED, nor for string I/O: the next run says NOT_ANSWERED.
XVCPU_API void xvcpu_answer_done(xvcpu *vcpu, xvcpu_u64 value);
// Answers the exit in vcpu->exit: the instruction faults in the guest.
// vector, error_code: as for xvcpu_raise, checked by the next run. #PF for an EPT violation: CR2 is
// the address of the access; for other exits CR2 stays as the guest has it.
// Not for kind KICKED, nor for HLT, which is complete: the next run says NOT_ANSWERED.
XVCPU_API void xvcpu_answer_fault(xvcpu *vcpu, xvcpu_u32 vector, xvcpu_u32 error_code);

// Moves the guest past the instruction of the last exit, with all that goes with it: the interrupt
// shadow ends, RF clears, a single-step trap becomes pending. For those who do without an answer.
// Errors: not bound*, INVALID_STATE also where the exit has no instruction.
// SDM "Saving RIP, RSP, RFLAGS, and SSP", 3A "Masking Exceptions and Interrupts When Switching
// Stacks".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_skip_instruction(xvcpu *vcpu, xvcpu_error *error);

// Installs a handler that sees exits with this basic reason before the built-in one.
// reason: XVCPU_EXIT_REASON_x. handler: null for none. context: passed to it.
// It runs inside xvcpu_run, on the host's own state with interrupts off; it may answer the exit
// and use other virtual CPUs, but neither run, unbind nor destroy its own. It never sees host NMIs.
// Errors: INVALID_STATE (not created), INVALID_ARGUMENT (reason).
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_set_handler(xvcpu *vcpu, xvcpu_u32 reason,
                                                          xvcpu_exit_handler handler, void *context,
                                                          xvcpu_error *error);

// Limits the time in the guest; the exit that ends it has reason PREEMPTION_TIMER and ends the
// budget. tsc_ticks: 0: no limit. Counted in steps of 1 << caps.timer_shift, FFFFFFFFh of them at
// most, from this call, over as many runs as it takes; time in the host is not counted where the
// processor saves the timer, else it is.
// Errors: not bound*, UNSUPPORTED (no VMX-preemption timer). SDM "VMX-Preemption Timer".
XVCPU_API XVCPU_MUST_CHECK xvcpu_status xvcpu_set_budget(xvcpu *vcpu, xvcpu_u64 tsc_ticks,
                                                         xvcpu_error *error);

// Asks for xvcpu_run to return with kind KICKED, this run or the next; from any CPU, at any time.
// If the guest runs right now the caller also sends that CPU an interrupt. Null: does nothing.
XVCPU_API void xvcpu_kick(xvcpu *vcpu);

// -- API: dump

// Writes every VMCS field that exists by name and value, each control that is set, the general
// registers, waiting events and the last exit through XVCPU_LOG at level INFO.
// Needs: bound to this CPU; else it is one line at level ERROR, with a null context.
XVCPU_API void xvcpu_dump(xvcpu *vcpu);

// -- API: guest side

// For code that runs as a guest: VMCALL with a number in RAX and arguments in RBX, RCX and RDX.
// Returns what the host answered (xvcpu_answer_done). Outside VMX operation: #UD.
static inline xvcpu_u64 xvcpu_vmcall(xvcpu_u64 number, xvcpu_u64 b, xvcpu_u64 c, xvcpu_u64 d)
{
    __asm__ volatile("vmcall" : "+a"(number) : "b"(b), "c"(c), "d"(d) : "memory", "cc");
    return number;
}

#endif // XVCPU_DEFINITIONS_ONLY
#ifdef __cplusplus
}
#endif
#endif // XVCPU_H

// The CPU instructions alone (XVCPU_INSTRUCTIONS), or the whole implementation.
#if (defined(XVCPU_IMPLEMENTATION) && !defined(XVCPU_IMPLEMENTED)) ||                              \
    (defined(XVCPU_INSTRUCTIONS) && !defined(XVCPUI_INSTRUCTIONS))
#ifndef XVCPU_DEFINITIONS_ONLY

// Kernels seldom save SSE registers on entry, and not all tell the compiler so.
#if defined(__SSE__) && !defined(XVCPU_NO_TARGET_PRAGMA)
#define XVCPUI_TARGET_PRAGMA
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("general-regs-only"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("general-regs-only")
#endif
#endif
#ifdef __cplusplus
extern "C" {
#endif

#ifndef XVCPUI_INSTRUCTIONS
#define XVCPUI_INSTRUCTIONS

#ifdef __cplusplus
#define XVCPUI_NULL nullptr
#define XVCPUI_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define XVCPUI_NULL ((void *)0)
#define XVCPUI_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

// Error reporting is kept out of the way of the paths that are taken all the time.
#define XVCPUI_COLD __attribute__((cold, noinline))
#define XVCPUI_INLINE static inline __attribute__((always_inline))
#define XVCPUI_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define XVCPUI_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

// -- CPU instructions

// The library touches the processor only through these functions, and they are there for others:
// a lab that writes its own hypervisor includes this file with XVCPU_INSTRUCTIONS and gets them and
// the constants, nothing else. With XVCPU_SIMULATED they are declared here and supplied by somebody
// else as a set: that is how the hosted tests run the library.

typedef struct xvcpu_table_register {
    xvcpu_u16 limit;
    xvcpu_u64 base;
} xvcpu_table_register;

#ifdef XVCPU_SIMULATED

xvcpu_vmx_result xvcpu_vmxon(xvcpu_u64 physical);
xvcpu_vmx_result xvcpu_vmxoff(void);
xvcpu_vmx_result xvcpu_vmclear(xvcpu_u64 physical);
xvcpu_vmx_result xvcpu_vmptrld(xvcpu_u64 physical);
void xvcpu_vmptrst(xvcpu_u64 *physical);
xvcpu_vmx_result xvcpu_vmread(xvcpu_u64 field, xvcpu_u64 *value);
xvcpu_vmx_result xvcpu_vmwrite(xvcpu_u64 field, xvcpu_u64 value);
xvcpu_vmx_result xvcpu_invept(xvcpu_u64 type, xvcpu_u64 eptp);
xvcpu_vmx_result xvcpu_invvpid(xvcpu_u64 type, xvcpu_u16 vpid, xvcpu_u64 address);
// The trampoline: 0 after a VM exit, else the xvcpu_vmx_result of VMLAUNCH or VMRESUME.
xvcpu_u32 xvcpui_enter(xvcpu *vcpu);
xvcpu_u64 xvcpu_rdmsr(xvcpu_u32 index);
void xvcpu_wrmsr(xvcpu_u32 index, xvcpu_u64 value);
xvcpu_u64 xvcpu_read_cr0(void);
xvcpu_u64 xvcpu_read_cr3(void);
xvcpu_u64 xvcpu_read_cr4(void);
void xvcpu_write_cr0(xvcpu_u64 value);
void xvcpu_write_cr4(xvcpu_u64 value);
xvcpu_u64 xvcpu_read_dr(xvcpu_u32 number); // 0-3, 6, 7
void xvcpu_write_dr(xvcpu_u32 number, xvcpu_u64 value);
void xvcpu_cpuid(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_cpuid_regs *regs);
xvcpu_u64 xvcpu_xgetbv(void); // XCR0
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
xvcpu_u16 xvcpu_read_selector(xvcpu_segment segment); // ES, CS, SS, DS, FS, GS
void xvcpu_load_selector(xvcpu_segment segment, xvcpu_u16 selector); // DS, ES, FS, GS
// x87/SSE/... state of the components in `mask` to or from a 64-byte aligned area.
void xvcpu_xsave(void *area, xvcpu_u64 mask);
void xvcpu_xrstor(const void *area, xvcpu_u64 mask);
void xvcpu_fxsave(void *area);
void xvcpu_fxrstor(const void *area);
void xvcpu_host_nmi(void); // runs the host's own NMI handler

#else

// A VMX instruction reports through CF and ZF; flag outputs carry both to C before anything can
// change them. "memory" because VMPTRLD, VMCLEAR, INVEPT and INVVPID touch what C cannot see.
XVCPUI_INLINE xvcpu_vmx_result xvcpui_vmx_outcome(xvcpu_bool cf, xvcpu_bool zf)
{
    return cf ? XVCPU_VMX_FAIL_INVALID : zf ? XVCPU_VMX_FAIL_VALID : XVCPU_VMX_SUCCEED;
}

XVCPUI_INLINE xvcpu_vmx_result xvcpu_vmxon(xvcpu_u64 physical)
{
    xvcpu_bool cf, zf;
    __asm__ volatile("vmxon %2" : "=@ccc"(cf), "=@ccz"(zf) : "m"(physical) : "memory");
    return xvcpui_vmx_outcome(cf, zf);
}

XVCPUI_INLINE xvcpu_vmx_result xvcpu_vmxoff(void)
{
    xvcpu_bool cf, zf;
    __asm__ volatile("vmxoff" : "=@ccc"(cf), "=@ccz"(zf) : : "memory");
    return xvcpui_vmx_outcome(cf, zf);
}

XVCPUI_INLINE xvcpu_vmx_result xvcpu_vmclear(xvcpu_u64 physical)
{
    xvcpu_bool cf, zf;
    __asm__ volatile("vmclear %2" : "=@ccc"(cf), "=@ccz"(zf) : "m"(physical) : "memory");
    return xvcpui_vmx_outcome(cf, zf);
}

XVCPUI_INLINE xvcpu_vmx_result xvcpu_vmptrld(xvcpu_u64 physical)
{
    xvcpu_bool cf, zf;
    __asm__ volatile("vmptrld %2" : "=@ccc"(cf), "=@ccz"(zf) : "m"(physical) : "memory");
    return xvcpui_vmx_outcome(cf, zf);
}

XVCPUI_INLINE void xvcpu_vmptrst(xvcpu_u64 *physical)
{
    __asm__ volatile("vmptrst %0" : "=m"(*physical) : : "cc", "memory");
}

// VMREAD and VMWRITE are most of what an exit costs, and they do not fail: one branch, on CF or ZF.
// If one fails all the same it fails again, and then both flags are looked at.
static XVCPUI_COLD xvcpu_vmx_result xvcpui_vmread_failed(xvcpu_u64 field)
{
    xvcpu_bool cf, zf;
    xvcpu_u64 result;
    __asm__ volatile("vmread {%3, %2|%2, %3}"
                     : "=@ccc"(cf), "=@ccz"(zf), "=r"(result)
                     : "r"(field));
    return xvcpui_vmx_outcome(cf, zf);
}

static XVCPUI_COLD xvcpu_vmx_result xvcpui_vmwrite_failed(xvcpu_u64 field, xvcpu_u64 value)
{
    xvcpu_bool cf, zf;
    __asm__ volatile("vmwrite {%3, %2|%2, %3}"
                     : "=@ccc"(cf), "=@ccz"(zf)
                     : "r"(field), "r"(value));
    return xvcpui_vmx_outcome(cf, zf);
}

XVCPUI_INLINE xvcpu_vmx_result xvcpu_vmread(xvcpu_u64 field, xvcpu_u64 *value)
{
    xvcpu_bool failed;
    xvcpu_u64 result;
    __asm__ volatile("vmread {%2, %1|%1, %2}" : "=@ccbe"(failed), "=r"(result) : "r"(field));
    *value = result;
    return XVCPUI_LIKELY(!failed) ? XVCPU_VMX_SUCCEED : xvcpui_vmread_failed(field);
}

XVCPUI_INLINE xvcpu_vmx_result xvcpu_vmwrite(xvcpu_u64 field, xvcpu_u64 value)
{
    xvcpu_bool failed;
    __asm__ volatile("vmwrite {%2, %1|%1, %2}" : "=@ccbe"(failed) : "r"(field), "r"(value));
    return XVCPUI_LIKELY(!failed) ? XVCPU_VMX_SUCCEED : xvcpui_vmwrite_failed(field, value);
}

typedef struct xvcpui_invalidation {
    xvcpu_u64 first, second;
} xvcpui_invalidation;

XVCPUI_INLINE xvcpu_vmx_result xvcpu_invept(xvcpu_u64 type, xvcpu_u64 eptp)
{
    xvcpu_bool cf, zf;
    xvcpui_invalidation descriptor;
    descriptor.first = eptp;
    descriptor.second = 0;
    __asm__ volatile("invept {%2, %3|%3, %2}"
                     : "=@ccc"(cf), "=@ccz"(zf)
                     : "m"(descriptor), "r"(type)
                     : "memory");
    return xvcpui_vmx_outcome(cf, zf);
}

XVCPUI_INLINE xvcpu_vmx_result xvcpu_invvpid(xvcpu_u64 type, xvcpu_u16 vpid, xvcpu_u64 address)
{
    xvcpu_bool cf, zf;
    xvcpui_invalidation descriptor;
    descriptor.first = vpid;
    descriptor.second = address;
    __asm__ volatile("invvpid {%2, %3|%3, %2}"
                     : "=@ccc"(cf), "=@ccz"(zf)
                     : "m"(descriptor), "r"(type)
                     : "memory");
    return xvcpui_vmx_outcome(cf, zf);
}

XVCPUI_INLINE xvcpu_u64 xvcpu_rdmsr(xvcpu_u32 index)
{
    xvcpu_u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return ((xvcpu_u64)high << 32) | low;
}

XVCPUI_INLINE void xvcpu_wrmsr(xvcpu_u32 index, xvcpu_u64 value)
{
    __asm__ volatile("wrmsr"
                     :
                     : "c"(index), "a"((xvcpu_u32)value), "d"((xvcpu_u32)(value >> 32))
                     : "memory");
}

XVCPUI_INLINE xvcpu_u64 xvcpu_read_cr0(void)
{
    xvcpu_u64 value;
    __asm__ volatile("mov {%%cr0, %0|%0, cr0}" : "=r"(value));
    return value;
}

XVCPUI_INLINE xvcpu_u64 xvcpu_read_cr3(void)
{
    xvcpu_u64 value;
    __asm__ volatile("mov {%%cr3, %0|%0, cr3}" : "=r"(value));
    return value;
}

XVCPUI_INLINE xvcpu_u64 xvcpu_read_cr4(void)
{
    xvcpu_u64 value;
    __asm__ volatile("mov {%%cr4, %0|%0, cr4}" : "=r"(value));
    return value;
}

XVCPUI_INLINE void xvcpu_write_cr0(xvcpu_u64 value)
{
    __asm__ volatile("mov {%0, %%cr0|cr0, %0}" : : "r"(value) : "memory");
}

XVCPUI_INLINE void xvcpu_write_cr4(xvcpu_u64 value)
{
    __asm__ volatile("mov {%0, %%cr4|cr4, %0}" : : "r"(value) : "memory");
}

static inline xvcpu_u64 xvcpu_read_dr(xvcpu_u32 number)
{
    xvcpu_u64 value = 0;
    switch (number) {
    case 0: __asm__ volatile("mov {%%dr0, %0|%0, dr0}" : "=r"(value)); break;
    case 1: __asm__ volatile("mov {%%dr1, %0|%0, dr1}" : "=r"(value)); break;
    case 2: __asm__ volatile("mov {%%dr2, %0|%0, dr2}" : "=r"(value)); break;
    case 3: __asm__ volatile("mov {%%dr3, %0|%0, dr3}" : "=r"(value)); break;
    case 6: __asm__ volatile("mov {%%dr6, %0|%0, dr6}" : "=r"(value)); break;
    default: __asm__ volatile("mov {%%dr7, %0|%0, dr7}" : "=r"(value)); break;
    }
    return value;
}

static inline void xvcpu_write_dr(xvcpu_u32 number, xvcpu_u64 value)
{
    switch (number) {
    case 0: __asm__ volatile("mov {%0, %%dr0|dr0, %0}" : : "r"(value)); break;
    case 1: __asm__ volatile("mov {%0, %%dr1|dr1, %0}" : : "r"(value)); break;
    case 2: __asm__ volatile("mov {%0, %%dr2|dr2, %0}" : : "r"(value)); break;
    case 3: __asm__ volatile("mov {%0, %%dr3|dr3, %0}" : : "r"(value)); break;
    case 6: __asm__ volatile("mov {%0, %%dr6|dr6, %0}" : : "r"(value)); break;
    default: __asm__ volatile("mov {%0, %%dr7|dr7, %0}" : : "r"(value) : "memory"); break;
    }
}

XVCPUI_INLINE void xvcpu_cpuid(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_cpuid_regs *regs)
{
    __asm__ volatile("cpuid"
                     : "=a"(regs->eax), "=b"(regs->ebx), "=c"(regs->ecx), "=d"(regs->edx)
                     : "a"(leaf), "c"(subleaf));
}

XVCPUI_INLINE xvcpu_u64 xvcpu_xgetbv(void)
{
    xvcpu_u32 low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((xvcpu_u64)high << 32) | low;
}

XVCPUI_INLINE void xvcpu_xsetbv(xvcpu_u64 value)
{
    __asm__ volatile("xsetbv"
                     :
                     : "c"(0), "a"((xvcpu_u32)value), "d"((xvcpu_u32)(value >> 32))
                     : "memory");
}

XVCPUI_INLINE xvcpu_u64 xvcpu_rdtsc(void)
{
    xvcpu_u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return ((xvcpu_u64)high << 32) | low;
}

// The operand of SGDT and LGDT: a 2-byte limit and an 8-byte base without a gap.
typedef struct __attribute__((packed)) xvcpui_table_operand {
    xvcpu_u16 limit;
    xvcpu_u64 base;
} xvcpui_table_operand;

static inline void xvcpui_table_unpack(const xvcpui_table_operand *from, xvcpu_table_register *to)
{
    to->limit = from->limit;
    to->base = from->base;
}

static inline void xvcpui_table_pack(const xvcpu_table_register *from, xvcpui_table_operand *to)
{
    to->limit = from->limit;
    to->base = from->base;
}

static inline void xvcpu_sgdt(xvcpu_table_register *table)
{
    xvcpui_table_operand operand;
    __asm__ volatile("sgdt %0" : "=m"(operand));
    xvcpui_table_unpack(&operand, table);
}

static inline void xvcpu_sidt(xvcpu_table_register *table)
{
    xvcpui_table_operand operand;
    __asm__ volatile("sidt %0" : "=m"(operand));
    xvcpui_table_unpack(&operand, table);
}

static inline void xvcpu_lgdt(const xvcpu_table_register *table)
{
    xvcpui_table_operand operand;
    xvcpui_table_pack(table, &operand);
    __asm__ volatile("lgdt %0" : : "m"(operand) : "memory");
}

static inline void xvcpu_lidt(const xvcpu_table_register *table)
{
    xvcpui_table_operand operand;
    xvcpui_table_pack(table, &operand);
    __asm__ volatile("lidt %0" : : "m"(operand) : "memory");
}

XVCPUI_INLINE xvcpu_u16 xvcpu_sldt(void)
{
    xvcpu_u16 selector;
    __asm__ volatile("sldt %0" : "=m"(selector));
    return selector;
}

XVCPUI_INLINE void xvcpu_lldt(xvcpu_u16 selector)
{
    __asm__ volatile("lldt %0" : : "m"(selector) : "memory");
}

XVCPUI_INLINE xvcpu_u16 xvcpu_str(void)
{
    xvcpu_u16 selector;
    __asm__ volatile("str %0" : "=m"(selector));
    return selector;
}

XVCPUI_INLINE void xvcpu_ltr(xvcpu_u16 selector)
{
    __asm__ volatile("ltr %0" : : "m"(selector) : "memory");
}

static inline xvcpu_u16 xvcpu_read_selector(xvcpu_segment segment)
{
    xvcpu_u32 selector = 0;
    switch ((xvcpu_u32)segment) {
    case XVCPU_ES: __asm__ volatile("mov {%%es, %0|%0, es}" : "=r"(selector)); break;
    case XVCPU_CS: __asm__ volatile("mov {%%cs, %0|%0, cs}" : "=r"(selector)); break;
    case XVCPU_SS: __asm__ volatile("mov {%%ss, %0|%0, ss}" : "=r"(selector)); break;
    case XVCPU_DS: __asm__ volatile("mov {%%ds, %0|%0, ds}" : "=r"(selector)); break;
    case XVCPU_FS: __asm__ volatile("mov {%%fs, %0|%0, fs}" : "=r"(selector)); break;
    default: __asm__ volatile("mov {%%gs, %0|%0, gs}" : "=r"(selector)); break;
    }
    return (xvcpu_u16)selector;
}

// FS and GS lose their base: whoever calls this puts it back.
static inline void xvcpu_load_selector(xvcpu_segment segment, xvcpu_u16 selector)
{
    const xvcpu_u32 value = selector;
    switch ((xvcpu_u32)segment) {
    case XVCPU_ES: __asm__ volatile("mov {%0, %%es|es, %0}" : : "r"(value) : "memory"); break;
    case XVCPU_DS: __asm__ volatile("mov {%0, %%ds|ds, %0}" : : "r"(value) : "memory"); break;
    case XVCPU_FS: __asm__ volatile("mov {%0, %%fs|fs, %0}" : : "r"(value) : "memory"); break;
    default: __asm__ volatile("mov {%0, %%gs|gs, %0}" : : "r"(value) : "memory"); break;
    }
}

XVCPUI_INLINE void xvcpu_xsave(void *area, xvcpu_u64 mask)
{
    __asm__ volatile("xsave64 {(%0)|[%0]}"
                     :
                     : "r"(area), "a"((xvcpu_u32)mask), "d"((xvcpu_u32)(mask >> 32))
                     : "memory");
}

XVCPUI_INLINE void xvcpu_xrstor(const void *area, xvcpu_u64 mask)
{
    __asm__ volatile("xrstor64 {(%0)|[%0]}"
                     :
                     : "r"(area), "a"((xvcpu_u32)mask), "d"((xvcpu_u32)(mask >> 32))
                     : "memory");
}

XVCPUI_INLINE void xvcpu_fxsave(void *area)
{
    __asm__ volatile("fxsave64 {(%0)|[%0]}" : : "r"(area) : "memory");
}

XVCPUI_INLINE void xvcpu_fxrstor(const void *area)
{
    __asm__ volatile("fxrstor64 {(%0)|[%0]}" : : "r"(area) : "memory");
}

// After an NMI exit NMIs stay blocked until IRET: the handler's own IRET lifts that.
XVCPUI_INLINE void xvcpu_host_nmi(void)
{
    __asm__ volatile("int {$2|2}" : : : "memory");
}

#endif // XVCPU_SIMULATED
#endif // XVCPUI_INSTRUCTIONS

#if defined(XVCPU_IMPLEMENTATION) && !defined(XVCPU_IMPLEMENTED)
#define XVCPU_IMPLEMENTED

// -- Implementation: hooks

#ifndef XVCPU_VIRT_TO_PHYS
#error "xvcpu.h: define XVCPU_VIRT_TO_PHYS(context, pointer): physical address of a library page"
#endif
#ifndef XVCPU_PHYS_TO_VIRT
#error "xvcpu.h: define XVCPU_PHYS_TO_VIRT(context, physical): pointer to physical memory"
#endif
#if defined(XVCPU_ALLOC_PAGE) != defined(XVCPU_FREE_PAGE)
#error "xvcpu.h: define both XVCPU_ALLOC_PAGE(context) and XVCPU_FREE_PAGE(context, page), or none"
#endif
#ifndef XVCPU_LOG
#define XVCPU_LOG(context, level, item, text, a, b)                                                \
    ((void)(context), (void)(level), (void)(item), (void)(text), (void)(a), (void)(b))
#endif
// Right before an entry and right after an exit, for those who count or trace.
#ifndef XVCPU_TRACE_ENTRY
#define XVCPU_TRACE_ENTRY(vcpu) ((void)0)
#endif
#ifndef XVCPU_TRACE_EXIT
#define XVCPU_TRACE_EXIT(vcpu) ((void)0)
#endif
#ifndef XVCPU_ASSERT
#define XVCPU_ASSERT(condition) ((void)0)
#endif
#if defined(XVCPU_MEMCPY) != defined(XVCPU_MEMSET)
#error "xvcpu.h: define both XVCPU_MEMCPY(to, from, bytes), XVCPU_MEMSET(to, byte, bytes), or none"
#endif
#ifndef XVCPU_TEXT_SECTION
#define XVCPU_TEXT_SECTION ".text.xvcpu"
#endif

// Hooks are the user's text: they see names here that nothing of his can have, and no other local.
// XVCPU_ASSERT alone stands where it is used, for the text of its condition.
XVCPUI_INLINE xvcpu_u64 xvcpui_to_phys(void *xvcpui_context, void *xvcpui_pointer)
{
    (void)xvcpui_context;
    return (xvcpu_u64)XVCPU_VIRT_TO_PHYS(xvcpui_context, xvcpui_pointer);
}

XVCPUI_INLINE void *xvcpui_to_virt(void *xvcpui_context, xvcpu_u64 xvcpui_physical)
{
    (void)xvcpui_context;
    return (void *)XVCPU_PHYS_TO_VIRT(xvcpui_context, xvcpui_physical);
}

#ifdef XVCPU_ALLOC_PAGE
XVCPUI_INLINE void *xvcpui_hook_alloc(void *xvcpui_context)
{
    (void)xvcpui_context;
    return (void *)XVCPU_ALLOC_PAGE(xvcpui_context);
}

XVCPUI_INLINE void xvcpui_hook_free(void *xvcpui_context, void *xvcpui_page)
{
    (void)xvcpui_context;
    XVCPU_FREE_PAGE(xvcpui_context, xvcpui_page);
}
#endif

XVCPUI_INLINE void xvcpui_log(void *xvcpui_context, xvcpu_log_level xvcpui_level,
                              const char *xvcpui_item, const char *xvcpui_text, xvcpu_u64 xvcpui_a,
                              xvcpu_u64 xvcpui_b)
{
    (void)xvcpui_context;
    (void)xvcpui_level;
    (void)xvcpui_item;
    (void)xvcpui_text;
    (void)xvcpui_a;
    (void)xvcpui_b;
    XVCPU_LOG(xvcpui_context, xvcpui_level, xvcpui_item, xvcpui_text, xvcpui_a, xvcpui_b);
}

XVCPUI_INLINE void xvcpui_trace_entry(xvcpu *xvcpui_vcpu)
{
    (void)xvcpui_vcpu;
    XVCPU_TRACE_ENTRY(xvcpui_vcpu);
}

XVCPUI_INLINE void xvcpui_trace_exit(xvcpu *xvcpui_vcpu)
{
    (void)xvcpui_vcpu;
    XVCPU_TRACE_EXIT(xvcpui_vcpu);
}

#ifdef XVCPU_CPU_ID
XVCPUI_INLINE xvcpu_u32 xvcpui_hook_cpu_id(void *xvcpui_context)
{
    (void)xvcpui_context;
    return (xvcpu_u32)XVCPU_CPU_ID(xvcpui_context);
}
#endif

#ifdef XVCPU_HOST_NMI
XVCPUI_INLINE void xvcpui_hook_host_nmi(void *xvcpui_context)
{
    (void)xvcpui_context;
    XVCPU_HOST_NMI(xvcpui_context);
}
#endif

#ifdef XVCPU_HOST_INTERRUPT
XVCPUI_INLINE void xvcpui_hook_host_interrupt(void *xvcpui_context, xvcpu_u8 xvcpui_vector)
{
    (void)xvcpui_context;
    XVCPU_HOST_INTERRUPT(xvcpui_context, xvcpui_vector);
}
#endif

// -- Implementation: bits and memory

#define XVCPUI_MAGIC_CPU 0x58435055U  // "XCPU"
#define XVCPUI_MAGIC_EPT 0x58455054U  // "XEPT"
#define XVCPUI_MAGIC_VCPU 0x58564350U // "XVCP"

// A page supply is one object's; nothing here is shared, hence no locks.
static void xvcpui_zero(void *to, xvcpu_usize bytes)
{
#ifdef XVCPU_MEMSET
    XVCPU_MEMSET(to, 0, bytes);
#else
    // A loop would be turned into a call of memset, which a kernel may not have.
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(0) : "memory");
#endif
}

static void xvcpui_fill(void *to, xvcpu_u8 byte, xvcpu_usize bytes)
{
#ifdef XVCPU_MEMSET
    XVCPU_MEMSET(to, byte, bytes);
#else
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(byte) : "memory");
#endif
}

static void xvcpui_copy(void *to, const void *from, xvcpu_usize bytes)
{
#ifdef XVCPU_MEMCPY
    XVCPU_MEMCPY(to, from, bytes);
#else
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
#endif
}

XVCPUI_INLINE xvcpu_u64 xvcpui_min64(xvcpu_u64 a, xvcpu_u64 b)
{
    return a < b ? a : b;
}

XVCPUI_INLINE xvcpu_u32 xvcpui_min32(xvcpu_u32 a, xvcpu_u32 b)
{
    return a < b ? a : b;
}

// Sign-extends from the top implemented bit: the address a processor would have stored.
XVCPUI_INLINE xvcpu_bool xvcpui_is_canonical(xvcpu_u64 address, xvcpu_u32 linear_bits)
{
    const xvcpu_u32 shift = 64U - linear_bits;
    return (xvcpu_u64)((xvcpu_i64)(address << shift) >> shift) == address;
}

// -- Implementation: errors

// Every failure of the library passes here: the place for a breakpoint.
static XVCPUI_COLD xvcpu_status xvcpui_fail(xvcpu_error *error, xvcpu_status status,
                                            const char *detail, xvcpu_u64 value, xvcpu_u64 bits)
{
    if (error) {
        xvcpui_zero(error, sizeof *error);
        error->status = status;
        error->detail = detail;
        error->value = value;
        error->bits = bits;
    }
    return status;
}

static XVCPUI_COLD xvcpu_status xvcpui_fail_msr(xvcpu_error *error, xvcpu_status status,
                                                const char *detail, xvcpu_u32 msr, xvcpu_u64 value,
                                                xvcpu_u64 bits)
{
    (void)xvcpui_fail(error, status, detail, value, bits);
    if (error)
        error->msr = msr;
    return status;
}

// -- Implementation: pages

static void xvcpui_pool_init(xvcpu_pool *pool, void *context, const xvcpu_page_supply *supply)
{
    xvcpu_u32 i;
    xvcpui_zero(pool, sizeof *pool);
    pool->context = context;
    if (!supply || !supply->pages)
        return;
    pool->supplied = 1;
    for (i = supply->count; i-- > 0;) {
        void **page = (void **)(void *)((char *)supply->pages + (xvcpu_usize)i * XVCPU_PAGE_BYTES);
        *page = pool->free_list;
        pool->free_list = page;
    }
}

static void xvcpui_page_free(xvcpu_pool *pool, void *page)
{
    if (!page)
        return;
    XVCPU_ASSERT(pool->in_use != 0);
    pool->in_use--;
    if (pool->supplied) {
        *(void **)page = pool->free_list;
        pool->free_list = page;
        return;
    }
#ifdef XVCPU_FREE_PAGE
    xvcpui_hook_free(pool->context, page);
#endif
}

// A zeroed page whose physical address fits in `physical_bits`, or null with the error filled.
static void *xvcpui_page_alloc(xvcpu_pool *pool, xvcpu_u32 physical_bits, xvcpu_u64 *physical,
                               xvcpu_error *error)
{
    void *page = XVCPUI_NULL;
    xvcpu_u64 pa;
    if (pool->supplied) {
        page = pool->free_list;
        if (page)
            pool->free_list = *(void **)page;
    } else {
#ifdef XVCPU_ALLOC_PAGE
        page = xvcpui_hook_alloc(pool->context);
#endif
    }
    if (!page) {
        (void)xvcpui_fail(error, XVCPU_STATUS_OUT_OF_PAGES, "page allocation", pool->in_use, 0);
        return XVCPUI_NULL;
    }
    pool->in_use++;
    pa = xvcpui_to_phys(pool->context, page);
    if ((pa & (XVCPU_PAGE_BYTES - 1U)) != 0 ||
        (physical_bits < 64U && (pa >> physical_bits) != 0)) {
        xvcpui_page_free(pool, page);
        (void)xvcpui_fail(error, XVCPU_STATUS_BAD_PAGE, "page allocation", pa, 0);
        return XVCPUI_NULL;
    }
    xvcpui_zero(page, XVCPU_PAGE_BYTES);
    if (physical)
        *physical = pa;
    return page;
}

// -- Implementation: current VMCS

// VMREAD and VMWRITE cannot fail for a field that exists while the VMCS is current. If one does,
// the first such failure is kept and the next point that can report an error does.
static XVCPUI_COLD void xvcpui_vmcs_fault(xvcpu *vcpu, xvcpu_u32 field, xvcpu_vmx_result result,
                                          const char *instruction)
{
    xvcpu_u64 number = 0;
    if (vcpu->fault.status != XVCPU_STATUS_OK)
        return;
    if (result == XVCPU_VMX_FAIL_VALID)
        (void)xvcpu_vmread(XVCPU_VMCS_EXIT_INSTRUCTION_ERROR, &number);
    (void)xvcpui_fail(&vcpu->fault,
                      result == XVCPU_VMX_FAIL_VALID ? XVCPU_STATUS_VMFAIL
                                                     : XVCPU_STATUS_VMFAIL_INVALID,
                      instruction, 0, 0);
    vcpu->fault.instruction_error = (xvcpu_u32)number;
    vcpu->fault.field = field;
}

XVCPUI_INLINE xvcpu_u64 xvcpui_vmcs_read(xvcpu *vcpu, xvcpu_u32 field)
{
    xvcpu_u64 value;
    const xvcpu_vmx_result result = xvcpu_vmread(field, &value);
    if (XVCPUI_LIKELY(result == XVCPU_VMX_SUCCEED))
        return value;
    xvcpui_vmcs_fault(vcpu, field, result, "VMREAD");
    return 0;
}

XVCPUI_INLINE void xvcpui_vmcs_write(xvcpu *vcpu, xvcpu_u32 field, xvcpu_u64 value)
{
    const xvcpu_vmx_result result = xvcpu_vmwrite(field, value);
    if (XVCPUI_UNLIKELY(result != XVCPU_VMX_SUCCEED))
        xvcpui_vmcs_fault(vcpu, field, result, "VMWRITE");
}

// Reports the failure kept by the functions above, once.
static xvcpu_status xvcpui_take_fault(xvcpu *vcpu, xvcpu_error *error)
{
    const xvcpu_status status = vcpu->fault.status;
    if (XVCPUI_UNLIKELY(status != XVCPU_STATUS_OK)) {
        if (error)
            xvcpui_copy(error, &vcpu->fault, sizeof *error);
        vcpu->fault.status = XVCPU_STATUS_OK;
    }
    return status;
}

// Fills an error from the outcome of a VMX instruction other than VMREAD and VMWRITE.
static XVCPUI_COLD xvcpu_status xvcpui_fail_vmx(xvcpu_error *error, xvcpu_vmx_result result,
                                                const char *instruction)
{
    xvcpu_u64 number = 0;
    if (result == XVCPU_VMX_FAIL_VALID)
        (void)xvcpu_vmread(XVCPU_VMCS_EXIT_INSTRUCTION_ERROR, &number);
    (void)xvcpui_fail(error,
                      result == XVCPU_VMX_FAIL_VALID ? XVCPU_STATUS_VMFAIL
                                                     : XVCPU_STATUS_VMFAIL_INVALID,
                      instruction, 0, 0);
    if (error)
        error->instruction_error = (xvcpu_u32)number;
    return result == XVCPU_VMX_FAIL_VALID ? XVCPU_STATUS_VMFAIL : XVCPU_STATUS_VMFAIL_INVALID;
}

// True if this runs on the processor of this id, as far as that can be told.
XVCPUI_INLINE xvcpu_bool xvcpui_is_cpu_id(void *context, xvcpu_u32 id)
{
    (void)context;
#ifdef XVCPU_CPU_ID
    return xvcpui_hook_cpu_id(context) == id;
#else
    (void)id;
    return 1;
#endif
}

XVCPUI_INLINE xvcpu_bool xvcpui_is_this_cpu(const xvcpu_cpu *cpu)
{
    return xvcpui_is_cpu_id(cpu->context, cpu->id);
}

// Every function that reads or writes guest state starts here.
static xvcpu_status xvcpui_check_bound(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_vmx_result result;
    if (!vcpu || vcpu->magic != XVCPUI_MAGIC_VCPU)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "virtual CPU not created", 0, 0);
    if (!vcpu->cpu)
        return xvcpui_fail(error, XVCPU_STATUS_NOT_BOUND, "virtual CPU not bound", 0, 0);
    if (!xvcpui_is_this_cpu(vcpu->cpu))
        return xvcpui_fail(error, XVCPU_STATUS_WRONG_CPU, "bound to another CPU", vcpu->cpu->id, 0);
    if (XVCPUI_LIKELY(vcpu->cpu->current == vcpu))
        return XVCPU_STATUS_OK;
    result = xvcpu_vmptrld(vcpu->vmcs_pa);
    if (result != XVCPU_VMX_SUCCEED)
        return xvcpui_fail_vmx(error, result, "VMPTRLD");
    vcpu->cpu->current = vcpu;
    return XVCPU_STATUS_OK;
}

// -- Implementation: VM-entry trampoline

// Offsets of struct xvcpu the assembly knows; checked right below.
#define XVCPUI_OFF_GPR 0
#define XVCPUI_OFF_CR2 128
#define XVCPUI_OFF_HOST_RSP 136
#define XVCPUI_OFF_HOST_RIP 144
#define XVCPUI_OFF_LAUNCHED 152

XVCPUI_STATIC_ASSERT(__builtin_offsetof(xvcpu, gpr) == XVCPUI_OFF_GPR, "trampoline: gpr");
XVCPUI_STATIC_ASSERT(__builtin_offsetof(xvcpu, cr2) == XVCPUI_OFF_CR2, "trampoline: cr2");
XVCPUI_STATIC_ASSERT(__builtin_offsetof(xvcpu, host_rsp) == XVCPUI_OFF_HOST_RSP, "trampoline: rsp");
XVCPUI_STATIC_ASSERT(__builtin_offsetof(xvcpu, host_rip) == XVCPUI_OFF_HOST_RIP, "trampoline: rip");
XVCPUI_STATIC_ASSERT(__builtin_offsetof(xvcpu, launched) == XVCPUI_OFF_LAUNCHED, "trampoline");
XVCPUI_STATIC_ASSERT(XVCPU_VMCS_HOST_RSP == 0x6c14 && XVCPU_VMCS_HOST_RIP == 0x6c16,
                     "trampoline: VMCS fields");

#ifndef XVCPU_SIMULATED

#define XVCPUI_STRING2(x) #x
#define XVCPUI_STRING(x) XVCPUI_STRING2(x)
#define XVCPUI_AT(offset) XVCPUI_STRING(offset) "(%rdi)"

#ifdef XVCPU_STATIC
// Two units may both hold the library: their trampolines are the same bytes, either will do.
#define XVCPUI_ENTER_BINDING ".weak xvcpui_enter\n"
#else
#define XVCPUI_ENTER_BINDING ".globl xvcpui_enter\n"
#endif

// gcc -masm=intel hands the assembler a file in Intel syntax and does not tell us; clang reads this
// in AT&T syntax whatever its options.
#if defined(XVCPU_INTEL_SYNTAX) && !defined(__clang__)
#define XVCPUI_SYNTAX_BEGIN ".att_syntax prefix\n"
#define XVCPUI_SYNTAX_END ".intel_syntax noprefix\n"
#else
#define XVCPUI_SYNTAX_BEGIN
#define XVCPUI_SYNTAX_END
#endif

#ifdef __GCC_HAVE_DWARF2_CFI_ASM
#define XVCPUI_CFI(text) text "\n"
#else
#define XVCPUI_CFI(text)
#endif

// Enters the guest and comes back when it exits. 0: a VM exit, or an entry that failed late, both
// told by the exit reason; 1: VMfailInvalid; 2: VMfailValid.
// Needs interrupts off and the VMCS of `vcpu` current.
__attribute__((sysv_abi, visibility("hidden"))) xvcpu_u32 xvcpui_enter(xvcpu *vcpu);

// RDI is the virtual CPU until the guest's own RDI is loaded, which is last; the stack keeps the
// pointer meanwhile. HOST_RSP is this very stack, so an NMI that arrives right after the exit
// pushes its frame below what is saved here. Between VMLAUNCH/VMRESUME and the jump that tests CF
// and ZF nothing writes flags; an exit arrives with both clear: one test serves exit and VM-fail.
__asm__(XVCPUI_SYNTAX_BEGIN
        ".pushsection " XVCPU_TEXT_SECTION ", \"ax\", @progbits\n"
        ".balign 16\n" XVCPUI_ENTER_BINDING ".hidden xvcpui_enter\n"
        ".type xvcpui_enter, @function\n"
        "xvcpui_enter:\n" XVCPUI_CFI(".cfi_startproc")
        // ENDBR64 as bytes: a no-op where CET is off, and assemblers that do not know it exist.
        ".byte 0xf3, 0x0f, 0x1e, 0xfa\n"
        "push %rbp\n" XVCPUI_CFI(".cfi_adjust_cfa_offset 8") XVCPUI_CFI(".cfi_rel_offset %rbp, 0")
        "push %rbx\n" XVCPUI_CFI(".cfi_adjust_cfa_offset 8") XVCPUI_CFI(".cfi_rel_offset %rbx, 0")
        "push %r12\n" XVCPUI_CFI(".cfi_adjust_cfa_offset 8") XVCPUI_CFI(".cfi_rel_offset %r12, 0")
        "push %r13\n" XVCPUI_CFI(".cfi_adjust_cfa_offset 8") XVCPUI_CFI(".cfi_rel_offset %r13, 0")
        "push %r14\n" XVCPUI_CFI(".cfi_adjust_cfa_offset 8") XVCPUI_CFI(".cfi_rel_offset %r14, 0")
        "push %r15\n" XVCPUI_CFI(".cfi_adjust_cfa_offset 8") XVCPUI_CFI(".cfi_rel_offset %r15, 0")
        "push %rdi\n" XVCPUI_CFI(".cfi_adjust_cfa_offset 8")
        // HOST_RSP and HOST_RIP are written only when they moved: another stack, or an image that
        // relocated itself.
        "cmp %rsp, " XVCPUI_AT(XVCPUI_OFF_HOST_RSP) "\n"
        "je 1f\n"
        "mov %rsp, " XVCPUI_AT(XVCPUI_OFF_HOST_RSP) "\n"
        "mov $0x6c14, %eax\n" // HOST_RSP
        "vmwrite %rsp, %rax\n"
        "jbe 6f\n"
        "1: lea 4f(%rip), %rdx\n"
        "cmp %rdx, " XVCPUI_AT(XVCPUI_OFF_HOST_RIP) "\n"
        "je 2f\n"
        "mov %rdx, " XVCPUI_AT(XVCPUI_OFF_HOST_RIP) "\n"
        "mov $0x6c16, %eax\n" // HOST_RIP
        "vmwrite %rdx, %rax\n"
        "jbe 6f\n"
        // VMX does not switch CR2; writing it is slow, and it rarely differs.
        "2: mov " XVCPUI_AT(XVCPUI_OFF_CR2) ", %rax\n"
        "mov %cr2, %rdx\n"
        "cmp %rax, %rdx\n"
        "je 3f\n"
        "mov %rax, %cr2\n"
        "3: cmpl $0, " XVCPUI_AT(XVCPUI_OFF_LAUNCHED) "\n"
        // Only moves until VMLAUNCH/VMRESUME: the comparison's flags choose between them.
        "mov 0(%rdi), %rax\n"
        "mov 8(%rdi), %rcx\n"
        "mov 16(%rdi), %rdx\n"
        "mov 24(%rdi), %rbx\n"
        "mov 40(%rdi), %rbp\n"
        "mov 48(%rdi), %rsi\n"
        "mov 64(%rdi), %r8\n"
        "mov 72(%rdi), %r9\n"
        "mov 80(%rdi), %r10\n"
        "mov 88(%rdi), %r11\n"
        "mov 96(%rdi), %r12\n"
        "mov 104(%rdi), %r13\n"
        "mov 112(%rdi), %r14\n"
        "mov 120(%rdi), %r15\n"
        "mov 56(%rdi), %rdi\n"
        "je 7f\n"
        "vmresume\n"
        "4: .byte 0xf3, 0x0f, 0x1e, 0xfa\n"
        "jbe 5f\n"
        // A VM exit: all registers but RSP are the guest's. The pointer is at the top of the stack.
        "push %rdi\n"
        "mov 8(%rsp), %rdi\n"
        "pop 56(%rdi)\n"
        "mov %rax, 0(%rdi)\n"
        "mov %rcx, 8(%rdi)\n"
        "mov %rdx, 16(%rdi)\n"
        "mov %rbx, 24(%rdi)\n"
        "mov %rbp, 40(%rdi)\n"
        "mov %rsi, 48(%rdi)\n"
        "mov %r8, 64(%rdi)\n"
        "mov %r9, 72(%rdi)\n"
        "mov %r10, 80(%rdi)\n"
        "mov %r11, 88(%rdi)\n"
        "mov %r12, 96(%rdi)\n"
        "mov %r13, 104(%rdi)\n"
        "mov %r14, 112(%rdi)\n"
        "mov %r15, 120(%rdi)\n"
        // Before anything in the host can fault.
        "mov %cr2, %rax\n"
        "mov %rax, " XVCPUI_AT(XVCPUI_OFF_CR2) "\n"
        // The host runs on none of the guest's values; the six the pops restore are overwritten.
        "xor %eax, %eax\n"
        "xor %ecx, %ecx\n"
        "xor %edx, %edx\n"
        "xor %esi, %esi\n"
        "xor %r8d, %r8d\n"
        "xor %r9d, %r9d\n"
        "xor %r10d, %r10d\n"
        "xor %r11d, %r11d\n"
        "8:\n" XVCPUI_CFI(".cfi_remember_state")
        "pop %rdi\n" XVCPUI_CFI(".cfi_adjust_cfa_offset -8")
        "pop %r15\n" XVCPUI_CFI(".cfi_adjust_cfa_offset -8") XVCPUI_CFI(".cfi_restore %r15")
        "pop %r14\n" XVCPUI_CFI(".cfi_adjust_cfa_offset -8") XVCPUI_CFI(".cfi_restore %r14")
        "pop %r13\n" XVCPUI_CFI(".cfi_adjust_cfa_offset -8") XVCPUI_CFI(".cfi_restore %r13")
        "pop %r12\n" XVCPUI_CFI(".cfi_adjust_cfa_offset -8") XVCPUI_CFI(".cfi_restore %r12")
        "pop %rbx\n" XVCPUI_CFI(".cfi_adjust_cfa_offset -8") XVCPUI_CFI(".cfi_restore %rbx")
        "pop %rbp\n" XVCPUI_CFI(".cfi_adjust_cfa_offset -8") XVCPUI_CFI(".cfi_restore %rbp")
        "ret\n"
        "int3\n" XVCPUI_CFI(".cfi_restore_state")
        // VM-fail: RSP never changed, and the six registers are restored like after an exit.
        "5: mov $1, %eax\n" // MOV keeps CF
        "jc 8b\n"
        "mov $2, %eax\n"
        "jmp 8b\n"
        // A VMWRITE above failed: unknown values must not be taken for known next time.
        "6: mov $1, %eax\n"
        "jc 9f\n"
        "mov $2, %eax\n"
        "9: movq $0, " XVCPUI_AT(XVCPUI_OFF_HOST_RSP) "\n"
        "movq $0, " XVCPUI_AT(XVCPUI_OFF_HOST_RIP) "\n"
        "jmp 8b\n"
        "7: vmlaunch\n"
        "jmp 4b\n" // with CF or ZF set: an exit arrives at 4 by HOST_RIP
        XVCPUI_CFI(".cfi_endproc") ".size xvcpui_enter, . - xvcpui_enter\n"
        ".popsection\n" XVCPUI_SYNTAX_END);

#endif // XVCPU_SIMULATED
// -- Implementation: names
// Texts for messages. Each table of the architecture constants becomes one constant object that
// holds all its strings end to end, without a single pointer: a kernel that relocates itself, or
// runs before its relocations are applied, can print a name, and nothing here is writable. Finding
// string n means walking over the n before it, which costs nothing that a message would notice.

static const char *xvcpui_nth_string(const void *strings, xvcpu_u32 n)
{
    const char *s = (const char *)strings;

    while (n-- != 0) {
        while (*s != '\0') {
            s++;
        }
        s++;
    }
    return s;
}

// Every VMCS field and when it exists, in the order of XVCPU_VMCS_FIELDS.
typedef struct xvcpui_vmcs_field_row {
    xvcpu_u32 since; // XVCPU_SINCE_*
    xvcpu_u16 encoding;
} xvcpui_vmcs_field_row;

static const xvcpui_vmcs_field_row xvcpui_vmcs_fields[] = {
#define XVCPUI_ROW(encoding, name, text, since) {(since), (encoding)},
    XVCPU_VMCS_FIELDS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

#define XVCPUI_VMCS_FIELD_COUNT                                                                    \
    ((xvcpu_u32)(sizeof(xvcpui_vmcs_fields) / sizeof(xvcpui_vmcs_fields[0])))

// The name of an upper half is a string of its own: there is no buffer in which to append "_HIGH".
typedef struct xvcpui_vmcs_strings {
#define XVCPUI_ROW(encoding, name, text, since) char full_##name[sizeof(#name)];
    XVCPU_VMCS_FIELDS(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_vmcs_strings;

static const xvcpui_vmcs_strings xvcpui_vmcs_names = {
#define XVCPUI_ROW(encoding, name, text, since) #name,
    XVCPU_VMCS_FIELDS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

typedef struct xvcpui_vmcs_high_strings {
#define XVCPUI_ROW(encoding, name, text, since) char high_##name[sizeof(#name "_HIGH")];
    XVCPU_VMCS_FIELDS_64(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_vmcs_high_strings;

static const xvcpui_vmcs_high_strings xvcpui_vmcs_high_names = {
#define XVCPUI_ROW(encoding, name, text, since) #name "_HIGH",
    XVCPU_VMCS_FIELDS_64(XVCPUI_ROW)
#undef XVCPUI_ROW
};

// The position of a field in xvcpui_vmcs_fields; XVCPUI_VMCS_FIELD_COUNT if there is no such field.
static xvcpu_u32 xvcpui_vmcs_field_find(xvcpu_u32 encoding)
{
    xvcpu_u32 i;

    for (i = 0; i < XVCPUI_VMCS_FIELD_COUNT; i++) {
        if (xvcpui_vmcs_fields[i].encoding == encoding) {
            break;
        }
    }
    return i;
}

XVCPU_API const char *xvcpu_vmcs_field_name(xvcpu_u32 encoding)
{
    xvcpu_u32 high = encoding & (xvcpu_u32)XVCPU_VMCS_ENCODING_HIGH;
    xvcpu_u32 found = xvcpui_vmcs_field_find(encoding - high);
    xvcpu_u32 n = 0;
    xvcpu_u32 i;

    if (found == XVCPUI_VMCS_FIELD_COUNT) {
        return "unknown VMCS field";
    }
    if (high == 0) {
        return xvcpui_nth_string(&xvcpui_vmcs_names, found);
    }
    if (XVCPU_VMCS_WIDTH(encoding) != XVCPU_VMCS_WIDTH_64) {
        return "unknown VMCS field";
    }
    for (i = 0; i < found; i++) {
        if (XVCPU_VMCS_WIDTH(xvcpui_vmcs_fields[i].encoding) == XVCPU_VMCS_WIDTH_64) {
            n++;
        }
    }
    return xvcpui_nth_string(&xvcpui_vmcs_high_names, n);
}

// Control words and control bits.
typedef struct xvcpui_control_word_strings {
#define XVCPUI_ROW(name, text, field, msr, true_msr) char text_##name[sizeof(text)];
    XVCPU_CONTROL_WORDS(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_control_word_strings;

static const xvcpui_control_word_strings xvcpui_control_word_names = {
#define XVCPUI_ROW(name, text, field, msr, true_msr) text,
    XVCPU_CONTROL_WORDS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

// XVCPU_SINCE_SOURCE_* and XVCPU_WORD_* count the same words in the same order: whoever looks up a
// "since" subtracts one from the other.
#define XVCPUI_ROW(name, text, field, msr, true_msr)                                               \
    XVCPUI_STATIC_ASSERT((int)XVCPU_SINCE_SOURCE_##name ==                                         \
                             (int)XVCPU_SINCE_SOURCE_CONTROLS + 1 + (int)XVCPU_WORD_##name,        \
                         "control words in two orders");
XVCPU_CONTROL_WORDS(XVCPUI_ROW)
#undef XVCPUI_ROW

typedef struct xvcpui_control_row {
    xvcpu_u8 word; // XVCPU_WORD_*
    xvcpu_u8 bit;
} xvcpui_control_row;

static const xvcpui_control_row xvcpui_controls[] = {
#define XVCPUI_ROW(word, name, bit, text) {XVCPU_WORD_##word, (bit)},
    XVCPU_CONTROLS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

typedef struct xvcpui_control_strings {
#define XVCPUI_ROW(word, name, bit, text) char name_##word##_##name[sizeof(#word "_" #name)];
    XVCPU_CONTROLS(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_control_strings;

static const xvcpui_control_strings xvcpui_control_names = {
#define XVCPUI_ROW(word, name, bit, text) #word "_" #name,
    XVCPU_CONTROLS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

XVCPU_API const char *xvcpu_control_word_name(xvcpu_control_word word)
{
    if ((xvcpu_u32)word >= (xvcpu_u32)XVCPU_WORD_COUNT) {
        return "unknown control word";
    }
    return xvcpui_nth_string(&xvcpui_control_word_names, (xvcpu_u32)word);
}

XVCPU_API const char *xvcpu_control_name(xvcpu_control_word word, xvcpu_u32 bit)
{
    const xvcpu_u32 count = (xvcpu_u32)(sizeof(xvcpui_controls) / sizeof(xvcpui_controls[0]));
    xvcpu_u32 i;

    for (i = 0; i < count; i++) {
        if (xvcpui_controls[i].word == (xvcpu_u32)word && xvcpui_controls[i].bit == bit) {
            return xvcpui_nth_string(&xvcpui_control_names, i);
        }
    }
    return "reserved control bit";
}

// Exit reasons.
static const xvcpu_u16 xvcpui_exit_reason_rows[] = {
#define XVCPUI_ROW(number, name, text, flags) (xvcpu_u16)(flags),
    XVCPU_EXIT_REASONS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

// The position of a row is its number.
XVCPUI_STATIC_ASSERT(sizeof(xvcpui_exit_reason_rows) / sizeof(xvcpui_exit_reason_rows[0]) ==
                         XVCPU_EXIT_REASON_COUNT,
                     "XVCPU_EXIT_REASONS has a gap");

typedef struct xvcpui_exit_reason_strings {
#define XVCPUI_ROW(number, name, text, flags) char name_##name[sizeof(#name)];
    XVCPU_EXIT_REASONS(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_exit_reason_strings;

static const xvcpui_exit_reason_strings xvcpui_exit_reason_names = {
#define XVCPUI_ROW(number, name, text, flags) #name,
    XVCPU_EXIT_REASONS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

XVCPU_API const char *xvcpu_exit_reason_name(xvcpu_u32 basic)
{
    if (basic >= (xvcpu_u32)XVCPU_EXIT_REASON_COUNT) {
        return "unknown exit reason";
    }
    return xvcpui_nth_string(&xvcpui_exit_reason_names, basic);
}

// XVCPU_REASON_* flags of a basic exit reason.
XVCPUI_INLINE xvcpu_u32 xvcpui_exit_reason_flags(xvcpu_u32 basic)
{
    // A reason nobody knows must not be skipped by the length of its instruction.
    if (basic >= (xvcpu_u32)XVCPU_EXIT_REASON_COUNT) {
        return XVCPU_REASON(NEVER, NONE, UNVERIFIED);
    }
    return xvcpui_exit_reason_rows[basic];
}

// VM-instruction errors. Their numbers have gaps.
static const xvcpu_u8 xvcpui_instruction_errors[] = {
#define XVCPUI_ROW(number, name, meaning, hint) (number),
    XVCPU_INSTRUCTION_ERRORS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

#define XVCPUI_INSTRUCTION_ERROR_COUNT ((xvcpu_u32)sizeof(xvcpui_instruction_errors))

typedef struct xvcpui_instruction_error_strings {
#define XVCPUI_ROW(number, name, meaning, hint) char meaning_##name[sizeof(meaning)];
    XVCPU_INSTRUCTION_ERRORS(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_instruction_error_strings;

static const xvcpui_instruction_error_strings xvcpui_instruction_error_texts = {
#define XVCPUI_ROW(number, name, meaning, hint) meaning,
    XVCPU_INSTRUCTION_ERRORS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

typedef struct xvcpui_instruction_error_hint_strings {
#define XVCPUI_ROW(number, name, meaning, hint) char hint_##name[sizeof(hint)];
    XVCPU_INSTRUCTION_ERRORS(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_instruction_error_hint_strings;

static const xvcpui_instruction_error_hint_strings xvcpui_instruction_error_hints = {
#define XVCPUI_ROW(number, name, meaning, hint) hint,
    XVCPU_INSTRUCTION_ERRORS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

static xvcpu_u32 xvcpui_instruction_error_find(xvcpu_u32 error)
{
    xvcpu_u32 i;

    for (i = 0; i < XVCPUI_INSTRUCTION_ERROR_COUNT; i++) {
        if (xvcpui_instruction_errors[i] == error) {
            break;
        }
    }
    return i;
}

XVCPU_API const char *xvcpu_instruction_error_text(xvcpu_u32 error)
{
    xvcpu_u32 found = xvcpui_instruction_error_find(error);

    if (found == XVCPUI_INSTRUCTION_ERROR_COUNT) {
        return "unknown VM-instruction error";
    }
    return xvcpui_nth_string(&xvcpui_instruction_error_texts, found);
}

XVCPU_API const char *xvcpu_instruction_error_hint(xvcpu_u32 error)
{
    xvcpu_u32 found = xvcpui_instruction_error_find(error);

    if (found == XVCPUI_INSTRUCTION_ERROR_COUNT) {
        return "no hint";
    }
    return xvcpui_nth_string(&xvcpui_instruction_error_hints, found);
}

// MSRs.
static const xvcpu_u32 xvcpui_msr_indexes[] = {
#define XVCPUI_ROW(name) XVCPU_MSR_##name,
    XVCPU_MSRS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

typedef struct xvcpui_msr_strings {
#define XVCPUI_ROW(name) char name_##name[sizeof(#name)];
    XVCPU_MSRS(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_msr_strings;

static const xvcpui_msr_strings xvcpui_msr_names = {
#define XVCPUI_ROW(name) #name,
    XVCPU_MSRS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

XVCPU_API const char *xvcpu_msr_name(xvcpu_u32 index)
{
    const xvcpu_u32 count = (xvcpu_u32)(sizeof(xvcpui_msr_indexes) / sizeof(xvcpui_msr_indexes[0]));
    xvcpu_u32 i;

    for (i = 0; i < count; i++) {
        if (xvcpui_msr_indexes[i] == index) {
            return xvcpui_nth_string(&xvcpui_msr_names, i);
        }
    }
    if (index >= XVCPU_MSR_X2APIC_FIRST && index <= XVCPU_MSR_X2APIC_LAST) {
        return "x2APIC register";
    }
    if (index >= XVCPU_MSR_IA32_MC_FIRST && index <= XVCPU_MSR_IA32_MC_LAST) {
        return "machine-check bank register";
    }
    return "unknown MSR";
}

// Exceptions.
typedef struct xvcpui_exception_strings {
#define XVCPUI_ROW(vector, name, mnemonic, text, error_code) char name_##name[sizeof(mnemonic)];
    XVCPU_EXCEPTIONS(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_exception_strings;

static const xvcpui_exception_strings xvcpui_exception_names = {
#define XVCPUI_ROW(vector, name, mnemonic, text, error_code) mnemonic,
    XVCPU_EXCEPTIONS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

// The position of a row is its vector.
#define XVCPUI_ROW(vector, name, mnemonic, text, error_code) +1
XVCPUI_STATIC_ASSERT(XVCPU_EXCEPTION_LAST + 1 == 0 XVCPU_EXCEPTIONS(XVCPUI_ROW),
                     "XVCPU_EXCEPTIONS has a gap");
#undef XVCPUI_ROW

XVCPU_API const char *xvcpu_exception_name(xvcpu_u32 vector)
{
    if (vector > (xvcpu_u32)XVCPU_EXCEPTION_LAST) {
        return "unknown exception";
    }
    return xvcpui_nth_string(&xvcpui_exception_names, vector);
}

// Statuses and features, in the same way.
typedef struct xvcpui_status_strings {
#define XVCPUI_ROW(name, cause, remedy) char name_##name[sizeof(#name)];
    XVCPU_STATUSES(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_status_strings;

static const xvcpui_status_strings xvcpui_status_names = {
#define XVCPUI_ROW(name, cause, remedy) #name,
    XVCPU_STATUSES(XVCPUI_ROW)
#undef XVCPUI_ROW
};

typedef struct xvcpui_cause_strings {
#define XVCPUI_ROW(name, cause, remedy) char cause_##name[sizeof(cause)];
    XVCPU_STATUSES(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_cause_strings;

static const xvcpui_cause_strings xvcpui_status_causes = {
#define XVCPUI_ROW(name, cause, remedy) cause,
    XVCPU_STATUSES(XVCPUI_ROW)
#undef XVCPUI_ROW
};

typedef struct xvcpui_remedy_strings {
#define XVCPUI_ROW(name, cause, remedy) char remedy_##name[sizeof(remedy)];
    XVCPU_STATUSES(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_remedy_strings;

static const xvcpui_remedy_strings xvcpui_status_remedies = {
#define XVCPUI_ROW(name, cause, remedy) remedy,
    XVCPU_STATUSES(XVCPUI_ROW)
#undef XVCPUI_ROW
};

XVCPU_API const char *xvcpu_status_name(xvcpu_status status)
{
    return (xvcpu_u32)status < XVCPU_STATUS_COUNT
               ? xvcpui_nth_string(&xvcpui_status_names, (xvcpu_u32)status)
               : "unknown status";
}

XVCPU_API const char *xvcpu_status_text(xvcpu_status status)
{
    return (xvcpu_u32)status < XVCPU_STATUS_COUNT
               ? xvcpui_nth_string(&xvcpui_status_causes, (xvcpu_u32)status)
               : "unknown status";
}

XVCPU_API const char *xvcpu_status_remedy(xvcpu_status status)
{
    return (xvcpu_u32)status < XVCPU_STATUS_COUNT
               ? xvcpui_nth_string(&xvcpui_status_remedies, (xvcpu_u32)status)
               : "";
}

typedef struct xvcpui_feature_strings {
#define XVCPUI_ROW(id, needs, word, ctl, leaf, sub, reg, bits, cr4, xcr0, xss)                     \
    char feature_##id[sizeof(#id)];
    XVCPU_FEATURES(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_feature_strings;

static const xvcpui_feature_strings xvcpui_feature_names = {
#define XVCPUI_ROW(id, needs, word, ctl, leaf, sub, reg, bits, cr4, xcr0, xss) #id,
    XVCPU_FEATURES(XVCPUI_ROW)
#undef XVCPUI_ROW
};

XVCPU_API const char *xvcpu_feature_name(xvcpu_feature feature)
{
    return (xvcpu_u32)feature < XVCPU_FEATURE_COUNT
               ? xvcpui_nth_string(&xvcpui_feature_names, (xvcpu_u32)feature)
               : "unknown feature";
}

// -- Implementation: capabilities

typedef struct xvcpui_feature_row {
    xvcpu_u8 needs;   // xvcpu_feature
    xvcpu_u8 word;    // xvcpu_control_word
    xvcpu_u8 reg;     // 0-3: EAX, EBX, ECX, EDX
    xvcpu_u8 subleaf;
    xvcpu_u32 leaf;
    xvcpu_u32 bits;
    xvcpu_u64 controls;
    xvcpu_u64 cr4;
    xvcpu_u64 xcr0;
    xvcpu_u64 xss;
} xvcpui_feature_row;

enum { XVCPUI_REG_A = 0, XVCPUI_REG_B, XVCPUI_REG_C, XVCPUI_REG_D };

static const xvcpui_feature_row xvcpui_feature_rows[XVCPU_FEATURE_COUNT] = {
#define XVCPUI_FEATURE_ROW(id, needs, word, ctl, leaf, sub, reg, bits, cr4, xcr0, xss)             \
    {XVCPU_FEATURE_##needs, XVCPU_WORD_##word, XVCPUI_REG_##reg, sub, leaf, bits, ctl, cr4, xcr0,  \
     xss},
    XVCPU_FEATURES(XVCPUI_FEATURE_ROW)
#undef XVCPUI_FEATURE_ROW
};

XVCPUI_STATIC_ASSERT(XVCPU_FEATURE_COUNT <= 64, "features are bits of a 64-bit word");

XVCPUI_INLINE xvcpu_u32 xvcpui_cpuid_reg(const xvcpu_cpuid_regs *regs, xvcpu_u32 reg)
{
    return reg == XVCPUI_REG_A   ? regs->eax
           : reg == XVCPUI_REG_B ? regs->ebx
           : reg == XVCPUI_REG_C ? regs->ecx
                                 : regs->edx;
}

// One word of controls. A 32-bit word is told by "must be 1" in the low and "may be 1" in the high
// half of its MSR; PROC3 and EXIT2 have 64 "may be 1" bits.
static void xvcpui_read_controls(xvcpu_caps *caps, xvcpu_control_word word, xvcpu_u32 msr)
{
    xvcpu_control_caps *controls = &caps->controls[word];
    const xvcpu_u64 value = xvcpu_rdmsr(msr);
    controls->msr = msr;
    if (word == XVCPU_WORD_PROC3 || word == XVCPU_WORD_EXIT2) {
        controls->must_be_1 = 0;
        controls->may_be_1 = value;
    } else {
        controls->must_be_1 = value & XVCPU_VMX_CTLS_MUST_BE_1_MASK;
        controls->may_be_1 = value >> XVCPU_VMX_CTLS_MAY_BE_1_SHIFT;
    }
}

XVCPUI_INLINE xvcpu_bool xvcpui_can(const xvcpu_caps *caps, xvcpu_control_word word, xvcpu_u64 bits)
{
    return (caps->controls[word].may_be_1 & bits) == bits;
}

// Which rows of the feature table this processor can serve. A row may need an earlier or a later
// one, hence the second pass until nothing changes.
static xvcpu_u64 xvcpui_close_features(xvcpu_u64 features)
{
    xvcpu_u64 before;
    xvcpu_u32 i;
    do {
        before = features;
        for (i = 0; i < XVCPU_FEATURE_COUNT; i++)
            if ((features & XVCPU_BIT64(xvcpui_feature_rows[i].needs)) == 0)
                features &= ~XVCPU_BIT64(i);
    } while (features != before);
    return features;
}

static xvcpu_u64 xvcpui_features(const xvcpu_caps *caps)
{
    xvcpu_u64 features = 0;
    xvcpu_u32 i;
    for (i = 0; i < XVCPU_FEATURE_COUNT; i++) {
        const xvcpui_feature_row *row = &xvcpui_feature_rows[i];
        xvcpu_cpuid_regs regs;
        const xvcpu_u32 last = (row->leaf & XVCPU_CPUID_LEAF_EXTENDED) != 0 ? caps->max_ext_leaf
                                                                            : caps->max_leaf;
        if (row->leaf > last || !xvcpui_can(caps, (xvcpu_control_word)row->word, row->controls) ||
            (row->xcr0 & ~caps->xcr0_mask) != 0 || (row->xss & ~caps->xss_mask) != 0 ||
            (row->cr4 & ~caps->cr4_fixed1) != 0)
            continue;
        xvcpu_cpuid(row->leaf, row->subleaf, &regs);
        if ((xvcpui_cpuid_reg(&regs, row->reg) & row->bits) == row->bits)
            features |= XVCPU_BIT64(i);
    }
    return xvcpui_close_features(features);
}

static xvcpu_status xvcpui_check_basic(const xvcpu_caps *caps, xvcpu_error *error)
{
    const char *detail;
    if ((caps->basic & XVCPU_BIT64(31)) != 0)
        detail = "IA32_VMX_BASIC bit 31 is 1";
    else if (caps->region_bytes == 0 || caps->region_bytes > XVCPU_PAGE_BYTES)
        detail = "IA32_VMX_BASIC: region size is not 1 to 4096";
    else if (XVCPU_PART(caps->basic, VMX_BASIC_MEMORY_TYPE) != XVCPU_MEMORY_WB)
        detail = "IA32_VMX_BASIC: memory type of VMX structures is not write-back";
    else
        return XVCPU_STATUS_OK;
    return xvcpui_fail_msr(error, XVCPU_STATUS_BAD_BASIC, detail, XVCPU_MSR_IA32_VMX_BASIC,
                           caps->basic, 0);
}

// Width of the addresses of VMXON region, VMCS and what they point to.
XVCPUI_INLINE xvcpu_u32 xvcpui_vmx_address_bits(const xvcpu_caps *caps)
{
    return (caps->basic & XVCPU_VMX_BASIC_ADDRESS_32BIT) != 0 ? 32U : caps->physical_bits;
}

// State components that XCR0 offers and that have no size: an emulator's slip, which a guest that
// adds the sizes up would stumble over.
static xvcpu_u64 xvcpui_empty_components(xvcpu_u64 components)
{
    xvcpu_u64 empty = 0;
    xvcpu_u32 i;
    for (i = 2; i < 63; i++) {
        xvcpu_cpuid_regs regs;
        if ((components >> i & 1U) == 0)
            continue;
        xvcpu_cpuid(XVCPU_CPUID_LEAF_XSAVE, i, &regs);
        if (regs.eax == 0)
            empty |= XVCPU_BIT64(i);
    }
    return empty;
}

static void xvcpui_probe_cpuid(xvcpu_caps *caps)
{
    xvcpu_cpuid_regs regs;
    xvcpu_u32 ecx1;
    xvcpu_cpuid(XVCPU_CPUID_LEAF_FEATURES, 0, &regs);
    ecx1 = regs.ecx;
    caps->stepping = regs.eax & 0xFU;
    caps->model = ((regs.eax >> 4) & 0xFU) | ((regs.eax >> 12) & 0xF0U);
    caps->family = (regs.eax >> 8) & 0xFU;
    if (caps->family == 0xFU)
        caps->family += (regs.eax >> 20) & 0xFFU;
    xvcpu_cpuid(XVCPU_CPUID_LEAF_EXTENDED, 0, &regs);
    caps->max_ext_leaf = regs.eax;
    caps->physical_bits = 36; // where CPUID does not say
    caps->linear_bits = 48;
    if (caps->max_ext_leaf >= XVCPU_CPUID_LEAF_ADDRESS_SIZES) {
        xvcpu_cpuid(XVCPU_CPUID_LEAF_ADDRESS_SIZES, 0, &regs);
        caps->physical_bits = (xvcpu_u32)XVCPU_PART(regs.eax, CPUID_EXT_8_EAX_PHYSICAL_BITS);
        caps->linear_bits = (xvcpu_u32)XVCPU_PART(regs.eax, CPUID_EXT_8_EAX_LINEAR_BITS);
    }
    if (caps->max_leaf >= XVCPU_CPUID_LEAF_EXTENDED_FEATURES) {
        xvcpu_cpuid(XVCPU_CPUID_LEAF_EXTENDED_FEATURES, 0, &regs);
        // Memory encryption takes the top physical-address bits for its key numbers.
        if ((regs.ecx & XVCPU_CPUID_7_ECX_TME) != 0) {
            const xvcpu_u64 tme = xvcpu_rdmsr(XVCPU_MSR_IA32_TME_ACTIVATE);
            const xvcpu_u32 key_bits = (xvcpu_u32)XVCPU_PART(tme, TME_ACTIVATE_KEYID_BITS);
            if ((tme & XVCPU_TME_ACTIVATE_LOCK) != 0 && (tme & XVCPU_TME_ACTIVATE_ENABLE) != 0 &&
                key_bits < caps->physical_bits)
                caps->physical_bits -= key_bits;
        }
    }
    if ((ecx1 & XVCPU_CPUID_1_ECX_XSAVE) != 0 && caps->max_leaf >= XVCPU_CPUID_LEAF_XSAVE) {
        xvcpu_cpuid(XVCPU_CPUID_LEAF_XSAVE, 0, &regs);
        caps->xcr0_mask = ((xvcpu_u64)regs.edx << 32) | regs.eax;
        caps->xsave_bytes = regs.ecx;
        caps->xcr0_mask &= ~xvcpui_empty_components(caps->xcr0_mask);
        xvcpu_cpuid(XVCPU_CPUID_LEAF_XSAVE, 1, &regs);
        if ((regs.eax & XVCPU_CPUID_D_1_EAX_XSAVES) != 0)
            caps->xss_mask = ((xvcpu_u64)regs.edx << 32) | regs.ecx;
    }
}

XVCPU_API xvcpu_status xvcpu_probe(xvcpu_caps *caps, xvcpu_error *error)
{
    xvcpu_cpuid_regs regs;
    xvcpu_bool use_true;
    if (!caps)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "caps is null", 0, 0);
    xvcpui_zero(caps, sizeof *caps);
    xvcpu_cpuid(XVCPU_CPUID_LEAF_VENDOR, 0, &regs);
    caps->max_leaf = regs.eax;
    xvcpu_cpuid(XVCPU_CPUID_LEAF_FEATURES, 0, &regs);
    if (caps->max_leaf < XVCPU_CPUID_LEAF_FEATURES || (regs.ecx & XVCPU_CPUID_1_ECX_VMX) == 0)
        return xvcpui_fail(error, XVCPU_STATUS_NO_VMX, "CPUID.1:ECX.VMX", regs.ecx,
                           XVCPU_CPUID_1_ECX_VMX);
    xvcpui_probe_cpuid(caps);

    caps->basic = xvcpu_rdmsr(XVCPU_MSR_IA32_VMX_BASIC);
    caps->revision = (xvcpu_u32)XVCPU_PART(caps->basic, VMX_BASIC_REVISION);
    caps->region_bytes = (xvcpu_u32)XVCPU_PART(caps->basic, VMX_BASIC_REGION_SIZE);
    use_true = (caps->basic & XVCPU_VMX_BASIC_TRUE_CONTROLS) != 0;
    xvcpui_read_controls(caps, XVCPU_WORD_PIN,
                         use_true ? XVCPU_MSR_IA32_VMX_TRUE_PINBASED_CTLS
                                  : XVCPU_MSR_IA32_VMX_PINBASED_CTLS);
    xvcpui_read_controls(caps, XVCPU_WORD_PROC1,
                         use_true ? XVCPU_MSR_IA32_VMX_TRUE_PROCBASED_CTLS
                                  : XVCPU_MSR_IA32_VMX_PROCBASED_CTLS);
    xvcpui_read_controls(caps, XVCPU_WORD_EXIT,
                         use_true ? XVCPU_MSR_IA32_VMX_TRUE_EXIT_CTLS
                                  : XVCPU_MSR_IA32_VMX_EXIT_CTLS);
    xvcpui_read_controls(caps, XVCPU_WORD_ENTRY,
                         use_true ? XVCPU_MSR_IA32_VMX_TRUE_ENTRY_CTLS
                                  : XVCPU_MSR_IA32_VMX_ENTRY_CTLS);
    // These MSRs exist only where the control that activates their word may be 1.
    if (xvcpui_can(caps, XVCPU_WORD_PROC1, XVCPU_PROC1_ACTIVATE_SECONDARY))
        xvcpui_read_controls(caps, XVCPU_WORD_PROC2, XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2);
    if (xvcpui_can(caps, XVCPU_WORD_PROC1, XVCPU_PROC1_ACTIVATE_TERTIARY))
        xvcpui_read_controls(caps, XVCPU_WORD_PROC3, XVCPU_MSR_IA32_VMX_PROCBASED_CTLS3);
    if (xvcpui_can(caps, XVCPU_WORD_EXIT, XVCPU_EXIT_ACTIVATE_SECONDARY))
        xvcpui_read_controls(caps, XVCPU_WORD_EXIT2, XVCPU_MSR_IA32_VMX_EXIT_CTLS2);

    caps->misc = xvcpu_rdmsr(XVCPU_MSR_IA32_VMX_MISC);
    caps->cr0_fixed0 = xvcpu_rdmsr(XVCPU_MSR_IA32_VMX_CR0_FIXED0);
    caps->cr0_fixed1 = xvcpu_rdmsr(XVCPU_MSR_IA32_VMX_CR0_FIXED1);
    caps->cr4_fixed0 = xvcpu_rdmsr(XVCPU_MSR_IA32_VMX_CR4_FIXED0);
    caps->cr4_fixed1 = xvcpu_rdmsr(XVCPU_MSR_IA32_VMX_CR4_FIXED1);
    caps->vmcs_enum = xvcpu_rdmsr(XVCPU_MSR_IA32_VMX_VMCS_ENUM);
    if ((caps->controls[XVCPU_WORD_PROC2].may_be_1 & (XVCPU_PROC2_EPT | XVCPU_PROC2_VPID)) != 0)
        caps->ept_vpid = xvcpu_rdmsr(XVCPU_MSR_IA32_VMX_EPT_VPID_CAP);
    if (xvcpui_can(caps, XVCPU_WORD_PROC2, XVCPU_PROC2_VMFUNC))
        caps->vmfunc = xvcpu_rdmsr(XVCPU_MSR_IA32_VMX_VMFUNC);
    caps->timer_shift = (xvcpu_u32)XVCPU_PART(caps->misc, VMX_MISC_TIMER_RATE);
    caps->cr3_targets = (xvcpu_u32)XVCPU_PART(caps->misc, VMX_MISC_CR3_TARGETS);
    caps->features = xvcpui_features(caps);
    if (xvcpui_check_basic(caps, error) != XVCPU_STATUS_OK)
        return XVCPU_STATUS_BAD_BASIC;
    caps->probed = 1;
    return XVCPU_STATUS_OK;
}

// SDM "Algorithms for Determining VMX Capabilities", with its steps as comments.
XVCPU_API xvcpu_status xvcpu_negotiate(const xvcpu_caps *caps, xvcpu_control_word word,
                                       xvcpu_u64 required, xvcpu_u64 optional, xvcpu_u64 *setting,
                                       xvcpu_error *error)
{
    const xvcpu_control_caps *controls;
    xvcpu_u64 missing;
    if (!caps || !setting || (xvcpu_u32)word >= XVCPU_WORD_COUNT)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "caps, word or setting", word, 0);
    // The TRUE MSRs were read where IA32_VMX_BASIC[55] says they exist; where they do not, the
    // default-1 bits show up as "must be 1", which is what the algorithm asks for.
    controls = &caps->controls[word];
    missing = required & ~controls->may_be_1;
    if (missing != 0) {
        static const struct {
            xvcpu_u32 msr;
        } msrs[XVCPU_WORD_COUNT] = {
            {XVCPU_MSR_IA32_VMX_PINBASED_CTLS},   {XVCPU_MSR_IA32_VMX_PROCBASED_CTLS},
            {XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2}, {XVCPU_MSR_IA32_VMX_PROCBASED_CTLS3},
            {XVCPU_MSR_IA32_VMX_EXIT_CTLS},       {XVCPU_MSR_IA32_VMX_EXIT_CTLS2},
            {XVCPU_MSR_IA32_VMX_ENTRY_CTLS}};
        xvcpu_u32 bit = 0;
        while ((missing & XVCPU_BIT64(bit)) == 0)
            bit++;
        return xvcpui_fail_msr(error, XVCPU_STATUS_CONTROL_UNSUPPORTED,
                               xvcpu_control_name(word, bit),
                               controls->msr != 0 ? controls->msr : msrs[word].msr,
                               controls->may_be_1, missing);
    }
    // What nobody asked for is 0 wherever 0 is allowed.
    *setting = required | (optional & controls->may_be_1) | controls->must_be_1;
    return XVCPU_STATUS_OK;
}

static xvcpu_bool xvcpui_since_holds(const xvcpu_caps *caps, xvcpu_u32 source, xvcpu_u32 number)
{
    switch (source) {
    case XVCPU_SINCE_SOURCE_ALWAYS: return 1;
    case XVCPU_SINCE_SOURCE_PIN: return xvcpui_can(caps, XVCPU_WORD_PIN, XVCPU_BIT64(number));
    case XVCPU_SINCE_SOURCE_PROC1: return xvcpui_can(caps, XVCPU_WORD_PROC1, XVCPU_BIT64(number));
    case XVCPU_SINCE_SOURCE_PROC2: return xvcpui_can(caps, XVCPU_WORD_PROC2, XVCPU_BIT64(number));
    case XVCPU_SINCE_SOURCE_PROC3: return xvcpui_can(caps, XVCPU_WORD_PROC3, XVCPU_BIT64(number));
    case XVCPU_SINCE_SOURCE_EXIT: return xvcpui_can(caps, XVCPU_WORD_EXIT, XVCPU_BIT64(number));
    case XVCPU_SINCE_SOURCE_EXIT2: return xvcpui_can(caps, XVCPU_WORD_EXIT2, XVCPU_BIT64(number));
    case XVCPU_SINCE_SOURCE_ENTRY: return xvcpui_can(caps, XVCPU_WORD_ENTRY, XVCPU_BIT64(number));
    case XVCPU_SINCE_SOURCE_BASIC: return (caps->basic & XVCPU_BIT64(number)) != 0;
    case XVCPU_SINCE_SOURCE_VMFUNC: return (caps->vmfunc & XVCPU_BIT64(number)) != 0;
    case XVCPU_SINCE_SOURCE_CR3_TARGETS: return caps->cr3_targets >= number;
    case XVCPU_SINCE_SOURCE_FRED:
        return xvcpui_can(caps, XVCPU_WORD_ENTRY, XVCPU_ENTRY_LOAD_FRED);
    default: return 0;
    }
}

static xvcpu_bool xvcpui_field_exists(const xvcpu_caps *caps, xvcpu_u32 since)
{
    const xvcpu_u32 second = XVCPU_SINCE_SECOND(since);
    return xvcpui_since_holds(caps, XVCPU_SINCE_SOURCE(since), XVCPU_SINCE_NUMBER(since)) ||
           (second != 0 &&
            xvcpui_since_holds(caps, XVCPU_SINCE_SOURCE(second), XVCPU_SINCE_NUMBER(second)));
}

XVCPU_API xvcpu_bool xvcpu_vmcs_field_exists(const xvcpu_caps *caps, xvcpu_u32 encoding)
{
    const xvcpu_u32 high = encoding & (xvcpu_u32)XVCPU_VMCS_ENCODING_HIGH;
    const xvcpu_u32 i = xvcpui_vmcs_field_find(encoding - high);
    if (!caps || i == XVCPUI_VMCS_FIELD_COUNT ||
        (high != 0 && XVCPU_VMCS_WIDTH(encoding) != XVCPU_VMCS_WIDTH_64))
        return 0;
    return xvcpui_field_exists(caps, xvcpui_vmcs_fields[i].since);
}

XVCPUI_INLINE xvcpu_bool xvcpui_has(const xvcpu *vcpu, xvcpu_feature feature)
{
    return (vcpu->features & XVCPU_BIT64(feature)) != 0;
}

XVCPUI_INLINE xvcpu_bool xvcpui_control(const xvcpu *vcpu, xvcpu_control_word word, xvcpu_u64 bits)
{
    return (vcpu->controls[word] & bits) == bits;
}

// Without the bits that XSETBV refuses for want of others. SDM 1 "XSAVE-Supported Features".
static xvcpu_u64 xvcpui_close_xcr0(xvcpu_u64 xcr0)
{
    const xvcpu_u64 avx512 = XVCPU_XCR0_OPMASK | XVCPU_XCR0_ZMM_HI256 | XVCPU_XCR0_HI16_ZMM;
    if ((xcr0 & XVCPU_XCR0_SSE) == 0)
        xcr0 &= ~XVCPU_XCR0_AVX;
    if ((xcr0 & XVCPU_XCR0_AVX) == 0 || (xcr0 & avx512) != avx512)
        xcr0 &= ~avx512;
    return xcr0 | XVCPU_XCR0_X87;
}

// What the guest may do follows from what it is shown, row by row: the two cannot disagree.
static void xvcpui_derive(xvcpu *vcpu)
{
    xvcpu_u32 i;
    vcpu->features = vcpu->caps.features & ~vcpu->desc.hide_features;
    // Register state that nobody would switch is not offered.
    if ((vcpu->desc.leave_to_host & (XVCPU_LEAVE_FPU | XVCPU_LEAVE_XCR0)) != 0)
        vcpu->features &= ~XVCPU_BIT64(XVCPU_FEATURE_PKU);
    vcpu->features = xvcpui_close_features(vcpu->features | XVCPU_BIT64(XVCPU_FEATURE_NONE));
    vcpu->cr4_allowed = XVCPU_CR4_PCE;
    vcpu->xcr0_allowed = 0;
    vcpu->xss_allowed = 0;
    for (i = 0; i < XVCPU_FEATURE_COUNT; i++) {
        if (!xvcpui_has(vcpu, (xvcpu_feature)i))
            continue;
        vcpu->cr4_allowed |= xvcpui_feature_rows[i].cr4;
        vcpu->xcr0_allowed |= xvcpui_feature_rows[i].xcr0;
        vcpu->xss_allowed |= xvcpui_feature_rows[i].xss;
    }
    vcpu->xcr0_allowed = xvcpui_close_xcr0(vcpu->xcr0_allowed & ~vcpu->desc.xcr0_hidden);
    if (!xvcpui_has(vcpu, XVCPU_FEATURE_XSAVE))
        vcpu->xcr0_allowed = XVCPU_XCR0_X87;
    vcpu->efer_allowed = 0;
    if (xvcpui_has(vcpu, XVCPU_FEATURE_NX))
        vcpu->efer_allowed |= XVCPU_EFER_NXE;
    if (xvcpui_has(vcpu, XVCPU_FEATURE_LM))
        vcpu->efer_allowed |= XVCPU_EFER_LME | XVCPU_EFER_LMA;
    if (xvcpui_has(vcpu, XVCPU_FEATURE_SYSCALL))
        vcpu->efer_allowed |= XVCPU_EFER_SCE;
}

XVCPU_API void xvcpu_report(const xvcpu_caps *caps, void *context)
{
    xvcpu_u32 word, i;
    xvcpui_log(context, XVCPU_LOG_INFO, "processor", "family, model", caps->family, caps->model);
    xvcpui_log(context, XVCPU_LOG_INFO, "processor", "stepping, VMCS revision", caps->stepping,
               caps->revision);
    xvcpui_log(context, XVCPU_LOG_INFO, "addresses", "physical and linear bits",
               caps->physical_bits, caps->linear_bits);
    xvcpui_log(context, XVCPU_LOG_INFO, "IA32_VMX_BASIC", "value, region bytes", caps->basic,
               caps->region_bytes);
    xvcpui_log(context, XVCPU_LOG_INFO, "IA32_VMX_MISC", "value, timer shift", caps->misc,
               caps->timer_shift);
    xvcpui_log(context, XVCPU_LOG_INFO, "CR0", "must be 1, may be 1", caps->cr0_fixed0,
               caps->cr0_fixed1);
    xvcpui_log(context, XVCPU_LOG_INFO, "CR4", "must be 1, may be 1", caps->cr4_fixed0,
               caps->cr4_fixed1);
    xvcpui_log(context, XVCPU_LOG_INFO, "IA32_VMX_EPT_VPID_CAP", "value, VM functions",
               caps->ept_vpid, caps->vmfunc);
    xvcpui_log(context, XVCPU_LOG_INFO, "XCR0", "supported bits, XSAVE bytes", caps->xcr0_mask,
               caps->xsave_bytes);
    for (word = 0; word < XVCPU_WORD_COUNT; word++)
        if (caps->controls[word].msr != 0)
            xvcpui_log(context, XVCPU_LOG_INFO, xvcpu_control_word_name((xvcpu_control_word)word),
                       "must be 1, may be 1", caps->controls[word].must_be_1,
                       caps->controls[word].may_be_1);
    for (i = 0; i < sizeof xvcpui_controls / sizeof xvcpui_controls[0]; i++) {
        const xvcpu_control_caps *controls = &caps->controls[xvcpui_controls[i].word];
        const xvcpu_u64 bit = XVCPU_BIT64(xvcpui_controls[i].bit);
        if ((controls->may_be_1 & bit) != 0)
            xvcpui_log(context, XVCPU_LOG_INFO,
                       xvcpu_control_name((xvcpu_control_word)xvcpui_controls[i].word,
                                         xvcpui_controls[i].bit),
                       "control available: bit, 1 if it cannot be 0", xvcpui_controls[i].bit,
                       (controls->must_be_1 & bit) != 0);
    }
    for (i = 1; i < XVCPU_FEATURE_COUNT; i++)
        xvcpui_log(context, XVCPU_LOG_INFO, xvcpu_feature_name((xvcpu_feature)i),
                   "guest feature: available, CPUID leaf", (caps->features >> i) & 1U,
                   xvcpui_feature_rows[i].leaf);
}

// -- Implementation: VMX on and off

XVCPU_API xvcpu_bool xvcpu_cpu_is_enabled(const xvcpu_cpu *cpu)
{
    return cpu && cpu->enabled == XVCPUI_MAGIC_CPU;
}

XVCPU_API xvcpu_bool xvcpu_cpu_is_foreign(const xvcpu_cpu *cpu)
{
    return (xvcpu_read_cr4() & XVCPU_CR4_VMXE) != 0 && !xvcpu_cpu_is_enabled(cpu);
}

// IA32_FEATURE_CONTROL must have VMX outside SMX on and be locked before VMXON. Firmware usually
// did that; where it left the MSR open, software may do it once until the next reset. *to_write
// gets what has to be written, 0 if nothing: it cannot be undone, so it waits for the last moment.
static xvcpu_status xvcpui_feature_control(const xvcpu_cpu_desc *desc, xvcpu_u64 *to_write,
                                           xvcpu_error *error)
{
    const xvcpu_u64 wanted = XVCPU_FEATURE_CONTROL_LOCK | XVCPU_FEATURE_CONTROL_VMX_OUTSIDE_SMX;
    const xvcpu_u64 value = xvcpu_rdmsr(XVCPU_MSR_IA32_FEATURE_CONTROL);
    *to_write = 0;
    if ((value & XVCPU_FEATURE_CONTROL_LOCK) != 0) {
        if ((value & XVCPU_FEATURE_CONTROL_VMX_OUTSIDE_SMX) != 0)
            return XVCPU_STATUS_OK;
        return xvcpui_fail_msr(error, XVCPU_STATUS_FIRMWARE_DISABLED,
                               "IA32_FEATURE_CONTROL is locked without bit 2",
                               XVCPU_MSR_IA32_FEATURE_CONTROL, value,
                               XVCPU_FEATURE_CONTROL_VMX_OUTSIDE_SMX);
    }
    if (desc->keep_feature_control)
        return xvcpui_fail_msr(error, XVCPU_STATUS_FIRMWARE_UNLOCKED,
                               "IA32_FEATURE_CONTROL is not locked",
                               XVCPU_MSR_IA32_FEATURE_CONTROL, value, wanted & ~value);
    *to_write = value | wanted;
    return XVCPU_STATUS_OK;
}

// Bits of a control register that VMX operation would not accept.
XVCPUI_INLINE xvcpu_u64 xvcpui_fixed_violation(xvcpu_u64 value, xvcpu_u64 fixed0, xvcpu_u64 fixed1)
{
    return (fixed0 & ~value) | (value & ~fixed1);
}

XVCPU_API xvcpu_status xvcpu_cpu_enable(xvcpu_cpu *cpu, const xvcpu_cpu_desc *desc,
                                        xvcpu_error *error)
{
    xvcpu_cpu_desc defaults;
    xvcpu_error local;
    xvcpu_status status;
    xvcpu_vmx_result result;
    xvcpu_u64 cr0, cr4, bad, feature_control;

    if (!error)
        error = &local;
    if (!cpu)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "cpu is null", 0, 0);
    if (!desc) {
        xvcpui_zero(&defaults, sizeof defaults);
        desc = &defaults;
    }
    if (desc->canary_first != 0 || desc->canary_last != 0)
        return xvcpui_fail(error, XVCPU_STATUS_UNINITIALIZED_DESC, "xvcpu_cpu_desc",
                           desc->canary_first, 0);
    // CR4.VMXE says that VMX is in use, by us or by others; it is asked before `cpu` is touched, so
    // enabling twice leaves a running one alone, here or on the CPU that was meant.
    if (!xvcpui_is_cpu_id(desc->context, desc->id))
        return xvcpui_fail(error, XVCPU_STATUS_WRONG_CPU, "desc.id is not this CPU", desc->id, 0);
    cr4 = xvcpu_read_cr4();
    if ((cr4 & XVCPU_CR4_VMXE) != 0)
        return xvcpui_fail(error, XVCPU_STATUS_VMX_BUSY, "CR4.VMXE is 1 already", cr4,
                           XVCPU_CR4_VMXE);
    xvcpui_zero(cpu, sizeof *cpu);
    cpu->context = desc->context;
    cpu->id = desc->id;
    status = xvcpu_probe(&cpu->caps, error);
    if (status != XVCPU_STATUS_OK)
        return status;

    // CR0 first: a bit that only software can mend is named before anything is changed. NE is the
    // one bit real kernels leave off; VMX needs it, and nothing else depends on it in 64-bit mode.
    cr0 = xvcpu_read_cr0();
    cpu->saved_cr0 = cr0;
    cpu->saved_cr4 = cr4;
    if (!desc->keep_cr0)
        cr0 |= cpu->caps.cr0_fixed0 & XVCPU_CR0_NE;
    bad = xvcpui_fixed_violation(cr0, cpu->caps.cr0_fixed0, cpu->caps.cr0_fixed1);
    if (bad != 0)
        return xvcpui_fail_msr(error, XVCPU_STATUS_CR0_FIXED,
                               (bad & XVCPU_CR0_NE) != 0 ? "CR0.NE must be 1"
                                                         : "CR0 against IA32_VMX_CR0_FIXED0/1",
                               XVCPU_MSR_IA32_VMX_CR0_FIXED0, cr0, bad);
    cr4 |= XVCPU_CR4_VMXE;
    // XSETBV, with which guests get an XCR0 of their own, needs OSXSAVE.
    if (cpu->caps.xcr0_mask != 0)
        cr4 |= XVCPU_CR4_OSXSAVE;
    bad = xvcpui_fixed_violation(cr4, cpu->caps.cr4_fixed0, cpu->caps.cr4_fixed1);
    if (bad != 0)
        return xvcpui_fail_msr(error, XVCPU_STATUS_CR4_FIXED, "CR4 against IA32_VMX_CR4_FIXED0/1",
                               XVCPU_MSR_IA32_VMX_CR4_FIXED0, cr4, bad);
    status = xvcpui_feature_control(desc, &feature_control, error);
    if (status != XVCPU_STATUS_OK)
        return status;

    xvcpui_pool_init(&cpu->pool, desc->context, &desc->supply);
    cpu->vmxon_region = xvcpui_page_alloc(&cpu->pool, xvcpui_vmx_address_bits(&cpu->caps),
                                          &cpu->vmxon_pa, error);
    if (!cpu->vmxon_region)
        return error->status;
    // Bit 31 distinguishes a shadow VMCS and is 0 in a VMXON region; the revision has 31 bits.
    *(xvcpu_u32 *)cpu->vmxon_region = cpu->caps.revision;

    if (feature_control != 0)
        xvcpu_wrmsr(XVCPU_MSR_IA32_FEATURE_CONTROL, feature_control);
    if (cr0 != cpu->saved_cr0)
        xvcpu_write_cr0(cr0);
    xvcpu_write_cr4(cr4);
    result = xvcpu_vmxon(cpu->vmxon_pa);
    if (result != XVCPU_VMX_SUCCEED) {
        xvcpu_write_cr4(cpu->saved_cr4);
        if (cr0 != cpu->saved_cr0)
            xvcpu_write_cr0(cpu->saved_cr0);
        xvcpui_page_free(&cpu->pool, cpu->vmxon_region);
        cpu->vmxon_region = XVCPUI_NULL;
        // No VMCS can be current here, so VMXON has no error number to give.
        return xvcpui_fail(error,
                           result == XVCPU_VMX_FAIL_VALID ? XVCPU_STATUS_VMFAIL
                                                          : XVCPU_STATUS_VMFAIL_INVALID,
                           "VMXON", cpu->vmxon_pa, 0);
    }
    cpu->enabled = XVCPUI_MAGIC_CPU;
    xvcpui_log(cpu->context, XVCPU_LOG_DEBUG, "xvcpu_cpu_enable", "VMX on: cpu, revision", cpu->id,
               cpu->caps.revision);
    return XVCPU_STATUS_OK;
}

// Takes a virtual CPU's VMCS off this CPU. Its launch state is "clear" from then on.
static xvcpu_status xvcpui_deactivate(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_cpu *cpu = vcpu->active_on;
    xvcpu **link;
    xvcpu_vmx_result result;
    if (!cpu)
        return XVCPU_STATUS_OK;
    result = xvcpu_vmclear(vcpu->vmcs_pa);
    if (result != XVCPU_VMX_SUCCEED)
        return xvcpui_fail_vmx(error, result, "VMCLEAR");
    for (link = &cpu->active; *link; link = &(*link)->next_active)
        if (*link == vcpu) {
            *link = vcpu->next_active;
            break;
        }
    if (cpu->current == vcpu)
        cpu->current = XVCPUI_NULL;
    vcpu->next_active = XVCPUI_NULL;
    vcpu->active_on = XVCPUI_NULL;
    vcpu->cpu = XVCPUI_NULL;
    vcpu->launched = 0;
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_status xvcpu_cpu_disable(xvcpu_cpu *cpu, xvcpu_error *error)
{
    xvcpu_vmx_result result;
    if (!xvcpu_cpu_is_enabled(cpu))
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "VMX is not enabled by this cpu", 0,
                           0);
    if (!xvcpui_is_this_cpu(cpu))
        return xvcpui_fail(error, XVCPU_STATUS_WRONG_CPU, "cpu.id is not this CPU", cpu->id, 0);
    // VMXOFF forgets active VMCSs without writing them back to memory.
    while (cpu->active) {
        const xvcpu_status status = xvcpui_deactivate(cpu->active, error);
        if (status != XVCPU_STATUS_OK)
            return status;
    }
    result = xvcpu_vmxoff();
    if (result != XVCPU_VMX_SUCCEED)
        return xvcpui_fail_vmx(error, result, "VMXOFF");
    // What enable set goes back, and nothing else: other bits may have changed since.
    xvcpu_write_cr4(xvcpu_read_cr4() &
                     ~((XVCPU_CR4_VMXE | XVCPU_CR4_OSXSAVE) & ~cpu->saved_cr4));
    if ((cpu->saved_cr0 & XVCPU_CR0_NE) == 0)
        xvcpu_write_cr0(xvcpu_read_cr0() & ~XVCPU_CR0_NE);
    xvcpui_page_free(&cpu->pool, cpu->vmxon_region);
    cpu->vmxon_region = XVCPUI_NULL;
    cpu->enabled = 0;
    return XVCPU_STATUS_OK;
}

// -- Implementation: EPT

// SDM "EPT Translation Mechanism". A level is 1 for the table whose entries map 4 KiB pages and 4
// for the root. A guest on another CPU may walk the tables while they are changed: every entry is
// written with one 64-bit store, a table is complete before an entry points to it, and what the
// processor may write meanwhile (accessed and dirty flags) is changed with compare-and-exchange.
// No table other than the root is ever empty: an entry that is present leads to a mapping.
#define XVCPUI_EPT_LEVELS 4U
#define XVCPUI_PHYSICAL_BITS 52U // the most an entry of any paging structure can hold
#define XVCPUI_EPT_INDEX_BITS 9U
#define XVCPUI_EPT_ENTRIES 512U
#define XVCPUI_EPT_PRESENT (XVCPU_EPTE_READ | XVCPU_EPTE_WRITE | XVCPU_EPTE_EXECUTE)

// Where a walk ended: at a leaf, or at an entry that is not present.
typedef struct xvcpui_ept_slot {
    xvcpu_u64 *entry[XVCPUI_EPT_LEVELS + 1]; // entry[n]: of level n; valid from `level` upwards
    xvcpu_u64 value;                         // of entry[level]
    xvcpu_u32 level;
} xvcpui_ept_slot;

XVCPUI_INLINE xvcpu_u32 xvcpui_ept_shift(xvcpu_u32 level)
{
    return 12U + XVCPUI_EPT_INDEX_BITS * (level - 1U);
}

// Bytes one entry of this level maps.
XVCPUI_INLINE xvcpu_u64 xvcpui_ept_bytes(xvcpu_u32 level)
{
    return XVCPU_BIT64(xvcpui_ept_shift(level));
}

XVCPUI_INLINE xvcpu_bool xvcpui_ept_aligned(xvcpu_u64 address, xvcpu_u32 level)
{
    return (address & (xvcpui_ept_bytes(level) - 1U)) == 0;
}

XVCPUI_INLINE xvcpu_u32 xvcpui_ept_index(xvcpu_u64 gpa, xvcpu_u32 level)
{
    return (xvcpu_u32)(gpa >> xvcpui_ept_shift(level)) & (XVCPUI_EPT_ENTRIES - 1U);
}

// The first address after the entry of this level that maps `gpa`.
XVCPUI_INLINE xvcpu_u64 xvcpui_ept_next(xvcpu_u64 gpa, xvcpu_u32 level)
{
    return (gpa | (xvcpui_ept_bytes(level) - 1U)) + 1U;
}

XVCPUI_INLINE xvcpu_u64 xvcpui_ept_load(const xvcpu_u64 *entry)
{
    return __atomic_load_n(entry, __ATOMIC_RELAXED);
}

// Release: what the entry points to is in memory before the entry is.
XVCPUI_INLINE void xvcpui_ept_store(xvcpu_u64 *entry, xvcpu_u64 value)
{
    __atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

XVCPUI_INLINE xvcpu_bool xvcpui_ept_exchange(xvcpu_u64 *entry, xvcpu_u64 *expected, xvcpu_u64 value)
{
    return __atomic_compare_exchange_n(entry, expected, value, 0, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

XVCPUI_INLINE xvcpu_u64 *xvcpui_ept_table(const xvcpu_ept *ept, xvcpu_u64 entry)
{
    return (xvcpu_u64 *)xvcpui_to_virt(ept->context, entry & XVCPU_EPTE_ADDRESS_MASK);
}

// An entry that points to a table: the leaf alone decides what is permitted.
XVCPUI_INLINE xvcpu_u64 xvcpui_ept_link(xvcpu_u64 table_pa)
{
    return table_pa | XVCPUI_EPT_PRESENT;
}

// First guest-physical address that cannot be mapped: what four levels can express, and what the
// processor can put into a page table of the guest.
XVCPUI_INLINE xvcpu_u64 xvcpui_ept_limit(const xvcpu_ept *ept)
{
    const xvcpu_u32 bits = xvcpui_ept_shift(XVCPUI_EPT_LEVELS + 1U);
    return XVCPU_BIT64(ept->physical_bits < bits ? ept->physical_bits : bits);
}

static void xvcpui_ept_find(const xvcpu_ept *ept, xvcpu_u64 gpa, xvcpui_ept_slot *slot)
{
    xvcpu_u64 *table = ept->root;
    xvcpu_u32 level = XVCPUI_EPT_LEVELS;
    for (;;) {
        slot->entry[level] = &table[xvcpui_ept_index(gpa, level)];
        slot->value = xvcpui_ept_load(slot->entry[level]);
        slot->level = level;
        if (level == 1 || (slot->value & XVCPUI_EPT_PRESENT) == 0 ||
            (slot->value & XVCPU_EPTE_LARGE) != 0)
            return;
        table = xvcpui_ept_table(ept, slot->value);
        level--;
    }
}

// First address in [gpa, end) that is mapped (or, with `mapped` 0, that is not); end: none.
static xvcpu_u64 xvcpui_ept_search(const xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u64 end,
                                   xvcpu_bool mapped)
{
    xvcpui_ept_slot slot;
    while (gpa < end) {
        xvcpui_ept_find(ept, gpa, &slot);
        if (((slot.value & XVCPUI_EPT_PRESENT) != 0) == mapped)
            return gpa;
        gpa = xvcpui_ept_next(gpa, slot.level);
    }
    return end;
}

// Table pages set aside before anything is changed, so that the change itself cannot fail. Linked
// through their own first word; the second keeps the physical address.
static void xvcpui_ept_release(xvcpu_ept *ept, xvcpu_u64 *reserve)
{
    while (reserve) {
        xvcpu_u64 *const next = (xvcpu_u64 *)(xvcpu_uptr)reserve[0];
        xvcpui_page_free(&ept->pool, reserve);
        reserve = next;
    }
}

static xvcpu_status xvcpui_ept_reserve(xvcpu_ept *ept, xvcpu_u64 count, xvcpu_u64 **reserve,
                                       xvcpu_error *error)
{
    xvcpu_error why;
    *reserve = (xvcpu_u64 *)XVCPUI_NULL;
    for (; count > 0; count--) {
        xvcpu_u64 pa = 0;
        xvcpu_u64 *const page =
            (xvcpu_u64 *)xvcpui_page_alloc(&ept->pool, ept->physical_bits, &pa, &why);
        if (!page) {
            xvcpui_ept_release(ept, *reserve);
            if (error)
                xvcpui_copy(error, &why, sizeof why);
            return why.status;
        }
        page[0] = (xvcpu_u64)(xvcpu_uptr)*reserve;
        page[1] = pa;
        *reserve = page;
    }
    return XVCPU_STATUS_OK;
}

static xvcpu_u64 *xvcpui_ept_take(xvcpu_u64 **reserve, xvcpu_u64 *pa)
{
    xvcpu_u64 *const page = *reserve;
    *reserve = (xvcpu_u64 *)(xvcpu_uptr)page[0];
    *pa = page[1];
    page[0] = 0;
    page[1] = 0;
    return page;
}

// Replaces a large page by a table of smaller ones that map the same memory in the same way: type,
// ignore-PAT, permissions, accessed and dirty flags.
static void xvcpui_ept_split(xvcpu_u64 *entry, xvcpu_u32 level, xvcpu_u64 **reserve)
{
    xvcpu_u64 pa;
    xvcpu_u64 *const table = xvcpui_ept_take(reserve, &pa);
    const xvcpu_u64 step = xvcpui_ept_bytes(level - 1U);
    xvcpu_u64 large = xvcpui_ept_load(entry);
    // Again if the processor set a flag in between.
    do {
        xvcpu_u64 small = level - 1U == 1U ? large & ~XVCPU_EPTE_LARGE : large;
        xvcpu_u32 i;
        for (i = 0; i < XVCPUI_EPT_ENTRIES; i++, small += step)
            xvcpui_ept_store(&table[i], small);
    } while (!xvcpui_ept_exchange(entry, &large, xvcpui_ept_link(pa)));
}

// A page has to be split at `address` only if it goes on to both sides of it and does not have
// `permissions` already (0: never the case).
static xvcpu_bool xvcpui_ept_must_split(const xvcpui_ept_slot *slot, xvcpu_u64 address,
                                        xvcpu_u64 permissions)
{
    const xvcpu_u64 present = slot->value & XVCPUI_EPT_PRESENT;
    return present != 0 && present != permissions && !xvcpui_ept_aligned(address, slot->level);
}

// Tables needed to split at `address`, apart from those that splitting at `before` gives already.
static xvcpu_u32 xvcpui_ept_count_splits(const xvcpu_ept *ept, xvcpu_u64 address, xvcpu_u64 before,
                                         xvcpu_u64 permissions)
{
    xvcpui_ept_slot slot;
    xvcpu_u32 count = 0;
    xvcpu_u32 level;
    xvcpui_ept_find(ept, address, &slot);
    if (!xvcpui_ept_must_split(&slot, address, permissions))
        return 0;
    for (level = slot.level; !xvcpui_ept_aligned(address, level); level--) {
        const xvcpu_u32 shift = xvcpui_ept_shift(level);
        count += xvcpui_ept_aligned(before, level) || before >> shift != address >> shift;
    }
    return count;
}

static void xvcpui_ept_split_at(const xvcpu_ept *ept, xvcpu_u64 address, xvcpu_u64 permissions,
                                xvcpu_u64 **reserve)
{
    xvcpui_ept_slot slot;
    for (;;) {
        xvcpui_ept_find(ept, address, &slot);
        if (!xvcpui_ept_must_split(&slot, address, permissions))
            return;
        xvcpui_ept_split(slot.entry[slot.level], slot.level, reserve);
    }
}

// Splits at both ends of a range, or changes nothing. *count: tables it took.
static xvcpu_status xvcpui_ept_split_ends(xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u64 end,
                                          xvcpu_u64 permissions, xvcpu_u32 *count,
                                          xvcpu_error *error)
{
    const xvcpu_u64 nowhere = ~(xvcpu_u64)0;
    xvcpu_u64 *reserve;
    xvcpu_status status;
    // The end may lie one past the last address; it is aligned then, and nothing is split.
    *count = xvcpui_ept_count_splits(ept, gpa, nowhere, permissions) +
             xvcpui_ept_count_splits(ept, end, gpa, permissions);
    status = xvcpui_ept_reserve(ept, *count, &reserve, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    xvcpui_ept_split_at(ept, gpa, permissions, &reserve);
    xvcpui_ept_split_at(ept, end, permissions, &reserve);
    XVCPU_ASSERT(!reserve);
    return XVCPU_STATUS_OK;
}

static xvcpu_bool xvcpui_ept_is_empty(const xvcpu_u64 *table)
{
    xvcpu_u32 i;
    for (i = 0; i < XVCPUI_EPT_ENTRIES; i++) {
        if (xvcpui_ept_load(&table[i]) != 0)
            return 0;
    }
    return 1;
}

// Clears every leaf in a range at whose ends no large page straddles, and frees the tables that
// become empty. True if anything was mapped.
static xvcpu_bool xvcpui_ept_clear(xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u64 end)
{
    xvcpui_ept_slot slot;
    xvcpu_bool changed = 0;
    while (gpa < end) {
        xvcpu_u32 level;
        xvcpui_ept_find(ept, gpa, &slot);
        if ((slot.value & XVCPUI_EPT_PRESENT) != 0) {
            xvcpui_ept_store(slot.entry[slot.level], 0);
            changed = 1;
        }
        gpa = xvcpui_ept_next(gpa, slot.level);
        // A table is looked at once, when the range leaves it.
        for (level = slot.level; level < XVCPUI_EPT_LEVELS; level++) {
            xvcpu_u64 *const parent = slot.entry[level + 1U];
            xvcpu_u64 *const table = xvcpui_ept_table(ept, xvcpui_ept_load(parent));
            if ((gpa < end && !xvcpui_ept_aligned(gpa, level + 1U)) || !xvcpui_ept_is_empty(table))
                break;
            xvcpui_ept_store(parent, 0);
            xvcpui_page_free(&ept->pool, table);
        }
    }
    return changed;
}

// The next entry of each virtual CPU that uses this EPT executes INVEPT.
XVCPUI_INLINE void xvcpui_ept_invalidate(xvcpu_ept *ept)
{
    (void)__atomic_add_fetch(&ept->generation, 1, __ATOMIC_SEQ_CST);
}

static xvcpu_status xvcpui_ept_check(const xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u64 bytes,
                                     xvcpu_error *error)
{
    if (!ept || ept->magic != XVCPUI_MAGIC_EPT)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "EPT not created", 0, 0);
    if ((gpa & (XVCPU_PAGE_BYTES - 1U)) != 0)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "gpa is not page-aligned", gpa,
                           gpa & (XVCPU_PAGE_BYTES - 1U));
    if (bytes == 0 || (bytes & (XVCPU_PAGE_BYTES - 1U)) != 0)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT,
                           "bytes is 0 or no multiple of a page", bytes,
                           bytes & (XVCPU_PAGE_BYTES - 1U));
    if (gpa >= xvcpui_ept_limit(ept))
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT,
                           "gpa is beyond the guest-physical address width", gpa, 0);
    if (bytes > xvcpui_ept_limit(ept) - gpa)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT,
                           "gpa + bytes is beyond the guest-physical address width", bytes, 0);
    return XVCPU_STATUS_OK;
}

// What the processor would take for a misconfiguration is refused here.
// SDM "EPT Misconfigurations".
static xvcpu_status xvcpui_ept_check_permissions(const xvcpu_ept *ept, xvcpu_u32 permissions,
                                                 xvcpu_error *error)
{
    if (permissions == 0 || (permissions & ~(xvcpu_u32)XVCPU_EPT_RWX) != 0)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "permissions", permissions,
                           permissions & ~(xvcpu_u32)XVCPU_EPT_RWX);
    if ((permissions & XVCPU_EPT_WRITE) != 0 && (permissions & XVCPU_EPT_READ) == 0)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT,
                           "permissions: write without read", permissions, XVCPU_EPT_READ);
    if (permissions == XVCPU_EPT_EXECUTE &&
        (ept->capability & XVCPU_VMX_EPT_VPID_CAP_EXECUTE_ONLY) == 0)
        return xvcpui_fail_msr(error, XVCPU_STATUS_UNSUPPORTED, "execute-only EPT translations",
                               XVCPU_MSR_IA32_VMX_EPT_VPID_CAP, ept->capability,
                               XVCPU_VMX_EPT_VPID_CAP_EXECUTE_ONLY);
    return XVCPU_STATUS_OK;
}

static xvcpu_status xvcpui_ept_lacks(xvcpu_error *error, const char *detail,
                                     const xvcpu_caps *caps, xvcpu_u64 bits)
{
    return xvcpui_fail_msr(error, XVCPU_STATUS_UNSUPPORTED, detail,
                           XVCPU_MSR_IA32_VMX_EPT_VPID_CAP, caps->ept_vpid, bits);
}

XVCPU_API xvcpu_status xvcpu_ept_create(xvcpu_ept *ept, const xvcpu_ept_desc *desc,
                                        const xvcpu_caps *caps, xvcpu_error *error)
{
    xvcpu_u64 type = XVCPU_MEMORY_TYPE_WB;
    xvcpu_error why;
    if (!ept || !desc || !caps || caps->physical_bits == 0 ||
        caps->physical_bits > XVCPUI_PHYSICAL_BITS)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "ept, desc or caps", 0, 0);
    if (desc->canary_first != 0 || desc->canary_last != 0)
        return xvcpui_fail(error, XVCPU_STATUS_UNINITIALIZED_DESC, "xvcpu_ept_desc",
                           desc->canary_first, desc->canary_last);
    if (desc->max_page_level >= XVCPUI_EPT_LEVELS)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "desc.max_page_level",
                           desc->max_page_level, 0);
    if ((caps->controls[XVCPU_WORD_PROC2].may_be_1 & XVCPU_PROC2_EPT) == 0)
        return xvcpui_fail_msr(error, XVCPU_STATUS_UNSUPPORTED, "this processor has no EPT",
                               XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2,
                               caps->controls[XVCPU_WORD_PROC2].may_be_1, XVCPU_PROC2_EPT);
    if ((caps->ept_vpid & XVCPU_VMX_EPT_VPID_CAP_WALK_4) == 0)
        return xvcpui_ept_lacks(error, "4-level EPT", caps, XVCPU_VMX_EPT_VPID_CAP_WALK_4);
    if (desc->accessed_dirty && (caps->ept_vpid & XVCPU_VMX_EPT_VPID_CAP_ACCESSED_DIRTY) == 0)
        return xvcpui_ept_lacks(error, "EPT accessed and dirty flags", caps,
                                XVCPU_VMX_EPT_VPID_CAP_ACCESSED_DIRTY);
    if ((caps->ept_vpid & XVCPU_VMX_EPT_VPID_CAP_MEMORY_WB) == 0) {
        type = XVCPU_MEMORY_TYPE_UC;
        if ((caps->ept_vpid & XVCPU_VMX_EPT_VPID_CAP_MEMORY_UC) == 0)
            return xvcpui_ept_lacks(error, "a memory type for EPT tables", caps,
                                    XVCPU_VMX_EPT_VPID_CAP_MEMORY_WB |
                                        XVCPU_VMX_EPT_VPID_CAP_MEMORY_UC);
    }
    xvcpui_zero(ept, sizeof *ept);
    ept->context = desc->context;
    ept->capability = caps->ept_vpid;
    ept->physical_bits = caps->physical_bits;
    ept->levels = XVCPUI_EPT_LEVELS;
    ept->max_page_level = 1;
    if ((caps->ept_vpid & XVCPU_VMX_EPT_VPID_CAP_PAGE_2M) != 0)
        ept->max_page_level = (caps->ept_vpid & XVCPU_VMX_EPT_VPID_CAP_PAGE_1G) != 0 ? 3 : 2;
    if (desc->max_page_level != 0 && desc->max_page_level < ept->max_page_level)
        ept->max_page_level = desc->max_page_level;
    xvcpui_pool_init(&ept->pool, desc->context, &desc->supply);
    // The VMCS points to the root, hence the limit for what a VMCS may point to.
    ept->root = (xvcpu_u64 *)xvcpui_page_alloc(&ept->pool, xvcpui_vmx_address_bits(caps),
                                               &ept->root_pa, &why);
    if (!ept->root) {
        if (error)
            xvcpui_copy(error, &why, sizeof why);
        return why.status;
    }
    ept->eptp = ept->root_pa | XVCPU_PART_OF(EPTP_MEMORY_TYPE, type) |
                XVCPU_PART_OF(EPTP_WALK_MINUS_1, XVCPUI_EPT_LEVELS - 1U);
    if (desc->accessed_dirty)
        ept->eptp |= XVCPU_EPTP_ACCESSED_DIRTY;
    // Not 0, so that a virtual CPU that never executed INVEPT does so before its first entry: the
    // page that is now the root may have been one before.
    ept->generation = 1;
    ept->magic = XVCPUI_MAGIC_EPT;
    return XVCPU_STATUS_OK;
}

XVCPU_API void xvcpu_ept_destroy(xvcpu_ept *ept)
{
    if (!ept || ept->magic != XVCPUI_MAGIC_EPT)
        return;
    (void)xvcpui_ept_clear(ept, 0, xvcpui_ept_limit(ept));
    xvcpui_page_free(&ept->pool, ept->root);
    XVCPU_ASSERT(ept->pool.in_use == 0);
    ept->root = (xvcpu_u64 *)XVCPUI_NULL;
    ept->eptp = 0;
    ept->magic = 0;
}

// Level of the largest page that can start here.
static xvcpu_u32 xvcpui_ept_leaf_level(const xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u64 hpa,
                                       xvcpu_u64 bytes)
{
    xvcpu_u32 level = ept->max_page_level;
    while (level > 1 && (!xvcpui_ept_aligned(gpa | hpa, level) || bytes < xvcpui_ept_bytes(level)))
        level--;
    return level;
}

// Table pages that mapping a range, of which nothing is mapped yet, takes.
static xvcpu_u64 xvcpui_ept_count_tables(const xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u64 hpa,
                                         xvcpu_u64 bytes)
{
    // What the last table counted covers, by the level of its entries.
    xvcpu_u64 counted[XVCPUI_EPT_LEVELS];
    xvcpui_ept_slot slot;
    xvcpu_u64 count = 0;
    xvcpu_u32 i;
    for (i = 0; i < XVCPUI_EPT_LEVELS; i++)
        counted[i] = ~(xvcpu_u64)0;
    while (bytes > 0) {
        const xvcpu_u32 level = xvcpui_ept_leaf_level(ept, gpa, hpa, bytes);
        xvcpui_ept_find(ept, gpa, &slot);
        for (i = level; i < slot.level; i++) {
            const xvcpu_u64 covers = gpa >> xvcpui_ept_shift(i + 1U);
            count += counted[i] != covers;
            counted[i] = covers;
        }
        gpa += xvcpui_ept_bytes(level);
        hpa += xvcpui_ept_bytes(level);
        bytes -= xvcpui_ept_bytes(level);
    }
    return count;
}

XVCPU_API xvcpu_status xvcpu_ept_map(xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u64 hpa, xvcpu_u64 bytes,
                                     xvcpu_u32 permissions, xvcpu_memory_type type,
                                     xvcpu_error *error)
{
    xvcpu_u64 *reserve;
    xvcpui_ept_slot slot;
    xvcpu_u64 first;
    const xvcpu_u32 type_number = (xvcpu_u32)type;
    xvcpu_status status = xvcpui_ept_check(ept, gpa, bytes, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if ((hpa & (XVCPU_PAGE_BYTES - 1U)) != 0)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "hpa is not page-aligned", hpa,
                           hpa & (XVCPU_PAGE_BYTES - 1U));
    if (hpa >> ept->physical_bits != 0 || bytes > XVCPU_BIT64(ept->physical_bits) - hpa)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT,
                           "hpa is beyond the physical address width", hpa, 0);
    status = xvcpui_ept_check_permissions(ept, permissions, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if (type_number > XVCPU_MEMORY_TYPE_WB || type_number == 2 || type_number == 3)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "type is no EPT memory type",
                           type_number, 0);
    first = xvcpui_ept_search(ept, gpa, gpa + bytes, 1);
    if (first != gpa + bytes)
        return xvcpui_fail(error, XVCPU_STATUS_ALREADY_MAPPED, "gpa", first, 0);
    status = xvcpui_ept_reserve(ept, xvcpui_ept_count_tables(ept, gpa, hpa, bytes), &reserve,
                                error);
    if (status != XVCPU_STATUS_OK)
        return status;
    while (bytes > 0) {
        const xvcpu_u32 level = xvcpui_ept_leaf_level(ept, gpa, hpa, bytes);
        xvcpu_u64 leaf = hpa | permissions | XVCPU_PART_OF(EPTE_MEMORY_TYPE, type_number);
        if (level > 1)
            leaf |= XVCPU_EPTE_LARGE;
        xvcpui_ept_find(ept, gpa, &slot);
        while (slot.level > level) {
            xvcpu_u64 pa;
            xvcpu_u64 *const table = xvcpui_ept_take(&reserve, &pa);
            xvcpui_ept_store(slot.entry[slot.level], xvcpui_ept_link(pa));
            slot.level--;
            slot.entry[slot.level] = &table[xvcpui_ept_index(gpa, slot.level)];
        }
        xvcpui_ept_store(slot.entry[level], leaf);
        gpa += xvcpui_ept_bytes(level);
        hpa += xvcpui_ept_bytes(level);
        bytes -= xvcpui_ept_bytes(level);
    }
    XVCPU_ASSERT(!reserve);
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_status xvcpu_ept_unmap(xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u64 bytes,
                                       xvcpu_error *error)
{
    xvcpu_u32 splits;
    xvcpu_status status = xvcpui_ept_check(ept, gpa, bytes, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    status = xvcpui_ept_split_ends(ept, gpa, gpa + bytes, 0, &splits, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if (xvcpui_ept_clear(ept, gpa, gpa + bytes))
        xvcpui_ept_invalidate(ept);
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_status xvcpu_ept_protect(xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u64 bytes,
                                         xvcpu_u32 permissions, xvcpu_error *error)
{
    const xvcpu_u64 end = gpa + bytes; // used only after the check
    xvcpui_ept_slot slot;
    xvcpu_u64 first;
    xvcpu_u32 splits;
    xvcpu_bool stale;
    xvcpu_status status = xvcpui_ept_check(ept, gpa, bytes, error);
    if (status == XVCPU_STATUS_OK)
        status = xvcpui_ept_check_permissions(ept, permissions, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    first = xvcpui_ept_search(ept, gpa, end, 0);
    if (first != end)
        return xvcpui_fail(error, XVCPU_STATUS_NOT_MAPPED, "gpa", first, 0);
    status = xvcpui_ept_split_ends(ept, gpa, end, permissions, &splits, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    // Permissions that only grow need no INVEPT: the violation that a cached translation causes
    // drops it. SDM "Guidelines for Use of the INVEPT Instruction".
    stale = splits != 0;
    while (gpa < end) {
        xvcpu_u64 value;
        xvcpui_ept_find(ept, gpa, &slot);
        value = slot.value;
        while (!xvcpui_ept_exchange(slot.entry[slot.level], &value,
                                    (value & ~XVCPUI_EPT_PRESENT) | permissions)) {
        }
        if ((value & XVCPUI_EPT_PRESENT & ~(xvcpu_u64)permissions) != 0)
            stale = 1;
        gpa = xvcpui_ept_next(gpa, slot.level);
    }
    if (stale)
        xvcpui_ept_invalidate(ept);
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_bool xvcpu_ept_translate(const xvcpu_ept *ept, xvcpu_u64 gpa,
                                         xvcpu_ept_mapping *mapping)
{
    xvcpui_ept_slot slot;
    xvcpu_u64 inside;
    if (mapping)
        xvcpui_zero(mapping, sizeof *mapping);
    if (!ept || ept->magic != XVCPUI_MAGIC_EPT || gpa >= xvcpui_ept_limit(ept))
        return 0;
    xvcpui_ept_find(ept, gpa, &slot);
    if ((slot.value & XVCPUI_EPT_PRESENT) == 0)
        return 0;
    if (!mapping)
        return 1;
    mapping->page_bytes = xvcpui_ept_bytes(slot.level);
    inside = mapping->page_bytes - 1U;
    mapping->hpa = (slot.value & XVCPU_EPTE_ADDRESS_MASK & ~inside) | (gpa & inside);
    mapping->permissions = (xvcpu_u32)(slot.value & XVCPUI_EPT_PRESENT);
    mapping->memory_type = (xvcpu_u32)XVCPU_PART(slot.value, EPTE_MEMORY_TYPE);
    mapping->ignore_pat = (slot.value & XVCPU_EPTE_IGNORE_PAT) != 0;
    mapping->accessed = (slot.value & XVCPU_EPTE_ACCESSED) != 0;
    mapping->dirty = (slot.value & XVCPU_EPTE_DIRTY) != 0;
    return 1;
}

XVCPU_API void *xvcpu_ept_pointer(const xvcpu_ept *ept, xvcpu_u64 gpa, xvcpu_u32 permissions,
                                  xvcpu_u64 *bytes)
{
    xvcpui_ept_slot slot;
    xvcpu_u64 inside, flags;
    if (bytes)
        *bytes = 0;
    if (!ept || ept->magic != XVCPUI_MAGIC_EPT || gpa >= xvcpui_ept_limit(ept))
        return XVCPUI_NULL;
    xvcpui_ept_find(ept, gpa, &slot);
    if ((slot.value & XVCPUI_EPT_PRESENT) == 0 ||
        (permissions & ~(xvcpu_u32)(slot.value & XVCPUI_EPT_PRESENT)) != 0)
        return XVCPUI_NULL;
    // Whoever looks for dirty pages must find what was written on the guest's behalf as well. Until
    // now nobody has written: that a page is marked too early does no harm.
    if ((ept->eptp & XVCPU_EPTP_ACCESSED_DIRTY) != 0 && permissions != 0) {
        flags = (permissions & XVCPU_EPT_WRITE) != 0 ? XVCPU_EPTE_ACCESSED | XVCPU_EPTE_DIRTY
                                                     : XVCPU_EPTE_ACCESSED;
        if ((slot.value & flags) != flags)
            (void)__atomic_fetch_or(slot.entry[slot.level], flags, __ATOMIC_SEQ_CST);
    }
    inside = xvcpui_ept_bytes(slot.level) - 1U;
    if (bytes)
        *bytes = inside + 1U - (gpa & inside);
    return xvcpui_to_virt(ept->context, (slot.value & XVCPU_EPTE_ADDRESS_MASK & ~inside) |
                                                (gpa & inside));
}

// One of `to` and `from` is null: the side that is the guest's.
static xvcpu_u64 xvcpui_ept_copy(const xvcpu_ept *ept, xvcpu_u64 gpa, void *to, const void *from,
                                 xvcpu_u64 bytes, xvcpu_u32 permissions)
{
    xvcpu_u64 done = 0;
    while (done < bytes) {
        // Page by page also within a large page: a host may map its memory in pieces.
        const xvcpu_u64 chunk = xvcpui_min64(
            bytes - done, XVCPU_PAGE_BYTES - ((gpa + done) & (XVCPU_PAGE_BYTES - 1U)));
        void *const guest = xvcpu_ept_pointer(ept, gpa + done, permissions,
                                              (xvcpu_u64 *)XVCPUI_NULL);
        if (!guest)
            break;
        if (to)
            xvcpui_copy((xvcpu_u8 *)to + done, guest, (xvcpu_usize)chunk);
        else
            xvcpui_copy(guest, (const xvcpu_u8 *)from + done, (xvcpu_usize)chunk);
        done += chunk;
    }
    return done;
}

XVCPU_API xvcpu_u64 xvcpu_ept_read(const xvcpu_ept *ept, xvcpu_u64 gpa, void *to, xvcpu_u64 bytes)
{
    return xvcpui_ept_copy(ept, gpa, to, XVCPUI_NULL, bytes, XVCPU_EPT_READ);
}

XVCPU_API xvcpu_u64 xvcpu_ept_write(const xvcpu_ept *ept, xvcpu_u64 gpa, const void *from,
                                    xvcpu_u64 bytes)
{
    return xvcpui_ept_copy(ept, gpa, XVCPUI_NULL, from, bytes, XVCPU_EPT_WRITE);
}

// -- Implementation: bitmaps

#define XVCPUI_OPEN_NEVER_READ 1U
#define XVCPUI_OPEN_NEVER_WRITE 2U
#define XVCPUI_OPEN_NEVER (XVCPUI_OPEN_NEVER_READ | XVCPUI_OPEN_NEVER_WRITE)

// What has to hold before the guest may use an MSR itself. An MSR in no row may always be opened.
typedef struct xvcpui_msr_rule {
    xvcpu_u32 first, last;
    xvcpu_u32 never;      // XVCPUI_OPEN_NEVER_x
    xvcpu_u32 leave;      // not with these bits of desc.leave_to_host: the value is the host's
    xvcpu_feature feature; // the guest must see this, or the MSR is not switched
    xvcpu_u64 entry;      // VM-entry controls: without them the value is the host's
    xvcpu_u64 exit;       // VM-exit controls, to write: without them the value stays with the host
} xvcpui_msr_rule;

static const xvcpui_msr_rule xvcpui_msr_rules[] = {
    // Reads get the TSC offset; a write would move the host's clock.
    {XVCPU_MSR_IA32_TIME_STAMP_COUNTER, XVCPU_MSR_IA32_TIME_STAMP_COUNTER, XVCPUI_OPEN_NEVER_WRITE,
     0, XVCPU_FEATURE_NONE, 0, 0},
    {XVCPU_MSR_IA32_TSC_ADJUST, XVCPU_MSR_IA32_TSC_ADJUST, XVCPUI_OPEN_NEVER, 0, XVCPU_FEATURE_NONE,
     0, 0},
    // The real ones are the host's; the guest has its own in software.
    {XVCPU_MSR_IA32_APIC_BASE, XVCPU_MSR_IA32_APIC_BASE, XVCPUI_OPEN_NEVER, 0, XVCPU_FEATURE_NONE,
     0, 0},
    {XVCPU_MSR_IA32_MISC_ENABLE, XVCPU_MSR_IA32_MISC_ENABLE, XVCPUI_OPEN_NEVER, 0,
     XVCPU_FEATURE_NONE, 0, 0},
    {XVCPU_MSR_IA32_MTRRCAP, XVCPU_MSR_IA32_MTRRCAP, XVCPUI_OPEN_NEVER, 0, XVCPU_FEATURE_NONE, 0,
     0},
    {XVCPU_MSR_IA32_MTRR_PHYSBASE0, XVCPU_MSR_IA32_MTRR_PHYSMASK9, XVCPUI_OPEN_NEVER, 0,
     XVCPU_FEATURE_NONE, 0, 0},
    {XVCPU_MSR_IA32_MTRR_FIX64K_00000, XVCPU_MSR_IA32_MTRR_FIX4K_F8000, XVCPUI_OPEN_NEVER, 0,
     XVCPU_FEATURE_NONE, 0, 0},
    {XVCPU_MSR_IA32_MTRR_DEF_TYPE, XVCPU_MSR_IA32_MTRR_DEF_TYPE, XVCPUI_OPEN_NEVER, 0,
     XVCPU_FEATURE_NONE, 0, 0},
    // They say that there is VMX, which the guest does not see.
    {XVCPU_MSR_IA32_FEATURE_CONTROL, XVCPU_MSR_IA32_FEATURE_CONTROL, XVCPUI_OPEN_NEVER, 0,
     XVCPU_FEATURE_NONE, 0, 0},
    {XVCPU_MSR_IA32_VMX_BASIC, XVCPU_MSR_IA32_VMX_EXIT_CTLS2, XVCPUI_OPEN_NEVER, 0,
     XVCPU_FEATURE_NONE, 0, 0},
    // Would load microcode into the host.
    {XVCPU_MSR_IA32_BIOS_UPDT_TRIG, XVCPU_MSR_IA32_BIOS_UPDT_TRIG, XVCPUI_OPEN_NEVER_WRITE, 0,
     XVCPU_FEATURE_NONE, 0, 0},
    // Nobody switches them: the host's AMX would fault.
    {XVCPU_MSR_IA32_XFD, XVCPU_MSR_IA32_XFD_ERR, XVCPUI_OPEN_NEVER, 0, XVCPU_FEATURE_NONE, 0, 0},
    // LME and LMA move together with the IA-32e-mode control.
    {XVCPU_MSR_IA32_EFER, XVCPU_MSR_IA32_EFER, XVCPUI_OPEN_NEVER_WRITE, 0, XVCPU_FEATURE_NONE,
     XVCPU_ENTRY_LOAD_EFER, 0},
    // A write can turn on what outlives the exit, or stores into the host's debug store.
    {XVCPU_MSR_IA32_DEBUGCTL, XVCPU_MSR_IA32_DEBUGCTL, XVCPUI_OPEN_NEVER_WRITE, 0,
     XVCPU_FEATURE_NONE, XVCPU_ENTRY_LOAD_DEBUG, 0},
    // Switched by the library, which keeps the guest's value and does not read it back.
    {XVCPU_MSR_IA32_STAR, XVCPU_MSR_IA32_FMASK, XVCPUI_OPEN_NEVER_WRITE, XVCPU_LEAVE_SYSCALL_MSRS,
     XVCPU_FEATURE_SYSCALL, 0, 0},
    {XVCPU_MSR_IA32_TSC_AUX, XVCPU_MSR_IA32_TSC_AUX, XVCPUI_OPEN_NEVER_WRITE,
     XVCPU_LEAVE_SYSCALL_MSRS, XVCPU_FEATURE_RDTSCP, 0, 0},
    {XVCPU_MSR_IA32_XSS, XVCPU_MSR_IA32_XSS, XVCPUI_OPEN_NEVER_WRITE, XVCPU_LEAVE_XCR0,
     XVCPU_FEATURE_XSAVES, 0, 0},
    // This one is read back: SWAPGS changes it without an exit.
    {XVCPU_MSR_IA32_KERNEL_GS_BASE, XVCPU_MSR_IA32_KERNEL_GS_BASE, 0, XVCPU_LEAVE_SYSCALL_MSRS,
     XVCPU_FEATURE_SYSCALL, 0, 0},
    // Switched by VMX, if it is told to.
    {XVCPU_MSR_IA32_PAT, XVCPU_MSR_IA32_PAT, 0, 0, XVCPU_FEATURE_NONE, XVCPU_ENTRY_LOAD_PAT,
     XVCPU_EXIT_SAVE_PAT | XVCPU_EXIT_LOAD_PAT},
    {XVCPU_MSR_IA32_S_CET, XVCPU_MSR_IA32_S_CET, 0, 0, XVCPU_FEATURE_NONE, XVCPU_ENTRY_LOAD_CET,
     XVCPU_EXIT_LOAD_CET},
    {XVCPU_MSR_IA32_INTERRUPT_SSP_TABLE_ADDR, XVCPU_MSR_IA32_INTERRUPT_SSP_TABLE_ADDR, 0, 0,
     XVCPU_FEATURE_NONE, XVCPU_ENTRY_LOAD_CET, XVCPU_EXIT_LOAD_CET},
    {XVCPU_MSR_IA32_PKRS, XVCPU_MSR_IA32_PKRS, 0, 0, XVCPU_FEATURE_NONE, XVCPU_ENTRY_LOAD_PKRS,
     XVCPU_EXIT_LOAD_PKRS},
    {XVCPU_MSR_IA32_BNDCFGS, XVCPU_MSR_IA32_BNDCFGS, 0, 0, XVCPU_FEATURE_NONE,
     XVCPU_ENTRY_LOAD_BNDCFGS, XVCPU_EXIT_CLEAR_BNDCFGS},
    {XVCPU_MSR_IA32_RTIT_CTL, XVCPU_MSR_IA32_RTIT_CTL, 0, 0, XVCPU_FEATURE_NONE,
     XVCPU_ENTRY_LOAD_RTIT_CTL, XVCPU_EXIT_CLEAR_RTIT_CTL},
    {XVCPU_MSR_IA32_LBR_CTL, XVCPU_MSR_IA32_LBR_CTL, 0, 0, XVCPU_FEATURE_NONE,
     XVCPU_ENTRY_LOAD_LBR_CTL, XVCPU_EXIT_CLEAR_LBR_CTL}};

static xvcpu_bool xvcpui_msr_rule_allows(const xvcpu *vcpu, const xvcpui_msr_rule *rule,
                                         xvcpu_bool write)
{
    return (rule->never & (write ? XVCPUI_OPEN_NEVER_WRITE : XVCPUI_OPEN_NEVER_READ)) == 0 &&
           (vcpu->desc.leave_to_host & rule->leave) == 0 &&
           (rule->feature == XVCPU_FEATURE_NONE || xvcpui_has(vcpu, rule->feature)) &&
           xvcpui_control(vcpu, XVCPU_WORD_ENTRY, rule->entry) &&
           (!write || xvcpui_control(vcpu, XVCPU_WORD_EXIT, rule->exit));
}

// Sets `bit` of a page of bits if `deny`, else clears it.
static void xvcpui_bitmap_set(void *page, xvcpu_u32 bit, xvcpu_bool deny)
{
    xvcpu_u8 *const byte = (xvcpu_u8 *)page + bit / 8U;
    const xvcpu_u32 mask = 1U << (bit % 8U);
    *byte = (xvcpu_u8)(deny ? *byte | mask : *byte & ~mask);
}

static xvcpu_bool xvcpui_bitmap_test(const void *page, xvcpu_u32 bit)
{
    return (((const xvcpu_u8 *)page)[bit / 8U] & (1U << (bit % 8U))) != 0;
}

XVCPUI_INLINE xvcpu_bool xvcpui_msr_in_bitmap(xvcpu_u32 index)
{
    return index <= XVCPU_MSR_BITMAP_LOW_LAST ||
           (index >= XVCPU_MSR_BITMAP_HIGH_FIRST && index <= XVCPU_MSR_BITMAP_HIGH_LAST);
}

// Number of an MSR's bit in the page; the MSR must be one that has a bit.
static xvcpu_u32 xvcpui_msr_bit(xvcpu_u32 index, xvcpu_bool write)
{
    const xvcpu_u32 offset =
        index >= XVCPU_MSR_BITMAP_HIGH_FIRST
            ? (write ? XVCPU_MSR_BITMAP_WRITE_HIGH_OFFSET : XVCPU_MSR_BITMAP_READ_HIGH_OFFSET)
            : (write ? XVCPU_MSR_BITMAP_WRITE_LOW_OFFSET : XVCPU_MSR_BITMAP_READ_LOW_OFFSET);
    return offset * 8U + (index & XVCPU_MSR_BITMAP_LOW_LAST);
}

static void xvcpui_msr_bitmap_set(void *page, xvcpu_u32 index, xvcpu_bool write, xvcpu_bool deny)
{
    xvcpui_bitmap_set(page, xvcpui_msr_bit(index, write), deny);
}

static xvcpu_status xvcpui_msr_set(xvcpu *vcpu, xvcpu_u32 first, xvcpu_u32 last, xvcpu_bool read,
                                   xvcpu_bool write, xvcpu_bool deny, xvcpu_error *error)
{
    xvcpu_u32 i;
    if (!vcpu || vcpu->magic != XVCPUI_MAGIC_VCPU || !vcpu->msr_bitmap)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "virtual CPU not created", 0, 0);
    if (first > last)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "first is greater than last",
                           first, 0);
    // A range that begins in one window and ends in the other has MSRs without a bit in between.
    if (!xvcpui_msr_in_bitmap(first) || !xvcpui_msr_in_bitmap(last) ||
        (first <= XVCPU_MSR_BITMAP_LOW_LAST) != (last <= XVCPU_MSR_BITMAP_LOW_LAST))
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT,
                           "first..last is not in one of the ranges of the MSR bitmaps",
                           xvcpui_msr_in_bitmap(first) ? last : first, 0);
    for (i = 0; !deny && i < sizeof xvcpui_msr_rules / sizeof xvcpui_msr_rules[0]; i++) {
        const xvcpui_msr_rule *const rule = &xvcpui_msr_rules[i];
        if (last < rule->first || first > rule->last)
            continue;
        if ((read && !xvcpui_msr_rule_allows(vcpu, rule, 0)) ||
            (write && !xvcpui_msr_rule_allows(vcpu, rule, 1)))
            return xvcpui_fail_msr(error, XVCPU_STATUS_INVALID_ARGUMENT,
                                   "an MSR in the range must stay intercepted",
                                   first > rule->first ? first : rule->first,
                                   first > rule->first ? first : rule->first, 0);
    }
    for (i = first; i <= last; i++) {
        if (read)
            xvcpui_msr_bitmap_set(vcpu->msr_bitmap, i, 0, deny);
        if (write)
            xvcpui_msr_bitmap_set(vcpu->msr_bitmap, i, 1, deny);
    }
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_status xvcpu_msr_allow(xvcpu *vcpu, xvcpu_u32 first, xvcpu_u32 last,
                                       xvcpu_bool read, xvcpu_bool write, xvcpu_error *error)
{
    return xvcpui_msr_set(vcpu, first, last, read, write, 0, error);
}

XVCPU_API xvcpu_status xvcpu_msr_deny(xvcpu *vcpu, xvcpu_u32 first, xvcpu_u32 last, xvcpu_bool read,
                                      xvcpu_bool write, xvcpu_error *error)
{
    return xvcpui_msr_set(vcpu, first, last, read, write, 1, error);
}

XVCPU_API xvcpu_bool xvcpu_msr_is_allowed(const xvcpu *vcpu, xvcpu_u32 index, xvcpu_bool write)
{
    return vcpu && vcpu->magic == XVCPUI_MAGIC_VCPU && vcpu->msr_bitmap &&
           xvcpui_msr_in_bitmap(index) &&
           !xvcpui_bitmap_test(vcpu->msr_bitmap, xvcpui_msr_bit(index, write));
}

// Bitmap A has the bits of ports 0-7FFFh, bitmap B those of 8000h-FFFFh.
#define XVCPUI_PORT_LAST 0xFFFFU
#define XVCPUI_PORTS_PER_BITMAP (XVCPU_PAGE_BYTES * 8U)

static xvcpu_status xvcpui_io_set(xvcpu *vcpu, xvcpu_u32 first, xvcpu_u32 last, xvcpu_bool deny,
                                  xvcpu_error *error)
{
    xvcpu_u32 port;
    if (!vcpu || vcpu->magic != XVCPUI_MAGIC_VCPU || !vcpu->io_bitmap_a || !vcpu->io_bitmap_b)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "virtual CPU not created", 0, 0);
    if (first > last)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "first is greater than last",
                           first, 0);
    if (last > XVCPUI_PORT_LAST)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "last is no port", last, 0);
    for (port = first; port <= last; port++)
        xvcpui_bitmap_set(port < XVCPUI_PORTS_PER_BITMAP ? vcpu->io_bitmap_a : vcpu->io_bitmap_b,
                          port % XVCPUI_PORTS_PER_BITMAP, deny);
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_status xvcpu_io_allow(xvcpu *vcpu, xvcpu_u32 first, xvcpu_u32 last,
                                      xvcpu_error *error)
{
    return xvcpui_io_set(vcpu, first, last, 0, error);
}

XVCPU_API xvcpu_status xvcpu_io_deny(xvcpu *vcpu, xvcpu_u32 first, xvcpu_u32 last,
                                     xvcpu_error *error)
{
    return xvcpui_io_set(vcpu, first, last, 1, error);
}

XVCPU_API xvcpu_bool xvcpu_io_is_allowed(const xvcpu *vcpu, xvcpu_u32 port)
{
    return vcpu && vcpu->magic == XVCPUI_MAGIC_VCPU && vcpu->io_bitmap_a && vcpu->io_bitmap_b &&
           port <= XVCPUI_PORT_LAST &&
           !xvcpui_bitmap_test(port < XVCPUI_PORTS_PER_BITMAP ? vcpu->io_bitmap_a
                                                              : vcpu->io_bitmap_b,
                               port % XVCPUI_PORTS_PER_BITMAP);
}

// -- Implementation: guest memory

// SDM 3A "Paging". Reserved and address bits of the guest's paging-structure entries that are not
// flags of their own; M is the guest's physical-address width.
#define XVCPUI_PTE_BYTES_LEGACY 4U
#define XVCPUI_PTE_BYTES 8U
#define XVCPUI_CR3_ADDRESS_LEGACY XVCPU_BITS64(31, 12)
#define XVCPUI_PTE_ADDRESS_LEGACY XVCPU_BITS64(31, 12)
#define XVCPUI_PDE_ADDRESS_4M XVCPU_BITS64(31, 22)
#define XVCPUI_PDE_HIGH_4M_SHIFT 13 // PSE-36: bit 13 and up are bit 32 and up of the address
#define XVCPUI_PDE_HIGH_4M_MASK XVCPU_BITS64(20, 13)
#define XVCPUI_PDE_RESERVED_4M XVCPU_BITS64(21, 13)
#define XVCPUI_PDE_RESERVED_2M XVCPU_BITS64(20, 13)
#define XVCPUI_PDPTE_RESERVED_1G XVCPU_BITS64(29, 13)
#define XVCPUI_PAE_RESERVED XVCPU_BITS64(62, 52)
#define XVCPUI_LINEAR_MASK_32 XVCPU_BITS64(31, 0)
#define XVCPUI_PKRU_AD 1U
#define XVCPUI_PKRU_WD 2U

// Entries change under a walk only if another virtual CPU writes them. A guest that does nothing
// else must not keep the host busy.
#define XVCPUI_WALK_TRIES 16U

typedef struct xvcpui_walk_entry {
    xvcpu_u64 gpa, value;
} xvcpui_walk_entry;

typedef enum xvcpui_walk_result {
    XVCPUI_WALK_DONE = 0,
    XVCPUI_WALK_FAULT, // `out` says which
    XVCPUI_WALK_AGAIN  // an entry changed before its flags could be set
} xvcpui_walk_result;

XVCPUI_INLINE xvcpu_bool xvcpui_is_long(const xvcpu_paging *paging)
{
    return (paging->efer & XVCPU_EFER_LMA) != 0;
}

XVCPUI_INLINE xvcpu_bool xvcpui_is_pae(const xvcpu_paging *paging)
{
    return xvcpui_is_long(paging) || (paging->cr4 & XVCPU_CR4_PAE) != 0;
}

// Execute-disable is a flag and not a reserved bit. It does not exist in 32-bit paging.
XVCPUI_INLINE xvcpu_bool xvcpui_has_xd(const xvcpu_paging *paging)
{
    return xvcpui_is_pae(paging) && paging->nx_supported && (paging->efer & XVCPU_EFER_NXE) != 0;
}

// Supervisor-mode accesses are those at CPL < 3 and the implicit ones at any CPL.
XVCPUI_INLINE xvcpu_bool xvcpui_is_user_access(const xvcpu_paging *paging, xvcpu_u32 access)
{
    return paging->cpl == 3 && (access & XVCPU_ACCESS_SUPERVISOR) == 0;
}

static xvcpui_walk_result xvcpui_walk_fault(const xvcpu_paging *paging, xvcpu_u32 access,
                                            xvcpu_u64 code, xvcpu_translation *out)
{
    if ((access & XVCPU_ACCESS_WRITE) != 0)
        code |= XVCPU_PF_ERROR_W;
    if (xvcpui_is_user_access(paging, access))
        code |= XVCPU_PF_ERROR_U;
    if ((access & XVCPU_ACCESS_EXECUTE) != 0 &&
        (xvcpui_has_xd(paging) || (paging->cr4 & XVCPU_CR4_SMEP) != 0))
        code |= XVCPU_PF_ERROR_I;
    out->fault = 1;
    out->error_code = (xvcpu_u32)code;
    return XVCPUI_WALK_FAULT;
}

static xvcpui_walk_result xvcpui_walk_ept_fault(xvcpu_u64 gpa, xvcpu_translation *out)
{
    out->ept_fault = 1;
    out->fault_gpa = gpa;
    return XVCPUI_WALK_FAULT;
}

// Physical-address bits of an 8-byte entry.
XVCPUI_INLINE xvcpu_u64 xvcpui_walk_address_mask(const xvcpu_paging *paging)
{
    const xvcpu_u32 bits =
        paging->physical_bits < XVCPUI_PHYSICAL_BITS ? paging->physical_bits : XVCPUI_PHYSICAL_BITS;
    return XVCPU_PTE_ADDRESS_MASK & (XVCPU_BIT64(bits) - 1U);
}

// Bits that must be 0 in a present entry. SDM 3A, the tables "Format of ...".
static xvcpu_u64 xvcpui_walk_reserved(const xvcpu_paging *paging, xvcpu_u32 level, xvcpu_u64 value)
{
    const xvcpu_bool ps = (value & XVCPU_PTE_PS) != 0;
    xvcpu_u64 reserved;
    if (!xvcpui_is_pae(paging)) {
        xvcpu_u32 bits = paging->physical_bits;
        if (level != 2 || !ps || (paging->cr4 & XVCPU_CR4_PSE) == 0)
            return 0;
        bits = bits < 32 ? 32 : bits > 40 ? 40 : bits;
        return XVCPUI_PDE_RESERVED_4M & ~(XVCPU_BIT64(bits - 19U) - 1U);
    }
    reserved = XVCPU_PTE_ADDRESS_MASK & ~xvcpui_walk_address_mask(paging);
    if (!xvcpui_has_xd(paging))
        reserved |= XVCPU_PTE_XD;
    if (!xvcpui_is_long(paging))
        reserved |= XVCPUI_PAE_RESERVED;
    if (level > 3)
        reserved |= XVCPU_PTE_PS;
    if (level == 3 && ps)
        reserved |= paging->page1gb_supported ? XVCPUI_PDPTE_RESERVED_1G : XVCPU_PTE_PS;
    if (level == 2 && ps)
        reserved |= XVCPUI_PDE_RESERVED_2M;
    return reserved;
}

// Whether the access is permitted. `rights`: the AND of all entries; `any`: their OR; `leaf`: the
// last one. SDM 3A "Determination of Access Rights", "Protection Keys".
static xvcpui_walk_result xvcpui_walk_check(const xvcpu_paging *paging, xvcpu_u32 access,
                                            xvcpu_u64 rights, xvcpu_u64 any, xvcpu_u64 leaf,
                                            xvcpu_translation *out)
{
    const xvcpu_bool user = xvcpui_is_user_access(paging, access);
    const xvcpu_bool user_page = (rights & XVCPU_PTE_U) != 0;
    const xvcpu_bool protect_writes = user || (paging->cr0 & XVCPU_CR0_WP) != 0;
    xvcpu_bool denied = user && !user_page;
    xvcpu_u64 code = XVCPU_PF_ERROR_P;
    if ((access & XVCPU_ACCESS_EXECUTE) != 0) {
        if (xvcpui_has_xd(paging) && (any & XVCPU_PTE_XD) != 0)
            denied = 1;
        if (!user && user_page && (paging->cr4 & XVCPU_CR4_SMEP) != 0)
            denied = 1;
    } else {
        if ((access & XVCPU_ACCESS_WRITE) != 0 && protect_writes && (rights & XVCPU_PTE_W) == 0)
            denied = 1;
        // RFLAGS.AC is the guest's leave for explicit accesses only.
        if (!user && user_page && (paging->cr4 & XVCPU_CR4_SMAP) != 0 &&
            ((access & XVCPU_ACCESS_SUPERVISOR) != 0 || (paging->rflags & XVCPU_RFLAGS_AC) == 0))
            denied = 1;
        if (user_page && xvcpui_is_long(paging) && (paging->cr4 & XVCPU_CR4_PKE) != 0) {
            const xvcpu_u32 key = (xvcpu_u32)XVCPU_PART(leaf, PTE_PKEY);
            const xvcpu_u32 rule = paging->pkru >> (2U * key);
            if ((rule & XVCPUI_PKRU_AD) != 0 ||
                ((rule & XVCPUI_PKRU_WD) != 0 && (access & XVCPU_ACCESS_WRITE) != 0 &&
                 protect_writes)) {
                denied = 1;
                code |= XVCPU_PF_ERROR_PK;
            }
        }
    }
    return denied ? xvcpui_walk_fault(paging, access, code, out) : XVCPUI_WALK_DONE;
}

// Sets flags in a guest entry as long as it still is what the walk has seen.
static xvcpui_walk_result xvcpui_walk_set_flags(const xvcpu_ept *ept, const xvcpu_paging *paging,
                                                const xvcpui_walk_entry *entry, xvcpu_u64 flags,
                                                xvcpu_translation *out)
{
    void *pointer;
    if ((entry->value & flags) == flags)
        return XVCPUI_WALK_DONE;
    pointer = xvcpu_ept_pointer(ept, entry->gpa, XVCPU_EPT_READ | XVCPU_EPT_WRITE,
                                (xvcpu_u64 *)XVCPUI_NULL);
    if (!pointer)
        return xvcpui_walk_ept_fault(entry->gpa, out);
    if (xvcpui_is_pae(paging)) {
        xvcpu_u64 expected = entry->value;
        return xvcpui_ept_exchange((xvcpu_u64 *)pointer, &expected, entry->value | flags)
                   ? XVCPUI_WALK_DONE
                   : XVCPUI_WALK_AGAIN;
    } else {
        xvcpu_u32 expected = (xvcpu_u32)entry->value;
        return __atomic_compare_exchange_n((xvcpu_u32 *)pointer, &expected,
                                           (xvcpu_u32)(entry->value | flags), 0, __ATOMIC_SEQ_CST,
                                           __ATOMIC_RELAXED)
                   ? XVCPUI_WALK_DONE
                   : XVCPUI_WALK_AGAIN;
    }
}

// One attempt at a walk with paging on. out->fault, ept_fault and the rest are 0 on entry.
static xvcpui_walk_result xvcpui_walk_once(const xvcpu_ept *ept, const xvcpu_paging *paging,
                                           xvcpu_u64 gla, xvcpu_u32 access, xvcpu_translation *out)
{
    const xvcpu_bool wide = xvcpui_is_pae(paging);
    const xvcpu_u64 address_mask =
        wide ? xvcpui_walk_address_mask(paging) : XVCPUI_PTE_ADDRESS_LEGACY;
    const xvcpu_u32 entry_bytes = wide ? XVCPUI_PTE_BYTES : XVCPUI_PTE_BYTES_LEGACY;
    const xvcpu_u32 index_bits = wide ? 9 : 10;
    // With accessed and dirty flags in the EPT each use of a paging-structure entry is a write.
    // SDM "Accessed and Dirty Flags for EPT".
    const xvcpu_u32 permissions = ept && (ept->eptp & XVCPU_EPTP_ACCESSED_DIRTY) != 0
                                      ? XVCPU_EPT_READ | XVCPU_EPT_WRITE
                                      : XVCPU_EPT_READ;
    xvcpui_walk_entry path[6]; // by level
    xvcpu_u64 rights = ~(xvcpu_u64)0;
    xvcpu_u64 any = 0;
    xvcpu_u64 table, value, inside;
    xvcpu_u32 top, level, shift;
    xvcpui_walk_result result;
    if (xvcpui_is_long(paging)) {
        top = (paging->cr4 & XVCPU_CR4_LA57) != 0 ? 5 : 4;
        table = paging->cr3 & address_mask;
    } else if (wide) {
        // Loaded and checked when CR3 was written; has no flags that take part.
        value = paging->pdpte[(gla >> 30) & 3U];
        if ((value & XVCPU_PTE_P) == 0)
            return xvcpui_walk_fault(paging, access, 0, out);
        top = 2;
        table = value & address_mask;
    } else {
        top = 2;
        table = paging->cr3 & XVCPUI_CR3_ADDRESS_LEGACY;
    }
    for (level = top;; level--) {
        const void *pointer;
        shift = 12U + index_bits * (level - 1U);
        path[level].gpa =
            table + ((gla >> shift) & (XVCPU_BIT64(index_bits) - 1U)) * (xvcpu_u64)entry_bytes;
        pointer = xvcpu_ept_pointer(ept, path[level].gpa, permissions, (xvcpu_u64 *)XVCPUI_NULL);
        if (!pointer)
            return xvcpui_walk_ept_fault(path[level].gpa, out);
        value = wide ? __atomic_load_n((const xvcpu_u64 *)pointer, __ATOMIC_RELAXED)
                     : __atomic_load_n((const xvcpu_u32 *)pointer, __ATOMIC_RELAXED);
        path[level].value = value;
        if ((value & XVCPU_PTE_P) == 0)
            return xvcpui_walk_fault(paging, access, 0, out);
        if ((value & xvcpui_walk_reserved(paging, level, value)) != 0)
            return xvcpui_walk_fault(paging, access, XVCPU_PF_ERROR_P | XVCPU_PF_ERROR_RSVD, out);
        rights &= value;
        any |= value;
        if (level == 1 || ((value & XVCPU_PTE_PS) != 0 &&
                           (wide || (paging->cr4 & XVCPU_CR4_PSE) != 0)))
            break;
        table = value & address_mask;
    }
    result = xvcpui_walk_check(paging, access, rights, any, value, out);
    if (result != XVCPUI_WALK_DONE)
        return result;
    inside = XVCPU_BIT64(shift) - 1U;
    out->page_bytes = inside + 1U;
    out->gpa = gla & inside;
    if (!wide && level == 2)
        out->gpa |= (value & XVCPUI_PDE_ADDRESS_4M) |
                    ((value & XVCPUI_PDE_HIGH_4M_MASK) << (32 - XVCPUI_PDE_HIGH_4M_SHIFT));
    else
        out->gpa |= value & address_mask & ~inside;
    for (; top >= level; top--) {
        result = xvcpui_walk_set_flags(ept, paging, &path[top],
                                       top == level && (access & XVCPU_ACCESS_WRITE) != 0
                                           ? XVCPU_PTE_A | XVCPU_PTE_D
                                           : XVCPU_PTE_A,
                                       out);
        if (result != XVCPUI_WALK_DONE)
            return result;
    }
    return XVCPUI_WALK_DONE;
}

XVCPU_API xvcpu_bool xvcpu_walk(const xvcpu_ept *ept, const xvcpu_paging *paging, xvcpu_u64 gla,
                                xvcpu_u32 access, xvcpu_translation *out)
{
    xvcpui_walk_result result = XVCPUI_WALK_AGAIN;
    xvcpu_u32 tries;
    xvcpui_zero(out, sizeof *out);
    // A fetch is no data access.
    if ((access & XVCPU_ACCESS_EXECUTE) != 0)
        access &= ~(xvcpu_u32)(XVCPU_ACCESS_READ | XVCPU_ACCESS_WRITE);
    if (!xvcpui_is_long(paging)) {
        gla &= XVCPUI_LINEAR_MASK_32;
    } else if (!xvcpui_is_canonical(gla, (paging->cr4 & XVCPU_CR4_LA57) != 0 ? 57 : 48)) {
        out->fault = 1;
        out->not_canonical = 1;
        return 0;
    }
    if ((paging->cr0 & XVCPU_CR0_PG) == 0) {
        out->gpa = gla;
        out->page_bytes = XVCPU_PAGE_BYTES;
        return 1;
    }
    for (tries = 0; tries < XVCPUI_WALK_TRIES && result == XVCPUI_WALK_AGAIN; tries++)
        result = xvcpui_walk_once(ept, paging, gla, access, out);
    // A fault that is gone when the guest looks is what it gets for changing entries in use.
    if (result == XVCPUI_WALK_AGAIN)
        (void)xvcpui_walk_fault(paging, access, 0, out);
    if (result == XVCPUI_WALK_DONE)
        return 1;
    out->gpa = 0;
    out->page_bytes = 0;
    return 0;
}

// One of `to` and `from` is null: the side that is the guest's.
static xvcpu_bool xvcpui_copy_guest(const xvcpu_ept *ept, const xvcpu_paging *paging, xvcpu_u64 gla,
                                    void *to, const void *from, xvcpu_u64 bytes, xvcpu_u32 access,
                                    xvcpu_translation *out)
{
    const xvcpu_u32 permissions = (access & XVCPU_ACCESS_EXECUTE) != 0 ? XVCPU_EPT_EXECUTE
                                  : (access & XVCPU_ACCESS_WRITE) != 0 ? XVCPU_EPT_WRITE
                                                                       : XVCPU_EPT_READ;
    xvcpu_u64 done = 0;
    xvcpui_zero(out, sizeof *out);
    while (done < bytes) {
        xvcpu_u64 at = gla + done;
        xvcpu_u64 chunk, moved;
        if (!xvcpui_is_long(paging))
            at &= XVCPUI_LINEAR_MASK_32;
        if (!xvcpu_walk(ept, paging, at, access, out)) {
            out->bytes_done = done;
            out->fault_gva = at;
            return 0;
        }
        chunk = xvcpui_min64(bytes - done, out->page_bytes - (at & (out->page_bytes - 1U)));
        moved = xvcpui_ept_copy(ept, out->gpa, to ? (xvcpu_u8 *)to + done : XVCPUI_NULL,
                                from ? (const xvcpu_u8 *)from + done : XVCPUI_NULL, chunk,
                                permissions);
        done += moved;
        if (moved < chunk) {
            out->ept_fault = 1;
            out->fault_gpa = out->gpa + moved;
            out->bytes_done = done;
            out->fault_gva = at + moved;
            return 0;
        }
    }
    out->bytes_done = done;
    return 1;
}

XVCPU_API xvcpu_bool xvcpu_read_guest(const xvcpu_ept *ept, const xvcpu_paging *paging,
                                      xvcpu_u64 gla, void *to, xvcpu_u64 bytes, xvcpu_u32 access,
                                      xvcpu_translation *out)
{
    access &= ~(xvcpu_u32)XVCPU_ACCESS_WRITE;
    if ((access & XVCPU_ACCESS_EXECUTE) == 0)
        access |= XVCPU_ACCESS_READ;
    return xvcpui_copy_guest(ept, paging, gla, to, XVCPUI_NULL, bytes, access, out);
}

XVCPU_API xvcpu_bool xvcpu_write_guest(const xvcpu_ept *ept, const xvcpu_paging *paging,
                                       xvcpu_u64 gla, const void *from, xvcpu_u64 bytes,
                                       xvcpu_u32 access, xvcpu_translation *out)
{
    access = (access & ~(xvcpu_u32)XVCPU_ACCESS_EXECUTE) | XVCPU_ACCESS_WRITE;
    return xvcpui_copy_guest(ept, paging, gla, XVCPUI_NULL, from, bytes, access, out);
}

// -- Implementation: host state

// The 16-byte descriptor of a TSS or an LDT in the GDT, which the kernel may have declared as
// anything. SDM 3A "TSS Descriptor in 64-bit mode".
typedef struct __attribute__((packed, may_alias)) xvcpui_system_descriptor {
    xvcpu_u16 limit_0, base_0;
    xvcpu_u8 base_16, type, flags_limit_16, base_24;
    xvcpu_u32 base_32, reserved;
} xvcpui_system_descriptor;

XVCPUI_INLINE const xvcpui_system_descriptor *
xvcpui_system_descriptor_of(const xvcpu_table_register *gdt, xvcpu_u16 selector)
{
    return (const xvcpui_system_descriptor *)(xvcpu_uptr)(gdt->base +
                                                          (xvcpu_u64)(selector & 0xFFF8U));
}

static xvcpu_u64 xvcpui_system_base(const xvcpu_table_register *gdt, xvcpu_u16 selector)
{
    const xvcpui_system_descriptor *descriptor = xvcpui_system_descriptor_of(gdt, selector);
    return (xvcpu_u64)descriptor->base_0 | (xvcpu_u64)descriptor->base_16 << 16 |
           (xvcpu_u64)descriptor->base_24 << 24 | (xvcpu_u64)descriptor->base_32 << 32;
}

static xvcpu_u32 xvcpui_system_limit(const xvcpu_table_register *gdt, xvcpu_u16 selector)
{
    const xvcpui_system_descriptor *descriptor = xvcpui_system_descriptor_of(gdt, selector);
    const xvcpu_u32 limit = descriptor->limit_0 | (descriptor->flags_limit_16 & 0xFU) << 16;
    return (descriptor->flags_limit_16 & 0x80U) != 0 ? limit << 12 | 0xFFFU : limit;
}

XVCPUI_INLINE void xvcpui_host_field(xvcpu *vcpu, xvcpu_u32 field, xvcpu_u64 *known,
                                     xvcpu_u64 value)
{
    if (*known != value) {
        *known = value;
        xvcpui_vmcs_write(vcpu, field, value);
    }
}

// Host selectors must have RPL = TI = 0 in the VMCS; what the kernel really uses is put back after
// an exit by xvcpui_load_host.
XVCPUI_INLINE void xvcpui_host_selector(xvcpu *vcpu, xvcpu_u32 field, xvcpu_segment segment,
                                        xvcpu_u16 *known)
{
    const xvcpu_u16 selector = xvcpu_read_selector(segment);
    if (*known != selector) {
        *known = selector;
        xvcpui_vmcs_write(vcpu, field, (selector & 4U) != 0 ? 0U : selector & 0xFFF8U);
    }
}

static xvcpu_status xvcpui_host_selectors(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_host_state *host = &vcpu->host;
    xvcpui_host_selector(vcpu, XVCPU_VMCS_HOST_ES_SELECTOR, XVCPU_ES, &host->es);
    xvcpui_host_selector(vcpu, XVCPU_VMCS_HOST_CS_SELECTOR, XVCPU_CS, &host->cs);
    xvcpui_host_selector(vcpu, XVCPU_VMCS_HOST_SS_SELECTOR, XVCPU_SS, &host->ss);
    xvcpui_host_selector(vcpu, XVCPU_VMCS_HOST_DS_SELECTOR, XVCPU_DS, &host->ds);
    xvcpui_host_selector(vcpu, XVCPU_VMCS_HOST_FS_SELECTOR, XVCPU_FS, &host->fs);
    xvcpui_host_selector(vcpu, XVCPU_VMCS_HOST_GS_SELECTOR, XVCPU_GS, &host->gs);
    if ((host->cs & 0xFFF8U) == 0 || (host->cs & 7U) != 0)
        return xvcpui_fail(error, XVCPU_STATUS_BAD_HOST_STATE, "CS must be in the GDT, ring 0",
                           host->cs, 0);
    if ((host->ss & 7U) != 0)
        return xvcpui_fail(error, XVCPU_STATUS_BAD_HOST_STATE, "SS must be in the GDT, ring 0",
                           host->ss, 0);
    return XVCPU_STATUS_OK;
}

// The host's extended state has to fit the page it is saved in.
static xvcpu_status xvcpui_refresh_xcr0(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_host_state *host = &vcpu->host;
    const xvcpu_u64 xcr0 = (host->cr4 & XVCPU_CR4_OSXSAVE) != 0 ? xvcpu_xgetbv() : 0;
    xvcpu_cpuid_regs regs;
    if (xcr0 == host->xcr0)
        return XVCPU_STATUS_OK;
    if (xcr0 != 0 && (vcpu->desc.leave_to_host & XVCPU_LEAVE_FPU) == 0) {
        xvcpu_cpuid(XVCPU_CPUID_LEAF_XSAVE, 0, &regs);
        if (regs.ebx > XVCPU_PAGE_BYTES)
            return xvcpui_fail(error, XVCPU_STATUS_BAD_HOST_STATE,
                               "XCR0: the XSAVE area is larger than a page", regs.ebx, xcr0);
    }
    host->xcr0 = xcr0;
    return XVCPU_STATUS_OK;
}

// The part of the host state a kernel changes while a virtual CPU stays bound: written to the VMCS
// only where it differs from what is there.
static xvcpu_status xvcpui_refresh_host(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_host_state *host = &vcpu->host;
    xvcpu_table_register table;
    xvcpu_u16 tr;
    const xvcpu_u64 cr0 = xvcpu_read_cr0();

    // TS and EM would make the library's own saving of x87 state fault; they are off while the
    // guest's state is loaded and put back after.
    host->ts_em = (vcpu->desc.leave_to_host & XVCPU_LEAVE_FPU) != 0
                      ? 0
                      : cr0 & (XVCPU_CR0_TS | XVCPU_CR0_EM);
    xvcpui_host_field(vcpu, XVCPU_VMCS_HOST_CR0, &host->cr0, cr0 & ~host->ts_em);
    xvcpui_host_field(vcpu, XVCPU_VMCS_HOST_CR3, &host->cr3, xvcpu_read_cr3());
    xvcpui_host_field(vcpu, XVCPU_VMCS_HOST_CR4, &host->cr4, xvcpu_read_cr4());
    xvcpu_sgdt(&table);
    host->gdtr_limit = table.limit;
    xvcpui_host_field(vcpu, XVCPU_VMCS_HOST_GDTR_BASE, &host->gdtr_base, table.base);
    tr = xvcpu_str();
    if ((tr & 0xFFF8U) == 0)
        return xvcpui_fail(error, XVCPU_STATUS_NO_TSS, "TR is null", tr, 0);
    if ((tr & 4U) != 0 || (xvcpu_u32)(tr | 7U) + 8U > table.limit)
        return xvcpui_fail(error, XVCPU_STATUS_BAD_HOST_STATE, "TR does not select the GDT", tr, 0);
    if (tr != host->tr) {
        host->tr = tr;
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_HOST_TR_SELECTOR, tr & 0xFFF8U);
    }
    host->tr_limit = xvcpui_system_limit(&table, tr);
    xvcpui_host_field(vcpu, XVCPU_VMCS_HOST_TR_BASE, &host->tr_base,
                      xvcpui_system_base(&table, tr));
    xvcpu_sidt(&table);
    host->idtr_limit = table.limit;
    xvcpui_host_field(vcpu, XVCPU_VMCS_HOST_IDTR_BASE, &host->idtr_base, table.base);
    if ((vcpu->desc.leave_to_host & XVCPU_LEAVE_FS_GS_BASE) == 0) {
        xvcpui_host_field(vcpu, XVCPU_VMCS_HOST_FS_BASE, &host->fs_base,
                          xvcpu_rdmsr(XVCPU_MSR_IA32_FS_BASE));
        xvcpui_host_field(vcpu, XVCPU_VMCS_HOST_GS_BASE, &host->gs_base,
                          xvcpu_rdmsr(XVCPU_MSR_IA32_GS_BASE));
    }
    host->ldtr = xvcpu_sldt();
    if (xvcpui_refresh_xcr0(vcpu, error) != XVCPU_STATUS_OK)
        return XVCPU_STATUS_BAD_HOST_STATE;
    return xvcpui_host_selectors(vcpu, error);
}

// All of the host state; SDM "Host-State Area".
static xvcpu_status xvcpui_take_host(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_host_state *host = &vcpu->host;
    xvcpu_status status;
    xvcpu_u64 efer;

    // Values no register can have, so that every field is written below.
    xvcpui_fill(host, 0xFF, sizeof *host);
    efer = xvcpu_rdmsr(XVCPU_MSR_IA32_EFER);
    if ((efer & XVCPU_EFER_LMA) == 0)
        return xvcpui_fail(error, XVCPU_STATUS_NOT_64BIT, "EFER.LMA is 0", efer, XVCPU_EFER_LMA);
    if ((vcpu->desc.leave_to_host & XVCPU_LEAVE_FS_GS_BASE) != 0) {
        xvcpui_host_field(vcpu, XVCPU_VMCS_HOST_FS_BASE, &host->fs_base,
                          xvcpu_rdmsr(XVCPU_MSR_IA32_FS_BASE));
        xvcpui_host_field(vcpu, XVCPU_VMCS_HOST_GS_BASE, &host->gs_base,
                          xvcpu_rdmsr(XVCPU_MSR_IA32_GS_BASE));
    }
    status = xvcpui_refresh_host(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_HOST_SYSENTER_CS,
                      xvcpu_rdmsr(XVCPU_MSR_IA32_SYSENTER_CS) & 0xFFFFFFFFU);
    host->sysenter_esp = xvcpu_rdmsr(XVCPU_MSR_IA32_SYSENTER_ESP);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_HOST_SYSENTER_ESP, host->sysenter_esp);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_HOST_SYSENTER_EIP,
                      xvcpu_rdmsr(XVCPU_MSR_IA32_SYSENTER_EIP));
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_HOST_EFER, efer);
    if (xvcpui_control(vcpu, XVCPU_WORD_EXIT, XVCPU_EXIT_LOAD_PAT))
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_HOST_PAT, xvcpu_rdmsr(XVCPU_MSR_IA32_PAT));
    host->xss = xvcpui_has(vcpu, XVCPU_FEATURE_XSAVES) ? xvcpu_rdmsr(XVCPU_MSR_IA32_XSS) : 0;
    if (xvcpui_has(vcpu, XVCPU_FEATURE_SYSCALL)) {
        host->switched[XVCPU_SWITCHED_STAR] = xvcpu_rdmsr(XVCPU_MSR_IA32_STAR);
        host->switched[XVCPU_SWITCHED_LSTAR] = xvcpu_rdmsr(XVCPU_MSR_IA32_LSTAR);
        host->switched[XVCPU_SWITCHED_CSTAR] = xvcpu_rdmsr(XVCPU_MSR_IA32_CSTAR);
        host->switched[XVCPU_SWITCHED_FMASK] = xvcpu_rdmsr(XVCPU_MSR_IA32_FMASK);
    }
    if (xvcpui_has(vcpu, XVCPU_FEATURE_RDTSCP))
        host->switched[XVCPU_SWITCHED_TSC_AUX] = xvcpu_rdmsr(XVCPU_MSR_IA32_TSC_AUX);
    // The trampoline writes HOST_RSP and HOST_RIP when it finds these wrong.
    vcpu->host_rsp = 0;
    vcpu->host_rip = 0;
    return xvcpui_take_fault(vcpu, error);
}

// Order of xvcpu.switched.
static const xvcpu_u32 xvcpui_switched_msrs[XVCPU_SWITCHED_COUNT] = {
    XVCPU_MSR_IA32_STAR,  XVCPU_MSR_IA32_LSTAR,          XVCPU_MSR_IA32_CSTAR,
    XVCPU_MSR_IA32_FMASK, XVCPU_MSR_IA32_KERNEL_GS_BASE, XVCPU_MSR_IA32_TSC_AUX};

// -- Implementation: guest state

// Access rights that pass the VM-entry checks whatever else holds: segments present and accessed,
// the task register busy and 32 or 64 bits wide, so that a guest may enter IA-32e mode with it.
#define XVCPUI_RIGHTS_DATA (XVCPU_AR_P | XVCPU_AR_S | XVCPU_SEGMENT_DATA_RW_ACCESSED)
#define XVCPUI_RIGHTS_CODE (XVCPU_AR_P | XVCPU_AR_S | XVCPU_SEGMENT_CODE_RX_ACCESSED)
#define XVCPUI_RIGHTS_LDT (XVCPU_AR_P | XVCPU_SYSTEM_LDT)
#define XVCPUI_RIGHTS_TSS (XVCPU_AR_P | XVCPU_SYSTEM_TSS_BUSY)
#define XVCPUI_REAL_LIMIT 0xFFFFU
#define XVCPUI_FLAT_LIMIT 0xFFFFFFFFU
#define XVCPUI_RESET_CS 0xF000U
#define XVCPUI_RESET_CS_BASE 0xFFFF0000U
#define XVCPUI_RESET_IP 0xFFF0U
#define XVCPUI_APIC_BASE_ADDRESS 0xFEE00000U
#define XVCPUI_LINEAR_BITS_4_LEVEL 48U
#define XVCPUI_LINEAR_BITS_5_LEVEL 57U
#define XVCPUI_FCW_RESET 0x037FU
#define XVCPUI_MXCSR_RESET 0x1F80U
#define XVCPUI_XSAVE_FCW 0U    // offsets in the XSAVE area
#define XVCPUI_XSAVE_MXCSR 24U
#define XVCPUI_XSAVE_XSTATE_BV 512U
#define XVCPUI_XCR0_PKRU_BIT 9U

#define XVCPUI_CR0_DEFINED                                                                         \
    (XVCPU_CR0_PE | XVCPU_CR0_MP | XVCPU_CR0_EM | XVCPU_CR0_TS | XVCPU_CR0_ET | XVCPU_CR0_NE |     \
     XVCPU_CR0_WP | XVCPU_CR0_AM | XVCPU_CR0_NW | XVCPU_CR0_CD | XVCPU_CR0_PG)
// Bits of CR4 whose change makes the processor drop translations, or some like them: dropping too
// many costs time, dropping too few is a wrong translation.
#define XVCPUI_CR4_TRANSLATION                                                                     \
    (XVCPU_CR4_PSE | XVCPU_CR4_PAE | XVCPU_CR4_PGE | XVCPU_CR4_LA57 | XVCPU_CR4_PCIDE |            \
     XVCPU_CR4_SMEP | XVCPU_CR4_SMAP | XVCPU_CR4_PKE)
#define XVCPUI_RFLAGS_DEFINED                                                                      \
    (XVCPU_RFLAGS_CF | XVCPU_RFLAGS_FIXED_1 | XVCPU_RFLAGS_PF | XVCPU_RFLAGS_AF |                  \
     XVCPU_RFLAGS_ZF | XVCPU_RFLAGS_SF | XVCPU_RFLAGS_TF | XVCPU_RFLAGS_IF | XVCPU_RFLAGS_DF |     \
     XVCPU_RFLAGS_OF | XVCPU_RFLAGS_IOPL_MASK | XVCPU_RFLAGS_NT | XVCPU_RFLAGS_RF |                \
     XVCPU_RFLAGS_VM | XVCPU_RFLAGS_AC | XVCPU_RFLAGS_VIF | XVCPU_RFLAGS_VIP | XVCPU_RFLAGS_ID)
#define XVCPUI_DR6_WRITABLE                                                                        \
    (XVCPU_DR6_B_MASK | XVCPU_DR6_BD | XVCPU_DR6_BS | XVCPU_DR6_BT)
#define XVCPUI_DR7_WRITABLE                                                                        \
    (XVCPU_DR7_ENABLE_MASK | XVCPU_DR7_LE | XVCPU_DR7_GE | XVCPU_DR7_GD |                          \
     XVCPU_DR7_CONDITIONS_MASK)
#define XVCPUI_UPPER_HALF XVCPU_BITS64(63, 32)

// A check answers with the offending bits of the value; no bits means the value is good.

// -- Implementation: guest state, reading

XVCPUI_INLINE xvcpu_u64 xvcpui_read_gpr(xvcpu *vcpu, xvcpu_u32 number)
{
    return number == XVCPU_RSP ? xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_RSP)
                               : vcpu->gpr[number & 15U];
}

XVCPUI_INLINE void xvcpui_write_gpr(xvcpu *vcpu, xvcpu_u32 number, xvcpu_u64 value)
{
    if (number == XVCPU_RSP)
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RSP, value);
    else
        vcpu->gpr[number & 15U] = value;
}

// What the guest reads: its own bits from the register, the others from the shadow.
static xvcpu_u64 xvcpui_guest_cr0(xvcpu *vcpu)
{
    const xvcpu_u64 owned = vcpu->cr0_guest_owned;
    return (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CR0) & owned) |
           (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_CTRL_CR0_READ_SHADOW) & ~owned);
}

static xvcpu_u64 xvcpui_guest_cr4(xvcpu *vcpu)
{
    const xvcpu_u64 owned = vcpu->cr4_guest_owned;
    return (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CR4) & owned) |
           (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_CTRL_CR4_READ_SHADOW) & ~owned);
}

XVCPUI_INLINE xvcpu_bool xvcpui_is_unrestricted(const xvcpu *vcpu)
{
    return xvcpui_control(vcpu, XVCPU_WORD_PROC2, XVCPU_PROC2_UNRESTRICTED_GUEST);
}

// Read from the VMCS each time: an exit stores the guest's EFER.LMA in this control.
XVCPUI_INLINE xvcpu_bool xvcpui_is_ia32e(xvcpu *vcpu)
{
    return (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_CTRL_ENTRY) & XVCPU_ENTRY_IA32E_GUEST) != 0;
}

// Without the control no feature lets the guest set a bit of EFER, and the field may not exist.
XVCPUI_INLINE xvcpu_u64 xvcpui_guest_efer(xvcpu *vcpu)
{
    return xvcpui_control(vcpu, XVCPU_WORD_ENTRY, XVCPU_ENTRY_LOAD_EFER)
               ? xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_EFER)
               : 0;
}

XVCPUI_INLINE xvcpu_u64 xvcpui_guest_pat(xvcpu *vcpu)
{
    return xvcpui_control(vcpu, XVCPU_WORD_ENTRY, XVCPU_ENTRY_LOAD_PAT)
               ? xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_PAT)
               : vcpu->pat;
}

// Linear-address width of the processor the guest sees.
XVCPUI_INLINE xvcpu_u32 xvcpui_linear_bits(const xvcpu *vcpu)
{
    return xvcpui_has(vcpu, XVCPU_FEATURE_LA57) ? XVCPUI_LINEAR_BITS_5_LEVEL
                                                : XVCPUI_LINEAR_BITS_4_LEVEL;
}

XVCPUI_INLINE xvcpu_u64 xvcpui_beyond_physical(const xvcpu *vcpu)
{
    return ~(XVCPU_BIT64(vcpu->caps.physical_bits) - 1U);
}

static xvcpu_cpu_mode xvcpui_mode(xvcpu *vcpu)
{
    if ((xvcpui_guest_cr0(vcpu) & XVCPU_CR0_PE) == 0)
        return XVCPU_MODE_REAL;
    if (xvcpui_is_ia32e(vcpu))
        return (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CS_AR) & XVCPU_AR_L) != 0
                   ? XVCPU_MODE_64BIT
                   : XVCPU_MODE_COMPATIBILITY;
    if ((xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_RFLAGS) & XVCPU_RFLAGS_VM) != 0)
        return XVCPU_MODE_VIRTUAL_8086;
    return XVCPU_MODE_PROTECTED;
}

// The DPL of SS is the CPL in every mode: 0 in real mode, 3 in virtual-8086 mode.
XVCPUI_INLINE xvcpu_u32 xvcpui_cpl(xvcpu *vcpu)
{
    return (xvcpu_u32)XVCPU_PART(xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_SS_AR), AR_DPL);
}

// DR6 is in the processor while the guest is loaded: its own #DBs change it there.
XVCPUI_INLINE xvcpu_bool xvcpui_dr6_is_live(const xvcpu *vcpu)
{
    return vcpu->guest_loaded && (vcpu->desc.leave_to_host & XVCPU_LEAVE_DEBUG_REGISTERS) == 0;
}

static xvcpu_u64 xvcpui_guest_dr6(const xvcpu *vcpu)
{
    return xvcpui_dr6_is_live(vcpu) ? xvcpu_read_dr(6) : vcpu->dr6;
}

// The guest has a use for the MSR, so that it has to be its own while it runs.
XVCPUI_INLINE xvcpu_bool xvcpui_switches_msr(const xvcpu *vcpu, xvcpu_u32 i)
{
    return xvcpui_has(vcpu, i == XVCPU_SWITCHED_TSC_AUX ? XVCPU_FEATURE_RDTSCP
                                                        : XVCPU_FEATURE_SYSCALL);
}

// True while the processor holds the guest's value of a switched MSR.
static xvcpu_bool xvcpui_switched_is_live(const xvcpu *vcpu, xvcpu_u32 i)
{
    return vcpu->guest_loaded && (vcpu->desc.leave_to_host & XVCPU_LEAVE_SYSCALL_MSRS) == 0 &&
           xvcpui_switches_msr(vcpu, i);
}

// KERNEL_GS_BASE alone changes without an exit: SWAPGS, and its MSR is open to the guest.
static xvcpu_u64 xvcpui_get_switched(const xvcpu *vcpu, xvcpu_u32 i)
{
    if (i == XVCPU_SWITCHED_KERNEL_GS_BASE && xvcpui_switched_is_live(vcpu, i))
        return xvcpu_rdmsr(xvcpui_switched_msrs[i]);
    return vcpu->switched[i];
}

// -- Implementation: guest state, checks

static xvcpu_u64 xvcpui_check_canonical(const xvcpu *vcpu, xvcpu_u64 address)
{
    const xvcpu_u32 width = xvcpui_linear_bits(vcpu);
    return xvcpui_is_canonical(address, width) ? 0 : ~(XVCPU_BIT64(width - 1U) - 1U);
}

// Bytes that no memory type has: 2, 3, 8 and above; UC- (7) exists only in the PAT.
static xvcpu_u64 xvcpui_check_memory_types(xvcpu_u64 types, xvcpu_bool is_pat)
{
    xvcpu_u64 bad = 0;
    xvcpu_u32 shift;
    for (shift = 0; shift < 64U; shift += 8U) {
        const xvcpu_u64 type = (types >> shift) & 0xFFU;
        if (type > XVCPU_MEMORY_TYPE_UC_MINUS || type == 2U || type == 3U ||
            (type == XVCPU_MEMORY_TYPE_UC_MINUS && !is_pat))
            bad |= (xvcpu_u64)0xFFU << shift;
    }
    return bad;
}

static xvcpu_u64 xvcpui_check_switched(const xvcpu *vcpu, xvcpu_u32 i, xvcpu_u64 value)
{
    switch (i) {
    case XVCPU_SWITCHED_LSTAR:
    case XVCPU_SWITCHED_CSTAR:
    case XVCPU_SWITCHED_KERNEL_GS_BASE:
        return xvcpui_check_canonical(vcpu, value);
    case XVCPU_SWITCHED_FMASK:
    case XVCPU_SWITCHED_TSC_AUX:
        return value & XVCPUI_UPPER_HALF;
    default:
        return 0;
    }
}

// x2APIC mode is nothing the guest is shown.
static xvcpu_u64 xvcpui_check_apic_base(const xvcpu *vcpu, xvcpu_u64 value)
{
    return value & (~(XVCPU_APIC_BASE_BSP | XVCPU_APIC_BASE_ENABLE |
                      XVCPU_APIC_BASE_ADDRESS_MASK) |
                    xvcpui_beyond_physical(vcpu));
}

// Branch records and traces would need MSRs and buffers that the guest does not get.
static xvcpu_u64 xvcpui_check_debugctl(xvcpu_u64 value)
{
    return value & ~XVCPU_DEBUGCTL_BTF;
}

// SDM "Processor Extended States", "XSETBV - Set Extended Control Register".
static xvcpu_u64 xvcpui_check_xcr0(const xvcpu *vcpu, xvcpu_u64 value)
{
    const xvcpu_u64 avx512 = XVCPU_XCR0_OPMASK | XVCPU_XCR0_ZMM_HI256 | XVCPU_XCR0_HI16_ZMM;
    const xvcpu_u64 bounds = XVCPU_XCR0_BNDREGS | XVCPU_XCR0_BNDCSR;
    const xvcpu_u64 tiles = XVCPU_XCR0_TILECFG | XVCPU_XCR0_TILEDATA;
    xvcpu_u64 bad = value & ~vcpu->xcr0_allowed;
    if ((value & XVCPU_XCR0_X87) == 0)
        bad |= XVCPU_XCR0_X87;
    if ((value & XVCPU_XCR0_AVX) != 0 && (value & XVCPU_XCR0_SSE) == 0)
        bad |= XVCPU_XCR0_AVX;
    if ((value & bounds) != 0 && (value & bounds) != bounds)
        bad |= value & bounds;
    if ((value & avx512) != 0 &&
        ((value & avx512) != avx512 || (value & XVCPU_XCR0_AVX) == 0))
        bad |= value & avx512;
    if ((value & tiles) != 0 && (value & tiles) != tiles)
        bad |= value & tiles;
    if ((value & XVCPU_XCR0_APX) != 0 && (value & bounds) != 0)
        bad |= XVCPU_XCR0_APX; // the two share their place in the XSAVE area
    return bad;
}

// LMA is read-only to software: a value written to it is ignored, so it offends nobody.
static xvcpu_u64 xvcpui_check_efer(xvcpu *vcpu, xvcpu_u64 value)
{
    xvcpu_u64 bad = value & ~(vcpu->efer_allowed | XVCPU_EFER_LMA);
    if (((value ^ xvcpui_guest_efer(vcpu)) & XVCPU_EFER_LME) != 0 &&
        (xvcpui_guest_cr0(vcpu) & XVCPU_CR0_PG) != 0)
        bad |= XVCPU_EFER_LME;
    return bad;
}

// Without unrestricted guest the processor can only run protected mode with paging.
XVCPUI_INLINE xvcpu_bool xvcpui_cr0_can_run(const xvcpu *vcpu, xvcpu_u64 value)
{
    const xvcpu_u64 both = XVCPU_CR0_PE | XVCPU_CR0_PG;
    return xvcpui_is_unrestricted(vcpu) || (value & both) == both;
}

// SDM "MOV - Move to/from Control Registers", "Initializing IA-32e Mode".
static xvcpu_u64 xvcpui_check_cr0(xvcpu *vcpu, xvcpu_u64 value)
{
    xvcpu_bool was_on, is_on;
    if ((value & XVCPUI_UPPER_HALF) != 0)
        return value & XVCPUI_UPPER_HALF;
    if ((value & XVCPU_CR0_PG) != 0 && (value & XVCPU_CR0_PE) == 0)
        return XVCPU_CR0_PG;
    if ((value & XVCPU_CR0_NW) != 0 && (value & XVCPU_CR0_CD) == 0)
        return XVCPU_CR0_NW;
    was_on = (xvcpui_guest_cr0(vcpu) & XVCPU_CR0_PG) != 0;
    is_on = (value & XVCPU_CR0_PG) != 0;
    if (is_on && !was_on && (xvcpui_guest_efer(vcpu) & XVCPU_EFER_LME) != 0) {
        const xvcpu_u64 tr = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_TR_AR);
        // IA-32e mode has no 16-bit TSS, and is entered in compatibility mode.
        if ((xvcpui_guest_cr4(vcpu) & XVCPU_CR4_PAE) == 0 ||
            (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CS_AR) & XVCPU_AR_L) != 0 ||
            XVCPU_PART(tr, AR_TYPE) != XVCPU_SYSTEM_TSS_BUSY)
            return XVCPU_CR0_PG;
    }
    if (!is_on && was_on) {
        if ((xvcpui_guest_cr4(vcpu) & XVCPU_CR4_PCIDE) != 0 ||
            xvcpui_mode(vcpu) == XVCPU_MODE_64BIT)
            return XVCPU_CR0_PG;
    }
    return 0;
}

static xvcpu_u64 xvcpui_check_cr4(xvcpu *vcpu, xvcpu_u64 value)
{
    const xvcpu_u64 changed = value ^ xvcpui_guest_cr4(vcpu);
    xvcpu_u64 bad = value & ~vcpu->cr4_allowed;
    if (xvcpui_is_ia32e(vcpu)) {
        if ((value & XVCPU_CR4_PAE) == 0)
            bad |= XVCPU_CR4_PAE;
        bad |= changed & XVCPU_CR4_LA57;
    } else {
        bad |= value & XVCPU_CR4_PCIDE;
    }
    if ((changed & value & XVCPU_CR4_PCIDE) != 0 &&
        (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CR3) & XVCPU_CR3_PCID_MASK) != 0)
        bad |= XVCPU_CR4_PCIDE;
    return bad;
}

// The value is that of CR3 itself: without the "do not flush" bit of the value moved there.
static xvcpu_u64 xvcpui_check_cr3(xvcpu *vcpu, xvcpu_u64 value)
{
    xvcpu_u64 reserved = xvcpui_beyond_physical(vcpu);
    if ((xvcpui_guest_cr0(vcpu) & XVCPU_CR0_PG) != 0 && !xvcpui_is_ia32e(vcpu))
        reserved |= XVCPUI_UPPER_HALF;
    return value & reserved;
}

// Reads the four page-directory-pointer entries as a load of CR3 in PAE paging would. True: one of
// them has a reserved bit set, or the guest keeps them where it has no memory; either way no
// processor could go on.
static xvcpu_bool xvcpui_fetch_pdptes(xvcpu *vcpu, xvcpu_u64 cr3, xvcpu_u64 pdptes[4])
{
    const xvcpu_u64 address = cr3 & XVCPU_BITS64(31, 5);
    const xvcpu_u64 reserved =
        XVCPU_BITS64(2, 1) | XVCPU_BITS64(8, 5) | xvcpui_beyond_physical(vcpu);
    const xvcpu_u64 bytes = 4U * sizeof pdptes[0];
    xvcpu_u32 i;
    if (xvcpu_ept_read(vcpu->ept, address, pdptes, bytes) != bytes)
        return 1;
    for (i = 0; i < 4; i++)
        if ((pdptes[i] & XVCPU_PTE_P) != 0 && (pdptes[i] & reserved) != 0)
            return 1;
    return 0;
}

// -- Implementation: guest state, writing

static void xvcpui_write_pdptes(xvcpu *vcpu, const xvcpu_u64 pdptes[4])
{
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_PDPTE0, pdptes[0]);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_PDPTE1, pdptes[1]);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_PDPTE2, pdptes[2]);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_PDPTE3, pdptes[3]);
}

// The register gets what VMX operation asks for, the shadow what the guest believes. CD and NW
// stay out of the register: VM entry does not load them, and EPT decides how memory is cached.
static void xvcpui_write_guest_cr0(xvcpu *vcpu, xvcpu_u64 value)
{
    xvcpu_u64 must = vcpu->caps.cr0_fixed0;
    const xvcpu_u64 shown = (value & XVCPUI_CR0_DEFINED) | XVCPU_CR0_ET;
    if (xvcpui_is_unrestricted(vcpu))
        must &= ~(XVCPU_CR0_PE | XVCPU_CR0_PG);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_CR0,
                      ((shown & ~(XVCPU_CR0_CD | XVCPU_CR0_NW)) | must) & vcpu->caps.cr0_fixed1);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_CR0_READ_SHADOW, shown);
}

// MCE in the register is the host's: a machine check with it off would shut the machine down.
static void xvcpui_write_guest_cr4(xvcpu *vcpu, xvcpu_u64 value)
{
    const xvcpu_u64 mce = vcpu->host.cr4 & XVCPU_CR4_MCE;
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_CR4,
                      ((value & ~XVCPU_CR4_MCE) | mce | vcpu->caps.cr4_fixed0) &
                          vcpu->caps.cr4_fixed1);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_CR4_READ_SHADOW, value);
    vcpu->osxsave = (value & XVCPU_CR4_OSXSAVE) != 0;
    vcpu->ospke = (value & XVCPU_CR4_PKE) != 0;
}

// EFER.LMA and the "IA-32e mode guest" control are one thing said twice; VM entry compares them.
static void xvcpui_write_ia32e(xvcpu *vcpu, xvcpu_bool on)
{
    xvcpu_u64 entry = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_CTRL_ENTRY) & ~XVCPU_ENTRY_IA32E_GUEST;
    if (on)
        entry |= XVCPU_ENTRY_IA32E_GUEST;
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_ENTRY, entry);
    vcpu->controls[XVCPU_WORD_ENTRY] = entry;
    if (xvcpui_control(vcpu, XVCPU_WORD_ENTRY, XVCPU_ENTRY_LOAD_EFER)) {
        const xvcpu_u64 efer = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_EFER) & ~XVCPU_EFER_LMA;
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_EFER, on ? efer | XVCPU_EFER_LMA : efer);
    }
}

static void xvcpui_write_guest_pat(xvcpu *vcpu, xvcpu_u64 value)
{
    vcpu->pat = value;
    if (xvcpui_control(vcpu, XVCPU_WORD_ENTRY, XVCPU_ENTRY_LOAD_PAT))
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_PAT, value);
}

static void xvcpui_set_switched(xvcpu *vcpu, xvcpu_u32 i, xvcpu_u64 value)
{
    vcpu->switched[i] = value;
    if (xvcpui_switched_is_live(vcpu, i))
        xvcpu_wrmsr(xvcpui_switched_msrs[i], value);
}

static void xvcpui_set_dr(xvcpu *vcpu, xvcpu_u32 number, xvcpu_u64 value)
{
    vcpu->dr[number & 3U] = value;
    if (vcpu->guest_dr_loaded)
        xvcpu_write_dr(number & 3U, value);
}

static void xvcpui_set_dr6(xvcpu *vcpu, xvcpu_u64 value)
{
    vcpu->dr6 = (value & XVCPUI_DR6_WRITABLE) | XVCPU_DR6_FIXED_1;
    if (xvcpui_dr6_is_live(vcpu))
        xvcpu_write_dr(6, vcpu->dr6);
}

static void xvcpui_set_dr7(xvcpu *vcpu, xvcpu_u64 value)
{
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_DR7,
                      (value & XVCPUI_DR7_WRITABLE) | XVCPU_DR7_FIXED_1);
}

static void xvcpui_set_xss(xvcpu *vcpu, xvcpu_u64 value)
{
    vcpu->xss = value;
    if (vcpu->guest_loaded && (vcpu->desc.leave_to_host & XVCPU_LEAVE_XCR0) == 0 &&
        xvcpui_has(vcpu, XVCPU_FEATURE_XSAVES))
        xvcpu_wrmsr(XVCPU_MSR_IA32_XSS, value);
}

// The five below do what the guest's own instruction would: all its checks, then all its effects.
// They return 1, with nothing changed, where the instruction has to raise #GP(0).

static xvcpu_bool xvcpui_set_cr0_checked(xvcpu *vcpu, xvcpu_u64 value)
{
    const xvcpu_u64 before = xvcpui_guest_cr0(vcpu);
    const xvcpu_u64 changed = before ^ value;
    const xvcpu_u64 efer = xvcpui_guest_efer(vcpu);
    xvcpu_u64 pdptes[4];
    if (xvcpui_check_cr0(vcpu, value) != 0)
        return 1;
    // SDM "PDPTE Registers": loaded when one of these bits changes and PAE paging results.
    if ((value & XVCPU_CR0_PG) != 0 &&
        (changed & (XVCPU_CR0_PG | XVCPU_CR0_CD | XVCPU_CR0_NW)) != 0 &&
        (efer & XVCPU_EFER_LME) == 0 && (xvcpui_guest_cr4(vcpu) & XVCPU_CR4_PAE) != 0) {
        if (xvcpui_fetch_pdptes(vcpu, xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CR3), pdptes))
            return 1;
        xvcpui_write_pdptes(vcpu, pdptes);
    }
    if ((changed & XVCPU_CR0_PG) != 0) {
        vcpu->flush_vpid = 1;
        if ((efer & XVCPU_EFER_LME) != 0)
            xvcpui_write_ia32e(vcpu, (value & XVCPU_CR0_PG) != 0);
    }
    xvcpui_write_guest_cr0(vcpu, value);
    return 0;
}

static xvcpu_bool xvcpui_set_cr3_checked(xvcpu *vcpu, xvcpu_u64 value)
{
    const xvcpu_u64 cr4 = xvcpui_guest_cr4(vcpu);
    xvcpu_u64 pdptes[4];
    xvcpu_bool keep = 0;
    if ((cr4 & XVCPU_CR4_PCIDE) != 0) {
        keep = (value & XVCPU_CR3_NO_FLUSH) != 0;
        value &= ~XVCPU_CR3_NO_FLUSH;
    }
    if (xvcpui_check_cr3(vcpu, value) != 0)
        return 1;
    if ((cr4 & XVCPU_CR4_PAE) != 0 && (xvcpui_guest_cr0(vcpu) & XVCPU_CR0_PG) != 0 &&
        !xvcpui_is_ia32e(vcpu)) {
        if (xvcpui_fetch_pdptes(vcpu, value, pdptes))
            return 1;
        xvcpui_write_pdptes(vcpu, pdptes);
    }
    if (!keep)
        vcpu->flush_vpid = 1;
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_CR3, value);
    return 0;
}

static xvcpu_bool xvcpui_set_cr4_checked(xvcpu *vcpu, xvcpu_u64 value)
{
    const xvcpu_u64 changed = value ^ xvcpui_guest_cr4(vcpu);
    xvcpu_u64 pdptes[4];
    if (xvcpui_check_cr4(vcpu, value) != 0)
        return 1;
    if ((value & XVCPU_CR4_PAE) != 0 &&
        (changed & (XVCPU_CR4_PAE | XVCPU_CR4_PGE | XVCPU_CR4_PSE | XVCPU_CR4_SMEP)) != 0 &&
        (xvcpui_guest_cr0(vcpu) & XVCPU_CR0_PG) != 0 && !xvcpui_is_ia32e(vcpu)) {
        if (xvcpui_fetch_pdptes(vcpu, xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CR3), pdptes))
            return 1;
        xvcpui_write_pdptes(vcpu, pdptes);
    }
    if ((changed & XVCPUI_CR4_TRANSLATION) != 0)
        vcpu->flush_vpid = 1;
    xvcpui_write_guest_cr4(vcpu, value);
    return 0;
}

static xvcpu_bool xvcpui_set_efer_checked(xvcpu *vcpu, xvcpu_u64 value)
{
    const xvcpu_u64 before = xvcpui_guest_efer(vcpu);
    if (xvcpui_check_efer(vcpu, value) != 0)
        return 1;
    if (!xvcpui_control(vcpu, XVCPU_WORD_ENTRY, XVCPU_ENTRY_LOAD_EFER))
        return 0;
    if (((value ^ before) & XVCPU_EFER_NXE) != 0)
        vcpu->flush_vpid = 1;
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_EFER,
                      (value & ~XVCPU_EFER_LMA) | (before & XVCPU_EFER_LMA));
    return 0;
}

// The only place that may execute XSETBV with a guest's value.
static xvcpu_bool xvcpui_set_xcr0_checked(xvcpu *vcpu, xvcpu_u64 value)
{
    if (xvcpui_check_xcr0(vcpu, value) != 0)
        return 1;
    vcpu->xcr0 = value;
    // A host that never turned CR4.OSXSAVE on has no XCR0 to write.
    if (vcpu->guest_loaded && (vcpu->desc.leave_to_host & XVCPU_LEAVE_XCR0) == 0 &&
        vcpu->host.xcr0 != 0)
        xvcpu_xsetbv(value);
    return 0;
}

// -- Implementation: guest state, presets

// The four fields of a segment lie in steps of 2, in the order of xvcpu_segment.
XVCPUI_STATIC_ASSERT(XVCPU_VMCS_GUEST_TR_SELECTOR ==
                             XVCPU_VMCS_GUEST_ES_SELECTOR + 2 * XVCPU_TR &&
                         XVCPU_VMCS_GUEST_TR_BASE == XVCPU_VMCS_GUEST_ES_BASE + 2 * XVCPU_TR &&
                         XVCPU_VMCS_GUEST_TR_LIMIT == XVCPU_VMCS_GUEST_ES_LIMIT + 2 * XVCPU_TR &&
                         XVCPU_VMCS_GUEST_TR_AR == XVCPU_VMCS_GUEST_ES_AR + 2 * XVCPU_TR,
                     "segment fields of the VMCS");

static void xvcpui_write_segment(xvcpu *vcpu, xvcpu_u32 segment, xvcpu_u32 selector, xvcpu_u64 base,
                                 xvcpu_u32 limit, xvcpu_u64 rights)
{
    const xvcpu_u32 step = 2U * segment;
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_ES_SELECTOR + step, selector);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_ES_BASE + step, base);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_ES_LIMIT + step, limit);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_ES_AR + step, rights);
}

static void xvcpui_write_data_segments(xvcpu *vcpu, xvcpu_u32 selector, xvcpu_u32 limit,
                                       xvcpu_u64 rights)
{
    xvcpui_write_segment(vcpu, XVCPU_ES, selector, 0, limit, rights);
    xvcpui_write_segment(vcpu, XVCPU_SS, selector, 0, limit, rights);
    xvcpui_write_segment(vcpu, XVCPU_DS, selector, 0, limit, rights);
    xvcpui_write_segment(vcpu, XVCPU_FS, selector, 0, limit, rights);
    xvcpui_write_segment(vcpu, XVCPU_GS, selector, 0, limit, rights);
}

static void xvcpui_write_tables(xvcpu *vcpu, xvcpu_u32 gdtr_limit, xvcpu_u32 idtr_limit)
{
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_GDTR_BASE, 0);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_GDTR_LIMIT, gdtr_limit);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_IDTR_BASE, 0);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_IDTR_LIMIT, idtr_limit);
}

// What INIT leaves alone and RESET does not. The time-stamp counter goes on.
static void xvcpui_reset_msrs(xvcpu *vcpu)
{
    xvcpu_u32 i;
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_SYSENTER_CS, 0);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_SYSENTER_ESP, 0);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_SYSENTER_EIP, 0);
    xvcpui_write_guest_pat(vcpu, XVCPU_PAT_RESET);
    for (i = 0; i < XVCPU_SWITCHED_COUNT; i++)
        xvcpui_set_switched(vcpu, i, 0);
    (void)xvcpui_set_xcr0_checked(vcpu, XVCPU_XCR0_X87);
    xvcpui_set_xss(vcpu, 0);
    vcpu->cr8 = 0;
    vcpu->apic_base = XVCPUI_APIC_BASE_ADDRESS | XVCPU_APIC_BASE_ENABLE;
    if (vcpu->desc.apic_id == 0)
        vcpu->apic_base |= XVCPU_APIC_BASE_BSP;
    vcpu->misc_enable = XVCPU_MISC_ENABLE_FAST_STRING | XVCPU_MISC_ENABLE_BTS_UNAVAILABLE |
                        XVCPU_MISC_ENABLE_PEBS_UNAVAILABLE;
    if (vcpu->desc.show_monitor)
        vcpu->misc_enable |= XVCPU_MISC_ENABLE_MONITOR;
    vcpu->tsc_adjust = 0;
    vcpu->umwait_control = 0;
    vcpu->mtrr_def_type = 0;
    xvcpui_zero(vcpu->mtrr_fixed, sizeof vcpu->mtrr_fixed);
    xvcpui_zero(vcpu->mtrr_variable, sizeof vcpu->mtrr_variable);
    if (vcpu->guest_xsave) {
        // XRSTOR takes MXCSR from the area even where the header says "initial state".
        const xvcpu_u16 fcw = XVCPUI_FCW_RESET;
        const xvcpu_u32 mxcsr = XVCPUI_MXCSR_RESET;
        xvcpu_u8 *area = (xvcpu_u8 *)vcpu->guest_xsave;
        xvcpui_zero(area, XVCPU_PAGE_BYTES);
        xvcpui_copy(area + XVCPUI_XSAVE_FCW, &fcw, sizeof fcw);
        xvcpui_copy(area + XVCPUI_XSAVE_MXCSR, &mxcsr, sizeof mxcsr);
    }
}

// The state after RESET; with `init`, after INIT. Writes every guest field that has to do with
// registers. SDM 3A "Processor State After Reset".
static void xvcpui_reset_guest(xvcpu *vcpu, xvcpu_bool init)
{
    static const xvcpu_u64 no_pdptes[4] = {0, 0, 0, 0};
    xvcpu_u64 caching = XVCPU_CR0_CD | XVCPU_CR0_NW;
    xvcpu_cpuid_regs signature;
    xvcpu_u32 i;
    if (init)
        caching &= xvcpui_guest_cr0(vcpu);
    else
        xvcpui_reset_msrs(vcpu);
    xvcpui_zero(vcpu->gpr, sizeof vcpu->gpr);
    xvcpu_cpuid(XVCPU_CPUID_LEAF_FEATURES, 0, &signature);
    vcpu->gpr[XVCPU_RDX] = signature.eax;
    vcpu->cr2 = 0;
    for (i = 0; i < 4; i++)
        xvcpui_set_dr(vcpu, i, 0);
    xvcpui_set_dr6(vcpu, 0);
    xvcpui_set_dr7(vcpu, 0);
    xvcpui_zero(&vcpu->queue, sizeof vcpu->queue);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0); // of an entry that did not happen
    vcpu->exit.kind = XVCPU_EXIT_PLAIN;
    vcpu->exit.answer = XVCPU_ANSWER_NONE;
    vcpu->flush_vpid = 1;

    if (xvcpui_control(vcpu, XVCPU_WORD_ENTRY, XVCPU_ENTRY_LOAD_EFER))
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_EFER, 0);
    xvcpui_write_ia32e(vcpu, 0);
    xvcpui_write_guest_cr0(vcpu, XVCPU_CR0_ET | caching);
    xvcpui_write_guest_cr4(vcpu, 0);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_CR3, 0);
    xvcpui_write_pdptes(vcpu, no_pdptes);
    xvcpui_write_segment(vcpu, XVCPU_CS, XVCPUI_RESET_CS, XVCPUI_RESET_CS_BASE, XVCPUI_REAL_LIMIT,
                         XVCPUI_RIGHTS_CODE);
    xvcpui_write_data_segments(vcpu, 0, XVCPUI_REAL_LIMIT, XVCPUI_RIGHTS_DATA);
    xvcpui_write_segment(vcpu, XVCPU_LDTR, 0, 0, XVCPUI_REAL_LIMIT, XVCPUI_RIGHTS_LDT);
    xvcpui_write_segment(vcpu, XVCPU_TR, 0, 0, XVCPUI_REAL_LIMIT, XVCPUI_RIGHTS_TSS);
    xvcpui_write_tables(vcpu, XVCPUI_REAL_LIMIT, XVCPUI_REAL_LIMIT);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RIP, XVCPUI_RESET_IP);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RSP, 0);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RFLAGS, XVCPU_RFLAGS_FIXED_1);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_DEBUGCTL, 0);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_PENDING_DBG, 0);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY, 0);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_ACTIVITY_STATE, XVCPU_ACTIVITY_ACTIVE);
}

// What firmware would have done before it hands over: caches on, memory write-back by default.
static void xvcpui_reset_as_firmware(xvcpu *vcpu)
{
    xvcpui_reset_guest(vcpu, 0);
    vcpu->gpr[XVCPU_RDX] = 0;
    vcpu->mtrr_def_type = XVCPU_MTRR_DEF_TYPE_ENABLE | XVCPU_MEMORY_TYPE_WB;
    xvcpui_write_guest_cr0(vcpu, XVCPU_CR0_ET);
}

static xvcpu_status xvcpui_begin_unpaged_preset(xvcpu *vcpu, xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_check_bound(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if (!xvcpui_is_unrestricted(vcpu))
        return xvcpui_fail_msr(error, XVCPU_STATUS_UNSUPPORTED, "unrestricted guest",
                               XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2, 0,
                               XVCPU_PROC2_UNRESTRICTED_GUEST);
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_status xvcpu_preset_real(xvcpu *vcpu, xvcpu_u16 cs, xvcpu_u16 ip,
                                         xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_begin_unpaged_preset(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    xvcpui_reset_as_firmware(vcpu);
    xvcpui_write_segment(vcpu, XVCPU_CS, cs, (xvcpu_u64)cs << 4, XVCPUI_REAL_LIMIT,
                         XVCPUI_RIGHTS_CODE);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RIP, ip);
    return xvcpui_take_fault(vcpu, error);
}

XVCPU_API xvcpu_status xvcpu_preset_reset(xvcpu *vcpu, xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_begin_unpaged_preset(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    xvcpui_reset_guest(vcpu, 0);
    return xvcpui_take_fault(vcpu, error);
}

// Selectors 8 and 16 stand for the usual flat descriptors. GDT and IDT are empty: until the guest
// loads its own, a segment load or an interrupt ends in a triple fault, not in stray memory.
static void xvcpui_write_flat_segments(xvcpu *vcpu, xvcpu_u64 code_size)
{
    xvcpui_write_segment(vcpu, XVCPU_CS, 8, 0, XVCPUI_FLAT_LIMIT,
                         XVCPUI_RIGHTS_CODE | XVCPU_AR_G | code_size);
    xvcpui_write_data_segments(vcpu, 16, XVCPUI_FLAT_LIMIT,
                               XVCPUI_RIGHTS_DATA | XVCPU_AR_G | XVCPU_AR_DB);
    xvcpui_write_segment(vcpu, XVCPU_LDTR, 0, 0, 0, XVCPU_AR_UNUSABLE);
    xvcpui_write_tables(vcpu, 0, 0);
}

XVCPU_API xvcpu_status xvcpu_preset_protected(xvcpu *vcpu, xvcpu_u32 eip, xvcpu_u32 esp,
                                              xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_begin_unpaged_preset(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    xvcpui_reset_as_firmware(vcpu);
    xvcpui_write_guest_cr0(vcpu, XVCPU_CR0_PE | XVCPU_CR0_ET | XVCPU_CR0_NE);
    xvcpui_write_flat_segments(vcpu, XVCPU_AR_DB);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RIP, eip);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RSP, esp);
    return xvcpui_take_fault(vcpu, error);
}

XVCPU_API xvcpu_status xvcpu_preset_long(xvcpu *vcpu, xvcpu_u64 cr3, xvcpu_u64 rip, xvcpu_u64 rsp,
                                         xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_check_bound(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if (!xvcpui_has(vcpu, XVCPU_FEATURE_LM))
        return xvcpui_fail(error, XVCPU_STATUS_UNSUPPORTED, "64-bit mode", 0,
                           XVCPU_BIT64(XVCPU_FEATURE_LM));
    if ((cr3 & xvcpui_beyond_physical(vcpu)) != 0)
        return xvcpui_fail(error, XVCPU_STATUS_BAD_VALUE, "CR3", cr3,
                           cr3 & xvcpui_beyond_physical(vcpu));
    // CR4.LA57 will be 0, so the narrower width holds whatever the processor has.
    if (!xvcpui_is_canonical(rip, XVCPUI_LINEAR_BITS_4_LEVEL))
        return xvcpui_fail(error, XVCPU_STATUS_BAD_VALUE, "RIP", rip,
                           ~(XVCPU_BIT64(XVCPUI_LINEAR_BITS_4_LEVEL - 1U) - 1U));
    xvcpui_reset_as_firmware(vcpu);
    xvcpui_write_guest_cr4(vcpu, XVCPU_CR4_PAE);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_CR3, cr3);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_EFER, XVCPU_EFER_LME);
    xvcpui_write_ia32e(vcpu, 1);
    xvcpui_write_guest_cr0(vcpu, XVCPU_CR0_PE | XVCPU_CR0_MP | XVCPU_CR0_ET | XVCPU_CR0_NE |
                                     XVCPU_CR0_WP | XVCPU_CR0_PG);
    xvcpui_write_flat_segments(vcpu, XVCPU_AR_L);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RIP, rip);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RSP, rsp);
    return xvcpui_take_fault(vcpu, error);
}

XVCPU_API xvcpu_status xvcpu_preset_wait_sipi(xvcpu *vcpu, xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_begin_unpaged_preset(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if ((vcpu->caps.misc & XVCPU_VMX_MISC_ACTIVITY_WAIT_FOR_SIPI) == 0)
        return xvcpui_fail_msr(error, XVCPU_STATUS_UNSUPPORTED, "wait-for-SIPI activity state",
                               XVCPU_MSR_IA32_VMX_MISC, vcpu->caps.misc,
                               XVCPU_VMX_MISC_ACTIVITY_WAIT_FOR_SIPI);
    xvcpui_reset_guest(vcpu, 1);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_ACTIVITY_STATE, XVCPU_ACTIVITY_WAIT_FOR_SIPI);
    return xvcpui_take_fault(vcpu, error);
}

XVCPU_API xvcpu_status xvcpu_start_sipi(xvcpu *vcpu, xvcpu_u8 vector, xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_check_bound(vcpu, error);
    xvcpu_u64 activity;
    if (status != XVCPU_STATUS_OK)
        return status;
    activity = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_ACTIVITY_STATE);
    if (activity != XVCPU_ACTIVITY_WAIT_FOR_SIPI)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "activity state is not wait-for-SIPI",
                           activity, 0);
    xvcpui_write_segment(vcpu, XVCPU_CS, (xvcpu_u32)vector << 8, (xvcpu_u64)vector << 12,
                         XVCPUI_REAL_LIMIT, XVCPUI_RIGHTS_CODE);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RIP, 0);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_ACTIVITY_STATE, XVCPU_ACTIVITY_ACTIVE);
    return xvcpui_take_fault(vcpu, error);
}

// -- Implementation: guest state, register table

typedef struct xvcpui_register_row {
    xvcpu_u16 arg;
    xvcpu_u8 home; // xvcpu_reg_home
    xvcpu_u8 width;
} xvcpui_register_row;

static const xvcpui_register_row xvcpui_registers[XVCPU_REG_COUNT] = {
#define XVCPUI_ROW(id, home, arg, width) {arg, XVCPU_HOME_##home, width},
    XVCPU_REGISTERS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

typedef struct xvcpui_register_strings {
#define XVCPUI_ROW(id, home, arg, width) char reg_##id[sizeof(#id)];
    XVCPU_REGISTERS(XVCPUI_ROW)
#undef XVCPUI_ROW
} xvcpui_register_strings;

static const xvcpui_register_strings xvcpui_register_names = {
#define XVCPUI_ROW(id, home, arg, width) #id,
    XVCPU_REGISTERS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

XVCPU_API const char *xvcpu_register_name(xvcpu_reg reg)
{
    if ((xvcpu_u32)reg >= XVCPU_REG_COUNT)
        return "unknown register";
    return xvcpui_nth_string(&xvcpui_register_names, (xvcpu_u32)reg);
}

// Reads one register; for the dump too, hence no checks.
static xvcpu_u64 xvcpui_get_register(xvcpu *vcpu, xvcpu_u32 reg)
{
    const xvcpui_register_row *row = &xvcpui_registers[reg];
    if (row->home == XVCPU_HOME_GPR)
        return vcpu->gpr[row->arg];
    if (row->home == XVCPU_HOME_VMCS)
        return xvcpui_vmcs_read(vcpu, row->arg);
    switch (reg) {
    case XVCPU_REG_CR0: return xvcpui_guest_cr0(vcpu);
    case XVCPU_REG_CR2: return vcpu->cr2;
    case XVCPU_REG_CR3: return xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CR3);
    case XVCPU_REG_CR4: return xvcpui_guest_cr4(vcpu);
    case XVCPU_REG_CR8: return vcpu->cr8;
    case XVCPU_REG_XCR0: return vcpu->xcr0;
    case XVCPU_REG_DR0:
    case XVCPU_REG_DR1:
    case XVCPU_REG_DR2:
    case XVCPU_REG_DR3: return vcpu->dr[row->arg];
    case XVCPU_REG_DR6: return xvcpui_guest_dr6(vcpu);
    case XVCPU_REG_EFER: return xvcpui_guest_efer(vcpu);
    case XVCPU_REG_PAT: return xvcpui_guest_pat(vcpu);
    case XVCPU_REG_STAR:
    case XVCPU_REG_LSTAR:
    case XVCPU_REG_CSTAR:
    case XVCPU_REG_FMASK:
    case XVCPU_REG_KERNEL_GS_BASE:
    case XVCPU_REG_TSC_AUX: return xvcpui_get_switched(vcpu, row->arg);
    case XVCPU_REG_XSS: return vcpu->xss;
    case XVCPU_REG_APIC_BASE: return vcpu->apic_base;
    default: return 0;
    }
}

// Rules of one segment alone. Those between segments (DPL of CS and SS, virtual-8086 mode) hold
// only once all of them are set; VM entry checks them.
static xvcpu_u64 xvcpui_check_rights(xvcpu_u32 segment, xvcpu_u64 rights)
{
    const xvcpu_u64 type = XVCPU_PART(rights, AR_TYPE);
    const xvcpu_bool is_system = segment == XVCPU_LDTR || segment == XVCPU_TR;
    xvcpu_u64 bad = rights & (XVCPU_AR_RESERVED_LOW_MASK | XVCPU_AR_RESERVED_HIGH_MASK);
    xvcpu_bool type_fits;
    if ((rights & XVCPU_AR_UNUSABLE) != 0) {
        if (segment == XVCPU_CS || segment == XVCPU_TR)
            return XVCPU_AR_UNUSABLE;
        return rights & XVCPU_AR_RESERVED_HIGH_MASK;
    }
    if ((rights & XVCPU_AR_P) == 0)
        bad |= XVCPU_AR_P;
    if (((rights & XVCPU_AR_S) != 0) == is_system)
        bad |= XVCPU_AR_S;
    switch (segment) {
    case XVCPU_CS: // type 3: a data segment as real and virtual-8086 mode have it
        type_fits = type == XVCPU_SEGMENT_DATA_RW_ACCESSED ||
                    (type & (XVCPU_SEGMENT_CODE | XVCPU_SEGMENT_ACCESSED)) ==
                        (XVCPU_SEGMENT_CODE | XVCPU_SEGMENT_ACCESSED);
        break;
    case XVCPU_SS:
        type_fits = (type & ~XVCPU_SEGMENT_DATA_EXPAND_DOWN) == XVCPU_SEGMENT_DATA_RW_ACCESSED;
        break;
    case XVCPU_LDTR:
        type_fits = type == XVCPU_SYSTEM_LDT;
        break;
    case XVCPU_TR:
        type_fits = type == XVCPU_SYSTEM_TSS16_BUSY || type == XVCPU_SYSTEM_TSS_BUSY;
        break;
    default: // a code segment here has to be readable
        type_fits = (type & XVCPU_SEGMENT_ACCESSED) != 0 &&
                    ((type & XVCPU_SEGMENT_CODE) == 0 ||
                     (type & XVCPU_SEGMENT_CODE_READABLE) != 0);
        break;
    }
    return type_fits ? bad : bad | XVCPU_AR_TYPE_MASK;
}

static xvcpu_u64 xvcpui_check_rflags(xvcpu *vcpu, xvcpu_u64 value)
{
    xvcpu_u64 bad = value & ~XVCPUI_RFLAGS_DEFINED;
    if ((value & XVCPU_RFLAGS_FIXED_1) == 0)
        bad |= XVCPU_RFLAGS_FIXED_1;
    if ((value & XVCPU_RFLAGS_VM) != 0 &&
        (xvcpui_is_ia32e(vcpu) || (xvcpui_guest_cr0(vcpu) & XVCPU_CR0_PE) == 0))
        bad |= XVCPU_RFLAGS_VM;
    return bad;
}

#define XVCPUI_SHADOW (XVCPU_INTERRUPTIBILITY_STI | XVCPU_INTERRUPTIBILITY_MOV_SS)

static xvcpu_u64 xvcpui_check_interruptibility(xvcpu *vcpu, xvcpu_u64 value)
{
    xvcpu_u64 bad = value & ~(XVCPUI_SHADOW | XVCPU_INTERRUPTIBILITY_NMI);
    if ((value & XVCPUI_SHADOW) == XVCPUI_SHADOW)
        bad |= XVCPUI_SHADOW;
    if ((value & XVCPU_INTERRUPTIBILITY_STI) != 0 &&
        (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_RFLAGS) & XVCPU_RFLAGS_IF) == 0)
        bad |= XVCPU_INTERRUPTIBILITY_STI;
    if ((value & XVCPUI_SHADOW) != 0 &&
        xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_ACTIVITY_STATE) != XVCPU_ACTIVITY_ACTIVE)
        bad |= value & XVCPUI_SHADOW;
    return bad;
}

static xvcpu_u64 xvcpui_check_activity(xvcpu *vcpu, xvcpu_u64 value)
{
    static const xvcpu_u16 capability[4] = {0, XVCPU_VMX_MISC_ACTIVITY_HLT,
                                            XVCPU_VMX_MISC_ACTIVITY_SHUTDOWN,
                                            XVCPU_VMX_MISC_ACTIVITY_WAIT_FOR_SIPI};
    if (value == XVCPU_ACTIVITY_ACTIVE)
        return 0;
    if (value > XVCPU_ACTIVITY_WAIT_FOR_SIPI || (vcpu->caps.misc & capability[value]) == 0 ||
        (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY) & XVCPUI_SHADOW) != 0 ||
        (value == XVCPU_ACTIVITY_HLT && xvcpui_cpl(vcpu) != 0))
        return value;
    return 0;
}

static xvcpu_u64 xvcpui_check_register(xvcpu *vcpu, xvcpu_u32 reg, xvcpu_u64 value)
{
    const xvcpui_register_row *row = &xvcpui_registers[reg];
    if (row->width < 64U && (value >> row->width) != 0)
        return value & ~(XVCPU_BIT64(row->width) - 1U);
    switch (reg) {
    case XVCPU_REG_ES_RIGHTS:
    case XVCPU_REG_CS_RIGHTS:
    case XVCPU_REG_SS_RIGHTS:
    case XVCPU_REG_DS_RIGHTS:
    case XVCPU_REG_FS_RIGHTS:
    case XVCPU_REG_GS_RIGHTS:
    case XVCPU_REG_LDTR_RIGHTS:
    case XVCPU_REG_TR_RIGHTS:
        return xvcpui_check_rights(reg - XVCPU_REG_ES_RIGHTS, value);
    case XVCPU_REG_ES_BASE:
    case XVCPU_REG_CS_BASE:
    case XVCPU_REG_SS_BASE:
    case XVCPU_REG_DS_BASE:
    case XVCPU_REG_DR6:
    case XVCPU_REG_DR7:
        return value & XVCPUI_UPPER_HALF;
    case XVCPU_REG_RIP:
    case XVCPU_REG_FS_BASE:
    case XVCPU_REG_GS_BASE:
    case XVCPU_REG_LDTR_BASE:
    case XVCPU_REG_TR_BASE:
    case XVCPU_REG_GDTR_BASE:
    case XVCPU_REG_IDTR_BASE:
    case XVCPU_REG_SYSENTER_ESP:
    case XVCPU_REG_SYSENTER_EIP:
        return xvcpui_check_canonical(vcpu, value);
    case XVCPU_REG_GDTR_LIMIT:
    case XVCPU_REG_IDTR_LIMIT:
        return value & ~(xvcpu_u64)0xFFFFU;
    case XVCPU_REG_RFLAGS: return xvcpui_check_rflags(vcpu, value);
    case XVCPU_REG_INTERRUPTIBILITY: return xvcpui_check_interruptibility(vcpu, value);
    case XVCPU_REG_ACTIVITY: return xvcpui_check_activity(vcpu, value);
    case XVCPU_REG_PENDING_DEBUG:
        return value & ~(XVCPU_PENDING_DBG_B_MASK | XVCPU_PENDING_DBG_ENABLED |
                         XVCPU_PENDING_DBG_BS);
    case XVCPU_REG_DEBUGCTL: return xvcpui_check_debugctl(value);
    case XVCPU_REG_CR0: {
        const xvcpu_u64 undefined = value & ~XVCPUI_CR0_DEFINED;
        return undefined != 0 ? undefined : xvcpui_check_cr0(vcpu, value);
    }
    case XVCPU_REG_CR3: return xvcpui_check_cr3(vcpu, value);
    case XVCPU_REG_CR4: return xvcpui_check_cr4(vcpu, value);
    case XVCPU_REG_CR8: return value & ~XVCPU_CR8_TPR_MASK;
    case XVCPU_REG_XCR0: return xvcpui_check_xcr0(vcpu, value);
    case XVCPU_REG_EFER: return xvcpui_check_efer(vcpu, value);
    case XVCPU_REG_PAT: return xvcpui_check_memory_types(value, 1);
    case XVCPU_REG_STAR:
    case XVCPU_REG_LSTAR:
    case XVCPU_REG_CSTAR:
    case XVCPU_REG_FMASK:
    case XVCPU_REG_KERNEL_GS_BASE:
    case XVCPU_REG_TSC_AUX: return xvcpui_check_switched(vcpu, row->arg, value);
    case XVCPU_REG_XSS: return value & ~vcpu->xss_allowed;
    case XVCPU_REG_APIC_BASE: return xvcpui_check_apic_base(vcpu, value);
    default: return 0;
    }
}

// VM entry compares these: no STI shadow with IF clear; in a shadow or in HLT a single-step trap
// is pending exactly if the guest single-steps.
static void xvcpui_sync_flags(xvcpu *vcpu)
{
    const xvcpu_u64 rflags = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_RFLAGS);
    xvcpu_u64 shadow = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY);
    if ((rflags & XVCPU_RFLAGS_IF) == 0 && (shadow & XVCPU_INTERRUPTIBILITY_STI) != 0) {
        shadow &= ~XVCPU_INTERRUPTIBILITY_STI;
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY, shadow);
    }
    if ((shadow & XVCPUI_SHADOW) != 0 ||
        xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_ACTIVITY_STATE) == XVCPU_ACTIVITY_HLT) {
        const xvcpu_u64 debugctl = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_DEBUGCTL);
        xvcpu_u64 pending = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_PENDING_DBG);
        pending &= ~XVCPU_PENDING_DBG_BS;
        if ((rflags & XVCPU_RFLAGS_TF) != 0 && (debugctl & XVCPU_DEBUGCTL_BTF) == 0)
            pending |= XVCPU_PENDING_DBG_BS;
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_PENDING_DBG, pending);
    }
}

// Writes a checked value. True: refused after all, as the PDPTEs it makes the processor load from
// guest memory are bad.
static xvcpu_bool xvcpui_set_register(xvcpu *vcpu, xvcpu_u32 reg, xvcpu_u64 value)
{
    const xvcpui_register_row *row = &xvcpui_registers[reg];
    switch (reg) {
    case XVCPU_REG_CR0: return xvcpui_set_cr0_checked(vcpu, value);
    case XVCPU_REG_CR3: return xvcpui_set_cr3_checked(vcpu, value);
    case XVCPU_REG_CR4: return xvcpui_set_cr4_checked(vcpu, value);
    case XVCPU_REG_XCR0: return xvcpui_set_xcr0_checked(vcpu, value);
    case XVCPU_REG_EFER: return xvcpui_set_efer_checked(vcpu, value);
    case XVCPU_REG_CR2: vcpu->cr2 = value; break;
    case XVCPU_REG_CR8: vcpu->cr8 = value; break;
    case XVCPU_REG_DR0:
    case XVCPU_REG_DR1:
    case XVCPU_REG_DR2:
    case XVCPU_REG_DR3: xvcpui_set_dr(vcpu, row->arg, value); break;
    case XVCPU_REG_DR6: xvcpui_set_dr6(vcpu, value); break;
    case XVCPU_REG_DR7: xvcpui_set_dr7(vcpu, value); break;
    case XVCPU_REG_PAT: xvcpui_write_guest_pat(vcpu, value); break;
    case XVCPU_REG_STAR:
    case XVCPU_REG_LSTAR:
    case XVCPU_REG_CSTAR:
    case XVCPU_REG_FMASK:
    case XVCPU_REG_KERNEL_GS_BASE:
    case XVCPU_REG_TSC_AUX: xvcpui_set_switched(vcpu, row->arg, value); break;
    case XVCPU_REG_XSS: xvcpui_set_xss(vcpu, value); break;
    case XVCPU_REG_APIC_BASE: vcpu->apic_base = value; break;
    default:
        if (row->home == XVCPU_HOME_GPR)
            vcpu->gpr[row->arg] = value;
        else
            xvcpui_vmcs_write(vcpu, row->arg, value);
        break;
    }
    if (reg == XVCPU_REG_RFLAGS || reg == XVCPU_REG_INTERRUPTIBILITY ||
        reg == XVCPU_REG_ACTIVITY || reg == XVCPU_REG_DEBUGCTL || reg == XVCPU_REG_PENDING_DEBUG)
        xvcpui_sync_flags(vcpu);
    return 0;
}

XVCPU_API xvcpu_status xvcpu_get(xvcpu *vcpu, xvcpu_reg reg, xvcpu_u64 *value, xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_check_bound(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if ((xvcpu_u32)reg >= XVCPU_REG_COUNT)
        return xvcpui_fail(error, XVCPU_STATUS_UNKNOWN_REGISTER, "reg", (xvcpu_u32)reg, 0);
    if (!value)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "value is null", 0, 0);
    *value = xvcpui_get_register(vcpu, (xvcpu_u32)reg);
    return xvcpui_take_fault(vcpu, error);
}

// Control registers obey the rules of MOV and WRMSR, so their order counts as it does for a guest
// that enters a mode: EFER, CR4, CR3, CR0, then CR4.PCIDE and a CR3 with a PCID; segments last.
XVCPU_API xvcpu_status xvcpu_set(xvcpu *vcpu, xvcpu_reg reg, xvcpu_u64 value, xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_check_bound(vcpu, error);
    xvcpu_u64 bad;
    if (status != XVCPU_STATUS_OK)
        return status;
    if ((xvcpu_u32)reg >= XVCPU_REG_COUNT)
        return xvcpui_fail(error, XVCPU_STATUS_UNKNOWN_REGISTER, "reg", (xvcpu_u32)reg, 0);
    bad = xvcpui_check_register(vcpu, (xvcpu_u32)reg, value);
    if (bad != 0)
        return xvcpui_fail(error, XVCPU_STATUS_BAD_VALUE, xvcpu_register_name(reg), value, bad);
    if (reg == XVCPU_REG_CR0 && !xvcpui_cr0_can_run(vcpu, value))
        return xvcpui_fail_msr(error, XVCPU_STATUS_UNSUPPORTED, "unrestricted guest",
                               XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2, value,
                               XVCPU_PROC2_UNRESTRICTED_GUEST);
    if (xvcpui_set_register(vcpu, (xvcpu_u32)reg, value))
        return xvcpui_fail(error, XVCPU_STATUS_BAD_VALUE, "PDPTEs in guest memory", value, 0);
    return xvcpui_take_fault(vcpu, error);
}

XVCPU_API xvcpu_status xvcpu_get_mode(xvcpu *vcpu, xvcpu_cpu_mode *mode, xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_check_bound(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if (!mode)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "mode is null", 0, 0);
    *mode = xvcpui_mode(vcpu);
    return xvcpui_take_fault(vcpu, error);
}

// PKRU is in the saved extended state; while the guest's is loaded, or nobody saves it, rights are
// not restricted here.
static xvcpu_u32 xvcpui_guest_pkru(const xvcpu *vcpu)
{
    const xvcpu_u8 *area = (const xvcpu_u8 *)vcpu->guest_xsave;
    xvcpu_cpuid_regs where;
    xvcpu_u64 present;
    xvcpu_u32 pkru;
    if (!area || vcpu->guest_loaded || (vcpu->xcr0 & XVCPU_XCR0_PKRU) == 0 ||
        (vcpu->desc.leave_to_host & XVCPU_LEAVE_FPU) != 0)
        return 0;
    xvcpui_copy(&present, area + XVCPUI_XSAVE_XSTATE_BV, sizeof present);
    xvcpu_cpuid(XVCPU_CPUID_LEAF_XSAVE, XVCPUI_XCR0_PKRU_BIT, &where);
    if ((present & XVCPU_XCR0_PKRU) == 0 || where.ebx > XVCPU_PAGE_BYTES - sizeof pkru)
        return 0;
    xvcpui_copy(&pkru, area + where.ebx, sizeof pkru);
    return pkru;
}

XVCPU_API xvcpu_status xvcpu_get_paging(xvcpu *vcpu, xvcpu_paging *paging, xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_check_bound(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if (!paging)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "paging is null", 0, 0);
    paging->cr0 = xvcpui_guest_cr0(vcpu);
    paging->cr3 = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CR3);
    paging->cr4 = xvcpui_guest_cr4(vcpu);
    paging->efer = xvcpui_guest_efer(vcpu);
    paging->rflags = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_RFLAGS);
    paging->pdpte[0] = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_PDPTE0);
    paging->pdpte[1] = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_PDPTE1);
    paging->pdpte[2] = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_PDPTE2);
    paging->pdpte[3] = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_PDPTE3);
    paging->cpl = xvcpui_cpl(vcpu);
    paging->physical_bits = vcpu->caps.physical_bits;
    paging->pkru = xvcpui_guest_pkru(vcpu);
    paging->nx_supported = xvcpui_has(vcpu, XVCPU_FEATURE_NX);
    paging->page1gb_supported = xvcpui_has(vcpu, XVCPU_FEATURE_PAGE1GB);
    return xvcpui_take_fault(vcpu, error);
}

// -- Implementation: events
// An event goes queue -> VM-entry interruption-information field -> guest. Hardware takes one event
// an entry and only delivers it when the guest's state allows; the rest waits here, and a window
// exit tells when it is worth trying again. An exit in the middle of a delivery hands the event
// back (IDT-vectoring information): it waits in queue.interrupted and goes in first next time.
//
// Who handles an exit that cut a delivery short and concludes that the delivery itself faults just
// raises the fault: xvcpu_raise merges it with queue.interrupted as the processor would have done.
// The same holds for an exit caused by an exception the caller asked to see: raising it again
// merges it with the event under whose delivery it arose. A caller that completes the delivery
// itself (a task switch through a gate) clears queue.interrupted.info.

#define XVCPUI_WINDOWS (XVCPU_PROC1_INTR_WINDOW_EXITING | XVCPU_PROC1_NMI_WINDOW_EXITING)
#define XVCPUI_NMIS_MAX 2U

#define XVCPUI_INTR_TYPE(info) ((xvcpu_u32)XVCPU_PART((info), INTR_INFO_TYPE))
#define XVCPUI_INTR_VECTOR(info) ((xvcpu_u32)XVCPU_PART((info), INTR_INFO_VECTOR))

XVCPUI_INLINE xvcpu_u32 xvcpui_event_info(xvcpu_u32 type, xvcpu_u32 vector)
{
    return (xvcpu_u32)(XVCPU_INTR_INFO_VALID | XVCPU_PART_OF(INTR_INFO_TYPE, type) |
                       XVCPU_PART_OF(INTR_INFO_VECTOR, vector));
}

// Events that an instruction asked for: delivery pushes RIP plus the instruction's length.
XVCPUI_INLINE xvcpu_bool xvcpui_has_length(xvcpu_u32 info)
{
    return XVCPUI_INTR_TYPE(info) >= XVCPU_INTR_TYPE_SOFTWARE_INTERRUPT;
}

// Not zero: an external interrupt waits.
XVCPUI_INLINE xvcpu_u64 xvcpui_interrupts_wait(const xvcpu_event_queue *queue)
{
    return queue->interrupts[0] | queue->interrupts[1] | queue->interrupts[2] |
           queue->interrupts[3];
}

// Not zero: something waits to be delivered. Ors instead of a chain of tests: this runs before
// every entry and the usual answer is no.
XVCPUI_INLINE xvcpu_u64 xvcpui_events_wait(const xvcpu_event_queue *queue)
{
    return xvcpui_interrupts_wait(queue) | queue->interrupted.info | queue->exception.info |
           queue->nmis;
}

// The highest vector that waits; there must be one.
static xvcpu_u32 xvcpui_highest_interrupt(const xvcpu_event_queue *queue)
{
    xvcpu_u32 word = 3;
    while (queue->interrupts[word] == 0)
        word--;
    return word * 64U + 63U - (xvcpu_u32)__builtin_clzll(queue->interrupts[word]);
}

// The class of an exception when another follows while it is being delivered.
// SDM 3A "Interrupt 8 - Double Fault Exception (#DF)".
typedef enum xvcpui_exception_class {
    XVCPUI_BENIGN = 0,
    XVCPUI_CONTRIBUTORY,
    XVCPUI_PAGE_FAULT,
    XVCPUI_DOUBLE_FAULT
} xvcpui_exception_class;

static xvcpui_exception_class xvcpui_class_of(xvcpu_u32 vector)
{
    switch (vector) {
    case XVCPU_EXCEPTION_DE:
    case XVCPU_EXCEPTION_TS:
    case XVCPU_EXCEPTION_NP:
    case XVCPU_EXCEPTION_SS:
    case XVCPU_EXCEPTION_GP:
    case XVCPU_EXCEPTION_CP: return XVCPUI_CONTRIBUTORY;
    case XVCPU_EXCEPTION_PF:
    case XVCPU_EXCEPTION_VE: return XVCPUI_PAGE_FAULT;
    case XVCPU_EXCEPTION_DF: return XVCPUI_DOUBLE_FAULT;
    default: return XVCPUI_BENIGN;
    }
}

// Faults push a return address at their instruction, with RF set so that an instruction breakpoint
// there does not hit twice. Traps and aborts do not, and #DB must not: its handler decides.
XVCPUI_INLINE xvcpu_bool xvcpui_is_fault(xvcpu_u32 vector)
{
    const xvcpu_u32 not_faults =
        XVCPU_BIT32(XVCPU_EXCEPTION_DB) | XVCPU_BIT32(XVCPU_EXCEPTION_NMI) |
        XVCPU_BIT32(XVCPU_EXCEPTION_BP) | XVCPU_BIT32(XVCPU_EXCEPTION_OF) |
        XVCPU_BIT32(XVCPU_EXCEPTION_DF) | XVCPU_BIT32(XVCPU_EXCEPTION_MC);
    return ((not_faults >> (vector & 31U)) & 1U) == 0;
}

// Puts into CR2 or DR6 what the processor would have put there before delivering the exception.
// VM entry does not: it injects the event only. SDM "Details of Vectored-Event Injection".
static void xvcpui_load_payload(xvcpu *vcpu, xvcpu_event *event)
{
    xvcpu_u64 payload, dr6;
    if (!event->has_payload)
        return;
    event->has_payload = 0;
    payload = event->payload;
    if (XVCPUI_INTR_VECTOR(event->info) == XVCPU_EXCEPTION_PF) {
        vcpu->cr2 = payload;
        return;
    }
    if (payload == 0)
        return; // INT1 leaves DR6 alone
    dr6 = xvcpui_guest_dr6(vcpu);
    dr6 &= ~XVCPU_DR6_B_MASK;
    dr6 |= payload & (XVCPU_DR6_B_MASK | XVCPU_DR6_BD | XVCPU_DR6_BS | XVCPU_DR6_BT);
    // These two are 0 when the condition was met. Every #DB writes RTM; only a bus lock clears BLD.
    dr6 |= XVCPU_DR6_FIXED_1 & ~XVCPU_DR6_BLD;
    dr6 &= ~(payload & (XVCPU_DR6_RTM | XVCPU_DR6_BLD));
    vcpu->dr6 = dr6;
    if (xvcpui_dr6_is_live(vcpu))
        xvcpu_write_dr(6, dr6);
}

static xvcpu_status xvcpui_check_created(const xvcpu *vcpu, xvcpu_error *error)
{
    if (!vcpu || vcpu->magic != XVCPUI_MAGIC_VCPU)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "virtual CPU not created", 0, 0);
    return XVCPU_STATUS_OK;
}

// Type and instruction length of an exception that is raised anew. An exception the caller saw as
// an exit goes back as it came. #BP and #OF are else what INT3 and INTO make, 1 byte long; every
// other is a hardware exception.
static void xvcpui_classify(const xvcpu *vcpu, xvcpu_u32 vector, xvcpu_event *event)
{
    const xvcpu_exit *exit = &vcpu->exit;
    xvcpu_u32 type = XVCPU_INTR_TYPE_HARDWARE_EXCEPTION;
    event->length = 0;
    if (exit->reason == XVCPU_EXIT_REASON_EXCEPTION_NMI &&
        (exit->interruption_info & XVCPU_INTR_INFO_VALID) != 0 &&
        XVCPUI_INTR_VECTOR(exit->interruption_info) == vector && exit->instruction_length != 0) {
        type = XVCPUI_INTR_TYPE(exit->interruption_info);
        event->length = exit->instruction_length;
    } else if (vector == XVCPU_EXCEPTION_BP || vector == XVCPU_EXCEPTION_OF) {
        type = XVCPU_INTR_TYPE_SOFTWARE_EXCEPTION;
        event->length = 1;
    }
    event->info = xvcpui_event_info(type, vector);
}

// An event whose delivery gives way to an exception. Interrupts were acknowledged, so nobody would
// send them again; an instruction runs again and raises its own once more.
static void xvcpui_put_back(xvcpu_event_queue *queue, xvcpu_event *event)
{
    const xvcpu_u32 type = XVCPUI_INTR_TYPE(event->info);
    const xvcpu_u32 vector = XVCPUI_INTR_VECTOR(event->info);
    if (type == XVCPU_INTR_TYPE_EXTERNAL_INTERRUPT)
        queue->interrupts[vector / 64U] |= XVCPU_BIT64(vector % 64U);
    else if (type == XVCPU_INTR_TYPE_NMI && queue->nmis < XVCPUI_NMIS_MAX)
        queue->nmis++;
    event->info = 0;
}

XVCPU_API xvcpu_status xvcpu_raise(xvcpu *vcpu, xvcpu_u32 vector, xvcpu_u32 error_code,
                                   xvcpu_u64 payload, xvcpu_error *error)
{
    xvcpu_event_queue *queue;
    xvcpu_event event, *earlier = XVCPUI_NULL;
    xvcpui_exception_class first = XVCPUI_BENIGN, second;
    const xvcpu_status status = xvcpui_check_created(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if (vector >= XVCPU_EXCEPTION_LIMIT || vector == XVCPU_EXCEPTION_NMI)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "vector", vector, 0);
    queue = &vcpu->queue;
    if (queue->triple_fault)
        return XVCPU_STATUS_OK; // nothing reaches a processor in shutdown

    xvcpui_classify(vcpu, vector, &event);
    event.error_code = 0;
    event.payload = payload;
    event.has_payload = vector == XVCPU_EXCEPTION_PF || vector == XVCPU_EXCEPTION_DB;
    if (((XVCPU_EXCEPTION_ERROR_CODE_MASK >> vector) & 1U) != 0) {
        // VM entry refuses more than 16 bits.
        if ((error_code >> 16) != 0)
            return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "error_code", error_code,
                               error_code & ~(xvcpu_u32)0xFFFF);
        event.info |= (xvcpu_u32)XVCPU_INTR_INFO_ERROR_CODE;
        event.error_code = error_code;
    }

    if (queue->interrupted.info != 0) {
        if (XVCPUI_INTR_TYPE(queue->interrupted.info) == XVCPU_INTR_TYPE_HARDWARE_EXCEPTION)
            earlier = &queue->interrupted;
        else
            xvcpui_put_back(queue, &queue->interrupted);
    }
    if (queue->exception.info != 0)
        earlier = &queue->exception;
    if (earlier) {
        if (XVCPUI_INTR_TYPE(earlier->info) == XVCPU_INTR_TYPE_HARDWARE_EXCEPTION)
            first = xvcpui_class_of(XVCPUI_INTR_VECTOR(earlier->info));
        // Its delivery had begun as far as CR2 and DR6 are concerned.
        xvcpui_load_payload(vcpu, earlier);
        queue->interrupted.info = 0;
        queue->exception.info = 0;
    }
    second = xvcpui_class_of(vector);
    if (first == XVCPUI_DOUBLE_FAULT && second != XVCPUI_BENIGN) {
        xvcpui_load_payload(vcpu, &event);
        queue->triple_fault = 1;
        return XVCPU_STATUS_OK;
    }
    if ((first == XVCPUI_CONTRIBUTORY && second == XVCPUI_CONTRIBUTORY) ||
        (first == XVCPUI_PAGE_FAULT &&
         (second == XVCPUI_CONTRIBUTORY || second == XVCPUI_PAGE_FAULT))) {
        xvcpui_load_payload(vcpu, &event);
        event.info =
            xvcpui_event_info(XVCPU_INTR_TYPE_HARDWARE_EXCEPTION, XVCPU_EXCEPTION_DF) |
            (xvcpu_u32)XVCPU_INTR_INFO_ERROR_CODE;
        event.error_code = 0;
    }
    // Else they are handled one after the other: the second now, the first when its instruction,
    // which has not completed, runs again.
    queue->exception = event;
    return XVCPU_STATUS_OK;
}

// Gives the exception of the last exit back to the guest, as if it had not been intercepted.
static void xvcpui_reflect(xvcpu *vcpu)
{
    const xvcpu_exit_exception *exception = &vcpu->exit.u.exception;
    (void)xvcpu_raise(vcpu, exception->vector, exception->error_code & 0xFFFFU,
                      exception->address, XVCPUI_NULL);
}

XVCPU_API xvcpu_status xvcpu_raise_nmi(xvcpu *vcpu, xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_check_created(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if (vcpu->queue.nmis >= XVCPUI_NMIS_MAX)
        return xvcpui_fail(error, XVCPU_STATUS_QUEUE_FULL, "NMI", vcpu->queue.nmis, 0);
    vcpu->queue.nmis++;
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_status xvcpu_raise_interrupt(xvcpu *vcpu, xvcpu_u8 vector, xvcpu_error *error)
{
    const xvcpu_status status = xvcpui_check_created(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    vcpu->queue.interrupts[vector / 64U] |= XVCPU_BIT64(vector % 64U);
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_bool xvcpu_cancel_interrupt(xvcpu *vcpu, xvcpu_u8 vector)
{
    const xvcpu_u64 bit = XVCPU_BIT64(vector % 64U);
    xvcpu_u64 *word;
    if (xvcpui_check_created(vcpu, XVCPUI_NULL) != XVCPU_STATUS_OK)
        return 0;
    word = &vcpu->queue.interrupts[vector / 64U];
    if ((*word & bit) == 0)
        return 0;
    *word &= ~bit;
    return 1;
}

XVCPU_API xvcpu_bool xvcpu_has_event(const xvcpu *vcpu)
{
    return xvcpui_check_created(vcpu, XVCPUI_NULL) == XVCPU_STATUS_OK &&
           (xvcpui_events_wait(&vcpu->queue) != 0 || vcpu->queue.triple_fault);
}

// What decides whether an event can go in with the next entry.
typedef struct xvcpui_readiness {
    xvcpu_u64 activity, blocking, rflags;
} xvcpui_readiness;

static void xvcpui_read_readiness(xvcpu *vcpu, xvcpui_readiness *ready)
{
    ready->activity = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_ACTIVITY_STATE);
    ready->blocking = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY);
    ready->rflags = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_RFLAGS);
}

XVCPUI_INLINE xvcpu_bool xvcpui_interrupt_ready(const xvcpui_readiness *ready)
{
    return (ready->rflags & XVCPU_RFLAGS_IF) != 0 && (ready->blocking & XVCPUI_SHADOW) == 0 &&
           ready->activity <= XVCPU_ACTIVITY_HLT;
}

// STI blocks NMIs on some processors, so VM entry wants it clear on all.
XVCPUI_INLINE xvcpu_bool xvcpui_nmi_ready(const xvcpui_readiness *ready)
{
    return (ready->blocking & (XVCPUI_SHADOW | XVCPU_INTERRUPTIBILITY_NMI)) == 0 &&
           ready->activity <= XVCPU_ACTIVITY_SHUTDOWN;
}

// Nothing but NMI and machine check ends shutdown, nothing but a SIPI the wait for one.
XVCPUI_INLINE xvcpu_bool xvcpui_exception_ready(const xvcpui_readiness *ready, xvcpu_u32 info)
{
    return ready->activity <= XVCPU_ACTIVITY_HLT ||
           (ready->activity == XVCPU_ACTIVITY_SHUTDOWN &&
            XVCPUI_INTR_VECTOR(info) == XVCPU_EXCEPTION_MC &&
            XVCPUI_INTR_TYPE(info) == XVCPU_INTR_TYPE_HARDWARE_EXCEPTION);
}

static xvcpu_bool xvcpui_can_inject(const xvcpui_readiness *ready, xvcpu_u32 info)
{
    switch (XVCPUI_INTR_TYPE(info)) {
    case XVCPU_INTR_TYPE_EXTERNAL_INTERRUPT: return xvcpui_interrupt_ready(ready);
    case XVCPU_INTR_TYPE_NMI: return xvcpui_nmi_ready(ready);
    default: return xvcpui_exception_ready(ready, info);
    }
}

XVCPU_API xvcpu_bool xvcpu_accepts_interrupt(xvcpu *vcpu)
{
    xvcpui_readiness ready;
    const xvcpu_event_queue *queue;
    if (xvcpui_check_bound(vcpu, XVCPUI_NULL) != XVCPU_STATUS_OK)
        return 0;
    queue = &vcpu->queue;
    if ((queue->interrupted.info | queue->exception.info | xvcpui_interrupts_wait(queue)) != 0 ||
        queue->triple_fault)
        return 0;
    xvcpui_read_readiness(vcpu, &ready);
    return xvcpui_interrupt_ready(&ready) && (queue->nmis == 0 || !xvcpui_nmi_ready(&ready));
}

// May the event carry its error code into the guest as it is now? SDM "VM-Entry Control Fields".
static xvcpu_bool xvcpui_takes_error_code(xvcpu *vcpu, xvcpu_u32 vector)
{
    // Where entry still checks the vector, it knows no #CP with an error code.
    if (vector == XVCPU_EXCEPTION_CP && (vcpu->caps.basic & XVCPU_VMX_BASIC_ANY_ERROR_CODE) == 0)
        return 0;
    // Real mode pushes none. CR0.PE can be 0 only with unrestricted guest.
    return !xvcpui_is_unrestricted(vcpu) ||
           (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CR0) & XVCPU_CR0_PE) != 0;
}

// A single-step trap becomes pending. BTF makes TF step over branches instead, and nothing that
// exits is one.
static __attribute__((noinline)) void xvcpui_pend_single_step(xvcpu *vcpu)
{
    xvcpu_u64 pending;
    if ((xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_DEBUGCTL) & XVCPU_DEBUGCTL_BTF) != 0)
        return;
    pending = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_PENDING_DBG);
    if ((pending & XVCPU_PENDING_DBG_BS) == 0)
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_PENDING_DBG, pending | XVCPU_PENDING_DBG_BS);
}

// What delivering #DB does to the debug controls; VM entry leaves that to us.
static void xvcpui_debug_upkeep(xvcpu *vcpu)
{
    const xvcpu_u64 dr7 = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_DR7);
    const xvcpu_u64 debugctl = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_DEBUGCTL);
    const xvcpu_u64 tracing = XVCPU_DEBUGCTL_LBR | XVCPU_DEBUGCTL_BTF;
    // The handler must be able to use the debug registers.
    if ((dr7 & XVCPU_DR7_GD) != 0)
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_DR7, dr7 & ~XVCPU_DR7_GD);
    if ((debugctl & tracing) != 0)
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_DEBUGCTL, debugctl & ~tracing);
}

// Hands one event to the next VM entry.
static void xvcpui_inject_event(xvcpu *vcpu, xvcpu_event *event, const xvcpui_readiness *ready)
{
    xvcpu_u32 info = event->info;
    if (event->has_payload && XVCPUI_INTR_VECTOR(info) == XVCPU_EXCEPTION_DB)
        xvcpui_debug_upkeep(vcpu);
    xvcpui_load_payload(vcpu, event);
    if ((info & XVCPU_INTR_INFO_ERROR_CODE) != 0) {
        if (xvcpui_takes_error_code(vcpu, XVCPUI_INTR_VECTOR(info)))
            xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_ENTRY_ERROR_CODE, event->error_code);
        else
            info &= ~(xvcpu_u32)XVCPU_INTR_INFO_ERROR_CODE;
    }
    if (xvcpui_has_length(info))
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_ENTRY_INSTR_LEN, event->length);
    // Delivery ends HLT. Entry would refuse most exceptions in that state instead.
    if (ready->activity != XVCPU_ACTIVITY_ACTIVE)
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_ACTIVITY_STATE, XVCPU_ACTIVITY_ACTIVE);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, info);
    event->info = 0;
}

// Which window tells that an NMI can go in. `injected`: this entry delivers something, which ends
// any shadow.
static xvcpu_u64 xvcpui_nmi_window(const xvcpu *vcpu, const xvcpui_readiness *ready,
                                   xvcpu_bool injected)
{
    const xvcpu_bool virtual_nmis = xvcpui_control(vcpu, XVCPU_WORD_PIN, XVCPU_PIN_VIRTUAL_NMIS);
    if (injected)
        return virtual_nmis ? XVCPU_PROC1_NMI_WINDOW_EXITING : XVCPU_PROC1_INTR_WINDOW_EXITING;
    // An NMI window may open in an STI shadow: the guest would exit again and again there without
    // a step. IF is 1 in such a shadow, so the interrupt window opens right after it.
    if ((ready->blocking & XVCPU_INTERRUPTIBILITY_STI) != 0)
        return XVCPU_PROC1_INTR_WINDOW_EXITING;
    if (virtual_nmis)
        return XVCPU_PROC1_NMI_WINDOW_EXITING;
    // No window tells when the guest's NMI handler ends: the next exit for another reason must do.
    return (ready->blocking & XVCPU_INTERRUPTIBILITY_NMI) != 0 ? 0
                                                               : XVCPU_PROC1_INTR_WINDOW_EXITING;
}

// An entry that failed, or that was prepared and not tried, delivered nothing: the VMCS still holds
// the event, as only a VM exit clears the valid bit. Takes it back into the queue.
static void xvcpui_cancel_injection(xvcpu *vcpu)
{
    xvcpu_event *event = &vcpu->queue.interrupted;
    const xvcpu_u32 info = (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_CTRL_ENTRY_INTR_INFO);
    if (XVCPUI_LIKELY((info & XVCPU_INTR_INFO_VALID) == 0))
        return;
    if (event->info != 0)
        xvcpui_put_back(&vcpu->queue, event);
    event->info = info;
    event->error_code = 0;
    event->length = 0;
    event->has_payload = 0; // CR2 and DR6 have theirs already
    if ((info & XVCPU_INTR_INFO_ERROR_CODE) != 0)
        event->error_code = (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_CTRL_ENTRY_ERROR_CODE);
    if (xvcpui_has_length(info))
        event->length = (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_CTRL_ENTRY_INSTR_LEN);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_ENTRY_INTR_INFO, 0);
}

static __attribute__((noinline)) void xvcpui_prepare_waiting(xvcpu *vcpu)
{
    xvcpu_event_queue *queue = &vcpu->queue;
    xvcpu_u64 controls = vcpu->controls[XVCPU_WORD_PROC1] & ~XVCPUI_WINDOWS;
    xvcpu_bool injected = 0;
    xvcpui_readiness ready;

    // In shutdown nothing is delivered; what waits may be told the guest after a reset.
    if (xvcpui_events_wait(queue) != 0 && !queue->triple_fault) {
        xvcpui_cancel_injection(vcpu);
        xvcpui_read_readiness(vcpu, &ready);
        if (queue->interrupted.info != 0) {
            // It could be delivered when it was cut short; but whoever handled the exit may have
            // changed the guest since.
            injected = xvcpui_can_inject(&ready, queue->interrupted.info);
            if (injected)
                xvcpui_inject_event(vcpu, &queue->interrupted, &ready);
            else if (XVCPUI_INTR_TYPE(queue->interrupted.info) <= XVCPU_INTR_TYPE_NMI)
                xvcpui_put_back(queue, &queue->interrupted);
        }
        if (!injected && queue->exception.info != 0 &&
            xvcpui_can_inject(&ready, queue->exception.info)) {
            const xvcpu_u32 info = queue->exception.info;
            if (XVCPUI_INTR_TYPE(info) == XVCPU_INTR_TYPE_HARDWARE_EXCEPTION &&
                xvcpui_is_fault(XVCPUI_INTR_VECTOR(info)) &&
                (ready.rflags & XVCPU_RFLAGS_RF) == 0)
                xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RFLAGS, ready.rflags | XVCPU_RFLAGS_RF);
            xvcpui_inject_event(vcpu, &queue->exception, &ready);
            injected = 1;
        }
        if (!injected && queue->nmis != 0 && xvcpui_nmi_ready(&ready)) {
            xvcpu_event nmi;
            nmi.info = xvcpui_event_info(XVCPU_INTR_TYPE_NMI, XVCPU_EXCEPTION_NMI);
            nmi.has_payload = 0;
            xvcpui_inject_event(vcpu, &nmi, &ready);
            queue->nmis--;
            injected = 1;
        }
        if (!injected && xvcpui_interrupts_wait(queue) != 0 && xvcpui_interrupt_ready(&ready)) {
            const xvcpu_u32 vector = xvcpui_highest_interrupt(queue);
            xvcpu_event interrupt;
            interrupt.info = xvcpui_event_info(XVCPU_INTR_TYPE_EXTERNAL_INTERRUPT, vector);
            interrupt.has_payload = 0;
            xvcpui_inject_event(vcpu, &interrupt, &ready);
            queue->interrupts[vector / 64U] &= ~XVCPU_BIT64(vector % 64U);
            injected = 1;
        }
        if (queue->nmis != 0)
            controls |= xvcpui_nmi_window(vcpu, &ready, injected);
        if (xvcpui_interrupts_wait(queue) != 0)
            controls |= XVCPU_PROC1_INTR_WINDOW_EXITING;
    }
    if (controls != vcpu->controls[XVCPU_WORD_PROC1]) {
        vcpu->controls[XVCPU_WORD_PROC1] = controls;
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_PROC1, controls);
    }
}

// True if prepare_events has something to do: an event waits, or a window is open.
XVCPUI_INLINE xvcpu_bool xvcpui_events_pending(const xvcpu *vcpu)
{
    return (xvcpui_events_wait(&vcpu->queue) | vcpu->queue.triple_fault |
            (vcpu->controls[XVCPU_WORD_PROC1] & XVCPUI_WINDOWS)) != 0;
}

// Before every entry: gives the next event to it, and opens or closes the windows for the others.
// Costs no VMREAD and no VMWRITE when nothing waits and no window is open.
XVCPUI_INLINE void xvcpui_prepare_events(xvcpu *vcpu)
{
    if (XVCPUI_UNLIKELY(xvcpui_events_pending(vcpu)))
        xvcpui_prepare_waiting(vcpu);
}

// For exits whose information has bit 12 set: an IRET that had already ended the blocking of NMIs
// faulted after that. It runs again, so NMIs are blocked until then. The bit means nothing when the
// exit came in the middle of an event's delivery. SDM "Information About NMI Unblocking Due to
// IRET".
static XVCPUI_COLD void xvcpui_block_nmis_again(xvcpu *vcpu)
{
    if ((xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_IDT_VECTORING_INFO) & XVCPU_INTR_INFO_VALID) == 0)
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY,
                          xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY) |
                              XVCPU_INTERRUPTIBILITY_NMI);
}

// After an exit that may have come in the middle of an event's delivery: takes the event back.
static void xvcpui_requeue(xvcpu *vcpu)
{
    // Bit 12 is undefined here and reserved in the entry field.
    const xvcpu_u64 kept = XVCPU_INTR_INFO_VALID | XVCPU_INTR_INFO_NESTED |
                           XVCPU_INTR_INFO_ERROR_CODE | XVCPU_INTR_INFO_TYPE_MASK |
                           XVCPU_INTR_INFO_VECTOR_MASK;
    xvcpu_event *event = &vcpu->queue.interrupted;
    const xvcpu_u32 info =
        (xvcpu_u32)(xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_IDT_VECTORING_INFO) & kept);
    if ((info & XVCPU_INTR_INFO_VALID) == 0)
        return;
    event->info = info;
    event->error_code = 0;
    event->length = 0;
    event->has_payload = 0; // the processor wrote CR2 and DR6 before it began to deliver
    if ((info & XVCPU_INTR_INFO_ERROR_CODE) != 0)
        event->error_code =
            (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_IDT_VECTORING_ERROR_CODE);
    if (xvcpui_has_length(info))
        event->length = (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_INSTR_LEN);
    if (XVCPUI_INTR_TYPE(info) == XVCPU_INTR_TYPE_NMI) {
        // The delivery that will now happen again had begun by blocking NMIs.
        const xvcpu_u64 blocking = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY);
        if ((blocking & XVCPU_INTERRUPTIBILITY_NMI) != 0)
            xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY,
                              blocking & ~XVCPU_INTERRUPTIBILITY_NMI);
    }
}

// -- Implementation: decode
// xvcpui_decode fills vcpu->exit from the VMCS. Which members hold something, by kind and reason:
//   always                reason, reason_word, rip, kind; answer is NONE
//   value                 what the guest writes: MOV to CR or DR, LMSW, OUT, WRMSR, XSETBV; else 0
//   qualification         where the SDM defines one for the reason, else 0. Left 0 for WRMSR, where
//                         it only tells WRMSRNS from WRMSR
//   instruction_info      where the reason has a layout (XVCPU_REASON_INFO_*), else 0
//   instruction_length    where it is the length of the instruction at rip, else 0. CPUID: 0 until
//                         the instruction is skipped
//   interruption_info,    exceptions and NMIs; external interrupts if they are acknowledged; else 0
//   interruption_error
//   u                     only the member of the kind or reason; the others are stale:
//                           io          IO
//                           cr, dr      CR, DR
//                           msr         MSR_READ, MSR_WRITE; XSETBV and RDPMC (the index in ECX)
//                           memory      MMIO; EPT_VIOLATION, EPT_MISCONFIG, SPP_EVENT
//                           exception   EXCEPTION_NMI
//                           task_switch TASK_SWITCH
//                           apic        APIC_ACCESS, APIC_WRITE
//                           descriptor  GDTR_IDTR_ACCESS, LDTR_TR_ACCESS
//                           vmcall      VMCALL
//                           vector      EXTERNAL_INTERRUPT, SIPI, VIRTUALIZED_EOI
// A reason this library does not know has all the raw words and kind PLAIN.

// True if the guest executes 64-bit code. The two VMCS fields it takes to know that are read only
// where it matters: compatibility and legacy code leave rubbish in the upper halves of registers.
static xvcpu_bool xvcpui_is_64bit_code(xvcpu *vcpu)
{
    return (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CS_AR) & XVCPU_AR_L) != 0 &&
           xvcpui_is_ia32e(vcpu);
}

XVCPUI_INLINE xvcpu_u64 xvcpui_low32(xvcpu_u64 value)
{
    return value & XVCPU_BITS64(31, 0);
}

// A linear or register value as wide as the guest's code makes it.
static xvcpu_u64 xvcpui_code_width(xvcpu *vcpu, xvcpu_u64 value)
{
    return (value >> 32) == 0 || xvcpui_is_64bit_code(vcpu) ? value : xvcpui_low32(value);
}

// General register as the source of an instruction without a size prefix of its own.
static xvcpu_u64 xvcpui_source_gpr(xvcpu *vcpu, xvcpu_u32 gpr)
{
    return xvcpui_code_width(vcpu, xvcpui_read_gpr(vcpu, gpr));
}

static XVCPUI_COLD void xvcpui_advance_flags(xvcpu *vcpu, xvcpu_u64 rflags)
{
    if ((rflags & XVCPU_RFLAGS_RF) != 0)
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RFLAGS, rflags & ~XVCPU_RFLAGS_RF);
    if ((rflags & XVCPU_RFLAGS_TF) != 0)
        xvcpui_pend_single_step(vcpu);
}

// Moves the guest past an instruction that was emulated: `length` bytes at `from`.
XVCPUI_INLINE void xvcpui_advance(xvcpu *vcpu, xvcpu_u64 from, xvcpu_u32 length)
{
    xvcpu_u64 to = from + length;
    xvcpu_u64 blocking, rflags;
    // Outside 64-bit code EIP wraps. Nothing to ask unless the upper half changes.
    if (XVCPUI_UNLIKELY((xvcpu_u32)to < length))
        to = xvcpui_code_width(vcpu, to);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_RIP, to);

    // The shadow of STI or MOV SS covered this instruction and no more.
    blocking = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY);
    if (XVCPUI_UNLIKELY((blocking & XVCPUI_SHADOW) != 0))
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY, blocking & ~XVCPUI_SHADOW);

    rflags = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_RFLAGS);
    if (XVCPUI_UNLIKELY((rflags & (XVCPU_RFLAGS_RF | XVCPU_RFLAGS_TF)) != 0))
        xvcpui_advance_flags(vcpu, rflags);
}

// The same for the instruction at exit.rip; the caller knows that there is one. VMREADs: length
// (unless decoded), interruptibility, RFLAGS; the rest is rare.
static void xvcpui_skip(xvcpu *vcpu)
{
    if (vcpu->exit.instruction_length == 0)
        vcpu->exit.instruction_length =
            (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_INSTR_LEN);
    xvcpui_advance(vcpu, vcpu->exit.rip, vcpu->exit.instruction_length);
}

XVCPU_API xvcpu_status xvcpu_skip_instruction(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_u32 has_length;
    xvcpu_bool skips;
    const xvcpu_status status = xvcpui_check_bound(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    // Reasons that sometimes come with an instruction: decoding has put its length there if so. The
    // same for a decoded memory access, whatever its reason.
    has_length = XVCPU_REASON_LENGTH(xvcpui_exit_reason_flags(vcpu->exit.reason));
    skips = has_length == XVCPU_REASON_LENGTH_ALWAYS ||
            ((has_length == XVCPU_REASON_LENGTH_SOMETIMES || vcpu->exit.kind == XVCPU_EXIT_MMIO) &&
             vcpu->exit.instruction_length != 0);
    if (!skips || vcpu->exit.kind == XVCPU_EXIT_KICKED)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "exit without an instruction",
                           vcpu->exit.reason, 0);
    xvcpui_skip(vcpu);
    return xvcpui_take_fault(vcpu, error);
}

// EDX:EAX.
XVCPUI_INLINE xvcpu_u64 xvcpui_edx_eax(const xvcpu *vcpu)
{
    return (vcpu->gpr[XVCPU_RDX] << 32) | xvcpui_low32(vcpu->gpr[XVCPU_RAX]);
}

static void xvcpui_read_length(xvcpu *vcpu)
{
    vcpu->exit.instruction_length = (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_INSTR_LEN);
}

static xvcpu_u64 xvcpui_read_qualification(xvcpu *vcpu)
{
    vcpu->exit.qualification = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_QUALIFICATION);
    return vcpu->exit.qualification;
}

static xvcpu_u32 xvcpui_read_instruction_info(xvcpu *vcpu)
{
    vcpu->exit.instruction_info = (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_INSTR_INFO);
    return vcpu->exit.instruction_info;
}

static xvcpu_u32 xvcpui_read_interruption(xvcpu *vcpu)
{
    const xvcpu_u32 info = (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_INTR_INFO);
    vcpu->exit.interruption_info = info;
    if ((info & XVCPU_INTR_INFO_VALID) != 0 && (info & XVCPU_INTR_INFO_ERROR_CODE) != 0)
        vcpu->exit.interruption_error =
            (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_INTR_ERROR_CODE);
    return info;
}

static void xvcpui_decode_exception(xvcpu *vcpu)
{
    xvcpu_exit_exception *exception = &vcpu->exit.u.exception;
    const xvcpu_u32 info = xvcpui_read_interruption(vcpu);
    exception->vector = (xvcpu_u8)XVCPUI_INTR_VECTOR(info);
    exception->type = (xvcpu_u8)XVCPUI_INTR_TYPE(info);
    exception->has_error = (info & XVCPU_INTR_INFO_ERROR_CODE) != 0;
    exception->error_code = vcpu->exit.interruption_error;
    exception->address = xvcpui_read_qualification(vcpu);
    // INT1, INT3 and INTO are at RIP. For other exceptions the field is undefined, or belongs to an
    // INT n during whose delivery they arose.
    if (exception->type == XVCPU_INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION ||
        exception->type == XVCPU_INTR_TYPE_SOFTWARE_EXCEPTION)
        xvcpui_read_length(vcpu);
    if ((info & XVCPU_INTR_INFO_NMI_UNBLOCKING) != 0 && exception->vector != XVCPU_EXCEPTION_DF)
        xvcpui_block_nmis_again(vcpu);
    // A #DB in a shadow drops the single-step trap that waits for the shadow's end, without which
    // the next entry would fail. SDM "Checks on Guest Non-Register State".
    if (exception->vector == XVCPU_EXCEPTION_DB &&
        (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_INTERRUPTIBILITY) & XVCPUI_SHADOW) != 0 &&
        (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_RFLAGS) & XVCPU_RFLAGS_TF) != 0)
        xvcpui_pend_single_step(vcpu);
}

static void xvcpui_decode_cr(xvcpu *vcpu)
{
    xvcpu_exit *exit = &vcpu->exit;
    xvcpu_exit_cr *cr = &exit->u.cr;
    const xvcpu_u64 qualification = xvcpui_read_qualification(vcpu);
    exit->kind = XVCPU_EXIT_CR;
    cr->number = (xvcpu_u8)XVCPU_PART(qualification, QUAL_CR_NUMBER);
    cr->access = (xvcpu_u8)XVCPU_PART(qualification, QUAL_CR_ACCESS);
    cr->gpr = (xvcpu_u8)XVCPU_PART(qualification, QUAL_CR_GPR);
    cr->memory = 0;
    cr->lmsw = 0;
    if (cr->access == XVCPU_QUAL_CR_ACCESS_WRITE) {
        exit->value = xvcpui_source_gpr(vcpu, cr->gpr);
    } else if (cr->access == XVCPU_QUAL_CR_ACCESS_LMSW) {
        // The processor has read the operand, be it register or memory.
        cr->memory = (qualification & XVCPU_QUAL_CR_LMSW_MEMORY) != 0;
        cr->lmsw = (xvcpu_u16)XVCPU_PART(qualification, QUAL_CR_LMSW_DATA);
        exit->value = cr->lmsw;
    }
    xvcpui_read_length(vcpu);
}

static void xvcpui_decode_dr(xvcpu *vcpu)
{
    xvcpu_exit *exit = &vcpu->exit;
    xvcpu_exit_dr *dr = &exit->u.dr;
    const xvcpu_u64 qualification = xvcpui_read_qualification(vcpu);
    exit->kind = XVCPU_EXIT_DR;
    dr->number = (xvcpu_u8)XVCPU_PART(qualification, QUAL_DR_NUMBER);
    dr->gpr = (xvcpu_u8)XVCPU_PART(qualification, QUAL_DR_GPR);
    dr->read = (qualification & XVCPU_QUAL_DR_READ) != 0;
    if (!dr->read)
        exit->value = xvcpui_source_gpr(vcpu, dr->gpr);
    xvcpui_read_length(vcpu);
}

// Address size of INS or OUTS where the processor does not report it: that of the code segment.
// An address-size prefix goes unseen there, and so does a segment prefix of OUTS.
static xvcpu_u8 xvcpui_default_address_bits(xvcpu *vcpu)
{
    if (xvcpui_is_64bit_code(vcpu))
        return 64;
    return (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CS_AR) & XVCPU_AR_DB) != 0 ? 32 : 16;
}

static void xvcpui_decode_string_io(xvcpu *vcpu, xvcpu_exit_io *io)
{
    io->segment = io->in ? XVCPU_ES : XVCPU_DS;
    if ((vcpu->caps.basic & XVCPU_VMX_BASIC_INS_OUTS_INFO) != 0) {
        const xvcpu_u32 info = xvcpui_read_instruction_info(vcpu);
        io->address_bits = (xvcpu_u8)(16U << (XVCPU_PART(info, INSTR_INFO_ADDRESS_SIZE) & 3U));
        if (!io->in) // INS always writes through ES; the field is undefined
            io->segment = (xvcpu_u8)XVCPU_PART(info, INSTR_INFO_SEGMENT);
    } else {
        io->address_bits = xvcpui_default_address_bits(vcpu);
    }
    io->gla = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_GUEST_LINEAR_ADDR);
    if (io->rep)
        io->count = vcpu->gpr[XVCPU_RCX];
    if (io->rep && io->address_bits < 64)
        io->count &= XVCPU_BIT64(io->address_bits) - 1U;
}

static void xvcpui_decode_io(xvcpu *vcpu)
{
    xvcpu_exit *exit = &vcpu->exit;
    xvcpu_exit_io *io = &exit->u.io;
    const xvcpu_u64 qualification = xvcpui_read_qualification(vcpu);
    exit->kind = XVCPU_EXIT_IO;
    io->port = (xvcpu_u16)XVCPU_PART(qualification, QUAL_IO_PORT);
    io->bytes = (xvcpu_u8)(XVCPU_PART(qualification, QUAL_IO_SIZE_MINUS_1) + 1U);
    io->in = (qualification & XVCPU_QUAL_IO_IN) != 0;
    io->string = (qualification & XVCPU_QUAL_IO_STRING) != 0;
    io->rep = (qualification & XVCPU_QUAL_IO_REP) != 0;
    io->immediate = (qualification & XVCPU_QUAL_IO_IMMEDIATE) != 0;
    io->address_bits = 0;
    io->segment = 0;
    io->gla = 0;
    io->count = 1;
    if (io->string)
        xvcpui_decode_string_io(vcpu, io);
    else if (!io->in)
        exit->value = vcpu->gpr[XVCPU_RAX] & (~(xvcpu_u64)0 >> (64U - 8U * io->bytes));
    xvcpui_read_length(vcpu);
}

// EPT violation, EPT misconfiguration and SPP event.
static void xvcpui_decode_memory(xvcpu *vcpu)
{
    xvcpu_exit_memory *memory = &vcpu->exit.u.memory;
    xvcpu_u64 qualification = 0; // a misconfiguration has none
    if (vcpu->exit.reason != XVCPU_EXIT_REASON_EPT_MISCONFIG)
        qualification = xvcpui_read_qualification(vcpu);
    xvcpui_zero(memory, sizeof *memory);
    memory->gpa = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_GUEST_PHYSICAL_ADDR);
    if (vcpu->exit.reason == XVCPU_EXIT_REASON_SPP_EVENT) {
        memory->write = 1; // only writes consult sub-page permissions
        memory->gla_valid = 1;
    } else {
        memory->read = (qualification & XVCPU_QUAL_EPT_READ) != 0;
        memory->write = (qualification & XVCPU_QUAL_EPT_WRITE) != 0;
        memory->execute = (qualification & XVCPU_QUAL_EPT_FETCH) != 0;
        memory->readable = (qualification & XVCPU_QUAL_EPT_READABLE) != 0;
        memory->writable = (qualification & XVCPU_QUAL_EPT_WRITABLE) != 0;
        memory->executable = (qualification & XVCPU_QUAL_EPT_EXECUTABLE) != 0;
        memory->gla_valid = (qualification & XVCPU_QUAL_EPT_LINEAR_VALID) != 0;
        memory->page_walk =
            memory->gla_valid && (qualification & XVCPU_QUAL_EPT_TRANSLATED) == 0;
    }
    if (memory->gla_valid)
        memory->gla = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_GUEST_LINEAR_ADDR);
    if (XVCPUI_UNLIKELY((qualification & XVCPU_QUAL_EPT_NMI_UNBLOCKING) != 0))
        xvcpui_block_nmis_again(vcpu);
}

static void xvcpui_decode_descriptor(xvcpu *vcpu)
{
    const xvcpu_u32 identity =
        (xvcpu_u32)XVCPU_PART(xvcpui_read_instruction_info(vcpu), INSTR_INFO_IDENTITY);
    xvcpu_exit_descriptor *descriptor = &vcpu->exit.u.descriptor;
    // 0 and 1 store, 2 and 3 load, the first or the second of the two tables of the reason.
    descriptor->store = identity < XVCPU_INSTR_INFO_LGDT;
    descriptor->table = (xvcpu_u8)(identity & 1U);
    if (vcpu->exit.reason == XVCPU_EXIT_REASON_LDTR_TR_ACCESS)
        descriptor->table = (xvcpu_u8)(descriptor->table + 2U);
    (void)xvcpui_read_qualification(vcpu);
    vcpu->exit.kind = XVCPU_EXIT_INSTRUCTION;
    xvcpui_read_length(vcpu);
}

// Reasons without details of their own, and reasons nobody knows.
static void xvcpui_decode_other(xvcpu *vcpu)
{
    const xvcpu_u32 flags = xvcpui_exit_reason_flags(vcpu->exit.reason);
    const xvcpu_u32 info = XVCPU_REASON_INFO(flags);
    if (XVCPU_REASON_LENGTH(flags) == XVCPU_REASON_LENGTH_ALWAYS) {
        vcpu->exit.kind = XVCPU_EXIT_INSTRUCTION;
        xvcpui_read_length(vcpu);
    }
    if (XVCPU_REASON_CLASS(flags) == XVCPU_REASON_CLASS_EVENT)
        return; // nothing but the reason is defined
    (void)xvcpui_read_qualification(vcpu);
    if (info != XVCPU_REASON_INFO_NONE && info != XVCPU_REASON_INFO_MSR_DATA)
        (void)xvcpui_read_instruction_info(vcpu);
    if (XVCPU_REASON_CLASS(flags) == XVCPU_REASON_CLASS_NONE)
        (void)xvcpui_read_interruption(vcpu);
}

static __attribute__((noinline)) void xvcpui_decode_details(xvcpu *vcpu)
{
    xvcpu_exit *exit = &vcpu->exit;
    xvcpu_u64 qualification;
    switch (exit->reason) {
    case XVCPU_EXIT_REASON_EXCEPTION_NMI: xvcpui_decode_exception(vcpu); break;
    case XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT:
        exit->u.vector = 0;
        if ((vcpu->controls[XVCPU_WORD_EXIT] & XVCPU_EXIT_ACK_INTR) != 0)
            exit->u.vector = (xvcpu_u8)XVCPUI_INTR_VECTOR(xvcpui_read_interruption(vcpu));
        break;
    case XVCPU_EXIT_REASON_SIPI:
    case XVCPU_EXIT_REASON_VIRTUALIZED_EOI:
        exit->u.vector = (xvcpu_u8)XVCPU_PART(xvcpui_read_qualification(vcpu), QUAL_SIPI_VECTOR);
        break;
    case XVCPU_EXIT_REASON_TASK_SWITCH:
        qualification = xvcpui_read_qualification(vcpu);
        exit->u.task_switch.selector = (xvcpu_u16)XVCPU_PART(qualification, QUAL_TASK_SELECTOR);
        exit->u.task_switch.source = (xvcpu_u8)XVCPU_PART(qualification, QUAL_TASK_SOURCE);
        // Through a gate the length, if any, is that of the event: see queue.interrupted.
        if (exit->u.task_switch.source != XVCPU_QUAL_TASK_SOURCE_GATE)
            xvcpui_read_length(vcpu);
        break;
    case XVCPU_EXIT_REASON_VMCALL:
        exit->kind = XVCPU_EXIT_INSTRUCTION;
        exit->u.vmcall.number = xvcpui_source_gpr(vcpu, XVCPU_RAX);
        xvcpui_read_length(vcpu);
        break;
    case XVCPU_EXIT_REASON_CR_ACCESS: xvcpui_decode_cr(vcpu); break;
    case XVCPU_EXIT_REASON_MOV_DR: xvcpui_decode_dr(vcpu); break;
    case XVCPU_EXIT_REASON_IO_INSTRUCTION: xvcpui_decode_io(vcpu); break;
    case XVCPU_EXIT_REASON_RDMSR:
        exit->kind = XVCPU_EXIT_MSR_READ;
        exit->u.msr.index = (xvcpu_u32)xvcpui_low32(vcpu->gpr[XVCPU_RCX]);
        xvcpui_read_length(vcpu);
        break;
    case XVCPU_EXIT_REASON_WRMSR:
        exit->kind = XVCPU_EXIT_MSR_WRITE;
        exit->u.msr.index = (xvcpu_u32)xvcpui_low32(vcpu->gpr[XVCPU_RCX]);
        exit->value = xvcpui_edx_eax(vcpu);
        xvcpui_read_length(vcpu);
        break;
    case XVCPU_EXIT_REASON_XSETBV:
        exit->kind = XVCPU_EXIT_INSTRUCTION;
        exit->u.msr.index = (xvcpu_u32)xvcpui_low32(vcpu->gpr[XVCPU_RCX]);
        exit->value = xvcpui_edx_eax(vcpu);
        xvcpui_read_length(vcpu);
        break;
    case XVCPU_EXIT_REASON_RDPMC:
        exit->u.msr.index = (xvcpu_u32)xvcpui_low32(vcpu->gpr[XVCPU_RCX]);
        exit->kind = XVCPU_EXIT_INSTRUCTION;
        xvcpui_read_length(vcpu);
        break;
    case XVCPU_EXIT_REASON_GETSEC:
    case XVCPU_EXIT_REASON_HLT:
    case XVCPU_EXIT_REASON_INVD:
    case XVCPU_EXIT_REASON_RDTSC:
    case XVCPU_EXIT_REASON_RDTSCP:
    case XVCPU_EXIT_REASON_MONITOR:
    case XVCPU_EXIT_REASON_PAUSE: // no qualification to read
        exit->kind = XVCPU_EXIT_INSTRUCTION;
        xvcpui_read_length(vcpu);
        break;
    case XVCPU_EXIT_REASON_APIC_ACCESS:
    case XVCPU_EXIT_REASON_APIC_WRITE:
        qualification = xvcpui_read_qualification(vcpu);
        exit->u.apic.offset = (xvcpu_u16)XVCPU_PART(qualification, QUAL_APIC_OFFSET);
        exit->u.apic.access = (xvcpu_u8)(exit->reason == XVCPU_EXIT_REASON_APIC_WRITE
                                             ? XVCPU_QUAL_APIC_TYPE_WRITE
                                             : XVCPU_PART(qualification, QUAL_APIC_TYPE));
        break;
    case XVCPU_EXIT_REASON_GDTR_IDTR_ACCESS:
    case XVCPU_EXIT_REASON_LDTR_TR_ACCESS: xvcpui_decode_descriptor(vcpu); break;
    case XVCPU_EXIT_REASON_EPT_VIOLATION:
    case XVCPU_EXIT_REASON_EPT_MISCONFIG:
    case XVCPU_EXIT_REASON_SPP_EVENT: xvcpui_decode_memory(vcpu); break;
    case XVCPU_EXIT_REASON_VMFUNC: // every way it can exit defines the length
        exit->kind = XVCPU_EXIT_INSTRUCTION;
        xvcpui_read_length(vcpu);
        break;
    case XVCPU_EXIT_REASON_PML_FULL:
    case XVCPU_EXIT_REASON_INSTRUCTION_TIMEOUT:
        if ((xvcpui_read_qualification(vcpu) & XVCPU_QUAL_PML_NMI_UNBLOCKING) != 0)
            xvcpui_block_nmis_again(vcpu);
        break;
    case XVCPU_EXIT_REASON_IO_SMI: (void)xvcpui_read_qualification(vcpu); break;
    default: xvcpui_decode_other(vcpu); break;
    }
}

// Fills everything in vcpu->exit but reason, reason_word and rip. To be called for every exit: what
// an exit does not have must not be left over from the one before.
XVCPUI_INLINE void xvcpui_decode(xvcpu *vcpu)
{
    xvcpu_exit *exit = &vcpu->exit;
    exit->kind = XVCPU_EXIT_PLAIN;
    exit->answer = XVCPU_ANSWER_NONE;
    exit->value = 0;
    exit->instruction_length = 0;
    exit->instruction_info = 0;
    exit->qualification = 0;
    exit->interruption_info = 0;
    exit->interruption_error = 0;
    // The most frequent exit, and one of which nothing else is asked.
    if (XVCPUI_LIKELY(exit->reason == XVCPU_EXIT_REASON_CPUID))
        exit->kind = XVCPU_EXIT_INSTRUCTION;
    else
        xvcpui_decode_details(vcpu);
}

// -- Implementation: MMIO decoder

// Optional. Devices are read and written with MOV and its extending forms: those are decoded, so
// that the caller answers a memory access like a port access. Everything else (read-modify-write,
// string, vector instructions) is left as it is, for a caller with an emulator of its own.
#ifdef XVCPU_MMIO_DECODER

#define XVCPUI_INSTRUCTION_BYTES 15U // the most an instruction can have

// Prefixes and opcodes. SDM 2 "Instruction Format", "MOV", "MOVZX", "MOVSX/MOVSXD".
#define XVCPUI_PREFIX_OPERAND_SIZE 0x66U
#define XVCPUI_PREFIX_ADDRESS_SIZE 0x67U
#define XVCPUI_PREFIX_ES 0x26U
#define XVCPUI_PREFIX_CS 0x2EU
#define XVCPUI_PREFIX_SS 0x36U
#define XVCPUI_PREFIX_DS 0x3EU
#define XVCPUI_PREFIX_FS 0x64U
#define XVCPUI_PREFIX_GS 0x65U
#define XVCPUI_PREFIX_REX 0x40U // and up to 4Fh, in 64-bit mode
#define XVCPUI_REX_MASK 0xF0U
#define XVCPUI_REX_R 4U
#define XVCPUI_REX_W 8U
#define XVCPUI_OPCODE_ESCAPE 0x0FU
#define XVCPUI_OPCODE_TWO_BYTE 0x100U // marks an opcode after the escape byte
#define XVCPUI_OPCODE_MOVSXD 0x63U
#define XVCPUI_OPCODE_STORE_8 0x88U
#define XVCPUI_OPCODE_STORE 0x89U
#define XVCPUI_OPCODE_LOAD_8 0x8AU
#define XVCPUI_OPCODE_LOAD 0x8BU
#define XVCPUI_OPCODE_LOAD_AL 0xA0U
#define XVCPUI_OPCODE_LOAD_RAX 0xA1U
#define XVCPUI_OPCODE_STORE_AL 0xA2U
#define XVCPUI_OPCODE_STORE_RAX 0xA3U
#define XVCPUI_OPCODE_STORE_IMMEDIATE_8 0xC6U
#define XVCPUI_OPCODE_STORE_IMMEDIATE 0xC7U
#define XVCPUI_OPCODE_MOVZX_8 (XVCPUI_OPCODE_TWO_BYTE | 0xB6U)
#define XVCPUI_OPCODE_MOVZX_16 (XVCPUI_OPCODE_TWO_BYTE | 0xB7U)
#define XVCPUI_OPCODE_MOVSX_8 (XVCPUI_OPCODE_TWO_BYTE | 0xBEU)
#define XVCPUI_OPCODE_MOVSX_16 (XVCPUI_OPCODE_TWO_BYTE | 0xBFU)

// The instruction, byte after byte. A byte that is not there makes it fail, at the end of it all.
typedef struct xvcpui_code {
    const xvcpu_u8 *bytes;
    xvcpu_u32 count, at;
    xvcpu_bool ended;
} xvcpui_code;

static xvcpu_u32 xvcpui_code_byte(xvcpui_code *code)
{
    if (code->at >= code->count || code->at >= XVCPUI_INSTRUCTION_BYTES) {
        code->ended = 1;
        return 0;
    }
    return code->bytes[code->at++];
}

static xvcpu_u64 xvcpui_code_number(xvcpui_code *code, xvcpu_u32 bytes)
{
    xvcpu_u64 number = 0;
    xvcpu_u32 i;
    for (i = 0; i < bytes; i++)
        number |= (xvcpu_u64)xvcpui_code_byte(code) << (8U * i);
    return number;
}

// Passes over the SIB byte and displacement that follow a ModRM byte which names memory.
static void xvcpui_code_pass_address(xvcpui_code *code, xvcpu_u32 modrm, xvcpu_u32 address_bytes)
{
    const xvcpu_u32 mod = modrm >> 6;
    const xvcpu_u32 rm = modrm & 7U;
    // Without a base register there is always a displacement of full size.
    xvcpu_bool no_base = mod == 0 && rm == (address_bytes == 2 ? 6U : 5U);
    if (address_bytes != 2 && rm == 4)
        no_base = (xvcpui_code_byte(code) & 7U) == 5 && mod == 0;
    if (mod == 1)
        (void)xvcpui_code_number(code, 1);
    else if (mod == 2 || no_base)
        (void)xvcpui_code_number(code, address_bytes == 2 ? 2 : 4);
}

// Decodes one instruction that reads or writes memory, of at most `count` bytes at `bytes`. True:
// `memory` has read, write and the members marked MMIO filled in, *immediate the value if it is
// in the instruction, *length its length. False: none of these is touched.
// `default_32bit_operand` is CS.D and is not used in 64-bit mode.
static xvcpu_bool xvcpui_decode_mmio(const xvcpu_u8 *bytes, xvcpu_u32 count, xvcpu_cpu_mode mode,
                                     xvcpu_bool default_32bit_operand, xvcpu_exit_memory *memory,
                                     xvcpu_u64 *immediate, xvcpu_u32 *length)
{
    const xvcpu_bool is_64bit = mode == XVCPU_MODE_64BIT;
    xvcpui_code code;
    xvcpu_bool operand_prefix = 0, address_prefix = 0, write = 0, sign = 0, has_immediate = 0;
    xvcpu_bool prefix = 1;
    xvcpu_u32 rex = 0, opcode = 0, modrm, gpr = XVCPU_RAX, shift = 0;
    xvcpu_u32 operand_bytes, address_bytes, gpr_bytes, memory_bytes;
    xvcpu_u64 number = 0;
    code.bytes = bytes;
    code.count = count;
    code.at = 0;
    code.ended = 0;
    // LOCK and the repeat prefixes mean something else, or #UD, with all that is decoded here.
    while (prefix && !code.ended) {
        opcode = xvcpui_code_byte(&code);
        if (is_64bit && (opcode & XVCPUI_REX_MASK) == XVCPUI_PREFIX_REX) {
            rex = opcode;
            continue;
        }
        switch (opcode) {
        case XVCPUI_PREFIX_OPERAND_SIZE: operand_prefix = 1; break;
        case XVCPUI_PREFIX_ADDRESS_SIZE: address_prefix = 1; break;
        case XVCPUI_PREFIX_ES:
        case XVCPUI_PREFIX_CS:
        case XVCPUI_PREFIX_SS:
        case XVCPUI_PREFIX_DS:
        case XVCPUI_PREFIX_FS:
        case XVCPUI_PREFIX_GS: break;
        default: prefix = 0; break;
        }
        // REX counts only right before the opcode.
        if (prefix)
            rex = 0;
    }
    if (opcode == XVCPUI_OPCODE_ESCAPE)
        opcode = XVCPUI_OPCODE_TWO_BYTE | xvcpui_code_byte(&code);
    if (is_64bit) {
        operand_bytes = (rex & XVCPUI_REX_W) != 0 ? 8 : operand_prefix ? 2 : 4;
        address_bytes = address_prefix ? 4 : 8;
    } else {
        operand_bytes = default_32bit_operand != operand_prefix ? 4 : 2;
        address_bytes = default_32bit_operand != address_prefix ? 4 : 2;
    }

    gpr_bytes = operand_bytes;
    memory_bytes = operand_bytes;
    switch (opcode) {
    case XVCPUI_OPCODE_STORE_8:
    case XVCPUI_OPCODE_STORE_AL:
    case XVCPUI_OPCODE_STORE_IMMEDIATE_8:
        write = 1;
        gpr_bytes = memory_bytes = 1;
        break;
    case XVCPUI_OPCODE_STORE:
    case XVCPUI_OPCODE_STORE_RAX:
    case XVCPUI_OPCODE_STORE_IMMEDIATE: write = 1; break;
    case XVCPUI_OPCODE_LOAD_8:
    case XVCPUI_OPCODE_LOAD_AL: gpr_bytes = memory_bytes = 1; break;
    case XVCPUI_OPCODE_LOAD:
    case XVCPUI_OPCODE_LOAD_RAX: break;
    case XVCPUI_OPCODE_MOVZX_8: memory_bytes = 1; break;
    case XVCPUI_OPCODE_MOVZX_16: memory_bytes = 2; break;
    case XVCPUI_OPCODE_MOVSX_8:
        memory_bytes = 1;
        sign = 1;
        break;
    case XVCPUI_OPCODE_MOVSX_16:
        memory_bytes = 2;
        sign = 1;
        break;
    case XVCPUI_OPCODE_MOVSXD:
        if (!is_64bit)
            return 0; // ARPL
        memory_bytes = operand_bytes == 2 ? 2 : 4;
        sign = 1;
        break;
    default: return 0;
    }

    if (opcode >= XVCPUI_OPCODE_LOAD_AL && opcode <= XVCPUI_OPCODE_STORE_RAX) {
        (void)xvcpui_code_number(&code, address_bytes);
    } else {
        modrm = xvcpui_code_byte(&code);
        if (modrm >> 6 == 3)
            return 0; // a register, no memory
        gpr = modrm >> 3 & 7U;
        xvcpui_code_pass_address(&code, modrm, address_bytes);
        if (opcode == XVCPUI_OPCODE_STORE_IMMEDIATE_8 || opcode == XVCPUI_OPCODE_STORE_IMMEDIATE) {
            if (gpr != 0)
                return 0; // another instruction
            has_immediate = 1;
            number = xvcpui_code_number(&code, memory_bytes == 8 ? 4 : memory_bytes);
            if (memory_bytes == 8)
                number = (xvcpu_u64)(xvcpu_i64)(xvcpu_i32)(xvcpu_u32)number;
        } else if (gpr_bytes == 1 && rex == 0 && gpr >= 4) {
            gpr -= 4; // AH, CH, DH, BH
            shift = 8;
        } else if ((rex & XVCPUI_REX_R) != 0) {
            gpr += 8;
        }
    }
    if (code.ended)
        return 0;
    memory->read = !write;
    memory->write = write;
    memory->bytes = (xvcpu_u8)memory_bytes;
    memory->gpr = (xvcpu_u8)gpr;
    memory->gpr_shift = (xvcpu_u8)shift;
    memory->gpr_bytes = (xvcpu_u8)gpr_bytes;
    memory->sign_extend = sign;
    memory->immediate = has_immediate;
    *immediate = number;
    *length = code.at;
    return 1;
}

// Turns an EPT violation into an exit that can be answered, if a plain access of a decodable
// instruction caused it. To be called right after xvcpui_decode; else the exit stays as it is.
static void xvcpui_decode_mmio_exit(xvcpu *vcpu)
{
    xvcpu_exit *const exit = &vcpu->exit;
    xvcpu_exit_memory memory;
    xvcpu_paging paging;
    xvcpu_translation translation;
    xvcpu_u8 bytes[XVCPUI_INSTRUCTION_BYTES];
    xvcpu_u64 rip = exit->rip;
    xvcpu_u64 value = 0;
    xvcpu_u32 length = 0;
    xvcpu_cpu_mode mode;
    // An event in delivery made the access, and not the instruction at RIP, if one is to go on.
    if (exit->reason != XVCPU_EXIT_REASON_EPT_VIOLATION || exit->u.memory.execute ||
        exit->u.memory.page_walk || !exit->u.memory.gla_valid ||
        (vcpu->queue.interrupted.info & (xvcpu_u32)XVCPU_INTR_INFO_VALID) != 0)
        return;
    if (xvcpu_get_paging(vcpu, &paging, (xvcpu_error *)XVCPUI_NULL) != XVCPU_STATUS_OK)
        return;
    mode = xvcpui_mode(vcpu);
    if (mode != XVCPU_MODE_64BIT)
        rip = xvcpui_low32(rip + xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CS_BASE));
    // What cannot be read lies, if all is well, behind the instruction.
    (void)xvcpu_read_guest(vcpu->ept, &paging, rip, bytes, sizeof bytes, XVCPU_ACCESS_EXECUTE,
                           &translation);
    xvcpui_copy(&memory, &exit->u.memory, sizeof memory);
    if (!xvcpui_decode_mmio(
            bytes, (xvcpu_u32)translation.bytes_done, mode,
            (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CS_AR) & XVCPU_AR_DB) != 0, &memory, &value,
            &length))
        return;
    // Another virtual CPU may have changed the instruction since the processor read it. An access
    // over the end of a page is two accesses, and one of them may be to memory.
    if (memory.write != exit->u.memory.write ||
        (memory.gpa & (XVCPU_PAGE_BYTES - 1U)) + memory.bytes > XVCPU_PAGE_BYTES)
        return;
    if (memory.write && !memory.immediate)
        value = xvcpui_read_gpr(vcpu, memory.gpr) >> memory.gpr_shift;
    if (memory.write && memory.bytes < sizeof value)
        value &= XVCPU_BIT64(8U * memory.bytes) - 1U;
    xvcpui_copy(&exit->u.memory, &memory, sizeof memory);
    exit->value = value;
    exit->instruction_length = length;
    exit->kind = XVCPU_EXIT_MMIO;
}

#endif // XVCPU_MMIO_DECODER

// -- Implementation: built-in handlers

// Each handler does all an instruction does, its faults included, or returns the exit untouched.

static xvcpu_action xvcpui_fault(xvcpu *vcpu, xvcpu_u32 vector)
{
    (void)xvcpu_raise(vcpu, vector, 0, 0, XVCPUI_NULL);
    return XVCPU_ACTION_INJECTED;
}

static xvcpu_action xvcpui_fault_gp(xvcpu *vcpu)
{
    return xvcpui_fault(vcpu, XVCPU_EXCEPTION_GP);
}

static xvcpu_action xvcpui_fault_ud(xvcpu *vcpu)
{
    return xvcpui_fault(vcpu, XVCPU_EXCEPTION_UD);
}

XVCPUI_INLINE xvcpu_action xvcpui_skipped(xvcpu *vcpu)
{
    xvcpui_skip(vcpu);
    return XVCPU_ACTION_HANDLED;
}

XVCPUI_INLINE void xvcpui_set_edx_eax(xvcpu *vcpu, xvcpu_u64 value)
{
    vcpu->gpr[XVCPU_RAX] = (xvcpu_u32)value;
    vcpu->gpr[XVCPU_RDX] = value >> 32;
}

// MOV from control and debug registers moves 64 bits in 64-bit mode, else 32.
static void xvcpui_set_operand(xvcpu *vcpu, xvcpu_u32 gpr, xvcpu_u64 value)
{
    xvcpui_write_gpr(vcpu, gpr, xvcpui_code_width(vcpu, value));
}

// -- Implementation: CPUID

// Feature bits that need no row of the feature table: no register state to switch, no control, no
// MSR but those emulated below. What is not listed here or there the guest does not see, so that a
// processor made after this file cannot show a guest what nobody handles.
#define XVCPUI_7_EBX_FDP_EXCPTN_ONLY XVCPU_BIT32(6)
#define XVCPUI_7_EBX_NO_FPU_CS_DS XVCPU_BIT32(13)
#define XVCPUI_7_EBX_AVX512_DQ XVCPU_BIT32(17)
#define XVCPUI_7_EBX_AVX512_IFMA XVCPU_BIT32(21)
#define XVCPUI_7_EBX_AVX512_CD XVCPU_BIT32(28)
#define XVCPUI_7_EBX_AVX512_BW XVCPU_BIT32(30)
#define XVCPUI_7_EBX_AVX512_VL XVCPU_BIT32(31)
#define XVCPUI_7_ECX_AVX512_VBMI XVCPU_BIT32(1)
#define XVCPUI_7_ECX_AVX512_VBMI2 XVCPU_BIT32(6)
#define XVCPUI_7_ECX_GFNI XVCPU_BIT32(8)
#define XVCPUI_7_ECX_VAES XVCPU_BIT32(9)
#define XVCPUI_7_ECX_VPCLMULQDQ XVCPU_BIT32(10)
#define XVCPUI_7_ECX_AVX512_VNNI XVCPU_BIT32(11)
#define XVCPUI_7_ECX_AVX512_BITALG XVCPU_BIT32(12)
#define XVCPUI_7_ECX_AVX512_VPOPCNTDQ XVCPU_BIT32(14)
#define XVCPUI_7_EDX_AVX512_4VNNIW XVCPU_BIT32(2)
#define XVCPUI_7_EDX_AVX512_4FMAPS XVCPU_BIT32(3)
#define XVCPUI_7_EDX_AVX512_VP2INTERSECT XVCPU_BIT32(8)
#define XVCPUI_7_EDX_AVX512_FP16 XVCPU_BIT32(23)
#define XVCPUI_7_1_EAX_SHA512 XVCPU_BIT32(0)
#define XVCPUI_7_1_EAX_SM3 XVCPU_BIT32(1)
#define XVCPUI_7_1_EAX_SM4 XVCPU_BIT32(2)
#define XVCPUI_7_1_EAX_AVX_VNNI XVCPU_BIT32(4)
#define XVCPUI_7_1_EAX_AVX512_BF16 XVCPU_BIT32(5)
#define XVCPUI_7_1_EAX_CMPCCXADD XVCPU_BIT32(7)
#define XVCPUI_7_1_EAX_FZRM XVCPU_BIT32(10)
#define XVCPUI_7_1_EAX_FSRS XVCPU_BIT32(11)
#define XVCPUI_7_1_EAX_FSRC XVCPU_BIT32(12)
#define XVCPUI_7_1_EAX_AVX_IFMA XVCPU_BIT32(23)
#define XVCPUI_6_EAX_ARAT XVCPU_BIT32(2)

#define XVCPUI_CPUID_TLB 0x00000018U
#define XVCPUI_CPUID_L2_CACHE 0x80000006U
#define XVCPUI_CPUID_DESCRIPTORS 0x00000002U
#define XVCPUI_CPUID_HYPERVISOR_LAST 0x400000FFU // of the range a hypervisor answers in
#define XVCPUI_CPUID_LAST_BASIC XVCPU_CPUID_LEAF_TOPOLOGY_V2
#define XVCPUI_CPUID_LAST_EXTENDED XVCPU_CPUID_LEAF_ADDRESS_SIZES
// Parts of leaf 4 EAX and leaf 11 that describe the topology of the machine, not the cache.
#define XVCPUI_4_EAX_SHARING XVCPU_BITS64(31, 14)
#define XVCPUI_TOPOLOGY_SMT 1U
#define XVCPUI_TOPOLOGY_CORE 2U
#define XVCPUI_TOPOLOGY_TYPE_SHIFT 8
// XSAVE area: the legacy part and the header; one component of leaf 13.
#define XVCPUI_XSAVE_BASE_BYTES 576U
#define XVCPUI_D_ECX_SUPERVISOR XVCPU_BIT32(0)
#define XVCPUI_D_ECX_ALIGNED XVCPU_BIT32(1)
#define XVCPUI_XSAVE_ALIGNMENT 64U

enum {
    XVCPUI_MASK_1_ECX = 0,
    XVCPUI_MASK_1_EDX,
    XVCPUI_MASK_7_EBX,
    XVCPUI_MASK_7_ECX,
    XVCPUI_MASK_7_EDX,
    XVCPUI_MASK_7_1_EAX,
    XVCPUI_MASK_D_1_EAX,
    XVCPUI_MASK_EXT_1_ECX,
    XVCPUI_MASK_EXT_1_EDX,
    XVCPUI_MASK_COUNT
};

XVCPUI_STATIC_ASSERT(XVCPUI_MASK_COUNT == XVCPU_CPUID_MASKS, "size of xvcpu.cpuid_masks");

typedef struct xvcpui_cpuid_row {
    xvcpu_u32 leaf;
    xvcpu_u8 subleaf;
    xvcpu_u8 reg;
    xvcpu_u32 plain;  // shown if the processor has it
    xvcpu_u32 sse;    // and if the guest sees SSE
    xvcpu_u32 avx;    // and if the guest sees AVX
    xvcpu_u32 avx512; // and if the guest sees AVX512
} xvcpui_cpuid_row;

// In the order of the enumeration above.
static const xvcpui_cpuid_row xvcpui_cpuid_rows[XVCPUI_MASK_COUNT] = {
    {XVCPU_CPUID_LEAF_FEATURES, 0, XVCPUI_REG_C,
     XVCPU_CPUID_1_ECX_CMPXCHG16B | XVCPU_CPUID_1_ECX_MOVBE | XVCPU_CPUID_1_ECX_POPCNT |
         XVCPU_CPUID_1_ECX_RDRAND,
     XVCPU_CPUID_1_ECX_SSE3 | XVCPU_CPUID_1_ECX_PCLMULQDQ | XVCPU_CPUID_1_ECX_SSSE3 |
         XVCPU_CPUID_1_ECX_SSE4_1 | XVCPU_CPUID_1_ECX_SSE4_2 | XVCPU_CPUID_1_ECX_AES,
     0, 0},
    {XVCPU_CPUID_LEAF_FEATURES, 0, XVCPUI_REG_D,
     XVCPU_CPUID_1_EDX_FPU | XVCPU_CPUID_1_EDX_MSR | XVCPU_CPUID_1_EDX_CX8 |
         XVCPU_CPUID_1_EDX_APIC | XVCPU_CPUID_1_EDX_MTRR | XVCPU_CPUID_1_EDX_MCA |
         XVCPU_CPUID_1_EDX_CMOV | XVCPU_CPUID_1_EDX_PAT | XVCPU_CPUID_1_EDX_PSE36 |
         XVCPU_CPUID_1_EDX_CLFSH | XVCPU_CPUID_1_EDX_MMX | XVCPU_CPUID_1_EDX_SS,
     XVCPU_CPUID_1_EDX_SSE2, 0, 0},
    {XVCPU_CPUID_LEAF_EXTENDED_FEATURES, 0, XVCPUI_REG_B,
     XVCPU_CPUID_7_EBX_TSC_ADJUST | XVCPU_CPUID_7_EBX_BMI1 | XVCPUI_7_EBX_FDP_EXCPTN_ONLY |
         XVCPU_CPUID_7_EBX_BMI2 | XVCPU_CPUID_7_EBX_ERMS | XVCPUI_7_EBX_NO_FPU_CS_DS |
         XVCPU_CPUID_7_EBX_RDSEED | XVCPU_CPUID_7_EBX_ADX | XVCPU_CPUID_7_EBX_CLFLUSHOPT |
         XVCPU_CPUID_7_EBX_CLWB,
     XVCPU_CPUID_7_EBX_SHA, 0,
     XVCPUI_7_EBX_AVX512_DQ | XVCPUI_7_EBX_AVX512_IFMA | XVCPUI_7_EBX_AVX512_CD |
         XVCPUI_7_EBX_AVX512_BW | XVCPUI_7_EBX_AVX512_VL},
    {XVCPU_CPUID_LEAF_EXTENDED_FEATURES, 0, XVCPUI_REG_C,
     XVCPU_CPUID_7_ECX_CLDEMOTE | XVCPU_CPUID_7_ECX_MOVDIRI | XVCPU_CPUID_7_ECX_MOVDIR64B,
     XVCPUI_7_ECX_GFNI, XVCPUI_7_ECX_VAES | XVCPUI_7_ECX_VPCLMULQDQ,
     XVCPUI_7_ECX_AVX512_VBMI | XVCPUI_7_ECX_AVX512_VBMI2 | XVCPUI_7_ECX_AVX512_VNNI |
         XVCPUI_7_ECX_AVX512_BITALG | XVCPUI_7_ECX_AVX512_VPOPCNTDQ},
    {XVCPU_CPUID_LEAF_EXTENDED_FEATURES, 0, XVCPUI_REG_D,
     XVCPU_CPUID_7_EDX_FSRM | XVCPU_CPUID_7_EDX_MD_CLEAR | XVCPU_CPUID_7_EDX_SERIALIZE, 0, 0,
     XVCPUI_7_EDX_AVX512_4VNNIW | XVCPUI_7_EDX_AVX512_4FMAPS | XVCPUI_7_EDX_AVX512_VP2INTERSECT |
         XVCPUI_7_EDX_AVX512_FP16},
    {XVCPU_CPUID_LEAF_EXTENDED_FEATURES, 1, XVCPUI_REG_A,
     XVCPUI_7_1_EAX_CMPCCXADD | XVCPUI_7_1_EAX_FZRM | XVCPUI_7_1_EAX_FSRS | XVCPUI_7_1_EAX_FSRC, 0,
     XVCPUI_7_1_EAX_SHA512 | XVCPUI_7_1_EAX_SM3 | XVCPUI_7_1_EAX_SM4 | XVCPUI_7_1_EAX_AVX_VNNI |
         XVCPUI_7_1_EAX_AVX_IFMA,
     XVCPUI_7_1_EAX_AVX512_BF16},
    {XVCPU_CPUID_LEAF_XSAVE, 1, XVCPUI_REG_A,
     XVCPU_CPUID_D_1_EAX_XSAVEOPT | XVCPU_CPUID_D_1_EAX_XSAVEC | XVCPU_CPUID_D_1_EAX_XGETBV_1, 0, 0,
     0},
    {XVCPU_CPUID_LEAF_EXTENDED_SIGNATURE, 0, XVCPUI_REG_C,
     XVCPU_CPUID_EXT_1_ECX_LAHF | XVCPU_CPUID_EXT_1_ECX_LZCNT | XVCPU_CPUID_EXT_1_ECX_PREFETCHW, 0,
     0, 0},
    {XVCPU_CPUID_LEAF_EXTENDED_SIGNATURE, 0, XVCPUI_REG_D, 0, 0, 0, 0},
};

// Features never change once the virtual CPU exists, and CPUID is the exit that counts.
static XVCPUI_COLD void xvcpui_make_cpuid_masks(xvcpu *vcpu)
{
    xvcpu_u32 i, feature;
    for (i = 0; i < XVCPUI_MASK_COUNT; i++) {
        const xvcpui_cpuid_row *row = &xvcpui_cpuid_rows[i];
        xvcpu_u32 mask = row->plain;
        if (xvcpui_has(vcpu, XVCPU_FEATURE_SSE))
            mask |= row->sse;
        if (xvcpui_has(vcpu, XVCPU_FEATURE_AVX))
            mask |= row->avx;
        if (xvcpui_has(vcpu, XVCPU_FEATURE_AVX512))
            mask |= row->avx512;
        for (feature = 0; feature < XVCPU_FEATURE_COUNT; feature++) {
            const xvcpui_feature_row *it = &xvcpui_feature_rows[feature];
            if (xvcpui_has(vcpu, (xvcpu_feature)feature) && it->leaf == row->leaf &&
                it->subleaf == row->subleaf && it->reg == row->reg)
                mask |= it->bits;
        }
        vcpu->cpuid_masks[i] = mask;
    }
    if (vcpu->desc.show_monitor)
        vcpu->cpuid_masks[XVCPUI_MASK_1_ECX] |= XVCPU_CPUID_1_ECX_MONITOR;
    vcpu->cpuid_1_ebx = (xvcpu_u32)(XVCPU_PART_OF(CPUID_1_EBX_LOGICAL_COUNT, 1) |
                                    XVCPU_PART_OF(CPUID_1_EBX_APIC_ID, vcpu->desc.apic_id));
    vcpu->cpuid_1_ecx =
        vcpu->desc.hide_hypervisor ? 0U : (xvcpu_u32)XVCPU_CPUID_1_ECX_HYPERVISOR;
    vcpu->cpuid_ready = 1;
}

XVCPUI_INLINE void xvcpui_cpuid_features(const xvcpu *vcpu, xvcpu_cpuid_regs *regs)
{
    const xvcpu_u64 topology =
        XVCPU_CPUID_1_EBX_LOGICAL_COUNT_MASK | XVCPU_CPUID_1_EBX_APIC_ID_MASK;
    regs->ebx = (regs->ebx & (xvcpu_u32)~topology) | vcpu->cpuid_1_ebx;
    regs->ecx = (regs->ecx & vcpu->cpuid_masks[XVCPUI_MASK_1_ECX]) | vcpu->cpuid_1_ecx;
    regs->edx &= vcpu->cpuid_masks[XVCPUI_MASK_1_EDX];
    if (vcpu->osxsave)
        regs->ecx |= XVCPU_CPUID_1_ECX_OSXSAVE;
}

static void xvcpui_cpuid_leaf_7(const xvcpu *vcpu, xvcpu_u32 subleaf, xvcpu_cpuid_regs *regs)
{
    if (subleaf == 0) {
        regs->eax = regs->eax != 0 ? 1U : 0U; // the highest subleaf
        regs->ebx &= vcpu->cpuid_masks[XVCPUI_MASK_7_EBX];
        regs->ecx &= vcpu->cpuid_masks[XVCPUI_MASK_7_ECX];
        regs->edx &= vcpu->cpuid_masks[XVCPUI_MASK_7_EDX];
        if (vcpu->ospke)
            regs->ecx |= XVCPU_CPUID_7_ECX_OSPKE;
        return;
    }
    regs->eax = subleaf == 1 ? regs->eax & vcpu->cpuid_masks[XVCPUI_MASK_7_1_EAX] : 0;
    regs->ebx = 0;
    regs->ecx = 0;
    regs->edx = 0;
}

// Bytes of an XSAVE area for `components`. Standard form: each component has its fixed place.
static xvcpu_u32 xvcpui_xsave_bytes(xvcpu_u64 components, xvcpu_bool compacted)
{
    xvcpu_u32 bytes = XVCPUI_XSAVE_BASE_BYTES;
    xvcpu_u32 i;
    for (i = 2; i < 63; i++) {
        xvcpu_cpuid_regs component;
        if ((components >> i & 1U) == 0)
            continue;
        xvcpu_cpuid(XVCPU_CPUID_LEAF_XSAVE, i, &component);
        if (compacted) {
            if ((component.ecx & XVCPUI_D_ECX_ALIGNED) != 0)
                bytes = (bytes + XVCPUI_XSAVE_ALIGNMENT - 1U) & ~(XVCPUI_XSAVE_ALIGNMENT - 1U);
            bytes += component.eax;
        } else if (component.ebx + component.eax > bytes) {
            bytes = component.ebx + component.eax;
        }
    }
    return bytes;
}

static void xvcpui_cpuid_xsave(const xvcpu *vcpu, xvcpu_u32 subleaf, xvcpu_cpuid_regs *regs)
{
    const xvcpu_u32 compacts = XVCPU_CPUID_D_1_EAX_XSAVEC | XVCPU_CPUID_D_1_EAX_XSAVES;
    const xvcpu_u64 allowed = vcpu->xcr0_allowed | vcpu->xss_allowed;
    if (!xvcpui_has(vcpu, XVCPU_FEATURE_XSAVE)) {
        xvcpui_zero(regs, sizeof *regs);
    } else if (subleaf == 0) {
        regs->eax = (xvcpu_u32)vcpu->xcr0_allowed;
        regs->ebx = xvcpui_xsave_bytes(vcpu->xcr0, 0);
        regs->ecx = xvcpui_xsave_bytes(vcpu->xcr0_allowed, 0);
        regs->edx = (xvcpu_u32)(vcpu->xcr0_allowed >> 32);
    } else if (subleaf == 1) {
        regs->eax &= vcpu->cpuid_masks[XVCPUI_MASK_D_1_EAX];
        regs->ebx = (regs->eax & compacts) != 0 ? xvcpui_xsave_bytes(vcpu->xcr0 | vcpu->xss, 1) : 0;
        regs->ecx = (xvcpu_u32)vcpu->xss_allowed;
        regs->edx = (xvcpu_u32)(vcpu->xss_allowed >> 32);
    } else if (subleaf < 63 && (allowed >> subleaf & 1U) != 0) {
        regs->ecx &= XVCPUI_D_ECX_SUPERVISOR | XVCPUI_D_ECX_ALIGNED;
        regs->edx = 0;
    } else {
        xvcpui_zero(regs, sizeof *regs);
    }
}

// One logical processor in one core: what the machine below looks like is not the guest's.
static void xvcpui_cpuid_topology(const xvcpu *vcpu, xvcpu_u32 subleaf, xvcpu_cpuid_regs *regs)
{
    regs->eax = 0;
    regs->ebx = subleaf < 2 ? 1U : 0U;
    regs->ecx = subleaf & 0xFFU;
    if (subleaf == 0)
        regs->ecx |= XVCPUI_TOPOLOGY_SMT << XVCPUI_TOPOLOGY_TYPE_SHIFT;
    else if (subleaf == 1)
        regs->ecx |= XVCPUI_TOPOLOGY_CORE << XVCPUI_TOPOLOGY_TYPE_SHIFT;
    regs->edx = vcpu->desc.apic_id;
}

static void xvcpui_cpuid_hypervisor(const xvcpu *vcpu, xvcpu_u32 leaf, xvcpu_cpuid_regs *regs)
{
    static const char name[12] = {'x', 'v', 'c', 'p', 'u', 'x', 'v', 'c', 'p', 'u', 0, 0};
    const char *id = vcpu->desc.hypervisor_id;
    xvcpu_u32 i;
    xvcpui_zero(regs, sizeof *regs);
    if (leaf != XVCPU_CPUID_LEAF_HYPERVISOR)
        return;
    for (i = 0; i < sizeof name && id[i] == 0; i++)
        ;
    if (i == sizeof name)
        id = name;
    regs->eax = XVCPU_CPUID_LEAF_HYPERVISOR; // the highest leaf of the range
    xvcpui_copy(&regs->ebx, id, 4);
    xvcpui_copy(&regs->ecx, id + 4, 4);
    xvcpui_copy(&regs->edx, id + 8, 4);
}

// A leaf beyond the last answers as the last basic one does. SDM "CPUID - CPU Identification".
static xvcpu_u32 xvcpui_cpuid_effective_leaf(const xvcpu *vcpu, xvcpu_u32 leaf)
{
    const xvcpu_u32 basic = vcpu->caps.max_leaf < XVCPUI_CPUID_LAST_BASIC ? vcpu->caps.max_leaf
                                                                          : XVCPUI_CPUID_LAST_BASIC;
    if (XVCPUI_LIKELY(leaf <= basic))
        return leaf;
    if (leaf >= XVCPU_CPUID_LEAF_HYPERVISOR && leaf <= XVCPUI_CPUID_HYPERVISOR_LAST &&
        !vcpu->desc.hide_hypervisor)
        return leaf;
    if (leaf >= XVCPU_CPUID_LEAF_EXTENDED && leaf <= XVCPUI_CPUID_LAST_EXTENDED &&
        leaf <= vcpu->caps.max_ext_leaf)
        return leaf;
    return basic;
}

static void xvcpui_cpuid_answer(xvcpu *vcpu, xvcpu_u32 leaf, xvcpu_u32 subleaf,
                                xvcpu_cpuid_regs *regs)
{
    leaf = xvcpui_cpuid_effective_leaf(vcpu, leaf);
    if (leaf >= XVCPU_CPUID_LEAF_HYPERVISOR && leaf <= XVCPUI_CPUID_HYPERVISOR_LAST) {
        xvcpui_cpuid_hypervisor(vcpu, leaf, regs);
        return;
    }
    if (XVCPUI_UNLIKELY(!vcpu->cpuid_ready))
        xvcpui_make_cpuid_masks(vcpu);
    xvcpu_cpuid(leaf, subleaf, regs);
    switch (leaf) {
    case XVCPU_CPUID_LEAF_VENDOR:
        if (regs->eax > XVCPUI_CPUID_LAST_BASIC)
            regs->eax = XVCPUI_CPUID_LAST_BASIC;
        break;
    case XVCPU_CPUID_LEAF_FEATURES:
        xvcpui_cpuid_features(vcpu, regs);
        break;
    case XVCPU_CPUID_LEAF_CACHE:
        regs->eax &= (xvcpu_u32)~XVCPUI_4_EAX_SHARING;
        break;
    case XVCPU_CPUID_LEAF_MONITOR:
        if (!vcpu->desc.show_monitor)
            xvcpui_zero(regs, sizeof *regs);
        break;
    case XVCPU_CPUID_LEAF_THERMAL: // the timer of an emulated APIC runs in every power state
        regs->eax &= XVCPUI_6_EAX_ARAT;
        regs->ebx = 0;
        regs->ecx = 0;
        regs->edx = 0;
        break;
    case XVCPU_CPUID_LEAF_EXTENDED_FEATURES:
        xvcpui_cpuid_leaf_7(vcpu, subleaf, regs);
        break;
    case XVCPU_CPUID_LEAF_TOPOLOGY:
    case XVCPU_CPUID_LEAF_TOPOLOGY_V2:
        xvcpui_cpuid_topology(vcpu, subleaf, regs);
        break;
    case XVCPU_CPUID_LEAF_XSAVE:
        xvcpui_cpuid_xsave(vcpu, subleaf, regs);
        break;
    case XVCPU_CPUID_LEAF_EXTENDED:
        if (regs->eax > XVCPUI_CPUID_LAST_EXTENDED)
            regs->eax = XVCPUI_CPUID_LAST_EXTENDED;
        break;
    case XVCPU_CPUID_LEAF_EXTENDED_SIGNATURE:
        regs->ecx &= vcpu->cpuid_masks[XVCPUI_MASK_EXT_1_ECX];
        regs->edx &= vcpu->cpuid_masks[XVCPUI_MASK_EXT_1_EDX];
        break;
    case XVCPU_CPUID_LEAF_INVARIANT_TSC:
        regs->eax = 0;
        regs->ebx = 0;
        regs->ecx = 0;
        regs->edx &= XVCPU_CPUID_EXT_7_EDX_INVARIANT_TSC;
        break;
    case XVCPU_CPUID_LEAF_ADDRESS_SIZES:
        regs->eax = (xvcpu_u32)(XVCPU_PART_OF(CPUID_EXT_8_EAX_PHYSICAL_BITS,
                                              vcpu->caps.physical_bits) |
                                XVCPU_PART_OF(CPUID_EXT_8_EAX_LINEAR_BITS,
                                              xvcpui_linear_bits(vcpu)));
        regs->ebx = 0;
        regs->ecx = 0;
        regs->edx = 0;
        break;
    // What these say of caches, clocks and the brand holds for the guest as well.
    case XVCPUI_CPUID_DESCRIPTORS:
    case XVCPU_CPUID_LEAF_TSC:
    case XVCPU_CPUID_LEAF_FREQUENCY:
    case XVCPUI_CPUID_TLB:
    case XVCPU_CPUID_LEAF_BRAND_FIRST:
    case XVCPU_CPUID_LEAF_BRAND_FIRST + 1U:
    case XVCPU_CPUID_LEAF_BRAND_LAST:
    case XVCPUI_CPUID_L2_CACHE:
        break;
    default: // performance counters, tracing, enclaves, ... and what comes after this file
        xvcpui_zero(regs, sizeof *regs);
        break;
    }
}

static xvcpu_bool xvcpui_cpuid_from_table(const xvcpu *vcpu, xvcpu_u32 leaf, xvcpu_u32 subleaf,
                                          xvcpu_cpuid_regs *regs)
{
    xvcpu_u32 i;
    for (i = 0; i < vcpu->desc.cpuid_entries; i++) {
        const xvcpu_cpuid_entry *entry = &vcpu->desc.cpuid_table[i];
        if (entry->leaf == leaf && (entry->any_subleaf || entry->subleaf == subleaf)) {
            *regs = entry->regs;
            return 1;
        }
    }
    return 0;
}

XVCPUI_INLINE void xvcpui_set_cpuid(xvcpu *vcpu, const xvcpu_cpuid_regs *regs)
{
    vcpu->gpr[XVCPU_RAX] = regs->eax;
    vcpu->gpr[XVCPU_RBX] = regs->ebx;
    vcpu->gpr[XVCPU_RCX] = regs->ecx;
    vcpu->gpr[XVCPU_RDX] = regs->edx;
}

static __attribute__((noinline)) void xvcpui_emulate_cpuid(xvcpu *vcpu)
{
    const xvcpu_u32 leaf = (xvcpu_u32)vcpu->gpr[XVCPU_RAX];
    const xvcpu_u32 subleaf = (xvcpu_u32)vcpu->gpr[XVCPU_RCX];
    xvcpu_cpuid_regs regs;
    if (XVCPUI_LIKELY(vcpu->desc.cpuid_entries == 0) ||
        !xvcpui_cpuid_from_table(vcpu, leaf, subleaf, &regs))
        xvcpui_cpuid_answer(vcpu, leaf, subleaf, &regs);
    if (XVCPUI_UNLIKELY(vcpu->desc.cpuid_hook != 0)) {
        xvcpu_error why;
        vcpu->desc.cpuid_hook(vcpu, leaf, subleaf, &regs, vcpu->context);
        // It may have looked at another virtual CPU, whose VMCS is current then.
        if (xvcpui_check_bound(vcpu, &why) != XVCPU_STATUS_OK)
            xvcpui_copy(&vcpu->fault, &why, sizeof why);
    }
    xvcpui_set_cpuid(vcpu, &regs);
}

static xvcpu_action xvcpui_handle_cpuid(xvcpu *vcpu)
{
    xvcpui_emulate_cpuid(vcpu);
    if (XVCPUI_UNLIKELY(vcpu->fault.status != XVCPU_STATUS_OK))
        return XVCPU_ACTION_RETURN;
    return xvcpui_skipped(vcpu);
}

// True if CPUID exits need not come by the general way: nobody else has a say in the answers.
XVCPUI_INLINE xvcpu_bool xvcpui_cpuid_is_plain(const xvcpu *vcpu)
{
    return vcpu->cpuid_ready && vcpu->desc.cpuid_entries == 0 && !vcpu->desc.cpuid_hook &&
           !vcpu->handlers[XVCPU_EXIT_REASON_CPUID];
}

// The whole of a CPUID exit where xvcpui_cpuid_is_plain. Of the record in vcpu->exit it leaves only
// reason and rip, for XVCPU_TRACE_ENTRY. Leaf 1 is what guests ask all the time, to serialize.
XVCPUI_INLINE void xvcpui_plain_cpuid(xvcpu *vcpu)
{
    const xvcpu_u64 rip = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_RIP);
    const xvcpu_u32 length = (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_INSTR_LEN);
    vcpu->exit.reason = XVCPU_EXIT_REASON_CPUID;
    vcpu->exit.rip = rip;
    vcpu->statistics.exits[XVCPU_EXIT_REASON_CPUID]++;
    if (XVCPUI_LIKELY((xvcpu_u32)vcpu->gpr[XVCPU_RAX] == XVCPU_CPUID_LEAF_FEATURES)) {
        xvcpu_cpuid_regs regs;
        xvcpu_cpuid(XVCPU_CPUID_LEAF_FEATURES, 0, &regs);
        xvcpui_cpuid_features(vcpu, &regs);
        xvcpui_set_cpuid(vcpu, &regs);
    } else {
        xvcpu_cpuid_regs regs;
        xvcpui_cpuid_answer(vcpu, (xvcpu_u32)vcpu->gpr[XVCPU_RAX], (xvcpu_u32)vcpu->gpr[XVCPU_RCX],
                            &regs);
        xvcpui_set_cpuid(vcpu, &regs);
    }
    xvcpui_advance(vcpu, rip, length);
}

// -- Implementation: control and debug registers

static xvcpu_action xvcpui_cr0_write(xvcpu *vcpu, xvcpu_exit *exit, xvcpu_u64 value)
{
    if (!xvcpui_cr0_can_run(vcpu, value)) {
        if (xvcpui_check_cr0(vcpu, value) != 0)
            return xvcpui_fault_gp(vcpu);
        // Legal, but this processor cannot run it: the caller may emulate it.
        exit->kind = XVCPU_EXIT_CR;
        return XVCPU_ACTION_RETURN;
    }
    if (xvcpui_set_cr0_checked(vcpu, value))
        return xvcpui_fault_gp(vcpu);
    return xvcpui_skipped(vcpu);
}

static xvcpu_action xvcpui_cr_write(xvcpu *vcpu, xvcpu_exit *exit)
{
    const xvcpu_u64 value = exit->value;
    xvcpu_bool fault;
    switch (exit->u.cr.number) {
    case 0:
        return xvcpui_cr0_write(vcpu, exit, value);
    case 3:
        fault = xvcpui_set_cr3_checked(vcpu, value);
        break;
    case 4:
        fault = xvcpui_set_cr4_checked(vcpu, value);
        break;
    case 8:
        fault = (value & ~XVCPU_CR8_TPR_MASK) != 0;
        if (!fault)
            vcpu->cr8 = value;
        break;
    default:
        exit->kind = XVCPU_EXIT_CR;
        return XVCPU_ACTION_RETURN;
    }
    return fault ? xvcpui_fault_gp(vcpu) : xvcpui_skipped(vcpu);
}

static xvcpu_action xvcpui_cr_read(xvcpu *vcpu, xvcpu_exit *exit)
{
    switch (exit->u.cr.number) {
    case 3:
        xvcpui_set_operand(vcpu, exit->u.cr.gpr, xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_CR3));
        break;
    case 8:
        xvcpui_set_operand(vcpu, exit->u.cr.gpr, vcpu->cr8);
        break;
    default: // no other read exits
        exit->kind = XVCPU_EXIT_CR;
        return XVCPU_ACTION_RETURN;
    }
    return xvcpui_skipped(vcpu);
}

// Privilege was checked by the processor: that fault comes before the exit.
static xvcpu_action xvcpui_handle_cr(xvcpu *vcpu, xvcpu_exit *exit)
{
    const xvcpu_u64 status_word = XVCPU_CR0_PE | XVCPU_CR0_MP | XVCPU_CR0_EM | XVCPU_CR0_TS;
    xvcpu_u64 cr0;
    switch (exit->u.cr.access) {
    case XVCPU_QUAL_CR_ACCESS_WRITE:
        return xvcpui_cr_write(vcpu, exit);
    case XVCPU_QUAL_CR_ACCESS_READ:
        return xvcpui_cr_read(vcpu, exit);
    case XVCPU_QUAL_CR_ACCESS_CLTS:
        return xvcpui_cr0_write(vcpu, exit, xvcpui_guest_cr0(vcpu) & ~XVCPU_CR0_TS);
    default: // LMSW sets PE but never clears it
        cr0 = xvcpui_guest_cr0(vcpu);
        return xvcpui_cr0_write(vcpu, exit,
                                (cr0 & ~(status_word & ~XVCPU_CR0_PE)) |
                                    (exit->u.cr.lmsw & status_word));
    }
}

// MOV DR exits before the processor looks at DR4 and DR5, at the privilege and at DR7.GD: all the
// faults are ours to raise, in this order. SDM "Instructions That Cause VM Exits Conditionally".
static xvcpu_action xvcpui_handle_dr(xvcpu *vcpu, xvcpu_exit *exit)
{
    xvcpu_u32 number = exit->u.dr.number;
    const xvcpu_u64 dr7 = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_DR7);
    if (number == 4 || number == 5) {
        if ((xvcpui_guest_cr4(vcpu) & XVCPU_CR4_DE) != 0)
            return xvcpui_fault_ud(vcpu);
        number += 2; // old names of DR6 and DR7
    }
    if (xvcpui_cpl(vcpu) != 0)
        return xvcpui_fault_gp(vcpu);
    if ((dr7 & XVCPU_DR7_GD) != 0) {
        (void)xvcpu_raise(vcpu, XVCPU_EXCEPTION_DB, 0, XVCPU_DR6_BD, XVCPUI_NULL);
        return XVCPU_ACTION_INJECTED;
    }
    if (exit->u.dr.read) {
        xvcpui_set_operand(vcpu, exit->u.dr.gpr,
                           number == 7   ? dr7
                           : number == 6 ? xvcpui_guest_dr6(vcpu)
                                         : vcpu->dr[number & 3U]);
    } else {
        const xvcpu_u64 value = exit->value;
        if (number >= 6 && (value & XVCPUI_UPPER_HALF) != 0)
            return xvcpui_fault_gp(vcpu);
        if (number == 7)
            xvcpui_set_dr7(vcpu, value);
        else if (number == 6)
            xvcpui_set_dr6(vcpu, value);
        else
            xvcpui_set_dr(vcpu, number, value);
    }
    return xvcpui_skipped(vcpu);
}

// #UD for CR4.OSXSAVE clear came before the exit: that bit of the register is the guest's.
static xvcpu_action xvcpui_handle_xsetbv(xvcpu *vcpu, xvcpu_exit *exit)
{
    (void)exit;
    if (xvcpui_cpl(vcpu) != 0 || (xvcpu_u32)vcpu->gpr[XVCPU_RCX] != 0 ||
        xvcpui_set_xcr0_checked(vcpu, xvcpui_edx_eax(vcpu)))
        return xvcpui_fault_gp(vcpu);
    return xvcpui_skipped(vcpu);
}

// -- Implementation: MSRs

typedef enum xvcpui_msr_outcome {
    XVCPUI_MSR_DONE = 0,
    XVCPUI_MSR_FAULT,  // #GP(0)
    XVCPUI_MSR_UNKNOWN // the caller's
} xvcpui_msr_outcome;

#define XVCPUI_MTRR_VARIABLE 8U // ranges
#define XVCPUI_MICROCODE_REVISION 1U
// Bits of IA32_MISC_ENABLE a guest may change: they mean nothing here.
#define XVCPUI_MISC_ENABLE_WRITABLE                                                                \
    (XVCPU_MISC_ENABLE_FAST_STRING | XVCPU_MISC_ENABLE_XTPR_DISABLE)

__extension__ typedef unsigned __int128 xvcpui_u128;
#define XVCPUI_TSC_FRACTION_BITS 48

// SDM "Time-Stamp Counter Offsetting and Scaling".
static xvcpu_u64 xvcpui_scaled_tsc(xvcpu *vcpu)
{
    const xvcpu_u64 tsc = xvcpu_rdtsc();
    xvcpui_u128 product;
    if (!xvcpui_control(vcpu, XVCPU_WORD_PROC2, XVCPU_PROC2_TSC_SCALING))
        return tsc;
    product = (xvcpui_u128)tsc * xvcpui_vmcs_read(vcpu, XVCPU_VMCS_CTRL_TSC_MULTIPLIER);
    return (xvcpu_u64)(product >> XVCPUI_TSC_FRACTION_BITS);
}

XVCPUI_INLINE xvcpu_u64 xvcpui_guest_tsc(xvcpu *vcpu)
{
    return xvcpui_scaled_tsc(vcpu) + xvcpui_vmcs_read(vcpu, XVCPU_VMCS_CTRL_TSC_OFFSET);
}

// IA32_TSC_ADJUST follows every write of the counter. SDM 3B "IA32_TSC_ADJUST Register Support".
static void xvcpui_move_tsc(xvcpu *vcpu, xvcpu_u64 distance)
{
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_TSC_OFFSET,
                      xvcpui_vmcs_read(vcpu, XVCPU_VMCS_CTRL_TSC_OFFSET) + distance);
    vcpu->tsc_adjust += distance;
}

// The guest sees a bit of a CPUID register.
static xvcpu_bool xvcpui_shows(xvcpu *vcpu, xvcpu_u32 mask, xvcpu_u64 bits)
{
    const xvcpui_cpuid_row *row = &xvcpui_cpuid_rows[mask];
    xvcpu_cpuid_regs regs;
    xvcpui_cpuid_answer(vcpu, row->leaf, row->subleaf, &regs);
    return (xvcpui_cpuid_reg(&regs, row->reg) & bits) == bits;
}

// Place of an MSR of the virtual CPU's own store, or null.
static xvcpu_u64 *xvcpui_mtrr(xvcpu *vcpu, xvcpu_u32 index)
{
    if (index >= XVCPU_MSR_IA32_MTRR_PHYSBASE0 &&
        index < XVCPU_MSR_IA32_MTRR_PHYSBASE0 + 2U * XVCPUI_MTRR_VARIABLE)
        return &vcpu->mtrr_variable[index - XVCPU_MSR_IA32_MTRR_PHYSBASE0];
    if (index == XVCPU_MSR_IA32_MTRR_FIX64K_00000)
        return &vcpu->mtrr_fixed[0];
    if (index == XVCPU_MSR_IA32_MTRR_FIX16K_80000 || index == XVCPU_MSR_IA32_MTRR_FIX16K_A0000)
        return &vcpu->mtrr_fixed[1U + index - XVCPU_MSR_IA32_MTRR_FIX16K_80000];
    if (index >= XVCPU_MSR_IA32_MTRR_FIX4K_C0000 && index <= XVCPU_MSR_IA32_MTRR_FIX4K_F8000)
        return &vcpu->mtrr_fixed[3U + index - XVCPU_MSR_IA32_MTRR_FIX4K_C0000];
    return index == XVCPU_MSR_IA32_MTRR_DEF_TYPE ? &vcpu->mtrr_def_type
                                                 : (xvcpu_u64 *)XVCPUI_NULL;
}

XVCPUI_STATIC_ASSERT(sizeof(((xvcpu *)0)->mtrr_variable) ==
                             2U * XVCPUI_MTRR_VARIABLE * sizeof(xvcpu_u64) &&
                         sizeof(((xvcpu *)0)->mtrr_fixed) ==
                             (4U + XVCPU_MSR_IA32_MTRR_FIX4K_F8000 -
                              XVCPU_MSR_IA32_MTRR_FIX4K_C0000) *
                                 sizeof(xvcpu_u64),
                     "room for the MTRRs");

// SDM 3A "Memory Type Range Registers (MTRRs)".
static xvcpu_u64 xvcpui_check_mtrr(const xvcpu *vcpu, xvcpu_u32 index, xvcpu_u64 value)
{
    const xvcpu_u64 type = XVCPU_MTRR_PHYSBASE_TYPE_MASK;
    xvcpu_u64 writable = XVCPU_MTRR_DEF_TYPE_TYPE_MASK | XVCPU_MTRR_DEF_TYPE_FIXED_ENABLE |
                         XVCPU_MTRR_DEF_TYPE_ENABLE;
    if (index >= XVCPU_MSR_IA32_MTRR_FIX64K_00000 && index <= XVCPU_MSR_IA32_MTRR_FIX4K_F8000)
        return xvcpui_check_memory_types(value, 0);
    if (index != XVCPU_MSR_IA32_MTRR_DEF_TYPE) {
        const xvcpu_bool is_mask = ((index - XVCPU_MSR_IA32_MTRR_PHYSBASE0) & 1U) != 0;
        writable = XVCPU_MTRR_PHYSBASE_ADDRESS_MASK & ~xvcpui_beyond_physical(vcpu);
        if (is_mask)
            return value & ~(writable | XVCPU_MTRR_PHYSMASK_VALID);
        writable |= type;
    }
    return (value & ~writable) | xvcpui_check_memory_types(value & type, 0);
}

// Index in xvcpu.switched, or XVCPU_SWITCHED_COUNT; the guest must have what the MSR belongs to.
static xvcpu_u32 xvcpui_switched_index(const xvcpu *vcpu, xvcpu_u32 index)
{
    xvcpu_u32 i;
    for (i = 0; i < XVCPU_SWITCHED_COUNT; i++)
        if (xvcpui_switched_msrs[i] == index)
            break;
    if (i < XVCPU_SWITCHED_COUNT &&
        !xvcpui_has(vcpu, i == XVCPU_SWITCHED_TSC_AUX ? XVCPU_FEATURE_RDTSCP
                                                      : XVCPU_FEATURE_SYSCALL))
        return XVCPU_SWITCHED_COUNT;
    return i;
}

// VMCS field of an MSR that VMX switches; 0: none, or the guest has no such MSR.
static xvcpu_u32 xvcpui_msr_field(const xvcpu *vcpu, xvcpu_u32 index)
{
    switch (index) {
    case XVCPU_MSR_IA32_SYSENTER_CS:
        return xvcpui_has(vcpu, XVCPU_FEATURE_SEP) ? (xvcpu_u32)XVCPU_VMCS_GUEST_SYSENTER_CS : 0U;
    case XVCPU_MSR_IA32_SYSENTER_ESP:
        return xvcpui_has(vcpu, XVCPU_FEATURE_SEP) ? (xvcpu_u32)XVCPU_VMCS_GUEST_SYSENTER_ESP : 0U;
    case XVCPU_MSR_IA32_SYSENTER_EIP:
        return xvcpui_has(vcpu, XVCPU_FEATURE_SEP) ? (xvcpu_u32)XVCPU_VMCS_GUEST_SYSENTER_EIP : 0U;
    case XVCPU_MSR_IA32_FS_BASE:
        return xvcpui_has(vcpu, XVCPU_FEATURE_LM) ? (xvcpu_u32)XVCPU_VMCS_GUEST_FS_BASE : 0U;
    case XVCPU_MSR_IA32_GS_BASE:
        return xvcpui_has(vcpu, XVCPU_FEATURE_LM) ? (xvcpu_u32)XVCPU_VMCS_GUEST_GS_BASE : 0U;
    case XVCPU_MSR_IA32_DEBUGCTL:
        return XVCPU_VMCS_GUEST_DEBUGCTL;
    default:
        return 0;
    }
}

// MSRs of features that no guest is shown, and those of a feature that this guest is not shown.
static xvcpu_bool xvcpui_msr_is_absent(xvcpu_u32 index)
{
    if (index >= XVCPU_MSR_IA32_VMX_BASIC && index <= XVCPU_MSR_IA32_VMX_EXIT_CTLS2)
        return 1;
    switch (index) {
    case XVCPU_MSR_IA32_EFER:
    case XVCPU_MSR_IA32_STAR:
    case XVCPU_MSR_IA32_LSTAR:
    case XVCPU_MSR_IA32_CSTAR:
    case XVCPU_MSR_IA32_FMASK:
    case XVCPU_MSR_IA32_FS_BASE:
    case XVCPU_MSR_IA32_GS_BASE:
    case XVCPU_MSR_IA32_KERNEL_GS_BASE:
    case XVCPU_MSR_IA32_TSC_AUX:
    case XVCPU_MSR_IA32_TSC_ADJUST:
    case XVCPU_MSR_IA32_SYSENTER_CS:
    case XVCPU_MSR_IA32_SYSENTER_ESP:
    case XVCPU_MSR_IA32_SYSENTER_EIP:
    case XVCPU_MSR_IA32_XSS:
    case XVCPU_MSR_IA32_UMWAIT_CONTROL:
    case XVCPU_MSR_IA32_SMM_MONITOR_CTL:
    case XVCPU_MSR_IA32_SMBASE:
    case XVCPU_MSR_IA32_SPEC_CTRL:
    case XVCPU_MSR_IA32_PRED_CMD:
    case XVCPU_MSR_IA32_FLUSH_CMD:
    case XVCPU_MSR_IA32_ARCH_CAPABILITIES:
    case XVCPU_MSR_IA32_CORE_CAPABILITIES:
    case XVCPU_MSR_IA32_TSX_CTRL:
    case XVCPU_MSR_IA32_MCU_OPT_CTRL:
    case XVCPU_MSR_IA32_MCG_CTL:
        return 1;
    default:
        return 0;
    }
}

static xvcpui_msr_outcome xvcpui_read_msr(xvcpu *vcpu, xvcpu_u32 index, xvcpu_u64 *value)
{
    const xvcpu_u32 switched = xvcpui_switched_index(vcpu, index);
    const xvcpu_u32 field = xvcpui_msr_field(vcpu, index);
    const xvcpu_u64 *mtrr = xvcpui_mtrr(vcpu, index);
    if (switched < XVCPU_SWITCHED_COUNT) {
        *value = xvcpui_get_switched(vcpu, switched);
        return XVCPUI_MSR_DONE;
    }
    if (field != 0) {
        *value = xvcpui_vmcs_read(vcpu, field);
        return XVCPUI_MSR_DONE;
    }
    if (mtrr) {
        *value = *mtrr;
        return XVCPUI_MSR_DONE;
    }
    switch (index) {
    case XVCPU_MSR_IA32_EFER:
        if (vcpu->efer_allowed == 0)
            break;
        *value = xvcpui_guest_efer(vcpu);
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_XSS:
        if (!xvcpui_has(vcpu, XVCPU_FEATURE_XSAVES))
            break;
        *value = vcpu->xss;
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_TSC_ADJUST:
        if (!xvcpui_shows(vcpu, XVCPUI_MASK_7_EBX, XVCPU_CPUID_7_EBX_TSC_ADJUST))
            break;
        *value = vcpu->tsc_adjust;
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_UMWAIT_CONTROL:
        if (!xvcpui_has(vcpu, XVCPU_FEATURE_WAITPKG))
            break;
        *value = vcpu->umwait_control;
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_TIME_STAMP_COUNTER:
        *value = xvcpui_guest_tsc(vcpu);
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_PAT:
        *value = xvcpui_guest_pat(vcpu);
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_APIC_BASE:
        *value = vcpu->apic_base;
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_MISC_ENABLE:
        *value = vcpu->misc_enable;
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_MTRRCAP:
        *value = XVCPU_PART_OF(MTRRCAP_VCNT, XVCPUI_MTRR_VARIABLE) | XVCPU_MTRRCAP_FIX |
                 XVCPU_MTRRCAP_WC;
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_FEATURE_CONTROL: // locked with everything off, as firmware without VMX
        *value = XVCPU_FEATURE_CONTROL_LOCK;
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_BIOS_SIGN_ID:
        *value = XVCPU_PART_OF(BIOS_SIGN_ID_REVISION, XVCPUI_MICROCODE_REVISION);
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_P5_MC_ADDR:
    case XVCPU_MSR_IA32_P5_MC_TYPE:
    case XVCPU_MSR_IA32_PLATFORM_ID:
    case XVCPU_MSR_IA32_MCG_CAP: // no banks
    case XVCPU_MSR_IA32_MCG_STATUS:
    case XVCPU_MSR_PLATFORM_INFO: // no CPUID faulting
    case XVCPU_MSR_MISC_FEATURES_ENABLES:
        *value = 0;
        return XVCPUI_MSR_DONE;
    default:
        break;
    }
    return xvcpui_msr_is_absent(index) ? XVCPUI_MSR_FAULT : XVCPUI_MSR_UNKNOWN;
}

static xvcpui_msr_outcome xvcpui_write_field_msr(xvcpu *vcpu, xvcpu_u32 index, xvcpu_u32 field,
                                                 xvcpu_u64 value)
{
    xvcpu_u64 bad;
    if (index == XVCPU_MSR_IA32_SYSENTER_CS)
        bad = value & XVCPUI_UPPER_HALF;
    else if (index == XVCPU_MSR_IA32_DEBUGCTL)
        bad = xvcpui_check_debugctl(value);
    else
        bad = xvcpui_check_canonical(vcpu, value);
    if (bad != 0)
        return XVCPUI_MSR_FAULT;
    xvcpui_vmcs_write(vcpu, field, value);
    return XVCPUI_MSR_DONE;
}

XVCPUI_INLINE xvcpui_msr_outcome xvcpui_msr_fault_if(xvcpu_bool fault)
{
    return fault ? XVCPUI_MSR_FAULT : XVCPUI_MSR_DONE;
}

static xvcpui_msr_outcome xvcpui_write_msr(xvcpu *vcpu, xvcpu_u32 index, xvcpu_u64 value)
{
    const xvcpu_u32 switched = xvcpui_switched_index(vcpu, index);
    const xvcpu_u32 field = xvcpui_msr_field(vcpu, index);
    xvcpu_u64 *mtrr = xvcpui_mtrr(vcpu, index);
    if (switched < XVCPU_SWITCHED_COUNT) {
        if (xvcpui_check_switched(vcpu, switched, value) != 0)
            return XVCPUI_MSR_FAULT;
        xvcpui_set_switched(vcpu, switched, value);
        return XVCPUI_MSR_DONE;
    }
    if (field != 0)
        return xvcpui_write_field_msr(vcpu, index, field, value);
    if (mtrr) {
        if (xvcpui_check_mtrr(vcpu, index, value) != 0)
            return XVCPUI_MSR_FAULT;
        *mtrr = value;
        return XVCPUI_MSR_DONE;
    }
    switch (index) {
    case XVCPU_MSR_IA32_EFER:
        if (vcpu->efer_allowed == 0)
            break;
        return xvcpui_msr_fault_if(xvcpui_set_efer_checked(vcpu, value));
    case XVCPU_MSR_IA32_XSS:
        if (!xvcpui_has(vcpu, XVCPU_FEATURE_XSAVES))
            break;
        if ((value & ~vcpu->xss_allowed) != 0)
            return XVCPUI_MSR_FAULT;
        xvcpui_set_xss(vcpu, value);
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_TSC_ADJUST:
        if (!xvcpui_shows(vcpu, XVCPUI_MASK_7_EBX, XVCPU_CPUID_7_EBX_TSC_ADJUST))
            break;
        xvcpui_move_tsc(vcpu, value - vcpu->tsc_adjust);
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_UMWAIT_CONTROL:
        if (!xvcpui_has(vcpu, XVCPU_FEATURE_WAITPKG))
            break;
        if ((value & ~(XVCPU_UMWAIT_CONTROL_C02_DISABLE | XVCPU_UMWAIT_CONTROL_MAX_TIME_MASK)) != 0)
            return XVCPUI_MSR_FAULT;
        vcpu->umwait_control = value;
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_TIME_STAMP_COUNTER:
        xvcpui_move_tsc(vcpu, value - xvcpui_guest_tsc(vcpu));
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_PAT:
        if (xvcpui_check_memory_types(value, 1) != 0)
            return XVCPUI_MSR_FAULT;
        xvcpui_write_guest_pat(vcpu, value);
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_APIC_BASE:
        if (xvcpui_check_apic_base(vcpu, value) != 0)
            return XVCPUI_MSR_FAULT;
        vcpu->apic_base = value;
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_MISC_ENABLE:
        if (((value ^ vcpu->misc_enable) & ~XVCPUI_MISC_ENABLE_WRITABLE) != 0)
            return XVCPUI_MSR_FAULT;
        vcpu->misc_enable = value;
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_P5_MC_ADDR:
    case XVCPU_MSR_IA32_P5_MC_TYPE:
    case XVCPU_MSR_IA32_MCG_STATUS:
    case XVCPU_MSR_MISC_FEATURES_ENABLES:
        return xvcpui_msr_fault_if(value != 0);
    case XVCPU_MSR_IA32_BIOS_SIGN_ID:
    case XVCPU_MSR_IA32_BIOS_UPDT_TRIG: // no guest loads microcode; it finds the revision unchanged
        return XVCPUI_MSR_DONE;
    case XVCPU_MSR_IA32_MTRRCAP:
    case XVCPU_MSR_IA32_FEATURE_CONTROL:
    case XVCPU_MSR_IA32_PLATFORM_ID:
    case XVCPU_MSR_IA32_MCG_CAP:
    case XVCPU_MSR_PLATFORM_INFO: // read-only, or locked
        return XVCPUI_MSR_FAULT;
    default:
        break;
    }
    return xvcpui_msr_is_absent(index) ? XVCPUI_MSR_FAULT : XVCPUI_MSR_UNKNOWN;
}

static xvcpu_action xvcpui_handle_rdmsr(xvcpu *vcpu, xvcpu_exit *exit)
{
    const xvcpu_u32 index = (xvcpu_u32)vcpu->gpr[XVCPU_RCX];
    xvcpu_u64 value = 0;
    switch ((xvcpu_u32)xvcpui_read_msr(vcpu, index, &value)) {
    case XVCPUI_MSR_DONE:
        xvcpui_set_edx_eax(vcpu, value);
        return xvcpui_skipped(vcpu);
    case XVCPUI_MSR_FAULT:
        return xvcpui_fault_gp(vcpu);
    default:
        exit->kind = XVCPU_EXIT_MSR_READ;
        exit->u.msr.index = index;
        return XVCPU_ACTION_RETURN;
    }
}

static xvcpu_action xvcpui_handle_wrmsr(xvcpu *vcpu, xvcpu_exit *exit)
{
    const xvcpu_u32 index = (xvcpu_u32)vcpu->gpr[XVCPU_RCX];
    const xvcpu_u64 value = xvcpui_edx_eax(vcpu);
    switch ((xvcpu_u32)xvcpui_write_msr(vcpu, index, value)) {
    case XVCPUI_MSR_DONE:
        return xvcpui_skipped(vcpu);
    case XVCPUI_MSR_FAULT:
        return xvcpui_fault_gp(vcpu);
    default:
        exit->kind = XVCPU_EXIT_MSR_WRITE;
        exit->u.msr.index = index;
        exit->value = value;
        return XVCPU_ACTION_RETURN;
    }
}

// -- Implementation: other exits

static xvcpu_action xvcpui_handle_rdtsc(xvcpu *vcpu, xvcpu_exit *exit)
{
    xvcpui_set_edx_eax(vcpu, xvcpui_guest_tsc(vcpu));
    if (exit->reason == XVCPU_EXIT_REASON_RDTSCP)
        vcpu->gpr[XVCPU_RCX] =
            (xvcpu_u32)xvcpui_get_switched(vcpu, XVCPU_SWITCHED_TSC_AUX);
    return xvcpui_skipped(vcpu);
}

// Something that the next entry would deliver, and that therefore ends a HLT at once.
static xvcpu_bool xvcpui_wakes(xvcpu *vcpu)
{
    const xvcpu_u64 traps = XVCPU_PENDING_DBG_ENABLED | XVCPU_PENDING_DBG_BS;
    xvcpui_readiness ready;
    xvcpui_read_readiness(vcpu, &ready);
    return (vcpu->queue.nmis != 0 && xvcpui_nmi_ready(&ready)) ||
           (xvcpui_interrupts_wait(&vcpu->queue) != 0 && xvcpui_interrupt_ready(&ready)) ||
           (xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_PENDING_DBG) & traps) != 0;
}

// HLT completes before the caller hears of it: RIP is past it, the shadow of a preceding STI is
// over, and the activity state stays "active". So the caller waits for an event, raises it and runs
// again; an event that is there already ends the HLT here, without a moment in which it is missed.
static xvcpu_action xvcpui_handle_hlt(xvcpu *vcpu, xvcpu_exit *exit)
{
    xvcpui_skip(vcpu);
    exit->kind = XVCPU_EXIT_PLAIN;
    return xvcpui_wakes(vcpu) ? XVCPU_ACTION_HANDLED : XVCPU_ACTION_RETURN;
}

static xvcpu_action xvcpui_return_instruction(xvcpu_exit *exit)
{
    exit->kind = XVCPU_EXIT_INSTRUCTION;
    return XVCPU_ACTION_RETURN;
}

static xvcpu_action xvcpui_handle_monitor(xvcpu *vcpu, xvcpu_exit *exit)
{
    return vcpu->desc.show_monitor ? xvcpui_return_instruction(exit) : xvcpui_fault_ud(vcpu);
}

static xvcpu_action xvcpui_handle_invlpg(xvcpu *vcpu)
{
    vcpu->flush_vpid = 1;
    return xvcpui_skipped(vcpu);
}

static xvcpu_action xvcpui_builtin(xvcpu *vcpu, xvcpu_exit *exit)
{
    switch (exit->reason) {
    case XVCPU_EXIT_REASON_CPUID:
        return xvcpui_handle_cpuid(vcpu);
    case XVCPU_EXIT_REASON_CR_ACCESS:
        return xvcpui_handle_cr(vcpu, exit);
    case XVCPU_EXIT_REASON_MOV_DR:
        return xvcpui_handle_dr(vcpu, exit);
    case XVCPU_EXIT_REASON_RDMSR:
        return xvcpui_handle_rdmsr(vcpu, exit);
    case XVCPU_EXIT_REASON_WRMSR:
        return xvcpui_handle_wrmsr(vcpu, exit);
    case XVCPU_EXIT_REASON_XSETBV:
        return xvcpui_handle_xsetbv(vcpu, exit);
    case XVCPU_EXIT_REASON_HLT:
        return xvcpui_handle_hlt(vcpu, exit);
    case XVCPU_EXIT_REASON_RDTSC:
    case XVCPU_EXIT_REASON_RDTSCP:
        return xvcpui_handle_rdtsc(vcpu, exit);
    case XVCPU_EXIT_REASON_INVLPG:
        return xvcpui_handle_invlpg(vcpu);

    // Events are delivered, or the window asked for again, before the next entry.
    case XVCPU_EXIT_REASON_INTERRUPT_WINDOW:
    case XVCPU_EXIT_REASON_NMI_WINDOW:
        return XVCPU_ACTION_HANDLED;

    // The caches are the host's, and coherent: to the guest these change nothing it could see. INVD
    // would throw the host's data away.
    case XVCPU_EXIT_REASON_INVD:
    case XVCPU_EXIT_REASON_WBINVD:
    case XVCPU_EXIT_REASON_PAUSE:
        return xvcpui_skipped(vcpu);

    case XVCPU_EXIT_REASON_RDPMC: // no counters
        return xvcpui_fault_gp(vcpu);

    case XVCPU_EXIT_REASON_MONITOR:
    case XVCPU_EXIT_REASON_MWAIT:
        return xvcpui_handle_monitor(vcpu, exit);

    case XVCPU_EXIT_REASON_VMCALL:
        return xvcpui_return_instruction(exit);

    // Instructions of features that CPUID does not show. They reach us with whatever privilege the
    // guest has, which makes no difference to #UD.
    case XVCPU_EXIT_REASON_GETSEC:
    case XVCPU_EXIT_REASON_RSM:
    case XVCPU_EXIT_REASON_VMCLEAR:
    case XVCPU_EXIT_REASON_VMLAUNCH:
    case XVCPU_EXIT_REASON_VMPTRLD:
    case XVCPU_EXIT_REASON_VMPTRST:
    case XVCPU_EXIT_REASON_VMREAD:
    case XVCPU_EXIT_REASON_VMRESUME:
    case XVCPU_EXIT_REASON_VMWRITE:
    case XVCPU_EXIT_REASON_VMXOFF:
    case XVCPU_EXIT_REASON_VMXON:
    case XVCPU_EXIT_REASON_INVEPT:
    case XVCPU_EXIT_REASON_INVVPID:
    case XVCPU_EXIT_REASON_VMFUNC:
    case XVCPU_EXIT_REASON_ENCLS:
    case XVCPU_EXIT_REASON_ENCLV:
    case XVCPU_EXIT_REASON_PCONFIG:
    case XVCPU_EXIT_REASON_LOADIWKEY:
    case XVCPU_EXIT_REASON_SEAMCALL:
    case XVCPU_EXIT_REASON_TDCALL:
        return xvcpui_fault_ud(vcpu);

    // Everything else is the caller's, known or not: I/O, memory, exceptions, interrupts, INIT,
    // SIPI, task switches, shutdown, the timer, descriptor tables, the APIC.
    default:
        return XVCPU_ACTION_RETURN;
    }
}

// -- Implementation: answers

XVCPU_API void xvcpu_answer_done(xvcpu *vcpu, xvcpu_u64 value)
{
    if (!vcpu)
        return;
    vcpu->exit.answer = XVCPU_ANSWER_DONE;
    vcpu->exit.value = value;
}

XVCPU_API void xvcpu_answer_fault(xvcpu *vcpu, xvcpu_u32 vector, xvcpu_u32 error_code)
{
    if (!vcpu)
        return;
    vcpu->exit.answer = XVCPU_ANSWER_FAULT;
    vcpu->exit.fault_vector = vector;
    vcpu->exit.fault_error = error_code;
}

// A register after a write of `bytes` bytes: 1 and 2 leave the rest, 4 clear the upper half.
// `shift` is 8 for AH, CH, DH and BH.
static xvcpu_u64 xvcpui_merge(xvcpu_u64 before, xvcpu_u64 value, xvcpu_u32 bytes, xvcpu_u32 shift)
{
    xvcpu_u64 mask;
    if (bytes >= 8)
        return value;
    if (bytes == 4)
        return (xvcpu_u32)value;
    mask = ((XVCPU_BIT64(8U * bytes)) - 1U) << shift;
    return (before & ~mask) | ((value << shift) & mask);
}

static xvcpu_u64 xvcpui_extend(xvcpu_u64 value, xvcpu_u32 bytes, xvcpu_bool sign)
{
    const xvcpu_u32 unused = 64U - 8U * bytes;
    if (bytes >= 8)
        return value;
    value <<= unused;
    return sign ? (xvcpu_u64)((xvcpu_i64)value >> unused) : value >> unused;
}

// Puts what was read where the instruction would have put it. Null, or why it cannot be done.
static const char *xvcpui_apply_value(xvcpu *vcpu)
{
    const xvcpu_exit *exit = &vcpu->exit;
    const xvcpu_exit_memory *memory = &exit->u.memory;
    const xvcpu_u64 value = exit->value;
    switch ((xvcpu_u32)exit->kind) {
    case XVCPU_EXIT_INSTRUCTION:
        if (exit->reason == XVCPU_EXIT_REASON_VMCALL)
            vcpu->gpr[XVCPU_RAX] = value;
        return XVCPUI_NULL;
    case XVCPU_EXIT_IO:
        if (exit->u.io.string)
            return "string I/O: move the data and skip the instruction, or let it fault";
        if (exit->u.io.in)
            vcpu->gpr[XVCPU_RAX] = xvcpui_merge(vcpu->gpr[XVCPU_RAX], value, exit->u.io.bytes, 0);
        return XVCPUI_NULL;
    case XVCPU_EXIT_MSR_READ:
        xvcpui_set_edx_eax(vcpu, value);
        return XVCPUI_NULL;
    case XVCPU_EXIT_MSR_WRITE:
        return XVCPUI_NULL;
    case XVCPU_EXIT_CR:
        if (exit->u.cr.access == XVCPU_QUAL_CR_ACCESS_READ)
            xvcpui_set_operand(vcpu, exit->u.cr.gpr, value);
        return XVCPUI_NULL;
    case XVCPU_EXIT_DR:
        if (exit->u.dr.read)
            xvcpui_set_operand(vcpu, exit->u.dr.gpr, value);
        return XVCPUI_NULL;
    case XVCPU_EXIT_MMIO:
        if (memory->bytes == 0 || exit->instruction_length == 0)
            return "the memory access was not decoded";
        if (!memory->write)
            xvcpui_write_gpr(vcpu, memory->gpr,
                             xvcpui_merge(xvcpui_read_gpr(vcpu, memory->gpr),
                                          xvcpui_extend(value, memory->bytes, memory->sign_extend),
                                          memory->gpr_bytes, memory->gpr_shift));
        return XVCPUI_NULL;
    case XVCPU_EXIT_KICKED:
        return "the run was interrupted by xvcpu_kick: there is no exit to answer";
    default:
        return "this exit has no instruction to complete";
    }
}

// Applies the caller's answer to the exit that the last run returned, exactly once. An answer that
// does not fit changes nothing and stays, so that each run says so until it is corrected.
static xvcpu_status xvcpui_complete(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_exit *exit = &vcpu->exit;
    const char *reason;
    if (exit->answer == XVCPU_ANSWER_NONE)
        return XVCPU_STATUS_OK;
    if (exit->answer == XVCPU_ANSWER_FAULT) {
        xvcpu_u64 payload = exit->fault_vector == XVCPU_EXCEPTION_PF ? vcpu->cr2 : 0;
        xvcpu_status status;
        if (exit->kind == XVCPU_EXIT_KICKED || exit->reason == XVCPU_EXIT_REASON_HLT)
            return xvcpui_fail(error, XVCPU_STATUS_NOT_ANSWERED,
                               "no instruction is under way that could fault", exit->reason, 0);
        // A page fault instead of an access to memory is at the address of the access.
        if (exit->fault_vector == XVCPU_EXCEPTION_PF &&
            (exit->reason == XVCPU_EXIT_REASON_EPT_VIOLATION ||
             exit->reason == XVCPU_EXIT_REASON_EPT_MISCONFIG) &&
            exit->u.memory.gla_valid)
            payload = exit->u.memory.gla;
        status = xvcpu_raise(vcpu, exit->fault_vector, exit->fault_error, payload, error);
        if (status == XVCPU_STATUS_OK)
            exit->answer = XVCPU_ANSWER_NONE;
        return status;
    }
    reason = xvcpui_apply_value(vcpu);
    if (reason)
        return xvcpui_fail(error, XVCPU_STATUS_NOT_ANSWERED, reason, exit->reason, 0);
    exit->answer = XVCPU_ANSWER_NONE;
    xvcpui_skip(vcpu);
    return xvcpui_take_fault(vcpu, error);
}

// -- Implementation: virtual CPU

// Why each control is on. "required": the library does not work without it.
static xvcpu_status xvcpui_choose_controls(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_u64 required[XVCPU_WORD_COUNT];
    xvcpu_u64 optional[XVCPU_WORD_COUNT];
    const xvcpu_caps *caps = &vcpu->caps;
    xvcpu_u32 word, i;

    xvcpui_copy(required, vcpu->desc.required_controls, sizeof required);
    xvcpui_copy(optional, vcpu->desc.optional_controls, sizeof optional);

    // Interrupts and NMIs are the host's; with virtual NMIs the guest's own blocking is kept apart.
    required[XVCPU_WORD_PIN] |= XVCPU_PIN_EXT_INTR_EXITING | XVCPU_PIN_NMI_EXITING;
    optional[XVCPU_WORD_PIN] |= XVCPU_PIN_VIRTUAL_NMIS;

    required[XVCPU_WORD_PROC1] |= XVCPU_PROC1_ACTIVATE_SECONDARY; // for EPT
    required[XVCPU_WORD_PROC1] |= XVCPU_PROC1_MSR_BITMAPS;        // denied unless opened
    required[XVCPU_WORD_PROC1] |= XVCPU_PROC1_IO_BITMAPS;         // denied unless opened
    required[XVCPU_WORD_PROC1] |= XVCPU_PROC1_MOV_DR_EXITING;     // DRs are not switched by VMX
    // Without a TPR shadow MOV to CR8 would mask the host's interrupts.
    required[XVCPU_WORD_PROC1] |= XVCPU_PROC1_CR8_LOAD_EXITING | XVCPU_PROC1_CR8_STORE_EXITING;
    required[XVCPU_WORD_PROC1] |= XVCPU_PROC1_RDPMC_EXITING; // the host's counters
    // MWAIT would idle the host's processor for as long as the guest likes.
    required[XVCPU_WORD_PROC1] |= XVCPU_PROC1_MWAIT_EXITING | XVCPU_PROC1_MONITOR_EXITING;
    required[XVCPU_WORD_PROC1] |= XVCPU_PROC1_TSC_OFFSETTING; // a TSC of the guest's own
    if (!vcpu->desc.no_hlt_exit)
        required[XVCPU_WORD_PROC1] |= XVCPU_PROC1_HLT_EXITING;

    required[XVCPU_WORD_PROC2] |= XVCPU_PROC2_EPT; // guest memory is what the EPT maps
    optional[XVCPU_WORD_PROC2] |= XVCPU_PROC2_UNRESTRICTED_GUEST; // real mode, paging off
    optional[XVCPU_WORD_PROC2] |= XVCPU_PROC2_WBINVD_EXITING; // the guest cannot flush host caches
    // A VPID that could not be flushed would serve stale translations.
    if (vcpu->desc.vpid != 0 && (caps->ept_vpid & XVCPU_VMX_EPT_VPID_CAP_INVVPID) != 0 &&
        (caps->ept_vpid & (XVCPU_VMX_EPT_VPID_CAP_INVVPID_SINGLE |
                           XVCPU_VMX_EPT_VPID_CAP_INVVPID_ALL)) != 0)
        optional[XVCPU_WORD_PROC2] |= XVCPU_PROC2_VPID;

    required[XVCPU_WORD_EXIT] |= XVCPU_EXIT_HOST_64BIT;
    required[XVCPU_WORD_EXIT] |= XVCPU_EXIT_SAVE_DEBUG; // DR7 and DEBUGCTL are the guest's
    required[XVCPU_WORD_EXIT] |= XVCPU_EXIT_LOAD_EFER | XVCPU_EXIT_SAVE_EFER;
    required[XVCPU_WORD_ENTRY] |= XVCPU_ENTRY_LOAD_EFER | XVCPU_ENTRY_LOAD_DEBUG;
    // PAT is switched by all three controls or by none.
    if (xvcpui_can(caps, XVCPU_WORD_EXIT, XVCPU_EXIT_SAVE_PAT | XVCPU_EXIT_LOAD_PAT) &&
        xvcpui_can(caps, XVCPU_WORD_ENTRY, XVCPU_ENTRY_LOAD_PAT)) {
        optional[XVCPU_WORD_EXIT] |= XVCPU_EXIT_SAVE_PAT | XVCPU_EXIT_LOAD_PAT;
        optional[XVCPU_WORD_ENTRY] |= XVCPU_ENTRY_LOAD_PAT;
    }
    if (vcpu->desc.acknowledge_interrupts)
        required[XVCPU_WORD_EXIT] |= XVCPU_EXIT_ACK_INTR;

    // What the guest is shown has its controls set.
    for (i = 0; i < XVCPU_FEATURE_COUNT; i++)
        if (xvcpui_has(vcpu, (xvcpu_feature)i))
            required[xvcpui_feature_rows[i].word] |= xvcpui_feature_rows[i].controls;

    for (word = 0; word < XVCPU_WORD_COUNT; word++) {
        const xvcpu_status status =
            xvcpu_negotiate(caps, (xvcpu_control_word)word, required[word], optional[word],
                            &vcpu->controls[word], error);
        if (status != XVCPU_STATUS_OK)
            return status;
    }
    // Set at each entry as EFER.LMA asks; SDM "Checks on Guest Control Registers...".
    vcpu->controls[XVCPU_WORD_ENTRY] &= ~XVCPU_ENTRY_IA32E_GUEST;
    return XVCPU_STATUS_OK;
}

static void xvcpui_free_pages(xvcpu *vcpu)
{
    xvcpui_page_free(&vcpu->pool, vcpu->vmcs);
    xvcpui_page_free(&vcpu->pool, vcpu->msr_bitmap);
    xvcpui_page_free(&vcpu->pool, vcpu->io_bitmap_a);
    xvcpui_page_free(&vcpu->pool, vcpu->io_bitmap_b);
    xvcpui_page_free(&vcpu->pool, vcpu->guest_xsave);
    xvcpui_page_free(&vcpu->pool, vcpu->host_xsave);
    vcpu->magic = 0;
}

// Offsets in the legacy part of an XSAVE or FXSAVE area, and what INIT leaves in the registers.
// SDM 1, "Legacy Region of an XSAVE Area".
#define XVCPUI_FXSAVE_FCW 0
#define XVCPUI_FXSAVE_MXCSR 24
#define XVCPUI_FCW_INIT 0x37FU
#define XVCPUI_MXCSR_INIT 0x1F80U

// A bitmap that denies everything.
static void *xvcpui_bitmap_alloc(xvcpu *vcpu, xvcpu_u64 *physical, xvcpu_error *error)
{
    void *page = xvcpui_page_alloc(&vcpu->pool, xvcpui_vmx_address_bits(&vcpu->caps), physical,
                                   error);
    if (page)
        xvcpui_fill(page, 0xFF, XVCPU_PAGE_BYTES);
    return page;
}

static xvcpu_status xvcpui_allocate(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_u8 *area;
    vcpu->vmcs = xvcpui_page_alloc(&vcpu->pool, xvcpui_vmx_address_bits(&vcpu->caps),
                                   &vcpu->vmcs_pa, error);
    if (!vcpu->vmcs)
        return XVCPU_STATUS_OUT_OF_PAGES;
    vcpu->msr_bitmap = xvcpui_bitmap_alloc(vcpu, &vcpu->msr_bitmap_pa, error);
    if (!vcpu->msr_bitmap)
        return XVCPU_STATUS_OUT_OF_PAGES;
    vcpu->io_bitmap_a = xvcpui_bitmap_alloc(vcpu, &vcpu->io_bitmap_a_pa, error);
    if (!vcpu->io_bitmap_a)
        return XVCPU_STATUS_OUT_OF_PAGES;
    vcpu->io_bitmap_b = xvcpui_bitmap_alloc(vcpu, &vcpu->io_bitmap_b_pa, error);
    if (!vcpu->io_bitmap_b)
        return XVCPU_STATUS_OUT_OF_PAGES;
    if ((vcpu->desc.leave_to_host & XVCPU_LEAVE_FPU) != 0)
        return XVCPU_STATUS_OK;
    vcpu->guest_xsave = xvcpui_page_alloc(&vcpu->pool, 64, XVCPUI_NULL, error);
    if (!vcpu->guest_xsave)
        return XVCPU_STATUS_OUT_OF_PAGES;
    vcpu->host_xsave = xvcpui_page_alloc(&vcpu->pool, 64, XVCPUI_NULL, error);
    if (!vcpu->host_xsave)
        return XVCPU_STATUS_OUT_OF_PAGES;
    area = (xvcpu_u8 *)vcpu->guest_xsave;
    area[XVCPUI_FXSAVE_FCW] = (xvcpu_u8)(XVCPUI_FCW_INIT & 0xFFU);
    area[XVCPUI_FXSAVE_FCW + 1] = (xvcpu_u8)(XVCPUI_FCW_INIT >> 8);
    area[XVCPUI_FXSAVE_MXCSR] = (xvcpu_u8)(XVCPUI_MXCSR_INIT & 0xFFU);
    area[XVCPUI_FXSAVE_MXCSR + 1] = (xvcpu_u8)(XVCPUI_MXCSR_INIT >> 8);
    return XVCPU_STATUS_OK;
}

// MSRs the guest may use by itself: VMX switches them, or (KERNEL_GS_BASE) the library does, and no
// value a guest can put there reaches the host.
static void xvcpui_default_msrs(xvcpu *vcpu)
{
    static const struct {
        xvcpu_u32 msr;
        xvcpu_u32 feature;
    } open[] = {{XVCPU_MSR_IA32_FS_BASE, XVCPU_FEATURE_LM},
                {XVCPU_MSR_IA32_GS_BASE, XVCPU_FEATURE_LM},
                {XVCPU_MSR_IA32_KERNEL_GS_BASE, XVCPU_FEATURE_SYSCALL},
                {XVCPU_MSR_IA32_SYSENTER_CS, XVCPU_FEATURE_SEP},
                {XVCPU_MSR_IA32_SYSENTER_ESP, XVCPU_FEATURE_SEP},
                {XVCPU_MSR_IA32_SYSENTER_EIP, XVCPU_FEATURE_SEP}};
    xvcpu_u32 i;
    for (i = 0; i < sizeof open / sizeof open[0]; i++) {
        if (!xvcpui_has(vcpu, (xvcpu_feature)open[i].feature))
            continue;
        if (open[i].msr == XVCPU_MSR_IA32_KERNEL_GS_BASE &&
            (vcpu->desc.leave_to_host & XVCPU_LEAVE_SYSCALL_MSRS) != 0)
            continue;
        xvcpui_msr_bitmap_set(vcpu->msr_bitmap, open[i].msr, 0, 0);
        xvcpui_msr_bitmap_set(vcpu->msr_bitmap, open[i].msr, 1, 0);
    }
}

static xvcpu_status xvcpui_create(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_status status;
    xvcpu_u64 missing;
    if ((vcpu->caps.ept_vpid & XVCPU_VMX_EPT_VPID_CAP_INVEPT) == 0)
        return xvcpui_fail_msr(error, XVCPU_STATUS_UNSUPPORTED, "this processor has no INVEPT",
                               XVCPU_MSR_IA32_VMX_EPT_VPID_CAP, vcpu->caps.ept_vpid,
                               XVCPU_VMX_EPT_VPID_CAP_INVEPT);
    xvcpui_derive(vcpu);
    missing = vcpu->desc.require_features & ~vcpu->features;
    if (missing != 0) {
        xvcpu_u32 i = 0;
        while ((missing & XVCPU_BIT64(i)) == 0)
            i++;
        return xvcpui_fail(error, XVCPU_STATUS_UNSUPPORTED, xvcpu_feature_name((xvcpu_feature)i),
                           vcpu->features, missing);
    }
    status = xvcpui_choose_controls(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    // Bits a guest may flip without an exit: those whose only effect is inside the guest.
    vcpu->cr0_guest_owned =
        XVCPU_CR0_TS | XVCPU_CR0_MP | XVCPU_CR0_EM | XVCPU_CR0_WP | XVCPU_CR0_AM;
    vcpu->cr4_guest_owned =
        vcpu->cr4_allowed & (XVCPU_CR4_VME | XVCPU_CR4_PVI | XVCPU_CR4_TSD | XVCPU_CR4_DE |
                             XVCPU_CR4_PGE | XVCPU_CR4_PCE | XVCPU_CR4_OSFXSR |
                             XVCPU_CR4_OSXMMEXCPT | XVCPU_CR4_UMIP | XVCPU_CR4_FSGSBASE |
                             XVCPU_CR4_SMEP | XVCPU_CR4_SMAP);
    vcpu->xcr0 = XVCPU_XCR0_X87;
    vcpu->dr6 = XVCPU_DR6_FIXED_1;
    return xvcpui_allocate(vcpu, error);
}

XVCPU_API xvcpu_status xvcpu_create(xvcpu *vcpu, const xvcpu_desc *desc, const xvcpu_caps *caps,
                                    xvcpu_error *error)
{
    xvcpu_status status;
    xvcpu_error local;
    if (!vcpu || !desc || !caps)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "vcpu, desc or caps is null", 0,
                           0);
    if (desc->canary_first != 0 || desc->canary_last != 0)
        return xvcpui_fail(error, XVCPU_STATUS_UNINITIALIZED_DESC, "xvcpu_desc",
                           desc->canary_first, 0);
    // A second object in the place of a live one would leave a VMCS active that nobody knows.
    if (vcpu->magic == XVCPUI_MAGIC_VCPU)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "virtual CPU is created already", 0,
                           0);
    if (!caps->probed)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "caps were not probed", 0, 0);
    if (!xvcpui_can(caps, XVCPU_WORD_PROC2, XVCPU_PROC2_EPT))
        return xvcpui_fail_msr(error, XVCPU_STATUS_UNSUPPORTED, "this processor has no EPT",
                               XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2,
                               caps->controls[XVCPU_WORD_PROC2].may_be_1, XVCPU_PROC2_EPT);
    if (!desc->ept || desc->ept->magic != XVCPUI_MAGIC_EPT)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "desc.ept is not an EPT", 0, 0);
    xvcpui_zero(vcpu, sizeof *vcpu);
    xvcpui_copy(&vcpu->desc, desc, sizeof *desc);
    xvcpui_copy(&vcpu->caps, caps, sizeof *caps);
    vcpu->context = desc->context;
    vcpu->ept = desc->ept;
    xvcpui_pool_init(&vcpu->pool, desc->context, &desc->supply);
    if (!error)
        error = &local;
    status = xvcpui_create(vcpu, error);
    if (status != XVCPU_STATUS_OK) {
        xvcpui_free_pages(vcpu);
        return error->status;
    }
    // The revision identifier tells VMCLEAR and VMPTRLD the layout; bit 31 is 0: not a shadow VMCS.
    *(xvcpu_u32 *)vcpu->vmcs = vcpu->caps.revision;
    xvcpui_default_msrs(vcpu);
    vcpu->magic = XVCPUI_MAGIC_VCPU;
    return XVCPU_STATUS_OK;
}

// Every field that exists here gets a defined value: what entry reads must have been written, and
// after VMCLEAR a field holds anything.
static void xvcpui_clear_fields(xvcpu *vcpu)
{
    xvcpu_u32 i;
    for (i = 0; i < XVCPUI_VMCS_FIELD_COUNT; i++) {
        const xvcpu_u32 encoding = xvcpui_vmcs_fields[i].encoding;
        if (XVCPU_VMCS_TYPE(encoding) != XVCPU_VMCS_TYPE_READ_ONLY &&
            xvcpui_field_exists(&vcpu->caps, xvcpui_vmcs_fields[i].since))
            xvcpui_vmcs_write(vcpu, encoding, 0);
    }
}

static void xvcpui_write_controls(xvcpu *vcpu)
{
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_PIN, vcpu->controls[XVCPU_WORD_PIN]);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_PROC1, vcpu->controls[XVCPU_WORD_PROC1]);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_PROC2, vcpu->controls[XVCPU_WORD_PROC2]);
    if (vcpu->controls[XVCPU_WORD_PROC3] != 0)
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_PROC3, vcpu->controls[XVCPU_WORD_PROC3]);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_EXIT, vcpu->controls[XVCPU_WORD_EXIT]);
    if (vcpu->controls[XVCPU_WORD_EXIT2] != 0)
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_EXIT2, vcpu->controls[XVCPU_WORD_EXIT2]);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_ENTRY, vcpu->controls[XVCPU_WORD_ENTRY]);

    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_MSR_BITMAP, vcpu->msr_bitmap_pa);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_IO_BITMAP_A, vcpu->io_bitmap_a_pa);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_IO_BITMAP_B, vcpu->io_bitmap_b_pa);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_EPTP, vcpu->ept->eptp);
    if (xvcpui_control(vcpu, XVCPU_WORD_PROC2, XVCPU_PROC2_VPID))
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_VPID, vcpu->desc.vpid);
    // A guest can make #AC and #DB repeat inside their own delivery without end, and the processor
    // takes no interrupt in that loop: both are intercepted and handed back. A machine check is the
    // host's.
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_EXCEPTION_BITMAP,
                      vcpu->desc.exception_bitmap | XVCPU_BIT32(XVCPU_EXCEPTION_DB) |
                          XVCPU_BIT32(XVCPU_EXCEPTION_AC) | XVCPU_BIT32(XVCPU_EXCEPTION_MC));
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_CR0_MASK, ~vcpu->cr0_guest_owned);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_CR4_MASK, ~vcpu->cr4_guest_owned);
    // Scaling by 1, should the caller have asked for scaling: 0 is refused by VM entry.
    if (xvcpui_control(vcpu, XVCPU_WORD_PROC2, XVCPU_PROC2_TSC_SCALING))
        xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_TSC_MULTIPLIER, XVCPU_BIT64(48));
    // All ones: no shadow VMCS. Zero would be an address.
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_VMCS_LINK_PTR, ~(xvcpu_u64)0);
}

static xvcpu_status xvcpui_set_up(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_status status;
    xvcpui_clear_fields(vcpu);
    xvcpui_write_controls(vcpu);
    status = xvcpui_take_host(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    // Without unrestricted guest only paged protected mode can be entered; the caller chooses a
    // preset either way, this one merely leaves no field without a legal value.
    if (xvcpui_control(vcpu, XVCPU_WORD_PROC2, XVCPU_PROC2_UNRESTRICTED_GUEST))
        return xvcpu_preset_reset(vcpu, error);
    if (xvcpui_has(vcpu, XVCPU_FEATURE_LM))
        return xvcpu_preset_long(vcpu, 0, 0, 0, error);
    xvcpui_reset_as_firmware(vcpu);
    xvcpui_write_guest_cr0(vcpu, XVCPU_CR0_PE | XVCPU_CR0_MP | XVCPU_CR0_ET | XVCPU_CR0_NE |
                                     XVCPU_CR0_WP | XVCPU_CR0_PG);
    xvcpui_write_flat_segments(vcpu, XVCPU_AR_DB);
    return xvcpui_take_fault(vcpu, error);
}

// A virtual CPU made for one processor may run on another if that one allows the same controls.
static xvcpu_status xvcpui_check_cpu(const xvcpu *vcpu, const xvcpu_cpu *cpu, xvcpu_error *error)
{
    xvcpu_u32 word;
    if (cpu->caps.revision != vcpu->caps.revision)
        return xvcpui_fail_msr(error, XVCPU_STATUS_CONTROL_UNSUPPORTED,
                               "VMCS revision of this CPU", XVCPU_MSR_IA32_VMX_BASIC,
                               cpu->caps.revision, vcpu->caps.revision);
    for (word = 0; word < XVCPU_WORD_COUNT; word++) {
        const xvcpu_control_caps *controls = &cpu->caps.controls[word];
        xvcpu_u64 must = controls->must_be_1;
        xvcpu_u64 bad;
        if (word == XVCPU_WORD_ENTRY)
            must &= ~XVCPU_ENTRY_IA32E_GUEST;
        bad = xvcpui_fixed_violation(vcpu->controls[word], must, controls->may_be_1);
        if (bad != 0)
            return xvcpui_fail_msr(error, XVCPU_STATUS_CONTROL_UNSUPPORTED,
                                   "controls of the virtual CPU on this CPU", controls->msr,
                                   vcpu->controls[word], bad);
    }
    // The guest may have an address in a register that this CPU's WRMSR would refuse.
    if (cpu->caps.linear_bits < vcpu->caps.linear_bits ||
        cpu->caps.physical_bits < vcpu->caps.physical_bits)
        return xvcpui_fail(error, XVCPU_STATUS_UNSUPPORTED,
                           "address widths of the virtual CPU on this CPU",
                           (xvcpu_u64)cpu->caps.linear_bits << 8 | cpu->caps.physical_bits, 0);
    if ((vcpu->ept->capability & ~cpu->caps.ept_vpid) != 0)
        return xvcpui_fail_msr(error, XVCPU_STATUS_UNSUPPORTED,
                               "EPT and VPID capabilities on this CPU",
                               XVCPU_MSR_IA32_VMX_EPT_VPID_CAP, cpu->caps.ept_vpid,
                               vcpu->ept->capability & ~cpu->caps.ept_vpid);
    if ((vcpu->features & ~cpu->caps.features) != 0)
        return xvcpui_fail(error, XVCPU_STATUS_UNSUPPORTED,
                           "features of the virtual CPU on this CPU", cpu->caps.features,
                           vcpu->features & ~cpu->caps.features);
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_status xvcpu_bind(xvcpu *vcpu, xvcpu_cpu *cpu, xvcpu_error *error)
{
    xvcpu_status status;
    xvcpu_vmx_result result;
    xvcpu_error local;
    if (!vcpu || vcpu->magic != XVCPUI_MAGIC_VCPU)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "virtual CPU not created", 0, 0);
    if (!xvcpu_cpu_is_enabled(cpu))
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "VMX is not enabled by this cpu", 0,
                           0);
    if (!xvcpui_is_this_cpu(cpu))
        return xvcpui_fail(error, XVCPU_STATUS_WRONG_CPU, "cpu.id is not this CPU", cpu->id, 0);
    if (vcpu->cpu)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "virtual CPU is bound already",
                           vcpu->cpu->id, 0);
    status = xvcpui_check_cpu(vcpu, cpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if (!error)
        error = &local;
    // VMCLEAR before the first VMPTRLD, and again on each CPU: it makes the launch state "clear"
    // and initialises what the processor keeps in the region beyond the fields.
    result = xvcpu_vmclear(vcpu->vmcs_pa);
    if (result != XVCPU_VMX_SUCCEED)
        return xvcpui_fail_vmx(error, result, "VMCLEAR");
    result = xvcpu_vmptrld(vcpu->vmcs_pa);
    if (result != XVCPU_VMX_SUCCEED)
        return xvcpui_fail_vmx(error, result, "VMPTRLD");
    vcpu->cpu = cpu;
    vcpu->active_on = cpu;
    vcpu->next_active = cpu->active;
    cpu->active = vcpu;
    cpu->current = vcpu;
    vcpu->launched = 0;
    vcpu->fault.status = XVCPU_STATUS_OK;
    // Translations from an earlier stay on this CPU, or of another user of the VPID, may be cached.
    vcpu->ept_generation = 0;
    vcpu->flush_vpid = 1;
    status = vcpu->set_up ? xvcpui_take_host(vcpu, error) : xvcpui_set_up(vcpu, error);
    if (status == XVCPU_STATUS_OK)
        status = xvcpui_take_fault(vcpu, error);
    if (status != XVCPU_STATUS_OK) {
        (void)xvcpui_deactivate(vcpu, XVCPUI_NULL);
        return status;
    }
    vcpu->set_up = 1;
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_status xvcpu_unbind(xvcpu *vcpu, xvcpu_error *error)
{
    if (!vcpu || vcpu->magic != XVCPUI_MAGIC_VCPU)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "virtual CPU not created", 0, 0);
    if (!vcpu->cpu)
        return xvcpui_fail(error, XVCPU_STATUS_NOT_BOUND, "virtual CPU not bound", 0, 0);
    if (!xvcpui_is_this_cpu(vcpu->cpu))
        return xvcpui_fail(error, XVCPU_STATUS_WRONG_CPU, "bound to another CPU", vcpu->cpu->id, 0);
    return xvcpui_deactivate(vcpu, error);
}

XVCPU_API xvcpu_status xvcpu_destroy(xvcpu *vcpu, xvcpu_error *error)
{
    if (!vcpu || vcpu->magic != XVCPUI_MAGIC_VCPU)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "virtual CPU not created", 0, 0);
    if (vcpu->cpu) {
        const xvcpu_status status = xvcpu_unbind(vcpu, error);
        if (status != XVCPU_STATUS_OK)
            return status;
    }
    xvcpui_free_pages(vcpu);
    return XVCPU_STATUS_OK;
}

XVCPU_API xvcpu_status xvcpu_set_ept(xvcpu *vcpu, xvcpu_ept *ept, xvcpu_error *error)
{
    xvcpu_status status;
    if (!ept || ept->magic != XVCPUI_MAGIC_EPT)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "ept is not an EPT", 0, 0);
    status = xvcpui_check_bound(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    vcpu->ept = ept;
    vcpu->ept_generation = 0;
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_EPTP, ept->eptp);
    return xvcpui_take_fault(vcpu, error);
}

XVCPU_API xvcpu_status xvcpu_set_handler(xvcpu *vcpu, xvcpu_u32 reason, xvcpu_exit_handler handler,
                                         void *context, xvcpu_error *error)
{
    if (!vcpu || vcpu->magic != XVCPUI_MAGIC_VCPU)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE, "virtual CPU not created", 0, 0);
    if (reason >= XVCPU_EXIT_REASON_COUNT)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_ARGUMENT, "exit reason", reason, 0);
    vcpu->handlers[reason] = handler;
    vcpu->handler_context[reason] = context;
    return XVCPU_STATUS_OK;
}

// -- Implementation: what VMX does not switch

// Guest registers that entry does not load and exit does not save are put in the processor once per
// xvcpu_run and taken out when it returns or a handler of the caller's runs, not at every exit.

static void xvcpui_load_debug(xvcpu *vcpu)
{
    xvcpu_host_state *host = &vcpu->host;
    const xvcpu_u64 dr7 = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_DR7);
    xvcpu_u32 i;
    // The addresses matter only while the guest has a breakpoint enabled.
    if (vcpu->guest_dr_loaded || (dr7 & XVCPU_DR7_ENABLE_MASK) == 0)
        return;
    for (i = 0; i < 4; i++) {
        host->dr[i] = xvcpu_read_dr(i);
        if (host->dr[i] != vcpu->dr[i])
            xvcpu_write_dr(i, vcpu->dr[i]);
    }
    vcpu->guest_dr_loaded = 1;
}

// x87, SSE and further state: host out, guest in (or the other way round). XCR0 is set wide enough
// for both sides, and ends as the side that comes in has it. Where the host has all that the guest
// may have, that is one XSETBV, and none while the guest has the same XCR0.
XVCPUI_INLINE void xvcpui_swap_fpu(xvcpu *vcpu, xvcpu_bool guest_in)
{
    const xvcpu_host_state *host = &vcpu->host;
    void *out = guest_in ? vcpu->host_xsave : vcpu->guest_xsave;
    void *in = guest_in ? vcpu->guest_xsave : vcpu->host_xsave;
    if (host->xcr0 == 0) {
        // FXSAVE may pass over the XMM registers where the host has SSE off. The guest has not.
        const xvcpu_bool sse_off = (host->cr4 & XVCPU_CR4_OSFXSR) == 0;
        if (XVCPUI_UNLIKELY(sse_off))
            xvcpu_write_cr4(host->cr4 | XVCPU_CR4_OSFXSR);
        xvcpu_fxsave(out);
        xvcpu_fxrstor(in);
        if (XVCPUI_UNLIKELY(sse_off))
            xvcpu_write_cr4(host->cr4);
    } else {
        // SSE needs no XSAVE: a host that left XCR0 as RESET made it and a guest that does not see
        // XSAVE have XMM registers all the same.
        const xvcpu_u64 legacy = XVCPU_XCR0_X87 | XVCPU_XCR0_SSE;
        const xvcpu_bool own = (vcpu->desc.leave_to_host & XVCPU_LEAVE_XCR0) == 0;
        const xvcpu_u64 guest_xcr0 = own ? vcpu->xcr0 : host->xcr0;
        const xvcpu_u64 guest_mask = (own ? vcpu->xcr0_allowed : host->xcr0) | legacy;
        const xvcpu_u64 host_mask = host->xcr0 | legacy;
        const xvcpu_u64 wide = host_mask | guest_mask;
        xvcpu_u64 *present = (xvcpu_u64 *)(void *)((xvcpu_u8 *)in + XVCPUI_XSAVE_XSTATE_BV);
        if ((guest_in ? host->xcr0 : guest_xcr0) != wide)
            xvcpu_xsetbv(wide);
        xvcpu_xsave(out, guest_in ? host_mask : guest_mask);
        // What was saved while the host's XCR0 had more bits would make XRSTOR fault.
        if (XVCPUI_UNLIKELY((*present & ~wide) != 0))
            *present &= wide;
        xvcpu_xrstor(in, guest_in ? guest_mask : host_mask);
        if ((guest_in ? guest_xcr0 : host->xcr0) != wide)
            xvcpu_xsetbv(guest_in ? guest_xcr0 : host->xcr0);
    }
}

XVCPUI_INLINE void xvcpui_swap_xcr0(xvcpu *vcpu, xvcpu_bool guest_in)
{
    const xvcpu_host_state *host = &vcpu->host;
    if ((vcpu->desc.leave_to_host & XVCPU_LEAVE_XCR0) != 0)
        return;
    if ((vcpu->desc.leave_to_host & XVCPU_LEAVE_FPU) != 0 && host->xcr0 != 0 &&
        host->xcr0 != vcpu->xcr0)
        xvcpu_xsetbv(guest_in ? vcpu->xcr0 : host->xcr0);
    if (xvcpui_has(vcpu, XVCPU_FEATURE_XSAVES) && host->xss != vcpu->xss)
        xvcpu_wrmsr(XVCPU_MSR_IA32_XSS, guest_in ? vcpu->xss : host->xss);
}

static void xvcpui_load_guest(xvcpu *vcpu)
{
    const xvcpu_bool leave_msrs = (vcpu->desc.leave_to_host & XVCPU_LEAVE_SYSCALL_MSRS) != 0;
    xvcpu_host_state *host = &vcpu->host;
    xvcpu_u32 i;
    if (vcpu->guest_loaded)
        return;
    vcpu->guest_loaded = 1;
    if (host->ts_em != 0)
        xvcpu_write_cr0(host->cr0);
    if ((vcpu->desc.leave_to_host & XVCPU_LEAVE_DEBUG_REGISTERS) == 0) {
        // Exits leave DR7 = 400h behind and do not touch the others. The host's breakpoints are off
        // already while its addresses are exchanged.
        host->dr7 = xvcpu_read_dr(7);
        if ((host->dr7 & XVCPU_DR7_ENABLE_MASK) != 0)
            xvcpu_write_dr(7, XVCPU_DR7_FIXED_1);
        host->dr6 = xvcpu_read_dr(6);
        if (host->dr6 != vcpu->dr6)
            xvcpu_write_dr(6, vcpu->dr6);
        xvcpui_load_debug(vcpu);
    }
    if (vcpu->desc.restore_debugctl)
        host->debugctl = xvcpu_rdmsr(XVCPU_MSR_IA32_DEBUGCTL);
    for (i = 0; i < XVCPU_SWITCHED_COUNT && !leave_msrs; i++) {
        if (!xvcpui_switches_msr(vcpu, i))
            continue;
        if (i == XVCPU_SWITCHED_KERNEL_GS_BASE) // SWAPGS in the host changes it at any time
            host->switched[i] = xvcpu_rdmsr(XVCPU_MSR_IA32_KERNEL_GS_BASE);
        if (host->switched[i] != vcpu->switched[i])
            xvcpu_wrmsr(xvcpui_switched_msrs[i], vcpu->switched[i]);
    }
    xvcpui_swap_xcr0(vcpu, 1);
    if ((vcpu->desc.leave_to_host & XVCPU_LEAVE_FPU) == 0)
        xvcpui_swap_fpu(vcpu, 1);
}

// SDM "Loading Host Segment and Descriptor-Table Registers": what an exit leaves there is not what
// the kernel had.
static void xvcpui_restore_tables(xvcpu *vcpu)
{
    const xvcpu_host_state *host = &vcpu->host;
    xvcpu_table_register table;
    if (host->gdtr_limit != 0xFFFFU) {
        table.base = host->gdtr_base;
        table.limit = host->gdtr_limit;
        xvcpu_lgdt(&table);
    }
    if (host->idtr_limit != 0xFFFFU) {
        table.base = host->idtr_base;
        table.limit = host->idtr_limit;
        xvcpu_lidt(&table);
    }
    if (host->ldtr != 0)
        xvcpu_lldt(host->ldtr);
    // An exit sets the limit to 67h. LTR reads the descriptor again but insists on "available"; the
    // exit itself left the descriptor in memory marked busy.
    if (host->tr_limit != 0x67U || (host->tr & 7U) != 0) {
        xvcpu_u8 *descriptor =
            (xvcpu_u8 *)(xvcpu_uptr)(host->gdtr_base + (xvcpu_u64)(host->tr & 0xFFF8U));
        descriptor[5] = (xvcpu_u8)(descriptor[5] & ~2U);
        xvcpu_ltr(host->tr);
    }
    if ((host->ds & 7U) != 0)
        xvcpu_load_selector(XVCPU_DS, host->ds);
    if ((host->es & 7U) != 0)
        xvcpu_load_selector(XVCPU_ES, host->es);
    if ((host->fs & 7U) != 0) {
        xvcpu_load_selector(XVCPU_FS, host->fs);
        xvcpu_wrmsr(XVCPU_MSR_IA32_FS_BASE, host->fs_base);
    }
    if ((host->gs & 7U) != 0) {
        xvcpu_load_selector(XVCPU_GS, host->gs);
        xvcpu_wrmsr(XVCPU_MSR_IA32_GS_BASE, host->gs_base);
    }
}

static void xvcpui_load_host(xvcpu *vcpu)
{
    const xvcpu_bool leave_msrs = (vcpu->desc.leave_to_host & XVCPU_LEAVE_SYSCALL_MSRS) != 0;
    xvcpu_host_state *host = &vcpu->host;
    xvcpu_u32 i;
    if (!vcpu->guest_loaded)
        return;
    vcpu->guest_loaded = 0;
    if ((vcpu->desc.leave_to_host & XVCPU_LEAVE_FPU) == 0)
        xvcpui_swap_fpu(vcpu, 0);
    xvcpui_swap_xcr0(vcpu, 0);
    for (i = 0; i < XVCPU_SWITCHED_COUNT && !leave_msrs; i++) {
        if (!xvcpui_switches_msr(vcpu, i))
            continue;
        if (i == XVCPU_SWITCHED_KERNEL_GS_BASE) // SWAPGS in the guest does not exit
            vcpu->switched[i] = xvcpu_rdmsr(XVCPU_MSR_IA32_KERNEL_GS_BASE);
        if (host->switched[i] != vcpu->switched[i])
            xvcpu_wrmsr(xvcpui_switched_msrs[i], host->switched[i]);
    }
    if ((vcpu->desc.leave_to_host & XVCPU_LEAVE_DESCRIPTOR_LIMITS) == 0)
        xvcpui_restore_tables(vcpu);
    if ((vcpu->desc.leave_to_host & XVCPU_LEAVE_DEBUG_REGISTERS) == 0) {
        vcpu->dr6 = xvcpu_read_dr(6);
        if (vcpu->dr6 != host->dr6)
            xvcpu_write_dr(6, host->dr6);
        if (vcpu->guest_dr_loaded) {
            for (i = 0; i < 4; i++)
                if (host->dr[i] != vcpu->dr[i])
                    xvcpu_write_dr(i, host->dr[i]);
            vcpu->guest_dr_loaded = 0;
        }
        // Last: the host's breakpoints work again from here.
        if (host->dr7 != XVCPU_DR7_FIXED_1)
            xvcpu_write_dr(7, host->dr7);
    }
    if (vcpu->desc.restore_debugctl && host->debugctl != 0)
        xvcpu_wrmsr(XVCPU_MSR_IA32_DEBUGCTL, host->debugctl);
    if (host->ts_em != 0)
        xvcpu_write_cr0(host->cr0 | host->ts_em);
}

// -- Implementation: run

#define XVCPUI_INVEPT_SINGLE 1U
#define XVCPUI_INVEPT_ALL 2U
#define XVCPUI_INVVPID_SINGLE 1U
#define XVCPUI_INVVPID_ALL 2U

// Drops cached translations that a change to the EPT or a new stay on this CPU made stale. The
// single-context form only where the processor has it.
static xvcpu_status xvcpui_invalidate(xvcpu *vcpu, xvcpu_error *error)
{
    const xvcpu_u64 capability = vcpu->caps.ept_vpid;
    const xvcpu_u64 generation = __atomic_load_n(&vcpu->ept->generation, __ATOMIC_ACQUIRE);
    xvcpu_vmx_result result;
    if (vcpu->ept_generation != generation) {
        result = xvcpu_invept((capability & XVCPU_VMX_EPT_VPID_CAP_INVEPT_SINGLE) != 0
                                   ? XVCPUI_INVEPT_SINGLE
                                   : XVCPUI_INVEPT_ALL,
                               vcpu->ept->eptp);
        if (result != XVCPU_VMX_SUCCEED)
            return xvcpui_fail_vmx(error, result, "INVEPT");
        vcpu->ept_generation = generation;
    }
    if (vcpu->flush_vpid) {
        result = !xvcpui_control(vcpu, XVCPU_WORD_PROC2, XVCPU_PROC2_VPID)
                     ? XVCPU_VMX_SUCCEED
                     : xvcpu_invvpid((capability & XVCPU_VMX_EPT_VPID_CAP_INVVPID_SINGLE) != 0
                                          ? XVCPUI_INVVPID_SINGLE
                                          : XVCPUI_INVVPID_ALL,
                                      vcpu->desc.vpid, 0);
        if (result != XVCPU_VMX_SUCCEED)
            return xvcpui_fail_vmx(error, result, "INVVPID");
        vcpu->flush_vpid = 0;
    }
    return XVCPU_STATUS_OK;
}

static xvcpu_u32 xvcpui_timer_value(const xvcpu *vcpu, xvcpu_u64 ticks)
{
    const xvcpu_u64 value = ticks >> vcpu->caps.timer_shift;
    return value > 0xFFFFFFFFU ? 0xFFFFFFFFU : (xvcpu_u32)value;
}

static void xvcpui_stop_timer(xvcpu *vcpu)
{
    vcpu->budget_ticks = 0;
    if (!xvcpui_control(vcpu, XVCPU_WORD_PIN, XVCPU_PIN_PREEMPTION_TIMER))
        return;
    vcpu->controls[XVCPU_WORD_PIN] &= ~XVCPU_PIN_PREEMPTION_TIMER;
    vcpu->controls[XVCPU_WORD_EXIT] &= ~XVCPU_EXIT_SAVE_PREEMPTION_TIMER;
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_PIN, vcpu->controls[XVCPU_WORD_PIN]);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_EXIT, vcpu->controls[XVCPU_WORD_EXIT]);
}

XVCPU_API xvcpu_status xvcpu_set_budget(xvcpu *vcpu, xvcpu_u64 tsc_ticks, xvcpu_error *error)
{
    xvcpu_status status = xvcpui_check_bound(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if (tsc_ticks == 0) {
        xvcpui_stop_timer(vcpu);
        return xvcpui_take_fault(vcpu, error);
    }
    if (!xvcpui_can(&vcpu->caps, XVCPU_WORD_PIN, XVCPU_PIN_PREEMPTION_TIMER))
        return xvcpui_fail_msr(error, XVCPU_STATUS_UNSUPPORTED, "VMX-preemption timer",
                               vcpu->caps.controls[XVCPU_WORD_PIN].msr,
                               vcpu->caps.controls[XVCPU_WORD_PIN].may_be_1,
                               XVCPU_PIN_PREEMPTION_TIMER);
    vcpu->budget_ticks = tsc_ticks;
    vcpu->budget_end = xvcpu_rdtsc() + tsc_ticks;
    if (vcpu->budget_end < tsc_ticks)
        vcpu->budget_end = ~(xvcpu_u64)0;
    vcpu->controls[XVCPU_WORD_PIN] |= XVCPU_PIN_PREEMPTION_TIMER;
    // Where the processor saves what is left, exits handled inside cost the budget nothing.
    if (xvcpui_can(&vcpu->caps, XVCPU_WORD_EXIT, XVCPU_EXIT_SAVE_PREEMPTION_TIMER))
        vcpu->controls[XVCPU_WORD_EXIT] |= XVCPU_EXIT_SAVE_PREEMPTION_TIMER;
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_PIN, vcpu->controls[XVCPU_WORD_PIN]);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_CTRL_EXIT, vcpu->controls[XVCPU_WORD_EXIT]);
    xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_PREEMPTION_TIMER, xvcpui_timer_value(vcpu, tsc_ticks));
    return xvcpui_take_fault(vcpu, error);
}

XVCPU_API void xvcpu_kick(xvcpu *vcpu)
{
    if (vcpu)
        __atomic_store_n(&vcpu->kick, 1U, __ATOMIC_RELEASE);
}

// All that has to be right before an entry and usually is already.
static XVCPUI_COLD xvcpu_status xvcpui_prepare_slow(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpui_prepare_events(vcpu);
    return xvcpui_invalidate(vcpu, error);
}

static XVCPUI_COLD xvcpu_status xvcpui_entry_vmfail(xvcpu *vcpu, xvcpu_u32 outcome,
                                                    xvcpu_error *error)
{
    // The launch state is untouched: the next attempt uses the same instruction.
    const char *instruction = vcpu->launched != 0 ? "VMRESUME" : "VMLAUNCH";
    const xvcpu_status status = xvcpui_fail_vmx(error, (xvcpu_vmx_result)outcome, instruction);
    xvcpui_cancel_injection(vcpu);
    xvcpui_log(vcpu->context, XVCPU_LOG_ERROR, instruction,
               error ? xvcpu_instruction_error_text(error->instruction_error) : "VM-fail", outcome,
               error ? error->instruction_error : 0);
    return status;
}

static XVCPUI_COLD xvcpu_status xvcpui_entry_failed(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_exit *exit = &vcpu->exit;
    const xvcpu_u64 qualification = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_QUALIFICATION);
    exit->kind = XVCPU_EXIT_PLAIN;
    exit->qualification = qualification;
    xvcpui_cancel_injection(vcpu);
    (void)xvcpui_fail(error, XVCPU_STATUS_ENTRY_FAILED, xvcpu_exit_reason_name(exit->reason), 0, 0);
    if (error) {
        error->exit_reason = exit->reason_word;
        error->qualification = qualification;
    }
    xvcpui_log(vcpu->context, XVCPU_LOG_ERROR, "VM entry failed",
               xvcpu_exit_reason_name(exit->reason), exit->reason_word, qualification);
    return XVCPU_STATUS_ENTRY_FAILED;
}

// Exits that may come in the middle of an event's delivery. Reasons newer than this table are asked
// as well.
#define XVCPUI_DELIVERY_REASONS                                                                    \
    (XVCPU_BIT64(XVCPU_EXIT_REASON_EXCEPTION_NMI) | XVCPU_BIT64(XVCPU_EXIT_REASON_TASK_SWITCH) |   \
     XVCPU_BIT64(XVCPU_EXIT_REASON_APIC_ACCESS) | XVCPU_BIT64(XVCPU_EXIT_REASON_EPT_VIOLATION) |   \
     XVCPU_BIT64(XVCPU_EXIT_REASON_EPT_MISCONFIG) | XVCPU_BIT64(XVCPU_EXIT_REASON_PML_FULL))

XVCPUI_INLINE xvcpu_bool xvcpui_may_interrupt_delivery(xvcpu_u32 reason)
{
    return reason < 64U ? (XVCPUI_DELIVERY_REASONS >> reason & 1U) != 0
                        : reason == XVCPU_EXIT_REASON_SPP_EVENT ||
                              reason >= XVCPU_EXIT_REASON_BUS_LOCK;
}

// An NMI that ended the run is the host's: its handler runs now, on the host's own state.
static XVCPUI_COLD xvcpu_action xvcpui_host_nmi_exit(xvcpu *vcpu)
{
    xvcpui_load_host(vcpu);
#ifdef XVCPU_HOST_NMI
    xvcpui_hook_host_nmi(vcpu->context);
#else
    // A kernel without an IDT entry for vector 2 gets the exit instead.
    if (vcpu->host.idtr_limit < 16U * 3U - 1U)
        return XVCPU_ACTION_RETURN;
    xvcpu_host_nmi();
#endif
    xvcpui_load_guest(vcpu);
    return XVCPU_ACTION_HANDLED;
}

// #DB and #AC are intercepted for the host's safety alone: the guest gets them back unless the
// caller asked for them.
static XVCPUI_COLD xvcpu_action xvcpui_exception_exit(xvcpu *vcpu)
{
    const xvcpu_exit_exception *exception = &vcpu->exit.u.exception;
    const xvcpu_u32 reflected = XVCPU_BIT32(XVCPU_EXCEPTION_DB) | XVCPU_BIT32(XVCPU_EXCEPTION_AC);
    if (exception->type == XVCPU_INTR_TYPE_NMI)
        return xvcpui_host_nmi_exit(vcpu);
    if (exception->vector > 31 ||
        ((reflected & ~vcpu->desc.exception_bitmap) >> exception->vector & 1U) == 0)
        return XVCPU_ACTION_RETURN;
    xvcpui_reflect(vcpu);
    return XVCPU_ACTION_INJECTED;
}

// After code of the caller's in the middle of a run. It may have looked at another virtual CPU,
// whose VMCS is current then, and have changed what the host finds itself with after the next exit.
// False: the guest cannot go on, as it was unbound for one; vcpu->fault says why.
static xvcpu_bool xvcpui_resume_guest(xvcpu *vcpu)
{
    xvcpu_error why;
    if (xvcpui_check_bound(vcpu, &why) != XVCPU_STATUS_OK ||
        xvcpui_refresh_host(vcpu, &why) != XVCPU_STATUS_OK) {
        xvcpui_copy(&vcpu->fault, &why, sizeof why);
        return 0;
    }
    xvcpui_load_guest(vcpu);
    return 1;
}

static __attribute__((noinline)) xvcpu_action xvcpui_dispatch_user(xvcpu *vcpu, xvcpu_exit *exit)
{
    xvcpu_action action;
    if (exit->reason == XVCPU_EXIT_REASON_EXCEPTION_NMI &&
        exit->u.exception.type == XVCPU_INTR_TYPE_NMI)
        return XVCPU_ACTION_DEFAULT;
    xvcpui_load_host(vcpu);
    action = vcpu->handlers[exit->reason](vcpu, exit, vcpu->handler_context[exit->reason]);
    if (!xvcpui_resume_guest(vcpu))
        return XVCPU_ACTION_RETURN;
    // Answered here or between two runs, that makes no difference.
    if ((action == XVCPU_ACTION_HANDLED || action == XVCPU_ACTION_INJECTED) &&
        exit->answer != XVCPU_ANSWER_NONE) {
        xvcpu_error why;
        if (xvcpui_complete(vcpu, &why) != XVCPU_STATUS_OK) {
            xvcpui_copy(&vcpu->fault, &why, sizeof why);
            return XVCPU_ACTION_RETURN;
        }
    }
    return action;
}

// A breakpoint enabled by MOV DR needs the addresses in the processor before the guest goes on.
static xvcpu_action xvcpui_debug_exit(xvcpu *vcpu)
{
    const xvcpu_action action = xvcpui_builtin(vcpu, &vcpu->exit);
    if (xvcpui_dr6_is_live(vcpu))
        xvcpui_load_debug(vcpu);
    return action;
}

XVCPUI_INLINE xvcpu_action xvcpui_dispatch(xvcpu *vcpu, xvcpu_exit *exit)
{
    const xvcpu_u32 reason = exit->reason;
#ifdef XVCPU_HOST_INTERRUPT
    // Acknowledged on exit, the interrupt exists nowhere but here: it is handed over before anybody
    // else sees the exit, with interrupts still off, and exactly once.
    if (XVCPUI_UNLIKELY(reason == XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT) &&
        (exit->interruption_info & XVCPU_INTR_INFO_VALID) != 0) {
        xvcpui_load_host(vcpu);
        xvcpui_hook_host_interrupt(vcpu->context, exit->u.vector);
        if (!xvcpui_resume_guest(vcpu))
            return XVCPU_ACTION_RETURN;
    }
#endif
    if (reason < XVCPU_EXIT_REASON_COUNT && XVCPUI_UNLIKELY(vcpu->handlers[reason] != 0)) {
        const xvcpu_action action = xvcpui_dispatch_user(vcpu, exit);
        if (action != XVCPU_ACTION_DEFAULT)
            return action;
    }
    if (XVCPUI_UNLIKELY(vcpu->desc.cpuid_hook != 0) && reason == XVCPU_EXIT_REASON_CPUID) {
        // The hook is the caller's code, like a handler.
        xvcpu_action action;
        xvcpui_load_host(vcpu);
        action = xvcpui_builtin(vcpu, exit);
        return xvcpui_resume_guest(vcpu) ? action : XVCPU_ACTION_RETURN;
    }
    if (XVCPUI_UNLIKELY(reason == XVCPU_EXIT_REASON_EXCEPTION_NMI))
        return xvcpui_exception_exit(vcpu);
    if (XVCPUI_UNLIKELY(reason == XVCPU_EXIT_REASON_MOV_DR))
        return xvcpui_debug_exit(vcpu);
    return xvcpui_builtin(vcpu, exit);
}

#define XVCPUI_NO_REASON 0xFFFFFFFFU // an exit-reason word that cannot occur

// Enters the guest, and again as long as all it does is plain CPUID: nothing that has to be looked
// at before an entry changes by that, but for what other CPUs change. `*word` is the exit-reason
// word; `plain` is XVCPU_EXIT_REASON_CPUID, or XVCPUI_NO_REASON if those exits go the general way
// too. Returns what the trampoline does.
XVCPUI_INLINE xvcpu_u32 xvcpui_enter_repeatedly(xvcpu *vcpu, xvcpu_u32 plain, xvcpu_u32 *word)
{
    const xvcpu_u64 *generation = &vcpu->ept->generation;
    const xvcpu_u64 known = vcpu->ept_generation;
    xvcpu_u32 outcome;
    for (;;) {
        xvcpui_trace_entry(vcpu);
        outcome = xvcpui_enter(vcpu);
        xvcpui_trace_exit(vcpu);
        if (XVCPUI_UNLIKELY(outcome != 0))
            return outcome;
        *word = (xvcpu_u32)xvcpui_vmcs_read(vcpu, XVCPU_VMCS_EXIT_REASON);
        if (*word != plain)
            return 0;
        xvcpui_plain_cpuid(vcpu);
        if (XVCPUI_UNLIKELY((__atomic_load_n(&vcpu->kick, __ATOMIC_RELAXED) |
                             (xvcpu_u32)vcpu->fault.status) != 0) ||
            XVCPUI_UNLIKELY(__atomic_load_n(generation, __ATOMIC_ACQUIRE) != known))
            return 0;
    }
}

static xvcpu_status xvcpui_run_guest(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_exit *exit = &vcpu->exit;
    xvcpu_status status;
    xvcpu_action action = XVCPU_ACTION_HANDLED;
    xvcpu_u32 outcome, plain;
    do {
        plain = XVCPUI_NO_REASON;
        if (XVCPUI_UNLIKELY(__atomic_load_n(&vcpu->kick, __ATOMIC_ACQUIRE) != 0)) {
            __atomic_store_n(&vcpu->kick, 0U, __ATOMIC_RELEASE);
            exit->kind = XVCPU_EXIT_KICKED;
            return xvcpui_take_fault(vcpu, error);
        }
        if (XVCPUI_UNLIKELY(xvcpui_events_pending(vcpu) ||
                            vcpu->ept_generation != vcpu->ept->generation || vcpu->flush_vpid)) {
            status = xvcpui_prepare_slow(vcpu, error);
            if (status != XVCPU_STATUS_OK)
                return status;
            if (vcpu->queue.triple_fault) {
                // What the merged exceptions amount to; the guest is not entered any more.
                vcpu->queue.triple_fault = 0;
                exit->reason = XVCPU_EXIT_REASON_TRIPLE_FAULT;
                exit->reason_word = XVCPU_EXIT_REASON_TRIPLE_FAULT;
                exit->kind = XVCPU_EXIT_PLAIN;
                return xvcpui_take_fault(vcpu, error);
            }
        } else if (XVCPUI_LIKELY(vcpu->launched != 0) && xvcpui_cpuid_is_plain(vcpu)) {
            plain = XVCPU_EXIT_REASON_CPUID;
        }
        if (XVCPUI_UNLIKELY(vcpu->budget_ticks != 0) &&
            !xvcpui_control(vcpu, XVCPU_WORD_EXIT, XVCPU_EXIT_SAVE_PREEMPTION_TIMER)) {
            const xvcpu_u64 now = xvcpu_rdtsc();
            plain = XVCPUI_NO_REASON; // the timer is set anew before each entry
            xvcpui_vmcs_write(vcpu, XVCPU_VMCS_GUEST_PREEMPTION_TIMER,
                              now >= vcpu->budget_end
                                  ? 0U
                                  : xvcpui_timer_value(vcpu, vcpu->budget_end - now));
        }
        status = xvcpui_take_fault(vcpu, error);
        if (XVCPUI_UNLIKELY(status != XVCPU_STATUS_OK))
            return status;

        outcome = xvcpui_enter_repeatedly(vcpu, plain, &exit->reason_word);
        if (XVCPUI_UNLIKELY(outcome != 0))
            return xvcpui_entry_vmfail(vcpu, outcome, error);
        if (XVCPUI_UNLIKELY(exit->reason_word == plain))
            continue; // handled; but there is something to look at before the guest goes on
        exit->reason = exit->reason_word & (xvcpu_u32)XVCPU_EXIT_REASON_WORD_BASIC_MASK;
        if (XVCPUI_UNLIKELY((exit->reason_word & XVCPU_EXIT_REASON_WORD_ENTRY_FAILURE) != 0))
            return xvcpui_entry_failed(vcpu, error);
        vcpu->launched = 1;
        exit->rip = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_RIP);
        vcpu->statistics.exits[xvcpui_min32(exit->reason, XVCPU_EXIT_REASON_COUNT)]++;
        if (XVCPUI_UNLIKELY(xvcpui_may_interrupt_delivery(exit->reason)))
            xvcpui_requeue(vcpu);
        xvcpui_decode(vcpu);
#ifdef XVCPU_MMIO_DECODER
        if (exit->reason == XVCPU_EXIT_REASON_EPT_VIOLATION)
            xvcpui_decode_mmio_exit(vcpu);
#endif
        // Now, as a handler may set the next budget.
        if (XVCPUI_UNLIKELY(exit->reason == XVCPU_EXIT_REASON_PREEMPTION_TIMER))
            xvcpui_stop_timer(vcpu);
        action = xvcpui_dispatch(vcpu, exit);
    } while (XVCPUI_LIKELY(action != XVCPU_ACTION_RETURN));
    return xvcpui_take_fault(vcpu, error);
}

XVCPU_API xvcpu_status xvcpu_run(xvcpu *vcpu, xvcpu_error *error)
{
    xvcpu_error local;
    xvcpu_status status;
    xvcpu_u64 activity;
    if (!error)
        error = &local;
    status = xvcpui_check_bound(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    if (vcpu->exit.answer != XVCPU_ANSWER_NONE) {
        status = xvcpui_complete(vcpu, error);
        if (status != XVCPU_STATUS_OK)
            return status;
    }
    vcpu->exit.kind = XVCPU_EXIT_PLAIN;
    // Neither an interrupt nor the preemption timer would end these states: the guest would have
    // the processor for good.
    activity = xvcpui_vmcs_read(vcpu, XVCPU_VMCS_GUEST_ACTIVITY_STATE);
    if (activity == XVCPU_ACTIVITY_WAIT_FOR_SIPI || activity == XVCPU_ACTIVITY_SHUTDOWN)
        return xvcpui_fail(error, XVCPU_STATUS_INVALID_STATE,
                           activity == XVCPU_ACTIVITY_SHUTDOWN
                               ? "the guest is shut down: reset it with a preset"
                               : "the guest waits for a SIPI: see xvcpu_start_sipi",
                           activity, 0);
    status = xvcpui_refresh_host(vcpu, error);
    if (status != XVCPU_STATUS_OK)
        return status;
    xvcpui_load_guest(vcpu);
    status = xvcpui_run_guest(vcpu, error);
    xvcpui_load_host(vcpu);
    return status;
}

// -- Implementation: dump

// Where each word of controls is, in the order of xvcpu_control_word.
static const xvcpu_u16 xvcpui_control_fields[] = {
#define XVCPUI_ROW(name, text, field, msr, true_msr) XVCPU_VMCS_##field,
    XVCPU_CONTROL_WORDS(XVCPUI_ROW)
#undef XVCPUI_ROW
};

// A failed VMREAD here is left out, not kept in vcpu->fault: a dump is what people look at when
// something is wrong already.
static xvcpu_bool xvcpui_dump_read(const xvcpu *vcpu, xvcpu_u32 field, xvcpu_u64 *value)
{
    return xvcpu_vmcs_field_exists(&vcpu->caps, field) &&
           xvcpu_vmread(field, value) == XVCPU_VMX_SUCCEED;
}

static void xvcpui_dump_line(xvcpu *vcpu, const char *item, const char *text, xvcpu_u64 a,
                             xvcpu_u64 b)
{
    xvcpui_log(vcpu->context, XVCPU_LOG_INFO, item, text, a, b);
    (void)vcpu, (void)item, (void)text, (void)a, (void)b; // the hook may use none
}

// One line a bit that is set: word, name of the bit, its number, the word.
static void xvcpui_dump_controls(xvcpu *vcpu, xvcpu_control_word word)
{
    xvcpu_u64 value;
    xvcpu_u32 bit;
    if (!xvcpui_dump_read(vcpu, xvcpui_control_fields[word], &value))
        return;
    for (bit = 0; bit < 64; bit++)
        if ((value >> bit & 1U) != 0)
            xvcpui_dump_line(vcpu, xvcpu_control_name(word, bit), xvcpu_control_word_name(word),
                             bit, value);
}

static void xvcpui_dump_event(xvcpu *vcpu, const char *item, const xvcpu_event *event)
{
    if (event->info == 0)
        return;
    xvcpui_dump_line(vcpu, item, "information, error code", event->info, event->error_code);
    xvcpui_dump_line(vcpu, item, "instruction length, payload", event->length,
                     event->has_payload ? event->payload : 0);
}

static void xvcpui_dump_queue(xvcpu *vcpu)
{
    const xvcpu_event_queue *queue = &vcpu->queue;
    xvcpu_u32 i;
    xvcpui_dump_event(vcpu, "queue: interrupted", &queue->interrupted);
    xvcpui_dump_event(vcpu, "queue: exception", &queue->exception);
    for (i = 0; i < 4; i++)
        if (queue->interrupts[i] != 0)
            xvcpui_dump_line(vcpu, "queue: interrupts", "first vector, waiting (a bit a vector)",
                             i * 64U, queue->interrupts[i]);
    xvcpui_dump_line(vcpu, "queue: NMIs", "waiting, triple fault", queue->nmis,
                     queue->triple_fault);
}

XVCPU_API void xvcpu_dump(xvcpu *vcpu)
{
    xvcpu_error error;
    xvcpu_u64 value;
    xvcpu_u32 i;
    if (xvcpui_check_bound(vcpu, &error) != XVCPU_STATUS_OK) {
        xvcpui_log(XVCPUI_NULL, XVCPU_LOG_ERROR, "dump", error.detail, error.status, 0);
        return;
    }
    for (i = 0; i < XVCPUI_VMCS_FIELD_COUNT; i++) {
        const xvcpu_u32 field = xvcpui_vmcs_fields[i].encoding;
        if (xvcpui_dump_read(vcpu, field, &value))
            xvcpui_dump_line(vcpu, xvcpu_vmcs_field_name(field), "VMCS field, value", field, value);
    }
    for (i = 0; i < XVCPU_WORD_COUNT; i++)
        xvcpui_dump_controls(vcpu, (xvcpu_control_word)i);
    for (i = 0; i < 16; i++)
        if (i != XVCPU_RSP) // in the VMCS
            xvcpui_dump_line(vcpu, xvcpu_register_name((xvcpu_reg)(XVCPU_REG_RAX + i)),
                             "general register, value", i, vcpu->gpr[i]);
    xvcpui_dump_line(vcpu, xvcpu_register_name(XVCPU_REG_CR2), "value", 0, vcpu->cr2);
    xvcpui_dump_line(vcpu, xvcpu_register_name(XVCPU_REG_CR8), "value", 0, vcpu->cr8);
    xvcpui_dump_line(vcpu, xvcpu_register_name(XVCPU_REG_XCR0), "value", 0, vcpu->xcr0);
    for (i = 0; i < 4; i++)
        xvcpui_dump_line(vcpu, xvcpu_register_name((xvcpu_reg)(XVCPU_REG_DR0 + i)), "value", i,
                         vcpu->dr[i]);
    xvcpui_dump_line(vcpu, xvcpu_register_name(XVCPU_REG_DR6), "value", 6, vcpu->dr6);
    xvcpui_dump_queue(vcpu);
    xvcpui_dump_line(vcpu, xvcpu_exit_reason_name(vcpu->exit.reason),
                     "last exit: reason word, RIP", vcpu->exit.reason_word, vcpu->exit.rip);
}

#endif // XVCPU_IMPLEMENTATION

#ifdef __cplusplus
}
#endif
#ifdef XVCPUI_TARGET_PRAGMA
#undef XVCPUI_TARGET_PRAGMA
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
#endif // XVCPU_DEFINITIONS_ONLY
#endif // instructions or implementation

// Choose either license; the full texts are in the file LICENSE.
//   A  MIT: Copyright (c) 2026 The xvcpu authors. Use, copy, modify, merge, publish, distribute,
//      sublicense and sell it freely, provided this notice stays; no warranty of any kind.
//   B  Public domain (www.unlicense.org): do with it what you like; no warranty of any kind.
