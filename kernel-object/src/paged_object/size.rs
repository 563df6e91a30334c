//! Changing the size, and giving pages up.

use core::ops::Range;

use kernel_hal::PAGE_SIZE;

use super::{LARGEST_SIZE, PagedObject, Unmapping, page_of, pages_for};
use crate::frame::SharedFrame;

/// Pages that are taken out under one hold of the lock.
const BATCH: usize = 16;

impl PagedObject {
    /// Gives the object another size. What lies behind the new end is gone, from every mapping too (private copies
    /// included, as in Linux), and reads as zeros if the object grows again.
    pub fn truncate(&self, size: u64) {
        let size = size.min(LARGEST_SIZE);
        let end = pages_for(size);
        let shrinks = {
            let mut state = self.state.lock();
            let old = core::mem::replace(&mut state.size, size);
            // Either way, what is behind the smaller size in its last page is zero from now on.
            let boundary = old.min(size);
            let inside = (boundary % PAGE_SIZE as u64) as usize;
            if inside != 0
                && let Some(frame) = state.pages.get(page_of(boundary)).and_then(|slot| slot.frame.as_ref())
            {
                frame.zero_range(inside..PAGE_SIZE);
            }
            size < old
        };
        if shrinks {
            self.remove_pages(end..u64::MAX);
            self.for_each_mapper(|mapper| mapper.unmap_pages(self, end..u64::MAX, Unmapping::Truncated));
            self.page_settled.wake_all();
        }
    }

    /// Makes a range of pages zeros again, in every mapping too; private copies stay. With a pager, its owner has
    /// made the same hole in what it stores.
    pub fn punch_hole(&self, pages: Range<u64>) {
        self.remove_pages(pages.clone());
        self.for_each_mapper(|mapper| mapper.unmap_pages(self, pages.clone(), Unmapping::Punched));
        self.page_settled.wake_all();
    }

    fn remove_pages(&self, range: Range<u64>) {
        let mut at = range.start;
        loop {
            let mut batch: [Option<SharedFrame>; BATCH] = [const { None }; BATCH];
            let mut taken = 0;
            let mut state = self.state.lock();
            while taken < BATCH
                && let Some(index) = state.pages.next(at)
                && index < range.end
            {
                batch[taken] = state.pages.remove(index).and_then(|slot| slot.frame);
                taken += 1;
                at = index + 1;
            }
            drop(state);
            self.refund(taken as u64);
            if taken < BATCH {
                return;
            }
        }
    }

    /// Gives up to `most` pages back that the pager can bring again: clean, at rest, and not used since the last
    /// call. Mapped ones are unmapped first. Returns how many frames nobody else held.
    pub fn evict(&self, most: usize) -> usize {
        if self.pager.is_none() {
            return 0;
        }
        let mut freed = 0;
        let mut at = 0;
        while freed < most
            && let Some(index) = self.next_idle_page(at)
        {
            at = index + 1;
            freed += usize::from(self.evict_page(index));
        }
        freed
    }

    /// Gives those pages of a range up that the pager can bring again, whether they were used lately or not.
    pub fn evict_range(&self, pages: Range<u64>) {
        if self.pager.is_none() {
            return;
        }
        let mut at = pages.start;
        loop {
            let next = self.state.lock().pages.next(at);
            let Some(index) = next.filter(|index| *index < pages.end) else { return };
            self.evict_page(index);
            at = index + 1;
        }
    }

    /// Gives a page up if it is clean and at rest.
    fn evict_page(&self, index: u64) -> bool {
        // Unmapping takes the mappings' references away. A fault in between makes the page shared again, and then it
        // stays.
        self.for_each_mapper(|mapper| mapper.unmap_pages(self, index..index + 1, Unmapping::Evicted));
        let mut state = self.state.lock();
        let idle = !state.pages.is_dirty(index)
            && state.pages.get(index).is_some_and(|slot| {
                !slot.writing && slot.frame.as_ref().is_some_and(SharedFrame::is_exclusive)
            });
        if idle {
            state.pages.remove(index);
        }
        idle
    }

    /// The first page from an index on that may be given up; those that were used get their second chance.
    fn next_idle_page(&self, from: u64) -> Option<u64> {
        let mut state = self.state.lock();
        let mut at = from;
        while let Some(index) = state.pages.next(at) {
            at = index + 1;
            if state.pages.is_dirty(index) {
                continue;
            }
            let slot = state.pages.get(index)?;
            let was_referenced = core::mem::take(&mut slot.referenced);
            if !was_referenced && slot.frame.is_some() && !slot.writing {
                return Some(index);
            }
        }
        None
    }
}
