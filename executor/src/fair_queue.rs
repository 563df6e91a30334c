//! The fair class's ready tasks, ordered by virtual runtime (age), first come first served among equals.
//!
//! The two least aged tasks are kept outside the tree: as long as not more are ready, which is most of the time, nothing
//! is ever linked into or out of the tree.

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
    /// Null only if the queue is empty.
    front: *const TaskRecord,
    /// Null only if the tree is empty.
    second: *const TaskRecord,
    rest: RBTree<FairAdapter>,
    next_sequence: u64,
}

impl FairQueue {
    pub(crate) const fn new() -> Self {
        Self {
            front: ptr::null(),
            second: ptr::null(),
            rest: RBTree::new(FairAdapter::NEW),
            next_sequence: 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.front.is_null()
    }

    /// The age of the task that would be next.
    #[inline]
    pub(crate) fn front_age(&self) -> Option<u64> {
        // SAFETY: the front is in the queue, so alive.
        unsafe { self.front.as_ref().map(|front| front.age.load(Relaxed)) }
    }

    /// # Safety
    /// The record is alive, in no queue, and leaves this one before it is freed or aged.
    #[inline(always)]
    pub(crate) unsafe fn insert(&mut self, record: &TaskRecord) {
        record.sequence.store(self.next_sequence, Relaxed);
        self.next_sequence += 1;
        if self.front.is_null() {
            self.front = record;
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.insert_behind(record) };
        }
    }

    /// Puts a task into an empty queue.
    ///
    /// # Safety
    /// As for [`FairQueue::insert`].
    #[inline(always)]
    pub(crate) unsafe fn insert_as_only(&mut self, record: &TaskRecord) {
        debug_assert!(self.is_empty());
        record.sequence.store(self.next_sequence, Relaxed);
        self.next_sequence += 1;
        self.front = record;
    }

    /// Puts a task into a queue that is not empty.
    ///
    /// # Safety
    /// As for [`FairQueue::insert`].
    #[inline]
    unsafe fn insert_behind(&mut self, record: &TaskRecord) {
        let mut later = ptr::from_ref(record);
        // SAFETY: what is in the queue is alive; the record is by the caller's promise.
        unsafe {
            if key(&*later) < key(&*self.front) {
                std::mem::swap(&mut later, &mut self.front);
            }
            if self.second.is_null() {
                self.second = later;
                return;
            }
            if key(&*later) < key(&*self.second) {
                std::mem::swap(&mut later, &mut self.second);
            }
            self.insert_into_rest(later);
        }
    }

    /// # Safety
    /// As for [`FairQueue::insert`].
    #[inline(never)]
    unsafe fn insert_into_rest(&mut self, record: *const TaskRecord) {
        // SAFETY: the caller's promise.
        self.rest.insert(unsafe { UnsafeRef::from_raw(record) });
    }

    /// Takes out the least aged; null if there is none.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> *const TaskRecord {
        let record = self.front;
        self.front = self.second;
        if self.rest.is_empty() {
            self.second = ptr::null();
        } else {
            self.refill_second();
        }
        record
    }

    #[inline(never)]
    fn refill_second(&mut self) {
        self.second = match self.rest.is_empty() {
            true => ptr::null(),
            false => self.rest.front_mut().remove().map_or(ptr::null(), |record| UnsafeRef::into_raw(record)),
        };
    }

    /// # Safety
    /// The record is in this queue.
    pub(crate) unsafe fn remove(&mut self, record: *const TaskRecord) {
        if record == self.front {
            self.pop();
        } else if record == self.second {
            self.refill_second();
        } else {
            // SAFETY: not outside the tree, so in it.
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
        [self.second, self.front].into_iter().find(|record| {
            // SAFETY: what is in the queue is alive.
            unsafe { record.as_ref() }.is_some_and(&suits)
        })
    }
}
