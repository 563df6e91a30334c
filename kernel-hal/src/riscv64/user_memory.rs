//! User copies: plain loads and stores whose faults land in the exception table.
//!
//! The count of bytes done is exact: a loop of many words that faults goes on word by word, a fault there ends the
//! copy. Memory at different offsets inside a word is put together from aligned words: misaligned accesses may trap to
//! the firmware. `sstatus.SUM` is set only while the routine runs.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{Ordering, fence};

use crate::user_memory::CopyFault;
use crate::{Access, PageFault, VirtAddr};

const USER_MEMORY_ACCESS: usize = 1 << 18;

/// What the assembly reports: bytes not copied, and the address that faulted.
#[repr(C)]
struct Outcome {
    remaining: usize,
    fault_address: usize,
}

impl Outcome {
    #[inline]
    fn into_result(self, len: usize, access: Access) -> Result<(), CopyFault> {
        if self.remaining == 0 {
            return Ok(());
        }
        let address = VirtAddr::new(self.fault_address);
        Err(CopyFault { done: len - self.remaining, fault: PageFault { address, access } })
    }
}

macro_rules! may_fault {
    ($start:literal, $end:literal, $landing:literal) => {
        concat!(
            ".pushsection .exception_table, \"a\"\n",
            ".dword ",
            $start,
            ", ",
            $end,
            ", ",
            $landing,
            "\n",
            ".popsection"
        )
    };
}

