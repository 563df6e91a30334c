//! A modelled disk.

use virtio_drivers::transport::DeviceType;

use super::{Chain, DeviceModel, ModelTransport};
use crate::block::SECTOR_BYTES;
use crate::random::SeededRandom;

const SERIAL: &[u8] = b"MODEL-0001";

/// What a modelled disk does wrong, or differently.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFaults {
    /// Answers come in a random order.
    pub reorder: bool,
    /// A request fails, in a million.
    pub error_per_million: u32,
    /// The device claims to have written less than it should, in a million.
    pub short_per_million: u32,
}

/// A disk whose content is a vector.
pub struct DiskModel {
    /// Registers and rings.
    pub device: DeviceModel,
    /// What is stored.
    pub content: Vec<u8>,
    /// What goes wrong.
    pub faults: DiskFaults,
    /// How many requests failed on purpose.
    pub errors_made: u64,
    /// How many flushes there were.
    pub flushes: u64,
    taken: Vec<Chain>,
    random: SeededRandom,
}

impl DiskModel {
    /// Indirect tables, event index, version 1, flush, discard, write zeroes.
    pub const ALL_FEATURES: u64 = 1 << 28 | 1 << 29 | 1 << 32 | 1 << 9 | 1 << 13 | 1 << 14;

    /// An empty disk of this many sectors.
    pub fn new(sectors: usize, features: u64, queue_size: u16, seed: u64) -> Self {
        let mut configuration = vec![0u8; 60];
        configuration[..8].copy_from_slice(&(sectors as u64).to_le_bytes());
        configuration[12..16].copy_from_slice(&126u32.to_le_bytes());
        configuration[36..40].copy_from_slice(&1024u32.to_le_bytes());
        configuration[48..52].copy_from_slice(&1024u32.to_le_bytes());
        Self {
            device: DeviceModel::new(DeviceType::Block, features, configuration, 1, queue_size),
            content: vec![0; sectors * SECTOR_BYTES],
            faults: DiskFaults::default(),
            errors_made: 0,
            flushes: 0,
            taken: Vec::new(),
            random: SeededRandom::new(seed),
        }
    }

    /// The transport to give to the driver.
    pub fn transport(&self) -> ModelTransport {
        self.device.transport()
    }

    /// Takes what the driver has offered. Returns how many requests the disk has taken and not answered.
    pub fn take_offers(&mut self) -> usize {
        while let Some(chain) = self.device.next_chain(0) {
            self.taken.push(chain);
        }
        self.device.sleep(0);
        self.taken.len()
    }

    /// The requests that were taken and not answered.
    pub fn taken(&self) -> &[Chain] {
        &self.taken
    }

    /// Answers one request. Returns whether there was one.
    pub fn answer_one(&mut self) -> bool {
        if self.taken.is_empty() {
            return false;
        }
        let index = if self.faults.reorder { self.random.below(self.taken.len()) } else { 0 };
        let chain = self.taken.remove(index);
        let written = self.carry_out(&chain);
        let short = self.random.chance_per_million(self.faults.short_per_million);
        let claimed = if short { written / 2 } else { written };
        self.device.complete(0, chain.head, claimed);
        true
    }

    /// Takes and answers everything.
    pub fn answer_all(&mut self) -> usize {
        self.take_offers();
        let mut count = 0;
        while self.answer_one() {
            count += 1;
        }
        count
    }

    /// Does what a request says and returns how many bytes were written to the driver's memory.
    fn carry_out(&mut self, chain: &Chain) -> u32 {
        let input = chain.read();
        let room = chain.writable_bytes() - 1;
        let number = |range: std::ops::Range<usize>| {
            let bytes = input.get(range).expect("a request that is too short");
            bytes.iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        };
        let (kind, sector) = (number(0..4), number(8..16) as usize);
        let mut status = 0u8;
        if self.random.chance_per_million(self.faults.error_per_million) {
            self.errors_made += 1;
            status = 1;
        } else {
            let start = sector * SECTOR_BYTES;
            match kind {
                0 => {
                    let written = chain.write(0, &self.content[start..start + room]);
                    assert_eq!(written, room);
                }
                1 => self.content[start..start + input.len() - 16].copy_from_slice(&input[16..]),
                4 => self.flushes += 1,
                8 => {
                    let mut serial = SERIAL.to_vec();
                    serial.resize(room, 0);
                    chain.write(0, &serial);
                }
                11 | 13 => {
                    let (start, count) = (number(16..24) as usize, number(24..28) as usize);
                    self.content[start * SECTOR_BYTES..(start + count) * SECTOR_BYTES].fill(0);
                }
                _ => status = 2,
            }
        }
        assert_eq!(chain.write(room, &[status]), 1);
        chain.writable_bytes() as u32
    }
}
