//! Random programs on random schedules: timers, wait queues and locks under many seeds.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use executor::simulator::{Random, Simulator, consume, for_each_seed, interrupt_at};
use executor::{Class, TaskHandle, TaskOptions, sleep, spawn, timeout, yield_now};
use kernel_hal::{HartId, HartMask, Instant};
use ksync::{AsyncMutex, AsyncRwLock, WaitQueue};

const SEEDS: u64 = if cfg!(miri) { 1 } else { 300 };
const HARTS: usize = 3;
const MICROSECOND: Duration = Duration::from_micros(1);

fn any_options(random: &mut Random) -> TaskOptions {
    let class = match random.below(6) {
        0 => Class::Fifo(random.below(99) as u8 + 1),
        1 => Class::RoundRobin(random.below(99) as u8 + 1),
        2 => Class::Idle,
        _ => Class::Fair { nice: random.below(40) as i8 - 20 },
    };
    let mut options = TaskOptions::new("random").class(class);
    if random.one_in(3) {
        options = options.affinity(HartMask::only(HartId::new(random.below(HARTS))));
    }
    options.boost_when_woken_by_interrupt = random.one_in(2);
    options
}

/// Something that a task may do between two steps of what it is there for.
async fn diversion(random: &mut Random) {
    match random.below(6) {
        0 => yield_now().await,
        1 => sleep(MICROSECOND * random.below(2000) as u32).await,
        2 => consume(MICROSECOND * random.below(5000) as u32),
        3 => {
            let task = executor::current_task().unwrap();
            let class = any_options(random).class;
            task.set_class(class).unwrap();
        }
        4 => {
            let mask = HartMask::from_bits(random.below(1 << HARTS) as u32 | 1 << random.below(HARTS));
            executor::current_task().unwrap().set_affinity(mask).unwrap();
        }
        _ => {}
    }
}

/// A task may run where it is not allowed only until it next leaves the hart.
fn check_hart() {
    let record = executor::current_task().unwrap();
    let here = HartId::current();
    assert_eq!(record.record().hart(), here);
}

fn expect_all_finished(simulator: &mut Simulator, handles: Vec<TaskHandle<()>>) {
    simulator.run_until_idle();
    for handle in &handles {
        assert!(handle.is_finished(), "{handle:?} waits for ever");
    }
    drop(handles);
    assert_eq!(executor::task_count(), 0);
    assert_eq!(simulator.next_event(), None);
}

#[test]
fn items_put_into_a_queue_are_all_taken_out() {
    for_each_seed(HARTS, SEEDS, |simulator| {
        const ITEMS: usize = 30;
        let shared = Arc::new((WaitQueue::new("items"), Mutex::new(VecDeque::new())));
        let taken = Arc::new(AtomicUsize::new(0));
        let mut handles = Vec::new();
        for _ in 0..3 {
            let (shared, taken) = (shared.clone(), taken.clone());
            let mut random = Random::new(simulator.random.next_u64());
            handles.push(spawn(any_options(&mut simulator.random), async move {
                for _ in 0..ITEMS {
                    let take = || shared.1.lock().unwrap().pop_front();
                    // Some waits are given up and taken up again.
                    let item = loop {
                        if random.one_in(3) {
                            let deadline = Instant::now() + MICROSECOND * random.below(1000) as u32;
                            if let Ok(item) = timeout(deadline, shared.0.wait_until(take)).await {
                                break item;
                            }
                        } else {
                            break shared.0.wait_until(take).await;
                        }
                    };
                    taken.fetch_add(item, Ordering::Relaxed);
                    diversion(&mut random).await;
                    check_hart();
                }
            }));
        }
        for _ in 0..2 {
            let shared = shared.clone();
            let mut random = Random::new(simulator.random.next_u64());
            handles.push(spawn(any_options(&mut simulator.random), async move {
                for _ in 0..ITEMS {
                    shared.1.lock().unwrap().push_back(1);
                    shared.0.wake_one();
                    diversion(&mut random).await;
                }
            }));
        }
        // The third producer is a device.
        for number in 0..ITEMS {
            let shared = shared.clone();
            let moment = Instant::now() + MICROSECOND * (number * simulator.random.below(100)) as u32;
            simulator.interrupt_at(moment, move || {
                shared.1.lock().unwrap().push_back(1);
                shared.0.wake_one();
            });
        }
        expect_all_finished(simulator, handles);
        assert_eq!(taken.load(Ordering::Relaxed), 3 * ITEMS);
    });
}

