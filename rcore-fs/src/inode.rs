//! What an inode is.

use alloc::sync::Arc;
use std::any::Any;
use std::ops::ControlFlow;

use kernel_object::paged_object::PagedObject;
use linux_abi::Errno;
pub use linux_abi::file::RenameFlags;
use linux_abi::stat::{DeviceNumber, FileType};

use crate::attempt::Attempt;
use crate::generated::GeneratedFile;
use crate::metadata::{AttributeChanges, Metadata, Ownership, Touch};

/// The position of a directory's first entry: 0 and 1 are for the caller's `.` and `..`.
pub const FIRST_ENTRY: u64 = 2;

/// How an inode is to be created.
#[derive(Clone, Copy, Debug)]
pub struct Creation<'a> {
    /// What it is to be.
    pub node: NewNode<'a>,
    /// Its permission, set-id and sticky bits, with the caller's mask applied.
    pub permissions: u32,
    /// Its owner.
    pub user: u32,
    /// Its group.
    pub group: u32,
}

/// What a new inode is to be.
#[derive(Clone, Copy, Debug)]
pub enum NewNode<'a> {
    /// An empty file.
    Regular,
    /// An empty directory.
    Directory,
    /// A link to this path.
    SymbolicLink(&'a [u8]),
    /// A device without blocks.
    CharacterDevice(DeviceNumber),
    /// A device with blocks.
    BlockDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// The name of a local socket.
    Socket,
}

