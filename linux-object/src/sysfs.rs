//! `/sys`: what the kernel tells about devices.

use alloc::sync::Arc;
use core::fmt::Write;

use linux_abi::Errno;
use linux_abi::statfs::SYSFS_MAGIC;
use rcore_fs::FileSystem;
use rcore_fs::generated::{
    Attributes, ContentBuffer, DirectoryNode, FileNode, GeneratedFileSystem, TextFile,
};

use crate::{clock, console};

const DIRECTORY: u32 = 0o555;
const ROOT_INODE: u64 = 1;
/// The directories that programs look for first.
const DIRECTORIES: [&str; 4] = ["block", "bus", "devices", "kernel"];
const READ_ONLY: u32 = 0o444;

/// A new instance of the filesystem.
pub fn file_system() -> Result<Arc<dyn FileSystem>, Errno> {
    let time = clock::time_stamp();
    let root = DirectoryNode::new(Attributes::new(ROOT_INODE, DIRECTORY, time));
    let mut last_inode = ROOT_INODE;
    let mut attributes = |permissions| {
        last_inode += 1;
        Attributes::new(last_inode, permissions, time)
    };
    for name in DIRECTORIES {
        root.add(name, DirectoryNode::new(attributes(DIRECTORY)))?;
    }
    let class = DirectoryNode::new(attributes(DIRECTORY));
    let terminals = DirectoryNode::new(attributes(DIRECTORY));
    let console_entry = DirectoryNode::new(attributes(DIRECTORY));
    let active =
        TextFile(|output: &mut ContentBuffer| writeln!(output, "{}", console::name().unwrap_or_default()));
    console_entry.add("active", FileNode::new(attributes(READ_ONLY), active))?;
    terminals.add("console", console_entry)?;
    class.add("tty", terminals)?;
    root.add("class", class)?;
    Ok(GeneratedFileSystem::new("sysfs", SYSFS_MAGIC, root))
}
