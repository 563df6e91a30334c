//! A connection over packets, from this end: sequence numbers, windows, timers.
//!
//! A flow knows neither sockets nor interfaces: segments and moments come in, segments go out through an [`Outbox`], and
//! [`Events`] say what a program has to learn. So two flows can be connected by a wire that a test invents. What it costs
//! does not depend on how many others there are.
//!
//! Loss is found by three equal acknowledgements, by fewer if little is in flight, and by timers: a probe after two
//! round trips, then the retransmission timer with its doubling intervals. Congestion is controlled as in RFC 5681 and
//! 6582 (NewReno).

mod input;
mod output;
mod reassembly;
mod send_queue;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bitflags::bitflags;
use kernel_hal::Instant;
use linux_abi::Errno;
use reassembly::Reassembly;
use send_queue::SendQueue;

bitflags! {
    /// What has happened to a flow.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Events: u16 {
        /// Both ends know each other.
        const CONNECTED = 1;
        /// Bytes have come in.
        const ARRIVED = 1 << 1;
        /// Bytes that were sent have arrived at the peer.
        const CONFIRMED = 1 << 2;
        /// The peer sends no more.
        const PEER_ENDED = 1 << 3;
        /// The peer knows that this end sends no more.
        const END_CONFIRMED = 1 << 4;
        /// The peer has reset the connection.
        const RESET = 1 << 5;
        /// Nobody answers.
        const TIMED_OUT = 1 << 6;
        /// Nothing is left to be done.
        const OVER = 1 << 7;
        /// Over, but late segments may come: the names are to stay taken.
        const TIME_WAIT = 1 << 8;
    }
}

/// What a segment is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// Nothing but its bytes.
    None,
    /// The last of what there is to send.
    Push,
    /// The first one.
    Synchronize,
    /// The last one.
    Finish,
    /// The connection is void.
    Reset,
}

/// What is before the bytes of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The number of its first byte.
    pub sequence: u32,
    /// The next number wanted.
    pub acknowledgement: Option<u32>,
    /// How much more may be sent, in the sender's scale.
    pub window: u16,
    /// What it is for.
    pub control: Control,
    /// The scale of later windows.
    pub scale: Option<u8>,
    /// The largest segment wanted.
    pub segment_bytes: Option<u16>,
    /// It may be told of ranges.
    pub takes_ranges: bool,
    /// Ranges that have come before what precedes them.
    pub received: [Option<(u32, u32)>; 3],
}

impl Header {
    fn new(sequence: u32, control: Control) -> Self {
        Self {
            sequence,
            acknowledgement: None,
            window: 0,
            control,
            scale: None,
            segment_bytes: None,
            takes_ranges: false,
            received: [None; 3],
        }
    }

    /// Says what was received, after the end.
    pub fn answer(sequence: u32, acknowledgement: u32) -> Self {
        Self { acknowledgement: Some(acknowledgement), ..Self::new(sequence, Control::None) }
    }

    /// What answers a segment for which there is no connection; nothing answers a reset.
    pub fn refusal(of: &Self, bytes: usize) -> Option<Self> {
        if of.control == Control::Reset {
            return None;
        }
        let numbers = bytes as u32 + u32::from(matches!(of.control, Control::Synchronize | Control::Finish));
        Some(match of.acknowledgement {
            Some(number) => Self::new(number, Control::Reset),
            None => Self {
                acknowledgement: Some(of.sequence.wrapping_add(numbers)),
                ..Self::new(0, Control::Reset)
            },
        })
    }
}

/// Where segments go.
pub trait Outbox {
    /// Sends a segment with so many bytes, which `fill` writes.
    fn send(&mut self, header: &Header, bytes: usize, fill: &mut dyn FnMut(&mut [u8]));
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    SynSent,
    SynReceived,
    Synchronized,
    TimeWait,
    Over,
}

/// What a flow begins with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The number before its first byte: nobody can guess it.
    pub initial: u32,
    /// The largest segment that can be received.
    pub segment_bytes: u16,
    /// How many bytes may wait to be read.
    pub receive_limit: usize,
}

