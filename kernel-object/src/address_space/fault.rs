//! Answering page faults.
//!
//! The usual fault takes one lock, looks one area up, takes one frame and writes one entry. A fault on an object that has
//! the page also maps its neighbours that are in memory; one on a page that has to be brought returns what to await.

use alloc::sync::Arc;
use core::ops::Range;

use kernel_hal::{Access, PAGE_SIZE, PageFault, PageFlags, PageTableEntry, VirtAddr, memory_barrier};

use super::area::{Area, Backing, Protection};
use super::area_map::STACK_GUARD;
use super::{AddressSpace, Inner, Resident};
use crate::frame::{Frame, FrameKind, OutOfMemory, SharedFrame};
use crate::paged_object::{Lookup, PageLoad, PagedObject};

/// Pages that a fault on an object maps at most: a window of 64 KiB around the faulting one.
const FAULT_AROUND: usize = 16;

/// The answer to a fault.
#[derive(Debug)]
pub enum FaultOutcome {
    /// This is it.
    Ready(FaultResult),
    /// A page has to be brought. Await it and let the access fault again; an error is a [`FaultResult::BusError`].
    NeedsLoad(PageLoad),
}

/// The answer to a fault that needs no waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultResult {
    /// The access may be tried again.
    Resolved,
    /// Nothing is mapped there (SIGSEGV, SEGV_MAPERR).
    NotMapped,
    /// What is mapped there does not allow the access (SIGSEGV, SEGV_ACCERR).
    NotPermitted,
    /// The mapped object ends before (SIGBUS, BUS_ADRERR).
    BusError,
    /// There is no frame for the page.
    OutOfMemory,
}

/// What the part under the lock found out.
enum Step {
    Ready(FaultResult),
    /// The entry's frame was replaced: every hart must forget the page before the old frame goes.
    Replaced(SharedFrame),
    /// The entry allows the access: this hart remembered an older one.
    Spurious,
    Load(Arc<PagedObject>, u64),
    PrepareWrite(Arc<PagedObject>, u64),
}

impl From<OutOfMemory> for Step {
    fn from(_: OutOfMemory) -> Self {
        Self::Ready(FaultResult::OutOfMemory)
    }
}

const RESOLVED: Step = Step::Ready(FaultResult::Resolved);

/// Whether a frame is a page of its own, not one of an object.
#[inline]
pub(super) fn is_private(frame: &SharedFrame) -> bool {
    frame.kind() == FrameKind::Anonymous
}

fn allows(entry: PageTableEntry, access: Access) -> bool {
    let wanted = match access {
        Access::Read => PageFlags::READ,
        Access::Write => PageFlags::WRITE,
        Access::Execute => PageFlags::EXECUTE,
    };
    entry.is_valid() && entry.flags().contains(wanted)
}

impl AddressSpace {
    /// Answers a fault of a program, or of a copy on its behalf.
    #[inline]
    pub fn fault(&self, fault: PageFault) -> FaultOutcome {
        if !fault.address.is_user() {
            return FaultOutcome::Ready(FaultResult::NotMapped);
        }
        let page = fault.address.page_floor();
        let step = self.inner.lock().fault(page, fault.access);
        match step {
            Step::Ready(result) => FaultOutcome::Ready(result),
            Step::Replaced(old) => {
                self.translation.flush(page, 1);
                drop(old);
                FaultOutcome::Ready(FaultResult::Resolved)
            }
            Step::Spurious => {
                self.translation.flush_page_here(page);
                FaultOutcome::Ready(FaultResult::Resolved)
            }
            Step::Load(object, index) => FaultOutcome::NeedsLoad(object.load(index)),
            Step::PrepareWrite(object, index) => FaultOutcome::NeedsLoad(object.prepare_write(index)),
        }
    }

    /// Answers a fault however long it takes.
    pub async fn fault_in(&self, fault: PageFault) -> FaultResult {
        loop {
            match self.fault(fault) {
                FaultOutcome::Ready(result) => return result,
                FaultOutcome::NeedsLoad(load) => match load.await {
                    Ok(()) => {}
                    Err(crate::paged_object::PagerError::OutOfMemory) => return FaultResult::OutOfMemory,
                    Err(_) => return FaultResult::BusError,
                },
            }
        }
    }
}

impl Inner {
    fn fault(&mut self, page: VirtAddr, access: Access) -> Step {
        let (start, area) = match self.areas.find(page) {
            Some(found) => found,
            None => {
                if let Err(result) = self.grow_stack(page) {
                    return Step::Ready(result);
                }
                match self.areas.find(page) {
                    Some(found) => found,
                    None => return Step::Ready(FaultResult::NotMapped),
                }
            }
        };
        if !area.protection.allows(access) {
            return Step::Ready(FaultResult::NotPermitted);
        }
        let mut cursor = self.tables.cursor(page);
        let entry = cursor.entry();
        if entry == PageTableEntry::EMPTY {
            if let Backing::Anonymous = area.backing {
                let frame = match Frame::allocate_zeroed(FrameKind::Anonymous) {
                    Ok(frame) => frame,
                    Err(error) => return error.into(),
                };
                if let Err(error) = cursor.prepare() {
                    return error.into();
                }
                let flags = area.protection.page_flags(true);
                let old = cursor.replace(frame.into(), flags);
                debug_assert!(old.is_none());
                self.resident.anonymous += 1;
                self.note_most_resident();
                return RESOLVED;
            }
            return self.fault_on_object(start, page, access);
        }
        if allows(entry, access) {
            return Step::Spurious;
        }
        if access == Access::Write {
            return self.fault_on_read_only(start, page);
        }
        // A parked page in an area that allows the access: give it what the area allows.
        cursor.set_flags(area.protection.page_flags(false));
        RESOLVED
    }

