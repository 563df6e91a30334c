//! The end after a bug: say all that is known, then end the machine with a failing status.
//!
//! The report is a row of stages ([`diagnostics::report::STAGES`]). A panic inside one of them is told in a line, and
//! the report goes on with the next: so a broken list or a message that cannot be formatted costs one stage, not the
//! report. The other harts are stopped before the first word, so that the report shows what was. No stage takes a lock
//! or allocates; what is locked is left out. The first hart that panics reports; another that panics meanwhile waits its
//! turn to say so, like every hart that was told to stop.

use alloc::sync::Arc;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use core::time::Duration;

use kernel_hal::{HartId, Instant, console, interrupt, machine, power};
use ksync::Once;
use zcore_drivers::serial::SerialPort;

use crate::diagnostics::{halt, report};

/// The machine's status after a panic.
const PANIC_STATUS: u8 = 101;

/// Nobody panics.
const NOBODY: usize = usize::MAX;

static PANICKING: AtomicUsize = AtomicUsize::new(NOBODY);
static INNER_PANICS: AtomicUsize = AtomicUsize::new(0);
const MOST_INNER_MESSAGES: usize = 3;
static NEXT_STAGE: AtomicUsize = AtomicUsize::new(0);

/// What `panic=` says; [`END_WITH_STATUS`] if it does not.
static REBOOT_AFTER_SECONDS: AtomicI32 = AtomicI32::new(END_WITH_STATUS);
const END_WITH_STATUS: i32 = i32::MIN;

/// Where people look, if it is not the firmware's console.
static PORT: Once<Arc<dyn SerialPort>> = Once::new();

/// The firmware's console, which needs no lock and no driver, and after it the port where people look.
pub struct BootConsole;

impl Write for BootConsole {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        console::write(text.as_bytes());
        // A driver that itself panics is not asked again.
        if INNER_PANICS.load(Ordering::Relaxed) == 0
            && let Some(port) = PORT.get()
        {
            port.write_polled(text.as_bytes());
        }
        Ok(())
    }
}

/// Says that people look at this port, not at the firmware's console. Called once, at boot.
pub fn set_port(port: Arc<dyn SerialPort>) {
    PORT.call_once(|| port);
}

/// Prints a line where nobody can be told that it failed.
macro_rules! say {
    ($($arguments:tt)*) => {{
        use core::fmt::Write as _;
        let _ = writeln!($crate::panic::BootConsole, $($arguments)*);
    }};
}
pub(crate) use say;

/// Sets what happens after a panic: as on Linux, wait so many seconds and reboot; 0: stop; negative: reboot at once.
pub fn set_reboot_delay(seconds: i32) {
    REBOOT_AFTER_SECONDS.store(seconds, Ordering::Relaxed);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    interrupt::disable();
    ksync::rank::suspend_checks();
    let here = HartId::current().index();
    match PANICKING.compare_exchange(NOBODY, here, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {
            halt::stop_others();
            tell_location("\nkernel panic", info);
            say!("{}", info.message());
        }
        Err(first) if first == here => {
            let inner = INNER_PANICS.fetch_add(1, Ordering::Relaxed);
            tell_location("\n(panic while reporting", info);
            // The message of a panic inside a panic may panic as well, but not for ever.
            if inner < MOST_INNER_MESSAGES {
                let _ = write!(BootConsole, "{}", info.message());
            }
            say!("; the report goes on)");
        }
        Err(_) => halt::wait_for_turn(Some(info)),
    }
    finish_report()
}

/// The place alone: the message may be what cannot be shown.
pub fn tell_location(what: &str, info: &PanicInfo<'_>) {
    let _ = write!(BootConsole, "{what} on {}", HartId::current());
    if let Some(location) = info.location() {
        let _ = write!(BootConsole, " at {}:{}", location.file(), location.line());
    }
    let _ = write!(BootConsole, ": ");
}

/// Runs the stages that did not begin yet.
fn finish_report() -> ! {
    loop {
        let number = NEXT_STAGE.fetch_add(1, Ordering::Relaxed);
        match report::STAGES.get(number) {
            Some(stage) => stage(),
            None => end(),
        }
    }
}

fn end() -> ! {
    match REBOOT_AFTER_SECONDS.load(Ordering::Relaxed) {
        END_WITH_STATUS => power::off(PANIC_STATUS),
        0 => {
            say!("stopped (panic=0)");
            machine::stop_hart()
        }
        seconds => {
            if seconds > 0 {
                say!("reboot in {seconds} seconds");
                let end = Instant::now() + Duration::from_secs(seconds.unsigned_abs().into());
                while Instant::now() < end {
                    core::hint::spin_loop();
                }
            }
            power::reboot()
        }
    }
}
