//! Requests and the memory they work on.

use std::fmt;

use heapless::Vec;
use kernel_hal::{PAGE_SIZE, PhysAddr};
use kernel_object::frame::PinnedFrame;

use super::{BlockError, BlockInformation};

/// The unit of disk addresses.
pub const SECTOR_BYTES: usize = 512;
/// The most segments of a request: 128 KiB in pages, Linux's default read-ahead.
pub const MAX_SEGMENTS: usize = 32;
/// The most bytes of a segment, which lies in one frame.
pub const MAX_SEGMENT_BYTES: usize = PAGE_SIZE;

/// A part of a frame that a device reads or writes. Owns the frame, pinned.
#[derive(Debug)]
pub struct Segment {
    frame: PinnedFrame,
    offset: u16,
    bytes: u16,
}

impl Segment {
    /// `bytes` bytes from `offset` of the frame on. Panics if they are none or leave the frame.
    pub fn new(frame: PinnedFrame, offset: usize, bytes: usize) -> Self {
        assert!(bytes > 0 && offset < PAGE_SIZE && bytes <= PAGE_SIZE - offset);
        Self { frame, offset: offset as u16, bytes: bytes as u16 }
    }

    /// The whole frame.
    #[inline]
    pub fn whole(frame: PinnedFrame) -> Self {
        Self { frame, offset: 0, bytes: PAGE_SIZE as u16 }
    }

    /// The frame.
    pub fn frame(&self) -> &PinnedFrame {
        &self.frame
    }

    /// Where the segment starts.
    #[inline]
    pub fn address(&self) -> PhysAddr {
        self.frame.address() + usize::from(self.offset)
    }

    /// How many bytes it has.
    #[inline]
    pub fn bytes(&self) -> usize {
        usize::from(self.bytes)
    }
}

/// A request has no room for another segment; here it is.
#[derive(Debug)]
pub struct TooManySegments(pub Segment);

/// The memory of one request: pieces in the order in which they lie on the disk.
#[derive(Default)]
pub struct Segments(Vec<Segment, MAX_SEGMENTS>);

impl Segments {
    /// No memory.
    #[inline]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// One whole frame.
    #[inline]
    pub fn one(frame: PinnedFrame) -> Self {
        let mut segments = Self::new();
        let _fits = segments.push(Segment::whole(frame));
        segments
    }

    /// Adds a piece.
    #[inline]
    pub fn push(&mut self, segment: Segment) -> Result<(), TooManySegments> {
        self.0.push(segment).map_err(TooManySegments)
    }

    /// The pieces.
    pub fn as_slice(&self) -> &[Segment] {
        &self.0
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Segment::bytes).sum()
    }

    /// Moves all pieces over; `other` must be empty.
    #[inline]
    pub(crate) fn move_to(&mut self, other: &mut Self) {
        debug_assert!(other.0.is_empty());
        // Element by element: a move of the whole list would copy its unused capacity too.
        for segment in self.0.drain(..) {
            let _fits = other.0.push(segment);
        }
    }

    /// Lets go of the memory.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a disk is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Fill the segments.
    Read,
    /// Store the segments.
    Write,
    /// Make answered writes durable.
    Flush,
    /// Forget this many sectors: what they hold does not matter any more.
    Discard {
        /// How many sectors.
        sectors: u32,
    },
    /// Make this many sectors zero.
    WriteZeroes {
        /// How many sectors.
        sectors: u32,
        /// Whether the disk may give their space up.
        may_unmap: bool,
    },
    /// Write the disk's serial number, up to [`Operation::SERIAL_BYTES`] of text, into the one segment.
    Identify,
}

impl Operation {
    /// The size of the segment for [`Operation::Identify`].
    pub const SERIAL_BYTES: usize = 20;
}

/// A request, without its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRequest {
    /// What to do. Read, write and identify need memory, the others must have none.
    pub operation: Operation,
    /// The first sector concerned; ignored for flush and identify.
    pub sector: u64,
}

impl BlockRequest {
    /// Whether a disk like this can be asked for it. Returns how many bytes are to be transferred.
    #[inline]
    pub(crate) fn check(&self, segments: &Segments, disk: &BlockInformation) -> Result<usize, BlockError> {
        let bytes = segments.bytes();
        let writes = matches!(
            self.operation,
            Operation::Write | Operation::Discard { .. } | Operation::WriteZeroes { .. }
        );
        if writes && disk.read_only {
            return Err(BlockError::ReadOnly);
        }
        let fits = match self.operation {
            Operation::Read | Operation::Write => {
                bytes != 0
                    && segments.as_slice().len() <= disk.max_segments
                    && self.lies_on(disk, (bytes / SECTOR_BYTES) as u64)
                    && bytes.is_multiple_of(disk.logical_block_bytes as usize)
            }
            Operation::Flush => bytes == 0,
            Operation::Identify => bytes == Operation::SERIAL_BYTES && segments.as_slice().len() == 1,
            Operation::Discard { sectors } => {
                if disk.max_discard_sectors == 0 {
                    return Err(BlockError::Unsupported);
                }
                bytes == 0 && self.is_range_up_to(disk, sectors, disk.max_discard_sectors)
            }
            Operation::WriteZeroes { sectors, .. } => {
                if disk.max_write_zeroes_sectors == 0 {
                    return Err(BlockError::Unsupported);
                }
                bytes == 0 && self.is_range_up_to(disk, sectors, disk.max_write_zeroes_sectors)
            }
        };
        if fits { Ok(bytes) } else { Err(BlockError::Invalid) }
    }

    fn is_range_up_to(&self, disk: &BlockInformation, sectors: u32, most: u32) -> bool {
        let block_sectors = disk.logical_block_bytes / SECTOR_BYTES as u32;
        (1..=most).contains(&sectors)
            && sectors.is_multiple_of(block_sectors)
            && self.lies_on(disk, u64::from(sectors))
    }

    fn lies_on(&self, disk: &BlockInformation, sectors: u64) -> bool {
        let block_sectors = u64::from(disk.logical_block_bytes) / SECTOR_BYTES as u64;
        self.sector.is_multiple_of(block_sectors)
            && self.sector.checked_add(sectors).is_some_and(|end| end <= disk.sectors)
    }
}
