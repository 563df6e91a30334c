//! Sv39 page tables of user space, as plain data.
//!
//! An entry of the last level that is not empty *owns* a reference to its frame: mapping takes a [`SharedFrame`],
//! unmapping gives it back, dropping the tables drops them all. An entry without VALID that still has a frame is
//! *parked*: the page has content but may not be used just now (`PROT_NONE`).
//!
//! Every table counts its entries (in the notes of its frame), so that an empty one can be found without a scan. A table of
//! the last level marks there which groups of entries were used, so that a range with few pages is passed over quickly.
//!
//! Nothing is flushed here. Whatever takes a permission or a frame away hands the frame to the caller, who flushes
//! and only then drops it; what only adds (a new page, a new permission) needs no flush, because a hart that still
//! remembers less faults, looks again, and is told to forget ([`crate::address_space`]).
//!
//! Limits: user pages are 4 KiB pages; the upper half is copied from the kernel's root once, when the tables are made.

mod cursor;
#[cfg(test)]
mod tests;

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel_hal::{
    ENTRIES_PER_TABLE, LEVELS, PageFlags, PageTableEntry, PhysAddr, USER_END, VirtAddr, index_at_level,
    memory, page_size_at_level, paging,
};

use crate::frame::{self, Frame, FrameKind, OutOfMemory, SharedFrame};

pub use cursor::Cursor;

/// Entries of the root that belong to the program.
const USER_ROOT_ENTRIES: usize = USER_END / page_size_at_level(LEVELS - 1);

/// One address space's tables. The owner keeps others away while it changes them (`&mut`); the machine reads along.
pub struct PageTable {
    root: PhysAddr,
}

/// The entry at `index` of a table.
///
/// # Safety
/// `table` must be the address of a table that is in use by a [`PageTable`] which the caller borrows.
#[inline(always)]
unsafe fn slot<'a>(table: PhysAddr, index: usize) -> &'a AtomicU64 {
    debug_assert!(index < ENTRIES_PER_TABLE);
    // SAFETY: a table is a whole frame in the linear map; entries are only accessed atomically.
    unsafe { AtomicU64::from_ptr(memory::phys_to_virt(table).cast::<u64>().add(index)) }
}

/// Reads an entry.
///
/// # Safety
/// As for [`slot`].
#[inline(always)]
unsafe fn load(table: PhysAddr, index: usize) -> PageTableEntry {
    // SAFETY: passed on to the caller.
    PageTableEntry::from_bits(unsafe { slot(table, index) }.load(Ordering::Relaxed))
}

/// The first index from `from` on, below `end`, whose entry is not empty, or `end`. Most tables are mostly empty, so four
/// entries are looked at together.
///
/// # Safety
/// As for [`slot`].
#[inline(always)]
unsafe fn first_used(table: PhysAddr, from: usize, end: usize) -> usize {
    // SAFETY: passed on to the caller.
    let bits = |index: usize| unsafe { load(table, index) }.bits();
    let mut index = from;
    while index + 4 <= end && bits(index) | bits(index + 1) | bits(index + 2) | bits(index + 3) == 0 {
        index += 4;
    }
    while index < end && bits(index) == PageTableEntry::EMPTY.bits() {
        index += 1;
    }
    index
}

/// Entries of a table of the last level that share a mark in its notes.
const GROUP: usize = ENTRIES_PER_TABLE / u8::BITS as usize;

/// The mark of the group that an entry belongs to.
#[inline(always)]
const fn group_of(index: usize) -> u8 {
    1 << (index / GROUP)
}

/// As [`first_used`], in a table of the last level: groups of entries that were never used are passed over.
///
/// # Safety
/// As for [`slot`].
#[inline(always)]
unsafe fn first_used_page(table: PhysAddr, from: usize, end: usize) -> usize {
    // SAFETY: the table is borrowed, so nobody changes its notes.
    let marks = unsafe { frame::marks(table) };
    let mut index = from;
    while index < end {
        let stop = end.min((index / GROUP + 1) * GROUP);
        if marks & group_of(index) != 0 {
            // SAFETY: passed on to the caller.
            let found = unsafe { first_used(table, index, stop) };
            if found < stop {
                return found;
            }
        }
        index = stop;
    }
    end
}

/// Writes an entry, after everything that was written before: a walk that sees it sees the frame's content too.
///
/// # Safety
/// As for [`slot`], borrowed mutably; and the entry must own what it refers to.
#[inline(always)]
unsafe fn store(table: PhysAddr, index: usize, entry: PageTableEntry) {
    // SAFETY: passed on to the caller.
    unsafe { slot(table, index) }.store(entry.bits(), Ordering::Release);
}

fn new_table() -> Result<PhysAddr, OutOfMemory> {
    Frame::allocate_zeroed(FrameKind::PageTable).map(Frame::into_address)
}

