//! Watching a wait queue for good: a call-back that every wake makes, until the observation is dropped.
//!
//! A waiter is one wait: woken, it leaves the queue. That is wrong for who watches ten thousand queues and waits for
//! any of them, since each wait would have to queue on all. An [`Observation`] stays queued, and its [`Observer`] notes
//! what happened where its own waiters find it: a wake costs the same however much is watched.
//!
//! An observer is called with no lock held, from wherever the queue is woken: also from interrupt handlers, so it does
//! what they do (note, wake) and must not allocate. A call may come in while the observation is being dropped or just
//! after: the observer must bear that. It is called once for each wake at least; wakes that come at the same time may
//! call it at the same time.

use alloc::boxed::Box;
use alloc::sync::Arc;
use std::fmt;
use std::ptr::{self, NonNull};

use crate::shim::UnsafeCell;
use crate::shim::atomic::{Ordering, fence};
use crate::wait_list::is_before;
use crate::wait_queue::{Lists, QueueHandle, WaitQueue};

/// How many observers are collected under the lock before it is released to call them.
const BATCH: usize = 4;

/// Who is told of wakes.
pub trait Observer: Send + Sync {
    /// The queue was woken for these events. Returns whether that was of use: an exclusive observer that says no leaves
    /// the wake to the next.
    fn notify(self: Arc<Self>, events: u32) -> bool;
}

struct Entry {
    previous: *const Node,
    next: *const Node,
    ticket: u32,
}

struct Node {
    entry: UnsafeCell<Entry>,
    interest: u32,
    observer: Arc<dyn Observer>,
}

impl Node {
    /// # Safety
    /// The caller holds the lock of the list that the node is in, or owns a node that is in none.
    unsafe fn entry<R>(&self, access: impl FnOnce(&mut Entry) -> R) -> R {
        // SAFETY: exclusive by the caller's promise; no reference leaves `access`.
        self.entry.with_mut(|entry| access(unsafe { &mut *entry }))
    }
}

/// Observers in order of arrival. It lives inside the queue's lock; its nodes belong to their observations.
pub(crate) struct ObserverList {
    head: *const Node,
    tail: *const Node,
    next_ticket: u32,
}

// SAFETY: the nodes are only touched under the list's lock, and observers are `Send + Sync`.
unsafe impl Send for ObserverList {}

