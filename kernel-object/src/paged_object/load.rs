//! Bringing pages.
//!
//! A load marks its pages; whoever needs one of them meanwhile waits for it. If a load of several pages fails, the one
//! that is needed is tried alone, so that a bad block nearby is nobody's error but its own reader's. If that fails,
//! everybody who waited for the page gets the error.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::ops::Range;

use super::{PageLoad, PagedObject, Pager, PagerError, State, pages_for, reclaim};
use crate::frame::{Frame, FrameKind, OutOfMemory, PinnedFrame, SharedFrame};

/// How many failures are remembered for those who waited; who comes later than that tries for itself.
const REMEMBERED_FAILURES: usize = 4;

/// The last loads that failed.
pub(super) type Failures = [Option<(NonZeroU32, PagerError)>; REMEMBERED_FAILURES];

/// A load that was begun: its pages are marked, its frames are owned.
struct Operation {
    object: Arc<PagedObject>,
    token: NonZeroU32,
    first: u64,
    frames: Vec<SharedFrame>,
}

enum Begin {
    /// The page is there, or there is no such page: the caller looks for itself.
    Settled,
    /// Somebody else is bringing it: this load.
    Wait(NonZeroU32),
    Load(Operation, Vec<PinnedFrame>),
}

/// What is to be brought beside the page that is needed.
#[derive(Clone)]
enum Extent {
    /// Nothing.
    Alone,
    /// What the read-ahead says for a reader that wants so many pages.
    Ahead(u64),
    /// What is missing around it in this range.
    Around(Range<u64>),
}

impl PagedObject {
    /// Brings a page, and reads ahead if access looks sequential. Await it and look again.
    pub fn load(self: &Arc<Self>, index: u64) -> PageLoad {
        self.load_ahead(index, 1)
    }

    /// As [`PagedObject::load`], for a reader that is going to want `wanted` pages.
    pub fn load_ahead(self: &Arc<Self>, index: u64, wanted: u64) -> PageLoad {
        PageLoad::new(self.clone().load_page(index, Extent::Ahead(wanted)))
    }

    /// Brings a page and what is missing beside it in `window`: where neighbours will be wanted in any order.
    pub fn load_around(self: &Arc<Self>, index: u64, window: Range<u64>) -> PageLoad {
        PageLoad::new(self.clone().load_page(index, Extent::Around(window)))
    }

    async fn load_page(self: Arc<Self>, index: u64, mut extent: Extent) -> Result<(), PagerError> {
        loop {
            let pager = self.pager.clone().ok_or(PagerError::Gone)?;
            match self.begin_load(index, &extent)? {
                Begin::Settled => return Ok(()),
                Begin::Wait(token) => {
                    self.page_settled.wait_until(|| (!self.is_loading(index, token)).then_some(())).await;
                    self.failure_of(token).map_or(Ok(()), Err)?;
                }
                Begin::Load(operation, pins) => match pager.load(operation.first, pins).await {
                    Ok(()) => {
                        operation.finish();
                        return Ok(());
                    }
                    Err(_) if operation.frames.len() > 1 => extent = Extent::Alone,
                    Err(error) => {
                        operation.fail(error);
                        return Err(error);
                    }
                },
            }
        }
    }

    /// Begins to bring what comes next, if somebody has come to where that was to happen.
    #[cold]
    pub(super) fn read_ahead(self: &Arc<Self>) {
        let Some(spawn) = super::read_ahead::spawner() else { return };
        let (Some(pager), Some((operation, pins))) = (self.pager.clone(), self.begin_next_window()) else {
            return;
        };
        spawn(Box::pin(async move {
            // Who needs one of these pages tries again if this fails.
            if pager.load(operation.first, pins).await.is_ok() {
                operation.finish();
            }
        }));
    }

    fn begin_next_window(self: &Arc<Self>) -> Option<(Operation, Vec<PinnedFrame>)> {
        reclaim::make_room(super::read_ahead::MOST_PAGES as usize);
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let window = state.read_ahead.next_window();
        let first = (window.start..window.end.min(pages_for(state.size)))
            .find(|&at| state.pages.get(at).is_none())?;
        let (operation, pins) = self.begin_range(state, first, first..window.end).ok()?;
        state.mark(operation.first);
        Some((operation, pins))
    }

    /// Asks the pager for permission to make a page dirty, and makes it dirty.
    pub(crate) fn prepare_write(self: &Arc<Self>, index: u64) -> PageLoad {
        let object = self.clone();
        PageLoad::new(async move {
            let pager = object.pager.clone().ok_or(PagerError::Gone)?;
            Pager::prepare_write(pager, index, 1).await?;
            object.state.lock().pages.set_dirty(index, true);
            Ok(())
        })
    }

    /// Whether a page is still being brought by this load.
    fn is_loading(&self, index: u64, token: NonZeroU32) -> bool {
        self.state.lock().pages.get(index).is_some_and(|slot| slot.loading == Some(token))
    }

