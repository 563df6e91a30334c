//! UDP endpoints.
//!
//! A datagram goes into the receiver's queue at once; one that finds the queue full, or nobody, is lost, as it may be on
//! any network. Who is connected is told that nobody was there.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::poll::PollEvents;
use smoltcp::wire::{IpProtocol, UdpPacket, UdpRepr};

use crate::address::{Address, Name, Scope};
use crate::options::Options;
use crate::packet::{HOP_LIMIT, Opened, Packet, checksums, wire_address};
use crate::ports::{Claim, Listed, Ports};
use crate::stack::card::Card;
use crate::{READABLE, WRITABLE, route, settings, stack};

/// The ports of UDP.
pub static PORTS: Ports<Endpoint> = Ports::new();

/// Bytes of the largest datagram over IPv4 and over IPv6.
const MOST_BYTES: [usize; 2] = [65507, 65527];
/// What a datagram costs beside its bytes, for the receiver's limit.
const OVERHEAD: usize = 512;

/// One datagram.
#[derive(Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub from: Name,
    /// Where it was sent.
    pub to: Address,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

#[derive(Default)]
struct Queue {
    datagrams: VecDeque<Arc<Datagram>>,
    cost: usize,
}

struct Details {
    options: Options,
    bound: Option<Scope>,
    /// The program asked for the port.
    has_asked: bool,
    local: Name,
    user: u32,
}

/// An endpoint.
pub struct Endpoint {
    is_v6: bool,
    tag: AtomicU64,
    details: SpinLock<Details>,
    /// Who it is connected with: looked at under the ports.
    remote: SpinLock<Option<Name>>,
    queue: SpinLock<Queue>,
    /// Datagrams in the queue.
    waiting: AtomicUsize,
    error: AtomicI32,
    receive_limit: AtomicUsize,
    send_limit: AtomicUsize,
    receiving_ended: AtomicBool,
    sending_ended: AtomicBool,
    lost: AtomicU64,
    changed: WaitQueue,
}

