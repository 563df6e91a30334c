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
    /// Waiting for the last word of a handshake.
    SynReceived = 3,
    /// This end has ended, of which the other may not know.
    FinWait1 = 4,
    /// This end has ended, the other has not.
    FinWait2 = 5,
    /// All has ended, and names stay taken for a while.
    TimeWait = 6,
    /// No connection.
    Closed = 7,
    /// The other end has ended, this one has not.
    CloseWait = 8,
    /// Both have ended, and this end waits for its last word to be confirmed.
    LastAck = 9,
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
    /// What there is to tell of packets, if it has any.
    pub packets: Option<PacketInformation>,
}

/// What a connection over packets has come to know.
#[derive(Clone, Copy, Debug)]
pub struct PacketInformation {
    /// The largest segment it sends.
    pub segment_bytes: u32,
    /// The round trip's time and variation.
    pub round_trip: (Duration, Duration),
    /// The interval of retransmissions.
    pub retransmission: Duration,
    /// How many there were in a row.
    pub retries: u8,
    /// How many there were.
    pub retransmitted: u64,
    /// The congestion window and the threshold of slow start, in segments.
    pub congestion: (u32, u32),
    /// Bytes that the peer has confirmed.
    pub confirmed: u32,
}

impl Endpoint {
    /// The state.
    pub fn state(&self) -> State {
        let condition = self.condition();
        if condition.contains(Condition::LISTENING) {
            return State::Listen;
        }
        if condition.contains(Condition::CONNECTING) {
            return if self.is_handshaking() { State::SynReceived } else { State::SynSent };
        }
        if !condition.contains(Condition::CONNECTED) || condition.contains(Condition::OVER) {
            return State::Closed;
        }
        let ended = (condition.contains(Condition::SENDING_ENDED), condition.contains(Condition::PEER_ENDED));
        match ended {
            (false, false) => State::Established,
            (true, false) if self.flow_report(|flow| !flow.ends().1) == Some(true) => State::FinWait1,
            (true, false) => State::FinWait2,
            (false, true) => State::CloseWait,
            (true, true) if self.flow_report(|flow| !flow.ends().1) == Some(true) => State::LastAck,
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
            packets: self.flow_report(|flow| PacketInformation {
                segment_bytes: flow.segment_bytes(),
                round_trip: flow.round_trip(),
                retransmission: flow.retransmission().0,
                retries: flow.retransmission().1,
                retransmitted: flow.retransmitted,
                congestion: flow.congestion(),
                confirmed: flow.confirmed_bytes(),
            }),
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
