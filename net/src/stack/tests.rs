//! A card whose frames a test makes and looks at.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::Mutex;
use std::vec;

use ksync::WaitQueue;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4Packet,
    Icmpv4Repr, IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};
use zcore_drivers::network::{Frame, NetworkDevice, NetworkInformation};

use super::card::Card;
use crate::address::{Address, Name};
use crate::packet::{HEADROOM, Packet, open, wire_address};
use crate::tcp;

const OWN_HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 9];
const PEER_HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OWN: Address = Address::v4([10, 0, 2, 15]);
const PEER: Address = Address::v4([10, 0, 2, 2]);

struct Wire {
    sent: Mutex<VecDeque<Vec<u8>>>,
    changed: WaitQueue,
}

impl NetworkDevice for Wire {
    fn information(&self) -> NetworkInformation {
        NetworkInformation { address: OWN_HARDWARE, mtu: 1500 }
    }

    fn transmit(&self, frame: &[u8]) -> bool {
        self.sent.lock().unwrap().push_back(frame.to_vec());
        true
    }

    fn receive(&self) -> Option<Frame> {
        None
    }

    fn changed(&self) -> &WaitQueue {
        &self.changed
    }
}

/// The one card of all tests, of which one at a time has the wire.
static TURN: Mutex<()> = Mutex::new(());

struct World {
    card: Arc<Card>,
    wire: Arc<Wire>,
    _turn: std::sync::MutexGuard<'static, ()>,
}

static WIRE: ksync::Once<Arc<Wire>> = ksync::Once::new();

impl World {
    fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let wire = WIRE
            .call_once(|| {
                Arc::new(Wire { sent: Mutex::new(VecDeque::new()), changed: WaitQueue::new("wire") })
            })
            .clone();
        let card =
            super::card::install(vec![("eth0".into(), wire.clone() as Arc<dyn NetworkDevice>)])[0].clone();
        card.change_configuration(|configuration| configuration.v4 = Some((OWN, 24)));
        card.learn(PEER, PEER_HARDWARE, true);
        wire.sent.lock().unwrap().clear();
        Self { card, wire, _turn: turn }
    }

    fn sent(&self) -> Option<Vec<u8>> {
        self.wire.sent.lock().unwrap().pop_front()
    }

    fn arrives(&self, mut packet: Packet, kind: EthernetProtocol) {
        packet.extend_front(HEADROOM);
        let mut frame = EthernetFrame::new_unchecked(packet.as_mut());
        frame.set_dst_addr(EthernetAddress(OWN_HARDWARE));
        frame.set_src_addr(EthernetAddress(PEER_HARDWARE));
        frame.set_ethertype(kind);
        self.card.receive(packet.as_ref().to_vec(), false);
    }
}

fn question() -> Packet {
    let question = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(PEER_HARDWARE),
        source_protocol_addr: PEER.v4_octets().into(),
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: OWN.v4_octets().into(),
    };
    let mut packet = Packet::new(question.buffer_len()).unwrap();
    question.emit(&mut ArpPacket::new_unchecked(packet.as_mut()));
    packet
}

fn echo() -> Packet {
    let message = Icmpv4Repr::EchoRequest { ident: 7, seq_no: 3, data: b"echo" };
    let (mut packet, start) = Packet::ip(PEER, OWN, IpProtocol::Icmp, message.buffer_len(), 64).unwrap();
    let place = &mut packet.as_mut()[start..];
    message.emit(&mut Icmpv4Packet::new_unchecked(place), &ChecksumCapabilities::default());
    packet
}

fn datagram(port: u16) -> Packet {
    let header = UdpRepr { src_port: 53, dst_port: port };
    let (mut packet, start) = Packet::ip(PEER, OWN, IpProtocol::Udp, 12, 64).unwrap();
    header.emit(
        &mut UdpPacket::new_unchecked(&mut packet.as_mut()[start..]),
        &wire_address(PEER),
        &wire_address(OWN),
        4,
        |place| place.copy_from_slice(b"data"),
        &ChecksumCapabilities::default(),
    );
    packet
}

