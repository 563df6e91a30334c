//! What is asked about mappings, and advised: `madvise`, `mincore`, /proc's tables, futex keys.

use alloc::sync::Arc;
use core::ops::Range;

use kernel_hal::{Access, PAGE_SIZE, PageFault, VirtAddr};

use super::area::{Area, AreaFlags, Backing, OnFork, Origin, Protection};
use super::area_map::MOST_AREAS;
use super::fault::{FaultOutcome, FaultResult};
use super::gather::Gather;
use super::map::user_range;
use super::{AddressSpace, Inner, MapError};
use crate::paged_object::{PageLoad, PagedObject};

/// What there is to know about an area.
#[derive(Clone, Debug)]
pub struct AreaInfo {
    /// Where it is.
    pub range: Range<VirtAddr>,
    /// What the program may do with it.
    pub protection: Protection,
    /// What `protection` may become.
    pub maximum: Protection,
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
    /// What a forked child gets of it.
    pub on_fork: OnFork,
    /// What else there is to know.
    pub flags: AreaFlags,
}

impl AreaInfo {
    /// The object, and the numbers of its pages that a part of the area shows.
    pub fn object_pages(&self, part: &Range<VirtAddr>) -> Option<(&Arc<PagedObject>, Range<u64>)> {
        let Backing::Object { object, first_page } = &self.backing else { return None };
        let number = |address: VirtAddr| first_page + ((address - self.range.start) / PAGE_SIZE) as u64;
        Some((object, number(part.start)..number(part.end)))
    }

    /// Where its content begins in the object, in bytes; 0 without one.
    pub const fn offset(&self) -> u64 {
        match &self.backing {
            Backing::Anonymous => 0,
            Backing::Object { first_page, .. } => *first_page * PAGE_SIZE as u64,
        }
    }
}

/// How [`AddressSpace::try_populate`] uses the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Populate {
    /// As the program would first: it stores to its own writable memory, and loads from everything else.
    Usual,
    /// By loading.
    Read,
    /// By storing.
    Write,
}

/// Why pages could not all be made present.
#[derive(Debug)]
pub enum PopulateStop {
    /// Await this and go on.
    Load(PageLoad),
    /// A fault there would end so.
    Fault(FaultResult),
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
            maximum: area.maximum,
            shared: area.shared,
            grows_down: area.grows_down,
            is_break: start < heap.end && heap.start < area.end && matches!(area.backing, Backing::Anonymous),
            backing: area.backing.clone(),
            origin: area.origin.clone(),
            on_fork: area.on_fork,
            flags: area.flags,
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
    /// the object's as before. A hole is an error after the rest has been done, as on Linux; a locked area is one at
    /// once.
    pub fn discard(&self, start: VirtAddr, len: usize) -> Result<(), MapError> {
        self.discard_pages(start, len, false)
    }

    /// As [`Self::discard`], in locked areas too.
    pub fn discard_locked(&self, start: VirtAddr, len: usize) -> Result<(), MapError> {
        self.discard_pages(start, len, true)
    }

    fn discard_pages(&self, start: VirtAddr, len: usize, even_locked: bool) -> Result<(), MapError> {
        let mut range = user_range(start, len)?;
        let mut gather = Gather::new();
        let asked = range.end - range.start;
        let (covered, is_locked) = {
            let mut guard = self.inner.lock();
            let inner = &mut *guard;
            let (mut covered, mut locked) = (0, None);
            for (at, area) in inner.areas.overlapping(&range) {
                let at = at.max(range.start);
                if !even_locked && area.flags.contains(AreaFlags::LOCKED) {
                    locked = Some(at);
                    break;
                }
                covered += area.end.min(range.end) - at;
            }
            range.end = locked.unwrap_or(range.end);
            inner.unmap_pages(range.clone(), &mut gather, &self.translation);
            if gather.has_pages() {
                inner.free_empty_tables(range.clone(), &mut gather, &self.translation);
            }
            (covered, locked.is_some())
        };
        if gather.has_pages() {
            gather.finish(&self.translation);
        }
        match (is_locked, covered == asked) {
            (true, _) => Err(MapError::InvalidArgument),
            (false, true) => Ok(()),
            (false, false) => Err(MapError::OutOfMemory),
        }
    }

    /// Sets and clears flags of a range, as `madvise` does: over holes the rest is done, and the result is an error.
    pub fn change_flags(
        &self,
        start: VirtAddr,
        len: usize,
        set: AreaFlags,
        clear: AreaFlags,
    ) -> Result<(), MapError> {
        let range = user_range(start, len)?;
        self.inner.lock().change_pieces(&range, false, |area| area.flags = (area.flags - clear) | set)
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
        inner.change_pieces(&range, false, |area| area.on_fork = on_fork)
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
    /// bytes from the start are, and what stopped it.
    pub fn try_populate(&self, start: VirtAddr, len: usize, how: Populate) -> (usize, Option<PopulateStop>) {
        let mut done = 0;
        while done < len {
            let page = start + done;
            let Some(access) = self.access_to_populate(page, how) else {
                return (done, Some(PopulateStop::Fault(FaultResult::NotMapped)));
            };
            match self.fault(PageFault { address: page, access }) {
                FaultOutcome::Ready(FaultResult::Resolved) => done += PAGE_SIZE,
                FaultOutcome::Ready(result) => return (done, Some(PopulateStop::Fault(result))),
                FaultOutcome::NeedsLoad(load) => return (done, Some(PopulateStop::Load(load))),
            }
        }
        (done, None)
    }

    fn access_to_populate(&self, page: VirtAddr, how: Populate) -> Option<Access> {
        let inner = self.inner.lock();
        let (_, area) = inner.areas.find(page)?;
        Some(match how {
            Populate::Read => Access::Read,
            Populate::Write => Access::Write,
            Populate::Usual if !area.shared && area.protection.contains(Protection::WRITE) => Access::Write,
            Populate::Usual if area.protection.allows(Access::Read) || area.protection.is_empty() => {
                Access::Read
            }
            Populate::Usual => Access::Execute,
        })
    }

    /// What a program may do with a page.
    pub fn protection_at(&self, address: VirtAddr) -> Option<Protection> {
        self.inner.lock().areas.find(address).map(|(_, area)| area.protection)
    }
}

impl Inner {
    /// Changes what the areas of a range are like, cutting them at its ends. A hole is an error, at once or in the end.
    pub(super) fn change_pieces(
        &mut self,
        range: &Range<VirtAddr>,
        stops_at_hole: bool,
        change: impl Fn(&mut Area),
    ) -> Result<(), MapError> {
        if self.areas.len() + 2 > MOST_AREAS {
            return Err(MapError::OutOfMemory);
        }
        let mut at = range.start;
        let mut result = Ok(());
        while at < range.end {
            let found = self.areas.find(at).map(|(start, area)| (start, area.end));
            let Some((_, end)) = found else {
                result = Err(MapError::OutOfMemory);
                if stops_at_hole {
                    break;
                }
                match self.areas.first_from(at) {
                    Some((start, _)) => at = start,
                    None => break,
                }
                continue;
            };
            let piece = at..end.min(range.end);
            self.areas.isolate(&piece);
            self.areas.change(piece.start, &change);
            at = piece.end;
        }
        self.areas.merge_around(range);
        result
    }
}
