//! Time: `timespec` and its kin, clocks and interval timers.

use core::time::Duration;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Errno;
use crate::table::{constants, layout};

/// Nanoseconds in a second.
pub const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;
/// Microseconds in a second.
pub const MICROSECONDS_PER_SECOND: i64 = 1_000_000;

/// `struct timespec` (64-bit seconds).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Timespec {
    pub tv_sec: i64,
    pub tv_nsec: i64,
}

layout!(TIMESPEC_LAYOUT = "struct __kernel_timespec": Timespec, 16 { tv_sec: 0, tv_nsec: 8 });

impl Timespec {
    /// The span it stands for; `EINVAL` for a negative span or a fraction outside a second, as every system call that
    /// waits answers.
    pub fn to_duration(self) -> Result<Duration, Errno> {
        let seconds = u64::try_from(self.tv_sec).map_err(|_| Errno::EINVAL)?;
        if !(0..NANOSECONDS_PER_SECOND).contains(&self.tv_nsec) {
            return Err(Errno::EINVAL);
        }
        Ok(Duration::new(seconds, self.tv_nsec as u32))
    }

    /// The largest representable span not above `duration`.
    pub fn from_duration(duration: Duration) -> Self {
        match i64::try_from(duration.as_secs()) {
            Ok(seconds) => Self { tv_sec: seconds, tv_nsec: i64::from(duration.subsec_nanos()) },
            Err(_) => Self { tv_sec: i64::MAX, tv_nsec: NANOSECONDS_PER_SECOND - 1 },
        }
    }
}

/// `struct timeval`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Timeval {
    pub tv_sec: i64,
    pub tv_usec: i64,
}

layout!(TIMEVAL_LAYOUT = "struct __kernel_old_timeval": Timeval, 16 { tv_sec: 0, tv_usec: 8 });

impl Timeval {
    /// The span it stands for; `EINVAL` for a negative span or a fraction outside a second.
    pub fn to_duration(self) -> Result<Duration, Errno> {
        let seconds = u64::try_from(self.tv_sec).map_err(|_| Errno::EINVAL)?;
        if !(0..MICROSECONDS_PER_SECOND).contains(&self.tv_usec) {
            return Err(Errno::EINVAL);
        }
        Ok(Duration::new(seconds, self.tv_usec as u32 * 1000))
    }

    /// The largest representable span not above `duration`.
    pub fn from_duration(duration: Duration) -> Self {
        match i64::try_from(duration.as_secs()) {
            Ok(seconds) => Self { tv_sec: seconds, tv_usec: i64::from(duration.subsec_micros()) },
            Err(_) => Self { tv_sec: i64::MAX, tv_usec: MICROSECONDS_PER_SECOND - 1 },
        }
    }
}

/// `struct timezone`: obsolete, zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timezone {
    pub tz_minuteswest: i32,
    pub tz_dsttime: i32,
}

layout!(TIMEZONE_LAYOUT = "struct timezone": Timezone, 8 { tz_minuteswest: 0, tz_dsttime: 4 });

/// `struct itimerval`, of `setitimer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Itimerval {
    pub it_interval: Timeval,
    pub it_value: Timeval,
}

layout!(ITIMERVAL_LAYOUT = "struct itimerval": Itimerval, 32 { it_interval: 0, it_value: 16 });

/// `struct itimerspec`, of `timer_settime` and `timerfd_settime`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Itimerspec {
    pub it_interval: Timespec,
    pub it_value: Timespec,
}

layout!(ITIMERSPEC_LAYOUT = "struct __kernel_itimerspec": Itimerspec, 32 { it_interval: 0, it_value: 16 });

/// `struct tms`, of `times`: clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tms {
    pub tms_utime: i64,
    pub tms_stime: i64,
    pub tms_cutime: i64,
    pub tms_cstime: i64,
}

layout!(TMS_LAYOUT = "struct tms": Tms, 32 { tms_utime: 0, tms_stime: 8, tms_cutime: 16, tms_cstime: 24 });

/// Clock ticks in a second, as `times` and /proc count them (`AT_CLKTCK`).
pub const CLOCK_TICKS_PER_SECOND: u64 = 100;

constants! { CLOCK_TABLE: i32 {
    CLOCK_REALTIME = 0;
    CLOCK_MONOTONIC = 1;
    CLOCK_PROCESS_CPUTIME_ID = 2;
    CLOCK_THREAD_CPUTIME_ID = 3;
    CLOCK_MONOTONIC_RAW = 4;
    CLOCK_REALTIME_COARSE = 5;
    CLOCK_MONOTONIC_COARSE = 6;
    CLOCK_BOOTTIME = 7;
    CLOCK_REALTIME_ALARM = 8;
    CLOCK_BOOTTIME_ALARM = 9;
    CLOCK_TAI = 11;
    ITIMER_REAL = 0;
    ITIMER_VIRTUAL = 1;
    ITIMER_PROF = 2;
    TIMER_ABSTIME = 1;
    TFD_TIMER_ABSTIME = 1;
    TFD_TIMER_CANCEL_ON_SET = 2;
    TFD_CLOEXEC = 0o2000000;
    TFD_NONBLOCK = 0o4000;
} }

constants! { i64 {
    /// `tv_nsec` of `utimensat`: the current time.
    UTIME_NOW = (1 << 30) - 1;
    /// `tv_nsec` of `utimensat`: leave as it is.
    UTIME_OMIT = (1 << 30) - 2;
} }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_validated() {
        let span = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec }.to_duration();
        assert_eq!(span(1, 5), Ok(Duration::new(1, 5)));
        assert_eq!(span(-1, 5), Err(Errno::EINVAL));
        assert_eq!(span(1, -1), Err(Errno::EINVAL));
        assert_eq!(span(1, NANOSECONDS_PER_SECOND), Err(Errno::EINVAL));
        assert_eq!(Timeval { tv_sec: 0, tv_usec: 7 }.to_duration(), Ok(Duration::from_micros(7)));
        assert_eq!(Timeval { tv_sec: 0, tv_usec: 1_000_000 }.to_duration(), Err(Errno::EINVAL));
    }

    #[test]
    fn endless_spans_saturate() {
        assert_eq!(Timespec::from_duration(Duration::MAX).tv_sec, i64::MAX);
        assert_eq!(
            Timeval::from_duration(Duration::from_millis(1500)),
            Timeval { tv_sec: 1, tv_usec: 500_000 }
        );
    }
}
