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
    spawn(TaskOptions::new("long"), async move { consume(length) }).detach();
    simulator.run_until_idle();
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
