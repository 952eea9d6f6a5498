// Part of sim.c: the processor models. Values as real processors of these generations have them,
// put together from named bits; what a model lacks is as telling as what it has.

typedef struct sim_model {
    const char *name;
    xvcpu_u32 signature; // CPUID.1:EAX
    xvcpu_u32 max_leaf;
    xvcpu_u32 physical_bits, linear_bits;
    xvcpu_u64 basic, misc, vmcs_enum, ept_vpid;
    xvcpu_u64 cr4;                        // IA32_VMX_CR4_FIXED1
    xvcpu_u64 controls[XVCPU_WORD_COUNT]; // what may be 1 beyond what must be
    xvcpu_u32 ecx1, edx1, ebx7, ecx7, edx7, ext_ecx1, ext_edx1;
    xvcpu_u64 xcr0, xss;
} sim_model;

// "Must be 1" of the four old words: plain MSR and TRUE MSR.
#define SIM_PIN_ONE 0x16U
#define SIM_PROC1_ONE 0x0401E172U
#define SIM_PROC1_ONE_TRUE 0x04006172U
#define SIM_EXIT_ONE 0x00036DFFU
#define SIM_EXIT_ONE_TRUE 0x00036DFBU
#define SIM_ENTRY_ONE 0x000011FFU
#define SIM_ENTRY_ONE_TRUE 0x000011FBU

#define SIM_PIN_OLD (XVCPU_PIN_EXT_INTR_EXITING | XVCPU_PIN_NMI_EXITING | XVCPU_PIN_VIRTUAL_NMIS)
#define SIM_PIN_NEW (SIM_PIN_OLD | XVCPU_PIN_PREEMPTION_TIMER)
#define SIM_PROC1_MINIMAL                                                                          \
    (XVCPU_PROC1_INTR_WINDOW_EXITING | XVCPU_PROC1_TSC_OFFSETTING | XVCPU_PROC1_HLT_EXITING |      \
     XVCPU_PROC1_INVLPG_EXITING | XVCPU_PROC1_MWAIT_EXITING | XVCPU_PROC1_RDPMC_EXITING |          \
     XVCPU_PROC1_RDTSC_EXITING | XVCPU_PROC1_CR3_LOAD_EXITING | XVCPU_PROC1_CR3_STORE_EXITING |    \
     XVCPU_PROC1_CR8_LOAD_EXITING | XVCPU_PROC1_CR8_STORE_EXITING | XVCPU_PROC1_MOV_DR_EXITING |   \
     XVCPU_PROC1_UNCOND_IO_EXITING | XVCPU_PROC1_IO_BITMAPS | XVCPU_PROC1_MONITOR_EXITING |        \
     XVCPU_PROC1_PAUSE_EXITING)
#define SIM_PROC1_OLD                                                                              \
    (SIM_PROC1_MINIMAL | XVCPU_PROC1_TPR_SHADOW | XVCPU_PROC1_NMI_WINDOW_EXITING |                 \
     XVCPU_PROC1_MSR_BITMAPS | XVCPU_PROC1_ACTIVATE_SECONDARY)
#define SIM_PROC1_NEW (SIM_PROC1_OLD | XVCPU_PROC1_MTF)
#define SIM_EXIT_OLD (XVCPU_EXIT_HOST_64BIT | XVCPU_EXIT_ACK_INTR | XVCPU_EXIT_SAVE_DEBUG)
#define SIM_EXIT_NEW                                                                               \
    (SIM_EXIT_OLD | XVCPU_EXIT_LOAD_PERF_GLOBAL_CTRL | XVCPU_EXIT_SAVE_PAT | XVCPU_EXIT_LOAD_PAT | \
     XVCPU_EXIT_SAVE_EFER | XVCPU_EXIT_LOAD_EFER | XVCPU_EXIT_SAVE_PREEMPTION_TIMER)
#define SIM_ENTRY_OLD (XVCPU_ENTRY_IA32E_GUEST | XVCPU_ENTRY_LOAD_DEBUG)
#define SIM_ENTRY_NEW                                                                              \
    (SIM_ENTRY_OLD | XVCPU_ENTRY_LOAD_PERF_GLOBAL_CTRL | XVCPU_ENTRY_LOAD_PAT |                    \
     XVCPU_ENTRY_LOAD_EFER)
#define SIM_PROC2_NEHALEM                                                                          \
    (XVCPU_PROC2_VIRT_APIC_ACCESSES | XVCPU_PROC2_EPT | XVCPU_PROC2_DESC_TABLE_EXITING |           \
     XVCPU_PROC2_RDTSCP | XVCPU_PROC2_VIRT_X2APIC | XVCPU_PROC2_VPID | XVCPU_PROC2_WBINVD_EXITING)
