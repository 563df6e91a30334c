//! The space of regular files: what is there, what is not, reserving it and giving it back, copying from file to file.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use kernel_hal::PAGE_SIZE;
use kernel_object::paged_object::{LARGEST_SIZE, PagedObject};
use ksync::AsyncMutexGuard;
use linux_abi::Errno;
use linux_abi::file::FallocateFlags;
use linux_abi::stat::FileType;
use rcore_fs::{AttributeChanges, Contents, INode, Touch};

use super::regular::errno_of;
use super::{OpenFile, Position};
use crate::thread::give_way;

/// How much is copied from file to file at once.
const COPY_PIECE: usize = 16 * PAGE_SIZE;
/// How many pages are made before others may go first.
const PAGES_IN_A_ROW: u64 = 64;
const PAGE_BYTES: u64 = PAGE_SIZE as u64;

impl OpenFile {
    fn pages(&self) -> Option<(&Arc<dyn INode>, Arc<PagedObject>)> {
        let inode = self.inode().filter(|inode| inode.file_type() == FileType::Regular)?;
        match inode.contents() {
            Contents::Pages(pages) => Some((inode, pages)),
            _ => None,
        }
    }

    /// Where the next data (or the next hole) from `offset` on is, as `SEEK_DATA` and `SEEK_HOLE` want it.
    pub(super) fn find_extent(&self, offset: i64, to_data: bool) -> Result<u64, Errno> {
        let Some((_, pages)) = self.pages() else {
            return Err(Errno::EINVAL);
        };
        let size = pages.size();
        let offset = u64::try_from(offset).ok().filter(|&offset| offset < size).ok_or(Errno::ENXIO)?;
        let (page, stays) = (offset / PAGE_BYTES, offset);
        // What a pager brings is data, wherever it is now.
        let found = match (pages.has_pager(), to_data) {
            (true, true) => offset,
            (true, false) => size,
            (false, true) => {
                let next = pages.next_present(page).map(|next| (next * PAGE_BYTES).max(stays));
                next.filter(|&at| at < size).ok_or(Errno::ENXIO)?
            }
            (false, false) => (pages.next_absent(page) * PAGE_BYTES).max(stays).min(size),
        };
        Ok(found)
    }

