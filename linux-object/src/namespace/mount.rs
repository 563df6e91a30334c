//! Mounts: which filesystem covers which directory.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use ksync::{Rank, SpinLock};
use rcore_fs::{FileSystem, FileSystemFlags, INode};

use super::Place;

/// A filesystem in its place.
pub struct Mount {
    id: usize,
    file_system: Arc<dyn FileSystem>,
    root: Arc<dyn INode>,
    attached_at: Option<Arc<Place>>,
}

static NEXT_ID: AtomicUsize = AtomicUsize::new(1);
static MOUNTS: SpinLock<Vec<Arc<Mount>>> = SpinLock::new(Rank::MOUNT_TABLE, Vec::new());

impl Mount {
    fn new(file_system: Arc<dyn FileSystem>, attached_at: Option<Arc<Place>>) -> Arc<Self> {
        let root = file_system.root();
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { id, file_system, root, attached_at })
    }

    /// A mount that no path leads to.
    pub(crate) fn detached(file_system: Arc<dyn FileSystem>) -> Arc<Self> {
        Self::new(file_system, None)
    }

    /// A number of its own, also the device number of its filesystem.
    pub fn id(&self) -> usize {
        self.id
    }

    /// Whether nothing can be changed in it.
    pub fn is_read_only(&self) -> bool {
        self.file_system.flags().contains(FileSystemFlags::READ_ONLY)
    }

    /// The filesystem.
    pub fn file_system(&self) -> &Arc<dyn FileSystem> {
        &self.file_system
    }

    /// The inode at its top.
    pub fn root(&self) -> Arc<dyn INode> {
        self.root.clone()
    }

    /// The directory that it covers; `None` for the top of everything.
    pub fn attached_at(&self) -> Option<Arc<Place>> {
        self.attached_at.clone()
    }
}

/// Mounts a filesystem over a directory, or as the top of everything. Returns its root.
pub fn attach(file_system: Arc<dyn FileSystem>, over: Option<Arc<Place>>) -> Arc<Place> {
    let mount = Mount::new(file_system, over);
    MOUNTS.lock().push(mount.clone());
    Place::mount_root(mount)
}

/// All mounts, in the order in which they were made.
pub fn mounts() -> Vec<Arc<Mount>> {
    MOUNTS.lock().clone()
}

/// What is mounted over `place`: the latest wins.
pub(super) fn covering(place: &Place) -> Option<Arc<Mount>> {
    let mounts = MOUNTS.lock();
    let covers = |mount: &&Arc<Mount>| mount.attached_at.as_ref().is_some_and(|at| at.is_same(place));
    mounts.iter().rev().find(covers).cloned()
}
