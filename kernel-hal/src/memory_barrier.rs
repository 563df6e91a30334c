//! Orderings that the language's atomics do not express.

/// Makes instructions that were stored as data visible to this hart's instruction fetches.
#[inline]
pub fn synchronize_instruction_fetch() {
    crate::backend::hart::synchronize_instruction_fetch();
}

/// Orders everything this hart did to memory before what it does to a device's registers afterwards.
#[inline]
pub fn before_device_access() {
    #[cfg(target_arch = "riscv64")]
    // SAFETY: a fence has no effect but order.
    unsafe {
        std::arch::asm!("fence iorw, iorw", options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "riscv64"))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

/// Makes each of the harts order everything that it did before with what it does afterwards, and see instructions that were
/// stored as data; returns when all have. This hart does so, too.
pub fn synchronize_harts(harts: crate::HartMask) {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    crate::tlb::flush(harts.with(crate::HartId::current()), crate::tlb::FlushRequest::BARRIER);
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}
