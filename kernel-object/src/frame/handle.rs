//! Owners of single frames.

use core::fmt;
use core::mem::ManuallyDrop;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use kernel_hal::user_memory::{self, CopyFault};
use kernel_hal::{PAGE_SIZE, PhysAddr, VirtAddr, memory};

use super::allocator::{COUNT_MASK, COUNT_SHIFT, KIND_MASK, MARKS_SHIFT, Note, address_of, zero_fresh};
use super::{FrameKind, OutOfMemory, allocator, contents};

const ONE_PIN: u32 = 1 << COUNT_SHIFT;

/// The only owner of a frame.
#[repr(transparent)]
pub struct Frame(NonZeroU32);

/// One of the owners of a frame.
#[repr(transparent)]
pub struct SharedFrame(NonZeroU32);

/// An owner that holds the frame still: while it lives, copy-on-write gives a forked child the copy and leaves the
/// original where it is, so what a device was told to fill is what the program sees.
#[repr(transparent)]
pub struct PinnedFrame(SharedFrame);

fn note(number: NonZeroU32) -> &'static Note {
    allocator().note(number.get())
}

/// What the three owners have in common.
macro_rules! frame_access {
    ($name:ident, $number:expr) => {
        impl $name {
            /// Where the frame is on the memory bus.
            #[inline]
            pub fn address(&self) -> PhysAddr {
                let number: fn(&Self) -> NonZeroU32 = $number;
                address_of(number(self).get())
            }

            /// What the frame is used for.
            pub fn kind(&self) -> FrameKind {
                let number: fn(&Self) -> NonZeroU32 = $number;
                FrameKind::from_bits(note(number(self)).extra.load(Ordering::Relaxed))
            }

            /// Copies bytes out of the frame. Panics if the range leaves the page.
            pub fn read(&self, offset: usize, destination: &mut [u8]) {
                // SAFETY: `self` keeps the frame allocated.
                unsafe { contents::read(self.address(), offset, destination) }
            }

            /// Copies bytes into the frame. Panics if the range leaves the page.
            pub fn write(&self, offset: usize, source: &[u8]) {
                // SAFETY: `self` keeps the frame allocated, and frames with handles hold data, never kernel objects.
                unsafe { contents::write(self.address(), offset, source) }
            }

            /// Fills a part of the frame with zeros. Panics if the range leaves the page.
            pub fn zero_range(&self, range: core::ops::Range<usize>) {
                // SAFETY: as in `write`.
                unsafe { contents::zero_range(self.address(), range) }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.address())
            }
        }
    };
}

frame_access!(Frame, |frame| frame.0);
frame_access!(SharedFrame, |frame| frame.0);
frame_access!(PinnedFrame, |frame| frame.0.0);

impl Frame {
    /// Takes a frame whose content is whatever it was: for callers that overwrite all of it.
    #[inline]
    pub fn allocate(kind: FrameKind) -> Result<Self, OutOfMemory> {
        let number = allocator().allocate(kind)?;
        NonZeroU32::new(number).map(Self).ok_or(OutOfMemory)
    }

    /// Takes a frame full of zeros.
    #[inline]
    pub fn allocate_zeroed(kind: FrameKind) -> Result<Self, OutOfMemory> {
        let frame = Self::allocate(kind)?;
        zero_fresh(frame.0.get());
        Ok(frame)
    }

    /// Takes a frame with the content of `original`.
    #[inline]
    pub fn allocate_copy(kind: FrameKind, original: &SharedFrame) -> Result<Self, OutOfMemory> {
        let frame = Self::allocate(kind)?;
        // SAFETY: the new frame has no other owner, and `original` keeps the old one allocated.
        unsafe { contents::copy(frame.address(), original.address()) };
        Ok(frame)
    }

    /// Copies from this frame to the active program's memory. Panics if the range leaves the page.
    #[inline]
    pub fn copy_to_user(&self, offset: usize, destination: VirtAddr, len: usize) -> Result<(), CopyFault> {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
        // SAFETY: the range is inside the frame, which `self` keeps allocated and which no program maps.
        user_memory::copy_out(destination, unsafe { contents::slice(self.address(), offset, len) })
    }

