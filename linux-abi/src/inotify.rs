//! `inotify`: what happens to files, and how it is told.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::layout;

bitflags! {
    /// What is watched for, how, and what was seen (`IN_`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct WatchMask: u32 {
        /// It was read.
        const ACCESS = 0x1;
        /// It was written or cut.
        const MODIFY = 0x2;
        /// Its attributes changed, or how many names it has.
        const ATTRIB = 0x4;
        /// An opening for writing ended.
        const CLOSE_WRITE = 0x8;
        /// Another opening ended.
        const CLOSE_NOWRITE = 0x10;
        /// It was opened.
        const OPEN = 0x20;
        /// A name was moved out.
        const MOVED_FROM = 0x40;
        /// A name was moved in.
        const MOVED_TO = 0x80;
        /// A name was made.
        const CREATE = 0x100;
        /// A name was taken away.
        const DELETE = 0x200;
        /// It is gone itself.
        const DELETE_SELF = 0x400;
        /// It was moved itself.
        const MOVE_SELF = 0x800;
        /// Told: the file system was unmounted.
        const UNMOUNT = 0x2000;
        /// Told: events were lost.
        const Q_OVERFLOW = 0x4000;
        /// Told: there is no watch any more.
        const IGNORED = 0x8000;
        /// Asked: only a directory.
        const ONLYDIR = 0x100_0000;
        /// Asked: a symbolic link itself.
        const DONT_FOLLOW = 0x200_0000;
        /// Asked: nothing of what has no name any more.
        const EXCL_UNLINK = 0x400_0000;
        /// Asked: only a new watch.
        const MASK_CREATE = 0x1000_0000;
        /// Asked: beside what is watched for already.
        const MASK_ADD = 0x2000_0000;
        /// Told: of a directory.
        const ISDIR = 0x4000_0000;
        /// Asked: one event only.
        const ONESHOT = 0x8000_0000;
    }
}

impl WatchMask {
    /// Everything that can be watched for.
    pub const ALL_EVENTS: Self = Self::from_bits_retain(0xfff);
}

/// `struct inotify_event`; the name follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InotifyEvent {
    pub wd: i32,
    pub mask: u32,
    pub cookie: u32,
    pub len: u32,
}

layout!(INOTIFY_EVENT_LAYOUT = "struct inotify_event": InotifyEvent, 16 { wd: 0, mask: 4, cookie: 8, len: 12 });
