// Part of sim.c: instructions that are not VMX's.

// -- MSRs

xvcpu_u64 xvcpu_rdmsr(xvcpu_u32 index)
{
    sim_processor *cpu = sim_host("RDMSR");
    sim_counts.rdmsr++;
    if (index == XVCPU_MSR_IA32_TIME_STAMP_COUNTER)
        return cpu->tsc += 25;
    if (!sim_msr_of(cpu, index))
        sim_gp("RDMSR", "the model has no such MSR", index, 0);
    return sim_msr_value(cpu, index);
}

static bool sim_pat_valid(xvcpu_u64 value)
{
    xvcpu_u32 i;
    for (i = 0; i < 8; i++) {
        const xvcpu_u64 type = (value >> (8 * i)) & 0xFFU;
        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

static xvcpu_u64 sim_efer_reserved(sim_processor *cpu)
{
    const sim_cpuid_row *row = sim_cpuid_find(cpu, 0x80000001U, 0);
    xvcpu_u64 valid = 0;
    if (row && (row->regs.edx & XVCPU_CPUID_EXT_1_EDX_SYSCALL) != 0)
        valid |= XVCPU_EFER_SCE;
    if (row && (row->regs.edx & XVCPU_CPUID_EXT_1_EDX_NX) != 0)
        valid |= XVCPU_EFER_NXE;
    if (row && (row->regs.edx & XVCPU_CPUID_EXT_1_EDX_LM) != 0)
        valid |= XVCPU_EFER_LME | XVCPU_EFER_LMA;
    return ~valid;
}

// Why WRMSR would fault, or null.
static const char *sim_wrmsr_fault(sim_processor *cpu, xvcpu_u32 index, xvcpu_u64 value)
{
    const sim_msr *msr = sim_msr_of(cpu, index);
    if (!msr)
        return "the model has no such MSR";
    if (msr->read_only)
        return "read-only MSR";
    if ((value & msr->reserved) != 0)
        return "reserved bits";
    switch (index) {
    case XVCPU_MSR_IA32_FEATURE_CONTROL:
        return (msr->value & XVCPU_FEATURE_CONTROL_LOCK) != 0 ? "locked" : NULL;
    case XVCPU_MSR_IA32_EFER:
        if ((value & sim_efer_reserved(cpu)) != 0)
            return "reserved bits";
        return ((value ^ msr->value) & XVCPU_EFER_LME) != 0 && (cpu->cr0 & XVCPU_CR0_PG) != 0
                   ? "LME changed with paging on"
                   : NULL;
    case XVCPU_MSR_IA32_PAT: return sim_pat_valid(value) ? NULL : "memory type";
    case XVCPU_MSR_IA32_XSS:
        return (value & ~cpu->xss_supported) != 0 ? "unsupported component" : NULL;
    case XVCPU_MSR_IA32_LSTAR:
    case XVCPU_MSR_IA32_CSTAR:
    case XVCPU_MSR_IA32_FS_BASE:
    case XVCPU_MSR_IA32_GS_BASE:
    case XVCPU_MSR_IA32_KERNEL_GS_BASE:
    case XVCPU_MSR_IA32_SYSENTER_ESP:
    case XVCPU_MSR_IA32_SYSENTER_EIP:
        return sim_canonical(cpu, value) ? NULL : "not canonical";
    default: return NULL;
    }
}

static void sim_wrmsr_raw(sim_processor *cpu, xvcpu_u32 index, xvcpu_u64 value)
{
    if (index == XVCPU_MSR_IA32_TIME_STAMP_COUNTER)
        cpu->tsc = value;
    else if (index == XVCPU_MSR_IA32_EFER)
        sim_msr_store(cpu, index,
                      (value & ~XVCPU_EFER_LMA) | (sim_msr_value(cpu, index) & XVCPU_EFER_LMA));
    else
        sim_msr_store(cpu, index, value);
}

void xvcpu_wrmsr(xvcpu_u32 index, xvcpu_u64 value)
{
    sim_processor *cpu = sim_host("WRMSR");
    const char *fault = sim_wrmsr_fault(cpu, index, value);
    sim_counts.wrmsr++;
    if (fault)
        sim_gp("WRMSR", fault, index, value);
    sim_wrmsr_raw(cpu, index, value);
}

// -- Control and debug registers

xvcpu_u64 xvcpu_read_cr0(void)
{
    sim_processor *cpu = sim_host("MOV from CR0");
    sim_counts.cr_read++;
    return cpu->cr0;
}

xvcpu_u64 xvcpu_read_cr3(void)
{
    sim_processor *cpu = sim_host("MOV from CR3");
    sim_counts.cr_read++;
    return cpu->cr3;
}

xvcpu_u64 xvcpu_read_cr4(void)
{
    sim_processor *cpu = sim_host("MOV from CR4");
    sim_counts.cr_read++;
    return cpu->cr4;
}

void xvcpu_write_cr0(xvcpu_u64 value)
{
    sim_processor *cpu = sim_host("MOV to CR0");
    const xvcpu_u64 valid = XVCPU_CR0_PE | XVCPU_CR0_MP | XVCPU_CR0_EM | XVCPU_CR0_TS |
                            XVCPU_CR0_ET | XVCPU_CR0_NE | XVCPU_CR0_WP | XVCPU_CR0_AM |
                            XVCPU_CR0_NW | XVCPU_CR0_CD | XVCPU_CR0_PG;
    sim_counts.cr_write++;
    if ((value & ~valid) != 0)
        sim_gp("MOV to CR0", "reserved bits", value, valid);
    if ((value & XVCPU_CR0_PG) == 0 || (value & XVCPU_CR0_PE) == 0)
        sim_gp("MOV to CR0", "paging or protection off in 64-bit mode", value, 0);
    if ((value & XVCPU_CR0_NW) != 0 && (value & XVCPU_CR0_CD) == 0)
        sim_gp("MOV to CR0", "NW without CD", value, 0);
    if (cpu->vmx_root &&
        ((sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR0_FIXED0) & ~value) != 0 ||
         (value & ~sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR0_FIXED1)) != 0))
        sim_gp("MOV to CR0", "a bit that VMX operation fixes", value, 0);
    cpu->cr0 = value | XVCPU_CR0_ET;
}

