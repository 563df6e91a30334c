//! What is asked about mappings, and advised: `madvise`, `mincore`, /proc's tables, futex keys.

use alloc::sync::Arc;
use core::ops::Range;

use kernel_hal::{Access, PAGE_SIZE, PageFault, VirtAddr};

use super::area::{Backing, OnFork, Origin, Protection};
use super::fault::{FaultOutcome, FaultResult};
use super::gather::Gather;
use super::map::user_range;
use super::{AddressSpace, MapError};
use crate::paged_object::{PageLoad, PagedObject};

/// What there is to know about an area.
#[derive(Clone, Debug)]
pub struct AreaInfo {
    /// Where it is.
    pub range: Range<VirtAddr>,
    /// What the program may do with it.
    pub protection: Protection,
    /// Whether stores reach the object.
    pub shared: bool,
    /// Whether it is a stack.
    pub grows_down: bool,
    /// Whether it belongs to the heap of `brk`.
    pub is_break: bool,
    /// The content.
    pub backing: Backing,
    /// What was to be remembered with it.
    pub origin: Option<Origin>,
}

/// What a word of memory is, whoever looks: two addresses with one key are one word.
#[derive(Clone, Debug)]
pub enum MemoryKey {
    /// A word of one address space.
    Private {
        /// The address space's number.
        space: u64,
        /// The word's address.
        address: VirtAddr,
    },
    /// A word of an object that others may map elsewhere.
    Shared {
        /// The object.
        object: Arc<PagedObject>,
        /// The word's offset in it.
        offset: u64,
    },
}

impl AddressSpace {
    /// The first area that ends above an address: for walks over all areas, one at a time.
    pub fn area_from(&self, address: VirtAddr) -> Option<AreaInfo> {
        let inner = self.inner.lock();
        let (start, area) = inner.areas.find(address).or_else(|| inner.areas.first_from(address))?;
        let heap = inner.break_start..inner.break_end;
        Some(AreaInfo {
            range: start..area.end,
            protection: area.protection,
            shared: area.shared,
            grows_down: area.grows_down,
            is_break: start < heap.end && heap.start < area.end && matches!(area.backing, Backing::Anonymous),
            backing: area.backing.clone(),
            origin: area.origin.clone(),
        })
    }

    /// What a word is to everybody.
    pub fn memory_key(&self, address: VirtAddr) -> Option<MemoryKey> {
        let inner = self.inner.lock();
        let (start, area) = inner.areas.find(address)?;
        Some(match area.object_page(start, address.page_floor()) {
            Some((object, page)) if area.shared => MemoryKey::Shared {
                object: object.clone(),
                offset: page * PAGE_SIZE as u64 + address.page_offset() as u64,
            },
            _ => MemoryKey::Private { space: self.number, address },
        })
    }

    /// Forgets the pages of a range (`MADV_DONTNEED`): private ones are zeros again, or the object's; shared ones are
    /// the object's as before. A hole is an error after the rest has been done, as on Linux.
    pub fn discard(&self, start: VirtAddr, len: usize) -> Result<(), MapError> {
        let range = user_range(start, len)?;
        let mut gather = Gather::new();
        let covered = {
            let mut guard = self.inner.lock();
            let inner = &mut *guard;
            let covered: usize = inner
                .areas
                .overlapping(&range)
                .map(|(at, area)| area.end.min(range.end) - at.max(range.start))
                .sum();
            inner.unmap_pages(range.clone(), &mut gather, &self.translation);
            inner.free_empty_tables(range.clone(), &mut gather, &self.translation);
            covered
        };
        gather.finish(&self.translation);
        if covered == range.end - range.start { Ok(()) } else { Err(MapError::OutOfMemory) }
    }

    /// Says what a forked child gets of a range (`MADV_DONTFORK`, `MADV_WIPEONFORK` and their opposites). Only private
    /// anonymous areas can be wiped.
    pub fn set_on_fork(&self, start: VirtAddr, len: usize, on_fork: OnFork) -> Result<(), MapError> {
        let range = user_range(start, len)?;
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let wipeable = |area: &super::area::Area| !area.shared && matches!(area.backing, Backing::Anonymous);
        if on_fork == OnFork::Wipe && !inner.areas.overlapping(&range).all(|(_, area)| wipeable(area)) {
            return Err(MapError::InvalidArgument);
        }
        let mut at = range.start;
        while at < range.end {
            let Some((_, area)) = inner.areas.find(at) else { return Err(MapError::OutOfMemory) };
            let piece = at..area.end.min(range.end);
            inner.areas.isolate(&piece);
            inner.areas.change(piece.start, |area| area.on_fork = on_fork);
            at = piece.end;
        }
        inner.areas.merge_around(&range);
        Ok(())
    }

    /// Tells for each page of a range whether an access would find it in memory (`mincore`).
    pub fn residency(&self, start: VirtAddr, present: &mut [bool]) -> Result<(), MapError> {
        let range = user_range(start, present.len().saturating_mul(PAGE_SIZE))?;
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let mut at = range.start;
        for present in present {
            let Some((area_start, area)) = inner.areas.find(at) else { return Err(MapError::OutOfMemory) };
            let mapped = inner.tables.query(at).bits() != 0;
            *present = mapped
                || area.object_page(area_start, at).is_some_and(|(object, index)| object.has_page(index));
            at = at + PAGE_SIZE;
        }
        Ok(())
    }

    /// Makes the pages of a range present as far as that needs no waiting (`MAP_POPULATE`, `mlock`). Returns how many
    /// bytes from the start are, and what to await before going on; without that, the rest cannot be made present.
    pub fn try_populate(&self, start: VirtAddr, len: usize) -> (usize, Option<PageLoad>) {
        let mut done = 0;
        while done < len {
            let page = start + done;
            let Some(protection) = self.protection_at(page) else { break };
            let access = if protection.contains(Protection::WRITE) { Access::Write } else { Access::Read };
            match self.fault(PageFault { address: page, access }) {
                FaultOutcome::Ready(FaultResult::Resolved) => done += PAGE_SIZE,
                FaultOutcome::Ready(_) => break,
                FaultOutcome::NeedsLoad(load) => return (done, Some(load)),
            }
        }
        (done, None)
    }

    /// What a program may do with a page.
    pub fn protection_at(&self, address: VirtAddr) -> Option<Protection> {
        self.inner.lock().areas.find(address).map(|(_, area)| area.protection)
    }
}
