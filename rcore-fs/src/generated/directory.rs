//! Generated directories: entries that were put there, and entries that a callback knows.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use std::ops::ControlFlow;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::stat::FileType;

use super::node::Attributes;
use crate::attempt::Attempt;
use crate::directory_table::DirectoryTable;
use crate::inode::{Creation, DirectoryEntry, DirectorySink, INode};
use crate::metadata::{AttributeChanges, Metadata, Touch};
use crate::names::{check_length, check_new_name};

/// Where the positions of dynamic entries begin; those of fixed entries stay below.
const DYNAMIC_POSITIONS: u64 = 1 << 32;

/// An entry that a callback lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DynamicEntry {
    /// Its place in the order: never used for two entries at once, below 2^62.
    pub key: u64,
    /// Its name.
    pub name: String,
    /// The number of its inode.
    pub inode: u64,
    /// The type of its inode.
    pub file_type: FileType,
}

/// Lists and looks up entries that come and go by themselves: processes, descriptors.
pub trait DynamicEntries: Send + Sync {
    /// The entry with the lowest key that is not below `from`. Because it is asked for one entry at a time, a listing
    /// survives whatever happens between two questions.
    fn next(&self, from: u64) -> Option<DynamicEntry>;

    /// The inode behind a name; `ENOENT` if there is none.
    fn lookup<'a>(&'a self, name: &'a [u8]) -> Attempt<'a, Arc<dyn INode>>;
}

/// A generated directory.
pub struct DirectoryNode {
    attributes: Attributes,
    fixed: SpinLock<DirectoryTable<Arc<dyn INode>>>,
    dynamic: Option<Box<dyn DynamicEntries>>,
}

impl DirectoryNode {
    /// An empty directory.
    pub fn new(attributes: Attributes) -> Arc<Self> {
        Self::with(attributes, None)
    }

    /// A directory whose entries, beside those that are [added](Self::add), a callback knows.
    pub fn dynamic(attributes: Attributes, entries: impl DynamicEntries + 'static) -> Arc<Self> {
        Self::with(attributes, Some(Box::new(entries)))
    }

    fn with(attributes: Attributes, dynamic: Option<Box<dyn DynamicEntries>>) -> Arc<Self> {
        let fixed = SpinLock::new(Rank::INODE, DirectoryTable::new());
        Arc::new(Self { attributes, fixed, dynamic })
    }

    /// Adds an entry that stays until it is removed.
    pub fn add(&self, name: &str, node: Arc<dyn INode>) -> Result<(), Errno> {
        check_new_name(name.as_bytes())?;
        let mut fixed = self.fixed.lock();
        if fixed.get(name.as_bytes()).is_some() {
            return Err(Errno::EEXIST);
        }
        fixed.insert(name.as_bytes(), node);
        Ok(())
    }

    /// Removes an added entry, and gives back what it led to.
    pub fn remove(&self, name: &str) -> Option<Arc<dyn INode>> {
        self.fixed.lock().remove(name.as_bytes())
    }

    fn list(&self, from: u64, sink: &mut dyn DirectorySink) {
        if from < DYNAMIC_POSITIONS {
            let fixed = self.fixed.lock();
            if fixed.iterate(from, sink, |node| (node.number(), node.file_type())).is_break() {
                return;
            }
        }
        let Some(dynamic) = &self.dynamic else { return };
        let mut key = from.saturating_sub(DYNAMIC_POSITIONS);
        while let Some(entry) = dynamic.next(key) {
            let DynamicEntry { inode, file_type, .. } = entry;
            let next = entry.key + 1;
            let entry = DirectoryEntry {
                name: entry.name.as_bytes(),
                inode,
                file_type,
                next: DYNAMIC_POSITIONS + next,
            };
            if let ControlFlow::Break(()) = sink.push(&entry) {
                return;
            }
            key = next;
        }
    }
}

impl INode for DirectoryNode {
    fn number(&self) -> u64 {
        self.attributes.inode
    }

    fn file_type(&self) -> FileType {
        FileType::Directory
    }

    /// The links count the fixed subdirectories; dynamic ones would have to be listed for it.
    fn metadata(&self) -> Attempt<'_, Metadata> {
        let subdirectories = {
            let fixed = self.fixed.lock();
            let mut count = 0;
            let mut counter = |entry: &DirectoryEntry<'_>| {
                count += u32::from(entry.file_type == FileType::Directory);
                ControlFlow::Continue(())
            };
            let _ = fixed.iterate(0, &mut counter, |node| (node.number(), node.file_type()));
            count
        };
        Attempt::ready(self.attributes.metadata(FileType::Directory, 2 + subdirectories))
    }

    fn set_attributes<'a>(&'a self, _changes: &'a AttributeChanges) -> Attempt<'a, ()> {
        Attempt::failed(Errno::EPERM)
    }

    fn touch(&self, _which: Touch) {}

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Attempt<'a, Arc<dyn INode>> {
        if let Err(error) = check_length(name) {
            return Attempt::failed(error);
        }
        if let Some(node) = self.fixed.lock().get(name) {
            return Attempt::ready(Arc::clone(node));
        }
        match &self.dynamic {
            Some(dynamic) => dynamic.lookup(name),
            None => Attempt::failed(Errno::ENOENT),
        }
    }

    fn create<'a>(&'a self, _name: &'a [u8], _creation: &'a Creation<'a>) -> Attempt<'a, Arc<dyn INode>> {
        Attempt::failed(self.attributes.refusal)
    }

    fn iterate<'a>(&'a self, from: u64, sink: &'a mut dyn DirectorySink) -> Attempt<'a, ()> {
        self.list(from, sink);
        Attempt::ready(())
    }
}
