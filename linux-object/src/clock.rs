//! Clocks: monotonic time, and the time of day, which is monotonic time plus an offset that boot reads from a device.

use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Poll;
use core::time::Duration;

use kernel_hal::Instant;
use ksync::WaitQueue;
use linux_abi::Errno;
use linux_abi::time::{
    CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_REALTIME_ALARM, Timespec,
};

use crate::program::shared_object;

/// Nanoseconds since 1970 when monotonic time was zero.
static OFFSET_NANOS: AtomicU64 = AtomicU64::new(0);

static WAS_SET: WaitQueue = WaitQueue::new("clock was set");

/// Sets the time of day, here and for programs that read it themselves; tells who waits for a time of day.
pub fn set_real_time(now: Duration) -> Result<(), Errno> {
    let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let offset = nanos.saturating_sub(Instant::now().as_nanos());
    OFFSET_NANOS.store(offset, Ordering::Relaxed);
    let outcome = shared_object::publish_clocks(offset);
    WAS_SET.wake_all();
    outcome
}

/// The queue that is woken when the time of day was set.
pub fn was_set() -> &'static WaitQueue {
    &WAS_SET
}

/// The time since 1970.
pub fn real_time() -> Duration {
    Duration::from_nanos(OFFSET_NANOS.load(Ordering::Relaxed) + Instant::now().as_nanos())
}

/// The same, as filesystems stamp their inodes.
pub fn time_stamp() -> Timespec {
    Timespec::from_duration(real_time())
}

/// What coarse clocks are rounded down to: Linux's timer interval.
pub const COARSE_RESOLUTION: Duration = Duration::from_millis(4);

/// A coarse clock, as programs read it themselves: the time since 1970 or since the machine's start.
pub fn coarse(is_real: bool) -> Duration {
    let exact = if is_real { real_time().as_nanos() as u64 } else { Instant::now().as_nanos() };
    Duration::from_nanos(exact - exact % COARSE_RESOLUTION.as_nanos() as u64)
}

/// A clock that timers can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The time of day, which can be set.
    Real,
    /// Time since the boot, which only goes on. This machine is never suspended.
    Monotonic,
}

impl Clock {
    /// The clock that a number stands for, and whether it would wake a machine that is suspended. `None`: no such
    /// clock, or none that can be waited for.
    pub fn of(number: i32) -> Option<(Self, bool)> {
        match number {
            CLOCK_REALTIME => Some((Self::Real, false)),
            CLOCK_REALTIME_ALARM => Some((Self::Real, true)),
            CLOCK_MONOTONIC | CLOCK_BOOTTIME => Some((Self::Monotonic, false)),
            CLOCK_BOOTTIME_ALARM => Some((Self::Monotonic, true)),
            _ => None,
        }
    }

    /// Whether it can be set.
    pub fn can_be_set(self) -> bool {
        self == Self::Real
    }

    /// When this clock shows `time`, as it goes now.
    pub fn moment(self, time: Duration) -> Instant {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match self {
            Self::Real => Instant::from_nanos(nanos.saturating_sub(OFFSET_NANOS.load(Ordering::Relaxed))),
            Self::Monotonic => Instant::from_nanos(nanos),
        }
    }
}

/// Waits until a clock shows `time`, even if it is set meanwhile.
pub async fn sleep_until(clock: Clock, time: Duration) {
    loop {
        let moment = clock.moment(time);
        let mut has_slept = false;
        let was_set =
            WAS_SET.wait_until(|| (clock.can_be_set() && clock.moment(time) != moment).then_some(()));
        let mut was_set = pin!(was_set);
        let mut sleep = pin!(executor::sleep_until(moment));
        poll_fn(|context| {
            if sleep.as_mut().poll(context).is_ready() {
                has_slept = true;
                return Poll::Ready(());
            }
            was_set.as_mut().poll(context)
        })
        .await;
        if has_slept {
            return;
        }
    }
}
