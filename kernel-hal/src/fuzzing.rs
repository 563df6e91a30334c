//! What the seeded fuzz tests share.

/// How many inputs a fuzz test tries: `usual`, or what `ZCORE_FUZZ_ITERATIONS` says; few under Miri.
pub(crate) fn iterations(usual: usize) -> usize {
    if cfg!(miri) {
        return 5;
    }
    std::env::var("ZCORE_FUZZ_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A small repeatable generator (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }
}
