//! A split ring from the device's end.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

use kernel_hal::PhysAddr;
use kernel_hal::memory::phys_to_virt;

use crate::virtio::split_queue::{DEVICE_WRITES, Descriptor, INDIRECT, NEXT, passes_event};

/// A request as the device sees it: pieces to read, then pieces to write.
#[derive(Clone, Debug)]
pub struct Chain {
    /// What identifies it when it is returned.
    pub head: u32,
    readable: Vec<(u64, u32)>,
    writable: Vec<(u64, u32)>,
}

impl Chain {
    /// How many bytes the device may read.
    pub fn readable_bytes(&self) -> usize {
        self.readable.iter().map(|piece| piece.1 as usize).sum()
    }

    /// How many bytes the device may write.
    pub fn writable_bytes(&self) -> usize {
        self.writable.iter().map(|piece| piece.1 as usize).sum()
    }

    /// How many pieces the device may write.
    pub fn writable_pieces(&self) -> usize {
        self.writable.len()
    }

    /// How many pieces the device may read.
    pub fn readable_pieces(&self) -> usize {
        self.readable.len()
    }

    /// What the device can read.
    pub fn read(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(address, len) in &self.readable {
            let source = phys_to_virt(PhysAddr::new(address as usize));
            let start = bytes.len();
            bytes.resize(start + len as usize, 0);
            // SAFETY: the driver promises that the piece is memory of the machine that is the device's for now.
            unsafe { source.copy_to_nonoverlapping(bytes[start..].as_mut_ptr(), len as usize) };
        }
        bytes
    }

    /// Writes at an offset of what the device can write; what does not fit is dropped. Returns how much was written.
    pub fn write(&self, mut offset: usize, mut bytes: &[u8]) -> usize {
        let mut written = 0;
        for &(address, len) in &self.writable {
            let len = len as usize;
            if offset >= len {
                offset -= len;
                continue;
            }
            let count = bytes.len().min(len - offset);
            let target = phys_to_virt(PhysAddr::new(address as usize + offset));
            // SAFETY: as in `read`.
            unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), count) };
            bytes = &bytes[count..];
            written += count;
            offset = 0;
        }
        written
    }
}

pub(super) struct DeviceQueue {
    pub(super) max_size: u16,
    pub(super) notifications: u64,
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
    available_index: u16,
    used_index: u16,
}

impl DeviceQueue {
    pub(super) fn new(max_size: u16) -> Self {
        Self {
            max_size,
            notifications: 0,
            size: 0,
            descriptors: 0,
            available: 0,
            used: 0,
            available_index: 0,
            used_index: 0,
        }
    }

    pub(super) fn set(&mut self, size: u16, descriptors: u64, available: u64, used: u64) {
        assert!(size.is_power_of_two() && size <= self.max_size);
        assert!(descriptors.is_multiple_of(16) && available.is_multiple_of(2) && used.is_multiple_of(4));
        (self.size, self.descriptors, self.available, self.used) = (size, descriptors, available, used);
        (self.available_index, self.used_index) = (0, 0);
    }

    pub(super) fn reset(&mut self) {
        self.size = 0;
    }

    pub(super) fn is_set(&self) -> bool {
        self.size != 0
    }

    fn word(&self, base: u64, index: usize) -> &AtomicU16 {
        let pointer = phys_to_virt(PhysAddr::new(base as usize + 2 * index)).cast();
        // SAFETY: the driver keeps its rings until it resets the device; all accesses to indices are atomic.
        unsafe { AtomicU16::from_ptr(pointer) }
    }

    fn descriptor(table: u64, index: u16) -> Descriptor {
        let pointer =
            phys_to_virt(PhysAddr::new(table as usize + 16 * usize::from(index))).cast::<Descriptor>();
        // SAFETY: the driver gave the table to the device.
        unsafe { pointer.read_volatile() }
    }

    pub(super) fn next_chain(&mut self) -> Option<Chain> {
        if self.size == 0 || self.word(self.available, 1).load(Ordering::Acquire) == self.available_index {
            return None;
        }
        let slot = usize::from(self.available_index & (self.size - 1));
        let head = self.word(self.available, 2 + slot).load(Ordering::Relaxed);
        self.available_index = self.available_index.wrapping_add(1);
        assert!(head < self.size, "a head outside the ring");
        let first = Self::descriptor(self.descriptors, head);
        let (table, limit, mut current) = if first.flags & INDIRECT != 0 {
            assert_eq!(first.flags, INDIRECT);
            assert!(first.bytes > 0 && first.bytes.is_multiple_of(16));
            (first.address, (first.bytes / 16) as u16, Self::descriptor(first.address, 0))
        } else {
            (self.descriptors, self.size, first)
        };
        let mut chain = Chain { head: u32::from(head), readable: Vec::new(), writable: Vec::new() };
        for _ in 0..limit {
            assert!(current.bytes > 0, "an empty piece");
            let piece = (current.address, current.bytes);
            if current.flags & DEVICE_WRITES != 0 {
                chain.writable.push(piece);
            } else {
                assert!(chain.writable.is_empty(), "a piece to read after one to write");
                chain.readable.push(piece);
            }
            if current.flags & NEXT == 0 {
                return Some(chain);
            }
            assert!(current.next < limit, "a chain that leaves its table");
            current = Self::descriptor(table, current.next);
        }
        panic!("a chain without end");
    }

    pub(super) fn ask_for_notification(&self, event_index: bool) {
        if event_index {
            let event = 2 + 4 * usize::from(self.size);
            self.word(self.used, event).store(self.available_index, Ordering::SeqCst);
        } else {
            self.word(self.used, 0).store(0, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
    }

    /// Writes an entry of the used ring. Returns whether the driver wants an interrupt.
    pub(super) fn complete(&mut self, head: u32, written: u32, event_index: bool) -> bool {
        if self.size == 0 {
            return false;
        }
        let slot = usize::from(self.used_index & (self.size - 1));
        let entry = phys_to_virt(PhysAddr::new(self.used as usize + 4 + 8 * slot)).cast::<u32>();
        // SAFETY: an entry of the used ring, aligned like the ring.
        unsafe {
            AtomicU32::from_ptr(entry).store(head, Ordering::Relaxed);
            AtomicU32::from_ptr(entry.add(1)).store(written, Ordering::Relaxed);
        }
        let old = self.used_index;
        self.used_index = old.wrapping_add(1);
        self.word(self.used, 1).store(self.used_index, Ordering::Release);
        fence(Ordering::SeqCst);
        if event_index {
            let event = self.word(self.available, 2 + usize::from(self.size)).load(Ordering::Relaxed);
            passes_event(event, self.used_index, old)
        } else {
            self.word(self.available, 0).load(Ordering::Relaxed) & 1 == 0
        }
    }

    pub(super) fn jump_used_index(&mut self, distance: u16) {
        if self.size != 0 {
            self.used_index = self.used_index.wrapping_add(distance);
            self.word(self.used, 1).store(self.used_index, Ordering::Release);
        }
    }
}
