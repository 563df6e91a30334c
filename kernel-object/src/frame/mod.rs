//! Physical memory, one page at a time.
//!
//! A frame has owners, never users: [`Frame`] is the only owner of one, [`SharedFrame`] one of several (a reference
//! count in the frame's notes), [`PinnedFrame`] a shared one that a device or the kernel works on, and
//! [`ContiguousFrames`] owns a run for a device. Dropping the last owner frees the frame; there is no other way to
//! free one, so a frame that a page-table entry or a request still owns cannot be handed out again.
//!
//! Running out is a value ([`OutOfMemory`]). A reserve is kept for the kernel's own small objects: what programs
//! fill (their pages, page tables, cached file pages) is refused before the heap is.
//!
//! A handle is four bytes. It does not name its allocator: on the machine there is one; on the host a thread may
//! [`host::use_private`] one, so that tests can run out of memory and count frames without meeting each other.

mod allocator;
mod contents;
mod contiguous;
mod handle;
#[cfg(not(target_os = "none"))]
pub mod host;
#[cfg(test)]
mod tests;

use core::fmt;
use core::ops::Range;

use kernel_hal::PhysAddr;

pub use allocator::FrameAllocator;
pub use contiguous::ContiguousFrames;
pub use handle::{Frame, PinnedFrame, SharedFrame};
pub(crate) use handle::{change_count, change_notes, marks};

/// There is no frame left that the caller may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory")
    }
}

impl core::error::Error for OutOfMemory {}

/// What a frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// The kernel heap and kernel stacks.
    Kernel,
    /// Page tables of programs.
    PageTable,
    /// Private memory of programs.
    Anonymous,
    /// Pages of paged objects that somebody stores: cached files.
    Object,
    /// Rings and buffers of devices.
    Device,
    /// Pages of paged objects that nobody stores: tmpfs, memfd, shared anonymous memory.
    Shared,
}

impl FrameKind {
    /// How many kinds there are.
    pub const COUNT: usize = 6;

    /// Every kind, in the order of [`Statistics::used`].
    pub const ALL: [Self; Self::COUNT] =
        [Self::Kernel, Self::PageTable, Self::Anonymous, Self::Object, Self::Device, Self::Shared];

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self::ALL[(bits & allocator::KIND_MASK) as usize]
    }

    const fn may_use_reserve(self) -> bool {
        matches!(self, Self::Kernel | Self::Device)
    }
}

/// Frames by what they are used for. The numbers are read while others allocate: they may be off by a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// All frames that the allocator was given, without what its own notes occupy.
    pub total: usize,
    /// Frames that nobody owns.
    pub free: usize,
    /// Owned frames, indexed by [`FrameKind`].
    pub used: [usize; FrameKind::COUNT],
}

impl Statistics {
    /// Owned frames of one kind.
    pub const fn used_by(&self, kind: FrameKind) -> usize {
        self.used[kind as usize]
    }
}

#[cfg(target_os = "none")]
static MACHINE: FrameAllocator = FrameAllocator::new();

/// The allocator behind every handle.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn allocator() -> &'static FrameAllocator {
    &MACHINE
}

#[cfg(not(target_os = "none"))]
pub(crate) use host::allocator;

/// Takes over the machine's free memory; see [`FrameAllocator::init`].
///
/// # Safety
/// As for [`FrameAllocator::init`].
pub unsafe fn init(regions: &[Range<PhysAddr>]) {
    // SAFETY: passed on to the caller.
    unsafe { allocator().init(regions) };
}

/// All frames that the machine has for use.
pub fn total() -> usize {
    allocator().total()
}

/// How much memory there is, and who has it.
pub fn statistics() -> Statistics {
    allocator().statistics()
}

/// Keeps the last `frames` for the kernel itself; see [`FrameAllocator::set_reserve`].
pub fn set_reserve(frames: usize) {
    allocator().set_reserve(frames);
}

/// An error if the kernel's reserve has been touched. To be asked before a program's request makes the kernel
/// allocate objects that cannot fail one by one (an `Arc`, a tree's node): such requests are refused first, and the
/// reserve serves those already under way.
pub fn check_headroom() -> Result<(), OutOfMemory> {
    if allocator().has_headroom() { Ok(()) } else { Err(OutOfMemory) }
}

/// Whether a program's request for so many pages could be granted.
pub fn has_room(pages: usize) -> bool {
    allocator().has_room(pages)
}

/// Returns this hart's cached free frames, for a hart that goes idle or a request that found memory fragmented.
pub fn drain_cache() {
    allocator().drain_cache();
}
