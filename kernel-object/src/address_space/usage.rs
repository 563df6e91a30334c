//! What the pages of a range are, for `/proc/PID/smaps`.

use core::ops::Range;

use kernel_hal::{PAGE_SIZE, PageFlags, VirtAddr};

use super::AddressSpace;
use crate::frame::FrameKind;

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeUsage {
    /// Pages that are present.
    pub resident: usize,
    /// The same, each divided by the number of its users.
    pub proportional: usize,
    /// Present pages that others use too, and that were not changed.
    pub shared_clean: usize,
    /// Present pages that others use too, and that were changed.
    pub shared_dirty: usize,
    /// Present pages that nobody else uses, and that were not changed.
    pub private_clean: usize,
    /// Present pages that nobody else uses, and that were changed.
    pub private_dirty: usize,
    /// Present pages that belong to no object.
    pub anonymous: usize,
}

/// Pages that are looked at under one hold of the lock.
const BATCH: usize = 1024;

impl AddressSpace {
    /// Looks at the pages of a range. Others may change it meanwhile.
    pub fn range_usage(&self, range: Range<VirtAddr>) -> RangeUsage {
        let mut usage = RangeUsage::default();
        let mut at = range.start;
        while at < range.end {
            let mut guard = self.inner.lock();
            let mut cursor = guard.tables.cursor(at);
            let mut left = BATCH;
            while left > 0 {
                let Some(entry) = cursor.find(range.end) else { return usage };
                if let Some(frame) = cursor.frame() {
                    let owners = frame.owners_but_pins() as usize;
                    // An object owns its pages itself.
                    let kind = frame.kind();
                    let users = if kind == FrameKind::Anonymous { owners } else { owners.saturating_sub(1) };
                    let is_dirty = kind != FrameKind::Object || entry.flags().contains(PageFlags::WRITE);
                    usage.add(users.max(1), is_dirty, kind == FrameKind::Anonymous);
                }
                cursor.step();
                left -= 1;
            }
            at = cursor.address();
        }
        usage
    }
}

impl RangeUsage {
    const fn add(&mut self, users: usize, is_dirty: bool, is_anonymous: bool) {
        self.resident += PAGE_SIZE;
        self.proportional += PAGE_SIZE / users;
        *match (users > 1, is_dirty) {
            (true, true) => &mut self.shared_dirty,
            (true, false) => &mut self.shared_clean,
            (false, true) => &mut self.private_dirty,
            (false, false) => &mut self.private_clean,
        } += PAGE_SIZE;
        if is_anonymous {
            self.anonymous += PAGE_SIZE;
        }
    }
}