#[test]
fn the_mutex_excludes_and_nobody_waits_for_ever() {
    for_each_seed(HARTS, SEEDS, |simulator| {
        let mutex = Arc::new(AsyncMutex::new((0, false)));
        let rounds = 10;
        let handles = (0..6)
            .map(|_| {
                let mutex = mutex.clone();
                let mut random = Random::new(simulator.random.next_u64());
                spawn(any_options(&mut simulator.random), async move {
                    for _ in 0..rounds {
                        let mut guard = loop {
                            let deadline = Instant::now() + MICROSECOND * random.below(3000) as u32;
                            match random.one_in(2) {
                                true => match timeout(deadline, mutex.lock()).await {
                                    Ok(guard) => break guard,
                                    Err(_) => diversion(&mut random).await,
                                },
                                false => break mutex.lock().await,
                            }
                        };
                        assert!(!guard.1, "two tasks hold the mutex");
                        guard.1 = true;
                        diversion(&mut random).await;
                        guard.0 += 1;
                        guard.1 = false;
                        drop(guard);
                        diversion(&mut random).await;
                    }
                })
            })
            .collect();
        expect_all_finished(simulator, handles);
        assert_eq!(mutex.try_lock().unwrap().0, 6 * rounds);
    });
}

#[test]
fn readers_and_writers_exclude_each_other() {
    for_each_seed(HARTS, SEEDS, |simulator| {
        let lock = Arc::new(AsyncRwLock::new([0u32; 2]));
        let handles = (0..6)
            .map(|number| {
                let lock = lock.clone();
                let mut random = Random::new(simulator.random.next_u64());
                spawn(any_options(&mut simulator.random), async move {
                    for _ in 0..10 {
                        let deadline = Instant::now() + MICROSECOND * random.below(3000) as u32;
                        if number % 3 == 0 {
                            if let Ok(mut guard) = timeout(deadline, lock.write()).await {
                                guard[0] += 1;
                                diversion(&mut random).await;
                                guard[1] += 1;
                            }
                        } else if let Ok(guard) = timeout(deadline, lock.read()).await {
                            let seen = *guard;
                            assert_eq!(seen[0], seen[1], "a reader beside a writer");
                            diversion(&mut random).await;
                            assert_eq!(*guard, seen, "a writer beside a reader");
                        }
                        diversion(&mut random).await;
                    }
                })
            })
            .collect();
        expect_all_finished(simulator, handles);
        assert!(lock.try_write().is_some());
    });
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn sleepers_wake_on_time_whatever_else_happens() {
    for_each_seed(HARTS, SEEDS, |simulator| {
        let handles = (0..8)
            .map(|_| {
                let mut random = Random::new(simulator.random.next_u64());
                let mut options = TaskOptions::new("sleeper");
                if random.one_in(3) {
                    options = options.affinity(HartMask::only(HartId::new(random.below(HARTS))));
                }
                spawn(options, async move {
                    for _ in 0..20 {
                        let deadline = Instant::now() + MICROSECOND * random.below(5000) as u32;
                        match random.below(3) {
                            0 => {
                                let inner = sleep(MICROSECOND * random.below(5000) as u32);
                                let _ = timeout(deadline, inner).await;
                            }
                            1 => yield_now().await,
                            _ => {
                                executor::sleep_until(deadline).await;
                                assert_eq!(Instant::now(), deadline, "nobody consumes time here");
                            }
                        }
                    }
                })
            })
            .collect();
        expect_all_finished(simulator, handles);
    });
}

/// A request to a simulated device is answered by an interrupt; the requester may give up, the answer comes anyway.
#[test]
fn device_requests_end_once_each() {
    for_each_seed(HARTS, SEEDS, |simulator| {
        let answered = Arc::new(AtomicUsize::new(0));
        let handles = (0..5)
            .map(|_| {
                let answered = answered.clone();
                let mut random = Random::new(simulator.random.next_u64());
                spawn(any_options(&mut simulator.random), async move {
                    for _ in 0..10 {
                        let request = Arc::new((WaitQueue::new("request"), AtomicUsize::new(0)));
                        let (device, answered) = (request.clone(), answered.clone());
                        interrupt_at(Instant::now() + MICROSECOND * random.below(500) as u32, move || {
                            device.1.store(1, Ordering::Release);
                            device.0.wake_all();
                            answered.fetch_add(1, Ordering::Relaxed);
                        });
                        let done = || (request.1.load(Ordering::Acquire) == 1).then_some(());
                        let deadline = Instant::now() + MICROSECOND * random.below(1000) as u32;
                        let _ = timeout(deadline, request.0.wait_until(done)).await;
                        diversion(&mut random).await;
                    }
                })
            })
            .collect();
        expect_all_finished(simulator, handles);
        assert_eq!(answered.load(Ordering::Relaxed), 50);
    });
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut simulator = Simulator::new(HARTS, seed);
        let log = Arc::new(Mutex::new(Vec::new()));
        for number in 0..5 {
            let log = log.clone();
            let mut random = Random::new(simulator.random.next_u64());
            spawn(any_options(&mut simulator.random), async move {
                for _ in 0..10 {
                    diversion(&mut random).await;
                    log.lock().unwrap().push((number, HartId::current(), Instant::now()));
                }
            })
            .detach();
        }
        simulator.run_until_idle();
        log.lock().unwrap().clone()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
