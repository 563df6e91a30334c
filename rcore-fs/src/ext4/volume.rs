//! What all inodes of a filesystem share: the disk, its metadata, and the table of live inodes.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use kernel_hal::PAGE_SIZE;
use kernel_object::frame::PinnedFrame;
use kernel_object::paged_object::Stop;
use ksync::{Rank, SpinLock};
use linux_abi::Errno;

use crate::disk::Disk;

use super::checksum::{crc16, crc32c};
use super::layout::{DESCRIPTOR_CHECKSUM, RawGroup, SMALL_DESCRIPTOR};
use super::node::Node;
use super::stall::{Stall, Step};
use super::superblock::Geometry;

/// How many blocks are remembered to have had the right checksum.
const REMEMBERED_BLOCKS: usize = 1024;
/// How many inodes that nobody uses are kept, with the pages of their data.
const MOST_KEPT: usize = 8192;
/// How many kept inodes are looked at for one that was not used lately, before the oldest goes all the same.
const MOST_CHANCES: usize = 16;
/// Pages of an inode table that are brought together.
const TABLE_WINDOW: u64 = 16;

/// A filesystem's common part.
pub(super) struct Volume {
    pub disk: Arc<Disk>,
    pub geometry: Geometry,
    /// Blocks, in the frames they were in, whose checksums were right; see [`Volume::verify_once`].
    verified: Vec<AtomicU64>,
    inodes: SpinLock<Inodes>,
}

/// Live inodes: one object for each number.
struct Inodes {
    by_number: BTreeMap<u32, Weak<Node>>,
    /// Inodes that stay although nobody uses them, the one that came first in front.
    kept: VecDeque<Arc<Node>>,
    /// Whether the filesystem is still mounted; otherwise nothing is kept.
    keeps: bool,
}

/// A block of metadata: a copy of what it holds at this moment.
pub(super) struct Block {
    pub bytes: Vec<u8>,
    /// Which content of which block this is, for [`Volume::verify_once`].
    identity: u64,
}

impl Volume {
    pub fn new(disk: Arc<Disk>, geometry: Geometry) -> Self {
        let inodes = Inodes { by_number: BTreeMap::new(), kept: VecDeque::new(), keeps: true };
        Self {
            disk,
            geometry,
            verified: (0..REMEMBERED_BLOCKS).map(|_| AtomicU64::new(0)).collect(),
            inodes: SpinLock::new(Rank::FILE_SYSTEM, inodes),
        }
    }

    /// The page of the disk that holds a block, and where in it the block begins.
    fn pin(&self, block: u64) -> Step<(PinnedFrame, usize)> {
        if block >= self.geometry.blocks {
            return Err(Errno::EUCLEAN.into());
        }
        let start = block * self.geometry.block_bytes as u64;
        let frame = self.disk.pages().try_pin(start / PAGE_SIZE as u64)?;
        Ok((frame, (start % PAGE_SIZE as u64) as usize))
    }

    /// A block.
    pub fn block(&self, number: u64) -> Step<Block> {
        let (frame, inside) = self.pin(number)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(self.geometry.block_bytes).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(self.geometry.block_bytes, 0);
        frame.read(inside, &mut bytes);
        let identity = number << 24 ^ frame.address().page_number() as u64 ^ 1 << 63;
        Ok(Block { bytes, identity })
    }

