//! What a segment means to a flow.

use alloc::vec::Vec;
use core::time::Duration;

use kernel_hal::Instant;

use super::{Control, DELAYED_ACKNOWLEDGEMENT, Events, Flow, Header, Outbox, Phase, TIME_WAIT, is_before};

impl Flow {
    /// Takes a segment in.
    pub fn handle(
        &mut self,
        segment: &Header,
        bytes: &[u8],
        now: Instant,
        outbox: &mut dyn Outbox,
    ) -> Events {
        self.heard_at = now;
        self.keep_alive_probes = 0;
        let events = match self.phase {
            Phase::Over => Events::empty(),
            Phase::SynSent => self.handle_answer(segment, now, outbox),
            _ => self.handle_rest(segment, bytes, now, outbox),
        };
        if self.phase != Phase::Over {
            self.transmit(now, outbox);
        }
        events
    }

    /// Whoever was asked for a connection says something.
    fn handle_answer(&mut self, segment: &Header, now: Instant, outbox: &mut dyn Outbox) -> Events {
        let expected = self.initial.wrapping_add(1);
        if segment.acknowledgement.is_some_and(|number| number != expected) {
            if let Some(refusal) = Header::refusal(segment, 0) {
                outbox.send(&refusal, 0, &mut |_| {});
            }
            return Events::empty();
        }
        match segment.control {
            Control::Reset if segment.acknowledgement.is_some() => {
                self.finish();
                Events::RESET | Events::OVER
            }
            Control::Synchronize => {
                self.learn(segment);
                if segment.acknowledgement.is_none() {
                    // Both have asked at the same time.
                    self.phase = Phase::SynReceived;
                    self.send_synchronize(now, outbox);
                    return Events::empty();
                }
                self.confirm(expected, now);
                self.phase = Phase::Synchronized;
                self.must_acknowledge = true;
                Events::CONNECTED
            }
            _ => Events::empty(),
        }
    }

    fn handle_rest(
        &mut self,
        segment: &Header,
        bytes: &[u8],
        now: Instant,
        outbox: &mut dyn Outbox,
    ) -> Events {
        let is_synchronize = segment.control == Control::Synchronize;
        if is_synchronize && self.phase == Phase::SynReceived && segment.sequence == self.peer_initial {
            if let Some(number) = segment.acknowledgement
                && number == self.initial.wrapping_add(1)
            {
                // Both have asked, and this is the answer to ours.
                self.confirm(number, now);
                self.phase = Phase::Synchronized;
                self.must_acknowledge = true;
                return Events::CONNECTED;
            }
            self.send_synchronize(now, outbox);
            return Events::empty();
        }
        let wanted = self.wanted();
        let distance = segment.sequence.wrapping_sub(wanted) as i32;
        let finishes = segment.control == Control::Finish;
        let numbers = bytes.len() as i64 + i64::from(finishes);
        let window = self.told_limit.saturating_sub(self.received) as i64;
        let begins = i64::from(distance);
        let is_acceptable = match (numbers, window) {
            (0, 0) => begins == 0,
            (0, _) => (0..window).contains(&begins) || begins == 0,
            _ => begins < window.max(1) && begins + numbers > 0,
        };
        if !is_acceptable {
            if segment.control == Control::Reset {
                return Events::empty();
            }
            // It was received before, or is a question whether this end is there. What it confirms counts all the same.
            self.must_acknowledge = true;
            let known = segment.acknowledgement.filter(|_| self.phase == Phase::Synchronized && begins <= 0);
            return known.map_or(Events::empty(), |number| {
                self.take_acknowledgement(segment, number, 0, now, outbox)
            });
        }
        match segment.control {
            Control::Reset if begins == 0 => {
                let was_handshake = self.phase == Phase::SynReceived;
                self.finish();
                return if was_handshake { Events::OVER } else { Events::RESET | Events::OVER };
            }
            Control::Reset | Control::Synchronize => {
                self.must_acknowledge = true;
                return Events::empty();
            }
            _ => {}
        }
        let Some(number) = segment.acknowledgement else { return Events::empty() };
        let mut events = Events::empty();
        if self.phase == Phase::SynReceived {
            if number != self.initial.wrapping_add(1) {
                outbox.send(&Header::new(number, Control::Reset), 0, &mut |_| {});
                return Events::empty();
            }
            self.phase = Phase::Synchronized;
            self.window = u32::from(segment.window) << self.peer_scale;
            self.window_sequence = segment.sequence;
            self.window_acknowledgement = number;
            events |= Events::CONNECTED;
        }
        if self.phase == Phase::TimeWait {
            self.must_acknowledge = finishes;
            return events;
        }
        events |= self.take_acknowledgement(segment, number, bytes.len(), now, outbox);
        if self.phase != Phase::Synchronized {
            return events;
        }
        events |= self.take_bytes(begins, bytes, finishes, now);
        if self.is_orphan && events.contains(Events::ARRIVED) {
            self.reset(outbox);
            return events | Events::OVER;
        }
        events | self.settle(now)
    }

