//! `/proc`: what the kernel tells about itself and its processes, in the text that Linux's programs parse.
//!
//! Each file is made when it is read. Processes are directories whose entries are looked up, not kept: what a process
//! costs does not depend on whether `/proc` is mounted.

mod network;
mod process;
mod sysctl;
mod system;
mod text;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::stat::FileType;
use linux_abi::statfs::PROC_SUPER_MAGIC;
use rcore_fs::generated::{
    Attributes, ContentBuffer, DirectoryNode, DynamicEntries, DynamicEntry, FileNode, GeneratedFileSystem,
    LinkNode, dynamic_inode_number,
};
use rcore_fs::{Attempt, FileSystem, INode};

use crate::clock;
use crate::ipc::shared_memory;
use crate::process::{find_process, next_process};
use crate::thread::{Thread, current_thread};
use process::Subject;

const DIRECTORY: u32 = 0o555;
const LINK: u32 = 0o777;
const ROOT_INODE: u64 = 1;

/// Writes a text.
pub type TextWriter = fn(&mut dyn fmt::Write) -> fmt::Result;

static OWN_FILES: SpinLock<Vec<(&'static str, TextWriter)>> = SpinLock::new(Rank::DEVICE_TABLE, Vec::new());

/// Adds a file to `/proc/zcore`, where this kernel shows what Linux does not have. To be called at boot.
pub fn add_own_file(name: &'static str, writer: TextWriter) {
    OWN_FILES.lock().push((name, writer));
}

/// A new instance of the filesystem.
pub fn file_system() -> Result<Arc<dyn FileSystem>, Errno> {
    let mut last_inode = ROOT_INODE;
    let mut attributes = |permissions| {
        last_inode += 1;
        attributes_of(last_inode, permissions)
    };
    let root = DirectoryNode::dynamic(attributes_of(ROOT_INODE, DIRECTORY), Processes);
    for &(name, permissions, writer) in system::FILES {
        root.add(name, FileNode::new(attributes(permissions), text::Text(writer)))?;
    }
    root.add(
        "self",
        LinkNode::new(attributes(LINK), || of_caller(|thread| format!("{}", thread.process().id()))),
    )?;
    let thread_self = |thread: &Thread| format!("{}/task/{}", thread.process().id(), thread.id());
    root.add("thread-self", LinkNode::new(attributes(LINK), move || of_caller(thread_self)))?;
    for (name, target) in [("mounts", "self/mounts"), ("net", "self/net")] {
        root.add(name, LinkNode::new(attributes(LINK), || Ok(target.as_bytes().into())))?;
    }
    root.add("sys", sysctl::directory(&mut attributes)?)?;
    let own = DirectoryNode::new(attributes(DIRECTORY));
    // The lock is not held while the files are added.
    let own_files = OWN_FILES.lock().clone();
    for (name, writer) in own_files {
        let content = text::Text(move |output: &mut ContentBuffer| Ok(writer(output)?));
        own.add(name, FileNode::new(attributes(0o444), content))?;
    }
    root.add("zcore", own)?;
    let shared = DirectoryNode::new(attributes(DIRECTORY));
    let segments = text::Text(|output: &mut ContentBuffer| Ok(shared_memory::write_table(output)?));
    shared.add("shm", FileNode::new(attributes(0o444), segments))?;
    root.add("sysvipc", shared)?;
    Ok(GeneratedFileSystem::new("proc", PROC_SUPER_MAGIC, root))
}

/// Attributes as everything in /proc has them: a name that is not there cannot be made.
fn attributes_of(inode: u64, permissions: u32) -> Attributes {
    Attributes::new(inode, permissions, clock::time_stamp()).refusing(Errno::ENOENT)
}

/// A link's text that depends on who reads it.
fn of_caller(text: impl Fn(&Thread) -> String) -> Result<Arc<[u8]>, Errno> {
    let caller = current_thread().ok_or(Errno::ENOENT)?;
    Ok(text(&caller).into_bytes().into())
}

/// A name that is a number as the kernel writes it.
fn parse_number(name: &[u8]) -> Option<i32> {
    let text = core::str::from_utf8(name).ok()?;
    let is_canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_canonical { text.parse().ok() } else { None }
}

/// A directory entry that is named after its key.
fn numbered_entry(parent: u64, number: i32, file_type: FileType) -> DynamicEntry {
    let key = number as u64;
    DynamicEntry { key, name: format!("{number}"), inode: dynamic_inode_number(parent, key), file_type }
}

/// The processes, by number. Threads that are not the first of their process can be looked up, too, but are not listed,
/// as on Linux.
struct Processes;

impl DynamicEntries for Processes {
    fn next(&self, from: u64) -> Option<DynamicEntry> {
        let process = next_process(i32::try_from(from).ok()?)?;
        Some(numbered_entry(ROOT_INODE, process.id(), FileType::Directory))
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Attempt<'a, Arc<dyn INode>> {
        let found = parse_number(name).and_then(|id| {
            let process = find_process(id).or_else(|| {
                let thread = crate::process::find_thread(id)?;
                Some(thread.process().clone())
            })?;
            Some((id, process))
        });
        let Some((id, process)) = found else { return Attempt::failed(Errno::ENOENT) };
        let inode = dynamic_inode_number(ROOT_INODE, id as u64);
        Attempt::ready(process::directory(Subject::process(process, id), inode))
    }
}
