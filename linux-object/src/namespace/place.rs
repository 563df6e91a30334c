//! Where a walk has come to.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use linux_abi::Errno;
use linux_abi::limits::PATH_MAX;
use linux_abi::stat::FileType;
use rcore_fs::{Creation, INode, Metadata, Ownership, Touch};

use super::cache::Found;
use super::{Entry, Mount, MountFlags, cache};
use crate::inotify;
use crate::obstacle::{Attempt, Obstacle, at_once};

/// An entry, and the mount it was reached through.
#[derive(Clone)]
pub struct Place {
    mount: Arc<Mount>,
    entry: Arc<Entry>,
}

impl Place {
    /// An entry in a mount.
    pub(super) fn new(mount: Arc<Mount>, entry: Arc<Entry>) -> Self {
        Self { mount, entry }
    }

    /// The root of a mount.
    pub fn mount_root(mount: Arc<Mount>) -> Self {
        let entry = mount.root().clone();
        Self { mount, entry }
    }

    /// An inode that no path leads to.
    pub(crate) fn of_inode(mount: Arc<Mount>, inode: Arc<dyn INode>) -> Self {
        Self { mount, entry: Entry::without_name(inode) }
    }

    /// An inode as if it had this name in here, although nobody who looks the name up finds it.
    pub fn child(&self, name: &[u8], inode: Arc<dyn INode>) -> Self {
        self.at(self.entry.child(name, inode))
    }

    /// An entry of the same mount.
    fn at(&self, entry: Arc<Entry>) -> Self {
        Self { mount: self.mount.clone(), entry }
    }

    /// Goes to an entry of the same mount.
    #[inline]
    pub(super) fn move_within(&mut self, entry: Arc<Entry>) {
        self.entry = entry;
    }

    /// What a name in this directory leads to: from the cache of names, or from the inode.
    pub(super) fn try_find_entry(&self, name: &[u8]) -> Attempt<Arc<Entry>> {
        if self.mount.has_volatile_names() {
            return self
                .try_look_up(name)?
                .map(|inode| self.entry.child(name, inode))
                .ok_or(Errno::ENOENT.into());
        }
        loop {
            let generation = match cache::look_up(&self.entry, name) {
                Found::Entry(entry) => return Ok(entry),
                Found::Absent => return Err(Errno::ENOENT.into()),
                Found::Unknown(generation) => generation,
            };
            let inode = self.try_look_up(name)?;
            // An answer that others have made old meanwhile is asked for again.
            if let Ok(entry) = cache::keep(&self.entry, name, inode, generation) {
                return entry.ok_or(Errno::ENOENT.into());
            }
        }
    }

