//! The preempt count: while it is above zero, this hart does not switch to another coroutine behind the
//! running code's back.
//!
//! Guards and per-hart borrows raise it. It belongs to the hart, not to a task: it is always zero again when a
//! poll returns.

use crate::backend;

/// Raises this hart's preempt count.
#[inline]
pub fn raise() {
    backend::hart::raise_preempt_count();
}

/// Lowers this hart's preempt count.
#[inline]
pub fn lower() {
    backend::hart::lower_preempt_count();
}

/// This hart's preempt count.
#[inline]
pub fn count() -> u32 {
    backend::hart::preempt_count()
}

/// Saves what this hart holds of the floating-point registers of a program whose thread was interrupted in the kernel: to
/// be called at the end of an interrupt before others run on this hart.
pub fn save_float_registers() {
    backend::context::save_float_of_interrupted();
}
