#ifndef SIM_GLUE_H
#define SIM_GLUE_H

// The library's hooks, answered by the simulated machine. A hosted test includes sim.h, which
// includes this; one file of the test defines XVCPU_IMPLEMENTATION first.

#include <stdint.h>
#include <stddef.h>

// -- What the hooks call (plain types: this stands above xvcpu.h)

void *sim_hook_alloc_page(void *context);
void sim_hook_free_page(void *context, void *page);
uint64_t sim_hook_virt_to_phys(void *context, const void *pointer);
void *sim_hook_phys_to_virt(void *context, uint64_t physical);
void sim_hook_log(void *context, int level, const char *item, const char *text, uint64_t a,
                  uint64_t b);
void sim_hook_assert(const char *condition, const char *file, int line);
uint32_t sim_hook_cpu_id(void);

// -- The hooks

#define XVCPU_SIMULATED 1
#define XVCPU_ALLOC_PAGE(context) sim_hook_alloc_page(context)
#define XVCPU_FREE_PAGE(context, page) sim_hook_free_page((context), (page))
#define XVCPU_VIRT_TO_PHYS(context, pointer) sim_hook_virt_to_phys((context), (pointer))
#define XVCPU_PHYS_TO_VIRT(context, physical) sim_hook_phys_to_virt((context), (physical))
#define XVCPU_LOG(context, level, item, text, a, b)                                                \
    sim_hook_log((context), (int)(level), (item), (text), (uint64_t)(a), (uint64_t)(b))
#define XVCPU_ASSERT(condition)                                                                    \
    ((condition) ? (void)0 : sim_hook_assert(#condition, __FILE__, __LINE__))
#define XVCPU_CPU_ID(...) sim_hook_cpu_id()

#include "../../xvcpu.h"

#endif // SIM_GLUE_H
