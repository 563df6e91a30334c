//! Bringing the pages of a range: `MAP_POPULATE`, `mlock`, `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE`.

use alloc::sync::Arc;
use core::ops::Range;

use kernel_hal::{PAGE_SIZE, VirtAddr};
use kernel_object::address_space::{AddressSpace, AreaFlags, FaultResult, Populate, PopulateStop};
use kernel_object::paged_object::PagerError;
use linux_abi::Errno;

use super::pressure;
use crate::thread::{Thread, Work};

/// Pages that are brought before others get a turn.
const PAGES_AT_A_TIME: usize = 64;

/// Why the pages of a range were not all brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpopulated {
    /// A fault there would end so.
    Fault(FaultResult),
    /// The page's file could not be read.
    NotLoaded,
    /// The thread is to end.
    Ending,
}

impl Unpopulated {
    /// What `mlock` says.
    pub fn as_lock_error(self) -> Errno {
        match self {
            Self::Fault(FaultResult::OutOfMemory) => Errno::EAGAIN,
            Self::Fault(_) | Self::NotLoaded => Errno::ENOMEM,
            Self::Ending => Errno::EINTR,
        }
    }

    /// What `madvise` says.
    pub fn as_advice_error(self) -> Errno {
        match self {
            Self::Fault(FaultResult::NotMapped | FaultResult::OutOfMemory) => Errno::ENOMEM,
            Self::Fault(FaultResult::NotPermitted) => Errno::EINVAL,
            Self::Fault(_) | Self::NotLoaded => Errno::EFAULT,
            Self::Ending => Errno::EINTR,
        }
    }
}

/// Brings the pages of a range that need no waiting, as long as they are few; returns what is left of the range.
pub fn try_populate(
    space: &AddressSpace,
    start: VirtAddr,
    len: usize,
    how: Populate,
) -> Option<Range<VirtAddr>> {
    if len > PAGES_AT_A_TIME * PAGE_SIZE {
        return Some(start..start + len);
    }
    let (done, stop) = space.try_populate(start, len, how);
    stop.map(|_| start + done..start + len)
}

/// Brings the pages of a range. A large one takes a while: others get their turns in between.
pub async fn populate(
    thread: &Thread,
    space: &Arc<AddressSpace>,
    range: Range<VirtAddr>,
    how: Populate,
) -> Result<(), Unpopulated> {
    let mut at = range.start;
    while at < range.end {
        if thread.work().contains(Work::EXIT) {
            return Err(Unpopulated::Ending);
        }
        let len = (range.end - at).min(PAGES_AT_A_TIME * PAGE_SIZE);
        let (done, stop) = space.try_populate(at, len, how);
        at = at + done;
        match stop {
            None => executor::yield_now().await,
            Some(PopulateStop::Load(load)) => match load.await {
                Ok(()) => {}
                Err(PagerError::OutOfMemory) => make_room(thread).await?,
                Err(_) => return Err(Unpopulated::NotLoaded),
            },
            Some(PopulateStop::Fault(FaultResult::OutOfMemory)) => make_room(thread).await?,
            Some(PopulateStop::Fault(result)) => return Err(Unpopulated::Fault(result)),
        }
    }
    Ok(())
}

async fn make_room(thread: &Thread) -> Result<(), Unpopulated> {
    pressure::make_room_for(thread).await.map_err(|_| match thread.work().contains(Work::EXIT) {
        true => Unpopulated::Ending,
        false => Unpopulated::Fault(FaultResult::OutOfMemory),
    })
}

/// Brings the pages of every area that is locked, as far as they can be brought: what `mlockall` ends with.
pub async fn populate_locked(thread: &Thread, space: &Arc<AddressSpace>) {
    let mut at = VirtAddr::new(0);
    while let Some(area) = space.area_from(at) {
        at = area.range.end;
        if area.flags & (AreaFlags::LOCKED | AreaFlags::ON_FAULT) == AreaFlags::LOCKED {
            // An area that cannot be brought is passed over, as on Linux.
            let _ = populate(thread, space, area.range, Populate::Usual).await;
        }
    }
}
