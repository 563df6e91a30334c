//! What is at the top of everything when the first program starts: the initial files, or the disk that `root=` names.
//!
//! By Linux's rules: if there are initial files with a first program in them (`rdinit=`, or `/init`), they are the
//! root, and mounting a disk is the program's business. Otherwise the kernel mounts the disk and `/dev`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use kernel_hal::command_line::CommandLine;
use kernel_hal::machine;
use linux_abi::Errno;
use linux_abi::stat::{DeviceNumber, FileType};
use linux_object::credentials::Credentials;
use linux_object::device_files;
use linux_object::file::{disk_at, disk_named, disks};
use linux_object::namespace::{self, MountFlags, PathContext, Place, walk};
use linux_object::obstacle::Slow;
use rcore_fs::disk::Disk;
use rcore_fs::ext4::{Ext4, Ext4Options};
use rcore_fs::tmpfs::{Tmpfs, TmpfsOptions};
use rcore_fs::{FileSystem, initramfs};

use crate::user_space::tmpfs_options;
use crate::{command_line, machine_description};

const ROOT_PERMISSIONS: u32 = 0o755;
/// The first program of the initial files, if the command line names none.
const RAMDISK_INIT: &str = "/init";
/// What `/proc/mounts` calls a root that the kernel mounted, as on Linux.
const ROOT_SOURCE: &[u8] = b"/dev/root";
/// What lies below that, so that `pivot_root` can put something else in its place.
const BASE_SOURCE: &[u8] = b"rootfs";
const READ_ONLY_ROOT: MountFlags = MountFlags::RELATIME.union(MountFlags::RDONLY);
/// Kinds that are tried if `rootfstype=` names none.
const KINDS: &str = "ext4";
/// Programs that are tried on a disk if `init=` names none, as on Linux.
const DEFAULT_PROGRAMS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// The root, and the programs of which the first that runs is the first program.
pub struct Root {
    /// The top of everything.
    pub place: Place,
    /// Paths to try, in this order.
    pub programs: Vec<String>,
}

/// Why there is no root.
pub enum Failure {
    NoMemory,
    NothingToStartFrom,
    BadInitialFiles(initramfs::ArchiveError),
    NoSuchDisk(String),
    NotMountable(String, String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("no memory for the root filesystem"),
            Self::NothingToStartFrom => f.write_str(
                "there is nothing to start from: pass an initramfs with -initrd, or a disk and root=/dev/vda",
            ),
            Self::BadInitialFiles(error) => write!(f, "initramfs: {error}"),
            Self::NoSuchDisk(name) => {
                write!(f, "root={name}: there is no such disk; there ")?;
                match disks().as_slice() {
                    [] => f.write_str("are none"),
                    known => known.iter().try_for_each(|(name, disk)| {
                        write!(f, "is /dev/{name} ({} MiB) ", disk.bytes() >> 20)
                    }),
                }
            }
            Self::NotMountable(name, reason) => write!(f, "root={name} cannot be mounted: {reason}"),
        }
    }
}

/// Makes filesystems on disks known.
pub fn register() {
    namespace::register_on_disk("ext4", mount_ext4);
}

fn mount_ext4(disk: Arc<Disk>, options: String, may_write: bool) -> Slow<Result<Arc<dyn FileSystem>, Errno>> {
    alloc::boxed::Box::pin(async move {
        let options = Ext4Options::parse(&options)?;
        if may_write {
            return Err(Errno::EROFS);
        }
        match Ext4::mount(&disk, options).await {
            Ok(mounted) => Ok(mounted as Arc<dyn FileSystem>),
            Err(refusal) => {
                log::error!("ext4: {refusal}");
                Err(refusal.errno)
            }
        }
    })
}

/// Finds or mounts the root.
pub async fn prepare() -> Result<Root, Failure> {
    let command_line = command_line();
    if let Some(files) = initial_files().await? {
        let named = command_line.ramdisk_init().unwrap_or(RAMDISK_INIT);
        if command_line.root().is_none() || has_program(&files, named).await {
            let mut programs = alloc::vec![named.to_string()];
            if command_line.ramdisk_init().is_none() {
                programs.extend(DEFAULT_PROGRAMS.map(String::from));
            }
            return Ok(Root { place: namespace::attach(files, None), programs });
        }
    }
    let Some(name) = command_line.root() else { return Err(Failure::NothingToStartFrom) };
    let place = mount_disk(name, &command_line).await?;
    mount_devices(&place).await;
    let programs = match command_line.init() {
        Some(named) => alloc::vec![named.to_string()],
        None => DEFAULT_PROGRAMS.map(String::from).to_vec(),
    };
    Ok(Root { place, programs })
}

