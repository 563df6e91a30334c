//! Regular files: bytes in a paged object.

use alloc::boxed::Box;
use alloc::sync::Arc;

use kernel_hal::PAGE_SIZE;
use kernel_object::paged_object::{LARGEST_SIZE, PagedObject, PagerError, Seals, Stop};
use ksync::WaitQueue;
use linux_abi::Errno;
use rcore_fs::{INode, Touch};

use super::{File, Turn};
use crate::memory::mapping::MappedContent;
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::user_buffer::UserBuffer;

static NEVER: WaitQueue = WaitQueue::new("always ready");

/// An opening's view of a file whose bytes are in pages.
pub struct RegularFile {
    inode: Arc<dyn INode>,
    pages: Arc<PagedObject>,
}

impl RegularFile {
    /// The file behind an inode whose pages are these.
    pub fn new(inode: Arc<dyn INode>, pages: Arc<PagedObject>) -> Self {
        Self { inode, pages }
    }
}

impl RegularFile {
    /// Whether seals let so many bytes be written.
    #[inline]
    fn check_seals(&self, at: u64, len: usize) -> Result<(), Errno> {
        let seals = self.pages.seals();
        let is_sealed = seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE)
            || seals.contains(Seals::GROW) && at + len as u64 > self.pages.size();
        if is_sealed { Err(Errno::EPERM) } else { Ok(()) }
    }
}

pub(crate) fn errno_of(error: PagerError) -> Errno {
    match error {
        PagerError::InputOutput | PagerError::Gone => Errno::EIO,
        PagerError::NoSpace => Errno::ENOSPC,
        PagerError::OutOfMemory => Errno::ENOMEM,
    }
}

#[cold]
fn obstacle_of(stop: Stop) -> Obstacle {
    match stop {
        Stop::Load(load) => Obstacle::Wait(Box::pin(async { load.await.map_err(errno_of) })),
        Stop::OutOfMemory => Obstacle::Error(Errno::ENOMEM),
        Stop::BeyondEnd => Obstacle::Error(Errno::EFBIG),
        Stop::NoSpace => Obstacle::Error(Errno::ENOSPC),
    }
}

impl Waitable for RegularFile {
    fn wait_queue(&self) -> &WaitQueue {
        &NEVER
    }
}

/// Moves bytes of an object to the program. Returns what was moved in all.
pub(super) fn read_pages(pages: &Arc<PagedObject>, offset: u64, buffer: &mut UserBuffer) -> Attempt {
    let mut at = offset;
    while buffer.remaining() > 0 {
        let (page, len) = match pages.try_find(at, buffer.remaining()) {
            Ok(found) => found,
            Err(Stop::BeyondEnd) => break,
            Err(stop) => return Err(obstacle_of(stop)),
        };
        let before = buffer.done();
        buffer.copy_out_of_page(&page, (at % PAGE_SIZE as u64) as usize, len)?;
        at += (buffer.done() - before) as u64;
    }
    Ok(buffer.done())
}

/// Moves bytes from the program to an object, which grows as needed; `allow` is asked before each page. Returns what was
/// moved in all.
pub(super) fn write_pages(
    pages: &Arc<PagedObject>,
    offset: u64,
    buffer: &mut UserBuffer,
    most: usize,
    allow: impl Fn(u64, usize) -> Result<(), Errno>,
) -> Attempt {
    let start = buffer.done();
    while buffer.remaining() > 0 && buffer.done() - start < most {
        let at = offset.saturating_add((buffer.done() - start) as u64);
        let inside = (at % PAGE_SIZE as u64) as usize;
        let most = (PAGE_SIZE - inside).min(buffer.remaining()).min(most - (buffer.done() - start));
        allow(at, most)?;
        let page =
            pages.try_pin_for_write(at / PAGE_SIZE as u64, inside..inside + most).map_err(obstacle_of)?;
        let mark = buffer.mark();
        let outcome = buffer.copy_into_page(page.frame(), inside, most);
        let moved = buffer.done() - mark.done();
        if page.commit(inside, moved) < moved {
            // The page was to be overwritten whole, and the program's memory ended early: bring it first.
            buffer.rewind(mark);
        }
        outcome?;
    }
    Ok(buffer.done())
}

impl File for RegularFile {
    fn try_read(&self, offset: u64, buffer: &mut UserBuffer) -> Attempt {
        read_pages(&self.pages, offset, buffer)
    }

    fn try_write(&self, offset: u64, buffer: &mut UserBuffer) -> Attempt {
        let start = buffer.done();
        if offset >= LARGEST_SIZE && buffer.remaining() > 0 {
            return Err(Errno::EFBIG.into());
        }
        let outcome =
            write_pages(&self.pages, offset, buffer, usize::MAX, |at, len| self.check_seals(at, len));
        if buffer.done() > start {
            self.inode.touch(Touch::WRITTEN);
        }
        outcome
    }

    fn mapped_content(&self, _offset: u64) -> Result<MappedContent, Errno> {
        Ok(MappedContent::Pages(self.pages.clone()))
    }

    fn is_watchable(&self) -> bool {
        false
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn can_refuse_to_wait(&self) -> bool {
        // As on Linux, whose tmpfs does not promise it.
        self.pages.has_pager()
    }

    fn content_turn(&self) -> Option<&Turn> {
        Some(self.pages.write_turn())
    }

    fn end(&self) -> Result<u64, Errno> {
        Ok(self.pages.size())
    }
}
