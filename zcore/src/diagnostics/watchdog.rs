//! Reports tasks that keep a hart for too long.
//!
//! The executor looks when its alarm goes off and when a poll ends; user programs do not count, their loop says that it
//! gets on. A task that runs with interrupts masked is seen when it unmasks them. Each task is reported once.

use core::fmt;
use core::time::Duration;

use executor::TaskName;
use kernel_hal::HartId;

use crate::backtrace;

/// Has polls reported that take longer than `budget`.
pub fn start(budget: Duration) {
    executor::set_watchdog(budget, report);
}

fn report(name: TaskName, id: u32, nanos: u64) {
    let hart = HartId::current();
    log::warn!("watchdog: task {id} ({name}) has kept {hart} for {} ms; it is here:", nanos / 1_000_000);
    // The log accepts everything.
    let _ = backtrace::print(&mut LogLines::default());
}

/// Logs text line by line.
#[derive(Default)]
struct LogLines {
    line: heapless::String<160>,
}

impl fmt::Write for LogLines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if character == '\n' {
                log::warn!("{}", self.line);
                self.line.clear();
            } else {
                // What is too long is cut.
                let _ = self.line.push(character);
            }
        }
        Ok(())
    }
}
