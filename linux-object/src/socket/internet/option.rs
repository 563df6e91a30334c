//! Options of internet sockets.
//!
//! Some change what an endpoint does. Others mean nothing on a way without packets; they are rows of [`TOLD`], which keep
//! what was set, within Linux's bounds, to be told. What is in neither is refused.

use alloc::sync::Arc;
use core::time::Duration;

use linux_abi::Errno;
use linux_abi::capability::Capabilities;
use linux_abi::time::Timeval;
use net::options::{Options, TOLD_OPTIONS};
use net::tcp::Condition;
use net::{settings, tcp, udp};
use zerocopy::{FromBytes, IntoBytes};

use super::{IPPROTO_TCP, IPPROTO_UDP};
use crate::socket::{OptionValue, SOL_SOCKET, Socket, number_of, number_value};
use crate::thread::Thread;

const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;

const SO_REUSEADDR: i32 = 2;
pub(in crate::socket) const SO_TYPE: i32 = 3;
pub(in crate::socket) const SO_ERROR: i32 = 4;
const SO_BROADCAST: i32 = 6;
pub(in crate::socket) const SO_SNDBUF: i32 = 7;
pub(in crate::socket) const SO_RCVBUF: i32 = 8;
const SO_KEEPALIVE: i32 = 9;
const SO_LINGER: i32 = 13;
const SO_REUSEPORT: i32 = 15;
const SO_RCVLOWAT: i32 = 18;
const SO_SNDLOWAT: i32 = 19;
pub(in crate::socket) const SO_RCVTIMEO: i32 = 20;
pub(in crate::socket) const SO_SNDTIMEO: i32 = 21;
pub(in crate::socket) const SO_ACCEPTCONN: i32 = 30;
pub(in crate::socket) const SO_SNDBUFFORCE: i32 = 32;
pub(in crate::socket) const SO_RCVBUFFORCE: i32 = 33;
pub(in crate::socket) const SO_PROTOCOL: i32 = 38;
pub(in crate::socket) const SO_DOMAIN: i32 = 39;

const TCP_NODELAY: i32 = 1;
const TCP_CORK: i32 = 3;
const TCP_KEEPIDLE: i32 = 4;
const TCP_KEEPINTVL: i32 = 5;
const TCP_KEEPCNT: i32 = 6;
const TCP_DEFER_ACCEPT: i32 = 9;
const TCP_INFO: i32 = 11;
const TCP_CONGESTION: i32 = 13;
const IPV6_V6ONLY: i32 = 26;

/// The one that is told; what little there is to control on a way that loses nothing needs no other.
const CONGESTION_CONTROL: &[u8] = b"cubic";
const CONGESTION_BYTES: usize = 16;

/// An option that is kept to be told.
struct Told {
    level: i32,
    option: i32,
    default: i32,
    least: i32,
    most: i32,
    /// Anything but zero is one.
    is_switch: bool,
}

const fn switch(level: i32, option: i32, default: i32) -> Told {
    Told { level, option, default, least: i32::MIN, most: i32::MAX, is_switch: true }
}

const fn number(level: i32, option: i32, default: i32, least: i32, most: i32) -> Told {
    Told { level, option, default, least, most, is_switch: false }
}

