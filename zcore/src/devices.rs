//! Finding the devices and connecting them: the console, disks, entropy.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::machine_description::MachineDescription;
use kernel_hal::{HartId, machine};
use ksync::Once;
use linux_object::console;
use zcore_drivers::block::BlockDevice;
use zcore_drivers::probe::{self, Named, mmio_slots};
use zcore_drivers::serial::{MmioRegisters, Ns16550};

use crate::interrupts;

static DISKS: Once<Vec<Named<dyn BlockDevice>>> = Once::new();

/// The disks, in the order of their names.
pub fn disks() -> &'static [Named<dyn BlockDevice>] {
    DISKS.get().map_or(&[], Vec::as_slice)
}

fn enable_line(line: u32) {
    machine::enable_interrupt_line(line, HartId::BOOT);
}

/// Sets up every device that has a driver.
pub fn probe(description: &MachineDescription<'_>) {
    probe_uart(description);
    // SAFETY: this is the machine's own description, and nobody else uses the slots.
    let slots = unsafe { mmio_slots(description) };
    let found = probe::probe(slots, &interrupts::LINES, enable_line);
    for (slot, finding) in &found.findings {
        if *finding != probe::Finding::Empty {
            log::info!("virtio at {}: {finding}", slot.registers.start);
        }
    }
    DISKS.call_once(|| found.disks);
}

/// The UART is the console, until the command line asks for another.
fn probe_uart(description: &MachineDescription<'_>) {
    let Some(uart) = &description.uart else { return };
    // SAFETY: the description is the machine's own; the linear map covers the registers, and the firmware, which
    // may also write to the UART, does so only when the kernel asks it to.
    let Some(registers) = (unsafe { MmioRegisters::new(uart) }) else { return };
    let port = Arc::new(Ns16550::new(registers, uart.clock_hz));
    if let Some(line) = uart.interrupt {
        match interrupts::LINES.register(line, "uart", port.clone()) {
            Ok(()) => enable_line(line),
            Err(error) => log::warn!("uart: {error}"),
        }
    }
    if let Err(errno) = console::set_port(port) {
        log::error!("the console cannot be set up: {errno}");
    }
}
