//! A small repeatable generator for fault injection and tests. Nothing here is secret.

/// xorshift64*: fast, repeatable, good enough to choose faults.
#[derive(Clone, Debug)]
pub struct SeededRandom(u64);

impl SeededRandom {
    /// The generator that always starts the same way for this seed.
    pub const fn new(seed: u64) -> Self {
        // Spread small seeds over all bits; zero would stay zero for ever.
        let mixed = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Self(if mixed == 0 { 1 } else { mixed })
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`; 0 if the limit is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next_u64() >> 16) as usize % limit }
    }

    /// Yes, this many times in a million.
    pub fn chance_per_million(&mut self, chance: u32) -> bool {
        chance > 0 && self.below(1_000_000) < chance as usize
    }
}
