//! Tasks and several harts: stealing, affinity, waking across harts.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use core::time::Duration;

use executor::{TaskOptions, current_task, sleep, yield_now};
use kernel_hal::{HartId, HartMask, Instant};
use ksync::WaitQueue;

use super::Entry;
use super::support::{Load, Random, harts, on, say, spin_until};

pub const TESTS: &[Entry] = &[
    Entry::new("harts-stealing", || Box::pin(stealing())).harts(2),
    Entry::new("harts-stealing-from-spinner", || Box::pin(stealing_from_spinner())).harts(2),
    Entry::new("harts-affinity", || Box::pin(affinity())),
    Entry::new("harts-migration", || Box::pin(migration())).harts(2),
    Entry::new("harts-wake", || Box::pin(wake())).harts(2),
];

/// Tasks that all start on one hart end up on all of them.
async fn stealing() {
    let seen = Arc::new(AtomicU32::new(0));
    let began = Instant::now();
    while HartMask::from_bits(seen.load(Ordering::Relaxed)) != HartId::online() {
        assert!(Instant::now().since(began) < Duration::from_secs(50), "a hart does not steal");
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let seen = seen.clone();
                executor::spawn(TaskOptions::new("worker"), async move {
                    for _ in 0..5 {
                        spin_until(Duration::from_micros(100), || false);
                        seen.fetch_or(HartMask::only(HartId::current()).bits(), Ordering::Relaxed);
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.join().await;
        }
    }
}

/// What is queued behind a task that never waits is run by others while it goes on.
async fn stealing_from_spinner() {
    const TASKS: usize = 20;
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let spinner = executor::spawn(TaskOptions::new("spinner").affinity(on(0)), async move {
        for _ in 0..TASKS {
            let count = count.clone();
            executor::spawn(TaskOptions::new("queued"), async move {
                count.fetch_add(1, Ordering::Relaxed);
            })
            .detach();
        }
        spin_until(Duration::from_secs(50), || count.load(Ordering::Relaxed) == TASKS)
    });
    assert_eq!(spinner.join().await, Some(true), "only {} tasks ran", ended.load(Ordering::Relaxed));
}

async fn affinity() {
    let load = Load::start(1);
    let mut tasks = Vec::new();
    for hart in harts() {
        for seed in 0..4 {
            let options = TaskOptions::new("pinned").affinity(HartMask::only(hart));
            tasks.push(executor::spawn(options, async move {
                let mut random = Random::new(seed);
                for _ in 0..60 {
                    assert_eq!(HartId::current(), hart, "runs where it must not");
                    match random.below(3) {
                        0 => sleep(Duration::from_micros(random.below(500) as u64)).await,
                        1 => {
                            spin_until(Duration::from_micros(50), || false);
                        }
                        _ => yield_now().await,
                    }
                }
            }));
        }
    }
    for task in tasks {
        assert!(task.join().await.is_some());
    }
    load.stop().await;
}

/// A task that changes its own affinity runs on the new hart after its next wait.
async fn migration() {
    let load = Load::start(1);
    let traveller = executor::spawn(TaskOptions::new("traveller"), async {
        let this = current_task().expect("in a task");
        for _ in 0..20 {
            for hart in harts() {
                assert_eq!(this.set_affinity(HartMask::only(hart)), Ok(()));
                yield_now().await;
                assert_eq!(HartId::current(), hart);
                sleep(Duration::from_micros(100)).await;
                assert_eq!(HartId::current(), hart);
            }
        }
        let nowhere = HartMask::ALL.bits() & !HartId::online().bits();
        assert!(this.set_affinity(HartMask::from_bits(nowhere)).is_err());
    });
    assert!(traveller.join().await.is_some());
    load.stop().await;
}

/// Two tasks on two harts wake each other, each hart sleeping in between.
async fn wake() {
    const ROUNDS: u32 = 1_000;
    let turn =
        Arc::new((AtomicU32::new(0), WaitQueue::new("turn of player 0"), WaitQueue::new("turn of player 1")));
    let player = |number: u32| {
        let turn = turn.clone();
        executor::spawn(TaskOptions::new("player").affinity(on(number as usize)), async move {
            let (turn, queues) = (&turn.0, [&turn.1, &turn.2]);
            for round in 0..ROUNDS {
                let mine = 2 * round + number;
                let queue = queues[number as usize];
                queue.wait_until(|| (turn.load(Ordering::Acquire) == mine).then_some(())).await;
                turn.store(mine + 1, Ordering::Release);
                queues[1 - number as usize].wake_one();
            }
        })
    };
    let began = Instant::now();
    let players = [player(0), player(1)];
    for player in players {
        assert!(player.join().await.is_some());
    }
    let micros = Instant::now().since(began).as_micros() / u128::from(2 * ROUNDS);
    say!("a wake on another hart took {micros} us on average");
    assert!(micros < 10_000, "waking across harts is slow: {micros} us");
}
