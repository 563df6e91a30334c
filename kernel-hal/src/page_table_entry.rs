//! One entry of an Sv39 page table, as plain data. Walking tables is `kernel-object`'s work.

use bitflags::bitflags;
use std::fmt;

use crate::{PAGE_SHIFT, PhysAddr, VirtAddr};

/// Entries in one table.
pub const ENTRIES_PER_TABLE: usize = 512;
/// Levels of tables; level 0 holds the smallest pages.
pub const LEVELS: usize = 3;

/// Which entry of the table at `level` translates `address`.
pub const fn index_at_level(address: VirtAddr, level: usize) -> usize {
    (address.as_usize() >> (PAGE_SHIFT + 9 * level)) & (ENTRIES_PER_TABLE - 1)
}

/// The bytes that one entry at `level` covers: 4 KiB, 2 MiB, 1 GiB.
pub const fn page_size_at_level(level: usize) -> usize {
    1 << (PAGE_SHIFT + 9 * level)
}

bitflags! {
    /// What an entry allows, and what the machine and the kernel note in it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PageFlags: u64 {
        /// The entry is in force.
        const VALID = 1 << 0;
        /// Loads are allowed.
        const READ = 1 << 1;
        /// Stores are allowed.
        const WRITE = 1 << 2;
        /// Instruction fetches are allowed.
        const EXECUTE = 1 << 3;
        /// User mode may use the page.
        const USER = 1 << 4;
        /// The translation is the same in every address space.
        const GLOBAL = 1 << 5;
        /// The page has been used.
        const ACCESSED = 1 << 6;
        /// The page has been stored to.
        const DIRTY = 1 << 7;
        /// For the kernel: the frame is shared and a store must copy it first.
        const COPY_ON_WRITE = 1 << 8;
        /// For the kernel: free for the owner of the table.
        const SOFTWARE = 1 << 9;
    }
}

const FLAG_BITS: u64 = 0x3ff;
const FRAME_BITS: u64 = ((1 << 44) - 1) << 10;

/// One entry: flags and the frame of a page or of the next table.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct PageTableEntry(u64);

impl PageTableEntry {
    /// The entry that translates nothing.
    pub const EMPTY: Self = Self(0);

    /// An entry with these bits, as read from a table.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, as stored in a table.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// An entry that maps a page. A page without any of READ, WRITE, EXECUTE cannot be expressed (the machine
    /// would take it for a table); such a mapping must be left empty.
    pub fn page(frame: PhysAddr, flags: PageFlags) -> Self {
        debug_assert!(flags.intersects(PageFlags::READ | PageFlags::EXECUTE));
        debug_assert!(!flags.contains(PageFlags::WRITE) || flags.contains(PageFlags::READ));
        Self(((frame.as_usize() as u64 >> PAGE_SHIFT) << 10) | (flags | PageFlags::VALID).bits())
    }

    /// An entry that points at the table of the next level.
    pub const fn table(frame: PhysAddr) -> Self {
        Self(((frame.as_usize() as u64 >> PAGE_SHIFT) << 10) | PageFlags::VALID.bits())
    }

    /// The frame of the page or of the next table.
    pub const fn frame(self) -> PhysAddr {
        PhysAddr::new((((self.0 & FRAME_BITS) >> 10) << PAGE_SHIFT) as usize)
    }

    /// The flags.
    pub const fn flags(self) -> PageFlags {
        PageFlags::from_bits_retain(self.0 & FLAG_BITS)
    }

    /// The same frame under other flags.
    pub fn with_flags(self, flags: PageFlags) -> Self {
        Self((self.0 & FRAME_BITS) | flags.bits())
    }

    /// Whether the machine uses the entry at all.
    pub const fn is_valid(self) -> bool {
        self.0 & PageFlags::VALID.bits() != 0
    }

    /// Whether the entry maps a page (of whatever size).
    pub fn is_page(self) -> bool {
        self.is_valid() && self.flags().intersects(PageFlags::READ | PageFlags::WRITE | PageFlags::EXECUTE)
    }

    /// Whether the entry points at a further table.
    pub fn is_table(self) -> bool {
        self.is_valid() && !self.is_page()
    }
}

impl fmt::Debug for PageTableEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.frame(), self.flags())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_entry_keeps_frame_and_flags_apart() {
        let flags = PageFlags::READ | PageFlags::WRITE | PageFlags::USER | PageFlags::COPY_ON_WRITE;
        let entry = PageTableEntry::page(PhysAddr::new(0x8765_4000), flags);
        assert!(entry.is_page() && !entry.is_table());
        assert_eq!(entry.frame(), PhysAddr::new(0x8765_4000));
        assert_eq!(entry.flags(), flags | PageFlags::VALID);
        assert_eq!(entry.with_flags(PageFlags::empty()).frame(), entry.frame());
    }

    #[test]
    fn a_table_entry_has_no_permissions() {
        let entry = PageTableEntry::table(PhysAddr::new(0x8000_1000));
        assert!(entry.is_table() && !entry.is_page());
    }

    #[test]
    fn indices_split_an_address() {
        let address = VirtAddr::new((3 << 30) | (5 << 21) | (7 << 12) | 9);
        let indices = [2, 1, 0].map(|level| index_at_level(address, level));
        assert_eq!(indices, [3, 5, 7]);
    }
}