/// The largest window that is told has to fit: this is the shift.
const OWN_SCALE: u8 = 7;
/// What a peer takes that does not say.
const DEFAULT_SEGMENT_BYTES: u16 = 536;
const INITIAL_RETRANSMISSION: Duration = Duration::from_secs(1);
const SHORTEST_RETRANSMISSION: Duration = Duration::from_millis(200);
const LONGEST_RETRANSMISSION: Duration = Duration::from_secs(120);
const SHORTEST_PROBE: Duration = Duration::from_millis(10);
const DELAYED_ACKNOWLEDGEMENT: Duration = Duration::from_millis(40);
const QUICK_SEGMENTS: u8 = 16;
/// Who has ended and waits for the peer to end, with nobody there to read.
const FIN_WAIT: Duration = Duration::from_secs(60);
/// How long late segments are answered.
const TIME_WAIT: Duration = Duration::from_secs(60);
/// How long `TCP_CORK` and `MSG_MORE` hold back.
const LONGEST_CORK: Duration = Duration::from_millis(200);
const MOST_SYN_RETRIES: u8 = 6;
const MOST_SYN_ACK_RETRIES: u8 = 5;
const MOST_RETRIES: u8 = 15;
const MOST_ORPHAN_RETRIES: u8 = 8;
const INITIAL_SEGMENTS: u32 = 10;

/// When a peer that is silent is asked whether it is there (`SO_KEEPALIVE`).
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    /// After so long without a segment.
    pub idle: Duration,
    /// Again after so long.
    pub interval: Duration,
    /// So often.
    pub probes: u8,
}

/// One end.
pub struct Flow {
    phase: Phase,
    segment_bytes: u32,
    own_segment_bytes: u16,
    // Sending.
    initial: u32,
    unconfirmed: u32,
    next: u32,
    /// The highest number sent.
    highest: u32,
    window: u32,
    window_sequence: u32,
    window_acknowledgement: u32,
    peer_scale: u8,
    outgoing: SendQueue,
    /// The program sends no more.
    has_ended: bool,
    end_is_confirmed: bool,
    /// Small segments need not wait for confirmation (`TCP_NODELAY`).
    pub sends_at_once: bool,
    /// Incomplete segments are held back (`TCP_CORK`, `MSG_MORE`) until then.
    corked_until: Option<Instant>,
    // Congestion.
    congestion_window: u32,
    slow_start_until: u32,
    equal_acknowledgements: u32,
    /// Up to where what was lost is repaired.
    recovers_to: Option<u32>,
    // Time.
    smoothed: Option<Duration>,
    variation: Duration,
    retransmission: Duration,
    /// A number whose confirmation is awaited, and since when.
    timed: Option<(u32, Instant)>,
    resend_at: Option<Instant>,
    has_probed: bool,
    retries: u8,
    // Receiving.
    peer_initial: u32,
    /// Bytes received in order, with the first one's number being `peer_initial + 1`.
    received: u64,
    receive_limit: usize,
    /// Up to which byte the peer may send, as it was told.
    told_limit: u64,
    own_scale: u8,
    peer_takes_ranges: bool,
    early: Reassembly,
    arrived: VecDeque<Vec<u8>>,
    /// Bytes received in order that nobody has read, wherever they are.
    unread: usize,
    peer_end: Option<u64>,
    peer_has_ended: bool,
    /// It ended before this end had said that it does.
    peer_was_first: bool,
    /// The program will not read any more: bytes are answered by a reset.
    pub is_orphan: bool,
    unacknowledged_segments: u8,
    acknowledge_at: Option<Instant>,
    must_acknowledge: bool,
    /// So many segments more are acknowledged at once, since the sender begins slowly.
    quick: u8,
    /// What is sent takes acknowledgements along: the two answer each other.
    answers: bool,
    // The end, and silence.
    expires_at: Option<Instant>,
    /// Whether and when a silent peer is asked.
    keep_alive: Option<KeepAlive>,
    heard_at: Instant,
    keep_alive_probes: u8,
    /// Segments sent again.
    pub retransmitted: u64,
}

/// Whether a number is before another one.
fn is_before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

