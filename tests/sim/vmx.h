// Part of sim.c: VMX instructions, VM entry and exit, guests, EPT and its TLB.

// -- VMCS regions

static sim_vmcs *sim_region(xvcpu_u64 pa)
{
    xvcpu_u32 i;
    for (i = 0; i < SIM_REGIONS; i++)
        if (sim.regions[i].used && sim.regions[i].pa == pa)
            return &sim.regions[i];
    return NULL;
}

static sim_vmcs *sim_region_must(xvcpu_u64 pa)
{
    sim_vmcs *v = sim_region(pa);
    if (!v)
        sim_fail("test: no VMCS at %#llx", (unsigned long long)pa);
    return v;
}

static sim_vmcs *sim_region_add(xvcpu_u64 pa)
{
    xvcpu_u32 i;
    for (i = 0; i < SIM_REGIONS; i++)
        if (!sim.regions[i].used) {
            sim_vmcs *v = &sim.regions[i];
            memset(v, 0, sizeof *v);
            v->used = true;
            v->pa = pa;
            v->active_on = -1;
            v->memory = (unsigned char *)sim_virt(pa);
            for (i = 0; i < SIM_ROWS; i++)
                v->value[i] = 0xA5A5A5A5A5A5A5A5U;
            return v;
        }
    sim_fail("more than %u VMCS regions", SIM_REGIONS);
}

static xvcpu_u32 sim_region_bytes(void)
{
    return (xvcpu_u32)XVCPU_PART(sim_msr_value(sim.cpu, XVCPU_MSR_IA32_VMX_BASIC),
                                 VMX_BASIC_REGION_SIZE);
}

// The processor's own data: opaque, and never twice the same.
static void sim_region_seal(sim_vmcs *v)
{
    xvcpu_u32 i;
    v->seal = ++sim.seal_number * 0x9E3779B97F4A7C15U;
    for (i = 8; i + 8 <= sim_region_bytes(); i += 8) {
        const xvcpu_u64 word = v->seal ^ i;
        memcpy(v->memory + i, &word, 8);
    }
}

static bool sim_region_is_sealed(const sim_vmcs *v)
{
    xvcpu_u32 i;
    for (i = 8; i + 8 <= sim_region_bytes(); i += 8) {
        const xvcpu_u64 word = v->seal ^ i;
        if (memcmp(v->memory + i, &word, 8) != 0)
            return false;
    }
    return true;
}

static void sim_region_check(const sim_vmcs *v)
{
    xvcpu_u32 revision;
    if (!sim_region_is_sealed(v))
        sim_fail("the memory of an active VMCS was written");
    memcpy(&revision, v->memory, 4);
    if (revision != (xvcpu_u32)XVCPU_PART(sim_msr_value(sim.cpu, XVCPU_MSR_IA32_VMX_BASIC),
                                          VMX_BASIC_REVISION))
        sim_fail("the revision of an active VMCS was changed");
}

static sim_vmcs *sim_current(void)
{
    sim_vmcs *v;
    if (sim.cpu->current_pa == SIM_NONE)
        return NULL;
    v = sim_region(sim.cpu->current_pa);
    if (!v || v->active_on != (int)sim.cpu->id)
        sim_fail("simulator: current VMCS is not active here");
    return v;
}

static xvcpu_vmx_result sim_vmfail(xvcpu_u32 number)
{
    sim_vmcs *v = sim_current();
    if (!v)
        return XVCPU_VMX_FAIL_INVALID;
    v->value[SIM_ROW_EXIT_INSTRUCTION_ERROR] = number;
    v->written[SIM_ROW_EXIT_INSTRUCTION_ERROR] = true;
    return XVCPU_VMX_FAIL_VALID;
}

static sim_processor *sim_vmx(const char *instruction)
{
    sim_processor *cpu = sim_host(instruction);
    if (!cpu->vmx_root)
        sim_fail("#UD in the host: %s outside VMX operation", instruction);
    return cpu;
}

static bool sim_since(sim_processor *cpu, xvcpu_u32 source, xvcpu_u32 number)
{
    const sim_cpuid_row *row;
    switch (source) {
    case XVCPU_SINCE_SOURCE_NEVER: return false;
    case XVCPU_SINCE_SOURCE_ALWAYS: return true;
    case XVCPU_SINCE_SOURCE_BASIC:
        return ((sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_BASIC) >> number) & 1U) != 0;
    case XVCPU_SINCE_SOURCE_VMFUNC:
        return ((sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_VMFUNC) >> number) & 1U) != 0;
    case XVCPU_SINCE_SOURCE_CR3_TARGETS:
        return XVCPU_PART(sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_MISC), VMX_MISC_CR3_TARGETS) >=
               number;
    case XVCPU_SINCE_SOURCE_FRED:
        row = sim_cpuid_find(cpu, 7, 1);
        return row && (row->regs.eax & XVCPU_CPUID_7_1_EAX_FRED) != 0;
    default:
        return sim_may(cpu, source - XVCPU_SINCE_SOURCE_CONTROLS - 1, XVCPU_BIT64(number));
    }
}

static bool sim_row_exists(xvcpu_u32 row)
{
    const xvcpu_u32 since = sim_fields[row].since, second = XVCPU_SINCE_SECOND(since);
    return sim_since(sim.cpu, XVCPU_SINCE_SOURCE(since), XVCPU_SINCE_NUMBER(since)) ||
           (second != 0 &&
            sim_since(sim.cpu, XVCPU_SINCE_SOURCE(second), XVCPU_SINCE_NUMBER(second)));
}

bool sim_field_exists(xvcpu_u32 field)
{
    const xvcpu_u32 high = field & 1U;
    if (field >= XVCPU_VMCS_ENCODING_LIMIT || sim_row_of[field - high] == 0xFFFF)
        return false;
    if (high != 0 && XVCPU_VMCS_WIDTH(field) != XVCPU_VMCS_WIDTH_64)
        return false;
    return sim_row_exists(sim_row_of[field - high]);
}

static bool sim_read_only(xvcpu_u32 field)
{
    return ((field >> 10) & 3U) == 1U;
}

// -- VMX instructions

void sim_vmfail_next(const char *instruction, xvcpu_u32 number)
{
    sim.fail_next = instruction;
    sim.fail_number = number;
}

static bool sim_planned_failure(const char *instruction, xvcpu_vmx_result *result)
{
    if (!sim.fail_next || strcmp(sim.fail_next, instruction) != 0)
        return false;
    sim.fail_next = NULL;
    *result = sim.fail_number != 0 && sim.cpu->vmx_root ? sim_vmfail(sim.fail_number)
                                                        : XVCPU_VMX_FAIL_INVALID;
    return true;
}

xvcpu_vmx_result xvcpu_vmxon(xvcpu_u64 physical)
{
    sim_processor *cpu = sim_host("VMXON");
    const xvcpu_u64 basic = sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_BASIC);
    const xvcpu_u64 control = sim_msr_value(cpu, XVCPU_MSR_IA32_FEATURE_CONTROL);
    const sim_cpuid_row *features = sim_cpuid_find(cpu, 1, 0);
    xvcpu_vmx_result planned;
    xvcpu_u32 revision, i;
    sim_counts.vmxon++;
    if (!features || (features->regs.ecx & XVCPU_CPUID_1_ECX_VMX) == 0)
        sim_fail("#UD in the host: VMXON on a processor without VMX");
    if ((cpu->cr4 & XVCPU_CR4_VMXE) == 0)
        sim_fail("#UD in the host: VMXON with CR4.VMXE clear");
    if (cpu->vmx_root)
        return sim_vmfail(15);
    if ((sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR0_FIXED0) & ~cpu->cr0) != 0 ||
        (cpu->cr0 & ~sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR0_FIXED1)) != 0)
        sim_gp("VMXON", "CR0 against the fixed bits", cpu->cr0, 0);
    if ((sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR4_FIXED0) & ~cpu->cr4) != 0 ||
        (cpu->cr4 & ~sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_CR4_FIXED1)) != 0)
        sim_gp("VMXON", "CR4 against the fixed bits", cpu->cr4, 0);
    if ((control & XVCPU_FEATURE_CONTROL_LOCK) == 0 ||
        (control & XVCPU_FEATURE_CONTROL_VMX_OUTSIDE_SMX) == 0)
        sim_gp("VMXON", "IA32_FEATURE_CONTROL", control, 0);
    if (sim_planned_failure("VMXON", &planned))
        return planned;
    if ((physical & (SIM_PAGE - 1U)) != 0 || sim_beyond(cpu, physical))
        return XVCPU_VMX_FAIL_INVALID;
    memcpy(&revision, sim_virt(physical), 4);
    if (revision != (xvcpu_u32)XVCPU_PART(basic, VMX_BASIC_REVISION))
        return XVCPU_VMX_FAIL_INVALID;
    for (i = 0; i < SIM_CPUS; i++)
        if (sim.cpus[i].vmx_root && sim.cpus[i].vmxon_pa == physical)
            sim_fail("VMXON region is in use by processor %u", i);
    cpu->vmx_root = true;
    cpu->vmxon_pa = physical;
    cpu->current_pa = SIM_NONE;
    sim.vmxon_number[cpu->id]++;
    // VMX operation starts with nothing cached.
    memset(sim.tlb[cpu->id], 0, sizeof sim.tlb[cpu->id]);
    return XVCPU_VMX_SUCCEED;
}

