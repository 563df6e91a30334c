//! Addresses of both versions in one form.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

/// An address of IPv6; those of IPv4 have their mapped form, `::ffff:a.b.c.d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(u128);

const MAPPED: u128 = 0xffff << 32;
const LOOPBACK_V6: u128 = 1;

impl Address {
    /// Any address of IPv6, and of IPv4 for sockets of both.
    pub const ANY_V6: Self = Self(0);
    /// Any address of IPv4.
    pub const ANY_V4: Self = Self(MAPPED);
    /// The usual loopback address of IPv4.
    pub const LOOPBACK_V4: Self = Self(MAPPED | 0x7f00_0001);
    /// The loopback address of IPv6.
    pub const LOOPBACK_V6: Self = Self(LOOPBACK_V6);

    /// An address of IPv4.
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self(MAPPED | u32::from_be_bytes(octets) as u128)
    }

    /// An address of IPv6, which may be a mapped one.
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(octets))
    }

    /// Whether it is one of IPv4.
    pub const fn is_v4(self) -> bool {
        self.0 >> 32 == 0xffff
    }

    /// Its last four octets: all there is of an address of IPv4.
    pub const fn v4_octets(self) -> [u8; 4] {
        (self.0 as u32).to_be_bytes()
    }

    /// Its octets.
    pub const fn octets(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Whether it stands for any address of its version.
    pub fn is_any(self) -> bool {
        self == Self::ANY_V4 || self == Self::ANY_V6
    }

    /// Whether many have it.
    pub const fn is_multicast(self) -> bool {
        let octets = self.octets();
        if self.is_v4() { octets[12] & 0xf0 == 0xe0 } else { octets[0] == 0xff }
    }

    /// Whether it is one of this machine's addresses for itself.
    pub const fn is_loopback(self) -> bool {
        self.0 == LOOPBACK_V6 || (self.is_v4() && self.v4_octets()[0] == 127)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_v4() {
            Ipv4Addr::from(self.v4_octets()).fmt(f)
        } else {
            Ipv6Addr::from(self.octets()).fmt(f)
        }
    }
}

/// An address and a port: a name of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Name {
    /// The address.
    pub address: Address,
    /// The port; 0 is none.
    pub port: u16,
}

impl Name {
    /// An address and a port.
    pub const fn new(address: Address, port: u16) -> Self {
        Self { address, port }
    }
}

/// What an endpoint listens to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope {
    /// One address, or any.
    pub address: Address,
    /// Any address of IPv6 does not stand for those of IPv4.
    pub only_v6: bool,
}

impl Scope {
    /// Whether what is sent to an address arrives.
    pub fn contains(self, address: Address) -> bool {
        match self.address {
            Address::ANY_V4 => address.is_v4(),
            Address::ANY_V6 => !self.only_v6 || !address.is_v4(),
            own => own == address,
        }
    }

    /// Whether something that is sent may arrive at both.
    pub fn overlaps(self, other: Self) -> bool {
        if self.address.is_any() && other.address.is_any() {
            // Two of one version, or one stands for both versions.
            return self.address == other.address || self.is_dual() || other.is_dual();
        }
        self.contains(other.address) || other.contains(self.address)
    }

    fn is_dual(self) -> bool {
        self.address == Address::ANY_V6 && !self.only_v6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(address: Address, only_v6: bool) -> Scope {
        Scope { address, only_v6 }
    }

    #[test]
    fn any_address_overlaps_those_of_its_version() {
        let (v4, dual, v6) =
            (scope(Address::ANY_V4, false), scope(Address::ANY_V6, false), scope(Address::ANY_V6, true));
        let (own_v4, own_v6) = (scope(Address::LOOPBACK_V4, false), scope(Address::LOOPBACK_V6, false));
        assert!(v4.overlaps(own_v4) && !v4.overlaps(own_v6) && v4.overlaps(dual) && !v4.overlaps(v6));
        assert!(dual.overlaps(own_v4) && dual.overlaps(own_v6) && dual.overlaps(v6));
        assert!(!v6.overlaps(own_v4) && v6.overlaps(own_v6) && !own_v4.overlaps(own_v6));
        assert!(own_v4.overlaps(own_v4));
    }

    #[test]
    fn mapped_addresses_are_those_of_the_other_version() {
        let mut octets = [0; 16];
        octets[10] = 0xff;
        octets[11] = 0xff;
        octets[12..].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(Address::v6(octets), Address::LOOPBACK_V4);
        assert!(Address::v6(octets).is_v4() && Address::v6(octets).is_loopback());
        assert_eq!(std::format!("{:?}", Address::LOOPBACK_V6), "::1");
    }
}
