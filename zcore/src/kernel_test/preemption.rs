//! Kernel code that does not wait, interrupted by what is more urgent.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;

use executor::{Class, TaskHandle, TaskOptions, current_task, sleep, yield_now};
use kernel_hal::{Instant, MAX_HARTS, PAGE_SIZE, VirtAddr};
use kernel_object::address_space::{AddressSpace, Layout, Limits, MapRequest, Protection};
use ksync::PerHart;

use super::Entry;
use super::support::{Log, on, say, spin_until};

pub const TESTS: &[Entry] = &[
    Entry::new("preemption", || Box::pin(preemption())),
    Entry::new("preemption-from-another-hart", || Box::pin(from_another_hart())).harts(2),
    Entry::new("preemption-nested", || Box::pin(nested())),
    Entry::new("preemption-held-off", || Box::pin(held_off())),
    Entry::new("preemption-registers", || Box::pin(registers())),
    Entry::new("preemption-address-space", || Box::pin(address_space())),
];

const PATIENCE: Duration = Duration::from_secs(10);

fn spawn_on_first<T: Send + 'static>(
    class: Class,
    future: impl Future<Output = T> + Send + 'static,
) -> TaskHandle<T> {
    executor::set_realtime_budget(None);
    executor::spawn(TaskOptions::new("preemption").class(class).affinity(on(0)), future)
}

/// A flag that a task of this class raises after a while.
fn raised_after(delay: Duration, class: Class) -> (Arc<AtomicBool>, TaskHandle<()>) {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    let task = spawn_on_first(class, async move {
        sleep(delay).await;
        raised.store(true, Ordering::Release);
    });
    (flag, task)
}

/// A real-time task interrupts a spinning one; fair tasks, even boosted ones, do not.
async fn preemption() {
    let spinner = spawn_on_first(Class::NORMAL, async {
        let (urgent, _task) = raised_after(Duration::from_millis(3), Class::Fifo(1));
        let (fair, _task) = raised_after(Duration::from_millis(1), Class::Fair { nice: -20 });
        let (boosted, task) = raised_after(Duration::from_millis(1), Class::NORMAL);
        task.task().set_boost_when_woken_by_interrupt(true);
        // They start, and sleep.
        sleep(Duration::from_micros(300)).await;
        let this = current_task().expect("in a task");
        let polls = this.record().accounting().polls;
        let preempted = spin_until(PATIENCE, || urgent.load(Ordering::Acquire));
        assert!(preempted, "the real-time task waits for a task that spins");
        assert_eq!(this.record().accounting().polls, polls);
        assert!(!fair.load(Ordering::Acquire) && !boosted.load(Ordering::Acquire), "a fair task preempts");
    });
    assert!(spinner.join().await.is_some());
}

/// The wake comes from another hart, which therefore interrupts the first one.
async fn from_another_hart() {
    for _ in 0..50 {
        let spinning = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicBool::new(false));
        let (is_spinning, is_done) = (spinning.clone(), done.clone());
        let spinner = spawn_on_first(Class::NORMAL, async move {
            is_spinning.store(true, Ordering::Release);
            spin_until(PATIENCE, || is_done.load(Ordering::Acquire))
        });
        let waker = executor::spawn(TaskOptions::new("waker").affinity(on(1)), async move {
            assert!(spin_until(PATIENCE, || spinning.load(Ordering::Acquire)));
            spawn_on_first(Class::Fifo(3), async move { done.store(true, Ordering::Release) }).join().await;
        });
        assert_eq!(spinner.join().await, Some(true));
        assert!(waker.join().await.is_some());
    }
}

/// Two preempted tasks may wait; a third level has to wait for the second to end, and then goes before the first.
async fn nested() {
    let log = Arc::new(Log::<16>::new());
    let third_ended = Arc::new(AtomicBool::new(false));
    let first_ended = Arc::new(AtomicBool::new(false));
    let level =
        |number: u32, start: u64, mut until: Box<dyn FnMut() -> bool + Send>, ended: &Arc<AtomicBool>| {
            let (log, ended) = (log.clone(), ended.clone());
            spawn_on_first(Class::Fifo(10 * number as u8), async move {
                sleep(Duration::from_millis(start)).await;
                log.push(number);
                spin_until(PATIENCE, &mut until);
                log.push(10 + number);
                ended.store(true, Ordering::Release);
            })
        };
    let seen = third_ended.clone();
    let second_end = Instant::now() + Duration::from_millis(100);
    let first = level(1, 10, Box::new(move || seen.load(Ordering::Acquire)), &first_ended);
    let second = level(2, 20, Box::new(move || Instant::now() >= second_end), &Arc::default());
    let third = level(3, 40, Box::new(|| true), &third_ended);
    let spinner =
        spawn_on_first(
            Class::NORMAL,
            async move { spin_until(PATIENCE, || first_ended.load(Ordering::Acquire)) },
        );
    assert_eq!(spinner.join().await, Some(true), "{:?}", log.entries());
    for task in [first, second, third] {
        task.join().await;
    }
    assert_eq!(log.entries(), [1, 2, 12, 3, 13, 11]);
}

