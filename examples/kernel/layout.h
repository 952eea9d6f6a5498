// layout.h - numbers the assembly, the link script and the C agree on.
#ifndef KERNEL_LAYOUT_H
#define KERNEL_LAYOUT_H

#define LAYOUT_IMAGE_MAP 0xffffffff80000000
#define LAYOUT_LOAD 0x100000     // physical address the kernel is copied to
#define LAYOUT_ENTRY_OFFSET 0x40 // from there to its first instruction
#define LAYOUT_TRAMPOLINE 0x8000 // physical page other processors start in
#define LAYOUT_STACK_SIZE 0x8000
#define LAYOUT_CPUS_MAX 8

#define LAYOUT_MULTIBOOT2_HEADER 0xe85250d6
#define LAYOUT_MULTIBOOT2_LOADED 0x36d76289 // in EAX, from the boot loader
#define LAYOUT_ROM_LOADED 0x4d4f5278        // in EAX, from our own ROM

// The ROM ends at 4 GiB with a page of its own code; the kernel is somewhere below that page.
#define LAYOUT_ROM_FIRST 0xffe00000
#define LAYOUT_ROM_STEP 0x10000
#define LAYOUT_ROM_STUB 0xfffff000
#define LAYOUT_ROM_CMDLINE 0xfffff800
#define LAYOUT_ROM_CMDLINE_SIZE 0x400

#endif
