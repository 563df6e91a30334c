//! What is told about a file.

use linux_abi::Errno;
use linux_abi::file::AtFlags;
use linux_abi::stat::{Stat, Statx, StatxMask, StatxTimestamp};
use linux_abi::time::Timespec;
use rcore_fs::Metadata;

use crate::namespace::Place;
use crate::obstacle::Attempt;

/// As `stat` tells it.
pub fn stat_of(place: &Place, metadata: &Metadata) -> Stat {
    Stat {
        st_dev: place.mount().device().encode().into(),
        st_ino: metadata.inode,
        st_mode: metadata.mode(),
        st_nlink: metadata.links,
        st_uid: metadata.user,
        st_gid: metadata.group,
        st_rdev: metadata.device.encode().into(),
        st_size: metadata.size as i64,
        st_blksize: metadata.block_size as i32,
        st_blocks: metadata.blocks as i64,
        st_atime: metadata.accessed.tv_sec,
        st_atime_nsec: metadata.accessed.tv_nsec as u64,
        st_mtime: metadata.modified.tv_sec,
        st_mtime_nsec: metadata.modified.tv_nsec as u64,
        st_ctime: metadata.changed.tv_sec,
        st_ctime_nsec: metadata.changed.tv_nsec as u64,
        ..Stat::default()
    }
}

const STAT_FLAGS: AtFlags = AtFlags::SYMLINK_NOFOLLOW
    .union(AtFlags::NO_AUTOMOUNT)
    .union(AtFlags::EMPTY_PATH)
    .union(AtFlags::STATX_FORCE_SYNC)
    .union(AtFlags::STATX_DONT_SYNC);

/// The flags of a call that asks about a file.
pub fn stat_flags(flags: u32) -> Result<AtFlags, Errno> {
    AtFlags::from_bits(flags).filter(|&flags| STAT_FLAGS.contains(flags)).ok_or(Errno::EINVAL)
}

/// The same of `statx`, whose mask may not have every bit.
pub fn statx_flags(flags: u32, mask: u32) -> Result<AtFlags, Errno> {
    const RESERVED: u32 = 1 << 31;
    if mask & RESERVED != 0 { Err(Errno::EINVAL) } else { stat_flags(flags) }
}

/// As `statx` tells it.
pub fn try_statx(place: &Place) -> Attempt<Statx> {
    place.try_with_metadata(|metadata| Ok(statx_of(place, metadata)))
}

fn statx_of(place: &Place, metadata: &Metadata) -> Statx {
    let stamp = |time: Timespec| StatxTimestamp {
        tv_sec: time.tv_sec,
        tv_nsec: time.tv_nsec as u32,
        ..StatxTimestamp::default()
    };
    Statx {
        stx_mask: (StatxMask::BASIC_STATS | StatxMask::BTIME).bits(),
        stx_blksize: metadata.block_size,
        stx_nlink: metadata.links,
        stx_uid: metadata.user,
        stx_gid: metadata.group,
        stx_mode: metadata.mode() as u16,
        stx_ino: metadata.inode,
        stx_size: metadata.size,
        stx_blocks: metadata.blocks,
        stx_atime: stamp(metadata.accessed),
        stx_btime: stamp(metadata.created),
        stx_ctime: stamp(metadata.changed),
        stx_mtime: stamp(metadata.modified),
        stx_rdev_major: metadata.device.major(),
        stx_rdev_minor: metadata.device.minor(),
        stx_dev_major: place.mount().device().major(),
        stx_dev_minor: place.mount().device().minor(),
        ..Statx::default()
    }
}