xvcpu_vmx_result xvcpu_vmxoff(void)
{
    sim_processor *cpu = sim_vmx("VMXOFF");
    xvcpu_vmx_result planned;
    xvcpu_u32 i;
    sim_counts.vmxoff++;
    for (i = 0; i < SIM_REGIONS; i++)
        if (sim.regions[i].used && sim.regions[i].active_on == (int)cpu->id)
            sim_fail("VMXOFF with a VMCS active: VMCLEAR it first");
    if (sim_planned_failure("VMXOFF", &planned))
        return planned;
    cpu->vmx_root = false;
    cpu->current_pa = SIM_NONE;
    return XVCPU_VMX_SUCCEED;
}

xvcpu_vmx_result xvcpu_vmclear(xvcpu_u64 physical)
{
    sim_processor *cpu = sim_vmx("VMCLEAR");
    xvcpu_vmx_result planned;
    sim_vmcs *v;
    sim_counts.vmclear++;
    if (sim_planned_failure("VMCLEAR", &planned))
        return planned;
    if ((physical & (SIM_PAGE - 1U)) != 0 || sim_beyond(cpu, physical))
        return sim_vmfail(2);
    if (physical == cpu->vmxon_pa)
        return sim_vmfail(3);
    v = sim_region(physical);
    if (v && v->active_on >= 0 && v->active_on != (int)cpu->id)
        sim_fail("VMCLEAR of a VMCS that is active on processor %d", v->active_on);
    if (v && v->active_on >= 0)
        sim_region_check(v);
    // Written meanwhile: whatever was in it is gone.
    if (v && v->active_on < 0 && !sim_region_is_sealed(v)) {
        v->used = false;
        v = NULL;
    }
    if (!v)
        v = sim_region_add(physical);
    v->cleared = true;
    v->launched = false;
    v->active_on = -1;
    if (cpu->current_pa == physical)
        cpu->current_pa = SIM_NONE;
    sim_region_seal(v);
    return XVCPU_VMX_SUCCEED;
}

xvcpu_vmx_result xvcpu_vmptrld(xvcpu_u64 physical)
{
    sim_processor *cpu = sim_vmx("VMPTRLD");
    xvcpu_vmx_result planned;
    sim_vmcs *v;
    xvcpu_u32 revision;
    sim_counts.vmptrld++;
    if (sim_planned_failure("VMPTRLD", &planned))
        return planned;
    if ((physical & (SIM_PAGE - 1U)) != 0 || sim_beyond(cpu, physical))
        return sim_vmfail(9);
    if (physical == cpu->vmxon_pa)
        return sim_vmfail(10);
    memcpy(&revision, sim_virt(physical), 4);
    if (revision != (xvcpu_u32)XVCPU_PART(sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_BASIC),
                                          VMX_BASIC_REVISION))
        return sim_vmfail(11);
    v = sim_region(physical);
    if (!v || !v->cleared)
        sim_fail("VMPTRLD of a region that was never VMCLEARed");
    if (!sim_region_is_sealed(v))
        sim_fail(v->active_on >= 0 ? "the memory of an active VMCS was written"
                                   : "VMPTRLD of a region written since its VMCLEAR");
    if (v->active_on >= 0 && v->active_on != (int)cpu->id)
        sim_fail("VMPTRLD of a VMCS that is active on processor %d", v->active_on);
    if (v->active_on < 0)
        sim_region_seal(v);
    v->active_on = (int)cpu->id;
    cpu->current_pa = physical;
    return XVCPU_VMX_SUCCEED;
}

void xvcpu_vmptrst(xvcpu_u64 *physical)
{
    *physical = sim_vmx("VMPTRST")->current_pa;
}

xvcpu_vmx_result xvcpu_vmread(xvcpu_u64 field, xvcpu_u64 *value)
{
    sim_vmcs *v;
    xvcpu_u64 whole;
    xvcpu_vmx_result planned;
    (void)sim_vmx("VMREAD");
    sim_counts.vmread++;
    v = sim_current();
    if (!v)
        return XVCPU_VMX_FAIL_INVALID;
    if (sim_planned_failure("VMREAD", &planned))
        return planned;
    if ((field >> 32) != 0 || !sim_field_exists((xvcpu_u32)field))
        return sim_vmfail(12);
    whole = v->value[sim_row_of[field & ~(xvcpu_u64)1]];
    switch (XVCPU_VMCS_WIDTH(field)) {
    case XVCPU_VMCS_WIDTH_16: whole &= 0xFFFFU; break;
    case XVCPU_VMCS_WIDTH_32: whole &= 0xFFFFFFFFU; break;
    default: break;
    }
    *value = (field & 1U) != 0 ? whole >> 32 : whole;
    return XVCPU_VMX_SUCCEED;
}

static void sim_fits(xvcpu_u64 field, xvcpu_u64 value)
{
    const xvcpu_u32 width = XVCPU_VMCS_WIDTH(field);
    if ((width == XVCPU_VMCS_WIDTH_16 && (value >> 16) != 0) ||
        (width == XVCPU_VMCS_WIDTH_32 && (value >> 32) != 0) ||
        ((field & 1U) != 0 && (value >> 32) != 0))
        sim_fail("VMWRITE of %#llx is cut off: field %s is narrower", (unsigned long long)value,
                 sim_fields[sim_row_of[field & ~(xvcpu_u64)1]].name);
}

xvcpu_vmx_result xvcpu_vmwrite(xvcpu_u64 field, xvcpu_u64 value)
{
    sim_processor *cpu = sim_vmx("VMWRITE");
    sim_vmcs *v;
    xvcpu_u32 row;
    xvcpu_vmx_result planned;
    sim_counts.vmwrite++;
    v = sim_current();
    if (!v)
        return XVCPU_VMX_FAIL_INVALID;
    if (sim_planned_failure("VMWRITE", &planned))
        return planned;
    if ((field >> 32) != 0 || !sim_field_exists((xvcpu_u32)field))
        return sim_vmfail(12);
    if (sim_read_only((xvcpu_u32)field) &&
        (sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_MISC) & XVCPU_VMX_MISC_VMWRITE_ALL) == 0)
        return sim_vmfail(13);
    sim_fits(field, value);
    row = sim_row_of[field & ~(xvcpu_u64)1];
    if ((field & 1U) != 0)
        v->value[row] = (v->value[row] & 0xFFFFFFFFU) | (value << 32);
    else
        v->value[row] = value;
    v->written[row] = true;
    return XVCPU_VMX_SUCCEED;
}

// -- EPT and its TLB

typedef struct sim_walk {
    bool present, misconfigured;
    xvcpu_u32 permissions;
    xvcpu_u64 hpa; // of the page
} sim_walk;

static bool sim_ept_entry_bad(sim_processor *cpu, xvcpu_u64 entry, xvcpu_u32 level, bool leaf)
{
    const xvcpu_u64 cap = sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_EPT_VPID_CAP);
    const xvcpu_u32 bits = sim_physical_bits(cpu);
    const xvcpu_u64 type = XVCPU_PART(entry, EPTE_MEMORY_TYPE);
    if ((entry & XVCPU_EPT_RWX) == XVCPU_EPT_WRITE ||
        (entry & XVCPU_EPT_RWX) == (XVCPU_EPT_WRITE | XVCPU_EPT_EXECUTE))
        return true;
    if ((entry & XVCPU_EPT_RWX) == XVCPU_EPT_EXECUTE &&
        (cap & XVCPU_VMX_EPT_VPID_CAP_EXECUTE_ONLY) == 0)
        return true;
    if (bits < 52 && (entry & XVCPU_BITS64(51, bits)) != 0)
        return true;
    if (!leaf)
        return (entry & XVCPU_BITS64(level >= 4 ? 7 : 6, 3)) != 0;
    if (level == 2 && ((cap & XVCPU_VMX_EPT_VPID_CAP_PAGE_2M) == 0 ||
                       (entry & XVCPU_BITS64(20, 12)) != 0))
        return true;
    if (level == 3 && ((cap & XVCPU_VMX_EPT_VPID_CAP_PAGE_1G) == 0 ||
                       (entry & XVCPU_BITS64(29, 12)) != 0))
        return true;
    return type == 2 || type == 3 || type == 7;
}

static sim_walk sim_ept_walk(sim_processor *cpu, xvcpu_u64 eptp, xvcpu_u64 gpa, xvcpu_u32 access)
{
    sim_walk walk;
    xvcpu_u64 table = eptp & XVCPU_EPTP_ADDRESS_MASK;
    xvcpu_u32 level = (xvcpu_u32)XVCPU_PART(eptp, EPTP_WALK_MINUS_1) + 1;
    memset(&walk, 0, sizeof walk);
    walk.permissions = XVCPU_EPT_RWX;
    if ((gpa >> (level == 4 ? 48 : 57)) != 0)
        return walk;
    for (;; level--) {
        const xvcpu_u32 shift = 12 + 9 * (level - 1);
        xvcpu_u64 *entry = (xvcpu_u64 *)sim_virt(table) + ((gpa >> shift) & 511U);
        const bool leaf = level == 1 || (level <= 3 && (*entry & XVCPU_EPTE_LARGE) != 0);
        if ((*entry & XVCPU_EPT_RWX) == 0)
            return walk;
        if (sim_ept_entry_bad(cpu, *entry, level, leaf)) {
            walk.misconfigured = true;
            return walk;
        }
        walk.permissions &= (xvcpu_u32)(*entry & XVCPU_EPT_RWX);
        if ((eptp & XVCPU_EPTP_ACCESSED_DIRTY) != 0) {
            *entry |= XVCPU_EPTE_ACCESSED;
            if (leaf && (access & XVCPU_EPT_WRITE) != 0)
                *entry |= XVCPU_EPTE_DIRTY;
        }
        if (leaf) {
            const xvcpu_u64 inside = gpa & (XVCPU_BIT64(shift) - 1) & ~(xvcpu_u64)0xFFF;
            walk.present = true;
            walk.hpa = (*entry & XVCPU_EPTE_ADDRESS_MASK & ~(XVCPU_BIT64(shift) - 1)) | inside;
            return walk;
        }
        table = *entry & XVCPU_EPTE_ADDRESS_MASK;
    }
}

