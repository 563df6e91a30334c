//! The fair class's ready tasks, ordered by virtual runtime (age), first come first served among equals.
//!
//! The least aged task is kept outside the tree: as long as not more than one is ready, which is most of the time,
//! nothing is ever linked into or out of the tree.

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

use intrusive_collections::{KeyAdapter, RBTree, UnsafeRef, intrusive_adapter};

use crate::task::TaskRecord;

intrusive_adapter!(FairAdapter = UnsafeRef<TaskRecord>: TaskRecord { tree_link => intrusive_collections::RBTreeLink });

impl<'a> KeyAdapter<'a> for FairAdapter {
    type Key = (u64, u64);
    #[inline]
    fn get_key(&self, record: &'a TaskRecord) -> (u64, u64) {
        key(record)
    }
}

#[inline]
fn key(record: &TaskRecord) -> (u64, u64) {
    (record.age.load(Relaxed), record.sequence.load(Relaxed))
}

pub(crate) struct FairQueue {
    front: *const TaskRecord,
    rest: RBTree<FairAdapter>,
    next_sequence: u64,
}

impl FairQueue {
    pub(crate) const fn new() -> Self {
        Self { front: ptr::null(), rest: RBTree::new(FairAdapter::NEW), next_sequence: 0 }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.front.is_null()
    }

    /// The age of the task that would be next.
    pub(crate) fn front_age(&self) -> Option<u64> {
        // SAFETY: the front is in the queue, so alive.
        unsafe { self.front.as_ref().map(|front| front.age.load(Relaxed)) }
    }

    /// # Safety
    /// The record is alive, in no queue, and leaves this one before it is freed or aged.
    #[inline]
    pub(crate) unsafe fn insert(&mut self, record: *const TaskRecord) {
        // SAFETY: alive by the caller's promise.
        unsafe { (*record).sequence.store(self.next_sequence, Relaxed) };
        self.next_sequence += 1;
        if self.front.is_null() {
            self.front = record;
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.insert_beside_front(record) };
        }
    }

    #[inline(never)]
    unsafe fn insert_beside_front(&mut self, record: *const TaskRecord) {
        // SAFETY: the front is in the queue, so alive; the record is by the caller's promise.
        unsafe {
            let later = if key(&*record) < key(&*self.front) {
                std::mem::replace(&mut self.front, record)
            } else {
                record
            };
            self.rest.insert(UnsafeRef::from_raw(later));
        }
    }

    /// Takes out the least aged; null if there is none.
    #[inline]
    pub(crate) fn pop(&mut self) -> *const TaskRecord {
        let record = self.front;
        if self.rest.is_empty() {
            self.front = ptr::null();
        } else {
            self.refill_front();
        }
        record
    }

    #[inline(never)]
    fn refill_front(&mut self) {
        self.front = self.rest.front_mut().remove().map_or(ptr::null(), |record| UnsafeRef::into_raw(record));
    }

    /// # Safety
    /// The record is in this queue.
    pub(crate) unsafe fn remove(&mut self, record: *const TaskRecord) {
        if record == self.front {
            self.pop();
        } else {
            // SAFETY: not the front, so in the tree.
            unsafe { self.rest.cursor_mut_from_ptr(record).remove() };
        }
    }

    /// The most aged task that `suits`, looking at no more than `most` of them.
    pub(crate) fn find_from_back(
        &self,
        most: usize,
        suits: impl Fn(&TaskRecord) -> bool,
    ) -> Option<*const TaskRecord> {
        let mut cursor = self.rest.back();
        for _ in 0..most {
            let Some(record) = cursor.get() else { break };
            if suits(record) {
                return Some(ptr::from_ref(record));
            }
            cursor.move_prev();
        }
        // SAFETY: the front is in the queue, so alive.
        unsafe { self.front.as_ref().filter(|record| suits(record)).map(ptr::from_ref) }
    }
}
