//! Making sockets.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::OpenFlags;

use super::internet::{self, AF_INET, AF_INET6};
use super::netlink::{AF_NETLINK, NetlinkSocket};
use super::unix::UnixSocket;
use super::{AF_UNIX, SocketKind};
use crate::file::File;
use crate::thread::Thread;

const SOCK_RAW: i32 = 3;
/// Kinds have lower numbers.
const SOCK_MAX: i32 = 11;
const SOCK_NONBLOCK: i32 = OpenFlags::NONBLOCK.bits() as i32;
const SOCK_CLOEXEC: i32 = OpenFlags::CLOEXEC.bits() as i32;

/// The flags that a new socket's descriptor has: status, and whether exec closes it.
pub fn creation_flags(flags: i32) -> Result<(OpenFlags, bool), Errno> {
    if flags & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let is_nonblocking = flags & SOCK_NONBLOCK != 0;
    let status = OpenFlags::RDWR | if is_nonblocking { OpenFlags::NONBLOCK } else { OpenFlags::empty() };
    Ok((status, flags & SOCK_CLOEXEC != 0))
}

/// A socket of a family (`AF_`) and a kind (`SOCK_`, without flags).
pub fn create(family: i32, kind: i32, protocol: i32, thread: &Arc<Thread>) -> Result<Arc<dyn File>, Errno> {
    if kind >= SOCK_MAX {
        return Err(Errno::EINVAL);
    }
    match family {
        AF_INET | AF_INET6 => internet::create(family, kind, protocol, thread),
        AF_NETLINK => Ok(NetlinkSocket::create(kind, protocol)?),
        AF_UNIX if protocol != 0 && protocol != AF_UNIX => Err(Errno::EPROTONOSUPPORT),
        AF_UNIX => {
            // As ever, raw local sockets are datagrams.
            let kind =
                if kind == SOCK_RAW { Some(SocketKind::Datagram) } else { SocketKind::from_number(kind) };
            Ok(UnixSocket::single(kind.ok_or(Errno::ESOCKTNOSUPPORT)?)?)
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}
