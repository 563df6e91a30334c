//! tmpfs: a filesystem whose files live in memory, as Linux's does.
//!
//! * The pages of a regular file are a paged object of anonymous memory, charged to the filesystem's size limit when
//!   they come into being; a hole costs nothing.
//! * Each inode, and each further name of an inode, is charged to the inode limit, because each occupies kernel memory.
//! * All changes of names are serialised by one lock per filesystem. It is held for a few tree operations; renaming a
//!   directory into another also walks up to the root, so its time grows with the depth of the tree.
//! * Nothing waits: every operation is done at the first attempt.

mod data;
mod directory;
mod node;
mod options;
mod rename;
#[cfg(test)]
mod tests;
mod volume;

use alloc::sync::Arc;
use std::fmt;

use kernel_object::frame;
use linux_abi::Errno;
use linux_abi::limits::NAME_MAX;
use linux_abi::stat::FileType;
use linux_abi::statfs::{Statfs, TMPFS_MAGIC};

use crate::attempt::Attempt;
use crate::file_system::{FileSystem, FileSystemFlags};
use crate::inode::{Contents, Creation, DirectorySink, INode, NewNode, RenameFlags};
use crate::metadata::{AttributeChanges, Clock, Metadata, Ownership, Touch};
use node::{Body, Node};
use volume::Volume;

/// How large a tmpfs may become, and how its root looks.
#[derive(Clone, Copy, Debug)]
pub struct TmpfsOptions {
    /// Pages of file data; `None` for no limit.
    pub most_pages: Option<u64>,
    /// Inodes and further names; `None` for no limit.
    pub most_inodes: Option<u64>,
    /// The root's permission bits.
    pub permissions: u32,
    /// The root's owner.
    pub user: u32,
    /// The root's group.
    pub group: u32,
}

impl Default for TmpfsOptions {
    fn default() -> Self {
        Self { most_pages: None, most_inodes: None, permissions: 0o1777, user: 0, group: 0 }
    }
}

/// A filesystem in memory.
pub struct Tmpfs {
    volume: Arc<Volume>,
    root: Arc<Node>,
}

impl Tmpfs {
    /// An empty filesystem. Fails for want of memory, or if not even the root fits the limits.
    pub fn new(clock: Clock, options: &TmpfsOptions) -> Result<Arc<Self>, Errno> {
        let volume = Arc::new(Volume::new(clock, options.most_pages, options.most_inodes));
        let creation = Creation {
            node: NewNode::Directory,
            permissions: options.permissions,
            user: options.user,
            group: options.group,
        };
        let root = Node::new(&volume, &creation, 2)?;
        Ok(Arc::new(Self { volume, root }))
    }

    /// Sets other limits, as remounting does. `EINVAL` if more is in use.
    pub fn set_limits(&self, most_pages: Option<u64>, most_inodes: Option<u64>) -> Result<(), Errno> {
        let previous = self.volume.pages.limit();
        self.volume.pages.set_limit(most_pages)?;
        self.volume.inodes.set_limit(most_inodes).inspect_err(|_| {
            // Less strict than a moment ago, or the same: what is used since then fits.
            let _ = self.volume.pages.set_limit(previous);
        })
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        self.root.clear();
    }
}

impl FileSystem for Tmpfs {
    fn name(&self) -> &'static str {
        "tmpfs"
    }

    fn flags(&self) -> FileSystemFlags {
        FileSystemFlags::MEMORY_ONLY
    }

    fn root(&self) -> Arc<dyn INode> {
        Arc::clone(&self.root) as Arc<dyn INode>
    }

    fn status(&self) -> Attempt<'_, Statfs> {
        let (pages, inodes) = (&self.volume.pages, &self.volume.inodes);
        // Linux says 0 where there is no limit.
        let free = |limit: Option<u64>, used: u64| limit.map_or(0, |limit| limit.saturating_sub(used) as i64);
        Attempt::ready(Statfs {
            f_type: TMPFS_MAGIC,
            f_bsize: data::PAGE_BYTES as i64,
            f_frsize: data::PAGE_BYTES as i64,
            f_blocks: pages.limit().unwrap_or(0) as i64,
            f_bfree: free(pages.limit(), pages.used()),
            f_bavail: free(pages.limit(), pages.used()),
            f_files: inodes.limit().unwrap_or(0) as i64,
            f_ffree: free(inodes.limit(), inodes.used()),
            f_namelen: NAME_MAX as i64,
            ..Statfs::default()
        })
    }

    /// Only the limits can be changed; what the root was like at first is history.
    fn reconfigure(&self, options: &str) -> Result<(), Errno> {
        let present = TmpfsOptions {
            most_pages: self.volume.pages.limit(),
            most_inodes: self.volume.inodes.limit(),
            ..TmpfsOptions::default()
        };
        let wanted = present.with_words(options, frame::statistics().total as u64)?;
        self.set_limits(wanted.most_pages, wanted.most_inodes)
    }

    fn show_options(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        if let Some(pages) = self.volume.pages.limit() {
            write!(output, ",size={}k", pages * (data::PAGE_BYTES / 1024))?;
        }
        if let Some(inodes) = self.volume.inodes.limit() {
            write!(output, ",nr_inodes={inodes}")?;
        }
        let metadata = self.root.describe();
        if metadata.permissions != TmpfsOptions::default().permissions {
            write!(output, ",mode={:03o}", metadata.permissions)?;
        }
        Ok(())
    }
}

