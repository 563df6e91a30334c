//! `/proc/PID`: one process, or one of its threads, from outside.
//!
//! A directory is a table of entries; an inode is made for the entry that is looked up. Who may see what follows Linux:
//! what only the owner may know belongs to the owner and has no rights for others, and what shows the inside of a
//! process is refused to whoever could not trace it.

mod accounting;
mod descriptors;
mod links;
mod memory;
mod mounts;
mod settings;
mod status;

use alloc::string::ToString;
use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::stat::FileType;
use rcore_fs::generated::{
    Attributes, ContentBuffer, DirectoryNode, DynamicEntries, DynamicEntry, FileNode, GeneratedFile,
    dynamic_inode_number,
};
use rcore_fs::{Attempt, INode, SlowPath};

pub(super) use accounting::ticks;

use super::text::Produced;
use super::{attributes_of, numbered_entry, parse_number};
use crate::process::{Process, find_process, find_thread};
use crate::thread::{Resources, Thread, current_thread};

/// Whose directory it is.
#[derive(Clone)]
pub(super) struct Subject {
    process: Arc<Process>,
    /// The number of the thread that stands for it.
    id: i32,
    /// Whether it is that thread alone that is told about.
    is_thread: bool,
}

impl Subject {
    /// A process, under a number that it or one of its threads has.
    pub(super) fn process(process: Arc<Process>, id: i32) -> Self {
        Self { process, id, is_thread: false }
    }

    /// The thread whose state is shown; `ESRCH` if there is none any more.
    fn thread(&self) -> Result<Arc<Thread>, Errno> {
        let own = find_thread(self.id).filter(|thread| Arc::ptr_eq(thread.process(), &self.process));
        if self.is_thread {
            return own.ok_or(Errno::ESRCH);
        }
        own.or_else(|| self.process.threads().into_iter().next()).ok_or(Errno::ESRCH)
    }

    fn resources(&self) -> Result<Resources, Errno> {
        Ok(self.thread()?.resources())
    }

    /// Whether there still is such a process.
    fn check_alive(&self) -> Result<(), Errno> {
        let is_known = match self.is_thread {
            true => find_thread(self.id).is_some(),
            false => find_process(self.process.id()).is_some_and(|found| Arc::ptr_eq(&found, &self.process)),
        };
        if is_known { Ok(()) } else { Err(Errno::ESRCH) }
    }