    /// Both directions may have ended now.
    fn settle(&mut self, now: Instant) -> Events {
        if !(self.peer_has_ended && self.end_is_confirmed) || self.phase != Phase::Synchronized {
            self.await_end(now);
            return Events::empty();
        }
        if self.peer_was_first {
            self.finish();
            return Events::OVER;
        }
        self.phase = Phase::TimeWait;
        self.resend_at = None;
        self.expires_at = Some(now + TIME_WAIT);
        Events::OVER | Events::TIME_WAIT
    }

    /// The peer confirms numbers up to this one.
    fn confirm(&mut self, number: u32, now: Instant) -> usize {
        let confirmed = number.wrapping_sub(self.unconfirmed);
        let was_handshake = self.unconfirmed == self.initial;
        let mut bytes = (confirmed - u32::from(was_handshake && confirmed > 0)) as usize;
        if bytes > self.outgoing.len() {
            // The last number is that of the end.
            bytes = self.outgoing.len();
            self.end_is_confirmed = true;
        }
        self.outgoing.discard(bytes);
        self.unconfirmed = number;
        if is_before(self.next, number) {
            self.next = number;
        }
        if let Some((timed, since)) = self.timed
            && !is_before(number, timed)
        {
            self.measure(Duration::from_nanos(now.nanos_since(since)));
            self.timed = None;
        }
        self.rearm(now);
        bytes
    }