#define SIM_PROC2_HASWELL                                                                          \
    (SIM_PROC2_NEHALEM | XVCPU_PROC2_UNRESTRICTED_GUEST | XVCPU_PROC2_APIC_REG_VIRT |              \
     XVCPU_PROC2_VIRT_INTR_DELIVERY | XVCPU_PROC2_PAUSE_LOOP_EXITING |                             \
     XVCPU_PROC2_RDRAND_EXITING | XVCPU_PROC2_INVPCID | XVCPU_PROC2_VMFUNC |                       \
     XVCPU_PROC2_VMCS_SHADOWING)
#define SIM_PROC2_SKYLAKE                                                                          \
    (SIM_PROC2_HASWELL | XVCPU_PROC2_ENCLS_EXITING | XVCPU_PROC2_RDSEED_EXITING |                  \
     XVCPU_PROC2_PML | XVCPU_PROC2_EPT_VIOLATION_VE | XVCPU_PROC2_XSAVES | XVCPU_PROC2_MBEC |      \
     XVCPU_PROC2_TSC_SCALING)
#define SIM_PROC2_TIGERLAKE                                                                        \
    (SIM_PROC2_SKYLAKE | XVCPU_PROC2_SPP | XVCPU_PROC2_USER_WAIT_PAUSE)

// revision, region bytes and the bits above 48
#define SIM_BASIC(revision, bytes, high)                                                           \
    ((xvcpu_u64)(revision) | ((xvcpu_u64)(bytes) << 32) | ((xvcpu_u64)6 << 50) |                   \
     XVCPU_VMX_BASIC_DUAL_MONITOR | XVCPU_VMX_BASIC_INS_OUTS_INFO | (high))
#define SIM_MISC(rate, high)                                                                       \
    ((xvcpu_u64)(rate) | XVCPU_VMX_MISC_ACTIVITY_HLT | XVCPU_VMX_MISC_ACTIVITY_SHUTDOWN |          \
     XVCPU_VMX_MISC_ACTIVITY_WAIT_FOR_SIPI | ((xvcpu_u64)4 << 16) | (high))
#define SIM_EPT_NEHALEM                                                                            \
    (XVCPU_VMX_EPT_VPID_CAP_EXECUTE_ONLY | XVCPU_VMX_EPT_VPID_CAP_WALK_4 |                         \
     XVCPU_VMX_EPT_VPID_CAP_MEMORY_UC | XVCPU_VMX_EPT_VPID_CAP_MEMORY_WB |                         \
     XVCPU_VMX_EPT_VPID_CAP_PAGE_2M | XVCPU_VMX_EPT_VPID_CAP_INVEPT |                              \
     XVCPU_VMX_EPT_VPID_CAP_INVEPT_SINGLE | XVCPU_VMX_EPT_VPID_CAP_INVEPT_ALL |                    \
     XVCPU_VMX_EPT_VPID_CAP_INVVPID | XVCPU_VMX_EPT_VPID_CAP_INVVPID_ADDRESS |                     \
     XVCPU_VMX_EPT_VPID_CAP_INVVPID_SINGLE | XVCPU_VMX_EPT_VPID_CAP_INVVPID_ALL |                  \
     XVCPU_VMX_EPT_VPID_CAP_INVVPID_SINGLE_GLOBALS)
#define SIM_EPT_HASWELL                                                                            \
    (SIM_EPT_NEHALEM | XVCPU_VMX_EPT_VPID_CAP_PAGE_1G | XVCPU_VMX_EPT_VPID_CAP_ACCESSED_DIRTY)

#define SIM_CR4_OLD XVCPU_BITS64(10, 0) | XVCPU_CR4_VMXE | XVCPU_CR4_SMXE
#define SIM_CR4_HASWELL                                                                            \
    (SIM_CR4_OLD | XVCPU_CR4_FSGSBASE | XVCPU_CR4_PCIDE | XVCPU_CR4_OSXSAVE | XVCPU_CR4_SMEP)

#define SIM_EDX1 0xBFEBFBFFU
#define SIM_ECX1_OLD                                                                               \
    ((xvcpu_u32)(XVCPU_CPUID_1_ECX_SSE3 | XVCPU_CPUID_1_ECX_DTES64 | XVCPU_CPUID_1_ECX_MONITOR |   \
                 XVCPU_CPUID_1_ECX_VMX | XVCPU_CPUID_1_ECX_SSSE3 | XVCPU_CPUID_1_ECX_CMPXCHG16B |  \
                 XVCPU_CPUID_1_ECX_PDCM | XVCPU_CPUID_1_ECX_SSE4_1))
#define SIM_ECX1_NEHALEM                                                                           \
    (SIM_ECX1_OLD | (xvcpu_u32)(XVCPU_CPUID_1_ECX_SSE4_2 | XVCPU_CPUID_1_ECX_X2APIC |              \
                                XVCPU_CPUID_1_ECX_POPCNT))
