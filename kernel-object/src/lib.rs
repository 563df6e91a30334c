//! Memory and its sharing.
//!
//! From the bottom up: [`frame`] hands out physical pages, [`heap`] cuts some of them up for the kernel's own objects,
//! [`page_table`] edits Sv39 tables as plain data, [`paged_object`] is the one kind of shared memory (cached files,
//! tmpfs, memfd, shared anonymous memory), and [`address_space`] is what a process sees: areas, faults,
//! copy-on-write, and user copies that survive faults.
//!
//! Principles:
//! * Memory runs out, and that is a value. Whatever a program can trigger returns [`OutOfMemory`] and leaves things as
//!   they were; the heap has a reserve that programs' pages cannot eat.
//! * Ownership is a handle. A page-table entry, an object's page and a request in flight each own a reference to the
//!   frame, so freeing too early is impossible and freeing twice does not type-check.
//! * Nothing is flushed under a lock if it can be avoided: changes are gathered, the lock is released, the harts are
//!   told, and only then are the frames let go.
//! * `unsafe` is for frames' contents, page-table entries and the heap's free lists; nothing else in this crate.

#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;
#[cfg(target_os = "none")]
extern crate core as std;

pub mod address_space;
mod fallible;
pub mod frame;
pub mod heap;
pub mod page_table;
pub mod paged_object;
// The modules that use it have no unsafe code of their own, and Miri's machine has little memory.
#[cfg(all(test, not(miri)))]
mod test_support;

pub use frame::OutOfMemory;
