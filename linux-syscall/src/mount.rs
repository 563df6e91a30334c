//! Mounting, and bringing filesystems to stable storage.

use alloc::string::String;
use alloc::sync::Arc;

use kernel_hal::PAGE_SIZE;
use linux_abi::Errno;
use linux_abi::file::{AT_FDCWD, AtFlags};
use linux_abi::stat::FileType;
use linux_abi::statfs::{MNT_DETACH, MNT_FORCE, UMOUNT_NOFOLLOW};
use linux_object::credentials::Capabilities;
use linux_object::file::{disk_at, disks};
use linux_object::namespace::{self, MountFlags, Place, Propagation};
use linux_object::obstacle::complete;
use linux_object::thread::{Resources, Thread};
use linux_object::user_buffer::UserMemory;
use rcore_fs::FileSystemFlags;

use crate::argument::{Bits, Fd, PathAddress};
use crate::call::{Call, Caller, Outcome, slow};
use crate::file::try_place;

/// What `mount` did before its flags had a magic number in the upper half.
const OLD_MAGIC: u64 = 0xc0ed_0000;
const OLD_MAGIC_MASK: u64 = 0xffff_0000;
const LONGEST_KIND: usize = 64;
/// What says how the mount relates to others.
const RELATIONS: MountFlags =
    MountFlags::SHARED.union(MountFlags::PRIVATE).union(MountFlags::SLAVE).union(MountFlags::UNBINDABLE);
/// What says how access times are kept.
const ACCESS_TIMES: MountFlags =
    MountFlags::NOATIME.union(MountFlags::NODIRATIME).union(MountFlags::RELATIME);
/// All that is understood.
const KNOWN: MountFlags = namespace::KEPT_FLAGS
    .union(RELATIONS)
    .union(MountFlags::STRICTATIME)
    .union(MountFlags::REMOUNT)
    .union(MountFlags::BIND)
    .union(MountFlags::MOVE)
    .union(MountFlags::REC)
    .union(MountFlags::SILENT);

/// The flags that a mount is to keep. Access times are noted seldom unless something else is said.
fn kept(flags: MountFlags) -> MountFlags {
    let mut kept = flags & namespace::KEPT_FLAGS;
    if !flags.contains(MountFlags::NOATIME) {
        kept |= MountFlags::RELATIME;
    }
    if flags.contains(MountFlags::STRICTATIME) {
        kept -= MountFlags::RELATIME | MountFlags::NOATIME;
    }
    kept
}

/// The arguments of `mount`, whoever reads them.
struct MountCall {
    memory: UserMemory,
    resources: Resources,
    thread: Arc<Thread>,
    source: PathAddress,
    options: PathAddress,
}

impl MountCall {
    async fn place(&self, path: PathAddress) -> Result<Place, Errno> {
        let caller = Caller { thread: &self.thread, resources: &self.resources };
        let credentials = self.thread.credentials();
        complete(|| try_place(caller, &credentials, Fd(AT_FDCWD), path, AtFlags::empty())).await
    }

    async fn source_place(&self) -> Result<Place, Errno> {
        if self.source.0 == 0 {
            return Err(Errno::EINVAL);
        }
        self.place(self.source).await
    }

    async fn options(&self) -> Result<String, Errno> {
        if self.options.0 == 0 {
            return Ok(String::new());
        }
        let read = || self.memory.read_string(self.options.get(), PAGE_SIZE, Errno::EINVAL);
        String::from_utf8(complete(read).await?).map_err(|_| Errno::EINVAL)
    }

    async fn remount(&self, target: &Place, flags: MountFlags) -> Result<(), Errno> {
        let mount = target.mount();
        let mut kept = kept(flags);
        if !flags.intersects(ACCESS_TIMES | MountFlags::STRICTATIME) {
            kept = (kept - ACCESS_TIMES) | (mount.flags() & ACCESS_TIMES);
        }
        let is_whole = !flags.contains(MountFlags::BIND);
        if is_whole {
            if !target.is_mount_root() {
                return Err(Errno::EINVAL);
            }
            let file_system = mount.file_system();
            let can_write = !file_system.flags().contains(FileSystemFlags::READ_ONLY);
            if !kept.contains(MountFlags::RDONLY) && !can_write {
                return Err(Errno::EROFS);
            }
            file_system.reconfigure(&self.options().await?)?;
        }
        namespace::remount(target, kept, is_whole)
    }

    async fn new_mount(&self, target: Place, kind: PathAddress, flags: MountFlags) -> Result<(), Errno> {
        if kind.0 == 0 {
            return Err(Errno::EINVAL);
        }
        let kind = complete(|| self.memory.read_string(kind.get(), LONGEST_KIND, Errno::EINVAL)).await?;
        if target.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let mut name = b"none".to_vec();
        if self.source.0 != 0 {
            name = complete(|| self.memory.read_path(self.source.get())).await?;
        }
        let may_write = !flags.contains(MountFlags::RDONLY);
        let file_system = if namespace::needs_disk(&kind)? {
            let device = self.source_place().await?;
            if device.file_type() != FileType::BlockDevice {
                return Err(Errno::ENOTBLK);
            }
            if device.mount().has(MountFlags::NODEV) {
                return Err(Errno::EACCES);
            }
            let disk = disk_at(complete(|| device.try_metadata()).await?.device)?;
            if may_write && disk.information().read_only {
                return Err(Errno::EACCES);
            }
            namespace::make_on_disk(&kind, disk, self.options().await?, may_write).await?
        } else {
            namespace::make(&kind, &self.options().await?)?
        };
        let root = namespace::attach_from(&name, file_system, Some(target), kept(flags));
        namespace::remount(&root, kept(flags), true)
    }
}

