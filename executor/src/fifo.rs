//! A first-in first-out list of task records, linked through the records themselves.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use crate::task::TaskRecord;

/// A record's place in a [`FifoList`]. Only touched under the lock of the run queue that holds the record.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct FifoLink {
    next: AtomicPtr<TaskRecord>,
    previous: AtomicPtr<TaskRecord>,
}

impl FifoLink {
    pub(crate) const fn new() -> Self {
        Self { next: AtomicPtr::new(ptr::null_mut()), previous: AtomicPtr::new(ptr::null_mut()) }
    }
}

/// The list. Records in it are kept alive by the right to run them, which is in the queue too.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct FifoList {
    head: *mut TaskRecord,
    tail: *mut TaskRecord,
}

impl FifoList {
    pub(crate) const fn new() -> Self {
        Self { head: ptr::null_mut(), tail: ptr::null_mut() }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    pub(crate) fn front(&self) -> *const TaskRecord {
        self.head
    }

    /// # Safety
    /// The record is in this list.
    pub(crate) unsafe fn next(&self, record: *const TaskRecord) -> *const TaskRecord {
        // SAFETY: records in the list are alive.
        unsafe { (*record).fifo_link.next.load(Relaxed) }
    }

    /// # Safety
    /// The record is alive, in no list, and leaves this one before it is freed.
    #[inline]
    pub(crate) unsafe fn push_back(&mut self, record: *const TaskRecord) {
        let record = record.cast_mut();
        // SAFETY: the caller's promise for `record`; the tail is in the list, so alive.
        unsafe {
            (*record).fifo_link.next.store(ptr::null_mut(), Relaxed);
            (*record).fifo_link.previous.store(self.tail, Relaxed);
            match self.tail.as_ref() {
                Some(tail) => tail.fifo_link.next.store(record, Relaxed),
                None => self.head = record,
            }
        }
        self.tail = record;
    }

    /// # Safety
    /// As for [`FifoList::push_back`].
    pub(crate) unsafe fn push_front(&mut self, record: *const TaskRecord) {
        let record = record.cast_mut();
        // SAFETY: as in `push_back`.
        unsafe {
            (*record).fifo_link.previous.store(ptr::null_mut(), Relaxed);
            (*record).fifo_link.next.store(self.head, Relaxed);
            match self.head.as_ref() {
                Some(head) => head.fifo_link.previous.store(record, Relaxed),
                None => self.tail = record,
            }
        }
        self.head = record;
    }

    /// # Safety
    /// The record is in this list.
    #[inline]
    pub(crate) unsafe fn remove(&mut self, record: *const TaskRecord) {
        // SAFETY: the record and its neighbours are in the list, so alive.
        unsafe {
            let next = (*record).fifo_link.next.load(Relaxed);
            let previous = (*record).fifo_link.previous.load(Relaxed);
            match previous.as_ref() {
                Some(neighbour) => neighbour.fifo_link.next.store(next, Relaxed),
                None => self.head = next,
            }
            match next.as_ref() {
                Some(neighbour) => neighbour.fifo_link.previous.store(previous, Relaxed),
                None => self.tail = previous,
            }
        }
    }
}
