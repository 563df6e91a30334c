//! Ends of tasks: results, cancellation, what is freed, what a task costs, preemption, watchdog, trace.
#![cfg(not(loom))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use executor::simulator::{Simulator, consume};
use executor::trace_ring::EventKind;
use executor::{Class, TaskName, TaskOptions, spawn, yield_now};
use kernel_hal::{HartId, Instant, preemption};
use ksync::{AsyncMutex, WaitQueue};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Counts what this thread allocates.
struct CountingAllocator;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|total| total.set(total.get() + layout.size()));
        // SAFETY: as for this function.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as for this function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn allocated_by(action: impl FnOnce()) -> usize {
    let before = ALLOCATED.get();
    action();
    ALLOCATED.get() - before
}

#[test]
fn a_task_costs_at_most_half_a_kilobyte_beside_its_future() {
    let mut simulator = Simulator::new(1, 0);
    let future = async { std::hint::black_box([0u8; 1000]).len() };
    let size = size_of_val(&future);
    let cost = allocated_by(|| spawn(TaskOptions::new("weighed"), future).detach());
    assert!(cost > size && cost <= size + 512, "{cost} for a future of {size}");
    simulator.run_until_parked();
}

#[test]
fn waking_running_and_sleeping_allocate_nothing() {
    let mut simulator = Simulator::new(1, 0);
    let queue = Arc::new((WaitQueue::new("test"), AtomicUsize::new(0)));
    let result = Arc::new(AtomicUsize::new(usize::MAX));
    let (waiting, result_of_waker) = (queue.clone(), result.clone());
    spawn(TaskOptions::new("waiter"), async move {
        for round in 1..50 {
            waiting.0.wait_until(|| (waiting.1.load(Ordering::Relaxed) >= round).then_some(())).await;
        }
    })
    .detach();
    spawn(TaskOptions::new("waker"), async move {
        let mutex = AsyncMutex::new(());
        let mut total = 0;
        for _ in 1..50 {
            total += allocated_by(|| {
                queue.1.fetch_add(1, Ordering::Relaxed);
                queue.0.wake_all();
                drop(mutex.try_lock());
            });
            yield_now().await;
        }
        result_of_waker.store(total, Ordering::Relaxed);
    })
    .detach();
    // The simulator's own choices allocate; a poll with everything around it does not.
    let mut total = 0;
    let mut is_busy = true;
    while is_busy {
        total += allocated_by(|| is_busy = executor::run_one());
    }
    assert_eq!((total, result.load(Ordering::Relaxed)), (0, 0));

    let sleeper = spawn(TaskOptions::new("sleeper"), async {
        for _ in 0..20 {
            executor::sleep(MILLISECOND).await;
        }
    });
    for _ in 0..20 {
        let cost = allocated_by(|| while executor::run_one() {});
        assert_eq!(cost, 0, "of going to sleep");
        simulator.advance_to(simulator.next_event().unwrap());
        assert_eq!(allocated_by(executor::on_timer), 0, "of waking up");
    }
    simulator.run_until_idle();
    assert!(sleeper.is_finished());
}

#[test]
fn join_returns_the_result_and_cancel_returns_none() {
    let mut simulator = Simulator::new(2, 1);
    let results = simulator.block_on(async {
        let ready = spawn(TaskOptions::new("ready"), async { 5 });
        let waiting = spawn(TaskOptions::new("waiting"), pending::<i32>());
        let finished = spawn(TaskOptions::new("finished"), async { 6 });
        yield_now().await;
        let cancelled = waiting.cancel().await;
        while !finished.is_finished() {
            yield_now().await;
        }
        (ready.join().await, cancelled, finished.cancel().await)
    });
    assert_eq!(results, Ok((Some(5), None, Some(6))));
    simulator.run_until_parked();
    assert_eq!(executor::task_count(), 0);
}

