// probe.c - what this processor can do for a virtual CPU, without turning VMX on.
#include "../kernel/kernel.h"

#define XVCPU_VIRT_TO_PHYS(context, pointer) phys_of(pointer)
#define XVCPU_PHYS_TO_VIRT(context, physical) virt_of(physical)
#define XVCPU_LOG(context, level, item, text, a, b)                                                \
    kprintf("%-48s %s: %lx, %lx\n", item, text, (u64)(a), (u64)(b))
#define XVCPU_IMPLEMENTATION
#include "../../xvcpu.h"

int kernel_main(void)
{
    xvcpu_caps caps;
    xvcpu_error error;
    const xvcpu_status status = xvcpu_probe(&caps, &error);
    if (status != XVCPU_STATUS_OK) {
        kprintf("%s: %s (%s)\n", xvcpu_status_name(status), xvcpu_status_text(status),
                error.detail);
        return 1;
    }
    xvcpu_report(&caps, 0);
    return 0;
}
