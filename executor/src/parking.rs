//! Which harts are idle, and how one of them is woken without a wake-up getting lost.
//!
//! A hart that found nothing to do *announces* itself, and then looks at the run queues once more before it sleeps.
//! Whoever makes a task ready puts it in a queue, and then looks for an announced hart. There is a full fence between
//! the two steps of each, so at least one sees the other. A waker *claims* the hart it found, which takes it out of
//! the set, and must then interrupt it: two wakers never choose the same one. An interrupt that comes before the hart
//! sleeps stays pending, and the sleep ends at once.

use kernel_hal::{HartId, HartMask};
use ksync::const_unless_loom;
use ksync::shim::atomic::{AtomicU32, Ordering, fence};

/// The set of idle harts.
#[derive(Debug)]
pub struct ParkingLot {
    idle: AtomicU32,
}

/// A hart that was taken out of the idle set. It sleeps until it is interrupted.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a claimed hart sleeps until it is interrupted"]
pub struct Claimed(pub HartId);

impl ParkingLot {
    const_unless_loom! {
        /// Nobody is idle.
        pub fn new() -> Self {
            Self { idle: AtomicU32::new(0) }
        }
    }

    /// The harts that are idle at the moment.
    #[inline]
    pub fn idle(&self) -> HartMask {
        HartMask::from_bits(self.idle.load(Ordering::Relaxed))
    }

    /// Whether no hart is idle at the moment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.idle.load(Ordering::Relaxed) == 0
    }

    /// This hart is about to sleep. The caller looks at the run queues *after* this, and sleeps only if they are
    /// empty still.
    pub fn announce(&self, hart: HartId) {
        self.idle.fetch_or(HartMask::only(hart).bits(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// This hart is awake again, whether it was claimed or not.
    pub fn retract(&self, hart: HartId) {
        self.idle.fetch_and(!HartMask::only(hart).bits(), Ordering::Relaxed);
    }

    /// Whether one of the `candidates` is idle. The caller has put its work in a queue *before* this, and claims a hart
    /// if so.
    #[inline(always)]
    pub fn has_idle(&self, candidates: HartMask) -> bool {
        fence(Ordering::SeqCst);
        self.idle.load(Ordering::Relaxed) & candidates.bits() != 0
    }

    /// Takes one of the `candidates` out of the set, if any is in it. The caller has put its work in a queue *before*
    /// this.
    pub fn claim(&self, candidates: HartMask) -> Option<Claimed> {
        fence(Ordering::SeqCst);
        while let Some(hart) = self.idle().intersection(candidates).lowest() {
            let bit = HartMask::only(hart).bits();
            if self.idle.fetch_and(!bit, Ordering::Relaxed) & bit != 0 {
                return Some(Claimed(hart));
            }
        }
        None
    }
}

impl Default for ParkingLot {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_idle_hart_is_claimed_once_and_only_if_it_is_a_candidate() {
        let lot = ParkingLot::new();
        lot.announce(HartId::new(1));
        lot.announce(HartId::new(3));
        assert_eq!(lot.claim(HartMask::only(HartId::new(2))), None);
        assert_eq!(lot.claim(HartMask::ALL), Some(Claimed(HartId::new(1))));
        lot.retract(HartId::new(1));
        assert_eq!(lot.claim(HartMask::ALL), Some(Claimed(HartId::new(3))));
        assert_eq!(lot.claim(HartMask::ALL), None);
    }
}
