//! Finding the virtio devices and giving each its driver, its interrupt line and its name.
//!
//! Slots are probed in the order of the device tree, and disks are named `vda`, `vdb`, ... in that order. This is what
//! Linux does. QEMU's `virt` machine lists the slot with the highest address first and fills that one first, so for a
//! command line with `-device virtio-blk-device` both kernels call the first disk `vda`.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::fmt;
use std::ptr::NonNull;

use kernel_hal::machine_description::{MachineDescription, VirtioMmio};
use virtio_drivers::transport::mmio::{MmioError, MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, DeviceTypeError, Transport};

use crate::block::BlockDevice;
use crate::entropy::EntropySource;
use crate::interrupt_registry::RegisterError;
use crate::network::NetworkDevice;
use crate::serial::SerialPort;
use crate::virtio::VirtioError;
use crate::virtio::block::VirtioBlock;
use crate::virtio::console::VirtioConsole;
use crate::virtio::entropy::VirtioEntropy;
use crate::virtio::network::VirtioNetwork;
use crate::{InterruptHandler, InterruptRegistry};

/// A device and what programs call it.
#[derive(Clone)]
pub struct Named<D: ?Sized> {
    /// The name, without `/dev/`.
    pub name: String,
    /// The device.
    pub device: Arc<D>,
}

/// What was found in one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing.
    Empty,
    /// A disk with this name and this many sectors.
    Disk {
        /// Its name.
        name: String,
        /// Its size.
        sectors: u64,
        /// Whether it refuses writes.
        read_only: bool,
    },
    /// A console with this name.
    Console(String),
    /// A network card.
    Card {
        /// Its name.
        name: String,
        /// Its Ethernet address.
        address: [u8; 6],
    },
    /// An entropy source.
    Entropy,
    /// A device without a driver: its type number.
    NoDriver(u32),
    /// Something that is no usable virtio slot.
    NotVirtio(MmioError),
    /// A device that did not let itself be set up.
    Failed(VirtioError),
    /// A device whose interrupt line cannot be had.
    NoInterrupt(RegisterError),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "empty"),
            Self::Disk { name, sectors, read_only } => {
                write!(f, "disk {name}, {} KiB", sectors / 2)?;
                if *read_only { write!(f, ", read-only") } else { Ok(()) }
            }
            Self::Console(name) => write!(f, "console {name}"),
            Self::Card { name, address: [a, b, c, d, e, g] } => {
                write!(f, "network card {name}, {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
            Self::Entropy => write!(f, "entropy source"),
            Self::NoDriver(number) => write!(f, "device of type {number}, for which there is no driver"),
            Self::NotVirtio(error) => write!(f, "not usable: {error}"),
            Self::Failed(error) => write!(f, "not usable: {error}"),
            Self::NoInterrupt(error) => write!(f, "not usable: {error}"),
        }
    }
}

/// The devices that were found.
#[derive(Default)]
pub struct FoundDevices {
    /// Disks in the order of their names.
    pub disks: Vec<Named<dyn BlockDevice>>,
    /// Consoles in the order of their names.
    pub consoles: Vec<Named<dyn SerialPort>>,
    /// Entropy sources.
    pub entropy: Vec<Arc<dyn EntropySource>>,
    /// Network cards in the order of their names.
    pub cards: Vec<Named<dyn NetworkDevice>>,
    /// What is in each slot, for a report.
    pub findings: Vec<(VirtioMmio, Finding)>,
}

/// The slots of the machine with their transports.
///
/// # Safety
/// The description must be that of the real machine, whose registers the linear map covers, and nobody else may use
/// the slots' registers.
pub unsafe fn mmio_slots(
    machine: &MachineDescription<'_>,
) -> impl Iterator<Item = (VirtioMmio, Result<MmioTransport<'static>, MmioError>)> {
    machine.virtio_mmio.iter().map(|slot| {
        let pointer = kernel_hal::memory::phys_to_virt(slot.registers.start).cast::<VirtIOHeader>();
        let Some(header) = NonNull::new(pointer) else { return (*slot, Err(MmioError::MmioRegionTooSmall)) };
        // SAFETY: the caller vouches for the registers; the linear map stays as it is.
        (*slot, unsafe { MmioTransport::new(header, slot.registers.bytes) })
    })
}

