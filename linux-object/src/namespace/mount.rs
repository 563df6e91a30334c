//! Mounts: which filesystem covers which directory.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use ksync::{Rank, SpinLock};
use linux_abi::stat::DeviceNumber;
use rcore_fs::{FileSystem, FileSystemFlags, INode};

use super::Place;

/// A filesystem in its place.
pub struct Mount {
    id: usize,
    file_system: Arc<dyn FileSystem>,
    root: Arc<dyn INode>,
    attached_at: Option<Arc<Place>>,
    /// What was mounted, in the words of who mounted it.
    source: Box<[u8]>,
    has_volatile_names: bool,
}

static NEXT_ID: AtomicUsize = AtomicUsize::new(1);
static MOUNTS: SpinLock<Vec<Arc<Mount>>> = SpinLock::new(Rank::MOUNT_TABLE, Vec::new());

impl Mount {
    fn new(file_system: Arc<dyn FileSystem>, attached_at: Option<Arc<Place>>, source: &[u8]) -> Arc<Self> {
        let root = file_system.root();
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let has_volatile_names = file_system.flags().contains(FileSystemFlags::VOLATILE_NAMES);
        Arc::new(Self { id, file_system, root, attached_at, source: source.into(), has_volatile_names })
    }

    /// A mount that no path leads to.
    pub(crate) fn detached(file_system: Arc<dyn FileSystem>) -> Arc<Self> {
        Self::new(file_system, None, &[])
    }

    /// A number of its own.
    pub fn id(&self) -> usize {
        self.id
    }

    /// The device number of its files: that of the disk it lies on, or one that stands for the mount.
    pub fn device(&self) -> DeviceNumber {
        self.file_system.device().unwrap_or_else(|| DeviceNumber::new(0, self.id as u32))
    }

    /// What was mounted, in the words of who mounted it.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Whether nothing can be changed in it.
    pub fn is_read_only(&self) -> bool {
        self.file_system.flags().contains(FileSystemFlags::READ_ONLY)
    }

    /// Whether its names come and go by themselves.
    pub(super) fn has_volatile_names(&self) -> bool {
        self.has_volatile_names
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
    let name = file_system.name().as_bytes();
    attach_from(name, file_system, over)
}

/// As [`attach`]; `source` is what was mounted, in the words of who mounts it.
pub fn attach_from(source: &[u8], file_system: Arc<dyn FileSystem>, over: Option<Arc<Place>>) -> Arc<Place> {
    let mount = Mount::new(file_system, over, source);
    MOUNTS.lock().push(mount.clone());
    Place::mount_root(mount)
}

/// The root of a filesystem that is mounted nowhere, for looking into it.
pub fn detached(file_system: Arc<dyn FileSystem>) -> Arc<Place> {
    Place::mount_root(Mount::detached(file_system))
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