static TOLD: [Told; 20] = [
    switch(SOL_SOCKET, SO_KEEPALIVE, 0),
    switch(SOL_SOCKET, 5, 0),        // SO_DONTROUTE
    switch(SOL_SOCKET, 10, 0),       // SO_OOBINLINE
    number(SOL_SOCKET, 12, 0, 0, 6), // SO_PRIORITY
    switch(IPPROTO_TCP, TCP_NODELAY, 0),
    switch(IPPROTO_TCP, TCP_CORK, 0),
    switch(IPPROTO_TCP, 12, 1),             // TCP_QUICKACK
    number(IPPROTO_TCP, 2, 536, 88, 32767), // TCP_MAXSEG
    number(IPPROTO_TCP, TCP_KEEPIDLE, 7200, 1, 32767),
    number(IPPROTO_TCP, TCP_KEEPINTVL, 75, 1, 32767),
    number(IPPROTO_TCP, TCP_KEEPCNT, 9, 1, 127),
    number(IPPROTO_TCP, 7, 6, 1, 127),       // TCP_SYNCNT
    number(IPPROTO_TCP, 8, 60, -1, 120),     // TCP_LINGER2
    number(IPPROTO_TCP, 18, 0, 0, i32::MAX), // TCP_USER_TIMEOUT
    number(IPPROTO_TCP, 25, 0, 0, i32::MAX), // TCP_NOTSENT_LOWAT
    number(SOL_IP, 1, 0, 0, 255),            // IP_TOS
    number(SOL_IP, 2, 64, 1, 255),           // IP_TTL
    number(SOL_IP, 10, 1, 0, 5),             // IP_MTU_DISCOVER
    number(SOL_IPV6, 16, 64, -1, 255),       // IPV6_UNICAST_HOPS
    number(SOL_IPV6, 67, 0, -1, 255),        // IPV6_TCLASS
];

const _: () = assert!(TOLD.len() <= TOLD_OPTIONS);

fn told(level: i32, option: i32) -> Option<(usize, &'static Told)> {
    TOLD.iter().enumerate().find(|(_, row)| row.level == level && row.option == option)
}

/// What the endpoints of both protocols have.
pub(super) trait Configurable {
    fn options(&self) -> Options;
    /// What was changed takes effect.
    fn apply_options(self: &Arc<Self>);
    fn change(&self, change: impl FnOnce(&mut Options));
    /// Of receiver and sender.
    fn limits(&self) -> (usize, usize);
    fn set_receive_limit(self: &Arc<Self>, bytes: usize);
    fn set_send_limit(&self, bytes: usize);
    fn take_error(&self) -> Option<Errno>;
    fn is_bound(&self) -> bool;
    fn is_v6(&self) -> bool;
    fn as_tcp(&self) -> Option<&tcp::Endpoint>;
}

macro_rules! configurable {
    ($endpoint:ty, $as_tcp:expr, $apply:expr) => {
        impl Configurable for $endpoint {
            fn options(&self) -> Options {
                self.options()
            }
            fn change(&self, change: impl FnOnce(&mut Options)) {
                self.change_options(change);
            }
            fn limits(&self) -> (usize, usize) {
                self.limits()
            }
            fn apply_options(self: &Arc<Self>) {
                let apply: fn(&Arc<Self>) = $apply;
                apply(self);
            }
            fn set_receive_limit(self: &Arc<Self>, bytes: usize) {
                <$endpoint>::set_receive_limit(self, bytes);
            }
            fn set_send_limit(&self, bytes: usize) {
                self.set_send_limit(bytes);
            }
            fn take_error(&self) -> Option<Errno> {
                self.take_error()
            }
            fn is_bound(&self) -> bool {
                self.is_bound()
            }
            fn is_v6(&self) -> bool {
                self.is_v6()
            }
            fn as_tcp(&self) -> Option<&tcp::Endpoint> {
                let as_tcp: fn(&Self) -> Option<&tcp::Endpoint> = $as_tcp;
                as_tcp(self)
            }
        }
    };
}

configurable!(tcp::Endpoint, |endpoint| Some(endpoint), tcp::Endpoint::apply_flow_options);
configurable!(udp::Endpoint, |_| None, |_| {});

/// Whether a socket has options of this level at all.
fn has_level(endpoint: &impl Configurable, level: i32) -> bool {
    match level {
        SOL_SOCKET | SOL_IP => true,
        SOL_IPV6 => endpoint.is_v6(),
        IPPROTO_TCP => endpoint.as_tcp().is_some(),
        IPPROTO_UDP => endpoint.as_tcp().is_none(),
        _ => false,
    }
}

pub(in crate::socket) fn timeout_value(timeout: Option<Duration>) -> OptionValue {
    let value = timeout.map(Timeval::from_duration).unwrap_or_default();
    value.as_bytes().iter().copied().collect()
}

