//! The network driver against a modelled device that is sometimes wrong.

use kernel_object::frame::host;
use virtio_drivers::transport::DeviceType;
use zcore_drivers::InterruptHandler;
use zcore_drivers::model::{DeviceModel, ModelTransport};
use zcore_drivers::network::{FaultyNetwork, NetworkDevice, NetworkFaults};
use zcore_drivers::virtio::network::VirtioNetwork;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const VERSION_1: u64 = 1 << 32;
const EVENT_INDEX: u64 = 1 << 29;
const MERGEABLE: u64 = 1 << 15;
const MAC: u64 = 1 << 5;
const GUEST_CHECKSUM: u64 = 1 << 1;
const HEADER: usize = 12;

fn device(features: u64) -> (DeviceModel, VirtioNetwork<ModelTransport>) {
    host::use_private(1024);
    let configuration = vec![0x52, 0x54, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0];
    let model = DeviceModel::new(DeviceType::Network, VERSION_1 | MAC | features, configuration, 2, 64);
    let driver = VirtioNetwork::new(model.transport()).unwrap();
    (model, driver)
}

fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|index| (index as u8).wrapping_mul(3) ^ seed).collect()
}

/// The device fills a buffer, with a header that says in how many buffers the frame lies.
fn deliver(model: &DeviceModel, flags: u8, buffers: u16, bytes: &[u8]) {
    let chain = model.next_chain(RECEIVE).expect("the driver has offered buffers");
    let mut header = [0; HEADER];
    header[0] = flags;
    header[10..].copy_from_slice(&buffers.to_le_bytes());
    let whole = [&header[..], bytes].concat();
    let written = chain.write(0, &whole);
    model.complete(RECEIVE, chain.head, written as u32);
}

#[test]
fn frames_go_out_and_come_in() {
    let (model, driver) = device(EVENT_INDEX | GUEST_CHECKSUM);
    assert_eq!(driver.information().address, [0x52, 0x54, 0, 1, 2, 3]);
    for round in 0..500usize {
        let sent = frame(60 + round, round as u8);
        assert!(driver.transmit(&sent));
        let chain = model.next_chain(TRANSMIT).unwrap();
        let bytes = chain.read();
        assert_eq!((&bytes[..HEADER], &bytes[HEADER..]), (&[0; HEADER][..], &sent[..]));
        model.complete(TRANSMIT, chain.head, 0);
        deliver(&model, (round % 2) as u8 * 2, 1, &sent);
        assert!(model.interrupt_pending());
        driver.handle_interrupt();
        let received = driver.receive().unwrap();
        assert_eq!((received.bytes, received.is_verified), (sent, round % 2 == 1));
        assert!(driver.receive().is_none());
    }
}

#[test]
fn a_full_ring_says_so_until_there_is_room() {
    let (model, driver) = device(EVENT_INDEX);
    let count = (0..100).take_while(|&seed| driver.transmit(&frame(100, seed))).count();
    assert_eq!(count, 64);
    let chain = model.next_chain(TRANSMIT).unwrap();
    model.complete(TRANSMIT, chain.head, 0);
    assert!(model.interrupt_pending());
    driver.handle_interrupt();
    assert!(driver.transmit(&frame(100, 0)));
    assert!(!driver.transmit(&frame(100, 0)));
}

#[test]
fn a_frame_may_lie_in_several_buffers() {
    let (model, driver) = device(MERGEABLE);
    let whole = frame(3000, 5);
    let first = 2048 - HEADER;
    deliver(&model, 0, 2, &whole[..first]);
    let chain = model.next_chain(RECEIVE).unwrap();
    let written = chain.write(0, &whole[first..]);
    model.complete(RECEIVE, chain.head, written as u32);
    deliver(&model, 0, 1, &frame(80, 1));
    assert_eq!(driver.receive().unwrap().bytes, whole);
    assert_eq!(driver.receive().unwrap().bytes, frame(80, 1));
}

#[test]
fn what_a_device_claims_is_not_believed() {
    let (model, driver) = device(MERGEABLE);
    // No buffers, far too many, none of the rest there, nothing in it, and more than fits.
    deliver(&model, 0, 0, &frame(100, 1));
    deliver(&model, 0, u16::MAX, &frame(100, 1));
    assert!(driver.receive().is_none());
    let chain = model.next_chain(RECEIVE).unwrap();
    model.complete(RECEIVE, chain.head, 3);
    let chain = model.next_chain(RECEIVE).unwrap();
    model.complete(RECEIVE, chain.head, u32::MAX);
    // The same again, and one that never was.
    model.complete(RECEIVE, chain.head, 100);
    model.complete(RECEIVE, 9999, 100);
    while driver.receive().is_some() {}
    deliver(&model, 0, 1, &frame(100, 7));
    assert_eq!(driver.receive().unwrap().bytes, frame(100, 7));
    model.jump_used_index(RECEIVE, 1000);
    assert!(driver.receive().is_none());
    assert!(driver.transmit(&frame(100, 7)));
}

#[test]
fn faults_are_those_that_were_asked_for() {
    let (model, driver) = device(0);
    let faults: NetworkFaults =
        "seed=3,loss=100000,repeat=100000,exchange=100000,damage=100000".parse().unwrap();
    assert!("loss=x".parse::<NetworkFaults>().is_err() && "what=1".parse::<NetworkFaults>().is_err());
    let faulty = FaultyNetwork::new(std::sync::Arc::new(driver), faults);
    let (mut arrived, mut damaged, mut out_of_order, mut last) = (0, 0, 0, 0);
    for number in 0..2000u32 {
        let mut bytes = frame(100, 9);
        bytes[96..].copy_from_slice(&number.to_le_bytes());
        deliver(&model, 0, 1, &bytes);
        while let Some(frame) = faulty.receive() {
            arrived += 1;
            let told = u32::from_le_bytes(frame.bytes[96..].try_into().unwrap());
            if frame.bytes[..96] != bytes[..96] || told > number {
                damaged += 1;
            } else if told < last {
                out_of_order += 1;
            } else {
                last = told;
            }
        }
    }
    assert!((1900..2100).contains(&arrived), "{arrived}");
    assert!(damaged > 100 && out_of_order > 50, "{damaged} {out_of_order}");
}
