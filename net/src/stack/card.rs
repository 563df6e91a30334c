//! Network cards: Ethernet frames, addresses, and where packets for elsewhere go.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use executor::TaskOptions;
use kernel_hal::Instant;
use ksync::{Once, Rank, SpinLock};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
};
use zcore_drivers::network::NetworkDevice;

use super::neighbours::{HardwareAddress, Neighbours, Way};
use super::{dhcp, icmp};
use crate::address::Address;
use crate::packet::{HEADROOM, Packet};

const BROADCAST: HardwareAddress = [0xff; 6];
/// Frames that wait for room in the device; more are lost.
const MOST_WAITING: usize = 1024;
/// So many frames are taken in before others have a turn.
const BATCH: usize = 64;
const TICK: Duration = Duration::from_secs(1);

/// What a card is called by others.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// Its address of IPv4, and how many bits of it are those of its network.
    pub v4: Option<(Address, u8)>,
    /// Who forwards IPv4.
    pub gateway_v4: Option<Address>,
    /// Its addresses of IPv6.
    pub v6: Vec<(Address, u8)>,
    /// Who forwards IPv6.
    pub gateway_v6: Option<Address>,
    /// Who knows names.
    pub name_servers: Vec<Address>,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody in the network who is asked.
    Dhcp,
    /// It is known.
    Fixed {
        /// The address of IPv4 and its network's bits.
        address: (Address, u8),
        /// Who forwards.
        gateway: Option<Address>,
    },
}

/// What has gone through.
#[derive(Default, Debug)]
pub struct Counters {
    /// Frames and bytes that came in.
    pub received: [AtomicU64; 2],
    /// Frames and bytes that went out.
    pub sent: [AtomicU64; 2],
    /// Frames for which there was no room.
    pub dropped: AtomicU64,
}

/// A card.
pub struct Card {
    /// What programs call it.
    pub name: String,
    /// Its number among interfaces; `lo` is 1.
    pub index: u32,
    device: Arc<dyn NetworkDevice>,
    hardware: HardwareAddress,
    mtu: usize,
    configuration: SpinLock<Configuration>,
    neighbours: SpinLock<Neighbours>,
    waiting: SpinLock<VecDeque<Packet>>,
    /// What has gone through.
    pub counters: Counters,
}

static CARDS: Once<Vec<Arc<Card>>> = Once::new();

/// The machine's cards.
pub fn all() -> &'static [Arc<Card>] {
    CARDS.get().map_or(&[], Vec::as_slice)
}

/// Says which cards there are, once, and starts them: each is configured as `source` says.
pub fn start(devices: Vec<(String, Arc<dyn NetworkDevice>)>, source: Option<Source>) {
    for card in install(devices) {
        executor::spawn(TaskOptions::new("network card"), card.clone().run()).detach();
        executor::spawn(TaskOptions::new("network configuration"), configure(card.clone(), source.clone()))
            .detach();
    }
}

/// Says which cards there are, once.
pub(super) fn install(devices: Vec<(String, Arc<dyn NetworkDevice>)>) -> &'static [Arc<Card>] {
    CARDS.call_once(|| {
        let numbered = devices.into_iter().zip(2..);
        numbered.map(|((name, device), index)| Arc::new(Card::new(name, index, device))).collect()
    })
}

async fn configure(card: Arc<Card>, source: Option<Source>) {
    icmp::solicit_routers(&card);
    match source {
        None => {}
        Some(Source::Fixed { address, gateway }) => card.change_configuration(|configuration| {
            configuration.v4 = Some(address);
            configuration.gateway_v4 = gateway;
        }),
        Some(Source::Dhcp) => dhcp::keep_configured(&card).await,
    }
}

/// The card behind which an address is, and the neighbour to whom a packet for it goes.
pub fn towards(destination: Address) -> Option<(&'static Arc<Card>, Address)> {
    let cards = all();
    let direct = cards.iter().find(|card| card.is_neighbour(destination)).map(|card| (card, destination));
    direct.or_else(|| {
        cards.iter().find_map(|card| {
            let configuration = card.configuration.lock();
            let gateway =
                if destination.is_v4() { configuration.gateway_v4 } else { configuration.gateway_v6 };
            Some((card, gateway?))
        })
    })
}

/// Whether one of the cards has this address.
pub fn has_address(address: Address) -> bool {
    all().iter().any(|card| card.has_address(address))
}

fn is_in(address: Address, network: (Address, u8)) -> bool {
    let shift = match (address.is_v4(), network.0.is_v4()) {
        (true, true) => 32u32.saturating_sub(u32::from(network.1)),
        (false, false) => 128u32.saturating_sub(u32::from(network.1)),
        _ => return false,
    };
    let bits = |address: Address| u128::from_be_bytes(address.octets());
    (bits(address) ^ bits(network.0)).checked_shr(shift).unwrap_or(0) == 0
}