    fn failure_of(&self, token: NonZeroU32) -> Option<PagerError> {
        let failures = self.state.lock().failures;
        failures.into_iter().flatten().find(|(failed, _)| *failed == token).map(|(_, error)| error)
    }

    fn begin_load(self: &Arc<Self>, index: u64, extent: &Extent) -> Result<Begin, PagerError> {
        reclaim::make_room(super::read_ahead::MOST_PAGES as usize);
        let mut guard = self.state.lock();
        let state = &mut *guard;
        match state.pages.get(index) {
            Some(slot) => return Ok(slot.loading.map_or(Begin::Settled, Begin::Wait)),
            None if index >= pages_for(state.size) => return Ok(Begin::Settled),
            None => {}
        }
        let mut marker = None;
        let range = match extent {
            Extent::Alone => index..index + 1,
            Extent::Ahead(wanted) => {
                let has_previous = index > 0 && state.pages.get(index - 1).is_some();
                let window = state.read_ahead.window_for(index, *wanted, has_previous);
                marker = window.marker;
                index..index + window.pages
            }
            Extent::Around(range) => {
                let is_missing = |&at: &u64| state.pages.get(at).is_none();
                let before = (range.start..index).rev().take_while(is_missing).last();
                before.unwrap_or(index)..range.end.max(index + 1)
            }
        };
        let begun = match self.begin_range(state, index, range) {
            Err(PagerError::OutOfMemory) => self.begin_range(state, index, index..index + 1),
            begun => begun,
        };
        let (operation, pins) = begun?;
        if let Some(marker) = marker {
            state.mark(marker);
        }
        Ok(Begin::Load(operation, pins))
    }

    /// Marks the missing pages of a range from its start to the first that is there. Fewer are brought if there is no
    /// memory for more, but not without `needed`.
    fn begin_range(
        self: &Arc<Self>,
        state: &mut State,
        needed: u64,
        range: Range<u64>,
    ) -> Result<(Operation, Vec<PinnedFrame>), PagerError> {
        let end = range.end.min(pages_for(state.size));
        let end = state.pages.next(range.start).map_or(end, |present| present.min(end));
        let token = state.new_token();
        let (mut frames, mut pins) = (Vec::new(), Vec::new());
        let room = end.saturating_sub(range.start) as usize;
        let reserved = frames.try_reserve_exact(room).and_then(|()| pins.try_reserve_exact(room));
        reserved.map_err(|_| PagerError::OutOfMemory)?;
        for at in range.start..end {
            let Ok(frame) = begin_page(state, at, token) else { break };
            pins.push(frame.pin());
            frames.push(frame);
        }
        if range.start + frames.len() as u64 <= needed {
            for at in (range.start..).take(frames.len()) {
                state.pages.remove(at);
            }
            return Err(PagerError::OutOfMemory);
        }
        Ok((Operation { object: self.clone(), token, first: range.start, frames }, pins))
    }
}

/// Marks a page as being loaded.
fn begin_page(state: &mut State, index: u64, token: NonZeroU32) -> Result<SharedFrame, OutOfMemory> {
    // The frame stays out of the slot until it is filled, so that nobody can see what was in it before.
    let frame = Frame::allocate(FrameKind::Object)?.into();
    state.pages.make(index)?.loading = Some(token);
    Ok(frame)
}

impl State {
    pub(super) fn new_token(&mut self) -> NonZeroU32 {
        self.last_token = self.last_token.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.last_token
    }

    /// Whoever uses this page lets the next window be brought.
    fn mark(&mut self, index: u64) {
        if let Some(slot) = self.pages.get(index) {
            slot.begins_read_ahead = true;
        }
    }
}

impl Operation {
    /// The frames are filled: they become pages, where they are still wanted.
    fn finish(mut self) {
        self.settle(true, None);
    }

    /// Nobody gets the page: everybody who waited for it is told why.
    fn fail(mut self, error: PagerError) {
        self.settle(false, Some(error));
    }

    fn settle(&mut self, filled: bool, error: Option<PagerError>) {
        let frames = core::mem::take(&mut self.frames);
        {
            let mut state = self.object.state.lock();
            if let Some(error) = error {
                state.failures.rotate_right(1);
                state.failures[0] = Some((self.token, error));
            }
            for (index, frame) in (self.first..).zip(frames) {
                match state.pages.get(index) {
                    Some(slot) if slot.loading == Some(self.token) => {
                        slot.loading = None;
                        if filled {
                            slot.frame = Some(frame);
                        } else {
                            state.pages.remove(index);
                        }
                    }
                    // Truncated meanwhile. Freeing a frame takes no lock of ours.
                    _ => drop(frame),
                }
            }
        }
        self.object.page_settled.wake_all();
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.frames.is_empty() {
            self.settle(false, None);
        }
    }
}