static xvcpu_u16 sim_vpid(const sim_vmcs *v)
{
    const sim_words_now c = sim_controls(v);
    return (c.proc2 & XVCPU_PROC2_VPID) != 0 ? (xvcpu_u16)v->value[SIM_ROW_CTRL_VPID] : 0;
}

static sim_translation *sim_tlb_find(xvcpu_u32 id, bool linear, xvcpu_u64 eptrta, xvcpu_u16 vpid,
                                     xvcpu_u64 page)
{
    xvcpu_u32 i;
    for (i = 0; i < SIM_TLB; i++) {
        sim_translation *t = &sim.tlb[id][i];
        if (t->used && t->linear == linear && t->eptrta == eptrta &&
            (linear ? t->vpid == vpid && t->gla == page : t->gpa == page))
            return t;
    }
    return NULL;
}

static void sim_tlb_add(xvcpu_u32 id, const sim_translation *t)
{
    sim.tlb[id][sim.tlb_next[id]++ % SIM_TLB] = *t;
}

// Forgets what a selection covers: mappings through linear addresses, through guest-physical ones
// alone, of one EPT root or VPID or of all (`any_`).
static void sim_tlb_drop(xvcpu_u32 id, bool physical_too, bool any_root, xvcpu_u64 eptrta,
                         bool any_vpid, xvcpu_u16 vpid)
{
    xvcpu_u32 i;
    for (i = 0; i < SIM_TLB; i++) {
        sim_translation *t = &sim.tlb[id][i];
        if ((t->linear || physical_too) && (any_root || t->eptrta == eptrta) &&
            (any_vpid || !t->linear || t->vpid == vpid))
            t->used = false;
    }
}

xvcpu_vmx_result xvcpu_invept(xvcpu_u64 type, xvcpu_u64 eptp)
{
    sim_processor *cpu = sim_vmx("INVEPT");
    const xvcpu_u64 cap = sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_EPT_VPID_CAP);
    xvcpu_vmx_result planned;
    sim_counts.invept++;
    if ((cap & XVCPU_VMX_EPT_VPID_CAP_INVEPT) == 0)
        sim_fail("#UD in the host: INVEPT on a processor without it");
    if (sim_planned_failure("INVEPT", &planned))
        return planned;
    if (type == XVCPU_INVEPT_SINGLE && (cap & XVCPU_VMX_EPT_VPID_CAP_INVEPT_SINGLE) != 0) {
        if (sim_check_eptp(cpu, eptp))
            return sim_vmfail(28);
        sim_tlb_drop(cpu->id, true, false, eptp & XVCPU_EPTP_ADDRESS_MASK, true, 0);
        return XVCPU_VMX_SUCCEED;
    }
    if (type == XVCPU_INVEPT_ALL && (cap & XVCPU_VMX_EPT_VPID_CAP_INVEPT_ALL) != 0) {
        sim_tlb_drop(cpu->id, true, true, 0, true, 0);
        return XVCPU_VMX_SUCCEED;
    }
    return sim_vmfail(28);
}

xvcpu_vmx_result xvcpu_invvpid(xvcpu_u64 type, xvcpu_u16 vpid, xvcpu_u64 address)
{
    static const xvcpu_u64 needs[4] = {
        XVCPU_VMX_EPT_VPID_CAP_INVVPID_ADDRESS, XVCPU_VMX_EPT_VPID_CAP_INVVPID_SINGLE,
        XVCPU_VMX_EPT_VPID_CAP_INVVPID_ALL, XVCPU_VMX_EPT_VPID_CAP_INVVPID_SINGLE_GLOBALS};
    sim_processor *cpu = sim_vmx("INVVPID");
    const xvcpu_u64 cap = sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_EPT_VPID_CAP);
    xvcpu_vmx_result planned;
    xvcpu_u32 i;
    sim_counts.invvpid++;
    if ((cap & XVCPU_VMX_EPT_VPID_CAP_INVVPID) == 0)
        sim_fail("#UD in the host: INVVPID on a processor without it");
    if (sim_planned_failure("INVVPID", &planned))
        return planned;
    if (type > 3 || (cap & needs[type]) == 0)
        return sim_vmfail(28);
    if (type != XVCPU_INVVPID_ALL && vpid == 0)
        return sim_vmfail(28);
    if (type == XVCPU_INVVPID_ADDRESS) {
        if (!sim_canonical(cpu, address))
            return sim_vmfail(28);
        for (i = 0; i < SIM_TLB; i++) {
            sim_translation *t = &sim.tlb[cpu->id][i];
            if (t->linear && t->vpid == vpid && t->gla == address >> 12)
                t->used = false;
        }
        return XVCPU_VMX_SUCCEED;
    }
    // The form that keeps globals: no translation here says that it is global.
    sim_tlb_drop(cpu->id, false, true, 0, type == XVCPU_INVVPID_ALL, vpid);
    return XVCPU_VMX_SUCCEED;
}

static sim_vmcs *sim_running(const sim_guest *g)
{
    if (!g || g != sim.running)
        sim_fail("test: no guest is running");
    return sim_region_must(g->vmcs_pa);
}

static sim_walk sim_translate(sim_guest *g, xvcpu_u64 gpa, xvcpu_u32 access)
{
    sim_vmcs *v = sim_running(g);
    const sim_words_now c = sim_controls(v);
    const xvcpu_u64 eptp = v->value[SIM_ROW_CTRL_EPTP];
    const xvcpu_u64 eptrta = eptp & XVCPU_EPTP_ADDRESS_MASK;
    sim_translation *t;
    sim_walk walk;
    if ((c.proc2 & XVCPU_PROC2_EPT) == 0)
        sim_fail("test: guest-physical access without EPT");
    walk = sim_ept_walk(g->cpu, eptp, gpa, access);
    t = sim_tlb_find(g->cpu->id, false, eptrta, 0, gpa >> 12);
    if (t && (t->permissions & access) == access) {
        if (!walk.present || walk.hpa >> 12 != t->hpa || (walk.permissions & access) != access)
            sim_fail("stale translation of guest-physical %#llx: INVEPT is missing",
                     (unsigned long long)gpa);
        return walk;
    }
    // An access that the cached rights refuse drops the entry and walks again, as a fault would.
    if (t)
        t->used = false;
    if (walk.present) {
        sim_translation fresh;
        memset(&fresh, 0, sizeof fresh);
        fresh.used = true;
        fresh.eptrta = eptrta;
        fresh.gpa = gpa >> 12;
        fresh.hpa = walk.hpa >> 12;
        fresh.permissions = walk.permissions;
        sim_tlb_add(g->cpu->id, &fresh);
    }
    return walk;
}

static void *sim_memory_at(const sim_walk *walk, xvcpu_u64 gpa, xvcpu_u32 access)
{
    if (!walk->present || (walk->permissions & access) != access)
        return NULL;
    return (unsigned char *)sim_virt(walk->hpa) + (gpa & 0xFFFU);
}

void *sim_guest_access(sim_guest *g, xvcpu_u64 gpa, xvcpu_u32 access)
{
    const sim_walk walk = sim_translate(g, gpa, access);
    return sim_memory_at(&walk, gpa, access);
}

void *sim_guest_linear(sim_guest *g, xvcpu_u64 gla, xvcpu_u64 gpa, xvcpu_u32 access)
{
    sim_vmcs *v = sim_running(g);
    const xvcpu_u64 eptrta = v->value[SIM_ROW_CTRL_EPTP] & XVCPU_EPTP_ADDRESS_MASK;
    const xvcpu_u16 vpid = sim_vpid(v);
    sim_translation *t = sim_tlb_find(g->cpu->id, true, eptrta, vpid, gla >> 12);
    sim_translation fresh;
    sim_walk walk;
    if (t && t->gpa != gpa >> 12)
        sim_fail("stale translation of linear %#llx under VPID %u%s: INVVPID is missing",
                 (unsigned long long)gla, vpid,
                 t->owner == v->pa ? "" : " (another virtual CPU's)");
    if (t && (t->permissions & access) == access) {
        walk = sim_ept_walk(g->cpu, v->value[SIM_ROW_CTRL_EPTP], gpa, access);
        if (!walk.present || walk.hpa >> 12 != t->hpa || (walk.permissions & access) != access)
            sim_fail("stale translation of linear %#llx: INVEPT is missing",
                     (unsigned long long)gla);
        return sim_memory_at(&walk, gpa, access);
    }
    if (t)
        t->used = false;
    walk = sim_translate(g, gpa, access);
    if (walk.present) {
        memset(&fresh, 0, sizeof fresh);
        fresh.used = true;
        fresh.linear = true;
        fresh.vpid = vpid;
        fresh.eptrta = eptrta;
        fresh.owner = v->pa;
        fresh.gla = gla >> 12;
        fresh.gpa = gpa >> 12;
        fresh.hpa = walk.hpa >> 12;
        fresh.permissions = walk.permissions;
        sim_tlb_add(g->cpu->id, &fresh);
    }
    return sim_memory_at(&walk, gpa, access);
}

