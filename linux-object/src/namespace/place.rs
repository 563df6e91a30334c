//! Where a walk has come to.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::limits::PATH_MAX;
use rcore_fs::{Creation, INode};

use super::cache::Found;
use super::{Mount, cache};

/// An inode by the way it was reached.
pub struct Place {
    inode: Arc<dyn INode>,
    mount: Arc<Mount>,
    /// Filesystem and inode as one number, for the cache of names.
    key: u64,
    /// Where it is; a rename changes that.
    position: SpinLock<Position>,
}

/// Where a place is in its mount.
struct Position {
    /// Its name in the place above; empty at the root of a mount.
    name: Arc<[u8]>,
    /// The place above, in the same mount; `None` at its root.
    above: Option<Arc<Place>>,
}

impl Place {
    /// The root of a mount.
    pub fn mount_root(mount: Arc<Mount>) -> Arc<Self> {
        let inode = mount.root();
        Self::new(mount, inode, Arc::default(), None)
    }

    /// An inode that no path leads to.
    pub(crate) fn of_inode(mount: Arc<Mount>, inode: Arc<dyn INode>) -> Arc<Self> {
        Self::new(mount, inode, Arc::default(), None)
    }

    /// What `name` in `self` turned out to be.
    pub fn child(self: &Arc<Self>, name: &[u8], inode: Arc<dyn INode>) -> Arc<Self> {
        Self::new(self.mount.clone(), inode, name.into(), Some(self.clone()))
    }

    fn new(
        mount: Arc<Mount>,
        inode: Arc<dyn INode>,
        name: Arc<[u8]>,
        above: Option<Arc<Place>>,
    ) -> Arc<Self> {
        let file_system = Arc::as_ptr(mount.file_system()).cast::<()>() as u64;
        let key = cache::mix(file_system, inode.number());
        let position = SpinLock::new(Rank::INODE, Position { name, above });
        Arc::new(Self { inode, mount, key, position })
    }

    /// What a name in this directory leads to: from the cache of names, or from the inode.
    pub async fn find(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Self>, Errno> {
        if self.mount.has_volatile_names() {
            return self.inode.lookup(name).await.map(|inode| self.child(name, inode));
        }
        loop {
            let generation = match cache::look_up(self, name) {
                Found::Place(place) => return Ok(place),
                Found::Absent => return Err(Errno::ENOENT),
                Found::Unknown(generation) => generation,
            };
            let inode = match self.inode.lookup(name).await {
                Ok(inode) => Some(inode),
                Err(Errno::ENOENT) => None,
                Err(error) => return Err(error),
            };
            // An answer that others have made old meanwhile is asked for again.
            if let Ok(place) = cache::keep(self, name, inode, generation) {
                return place.ok_or(Errno::ENOENT);
            }
        }
    }

    /// Creates something under a name that is free.
    pub async fn create(self: &Arc<Self>, name: &[u8], creation: &Creation<'_>) -> Result<Arc<Self>, Errno> {
        let generation = cache::generation(self, name);
        let inode = self.inode.create(name, creation).await?;
        let kept = cache::replace(self, name, inode.clone(), generation);
        Ok(kept.unwrap_or_else(|| self.child(name, inode)))
    }

    /// The names of this directory have changed: this one leads elsewhere, or nowhere.
    pub(super) fn forget(&self, name: &[u8]) {
        cache::forget(self, name);
    }

    /// Filesystem and inode as one number.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// It has another name now, perhaps in another directory of its mount.
    pub(super) fn move_to(&self, above: &Arc<Self>, name: &[u8]) {
        let next = Position { name: name.into(), above: Some(above.clone()) };
        let former = core::mem::replace(&mut *self.position.lock(), next);
        drop(former);
    }

    /// The place above in the same mount, and its name there.
    fn position(&self) -> (Option<Arc<Self>>, Arc<[u8]>) {
        let position = self.position.lock();
        (position.above.clone(), position.name.clone())
    }

    /// The inode.
    pub fn inode(&self) -> &Arc<dyn INode> {
        &self.inode
    }

    /// The mount it was reached through.
    pub fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    /// The directory above, across mounts; the top of everything is above itself.
    pub fn parent(self: &Arc<Self>) -> Arc<Self> {
        let mut place = self.clone();
        loop {
            if let (Some(above), _) = place.position() {
                return above;
            }
            match place.mount.attached_at() {
                Some(covered) => place = covered,
                None => return place,
            }
        }
    }

    /// Whether both are the same directory of the same mount.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && self.inode.number() == other.inode.number()
    }

    /// The absolute path as seen from `root`. A place that is not below `root` is shown from the top of everything.
    pub fn path(self: &Arc<Self>, root: &Place) -> Result<Vec<u8>, Errno> {
        self.path_below(Some(root))
    }

    /// The absolute path from the top of everything.
    pub fn absolute_path(self: &Arc<Self>) -> Result<Vec<u8>, Errno> {
        self.path_below(None)
    }

    fn path_below(self: &Arc<Self>, root: Option<&Place>) -> Result<Vec<u8>, Errno> {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut place = self.clone();
        while !root.is_some_and(|root| place.is_same(root)) {
            match place.position() {
                (Some(above), name) => {
                    names.push(name);
                    if names.len() > PATH_MAX {
                        return Err(Errno::ENAMETOOLONG);
                    }
                    place = above;
                }
                (None, _) => match place.mount.attached_at() {
                    Some(covered) => place = covered,
                    None => break,
                },
            }
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }
}