impl PageTable {
    /// Tables that map nothing but the kernel's half.
    pub fn new() -> Result<Self, OutOfMemory> {
        let root = new_table()?;
        if let Some(kernel_root) = paging::kernel_root() {
            for index in USER_ROOT_ENTRIES..ENTRIES_PER_TABLE {
                // SAFETY: the new root is nobody else's yet; the kernel's root is a table that is never freed, and
                // what its upper half refers to is never freed either.
                unsafe {
                    let entry = load(kernel_root, index);
                    if entry != PageTableEntry::EMPTY {
                        store(root, index, entry);
                    }
                }
            }
        }
        Ok(Self { root })
    }

    /// What to put in force on a hart.
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// The entry of the page that holds `address`; empty if there is none.
    pub fn query(&self, address: VirtAddr) -> PageTableEntry {
        match self.leaf_table(address) {
            // SAFETY: the table was just found in these tables.
            Ok(table) => unsafe { load(table, index_at_level(address, 0)) },
            Err(_) => PageTableEntry::EMPTY,
        }
    }

    /// A place in the tables, from where pages are read and changed.
    #[inline]
    pub fn cursor(&mut self, address: VirtAddr) -> Cursor<'_> {
        Cursor::new(self, address)
    }

    /// The table of the last level for an address; if there is none, the level whose entry is empty.
    #[inline]
    fn leaf_table(&self, address: VirtAddr) -> Result<PhysAddr, usize> {
        debug_assert!(address.is_user());
        let mut table = self.root;
        for level in (1..LEVELS).rev() {
            // SAFETY: the root and the tables that its entries refer to are in use by `self`.
            let entry = unsafe { load(table, index_at_level(address, level)) };
            if !entry.is_valid() {
                return Err(level);
            }
            table = entry.frame();
        }
        Ok(table)
    }

    /// As [`Self::leaf_table`], making what is missing. If memory runs out halfway a table may be left empty; it is
    /// found and freed like any other that became empty.
    fn make_leaf_table(&mut self, address: VirtAddr) -> Result<PhysAddr, OutOfMemory> {
        assert!(address.is_user(), "the kernel's half is not ours to change");
        let mut table = self.root;
        for level in (1..LEVELS).rev() {
            let index = index_at_level(address, level);
            // SAFETY: as in `leaf_table`.
            let entry = unsafe { load(table, index) };
            if entry.is_valid() {
                table = entry.frame();
                continue;
            }
            let new = new_table()?;
            // SAFETY: as above, borrowed mutably; the entry takes the ownership of the new table over.
            unsafe {
                store(table, index, PageTableEntry::table(new));
                frame::change_count(table, 1);
            }
            table = new;
        }
        Ok(table)
    }

    /// Maps one page. Returns what was mapped there before, which must be flushed before it is dropped.
    pub fn map(
        &mut self,
        address: VirtAddr,
        frame: SharedFrame,
        flags: PageFlags,
    ) -> Result<Option<SharedFrame>, OutOfMemory> {
        let mut cursor = self.cursor(address);
        cursor.prepare()?;
        Ok(cursor.replace(frame, flags))
    }

    /// Unmaps the pages of a range. `gather` gets every frame with its address, to flush and only then to drop it.
    pub fn unmap(&mut self, range: Range<VirtAddr>, mut gather: impl FnMut(VirtAddr, SharedFrame)) {
        let mut cursor = self.cursor(range.start);
        while cursor.find(range.end).is_some() {
            if let Some(frame) = cursor.take() {
                gather(cursor.address(), frame);
            }
            cursor.step();
        }
    }

    /// Changes the flags of the pages of a range to what `change` makes of address and entry. Returns whether any
    /// page lost something, so that the range must be flushed.
    pub fn protect(
        &mut self,
        range: Range<VirtAddr>,
        mut change: impl FnMut(VirtAddr, PageTableEntry) -> PageFlags,
    ) -> bool {
        let mut lost = false;
        let mut cursor = self.cursor(range.start);
        while let Some(entry) = cursor.find(range.end) {
            let flags = change(cursor.address(), entry);
            lost |= entry.is_valid() && !flags.contains(entry.flags() & PERMISSIONS);
            cursor.set_flags(flags);
            cursor.step();
        }
        lost
    }

    /// How many tables there are, the root included.
    pub fn count(&self) -> usize {
        let mut count = 1;
        for index in 0..USER_ROOT_ENTRIES {
            // SAFETY: the root is in use by `self`.
            let entry = unsafe { load(self.root, index) };
            if entry.is_valid() {
                // SAFETY: the counter of a table in use; at this level every entry is a table.
                count += 1 + unsafe { frame::change_count(entry.frame(), 0) } as usize;
            }
        }
        count
    }

    /// Takes as much out of the user half as `subtrees` has room for; whether that was all.
    pub fn take_subtrees(&mut self, subtrees: &mut [Option<Subtree>]) -> bool {
        let mut room = subtrees.iter_mut();
        // SAFETY: the root's counter is ours.
        let mut left = unsafe { frame::change_count(self.root, 0) };
        for index in 0..USER_ROOT_ENTRIES {
            if left == 0 {
                break;
            }
            // SAFETY: the root is in use by `self`.
            let entry = unsafe { load(self.root, index) };
            if entry == PageTableEntry::EMPTY {
                continue;
            }
            let Some(place) = room.next() else { return false };
            // SAFETY: as above, borrowed mutably; the ownership of the table goes from the entry to the result.
            unsafe {
                store(self.root, index, PageTableEntry::EMPTY);
                left = frame::change_count(self.root, -1);
            }
            *place = Some(Subtree(entry.frame()));
        }
        true
    }

    /// Takes out the tables in a range that have no entry left. `gather` gets them, to flush the whole address space
    /// (a flush by page does not reach what a hart remembers of tables) and only then to drop them.
    pub fn take_empty_tables(&mut self, range: Range<VirtAddr>, mut gather: impl FnMut(Frame)) {
        let _ = sweep(self.root, LEVELS - 1, range, &mut gather);
    }
}

