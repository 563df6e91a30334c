//! Directories: blocks of entries one after the other, and an index by the hashes of names over large ones.
//!
//! A position in a listing is where an entry lies in the directory. That is stable as long as nobody writes; with
//! writing, splitting a block of an indexed directory moves entries, and positions have to be hashes as in Linux.

use alloc::vec::Vec;
use std::ops::ControlFlow;

use linux_abi::Errno;
use linux_abi::stat::FileType;

use crate::inode::{DirectoryEntry, DirectorySink, FIRST_ENTRY};

use super::checksum::crc32c;
use super::layout::{InodeFlags, u16_at, u32_at};
use super::name_hash::NameHash;
use super::node::Node;
use super::stall::Step;
use super::volume::Block;

/// An entry without its name: inode, length of the entry, length of the name, type.
const ENTRY_HEAD: usize = 8;
const SMALLEST_ENTRY: usize = 12;
/// What looks like an entry at the end of a block, and holds the checksum.
const TAIL: usize = 12;
const TAIL_TYPE: u8 = 0xde;
/// In the first block of an indexed directory, behind `.` and `..`: what the index is like.
const INDEX_INFORMATION: usize = 24;
const INDEX_INFORMATION_LEN: u8 = 8;
/// Where an index's entries begin: in the first block, and in others.
const ROOT_ENTRIES: usize = 32;
const NODE_ENTRIES: usize = 8;
/// Hash and block; in place of the first hash are limit and count.
const INDEX_ENTRY: usize = 8;
const INDEX_TAIL: usize = 8;
const BLOCK_MASK: u32 = 0x0fff_ffff;
/// Levels of an index below its root, with and without `large_dir`.
const MOST_LEVELS: u8 = 3;
const USUAL_LEVELS: u8 = 2;

/// An entry as it lies in a block.
struct RawEntry<'a> {
    inode: u32,
    name: &'a [u8],
    kind: u8,
    end: usize,
}

fn entry_at(block: &[u8], at: usize) -> Result<RawEntry<'_>, Errno> {
    if at + ENTRY_HEAD > block.len() {
        return Err(Errno::EUCLEAN);
    }
    let (len, name_len) = (usize::from(u16_at(block, at + 4)), usize::from(block[at + 6]));
    let end = at + len;
    let is_sound =
        len >= SMALLEST_ENTRY && len % 4 == 0 && end <= block.len() && ENTRY_HEAD + name_len <= len;
    if !is_sound {
        return Err(Errno::EUCLEAN);
    }
    let name = &block[at + ENTRY_HEAD..at + ENTRY_HEAD + name_len];
    Ok(RawEntry { inode: u32_at(block, at), name, kind: block[at + 7], end })
}

/// The inode behind a name in one block; 0 if it is not there.
fn search_block(block: &[u8], name: &[u8]) -> Result<u32, Errno> {
    let mut at = 0;
    while at < block.len() {
        let entry = entry_at(block, at)?;
        if entry.name == name && entry.inode != 0 {
            return Ok(entry.inode);
        }
        at = entry.end;
    }
    Ok(0)
}

fn file_type(kind: u8) -> Option<FileType> {
    Some(match kind {
        1 => FileType::Regular,
        2 => FileType::Directory,
        3 => FileType::CharacterDevice,
        4 => FileType::BlockDevice,
        5 => FileType::Fifo,
        6 => FileType::Socket,
        7 => FileType::SymbolicLink,
        _ => return None,
    })
}

/// One level of the way down an index.
struct Level {
    block: Block,
    entries: usize,
    count: usize,
    chosen: usize,
}

impl Level {
    /// Judges a block of the index whose entries begin here.
    fn check(block: Block, entries: usize) -> Option<Self> {
        let (limit, count) =
            (usize::from(u16_at(&block.bytes, entries)), usize::from(u16_at(&block.bytes, entries + 2)));
        let fits = count >= 1 && count <= limit && entries + limit * INDEX_ENTRY <= block.bytes.len();
        fits.then_some(Self { block, entries, count, chosen: 0 })
    }

