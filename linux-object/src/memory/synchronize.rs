//! `msync`.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use kernel_hal::{PAGE_SIZE, VirtAddr};
use kernel_object::address_space::{AddressSpace, AreaFlags};
use kernel_object::paged_object::PagedObject;
use linux_abi::Errno;
use linux_abi::memory::SyncFlags;

use crate::file::errno_of;

/// What is to be stored before `msync` returns.
pub struct Storing {
    ranges: Vec<(Arc<PagedObject>, Range<u64>)>,
    has_hole: bool,
}

impl Storing {
    /// Whether nothing is left to be done.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// What the call returns when everything is stored.
    pub fn conclude(&self) -> Result<(), Errno> {
        if self.has_hole { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Stores it.
    pub async fn store(self) -> Result<(), Errno> {
        for (object, pages) in &self.ranges {
            object.write_back(pages.clone()).await.map_err(errno_of)?;
        }
        self.conclude()
    }
}

/// Finds out what `msync` has to store.
pub fn begin(space: &AddressSpace, start: VirtAddr, len: usize, flags: u32) -> Result<Storing, Errno> {
    let flags = SyncFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if !start.is_page_aligned() || flags.contains(SyncFlags::ASYNC | SyncFlags::SYNC) {
        return Err(Errno::EINVAL);
    }
    let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::ENOMEM)?;
    let end = start.checked_add(len).ok_or(Errno::ENOMEM)?;
    let mut storing = Storing { ranges: Vec::new(), has_hole: false };
    let mut at = start;
    while at < end {
        let Some(area) = space.area_from(at).filter(|area| area.range.start < end) else {
            storing.has_hole = true;
            break;
        };
        if area.range.start > at {
            storing.has_hole = true;
            at = area.range.start;
        }
        let part = at..area.range.end.min(end);
        if flags.contains(SyncFlags::INVALIDATE) && area.flags.contains(AreaFlags::LOCKED) {
            return Err(Errno::EBUSY);
        }
        if flags.contains(SyncFlags::SYNC)
            && area.shared
            && let Some((object, pages)) = area.object_pages(&part)
            && object.has_pager()
        {
            storing.ranges.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            storing.ranges.push((object.clone(), pages));
        }
        at = part.end;
    }
    Ok(storing)
}
