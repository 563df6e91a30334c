//! The shared object's functions, as C programs call them: version `LINUX_4.15`.
//!
//! The calling convention is that of rv64 without floating-point arguments, the same for every variant of the ABI.
//! Pointers are the program's own; a bad one faults in the program, as with Linux's object.

mod calls;
mod clock;
mod page;
mod probe;

use core::arch::asm;

/// Linux's number of a system call that has two arguments.
#[derive(Clone, Copy)]
enum Call {
    ClockGettime = 113,
    ClockGetres = 114,
    Gettimeofday = 169,
}

/// Asks the kernel.
#[inline(always)]
fn system_call(call: Call, first: usize, second: usize) -> isize {
    let result;
    // SAFETY: what the kernel does with the program's memory is what the program asked for.
    unsafe {
        asm!(
            "ecall",
            inlateout("a0") first => result,
            in("a1") second,
            in("a7") call as usize,
            options(nostack),
        );
    }
    result
}
