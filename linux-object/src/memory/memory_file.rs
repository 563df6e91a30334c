//! `memfd_create`: files that have no name, and seals.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_object::paged_object::{PagedObject, Sealed, Seals};
use ksync::Once;
use linux_abi::Errno;
use linux_abi::file::{F_SEAL_EXEC, MFD_EXEC, MFD_NOEXEC_SEAL, MemfdFlags, O_ACCMODE, O_RDONLY, OpenFlags};
use rcore_fs::tmpfs::{Tmpfs, TmpfsOptions};
use rcore_fs::{Contents, Creation, NewNode};

use crate::credentials::Credentials;
use crate::file::OpenFile;
use crate::file::open::try_object;
use crate::namespace::{Mount, Place};
use crate::obstacle::complete;

/// The longest name, without the zero at its end.
pub const LONGEST_NAME: usize = 249;
const PREFIX: &[u8] = b"memfd:";
const FOR_EVERYBODY: u32 = 0o777;
const EXECUTABLE_BITS: u32 = 0o111;

/// The filesystem of these files: no path leads to it.
static HOME: Once<Place> = Once::new();

fn home() -> Result<Place, Errno> {
    if let Some(home) = HOME.get() {
        return Ok(home.clone());
    }
    let file_system = Tmpfs::new(crate::clock::time_stamp, &TmpfsOptions::default())?;
    Ok(HOME.call_once(|| Place::mount_root(Mount::detached(file_system))).clone())
}

/// What `memfd_create` was asked for.
#[derive(Clone, Copy, Debug)]
pub struct MemoryFileFlags {
    /// The descriptor is closed by `execve`.
    pub close_on_exec: bool,
    sealable: bool,
    executable: bool,
}

impl MemoryFileFlags {
    /// Reads the flags; there are no huge pages to be had.
    pub fn decode(bits: u32) -> Result<Self, Errno> {
        let flags = MemfdFlags::from_bits_retain(bits);
        if flags.contains(MemfdFlags::HUGETLB) {
            return Err(Errno::ENOMEM);
        }
        let known = MemfdFlags::CLOEXEC.union(MemfdFlags::ALLOW_SEALING).bits() | MFD_NOEXEC_SEAL | MFD_EXEC;
        if bits & !known != 0 || bits & (MFD_NOEXEC_SEAL | MFD_EXEC) == MFD_NOEXEC_SEAL | MFD_EXEC {
            return Err(Errno::EINVAL);
        }
        let executable = bits & MFD_NOEXEC_SEAL == 0;
        Ok(Self {
            close_on_exec: flags.contains(MemfdFlags::CLOEXEC),
            sealable: flags.contains(MemfdFlags::ALLOW_SEALING) || !executable,
            executable,
        })
    }
}

/// Makes a file in memory and opens it.
pub async fn create(
    name: &[u8],
    flags: MemoryFileFlags,
    credentials: &Credentials,
) -> Result<Arc<OpenFile>, Errno> {
    let home = home()?;
    let creation = Creation {
        node: NewNode::Regular,
        permissions: if flags.executable { FOR_EVERYBODY } else { FOR_EVERYBODY & !EXECUTABLE_BITS },
        user: credentials.file_user,
        group: credentials.file_group,
    };
    let inode = home.inode().create_unnamed(&creation, false).await?;
    if let Contents::Pages(pages) = inode.contents()
        && flags.sealable
    {
        pages.open_to_seals();
        if !flags.executable {
            pages.add_seals(Seals::EXECUTE).map_err(|_| Errno::EPERM)?;
        }
    }
    let mut full_name = Vec::new();
    full_name.try_reserve_exact(PREFIX.len() + name.len()).map_err(|_| Errno::ENOMEM)?;
    full_name.extend_from_slice(PREFIX);
    full_name.extend_from_slice(name);
    let place = home.child(&full_name, inode);
    let file = complete(|| try_object(&place, OpenFlags::RDWR)).await?;
    Ok(OpenFile::new(file, Some(place), OpenFlags::RDWR | OpenFlags::LARGEFILE))
}

/// The pages of a file whose seals can be asked for: one in memory.
fn sealable_pages(file: &OpenFile) -> Result<Arc<PagedObject>, Errno> {
    match file.inode().map(|inode| inode.contents()) {
        Some(Contents::Pages(pages)) if !pages.has_pager() => Ok(pages),
        _ => Err(Errno::EINVAL),
    }
}

/// `F_GET_SEALS`.
pub fn seals(file: &OpenFile) -> Result<u32, Errno> {
    sealable_pages(file).map(|pages| pages.seals().bits().into())
}

/// `F_ADD_SEALS`.
pub fn add_seals(file: &OpenFile, bits: u32) -> Result<(), Errno> {
    if file.flags() & O_ACCMODE == O_RDONLY {
        return Err(Errno::EPERM);
    }
    let mut seals = u8::try_from(bits).ok().and_then(Seals::from_bits).ok_or(Errno::EINVAL)?;
    // What is not to become executable is not to change at all, if it is executable now.
    if bits & F_SEAL_EXEC != 0 && sealable_pages(file)?.seals().contains(Seals::EXECUTE) {
        seals.remove(Seals::EXECUTE);
    }
    sealable_pages(file)?.add_seals(seals).map_err(|error| match error {
        Sealed::Closed => Errno::EPERM,
        Sealed::Busy => Errno::EBUSY,
    })
}
