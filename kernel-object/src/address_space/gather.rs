//! Frames that were unmapped and must not be freed before every hart has forgotten them.

use alloc::vec::Vec;
use core::ops::Range;

use kernel_hal::{PAGE_SIZE, VirtAddr};

use super::area::Area;
use super::translation::Translation;
use crate::frame::{Frame, SharedFrame};

const INLINE: usize = 16;
/// Beyond this many the frames are flushed and freed on the way, lock or not.
const MOST_LISTED: usize = 1024;

/// How often one change can remove areas: a move clears what is cut off, its target, then its source.
const MOST_REMOVALS: usize = 3;

/// Areas that were taken out, with their starts.
pub(super) type Removed = Vec<(VirtAddr, Area)>;

/// Collects what a change took away. [`Gather::finish`] it after the lock is released.
#[must_use]
pub(super) struct Gather {
    inline: [Option<SharedFrame>; INLINE],
    inline_len: usize,
    listed: Vec<SharedFrame>,
    changed: Option<Range<VirtAddr>>,
    /// Tables were taken out: a flush by page does not reach what harts remember of them.
    everything: bool,
    /// Areas that were taken out: dropping one may drop the last owner of an object, which no lock should witness.
    areas: [Removed; MOST_REMOVALS],
}

impl Gather {
    pub(super) const fn new() -> Self {
        Self {
            inline: [const { None }; INLINE],
            inline_len: 0,
            listed: Vec::new(),
            changed: None,
            everything: false,
            areas: [const { Removed::new() }; MOST_REMOVALS],
        }
    }

    /// Whether any page has lost something.
    pub(super) const fn has_pages(&self) -> bool {
        self.changed.is_some()
    }

    /// A page lost a permission or its frame.
    pub(super) fn note(&mut self, page: VirtAddr) {
        let end = page + PAGE_SIZE;
        self.changed = Some(match self.changed.take() {
            Some(range) => range.start.min(page)..range.end.max(end),
            None => page..end,
        });
    }

    /// A page lost this frame.
    pub(super) fn keep(&mut self, page: VirtAddr, frame: SharedFrame, translation: &Translation) {
        self.note(page);
        self.hold(frame, translation);
    }

    /// A table lost its place.
    pub(super) fn keep_table(&mut self, table: Frame, translation: &Translation) {
        self.everything = true;
        self.hold(table.into(), translation);
    }

    /// These areas are gone.
    pub(super) fn keep_areas(&mut self, removed: Removed) {
        if removed.is_empty() {
            return;
        }
        let place = self.areas.iter_mut().find(|place| place.is_empty());
        debug_assert!(place.is_some(), "one change removes areas too often");
        if let Some(place) = place {
            *place = removed;
        }
    }

    fn hold(&mut self, frame: SharedFrame, translation: &Translation) {
        if self.inline_len < INLINE {
            self.inline[self.inline_len] = Some(frame);
            self.inline_len += 1;
            return;
        }
        if self.listed.len() < MOST_LISTED && self.listed.try_reserve(1).is_ok() {
            self.listed.push(frame);
            return;
        }
        // Too many, or no memory to list them: flushing under the caller's lock is allowed, because whoever spins on
        // that lock goes on answering flushes.
        self.flush(translation);
        drop(frame);
    }

    fn flush(&mut self, translation: &Translation) {
        match self.changed.take() {
            _ if core::mem::take(&mut self.everything) => translation.flush_everything(),
            Some(range) => translation.flush(range.start, (range.end - range.start) / PAGE_SIZE),
            None => {}
        }
        self.inline[..self.inline_len].fill_with(|| None);
        self.inline_len = 0;
        self.listed.clear();
    }

    /// Flushes, then lets the frames go.
    pub(super) fn finish(mut self, translation: &Translation) {
        self.flush(translation);
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        debug_assert!(self.changed.is_none() && self.inline_len == 0, "unmapped frames were not flushed");
    }
}
