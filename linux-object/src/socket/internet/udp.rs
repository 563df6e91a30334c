//! Sockets of UDP.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use kernel_hal::VirtAddr;
use ksync::WaitQueue;
use linux_abi::Errno;
use linux_abi::poll::PollEvents;
use linux_abi::stat::FileType;
use linux_abi::terminal::{FIONREAD, TIOCOUTQ};
use net::READABLE;
use net::udp::Endpoint;

use super::{AF_INET, AF_INET6, IPPROTO_UDP, check_port, interface, name, option};
use crate::file::{File, UserMemory, anonymous_number};
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::socket::{
    MessageFlags, OptionValue, Outgoing, Received, Shutdown, Socket, SocketKind, SocketName,
};
use crate::thread::{Thread, current_thread};
use crate::user_buffer::UserBuffer;

/// A socket of UDP.
pub struct UdpSocket {
    endpoint: Arc<Endpoint>,
    number: u64,
}

impl UdpSocket {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Arc<Self> {
        let number = anonymous_number();
        endpoint.set_tag(number);
        Arc::new(Self { endpoint, number })
    }

    fn send(&self, buffer: &mut UserBuffer, name: Option<&[u8]>) -> Attempt {
        let to = match name {
            Some(bytes) if !bytes.is_empty() => Some(name::of_peer(self.endpoint.is_v6(), true, bytes)?),
            _ => None,
        };
        let len = buffer.remaining();
        if len > self.endpoint.most_bytes() {
            return Err(Errno::EMSGSIZE.into());
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Errno::ENOBUFS)?;
        bytes.resize(len, 0);
        let mark = buffer.mark();
        if let Err(obstacle) = buffer.copy_in(&mut bytes) {
            // All of it or nothing.
            buffer.rewind(mark);
            return Err(obstacle);
        }
        // Whose it is matters only for the first, which gives the socket its port.
        let user = if self.endpoint.is_bound() {
            0
        } else {
            current_thread().map_or(0, |caller| caller.credentials().effective_user)
        };
        if let Err(errno) = self.endpoint.send(bytes, to, user) {
            buffer.rewind(mark);
            return Err(errno.into());
        }
        Ok(buffer.done())
    }

    fn receive(&self, buffer: &mut UserBuffer, flags: MessageFlags, received: &mut Received) -> Attempt {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EINVAL.into());
        }
        if flags.contains(MessageFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN.into());
        }
        let is_peek = flags.contains(MessageFlags::PEEK);
        let datagram = match self.endpoint.receive(is_peek) {
            Ok(Some(datagram)) => datagram,
            Ok(None) => return Ok(0),
            Err(Errno::EAGAIN) => return Err(Obstacle::NotReadyFor(self.endpoint.clone(), READABLE)),
            Err(errno) => return Err(errno.into()),
        };
        let mark = buffer.mark();
        if let Err(obstacle) = buffer.copy_out(&datagram.bytes) {
            buffer.rewind(mark);
            if !is_peek {
                self.endpoint.put_back(datagram);
            }
            return Err(obstacle);
        }
        let moved = buffer.done() - mark.done();
        received.flags.set(MessageFlags::TRUNC, moved < datagram.bytes.len());
        received.name = Some(name::to_bytes(self.endpoint.is_v6(), datagram.from));
        Ok(if flags.contains(MessageFlags::TRUNC) { datagram.bytes.len() } else { moved })
    }
}

impl Socket for UdpSocket {
    fn family(&self) -> i32 {
        if self.endpoint.is_v6() { AF_INET6 } else { AF_INET }
    }

    fn socket_kind(&self) -> SocketKind {
        SocketKind::Datagram
    }

    fn protocol(&self) -> i32 {
        IPPROTO_UDP
    }

    fn try_bind(&self, bytes: &[u8], caller: &Arc<Thread>) -> Attempt<()> {
        let name = name::to_bind(self.endpoint.is_v6(), bytes)?;
        check_port(name, caller)?;
        Ok(self.endpoint.bind(name, caller.credentials().effective_user)?)
    }

    fn try_connect(&self, bytes: &[u8], _is_first: bool, caller: &Arc<Thread>) -> Attempt<()> {
        if name::is_unspecified(bytes) {
            self.endpoint.disconnect();
            return Ok(());
        }
        let to = name::of_peer(self.endpoint.is_v6(), true, bytes)?;
        Ok(self.endpoint.connect(to, caller.credentials().effective_user)?)
    }

    fn local_name(&self) -> Result<SocketName, Errno> {
        Ok(name::to_bytes(self.endpoint.is_v6(), self.endpoint.local_name()))
    }

    fn peer_name(&self) -> Result<SocketName, Errno> {
        Ok(name::to_bytes(self.endpoint.is_v6(), self.endpoint.peer_name()?))
    }

    fn try_send(&self, buffer: &mut UserBuffer, flags: MessageFlags, outgoing: &mut Outgoing) -> Attempt {
        // What follows would be one datagram with this one.
        if flags.intersects(MessageFlags::OOB | MessageFlags::MORE) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        self.send(buffer, outgoing.name.as_deref())
    }

    fn try_receive(&self, buffer: &mut UserBuffer, flags: MessageFlags, received: &mut Received) -> Attempt {
        self.receive(buffer, flags, received)
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

impl Waitable for UdpSocket {
    fn wait_queue(&self) -> &WaitQueue {
        self.endpoint.wait_queue()
    }
}

impl File for UdpSocket {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        self.receive(buffer, MessageFlags::empty(), &mut Received::default())
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        self.send(buffer, None)
    }

    fn ready(&self) -> PollEvents {
        self.endpoint.ready()
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
        let answer = match request {
            FIONREAD => self.endpoint.next_bytes(),
            // What is sent has arrived.
            TIOCOUTQ => 0,
            _ => return interface::control(request, argument, memory),
        };
        memory.write(VirtAddr::new(argument), &(answer as i32))?;
        Ok(0)
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.endpoint.close();
    }
}