impl Flow {
    fn new(phase: Phase, setup: Setup, now: Instant) -> Self {
        Self {
            phase,
            segment_bytes: u32::from(DEFAULT_SEGMENT_BYTES),
            own_segment_bytes: setup.segment_bytes,
            initial: setup.initial,
            unconfirmed: setup.initial,
            next: setup.initial,
            highest: setup.initial,
            window: 1,
            window_sequence: 0,
            window_acknowledgement: 0,
            peer_scale: 0,
            outgoing: SendQueue::default(),
            has_ended: false,
            end_is_confirmed: false,
            sends_at_once: false,
            corked_until: None,
            congestion_window: 0,
            slow_start_until: u32::MAX,
            equal_acknowledgements: 0,
            recovers_to: None,
            smoothed: None,
            variation: Duration::ZERO,
            retransmission: INITIAL_RETRANSMISSION,
            timed: None,
            resend_at: None,
            has_probed: false,
            retries: 0,
            peer_initial: 0,
            received: 0,
            receive_limit: setup.receive_limit,
            told_limit: 0,
            own_scale: OWN_SCALE,
            peer_takes_ranges: false,
            early: Reassembly::default(),
            arrived: VecDeque::new(),
            unread: 0,
            peer_end: None,
            peer_has_ended: false,
            peer_was_first: false,
            is_orphan: false,
            unacknowledged_segments: 0,
            acknowledge_at: None,
            must_acknowledge: false,
            quick: QUICK_SEGMENTS,
            answers: false,
            expires_at: None,
            keep_alive: None,
            heard_at: now,
            keep_alive_probes: 0,
            retransmitted: 0,
        }
    }

    /// A flow of which nothing has become yet.
    pub fn idle(now: Instant) -> Self {
        Self::new(Phase::Over, Setup { initial: 0, segment_bytes: 0, receive_limit: 0 }, now)
    }

    /// Asks for a connection.
    pub fn connect(setup: Setup, now: Instant, outbox: &mut dyn Outbox) -> Self {
        let mut flow = Self::new(Phase::SynSent, setup, now);
        flow.send_synchronize(now, outbox);
        flow
    }

    /// Answers who asks.
    pub fn accept(setup: Setup, asked: &Header, now: Instant, outbox: &mut dyn Outbox) -> Self {
        let mut flow = Self::new(Phase::SynReceived, setup, now);
        flow.learn(asked);
        flow.send_synchronize(now, outbox);
        flow
    }

    /// The peer's first segment.
    fn learn(&mut self, first: &Header) {
        self.peer_initial = first.sequence;
        self.peer_takes_ranges = first.takes_ranges;
        self.segment_bytes = u32::from(
            first.segment_bytes.unwrap_or(DEFAULT_SEGMENT_BYTES).clamp(64, self.own_segment_bytes.max(64)),
        );
        match first.scale {
            Some(scale) => self.peer_scale = scale.min(14),
            None => self.own_scale = 0,
        }
        self.window = u32::from(first.window);
        self.window_sequence = first.sequence;
        self.window_acknowledgement = first.acknowledgement.unwrap_or(self.initial);
        self.congestion_window = INITIAL_SEGMENTS * self.segment_bytes;
    }

    /// The number of the next byte wanted.
    fn wanted(&self) -> u32 {
        let bytes = self.received + u64::from(self.peer_has_ended);
        self.peer_initial.wrapping_add(1).wrapping_add(bytes as u32)
    }

    /// Bytes that were sent or wait to be.
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// The largest segment it sends.
    pub fn segment_bytes(&self) -> u32 {
        self.segment_bytes
    }

    /// The round trip's time and its variation.
    pub fn round_trip(&self) -> (Duration, Duration) {
        (self.smoothed.unwrap_or_default(), self.variation)
    }

    /// The interval of retransmissions, and how many there have been in a row.
    pub fn retransmission(&self) -> (Duration, u8) {
        (self.retransmission, self.retries)
    }

    /// The congestion window and the threshold of slow start, in segments.
    pub fn congestion(&self) -> (u32, u32) {
        (self.congestion_window / self.segment_bytes, self.slow_start_until / self.segment_bytes)
    }

    /// Bytes that were confirmed.
    pub fn confirmed_bytes(&self) -> u32 {
        self.unconfirmed.wrapping_sub(self.initial).saturating_sub(1)
    }