void xvcpu_write_cr4(xvcpu_u64 value)
{
    sim_processor *cpu = sim_host("MOV to CR4");
    sim_counts.cr_write++;
    if ((value & ~cpu->cr4_supported) != 0)
        sim_gp("MOV to CR4", "bits the model lacks", value, cpu->cr4_supported);
    if ((value & XVCPU_CR4_PAE) == 0)
        sim_gp("MOV to CR4", "PAE off in 64-bit mode", value, 0);
    if (((value ^ cpu->cr4) & XVCPU_CR4_LA57) != 0)
        sim_gp("MOV to CR4", "LA57 changed in 64-bit mode", value, 0);
    if ((value & ~cpu->cr4 & XVCPU_CR4_PCIDE) != 0 && (cpu->cr3 & 0xFFFU) != 0)
        sim_gp("MOV to CR4", "PCIDE set with a PCID in CR3", value, cpu->cr3);
    if (cpu->vmx_root &&
        ((sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR4_FIXED0) & ~value) != 0 ||
         (value & ~sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR4_FIXED1)) != 0))
        sim_gp("MOV to CR4", "a bit that VMX operation fixes", value, 0);
    cpu->cr4 = value;
}

xvcpu_u64 xvcpu_read_dr(xvcpu_u32 number)
{
    sim_processor *cpu = sim_host("MOV from DR");
    sim_counts.dr_read++;
    if (number < 4)
        return cpu->dr[number];
    if (number != 6 && number != 7)
        sim_fail("MOV from DR%u", number);
    return number == 6 ? cpu->dr6 : cpu->dr7;
}

void xvcpu_write_dr(xvcpu_u32 number, xvcpu_u64 value)
{
    sim_processor *cpu = sim_host("MOV to DR");
    sim_counts.dr_write++;
    if (number < 4) {
        // The host would trap wherever the new address points to.
        if (value != cpu->dr[number] && ((cpu->dr7 >> (2 * number)) & 3U) != 0)
            sim_fail("DR%u changed while DR7 enables it", number);
        cpu->dr[number] = value;
        return;
    }
    if (number != 6 && number != 7)
        sim_fail("MOV to DR%u", number);
    if ((value >> 32) != 0)
        sim_gp("MOV to DR", "bits 63:32", number, value);
    if (number == 6)
        cpu->dr6 = (value | XVCPU_DR6_FIXED_1) & ~XVCPU_BIT64(12);
    else
        cpu->dr7 = (value | XVCPU_DR7_FIXED_1) & ~(XVCPU_BIT64(12) | XVCPU_BITS64(15, 14));
}