    /// The first access to a page of an object.
    fn fault_on_object(&mut self, start: VirtAddr, page: VirtAddr, access: Access) -> Step {
        let Some((_, area)) = self.areas.find(page) else { return Step::Ready(FaultResult::NotMapped) };
        let Some((object, index)) = area.object_page(start, page) else {
            return Step::Ready(FaultResult::NotMapped);
        };
        let store = access == Access::Write;
        let (frame, writable) = match object.look_up(index, store && area.shared) {
            Lookup::Present { frame, writable } => (frame, writable),
            other => return not_present(other, object, index),
        };
        let mut cursor = self.tables.cursor(page);
        if let Err(error) = cursor.prepare() {
            return error.into();
        }
        let (frame, writable) = if store && !area.shared {
            match Frame::allocate_copy(FrameKind::Anonymous, &frame) {
                Ok(copy) => (copy.into(), true),
                Err(error) => return error.into(),
            }
        } else {
            (frame, writable && area.shared)
        };
        let kind = frame.kind();
        let old = cursor.replace(frame, area.protection.page_flags(writable));
        debug_assert!(old.is_none());
        *self.resident.of(kind) += 1;
        if !store {
            map_neighbours(&mut cursor, area, start, page, &mut self.resident);
        }
        if area.protection.contains(Protection::EXECUTE) {
            // What the kernel stored as data is about to be fetched.
            memory_barrier::synchronize_instruction_fetch();
        }
        self.note_most_resident();
        RESOLVED
    }

    /// A store to a page that is present but not writable, in an area that allows stores.
    fn fault_on_read_only(&mut self, start: VirtAddr, page: VirtAddr) -> Step {
        let Some((_, area)) = self.areas.find(page) else { return Step::Ready(FaultResult::NotMapped) };
        let mut cursor = self.tables.cursor(page);
        let Some(present) = cursor.frame() else { return RESOLVED };
        let writable = area.protection.page_flags(true);
        if area.shared {
            let Some((object, index)) = area.object_page(start, page) else {
                return Step::Ready(FaultResult::NotMapped);
            };
            return match object.look_up(index, true) {
                Lookup::Present { frame, .. } if frame.address() == present.address() => {
                    // More than before: a hart that remembers less faults once more.
                    cursor.set_flags(writable);
                    RESOLVED
                }
                Lookup::Present { frame, .. } => match cursor.replace(frame, writable) {
                    Some(old) => Step::Replaced(old),
                    None => RESOLVED,
                },
                other => not_present(other, object, index),
            };
        }
        if is_private(&present) && present.owners_but_pins() == 1 {
            cursor.set_flags(writable);
            return RESOLVED;
        }
        match Frame::allocate_copy(FrameKind::Anonymous, &present) {
            Ok(copy) => match cursor.replace(copy.into(), writable) {
                Some(old) => {
                    *self.resident.of(old.kind()) -= 1;
                    self.resident.anonymous += 1;
                    Step::Replaced(old)
                }
                None => RESOLVED,
            },
            Err(error) => error.into(),
        }
    }

    /// Extends the stack above a faulting page down to it, if that is allowed.
    fn grow_stack(&mut self, page: VirtAddr) -> Result<(), FaultResult> {
        let (start, area) = self.areas.first_from(page).ok_or(FaultResult::NotMapped)?;
        if !area.grows_down || page < self.layout.lowest || area.len_from(page) > self.limits.stack {
            return Err(FaultResult::NotMapped);
        }
        let below = self.areas.last_below(page).map_or(0, |(_, below)| below.end.as_usize());
        if page.as_usize() - below < STACK_GUARD && below != 0 {
            return Err(FaultResult::NotMapped);
        }
        let is_data = area.is_data();
        self.check_limits((start - page) / PAGE_SIZE, 0, is_data).map_err(|_| FaultResult::NotMapped)?;
        self.areas.extend_down(start, page);
        Ok(())
    }
}

fn not_present(lookup: Lookup, object: &Arc<PagedObject>, index: u64) -> Step {
    match lookup {
        Lookup::Absent => Step::Load(object.clone(), index),
        Lookup::NeedsPrepareWrite => Step::PrepareWrite(object.clone(), index),
        Lookup::BeyondEnd | Lookup::NoSpace => Step::Ready(FaultResult::BusError),
        Lookup::OutOfMemory => Step::Ready(FaultResult::OutOfMemory),
        Lookup::Present { .. } => RESOLVED,
    }
}

/// Maps what the object has around a page whose table exists.
fn map_neighbours(
    cursor: &mut crate::page_table::Cursor<'_>,
    area: &Area,
    start: VirtAddr,
    page: VirtAddr,
    resident: &mut Resident,
) {
    let window = FAULT_AROUND * PAGE_SIZE;
    // An aligned window never leaves the page's table.
    let from = VirtAddr::new(page.as_usize() & !(window - 1));
    let range: Range<VirtAddr> = from.max(start)..(from + window).min(area.end);
    let Some((object, first)) = area.object_page(start, range.start) else { return };
    let pages = first..first + ((range.end - range.start) / PAGE_SIZE) as u64;
    let flags = [false, true].map(|writable| area.protection.page_flags(writable));
    let mut filler = cursor.filler();
    object.for_each_present(pages, |index, frame, writable| {
        let at = range.start + (index - first) as usize * PAGE_SIZE;
        if filler.place(at, frame, flags[usize::from(writable && area.shared)]) {
            *resident.of(frame.kind()) += 1;
        }
    });
}