/// The value of an option.
pub(super) fn get(
    socket: &dyn Socket,
    endpoint: &impl Configurable,
    level: i32,
    option: i32,
) -> Result<OptionValue, Errno> {
    if !has_level(endpoint, level) {
        return Err(if level == SOL_IPV6 { Errno::ENOPROTOOPT } else { Errno::EOPNOTSUPP });
    }
    let options = endpoint.options();
    if let Some((index, row)) = told(level, option) {
        return Ok(number_value(options.told[index].wrapping_add(row.default)));
    }
    let value = match (level, option) {
        (SOL_SOCKET, SO_REUSEADDR) => i32::from(options.reuse_address),
        (SOL_SOCKET, SO_REUSEPORT) => i32::from(options.reuse_port),
        (SOL_SOCKET, SO_BROADCAST) => i32::from(options.broadcast),
        (SOL_SOCKET, SO_TYPE) => socket.socket_kind().number(),
        (SOL_SOCKET, SO_ERROR) => endpoint.take_error().map_or(0, Errno::code),
        (SOL_SOCKET, SO_SNDBUF) => endpoint.limits().1 as i32,
        (SOL_SOCKET, SO_RCVBUF) => endpoint.limits().0 as i32,
        (SOL_SOCKET, SO_RCVLOWAT) => endpoint.as_tcp().map_or(1, |tcp| tcp.low_water() as i32),
        (SOL_SOCKET, SO_SNDLOWAT) => 1,
        (SOL_SOCKET, SO_PROTOCOL) => socket.protocol(),
        (SOL_SOCKET, SO_DOMAIN) => socket.family(),
        (SOL_SOCKET, SO_ACCEPTCONN) => {
            i32::from(endpoint.as_tcp().is_some_and(|tcp| tcp.condition().contains(Condition::LISTENING)))
        }
        (SOL_SOCKET, SO_LINGER) => {
            let value = [i32::from(options.linger.is_some()), options.linger.unwrap_or(0) as i32];
            return Ok(value.as_bytes().iter().copied().collect());
        }
        (SOL_SOCKET, SO_RCVTIMEO) => return Ok(timeout_value(options.receive_timeout)),
        (SOL_SOCKET, SO_SNDTIMEO) => return Ok(timeout_value(options.send_timeout)),
        (SOL_IPV6, IPV6_V6ONLY) => i32::from(options.only_v6),
        (IPPROTO_TCP, TCP_DEFER_ACCEPT) => options.defer_accept as i32,
        (IPPROTO_TCP, TCP_CONGESTION) => {
            let mut name = [0; CONGESTION_BYTES];
            name[..CONGESTION_CONTROL.len()].copy_from_slice(CONGESTION_CONTROL);
            return Ok(name.into_iter().collect());
        }
        (IPPROTO_TCP, TCP_INFO) => {
            let tcp = endpoint.as_tcp().ok_or(Errno::ENOPROTOOPT)?;
            return Ok(information(tcp));
        }
        _ => return Err(Errno::ENOPROTOOPT),
    };
    Ok(number_value(value))
}

/// Bytes that a buffer's option asks for, as it takes effect: doubled, for what they cost beside themselves.
pub(in crate::socket) fn buffer_bytes(number: i32, is_forced: bool) -> usize {
    let wanted = number.max(0) as usize;
    let most = if is_forced { i32::MAX as usize / 2 } else { settings::MOST_BUFFER_BYTES };
    wanted.min(most) * 2
}

