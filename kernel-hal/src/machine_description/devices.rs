//! The devices that the kernel has drivers for.

use heapless::Vec;

use super::bus::{Bus, for_each_device};
use super::{HartDescription, MAX_DESCRIBED_HARTS, MAX_VIRTIO_SLOTS, Problem, Problems, Region};
use crate::device_tree::{Cells, DeviceTree, Node};

/// The cause number of a supervisor software interrupt.
const SUPERVISOR_SOFTWARE: u32 = 1;
/// The cause number of a supervisor external interrupt.
const SUPERVISOR_EXTERNAL: u32 = 9;
/// The most contexts that a PLIC has: its registers end there.
const MAX_PLIC_CONTEXTS: usize = 15872;

/// An NS16550 UART.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// Its registers.
    pub registers: Region,
    /// Its interrupt line; without one it can only be polled.
    pub interrupt: Option<u32>,
    /// log2 of the distance between two registers.
    pub register_shift: u32,
    /// The width of a register access in bytes.
    pub register_bytes: u32,
    /// The rate of its clock, if known.
    pub clock_hz: Option<u32>,
}

/// Where a hart appears in a controller's list of harts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HartIndex {
    /// The hart's hardware number.
    pub hardware_id: usize,
    /// Its position.
    pub index: usize,
}

/// The platform-level interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plic {
    /// Its registers.
    pub registers: Region,
    /// The highest interrupt line; the lowest is 1.
    pub last_line: u32,
    /// For each hart the context by which its supervisor mode is interrupted.
    pub supervisor_contexts: Vec<HartIndex, MAX_DESCRIBED_HARTS>,
    phandle: u32,
}

impl Plic {
    /// The context of a hart's supervisor mode.
    pub fn supervisor_context(&self, hardware_id: usize) -> Option<usize> {
        find_index(&self.supervisor_contexts, hardware_id)
    }
}

/// An ACLINT SSWI: one register per hart that interrupts its supervisor mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoftwareInterruptDevice {
    /// Its registers, 4 bytes per hart.
    pub registers: Region,
    /// For each hart the number of its register.
    pub harts: Vec<HartIndex, MAX_DESCRIBED_HARTS>,
}

impl SoftwareInterruptDevice {
    /// The number of a hart's register.
    pub fn register_index(&self, hardware_id: usize) -> Option<usize> {
        find_index(&self.harts, hardware_id)
    }
}

/// A slot that may hold a virtio device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioMmio {
    /// Its registers.
    pub registers: Region,
    /// Its interrupt line.
    pub interrupt: u32,
}

fn find_index(list: &[HartIndex], hardware_id: usize) -> Option<usize> {
    list.iter().find(|entry| entry.hardware_id == hardware_id).map(|entry| entry.index)
}

#[derive(Default)]
pub(super) struct Devices {
    pub(super) uart: Option<Uart>,
    pub(super) plic: Option<Plic>,
    pub(super) software_interrupts: Option<SoftwareInterruptDevice>,
    pub(super) virtio_mmio: Vec<VirtioMmio, MAX_VIRTIO_SLOTS>,
    pub(super) test_finisher: Option<Region>,
    pub(super) real_time_clock: Option<Region>,
}

pub(super) fn read_devices<'a>(
    tree: &DeviceTree<'a>,
    harts: &[HartDescription<'a>],
    stdout_path: Option<&str>,
    problems: &mut Problems<'a>,
) -> Devices {
    let mut devices = Devices::default();
    // The interrupt controllers come first: devices before them in the tree refer to them.
    for_each_device(tree, &mut |node, bus| {
        if devices.plic.is_none() && node.is_compatible(&["riscv,plic0", "sifive,plic-1.0.0"]) {
            devices.plic = read_plic(node, bus, harts, problems);
        } else if devices.software_interrupts.is_none() && node.is_compatible(&["riscv,aclint-sswi"]) {
            devices.software_interrupts = reachable(node, bus, problems).map(|registers| {
                let capacity = registers.bytes / 4;
                let mut harts = hart_indices(node, harts, SUPERVISOR_SOFTWARE);
                harts.retain(|entry| entry.index < capacity);
                SoftwareInterruptDevice { registers, harts }
            });
        }
    });
    let console = stdout_path.and_then(|path| node_of_path_or_alias(tree, path));
    for_each_device(tree, &mut |node, bus| {
        let plic = devices.plic.as_ref();
        if node.is_compatible(&["ns16550a", "ns16550"]) {
            let is_console = console.is_some_and(|console| console.is(node));
            if is_console || devices.uart.is_none() {
                let uart = read_uart(node, bus, plic, problems);
                devices.uart = uart.or(devices.uart);
            }
        } else if node.is_compatible(&["virtio,mmio"]) {
            let slot = read_virtio_mmio(node, bus, plic, problems);
            if slot.is_some_and(|slot| devices.virtio_mmio.push(slot).is_err()) {
                problems.note(Problem::TooMany("virtio-mmio slots"));
            }
        } else if node.is_compatible(&["sifive,test0", "sifive,test1"]) {
            devices.test_finisher = devices.test_finisher.or_else(|| reachable(node, bus, problems));
        } else if node.is_compatible(&["google,goldfish-rtc"]) {
            devices.real_time_clock = devices.real_time_clock.or_else(|| reachable(node, bus, problems));
        }
    });
    devices
}

