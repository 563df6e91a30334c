//! From a path to an opening.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ksync::{Once, Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::file::{O_ACCMODE, O_RDONLY, O_WRONLY, OpenFlags};
use linux_abi::stat::{DeviceNumber, FileType};
use rcore_fs::{Contents, Creation, NewNode};

use super::directory::Directory;
use super::generated::GeneratedOpening;
use super::regular::RegularFile;
use super::{AnonymousNode, Companion, DiskFile, File, OpenFile, PipeEnd, disk_at};
use crate::console;
use crate::credentials::{Credentials, Permission};
use crate::namespace::{Destination, LastComponent, MountFlags, Place, Route, try_walk, try_walk_to_free};
use crate::obstacle::{Attempt, Obstacle, complete};

const SET_GROUP_ID: u32 = 0o2000;

/// Makes the object behind an opening of a device node.
pub type DeviceOpener = fn(DeviceNumber) -> Result<Arc<dyn File>, Errno>;

static CHARACTER_DEVICES: SpinLock<Vec<(u32, DeviceOpener)>> = SpinLock::new(Rank::DEVICE_TABLE, Vec::new());

/// Says what stands behind character devices with this major number.
pub fn register_character_devices(major: u32, opener: DeviceOpener) {
    CHARACTER_DEVICES.lock().push((major, opener));
}

/// The major numbers behind which something stands.
pub fn character_device_majors() -> Vec<u32> {
    CHARACTER_DEVICES.lock().iter().map(|&(major, _)| major).collect()
}

fn character_device(number: DeviceNumber) -> Result<Arc<dyn File>, Errno> {
    let opener = {
        let devices = CHARACTER_DEVICES.lock();
        devices.iter().find(|(major, _)| *major == number.major()).map(|&(_, opener)| opener)
    };
    opener.ok_or(Errno::ENXIO)?(number)
}

/// Refuses flags that nobody follows here, and those that make no sense together.
pub fn check_flags(flags: OpenFlags) -> Result<(), Errno> {
    if flags.intersects(OpenFlags::PATH) || flags.contains(OpenFlags::TMPFILE) {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY) { Err(Errno::EINVAL) } else { Ok(()) }
}

/// What an opening of a named pipe waits for: that somebody opens its other side.
pub fn other_side(file: &Arc<OpenFile>) -> Option<Obstacle> {
    PipeEnd::of(&**file.file()).filter(|end| end.waits_for_other_side())?;
    let file = file.clone();
    Some(Obstacle::Event(Box::pin(async move {
        if let Some(end) = PipeEnd::of(&**file.file()) {
            end.until_other_side().await;
        }
        Ok(())
    })))
}

/// Opens what a path leads to. `flags` neither create nor cut anything.
pub fn try_open(route: Route<'_>, flags: OpenFlags) -> Attempt<Arc<OpenFile>> {
    let place = try_walk(route, !flags.contains(OpenFlags::NOFOLLOW))?;
    if flags.contains(OpenFlags::PATH) {
        let must_be_directory = flags.contains(OpenFlags::DIRECTORY);
        if must_be_directory && place.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        return Ok(OpenFile::path_only(place, flags));
    }
    if let Some(node) = place.inode().downcast_ref::<AnonymousNode>() {
        return Ok(OpenFile::new(node.reopen(flags)?, None, flags));
    }
    try_check(route.credentials, &place, flags)?;
    let file = try_object(&place, flags)?;
    Ok(OpenFile::at(file, place, flags)?)
}

/// Opens a path, creating the file if `flags` say so. `permissions` are those of a created file, before the mask.
pub async fn open(route: Route<'_>, flags: OpenFlags, permissions: u32) -> Result<Arc<OpenFile>, Errno> {
    if flags.contains(OpenFlags::TMPFILE) {
        return open_unnamed(route, flags, permissions).await;
    }
    if !flags.intersects(OpenFlags::CREAT | OpenFlags::TRUNC) {
        return complete(|| try_open(route, flags)).await;
    }
    let must_be_new = flags.contains(OpenFlags::CREAT | OpenFlags::EXCL);
    let follow_last = !flags.contains(OpenFlags::NOFOLLOW) && !must_be_new;
    let place = loop {
        if !flags.contains(OpenFlags::CREAT) {
            break complete(|| try_walk(route, follow_last)).await?;
        }
        match complete(|| try_walk_to_free(route, follow_last)).await? {
            Destination::Place(_) if must_be_new => return Err(Errno::EEXIST),
            Destination::Place(place) => break place,
            Destination::Free(last) => match create(route, &last, permissions).await {
                Ok(place) => {
                    let file = complete(|| try_object(&place, flags)).await?;
                    return OpenFile::at(file, place, flags);
                }
                // Somebody else was faster.
                Err(Errno::EEXIST) if !must_be_new => {}
                Err(error) => return Err(error),
            },
        }
    };
    if let Some(node) = place.inode().downcast_ref::<AnonymousNode>() {
        return Ok(OpenFile::new(node.reopen(flags)?, None, flags));
    }
    complete(|| try_check(route.credentials, &place, flags)).await?;
    if flags.contains(OpenFlags::TRUNC) && place.file_type() == FileType::Regular {
        place.change_size(route.credentials, 0).await?;
    }
    let file = complete(|| try_object(&place, flags)).await?;
    OpenFile::at(file, place, flags)
}

