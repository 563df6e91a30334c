//! The memory of a ring: pages that the kernel and the program read and write at the same time.
//!
//! Whatever the program can write is hostile. The kernel keeps what it relies on (its own head of submissions, its own
//! tail of completions, sizes) outside and only *tells* it here; what it reads here (the program's tail and head, the
//! indices, the requests) it loads once, masks, and bounds. So a program that scribbles over its rings hurts itself.
//!
//! The layout is that of Linux 6.12: heads and tails, sizes, flags, then the completions, then the array of indices of
//! submissions. The requests have pages of their own.

use core::sync::atomic::Ordering;

use kernel_hal::PAGE_SIZE;
use kernel_object::frame::OutOfMemory;
use kernel_object::paged_object::SharedPages;
use linux_abi::io_uring::{
    CompletionOffsets, IoUringCqe, IoUringSqe, SetupFlags, SubmissionOffsets, SubmissionState,
};
use zerocopy::{FromZeros, IntoBytes};

/// Where the words lie.
mod at {
    pub const SQ_HEAD: usize = 0;
    pub const SQ_TAIL: usize = 4;
    pub const CQ_HEAD: usize = 8;
    pub const CQ_TAIL: usize = 12;
    pub const SQ_MASK: usize = 16;
    pub const CQ_MASK: usize = 20;
    pub const SQ_ENTRIES: usize = 24;
    pub const CQ_ENTRIES: usize = 28;
    pub const SQ_DROPPED: usize = 32;
    pub const SQ_FLAGS: usize = 36;
    pub const CQ_FLAGS: usize = 40;
    pub const CQ_OVERFLOW: usize = 44;
    pub const CQES: usize = 64;
}

/// The array of indices begins at a multiple of this.
const ARRAY_ALIGNMENT: usize = 64;

/// How many entries each ring has, and of which size. Entries are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Entries of the ring of submissions.
    pub submissions: u32,
    /// Entries of the ring of completions.
    pub completions: u32,
    /// A request has 128 bytes in place of 64.
    pub large_requests: bool,
    /// A completion has 32 bytes in place of 16.
    pub large_completions: bool,
    /// Submissions are the requests in their order, without an array of indices.
    pub is_direct: bool,
}

impl Geometry {
    /// What the flags ask for.
    pub fn new(submissions: u32, completions: u32, flags: SetupFlags) -> Self {
        Self {
            submissions,
            completions,
            large_requests: flags.contains(SetupFlags::SQE128),
            large_completions: flags.contains(SetupFlags::CQE32),
            is_direct: flags.contains(SetupFlags::NO_SQARRAY),
        }
    }

    fn request_bytes(&self) -> usize {
        size_of::<IoUringSqe>() << u32::from(self.large_requests)
    }

    fn completion_bytes(&self) -> usize {
        size_of::<IoUringCqe>() << u32::from(self.large_completions)
    }

    fn array(&self) -> usize {
        (at::CQES + self.completions as usize * self.completion_bytes()).next_multiple_of(ARRAY_ALIGNMENT)
    }

    /// Bytes of the rings.
    pub fn rings_bytes(&self) -> usize {
        let indices = if self.is_direct { 0 } else { self.submissions as usize * size_of::<u32>() };
        self.array() + indices
    }

    /// Bytes of the requests.
    pub fn requests_bytes(&self) -> usize {
        self.submissions as usize * self.request_bytes()
    }

    /// What the program is told.
    pub fn submission_offsets(&self) -> SubmissionOffsets {
        SubmissionOffsets {
            head: at::SQ_HEAD as u32,
            tail: at::SQ_TAIL as u32,
            ring_mask: at::SQ_MASK as u32,
            ring_entries: at::SQ_ENTRIES as u32,
            flags: at::SQ_FLAGS as u32,
            dropped: at::SQ_DROPPED as u32,
            array: if self.is_direct { 0 } else { self.array() as u32 },
            ..Default::default()
        }
    }

    /// What the program is told.
    pub fn completion_offsets(&self) -> CompletionOffsets {
        CompletionOffsets {
            head: at::CQ_HEAD as u32,
            tail: at::CQ_TAIL as u32,
            ring_mask: at::CQ_MASK as u32,
            ring_entries: at::CQ_ENTRIES as u32,
            overflow: at::CQ_OVERFLOW as u32,
            cqes: at::CQES as u32,
            flags: at::CQ_FLAGS as u32,
            ..Default::default()
        }
    }
}

/// The pages of a ring.
pub struct RingMemory {
    geometry: Geometry,
    rings: SharedPages,
    requests: SharedPages,
}

/// What stands in the ring of submissions at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A request, as it was at one moment.
    Request(IoUringSqe),
    /// An index that means nothing.
    BadIndex,
}

impl RingMemory {
    /// Fresh pages, which programs get by `mmap`.
    pub fn allocate(geometry: Geometry) -> Result<Self, OutOfMemory> {
        let rings = SharedPages::allocate(geometry.rings_bytes().div_ceil(PAGE_SIZE))?;
        let requests = SharedPages::allocate(geometry.requests_bytes().div_ceil(PAGE_SIZE))?;
        Ok(Self::new(geometry, rings, requests))
    }

