//! An inode by its name.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use ksync::{Once, Rank, SpinLock};
use linux_abi::stat::FileType;
use rcore_fs::INode;

use super::cache;
use crate::file::File;
use crate::obstacle::{Attempt, at_once};

/// An inode by the name that a walk found it under. It says nothing of mounts: whoever reaches a directory, through
/// whichever mount, finds the same entries in it. So a change of names is one change for everybody.
pub struct Entry {
    inode: Arc<dyn INode>,
    file_type: FileType,
    /// How many mounts lie on it, in any mount of its filesystem. Walks ask the table of mounts only if there are any.
    mounts_on_it: AtomicUsize,
    /// Where it is; a rename changes that.
    position: SpinLock<Position>,
    /// What every opening of it shares, of a file whose openings have nothing of their own.
    shared_file: Once<Arc<dyn File>>,
}

struct Position {
    /// Its name in the entry above; empty at the top of a filesystem.
    name: Arc<[u8]>,
    /// The entry above; `None` at the top, and for what has no name.
    above: Option<Arc<Entry>>,
}

impl Entry {
    fn new(inode: Arc<dyn INode>, name: Arc<[u8]>, above: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            file_type: inode.file_type(),
            inode,
            mounts_on_it: AtomicUsize::new(0),
            position: SpinLock::new(Rank::INODE, Position { name, above }),
            shared_file: Once::new(),
        })
    }

    /// An inode at the top of a filesystem, or one that has no name.
    pub(super) fn without_name(inode: Arc<dyn INode>) -> Arc<Self> {
        Self::new(inode, Arc::default(), None)
    }

    /// What `name` in this directory turned out to be.
    pub(super) fn child(self: &Arc<Self>, name: &[u8], inode: Arc<dyn INode>) -> Arc<Self> {
        Self::new(inode, name.into(), Some(self.clone()))
    }

    /// The inode.
    #[inline]
    pub fn inode(&self) -> &Arc<dyn INode> {
        &self.inode
    }

    /// What it is.
    #[inline]
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// The path that a symbolic link holds.
    pub(super) fn try_read_link(&self) -> Attempt<Arc<[u8]>> {
        at_once(self.inode.read_link(), || {
            let inode = self.inode.clone();
            async move { inode.read_link().await.map(drop) }
        })
    }

    /// Whether a filesystem may be mounted on it.
    #[inline]
    pub fn is_mount_point(&self) -> bool {
        self.mounts_on_it.load(Ordering::Acquire) > 0
    }

    pub(super) fn add_mount(&self) {
        self.mounts_on_it.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn remove_mount(&self) {
        self.mounts_on_it.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether `other` is this entry or lies below it.
    pub(super) fn contains(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = Some(other.clone());
        while let Some(entry) = at {
            if Arc::ptr_eq(&entry, self) {
                return true;
            }
            at = entry.above();
        }
        false
    }

    /// The entry above.
    pub(super) fn above(&self) -> Option<Arc<Self>> {
        self.position.lock().above.clone()
    }

    /// The entry above, and the name there.
    pub(super) fn position(&self) -> (Option<Arc<Self>>, Arc<[u8]>) {
        let position = self.position.lock();
        (position.above.clone(), position.name.clone())
    }

    /// It has another name now, perhaps in another directory.
    pub(super) fn move_to(&self, above: &Arc<Self>, name: &[u8]) {
        let next = Position { name: name.into(), above: Some(above.clone()) };
        let former = core::mem::replace(&mut *self.position.lock(), next);
        drop(former);
    }

    /// The names of this directory have changed: this one leads elsewhere, or nowhere.
    pub(super) fn forget(&self, name: &[u8]) {
        cache::forget(self, name);
    }

    /// What every opening of it shares; made by the first.
    pub(crate) fn shared_file(&self, make: impl FnOnce() -> Arc<dyn File>) -> &Arc<dyn File> {
        self.shared_file.call_once(make)
    }

    /// What every opening of it shares, if it has been opened.
    #[inline]
    pub(crate) fn known_shared_file(&self) -> Option<&Arc<dyn File>> {
        self.shared_file.get()
    }
}

/// Entries above that nobody else uses go one after the other, not each within the other: a removed tree may be deep.
impl Drop for Entry {
    fn drop(&mut self) {
        let mut above = self.position.get_mut().above.take();
        while let Some(entry) = above {
            above = Arc::into_inner(entry).and_then(|mut entry| entry.position.get_mut().above.take());
        }
    }
}
