//! What is known about an inode beside its content.

use bitflags::bitflags;
use linux_abi::stat::{DeviceNumber, FileType};
use linux_abi::time::Timespec;

/// Says what time it is, for time stamps. The kernel gives the real-time clock; a test gives its own.
pub type Clock = fn() -> Timespec;

/// What `stat` tells, without the filesystem's own device number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// The inode's number, unique in its filesystem as long as the inode exists.
    pub inode: u64,
    /// What it is.
    pub file_type: FileType,
    /// The permission, set-id and sticky bits.
    pub permissions: u32,
    /// How many names it has; a directory has two and one for each subdirectory.
    pub links: u32,
    /// The owner.
    pub user: u32,
    /// The owner's group.
    pub group: u32,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes that it occupies.
    pub blocks: u64,
    /// The best size for reading and writing.
    pub block_size: u32,
    /// Which device a device node stands for; zero in others.
    pub device: DeviceNumber,
    /// When the content was last read.
    pub accessed: Timespec,
    /// When the content was last changed.
    pub modified: Timespec,
    /// When anything was last changed.
    pub changed: Timespec,
    /// When it came into being.
    pub created: Timespec,
}

/// What decides who may use an inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ownership {
    /// The permission, set-id and sticky bits.
    pub permissions: u32,
    /// The owner.
    pub user: u32,
    /// The owner's group.
    pub group: u32,
}

impl Metadata {
    /// What decides who may use it.
    pub const fn ownership(&self) -> Ownership {
        Ownership { permissions: self.permissions, user: self.user, group: self.group }
    }

    /// The `st_mode` of `stat`.
    pub const fn mode(&self) -> u32 {
        self.file_type.mode_bits() | self.permissions
    }
}

/// A time stamp's new value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeChange {
    /// The present moment.
    Now,
    /// This moment.
    To(Timespec),
}

/// What is to become of an inode's attributes; `None` leaves one as it is. Any change at all also sets the changed
/// time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AttributeChanges {
    /// New permission, set-id and sticky bits.
    pub permissions: Option<u32>,
    /// A new owner.
    pub user: Option<u32>,
    /// A new group.
    pub group: Option<u32>,
    /// A new size, of a regular file: it is cut, or continued with zeros. A size that differs from the old one also
    /// sets the modified time.
    pub size: Option<u64>,
    /// A new accessed time.
    pub accessed: Option<TimeChange>,
    /// A new modified time.
    pub modified: Option<TimeChange>,
}

impl AttributeChanges {
    /// Changes the size and nothing else.
    pub fn size(size: u64) -> Self {
        Self { size: Some(size), ..Self::default() }
    }

    /// Changes the permissions and nothing else.
    pub fn permissions(permissions: u32) -> Self {
        Self { permissions: Some(permissions), ..Self::default() }
    }

    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

bitflags! {
    /// Which time stamps become the present moment.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Touch: u32 {
        /// The content was read.
        const ACCESSED = 1;
        /// The content was changed.
        const MODIFIED = 2;
        /// Anything was changed.
        const CHANGED = 4;
        /// What a write does.
        const WRITTEN = 6;
        /// The content was read, and it is noted only if the file was changed since it was last noted, or if that is a day
        /// ago.
        const ACCESSED_IF_OLD = 8;
    }
}
