//! `mremap` and `brk`: mappings that change their size or their place.

use core::ops::Range;

use kernel_hal::{PAGE_SIZE, VirtAddr};

use super::area::{Area, Backing, OnFork, Protection};
use super::area_map::{LOCK_FLAGS, MOST_AREAS, STACK_GUARD};
use super::gather::Gather;
use super::map::{Placement, user_range};
use super::translation::Translation;
use super::{AddressSpace, Inner, MapError, round_up};
use crate::frame::check_headroom;

/// Where a mapping may go when its size changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemapPlacement {
    /// It stays where it is, or the call fails.
    Stay,
    /// It may go wherever there is room.
    MayMove,
    /// It goes here, in place of what is there.
    Fixed(VirtAddr),
    /// Its pages go wherever there is room, and an empty mapping stays behind (`MREMAP_DONTUNMAP`).
    MayLeave,
    /// Its pages go here, in place of what is there, and an empty mapping stays behind.
    FixedAndLeave(VirtAddr),
}

impl RemapPlacement {
    /// The place that was asked for.
    const fn wanted(self) -> Option<VirtAddr> {
        match self {
            Self::Fixed(address) | Self::FixedAndLeave(address) => Some(address),
            Self::Stay | Self::MayMove | Self::MayLeave => None,
        }
    }

    const fn leaves_source(self) -> bool {
        matches!(self, Self::MayLeave | Self::FixedAndLeave(_))
    }
}

impl AddressSpace {
    /// Changes the size of a mapping, and perhaps its place; returns where it is. A shared mapping of `old_len` 0 is
    /// mapped a second time.
    pub fn remap(
        &self,
        old_start: VirtAddr,
        old_len: usize,
        new_len: usize,
        placement: RemapPlacement,
    ) -> Result<VirtAddr, MapError> {
        check_headroom()?;
        let mut gather = Gather::new();
        let result =
            self.inner.lock().remap(old_start, old_len, new_len, placement, &mut gather, &self.translation);
        gather.finish(&self.translation);
        result
    }

    /// Says where the heap begins that [`Self::set_break`] changes; it is empty at first.
    pub fn set_break_start(&self, start: VirtAddr) {
        let mut inner = self.inner.lock();
        inner.break_start = start;
        inner.break_end = start;
    }

    /// Where the heap is that [`Self::set_break`] changes.
    pub fn break_range(&self) -> Range<VirtAddr> {
        let inner = self.inner.lock();
        inner.break_start..inner.break_end
    }

    /// Moves the end of the heap, if that is possible; returns where it is then.
    pub fn set_break(&self, wanted: VirtAddr) -> VirtAddr {
        let mut gather = Gather::new();
        let end = {
            let mut inner = self.inner.lock();
            inner.move_break(wanted, &mut gather, &self.translation);
            inner.break_end
        };
        gather.finish(&self.translation);
        end
    }
}

