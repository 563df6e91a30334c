//! The kernel's side of the page.

use core::mem::offset_of;
use core::sync::atomic::Ordering::{Relaxed, Release};

use crate::clock::{Clock, Rate};
use crate::layout::{
    CLOCK_COUNT, PROBE_KEY_COUNT, PROBE_SCOPE, TIMEZONE, WriteWords, clock_id, clock_offset, probe_offset,
    probe_scope,
};
use crate::reader::Timezone;
use crate::sequence;

/// All clocks that the page serves. Each is given by what it showed, or would have shown, when the counter was at
/// zero; a clock that started later than the counter has the negative of that, modulo 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The counter's rate.
    pub rate: Rate,
    /// `CLOCK_MONOTONIC`, its coarse twin, and `CLOCK_MONOTONIC_RAW`.
    pub monotonic_base: u64,
    /// `CLOCK_BOOTTIME`.
    pub boottime_base: u64,
    /// `CLOCK_REALTIME` and its coarse twin: nanoseconds since 1970.
    pub realtime_base: u64,
    /// How far `CLOCK_TAI` is ahead of `CLOCK_REALTIME`.
    pub tai_offset_seconds: i32,
    /// What coarse clocks are rounded down to, and say about themselves.
    pub coarse_resolution: u64,
}

impl Clocks {
    /// The clock of this number; one that is all zero where the page does not serve it.
    pub fn clock(&self, number: u32) -> Clock {
        let tai_offset = i64::from(self.tai_offset_seconds) * 1_000_000_000;
        let fine = |base| Clock::new(self.rate, base, 1);
        let coarse = |base| Clock::new(self.rate, base, self.coarse_resolution);
        match number {
            clock_id::CLOCK_REALTIME => fine(self.realtime_base),
            clock_id::CLOCK_MONOTONIC | clock_id::CLOCK_MONOTONIC_RAW => fine(self.monotonic_base),
            clock_id::CLOCK_REALTIME_COARSE => coarse(self.realtime_base),
            clock_id::CLOCK_MONOTONIC_COARSE => coarse(self.monotonic_base),
            clock_id::CLOCK_BOOTTIME => fine(self.boottime_base),
            clock_id::CLOCK_TAI => fine(self.realtime_base.wrapping_add_signed(tai_offset)),
            _ => Clock::default(),
        }
    }
}

/// For which harts the hardware's values hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harts {
    /// They are what all harts have in common; questions about some of the harts go to the kernel.
    Differ,
    /// They are the values of every single hart.
    Alike,
}

/// The page as its only writer has it. Keep it in a lock that also masks interrupts: programs that read the clocks
/// meanwhile fall back to system calls.
#[derive(Debug)]
pub struct DataPage<W> {
    words: W,
}

impl<W: WriteWords> DataPage<W> {
    /// The writer of a page that is all zero: programs ask the kernel for everything.
    pub const fn new(words: W) -> Self {
        Self { words }
    }

    /// From here on programs read the clocks themselves, and read these.
    pub fn publish(&mut self, clocks: &Clocks) {
        self.store_clocks(|number| clocks.clock(number));
    }

    /// From here on programs ask the kernel for the time.
    pub fn withdraw(&mut self) {
        self.store_clocks(|_| Clock::default());
    }

    fn store_clocks(&mut self, clock: impl Fn(u32) -> Clock) {
        sequence::write(&mut self.words, |words| {
            for number in 0..CLOCK_COUNT {
                let offset = clock_offset(number);
                let Clock { multiplier, shift, base_nanoseconds, resolution_nanoseconds } =
                    clock(number as u32);
                words.store(offset + offset_of!(Clock, multiplier), multiplier, Relaxed);
                words.store(offset + offset_of!(Clock, shift), shift, Relaxed);
                words.store(offset + offset_of!(Clock, base_nanoseconds), base_nanoseconds, Relaxed);
                words.store(
                    offset + offset_of!(Clock, resolution_nanoseconds),
                    resolution_nanoseconds,
                    Relaxed,
                );
            }
        });
    }

    /// Sets what `gettimeofday` says about the timezone.
    pub fn set_timezone(&mut self, timezone: Timezone) {
        self.words.store(TIMEZONE, timezone.to_word(), Relaxed);
    }

    /// Sets what `riscv_hwprobe` answers for each key. Once: while it changes, a program could see some values of
    /// the old and some of the new.
    pub fn set_hardware(&mut self, values: &[u64; PROBE_KEY_COUNT], harts: Harts) {
        self.words.store(PROBE_SCOPE, probe_scope::NOTHING, Relaxed);
        for (key, &value) in values.iter().enumerate() {
            self.words.store(probe_offset(key), value, Relaxed);
        }
        let scope = match harts {
            Harts::Differ => probe_scope::ALL_HARTS,
            Harts::Alike => probe_scope::EACH_HART,
        };
        self.words.store(PROBE_SCOPE, scope, Release);
    }

    /// The page itself.
    pub const fn words(&self) -> &W {
        &self.words
    }
}
