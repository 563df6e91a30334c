//! The local family: two ends in this machine.
//!
//! What is sent goes at once into the receiver's queue, a [`PageRing`]; so what is in flight is what the receiver has not
//! read, and it is the sender's limit that counts it. Who copies has the queue's turn, as with pipes. What comes with
//! bytes (descriptors, credentials, a datagram's sender) is attached to the slot that they begin.
//!
//! [`names`] has the names of sockets, [`connection`] who is connected with whom, [`queue`] how bytes and messages go into the
//! receiver's queue and out of it. What is left here is long (above 600 lines) since one end's state and both its directions are one thing.
//!
//! A socket may come to lie in its own queue: [`garbage`] finds those that nobody can reach any more.

mod connection;
mod names;
mod queue;

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use kernel_hal::{PAGE_SIZE, VirtAddr};
use ksync::{AsyncMutex, AsyncMutexGuard, Once, Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::poll::PollEvents;
use linux_abi::stat::FileType;
use linux_abi::terminal::FIONREAD;

use super::internet::interface;
use super::{
    AF_UNIX, Ancillary, MessageFlags, OptionValue, Outgoing, PeerCredentials, Received, SOL_SOCKET, Shutdown,
    Socket, SocketKind, SocketName, garbage, number_of, number_value,
};
use crate::file::{File, PageRing, UserMemory, anonymous_number};
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::thread::{Thread, current_thread};
use crate::user_buffer::UserBuffer;
use connection::Listener;
use names::{Binding, LocalName, LookedUp, no_name};
use queue::{fill_packet, fill_stream, may_append, read_packet, read_stream};

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM).union(PollEvents::WRBAND);
/// What a socket may have in flight, in bytes of page frames: Linux's default.
const DEFAULT_BUFFER_BYTES: usize = 212_992;
const LEAST_BUFFER_BYTES: usize = 4608;
const MOST_BUFFER_BYTES: usize = 2 * DEFAULT_BUFFER_BYTES;
/// How often the turn is asked for before the attempt waits for it.
const TRIES: usize = 64;

type Attached = Option<Box<Ancillary>>;
pub(super) type Ring = PageRing<Attached>;

/// One end: its queue and its state. The other end has a reference to it, too.
pub(super) struct Endpoint {
    kind: SocketKind,
    number: u64,
    pub(super) incoming: AsyncMutex<Ring>,
    /// Whether [`garbage`] knows that sockets lie in the queue. Changed by who has its turn.
    pub(super) holds_sockets: AtomicBool,
    /// What is in the queue; written by who has the turn.
    used_slots: AtomicUsize,
    bytes: AtomicUsize,
    /// How much this end may have in flight.
    send_limit: AtomicUsize,
    receive_limit: AtomicUsize,
    no_more_receiving: AtomicBool,
    no_more_sending: AtomicBool,
    passes_credentials: AtomicBool,
    /// An error that the next call returns.
    error: AtomicI32,
    changed: WaitQueue,
    /// The other end of a connection, for good.
    peer: Once<Weak<Endpoint>>,
    /// Where datagrams go that say nothing else.
    destination: SpinLock<Option<Weak<Endpoint>>>,
    /// Who waits for room for another datagram in this end's queue.
    waiting_senders: SpinLock<Vec<Weak<Endpoint>>>,
    /// Who made the other end.
    peer_made_by: Once<PeerCredentials>,
    binding: Once<Binding>,
    /// The name of who listened, of an end that was made for a connection.
    inherited_name: Once<SocketName>,
    listener: Once<Listener>,
    looked_up: SpinLock<LookedUp>,
    /// It was made for a connection that nobody has accepted.
    is_waiting: AtomicBool,
}

/// A local socket.
pub struct UnixSocket {
    endpoint: Arc<Endpoint>,
}