impl NewNode<'_> {
    /// The type that the inode will have.
    pub const fn file_type(&self) -> FileType {
        match self {
            Self::Regular => FileType::Regular,
            Self::Directory => FileType::Directory,
            Self::SymbolicLink(_) => FileType::SymbolicLink,
            Self::CharacterDevice(_) => FileType::CharacterDevice,
            Self::BlockDevice(_) => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

/// Where an inode's bytes are.
#[derive(Clone)]
pub enum Contents {
    /// In pages, which reads, writes and mappings share.
    Pages(Arc<PagedObject>),
    /// Nowhere until somebody reads: see [`crate::generated`].
    Generated(Arc<dyn GeneratedFile>),
    /// There are none: a directory, a link, or something that another part of the kernel stands behind.
    None,
}

/// One entry of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectoryEntry<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The number of its inode.
    pub inode: u64,
    /// The type of its inode.
    pub file_type: FileType,
    /// The position after it: where to go on when this entry was taken. Positions of entries that stay do not change,
    /// whatever happens to others.
    pub next: u64,
}

/// Takes the entries of a directory. It is called with locks held: it must not wait, and it writes to kernel memory.
pub trait DirectorySink: Send {
    /// Takes an entry, or breaks off because it has no room for it.
    fn push(&mut self, entry: &DirectoryEntry<'_>) -> ControlFlow<()>;
}

impl<F: FnMut(&DirectoryEntry<'_>) -> ControlFlow<()> + Send> DirectorySink for F {
    fn push(&mut self, entry: &DirectoryEntry<'_>) -> ControlFlow<()> {
        self(entry)
    }
}

/// A file, a directory, a link or a special node.
///
/// Operations on one filesystem's directories are atomic with respect to each other. Those that take a second inode
/// take one of the same filesystem, and answer `EXDEV` to another.
///
/// What an inode does not do, it refuses as Linux would: on something that is no directory directory operations give
/// `ENOTDIR`, on a directory that cannot be changed they give `EPERM`.
pub trait INode: Any + Send + Sync {
    /// Its number.
    fn number(&self) -> u64;

    /// What it is; this never changes.
    fn file_type(&self) -> FileType;

    /// All that is known about it.
    fn metadata(&self) -> Attempt<'_, Metadata>;

    /// What decides who may use it: asked for more often than anything else.
    fn ownership(&self) -> Attempt<'_, Ownership> {
        match self.metadata() {
            Attempt::Done(result) => Attempt::Done(result.map(|metadata| metadata.ownership())),
            Attempt::Wait(future) => Attempt::wait(async move { Ok(future.await?.ownership()) }),
        }
    }

    /// Changes attributes, all or none. The caller has checked that it may.
    fn set_attributes<'a>(&'a self, changes: &'a AttributeChanges) -> Attempt<'a, ()>;

    /// Notes that the content was used. Never waits and never fails; a filesystem on disk writes it later.
    fn touch(&self, which: Touch);

    /// Where its bytes are.
    fn contents(&self) -> Contents {
        Contents::None
    }

    /// The path that a symbolic link holds.
    fn read_link(&self) -> Attempt<'_, Arc<[u8]>> {
        Attempt::failed(Errno::EINVAL)
    }

    /// What a symbolic link leads to by itself, whatever its path says: an object that the layer above knows. `None` for
    /// links that are paths. So /proc leads to what a process has open although its name is gone, or it never had one.
    fn jump(&self) -> Option<Result<Arc<dyn Any + Send + Sync>, Errno>> {
        None
    }

    /// The inode behind a name. Who had to wait and asks again is answered from memory: so it is with everything that is
    /// only asked, but the memory may have been taken back meanwhile.
    fn lookup<'a>(&'a self, _name: &'a [u8]) -> Attempt<'a, Arc<dyn INode>> {
        Attempt::failed(Errno::ENOTDIR)
    }

    /// Creates an inode and gives it a name that is free.
    fn create<'a>(&'a self, _name: &'a [u8], _creation: &'a Creation<'a>) -> Attempt<'a, Arc<dyn INode>> {
        Attempt::failed(unsupported(self.file_type()))
    }

    /// Creates an inode without a name in this directory's filesystem, as `O_TMPFILE` does. [`INode::link`] names
    /// it if it `may_be_named`. It is gone when nobody uses it any more.
    fn create_unnamed<'a>(
        &'a self,
        _creation: &'a Creation<'a>,
        _may_be_named: bool,
    ) -> Attempt<'a, Arc<dyn INode>> {
        Attempt::failed(match self.file_type() {
            FileType::Directory => Errno::EOPNOTSUPP,
            _ => Errno::ENOTDIR,
        })
    }

    /// Gives an inode that is no directory another name.
    fn link<'a>(&'a self, _name: &'a [u8], _target: &'a Arc<dyn INode>) -> Attempt<'a, ()> {
        Attempt::failed(unsupported(self.file_type()))
    }

    /// Takes a name away from something that is no directory. The inode lives on while it has other names or users.
    fn unlink<'a>(&'a self, _name: &'a [u8]) -> Attempt<'a, ()> {
        Attempt::failed(unsupported(self.file_type()))
    }

    /// Removes an empty directory.
    fn remove_directory<'a>(&'a self, _name: &'a [u8]) -> Attempt<'a, ()> {
        Attempt::failed(unsupported(self.file_type()))
    }

    /// Moves a name, in one step for everybody who looks. What had the new name loses it, if that is allowed.
    fn rename<'a>(
        &'a self,
        _old_name: &'a [u8],
        _new_directory: &'a Arc<dyn INode>,
        _new_name: &'a [u8],
        _flags: RenameFlags,
    ) -> Attempt<'a, ()> {
        Attempt::failed(unsupported(self.file_type()))
    }

    /// Hands the entries from a position on to `sink`, until it breaks off or there are no more; `.` and `..` are not
    /// among them. The caller goes on at [`DirectoryEntry::next`] of the last entry taken. An entry that exists during
    /// a whole scan is seen exactly once, whatever is created, removed or renamed meanwhile.
    fn iterate<'a>(&'a self, _from: u64, _sink: &'a mut dyn DirectorySink) -> Attempt<'a, ()> {
        Attempt::failed(Errno::ENOTDIR)
    }

    /// A position behind all present entries, and not behind later ones: those have a [`DirectoryEntry::next`] above
    /// it. A scan that stops at the first of these ends even if each entry makes it create another.
    fn end_position(&self) -> u64 {
        u64::MAX
    }

    /// Brings the content to stable storage, and the attributes too unless `data_only` is set.
    fn sync(&self, _data_only: bool) -> Attempt<'_, ()> {
        Attempt::ready(())
    }
}

/// What a directory operation answers on something that does not have it.
fn unsupported(file_type: FileType) -> Errno {
    match file_type {
        FileType::Directory => Errno::EPERM,
        _ => Errno::ENOTDIR,
    }
}

impl dyn INode {
    /// The inode as what its own filesystem knows it as.
    pub fn downcast<T: INode>(self: Arc<Self>) -> Option<Arc<T>> {
        let any: Arc<dyn Any + Send + Sync> = self;
        any.downcast().ok()
    }

    /// As `downcast`, for a reference.
    pub fn downcast_ref<T: INode>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}
