//! TCP endpoints.
//!
//! What both ends and every call look at is in atomics: the [`Condition`], what is queued, the limits. What is seldom
//! needed (names, options, the queue of a listener) is behind a lock. The queue of received bytes has a *turn*, which a
//! copy from or to a program's memory may hold while a page is fetched.
//!
//! The sender's bytes are at once in the receiver's queue. What exceeds the receiver's limit there is what a sender with
//! packets would still have; the sender's limit is for that.

mod close;
mod connect;
mod flow;
mod information;
mod listen;
mod packets;
mod timers;
mod transfer;

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use bitflags::bitflags;
use kernel_hal::Instant;
use ksync::{AsyncMutex, Once, Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::poll::PollEvents;

use crate::address::{Name, Scope};
use crate::bytes::ByteQueue;
use crate::options::Options;
use crate::ports::{Claim, Ports};
use crate::{READABLE, WRITABLE, settings};
pub use connect::Progress;
pub use information::{Information, PacketInformation, State, list, state_of_remains};
use listen::Listener;
use packets::Channel;
pub use packets::kept;
pub(crate) use packets::receive_packet;
pub use transfer::Transfer;

/// The ports of TCP.
pub static PORTS: Ports<Endpoint> = Ports::new();

bitflags! {
    /// How far an endpoint has come.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Condition: u32 {
        /// It listens.
        const LISTENING = 1;
        /// It asked for a connection and has no answer.
        const CONNECTING = 1 << 1;
        /// It has, or had, a peer.
        const CONNECTED = 1 << 2;
        /// The program sends no more.
        const SENDING_ENDED = 1 << 3;
        /// The program receives no more.
        const RECEIVING_ENDED = 1 << 4;
        /// The peer sends no more.
        const PEER_ENDED = 1 << 5;
        /// The connection is over, by a reset or because both directions ended.
        const OVER = 1 << 6;
        /// The program has closed it.
        const CLOSED = 1 << 7;
        /// Somebody waits for room to send, or was told that there is none.
        const WANTS_ROOM = 1 << 8;
        /// A listener keeps it back until it has received something.
        const DEFERRED = 1 << 9;
        /// What became of its wish to be connected has not been told yet.
        const UNTOLD = 1 << 10;
        /// The program set the sender's limit: it does not grow.
        const FIXED_LIMIT = 1 << 11;
    }
}

/// How an endpoint reaches its peer.
pub enum Link {
    /// The peer is in this machine.
    Fused(Weak<Endpoint>),
    /// The peer is wherever packets go.
    Packets(Box<Channel>),
}

/// What is seldom needed.
pub(crate) struct Details {
    options: Options,
    /// What the program bound it to.
    bound: Option<Scope>,
    local: Name,
    remote: Name,
    user: u32,
    listener: Option<Listener>,
    /// The listener that keeps it back.
    kept_by: Option<Weak<Endpoint>>,
    began: Instant,
}

/// One end of a connection, a listener, or what becomes one of them.
pub struct Endpoint {
    is_v6: bool,
    tag: AtomicU64,
    condition: AtomicU32,
    error: AtomicI32,
    /// What is in `incoming`; written by who has its turn.
    queued: AtomicUsize,
    receive_limit: AtomicUsize,
    send_limit: AtomicUsize,
    /// `SO_RCVLOWAT`.
    low_water: AtomicUsize,
    incoming: AsyncMutex<ByteQueue>,
    link: Once<Link>,
    changed: WaitQueue,
    details: SpinLock<Details>,
    /// Bytes that this end has sent.
    sent: AtomicU64,
    /// Of those, bytes that packets have not brought to the peer yet.
    outgoing: AtomicUsize,
}

impl Endpoint {
    /// An endpoint without a name.
    pub fn new(is_v6: bool) -> Arc<Self> {
        Arc::new(Self::unnamed(is_v6))
    }

