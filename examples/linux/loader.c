#include "loader.h"

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t size);

enum { SECTOR = 512 };

// The first sector of the disk, see payload.sh.
enum {
    DISK_MAGIC_SIZE = 8,
    DISK_KERNEL = 8, // first sector, then bytes
    DISK_INITRAMFS = 16,
    DISK_COMMAND_LINE = 64
};

// Where things go in guest memory. The kernel is put at its preferred address, which spares it
// from moving itself.
enum {
    AT_BOOT_PARAMS = 0x10000,
    AT_COMMAND_LINE = 0x20000,
    LOW_RAM_END = 0x9fc00,
    HIGH_RAM = 0x100000
};

// Fields of the boot parameters ("zero page"); from SETUP_HEADER on as in the bzImage itself.
enum {
    E820_ENTRIES = 0x1e8,
    SETUP_HEADER = 0x1f1, // also: number of sectors of real-mode code after the first
    BOOT_FLAG = 0x1fe,
    HEADER_LENGTH = 0x201,
    HEADER_MAGIC = 0x202,
    PROTOCOL_VERSION = 0x206,
    TYPE_OF_LOADER = 0x210,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    CMD_LINE_PTR = 0x228,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
    E820_TABLE = 0x2d0,
    E820_ENTRY_SIZE = 20
};

static const uint32_t header_magic = 0x53726448;   // "HdrS"
static const uint32_t lowest_protocol = 0x020a;    // the first with PREF_ADDRESS and INIT_SIZE
static const uint8_t loader_without_number = 0xff;
static const uint32_t e820_usable = 1;

static uint32_t get32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put32(uint8_t *at, uint32_t value)
{
    for (unsigned n = 0; n < 4; n++) {
        at[n] = (uint8_t)(value >> (8 * n));
    }
}

static void add_ram(uint8_t *params, uint32_t start, uint32_t end)
{
    uint8_t *entry = params + E820_TABLE + params[E820_ENTRIES]++ * E820_ENTRY_SIZE;
    put32(entry, start);
    put32(entry + 8, end - start);
    put32(entry + 16, e820_usable);
}

static uint32_t sectors(uint32_t bytes)
{
    return (bytes + SECTOR - 1) / SECTOR;
}

const char *linux_load(uint8_t *ram, uint32_t ram_bytes,
                       int (*read)(uint64_t lba, uint32_t sectors, void *buffer),
                       struct linux_entry *entry)
{
    static const char magic[] = "XVLINUX1";
    uint8_t *disk = ram + AT_COMMAND_LINE - DISK_COMMAND_LINE; // leaves the line in its place
    uint8_t *params = ram + AT_BOOT_PARAMS;

    if (ram_bytes <= HIGH_RAM || read(0, 1, disk)) {
        return "no disk";
    }
    for (unsigned n = 0; n < DISK_MAGIC_SIZE; n++) {
        if (disk[n] != (uint8_t)magic[n]) {
            return "the disk is not one made by payload.sh";
        }
    }
    uint32_t kernel_lba = get32(disk + DISK_KERNEL);
    uint32_t kernel_bytes = get32(disk + DISK_KERNEL + 4);
    uint32_t initramfs_lba = get32(disk + DISK_INITRAMFS);
    uint32_t initramfs_bytes = get32(disk + DISK_INITRAMFS + 4);

    // The setup header is within the first two sectors, at the same place in the parameters.
    uint8_t *scratch = ram + HIGH_RAM;
    if (kernel_bytes < 2 * SECTOR || read(kernel_lba, 2, scratch)) {
        return "cannot read the kernel";
    }
    if (scratch[BOOT_FLAG] != 0x55 || get32(scratch + HEADER_MAGIC) != header_magic ||
        (get32(scratch + PROTOCOL_VERSION) & 0xffff) < lowest_protocol) {
        return "the kernel is not a bzImage, or too old";
    }
    memcpy(params + SETUP_HEADER, scratch + SETUP_HEADER,
           (size_t)HEADER_MAGIC + scratch[HEADER_LENGTH] - SETUP_HEADER);

    // Read the file so that what follows its real-mode part lands on the preferred address.
    uint32_t setup_bytes = (params[SETUP_HEADER] + 1u) * SECTOR;
    uint32_t kernel = get32(params + PREF_ADDRESS);
    uint64_t kernel_end = (uint64_t)kernel + get32(params + INIT_SIZE);
    uint64_t initramfs_span = ((uint64_t)initramfs_bytes + 0x1fff) & ~0xfffull;
    if (kernel < HIGH_RAM + setup_bytes || kernel_bytes > kernel_end - kernel ||
        kernel_end + initramfs_span > ram_bytes) {
        return "the guest's memory is too small for this kernel";
    }
    if (read(kernel_lba, sectors(kernel_bytes), ram + kernel - setup_bytes)) {
        return "cannot read the kernel";
    }
    uint32_t initramfs = (uint32_t)((ram_bytes - initramfs_span) & ~0xfffull);
    if (read(initramfs_lba, sectors(initramfs_bytes), ram + initramfs)) {
        return "cannot read the initramfs";
    }

    params[TYPE_OF_LOADER] = loader_without_number;
    put32(params + RAMDISK_IMAGE, initramfs);
    put32(params + RAMDISK_SIZE, initramfs_bytes);
    put32(params + CMD_LINE_PTR, AT_COMMAND_LINE);
    add_ram(params, 0, LOW_RAM_END);
    add_ram(params, HIGH_RAM, ram_bytes);
    entry->rip = kernel;
    entry->rsi = AT_BOOT_PARAMS;
    return NULL;
}