fn segment(
    port: u16,
    control: TcpControl,
    sequence: i32,
    acknowledgement: Option<i32>,
    payload: &[u8],
) -> Packet {
    let repr = TcpRepr {
        src_port: 4000,
        dst_port: port,
        control,
        seq_number: TcpSeqNumber(sequence),
        ack_number: acknowledgement.map(TcpSeqNumber),
        window_len: 60000,
        window_scale: (control == TcpControl::Syn).then_some(2),
        max_seg_size: (control == TcpControl::Syn).then_some(1460),
        sack_permitted: control == TcpControl::Syn,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    let (mut packet, start) = Packet::ip(PEER, OWN, IpProtocol::Tcp, repr.buffer_len(), 64).unwrap();
    let place = &mut packet.as_mut()[start..];
    repr.emit(
        &mut TcpPacket::new_unchecked(place),
        &wire_address(PEER),
        &wire_address(OWN),
        &ChecksumCapabilities::default(),
    );
    packet
}

/// The TCP segment in a frame: what it is, its numbers, its bytes.
fn opened(frame: &[u8]) -> (TcpControl, i32, Option<i32>, Vec<u8>) {
    let ip = open(&frame[HEADROOM..], false).unwrap();
    assert_eq!((ip.source, ip.destination, ip.protocol), (OWN, PEER, IpProtocol::Tcp));
    let packet = TcpPacket::new_checked(ip.payload).unwrap();
    let checked = ChecksumCapabilities::default();
    let repr = TcpRepr::parse(&packet, &wire_address(OWN), &wire_address(PEER), &checked).unwrap();
    (repr.control, repr.seq_number.0, repr.ack_number.map(|number| number.0), repr.payload.to_vec())
}

#[test]
fn who_asks_is_answered() {
    let world = World::new();
    world.arrives(question(), EthernetProtocol::Arp);
    let frame = world.sent().unwrap();
    let answer = ArpRepr::parse(&ArpPacket::new_checked(&frame[HEADROOM..]).unwrap()).unwrap();
    let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, .. } = answer else { panic!() };
    assert_eq!((operation, source_hardware_addr.0), (ArpOperation::Reply, OWN_HARDWARE));

    world.arrives(echo(), EthernetProtocol::Ipv4);
    let frame = world.sent().unwrap();
    let ip = open(&frame[HEADROOM..], false).unwrap();
    let message = Icmpv4Packet::new_checked(ip.payload).unwrap();
    let message = Icmpv4Repr::parse(&message, &ChecksumCapabilities::default()).unwrap();
    assert_eq!(message, Icmpv4Repr::EchoReply { ident: 7, seq_no: 3, data: b"echo" });

    // Nobody is at that port.
    world.arrives(datagram(9), EthernetProtocol::Ipv4);
    assert_eq!(open(&world.sent().unwrap()[HEADROOM..], false).unwrap().protocol, IpProtocol::Icmp);
    world.arrives(segment(9, TcpControl::Syn, 100, None, &[]), EthernetProtocol::Ipv4);
    assert_eq!(opened(&world.sent().unwrap()), (TcpControl::Rst, 0, Some(101), vec![]));
    assert!(world.sent().is_none());
}

#[test]
fn who_connects_is_accepted_and_heard() {
    let world = World::new();
    let kept = tcp::kept();
    let listener = tcp::Endpoint::new(false);
    listener.bind(Name::new(Address::ANY_V4, 0), 0).unwrap();
    listener.listen(5, 0).unwrap();
    let port = listener.local_name().port;
    world.arrives(segment(port, TcpControl::Syn, 100, None, &[]), EthernetProtocol::Ipv4);
    let (control, own, wanted, _) = opened(&world.sent().unwrap());
    assert_eq!((control, wanted), (TcpControl::Syn, Some(101)));
    assert!(!listener.ready().intersects(crate::READABLE));
    let last_word = segment(port, TcpControl::None, 101, Some(own.wrapping_add(1)), &[]);
    world.arrives(last_word, EthernetProtocol::Ipv4);
    assert!(listener.ready().contains(crate::READABLE));
    let Ok(end) = listener.accept::<linux_abi::Errno>() else { panic!("nobody to accept") };
    assert_eq!(end.peer_name(), Ok(Name::new(PEER, 4000)));
    let request = segment(port, TcpControl::Psh, 101, Some(own.wrapping_add(1)), b"hello");
    world.arrives(request, EthernetProtocol::Ipv4);
    assert_eq!(end.received_bytes(), 5);
    end.close();
    // What it did not read makes the end a reset.
    let controls: Vec<_> = std::iter::from_fn(|| world.sent()).map(|frame| opened(&frame).0).collect();
    assert_eq!(controls.last(), Some(&TcpControl::Rst));
    listener.close();
    assert_eq!(tcp::kept(), kept);
}

#[test]
fn no_frame_does_harm() {
    let world = World::new();
    let listener = tcp::Endpoint::new(true);
    listener.bind(Name::new(Address::ANY_V6, 0), 0).unwrap();
    listener.listen(16, 0).unwrap();
    let port = listener.local_name().port;
    let templates = [
        (question(), EthernetProtocol::Arp),
        (echo(), EthernetProtocol::Ipv4),
        (datagram(68), EthernetProtocol::Ipv4),
        (segment(port, TcpControl::Syn, 7, None, &[]), EthernetProtocol::Ipv4),
        (segment(port, TcpControl::Psh, 8, Some(99), b"bytes"), EthernetProtocol::Ipv4),
        (segment(port, TcpControl::Fin, 13, Some(99), &[]), EthernetProtocol::Ipv4),
    ];
    let templates = templates.map(|(mut packet, kind)| {
        packet.extend_front(HEADROOM);
        let mut frame = EthernetFrame::new_unchecked(packet.as_mut());
        frame.set_dst_addr(EthernetAddress(OWN_HARDWARE));
        frame.set_src_addr(EthernetAddress(PEER_HARDWARE));
        frame.set_ethertype(kind);
        packet.as_ref().to_vec()
    });
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..1_000_000 {
        let mut frame = templates[next() as usize % templates.len()].clone();
        if next() % 16 == 0 {
            // IPv6, whatever that makes of the rest.
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            frame[14] = 0x60;
        }
        for _ in 0..next() % 5 {
            let place = next() as usize % frame.len();
            frame[place] = next() as u8;
        }
        match next() % 8 {
            0 => frame.truncate(next() as usize % (frame.len() + 1)),
            1 => frame.resize(frame.len() + next() as usize % 64, next() as u8),
            _ => {}
        }
        // Sums that do not fit would end most of them early.
        world.card.receive(frame, next() % 4 != 0);
        world.wire.sent.lock().unwrap().clear();
    }
    while let Ok(end) = listener.accept::<linux_abi::Errno>() {
        end.close();
    }
    listener.close();
}