    /// Waits until no other writes to it.
    async fn content_turn_alone(&self) -> Option<AsyncMutexGuard<'_, ()>> {
        match self.file().content_turn() {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    /// `fallocate`: reserves space, or makes a hole.
    pub async fn allocate(&self, flags: FallocateFlags, offset: i64, len: i64) -> Result<(), Errno> {
        let start = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let len = u64::try_from(len).ok().filter(|&len| len > 0).ok_or(Errno::EINVAL)?;
        let punches = flags.contains(FallocateFlags::PUNCH_HOLE);
        if punches && !flags.contains(FallocateFlags::KEEP_SIZE) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.check_writable()?;
        match self.inode().map(|inode| inode.file_type()) {
            Some(FileType::Regular) => {}
            Some(FileType::Directory) => return Err(Errno::EISDIR),
            Some(FileType::Fifo) | None => return Err(Errno::ESPIPE),
            Some(_) => return Err(Errno::ENODEV),
        }
        let _turn = self.content_turn_alone().await;
        let (inode, pages) = self.pages().filter(|(_, pages)| !pages.has_pager()).ok_or(Errno::EOPNOTSUPP)?;
        if !(FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE).contains(flags) {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = start.checked_add(len).filter(|&end| end <= LARGEST_SIZE).ok_or(Errno::EFBIG)?;
        if punches {
            punch(&pages, start, end.min(pages.size())).await?;
        } else {
            reserve(inode, &pages, start, end, flags.contains(FallocateFlags::KEEP_SIZE)).await?;
        }
        inode.touch(Touch::WRITTEN);
        Ok(())
    }

    /// Copies up to `len` bytes of one file to another; `None` positions are the openings' own, which move along.
    /// Returns how many; fewer only at the end of the source.
    pub async fn copy_to(
        &self,
        target: &OpenFile,
        from: Position,
        to: Position,
        len: usize,
    ) -> Result<usize, Errno> {
        self.check_readable()?;
        target.check_writable()?;
        let is_directory =
            |file: &OpenFile| file.inode().is_some_and(|node| node.file_type() == FileType::Directory);
        if is_directory(self) || is_directory(target) {
            return Err(Errno::EISDIR);
        }
        let ((source_inode, source), (target_inode, destination)) =
            self.pages().zip(target.pages()).ok_or(Errno::EINVAL)?;
        if target.flags() & linux_abi::file::OpenFlags::APPEND.bits() != 0 {
            return Err(Errno::EBADF);
        }
        let resolve = |file: &OpenFile, position| match position {
            Position::Current => file.list_position(),
            Position::At(offset) => offset,
        };
        let (start, target_start) = (resolve(self, from), resolve(target, to));
        let fits = |start: u64| start.checked_add(len as u64).is_some_and(|end| end <= LARGEST_SIZE);
        if !fits(start) {
            return Err(Errno::EOVERFLOW);
        }
        if !fits(target_start) {
            return Err(Errno::EFBIG);
        }
        let overlaps = start < target_start + len as u64 && target_start < start + len as u64;
        if Arc::ptr_eq(&source, &destination) && overlaps {
            return Err(Errno::EINVAL);
        }
        let _turn = target.content_turn_alone().await;
        let mut piece = Vec::new();
        piece.try_reserve_exact(COPY_PIECE.min(len)).map_err(|_| Errno::ENOMEM)?;
        piece.resize(COPY_PIECE.min(len), 0);
        let mut done = 0;
        while done < len {
            match give_way().await {
                Err(_) if done == 0 => return Err(Errno::EINTR),
                Err(_) => break,
                Ok(()) => {}
            }
            let wanted = piece.len().min(len - done);
            let read = source.read(start + done as u64, &mut piece[..wanted]).await.map_err(errno_of)?;
            if read == 0 {
                break;
            }
            let outcome = destination.write(target_start + done as u64, &piece[..read]).await;
            let written = match outcome {
                Ok(written) => written,
                Err(error) if done == 0 => return Err(errno_of(error)),
                Err(_) => break,
            };
            done += written;
            if written < read {
                break;
            }
        }
        if done > 0 {
            source_inode.touch(Touch::ACCESSED);
            target_inode.touch(Touch::WRITTEN);
        }
        if from == Position::Current {
            self.set_list_position(start + done as u64);
        }
        if to == Position::Current {
            target.set_list_position(target_start + done as u64);
        }
        Ok(done)
    }
}

/// Makes zeros of a range: whole pages are given back, parts of pages at its ends are overwritten where they exist.
async fn punch(pages: &Arc<PagedObject>, start: u64, end: u64) -> Result<(), Errno> {
    if start >= end {
        return Ok(());
    }
    let first_whole = start.div_ceil(PAGE_BYTES);
    // The last page of a file ends where the file does.
    let last_whole = if end == pages.size() { end.div_ceil(PAGE_BYTES) } else { end / PAGE_BYTES };
    if first_whole < last_whole {
        pages.punch_hole(first_whole..last_whole);
    }
    let zeros = [0; PAGE_SIZE];
    let head = start..end.min(first_whole * PAGE_BYTES);
    let tail = (last_whole * PAGE_BYTES).max(head.end)..end;
    for range in [head, tail] {
        if range.start < range.end && pages.has_page(range.start / PAGE_BYTES) {
            let len = (range.end - range.start) as usize;
            pages.write(range.start, &zeros[..len]).await.map_err(errno_of)?;
        }
    }
    Ok(())
}

/// Makes the pages of a range that are missing, and notes which those were. A program may ask for more than there is
/// memory, or end meanwhile: then it is `EINTR`.
async fn make_missing(
    pages: &Arc<PagedObject>,
    range: Range<u64>,
    made: &mut Vec<Range<u64>>,
) -> Result<(), Errno> {
    for index in range {
        if index % PAGES_IN_A_ROW == 0 {
            give_way().await.map_err(|_| Errno::EINTR)?;
        }
        if pages.has_page(index) {
            continue;
        }
        made.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        pages.write(index * PAGE_BYTES, &[0]).await.map_err(errno_of)?;
        match made.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            _ => made.push(index..index + 1),
        }
    }
    Ok(())
}

/// Makes the pages of a range that are missing; all of them, or none of the new ones.
async fn reserve(
    inode: &Arc<dyn INode>,
    pages: &Arc<PagedObject>,
    start: u64,
    end: u64,
    keeps_size: bool,
) -> Result<(), Errno> {
    let old_size = pages.size();
    if end > old_size {
        // A page can only be made inside of the file.
        inode.set_attributes(&AttributeChanges::size(end)).await?;
    }
    let range = start / PAGE_BYTES..end.div_ceil(PAGE_BYTES);
    let mut made = Vec::new();
    let outcome = make_missing(pages, range, &mut made).await;
    if outcome.is_err() {
        for range in made {
            pages.punch_hole(range);
        }
        inode.set_attributes(&AttributeChanges::size(old_size)).await?;
    } else if keeps_size && end > old_size {
        inode.set_attributes(&AttributeChanges::size(old_size)).await?;
    }
    outcome
}
