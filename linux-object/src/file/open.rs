//! From a path to an opening.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::file::{O_ACCMODE, O_RDONLY, OpenFlags};
use linux_abi::stat::{DeviceNumber, FileType};
use rcore_fs::{Contents, Creation, INode, NewNode};

use super::directory::Directory;
use super::generated::GeneratedOpening;
use super::regular::RegularFile;
use super::{AnonymousNode, Companion, DiskFile, File, OpenFile, PipeEnd, disk_at};
use crate::console;
use crate::credentials::{Credentials, Permission};
use crate::namespace::{LastComponent, PathContext, Place, walk, walk_to_parent};

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

/// Opens a path, creating the file if `flags` say so. `permissions` are those of a created file, before the mask.
pub async fn open(
    paths: &PathContext,
    credentials: &Credentials,
    start: Option<Arc<Place>>,
    path: &[u8],
    flags: OpenFlags,
    permissions: u32,
) -> Result<Arc<OpenFile>, Errno> {
    let follow_last = !flags.contains(OpenFlags::NOFOLLOW);
    let place = if flags.contains(OpenFlags::CREAT) {
        let created = create(paths, credentials, start.clone(), path, flags, permissions).await?;
        match created {
            Created::New(place) => {
                let file = object(place.inode(), flags).await?;
                return Ok(OpenFile::new(file, Some(place), flags));
            }
            Created::Exists => walk(paths, credentials, start, path, follow_last).await?,
        }
    } else {
        walk(paths, credentials, start, path, follow_last).await?
    };
    open_existing(credentials, place, flags).await
}

enum Created {
    New(Arc<Place>),
    Exists,
}

async fn create(
    paths: &PathContext,
    credentials: &Credentials,
    start: Option<Arc<Place>>,
    path: &[u8],
    flags: OpenFlags,
    permissions: u32,
) -> Result<Created, Errno> {
    let LastComponent { directory, name, must_be_directory } =
        walk_to_parent(paths, credentials, start, path).await?;
    if name.is_empty() || must_be_directory {
        return Err(Errno::EISDIR);
    }
    match directory.find(&name).await {
        Ok(_) if flags.contains(OpenFlags::EXCL) => return Err(Errno::EEXIST),
        Ok(_) => return Ok(Created::Exists),
        Err(Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    if directory.mount().is_read_only() {
        return Err(Errno::EROFS);
    }
    let above = directory.inode().metadata().await?;
    credentials.check(&above, Permission::WRITE | Permission::EXECUTE)?;
    let creation = Creation {
        node: NewNode::Regular,
        permissions: permissions & 0o7777 & !paths.creation_mask(),
        user: credentials.file_user,
        // A directory with the set-group-id bit hands its group on.
        group: if above.permissions & SET_GROUP_ID != 0 { above.group } else { credentials.file_group },
    };
    match directory.create(&name, &creation).await {
        Ok(place) => Ok(Created::New(place)),
        // Somebody else was faster.
        Err(Errno::EEXIST) if !flags.contains(OpenFlags::EXCL) => Ok(Created::Exists),
        Err(error) => Err(error),
    }
}

async fn open_existing(
    credentials: &Credentials,
    place: Arc<Place>,
    flags: OpenFlags,
) -> Result<Arc<OpenFile>, Errno> {
    let inode = place.inode();
    if let Some(node) = inode.downcast_ref::<AnonymousNode>() {
        return Ok(OpenFile::new(node.reopen(flags)?, None, flags));
    }
    let writes = flags.bits() & O_ACCMODE != O_RDONLY;
    match inode.file_type() {
        FileType::SymbolicLink => return Err(Errno::ELOOP),
        FileType::Directory if writes || flags.contains(OpenFlags::CREAT) => return Err(Errno::EISDIR),
        file_type if file_type != FileType::Directory && flags.contains(OpenFlags::DIRECTORY) => {
            return Err(Errno::ENOTDIR);
        }
        _ => {}
    }
    // Of a filesystem that cannot be changed; a device that has its node there can.
    if writes && inode.file_type() == FileType::Regular && place.mount().is_read_only() {
        return Err(Errno::EROFS);
    }
    let metadata = inode.metadata().await?;
    let mut wanted = Permission::empty();
    wanted.set(Permission::READ, flags.bits() & O_ACCMODE != linux_abi::file::O_WRONLY);
    wanted.set(Permission::WRITE, writes || flags.contains(OpenFlags::TRUNC));
    credentials.check(&metadata, wanted)?;
    if flags.contains(OpenFlags::TRUNC) && inode.file_type() == FileType::Regular {
        place.change_size(credentials, 0).await?;
    }
    let file = object(inode, flags).await?;
    Ok(OpenFile::new(file, Some(place), flags))
}

/// What an opening of this inode is an opening of.
pub(crate) async fn object(inode: &Arc<dyn INode>, flags: OpenFlags) -> Result<Arc<dyn File>, Errno> {
    match (inode.file_type(), inode.contents()) {
        (FileType::Directory, _) => Ok(Arc::new(Directory)),
        (FileType::Fifo, _) => Ok(Arc::new(PipeEnd::open_fifo(Companion::of(inode), flags)?)),
        (FileType::CharacterDevice, _) => {
            let number = inode.metadata().await?.device;
            let file = character_device(number)?;
            if Some(number) == console::number() && !flags.contains(OpenFlags::NOCTTY) {
                console::adopt_if_free();
            }
            Ok(file)
        }
        (FileType::BlockDevice, _) => {
            let disk = disk_at(inode.metadata().await?.device)?;
            Ok(Arc::new(DiskFile::new(disk, flags.contains(OpenFlags::DIRECT))))
        }
        (_, Contents::Pages(pages)) => Ok(Arc::new(RegularFile::new(inode.clone(), pages))),
        (_, Contents::Generated(file)) => {
            file.check_open()?;
            Ok(Arc::new(GeneratedOpening::new(file)))
        }
        (_, Contents::None) => Err(Errno::ENXIO),
    }
}
