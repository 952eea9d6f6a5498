// Part of sim.c: the checks of VM entry. The ids are those of the table of VM-entry checks.

// Reads a field that the entry depends on: nobody having written it is a failure.
static xvcpu_u64 sim_need(const sim_vmcs *v, enum sim_row row)
{
    if (!v->written[row])
        sim_fail("VM entry depends on VMCS field %s, which nobody wrote", sim_fields[row].name);
    return v->value[row];
}
#define SIM_NEED(name) sim_need(v, SIM_ROW_##name)

static enum sim_row sim_row_at(xvcpu_u32 encoding)
{
    const xvcpu_u16 row = encoding < XVCPU_VMCS_ENCODING_LIMIT ? sim_row_of[encoding] : 0xFFFF;
    if (row == 0xFFFF)
        sim_fail("no VMCS field %#x", encoding);
    return (enum sim_row)row;
}

typedef struct sim_words_now {
    xvcpu_u64 pin, proc1, proc2, proc3, exit, exit2, entry;
} sim_words_now;

// The words of controls, with those that are not activated as 0.
static sim_words_now sim_controls(const sim_vmcs *v)
{
    sim_words_now c;
    memset(&c, 0, sizeof c);
    c.pin = SIM_NEED(CTRL_PIN);
    c.proc1 = SIM_NEED(CTRL_PROC1);
    c.exit = SIM_NEED(CTRL_EXIT);
    c.entry = SIM_NEED(CTRL_ENTRY);
    if ((c.proc1 & XVCPU_PROC1_ACTIVATE_SECONDARY) != 0)
        c.proc2 = SIM_NEED(CTRL_PROC2);
    if ((c.proc1 & XVCPU_PROC1_ACTIVATE_TERTIARY) != 0)
        c.proc3 = SIM_NEED(CTRL_PROC3);
    if ((c.exit & XVCPU_EXIT_ACTIVATE_SECONDARY) != 0)
        c.exit2 = SIM_NEED(CTRL_EXIT2);
    return c;
}

static char sim_rule_text[16];

static const char *sim_rule(const char *category, xvcpu_u32 number)
{
    (void)snprintf(sim_rule_text, sizeof sim_rule_text, "%s-%03u", category, number);
    return sim_rule_text;
}

#define SIM_RULE(category, number, broken)                                                         \
    do {                                                                                           \
        if (broken)                                                                                \
            return sim_rule(#category, (number));                                                  \
    } while (0)

static bool sim_beyond(sim_processor *cpu, xvcpu_u64 address)
{
    const xvcpu_u32 bits = sim_vmx_bits(cpu);
    return bits < 64 && (address >> bits) != 0;
}

// -- Controls

static const char *sim_check_event(sim_processor *cpu, const sim_vmcs *v, const sim_words_now *c)
{
    const xvcpu_u64 basic = sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_BASIC);
    const xvcpu_u64 misc = sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_MISC);
    const bool any_error = (basic & XVCPU_VMX_BASIC_ANY_ERROR_CODE) != 0;
    const bool mtf = sim_may(cpu, XVCPU_WORD_PROC1, XVCPU_PROC1_MTF);
    const xvcpu_u64 info = SIM_NEED(CTRL_ENTRY_INTR_INFO);
    const xvcpu_u64 vector = XVCPU_PART(info, INTR_INFO_VECTOR);
    const xvcpu_u64 type = XVCPU_PART(info, INTR_INFO_TYPE);
    const bool hard = type == XVCPU_INTR_TYPE_HARDWARE_EXCEPTION;
    const bool code = (info & XVCPU_INTR_INFO_ERROR_CODE) != 0;
    const bool wants = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
    bool real;
    if ((info & XVCPU_INTR_INFO_VALID) == 0)
        return NULL;
    real = (c->proc2 & XVCPU_PROC2_UNRESTRICTED_GUEST) != 0 &&
           (SIM_NEED(GUEST_CR0) & XVCPU_CR0_PE) == 0;
    SIM_RULE(CTL, 96, type == 1);
    SIM_RULE(CTL, 97, type == XVCPU_INTR_TYPE_OTHER && !mtf);
    SIM_RULE(CTL, 98, type == XVCPU_INTR_TYPE_NMI && vector != 2);
    SIM_RULE(CTL, 99, hard && vector > 31);
    SIM_RULE(CTL, 100, type == XVCPU_INTR_TYPE_OTHER && vector != 0);
    SIM_RULE(CTL, 103, code && !hard);
    SIM_RULE(CTL, 104, code && real);
    SIM_RULE(CTL, 105, !code && hard && wants && !real && !any_error);
    SIM_RULE(CTL, 106, code && hard && !wants && vector != 21 && !any_error);
    SIM_RULE(CTL, 107, (info & XVCPU_INTR_INFO_NESTED) != 0 && !hard);
    SIM_RULE(CTL, 108,
             (info & XVCPU_INTR_INFO_NESTED) != 0 &&
                 (basic & XVCPU_VMX_BASIC_NESTED_EXCEPTION) == 0);
    SIM_RULE(CTL, 109, (info & XVCPU_BIT64(12)) != 0);
    SIM_RULE(CTL, 110, (info & XVCPU_BITS64(30, 14)) != 0);
    SIM_RULE(CTL, 111, code && (SIM_NEED(CTRL_ENTRY_ERROR_CODE) >> 16) != 0);
    if (type == XVCPU_INTR_TYPE_SOFTWARE_INTERRUPT ||
        type == XVCPU_INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION ||
        type == XVCPU_INTR_TYPE_SOFTWARE_EXCEPTION) {
        const xvcpu_u64 length = SIM_NEED(CTRL_ENTRY_INSTR_LEN);
        SIM_RULE(CTL, 112, length > 15);
        SIM_RULE(CTL, 113, length == 0 && (misc & XVCPU_VMX_MISC_ZERO_LENGTH_INJECTION) == 0);
    }
    return NULL;
}

static const char *sim_check_address(sim_processor *cpu, xvcpu_u64 address, xvcpu_u64 low,
                                     xvcpu_u32 aligned_rule)
{
    SIM_RULE(CTL, aligned_rule, (address & low) != 0);
    SIM_RULE(CTL, aligned_rule + 1, sim_beyond(cpu, address));
    return NULL;
}

#define SIM_ADDRESS(condition, field, low, rule)                                                   \
    do {                                                                                           \
        if (condition) {                                                                           \
            const char *broken = sim_check_address(cpu, SIM_NEED(field), (low), (rule));           \
            if (broken)                                                                            \
                return broken;                                                                     \
        }                                                                                          \
    } while (0)

static const char *sim_check_list(sim_processor *cpu, const sim_vmcs *v, enum sim_row count_row,
                                  enum sim_row address_row, xvcpu_u32 rule)
{
    const xvcpu_u64 count = sim_need(v, count_row);
    xvcpu_u64 address;
    if (count == 0)
        return NULL;
    address = sim_need(v, address_row);
    SIM_RULE(CTL, rule, (address & 15U) != 0);
    SIM_RULE(CTL, rule + 1, sim_beyond(cpu, address));
    SIM_RULE(CTL, rule + 2, sim_beyond(cpu, address + 16 * count - 1));
    return NULL;
}

