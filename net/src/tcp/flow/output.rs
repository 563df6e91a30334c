//! What a flow sends, and when it sends it again.

use core::time::Duration;

use kernel_hal::Instant;

use super::{
    Control, Events, Flow, Header, LONGEST_RETRANSMISSION, MOST_ORPHAN_RETRIES, MOST_RETRIES,
    MOST_SYN_ACK_RETRIES, MOST_SYN_RETRIES, OWN_SCALE, Outbox, Phase, SHORTEST_PROBE,
    SHORTEST_RETRANSMISSION, is_before,
};

impl Flow {
    /// The window as it is told in a segment.
    fn own_window(&mut self) -> u16 {
        let room = self.room();
        // What was told once is not taken back.
        let room = room.max(self.told_limit.saturating_sub(self.received) as usize);
        let window = (room >> self.own_scale).min(usize::from(u16::MAX));
        self.told_limit = self.told_limit.max(self.received + ((window << self.own_scale) as u64));
        window as u16
    }

    fn header(&mut self, sequence: u32, control: Control) -> Header {
        let base = self.peer_initial.wrapping_add(1);
        let number = |offset: u64| base.wrapping_add(offset as u32);
        let received = match !self.peer_takes_ranges || self.early.is_empty() {
            true => [None; 3],
            false => self.early.ranges().map(|range| range.map(|(start, end)| (number(start), number(end)))),
        };
        self.unacknowledged_segments = 0;
        self.acknowledge_at = None;
        self.must_acknowledge = false;
        Header {
            acknowledgement: Some(self.wanted()),
            window: self.own_window(),
            received,
            ..Header::new(sequence, control)
        }
    }

    pub(super) fn send_synchronize(&mut self, now: Instant, outbox: &mut dyn Outbox) {
        let is_answer = self.phase == Phase::SynReceived;
        let window = self.room().min(usize::from(u16::MAX)) as u16;
        self.told_limit = u64::from(window);
        let header = Header {
            acknowledgement: is_answer.then(|| self.wanted()),
            window,
            scale: (!is_answer || self.own_scale != 0).then_some(OWN_SCALE),
            segment_bytes: Some(self.own_segment_bytes),
            takes_ranges: !is_answer || self.peer_takes_ranges,
            ..Header::new(self.initial, Control::Synchronize)
        };
        outbox.send(&header, 0, &mut |_| {});
        self.next = self.initial.wrapping_add(1);
        self.highest = self.next;
        if self.retries == 0 {
            self.timed = Some((self.next, now));
        }
        self.resend_at = Some(now + self.retransmission);
    }

    /// Says what has been received.
    pub fn send_acknowledgement(&mut self, _now: Instant, outbox: &mut dyn Outbox) {
        let header = self.header(self.next, Control::None);
        outbox.send(&header, 0, &mut |_| {});
    }

    /// Says that the connection is void, and is done.
    pub fn reset(&mut self, outbox: &mut dyn Outbox) {
        if !matches!(self.phase, Phase::SynSent | Phase::Over) {
            let header = self.header(self.next, Control::Reset);
            outbox.send(&header, 0, &mut |_| {});
        }
        self.finish();
    }

    pub(super) fn finish(&mut self) {
        self.phase = Phase::Over;
        (self.resend_at, self.acknowledge_at, self.expires_at, self.corked_until) = (None, None, None, None);
    }

    /// Sends what there is as far as the peer's window, congestion and the wish for large segments allow.
    pub fn transmit(&mut self, now: Instant, outbox: &mut dyn Outbox) {
        if self.phase == Phase::Synchronized {
            self.transmit_bytes(now, outbox);
        }
        if self.must_acknowledge {
            self.send_acknowledgement(now, outbox);
        }
    }

