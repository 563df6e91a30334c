//! What a task asks of the next time it is put into a queue, as one atomic.
//!
//! The running task and the interrupts of its hart set requests; whoever puts the task into a queue takes them all in
//! one step. A boost lasts from the wake by an interrupt until the task next waits or has used up a slice.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

const MAY_BE_BOOSTED: u8 = 1;
const BOOSTED: u8 = 2;
const AT_HEAD: u8 = 4;
const YIELDED: u8 = 8;
const SLICE_EXPIRED: u8 = 16;
const OVERRUN_REPORTED: u8 = 32;

#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct TaskState(AtomicU8);

/// What [`TaskState::take_requests`] found.
#[derive(Clone, Copy, Debug)]
#[must_use = "requests that were taken must be honoured"]
pub(crate) struct Requests(u8);

impl Requests {
    /// The task was preempted, and keeps its place at the head of its level.
    #[inline]
    pub(crate) fn at_head(self) -> bool {
        self.0 & (AT_HEAD | SLICE_EXPIRED) == AT_HEAD
    }

    /// The task lets others of its class go first.
    #[inline]
    pub(crate) fn yielded(self) -> bool {
        self.0 & YIELDED != 0
    }

    /// The task goes before the fair class.
    #[inline]
    pub(crate) fn is_boosted(self) -> bool {
        self.0 & (BOOSTED | SLICE_EXPIRED) == BOOSTED
    }
}

impl TaskState {
    pub(crate) const fn new(may_be_boosted: bool) -> Self {
        Self(AtomicU8::new(if may_be_boosted { MAY_BE_BOOSTED } else { 0 }))
    }

    /// Whether nobody asked for anything and nobody may boost the task.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    /// The running task lets others of its class go first.
    pub(crate) fn request_yield(&self) {
        self.0.fetch_or(YIELDED, Relaxed);
    }

    /// The running task makes room for something more urgent.
    pub(crate) fn request_place_at_head(&self) {
        self.0.fetch_or(AT_HEAD, Relaxed);
    }

    /// The running task has used up its slice: it goes to the end of its level, and a boost is over.
    pub(crate) fn expire_slice(&self) {
        self.0.fetch_or(SLICE_EXPIRED, Relaxed);
    }

    /// The task was running and is ready again: takes what it asked for; a boost stays unless its slice expired.
    #[inline]
    pub(crate) fn take_requests(&self) -> Requests {
        let before = self.0.load(Relaxed);
        if before & (AT_HEAD | YIELDED | SLICE_EXPIRED) == 0 {
            return Requests(before);
        }
        let dropped = match before & SLICE_EXPIRED {
            0 => AT_HEAD | YIELDED,
            _ => AT_HEAD | YIELDED | SLICE_EXPIRED | BOOSTED,
        };
        Requests(self.0.fetch_and(!dropped, Relaxed))
    }

    /// The task waited and was woken, by an interrupt or not: what it asked for while it ran is void.
    #[inline]
    pub(crate) fn wake(&self, in_interrupt: bool) -> Requests {
        let before = self.0.load(Relaxed);
        let kept = before & (MAY_BE_BOOSTED | OVERRUN_REPORTED);
        let after = if in_interrupt && kept & MAY_BE_BOOSTED != 0 { kept | BOOSTED } else { kept };
        if after != before {
            self.0.store(after, Relaxed);
        }
        Requests(after)
    }

    /// What the task's place in the queue was, for putting it there again.
    pub(crate) fn peek(&self) -> Requests {
        Requests(self.0.load(Relaxed) & BOOSTED)
    }

    /// Whether a wake by an interrupt boosts the task from now on.
    pub(crate) fn set_may_be_boosted(&self, may: bool) {
        if may {
            self.0.fetch_or(MAY_BE_BOOSTED, Relaxed);
        } else {
            self.0.fetch_and(!MAY_BE_BOOSTED, Relaxed);
        }
    }

    /// Notes that the watchdog reported the task. Returns whether this is the first time.
    #[must_use = "only the first report is made"]
    pub(crate) fn report_overrun(&self) -> bool {
        self.0.fetch_or(OVERRUN_REPORTED, Relaxed) & OVERRUN_REPORTED == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boost_lasts_until_the_task_waits_or_its_slice_expires() {
        let state = TaskState::new(true);
        assert!(state.wake(true).is_boosted());
        state.request_yield();
        let requests = state.take_requests();
        assert!(requests.is_boosted() && requests.yielded());
        assert!(!state.take_requests().yielded(), "requests are taken once");
        state.expire_slice();
        assert!(!state.take_requests().is_boosted());
        assert!(!state.take_requests().is_boosted());
        assert!(state.wake(true).is_boosted());
        assert!(!state.wake(false).is_boosted());
        assert!(!TaskState::new(false).wake(true).is_boosted());
    }

    #[test]
    fn an_expired_slice_beats_the_place_at_the_head() {
        let state = TaskState::new(false);
        state.request_place_at_head();
        assert!(state.take_requests().at_head());
        state.request_place_at_head();
        state.expire_slice();
        assert!(!state.take_requests().at_head());
    }

    #[test]
    fn an_overrun_is_reported_once() {
        let state = TaskState::new(false);
        assert!(state.report_overrun());
        let _ = state.wake(false);
        assert!(!state.report_overrun());
    }
}
