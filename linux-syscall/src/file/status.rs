//! What is known about a file, and who may use it.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::AtFlags;
use linux_abi::stat::FileType;
use linux_object::credentials::Permission;
use linux_object::file::status::{stat_flags, stat_of, statx_flags, try_statx};
use linux_object::namespace::{MountFlags, Place};
use linux_object::obstacle::Attempt;

use super::{attempt_at, place_descriptor, place_of, try_place};
use crate::argument::{Fd, PathAddress, UserAddress};
use crate::call::{Call, Caller, Outcome, attempt_for, encode_error};

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
    let flags = statx_flags(flags, mask)?;
    Ok(attempt_at(call, directory, path, flags, move |caller, _, place| {
        caller.memory().write(buffer.get(), &try_statx(place)?)?;
        Ok(0)
    }))
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
