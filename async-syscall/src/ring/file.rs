//! The descriptor of a ring.

use alloc::sync::Arc;
use core::fmt;

use ksync::WaitQueue;
use linux_abi::Errno;
use linux_abi::io_uring::{
    IORING_OFF_CQ_RING, IORING_OFF_MMAP_MASK, IORING_OFF_PBUF_RING, IORING_OFF_PBUF_SHIFT,
    IORING_OFF_SQ_RING, IORING_OFF_SQES,
};
use linux_abi::poll::PollEvents;
use linux_object::file::File;
use linux_object::memory::mapping::MappedContent;
use linux_object::obstacle::Waitable;

use super::Ring;
use crate::buffers::BufferRing;

/// What the descriptors of a ring stand for; when the last is gone, and nobody has the ring mapped, it is closed.
pub struct RingFile(Arc<Ring>);

impl RingFile {
    /// The file of a new ring.
    pub fn new(ring: Arc<Ring>) -> Arc<Self> {
        Arc::new(Self(ring))
    }

    /// The ring.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.0
    }
}

impl Waitable for RingFile {
    fn wait_queue(&self) -> &WaitQueue {
        &self.0.completions.changed
    }
}

impl File for RingFile {
    fn ready(&self) -> PollEvents {
        let ring = &self.0;
        let mut events = PollEvents::empty();
        let geometry = ring.geometry();
        let queued = ring.memory.submission_tail().wrapping_sub(ring.memory.told_submission_head());
        events.set(PollEvents::OUT | PollEvents::WRNORM, queued < geometry.submissions);
        let is_readable = ring.available() > 0 || ring.completions.has_overflow() || !ring.work.is_empty();
        events.set(PollEvents::IN | PollEvents::RDNORM, is_readable);
        events
    }

    fn mapped_content(&self, offset: u64) -> Result<MappedContent, Errno> {
        match offset & IORING_OFF_MMAP_MASK {
            IORING_OFF_SQ_RING | IORING_OFF_CQ_RING => Ok(MappedContent::Whole(self.0.rings_object.clone())),
            IORING_OFF_SQES => Ok(MappedContent::Whole(self.0.requests_object.clone())),
            // Linux finds no room for what it does not know.
            IORING_OFF_PBUF_RING => {
                let number = (offset & !IORING_OFF_MMAP_MASK) >> IORING_OFF_PBUF_SHIFT;
                let group = self.0.registered.groups.get(number as u16).ok_or(Errno::EINVAL)?;
                let object = group.as_ring().and_then(BufferRing::object).ok_or(Errno::EINVAL)?;
                Ok(MappedContent::Whole(object.clone()))
            }
            _ => Err(Errno::ENOMEM),
        }
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        output.write_str("anon_inode:[io_uring]")
    }

    fn describe_state(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        let (memory, geometry) = (&self.0.memory, self.0.geometry());
        writeln!(output, "SqMask:\t{:#x}", geometry.submissions - 1)?;
        writeln!(output, "SqHead:\t{}", memory.told_submission_head())?;
        writeln!(output, "SqTail:\t{}", memory.submission_tail())?;
        writeln!(output, "CqMask:\t{:#x}", geometry.completions - 1)?;
        writeln!(output, "CqHead:\t{}", memory.completion_head())?;
        writeln!(output, "CqTail:\t{}", memory.completion_head().wrapping_add(self.0.available()))
    }
}

impl Drop for RingFile {
    fn drop(&mut self) {
        self.0.close();
    }
}