    /// Copies from the active program's memory into this frame. Panics if the range leaves the page.
    #[inline]
    pub fn copy_from_user(&mut self, offset: usize, source: VirtAddr, len: usize) -> Result<(), CopyFault> {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
        // SAFETY: as in `copy_to_user`, and nobody else owns the frame.
        user_memory::copy_in(unsafe { contents::slice_mut(self.address(), offset, len) }, source)
    }

    /// Lets go of the frame without freeing it; [`Frame::from_address`] takes it up again.
    pub(crate) fn into_address(self) -> PhysAddr {
        ManuallyDrop::new(self).address()
    }

    /// Takes a frame up that [`Frame::into_address`] let go.
    ///
    /// # Safety
    /// The address must come from `into_address`, once for each call.
    pub(crate) unsafe fn from_address(address: PhysAddr) -> Self {
        Self(number_of(address))
    }
}

/// Changes the number that is kept in the notes of a table frame, whose owner holds it by address; returns the new
/// number.
///
/// # Safety
/// The address must be that of a frame with a single owner, who calls this and nobody else at the same time.
#[inline]
pub(crate) unsafe fn change_count(address: PhysAddr, change: i32) -> u32 {
    // SAFETY: passed on to the caller.
    unsafe { change_notes(address, change, 0) }
}

/// As [`change_count`], adding marks to those that the notes keep beside the number, until it is 0 again.
///
/// # Safety
/// As for [`change_count`].
#[inline]
pub(crate) unsafe fn change_notes(address: PhysAddr, change: i32, marks: u8) -> u32 {
    let extra = &note(number_of(address)).extra;
    let new = extra.load(Ordering::Relaxed).wrapping_add((change as u32) << COUNT_SHIFT);
    let count = new >> COUNT_SHIFT & COUNT_MASK;
    let kept = if count == 0 { new & KIND_MASK } else { new };
    extra.store(kept | u32::from(marks) << MARKS_SHIFT, Ordering::Relaxed);
    count
}

/// The marks in the notes of a table frame.
///
/// # Safety
/// As for [`change_count`].
#[inline]
pub(crate) unsafe fn marks(address: PhysAddr) -> u8 {
    (note(number_of(address)).extra.load(Ordering::Relaxed) >> MARKS_SHIFT) as u8
}

fn number_of(address: PhysAddr) -> NonZeroU32 {
    debug_assert!(address.is_page_aligned());
    NonZeroU32::new(address.page_number() as u32).expect("there is no frame at address 0")
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        note(self.0).references.store(0, Ordering::Relaxed);
        allocator().free(self.0.get());
    }
}

impl From<Frame> for SharedFrame {
    #[inline]
    fn from(frame: Frame) -> Self {
        Self(ManuallyDrop::new(frame).0)
    }
}

impl SharedFrame {
    /// Whether this is the only owner. Others can come only from this handle, so a yes stays true while the caller
    /// keeps it to itself.
    #[inline]
    pub fn is_exclusive(&self) -> bool {
        note(self.0).references.load(Ordering::Acquire) == 1
    }

    /// How many owners there are that are not pins. Pins come and go with requests; they do not make the frame
    /// somebody else's.
    #[inline]
    pub(crate) fn owners_but_pins(&self) -> u32 {
        let note = note(self.0);
        let pins = note.extra.load(Ordering::Acquire) >> COUNT_SHIFT;
        note.references.load(Ordering::Acquire).saturating_sub(pins)
    }

    /// Whether somebody has pinned the frame.
    #[inline]
    pub fn is_pinned(&self) -> bool {
        note(self.0).extra.load(Ordering::Acquire) >> COUNT_SHIFT != 0
    }

