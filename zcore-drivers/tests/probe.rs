//! Finding devices.

mod common;

use common::{frame_of, poll_once, ready, start_read, whole};
use kernel_hal::PhysAddr;
use kernel_hal::machine_description::{Region, VirtioMmio};
use kernel_object::frame::host;
use virtio_drivers::transport::mmio::MmioError;
use virtio_drivers::transport::{DeviceType, DeviceTypeError};
use zcore_drivers::InterruptRegistry;
use zcore_drivers::block::BlockDevice;
use zcore_drivers::interrupt_registry::RegisterError;
use zcore_drivers::model::{DeviceModel, DiskModel, ModelTransport};
use zcore_drivers::probe::{Finding, probe};
use zcore_drivers::virtio::VirtioError;

type Slot = (VirtioMmio, Result<ModelTransport, MmioError>);

fn slot(line: u32, transport: Result<ModelTransport, MmioError>) -> Slot {
    let start = PhysAddr::new(0x1000_0000 + line as usize * 0x1000);
    (VirtioMmio { registers: Region { start, bytes: 0x1000 }, interrupt: line }, transport)
}

fn empty() -> Result<ModelTransport, MmioError> {
    Err(MmioError::InvalidDeviceID(DeviceTypeError::InvalidDeviceType(0)))
}

#[test]
fn devices_get_drivers_lines_and_names_in_the_order_of_the_slots() {
    host::use_private(1024);
    let mut first = DiskModel::new(64, DiskModel::ALL_FEATURES, 256, 1);
    let second = DiskModel::new(128, DiskModel::ALL_FEATURES | 1 << 5, 256, 1);
    let broken = DiskModel::new(8, DiskModel::ALL_FEATURES, 0, 1);
    let console = DeviceModel::new(DeviceType::Console, 1 << 32, vec![0; 12], 2, 64);
    let entropy = DeviceModel::new(DeviceType::EntropySource, 1 << 32, Vec::new(), 1, 8);
    let network = DeviceModel::new(DeviceType::Network, 1 << 32, vec![0; 12], 2, 256);
    let sound = DeviceModel::new(DeviceType::Sound, 1 << 32, Vec::new(), 4, 64);
    let slots = [
        slot(8, Ok(first.transport())),
        slot(7, Ok(console.transport())),
        slot(6, Ok(second.transport())),
        slot(5, Ok(network.transport())),
        slot(4, Ok(entropy.transport())),
        slot(3, Ok(broken.transport())),
        slot(2, empty()),
        slot(1, Ok(sound.transport())),
        slot(8, Ok(DiskModel::new(8, DiskModel::ALL_FEATURES, 256, 1).transport())),
        slot(9, Err(MmioError::BadMagic(0))),
    ];
    let registry = InterruptRegistry::new();
    let mut enabled = Vec::new();
    let found = probe(slots.into_iter(), &registry, |line| enabled.push(line));
    assert_eq!(enabled, [8, 7, 6, 5, 4]);
    let findings: Vec<Finding> = found.findings.iter().map(|(_, finding)| finding.clone()).collect();
    let disk = |name: &str, sectors, read_only| Finding::Disk { name: name.into(), sectors, read_only };
    assert_eq!(
        findings,
        [
            disk("vda", 64, false),
            Finding::Console("hvc0".into()),
            disk("vdb", 128, true),
            Finding::Card { name: "eth0".into(), address: [2, 0, 0, 0, 0, 1] },
            Finding::Entropy,
            Finding::Failed(VirtioError::BadQueue(0)),
            Finding::Empty,
            Finding::NoDriver(25),
            Finding::NoInterrupt(RegisterError::Taken(8)),
            Finding::NotVirtio(MmioError::BadMagic(0)),
        ]
    );
    assert_eq!(findings[0].to_string(), "disk vda, 32 KiB");
    assert_eq!(found.cards.len(), 1);
    assert_eq!((found.disks.len(), found.consoles.len(), found.entropy.len()), (2, 1, 1));

    // The line leads to the disk.
    let device: &dyn BlockDevice = &*found.disks[0].device;
    let frame = frame_of(1);
    let mut read = start_read(device, 0, whole(&frame));
    assert!(poll_once(read.as_mut()).is_pending());
    first.answer_all();
    registry.dispatch(8);
    assert_eq!(ready(read), Ok(()));
}
