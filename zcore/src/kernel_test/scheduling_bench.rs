//! What scheduling costs.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::task::Poll;
use core::time::Duration;

use executor::{Class, TaskHandle, TaskOptions, TaskRef, sleep, yield_now};
use ksync::Once;

use super::Entry;
use super::support::{mark_begin, mark_end, on, say};

pub const BENCHES: &[Entry] = &[
    Entry::new("switch", || Box::pin(switch())),
    Entry::new("sleep", || Box::pin(sleep_and_fire())),
    Entry::new("spawn", || Box::pin(spawn_and_join())),
    Entry::new("preempt", || Box::pin(preempt())),
];

const ROUNDS: usize = 5;
const OPERATIONS: u32 = 10_000;

fn spawn_here<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> TaskHandle<T> {
    executor::spawn(TaskOptions::new("bench").affinity(on(0)), future)
}

/// Two tasks that hand each other a turn.
struct Table {
    turn: AtomicU32,
    players: [Once<TaskRef>; 2],
}

/// Each turn is one wake of the other, who waits, and one switch to it.
async fn play(table: Arc<Table>, me: u32) {
    for round in 0..OPERATIONS / 2 {
        let mine = 2 * round + me;
        poll_fn(|_| if table.turn.load(Ordering::Relaxed) == mine { Poll::Ready(()) } else { Poll::Pending })
            .await;
        table.turn.store(mine + 1, Ordering::Relaxed);
        if let Some(other) = table.players[1 - me as usize].get() {
            other.wake();
        }
    }
}

async fn switch() {
    for _ in 0..ROUNDS {
        let table = Arc::new(Table { turn: AtomicU32::new(u32::MAX), players: [const { Once::new() }; 2] });
        let tasks = [0, 1].map(|me| spawn_here(play(table.clone(), me)));
        for (task, slot) in tasks.iter().zip(&table.players) {
            slot.call_once(|| task.task().clone());
        }
        // Both wait for their turn.
        yield_now().await;
        yield_now().await;
        table.turn.store(0, Ordering::Relaxed);
        mark_begin();
        tasks[0].task().wake();
        for task in tasks {
            task.join().await;
        }
        mark_end();
        say!("bench: wake-switch task {OPERATIONS}");
    }
    for _ in 0..ROUNDS {
        let yielding = || {
            spawn_here(async {
                for _ in 0..OPERATIONS / 2 {
                    yield_now().await;
                }
            })
        };
        mark_begin();
        let tasks = [yielding(), yielding()];
        for task in tasks {
            task.join().await;
        }
        mark_end();
        say!("bench: yield-switch task {OPERATIONS}");
    }
}

/// Setting a timer, sleeping, being woken by it. The hart has nothing else to do, so it goes idle each time.
async fn sleep_and_fire() {
    for _ in 0..ROUNDS {
        let task = spawn_here(async {
            mark_begin();
            for _ in 0..OPERATIONS {
                sleep(Duration::from_micros(5)).await;
            }
            mark_end();
        });
        task.join().await;
        say!("bench: sleep-fire timer {OPERATIONS}");
    }
}

async fn spawn_and_join() {
    for _ in 0..ROUNDS {
        mark_begin();
        for number in 0..OPERATIONS {
            assert_eq!(spawn_here(async move { number }).join().await, Some(number));
        }
        mark_end();
        say!("bench: spawn-join task {OPERATIONS}");
    }
}

/// A real-time task whose timer goes off while this one spins. The begin is marked by the spinning loop all the time:
/// the last mark before the interrupt is the one that counts.
async fn preempt() {
    executor::set_realtime_budget(None);
    for _ in 0..ROUNDS {
        let done = Arc::new(AtomicBool::new(false));
        let woken = done.clone();
        let options = TaskOptions::new("urgent").class(Class::Fifo(50)).affinity(on(0));
        let urgent = executor::spawn(options, async move {
            sleep(Duration::from_micros(30)).await;
            mark_end();
            woken.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            mark_begin();
        }
        say!("bench: preempt timer 1");
        urgent.join().await;
    }
}
