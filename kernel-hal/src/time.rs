//! Monotonic time and the hart's one alarm.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use crate::backend;

/// Nanoseconds since the machine started counting. Never goes back, the same on every hart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Instant(u64);

impl Instant {
    /// Further away than anything that will happen.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The current moment.
    #[inline]
    pub fn now() -> Self {
        backend::time::now()
    }

    /// A moment by its count of nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The count of nanoseconds.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if it is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Nanoseconds from `earlier` to `self`, zero if it is not earlier.
    #[inline]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment plus a duration, at most [`Instant::FAR_FUTURE`].
    pub fn saturating_add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// The machine's counter of time as it is: for those who add up many short times and convert the sum.
#[inline]
pub fn ticks() -> u64 {
    backend::time::ticks()
}

/// So many ticks of the counter, in nanoseconds.
pub fn nanos_of_ticks(ticks: u64) -> u64 {
    backend::time::nanos_of_ticks(ticks)
}

/// How often the machine's counter of time ticks in a second, for programs that read it themselves.
pub fn ticks_per_second() -> u64 {
    backend::time::ticks_per_second()
}

/// Arms this hart's alarm for `deadline`, or disarms it with `None`. A deadline that has passed fires at once.
/// When it fires, [`crate::interrupt::Handlers::timer`] runs, once; it must arm the next.
#[inline]
pub fn set_alarm(deadline: Option<Instant>) {
    backend::time::set_alarm(deadline);
}
