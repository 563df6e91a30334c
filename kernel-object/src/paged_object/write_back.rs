//! Storing dirty pages.
//!
//! A page stops being dirty *before* it is written out, and every mapping is write-protected in between: a store that
//! comes earlier is written out now, one that comes later faults and makes the page dirty again. Nothing is lost.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::{PagedObject, PagerError};
use crate::frame::PinnedFrame;

/// The most pages in one request to the pager.
const MOST_PAGES: usize = 64;

/// Pages on their way out. If it is dropped before [`Operation::finish`] they are dirty again.
struct Operation<'a> {
    object: &'a PagedObject,
    pages: Range<u64>,
    stored: bool,
}

enum Begin<'a> {
    Store(Operation<'a>, Vec<PinnedFrame>),
    /// This page is being stored by somebody else and has become dirty again.
    Wait(u64),
    Nothing,
}

impl PagedObject {
    /// Stores the dirty pages of a range and returns when all of them are stored, those included that others are
    /// storing. After an error the pages are dirty still; the other pages are stored all the same.
    pub async fn write_back(self: &Arc<Self>, range: Range<u64>) -> Result<(), PagerError> {
        let Some(pager) = self.pager.clone() else { return Ok(()) };
        let mut result = Ok(());
        let mut at = range.start;
        loop {
            let (operation, frames) = match self.begin_write_back(at..range.end)? {
                Begin::Store(operation, frames) => (operation, frames),
                Begin::Wait(index) => {
                    self.wait_for_write_back(index..index + 1).await;
                    continue;
                }
                Begin::Nothing => break,
            };
            at = operation.pages.end;
            let pages = operation.pages.clone();
            self.for_each_mapper(|mapper| mapper.write_protect_pages(self, pages.clone()));
            match pager.clone().write_back(pages.start, frames).await {
                Ok(()) => operation.finish(),
                Err(error) => {
                    self.state.lock().write_error = Some(error);
                    result = Err(error);
                }
            }
        }
        self.wait_for_write_back(range).await;
        result
    }

    /// Waits until no page of the range is being written out.
    pub async fn wait_for_write_back(&self, range: Range<u64>) {
        self.page_settled.wait_until(|| (!self.is_writing(range.clone())).then_some(())).await;
    }

    /// The last error of storing a page, once: what `fsync` reports although somebody else met it.
    pub fn take_write_error(&self) -> Option<PagerError> {
        self.state.lock().write_error.take()
    }

    fn is_writing(&self, range: Range<u64>) -> bool {
        let mut state = self.state.lock();
        let mut at = range.start;
        while let Some(index) = state.pages.next(at)
            && index < range.end
        {
            if state.pages.get(index).is_some_and(|slot| slot.writing) {
                return true;
            }
            at = index + 1;
        }
        false
    }

    /// Takes the next run of dirty pages.
    fn begin_write_back(&self, range: Range<u64>) -> Result<Begin<'_>, PagerError> {
        let mut frames = Vec::new();
        frames.try_reserve_exact(MOST_PAGES).map_err(|_| PagerError::OutOfMemory)?;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(first) = state.pages.next_dirty(range.start).filter(|index| *index < range.end) else {
            return Ok(Begin::Nothing);
        };
        let mut at = first;
        while frames.len() < MOST_PAGES && at < range.end && state.pages.is_dirty(at) {
            // A page that is on its way out and dirty again waits for its turn: two writes of one page in flight
            // could end in either order.
            let Some(slot) = state.pages.get(at).filter(|slot| !slot.writing) else { break };
            let Some(frame) = &slot.frame else { break };
            frames.push(frame.pin());
            slot.writing = true;
            state.pages.set_dirty(at, false);
            at += 1;
        }
        drop(guard);
        if frames.is_empty() {
            return Ok(Begin::Wait(first));
        }
        Ok(Begin::Store(Operation { object: self, pages: first..at, stored: false }, frames))
    }
}

impl Operation<'_> {
    fn finish(mut self) {
        self.stored = true;
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.object.state.lock();
            for index in self.pages.clone() {
                // A page that was truncated meanwhile has no slot, or one that is not being written.
                if let Some(slot) = state.pages.get(index)
                    && core::mem::take(&mut slot.writing)
                    && !self.stored
                {
                    state.pages.set_dirty(index, true);
                }
            }
        }
        self.object.page_settled.wake_all();
    }
}
