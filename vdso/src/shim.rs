//! What loom replaces, and the fence that also orders the counter.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, fence};

/// No load or reading of the counter that stands after it happens before one that stands ahead of it.
#[inline(always)]
pub(crate) fn read_fence() {
    // An acquire fence orders loads from memory. Reading the counter is device input to RISC-V's memory model.
    #[cfg(all(vdso_image, target_arch = "riscv64"))]
    // SAFETY: a fence changes nothing.
    unsafe {
        core::arch::asm!("fence ir, ir", options(nostack, preserves_flags));
    }
    #[cfg(not(all(vdso_image, target_arch = "riscv64")))]
    fence(core::sync::atomic::Ordering::Acquire);
}