#define SIM_ECX1_HASWELL                                                                           \
    (SIM_ECX1_NEHALEM |                                                                            \
     (xvcpu_u32)(XVCPU_CPUID_1_ECX_FMA | XVCPU_CPUID_1_ECX_PCID | XVCPU_CPUID_1_ECX_MOVBE |        \
                 XVCPU_CPUID_1_ECX_TSC_DEADLINE | XVCPU_CPUID_1_ECX_AES |                          \
                 XVCPU_CPUID_1_ECX_XSAVE | XVCPU_CPUID_1_ECX_AVX | XVCPU_CPUID_1_ECX_F16C |        \
                 XVCPU_CPUID_1_ECX_RDRAND))
#define SIM_EBX7_HASWELL                                                                           \
    ((xvcpu_u32)(XVCPU_CPUID_7_EBX_FSGSBASE | XVCPU_CPUID_7_EBX_TSC_ADJUST |                       \
                 XVCPU_CPUID_7_EBX_BMI1 | XVCPU_CPUID_7_EBX_AVX2 | XVCPU_CPUID_7_EBX_SMEP |        \
                 XVCPU_CPUID_7_EBX_BMI2 | XVCPU_CPUID_7_EBX_ERMS | XVCPU_CPUID_7_EBX_INVPCID))
#define SIM_EBX7_SKYLAKE                                                                           \
    (SIM_EBX7_HASWELL | (xvcpu_u32)(XVCPU_CPUID_7_EBX_AVX512F | XVCPU_CPUID_7_EBX_RDSEED |         \
                                    XVCPU_CPUID_7_EBX_ADX | XVCPU_CPUID_7_EBX_SMAP |               \
                                    XVCPU_CPUID_7_EBX_CLFLUSHOPT))
#define SIM_EXT_EDX_OLD                                                                            \
    ((xvcpu_u32)(XVCPU_CPUID_EXT_1_EDX_SYSCALL | XVCPU_CPUID_EXT_1_EDX_NX |                        \
                 XVCPU_CPUID_EXT_1_EDX_LM))
#define SIM_EXT_EDX_NEW                                                                            \
    (SIM_EXT_EDX_OLD | (xvcpu_u32)(XVCPU_CPUID_EXT_1_EDX_PAGE_1G | XVCPU_CPUID_EXT_1_EDX_RDTSCP))
#define SIM_XCR0_AVX (XVCPU_XCR0_X87 | XVCPU_XCR0_SSE | XVCPU_XCR0_AVX)
#define SIM_XCR0_AVX512                                                                            \
    (SIM_XCR0_AVX | XVCPU_XCR0_OPMASK | XVCPU_XCR0_ZMM_HI256 | XVCPU_XCR0_HI16_ZMM |               \
     XVCPU_XCR0_PKRU)

