//! The linear map: every physical address, at a fixed distance.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::{LINEAR_MAP, PAGE_SIZE, PhysAddr};

/// The size of the blocks that Zicboz clears, on the machines on which it is used.
pub(super) const ZERO_BLOCK_BYTES: usize = 64;
const BLOCKS_AT_A_TIME: usize = 8;

static HAS_ZERO_BLOCKS: AtomicBool = AtomicBool::new(false);

/// Says that every hart clears blocks of [`ZERO_BLOCK_BYTES`] with one instruction, as the firmware has allowed.
pub(super) fn use_zero_blocks() {
    HAS_ZERO_BLOCKS.store(true, Ordering::Relaxed);
}

/// Fills a frame with zeros if the machine has a fast way to do so; returns whether it has.
///
/// # Safety
/// `frame` must be the page-aligned address of a frame of the machine's memory whose content the caller may change.
#[inline]
pub unsafe fn zero_frame(frame: PhysAddr) -> bool {
    if !HAS_ZERO_BLOCKS.load(Ordering::Relaxed) {
        return false;
    }
    let start = frame.as_usize() + LINEAR_MAP;
    let mut at = start;
    while at < start + PAGE_SIZE {
        // SAFETY: the blocks lie in the frame, which the linear map covers; `cbo.zero` stores zeros to them.
        unsafe {
            asm!(
                ".insn i 0x0f, 2, x0, {0}, 4",
                ".insn i 0x0f, 2, x0, {1}, 4",
                ".insn i 0x0f, 2, x0, {2}, 4",
                ".insn i 0x0f, 2, x0, {3}, 4",
                ".insn i 0x0f, 2, x0, {4}, 4",
                ".insn i 0x0f, 2, x0, {5}, 4",
                ".insn i 0x0f, 2, x0, {6}, 4",
                ".insn i 0x0f, 2, x0, {7}, 4",
                in(reg) at,
                in(reg) at + ZERO_BLOCK_BYTES,
                in(reg) at + 2 * ZERO_BLOCK_BYTES,
                in(reg) at + 3 * ZERO_BLOCK_BYTES,
                in(reg) at + 4 * ZERO_BLOCK_BYTES,
                in(reg) at + 5 * ZERO_BLOCK_BYTES,
                in(reg) at + 6 * ZERO_BLOCK_BYTES,
                in(reg) at + 7 * ZERO_BLOCK_BYTES,
                options(nostack, preserves_flags),
            );
        }
        at += BLOCKS_AT_A_TIME * ZERO_BLOCK_BYTES;
    }
    true
}

/// Where the kernel sees this physical address.
#[inline]
pub fn phys_to_virt(address: PhysAddr) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(address.as_usize() + LINEAR_MAP)
}

/// The physical address of a kernel pointer into the linear map.
#[inline]
pub fn virt_to_phys(pointer: *const u8) -> PhysAddr {
    PhysAddr::new(pointer.addr() - LINEAR_MAP)
}
