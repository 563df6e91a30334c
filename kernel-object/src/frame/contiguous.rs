//! A run of neighbouring frames: rings and buffers that a device reaches without translation.

use core::fmt;

use kernel_hal::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};

use super::allocator::{address_of, zero_fresh};
use super::{FrameKind, OutOfMemory, allocator, contents};

/// The only owner of neighbouring frames.
pub struct ContiguousFrames {
    first: u32,
    count: usize,
}

impl ContiguousFrames {
    /// Takes `count` neighbouring frames whose address is a multiple of `alignment` bytes, a power of two. At most
    /// 256 MiB; anything from 2 frames on may fail while single frames are still to be had. The search looks at bit
    /// after bit: it is for set-up, not for hot paths.
    pub fn allocate(count: usize, alignment: usize, kind: FrameKind) -> Result<Self, OutOfMemory> {
        let alignment_log2 = alignment.max(PAGE_SIZE).ilog2() - PAGE_SHIFT as u32;
        let first = allocator().allocate_contiguous(count, alignment_log2, kind)?;
        Ok(Self { first, count })
    }

    /// As [`Self::allocate`], full of zeros.
    pub fn allocate_zeroed(count: usize, alignment: usize, kind: FrameKind) -> Result<Self, OutOfMemory> {
        let frames = Self::allocate(count, alignment, kind)?;
        (frames.first..frames.first + count as u32).for_each(zero_fresh);
        Ok(frames)
    }

    /// Where the first frame is on the memory bus.
    pub const fn address(&self) -> PhysAddr {
        address_of(self.first)
    }

    /// How many frames there are.
    pub const fn frame_count(&self) -> usize {
        self.count
    }

    /// Where the kernel sees the first byte. The memory stays valid while `self` lives; what may be done with it is
    /// between the owner and its device.
    pub fn as_ptr(&self) -> *mut u8 {
        kernel_hal::memory::phys_to_virt(self.address())
    }

    /// Copies bytes in. Panics if the range leaves the run.
    pub fn write(&self, mut offset: usize, mut source: &[u8]) {
        assert!(offset + source.len() <= self.count * PAGE_SIZE);
        while !source.is_empty() {
            let piece = source.len().min(PAGE_SIZE - offset % PAGE_SIZE);
            let frame = address_of(self.first + (offset / PAGE_SIZE) as u32);
            // SAFETY: the frame belongs to the run.
            unsafe { contents::write(frame, offset % PAGE_SIZE, &source[..piece]) };
            source = &source[piece..];
            offset += piece;
        }
    }

    /// Lets go of the run without freeing it.
    pub(crate) fn into_address(self) -> PhysAddr {
        core::mem::ManuallyDrop::new(self).address()
    }

    /// Takes a run up that [`Self::into_address`] let go.
    ///
    /// # Safety
    /// Address and count must be those of a run that was let go, once for each call.
    pub(crate) unsafe fn from_address(address: PhysAddr, count: usize) -> Self {
        Self { first: address.page_number() as u32, count }
    }
}

impl Drop for ContiguousFrames {
    fn drop(&mut self) {
        allocator().free_contiguous(self.first, self.count);
    }
}

impl fmt::Debug for ContiguousFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContiguousFrames({} x {})", self.address(), self.count)
    }
}
