//! `mremap` and `brk`: mappings that change their size or their place.

use core::ops::Range;

use kernel_hal::{PAGE_SIZE, VirtAddr};

use super::area::{Area, Backing, OnFork, Protection};
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
        let new_len = round_up(new_len).filter(|len| *len > 0).ok_or(MapError::InvalidArgument)?;
        let old_len = round_up(old_len).ok_or(MapError::InvalidArgument)?;
        if !old_start.is_page_aligned() || !old_start.is_user_range(old_len) {
            return Err(MapError::InvalidArgument);
        }
        let (start, area) = self.areas.find(old_start).ok_or(MapError::NotMapped)?;
        let area = area.clone();
        if old_len == 0 {
            return self.duplicate(start, area, old_start, new_len, placement, gather, translation);
        }
        if area.len_from(old_start) < old_len {
            return Err(MapError::NotMapped);
        }
        let old = old_start..old_start + old_len;
        if let RemapPlacement::Fixed(new_start) = placement {
            let new = user_range(new_start, new_len)?;
            if new.start < old.end && old.start < new.end {
                return Err(MapError::InvalidArgument);
            }
            return self.relocate(
                start,
                area,
                old,
                Placement::Fixed(new_start),
                new_len,
                gather,
                translation,
            );
        }
        if new_len <= old_len {
            let surplus = old_start + new_len..old.end;
            if !surplus.is_empty() {
                self.remove(&surplus, gather, translation)?;
            }
            return Ok(old_start);
        }
        let wanted = old.end..old_start + new_len;
        if area.end == old.end && old_start.is_user_range(new_len) && self.areas.is_free(&wanted) {
            self.check_limits((new_len - old_len) / PAGE_SIZE, 0, area.is_data())?;
            self.areas.extend_up(start, wanted.end);
            self.areas.merge_around(&wanted);
            return Ok(old_start);
        }
        if placement == RemapPlacement::Stay {
            return Err(MapError::OutOfMemory);
        }
        self.relocate(start, area, old, Placement::Anywhere { hint: None }, new_len, gather, translation)
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
            RemapPlacement::MayMove => Placement::Anywhere { hint: None },
            RemapPlacement::Fixed(address) => Placement::Fixed(user_range(address, len)?.start),
        };
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
        gather: &mut Gather,
        translation: &Translation,
    ) -> Result<VirtAddr, MapError> {
        let old_len = old.end - old.start;
        let new_start = self.place(placement, new_len)?;
        let new = new_start..new_start + new_len;
        self.check_limits(new_len / PAGE_SIZE, old_len / PAGE_SIZE, area.is_data() && new_len > old_len)?;
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
        gather.keep_areas(self.areas.remove(&old)?);
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
        self.free_empty_tables(old, gather, translation);
        self.areas.insert(new.start, area);
        self.areas.merge_around(&new);
        Ok(new.start)
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
            let fits = check_headroom().is_ok()
                && self.areas.is_free(&grown)
                && self.check_limits((new_end - old_end) / PAGE_SIZE, 0, true).is_ok();
            if !fits {
                return;
            }
            let area = Area {
                end: new_end,
                protection: Protection::READ | Protection::WRITE,
                maximum: Protection::all(),
                shared: false,
                grows_down: false,
                on_fork: OnFork::Inherit,
                backing: Backing::Anonymous,
                origin: None,
            };
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
