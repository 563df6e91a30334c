//! Reading and writing objects from the kernel's side.
//!
//! For a copy to a program's memory, find the page ([`PagedObject::try_find`]) and copy with
//! [`SharedFrame::copy_to_user`]; for a copy from there, pin it ([`PagedObject::try_pin_for_write`]), copy with
//! [`PinnedFrame::copy_from_user`] and then [`WritePin::commit`] what was copied. No lock is held while bytes are copied:
//! the copy may fault on a page of this very object.

use alloc::sync::Arc;
use core::num::NonZeroU32;
use core::ops::Range;
use core::sync::atomic::Ordering;

use kernel_hal::PAGE_SIZE;

use super::{LARGEST_SIZE, Lookup, PageLoad, PagedObject, PagerError, State, page_of, pages_for};
use crate::frame::{Frame, FrameKind, OutOfMemory, PinnedFrame, SharedFrame};

/// Why an attempt stopped early.
#[derive(Debug)]
pub enum Stop {
    /// A page has to be brought: await this and go on.
    Load(PageLoad),
    /// No memory for a page.
    OutOfMemory,
    /// The object's account allows no further page.
    NoSpace,
    /// The object ends here (a page behind the end was to be pinned), or cannot become that large.
    BeyondEnd,
}

/// A page that is about to be written; nothing happens to the object before [`WritePin::commit`].
#[derive(Debug)]
pub struct WritePin<'a> {
    object: &'a PagedObject,
    index: u64,
    frame: PinnedFrame,
    /// The page was missing: it becomes part of the object when it has been overwritten.
    fresh: Option<NonZeroU32>,
}

/// How far an attempt came.
#[derive(Debug)]
#[must_use]
pub struct Progress {
    /// Bytes moved.
    pub done: usize,
    /// Why it is not all; absent at the end of the request or of the object.
    pub stop: Option<Stop>,
}

/// Whether writing `inside` of a page leaves nothing of what an object of this size had there.
fn covers(index: u64, inside: &Range<usize>, size: u64) -> bool {
    let start = index * PAGE_SIZE as u64;
    start >= size || (inside.start == 0 && (inside.end == PAGE_SIZE || start + inside.end as u64 >= size))
}

/// Marks a missing page as being made, and takes a frame of zeros for it.
fn begin_fresh(state: &mut State, index: u64, token: NonZeroU32) -> Result<PinnedFrame, OutOfMemory> {
    // Only what comes from a pager is ever absent.
    let frame = SharedFrame::from(Frame::allocate_zeroed(FrameKind::Object)?);
    state.pages.make(index)?.loading = Some(token);
    Ok(frame.pin())
}

impl WritePin<'_> {
    /// Where to write.
    pub const fn frame(&self) -> &PinnedFrame {
        &self.frame
    }

    /// `len` bytes from `inside` on were written: the page is dirty, and the object grows if it ended before.
    /// Returns how many bytes count: none if a missing page was to be overwritten and was not (a program's memory
    /// ended early); then the page has to be brought first.
    pub fn commit(mut self, inside: usize, len: usize) -> usize {
        if len == 0 {
            return 0;
        }
        let object = self.object;
        let mut guard = object.state.lock();
        let state = &mut *guard;
        if let Some(token) = self.fresh {
            let Some(slot) = state.pages.get(self.index).filter(|slot| slot.loading == Some(token)) else {
                // Truncated while it was written: as if the truncation had come right afterwards.
                return len;
            };
            if !covers(self.index, &(inside..inside + len), state.size) {
                return 0;
            }
            slot.loading = None;
            slot.frame = Some(self.frame.shared().clone());
        }
        if object.pager.is_some() {
            state.pages.set_dirty(self.index, true);
        }
        grow_to(state, self.index * PAGE_SIZE as u64 + inside as u64, len);
        drop(guard);
        if self.fresh.take().is_some() {
            object.page_settled.wake_all();
        }
        len
    }
}

/// Grows an object in which `[offset, offset + len)` was just written.
fn grow_to(state: &mut State, offset: u64, len: usize) {
    let end = offset.saturating_add(len as u64).min(LARGEST_SIZE);
    if end <= state.size {
        return;
    }
    let old = core::mem::replace(&mut state.size, end);
    // What a program stored behind the end through a mapping must not become part of the file.
    let gap_end = offset.min(pages_for(old) * PAGE_SIZE as u64);
    if gap_end > old
        && let Some(frame) = state.pages.get(page_of(old)).and_then(|slot| slot.frame.as_ref())
    {
        let start = (old % PAGE_SIZE as u64) as usize;
        frame.zero_range(start..start + (gap_end - old) as usize);
    }
}