// The order of a row's controls: PIN, PROC1, PROC2, PROC3, EXIT, EXIT2, ENTRY.
static const sim_model sim_models[] = {
    // No TRUE MSRs, no secondary controls, none of the optional rest.
    {"minimal", 0xF65, 6, 36, 48, SIM_BASIC(3, 1024, 0), SIM_MISC(0, 0), 0x2C, 0, SIM_CR4_OLD,
     {XVCPU_PIN_EXT_INTR_EXITING | XVCPU_PIN_NMI_EXITING, SIM_PROC1_MINIMAL, 0, 0, SIM_EXIT_OLD, 0,
      SIM_ENTRY_OLD},
     SIM_ECX1_OLD, SIM_EDX1, 0, 0, 0, 1, SIM_EXT_EDX_OLD, 0, 0},
    // No TRUE MSRs, no EPT, no VPID, no timer, EFER and PAT not switched.
    {"penryn", 0x10676, 10, 36, 48, SIM_BASIC(0xD, 2048, 0), SIM_MISC(0, 0), 0x2C, 0, SIM_CR4_OLD,
     {SIM_PIN_OLD, SIM_PROC1_OLD, XVCPU_PROC2_VIRT_APIC_ACCESSES | XVCPU_PROC2_WBINVD_EXITING, 0,
      SIM_EXIT_OLD, 0, SIM_ENTRY_OLD},
     SIM_ECX1_OLD, SIM_EDX1, 0, 0, 0, 1, SIM_EXT_EDX_OLD, 0, 0},
    // EPT without unrestricted guest, no 1-GByte pages, no accessed/dirty flags, no XSAVE.
    {"nehalem", 0x106A5, 11, 40, 48, SIM_BASIC(0xE, 1024, XVCPU_VMX_BASIC_TRUE_CONTROLS),
     SIM_MISC(5, XVCPU_VMX_MISC_SAVES_LMA), 0x2C, SIM_EPT_NEHALEM, SIM_CR4_OLD,
     {SIM_PIN_NEW, SIM_PROC1_NEW, SIM_PROC2_NEHALEM, 0, SIM_EXIT_NEW, 0, SIM_ENTRY_NEW},
     SIM_ECX1_NEHALEM, SIM_EDX1, 0, 0, 0, 1,
     SIM_EXT_EDX_OLD | (xvcpu_u32)XVCPU_CPUID_EXT_1_EDX_RDTSCP, 0, 0},
    // Unrestricted guest, INVPCID, VMFUNC, shadow VMCS; no XSAVES, no PML.
    {"haswell", 0x306C3, 13, 39, 48, SIM_BASIC(0x12, 1024, XVCPU_VMX_BASIC_TRUE_CONTROLS),
     SIM_MISC(5, XVCPU_VMX_MISC_SAVES_LMA | XVCPU_VMX_MISC_VMWRITE_ALL), 0x2E, SIM_EPT_HASWELL,
     SIM_CR4_HASWELL,
     {SIM_PIN_NEW, SIM_PROC1_NEW, SIM_PROC2_HASWELL, 0, SIM_EXIT_NEW, 0, SIM_ENTRY_NEW},
     SIM_ECX1_HASWELL, SIM_EDX1, SIM_EBX7_HASWELL, 0, 0, 0x21, SIM_EXT_EDX_NEW, SIM_XCR0_AVX, 0},
    {"skylake", 0x50654, 22, 46, 48, SIM_BASIC(4, 1024, XVCPU_VMX_BASIC_TRUE_CONTROLS),
     SIM_MISC(5, XVCPU_VMX_MISC_SAVES_LMA | XVCPU_VMX_MISC_VMWRITE_ALL |
                     XVCPU_VMX_MISC_ZERO_LENGTH_INJECTION),
     0x2E, SIM_EPT_HASWELL | XVCPU_VMX_EPT_VPID_CAP_ADVANCED_EXIT_INFO,
     SIM_CR4_HASWELL | XVCPU_CR4_SMAP | XVCPU_CR4_PKE,
     {SIM_PIN_NEW | XVCPU_PIN_POSTED_INTR, SIM_PROC1_NEW, SIM_PROC2_SKYLAKE, 0, SIM_EXIT_NEW, 0,
      SIM_ENTRY_NEW},
     SIM_ECX1_HASWELL, SIM_EDX1, SIM_EBX7_SKYLAKE, (xvcpu_u32)XVCPU_CPUID_7_ECX_PKU, 0x0C000000U,
     0x121, SIM_EXT_EDX_NEW, SIM_XCR0_AVX512, XVCPU_XSS_PT},
    // 57-bit linear addresses, CET and PKRS controls, error code of an injection optional.
    {"tigerlake", 0x806C1, 27, 52, 57,
     SIM_BASIC(0x2B, 1024, XVCPU_VMX_BASIC_TRUE_CONTROLS | XVCPU_VMX_BASIC_ANY_ERROR_CODE),
     SIM_MISC(5, XVCPU_VMX_MISC_SAVES_LMA | XVCPU_VMX_MISC_VMWRITE_ALL |
                     XVCPU_VMX_MISC_ZERO_LENGTH_INJECTION),
     0x3A, SIM_EPT_HASWELL | XVCPU_VMX_EPT_VPID_CAP_ADVANCED_EXIT_INFO |
               XVCPU_VMX_EPT_VPID_CAP_SUPERVISOR_SHADOW_STACK,
     SIM_CR4_HASWELL | XVCPU_CR4_SMAP | XVCPU_CR4_PKE | XVCPU_CR4_UMIP | XVCPU_CR4_LA57 |
         XVCPU_CR4_CET,
     {SIM_PIN_NEW | XVCPU_PIN_POSTED_INTR, SIM_PROC1_NEW, SIM_PROC2_TIGERLAKE, 0,
      SIM_EXIT_NEW | XVCPU_EXIT_LOAD_CET | XVCPU_EXIT_LOAD_PKRS |
          XVCPU_EXIT_SAVE_PERF_GLOBAL_CTRL,
      0, SIM_ENTRY_NEW | XVCPU_ENTRY_LOAD_CET | XVCPU_ENTRY_LOAD_PKRS},
     SIM_ECX1_HASWELL, SIM_EDX1, SIM_EBX7_SKYLAKE,
     (xvcpu_u32)(XVCPU_CPUID_7_ECX_UMIP | XVCPU_CPUID_7_ECX_PKU | XVCPU_CPUID_7_ECX_WAITPKG |
                 XVCPU_CPUID_7_ECX_CET_SS | XVCPU_CPUID_7_ECX_LA57 | XVCPU_CPUID_7_ECX_RDPID),
     0xAC100400U, 0x121, SIM_EXT_EDX_NEW, SIM_XCR0_AVX512,
     XVCPU_XSS_PT | XVCPU_XSS_CET_U | XVCPU_XSS_CET_S},
};
#define SIM_MODEL_COUNT ((xvcpu_u32)(sizeof sim_models / sizeof sim_models[0]))

