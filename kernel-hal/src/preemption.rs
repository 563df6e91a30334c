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
