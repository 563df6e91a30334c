//! Filesystems: what a directory and a file are, and the filesystems there are.
//!
//! Principles:
//! * Two traits, [`FileSystem`] and [`INode`], in the spirit of the original rcore-fs. Each operation that may have to
//!   wait returns an [`Attempt`]: done, or a future that finishes it. What can be answered from memory is answered
//!   without allocating a future.
//! * The data of a regular file is a [`PagedObject`](kernel_object::paged_object::PagedObject): reading, writing and
//!   mapping go through the same pages, so they agree by construction. An inode never copies file data itself.
//! * Mechanism only. Paths, mounts, permissions, sticky and set-id rules, open files and their positions belong to the
//!   layer above; a name given to a directory is one component, already checked for access.
//! * A name is bytes: not empty, no `/`, no NUL, at most 255; `.` and `..` are the caller's.
//! * What a program can use up (memory, inodes, space) runs out as an error, and leaves everything as it was.
//!
//! * [`ext4`]: files on a disk, read-only; [`disk`] is what it sees of the disk.
//! * [`tmpfs`]: files that live in memory.
//! * [`generated`]: files, directories and links whose content a callback makes; the mechanism behind /proc and /sys.
//! * [`initramfs`]: unpacks cpio archives into any filesystem.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(not(test))]
extern crate core as std;

mod attempt;
mod directory_table;
mod file_system;
mod inode;
mod metadata;
mod names;

pub mod disk;
pub mod ext4;
pub mod file_data;
pub mod generated;
pub mod initramfs;
pub mod tmpfs;

#[cfg(test)]
mod test_disk;
#[cfg(test)]
mod test_support;

pub use attempt::{Attempt, Finish, SlowPath};
pub use file_system::{FileSystem, FileSystemFlags};
pub use inode::{
    Contents, Creation, DirectoryEntry, DirectorySink, FIRST_ENTRY, INode, NewNode, RenameFlags,
};
pub use metadata::{AttributeChanges, Clock, Metadata, Ownership, TimeChange, Touch};
pub use names::{check_new_name, check_old_name};
