//! The kernel heap: small objects from slabs, large ones from frames.
//!
//! Small requests are rounded up to one of [`CLASS_SIZES`] and served from a list that belongs to the hart: no lock, no
//! search. Lists are filled from and emptied to [`slab`]s a batch at a time; a slab whose objects are all free goes
//! back to the frames. Requests above the largest class take whole frames: one from the hart's cache of frames, or
//! neighbouring ones.
//!
//! Failure is a null pointer. The heap may use the frames' reserve, so it fails last, after programs were refused.
//!
//! Limits: objects that wait in a hart's lists are invisible to others (at most 4 KiB to 16 KiB per class and hart).
//! Requests of several frames need neighbouring frames and a search; hot paths should not make them.

mod slab;
#[cfg(test)]
mod tests;

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicIsize, AtomicPtr, AtomicUsize, Ordering};

use kernel_hal::{MAX_HARTS, PAGE_SIZE, memory};
use ksync::{PerHart, Rank, SpinLock};

use crate::frame::{ContiguousFrames, Frame, FrameKind};
use slab::{FreeObject, Slabs};

/// The sizes of small objects. Powers of two are aligned to their size, the others to 16 bytes.
const CLASS_SIZES: [usize; 16] =
    [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536, 2048];
const CLASSES: usize = CLASS_SIZES.len();
const LARGEST_SMALL: usize = CLASS_SIZES[CLASSES - 1];
const GRANULE: usize = 16;

/// The class of a request by its size in granules, rounded up.
const CLASS_OF: [u8; LARGEST_SMALL / GRANULE + 1] = {
    let mut table = [0; LARGEST_SMALL / GRANULE + 1];
    let mut granules = 0;
    let mut class = 0;
    while granules < table.len() {
        if granules * GRANULE > CLASS_SIZES[class] {
            class += 1;
        }
        table[granules] = class as u8;
        granules += 1;
    }
    table
};

/// How many objects of a class move between a hart and the slabs at once.
const fn batch(class: usize) -> usize {
    let fitting = 4096 / CLASS_SIZES[class];
    if fitting > 32 {
        32
    } else if fitting < 4 {
        4
    } else {
        fitting
    }
}

/// Objects of one class that are free and belong to a hart. Only that hart touches them, interrupts masked.
struct FreeList {
    first: AtomicPtr<FreeObject>,
    count: AtomicUsize,
    /// Objects handed out minus objects taken back by this hart; only the sum over all harts means something.
    in_use: AtomicIsize,
}

/// What one hart has. The fields are atomics so that statistics may look, and cost what plain fields would.
struct HartLists {
    classes: [FreeList; CLASSES],
    /// The same of bytes in whole frames.
    frame_bytes_in_use: AtomicIsize,
}

/// How many objects of a size there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassUse {
    /// The size that requests were rounded up to.
    pub size: usize,
    /// Objects that are handed out.
    pub in_use: usize,
    /// Objects for which there is memory, those in use included.
    pub capacity: usize,
}

impl FreeList {
    const fn new() -> Self {
        Self { first: AtomicPtr::new(null_mut()), count: AtomicUsize::new(0), in_use: AtomicIsize::new(0) }
    }

    #[inline]
    fn note_use(&self, objects: isize) {
        self.in_use.store(self.in_use.load(Ordering::Relaxed) + objects, Ordering::Relaxed);
    }

    #[inline]
    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    #[inline]
    fn pop(&self) -> *mut FreeObject {
        let first = self.first.load(Ordering::Relaxed);
        if !first.is_null() {
            // SAFETY: what is in the list is free memory of this class that only this hart can reach.
            self.first.store(unsafe { (*first).next }, Ordering::Relaxed);
            self.count.store(self.count() - 1, Ordering::Relaxed);
        }
        first
    }

    /// # Safety
    /// `object` must be unused memory of this list's class.
    #[inline]
    unsafe fn push(&self, object: *mut FreeObject) {
        // SAFETY: passed on to the caller.
        unsafe { (*object).next = self.first.load(Ordering::Relaxed) };
        self.first.store(object, Ordering::Relaxed);
        self.count.store(self.count() + 1, Ordering::Relaxed);
    }
}

impl HartLists {
    const fn new() -> Self {
        Self { classes: [const { FreeList::new() }; CLASSES], frame_bytes_in_use: AtomicIsize::new(0) }
    }

    fn note_frames(&self, bytes: isize) {
        let before = self.frame_bytes_in_use.load(Ordering::Relaxed);
        self.frame_bytes_in_use.store(before + bytes, Ordering::Relaxed);
    }
}

/// The allocator of kernel objects. One static of this type is the kernel image's `#[global_allocator]`.
pub struct KernelHeap {
    harts: PerHart<HartLists>,
    slabs: [SpinLock<Slabs>; CLASSES],
}

/// How a request is served.
enum Plan {
    Small(usize),
    Frames(usize),
}

#[inline(always)]
fn plan(layout: Layout) -> Plan {
    let (size, align) = (layout.size(), layout.align());
    if align <= GRANULE && size <= LARGEST_SMALL {
        return Plan::Small(CLASS_OF[size.div_ceil(GRANULE)] as usize);
    }
    if size.max(align) <= LARGEST_SMALL {
        // Aligned to more than a granule: a power of two is aligned to itself.
        return Plan::Small(CLASS_OF[size.max(align).next_power_of_two() / GRANULE] as usize);
    }
    Plan::Frames(size.max(1).div_ceil(PAGE_SIZE))
}