    /// A ring in these pages, which have room for it.
    pub fn new(geometry: Geometry, rings: SharedPages, requests: SharedPages) -> Self {
        assert!(rings.len() >= geometry.rings_bytes() && requests.len() >= geometry.requests_bytes());
        let told = [
            (at::SQ_HEAD, 0),
            (at::SQ_TAIL, 0),
            (at::CQ_HEAD, 0),
            (at::CQ_TAIL, 0),
            (at::SQ_MASK, geometry.submissions - 1),
            (at::CQ_MASK, geometry.completions - 1),
            (at::SQ_ENTRIES, geometry.submissions),
            (at::CQ_ENTRIES, geometry.completions),
            (at::SQ_DROPPED, 0),
            (at::SQ_FLAGS, 0),
            (at::CQ_FLAGS, 0),
            (at::CQ_OVERFLOW, 0),
        ];
        for (offset, value) in told {
            rings.store_u32(offset, value, Ordering::Relaxed);
        }
        Self { geometry, rings, requests }
    }

    /// Sizes and layout.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The pages of the rings.
    pub fn rings(&self) -> &SharedPages {
        &self.rings
    }

    /// The pages of the requests.
    pub fn requests(&self) -> &SharedPages {
        &self.requests
    }

    /// Up to where the program has submitted.
    #[inline]
    pub fn submission_tail(&self) -> u32 {
        self.rings.load_u32(at::SQ_TAIL, Ordering::Acquire)
    }

    /// Tells the program up to where its submissions were taken.
    #[inline]
    pub fn tell_submission_head(&self, head: u32) {
        self.rings.store_u32(at::SQ_HEAD, head, Ordering::Release);
    }

    /// Up to where submissions were taken, as the program was told.
    pub fn told_submission_head(&self) -> u32 {
        self.rings.load_u32(at::SQ_HEAD, Ordering::Relaxed)
    }

    /// The submission at a place of the ring.
    #[inline]
    pub fn submission(&self, position: u32) -> Entry {
        let slot = position & (self.geometry.submissions - 1);
        let index = if self.geometry.is_direct {
            slot
        } else {
            let offset = self.geometry.array() + slot as usize * size_of::<u32>();
            self.rings.load_u32(offset, Ordering::Relaxed)
        };
        if index >= self.geometry.submissions {
            return Entry::BadIndex;
        }
        let mut request = IoUringSqe::new_zeroed();
        self.requests.read(index as usize * self.geometry.request_bytes(), request.as_mut_bytes());
        Entry::Request(request)
    }

    /// Tells the program that a submission was dropped.
    pub fn count_dropped(&self) {
        let dropped = self.rings.load_u32(at::SQ_DROPPED, Ordering::Relaxed);
        self.rings.store_u32(at::SQ_DROPPED, dropped.wrapping_add(1), Ordering::Relaxed);
    }

    /// Up to where the program has taken its completions.
    #[inline]
    pub fn completion_head(&self) -> u32 {
        self.rings.load_u32(at::CQ_HEAD, Ordering::Acquire)
    }

    /// Stores a completion at a place of the ring; the program looks at it when it is told the new tail.
    #[inline]
    pub fn store_completion(&self, position: u32, completion: &IoUringCqe, extra: [u64; 2]) {
        let slot = position & (self.geometry.completions - 1);
        let offset = at::CQES + slot as usize * self.geometry.completion_bytes();
        self.rings.store_u64(offset, completion.user_data, Ordering::Relaxed);
        let result = u64::from(completion.res as u32) | u64::from(completion.flags) << 32;
        self.rings.store_u64(offset + size_of::<u64>(), result, Ordering::Relaxed);
        if self.geometry.large_completions {
            for (index, word) in extra.into_iter().enumerate() {
                let at = offset + size_of::<IoUringCqe>() + index * size_of::<u64>();
                self.rings.store_u64(at, word, Ordering::Relaxed);
            }
        }
    }

    /// Tells the program up to where there are completions.
    #[inline]
    pub fn tell_completion_tail(&self, tail: u32) {
        self.rings.store_u32(at::CQ_TAIL, tail, Ordering::Release);
    }

    /// Tells the program how many completions were lost for want of memory.
    pub fn count_lost_completion(&self) {
        let lost = self.rings.load_u32(at::CQ_OVERFLOW, Ordering::Relaxed);
        self.rings.store_u32(at::CQ_OVERFLOW, lost.wrapping_add(1), Ordering::Relaxed);
    }

    /// What the program asks of the ring of completions.
    pub fn completion_flags(&self) -> u32 {
        self.rings.load_u32(at::CQ_FLAGS, Ordering::Relaxed)
    }

    /// What the program was told of the ring of submissions.
    pub fn state(&self) -> SubmissionState {
        SubmissionState::from_bits_retain(self.rings.load_u32(at::SQ_FLAGS, Ordering::Relaxed))
    }

    /// Tells the program something about the ring of submissions.
    pub fn set_state(&self, state: SubmissionState) {
        self.rings.fetch_or_u32(at::SQ_FLAGS, state.bits(), Ordering::AcqRel);
    }

    /// Takes it back.
    pub fn clear_state(&self, state: SubmissionState) {
        self.rings.fetch_and_u32(at::SQ_FLAGS, !state.bits(), Ordering::AcqRel);
    }
}