static const char *sim_check_eptp(sim_processor *cpu, xvcpu_u64 eptp)
{
    const xvcpu_u64 cap = sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_EPT_VPID_CAP);
    const xvcpu_u64 type = XVCPU_PART(eptp, EPTP_MEMORY_TYPE);
    const xvcpu_u64 walk = XVCPU_PART(eptp, EPTP_WALK_MINUS_1);
    SIM_RULE(CTL, 38,
             !(type == 0 && (cap & XVCPU_VMX_EPT_VPID_CAP_MEMORY_UC) != 0) &&
                 !(type == 6 && (cap & XVCPU_VMX_EPT_VPID_CAP_MEMORY_WB) != 0));
    SIM_RULE(CTL, 39,
             !(walk == 3 && (cap & XVCPU_VMX_EPT_VPID_CAP_WALK_4) != 0) &&
                 !(walk == 4 && (cap & XVCPU_VMX_EPT_VPID_CAP_WALK_5) != 0));
    SIM_RULE(CTL, 40,
             (eptp & XVCPU_EPTP_ACCESSED_DIRTY) != 0 &&
                 (cap & XVCPU_VMX_EPT_VPID_CAP_ACCESSED_DIRTY) == 0);
    SIM_RULE(CTL, 41,
             (eptp & XVCPU_EPTP_SUPERVISOR_SHADOW_STACK) != 0 &&
                 (cap & XVCPU_VMX_EPT_VPID_CAP_SUPERVISOR_SHADOW_STACK) == 0);
    SIM_RULE(CTL, 42, (eptp & XVCPU_EPTP_RESERVED_MASK) != 0);
    SIM_RULE(CTL, 43, (eptp >> sim_physical_bits(cpu)) != 0);
    return NULL;
}

static const char *sim_check_words(sim_processor *cpu, const sim_words_now *c)
{
    static const xvcpu_u32 rules[XVCPU_WORD_COUNT] = {1, 3, 5, 7, 84, 86, 94};
    const xvcpu_u64 values[XVCPU_WORD_COUNT] = {c->pin,  c->proc1, c->proc2, c->proc3,
                                                c->exit, c->exit2, c->entry};
    xvcpu_u32 word;
    for (word = 0; word < XVCPU_WORD_COUNT; word++) {
        xvcpu_u64 must, may;
        const bool wide = sim_word_is_wide(word);
        if ((word == XVCPU_WORD_PROC2 && (c->proc1 & XVCPU_PROC1_ACTIVATE_SECONDARY) == 0) ||
            (word == XVCPU_WORD_PROC3 && (c->proc1 & XVCPU_PROC1_ACTIVATE_TERTIARY) == 0) ||
            (word == XVCPU_WORD_EXIT2 && (c->exit & XVCPU_EXIT_ACTIVATE_SECONDARY) == 0))
            continue;
        sim_word_caps(cpu, word, &must, &may);
        SIM_RULE(CTL, rules[word], (must & ~values[word]) != 0);
        SIM_RULE(CTL, rules[word] + (wide ? 0 : 1), (values[word] & ~may) != 0);
    }
    return NULL;
}

