//! A root of generated inodes, ready to be mounted.

use alloc::sync::Arc;

use linux_abi::limits::NAME_MAX;
use linux_abi::statfs::Statfs;

use crate::attempt::Attempt;
use crate::file_system::{FileSystem, FileSystemFlags};
use crate::inode::INode;

/// A filesystem that consists of callbacks.
pub struct GeneratedFileSystem {
    name: &'static str,
    magic: i64,
    root: Arc<dyn INode>,
}

impl GeneratedFileSystem {
    /// A filesystem that `mount` calls `name` and `statfs` calls `magic`.
    pub fn new(name: &'static str, magic: i64, root: Arc<dyn INode>) -> Arc<Self> {
        Arc::new(Self { name, magic, root })
    }
}

impl FileSystem for GeneratedFileSystem {
    fn name(&self) -> &'static str {
        self.name
    }

    fn flags(&self) -> FileSystemFlags {
        FileSystemFlags::VOLATILE_NAMES | FileSystemFlags::MEMORY_ONLY
    }

    fn root(&self) -> Arc<dyn INode> {
        Arc::clone(&self.root)
    }

    fn status(&self) -> Attempt<'_, Statfs> {
        Attempt::ready(Statfs {
            f_type: self.magic,
            f_bsize: 4096,
            f_frsize: 4096,
            f_namelen: NAME_MAX as i64,
            ..Statfs::default()
        })
    }
}