impl Drop for WritePin<'_> {
    fn drop(&mut self) {
        let Some(token) = self.fresh else { return };
        {
            let mut state = self.object.state.lock();
            if state.pages.get(self.index).is_some_and(|slot| slot.loading == Some(token)) {
                state.pages.remove(self.index);
            }
        }
        self.object.page_settled.wake_all();
    }
}

impl PagedObject {
    /// A page for reading, if it is in memory. In place of a hole in an object without a pager there is a page of
    /// zeros that does not become part of the object.
    pub fn try_pin(self: &Arc<Self>, index: u64) -> Result<PinnedFrame, Stop> {
        self.find_to_read(index, 1).map(SharedFrame::into_pin)
    }

    /// Where to read from `offset` on: the page, and how many of the `wanted` bytes are to be read in it.
    /// [`Stop::BeyondEnd`] at the object's end. The page is brought with those that are wanted after it.
    #[inline]
    pub fn try_find(self: &Arc<Self>, offset: u64, wanted: usize) -> Result<(SharedFrame, usize), Stop> {
        let in_page = (PAGE_SIZE - (offset % PAGE_SIZE as u64) as usize).min(wanted);
        let left = {
            let mut state = self.state.lock();
            let left = state.size.saturating_sub(offset);
            // Most often the page is there and nothing else is to be done.
            if left > 0
                && let Some(slot) = state.pages.get(page_of(offset))
                && !slot.begins_read_ahead
                && let Some(frame) = &slot.frame
            {
                slot.referenced = true;
                return Ok((frame.clone(), in_page.min(usize::try_from(left).unwrap_or(usize::MAX))));
            }
            left
        };
        self.find_slowly(offset, left, in_page, wanted)
    }

    #[cold]
    fn find_slowly(
        self: &Arc<Self>,
        offset: u64,
        left: u64,
        in_page: usize,
        wanted: usize,
    ) -> Result<(SharedFrame, usize), Stop> {
        if left == 0 {
            return Err(Stop::BeyondEnd);
        }
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let inside = (offset % PAGE_SIZE as u64) as usize;
        let pages = (inside + wanted.min(left)).div_ceil(PAGE_SIZE) as u64;
        Ok((self.find_to_read(page_of(offset), pages)?, in_page.min(left)))
    }

    /// A page for a reader that is going to want `wanted` pages from this one on.
    fn find_to_read(self: &Arc<Self>, index: u64, wanted: u64) -> Result<SharedFrame, Stop> {
        match self.look_up_to_read(index) {
            Some(Lookup::Present { frame, .. }) => {
                self.continue_read_ahead();
                Ok(frame)
            }
            Some(Lookup::Absent) => Err(Stop::Load(self.load_ahead(index, wanted))),
            Some(other) => Err(self.stop_for(index, other)),
            None => match Frame::allocate_zeroed(FrameKind::Object) {
                Ok(frame) => Ok(SharedFrame::from(frame)),
                Err(OutOfMemory) => Err(Stop::OutOfMemory),
            },
        }
    }

