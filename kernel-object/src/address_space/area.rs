//! An area: neighbouring pages of an address space that have everything in common.

use alloc::sync::Arc;
use core::any::Any;
use core::ops::Range;

use bitflags::bitflags;
use kernel_hal::{Access, PAGE_SIZE, PageFlags, VirtAddr};

use crate::paged_object::PagedObject;

bitflags! {
    /// What a program may do with its pages.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Protection: u8 {
        /// Loads.
        const READ = 1;
        /// Stores. The machine cannot express store-only pages: these can be loaded from too, as on Linux.
        const WRITE = 2;
        /// Instruction fetches.
        const EXECUTE = 4;
    }
}

impl Protection {
    /// Whether an access is allowed.
    pub const fn allows(self, access: Access) -> bool {
        match access {
            Access::Read => self.intersects(Self::READ.union(Self::WRITE)),
            Access::Write => self.contains(Self::WRITE),
            Access::Execute => self.contains(Self::EXECUTE),
        }
    }

    /// The flags of a page under this protection; none if the page is to be parked. `writable` says whether a store
    /// may go ahead without a fault.
    pub(super) fn page_flags(self, writable: bool) -> PageFlags {
        if self.is_empty() {
            return PageFlags::empty();
        }
        let mut flags = PageFlags::VALID | PageFlags::USER | PageFlags::ACCESSED;
        flags.set(PageFlags::READ, self.allows(Access::Read));
        flags.set(PageFlags::EXECUTE, self.contains(Self::EXECUTE));
        // The machine need not note stores: who may store without a fault has been noted.
        flags.set(PageFlags::WRITE | PageFlags::DIRTY, writable && self.contains(Self::WRITE));
        flags
    }
}

/// What a forked child gets of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnFork {
    /// The same pages: shared, or copied on write.
    #[default]
    Inherit,
    /// Nothing.
    Omit,
    /// The area, with pages of zeros.
    Wipe,
}

bitflags! {
    /// What else is to be known of an area.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct AreaFlags: u8 {
        /// Its pages stay in memory (`mlock`).
        const LOCKED = 1;
        /// With `LOCKED`: pages are not brought before they are used.
        const ON_FAULT = 2;
        /// It is left out of core dumps.
        const NO_DUMP = 4;
        /// It does not count as a promise of memory (`MAP_NORESERVE`).
        const NO_RESERVE = 8;
        /// Its content may be dropped under pressure (`MAP_DROPPABLE`).
        const DROPPABLE = 16;
    }
}

/// Where the content of an area comes from.
#[derive(Clone, Debug)]
pub enum Backing {
    /// Zeros, private to the address space.
    Anonymous,
    /// An object's pages.
    Object {
        /// The object.
        object: Arc<PagedObject>,
        /// The object's page that is the area's first.
        first_page: u64,
    },
}

/// What an upper layer wants to remember with an area, such as the open file that it maps; kept alive by it.
pub type Origin = Arc<dyn Any + Send + Sync>;

#[derive(Clone)]
pub(super) struct Area {
    pub(super) end: VirtAddr,
    pub(super) protection: Protection,
    /// What `protection` may become.
    pub(super) maximum: Protection,
    pub(super) shared: bool,
    pub(super) grows_down: bool,
    pub(super) on_fork: OnFork,
    pub(super) flags: AreaFlags,
    pub(super) backing: Backing,
    pub(super) origin: Option<Origin>,
}

impl Area {
    /// Bytes from `start` to the end.
    pub(super) fn len_from(&self, start: VirtAddr) -> usize {
        self.end - start
    }

    /// The object and the number of its page at `page`, of an area that starts at `start`.
    pub(super) fn object_page(&self, start: VirtAddr, page: VirtAddr) -> Option<(&Arc<PagedObject>, u64)> {
        match &self.backing {
            Backing::Anonymous => None,
            Backing::Object { object, first_page } => {
                Some((object, first_page + ((page - start) / PAGE_SIZE) as u64))
            }
        }
    }

    /// Where pages of the object are in this area, as addresses.
    pub(super) fn addresses_of(&self, start: VirtAddr, pages: &Range<u64>) -> Range<VirtAddr> {
        let Backing::Object { first_page, .. } = &self.backing else { return start..start };
        let count = (self.len_from(start) / PAGE_SIZE) as u64;
        let from = pages.start.saturating_sub(*first_page).min(count);
        let to = pages.end.saturating_sub(*first_page).min(count);
        start + from as usize * PAGE_SIZE..start + to.max(from) as usize * PAGE_SIZE
    }

    pub(super) fn maps(&self, wanted: &PagedObject) -> bool {
        matches!(&self.backing, Backing::Object { object, .. } if core::ptr::eq(&**object, wanted))
    }

    /// Cuts the area in two at `at`; returns the upper part.
    pub(super) fn split(&mut self, start: VirtAddr, at: VirtAddr) -> Self {
        debug_assert!(start < at && at < self.end);
        let mut upper = self.clone();
        if let Backing::Object { first_page, .. } = &mut upper.backing {
            *first_page += ((at - start) / PAGE_SIZE) as u64;
        }
        self.end = at;
        upper
    }

    /// Whether `next`, which starts where this one ends, is the same in everything.
    pub(super) fn continues_with(&self, start: VirtAddr, next: &Self) -> bool {
        let same_backing = match (&self.backing, &next.backing) {
            (Backing::Anonymous, Backing::Anonymous) => true,
            (
                Backing::Object { object, first_page },
                Backing::Object { object: next_object, first_page: next_page },
            ) => {
                Arc::ptr_eq(object, next_object)
                    && first_page + (self.len_from(start) / PAGE_SIZE) as u64 == *next_page
            }
            _ => false,
        };
        let same_origin = match (&self.origin, &next.origin) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        same_backing
            && same_origin
            && self.protection == next.protection
            && self.maximum == next.maximum
            && self.shared == next.shared
            && self.on_fork == next.on_fork
            && self.flags == next.flags
            && self.grows_down == next.grows_down
    }

    /// Whether the area counts against the limit on data.
    pub(super) fn is_data(&self) -> bool {
        !self.shared && !self.grows_down && self.protection.contains(Protection::WRITE)
    }
}
