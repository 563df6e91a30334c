//! What Linux operations mean.
//!
//! Whatever a door lets in (a trap, a ring, a queue of messages) ends up here: a synchronous attempt, and a way to wait
//! when it says what stands in its way ([`obstacle`]). Nothing here knows registers, rings or tables of syscalls.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod clock;
pub mod console;
pub mod credentials;
pub mod device_files;
pub mod epoll;
pub mod event_fd;
pub mod file;
pub mod futex;
pub mod hardware;
pub mod inotify;
pub mod ipc;
pub mod kernel_messages;
pub mod load;
pub mod locks;
pub mod machine;
pub mod memory;
pub mod namespace;
pub mod obstacle;
pub mod path_text;
pub mod poll;
pub mod process;
pub mod process_fd;
pub mod procfs;
pub mod program;
pub mod random;
pub mod resource_limits;
pub mod schedule;
pub mod signal;
pub mod signal_fd;
pub mod socket;
pub mod sysfs;
pub mod terminal;
pub mod thread;
pub mod thread_rings;
pub mod timer_fd;
pub mod timers;
pub mod user_buffer;
pub mod version;
