//! `memcpy`, `memmove` and `memset`: what the compiler calls to move and fill memory.
//!
//! They replace the ones of compiler-builtins, which move a word at a time: structures that a program or a disk sees
//! (signal frames, `statx` buffers, pages) are what the kernel copies most, and 64 bytes a round take a third of the
//! instructions. Memory at different offsets inside a word is moved byte by byte up to a short length, and beyond it
//! by words that are put together from two aligned ones: misaligned accesses may trap to the firmware.

use core::arch::naked_asm;

/// Copies a2 bytes from a1 to a0, which do not overlap, and returns a0.
///
/// # Safety
/// Both ranges must be valid, and must not overlap.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(destination: *mut u8, source: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "mv t0, a0",
        "xor t1, a0, a1",
        "andi t1, t1, 7",
        "li t2, 16",
        "bltu a2, t2, 40f",
        "bnez t1, 60f",
        // The same offset inside a word: align both.
        "10: andi t1, t0, 7",
        "beqz t1, 20f",
        "lbu t2, 0(a1)",
        "sb t2, 0(t0)",
        "addi t0, t0, 1",
        "addi a1, a1, 1",
        "addi a2, a2, -1",
        "j 10b",
        "20: li t1, 64",
        "bltu a2, t1, 30f",
        "21: ld t2, 0(a1)",
        "ld t3, 8(a1)",
        "ld t4, 16(a1)",
        "ld t5, 24(a1)",
        "ld a4, 32(a1)",
        "ld a5, 40(a1)",
        "ld a6, 48(a1)",
        "ld a7, 56(a1)",
        "addi a2, a2, -64",
        "addi a1, a1, 64",
        "sd t2, 0(t0)",
        "sd t3, 8(t0)",
        "sd t4, 16(t0)",
        "sd t5, 24(t0)",
        "sd a4, 32(t0)",
        "sd a5, 40(t0)",
        "sd a6, 48(t0)",
        "sd a7, 56(t0)",
        "addi t0, t0, 64",
        "bgeu a2, t1, 21b",
        "30: li t1, 8",
        "bltu a2, t1, 40f",
        "31: ld t2, 0(a1)",
        "addi a1, a1, 8",
        "addi a2, a2, -8",
        "sd t2, 0(t0)",
        "addi t0, t0, 8",
        "bgeu a2, t1, 31b",
        "40: beqz a2, 50f",
        "41: lbu t2, 0(a1)",
        "addi a1, a1, 1",
        "addi a2, a2, -1",
        "sb t2, 0(t0)",
        "addi t0, t0, 1",
        "bnez a2, 41b",
        "50: ret",
        // Different offsets: align the destination, and shift words together. t3 and t4 are the shifts.
        "60: andi t1, t0, 7",
        "beqz t1, 61f",
        "lbu t2, 0(a1)",
        "sb t2, 0(t0)",
        "addi t0, t0, 1",
        "addi a1, a1, 1",
        "addi a2, a2, -1",
        "j 60b",
        "61: li t1, 8",
        "bltu a2, t1, 40b",
        "andi t5, a1, 7",
        "slli t3, t5, 3",
        "neg t4, t3",
        "andi a1, a1, -8",
        "ld t2, 0(a1)",
        // The last aligned word that is loaded holds at least one byte of the source, so it may be loaded.
        "62: ld a4, 8(a1)",
        "srl a5, t2, t3",
        "sll a6, a4, t4",
        "or a5, a5, a6",
        "sd a5, 0(t0)",
        "mv t2, a4",
        "addi a1, a1, 8",
        "addi t0, t0, 8",
        "addi a2, a2, -8",
        "bgeu a2, t1, 62b",
        "add a1, a1, t5",
        "j 40b",
    )
}

/// Copies a2 bytes from a1 to a0, which may overlap, and returns a0.
///
/// # Safety
/// Both ranges must be valid.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(destination: *mut u8, source: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        // Forwards is right unless the destination begins inside the source.
        "sub t1, a0, a1",
        "bltu t1, a2, 5f",
        "tail {memcpy}",
        "5:",
        "add t0, a0, a2",
        "add a1, a1, a2",
        "xor t1, t0, a1",
        "andi t1, t1, 7",
        "bnez t1, 40f",
        "10: andi t1, t0, 7",
        "beqz t1, 20f",
        "beqz a2, 50f",
        "addi a1, a1, -1",
        "addi t0, t0, -1",
        "lbu t2, 0(a1)",
        "sb t2, 0(t0)",
        "addi a2, a2, -1",
        "j 10b",
        "20: li t1, 32",
        "bltu a2, t1, 30f",
        "21: ld t2, -8(a1)",
        "ld t3, -16(a1)",
        "ld t4, -24(a1)",
        "ld t5, -32(a1)",
        "addi a1, a1, -32",
        "addi a2, a2, -32",
        "sd t2, -8(t0)",
        "sd t3, -16(t0)",
        "sd t4, -24(t0)",
        "sd t5, -32(t0)",
        "addi t0, t0, -32",
        "bgeu a2, t1, 21b",
        "30: li t1, 8",
        "bltu a2, t1, 40f",
        "31: ld t2, -8(a1)",
        "addi a1, a1, -8",
        "addi a2, a2, -8",
        "sd t2, -8(t0)",
        "addi t0, t0, -8",
        "bgeu a2, t1, 31b",
        "40: beqz a2, 50f",
        "41: lbu t2, -1(a1)",
        "addi a1, a1, -1",
        "addi a2, a2, -1",
        "sb t2, -1(t0)",
        "addi t0, t0, -1",
        "bnez a2, 41b",
        "50: ret",
        memcpy = sym memcpy,
    )
}

/// Fills a2 bytes at a0 with the byte a1, and returns a0.
///
/// # Safety
/// The range must be valid.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(destination: *mut u8, byte: i32, len: usize) -> *mut u8 {
    naked_asm!(
        "mv t0, a0",
        "li t2, 16",
        "bltu a2, t2, 40f",
        "andi a1, a1, 0xff",
        "slli t1, a1, 8",
        "or a1, a1, t1",
        "slli t1, a1, 16",
        "or a1, a1, t1",
        "slli t1, a1, 32",
        "or a1, a1, t1",
        "10: andi t1, t0, 7",
        "beqz t1, 20f",
        "sb a1, 0(t0)",
        "addi t0, t0, 1",
        "addi a2, a2, -1",
        "j 10b",
        "20: li t1, 64",
        "bltu a2, t1, 30f",
        "21: sd a1, 0(t0)",
        "sd a1, 8(t0)",
        "sd a1, 16(t0)",
        "sd a1, 24(t0)",
        "sd a1, 32(t0)",
        "sd a1, 40(t0)",
        "sd a1, 48(t0)",
        "sd a1, 56(t0)",
        "addi a2, a2, -64",
        "addi t0, t0, 64",
        "bgeu a2, t1, 21b",
        "30: li t1, 8",
        "bltu a2, t1, 40f",
        "31: sd a1, 0(t0)",
        "addi a2, a2, -8",
        "addi t0, t0, 8",
        "bgeu a2, t1, 31b",
        "40: beqz a2, 50f",
        "41: sb a1, 0(t0)",
        "addi a2, a2, -1",
        "addi t0, t0, 1",
        "bnez a2, 41b",
        "50: ret",
    )
}
