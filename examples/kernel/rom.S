// rom.S - what stands in for a BIOS: the last page below 4 GiB.
// Finds the kernel below itself, copies it to RAM and jumps to it in 32-bit protected mode.
#include "layout.h"

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define ROM_SEGMENT_BASE 0xffff0000 // base of CS after a reset
#define PORT_SYSTEM_A 0x92
#define A20_ON 0x02
#define FAST_RESET 0x01

    .text
stub:
    .code16
start16:
    cli
    cld
    inb $PORT_SYSTEM_A, %al
    andb $~FAST_RESET, %al
    orb $A20_ON, %al
    outb %al, $PORT_SYSTEM_A
    lgdtl %cs:(gdt_pointer - ROM_SEGMENT_BASE)
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $SELECTOR_CODE, $start32

    .code32
start32:
    movl $SELECTOR_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $LAYOUT_ROM_FIRST, %esi
1:  cmpl $LAYOUT_MULTIBOOT2_HEADER, (%esi)
    je 2f
    addl $LAYOUT_ROM_STEP, %esi
    jnz 1b
    hlt // no kernel in this ROM
2:  movl $LAYOUT_ROM_STUB, %ecx
    subl %esi, %ecx
    shrl $2, %ecx
    movl $LAYOUT_LOAD, %edi
    rep movsl
    movl $LAYOUT_ROM_LOADED, %eax
    movl $LAYOUT_ROM_CMDLINE, %ebx
    movl $(LAYOUT_LOAD + LAYOUT_ENTRY_OFFSET), %ecx
    jmp *%ecx

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff // code
    .quad 0x00cf93000000ffff // data
gdt_end:
gdt_pointer:
    .short gdt_end - gdt - 1
    .long gdt

    .org LAYOUT_ROM_CMDLINE - LAYOUT_ROM_STUB
    .skip LAYOUT_ROM_CMDLINE_SIZE

    .org 0xff0
reset:
    .code16
    jmp start16
    .org 0x1000