impl Endpoint {
    fn new(kind: SocketKind) -> Arc<Self> {
        Arc::new(Self {
            kind,
            number: anonymous_number(),
            incoming: AsyncMutex::new(Ring::default()),
            holds_sockets: AtomicBool::new(false),
            used_slots: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            send_limit: AtomicUsize::new(DEFAULT_BUFFER_BYTES),
            receive_limit: AtomicUsize::new(DEFAULT_BUFFER_BYTES),
            no_more_receiving: AtomicBool::new(false),
            no_more_sending: AtomicBool::new(false),
            passes_credentials: AtomicBool::new(false),
            error: AtomicI32::new(0),
            changed: WaitQueue::new("unix socket"),
            peer: Once::new(),
            destination: SpinLock::new(Rank::FILE, None),
            waiting_senders: SpinLock::new(Rank::FILE, Vec::new()),
            peer_made_by: Once::new(),
            binding: Once::new(),
            inherited_name: Once::new(),
            listener: Once::new(),
            looked_up: SpinLock::new(Rank::FILE, LookedUp::default()),
            is_waiting: AtomicBool::new(false),
        })
    }

    #[inline]
    fn peer(&self) -> Option<Arc<Self>> {
        match self.kind {
            SocketKind::Datagram => self.destination.lock().as_ref().and_then(Weak::upgrade),
            _ => self.peer.get().and_then(Weak::upgrade),
        }
    }

    fn name(&self) -> Option<&SocketName> {
        self.binding.get().map(|binding| &binding.name).or_else(|| self.inherited_name.get())
    }

    /// The other end, to send to.
    fn receiver(&self) -> Result<Arc<Self>, Errno> {
        match self.peer() {
            Some(peer) => Ok(peer),
            None if !self.has_been_connected() => Err(Errno::ENOTCONN),
            None if self.kind.is_connected() => Err(Errno::EPIPE),
            None => {
                // A datagram's destination is forgotten when it turns out to be gone.
                *self.destination.lock() = None;
                Err(Errno::ECONNREFUSED)
            }
        }
    }

    /// Has `sender` woken when there is room in this end's queue.
    fn note_waiting_sender(&self, sender: &Arc<Self>) {
        let mut waiting = self.waiting_senders.lock();
        if !waiting.iter().any(|other| other.as_ptr() == Arc::as_ptr(sender))
            && waiting.try_reserve(1).is_ok()
        {
            waiting.push(Arc::downgrade(sender));
        }
    }

    fn wake_waiting_senders(&self) {
        if self.kind == SocketKind::Datagram {
            let waiting = core::mem::take(&mut *self.waiting_senders.lock());
            for sender in waiting.iter().filter_map(Weak::upgrade) {
                sender.changed.wake_all_for(WRITABLE.bits());
            }
        }
    }

