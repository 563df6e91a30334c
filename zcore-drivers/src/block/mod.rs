//! Block devices: what a disk can be asked, and how one waits for the answer.
//!
//! A request owns the pieces of memory that it works on, as pinned frames. [`BlockDevice::submit`] moves them into the
//! driver, which keeps them until the device has answered; the [`Ticket`] that comes back is only a right to ask for
//! the result. Whoever loses interest [abandons](BlockDevice::abandon) the ticket: the memory stays where it is until
//! the device is done with it. [`BlockOperation`] wraps all this into a future that may be dropped at any time.
//!
//! `submit` does not tell the device: several requests may be submitted before one [`BlockDevice::kick`].
//!
//! Limit: an answered request keeps its slot until its ticket is shown or abandoned. Who holds many operations must
//! poll those that are woken, and not wait for a new one alone.

mod faulty;
mod operation;
mod request;
mod transfer;

pub use faulty::{FaultPlan, FaultyBlock, TimerHook};
pub use operation::BlockOperation;
pub use request::{
    BlockRequest, MAX_SEGMENT_BYTES, MAX_SEGMENTS, Operation, SECTOR_BYTES, Segment, Segments,
    TooManySegments,
};
pub use transfer::Transfer;

use std::fmt;
use std::task::{Poll, Waker};

use ksync::WaitQueue;

/// What a disk is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInformation {
    /// Its size in sectors of [`SECTOR_BYTES`].
    pub sectors: u64,
    /// The unit in which it must be addressed, a power of two of at least [`SECTOR_BYTES`].
    pub logical_block_bytes: u32,
    /// The unit in which it works best.
    pub physical_block_bytes: u32,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// Whether written data may be lost on a power cut until a flush.
    pub needs_flush: bool,
    /// The most segments of one request.
    pub max_segments: usize,
    /// The most sectors that one discard may name; 0 if it cannot discard.
    pub max_discard_sectors: u32,
    /// The most sectors that one write of zeroes may name; 0 if it cannot do it by itself.
    pub max_write_zeroes_sectors: u32,
    /// How many requests it works on at a time.
    pub queue_depth: usize,
}

/// What a disk has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockStatistics {
    /// Requests handed to the device.
    pub submitted: u64,
    /// Requests that the device answered.
    pub completed: u64,
    /// Of these, those that failed.
    pub failed: u64,
    /// Times the device was notified.
    pub notifications: u64,
    /// Times the device interrupted.
    pub interrupts: u64,
    /// Interrupts after which nothing was found.
    pub spurious_interrupts: u64,
    /// Answers to nothing that was asked.
    pub bogus_answers: u64,
    /// Requests that took too long.
    pub timeouts: u64,
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// The device reported a failure.
    Device,
    /// The device does not know the operation.
    Unsupported,
    /// A write to a read-only disk.
    ReadOnly,
    /// The request leaves the disk, is not made of whole blocks, or is empty or too large.
    Invalid,
    /// The device says it succeeded, but wrote less than was asked.
    ShortTransfer,
    /// The device did not answer in time. It may still do what was asked.
    TimedOut,
    /// The device's ring makes no sense any more; nothing will be answered.
    Broken,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "the device reported an error",
            Self::Unsupported => "the device does not support the operation",
            Self::ReadOnly => "the device is read-only",
            Self::Invalid => "the request does not fit the device",
            Self::ShortTransfer => "the device transferred too little",
            Self::TimedOut => "the device did not answer in time",
            Self::Broken => "the device is broken",
        })
    }
}

impl std::error::Error for BlockError {}

/// What became of a request that was answered.
pub type BlockResult = Result<(), BlockError>;

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// As many requests as the device takes are under way: try again when [`BlockDevice::slots_free`] is woken.
    Full,
    /// The request will never be taken.
    Refused(BlockError),
}

/// The right to ask for a request's result, once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a request whose ticket is lost keeps its slot for ever"]
pub struct Ticket {
    /// Which of the device's slots holds the request.
    pub slot: u16,
    /// Which of the slot's many requests it is.
    pub generation: u32,
}

/// A disk.
pub trait BlockDevice: Send + Sync {
    /// What the disk is like.
    fn information(&self) -> BlockInformation;

    /// What it has done so far.
    fn statistics(&self) -> BlockStatistics;

    /// Takes a request. Its memory moves into the driver: `segments` is empty afterwards, unless an error is returned.
    /// The device may not notice before [`BlockDevice::kick`]. `waker` is woken when there is a result.
    fn submit(
        &self,
        request: BlockRequest,
        segments: &mut Segments,
        waker: Option<&Waker>,
    ) -> Result<Ticket, SubmitError>;

    /// Tells the device of what was submitted.
    fn kick(&self);

    /// The result, if the device has answered; then the ticket is used up and must not be shown again. Otherwise
    /// `waker` is woken when there is one.
    fn poll_result(&self, ticket: &Ticket, waker: &Waker) -> Poll<BlockResult>;

    /// Gives up the right to the result.
    fn abandon(&self, ticket: Ticket);

    /// Where to wait when [`SubmitError::Full`] was returned.
    fn slots_free(&self) -> &WaitQueue;

    /// Ends the wait for requests that the device has not answered for too long. To be called once a second or so.
    fn check_timeouts(&self, now: kernel_hal::Instant);
}

impl<'d> dyn BlockDevice + 'd {
    /// Carries out a request: submits it (waiting for room if there is none), tells the device, waits for the result.
    /// The memory is borrowed only until it has moved into the driver, but for the sake of the types until the end.
    #[inline]
    pub fn execute<'a>(&'a self, request: BlockRequest, segments: &'a mut Segments) -> BlockOperation<'a> {
        BlockOperation::new(self, request, segments)
    }

    /// Reads from `sector` on into the segments.
    #[inline]
    pub fn read<'a>(&'a self, sector: u64, segments: &'a mut Segments) -> BlockOperation<'a> {
        self.execute(BlockRequest { operation: Operation::Read, sector }, segments)
    }

    /// Writes the segments from `sector` on.
    #[inline]
    pub fn write<'a>(&'a self, sector: u64, segments: &'a mut Segments) -> BlockOperation<'a> {
        self.execute(BlockRequest { operation: Operation::Write, sector }, segments)
    }

    /// Carries out a request that has no memory.
    pub async fn execute_without_data(&self, request: BlockRequest) -> BlockResult {
        self.execute(request, &mut Segments::new()).await
    }

    /// Makes everything durable whose write was answered before. On a disk without a volatile cache this is nothing.
    pub async fn flush(&self) -> BlockResult {
        if !self.information().needs_flush {
            return Ok(());
        }
        self.execute_without_data(BlockRequest { operation: Operation::Flush, sector: 0 }).await
    }
}
