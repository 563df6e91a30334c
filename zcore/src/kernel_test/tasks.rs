//! Tasks from their start to their end, on all harts and under load.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use executor::{Class, TaskOptions, sleep, sleep_until, timeout, yield_now};
use kernel_hal::{HartMask, Instant};
use ksync::WaitQueue;

use super::Entry;
use super::support::{Load, Random, eventually, harts, say, spin_until};
use crate::HEAP;

pub const TESTS: &[Entry] = &[
    Entry::new("tasks-spawn-join", || Box::pin(spawn_join())),
    Entry::new("tasks-sleep", || Box::pin(sleepers())),
    Entry::new("tasks-timeout", || Box::pin(timeouts())),
    Entry::new("tasks-cancel", || Box::pin(cancellation())),
    Entry::new("tasks-storm", || Box::pin(storm())),
];

async fn spawn_join() {
    let tasks_before = executor::task_count();
    let load = Load::start(1);
    let handles: Vec<_> = (0..2_000_u64)
        .map(|number| {
            executor::spawn(TaskOptions::new("worker"), async move {
                for _ in 0..number % 5 {
                    yield_now().await;
                }
                number * 3
            })
        })
        .collect();
    for (number, handle) in (0..).zip(handles) {
        assert_eq!(handle.join().await, Some(number * 3));
    }
    load.stop().await;
    eventually("tasks are left", || executor::task_count() <= tasks_before).await;
}

async fn sleepers() {
    const TASKS: usize = 200;
    let load = Load::start(1);
    let latest = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut random = Random::new(1);
    let handles: Vec<_> = (0..TASKS)
        .map(|_| {
            let deadline = start + Duration::from_micros(random.below(100_000) as u64);
            let latest = latest.clone();
            executor::spawn(TaskOptions::new("sleeper"), async move {
                sleep_until(deadline).await;
                let now = Instant::now();
                assert!(now >= deadline, "woken too early");
                latest.fetch_max(now.since(deadline).as_micros() as usize, Ordering::Relaxed);
            })
        })
        .collect();
    for handle in handles {
        assert!(handle.join().await.is_some());
    }
    load.stop().await;
    say!("the latest of {TASKS} sleepers was {} us late", latest.load(Ordering::Relaxed));
}

async fn timeouts() {
    let never = WaitQueue::new("nothing");
    let short = Duration::from_millis(5);
    let began = Instant::now();
    let late = timeout(began + short, never.wait_until(|| None::<()>)).await;
    assert!(late.is_err() && Instant::now() >= began + short);
    assert!(never.is_empty(), "a wait that is over left its place in the queue");
    // A future that is ready is never late.
    assert_eq!(timeout(Instant::default(), async { 7 }).await, Ok(7));
    assert_eq!(
        timeout(Instant::now() + Duration::from_secs(50), sleep(short)).await,
        Ok(()),
        "the outer timer is dropped before its time"
    );
}

/// Counts how often it is dropped.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

async fn cancellation() {
    const EACH: usize = 10;
    let tasks_before = executor::task_count();
    let drops = Arc::new(AtomicUsize::new(0));
    let queue = Arc::new(WaitQueue::new("nothing"));
    let mut handles = Vec::new();
    for number in 0..4 * EACH {
        let guard = Guard(drops.clone());
        let queue = queue.clone();
        handles.push(executor::spawn(TaskOptions::new("victim"), async move {
            let _guard = guard;
            match number % 4 {
                0 => sleep(Duration::from_secs(1_000)).await,
                1 => queue.wait_until(|| None::<()>).await,
                2 => loop {
                    yield_now().await;
                },
                _ => loop {
                    spin_until(Duration::from_micros(20), || false);
                    yield_now().await;
                },
            }
        }));
    }
    sleep(Duration::from_millis(20)).await;
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    let mut cancelled = 0;
    for handle in handles {
        assert!(handle.cancel().await.is_none());
        cancelled += 1;
        assert!(drops.load(Ordering::Relaxed) >= cancelled, "cancelled, but its future lives");
    }
    assert_eq!(drops.load(Ordering::Relaxed), 4 * EACH);
    assert!(queue.is_empty());
    eventually("tasks are left", || executor::task_count() <= tasks_before).await;
}

/// Everything at once, with repeatable chance, from every hart; afterwards nothing is left.
async fn storm() {
    let tasks_before = executor::task_count();
    let bytes_before = HEAP.bytes_in_use();
    let load = Load::start(1);
    let spawned = Arc::new(AtomicUsize::new(0));
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    for seed in 0..4 * harts().count() as u64 {
        let (spawned, dropped) = (spawned.clone(), dropped.clone());
        workers.push(executor::spawn(TaskOptions::new("storm"), async move {
            let mut random = Random::new(seed + 1);
            for _ in 0..60 {
                one_gust(&mut random, &spawned, &dropped).await;
            }
        }));
    }
    for worker in workers {
        assert!(worker.join().await.is_some());
    }
    load.stop().await;
    let count = spawned.load(Ordering::Relaxed);
    eventually("a future was not dropped", || dropped.load(Ordering::Relaxed) == count).await;
    eventually("tasks are left", || executor::task_count() <= tasks_before).await;
    drop((spawned, dropped));
    eventually("memory is left", || HEAP.bytes_in_use() <= bytes_before).await;
    say!("{count} tasks came and went");
}

async fn one_gust(random: &mut Random, spawned: &AtomicUsize, dropped: &Arc<AtomicUsize>) {
    let guard = Guard(dropped.clone());
    spawned.fetch_add(1, Ordering::Relaxed);
    let pause = Duration::from_micros(random.below(400) as u64);
    // None that starves beside the load.
    let class = match random.below(4) {
        0 => Class::RoundRobin(1 + random.below(99) as u8),
        1 => Class::Fair { nice: random.below(40) as i8 - 20 },
        _ => Class::NORMAL,
    };
    let handle = executor::spawn(TaskOptions::new("gust").class(class), async move {
        let _guard = guard;
        sleep(pause).await;
        yield_now().await;
        pause
    });
    match random.below(5) {
        0 => assert!(handle.cancel().await.is_none_or(|result| result == pause)),
        1 => handle.detach(),
        2 => {
            let soon = Instant::now() + Duration::from_micros(200);
            if let Ok(result) = timeout(soon, handle.join()).await {
                assert_eq!(result, Some(pause));
            }
        }
        3 => {
            let hart = harts().nth(random.below(harts().count())).expect("below the count");
            assert_eq!(handle.task().set_affinity(HartMask::only(hart)), Ok(()));
            assert_eq!(handle.task().set_class(Class::NORMAL), Ok(()));
            assert_eq!(handle.join().await, Some(pause));
        }
        _ => assert_eq!(handle.join().await, Some(pause)),
    }
}
