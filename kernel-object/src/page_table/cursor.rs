//! A place in the tables: neighbouring pages share one walk.

use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use kernel_hal::{
    ENTRIES_PER_TABLE, LEVELS, PAGE_SIZE, PageFlags, PageTableEntry, PhysAddr, VirtAddr, index_at_level,
    page_size_at_level,
};

use super::{PageTable, first_used_page, group_of, load, store};
use crate::frame::{self, OutOfMemory, SharedFrame};

const LEAF_SPAN: usize = page_size_at_level(1);
/// In place of a table behind the end of user space: there is nothing for the rest of the addresses.
const NO_TABLE: Result<PhysAddr, usize> = Err(LEVELS - 1);

/// A page of user space, and the table that holds its entry if there is one.
pub struct Cursor<'a> {
    tables: &'a mut PageTable,
    address: VirtAddr,
    /// The table, or the level of the entry that should lead to it and is empty.
    leaf: Result<PhysAddr, usize>,
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn new(tables: &'a mut PageTable, address: VirtAddr) -> Self {
        let leaf = if address.is_user() { tables.leaf_table(address) } else { NO_TABLE };
        Self { tables, address, leaf }
    }

    /// The address that the cursor was moved to.
    pub const fn address(&self) -> VirtAddr {
        self.address
    }

    fn index(&self) -> usize {
        index_at_level(self.address, 0)
    }

    /// The entry here; empty if there is none.
    #[inline]
    pub fn entry(&self) -> PageTableEntry {
        match self.leaf {
            // SAFETY: the table belongs to `tables`, which this cursor borrows; tables are only taken out by
            // `take_empty_tables`, which cannot run meanwhile.
            Ok(table) => unsafe { load(table, self.index()) },
            Err(_) => PageTableEntry::EMPTY,
        }
    }

    /// A look at the frame here.
    #[inline]
    pub fn frame(&self) -> Option<ManuallyDrop<SharedFrame>> {
        let entry = self.entry();
        // SAFETY: a non-empty entry owns its frame; the result borrows the cursor by the caller's discipline: it is
        // used before the entry is changed (all callers are in this crate).
        (entry != PageTableEntry::EMPTY).then(|| unsafe { SharedFrame::borrow_address(entry.frame()) })
    }

    /// Moves to another page.
    #[inline]
    pub fn seek(&mut self, address: VirtAddr) {
        let same_table = address.as_usize() / LEAF_SPAN == self.address.as_usize() / LEAF_SPAN;
        self.address = address;
        if !same_table {
            self.leaf = if address.is_user() { self.tables.leaf_table(address) } else { NO_TABLE };
        }
    }

    /// Moves to the next page.
    #[inline]
    pub fn step(&mut self) {
        self.seek(self.address + PAGE_SIZE);
    }

    /// Moves to the first page from here on, below `end`, that has an entry, and returns that entry.
    #[inline]
    pub fn find(&mut self, end: VirtAddr) -> Option<PageTableEntry> {
        while self.address < end {
            let table = match self.leaf {
                Ok(table) => table,
                Err(level) => {
                    let empty = page_size_at_level(level);
                    self.seek(VirtAddr::new((self.address.as_usize() & !(empty - 1)) + empty));
                    continue;
                }
            };
            let first = self.index();
            let pages_left = (end - self.address).div_ceil(PAGE_SIZE);
            let stop = ENTRIES_PER_TABLE.min(first.saturating_add(pages_left));
            // SAFETY: as in `entry`.
            let index = unsafe { first_used_page(table, first, stop) };
            if index < stop {
                self.address = self.address + (index - first) * PAGE_SIZE;
                // SAFETY: as in `entry`.
                return Some(unsafe { load(table, index) });
            }
            self.seek(self.address + (index - first) * PAGE_SIZE);
        }
        None
    }

    /// Makes the tables that an entry here needs.
    #[inline]
    pub fn prepare(&mut self) -> Result<(), OutOfMemory> {
        if self.leaf.is_err() {
            self.leaf = Ok(self.tables.make_leaf_table(self.address)?);
        }
        Ok(())
    }

    /// Whether an entry can be written here without making tables.
    pub const fn is_prepared(&self) -> bool {
        self.leaf.is_ok()
    }

    /// Maps `frame` here; [`Self::prepare`] must have succeeded on this table. Without VALID among the flags the
    /// page is parked. Returns what was mapped before, which must be flushed before it is dropped.
    #[inline]
    pub fn replace(&mut self, frame: SharedFrame, flags: PageFlags) -> Option<SharedFrame> {
        let Ok(table) = self.leaf else { panic!("the tables were not prepared") };
        let old = self.entry();
        let entry = PageTableEntry::table(frame.into_address()).with_flags(flags);
        // SAFETY: as in `entry`, borrowed mutably; the new entry owns the frame that was let go, and the old entry's
        // ownership is taken up because it is overwritten.
        unsafe {
            store(table, self.index(), entry);
            if old == PageTableEntry::EMPTY {
                frame::change_notes(table, 1, group_of(self.index()));
                return None;
            }
            Some(SharedFrame::from_address(old.frame()))
        }
    }

    /// Maps many frames at pages of this leaf table; [`Self::prepare`] must have succeeded on it.
    #[inline]
    pub fn filler(&mut self) -> Filler<'_> {
        let Ok(table) = self.leaf else { panic!("the tables were not prepared") };
        Filler { table, span: self.address.as_usize() / LEAF_SPAN, filled: 0, groups: 0, cursor: PhantomData }
    }

    /// Gives the page here other flags. Does nothing where there is no page.
    #[inline]
    pub fn set_flags(&mut self, flags: PageFlags) {
        let entry = self.entry();
        if let Ok(table) = self.leaf
            && entry != PageTableEntry::EMPTY
        {
            // SAFETY: as in `entry`, borrowed mutably; the entry goes on owning the same frame.
            unsafe { store(table, self.index(), entry.with_flags(flags)) };
        }
    }

    /// Unmaps the page here. The frame must be flushed before it is dropped.
    #[inline]
    #[must_use]
    pub fn take(&mut self) -> Option<SharedFrame> {
        let old = self.entry();
        let table = self.leaf.ok()?;
        if old == PageTableEntry::EMPTY {
            return None;
        }
        // SAFETY: as in `replace`.
        unsafe {
            store(table, self.index(), PageTableEntry::EMPTY);
            frame::change_count(table, -1);
            Some(SharedFrame::from_address(old.frame()))
        }
    }
}

/// Maps frames at pages of one leaf table, and counts them when it is dropped.
pub struct Filler<'a> {
    table: PhysAddr,
    span: usize,
    filled: i32,
    groups: u8,
    cursor: PhantomData<&'a mut PageTable>,
}

impl Filler<'_> {
    /// Maps a frame if there is none at this page. Whether there was none.
    #[inline]
    pub fn place(&mut self, address: VirtAddr, frame: &SharedFrame, flags: PageFlags) -> bool {
        debug_assert_eq!(address.as_usize() / LEAF_SPAN, self.span, "a page of another table");
        let index = index_at_level(address, 0);
        // SAFETY: the table belongs to the tables that the cursor borrows, for as long as this lives; the new entry owns
        // the frame that was let go.
        unsafe {
            if load(self.table, index) != PageTableEntry::EMPTY {
                return false;
            }
            let entry = PageTableEntry::table(frame.clone().into_address()).with_flags(flags);
            store(self.table, index, entry);
        }
        self.filled += 1;
        self.groups |= group_of(index);
        true
    }
}

impl Drop for Filler<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as above; nobody has looked at the count since the first entry was written.
        unsafe { frame::change_notes(self.table, self.filled, self.groups) };
    }
}
