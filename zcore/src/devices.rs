//! Finding the devices and connecting them: the console, disks, entropy.

use alloc::sync::Arc;

use kernel_hal::machine_description::MachineDescription;
use kernel_hal::{HartId, machine};
use linux_object::console;
use zcore_drivers::probe::{self, mmio_slots};
use zcore_drivers::serial::{MmioRegisters, Ns16550};

use crate::interrupts;

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
    console::set_device(port);
}
