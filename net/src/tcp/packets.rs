//! Endpoints whose bytes go through packets: what ties a flow to its endpoint.
//!
//! A [`Channel`] is a flow with its names, behind a lock under which its segments are sent, so that they leave in order.
//! What the flow tells is applied to the endpoint after the lock was released. Connections that no program has, because
//! they are being made for a listener or were closed while something was left to be done, are in [`KEPT`].

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use kernel_hal::Instant;
use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use smoltcp::wire::{IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use super::flow::{Control, Events, Flow, Header, KeepAlive, Outbox, Setup};
use super::{Condition, Endpoint, Link, PORTS, timers};
use crate::address::{Address, Name};
use crate::bytes::{ByteQueue, Bytes};
use crate::packet::{HOP_LIMIT, Opened, Packet, checksums, wire_address};
use crate::ports::{Owner, Remains};
use crate::{Blocked, WRITABLE, random, stack};

/// What is copied from a program at once.
const PIECE_BYTES: usize = 64 << 10;
/// Linux's intervals for silent peers (`net.ipv4.tcp_keepalive_time` and so on).
const KEEP_IDLE_SECONDS: u32 = 7200;
const KEEP_INTERVAL_SECONDS: u32 = 75;
const KEEP_PROBES: u8 = 9;
const TCP_AND_IP_BYTES: [usize; 2] = [40, 60];

/// Connections that no program has.
static KEPT: SpinLock<BTreeMap<usize, Arc<Endpoint>>> =
    SpinLock::new(Rank::KEPT_CONNECTIONS, BTreeMap::new());

/// A flow and its names.
pub struct Channel {
    state: SpinLock<State>,
    /// For when a timer is set, in nanoseconds.
    pub(super) armed: AtomicU64,
}

struct State {
    flow: Flow,
    local: Name,
    remote: Name,
}

/// Sends what a flow says from one name to another.
struct Sender {
    local: Name,
    remote: Name,
}

impl Outbox for Sender {
    fn send(&mut self, header: &Header, bytes: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let repr = TcpRepr {
            src_port: self.local.port,
            dst_port: self.remote.port,
            control: match header.control {
                Control::None => TcpControl::None,
                Control::Push => TcpControl::Psh,
                Control::Synchronize => TcpControl::Syn,
                Control::Finish => TcpControl::Fin,
                Control::Reset => TcpControl::Rst,
            },
            seq_number: TcpSeqNumber(header.sequence as i32),
            ack_number: header.acknowledgement.map(|number| TcpSeqNumber(number as i32)),
            window_len: header.window,
            window_scale: header.scale,
            max_seg_size: header.segment_bytes,
            sack_permitted: header.takes_ranges,
            sack_ranges: header.received,
            timestamp: None,
            payload: &[],
        };
        let (source, destination) = (self.local.address, self.remote.address);
        let len = repr.header_len() + bytes;
        let Some((mut packet, start)) = Packet::ip(source, destination, IpProtocol::Tcp, len, HOP_LIMIT)
        else {
            // As if it had been lost.
            return;
        };
        let needs_sum = stack::needs_checksums(destination);
        let place = &mut packet.as_mut()[start..];
        let (source, destination) = (wire_address(source), wire_address(destination));
        fill(&mut place[repr.header_len()..]);
        let mut segment = TcpPacket::new_unchecked(place);
        repr.emit(&mut segment, &source, &destination, &checksums(false));
        if needs_sum {
            segment.fill_checksum(&source, &destination);
        }
        stack::send(packet, self.remote.address);
    }
}

fn setup(remote: Name, receive_limit: usize) -> Setup {
    let headers = TCP_AND_IP_BYTES[usize::from(!remote.address.is_v4())];
    let segment_bytes = stack::packet_limit(remote.address).saturating_sub(headers).min(65495);
    Setup { initial: random::number() as u32, segment_bytes: segment_bytes as u16, receive_limit }
}

fn header_of(segment: &TcpRepr<'_>) -> Header {
    Header {
        sequence: segment.seq_number.0 as u32,
        acknowledgement: segment.ack_number.map(|number| number.0 as u32),
        window: segment.window_len,
        control: match segment.control {
            TcpControl::None => Control::None,
            TcpControl::Psh => Control::Push,
            TcpControl::Syn => Control::Synchronize,
            TcpControl::Fin => Control::Finish,
            TcpControl::Rst => Control::Reset,
        },
        scale: segment.window_scale,
        segment_bytes: segment.max_seg_size,
        takes_ranges: segment.sack_permitted,
        received: segment.sack_ranges,
    }
}

/// Takes a segment in; false if it was none.
pub(crate) fn receive_packet(opened: &Opened<'_>, is_verified: bool) -> bool {
    let Ok(packet) = TcpPacket::new_checked(opened.payload) else { return false };
    let (source, destination) = (wire_address(opened.source), wire_address(opened.destination));
    let Ok(segment) = TcpRepr::parse(&packet, &source, &destination, &checksums(!is_verified)) else {
        return false;
    };
    if opened.destination.is_multicast() || opened.source.is_multicast() || opened.source.is_any() {
        return false;
    }
    let local = Name::new(opened.destination, segment.dst_port);
    let remote = Name::new(opened.source, segment.src_port);
    let header = header_of(&segment);
    match PORTS.owner(local, remote) {
        Some(Owner::Live(endpoint)) => {
            if let Some(Link::Packets(channel)) = endpoint.link.get() {
                endpoint.take_segment(channel, &header, segment.payload);
            }
        }
        Some(Owner::Ended(own, wanted)) => answer_late(local, remote, &header, own, wanted),
        None => be_asked(local, remote, &header, segment.payload.len()),
    }
    true
}

/// A segment for a connection that has ended: who begins anew may, others learn that all was received.
fn answer_late(local: Name, remote: Name, header: &Header, own: u32, wanted: u32) {
    let is_new = header.sequence.wrapping_sub(wanted) as i32 > 0;
    match header.control {
        Control::Reset => {}
        Control::Synchronize if is_new && header.acknowledgement.is_none() => {
            be_asked(local, remote, header, 0)
        }
        _ => {
            let answer = Header::answer(own, wanted);
            Sender { local, remote }.send(&answer, 0, &mut |_| {});
        }
    }
}

/// A segment for which there is no connection.
fn be_asked(local: Name, remote: Name, header: &Header, bytes: usize) {
    let pick = usize::from(remote.port).wrapping_mul(0x9e37) >> 8;
    let listener = PORTS.find(local, pick, |endpoint| endpoint.condition().contains(Condition::LISTENING));
    let asks = header.control == Control::Synchronize && header.acknowledgement.is_none();
    match listener {
        Some(listener) if asks => listener.begin_handshake(local, remote, header),
        Some(_) if header.control != Control::Reset && header.acknowledgement.is_none() => {}
        _ => {
            if let Some(refusal) = Header::refusal(header, bytes) {
                Sender { local, remote }.send(&refusal, 0, &mut |_| {});
            }
        }
    }
}

/// How many connections no program has.
pub fn kept() -> usize {
    KEPT.lock().len()
}

impl Endpoint {
    fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    fn keep(self: &Arc<Self>) {
        KEPT.lock().insert(self.key(), self.clone());
    }

    fn keep_no_longer(&self) {
        let kept = KEPT.lock().remove(&self.key());
        drop(kept);
    }

    pub(super) fn channel(&self) -> Option<&Channel> {
        match self.link.get()? {
            Link::Packets(channel) => Some(channel),
            Link::Fused(_) => None,
        }
    }

    /// Lets something be done with the flow, and applies what came of it.
    fn with_flow(
        self: &Arc<Self>,
        channel: &Channel,
        work: impl FnOnce(&mut Flow, Instant, &mut dyn Outbox) -> Events,
    ) {
        let now = Instant::now();
        let mut state = channel.state.lock();
        let mut sender = Sender { local: state.local, remote: state.remote };
        let events = work(&mut state.flow, now, &mut sender);
        let last = state.flow.last_numbers();
        self.outgoing.store(state.flow.outgoing_bytes(), Ordering::SeqCst);
        self.queued.store(state.flow.unread_bytes(), Ordering::SeqCst);
        timers::arm(self, channel, state.flow.deadline());
        drop(state);
        if !events.is_empty() {
            self.apply(events, last);
        }
        stack::loopback::QUEUE.take_in();
    }

    /// The channel of an endpoint that has none yet, or the one it has, with these names from now on.
    fn open_channel(&self, local: Name, remote: Name) -> Option<&Channel> {
        let link = self.link.call_once(|| {
            let state = State { flow: Flow::idle(Instant::now()), local, remote };
            let state = SpinLock::new(Rank::FLOW, state);
            Link::Packets(Box::new(Channel { state, armed: AtomicU64::new(u64::MAX) }))
        });
        let Link::Packets(channel) = link else { return None };
        let mut state = channel.state.lock();
        (state.local, state.remote) = (local, remote);
        drop(state);
        Some(channel)
    }

    /// Asks over packets for a connection.
    pub(super) fn ask_by_packets(self: &Arc<Self>, local: Name, remote: Name) {
        let setup = setup(remote, self.limits().0);
        let Some(channel) = self.open_channel(local, remote) else { return };
        self.with_flow(channel, |flow, now, sender| {
            *flow = Flow::connect(setup, now, sender);
            Events::empty()
        });
    }

    /// Somebody asks a listener over packets.
    fn begin_handshake(self: &Arc<Self>, local: Name, remote: Name, asked: &Header) {
        // Linux answers nobody while the queue is full.
        if !self.has_place() || kept() >= crate::ports::MOST_TIME_WAIT {
            return;
        }
        let mut new = self.answering_end(local, remote);
        let setup = setup(remote, new.limits().0);
        let defers = new.condition.get_mut();
        let is_deferred = *defers & Condition::DEFERRED.bits();
        *defers = Condition::CONNECTING.bits() | is_deferred | (*defers & Condition::FIXED_LIMIT.bits());
        let claim = Self::claim(
            new.details.get_mut(),
            crate::address::Scope { address: local.address, only_v6: true },
        );
        new.details.get_mut().kept_by = Some(Arc::downgrade(self));
        let new = Arc::new(new);
        if PORTS.connect(local, remote, claim, &new, true).is_err() {
            return;
        }
        new.keep();
        let Some(channel) = new.open_channel(local, remote) else { return };
        new.with_flow(channel, |flow, now, sender| {
            *flow = Flow::accept(setup, asked, now, sender);
            Events::empty()
        });
    }

    fn take_segment(self: &Arc<Self>, channel: &Channel, header: &Header, bytes: &[u8]) {
        if self.condition().contains(Condition::CONNECTING) {
            let kept_by = self.details.lock().kept_by.clone();
            // A listener without room lets the handshake wait: its last word will come again.
            let is_last_word = header.acknowledgement.is_some()
                && !matches!(header.control, Control::Reset | Control::Synchronize);
            if is_last_word
                && let Some(listener) = kept_by.and_then(|listener| listener.upgrade())
                && !listener.has_place()
            {
                return;
            }
        }
        self.with_flow(channel, |flow, now, sender| flow.handle(header, bytes, now, sender));
    }

    /// What is due is done.
    pub(super) fn expire(self: &Arc<Self>) {
        if let Some(channel) = self.channel() {
            self.with_flow(channel, |flow, now, sender| match flow.deadline() {
                Some(deadline) if deadline <= now => flow.expire(now, sender),
                _ => Events::empty(),
            });
        }
    }

    fn apply(self: &Arc<Self>, events: Events, last: (u32, u32)) {
        if events.contains(Events::CONNECTED) {
            self.be_connected();
        }
        if events.contains(Events::ARRIVED) {
            let _ = self.note_arrival();
        }
        if events.contains(Events::CONFIRMED) {
            self.tell_own_room();
        }
        if events.contains(Events::PEER_ENDED) {
            self.enter(Condition::PEER_ENDED);
            self.be_accepted();
            self.changed.wake_all();
        }
        if events.intersects(Events::RESET | Events::TIMED_OUT) {
            self.be_ended(events.contains(Events::TIMED_OUT));
        }
        let was_made =
            self.condition().contains(Condition::CONNECTED) || self.details.lock().kept_by.is_some();
        if events.contains(Events::OVER) && was_made {
            self.leave(Condition::CONNECTING);
            self.enter(Condition::OVER);
            let (local, remote) = self.names();
            let remains = events.contains(Events::TIME_WAIT).then_some(Remains::TimeWait);
            PORTS.end(local, remote, remains, Some(last));
            if events.contains(Events::TIME_WAIT)
                && let Some(channel) = self.channel()
            {
                channel.state.lock().flow.abandon();
            }
            self.keep_no_longer();
            self.changed.wake_all();
        }
    }

    fn be_connected(self: &Arc<Self>) {
        self.details.lock().began = Instant::now();
        self.enter(Condition::CONNECTED);
        self.leave(Condition::CONNECTING);
        self.grow();
        self.apply_flow_options();
        let keeper = self.details.lock().kept_by.take();
        let Some(keeper) = keeper else {
            self.changed.wake_all();
            return;
        };
        if keeper.upgrade().is_some_and(|listener| listener.enqueue_over_packets(self)) {
            self.keep_no_longer();
        } else {
            self.abort();
        }
    }

    /// The peer has reset the connection, or does not answer any more.
    fn be_ended(self: &Arc<Self>, has_timed_out: bool) {
        let condition = self.condition();
        let is_asking = condition.contains(Condition::CONNECTING);
        if is_asking && self.details.lock().kept_by.is_some() {
            // A handshake that came to nothing; nobody knows.
            return;
        }
        match (is_asking, has_timed_out) {
            (true, true) => self.give_up(Some(Errno::ETIMEDOUT)),
            (true, false) => self.give_up(Some(Errno::ECONNREFUSED)),
            (false, true) => {
                self.fail(Errno::ETIMEDOUT);
                self.enter(Condition::OVER);
                self.changed.wake_all();
            }
            (false, false) => self.be_reset(),
        }
    }

    fn tell_own_room(&self) {
        let in_flight = self.outgoing.load(Ordering::SeqCst);
        if self.condition.load(Ordering::SeqCst) & Condition::WANTS_ROOM.bits() != 0
            && Self::is_roomy(in_flight, self.send_limit.load(Ordering::Relaxed))
        {
            self.leave(Condition::WANTS_ROOM);
            self.changed.wake_one_for(WRITABLE.bits());
        }
    }

    pub(super) fn has_own_room(&self) -> bool {
        let is_roomy =
            || Self::is_roomy(self.outgoing.load(Ordering::SeqCst), self.send_limit.load(Ordering::Relaxed));
        if is_roomy() {
            return true;
        }
        self.condition.fetch_or(Condition::WANTS_ROOM.bits(), Ordering::SeqCst);
        is_roomy()
    }

    /// Sends over packets as much as there is room for.
    pub(super) fn send_by_packets<B: Bytes>(
        self: &Arc<Self>,
        channel: &Channel,
        source: &mut B,
        has_more: bool,
    ) -> Result<usize, Blocked<B::Stop>> {
        while source.remaining() > 0 {
            let limit = self.send_limit.load(Ordering::Relaxed);
            let mut room = limit.saturating_sub(self.outgoing.load(Ordering::SeqCst));
            if room == 0 {
                self.condition.fetch_or(Condition::WANTS_ROOM.bits(), Ordering::SeqCst);
                room = limit.saturating_sub(self.outgoing.load(Ordering::SeqCst));
            }
            if room == 0 {
                return Err(Blocked::NotReady(WRITABLE));
            }
            if self.condition().contains(Condition::OVER) {
                break;
            }
            let count = source.remaining().min(room).min(PIECE_BYTES);
            let mut piece = alloc::vec::Vec::new();
            piece.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
            piece.resize(count, 0);
            let before = source.done();
            let outcome = source.take_to_slice(&mut piece);
            let moved = source.done() - before;
            piece.truncate(moved);
            if moved > 0 {
                self.sent.fetch_add(moved as u64, Ordering::Relaxed);
                let is_corked = has_more || self.is_corked();
                self.with_flow(channel, |flow, now, sender| {
                    flow.cork(is_corked, now);
                    // Without memory it is lost here, and never confirmed: the connection will time out.
                    let _ = flow.push(piece);
                    flow.transmit(now, sender);
                    Events::empty()
                });
            }
            outcome.map_err(Blocked::Stopped)?;
        }
        Ok(source.done())
    }

    fn is_corked(&self) -> bool {
        self.details.lock().options.cork
    }

    /// Gives what an option says to the flow.
    pub fn apply_flow_options(self: &Arc<Self>) {
        let Some(channel) = self.channel() else { return };
        let options = self.options();
        let receive_limit = self.limits().0;
        self.with_flow(channel, |flow, now, sender| {
            flow.sends_at_once = options.no_delay;
            flow.set_receive_limit(receive_limit);
            if !options.cork {
                flow.cork(false, now);
            }
            flow.set_keep_alive(options.keep_alive.then(|| KeepAlive {
                idle: Duration::from_secs(u64::from(options.keep_idle.unwrap_or(KEEP_IDLE_SECONDS))),
                interval: Duration::from_secs(u64::from(
                    options.keep_interval.unwrap_or(KEEP_INTERVAL_SECONDS),
                )),
                probes: options.keep_count.unwrap_or(KEEP_PROBES),
            }));
            flow.transmit(now, sender);
            Events::empty()
        });
    }

    /// Moves what has arrived to where it is read.
    pub(super) fn collect(&self, queue: &mut ByteQueue) {
        let Some(channel) = self.channel() else { return };
        loop {
            let piece = channel.state.lock().flow.take_arrived();
            let Some(piece) = piece else { return };
            if queue.adopt(piece).is_err() {
                return;
            }
        }
    }

    /// So many bytes were read.
    pub(super) fn note_read(self: &Arc<Self>, channel: &Channel, bytes: usize) {
        self.with_flow(channel, |flow, now, sender| {
            flow.note_read(bytes, now, sender);
            Events::empty()
        });
    }

    /// Tells the peer that nothing more comes.
    pub(super) fn end_by_packets(self: &Arc<Self>, channel: &Channel) {
        self.with_flow(channel, |flow, now, sender| {
            flow.end();
            flow.transmit(now, sender);
            Events::empty()
        });
    }

    /// Ends the connection at once.
    pub(super) fn reset_by_packets(self: &Arc<Self>, channel: &Channel) {
        self.with_flow(channel, |flow, _, sender| {
            flow.reset(sender);
            Events::empty()
        });
        self.keep_no_longer();
    }

    /// Forgets a wish to be connected, without a word.
    pub(super) fn forget_flow(&self) {
        if let Some(channel) = self.channel() {
            channel.state.lock().flow.abandon();
        }
    }

    /// The program is gone; what is left is done without it.
    pub(super) fn orphan(self: &Arc<Self>, channel: &Channel) {
        self.keep();
        self.with_flow(channel, |flow, now, _| {
            flow.orphan(now);
            Events::empty()
        });
        if self.condition().contains(Condition::OVER) {
            self.keep_no_longer();
        }
    }

    /// Whether a handshake is going on that somebody else began.
    pub(super) fn is_handshaking(&self) -> bool {
        self.channel().is_some_and(|channel| channel.state.lock().flow.is_handshaking())
    }

    /// What the flow says of itself, if there is one.
    pub(super) fn flow_report<R>(&self, report: impl FnOnce(&Flow) -> R) -> Option<R> {
        Some(report(&self.channel()?.state.lock().flow))
    }
}

/// Whether a connection with this address goes through packets.
pub(super) fn uses_packets(address: Address) -> bool {
    !crate::route::is_own(address) || !crate::settings::is_fused()
}
