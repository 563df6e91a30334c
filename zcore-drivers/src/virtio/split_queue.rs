//! The split ring of the virtio specification (2.7), seen from the driver.
//!
//! The queue moves *heads* (indices of first descriptors) to the device and back; what they mean, and who owns the
//! memory behind them, is its user's business. What the driver needs to know later it keeps in its own memory: nothing
//! that the device could have changed is read back but the used ring, whose index must stay within bounds and whose
//! entries the user must check against what it has in flight.
//!
//! Notifications and interrupts are held back with the event index where the device has it: the device is told of new
//! work only when it asked to be ([`SplitQueue::should_notify`]), and interrupts once per [`SplitQueue::rearm`].

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

use kernel_hal::{PAGE_SIZE, PhysAddr};
use kernel_object::frame::ContiguousFrames;
use virtio_drivers::transport::Transport;

use super::{VirtioError, allocate_shared_memory};

/// The chain goes on at `next`.
pub const NEXT: u16 = 1;
/// The device writes this piece; otherwise it reads it.
pub const DEVICE_WRITES: u16 = 2;
/// The piece is a table of descriptors.
pub const INDIRECT: u16 = 4;

const DESCRIPTOR_BYTES: usize = 16;
const USED_ENTRY_BYTES: usize = 8;
const AVAILABLE_NO_INTERRUPT: u16 = 1;
const USED_NO_NOTIFY: u16 = 1;

/// One piece of memory that a device works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Descriptor {
    /// Where it is.
    pub address: u64,
    /// How many bytes it has.
    pub bytes: u32,
    /// [`NEXT`], [`DEVICE_WRITES`], [`INDIRECT`].
    pub flags: u16,
    /// The next one's index, with [`NEXT`].
    pub next: u16,
}

/// The used index moved further than heads were offered: the ring means nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingBroken;

/// A head that the device returned. Both numbers are claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedEntry {
    /// The head.
    pub head: u32,
    /// How many bytes the device wrote.
    pub bytes: u32,
}

/// The driver's end of a split ring.
#[derive(Debug)]
pub struct SplitQueue {
    /// Owns the three parts of the ring.
    _memory: ContiguousFrames,
    descriptors: NonNull<Descriptor>,
    /// The available ring: flags, index, one head per entry, used event; 16 bits each.
    available: NonNull<AtomicU16>,
    /// The used ring: flags and index of 16 bits, then entries of two 32-bit words, then available event.
    used: NonNull<AtomicU16>,
    number: u16,
    size: u16,
    event_index: bool,
    /// Our available index; the ring has a copy.
    available_index: u16,
    /// What the available index was when the device was last considered for notification.
    considered_index: u16,
    /// Up to where the used ring was read.
    used_index: u16,
    /// The device's used index when it was last looked at.
    seen_used_index: u16,
}

// SAFETY: the pointers are into memory that the queue owns; nothing in it belongs to a thread.
unsafe impl Send for SplitQueue {}

impl SplitQueue {
    /// Sets up queue `number` of a device with at most `wanted` entries (a power of two).
    pub fn new<T: Transport>(
        transport: &mut T,
        number: u16,
        wanted: u16,
        event_index: bool,
    ) -> Result<Self, VirtioError> {
        debug_assert!(wanted.is_power_of_two());
        let offered = transport.max_queue_size(number);
        if offered == 0 || transport.queue_used(number) {
            return Err(VirtioError::BadQueue(number));
        }
        // The offer need not be a power of two, but our size must be.
        let offered = u16::try_from(offered).unwrap_or(1 << 15);
        let size = wanted.min(1 << offered.ilog2());
        // Devices before version 1 find the parts by this rule; others are told where they are.
        let available_offset = DESCRIPTOR_BYTES * usize::from(size);
        let used_offset = (available_offset + 2 * (usize::from(size) + 3)).next_multiple_of(PAGE_SIZE);
        let used_bytes = 6 + USED_ENTRY_BYTES * usize::from(size);
        let memory = allocate_shared_memory(used_offset + used_bytes)?;
        let base = NonNull::new(memory.as_ptr()).ok_or(VirtioError::OutOfMemory)?;
        let start = memory.address();
        transport.queue_set(
            number,
            u32::from(size),
            start.as_usize() as u64,
            (start + available_offset).as_usize() as u64,
            (start + used_offset).as_usize() as u64,
        );
        // SAFETY: both offsets are inside the memory that was just allocated.
        let (available, used) = unsafe { (base.add(available_offset), base.add(used_offset)) };
        Ok(Self {
            _memory: memory,
            descriptors: base.cast(),
            available: available.cast(),
            used: used.cast(),
            number,
            size,
            event_index,
            available_index: 0,
            considered_index: 0,
            used_index: 0,
            seen_used_index: 0,
        })
    }

