//! The superblock: what the filesystem is like, and whether it can be read at all.

use alloc::format;
use alloc::string::String;
use std::fmt;

use linux_abi::Errno;

use super::checksum::crc32c;
use super::layout::{
    HAS_ERRORS, Incompatible, MAGIC, OLD_INODE_SIZE, RawGroup, RawSuperblock, ReadOnlyCompatible,
    SIGNED_HASH, SMALL_DESCRIPTOR, UNSIGNED_HASH,
};

/// What can be read.
const SUPPORTED: Incompatible = Incompatible::FILE_TYPE
    .union(Incompatible::META_GROUPS)
    .union(Incompatible::EXTENTS)
    .union(Incompatible::WIDE)
    // Who only reads takes no part in the protection.
    .union(Incompatible::MULTIPLE_MOUNT_PROTECTION)
    .union(Incompatible::FLEXIBLE_GROUPS)
    // Values of extended attributes, which are not read.
    .union(Incompatible::ATTRIBUTE_INODES)
    .union(Incompatible::CHECKSUM_SEED)
    .union(Incompatible::LARGE_DIRECTORY);

const SMALLEST_BLOCK_LOG2: u32 = 10;
/// A page.
const LARGEST_BLOCK_LOG2: u32 = 12;
/// The only kind of checksum there is: CRC-32C.
const CHECKSUM_KIND: u8 = 1;
const FIRST_INODE_OF_OLD: u32 = 11;

/// Why a disk is not mounted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What the caller of `mount` is told.
    pub errno: Errno,
    /// What the log says.
    pub reason: String,
}

impl Refusal {
    pub(super) fn new(errno: Errno, reason: impl Into<String>) -> Self {
        Self { errno, reason: reason.into() }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, reason: format!("{errno}") }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What the superblock says, checked: sizes are powers of two within bounds, counts fit each other and the disk.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub block_bytes: usize,
    pub blocks: u64,
    pub reserved_blocks: u64,
    pub free_blocks: u64,
    /// Blocks that never hold files' data.
    pub overhead_blocks: u64,
    pub inodes: u32,
    pub free_inodes: u32,
    pub first_data_block: u32,
    pub blocks_per_group: u32,
    pub inodes_per_group: u32,
    pub inode_bytes: usize,
    /// The first inode that is not reserved.
    pub first_inode: u32,
    pub descriptor_bytes: usize,
    /// Groups of descriptor blocks from here on lie in the groups they describe.
    pub first_meta_group: u32,
    pub has_sparse_superblocks: bool,
    pub has_checksums: bool,
    pub has_old_group_checksums: bool,
    pub checksum_seed: u32,
    pub uuid: [u8; 16],
    pub has_entry_types: bool,
    pub has_large_directories: bool,
    pub has_huge_files: bool,
    pub hash_seed: [u32; 4],
    pub hash_is_unsigned: bool,
    pub has_errors: bool,
}

fn wide(low: u32, high: u32, is_wide: bool) -> u64 {
    u64::from(low) | if is_wide { u64::from(high) << 32 } else { 0 }
}

fn bad(reason: impl Into<String>) -> Refusal {
    Refusal::new(Errno::EINVAL, reason)
}

