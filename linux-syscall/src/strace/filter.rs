//! Which calls are printed.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::table::{self, NUMBERS};

const WORDS: usize = NUMBERS.div_ceil(64);

static ENABLED: AtomicBool = AtomicBool::new(false);
static WANTED: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
/// Whether numbers beyond the table are printed.
static WANTS_UNKNOWN: AtomicBool = AtomicBool::new(false);

/// Whether any call is printed.
#[inline]
pub(crate) fn is_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

pub(super) fn wants(number: usize) -> bool {
    match WANTED.get(number / 64) {
        Some(word) => word.load(Ordering::Relaxed) >> (number % 64) & 1 != 0,
        None => WANTS_UNKNOWN.load(Ordering::Relaxed),
    }
}

fn set(number: usize, wanted: bool) {
    let bit = 1 << (number % 64);
    if let Some(word) = WANTED.get(number / 64) {
        if wanted {
            word.fetch_or(bit, Ordering::Relaxed)
        } else {
            word.fetch_and(!bit, Ordering::Relaxed)
        };
    }
}

/// Chooses what is printed, by the value of `strace=`: nothing or `all`, names of calls, or `!` and names that are not
/// printed. A name that no row has is told in the log.
pub fn set_filter(value: Option<&str>) {
    let value = value.unwrap_or("all");
    let (names, wanted) = match value.strip_prefix('!') {
        Some(names) => (names, false),
        None => (value, true),
    };
    let all = names == "all" && wanted;
    (0..NUMBERS).for_each(|number| set(number, all || !wanted));
    WANTS_UNKNOWN.store(all || !wanted, Ordering::Relaxed);
    for name in names.split(',').filter(|name| !name.is_empty() && *name != "all") {
        match table::ROWS.iter().find(|row| row.name == name) {
            Some(row) => set(row.number, wanted),
            None => log::warn!("strace={value} is not understood: there is no syscall {name}"),
        }
    }
    ENABLED.store(true, Ordering::Relaxed);
}