    /// A page for writing `inside` of it; it may lie behind the object's end. A missing page that will be overwritten
    /// as far as the object reaches is not brought first.
    pub fn try_pin_for_write(
        self: &Arc<Self>,
        index: u64,
        inside: Range<usize>,
    ) -> Result<WritePin<'_>, Stop> {
        if index >= pages_for(LARGEST_SIZE) {
            return Err(Stop::BeyondEnd);
        }
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let overwritten = covers(index, &inside, state.size);
        let found = match self.look_up_locked(state, index, false) {
            Lookup::Absent if overwritten && state.pages.get(index).is_none() => {
                let token = state.new_token();
                match begin_fresh(state, index, token) {
                    Ok(frame) => return Ok(WritePin { object: self, index, frame, fresh: Some(token) }),
                    Err(OutOfMemory) => Lookup::OutOfMemory,
                }
            }
            other => other,
        };
        drop(guard);
        match found {
            Lookup::Present { frame, .. } => {
                Ok(WritePin { object: self, index, frame: frame.pin(), fresh: None })
            }
            other => Err(self.stop_for(index, other)),
        }
    }

    /// Looks for a page without making it: nothing is a page of zeros that nobody has made.
    fn look_up_to_read(&self, index: u64) -> Option<Lookup> {
        let mut state = self.state.lock();
        if index >= pages_for(state.size) {
            return Some(Lookup::BeyondEnd);
        }
        if self.pager.is_none() && state.pages.get(index).is_none() {
            return None;
        }
        Some(self.look_up_locked(&mut state, index, false))
    }

    /// Brings the next window if the page that was just looked up says so.
    #[inline]
    fn continue_read_ahead(self: &Arc<Self>) {
        if self.wants_read_ahead.load(Ordering::Relaxed) {
            self.wants_read_ahead.store(false, Ordering::Relaxed);
            self.read_ahead();
        }
    }

    fn stop_for(self: &Arc<Self>, index: u64, lookup: Lookup) -> Stop {
        match lookup {
            Lookup::Absent => Stop::Load(self.load(index)),
            Lookup::NeedsPrepareWrite => Stop::Load(self.prepare_write(index)),
            Lookup::OutOfMemory => Stop::OutOfMemory,
            Lookup::NoSpace => Stop::NoSpace,
            Lookup::BeyondEnd | Lookup::Present { .. } => Stop::BeyondEnd,
        }
    }

    /// Copies bytes out as far as pages are in memory; stops without a reason at the object's end.
    pub fn try_read(self: &Arc<Self>, offset: u64, destination: &mut [u8]) -> Progress {
        let left = self.size().saturating_sub(offset);
        let len = destination.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let inside = (at % PAGE_SIZE as u64) as usize;
            let piece = (len - done).min(PAGE_SIZE - inside);
            let destination = &mut destination[done..done + piece];
            match self.look_up_to_read(page_of(at)) {
                Some(Lookup::Present { frame, .. }) => {
                    self.continue_read_ahead();
                    frame.read(inside, destination);
                }
                None => destination.fill(0),
                // Truncated since the size was looked at.
                Some(Lookup::BeyondEnd) => break,
                Some(other) => return Progress { done, stop: Some(self.stop_for(page_of(at), other)) },
            }
            done += piece;
        }
        Progress { done, stop: None }
    }

    /// Copies bytes in as far as no page has to be brought first. The object grows if it ended before.
    pub fn try_write(self: &Arc<Self>, offset: u64, source: &[u8]) -> Progress {
        let mut done = 0;
        while done < source.len() {
            let Some(at) = offset.checked_add(done as u64) else {
                return Progress { done, stop: Some(Stop::BeyondEnd) };
            };
            let inside = (at % PAGE_SIZE as u64) as usize;
            let piece = (source.len() - done).min(PAGE_SIZE - inside);
            match self.try_pin_for_write(page_of(at), inside..inside + piece) {
                Ok(page) => {
                    page.frame().write(inside, &source[done..done + piece]);
                    done += page.commit(inside, piece);
                }
                Err(stop) => return Progress { done, stop: Some(stop) },
            }
        }
        Progress { done, stop: None }
    }

    /// Copies bytes out, bringing pages as needed. Returns how many; fewer than asked only at the object's end or
    /// after an error that came after some bytes.
    pub async fn read(self: &Arc<Self>, offset: u64, destination: &mut [u8]) -> Result<usize, PagerError> {
        let mut done = 0;
        loop {
            let progress = self.try_read(offset + done as u64, &mut destination[done..]);
            done += progress.done;
            match self.settle(progress.stop).await {
                Ok(true) => {}
                Ok(false) => return Ok(done),
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done),
            }
        }
    }

    /// Copies bytes in, bringing pages as needed. Returns how many; fewer than asked only after an error.
    pub async fn write(self: &Arc<Self>, offset: u64, source: &[u8]) -> Result<usize, PagerError> {
        let mut done = 0;
        loop {
            let progress = self.try_write(offset + done as u64, &source[done..]);
            done += progress.done;
            match self.settle(progress.stop).await {
                Ok(true) => {}
                Ok(false) => return Ok(done),
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done),
            }
        }
    }

    /// A page for reading.
    pub async fn pin(self: &Arc<Self>, index: u64) -> Result<PinnedFrame, PagerError> {
        loop {
            let stop = match self.try_pin(index) {
                Ok(page) => return Ok(page),
                Err(stop) => stop,
            };
            self.settle(Some(stop)).await?;
        }
    }

    /// Waits for what stopped an attempt. True: try again; false: it was not stopped.
    async fn settle(&self, stop: Option<Stop>) -> Result<bool, PagerError> {
        match stop {
            None => Ok(false),
            Some(Stop::Load(load)) => load.await.map(|()| true),
            Some(Stop::OutOfMemory) => Err(PagerError::OutOfMemory),
            Some(Stop::NoSpace) => Err(PagerError::NoSpace),
            Some(Stop::BeyondEnd) => Err(PagerError::NoSpace),
        }
    }
}
