//! Nobody who is ready waits for ever behind a program that spins: random programs under many seeds.
//!
//! A spinning program gives its hart up only when it is asked. Each hart that runs one while another task is ready must
//! therefore have an alarm armed, or an interrupt on its way, at every moment; an alarm that is lost anywhere shows as a
//! spinner that is never asked.
#![cfg(not(loom))]
#![cfg(not(miri))] // Seconds of virtual time are hours there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use executor::simulator::{Random, Simulator, consume, for_each_seed, interfere, interrupt_at};
use executor::{
    Class, TaskHandle, TaskOptions, hart_state, need_resched, reschedule, sleep, spawn, yield_now,
};
use kernel_hal::{HartId, HartMask, Instant};
use ksync::WaitQueue;

const SEEDS: u64 = 150;
const MICROSECOND: Duration = Duration::from_micros(1);
/// A slice is three milliseconds and a bit.
const SLICE: Duration = Duration::from_millis(4);
/// How many slices a spinner may run on while somebody waits for its hart.
const MOST_SLICES: u32 = 2;

/// What a user program does that computes and makes no syscall: only when it is asked does it give the hart up.
async fn spin(total: Duration) {
    let mut left = total;
    let mut contested = Duration::ZERO;
    while !left.is_zero() {
        let step = left.min(100 * MICROSECOND);
        consume(step);
        left -= step;
        if need_resched() {
            reschedule().await;
            contested = Duration::ZERO;
            continue;
        }
        let hart = HartId::current();
        contested = if hart_state(hart).ready > 0 { contested + step } else { Duration::ZERO };
        assert!(
            contested < MOST_SLICES * SLICE,
            "{:?} has run for {contested:?} on hart {} while others are ready there, and was not asked",
            executor::current_task().map(|task| task.record().id()),
            hart.index(),
        );
    }
}

/// Fair tasks of the same weight only: among them a slice is what each gets.
fn fair(random: &mut Random, harts: usize) -> TaskOptions {
    let mut options = TaskOptions::new("fair");
    if random.one_in(3) {
        options = options.affinity(HartMask::only(HartId::new(random.below(harts))));
    }
    options.boost_when_woken_by_interrupt = random.one_in(4);
    options
}

/// Like a shell: starts programs in the background, which spin, sleep, wait for a device, fork, or wait for each other.
fn program(
    random: &mut Random,
    harts: usize,
    generation: usize,
    queue: Arc<WaitQueue>,
    ended: Arc<AtomicUsize>,
) -> TaskHandle<()> {
    let options = fair(random, harts);
    let mut random = Random::new(random.next_u64());
    spawn(options, async move {
        for _ in 0..6 {
            match random.below(8) {
                0 | 1 => spin(MICROSECOND * random.below(12_000) as u32).await,
                2 => spin(MICROSECOND * random.below(300) as u32).await,
                3 => sleep(MICROSECOND * random.below(3000) as u32).await,
                4 => yield_now().await,
                5 => queue.wake_all(),
                6 => {
                    let answered = Arc::new(AtomicBool::new(false));
                    let (device, answer) = (queue.clone(), answered.clone());
                    let handler = move || {
                        answer.store(true, Ordering::Relaxed);
                        device.wake_all();
                    };
                    match random.one_in(2) {
                        true => {
                            interrupt_at(Instant::now() + MICROSECOND * random.below(4000) as u32, handler)
                        }
                        false => {
                            interfere(handler);
                            // Somebody must run for that.
                            spawn(fair(&mut random, harts), spin(5 * SLICE)).detach();
                        }
                    }
                    queue.wait_until(|| answered.load(Ordering::Relaxed).then_some(())).await;
                }
                _ if generation < 3 => {
                    program(&mut random, harts, generation + 1, queue.clone(), ended.clone()).detach();
                }
                _ => {}
            }
        }
        ended.fetch_add(1, Ordering::Relaxed);
    })
}

#[test]
fn a_spinning_program_gives_way_within_two_slices() {
    for harts in 1..=4 {
        for_each_seed(harts, SEEDS, |simulator: &mut Simulator| {
            if simulator.random.one_in(3) {
                executor::set_trace_enabled(true);
            }
            if simulator.random.one_in(3) {
                executor::set_watchdog(Duration::from_millis(20), |_, _, _| {});
            }
            let queue = Arc::new(WaitQueue::new("device"));
            let ended = Arc::new(AtomicUsize::new(0));
            for _ in 0..2 + harts {
                program(&mut simulator.random, harts, 0, queue.clone(), ended.clone()).detach();
            }
            simulator.run_until_idle();
            assert!(ended.load(Ordering::Relaxed) >= 2 + harts, "only {ended:?} programs came to their end");
            assert_eq!(executor::task_count(), 0);
        });
    }
}