void sim_guest_flush(sim_guest *g)
{
    sim_vmcs *v = sim_running(g);
    sim_tlb_drop(g->cpu->id, false, false, v->value[SIM_ROW_CTRL_EPTP] & XVCPU_EPTP_ADDRESS_MASK,
                 false, sim_vpid(v));
}

// -- What tests do with a VMCS

xvcpu_u64 sim_vmcs_get(xvcpu_u64 region_pa, xvcpu_u32 field)
{
    return sim_region_must(region_pa)->value[sim_row_at(field)];
}

void sim_vmcs_set(xvcpu_u64 region_pa, xvcpu_u32 field, xvcpu_u64 value)
{
    sim_vmcs *v = sim_region_must(region_pa);
    const enum sim_row row = sim_row_at(field);
    v->value[row] = value;
    v->written[row] = true;
}

bool sim_vmcs_written(xvcpu_u64 region_pa, xvcpu_u32 field)
{
    return sim_region_must(region_pa)->written[sim_row_at(field)];
}

bool sim_vmcs_launched(xvcpu_u64 region_pa)
{
    return sim_region_must(region_pa)->launched;
}

void sim_vmcs_poison(xvcpu_u64 region_pa, xvcpu_u32 field)
{
    sim_vmcs *v = sim_region_must(region_pa);
    const enum sim_row row = sim_row_at(field);
    v->value[row] = 0xA5A5A5A5A5A5A5A5U;
    v->written[row] = false;
}

const char *sim_verdict(void)
{
    return sim.verdict;
}

void sim_set_guest(sim_guest_callback callback, void *context)
{
    sim.guest = callback;
    sim.guest_context = context;
}

xvcpu_u64 sim_get(sim_guest *g, xvcpu_u32 field)
{
    return sim_running(g)->value[sim_row_at(field)];
}

void sim_set(sim_guest *g, xvcpu_u32 field, xvcpu_u64 value)
{
    sim_vmcs *v = sim_running(g);
    const enum sim_row row = sim_row_at(field);
    if (!sim_row_exists(row))
        sim_fail("test: the model has no VMCS field %s", sim_fields[row].name);
    sim_fits(field, value);
    v->value[row] = value;
    v->written[row] = true;
    if (field == XVCPU_VMCS_GUEST_RSP)
        g->gpr[XVCPU_RSP] = value;
}

bool sim_control(sim_guest *g, xvcpu_control_word word, xvcpu_u64 bits)
{
    const sim_words_now c = sim_controls(sim_running(g));
    const xvcpu_u64 values[XVCPU_WORD_COUNT] = {c.pin,  c.proc1, c.proc2, c.proc3,
                                                c.exit, c.exit2, c.entry};
    return (values[word] & bits) == bits;
}

// -- Choosing an exit

static bool sim_msr_exits(sim_guest *g, xvcpu_u32 index, bool write)
{
    sim_vmcs *v = sim_running(g);
    const sim_words_now c = sim_controls(v);
    const unsigned char *map;
    xvcpu_u32 part;
    if ((c.proc1 & XVCPU_PROC1_MSR_BITMAPS) == 0)
        return true;
    if (index <= XVCPU_MSR_BITMAP_LOW_LAST)
        part = write ? XVCPU_MSR_BITMAP_WRITE_LOW_OFFSET : XVCPU_MSR_BITMAP_READ_LOW_OFFSET;
    else if (index >= XVCPU_MSR_BITMAP_HIGH_FIRST && index <= XVCPU_MSR_BITMAP_HIGH_LAST)
        part = write ? XVCPU_MSR_BITMAP_WRITE_HIGH_OFFSET : XVCPU_MSR_BITMAP_READ_HIGH_OFFSET;
    else
        return true;
    map = (const unsigned char *)sim_virt(v->value[SIM_ROW_CTRL_MSR_BITMAP]);
    return ((map[part + (index & 0x1FFFU) / 8] >> (index & 7U)) & 1) != 0;
}

static bool sim_port_exits(sim_guest *g, xvcpu_u32 port, xvcpu_u32 bytes)
{
    sim_vmcs *v = sim_running(g);
    const sim_words_now c = sim_controls(v);
    xvcpu_u32 i;
    if ((c.proc1 & XVCPU_PROC1_IO_BITMAPS) == 0)
        return (c.proc1 & XVCPU_PROC1_UNCOND_IO_EXITING) != 0;
    if (port + bytes > 0x10000U)
        return true;
    for (i = port; i < port + bytes; i++) {
        const unsigned char *map = (const unsigned char *)sim_virt(
            v->value[i < 0x8000U ? SIM_ROW_CTRL_IO_BITMAP_A : SIM_ROW_CTRL_IO_BITMAP_B]);
        if (((map[(i & 0x7FFFU) / 8] >> (i & 7U)) & 1) != 0)
            return true;
    }
    return false;
}

static bool sim_cr_exits(const sim_words_now *c, xvcpu_u64 qualification)
{
    const xvcpu_u64 cr = qualification & 15U, access = (qualification >> 4) & 3U;
    if (cr == 3 && access == 0)
        return (c->proc1 & XVCPU_PROC1_CR3_LOAD_EXITING) != 0;
    if (cr == 3)
        return (c->proc1 & XVCPU_PROC1_CR3_STORE_EXITING) != 0;
    if (cr == 8 && access == 0)
        return (c->proc1 & XVCPU_PROC1_CR8_LOAD_EXITING) != 0;
    if (cr == 8)
        return (c->proc1 & XVCPU_PROC1_CR8_STORE_EXITING) != 0;
    return access != 1; // MOV from CR0 or CR4 never exits; the others are up to the mask
}

// Can this exit happen under these controls?
static bool sim_exit_possible(sim_guest *g, xvcpu_u32 reason, xvcpu_u64 qualification)
{
    sim_vmcs *v = sim_running(g);
    const sim_words_now c = sim_controls(v);
    const xvcpu_u32 rcx = (xvcpu_u32)g->gpr[XVCPU_RCX];
    switch (reason & 0xFFFFU) {
    case XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT: return (c.pin & XVCPU_PIN_EXT_INTR_EXITING) != 0;
    case XVCPU_EXIT_REASON_INTERRUPT_WINDOW:
        return (c.proc1 & XVCPU_PROC1_INTR_WINDOW_EXITING) != 0;
    case XVCPU_EXIT_REASON_NMI_WINDOW: return (c.proc1 & XVCPU_PROC1_NMI_WINDOW_EXITING) != 0;
    case XVCPU_EXIT_REASON_HLT: return (c.proc1 & XVCPU_PROC1_HLT_EXITING) != 0;
    case XVCPU_EXIT_REASON_INVLPG: return (c.proc1 & XVCPU_PROC1_INVLPG_EXITING) != 0;
    case XVCPU_EXIT_REASON_RDPMC: return (c.proc1 & XVCPU_PROC1_RDPMC_EXITING) != 0;
    case XVCPU_EXIT_REASON_RDTSC:
    case XVCPU_EXIT_REASON_RDTSCP: return (c.proc1 & XVCPU_PROC1_RDTSC_EXITING) != 0;
    case XVCPU_EXIT_REASON_MWAIT: return (c.proc1 & XVCPU_PROC1_MWAIT_EXITING) != 0;
    case XVCPU_EXIT_REASON_MONITOR: return (c.proc1 & XVCPU_PROC1_MONITOR_EXITING) != 0;
    case XVCPU_EXIT_REASON_PAUSE:
        return (c.proc1 & XVCPU_PROC1_PAUSE_EXITING) != 0 ||
               (c.proc2 & XVCPU_PROC2_PAUSE_LOOP_EXITING) != 0;
    case XVCPU_EXIT_REASON_MONITOR_TRAP_FLAG: return (c.proc1 & XVCPU_PROC1_MTF) != 0;
    case XVCPU_EXIT_REASON_CR_ACCESS: return sim_cr_exits(&c, qualification);
    case XVCPU_EXIT_REASON_MOV_DR: return (c.proc1 & XVCPU_PROC1_MOV_DR_EXITING) != 0;
    case XVCPU_EXIT_REASON_IO_INSTRUCTION:
        return sim_port_exits(g, (xvcpu_u32)(qualification >> 16) & 0xFFFFU,
                              (xvcpu_u32)(qualification & 7U) + 1);
    case XVCPU_EXIT_REASON_RDMSR: return sim_msr_exits(g, rcx, false);
    case XVCPU_EXIT_REASON_WRMSR: return sim_msr_exits(g, rcx, true);
    case XVCPU_EXIT_REASON_EPT_VIOLATION:
    case XVCPU_EXIT_REASON_EPT_MISCONFIG: return (c.proc2 & XVCPU_PROC2_EPT) != 0;
    case XVCPU_EXIT_REASON_PREEMPTION_TIMER: return (c.pin & XVCPU_PIN_PREEMPTION_TIMER) != 0;
    case XVCPU_EXIT_REASON_WBINVD: return (c.proc2 & XVCPU_PROC2_WBINVD_EXITING) != 0;
    case XVCPU_EXIT_REASON_GDTR_IDTR_ACCESS:
    case XVCPU_EXIT_REASON_LDTR_TR_ACCESS:
        return (c.proc2 & XVCPU_PROC2_DESC_TABLE_EXITING) != 0;
    case XVCPU_EXIT_REASON_RDRAND: return (c.proc2 & XVCPU_PROC2_RDRAND_EXITING) != 0;
    case XVCPU_EXIT_REASON_RDSEED: return (c.proc2 & XVCPU_PROC2_RDSEED_EXITING) != 0;
    case XVCPU_EXIT_REASON_PML_FULL: return (c.proc2 & XVCPU_PROC2_PML) != 0;
    default: return true;
    }
}