    fn measure(&mut self, sample: Duration) {
        match self.smoothed {
            None => (self.smoothed, self.variation) = (Some(sample), sample / 2),
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
    }

    fn take_acknowledgement(
        &mut self,
        segment: &Header,
        number: u32,
        bytes: usize,
        now: Instant,
        outbox: &mut dyn Outbox,
    ) -> Events {
        if is_before(self.highest, number) {
            // It confirms what was never sent.
            self.must_acknowledge = true;
            return Events::empty();
        }
        let window = u32::from(segment.window) << self.peer_scale;
        let is_newer = is_before(self.window_sequence, segment.sequence)
            || (self.window_sequence == segment.sequence && !is_before(number, self.window_acknowledgement));
        let is_equal = number == self.unconfirmed && bytes == 0 && window == self.window;
        if is_newer && !is_before(number, self.unconfirmed) {
            let was_closed = self.window == 0;
            self.window = window;
            self.window_sequence = segment.sequence;
            self.window_acknowledgement = number;
            if was_closed && window > 0 {
                self.retries = 0;
                self.retransmission = self.retransmission.min(super::INITIAL_RETRANSMISSION);
                if self.in_flight() > 0 {
                    // The byte that tried the closed window was not taken.
                    self.next = self.first_number();
                }
                self.resend_at = None;
            }
        }
        if is_before(self.unconfirmed, number) {
            return self.take_news(number, now, outbox);
        }
        if is_equal && self.in_flight() > 0 && segment.control != Control::Finish && self.window > 0 {
            self.take_equal(outbox, now);
        }
        Events::empty()
    }

    /// Something was confirmed for the first time.
    fn take_news(&mut self, number: u32, now: Instant, outbox: &mut dyn Outbox) -> Events {
        let ended = self.end_is_confirmed;
        let bytes = self.confirm(number, now) as u32;
        self.equal_acknowledgements = 0;
        match self.recovers_to {
            Some(goal) if is_before(number, goal) => {
                // The next hole of the same loss.
                self.congestion_window =
                    self.congestion_window.saturating_sub(bytes).max(self.segment_bytes) + self.segment_bytes;
                self.resend_first(now, outbox);
            }
            Some(_) => {
                self.recovers_to = None;
                self.congestion_window = self.slow_start_until.max(2 * self.segment_bytes);
            }
            None if self.congestion_window < self.slow_start_until => {
                self.congestion_window =
                    self.congestion_window.saturating_add(bytes.min(2 * self.segment_bytes));
            }
            None => {
                let growth = self.segment_bytes * self.segment_bytes / self.congestion_window.max(1);
                self.congestion_window = self.congestion_window.saturating_add(growth.max(1));
            }
        }
        let mut events = Events::CONFIRMED;
        events.set(Events::END_CONFIRMED, self.end_is_confirmed && !ended);
        events
    }

    /// The peer says again what it has: something before what made it say so is missing, or came late.
    fn take_equal(&mut self, outbox: &mut dyn Outbox, now: Instant) {
        self.equal_acknowledgements += 1;
        let segments = self.in_flight().div_ceil(self.segment_bytes);
        let enough = segments.saturating_sub(1).clamp(1, 3);
        if self.recovers_to.is_some() {
            self.congestion_window = self.congestion_window.saturating_add(self.segment_bytes);
        } else if self.equal_acknowledgements >= enough {
            self.slow_start_until = (self.in_flight() / 2).max(2 * self.segment_bytes);
            self.congestion_window = self.slow_start_until + enough * self.segment_bytes;
            self.recovers_to = Some(self.highest);
            self.resend_first(now, outbox);
        }
    }

    /// Bytes that begin so far after the next one wanted.
    fn take_bytes(&mut self, begins: i64, bytes: &[u8], finishes: bool, now: Instant) -> Events {
        let mut events = Events::empty();
        if bytes.is_empty() && !finishes {
            return events;
        }
        if self.peer_has_ended {
            self.must_acknowledge = true;
            return events;
        }
        let old = usize::try_from(-begins).unwrap_or(0).min(bytes.len());
        let new = &bytes[old..];
        let start = self.received + u64::try_from(begins).unwrap_or(0);
        let room = self.told_limit.saturating_sub(start) as usize;
        let fits = new.len() <= room;
        let new = &new[..new.len().min(room)];
        if finishes && fits {
            self.peer_end = Some(start + new.len() as u64);
        }
        let was_early = !self.early.is_empty();
        if start > self.received {
            self.early.insert(start, new);
            self.must_acknowledge = true;
        } else if !new.is_empty() {
            let mut piece = Vec::new();
            if piece.try_reserve_exact(new.len()).is_err() {
                // As if it had been lost.
                self.peer_end = self.peer_end.filter(|_| was_early);
                return events;
            }
            piece.extend_from_slice(new);
            self.append(piece);
            while let Some(piece) = self.early.take(self.received) {
                self.append(piece);
            }
            events |= Events::ARRIVED;
            self.unacknowledged_segments += 1;
            let is_quick = self.quick > 0 && !self.answers;
            self.quick = self.quick.saturating_sub(1);
            if self.unacknowledged_segments >= 2 || was_early || is_quick {
                self.must_acknowledge = true;
            } else if self.acknowledge_at.is_none() {
                self.acknowledge_at = Some(now + DELAYED_ACKNOWLEDGEMENT);
            }
        } else if bytes.len() > old || old > 0 {
            self.must_acknowledge = true;
        }
        if self.peer_end == Some(self.received) {
            self.peer_has_ended = true;
            self.peer_was_first = !self.has_sent_end();
            self.must_acknowledge = true;
            events |= Events::PEER_ENDED;
        }
        events
    }

    fn has_sent_end(&self) -> bool {
        self.has_ended && self.next.wrapping_sub(self.first_number()) as usize > self.outgoing.len()
            || self.end_is_confirmed
    }

    fn append(&mut self, piece: Vec<u8>) {
        self.received += piece.len() as u64;
        self.unread += piece.len();
        self.arrived.push_back(piece);
    }
}
