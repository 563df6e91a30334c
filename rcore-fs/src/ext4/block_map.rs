//! Where the blocks of a file lie on the disk: extents, or the tables of pointers that older filesystems have.

use linux_abi::Errno;

use super::checksum::crc32c;
use super::layout::{BLOCK_MAP_BYTES, u16_at, u32_at};
use super::stall::Step;
use super::volume::{Block, Volume};

const EXTENT_MAGIC: u16 = 0xf30a;
/// Size of an extent, of an index entry, and of the header before them.
const ENTRY: usize = 12;
const MOST_DEPTH: u16 = 5;
/// Longer extents are not written yet: they read as zeros, and the number of their blocks is what they are longer.
const MOST_WRITTEN: u16 = 1 << 15;
/// A file has fewer blocks than this.
const BLOCK_LIMIT: u64 = 1 << 32;
const CHECKSUM: usize = 4;

const DIRECT_POINTERS: u64 = 12;
const POINTER: usize = 4;

/// What an inode says about its blocks.
pub(super) struct BlockMap {
    pub root: [u8; BLOCK_MAP_BYTES],
    pub is_extents: bool,
    /// What checksums of the inode's own metadata begin with.
    pub seed: u32,
}

/// A run of blocks that are alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// The first of them on the disk; `None` if they are nowhere and read as zeros.
    pub start: Option<u64>,
    /// How many there are, at least one.
    pub blocks: u64,
}

impl Run {
    fn hole(from: u64, to: u64) -> Self {
        Self { start: None, blocks: to.saturating_sub(from).max(1) }
    }
}

impl BlockMap {
    /// Where a block of the file and those after it lie.
    pub fn find(&self, volume: &Volume, block: u64) -> Step<Run> {
        if block >= BLOCK_LIMIT {
            return Ok(Run::hole(block, u64::MAX));
        }
        if self.is_extents { self.find_extent(volume, block) } else { self.find_pointer(volume, block) }
    }

    fn find_extent(&self, volume: &Volume, block: u64) -> Step<Run> {
        let mut node = Node::check(&self.root, None)?;
        let mut end = BLOCK_LIMIT;
        let mut holder: Block;
        loop {
            // The last entry that does not begin behind the block.
            let next = node.first_behind(block);
            if next < node.entries {
                end = end.min(node.begin(next));
            }
            let Some(index) = next.checked_sub(1) else { return Ok(Run::hole(block, end)) };
            if node.depth == 0 {
                return node.run(volume, index, block, end);
            }
            let (child, expected) = (node.child(index), node.depth - 1);
            holder = volume.block(child)?;
            volume.verify_once(&holder, |bytes| self.check_sum(volume, bytes))?;
            node = Node::check(&holder.bytes, Some(expected))?;
        }
    }

    /// Checks the checksum behind the entries of a block of the tree.
    fn check_sum(&self, volume: &Volume, bytes: &[u8]) -> Result<(), Errno> {
        if !volume.geometry.has_checksums {
            return Ok(());
        }
        let at = ENTRY + usize::from(u16_at(bytes, 4)) * ENTRY;
        if at + CHECKSUM > bytes.len() {
            return Err(Errno::EUCLEAN);
        }
        if crc32c(self.seed, &bytes[..at]) != u32_at(bytes, at) {
            log::warn!("ext4: the checksum of a block of extents is wrong");
            return Err(Errno::EBADMSG);
        }
        Ok(())
    }

