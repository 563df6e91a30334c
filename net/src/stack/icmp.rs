//! ICMP: echoes, what became of datagrams, and for IPv6 who the neighbours and routers are.

use smoltcp::wire::{
    IcmpRepr, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6DstUnreachable, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv4Repr, Ipv6Repr, NdiscNeighborFlags, NdiscPrefixInfoFlags, NdiscRepr, RawHardwareAddress,
};

use super::card::{Card, address_behind};
use crate::address::{Address, Name};
use crate::packet::{self, Opened, Packet, checksums};
use crate::udp;

/// Neighbours are asked and answer with this, so that nobody can do so from afar.
const NEIGHBOUR_HOPS: u8 = 255;
/// An error has so much of what it is about.
const QUOTED_BYTES: usize = 64;
const ALL_ROUTERS: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

fn send(source: Address, destination: Address, message: IcmpRepr<'_>) {
    if let Some(packet) = built(source, destination, message, packet::HOP_LIMIT) {
        super::send(packet, destination);
    }
}

fn built(source: Address, destination: Address, message: IcmpRepr<'_>, hops: u8) -> Option<Packet> {
    match message {
        IcmpRepr::Ipv4(message) => {
            let (mut packet, start) =
                Packet::ip(source, destination, IpProtocol::Icmp, message.buffer_len(), hops)?;
            let place = &mut packet.as_mut()[start..];
            message.emit(&mut Icmpv4Packet::new_unchecked(place), &checksums(true));
            Some(packet)
        }
        IcmpRepr::Ipv6(message) => {
            let len = message.buffer_len();
            let (mut packet, start) = Packet::ip(source, destination, IpProtocol::Icmpv6, len, hops)?;
            let place = &mut packet.as_mut()[start..];
            let (from, to) = (source.octets().into(), destination.octets().into());
            message.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(place), &checksums(true));
            Some(packet)
        }
    }
}

/// Nobody is at the port that a datagram was sent to.
pub fn refuse(opened: &Opened<'_>) {
    let quoted = &opened.payload[..opened.payload.len().min(QUOTED_BYTES)];
    let (own, to) = (opened.destination, opened.source);
    if to.is_any() || to.is_multicast() {
        return;
    }
    if own.is_v4() {
        let header = Ipv4Repr {
            src_addr: to.v4_octets().into(),
            dst_addr: own.v4_octets().into(),
            next_header: opened.protocol,
            payload_len: opened.payload.len(),
            hop_limit: opened.hop_limit,
        };
        let reason = Icmpv4DstUnreachable::PortUnreachable;
        send(own, to, IcmpRepr::Ipv4(Icmpv4Repr::DstUnreachable { reason, header, data: quoted }));
    } else {
        let header = Ipv6Repr {
            src_addr: to.octets().into(),
            dst_addr: own.octets().into(),
            next_header: opened.protocol,
            payload_len: opened.payload.len(),
            hop_limit: opened.hop_limit,
        };
        let reason = Icmpv6DstUnreachable::PortUnreachable;
        send(own, to, IcmpRepr::Ipv6(Icmpv6Repr::DstUnreachable { reason, header, data: quoted }));
    }
}

/// A datagram that this machine sent found nobody.
fn be_refused(source: Address, destination: Address, protocol: IpProtocol, quoted: &[u8]) {
    if protocol != IpProtocol::Udp {
        return;
    }
    if let Some(&[a, b, c, d]) = quoted.first_chunk::<4>() {
        let own = Name::new(source, u16::from_be_bytes([a, b]));
        udp::be_refused(own, Name::new(destination, u16::from_be_bytes([c, d])));
    }
}

/// Takes a message of IPv4 in.
pub fn receive_v4(opened: &Opened<'_>, is_verified: bool) -> bool {
    let message = Icmpv4Packet::new_checked(opened.payload);
    let Ok(message) = message
        .as_ref()
        .map_err(|_| ())
        .and_then(|packet| Icmpv4Repr::parse(packet, &checksums(!is_verified)).map_err(|_| ()))
    else {
        return false;
    };
    match message {
        Icmpv4Repr::EchoRequest { ident, seq_no, data } if !opened.destination.is_multicast() => {
            send(
                opened.destination,
                opened.source,
                IcmpRepr::Ipv4(Icmpv4Repr::EchoReply { ident, seq_no, data }),
            );
        }
        Icmpv4Repr::DstUnreachable { reason: Icmpv4DstUnreachable::PortUnreachable, header, data } => {
            let (from, to) = (header.src_addr.octets(), header.dst_addr.octets());
            be_refused(Address::v4(from), Address::v4(to), header.next_header, data);
        }
        _ => {}
    }
    true
}

