//! How often each syscall was made, and how often it failed.
//!
//! Every number of the table has its counters, whether it has a row or not. Numbers beyond the table are counted one by
//! one, as far as there is room for different ones.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::table::{self, NUMBERS};

/// How many different numbers beyond the table are told apart.
const MOST_STRANGERS: usize = 16;
/// An unused place among them: no number of the table.
const UNUSED: usize = 0;

struct Counter {
    calls: AtomicU64,
    errors: AtomicU64,
}

impl Counter {
    const fn new() -> Self {
        Self { calls: AtomicU64::new(0), errors: AtomicU64::new(0) }
    }
}

struct Stranger {
    number: AtomicUsize,
    calls: AtomicU64,
}

static COUNTERS: [Counter; NUMBERS] = [const { Counter::new() }; NUMBERS];
static STRANGERS: [Stranger; MOST_STRANGERS] =
    [const { Stranger { number: AtomicUsize::new(UNUSED), calls: AtomicU64::new(0) } }; MOST_STRANGERS];
static OTHER_STRANGERS: AtomicU64 = AtomicU64::new(0);

/// Counts a call.
#[inline]
pub(crate) fn count_call(number: usize) {
    match COUNTERS.get(number) {
        Some(counter) => {
            counter.calls.fetch_add(1, Ordering::Relaxed);
        }
        None => count_stranger(number),
    }
}

/// Counts a call that failed.
#[inline]
pub(crate) fn count_error(number: usize) {
    if let Some(counter) = COUNTERS.get(number) {
        counter.errors.fetch_add(1, Ordering::Relaxed);
    }
}

#[cold]
fn count_stranger(number: usize) {
    for stranger in &STRANGERS {
        let is_it = match stranger.number.load(Ordering::Relaxed) {
            UNUSED => {
                let claimed =
                    stranger.number.compare_exchange(UNUSED, number, Ordering::Relaxed, Ordering::Relaxed);
                claimed.map_or_else(|other| other == number, |_| true)
            }
            known => known == number,
        };
        if is_it {
            stranger.calls.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
    OTHER_STRANGERS.fetch_add(1, Ordering::Relaxed);
}

/// How often a number of the table was called.
pub fn calls(number: usize) -> u64 {
    COUNTERS.get(number).map_or(0, |counter| counter.calls.load(Ordering::Relaxed))
}

/// How often that failed.
pub fn errors(number: usize) -> u64 {
    COUNTERS.get(number).map_or(0, |counter| counter.errors.load(Ordering::Relaxed))
}

/// The content of `/proc/zcore/syscalls`: a line for each number that was called.
pub fn write(output: &mut dyn Write) -> fmt::Result {
    writeln!(output, "{:>6} {:24} {:>12} {:>12} support", "number", "name", "calls", "errors")?;
    for number in 0..NUMBERS {
        let calls = calls(number);
        if calls == 0 {
            continue;
        }
        let row = table::row(number);
        let name = row.map(|row| row.name).or_else(|| linux_abi::syscall::name(number)).unwrap_or("?");
        let support = row.map_or("unknown", |row| row.support.name());
        writeln!(output, "{number:6} {name:24} {calls:12} {:12} {support}", errors(number))?;
    }
    for stranger in &STRANGERS {
        let number = stranger.number.load(Ordering::Relaxed);
        if number != UNUSED {
            let calls = stranger.calls.load(Ordering::Relaxed);
            writeln!(output, "{number:6} {:24} {calls:12} {calls:12} unknown", "?")?;
        }
    }
    let others = OTHER_STRANGERS.load(Ordering::Relaxed);
    if others > 0 {
        writeln!(output, "{:>6} {:24} {others:12} {others:12} unknown", "others", "?")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_visible_with_its_count() {
        // Numbers that no other test of this process uses.
        count_call(469);
        count_call(469);
        count_error(469);
        count_call(123_456);
        let mut text = String::new();
        write(&mut text).unwrap();
        let line = |number: &str| text.lines().find(|line| line.trim_start().starts_with(number)).unwrap();
        assert_eq!(line("469 ").split_whitespace().collect::<Vec<_>>(), ["469", "?", "2", "1", "unknown"]);
        assert_eq!(
            line("123456 ").split_whitespace().collect::<Vec<_>>(),
            ["123456", "?", "1", "1", "unknown"]
        );
    }
}
