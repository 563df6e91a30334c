//! Asking the network for an address of IPv4, and for keeping it.

use alloc::vec::Vec;
use core::time::Duration;

use kernel_hal::Instant;
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, IpProtocol, Ipv4Address, UdpPacket, UdpRepr,
};

use super::card::Card;
use crate::address::{Address, Name};
use crate::packet::{HOP_LIMIT, Packet, checksums, wire_address};
use crate::{random, udp};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const EVERYBODY: Address = Address::v4([255; 4]);
/// Network, router, name servers.
const WANTED: &[u8] = &[1, 3, 6];
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
const LONGEST_PATIENCE: Duration = Duration::from_secs(32);
const DEFAULT_LEASE: Duration = Duration::from_secs(3600);
const SHORTEST_LEASE: Duration = Duration::from_secs(60);

/// What somebody offers.
#[derive(Clone, Debug)]
struct Offer {
    address: Ipv4Address,
    server: Ipv4Address,
    bits: u8,
    router: Option<Ipv4Address>,
    name_servers: Vec<Address>,
    lease: Duration,
}

fn v4(address: Ipv4Address) -> Address {
    Address::v4(address.octets())
}

/// Gets an address and keeps it, for ever.
pub async fn keep_configured(card: &Card) {
    let endpoint = udp::Endpoint::new(false);
    if endpoint.bind(Name::new(Address::ANY_V4, CLIENT_PORT), 0).is_err() {
        log::warn!("{}: the port for configuration is taken", card.name);
        return;
    }
    loop {
        let number = random::number() as u32;
        let offer = exchange(card, &endpoint, number, DhcpMessageType::Offer, None).await;
        let Some(agreed) = settle(card, &endpoint, number, &offer).await else { continue };
        apply(card, &agreed);
        executor::sleep(agreed.lease / 2).await;
        // Half of the time is over: the same again, and if nobody answers in time, from the beginning.
        while let Some(agreed) = settle(card, &endpoint, number, &offer).await {
            apply(card, &agreed);
            executor::sleep(agreed.lease / 2).await;
        }
    }
}

fn apply(card: &Card, offer: &Offer) {
    log::info!("{}: {}/{}", card.name, offer.address, offer.bits);
    card.change_configuration(|configuration| {
        configuration.v4 = Some((v4(offer.address), offer.bits));
        configuration.gateway_v4 = offer.router.map(v4);
        configuration.name_servers.clone_from(&offer.name_servers);
    });
}

/// Takes an offer; `None` if it does not stand any more.
async fn settle(card: &Card, endpoint: &udp::Endpoint, number: u32, offer: &Offer) -> Option<Offer> {
    let deadline = Instant::now() + LONGEST_PATIENCE;
    let exchange = exchange(card, endpoint, number, DhcpMessageType::Ack, Some(offer));
    executor::timeout(deadline, exchange).await.ok()
}

/// Asks until somebody gives the answer that is wanted.
async fn exchange(
    card: &Card,
    endpoint: &udp::Endpoint,
    number: u32,
    wanted: DhcpMessageType,
    offer: Option<&Offer>,
) -> Offer {
    let mut patience = FIRST_PATIENCE;
    loop {
        ask(card, number, offer);
        let answer = endpoint.wait_queue().wait_until(|| {
            while let Ok(Some(datagram)) = endpoint.receive(false) {
                let offered = understand(&datagram.bytes, number, wanted, EthernetAddress(card.hardware()));
                if offered.is_some() {
                    return offered;
                }
            }
            None
        });
        if let Ok(offer) = executor::timeout(Instant::now() + patience, answer).await {
            return offer;
        }
        patience = (patience * 2).min(LONGEST_PATIENCE);
    }
}

fn understand(bytes: &[u8], number: u32, wanted: DhcpMessageType, own: EthernetAddress) -> Option<Offer> {
    let packet = DhcpPacket::new_checked(bytes).ok()?;
    let answer = DhcpRepr::parse(&packet).ok()?;
    if answer.transaction_id != number
        || answer.message_type != wanted
        || answer.client_hardware_address != own
    {
        return None;
    }
    let mask = answer.subnet_mask.map_or(u32::MAX << 8, u32::from);
    let name_servers = answer.dns_servers.iter().flatten().map(|&server| v4(server)).collect();
    let lease =
        answer.lease_duration.map_or(DEFAULT_LEASE, |seconds| Duration::from_secs(u64::from(seconds)));
    Some(Offer {
        address: answer.your_ip,
        server: answer.server_identifier?,
        bits: mask.leading_ones() as u8,
        router: answer.router,
        name_servers,
        lease: lease.max(SHORTEST_LEASE),
    })
}

/// Asks everybody for an address, or for the one that was offered.
fn ask(card: &Card, number: u32, offer: Option<&Offer>) {
    let own = EthernetAddress(card.hardware());
    let question = DhcpRepr {
        message_type: if offer.is_some() { DhcpMessageType::Request } else { DhcpMessageType::Discover },
        transaction_id: number,
        secs: 0,
        client_hardware_address: own,
        client_ip: Ipv4Address::UNSPECIFIED,
        your_ip: Ipv4Address::UNSPECIFIED,
        server_ip: Ipv4Address::UNSPECIFIED,
        router: None,
        subnet_mask: None,
        relay_agent_ip: Ipv4Address::UNSPECIFIED,
        broadcast: true,
        requested_ip: offer.map(|offer| offer.address),
        client_identifier: Some(own),
        server_identifier: offer.map(|offer| offer.server),
        parameter_request_list: Some(WANTED),
        dns_servers: None,
        max_size: Some(1500),
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let header = UdpRepr { src_port: CLIENT_PORT, dst_port: SERVER_PORT };
    let len = question.buffer_len();
    let whole = header.header_len() + len;
    let Some((mut packet, start)) = Packet::ip(Address::ANY_V4, EVERYBODY, IpProtocol::Udp, whole, HOP_LIMIT)
    else {
        return;
    };
    let mut is_whole = true;
    header.emit(
        &mut UdpPacket::new_unchecked(&mut packet.as_mut()[start..]),
        &wire_address(Address::v4([0; 4])),
        &wire_address(EVERYBODY),
        len,
        |place| is_whole = question.emit(&mut DhcpPacket::new_unchecked(place)).is_ok(),
        &checksums(true),
    );
    if is_whole {
        card.send_ip(packet, EVERYBODY);
    }
}
