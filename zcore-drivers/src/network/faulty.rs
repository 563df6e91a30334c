//! A card that loses, repeats, exchanges and damages frames, repeatably.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use std::str::FromStr;

use ksync::{Rank, SpinLock, WaitQueue};

use super::{Frame, NetworkDevice, NetworkInformation};
use crate::random::SeededRandom;

/// What goes wrong, each way. Chances are per million frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkFaults {
    /// Where the faults start from: the same seed makes the same faults for the same frames in the same order.
    pub seed: u64,
    /// A frame is lost.
    pub loss_per_million: u32,
    /// A frame comes twice.
    pub repeat_per_million: u32,
    /// A frame comes after the one behind it.
    pub exchange_per_million: u32,
    /// A bit of a frame, behind the Ethernet header, is turned.
    pub damage_per_million: u32,
}

/// A description of faults that is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadNetworkFaults;

/// Reads `seed=7,loss=50000,repeat=100,exchange=100,damage=100`; everything may be left out.
impl FromStr for NetworkFaults {
    type Err = BadNetworkFaults;

    fn from_str(text: &str) -> Result<Self, BadNetworkFaults> {
        let mut faults = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or(BadNetworkFaults)?;
            let number = value.parse().map_err(|_| BadNetworkFaults);
            match key {
                "seed" => faults.seed = value.parse().map_err(|_| BadNetworkFaults)?,
                "loss" => faults.loss_per_million = number?,
                "repeat" => faults.repeat_per_million = number?,
                "exchange" => faults.exchange_per_million = number?,
                "damage" => faults.damage_per_million = number?,
                _ => return Err(BadNetworkFaults),
            }
        }
        Ok(faults)
    }
}

const ETHERNET_BYTES: usize = 14;

struct Direction {
    random: SeededRandom,
    /// A frame that waits for the next one to pass.
    held: Option<Frame>,
    /// What is to be given out before anything new.
    ready: VecDeque<Frame>,
}

impl Direction {
    fn new(seed: u64) -> Self {
        Self { random: SeededRandom::new(seed), held: None, ready: VecDeque::new() }
    }

    /// A frame goes this way; what becomes of it is in `ready`.
    fn pass(&mut self, mut frame: Frame, faults: &NetworkFaults) {
        if self.random.chance_per_million(faults.loss_per_million) {
            return;
        }
        if frame.bytes.len() > ETHERNET_BYTES && self.random.chance_per_million(faults.damage_per_million) {
            let bits = (frame.bytes.len() - ETHERNET_BYTES) * 8;
            let bit = self.random.next_u64() as usize % bits;
            frame.bytes[ETHERNET_BYTES + bit / 8] ^= 1 << (bit % 8);
            frame.is_verified = false;
        }
        let is_repeated = self.random.chance_per_million(faults.repeat_per_million);
        if self.held.is_none() && self.random.chance_per_million(faults.exchange_per_million) {
            self.held = Some(frame);
            return;
        }
        if is_repeated {
            self.ready.push_back(frame.clone());
        }
        self.ready.push_back(frame);
        self.ready.extend(self.held.take());
    }
}

/// A card with faults.
pub struct FaultyNetwork {
    inner: Arc<dyn NetworkDevice>,
    faults: NetworkFaults,
    /// Out and in. Not held while the inner card is called.
    directions: SpinLock<[Direction; 2]>,
}

impl FaultyNetwork {
    /// The card with these faults.
    pub fn new(inner: Arc<dyn NetworkDevice>, faults: NetworkFaults) -> Self {
        let directions = [Direction::new(faults.seed), Direction::new(!faults.seed)];
        Self { inner, faults, directions: SpinLock::new(Rank::DEVICE_TABLE, directions) }
    }
}

impl NetworkDevice for FaultyNetwork {
    fn information(&self) -> NetworkInformation {
        self.inner.information()
    }

    fn transmit(&self, frame: &[u8]) -> bool {
        self.directions.lock()[0].pass(Frame { bytes: frame.to_vec(), is_verified: false }, &self.faults);
        loop {
            let Some(next) = self.directions.lock()[0].ready.pop_front() else { return true };
            if !self.inner.transmit(&next.bytes) {
                // One more that is lost.
                return true;
            }
        }
    }

    fn receive(&self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.directions.lock()[1].ready.pop_front() {
                return Some(frame);
            }
            let frame = self.inner.receive()?;
            self.directions.lock()[1].pass(frame, &self.faults);
        }
    }

    fn changed(&self) -> &WaitQueue {
        self.inner.changed()
    }
}
