//! Load averages: how many tasks wanted to run, on average over the last 1, 5 and 15 minutes.
//!
//! As on Linux, the number of tasks that run or are ready is sampled every five seconds, and each average moves towards
//! it by a fixed share.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use executor::TaskOptions;
use kernel_hal::HartId;

/// Averages are fixed-point numbers with this many bits after the point.
pub const FRACTION_BITS: u32 = 11;
const ONE: u64 = 1 << FRACTION_BITS;
const INTERVAL: Duration = Duration::from_secs(5);
/// What an interval leaves of an average: `exp(-5 / seconds)`, for 60, 300 and 900 seconds.
const KEPT: [u64; 3] = [1884, 2014, 2037];

static AVERAGES: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// How many tasks run or are ready to.
pub fn runnable() -> u64 {
    let harts = (0..HartId::count()).map(|index| executor::hart_state(HartId::new(index)));
    harts.map(|hart| u64::from(hart.ready) + u64::from(hart.is_running)).sum()
}

/// The averages.
pub fn averages() -> [u64; 3] {
    core::array::from_fn(|index| AVERAGES[index].load(Ordering::Relaxed))
}

/// Begins to sample. Called once, at boot.
pub fn start() {
    executor::spawn(TaskOptions::new("load"), async {
        loop {
            executor::sleep(INTERVAL).await;
            // This task runs only to look.
            let wanting = runnable().saturating_sub(1);
            for (average, kept) in AVERAGES.iter().zip(KEPT) {
                average.store(next(average.load(Ordering::Relaxed), kept, wanting), Ordering::Relaxed);
            }
        }
    })
    .detach();
}

/// An average after an interval in which so many tasks wanted to run.
fn next(average: u64, kept: u64, wanting: u64) -> u64 {
    let active = wanting * ONE;
    let sum = average * kept + active * (ONE - kept);
    // Rounded up while it rises, so that it gets there.
    let round = if active >= average { ONE - 1 } else { 0 };
    (sum + round) / ONE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_goes_to_what_there_is_and_back() {
        let after = |start, wanting, intervals| {
            (0..intervals).fold(start, |average, _| next(average, KEPT[0], wanting))
        };
        // After a minute 63 % of the way.
        let minute = after(0, 2, 12);
        assert!((2 * ONE * 62 / 100..2 * ONE * 65 / 100).contains(&minute), "{minute}");
        assert_eq!(after(0, 2, 1000), 2 * ONE);
        assert_eq!(after(2 * ONE, 0, 1000), 0);
    }
}
