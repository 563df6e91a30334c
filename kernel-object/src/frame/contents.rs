//! What is inside frames: zeroing, copying, reading and writing through the linear map.
//!
//! A program may store to a frame at any moment while the kernel reads it, and two syscalls may meet in one page. So
//! the bytes are reached as relaxed atomic words only: no torn pointer, no reference, no undefined behaviour, just
//! bytes that may be newer than expected. The loops are unrolled because they dominate page faults.

use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use kernel_hal::{PAGE_SIZE, PhysAddr, memory};

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

/// A whole frame as bytes.
///
/// # Safety
/// As for [`words`].
#[inline(always)]
unsafe fn bytes<'a>(frame: PhysAddr) -> &'a [AtomicU8; PAGE_SIZE] {
    // SAFETY: as in `words`.
    unsafe { &*memory::phys_to_virt(frame).cast() }
}

/// Fills a frame with zeros.
///
/// # Safety
/// `frame` must be the page-aligned address of a frame whose content the caller may change.
#[inline]
pub(super) unsafe fn zero(frame: PhysAddr) {
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

/// Copies bytes out of a frame. Panics if the range leaves the page.
///
/// # Safety
/// `frame` must be the page-aligned address of a frame that stays allocated during the call.
pub(super) unsafe fn read(frame: PhysAddr, offset: usize, destination: &mut [u8]) {
    assert!(offset <= PAGE_SIZE && destination.len() <= PAGE_SIZE - offset);
    // SAFETY: passed on to the caller.
    let (page_words, page_bytes) = unsafe { (words(frame), bytes(frame)) };
    let head = (offset.next_multiple_of(WORD) - offset).min(destination.len());
    let (first, rest) = destination.split_at_mut(head);
    for (index, byte) in first.iter_mut().enumerate() {
        *byte = page_bytes[offset + index].load(Relaxed);
    }
    let start = (offset + head) / WORD;
    let (chunks, last) = rest.as_chunks_mut::<WORD>();
    let source = &page_words[start.min(WORDS_IN_PAGE)..];
    for (chunk, word) in chunks.iter_mut().zip(source) {
        *chunk = word.load(Relaxed).to_ne_bytes();
    }
    let tail = offset + head + chunks.len() * WORD;
    for (index, byte) in last.iter_mut().enumerate() {
        *byte = page_bytes[tail + index].load(Relaxed);
    }
}

/// Copies bytes into a frame. Panics if the range leaves the page.
///
/// # Safety
/// As for [`read`], and the caller may change the content.
pub(super) unsafe fn write(frame: PhysAddr, offset: usize, source: &[u8]) {
    assert!(offset <= PAGE_SIZE && source.len() <= PAGE_SIZE - offset);
    // SAFETY: passed on to the caller.
    let (page_words, page_bytes) = unsafe { (words(frame), bytes(frame)) };
    let head = (offset.next_multiple_of(WORD) - offset).min(source.len());
    let (first, rest) = source.split_at(head);
    for (index, byte) in first.iter().enumerate() {
        page_bytes[offset + index].store(*byte, Relaxed);
    }
    let start = (offset + head) / WORD;
    let (chunks, last) = rest.as_chunks::<WORD>();
    for (chunk, word) in chunks.iter().zip(&page_words[start.min(WORDS_IN_PAGE)..]) {
        word.store(u64::from_ne_bytes(*chunk), Relaxed);
    }
    let tail = offset + head + chunks.len() * WORD;
    for (index, byte) in last.iter().enumerate() {
        page_bytes[tail + index].store(*byte, Relaxed);
    }
}

/// Fills a part of a frame with zeros. Panics if the range leaves the page.
///
/// # Safety
/// As for [`write`].
pub(super) unsafe fn zero_range(frame: PhysAddr, range: Range<usize>) {
    // SAFETY: passed on to the caller.
    let (page_words, page_bytes) = unsafe { (words(frame), bytes(frame)) };
    let word_start = range.start.next_multiple_of(WORD);
    let word_end = range.end / WORD * WORD;
    if word_start >= word_end {
        page_bytes[range].iter().for_each(|byte| byte.store(0, Relaxed));
        return;
    }
    page_bytes[range.start..word_start].iter().for_each(|byte| byte.store(0, Relaxed));
    page_words[word_start / WORD..word_end / WORD].iter().for_each(|word| word.store(0, Relaxed));
    page_bytes[word_end..range.end].iter().for_each(|byte| byte.store(0, Relaxed));
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

/// As [`slice`], to be written.
///
/// # Safety
/// As for [`slice`], and the caller may change the content.
pub(super) unsafe fn slice_mut<'a>(frame: PhysAddr, offset: usize, len: usize) -> &'a mut [u8] {
    // SAFETY: passed on to the caller; the linear map covers the frame.
    unsafe { core::slice::from_raw_parts_mut(memory::phys_to_virt(frame).add(offset), len) }
}
