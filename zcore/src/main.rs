//! The kernel image. `kernel_main` and `continue_on_own_stack` are the boot, as a list of steps.

#![no_std]
#![no_main]

extern crate alloc;

mod backtrace;
mod boot_memory;
mod devices;
mod diagnostics;
mod interrupts;
mod kernel_log;
mod kernel_test;
mod network;
mod panic;
mod root_file_system;
mod symbols;
mod user_space;

use kernel_hal::command_line::CommandLine;
use kernel_hal::device_tree::DeviceTree;
use kernel_hal::machine_description::MachineDescription;
use kernel_hal::{Instant, PhysAddr, machine};
use kernel_object::heap::KernelHeap;
use ksync::Once;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap::new();

/// When the kernel was entered.
static ENTRY: Once<Instant> = Once::new();
static DESCRIPTION: Once<MachineDescription<'static>> = Once::new();

/// The first function: one hart runs, on the boot stack, in early page tables, with interrupts masked.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(hardware_hart: usize, device_tree: usize) -> ! {
    machine::begin(hardware_hart);
    ENTRY.call_once(Instant::now);
    kernel_log::install();
    let (tree, description) = read_device_tree(PhysAddr::new(device_tree));
    let description = DESCRIPTION.call_once(|| description);
    let command_line = command_line();
    kernel_log::configure(&command_line);
    diagnostics::configure(&command_line);
    log::info!("zCore Async {} on {} harts", env!("CARGO_PKG_VERSION"), description.usable_harts().count());
    log::info!("command line: {}", command_line.text());
    description.problems.iter().for_each(|problem| log::warn!("{problem}"));
    assert!(machine::configure(description), "the clock does not tick in whole nanoseconds");
    machine::build_kernel_space(boot_memory::end(description));
    boot_memory::hand_over(description, tree);
    let Err(error) = machine::leave_boot_stack(&mut boot_memory::stack_page, continue_on_own_stack);
    panic!("no stack for the boot hart: {error:?}");
}

fn read_device_tree(address: PhysAddr) -> (DeviceTree<'static>, MachineDescription<'static>) {
    let blob = machine::device_tree(address).expect("the firmware passed no device tree");
    let tree = DeviceTree::parse(blob).unwrap_or_else(|error| panic!("device tree: {error}"));
    let description = MachineDescription::read(&tree).unwrap_or_else(|error| panic!("{error}"));
    (tree, description)
}

fn machine_description() -> &'static MachineDescription<'static> {
    DESCRIPTION.get().expect("set by the first half of the boot")
}

fn command_line() -> CommandLine<'static> {
    CommandLine::new(machine_description().chosen.command_line)
}

/// The second half, on a guarded stack and with a heap.
extern "C" fn continue_on_own_stack() {
    let description = machine_description();
    interrupts::install();
    linux_object::random::add_entropy(description.chosen.random_seed);
    devices::probe(description);
    if !diagnostics::start_panic_test(&command_line()) && !kernel_test::start(&command_line()) {
        user_space::start();
    }
    let started =
        machine::start_other_harts(description, &mut boot_memory::stack_page, || executor::run_hart());
    if let Err(error) = started {
        log::error!("not all harts were started: {error:?}");
    }
    executor::run_hart()
}
