// main.c - from the first line of C to the program.
#include "internal.h"

#define PORT_CMOS_INDEX 0x70
#define PORT_CMOS_DATA 0x71
#define CMOS_ABOVE_16M_LOW 0x34 // in units of 64 KiB
#define CMOS_ABOVE_1M_LOW 0x30  // in units of 1 KiB, at most 63 MiB
#define MIB 0x100000ull

#define MULTIBOOT_TAG_END 0
#define MULTIBOOT_TAG_CMDLINE 1
#define MULTIBOOT_TAG_MEMORY_MAP 6
#define MULTIBOOT_MEMORY_RAM 1

const char *kernel_cmdline;
bool kernel_from_rom;
static char cmdline[LAYOUT_ROM_CMDLINE_SIZE];

struct multiboot_tag {
    u32 type, size;
};

struct multiboot_memory_map {
    u32 type, size, entry_size, entry_version;
};

struct multiboot_memory {
    u64 base, length;
    u32 type, reserved;
};

static u32 cmos_read16(u8 index)
{
    u32 low, high;
    out8(PORT_CMOS_INDEX, index);
    low = in8(PORT_CMOS_DATA);
    out8(PORT_CMOS_INDEX, (u8)(index + 1));
    high = in8(PORT_CMOS_DATA);
    return high << 8 | low;
}

static void copy_cmdline(const char *text)
{
    size_t i;
    for (i = 0; i < sizeof(cmdline) - 1 && text[i] != 0; i++) {
        cmdline[i] = text[i];
    }
    cmdline[i] = 0;
}

// The emulators write the size of their memory into the CMOS before any BIOS runs.
static void memory_from_cmos(void)
{
    u64 above_16m = (u64)cmos_read16(CMOS_ABOVE_16M_LOW) << 16;
    if (above_16m != 0) {
        memory_add(MIB, 16 * MIB + above_16m);
    } else {
        memory_add(MIB, MIB + ((u64)cmos_read16(CMOS_ABOVE_1M_LOW) << 10));
    }
}

static void memory_from_multiboot(const u8 *info)
{
    const u8 *at = info + 8;
    for (;;) {
        const struct multiboot_tag *tag = (const void *)at;
        if (tag->type == MULTIBOOT_TAG_END) {
            break;
        }
        if (tag->type == MULTIBOOT_TAG_CMDLINE) {
            copy_cmdline((const char *)(tag + 1));
        } else if (tag->type == MULTIBOOT_TAG_MEMORY_MAP) {
            const struct multiboot_memory_map *map = (const void *)tag;
            const u8 *entry = (const u8 *)(map + 1);
            for (; entry < at + tag->size; entry += map->entry_size) {
                const struct multiboot_memory *memory = (const void *)entry;
                if (memory->type == MULTIBOOT_MEMORY_RAM) {
                    memory_add(memory->base, memory->base + memory->length);
                }
            }
        }
        at += (tag->size + 7u) & ~7u;
    }
}

void kernel_boot(u32 magic, u32 info_pa)
{
    kernel_cmdline = cmdline;
    kernel_from_rom = magic == LAYOUT_ROM_LOADED;
    cpu_start(0);
    memory_start();
    if (kernel_from_rom) {
        copy_cmdline(virt_of(info_pa));
        memory_from_cmos();
    } else if (magic == LAYOUT_MULTIBOOT2_LOADED) {
        memory_from_multiboot(virt_of(info_pa));
    } else {
        kernel_panic("unknown boot loader, EAX was 0x%x", magic);
    }
    memory_finish();
    cpu_start_others();
    kernel_exit(kernel_main());
}
