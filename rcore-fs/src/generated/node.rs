//! Generated files and links as inodes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use std::any::Any;

use linux_abi::Errno;
use linux_abi::stat::{DeviceNumber, FileType};
use linux_abi::time::Timespec;

use super::content::GeneratedFile;
use crate::attempt::Attempt;
use crate::inode::{Contents, INode};
use crate::metadata::{AttributeChanges, Metadata, Touch};

/// Says who owns an inode, at the moment when somebody asks.
pub type OwnerSource = Box<dyn Fn() -> (u32, u32) + Send + Sync>;

/// What an inode's maker says about it.
pub struct Attributes {
    /// Its number. [`dynamic_inode_number`] makes one for what comes and goes.
    pub inode: u64,
    /// Its permission bits.
    pub permissions: u32,
    /// Its only time stamp: when it was made.
    pub time: Timespec,
    /// Its owner and group; root's if it is not said.
    pub owner: Option<OwnerSource>,
    /// How a directory answers to whoever wants to create something in it.
    pub refusal: Errno,
}

impl Attributes {
    /// Those of something that belongs to root.
    pub fn new(inode: u64, permissions: u32, time: Timespec) -> Self {
        Self { inode, permissions, time, owner: None, refusal: Errno::EPERM }
    }

    /// Whose owner a callback tells: a process may change who it belongs to.
    pub fn owned_by(self, owner: impl Fn() -> (u32, u32) + Send + Sync + 'static) -> Self {
        Self { owner: Some(Box::new(owner)), ..self }
    }

    /// Of a directory that refuses to have something created in it with this error.
    pub fn refusing(self, refusal: Errno) -> Self {
        Self { refusal, ..self }
    }

    pub(super) fn metadata(&self, file_type: FileType, links: u32) -> Metadata {
        let (user, group) = self.owner.as_ref().map_or((0, 0), |owner| owner());
        Metadata {
            inode: self.inode,
            file_type,
            permissions: self.permissions,
            links,
            user,
            group,
            size: 0,
            blocks: 0,
            block_size: 4096,
            device: DeviceNumber::default(),
            accessed: self.time,
            modified: self.time,
            changed: self.time,
            created: self.time,
        }
    }
}

/// A number for an inode that is made when it is looked up: the same one each time for the same thing, and hardly that
/// of another. The upper half of the numbers is set aside for these.
pub fn dynamic_inode_number(parent: u64, key: u64) -> u64 {
    let mut mixed = parent.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key.wrapping_add(0x2545_f491_4f6c_dd1d);
    for _ in 0..2 {
        mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (mixed ^ (mixed >> 32)) >> 1 | 1 << 63
}

/// A generated regular file.
pub struct FileNode {
    attributes: Attributes,
    file: Arc<dyn GeneratedFile>,
}

impl FileNode {
    /// A file with these attributes and this content.
    pub fn new(attributes: Attributes, file: impl GeneratedFile + 'static) -> Arc<Self> {
        Arc::new(Self { attributes, file: Arc::new(file) })
    }
}

impl INode for FileNode {
    fn number(&self) -> u64 {
        self.attributes.inode
    }

    fn file_type(&self) -> FileType {
        FileType::Regular
    }

    /// The size is 0, as Linux says: how long the content is only shows when it is read.
    fn metadata(&self) -> Attempt<'_, Metadata> {
        Attempt::ready(self.attributes.metadata(FileType::Regular, 1))
    }

    /// Only the size may be "changed": opening for writing cuts a file, and here there is nothing to cut.
    fn set_attributes<'a>(&'a self, changes: &'a AttributeChanges) -> Attempt<'a, ()> {
        let beside_size = AttributeChanges { size: None, modified: None, ..*changes };
        if beside_size.is_empty() { Attempt::ready(()) } else { Attempt::failed(Errno::EPERM) }
    }

    fn touch(&self, _which: Touch) {}

    fn contents(&self) -> Contents {
        Contents::Generated(Arc::clone(&self.file))
    }
}

/// Says where a link leads, at the moment when somebody asks.
pub type TargetSource = Box<dyn Fn() -> Result<Arc<[u8]>, Errno> + Send + Sync>;

/// Says which object a link leads to, at the moment when somebody asks.
pub type JumpSource = Box<dyn Fn() -> Result<Arc<dyn Any + Send + Sync>, Errno> + Send + Sync>;

/// A generated symbolic link.
pub struct LinkNode {
    attributes: Attributes,
    target: TargetSource,
    jump: Option<JumpSource>,
}

impl LinkNode {
    /// A link that leads where `target` says.
    pub fn new(
        attributes: Attributes,
        target: impl Fn() -> Result<Arc<[u8]>, Errno> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { attributes, target: Box::new(target), jump: None })
    }

    /// A link that leads to the object that `jump` returns; what `target` says is only shown.
    pub fn to_object(
        attributes: Attributes,
        target: impl Fn() -> Result<Arc<[u8]>, Errno> + Send + Sync + 'static,
        jump: impl Fn() -> Result<Arc<dyn Any + Send + Sync>, Errno> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { attributes, target: Box::new(target), jump: Some(Box::new(jump)) })
    }
}

impl INode for LinkNode {
    fn number(&self) -> u64 {
        self.attributes.inode
    }

    fn file_type(&self) -> FileType {
        FileType::SymbolicLink
    }

    fn metadata(&self) -> Attempt<'_, Metadata> {
        Attempt::ready(self.attributes.metadata(FileType::SymbolicLink, 1))
    }

    fn set_attributes<'a>(&'a self, _changes: &'a AttributeChanges) -> Attempt<'a, ()> {
        Attempt::failed(Errno::EPERM)
    }

    fn touch(&self, _which: Touch) {}

    fn read_link(&self) -> Attempt<'_, Arc<[u8]>> {
        (self.target)().into()
    }

    fn jump(&self) -> Option<Result<Arc<dyn Any + Send + Sync>, Errno>> {
        self.jump.as_ref().map(|jump| jump())
    }
}