impl Inner {
    fn remap(
        &mut self,
        old_start: VirtAddr,
        old_len: usize,
        new_len: usize,
        placement: RemapPlacement,
        gather: &mut Gather,
        translation: &Translation,
    ) -> Result<VirtAddr, MapError> {
        let too_long = match placement.wanted() {
            Some(_) => MapError::InvalidArgument,
            None => MapError::OutOfMemory,
        };
        let new_len = round_up(new_len).ok_or(too_long)?;
        if new_len == 0 {
            return Err(MapError::InvalidArgument);
        }
        let old_len = round_up(old_len).ok_or(MapError::InvalidArgument)?;
        if !old_start.is_page_aligned() || !old_start.is_user_range(old_len) {
            return Err(MapError::InvalidArgument);
        }
        let (start, area) = self.areas.find(old_start).ok_or(MapError::NotMapped)?;
        if old_len == 0 {
            let area = area.clone();
            return self.duplicate(start, area, old_start, new_len, placement, gather, translation);
        }
        let old = old_start..old_start + old_len;
        let mut kept = old.clone();
        let is_told_where = placement.wanted().is_some() || placement.leaves_source();
        if let Some(new_start) = placement.wanted() {
            let new = user_range(new_start, new_len)?;
            if new.start < old.end && old.start < new.end {
                return Err(MapError::InvalidArgument);
            }
        }
        if is_told_where && area.len_from(old_start) < old_len.min(new_len) {
            return Err(MapError::NotMapped);
        }
        // Shrinking is unmapping, whatever lies in the part that goes.
        if new_len < old_len && (!is_told_where || area.end < old.end) {
            self.remove(&(old_start + new_len..old.end), gather, translation)?;
            kept.end = old_start + new_len;
        }
        if new_len <= old_len && !is_told_where {
            return Ok(old_start);
        }
        let (start, area) = self.areas.find(old_start).ok_or(MapError::NotMapped)?;
        let area = area.clone();
        if area.len_from(old_start) < kept.end - kept.start {
            return Err(MapError::NotMapped);
        }
        if new_len > old_len {
            self.check_growth(&area, (new_len - old_len) / PAGE_SIZE)?;
        }
        let wanted = old.end..old_start + new_len;
        let fits = !is_told_where
            && area.end == old.end
            && old_start.is_user_range(new_len)
            && self.areas.is_free(&wanted);
        if fits {
            self.areas.extend_up(start, wanted.end);
            self.areas.merge_around(&wanted);
            return Ok(old_start);
        }
        let target = match placement {
            RemapPlacement::Stay => return Err(MapError::OutOfMemory),
            RemapPlacement::Fixed(address) | RemapPlacement::FixedAndLeave(address) => {
                Placement::Fixed(address)
            }
            RemapPlacement::MayMove | RemapPlacement::MayLeave => Placement::Anywhere { hint: None },
        };
        self.relocate(start, area, kept, target, new_len, placement.leaves_source(), gather, translation)
    }

    /// Whether an area may have so many pages more.
    fn check_growth(&self, area: &Area, pages: usize) -> Result<(), MapError> {
        self.check_lock_limit(area.flags, pages)?;
        self.check_limits(pages, 0, area.is_data())?;
        self.check_promise(area, pages)
    }

    /// Maps a shared mapping a second time.
    #[allow(clippy::too_many_arguments, reason = "one caller, which has all of them at hand")]
    fn duplicate(
        &mut self,
        start: VirtAddr,
        mut area: Area,
        from: VirtAddr,
        len: usize,
        placement: RemapPlacement,
        gather: &mut Gather,
        translation: &Translation,
    ) -> Result<VirtAddr, MapError> {
        if !area.shared {
            return Err(MapError::InvalidArgument);
        }
        let placement = match placement {
            RemapPlacement::Stay => return Err(MapError::OutOfMemory),
            RemapPlacement::MayMove | RemapPlacement::MayLeave => Placement::Anywhere { hint: None },
            RemapPlacement::Fixed(address) | RemapPlacement::FixedAndLeave(address) => {
                Placement::Fixed(user_range(address, len)?.start)
            }
        };
        self.check_lock_limit(area.flags, len / PAGE_SIZE)?;
        let new_start = self.place(placement, len)?;
        shift_first_page(&mut area, start, from);
        let new = new_start..new_start + len;
        self.check_limits(len / PAGE_SIZE, 0, area.is_data())?;
        self.remove(&new, gather, translation)?;
        area.end = new.end;
        self.areas.insert(new.start, area);
        Ok(new.start)
    }