// VM-execution, VM-exit and VM-entry control fields: null, or the rule that is broken.
static const char *sim_check_controls(sim_processor *cpu, const sim_vmcs *v)
{
    const sim_words_now c = sim_controls(v);
    const xvcpu_u64 misc = sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_MISC);
    const bool ept = (c.proc2 & XVCPU_PROC2_EPT) != 0;
    const bool tpr = (c.proc1 & XVCPU_PROC1_TPR_SHADOW) != 0;
    const bool vid = (c.proc2 & XVCPU_PROC2_VIRT_INTR_DELIVERY) != 0;
    const char *rule = sim_check_words(cpu, &c);
    if (rule)
        return rule;
    SIM_RULE(CTL, 8, SIM_NEED(CTRL_CR3_TARGET_COUNT) > XVCPU_PART(misc, VMX_MISC_CR3_TARGETS));
    (void)SIM_NEED(CTRL_EXCEPTION_BITMAP);
    (void)SIM_NEED(CTRL_PF_ERROR_MASK);
    (void)SIM_NEED(CTRL_PF_ERROR_MATCH);
    SIM_ADDRESS((c.proc1 & XVCPU_PROC1_IO_BITMAPS) != 0, CTRL_IO_BITMAP_A, 0xFFFU, 9);
    SIM_ADDRESS((c.proc1 & XVCPU_PROC1_IO_BITMAPS) != 0, CTRL_IO_BITMAP_B, 0xFFFU, 11);
    SIM_ADDRESS((c.proc1 & XVCPU_PROC1_MSR_BITMAPS) != 0, CTRL_MSR_BITMAP, 0xFFFU, 13);
    SIM_ADDRESS(tpr, CTRL_VIRTUAL_APIC_ADDR, 0xFFFU, 15);
    if ((c.proc1 & XVCPU_PROC1_TSC_OFFSETTING) != 0)
        (void)SIM_NEED(CTRL_TSC_OFFSET);
    if (tpr && !vid) {
        const xvcpu_u64 threshold = SIM_NEED(CTRL_TPR_THRESHOLD);
        SIM_RULE(CTL, 17, (threshold >> 4) != 0);
        if ((c.proc2 & XVCPU_PROC2_VIRT_APIC_ACCESSES) == 0) {
            const unsigned char *apic =
                (const unsigned char *)sim_virt(SIM_NEED(CTRL_VIRTUAL_APIC_ADDR));
            SIM_RULE(CTL, 18, threshold > (apic[0x80] >> 4));
        }
    }
    SIM_RULE(CTL, 19,
             (c.pin & XVCPU_PIN_VIRTUAL_NMIS) != 0 && (c.pin & XVCPU_PIN_NMI_EXITING) == 0);
    SIM_RULE(CTL, 20,
             (c.proc1 & XVCPU_PROC1_NMI_WINDOW_EXITING) != 0 &&
                 (c.pin & XVCPU_PIN_VIRTUAL_NMIS) == 0);
    SIM_ADDRESS((c.proc2 & XVCPU_PROC2_VIRT_APIC_ACCESSES) != 0, CTRL_APIC_ACCESS_ADDR, 0xFFFU, 21);
    SIM_RULE(CTL, 23, (c.proc2 & XVCPU_PROC2_VIRT_X2APIC) != 0 && !tpr);
    SIM_RULE(CTL, 24, (c.proc2 & XVCPU_PROC2_APIC_REG_VIRT) != 0 && !tpr);
    SIM_RULE(CTL, 25, vid && !tpr);
    SIM_RULE(CTL, 26, (c.proc3 & XVCPU_PROC3_IPI_VIRT) != 0 && !tpr);
    SIM_RULE(CTL, 27,
             (c.proc2 & XVCPU_PROC2_VIRT_X2APIC) != 0 &&
                 (c.proc2 & XVCPU_PROC2_VIRT_APIC_ACCESSES) != 0);
    SIM_RULE(CTL, 28, vid && (c.pin & XVCPU_PIN_EXT_INTR_EXITING) == 0);
    if ((c.pin & XVCPU_PIN_POSTED_INTR) != 0) {
        SIM_RULE(CTL, 29, !vid);
        SIM_RULE(CTL, 30, (c.exit & XVCPU_EXIT_ACK_INTR) == 0);
        SIM_RULE(CTL, 31, SIM_NEED(CTRL_POSTED_INTR_NV) > 255);
        SIM_ADDRESS(true, CTRL_POSTED_INTR_DESC_ADDR, 63U, 32);
    }
    SIM_RULE(CTL, 37, (c.proc2 & XVCPU_PROC2_VPID) != 0 && SIM_NEED(CTRL_VPID) == 0);
    if (ept) {
        rule = sim_check_eptp(cpu, SIM_NEED(CTRL_EPTP));
        if (rule)
            return rule;
    }
    SIM_RULE(CTL, 44, (c.proc2 & XVCPU_PROC2_UNRESTRICTED_GUEST) != 0 && !ept);
    SIM_RULE(CTL, 45, (c.proc2 & XVCPU_PROC2_MBEC) != 0 && !ept);
    SIM_RULE(CTL, 46, (c.proc2 & XVCPU_PROC2_PML) != 0 && !ept);
    SIM_RULE(CTL, 47, (c.proc2 & XVCPU_PROC2_SPP) != 0 && !ept);
    SIM_RULE(CTL, 48, (c.proc2 & XVCPU_PROC2_PT_USES_GPA) != 0 && !ept);
    SIM_ADDRESS((c.proc2 & XVCPU_PROC2_PML) != 0, CTRL_PML_ADDR, 0xFFFU, 53);
    SIM_ADDRESS((c.proc2 & XVCPU_PROC2_SPP) != 0, CTRL_SPPTP, 0xFFFU, 55);
    if ((c.proc2 & XVCPU_PROC2_VMFUNC) != 0) {
        const xvcpu_u64 functions = SIM_NEED(CTRL_VMFUNC_CONTROLS);
        SIM_RULE(CTL, 57, (functions & ~sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_VMFUNC)) != 0);
        SIM_RULE(CTL, 58, (functions & XVCPU_VMX_VMFUNC_EPTP_SWITCHING) != 0 && !ept);
        SIM_ADDRESS((functions & XVCPU_VMX_VMFUNC_EPTP_SWITCHING) != 0, CTRL_EPTP_LIST_ADDR,
                    0xFFFU, 59);
    }
    SIM_ADDRESS((c.proc2 & XVCPU_PROC2_VMCS_SHADOWING) != 0, CTRL_VMREAD_BITMAP_ADDR, 0xFFFU, 61);
    SIM_ADDRESS((c.proc2 & XVCPU_PROC2_VMCS_SHADOWING) != 0, CTRL_VMWRITE_BITMAP_ADDR, 0xFFFU, 63);
    SIM_ADDRESS((c.proc2 & XVCPU_PROC2_EPT_VIOLATION_VE) != 0, CTRL_VE_INFO_ADDR, 0xFFFU, 65);
    SIM_RULE(CTL, 74,
             (c.proc2 & XVCPU_PROC2_TSC_SCALING) != 0 && SIM_NEED(CTRL_TSC_MULTIPLIER) == 0);
    if ((c.proc2 & XVCPU_PROC2_XSAVES) != 0)
        (void)SIM_NEED(CTRL_XSS_EXITING_BITMAP);
    if ((c.proc2 & XVCPU_PROC2_ENCLS_EXITING) != 0)
        (void)SIM_NEED(CTRL_ENCLS_EXITING_BITMAP);
    if ((c.proc2 & XVCPU_PROC2_PAUSE_LOOP_EXITING) != 0) {
        (void)SIM_NEED(CTRL_PLE_GAP);
        (void)SIM_NEED(CTRL_PLE_WINDOW);
    }
    if ((c.pin & XVCPU_PIN_PREEMPTION_TIMER) != 0)
        (void)SIM_NEED(GUEST_PREEMPTION_TIMER);

    SIM_RULE(CTL, 87,
             (c.exit & XVCPU_EXIT_SAVE_PREEMPTION_TIMER) != 0 &&
                 (c.pin & XVCPU_PIN_PREEMPTION_TIMER) == 0);
    rule = sim_check_list(cpu, v, SIM_ROW_CTRL_EXIT_MSR_STORE_COUNT,
                          SIM_ROW_CTRL_EXIT_MSR_STORE_ADDR, 88);
    if (!rule)
        rule = sim_check_list(cpu, v, SIM_ROW_CTRL_EXIT_MSR_LOAD_COUNT,
                              SIM_ROW_CTRL_EXIT_MSR_LOAD_ADDR, 91);
    if (!rule)
        rule = sim_check_event(cpu, v, &c);
    if (!rule)
        rule = sim_check_list(cpu, v, SIM_ROW_CTRL_ENTRY_MSR_LOAD_COUNT,
                              SIM_ROW_CTRL_ENTRY_MSR_LOAD_ADDR, 116);
    if (rule)
        return rule;
    SIM_RULE(CTL, 119, (c.entry & XVCPU_ENTRY_TO_SMM) != 0);
    SIM_RULE(CTL, 120, (c.entry & XVCPU_ENTRY_DEACT_DUAL_MONITOR) != 0);
    return NULL;
}

// -- Host state