    fn hash(&self, index: usize) -> u32 {
        u32_at(&self.block.bytes, self.entries + index * INDEX_ENTRY)
    }

    fn child(&self) -> u64 {
        u64::from(u32_at(&self.block.bytes, self.entries + self.chosen * INDEX_ENTRY + 4) & BLOCK_MASK)
    }

    /// Chooses the last entry that begins at or before a hash.
    fn choose(&mut self, hash: u32) {
        let (mut low, mut high) = (1, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.hash(middle) <= hash { low = middle + 1 } else { high = middle }
        }
        self.chosen = low - 1;
    }
}

impl Node {
    /// How many blocks the directory has. A corrupt size is no reason to look for more than the disk has.
    fn directory_blocks(&self) -> u64 {
        let geometry = &self.volume.geometry;
        self.metadata.size.div_ceil(geometry.block_bytes as u64).min(geometry.blocks)
    }

    /// A block of the directory, its checksum verified. A hole in a directory is damage.
    fn directory_block(&self, number: u64) -> Step<Block> {
        let start = self.map.find(&self.volume, number)?.start.ok_or(Errno::EUCLEAN)?;
        let block = self.volume.block(start)?;
        if self.volume.geometry.has_checksums {
            let is_indexed = self.flags.contains(InodeFlags::INDEXED);
            self.volume.verify_once(&block, |bytes| {
                let is_index = is_indexed && (number == 0 || usize::from(u16_at(bytes, 4)) == bytes.len());
                let is_sound = if is_index { self.is_index_sound(bytes) } else { self.is_leaf_sound(bytes) };
                if is_sound {
                    return Ok(());
                }
                log::warn!("ext4: directory {}: the checksum of block {number} is wrong", self.number);
                Err(Errno::EBADMSG)
            })?;
        }
        Ok(block)
    }

    fn is_leaf_sound(&self, bytes: &[u8]) -> bool {
        let tail = bytes.len() - TAIL;
        let is_tail = u32_at(bytes, tail) == 0
            && usize::from(u16_at(bytes, tail + 4)) == TAIL
            && bytes[tail + 6] == 0
            && bytes[tail + 7] == TAIL_TYPE;
        is_tail && crc32c(self.map.seed, &bytes[..tail]) == u32_at(bytes, tail + 8)
    }

    fn is_index_sound(&self, bytes: &[u8]) -> bool {
        let entries = if usize::from(u16_at(bytes, 4)) == bytes.len() { NODE_ENTRIES } else { ROOT_ENTRIES };
        let (limit, count) = (usize::from(u16_at(bytes, entries)), usize::from(u16_at(bytes, entries + 2)));
        let tail = entries + limit * INDEX_ENTRY;
        if count > limit || tail + INDEX_TAIL > bytes.len() {
            return false;
        }
        let sum = crc32c(self.map.seed, &bytes[..entries + count * INDEX_ENTRY]);
        let sum = crc32c(crc32c(sum, &bytes[tail..tail + 4]), &[0; 4]);
        sum == u32_at(bytes, tail + 4)
    }

    /// The inode behind a name. `scanned`: how many blocks were searched in vain, for the next attempt.
    pub(super) fn find(&self, name: &[u8], scanned: &mut u64) -> Step<u32> {
        if *scanned == 0
            && self.flags.contains(InodeFlags::INDEXED)
            && let Some(found) = self.find_by_index(name)?
        {
            return if found == 0 { Err(Errno::ENOENT.into()) } else { Ok(found) };
        }
        while *scanned < self.directory_blocks() {
            let block = self.directory_block(*scanned)?;
            let found = search_block(&block.bytes, name)?;
            if found != 0 {
                return Ok(found);
            }
            *scanned += 1;
        }
        Err(Errno::ENOENT.into())
    }

