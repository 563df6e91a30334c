//! Sockets of `AF_NETLINK`: requests to the kernel, and its answers.
//!
//! A request is answered while it is sent ([`route`]); the answers wait in the socket's queue as datagrams. The kernel is
//! the one there is to talk to: other sockets cannot be reached. Of the protocols there is `NETLINK_ROUTE`. Extended
//! acknowledgements and strict checking are refused where a program asks for them.

mod interfaces;
mod message;
mod options;
mod route;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::capability::Capabilities;
use linux_abi::poll::PollEvents;
use linux_abi::stat::FileType;

use super::{
    MessageFlags, OptionValue, Outgoing, PeerCredentials, Received, Shutdown, Socket, SocketKind, SocketName,
};
use crate::file::{File, UserMemory, anonymous_number};
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::random;
use crate::socket::internet::interface;
use crate::thread::{Thread, current_thread};
use crate::user_buffer::UserBuffer;
use options::Options;

/// The family.
pub const AF_NETLINK: i32 = 16;
const SOCK_RAW: i32 = 3;
const SOCK_DGRAM: i32 = 2;
const NETLINK_ROUTE: i32 = 0;
/// Bytes of `struct sockaddr_nl`.
const NAME_BYTES: usize = 12;
/// What a datagram costs beside its bytes.
const OVERHEAD_BYTES: usize = 32;

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM).union(PollEvents::WRBAND);

/// The ports that are taken.
static PORTS: SpinLock<BTreeSet<u32>> = SpinLock::new(Rank::PORTS, BTreeSet::new());

#[derive(Default)]
struct State {
    /// Its name, once it has one.
    port: Option<u32>,
    /// A bit for each group that it has joined.
    groups: u64,
    options: Options,
    answers: VecDeque<Arc<[u8]>>,
    bytes: usize,
    /// Answers were lost: the next call says so.
    has_lost: bool,
}

/// A socket's state; who waits for answers refers to it as well.
struct Endpoint {
    /// `SOCK_RAW` or `SOCK_DGRAM`, which are the same.
    kind: i32,
    number: u64,
    state: SpinLock<State>,
    changed: WaitQueue,
}

/// A socket.
pub struct NetlinkSocket {
    endpoint: Arc<Endpoint>,
}

/// A name: port and groups.
fn name_of(port: u32, groups: u32) -> SocketName {
    let mut name = SocketName::new();
    for part in [AF_NETLINK as u32, port, groups] {
        let _ = name.extend_from_slice(&part.to_le_bytes());
    }
    name
}

/// The port and the groups of a name.
fn parse_name(name: &[u8]) -> Result<(u32, u32), Errno> {
    let name: &[u8; NAME_BYTES] = name.first_chunk().ok_or(Errno::EINVAL)?;
    let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
    if word(0) as u16 != AF_NETLINK as u16 { Err(Errno::EINVAL) } else { Ok((word(4), word(8))) }
}

impl NetlinkSocket {
    /// A socket of a protocol.
    pub fn create(kind: i32, protocol: i32) -> Result<Arc<Self>, Errno> {
        if kind != SOCK_RAW && kind != SOCK_DGRAM {
            return Err(Errno::ESOCKTNOSUPPORT);
        }
        if protocol != NETLINK_ROUTE {
            return Err(Errno::EPROTONOSUPPORT);
        }
        let endpoint = Arc::new(Endpoint {
            kind,
            number: anonymous_number(),
            state: SpinLock::new(Rank::ENDPOINT, State::default()),
            changed: WaitQueue::new("netlink socket"),
        });
        Ok(Arc::new(Self { endpoint }))
    }
}