    /// The queue's number at its device.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// How many entries it has.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Writes a descriptor of the ring's own table. Panics if there is no such one.
    ///
    /// # Safety
    /// Until the head of the chain is popped, the memory must stay allocated and be used by nobody but the device
    /// (or only read by others, if the device only reads it).
    pub unsafe fn write_descriptor(&mut self, index: u16, descriptor: Descriptor) {
        assert!(index < self.size);
        // SAFETY: inside the table; the device reads it only after `offer`.
        unsafe { self.descriptors.add(usize::from(index)).write_volatile(descriptor) };
    }

    /// Hands the chain that starts at `head` to the device. Whoever calls makes sure that no more heads are out than
    /// the queue has entries, and that this one is not.
    #[inline]
    pub fn offer(&mut self, head: u16) {
        debug_assert!(head < self.size);
        let slot = self.available_index & (self.size - 1);
        self.available_word(2 + usize::from(slot)).store(head, Ordering::Relaxed);
        self.available_index = self.available_index.wrapping_add(1);
        // The descriptors and the ring's entry come before the index that announces them.
        self.available_word(1).store(self.available_index, Ordering::Release);
    }

    /// Whether heads that were offered since the last call must be announced to the device.
    #[inline]
    pub fn should_notify(&mut self) -> bool {
        let (new, old) = (self.available_index, self.considered_index);
        if new == old {
            return false;
        }
        self.considered_index = new;
        // Our index must be visible before we look whether the device still sleeps; it does the same in reverse.
        fence(Ordering::SeqCst);
        if self.event_index {
            let event = self.used_word(2 + usize::from(self.size) * 4).load(Ordering::Relaxed);
            passes_event(event, new, old)
        } else {
            self.used_word(0).load(Ordering::Relaxed) & USED_NO_NOTIFY == 0
        }
    }

    /// Takes the next head that the device has finished with.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<UsedEntry>, RingBroken> {
        if self.used_index == self.seen_used_index && !self.look()? {
            return Ok(None);
        }
        let slot = usize::from(self.used_index & (self.size - 1));
        self.used_index = self.used_index.wrapping_add(1);
        Ok(Some(UsedEntry {
            head: self.used_entry_word(slot * 2),
            bytes: self.used_entry_word(slot * 2 + 1),
        }))
    }

    /// Asks for an interrupt at the next head that the device finishes. Returns whether there is one already, for
    /// which no interrupt may come: then the caller must go on popping, and will get at least one.
    #[inline]
    pub fn rearm(&mut self) -> Result<bool, RingBroken> {
        if self.event_index {
            self.available_word(2 + usize::from(self.size)).store(self.used_index, Ordering::Relaxed);
        } else {
            self.available_word(0).store(0, Ordering::Relaxed);
        }
        // The request must be visible before we look again; the device does the same in reverse.
        fence(Ordering::SeqCst);
        self.look()
    }

    /// Looks at the device's used index; says whether it is ahead of ours. Since it can never be ahead of what was
    /// offered, a loop that pops until this is false ends, whatever the device does.
    #[inline]
    fn look(&mut self) -> Result<bool, RingBroken> {
        let index = self.used_word(1).load(Ordering::Acquire);
        if index.wrapping_sub(self.used_index) > self.available_index.wrapping_sub(self.used_index) {
            return Err(RingBroken);
        }
        self.seen_used_index = index;
        Ok(index != self.used_index)
    }

    /// Says that interrupts are not wanted until [`SplitQueue::rearm`]. With the event index they stop by themselves.
    #[inline]
    pub fn disarm(&mut self) {
        if !self.event_index {
            self.available_word(0).store(AVAILABLE_NO_INTERRUPT, Ordering::Relaxed);
        }
    }

    #[inline]
    fn available_word(&self, index: usize) -> &AtomicU16 {
        debug_assert!(index < 3 + usize::from(self.size));
        // SAFETY: inside the available ring, which lives as long as `self`; all accesses are atomic.
        unsafe { self.available.add(index).as_ref() }
    }

    #[inline]
    fn used_word(&self, index: usize) -> &AtomicU16 {
        debug_assert!(index < 3 + usize::from(self.size) * 4);
        // SAFETY: inside the used ring, which lives as long as `self`; all accesses are atomic.
        unsafe { self.used.add(index).as_ref() }
    }

    #[inline]
    fn used_entry_word(&self, index: usize) -> u32 {
        debug_assert!(index < usize::from(self.size) * 2);
        // SAFETY: the entries start 4 bytes into the used ring, which is page-aligned, and `index` is inside them.
        unsafe { self.used.cast::<AtomicU32>().add(1 + index).as_ref() }.load(Ordering::Relaxed)
    }
}