static const char *sim_check_host(sim_processor *cpu, const sim_vmcs *v)
{
    // In the order of the rules' numbers.
    static const enum sim_row selectors[7] = {
        SIM_ROW_HOST_CS_SELECTOR, SIM_ROW_HOST_SS_SELECTOR, SIM_ROW_HOST_DS_SELECTOR,
        SIM_ROW_HOST_ES_SELECTOR, SIM_ROW_HOST_FS_SELECTOR, SIM_ROW_HOST_GS_SELECTOR,
        SIM_ROW_HOST_TR_SELECTOR};
    static const enum sim_row bases[5] = {SIM_ROW_HOST_FS_BASE, SIM_ROW_HOST_GS_BASE,
                                          SIM_ROW_HOST_GDTR_BASE, SIM_ROW_HOST_IDTR_BASE,
                                          SIM_ROW_HOST_TR_BASE};
    const sim_words_now c = sim_controls(v);
    const bool wide = (c.exit & XVCPU_EXIT_HOST_64BIT) != 0;
    const xvcpu_u64 cr0 = SIM_NEED(HOST_CR0), cr4 = SIM_NEED(HOST_CR4);
    const xvcpu_u64 efer_now = sim_msr_value(cpu, XVCPU_MSR_IA32_EFER);
    xvcpu_u32 i;
    SIM_RULE(HOST, 1, (sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR0_FIXED0) & ~cr0) != 0);
    SIM_RULE(HOST, 2, (cr0 & ~sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR0_FIXED1)) != 0);
    SIM_RULE(HOST, 3, (sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR4_FIXED0) & ~cr4) != 0);
    SIM_RULE(HOST, 4, (cr4 & ~sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR4_FIXED1)) != 0);
    SIM_RULE(HOST, 5, (cr4 & XVCPU_CR4_CET) != 0 && (cr0 & XVCPU_CR0_WP) == 0);
    SIM_RULE(HOST, 6, (SIM_NEED(HOST_CR3) >> sim_physical_bits(cpu)) != 0);
    (void)SIM_NEED(HOST_SYSENTER_CS);
    SIM_RULE(HOST, 7, !sim_canonical(cpu, SIM_NEED(HOST_SYSENTER_ESP)));
    SIM_RULE(HOST, 8, !sim_canonical(cpu, SIM_NEED(HOST_SYSENTER_EIP)));
    if ((c.exit & XVCPU_EXIT_LOAD_PERF_GLOBAL_CTRL) != 0) {
        const sim_msr *msr = sim_msr_of(cpu, XVCPU_MSR_IA32_PERF_GLOBAL_CTRL);
        SIM_RULE(HOST, 9, msr && (SIM_NEED(HOST_PERF_GLOBAL_CTRL) & msr->reserved) != 0);
    }
    SIM_RULE(HOST, 10, (c.exit & XVCPU_EXIT_LOAD_PAT) != 0 && !sim_pat_valid(SIM_NEED(HOST_PAT)));
    if ((c.exit & XVCPU_EXIT_LOAD_EFER) != 0) {
        const xvcpu_u64 efer = SIM_NEED(HOST_EFER);
        SIM_RULE(HOST, 11, (efer & sim_efer_reserved(cpu)) != 0);
        SIM_RULE(HOST, 12, ((efer & XVCPU_EFER_LMA) != 0) != wide);
        SIM_RULE(HOST, 13, ((efer & XVCPU_EFER_LME) != 0) != wide);
    }
    if ((c.exit & XVCPU_EXIT_LOAD_CET) != 0) {
        const xvcpu_u64 s_cet = SIM_NEED(HOST_S_CET);
        SIM_RULE(HOST, 14, (s_cet & XVCPU_BITS64(9, 6)) != 0);
        SIM_RULE(HOST, 15, (s_cet & XVCPU_CET_SUPPRESS) != 0 && (s_cet & XVCPU_CET_TRACKER) != 0);
        SIM_RULE(HOST, 16, (SIM_NEED(HOST_SSP) & 3U) != 0);
        SIM_RULE(HOST, 55, !sim_canonical(cpu, s_cet));
        SIM_RULE(HOST, 56, !sim_canonical(cpu, SIM_NEED(HOST_SSP)));
        SIM_RULE(HOST, 57, !sim_canonical(cpu, SIM_NEED(HOST_INTR_SSP_TABLE)));
    }
    SIM_RULE(HOST, 17, (c.exit & XVCPU_EXIT_LOAD_PKRS) != 0 && (SIM_NEED(HOST_PKRS) >> 32) != 0);
    for (i = 0; i < 7; i++)
        SIM_RULE(HOST, 29 + i, (sim_need(v, selectors[i]) & 7U) != 0);
    SIM_RULE(HOST, 36, SIM_NEED(HOST_CS_SELECTOR) == 0);
    SIM_RULE(HOST, 37, SIM_NEED(HOST_TR_SELECTOR) == 0);
    SIM_RULE(HOST, 38, !wide && SIM_NEED(HOST_SS_SELECTOR) == 0);
    for (i = 0; i < 5; i++)
        SIM_RULE(HOST, 39 + i, !sim_canonical(cpu, sim_need(v, bases[i])));
    SIM_RULE(HOST, 44,
             (efer_now & XVCPU_EFER_LMA) == 0 && (c.entry & XVCPU_ENTRY_IA32E_GUEST) != 0);
    SIM_RULE(HOST, 45, (efer_now & XVCPU_EFER_LMA) == 0 && wide);
    SIM_RULE(HOST, 46, (efer_now & XVCPU_EFER_LMA) != 0 && !wide);
    SIM_RULE(HOST, 53, wide && (cr4 & XVCPU_CR4_PAE) == 0);
    SIM_RULE(HOST, 54, wide && !sim_canonical(cpu, SIM_NEED(HOST_RIP)));
    (void)SIM_NEED(HOST_RSP);
    return NULL;
}

static void sim_stale(const char *what, xvcpu_u64 field, xvcpu_u64 now)
{
    if (field != now)
        sim_fail("stale host state: HOST_%s is %#llx, the processor's is %#llx", what,
                 (unsigned long long)field, (unsigned long long)now);
}

// No processor checks this: the host would go on with values it has long given up.
static void sim_check_host_is_current(sim_processor *cpu, const sim_vmcs *v)
{
    static const struct {
        enum sim_row row;
        xvcpu_u32 msr;
        const char *name;
    } msrs[] = {
        {SIM_ROW_HOST_FS_BASE, XVCPU_MSR_IA32_FS_BASE, "FS_BASE"},
        {SIM_ROW_HOST_GS_BASE, XVCPU_MSR_IA32_GS_BASE, "GS_BASE"},
        {SIM_ROW_HOST_SYSENTER_CS, XVCPU_MSR_IA32_SYSENTER_CS, "SYSENTER_CS"},
        {SIM_ROW_HOST_SYSENTER_ESP, XVCPU_MSR_IA32_SYSENTER_ESP, "SYSENTER_ESP"},
        {SIM_ROW_HOST_SYSENTER_EIP, XVCPU_MSR_IA32_SYSENTER_EIP, "SYSENTER_EIP"},
    };
    static const struct {
        enum sim_row row;
        xvcpu_u32 segment;
        const char *name;
    } selectors[] = {
        {SIM_ROW_HOST_ES_SELECTOR, XVCPU_ES, "ES_SELECTOR"},
        {SIM_ROW_HOST_CS_SELECTOR, XVCPU_CS, "CS_SELECTOR"},
        {SIM_ROW_HOST_SS_SELECTOR, XVCPU_SS, "SS_SELECTOR"},
        {SIM_ROW_HOST_DS_SELECTOR, XVCPU_DS, "DS_SELECTOR"},
        {SIM_ROW_HOST_FS_SELECTOR, XVCPU_FS, "FS_SELECTOR"},
        {SIM_ROW_HOST_GS_SELECTOR, XVCPU_GS, "GS_SELECTOR"},
        {SIM_ROW_HOST_TR_SELECTOR, XVCPU_TR, "TR_SELECTOR"},
    };
    const sim_words_now c = sim_controls(v);
    xvcpu_u32 i;
    sim_stale("CR0", v->value[SIM_ROW_HOST_CR0], cpu->cr0);
    sim_stale("CR3", v->value[SIM_ROW_HOST_CR3], cpu->cr3);
    sim_stale("CR4", v->value[SIM_ROW_HOST_CR4], cpu->cr4);
    sim_stale("GDTR_BASE", v->value[SIM_ROW_HOST_GDTR_BASE], cpu->gdtr_base);
    sim_stale("IDTR_BASE", v->value[SIM_ROW_HOST_IDTR_BASE], cpu->idtr_base);
    sim_stale("TR_BASE", v->value[SIM_ROW_HOST_TR_BASE], cpu->segments[XVCPU_TR].base);
    for (i = 0; i < sizeof msrs / sizeof msrs[0]; i++)
        sim_stale(msrs[i].name, v->value[msrs[i].row], sim_msr_value(cpu, msrs[i].msr));
    for (i = 0; i < sizeof selectors / sizeof selectors[0]; i++) {
        const xvcpu_u16 now = cpu->segments[selectors[i].segment].selector;
        const xvcpu_u64 field = v->value[selectors[i].row];
        // RPL and TI do not fit: whoever puts such a selector back may have a null one meanwhile.
        if ((now & 7U) != 0 && (field == 0 || field == (now & 0xFFF8U)))
            continue;
        sim_stale(selectors[i].name, field, now);
    }
    if ((c.exit & XVCPU_EXIT_LOAD_EFER) != 0)
        sim_stale("EFER", v->value[SIM_ROW_HOST_EFER], sim_msr_value(cpu, XVCPU_MSR_IA32_EFER));
    if ((c.exit & XVCPU_EXIT_LOAD_PAT) != 0)
        sim_stale("PAT", v->value[SIM_ROW_HOST_PAT], sim_msr_value(cpu, XVCPU_MSR_IA32_PAT));
    if ((c.exit & XVCPU_EXIT_LOAD_PERF_GLOBAL_CTRL) != 0)
        sim_stale("PERF_GLOBAL_CTRL", v->value[SIM_ROW_HOST_PERF_GLOBAL_CTRL],
                  sim_msr_value(cpu, XVCPU_MSR_IA32_PERF_GLOBAL_CTRL));
    if ((c.exit & XVCPU_EXIT_LOAD_CET) != 0)
        sim_stale("S_CET", v->value[SIM_ROW_HOST_S_CET],
                  sim_msr_value(cpu, XVCPU_MSR_IA32_S_CET));
    if ((c.exit & XVCPU_EXIT_LOAD_PKRS) != 0)
        sim_stale("PKRS", v->value[SIM_ROW_HOST_PKRS], sim_msr_value(cpu, XVCPU_MSR_IA32_PKRS));
}

