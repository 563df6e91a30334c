//! Filesystem status: `statfs`, filesystem magics and mount flags.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

/// `struct statfs`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Statfs {
    pub f_type: i64,
    pub f_bsize: i64,
    pub f_blocks: i64,
    pub f_bfree: i64,
    pub f_bavail: i64,
    pub f_files: i64,
    pub f_ffree: i64,
    pub f_fsid: [i32; 2],
    pub f_namelen: i64,
    pub f_frsize: i64,
    pub f_flags: i64,
    pub f_spare: [i64; 4],
}

layout!(STATFS_LAYOUT = "struct statfs": Statfs, 120 {
    f_type: 0, f_bsize: 8, f_blocks: 16, f_bfree: 24, f_bavail: 32, f_files: 40, f_ffree: 48, f_fsid: 56,
    f_namelen: 64, f_frsize: 72, f_flags: 80, f_spare: 88,
});

constants! { MAGIC_TABLE: i64 {
    ANON_INODE_FS_MAGIC = 0x0904_1934;
    BDEVFS_MAGIC = 0x6264_6576;
    CGROUP2_SUPER_MAGIC = 0x6367_7270;
    DEBUGFS_MAGIC = 0x6462_6720;
    DEVPTS_SUPER_MAGIC = 0x1cd1;
    EXT4_SUPER_MAGIC = 0xef53;
    HUGETLBFS_MAGIC = 0x9584_58f6;
    NSFS_MAGIC = 0x6e73_6673;
    PIPEFS_MAGIC = 0x5049_5045;
    PROC_SUPER_MAGIC = 0x9fa0;
    RAMFS_MAGIC = 0x8584_58f6;
    SOCKFS_MAGIC = 0x534f_434b;
    SYSFS_MAGIC = 0x6265_6572;
    TMPFS_MAGIC = 0x0102_1994;
    TRACEFS_MAGIC = 0x7472_6163;
} }

constants! { i64 {
    /// Linux 6.9: the filesystem of process descriptors.
    PID_FS_MAGIC = 0x5049_4446;
} }

bitflags! {
    /// `f_flags` of [`Statfs`] (`ST_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct StatfsFlags: i64 {
        const RDONLY = 0x0001;
        const NOSUID = 0x0002;
        const NODEV = 0x0004;
        const NOEXEC = 0x0008;
        const SYNCHRONOUS = 0x0010;
        /// The other flags are valid; always set by Linux.
        const VALID = 0x0020;
        const MANDLOCK = 0x0040;
        const NOATIME = 0x0400;
        const NODIRATIME = 0x0800;
        const RELATIME = 0x1000;
        const NOSYMFOLLOW = 0x2000;
    }

    /// Flags of `mount` (`MS_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MountFlags: u64 {
        const RDONLY = 1;
        const NOSUID = 2;
        const NODEV = 4;
        const NOEXEC = 8;
        const SYNCHRONOUS = 16;
        const REMOUNT = 32;
        const MANDLOCK = 64;
        const DIRSYNC = 128;
        const NOSYMFOLLOW = 256;
        const NOATIME = 1024;
        const NODIRATIME = 2048;
        const BIND = 4096;
        const MOVE = 8192;
        const REC = 16384;
        const SILENT = 32768;
        const POSIXACL = 1 << 16;
        const UNBINDABLE = 1 << 17;
        const PRIVATE = 1 << 18;
        const SLAVE = 1 << 19;
        const SHARED = 1 << 20;
        const RELATIME = 1 << 21;
        const I_VERSION = 1 << 23;
        const STRICTATIME = 1 << 24;
        const LAZYTIME = 1 << 25;
    }
}

constants! { u32 {
    /// `umount2`: detach even when busy, by failing what is pending.
    MNT_FORCE = 1;
    /// `umount2`: unlink now, clean up when no longer busy.
    MNT_DETACH = 2;
    /// `umount2`: only if not used since the last such call.
    MNT_EXPIRE = 4;
    /// `umount2`: do not follow a symbolic link at the end.
    UMOUNT_NOFOLLOW = 8;
} }
