//! An inode of tmpfs, and what it does alone.

use alloc::sync::{Arc, Weak};

use kernel_object::frame;
use kernel_object::paged_object::PagedObject;
use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::stat::{DeviceNumber, FileType, PERMISSION_BITS};
use linux_abi::time::Timespec;

use crate::directory_table::DirectoryTable;
use crate::inode::{Creation, NewNode};
use crate::metadata::{AttributeChanges, Metadata, TimeChange, Touch};

use super::data;
use super::volume::Volume;

/// What Linux's tmpfs says an entry adds to a directory's size.
const BYTES_PER_ENTRY: u64 = 20;
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// An inode.
pub(super) struct Node {
    pub number: u64,
    /// This very inode, to be handed on.
    pub this: Weak<Node>,
    pub volume: Arc<Volume>,
    pub body: Body,
    pub state: SpinLock<State>,
}

/// What makes one kind of inode different from another, and never changes.
pub(super) enum Body {
    Regular(Arc<PagedObject>),
    /// Its entries are in the state.
    Directory,
    SymbolicLink(Arc<[u8]>),
    CharacterDevice(DeviceNumber),
    BlockDevice(DeviceNumber),
    Fifo,
    Socket,
}

/// What changes. `links`, `parent`, `removed` and `entries` change only while the volume's tree is locked too.
pub(super) struct State {
    pub permissions: u32,
    pub user: u32,
    pub group: u32,
    pub links: u32,
    pub accessed: Timespec,
    pub modified: Timespec,
    pub changed: Timespec,
    pub created: Timespec,
    /// Whether it may get a name although it has none: it was created without.
    pub nameable: bool,
    /// Of a directory: it was removed, so nothing may be created in it.
    pub removed: bool,
    /// Of a directory: the one it is in; of the root, nothing.
    pub parent: Weak<Node>,
    /// Of a directory.
    pub entries: DirectoryTable<Arc<Node>>,
}

impl Node {
    /// Makes an inode that has no name yet, and as many links as `links` says.
    pub fn new(volume: &Arc<Volume>, creation: &Creation<'_>, links: u32) -> Result<Arc<Self>, Errno> {
        frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        volume.inodes.take(1)?;
        let body = match creation.node {
            NewNode::Regular => Body::Regular(data::new_object(volume)),
            NewNode::Directory => Body::Directory,
            NewNode::SymbolicLink(target) => Body::SymbolicLink(target.into()),
            NewNode::CharacterDevice(device) => Body::CharacterDevice(device),
            NewNode::BlockDevice(device) => Body::BlockDevice(device),
            NewNode::Fifo => Body::Fifo,
            NewNode::Socket => Body::Socket,
        };
        let now = (volume.clock)();
        let state = State {
            permissions: creation.permissions & PERMISSION_BITS,
            user: creation.user,
            group: creation.group,
            links,
            accessed: now,
            modified: now,
            changed: now,
            created: now,
            nameable: false,
            removed: false,
            parent: Weak::new(),
            entries: DirectoryTable::new(),
        };
        Ok(Arc::new_cyclic(|this| Self {
            number: volume.next_inode_number(),
            this: Weak::clone(this),
            volume: Arc::clone(volume),
            body,
            state: SpinLock::new(Rank::INODE, state),
        }))
    }

    pub fn kind(&self) -> FileType {
        match self.body {
            Body::Regular(_) => FileType::Regular,
            Body::Directory => FileType::Directory,
            Body::SymbolicLink(_) => FileType::SymbolicLink,
            Body::CharacterDevice(_) => FileType::CharacterDevice,
            Body::BlockDevice(_) => FileType::BlockDevice,
            Body::Fifo => FileType::Fifo,
            Body::Socket => FileType::Socket,
        }
    }

    pub fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory)
    }

    #[inline(always)]
    pub fn describe(&self) -> Metadata {
        let (pages, device, own_size) = match &self.body {
            Body::Regular(object) => {
                (data::resident_pages(object), DeviceNumber::default(), data::size(object))
            }
            Body::SymbolicLink(target) => (0, DeviceNumber::default(), target.len() as u64),
            Body::CharacterDevice(device) | Body::BlockDevice(device) => (0, *device, 0),
            Body::Directory | Body::Fifo | Body::Socket => (0, DeviceNumber::default(), 0),
        };
        let state = self.state.lock();
        let size = match self.body {
            Body::Directory => (state.entries.len() as u64 + 2) * BYTES_PER_ENTRY,
            _ => own_size,
        };
        Metadata {
            inode: self.number,
            file_type: self.kind(),
            permissions: state.permissions,
            links: state.links,
            user: state.user,
            group: state.group,
            size,
            blocks: pages * data::BLOCKS_PER_PAGE,
            block_size: data::PAGE_BYTES as u32,
            device,
            accessed: state.accessed,
            modified: state.modified,
            changed: state.changed,
            created: state.created,
        }
    }

    pub fn change(&self, changes: &AttributeChanges) -> Result<(), Errno> {
        let mut resized = false;
        if let Some(size) = changes.size {
            match &self.body {
                Body::Regular(object) => resized = data::resize(object, size)?,
                Body::Directory => return Err(Errno::EISDIR),
                _ => return Err(Errno::EINVAL),
            }
        }
        let now = (self.volume.clock)();
        let moment = |change| match change {
            TimeChange::Now => now,
            TimeChange::To(time) => time,
        };
        let mut state = self.state.lock();
        if let Some(permissions) = changes.permissions {
            state.permissions = permissions & PERMISSION_BITS;
        }
        if let Some(user) = changes.user {
            state.user = user;
        }
        if let Some(group) = changes.group {
            state.group = group;
        }
        if let Some(accessed) = changes.accessed {
            state.accessed = moment(accessed);
        }
        if let Some(modified) = changes.modified.or(resized.then_some(TimeChange::Now)) {
            state.modified = moment(modified);
        }
        // A new size that is the old one changes nothing.
        let beside_size = AttributeChanges { size: None, ..*changes };
        if resized || !beside_size.is_empty() {
            state.changed = now;
        }
        Ok(())
    }

    pub fn stamp(&self, which: Touch) {
        let now = (self.volume.clock)();
        self.state.lock().stamp(which, now);
    }
}

impl State {
    pub fn stamp(&mut self, which: Touch, now: Timespec) {
        let is_old = || {
            self.accessed <= self.modified
                || self.accessed <= self.changed
                || now.tv_sec - self.accessed.tv_sec >= SECONDS_PER_DAY
        };
        if which.contains(Touch::ACCESSED) || which.contains(Touch::ACCESSED_IF_OLD) && is_old() {
            self.accessed = now;
        }
        if which.contains(Touch::MODIFIED) {
            self.modified = now;
        }
        if which.contains(Touch::CHANGED) {
            self.changed = now;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.volume.inodes.give_back(1);
    }
}
