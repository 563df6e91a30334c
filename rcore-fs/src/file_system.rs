//! What a mounted filesystem is.

use alloc::sync::Arc;
use std::any::Any;

use bitflags::bitflags;
use linux_abi::Errno;
use linux_abi::stat::DeviceNumber;
use linux_abi::statfs::Statfs;

use crate::attempt::Attempt;
use crate::inode::INode;

bitflags! {
    /// What the layer above must know about a filesystem.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct FileSystemFlags: u32 {
        /// It lies on a block device; /proc/filesystems lists others as `nodev`.
        const NEEDS_DEVICE = 1;
        /// Nothing in it can be changed.
        const READ_ONLY = 2;
        /// Its inodes come and go without the layer above doing it: a name that was looked up must be looked up again.
        const VOLATILE_NAMES = 4;
        /// It is all memory: writing back does nothing, and its pages cannot be reclaimed by dropping them.
        const MEMORY_ONLY = 8;
    }
}

/// A filesystem. Dropping the last reference to it unmounts it; a filesystem that has to write something first is
/// told by [`FileSystem::sync`].
pub trait FileSystem: Any + Send + Sync {
    /// What `mount` and /proc/filesystems call it.
    fn name(&self) -> &'static str;

    /// What there is to know about it.
    fn flags(&self) -> FileSystemFlags;

    /// The device that it lies on, if any: what `stat` says of its files.
    fn device(&self) -> Option<DeviceNumber> {
        None
    }

    /// The directory at its top.
    fn root(&self) -> Arc<dyn INode>;

    /// What `statfs` tells. The identifier and the mount flags are the caller's to fill in.
    fn status(&self) -> Attempt<'_, Statfs>;

    /// Takes other options, as remounting gives them; `EINVAL` if it does not know one.
    fn reconfigure(&self, options: &str) -> Result<(), Errno> {
        if options.is_empty() { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Brings everything to stable storage.
    fn sync(&self) -> Attempt<'_, ()> {
        Attempt::ready(())
    }

    /// Forgets what nobody uses and what can be brought again from where it is stored.
    fn drop_caches(&self) {}

    /// Options as /proc/mounts shows them, after the mount's own: empty, or beginning with a comma.
    fn show_options(&self, _output: &mut dyn std::fmt::Write) -> std::fmt::Result {
        Ok(())
    }
}
