//! The areas of an address space, by address.
//!
//! An object that is mapped is told how many areas map it, so that it can find this address space. The sums that
//! limits are checked against are kept along.

use alloc::collections::BTreeMap;
use alloc::sync::Weak;
use alloc::vec::Vec;
use core::ops::Range;

use kernel_hal::{PAGE_SIZE, VirtAddr};

use super::area::{Area, AreaFlags, Backing, OnFork};
use crate::OutOfMemory;
use crate::paged_object::Mapper;

/// How far below an area that grows down nothing else is put, nor does it grow closer to what is there.
pub(super) const STACK_GUARD: usize = 256 * PAGE_SIZE;
/// What locking an area sets.
pub(super) const LOCK_FLAGS: AreaFlags = AreaFlags::LOCKED.union(AreaFlags::ON_FAULT);
/// The most areas, as on Linux.
pub(super) const MOST_AREAS: usize = 65_530;

pub(super) struct AreaMap {
    areas: BTreeMap<VirtAddr, Area>,
    number: u64,
    mapper: Weak<dyn Mapper>,
    pages: usize,
    data_pages: usize,
}

fn pages_in(range: &Range<VirtAddr>) -> usize {
    (range.end - range.start) / PAGE_SIZE
}

impl AreaMap {
    pub(super) const fn new(number: u64, mapper: Weak<dyn Mapper>) -> Self {
        Self { areas: BTreeMap::new(), number, mapper, pages: 0, data_pages: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.areas.len()
    }

    /// Pages in all areas.
    pub(super) const fn pages(&self) -> usize {
        self.pages
    }

    /// Pages in private writable areas.
    pub(super) const fn data_pages(&self) -> usize {
        self.data_pages
    }

    /// The area that holds an address, with its start.
    #[inline]
    pub(super) fn find(&self, address: VirtAddr) -> Option<(VirtAddr, &Area)> {
        let (start, area) = self.areas.range(..=address).next_back()?;
        (address < area.end).then_some((*start, area))
    }

    /// The first area at or above an address.
    pub(super) fn first_from(&self, address: VirtAddr) -> Option<(VirtAddr, &Area)> {
        self.areas.range(address..).next().map(|(start, area)| (*start, area))
    }

    /// The last area that starts below an address.
    pub(super) fn last_below(&self, address: VirtAddr) -> Option<(VirtAddr, &Area)> {
        self.areas.range(..address).next_back().map(|(start, area)| (*start, area))
    }

    /// All areas, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (VirtAddr, &Area)> {
        self.areas.iter().map(|(start, area)| (*start, area))
    }

    /// The areas that have pages in a range, in ascending order.
    pub(super) fn overlapping(&self, range: &Range<VirtAddr>) -> impl Iterator<Item = (VirtAddr, &Area)> {
        let first = self.find(range.start).map_or(range.start, |(start, _)| start);
        self.areas.range(first..range.end.max(first)).map(|(start, area)| (*start, area))
    }

    /// Whether nothing is in a range.
    pub(super) fn is_free(&self, range: &Range<VirtAddr>) -> bool {
        self.overlapping(range).next().is_none()
    }

    fn account(&mut self, range: &Range<VirtAddr>, is_data: bool, added: bool) {
        let pages = pages_in(range);
        let data = if is_data { pages } else { 0 };
        if added {
            self.pages += pages;
            self.data_pages += data;
        } else {
            self.pages -= pages;
            self.data_pages -= data;
        }
    }

    fn register(&self, area: &Area) {
        if let Backing::Object { object, .. } = &area.backing {
            object.add_mapper(self.number, &self.mapper, 1);
        }
    }

    fn unregister(&self, area: &Area) {
        if let Backing::Object { object, .. } = &area.backing {
            object.remove_mapper(self.number, 1);
        }
    }

    /// Puts an area where nothing is.
    pub(super) fn insert(&mut self, start: VirtAddr, area: Area) {
        debug_assert!(self.is_free(&(start..area.end)));
        self.register(&area);
        self.account(&(start..area.end), area.is_data(), true);
        self.areas.insert(start, area);
    }

    /// Puts copies of all areas of another map, but those that a fork omits, in this empty one.
    pub(super) fn copy_from(&mut self, other: &Self) {
        debug_assert!(self.areas.is_empty());
        if other.areas.values().any(|area| area.on_fork == OnFork::Omit) {
            let kept = other.areas.iter().filter(|(_, area)| area.on_fork != OnFork::Omit);
            kept.for_each(|(start, area)| self.insert(*start, area.clone()));
            return;
        }
        self.areas = other.areas.clone();
        self.pages = other.pages;
        self.data_pages = other.data_pages;
        self.areas.values().for_each(|area| self.register(area));
    }

