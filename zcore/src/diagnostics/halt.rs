//! Stopping all harts but one, and letting each say where it was.
//!
//! The reporting hart interrupts the others and gives each a turn at the console. A hart answers from the interrupt, from
//! the loop of a lock it spins on, or because it panicked itself. One that runs with interrupts masked for good never
//! answers: it is waited for so long, and reported by what the scheduler knows of it.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use core::time::Duration;

use kernel_hal::interrupt::{self, Reason};
use kernel_hal::{HartId, HartMask, Instant, machine};

use super::report;
use crate::backtrace;
use crate::panic::{BootConsole, say, tell_location};

/// How long a hart may take to answer. On a real machine it takes microseconds; an emulator's host may be busy.
const MOST_TIME_TO_STOP: Duration = Duration::from_millis(500);
/// How long a hart may take to say where it was, over a slow line.
const MOST_TIME_TO_REPORT: Duration = Duration::from_secs(5);

const NOBODY: usize = usize::MAX;

/// Harts that have stopped, as bits of a mask.
static STOPPED: AtomicU32 = AtomicU32::new(0);
/// Harts that have said where they were.
static REPORTED: AtomicU32 = AtomicU32::new(0);
/// Whose turn it is at the console.
static TURN: AtomicUsize = AtomicUsize::new(NOBODY);

/// Stops the other harts. Those that do not answer in time go on.
pub fn stop_others() {
    let others = HartId::online().without(HartId::current());
    for hart in others.iter() {
        interrupt::send(hart, Reason::Halt);
    }
    wait(MOST_TIME_TO_STOP, || others.bits() & !STOPPED.load(Ordering::Acquire) == 0);
}

/// Lets each other hart say where it was.
pub fn let_others_report() {
    for hart in HartId::online().without(HartId::current()).iter() {
        let bit = HartMask::only(hart).bits();
        report::hart(hart);
        if STOPPED.load(Ordering::Acquire) & bit == 0 {
            say!("  it does not answer: interrupts are masked on it");
            continue;
        }
        TURN.store(hart.index(), Ordering::Release);
        wait(MOST_TIME_TO_REPORT, || REPORTED.load(Ordering::Acquire) & bit != 0);
    }
}

/// What a hart does that was told to stop.
pub fn on_request() {
    wait_for_turn(None)
}

/// Waits until the reporting hart lets this one speak, then stops for good. `panic` is this hart's own, if it has one.
pub fn wait_for_turn(panic: Option<&PanicInfo<'_>>) -> ! {
    interrupt::disable();
    let here = HartId::current();
    let bit = HartMask::only(here).bits();
    if STOPPED.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
        // It panicked while it spoke, or was told to stop twice.
        REPORTED.fetch_or(bit, Ordering::AcqRel);
        machine::stop_hart();
    }
    while TURN.load(Ordering::Acquire) != here.index() {
        core::hint::spin_loop();
    }
    if let Some(info) = panic {
        tell_location("  it panicked too", info);
        say!("{}", info.message());
    }
    // Nobody listens to errors of the console.
    let _ = backtrace::print(&mut BootConsole);
    REPORTED.fetch_or(bit, Ordering::AcqRel);
    machine::stop_hart()
}

fn wait(most: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + most;
    while !condition() && Instant::now() < end {
        // Another hart may wait for a flush here before it can answer.
        interrupt::serve_while_spinning();
        core::hint::spin_loop();
    }
}