// Offset and size of the XSAVE components in the standard format.
static const struct {
    xvcpu_u32 offset, bytes;
} sim_components[SIM_COMPONENTS] = {
    {32, 8},     {160, 256},  {576, 256}, {960, 64}, {1024, 64}, {1088, 64}, {1152, 512},
    {1664, 1024}, {0, 0},     {2688, 8},  {0, 0},    {0, 0},     {0, 0},     {0, 0},
    {0, 0},      {0, 0},      {0, 0},     {2752, 64}, {2816, 8192}, {0, 0},
};

static void sim_add_msr(sim_processor *cpu, xvcpu_u32 index, xvcpu_u64 value, xvcpu_u64 reserved,
                        bool read_only)
{
    sim_msr *msr = &cpu->msrs[cpu->msr_count++];
    msr->index = index;
    msr->value = value;
    msr->reserved = reserved;
    msr->read_only = read_only;
}

static void sim_add_cpuid(sim_processor *cpu, xvcpu_u32 leaf, xvcpu_u32 subleaf, bool any,
                          xvcpu_u32 a, xvcpu_u32 b, xvcpu_u32 c, xvcpu_u32 d)
{
    sim_cpuid_row *row = &cpu->cpuid[cpu->cpuid_count++];
    row->leaf = leaf;
    row->subleaf = subleaf;
    row->any_subleaf = any;
    row->regs.eax = a;
    row->regs.ebx = b;
    row->regs.ecx = c;
    row->regs.edx = d;
}

static xvcpu_u64 sim_ctls(xvcpu_u64 one, xvcpu_u64 may)
{
    return one | ((one | (may & 0xFFFFFFFFU)) << 32);
}

static void sim_build_cpuid(sim_processor *cpu, const sim_model *m)
{
    xvcpu_u32 i, top = 0;
    sim_add_cpuid(cpu, 0, 0, true, m->max_leaf, 0x756E6547U, 0x6C65746EU, 0x49656E69U);
    sim_add_cpuid(cpu, 1, 0, true, m->signature, 0x00040800U | (cpu->id << 24), m->ecx1, m->edx1);
    sim_add_cpuid(cpu, 4, 0, false, 0x1C004121U, 0x01C0003FU, 0x3FU, 0);
    sim_add_cpuid(cpu, 4, 1, false, 0x1C004122U, 0x01C0003FU, 0x3FU, 0);
    sim_add_cpuid(cpu, 5, 0, true, 64, 64, 3, 0x1120);
    sim_add_cpuid(cpu, 6, 0, true, 0x77, 2, 9, 0);
    if (m->max_leaf >= 7)
        sim_add_cpuid(cpu, 7, 0, false, 0, m->ebx7, m->ecx7, m->edx7);
    if (m->max_leaf >= 10)
        sim_add_cpuid(cpu, 10, 0, true, 0x07300404U, 0, 0, 0x603);
    if (m->max_leaf >= 11) {
        sim_add_cpuid(cpu, 11, 0, false, 1, 1, 0x100, cpu->id);
        sim_add_cpuid(cpu, 11, 1, false, 2, SIM_CPUS, 0x201, cpu->id);
    }
    if (m->max_leaf >= 13 && m->xcr0 != 0) {
        for (i = 0; i < SIM_COMPONENTS; i++)
            if (((m->xcr0 >> i) & 1U) != 0)
                top = i < 2 ? 576 : sim_components[i].offset + sim_components[i].bytes;
        sim_add_cpuid(cpu, 13, 0, false, (xvcpu_u32)m->xcr0, 0, top, (xvcpu_u32)(m->xcr0 >> 32));
        sim_add_cpuid(cpu, 13, 1, false, m->xss != 0 ? 0xFU : 1U, 0, (xvcpu_u32)m->xss,
                      (xvcpu_u32)(m->xss >> 32));
        for (i = 2; i < SIM_COMPONENTS; i++)
            if (((m->xcr0 >> i) & 1U) != 0)
                sim_add_cpuid(cpu, 13, i, false, sim_components[i].bytes,
                              sim_components[i].offset, 0, 0);
    }
    if (m->max_leaf >= 21)
        sim_add_cpuid(cpu, 21, 0, true, 2, 200, 24000000, 0);
    if (m->max_leaf >= 22)
        sim_add_cpuid(cpu, 22, 0, true, 2400, 4000, 100, 0);
    sim_add_cpuid(cpu, 0x80000000U, 0, true, 0x80000008U, 0, 0, 0);
    sim_add_cpuid(cpu, 0x80000001U, 0, true, 0, 0, m->ext_ecx1, m->ext_edx1);
    sim_add_cpuid(cpu, 0x80000002U, 0, true, 0x756D6953U, 0x6574616CU, 0x58562064U, 0x55504356U);
    sim_add_cpuid(cpu, 0x80000007U, 0, true, 0, 0, 0,
                  (xvcpu_u32)XVCPU_CPUID_EXT_7_EDX_INVARIANT_TSC);
    sim_add_cpuid(cpu, 0x80000008U, 0, true, m->physical_bits | (m->linear_bits << 8), 0, 0, 0);
}

