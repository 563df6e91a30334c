//! Options of netlink sockets.

use core::time::Duration;

use linux_abi::Errno;
use linux_abi::capability::Capabilities;
use net::settings::{DATAGRAM_BYTES, LEAST_RECEIVE_BYTES, LEAST_SEND_BYTES};

use super::{AF_NETLINK, Endpoint, NETLINK_ROUTE};
use crate::socket::internet::option::{
    SO_ACCEPTCONN, SO_DOMAIN, SO_ERROR, SO_PROTOCOL, SO_RCVBUF, SO_RCVBUFFORCE, SO_RCVTIMEO, SO_SNDBUF,
    SO_SNDBUFFORCE, SO_SNDTIMEO, SO_TYPE, buffer_bytes, timeout_of, timeout_value,
};
use crate::socket::{OptionValue, SOL_SOCKET, number_of, number_value};
use crate::thread::Thread;

const SOL_NETLINK: i32 = 270;
const SO_PASSCRED: i32 = 16;
const ADD_MEMBERSHIP: i32 = 1;
const DROP_MEMBERSHIP: i32 = 2;
const NO_ENOBUFS: i32 = 5;
const LIST_MEMBERSHIPS: i32 = 9;
const CAP_ACK: i32 = 10;
/// The groups that there are are numbered from 1.
const LAST_GROUP: i32 = 36;

pub(super) struct Options {
    pub(super) receive_limit: usize,
    pub(super) send_limit: usize,
    pub(super) receive_timeout: Option<Duration>,
    pub(super) send_timeout: Option<Duration>,
    pub(super) passes_credentials: bool,
    /// Nothing is said of answers that were lost.
    pub(super) ignores_loss: bool,
    /// Errors repeat only the header of the request.
    pub(super) caps_errors: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            receive_limit: DATAGRAM_BYTES,
            send_limit: DATAGRAM_BYTES,
            receive_timeout: None,
            send_timeout: None,
            passes_credentials: false,
            ignores_loss: false,
            caps_errors: false,
        }
    }
}

/// The value of an option.
pub(super) fn get(endpoint: &Endpoint, level: i32, option: i32) -> Result<OptionValue, Errno> {
    let mut state = endpoint.state.lock();
    let options = &state.options;
    let number = match (level, option) {
        (SOL_SOCKET, SO_TYPE) => endpoint.kind,
        (SOL_SOCKET, SO_DOMAIN) => AF_NETLINK,
        (SOL_SOCKET, SO_PROTOCOL) => NETLINK_ROUTE,
        (SOL_SOCKET, SO_ACCEPTCONN) => 0,
        (SOL_SOCKET, SO_SNDBUF) => options.send_limit as i32,
        (SOL_SOCKET, SO_RCVBUF) => options.receive_limit as i32,
        (SOL_SOCKET, SO_PASSCRED) => i32::from(options.passes_credentials),
        (SOL_SOCKET, SO_RCVTIMEO) => return Ok(timeout_value(options.receive_timeout)),
        (SOL_SOCKET, SO_SNDTIMEO) => return Ok(timeout_value(options.send_timeout)),
        (SOL_SOCKET, SO_ERROR) => match core::mem::take(&mut state.has_lost) {
            true => Errno::ENOBUFS.code(),
            false => 0,
        },
        (SOL_NETLINK, NO_ENOBUFS) => i32::from(options.ignores_loss),
        (SOL_NETLINK, CAP_ACK) => i32::from(options.caps_errors),
        (SOL_NETLINK, LIST_MEMBERSHIPS) => return Ok(state.groups.to_le_bytes().into_iter().collect()),
        _ => return Err(Errno::ENOPROTOOPT),
    };
    Ok(number_value(number))
}

/// Sets an option.
pub(super) fn set(
    endpoint: &Endpoint,
    level: i32,
    option: i32,
    value: &[u8],
    caller: &Thread,
) -> Result<(), Errno> {
    if let (SOL_SOCKET, SO_RCVTIMEO | SO_SNDTIMEO) = (level, option) {
        let limit = timeout_of(value)?;
        let options = &mut endpoint.state.lock().options;
        *(if option == SO_RCVTIMEO { &mut options.receive_timeout } else { &mut options.send_timeout }) =
            limit;
        return Ok(());
    }
    let number = number_of(value)?;
    if let (SOL_SOCKET, SO_SNDBUFFORCE | SO_RCVBUFFORCE) = (level, option) {
        caller.credentials().require(Capabilities::NET_ADMIN)?;
    }
    let mut state = endpoint.state.lock();
    let state = &mut *state;
    match (level, option) {
        (SOL_SOCKET, SO_SNDBUF | SO_SNDBUFFORCE) => {
            let bytes = buffer_bytes(number, option == SO_SNDBUFFORCE);
            state.options.send_limit = bytes.max(LEAST_SEND_BYTES);
        }
        (SOL_SOCKET, SO_RCVBUF | SO_RCVBUFFORCE) => {
            let bytes = buffer_bytes(number, option == SO_RCVBUFFORCE);
            state.options.receive_limit = bytes.max(LEAST_RECEIVE_BYTES);
        }
        (SOL_SOCKET, SO_PASSCRED) => state.options.passes_credentials = number != 0,
        (SOL_NETLINK, NO_ENOBUFS) => state.options.ignores_loss = number != 0,
        (SOL_NETLINK, CAP_ACK) => state.options.caps_errors = number != 0,
        (SOL_NETLINK, ADD_MEMBERSHIP | DROP_MEMBERSHIP) => {
            if !(1..=LAST_GROUP).contains(&number) {
                return Err(Errno::EINVAL);
            }
            let group = 1 << (number - 1);
            if option == ADD_MEMBERSHIP {
                state.groups |= group;
            } else {
                state.groups &= !group;
            }
        }
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}