    fn transmit_bytes(&mut self, now: Instant, outbox: &mut dyn Outbox) {
        while !self.end_is_confirmed {
            let offset = self.next.wrapping_sub(self.first_number());
            let ended_before = offset as usize > self.outgoing.len();
            if ended_before {
                return;
            }
            let waiting = self.outgoing.len() - offset as usize;
            let allowed = self.window.min(self.congestion_window).saturating_sub(self.in_flight());
            let bytes = (waiting as u32).min(allowed).min(self.segment_bytes);
            let is_last = bytes as usize == waiting;
            let finishes = is_last && self.has_ended;
            if bytes == 0 && !finishes {
                break;
            }
            if bytes < self.segment_bytes && !finishes && self.must_hold_back(bytes, is_last, now) {
                break;
            }
            self.send_bytes(self.next, bytes, finishes, is_last, outbox);
            if self.timed.is_none() && !is_before(self.next, self.highest) {
                self.timed = Some((self.next.wrapping_add(bytes + u32::from(finishes)), now));
            }
            self.next = self.next.wrapping_add(bytes + u32::from(finishes));
            if is_before(self.highest, self.next) {
                self.highest = self.next;
            }
            if self.resend_at.is_none() {
                self.resend_at = Some(now + self.first_interval());
            }
            if finishes {
                return;
            }
        }
        // A window that is closed is tried again after a while, or a lost update would be the end.
        if self.has_unsent() && self.in_flight() == 0 && self.window == 0 && self.resend_at.is_none() {
            self.resend_at = Some(now + self.retransmission);
        }
    }

    /// Whether a segment that is not full waits for more.
    fn must_hold_back(&self, bytes: u32, is_last: bool, now: Instant) -> bool {
        if self.corked_until.is_some_and(|until| now < until) {
            return true;
        }
        if !is_last {
            // It is the window that is small: a peer that has much of it used is waited for.
            return self.in_flight() > 0 && bytes < self.segment_bytes;
        }
        !self.sends_at_once && self.in_flight() > 0 && !self.has_ended
    }

    fn send_bytes(
        &mut self,
        sequence: u32,
        bytes: u32,
        finishes: bool,
        is_last: bool,
        outbox: &mut dyn Outbox,
    ) {
        let control = match (finishes, is_last) {
            (true, _) => Control::Finish,
            (false, true) => Control::Push,
            (false, false) => Control::None,
        };
        // An answer within the time in which it could be acknowledged.
        self.answers |= self.acknowledge_at.is_some();
        let header = self.header(sequence, control);
        let offset = sequence.wrapping_sub(self.first_number()) as usize;
        let outgoing = &mut self.outgoing;
        outbox.send(&header, bytes as usize, &mut |place| outgoing.copy(offset, place));
    }

    /// How long after sending a probe, or the first retransmission, is due.
    fn first_interval(&self) -> Duration {
        match self.smoothed {
            Some(smoothed) if !self.has_probed => (smoothed * 2).max(SHORTEST_PROBE).min(self.retransmission),
            _ => self.retransmission,
        }
    }

    /// Starts the timer anew after something was confirmed.
    pub(super) fn rearm(&mut self, now: Instant) {
        self.retries = 0;
        self.has_probed = false;
        self.retransmission = self.interval();
        self.resend_at = (self.in_flight() > 0).then(|| now + self.first_interval());
    }

    fn interval(&self) -> Duration {
        match self.smoothed {
            Some(smoothed) => (smoothed + (self.variation * 4).max(Duration::from_millis(1)))
                .clamp(SHORTEST_RETRANSMISSION, LONGEST_RETRANSMISSION),
            None => self.retransmission,
        }
    }

