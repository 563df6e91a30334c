//! Echo that waits to be sent.
//!
//! Echo is queued as what to do rather than as bytes: how far a tab reaches back is known only when it is sent, since
//! a program may have written in between.

use alloc::collections::{TryReserveError, VecDeque};

/// Above this size, counted as Linux stores it, the oldest echo is forgotten.
const SIZE_LIMIT: usize = 4096 - (256 + 32);

/// So much echo, or a multiple of it, need not wait for the end of a batch.
const BLOCK: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EchoStep {
    /// A byte, sent like a program's output.
    Byte(u8),
    /// A control character, sent as a caret and a letter.
    Caret(u8),
    /// What is typed from here on begins a line.
    MarkLineStart,
    /// The byte just sent took no column.
    BackOneColumn,
    /// Backspaces over a tab that stands so many columns after another tab.
    BackOverTabAfterTab(u8),
    /// Backspaces over a tab that stands so many columns after the beginning of the line.
    BackOverTabAfterLineStart(u8),
}

impl EchoStep {
    fn size(self) -> usize {
        match self {
            EchoStep::Byte(0xff) | EchoStep::Caret(_) | EchoStep::MarkLineStart | EchoStep::BackOneColumn => {
                2
            }
            EchoStep::Byte(_) => 1,
            EchoStep::BackOverTabAfterTab(_) | EchoStep::BackOverTabAfterLineStart(_) => 3,
        }
    }
}

pub(super) struct EchoQueue {
    steps: VecDeque<EchoStep>,
    size: usize,
    /// How much of it an attempt to send has already been made for.
    attempted_size: usize,
    is_touched: bool,
}

impl EchoQueue {
    pub(super) fn new() -> Result<Self, TryReserveError> {
        let mut steps = VecDeque::new();
        steps.try_reserve_exact(SIZE_LIMIT + 1)?;
        Ok(Self { steps, size: 0, attempted_size: 0, is_touched: false })
    }

    /// Adds a step. Never allocates: each takes at least one of the limit's bytes.
    pub(super) fn push(&mut self, step: EchoStep) {
        self.steps.push_back(step);
        self.size += step.size();
        self.is_touched = true;
        while self.size >= SIZE_LIMIT {
            self.pop();
        }
    }

    pub(super) fn front(&self) -> Option<EchoStep> {
        self.steps.front().copied()
    }

    pub(super) fn pop(&mut self) {
        if let Some(step) = self.steps.pop_front() {
            self.size -= step.size();
            self.attempted_size = self.attempted_size.saturating_sub(step.size());
        }
    }

    /// Notes an attempt to send all there is.
    pub(super) fn attempt(&mut self) {
        self.attempted_size = self.size;
    }

    /// Whether something was added since the last attempt to send.
    pub(super) fn has_news(&self) -> bool {
        self.attempted_size != self.size
    }

    /// Counts a byte that echoes nothing like one that does.
    pub(super) fn touch(&mut self) {
        self.is_touched = true;
    }

    /// Whether a block has gathered since the last call: by Linux's measure, which demands that it be just full.
    pub(super) fn has_block(&mut self) -> bool {
        core::mem::take(&mut self.is_touched)
            && self.size >= BLOCK
            && self.size % BLOCK <= self.attempted_size % BLOCK
    }

    pub(super) fn clear(&mut self) {
        self.steps.clear();
        self.size = 0;
        self.attempted_size = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_and_never_grows() {
        let mut queue = EchoQueue::new().unwrap();
        let capacity = queue.steps.capacity();
        for number in 0..20_000_usize {
            queue.push(EchoStep::Byte((number % 100) as u8));
        }
        assert_eq!(queue.steps.len(), SIZE_LIMIT - 1);
        assert_eq!(queue.steps.back(), Some(&EchoStep::Byte(99)));
        assert_eq!(queue.steps.capacity(), capacity);
        queue.push(EchoStep::Caret(3));
        assert_eq!(queue.steps.len(), SIZE_LIMIT - 2);
        queue.clear();
        assert_eq!((queue.front(), queue.size), (None, 0));
    }
}
