//! Syscalls on ranges of files: space, advice, copies, and ranges of descriptors.

use linux_abi::Errno;
use linux_abi::file::{CloseRangeFlags, FallocateFlags};
use linux_abi::stat::FileType;
use linux_object::file::Position;
use linux_object::obstacle::complete;

use super::descriptor;
use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Outcome, slow};

pub fn fallocate(call: &mut Call<'_>, fd: Fd, mode: u32, offset: i64, len: i64) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL);
    }
    let flags = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
    let thread = call.owned_thread();
    Ok(slow(async move { file.allocate_for(&thread, flags, offset, len).await.map(|()| 0) }))
}

/// Advice on use: what it asks for happens by itself here, so it is only judged.
pub fn fadvise64(call: &mut Call<'_>, fd: Fd, _offset: i64, len: i64, advice: i32) -> Result<usize, Errno> {
    descriptor(call, fd)?.advise(len, advice).map(|()| 0)
}

/// Brings pages before they are read.
pub fn readahead(call: &mut Call<'_>, fd: Fd, offset: i64, count: usize) -> Result<Outcome, Errno> {
    /// One request brings at most this much.
    const MOST_PAGES: u64 = 512;
    let file = descriptor(call, fd)?;
    if file.flags() & linux_abi::file::O_ACCMODE == linux_abi::file::O_WRONLY {
        return Err(Errno::EBADF);
    }
    let inode = file.inode().filter(|inode| inode.file_type() == FileType::Regular).ok_or(Errno::EINVAL)?;
    let rcore_fs::Contents::Pages(pages) = inode.contents() else { return Err(Errno::EINVAL) };
    let start = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    Ok(slow(async move {
        if !pages.has_pager() {
            return Ok(0);
        }
        let page = kernel_hal::PAGE_SIZE as u64;
        let end = start.saturating_add(count as u64).min(pages.size()).div_ceil(page);
        for index in (start / page..end).take(MOST_PAGES as usize) {
            if pages.pin(index).await.is_err() {
                break;
            }
        }
        Ok(0)
    }))
}

pub fn sync_file_range(
    call: &mut Call<'_>,
    fd: Fd,
    offset: i64,
    len: i64,
    flags: u32,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    file.check_can_synchronise_range(offset, len, flags)?;
    Ok(slow(async move { file.synchronise_content().await.map(|()| 0) }))
}

pub fn syncfs(call: &mut Call<'_>, fd: Fd) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    Ok(slow(async move {
        // What has no place is in a filesystem that keeps nothing.
        if let Some(place) = file.place() {
            place.mount().file_system().sync().await?;
        }
        Ok(0)
    }))
}

pub fn copy_file_range(
    call: &mut Call<'_>,
    from: Fd,
    from_offset: UserAddress,
    to: Fd,
    to_offset: UserAddress,
    len: usize,
    flags: u32,
) -> Result<Outcome, Errno> {
    const MOST_BYTES: usize = 0x7fff_f000;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (source, target, memory) = (descriptor(call, from)?, descriptor(call, to)?, call.memory());
    Ok(slow(async move {
        let mut positions = [Position::Current; 2];
        for (position, address) in positions.iter_mut().zip([from_offset, to_offset]) {
            if !address.is_null() {
                let offset: i64 = complete(|| memory.read(address.get())).await?;
                *position = Position::At(u64::try_from(offset).map_err(|_| Errno::EINVAL)?);
            }
        }
        let copied = source.copy_to(&target, positions[0], positions[1], len.min(MOST_BYTES)).await?;
        if copied > 0 {
            source.note_copied_to(&target);
        }
        for (position, address) in positions.iter().zip([from_offset, to_offset]) {
            if let Position::At(offset) = position {
                let next = offset + copied as u64;
                complete(|| memory.write(address.get(), &next)).await?;
            }
        }
        Ok(copied)
    }))
}

/// Closes descriptors, or marks them to be closed by `exec`.
pub fn close_range(call: &mut Call<'_>, first: u32, last: u32, flags: u32) -> Result<usize, Errno> {
    let flags = CloseRangeFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    // Other threads would have to see a table of their own from now on.
    if first > last || flags.contains(CloseRangeFlags::UNSHARE) {
        return Err(Errno::EINVAL);
    }
    let files = &call.resources.files;
    let mut from = first as usize;
    while let Some((number, _)) = files.next(from).filter(|&(number, _)| number as u32 <= last) {
        if flags.contains(CloseRangeFlags::CLOEXEC) {
            let _ = files.set_close_on_exec(number, true);
        } else {
            drop(files.remove(number));
        }
        from = number as usize + 1;
    }
    Ok(0)
}