// -- CPUID, XCR0, TSC

void xvcpu_cpuid(xvcpu_u32 leaf, xvcpu_u32 subleaf, xvcpu_cpuid_regs *regs)
{
    sim_processor *cpu = sim_host("CPUID");
    const sim_cpuid_row *basic = sim_cpuid_find(cpu, 0, 0);
    const sim_cpuid_row *extended = sim_cpuid_find(cpu, 0x80000000U, 0);
    const sim_cpuid_row *row;
    xvcpu_u32 i;
    sim_counts.cpuid++;
    // Beyond the last leaf Intel processors answer with the data of the last basic one.
    if ((leaf < 0x80000000U && leaf > basic->regs.eax) ||
        (leaf >= 0x80000000U && (!extended || leaf > extended->regs.eax)))
        leaf = basic->regs.eax;
    row = sim_cpuid_find(cpu, leaf, subleaf);
    memset(regs, 0, sizeof *regs);
    if (!row) {
        if (leaf == 11) { // the level is 0, yet the x2APIC id is there
            regs->ecx = subleaf & 0xFFU;
            regs->edx = cpu->id;
        }
        return;
    }
    *regs = row->regs;
    if (leaf == 1) {
        regs->ecx &= ~(xvcpu_u32)XVCPU_CPUID_1_ECX_OSXSAVE;
        if ((cpu->cr4 & XVCPU_CR4_OSXSAVE) != 0)
            regs->ecx |= (xvcpu_u32)XVCPU_CPUID_1_ECX_OSXSAVE;
    } else if (leaf == 7 && subleaf == 0) {
        if ((cpu->cr4 & XVCPU_CR4_PKE) != 0)
            regs->ecx |= (xvcpu_u32)XVCPU_CPUID_7_ECX_OSPKE;
    } else if (leaf == 13 && subleaf == 0) {
        regs->ebx = 576;
        for (i = 2; i < SIM_COMPONENTS; i++)
            if (((cpu->xcr0 >> i) & 1U) != 0)
                regs->ebx = sim_components[i].offset + sim_components[i].bytes;
    } else if (leaf == 13 && subleaf == 1 && (regs->eax & 8U) != 0) {
        regs->ebx = 576;
        for (i = 2; i < SIM_COMPONENTS; i++)
            if ((((cpu->xcr0 | sim_msr_value(cpu, XVCPU_MSR_IA32_XSS)) >> i) & 1U) != 0)
                regs->ebx += sim_components[i].bytes;
    }
}

static void sim_need_osxsave(sim_processor *cpu, const char *instruction)
{
    if ((cpu->cr4 & XVCPU_CR4_OSXSAVE) == 0)
        sim_fail("#UD in the host: %s with CR4.OSXSAVE clear", instruction);
}

xvcpu_u64 xvcpu_xgetbv(void)
{
    sim_processor *cpu = sim_host("XGETBV");
    sim_counts.xgetbv++;
    sim_need_osxsave(cpu, "XGETBV");
    return cpu->xcr0;
}

static bool sim_xcr0_valid(const sim_processor *cpu, xvcpu_u64 value)
{
    const xvcpu_u64 avx512 = XVCPU_XCR0_OPMASK | XVCPU_XCR0_ZMM_HI256 | XVCPU_XCR0_HI16_ZMM;
    const xvcpu_u64 bounds = XVCPU_XCR0_BNDREGS | XVCPU_XCR0_BNDCSR;
    const xvcpu_u64 amx = XVCPU_XCR0_TILECFG | XVCPU_XCR0_TILEDATA;
    if ((value & ~cpu->xcr0_supported) != 0 || (value & XVCPU_XCR0_X87) == 0)
        return false;
    if ((value & XVCPU_XCR0_AVX) != 0 && (value & XVCPU_XCR0_SSE) == 0)
        return false;
    if ((value & avx512) != 0 && ((value & avx512) != avx512 || (value & XVCPU_XCR0_AVX) == 0))
        return false;
    if ((value & bounds) != 0 && (value & bounds) != bounds)
        return false;
    return (value & amx) == 0 || (value & amx) == amx;
}