impl Card {
    fn new(name: String, index: u32, device: Arc<dyn NetworkDevice>) -> Self {
        let information = device.information();
        let hardware = information.address;
        let own = Address::v6(link_local(hardware));
        Self {
            name,
            index,
            device,
            hardware,
            mtu: information.mtu,
            configuration: SpinLock::new(
                Rank::INTERFACE,
                Configuration { v6: alloc::vec![(own, 64)], ..Configuration::default() },
            ),
            neighbours: SpinLock::new(Rank::INTERFACE, Neighbours::default()),
            waiting: SpinLock::new(Rank::PACKETS, VecDeque::new()),
            counters: Counters::default(),
        }
    }

    /// Its Ethernet address.
    pub fn hardware(&self) -> HardwareAddress {
        self.hardware
    }

    /// Its largest packet.
    pub fn mtu(&self) -> usize {
        self.mtu
    }

    /// What it is called.
    pub fn configuration(&self) -> Configuration {
        self.configuration.lock().clone()
    }

    /// Calls it something else.
    pub fn change_configuration(&self, change: impl FnOnce(&mut Configuration)) {
        change(&mut self.configuration.lock());
    }

    /// Its neighbours that are known.
    pub fn neighbours(&self) -> Vec<(Address, Option<HardwareAddress>)> {
        self.neighbours.lock().list()
    }

    /// Whether it has this address.
    pub fn has_address(&self, address: Address) -> bool {
        let configuration = self.configuration.lock();
        configuration.v4.is_some_and(|(own, _)| own == address)
            || configuration.v6.iter().any(|&(own, _)| own == address)
    }

    /// The address that something sent from here to there comes from.
    pub fn source_for(&self, destination: Address) -> Option<Address> {
        let configuration = self.configuration.lock();
        if destination.is_v4() {
            return configuration.v4.map(|(own, _)| own);
        }
        let fits = configuration.v6.iter().find(|&&network| is_in(destination, network));
        fits.or(configuration.v6.last()).map(|&(own, _)| own)
    }

    fn is_neighbour(&self, destination: Address) -> bool {
        let configuration = self.configuration.lock();
        destination == Address::v4([255; 4])
            || destination.is_multicast()
            || configuration.v4.is_some_and(|network| is_in(destination, network))
            || configuration.v6.iter().any(|&network| is_in(destination, network))
    }

    /// Whether it takes in what is sent to many.
    pub fn listens_to(&self, destination: Address) -> bool {
        if destination == Address::v4([255; 4]) || destination.is_multicast() {
            return true;
        }
        match self.configuration.lock().v4 {
            // Who has no address yet may be told of it by its use.
            None => destination.is_v4(),
            Some((own, bits)) => {
                let host = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
                let broadcast = u32::from_be_bytes(own.v4_octets()) | host;
                destination == Address::v4(broadcast.to_be_bytes())
            }
        }
    }

    /// Sends an IP packet to a neighbour.
    pub fn send_ip(&self, packet: Packet, next: Address) {
        let kind = if next.is_v4() { EthernetProtocol::Ipv4 } else { EthernetProtocol::Ipv6 };
        if let Some(hardware) = self.hardware_of_many(next) {
            return self.send_frame(packet, hardware, kind);
        }
        let way = self.neighbours.lock().way(next, packet, Instant::now());
        let asks = match way {
            Way::Known(hardware, packet, asks) => {
                self.send_frame(packet, hardware, kind);
                asks
            }
            Way::Waits(asks) => asks,
        };
        if asks {
            self.ask(next);
        }
    }

