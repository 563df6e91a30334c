//! `mmap`, `munmap`, `mprotect`.

use alloc::sync::Arc;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel_hal::{PAGE_SIZE, PageFlags, USER_END, VirtAddr};

use super::area::{Area, AreaFlags, Backing, OnFork, Origin, Protection};
use super::area_map::MOST_AREAS;
use super::fault::is_private;
use super::gather::Gather;
use super::translation::Translation;
use super::{AddressSpace, Inner, round_up};
use crate::frame::{self, OutOfMemory, check_headroom};
use crate::paged_object::PagedObject;

/// Where to map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Wherever there is room; here if it is free.
    Anywhere {
        /// A wish.
        hint: Option<VirtAddr>,
    },
    /// Here, in place of what is there.
    Fixed(VirtAddr),
    /// Here, or not at all.
    FixedIfFree(VirtAddr),
}

/// What to map.
#[derive(Clone, Debug)]
pub enum MapBacking {
    /// Zeros: private ones, or an anonymous object of its own that forked children share.
    Anonymous,
    /// An object, from a byte offset on that is a multiple of the page size.
    Object {
        /// The object.
        object: Arc<PagedObject>,
        /// Where the mapping begins in it.
        offset: u64,
    },
}

/// A wish for a mapping.
#[derive(Clone, Debug)]
pub struct MapRequest {
    /// Where.
    pub placement: Placement,
    /// Bytes, rounded up to pages.
    pub len: usize,
    /// What the program may do with it.
    pub protection: Protection,
    /// What it may be allowed later: for a shared mapping of a file that was not opened for writing, not `WRITE`.
    pub maximum: Protection,
    /// Whether stores reach the object (true) or copies (false).
    pub shared: bool,
    /// The content.
    pub backing: MapBacking,
    /// Whether it grows downwards on faults below it: a stack.
    pub grows_down: bool,
    /// What to remember with it.
    pub origin: Option<Origin>,
    /// What a forked child gets of it.
    pub on_fork: OnFork,
    /// What else is to be known of it.
    pub flags: AreaFlags,
}

impl MapRequest {
    /// Private zeros, wherever there is room.
    pub const fn anonymous(len: usize, protection: Protection) -> Self {
        Self {
            placement: Placement::Anywhere { hint: None },
            len,
            protection,
            maximum: Protection::all(),
            shared: false,
            backing: MapBacking::Anonymous,
            grows_down: false,
            origin: None,
            on_fork: OnFork::Inherit,
            flags: AreaFlags::empty(),
        }
    }

    /// An object, wherever there is room.
    pub const fn object(
        object: Arc<PagedObject>,
        offset: u64,
        len: usize,
        protection: Protection,
        shared: bool,
    ) -> Self {
        Self {
            placement: Placement::Anywhere { hint: None },
            len,
            protection,
            maximum: Protection::all(),
            shared,
            backing: MapBacking::Object { object, offset },
            grows_down: false,
            origin: None,
            on_fork: OnFork::Inherit,
            flags: AreaFlags::empty(),
        }
    }

    /// The same, at this address, in place of what is there.
    #[must_use]
    pub const fn at(mut self, address: VirtAddr) -> Self {
        self.placement = Placement::Fixed(address);
        self
    }
}

/// Why a mapping was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// Misaligned, empty, or beyond user space (`EINVAL`).
    InvalidArgument,
    /// No memory, no room, a limit reached, or a hole where there must be none (`ENOMEM`).
    OutOfMemory,
    /// Something is mapped there (`EEXIST`).
    Exists,
    /// More than the mapping may ever be allowed (`EACCES`).
    NotPermitted,
    /// Below the lowest address (`EPERM`).
    TooLow,
    /// More locked memory than the limit allows (`EAGAIN`).
    TooMuchLocked,
    /// Nothing is mapped there (`EFAULT`).
    NotMapped,
    /// The offset and the length do not fit (`EOVERFLOW`).
    Overflow,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidArgument => "invalid address or length",
            Self::OutOfMemory => "out of memory or address space",
            Self::Exists => "already mapped",
            Self::NotPermitted => "not permitted",
            Self::TooLow => "below the lowest address",
            Self::TooMuchLocked => "too much locked memory",
            Self::NotMapped => "not mapped",
            Self::Overflow => "offset too large",
        })
    }
}

impl core::error::Error for MapError {}

impl From<OutOfMemory> for MapError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// Checks a range that a program named.
pub(super) fn user_range(start: VirtAddr, len: usize) -> Result<Range<VirtAddr>, MapError> {
    let len = round_up(len).filter(|len| *len > 0).ok_or(MapError::InvalidArgument)?;
    if !start.is_page_aligned() || !start.is_user_range(len) {
        return Err(MapError::InvalidArgument);
    }
    Ok(start..start + len)
}

static PROMISES_EVERYTHING: AtomicBool = AtomicBool::new(false);

/// Whether any promise of memory is made (`vm.overcommit_memory` = 1), or none that is obviously too large (0).
pub fn promises_everything() -> bool {
    PROMISES_EVERYTHING.load(Ordering::Relaxed)
}

