//! Sleeps and timeouts: order, cancellation, and how often the alarm is armed.
#![cfg(not(loom))]

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use executor::simulator::Simulator;
use executor::{Elapsed, TaskOptions, sleep, sleep_until, spawn, timeout, yield_now};
use kernel_hal::host::alarm_of;
use kernel_hal::{HartId, HartMask, Instant};

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines_and_at_their_time() {
    let mut simulator = Simulator::new(1, 0);
    let start = Instant::now();
    let log = Arc::new(Mutex::new(Vec::new()));
    for milliseconds in [30u32, 10, 20, 10, 40] {
        let log = log.clone();
        spawn(TaskOptions::new("sleeper"), async move {
            sleep_until(start + MILLISECOND * milliseconds).await;
            log.lock().unwrap().push((milliseconds, Instant::now()));
        })
        .detach();
    }
    simulator.run_until_idle();
    let expected =
        [10, 10, 20, 30, 40].map(|milliseconds| (milliseconds, start + MILLISECOND * milliseconds));
    assert_eq!(*log.lock().unwrap(), expected);
}

#[test]
fn a_deadline_that_has_passed_is_not_waited_for() {
    let mut simulator = Simulator::new(1, 0);
    let start = Instant::now();
    let end = simulator.block_on(async move {
        sleep_until(start).await;
        sleep(Duration::ZERO).await;
        Instant::now()
    });
    assert_eq!(end, Ok(start));
}

#[test]
fn the_alarm_stands_at_the_earliest_deadline_and_is_off_without_one() {
    let mut simulator = Simulator::new(1, 0);
    let start = Instant::now();
    let alarm = || alarm_of(HartId::BOOT);
    simulator.run_until_parked();
    assert_eq!(alarm(), None);
    let sleeper = |milliseconds: u32| {
        spawn(TaskOptions::new("sleeper"), sleep_until(start + MILLISECOND * milliseconds))
    };
    sleeper(50).detach();
    simulator.run_until_parked();
    assert_eq!(alarm(), Some(start + 50 * MILLISECOND));
    sleeper(80).detach();
    simulator.run_until_parked();
    assert_eq!(alarm(), Some(start + 50 * MILLISECOND), "a later timer changes nothing");
    let early = sleeper(20);
    simulator.run_until_parked();
    assert_eq!(alarm(), Some(start + 20 * MILLISECOND));
    let cancelled = spawn(TaskOptions::new("canceller"), early.cancel());
    simulator.run_until_parked();
    assert!(cancelled.is_finished());
    assert_eq!(alarm(), Some(start + 50 * MILLISECOND), "set right when the hart goes idle");
    simulator.run_until_idle();
    assert_eq!(alarm(), None);
    assert_eq!(Instant::now(), start + 80 * MILLISECOND);
}

#[test]
fn a_timeout_ends_what_takes_too_long_and_nothing_else() {
    let mut simulator = Simulator::new(1, 0);
    let start = Instant::now();
    let deadline = start + 5 * MILLISECOND;
    let late = simulator.block_on(timeout(deadline, pending::<()>()));
    assert_eq!(late, Ok(Err(Elapsed)));
    assert_eq!(Instant::now(), deadline);
    let in_time = simulator.block_on(timeout(deadline + MILLISECOND, async {
        yield_now().await;
        7
    }));
    assert_eq!(in_time, Ok(Ok(7)));
    simulator.run_until_parked();
    assert_eq!(simulator.next_event(), None, "the timer went with its future");
}

/// A sleep that starts on one hart and is dropped, or goes on being polled, on another.
#[test]
fn sleeps_move_between_harts() {
    for seed in 0..if cfg!(miri) { 2 } else { 50 } {
        let mut simulator = Simulator::new(2, seed);
        let on = |hart: usize| HartMask::only(HartId::new(hart));
        let moving = spawn(TaskOptions::new("moving").affinity(on(0)), async move {
            let deadline = Instant::now() + 10 * MILLISECOND;
            let mut sleeping = Box::pin(sleep_until(deadline));
            std::future::poll_fn(|context| {
                assert!(sleeping.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            executor::current_task().unwrap().set_affinity(HartMask::only(HartId::new(1))).unwrap();
            yield_now().await;
            assert_eq!(HartId::current(), HartId::new(1));
            let dropped = sleep(MILLISECOND);
            drop(dropped);
            sleeping.await;
            assert_eq!(Instant::now(), deadline);
        });
        simulator.run_until_idle();
        assert!(moving.is_finished());
    }
}

#[test]
fn ten_thousand_timers() {
    let mut simulator = Simulator::new(2, 5);
    let count = if cfg!(miri) { 100 } else { 10_000 };
    let start = Instant::now();
    let last = Arc::new(Mutex::new(start));
    for _ in 0..count {
        let delay = Duration::from_micros(simulator.random.below(1_000_000) as u64);
        let cancel_after = simulator
            .random
            .one_in(2)
            .then(|| Duration::from_micros(simulator.random.below(1_000_000) as u64));
        let last = last.clone();
        spawn(TaskOptions::new("timer"), async move {
            let deadline = start + delay;
            match cancel_after {
                None => sleep_until(deadline).await,
                Some(cancel) => drop(timeout(start + cancel, sleep_until(deadline)).await),
            }
            let now = Instant::now();
            let mut last = last.lock().unwrap();
            assert!(now >= *last, "time went back");
            *last = now;
            let due = cancel_after.map_or(deadline, |cancel| deadline.min(start + cancel));
            assert_eq!(now, due, "woken at the wrong time");
        })
        .detach();
    }
    simulator.run_until_idle();
    assert_eq!(executor::task_count(), 0);
}
