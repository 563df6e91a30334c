//! The machine, as `/proc` and `/sys` describe it. Boot knows it and says so once.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ksync::Once;
use linux_abi::stat::DeviceNumber;
use zcore_drivers::block::BlockDevice;

/// One hart, in the order of the kernel's own numbers.
pub struct Hart {
    /// The number that the firmware knows it by.
    pub hardware_id: usize,
    /// Its instruction set, as the device tree says it.
    pub isa: String,
}

/// One disk.
pub struct Disk {
    /// Its name under `/dev`.
    pub name: String,
    /// Its number.
    pub number: DeviceNumber,
    /// The device.
    pub device: Arc<dyn BlockDevice>,
}

/// An interrupt line: its number, the name of its device, and how often it was handled.
pub type InterruptLine = (u32, &'static str, u64);

/// What there is.
pub struct Machine {
    /// The kernel's command line.
    pub command_line: String,
    /// The harts.
    pub harts: Vec<Hart>,
    /// The disks.
    pub disks: Vec<Disk>,
    /// Calls its argument for each interrupt line that has a handler.
    pub interrupts: fn(&mut dyn FnMut(InterruptLine)),
}

static MACHINE: Once<Machine> = Once::new();
static NOTHING: Machine =
    Machine { command_line: String::new(), harts: Vec::new(), disks: Vec::new(), interrupts: |_| {} };

/// Says what there is. Called once, at boot.
pub fn describe(machine: Machine) {
    MACHINE.call_once(|| machine);
}

/// What there is; nothing, before boot has said it.
pub fn get() -> &'static Machine {
    MACHINE.get().unwrap_or(&NOTHING)
}