static void sim_build_vmx_msrs(sim_processor *cpu, const sim_model *m)
{
    const xvcpu_u64 *c = m->controls;
    const bool true_msrs = (m->basic & XVCPU_VMX_BASIC_TRUE_CONTROLS) != 0;
    // Without the TRUE MSRs the default-1 bits that a TRUE one could clear are not to be had.
    sim_add_msr(cpu, XVCPU_MSR_IA32_FEATURE_CONTROL, 5, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_BASIC, m->basic, 0, true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_PINBASED_CTLS, sim_ctls(SIM_PIN_ONE, c[XVCPU_WORD_PIN]), 0,
                true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_PROCBASED_CTLS,
                sim_ctls(SIM_PROC1_ONE, c[XVCPU_WORD_PROC1]), 0, true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_EXIT_CTLS, sim_ctls(SIM_EXIT_ONE, c[XVCPU_WORD_EXIT]), 0,
                true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_ENTRY_CTLS, sim_ctls(SIM_ENTRY_ONE, c[XVCPU_WORD_ENTRY]),
                0, true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_MISC, m->misc, 0, true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_CR0_FIXED0, 0x80000021U, 0, true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_CR0_FIXED1, 0xFFFFFFFFU, 0, true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_CR4_FIXED0, XVCPU_CR4_VMXE, 0, true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_CR4_FIXED1, m->cr4, 0, true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_VMCS_ENUM, m->vmcs_enum, 0, true);
    if ((c[XVCPU_WORD_PROC1] & XVCPU_PROC1_ACTIVATE_SECONDARY) != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_PROCBASED_CTLS2, c[XVCPU_WORD_PROC2] << 32, 0, true);
    if (m->ept_vpid != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_EPT_VPID_CAP, m->ept_vpid, 0, true);
    if (true_msrs) {
        sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_TRUE_PINBASED_CTLS,
                    sim_ctls(SIM_PIN_ONE, c[XVCPU_WORD_PIN]), 0, true);
        sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
                    sim_ctls(SIM_PROC1_ONE_TRUE, c[XVCPU_WORD_PROC1]), 0, true);
        sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_TRUE_EXIT_CTLS,
                    sim_ctls(SIM_EXIT_ONE_TRUE, c[XVCPU_WORD_EXIT]), 0, true);
        sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_TRUE_ENTRY_CTLS,
                    sim_ctls(SIM_ENTRY_ONE_TRUE, c[XVCPU_WORD_ENTRY]), 0, true);
    }
    if ((c[XVCPU_WORD_PROC2] & XVCPU_PROC2_VMFUNC) != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_VMFUNC, XVCPU_VMX_VMFUNC_EPTP_SWITCHING, 0, true);
    if ((c[XVCPU_WORD_PROC1] & XVCPU_PROC1_ACTIVATE_TERTIARY) != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_PROCBASED_CTLS3, c[XVCPU_WORD_PROC3], 0, true);
    if ((c[XVCPU_WORD_EXIT] & XVCPU_EXIT_ACTIVATE_SECONDARY) != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_VMX_EXIT_CTLS2, c[XVCPU_WORD_EXIT2], 0, true);
}