/// The initial files, unpacked.
async fn initial_files() -> Result<Option<Arc<Tmpfs>>, Failure> {
    let Some(ramdisk) = machine_description().chosen.initial_ramdisk else { return Ok(None) };
    let options = TmpfsOptions { permissions: ROOT_PERMISSIONS, ..tmpfs_options() };
    let files = Tmpfs::new(linux_object::clock::time_stamp, &options).map_err(|_| Failure::NoMemory)?;
    // SAFETY: boot kept the ramdisk's memory away from the frame allocator, so nobody writes it.
    let image = unsafe { machine::physical_slice(ramdisk.start..ramdisk.end()) };
    let summary = initramfs::unpack(image, &files.root()).await.map_err(Failure::BadInitialFiles)?;
    log::info!("initramfs: {} files, {} KiB", summary.entries, summary.data_bytes >> 10);
    Ok(Some(files))
}

/// Whether a path leads to something in these files.
async fn has_program(files: &Arc<Tmpfs>, path: &str) -> bool {
    let paths = PathContext::new(namespace::detached(files.clone()));
    walk(&paths, &Credentials::default(), None, path.as_bytes(), true).await.is_ok()
}

/// The disk that `root=` names: `/dev/vda`, or major and minor number.
fn find_disk(name: &str) -> Option<Arc<Disk>> {
    if let Some(name) = name.strip_prefix("/dev/") {
        return disk_named(name);
    }
    let (major, minor) = name.split_once(':')?;
    disk_at(DeviceNumber::new(major.parse().ok()?, minor.parse().ok()?)).ok()
}

async fn mount_disk(name: &str, command_line: &CommandLine<'_>) -> Result<Place, Failure> {
    // Disks are found before anything waits for them, so `rootwait` has nothing to wait for.
    let disk = find_disk(name).ok_or_else(|| Failure::NoSuchDisk(name.into()))?;
    let flags = command_line.value("rootflags").unwrap_or_default();
    let mut reason = String::from("rootfstype= names no filesystem");
    for kind in command_line.value("rootfstype").unwrap_or(KINDS).split(',').filter(|kind| !kind.is_empty()) {
        let wants_write = command_line.root_writable() && !disk.information().read_only;
        let mut mounted =
            namespace::make_on_disk(kind.as_bytes(), disk.clone(), flags.into(), wants_write).await;
        if wants_write && matches!(mounted, Err(Errno::EROFS)) {
            log::warn!("{name}: {kind} cannot be written: mounting it read-only");
            mounted = namespace::make_on_disk(kind.as_bytes(), disk.clone(), flags.into(), false).await;
        }
        match mounted {
            Ok(file_system) => {
                log::info!("root: {kind} on {name}");
                let base = Tmpfs::new(linux_object::clock::time_stamp, &TmpfsOptions::default());
                let base = base.map_err(|_| Failure::NoMemory)?;
                let base = namespace::attach_from(BASE_SOURCE, base, None, MountFlags::empty());
                let flags = if wants_write { MountFlags::RELATIME } else { READ_ONLY_ROOT };
                return Ok(namespace::attach_from(ROOT_SOURCE, file_system, Some(base), flags));
            }
            Err(errno) => reason = format!("{kind}: {errno}"),
        }
    }
    Err(Failure::NotMountable(name.into(), reason))
}

/// Mounts the kernel's own device files on `/dev`, if there is such a directory.
async fn mount_devices(root: &Place) {
    let paths = PathContext::new(root.clone());
    match walk(&paths, &Credentials::default(), None, b"/dev", true).await {
        Ok(place) if place.inode().file_type() == FileType::Directory => match device_files::file_system() {
            Ok(devices) => {
                namespace::attach_from(b"devtmpfs", devices, Some(place), MountFlags::RELATIME);
            }
            Err(errno) => log::error!("/dev: {errno}"),
        },
        _ => log::warn!("the root has no directory /dev"),
    }
}
