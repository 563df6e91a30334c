//! What machine this is: memory, harts, interrupt controllers and devices, read from the device tree.
//!
//! [`MachineDescription::read`] asks the tree all the questions that booting asks, once, and answers in plain values.
//! What the kernel cannot do without (memory, a hart, the clock's rate) is an error if it is missing. Anything else
//! that is missing or malformed is left out, and the reason is kept in [`MachineDescription::problems`] to be
//! printed once there is a console.
//!
//! Limits: lists have fixed capacities (what does not fit is a problem, not a crash), interrupts are understood if
//! they go to a PLIC, and PCI is ignored.

mod bus;
mod devices;
mod free_memory;
mod harts;
mod memory;
mod problem;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use heapless::Vec;

use crate::PhysAddr;
use crate::device_tree::{DeviceTree, Node};

pub use devices::{HartIndex, Plic, SoftwareInterruptDevice, Uart, VirtioMmio};
pub use free_memory::{FreeMemory, MAX_FREE_REGIONS};
pub use harts::HartDescription;
pub use problem::{MachineError, Problem, Problems};

/// The most memory regions that are kept.
pub const MAX_MEMORY_REGIONS: usize = 16;
/// The most reserved regions that are kept.
pub const MAX_RESERVED_REGIONS: usize = 32;
/// The most harts that are described; more than [`crate::MAX_HARTS`] because the kernel chooses among them.
pub const MAX_DESCRIBED_HARTS: usize = 32;
/// The most virtio-mmio slots that are kept.
pub const MAX_VIRTIO_SLOTS: usize = 32;
/// Where the command line is cut off.
pub const MAX_COMMAND_LINE_BYTES: usize = 4096;

/// A range of physical addresses. Never empty, never past the end of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region {
    /// The first byte.
    pub start: PhysAddr,
    /// How many bytes.
    pub bytes: usize,
}

impl Region {
    /// The region of `bytes` bytes at `start`, unless it is empty or passes the end of the address space.
    pub fn new(start: u64, bytes: u64) -> Option<Self> {
        let (start, bytes) = (usize::try_from(start).ok()?, usize::try_from(bytes).ok()?);
        start.checked_add(bytes).filter(|_| bytes > 0)?;
        Some(Self { start: PhysAddr::new(start), bytes })
    }

    /// The first address after it.
    pub fn end(&self) -> PhysAddr {
        self.start + self.bytes
    }
}

/// A range of memory that somebody else uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedRegion {
    /// Where it is.
    pub region: Region,
    /// Whether it may not even be mapped (firmware protects it).
    pub no_map: bool,
}

/// What the boot loader chose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen<'a> {
    /// The kernel's command line; empty if there is none.
    pub command_line: &'a str,
    /// Where the initial ramdisk was loaded.
    pub initial_ramdisk: Option<Region>,
    /// Random bytes to start from; possibly none.
    pub random_seed: &'a [u8],
    /// The console that firmware suggests: a path or an alias, perhaps with `:options`.
    pub stdout_path: Option<&'a str>,
}

/// The machine as its device tree describes it.
#[derive(Debug)]
pub struct MachineDescription<'a> {
    /// Main memory in ascending order, overlapping and adjacent regions merged.
    pub memory: Vec<Region, MAX_MEMORY_REGIONS>,
    /// Memory in use by others. The tree itself and the initial ramdisk are not in this list.
    pub reserved: Vec<ReservedRegion, MAX_RESERVED_REGIONS>,
    /// The harts in the tree's order.
    pub harts: Vec<HartDescription<'a>, MAX_DESCRIBED_HARTS>,
    /// How often `time` ticks in a second; never zero.
    pub timebase_frequency_hz: u32,
    /// The hart that the blob's header names.
    pub boot_hart: u32,
    /// What the boot loader chose.
    pub chosen: Chosen<'a>,
    /// The UART that `stdout-path` names, or else the first one.
    pub uart: Option<Uart>,
    /// The interrupt controller.
    pub plic: Option<Plic>,
    /// The device by which harts interrupt each other without firmware.
    pub software_interrupts: Option<SoftwareInterruptDevice>,
    /// The virtio-mmio slots in the tree's order, which is the order in which Linux probes them. Slots without a
    /// device look the same from here.
    pub virtio_mmio: Vec<VirtioMmio, MAX_VIRTIO_SLOTS>,
    /// The `sifive,test` device, which ends the machine with a status.
    pub test_finisher: Option<Region>,
    /// The goldfish real-time clock.
    pub real_time_clock: Option<Region>,
    /// What was left out, and why.
    pub problems: Problems<'a>,
}

impl<'a> MachineDescription<'a> {
    /// Reads the description from a tree.
    pub fn read(tree: &DeviceTree<'a>) -> Result<Self, MachineError> {
        let root = tree.root();
        let mut problems = Problems::default();
        let memory = memory::read_memory(&root, &mut problems)?;
        let reserved = memory::read_reserved(tree, &mut problems);
        let (harts, timebase_frequency_hz) = harts::read_harts(&root, &mut problems)?;
        let chosen = read_chosen(&root, &mut problems);
        let devices = devices::read_devices(tree, &harts, chosen.stdout_path, &mut problems);
        Ok(Self {
            memory,
            reserved,
            harts,
            timebase_frequency_hz,
            boot_hart: tree.boot_hart(),
            chosen,
            uart: devices.uart,
            plic: devices.plic,
            software_interrupts: devices.software_interrupts,
            virtio_mmio: devices.virtio_mmio,
            test_finisher: devices.test_finisher,
            real_time_clock: devices.real_time_clock,
            problems,
        })
    }

    /// The hart with this hardware number.
    pub fn hart(&self, hardware_id: usize) -> Option<&HartDescription<'a>> {
        self.harts.iter().find(|hart| hart.hardware_id == hardware_id)
    }

    /// The harts that may be started.
    pub fn usable_harts(&self) -> impl Iterator<Item = &HartDescription<'a>> {
        self.harts.iter().filter(|hart| hart.enabled)
    }
}

fn read_chosen<'a>(root: &Node<'a>, problems: &mut Problems<'a>) -> Chosen<'a> {
    let Some(node) = root.child("chosen") else { return Chosen::default() };
    let mut bad = |property| problems.note(Problem::BadProperty { node: "chosen", property });
    let initial_ramdisk = match (node.property("linux,initrd-start"), node.property("linux,initrd-end")) {
        (None, None) => None,
        _ => {
            let start = node.number("linux,initrd-start");
            let end = node.number("linux,initrd-end");
            let region = start.zip(end).and_then(|(start, end)| Region::new(start, end.checked_sub(start)?));
            if region.is_none() {
                bad("linux,initrd-start");
            }
            region
        }
    };
    let raw_command_line = node.property("bootargs").unwrap_or_default();
    let mut command_line = match raw_command_line.split_last() {
        None => "",
        Some((0, text)) => std::str::from_utf8(text).unwrap_or_else(|_| {
            bad("bootargs");
            ""
        }),
        Some(_) => {
            bad("bootargs");
            ""
        }
    };
    if command_line.len() > MAX_COMMAND_LINE_BYTES {
        problems.note(Problem::CommandLineTooLong(command_line.len()));
        command_line = &command_line[..command_line.floor_char_boundary(MAX_COMMAND_LINE_BYTES)];
    }
    Chosen {
        command_line,
        initial_ramdisk,
        random_seed: node.property("rng-seed").unwrap_or_default(),
        stdout_path: node.text("stdout-path").or_else(|| node.text("linux,stdout-path")),
    }
}
