//! The end after a bug: say all that is known, then end the machine with a failing status.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel_hal::{HartId, console, interrupt, machine, power};

use crate::backtrace;

/// The machine's status after a panic.
const PANIC_STATUS: u8 = 101;

static PANICKING: AtomicBool = AtomicBool::new(false);

/// The firmware's console: it needs no lock and no driver.
pub struct BootConsole;

impl Write for BootConsole {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        console::write(text.as_bytes());
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    interrupt::disable();
    if PANICKING.swap(true, Ordering::SeqCst) {
        // A second panic, here or on another hart: the first one speaks.
        machine::stop_hart();
    }
    // Errors of the console are nobody's to hear.
    let _ = writeln!(BootConsole, "\nkernel panic on {}: {info}", HartId::current());
    let _ = backtrace::print(&mut BootConsole);
    power::off(PANIC_STATUS)
}
