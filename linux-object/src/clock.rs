//! The time of day: monotonic time plus an offset that boot reads from a device.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use kernel_hal::Instant;
use linux_abi::Errno;
use linux_abi::time::Timespec;

use crate::program::shared_object;

/// Nanoseconds since 1970 when monotonic time was zero.
static OFFSET_NANOS: AtomicU64 = AtomicU64::new(0);

/// Sets the time of day, here and for programs that read it themselves.
pub fn set_real_time(now: Duration) -> Result<(), Errno> {
    let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let offset = nanos.saturating_sub(Instant::now().as_nanos());
    OFFSET_NANOS.store(offset, Ordering::Relaxed);
    shared_object::publish_clocks(offset)
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
