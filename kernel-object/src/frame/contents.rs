//! What is inside frames: zeroing, copying, reading and writing through the linear map.
//!
//! A program may store to a frame at any moment while the kernel reads it, and two syscalls may meet in one page. So
//! the bytes are reached as relaxed atomic words only: no torn pointer, no reference, no undefined behaviour, just
//! bytes that may be newer than expected. The loops are unrolled because they dominate page faults, and a copy whose
//! ends are aligned differently shifts words together: the machine may not load or store misaligned words.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kernel_hal::{PAGE_SIZE, PhysAddr, memory};

#[cfg(target_endian = "big")]
compile_error!("words are put together in little-endian order");

const WORD: usize = size_of::<u64>();
const UNROLLED: usize = 8;
const WORDS_IN_PAGE: usize = PAGE_SIZE / WORD;

/// A whole frame as words.
///
/// # Safety
/// `frame` must be the page-aligned address of a frame of the machine's memory.
#[inline(always)]
unsafe fn words<'a>(frame: PhysAddr) -> &'a [AtomicU64; WORDS_IN_PAGE] {
    debug_assert!(frame.is_page_aligned());
    // SAFETY: the linear map covers all memory and is never unmapped; every access of the kernel to frames that can
    // be shared is atomic.
    unsafe { &*memory::phys_to_virt(frame).cast() }
}

/// Fills a frame with zeros.
///
/// # Safety
/// `frame` must be the page-aligned address of a frame whose content the caller may change.
#[inline]
pub(super) unsafe fn zero(frame: PhysAddr) {
    // SAFETY: passed on to the caller.
    if unsafe { memory::zero_frame(frame) } {
        return;
    }
    // SAFETY: passed on to the caller.
    for chunk in unsafe { words(frame) }.as_chunks::<{ 2 * UNROLLED }>().0 {
        for word in chunk {
            word.store(0, Relaxed);
        }
    }
}

/// Copies one frame to another.
///
/// # Safety
/// Both must be page-aligned addresses of frames, and the caller may change the content of `to`.
#[inline]
pub(super) unsafe fn copy(to: PhysAddr, from: PhysAddr) {
    // SAFETY: passed on to the caller.
    let (to, from) = unsafe { (words(to), words(from)) };
    let pairs = to.as_chunks::<UNROLLED>().0.iter().zip(from.as_chunks::<UNROLLED>().0);
    for (to, from) in pairs {
        for index in 0..UNROLLED {
            to[index].store(from[index].load(Relaxed), Relaxed);
        }
    }
}

/// The bits of a word that bytes `from..to` of it occupy.
const fn byte_mask(from: usize, to: usize) -> u64 {
    let up_to = if to == WORD { u64::MAX } else { (1 << (8 * to)) - 1 };
    up_to & (u64::MAX << (8 * from))
}

/// Replaces some bits of a word; a program may store to the others at the same time.
#[inline]
fn replace_bits(word: &AtomicU64, mask: u64, bits: u64) {
    word.update(Relaxed, Relaxed, |old| old & !mask | bits & mask);
}

/// Copies fewer than eight bytes out of one or two words.
fn read_edge(words: &[AtomicU64], offset: usize, destination: &mut [u8]) {
    for (at, byte) in (offset..).zip(destination) {
        *byte = words[at / WORD].load(Relaxed).to_le_bytes()[at % WORD];
    }
}

/// Copies fewer than eight bytes into one or two words.
fn write_edge(words: &[AtomicU64], mut offset: usize, mut source: &[u8]) {
    while !source.is_empty() {
        let inside = offset % WORD;
        let len = source.len().min(WORD - inside);
        let mut bytes = [0; WORD];
        bytes[inside..inside + len].copy_from_slice(&source[..len]);
        replace_bits(&words[offset / WORD], byte_mask(inside, inside + len), u64::from_le_bytes(bytes));
        source = &source[len..];
        offset += len;
    }
}

/// Copies bytes out of a frame. Panics if the range leaves the page.
///
/// # Safety
/// `frame` must be the page-aligned address of a frame that stays allocated during the call.
pub(super) unsafe fn read(frame: PhysAddr, offset: usize, destination: &mut [u8]) {
    assert!(offset <= PAGE_SIZE && destination.len() <= PAGE_SIZE - offset);
    // SAFETY: the first is passed on to the caller; every bit pattern is a `u64` and eight bytes.
    let (words, (first, middle, last)) = unsafe { (words(frame), destination.align_to_mut::<u64>()) };
    read_edge(words, offset, first);
    let start = offset + first.len();
    read_words(&words[start / WORD..], start % WORD, middle);
    read_edge(words, start + middle.len() * WORD, last);
}

