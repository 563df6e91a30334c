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

/// Longer than any host stops the machine for: that it is over is always a failure.
const PATIENCE: Duration = Duration::from_secs(50);

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
        let this = current_task().expect("in a task");
        let (urgent, fair, boosted, polls) = loop {
            let (urgent, urgent_task) = raised_after(Duration::from_millis(3), Class::Fifo(1));
            let (fair, fair_task) = raised_after(Duration::from_millis(1), Class::Fair { nice: -20 });
            let (boosted, boosted_task) = raised_after(Duration::from_millis(1), Class::NORMAL);
            boosted_task.task().set_boost_when_woken_by_interrupt(true);
            // They start, and sleep.
            sleep(Duration::from_micros(300)).await;
            let polls = this.record().accounting().polls;
            let all_sleep = [&urgent, &fair, &boosted].iter().all(|flag| !flag.load(Ordering::Acquire));
            if all_sleep {
                break (urgent, fair, boosted, polls);
            }
            // The host stopped the machine meanwhile: their time came while this task waited.
            for task in [urgent_task, fair_task, boosted_task] {
                task.join().await;
            }
        };
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
///
/// Each level starts the next one itself, so that no stop of the machine changes their order.
async fn nested() {
    const FIRST: Class = Class::Fifo(10);
    const SECOND: Class = Class::Fifo(20);
    const THIRD: Class = Class::Fifo(30);
    let log = Arc::new(Log::<16>::new());
    let first_ended = Arc::new(AtomicBool::new(false));
    let third_ended = Arc::new(AtomicBool::new(false));

    let third = {
        let (log, ended) = (log.clone(), third_ended.clone());
        async move {
            log.push(3);
            log.push(13);
            ended.store(true, Ordering::Release);
        }
    };
    let second = {
        let (log, third_ended) = (log.clone(), third_ended.clone());
        async move {
            // The alarm interrupts the first level.
            sleep(Duration::from_millis(5)).await;
            log.push(2);
            spawn_on_first(THIRD, third).detach();
            let ran = spin_until(Duration::from_millis(20), || third_ended.load(Ordering::Acquire));
            assert!(!ran, "a third task was preempted");
            log.push(12);
        }
    };
    let first = {
        let (log, third_ended, first_ended) = (log.clone(), third_ended, first_ended.clone());
        async move {
            // The alarm interrupts the spinner.
            sleep(Duration::from_millis(5)).await;
            log.push(1);
            spawn_on_first(SECOND, second).detach();
            assert!(spin_until(PATIENCE, || third_ended.load(Ordering::Acquire)), "the third did not run");
            log.push(11);
            first_ended.store(true, Ordering::Release);
        }
    };
    let spinner = spawn_on_first(Class::NORMAL, async move {
        spawn_on_first(FIRST, first).detach();
        spin_until(PATIENCE, || first_ended.load(Ordering::Acquire))
    });
    assert_eq!(spinner.join().await, Some(true), "{:?}", log.entries());
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

const SOON: Duration = Duration::from_millis(50);
const MOST_ATTEMPTS: usize = 20;

/// Nothing is preempted while it is pinned to its hart; it is as soon as it is not any more.
async fn held_off() {
    static VALUES: PerHart<AtomicU32> = PerHart::new([const { AtomicU32::new(0) }; MAX_HARTS]);
    let spinner = spawn_on_first(Class::NORMAL, async {
        hold_off(|| VALUES.masked()).await;
        // It takes microseconds unless the host stops the machine, so the shortest of a few counts.
        let mut delay = Duration::MAX;
        for _ in 0..MOST_ATTEMPTS {
            delay = delay.min(hold_off(|| VALUES.pinned()).await);
            if delay < SOON {
                break;
            }
        }
        say!("preempted {} us after the preempt count was lowered", delay.as_micros());
        assert!(delay < SOON, "preempted only after {delay:?}, in {MOST_ATTEMPTS} attempts");
    });
    assert!(spinner.join().await.is_some());
}

/// Preemptions of a task under test.
#[derive(Default)]
struct Ticks {
    count: AtomicU32,
    is_over: AtomicBool,
}

impl Ticks {
    /// Waits for the next one. `false` if there is to be none.
    async fn next(&self) -> bool {
        sleep(Duration::from_micros(100)).await;
        self.count.fetch_add(1, Ordering::Relaxed);
        !self.is_over.load(Ordering::Relaxed)
    }

    fn are_enough(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 10
    }

    async fn stop(&self, ticker: TaskHandle<()>) {
        self.is_over.store(true, Ordering::Relaxed);
        assert!(ticker.join().await.is_some());
        say!("preempted {} times", self.count.load(Ordering::Relaxed));
    }
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
    let ticks = Arc::new(Ticks::default());
    let ticker = spawn_on_first(Class::Fifo(5), {
        let ticks = ticks.clone();
        async move {
            let expected = compute(2, 100, || {});
            while ticks.next().await {
                assert_eq!(compute(2, 100, || {}), expected);
            }
        }
    });
    // As often as it takes: how many ticks come in one computation is the host's business.
    while !ticks.are_enough() {
        let computed = spawn_on_first(Class::NORMAL, async { compute(1, STEPS, || {}) }).join().await;
        assert!(computed == expected, "a preempted computation came to another result");
    }
    ticks.stop(ticker).await;
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
    let ticks = Arc::new(Ticks::default());
    let ticker = spawn_on_first(Class::Fifo(5), {
        let ticks = ticks.clone();
        async move {
            let space = space_filled_with(0xbb);
            let mut bytes = [0; 256];
            while ticks.next().await {
                space.try_copy_in(&mut bytes, ADDRESS + 100).expect("a copy");
                assert!(bytes.iter().all(|byte| *byte == 0xbb), "copied from somebody else's memory");
            }
            AddressSpace::deactivate();
        }
    });
    let copier = spawn_on_first(Class::NORMAL, {
        let ticks = ticks.clone();
        async move {
            let space = space_filled_with(0xaa);
            let mut bytes = alloc::vec![0; PAGES * PAGE_SIZE];
            let mut copies = 0;
            while copies < 1_000 || !ticks.are_enough() {
                bytes.fill(0);
                space.try_copy_in(&mut bytes, ADDRESS).expect("a copy");
                assert!(bytes.iter().all(|byte| *byte == 0xaa), "copied from somebody else's memory");
                copies += 1;
            }
            AddressSpace::deactivate();
        }
    });
    assert!(copier.join().await.is_some());
    ticks.stop(ticker).await;
}
