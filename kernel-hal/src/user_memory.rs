//! Copying between the kernel and the active user address space.
//!
//! A user pointer is an allegation: these calls check that it lies in user space, attempt the access, and report a
//! fault as a value together with how far they came. They never wait and never touch page tables; the caller lets the
//! fault be resolved and goes on from `done`. They may be called with locks held only if no fault path takes those
//! locks.

use crate::{Access, PageFault, USER_END, VirtAddr, backend};

/// A copy that stopped early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFault {
    /// Bytes copied before the fault.
    pub done: usize,
    /// The access that faulted. An address outside user space can never be resolved.
    pub fault: PageFault,
}

/// Refuses a range that is not in user space as a whole. What is reported lies outside, also if the begin does not:
/// whoever resolves faults would find nothing wrong with an address inside, and the copy be tried for ever.
fn check(address: VirtAddr, len: usize, access: Access) -> Result<(), CopyFault> {
    if address.is_user_range(len) {
        return Ok(());
    }
    let address = if address.is_user() { VirtAddr::new(USER_END) } else { address };
    Err(CopyFault { done: 0, fault: PageFault { address, access } })
}

/// Copies from user memory into `destination`.
#[inline]
pub fn copy_in(destination: &mut [u8], source: VirtAddr) -> Result<(), CopyFault> {
    check(source, destination.len(), Access::Read)?;
    backend::user_memory::copy_in(destination, source)
}

/// Copies `source` to user memory.
#[inline]
pub fn copy_out(destination: VirtAddr, source: &[u8]) -> Result<(), CopyFault> {
    check(destination, source.len(), Access::Write)?;
    backend::user_memory::copy_out(destination, source)
}

/// Fills user memory with zeros.
#[inline]
pub fn zero(destination: VirtAddr, len: usize) -> Result<(), CopyFault> {
    check(destination, len, Access::Write)?;
    backend::user_memory::zero(destination, len)
}

/// Loads a naturally aligned 32-bit word atomically.
#[inline]
pub fn load_u32(address: VirtAddr) -> Result<u32, PageFault> {
    check(address, 4, Access::Read).map_err(|stopped| stopped.fault)?;
    backend::user_memory::load_u32(address)
}

/// Stores `new` in a naturally aligned 32-bit word if it holds `expected`; returns what it held.
#[inline]
pub fn compare_exchange_u32(address: VirtAddr, expected: u32, new: u32) -> Result<u32, PageFault> {
    check(address, 4, Access::Write).map_err(|stopped| stopped.fault)?;
    backend::user_memory::compare_exchange_u32(address, expected, new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::reserve_pages;
    use crate::{PAGE_SIZE, PageFlags, PageTableEntry, PhysAddr, memory, paging};

    fn set_entry(table: PhysAddr, index: usize, entry: PageTableEntry) {
        let slot = memory::phys_to_virt(table).cast::<u64>().wrapping_add(index);
        // SAFETY: the table is a page that this test reserved.
        unsafe { slot.write(entry.bits()) };
    }

    /// Maps user pages 0 (read-write) and 1 (read-only).
    fn map_two_pages() {
        let first = reserve_pages(5);
        let page = |number: usize| first + number * PAGE_SIZE;
        set_entry(page(0), 0, PageTableEntry::table(page(1)));
        set_entry(page(1), 0, PageTableEntry::table(page(2)));
        let flags = PageFlags::READ | PageFlags::USER;
        set_entry(page(2), 0, PageTableEntry::page(page(3), flags | PageFlags::WRITE));
        set_entry(page(2), 1, PageTableEntry::page(page(4), flags));
        paging::activate(page(0), 1);
    }

    #[test]
    fn copies_cross_pages_and_report_how_far_they_came() {
        map_two_pages();
        assert_eq!(copy_out(VirtAddr::new(10), b"hello"), Ok(()));
        let mut back = [0; 5];
        assert_eq!(copy_in(&mut back, VirtAddr::new(10)), Ok(()));
        assert_eq!(&back, b"hello");

        let stopped = copy_out(VirtAddr::new(PAGE_SIZE - 3), b"hello").unwrap_err();
        assert_eq!(stopped.done, 3);
        let expected = PageFault { address: VirtAddr::new(PAGE_SIZE), access: Access::Write };
        assert_eq!(stopped.fault, expected);
    }

    #[test]
    fn kernel_addresses_are_refused_without_being_touched() {
        map_two_pages();
        let kernel = VirtAddr::new(crate::LINEAR_MAP);
        assert_eq!(copy_in(&mut [0; 8], kernel).unwrap_err().done, 0);
        let across = zero(VirtAddr::new(USER_END - 4), 8).unwrap_err();
        assert!(
            !across.fault.address.is_user(),
            "a fault that could be resolved would be met again and again"
        );
    }

    #[test]
    fn compare_exchange_reports_what_it_found() {
        map_two_pages();
        let word = VirtAddr::new(64);
        assert_eq!(compare_exchange_u32(word, 0, 7), Ok(0));
        assert_eq!(compare_exchange_u32(word, 0, 9), Ok(7));
        assert_eq!(load_u32(word), Ok(7));
    }
}
