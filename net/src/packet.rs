//! A packet in memory, with room before it for what is below.

use alloc::vec::Vec;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr};

use crate::address::Address;

/// What an Ethernet header needs.
pub const HEADROOM: usize = 14;
/// Hops, if nobody says otherwise.
pub const HOP_LIMIT: u8 = 64;

/// A packet.
pub struct Packet {
    bytes: Vec<u8>,
    start: usize,
    /// It has not left this machine, or the device has looked: sums need not be verified.
    pub is_verified: bool,
}

impl Packet {
    /// A packet of zeros.
    pub fn new(bytes: usize) -> Option<Self> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(HEADROOM + bytes).ok()?;
        memory.resize(HEADROOM + bytes, 0);
        Some(Self { bytes: memory, start: HEADROOM, is_verified: false })
    }

    /// A frame that came in.
    pub fn of_frame(bytes: Vec<u8>, is_verified: bool) -> Self {
        Self { bytes, start: 0, is_verified }
    }

    /// An IP packet from and to these addresses, with so many bytes to be filled in; and where they begin.
    pub fn ip(
        source: Address,
        destination: Address,
        protocol: IpProtocol,
        payload_len: usize,
        hop_limit: u8,
    ) -> Option<(Self, usize)> {
        if destination.is_v4() {
            let repr = Ipv4Repr {
                src_addr: source.v4_octets().into(),
                dst_addr: destination.v4_octets().into(),
                next_header: protocol,
                payload_len,
                hop_limit,
            };
            let mut packet = Self::new(repr.buffer_len() + payload_len)?;
            repr.emit(&mut Ipv4Packet::new_unchecked(packet.as_mut()), &ChecksumCapabilities::default());
            Some((packet, repr.buffer_len()))
        } else {
            let repr = Ipv6Repr {
                src_addr: source.octets().into(),
                dst_addr: destination.octets().into(),
                next_header: protocol,
                payload_len,
                hop_limit,
            };
            let mut packet = Self::new(repr.buffer_len() + payload_len)?;
            repr.emit(&mut Ipv6Packet::new_unchecked(packet.as_mut()));
            Some((packet, repr.buffer_len()))
        }
    }

    /// Goes past so many bytes.
    pub fn strip(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.bytes.len());
    }

    /// Puts so many bytes before it, for which there is room.
    pub fn extend_front(&mut self, bytes: usize) {
        self.start = self.start.saturating_sub(bytes);
    }
}

impl AsRef<[u8]> for Packet {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl AsMut<[u8]> for Packet {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

/// An IP packet's parts.
pub struct Opened<'a> {
    /// Who sent it.
    pub source: Address,
    /// Where it goes.
    pub destination: Address,
    /// What it carries.
    pub protocol: IpProtocol,
    /// Hops that were left.
    pub hop_limit: u8,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Looks into a packet; `None` if it is none.
pub fn open(bytes: &[u8], is_verified: bool) -> Option<Opened<'_>> {
    let mut checksums = ChecksumCapabilities::default();
    if is_verified {
        checksums = ChecksumCapabilities::ignored();
    }
    match bytes.first()? >> 4 {
        4 => {
            let packet = Ipv4Packet::new_checked(bytes).ok()?;
            let repr = Ipv4Repr::parse(&packet, &checksums).ok()?;
            Some(Opened {
                source: Address::v4(repr.src_addr.octets()),
                destination: Address::v4(repr.dst_addr.octets()),
                protocol: repr.next_header,
                hop_limit: repr.hop_limit,
                payload: packet.payload(),
            })
        }
        6 => {
            let packet = Ipv6Packet::new_checked(bytes).ok()?;
            let repr = Ipv6Repr::parse(&packet).ok()?;
            let (source, destination) =
                (Address::v6(repr.src_addr.octets()), Address::v6(repr.dst_addr.octets()));
            // Mapped addresses mean something inside this machine only.
            if source.is_v4() || destination.is_v4() {
                return None;
            }
            Some(Opened {
                source,
                destination,
                protocol: repr.next_header,
                hop_limit: repr.hop_limit,
                payload: packet.payload(),
            })
        }
        _ => None,
    }
}

/// An address as smoltcp has it.
pub fn wire_address(address: Address) -> IpAddress {
    if address.is_v4() {
        IpAddress::Ipv4(address.v4_octets().into())
    } else {
        IpAddress::Ipv6(address.octets().into())
    }
}

/// Which sums are made or verified.
pub fn checksums(are_needed: bool) -> ChecksumCapabilities {
    if are_needed { ChecksumCapabilities::default() } else { ChecksumCapabilities::ignored() }
}