    /// Copies from this frame to the active program's memory. Panics if the range leaves the page.
    #[inline]
    pub fn copy_to_user(&self, offset: usize, destination: VirtAddr, len: usize) -> Result<(), CopyFault> {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
        // SAFETY: the range is inside the frame, which `self` keeps allocated. The slice lives for this call only;
        // the copy reads each byte once and makes nothing of its value, so a concurrent store is harmless.
        user_memory::copy_out(destination, unsafe { contents::slice(self.address(), offset, len) })
    }

    /// Another owner that also holds the frame still.
    pub fn pin(&self) -> PinnedFrame {
        // The reference comes before the pin, so that owners_but_pins never comes out too low.
        let shared = self.clone();
        note(self.0).extra.fetch_add(ONE_PIN, Ordering::AcqRel);
        PinnedFrame(shared)
    }

    /// Turns this ownership into one that holds the frame still.
    #[inline]
    pub fn into_pin(self) -> PinnedFrame {
        note(self.0).extra.fetch_add(ONE_PIN, Ordering::AcqRel);
        PinnedFrame(self)
    }

    /// Lets go of this ownership without giving it up; [`SharedFrame::from_address`] takes it up again. For
    /// ownership that is written down as an address: in a page-table entry.
    #[inline]
    pub(crate) fn into_address(self) -> PhysAddr {
        ManuallyDrop::new(self).address()
    }

    /// Takes up an ownership that [`SharedFrame::into_address`] let go.
    ///
    /// # Safety
    /// The address must come from `into_address`, once for each call.
    #[inline]
    pub(crate) unsafe fn from_address(address: PhysAddr) -> Self {
        Self(number_of(address))
    }

    /// A look at a frame through an ownership that stays written down.
    ///
    /// # Safety
    /// The address must come from `into_address`, and that ownership must not be taken up while the result lives.
    #[inline]
    pub(crate) unsafe fn borrow_address(address: PhysAddr) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self(number_of(address)))
    }
}

impl Clone for SharedFrame {
    #[inline]
    fn clone(&self) -> Self {
        let before = note(self.0).references.fetch_add(1, Ordering::Relaxed);
        debug_assert_ne!(before, 0, "a free frame is shared");
        Self(self.0)
    }
}

impl Drop for SharedFrame {
    #[inline]
    fn drop(&mut self) {
        if note(self.0).references.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            allocator().free(self.0.get());
        }
    }
}

impl PinnedFrame {
    /// The frame, to be owned without holding it still.
    pub fn shared(&self) -> &SharedFrame {
        &self.0
    }

    /// A word of the frame. Panics if it is misaligned or leaves the page.
    #[inline]
    pub(crate) fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < PAGE_SIZE);
        // SAFETY: an aligned word of the frame, which `self` keeps allocated; everybody accesses it atomically.
        unsafe { &*memory::phys_to_virt(self.address()).add(offset).cast() }
    }

    /// A double word of the frame. Panics if it is misaligned or leaves the page.
    #[inline]
    pub(crate) fn atomic_u64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < PAGE_SIZE);
        // SAFETY: as in `atomic_u32`.
        unsafe { &*memory::phys_to_virt(self.address()).add(offset).cast() }
    }

    /// Copies from the active program's memory into this frame. Panics if the range leaves the page.
    #[inline]
    pub fn copy_from_user(&self, offset: usize, source: VirtAddr, len: usize) -> Result<(), CopyFault> {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
        // SAFETY: as in `SharedFrame::copy_to_user`; the copy only writes.
        user_memory::copy_in(unsafe { contents::slice_mut(self.address(), offset, len) }, source)
    }
}

impl Clone for PinnedFrame {
    fn clone(&self) -> Self {
        self.0.pin()
    }
}

impl Drop for PinnedFrame {
    fn drop(&mut self) {
        let before = note(self.0.0).extra.fetch_sub(ONE_PIN, Ordering::AcqRel);
        debug_assert!(before >> COUNT_SHIFT != 0 && before & KIND_MASK < FrameKind::COUNT as u32);
    }
}
