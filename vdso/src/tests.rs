//! The kernel's side and a program's side of one page.

use std::boxed::Box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::layout::{PAGE_BYTES, SEQUENCE};
use crate::shim::AtomicU64;
use crate::{
    Clocks, DataPage, Rate, ReadWords, Timezone, WriteWords, clock_id, clock_nanoseconds, clock_resolution,
    timezone,
};

pub(crate) type TestPage = Box<[AtomicU64]>;

pub(crate) fn page_words() -> TestPage {
    (0..PAGE_BYTES / 8).map(|_| AtomicU64::new(0)).collect()
}

const BOOT: u64 = 1_700_000_000_999_999_999;

fn clocks() -> Clocks {
    Clocks {
        rate: Rate::from_frequency_hz(10_000_000).unwrap(),
        monotonic_base: 0,
        boottime_base: 5_000_000_000,
        realtime_base: BOOT,
        tai_offset_seconds: 37,
        coarse_resolution: 4_000_000,
    }
}

#[test]
fn a_fresh_page_answers_nothing() {
    let words = page_words();
    for number in 0..20 {
        assert_eq!(clock_nanoseconds(&&words[..], number, || panic!("nothing to count")), None);
        assert_eq!(clock_resolution(&&words[..], number), None);
    }
    assert_eq!(timezone(&&words[..]), Timezone::default());
}

#[test]
fn every_clock_shows_its_own_time() {
    let words = page_words();
    DataPage::new(&words[..]).publish(&clocks());
    let ticks = 123_456_789;
    let elapsed = ticks * 100;
    let shows = |number| clock_nanoseconds(&&words[..], number, || ticks);
    assert_eq!(shows(clock_id::CLOCK_REALTIME), Some(BOOT + elapsed));
    assert_eq!(shows(clock_id::CLOCK_MONOTONIC), Some(elapsed));
    assert_eq!(shows(clock_id::CLOCK_MONOTONIC_RAW), Some(elapsed));
    assert_eq!(shows(clock_id::CLOCK_BOOTTIME), Some(5_000_000_000 + elapsed));
    assert_eq!(shows(clock_id::CLOCK_TAI), Some(BOOT + 37_000_000_000 + elapsed));
    assert_eq!(shows(clock_id::CLOCK_REALTIME_COARSE), Some((BOOT + elapsed) / 4_000_000 * 4_000_000));
    assert_eq!(shows(clock_id::CLOCK_MONOTONIC_COARSE), Some(elapsed / 4_000_000 * 4_000_000));
    // CPU time, alarms, an unused number, numbers that stand for a process or a descriptor.
    for number in [2, 3, 8, 9, 10, 12, 13, 64, u32::MAX, u32::MAX - 1, 1 << 31] {
        assert_eq!(shows(number), None, "clock {number}");
        assert_eq!(clock_resolution(&&words[..], number), None, "clock {number}");
    }
    assert_eq!(clock_resolution(&&words[..], clock_id::CLOCK_REALTIME), Some(1));
    assert_eq!(clock_resolution(&&words[..], clock_id::CLOCK_MONOTONIC_COARSE), Some(4_000_000));
}

#[test]
fn clocks_agree_with_the_page() {
    let words = page_words();
    DataPage::new(&words[..]).publish(&clocks());
    for number in [0, 1, 4, 5, 6, 7, 11] {
        let kernels = clocks().clock(number).nanoseconds(987_654_321);
        assert_eq!(clock_nanoseconds(&&words[..], number, || 987_654_321), Some(kernels));
    }
}

#[test]
fn a_withdrawn_page_answers_nothing_until_it_is_published_again() {
    let words = page_words();
    let mut page = DataPage::new(&words[..]);
    page.publish(&clocks());
    page.withdraw();
    assert_eq!(clock_nanoseconds(&&words[..], 0, || 0), None);
    assert_eq!(clock_resolution(&&words[..], 0), None);
    page.publish(&clocks());
    assert_eq!(clock_nanoseconds(&&words[..], 0, || 0), Some(BOOT));
}

#[test]
fn a_reader_that_meets_a_writer_asks_the_kernel() {
    let words = page_words();
    let mut page = DataPage::new(&words[..]);
    page.publish(&clocks());
    // The writer comes and goes while the counter is read.
    let answer = clock_nanoseconds(&&words[..], 0, || {
        page.publish(&clocks());
        0
    });
    assert_eq!(answer, None);
    // The writer is at work.
    let even = words.load(SEQUENCE, Ordering::Relaxed);
    words.store(SEQUENCE, even + 1, Ordering::Relaxed);
    assert_eq!(clock_nanoseconds(&&words[..], 0, || 0), None);
}

#[test]
fn timezones_keep_their_signs() {
    let words = page_words();
    let mut page = DataPage::new(&words[..]);
    for zone in [
        Timezone { minutes_west: -60, daylight_saving: 1 },
        Timezone { minutes_west: 300, daylight_saving: -1 },
        Timezone { minutes_west: i32::MIN, daylight_saving: i32::MAX },
    ] {
        page.set_timezone(zone);
        assert_eq!(timezone(&&words[..]), zone);
    }
}

/// Miri takes milliseconds for one.
const CHANGES: usize = if cfg!(miri) { 100 } else { 20_000 };

/// A reader that got no answer so often from a page that nobody changes never will.
const MOST_ATTEMPTS: u32 = 1000;

/// Each state is recognisable by what its clock shows at one tick; a mixture of two shows something else.
#[test]
fn readers_on_other_threads_see_whole_changes() {
    let words = page_words();
    let done = AtomicBool::new(false);
    let state = |number: u64| Clocks {
        rate: Rate::from_frequency_hz(1_000_000_000 / number).unwrap(),
        realtime_base: number << 32,
        ..clocks()
    };
    let answers = thread::scope(|scope| {
        let readers: std::vec::Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = 0_u32;
                    let mut attempts_at_rest = 0;
                    // On a busy machine a reader may have its first turn when all is over.
                    while !done.load(Ordering::Relaxed) || answers == 0 && attempts_at_rest < MOST_ATTEMPTS {
                        attempts_at_rest += u32::from(done.load(Ordering::Relaxed));
                        if let Some(shown) = clock_nanoseconds(&&words[..], 0, || 1) {
                            let number = shown >> 32;
                            assert_eq!(shown, state(number).clock(0).nanoseconds(1));
                            answers += 1;
                        }
                    }
                    answers
                })
            })
            .collect();
        let mut page = DataPage::new(&words[..]);
        for round in 0..CHANGES {
            page.publish(&state([1, 2, 5, 8, 10][round % 5]));
            if round % 64 == 0 {
                thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u32>()
    });
    assert!(answers > 0, "no reader ever got an answer");
}
