// boot.S - from 32-bit protected mode without paging (GRUB or our ROM), or from a start-up IPI,
// to C in long mode.
#include "layout.h"

#define PA(symbol) (symbol - LAYOUT_IMAGE_MAP)

#define CR0_PE_MP 0x3
#define CR0_EM_TS 0xc
#define CR0_WP_PG 0x80010000
#define CR0_CD_NW 0x60000000
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define EFER_NXE 0x800
#define CPUID_EXTENDED 0x80000001
#define CPUID_EXTENDED_EDX_NX_BIT 20

#define SELECTOR_CODE64 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_CODE32 0x18

    .section .boot.header, "a"
    .balign 8
header:
    .long LAYOUT_MULTIBOOT2_HEADER
    .long 0 // i386, protected mode
    .long header_end - header
    .long -(LAYOUT_MULTIBOOT2_HEADER + (header_end - header))
    .short 0, 0
    .long 8
header_end:
    .org LAYOUT_ENTRY_OFFSET

    .section .boot, "ax"
    .code32
    .globl kernel_start
kernel_start:
    cli
    cld
    movl %eax, %edi
    movl %ebx, %esi
    movl $PA(bsp_start64_address), %ebp
    lgdt boot_gdt_pointer
    ljmp $SELECTOR_CODE32, $enter_long_mode

ap_start32:
    movl $PA(ap_start64_address), %ebp
// EDI and ESI are kept; EBP points at the 64-bit address to go to.
enter_long_mode:
    movl $SELECTOR_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs

    movl %cr4, %eax
    orl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $PA(start_pml4), %eax
    movl %eax, %cr3

    movl $CPUID_EXTENDED, %eax
    cpuid
    btl $CPUID_EXTENDED_EDX_NX_BIT, %edx
    movl $MSR_EFER, %ecx
    rdmsr
    jnc 1f
    orl $EFER_NXE, %eax
1:  orl $EFER_LME, %eax
    wrmsr

    // CR0.NE stays as it was found: who needs it sets it.
    movl %cr0, %eax
    andl $~(CR0_CD_NW | CR0_EM_TS), %eax
    orl $(CR0_WP_PG | CR0_PE_MP), %eax
    movl %eax, %cr0
    ljmp $SELECTOR_CODE64, $1f
    .code64
1:  movl %ebp, %ebp // clears the upper half, undefined until now
    jmp *(%rbp)

    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff // 64-bit code
    .quad 0x00cf93000000ffff // data
    .quad 0x00cf9b000000ffff // 32-bit code
boot_gdt_end:
boot_gdt_pointer:
    .short boot_gdt_end - boot_gdt - 1
    .long boot_gdt

// -- Start of the other processors, copied to LAYOUT_TRAMPOLINE

    .section .rodata
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    cld
    lgdtl %cs:(trampoline_gdt_pointer - trampoline)
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $SELECTOR_CODE32, $ap_start32
    .balign 4
trampoline_gdt_pointer:
    .short boot_gdt_end - boot_gdt - 1
    .long boot_gdt
trampoline_end:

// -- Linked high from here on

    .text
    .code64
bsp_start64:
    movl %edi, %r12d
    movl %esi, %r13d
    movq $kernel_bss_start, %rdi
    movq $kernel_bss_end, %rcx
    subq %rdi, %rcx
    shrq $3, %rcx
    xorl %eax, %eax
    rep stosq

    movq $PA(kernel_pml4), %rax
    movq %rax, %cr3
    movq $(cpu_stacks + LAYOUT_STACK_SIZE), %rsp
    movl %r12d, %edi
    movl %r13d, %esi
    xorl %ebp, %ebp
    call kernel_boot
    ud2

ap_start64:
    movq $PA(kernel_pml4), %rax
    movq %rax, %cr3
    movl $1, %edi
    lock xaddl %edi, cpus_started(%rip)
    cmpl $LAYOUT_CPUS_MAX, %edi
    jae 1f
    movl %edi, %eax
    incl %eax
    imulq $LAYOUT_STACK_SIZE, %rax, %rax
    leaq cpu_stacks(%rax), %rsp
    xorl %ebp, %ebp
    call kernel_boot_ap
    ud2
1:  cli
    hlt
    jmp 1b

    .section .bss.stacks, "aw", @nobits
    .balign 4096
    .globl cpu_stacks
cpu_stacks:
    .skip LAYOUT_STACK_SIZE * LAYOUT_CPUS_MAX

// -- Page tables: complete before the first instruction runs

#define TABLE 0x03          // present, writable
#define PAGE_2M 0x83        // present, writable, 2 MiB
#define PAGE_2M_DEVICE 0x9b // and not cached

    .data
    .balign 8
bsp_start64_address:
    .quad bsp_start64
ap_start64_address:
    .quad ap_start64
    .globl cpus_started
cpus_started:
    .long 1

    .balign 4096
// In use only until the jump to the high addresses: also maps virtual = physical.
start_pml4:
    .quad PA(pdpt_physical) + TABLE
    .fill 255, 8, 0
    .quad PA(pdpt_physical) + TABLE
    .fill 254, 8, 0
    .quad PA(pdpt_image) + TABLE
    .globl kernel_pml4
kernel_pml4:
    .fill 256, 8, 0
    .quad PA(pdpt_physical) + TABLE
    .fill 254, 8, 0
    .quad PA(pdpt_image) + TABLE
pdpt_physical:
    .quad PA(directory_0) + TABLE
    .quad PA(directory_1) + TABLE
    .quad PA(directory_2) + TABLE
    .quad PA(directory_3) + TABLE
    .fill 508, 8, 0
pdpt_image:
    .fill 510, 8, 0
    .quad PA(directory_0) + TABLE
    .quad 0

.macro directory first, flags
    .set address, \first
    .rept 512
    .quad address + \flags
    .set address, address + 0x200000
    .endr
.endm
directory_0: directory 0x00000000, PAGE_2M
directory_1: directory 0x40000000, PAGE_2M
directory_2: directory 0x80000000, PAGE_2M
directory_3: directory 0xc0000000, PAGE_2M_DEVICE

    .section .note.GNU-stack, "", @progbits
