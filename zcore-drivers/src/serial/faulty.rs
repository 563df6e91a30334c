//! A serial port that loses, changes and delays bytes, repeatably.

use ksync::{Rank, SpinLock, WaitQueue};

use super::{SerialPort, SerialStatistics};
use crate::random::SeededRandom;

/// What goes wrong. Chances are per million bytes, or per million attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SerialFaults {
    /// Where the faults start from: the same seed makes the same faults for the same calls.
    pub seed: u64,
    /// A received byte disappears.
    pub lose_per_million: u32,
    /// A bit of a received byte changes.
    pub corrupt_per_million: u32,
    /// A write accepts only its first byte.
    pub short_write_per_million: u32,
}

/// A serial port with faults.
#[derive(Debug)]
pub struct FaultySerial<P> {
    inner: P,
    faults: SerialFaults,
    random: SpinLock<SeededRandom>,
}

impl<P: SerialPort> FaultySerial<P> {
    /// The port with these faults.
    pub fn new(inner: P, faults: SerialFaults) -> Self {
        let random = SpinLock::new(Rank::DEVICE_QUEUE, SeededRandom::new(faults.seed));
        Self { inner, faults, random }
    }
}

impl<P: SerialPort> SerialPort for FaultySerial<P> {
    fn try_read(&self, destination: &mut [u8]) -> usize {
        loop {
            let count = self.inner.try_read(destination);
            let mut random = self.random.lock();
            let mut kept = 0;
            for index in 0..count {
                if random.chance_per_million(self.faults.lose_per_million) {
                    continue;
                }
                let mut byte = destination[index];
                if random.chance_per_million(self.faults.corrupt_per_million) {
                    byte ^= 1 << random.below(8);
                }
                destination[kept] = byte;
                kept += 1;
            }
            // If all was lost there may be more; 0 must mean that there is nothing.
            if kept > 0 || count == 0 {
                return kept;
            }
        }
    }

    fn try_write(&self, bytes: &[u8]) -> usize {
        let short = self.random.lock().chance_per_million(self.faults.short_write_per_million);
        let len = if short { bytes.len().min(1) } else { bytes.len() };
        self.inner.try_write(&bytes[..len])
    }

    fn is_readable(&self) -> bool {
        self.inner.is_readable()
    }

    fn is_writable(&self) -> bool {
        self.inner.is_writable()
    }

    fn is_drained(&self) -> bool {
        self.inner.is_drained()
    }

    fn readable(&self) -> &WaitQueue {
        self.inner.readable()
    }

    fn writable(&self) -> &WaitQueue {
        self.inner.writable()
    }

    fn write_polled(&self, bytes: &[u8]) {
        self.inner.write_polled(bytes);
    }

    fn statistics(&self) -> SerialStatistics {
        self.inner.statistics()
    }
}
