//! Sockets of TCP.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use executor::TaskOptions;
use kernel_hal::VirtAddr;
use ksync::WaitQueue;
use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::poll::PollEvents;
use linux_abi::stat::FileType;
use linux_abi::terminal::{FIONREAD, TIOCOUTQ};
use net::tcp::{Condition, Endpoint, Progress, Transfer};

use super::{AF_INET, AF_INET6, IPPROTO_TCP, check_port, interface, name, obstacle, option};
use crate::file::{File, UserMemory, anonymous_number};
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::socket::{
    MessageFlags, OptionValue, Outgoing, Received, Shutdown, Socket, SocketKind, SocketName,
};
use crate::thread::Thread;
use crate::user_buffer::UserBuffer;

const SIOCATMARK: u32 = 0x8905;
const SIOCOUTQNSD: u32 = 0x894b;
/// Who asks for a connection and hears nothing asks again so long, with Linux's six repetitions.
const PATIENCE: Duration = Duration::from_secs(127);

/// A socket of TCP.
pub struct TcpSocket {
    endpoint: Arc<Endpoint>,
    number: u64,
    is_nonblocking: AtomicBool,
}

impl TcpSocket {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Arc<Self> {
        let number = anonymous_number();
        endpoint.set_tag(number);
        Arc::new(Self { endpoint, number, is_nonblocking: AtomicBool::new(false) })
    }

    fn is_nonblocking(&self) -> bool {
        self.is_nonblocking.load(Ordering::Relaxed)
    }

    fn not_connected_yet(&self) -> Obstacle {
        Obstacle::NotReadyFor(self.endpoint.clone(), PollEvents::OUT | PollEvents::ERR | PollEvents::HUP)
    }

    /// What came of an earlier wish to be connected, if there was one that has not been told.
    fn earlier_outcome(&self, is_first: bool) -> Option<Attempt<()>> {
        let condition = self.endpoint.condition();
        if condition.contains(Condition::CONNECTING) {
            let pending = is_first && self.is_nonblocking();
            return Some(Err(if pending { Errno::EALREADY.into() } else { self.not_connected_yet() }));
        }
        if is_first && !condition.contains(Condition::UNTOLD) {
            return None;
        }
        Some(match self.endpoint.connection_outcome() {
            Some(outcome) => outcome.map_err(Obstacle::from),
            None => Err(self.not_connected_yet()),
        })
    }

    fn send(&self, buffer: &mut UserBuffer) -> Attempt {
        self.endpoint.send(buffer).map_err(|blocked| obstacle(&self.endpoint, blocked))
    }

    fn receive(&self, buffer: &mut UserBuffer, how: Transfer) -> Attempt {
        self.endpoint.receive(buffer, how).map_err(|blocked| obstacle(&self.endpoint, blocked))
    }
}

/// After a while nobody waits any more for a listener that has no room.
fn limit_patience(endpoint: &Arc<Endpoint>) {
    let endpoint = Arc::downgrade(endpoint);
    let _ = executor::spawn(TaskOptions::new("tcp connect"), async move {
        executor::sleep(PATIENCE).await;
        if let Some(endpoint) = endpoint.upgrade() {
            endpoint.give_up(Some(Errno::ETIMEDOUT));
        }
    });
}

impl Socket for TcpSocket {
    fn family(&self) -> i32 {
        if self.endpoint.is_v6() { AF_INET6 } else { AF_INET }
    }

    fn socket_kind(&self) -> SocketKind {
        SocketKind::Stream
    }

    fn protocol(&self) -> i32 {
        IPPROTO_TCP
    }

    fn try_bind(&self, bytes: &[u8], caller: &Arc<Thread>) -> Attempt<()> {
        let name = name::to_bind(self.endpoint.is_v6(), bytes)?;
        check_port(name, caller)?;
        Ok(self.endpoint.bind(name, caller.credentials().effective_user)?)
    }

    fn listen(&self, backlog: i32) -> Result<(), Errno> {
        // A negative backlog is a very large one.
        self.endpoint.listen(backlog as u32 as usize, 0)
    }

