//! ext4, read-only.
//!
//! * Metadata is read through the pages of the disk ([`Disk::pages`]), which the device node shares; there is no
//!   second cache of blocks. Each step is an attempt that begins anew when a block had to be brought (`stall.rs`), so
//!   nothing waits in the middle and what is in memory is answered without a future.
//! * The data of a file is a paged object of its own, filled by requests for whole runs of blocks (`data.rs`).
//! * There is one live object for each inode. Those that nobody uses are kept, with the pages of their data, until
//!   there are too many, or memory is short, or somebody asks to drop caches.
//! * Nothing on the disk is trusted. Checksums are verified (CRC-32C of superblock, groups, inodes, extents and
//!   directories: `EBADMSG`), and every number is checked where it is used (`EUCLEAN`): a damaged image gives errors,
//!   never a panic and never an endless walk.
//!
//! What `mke2fs -t ext4` makes is supported, so are ext2 and ext3 (block pointers, no checksums). What is not is
//! refused at mount, by name: inline data, encryption, case folding, a journal on another device. A journal that has to
//! be replayed is refused unless `noload` says to pass it over. Extended attributes are not read.

mod block_map;
mod checksum;
mod data;
mod directory;
mod layout;
mod name_hash;
mod node;
mod stall;
mod superblock;
#[cfg(test)]
mod tests;
mod volume;

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::limits::NAME_MAX;
use linux_abi::stat::{DeviceNumber, FileType};
use linux_abi::statfs::{EXT4_SUPER_MAGIC, Statfs};

use crate::attempt::Attempt;
use crate::disk::Disk;
use crate::file_data::pager_errno;
use crate::file_system::{FileSystem, FileSystemFlags};
use crate::inode::INode;
use layout::{ROOT_INODE, RawSuperblock, SUPERBLOCK_OFFSET};
use node::Node;
use superblock::Geometry;
pub use superblock::Refusal;
use volume::Volume;

/// What `mount` can ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ext4Options {
    /// A journal that has to be replayed is passed over: `noload`, also known as `norecovery`.
    pub without_journal: bool,
}

impl Ext4Options {
    /// Reads the words of a mount's options. Those that change nothing as long as nothing is written are accepted;
    /// others are refused with `EINVAL`.
    pub fn parse(text: &str) -> Result<Self, Errno> {
        let mut options = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word.split_once('=').map_or(word, |(name, _)| name) {
                "noload" | "norecovery" => options.without_journal = true,
                "errors"
                | "data"
                | "commit"
                | "barrier"
                | "nobarrier"
                | "discard"
                | "nodiscard"
                | "delalloc"
                | "nodelalloc"
                | "stripe"
                | "init_itable"
                | "noinit_itable"
                | "inode_readahead_blks"
                | "max_batch_time"
                | "min_batch_time"
                | "auto_da_alloc"
                | "noauto_da_alloc"
                | "lazytime"
                | "nolazytime"
                | "journal_checksum"
                | "nojournal_checksum" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }
}

/// A mounted ext4 filesystem.
pub struct Ext4 {
    volume: Arc<Volume>,
    root: Arc<Node>,
    options: Ext4Options,
}

impl Ext4 {
    /// Mounts what is on a disk. If it is mounted already this is another view of the same.
    pub async fn mount(disk: &Arc<Disk>, options: Ext4Options) -> Result<Arc<Self>, Refusal> {
        if let Some(mounted) = disk.mounted::<Self>() {
            return Ok(mounted);
        }
        let mut raw = RawSuperblock([0; RawSuperblock::SIZE]);
        let read = disk.pages().read(SUPERBLOCK_OFFSET as u64, &mut raw.0).await;
        if read.map_err(pager_errno)? < RawSuperblock::SIZE {
            return Err(Refusal::new(Errno::EINVAL, "the disk is too small for a filesystem"));
        }
        let geometry = Geometry::read(&raw, disk.bytes(), options.without_journal)?;
        if geometry.has_errors {
            log::warn!("ext4: the filesystem is marked as having errors: run e2fsck");
        }
        let volume = Arc::new(Volume::new(disk.clone(), geometry));
        let root = stall::finish(|| volume.node(ROOT_INODE)).await?;
        if root.file_type() != FileType::Directory {
            return Err(Refusal::new(Errno::EUCLEAN, "the root is no directory"));
        }
        let mounted = Arc::new(Self { volume, root, options });
        disk.set_mounted(&mounted);
        Ok(mounted)
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // What is kept keeps the volume.
        self.volume.let_go(true);
    }
}

impl FileSystem for Ext4 {
    fn name(&self) -> &'static str {
        "ext4"
    }

    fn flags(&self) -> FileSystemFlags {
        FileSystemFlags::NEEDS_DEVICE | FileSystemFlags::READ_ONLY
    }

    fn device(&self) -> Option<DeviceNumber> {
        Some(self.volume.disk.number())
    }

    fn root(&self) -> Arc<dyn INode> {
        self.root.clone()
    }

    fn status(&self) -> Attempt<'_, Statfs> {
        let geometry = &self.volume.geometry;
        Attempt::ready(Statfs {
            f_type: EXT4_SUPER_MAGIC,
            f_bsize: geometry.block_bytes as i64,
            f_frsize: geometry.block_bytes as i64,
            f_blocks: geometry.blocks.saturating_sub(geometry.overhead_blocks) as i64,
            f_bfree: geometry.free_blocks as i64,
            f_bavail: geometry.free_blocks.saturating_sub(geometry.reserved_blocks) as i64,
            f_files: i64::from(geometry.inodes),
            f_ffree: i64::from(geometry.free_inodes),
            f_namelen: NAME_MAX as i64,
            ..Statfs::default()
        })
    }

    fn show_options(&self, output: &mut dyn std::fmt::Write) -> std::fmt::Result {
        if self.options.without_journal { output.write_str(",norecovery") } else { Ok(()) }
    }

    fn drop_caches(&self) {
        self.volume.let_go(false);
    }
}
