//! The built-in strace: `strace=` on the kernel's command line has every syscall printed to the kernel log.

use core::fmt::{self, Display, Formatter};
use core::sync::atomic::{AtomicBool, Ordering};

use linux_abi::Errno;
use linux_object::thread::Thread;

use crate::call::{Call, Completion, Outcome};
use crate::table;

static ENABLED: AtomicBool = AtomicBool::new(false);

/// Switches it on or off.
pub fn set_enabled(enabled: bool) {
    ENABLED.store(enabled, Ordering::Relaxed);
}

#[inline]
pub(crate) fn is_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// A call as strace prints it.
struct Printed {
    number: usize,
    arguments: [usize; 6],
}

impl Display for Printed {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Some(row) = table::row(self.number) else {
            return write!(formatter, "syscall_{}({:#x?})", self.number, self.arguments);
        };
        write!(formatter, "{}(", row.name)?;
        for (index, (name, print)) in row.arguments.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{name}=")?;
            print(self.arguments[index], formatter)?;
        }
        formatter.write_str(")")
    }
}

/// A result register as strace prints it.
struct PrintedResult(usize);

impl Display for PrintedResult {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let value = self.0 as isize;
        match i32::try_from(-value).ok().filter(|_| value < 0).and_then(Errno::from_code) {
            Some(errno) => write!(formatter, "-1 {}", errno.name()),
            None => write!(formatter, "{:#x}", self.0),
        }
    }
}

pub(crate) fn dispatch(call: &mut Call<'_>) -> Outcome {
    let id = call.thread.id();
    let printed =
        Printed { number: call.context.syscall_number(), arguments: call.context.syscall_arguments() };
    let outcome = table::dispatch(call);
    match &outcome {
        Outcome::Done(value) => log::info!("[{id}] {printed} = {}", PrintedResult(*value)),
        Outcome::KeepRegisters => log::info!("[{id}] {printed}"),
        Outcome::Wait(_) => log::info!("[{id}] {printed} ..."),
    }
    outcome
}

pub(crate) fn print_completion(thread: &Thread, completion: &Completion) {
    let id = thread.id();
    match completion {
        Completion::Value(value) => log::info!("[{id}] ... = {}", PrintedResult(*value)),
        Completion::Error(errno) => log::info!("[{id}] ... = -1 {}", errno.name()),
        Completion::Resources(_) => log::info!("[{id}] ... = 0x0"),
        Completion::Program(_) => log::info!("[{id}] ... has a new program"),
        Completion::Registers(_) => log::info!("[{id}] ... returned from a signal handler"),
        Completion::Interrupted | Completion::InterruptedForGood | Completion::InterruptedUntil(_) => {
            log::info!("[{id}] ... was interrupted");
        }
    }
}