sim_exit_info *sim_exit(sim_guest *g, xvcpu_u32 reason, xvcpu_u64 qualification)
{
    if (!sim_exit_possible(g, reason, qualification))
        sim_fail("test: exit reason %u cannot happen under these controls", reason & 0xFFFFU);
    if (g->exit.chosen)
        sim_fail("test: the guest chose two exits");
    g->exit.chosen = true;
    g->exit.reason = reason;
    g->exit.qualification = qualification;
    return &g->exit;
}

void sim_exit_instruction(sim_guest *g, xvcpu_u32 reason, xvcpu_u64 qualification,
                          xvcpu_u32 length)
{
    sim_exit(g, reason, qualification)->length = length;
}

void sim_exit_cpuid(sim_guest *g, xvcpu_u32 leaf, xvcpu_u32 subleaf)
{
    // The upper halves are not part of the operands, and may hold anything.
    g->gpr[XVCPU_RAX] = 0xFEDC000000000000U | leaf;
    g->gpr[XVCPU_RCX] = 0xFEDC000000000000U | subleaf;
    sim_exit_instruction(g, XVCPU_EXIT_REASON_CPUID, 0, 2);
}

void sim_exit_rdmsr(sim_guest *g, xvcpu_u32 index)
{
    g->gpr[XVCPU_RCX] = 0xFEDC000000000000U | index;
    sim_exit_instruction(g, XVCPU_EXIT_REASON_RDMSR, 0, 2);
}

void sim_exit_wrmsr(sim_guest *g, xvcpu_u32 index, xvcpu_u64 value)
{
    g->gpr[XVCPU_RCX] = 0xFEDC000000000000U | index;
    g->gpr[XVCPU_RAX] = 0xFEDC000000000000U | (value & 0xFFFFFFFFU);
    g->gpr[XVCPU_RDX] = 0xFEDC000000000000U | (value >> 32);
    sim_exit_instruction(g, XVCPU_EXIT_REASON_WRMSR, 0, 2);
}

void sim_exit_hlt(sim_guest *g)
{
    sim_exit_instruction(g, XVCPU_EXIT_REASON_HLT, 0, 1);
}

void sim_exit_vmcall(sim_guest *g)
{
    sim_exit_instruction(g, XVCPU_EXIT_REASON_VMCALL, 0, 3);
}

void sim_exit_xsetbv(sim_guest *g, xvcpu_u32 index, xvcpu_u64 value)
{
    g->gpr[XVCPU_RCX] = 0xFEDC000000000000U | index;
    g->gpr[XVCPU_RAX] = 0xFEDC000000000000U | (value & 0xFFFFFFFFU);
    g->gpr[XVCPU_RDX] = 0xFEDC000000000000U | (value >> 32);
    sim_exit_instruction(g, XVCPU_EXIT_REASON_XSETBV, 0, 3);
}

void sim_exit_in(sim_guest *g, xvcpu_u16 port, xvcpu_u32 bytes)
{
    g->gpr[XVCPU_RDX] = (g->gpr[XVCPU_RDX] & ~(xvcpu_u64)0xFFFF) | port;
    sim_exit_instruction(g, XVCPU_EXIT_REASON_IO_INSTRUCTION,
                         ((xvcpu_u64)port << 16) | 8U | (bytes - 1), bytes == 2 ? 2 : 1);
}

void sim_exit_out(sim_guest *g, xvcpu_u16 port, xvcpu_u32 bytes, xvcpu_u32 value)
{
    g->gpr[XVCPU_RDX] = (g->gpr[XVCPU_RDX] & ~(xvcpu_u64)0xFFFF) | port;
    g->gpr[XVCPU_RAX] = 0xFEDC000000000000U | value;
    sim_exit_instruction(g, XVCPU_EXIT_REASON_IO_INSTRUCTION,
                         ((xvcpu_u64)port << 16) | (bytes - 1), bytes == 2 ? 2 : 1);
}

void sim_exit_mov_to_cr(sim_guest *g, xvcpu_u32 cr, xvcpu_u32 gpr)
{
    sim_exit_instruction(g, XVCPU_EXIT_REASON_CR_ACCESS, cr | (gpr << 8),
                         gpr < 8 && cr < 8 ? 3 : 4);
}

void sim_exit_mov_from_cr(sim_guest *g, xvcpu_u32 cr, xvcpu_u32 gpr)
{
    sim_exit_instruction(g, XVCPU_EXIT_REASON_CR_ACCESS, cr | (1U << 4) | (gpr << 8),
                         gpr < 8 && cr < 8 ? 3 : 4);
}

void sim_exit_mov_dr(sim_guest *g, xvcpu_u32 dr, xvcpu_u32 gpr, bool read)
{
    sim_exit_instruction(g, XVCPU_EXIT_REASON_MOV_DR, dr | (read ? 16U : 0U) | (gpr << 8), 3);
}

void sim_exit_interrupt(sim_guest *g, xvcpu_u32 vector)
{
    sim_exit_info *e = sim_exit(g, XVCPU_EXIT_REASON_EXTERNAL_INTERRUPT, 0);
    if (sim_control(g, XVCPU_WORD_EXIT, XVCPU_EXIT_ACK_INTR))
        e->intr_info = vector | (xvcpu_u32)XVCPU_INTR_INFO_VALID;
}

void sim_exit_nmi(sim_guest *g)
{
    sim_exit_info *e;
    if (!sim_control(g, XVCPU_WORD_PIN, XVCPU_PIN_NMI_EXITING))
        sim_fail("test: NMI exit without NMI exiting");
    e = sim_exit(g, XVCPU_EXIT_REASON_EXCEPTION_NMI, 0);
    e->intr_info = 2U | (XVCPU_INTR_TYPE_NMI << 8) | (xvcpu_u32)XVCPU_INTR_INFO_VALID;
}

void sim_exit_exception(sim_guest *g, xvcpu_u32 vector, xvcpu_u32 error_code,
                        xvcpu_u64 qualification)
{
    sim_exit_info *e;
    const bool soft = vector == 3 || vector == 4;
    const bool code = ((XVCPU_EXCEPTION_ERROR_CODE_MASK >> vector) & 1U) != 0;
    if (vector != 14 && ((sim_get(g, XVCPU_VMCS_CTRL_EXCEPTION_BITMAP) >> vector) & 1U) == 0)
        sim_fail("test: exception %u does not exit", vector);
    e = sim_exit(g, XVCPU_EXIT_REASON_EXCEPTION_NMI, qualification);
    e->intr_info = vector | (xvcpu_u32)XVCPU_INTR_INFO_VALID |
                   ((soft ? 6U : 3U) << 8) | (code ? (xvcpu_u32)XVCPU_INTR_INFO_ERROR_CODE : 0U);
    e->intr_error = code ? error_code : SIM_RUBBISH;
    if (soft)
        e->length = 1;
}

void sim_exit_set_vectoring(sim_guest *g, xvcpu_u32 info, xvcpu_u32 error_code, xvcpu_u32 length)
{
    g->exit.idt_info = info;
    g->exit.idt_error = error_code;
    if (length != 0)
        g->exit.length = length;
}

void sim_exit_ept(sim_guest *g, xvcpu_u64 gpa, xvcpu_u32 access, xvcpu_u64 gla, bool gla_valid)
{
    sim_vmcs *v = sim_running(g);
    const sim_walk walk = sim_ept_walk(g->cpu, v->value[SIM_ROW_CTRL_EPTP], gpa, access);
    sim_exit_info *e;
    if (walk.misconfigured) {
        e = sim_exit(g, XVCPU_EXIT_REASON_EPT_MISCONFIG, SIM_RUBBISH);
    } else {
        if (walk.present && (walk.permissions & access) == access)
            sim_fail("test: EPT allows this access: no violation");
        e = sim_exit(g, XVCPU_EXIT_REASON_EPT_VIOLATION,
                     access | ((walk.present ? walk.permissions : 0U) << 3) |
                         (gla_valid ? 0x180U : 0U));
        if (gla_valid)
            e->gla = gla;
    }
    e->gpa = gpa;
}

