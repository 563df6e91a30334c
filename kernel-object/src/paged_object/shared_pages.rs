//! Memory that the kernel and a program read and write at the same time: rings.
//!
//! What a program can reach is hostile: a word may change between two loads. So there are no references and no
//! slices here, only loads, stores and copies, each of which checks its offset. What was loaded once is a value and
//! stays what it is.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use kernel_hal::PAGE_SIZE;

use super::PagedObject;
use crate::frame::{Frame, FrameKind, OutOfMemory, PinnedFrame, SharedFrame};

/// Pinned pages, seen as one run of bytes.
///
/// Offsets outside the run and words that are not naturally aligned panic: they are the kernel's mistakes, because no
/// offset may come from a program unmasked.
pub struct SharedPages {
    frames: Vec<PinnedFrame>,
}

macro_rules! word_access {
    ($load:ident, $store:ident, $fetch_or:ident, $fetch_and:ident, $word:ty, $get:ident) => {
        /// Loads a word.
        #[inline]
        pub fn $load(&self, offset: usize, ordering: Ordering) -> $word {
            let (frame, inside) = self.place(offset, size_of::<$word>());
            frame.$get(inside).load(ordering)
        }

        /// Stores a word.
        #[inline]
        pub fn $store(&self, offset: usize, value: $word, ordering: Ordering) {
            let (frame, inside) = self.place(offset, size_of::<$word>());
            frame.$get(inside).store(value, ordering);
        }

        /// Sets bits of a word; returns what it was.
        #[inline]
        pub fn $fetch_or(&self, offset: usize, bits: $word, ordering: Ordering) -> $word {
            let (frame, inside) = self.place(offset, size_of::<$word>());
            frame.$get(inside).fetch_or(bits, ordering)
        }

        /// Keeps only these bits of a word; returns what it was.
        #[inline]
        pub fn $fetch_and(&self, offset: usize, bits: $word, ordering: Ordering) -> $word {
            let (frame, inside) = self.place(offset, size_of::<$word>());
            frame.$get(inside).fetch_and(bits, ordering)
        }
    };
}

impl SharedPages {
    /// `count` fresh pages of zeros, to be given to programs through [`SharedPages::to_object`].
    pub fn allocate(count: usize) -> Result<Self, OutOfMemory> {
        let mut frames = Vec::new();
        frames.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
        for _ in 0..count {
            frames.push(SharedFrame::from(Frame::allocate_zeroed(FrameKind::Object)?).pin());
        }
        Ok(Self { frames })
    }

    /// Pages that were pinned elsewhere: a program's own memory that it registered.
    pub const fn from_pins(frames: Vec<PinnedFrame>) -> Self {
        Self { frames }
    }

    /// An object of these very pages, to be mapped by programs.
    pub fn to_object(&self) -> Result<PagedObject, OutOfMemory> {
        let object = PagedObject::anonymous((self.frames.len() * PAGE_SIZE) as u64);
        for (index, frame) in (0..).zip(&self.frames) {
            object.insert_shared(index, frame.shared().clone())?;
        }
        Ok(object)
    }

    /// Bytes in the run.
    pub fn len(&self) -> usize {
        self.frames.len() * PAGE_SIZE
    }

    /// Whether there are no pages at all.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    #[inline]
    fn place(&self, offset: usize, align: usize) -> (&PinnedFrame, usize) {
        assert!(offset.is_multiple_of(align), "a misaligned word in shared pages");
        (&self.frames[offset / PAGE_SIZE], offset % PAGE_SIZE)
    }

    word_access!(load_u32, store_u32, fetch_or_u32, fetch_and_u32, u32, atomic_u32);
    word_access!(load_u64, store_u64, fetch_or_u64, fetch_and_u64, u64, atomic_u64);

    /// Stores `new` in a word if it holds `expected`; returns what it held.
    pub fn compare_exchange_u32(&self, offset: usize, expected: u32, new: u32) -> Result<u32, u32> {
        let (frame, inside) = self.place(offset, size_of::<u32>());
        frame.atomic_u32(inside).compare_exchange(expected, new, Ordering::AcqRel, Ordering::Acquire)
    }

    /// Copies bytes out: a snapshot, of which each byte was there at some moment.
    pub fn read(&self, mut offset: usize, mut destination: &mut [u8]) {
        while !destination.is_empty() {
            let inside = offset % PAGE_SIZE;
            let piece = destination.len().min(PAGE_SIZE - inside);
            let (now, later) = destination.split_at_mut(piece);
            self.frames[offset / PAGE_SIZE].read(inside, now);
            destination = later;
            offset += piece;
        }
    }

    /// Copies bytes in, in no particular order; publish them with a releasing store.
    pub fn write(&self, mut offset: usize, mut source: &[u8]) {
        while !source.is_empty() {
            let inside = offset % PAGE_SIZE;
            let piece = source.len().min(PAGE_SIZE - inside);
            self.frames[offset / PAGE_SIZE].write(inside, &source[..piece]);
            source = &source[piece..];
            offset += piece;
        }
    }
}

impl core::fmt::Debug for SharedPages {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SharedPages({} pages)", self.frames.len())
    }
}
