//! Who runs when: exact poll orders on one virtual hart, and placement on several.
#![cfg(not(loom))]

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use executor::simulator::{Simulator, consume};
use executor::{Activity, Class, TaskHandle, TaskOptions, need_resched, reschedule, spawn, yield_now};
use kernel_hal::{HartId, HartMask, Instant};
use ksync::{WaitQueue, Waiter};

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap()).join(" ")
    }
}

/// A task that notes its name at each of `rounds` polls.
fn noting(log: &Log, name: &'static str, class: Class, rounds: usize) -> TaskHandle<()> {
    let log = log.clone();
    spawn(TaskOptions::new(name).class(class), async move {
        for _ in 0..rounds {
            log.add(name);
            yield_now().await;
        }
    })
}

/// A task that behaves like a user program that never makes a syscall: it only gives the hart up when asked.
fn spinning(name: &str, class: Class, total: Duration) -> TaskHandle<()> {
    spawn(TaskOptions::new(name).class(class), async move {
        let mut left = total;
        while !left.is_zero() {
            let step = left.min(Duration::from_micros(500));
            consume(step);
            left -= step;
            if need_resched() {
                reschedule().await;
            }
        }
    })
}

/// Waits for one wake of the queue.
async fn next_wake(queue: &WaitQueue) {
    let mut waiter = pin!(Waiter::new(queue));
    poll_fn(|context| {
        if waiter.was_woken() {
            waiter.as_mut().finish();
            return Poll::Ready(());
        }
        let _ = waiter.as_mut().register(context.waker());
        Poll::Pending
    })
    .await;
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn tasks_of_one_level_take_turns_in_order() {
    for class in [Class::Fifo(10), Class::RoundRobin(10), Class::NORMAL, Class::Idle] {
        let mut simulator = Simulator::new(1, 0);
        let log = Log::default();
        for name in ["a", "b", "c"] {
            noting(&log, name, class, 2).detach();
        }
        simulator.run_until_parked();
        assert_eq!(log.take(), "a b c a b c", "{class:?}");
        assert_eq!(executor::task_count(), 0);
    }
}

#[test]
fn levels_are_strict() {
    let mut simulator = Simulator::new(1, 0);
    let log = Log::default();
    noting(&log, "idle", Class::Idle, 2).detach();
    noting(&log, "fair", Class::NORMAL, 2).detach();
    noting(&log, "low", Class::Fifo(1), 2).detach();
    noting(&log, "middle", Class::RoundRobin(50), 2).detach();
    noting(&log, "high", Class::Fifo(99), 2).detach();
    simulator.run_until_parked();
    assert_eq!(log.take(), "high high middle middle low low fair fair idle idle");
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn every_real_time_priority_has_its_own_level() {
    let mut simulator = Simulator::new(1, 0);
    let log = Arc::new(Mutex::new(Vec::new()));
    for step in 0..99u8 {
        // A permutation of 1..=99.
        let priority = (u16::from(step) * 50 % 99) as u8 + 1;
        let log = log.clone();
        spawn(TaskOptions::new("level").class(Class::Fifo(priority)), async move {
            log.lock().unwrap().push(priority);
        })
        .detach();
    }
    simulator.run_until_parked();
    let order = log.lock().unwrap().clone();
    assert_eq!(order, (1..=99).rev().collect::<Vec<u8>>());
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn a_task_that_yields_alone_arms_no_alarm_and_keeps_running() {
    let mut simulator = Simulator::new(1, 0);
    let log = Log::default();
    noting(&log, "alone", Class::NORMAL, 1000).detach();
    for _ in 0..500 {
        simulator.step();
    }
    assert_eq!(simulator.next_event(), None);
    simulator.run_until_parked();
    assert_eq!(simulator.next_event(), None);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn round_robin_tasks_rotate_after_their_quantum_and_fifo_tasks_do_not() {
    for (class, expected) in [(Class::RoundRobin(5), "a b a b a b"), (Class::Fifo(5), "a b")] {
        let mut simulator = Simulator::new(1, 0);
        executor::set_realtime_budget(None);
        let log = Log::default();
        for name in ["a", "b"] {
            let log = log.clone();
            spawn(TaskOptions::new(name).class(class), async move {
                log.add(name);
                for _ in 0..280 {
                    consume(MILLISECOND);
                    if need_resched() {
                        reschedule().await;
                        log.add(name);
                    }
                }
            })
            .detach();
        }
        simulator.run_until_idle();
        assert_eq!(log.take(), expected, "{class:?}");
    }
}

#[test]
fn a_preempted_real_time_task_keeps_its_place_and_the_rest_of_its_quantum() {
    let mut simulator = Simulator::new(1, 0);
    executor::set_realtime_budget(None);
    let log = Log::default();
    for name in ["a", "b"] {
        let log = log.clone();
        spawn(TaskOptions::new(name).class(Class::RoundRobin(5)), async move {
            log.add(name);
            for _ in 0..150 {
                consume(MILLISECOND);
                if need_resched() {
                    reschedule().await;
                    log.add(name);
                }
            }
        })
        .detach();
    }
    let urgent_log = log.clone();
    let queue = Arc::new(WaitQueue::new("test"));
    let waiting = queue.clone();
    spawn(TaskOptions::new("urgent").class(Class::Fifo(9)), async move {
        next_wake(&waiting).await;
        urgent_log.add("urgent");
    })
    .detach();
    simulator.interrupt_at(Instant::now() + 30 * MILLISECOND, move || queue.wake_all());
    simulator.run_until_idle();
    // The kernel future `a` is preempted in place at 30 ms, so it does not even note it; its turn ends at 100 ms.
    assert_eq!(log.take(), "a urgent b a b");
}

#[test]
fn a_fair_task_has_a_slice_when_another_waits() {
    let mut simulator = Simulator::new(1, 0);
    let log = Log::default();
    for name in ["a", "b"] {
        let log = log.clone();
        spawn(TaskOptions::new(name), async move {
            for _ in 0..11 {
                consume(MILLISECOND / 2);
                if need_resched() {
                    log.add(name);
                    reschedule().await;
                }
            }
        })
        .detach();
    }
    simulator.run_until_idle();
    assert_eq!(log.take(), "a b");
}

#[test]
fn a_newcomer_ends_the_long_run_of_a_lone_task_within_a_slice() {
    let mut simulator = Simulator::new(1, 0);
    let ran_at = Arc::new(Mutex::new(None));
    spinning("lone", Class::NORMAL, 100 * MILLISECOND).detach();
    let note = ran_at.clone();
    let start = Instant::now();
    simulator.interrupt_at(start + 50 * MILLISECOND, move || {
        spawn(TaskOptions::new("new"), async move { *note.lock().unwrap() = Some(Instant::now()) }).detach();
    });
    simulator.run_until_idle();
    let delay = ran_at.lock().unwrap().unwrap() - (start + 50 * MILLISECOND);
    assert!(delay <= 4 * MILLISECOND, "{delay:?}");
}

#[test]
fn an_interrupt_boosts_until_the_task_waits() {
    for boosted in [true, false] {
        let mut simulator = Simulator::new(1, 0);
        let log = Log::default();
        let queue = Arc::new(WaitQueue::new("test"));
        let mut options = TaskOptions::new("console");
        options.boost_when_woken_by_interrupt = boosted;
        let (task_log, waiting) = (log.clone(), queue.clone());
        spawn(options, async move {
            for _ in 0..2 {
                next_wake(&waiting).await;
                task_log.add("console");
                yield_now().await;
                task_log.add("console");
            }
        })
        .detach();
        simulator.run_until_parked();
        noting(&log, "fair", Class::NORMAL, 3).detach();
        let interrupting = queue.clone();
        simulator.interrupt_at(Instant::now(), move || interrupting.wake_all());
        simulator.run_until_parked();
        let expected =
            if boosted { "console console fair fair fair" } else { "fair console fair console fair" };
        assert_eq!(log.take(), expected);

        // Woken by a task, it is a fair task among others.
        let waker = queue.clone();
        spawn(TaskOptions::new("waker"), async move { waker.wake_all() }).detach();
        noting(&log, "fair", Class::NORMAL, 3).detach();
        simulator.run_until_parked();
        assert_eq!(log.take(), "fair console fair console fair");
    }
}

#[test]
fn a_boost_ends_with_the_slice() {
    let mut simulator = Simulator::new(1, 0);
    let log = Log::default();
    let queue = Arc::new(WaitQueue::new("test"));
    let (task_log, waiting) = (log.clone(), queue.clone());
    spawn(TaskOptions::new("greedy").boosted(), async move {
        next_wake(&waiting).await;
        for _ in 0..20 {
            consume(MILLISECOND);
            if need_resched() {
                task_log.add("greedy");
                reschedule().await;
            }
        }
        task_log.add("end");
    })
    .detach();
    simulator.run_until_parked();
    let fair_log = log.clone();
    spawn(TaskOptions::new("fair"), async move { fair_log.add("fair") }).detach();
    simulator.interrupt_at(Instant::now(), move || queue.wake_all());
    simulator.run_until_idle();
    assert_eq!(log.take(), "greedy fair end");
}

#[test]
fn a_change_of_class_takes_effect_at_once() {
    let mut simulator = Simulator::new(1, 0);
    let log = Log::default();
    let first = noting(&log, "first", Class::NORMAL, 1);
    let second = noting(&log, "second", Class::NORMAL, 1);
    second.task().set_class(Class::Fifo(1)).unwrap();
    assert!(first.task().set_class(Class::Fifo(100)).is_err());
    assert_eq!(second.task().record().class(), Class::Fifo(1));
    assert_eq!(second.task().record().activity(), Activity::Ready);
    simulator.run_until_parked();
    assert_eq!(log.take(), "second first");

    let waiting = noting(&log, "waiting", Class::NORMAL, 1);
    let running_log = log.clone();
    let lowered = spawn(TaskOptions::new("lowered").class(Class::Fifo(2)), async move {
        let task = executor::current_task().unwrap();
        task.set_class(Class::Idle).unwrap();
        running_log.add(if need_resched() { "asked" } else { "not asked" });
        reschedule().await;
        running_log.add("lowered");
    });
    simulator.run_until_parked();
    assert_eq!(log.take(), "asked waiting lowered");
    assert!(waiting.is_finished() && lowered.is_finished());
}

fn hart_log() -> (Arc<Mutex<Vec<usize>>>, impl Fn() + Clone + Send) {
    let harts = Arc::new(Mutex::new(Vec::new()));
    let note = harts.clone();
    (harts, move || note.lock().unwrap().push(HartId::current().index()))
}

#[test]
fn affinity_is_respected_from_the_first_poll_to_the_last() {
    for seed in 0..if cfg!(miri) { 1 } else { 20 } {
        let mut simulator = Simulator::new(4, seed);
        let (harts, note) = hart_log();
        let handles: Vec<_> = (0..6)
            .map(|_| {
                let note = note.clone();
                let allowed = HartMask::only(HartId::new(1)).with(HartId::new(3));
                spawn(TaskOptions::new("pinned").affinity(allowed), async move {
                    for _ in 0..20 {
                        note();
                        yield_now().await;
                    }
                })
            })
            .collect();
        simulator.run_until_parked();
        assert!(handles.iter().all(TaskHandle::is_finished));
        let harts = harts.lock().unwrap();
        assert!(harts.iter().all(|hart| [1, 3].contains(hart)), "{harts:?}");
        assert!(harts.contains(&1) && harts.contains(&3), "both were idle and allowed");
    }
}

#[test]
fn a_change_of_affinity_moves_a_ready_task_and_a_running_one() {
    let mut simulator = Simulator::new(2, 3);
    let target = HartMask::only(HartId::new(1));
    let (harts, note) = hart_log();
    let handle = spawn(TaskOptions::new("moving").affinity(HartMask::only(HartId::BOOT)), async move {
        note();
        executor::current_task().unwrap().set_affinity(HartMask::only(HartId::new(1))).unwrap();
        assert!(need_resched());
        reschedule().await;
        note();
    });
    assert!(handle.task().set_affinity(HartMask::only(HartId::new(7))).is_err(), "that hart is offline");
    simulator.run_until_parked();
    assert_eq!(*harts.lock().unwrap(), [0, 1]);

    let (harts, note) = hart_log();
    let ready =
        spawn(TaskOptions::new("ready").affinity(HartMask::only(HartId::BOOT)), async move { note() });
    ready.task().set_affinity(target).unwrap();
    simulator.run_until_parked();
    assert_eq!(*harts.lock().unwrap(), [1]);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn idle_harts_empty_the_queue_of_a_loaded_one() {
    for seed in 0..if cfg!(miri) { 1 } else { 20 } {
        let mut simulator = Simulator::new(4, seed);
        let (harts, note) = hart_log();
        // All become ready on hart 0 at once: its queue is the only one that is not empty.
        let start = note.clone();
        spawn(TaskOptions::new("parent"), async move {
            for _ in 0..40 {
                let note = start.clone();
                spawn(TaskOptions::new("child"), async move {
                    for _ in 0..5 {
                        note();
                        yield_now().await;
                    }
                })
                .detach();
            }
        })
        .detach();
        simulator.run_until_parked();
        let harts = harts.lock().unwrap();
        assert_eq!(harts.len(), 200);
        for hart in 0..4 {
            let polls = harts.iter().filter(|other| **other == hart).count();
            assert!(polls >= 20, "seed {seed}: hart {hart} did {polls} of 200 polls");
        }
    }
}

#[test]
fn a_task_stays_on_the_hart_where_it_ran() {
    let mut simulator = Simulator::new(4, 1);
    let (harts, note) = hart_log();
    spawn(TaskOptions::new("steady"), async move {
        for _ in 0..20 {
            note();
            executor::sleep(MILLISECOND).await;
        }
    })
    .detach();
    simulator.run_until_idle();
    let harts = harts.lock().unwrap();
    assert!(harts.iter().all(|hart| *hart == harts[0]), "{harts:?}");
}

#[test]
fn waking_something_more_urgent_interrupts_the_hart_that_runs_less() {
    let mut simulator = Simulator::new(2, 0);
    let only = |hart| HartMask::only(HartId::new(hart));
    let queue = Arc::new(WaitQueue::new("test"));
    let waiting = queue.clone();
    let done = Arc::new(Mutex::new(None));
    let note = done.clone();
    let options = TaskOptions::new("urgent").class(Class::Fifo(50)).affinity(only(1));
    spawn(options, async move {
        next_wake(&waiting).await;
        *note.lock().unwrap() = Some(Instant::now());
    })
    .detach();
    simulator.run_until_parked();
    spawn(TaskOptions::new("long").affinity(only(1)), async {
        for _ in 0..100 {
            consume(MILLISECOND);
        }
    })
    .detach();
    let start = Instant::now();
    let waker = queue.clone();
    simulator.interrupt_at(start + 10 * MILLISECOND, move || waker.wake_all());
    simulator.run_until_idle();
    // The kernel future never yields: only preemption lets the other in.
    assert_eq!(done.lock().unwrap().unwrap(), start + 10 * MILLISECOND);
}