/// Copies a2 bytes from a1 to a0.
///
/// A word that faults lies in one page as a whole, so a loop of words that faults has copied exactly what it counts.
/// Loops of more than a word are done again from their last round by words, to find out where the fault is.
#[unsafe(naked)]
unsafe extern "C" fn copy(destination: *mut u8, source: *const u8, len: usize) -> Outcome {
    naked_asm!(
        "li t6, {user_memory_access}",
        "csrs sstatus, t6",
        "li t1, 8",
        "bltu a2, t1, 40f",
        "xor t1, a0, a1",
        "andi t1, t1, 7",
        "bnez t1, 60f",
        // The same offset inside a word: align both.
        "10: andi t1, a0, 7",
        "beqz t1, 20f",
        "11: lbu t2, 0(a1)",
        "sb t2, 0(a0)",
        "12: addi a0, a0, 1",
        "addi a1, a1, 1",
        "addi a2, a2, -1",
        "j 10b",
        "20: li t1, 256",
        "bltu a2, t1, 23f",
        "21: ld t2, 0(a1)",
        "ld t3, 8(a1)",
        "ld t4, 16(a1)",
        "ld t5, 24(a1)",
        "ld a4, 32(a1)",
        "ld a5, 40(a1)",
        "ld a6, 48(a1)",
        "ld a7, 56(a1)",
        "sd t2, 0(a0)",
        "sd t3, 8(a0)",
        "sd t4, 16(a0)",
        "sd t5, 24(a0)",
        "sd a4, 32(a0)",
        "sd a5, 40(a0)",
        "sd a6, 48(a0)",
        "sd a7, 56(a0)",
        "ld t2, 64(a1)",
        "ld t3, 72(a1)",
        "ld t4, 80(a1)",
        "ld t5, 88(a1)",
        "ld a4, 96(a1)",
        "ld a5, 104(a1)",
        "ld a6, 112(a1)",
        "ld a7, 120(a1)",
        "sd t2, 64(a0)",
        "sd t3, 72(a0)",
        "sd t4, 80(a0)",
        "sd t5, 88(a0)",
        "sd a4, 96(a0)",
        "sd a5, 104(a0)",
        "sd a6, 112(a0)",
        "sd a7, 120(a0)",
        "ld t2, 128(a1)",
        "ld t3, 136(a1)",
        "ld t4, 144(a1)",
        "ld t5, 152(a1)",
        "ld a4, 160(a1)",
        "ld a5, 168(a1)",
        "ld a6, 176(a1)",
        "ld a7, 184(a1)",
        "sd t2, 128(a0)",
        "sd t3, 136(a0)",
        "sd t4, 144(a0)",
        "sd t5, 152(a0)",
        "sd a4, 160(a0)",
        "sd a5, 168(a0)",
        "sd a6, 176(a0)",
        "sd a7, 184(a0)",
        "ld t2, 192(a1)",
        "ld t3, 200(a1)",
        "ld t4, 208(a1)",
        "ld t5, 216(a1)",
        "ld a4, 224(a1)",
        "ld a5, 232(a1)",
        "ld a6, 240(a1)",
        "ld a7, 248(a1)",
        "sd t2, 192(a0)",
        "sd t3, 200(a0)",
        "sd t4, 208(a0)",
        "sd t5, 216(a0)",
        "sd a4, 224(a0)",
        "sd a5, 232(a0)",
        "sd a6, 240(a0)",
        "sd a7, 248(a0)",
        "22: addi a0, a0, 256",
        "addi a1, a1, 256",
        "addi a2, a2, -256",
        "bgeu a2, t1, 21b",
        "23: li t1, 32",
        "bltu a2, t1, 30f",
        "24: ld t2, 0(a1)",
        "ld t3, 8(a1)",
        "ld t4, 16(a1)",
        "ld t5, 24(a1)",
        "sd t2, 0(a0)",
        "sd t3, 8(a0)",
        "sd t4, 16(a0)",
        "sd t5, 24(a0)",
        "25: addi a0, a0, 32",
        "addi a1, a1, 32",
        "addi a2, a2, -32",
        "bgeu a2, t1, 24b",
        "30: li t1, 8",
        "bltu a2, t1, 40f",
        "31: ld t2, 0(a1)",
        "sd t2, 0(a0)",
        "32: addi a0, a0, 8",
        "addi a1, a1, 8",
        "addi a2, a2, -8",
        "bgeu a2, t1, 31b",
        "40: beqz a2, 50f",
        "41: lbu t2, 0(a1)",
        "sb t2, 0(a0)",
        "42: addi a0, a0, 1",
        "addi a1, a1, 1",
        "addi a2, a2, -1",
        "bnez a2, 41b",
        "50: csrc sstatus, t6",
        "mv a0, a2",
        "mv a1, t0",
        "ret",
        // Different offsets: align the destination, and put words together from two aligned ones. t3 and t4 are the
        // shifts, t5 is how far the source is ahead of the word it is in.
        "60: li t1, 16",
        "bltu a2, t1, 41b",
        "61: andi t1, a0, 7",
        "beqz t1, 64f",
        "62: lbu t2, 0(a1)",
        "sb t2, 0(a0)",
        "63: addi a0, a0, 1",
        "addi a1, a1, 1",
        "addi a2, a2, -1",
        "j 61b",
        "64: andi t5, a1, 7",
        "slli t3, t5, 3",
        "neg t4, t3",
        "andi a1, a1, -8",
        "li t1, 8",
        "65: ld t2, 0(a1)",
        // The next aligned word holds at least one byte of what is still to be copied.
        "66: ld a4, 8(a1)",
        "srl a5, t2, t3",
        "sll a6, a4, t4",
        "or a5, a5, a6",
        "sd a5, 0(a0)",
        "67: mv t2, a4",
        "addi a1, a1, 8",
        "addi a0, a0, 8",
        "addi a2, a2, -8",
        "bgeu a2, t1, 66b",
        "68: add a1, a1, t5",
        "j 40b",
        may_fault!("11b", "12b", "50b"),
        may_fault!("21b", "22b", "30b"),
        may_fault!("24b", "25b", "30b"),
        may_fault!("31b", "32b", "50b"),
        may_fault!("41b", "42b", "50b"),
        may_fault!("62b", "63b", "50b"),
        // A part of the first of two source words may still be there.
        may_fault!("65b", "67b", "68b"),
        user_memory_access = const USER_MEMORY_ACCESS,
    )
}

/// Fills a1 bytes at a0 with zeros.
#[unsafe(naked)]
unsafe extern "C" fn fill_zero(destination: *mut u8, len: usize) -> Outcome {
    naked_asm!(
        "li t6, {user_memory_access}",
        "csrs sstatus, t6",
        "li t1, 8",
        "bltu a1, t1, 40f",
        "10: andi t1, a0, 7",
        "beqz t1, 20f",
        "11: sb zero, 0(a0)",
        "12: addi a0, a0, 1",
        "addi a1, a1, -1",
        "j 10b",
        "20: li t1, 64",
        "bltu a1, t1, 30f",
        "21: sd zero, 0(a0)",
        "sd zero, 8(a0)",
        "sd zero, 16(a0)",
        "sd zero, 24(a0)",
        "sd zero, 32(a0)",
        "sd zero, 40(a0)",
        "sd zero, 48(a0)",
        "sd zero, 56(a0)",
        "22: addi a0, a0, 64",
        "addi a1, a1, -64",
        "bgeu a1, t1, 21b",
        "30: li t1, 8",
        "bltu a1, t1, 40f",
        "31: sd zero, 0(a0)",
        "32: addi a0, a0, 8",
        "addi a1, a1, -8",
        "bgeu a1, t1, 31b",
        "40: beqz a1, 50f",
        "41: sb zero, 0(a0)",
        "42: addi a0, a0, 1",
        "addi a1, a1, -1",
        "bnez a1, 41b",
        "50: csrc sstatus, t6",
        "mv a0, a1",
        "mv a1, t0",
        "ret",
        may_fault!("11b", "12b", "50b"),
        may_fault!("21b", "22b", "30b"),
        may_fault!("31b", "32b", "50b"),
        may_fault!("41b", "42b", "50b"),
        user_memory_access = const USER_MEMORY_ACCESS,
    )
}

