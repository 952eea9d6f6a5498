// hello.c - the smallest guest: real-mode code that writes a line to a port, then halts.
#include "../kernel/kernel.h"

#define XVCPU_VIRT_TO_PHYS(context, pointer) phys_of(pointer)
#define XVCPU_PHYS_TO_VIRT(context, physical) virt_of(physical)
#define XVCPU_ALLOC_PAGE(context) page_alloc()
#define XVCPU_FREE_PAGE(context, page) page_free(page)
#define XVCPU_IMPLEMENTATION
#include "../../xvcpu.h"

// next: cs lodsb; test al, al; jz done; out 0E9h, al; jmp next; done: hlt - then, at 11, the text.
static const u8 guest_code[] = "\x2e\xac\x84\xc0\x74\x04\xe6\xe9\xeb\xf6\xf4"
                               "Hello from the guest!\n";

static u8 memory[4096] __attribute__((aligned(4096))); // all the guest has
static xvcpu_cpu cpu;
static xvcpu_ept ept;
static xvcpu vcpu;

static xvcpu_status run_guest(xvcpu_error *error)
{
    const xvcpu_ept_desc ept_desc = {0};
    xvcpu_desc desc = {0};
    xvcpu_status status;

    memcpy(memory, guest_code, sizeof guest_code);
    if ((status = xvcpu_ept_create(&ept, &ept_desc, &cpu.caps, error)) != XVCPU_STATUS_OK ||
        (status = xvcpu_ept_map(&ept, 0, phys_of(memory), 4096, XVCPU_EPT_RWX, XVCPU_MEMORY_WB,
                                error)) != XVCPU_STATUS_OK)
        return status;
    desc.ept = &ept;
    if ((status = xvcpu_create(&vcpu, &desc, &cpu.caps, error)) != XVCPU_STATUS_OK ||
        (status = xvcpu_bind(&vcpu, &cpu, error)) != XVCPU_STATUS_OK ||
        (status = xvcpu_preset_real(&vcpu, 0, 0, error)) != XVCPU_STATUS_OK ||
        (status = xvcpu_set(&vcpu, XVCPU_REG_RSI, 11, error)) != XVCPU_STATUS_OK)
        return status;
    while ((status = xvcpu_run(&vcpu, error)) == XVCPU_STATUS_OK) {
        if (vcpu.exit.kind == XVCPU_EXIT_IO && !vcpu.exit.u.io.in) {
            kputc((char)vcpu.exit.value);
            xvcpu_answer_done(&vcpu, 0);
        } else {
            kprintf("exit: %s\n", xvcpu_exit_reason_name(vcpu.exit.reason));
            break;
        }
    }
    return status;
}

int kernel_main(void)
{
    xvcpu_error error;
    xvcpu_status status = xvcpu_cpu_enable(&cpu, 0, &error);
    if (status == XVCPU_STATUS_OK)
        status = run_guest(&error);
    if (status != XVCPU_STATUS_OK)
        kprintf("%s: %s (%s)\n", xvcpu_status_name(status), xvcpu_status_text(status),
                error.detail);
    (void)xvcpu_destroy(&vcpu, 0);
    xvcpu_ept_destroy(&ept);
    (void)xvcpu_cpu_disable(&cpu, 0);
    return status != XVCPU_STATUS_OK;
}
