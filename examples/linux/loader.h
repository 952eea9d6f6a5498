// Puts Linux into guest memory the way its boot protocol asks for (32-bit entry).
#ifndef LOADER_H
#define LOADER_H

#include <stdint.h>

// What the processor must hold besides flat 32-bit segments, paging off, interrupts off.
struct linux_entry {
    uint32_t rip;
    uint32_t rsi; // the boot parameters
};

// Reads the disk made by payload.sh. ram is the guest's memory from address 0 on, zeroed.
// Returns null, or what is wrong with the payload. read returns 0 if all was read.
const char *linux_load(uint8_t *ram, uint32_t ram_bytes,
                       int (*read)(uint64_t lba, uint32_t sectors, void *buffer),
                       struct linux_entry *entry);

#endif