#[inline]
pub(crate) fn copy_in(destination: &mut [u8], source: VirtAddr) -> Result<(), CopyFault> {
    let len = destination.len();
    let source = core::ptr::with_exposed_provenance(source.as_usize());
    // SAFETY: the destination is a kernel slice of `len` bytes, the source lies in user space (checked by the
    // contract's half of this call), where any fault lands in the exception table.
    let outcome = unsafe { copy(destination.as_mut_ptr(), source, len) };
    outcome.into_result(len, Access::Read)
}

#[inline]
pub(crate) fn copy_out(destination: VirtAddr, source: &[u8]) -> Result<(), CopyFault> {
    let destination = core::ptr::with_exposed_provenance_mut(destination.as_usize());
    // SAFETY: as in `copy_in`, with the roles exchanged.
    let outcome = unsafe { copy(destination, source.as_ptr(), source.len()) };
    outcome.into_result(source.len(), Access::Write)
}

#[inline]
pub(crate) fn zero(destination: VirtAddr, len: usize) -> Result<(), CopyFault> {
    let destination = core::ptr::with_exposed_provenance_mut(destination.as_usize());
    // SAFETY: as in `copy_out`.
    let outcome = unsafe { fill_zero(destination, len) };
    outcome.into_result(len, Access::Write)
}

pub(crate) fn load_u32(address: VirtAddr) -> Result<u32, PageFault> {
    let value: u32;
    let faulted: usize;
    // SAFETY: one aligned load from user space; a fault lands at 3 with the address in t0.
    unsafe {
        asm!(
            "csrs sstatus, {access}",
            "li {faulted}, 0",
            "1: lw {value}, 0({address})",
            "2: j 4f",
            "3: li {faulted}, 1",
            "4: csrc sstatus, {access}",
            may_fault!("1b", "2b", "3b"),
            access = in(reg) USER_MEMORY_ACCESS,
            address = in(reg) address.as_usize(),
            value = out(reg) value,
            faulted = out(reg) faulted,
            out("t0") _,
            options(nostack),
        );
    }
    fence(Ordering::Acquire);
    if faulted == 0 { Ok(value) } else { Err(PageFault { address, access: Access::Read }) }
}

pub(crate) fn compare_exchange_u32(address: VirtAddr, expected: u32, new: u32) -> Result<u32, PageFault> {
    let found: i32;
    let faulted: usize;
    // SAFETY: an LR/SC loop on an aligned word of user space; a fault lands at 4 with the address in t0.
    unsafe {
        asm!(
            ".option push",
            ".option arch, +a",
            "csrs sstatus, {access}",
            "li {faulted}, 0",
            "1: lr.w.aqrl {found}, ({address})",
            "bne {found}, {expected}, 3f",
            "sc.w.aqrl {status}, {new}, ({address})",
            "2: bnez {status}, 1b",
            "3: j 5f",
            "4: li {faulted}, 1",
            "5: csrc sstatus, {access}",
            ".option pop",
            may_fault!("1b", "2b", "4b"),
            access = in(reg) USER_MEMORY_ACCESS,
            address = in(reg) address.as_usize(),
            // Sign-extended, as `lr.w` leaves the word it found.
            expected = in(reg) expected as i32 as isize,
            new = in(reg) new,
            found = out(reg) found,
            status = out(reg) _,
            faulted = out(reg) faulted,
            out("t0") _,
            options(nostack),
        );
    }
    if faulted == 0 { Ok(found as u32) } else { Err(PageFault { address, access: Access::Write }) }
}
