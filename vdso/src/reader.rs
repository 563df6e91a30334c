//! What a program asks of the page, without the calling convention around it.

use core::mem::offset_of;
use core::sync::atomic::Ordering::Relaxed;

use crate::clock::Clock;
use crate::layout::{CLOCK_COUNT, ReadWords, TIMEZONE, clock_offset};
use crate::sequence;

/// What a clock shows; `count` reads the counter. None where the kernel has to be asked.
#[inline(always)]
pub fn clock_nanoseconds(page: &impl ReadWords, number: u32, count: impl FnOnce() -> u64) -> Option<u64> {
    let number = number as usize;
    if number >= CLOCK_COUNT {
        return None;
    }
    let offset = clock_offset(number);
    let (clock, ticks) = sequence::read(page, |page| {
        let multiplier = page.load(offset + offset_of!(Clock, multiplier), Relaxed);
        if multiplier == 0 {
            return None;
        }
        let clock = Clock {
            multiplier,
            shift: page.load(offset + offset_of!(Clock, shift), Relaxed),
            base_nanoseconds: page.load(offset + offset_of!(Clock, base_nanoseconds), Relaxed),
            resolution_nanoseconds: page.load(offset + offset_of!(Clock, resolution_nanoseconds), Relaxed),
        };
        Some((clock, count()))
    })?;
    Some(clock.nanoseconds(ticks))
}

/// A clock's resolution, less than a second. None where the kernel has to be asked.
#[inline(always)]
pub fn clock_resolution(page: &impl ReadWords, number: u32) -> Option<u64> {
    let number = number as usize;
    if number >= CLOCK_COUNT {
        return None;
    }
    let resolution = page.load(clock_offset(number) + offset_of!(Clock, resolution_nanoseconds), Relaxed);
    (resolution != 0).then_some(resolution)
}

/// `struct timezone` of `gettimeofday`: obsolete, and usually zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Timezone {
    /// `tz_minuteswest`.
    pub minutes_west: i32,
    /// `tz_dsttime`.
    pub daylight_saving: i32,
}

impl Timezone {
    pub(crate) fn to_word(self) -> u64 {
        u64::from(self.minutes_west as u32) | u64::from(self.daylight_saving as u32) << 32
    }
}

/// The timezone that was last told to the kernel.
#[inline(always)]
pub fn timezone(page: &impl ReadWords) -> Timezone {
    let word = page.load(TIMEZONE, Relaxed);
    Timezone { minutes_west: word as i32, daylight_saving: (word >> 32) as i32 }
}
