//! From ticks of the counter to nanoseconds.

const NANOSECONDS_PER_SECOND: u128 = 1_000_000_000;

/// How long a tick of the counter is: `(ticks << shift) * multiplier / 2^64` nanoseconds.
///
/// The high half of one multiplication gives the result without overflow for at least 292 years of ticks (all ticks
/// that a counter of over 1 GHz has), and exactly where a tick is a whole number of nanoseconds. Otherwise it is
/// below the truth by less than one part in 2^62, and by the fraction of a nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    multiplier: u64,
    shift: u32,
}

impl Rate {
    /// The rate of a counter; none for a counter that does not move.
    pub const fn from_frequency_hz(frequency_hz: u64) -> Option<Self> {
        if frequency_hz == 0 {
            return None;
        }
        // The smallest shift for which the multiplier fits a word.
        let mut shift = 0;
        loop {
            let multiplier = (NANOSECONDS_PER_SECOND << (64 - shift)) / frequency_hz as u128;
            if multiplier <= u64::MAX as u128 {
                return Some(Self { multiplier: multiplier as u64, shift });
            }
            shift += 1;
        }
    }

    /// Nanoseconds in so many ticks.
    #[inline]
    pub const fn nanoseconds(self, ticks: u64) -> u64 {
        (((ticks << self.shift) as u128 * self.multiplier as u128) >> 64) as u64
    }
}

/// One clock as it lies in the page. All zero: it is not served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Clock {
    /// Of the [`Rate`]; zero where the clock is not served.
    pub(crate) multiplier: u64,
    pub(crate) shift: u64,
    /// What the clock showed when the counter was at zero, modulo 2^64.
    pub(crate) base_nanoseconds: u64,
    /// What the clock is rounded down to; 1 for a fine clock, and 0 where it is not served.
    pub(crate) resolution_nanoseconds: u64,
}

impl Clock {
    /// A clock of this rate that showed `base_nanoseconds` when the counter was at zero.
    pub const fn new(rate: Rate, base_nanoseconds: u64, resolution_nanoseconds: u64) -> Self {
        Self {
            multiplier: rate.multiplier,
            shift: rate.shift as u64,
            base_nanoseconds,
            resolution_nanoseconds,
        }
    }

    /// What it shows at this count.
    #[inline(always)]
    pub const fn nanoseconds(self, ticks: u64) -> u64 {
        // A shift by a word that nobody can make larger than 63; the mask is the machine's own and costs nothing.
        let scaled = ticks.wrapping_shl(self.shift as u32) as u128 * self.multiplier as u128;
        let nanoseconds = ((scaled >> 64) as u64).wrapping_add(self.base_nanoseconds);
        if self.resolution_nanoseconds > 1 {
            nanoseconds - nanoseconds % self.resolution_nanoseconds
        } else {
            nanoseconds
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Miri takes a millisecond for one.
    const SAMPLES: usize = if cfg!(miri) { 50 } else { 10_000 };

    /// A small generator of well-mixed numbers (SplitMix64), seeded, so that a failure repeats.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        /// Any magnitude is as likely as any other.
        fn next_of_any_size(&mut self) -> u64 {
            let width = self.next() % 64;
            self.next() >> width
        }
    }

    fn reference(ticks: u64, frequency_hz: u64) -> u128 {
        u128::from(ticks) * NANOSECONDS_PER_SECOND / u128::from(frequency_hz)
    }

    /// The most ticks that a counter is meant to reach: 292 years, or all of them.
    fn horizon(frequency_hz: u64) -> u64 {
        u64::try_from(292 * 31_557_600 * u128::from(frequency_hz)).unwrap_or(u64::MAX)
    }

    #[test]
    fn whole_nanoseconds_are_exact() {
        let mut numbers = Numbers(1);
        for frequency_hz in
            [1, 1_000, 1_000_000, 4_000_000, 10_000_000, 25_000_000, 100_000_000, 1_000_000_000]
        {
            let rate = Rate::from_frequency_hz(frequency_hz).unwrap();
            for _ in 0..SAMPLES {
                let ticks = numbers.next_of_any_size() % horizon(frequency_hz);
                assert_eq!(
                    u128::from(rate.nanoseconds(ticks)),
                    reference(ticks, frequency_hz),
                    "{frequency_hz} Hz"
                );
            }
            let last = horizon(frequency_hz);
            assert_eq!(u128::from(rate.nanoseconds(last)), reference(last, frequency_hz));
        }
    }

    #[test]
    fn odd_frequencies_lose_less_than_promised() {
        let mut numbers = Numbers(2);
        for _ in 0..SAMPLES {
            let frequency_hz = 1 + numbers.next_of_any_size() % 10_000_000_000;
            let rate = Rate::from_frequency_hz(frequency_hz).unwrap();
            let ticks = numbers.next_of_any_size() % horizon(frequency_hz);
            let truth = reference(ticks, frequency_hz);
            let computed = u128::from(rate.nanoseconds(ticks));
            assert!(computed <= truth, "{ticks} ticks at {frequency_hz} Hz");
            assert!(
                truth - computed <= 1 + (truth >> 62),
                "{ticks} ticks at {frequency_hz} Hz: {computed} for {truth}"
            );
        }
    }

    #[test]
    fn no_tick_goes_back() {
        let mut numbers = Numbers(3);
        for _ in 0..SAMPLES / 10 {
            let frequency_hz = 1 + numbers.next_of_any_size() % 10_000_000_000;
            let clock = Clock::new(Rate::from_frequency_hz(frequency_hz).unwrap(), 0, 1);
            let start = numbers.next_of_any_size() % (horizon(frequency_hz) - 16);
            for ticks in start..start + 16 {
                assert!(
                    clock.nanoseconds(ticks) <= clock.nanoseconds(ticks + 1),
                    "{ticks} at {frequency_hz} Hz"
                );
            }
        }
    }

    #[test]
    fn a_counter_that_stands_has_no_rate() {
        assert_eq!(Rate::from_frequency_hz(0), None);
    }

    #[test]
    fn coarse_clocks_are_rounded_down() {
        let rate = Rate::from_frequency_hz(10_000_000).unwrap();
        let base = 1_700_000_000_123_456_789;
        let (fine, coarse) = (Clock::new(rate, base, 1), Clock::new(rate, base, 4_000_000));
        let mut numbers = Numbers(4);
        for _ in 0..SAMPLES {
            let ticks = numbers.next_of_any_size() >> 12;
            let (exact, rounded) = (fine.nanoseconds(ticks), coarse.nanoseconds(ticks));
            assert!(rounded.is_multiple_of(4_000_000) && rounded <= exact && exact - rounded < 4_000_000);
        }
    }

    #[test]
    fn a_clock_may_have_started_before_its_counter_or_after() {
        let rate = Rate::from_frequency_hz(10_000_000).unwrap();
        assert_eq!(Clock::new(rate, 5_000, 1).nanoseconds(70), 12_000);
        assert_eq!(Clock::new(rate, 5_000_u64.wrapping_neg(), 1).nanoseconds(70), 2_000);
    }
}
