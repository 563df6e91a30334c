//! Mounts: which filesystem covers which directory.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::stat::DeviceNumber;
pub use linux_abi::statfs::MountFlags;
use rcore_fs::{FileSystem, FileSystemFlags};

use super::place::path_in_file_system;
use super::{Entry, Place};

/// A filesystem in use: what all its mounts share.
pub(super) struct Instance {
    file_system: Arc<dyn FileSystem>,
    /// The entry at its top.
    pub(super) top: Arc<Entry>,
    device: DeviceNumber,
    /// Nothing in it may be changed through any mount.
    is_read_only: AtomicBool,
    /// Openings by which regular files may be written.
    writers: AtomicUsize,
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
        let instance = Arc::new(Self {
            file_system,
            top,
            device,
            is_read_only: AtomicBool::new(false),
            writers: AtomicUsize::new(0),
        });
        instances.push(Arc::downgrade(&instance));
        instance
    }
}

/// What a mount remembers of the flags that it was made with.
pub const KEPT_FLAGS: MountFlags = MountFlags::RDONLY
    .union(MountFlags::NOSUID)
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOSYMFOLLOW)
    .union(MountFlags::NOATIME)
    .union(MountFlags::NODIRATIME)
    .union(MountFlags::RELATIME);

/// A filesystem, or a part of one, in its place.
pub struct Mount {
    id: usize,
    pub(super) instance: Arc<Instance>,
    root: Arc<Entry>,
    /// What was mounted, in the words of who mounted it.
    source: Box<[u8]>,
    has_volatile_names: bool,
    flags: AtomicU32,
    /// Openings by which its regular files may be written.
    writers: AtomicUsize,
    /// Whether it may be bound elsewhere.
    is_unbindable: AtomicBool,
    /// How many mounts lie on it, if its names come and go by themselves: then entries do not tell.
    mounts_on_it: AtomicUsize,
    attached_at: SpinLock<Option<Place>>,
}

/// A mount, and the place that it covers.
pub(super) struct Attachment {
    pub(super) mount: Arc<Mount>,
    pub(super) at: Option<Place>,
}

static NEXT_ID: AtomicUsize = AtomicUsize::new(1);
/// All mounts that are somewhere, in the order in which they came there.
pub(super) static ATTACHED: SpinLock<Vec<Attachment>> = SpinLock::new(Rank::MOUNT_TABLE, Vec::new());

impl Attachment {
    /// A mount that covers this place from now on. The table is locked.
    pub(super) fn new(mount: Arc<Mount>, at: Option<Place>) -> Self {
        let mut attachment = Self { mount, at: None };
        drop(attachment.put(at));
        attachment
    }

    /// Lets the mount cover another place, or none; returns the former one. The table is locked.
    pub(super) fn put(&mut self, at: Option<Place>) -> Option<Place> {
        if let Some(at) = &at {
            at.entry().add_mount();
            at.mount().mounts_on_it.fetch_add(1, Ordering::AcqRel);
        }
        let former = core::mem::replace(&mut self.at, at.clone());
        let shown = core::mem::replace(&mut *self.mount.attached_at.lock(), at);
        drop(shown);
        if let Some(former) = &former {
            former.entry().remove_mount();
            former.mount().mounts_on_it.fetch_sub(1, Ordering::AcqRel);
        }
        former
    }
}

impl Mount {
    fn new(file_system: Arc<dyn FileSystem>, source: &[u8], flags: MountFlags) -> Arc<Self> {
        let instance = Instance::of(file_system);
        let root = instance.top.clone();
        Self::of(instance, root, source, flags)
    }

