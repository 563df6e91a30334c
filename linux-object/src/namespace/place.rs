//! Where a walk has come to.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use linux_abi::Errno;
use linux_abi::limits::PATH_MAX;
use rcore_fs::INode;

use super::Mount;

/// An inode by the way it was reached.
pub struct Place {
    inode: Arc<dyn INode>,
    mount: Arc<Mount>,
    /// Its name in the place above; empty at the root of a mount.
    name: Box<[u8]>,
    /// The place above, in the same mount; `None` at its root.
    above: Option<Arc<Place>>,
}

impl Place {
    /// The root of a mount.
    pub fn mount_root(mount: Arc<Mount>) -> Arc<Self> {
        Arc::new(Self { inode: mount.root(), mount, name: Box::default(), above: None })
    }

    /// An inode that no path leads to.
    pub(crate) fn of_inode(mount: Arc<Mount>, inode: Arc<dyn INode>) -> Arc<Self> {
        Arc::new(Self { inode, mount, name: Box::default(), above: None })
    }

    /// What `name` in `self` turned out to be.
    pub fn child(self: &Arc<Self>, name: &[u8], inode: Arc<dyn INode>) -> Arc<Self> {
        Arc::new(Self { inode, mount: self.mount.clone(), name: name.into(), above: Some(self.clone()) })
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
            if let Some(above) = &place.above {
                return above.clone();
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
        let mut names: Vec<Arc<Place>> = Vec::new();
        let mut place = self.clone();
        while !root.is_some_and(|root| place.is_same(root)) {
            if place.above.is_some() {
                names.push(place.clone());
                if names.len() > PATH_MAX {
                    return Err(Errno::ENAMETOOLONG);
                }
                place = place.parent();
            } else {
                match place.mount.attached_at() {
                    Some(covered) => place = covered,
                    None => break,
                }
            }
        }
        let mut path = Vec::new();
        for place in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(&place.name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }
}