// -- Guest state

// Rules about the six code and data segments come in this order, one number each.
static const xvcpu_u32 sim_segment_order[6] = {XVCPU_CS, XVCPU_SS, XVCPU_DS,
                                               XVCPU_ES, XVCPU_FS, XVCPU_GS};

typedef struct sim_guest_segment {
    xvcpu_u64 selector, base, limit, rights, type, dpl;
    bool usable;
} sim_guest_segment;

static sim_guest_segment sim_guest_segment_of(const sim_vmcs *v, xvcpu_u32 segment)
{
    sim_guest_segment s;
    s.selector = sim_need(v, sim_row_at(XVCPU_VMCS_GUEST_ES_SELECTOR + 2 * segment));
    s.base = sim_need(v, sim_row_at(XVCPU_VMCS_GUEST_ES_BASE + 2 * segment));
    s.limit = sim_need(v, sim_row_at(XVCPU_VMCS_GUEST_ES_LIMIT + 2 * segment));
    s.rights = sim_need(v, sim_row_at(XVCPU_VMCS_GUEST_ES_AR + 2 * segment));
    s.type = XVCPU_PART(s.rights, AR_TYPE);
    s.dpl = XVCPU_PART(s.rights, AR_DPL);
    s.usable = (s.rights & XVCPU_AR_UNUSABLE) == 0;
    return s;
}

static bool sim_limit_too_fine(const sim_guest_segment *s)
{
    return (s->rights & XVCPU_AR_G) != 0 && (s->limit & 0xFFFU) != 0xFFFU;
}

static bool sim_limit_too_big(const sim_guest_segment *s)
{
    return (s->rights & XVCPU_AR_G) == 0 && (s->limit & 0xFFF00000U) != 0;
}

static const char *sim_check_segments_v86(const sim_vmcs *v)
{
    xvcpu_u32 i;
    for (i = 0; i < 6; i++) {
        const sim_guest_segment s = sim_guest_segment_of(v, sim_segment_order[i]);
        SIM_RULE(GUEST, 45 + i, s.base != s.selector << 4);
        SIM_RULE(GUEST, 51 + i, s.limit != 0xFFFF);
        SIM_RULE(GUEST, 57 + i, s.rights != 0xF3);
    }
    return NULL;
}

static const char *sim_check_segments(const sim_vmcs *v, const sim_words_now *c, xvcpu_u64 cr0)
{
    const bool unrestricted = (c->proc2 & XVCPU_PROC2_UNRESTRICTED_GUEST) != 0;
    const bool ia32e = (c->entry & XVCPU_ENTRY_IA32E_GUEST) != 0;
    sim_guest_segment s[6];
    const sim_guest_segment *cs = &s[0], *ss = &s[1];
    xvcpu_u32 i;
    for (i = 0; i < 6; i++)
        s[i] = sim_guest_segment_of(v, sim_segment_order[i]);
    SIM_RULE(GUEST, 44, !unrestricted && (ss->selector & 3U) != (cs->selector & 3U));
    SIM_RULE(GUEST, 71,
             !unrestricted && cs->type != 9 && cs->type != 11 && cs->type != 13 && cs->type != 15);
    SIM_RULE(GUEST, 72,
             unrestricted && cs->type != 3 && cs->type != 9 && cs->type != 11 && cs->type != 13 &&
                 cs->type != 15);
    SIM_RULE(GUEST, 73, ss->usable && ss->type != 3 && ss->type != 7);
    for (i = 2; i < 6; i++) {
        SIM_RULE(GUEST, 72 + i, s[i].usable && (s[i].type & 1U) == 0);
        SIM_RULE(GUEST, 76 + i, s[i].usable && (s[i].type & 8U) != 0 && (s[i].type & 2U) == 0);
    }
    for (i = 0; i < 6; i++)
        SIM_RULE(GUEST, 82 + i, (i == 0 || s[i].usable) && (s[i].rights & XVCPU_AR_S) == 0);
    SIM_RULE(GUEST, 88, cs->type == 3 && cs->dpl != 0);
    SIM_RULE(GUEST, 89, (cs->type == 9 || cs->type == 11) && cs->dpl != ss->dpl);
    SIM_RULE(GUEST, 90, (cs->type == 13 || cs->type == 15) && cs->dpl > ss->dpl);
    SIM_RULE(GUEST, 91, !unrestricted && ss->dpl != (ss->selector & 3U));
    SIM_RULE(GUEST, 92, (cs->type == 3 || (cr0 & XVCPU_CR0_PE) == 0) && ss->dpl != 0);
    for (i = 2; i < 6; i++)
        SIM_RULE(GUEST, 95 + i,
                 !unrestricted && s[i].usable && s[i].type <= 11 &&
                     s[i].dpl < (s[i].selector & 3U));
    for (i = 0; i < 6; i++) {
        const bool counts = i == 0 || s[i].usable;
        SIM_RULE(GUEST, 101 + i, counts && (s[i].rights & XVCPU_AR_P) == 0);
        SIM_RULE(GUEST, 107 + i, counts && (s[i].rights & XVCPU_AR_RESERVED_LOW_MASK) != 0);
        SIM_RULE(GUEST, 114 + i, counts && sim_limit_too_fine(&s[i]));
        SIM_RULE(GUEST, 120 + i, counts && sim_limit_too_big(&s[i]));
        SIM_RULE(GUEST, 126 + i, counts && (s[i].rights & XVCPU_AR_RESERVED_HIGH_MASK) != 0);
    }
    SIM_RULE(GUEST, 113,
             ia32e && (cs->rights & XVCPU_AR_L) != 0 && (cs->rights & XVCPU_AR_DB) != 0);
    return NULL;
}

