//! What the kernel says about itself when something goes wrong: the panic report, the watchdog, the trace rings.
//!
//! Command line: `panic=SECONDS`, `trace=on|off`, `watchdog=MILLISECONDS` (0: off), `panic-test=NAME`.

pub mod halt;
mod panic_test;
pub mod report;
mod watchdog;

use core::time::Duration;

use kernel_hal::command_line::{BadValue, CommandLine};

use crate::panic;

/// A poll that takes longer is a bug: others on the hart cannot run meanwhile, unless they are real-time tasks.
const DEFAULT_WATCHDOG_MILLISECONDS: u64 = 1000;

/// Does what the command line asks for. Called once, before tasks run.
pub fn configure(command_line: &CommandLine<'_>) {
    panic::set_reboot_delay(valid(command_line.panic_seconds()).unwrap_or(i32::MIN));
    // Off by default: each event reads the clock and stores five words, three times in every wake and switch. What is
    // off costs one branch that is predicted.
    executor::set_trace_enabled(valid(command_line.switch("trace")).unwrap_or(false));
    let budget = valid(command_line.parsed("watchdog")).unwrap_or(DEFAULT_WATCHDOG_MILLISECONDS);
    if budget != 0 {
        watchdog::start(Duration::from_millis(budget));
    }
}

/// Starts the test that `panic-test=` asks for, instead of programs. Returns whether there is one.
pub fn start_panic_test(command_line: &CommandLine<'static>) -> bool {
    let Some(name) = command_line.value("panic-test") else { return false };
    panic_test::start(name);
    true
}

fn valid<T>(value: Result<Option<T>, BadValue<'_>>) -> Option<T> {
    value.unwrap_or_else(|problem| {
        log::warn!("{problem}");
        None
    })
}
