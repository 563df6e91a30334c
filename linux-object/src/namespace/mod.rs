//! Names: mounts, and walking paths.
//!
//! An [`Entry`] is an inode by its name; it knows the entries above it, so that `..` and `getcwd` need no search. A
//! [`Place`] is where a walk has come to: an entry, and the mount it was reached through. Walks are iterative and
//! bounded, whatever links say.

mod at;
mod attributes;
mod cache;
mod change;
mod entry;
mod file_systems;
mod mount;
mod mount_change;
mod place;
mod walk;

use core::sync::atomic::{AtomicU32, Ordering};

use ksync::{Rank, SpinLock};

pub use at::{place_of, start_of, try_place_at, try_place_named};
pub use attributes::TimesChange;
pub use cache::{cached_names, drop_names};
pub use change::{Actor, Named};
pub use entry::Entry;
pub use file_systems::{
    DiskFileSystemMaker, FileSystemMaker, kinds, make, make_on_disk, needs_disk, register, register_on_disk,
};
pub use mount::{KEPT_FLAGS, Mount, MountFlags, attach, attach_from, detached, mounts};
pub use mount_change::{Propagation, bind, move_mount, pivot_root, remount, set_propagation, unmount};
pub use place::Place;
pub use rcore_fs::NewNode;
pub use walk::{
    Destination, LastComponent, Route, try_walk, try_walk_to_free, try_walk_to_parent, walk, walk_to_parent,
};

/// What a process adds to a path: where it begins, and which permissions new files lack.
pub struct PathContext {
    places: SpinLock<Places>,
    creation_mask: AtomicU32,
}

#[derive(Clone)]
struct Places {
    root: Place,
    working_directory: Place,
}

const DEFAULT_CREATION_MASK: u32 = 0o022;

impl PathContext {
    /// A process that begins at `root`.
    pub fn new(root: Place) -> Self {
        Self::with(Places { working_directory: root.clone(), root }, DEFAULT_CREATION_MASK)
    }

    fn with(places: Places, creation_mask: u32) -> Self {
        Self { places: SpinLock::new(Rank::FILE_TABLE, places), creation_mask: AtomicU32::new(creation_mask) }
    }

    /// A copy for a process of its own.
    pub fn duplicate(&self) -> Self {
        Self::with(self.places.lock().clone(), self.creation_mask())
    }

    /// Where absolute paths begin.
    pub fn root(&self) -> Place {
        self.places.lock().root.clone()
    }

    /// Where relative paths begin.
    pub fn working_directory(&self) -> Place {
        self.places.lock().working_directory.clone()
    }

    /// Changes where relative paths begin.
    pub fn set_working_directory(&self, place: Place) {
        let previous = core::mem::replace(&mut self.places.lock().working_directory, place);
        drop(previous);
    }

    /// Changes where absolute paths begin.
    pub fn set_root(&self, place: Place) {
        let previous = core::mem::replace(&mut self.places.lock().root, place);
        drop(previous);
    }

    /// Who begins at one place begins at another from now on.
    pub(super) fn replace(&self, former: &Place, new: &Place) {
        let mut dropped = (None, None);
        let mut places = self.places.lock();
        if places.root.is_same(former) {
            dropped.0 = Some(core::mem::replace(&mut places.root, new.clone()));
        }
        if places.working_directory.is_same(former) {
            dropped.1 = Some(core::mem::replace(&mut places.working_directory, new.clone()));
        }
        drop(places);
    }

    /// The permissions that new files lack.
    pub fn creation_mask(&self) -> u32 {
        self.creation_mask.load(Ordering::Relaxed)
    }

    /// Sets the permissions that new files lack; returns the former ones.
    pub fn set_creation_mask(&self, mask: u32) -> u32 {
        self.creation_mask.swap(mask & 0o777, Ordering::Relaxed)
    }
}