    #[inline(always)]
    fn turn(self: &Arc<Self>) -> Result<AsyncMutexGuard<'_, Ring>, Obstacle> {
        match self.incoming.try_lock() {
            Some(guard) => Ok(guard),
            None => self.turn_after_others(),
        }
    }

    #[cold]
    fn turn_after_others(self: &Arc<Self>) -> Result<AsyncMutexGuard<'_, Ring>, Obstacle> {
        for _ in 0..TRIES {
            if let Some(guard) = self.incoming.try_lock() {
                return Ok(guard);
            }
            core::hint::spin_loop();
        }
        let endpoint = self.clone();
        Err(Obstacle::Wait(Box::pin(async move {
            endpoint.incoming.until_free().await;
            Ok(())
        })))
    }

    fn publish(&self, ring: AsyncMutexGuard<'_, Ring>) {
        self.used_slots.store(ring.slots(), Ordering::Relaxed);
        self.bytes.store(ring.bytes(), Ordering::Relaxed);
    }

    fn most_slots(&self) -> usize {
        self.send_limit.load(Ordering::Relaxed) / PAGE_SIZE
    }

    fn take_error(&self) -> Result<(), Errno> {
        match self.error.swap(0, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(Errno::ECONNRESET),
        }
    }

    /// Sends what fits to `receiver`, or to the other end; `ancillary` is taken with the first bytes.
    fn send(
        self: &Arc<Self>,
        receiver: Option<Arc<Self>>,
        buffer: &mut UserBuffer,
        flags: MessageFlags,
        ancillary: &mut Attached,
    ) -> Attempt {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if self.no_more_sending.load(Ordering::Acquire) {
            return Err(Errno::EPIPE.into());
        }
        let peer = match receiver {
            Some(receiver) => receiver,
            None => self.receiver()?,
        };
        let is_stream = self.kind == SocketKind::Stream;
        if !is_stream && buffer.remaining() > self.send_limit.load(Ordering::Relaxed) {
            return Err(Errno::EMSGSIZE.into());
        }
        if is_stream && buffer.remaining() == 0 {
            return Ok(buffer.done());
        }
        if self.kind == SocketKind::Datagram {
            self.may_send_to(&peer)?;
            self.sign(&peer, ancillary);
        }
        let mut ring = peer.turn()?;
        if peer.no_more_receiving.load(Ordering::Acquire) {
            return Err(Errno::EPIPE.into());
        }
        let most_slots = self.most_slots();
        if ring.slots() >= most_slots && !(is_stream && may_append(&ring, buffer.remaining(), ancillary)) {
            if self.kind == SocketKind::Datagram {
                peer.note_waiting_sender(self);
            }
            return Err(Obstacle::NotReadyFor(self.clone(), WRITABLE));
        }
        if ancillary.as_ref().is_some_and(|given| given.has_local_socket()) {
            garbage::note_holder(&peer);
        }
        let (slots, bytes) = (ring.slots(), ring.bytes());
        let mut outcome = if is_stream {
            fill_stream(&mut ring, buffer, most_slots, ancillary)
        } else {
            fill_packet(&mut ring, buffer, ancillary)
        };
        if outcome.is_ok() && buffer.remaining() > 0 {
            outcome = Err(Obstacle::NotReadyFor(self.clone(), WRITABLE));
        }
        let has_more = ring.slots() != slots || ring.bytes() != bytes;
        peer.publish(ring);
        if has_more {
            peer.changed.wake_one_for(READABLE.bits());
        }
        outcome?;
        Ok(buffer.done())
    }

    /// Says with a datagram who sends it, as far as the receiver is told.
    fn sign(&self, receiver: &Self, ancillary: &mut Attached) {
        if let Some(name) = self.name() {
            ancillary.get_or_insert_default().name = Some(name.clone());
        }
        if receiver.passes_credentials.load(Ordering::Relaxed)
            && ancillary.as_ref().is_none_or(|attached| attached.credentials.is_none())
            && let Some(thread) = current_thread()
        {
            ancillary.get_or_insert_default().credentials = Some(PeerCredentials::of(&thread));
        }
    }

    /// Receives what there is.
    fn receive(
        self: &Arc<Self>,
        buffer: &mut UserBuffer,
        flags: MessageFlags,
        received: &mut Received,
    ) -> Attempt {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let is_stream = self.kind == SocketKind::Stream;
        if self.kind.is_connected() && !self.has_been_connected() {
            return Err(if is_stream { Errno::EINVAL } else { Errno::ENOTCONN }.into());
        }
        if is_stream && buffer.remaining() == 0 {
            return Ok(buffer.done());
        }
        let mut ring = self.turn()?;
        if ring.slots() == 0 {
            drop(ring);
            return match buffer.done() {
                0 => {
                    self.take_error()?;
                    let is_over = self.no_more_receiving.load(Ordering::Acquire);
                    if is_over { Ok(0) } else { Err(Obstacle::NotReadyFor(self.clone(), READABLE)) }
                }
                done if self.no_more_receiving.load(Ordering::Acquire) => Ok(done),
                _ => Err(Obstacle::NotReadyFor(self.clone(), READABLE)),
            };
        }
        let before = ring.slots();
        let outcome = match is_stream {
            true => read_stream(&mut ring, buffer, flags, received),
            false => read_packet(&mut ring, buffer, flags, received),
        };
        let after = ring.slots();
        self.publish(ring);
        if before != after {
            self.wake_waiting_senders();
        }
        if before != after
            && let Some(peer) = self.peer()
        {
            let most = peer.most_slots();
            if before * 4 > most && after * 4 <= most {
                peer.changed.wake_one_for(WRITABLE.bits());
            }
        }
        let received_bytes = outcome?;
        let waits_for_all = is_stream
            && flags.contains(MessageFlags::WAITALL)
            && !flags.contains(MessageFlags::PEEK)
            && received.ancillary.is_none();
        if waits_for_all && buffer.remaining() > 0 && !self.no_more_receiving.load(Ordering::Acquire) {
            return Err(Obstacle::NotReadyFor(self.clone(), READABLE));
        }
        Ok(received_bytes)
    }

    /// Who sent what was received.
    fn sender_of(&self, received: &Received) -> Option<SocketName> {
        match &received.ancillary {
            Some(attached) if self.kind != SocketKind::Stream => attached.name.clone(),
            _ if self.kind.is_connected() => self.peer().and_then(|peer| peer.name().cloned()),
            _ => None,
        }
    }

    fn ready(self: &Arc<Self>) -> PollEvents {
        let mut events = PollEvents::empty();
        if let Some(listener) = self.listener.get() {
            let is_over = self.no_more_receiving.load(Ordering::Acquire);
            events.set(READABLE, is_over || listener.has_waiting());
            events.set(PollEvents::RDHUP, is_over);
            events.set(PollEvents::HUP, is_over);
            return events;
        }
        if self.kind.is_connected() && !self.has_been_connected() {
            return WRITABLE | PollEvents::HUP;
        }
        let no_more_receiving = self.no_more_receiving.load(Ordering::Acquire);
        let no_more_sending = self.no_more_sending.load(Ordering::Acquire);
        let used = self.used_slots.load(Ordering::Relaxed);
        events.set(READABLE, used > 0 || no_more_receiving);
        events.set(PollEvents::RDHUP, no_more_receiving);
        events.set(PollEvents::HUP, no_more_receiving && no_more_sending);
        events.set(PollEvents::ERR, self.error.load(Ordering::Relaxed) != 0);
        let peer = self.peer();
        let has_room = || {
            let in_flight = peer.as_ref().map_or(0, |peer| peer.used_slots.load(Ordering::Relaxed));
            in_flight * 4 <= self.most_slots()
        };
        let mut is_writable = has_room();
        if !is_writable
            && self.kind == SocketKind::Datagram
            && let Some(peer) = &peer
        {
            peer.note_waiting_sender(self);
            is_writable = has_room();
        }
        events.set(WRITABLE, is_writable);
        events
    }

    fn shut(&self, what: Shutdown) {
        if what.receiving {
            self.no_more_receiving.store(true, Ordering::Release);
        }
        if what.sending {
            self.no_more_sending.store(true, Ordering::Release);
        }
        self.changed.wake_all();
    }
}

