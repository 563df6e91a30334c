//! The built-in strace: `strace=` on the kernel's command line has syscalls printed to the kernel log, in the manner of
//! strace on Linux.
//!
//! `strace` or `strace=all` prints every call, `strace=NAME,NAME` these, `strace=!NAME,...` all but these. A call that
//! has to wait is printed when it begins, with ` ...` at the end, and when it is over as `<... NAME resumed>`. What a
//! program's memory holds is read without waiting: what would have to be fetched from a disk is shown as an address.

mod filter;
mod print;
mod vocabulary;

use core::fmt::{self, Write};

use kernel_hal::UserContext;
use linux_abi::Errno;
use linux_object::thread::{Resources, Thread};
use linux_object::user_buffer::UserMemory;

use crate::call::{Call, Completion, Outcome};
use crate::table;
pub(crate) use filter::is_enabled;
pub use filter::set_filter;
use print::{Context, Line};
pub use vocabulary::Meaning;

/// A call whose line is being put together.
struct Printed<'a> {
    number: usize,
    arguments: [usize; 6],
    context: Context<'a>,
}

impl Printed<'_> {
    fn name(&self, line: &mut Line) -> fmt::Result {
        match table::row(self.number) {
            Some(row) => line.write_str(row.name),
            None => match linux_abi::syscall::name(self.number) {
                Some(name) => line.write_str(name),
                None => write!(line, "syscall_{}", self.number),
            },
        }
    }

    /// Prints the arguments from the one with this index on. Before the call (`result` is `None`) it stops at the first
    /// that only the result fills; returns where.
    fn arguments(&self, line: &mut Line, from: usize, result: Option<usize>) -> Result<usize, fmt::Error> {
        let Some(row) = table::row(self.number) else {
            if from == 0 {
                for (index, argument) in self.arguments.iter().enumerate() {
                    write!(line, "{}{argument:#x}", if index > 0 { ", " } else { "" })?;
                }
            }
            return Ok(usize::MAX);
        };
        let special = vocabulary::meanings(row.name);
        for (index, argument) in row.arguments.iter().enumerate().skip(from) {
            let meaning = match special.get(index) {
                Some(Meaning::Plain) | None => argument.meaning,
                Some(meaning) => *meaning,
            };
            if result.is_none() && meaning.is_output() {
                return Ok(index);
            }
            if index > 0 {
                line.write_str(", ")?;
            }
            let is_printed = self.context.print(line, meaning, &self.arguments, index, result)?;
            if !is_printed {
                (argument.print)(self.arguments[index], line)?;
            }
        }
        Ok(usize::MAX)
    }
}

/// A result register as strace prints it.
fn write_result(line: &mut Line, name: &str, value: usize) -> fmt::Result {
    let negative = value as isize;
    match i32::try_from(-negative).ok().filter(|_| negative < 0).and_then(Errno::from_code) {
        Some(errno) => write!(line, " = -1 {errno}"),
        None if vocabulary::returns_address(name) => write!(line, " = {value:#x}"),
        None => write!(line, " = {negative}"),
    }
}

/// Dispatches a call and prints it if the filter wants it.
pub(crate) fn dispatch(call: &mut Call<'_>) -> Outcome {
    let number = call.context.syscall_number();
    if !filter::wants(number) {
        return table::dispatch(call);
    }
    let memory = call.memory();
    let printed =
        Printed { number, arguments: call.context.syscall_arguments(), context: Context { memory: &memory } };
    let mut line = Line::of_thread(call.thread.id());
    // A line that is too long is cut.
    let _ = printed.name(&mut line).and_then(|()| line.write_str("("));
    let next = printed.arguments(&mut line, 0, None).unwrap_or(usize::MAX);
    let outcome = table::dispatch(call);
    let name = table::row(number).map_or("", |row| row.name);
    match &outcome {
        Outcome::Done(value) | Outcome::Yield(value) => {
            let rest = printed.arguments(&mut line, next, Some(*value)).map(drop);
            let _ = rest.and_then(|()| line.write_str(")"));
            line.finish(|line| write_result(line, name, *value));
        }
        Outcome::KeepRegisters => line.finish(|line| line.write_str(")")),
        Outcome::Wait(_) | Outcome::Block(..) | Outcome::WaitForWord(_) => {
            line.finish(|line| line.write_str(if next == usize::MAX { ") ..." } else { " ..." }));
        }
    }
    outcome
}

/// Prints the end of a call that had to wait.
pub(crate) fn print_completion(
    thread: &Thread,
    resources: &Resources,
    context: &UserContext,
    completion: &Completion,
) {
    let number = context.syscall_number();
    if !filter::wants(number) {
        return;
    }
    let memory = UserMemory::new(resources.address_space.clone());
    let printed =
        Printed { number, arguments: context.syscall_arguments(), context: Context { memory: &memory } };
    let mut line = Line::of_thread(thread.id());
    let _ = line.write_str("<... ");
    let _ = printed.name(&mut line).and_then(|()| line.write_str(" resumed>"));
    let name = table::row(number).map_or("", |row| row.name);
    let result = match completion {
        Completion::Value(value) => *value,
        Completion::Error(errno) => errno.as_return_value(),
        Completion::Program(_) | Completion::Resources(_) => 0,
        Completion::Registers(_) => {
            return line.finish(|line| line.write_str(" = back from a signal handler"));
        }
        Completion::Interrupted
        | Completion::InterruptedForGood
        | Completion::InterruptedAndTold
        | Completion::InterruptedUntil(_) => {
            return line.finish(|line| line.write_str(" = ? (interrupted)"));
        }
    };
    if matches!(completion, Completion::Value(_)) {
        let outputs = table::row(number).map_or(usize::MAX, vocabulary::first_output);
        if outputs != usize::MAX {
            let _ = printed.arguments(&mut line, outputs, Some(result)).and_then(|_| line.write_str(")"));
        }
    }
    line.finish(|line| write_result(line, name, result));
}