impl Geometry {
    /// Judges a superblock on a disk of so many bytes. `without_journal`: what an unclean journal holds is to be
    /// passed over.
    pub fn read(raw: &RawSuperblock, disk_bytes: u64, without_journal: bool) -> Result<Self, Refusal> {
        if raw.magic() != MAGIC {
            return Err(bad("there is no ext4 filesystem"));
        }
        let (incompatible, read_only) = if raw.revision() == 0 {
            (Incompatible::empty(), ReadOnlyCompatible::empty())
        } else {
            (
                Incompatible::from_bits_retain(raw.incompatible()),
                ReadOnlyCompatible::from_bits_retain(raw.read_only_compatible()),
            )
        };
        // The checksum comes first: features of a damaged superblock mean nothing.
        let has_checksums = read_only.contains(ReadOnlyCompatible::METADATA_CHECKSUM);
        if has_checksums {
            if raw.checksum_type() != CHECKSUM_KIND {
                return Err(bad("the kind of checksum is not known"));
            }
            if crc32c(!0, raw.summed()) != raw.checksum() {
                return Err(Refusal::new(Errno::EBADMSG, "the superblock's checksum is wrong: run e2fsck"));
            }
        }
        check_features(incompatible, without_journal)?;
        let is_wide = incompatible.contains(Incompatible::WIDE);

        let log2 = raw.log_block_size().saturating_add(SMALLEST_BLOCK_LOG2);
        if log2 > LARGEST_BLOCK_LOG2 {
            return Err(bad(format!("blocks of 2^{log2} bytes are larger than a page")));
        }
        let block_bytes = 1usize << log2;
        let blocks = wide(raw.blocks_count_low(), raw.blocks_count_high(), is_wide);
        let first_data_block = raw.first_data_block();
        if blocks.checked_mul(block_bytes as u64).is_none_or(|bytes| bytes > disk_bytes) {
            return Err(bad(format!("{blocks} blocks of {block_bytes} bytes do not fit the disk")));
        }
        if u64::from(first_data_block) >= blocks {
            return Err(bad(format!("the first block is {first_data_block} of {blocks}")));
        }
        let (inode_bytes, first_inode) = match raw.revision() {
            0 => (OLD_INODE_SIZE, FIRST_INODE_OF_OLD),
            _ => (usize::from(raw.inode_size()), raw.first_inode()),
        };
        if !inode_bytes.is_power_of_two() || !(OLD_INODE_SIZE..=block_bytes).contains(&inode_bytes) {
            return Err(bad(format!("inodes of {inode_bytes} bytes")));
        }
        let descriptor_bytes = if is_wide { usize::from(raw.descriptor_size()) } else { SMALL_DESCRIPTOR };
        let fits = descriptor_bytes.is_power_of_two()
            && descriptor_bytes <= block_bytes
            && (!is_wide || descriptor_bytes >= RawGroup::SIZE);
        if !fits {
            return Err(bad(format!("group descriptors of {descriptor_bytes} bytes")));
        }
        let (blocks_per_group, inodes_per_group) = (raw.blocks_per_group(), raw.inodes_per_group());
        let most_inodes = 8 * block_bytes as u32;
        if blocks_per_group == 0 || inodes_per_group == 0 || inodes_per_group > most_inodes {
            return Err(bad(format!("groups of {blocks_per_group} blocks and {inodes_per_group} inodes")));
        }
        let groups = (blocks - u64::from(first_data_block)).div_ceil(u64::from(blocks_per_group));
        let inodes = raw.inodes_count();
        if groups * u64::from(inodes_per_group) != u64::from(inodes) {
            return Err(bad(format!("{inodes} inodes in {groups} groups of {inodes_per_group}")));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(raw.uuid());
        let checksum_seed = if incompatible.contains(Incompatible::CHECKSUM_SEED) {
            raw.checksum_seed()
        } else {
            crc32c(!0, &uuid)
        };
        let cluster_blocks = if read_only.contains(ReadOnlyCompatible::BIG_CLUSTERS) {
            1u64.checked_shl(raw.log_cluster_size().saturating_sub(raw.log_block_size())).unwrap_or(1)
        } else {
            1
        };
        let clusters = |count: u64| count.saturating_mul(cluster_blocks);
        Ok(Self {
            block_bytes,
            blocks,
            reserved_blocks: wide(raw.reserved_blocks_low(), raw.reserved_blocks_high(), is_wide),
            free_blocks: clusters(wide(raw.free_blocks_low(), raw.free_blocks_high(), is_wide)),
            overhead_blocks: clusters(u64::from(raw.overhead_clusters())),
            inodes,
            free_inodes: raw.free_inodes(),
            first_data_block,
            blocks_per_group,
            inodes_per_group,
            inode_bytes,
            first_inode,
            descriptor_bytes,
            first_meta_group: if incompatible.contains(Incompatible::META_GROUPS) {
                raw.first_meta_group()
            } else {
                u32::MAX
            },
            has_sparse_superblocks: read_only.contains(ReadOnlyCompatible::SPARSE_SUPER),
            has_checksums,
            has_old_group_checksums: read_only.contains(ReadOnlyCompatible::GDT_CHECKSUM) && !has_checksums,
            checksum_seed,
            uuid,
            has_entry_types: incompatible.contains(Incompatible::FILE_TYPE),
            has_large_directories: incompatible.contains(Incompatible::LARGE_DIRECTORY),
            has_huge_files: read_only.contains(ReadOnlyCompatible::HUGE_FILE),
            hash_seed: raw.hash_seed(),
            // Where nothing is said it is what `char` is, which has no sign on RISC-V.
            hash_is_unsigned: raw.flags() & UNSIGNED_HASH != 0 || raw.flags() & SIGNED_HASH == 0,
            has_errors: raw.state() & HAS_ERRORS != 0,
        })
    }

    /// The block in which a group's descriptor lies.
    pub fn descriptor_block(&self, group: u32) -> u64 {
        let per_block = (self.block_bytes / self.descriptor_bytes) as u32;
        let number = group / per_block;
        let superblock = (super::layout::SUPERBLOCK_OFFSET / self.block_bytes) as u64;
        if number < self.first_meta_group {
            return superblock + 1 + u64::from(number);
        }
        let first_group = number * per_block;
        let mut behind = u64::from(self.has_superblock(first_group));
        if superblock == 1 && number == 0 && self.first_data_block == 0 {
            behind += 1;
        }
        u64::from(first_group) * u64::from(self.blocks_per_group) + u64::from(self.first_data_block) + behind
    }

    /// Whether a group begins with a copy of the superblock.
    fn has_superblock(&self, group: u32) -> bool {
        let is_power_of = |base: u32| {
            let mut power = u64::from(base);
            while power < u64::from(group) {
                power *= u64::from(base);
            }
            power == u64::from(group)
        };
        group <= 1 || !self.has_sparse_superblocks || [3, 5, 7].into_iter().any(is_power_of)
    }
}

fn check_features(features: Incompatible, without_journal: bool) -> Result<(), Refusal> {
    let unknown = features.difference(SUPPORTED | Incompatible::NEEDS_RECOVERY);
    if !unknown.is_empty() {
        let mut reason = String::from("features that are not supported:");
        for flag in unknown.iter_names().map(|(_, flag)| flag).chain([unknown_rest(unknown)]) {
            match flag.name() {
                Some(name) => reason += &format!(" {name}"),
                None if flag.is_empty() => {}
                None => reason += &format!(" {:#x}", flag.bits()),
            }
        }
        return Err(bad(reason));
    }
    if features.contains(Incompatible::NEEDS_RECOVERY) && !without_journal {
        // What Linux says if it may not write to the disk.
        return Err(Refusal::new(
            Errno::EROFS,
            "the journal has to be replayed (needs_recovery), which takes writing: run e2fsck, or mount with noload",
        ));
    }
    Ok(())
}

/// Those features that have no name here.
fn unknown_rest(features: Incompatible) -> Incompatible {
    features.iter_names().fold(features, |rest, (_, flag)| rest.difference(flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_features_are_named() {
        let features =
            Incompatible::EXTENTS | Incompatible::INLINE_DATA | Incompatible::from_bits_retain(0x80_0000);
        let refusal = check_features(features, true).unwrap_err();
        assert_eq!(refusal.errno, Errno::EINVAL);
        assert_eq!(refusal.reason, "features that are not supported: inline_data 0x800000");
        let dirty = check_features(SUPPORTED | Incompatible::NEEDS_RECOVERY, false).unwrap_err();
        assert_eq!(dirty.errno, Errno::EROFS);
        assert_eq!(check_features(SUPPORTED | Incompatible::NEEDS_RECOVERY, true), Ok(()));
    }
}