impl KernelHeap {
    /// An empty heap.
    pub const fn new() -> Self {
        Self {
            harts: PerHart::new([const { HartLists::new() }; MAX_HARTS]),
            slabs: [const { SpinLock::new(Rank::HEAP, Slabs::new()) }; CLASSES],
        }
    }

    /// Bytes that are handed out, in the sizes that they were rounded up to.
    pub fn bytes_in_use(&self) -> usize {
        let small: usize = self.classes().map(|class| class.size * class.in_use).sum();
        small + self.frame_bytes_in_use()
    }

    /// Bytes in whole frames that are handed out.
    pub fn frame_bytes_in_use(&self) -> usize {
        let bytes = self.harts.iter().map(|(_, hart)| hart.frame_bytes_in_use.load(Ordering::Relaxed));
        bytes.sum::<isize>().max(0) as usize
    }

    /// How many small objects there are of each size.
    pub fn classes(&self) -> impl Iterator<Item = ClassUse> {
        CLASS_SIZES.iter().enumerate().map(|(class, &size)| {
            let lists = self.harts.iter().map(|(_, hart)| hart.classes[class].in_use.load(Ordering::Relaxed));
            let in_use = lists.sum::<isize>().max(0) as usize;
            ClassUse { size, in_use, capacity: self.slabs[class].lock().object_count(size) }
        })
    }

    /// Returns this hart's free objects to the slabs, and their frames if they are all free.
    pub fn drain_lists(&self) {
        let lists = self.harts.masked();
        for class in 0..CLASSES {
            self.drain(&lists.classes[class], class, usize::MAX);
        }
    }

    #[inline]
    fn allocate_small(&self, class: usize) -> *mut u8 {
        let lists = self.harts.masked();
        let list = &lists.classes[class];
        let mut object = list.pop();
        if object.is_null() {
            object = self.refill(list, class);
            if object.is_null() {
                return null_mut();
            }
        }
        list.note_use(1);
        object.cast()
    }

    /// # Safety
    /// `object` must come from `allocate_small(class)` and be unused.
    #[inline]
    unsafe fn free_small(&self, object: *mut u8, class: usize) {
        let lists = self.harts.masked();
        let list = &lists.classes[class];
        list.note_use(-1);
        // SAFETY: passed on to the caller.
        unsafe { list.push(object.cast()) };
        if list.count() > 2 * batch(class) {
            self.drain(list, class, batch(class));
        }
    }

    /// Fills an empty list; returns one more object, null if there is none.
    #[cold]
    fn refill(&self, list: &FreeList, class: usize) -> *mut FreeObject {
        let mut slabs = self.slabs[class].lock();
        for _ in 1..batch(class) {
            let object = slabs.take(CLASS_SIZES[class]);
            if object.is_null() {
                break;
            }
            // SAFETY: the slabs gave the object away; it is free memory of this class.
            unsafe { list.push(object) };
        }
        drop(slabs);
        list.pop()
    }

    #[cold]
    fn drain(&self, list: &FreeList, class: usize, most: usize) {
        let mut slabs = self.slabs[class].lock();
        for _ in 0..most {
            let object = list.pop();
            if object.is_null() {
                break;
            }
            // SAFETY: the object came out of slabs of this class and is free.
            unsafe { slabs.give_back(object, CLASS_SIZES[class]) };
        }
    }

    #[cold]
    fn allocate_frames(&self, count: usize, align: usize) -> *mut u8 {
        let address = if count == 1 && align <= PAGE_SIZE {
            Frame::allocate(FrameKind::Kernel).map(Frame::into_address)
        } else {
            ContiguousFrames::allocate(count, align, FrameKind::Kernel).map(ContiguousFrames::into_address)
        };
        let Ok(address) = address else { return null_mut() };
        self.harts.masked().note_frames((count * PAGE_SIZE) as isize);
        memory::phys_to_virt(address)
    }

    /// # Safety
    /// The memory must come from `allocate_frames(count, align)` and be unused.
    #[cold]
    unsafe fn free_frames(&self, start: *mut u8, count: usize, align: usize) {
        self.harts.masked().note_frames(-((count * PAGE_SIZE) as isize));
        let address = memory::virt_to_phys(start);
        // SAFETY: passed on to the caller; the same condition as in `allocate_frames` tells which it was.
        unsafe {
            if count == 1 && align <= PAGE_SIZE {
                drop(Frame::from_address(address));
            } else {
                drop(ContiguousFrames::from_address(address, count));
            }
        }
    }
}

impl Default for KernelHeap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: memory that was handed out is in no list until it is given back, is as large and as aligned as `plan` says,
// and the plan depends on the layout alone. Nothing here panics or allocates.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match plan(layout) {
            Plan::Small(class) => self.allocate_small(class),
            Plan::Frames(count) => self.allocate_frames(count, layout.align()),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back what `alloc` handed out for the same layout.
        unsafe {
            match plan(layout) {
                Plan::Small(class) => self.free_small(start, class),
                Plan::Frames(count) => self.free_frames(start, count, layout.align()),
            }
        }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else { return null_mut() };
        match (plan(layout), plan(new_layout)) {
            (Plan::Small(old), Plan::Small(new)) if old == new => return start,
            (Plan::Frames(old), Plan::Frames(new)) if old == new => return start,
            _ => {}
        }
        // SAFETY: the new memory does not overlap the old, and both are at least as large as what is copied.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                new.copy_from_nonoverlapping(start, layout.size().min(new_size));
                self.dealloc(start, layout);
            }
            new
        }
    }
}