// Values differ between processors: a state taken on one and used on another shows.
static void sim_build_msrs(sim_processor *cpu, const sim_model *m)
{
    const xvcpu_u64 k = (xvcpu_u64)cpu->id << 20;
    const xvcpu_u64 high32 = XVCPU_BITS64(63, 32);
    xvcpu_u32 i;
    sim_build_vmx_msrs(cpu, m);
    sim_add_msr(cpu, XVCPU_MSR_IA32_TIME_STAMP_COUNTER, 0, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_APIC_BASE,
                0xFEE00000U | XVCPU_APIC_BASE_ENABLE | (cpu->id == 0 ? XVCPU_APIC_BASE_BSP : 0),
                XVCPU_BITS64(7, 0), false);
    if ((m->ebx7 & XVCPU_CPUID_7_EBX_TSC_ADJUST) != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_TSC_ADJUST, 0, 0, false);
    if ((m->edx7 & XVCPU_CPUID_7_EDX_IBRS_IBPB) != 0) {
        sim_add_msr(cpu, XVCPU_MSR_IA32_SPEC_CTRL, 0, ~(xvcpu_u64)7, false);
        sim_add_msr(cpu, XVCPU_MSR_IA32_PRED_CMD, 0, ~(xvcpu_u64)1, false);
    }
    if ((m->edx7 & XVCPU_CPUID_7_EDX_ARCH_CAPABILITIES) != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_ARCH_CAPABILITIES, 0x6B, 0, true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_MTRRCAP, 0xD0A, 0, true);
    for (i = 0; i < 10; i++) {
        sim_add_msr(cpu, XVCPU_MSR_IA32_MTRR_PHYSBASE(i), 0, 0, false);
        sim_add_msr(cpu, XVCPU_MSR_IA32_MTRR_PHYSMASK(i), 0, 0, false);
    }
    sim_add_msr(cpu, XVCPU_MSR_IA32_MTRR_FIX64K_00000, 0x0606060606060606U, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_MTRR_FIX16K_80000, 0x0606060606060606U, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_MTRR_FIX16K_A0000, 0, 0, false);
    for (i = 0; i < 8; i++)
        sim_add_msr(cpu, XVCPU_MSR_IA32_MTRR_FIX4K_C0000 + i, 0x0505050505050505U, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_MTRR_DEF_TYPE, 0xC06, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_MCG_CAP, 0x0C0A, 0, true);
    sim_add_msr(cpu, XVCPU_MSR_IA32_MCG_STATUS, 0, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_BIOS_SIGN_ID, (xvcpu_u64)0x2006A0A << 32, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_MISC_ENABLE, 0x850089, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_SYSENTER_CS, 0x08, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_SYSENTER_ESP, 0xFFFFFE0000003000U + k, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_SYSENTER_EIP, 0xFFFFFFFF81800010U, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_DEBUGCTL, 0, ~(xvcpu_u64)0xDFC7, false);
    // Not the reset value, and so not a guest's: a host may have changed it.
    sim_add_msr(cpu, XVCPU_MSR_IA32_PAT, 0x0407050600070106U, 0, false);
    if ((m->controls[XVCPU_WORD_ENTRY] & XVCPU_ENTRY_LOAD_PERF_GLOBAL_CTRL) != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_PERF_GLOBAL_CTRL, 0xF,
                    ~((xvcpu_u64)0xF | ((xvcpu_u64)7 << 32)), false);
    if ((m->ecx7 & XVCPU_CPUID_7_ECX_CET_SS) != 0) {
        sim_add_msr(cpu, XVCPU_MSR_IA32_U_CET, 0, 0, false);
        sim_add_msr(cpu, XVCPU_MSR_IA32_S_CET, 0, 0, false);
        for (i = XVCPU_MSR_IA32_PL0_SSP; i <= XVCPU_MSR_IA32_INTERRUPT_SSP_TABLE_ADDR; i++)
            sim_add_msr(cpu, i, 0, 0, false);
    }
    if ((m->controls[XVCPU_WORD_EXIT] & XVCPU_EXIT_LOAD_PKRS) != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_PKRS, 0, high32, false);
    if (m->xss != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_XSS, 0, 0, false);
    if ((m->ecx1 & XVCPU_CPUID_1_ECX_TSC_DEADLINE) != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_TSC_DEADLINE, 0, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_EFER,
                XVCPU_EFER_SCE | XVCPU_EFER_LME | XVCPU_EFER_LMA | XVCPU_EFER_NXE, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_STAR, (xvcpu_u64)0x00230010 << 32, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_LSTAR, 0xFFFFFFFF81800000U, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_CSTAR, 0xFFFFFFFF81801000U, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_FMASK, 0x47700, high32, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_FS_BASE, 0x00007F1234560000U + k, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_GS_BASE, 0xFFFF888007C00000U + k, 0, false);
    sim_add_msr(cpu, XVCPU_MSR_IA32_KERNEL_GS_BASE, 0x00007F7654321000U + k, 0, false);
    if ((m->ext_edx1 & XVCPU_CPUID_EXT_1_EDX_RDTSCP) != 0)
        sim_add_msr(cpu, XVCPU_MSR_IA32_TSC_AUX, cpu->id + 0x1000, high32, false);
}