    fn unnamed(is_v6: bool) -> Self {
        Self {
            is_v6,
            tag: AtomicU64::new(0),
            condition: AtomicU32::new(0),
            error: AtomicI32::new(0),
            queued: AtomicUsize::new(0),
            receive_limit: AtomicUsize::new(settings::TCP_RECEIVE_BYTES),
            send_limit: AtomicUsize::new(settings::TCP_SEND_BYTES),
            low_water: AtomicUsize::new(1),
            incoming: AsyncMutex::new(ByteQueue::default()),
            link: Once::new(),
            changed: WaitQueue::new("tcp"),
            details: SpinLock::new(
                Rank::ENDPOINT,
                Details {
                    options: Options::default(),
                    bound: None,
                    local: Name::default(),
                    remote: Name::default(),
                    user: 0,
                    listener: None,
                    kept_by: None,
                    began: Instant::from_nanos(0),
                },
            ),
            sent: AtomicU64::new(0),
            outgoing: AtomicUsize::new(0),
        }
    }

    /// How far it has come.
    pub fn condition(&self) -> Condition {
        Condition::from_bits_retain(self.condition.load(Ordering::Acquire))
    }

    /// Adds to the condition; returns what it was.
    fn enter(&self, added: Condition) -> Condition {
        Condition::from_bits_retain(self.condition.fetch_or(added.bits(), Ordering::AcqRel))
    }

    fn leave(&self, removed: Condition) -> Condition {
        Condition::from_bits_retain(self.condition.fetch_and(!removed.bits(), Ordering::AcqRel))
    }

    fn peer(&self) -> Option<Arc<Self>> {
        match self.link.get()? {
            Link::Fused(peer) => peer.upgrade(),
            Link::Packets(_) => None,
        }
    }

    /// Whether it is of IPv6.
    pub fn is_v6(&self) -> bool {
        self.is_v6
    }

    /// A number by which its owner is told from others: his.
    pub fn set_tag(&self, tag: u64) {
        self.tag.store(tag, Ordering::Relaxed);
    }

    /// The owner's number; 0 if there is none.
    pub fn tag(&self) -> u64 {
        self.tag.load(Ordering::Relaxed)
    }

    /// What is woken when its readiness changes.
    pub fn wait_queue(&self) -> &WaitQueue {
        &self.changed
    }

    /// Waits until nobody copies to or from its queue.
    pub async fn until_turn(&self) {
        self.incoming.until_free().await;
    }

    /// Takes the error that waits to be told.
    pub fn take_error(&self) -> Option<Errno> {
        if self.error.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Errno::from_code(self.error.swap(0, Ordering::AcqRel))
    }

    fn fail(&self, errno: Errno) {
        self.error.store(errno as i32, Ordering::Release);
    }

    /// Its own name.
    pub fn local_name(&self) -> Name {
        self.details.lock().local
    }

    /// The peer's name: `ENOTCONN` if there is no connection.
    pub fn peer_name(&self) -> Result<Name, Errno> {
        let condition = self.condition();
        if !condition.contains(Condition::CONNECTED) || condition.contains(Condition::OVER) {
            return Err(Errno::ENOTCONN);
        }
        Ok(self.details.lock().remote)
    }

    /// Who accepts it may see the name even if the connection is over already.
    pub fn accepted_peer_name(&self) -> Name {
        self.details.lock().remote
    }

    /// Its options.
    pub fn options(&self) -> Options {
        self.details.lock().options
    }

    /// Changes options.
    pub fn change_options<R>(&self, change: impl FnOnce(&mut Options) -> R) -> R {
        change(&mut self.details.lock().options)
    }

    /// Whether it has a port.
    pub fn is_bound(&self) -> bool {
        self.details.lock().local.port != 0
    }

    /// The limits of what it receives and sends ahead.
    pub fn limits(&self) -> (usize, usize) {
        (self.receive_limit.load(Ordering::Relaxed), self.send_limit.load(Ordering::Relaxed))
    }

    /// Sets the receiver's limit.
    pub fn set_receive_limit(self: &Arc<Self>, bytes: usize) {
        self.receive_limit.store(bytes.max(settings::LEAST_RECEIVE_BYTES), Ordering::Relaxed);
        self.apply_flow_options();
        if let Some(peer) = self.peer() {
            peer.tell_room(self.queued.load(Ordering::Relaxed));
        }
    }

    /// Sets the sender's limit.
    pub fn set_send_limit(&self, bytes: usize) {
        self.enter(Condition::FIXED_LIMIT);
        self.send_limit.store(bytes.max(settings::LEAST_SEND_BYTES), Ordering::Relaxed);
        self.changed.wake_all_for(WRITABLE.bits());
    }

