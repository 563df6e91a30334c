//! Bugs on demand, for testing what is said about them: `panic-test=NAME`.
//!
//! Each case is something the report must survive; `scripts/boottest.py` has the list of what it must say. Whoever
//! can write the command line owns the machine anyway, so the cases are part of every image.

use core::fmt;
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use executor::{TaskOptions, yield_now};
use kernel_hal::{HartId, HartMask, Instant, MAX_HARTS, interrupt, power};

use crate::{kernel_log, machine_description};

const CASES: [(&str, fn()); 11] = [
    ("plain", plain),
    ("fault", fault),
    ("message", message),
    ("overflow", overflow),
    ("overflow-in-message", overflow_in_message),
    ("log-lock", log_lock),
    ("task-list-lock", task_list_lock),
    ("run-queue-lock", run_queue_lock),
    ("two-harts", two_harts),
    ("masked-hart", masked_hart),
    ("watchdog", watchdog),
];

/// Starts the case once all harts run.
pub fn start(name: &'static str) {
    let case = CASES.iter().find(|(known, _)| *known == name);
    let Some((_, case)) = case else { panic!("panic-test: there is no case {name}") };
    executor::spawn(TaskOptions::new("panic-test"), async move {
        until_all_harts_run().await;
        log::info!("panic-test: {name}");
        case();
    })
    .detach();
}

async fn until_all_harts_run() {
    let harts = machine_description().usable_harts().count().min(MAX_HARTS);
    while HartId::count() < harts {
        yield_now().await;
    }
}

fn plain() {
    first_caller(3);
}

/// Two functions that a backtrace must name, in this order.
#[inline(never)]
fn first_caller(value: u32) {
    second_caller(black_box(value));
    black_box(value);
}

#[inline(never)]
fn second_caller(value: u32) {
    assert_ne!(value, 3, "a panic on purpose");
    black_box(value);
}

fn fault() {
    let nowhere = core::ptr::with_exposed_provenance::<u64>(black_box(0xdead_0000));
    // SAFETY: not sound, on purpose: the address is a program's and nothing is mapped there.
    black_box(unsafe { nowhere.read_volatile() });
}

struct PanicsWhenShown;

impl fmt::Display for PanicsWhenShown {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a panic inside a panic");
    }
}

fn message() {
    panic!("a message with a trap: {PanicsWhenShown}");
}

#[inline(never)]
fn descend(depth: usize) -> usize {
    let frame = black_box([depth; 64]);
    if depth == usize::MAX { 0 } else { descend(black_box(depth + 1)) + frame[depth % 64] }
}

fn overflow() {
    black_box(descend(0));
}

struct OverflowsWhenShown;

impl fmt::Display for OverflowsWhenShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", descend(0))
    }
}

fn overflow_in_message() {
    panic!("a message without an end: {OverflowsWhenShown}");
}

fn log_lock() {
    kernel_log::with_lock_held(|| panic!("a panic while the log is locked"));
}

fn task_list_lock() {
    executor::for_each_task(|_| panic!("a panic while the list of tasks is locked"));
}

fn run_queue_lock() {
    let all = HartId::online();
    // Others are made to want the lock.
    let here = HartId::current();
    static STARTED: AtomicU32 = AtomicU32::new(0);
    for hart in all.without(here).iter() {
        let busy = TaskOptions::new("spinner").affinity(HartMask::only(hart));
        executor::spawn(busy, async move {
            STARTED.fetch_add(1, Ordering::SeqCst);
            loop {
                executor::spawn(TaskOptions::new("short").affinity(HartMask::only(here)), async {}).detach();
            }
        })
        .detach();
    }
    while STARTED.load(Ordering::SeqCst) < all.len() as u32 - 1 {
        core::hint::spin_loop();
    }
    executor::with_run_queue_locked(|| {
        spin_for(Duration::from_millis(20));
        panic!("a panic while a run queue is locked")
    });
}

fn two_harts() {
    static ARRIVED: AtomicU32 = AtomicU32::new(0);
    let harts = HartId::online();
    for hart in harts.iter() {
        let options = TaskOptions::new("both").affinity(HartMask::only(hart));
        executor::spawn(options, async move {
            // So that no hart is stopped before it panics.
            interrupt::disable();
            ARRIVED.fetch_add(1, Ordering::SeqCst);
            while ARRIVED.load(Ordering::SeqCst) < harts.len() as u32 {
                core::hint::spin_loop();
            }
            panic!("a panic on every hart");
        })
        .detach();
    }
}

fn masked_hart() {
    let here = HartId::current();
    let Some(other) = HartId::online().without(here).lowest() else { panic!("there is one hart only") };
    static MASKED: AtomicU32 = AtomicU32::new(0);
    executor::spawn(TaskOptions::new("deaf").affinity(HartMask::only(other)), async {
        interrupt::disable();
        MASKED.store(1, Ordering::SeqCst);
        loop {
            core::hint::spin_loop();
        }
    })
    .detach();
    while MASKED.load(Ordering::SeqCst) == 0 {
        core::hint::spin_loop();
    }
    panic!("a panic beside a hart that does not listen");
}

/// Keeps the hart for long, and then ends well.
fn watchdog() {
    spin_for(Duration::from_millis(1500));
    power::off(0);
}

#[inline(never)]
fn spin_for(duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        core::hint::spin_loop();
    }
}