    fn try_connect(&self, bytes: &[u8], is_first: bool, caller: &Arc<Thread>) -> Attempt<()> {
        if let Some(outcome) = self.earlier_outcome(is_first) {
            return outcome;
        }
        if name::is_unspecified(bytes) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let to = name::of_peer(self.endpoint.is_v6(), false, bytes)?;
        let outcome = self.endpoint.connect(to, caller.credentials().effective_user);
        let is_told_later =
            !matches!(outcome, Err(Errno::EISCONN | Errno::ENETUNREACH | Errno::EADDRNOTAVAIL));
        if outcome == Ok(Progress::Pending) {
            limit_patience(&self.endpoint);
        }
        if self.is_nonblocking() && is_told_later {
            self.endpoint.tell_later(outcome);
            return Err(Errno::EINPROGRESS.into());
        }
        match outcome? {
            Progress::Connected => Ok(()),
            Progress::Pending => Err(self.not_connected_yet()),
        }
    }

    fn try_accept(&self) -> Attempt<Arc<dyn File>> {
        let accepted = self.endpoint.accept().map_err(|blocked| obstacle(&self.endpoint, blocked))?;
        Ok(Self::new(accepted))
    }

    fn local_name(&self) -> Result<SocketName, Errno> {
        Ok(name::to_bytes(self.endpoint.is_v6(), self.endpoint.local_name()))
    }

    fn peer_name(&self) -> Result<SocketName, Errno> {
        Ok(name::to_bytes(self.endpoint.is_v6(), self.endpoint.peer_name()?))
    }

    fn accepted_name(&self) -> SocketName {
        name::to_bytes(self.endpoint.is_v6(), self.endpoint.accepted_peer_name())
    }

    fn try_send(&self, buffer: &mut UserBuffer, flags: MessageFlags, _outgoing: &mut Outgoing) -> Attempt {
        if flags.intersects(MessageFlags::OOB | MessageFlags::FASTOPEN) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let has_more = flags.contains(MessageFlags::MORE);
        self.endpoint.send_more(buffer, has_more).map_err(|blocked| obstacle(&self.endpoint, blocked))
    }

    fn try_receive(&self, buffer: &mut UserBuffer, flags: MessageFlags, _received: &mut Received) -> Attempt {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EINVAL.into());
        }
        if flags.contains(MessageFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN.into());
        }
        let how = Transfer {
            peek: flags.contains(MessageFlags::PEEK),
            discard: flags.contains(MessageFlags::TRUNC),
            wait_all: flags.contains(MessageFlags::WAITALL),
            may_wait: !flags.contains(MessageFlags::DONTWAIT) && !self.is_nonblocking(),
        };
        self.receive(buffer, how)
    }

    fn shut_down(&self, what: Shutdown) -> Result<(), Errno> {
        self.endpoint.shut_down(what.receiving, what.sending)
    }

    fn option(&self, level: i32, option: i32) -> Result<OptionValue, Errno> {
        option::get(self, &*self.endpoint, level, option)
    }

    fn set_option(&self, level: i32, option: i32, value: &[u8], caller: &Thread) -> Result<(), Errno> {
        option::set(self, &self.endpoint, level, option, value, caller)
    }

    fn receive_limit(&self) -> Option<Duration> {
        self.endpoint.options().receive_timeout
    }

    fn send_limit(&self) -> Option<Duration> {
        self.endpoint.options().send_timeout
    }
}

impl Waitable for TcpSocket {
    fn wait_queue(&self) -> &WaitQueue {
        self.endpoint.wait_queue()
    }
}

impl File for TcpSocket {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        self.receive(buffer, Transfer::default())
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        self.send(buffer)
    }

    fn ready(&self) -> PollEvents {
        self.endpoint.ready()
    }

    fn set_status(&self, flags: OpenFlags) -> Result<(), Errno> {
        self.is_nonblocking.store(flags.contains(OpenFlags::NONBLOCK), Ordering::Relaxed);
        Ok(())
    }

    fn kind(&self) -> FileType {
        FileType::Socket
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        write!(output, "socket:[{}]", self.number)
    }

    fn as_socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn try_control(&self, request: u32, argument: usize, memory: &UserMemory, _caller: &Thread) -> Attempt {
        let is_listening = self.endpoint.condition().contains(Condition::LISTENING);
        let answer = match request {
            FIONREAD | TIOCOUTQ | SIOCOUTQNSD if is_listening => return Err(Errno::EINVAL.into()),
            FIONREAD => self.endpoint.received_bytes(),
            TIOCOUTQ | SIOCOUTQNSD => self.endpoint.unsent_bytes(),
            SIOCATMARK => 0,
            _ => return interface::control(request, argument, memory),
        };
        memory.write(VirtAddr::new(argument), &(answer as i32))?;
        Ok(0)
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        self.endpoint.close();
    }
}
