//! `riscv_hwprobe`.

use core::arch::asm;

use super::page::MappedPage;
use crate::probe::{Pair, Question, answer};

const RISCV_HWPROBE: usize = 258;

#[unsafe(no_mangle)]
unsafe extern "C" fn __vdso_riscv_hwprobe(
    pairs: *mut Pair,
    pair_count: usize,
    set_bytes: usize,
    set: *mut u8,
    flags: u32,
) -> isize {
    let question = Question { pairs, pair_count, set, set_bytes, flags };
    // SAFETY: the program's own pointers.
    if unsafe { answer(&MappedPage::here(), question) } {
        return 0;
    }
    let result;
    // SAFETY: what the kernel does with the program's memory is what the program asked for.
    unsafe {
        asm!(
            "ecall",
            inlateout("a0") pairs => result,
            in("a1") pair_count,
            in("a2") set_bytes,
            in("a3") set,
            in("a4") flags,
            in("a7") RISCV_HWPROBE,
            options(nostack),
        );
    }
    result
}
