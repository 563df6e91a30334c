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
