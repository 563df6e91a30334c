//! File status: modes, device numbers, `stat` and `statx`.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

constants! { MODE_TABLE: u32 {
    S_IFMT = 0o170000;
    S_IFSOCK = 0o140000;
    S_IFLNK = 0o120000;
    S_IFREG = 0o100000;
    S_IFBLK = 0o060000;
    S_IFDIR = 0o040000;
    S_IFCHR = 0o020000;
    S_IFIFO = 0o010000;
    S_ISUID = 0o4000;
    S_ISGID = 0o2000;
    S_ISVTX = 0o1000;
    S_IRWXU = 0o700;
    S_IRUSR = 0o400;
    S_IWUSR = 0o200;
    S_IXUSR = 0o100;
    S_IRWXG = 0o070;
    S_IRGRP = 0o040;
    S_IWGRP = 0o020;
    S_IXGRP = 0o010;
    S_IRWXO = 0o007;
    S_IROTH = 0o004;
    S_IWOTH = 0o002;
    S_IXOTH = 0o001;
} }

/// All bits of a mode that `chmod` may set.
pub const PERMISSION_BITS: u32 = 0o7777;

/// What a file is; the type bits of its mode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum FileType {
    Fifo = S_IFIFO,
    CharacterDevice = S_IFCHR,
    Directory = S_IFDIR,
    BlockDevice = S_IFBLK,
    Regular = S_IFREG,
    SymbolicLink = S_IFLNK,
    Socket = S_IFSOCK,
}

impl FileType {
    /// The type in a mode's type bits; `None` where they name none.
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & S_IFMT {
            S_IFIFO => Self::Fifo,
            S_IFCHR => Self::CharacterDevice,
            S_IFDIR => Self::Directory,
            S_IFBLK => Self::BlockDevice,
            S_IFREG => Self::Regular,
            S_IFLNK => Self::SymbolicLink,
            S_IFSOCK => Self::Socket,
            _ => return None,
        })
    }

    /// The type bits of a mode.
    pub const fn mode_bits(self) -> u32 {
        self as u32
    }

    /// The `d_type` of a directory entry.
    pub const fn directory_entry_type(self) -> u8 {
        (self as u32 >> 12) as u8
    }
}

/// A device's major and minor number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DeviceNumber {
    major: u32,
    minor: u32,
}

impl DeviceNumber {
    /// The greatest major number (12 bits).
    pub const MAJOR_MAX: u32 = (1 << 12) - 1;
    /// The greatest minor number (20 bits).
    pub const MINOR_MAX: u32 = (1 << 20) - 1;

    /// A device number; excess bits are cut off, as Linux does.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major: major & Self::MAJOR_MAX, minor: minor & Self::MINOR_MAX }
    }

    /// The driver's number.
    pub const fn major(self) -> u32 {
        self.major
    }

    /// The device's number within its driver.
    pub const fn minor(self) -> u32 {
        self.minor
    }

    /// The encoding that `mknod` takes and `stat` gives.
    pub const fn encode(self) -> u32 {
        (self.minor & 0xff) | (self.major << 8) | ((self.minor & !0xff) << 12)
    }

    /// Reads that encoding.
    pub const fn decode(encoded: u32) -> Self {
        Self { major: (encoded >> 8) & 0xfff, minor: (encoded & 0xff) | ((encoded >> 12) & 0xf_ff00) }
    }
}

/// `struct stat`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stat {
    pub st_dev: u64,
    pub st_ino: u64,
    pub st_mode: u32,
    pub st_nlink: u32,
    pub st_uid: u32,
    pub st_gid: u32,
    pub st_rdev: u64,
    pub padding_after_rdev: u64,
    pub st_size: i64,
    pub st_blksize: i32,
    pub padding_after_blksize: i32,
    pub st_blocks: i64,
    pub st_atime: i64,
    pub st_atime_nsec: u64,
    pub st_mtime: i64,
    pub st_mtime_nsec: u64,
    pub st_ctime: i64,
    pub st_ctime_nsec: u64,
    pub unused: [u32; 2],
}

layout!(STAT_LAYOUT = "struct stat": Stat, 128 {
    st_dev: 0, st_ino: 8, st_mode: 16, st_nlink: 20, st_uid: 24, st_gid: 28, st_rdev: 32, st_size: 48,
    st_blksize: 56, st_blocks: 64, st_atime: 72, st_atime_nsec: 80, st_mtime: 88, st_mtime_nsec: 96, st_ctime: 104,
    st_ctime_nsec: 112,
});

/// `struct statx_timestamp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StatxTimestamp {
    pub tv_sec: i64,
    pub tv_nsec: u32,
    pub reserved: i32,
}

