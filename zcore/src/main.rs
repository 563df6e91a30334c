//! The kernel image. `kernel_main` is the boot, as a list of steps.

#![no_std]
#![no_main]

mod panic;

use kernel_hal::device_tree::DeviceTree;
use kernel_hal::machine_description::MachineDescription;
use kernel_hal::{PhysAddr, console, machine, power};

/// The first function: one hart runs, on the boot stack, in early tables.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(hardware_hart: usize, device_tree: usize) -> ! {
    machine::begin(hardware_hart);
    console::write(b"hello\n");
    let tree = machine::device_tree(PhysAddr::new(device_tree)).expect("no device tree");
    let tree = DeviceTree::parse(tree).expect("bad tree");
    let description = MachineDescription::read(&tree).expect("bad machine");
    machine::configure(&description);
    let end = description.memory.iter().map(|region| region.end()).max().unwrap();
    machine::build_kernel_space(end);
    console::write(b"mapped\n");
    power::off(0)
}
