//! Syscalls that give names and take them away, and that change a file's size.

use linux_abi::Errno;
use linux_abi::file::{AT_FDCWD, AtFlags, O_ACCMODE, O_RDONLY, RenameFlags};
use linux_abi::stat::{DeviceNumber, FileType};
use linux_abi::statfs::{Statfs, StatfsFlags};
use linux_object::credentials::{Capabilities, Permission};
use linux_object::namespace::{Actor, Mount, MountFlags, Named, Place};
use linux_object::obstacle::complete;
use linux_object::path_text::PathText;
use rcore_fs::NewNode;

use crate::argument::{Fd, Mode, PathAddress, UserAddress};
use crate::call::{Call, Caller, Outcome, slow};
use crate::file::{descriptor, place_descriptor, place_of, start_of, try_place};
use linux_object::file::storage::check_file_size;

const AT_REMOVEDIR: u32 = 0x200;

/// Runs a change of names with everything that it needs. A macro, since the future owns what the change borrows.
macro_rules! change {
    ($call:ident, |$actor:ident, $($named:ident = ($directory:expr, $path:expr)),+| $change:expr) => {{
        let (memory, resources, thread) = ($call.memory(), $call.resources.clone(), $call.owned_thread());
        Ok(slow(async move {
            let credentials = thread.credentials();
            let $actor = Actor { paths: &resources.paths, credentials: &credentials };
            $(
                let mut text = PathText::new();
                complete(|| text.load(&memory, $path.get())).await?;
                let path = text.bytes();
                let $named = Named { start: start_of(&resources.files, $directory, path)?, path };
            )+
            $change.await?;
            Ok(0)
        }))
    }};
}

pub fn mkdirat(call: &mut Call<'_>, directory: Fd, path: PathAddress, mode: Mode) -> Result<Outcome, Errno> {
    const PERMISSIONS: u32 = 0o1777;
    change!(call, |actor, named = (directory, path)| actor.create(
        &named,
        NewNode::Directory,
        mode.0 & PERMISSIONS
    ))
}

pub fn mknodat(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    mode: Mode,
    device: u32,
) -> Result<Outcome, Errno> {
    const PERMISSIONS: u32 = 0o7777;
    let device = DeviceNumber::decode(device);
    let node = match FileType::from_mode(mode.0) {
        _ if mode.0 & !PERMISSIONS == 0 => NewNode::Regular,
        Some(FileType::Regular) => NewNode::Regular,
        Some(FileType::Fifo) => NewNode::Fifo,
        Some(FileType::Socket) => NewNode::Socket,
        Some(FileType::CharacterDevice) => NewNode::CharacterDevice(device),
        Some(FileType::BlockDevice) => NewNode::BlockDevice(device),
        Some(FileType::Directory) => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    };
    // A whiteout is no device: behind its number is nothing.
    let is_device = match node {
        NewNode::CharacterDevice(device) => device != DeviceNumber::new(0, 0),
        NewNode::BlockDevice(_) => true,
        _ => false,
    };
    if is_device && !call.thread.credentials().is_privileged() {
        return Err(Errno::EPERM);
    }
    change!(call, |actor, named = (directory, path)| actor.create(&named, node, mode.0 & PERMISSIONS))
}

pub fn unlinkat(call: &mut Call<'_>, directory: Fd, path: PathAddress, flags: u32) -> Result<Outcome, Errno> {
    match flags {
        0 => change!(call, |actor, named = (directory, path)| actor.unlink(&named)),
        AT_REMOVEDIR => change!(call, |actor, named = (directory, path)| actor.remove_directory(&named)),
        _ => Err(Errno::EINVAL),
    }
}

pub fn symlinkat(
    call: &mut Call<'_>,
    target: PathAddress,
    directory: Fd,
    path: PathAddress,
) -> Result<Outcome, Errno> {
    const PERMISSIONS: u32 = 0o777;
    let target_memory = call.memory();
    change!(call, |actor, named = (directory, path)| async {
        let target = complete(|| target_memory.read_path(UserAddress(target.0).get())).await?;
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        actor.create(&named, NewNode::SymbolicLink(&target), PERMISSIONS).await
    })
}

pub fn linkat(
    call: &mut Call<'_>,
    old_directory: Fd,
    old: PathAddress,
    new_directory: Fd,
    new: PathAddress,
    flags: u32,
) -> Result<Outcome, Errno> {
    let known = AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH;
    let flags = AtFlags::from_bits(flags).filter(|&flags| known.contains(flags)).ok_or(Errno::EINVAL)?;
    let follow = flags.contains(AtFlags::SYMLINK_FOLLOW);
    if flags.contains(AtFlags::EMPTY_PATH) {
        return Ok(link_descriptor(call, (old_directory, old), (new_directory, new), follow));
    }
    change!(call, |actor, from = (old_directory, old), to = (new_directory, new)| actor
        .link(&from, &to, follow))
}

