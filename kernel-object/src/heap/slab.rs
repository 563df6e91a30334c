//! Slabs: one or four frames cut into objects of one size.
//!
//! A slab begins with a header and is aligned to its size, so an object finds its slab by masking its address. Slabs
//! that have free objects are in a doubly linked list; one that is all free leaves it and returns its frames, unless it is
//! the only one (so that a single object that comes and goes does not move frames each time).

use core::ptr::null_mut;

use kernel_hal::{PAGE_SIZE, memory};

use crate::frame::{ContiguousFrames, Frame, FrameKind};

const HEADER_SIZE: usize = 64;
const LARGE_SLAB_FRAMES: usize = 4;

/// Free memory of an object.
pub(super) struct FreeObject {
    pub(super) next: *mut FreeObject,
}

#[repr(C)]
struct Header {
    previous: *mut Header,
    next: *mut Header,
    /// Objects that were given back.
    free: *mut FreeObject,
    /// How many objects are free, those that were never taken included.
    free_count: usize,
    /// Objects from this index on were never taken and are in no list.
    first_fresh: usize,
}

/// The slabs of one class that have free objects.
pub(super) struct Slabs {
    first: *mut Header,
    /// How many there are, those without a free object included.
    count: usize,
}

// SAFETY: the slabs belong to whoever has this list, which is kept under a lock.
unsafe impl Send for Slabs {}

const fn frame_count(object_size: usize) -> usize {
    if object_size <= 256 { 1 } else { LARGE_SLAB_FRAMES }
}

/// Where the first object is: behind the header, aligned to the object's size if that is a power of two.
const fn first_offset(object_size: usize) -> usize {
    if object_size.is_power_of_two() && object_size > HEADER_SIZE { object_size } else { HEADER_SIZE }
}

const fn capacity(object_size: usize) -> usize {
    (frame_count(object_size) * PAGE_SIZE - first_offset(object_size)) / object_size
}

impl Slabs {
    pub(super) const fn new() -> Self {
        Self { first: null_mut(), count: 0 }
    }

    /// For how many objects there is room, free or not.
    pub(super) fn object_count(&self, object_size: usize) -> usize {
        self.count * capacity(object_size)
    }

    /// Takes a free object; null if there is no memory.
    pub(super) fn take(&mut self, object_size: usize) -> *mut FreeObject {
        if self.first.is_null() {
            let Some(slab) = new_slab(object_size) else { return null_mut() };
            self.count += 1;
            // SAFETY: the slab is fresh.
            unsafe { self.link(slab) };
        }
        let slab = self.first;
        // SAFETY: slabs in the list have a valid header and at least one free object: a listed one or a fresh one.
        unsafe {
            let header = &mut *slab;
            header.free_count -= 1;
            let object = if header.free.is_null() {
                let offset = first_offset(object_size) + header.first_fresh * object_size;
                header.first_fresh += 1;
                slab.cast::<u8>().add(offset).cast()
            } else {
                let object = header.free;
                header.free = (*object).next;
                object
            };
            if header.free_count == 0 {
                self.unlink(slab);
            }
            object
        }
    }

    /// Takes an object back.
    ///
    /// # Safety
    /// It must come from `take` of these slabs with the same size, and be unused.
    pub(super) unsafe fn give_back(&mut self, object: *mut FreeObject, object_size: usize) {
        let slab_size = frame_count(object_size) * PAGE_SIZE;
        // Slabs are aligned in physical memory, and the linear map may be shifted (on the host).
        let offset = memory::virt_to_phys(object.cast()).as_usize() & (slab_size - 1);
        let slab: *mut Header = object.cast::<u8>().wrapping_sub(offset).cast();
        // SAFETY: the object lies in a slab of this class, whose header is valid as long as an object was out.
        unsafe {
            let header = &mut *slab;
            (*object).next = header.free;
            header.free = object;
            header.free_count += 1;
            if header.free_count == 1 {
                self.link(slab);
            } else if header.free_count == capacity(object_size)
                && !(header.next.is_null() && header.previous.is_null())
            {
                self.unlink(slab);
                self.count -= 1;
                free_slab(slab, object_size);
            }
        }
    }

    /// # Safety
    /// The slab must be valid and in no list.
    unsafe fn link(&mut self, slab: *mut Header) {
        // SAFETY: passed on to the caller; slabs in the list are valid.
        unsafe {
            (*slab).previous = null_mut();
            (*slab).next = self.first;
            if let Some(next) = self.first.as_mut() {
                next.previous = slab;
            }
        }
        self.first = slab;
    }

    /// # Safety
    /// The slab must be in this list.
    unsafe fn unlink(&mut self, slab: *mut Header) {
        // SAFETY: passed on to the caller; neighbours in the list are valid.
        unsafe {
            let (previous, next) = ((*slab).previous, (*slab).next);
            match previous.as_mut() {
                Some(previous) => previous.next = next,
                None => self.first = next,
            }
            if let Some(next) = next.as_mut() {
                next.previous = previous;
            }
        }
    }
}

fn new_slab(object_size: usize) -> Option<*mut Header> {
    let address = match frame_count(object_size) {
        1 => Frame::allocate(FrameKind::Kernel).ok()?.into_address(),
        count => ContiguousFrames::allocate(count, count * PAGE_SIZE, FrameKind::Kernel).ok()?.into_address(),
    };
    let slab: *mut Header = memory::phys_to_virt(address).cast();
    let header = Header {
        previous: null_mut(),
        next: null_mut(),
        free: null_mut(),
        free_count: capacity(object_size),
        first_fresh: 0,
    };
    // SAFETY: fresh memory, large and aligned enough.
    unsafe { slab.write(header) };
    Some(slab)
}

/// # Safety
/// The slab must come from `new_slab` with the same size, with all objects free, in no list.
unsafe fn free_slab(slab: *mut Header, object_size: usize) {
    let address = memory::virt_to_phys(slab.cast());
    // SAFETY: passed on to the caller.
    unsafe {
        match frame_count(object_size) {
            1 => drop(Frame::from_address(address)),
            count => drop(ContiguousFrames::from_address(address, count)),
        }
    }
}