/// Holds the hart until a real-time task on it should have raised `flag` long ago. Whether the task did, or `None` if it
/// was there before the hart was held: a busy host stopped the machine for a while.
fn raised_while_held<G>(flag: &AtomicBool, hold: impl FnOnce() -> G) -> Option<bool> {
    let held = hold();
    if flag.load(Ordering::Acquire) {
        return None;
    }
    let raised = spin_until(Duration::from_millis(10), || flag.load(Ordering::Acquire));
    drop(held);
    Some(raised)
}

/// Lets a real-time task come due while the hart is held. How long after that it ran.
async fn hold_off<G>(hold: impl Fn() -> G) -> Duration {
    loop {
        let (flag, task) = raised_after(Duration::from_millis(2), Class::Fifo(1));
        yield_now().await;
        let Some(early) = raised_while_held(&flag, &hold) else {
            task.join().await;
            continue;
        };
        assert!(!early, "preempted although the hart was held");
        let began = Instant::now();
        assert!(spin_until(PATIENCE, || flag.load(Ordering::Acquire)), "never preempted again");
        let delay = Instant::now().since(began);
        task.join().await;
        return delay;
    }
}

/// Nothing is preempted while it is pinned to its hart; it is as soon as it is not any more.
async fn held_off() {
    static VALUES: PerHart<AtomicU32> = PerHart::new([const { AtomicU32::new(0) }; MAX_HARTS]);
    let spinner = spawn_on_first(Class::NORMAL, async {
        hold_off(|| VALUES.masked()).await;
        let delay = hold_off(|| VALUES.pinned()).await.as_micros();
        say!("preempted {delay} us after the preempt count was lowered");
        // It takes microseconds; the rest is for a busy host.
        assert!(delay < 200_000, "preempted only after {delay} us");
    });
    assert!(spinner.join().await.is_some());
}

/// A computation with many live values, once by itself and once preempted all the time by another one.
async fn registers() {
    const STEPS: u64 = 3_000_000;
    fn compute(seed: u64, steps: u64, mut each: impl FnMut()) -> [u64; 12] {
        let mut values: [u64; 12] = core::array::from_fn(|index| seed.wrapping_mul(index as u64 + 3) | 1);
        for step in 0..steps {
            for index in 0..values.len() {
                let next = values[(index + 1) % values.len()];
                values[index] = values[index].rotate_left(7).wrapping_mul(next | 1) ^ step;
            }
            each();
        }
        values
    }
    let expected = spawn_on_first(Class::NORMAL, async { compute(1, STEPS, || {}) }).join().await;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let ticker = spawn_on_first(Class::Fifo(5), async move {
        let expected = compute(2, 100, || {});
        let mut ticks = 0;
        while !stopped.load(Ordering::Relaxed) {
            sleep(Duration::from_micros(100)).await;
            assert_eq!(compute(2, 100, || {}), expected);
            ticks += 1;
        }
        ticks
    });
    let computed = spawn_on_first(Class::NORMAL, async { compute(1, STEPS, || {}) }).join().await;
    stop.store(true, Ordering::Relaxed);
    let ticks = ticker.join().await.unwrap_or(0);
    assert!(computed == expected, "a preempted computation came to another result");
    say!("preempted {ticks} times");
    assert!(ticks > 10);
}

const PAGES: usize = 16;
const ADDRESS: VirtAddr = VirtAddr::new(0x10_0000);

/// An address space that has the same byte everywhere.
fn space_filled_with(byte: u8) -> Arc<AddressSpace> {
    let space = AddressSpace::new(Layout::default(), Limits::USUAL).expect("memory");
    let request = MapRequest::anonymous(PAGES * PAGE_SIZE, Protection::READ | Protection::WRITE);
    space.map(request.at(ADDRESS)).expect("a mapping");
    for page in 0..PAGES {
        space.try_copy_out(ADDRESS + page * PAGE_SIZE, &[byte; PAGE_SIZE]).expect("a copy");
    }
    space
}

/// A copy from a program's memory goes on in that memory after it was preempted by a task of another program.
async fn address_space() {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let ticker = spawn_on_first(Class::Fifo(5), async move {
        let space = space_filled_with(0xbb);
        let mut bytes = [0; 256];
        let mut ticks = 0;
        while !stopped.load(Ordering::Relaxed) {
            sleep(Duration::from_micros(100)).await;
            space.try_copy_in(&mut bytes, ADDRESS + 100).expect("a copy");
            assert!(bytes.iter().all(|byte| *byte == 0xbb), "copied from somebody else's memory");
            ticks += 1;
        }
        AddressSpace::deactivate();
        ticks
    });
    let copier = spawn_on_first(Class::NORMAL, async move {
        let space = space_filled_with(0xaa);
        let mut bytes = alloc::vec![0; PAGES * PAGE_SIZE];
        for _ in 0..1_000 {
            bytes.fill(0);
            space.try_copy_in(&mut bytes, ADDRESS).expect("a copy");
            assert!(bytes.iter().all(|byte| *byte == 0xaa), "copied from somebody else's memory");
        }
        AddressSpace::deactivate();
    });
    assert!(copier.join().await.is_some());
    stop.store(true, Ordering::Relaxed);
    let ticks = ticker.join().await.unwrap_or(0);
    say!("preempted {ticks} times");
    assert!(ticks > 10);
}
