//! What lies on the disk: numbers by their places, little-endian.
//!
//! Each structure is a copy of its bytes with a method for each number. Nothing is trusted: the numbers are judged
//! where they are used.

use bitflags::bitflags;

/// Reads a number at a place of a block. The caller has checked that it lies inside.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// As [`u16_at`], with four bytes.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

macro_rules! field {
    ($bytes:expr, $at:literal, u8) => {
        $bytes[$at]
    };
    ($bytes:expr, $at:literal, u16) => {
        u16_at(&$bytes, $at)
    };
    ($bytes:expr, $at:literal, u32) => {
        u32_at(&$bytes, $at)
    };
}

macro_rules! structure {
    ($(#[$meta:meta])* $name:ident [$size:expr] { $($at:literal $field:ident: $kind:tt,)* }) => {
        $(#[$meta])*
        #[derive(Clone)]
        pub(super) struct $name(pub [u8; $size]);

        impl $name {
            pub const SIZE: usize = $size;

            $(
                pub fn $field(&self) -> $kind {
                    field!(self.0, $at, $kind)
                }
            )*
        }
    };
}

/// Where the superblock begins, in bytes.
pub(super) const SUPERBLOCK_OFFSET: usize = 1024;
pub(super) const MAGIC: u16 = 0xef53;
pub(super) const ROOT_INODE: u32 = 2;
/// Inodes have at least these bytes.
pub(super) const OLD_INODE_SIZE: usize = 128;
/// How many bytes of block pointers, extents or link target lie in the inode.
pub(super) const BLOCK_MAP_BYTES: usize = 60;

structure! {
    /// The superblock.
    RawSuperblock [1024] {
        0x000 inodes_count: u32,
        0x004 blocks_count_low: u32,
        0x008 reserved_blocks_low: u32,
        0x00c free_blocks_low: u32,
        0x010 free_inodes: u32,
        0x014 first_data_block: u32,
        0x018 log_block_size: u32,
        0x01c log_cluster_size: u32,
        0x020 blocks_per_group: u32,
        0x028 inodes_per_group: u32,
        0x038 magic: u16,
        0x03a state: u16,
        0x04c revision: u32,
        0x054 first_inode: u32,
        0x058 inode_size: u16,
        0x060 incompatible: u32,
        0x064 read_only_compatible: u32,
        0x0fe descriptor_size: u16,
        0x104 first_meta_group: u32,
        0x150 blocks_count_high: u32,
        0x154 reserved_blocks_high: u32,
        0x158 free_blocks_high: u32,
        0x160 flags: u32,
        0x175 checksum_type: u8,
        0x248 overhead_clusters: u32,
        0x270 checksum_seed: u32,
        0x3fc checksum: u32,
    }
}

impl RawSuperblock {
    pub fn uuid(&self) -> &[u8] {
        &self.0[0x68..0x78]
    }

    pub fn hash_seed(&self) -> [u32; 4] {
        [0xec, 0xf0, 0xf4, 0xf8].map(|at| u32_at(&self.0, at))
    }

    /// What the checksum covers.
    pub fn summed(&self) -> &[u8] {
        &self.0[..0x3fc]
    }
}

structure! {
    /// A group descriptor; without `64bit` only the first half of it is there, the other is zero.
    RawGroup [64] {
        0x08 inode_table_low: u32,
        0x1e checksum: u16,
        0x28 inode_table_high: u32,
    }
}

/// Size of a descriptor without `64bit`.
pub(super) const SMALL_DESCRIPTOR: usize = 32;
/// Where a descriptor's checksum is.
pub(super) const DESCRIPTOR_CHECKSUM: usize = 0x1e;

structure! {
    /// An inode, as far as it is looked at.
    RawInode [160] {
        0x00 mode: u16,
        0x02 user_low: u16,
        0x04 size_low: u32,
        0x08 accessed: u32,
        0x0c changed: u32,
        0x10 modified: u32,
        0x18 group_low: u16,
        0x1a links: u16,
        0x1c blocks_low: u32,
        0x20 flags: u32,
        0x64 generation: u32,
        0x6c size_high: u32,
        0x74 blocks_high: u16,
        0x78 user_high: u16,
        0x7a group_high: u16,
        0x7c checksum_low: u16,
        0x80 extra_size: u16,
        0x82 checksum_high: u16,
        0x84 changed_extra: u32,
        0x88 modified_extra: u32,
        0x8c accessed_extra: u32,
        0x90 created: u32,
        0x94 created_extra: u32,
    }
}

impl RawInode {
    pub fn block_map(&self) -> [u8; BLOCK_MAP_BYTES] {
        let mut map = [0; BLOCK_MAP_BYTES];
        map.copy_from_slice(&self.0[0x28..0x28 + BLOCK_MAP_BYTES]);
        map
    }
}

macro_rules! features {
    ($(#[$meta:meta])* $name:ident { $($text:literal $flag:ident = $value:literal,)* }) => {
        bitflags! {
            $(#[$meta])*
            #[derive(Clone, Copy, PartialEq, Eq, Debug)]
            pub(super) struct $name: u32 {
                $(const $flag = $value;)*
                const _ = !0;
            }
        }

        impl $name {
            /// What tools call the lowest of these features; `None` if nobody has named it.
            pub fn name(self) -> Option<&'static str> {
                match 1u32.checked_shl(self.bits().trailing_zeros())? {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

bitflags! {
    /// What a kernel may not know if it writes nothing.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct ReadOnlyCompatible: u32 {
        const SPARSE_SUPER = 0x1;
        const HUGE_FILE = 0x8;
        const GDT_CHECKSUM = 0x10;
        const BIG_CLUSTERS = 0x200;
        const METADATA_CHECKSUM = 0x400;
        const _ = !0;
    }
}

features! {
    /// What a kernel must know.
    Incompatible {
        "compression" COMPRESSION = 0x1,
        "filetype" FILE_TYPE = 0x2,
        "needs_recovery" NEEDS_RECOVERY = 0x4,
        "journal_dev" JOURNAL_DEVICE = 0x8,
        "meta_bg" META_GROUPS = 0x10,
        "extents" EXTENTS = 0x40,
        "64bit" WIDE = 0x80,
        "mmp" MULTIPLE_MOUNT_PROTECTION = 0x100,
        "flex_bg" FLEXIBLE_GROUPS = 0x200,
        "ea_inode" ATTRIBUTE_INODES = 0x400,
        "dirdata" DIRECTORY_DATA = 0x1000,
        "metadata_csum_seed" CHECKSUM_SEED = 0x2000,
        "large_dir" LARGE_DIRECTORY = 0x4000,
        "inline_data" INLINE_DATA = 0x8000,
        "encrypt" ENCRYPTION = 0x1_0000,
        "casefold" CASE_FOLDING = 0x2_0000,
    }
}

/// The superblock's flag: names are hashed as unsigned bytes.
pub(super) const UNSIGNED_HASH: u32 = 2;
/// The superblock's flag: names are hashed as signed bytes.
pub(super) const SIGNED_HASH: u32 = 1;
/// The superblock's state: errors were found.
pub(super) const HAS_ERRORS: u16 = 2;

bitflags! {
    /// An inode's flags.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct InodeFlags: u32 {
        const INDEXED = 0x1000;
        const ENCRYPTED = 0x800;
        const HUGE_FILE = 0x4_0000;
        const EXTENTS = 0x8_0000;
        const ATTRIBUTE_VALUE = 0x20_0000;
        const INLINE_DATA = 0x1000_0000;
        const CASE_FOLDED = 0x4000_0000;
        const _ = !0;
    }
}