/// Sets that.
pub fn set_promises_everything(everything: bool) {
    PROMISES_EVERYTHING.store(everything, Ordering::Relaxed);
}

fn most_promised_at_once() -> usize {
    if promises_everything() { usize::MAX } else { frame::total() }
}

impl AddressSpace {
    /// Maps something; returns where.
    pub fn map(&self, request: MapRequest) -> Result<VirtAddr, MapError> {
        check_headroom()?;
        let len = round_up(request.len).ok_or(MapError::OutOfMemory)?;
        if len == 0 {
            return Err(MapError::InvalidArgument);
        }
        if !request.maximum.contains(request.protection) {
            return Err(MapError::NotPermitted);
        }
        let backing = match request.backing {
            MapBacking::Anonymous if !request.shared => Backing::Anonymous,
            MapBacking::Anonymous
                if len / PAGE_SIZE > most_promised_at_once()
                    && !request.flags.contains(AreaFlags::NO_RESERVE) =>
            {
                return Err(MapError::OutOfMemory);
            }
            MapBacking::Anonymous => {
                Backing::Object { object: Arc::new(PagedObject::anonymous(len as u64)), first_page: 0 }
            }
            MapBacking::Object { object, offset } => {
                if !offset.is_multiple_of(PAGE_SIZE as u64) {
                    return Err(MapError::InvalidArgument);
                }
                offset
                    .checked_add(len as u64)
                    .filter(|end| *end <= i64::MAX as u64)
                    .ok_or(MapError::Overflow)?;
                Backing::Object { object, first_page: offset / PAGE_SIZE as u64 }
            }
        };
        let area = Area {
            end: VirtAddr::new(0),
            protection: request.protection,
            maximum: request.maximum,
            shared: request.shared,
            grows_down: request.grows_down,
            on_fork: request.on_fork,
            flags: request.flags,
            backing,
            origin: request.origin,
        };
        let mut gather = Gather::new();
        let result = self.inner.lock().map(request.placement, len, area, &mut gather, &self.translation);
        gather.finish(&self.translation);
        result
    }

    /// Unmaps whatever is in a range.
    pub fn unmap(&self, start: VirtAddr, len: usize) -> Result<(), MapError> {
        let range = user_range(start, len)?;
        let mut gather = Gather::new();
        let result = self.inner.lock().remove(&range, &mut gather, &self.translation);
        gather.finish(&self.translation);
        result
    }

    /// Changes what the program may do with a range. Over a hole, what comes before the hole is changed and the
    /// result is [`MapError::OutOfMemory`], as on Linux.
    pub fn protect(&self, start: VirtAddr, len: usize, protection: Protection) -> Result<(), MapError> {
        if len == 0 && start.is_page_aligned() {
            return Ok(());
        }
        let range = match user_range(start, len) {
            Err(MapError::InvalidArgument) if start.is_page_aligned() => return Err(MapError::OutOfMemory),
            other => other?,
        };
        check_headroom()?;
        let mut gather = Gather::new();
        let result = self.inner.lock().protect(range, protection, &mut gather);
        gather.finish(&self.translation);
        result
    }
}

impl Inner {
    fn map(
        &mut self,
        placement: Placement,
        len: usize,
        mut area: Area,
        gather: &mut Gather,
        translation: &Translation,
    ) -> Result<VirtAddr, MapError> {
        let start = self.place(placement, len)?;
        let range = start..start + len;
        area.end = range.end;
        if !area.flags.contains(AreaFlags::DROPPABLE) {
            area.flags |= self.lock_new;
        }
        self.check_lock_limit(area.flags, len / PAGE_SIZE)?;
        self.check_promise(&area, len / PAGE_SIZE)?;
        if matches!(placement, Placement::Fixed(_)) {
            // What a fixed mapping replaces does not count any more.
            let replaced: usize = self
                .areas
                .overlapping(&range)
                .map(|(at, old)| (old.end.min(range.end) - at.max(range.start)) / PAGE_SIZE)
                .sum();
            self.check_limits(len / PAGE_SIZE, replaced, area.is_data())?;
            self.remove(&range, gather, translation)?;
        } else {
            self.check_limits(len / PAGE_SIZE, 0, area.is_data())?;
        }
        self.areas.insert(start, area);
        self.areas.merge_around(&range);
        Ok(start)
    }

    /// Whether memory may be promised to so many more pages of an area: one wish must not exceed the machine, unless it
    /// says that it will not be used (`MAP_NORESERVE`) or the system promises everything.
    pub(super) fn check_promise(&self, area: &Area, pages: usize) -> Result<(), MapError> {
        let is_promise = !area.shared
            && area.protection.contains(Protection::WRITE)
            && !area.flags.intersects(AreaFlags::NO_RESERVE | AreaFlags::DROPPABLE);
        if is_promise && pages > most_promised_at_once() { Err(MapError::OutOfMemory) } else { Ok(()) }
    }

