//! `/proc`: what the kernel tells about itself in text.

use alloc::format;
use alloc::sync::Arc;
use core::fmt::Write;

use kernel_hal::Instant;
use kernel_object::frame;
use linux_abi::Errno;
use linux_abi::statfs::PROC_SUPER_MAGIC;
use rcore_fs::FileSystem;
use rcore_fs::generated::{
    Attributes, ContentBuffer, DirectoryNode, FileNode, GeneratedFileSystem, TextFile,
};

use crate::{clock, namespace, version};

const READ_ONLY: u32 = 0o444;
const DIRECTORY: u32 = 0o555;
const ROOT_INODE: u64 = 1;

type Writer = fn(&mut ContentBuffer) -> core::fmt::Result;

const FILES: [(&str, Writer); 4] = [
    ("version", write_version),
    ("uptime", write_uptime),
    ("meminfo", write_meminfo),
    ("mounts", write_mounts),
];

/// A new instance of the filesystem.
pub fn file_system() -> Result<Arc<dyn FileSystem>, Errno> {
    let time = clock::time_stamp();
    let root = DirectoryNode::new(Attributes::new(ROOT_INODE, DIRECTORY, time));
    for (index, (name, writer)) in FILES.into_iter().enumerate() {
        let inode = ROOT_INODE + 1 + index as u64;
        root.add(name, FileNode::new(Attributes::new(inode, READ_ONLY, time), TextFile(writer)))?;
    }
    Ok(GeneratedFileSystem::new("proc", PROC_SUPER_MAGIC, root))
}

fn write_version(output: &mut ContentBuffer) -> core::fmt::Result {
    writeln!(output, "Linux version {} (zcore@zcore) (rustc) {}", version::RELEASE, version::VERSION)
}

fn write_uptime(output: &mut ContentBuffer) -> core::fmt::Result {
    let centiseconds = Instant::now().as_nanos() / 10_000_000;
    writeln!(output, "{}.{:02} 0.00", centiseconds / 100, centiseconds % 100)
}

fn write_meminfo(output: &mut ContentBuffer) -> core::fmt::Result {
    let statistics = frame::statistics();
    let kib = |frames: usize| format!("{:8} kB", frames * 4);
    writeln!(output, "MemTotal:       {}", kib(statistics.total))?;
    writeln!(output, "MemFree:        {}", kib(statistics.free))?;
    writeln!(output, "MemAvailable:   {}", kib(statistics.free))
}

fn write_mounts(output: &mut ContentBuffer) -> core::fmt::Result {
    for mount in namespace::mounts() {
        let path = match mount.attached_at() {
            Some(place) => place.absolute_path().unwrap_or_default(),
            None => alloc::vec![b'/'],
        };
        let name = mount.file_system().name();
        let path = alloc::string::String::from_utf8_lossy(&path);
        writeln!(output, "{name} {path} {name} rw 0 0")?;
    }
    Ok(())
}