    /// Moves the part `old` of an area to another place, with its pages.
    #[allow(clippy::too_many_arguments, reason = "one caller, which has all of them at hand")]
    fn relocate(
        &mut self,
        start: VirtAddr,
        mut area: Area,
        old: Range<VirtAddr>,
        placement: Placement,
        new_len: usize,
        leaves_source: bool,
        gather: &mut Gather,
        translation: &Translation,
    ) -> Result<VirtAddr, MapError> {
        let old_len = old.end - old.start;
        let new_start = self.place(placement, new_len)?;
        let new = new_start..new_start + new_len;
        let given_up = if leaves_source { 0 } else { old_len / PAGE_SIZE };
        self.check_limits(new_len / PAGE_SIZE, given_up, area.is_data() && new_len > old_len)?;
        if self.areas.len() + 4 > MOST_AREAS {
            return Err(MapError::OutOfMemory);
        }
        self.remove(&new, gather, translation)?;
        // Make all the tables first: once pages begin to move nothing can fail.
        let kept = old.start..old.start + old_len.min(new_len);
        let mut at = kept.start;
        loop {
            let mut cursor = self.tables.cursor(at);
            if cursor.find(kept.end).is_none() {
                break;
            }
            at = cursor.address();
            let target = new.start + (at - kept.start);
            if let Err(error) = self.tables.cursor(target).prepare() {
                self.free_empty_tables(new, gather, translation);
                return Err(error.into());
            }
            at = at + PAGE_SIZE;
        }
        if leaves_source {
            self.areas.isolate(&old);
            self.areas.change(old.start, |area| area.flags.remove(LOCK_FLAGS));
        } else {
            gather.keep_areas(self.areas.remove(&old)?);
        }
        let mut at = kept.start;
        loop {
            let mut cursor = self.tables.cursor(at);
            let Some(entry) = cursor.find(kept.end) else { break };
            at = cursor.address();
            if let Some(frame) = cursor.take() {
                gather.note(at);
                let mut target = self.tables.cursor(new.start + (at - kept.start));
                let in_the_way = target.replace(frame, entry.flags());
                debug_assert!(in_the_way.is_none());
            }
            at = at + PAGE_SIZE;
        }
        shift_first_page(&mut area, start, old.start);
        area.end = new.end;
        area.grows_down &= start == old.start;
        // What did not move is beyond the new length.
        self.unmap_pages(old.clone(), gather, translation);
        self.free_empty_tables(old.clone(), gather, translation);
        if leaves_source {
            self.areas.merge_around(&old);
        }
        self.areas.insert(new.start, area);
        self.areas.merge_around(&new);
        Ok(new.start)
    }

    /// Whether the heap may grow into a range: nothing is there, nor a stack that could grow into it.
    fn has_room_above_break(&self, grown: &Range<VirtAddr>) -> bool {
        let guarded = self.areas.first_from(grown.end).is_some_and(|(start, area)| {
            area.grows_down && start.as_usize() - grown.end.as_usize() < STACK_GUARD
        });
        !guarded && self.areas.is_free(grown)
    }

    fn move_break(&mut self, wanted: VirtAddr, gather: &mut Gather, translation: &Translation) {
        let (Some(old_end), Some(new_end)) = (self.break_end.page_ceil(), wanted.page_ceil()) else {
            return;
        };
        if wanted < self.break_start || !new_end.is_user_range(0) || self.break_start.as_usize() == 0 {
            return;
        }
        if new_end < old_end && self.remove(&(new_end..old_end), gather, translation).is_err() {
            return;
        }
        if new_end > old_end {
            let grown = old_end..new_end;
            let pages = (new_end - old_end) / PAGE_SIZE;
            let area = Area {
                end: new_end,
                protection: Protection::READ | Protection::WRITE,
                maximum: Protection::all(),
                shared: false,
                grows_down: false,
                on_fork: OnFork::Inherit,
                flags: self.lock_new,
                backing: Backing::Anonymous,
                origin: None,
            };
            let fits = check_headroom().is_ok()
                && self.has_room_above_break(&grown)
                && self.check_growth(&area, pages).is_ok();
            if !fits {
                return;
            }
            self.areas.insert(old_end, area);
            self.areas.merge_around(&grown);
        }
        self.break_end = wanted;
    }
}

/// Makes an area that starts at `start` one that starts at `new_start` inside it.
fn shift_first_page(area: &mut Area, start: VirtAddr, new_start: VirtAddr) {
    if let Backing::Object { first_page, .. } = &mut area.backing {
        *first_page += ((new_start - start) / PAGE_SIZE) as u64;
    }
}
