//! The Linux ABI of riscv64 as data: C layouts, constants, names. Nothing here does anything.
//!
//! * Names are Linux's own, so that a manual page answers what one means; flag types drop the prefix that their own
//!   name says (`O_CREAT` is [`file::OpenFlags::CREAT`]).
//! * Every structure is plain bytes (`zerocopy`), padding included and named, so that copying one to user space cannot
//!   leak kernel memory; its size and its offsets are asserted at compile time.
//! * Where a riscv64 cross compiler is installed, a unit test has it compare every number with Linux's own headers.
//! * Numbers are those of Linux 6.12. Sockets live with the code that speaks them.

#![no_std]
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "names and fields are Linux's own: its manual pages are their documentation")]

#[cfg(test)]
extern crate std;

mod errno;
mod table;

pub mod auxiliary_vector;
pub mod capability;
pub mod directory;
pub mod file;
pub mod futex;
pub mod inotify;
pub mod io_uring;
pub mod ipc;
pub mod limits;
pub mod memory;
pub mod poll;
pub mod process;
pub mod resource;
pub mod rseq;
pub mod schedule;
pub mod signal;
pub mod signal_frame;
pub mod signal_info;
pub mod stat;
pub mod statfs;
pub mod syscall;
pub mod system;
pub mod terminal;
pub mod time;

pub use errno::Errno;

#[cfg(test)]
mod header_comparison;
