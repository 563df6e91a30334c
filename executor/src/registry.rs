//! The list of all tasks, for listings and the panic report.

use std::cell::UnsafeCell;
use std::ptr;

use ksync::{Rank, SpinLock};

use crate::task::TaskRecord;

/// A record's place in the registry; only touched under its lock.
pub(crate) struct RegistryLink(UnsafeCell<Neighbours>);

struct Neighbours {
    next: *const TaskRecord,
    previous: *const TaskRecord,
}

// SAFETY: only touched under the registry's lock.
unsafe impl Send for RegistryLink {}
// SAFETY: as above.
unsafe impl Sync for RegistryLink {}

impl RegistryLink {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Neighbours { next: ptr::null(), previous: ptr::null() }))
    }
}

struct Head {
    first: *const TaskRecord,
    count: usize,
}

// SAFETY: the records are `Sync` and leave the list before they are freed.
unsafe impl Send for Head {}

pub(crate) struct Registry(SpinLock<Head>);

impl Registry {
    pub(crate) const fn new() -> Self {
        Self(SpinLock::new(Rank::TASK_REGISTRY, Head { first: ptr::null(), count: 0 }))
    }

    /// Adds a record that will not move until it is dropped, which removes it.
    pub(crate) fn add(&self, record: &TaskRecord) {
        let mut head = self.0.lock();
        // SAFETY: the registry is locked; the first record is alive, since dropping removes.
        unsafe {
            (*record.registry_link.0.get()).next = head.first;
            if let Some(first) = head.first.as_ref() {
                (*first.registry_link.0.get()).previous = record;
            }
        }
        head.first = record;
        head.count += 1;
    }

    /// Removes a record, if it was added.
    pub(crate) fn remove(&self, record: &TaskRecord) {
        let mut head = self.0.lock();
        // SAFETY: the registry is locked; neighbours are alive.
        unsafe {
            let link = &*record.registry_link.0.get();
            match link.previous.as_ref() {
                Some(previous) => (*previous.registry_link.0.get()).next = link.next,
                None if ptr::eq(head.first, record) => head.first = link.next,
                None => return,
            }
            if let Some(next) = link.next.as_ref() {
                (*next.registry_link.0.get()).previous = link.previous;
            }
        }
        head.count -= 1;
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().count
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(&TaskRecord)) {
        let head = self.0.lock();
        Self::walk(&head, &mut visit);
    }

    /// As `for_each`, but gives up if somebody holds the lock: for a panicking kernel.
    pub(crate) fn try_for_each(&self, mut visit: impl FnMut(&TaskRecord)) -> bool {
        let Some(head) = self.0.try_lock() else { return false };
        Self::walk(&head, &mut visit);
        true
    }

    fn walk(head: &Head, visit: &mut dyn FnMut(&TaskRecord)) {
        let mut record = head.first;
        // SAFETY: the registry is locked, so the records in it are alive.
        while let Some(current) = unsafe { record.as_ref() } {
            visit(current);
            // SAFETY: as above.
            record = unsafe { (*current.registry_link.0.get()).next };
        }
    }
}
