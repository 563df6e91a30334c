//! The machine's interfaces as programs are told of them, `lo` and cards alike.

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use super::{card, loopback};
use crate::address::Address;

/// An interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// What programs call it.
    pub name: String,
    /// It leads to the machine itself.
    pub is_loopback: bool,
    /// Its Ethernet address; zeros if it has none.
    pub hardware: [u8; 6],
    /// Its largest packet.
    pub mtu: usize,
    /// Its address of IPv4, and how many bits of it are those of its network.
    pub v4: Option<(Address, u8)>,
    /// Its addresses of IPv6.
    pub v6: Vec<(Address, u8)>,
    /// Packets and bytes that came in, packets and bytes that went out, and packets that were lost.
    pub counters: [u64; 5],
}

/// A way to other networks.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where it leads: a network and its bits.
    pub destination: (Address, u8),
    /// Who forwards; none if the network is the interface's own.
    pub gateway: Option<Address>,
    /// The interface.
    pub interface: String,
    /// Its number.
    pub index: u32,
}

/// All of them, by their numbers.
pub fn all() -> Vec<Interface> {
    let [packets, bytes, lost] =
        loopback::QUEUE.counters.each_ref().map(|counter| counter.load(Ordering::Relaxed));
    let mut interfaces = alloc::vec![Interface {
        index: 1,
        name: "lo".into(),
        is_loopback: true,
        hardware: [0; 6],
        mtu: loopback::MTU,
        v4: Some((Address::LOOPBACK_V4, 8)),
        v6: alloc::vec![(Address::LOOPBACK_V6, 128)],
        counters: [packets, bytes, packets, bytes, lost],
    }];
    for card in card::all() {
        let configuration = card.configuration();
        let counters = &card.counters;
        let [received, received_bytes] =
            counters.received.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        let [sent, sent_bytes] = counters.sent.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        interfaces.push(Interface {
            index: card.index,
            name: card.name.clone(),
            is_loopback: false,
            hardware: card.hardware(),
            mtu: card.mtu(),
            v4: configuration.v4,
            v6: configuration.v6,
            counters: [received, received_bytes, sent, sent_bytes, counters.dropped.load(Ordering::Relaxed)],
        });
    }
    interfaces
}

/// The network that an address and its bits are in.
pub fn network_of((address, bits): (Address, u8)) -> Address {
    if address.is_v4() {
        let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
        Address::v4((u32::from_be_bytes(address.v4_octets()) & mask).to_be_bytes())
    } else {
        let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
        Address::v6((u128::from_be_bytes(address.octets()) & mask).to_be_bytes())
    }
}

/// The ways to other machines: the default ones first, as Linux lists them.
pub fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for card in card::all() {
        let configuration = card.configuration();
        let mut add = |destination, gateway| {
            routes.push(Route { destination, gateway, interface: card.name.clone(), index: card.index });
        };
        if let Some(gateway) = configuration.gateway_v4 {
            add((Address::ANY_V4, 0), Some(gateway));
        }
        if let Some(gateway) = configuration.gateway_v6 {
            add((Address::ANY_V6, 0), Some(gateway));
        }
        for network in configuration.v4.into_iter().chain(configuration.v6) {
            add((network_of(network), network.1), None);
        }
    }
    routes
}