    /// Sends the first segment that is not confirmed again.
    pub(super) fn resend_first(&mut self, now: Instant, outbox: &mut dyn Outbox) {
        self.retransmitted += 1;
        // What is sent twice measures nothing.
        self.timed = None;
        if self.phase == Phase::SynSent || self.phase == Phase::SynReceived {
            self.send_synchronize(now, outbox);
            return;
        }
        let sent = self.highest.wrapping_sub(self.first_number());
        let bytes = (self.outgoing.len() as u32).min(self.segment_bytes).min(sent);
        let is_last = bytes as usize == self.outgoing.len();
        let finishes = is_last && self.has_ended && sent > bytes;
        if bytes > 0 || finishes {
            self.send_bytes(self.first_number(), bytes, finishes, is_last, outbox);
            let end = self.first_number().wrapping_add(bytes + u32::from(finishes));
            if is_before(self.next, end) {
                self.next = end;
            }
        }
    }

    /// What is due by now is done.
    pub fn expire(&mut self, now: Instant, outbox: &mut dyn Outbox) -> Events {
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if is_due(self.expires_at) {
            self.finish();
            return Events::OVER;
        }
        if is_due(self.acknowledge_at) {
            self.send_acknowledgement(now, outbox);
        }
        if is_due(self.corked_until) && self.has_unsent() {
            self.corked_until = None;
            self.transmit(now, outbox);
        }
        if is_due(self.resend_at) {
            return self.expire_resending(now, outbox);
        }
        self.expire_silence(now, outbox)
    }

    fn expire_resending(&mut self, now: Instant, outbox: &mut dyn Outbox) -> Events {
        if self.phase == Phase::Synchronized && self.in_flight() == 0 {
            self.resend_at = None;
            if self.has_unsent() && self.window == 0 {
                // One byte into the closed window: the answer tells whether it still is.
                self.send_bytes(self.next, 1, false, false, outbox);
                self.next = self.next.wrapping_add(1);
                self.highest = self.next;
                self.back_off(now);
            }
            return Events::empty();
        }
        if !self.has_probed && self.smoothed.is_some() && self.phase == Phase::Synchronized {
            self.has_probed = true;
            self.resend_first(now, outbox);
            self.resend_at = Some(now + self.retransmission);
            return Events::empty();
        }
        let most = match self.phase {
            Phase::SynSent => MOST_SYN_RETRIES,
            Phase::SynReceived => MOST_SYN_ACK_RETRIES,
            _ if self.is_orphan => MOST_ORPHAN_RETRIES,
            _ => MOST_RETRIES,
        };
        // A peer that answers with a closed window is there.
        if self.retries >= most && self.window > 0 {
            self.finish();
            return Events::TIMED_OUT | Events::OVER;
        }
        if self.phase == Phase::Synchronized && self.window > 0 {
            if self.retries == 0 {
                let flight = self.in_flight();
                self.slow_start_until = (flight / 2).max(2 * self.segment_bytes);
            }
            self.congestion_window = self.segment_bytes;
            self.recovers_to = None;
            self.equal_acknowledgements = 0;
            // All that was in flight passes for lost.
            self.next = self.first_number();
        }
        self.retries = self.retries.saturating_add(1);
        self.resend_first(now, outbox);
        self.back_off(now);
        Events::empty()
    }

    fn back_off(&mut self, now: Instant) {
        self.retransmission = (self.retransmission * 2).min(LONGEST_RETRANSMISSION);
        self.resend_at = Some(now + self.retransmission);
    }

    /// Asks a peer that was silent for long whether it is there.
    fn expire_silence(&mut self, now: Instant, outbox: &mut dyn Outbox) -> Events {
        let Some(keep) = self.keep_alive.filter(|_| self.phase == Phase::Synchronized) else {
            return Events::empty();
        };
        let due = self.heard_at + keep.idle + keep.interval * u32::from(self.keep_alive_probes);
        if now < due || self.resend_at.is_some() {
            return Events::empty();
        }
        if self.keep_alive_probes >= keep.probes {
            self.reset(outbox);
            return Events::TIMED_OUT | Events::OVER;
        }
        self.keep_alive_probes += 1;
        // A number that is confirmed already must be answered.
        let header = self.header(self.next.wrapping_sub(1), Control::None);
        outbox.send(&header, 0, &mut |_| {});
        Events::empty()
    }
}
