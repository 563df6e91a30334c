//! What has no name, as an inode: so that `/proc/PID/fd/N` can lead to a pipe.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use ksync::Once;
use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::stat::{DeviceNumber, FileType};
use rcore_fs::generated::{Attributes, DirectoryNode, GeneratedFileSystem};
use rcore_fs::{Attempt, AttributeChanges, INode, Metadata, Touch};

use super::{File, OpenFile};
use crate::clock;
use crate::namespace::{Mount, Place};

const PERMISSIONS: u32 = 0o600;
const ANONYMOUS_MAGIC: i64 = 0x0904_1934;

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(2);

/// A number for an object without a name, by which `/proc/PID/fd` tells it from others.
pub fn anonymous_number() -> u64 {
    NEXT_NUMBER.fetch_add(1, Ordering::Relaxed)
}

static MOUNT: Once<Arc<Mount>> = Once::new();

/// The inode of an opening that no path led to.
pub struct AnonymousNode {
    opening: Arc<OpenFile>,
}

impl AnonymousNode {
    /// A place for this opening, which no path leads to either.
    pub fn place(opening: Arc<OpenFile>) -> Place {
        let mount = MOUNT.call_once(|| {
            let root = DirectoryNode::new(Attributes::new(1, PERMISSIONS, clock::time_stamp()));
            Mount::detached(GeneratedFileSystem::new("anon_inodefs", ANONYMOUS_MAGIC, root))
        });
        Place::of_inode(mount.clone(), Arc::new(Self { opening }))
    }

    /// What opening it once more opens.
    pub fn reopen(&self, flags: OpenFlags) -> Result<Arc<dyn File>, Errno> {
        self.opening.file().clone().reopen(flags)
    }
}

impl INode for AnonymousNode {
    fn number(&self) -> u64 {
        self.opening.file().number()
    }

    fn file_type(&self) -> FileType {
        self.opening.file().kind()
    }

    fn metadata(&self) -> Attempt<'_, Metadata> {
        let now = clock::time_stamp();
        Attempt::ready(Metadata {
            inode: self.number(),
            file_type: self.file_type(),
            permissions: PERMISSIONS,
            links: 1,
            user: 0,
            group: 0,
            size: 0,
            blocks: 0,
            block_size: 4096,
            device: DeviceNumber::default(),
            accessed: now,
            modified: now,
            changed: now,
            created: now,
        })
    }

    fn set_attributes<'a>(&'a self, _changes: &'a AttributeChanges) -> Attempt<'a, ()> {
        Attempt::failed(Errno::EPERM)
    }

    fn touch(&self, _which: Touch) {}
}