    /// Whether it waits for the last word of a handshake that somebody else began.
    pub fn is_handshaking(&self) -> bool {
        self.phase == Phase::SynReceived
    }

    /// Whether this end has ended, whether the peer knows that, and whether the peer has.
    pub fn ends(&self) -> (bool, bool, bool) {
        (self.has_ended, self.end_is_confirmed, self.peer_has_ended)
    }

    /// What late segments are answered with after its end.
    pub fn last_numbers(&self) -> (u32, u32) {
        (self.next, self.wanted())
    }

    /// Bytes that arrived and were not read.
    pub fn unread_bytes(&self) -> usize {
        self.unread
    }

    /// Forgets everything, without a word.
    pub fn abandon(&mut self) {
        self.finish();
    }

    /// Bytes to send. Call [`Flow::transmit`] then.
    pub fn push(&mut self, bytes: Vec<u8>) -> Result<(), Errno> {
        self.outgoing.push(bytes)
    }

    /// Nothing more will be pushed.
    pub fn end(&mut self) {
        self.has_ended = true;
        self.corked_until = None;
    }

    /// Holds incomplete segments back from now on, or no longer.
    pub fn cork(&mut self, is_corked: bool, now: Instant) {
        self.corked_until = is_corked.then(|| self.corked_until.unwrap_or(now + LONGEST_CORK));
    }

    /// When a silent peer is asked from now on.
    pub fn set_keep_alive(&mut self, keep_alive: Option<KeepAlive>) {
        self.keep_alive = keep_alive;
        self.keep_alive_probes = 0;
    }

    /// Nobody reads any more, and nobody waits for the end.
    pub fn orphan(&mut self, now: Instant) {
        self.is_orphan = true;
        self.await_end(now);
    }

    fn await_end(&mut self, now: Instant) {
        if self.is_orphan && self.end_is_confirmed && !self.peer_has_ended && self.expires_at.is_none() {
            self.expires_at = Some(now + FIN_WAIT);
        }
    }

    /// The next piece of what has arrived.
    pub fn take_arrived(&mut self) -> Option<Vec<u8>> {
        let piece = self.arrived.pop_front();
        if self.arrived.is_empty() {
            self.arrived = VecDeque::new();
        }
        piece
    }

    /// The program has read so many bytes: the peer is told of the room if it is worth a segment.
    pub fn note_read(&mut self, bytes: usize, now: Instant, outbox: &mut dyn Outbox) {
        self.unread = self.unread.saturating_sub(bytes);
        let limit = self.received + self.room() as u64;
        let gained = limit.saturating_sub(self.told_limit) as usize;
        let waits_for_word = self.acknowledge_at.is_some() && self.unread == 0 && !self.answers;
        let is_worth_it =
            waits_for_word || gained >= (self.receive_limit / 2).min(2 * self.segment_bytes as usize);
        if is_worth_it && self.phase == Phase::Synchronized && !self.peer_has_ended {
            self.send_acknowledgement(now, outbox);
        }
    }

    /// Another limit of what may wait to be read.
    pub fn set_receive_limit(&mut self, bytes: usize) {
        self.receive_limit = bytes;
    }

    fn room(&self) -> usize {
        self.receive_limit.saturating_sub(self.unread)
    }

    /// When [`Flow::expire`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let silence =
            self.keep_alive.filter(|_| self.phase == Phase::Synchronized && self.resend_at.is_none());
        let silence = silence.map(|keep| match self.keep_alive_probes {
            0 => self.heard_at + keep.idle,
            probes => self.heard_at + keep.idle + keep.interval * u32::from(probes),
        });
        [
            self.resend_at,
            self.acknowledge_at,
            self.expires_at,
            self.corked_until.filter(|_| self.has_unsent()),
            silence,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn has_unsent(&self) -> bool {
        (self.next.wrapping_sub(self.first_number()) as usize) < self.outgoing.len()
    }

    /// The number of the first byte in the queue.
    fn first_number(&self) -> u32 {
        if self.unconfirmed == self.initial { self.initial.wrapping_add(1) } else { self.unconfirmed }
    }

    fn in_flight(&self) -> u32 {
        self.next.wrapping_sub(self.unconfirmed)
    }
}

#[cfg(test)]
mod tests;
