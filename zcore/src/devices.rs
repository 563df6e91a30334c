//! Finding the devices and connecting them: the console, disks, entropy, the clock on the wall.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Waker;
use core::time::Duration;

use executor::TaskOptions;
use kernel_hal::machine_description::MachineDescription;
use kernel_hal::{HartId, Instant, machine};
use ksync::Once;
use linux_object::{clock, console, random};
use zcore_drivers::block::{BlockDevice, FaultPlan, FaultyBlock, TimerHook};
use zcore_drivers::entropy::EntropySource;
use zcore_drivers::probe::{self, Named, mmio_slots};
use zcore_drivers::real_time_clock::Goldfish;
use zcore_drivers::serial::{MmioRegisters, Ns16550, SerialPort};

use crate::{command_line, interrupts, network, panic};

/// Random bytes that a device gives for the kernel's own generator.
const ENTROPY_BYTES: usize = 64;
/// How often disks are asked whether they still answer.
const DISK_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// What programs call the UART.
const UART_NAME: &str = "ttyS0";

static DISKS: Once<Vec<Named<dyn BlockDevice>>> = Once::new();

/// The disks, in the order of their names.
pub fn disks() -> &'static [Named<dyn BlockDevice>] {
    DISKS.get().map_or(&[], Vec::as_slice)
}

/// Wakes by the executor's timers.
pub struct Timers;

impl TimerHook for Timers {
    fn wake_at(&self, deadline: Instant, waker: &Waker) {
        let waker = waker.clone();
        let timer = async move {
            executor::sleep_until(deadline).await;
            waker.wake();
        };
        executor::spawn(TaskOptions::new("disk timer"), timer).detach();
    }
}

/// A disk for filesystems and programs: with the faults of `disk-faults=` on the command line, for tests.
pub fn with_faults(disk: Arc<dyn BlockDevice>) -> Arc<dyn BlockDevice> {
    match command_line().parsed::<FaultPlan>("disk_faults") {
        Ok(None) => disk,
        Ok(Some(plan)) => {
            log::warn!("disks have faults on purpose: {plan:?}");
            Arc::new(FaultyBlock::new(disk, Arc::new(Timers), plan))
        }
        Err(problem) => {
            log::warn!("{problem}");
            disk
        }
    }
}

fn enable_line(line: u32) {
    machine::enable_interrupt_line(line, HartId::BOOT);
}

/// Sets up every device that has a driver.
pub fn probe(description: &MachineDescription<'_>) {
    set_clock(description);
    let uart = probe_uart(description);
    // SAFETY: this is the machine's own description, and nobody else uses the slots.
    let slots = unsafe { mmio_slots(description) };
    let found = probe::probe(slots, &interrupts::LINES, enable_line);
    for (slot, finding) in &found.findings {
        if *finding != probe::Finding::Empty {
            log::info!("virtio at {}: {finding}", slot.registers.start);
        }
    }
    choose_console(uart.into_iter().chain(found.consoles));
    network::start(found.cards);
    for source in found.entropy {
        executor::spawn(TaskOptions::new("entropy"), seed_from(source)).detach();
    }
    if !DISKS.call_once(|| found.disks).is_empty() {
        executor::spawn(TaskOptions::new("disk timeouts"), watch_disks()).detach();
    }
}

/// Ends the wait for requests that a disk does not answer.
async fn watch_disks() {
    loop {
        executor::sleep(DISK_CHECK_INTERVAL).await;
        disks().iter().for_each(|disk| disk.device.check_timeouts(Instant::now()));
    }
}

async fn seed_from(source: Arc<dyn EntropySource>) {
    let mut bytes = [0; ENTROPY_BYTES];
    source.fill(&mut bytes).await;
    random::add_entropy(&bytes);
}

/// The last `console=` that names a port we have, or the first port.
fn choose_console(ports: impl Iterator<Item = Named<dyn SerialPort>>) {
    let mut chosen = None;
    let wanted = command_line().consoles().last();
    for port in ports {
        if chosen.is_none() || wanted.is_some_and(|wanted| is_named(wanted, &port.name)) {
            chosen = Some(port);
        }
    }
    let Some(port) = chosen else {
        log::warn!("there is no console");
        return;
    };
    log::info!("console: {}", port.name);
    if port.name != UART_NAME {
        panic::set_port(port.device.clone());
    }
    if let Err(errno) = console::set_port(port.name, port.device) {
        log::error!("the console cannot be set up: {errno}");
    }
}

/// Whether a `console=` names this port; options may follow after a comma.
fn is_named(wanted: &str, name: &str) -> bool {
    wanted.split(',').next() == Some(name)
}

fn set_clock(description: &MachineDescription<'_>) {
    let Some(region) = &description.real_time_clock else {
        log::warn!("there is no clock on the wall: the time begins in 1970");
        return;
    };
    // SAFETY: the description is the machine's own, and nobody else uses the registers.
    let nanos = unsafe { Goldfish::new(region) }.nanoseconds();
    if let Err(errno) = clock::set_real_time(Duration::from_nanos(nanos)) {
        log::error!("the clock cannot be set: {errno}");
    }
}

fn probe_uart(description: &MachineDescription<'_>) -> Option<Named<dyn SerialPort>> {
    let uart = description.uart.as_ref()?;
    // SAFETY: the description is the machine's own; the linear map covers the registers, and the firmware, which
    // may also write to the UART, does so only when the kernel asks it to.
    let registers = unsafe { MmioRegisters::new(uart) }?;
    let port = Arc::new(Ns16550::new(registers, uart.clock_hz));
    if let Some(line) = uart.interrupt {
        match interrupts::LINES.register(line, "uart", port.clone()) {
            Ok(()) => enable_line(line),
            Err(error) => log::warn!("uart: {error}"),
        }
    }
    Some(Named { name: UART_NAME.into(), device: port })
}