#[test]
fn cancellation_frees_everything_wherever_the_task_is() {
    for seed in 0..if cfg!(miri) { 1 } else { 100 } {
        let mut simulator = Simulator::new(3, seed);
        let held = Arc::new(());
        let queue = Arc::new(WaitQueue::new("test"));
        let mutex = Arc::new(AsyncMutex::new(()));
        let mut handles = Vec::new();
        for kind in 0..12 {
            let (held, queue, mutex) = (held.clone(), queue.clone(), mutex.clone());
            handles.push(spawn(TaskOptions::new("victim"), async move {
                let _held = held;
                match kind % 4 {
                    0 => queue.wait_until(|| None::<()>).await,
                    1 => loop {
                        yield_now().await
                    },
                    2 => executor::sleep(Duration::from_secs(1000)).await,
                    _ => loop {
                        let _guard = mutex.lock().await;
                        yield_now().await;
                    },
                }
            }));
        }
        for _ in 0..simulator.random.below(200) {
            simulator.step();
        }
        let all = simulator.block_on(async move {
            for handle in handles {
                assert_eq!(handle.cancel().await, None);
            }
        });
        assert_eq!(all, Ok(()));
        simulator.run_until_parked();
        assert_eq!(Arc::strong_count(&held), 1, "seed {seed}: a future was not dropped");
        assert_eq!(executor::task_count(), 0, "seed {seed}: a record was not freed");
        assert!(queue.is_empty());
        assert!(mutex.try_lock().is_some());
        assert_eq!(simulator.next_event(), None, "seed {seed}: a timer was left behind");
    }
}

#[test]
fn a_dropped_handle_lets_the_task_go_on() {
    let mut simulator = Simulator::new(1, 0);
    let done = Arc::new(AtomicUsize::new(0));
    let note = done.clone();
    drop(spawn(TaskOptions::new("detached"), async move {
        yield_now().await;
        note.store(1, Ordering::Relaxed);
    }));
    simulator.run_until_parked();
    assert_eq!(done.load(Ordering::Relaxed), 1);
}

#[test]
fn the_list_of_tasks_tells_names_and_classes() {
    let mut simulator = Simulator::new(1, 0);
    let handle = spawn(TaskOptions::new("a very long name indeed").class(Class::Fifo(3)), pending::<()>());
    spawn(TaskOptions::new("short"), async { yield_now().await }).detach();
    let mut seen = Vec::new();
    executor::for_each_task(|task| seen.push((task.name().as_str().to_owned(), task.class())));
    let expected = [("short".to_owned(), Class::NORMAL), ("a very long nam".to_owned(), Class::Fifo(3))];
    assert_eq!(seen, expected);
    handle.task().record().set_name(TaskName::new("renamed"));
    assert_eq!(handle.task().record().name().as_str(), "renamed");
    simulator.run_until_parked();
    assert_eq!(executor::task_count(), 1);
    assert_eq!(simulator.block_on(handle.cancel()), Ok(None));
}

/// Poll order and clock of nested preemption: a fair kernel future is preempted by 10, which is preempted by 20; 30
/// finds the two stacks taken and waits.
#[test]
fn kernel_futures_are_preempted_by_real_time_tasks_two_deep() {
    let mut simulator = Simulator::new(1, 0);
    let log = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let busy = |name: &'static str, class: Class| {
        let log = log.clone();
        move || {
            spawn(TaskOptions::new(name).class(class), async move {
                log.lock().unwrap().push(format!("{name} begins"));
                assert_eq!(executor::current_task().unwrap().record().name().as_str(), name);
                consume(10 * MILLISECOND);
                assert_eq!(executor::current_task().unwrap().record().name().as_str(), name);
                log.lock().unwrap().push(format!("{name} ends"));
            })
            .detach();
        }
    };
    busy("fair", Class::NORMAL)();
    let events = [
        (1, busy("10", Class::Fifo(10))),
        (2, busy("peer", Class::Fifo(10))),
        (3, busy("20", Class::Fifo(20))),
        (4, busy("30", Class::Fifo(30))),
    ];
    for (milliseconds, event) in events {
        simulator.interrupt_at(start + milliseconds * MILLISECOND, event);
    }
    simulator.run_until_idle();
    let expected = [
        "fair begins",
        "10 begins",
        "20 begins",
        "20 ends",
        "30 begins",
        "30 ends",
        "10 ends",
        "peer begins",
        "peer ends",
        "fair ends",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
    assert_eq!(Instant::now(), start + 50 * MILLISECOND);
}

