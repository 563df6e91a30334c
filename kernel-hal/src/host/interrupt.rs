//! Interrupts as a flag per thread: nothing arrives by itself, the test delivers.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::interrupt::SavedState;
use crate::{HartId, HartMask};

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(false) };
}

static PENDING: AtomicU32 = AtomicU32::new(0);

pub(crate) fn disable_and_save() -> SavedState {
    SavedState(ENABLED.replace(false))
}

pub(crate) fn enable() {
    ENABLED.set(true);
}

pub(crate) fn are_enabled() -> bool {
    ENABLED.get()
}

/// A virtual hart cannot sleep: whoever drives it looks for work elsewhere.
pub(crate) fn wait() {
    std::thread::yield_now();
}

pub(crate) fn handle_pending() {}

pub(crate) fn raise_software_interrupt(targets: HartMask) {
    PENDING.fetch_or(targets.bits(), Ordering::AcqRel);
}

/// Whether a software interrupt is pending for `hart`; asking clears it.
pub fn software_interrupt_pending(hart: HartId) -> bool {
    let bit = HartMask::only(hart).bits();
    PENDING.fetch_and(!bit, Ordering::AcqRel) & bit != 0
}