impl ObserverList {
    pub(crate) const fn new() -> Self {
        Self { head: ptr::null(), tail: ptr::null(), next_ticket: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// # Safety
    /// The node is in no list, and is unlinked from this one before it is freed.
    unsafe fn push_back(&mut self, node: &Node) {
        let (tail, ticket) = (self.tail, self.next_ticket);
        self.next_ticket = ticket.wrapping_add(1);
        // SAFETY: the node is in no list, so ours.
        unsafe { node.entry(|entry| *entry = Entry { previous: tail, next: ptr::null(), ticket }) };
        self.tail = node;
        // SAFETY: nodes in the list are alive, and we hold the lock.
        match unsafe { tail.as_ref() } {
            // SAFETY: as above.
            Some(tail) => unsafe { tail.entry(|entry| entry.next = node) },
            None => self.head = node,
        }
    }

    /// # Safety
    /// The node is in this list.
    unsafe fn unlink(&mut self, node: &Node) {
        // SAFETY: we hold the lock of the list that the node and its neighbours are in, and those are alive.
        unsafe {
            let (previous, next) = node.entry(|entry| (entry.previous, entry.next));
            match previous.as_ref() {
                Some(previous) => previous.entry(|entry| entry.next = next),
                None => self.head = next,
            }
            match next.as_ref() {
                Some(next) => next.entry(|entry| entry.previous = previous),
                None => self.tail = previous,
            }
        }
    }

    /// Collects observers of these events whose tickets are in `after..end`; returns the ticket to go on from if
    /// there may be more.
    fn collect(
        &self,
        events: u32,
        after: Option<u32>,
        end: u32,
        batch: &mut [Option<Arc<dyn Observer>>; BATCH],
    ) -> Option<u32> {
        let mut taken = 0;
        let mut next = self.head;
        // SAFETY: nodes in the list are alive, and we hold the lock.
        while let Some(node) = unsafe { next.as_ref() } {
            // SAFETY: as above.
            let (ticket, following) = unsafe { node.entry(|entry| (entry.ticket, entry.next)) };
            if !is_before(ticket, end) {
                break;
            }
            let is_new = after.is_none_or(|after| is_before(after, ticket));
            if is_new && node.interest & events != 0 {
                batch[taken] = Some(node.observer.clone());
                taken += 1;
                if taken == BATCH {
                    return Some(ticket);
                }
            }
            next = following;
        }
        None
    }

    /// The first observer of these events queued before `end`, which goes to the end of the list.
    fn rotate(&mut self, events: u32, end: u32) -> Option<Arc<dyn Observer>> {
        let mut next = self.head;
        // SAFETY: nodes in the list are alive, and we hold the lock.
        while let Some(node) = unsafe { next.as_ref() } {
            // SAFETY: as above.
            let (ticket, following) = unsafe { node.entry(|entry| (entry.ticket, entry.next)) };
            if !is_before(ticket, end) {
                return None;
            }
            if node.interest & events != 0 {
                // SAFETY: the node is in this list, and then in none.
                unsafe {
                    self.unlink(node);
                    self.push_back(node);
                }
                return Some(node.observer.clone());
            }
            next = following;
        }
        None
    }
}

/// Calls every observer of these events, and of the exclusive ones so many as use the wake, in turn.
pub(crate) fn notify(queue: &WaitQueue, events: u32, mut exclusive: usize) {
    let mut end = None;
    let mut after = None;
    let mut has_exclusive;
    loop {
        let mut batch = [const { None }; BATCH];
        {
            let lists = queue.lists.lock();
            let end = *end.get_or_insert(lists.observers.next_ticket);
            after = lists.observers.collect(events, after, end, &mut batch);
            has_exclusive = !lists.exclusive_observers.is_empty();
        }
        for observer in batch.into_iter().flatten() {
            observer.notify(events);
        }
        if after.is_none() {
            break;
        }
    }
    let mut end = None;
    while has_exclusive && exclusive > 0 {
        let observer = {
            let mut lists = queue.lists.lock();
            let end = *end.get_or_insert(lists.exclusive_observers.next_ticket);
            lists.exclusive_observers.rotate(events, end)
        };
        let Some(observer) = observer else { return };
        if observer.notify(events) {
            exclusive -= 1;
        }
    }
}

/// A registration of an observer with a queue; ends when it is dropped.
pub struct Observation<Q: QueueHandle> {
    queue: Q,
    /// Ours from `Box::into_raw` on; others reach it through the list, under its lock.
    node: NonNull<Node>,
    is_exclusive: bool,
}

// SAFETY: the node is touched only under the queue's lock or by its owner, and the observer in it is `Send + Sync`.
unsafe impl<Q: QueueHandle + Send> Send for Observation<Q> {}
// SAFETY: nothing can be done with a shared observation.
unsafe impl<Q: QueueHandle + Sync> Sync for Observation<Q> {}

impl<Q: QueueHandle> Observation<Q> {
    /// Has `observer` called by every wake of the queue for one of these events.
    ///
    /// What happened before is not told: the caller looks at the condition afterwards, as after every registration.
    pub fn new(queue: Q, observer: Arc<dyn Observer>, interest: u32) -> Self {
        Self::with(queue, observer, interest, false)
    }

    /// As [`Observation::new`], but of all exclusive observers only one uses a [`WaitQueue::wake_one`], if no waiter
    /// did; they take turns.
    pub fn exclusive(queue: Q, observer: Arc<dyn Observer>, interest: u32) -> Self {
        Self::with(queue, observer, interest, true)
    }

    fn with(queue: Q, observer: Arc<dyn Observer>, interest: u32, is_exclusive: bool) -> Self {
        let entry = UnsafeCell::new(Entry { previous: ptr::null(), next: ptr::null(), ticket: 0 });
        let node = NonNull::from(Box::leak(Box::new(Node { entry, interest, observer })));
        let this = Self { queue, node, is_exclusive };
        {
            let queue = this.queue.queue();
            let mut lists = queue.lists.lock();
            // SAFETY: new, so in no list; `Drop` unlinks it before it is freed.
            unsafe { this.list(&mut lists).push_back(node.as_ref()) };
            queue.note_added(&mut lists);
        }
        // Between queueing and the caller's look at the condition; its twin is in `WaitQueue::wake_one`.
        fence(Ordering::SeqCst);
        this
    }

    fn list<'a>(&self, lists: &'a mut Lists) -> &'a mut ObserverList {
        if self.is_exclusive { &mut lists.exclusive_observers } else { &mut lists.observers }
    }
}

impl<Q: QueueHandle> Drop for Observation<Q> {
    fn drop(&mut self) {
        {
            let queue = self.queue.queue();
            let mut lists = queue.lists.lock();
            // SAFETY: the node is in this list since it was made.
            unsafe { self.list(&mut lists).unlink(self.node.as_ref()) };
            queue.note_removed(&mut lists);
        }
        // SAFETY: made by `Box::leak`, and out of the list nobody else reaches it.
        drop(unsafe { Box::from_raw(self.node.as_ptr()) });
    }
}

impl<Q: QueueHandle> fmt::Debug for Observation<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observation").field(self.queue.queue()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
