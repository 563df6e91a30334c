//! Sources of randomness.

mod faulty;

pub use faulty::{EntropyFaults, FaultyEntropy};

use ksync::WaitQueue;

/// Something that produces bytes nobody can guess.
pub trait EntropySource: Send + Sync {
    /// Takes bytes that nobody has got before, as many as there are and fit; 0 if there are none, in which case more
    /// are on their way.
    fn try_take(&self, destination: &mut [u8]) -> usize;

    /// Woken when there are bytes to take.
    fn available(&self) -> &WaitQueue;
}

impl dyn EntropySource + '_ {
    /// Fills all of the destination, waiting as long as it takes.
    pub async fn fill(&self, destination: &mut [u8]) {
        let mut done = 0;
        while done < destination.len() {
            let rest = &mut destination[done..];
            done +=
                self.available().wait_until(|| Some(self.try_take(rest)).filter(|&count| count > 0)).await;
        }
    }
}