void xvcpu_xsetbv(xvcpu_u64 value)
{
    sim_processor *cpu = sim_host("XSETBV");
    sim_counts.xsetbv++;
    sim_need_osxsave(cpu, "XSETBV");
    if (!sim_xcr0_valid(cpu, value))
        sim_gp("XSETBV", "value of XCR0", value, cpu->xcr0_supported);
    cpu->xcr0 = value;
}

xvcpu_u64 xvcpu_rdtsc(void)
{
    sim_processor *cpu = sim_host("RDTSC");
    sim_counts.rdtsc++;
    return cpu->tsc += 25;
}

// -- Descriptor tables and selectors

void xvcpu_sgdt(xvcpu_table_register *table)
{
    sim_processor *cpu = sim_host("SGDT");
    sim_counts.table_store++;
    table->limit = (xvcpu_u16)cpu->gdtr_limit;
    table->base = cpu->gdtr_base;
}

void xvcpu_sidt(xvcpu_table_register *table)
{
    sim_processor *cpu = sim_host("SIDT");
    sim_counts.table_store++;
    table->limit = (xvcpu_u16)cpu->idtr_limit;
    table->base = cpu->idtr_base;
}

void xvcpu_lgdt(const xvcpu_table_register *table)
{
    sim_processor *cpu = sim_host("LGDT");
    sim_counts.table_load++;
    if (!sim_canonical(cpu, table->base))
        sim_gp("LGDT", "base is not canonical", table->base, 0);
    cpu->gdtr_limit = table->limit;
    cpu->gdtr_base = table->base;
}

void xvcpu_lidt(const xvcpu_table_register *table)
{
    sim_processor *cpu = sim_host("LIDT");
    sim_counts.table_load++;
    if (!sim_canonical(cpu, table->base))
        sim_gp("LIDT", "base is not canonical", table->base, 0);
    cpu->idtr_limit = table->limit;
    cpu->idtr_base = table->base;
}

// The two words of a descriptor in the GDT, which is real memory of the test.
static xvcpu_u64 *sim_descriptor(sim_processor *cpu, const char *instruction, xvcpu_u16 selector,
                                 xvcpu_u32 words)
{
    const xvcpu_u32 offset = selector & 0xFFF8U;
    xvcpu_u64 *table = (xvcpu_u64 *)(uintptr_t)cpu->gdtr_base;
    if ((selector & XVCPU_SELECTOR_TI) != 0)
        sim_gp(instruction, "selector in the LDT", selector, 0);
    if (offset + 8 * words - 1 > cpu->gdtr_limit)
        sim_gp(instruction, "beyond the GDT's limit", selector, cpu->gdtr_limit);
    return table + offset / 8;
}

static xvcpu_u64 sim_descriptor_base(const xvcpu_u64 *descriptor, bool wide)
{
    return ((descriptor[0] >> 16) & 0xFFFFFFU) | ((descriptor[0] >> 56) << 24) |
           (wide ? descriptor[1] << 32 : 0);
}

static xvcpu_u32 sim_descriptor_limit(xvcpu_u64 descriptor)
{
    const xvcpu_u32 limit =
        (xvcpu_u32)(descriptor & 0xFFFFU) | ((xvcpu_u32)(descriptor >> 32) & 0xF0000U);
    return (descriptor & XVCPU_BIT64(55)) != 0 ? (limit << 12) | 0xFFFU : limit;
}

xvcpu_u16 xvcpu_sldt(void)
{
    sim_processor *cpu = sim_host("SLDT");
    sim_counts.table_store++;
    return cpu->segments[XVCPU_LDTR].selector;
}

