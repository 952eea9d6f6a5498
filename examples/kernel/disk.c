// disk.c - reads from the first ATA disk by programmed input.
#include "internal.h"

#define PORT_ATA 0x1f0
#define ATA_DATA (PORT_ATA + 0)
#define ATA_COUNT (PORT_ATA + 2)
#define ATA_LBA_LOW (PORT_ATA + 3)
#define ATA_LBA_MIDDLE (PORT_ATA + 4)
#define ATA_LBA_HIGH (PORT_ATA + 5)
#define ATA_DEVICE (PORT_ATA + 6)
#define ATA_COMMAND (PORT_ATA + 7) // read: status
#define PORT_ATA_CONTROL 0x3f6     // read: status, without side effects

#define DEVICE_FIRST_LBA 0xe0
#define CONTROL_NO_INTERRUPTS 0x02
#define COMMAND_READ 0x20
#define COMMAND_READ_48 0x24
#define COMMAND_IDENTIFY 0xec
#define STATUS_ERROR 0x01
#define STATUS_DATA 0x08
#define STATUS_FAULT 0x20
#define STATUS_BUSY 0x80
#define STATUS_NOBODY 0xff // nothing drives the lines

#define IDENTIFY_SECTORS_28 60
#define IDENTIFY_COMMANDS 83
#define IDENTIFY_HAS_48 0x400
#define IDENTIFY_SECTORS_48 100
#define SECTORS_28 0x10000000ull
#define SECTORS_PER_COMMAND 256u
#define WAIT_LIMIT_US 5000000u
#define LOOKS_BEFORE_DELAY 1000u

static struct kernel_lock disk_lock;
static bool disk_known;
static u64 disk_size;

static u64 disk_take(void)
{
    u64 rflags = read_rflags();
    cli();
    lock_take(&disk_lock);
    return rflags;
}

static void disk_release(u64 rflags)
{
    lock_release(&disk_lock);
    if ((rflags & 0x200) != 0) {
        sti();
    }
}

// True once a sector is there to be read.
static bool wait_data(void)
{
    u32 waited = 0;
    for (u32 looks = 0;; looks++) {
        u8 status = in8(PORT_ATA_CONTROL);
        if (status == STATUS_NOBODY || status == 0) {
            return false;
        }
        if ((status & STATUS_BUSY) == 0) {
            if ((status & (STATUS_ERROR | STATUS_FAULT)) != 0) {
                return false;
            }
            if ((status & STATUS_DATA) != 0) {
                return true;
            }
        }
        if (looks >= LOOKS_BEFORE_DELAY) {
            delay_us(1);
            if (++waited > WAIT_LIMIT_US) {
                return false;
            }
        }
    }
}

static void command(u8 what, u64 lba, u32 sectors)
{
    u8 device = DEVICE_FIRST_LBA;
    if (what == COMMAND_READ_48) {
        out8(ATA_COUNT, (u8)(sectors >> 8));
        out8(ATA_LBA_LOW, (u8)(lba >> 24));
        out8(ATA_LBA_MIDDLE, (u8)(lba >> 32));
        out8(ATA_LBA_HIGH, (u8)(lba >> 40));
    } else {
        device |= (u8)(lba >> 24 & 0x0f);
    }
    out8(ATA_DEVICE, device);
    out8(ATA_COUNT, (u8)sectors); // 256 is 0 here
    out8(ATA_LBA_LOW, (u8)lba);
    out8(ATA_LBA_MIDDLE, (u8)(lba >> 8));
    out8(ATA_LBA_HIGH, (u8)(lba >> 16));
    out8(ATA_COMMAND, what);
    for (int i = 0; i < 4; i++) {
        (void)in8(PORT_ATA_CONTROL); // 400 ns until the status is valid
    }
}

static void take_sector(void *to)
{
    size_t words = DISK_SECTOR_SIZE / 2;
    __asm__ volatile("rep insw" : "+D"(to), "+c"(words) : "d"((u16)ATA_DATA) : "memory");
}

static void identify(void)
{
    u16 words[DISK_SECTOR_SIZE / 2];
    u32 low;
    disk_known = true;
    out8(ATA_DEVICE, DEVICE_FIRST_LBA);
    out8(PORT_ATA_CONTROL, CONTROL_NO_INTERRUPTS);
    command(COMMAND_IDENTIFY, 0, 0);
    if (!wait_data()) {
        return;
    }
    take_sector(words);
    if ((words[IDENTIFY_COMMANDS] & IDENTIFY_HAS_48) != 0) {
        memcpy(&disk_size, &words[IDENTIFY_SECTORS_48], sizeof(disk_size));
    }
    if (disk_size == 0) {
        memcpy(&low, &words[IDENTIFY_SECTORS_28], sizeof(low));
        disk_size = low;
    }
}

u64 disk_sectors(void)
{
    u64 rflags = disk_take();
    if (!disk_known) {
        identify();
    }
    disk_release(rflags);
    return disk_size;
}

static bool read_some(u64 lba, u32 sectors, u8 *to)
{
    u8 what = lba + sectors > SECTORS_28 ? COMMAND_READ_48 : COMMAND_READ;
    command(what, lba, sectors);
    for (u32 i = 0; i < sectors; i++) {
        if (!wait_data()) {
            return false;
        }
        take_sector(to + (size_t)i * DISK_SECTOR_SIZE);
    }
    return true;
}

int disk_read(u64 lba, u32 sectors, void *buffer)
{
    u64 size = disk_sectors();
    u8 *to = buffer;
    u64 rflags;
    bool good = true;
    if (lba > size || sectors > size - lba) {
        return -1;
    }
    rflags = disk_take();
    while (good && sectors != 0) {
        u32 part = sectors < SECTORS_PER_COMMAND ? sectors : SECTORS_PER_COMMAND;
        good = read_some(lba, part, to);
        lba += part;
        sectors -= part;
        to += (size_t)part * DISK_SECTOR_SIZE;
    }
    disk_release(rflags);
    return good ? 0 : -1;
}
