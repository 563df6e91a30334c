//! Bringing pages.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::{PageLoad, PagedObject, Pager, PagerError, State, pages_for};
use crate::frame::{Frame, FrameKind, OutOfMemory, PinnedFrame, SharedFrame};

/// The most pages that one load brings: 128 KiB, as others found sensible.
const MOST_PAGES: u64 = 32;
/// Pages brought when access starts to look sequential.
const FIRST_WINDOW: u64 = 4;

/// Guesses what will be asked for next.
#[derive(Default)]
pub(super) struct ReadAhead {
    /// The page after the last load; asking for it continues a sequence.
    expected: u64,
    window: u64,
}

impl ReadAhead {
    /// How many pages to bring for a request at `index`.
    fn window_for(&mut self, index: u64) -> u64 {
        let continues = index == self.expected;
        self.window = match self.window {
            _ if !continues => 1,
            0 | 1 => FIRST_WINDOW,
            window => (2 * window).min(MOST_PAGES),
        };
        self.window
    }
}

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
    /// Somebody else is bringing it.
    Wait,
    Load(Operation, Vec<PinnedFrame>),
}

impl PagedObject {
    /// Brings a page, and reads ahead if access looks sequential. Await it and look again.
    pub fn load(self: &Arc<Self>, index: u64) -> PageLoad {
        let object = self.clone();
        PageLoad::new(async move { object.load_page(index).await })
    }

    async fn load_page(self: Arc<Self>, index: u64) -> Result<(), PagerError> {
        loop {
            let pager = self.pager.clone().ok_or(PagerError::Gone)?;
            match self.begin_load(index)? {
                Begin::Settled => return Ok(()),
                Begin::Wait => self.page_settled.wait_until(|| (!self.is_loading(index)).then_some(())).await,
                Begin::Load(operation, pins) => {
                    pager.load(operation.first, pins).await?;
                    operation.finish();
                    return Ok(());
                }
            }
        }
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

    fn is_loading(&self, index: u64) -> bool {
        self.state.lock().pages.get(index).is_some_and(|slot| slot.loading.is_some())
    }

    fn begin_load(self: &Arc<Self>, index: u64) -> Result<Begin, PagerError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        match state.pages.get(index) {
            Some(slot) if slot.loading.is_some() => return Ok(Begin::Wait),
            Some(_) => return Ok(Begin::Settled),
            None if index >= pages_for(state.size) => return Ok(Begin::Settled),
            None => {}
        }
        let window = state.read_ahead.window_for(index);
        let end = (index + window).min(pages_for(state.size));
        let end = state.pages.next(index).map_or(end, |present| present.min(end));
        let token = state.new_token();
        let mut frames = Vec::new();
        let mut pins = Vec::new();
        let room = (end - index) as usize;
        let reserved = frames.try_reserve_exact(room).and_then(|()| pins.try_reserve_exact(room));
        reserved.map_err(|_| PagerError::OutOfMemory)?;
        for at in index..end {
            let Ok(frame) = begin_page(state, at, token) else { break };
            pins.push(frame.pin());
            frames.push(frame);
        }
        state.read_ahead.expected = index + frames.len() as u64;
        drop(guard);
        if frames.is_empty() {
            return Err(PagerError::OutOfMemory);
        }
        Ok(Begin::Load(Operation { object: self.clone(), token, first: index, frames }, pins))
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
}

impl Operation {
    /// The frames are filled: they become pages, where they are still wanted.
    fn finish(mut self) {
        self.settle(true);
    }

    fn settle(&mut self, filled: bool) {
        let frames = core::mem::take(&mut self.frames);
        {
            let mut state = self.object.state.lock();
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
            self.settle(false);
        }
    }
}