fn reachable<'a>(node: &Node<'a>, bus: &Bus<'a, '_>, problems: &mut Problems<'a>) -> Option<Region> {
    let region = bus.first_region(node);
    if region.is_none() {
        problems.note(Problem::NotReachable(node.name()));
    }
    region
}

fn line<'a>(
    node: &Node<'a>,
    bus: &Bus<'a, '_>,
    plic: Option<&Plic>,
    problems: &mut Problems<'a>,
) -> Option<u32> {
    let line = bus.first_interrupt(node).zip(plic).and_then(|((controller, line), plic)| {
        (controller == plic.phandle && (1..=plic.last_line).contains(&line)).then_some(line)
    });
    if line.is_none() {
        problems.note(Problem::NoInterrupt(node.name()));
    }
    line
}

fn read_uart<'a>(
    node: &Node<'a>,
    bus: &Bus<'a, '_>,
    plic: Option<&Plic>,
    problems: &mut Problems<'a>,
) -> Option<Uart> {
    let registers = reachable(node, bus, problems)?;
    let register_shift = node.u32("reg-shift").unwrap_or(0);
    let register_bytes = node.u32("reg-io-width").unwrap_or(1);
    // Eight registers must fit, or the driver would touch a neighbour.
    if register_shift > 4 || registers.bytes < 8 << register_shift || !matches!(register_bytes, 1 | 2 | 4) {
        problems.note(Problem::BadProperty { node: node.name(), property: "reg-shift" });
        return None;
    }
    let interrupt = line(node, bus, plic, problems);
    let clock_hz = node.u32("clock-frequency");
    Some(Uart { registers, interrupt, register_shift, register_bytes, clock_hz })
}

fn read_virtio_mmio<'a>(
    node: &Node<'a>,
    bus: &Bus<'a, '_>,
    plic: Option<&Plic>,
    problems: &mut Problems<'a>,
) -> Option<VirtioMmio> {
    let registers = reachable(node, bus, problems)?;
    Some(VirtioMmio { registers, interrupt: line(node, bus, plic, problems)? })
}

fn read_plic<'a>(
    node: &Node<'a>,
    bus: &Bus<'a, '_>,
    harts: &[HartDescription<'a>],
    problems: &mut Problems<'a>,
) -> Option<Plic> {
    let registers = reachable(node, bus, problems)?;
    let mut required = |property| {
        let value = node.u32(property);
        if value.is_none() {
            problems.note(Problem::BadProperty { node: node.name(), property });
        }
        value
    };
    let (last_line, phandle) = (required("riscv,ndev")?, required("phandle")?);
    let mut supervisor_contexts = hart_indices(node, harts, SUPERVISOR_EXTERNAL);
    // A context's registers are a page at 0x20_0000 + 0x1000 * context.
    let capacity = registers.bytes.saturating_sub(0x20_0000) / 0x1000;
    supervisor_contexts.retain(|entry| entry.index < capacity.min(MAX_PLIC_CONTEXTS));
    if supervisor_contexts.is_empty() {
        problems.note(Problem::BadProperty { node: node.name(), property: "interrupts-extended" });
        return None;
    }
    // Line numbers end at 1023.
    Some(Plic { registers, last_line: last_line.min(1023), supervisor_contexts, phandle })
}

/// The positions in `interrupts-extended` at which harts are interrupted with this cause.
fn hart_indices(
    node: &Node<'_>,
    harts: &[HartDescription<'_>],
    cause: u32,
) -> Vec<HartIndex, MAX_DESCRIBED_HARTS> {
    let mut found: Vec<HartIndex, MAX_DESCRIBED_HARTS> = Vec::new();
    let mut cells = Cells::new(node.property("interrupts-extended").unwrap_or_default());
    let mut index = 0;
    // Each entry is a hart's controller, which takes one cell, and the cause.
    while let (Some(controller), Some(entry_cause)) = (cells.next_u32(), cells.next_u32()) {
        let hart = harts.iter().find(|hart| hart.interrupt_controller == Some(controller));
        if let Some(hart) = hart.filter(|_| entry_cause == cause)
            && find_index(&found, hart.hardware_id).is_none()
            && found.push(HartIndex { hardware_id: hart.hardware_id, index }).is_err()
        {
            break;
        }
        index += 1;
    }
    found
}

/// The node that `stdout-path` means: a path or an alias, with options after a colon.
fn node_of_path_or_alias<'a>(tree: &DeviceTree<'a>, text: &str) -> Option<Node<'a>> {
    let path = text.split(':').next()?;
    if path.starts_with('/') {
        return tree.find(path);
    }
    tree.find(tree.root().child("aliases")?.text(path)?)
}
