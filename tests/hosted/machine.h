// One processor, one EPT and one virtual CPU on the simulator. Included after sim/sim.h.

#ifndef XVCPU_HOSTED_MACHINE_H
#define XVCPU_HOSTED_MACHINE_H

#include <string.h>

#include "status.h"

static xvcpu_cpu cpu;
static xvcpu_ept ept;
static xvcpu vcpu;
static xvcpu_u8 *ram; // the guest's, from address 0

// With a bound virtual CPU, made as `wanted` says (null: by default) beside the EPT.
static void machine_start(const xvcpu_desc *wanted, xvcpu_u64 ram_bytes)
{
    xvcpu_ept_desc ept_desc;
    xvcpu_desc desc;
    memset(&ept_desc, 0, sizeof ept_desc);
    memset(&desc, 0, sizeof desc);
    if (wanted)
        desc = *wanted;
    must(xvcpu_cpu_enable(&cpu, NULL, &error));
    must(xvcpu_ept_create(&ept, &ept_desc, &cpu.caps, &error));
    if (ram_bytes != 0) {
        ram = (xvcpu_u8 *)sim_ram(ram_bytes, 0x10000);
        must(xvcpu_ept_map(&ept, 0, sim_phys(ram), ram_bytes, XVCPU_EPT_RWX, XVCPU_MEMORY_WB,
                           &error));
    }
    desc.ept = &ept;
    must(xvcpu_create(&vcpu, &desc, &cpu.caps, &error));
    must(xvcpu_bind(&vcpu, &cpu, &error));
}

static void stop(void)
{
    must(xvcpu_destroy(&vcpu, &error));
    xvcpu_ept_destroy(&ept);
    must(xvcpu_cpu_disable(&cpu, &error));
}

// Fields of the VMCS.
static xvcpu_u64 get(xvcpu_u32 field)
{
    return sim_vmcs_get(vcpu.vmcs_pa, field);
}

static void put(xvcpu_u32 field, xvcpu_u64 value)
{
    sim_vmcs_set(vcpu.vmcs_pa, field, value);
}

// Registers, as a user of the library reads and writes them.
static xvcpu_u64 get_reg(xvcpu_reg reg)
{
    xvcpu_u64 value = 0;
    must(xvcpu_get(&vcpu, reg, &value, &error));
    return value;
}

static void set_reg(xvcpu_reg reg, xvcpu_u64 value)
{
    const xvcpu_status status = xvcpu_set(&vcpu, reg, value, &error);
    if (status != XVCPU_STATUS_OK)
        sim_fail("xvcpu_set(%s, %#llx): %s, bits %#llx", xvcpu_register_name(reg),
                 (unsigned long long)value, xvcpu_status_name(status),
                 (unsigned long long)error.bits);
}

static void case_equal(const char *name, const char *what, xvcpu_u64 got, xvcpu_u64 want)
{
    if (got != want)
        sim_fail("%s: %s: got %#llx, want %#llx", name, what, (unsigned long long)got,
                 (unsigned long long)want);
}

#endif