    /// As [`Node::find`], by the index; 0 if the name is not there, `None` if the index cannot be used.
    fn find_by_index(&self, name: &[u8]) -> Step<Option<u32>> {
        let geometry = &self.volume.geometry;
        let root = self.directory_block(0)?;
        let information = &root.bytes[INDEX_INFORMATION..ROOT_ENTRIES];
        let (reserved, kind, len, levels) =
            (u32_at(information, 0), information[4], information[5], information[6]);
        let most_levels = if geometry.has_large_directories { MOST_LEVELS } else { USUAL_LEVELS };
        let Some(hash) = NameHash::new(kind, geometry.hash_seed, geometry.hash_is_unsigned) else {
            return Ok(None);
        };
        if reserved != 0 || len != INDEX_INFORMATION_LEN || levels >= most_levels {
            return Ok(None);
        }
        let hash = hash.of(name);
        let mut way: Vec<Level> = Vec::new();
        let Some(mut level) = Level::check(root, ROOT_ENTRIES) else { return Ok(None) };
        level.choose(hash);
        way.push(level);
        if !self.descend(&mut way, levels, |level| level.choose(hash))? {
            return Ok(None);
        }
        loop {
            let Some(leaf) = way.last().map(Level::child) else { return Ok(None) };
            let found = search_block(&self.directory_block(leaf)?.bytes, name)?;
            if found != 0 {
                return Ok(Some(found));
            }
            // Names with the same hash may go on in the next block; then the lowest bit of its hash says so.
            loop {
                let Some(level) = way.last_mut() else { return Ok(Some(0)) };
                level.chosen += 1;
                if level.chosen < level.count {
                    break;
                }
                way.pop();
            }
            let goes_on = way.last().is_some_and(|level| level.hash(level.chosen) == hash | 1);
            if !goes_on {
                return Ok(Some(0));
            }
            if !self.descend(&mut way, levels, |level| level.chosen = 0)? {
                return Ok(None);
            }
        }
    }

    /// Goes down to the lowest level of an index. Returns `false` if a block of it makes no sense.
    fn descend(&self, way: &mut Vec<Level>, levels: u8, choose: impl Fn(&mut Level)) -> Step<bool> {
        while way.len() <= usize::from(levels) {
            let Some(child) = way.last().map(Level::child) else { return Ok(false) };
            let Some(mut level) = Level::check(self.directory_block(child)?, NODE_ENTRIES) else {
                return Ok(false);
            };
            choose(&mut level);
            way.push(level);
        }
        Ok(true)
    }

    /// Hands the entries from a position on to a sink; `position` moves along, for the next attempt.
    pub(super) fn list(&self, position: &mut u64, sink: &mut dyn DirectorySink) -> Step<()> {
        let block_bytes = self.volume.geometry.block_bytes as u64;
        loop {
            let from = position.saturating_sub(FIRST_ENTRY);
            let number = from / block_bytes;
            if number >= self.directory_blocks() {
                return Ok(());
            }
            let block = self.directory_block(number)?;
            let base = number * block_bytes + FIRST_ENTRY;
            let wanted = (from % block_bytes) as usize;
            let mut at = 0;
            while at < block.bytes.len() {
                let entry = entry_at(&block.bytes, at)?;
                let next = base + entry.end as u64;
                if at >= wanted
                    && entry.inode != 0
                    && entry.name != b"."
                    && entry.name != b".."
                    && !entry.name.is_empty()
                {
                    let described = DirectoryEntry {
                        name: entry.name,
                        inode: u64::from(entry.inode),
                        file_type: self.entry_type(&entry)?,
                        next,
                    };
                    if sink.push(&described) == ControlFlow::Break(()) {
                        return Ok(());
                    }
                }
                if at >= wanted {
                    *position = next;
                }
                at = entry.end;
            }
            *position = (*position).max(base + block_bytes);
        }
    }

    /// What an entry leads to: the entry says so, or its inode has to be asked.
    fn entry_type(&self, entry: &RawEntry<'_>) -> Step<FileType> {
        if self.volume.geometry.has_entry_types
            && let Some(file_type) = file_type(entry.kind)
        {
            return Ok(file_type);
        }
        let raw = self.volume.raw_inode(entry.inode)?;
        Ok(FileType::from_mode(u32::from(u16_at(&raw, 0))).ok_or(Errno::EUCLEAN)?)
    }
}