impl Waitable for Endpoint {
    fn wait_queue(&self) -> &WaitQueue {
        &self.changed
    }

    fn is_worth_an_attempt(&self, events: u32) -> bool {
        events != READABLE.bits()
            || self.used_slots.load(Ordering::Relaxed) > 0
            || self.no_more_receiving.load(Ordering::Acquire)
            || self.listener.get().is_some()
    }
}

impl UnixSocket {
    /// Two sockets that are each other's peers.
    pub fn pair(kind: SocketKind, made_by: PeerCredentials) -> Result<[Arc<Self>; 2], Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let ends = [Endpoint::new(kind), Endpoint::new(kind)];
        for (end, other) in [(0, 1), (1, 0)] {
            let other = Arc::downgrade(&ends[other]);
            ends[end].peer_made_by.call_once(|| made_by);
            match kind {
                SocketKind::Datagram => *ends[end].destination.lock() = Some(other),
                _ => drop(ends[end].peer.call_once(|| other)),
            }
        }
        Ok(ends.map(|endpoint| Arc::new(Self { endpoint })))
    }

    /// A socket that is not connected.
    pub fn single(kind: SocketKind) -> Result<Arc<Self>, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        Ok(Arc::new(Self { endpoint: Endpoint::new(kind) }))
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Who made the other end.
    pub fn peer_credentials(&self) -> PeerCredentials {
        let endpoint = &self.endpoint;
        let listens = endpoint.listener.get().map(Listener::made_by);
        endpoint.peer_made_by.get().copied().or(listens).unwrap_or(PeerCredentials::NOBODY)
    }

    /// Sets whether this end is told who sent something.
    pub fn set_passes_credentials(&self, value: bool) {
        self.endpoint.passes_credentials.store(value, Ordering::Relaxed);
    }

    /// Takes the error that waits to be told (`SO_ERROR`).
    pub fn take_error(&self) -> i32 {
        self.endpoint.error.swap(0, Ordering::Relaxed)
    }

    /// The limits of what is in flight: as sender and as receiver, in bytes.
    pub fn limits(&self) -> (usize, usize) {
        let endpoint = &self.endpoint;
        (endpoint.send_limit.load(Ordering::Relaxed), endpoint.receive_limit.load(Ordering::Relaxed))
    }

    /// Sets a limit. As on Linux, what is asked for is doubled, and kept within bounds.
    pub fn set_limit(&self, is_sender: bool, bytes: usize) {
        let bytes = bytes.saturating_mul(2).clamp(LEAST_BUFFER_BYTES, MOST_BUFFER_BYTES);
        let endpoint = &self.endpoint;
        let limit = if is_sender { &endpoint.send_limit } else { &endpoint.receive_limit };
        limit.store(bytes, Ordering::Relaxed);
        endpoint.changed.wake_all_for(WRITABLE.bits());
    }
}

