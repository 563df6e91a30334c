//! Connections and datagrams between addresses. It knows no descriptor and no process.
//!
//! Both ends of what is sent to an address of this machine are here, so nothing of it becomes a packet: a TCP connection
//! is two [`tcp::Endpoint`]s that know each other, and a sender puts its bytes into the other's queue ([`bytes`]). That
//! is *fusion*. Programs must not be able to tell: names, ports ([`ports`]), the states of the two directions, resets,
//! limits of what is in flight and the backlog of listeners are those of a connection with packets.
//!
//! An endpoint reaches its peer through a [`tcp::Link`]: fused is the one kind there is, and one over a device will be
//! another. Only addresses of this machine are reachable ([`route`]).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
pub mod bytes;
pub mod options;
mod packet;
pub mod ports;
pub mod random;
pub mod route;
pub mod settings;
pub mod stack;
pub mod tcp;
#[cfg(test)]
mod test_support;
pub mod udp;

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::poll::PollEvents;

/// Ready to receive.
pub const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
/// Ready to send.
pub const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);

/// Why an operation did not finish. `S` is what stops a copy from or to a program's memory.
pub enum Blocked<S> {
    /// It failed.
    Error(Errno),
    /// It can be attempted again when the endpoint's own queue is woken for one of these events.
    NotReady(PollEvents),
    /// Somebody copies to or from this endpoint's queue: it can be attempted again when he is done.
    Turn(Arc<tcp::Endpoint>),
    /// The copy was stopped.
    Stopped(S),
}

impl<S> From<Errno> for Blocked<S> {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}
