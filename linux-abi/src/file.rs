//! Opening and handling files: `open`, `fcntl`, `*at`, `fallocate`, `renameat2` and their like.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

/// The two access bits of [`OpenFlags`]; their values are [`O_RDONLY`], [`O_WRONLY`] and [`O_RDWR`].
pub const O_ACCMODE: u32 = 3;

bitflags! {
    /// Flags of `open` and of an open file (`O_`), with the numbers of the generic ABI.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct OpenFlags: u32 {
        const WRONLY = 0o1;
        const RDWR = 0o2;
        const CREAT = 0o100;
        const EXCL = 0o200;
        const NOCTTY = 0o400;
        const TRUNC = 0o1000;
        const APPEND = 0o2000;
        const NONBLOCK = 0o4000;
        const DSYNC = 0o10000;
        const DIRECT = 0o40000;
        const LARGEFILE = 0o100000;
        const DIRECTORY = 0o200000;
        const NOFOLLOW = 0o400000;
        const NOATIME = 0o1000000;
        const CLOEXEC = 0o2000000;
        /// `__O_SYNC` and `O_DSYNC` together.
        const SYNC = 0o4010000;
        const PATH = 0o10000000;
        /// `__O_TMPFILE` and `O_DIRECTORY` together.
        const TMPFILE = 0o20200000;
    }

    /// Flags of the `*at` calls (`AT_`) that mean the same in each.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct AtFlags: u32 {
        const SYMLINK_NOFOLLOW = 0x100;
        const SYMLINK_FOLLOW = 0x400;
        const NO_AUTOMOUNT = 0x800;
        const EMPTY_PATH = 0x1000;
        const STATX_FORCE_SYNC = 0x2000;
        const STATX_DONT_SYNC = 0x4000;
        const RECURSIVE = 0x8000;
    }

    /// `resolve` of `openat2` (`RESOLVE_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct ResolveFlags: u64 {
        const NO_XDEV = 0x01;
        const NO_MAGICLINKS = 0x02;
        const NO_SYMLINKS = 0x04;
        const BENEATH = 0x08;
        const IN_ROOT = 0x10;
        const CACHED = 0x20;
    }

    /// Flags of `renameat2` (`RENAME_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct RenameFlags: u32 {
        const NOREPLACE = 1;
        const EXCHANGE = 2;
        const WHITEOUT = 4;
    }

    /// Modes of `fallocate` (`FALLOC_FL_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct FallocateFlags: u32 {
        const KEEP_SIZE = 0x01;
        const PUNCH_HOLE = 0x02;
        const COLLAPSE_RANGE = 0x08;
        const ZERO_RANGE = 0x10;
        const INSERT_RANGE = 0x20;
        const UNSHARE_RANGE = 0x40;
    }

    /// Seals of a memfd (`F_SEAL_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Seals: u32 {
        const SEAL = 0x01;
        const SHRINK = 0x02;
        const GROW = 0x04;
        const WRITE = 0x08;
        const FUTURE_WRITE = 0x10;
    }

    /// Flags of `preadv2` and `pwritev2` (`RWF_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct ReadWriteFlags: u32 {
        const HIPRI = 0x01;
        const DSYNC = 0x02;
        const SYNC = 0x04;
        const NOWAIT = 0x08;
        const APPEND = 0x10;
        const NOAPPEND = 0x20;
        const ATOMIC = 0x40;
    }

    /// Flags of `memfd_create` (`MFD_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct MemfdFlags: u32 {
        const CLOEXEC = 0x01;
        const ALLOW_SEALING = 0x02;
        const HUGETLB = 0x04;
    }

    /// Flags of `close_range` (`CLOSE_RANGE_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct CloseRangeFlags: u32 {
        const UNSHARE = 0x02;
        const CLOEXEC = 0x04;
    }

    /// Flags of `sync_file_range` (`SYNC_FILE_RANGE_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SyncFileRangeFlags: u32 {
        const WAIT_BEFORE = 1;
        const WRITE = 2;
        const WAIT_AFTER = 4;
    }

    /// Flags of `splice`, `tee` and `vmsplice` (`SPLICE_F_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SpliceFlags: u32 {
        const MOVE = 1;
        const NONBLOCK = 2;
        const MORE = 4;
        const GIFT = 8;
    }
}

constants! { OPEN_TABLE: u32 {
    O_RDONLY = 0;
    O_WRONLY = 1;
    O_RDWR = 2;
    /// `O_ASYNC`: send SIGIO when the file becomes ready.
    FASYNC = 0o20000;
} }

