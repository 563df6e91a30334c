//! Addresses as programs give and get them: `struct sockaddr_in` and `struct sockaddr_in6`.

use linux_abi::Errno;
use net::address::{Address, Name};

use super::{AF_INET, AF_INET6};
use crate::socket::SocketName;

const V4_BYTES: usize = 16;
/// As old programs have it, without a scope.
const LEAST_V6_BYTES: usize = 24;
const V6_BYTES: usize = 28;

/// No family: who connects with it disconnects.
const AF_UNSPEC: i32 = 0;

fn family_of(bytes: &[u8]) -> Result<i32, Errno> {
    bytes.first_chunk().map(|family| i32::from(u16::from_le_bytes(*family))).ok_or(Errno::EINVAL)
}

/// Whether it is the name that disconnects.
pub(super) fn is_unspecified(bytes: &[u8]) -> bool {
    family_of(bytes) == Ok(AF_UNSPEC)
}

fn port_of(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[2], bytes[3]])
}

fn parse_v4(bytes: &[u8]) -> Result<Name, Errno> {
    let octets = bytes.get(4..8).and_then(|octets| octets.first_chunk()).filter(|_| bytes.len() >= V4_BYTES);
    Ok(Name::new(Address::v4(*octets.ok_or(Errno::EINVAL)?), port_of(bytes)))
}

fn parse_v6(bytes: &[u8]) -> Result<Name, Errno> {
    let octets = bytes.get(8..24).and_then(|octets| octets.first_chunk());
    Ok(Name::new(Address::v6(*octets.ok_or(Errno::EINVAL)?), port_of(bytes)))
}

/// The name that a socket of IPv6, or of IPv4, is bound to.
pub(super) fn to_bind(is_v6: bool, bytes: &[u8]) -> Result<Name, Errno> {
    let least = if is_v6 { LEAST_V6_BYTES } else { V4_BYTES };
    if bytes.len() < least {
        return Err(Errno::EINVAL);
    }
    match family_of(bytes)? {
        AF_INET6 if is_v6 => parse_v6(bytes),
        AF_INET if !is_v6 => parse_v4(bytes),
        // An old habit: no family means IPv4, but only for any address.
        AF_UNSPEC if !is_v6 => parse_v4(bytes)
            .and_then(|name| if name.address.is_any() { Ok(name) } else { Err(Errno::EAFNOSUPPORT) }),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// The name of who is connected with, or sent to. A socket of IPv6 for datagrams takes those of IPv4 as they are.
pub(super) fn of_peer(is_v6: bool, takes_v4: bool, bytes: &[u8]) -> Result<Name, Errno> {
    match family_of(bytes)? {
        AF_INET6 if is_v6 && bytes.len() >= LEAST_V6_BYTES => parse_v6(bytes),
        AF_INET if !is_v6 || takes_v4 => parse_v4(bytes),
        AF_INET | AF_INET6 if bytes.len() < V4_BYTES || (is_v6 && bytes.len() < LEAST_V6_BYTES) => {
            Err(Errno::EINVAL)
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// A name as a program gets it.
pub(super) fn to_bytes(is_v6: bool, name: Name) -> SocketName {
    let mut bytes = [0; V6_BYTES];
    let family = if is_v6 { AF_INET6 } else { AF_INET };
    bytes[..2].copy_from_slice(&(family as u16).to_le_bytes());
    bytes[2..4].copy_from_slice(&name.port.to_be_bytes());
    let len = if is_v6 {
        bytes[8..24].copy_from_slice(&name.address.octets());
        V6_BYTES
    } else {
        bytes[4..8].copy_from_slice(&name.address.v4_octets());
        V4_BYTES
    };
    bytes[..len].iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        let name = Name::new(Address::LOOPBACK_V4, 0x1234);
        let bytes = to_bytes(false, name);
        assert_eq!(bytes[..8], [2, 0, 0x12, 0x34, 127, 0, 0, 1]);
        assert_eq!(to_bind(false, &bytes), Ok(name));
        assert_eq!(of_peer(true, false, &bytes), Err(Errno::EINVAL));
        assert_eq!(of_peer(true, true, &bytes), Ok(name));
        let mapped = to_bytes(true, name);
        assert_eq!(mapped.len(), 28);
        assert_eq!(to_bind(true, &mapped), Ok(name));
        assert_eq!(to_bind(false, &bytes[..15]), Err(Errno::EINVAL));
        assert_eq!(to_bind(false, &mapped), Err(Errno::EAFNOSUPPORT));
    }
}