    /// Checks a block unless it was checked before in the same place of memory. The table may forget, and two blocks
    /// may share a place of it: then a block is checked again.
    pub fn verify_once(
        &self,
        block: &Block,
        check: impl FnOnce(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let place = &self.verified[(block.identity >> 24) as usize % REMEMBERED_BLOCKS];
        if place.load(Ordering::Relaxed) != block.identity {
            check(&block.bytes)?;
            place.store(block.identity, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Where a group's inode table begins.
    fn inode_table(&self, group: u32) -> Step<u64> {
        let geometry = &self.geometry;
        let size = geometry.descriptor_bytes;
        let (frame, inside) = self.pin(geometry.descriptor_block(group))?;
        let at = group as usize % (geometry.block_bytes / size) * size;
        let mut raw = RawGroup([0; RawGroup::SIZE]);
        let known = size.min(RawGroup::SIZE);
        frame.read(inside + at, &mut raw.0[..known]);
        let mut rest = [0; 1024 - RawGroup::SIZE];
        let rest = rest.get_mut(..size - known).ok_or(Errno::EUCLEAN)?;
        frame.read(inside + at + known, rest);
        if !self.is_descriptor_sound(group, &raw, rest) {
            log::warn!("ext4: the checksum of group {group} is wrong");
            return Err(Errno::EBADMSG.into());
        }
        let start = u64::from(raw.inode_table_low()) | u64::from(raw.inode_table_high()) << 32;
        let blocks =
            u64::from(geometry.inodes_per_group) * geometry.inode_bytes as u64 / geometry.block_bytes as u64;
        if start <= u64::from(geometry.first_data_block)
            || start.checked_add(blocks).is_none_or(|end| end > geometry.blocks)
        {
            log::warn!("ext4: the inodes of group {group} lie at block {start}");
            return Err(Errno::EUCLEAN.into());
        }
        Ok(start)
    }

    fn is_descriptor_sound(&self, group: u32, raw: &RawGroup, rest: &[u8]) -> bool {
        let (before, after) = (&raw.0[..DESCRIPTOR_CHECKSUM], &raw.0[DESCRIPTOR_CHECKSUM + 2..]);
        let is_small = self.geometry.descriptor_bytes == SMALL_DESCRIPTOR;
        let after = if is_small { &[][..] } else { after };
        if self.geometry.has_checksums {
            let seed = crc32c(self.geometry.checksum_seed, &group.to_le_bytes());
            let sum = [before, &[0; 2], after, rest].into_iter().fold(seed, crc32c);
            return sum as u16 == raw.checksum();
        }
        if self.geometry.has_old_group_checksums {
            let seed = crc16(crc16(!0, &self.geometry.uuid), &group.to_le_bytes());
            return [before, after, rest].into_iter().fold(seed, crc16) == raw.checksum();
        }
        true
    }

    /// The bytes of an inode, of which the filesystem says how many there are.
    pub fn raw_inode(&self, number: u32) -> Step<Vec<u8>> {
        let geometry = &self.geometry;
        if number == 0 || number > geometry.inodes {
            return Err(Errno::EUCLEAN.into());
        }
        let (group, index) =
            ((number - 1) / geometry.inodes_per_group, (number - 1) % geometry.inodes_per_group);
        let table = self.inode_table(group)?;
        let start = table * geometry.block_bytes as u64 + u64::from(index) * geometry.inode_bytes as u64;
        let page = start / PAGE_SIZE as u64;
        let frame = match self.disk.pages().try_pin(page) {
            Err(Stop::Load(_)) => {
                // Inodes that lie together are used together.
                let first = page - page % TABLE_WINDOW;
                return Err(Stall::Load(self.disk.pages().load_around(page, first..first + TABLE_WINDOW)));
            }
            other => other?,
        };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(geometry.inode_bytes).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(geometry.inode_bytes, 0);
        frame.read((start % PAGE_SIZE as u64) as usize, &mut bytes);
        Ok(bytes)
    }

    /// The inode of this number.
    pub fn node(self: &Arc<Self>, number: u32) -> Step<Arc<Node>> {
        if let Some(node) = self.live_node(number) {
            return Ok(node);
        }
        let node = Node::read(self, number, &self.raw_inode(number)?)?;
        Ok(self.keep(node))
    }

    fn live_node(&self, number: u32) -> Option<Arc<Node>> {
        let node = self.inodes.lock().by_number.get(&number)?.upgrade()?;
        node.note_use();
        Some(node)
    }

    /// Makes an inode the one of its number, unless somebody else was faster; returns the one that is.
    fn keep(&self, node: Arc<Node>) -> Arc<Node> {
        let mut inodes = self.inodes.lock();
        if let Some(other) = inodes.by_number.get(&node.number).and_then(Weak::upgrade) {
            drop(inodes);
            return other;
        }
        inodes.by_number.insert(node.number, Arc::downgrade(&node));
        if inodes.keeps {
            inodes.kept.push_back(node.clone());
        }
        let dropped = if inodes.kept.len() > MOST_KEPT { inodes.choose() } else { None };
        drop(inodes);
        // The last owner takes the lock.
        drop(dropped);
        node
    }

    /// Forgets an inode that is going.
    pub fn forget(&self, number: u32) {
        let mut inodes = self.inodes.lock();
        if inodes.by_number.get(&number).is_some_and(|node| node.strong_count() == 0) {
            inodes.by_number.remove(&number);
        }
    }

    /// Lets go of all inodes that nobody uses; `for_ever`: and keeps none from now on.
    pub fn let_go(&self, for_ever: bool) {
        let kept = {
            let mut inodes = self.inodes.lock();
            inodes.keeps &= !for_ever;
            std::mem::take(&mut inodes.kept)
        };
        let mut used: VecDeque<_> = kept.into_iter().filter(|node| Arc::strong_count(node) > 1).collect();
        let mut inodes = self.inodes.lock();
        if inodes.keeps {
            inodes.kept.append(&mut used);
        }
        drop(inodes);
    }

    /// How many inodes are in memory.
    #[cfg(test)]
    pub fn live_inodes(&self) -> usize {
        self.inodes.lock().by_number.len()
    }

    /// Whether blocks lie where data may lie.
    pub fn has_blocks(&self, blocks: Range<u64>) -> bool {
        blocks.start > u64::from(self.geometry.first_data_block)
            && blocks.start < blocks.end
            && blocks.end <= self.geometry.blocks
    }
}

impl Inodes {
    /// Takes out an inode that was not used since it was last looked at.
    fn choose(&mut self) -> Option<Arc<Node>> {
        for _ in 0..MOST_CHANCES {
            let node = self.kept.pop_front()?;
            if !node.was_used() {
                return Some(node);
            }
            self.kept.push_back(node);
        }
        self.kept.pop_front()
    }
}