/// The options that local sockets have (`SO_`).
mod option {
    pub const TYPE: i32 = 3;
    pub const ERROR: i32 = 4;
    pub const SNDBUF: i32 = 7;
    pub const RCVBUF: i32 = 8;
    pub const PASSCRED: i32 = 16;
    pub const PEERCRED: i32 = 17;
    pub const ACCEPTCONN: i32 = 30;
    pub const PROTOCOL: i32 = 38;
    pub const DOMAIN: i32 = 39;
}

impl Socket for UnixSocket {
    fn family(&self) -> i32 {
        AF_UNIX
    }

    fn socket_kind(&self) -> SocketKind {
        self.endpoint.kind
    }

    fn try_bind(&self, name: &[u8], caller: &Arc<Thread>) -> Attempt<()> {
        names::try_bind(&self.endpoint, name, caller)
    }

    fn listen(&self, backlog: i32) -> Result<(), Errno> {
        self.endpoint.listen(backlog)
    }

    fn try_connect(&self, name: &[u8], _is_first: bool, caller: &Arc<Thread>) -> Attempt<()> {
        self.endpoint.try_connect(name, caller)
    }

    fn connection_pending(&self) -> Errno {
        // Nothing is under way: the other's queue is full.
        Errno::EAGAIN
    }

    fn try_accept(&self) -> Attempt<Arc<dyn File>> {
        Ok(self.endpoint.try_accept()?)
    }

    fn local_name(&self) -> Result<SocketName, Errno> {
        Ok(self.endpoint.name().cloned().unwrap_or_else(no_name))
    }

    fn peer_name(&self) -> Result<SocketName, Errno> {
        if !self.endpoint.has_been_connected() {
            return Err(Errno::ENOTCONN);
        }
        let name = self.endpoint.peer().and_then(|peer| peer.name().cloned());
        Ok(name.unwrap_or_else(no_name))
    }

    fn try_send(&self, buffer: &mut UserBuffer, flags: MessageFlags, outgoing: &mut Outgoing) -> Attempt {
        let endpoint = &self.endpoint;
        let receiver = match &outgoing.name {
            Some(name) if endpoint.kind == SocketKind::Datagram => {
                let caller = current_thread().ok_or(Errno::EINVAL)?;
                let other = names::try_find(endpoint, &LocalName::parse(name)?, &caller)?;
                if other.kind != endpoint.kind {
                    return Err(Errno::EPROTOTYPE.into());
                }
                Some(other)
            }
            Some(_) if endpoint.kind == SocketKind::Stream => {
                let is_connected = endpoint.has_been_connected();
                return Err(if is_connected { Errno::EISCONN } else { Errno::EOPNOTSUPP }.into());
            }
            _ => None,
        };
        endpoint.send(receiver, buffer, flags, &mut outgoing.ancillary)
    }

    fn try_receive(&self, buffer: &mut UserBuffer, flags: MessageFlags, received: &mut Received) -> Attempt {
        let bytes = self.endpoint.receive(buffer, flags, received)?;
        received.name = self.endpoint.sender_of(received);
        Ok(bytes)
    }

