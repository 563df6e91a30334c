//! `madvise`, but for bringing pages.

use alloc::sync::Arc;
use core::ops::Range;

use executor::TaskOptions;
use kernel_hal::{PAGE_SIZE, VirtAddr};
use kernel_object::address_space::{
    AddressSpace, AreaFlags, AreaInfo, Backing, MapError, OnFork, Populate, Protection,
};
use kernel_object::paged_object::{PagedObject, Seals};
use linux_abi::Errno;
use linux_abi::memory::{
    MADV_COLD, MADV_DODUMP, MADV_DOFORK, MADV_DONTDUMP, MADV_DONTFORK, MADV_DONTNEED, MADV_DONTNEED_LOCKED,
    MADV_FREE, MADV_KEEPONFORK, MADV_NORMAL, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
    MADV_RANDOM, MADV_REMOVE, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_WIPEONFORK,
};

use super::map_errno;

/// The most pages that one advice brings.
const MOST_PAGES_AHEAD: u64 = 512;

/// What an advice asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// How the program is going to use the memory. Reading ahead finds that out by itself.
    Pattern,
    /// Bring it soon.
    WillNeed,
    /// Forget the pages, of locked areas too or not.
    DontNeed {
        /// Of locked areas too.
        locked: bool,
    },
    /// The content is no longer needed.
    Free,
    /// Make a hole in what is mapped.
    Remove,
    /// What a forked child gets.
    OnFork(OnFork),
    /// Whether it belongs in a core dump.
    Dump(bool),
    /// It is not going to be used soon.
    Cold,
    /// Give its pages up if they can be brought again.
    PageOut,
    /// Bring the pages now.
    Populate(Populate),
}

impl Advice {
    /// Reads an advice. What needs merging of pages, huge pages or broken memory does not exist here: `EINVAL`, as on a
    /// Linux that was built without them.
    pub fn decode(advice: i32) -> Result<Self, Errno> {
        Ok(match advice {
            MADV_NORMAL | MADV_RANDOM | MADV_SEQUENTIAL => Self::Pattern,
            MADV_WILLNEED => Self::WillNeed,
            MADV_DONTNEED => Self::DontNeed { locked: false },
            MADV_DONTNEED_LOCKED => Self::DontNeed { locked: true },
            MADV_FREE => Self::Free,
            MADV_REMOVE => Self::Remove,
            MADV_DONTFORK => Self::OnFork(OnFork::Omit),
            MADV_DOFORK => Self::OnFork(OnFork::Inherit),
            MADV_WIPEONFORK => Self::OnFork(OnFork::Wipe),
            MADV_KEEPONFORK => Self::OnFork(OnFork::Inherit),
            MADV_DONTDUMP => Self::Dump(false),
            MADV_DODUMP => Self::Dump(true),
            MADV_COLD => Self::Cold,
            MADV_PAGEOUT => Self::PageOut,
            MADV_POPULATE_READ => Self::Populate(Populate::Read),
            MADV_POPULATE_WRITE => Self::Populate(Populate::Write),
            _ => return Err(Errno::EINVAL),
        })
    }
}

/// Checks the range; `None` if it is empty.
pub fn range(start: VirtAddr, len: usize) -> Result<Option<Range<VirtAddr>>, Errno> {
    let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::EINVAL)?;
    if !start.is_page_aligned() {
        return Err(Errno::EINVAL);
    }
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    Ok((len > 0).then_some(start..end))
}

/// Follows an advice, all but [`Advice::Populate`].
pub fn follow(space: &AddressSpace, range: Range<VirtAddr>, advice: Advice) -> Result<(), Errno> {
    let (start, len) = (range.start, range.end - range.start);
    let locked = |area: &AreaInfo| area.flags.contains(AreaFlags::LOCKED);
    match advice {
        Advice::Pattern => each_part(space, range, |_, _| Ok(())),
        Advice::DontNeed { locked } => {
            let discarded = if locked { space.discard_locked(start, len) } else { space.discard(start, len) };
            discarded.map_err(out_of_range)
        }
        Advice::Free => each_part(space, range, |area, part| match area.backing {
            Backing::Anonymous => {
                space.discard_locked(part.start, part.end - part.start).map_err(out_of_range)
            }
            Backing::Object { .. } => Err(Errno::EINVAL),
        }),
        Advice::OnFork(on_fork) => space.set_on_fork(start, len, on_fork).map_err(out_of_range),
        Advice::Dump(wanted) => {
            let flag = AreaFlags::NO_DUMP;
            let (set, clear) = if wanted { (AreaFlags::empty(), flag) } else { (flag, AreaFlags::empty()) };
            space.change_flags(start, len, set, clear).map_err(out_of_range)
        }
        Advice::Cold => each_part(space, range, |area, _| match locked(area) {
            true => Err(Errno::EINVAL),
            false => Ok(()),
        }),
        Advice::PageOut => each_part(space, range, |area, part| {
            if locked(area) {
                return Err(Errno::EINVAL);
            }
            if let Some((object, pages)) = area.object_pages(part) {
                object.evict_range(pages);
            }
            Ok(())
        }),
        Advice::WillNeed => each_part(space, range, |area, part| {
            if let Some((object, pages)) = area.object_pages(part)
                && object.has_pager()
            {
                read_ahead(object, pages);
            }
            Ok(())
        }),
        Advice::Remove => each_part(space, range, |area, part| {
            if locked(area) {
                return Err(Errno::EINVAL);
            }
            let (object, pages) = area.object_pages(part).ok_or(Errno::EINVAL)?;
            if !area.shared || !area.maximum.contains(Protection::WRITE) {
                return Err(Errno::EACCES);
            }
            if object.has_pager() {
                return Err(Errno::EOPNOTSUPP);
            }
            if object.seals().intersects(Seals::WRITE | Seals::FUTURE_WRITE) {
                return Err(Errno::EPERM);
            }
            object.punch_hole(pages);
            Ok(())
        }),
        Advice::Populate(_) => Err(Errno::EINVAL),
    }
}

fn out_of_range(error: MapError) -> Errno {
    match error {
        MapError::OutOfMemory => Errno::ENOMEM,
        other => map_errno(other),
    }
}

/// Runs `act` on every area's part of a range. Holes are passed over, and make the result an error in the end.
fn each_part(
    space: &AddressSpace,
    range: Range<VirtAddr>,
    mut act: impl FnMut(&AreaInfo, &Range<VirtAddr>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut at = range.start;
    let mut result = Ok(());
    while at < range.end {
        let Some(area) = space.area_from(at).filter(|area| area.range.start < range.end) else {
            return Err(Errno::ENOMEM);
        };
        if area.range.start > at {
            result = Err(Errno::ENOMEM);
            at = area.range.start;
        }
        let part = at..area.range.end.min(range.end);
        act(&area, &part)?;
        at = part.end;
    }
    result
}

/// Brings pages of a file while the program goes on.
fn read_ahead(object: &Arc<PagedObject>, pages: Range<u64>) {
    let object = object.clone();
    let pages = pages.start..pages.end.min(pages.start + MOST_PAGES_AHEAD);
    executor::spawn(TaskOptions::new("read ahead"), async move {
        for index in pages {
            // An error is met again by whoever needs the page.
            if !object.has_page(index) && object.load(index).await.is_err() {
                break;
            }
        }
    })
    .detach();
}
