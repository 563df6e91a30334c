//! Syscalls of `inotify`.

use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::inotify::WatchMask;
use linux_abi::stat::FileType;
use linux_object::credentials::Permission;
use linux_object::file::OpenFile;
use linux_object::inotify::Inotify;
use linux_object::namespace::walk;
use linux_object::obstacle::complete;

use crate::argument::{Bits, Fd, PathAddress, UserAddress};
use crate::call::{Call, Outcome, slow};
use crate::file::descriptor;

pub fn inotify_init1(call: &mut Call<'_>, flags: Bits) -> Result<usize, Errno> {
    let flags = OpenFlags::from_bits_retain(flags.0 as u32);
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags) {
        return Err(Errno::EINVAL);
    }
    let file = OpenFile::new(Inotify::new()?, None, flags & OpenFlags::NONBLOCK);
    call.resources.files.insert(file, 0, flags.contains(OpenFlags::CLOEXEC)).map(|number| number as usize)
}

/// What may be asked for. Names that are gone are not told from others, so `IN_EXCL_UNLINK` is refused.
const SUPPORTED: WatchMask = WatchMask::ALL_EVENTS
    .union(WatchMask::ONLYDIR)
    .union(WatchMask::DONT_FOLLOW)
    .union(WatchMask::MASK_CREATE)
    .union(WatchMask::MASK_ADD)
    .union(WatchMask::ONESHOT)
    .union(WatchMask::ISDIR)
    .union(WatchMask::UNMOUNT)
    .union(WatchMask::Q_OVERFLOW)
    .union(WatchMask::IGNORED);

pub fn inotify_add_watch(
    call: &mut Call<'_>,
    fd: Fd,
    path: PathAddress,
    mask: Bits,
) -> Result<Outcome, Errno> {
    let mask = WatchMask::from_bits_retain(mask.0 as u32);
    if mask.is_empty() || !SUPPORTED.contains(mask) {
        return Err(Errno::EINVAL);
    }
    let file = descriptor(call, fd)?;
    if mask.contains(WatchMask::MASK_ADD | WatchMask::MASK_CREATE) {
        return Err(Errno::EINVAL);
    }
    Inotify::of(&file)?;
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let path = complete(|| memory.read_path(UserAddress(path.0).get())).await?;
        let credentials = thread.credentials();
        let follow = !mask.contains(WatchMask::DONT_FOLLOW);
        let place = walk(&resources.paths, &credentials, None, &path, follow).await?;
        let inode = place.inode();
        if mask.contains(WatchMask::ONLYDIR) && inode.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        credentials.check(&inode.metadata().await?, Permission::READ)?;
        Inotify::of(&file)?.watch(inode, mask).map(|number| number as usize)
    }))
}

pub fn inotify_rm_watch(call: &mut Call<'_>, fd: Fd, watch: i32) -> Result<usize, Errno> {
    let file = descriptor(call, fd)?;
    Inotify::of(&file)?.forget(watch)?;
    Ok(0)
}