    fn shut_down(&self, what: Shutdown) -> Result<(), Errno> {
        self.endpoint.shut(what);
        if self.socket_kind().is_connected()
            && let Some(peer) = self.endpoint.peer()
        {
            peer.shut(Shutdown { receiving: what.sending, sending: what.receiving });
        }
        Ok(())
    }

    fn option(&self, level: i32, option: i32) -> Result<OptionValue, Errno> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let number = match option {
            option::TYPE => self.socket_kind().number(),
            option::ERROR => self.take_error(),
            option::SNDBUF => self.limits().0 as i32,
            option::RCVBUF => self.limits().1 as i32,
            option::PASSCRED => i32::from(self.passes_credentials()),
            option::ACCEPTCONN => i32::from(self.endpoint.listener.get().is_some()),
            option::PROTOCOL => 0,
            option::DOMAIN => AF_UNIX,
            option::PEERCRED => {
                let peer = self.peer_credentials();
                let numbers = [peer.process, peer.user as i32, peer.group as i32];
                return Ok(numbers.into_iter().flat_map(i32::to_le_bytes).collect());
            }
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(number_value(number))
    }

    fn set_option(&self, level: i32, option: i32, value: &[u8], _caller: &Thread) -> Result<(), Errno> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let number = number_of(value)?;
        match option {
            option::SNDBUF | option::RCVBUF => {
                self.set_limit(option == option::SNDBUF, number.max(0) as usize)
            }
            option::PASSCRED => self.set_passes_credentials(number != 0),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn wants_credentials(&self) -> bool {
        let wants = |endpoint: &Endpoint| endpoint.passes_credentials.load(Ordering::Relaxed);
        wants(&self.endpoint) || self.endpoint.peer().is_some_and(|peer| wants(&peer))
    }

    fn passes_credentials(&self) -> bool {
        self.endpoint.passes_credentials.load(Ordering::Relaxed)
    }
}

impl Waitable for UnixSocket {
    fn wait_queue(&self) -> &WaitQueue {
        &self.endpoint.changed
    }
}

impl File for UnixSocket {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        self.endpoint.receive(buffer, MessageFlags::empty(), &mut Received::default())
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        self.endpoint.send(None, buffer, MessageFlags::empty(), &mut None)
    }

    fn ready(&self) -> PollEvents {
        self.endpoint.ready()
    }

    fn kind(&self) -> FileType {
        FileType::Socket
    }

    fn number(&self) -> u64 {
        self.endpoint.number
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        write!(output, "socket:[{}]", self.endpoint.number)
    }

    fn as_socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn try_control(&self, request: u32, argument: usize, memory: &UserMemory, _caller: &Thread) -> Attempt {
        if request != FIONREAD {
            // Any socket answers for the machine's interfaces.
            return interface::control(request, argument, memory);
        }
        let endpoint = &self.endpoint;
        let bytes = match endpoint.kind {
            SocketKind::Stream => endpoint.bytes.load(Ordering::Relaxed),
            // The next message.
            _ => endpoint.turn()?.front().map_or(0, |slot| slot.len()),
        };
        memory.write(VirtAddr::new(argument), &(bytes as i32))?;
        Ok(0)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let endpoint = &self.endpoint;
        endpoint.shut(Shutdown { receiving: true, sending: true });
        if let Some(listener) = endpoint.listener.get() {
            listener.turn_away();
        }
        let has_unread =
            endpoint.used_slots.load(Ordering::Relaxed) > 0 || endpoint.is_waiting.load(Ordering::Acquire);
        if let Some(peer) = endpoint.peer()
            && endpoint.kind.is_connected()
        {
            if has_unread {
                peer.error.store(Errno::ECONNRESET as i32, Ordering::Relaxed);
            }
            peer.shut(Shutdown { receiving: true, sending: true });
        } else if let Some(peer) = endpoint.peer() {
            peer.changed.wake_all();
        }
        endpoint.wake_waiting_senders();
        // What was not received goes with the socket: descriptors that are on their way are let go of.
        let unread = endpoint.incoming.try_lock().map(|mut ring| core::mem::take(&mut *ring));
        drop(unread);
        garbage::collect();
    }
}
