//! What is a system call and nothing else, and the return from signal handlers.
//!
//! `getcpu` is one because user mode has no register that says on which hart it runs.

use core::arch::global_asm;

macro_rules! plain_call {
    ($name:literal, $number:literal) => {
        global_asm!(
            ".pushsection .text",
            concat!(".global ", $name),
            concat!(".type ", $name, ", @function"),
            ".balign 4",
            concat!($name, ":"),
            ".cfi_startproc",
            concat!("li a7, ", $number),
            "ecall",
            "ret",
            ".cfi_endproc",
            concat!(".size ", $name, ", . - ", $name),
            ".popsection",
        );
    };
}

plain_call!("__vdso_getcpu", 168);
plain_call!("__vdso_flush_icache", 259);

// A signal handler returns to `__vdso_rt_sigreturn`, with the stack pointer at the `rt_sigframe` that the kernel made.
//
// Debuggers and unwinders know the place in one of two ways. By its two instructions, which must therefore be these
// very words. Or by its unwind table, which says where in the frame the interrupted registers lie: `uc_mcontext` is at
// 304, and begins with the program counter, then x1 to x31. The canonical frame address is the interrupted stack
// pointer, as on other architectures. The return address is not x1, which the interrupted code may be using, but has
// the column 64 that the psABI keeps for this ("alternate frame return column"). Floating-point registers have no
// rule: the kernel leaves them as they were when it enters a handler, and handlers keep those that callees keep.
//
// Unwinders look up the return address minus one, which a handler's caller would be at. The instruction before
// the function, never executed, makes that fall into the same table entry.
global_asm!(
    r"
    .pushsection .text
    .option push
    .option norvc
    .global __vdso_rt_sigreturn
    .type __vdso_rt_sigreturn, @function
    .balign 4
    .cfi_startproc
    .cfi_signal_frame
    .cfi_return_column 64
    /* DW_CFA_def_cfa_expression, 4 bytes: DW_OP_breg2 offset of x2, DW_OP_deref */
    .cfi_escape 0x0f, 4, 0x72, ((304 + 8 * 2) & 0x7f) | 0x80, (304 + 8 * 2) >> 7, 0x06
    /* DW_CFA_expression register, 3 bytes: DW_OP_breg2 offset */
    .irp register, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    .cfi_escape 0x10, \register, 3, 0x72, ((304 + 8 * \register) & 0x7f) | 0x80, (304 + 8 * \register) >> 7
    .endr
    .cfi_escape 0x10, 64, 3, 0x72, (304 & 0x7f) | 0x80, 304 >> 7
    nop
__vdso_rt_sigreturn:
    li a7, 139
    ecall
    .cfi_endproc
    .size __vdso_rt_sigreturn, . - __vdso_rt_sigreturn
    .option pop
    .popsection
    "
);

// The kernel that the object is for: Linux 6.12, as `uname` says. C libraries may look here before they ask it.
global_asm!(
    r#"
    .pushsection .note.Linux, "a", @note
    .balign 4
    .4byte 6, 4, 0
    .asciz "Linux"
    .balign 4
    .4byte (6 << 16) | (12 << 8)
    .popsection
    "#
);
