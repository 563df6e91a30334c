//! What the calls on memory mean: mapping, advice, locking, storing, memory files, and what happens when memory runs out.
//!
//! An address space knows areas and pages; this module knows files, users and Linux's rules. Each operation is a function
//! that finishes, fails, or names what it waits for.

pub mod advice;
pub mod lock;
pub mod mapping;
pub mod memory_file;
pub mod populate;
pub mod pressure;
pub mod remote;
pub mod synchronize;

pub use crate::program::map_errno;