static const char *sim_check_system_segments(sim_processor *cpu, const sim_vmcs *v, bool ia32e)
{
    const sim_guest_segment tr = sim_guest_segment_of(v, XVCPU_TR);
    const sim_guest_segment ldtr = sim_guest_segment_of(v, XVCPU_LDTR);
    xvcpu_u32 i;
    SIM_RULE(GUEST, 42, (tr.selector & XVCPU_SELECTOR_TI) != 0);
    SIM_RULE(GUEST, 43, ldtr.usable && (ldtr.selector & XVCPU_SELECTOR_TI) != 0);
    SIM_RULE(GUEST, 63, !sim_canonical(cpu, tr.base));
    SIM_RULE(GUEST, 64, !sim_canonical(cpu, SIM_NEED(GUEST_FS_BASE)));
    SIM_RULE(GUEST, 65, !sim_canonical(cpu, SIM_NEED(GUEST_GS_BASE)));
    SIM_RULE(GUEST, 66, ldtr.usable && !sim_canonical(cpu, ldtr.base));
    for (i = 0; i < 4; i++) {
        const sim_guest_segment s = sim_guest_segment_of(v, sim_segment_order[i]);
        SIM_RULE(GUEST, 67 + i, (i == 0 || s.usable) && (s.base >> 32) != 0);
    }
    SIM_RULE(GUEST, 132, !ia32e && tr.type != 3 && tr.type != 11);
    SIM_RULE(GUEST, 133, ia32e && tr.type != 11);
    SIM_RULE(GUEST, 134, (tr.rights & XVCPU_AR_S) != 0);
    SIM_RULE(GUEST, 135, (tr.rights & XVCPU_AR_P) == 0);
    SIM_RULE(GUEST, 136, (tr.rights & XVCPU_AR_RESERVED_LOW_MASK) != 0);
    SIM_RULE(GUEST, 137, sim_limit_too_fine(&tr));
    SIM_RULE(GUEST, 138, sim_limit_too_big(&tr));
    SIM_RULE(GUEST, 139, !tr.usable);
    SIM_RULE(GUEST, 140, (tr.rights & XVCPU_AR_RESERVED_HIGH_MASK) != 0);
    if (ldtr.usable) {
        SIM_RULE(GUEST, 141, ldtr.type != 2);
        SIM_RULE(GUEST, 142, (ldtr.rights & XVCPU_AR_S) != 0);
        SIM_RULE(GUEST, 143, (ldtr.rights & XVCPU_AR_P) == 0);
        SIM_RULE(GUEST, 144, (ldtr.rights & XVCPU_AR_RESERVED_LOW_MASK) != 0);
        SIM_RULE(GUEST, 145, sim_limit_too_fine(&ldtr));
        SIM_RULE(GUEST, 146, sim_limit_too_big(&ldtr));
        SIM_RULE(GUEST, 147, (ldtr.rights & XVCPU_AR_RESERVED_HIGH_MASK) != 0);
    }
    SIM_RULE(GUEST, 148, !sim_canonical(cpu, SIM_NEED(GUEST_GDTR_BASE)));
    SIM_RULE(GUEST, 149, !sim_canonical(cpu, SIM_NEED(GUEST_IDTR_BASE)));
    SIM_RULE(GUEST, 150, (SIM_NEED(GUEST_GDTR_LIMIT) >> 16) != 0);
    SIM_RULE(GUEST, 151, (SIM_NEED(GUEST_IDTR_LIMIT) >> 16) != 0);
    return NULL;
}

static const char *sim_check_guest_cet(sim_processor *cpu, const sim_vmcs *v, bool wide)
{
    const xvcpu_u64 s_cet = SIM_NEED(GUEST_S_CET), ssp = SIM_NEED(GUEST_SSP);
    SIM_RULE(GUEST, 16, !sim_canonical(cpu, s_cet));
    SIM_RULE(GUEST, 17, !sim_canonical(cpu, SIM_NEED(GUEST_INTR_SSP_TABLE)));
    SIM_RULE(GUEST, 26, (s_cet & XVCPU_BITS64(9, 6)) != 0);
    SIM_RULE(GUEST, 27, (s_cet & XVCPU_CET_SUPPRESS) != 0 && (s_cet & XVCPU_CET_TRACKER) != 0);
    SIM_RULE(GUEST, 162, (ssp & 3U) != 0);
    SIM_RULE(GUEST, 163, !sim_canonical_at(ssp, sim_linear_bits(cpu) + 1));
    SIM_RULE(GUEST, 164, !wide && (ssp >> 32) != 0);
    return NULL;
}

