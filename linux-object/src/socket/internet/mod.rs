//! The internet families, IPv4 and IPv6: what `net` does, as files.
//!
//! An endpoint knows addresses of both versions in one form; [`name`] translates what programs give and get. [`option`]
//! has the options of both protocols, [`interface`] what `ioctl` tells about the machine's interfaces.

pub(crate) mod interface;
mod name;
pub(crate) mod option;
mod tcp;
mod udp;

use alloc::boxed::Box;
use alloc::sync::Arc;

use ksync::WaitQueue;
use linux_abi::Errno;
use linux_abi::capability::Capabilities;
use net::bytes::Bytes;
use net::{Blocked, address};

use super::SocketKind;
use crate::file::File;
use crate::obstacle::{Obstacle, Waitable};
use crate::thread::Thread;
use crate::user_buffer::UserBuffer;

use kernel_object::frame::Frame;
pub use tcp::TcpSocket;
pub use udp::UdpSocket;

/// IPv4.
pub const AF_INET: i32 = 2;
/// IPv6.
pub const AF_INET6: i32 = 10;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;
/// Ports below this are for who may have them.
const FIRST_FREE_PORT: u16 = 1024;
const SOCK_RAW: i32 = 3;

/// A socket of one of the families.
pub fn create(family: i32, kind: i32, protocol: i32, caller: &Thread) -> Result<Arc<dyn File>, Errno> {
    let is_v6 = family == AF_INET6;
    if kind == SOCK_RAW {
        caller.credentials().require(Capabilities::NET_RAW)?;
        return Err(Errno::EPROTONOSUPPORT);
    }
    match SocketKind::from_number(kind).ok_or(Errno::ESOCKTNOSUPPORT)? {
        SocketKind::Stream if protocol == 0 || protocol == IPPROTO_TCP => {
            Ok(TcpSocket::new(net::tcp::Endpoint::new(is_v6)))
        }
        SocketKind::Datagram if protocol == 0 || protocol == IPPROTO_UDP => {
            Ok(UdpSocket::new(net::udp::Endpoint::new(is_v6)))
        }
        SocketKind::SequencedPacket => Err(Errno::ESOCKTNOSUPPORT),
        _ => Err(Errno::EPROTONOSUPPORT),
    }
}

/// Whether a program may have this port: `EACCES` if not.
fn check_port(name: address::Name, caller: &Thread) -> Result<(), Errno> {
    let is_free = name.port == 0 || name.port >= FIRST_FREE_PORT;
    if is_free || caller.credentials().has(Capabilities::NET_BIND_SERVICE) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

impl Waitable for net::tcp::Endpoint {
    fn wait_queue(&self) -> &WaitQueue {
        self.wait_queue()
    }
}

impl Waitable for net::udp::Endpoint {
    fn wait_queue(&self) -> &WaitQueue {
        self.wait_queue()
    }
}

/// What blocks an endpoint's operation, as an obstacle.
fn obstacle(endpoint: &Arc<net::tcp::Endpoint>, blocked: Blocked<Obstacle>) -> Obstacle {
    match blocked {
        Blocked::Error(errno) => errno.into(),
        Blocked::NotReady(events) => Obstacle::NotReadyFor(endpoint.clone(), events),
        Blocked::Turn(other) => Obstacle::Wait(Box::pin(async move {
            other.until_turn().await;
            Ok(())
        })),
        Blocked::Stopped(obstacle) => obstacle,
    }
}

impl Bytes for UserBuffer<'_> {
    type Stop = Obstacle;

    fn remaining(&self) -> usize {
        self.remaining()
    }

    fn done(&self) -> usize {
        self.done()
    }

    fn skip(&mut self, bytes: usize) {
        self.skip(bytes);
    }

    fn take_to_slice(&mut self, destination: &mut [u8]) -> Result<(), Obstacle> {
        self.copy_in(destination).map(|_| ())
    }

    fn take_to_frame(&mut self, frame: &mut Frame, offset: usize, most: usize) -> Result<(), Obstacle> {
        self.copy_into_frame(frame, offset, most)
    }

    fn put_slice(&mut self, source: &[u8]) -> Result<(), Obstacle> {
        self.copy_out(source)
    }

    fn put_frame(&mut self, frame: &Frame, offset: usize, most: usize) -> Result<(), Obstacle> {
        self.copy_out_of_frame(frame, offset, most)
    }
}
