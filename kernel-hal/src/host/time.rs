//! Time: the host's clock, or a virtual one that a test advances.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;

use crate::{HartId, Instant, MAX_HARTS};

thread_local! {
    static VIRTUAL_NOW: Cell<Option<u64>> = const { Cell::new(None) };
    static ALARMS: RefCell<[Option<Instant>; MAX_HARTS]> = const { RefCell::new([None; MAX_HARTS]) };
}

static START: OnceLock<std::time::Instant> = OnceLock::new();

pub(crate) fn ticks_per_second() -> u64 {
    1_000_000_000
}

/// The counter of the host's machine counts nanoseconds.
pub(crate) fn ticks() -> u64 {
    now().as_nanos()
}

pub(crate) fn nanos_of_ticks(ticks: u64) -> u64 {
    ticks
}

pub(crate) fn now() -> Instant {
    if let Some(nanos) = VIRTUAL_NOW.get() {
        return Instant::from_nanos(nanos);
    }
    let start = START.get_or_init(std::time::Instant::now);
    Instant::from_nanos(start.elapsed().as_nanos() as u64)
}

pub(crate) fn set_alarm(deadline: Option<Instant>) {
    ALARMS.with_borrow_mut(|alarms| alarms[HartId::current().index()] = deadline);
}

/// The alarm that `hart` has armed on this thread's machine.
pub fn alarm_of(hart: HartId) -> Option<Instant> {
    ALARMS.with_borrow(|alarms| alarms[hart.index()])
}

/// While it lives, this thread's machine has a clock that only [`VirtualTime::advance_to`] moves.
#[derive(Debug)]
pub struct VirtualTime(());

impl VirtualTime {
    /// Takes over the clock, which then stands at `start`; all alarms are off.
    pub fn start_at(start: Instant) -> Self {
        VIRTUAL_NOW.set(Some(start.as_nanos()));
        ALARMS.with_borrow_mut(|alarms| *alarms = [None; MAX_HARTS]);
        Self(())
    }

    /// Moves the clock forward; it never goes back.
    pub fn advance_to(&self, moment: Instant) {
        let now = VIRTUAL_NOW.get().unwrap_or(0);
        VIRTUAL_NOW.set(Some(now.max(moment.as_nanos())));
    }
}

impl Drop for VirtualTime {
    fn drop(&mut self) {
        VIRTUAL_NOW.set(None);
    }
}