impl Node {
    fn shared(&self) -> Result<Arc<Node>, Errno> {
        self.this.upgrade().ok_or(Errno::ENOENT)
    }

    /// The inode as one of this filesystem's own.
    fn sibling(&self, other: &dyn INode) -> Result<Arc<Node>, Errno> {
        let node = other.downcast_ref::<Node>().ok_or(Errno::EXDEV)?;
        if Arc::ptr_eq(&node.volume, &self.volume) { node.shared() } else { Err(Errno::EXDEV) }
    }

    fn make_unnamed(&self, creation: &Creation<'_>, may_be_named: bool) -> Result<Arc<Node>, Errno> {
        self.expect_directory()?;
        if matches!(creation.node, NewNode::Directory) {
            return Err(Errno::EINVAL);
        }
        let node = Node::new(&self.volume, creation, 0)?;
        node.state.lock().nameable = may_be_named;
        Ok(node)
    }
}

impl INode for Node {
    fn number(&self) -> u64 {
        self.number
    }

    fn file_type(&self) -> FileType {
        self.kind()
    }

    fn metadata(&self) -> Attempt<'_, Metadata> {
        Attempt::ready(self.describe())
    }

    fn ownership(&self) -> Attempt<'_, Ownership> {
        let state = self.state.lock();
        Attempt::ready(Ownership { permissions: state.permissions, user: state.user, group: state.group })
    }

    fn set_attributes<'a>(&'a self, changes: &'a AttributeChanges) -> Attempt<'a, ()> {
        self.change(changes).into()
    }

    fn touch(&self, which: Touch) {
        self.stamp(which);
    }

    fn contents(&self) -> Contents {
        match &self.body {
            Body::Regular(object) => Contents::Pages(Arc::clone(object)),
            _ => Contents::None,
        }
    }

    fn read_link(&self) -> Attempt<'_, Arc<[u8]>> {
        match &self.body {
            Body::SymbolicLink(target) => Attempt::ready(Arc::clone(target)),
            _ => Attempt::failed(Errno::EINVAL),
        }
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Attempt<'a, Arc<dyn INode>> {
        self.find(name).map(|node| node as Arc<dyn INode>).into()
    }

    fn create<'a>(&'a self, name: &'a [u8], creation: &'a Creation<'a>) -> Attempt<'a, Arc<dyn INode>> {
        self.make(name, creation).map(|node| node as Arc<dyn INode>).into()
    }

    fn create_unnamed<'a>(
        &'a self,
        creation: &'a Creation<'a>,
        may_be_named: bool,
    ) -> Attempt<'a, Arc<dyn INode>> {
        self.make_unnamed(creation, may_be_named).map(|node| node as Arc<dyn INode>).into()
    }

    fn link<'a>(&'a self, name: &'a [u8], target: &'a Arc<dyn INode>) -> Attempt<'a, ()> {
        self.sibling(&**target).and_then(|target| self.add_link(name, &target)).into()
    }

    fn unlink<'a>(&'a self, name: &'a [u8]) -> Attempt<'a, ()> {
        self.remove_name(name).into()
    }

    fn remove_directory<'a>(&'a self, name: &'a [u8]) -> Attempt<'a, ()> {
        self.remove_empty_directory(name).into()
    }

    fn rename<'a>(
        &'a self,
        old_name: &'a [u8],
        new_directory: &'a Arc<dyn INode>,
        new_name: &'a [u8],
        flags: RenameFlags,
    ) -> Attempt<'a, ()> {
        let attempt =
            || self.shared()?.move_name(old_name, &self.sibling(&**new_directory)?, new_name, flags);
        attempt().into()
    }

    fn iterate<'a>(&'a self, from: u64, sink: &'a mut dyn DirectorySink) -> Attempt<'a, ()> {
        self.list(from, sink).into()
    }

    fn end_position(&self) -> u64 {
        self.state.lock().entries.end_position()
    }
}
