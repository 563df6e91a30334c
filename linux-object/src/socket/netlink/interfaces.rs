//! The machine's interfaces, their addresses and the routes that follow from them: what answers are made of.
//!
//! The table itself is `net`'s; here it gets the form and the numbers of netlink.

use alloc::vec::Vec;

use net::address::Address;

use net::stack::interfaces as table;

use crate::socket::internet::interface::{self, ETHERNET_HARDWARE, LOOPBACK_HARDWARE, QUEUE_PACKETS};

const LOOPBACK_INDEX: u32 = 1;

/// Within the machine only (`RT_SCOPE_HOST`).
pub(super) const SCOPE_HOST: u8 = 254;
/// On the link only (`RT_SCOPE_LINK`).
pub(super) const SCOPE_LINK: u8 = 253;
/// The whole world (`RT_SCOPE_UNIVERSE`).
pub(super) const SCOPE_UNIVERSE: u8 = 0;
/// Within a site (`RT_SCOPE_SITE`).
const SCOPE_SITE: u8 = 200;
/// What goes elsewhere (`RTN_UNICAST`).
pub(super) const KIND_UNICAST: u8 = 1;
/// The table of ways to others (`RT_TABLE_MAIN`).
pub(super) const TABLE_MAIN: u8 = 254;
/// What Linux gives routes of IPv6 that follow from addresses.
const V6_PRIORITY: u32 = 256;
/// What arrives here (`RTN_LOCAL`).
pub(super) const KIND_LOCAL: u8 = 2;
/// What arrives at all of a link (`RTN_BROADCAST`).
pub(super) const KIND_BROADCAST: u8 = 3;
/// The table of the machine's own addresses (`RT_TABLE_LOCAL`).
pub(super) const TABLE_LOCAL: u8 = 255;

/// An address of an interface.
pub(super) struct InterfaceAddress {
    pub(super) address: Address,
    /// How many bits its network has.
    pub(super) prefix_bits: u8,
    pub(super) scope: u8,
}

/// An interface.
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: Vec<u8>,
    /// `IFF_`.
    pub(super) flags: u32,
    /// `ARPHRD_`.
    pub(super) hardware_kind: u16,
    pub(super) hardware_address: [u8; 6],
    pub(super) broadcast_address: [u8; 6],
    pub(super) mtu: u32,
    pub(super) queue_packets: u32,
    pub(super) addresses: Vec<InterfaceAddress>,
}

/// A row of a routing table.
pub(super) struct RouteRow {
    pub(super) destination: Address,
    pub(super) prefix_bits: u8,
    pub(super) table: u8,
    pub(super) scope: u8,
    pub(super) kind: u8,
    pub(super) index: u32,
    /// Who forwards.
    pub(super) gateway: Option<Address>,
    /// The address that is sent from.
    pub(super) source: Option<Address>,
    /// The metric, where it is told.
    pub(super) priority: Option<u32>,
}

/// Where an address means something.
fn scope(address: Address) -> u8 {
    match address.octets() {
        _ if address.is_loopback() => SCOPE_HOST,
        [0xfe, second, ..] if second & 0xc0 == 0x80 => SCOPE_LINK,
        [0xfe, second, ..] if second & 0xc0 == 0xc0 => SCOPE_SITE,
        _ => SCOPE_UNIVERSE,
    }
}

/// All interfaces, by their numbers.
pub(super) fn all() -> Vec<Interface> {
    let form = |one: table::Interface| {
        let flags = u32::from(interface::flags(&one));
        let addresses = one.v4.into_iter().chain(one.v6);
        let addresses = addresses.map(|(address, prefix_bits)| InterfaceAddress {
            address,
            prefix_bits,
            scope: scope(address),
        });
        Interface {
            index: one.index,
            flags,
            hardware_kind: if one.is_loopback { LOOPBACK_HARDWARE } else { ETHERNET_HARDWARE },
            hardware_address: one.hardware,
            broadcast_address: if one.is_loopback { [0; 6] } else { [0xff; 6] },
            mtu: one.mtu as u32,
            queue_packets: QUEUE_PACKETS as u32,
            addresses: addresses.collect(),
            name: one.name.into_bytes(),
        }
    };
    table::all().into_iter().map(form).collect()
}

/// The rows that cards bring to the main table.
fn routes_of_cards() -> Vec<RouteRow> {
    let interfaces = table::all();
    let form = |route: table::Route| {
        let (destination, prefix_bits) = route.destination;
        let own = interfaces.iter().find(|one| one.index == route.index).and_then(|one| one.v4);
        let is_v4 = destination.is_v4();
        RouteRow {
            destination,
            prefix_bits,
            table: TABLE_MAIN,
            scope: if route.gateway.is_none() && is_v4 { SCOPE_LINK } else { SCOPE_UNIVERSE },
            kind: KIND_UNICAST,
            index: route.index,
            gateway: route.gateway,
            source: own.filter(|_| is_v4 && route.gateway.is_none()).map(|(address, _)| address),
            priority: (!is_v4).then_some(V6_PRIORITY),
        }
    };
    table::routes().into_iter().map(form).collect()
}

/// The rows of the routing tables, in the order in which they are listed.
pub(super) fn routes() -> Vec<RouteRow> {
    let local = RouteRow {
        destination: Address::LOOPBACK_V4,
        prefix_bits: 32,
        table: TABLE_LOCAL,
        scope: SCOPE_HOST,
        kind: KIND_LOCAL,
        index: LOOPBACK_INDEX,
        gateway: None,
        source: Some(Address::LOOPBACK_V4),
        priority: None,
    };
    let mut rows = routes_of_cards();
    rows.extend([
        RouteRow { destination: Address::v4([127, 0, 0, 0]), prefix_bits: 8, ..local },
        RouteRow { ..local },
        RouteRow {
            destination: Address::v4([127, 255, 255, 255]),
            scope: SCOPE_LINK,
            kind: KIND_BROADCAST,
            ..local
        },
        RouteRow {
            destination: Address::LOOPBACK_V6,
            prefix_bits: 128,
            table: TABLE_LOCAL,
            scope: SCOPE_UNIVERSE,
            kind: KIND_LOCAL,
            index: LOOPBACK_INDEX,
            gateway: None,
            source: None,
            priority: Some(0),
        },
    ]);
    rows
}
