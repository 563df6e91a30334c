//! Pinning a program's pages: direct I/O and registered buffers go to the frames themselves.

use alloc::vec::Vec;

use kernel_hal::{Access, PAGE_SIZE, PageFault, PageFlags, PageTableEntry, VirtAddr};

use super::user_copy::{StopReason, UserError, UserErrorKind};
use super::{AddressSpace, FaultOutcome, FaultResult};
use crate::frame::PinnedFrame;
use crate::paged_object::PagerError;

impl AddressSpace {
    /// Pins the page that holds an address, for reading or for writing, as far as that needs no waiting. A page pinned
    /// for writing is the program's own (copied if it was shared) and stays it, even over a fork.
    pub fn try_pin(&self, address: VirtAddr, for_writing: bool) -> Result<PinnedFrame, StopReason> {
        let page = address.page_floor();
        let access = if for_writing { Access::Write } else { Access::Read };
        loop {
            if !address.is_user() {
                return Err(StopReason::BadAddress);
            }
            if let Some(frame) = self.pin_present(page, for_writing) {
                return Ok(frame);
            }
            match self.fault(PageFault { address: page, access }) {
                FaultOutcome::Ready(FaultResult::Resolved) => {}
                FaultOutcome::Ready(FaultResult::OutOfMemory) => return Err(StopReason::OutOfMemory),
                FaultOutcome::Ready(_) => return Err(StopReason::BadAddress),
                FaultOutcome::NeedsLoad(load) => return Err(StopReason::Load(load)),
            }
        }
    }

    fn pin_present(&self, page: VirtAddr, for_writing: bool) -> Option<PinnedFrame> {
        let mut inner = self.inner.lock();
        let cursor = inner.tables.cursor(page);
        let entry = cursor.entry();
        let wanted = if for_writing { PageFlags::WRITE } else { PageFlags::READ };
        if entry == PageTableEntry::EMPTY || !entry.flags().contains(wanted | PageFlags::VALID) {
            return None;
        }
        cursor.frame().map(|frame| frame.pin())
    }

    /// Pins the pages of a range.
    pub async fn pin(
        &self,
        start: VirtAddr,
        len: usize,
        for_writing: bool,
    ) -> Result<Vec<PinnedFrame>, UserError> {
        let error = |kind| UserError { done: 0, kind };
        if !start.is_user_range(len) {
            return Err(error(UserErrorKind::BadAddress));
        }
        let count = (start.page_offset() + len).div_ceil(PAGE_SIZE);
        let mut frames = Vec::new();
        frames.try_reserve_exact(count).map_err(|_| error(UserErrorKind::OutOfMemory))?;
        while frames.len() < count {
            match self.try_pin(start.page_floor() + frames.len() * PAGE_SIZE, for_writing) {
                Ok(frame) => frames.push(frame),
                Err(StopReason::Load(load)) => load.await.map_err(|reason| {
                    error(match reason {
                        PagerError::OutOfMemory => UserErrorKind::OutOfMemory,
                        _ => UserErrorKind::BadAddress,
                    })
                })?,
                Err(StopReason::BadAddress) => return Err(error(UserErrorKind::BadAddress)),
                Err(StopReason::OutOfMemory) => return Err(error(UserErrorKind::OutOfMemory)),
            }
        }
        Ok(frames)
    }
}