pub fn mount(
    call: &mut Call<'_>,
    source: PathAddress,
    target: PathAddress,
    kind: PathAddress,
    flags: Bits,
    options: PathAddress,
) -> Result<Outcome, Errno> {
    call.thread.credentials().require(Capabilities::SYS_ADMIN)?;
    let bits = flags.0 as u64;
    let bits = if bits & OLD_MAGIC_MASK == OLD_MAGIC { bits & !OLD_MAGIC_MASK } else { bits };
    let flags = MountFlags::from_bits(bits).filter(|&flags| KNOWN.contains(flags)).ok_or(Errno::EINVAL)?;
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    let arguments = MountCall { memory, resources, thread, source, options };
    Ok(slow(async move {
        let target = arguments.place(target).await?;
        let with_mounts = flags.contains(MountFlags::REC);
        if flags.contains(MountFlags::REMOUNT) {
            arguments.remount(&target, flags).await?;
        } else if flags.contains(MountFlags::BIND) {
            namespace::bind(&arguments.source_place().await?, &target, with_mounts)?;
        } else if flags.intersects(RELATIONS) {
            let relation = flags - (MountFlags::REC | MountFlags::SILENT);
            let value = match relation {
                MountFlags::UNBINDABLE => Propagation::Unbindable,
                MountFlags::SHARED | MountFlags::PRIVATE | MountFlags::SLAVE => Propagation::Plain,
                _ => return Err(Errno::EINVAL),
            };
            namespace::set_propagation(&target, value, with_mounts)?;
        } else if flags.contains(MountFlags::MOVE) {
            namespace::move_mount(&arguments.source_place().await?, &target)?;
        } else {
            arguments.new_mount(target, kind, flags).await?;
        }
        Ok(0)
    }))
}

pub fn umount2(call: &mut Call<'_>, target: PathAddress, flags: u32) -> Result<Outcome, Errno> {
    // A mount that goes if it was not used for a while (`MNT_EXPIRE`) is not kept account of.
    if flags & !(MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let (resources, thread) = (call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let caller = Caller { thread: &thread, resources: &resources };
        let credentials = thread.credentials();
        let at_flags =
            if flags & UMOUNT_NOFOLLOW != 0 { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
        let walk = || try_place(caller, &credentials, Fd(AT_FDCWD), target, at_flags);
        let place = complete(walk).await?;
        credentials.require(Capabilities::SYS_ADMIN)?;
        for file_system in namespace::unmount(place, flags & MNT_DETACH != 0)? {
            file_system.sync().await?;
        }
        Ok(0)
    }))
}

pub fn pivot_root(
    call: &mut Call<'_>,
    new_root: PathAddress,
    put_old: PathAddress,
) -> Result<Outcome, Errno> {
    call.thread.credentials().require(Capabilities::SYS_ADMIN)?;
    let (resources, thread) = (call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let caller = Caller { thread: &thread, resources: &resources };
        let credentials = &thread.credentials();
        let walk =
            |path| complete(move || try_place(caller, credentials, Fd(AT_FDCWD), path, AtFlags::empty()));
        let new_root = walk(new_root).await?;
        let put_old = walk(put_old).await?;
        namespace::pivot_root(&resources.paths.root(), &new_root, &put_old)?;
        Ok(0)
    }))
}

pub fn sync(_call: &mut Call<'_>) -> Outcome {
    slow(async {
        for mount in namespace::mounts() {
            if let Err(error) = mount.file_system().sync().await {
                log::error!("sync of {}: {error}", mount.file_system().name());
            }
        }
        for (name, disk) in disks() {
            if let Err(error) = disk.sync().await {
                log::error!("sync of {name}: {error}");
            }
        }
        Ok(0)
    })
}

/// Brings a file to stable storage.
pub fn fsync(call: &mut Call<'_>, fd: Fd) -> Result<Outcome, Errno> {
    synchronise(call, fd, false)
}

/// As [`fsync`], without attributes that reading the content does not need.
pub fn fdatasync(call: &mut Call<'_>, fd: Fd) -> Result<Outcome, Errno> {
    synchronise(call, fd, true)
}

fn synchronise(call: &mut Call<'_>, fd: Fd, data_only: bool) -> Result<Outcome, Errno> {
    let file = call.resources.files.get(fd.0)?;
    file.check_can_synchronise()?;
    Ok(slow(async move { file.synchronise(data_only).await.map(|()| 0) }))
}