    /// Whether the caller may look inside the process: what Linux's `ptrace_may_access` says to a reader.
    fn check_inspection(&self) -> Result<(), Errno> {
        let Some(caller) = current_thread() else { return Ok(()) };
        if Arc::ptr_eq(caller.process(), &self.process) {
            return Ok(());
        }
        let (caller, target) = (caller.process().credentials(), self.process.credentials());
        let users = [target.effective_user, target.saved_user, target.real_user];
        let groups = [target.effective_group, target.saved_group, target.real_group];
        let is_same = users.iter().all(|&user| user == caller.file_user)
            && groups.iter().all(|&group| group == caller.file_group);
        if is_same || caller.is_privileged() { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// The attributes of something in its directory.
    pub(in crate::procfs) fn attributes(&self, inode: u64, permissions: u32) -> Attributes {
        let process = self.process.clone();
        attributes_of(inode, permissions).owned_by(move || {
            let credentials = process.credentials();
            (credentials.effective_user, credentials.effective_group)
        })
    }
}

/// What an entry is.
#[derive(Clone, Copy)]
enum Kind {
    /// Text that is made at once.
    Text(fn(&Subject, &mut ContentBuffer) -> Produced),
    /// Text about the inside of the process.
    Inside(fn(&Subject, &mut ContentBuffer) -> Produced),
    /// Bytes from its memory, for which a page may have to be fetched.
    Memory(fn(Subject, ContentBuffer) -> SlowPath<'static, ContentBuffer>),
    /// Text that can be changed.
    Setting(fn(&Subject, &mut ContentBuffer) -> Produced, fn(&Subject, &[u8]) -> Result<(), Errno>),
    /// A link to an object.
    Link(fn(&Subject, u64) -> Arc<dyn INode>),
    /// A directory.
    Directory(fn(&Subject, u64) -> Arc<dyn INode>),
}

impl Kind {
    fn file_type(self) -> FileType {
        match self {
            Self::Link(_) => FileType::SymbolicLink,
            Self::Directory(_) => FileType::Directory,
            _ => FileType::Regular,
        }
    }
}

/// One entry of the directory of a process.
struct Entry {
    name: &'static str,
    permissions: u32,
    kind: Kind,
    /// Whether threads have it, too.
    of_threads: bool,
}

const fn entry(name: &'static str, permissions: u32, kind: Kind) -> Entry {
    Entry { name, permissions, kind, of_threads: true }
}

const fn of_process(name: &'static str, permissions: u32, kind: Kind) -> Entry {
    Entry { of_threads: false, ..entry(name, permissions, kind) }
}

/// In Linux's order.
const ENTRIES: &[Entry] = &[
    of_process("task", 0o555, Kind::Directory(task_directory)),
    entry("fd", 0o500, Kind::Directory(descriptors::directory)),
    entry("fdinfo", 0o555, Kind::Directory(descriptors::info_directory)),
    entry("net", 0o555, Kind::Directory(super::network::directory)),
    entry("environ", 0o400, Kind::Memory(memory::environment)),
    entry("auxv", 0o400, Kind::Inside(memory::auxiliary)),
    entry("status", 0o444, Kind::Text(status::status)),
    entry("personality", 0o400, Kind::Inside(status::personality)),
    entry("limits", 0o444, Kind::Text(settings::limits)),
    entry("sched", 0o444, Kind::Text(accounting::sched)),
    entry("comm", 0o644, Kind::Setting(settings::name, settings::set_name)),
    entry("cmdline", 0o444, Kind::Memory(memory::command_line)),
    entry("stat", 0o444, Kind::Text(status::stat)),
    entry("statm", 0o444, Kind::Text(status::statm)),
    entry("maps", 0o444, Kind::Inside(memory::maps)),
    entry("cwd", 0o777, Kind::Link(links::working_directory)),
    entry("root", 0o777, Kind::Link(links::root)),
    entry("exe", 0o777, Kind::Link(links::executable)),
    entry("mounts", 0o444, Kind::Text(mounts::mounts)),
    entry("mountinfo", 0o444, Kind::Text(mounts::information)),
    entry("smaps_rollup", 0o444, Kind::Inside(memory::rollup)),
    entry("wchan", 0o444, Kind::Text(status::wait_channel)),
    entry("schedstat", 0o444, Kind::Text(accounting::schedstat)),
    entry("oom_score", 0o444, Kind::Text(settings::oom_score)),
    entry("oom_adj", 0o644, Kind::Setting(settings::oom_adjustment, settings::set_oom_adjustment)),
    entry(
        "oom_score_adj",
        0o644,
        Kind::Setting(settings::oom_score_adjustment, settings::set_oom_score_adjustment),
    ),
    entry("uid_map", 0o444, Kind::Text(settings::identity_map)),
    entry("gid_map", 0o444, Kind::Text(settings::identity_map)),
];

/// An entry's file.
struct ProcessFile {
    subject: Subject,
    kind: Kind,
}

impl GeneratedFile for ProcessFile {
    fn check_open(&self) -> Result<(), Errno> {
        self.subject.check_alive()?;
        match self.kind {
            Kind::Inside(_) => self.subject.check_inspection(),
            _ => Ok(()),
        }
    }

    fn produce(&self, mut output: ContentBuffer) -> Attempt<'_, ContentBuffer> {
        if let Err(errno) = self.subject.check_alive() {
            return Attempt::failed(errno);
        }
        match self.kind {
            Kind::Text(write) | Kind::Inside(write) | Kind::Setting(write, _) => {
                let outcome = write(&self.subject, &mut output);
                output.conclude(outcome).into()
            }
            Kind::Memory(read) => Attempt::Wait(read(self.subject.clone(), output)),
            Kind::Link(_) | Kind::Directory(_) => Attempt::failed(Errno::EINVAL),
        }
    }

    fn consume(&self, _offset: u64, input: &[u8]) -> Result<usize, Errno> {
        self.subject.check_alive()?;
        let Kind::Setting(_, store) = self.kind else { return Err(Errno::EINVAL) };
        store(&self.subject, input)?;
        Ok(input.len())
    }
}

/// The directory of a process or thread.
pub(super) fn directory(subject: Subject, inode: u64) -> Arc<dyn INode> {
    let attributes = subject.attributes(inode, 0o555);
    DirectoryNode::dynamic(attributes, ProcessDirectory { subject, inode })
}

struct ProcessDirectory {
    subject: Subject,
    inode: u64,
}

impl ProcessDirectory {
    fn has(&self, entry: &Entry) -> bool {
        entry.of_threads || !self.subject.is_thread
    }
}

impl DynamicEntries for ProcessDirectory {
    fn next(&self, from: u64) -> Option<DynamicEntry> {
        self.subject.check_alive().ok()?;
        let rest = ENTRIES.iter().enumerate().skip(usize::try_from(from).ok()?);
        let (key, entry) = rest.into_iter().find(|(_, entry)| self.has(entry))?;
        Some(DynamicEntry {
            key: key as u64,
            name: entry.name.to_string(),
            inode: dynamic_inode_number(self.inode, key as u64),
            file_type: entry.kind.file_type(),
        })
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Attempt<'a, Arc<dyn INode>> {
        if self.subject.check_alive().is_err() {
            return Attempt::failed(Errno::ENOENT);
        }
        let found = ENTRIES.iter().enumerate().find(|(_, entry)| entry.name.as_bytes() == name);
        let Some((key, entry)) = found.filter(|(_, entry)| self.has(entry)) else {
            return Attempt::failed(Errno::ENOENT);
        };
        let inode = dynamic_inode_number(self.inode, key as u64);
        Attempt::ready(match entry.kind {
            Kind::Link(make) | Kind::Directory(make) => make(&self.subject, inode),
            kind => {
                let attributes = self.subject.attributes(inode, entry.permissions);
                FileNode::new(attributes, ProcessFile { subject: self.subject.clone(), kind })
            }
        })
    }
}

fn task_directory(subject: &Subject, inode: u64) -> Arc<dyn INode> {
    DirectoryNode::dynamic(
        subject.attributes(inode, 0o555),
        Tasks { process: subject.process.clone(), inode },
    )
}

/// The threads of a process.
struct Tasks {
    process: Arc<Process>,
    inode: u64,
}

impl DynamicEntries for Tasks {
    fn next(&self, from: u64) -> Option<DynamicEntry> {
        let id = self.process.next_thread(i32::try_from(from).ok()?)?;
        Some(numbered_entry(self.inode, id, FileType::Directory))
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Attempt<'a, Arc<dyn INode>> {
        let thread = parse_number(name).and_then(find_thread);
        let Some(thread) = thread.filter(|thread| Arc::ptr_eq(thread.process(), &self.process)) else {
            return Attempt::failed(Errno::ENOENT);
        };
        let id = thread.id();
        let subject = Subject { process: self.process.clone(), id, is_thread: true };
        Attempt::ready(directory(subject, dynamic_inode_number(self.inode, id as u64)))
    }
}