    fn find_pointer(&self, volume: &Volume, block: u64) -> Step<Run> {
        let per_block = (volume.geometry.block_bytes / POINTER) as u64;
        if block < DIRECT_POINTERS {
            return pointers(volume, &self.root[..DIRECT_POINTERS as usize * POINTER], block);
        }
        // Which of the three trees, how many blocks it covers, and where in it the block is.
        let mut inside = block - DIRECT_POINTERS;
        let mut span = per_block;
        let mut level = 0;
        while inside >= span {
            inside -= span;
            level += 1;
            if level == 3 {
                return Ok(Run::hole(block, BLOCK_LIMIT));
            }
            span *= per_block;
        }
        let mut pointer = u64::from(u32_at(&self.root, (DIRECT_POINTERS as usize + level) * POINTER));
        loop {
            if pointer == 0 {
                return Ok(Run::hole(inside, span));
            }
            if !volume.has_blocks(pointer..pointer + 1) {
                return Err(Errno::EUCLEAN.into());
            }
            let table = volume.block(pointer)?;
            span /= per_block;
            if span == 1 {
                return pointers(volume, &table.bytes, inside);
            }
            pointer = u64::from(u32_at(&table.bytes, (inside / span) as usize * POINTER));
            inside %= span;
        }
    }
}

/// The run that begins with a pointer of a table, as far as the table goes.
fn pointers(volume: &Volume, table: &[u8], index: u64) -> Step<Run> {
    let get = |index: usize| u64::from(u32_at(table, index * POINTER));
    let first = index as usize;
    let start = get(first);
    let follows = |count: usize| get(first + count) == if start == 0 { 0 } else { start + count as u64 };
    let blocks = (1..table.len() / POINTER - first).take_while(|&count| follows(count)).count() as u64 + 1;
    if start == 0 {
        return Ok(Run { start: None, blocks });
    }
    if !volume.has_blocks(start..start + blocks) {
        return Err(Errno::EUCLEAN.into());
    }
    Ok(Run { start: Some(start), blocks })
}

/// A node of an extent tree, with as many entries as there is room for at most.
struct Node<'a> {
    bytes: &'a [u8],
    entries: usize,
    depth: u16,
}

impl<'a> Node<'a> {
    /// Judges the header. A node below the root has a depth that is known.
    fn check(bytes: &'a [u8], depth: Option<u16>) -> Result<Self, Errno> {
        let (entries, most) = (usize::from(u16_at(bytes, 2)), usize::from(u16_at(bytes, 4)));
        let node = Self { bytes, entries, depth: u16_at(bytes, 6) };
        let fits = u16_at(bytes, 0) == EXTENT_MAGIC
            && entries <= most
            && ENTRY + most * ENTRY <= bytes.len()
            && depth.map_or(node.depth <= MOST_DEPTH, |depth| node.depth == depth);
        if fits { Ok(node) } else { Err(Errno::EUCLEAN) }
    }

    fn at(index: usize) -> usize {
        ENTRY + index * ENTRY
    }

    /// The first block of the file that an entry is about.
    fn begin(&self, index: usize) -> u64 {
        u64::from(u32_at(self.bytes, Self::at(index)))
    }

    /// The first entry that begins behind a block.
    fn first_behind(&self, block: u64) -> usize {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.begin(middle) <= block { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The block that an index entry leads to.
    fn child(&self, index: usize) -> u64 {
        let at = Self::at(index);
        u64::from(u32_at(self.bytes, at + 4)) | u64::from(u16_at(self.bytes, at + 8)) << 32
    }

    /// What an extent says about a block that is not before it.
    fn run(&self, volume: &Volume, index: usize, block: u64, end: u64) -> Step<Run> {
        let at = Self::at(index);
        let begin = self.begin(index);
        let len = u16_at(self.bytes, at + 4);
        let is_written = len <= MOST_WRITTEN;
        let len = u64::from(if is_written { len } else { len - MOST_WRITTEN });
        let start = u64::from(u32_at(self.bytes, at + 8)) | u64::from(u16_at(self.bytes, at + 6)) << 32;
        // In a tree that is not in order the entry may lie behind the block.
        let Some(inside) = block.checked_sub(begin) else { return Err(Errno::EUCLEAN.into()) };
        if inside >= len {
            return Ok(Run::hole(block, end));
        }
        if !volume.has_blocks(start..start.saturating_add(len)) {
            return Err(Errno::EUCLEAN.into());
        }
        let blocks = (len - inside).min(end.saturating_sub(block)).max(1);
        Ok(Run { start: is_written.then_some(start + inside), blocks })
    }
}