/// `linkat` that means a descriptor itself if the old path is empty.
fn link_descriptor(
    call: &Call<'_>,
    (old_directory, old): (Fd, PathAddress),
    (new_directory, new): (Fd, PathAddress),
    follow: bool,
) -> Outcome {
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    slow(async move {
        let credentials = thread.credentials();
        let actor = Actor { paths: &resources.paths, credentials: &credentials };
        let (mut old_text, mut new_text) = (PathText::new(), PathText::new());
        complete(|| old_text.load(&memory, old.get())).await?;
        complete(|| new_text.load(&memory, new.get())).await?;
        let (old_path, new_path) = (old_text.bytes(), new_text.bytes());
        let to = Named { start: start_of(&resources.files, new_directory, new_path)?, path: new_path };
        if !old_path.is_empty() {
            let start = start_of(&resources.files, old_directory, old_path)?;
            actor.link(&Named { start, path: old_path }, &to, follow).await?;
            return Ok(0);
        }
        let place = match old_directory.0 {
            AT_FDCWD => resources.paths.working_directory(),
            number => place_of(&resources.files.get_place(number)?),
        };
        if !credentials.has(Capabilities::DAC_READ_SEARCH) {
            return Err(Errno::ENOENT);
        }
        actor.link_place(&place, &to).await?;
        Ok(0)
    })
}

pub fn renameat2(
    call: &mut Call<'_>,
    old_directory: Fd,
    old: PathAddress,
    new_directory: Fd,
    new: PathAddress,
    flags: u32,
) -> Result<Outcome, Errno> {
    let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let excludes_exchange = RenameFlags::NOREPLACE | RenameFlags::WHITEOUT;
    if flags.contains(RenameFlags::EXCHANGE) && flags.intersects(excludes_exchange) {
        return Err(Errno::EINVAL);
    }
    change!(call, |actor, from = (old_directory, old), to = (new_directory, new)| actor
        .rename(&from, &to, flags))
}

pub fn ftruncate(call: &mut Call<'_>, fd: Fd, size: i64) -> Result<Outcome, Errno> {
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    let file = descriptor(call, fd)?;
    if file.flags() & O_ACCMODE == O_RDONLY {
        return Err(Errno::EINVAL);
    }
    let credentials = call.thread.credentials();
    let thread = call.owned_thread();
    Ok(slow(async move {
        let place = file.place().filter(|place| place.file_type() == FileType::Regular);
        let place = place.ok_or(Errno::EINVAL)?;
        check_file_size(&thread, size)?;
        place.change_size(&credentials, size).await?;
        Ok(0)
    }))
}

pub fn truncate(call: &mut Call<'_>, path: PathAddress, size: i64) -> Result<Outcome, Errno> {
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    let (resources, thread) = (call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let caller = Caller { thread: &thread, resources: &resources };
        let credentials = thread.credentials();
        let walk = || try_place(caller, &credentials, Fd(AT_FDCWD), path, AtFlags::empty());
        let place = complete(walk).await?;
        match place.file_type() {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
        if place.mount().is_read_only() {
            return Err(Errno::EROFS);
        }
        let ownership = complete(|| place.try_ownership()).await?;
        credentials.check_ownership(FileType::Regular, ownership, Permission::WRITE)?;
        check_file_size(&thread, size)?;
        place.change_size(&credentials, size).await?;
        Ok(0)
    }))
}

fn status_flags(mount: &Mount) -> StatfsFlags {
    const SAME: [(MountFlags, StatfsFlags); 7] = [
        (MountFlags::NOSUID, StatfsFlags::NOSUID),
        (MountFlags::NODEV, StatfsFlags::NODEV),
        (MountFlags::NOEXEC, StatfsFlags::NOEXEC),
        (MountFlags::NOATIME, StatfsFlags::NOATIME),
        (MountFlags::NODIRATIME, StatfsFlags::NODIRATIME),
        (MountFlags::RELATIME, StatfsFlags::RELATIME),
        (MountFlags::NOSYMFOLLOW, StatfsFlags::NOSYMFOLLOW),
    ];
    let shown = SAME.iter().filter(|(flag, _)| mount.has(*flag)).map(|&(_, shown)| shown);
    let mut flags = shown.fold(StatfsFlags::VALID, StatfsFlags::union);
    flags.set(StatfsFlags::RDONLY, mount.is_read_only());
    flags
}

async fn status_of(place: &Place) -> Result<Statfs, Errno> {
    let mut status = place.mount().file_system().status().await?;
    status.f_fsid = [place.mount().device().encode() as i32, 0];
    status.f_flags = status_flags(place.mount()).bits();
    Ok(status)
}

pub fn statfs(call: &mut Call<'_>, path: PathAddress, result: UserAddress) -> Result<Outcome, Errno> {
    let (resources, thread) = (call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let caller = Caller { thread: &thread, resources: &resources };
        let credentials = thread.credentials();
        let walk = || try_place(caller, &credentials, Fd(AT_FDCWD), path, AtFlags::empty());
        let status = status_of(&complete(walk).await?).await?;
        complete(|| caller.memory().write(result.get(), &status)).await?;
        Ok(0)
    }))
}

pub fn fstatfs(call: &mut Call<'_>, fd: Fd, result: UserAddress) -> Result<Outcome, Errno> {
    let file = place_descriptor(call, fd)?;
    let memory = call.memory();
    Ok(slow(async move {
        let status = status_of(file.place().ok_or(Errno::ENOSYS)?).await?;
        complete(|| memory.write(result.get(), &status)).await?;
        Ok(0)
    }))
}
