//! What can be told about endpoints.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;

use kernel_hal::Instant;

use super::{Condition, Endpoint, PORTS};
use crate::ports::{Listed, Remains};

/// The states of TCP, by the numbers that Linux tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Open both ways.
    Established = 1,
    /// Waiting for an answer.
    SynSent = 2,
    /// This end has ended, the other has not.
    FinWait2 = 5,
    /// All has ended, and names stay taken for a while.
    TimeWait = 6,
    /// No connection.
    Closed = 7,
    /// The other end has ended, this one has not.
    CloseWait = 8,
    /// Waiting for connections.
    Listen = 10,
}

/// Counters and sizes of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Information {
    /// Its state.
    pub state: State,
    /// Bytes sent, all of which have arrived.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// How long ago it was made.
    pub age: Duration,
}

impl Endpoint {
    /// The state.
    pub fn state(&self) -> State {
        let condition = self.condition();
        if condition.contains(Condition::LISTENING) {
            return State::Listen;
        }
        if condition.contains(Condition::CONNECTING) {
            return State::SynSent;
        }
        if !condition.contains(Condition::CONNECTED) || condition.contains(Condition::OVER) {
            return State::Closed;
        }
        let ended = (condition.contains(Condition::SENDING_ENDED), condition.contains(Condition::PEER_ENDED));
        match ended {
            (false, false) => State::Established,
            (true, false) => State::FinWait2,
            (false, true) => State::CloseWait,
            (true, true) => State::TimeWait,
        }
    }

    /// Counters and sizes.
    pub fn information(&self) -> Information {
        let began = self.details.lock().began;
        let received = self.peer().map(|peer| peer.sent.load(Ordering::Relaxed));
        Information {
            state: self.state(),
            sent: self.sent.load(Ordering::Relaxed),
            received: received.or_else(|| Some(self.incoming.try_lock()?.total())).unwrap_or_default(),
            age: Instant::now().since(began),
        }
    }
}

/// The number of what is left of a connection.
pub fn state_of_remains(remains: Remains) -> State {
    match remains {
        Remains::FinWait => State::FinWait2,
        Remains::TimeWait => State::TimeWait,
    }
}

/// Everything that has a port.
pub fn list() -> Vec<Listed<Endpoint>> {
    PORTS.list(|endpoint| endpoint.condition().intersects(Condition::CONNECTED | Condition::CONNECTING))
}