    /// Forgets which areas are locked: a forked child has locked nothing.
    pub(super) fn unlock_all(&mut self) {
        self.areas.values_mut().for_each(|area| area.flags.remove(LOCK_FLAGS));
    }

    /// Makes sure that no area reaches over `at`.
    fn split_at(&mut self, at: VirtAddr) {
        let Some((start, _)) = self.find(at).filter(|(start, _)| *start != at) else { return };
        let Some(area) = self.areas.get_mut(&start) else { return };
        let upper = area.split(start, at);
        self.register(&upper);
        self.areas.insert(at, upper);
    }

    /// Makes sure that no area reaches over either end.
    pub(super) fn isolate(&mut self, range: &Range<VirtAddr>) {
        self.split_at(range.start);
        self.split_at(range.end);
    }

    /// Takes everything in a range out. The areas are returned so that the caller can drop them without a lock. If
    /// there is no memory to list them nothing happens.
    pub(super) fn remove(&mut self, range: &Range<VirtAddr>) -> Result<Vec<(VirtAddr, Area)>, OutOfMemory> {
        let count = self.overlapping(range).count();
        let mut removed = Vec::new();
        if count == 0 {
            return Ok(removed);
        }
        removed.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
        self.isolate(range);
        while let Some((start, _)) = self.first_from(range.start).filter(|(start, _)| *start < range.end)
            && let Some(area) = self.areas.remove(&start)
        {
            self.account(&(start..area.end), area.is_data(), false);
            self.unregister(&area);
            removed.push((start, area));
        }
        Ok(removed)
    }

    /// Changes the area that starts at `start`; its ends stay.
    pub(super) fn change(&mut self, start: VirtAddr, change: impl FnOnce(&mut Area)) {
        let Some(area) = self.areas.get_mut(&start) else { return };
        let (end, was_data) = (area.end, area.is_data());
        change(area);
        let is_data = area.is_data();
        debug_assert_eq!(area.end, end);
        self.account(&(start..end), was_data, false);
        self.account(&(start..end), is_data, true);
    }

    /// Moves the end of the area that starts at `start` up, over free pages.
    pub(super) fn extend_up(&mut self, start: VirtAddr, end: VirtAddr) {
        let Some(area) = self.areas.get_mut(&start) else { return };
        let old_end = core::mem::replace(&mut area.end, end);
        let is_data = area.is_data();
        self.account(&(old_end..end), is_data, true);
    }

    /// Moves the start of an anonymous area down, over free pages.
    pub(super) fn extend_down(&mut self, start: VirtAddr, new_start: VirtAddr) {
        let Some(area) = self.areas.remove(&start) else { return };
        self.account(&(new_start..start), area.is_data(), true);
        self.areas.insert(new_start, area);
    }

    /// Unites neighbours in and around a range that are the same in everything.
    pub(super) fn merge_around(&mut self, range: &Range<VirtAddr>) {
        let Some(mut start) = self
            .last_below(range.start)
            .filter(|(_, area)| area.end == range.start)
            .or_else(|| self.first_from(range.start))
            .map(|(start, _)| start)
        else {
            return;
        };
        while start <= range.end
            && let Some(area) = self.areas.get(&start)
        {
            let end = area.end;
            let unites = self.areas.get(&end).is_some_and(|next| area.continues_with(start, next));
            if !unites {
                match self.first_from(end) {
                    Some((next, _)) => start = next,
                    None => return,
                }
                continue;
            }
            let Some(next) = self.areas.remove(&end) else { return };
            self.unregister(&next);
            if let Some(area) = self.areas.get_mut(&start) {
                area.end = next.end;
            }
        }
    }

    /// The highest free range of `len` bytes in `within`, with room for areas above it to grow down.
    pub(super) fn find_gap(&self, len: usize, within: Range<VirtAddr>) -> Option<VirtAddr> {
        let mut top = within.end;
        for (start, area) in self.areas.range(..within.end).rev() {
            if area.end < top && top - area.end >= len {
                break;
            }
            let guarded = if area.grows_down { STACK_GUARD } else { 0 };
            top = top.min(VirtAddr::new(start.as_usize().saturating_sub(guarded)));
        }
        let start = VirtAddr::new(top.as_usize().checked_sub(len)?);
        let free = start >= within.start && self.last_below(top).is_none_or(|(_, area)| area.end <= start);
        free.then_some(start)
    }
}

impl Drop for AreaMap {
    fn drop(&mut self) {
        for area in self.areas.values() {
            self.unregister(area);
        }
    }
}