    /// What the inode says of a name. If it has to wait, it is asked again when it can answer from memory.
    #[cold]
    fn try_look_up(&self, name: &[u8]) -> Attempt<Option<Arc<dyn INode>>> {
        match self.inode().lookup(name).done() {
            Ok(Ok(inode)) => Ok(Some(inode)),
            Ok(Err(Errno::ENOENT)) => Ok(None),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                let (place, name) = (self.clone(), name.to_vec());
                Err(Obstacle::Wait(Box::pin(async move { place.fill(&name).await })))
            }
        }
    }

    /// Asks the inode for a name, and lets the cache know.
    async fn fill(&self, name: &[u8]) -> Result<(), Errno> {
        let generation = cache::generation(&self.entry, name);
        let inode = match self.inode().lookup(name).await {
            Ok(inode) => Some(inode),
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(error),
        };
        if !self.mount.has_volatile_names() {
            // What is old already is asked for again by whoever attempts again.
            let _ = cache::keep(&self.entry, name, inode, generation);
        }
        Ok(())
    }

    /// What a name in this directory leads to.
    pub(crate) fn try_find(&self, name: &[u8]) -> Attempt<Self> {
        self.try_find_entry(name).map(|entry| self.at(entry))
    }

    /// All that is known of the inode.
    pub fn try_metadata(&self) -> Attempt<Metadata> {
        let inode = self.inode();
        at_once(inode.metadata(), || {
            let inode = inode.clone();
            async move { inode.metadata().await.map(drop) }
        })
    }

    /// Looks at all that is known of the inode, where it is.
    #[inline]
    pub fn try_with_metadata<T>(&self, look: impl FnOnce(&Metadata) -> Attempt<T>) -> Attempt<T> {
        match &self.inode().metadata() {
            rcore_fs::Attempt::Done(Ok(metadata)) => look(metadata),
            rcore_fs::Attempt::Done(Err(error)) => Err((*error).into()),
            rcore_fs::Attempt::Wait(_) => {
                let inode = self.inode().clone();
                Err(Obstacle::Wait(Box::pin(async move { inode.metadata().await.map(drop) })))
            }
        }
    }

    /// Whose it is, and what others may do with it.
    pub fn try_ownership(&self) -> Attempt<Ownership> {
        let inode = self.inode();
        at_once(inode.ownership(), || {
            let inode = inode.clone();
            async move { inode.ownership().await.map(drop) }
        })
    }

    /// The path that a symbolic link holds.
    pub fn try_read_link(&self) -> Attempt<Arc<[u8]>> {
        self.entry.try_read_link()
    }

    /// Creates something under a name that is free.
    pub async fn create(&self, name: &[u8], creation: &Creation<'_>) -> Result<Self, Errno> {
        let generation = cache::generation(&self.entry, name);
        let inode = self.inode().create(name, creation).await?;
        if inotify::is_any() {
            inotify::created(self, name, &inode);
        }
        let kept = cache::replace(&self.entry, name, inode.clone(), generation);
        Ok(self.at(kept.unwrap_or_else(|| self.entry.child(name, inode))))
    }

    /// The entry.
    #[inline]
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// The inode.
    #[inline]
    pub fn inode(&self) -> &Arc<dyn INode> {
        self.entry.inode()
    }

    /// The entry above in the same mount, and its name there.
    pub(crate) fn position(&self) -> (Option<Arc<Entry>>, Arc<[u8]>) {
        self.entry.position()
    }

    /// What it is.
    #[inline]
    pub fn file_type(&self) -> FileType {
        self.entry.file_type()
    }

    /// The mount it was reached through.
    #[inline]
    pub fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    /// The directory above, across mounts; the top of everything is above itself.
    pub fn parent(&self) -> Self {
        let mut place = self.clone();
        loop {
            if !place.is_mount_root()
                && let Some(above) = place.entry.above()
            {
                place.entry = above;
                return place;
            }
            match place.mount.attached_at() {
                Some(covered) => place = covered,
                None => return place,
            }
        }
    }

    /// Whether it is the root of its mount.
    #[inline]
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.entry, self.mount.root())
    }

    /// Whether both are the same file of the same mount.
    #[inline]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount)
            && (Arc::ptr_eq(&self.entry, &other.entry)
                || self.mount.has_volatile_names() && self.inode().number() == other.inode().number())
    }

    /// Whether a walk from `root` can come here.
    pub fn is_below(&self, root: &Place) -> bool {
        let mut place = self.clone();
        while !Arc::ptr_eq(&place.mount, &root.mount) {
            match place.mount.attached_at() {
                Some(covered) => place = covered,
                None => return false,
            }
        }
        root.entry.contains(&place.entry)
    }

    /// The content was read.
    #[inline]
    pub(crate) fn note_access(&self) {
        if self.entry.file_type() != FileType::Regular || self.mount.has(MountFlags::NOATIME) {
            return;
        }
        let is_relative = self.mount.has(MountFlags::RELATIME);
        self.inode().touch(if is_relative { Touch::ACCESSED_IF_OLD } else { Touch::ACCESSED });
    }

    /// The absolute path as seen from `root`. A place that is not below `root` is shown from the top of everything.
    pub fn path(&self, root: &Place) -> Result<Vec<u8>, Errno> {
        self.path_below(Some(root))
    }

    /// The absolute path from the top of everything.
    pub fn absolute_path(&self) -> Result<Vec<u8>, Errno> {
        self.path_below(None)
    }

    fn path_below(&self, root: Option<&Place>) -> Result<Vec<u8>, Errno> {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut place = self.clone();
        while !root.is_some_and(|root| place.is_same(root)) {
            let above = if place.is_mount_root() { (None, Arc::default()) } else { place.entry.position() };
            match above {
                (Some(above), name) => {
                    names.push(name);
                    if names.len() > PATH_MAX {
                        return Err(Errno::ENAMETOOLONG);
                    }
                    place.entry = above;
                }
                (None, _) => match place.mount.attached_at() {
                    Some(covered) => place = covered,
                    None => break,
                },
            }
        }
        Ok(joined(&names))
    }
}

fn joined(names: &[Arc<[u8]>]) -> Vec<u8> {
    let mut path = Vec::new();
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// The path of an entry from the top of its filesystem, whatever mounts show of it.
pub(super) fn path_in_file_system(entry: &Arc<Entry>) -> Result<Vec<u8>, Errno> {
    let mut names: Vec<Arc<[u8]>> = Vec::new();
    let mut entry = entry.clone();
    while let (Some(above), name) = entry.position() {
        names.push(name);
        if names.len() > PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        entry = above;
    }
    Ok(joined(&names))
}
