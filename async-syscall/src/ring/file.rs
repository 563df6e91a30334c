//! The descriptor of a ring.

use alloc::sync::Arc;
use core::fmt;

use ksync::WaitQueue;
use linux_abi::Errno;
use linux_abi::io_uring::{
    IORING_OFF_CQ_RING, IORING_OFF_MMAP_MASK, IORING_OFF_PBUF_RING, IORING_OFF_PBUF_SHIFT,
    IORING_OFF_SQ_RING, IORING_OFF_SQES, Opcode, SetupFlags,
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
        let is_ring = offset & IORING_OFF_MMAP_MASK != IORING_OFF_PBUF_RING;
        if is_ring && self.0.flags().contains(SetupFlags::NO_MMAP) {
            return Err(Errno::EINVAL);
        }
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
        let (ring, memory, geometry) = (&self.0, &self.0.memory, self.0.geometry());
        let (head, tail) = (memory.told_submission_head(), memory.submission_tail());
        let (first, count) = (memory.completion_head(), ring.available());
        let last = first.wrapping_add(count);
        writeln!(output, "SqMask:\t{:#x}", geometry.submissions - 1)?;
        writeln!(output, "SqHead:\t{head}\nSqTail:\t{tail}\nCachedSqHead:\t{head}")?;
        writeln!(output, "CqMask:\t{:#x}", geometry.completions - 1)?;
        writeln!(output, "CqHead:\t{first}\nCqTail:\t{last}\nCachedCqTail:\t{last}")?;
        writeln!(output, "SQEs:\t{}\nCQEs:\t{count}", tail.wrapping_sub(head).min(geometry.submissions))?;
        // The task that takes submissions has no number among processes.
        writeln!(output, "SqThread:\t-1\nSqThreadCpu:\t-1\nSqTotalTime:\t0\nSqWorkTime:\t0")?;
        let (files, buffers) = ring.registered.counts();
        writeln!(output, "UserFiles:\t{files}\nUserBufs:\t{buffers}")?;
        for number in ring.registered.personalities.numbers() {
            writeln!(output, "{number:>5}")?;
        }
        output.write_str("PollList:\n")?;
        for request in ring.find(None, |request| request.identity.opcode == Opcode::PollAdd) {
            writeln!(output, "  op={}, task_works=0", request.identity.opcode as u8)?;
        }
        output.write_str("CqOverflowList:\n")?;
        ring.completions.describe_overflow(output)
    }
}

impl Drop for RingFile {
    fn drop(&mut self) {
        self.0.close();
    }
}
