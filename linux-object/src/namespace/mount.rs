//! Mounts: which filesystem covers which directory.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use ksync::{Rank, SpinLock};
use linux_abi::stat::DeviceNumber;
use rcore_fs::{FileSystem, FileSystemFlags};

use super::{Entry, Place};

/// A filesystem in use: what all its mounts share.
struct Instance {
    file_system: Arc<dyn FileSystem>,
    /// The entry at its top.
    top: Arc<Entry>,
    device: DeviceNumber,
}

static INSTANCES: SpinLock<Vec<Weak<Instance>>> = SpinLock::new(Rank::MOUNT_TABLE, Vec::new());
/// For filesystems that lie on no device.
static NEXT_DEVICE: AtomicUsize = AtomicUsize::new(1);

impl Instance {
    /// The one instance of a filesystem.
    fn of(file_system: Arc<dyn FileSystem>) -> Arc<Self> {
        let top = Entry::without_name(file_system.root());
        let mut instances = INSTANCES.lock();
        instances.retain(|instance| instance.strong_count() > 0);
        let known = instances.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.into_iter().find(|known| Arc::ptr_eq(&known.file_system, &file_system)) {
            return known;
        }
        let device = file_system
            .device()
            .unwrap_or_else(|| DeviceNumber::new(0, NEXT_DEVICE.fetch_add(1, Ordering::Relaxed) as u32));
        let instance = Arc::new(Self { file_system, top, device });
        instances.push(Arc::downgrade(&instance));
        instance
    }
}

/// A filesystem, or a part of one, in its place.
pub struct Mount {
    id: usize,
    instance: Arc<Instance>,
    root: Arc<Entry>,
    /// What was mounted, in the words of who mounted it.
    source: Box<[u8]>,
    has_volatile_names: bool,
    /// How many mounts lie on it, if its names come and go by themselves: then entries do not tell.
    mounts_on_it: AtomicUsize,
    attached_at: SpinLock<Option<Place>>,
}

struct Attachment {
    mount: Arc<Mount>,
    at: Option<Place>,
}

static NEXT_ID: AtomicUsize = AtomicUsize::new(1);
/// All mounts that are somewhere, in the order in which they came there.
static ATTACHED: SpinLock<Vec<Attachment>> = SpinLock::new(Rank::MOUNT_TABLE, Vec::new());

impl Mount {
    fn new(file_system: Arc<dyn FileSystem>, source: &[u8]) -> Arc<Self> {
        let has_volatile_names = file_system.flags().contains(FileSystemFlags::VOLATILE_NAMES);
        let instance = Instance::of(file_system);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            root: instance.top.clone(),
            instance,
            source: source.into(),
            has_volatile_names,
            mounts_on_it: AtomicUsize::new(0),
            attached_at: SpinLock::new(Rank::INODE, None),
        })
    }

    /// A mount that no path leads to.
    pub(crate) fn detached(file_system: Arc<dyn FileSystem>) -> Arc<Self> {
        Self::new(file_system, &[])
    }

    /// A number of its own.
    pub fn id(&self) -> usize {
        self.id
    }

    /// The device number of its files: that of the disk it lies on, or one that stands for the filesystem.
    pub fn device(&self) -> DeviceNumber {
        self.instance.device
    }

    /// What was mounted, in the words of who mounted it.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Whether nothing can be changed in it.
    pub fn is_read_only(&self) -> bool {
        self.file_system().flags().contains(FileSystemFlags::READ_ONLY)
    }

    /// Whether its names come and go by themselves.
    #[inline]
    pub(super) fn has_volatile_names(&self) -> bool {
        self.has_volatile_names
    }

    /// The filesystem.
    pub fn file_system(&self) -> &Arc<dyn FileSystem> {
        &self.instance.file_system
    }

    /// The entry at its top.
    #[inline]
    pub(super) fn root(&self) -> &Arc<Entry> {
        &self.root
    }

    /// The directory that it covers; `None` for the top of everything, and for what is not mounted.
    pub fn attached_at(&self) -> Option<Place> {
        self.attached_at.lock().clone()
    }
}

/// Mounts a filesystem over a directory, or as the top of everything. Returns its root.
pub fn attach(file_system: Arc<dyn FileSystem>, over: Option<Place>) -> Place {
    let name = file_system.name().as_bytes();
    attach_from(name, file_system, over)
}

/// As [`attach`]; `source` is what was mounted, in the words of who mounts it.
pub fn attach_from(source: &[u8], file_system: Arc<dyn FileSystem>, over: Option<Place>) -> Place {
    let mount = Mount::new(file_system, source);
    let root = Place::mount_root(mount.clone());
    let mut attached = ATTACHED.lock();
    (*mount.attached_at.lock()).clone_from(&over);
    if let Some(over) = &over {
        over.entry().add_mount();
        over.mount().mounts_on_it.fetch_add(1, Ordering::AcqRel);
    }
    attached.push(Attachment { mount, at: over });
    root
}

/// The root of a filesystem that is mounted nowhere, for looking into it.
pub fn detached(file_system: Arc<dyn FileSystem>) -> Place {
    Place::mount_root(Mount::detached(file_system))
}

/// All mounts, in the order in which they were made.
pub fn mounts() -> Vec<Arc<Mount>> {
    ATTACHED.lock().iter().map(|attachment| attachment.mount.clone()).collect()
}

/// Whether anything may be mounted over `place`: almost everywhere nothing is, and no lock need be taken to know it.
#[inline]
pub(super) fn may_be_covered(place: &Place) -> bool {
    place.entry().is_mount_point()
        || place.mount().has_volatile_names && place.mount().mounts_on_it.load(Ordering::Acquire) > 0
}

/// What is mounted over `place`: the latest wins.
pub(super) fn covering(place: &Place) -> Option<Arc<Mount>> {
    if !may_be_covered(place) {
        return None;
    }
    let attached = ATTACHED.lock();
    let covers = |attachment: &&Attachment| attachment.at.as_ref().is_some_and(|at| at.is_same(place));
    attached.iter().rev().find(covers).map(|attachment| attachment.mount.clone())
}
