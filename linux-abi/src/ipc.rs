//! System V's shared memory: commands, flags and layouts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

constants! { IPC_TABLE: i32 {
    /// The key of what has no key.
    IPC_PRIVATE = 0;
    IPC_CREAT = 0o1000;
    IPC_EXCL = 0o2000;
    IPC_RMID = 0;
    IPC_SET = 1;
    IPC_STAT = 2;
    IPC_INFO = 3;
    SHM_RDONLY = 0o10000;
    SHM_RND = 0o20000;
    SHM_REMAP = 0o40000;
    SHM_EXEC = 0o100_000;
    SHM_HUGETLB = 0o4000;
    SHM_NORESERVE = 0o10000;
    SHM_LOCK = 11;
    SHM_UNLOCK = 12;
    SHM_STAT = 13;
    SHM_INFO = 14;
    SHM_STAT_ANY = 15;
} }

constants! { i32 {
    /// In a segment's mode: it goes with its last attachment.
    SHM_DEST = 0o1000;
    /// In a segment's mode: it stays in memory.
    SHM_LOCKED = 0o2000;
} }

/// `struct ipc64_perm`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IpcPermissions {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub seq: u16,
    pub padding: [u16; 3],
    pub unused: [u64; 2],
}

layout!(IPC_PERMISSIONS_LAYOUT = "struct ipc64_perm": IpcPermissions, 48 {
    key: 0, uid: 4, gid: 8, cuid: 12, cgid: 16, mode: 20, seq: 24,
});

/// `struct shmid64_ds`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ShmidStatus {
    pub shm_perm: IpcPermissions,
    pub shm_segsz: u64,
    pub shm_atime: i64,
    pub shm_dtime: i64,
    pub shm_ctime: i64,
    pub shm_cpid: i32,
    pub shm_lpid: i32,
    pub shm_nattch: u64,
    pub unused: [u64; 2],
}

layout!(SHMID_STATUS_LAYOUT = "struct shmid64_ds": ShmidStatus, 112 {
    shm_perm: 0, shm_segsz: 48, shm_atime: 56, shm_dtime: 64, shm_ctime: 72, shm_cpid: 80, shm_lpid: 84,
    shm_nattch: 88,
});

/// `struct shminfo64`: the limits.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ShmLimits {
    pub shmmax: u64,
    pub shmmin: u64,
    pub shmmni: u64,
    pub shmseg: u64,
    pub shmall: u64,
    pub unused: [u64; 4],
}

layout!(SHM_LIMITS_LAYOUT = "struct shminfo64": ShmLimits, 72 {
    shmmax: 0, shmmin: 8, shmmni: 16, shmseg: 24, shmall: 32,
});

/// `struct shm_info`: what is used.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ShmUsage {
    pub used_ids: i32,
    pub padding: u32,
    pub shm_tot: u64,
    pub shm_rss: u64,
    pub shm_swp: u64,
    pub swap_attempts: u64,
    pub swap_successes: u64,
}

layout!(SHM_USAGE_LAYOUT = "struct shm_info": ShmUsage, 48 {
    used_ids: 0, shm_tot: 8, shm_rss: 16, shm_swp: 24, swap_attempts: 32, swap_successes: 40,
});
