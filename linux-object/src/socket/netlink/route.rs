//! `NETLINK_ROUTE`: requests about links, addresses and routes, and their answers.
//!
//! Nothing can be changed: requests that would are answered `EOPNOTSUPP`. Nothing changes by itself either, so the
//! groups that a socket joins have nothing to tell.

use alloc::vec::Vec;

use linux_abi::Errno;
use net::address::Address;

use super::interfaces::{
    self, Interface, InterfaceAddress, KIND_LOCAL, KIND_UNICAST, RouteRow, SCOPE_UNIVERSE, TABLE_LOCAL,
    TABLE_MAIN,
};
use super::message::{
    FIRST_KIND, FLAG_ACK, FLAG_CAPPED, FLAG_MULTI, FLAG_REQUEST, FLAGS_DUMP, HEADER_BYTES, Header, KIND_DONE,
    KIND_ERROR, Message, aligned, find_attribute,
};
use crate::socket::internet::{AF_INET, AF_INET6};

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
/// Kinds go by fours; the third of four asks.
const KIND_OF_FOUR: u16 = 3;
const ASKS: u16 = 2;

const V4: u8 = AF_INET as u8;
const V6: u8 = AF_INET6 as u8;
/// Bytes of `struct ifinfomsg`.
const LINK_BYTES: usize = 16;
/// Bytes of `struct ifaddrmsg`.
const ADDRESS_BYTES: usize = 8;
/// Bytes of `struct rtmsg`.
const ROUTE_BYTES: usize = 12;

/// `IFA_F_PERMANENT`.
const PERMANENT: u32 = 0x80;
/// `RTPROT_KERNEL`.
const BY_KERNEL: u8 = 2;
/// `RTM_F_CLONED`, and `RTCF_LOCAL`.
const CLONED_LOCAL: u32 = 0x200 | 0x8000_0000;
/// The true table is asked for (`RTM_F_LOOKUP_TABLE`).
const LOOKUP_TABLE: u32 = 0x1000;
const CACHE_INFORMATION_BYTES: usize = 32;

/// What a datagram has room for; a dump that is longer comes in several.
const DATAGRAM_BYTES: usize = 3776;

/// Who asks, and what he may.
pub(super) struct Asking {
    /// His socket's port.
    pub(super) port: u32,
    /// Whether he might change something.
    pub(super) is_administrator: bool,
    /// Errors repeat only the header of what he asked.
    pub(super) caps_errors: bool,
}

/// The octets of an address of its version.
fn octets(address: Address) -> Vec<u8> {
    if address.is_v4() { address.v4_octets().to_vec() } else { address.octets().to_vec() }
}

fn version(address: Address) -> u8 {
    if address.is_v4() { V4 } else { V6 }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes)
}

/// A request, and who asks.
struct Request<'a> {
    header: Header,
    body: &'a [u8],
    asking: &'a Asking,
}