    /// Whether so many pages more, and so many less, keep to the limits.
    pub(super) fn check_limits(&self, more: usize, less: usize, is_data: bool) -> Result<(), MapError> {
        let within = |pages: usize, limit: usize| pages <= limit / PAGE_SIZE;
        let fits = self.areas.len() < MOST_AREAS
            && within((self.areas.pages() + more).saturating_sub(less), self.limits.address_space)
            && (!is_data || within(self.areas.data_pages() + more, self.limits.data));
        if fits { Ok(()) } else { Err(MapError::OutOfMemory) }
    }

    /// Finds a place for `len` bytes.
    pub(super) fn place(&self, placement: Placement, len: usize) -> Result<VirtAddr, MapError> {
        let (Placement::Fixed(start) | Placement::FixedIfFree(start)) = placement else {
            let Placement::Anywhere { hint } = placement else { return Err(MapError::InvalidArgument) };
            if let Some(wish) = hint.and_then(VirtAddr::page_ceil)
                && wish >= self.layout.lowest
                && wish.is_user_range(len)
                && self.areas.is_free(&(wish..wish + len))
            {
                return Ok(wish);
            }
            let within = self.layout.lowest..self.layout.mapping_top;
            let above = self.layout.mapping_top..VirtAddr::new(USER_END);
            return self
                .areas
                .find_gap(len, within)
                .or_else(|| self.areas.find_gap(len, above))
                .ok_or(MapError::OutOfMemory);
        };
        if !start.is_page_aligned() {
            return Err(MapError::InvalidArgument);
        }
        if !start.is_user_range(len) {
            return Err(MapError::OutOfMemory);
        }
        if start < self.layout.lowest {
            return Err(MapError::TooLow);
        }
        if matches!(placement, Placement::FixedIfFree(_)) && !self.areas.is_free(&(start..start + len)) {
            return Err(MapError::Exists);
        }
        Ok(start)
    }

    /// Takes areas and pages of a range out.
    pub(super) fn remove(
        &mut self,
        range: &Range<VirtAddr>,
        gather: &mut Gather,
        translation: &Translation,
    ) -> Result<(), MapError> {
        if self.areas.len() + 2 > MOST_AREAS && self.areas.overlapping(range).count() == 1 {
            return Err(MapError::OutOfMemory);
        }
        let removed = self.areas.remove(range)?;
        for (start, area) in &removed {
            self.unmap_pages(*start..area.end, gather, translation);
        }
        if !removed.is_empty() {
            self.free_empty_tables(range.clone(), gather, translation);
        }
        gather.keep_areas(removed);
        Ok(())
    }

    fn protect(
        &mut self,
        range: Range<VirtAddr>,
        protection: Protection,
        gather: &mut Gather,
    ) -> Result<(), MapError> {
        if self.areas.len() + 2 > MOST_AREAS {
            return Err(MapError::OutOfMemory);
        }
        let mut at = range.start;
        let mut result = Ok(());
        while at < range.end {
            let Some((_, area)) = self.areas.find(at) else {
                result = Err(MapError::OutOfMemory);
                break;
            };
            let piece = at..area.end.min(range.end);
            if !area.maximum.contains(protection) {
                result = Err(MapError::NotPermitted);
                break;
            }
            if area.protection != protection {
                let becomes_data = !area.is_data() && !area.shared && protection.contains(Protection::WRITE);
                let pages = (piece.end - piece.start) / PAGE_SIZE;
                if becomes_data
                    && let Err(error) = self
                        .check_limits(pages, usize::MAX, true)
                        .and_then(|()| self.check_promise(&Area { protection, ..area.clone() }, pages))
                {
                    result = Err(error);
                    break;
                }
                self.protect_piece(&piece, protection, gather);
            }
            at = piece.end;
        }
        self.areas.merge_around(&(range.start..at));
        result
    }

    /// Changes the protection inside one area.
    fn protect_piece(&mut self, piece: &Range<VirtAddr>, protection: Protection, gather: &mut Gather) {
        self.areas.isolate(piece);
        self.areas.change(piece.start, |area| area.protection = protection);
        let Some((_, area)) = self.areas.find(piece.start) else { return };
        let mut cursor = self.tables.cursor(piece.start);
        while let Some(entry) = cursor.find(piece.end) {
            let writable = match cursor.frame() {
                // A store needs no fault if the private page has no other owner, or if the shared one was writable
                // already: then the object knows that it is dirty.
                Some(frame) if !area.shared => is_private(&frame) && frame.owners_but_pins() == 1,
                _ => entry.flags().contains(PageFlags::WRITE),
            };
            let flags = area.protection.page_flags(writable);
            if entry.is_valid() && !flags.contains(entry.flags() & LOSABLE) {
                gather.note(cursor.address());
            }
            cursor.set_flags(flags);
            cursor.step();
        }
    }
}

/// Flags whose loss a hart must hear of.
const LOSABLE: PageFlags = PageFlags::VALID
    .union(PageFlags::READ)
    .union(PageFlags::WRITE)
    .union(PageFlags::EXECUTE)
    .union(PageFlags::USER);