impl Endpoint {
    /// Takes a port: this one, or if it is 0 the process's number or any that is free. Who has one keeps it.
    fn take_port(&self, wanted: u32, process: i32) -> Result<u32, Errno> {
        let mut state = self.state.lock();
        if let Some(port) = state.port {
            return if wanted == 0 || wanted == port { Ok(port) } else { Err(Errno::EINVAL) };
        }
        let mut ports = PORTS.lock();
        let port = if wanted != 0 {
            wanted
        } else {
            let mut port = process as u32;
            while ports.contains(&port) {
                // Above all numbers of processes.
                const NO_PROCESS: u32 = 1 << 31;
                port = u32::from_le_bytes(random::bytes()) | NO_PROCESS;
            }
            port
        };
        if !ports.insert(port) {
            return Err(Errno::EADDRINUSE);
        }
        state.port = Some(port);
        Ok(port)
    }

    fn send(&self, buffer: &mut UserBuffer, name: Option<&[u8]>) -> Attempt {
        let caller = current_thread().ok_or(Errno::EPERM)?;
        let is_administrator = caller.credentials().has(Capabilities::NET_ADMIN);
        if let Some(name) = name {
            let (port, groups) = parse_name(name)?;
            match (port, groups) {
                (0, 0) => {}
                _ if groups != 0 && !is_administrator => return Err(Errno::EPERM.into()),
                (_, 0) => return Err(Errno::ECONNREFUSED.into()),
                _ => return Err(Errno::EOPNOTSUPP.into()),
            }
        }
        let port = self.take_port(0, caller.process().id())?;
        let len = buffer.remaining();
        if len == 0 {
            return Err(Errno::ENODATA.into());
        }
        let (send_limit, caps_errors) = {
            let options = &self.state.lock().options;
            (options.send_limit, options.caps_errors)
        };
        if len > send_limit.saturating_sub(OVERHEAD_BYTES) {
            return Err(Errno::EMSGSIZE.into());
        }
        let mut request = Vec::new();
        request.try_reserve_exact(len).map_err(|_| Errno::ENOBUFS)?;
        request.resize(len, 0);
        let mark = buffer.mark();
        if let Err(obstacle) = buffer.copy_in(&mut request) {
            // All of it or nothing.
            buffer.rewind(mark);
            return Err(obstacle);
        }
        let asking = route::Asking { port, is_administrator, caps_errors };
        let may_dump = {
            let state = self.state.lock();
            state.bytes < state.options.receive_limit
        };
        for answer in route::answers(&request, &asking, may_dump) {
            self.deliver(answer);
        }
        self.changed.wake_all();
        Ok(buffer.done())
    }

    /// Puts an answer into the queue, or loses it where that is full.
    fn deliver(&self, answer: Vec<u8>) {
        let mut state = self.state.lock();
        if state.bytes >= state.options.receive_limit {
            state.has_lost |= !state.options.ignores_loss;
            return;
        }
        state.bytes += answer.len() + OVERHEAD_BYTES;
        state.answers.push_back(answer.into());
    }

    fn receive(
        self: &Arc<Self>,
        buffer: &mut UserBuffer,
        flags: MessageFlags,
        received: &mut Received,
    ) -> Attempt {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let is_peek = flags.contains(MessageFlags::PEEK);
        let (answer, tells_credentials) = {
            let mut state = self.state.lock();
            if core::mem::take(&mut state.has_lost) {
                return Err(Errno::ENOBUFS.into());
            }
            let front = if is_peek { state.answers.front().cloned() } else { state.answers.pop_front() };
            let Some(answer) = front else {
                return Err(Obstacle::NotReadyFor(self.clone(), READABLE));
            };
            if !is_peek {
                state.bytes -= answer.len() + OVERHEAD_BYTES;
            }
            (answer, state.options.passes_credentials)
        };
        let mark = buffer.mark();
        if let Err(obstacle) = buffer.copy_out(&answer) {
            buffer.rewind(mark);
            if !is_peek {
                let mut state = self.state.lock();
                state.bytes += answer.len() + OVERHEAD_BYTES;
                state.answers.push_front(answer);
            }
            return Err(obstacle);
        }
        let moved = buffer.done() - mark.done();
        received.flags.set(MessageFlags::TRUNC, moved < answer.len());
        received.name = Some(name_of(0, 0));
        if tells_credentials {
            // The kernel's own.
            let ancillary = received.ancillary.get_or_insert_default();
            ancillary.credentials = Some(PeerCredentials::default());
        }
        Ok(if flags.contains(MessageFlags::TRUNC) { answer.len() } else { moved })
    }
}