static void sim_set_descriptor(sim_processor *cpu, xvcpu_u32 index, xvcpu_u64 base, xvcpu_u32 limit,
                               xvcpu_u32 rights)
{
    // rights in the VMCS layout: type, S, DPL, P in 7:0; AVL, L, D/B, G in 15:12.
    cpu->gdt[index] = (limit & 0xFFFFU) | ((base & 0xFFFFFFU) << 16) |
                      ((xvcpu_u64)(rights & 0xFFU) << 40) |
                      ((xvcpu_u64)((limit >> 16) & 0xFU) << 48) |
                      ((xvcpu_u64)((rights >> 12) & 0xFU) << 52) | (((base >> 24) & 0xFFU) << 56);
    if ((rights & XVCPU_AR_S) == 0)
        cpu->gdt[index + 1] = base >> 32;
}

static void sim_build_processor(sim_processor *cpu, xvcpu_u32 id, const sim_model *m)
{
    xvcpu_u32 i;
    memset(cpu, 0, sizeof *cpu);
    cpu->id = id;
    cpu->model = m->name;
    sim_build_cpuid(cpu, m);
    sim_build_msrs(cpu, m);
    cpu->cr0 = XVCPU_CR0_PG | XVCPU_CR0_AM | XVCPU_CR0_WP | XVCPU_CR0_NE | XVCPU_CR0_ET |
               XVCPU_CR0_MP | XVCPU_CR0_PE;
    cpu->cr2 = 0xDEAD0000U + id;
    cpu->cr4_supported = m->cr4;
    cpu->cr4 = (XVCPU_CR4_PSE | XVCPU_CR4_DE | XVCPU_CR4_PAE | XVCPU_CR4_MCE | XVCPU_CR4_PGE |
                XVCPU_CR4_OSFXSR | XVCPU_CR4_OSXMMEXCPT | XVCPU_CR4_OSXSAVE | XVCPU_CR4_SMEP |
                XVCPU_CR4_PCIDE | XVCPU_CR4_FSGSBASE) &
               m->cr4;
    cpu->cr3 = 0x1000U * (0x123U + id) | ((cpu->cr4 & XVCPU_CR4_PCIDE) != 0 ? 5U : 0U);
    cpu->rflags = XVCPU_RFLAGS_FIXED_1;
    for (i = 0; i < 4; i++)
        cpu->dr[i] = 0x400000U + 0x1000U * i + id;
    cpu->dr6 = XVCPU_DR6_FIXED_1 | XVCPU_BIT64(1);
    cpu->dr7 = XVCPU_DR7_FIXED_1 | XVCPU_BIT64(1); // a host watchpoint is on
    cpu->xcr0_supported = m->xcr0;
    cpu->xss_supported = m->xss;
    cpu->xcr0 = m->xcr0 != 0 ? (m->xcr0 & (SIM_XCR0_AVX | XVCPU_XCR0_PKRU)) : XVCPU_XCR0_X87;
    cpu->tsc = 1000000U + id * 1000U;
    for (i = 0; i < SIM_COMPONENTS; i++)
        cpu->fpu[i] = 0xF0F0000000000000U | (id << 8) | i;
    cpu->gdtr_base = (xvcpu_u64)(uintptr_t)cpu->gdt;
    cpu->gdtr_limit = sizeof cpu->gdt - 1;
    cpu->idtr_base = (xvcpu_u64)(uintptr_t)cpu->idt;
    cpu->idtr_limit = 0x2FF;
    sim_set_descriptor(cpu, 1, 0, 0xFFFFF, 0xA09B);
    sim_set_descriptor(cpu, 2, 0, 0xFFFFF, 0xC093);
    sim_set_descriptor(cpu, 5, 0, 0xFFFFF, 0xC0F3);
    sim_set_descriptor(cpu, 6, 0, 0xFFFFF, 0xC0F3);
    sim_set_descriptor(cpu, 8, (xvcpu_u64)(uintptr_t)cpu->tss, 0x2067, 0x008B);
    sim_set_descriptor(cpu, 10, (xvcpu_u64)(uintptr_t)cpu->tss, 0x1F, 0x0082);
    cpu->segments[XVCPU_CS].selector = 0x08;
    cpu->segments[XVCPU_SS].selector = 0x10;
    // As user processes leave them: not what a host-state field can hold.
    cpu->segments[XVCPU_DS].selector = 0x2B;
    cpu->segments[XVCPU_ES].selector = 0x2B;
    cpu->segments[XVCPU_FS].selector = 0x33;
    cpu->segments[XVCPU_GS].selector = 0;
    cpu->segments[XVCPU_TR].selector = 0x40;
    cpu->segments[XVCPU_TR].base = (xvcpu_u64)(uintptr_t)cpu->tss;
    cpu->segments[XVCPU_TR].limit = 0x2067;
    cpu->segments[XVCPU_LDTR].selector = 0x50;
    cpu->segments[XVCPU_LDTR].base = (xvcpu_u64)(uintptr_t)cpu->tss;
    cpu->segments[XVCPU_LDTR].limit = 0x1F;
    cpu->current_pa = ~(xvcpu_u64)0;
}