bool sim_guest_mov_to_cr(sim_guest *g, xvcpu_u32 cr, xvcpu_u32 gpr)
{
    sim_vmcs *v = sim_running(g);
    const xvcpu_u64 value = g->gpr[gpr];
    xvcpu_u64 mask, shadow, old;
    if (cr == 3) {
        if (sim_control(g, XVCPU_WORD_PROC1, XVCPU_PROC1_CR3_LOAD_EXITING)) {
            sim_exit_mov_to_cr(g, cr, gpr);
            return true;
        }
        v->value[SIM_ROW_GUEST_CR3] = value & ~XVCPU_BIT64(63);
        if ((value >> 63) == 0)
            sim_guest_flush(g);
        return false;
    }
    if (cr != 0 && cr != 4)
        sim_fail("test: MOV to CR%u", cr);
    mask = v->value[cr == 0 ? SIM_ROW_CTRL_CR0_MASK : SIM_ROW_CTRL_CR4_MASK];
    shadow = v->value[cr == 0 ? SIM_ROW_CTRL_CR0_READ_SHADOW : SIM_ROW_CTRL_CR4_READ_SHADOW];
    if (((value ^ shadow) & mask) != 0) {
        sim_exit_mov_to_cr(g, cr, gpr);
        return true;
    }
    old = v->value[cr == 0 ? SIM_ROW_GUEST_CR0 : SIM_ROW_GUEST_CR4];
    v->value[cr == 0 ? SIM_ROW_GUEST_CR0 : SIM_ROW_GUEST_CR4] = (old & mask) | (value & ~mask);
    if (cr == 0) {
        // CD and NW are the processor's own: neither entry nor exit loads them.
        const xvcpu_u64 own = (XVCPU_CR0_CD | XVCPU_CR0_NW) & ~mask;
        g->cpu->cr0 = (g->cpu->cr0 & ~own) | (value & own);
    }
    return false;
}

static bool sim_msr_field(sim_guest *g, xvcpu_u32 index, xvcpu_u32 *field)
{
    switch (index) {
    case XVCPU_MSR_IA32_FS_BASE: *field = XVCPU_VMCS_GUEST_FS_BASE; return true;
    case XVCPU_MSR_IA32_GS_BASE: *field = XVCPU_VMCS_GUEST_GS_BASE; return true;
    case XVCPU_MSR_IA32_SYSENTER_CS: *field = XVCPU_VMCS_GUEST_SYSENTER_CS; return true;
    case XVCPU_MSR_IA32_SYSENTER_ESP: *field = XVCPU_VMCS_GUEST_SYSENTER_ESP; return true;
    case XVCPU_MSR_IA32_SYSENTER_EIP: *field = XVCPU_VMCS_GUEST_SYSENTER_EIP; return true;
    case XVCPU_MSR_IA32_DEBUGCTL: *field = XVCPU_VMCS_GUEST_DEBUGCTL; return true;
    case XVCPU_MSR_IA32_EFER:
        *field = XVCPU_VMCS_GUEST_EFER;
        return sim_control(g, XVCPU_WORD_ENTRY, XVCPU_ENTRY_LOAD_EFER);
    case XVCPU_MSR_IA32_PAT:
        *field = XVCPU_VMCS_GUEST_PAT;
        return sim_control(g, XVCPU_WORD_ENTRY, XVCPU_ENTRY_LOAD_PAT);
    default: return false;
    }
}

bool sim_guest_rdmsr(sim_guest *g, xvcpu_u32 index, xvcpu_u64 *value)
{
    xvcpu_u32 field;
    if (sim_msr_exits(g, index, false)) {
        sim_exit_rdmsr(g, index);
        return true;
    }
    *value = sim_msr_field(g, index, &field) ? sim_get(g, field) : sim_msr_value(g->cpu, index);
    return false;
}

bool sim_guest_wrmsr(sim_guest *g, xvcpu_u32 index, xvcpu_u64 value)
{
    xvcpu_u32 field;
    if (sim_msr_exits(g, index, true)) {
        sim_exit_wrmsr(g, index, value);
        return true;
    }
    if (sim_msr_field(g, index, &field))
        sim_set(g, field, value);
    else if (sim_wrmsr_fault(g->cpu, index, value))
        sim_fail("test: the guest's WRMSR would fault");
    else
        sim_wrmsr_raw(g->cpu, index, value);
    return false;
}

// -- VM entry and VM exit

static void sim_every_field_written(const sim_vmcs *v)
{
    xvcpu_u32 i;
    if (!sim.strict_fields)
        return;
    for (i = 0; i < SIM_ROWS; i++)
        if (!v->written[i] && !sim_read_only(sim_fields[i].encoding) &&
            (sim_fields[i].since & XVCPU_SINCE_DOUBTFUL) == 0 && sim_row_exists(i))
            sim_fail("VMCS field %s exists and was never written", sim_fields[i].name);
}

// Entry of an MSR list that cannot be loaded: its number from 1; 0: all loaded.
static xvcpu_u32 sim_load_list(sim_processor *cpu, xvcpu_u64 count, xvcpu_u64 address)
{
    xvcpu_u32 i;
    for (i = 0; i < count; i++) {
        const unsigned char *entry =
            (const unsigned char *)sim_virt(address + (xvcpu_u64)i * XVCPU_MSR_AREA_ENTRY_SIZE);
        const xvcpu_u32 index = (xvcpu_u32)sim_take(entry, XVCPU_MSR_AREA_INDEX_OFFSET, 4);
        const xvcpu_u64 value = sim_take(entry, XVCPU_MSR_AREA_DATA_OFFSET, 8);
        if (index == XVCPU_MSR_IA32_FS_BASE || index == XVCPU_MSR_IA32_GS_BASE ||
            (index >> 8) == 8U || sim_take(entry, XVCPU_MSR_AREA_RESERVED_OFFSET, 4) != 0 ||
            sim_wrmsr_fault(cpu, index, value))
            return i + 1;
        sim_wrmsr_raw(cpu, index, value);
    }
    return 0;
}

static void sim_store_list(sim_processor *cpu, xvcpu_u64 count, xvcpu_u64 address)
{
    xvcpu_u32 i;
    for (i = 0; i < count; i++) {
        unsigned char *entry =
            (unsigned char *)sim_virt(address + (xvcpu_u64)i * XVCPU_MSR_AREA_ENTRY_SIZE);
        const xvcpu_u32 index = (xvcpu_u32)sim_take(entry, XVCPU_MSR_AREA_INDEX_OFFSET, 4);
        xvcpu_u64 value;
        if (!sim_msr_of(cpu, index) || (index >> 8) == 8U)
            sim_fail("VMX abort: MSR %#x in the VM-exit store list", index);
        value = sim_msr_value(cpu, index);
        sim_put(entry, XVCPU_MSR_AREA_DATA_OFFSET, &value, 8);
    }
}

static void sim_load_guest(sim_processor *cpu, const sim_vmcs *v, const sim_words_now *c)
{
    const xvcpu_u64 own = XVCPU_CR0_CD | XVCPU_CR0_NW;
    cpu->cr0 = (v->value[SIM_ROW_GUEST_CR0] & ~own) | (cpu->cr0 & own);
    cpu->cr3 = v->value[SIM_ROW_GUEST_CR3];
    cpu->cr4 = v->value[SIM_ROW_GUEST_CR4];
    if ((c->entry & XVCPU_ENTRY_LOAD_DEBUG) != 0) {
        cpu->dr7 = v->value[SIM_ROW_GUEST_DR7];
        sim_msr_store(cpu, XVCPU_MSR_IA32_DEBUGCTL, v->value[SIM_ROW_GUEST_DEBUGCTL]);
    }
    sim_msr_store(cpu, XVCPU_MSR_IA32_FS_BASE, v->value[SIM_ROW_GUEST_FS_BASE]);
    sim_msr_store(cpu, XVCPU_MSR_IA32_GS_BASE, v->value[SIM_ROW_GUEST_GS_BASE]);
    sim_msr_store(cpu, XVCPU_MSR_IA32_SYSENTER_CS, v->value[SIM_ROW_GUEST_SYSENTER_CS]);
    sim_msr_store(cpu, XVCPU_MSR_IA32_SYSENTER_ESP, v->value[SIM_ROW_GUEST_SYSENTER_ESP]);
    sim_msr_store(cpu, XVCPU_MSR_IA32_SYSENTER_EIP, v->value[SIM_ROW_GUEST_SYSENTER_EIP]);
    if ((c->entry & XVCPU_ENTRY_LOAD_EFER) != 0) {
        sim_msr_store(cpu, XVCPU_MSR_IA32_EFER, v->value[SIM_ROW_GUEST_EFER]);
    } else {
        xvcpu_u64 efer = sim_msr_value(cpu, XVCPU_MSR_IA32_EFER);
        efer &= ~(XVCPU_EFER_LMA | XVCPU_EFER_LME);
        if ((c->entry & XVCPU_ENTRY_IA32E_GUEST) != 0)
            efer |= XVCPU_EFER_LMA | XVCPU_EFER_LME;
        sim_msr_store(cpu, XVCPU_MSR_IA32_EFER, efer);
    }
    if ((c->entry & XVCPU_ENTRY_LOAD_PAT) != 0)
        sim_msr_store(cpu, XVCPU_MSR_IA32_PAT, v->value[SIM_ROW_GUEST_PAT]);
    if ((c->entry & XVCPU_ENTRY_LOAD_PERF_GLOBAL_CTRL) != 0)
        sim_msr_store(cpu, XVCPU_MSR_IA32_PERF_GLOBAL_CTRL,
                      v->value[SIM_ROW_GUEST_PERF_GLOBAL_CTRL]);
    if ((c->entry & XVCPU_ENTRY_LOAD_CET) != 0) {
        sim_msr_store(cpu, XVCPU_MSR_IA32_S_CET, v->value[SIM_ROW_GUEST_S_CET]);
        sim_msr_store(cpu, XVCPU_MSR_IA32_INTERRUPT_SSP_TABLE_ADDR,
                      v->value[SIM_ROW_GUEST_INTR_SSP_TABLE]);
    }
    if ((c->entry & XVCPU_ENTRY_LOAD_PKRS) != 0)
        sim_msr_store(cpu, XVCPU_MSR_IA32_PKRS, v->value[SIM_ROW_GUEST_PKRS]);
}

