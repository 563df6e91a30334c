//! How often the alarm goes off.
#![cfg(not(loom))]

use std::time::Duration;

use executor::simulator::{Simulator, consume};
use executor::trace_ring::{self, EventKind};
use executor::{Class, TaskOptions, spawn};
use kernel_hal::HartId;

const MILLISECOND: Duration = Duration::from_millis(1);

/// Alarms that went off while one task, in one poll, ran so long.
fn alarms_during_a_long_poll(simulator: &mut Simulator, length: Duration) -> usize {
    let long = spawn(TaskOptions::new("long"), async move { consume(length) });
    simulator.run_until(|| long.is_finished()).expect("it ends by itself");
    let mut alarms = 0;
    executor::for_each_event(HartId::BOOT, trace_ring::TRACE_CAPACITY, |record| {
        alarms += usize::from(record.kind == EventKind::Timer);
    });
    alarms
}

#[test]
fn a_long_poll_is_not_drowned_in_alarms() {
    {
        let mut simulator = Simulator::new(1, 0);
        executor::set_trace_enabled(true);
        executor::set_watchdog(10 * MILLISECOND, |_, _, _| {});
        let alarms = alarms_during_a_long_poll(&mut simulator, 50 * MILLISECOND);
        assert!((2..=5).contains(&alarms), "{alarms} alarms beyond the watchdog's budget");
    }
    {
        let mut simulator = Simulator::new(1, 0);
        executor::set_trace_enabled(true);
        spawn(TaskOptions::new("background").class(Class::Idle), async { consume(MILLISECOND) }).detach();
        let alarms = alarms_during_a_long_poll(&mut simulator, 60 * MILLISECOND);
        assert!((1..=25).contains(&alarms), "{alarms} alarms beside a ready idle task");
    }
}

#[test]
fn an_idle_hart_takes_one_alarm_more_at_most() {
    let mut simulator = Simulator::new(1, 0);
    executor::set_watchdog(10 * MILLISECOND, |_, _, _| {});
    spawn(TaskOptions::new("short"), async {}).detach();
    simulator.run_until_parked();
    executor::set_trace_enabled(true);
    assert_eq!(alarms_during_a_long_poll(&mut simulator, Duration::ZERO), 0);
    simulator.run_until_idle();
    let mut alarms = 0;
    executor::for_each_event(HartId::BOOT, trace_ring::TRACE_CAPACITY, |record| {
        alarms += usize::from(record.kind == EventKind::Timer);
    });
    assert_eq!(alarms, 1, "what is left of the watchdog's look");
    assert_eq!(simulator.next_event(), None);
}