static const char *sim_check_guest_registers(sim_processor *cpu, const sim_vmcs *v,
                                             const sim_words_now *c)
{
    const bool unrestricted = (c->proc2 & XVCPU_PROC2_UNRESTRICTED_GUEST) != 0;
    const bool ia32e = (c->entry & XVCPU_ENTRY_IA32E_GUEST) != 0;
    const xvcpu_u64 cr0 = SIM_NEED(GUEST_CR0), cr4 = SIM_NEED(GUEST_CR4);
    xvcpu_u64 fixed0 = sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR0_FIXED0);
    if (unrestricted)
        fixed0 &= ~(XVCPU_CR0_PE | XVCPU_CR0_PG);
    (void)SIM_NEED(CTRL_CR0_MASK);
    (void)SIM_NEED(CTRL_CR4_MASK);
    (void)SIM_NEED(CTRL_CR0_READ_SHADOW);
    (void)SIM_NEED(CTRL_CR4_READ_SHADOW);
    (void)SIM_NEED(GUEST_RSP);
    (void)SIM_NEED(GUEST_SYSENTER_CS);
    SIM_RULE(GUEST, 1, (fixed0 & ~cr0) != 0);
    SIM_RULE(GUEST, 2, (cr0 & ~sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR0_FIXED1)) != 0);
    SIM_RULE(GUEST, 3, (cr0 & XVCPU_CR0_PG) != 0 && (cr0 & XVCPU_CR0_PE) == 0);
    SIM_RULE(GUEST, 4, (sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR4_FIXED0) & ~cr4) != 0);
    SIM_RULE(GUEST, 5, (cr4 & ~sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR4_FIXED1)) != 0);
    SIM_RULE(GUEST, 6, (cr4 & XVCPU_CR4_CET) != 0 && (cr0 & XVCPU_CR0_WP) == 0);
    if ((c->entry & XVCPU_ENTRY_LOAD_DEBUG) != 0) {
        const sim_msr *msr = sim_msr_of(cpu, XVCPU_MSR_IA32_DEBUGCTL);
        SIM_RULE(GUEST, 7, msr && (SIM_NEED(GUEST_DEBUGCTL) & msr->reserved) != 0);
        SIM_RULE(GUEST, 13, (SIM_NEED(GUEST_DR7) >> 32) != 0);
    }
    SIM_RULE(GUEST, 8, ia32e && (cr0 & XVCPU_CR0_PG) == 0);
    SIM_RULE(GUEST, 9, ia32e && (cr4 & XVCPU_CR4_PAE) == 0);
    SIM_RULE(GUEST, 10, !ia32e && (cr4 & XVCPU_CR4_PCIDE) != 0);
    SIM_RULE(GUEST, 12, (SIM_NEED(GUEST_CR3) >> sim_physical_bits(cpu)) != 0);
    SIM_RULE(GUEST, 14, !sim_canonical(cpu, SIM_NEED(GUEST_SYSENTER_ESP)));
    SIM_RULE(GUEST, 15, !sim_canonical(cpu, SIM_NEED(GUEST_SYSENTER_EIP)));
    if ((c->entry & XVCPU_ENTRY_LOAD_PERF_GLOBAL_CTRL) != 0) {
        const sim_msr *msr = sim_msr_of(cpu, XVCPU_MSR_IA32_PERF_GLOBAL_CTRL);
        SIM_RULE(GUEST, 18, msr && (SIM_NEED(GUEST_PERF_GLOBAL_CTRL) & msr->reserved) != 0);
    }
    SIM_RULE(GUEST, 19,
             (c->entry & XVCPU_ENTRY_LOAD_PAT) != 0 && !sim_pat_valid(SIM_NEED(GUEST_PAT)));
    if ((c->entry & XVCPU_ENTRY_LOAD_EFER) != 0) {
        const xvcpu_u64 efer = SIM_NEED(GUEST_EFER);
        SIM_RULE(GUEST, 20, (efer & sim_efer_reserved(cpu)) != 0);
        SIM_RULE(GUEST, 21, ((efer & XVCPU_EFER_LMA) != 0) != ia32e);
        SIM_RULE(GUEST, 22,
                 (cr0 & XVCPU_CR0_PG) != 0 &&
                     ((efer & XVCPU_EFER_LMA) != 0) != ((efer & XVCPU_EFER_LME) != 0));
    }
    if ((c->entry & XVCPU_ENTRY_LOAD_BNDCFGS) != 0) {
        SIM_RULE(GUEST, 23, (SIM_NEED(GUEST_BNDCFGS) & XVCPU_BITS64(11, 2)) != 0);
        SIM_RULE(GUEST, 24, !sim_canonical(cpu, SIM_NEED(GUEST_BNDCFGS)));
    }
    SIM_RULE(GUEST, 29,
             (c->entry & XVCPU_ENTRY_LOAD_PKRS) != 0 && (SIM_NEED(GUEST_PKRS) >> 32) != 0);
    return NULL;
}

static const char *sim_check_guest_flags(sim_processor *cpu, const sim_vmcs *v,
                                         const sim_words_now *c, bool wide)
{
    const bool ia32e = (c->entry & XVCPU_ENTRY_IA32E_GUEST) != 0;
    const xvcpu_u64 rflags = SIM_NEED(GUEST_RFLAGS), rip = SIM_NEED(GUEST_RIP);
    const xvcpu_u64 info = SIM_NEED(CTRL_ENTRY_INTR_INFO);
    SIM_RULE(GUEST, 152, !wide && (rip >> 32) != 0);
    SIM_RULE(GUEST, 153, wide && !sim_canonical_at(rip, sim_linear_bits(cpu) + 1));
    SIM_RULE(GUEST, 154, (rflags & XVCPU_BITS64(63, 22)) != 0);
    SIM_RULE(GUEST, 155, (rflags & XVCPU_BIT64(15)) != 0);
    SIM_RULE(GUEST, 156, (rflags & XVCPU_BIT64(5)) != 0);
    SIM_RULE(GUEST, 157, (rflags & XVCPU_BIT64(3)) != 0);
    SIM_RULE(GUEST, 158, (rflags & XVCPU_RFLAGS_FIXED_1) == 0);
    SIM_RULE(GUEST, 159, ia32e && (rflags & XVCPU_RFLAGS_VM) != 0);
    SIM_RULE(GUEST, 160,
             (SIM_NEED(GUEST_CR0) & XVCPU_CR0_PE) == 0 && (rflags & XVCPU_RFLAGS_VM) != 0);
    SIM_RULE(GUEST, 161,
             (info & XVCPU_INTR_INFO_VALID) != 0 && XVCPU_PART(info, INTR_INFO_TYPE) == 0 &&
                 (rflags & XVCPU_RFLAGS_IF) == 0);
    return NULL;
}

static const char *sim_check_activity(sim_processor *cpu, const sim_vmcs *v)
{
    const xvcpu_u64 misc = sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_MISC);
    const xvcpu_u64 activity = SIM_NEED(GUEST_ACTIVITY_STATE);
    const xvcpu_u64 shadow = SIM_NEED(GUEST_INTERRUPTIBILITY) & 3U;
    const xvcpu_u64 info = SIM_NEED(CTRL_ENTRY_INTR_INFO);
    const xvcpu_u64 type = XVCPU_PART(info, INTR_INFO_TYPE);
    const xvcpu_u64 vector = XVCPU_PART(info, INTR_INFO_VECTOR);
    const bool event = (info & XVCPU_INTR_INFO_VALID) != 0;
    const bool mc = type == XVCPU_INTR_TYPE_HARDWARE_EXCEPTION && vector == 18;
    SIM_RULE(GUEST, 165, activity > 3);
    SIM_RULE(GUEST, 166, activity != 0 && (misc & XVCPU_BIT64(5 + activity)) == 0);
    SIM_RULE(GUEST, 167,
             activity == XVCPU_ACTIVITY_HLT && XVCPU_PART(SIM_NEED(GUEST_SS_AR), AR_DPL) != 0);
    SIM_RULE(GUEST, 168, shadow != 0 && activity != 0);
    if (!event)
        return NULL;
    SIM_RULE(GUEST, 169,
             activity == XVCPU_ACTIVITY_HLT && type != 0 && type != XVCPU_INTR_TYPE_NMI && !mc &&
                 !(type == XVCPU_INTR_TYPE_HARDWARE_EXCEPTION && vector == 1) &&
                 !(type == XVCPU_INTR_TYPE_OTHER && vector == 0));
    SIM_RULE(GUEST, 170,
             activity == XVCPU_ACTIVITY_SHUTDOWN && type != XVCPU_INTR_TYPE_NMI && !mc);
    SIM_RULE(GUEST, 171, activity == XVCPU_ACTIVITY_WAIT_FOR_SIPI);
    return NULL;
}

