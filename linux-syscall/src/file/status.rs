//! What is known about a file, and who may use it.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::AtFlags;
use linux_abi::stat::{FileType, Stat, Statx, StatxMask, StatxTimestamp};
use linux_abi::time::Timespec;
use linux_object::credentials::Permission;
use linux_object::namespace::{MountFlags, Place};
use linux_object::obstacle::Attempt;
use rcore_fs::Metadata;

use super::{attempt_at, place_descriptor, place_of, try_place};
use crate::argument::{Fd, PathAddress, UserAddress};
use crate::call::{Call, Caller, Outcome, attempt_for, encode_error};

fn stat_of(place: &Place, metadata: &Metadata) -> Stat {
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

fn stat_flags(flags: u32) -> Result<AtFlags, Errno> {
    AtFlags::from_bits(flags).filter(|&flags| STAT_FLAGS.contains(flags)).ok_or(Errno::EINVAL)
}

pub fn newfstatat(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    buffer: UserAddress,
    flags: u32,
) -> Outcome {
    match stat_flags(flags) {
        Ok(flags) => attempt_at(call, directory, path, flags, move |caller, _, place| {
            write_stat(caller, place, buffer)
        }),
        Err(errno) => Outcome::Done(encode_error(errno)),
    }
}

fn write_stat(caller: Caller<'_>, place: &Place, buffer: UserAddress) -> Attempt {
    place.try_with_metadata(|metadata| {
        caller.memory().write(buffer.get(), &stat_of(place, metadata))?;
        Ok(0)
    })
}

pub fn fstat(call: &mut Call<'_>, fd: Fd, buffer: UserAddress) -> Result<Outcome, Errno> {
    let file = place_descriptor(call, fd)?;
    Ok(attempt_for(call, move |caller| match file.place() {
        Some(place) => write_stat(caller, place, buffer),
        None => write_stat(caller, &place_of(&file), buffer),
    }))
}

pub fn statx(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    flags: u32,
    mask: u32,
    buffer: UserAddress,
) -> Result<Outcome, Errno> {
    let flags = stat_flags(flags)?;
    const RESERVED: u32 = 1 << 31;
    if mask & RESERVED != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(attempt_at(call, directory, path, flags, move |caller, _, place| {
        place.try_with_metadata(|metadata| {
            caller.memory().write(buffer.get(), &statx_of(place, metadata))?;
            Ok(0)
        })
    }))
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

pub fn faccessat(call: &mut Call<'_>, directory: Fd, path: PathAddress, mode: u32) -> Result<Outcome, Errno> {
    faccessat2(call, directory, path, mode, 0)
}

/// Whether writing to it writes to its filesystem, not to a device or a pipe.
fn is_stored(place: &Place) -> bool {
    matches!(place.file_type(), FileType::Regular | FileType::Directory | FileType::SymbolicLink)
}

const AT_EACCESS: u32 = 0x200;

pub fn faccessat2(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    mode: u32,
    flags: u32,
) -> Result<Outcome, Errno> {
    let effective = flags & AT_EACCESS != 0;
    let flags = AtFlags::from_bits(flags & !AT_EACCESS).ok_or(Errno::EINVAL)?;
    let wanted = Permission::from_bits(mode).ok_or(Errno::EINVAL)?;
    if !(AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH).contains(flags) {
        return Err(Errno::EINVAL);
    }
    Ok(attempt_for(call, move |caller| {
        let own = caller.thread.credentials();
        let credentials = if effective { own } else { Arc::new(own.as_real()) };
        let place = try_place(caller, &credentials, directory, path, flags)?;
        if wanted.contains(Permission::WRITE) && place.mount().is_read_only() && is_stored(&place) {
            return Err(Errno::EROFS.into());
        }
        let is_program = place.file_type() == FileType::Regular && wanted.contains(Permission::EXECUTE);
        if is_program && place.mount().has(MountFlags::NOEXEC) {
            return Err(Errno::EACCES.into());
        }
        credentials.check_ownership(place.file_type(), place.try_ownership()?, wanted)?;
        Ok(0)
    }))
}

pub fn readlinkat(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    buffer: UserAddress,
    size: i32,
) -> Result<Outcome, Errno> {
    let size = usize::try_from(size).ok().filter(|&size| size > 0).ok_or(Errno::EINVAL)?;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    Ok(attempt_at(call, directory, path, flags, move |caller, _, place| {
        let link = place.try_read_link()?;
        let len = link.len().min(size);
        caller.memory().write_bytes(buffer.get(), &link[..len])?;
        Ok(len)
    }))
}