/// Tables and pages that were taken out of a [`PageTable`] together. Every hart must forget the address space before
/// they are dropped.
pub struct Subtree(PhysAddr);

impl Drop for Subtree {
    fn drop(&mut self) {
        // SAFETY: the entry that led here was cleared, and by the type's rule no hart remembers it.
        unsafe { free_tables(self.0, LEVELS - 2, 0..ENTRIES_PER_TABLE) };
    }
}

/// What can be lost by a change of flags.
const PERMISSIONS: PageFlags = PageFlags::VALID
    .union(PageFlags::READ)
    .union(PageFlags::WRITE)
    .union(PageFlags::EXECUTE)
    .union(PageFlags::USER);

/// Takes empty tables out of `table` and below; returns how many entries `table` has left, if any was taken.
fn sweep(
    table: PhysAddr,
    level: usize,
    range: Range<VirtAddr>,
    gather: &mut impl FnMut(Frame),
) -> Option<u32> {
    let mut left = None;
    let mut at = range.start;
    while at < range.end {
        let size = page_size_at_level(level);
        let next = VirtAddr::new((at.as_usize() & !(size - 1)).saturating_add(size)).min(range.end);
        let index = index_at_level(at, level);
        // SAFETY: called with the root and with tables that it refers to, mutably borrowed.
        let entry = unsafe { load(table, index) };
        if entry.is_valid() {
            let child = entry.frame();
            if level > 1 {
                let _ = sweep(child, level - 1, at..next, gather);
            }
            // SAFETY: the child is a table in use, and its counter is ours.
            if unsafe { frame::change_count(child, 0) } == 0 {
                // SAFETY: the entry is replaced, so the ownership that it held is taken up once; the child has no
                // entries left that could own anything.
                unsafe {
                    store(table, index, PageTableEntry::EMPTY);
                    left = Some(frame::change_count(table, -1));
                    gather(Frame::from_address(child));
                }
            }
        }
        at = next;
    }
    left
}

impl Drop for PageTable {
    fn drop(&mut self) {
        // SAFETY: nobody else has these tables: whoever put them in force on a hart keeps the address space alive.
        unsafe { free_tables(self.root, LEVELS - 1, 0..USER_ROOT_ENTRIES) };
    }
}

/// Drops everything that the entries of a table own, then the table.
///
/// # Safety
/// The table must be unreachable for everybody else, machines included.
unsafe fn free_tables(table: PhysAddr, level: usize, indices: Range<usize>) {
    // SAFETY: the table is still whole; its counter is right.
    let mut left = unsafe { frame::change_count(table, 0) };
    let mut index = indices.start;
    while left > 0 {
        // SAFETY: passed on to the caller; each owned reference is taken up once because the table goes away.
        unsafe {
            index = match level {
                0 => first_used_page(table, index, indices.end),
                _ => first_used(table, index, indices.end),
            };
            if index == indices.end {
                break;
            }
            let entry = load(table, index);
            index += 1;
            left -= 1;
            if level == 0 {
                drop(SharedFrame::from_address(entry.frame()));
            } else {
                free_tables(entry.frame(), level - 1, 0..ENTRIES_PER_TABLE);
            }
        }
    }
    // SAFETY: the last one who knew the address was the caller.
    drop(unsafe { Frame::from_address(table) });
}

impl core::fmt::Debug for PageTable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PageTable({})", self.root)
    }
}