/// Sets an option.
pub(super) fn set(
    _socket: &dyn Socket,
    endpoint: &Arc<impl Configurable>,
    level: i32,
    option: i32,
    value: &[u8],
    caller: &Thread,
) -> Result<(), Errno> {
    if !has_level(&**endpoint, level) {
        return Err(Errno::ENOPROTOOPT);
    }
    match (level, option) {
        (SOL_SOCKET, SO_RCVTIMEO | SO_SNDTIMEO) => {
            let limit = timeout_of(value)?;
            endpoint.change(|options| {
                if option == SO_RCVTIMEO {
                    options.receive_timeout = limit;
                } else {
                    options.send_timeout = limit;
                }
            });
            return Ok(());
        }
        (SOL_SOCKET, SO_LINGER) => {
            let ([is_on, seconds], _) = <[i32; 2]>::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
            endpoint.change(|options| options.linger = (is_on != 0).then_some(seconds.max(0) as u32));
            return Ok(());
        }
        (IPPROTO_TCP, TCP_CONGESTION) => {
            let is_known = value.starts_with(CONGESTION_CONTROL)
                && value[CONGESTION_CONTROL.len()..].iter().all(|&byte| byte == 0);
            return if is_known { Ok(()) } else { Err(Errno::ENOENT) };
        }
        _ => {}
    }
    // Options of IP may be a single byte.
    let number = match (level, value) {
        (SOL_IP, [byte]) => i32::from(*byte),
        _ => number_of(value)?,
    };
    if let Some((index, row)) = told(level, option) {
        let is_default = number == -1 && level != IPPROTO_TCP && level != SOL_SOCKET;
        let number = match row.is_switch {
            true => i32::from(number != 0),
            false if is_default => row.default,
            false if number < row.least || number > row.most => return Err(Errno::EINVAL),
            false => number,
        };
        endpoint.change(|options| {
            options.told[index] = number.wrapping_sub(row.default);
            match (level, option) {
                (SOL_SOCKET, SO_KEEPALIVE) => options.keep_alive = number != 0,
                (IPPROTO_TCP, TCP_NODELAY) => options.no_delay = number != 0,
                (IPPROTO_TCP, TCP_CORK) => options.cork = number != 0,
                (IPPROTO_TCP, TCP_KEEPIDLE) => options.keep_idle = Some(number as u32),
                (IPPROTO_TCP, TCP_KEEPINTVL) => options.keep_interval = Some(number as u32),
                (IPPROTO_TCP, TCP_KEEPCNT) => options.keep_count = Some(number as u8),
                _ => {}
            }
        });
        endpoint.apply_options();
        return Ok(());
    }
    let is_on = number != 0;
    match (level, option) {
        (SOL_SOCKET, SO_REUSEADDR) => endpoint.change(|options| options.reuse_address = is_on),
        (SOL_SOCKET, SO_REUSEPORT) => endpoint.change(|options| options.reuse_port = is_on),
        (SOL_SOCKET, SO_BROADCAST) => endpoint.change(|options| options.broadcast = is_on),
        (SOL_SOCKET, SO_SNDBUF) => endpoint.set_send_limit(buffer_bytes(number, false)),
        (SOL_SOCKET, SO_RCVBUF) => endpoint.set_receive_limit(buffer_bytes(number, false)),
        (SOL_SOCKET, SO_SNDBUFFORCE | SO_RCVBUFFORCE) => {
            caller.credentials().require(Capabilities::NET_ADMIN)?;
            let bytes = buffer_bytes(number, true);
            if option == SO_SNDBUFFORCE {
                endpoint.set_send_limit(bytes);
            } else {
                endpoint.set_receive_limit(bytes);
            }
        }
        (SOL_SOCKET, SO_RCVLOWAT) => {
            let tcp = endpoint.as_tcp().ok_or(Errno::ENOPROTOOPT)?;
            tcp.set_low_water(if number < 0 { i32::MAX as usize } else { number as usize });
        }
        (SOL_IPV6, IPV6_V6ONLY) => {
            if endpoint.is_bound() {
                return Err(Errno::EINVAL);
            }
            endpoint.change(|options| options.only_v6 = is_on);
        }
        (IPPROTO_TCP, TCP_DEFER_ACCEPT) => {
            endpoint.change(|options| options.defer_accept = number.max(0) as u32);
        }
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

/// A limit of waiting: zero is none, a negative one is over at once.
pub(in crate::socket) fn timeout_of(value: &[u8]) -> Result<Option<Duration>, Errno> {
    const MICROSECONDS: i64 = 1_000_000;
    let (limit, _) = Timeval::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
    if !(0..MICROSECONDS).contains(&limit.tv_usec) {
        return Err(Errno::EDOM);
    }
    if limit.tv_sec < 0 {
        return Ok(Some(Duration::ZERO));
    }
    let limit = limit.to_duration()?;
    Ok((!limit.is_zero()).then_some(limit))
}

/// What a packet on the way would carry at most: the largest that `lo` takes, without its headers.
const SEGMENT_BYTES: u32 = 65483;

/// `struct tcp_info`; a connection without packets neither loses nor repeats anything.
fn information(endpoint: &tcp::Endpoint) -> OptionValue {
    const BYTES: usize = 248;
    const RETRANSMISSION_TIMEOUT_MICROSECONDS: u32 = 204_000;
    /// Timestamps, selective acknowledgements, window scaling.
    const NEGOTIATED: u8 = 1 | 2 | 4;
    const WINDOW_SCALES: u8 = 7 | 7 << 4;
    let information = endpoint.information();
    let (receive_limit, _) = endpoint.limits();
    let mut bytes = [0u8; BYTES];
    bytes[0] = information.state as u8;
    bytes[2] = information.packets.map_or(0, |packets| packets.retries);
    bytes[5] = NEGOTIATED;
    bytes[6] = WINDOW_SCALES;
    let mut put_u32 = |offset: usize, value: u32| {
        bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    };
    let packets = information.packets;
    let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    let segment_bytes = packets.map_or(SEGMENT_BYTES, |packets| packets.segment_bytes);
    put_u32(8, packets.map_or(RETRANSMISSION_TIMEOUT_MICROSECONDS, |packets| micros(packets.retransmission)));
    put_u32(16, segment_bytes);
    put_u32(20, segment_bytes);
    if let Some((waiting, backlog)) = endpoint.backlog() {
        // Of a listener these are the lengths of its queue.
        put_u32(24, waiting as u32);
        put_u32(28, backlog as u32);
    }
    let age = u32::try_from(information.age.as_millis()).unwrap_or(u32::MAX);
    put_u32(44, age);
    put_u32(52, age);
    put_u32(56, age);
    put_u32(60, 65535);
    put_u32(64, receive_limit as u32);
    put_u32(80, 10);
    put_u32(84, segment_bytes);
    if let Some(packets) = packets {
        put_u32(68, micros(packets.round_trip.0));
        put_u32(72, micros(packets.round_trip.1));
        put_u32(76, packets.congestion.1);
        put_u32(80, packets.congestion.0);
        put_u32(100, u32::try_from(packets.retransmitted).unwrap_or(u32::MAX));
    }
    put_u32(96, receive_limit as u32);
    let confirmed = packets.map_or(information.sent, |packets| u64::from(packets.confirmed));
    bytes[120..128].copy_from_slice(&confirmed.to_le_bytes());
    bytes[128..136].copy_from_slice(&information.received.to_le_bytes());
    bytes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_waiting_is_a_span_or_none() {
        let value =
            |seconds: i64, micros: i64| timeout_of(Timeval { tv_sec: seconds, tv_usec: micros }.as_bytes());
        assert_eq!(value(0, 0), Ok(None));
        assert_eq!(value(1, 500_000), Ok(Some(Duration::from_millis(1500))));
        assert_eq!(value(0, 1_000_000), Err(Errno::EDOM));
        assert_eq!(value(-1, 0), Ok(Some(Duration::ZERO)));
        assert_eq!(timeout_of(&[0; 8]), Err(Errno::EINVAL));
    }

    #[test]
    fn rows_are_there_once_and_keep_their_default() {
        for (index, row) in TOLD.iter().enumerate() {
            assert_eq!(told(row.level, row.option).map(|found| found.0), Some(index));
            assert!(row.is_switch || (row.least <= row.default && row.default <= row.most));
        }
    }
}