#[test]
fn a_preempted_task_is_charged_for_its_own_time_only() {
    let mut simulator = Simulator::new(1, 0);
    let slow = spawn(TaskOptions::new("slow"), async { consume(10 * MILLISECOND) });
    let reference = slow.task().clone();
    simulator.interrupt_at(Instant::now() + 5 * MILLISECOND, || {
        spawn(TaskOptions::new("urgent").class(Class::Fifo(1)), async { consume(7 * MILLISECOND) }).detach();
    });
    simulator.run_until_idle();
    assert_eq!(reference.record().accounting().run_time, 10 * MILLISECOND);
    assert!(slow.is_finished());
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn nothing_is_preempted_while_the_preempt_count_is_raised() {
    let mut simulator = Simulator::new(1, 0);
    let log = Arc::new(Mutex::new(Vec::new()));
    let (slow_log, urgent_log) = (log.clone(), log.clone());
    spawn(TaskOptions::new("slow"), async move {
        preemption::raise();
        consume(5 * MILLISECOND);
        slow_log.lock().unwrap().push("slow");
        preemption::lower();
    })
    .detach();
    simulator.interrupt_at(Instant::now() + MILLISECOND, move || {
        let log = urgent_log.clone();
        spawn(
            TaskOptions::new("urgent").class(Class::Fifo(1)),
            async move { log.lock().unwrap().push("urgent") },
        )
        .detach();
    });
    simulator.run_until_idle();
    assert_eq!(*log.lock().unwrap(), ["slow", "urgent"]);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn the_watchdog_reports_a_long_poll_once_and_spares_who_makes_progress() {
    static REPORTS: Mutex<Vec<(String, u64)>> = Mutex::new(Vec::new());
    let mut simulator = Simulator::new(1, 0);
    executor::set_watchdog(10 * MILLISECOND, |name, _, nanos| {
        REPORTS.lock().unwrap().push((name.as_str().to_owned(), nanos));
    });
    spawn(TaskOptions::new("quick"), async {
        for _ in 0..100 {
            consume(MILLISECOND);
            yield_now().await;
        }
    })
    .detach();
    simulator.run_until_idle();
    spawn(TaskOptions::new("user loop"), async {
        for _ in 0..100 {
            consume(MILLISECOND);
            executor::checkpoint();
        }
    })
    .detach();
    simulator.run_until_idle();
    assert!(REPORTS.lock().unwrap().is_empty());
    spawn(TaskOptions::new("stuck"), async {
        consume(35 * MILLISECOND);
        yield_now().await;
        consume(35 * MILLISECOND);
    })
    .detach();
    simulator.run_until_idle();
    let reports = REPORTS.lock().unwrap();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(reports[0].0, "stuck");
    assert!(reports[0].1 <= 21_000_000, "reported while it lasts, not at its end: {reports:?}");
    assert_eq!(simulator.next_event(), None);
}

#[test]
fn the_trace_tells_the_story_of_a_task() {
    let mut simulator = Simulator::new(1, 0);
    executor::set_trace_enabled(true);
    let handle = spawn(TaskOptions::new("traced"), async { executor::sleep(MILLISECOND).await });
    let id = handle.task().record().id();
    simulator.run_until_idle();
    executor::set_trace_enabled(false);
    let mut kinds = Vec::new();
    executor::for_each_event(HartId::BOOT, 100, |record| {
        if record.task == id {
            kinds.push(record.kind);
        }
    });
    use EventKind::*;
    assert_eq!(kinds, [Spawn, Wake, Run, Stop, Wake, Run, Stop]);
    assert!(handle.is_finished());
}
