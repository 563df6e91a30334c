//! Scheduling classes, and what the run queues make of them.

use std::time::Duration;

use crate::slice::ROUND_ROBIN_NANOS;

/// How a task shares the harts with others. Real-time tasks go before fair ones, fair ones before idle ones, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Real-time, 1 to 99 (most urgent): runs until it waits, yields or something more urgent is ready.
    Fifo(u8),
    /// Real-time, 1 to 99: as FIFO, and takes turns with others of the same priority.
    RoundRobin(u8),
    /// Shares by weight; each step of nice, from -20 to 19, is worth a quarter.
    Fair {
        /// How willingly the task leaves the hart to others.
        nice: i8,
    },
    /// Runs when nothing else wants to.
    Idle,
}

impl Class {
    /// What a task is unless it asks for something else.
    pub const NORMAL: Self = Self::Fair { nice: 0 };

    /// How long a round-robin task runs while another of its priority is ready.
    pub const ROUND_ROBIN_INTERVAL: Duration = Duration::from_nanos(ROUND_ROBIN_NANOS);

    /// Whether the class is a real-time one.
    pub const fn is_realtime(self) -> bool {
        matches!(self, Self::Fifo(_) | Self::RoundRobin(_))
    }

    /// Whether the numbers are within the documented ranges.
    pub const fn is_valid(self) -> bool {
        match self {
            Self::Fifo(priority) | Self::RoundRobin(priority) => priority >= 1 && priority <= 99,
            Self::Fair { nice } => nice >= -20 && nice <= 19,
            Self::Idle => true,
        }
    }
}

/// The order between ready tasks in one number: greater goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct Urgency(pub(crate) u8);

impl Urgency {
    /// Nothing runs.
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const IDLE: Self = Self(1);
    pub(crate) const FAIR: Self = Self(2);
    /// A fair task that an interrupt woke, until it next waits.
    pub(crate) const BOOSTED: Self = Self(3);
    /// The greatest there is: real-time priority 99.
    pub(crate) const MOST: Self = Self::realtime(99);

    pub(crate) const fn realtime(priority: u8) -> Self {
        Self(3 + priority)
    }

    /// Whether a task of this urgency is strictly above the fair class and its boost.
    pub(crate) const fn is_realtime(self) -> bool {
        self.0 > Self::BOOSTED.0
    }
}

/// A class in the form that the run queues use, small enough for one atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy(u64);

const KIND_FIFO: u8 = 0;
const KIND_ROUND_ROBIN: u8 = 1;
const KIND_FAIR: u8 = 2;
const KIND_IDLE: u8 = 3;

impl Policy {
    pub(crate) const fn of(class: Class) -> Self {
        assert!(class.is_valid(), "scheduling priority out of range");
        let (kind, value, urgency, inverse_weight) = match class {
            Class::Fifo(priority) => (KIND_FIFO, priority, Urgency::realtime(priority), 0),
            Class::RoundRobin(priority) => (KIND_ROUND_ROBIN, priority, Urgency::realtime(priority), 0),
            Class::Fair { nice } => (KIND_FAIR, nice as u8, Urgency::FAIR, inverse_weight(nice)),
            Class::Idle => (KIND_IDLE, 0, Urgency::IDLE, 0),
        };
        Self((inverse_weight as u64) << 32 | (kind as u64) << 16 | (value as u64) << 8 | urgency.0 as u64)
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) const fn urgency(self) -> Urgency {
        Urgency(self.0 as u8)
    }

    #[inline]
    pub(crate) const fn is_round_robin(self) -> bool {
        (self.0 >> 16) as u8 == KIND_ROUND_ROBIN
    }

    /// Whether the policy is of the fair class.
    #[inline]
    pub(crate) const fn is_fair(self) -> bool {
        self.inverse_weight() != 0
    }

    /// Scaled so that a task of nice 0 ages one nanosecond per nanosecond after the shift.
    #[inline]
    pub(crate) const fn inverse_weight(self) -> u64 {
        self.0 >> 32
    }

    pub(crate) const fn class(self) -> Class {
        let value = (self.0 >> 8) as u8;
        match (self.0 >> 16) as u8 {
            KIND_FIFO => Class::Fifo(value),
            KIND_ROUND_ROBIN => Class::RoundRobin(value),
            KIND_FAIR => Class::Fair { nice: value as i8 },
            _ => Class::Idle,
        }
    }
}

/// Bits after the point of an inverse weight.
pub(crate) const WEIGHT_SHIFT: u32 = 22;

/// 1.25^nice as a fixed-point number: how much faster a task ages than one of nice 0.
const fn inverse_weight(nice: i8) -> u32 {
    let (mut numerator, mut denominator) = (1u128 << WEIGHT_SHIFT, 1u128);
    let mut step = 0;
    while step < nice.unsigned_abs() {
        if nice > 0 {
            numerator *= 5;
            denominator *= 4;
        } else {
            numerator *= 4;
            denominator *= 5;
        }
        step += 1;
    }
    ((numerator + denominator / 2) / denominator) as u32
}

/// How much a fair task ages by running for `nanos`, which are less than half a year.
///
/// The upper half of the policy's bits is the inverse weight, so one multiplication does it. The lower half is left in:
/// it makes the task age by less than a billionth more.
#[inline]
pub(crate) fn aging(nanos: u64, policy: Policy) -> u64 {
    const UP: u32 = 32 - WEIGHT_SHIFT;
    ((u128::from(nanos << UP) * u128::from(policy.bits())) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_gives_its_class_back() {
        let classes = [
            Class::Fifo(1),
            Class::RoundRobin(99),
            Class::Fair { nice: -20 },
            Class::Fair { nice: 19 },
            Class::Idle,
        ];
        for class in classes {
            assert_eq!(Policy::of(class).class(), class);
        }
    }

    #[test]
    fn urgency_orders_the_classes() {
        let ascending = [
            Urgency::NONE,
            Policy::of(Class::Idle).urgency(),
            Policy::of(Class::NORMAL).urgency(),
            Urgency::BOOSTED,
            Policy::of(Class::Fifo(1)).urgency(),
            Policy::of(Class::RoundRobin(2)).urgency(),
            Urgency::MOST,
        ];
        assert!(ascending.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn five_steps_of_nice_are_a_factor_of_three() {
        let age = |nice| aging(1_000_000, Policy::of(Class::Fair { nice }));
        assert_eq!(age(0), 1_000_000);
        assert_eq!(age(1), 1_250_000);
        assert_eq!(age(-1), 799_999, "rounded down");
        assert_eq!(age(5), 3_051_757);
        let months = 1 << 53;
        let age = aging(months, Policy::of(Class::NORMAL));
        assert!(age >= months && age - months < months >> 29, "{age}");
    }
}