/// Copies whole words out of a page, beginning `shift` bytes inside the first.
fn read_words(page: &[AtomicU64], shift: usize, destination: &mut [u64]) {
    if shift == 0 {
        let (chunks, rest) = destination.as_chunks_mut::<UNROLLED>();
        let (page_chunks, page_rest) = page[..chunks.len() * UNROLLED + rest.len()].as_chunks::<UNROLLED>();
        for (to, from) in chunks.iter_mut().zip(page_chunks) {
            for index in 0..UNROLLED {
                to[index] = from[index].load(Relaxed);
            }
        }
        for (to, from) in rest.iter_mut().zip(page_rest) {
            *to = from.load(Relaxed);
        }
    } else if let Some((first, following)) = page.split_first() {
        let mut low = first.load(Relaxed);
        for (to, from) in destination.iter_mut().zip(following) {
            let high = from.load(Relaxed);
            *to = low >> (8 * shift) | high << (8 * (WORD - shift));
            low = high;
        }
    }
}

/// Copies bytes into a frame. Panics if the range leaves the page.
///
/// # Safety
/// As for [`read`], and the caller may change the content.
pub(super) unsafe fn write(frame: PhysAddr, offset: usize, source: &[u8]) {
    assert!(offset <= PAGE_SIZE && source.len() <= PAGE_SIZE - offset);
    // SAFETY: as in `read`.
    let (words, (first, middle, last)) = unsafe { (words(frame), source.align_to::<u64>()) };
    write_edge(words, offset, first);
    let start = offset + first.len();
    write_words(&words[start / WORD..], start % WORD, middle);
    write_edge(words, start + middle.len() * WORD, last);
}

/// Copies whole words into a page, beginning `shift` bytes inside the first.
fn write_words(page: &[AtomicU64], shift: usize, source: &[u64]) {
    if shift == 0 {
        let (chunks, rest) = source.as_chunks::<UNROLLED>();
        let (page_chunks, page_rest) = page[..source.len()].as_chunks::<UNROLLED>();
        for (to, from) in page_chunks.iter().zip(chunks) {
            for index in 0..UNROLLED {
                to[index].store(from[index], Relaxed);
            }
        }
        for (to, from) in page_rest.iter().zip(rest) {
            to.store(*from, Relaxed);
        }
    } else if let Some((&first, following)) = source.split_first() {
        replace_bits(&page[0], byte_mask(shift, WORD), first << (8 * shift));
        let mut low = first;
        for (to, &high) in page[1..].iter().zip(following) {
            to.store(low >> (8 * (WORD - shift)) | high << (8 * shift), Relaxed);
            low = high;
        }
        replace_bits(&page[source.len()], byte_mask(0, shift), low >> (8 * (WORD - shift)));
    }
}

/// Fills a part of a frame with zeros. Panics if the range leaves the page.
///
/// # Safety
/// As for [`fn@write`].
pub(super) unsafe fn zero_range(frame: PhysAddr, range: Range<usize>) {
    assert!(range.end <= PAGE_SIZE);
    // SAFETY: passed on to the caller.
    let words = unsafe { words(frame) };
    let mut at = range.start;
    while at < range.end {
        let inside = at % WORD;
        let len = (WORD - inside).min(range.end - at);
        if len == WORD {
            words[at / WORD].store(0, Relaxed);
        } else {
            replace_bits(&words[at / WORD], byte_mask(inside, inside + len), 0);
        }
        at += len;
    }
}

/// A part of a frame as a slice, for a user copy alone.
///
/// # Safety
/// The range must lie in the frame; the slice must be gone before the frame is freed, and must only be read as bytes
/// whose value does not matter to the kernel.
pub(super) unsafe fn slice<'a>(frame: PhysAddr, offset: usize, len: usize) -> &'a [u8] {
    // SAFETY: passed on to the caller; the linear map covers the frame.
    unsafe { core::slice::from_raw_parts(memory::phys_to_virt(frame).add(offset), len) }
}

/// As [`fn@slice`], to be written.
///
/// # Safety
/// As for [`fn@slice`], and the caller may change the content.
pub(super) unsafe fn slice_mut<'a>(frame: PhysAddr, offset: usize, len: usize) -> &'a mut [u8] {
    // SAFETY: passed on to the caller; the linear map covers the frame.
    unsafe { core::slice::from_raw_parts_mut(memory::phys_to_virt(frame).add(offset), len) }
}
