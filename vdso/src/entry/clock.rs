//! `clock_gettime`, `clock_getres`, `gettimeofday`.

use core::arch::asm;

use super::page::MappedPage;
use super::{Call, system_call};
use crate::reader::{Timezone, clock_nanoseconds, clock_resolution, timezone};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

#[repr(C)]
struct Timespec {
    seconds: u64,
    nanoseconds: u64,
}

#[repr(C)]
struct Timeval {
    seconds: u64,
    microseconds: u64,
}

#[inline(always)]
fn count() -> u64 {
    let ticks;
    // SAFETY: reads a counter. Not `nomem`: the fences around it order it, for the compiler too.
    unsafe { asm!("rdtime {}", out(reg) ticks, options(nostack, preserves_flags)) };
    ticks
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __vdso_clock_gettime(number: u32, result: *mut Timespec) -> isize {
    let Some(shown) = clock_nanoseconds(&MappedPage::here(), number, count) else {
        return system_call(Call::ClockGettime, number as i32 as usize, result as usize);
    };
    let value =
        Timespec { seconds: shown / NANOSECONDS_PER_SECOND, nanoseconds: shown % NANOSECONDS_PER_SECOND };
    // SAFETY: the program's own pointer.
    unsafe { result.write(value) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __vdso_clock_getres(number: u32, result: *mut Timespec) -> isize {
    let Some(nanoseconds) = clock_resolution(&MappedPage::here(), number) else {
        return system_call(Call::ClockGetres, number as i32 as usize, result as usize);
    };
    if !result.is_null() {
        // SAFETY: the program's own pointer.
        unsafe { result.write(Timespec { seconds: 0, nanoseconds }) };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __vdso_gettimeofday(time: *mut Timeval, zone: *mut Timezone) -> isize {
    let page = MappedPage::here();
    if !time.is_null() {
        let Some(shown) = clock_nanoseconds(&page, crate::clock_id::CLOCK_REALTIME, count) else {
            return system_call(Call::Gettimeofday, time as usize, zone as usize);
        };
        let value = Timeval {
            seconds: shown / NANOSECONDS_PER_SECOND,
            microseconds: shown % NANOSECONDS_PER_SECOND / 1000,
        };
        // SAFETY: the program's own pointer.
        unsafe { time.write(value) };
    }
    if !zone.is_null() {
        // SAFETY: the program's own pointer.
        unsafe { zone.write(timezone(&page)) };
    }
    0
}
