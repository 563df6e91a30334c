//! System V's way to share between processes: objects that are found by a key and live until they are removed.

mod access;
pub mod shared_memory;
