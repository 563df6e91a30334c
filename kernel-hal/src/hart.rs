//! Hart names, and sets of them.

use std::fmt;

use crate::backend;

/// The most harts the kernel runs on; further ones stay stopped.
pub const MAX_HARTS: usize = 8;

/// A hart's logical number: 0 is the boot hart, the others follow in the order of the device tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct HartId(u8);

impl HartId {
    /// The hart that booted the machine.
    pub const BOOT: Self = Self(0);

    /// The hart with this logical number. Panics if it is not below [`MAX_HARTS`].
    pub const fn new(index: usize) -> Self {
        assert!(index < MAX_HARTS);
        Self(index as u8)
    }

    /// The hart that executes this call. The caller may be moved to another hart right afterwards,
    /// unless interrupts are off or the preempt count is raised.
    #[inline]
    pub fn current() -> Self {
        backend::hart::current()
    }

    /// The logical number, for indexing per-hart arrays.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// How many harts are online.
    pub fn count() -> usize {
        backend::hart::online().len()
    }

    /// The harts that are online.
    pub fn online() -> HartMask {
        backend::hart::online()
    }
}

/// The word that the scheduler keeps on this hart; 0 until [`set_hart_word`]. One instruction, which is why it is there:
/// everything that the scheduler knows of the hart hangs on it.
#[inline]
pub fn hart_word() -> usize {
    backend::hart::word()
}

/// Sets this hart's word. To be called with interrupts masked or the preempt count raised.
pub fn set_hart_word(word: usize) {
    backend::hart::set_word(word);
}

impl fmt::Debug for HartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hart{}", self.0)
    }
}

impl fmt::Display for HartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A set of harts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(transparent)]
pub struct HartMask(u32);

impl HartMask {
    /// No hart.
    pub const EMPTY: Self = Self(0);
    /// Every hart the kernel could run on.
    pub const ALL: Self = Self((1 << MAX_HARTS) - 1);

    /// The set whose members are the set bits; bits past [`MAX_HARTS`] are dropped.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }
    /// One bit per member.
    pub const fn bits(self) -> u32 {
        self.0
    }
    /// Just this hart.
    pub const fn only(hart: HartId) -> Self {
        Self(1 << hart.0)
    }
    /// The first `count` harts.
    pub const fn first(count: usize) -> Self {
        assert!(count <= MAX_HARTS);
        Self(((1u64 << count) - 1) as u32)
    }
    /// Whether the hart is a member.
    pub const fn contains(self, hart: HartId) -> bool {
        self.0 & (1 << hart.0) != 0
    }
    /// The set with the hart added.
    pub const fn with(self, hart: HartId) -> Self {
        Self(self.0 | 1 << hart.0)
    }
    /// The set with the hart taken out.
    pub const fn without(self, hart: HartId) -> Self {
        Self(self.0 & !(1 << hart.0))
    }
    /// The harts that are in both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    /// Whether there is no member.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// How many members there are.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }
    /// The member with the lowest number.
    pub const fn lowest(self) -> Option<HartId> {
        if self.0 == 0 { None } else { Some(HartId(self.0.trailing_zeros() as u8)) }
    }
    /// The members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = HartId> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let hart = rest.lowest()?;
            rest = rest.without(hart);
            Some(hart)
        })
    }
}

impl fmt::Debug for HartMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "harts({:#b})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_lists_its_members_in_order() {
        let mask = HartMask::EMPTY.with(HartId::new(5)).with(HartId::new(1));
        let members: Vec<usize> = mask.iter().map(HartId::index).collect();
        assert_eq!(members, [1, 5]);
        assert_eq!(HartMask::first(MAX_HARTS), HartMask::ALL);
    }
}