/// Sets up the devices in these slots. `enable_line` is called for each line whose handler was registered.
pub fn probe<T: Transport + Send + 'static>(
    slots: impl Iterator<Item = (VirtioMmio, Result<T, MmioError>)>,
    interrupts: &InterruptRegistry,
    mut enable_line: impl FnMut(u32),
) -> FoundDevices {
    let mut found = FoundDevices::default();
    for (slot, transport) in slots {
        let finding = match transport {
            Ok(transport) => probe_slot(slot, transport, interrupts, &mut enable_line, &mut found),
            Err(MmioError::InvalidDeviceID(DeviceTypeError::InvalidDeviceType(0))) => Ok(Finding::Empty),
            Err(MmioError::InvalidDeviceID(DeviceTypeError::InvalidDeviceType(number))) => {
                Ok(Finding::NoDriver(number))
            }
            Err(error) => Ok(Finding::NotVirtio(error)),
        };
        found.findings.push((slot, finding.unwrap_or_else(|failure| failure)));
    }
    found
}

/// What keeps a device from being used is a finding too.
fn probe_slot<T: Transport + Send + 'static>(
    slot: VirtioMmio,
    transport: T,
    interrupts: &InterruptRegistry,
    enable_line: &mut impl FnMut(u32),
    found: &mut FoundDevices,
) -> Result<Finding, Finding> {
    let mut attach = |name, handler: Arc<dyn InterruptHandler>| {
        interrupts.register(slot.interrupt, name, handler).map_err(Finding::NoInterrupt)?;
        enable_line(slot.interrupt);
        Ok(())
    };
    match transport.device_type() {
        DeviceType::Block => {
            let device = Arc::new(VirtioBlock::new(transport).map_err(Finding::Failed)?);
            attach("virtio disk", device.clone())?;
            let name = disk_name(found.disks.len());
            let information = device.information();
            found.disks.push(Named { name: name.clone(), device });
            Ok(Finding::Disk { name, sectors: information.sectors, read_only: information.read_only })
        }
        DeviceType::Console => {
            let device = Arc::new(VirtioConsole::new(transport).map_err(Finding::Failed)?);
            attach("virtio console", device.clone())?;
            let name = alloc::format!("hvc{}", found.consoles.len());
            found.consoles.push(Named { name: name.clone(), device });
            Ok(Finding::Console(name))
        }
        DeviceType::EntropySource => {
            let device = Arc::new(VirtioEntropy::new(transport).map_err(Finding::Failed)?);
            attach("virtio entropy", device.clone())?;
            found.entropy.push(device);
            Ok(Finding::Entropy)
        }
        DeviceType::Network => {
            let device = Arc::new(VirtioNetwork::new(transport).map_err(Finding::Failed)?);
            attach("virtio network", device.clone())?;
            let name = alloc::format!("eth{}", found.cards.len());
            let address = device.information().address;
            found.cards.push(Named { name: name.clone(), device });
            Ok(Finding::Card { name, address })
        }
        other => Ok(Finding::NoDriver(other as u32)),
    }
}

/// `vda` to `vdz`, then `vdaa` and so on.
fn disk_name(index: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = index + 1;
    while rest > 0 {
        rest -= 1;
        letters.push(b'a' + (rest % 26) as u8);
        rest /= 26;
    }
    let letters = letters.iter().rev().map(|&letter| char::from(letter));
    "vd".chars().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_on_linux() {
        let names = [0, 1, 25, 26, 27, 701, 702].map(disk_name);
        assert_eq!(names, ["vda", "vdb", "vdz", "vdaa", "vdab", "vdzz", "vdaaa"]);
    }
}