void xvcpu_lldt(xvcpu_u16 selector)
{
    sim_processor *cpu = sim_host("LLDT");
    sim_segment *ldtr = &cpu->segments[XVCPU_LDTR];
    sim_counts.table_load++;
    ldtr->selector = selector;
    if ((selector & 0xFFFCU) != 0) {
        const xvcpu_u64 *d = sim_descriptor(cpu, "LLDT", selector, 2);
        if (((d[0] >> 40) & 0x9FU) != 0x82U)
            sim_gp("LLDT", "no present LDT descriptor", selector, d[0]);
        ldtr->base = sim_descriptor_base(d, true);
        ldtr->limit = sim_descriptor_limit(d[0]);
    }
}

xvcpu_u16 xvcpu_str(void)
{
    sim_processor *cpu = sim_host("STR");
    sim_counts.table_store++;
    return cpu->segments[XVCPU_TR].selector;
}

void xvcpu_ltr(xvcpu_u16 selector)
{
    sim_processor *cpu = sim_host("LTR");
    xvcpu_u64 *d;
    sim_counts.table_load++;
    if ((selector & 0xFFFCU) == 0)
        sim_gp("LTR", "null selector", selector, 0);
    d = sim_descriptor(cpu, "LTR", selector, 2);
    if (((d[0] >> 40) & 0x9FU) != 0x89U)
        sim_gp("LTR", "no present, available TSS descriptor (busy?)", selector, d[0]);
    d[0] |= XVCPU_BIT64(41);
    cpu->segments[XVCPU_TR].selector = selector;
    cpu->segments[XVCPU_TR].base = sim_descriptor_base(d, true);
    cpu->segments[XVCPU_TR].limit = sim_descriptor_limit(d[0]);
}

xvcpu_u16 xvcpu_read_selector(xvcpu_segment segment)
{
    sim_processor *cpu = sim_host("MOV from segment register");
    if ((xvcpu_u32)segment > XVCPU_GS)
        sim_fail("MOV from segment register %d", (int)segment);
    return cpu->segments[segment].selector;
}

void xvcpu_load_selector(xvcpu_segment segment, xvcpu_u16 selector)
{
    sim_processor *cpu = sim_host("MOV to segment register");
    xvcpu_u64 base = 0;
    sim_counts.selector_load++;
    if ((xvcpu_u32)segment > XVCPU_GS || segment == XVCPU_CS)
        sim_fail("MOV to segment register %d", (int)segment);
    if ((selector & 0xFFFCU) != 0) {
        const xvcpu_u64 *d = sim_descriptor(cpu, "MOV to segment register", selector, 1);
        if (((d[0] >> 40) & 0x90U) != 0x90U)
            sim_gp("MOV to segment register", "no present segment", selector, d[0]);
        base = sim_descriptor_base(d, false);
    } else if (segment == XVCPU_SS && (selector & 3U) != 0) {
        sim_gp("MOV to SS", "null selector with RPL", selector, 0);
    }
    cpu->segments[segment].selector = selector;
    // What a kernel forgets: the base goes with the selector.
    if (segment == XVCPU_FS)
        sim_msr_store(cpu, XVCPU_MSR_IA32_FS_BASE, base);
    if (segment == XVCPU_GS)
        sim_msr_store(cpu, XVCPU_MSR_IA32_GS_BASE, base);
}

// -- x87, SSE, AVX...: a stamp stands for each component

static void sim_fpu_ready(sim_processor *cpu, const char *instruction, const void *area,
                          xvcpu_u32 alignment)
{
    if ((cpu->cr0 & (XVCPU_CR0_TS | XVCPU_CR0_EM)) != 0)
        sim_fail("#NM in the host: %s with CR0.TS or CR0.EM set", instruction);
    if (((uintptr_t)area & (alignment - 1U)) != 0)
        sim_gp(instruction, "area is not aligned", (uintptr_t)area, alignment);
}

static void sim_put(void *area, xvcpu_u32 offset, const void *from, xvcpu_u32 bytes)
{
    memcpy((unsigned char *)area + offset, from, bytes);
}

static xvcpu_u64 sim_take(const void *area, xvcpu_u32 offset, xvcpu_u32 bytes)
{
    xvcpu_u64 value = 0;
    memcpy(&value, (const unsigned char *)area + offset, bytes);
    return value;
}

