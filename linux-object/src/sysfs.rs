//! `/sys`: what the kernel tells about harts and devices, as nproc, lscpu and lsblk look at it.
//!
//! What a device is called lies once in the tree, under `devices`; classes and numbers are links to it.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write;

use kernel_hal::HartId;
use linux_abi::Errno;
use linux_abi::statfs::SYSFS_MAGIC;
use rcore_fs::FileSystem;
use rcore_fs::generated::{
    Attributes, ContentBuffer, DirectoryNode, FileNode, GeneratedFileSystem, LinkNode, TextFile,
};

use crate::machine::Disk;
use crate::{clock, console, machine};

const DIRECTORY: u32 = 0o555;
const READ_ONLY: u32 = 0o444;
const LINK: u32 = 0o777;
const ROOT_INODE: u64 = 1;

/// Makes nodes and gives each its number.
struct Builder {
    last_inode: u64,
}

impl Builder {
    fn attributes(&mut self, permissions: u32) -> Attributes {
        self.last_inode += 1;
        Attributes::new(self.last_inode, permissions, clock::time_stamp())
    }

    fn directory(&mut self, parent: &DirectoryNode, name: &str) -> Result<Arc<DirectoryNode>, Errno> {
        let directory = DirectoryNode::new(self.attributes(DIRECTORY));
        parent.add(name, directory.clone())?;
        Ok(directory)
    }

    /// A file of one line, made when it is read.
    fn file(
        &mut self,
        parent: &DirectoryNode,
        name: &str,
        line: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<(), Errno> {
        let text = TextFile(move |output: &mut ContentBuffer| writeln!(output, "{}", line()));
        parent.add(name, FileNode::new(self.attributes(READ_ONLY), text))
    }

    fn link(&mut self, parent: &DirectoryNode, name: &str, target: String) -> Result<(), Errno> {
        let target: Arc<[u8]> = target.into_bytes().into();
        parent.add(name, LinkNode::new(self.attributes(LINK), move || Ok(target.clone())))
    }

    fn harts(&mut self, system: &DirectoryNode) -> Result<(), Errno> {
        let harts = self.directory(system, "cpu")?;
        let count = machine::get().harts.len().max(1);
        self.file(&harts, "online", || list(HartId::count()))?;
        self.file(&harts, "possible", move || list(count))?;
        self.file(&harts, "present", move || list(count))?;
        for index in 0..count {
            let hart = self.directory(&harts, &format!("cpu{index}"))?;
            let topology = self.directory(&hart, "topology")?;
            // Each hart is a core of its own, in one package.
            self.file(&topology, "core_id", move || format!("{index}"))?;
            self.file(&topology, "physical_package_id", || "0".into())?;
            for name in ["thread_siblings_list", "core_cpus_list"] {
                self.file(&topology, name, move || format!("{index}"))?;
            }
            for name in ["core_siblings_list", "package_cpus_list"] {
                self.file(&topology, name, move || list(count))?;
            }
        }
        Ok(())
    }

    fn disk(&mut self, parent: &DirectoryNode, disk: &'static Disk) -> Result<(), Errno> {
        let directory = self.directory(parent, &disk.name)?;
        let information = disk.device.information();
        let (major, minor) = (disk.number.major(), disk.number.minor());
        self.file(&directory, "dev", move || format!("{major}:{minor}"))?;
        self.file(&directory, "size", move || format!("{}", information.sectors))?;
        self.file(&directory, "ro", move || format!("{}", u8::from(information.read_only)))?;
        self.file(&directory, "removable", || "0".into())?;
        let name = &disk.name;
        self.file(&directory, "uevent", move || {
            format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE=disk")
        })?;
        let queue = self.directory(&directory, "queue")?;
        self.file(&queue, "logical_block_size", move || format!("{}", information.logical_block_bytes))?;
        self.file(&queue, "physical_block_size", move || format!("{}", information.physical_block_bytes))?;
        self.file(&queue, "hw_sector_size", move || format!("{}", information.logical_block_bytes))?;
        self.file(&queue, "nr_requests", move || format!("{}", information.queue_depth))?;
        Ok(())
    }
}

/// The numbers below `count` as a list of ranges.
fn list(count: usize) -> String {
    if count == 1 { "0".into() } else { format!("0-{}", count - 1) }
}

/// A new instance of the filesystem.
pub fn file_system() -> Result<Arc<dyn FileSystem>, Errno> {
    let root = DirectoryNode::new(Attributes::new(ROOT_INODE, DIRECTORY, clock::time_stamp()));
    let mut builder = Builder { last_inode: ROOT_INODE };
    let devices = builder.directory(&root, "devices")?;
    let system = builder.directory(&devices, "system")?;
    builder.harts(&system)?;
    let own_disks = builder.directory(&devices, "disks")?;
    let block = builder.directory(&root, "block")?;
    let class = builder.directory(&root, "class")?;
    let block_class = builder.directory(&class, "block")?;
    let numbers = builder.directory(&root, "dev")?;
    let block_numbers = builder.directory(&numbers, "block")?;
    builder.directory(&numbers, "char")?;
    for disk in &machine::get().disks {
        builder.disk(&own_disks, disk)?;
        builder.link(&block, &disk.name, format!("../devices/disks/{}", disk.name))?;
        builder.link(&block_class, &disk.name, format!("../../devices/disks/{}", disk.name))?;
        let number = format!("{}:{}", disk.number.major(), disk.number.minor());
        builder.link(&block_numbers, &number, format!("../../devices/disks/{}", disk.name))?;
    }
    let terminals = builder.directory(&class, "tty")?;
    let console_entry = builder.directory(&terminals, "console")?;
    builder.file(&console_entry, "active", || console::name().unwrap_or_default().into())?;
    for name in ["bus", "kernel", "fs"] {
        builder.directory(&root, name)?;
    }
    Ok(GeneratedFileSystem::new("sysfs", SYSFS_MAGIC, root))
}