/// A shell beside programs that spin for good: more of them than harts.
#[test]
fn a_shell_gets_on_beside_programs_that_spin_for_good() {
    for harts in 1..=3 {
        for_each_seed(harts, SEEDS, |simulator: &mut Simulator| {
            let ended = Arc::new(AtomicUsize::new(0));
            let spinners = harts + 1;
            let shell = {
                let ended = ended.clone();
                spawn(TaskOptions::new("shell"), async move {
                    for _ in 0..spinners {
                        let ended = ended.clone();
                        spawn(TaskOptions::new("spinner"), async move {
                            while ended.load(Ordering::Relaxed) == 0 {
                                spin(3 * SLICE).await;
                                // The simulator cannot let another hart go on within a poll.
                                reschedule().await;
                            }
                        })
                        .detach();
                        spin(200 * MICROSECOND).await;
                    }
                    for _ in 0..5 {
                        sleep(500 * MICROSECOND).await;
                        spin(100 * MICROSECOND).await;
                    }
                })
            };
            let start = Instant::now();
            let finished = simulator.run_until(|| {
                assert!(Instant::now() < start + Duration::from_secs(20), "the shell does not get on");
                shell.is_finished()
            });
            assert_eq!(finished, Ok(()));
            drop(shell);
            ended.store(1, Ordering::Relaxed);
            simulator.run_until_idle();
            assert_eq!(executor::task_count(), 0);
        });
    }
}

/// The two moments at which an alarm or an interrupt comes between two tasks, each by itself.
#[test]
fn an_interrupt_between_two_tasks_leaves_nobody_behind() {
    // After the choice of a spinner and before its poll another hart puts a task into the queue.
    let mut simulator = Simulator::new(2, 0);
    let first = HartMask::only(HartId::BOOT);
    let shared = Arc::new((WaitQueue::new("test"), AtomicBool::new(false)));
    let waited_for = shared.clone();
    let waiter = spawn(TaskOptions::new("waiter").affinity(first), async move {
        waited_for.0.wait_until(|| waited_for.1.load(Ordering::Relaxed).then_some(())).await;
    });
    simulator.run_until_parked();
    interfere(move || {
        shared.1.store(true, Ordering::Relaxed);
        shared.0.wake_all();
    });
    let spinner = spawn(TaskOptions::new("spinner").affinity(first), spin(20 * SLICE));
    simulator.run_until(|| spinner.is_finished()).expect("it ends by itself");
    assert!(waiter.is_finished(), "the waiter did not run beside the spinner");
}

/// A turn of a round-robin task ends in time even if somebody else waited before its peer came.
#[test]
fn a_round_robin_peer_that_comes_late_gets_its_turn() {
    let mut simulator = Simulator::new(1, 0);
    executor::set_realtime_budget(None);
    spawn(TaskOptions::new("ordinary"), async {}).detach();
    let peer_ran = Arc::new(AtomicUsize::new(0));
    let noted = peer_ran.clone();
    let first = spawn(TaskOptions::new("first").class(Class::RoundRobin(7)), async move {
        consume(20 * SLICE);
        spawn(TaskOptions::new("peer").class(Class::RoundRobin(7)), async move {
            noted.store(1, Ordering::Relaxed);
        })
        .detach();
        for _ in 0..100 {
            consume(SLICE);
            if need_resched() {
                reschedule().await;
                return true;
            }
        }
        false
    });
    assert_eq!(simulator.block_on(first.join()), Ok(Some(true)), "the turn has no end");
    assert_eq!(peer_ran.load(Ordering::Relaxed), 1);
}

/// A real-time task that becomes an ordinary one, by itself or by another's hand, shares with those who waited.
#[test]
fn a_task_that_loses_its_priority_shares_at_once() {
    for by_itself in [true, false] {
        let mut simulator = Simulator::new(2, 0);
        executor::set_realtime_budget(None);
        let first = HartMask::only(HartId::BOOT);
        let other =
            spawn(TaskOptions::new("other").affinity(first).class(Class::Fair { nice: 5 }), spin(SLICE));
        let options = TaskOptions::new("changed").class(Class::Fifo(9)).affinity(first);
        let changed = spawn(options, async move {
            let this = executor::current_task().unwrap();
            consume(5 * SLICE);
            let change = move || this.set_class(Class::NORMAL).unwrap();
            if by_itself {
                change()
            } else {
                interrupt_at(Instant::now() + SLICE, change)
            }
            spin(20 * SLICE).await;
        });
        simulator.run_until(|| changed.is_finished()).expect("it ends by itself");
        assert!(other.is_finished(), "by itself: {by_itself}");
    }
}