impl Socket for NetlinkSocket {
    fn family(&self) -> i32 {
        AF_NETLINK
    }

    fn socket_kind(&self) -> SocketKind {
        SocketKind::Datagram
    }

    fn protocol(&self) -> i32 {
        NETLINK_ROUTE
    }

    fn try_bind(&self, name: &[u8], caller: &Arc<Thread>) -> Attempt<()> {
        let (port, groups) = parse_name(name)?;
        self.endpoint.take_port(port, caller.process().id())?;
        let mut state = self.endpoint.state.lock();
        // A name has room for the first groups only.
        state.groups = state.groups & !u64::from(u32::MAX) | u64::from(groups);
        Ok(())
    }

    fn try_connect(&self, name: &[u8], _is_first: bool, caller: &Arc<Thread>) -> Attempt<()> {
        const AF_UNSPEC: [u8; 2] = [0; 2];
        if name.starts_with(&AF_UNSPEC) {
            return Ok(());
        }
        match parse_name(name)? {
            (0, 0) => {}
            _ if caller.credentials().has(Capabilities::NET_ADMIN) => return Err(Errno::EOPNOTSUPP.into()),
            _ => return Err(Errno::EPERM.into()),
        }
        self.endpoint.take_port(0, caller.process().id())?;
        Ok(())
    }

    fn local_name(&self) -> Result<SocketName, Errno> {
        let state = self.endpoint.state.lock();
        Ok(name_of(state.port.unwrap_or(0), state.groups as u32))
    }

    fn peer_name(&self) -> Result<SocketName, Errno> {
        Ok(name_of(0, 0))
    }

    fn try_send(&self, buffer: &mut UserBuffer, flags: MessageFlags, outgoing: &mut Outgoing) -> Attempt {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        self.endpoint.send(buffer, outgoing.name.as_deref())
    }

    fn try_receive(&self, buffer: &mut UserBuffer, flags: MessageFlags, received: &mut Received) -> Attempt {
        self.endpoint.receive(buffer, flags, received)
    }

    fn shut_down(&self, _what: Shutdown) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn option(&self, level: i32, option: i32) -> Result<OptionValue, Errno> {
        options::get(&self.endpoint, level, option)
    }

    fn set_option(&self, level: i32, option: i32, value: &[u8], caller: &Thread) -> Result<(), Errno> {
        options::set(&self.endpoint, level, option, value, caller)
    }

    fn receive_limit(&self) -> Option<Duration> {
        self.endpoint.state.lock().options.receive_timeout
    }

    fn send_limit(&self) -> Option<Duration> {
        self.endpoint.state.lock().options.send_timeout
    }

    fn passes_credentials(&self) -> bool {
        self.endpoint.state.lock().options.passes_credentials
    }
}

impl Waitable for Endpoint {
    fn wait_queue(&self) -> &WaitQueue {
        &self.changed
    }
}

impl Waitable for NetlinkSocket {
    fn wait_queue(&self) -> &WaitQueue {
        &self.endpoint.changed
    }
}

impl File for NetlinkSocket {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        self.endpoint.receive(buffer, MessageFlags::empty(), &mut Received::default())
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        self.endpoint.send(buffer, None)
    }

    fn ready(&self) -> PollEvents {
        let state = self.endpoint.state.lock();
        let mut events = WRITABLE;
        events.set(READABLE, !state.answers.is_empty());
        events.set(PollEvents::ERR, state.has_lost);
        events
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
        interface::control(request, argument, memory)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(port) = self.state.get_mut().port {
            PORTS.lock().remove(&port);
        }
    }
}
