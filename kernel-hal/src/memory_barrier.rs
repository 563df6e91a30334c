//! Orderings that the language's atomics do not express.

/// Makes instructions that were stored as data visible to this hart's instruction fetches.
#[inline]
pub fn synchronize_instruction_fetch() {
    crate::backend::hart::synchronize_instruction_fetch();
}
