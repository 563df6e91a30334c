//! The machine's interfaces, their addresses and the routes that follow from them: what answers are made of.
//!
//! There is `lo`. Whatever else becomes an interface is one more entry of [`all`] and brings its routes to [`routes`].

use alloc::vec::Vec;

use net::address::Address;

use crate::socket::internet::interface::{
    LOOPBACK_FLAGS, LOOPBACK_HARDWARE, LOOPBACK_INDEX, LOOPBACK_MTU, LOOPBACK_NAME, QUEUE_PACKETS,
};

/// Within the machine only (`RT_SCOPE_HOST`).
pub(super) const SCOPE_HOST: u8 = 254;
/// On the link only (`RT_SCOPE_LINK`).
pub(super) const SCOPE_LINK: u8 = 253;
/// The whole world (`RT_SCOPE_UNIVERSE`).
pub(super) const SCOPE_UNIVERSE: u8 = 0;
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
    pub(super) name: &'static [u8],
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
    /// The address that is sent from.
    pub(super) source: Option<Address>,
    /// The metric, where it is told.
    pub(super) priority: Option<u32>,
}

/// All interfaces, by their numbers.
pub(super) fn all() -> Vec<Interface> {
    let addresses = Vec::from([
        InterfaceAddress { address: Address::LOOPBACK_V4, prefix_bits: 8, scope: SCOPE_HOST },
        InterfaceAddress { address: Address::LOOPBACK_V6, prefix_bits: 128, scope: SCOPE_HOST },
    ]);
    Vec::from([Interface {
        index: LOOPBACK_INDEX as u32,
        name: LOOPBACK_NAME,
        flags: u32::from(LOOPBACK_FLAGS),
        hardware_kind: LOOPBACK_HARDWARE,
        hardware_address: [0; 6],
        broadcast_address: [0; 6],
        mtu: LOOPBACK_MTU as u32,
        queue_packets: QUEUE_PACKETS as u32,
        addresses,
    }])
}

/// The rows of the routing tables, in the order in which they are listed.
pub(super) fn routes() -> Vec<RouteRow> {
    let local = RouteRow {
        destination: Address::LOOPBACK_V4,
        prefix_bits: 32,
        table: TABLE_LOCAL,
        scope: SCOPE_HOST,
        kind: KIND_LOCAL,
        index: LOOPBACK_INDEX as u32,
        source: Some(Address::LOOPBACK_V4),
        priority: None,
    };
    Vec::from([
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
            index: LOOPBACK_INDEX as u32,
            source: None,
            priority: Some(0),
        },
    ])
}
