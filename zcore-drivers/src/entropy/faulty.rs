//! A source of randomness that is slow and stingy, repeatably.

use ksync::{Rank, SpinLock, WaitQueue};

use super::EntropySource;
use crate::random::SeededRandom;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntropyFaults {
    /// Where the faults start from.
    pub seed: u64,
    /// An attempt gives a single byte, in a million attempts.
    pub short_per_million: u32,
    /// An attempt gives nothing although there is something, in a million attempts.
    pub nothing_per_million: u32,
}

/// A source with faults.
#[derive(Debug)]
pub struct FaultyEntropy<S> {
    inner: S,
    faults: EntropyFaults,
    random: SpinLock<SeededRandom>,
}

impl<S: EntropySource> FaultyEntropy<S> {
    /// The source with these faults.
    pub fn new(inner: S, faults: EntropyFaults) -> Self {
        let random = SpinLock::new(Rank::DEVICE_QUEUE, SeededRandom::new(faults.seed));
        Self { inner, faults, random }
    }
}

impl<S: EntropySource> EntropySource for FaultyEntropy<S> {
    fn try_take(&self, destination: &mut [u8]) -> usize {
        let mut random = self.random.lock();
        let nothing = random.chance_per_million(self.faults.nothing_per_million);
        let short = random.chance_per_million(self.faults.short_per_million);
        drop(random);
        if nothing {
            // "Nothing" promises that there will be a wake.
            self.inner.available().wake_all();
            return 0;
        }
        let len = if short { destination.len().min(1) } else { destination.len() };
        self.inner.try_take(&mut destination[..len])
    }

    fn available(&self) -> &WaitQueue {
        self.inner.available()
    }
}
