//! Allocators for tests, one per test.

use std::boxed::Box;
use std::cell::Cell;
use std::sync::{Mutex, OnceLock};
use std::vec::Vec;

use kernel_hal::PAGE_SIZE;
use kernel_hal::host::reserve_pages;

use super::FrameAllocator;

const SHARED_PAGES: usize = if cfg!(miri) { 256 } else { 16 << 10 };

thread_local! {
    static PRIVATE: Cell<Option<&'static FrameAllocator>> = const { Cell::new(None) };
}

static SHARED: OnceLock<&'static FrameAllocator> = OnceLock::new();

/// The allocator of this thread: its private one, or one that all threads without share.
pub(crate) fn allocator() -> &'static FrameAllocator {
    PRIVATE.get().unwrap_or_else(|| SHARED.get_or_init(|| make(SHARED_PAGES)))
}

/// Keeps an allocator for the rest of the process, where a leak checker finds it.
pub(super) fn keep(allocator: FrameAllocator) -> &'static FrameAllocator {
    static KEPT: Mutex<Vec<&'static FrameAllocator>> = Mutex::new(Vec::new());
    let allocator: &'static FrameAllocator = Box::leak(Box::new(allocator));
    KEPT.lock().expect("nobody panics here").push(allocator);
    allocator
}

fn make(pages: usize) -> &'static FrameAllocator {
    let allocator = keep(FrameAllocator::new());
    let start = reserve_pages(pages);
    // SAFETY: the pages were set aside for this allocator alone.
    unsafe { allocator.init(&[start..start + pages * PAGE_SIZE]) };
    allocator
}

/// Makes an allocator over `pages` pages of the host's memory and uses it on this thread from now on. Handles must
/// be dropped on a thread that uses the same allocator ([`share_private`]).
pub fn use_private(pages: usize) -> &'static FrameAllocator {
    let allocator = make(pages);
    PRIVATE.set(Some(allocator));
    allocator
}

/// Uses another thread's allocator on this one.
pub fn share_private(allocator: &'static FrameAllocator) {
    PRIVATE.set(Some(allocator));
}