constants! { FILE_TABLE: i32 {
    /// The directory descriptor that stands for the current directory.
    AT_FDCWD = -100;
    /// `faccessat2` only.
    AT_EACCESS = 0x200;
    /// `unlinkat` only.
    AT_REMOVEDIR = 0x200;
    F_DUPFD = 0;
    F_GETFD = 1;
    F_SETFD = 2;
    F_GETFL = 3;
    F_SETFL = 4;
    F_GETLK = 5;
    F_SETLK = 6;
    F_SETLKW = 7;
    F_SETOWN = 8;
    F_GETOWN = 9;
    F_SETSIG = 10;
    F_GETSIG = 11;
    F_SETOWN_EX = 15;
    F_GETOWN_EX = 16;
    F_GETOWNER_UIDS = 17;
    F_OFD_GETLK = 36;
    F_OFD_SETLK = 37;
    F_OFD_SETLKW = 38;
    F_SETLEASE = 1024;
    F_GETLEASE = 1025;
    F_NOTIFY = 1026;
    F_CANCELLK = 1029;
    F_DUPFD_CLOEXEC = 1030;
    F_SETPIPE_SZ = 1031;
    F_GETPIPE_SZ = 1032;
    F_ADD_SEALS = 1033;
    F_GET_SEALS = 1034;
    F_GET_RW_HINT = 1035;
    F_SET_RW_HINT = 1036;
    F_GET_FILE_RW_HINT = 1037;
    F_SET_FILE_RW_HINT = 1038;
    FD_CLOEXEC = 1;
    F_OWNER_TID = 0;
    F_OWNER_PID = 1;
    F_OWNER_PGRP = 2;
    F_RDLCK = 0;
    F_WRLCK = 1;
    F_UNLCK = 2;
    LOCK_SH = 1;
    LOCK_EX = 2;
    LOCK_NB = 4;
    LOCK_UN = 8;
    SEEK_SET = 0;
    SEEK_CUR = 1;
    SEEK_END = 2;
    SEEK_DATA = 3;
    SEEK_HOLE = 4;
} }

constants! { i32 {
    /// Linux 6.10: whether two descriptors are one open file.
    F_DUPFD_QUERY = 1027;
    /// Linux 6.12: whether `open` created the file.
    F_CREATED_QUERY = 1028;
    F_OK = 0;
    X_OK = 1;
    W_OK = 2;
    R_OK = 4;
    /// `eventfd2`: reads take one.
    EFD_SEMAPHORE = 1;
    EFD_CLOEXEC = 0o2000000;
    EFD_NONBLOCK = 0o4000;
    SFD_CLOEXEC = 0o2000000;
    SFD_NONBLOCK = 0o4000;
    POSIX_FADV_NORMAL = 0;
    POSIX_FADV_RANDOM = 1;
    POSIX_FADV_SEQUENTIAL = 2;
    POSIX_FADV_WILLNEED = 3;
    POSIX_FADV_DONTNEED = 4;
    POSIX_FADV_NOREUSE = 5;
} }

constants! { u32 {
    /// Linux 6.3, `memfd_create`: never executable, sealed so.
    MFD_NOEXEC_SEAL = 0x08;
    /// Linux 6.3, `memfd_create`: executable.
    MFD_EXEC = 0x10;
    /// Linux 6.3: the executable bits cannot change.
    F_SEAL_EXEC = 0x20;
} }

/// `struct iovec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Iovec {
    pub iov_base: u64,
    pub iov_len: u64,
}

layout!(IOVEC_LAYOUT = "struct iovec": Iovec, 16 { iov_base: 0, iov_len: 8 });

/// `struct flock`, of the record locks.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flock {
    pub l_type: i16,
    pub l_whence: i16,
    pub padding_after_whence: u32,
    pub l_start: i64,
    pub l_len: i64,
    pub l_pid: i32,
    pub padding_after_pid: u32,
}

layout!(FLOCK_LAYOUT = "struct flock": Flock, 32 { l_type: 0, l_whence: 2, l_start: 8, l_len: 16, l_pid: 24 });

/// `struct f_owner_ex`, of `F_SETOWN_EX`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FOwnerEx {
    pub r#type: i32,
    pub pid: i32,
}

layout!(F_OWNER_EX_LAYOUT = "struct f_owner_ex": FOwnerEx, 8 { pid: 4 });

/// `struct open_how`, of `openat2`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpenHow {
    pub flags: u64,
    pub mode: u64,
    pub resolve: u64,
}

layout!(OPEN_HOW_LAYOUT = "struct open_how": OpenHow, 24 { flags: 0, mode: 8, resolve: 16 });
