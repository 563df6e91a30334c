//! Who may poll a request: one word with named transitions.
//!
//! A request that waits is *idle*. A wake makes it *scheduled* and gives it to the ring's list of work; whoever takes it
//! from there makes it *running*, polls it, and makes it idle again, or looks again if it was woken meanwhile. A
//! cancellation asks for the request's end; if it is idle the canceller itself takes it, otherwise whoever polls it
//! next sees the wish. So exactly one party owns the future at any time, and no lock is held while it is polled.

use core::sync::atomic::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const SCHEDULED: u8 = 1;
const RUNNING: u8 = 2;
/// Running, and woken meanwhile.
const WOKEN: u8 = 3;
const DONE: u8 = 4;
const STAGE: u8 = 0b111;
/// Its end was asked for.
const CANCELLED: u8 = 0b1000;

/// The word.
#[derive(Debug)]
pub(crate) struct State(AtomicU8);

/// What the end of a poll found.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Paused {
    /// The request waits; it belongs to whoever wakes it.
    Waits,
    /// It was woken, or its end was asked for, while it ran: it is to be looked at again.
    Again,
}

impl State {
    /// Running: its maker polls it first.
    pub(crate) const fn running() -> Self {
        Self(AtomicU8::new(RUNNING))
    }

    /// A wake. Whether the caller has to put the request on the list of work.
    #[must_use]
    pub(crate) fn schedule(&self) -> bool {
        let update = |state: u8| match state & STAGE {
            IDLE => Some(state & !STAGE | SCHEDULED),
            RUNNING => Some(state & !STAGE | WOKEN),
            _ => None,
        };
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, update)
            .is_ok_and(|before| before & STAGE == IDLE)
    }

    /// It was taken off the list of work: the caller polls it.
    pub(crate) fn begin(&self) {
        let before = self.0.fetch_xor(SCHEDULED ^ RUNNING, Ordering::AcqRel);
        debug_assert_eq!(before & STAGE, SCHEDULED);
    }

    /// It was polled and is not done; the future was put back.
    pub(crate) fn pause(&self) -> Paused {
        let update = |state: u8| match state {
            RUNNING => Some(IDLE),
            // Stays the caller's.
            _ => Some(state & !STAGE | RUNNING),
        };
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, update) {
            Ok(RUNNING) => Paused::Waits,
            _ => Paused::Again,
        }
    }

    /// It is done, whatever wakes or wishes come still.
    pub(crate) fn finish(&self) {
        self.0.store(DONE, Ordering::Release);
    }

    /// Whether it is done.
    pub(crate) fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire) & STAGE == DONE
    }

    /// Asks for its end. Whether the caller is the one to carry it out: then the request is running, and his.
    pub(crate) fn cancel(&self) -> Cancelled {
        let update = |state: u8| match state & STAGE {
            DONE => None,
            IDLE => Some(CANCELLED | RUNNING),
            _ => Some(state | CANCELLED),
        };
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, update) {
            Ok(before) if before & STAGE == IDLE => Cancelled::Taken,
            Ok(_) => Cancelled::Noted,
            Err(_) => Cancelled::TooLate,
        }
    }

    /// Takes the request if it waits: then it is running, and the caller's.
    pub(crate) fn cancel_if_idle(&self) -> Cancelled {
        match self.0.compare_exchange(IDLE, RUNNING, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Cancelled::Taken,
            Err(DONE) => Cancelled::TooLate,
            Err(_) => Cancelled::Noted,
        }
    }

    /// Takes the wish for its end back: it is of a kind that is not cut short.
    pub(crate) fn refuse_cancellation(&self) {
        self.0.fetch_and(!CANCELLED, Ordering::AcqRel);
    }

    /// Whether its end was asked for.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire) & CANCELLED != 0
    }
}

/// What asking for the end found.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// It waited; now it is the caller's, who ends it.
    Taken,
    /// Somebody is at it, and will see the wish.
    Noted,
    /// It is done.
    TooLate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_while_it_runs_is_not_lost() {
        let state = State::running();
        assert!(!state.schedule());
        assert_eq!(state.pause(), Paused::Again);
        assert_eq!(state.pause(), Paused::Waits);
        assert!(state.schedule());
        assert!(!state.schedule(), "it is on the list already");
        state.begin();
        assert_eq!(state.pause(), Paused::Waits);
    }

    #[test]
    fn a_waiting_request_is_ended_by_who_asks() {
        let state = State::running();
        assert_eq!(state.pause(), Paused::Waits);
        assert_eq!(state.cancel(), Cancelled::Taken);
        assert!(!state.schedule(), "it is not on any list");
        state.finish();
        assert_eq!(state.cancel(), Cancelled::TooLate);
        assert!(!state.schedule());
    }

    #[test]
    fn a_running_or_scheduled_request_is_ended_by_who_has_it() {
        let state = State::running();
        assert_eq!(state.cancel(), Cancelled::Noted);
        assert_eq!(state.pause(), Paused::Again);
        assert!(state.is_cancelled());

        let state = State::running();
        assert_eq!(state.pause(), Paused::Waits);
        assert!(state.schedule());
        assert_eq!(state.cancel(), Cancelled::Noted);
        state.begin();
        assert!(state.is_cancelled());
        state.refuse_cancellation();
        assert_eq!(state.pause(), Paused::Waits);
    }
}