static void sim_put_legacy(sim_processor *cpu, void *area, xvcpu_u64 mask)
{
    const xvcpu_u16 control = 0x037F;
    const xvcpu_u32 mxcsr[2] = {0x1F80U, 0xFFFFU};
    if ((mask & XVCPU_XCR0_X87) != 0) {
        memset(area, 0, 24);
        sim_put(area, 0, &control, 2);
        sim_put(area, sim_components[0].offset, &cpu->fpu[0], 8);
    }
    if ((mask & (XVCPU_XCR0_SSE | XVCPU_XCR0_AVX)) != 0)
        sim_put(area, 24, mxcsr, 8);
    if ((mask & XVCPU_XCR0_SSE) != 0)
        sim_put(area, sim_components[1].offset, &cpu->fpu[1], 8);
}

void xvcpu_xsave(void *area, xvcpu_u64 mask)
{
    sim_processor *cpu = sim_host("XSAVE");
    xvcpu_u64 present;
    xvcpu_u32 i;
    sim_counts.xsave++;
    sim_need_osxsave(cpu, "XSAVE");
    sim_fpu_ready(cpu, "XSAVE", area, 64);
    mask &= cpu->xcr0;
    sim_put_legacy(cpu, area, mask);
    for (i = 2; i < SIM_COMPONENTS; i++)
        if (((mask >> i) & 1U) != 0)
            sim_put(area, sim_components[i].offset, &cpu->fpu[i], 8);
    // XSAVE writes these bits only, and nothing else of the header.
    present = (sim_take(area, 512, 8) & ~mask) | mask;
    sim_put(area, 512, &present, 8);
}

void xvcpu_xrstor(const void *area, xvcpu_u64 mask)
{
    sim_processor *cpu = sim_host("XRSTOR");
    const xvcpu_u64 present = sim_take(area, 512, 8);
    xvcpu_u32 i;
    sim_counts.xrstor++;
    sim_need_osxsave(cpu, "XRSTOR");
    sim_fpu_ready(cpu, "XRSTOR", area, 64);
    if ((present & ~cpu->xcr0) != 0)
        sim_gp("XRSTOR", "XSTATE_BV has bits that XCR0 lacks", present, cpu->xcr0);
    for (i = 520; i < 576; i += 8)
        if (sim_take(area, i, 8) != 0)
            sim_gp("XRSTOR", "XSAVE header is not zero", i, sim_take(area, i, 8));
    mask &= cpu->xcr0;
    if ((mask & (XVCPU_XCR0_SSE | XVCPU_XCR0_AVX)) != 0 && (sim_take(area, 24, 4) >> 16) != 0)
        sim_gp("XRSTOR", "MXCSR reserved bits", sim_take(area, 24, 4), 0);
    for (i = 0; i < SIM_COMPONENTS; i++)
        if (((mask >> i) & 1U) != 0)
            cpu->fpu[i] =
                ((present >> i) & 1U) != 0 ? sim_take(area, sim_components[i].offset, 8) : 0;
}

void xvcpu_fxsave(void *area)
{
    sim_processor *cpu = sim_host("FXSAVE");
    sim_counts.xsave++;
    sim_fpu_ready(cpu, "FXSAVE", area, 16);
    // With SSE off processors may leave the XMM registers out, and these do.
    sim_put_legacy(cpu, area, (cpu->cr4 & XVCPU_CR4_OSFXSR) != 0 ? XVCPU_XCR0_X87 | XVCPU_XCR0_SSE
                                                                 : XVCPU_XCR0_X87);
}

void xvcpu_fxrstor(const void *area)
{
    sim_processor *cpu = sim_host("FXRSTOR");
    sim_counts.xrstor++;
    sim_fpu_ready(cpu, "FXRSTOR", area, 16);
    if ((sim_take(area, 24, 4) >> 16) != 0)
        sim_gp("FXRSTOR", "MXCSR reserved bits", sim_take(area, 24, 4), 0);
    cpu->fpu[0] = sim_take(area, sim_components[0].offset, 8);
    if ((cpu->cr4 & XVCPU_CR4_OSFXSR) != 0)
        cpu->fpu[1] = sim_take(area, sim_components[1].offset, 8);
}

void xvcpu_host_nmi(void)
{
    sim_processor *cpu = sim_host("INT 2");
    cpu->nmis_taken++;
}