static void sim_load_host(sim_processor *cpu, const sim_vmcs *v, const sim_words_now *c)
{
    static const struct {
        enum sim_row row;
        xvcpu_u32 segment;
    } selectors[] = {
        {SIM_ROW_HOST_ES_SELECTOR, XVCPU_ES}, {SIM_ROW_HOST_CS_SELECTOR, XVCPU_CS},
        {SIM_ROW_HOST_SS_SELECTOR, XVCPU_SS}, {SIM_ROW_HOST_DS_SELECTOR, XVCPU_DS},
        {SIM_ROW_HOST_FS_SELECTOR, XVCPU_FS}, {SIM_ROW_HOST_GS_SELECTOR, XVCPU_GS},
        {SIM_ROW_HOST_TR_SELECTOR, XVCPU_TR},
    };
    const xvcpu_u64 own = XVCPU_CR0_CD | XVCPU_CR0_NW;
    xvcpu_u32 i;
    cpu->cr0 = (v->value[SIM_ROW_HOST_CR0] & ~own) | (cpu->cr0 & own);
    cpu->cr3 = v->value[SIM_ROW_HOST_CR3];
    cpu->cr4 = v->value[SIM_ROW_HOST_CR4];
    cpu->dr7 = XVCPU_DR7_FIXED_1;
    cpu->rflags = XVCPU_RFLAGS_FIXED_1;
    sim_msr_store(cpu, XVCPU_MSR_IA32_DEBUGCTL, 0);
    sim_msr_store(cpu, XVCPU_MSR_IA32_SYSENTER_CS, v->value[SIM_ROW_HOST_SYSENTER_CS]);
    sim_msr_store(cpu, XVCPU_MSR_IA32_SYSENTER_ESP, v->value[SIM_ROW_HOST_SYSENTER_ESP]);
    sim_msr_store(cpu, XVCPU_MSR_IA32_SYSENTER_EIP, v->value[SIM_ROW_HOST_SYSENTER_EIP]);
    sim_msr_store(cpu, XVCPU_MSR_IA32_FS_BASE, v->value[SIM_ROW_HOST_FS_BASE]);
    sim_msr_store(cpu, XVCPU_MSR_IA32_GS_BASE, v->value[SIM_ROW_HOST_GS_BASE]);
    if ((c->exit & XVCPU_EXIT_LOAD_EFER) != 0)
        sim_msr_store(cpu, XVCPU_MSR_IA32_EFER, v->value[SIM_ROW_HOST_EFER]);
    else // only the mode goes with the exit
        sim_msr_store(cpu, XVCPU_MSR_IA32_EFER,
                      sim_msr_value(cpu, XVCPU_MSR_IA32_EFER) | XVCPU_EFER_LMA | XVCPU_EFER_LME);
    if ((c->exit & XVCPU_EXIT_LOAD_PAT) != 0)
        sim_msr_store(cpu, XVCPU_MSR_IA32_PAT, v->value[SIM_ROW_HOST_PAT]);
    if ((c->exit & XVCPU_EXIT_LOAD_PERF_GLOBAL_CTRL) != 0)
        sim_msr_store(cpu, XVCPU_MSR_IA32_PERF_GLOBAL_CTRL,
                      v->value[SIM_ROW_HOST_PERF_GLOBAL_CTRL]);
    if ((c->exit & XVCPU_EXIT_LOAD_CET) != 0) {
        sim_msr_store(cpu, XVCPU_MSR_IA32_S_CET, v->value[SIM_ROW_HOST_S_CET]);
        sim_msr_store(cpu, XVCPU_MSR_IA32_INTERRUPT_SSP_TABLE_ADDR,
                      v->value[SIM_ROW_HOST_INTR_SSP_TABLE]);
    }
    if ((c->exit & XVCPU_EXIT_LOAD_PKRS) != 0)
        sim_msr_store(cpu, XVCPU_MSR_IA32_PKRS, v->value[SIM_ROW_HOST_PKRS]);
    cpu->gdtr_base = v->value[SIM_ROW_HOST_GDTR_BASE];
    cpu->idtr_base = v->value[SIM_ROW_HOST_IDTR_BASE];
    cpu->gdtr_limit = 0xFFFF;
    cpu->idtr_limit = 0xFFFF;
    for (i = 0; i < sizeof selectors / sizeof selectors[0]; i++)
        cpu->segments[selectors[i].segment].selector = (xvcpu_u16)v->value[selectors[i].row];
    cpu->segments[XVCPU_TR].base = v->value[SIM_ROW_HOST_TR_BASE];
    cpu->segments[XVCPU_TR].limit = 0x67;
    cpu->segments[XVCPU_LDTR].selector = 0;
    sim_load_list(cpu, v->value[SIM_ROW_CTRL_EXIT_MSR_LOAD_COUNT],
                  v->value[SIM_ROW_CTRL_EXIT_MSR_LOAD_ADDR]);
}

static void sim_exit_field(sim_vmcs *v, enum sim_row row, xvcpu_u64 value)
{
    v->value[row] = value;
    v->written[row] = true;
}

static void sim_record_exit(sim_vmcs *v, const sim_exit_info *e)
{
    sim_exit_field(v, SIM_ROW_EXIT_REASON, e->reason);
    sim_exit_field(v, SIM_ROW_EXIT_QUALIFICATION, e->qualification);
    sim_exit_field(v, SIM_ROW_EXIT_INTR_INFO, e->intr_info);
    sim_exit_field(v, SIM_ROW_EXIT_INTR_ERROR_CODE, e->intr_error);
    sim_exit_field(v, SIM_ROW_EXIT_IDT_VECTORING_INFO, e->idt_info);
    sim_exit_field(v, SIM_ROW_EXIT_IDT_VECTORING_ERROR_CODE, e->idt_error);
    sim_exit_field(v, SIM_ROW_EXIT_INSTR_LEN, e->length);
    sim_exit_field(v, SIM_ROW_EXIT_INSTR_INFO, e->instruction_info);
    sim_exit_field(v, SIM_ROW_EXIT_GUEST_PHYSICAL_ADDR, e->gpa);
    sim_exit_field(v, SIM_ROW_EXIT_GUEST_LINEAR_ADDR, e->gla);
    sim_exit_field(v, SIM_ROW_EXIT_IO_RCX, e->io_rcx);
    sim_exit_field(v, SIM_ROW_EXIT_IO_RSI, e->io_rsi);
    sim_exit_field(v, SIM_ROW_EXIT_IO_RDI, e->io_rdi);
    sim_exit_field(v, SIM_ROW_EXIT_IO_RIP, e->io_rip);
}

static void sim_rubbish_exit(sim_exit_info *e)
{
    memset(e, 0, sizeof *e);
    e->intr_error = SIM_RUBBISH;
    e->idt_error = SIM_RUBBISH;
    e->length = SIM_RUBBISH;
    e->instruction_info = SIM_RUBBISH;
    e->gpa = e->gla = ((xvcpu_u64)SIM_RUBBISH << 32) | SIM_RUBBISH;
    e->io_rcx = e->io_rsi = e->io_rdi = e->io_rip = e->gpa;
}

// Delivers the event that the entry injects. The handler is taken to be reached by an interrupt
// gate, except for software events, whose gates are a matter of taste.
static void sim_deliver(sim_guest *g, sim_vmcs *v, const sim_words_now *c)
{
    const xvcpu_u64 info = v->value[SIM_ROW_CTRL_ENTRY_INTR_INFO];
    const xvcpu_u64 type = XVCPU_PART(info, INTR_INFO_TYPE);
    (void)c;
    if ((info & XVCPU_INTR_INFO_VALID) == 0)
        return;
    g->injected_info = (xvcpu_u32)info;
    if ((info & XVCPU_INTR_INFO_ERROR_CODE) != 0)
        g->injected_error = (xvcpu_u32)v->value[SIM_ROW_CTRL_ENTRY_ERROR_CODE];
    if (type >= XVCPU_INTR_TYPE_SOFTWARE_INTERRUPT && type <= XVCPU_INTR_TYPE_SOFTWARE_EXCEPTION)
        g->injected_length = (xvcpu_u32)v->value[SIM_ROW_CTRL_ENTRY_INSTR_LEN];
    if (type == XVCPU_INTR_TYPE_OTHER)
        return;
    v->value[SIM_ROW_GUEST_ACTIVITY_STATE] = XVCPU_ACTIVITY_ACTIVE;
    v->value[SIM_ROW_GUEST_INTERRUPTIBILITY] &= ~(xvcpu_u64)3;
    v->value[SIM_ROW_GUEST_RFLAGS] &= ~(XVCPU_RFLAGS_TF | XVCPU_RFLAGS_RF | XVCPU_RFLAGS_NT);
    if (type == XVCPU_INTR_TYPE_NMI)
        v->value[SIM_ROW_GUEST_INTERRUPTIBILITY] |= XVCPU_INTERRUPTIBILITY_NMI;
    if (type <= XVCPU_INTR_TYPE_HARDWARE_EXCEPTION)
        v->value[SIM_ROW_GUEST_RFLAGS] &= ~XVCPU_RFLAGS_IF;
}

