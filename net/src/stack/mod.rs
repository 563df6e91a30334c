//! Packets: out through an interface, and in to whose they are.
//!
//! A packet for this machine goes into the queue of `lo` ([`loopback`]); one for elsewhere to a card ([`card`]).

pub mod card;
pub mod dhcp;
mod icmp;
pub mod interfaces;
pub mod loopback;
mod neighbours;
#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicU64, Ordering};

use smoltcp::wire::IpProtocol;

use crate::address::Address;
use crate::packet::{self, Opened, Packet};
use crate::{route, tcp, udp};

/// Counters that `/proc/net/snmp` tells.
pub static RECEIVED: AtomicU64 = AtomicU64::new(0);
/// Packets handed to an interface.
pub static SENT: AtomicU64 = AtomicU64::new(0);
/// Packets that were none, or nobody's.
pub static DISCARDED: AtomicU64 = AtomicU64::new(0);

/// Sends an IP packet to its address.
pub fn send(mut packet: Packet, destination: Address) {
    SENT.fetch_add(1, Ordering::Relaxed);
    if route::is_own(destination) {
        packet.is_verified = true;
        loopback::QUEUE.push(packet);
    } else if let Some((card, next)) = card::towards(destination) {
        card.send_ip(packet, next);
    }
}

/// Whether what goes there needs sums: inside the machine nothing is damaged.
pub fn needs_checksums(destination: Address) -> bool {
    !route::is_own(destination)
}

/// The largest IP packet that goes there in one piece.
pub fn packet_limit(destination: Address) -> usize {
    if route::is_own(destination) {
        loopback::LARGEST
    } else {
        card::towards(destination).map_or(1280, |(card, _)| card.mtu())
    }
}

/// Takes an IP packet in; `card` is where it came from, if not from here.
pub fn receive(packet: &Packet, card: Option<&card::Card>) {
    RECEIVED.fetch_add(1, Ordering::Relaxed);
    let opened = packet::open(packet.as_ref(), packet.is_verified).filter(|opened| is_for_us(opened, card));
    let Some(opened) = opened else {
        DISCARDED.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let is_known = match opened.protocol {
        IpProtocol::Tcp => tcp::receive_packet(&opened, packet.is_verified),
        IpProtocol::Udp => udp::receive_packet(&opened, packet, card),
        IpProtocol::Icmp => icmp::receive_v4(&opened, packet.is_verified),
        IpProtocol::Icmpv6 => icmp::receive_v6(&opened, packet.is_verified, card),
        _ => false,
    };
    if !is_known {
        DISCARDED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tells the sender of a datagram that nobody is at its port.
pub(crate) use icmp::refuse;

/// Whether a packet that came this way is for this machine. What claims to be from here did not come from outside.
fn is_for_us(opened: &Opened<'_>, card: Option<&card::Card>) -> bool {
    match card {
        None => true,
        Some(card) => {
            !opened.source.is_loopback()
                && !opened.destination.is_loopback()
                && (route::is_own(opened.destination) || card.listens_to(opened.destination))
        }
    }
}
