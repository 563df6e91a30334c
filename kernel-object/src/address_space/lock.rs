//! `mlock` and its like: areas whose pages stay in memory.
//!
//! Only pages of files ever leave memory by themselves (see [`crate::paged_object`]): an area that is locked keeps
//! those. Bringing the pages is the caller's business ([`AddressSpace::try_populate`]), because that may wait.

use core::ops::Range;

use kernel_hal::{PAGE_SIZE, VirtAddr};

use super::area::AreaFlags;
use super::area_map::LOCK_FLAGS;
use super::map::user_range;
use super::{AddressSpace, Inner, MapError};

/// What `mlockall` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockAll {
    /// Lock what is mapped.
    pub current: bool,
    /// Lock what will be mapped.
    pub future: bool,
    /// Bring no page before it is used.
    pub on_fault: bool,
}

fn lock_flags(on_fault: bool) -> AreaFlags {
    if on_fault { LOCK_FLAGS } else { AreaFlags::LOCKED }
}

impl AddressSpace {
    /// Locks a range. Over a hole, what comes before it is locked and the result is [`MapError::OutOfMemory`], which is
    /// also the answer to more than the limit allows.
    pub fn lock(&self, start: VirtAddr, len: usize, on_fault: bool) -> Result<(), MapError> {
        let range = user_range(start, len)?;
        let mut inner = self.inner.lock();
        let others = inner.locked_pages() - inner.locked_pages_in(&range);
        if others + (range.end - range.start) / PAGE_SIZE > inner.limits.locked / PAGE_SIZE {
            return Err(MapError::OutOfMemory);
        }
        inner.set_lock(range, lock_flags(on_fault))
    }

    /// Unlocks a range; a hole is treated as by [`Self::lock`].
    pub fn unlock(&self, start: VirtAddr, len: usize) -> Result<(), MapError> {
        let range = user_range(start, len)?;
        self.inner.lock().set_lock(range, AreaFlags::empty())
    }

    /// Locks everything, now or from now on.
    pub fn lock_all(&self, what: LockAll) -> Result<(), MapError> {
        let mut inner = self.inner.lock();
        if what.current && inner.areas.pages() > inner.limits.locked / PAGE_SIZE {
            return Err(MapError::OutOfMemory);
        }
        let flags = lock_flags(what.on_fault);
        inner.lock_new = if what.future { flags } else { AreaFlags::empty() };
        if what.current {
            inner.set_all_locks(flags);
        }
        Ok(())
    }

    /// Whether what will be mapped is locked.
    pub fn locks_new_mappings(&self) -> bool {
        !self.inner.lock().lock_new.is_empty()
    }

    /// Unlocks everything, what will be mapped too.
    pub fn unlock_all(&self) {
        let mut inner = self.inner.lock();
        inner.lock_new = AreaFlags::empty();
        inner.set_all_locks(AreaFlags::empty());
    }
}

impl Inner {
    /// Pages in areas that are locked.
    pub(super) fn locked_pages(&self) -> usize {
        self.locked_pages_in(&(VirtAddr::new(0)..VirtAddr::new(kernel_hal::USER_END)))
    }

    fn locked_pages_in(&self, range: &Range<VirtAddr>) -> usize {
        let locked = self.areas.overlapping(range).filter(|(_, area)| area.flags.contains(AreaFlags::LOCKED));
        locked.map(|(start, area)| (area.end.min(range.end) - start.max(range.start)) / PAGE_SIZE).sum()
    }

    /// Whether so many pages more may be mapped with these flags.
    pub(super) fn check_lock_limit(&self, flags: AreaFlags, pages: usize) -> Result<(), MapError> {
        let is_too_much = flags.contains(AreaFlags::LOCKED)
            && self.limits.locked != usize::MAX
            && self.locked_pages() + pages > self.limits.locked / PAGE_SIZE;
        if is_too_much { Err(MapError::TooMuchLocked) } else { Ok(()) }
    }

    fn set_lock(&mut self, range: Range<VirtAddr>, flags: AreaFlags) -> Result<(), MapError> {
        self.change_pieces(&range, true, |area| {
            if !area.flags.contains(AreaFlags::DROPPABLE) {
                area.flags = (area.flags - LOCK_FLAGS) | flags;
            }
        })
    }

    fn set_all_locks(&mut self, flags: AreaFlags) {
        let everything = VirtAddr::new(0)..VirtAddr::new(kernel_hal::USER_END);
        // Without holes in what is looked at this cannot fail; holes between areas are passed over.
        let _ = self.change_pieces(&everything, false, |area| {
            if !area.flags.contains(AreaFlags::DROPPABLE) {
                area.flags = (area.flags - LOCK_FLAGS) | flags;
            }
        });
    }
}