/// Whether an index that moved from `old` to `new` passed the one after `event`.
#[inline]
pub(crate) fn passes_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

/// A table of descriptors in memory of its own, for [`INDIRECT`], or a part of a ring's table.
#[derive(Clone, Copy, Debug)]
pub struct DescriptorTable {
    first: NonNull<Descriptor>,
    /// What the first descriptor's index is.
    first_index: u16,
    len: u16,
}

// SAFETY: a pointer to shared memory; whoever writes through it answers for that (`write`).
unsafe impl Send for DescriptorTable {}

impl DescriptorTable {
    /// The table of `len` descriptors at `memory`, which a descriptor with [`INDIRECT`] will point at.
    pub fn indirect(memory: NonNull<u8>, len: u16) -> Self {
        debug_assert!(memory.cast::<Descriptor>().is_aligned());
        Self { first: memory.cast(), first_index: 0, len }
    }

    /// A part of a ring's own table.
    pub fn in_ring(queue: &SplitQueue, first_index: u16, len: u16) -> Self {
        assert!(u32::from(first_index) + u32::from(len) <= u32::from(queue.size));
        // SAFETY: inside the ring's table by the check above.
        let first = unsafe { queue.descriptors.add(usize::from(first_index)) };
        Self { first, first_index, len }
    }

    /// How many descriptors there are.
    pub fn len(&self) -> u16 {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes descriptor `index` of the table; with [`NEXT`] in `flags` the chain goes on at the one after it. Panics
    /// if there is no such one.
    ///
    /// # Safety
    /// As for [`SplitQueue::write_descriptor`]; the table's own memory must still be there, and not in the hands of
    /// the device.
    #[inline]
    pub unsafe fn write(&self, index: u16, address: PhysAddr, bytes: u32, flags: u16) {
        assert!(index < self.len);
        let next = if flags & NEXT != 0 { self.first_index + index + 1 } else { 0 };
        let descriptor = Descriptor { address: address.as_usize() as u64, bytes, flags, next };
        // SAFETY: inside the table; the caller vouches for its memory.
        unsafe { self.first.add(usize::from(index)).write_volatile(descriptor) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_test_survives_wrapping() {
        assert!(passes_event(0, 1, 0));
        assert!(!passes_event(1, 1, 0));
        assert!(passes_event(5, 10, 4));
        assert!(!passes_event(3, 10, 4));
        assert!(passes_event(u16::MAX, 0, u16::MAX));
        assert!(passes_event(u16::MAX - 1, 3, u16::MAX - 2));
        assert!(!passes_event(7, 3, u16::MAX - 2));
    }
}