/// Opens a new file without a name in the directory that a path leads to (`O_TMPFILE`). It may get a name unless `flags`
/// have `O_EXCL`.
async fn open_unnamed(route: Route<'_>, flags: OpenFlags, permissions: u32) -> Result<Arc<OpenFile>, Errno> {
    let directory = complete(|| try_walk(route, !flags.contains(OpenFlags::NOFOLLOW))).await?;
    if directory.file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    if directory.mount().is_read_only() {
        return Err(Errno::EROFS);
    }
    let creation = new_file(route, &directory, permissions).await?;
    let inode = directory.inode().create_unnamed(&creation, !flags.contains(OpenFlags::EXCL)).await?;
    // As it is shown: nobody who looks the name up finds it.
    let name = alloc::format!("#{}", inode.number());
    let place = directory.child(name.as_bytes(), inode);
    let file = complete(|| try_object(&place, flags)).await?;
    OpenFile::at(file, place, flags)
}

/// How a new file in a directory is made, if the caller may make one.
async fn new_file(route: Route<'_>, directory: &Place, permissions: u32) -> Result<Creation<'static>, Errno> {
    let above = complete(|| directory.try_ownership()).await?;
    let credentials = route.credentials;
    credentials.check_ownership(FileType::Directory, above, Permission::WRITE | Permission::EXECUTE)?;
    Ok(Creation {
        node: NewNode::Regular,
        permissions: permissions & 0o7777 & !route.context.creation_mask(),
        user: credentials.file_user,
        // A directory with the set-group-id bit hands its group on.
        group: if above.permissions & SET_GROUP_ID != 0 { above.group } else { credentials.file_group },
    })
}

async fn create(route: Route<'_>, last: &LastComponent<'_>, permissions: u32) -> Result<Place, Errno> {
    let LastComponent { directory, name, .. } = last;
    if directory.mount().is_read_only() {
        return Err(Errno::EROFS);
    }
    let creation = new_file(route, directory, permissions).await?;
    directory.create(name, &creation).await
}

/// Whether something that exists may be opened in this way.
fn try_check(credentials: &Credentials, place: &Place, flags: OpenFlags) -> Attempt<()> {
    let access = flags.bits() & O_ACCMODE;
    let writes = access != O_RDONLY;
    let file_type = place.file_type();
    match file_type {
        FileType::SymbolicLink => return Err(Errno::ELOOP.into()),
        FileType::Directory if writes || flags.contains(OpenFlags::CREAT) => return Err(Errno::EISDIR.into()),
        FileType::Directory => {}
        _ if flags.contains(OpenFlags::DIRECTORY) => return Err(Errno::ENOTDIR.into()),
        _ => {}
    }
    // Of a filesystem that cannot be changed; a device that has its node there can.
    if writes && file_type == FileType::Regular && place.mount().is_read_only() {
        return Err(Errno::EROFS.into());
    }
    let mut wanted = Permission::empty();
    wanted.set(Permission::READ, access != O_WRONLY);
    wanted.set(Permission::WRITE, writes || flags.contains(OpenFlags::TRUNC));
    credentials.check_ownership(file_type, place.try_ownership()?, wanted)?;
    Ok(())
}

static DIRECTORY: Once<Arc<dyn File>> = Once::new();

/// What an opening of this place is an opening of.
pub(crate) fn try_object(place: &Place, flags: OpenFlags) -> Attempt<Arc<dyn File>> {
    let inode = place.inode();
    let entry = place.entry();
    match place.file_type() {
        FileType::Directory => Ok(DIRECTORY.call_once(|| Arc::new(Directory)).clone()),
        FileType::Fifo => Ok(Arc::new(PipeEnd::open_fifo(Companion::of(inode), flags)?)),
        FileType::CharacterDevice | FileType::BlockDevice if place.mount().has(MountFlags::NODEV) => {
            Err(Errno::EACCES.into())
        }
        FileType::CharacterDevice => {
            let number = place.try_metadata()?.device;
            let file = character_device(number)?;
            if Some(number) == console::number() && !flags.contains(OpenFlags::NOCTTY) {
                console::adopt_if_free();
            }
            Ok(file)
        }
        FileType::BlockDevice => {
            let disk = disk_at(place.try_metadata()?.device)?;
            Ok(Arc::new(DiskFile::new(disk, flags.contains(OpenFlags::DIRECT))))
        }
        _ if let Some(file) = entry.known_shared_file() => Ok(file.clone()),
        _ => match inode.contents() {
            Contents::Pages(pages) => {
                Ok(entry.shared_file(|| Arc::new(RegularFile::new(inode.clone(), pages))).clone())
            }
            Contents::Generated(file) => {
                file.check_open()?;
                Ok(Arc::new(GeneratedOpening::new(file)))
            }
            Contents::None => Err(Errno::ENXIO.into()),
        },
    }
}
