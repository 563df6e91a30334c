//! A ring of buffers in memory that the program writes: hostile, like all of it.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;
use kernel_hal::PAGE_SIZE;
use kernel_object::paged_object::{PagedObject, SharedPages};
use linux_abi::Errno;
use linux_abi::io_uring::ProvidedBuffer;
use zerocopy::{FromZeros, IntoBytes};

use super::Taken;

/// The program's tail lies in the padding of the first buffer: the upper half of this word.
const TAIL_WORD: usize = 12;
const TAIL_SHIFT: u32 = 16;

/// The ring, whose entries are a power of two.
pub(crate) struct BufferRing {
    pages: SharedPages,
    /// Where it begins in the pages.
    offset: usize,
    entries: u32,
    is_incremental: bool,
    /// What `mmap` shows, if the kernel made the pages.
    object: Option<Arc<PagedObject>>,
}

impl BufferRing {
    /// A ring in pages of the program's.
    pub(crate) fn new(pages: SharedPages, offset: usize, entries: u32, is_incremental: bool) -> Self {
        Self { pages, offset, entries, is_incremental, object: None }
    }

    /// A ring in new pages, which the program maps.
    pub(crate) fn allocate(entries: u32, is_incremental: bool) -> Result<Self, Errno> {
        let bytes = entries as usize * size_of::<ProvidedBuffer>();
        let pages = SharedPages::allocate(bytes.div_ceil(PAGE_SIZE)).map_err(|_| Errno::ENOMEM)?;
        let object = Some(Arc::new(pages.to_object().map_err(|_| Errno::ENOMEM)?));
        Ok(Self { pages, offset: 0, entries, is_incremental, object })
    }

    /// What `mmap` shows.
    pub(crate) fn object(&self) -> Option<&Arc<PagedObject>> {
        self.object.as_ref()
    }

    pub(super) fn is_incremental(&self) -> bool {
        self.is_incremental
    }

    fn tail(&self) -> u16 {
        (self.pages.load_u32(self.offset + TAIL_WORD, Ordering::Acquire) >> TAIL_SHIFT) as u16
    }

    /// The buffer at a place, if the program has put one there.
    pub(super) fn get(&self, head: u16) -> Option<Taken> {
        let ahead = self.tail().wrapping_sub(head);
        if ahead == 0 || u32::from(ahead) > self.entries {
            return None;
        }
        let slot = u32::from(head) & (self.entries - 1);
        let mut buffer = ProvidedBuffer::new_zeroed();
        let at = self.offset + slot as usize * size_of::<ProvidedBuffer>();
        self.pages.read(at, buffer.as_mut_bytes());
        Some(Taken { address: buffer.addr, len: buffer.len, number: buffer.bid })
    }

    #[cfg(test)]
    pub(super) fn put_for_test(&self, tail: u16, taken: Taken) {
        let at = self.offset + (u32::from(tail) & (self.entries - 1)) as usize * size_of::<ProvidedBuffer>();
        self.pages.store_u64(at, taken.address, Ordering::Relaxed);
        let word = self.pages.load_u32(at + TAIL_WORD, Ordering::Relaxed) & !0xffff;
        self.pages.store_u32(at + 8, taken.len, Ordering::Relaxed);
        self.pages.store_u32(at + TAIL_WORD, word | u32::from(taken.number), Ordering::Relaxed);
        let word = self.pages.load_u32(self.offset + TAIL_WORD, Ordering::Relaxed) & 0xffff;
        let tail = u32::from(tail.wrapping_add(1)) << TAIL_SHIFT;
        self.pages.store_u32(self.offset + TAIL_WORD, word | tail, Ordering::Release);
    }
}