static const char *sim_check_interruptibility(sim_processor *cpu, const sim_vmcs *v,
                                              const sim_words_now *c, xvcpu_u64 *qualification)
{
    const xvcpu_u64 state = SIM_NEED(GUEST_INTERRUPTIBILITY);
    const xvcpu_u64 info = SIM_NEED(CTRL_ENTRY_INTR_INFO);
    const xvcpu_u64 type = XVCPU_PART(info, INTR_INFO_TYPE);
    const bool event = (info & XVCPU_INTR_INFO_VALID) != 0;
    const bool nmi = event && type == XVCPU_INTR_TYPE_NMI;
    const bool sti = (state & XVCPU_INTERRUPTIBILITY_STI) != 0;
    const bool mov_ss = (state & XVCPU_INTERRUPTIBILITY_MOV_SS) != 0;
    const sim_cpuid_row *row = sim_cpuid_find(cpu, 7, 0);
    SIM_RULE(GUEST, 173, (state & XVCPU_INTERRUPTIBILITY_RESERVED_MASK) != 0);
    SIM_RULE(GUEST, 174, sti && mov_ss);
    SIM_RULE(GUEST, 175, sti && (SIM_NEED(GUEST_RFLAGS) & XVCPU_RFLAGS_IF) == 0);
    SIM_RULE(GUEST, 176, event && type == 0 && sti);
    SIM_RULE(GUEST, 177, event && type == 0 && mov_ss);
    if (nmi && sti) {
        *qualification = 3;
        return sim_rule("GUEST", 178);
    }
    SIM_RULE(GUEST, 179, nmi && mov_ss);
    SIM_RULE(GUEST, 180, (state & XVCPU_INTERRUPTIBILITY_SMI) != 0);
    SIM_RULE(GUEST, 182,
             nmi && (c->pin & XVCPU_PIN_VIRTUAL_NMIS) != 0 &&
                 (state & XVCPU_INTERRUPTIBILITY_NMI) != 0);
    SIM_RULE(GUEST, 183, (state & XVCPU_INTERRUPTIBILITY_ENCLAVE) != 0 && mov_ss);
    SIM_RULE(GUEST, 184,
             (state & XVCPU_INTERRUPTIBILITY_ENCLAVE) != 0 &&
                 (!row || (row->regs.ebx & XVCPU_CPUID_7_EBX_SGX) == 0));
    return NULL;
}

static const char *sim_check_pending_debug(const sim_vmcs *v, const sim_words_now *c)
{
    const xvcpu_u64 pending = SIM_NEED(GUEST_PENDING_DBG);
    const xvcpu_u64 debugctl =
        (c->entry & XVCPU_ENTRY_LOAD_DEBUG) != 0 ? SIM_NEED(GUEST_DEBUGCTL) : 0;
    const bool blocked = (SIM_NEED(GUEST_INTERRUPTIBILITY) & 3U) != 0 ||
                         SIM_NEED(GUEST_ACTIVITY_STATE) == XVCPU_ACTIVITY_HLT;
    const bool step = (SIM_NEED(GUEST_RFLAGS) & XVCPU_RFLAGS_TF) != 0 &&
                      (debugctl & XVCPU_DEBUGCTL_BTF) == 0;
    const bool bs = (pending & XVCPU_PENDING_DBG_BS) != 0;
    SIM_RULE(GUEST, 185, (pending & XVCPU_BITS64(10, 4)) != 0);
    SIM_RULE(GUEST, 186, (pending & XVCPU_PENDING_DBG_BLD) != 0);
    SIM_RULE(GUEST, 187, (pending & (XVCPU_BIT64(13) | XVCPU_BIT64(15))) != 0);
    SIM_RULE(GUEST, 188, (pending & XVCPU_BITS64(63, 17)) != 0);
    SIM_RULE(GUEST, 189, blocked && step && !bs);
    SIM_RULE(GUEST, 190, blocked && !step && bs);
    SIM_RULE(GUEST, 193, (pending & XVCPU_PENDING_DBG_RTM) != 0);
    return NULL;
}

static const char *sim_check_link_and_pdptes(sim_processor *cpu, const sim_vmcs *v,
                                             const sim_words_now *c, xvcpu_u64 *qualification)
{
    const xvcpu_u64 link = SIM_NEED(GUEST_VMCS_LINK_PTR);
    const xvcpu_u64 cr0 = SIM_NEED(GUEST_CR0), cr4 = SIM_NEED(GUEST_CR4);
    xvcpu_u32 i;
    if (link != SIM_NONE) {
        *qualification = 4;
        SIM_RULE(GUEST, 195, (link & 0xFFFU) != 0);
        SIM_RULE(GUEST, 196, sim_beyond(cpu, link));
        SIM_RULE(GUEST, 199, link == cpu->current_pa);
        SIM_RULE(GUEST, 197, true);
    }
    if ((cr0 & XVCPU_CR0_PG) != 0 && (cr4 & XVCPU_CR4_PAE) != 0 &&
        (c->entry & XVCPU_ENTRY_IA32E_GUEST) == 0 && (c->proc2 & XVCPU_PROC2_EPT) != 0) {
        for (i = 0; i < 4; i++) {
            const xvcpu_u64 pdpte = sim_need(v, sim_row_at(XVCPU_VMCS_GUEST_PDPTE0 + 2 * i));
            *qualification = 2;
            SIM_RULE(GUEST, 201 + i,
                     (pdpte & XVCPU_PTE_P) != 0 &&
                         ((pdpte & (XVCPU_BITS64(2, 1) | XVCPU_BITS64(8, 5))) != 0 ||
                          (pdpte >> sim_physical_bits(cpu)) != 0));
        }
    }
    *qualification = 0;
    return NULL;
}

static const char *sim_check_guest(sim_processor *cpu, const sim_vmcs *v, xvcpu_u64 *qualification)
{
    const sim_words_now c = sim_controls(v);
    const bool ia32e = (c.entry & XVCPU_ENTRY_IA32E_GUEST) != 0;
    const bool wide = ia32e && (SIM_NEED(GUEST_CS_AR) & XVCPU_AR_L) != 0;
    const char *rule = sim_check_guest_registers(cpu, v, &c);
    *qualification = 0;
    if (!rule && (c.entry & XVCPU_ENTRY_LOAD_CET) != 0)
        rule = sim_check_guest_cet(cpu, v, wide);
    if (!rule)
        rule = sim_check_system_segments(cpu, v, ia32e);
    if (!rule)
        rule = (SIM_NEED(GUEST_RFLAGS) & XVCPU_RFLAGS_VM) != 0
                   ? sim_check_segments_v86(v)
                   : sim_check_segments(v, &c, SIM_NEED(GUEST_CR0));
    if (!rule)
        rule = sim_check_guest_flags(cpu, v, &c, wide);
    if (!rule)
        rule = sim_check_activity(cpu, v);
    if (!rule)
        rule = sim_check_interruptibility(cpu, v, &c, qualification);
    if (!rule)
        rule = sim_check_pending_debug(v, &c);
    if (!rule)
        rule = sim_check_link_and_pdptes(cpu, v, &c, qualification);
    return rule;
}
