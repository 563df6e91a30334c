//! `memcpy` and `memset`: the compiler calls them for every value that is moved and does not fit registers, and its own are
//! loops of one word a round.
//!
//! Blocks of eight words, then words, then bytes. Pieces that lie differently inside a word are copied byte by byte.

use core::arch::naked_asm;

/// Copies `len` bytes between places that do not overlap; returns the destination.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memcpy(destination: *mut u8, source: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "mv a3, a0",
        "xor t0, a0, a1",
        "andi t0, t0, 7",
        "bnez t0, 60f",
        // Up to a whole word of both.
        "10: andi t0, a3, 7",
        "beqz t0, 20f",
        "beqz a2, 90f",
        "lb t1, 0(a1)",
        "sb t1, 0(a3)",
        "addi a1, a1, 1",
        "addi a3, a3, 1",
        "addi a2, a2, -1",
        "j 10b",
        "20: andi a4, a2, -64",
        "beqz a4, 40f",
        "add a4, a4, a1",
        "andi a2, a2, 63",
        "30: ld t0, 0(a1)",
        "ld t1, 8(a1)",
        "ld t2, 16(a1)",
        "ld t3, 24(a1)",
        "ld t4, 32(a1)",
        "ld t5, 40(a1)",
        "ld t6, 48(a1)",
        "ld a5, 56(a1)",
        "sd t0, 0(a3)",
        "sd t1, 8(a3)",
        "sd t2, 16(a3)",
        "sd t3, 24(a3)",
        "sd t4, 32(a3)",
        "sd t5, 40(a3)",
        "sd t6, 48(a3)",
        "sd a5, 56(a3)",
        "addi a1, a1, 64",
        "addi a3, a3, 64",
        "bne a1, a4, 30b",
        "40: andi a4, a2, -8",
        "beqz a4, 60f",
        "add a4, a4, a1",
        "andi a2, a2, 7",
        "50: ld t0, 0(a1)",
        "addi a1, a1, 8",
        "sd t0, 0(a3)",
        "addi a3, a3, 8",
        "bne a1, a4, 50b",
        "60: beqz a2, 90f",
        "add a4, a1, a2",
        "70: lb t0, 0(a1)",
        "addi a1, a1, 1",
        "sb t0, 0(a3)",
        "addi a3, a3, 1",
        "bne a1, a4, 70b",
        "90: ret",
    )
}

/// Fills `len` bytes; returns the destination.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memset(destination: *mut u8, value: i32, len: usize) -> *mut u8 {
    naked_asm!(
        "mv a3, a0",
        "andi a1, a1, 255",
        "li t0, 16",
        "bltu a2, t0, 60f",
        // The byte in all places of a word.
        "slli t0, a1, 8",
        "or a1, a1, t0",
        "slli t0, a1, 16",
        "or a1, a1, t0",
        "slli t0, a1, 32",
        "or a1, a1, t0",
        "10: andi t0, a3, 7",
        "beqz t0, 20f",
        "sb a1, 0(a3)",
        "addi a3, a3, 1",
        "addi a2, a2, -1",
        "j 10b",
        "20: andi a4, a2, -64",
        "beqz a4, 40f",
        "add a4, a4, a3",
        "andi a2, a2, 63",
        "30: sd a1, 0(a3)",
        "sd a1, 8(a3)",
        "sd a1, 16(a3)",
        "sd a1, 24(a3)",
        "sd a1, 32(a3)",
        "sd a1, 40(a3)",
        "sd a1, 48(a3)",
        "sd a1, 56(a3)",
        "addi a3, a3, 64",
        "bne a3, a4, 30b",
        "40: andi a4, a2, -8",
        "beqz a4, 60f",
        "add a4, a4, a3",
        "andi a2, a2, 7",
        "50: sd a1, 0(a3)",
        "addi a3, a3, 8",
        "bne a3, a4, 50b",
        "60: beqz a2, 90f",
        "add a4, a3, a2",
        "70: sb a1, 0(a3)",
        "addi a3, a3, 1",
        "bne a3, a4, 70b",
        "90: ret",
    )
}