impl Request<'_> {
    fn is_dump(&self) -> bool {
        self.header.flags & FLAGS_DUMP != 0
    }

    fn message(&self, kind: u16) -> Message {
        let flags = if self.is_dump() { FLAG_MULTI } else { 0 };
        Message::new(kind, flags, self.header.sequence, self.asking.port)
    }

    /// The body as a structure of so many bytes, and the attributes behind it.
    fn parts(&self, bytes: usize) -> Result<(&[u8], &[u8]), Errno> {
        let fixed = self.body.get(..bytes).ok_or(Errno::EINVAL)?;
        Ok((fixed, self.body.get(aligned(bytes)..).unwrap_or_default()))
    }

    /// The messages that answer it.
    fn answer(&self) -> Result<Vec<Vec<u8>>, Errno> {
        if self.header.kind & KIND_OF_FOUR != ASKS && !self.asking.is_administrator {
            return Err(Errno::EPERM);
        }
        let family = self.body.first().copied().unwrap_or(0);
        // Another family than the two is answered with all.
        let is_wanted = |address: Address| !matches!(family, V4 | V6) || version(address) == family;
        match (self.header.kind, self.is_dump()) {
            (GET_LINK, true) => Ok(interfaces::all().iter().map(|one| self.link(one)).collect()),
            (GET_LINK, false) => self.one_link(),
            (GET_ADDRESS, true) => Ok(self.addresses(is_wanted)),
            (GET_ADDRESS, false) if family == V6 => self.one_address(),
            (GET_ROUTE, true) => Ok(interfaces::routes()
                .iter()
                .filter(|row| is_wanted(row.destination))
                .map(|row| self.route(row))
                .collect()),
            (GET_ROUTE, false) if matches!(family, V4 | V6) => self.way(family),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// What is told of an interface.
    fn link(&self, interface: &Interface) -> Vec<u8> {
        const NAME: u16 = 3;
        const EXTENDED_MASK: u16 = 29;
        const SKIP_STATISTICS: u32 = 8;
        const STATISTICS_64: (u16, usize) = (23, 200);
        const STATISTICS: (u16, usize) = (7, 96);
        let mut message = self.message(NEW_LINK);
        let mut body = [0; LINK_BYTES];
        body[2..4].copy_from_slice(&interface.hardware_kind.to_le_bytes());
        body[4..8].copy_from_slice(&interface.index.to_le_bytes());
        /// `IFF_LOWER_UP`: there is a carrier.
        const LOWER_UP: u32 = 0x10000;
        body[8..12].copy_from_slice(&(interface.flags | LOWER_UP).to_le_bytes());
        message.body(&body);
        message.text(NAME, &interface.name);
        message.number(13, interface.queue_packets); // IFLA_TXQLEN
        message.attribute(16, &[0]); // IFLA_OPERSTATE: unknown, as of all that has no carrier to lose
        message.attribute(17, &[0]); // IFLA_LINKMODE
        message.number(4, interface.mtu); // IFLA_MTU
        message.number(50, 0); // IFLA_MIN_MTU
        message.number(51, 0); // IFLA_MAX_MTU
        message.number(27, 0); // IFLA_GROUP
        message.number(30, 0); // IFLA_PROMISCUITY
        message.number(31, 1); // IFLA_NUM_TX_QUEUES
        message.number(32, 1); // IFLA_NUM_RX_QUEUES
        message.attribute(33, &[1]); // IFLA_CARRIER
        message.number(35, 0); // IFLA_CARRIER_CHANGES
        message.attribute(39, &[0]); // IFLA_PROTO_DOWN
        message.attribute(1, &interface.hardware_address); // IFLA_ADDRESS
        message.attribute(2, &interface.broadcast_address); // IFLA_BROADCAST
        let attributes = self.body.get(LINK_BYTES..).unwrap_or_default();
        let mask = find_attribute(attributes, EXTENDED_MASK).and_then(|value| word(value, 0)).unwrap_or(0);
        if mask & SKIP_STATISTICS == 0 {
            // Nothing of what goes through `lo` is a packet.
            for (kind, bytes) in [STATISTICS_64, STATISTICS] {
                message.attribute(kind, &[0; STATISTICS_64.1][..bytes]);
            }
        }
        message.text(6, b"noqueue"); // IFLA_QDISC
        message.finish()
    }

    fn one_link(&self) -> Result<Vec<Vec<u8>>, Errno> {
        const NAMES: [u16; 2] = [3, 53];
        let (fixed, attributes) = self.parts(LINK_BYTES)?;
        let index = word(fixed, 4).unwrap_or(0);
        let name = NAMES.iter().find_map(|&kind| find_attribute(attributes, kind));
        let name = name.map(|name| name.split(|&byte| byte == 0).next().unwrap_or_default());
        let is_meant = |one: &&Interface| match name {
            _ if index != 0 => one.index == index,
            Some(name) => one.name == name,
            None => false,
        };
        if index == 0 && name.is_none() {
            return Err(Errno::EINVAL);
        }
        let all = interfaces::all();
        let link = all.iter().find(is_meant).map(|one| self.link(one));
        Ok(Vec::from([link.ok_or(Errno::ENODEV)?]))
    }

    /// What is told of an address of an interface.
    fn address(&self, interface: &Interface, one: &InterfaceAddress) -> Vec<u8> {
        const ADDRESS: u16 = 1;
        const LOCAL: u16 = 2;
        const LABEL: u16 = 3;
        const CACHE_INFORMATION: u16 = 6;
        const FLAGS: u16 = 8;
        const PROTOCOL: u16 = 11;
        /// `IFAPROT_KERNEL_LO`.
        const OF_LOOPBACK: u8 = 1;
        let mut message = self.message(NEW_ADDRESS);
        let mut body = [version(one.address), one.prefix_bits, PERMANENT as u8, one.scope, 0, 0, 0, 0];
        body[4..].copy_from_slice(&interface.index.to_le_bytes());
        message.body(&body);
        let octets = octets(one.address);
        message.attribute(ADDRESS, &octets);
        if one.address.is_v4() {
            message.attribute(LOCAL, &octets);
            message.text(LABEL, &interface.name);
        }
        message.number(FLAGS, PERMANENT);
        // It is preferred and valid for ever, and has been from the beginning.
        let lifetimes = [0xff; 8].into_iter().chain([0; 8]);
        message.attribute(CACHE_INFORMATION, &lifetimes.collect::<Vec<u8>>());
        if !one.address.is_v4() && one.address.is_loopback() {
            message.attribute(PROTOCOL, &[OF_LOOPBACK]);
        }
        message.finish()
    }

    /// Those of IPv4 come before those of IPv6, whatever they belong to.
    fn addresses(&self, is_wanted: impl Fn(Address) -> bool) -> Vec<Vec<u8>> {
        let all = interfaces::all();
        let of_version = |is_v4: bool| {
            let each = all.iter().flat_map(|one| one.addresses.iter().map(move |address| (one, address)));
            each.filter(move |(_, address)| address.address.is_v4() == is_v4)
        };
        let both = of_version(true).chain(of_version(false));
        both.filter(|(_, one)| is_wanted(one.address)).map(|(of, one)| self.address(of, one)).collect()
    }

    fn one_address(&self) -> Result<Vec<Vec<u8>>, Errno> {
        const ADDRESSES: [u16; 2] = [1, 2];
        let (_, attributes) = self.parts(ADDRESS_BYTES)?;
        let asked = ADDRESSES.iter().find_map(|&kind| find_attribute(attributes, kind));
        let asked = asked.and_then(|value| value.try_into().ok()).map(Address::v6).ok_or(Errno::EINVAL)?;
        let all = interfaces::all();
        let mut each = all.iter().flat_map(|of| of.addresses.iter().map(move |one| (of, one)));
        let found = each.find(|(_, one)| one.address == asked).ok_or(Errno::EADDRNOTAVAIL)?;
        Ok(Vec::from([self.address(found.0, found.1)]))
    }

    /// What is told of a row of a routing table.
    fn route(&self, row: &RouteRow) -> Vec<u8> {
        let mut message = self.message(NEW_ROUTE);
        let (is_v4, table) = (row.destination.is_v4(), row.table);
        let body = [version(row.destination), row.prefix_bits, 0, 0, table, BY_KERNEL, row.scope, row.kind];
        message.body(&body);
        message.body(&[0; 4]);
        message.number(15, u32::from(table)); // RTA_TABLE
        if row.prefix_bits > 0 {
            message.attribute(1, &octets(row.destination)); // RTA_DST
        }
        if let Some(gateway) = row.gateway {
            message.attribute(5, &octets(gateway)); // RTA_GATEWAY
        }
        if let Some(priority) = row.priority {
            message.number(6, priority); // RTA_PRIORITY
        }
        if let Some(source) = row.source {
            message.attribute(7, &octets(source)); // RTA_PREFSRC
        }
        message.number(4, row.index); // RTA_OIF
        if !is_v4 {
            message.attribute(12, &[0; CACHE_INFORMATION_BYTES]); // RTA_CACHEINFO
            message.attribute(20, &[0]); // RTA_PREF: medium
        }
        message.finish()
    }

    /// The way to one address.
    fn way(&self, family: u8) -> Result<Vec<Vec<u8>>, Errno> {
        const DESTINATION: u16 = 1;
        let (fixed, attributes) = self.parts(ROUTE_BYTES)?;
        let asked = find_attribute(attributes, DESTINATION);
        let asked = match family {
            V4 => asked.map(|value| value.try_into().map(Address::v4)),
            _ => asked.map(|value| value.try_into().map(Address::v6)),
        };
        let any = if family == V4 { Address::ANY_V4 } else { Address::ANY_V6 };
        let asked = asked.transpose().map_err(|_| Errno::EINVAL)?.unwrap_or(any);
        let (source, destination) = net::route::to(asked)?;
        let is_v4 = family == V4;
        let index = interfaces::all()
            .iter()
            .find(|one| one.addresses.iter().any(|own| own.address == source))
            .map(|one| one.index)
            .ok_or(Errno::ENETUNREACH)?;
        // Of a way that was looked up Linux tells the main table, unless it is asked for the true one.
        let wants_table = word(fixed, 8).unwrap_or(0) & LOOKUP_TABLE != 0;
        let table = if is_v4 && !wants_table { TABLE_MAIN } else { TABLE_LOCAL };
        let protocol = if is_v4 { 0 } else { BY_KERNEL };
        let bits = if is_v4 { 32 } else { 128 };
        let gateway =
            net::stack::card::towards(destination).map(|(_, next)| next).filter(|&next| next != destination);
        let is_local = net::route::is_own(destination);
        let kind = if is_local { KIND_LOCAL } else { KIND_UNICAST };
        let table = if is_local { table } else { TABLE_MAIN };
        let mut message = self.message(NEW_ROUTE);
        message.body(&[family, bits, 0, 0, table, protocol, SCOPE_UNIVERSE, kind]);
        let flags = if is_v4 && is_local { CLONED_LOCAL } else { 0 };
        message.body(&flags.to_le_bytes());
        message.number(15, u32::from(table)); // RTA_TABLE
        message.attribute(1, &octets(destination)); // RTA_DST
        if let Some(gateway) = gateway.filter(|_| !is_local) {
            message.attribute(5, &octets(gateway)); // RTA_GATEWAY
        }
        message.number(4, index); // RTA_OIF
        message.attribute(7, &octets(source)); // RTA_PREFSRC
        if !is_v4 {
            message.number(6, 0); // RTA_PRIORITY
            message.attribute(20, &[0]); // RTA_PREF: medium
        }
        Ok(Vec::from([message.finish()]))
    }

    /// The message that says how it ended.
    fn acknowledgement(&self, outcome: Result<(), Errno>, request: &[u8]) -> Vec<u8> {
        let is_capped = outcome.is_ok() || self.asking.caps_errors;
        let flags = if is_capped { FLAG_CAPPED } else { 0 };
        let mut message = Message::new(KIND_ERROR, flags, self.header.sequence, self.asking.port);
        let code = outcome.map_or_else(|errno| -errno.code(), |()| 0);
        message.body(&code.to_le_bytes());
        message.body(if is_capped { &request[..HEADER_BYTES] } else { request });
        message.finish()
    }
}

/// The datagrams that answer all the requests in one that was sent. `may_dump` is false where the answers to a former
/// dump have not been read.
pub(super) fn answers(mut bytes: &[u8], asking: &Asking, may_dump: bool) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    while let Some(header) = Header::read(bytes) {
        if header.len < HEADER_BYTES || header.len > bytes.len() {
            break;
        }
        let whole = &bytes[..header.len];
        let request = Request { header, body: &whole[HEADER_BYTES..], asking };
        answer_one(&request, whole, may_dump, &mut datagrams);
        bytes = bytes.get(aligned(header.len)..).unwrap_or_default();
    }
    datagrams
}