impl Endpoint {
    /// An endpoint without a name.
    pub fn new(is_v6: bool) -> Arc<Self> {
        Arc::new(Self {
            is_v6,
            tag: AtomicU64::new(0),
            details: SpinLock::new(
                Rank::ENDPOINT,
                Details {
                    options: Options::default(),
                    bound: None,
                    has_asked: false,
                    local: Name::default(),
                    user: 0,
                },
            ),
            remote: SpinLock::new(Rank::DATAGRAMS, None),
            queue: SpinLock::new(Rank::DATAGRAMS, Queue::default()),
            waiting: AtomicUsize::new(0),
            error: AtomicI32::new(0),
            receive_limit: AtomicUsize::new(settings::DATAGRAM_BYTES),
            send_limit: AtomicUsize::new(settings::DATAGRAM_BYTES),
            receiving_ended: AtomicBool::new(false),
            sending_ended: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            changed: WaitQueue::new("udp"),
        })
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

    /// Takes the error that waits to be told.
    pub fn take_error(&self) -> Option<Errno> {
        if self.error.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Errno::from_code(self.error.swap(0, Ordering::AcqRel))
    }

    /// Its options.
    pub fn options(&self) -> Options {
        self.details.lock().options
    }

    /// Changes options.
    pub fn change_options<R>(&self, change: impl FnOnce(&mut Options) -> R) -> R {
        change(&mut self.details.lock().options)
    }

    /// Its own name.
    pub fn local_name(&self) -> Name {
        self.details.lock().local
    }

    /// Whether it has a port.
    pub fn is_bound(&self) -> bool {
        self.details.lock().bound.is_some()
    }

    /// The name of who it is connected with.
    pub fn peer_name(&self) -> Result<Name, Errno> {
        self.remote.lock().ok_or(Errno::ENOTCONN)
    }

    /// The limits of what it receives and sends ahead.
    pub fn limits(&self) -> (usize, usize) {
        (self.receive_limit.load(Ordering::Relaxed), self.send_limit.load(Ordering::Relaxed))
    }

    /// Sets the receiver's limit.
    pub fn set_receive_limit(&self, bytes: usize) {
        self.receive_limit.store(bytes.max(settings::LEAST_RECEIVE_BYTES), Ordering::Relaxed);
    }

    /// Sets the sender's limit.
    pub fn set_send_limit(&self, bytes: usize) {
        self.send_limit.store(bytes.max(settings::LEAST_SEND_BYTES), Ordering::Relaxed);
    }

    fn any_address(&self) -> Address {
        if self.is_v6 { Address::ANY_V6 } else { Address::ANY_V4 }
    }

    /// Gives it a name; port 0 is any.
    pub fn bind(self: &Arc<Self>, name: Name, user: u32) -> Result<(), Errno> {
        if !name.address.is_any() && !route::is_own(name.address) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let mut details = self.details.lock();
        if details.bound.is_some() {
            return Err(Errno::EINVAL);
        }
        details.user = user;
        let scope = Scope { address: name.address, only_v6: self.is_v6 && details.options.only_v6 };
        let claim = Claim {
            scope,
            reuse_address: details.options.reuse_address,
            reuse_port: details.options.reuse_port,
            user,
        };
        let port = PORTS.bind(name.port, claim, self)?;
        details.bound = Some(scope);
        details.has_asked = name.port != 0;
        details.local = Name::new(name.address, port);
        Ok(())
    }

    fn bind_any(self: &Arc<Self>, user: u32) -> Result<(), Errno> {
        if self.is_bound() { Ok(()) } else { self.bind(Name::new(self.any_address(), 0), user) }
    }

    /// Sends to this name from now on, and receives from nobody else.
    pub fn connect(self: &Arc<Self>, to: Name, user: u32) -> Result<(), Errno> {
        let (source, address) = self.reach(to.address)?;
        self.bind_any(user)?;
        *self.remote.lock() = Some(Name::new(address, to.port));
        let mut details = self.details.lock();
        if details.local.address.is_any() {
            details.local.address = source;
        }
        Ok(())
    }

    /// Sends and receives without a connection again.
    pub fn disconnect(&self) {
        *self.remote.lock() = None;
        let mut details = self.details.lock();
        let Some(scope) = details.bound else { return };
        details.local.address = scope.address;
        if !details.has_asked {
            let port = details.local.port;
            details.bound = None;
            details.local = Name::default();
            drop(details);
            PORTS.unbind(port, self);
        }
    }

    /// The way to an address: from where, and where it arrives.
    fn reach(&self, address: Address) -> Result<(Address, Address), Errno> {
        let details = self.details.lock();
        let (source, destination) = route::to(address)?;
        let own = details.bound.map(|scope| scope.address).filter(|address| !address.is_any());
        let source = own.unwrap_or(source);
        let is_mapped_forbidden = details.options.only_v6 && destination.is_v4();
        if source.is_v4() != destination.is_v4() || is_mapped_forbidden {
            return Err(Errno::ENETUNREACH);
        }
        Ok((source, destination))
    }

    /// How many bytes may be sent at once.
    pub fn most_bytes(&self) -> usize {
        MOST_BYTES[usize::from(self.is_v6)]
    }

    /// Sends a datagram to a name, or to who it is connected with.
    pub fn send(self: &Arc<Self>, bytes: Vec<u8>, to: Option<Name>, user: u32) -> Result<(), Errno> {
        let connected = *self.remote.lock();
        let to = to.or(connected).ok_or(Errno::EDESTADDRREQ)?;
        if to.port == 0 {
            return Err(Errno::EINVAL);
        }
        if bytes.len() > self.most_bytes() {
            return Err(Errno::EMSGSIZE);
        }
        if let Some(errno) = self.take_error() {
            return Err(errno);
        }
        if self.sending_ended.load(Ordering::Relaxed) {
            return Err(Errno::EPIPE);
        }
        let (source, address) = self.reach(to.address)?;
        self.bind_any(user)?;
        let from = Name::new(source, self.local_name().port);
        let to = Name::new(address, to.port);
        if !route::is_own(address) || !settings::is_fused() {
            return send_packets(from, to, &bytes);
        }
        let datagram = Arc::new(Datagram { from, to: address, bytes });
        match receiver_of(from, to) {
            Some(receiver) => receiver.take_in(datagram),
            None if connected == Some(to) => {
                self.error.store(Errno::ECONNREFUSED as i32, Ordering::Release);
                self.changed.wake_all();
            }
            None => {}
        }
        Ok(())
    }

    fn take_in(&self, datagram: Arc<Datagram>) {
        let cost = datagram.bytes.len() + OVERHEAD;
        let mut queue = self.queue.lock();
        let is_full = queue.cost + cost > self.receive_limit.load(Ordering::Relaxed) && queue.cost > 0;
        if is_full || queue.datagrams.try_reserve(1).is_err() {
            drop(queue);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.datagrams.push_back(datagram);
        queue.cost += cost;
        self.waiting.store(queue.datagrams.len(), Ordering::SeqCst);
        drop(queue);
        self.changed.wake_one_for(READABLE.bits());
    }

    /// The next datagram; `None` if nothing will come any more, `EAGAIN` if nothing is there.
    pub fn receive(&self, peek: bool) -> Result<Option<Arc<Datagram>>, Errno> {
        if let Some(errno) = self.take_error() {
            return Err(errno);
        }
        let ended = self.receiving_ended.load(Ordering::Acquire);
        let mut queue = self.queue.lock();
        let next = if peek { queue.datagrams.front().cloned() } else { queue.datagrams.pop_front() };
        match next {
            Some(datagram) if peek => Ok(Some(datagram)),
            Some(datagram) => {
                queue.cost -= datagram.bytes.len() + OVERHEAD;
                self.waiting.store(queue.datagrams.len(), Ordering::SeqCst);
                Ok(Some(datagram))
            }
            None if ended => Ok(None),
            None => Err(Errno::EAGAIN),
        }
    }

    /// A datagram that could not be received yet goes back to the front.
    pub fn put_back(&self, datagram: Arc<Datagram>) {
        let mut queue = self.queue.lock();
        queue.cost += datagram.bytes.len() + OVERHEAD;
        queue.datagrams.push_front(datagram);
        self.waiting.store(queue.datagrams.len(), Ordering::SeqCst);
    }

    /// Bytes of the next datagram.
    pub fn next_bytes(&self) -> usize {
        self.queue.lock().datagrams.front().map_or(0, |datagram| datagram.bytes.len())
    }

    /// What its queue costs, and how many datagrams were lost.
    pub fn queue_state(&self) -> (usize, u64) {
        (self.queue.lock().cost, self.lost.load(Ordering::Relaxed))
    }

    /// Ends directions (`shutdown`).
    pub fn shut_down(&self, receiving: bool, sending: bool) -> Result<(), Errno> {
        let is_connected = self.peer_name().is_ok();
        self.receiving_ended.fetch_or(receiving, Ordering::AcqRel);
        self.sending_ended.fetch_or(sending, Ordering::AcqRel);
        self.changed.wake_all();
        if is_connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    /// What could be done without waiting.
    pub fn ready(&self) -> PollEvents {
        let receiving_ended = self.receiving_ended.load(Ordering::Acquire);
        let sending_ended = self.sending_ended.load(Ordering::Acquire);
        let mut events = WRITABLE;
        events.set(READABLE, receiving_ended || self.waiting.load(Ordering::Acquire) > 0);
        events.set(PollEvents::RDHUP, receiving_ended);
        events.set(PollEvents::HUP, receiving_ended && sending_ended);
        events.set(PollEvents::ERR, self.error.load(Ordering::Relaxed) != 0);
        events
    }

    /// The program has closed it.
    pub fn close(&self) {
        let mut details = self.details.lock();
        let was_bound = details.bound.take().is_some();
        let port = details.local.port;
        drop(details);
        if was_bound {
            PORTS.unbind(port, self);
        }
    }
}

/// Who is to receive what is sent from one name to another.
fn receiver_of(from: Name, to: Name) -> Option<Arc<Endpoint>> {
    let pick = usize::from(from.port);
    let hears = |endpoint: &Endpoint, wanted: Option<Name>| *endpoint.remote.lock() == wanted;
    PORTS
        .find(to, pick, |endpoint| hears(endpoint, Some(from)))
        .or_else(|| PORTS.find(to, pick, |endpoint| hears(endpoint, None)))
}

/// Sends a datagram as a packet: `EMSGSIZE` if it does not fit into one.
fn send_packets(from: Name, to: Name, bytes: &[u8]) -> Result<(), Errno> {
    let header = UdpRepr { src_port: from.port, dst_port: to.port };
    let len = header.header_len() + bytes.len();
    let ip_bytes = if to.address.is_v4() { 20 } else { 40 };
    if len + ip_bytes > stack::packet_limit(to.address) {
        return Err(Errno::EMSGSIZE);
    }
    let built = Packet::ip(from.address, to.address, IpProtocol::Udp, len, HOP_LIMIT);
    let (mut packet, start) = built.ok_or(Errno::ENOBUFS)?;
    header.emit(
        &mut UdpPacket::new_unchecked(&mut packet.as_mut()[start..]),
        &wire_address(from.address),
        &wire_address(to.address),
        bytes.len(),
        |place| place.copy_from_slice(bytes),
        &checksums(stack::needs_checksums(to.address)),
    );
    stack::send(packet, to.address);
    stack::loopback::QUEUE.take_in();
    Ok(())
}

/// Takes a datagram in; false if it was none, or nobody's.
pub(crate) fn receive_packet(opened: &Opened<'_>, packet: &Packet, card: Option<&Card>) -> bool {
    let (source, destination) = (wire_address(opened.source), wire_address(opened.destination));
    let Ok(datagram) = UdpPacket::new_checked(opened.payload) else { return false };
    let Ok(header) = UdpRepr::parse(&datagram, &source, &destination, &checksums(!packet.is_verified)) else {
        return false;
    };
    let (from, to) =
        (Name::new(opened.source, header.src_port), Name::new(opened.destination, header.dst_port));
    let Some(receiver) = receiver_of(from, to) else {
        if card.is_none() || route::is_own(opened.destination) {
            stack::refuse(opened);
        }
        return false;
    };
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(datagram.payload().len()).is_ok() {
        bytes.extend_from_slice(datagram.payload());
        receiver.take_in(Arc::new(Datagram { from, to: opened.destination, bytes }));
    }
    true
}

/// Nobody was where this name sent something.
pub(crate) fn be_refused(own: Name, to: Name) {
    if let Some(endpoint) = PORTS.find(own, 0, |endpoint| *endpoint.remote.lock() == Some(to)) {
        endpoint.error.store(Errno::ECONNREFUSED as i32, Ordering::Release);
        endpoint.changed.wake_all();
    }
}

/// Everything that has a port.
pub fn list() -> Vec<Listed<Endpoint>> {
    PORTS.list(|_| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> (Arc<Endpoint>, Name) {
        let endpoint = Endpoint::new(false);
        endpoint.bind(Name::new(Address::LOOPBACK_V4, 0), 0).unwrap();
        let name = endpoint.local_name();
        (endpoint, name)
    }

    #[test]
    fn datagrams_arrive_with_the_name_of_the_sender() {
        let ((one, one_name), (two, two_name)) = (bound(), bound());
        one.send(std::vec![1, 2, 3], Some(two_name), 0).unwrap();
        one.send(std::vec![], Some(two_name), 0).unwrap();
        assert!(two.ready().contains(READABLE));
        assert_eq!(two.next_bytes(), 3);
        let peeked = two.receive(true).unwrap().unwrap();
        let first = two.receive(false).unwrap().unwrap();
        assert_eq!((peeked, first.from), (first.clone(), one_name));
        assert_eq!(two.receive(false).unwrap().unwrap().bytes.len(), 0);
        assert_eq!(two.receive(false), Err(Errno::EAGAIN));
        assert_eq!(one.send(std::vec![], None, 0), Err(Errno::EDESTADDRREQ));
    }

    #[test]
    fn who_is_connected_hears_one_and_is_told_of_nobody() {
        let ((one, one_name), (two, two_name), (other, _)) = (bound(), bound(), bound());
        one.connect(two_name, 0).unwrap();
        other.send(std::vec![9], Some(one_name), 0).unwrap();
        assert_eq!(one.receive(false), Err(Errno::EAGAIN));
        two.send(std::vec![7], Some(one_name), 0).unwrap();
        assert_eq!(one.receive(false).unwrap().unwrap().bytes, [7]);
        two.close();
        assert_eq!(one.send(std::vec![1], None, 0), Ok(()));
        assert!(one.ready().contains(PollEvents::ERR));
        assert_eq!(one.receive(false), Err(Errno::ECONNREFUSED));
        assert_eq!(one.send(std::vec![1], None, 0), Ok(()));
        one.disconnect();
        assert_eq!(one.peer_name(), Err(Errno::ENOTCONN));
    }

    #[test]
    fn a_full_queue_loses_what_comes() {
        let ((one, _), (two, two_name)) = (bound(), bound());
        two.set_receive_limit(3 * 1024);
        for _ in 0..5 {
            one.send(std::vec![0; 512], Some(two_name), 0).unwrap();
        }
        assert_eq!(two.queue_state().1, 2);
        let received = core::iter::from_fn(|| two.receive(false).ok()).count();
        assert_eq!(received, 3);
        assert_eq!(one.send(std::vec![0; 65508], Some(two_name), 0), Err(Errno::EMSGSIZE));
    }
}