/// Takes a message of IPv6 in.
pub fn receive_v6(opened: &Opened<'_>, is_verified: bool, card: Option<&Card>) -> bool {
    let (from, to) = (opened.source.octets().into(), opened.destination.octets().into());
    let message = Icmpv6Packet::new_checked(opened.payload);
    let Ok(message) = message
        .as_ref()
        .map_err(|_| ())
        .and_then(|packet| Icmpv6Repr::parse(&from, &to, packet, &checksums(!is_verified)).map_err(|_| ()))
    else {
        return false;
    };
    match message {
        Icmpv6Repr::EchoRequest { ident, seq_no, data } if !opened.destination.is_multicast() => {
            send(
                opened.destination,
                opened.source,
                IcmpRepr::Ipv6(Icmpv6Repr::EchoReply { ident, seq_no, data }),
            );
        }
        Icmpv6Repr::DstUnreachable { reason: Icmpv6DstUnreachable::PortUnreachable, header, data } => {
            let (from, to) = (header.src_addr.octets(), header.dst_addr.octets());
            be_refused(Address::v6(from), Address::v6(to), header.next_header, data);
        }
        Icmpv6Repr::Ndisc(message) if opened.hop_limit == NEIGHBOUR_HOPS => {
            if let Some(card) = card {
                receive_neighbour(opened, &message, card);
            }
        }
        _ => {}
    }
    true
}

fn hardware(address: RawHardwareAddress) -> Option<[u8; 6]> {
    let hardware: [u8; 6] = address.as_bytes().try_into().ok()?;
    (hardware[0] & 1 == 0).then_some(hardware)
}

fn own_hardware(card: &Card) -> RawHardwareAddress {
    RawHardwareAddress::from_bytes(&card.hardware())
}

fn receive_neighbour(opened: &Opened<'_>, message: &NdiscRepr<'_>, card: &Card) {
    match message {
        NdiscRepr::NeighborSolicit { target_addr, lladdr } => {
            let target = Address::v6(target_addr.octets());
            if !card.has_address(target) || opened.source.is_any() {
                return;
            }
            if let Some(hardware) = lladdr.and_then(hardware) {
                card.learn(opened.source, hardware, true);
            }
            let answer = NdiscRepr::NeighborAdvert {
                flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
                target_addr: *target_addr,
                lladdr: Some(own_hardware(card)),
            };
            send_neighbour(card, target, opened.source, answer);
        }
        NdiscRepr::NeighborAdvert { target_addr, lladdr, .. } => {
            if let Some(hardware) = lladdr.and_then(hardware) {
                card.learn(Address::v6(target_addr.octets()), hardware, false);
            }
        }
        NdiscRepr::RouterAdvert { router_lifetime, lladdr, prefix_info, .. } => {
            if let Some(hardware) = lladdr.and_then(hardware) {
                card.learn(opened.source, hardware, true);
            }
            let prefix = prefix_info
                .filter(|info| info.prefix_len == 64 && info.flags.contains(NdiscPrefixInfoFlags::ADDRCONF));
            let address = prefix.map(|info| (address_behind(info.prefix.octets(), card.hardware()), 64));
            card.change_configuration(|configuration| {
                configuration.gateway_v6 = (router_lifetime.total_micros() > 0).then_some(opened.source);
                if let Some(address) = address
                    && !configuration.v6.contains(&address)
                    && configuration.v6.len() < 8
                {
                    configuration.v6.push(address);
                }
            });
        }
        _ => {}
    }
}

fn send_neighbour(card: &Card, source: Address, destination: Address, message: NdiscRepr<'_>) {
    let message = IcmpRepr::Ipv6(Icmpv6Repr::Ndisc(message));
    if let Some(packet) = built(source, destination, message, NEIGHBOUR_HOPS) {
        card.send_ip(packet, destination);
    }
}

/// Asks who has an address.
pub fn solicit_neighbour(card: &Card, whom: Address) {
    let Some(own) = card.source_for(whom) else { return };
    let octets = whom.octets();
    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    group[13..].copy_from_slice(&octets[13..]);
    let question =
        NdiscRepr::NeighborSolicit { target_addr: octets.into(), lladdr: Some(own_hardware(card)) };
    send_neighbour(card, own, Address::v6(group), question);
}

/// Asks who forwards.
pub fn solicit_routers(card: &Card) {
    let group = Address::v6(ALL_ROUTERS);
    let Some(own) = card.source_for(group) else { return };
    send_neighbour(card, own, group, NdiscRepr::RouterSolicit { lladdr: Some(own_hardware(card)) });
}