fn answer_one(request: &Request<'_>, whole: &[u8], may_dump: bool, datagrams: &mut Vec<Vec<u8>>) {
    let header = request.header;
    let is_request =
        header.flags & FLAG_REQUEST != 0 && header.kind >= FIRST_KIND && !request.body.is_empty();
    let is_dump = is_request && request.is_dump() && header.kind & KIND_OF_FOUR == ASKS;
    let outcome = match is_request {
        true if is_dump && !may_dump => Err(Errno::EBUSY),
        true => request.answer(),
        false => Ok(Vec::new()),
    };
    let outcome = match outcome {
        Ok(messages) if is_dump => {
            for message in messages {
                match datagrams.last_mut() {
                    Some(last) if last.len() + message.len() <= DATAGRAM_BYTES => last.extend(message),
                    _ => datagrams.push(message),
                }
            }
            let mut done = request.message(KIND_DONE);
            done.body(&[0; 4]);
            datagrams.push(done.finish());
            // A dump that was begun says itself how it ends.
            return;
        }
        Ok(messages) => {
            datagrams.extend(messages);
            Ok(())
        }
        Err(errno) => Err(errno),
    };
    if outcome.is_err() || header.flags & FLAG_ACK != 0 {
        datagrams.push(request.acknowledgement(outcome, whole));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(kind: u16, flags: u16, body: &[u8]) -> Vec<Vec<u8>> {
        let mut request = Message::new(kind, flags, 7, 0);
        request.body(body);
        let asking = Asking { port: 5, is_administrator: false, caps_errors: false };
        answers(&request.finish(), &asking, true)
    }

    fn error_of(datagram: &[u8]) -> i32 {
        assert_eq!(Header::read(datagram).unwrap().kind, KIND_ERROR);
        i32::from_le_bytes(datagram[HEADER_BYTES..HEADER_BYTES + 4].try_into().unwrap())
    }

    #[test]
    fn a_dump_ends_with_its_end() {
        let datagrams = ask(GET_LINK, FLAG_REQUEST | FLAGS_DUMP | FLAG_ACK, &[0; LINK_BYTES]);
        assert_eq!(datagrams.len(), 2);
        let kinds = datagrams.iter().map(|one| Header::read(one).unwrap().kind);
        assert_eq!(kinds.collect::<Vec<_>>(), [NEW_LINK, KIND_DONE]);
    }

    #[test]
    fn what_cannot_be_answered_is_an_error() {
        assert_eq!(error_of(&ask(NEW_LINK, FLAG_REQUEST, &[0; LINK_BYTES])[0]), -Errno::EPERM.code());
        assert_eq!(error_of(&ask(GET_LINK, FLAG_REQUEST, &[0; LINK_BYTES])[0]), -Errno::EINVAL.code());
        assert_eq!(error_of(&ask(GET_LINK, FLAG_REQUEST, &[0; 4])[0]), -Errno::EINVAL.code());
        assert_eq!(error_of(&ask(1002, FLAG_REQUEST, &[0; 4])[0]), -Errno::EOPNOTSUPP.code());
        assert!(ask(GET_LINK, 0, &[0; LINK_BYTES]).is_empty());
    }

    #[test]
    fn damaged_requests_are_passed_over() {
        let asking = Asking { port: 5, is_administrator: true, caps_errors: false };
        assert!(answers(&[0xff; 64], &asking, true).is_empty());
        assert!(answers(&[0; 64], &asking, true).is_empty());
        assert!(answers(&[1; 3], &asking, true).is_empty());
    }
}
