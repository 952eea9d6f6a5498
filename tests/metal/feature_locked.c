// feature_locked.c - firmware that locked VMX off. The lock holds until the next reset, hence a
// test of its own.
// models: core2_penryn_t9600 corei5_lynnfield_750 corei7_haswell_4770 corei7_skylake_x tigerlake
// cpus: 1
#include "metal.h"

static xvcpu_cpu cpu;

int kernel_main(void)
{
    xvcpu_error error;
    u64 cr0, cr4, free_pages;

    wrmsr(XVCPU_MSR_IA32_FEATURE_CONTROL, XVCPU_FEATURE_CONTROL_LOCK);
    is_u64(rdmsr(XVCPU_MSR_IA32_FEATURE_CONTROL), XVCPU_FEATURE_CONTROL_LOCK,
           "IA32_FEATURE_CONTROL is locked with VMX off");
    cr0 = read_cr0();
    cr4 = read_cr4();
    free_pages = pages_free();
    is_status(xvcpu_cpu_enable(&cpu, 0, &error), FIRMWARE_DISABLED, &error, "enable");
    is_u64(error.msr, XVCPU_MSR_IA32_FEATURE_CONTROL, "the MSR is named");
    is_u64(error.bits, XVCPU_FEATURE_CONTROL_VMX_OUTSIDE_SMX, "with the bit that is missing");
    is_u64(error.value, XVCPU_FEATURE_CONTROL_LOCK, "and the value found");
    has_text(xvcpu_status_remedy(error.status), "firmware", "the remedy sends to the firmware");
    is_u64(read_cr0(), cr0, "CR0 is unchanged");
    is_u64(read_cr4(), cr4, "CR4 is unchanged");
    ok(metal_pages == 0 && pages_free() == free_pages, "no page is kept");
    ok(!xvcpu_cpu_is_enabled(&cpu) && !xvcpu_cpu_is_foreign(0), "not on");
    is_status(xvcpu_cpu_enable(&cpu, 0, 0), FIRMWARE_DISABLED, 0, "enable again, nobody listens");
    is_status(xvcpu_cpu_disable(&cpu, &error), INVALID_STATE, &error, "disable");
    return tap_done();
}