    /// Sets how many bytes make it readable.
    pub fn set_low_water(&self, bytes: usize) {
        self.low_water.store(bytes.max(1), Ordering::Relaxed);
        self.changed.wake_all_for(READABLE.bits());
    }

    /// How many bytes make it readable.
    pub fn low_water(&self) -> usize {
        self.low_water.load(Ordering::Relaxed)
    }

    /// What it holds of the peer's bytes that the receiver's limit covers, and what the peer would still have.
    fn division(&self) -> (usize, usize) {
        let queued = self.queued.load(Ordering::Relaxed);
        let here = queued.min(self.receive_limit.load(Ordering::Relaxed));
        (here, queued - here)
    }

    /// Bytes that can be received (`SIOCINQ`).
    pub fn received_bytes(&self) -> usize {
        self.division().0
    }

    /// Bytes that were sent and that the receiver has no room for (`SIOCOUTQ`).
    pub fn unsent_bytes(&self) -> usize {
        self.peer().map_or(self.outgoing.load(Ordering::Relaxed), |peer| peer.division().1)
    }

    /// Whether so many bytes in flight leave a sender room enough to be told.
    fn is_roomy(in_flight: usize, capacity: usize) -> bool {
        in_flight * 3 <= capacity * 2
    }

    /// How much may be in flight to a peer.
    fn capacity_to(&self, peer: &Self) -> usize {
        self.send_limit.load(Ordering::Relaxed) + peer.receive_limit.load(Ordering::Relaxed)
    }

    /// The peer has so many of this end's bytes left: whoever waits for room is told if there is enough.
    fn tell_room(&self, in_flight: usize) {
        if self.condition.load(Ordering::SeqCst) & Condition::WANTS_ROOM.bits() != 0
            && self.peer().is_none_or(|peer| Self::is_roomy(in_flight, self.capacity_to(&peer)))
        {
            self.leave(Condition::WANTS_ROOM);
            self.changed.wake_one_for(WRITABLE.bits());
        }
    }

    fn has_room(&self) -> bool {
        if self.channel().is_some() {
            return self.has_own_room();
        }
        let Some(peer) = self.peer() else { return true };
        let is_roomy = || Self::is_roomy(peer.queued.load(Ordering::SeqCst), self.capacity_to(&peer));
        if is_roomy() {
            return true;
        }
        self.condition.fetch_or(Condition::WANTS_ROOM.bits(), Ordering::SeqCst);
        // The peer may have taken something before it could see that.
        is_roomy()
    }

    /// What could be done without waiting, as `poll` tells it.
    pub fn ready(&self) -> PollEvents {
        let condition = self.condition();
        let mut events = PollEvents::empty();
        if condition.contains(Condition::LISTENING) {
            events.set(READABLE, self.has_acceptable());
            return events;
        }
        let is_open = condition.contains(Condition::CONNECTED) && !condition.contains(Condition::OVER);
        let is_connecting = condition.contains(Condition::CONNECTING);
        let sends_no_more = condition.intersects(Condition::SENDING_ENDED | Condition::OVER);
        let receives_no_more = condition.intersects(Condition::RECEIVING_ENDED | Condition::PEER_ENDED)
            || (condition.contains(Condition::CONNECTED) && !is_open);
        let is_unconnected = !is_open && !is_connecting;
        events.set(PollEvents::HUP, is_unconnected || (sends_no_more && receives_no_more));
        events.set(READABLE | PollEvents::RDHUP, receives_no_more);
        if !is_connecting {
            if self.queued.load(Ordering::Acquire) >= self.low_water.load(Ordering::Relaxed) {
                events |= READABLE;
            }
            events.set(WRITABLE, sends_no_more || self.has_room());
        }
        events.set(PollEvents::ERR, self.error.load(Ordering::Relaxed) != 0);
        events
    }

    /// The sender's limit grows when there is a connection.
    fn grow(&self) {
        if !self.condition().contains(Condition::FIXED_LIMIT) {
            self.send_limit.store(settings::TCP_GROWN_BYTES, Ordering::Relaxed);
        }
    }

    fn claim(details: &Details, scope: Scope) -> Claim {
        let options = &details.options;
        Claim {
            scope,
            reuse_address: options.reuse_address,
            reuse_port: options.reuse_port,
            user: details.user,
        }
    }
}

#[cfg(test)]
mod tests;
