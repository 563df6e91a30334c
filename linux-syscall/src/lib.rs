//! The trap door: how a program's `ecall` becomes a call of what `linux-object` means.
//!
//! * [`table`] is the one table of syscalls: a row says number, name, typed arguments, handler and how much is supported.
//! * A handler decodes, copies arguments in once, makes one call into `linux-object`, and copies results out. It is a plain
//!   function; what it returns is done, or a future without borrows that the thread awaits ([`call::Outcome`]).
//! * [`user_loop`] is a user thread: one future, whose loop fits on a page.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod argument;
mod attributes;
mod clone;
mod control;
mod epoll;
mod event;
mod execute;
mod extended_attributes;
mod file;
mod futex;
mod hardware;
mod identity;
mod inotify;
mod limits;
mod memory;
mod mount;
mod names;
mod poll;
mod process;
mod process_fd;
mod ring;
mod roots;
mod rseq;
mod schedule;
mod shared_memory;
mod signal;
mod signal_frame;
mod socket;
mod system;
mod time;
mod timers;
mod usage;
mod wait;
mod wait_mask;

pub mod call;
pub mod counters;
pub mod documentation;
pub mod strace;
pub mod table;
pub mod user_loop;
