/* A kernel for testing the tools: an Image header, then code that reports through the sifive,test
 * device whether it was loaded as mkimage.py promises. Exit status 0: the table of symbols lies at
 * __image_end and .bss was zero; otherwise a small code. */
    .section .text, "ax"
    .globl _start
_start:
    j       main
    .balign 8
    .dword  0x200000
    .dword  0
    .dword  0
    .word   2
    .word   0
    .dword  0
    .ascii  "RISCV\0\0\0"
    .ascii  "RSC\x05"
    .word   0

    .globl main
    .type main, @function
main:
    li      a0, 3
    lla     t0, __image_end
    lw      t0, (t0)
    li      t1, 0x4d59535a          /* "ZSYM" */
    bne     t0, t1, finish
    li      a0, 4
    lla     t0, zeroed
    ld      t0, (t0)
    bnez    t0, finish
    li      a0, 0
    .size main, . - main

    .globl finish
    .type finish, @function
finish:
    li      t1, 0x5555
    beqz    a0, 1f
    slli    a0, a0, 16
    li      t1, 0x3333
    or      t1, t1, a0
1:  li      t0, 0x100000
    sw      t1, (t0)
2:  wfi
    j       2b
    .size finish, . - finish

    .section .bss, "aw", @nobits
zeroed:
    .space  12288
