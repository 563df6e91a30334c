//! Forking: the child sees the same memory, and neither sees what the other stores afterwards.

use alloc::sync::Arc;

use kernel_hal::{PageFlags, VirtAddr};

use super::area::{Area, OnFork};
use super::fault::is_private;
use super::gather::Gather;
use super::{AddressSpace, Inner};
use crate::frame::{Frame, FrameKind, OutOfMemory, SharedFrame};

impl AddressSpace {
    /// An address space with the same areas and, at this moment, the same content. Private pages are shared until
    /// somebody stores to them; those that are pinned (a device may be filling them) are copied for the child.
    pub fn fork(&self) -> Result<Arc<Self>, OutOfMemory> {
        let (layout, limits) = {
            let inner = self.inner.lock();
            (inner.layout, inner.limits)
        };
        let child = Self::new(layout, limits)?;
        let mut gather = Gather::new();
        let result = {
            let mut parent = self.inner.lock();
            // Nobody waits for the parent while holding the child: whoever found it through an object holds no more
            // than that. The rank checker cannot know, so the lock is tried.
            let mut inner = loop {
                if let Some(guard) = child.inner.try_lock() {
                    break guard;
                }
                core::hint::spin_loop();
            };
            parent.copy_to(&mut inner, &mut gather)
        };
        gather.finish(&self.translation);
        result.map(|()| child)
    }
}

impl Inner {
    fn copy_to(&mut self, child: &mut Self, gather: &mut Gather) -> Result<(), OutOfMemory> {
        child.break_start = self.break_start;
        child.break_end = self.break_end;
        // The child is registered with the objects before any entry is copied: see the reverse map.
        child.areas.copy_from(&self.areas);
        child.areas.unlock_all();
        for (start, area) in self.areas.iter() {
            if !area.shared && area.on_fork == OnFork::Inherit {
                copy_pages(&mut self.tables, child, start, area, gather)?;
            }
        }
        child.note_most_resident();
        Ok(())
    }
}

/// Copies the entries of a private area.
fn copy_pages(
    parent: &mut crate::page_table::PageTable,
    child: &mut Inner,
    start: VirtAddr,
    area: &Area,
    gather: &mut Gather,
) -> Result<(), OutOfMemory> {
    let mut from = parent.cursor(start);
    let mut to = child.tables.cursor(start);
    while let Some(entry) = from.find(area.end) {
        let page = from.address();
        to.seek(page);
        to.prepare()?;
        let Some(frame) = from.frame() else { break };
        let (copy, flags): (SharedFrame, PageFlags) = if frame.is_pinned() && is_private(&frame) {
            let copy = Frame::allocate_copy(FrameKind::Anonymous, &frame)?;
            (copy.into(), area.protection.page_flags(true))
        } else {
            if entry.flags().contains(PageFlags::WRITE) {
                from.set_flags(entry.flags() - (PageFlags::WRITE | PageFlags::DIRTY));
                gather.note(page);
            }
            (SharedFrame::clone(&frame), entry.flags() - (PageFlags::WRITE | PageFlags::DIRTY))
        };
        let kind = copy.kind();
        let old = to.replace(copy, flags);
        debug_assert!(old.is_none());
        *child.resident.of(kind) += 1;
        from.step();
    }
    Ok(())
}
