//! `/sys`: what the kernel tells about devices.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::statfs::SYSFS_MAGIC;
use rcore_fs::FileSystem;
use rcore_fs::generated::{Attributes, DirectoryNode, GeneratedFileSystem};

use crate::clock;

const DIRECTORY: u32 = 0o555;
const ROOT_INODE: u64 = 1;
/// The directories that programs look for first.
const DIRECTORIES: [&str; 5] = ["block", "bus", "class", "devices", "kernel"];

/// A new instance of the filesystem.
pub fn file_system() -> Result<Arc<dyn FileSystem>, Errno> {
    let time = clock::time_stamp();
    let root = DirectoryNode::new(Attributes::new(ROOT_INODE, DIRECTORY, time));
    for (index, name) in DIRECTORIES.into_iter().enumerate() {
        let inode = ROOT_INODE + 1 + index as u64;
        root.add(name, DirectoryNode::new(Attributes::new(inode, DIRECTORY, time)))?;
    }
    Ok(GeneratedFileSystem::new("sysfs", SYSFS_MAGIC, root))
}