    /// The Ethernet address of an address that many have.
    fn hardware_of_many(&self, address: Address) -> Option<HardwareAddress> {
        let octets = address.octets();
        if address.is_v4() {
            let [a, b, c, d] = address.v4_octets();
            if a & 0xf0 == 0xe0 {
                return Some([1, 0, 0x5e, b & 0x7f, c, d]);
            }
            return self.listens_to(address).then_some(BROADCAST).filter(|_| !self.has_address(address));
        }
        (octets[0] == 0xff).then(|| [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
    }

    /// Asks who has an address.
    fn ask(&self, whom: Address) {
        if !whom.is_v4() {
            return icmp::solicit_neighbour(self, whom);
        }
        let Some(own) = self.source_for(whom) else { return };
        let question = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: EthernetAddress(self.hardware),
            source_protocol_addr: own.v4_octets().into(),
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: whom.v4_octets().into(),
        };
        self.send_arp(question, BROADCAST);
    }

    fn send_arp(&self, message: ArpRepr, to: HardwareAddress) {
        let Some(mut packet) = Packet::new(message.buffer_len()) else { return };
        message.emit(&mut ArpPacket::new_unchecked(packet.as_mut()));
        self.send_frame(packet, to, EthernetProtocol::Arp);
    }

    /// Puts the Ethernet header before a packet and sends it.
    pub fn send_frame(&self, mut packet: Packet, to: HardwareAddress, kind: EthernetProtocol) {
        packet.extend_front(HEADROOM);
        let header = EthernetRepr {
            src_addr: EthernetAddress(self.hardware),
            dst_addr: EthernetAddress(to),
            ethertype: kind,
        };
        header.emit(&mut EthernetFrame::new_unchecked(packet.as_mut()));
        self.transmit(packet);
    }

    fn transmit(&self, packet: Packet) {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() && self.try_transmit(&packet) {
            return;
        }
        if waiting.len() >= MOST_WAITING || waiting.try_reserve(1).is_err() {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.push_back(packet);
    }

    fn try_transmit(&self, packet: &Packet) -> bool {
        let is_sent = self.device.transmit(packet.as_ref());
        if is_sent {
            self.counters.sent[0].fetch_add(1, Ordering::Relaxed);
            self.counters.sent[1].fetch_add(packet.as_ref().len() as u64, Ordering::Relaxed);
        }
        is_sent
    }

    /// Sends what waited for room.
    fn flush(&self) {
        let mut waiting = self.waiting.lock();
        while let Some(packet) = waiting.front()
            && self.try_transmit(packet)
        {
            waiting.pop_front();
        }
    }

    /// Takes a frame in.
    pub fn receive(&self, bytes: Vec<u8>, is_verified: bool) {
        self.counters.received[0].fetch_add(1, Ordering::Relaxed);
        self.counters.received[1].fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let Ok(frame) = EthernetFrame::new_checked(bytes.as_slice()) else { return };
        let (to, kind) = (frame.dst_addr(), frame.ethertype());
        if to.is_unicast() && to.0 != self.hardware {
            return;
        }
        match kind {
            EthernetProtocol::Arp => self.receive_arp(frame.payload()),
            EthernetProtocol::Ipv4 | EthernetProtocol::Ipv6 => {
                let mut packet = Packet::of_frame(bytes, is_verified);
                packet.strip(HEADROOM);
                super::receive(&packet, Some(self));
            }
            EthernetProtocol::Unknown(_) => {}
        }
    }

    fn receive_arp(&self, bytes: &[u8]) {
        let Ok(message) = ArpPacket::new_checked(bytes).and_then(|packet| ArpRepr::parse(&packet)) else {
            return;
        };
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: hardware,
            source_protocol_addr: source,
            target_protocol_addr: target,
            ..
        } = message
        else {
            return;
        };
        let (source, target) = (Address::v4(source.octets()), Address::v4(target.octets()));
        if !hardware.is_unicast() || source.is_any() || self.has_address(source) {
            return;
        }
        let is_for_us = self.has_address(target);
        self.learn(source, hardware.0, is_for_us && operation == ArpOperation::Request);
        if operation == ArpOperation::Request && is_for_us {
            let answer = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: EthernetAddress(self.hardware),
                source_protocol_addr: target.v4_octets().into(),
                target_hardware_addr: hardware,
                target_protocol_addr: source.v4_octets().into(),
            };
            self.send_arp(answer, hardware.0);
        }
    }

    /// Somebody's Ethernet address is known.
    pub fn learn(&self, address: Address, hardware: HardwareAddress, adds: bool) {
        let pending = self.neighbours.lock().learn(address, hardware, adds, Instant::now());
        let kind = if address.is_v4() { EthernetProtocol::Ipv4 } else { EthernetProtocol::Ipv6 };
        for packet in pending {
            self.send_frame(packet, hardware, kind);
        }
    }

    /// Takes in what the device has, a batch at most; false if there was nothing.
    pub fn take_in(&self) -> bool {
        self.flush();
        for index in 0..BATCH {
            let Some(frame) = self.device.receive() else { return index > 0 };
            self.receive(frame.bytes, frame.is_verified);
        }
        true
    }

    /// Asks again who did not answer.
    pub fn tick(&self) {
        let again = self.neighbours.lock().tick(Instant::now());
        for whom in again {
            self.ask(whom);
        }
    }

    async fn run(self: Arc<Self>) {
        loop {
            let changed = self.device.changed().wait_until(|| self.take_in().then_some(()));
            if self.neighbours.lock().is_waiting() {
                let _ = executor::timeout(Instant::now() + TICK, changed).await;
                self.tick();
            } else {
                changed.await;
            }
            executor::yield_now().await;
        }
    }
}

/// The address of IPv6 that every card has by itself.
fn link_local([a, b, c, d, e, f]: HardwareAddress) -> [u8; 16] {
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]
}

/// The same behind another prefix of 64 bits.
pub fn address_behind(prefix: [u8; 16], hardware: HardwareAddress) -> Address {
    let mut octets = link_local(hardware);
    octets[..8].copy_from_slice(&prefix[..8]);
    Address::v6(octets)
}