// Exits that come before the guest's next instruction. True: one is chosen.
static bool sim_immediate_exit(sim_guest *g, sim_vmcs *v, const sim_words_now *c)
{
    const xvcpu_u64 state = v->value[SIM_ROW_GUEST_INTERRUPTIBILITY];
    if (v->value[SIM_ROW_GUEST_ACTIVITY_STATE] == XVCPU_ACTIVITY_WAIT_FOR_SIPI)
        return false;
    if ((c->pin & XVCPU_PIN_PREEMPTION_TIMER) != 0 &&
        v->value[SIM_ROW_GUEST_PREEMPTION_TIMER] == 0) {
        (void)sim_exit(g, XVCPU_EXIT_REASON_PREEMPTION_TIMER, 0);
        return true;
    }
    if ((c->proc1 & XVCPU_PROC1_NMI_WINDOW_EXITING) != 0 &&
        (state & (XVCPU_INTERRUPTIBILITY_NMI | XVCPU_INTERRUPTIBILITY_MOV_SS |
                  XVCPU_INTERRUPTIBILITY_STI)) == 0) {
        (void)sim_exit(g, XVCPU_EXIT_REASON_NMI_WINDOW, 0);
        return true;
    }
    if ((c->proc1 & XVCPU_PROC1_INTR_WINDOW_EXITING) != 0 && (state & 3U) == 0 &&
        (v->value[SIM_ROW_GUEST_RFLAGS] & XVCPU_RFLAGS_IF) != 0) {
        (void)sim_exit(g, XVCPU_EXIT_REASON_INTERRUPT_WINDOW, 0);
        return true;
    }
    return false;
}

static void sim_run_guest(sim_processor *cpu, sim_vmcs *v, xvcpu *vcpu)
{
    sim_words_now c = sim_controls(v);
    sim_guest g;
    xvcpu_u32 i;
    memset(&g, 0, sizeof g);
    sim_rubbish_exit(&g.exit);
    g.vcpu = vcpu;
    g.cpu = cpu;
    g.vmcs_pa = v->pa;
    g.context = sim.guest_context;
    g.entry = ++sim.entry;
    for (i = 0; i < 16; i++)
        g.gpr[i] = vcpu->gpr[i];
    g.gpr[XVCPU_RSP] = v->value[SIM_ROW_GUEST_RSP];
    g.cr2 = cpu->cr2;
    cpu->in_guest = true;
    sim.running = &g;
    if (sim_vpid(v) == 0)
        sim_tlb_drop(cpu->id, false, true, 0, false, 0);
    sim_deliver(&g, v, &c);
    if (!sim_immediate_exit(&g, v, &c)) {
        if (!sim.guest)
            sim_fail("test: VM entry without sim_set_guest");
        sim.guest(&g);
        if (!g.exit.chosen)
            sim_fail("test: the guest chose no exit");
    }
    cpu->in_guest = false;
    sim.running = NULL;
    if (sim.cpu != cpu)
        sim_fail("test: the guest changed the processor");
    cpu->tsc += 1000;
    cpu->cr2 = g.cr2;
    for (i = 0; i < 16; i++)
        if (i != XVCPU_RSP)
            vcpu->gpr[i] = g.gpr[i];

    // What a VM exit saves.
    v->value[SIM_ROW_GUEST_RSP] = g.gpr[XVCPU_RSP];
    v->value[SIM_ROW_GUEST_CR0] =
        (v->value[SIM_ROW_GUEST_CR0] & ~(XVCPU_CR0_CD | XVCPU_CR0_NW)) |
        (cpu->cr0 & (XVCPU_CR0_CD | XVCPU_CR0_NW));
    if ((c.exit & XVCPU_EXIT_SAVE_EFER) != 0 &&
        (sim_msr_value(cpu, XVCPU_MSR_IA32_VMX_MISC) & XVCPU_VMX_MISC_SAVES_LMA) != 0) {
        v->value[SIM_ROW_CTRL_ENTRY] &= ~XVCPU_ENTRY_IA32E_GUEST;
        if ((v->value[SIM_ROW_GUEST_EFER] & XVCPU_EFER_LMA) != 0)
            v->value[SIM_ROW_CTRL_ENTRY] |= XVCPU_ENTRY_IA32E_GUEST;
    }
    v->value[SIM_ROW_CTRL_ENTRY_INTR_INFO] &= ~XVCPU_INTR_INFO_VALID;
    sim_record_exit(v, &g.exit);
    sim_store_list(cpu, v->value[SIM_ROW_CTRL_EXIT_MSR_STORE_COUNT],
                   v->value[SIM_ROW_CTRL_EXIT_MSR_STORE_ADDR]);
    if (sim_vpid(v) == 0)
        sim_tlb_drop(cpu->id, false, true, 0, false, 0);
}

// A failed entry: the host state is loaded as by an exit, and hardly anything is recorded.
static xvcpu_u32 sim_entry_failure(sim_processor *cpu, sim_vmcs *v, const sim_words_now *c,
                                   xvcpu_u32 reason, xvcpu_u64 qualification)
{
    sim_exit_field(v, SIM_ROW_EXIT_REASON,
                   reason | XVCPU_EXIT_REASON_WORD_ENTRY_FAILURE);
    sim_exit_field(v, SIM_ROW_EXIT_QUALIFICATION, qualification);
    sim_load_host(cpu, v, c);
    return 0;
}

static void sim_set_verdict(const char *rule)
{
    (void)snprintf(sim.verdict, sizeof sim.verdict, "%s", rule ? rule : "");
}

// The trampoline's own VMWRITEs: HOST_RSP and HOST_RIP, when they are not what the VMCS holds.
static void sim_trampoline(sim_processor *cpu, sim_vmcs *v, xvcpu *vcpu)
{
    const xvcpu_u64 rsp = 0xFFFFC90000010000U + cpu->id * 0x10000U, rip = 0xFFFFFFFF81234560U;
    if (vcpu->host_rsp != rsp) {
        vcpu->host_rsp = rsp;
        (void)xvcpu_vmwrite(XVCPU_VMCS_HOST_RSP, rsp);
    }
    if (vcpu->host_rip != rip) {
        vcpu->host_rip = rip;
        (void)xvcpu_vmwrite(XVCPU_VMCS_HOST_RIP, rip);
    }
    if (v->value[SIM_ROW_HOST_RSP] != rsp || v->value[SIM_ROW_HOST_RIP] != rip)
        sim_fail("host_rsp or host_rip claims to be in the VMCS and is not: exit into nowhere");
}

xvcpu_u32 xvcpui_enter(xvcpu *vcpu)
{
    sim_processor *cpu = sim_vmx("VM entry");
    sim_vmcs *v = sim_current();
    const char *rule;
    sim_words_now c;
    xvcpu_u64 qualification = 0;
    xvcpu_u32 bad;
    sim_counts.entries++;
    sim_set_verdict(NULL);
    if (!v) {
        sim_set_verdict("BASIC-006");
        return XVCPU_VMX_FAIL_INVALID;
    }
    if (v->pa != vcpu->vmcs_pa)
        sim_fail("VM entry with another virtual CPU's VMCS current");
    if ((cpu->rflags & XVCPU_RFLAGS_IF) != 0)
        sim_fail("VM entry with interrupts enabled in the host");
    sim_region_check(v);
    sim_trampoline(cpu, v, vcpu);
    cpu->cr2 = vcpu->cr2;
    if (!vcpu->launched && v->launched) {
        sim_set_verdict("BASIC-009");
        return (xvcpu_u32)sim_vmfail(4);
    }
    if (vcpu->launched && !v->launched) {
        sim_set_verdict("BASIC-010");
        return (xvcpu_u32)sim_vmfail(5);
    }
    if (vcpu->launched && v->launch_vmxon != sim.vmxon_number[cpu->id]) {
        sim_set_verdict("BASIC-011");
        return (xvcpu_u32)sim_vmfail(6);
    }
    rule = sim_check_controls(cpu, v);
    if (rule) {
        sim_set_verdict(rule);
        return (xvcpu_u32)sim_vmfail(7);
    }
    rule = sim_check_host(cpu, v);
    if (rule) {
        sim_set_verdict(rule);
        return (xvcpu_u32)sim_vmfail(8);
    }
    if (sim.strict_host)
        sim_check_host_is_current(cpu, v);
    sim_every_field_written(v);
    c = sim_controls(v);
    rule = sim_check_guest(cpu, v, &qualification);
    if (rule) {
        sim_set_verdict(rule);
        return sim_entry_failure(cpu, v, &c, XVCPU_EXIT_REASON_ENTRY_FAIL_GUEST_STATE,
                                 qualification);
    }
    sim_load_guest(cpu, v, &c);
    bad = sim_load_list(cpu, v->value[SIM_ROW_CTRL_ENTRY_MSR_LOAD_COUNT],
                        v->value[SIM_ROW_CTRL_ENTRY_MSR_LOAD_ADDR]);
    if (bad != 0) {
        sim_set_verdict("MSR-008");
        return sim_entry_failure(cpu, v, &c, XVCPU_EXIT_REASON_ENTRY_FAIL_MSR_LOAD, bad);
    }
    v->launched = true;
    v->launch_vmxon = sim.vmxon_number[cpu->id];
    sim_run_guest(cpu, v, vcpu);
    sim_load_host(cpu, v, &c);
    vcpu->cr2 = cpu->cr2;
    return 0;
}
