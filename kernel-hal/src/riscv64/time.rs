//! The `time` counter, and the alarm: `stimecmp` (Sstc) when the machine has it, the SBI otherwise.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::Instant;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds per tick; the counter of every machine that runs this kernel divides a second evenly.
static NANOS_PER_TICK: AtomicU64 = AtomicU64::new(100);
static TICKS_PER_SECOND: AtomicU64 = AtomicU64::new(10_000_000);
static HAS_STIMECMP: AtomicBool = AtomicBool::new(false);

/// Notes the counter's frequency and whether the alarm is a register. False if no whole number of nanoseconds makes
/// a tick.
pub(super) fn initialize(ticks_per_second: u64, has_stimecmp: bool) -> bool {
    HAS_STIMECMP.store(has_stimecmp, Ordering::Relaxed);
    if ticks_per_second == 0 || !NANOS_PER_SECOND.is_multiple_of(ticks_per_second) {
        return false;
    }
    TICKS_PER_SECOND.store(ticks_per_second, Ordering::Relaxed);
    NANOS_PER_TICK.store(NANOS_PER_SECOND / ticks_per_second, Ordering::Relaxed);
    true
}

pub(crate) fn ticks_per_second() -> u64 {
    TICKS_PER_SECOND.load(Ordering::Relaxed)
}

/// Lets user mode read the counters of time, cycles and instructions.
pub(super) fn open_counters_to_programs() {
    // SAFETY: reading the counters is all that this allows.
    unsafe { asm!("csrw scounteren, {}", in(reg) 0b111usize, options(nomem, nostack, preserves_flags)) };
}

#[inline]
pub(crate) fn ticks() -> u64 {
    let ticks: u64;
    // SAFETY: reads a counter.
    unsafe { asm!("rdtime {}", out(reg) ticks, options(nomem, nostack, preserves_flags)) };
    ticks
}

#[inline]
pub(crate) fn nanos_of_ticks(ticks: u64) -> u64 {
    ticks * NANOS_PER_TICK.load(Ordering::Relaxed)
}

#[inline]
pub(crate) fn now() -> Instant {
    Instant::from_nanos(nanos_of_ticks(ticks()))
}

#[inline]
pub(crate) fn set_alarm(deadline: Option<Instant>) {
    let ticks = match deadline {
        // Rounded up: an alarm that fires a tick early would have to be armed again.
        Some(moment) => moment.as_nanos().div_ceil(NANOS_PER_TICK.load(Ordering::Relaxed)),
        None => u64::MAX,
    };
    if HAS_STIMECMP.load(Ordering::Relaxed) {
        // SAFETY: 0x14d is stimecmp, present as the device tree says; writing it also clears a pending timer
        // interrupt.
        unsafe { asm!("csrw 0x14d, {}", in(reg) ticks, options(nostack, preserves_flags)) };
    } else {
        sbi_rt::set_timer(ticks);
    }
}