layout!(STATX_TIMESTAMP_LAYOUT = "struct statx_timestamp": StatxTimestamp, 16 { tv_sec: 0, tv_nsec: 8 });

/// `struct statx`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Statx {
    pub stx_mask: u32,
    pub stx_blksize: u32,
    pub stx_attributes: u64,
    pub stx_nlink: u32,
    pub stx_uid: u32,
    pub stx_gid: u32,
    pub stx_mode: u16,
    pub padding_after_mode: u16,
    pub stx_ino: u64,
    pub stx_size: u64,
    pub stx_blocks: u64,
    pub stx_attributes_mask: u64,
    pub stx_atime: StatxTimestamp,
    pub stx_btime: StatxTimestamp,
    pub stx_ctime: StatxTimestamp,
    pub stx_mtime: StatxTimestamp,
    pub stx_rdev_major: u32,
    pub stx_rdev_minor: u32,
    pub stx_dev_major: u32,
    pub stx_dev_minor: u32,
    pub stx_mnt_id: u64,
    pub stx_dio_mem_align: u32,
    pub stx_dio_offset_align: u32,
    pub stx_subvol: u64,
    pub stx_atomic_write_unit_min: u32,
    pub stx_atomic_write_unit_max: u32,
    pub stx_atomic_write_segments_max: u32,
    pub padding_after_atomic_write: u32,
    pub spare: [u64; 9],
}

layout!(STATX_LAYOUT = "struct statx": Statx, 256 {
    stx_mask: 0, stx_blksize: 4, stx_attributes: 8, stx_nlink: 16, stx_uid: 20, stx_gid: 24, stx_mode: 28,
    stx_ino: 32, stx_size: 40, stx_blocks: 48, stx_attributes_mask: 56, stx_atime: 64, stx_btime: 80, stx_ctime: 96,
    stx_mtime: 112, stx_rdev_major: 128, stx_rdev_minor: 132, stx_dev_major: 136, stx_dev_minor: 140,
    stx_mnt_id: 144, stx_dio_mem_align: 152, stx_dio_offset_align: 156,
} newer {
    stx_subvol: 160, stx_atomic_write_unit_min: 168, stx_atomic_write_unit_max: 172,
    stx_atomic_write_segments_max: 176, spare: 184,
});

bitflags! {
    /// Which fields `statx` is asked for and has filled in (`STATX_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct StatxMask: u32 {
        const TYPE = 0x0001;
        const MODE = 0x0002;
        const NLINK = 0x0004;
        const UID = 0x0008;
        const GID = 0x0010;
        const ATIME = 0x0020;
        const MTIME = 0x0040;
        const CTIME = 0x0080;
        const INO = 0x0100;
        const SIZE = 0x0200;
        const BLOCKS = 0x0400;
        const BASIC_STATS = 0x07ff;
        const BTIME = 0x0800;
        const MNT_ID = 0x1000;
        const DIOALIGN = 0x2000;
    }

    /// File attributes in `statx` (`STATX_ATTR_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct StatxAttributes: u64 {
        const COMPRESSED = 0x0000_0004;
        const IMMUTABLE = 0x0000_0010;
        const APPEND = 0x0000_0020;
        const NODUMP = 0x0000_0040;
        const ENCRYPTED = 0x0000_0800;
        const AUTOMOUNT = 0x0000_1000;
        const MOUNT_ROOT = 0x0000_2000;
        const VERITY = 0x0010_0000;
        const DAX = 0x0020_0000;
    }
}

constants! { u32 {
    /// Linux 6.8: the mount's unique identifier.
    STATX_MNT_ID_UNIQUE = 0x4000;
    /// Linux 6.10.
    STATX_SUBVOL = 0x8000;
    /// Linux 6.11.
    STATX_WRITE_ATOMIC = 0x1_0000;
    /// A mask with this bit is refused.
    STATX_RESERVED = 0x8000_0000;
} }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_their_encoding() {
        for (major, minor) in [(0, 0), (1, 3), (5, 1), (254, 255), (259, 65_536), (4095, 1_048_575)] {
            let number = DeviceNumber::new(major, minor);
            assert_eq!(DeviceNumber::decode(number.encode()), number);
        }
        assert_eq!(DeviceNumber::new(5, 1).encode(), 0x501);
        assert_eq!(DeviceNumber::new(0x103, 0x12345).encode(), 0x1231_0345);
    }

    #[test]
    fn file_types_come_from_modes() {
        assert_eq!(FileType::from_mode(0o100644), Some(FileType::Regular));
        assert_eq!(FileType::from_mode(0o644), None);
        assert_eq!(FileType::Directory.directory_entry_type(), 4);
        assert_eq!(FileType::SymbolicLink.directory_entry_type(), 10);
    }
}
