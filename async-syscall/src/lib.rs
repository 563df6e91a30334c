//! Asynchronous system calls: `io_uring`, a second way to call what `linux-object` means.
//!
//! A request is attempted when it is submitted, exactly as a system call would be; what can be done at once is done, and
//! nothing is allocated for it. If something stands in its way it becomes a future that waits for that and attempts
//! again. Nobody works for it meanwhile: there are no worker threads, and no operation occupies a thread.
//!
//! Principles:
//! * Nothing is implemented twice. An operation's meaning is in `linux-object`; here are its fields, and its completion.
//! * Ring memory is hostile ([`ring`]): each request is copied once, each index is masked.
//! * A completion that was promised is posted, or kept until there is room.
//! * What is not supported is refused, and `IORING_REGISTER_PROBE` tells the truth about it.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod buffers;
pub mod documentation;
mod operation;
mod register;
mod request;
pub mod ring;
mod setup;

pub use operation::{ROWS, Row, Support};
pub use register::Registration;
pub use setup::{Made, set_up};
