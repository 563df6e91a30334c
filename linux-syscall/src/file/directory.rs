//! Listing directories, and the directories that a process is in.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use linux_abi::Errno;
use linux_abi::directory::DirectoryEntryWriter;
use linux_abi::file::{AT_FDCWD, AtFlags};
use linux_abi::limits::PATH_MAX;
use linux_abi::stat::FileType;
use linux_object::credentials::{Credentials, Permission};
use linux_object::file::OpenFile;
use linux_object::namespace::Place;
use linux_object::obstacle::{Attempt, complete};
use rcore_fs::{DirectoryEntry, FIRST_ENTRY};

use super::{attempt_at, descriptor, place_descriptor};
use crate::argument::{Fd, Mode, PathAddress, UserAddress};
use crate::call::{Call, Outcome, attempt, attempt_for, slow};

/// `getdents64` collects at most this much in the kernel at once.
const MOST_DIRECTORY_BYTES: usize = 32 << 10;

pub fn getdents64(call: &mut Call<'_>, fd: Fd, buffer: UserAddress, count: u32) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let memory = call.memory();
    Ok(slow(async move {
        let size = (count as usize).min(MOST_DIRECTORY_BYTES);
        // Of two that list through one opening each gets what the other does not.
        let _turn = file.position_turn().lock().await;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(size, 0);
        let (used, next) = list(&file, &mut bytes).await?;
        file.note_listed();
        complete(|| memory.write_bytes(buffer.get(), &bytes[..used])).await?;
        // Only what has reached the program counts as listed.
        file.set_list_position(next);
        Ok(used)
    }))
}

/// Fills `bytes` with records; returns how many bytes they have and where the listing goes on.
async fn list(file: &OpenFile, bytes: &mut [u8]) -> Result<(usize, u64), Errno> {
    let place = file.place().ok_or(Errno::ENOTDIR)?;
    if place.file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    let mut next = file.list_position();
    let mut writer = DirectoryEntryWriter::new(bytes);
    let mut is_full = false;
    let dots: [(u64, &[u8], u64); 2] =
        [(0, b".", place.inode().number()), (1, b"..", place.parent().inode().number())];
    for (position, name, inode) in dots {
        if next != position {
            continue;
        }
        match writer.push(inode, position as i64 + 1, Some(FileType::Directory), name) {
            Ok(()) => next = position + 1,
            Err(_) => is_full = true,
        }
    }
    if !is_full {
        let mut sink = |entry: &DirectoryEntry<'_>| match writer.push(
            entry.inode,
            entry.next as i64,
            Some(entry.file_type),
            entry.name,
        ) {
            Ok(()) => {
                next = entry.next;
                ControlFlow::Continue(())
            }
            Err(_) => {
                is_full = true;
                ControlFlow::Break(())
            }
        };
        place.inode().iterate(file.list_position().max(FIRST_ENTRY), &mut sink).await?;
    }
    match writer.used() {
        0 if is_full => Err(Errno::EINVAL),
        used => Ok((used, next)),
    }
}

pub fn getcwd(call: &mut Call<'_>, buffer: UserAddress, size: usize) -> Result<Outcome, Errno> {
    let paths = &call.resources.paths;
    let mut path = paths.working_directory().path(&paths.root())?;
    path.push(0);
    if path.len() > size.min(PATH_MAX) {
        return Err(Errno::ERANGE);
    }
    let memory = call.memory();
    Ok(attempt(call, move || {
        memory.write_bytes(buffer.get(), &path)?;
        Ok(path.len())
    }))
}

/// Whether a place may become somebody's working directory or root.
pub(crate) fn try_check_entry(credentials: &Credentials, place: &Place) -> Attempt<()> {
    if place.file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    let ownership = place.try_ownership()?;
    Ok(credentials.check_ownership(FileType::Directory, ownership, Permission::EXECUTE)?)
}

pub fn chdir(call: &mut Call<'_>, path: PathAddress) -> Outcome {
    attempt_at(call, Fd(AT_FDCWD), path, AtFlags::empty(), |caller, credentials, place| {
        try_check_entry(credentials, place)?;
        caller.resources.paths.set_working_directory(place.clone());
        Ok(0)
    })
}

pub fn fchdir(call: &mut Call<'_>, fd: Fd) -> Result<Outcome, Errno> {
    let place = place_descriptor(call, fd)?.place().cloned().ok_or(Errno::ENOTDIR)?;
    Ok(attempt_for(call, move |caller| {
        try_check_entry(&caller.thread.credentials(), &place)?;
        caller.resources.paths.set_working_directory(place.clone());
        Ok(0)
    }))
}

pub fn umask(call: &mut Call<'_>, mask: Mode) -> usize {
    call.resources.paths.set_creation_mask(mask.0) as usize
}