    fn of(instance: Arc<Instance>, root: Arc<Entry>, source: &[u8], flags: MountFlags) -> Arc<Self> {
        let has_volatile_names = instance.file_system.flags().contains(FileSystemFlags::VOLATILE_NAMES);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            root,
            instance,
            source: source.into(),
            has_volatile_names,
            flags: AtomicU32::new((flags & KEPT_FLAGS).bits() as u32),
            writers: AtomicUsize::new(0),
            is_unbindable: AtomicBool::new(false),
            mounts_on_it: AtomicUsize::new(0),
            attached_at: SpinLock::new(Rank::INODE, None),
        })
    }

    /// One more mount of the same filesystem, with another directory or file at its top.
    pub(super) fn copy(&self, root: Arc<Entry>) -> Arc<Self> {
        Self::of(self.instance.clone(), root, &self.source, self.flags())
    }

    /// A mount that no path leads to.
    pub(crate) fn detached(file_system: Arc<dyn FileSystem>) -> Arc<Self> {
        Self::new(file_system, &[], MountFlags::empty())
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

    /// The flags that it keeps.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Ordering::Acquire).into())
    }

    /// Whether it has this flag.
    #[inline]
    pub fn has(&self, flag: MountFlags) -> bool {
        u64::from(self.flags.load(Ordering::Relaxed)) & flag.bits() != 0
    }

    /// Whether nothing can be changed through it.
    #[inline]
    pub fn is_read_only(&self) -> bool {
        self.has(MountFlags::RDONLY) || self.is_file_system_read_only()
    }

    /// Whether nothing in its filesystem can be changed, through whichever mount.
    pub fn is_file_system_read_only(&self) -> bool {
        self.instance.is_read_only.load(Ordering::Relaxed)
            || self.file_system().flags().contains(FileSystemFlags::READ_ONLY)
    }

    /// Gives it other flags. `EBUSY` if nothing is to be changed through it and somebody still may.
    pub(super) fn set_flags(&self, flags: MountFlags) -> Result<(), Errno> {
        let former = self.flags.swap((flags & KEPT_FLAGS).bits() as u32, Ordering::SeqCst);
        let becomes_read_only =
            flags.contains(MountFlags::RDONLY) && u64::from(former) & MountFlags::RDONLY.bits() == 0;
        if becomes_read_only && self.writers.load(Ordering::SeqCst) > 0 {
            self.flags.store(former, Ordering::SeqCst);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// Sets whether the filesystem may be changed through any of its mounts. `EBUSY` as for [`Self::set_flags`].
    pub(super) fn set_file_system_read_only(&self, value: bool) -> Result<(), Errno> {
        let former = self.instance.is_read_only.swap(value, Ordering::SeqCst);
        if value && !former && self.instance.writers.load(Ordering::SeqCst) > 0 {
            self.instance.is_read_only.store(false, Ordering::SeqCst);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// A regular file in it can be written from now on.
    pub(crate) fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::SeqCst);
        self.instance.writers.fetch_add(1, Ordering::SeqCst);
    }

    /// What [`Self::add_writer`] began has ended.
    pub(crate) fn remove_writer(&self) {
        self.writers.fetch_sub(1, Ordering::SeqCst);
        self.instance.writers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether it must not be bound elsewhere.
    pub(super) fn is_unbindable(&self) -> bool {
        self.is_unbindable.load(Ordering::Relaxed)
    }

    /// Sets whether it must not be bound elsewhere.
    pub(super) fn set_unbindable(&self, value: bool) {
        self.is_unbindable.store(value, Ordering::Relaxed);
    }

    /// The directory or file of its filesystem that is at its top, as a path.
    pub fn root_path(&self) -> Result<Vec<u8>, Errno> {
        path_in_file_system(&self.root)
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
    attach_from(name, file_system, over, MountFlags::empty())
}

/// As [`attach`], with flags; `source` is what was mounted, in the words of who mounts it.
pub fn attach_from(
    source: &[u8],
    file_system: Arc<dyn FileSystem>,
    over: Option<Place>,
    flags: MountFlags,
) -> Place {
    let mount = Mount::new(file_system, source, flags);
    let root = Place::mount_root(mount.clone());
    let mut attached = ATTACHED.lock();
    let attachment = Attachment::new(mount, over);
    attached.push(attachment);
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
