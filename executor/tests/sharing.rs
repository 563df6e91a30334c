//! How time is shared: weights, throttle, no starvation. Virtual time, one hart.
#![cfg(not(loom))]
#![cfg(not(miri))] // Seconds of virtual time are hours there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use executor::simulator::{Simulator, consume};
use executor::{Class, TaskHandle, TaskOptions, need_resched, reschedule, spawn};
use kernel_hal::Instant;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A task that never has enough, like a user program that computes.
fn hungry(name: &str, class: Class, stop: &Arc<AtomicBool>) -> TaskHandle<()> {
    let stop = stop.clone();
    spawn(TaskOptions::new(name).class(class), async move {
        for step in 1.. {
            consume(MILLISECOND / 4);
            // It gives nothing away, but lets the simulator look at the clock.
            if need_resched() || step % 20 == 0 {
                reschedule().await;
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    })
}

fn run_time(handle: &TaskHandle<()>) -> f64 {
    handle.task().record().accounting().run_time.as_secs_f64()
}

fn run_and_stop(simulator: &mut Simulator, time: Duration, stop: &AtomicBool) {
    simulator.run_for(time);
    stop.store(true, Ordering::Relaxed);
    simulator.run_until_idle();
    assert_eq!(executor::task_count(), 0);
}

#[test]
fn nice_weights_are_kept_within_a_tenth_over_ten_seconds() {
    let mut simulator = Simulator::new(1, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let nices: [i8; 5] = [-10, -5, 0, 5, 10];
    let handles = nices.map(|nice| hungry("hungry", Class::Fair { nice }, &stop));
    let references = handles.each_ref().map(|handle| handle.task().clone());
    simulator.run_for(Duration::from_secs(10));
    let used = handles.each_ref().map(run_time);
    let total: f64 = used.iter().sum();
    let weights = nices.map(|nice| 1.25f64.powi(-i32::from(nice)));
    let all: f64 = weights.iter().sum();
    for (index, nice) in nices.iter().enumerate() {
        let ratio = (used[index] / total) / (weights[index] / all);
        assert!((0.9..=1.1).contains(&ratio), "nice {nice}: {ratio:.3} of its share, {used:?}");
    }
    assert!((9.9..=10.1).contains(&total), "{total}");
    stop.store(true, Ordering::Relaxed);
    simulator.run_until_idle();
    drop((handles, references));
}

#[test]
fn nobody_starves_in_the_fair_class() {
    let mut simulator = Simulator::new(1, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let weak = hungry("weak", Class::Fair { nice: 19 }, &stop);
    let strong: Vec<_> = (0..3).map(|_| hungry("strong", Class::Fair { nice: -20 }, &stop)).collect();
    // Tasks that come back from short sleeps all the time must not shut the weak one out either.
    for _ in 0..3 {
        let stop = stop.clone();
        spawn(TaskOptions::new("sleeper"), async move {
            while !stop.load(Ordering::Relaxed) {
                executor::sleep(MILLISECOND).await;
                consume(MILLISECOND / 10);
            }
        })
        .detach();
    }
    let polls_before = weak.task().record().accounting().polls;
    for second in 1..=20 {
        simulator.run_for(Duration::from_secs(1));
        assert!(second < 10 || run_time(&weak) > 0.0, "second {second}");
    }
    assert!(weak.task().record().accounting().polls > polls_before);
    drop((weak, strong));
    run_and_stop(&mut simulator, MILLISECOND, &stop);
}

#[test]
fn a_long_sleep_earns_no_more_than_a_slice() {
    let mut simulator = Simulator::new(1, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let steady = hungry("steady", Class::NORMAL, &stop);
    let late_stop = stop.clone();
    let late = spawn(TaskOptions::new("late"), async move {
        executor::sleep(Duration::from_secs(5)).await;
        while !late_stop.load(Ordering::Relaxed) {
            consume(MILLISECOND / 4);
            if need_resched() {
                reschedule().await;
            }
        }
    });
    simulator.run_for(Duration::from_secs(5));
    let before = run_time(&steady);
    simulator.run_for(Duration::from_secs(1));
    let (steady_share, late_share) = (run_time(&steady) - before, run_time(&late));
    assert!((steady_share - late_share).abs() < 0.02, "{steady_share} {late_share}");
    drop((steady, late));
    run_and_stop(&mut simulator, MILLISECOND, &stop);
}

#[test]
fn real_time_tasks_leave_a_twentieth_to_others() {
    let mut simulator = Simulator::new(1, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let urgent = hungry("urgent", Class::Fifo(50), &stop);
    let fair = hungry("fair", Class::NORMAL, &stop);
    simulator.run_for(Duration::from_secs(10));
    let (urgent_time, fair_time) = (run_time(&urgent), run_time(&fair));
    // The last poll of the fair task may have been preempted for most of a period.
    let share = urgent_time / (urgent_time + fair_time);
    assert!((0.94..=0.96).contains(&share), "{urgent_time} {fair_time}");
    drop((urgent, fair));
    run_and_stop(&mut simulator, MILLISECOND, &stop);
}

#[test]
fn the_throttle_can_be_off_and_needs_somebody_who_waits() {
    let mut simulator = Simulator::new(1, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let alone = hungry("alone", Class::Fifo(50), &stop);
    simulator.run_for(Duration::from_secs(3));
    assert!((2.99..=3.01).contains(&run_time(&alone)), "{}", run_time(&alone));

    executor::set_realtime_budget(None);
    let fair = hungry("fair", Class::NORMAL, &stop);
    simulator.run_for(Duration::from_secs(3));
    assert_eq!(run_time(&fair), 0.0);
    drop((alone, fair));
    run_and_stop(&mut simulator, MILLISECOND, &stop);
}

#[test]
fn idle_tasks_run_only_when_nothing_else_does() {
    let mut simulator = Simulator::new(1, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let idle = hungry("idle", Class::Idle, &stop);
    let fair_stop = Arc::new(AtomicBool::new(false));
    let fair = hungry("fair", Class::Fair { nice: 19 }, &fair_stop);
    simulator.run_for(Duration::from_secs(1));
    assert!(run_time(&idle) < 0.01, "{}", run_time(&idle));
    fair_stop.store(true, Ordering::Relaxed);
    simulator.run_for(Duration::from_secs(1));
    assert!(run_time(&idle) > 0.98, "{}", run_time(&idle));
    drop((idle, fair));
    run_and_stop(&mut simulator, MILLISECOND, &stop);
}

#[test]
fn accounting_counts_polls_wakes_switches_and_time() {
    let mut simulator = Simulator::new(1, 0);
    let task = spawn(TaskOptions::new("counted"), async {
        for _ in 0..3 {
            consume(2 * MILLISECOND);
            executor::sleep_until(Instant::now() + MILLISECOND).await;
        }
    });
    let reference = task.task().clone();
    simulator.run_until_idle();
    let accounting = reference.record().accounting();
    assert_eq!((accounting.polls, accounting.wakes, accounting.switches), (4, 4, 1));
    assert_eq!(accounting.run_time, 6 * MILLISECOND);
    assert_eq!(reference.record().name().as_str(), "counted");
}

/// What a CPU clock shows: the poll that goes on counts, time that others run does not, and nothing is lost or doubled.
#[test]
fn a_cpu_clock_counts_the_present_poll() {
    let mut simulator = Simulator::new(1, 0);
    let task = spawn(TaskOptions::new("clocked"), async {
        let this = executor::current_task().unwrap();
        let clock = || this.record().cpu_time();
        assert_eq!(clock(), Duration::ZERO);
        consume(3 * MILLISECOND);
        assert_eq!(clock(), 3 * MILLISECOND);
        consume(MILLISECOND);
        executor::sleep(7 * MILLISECOND).await;
        assert_eq!(clock(), 4 * MILLISECOND);
        consume(MILLISECOND);
        executor::yield_now().await;
        assert_eq!(clock(), 5 * MILLISECOND);
    });
    let reference = task.task().clone();
    simulator.interrupt_at(Instant::now() + 2 * MILLISECOND, {
        let reference = reference.clone();
        move || assert_eq!(reference.record().cpu_time(), 2 * MILLISECOND, "seen from an interrupt")
    });
    assert_eq!(simulator.block_on(task.join()), Ok(Some(())));
    assert_eq!(reference.record().cpu_time(), 5 * MILLISECOND);
}
