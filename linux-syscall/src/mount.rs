//! Mounting, and bringing filesystems to stable storage.

use alloc::string::String;
use alloc::vec::Vec;

use kernel_hal::PAGE_SIZE;
use linux_abi::Errno;
use linux_abi::stat::FileType;
use linux_object::file::{disk_at, disks};
use linux_object::namespace::{self, walk};
use linux_object::obstacle::complete;

use crate::argument::{Bits, Fd, PathAddress, UserAddress};
use crate::call::{Call, Outcome, slow};

/// What `mount` did before its flags had a magic number in the upper half.
const OLD_MAGIC: usize = 0xc0ed_0000;
const OLD_MAGIC_MASK: usize = 0xffff_0000;
/// Flags that change nothing here: every filesystem so far has neither devices of its own nor set-id programs of others
/// (`MS_NOSUID`, `MS_NODEV`, `MS_NOEXEC`), notes access times cheaply (`MS_NOATIME`, `MS_NODIRATIME`, `MS_RELATIME`), or the
/// flag only silences messages (`MS_SILENT`).
const HARMLESS: usize = 2 | 4 | 8 | 1024 | 2048 | 0x20_0000 | 0x8000;
const LONGEST_KIND: usize = 64;
/// `MS_RDONLY`, of filesystems on disks.
const READ_ONLY: usize = 1;

pub fn mount(
    call: &mut Call<'_>,
    source: PathAddress,
    target: PathAddress,
    kind: PathAddress,
    flags: Bits,
    options: PathAddress,
) -> Result<Outcome, Errno> {
    if !call.thread.credentials().is_privileged() {
        return Err(Errno::EPERM);
    }
    let flags = if flags.0 & OLD_MAGIC_MASK == OLD_MAGIC { flags.0 & !OLD_MAGIC_MASK } else { flags.0 };
    if flags & !(HARMLESS | READ_ONLY) != 0 {
        return Err(Errno::EINVAL);
    }
    let may_write = flags & READ_ONLY == 0;
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let target = complete(|| memory.read_path(UserAddress(target.0).get())).await?;
        let kind =
            complete(|| memory.read_string(UserAddress(kind.0).get(), LONGEST_KIND, Errno::EINVAL)).await?;
        let mut words = Vec::new();
        if options.0 != 0 {
            words = complete(|| memory.read_string(UserAddress(options.0).get(), PAGE_SIZE, Errno::EINVAL))
                .await?;
        }
        let credentials = thread.credentials();
        let place = walk(&resources.paths, &credentials, None, &target, true).await?;
        if place.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let mut name = Vec::new();
        if source.0 != 0 {
            name = complete(|| memory.read_path(UserAddress(source.0).get())).await?;
        }
        let words = String::from_utf8(words).map_err(|_| Errno::EINVAL)?;
        let file_system = if namespace::needs_disk(&kind)? {
            let device = walk(&resources.paths, &credentials, None, &name, true).await?;
            if device.file_type() != FileType::BlockDevice {
                return Err(Errno::ENOTBLK);
            }
            let disk = disk_at(device.inode().metadata().await?.device)?;
            if may_write && disk.information().read_only {
                return Err(Errno::EACCES);
            }
            namespace::make_on_disk(&kind, disk, words, may_write).await?
        } else {
            if !may_write {
                return Err(Errno::EINVAL);
            }
            namespace::make(&kind, &words)?
        };
        namespace::attach_from(&name, file_system, Some(place));
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
    // What has neither an inode nor anything to store: a pipe, a socket.
    let syncs_itself = file.file().sync();
    if file.inode().is_none() && syncs_itself.is_none() {
        return Err(Errno::EINVAL);
    }
    Ok(slow(async move {
        if let Some(inode) = file.inode() {
            inode.sync(data_only).await?;
        }
        if let Some(sync) = syncs_itself {
            sync.await?;
        }
        Ok(0)
    }))
}
