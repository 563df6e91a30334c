//! The wait queue: the one way to wait.
//!
//! A waiter registers and *then* looks at its condition again; a waker changes the condition and *then* looks for
//! waiters. Each side puts a full fence between its two steps, so at least one of them sees the other. That makes
//! waking a queue nobody waits on as cheap as one load.
//!
//! [`WaitQueue::wake_one`] chooses the longest waiting and hands it a baton: if that waiter is dropped before it ran,
//! the baton passes to the next. It is for waiters that are interchangeable; where waiters on one queue wait for
//! different things, use [`WaitQueue::wake_all`]. A *listener* ([`Waiter::listener`]) watches without consuming: it is
//! told by every wake, beside the one waiter that is chosen. An *observer* ([`crate::Observation`]) watches for good: it
//! is called by every wake and stays.
//!
//! A wake may say which *events* it announces, a set of bits whose meaning is its users' own, and everybody in the
//! queue may say for which they wait. Who waits for others sleeps on. So one queue serves the readers and the writers
//! of an object without the one disturbing the other.

use alloc::sync::Arc;
use std::fmt;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use crate::observer::{self, ObserverList};
use crate::rank::Rank;
use crate::shim::atomic::{AtomicUsize, Ordering, fence};
use crate::spin_lock::SpinLock;
use crate::wait_list::{Node, NodeState, WaitList};

const WAITER: u8 = 0;
const LISTENER: u8 = 1;

/// How many wakers are collected under the lock before it is released to call them.
const BATCH: usize = 8;

/// All events: what a wake announces, and who is queued waits for, unless they say less.
pub const EVERY_EVENT: u32 = u32::MAX;

pub(crate) struct Lists {
    waiters: WaitList,
    listeners: WaitList,
    pub(crate) observers: ObserverList,
    pub(crate) exclusive_observers: ObserverList,
    count: usize,
}

impl Lists {
    const fn new() -> Self {
        Self {
            waiters: WaitList::new(),
            listeners: WaitList::new(),
            observers: ObserverList::new(),
            exclusive_observers: ObserverList::new(),
            count: 0,
        }
    }

    fn has_observers(&self) -> bool {
        !(self.observers.is_empty() && self.exclusive_observers.is_empty())
    }

    fn list(&mut self, kind: u8) -> &mut WaitList {
        if kind == LISTENER { &mut self.listeners } else { &mut self.waiters }
    }
}

/// Tasks that wait for something to change.
pub struct WaitQueue {
    /// How many are queued; written under the lock, read by wakers without it.
    count: AtomicUsize,
    pub(crate) lists: SpinLock<Lists>,
    name: &'static str,
}

impl WaitQueue {
    const_unless_loom! {
        /// A queue nobody waits on. The name is what the debugger shows.
        pub fn new(name: &'static str) -> Self {
            let lists = SpinLock::new(Rank::WAIT_QUEUE, Lists::new());
            Self { count: AtomicUsize::new(0), lists, name }
        }
    }

    /// What the queue is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many waiters, listeners and observers were queued a moment ago.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether nobody was queued a moment ago.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until `condition` returns something.
    ///
    /// The condition is looked at before anything is registered, again after registering, and once per wake-up. It
    /// runs without the queue's lock. What makes it true must be followed by a wake of this queue.
    pub fn wait_until<R, F: FnMut() -> Option<R>>(&self, condition: F) -> WaitUntil<'_, F> {
        WaitUntil { waiter: Waiter::new(self), condition }
    }

    /// Wakes the longest waiting, and tells every listener and observer. Returns whether a waiter was chosen.
    ///
    /// To be called after the change that it announces, and with no lock held that a waker takes.
    #[inline]
    pub fn wake_one(&self) -> bool {
        self.wake_one_for(EVERY_EVENT)
    }

    /// As [`WaitQueue::wake_one`], of those that wait for one of these events.
    #[inline]
    pub fn wake_one_for(&self, events: u32) -> bool {
        // Between the caller's change and the look for waiters; its twin is in `Waiter::register`.
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::Relaxed) == 0 { false } else { self.wake_one_slow(events) }
    }

    /// Wakes everybody who is queued now, in order of arrival.
    #[inline]
    pub fn wake_all(&self) {
        self.wake_all_for(EVERY_EVENT);
    }

    /// As [`WaitQueue::wake_all`], those that wait for one of these events.
    #[inline]
    pub fn wake_all_for(&self, events: u32) {
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::Relaxed) != 0 {
            self.wake_all_slow(events);
        }
    }

    /// Wakes the longest waiting and nobody else: nothing has happened, but one who was woken has left something over.
    #[inline]
    pub fn wake_next_for(&self, events: u32) -> bool {
        fence(Ordering::SeqCst);
        self.count.load(Ordering::Relaxed) != 0 && self.choose(events).0
    }

    /// Chooses a waiter; also says whether there are listeners and observers.
    fn choose(&self, events: u32) -> (bool, bool, bool) {
        let mut lists = self.lists.lock();
        let has_listeners = !lists.listeners.is_empty();
        let has_observers = lists.has_observers();
        let end = lists.waiters.next_ticket();
        let waker = lists.waiters.pop_first_for(events, end, NodeState::Chosen);
        if waker.is_some() {
            self.note_removed(&mut lists);
        }
        drop(lists);
        let chosen = waker.is_some();
        if let Some(waker) = waker {
            waker.wake();
        }
        (chosen, has_listeners, has_observers)
    }

    fn wake_one_slow(&self, events: u32) -> bool {
        let (chosen, has_listeners, has_observers) = self.choose(events);
        if has_listeners {
            self.release_all(LISTENER, events);
        }
        if has_observers {
            observer::notify(self, events, if chosen { 0 } else { 1 });
        }
        chosen
    }

    fn wake_all_slow(&self, events: u32) {
        let (has_listeners, has_waiters, has_observers) = {
            let lists = self.lists.lock();
            (!lists.listeners.is_empty(), !lists.waiters.is_empty(), lists.has_observers())
        };
        if has_listeners {
            self.release_all(LISTENER, events);
        }
        if has_waiters {
            self.release_all(WAITER, events);
        }
        if has_observers {
            observer::notify(self, events, usize::MAX);
        }
    }

    /// Takes out everybody of a kind who was queued when the call began, a batch at a time.
    fn release_all(&self, kind: u8, events: u32) {
        let mut end = None;
        loop {
            let mut batch: [Option<Waker>; BATCH] = [const { None }; BATCH];
            let mut lists = self.lists.lock();
            // Who queues again while we call wakers gets a later ticket and is left alone.
            let end = *end.get_or_insert(lists.list(kind).next_ticket());
            let mut taken = 0;
            while taken < BATCH
                && let Some(waker) = lists.list(kind).pop_first_for(events, end, NodeState::Released)
            {
                batch[taken] = Some(waker);
                self.note_removed(&mut lists);
                taken += 1;
            }
            drop(lists);
            batch.into_iter().flatten().for_each(Waker::wake);
            if taken < BATCH {
                return;
            }
        }
    }

    pub(crate) fn note_removed(&self, lists: &mut Lists) {
        lists.count -= 1;
        self.count.store(lists.count, Ordering::Relaxed);
    }

    pub(crate) fn note_added(&self, lists: &mut Lists) {
        lists.count += 1;
        self.count.store(lists.count, Ordering::Relaxed);
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitQueue").field("name", &self.name).field("len", &self.len()).finish()
    }
}

/// Something that keeps one wait queue alive and in place.
///
/// # Safety
/// [`QueueHandle::queue`] returns the same queue each time, and that queue stays where it is as long as the handle
/// lives, wherever the handle is moved.
pub unsafe trait QueueHandle {
    /// The queue.
    fn queue(&self) -> &WaitQueue;
}

// SAFETY: a borrowed queue is neither moved nor freed.
unsafe impl QueueHandle for &WaitQueue {
    #[inline]
    fn queue(&self) -> &WaitQueue {
        self
    }
}

/// A queue inside a shared object, which the handle keeps alive.
pub struct SharedQueue<T: ?Sized> {
    queue: NonNull<WaitQueue>,
    owner: Arc<T>,
}

// SAFETY: the handle is an `Arc<T>` and a `&WaitQueue` into it; `WaitQueue` is `Sync`.
unsafe impl<T: ?Sized + Send + Sync> Send for SharedQueue<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for SharedQueue<T> {}

impl<T: ?Sized> SharedQueue<T> {
    /// The queue that `find` picks out of the object.
    pub fn new(owner: Arc<T>, find: impl for<'a> FnOnce(&'a T) -> &'a WaitQueue) -> Self {
        let queue = NonNull::from(find(&owner));
        Self { queue, owner }
    }

    /// The object.
    pub fn owner(&self) -> &Arc<T> {
        &self.owner
    }
}

// SAFETY: the queue was borrowed from the shared object, of which nobody can get a `&mut` while we hold an `Arc`; so
// whatever was reachable by reference stays valid and in place.
unsafe impl<T: ?Sized> QueueHandle for SharedQueue<T> {
    #[inline]
    fn queue(&self) -> &WaitQueue {
        // SAFETY: see above; the borrow ends with `self`.
        unsafe { self.queue.as_ref() }
    }
}

impl<T: ?Sized> fmt::Debug for SharedQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.queue().fmt(f)
    }
}

/// One waiter's registration: what [`WaitQueue::wait_until`] is made of, for those who wait on several queues or
/// whose condition is more than a closure.
///
/// `Q` says how the queue is kept alive: a reference, or a handle that owns what the queue is part of. Being dropped
/// deregisters, and passes on a baton that was not used.
pub struct Waiter<Q: QueueHandle> {
    queue: Q,
    node: Node,
    interest: u32,
    kind: u8,
}

impl<Q: QueueHandle> Waiter<Q> {
    /// A waiter that is not registered yet.
    pub fn new(queue: Q) -> Self {
        Self::new_for(queue, EVERY_EVENT)
    }

    /// A waiter for some events.
    pub fn new_for(queue: Q, interest: u32) -> Self {
        Self { queue, node: Node::new(), interest, kind: WAITER }
    }

    /// A listener that is not registered yet: every wake tells it, and it never uses up a [`WaitQueue::wake_one`].
    pub fn listener(queue: Q) -> Self {
        Self::listener_for(queue, EVERY_EVENT)
    }

    /// A listener for some events.
    pub fn listener_for(queue: Q, interest: u32) -> Self {
        Self { queue, node: Node::new(), interest, kind: LISTENER }
    }

    fn queue(&self) -> &WaitQueue {
        self.queue.queue()
    }

    /// How the queue is kept alive.
    pub fn queue_handle(&self) -> &Q {
        &self.queue
    }

    /// The events it waits for.
    pub fn interest(&self) -> u32 {
        self.interest
    }

    /// Makes sure that the next wake of the queue calls `waker`. Returns `true` if the waiter was not queued before
    /// (it is new, or it was woken): then the condition may have changed before it was queued, and the caller must
    /// look at it once more.
    #[must_use = "a new registration must be followed by another look at the condition"]
    pub fn register(self: Pin<&mut Self>, waker: &Waker) -> bool {
        let this = self.into_ref().get_ref();
        let mut lists = this.queue().lists.lock();
        let outdated;
        let added = if this.node.state() == NodeState::Queued {
            // SAFETY: a queued node is in this queue's list, whose lock we hold.
            outdated = unsafe { lists.list(this.kind).refresh(&this.node, waker) };
            false
        } else {
            outdated = None;
            // SAFETY: not queued, so in no list; pinned by `self`, and taken out by our `Drop`.
            unsafe {
                let waker = waker.clone();
                lists.list(this.kind).push_back_for(&this.node, this.kind, this.interest, waker);
            }
            this.queue().note_added(&mut lists);
            true
        };
        drop(lists);
        // A waker's drop may free a task: not under the lock.
        drop(outdated);
        if added {
            // Between queueing and the caller's second look; its twin is in `WaitQueue::wake_one`.
            fence(Ordering::SeqCst);
        }
        added
    }

    /// Whether the waiter is registered and has not been woken since.
    pub fn is_queued(&self) -> bool {
        self.node.state() == NodeState::Queued
    }

    /// Whether a wake took the waiter out since it registered.
    pub fn was_woken(&self) -> bool {
        matches!(self.node.state(), NodeState::Chosen | NodeState::Released)
    }

    /// Ends the registration of a waiter that got what it waited for; a baton counts as used.
    pub fn finish(self: Pin<&mut Self>) {
        let this = self.into_ref().get_ref();
        this.leave_list();
        this.node.reset();
    }

    /// Takes the node out if it is queued. Afterwards nobody but the owner can reach it.
    fn leave_list(&self) {
        if self.node.state() != NodeState::Queued {
            return;
        }
        let mut lists = self.queue().lists.lock();
        let mut unused = None;
        if self.node.state() == NodeState::Queued {
            // SAFETY: a queued node is in this queue's list, whose lock we hold.
            unused = unsafe { lists.list(self.kind).take_out(&self.node, NodeState::Idle) };
            self.queue().note_removed(&mut lists);
        }
        drop(lists);
        drop(unused);
    }
}

impl<Q: QueueHandle> Drop for Waiter<Q> {
    fn drop(&mut self) {
        self.leave_list();
        if self.node.state() == NodeState::Chosen {
            self.queue().wake_next_for(self.interest);
        }
    }
}

impl<Q: QueueHandle> fmt::Debug for Waiter<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("queue", &self.queue().name)
            .field("state", &self.node.state())
            .finish()
    }
}

/// The future of [`WaitQueue::wait_until`].
#[must_use = "futures do nothing unless polled"]
pub struct WaitUntil<'q, F> {
    waiter: Waiter<&'q WaitQueue>,
    condition: F,
}

impl<F> fmt::Debug for WaitUntil<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitUntil").field(&self.waiter).finish()
    }
}

impl<R, F: FnMut() -> Option<R>> Future for WaitUntil<'_, F> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        // SAFETY: `waiter` is pinned with `self` and never moved out; `condition` is never pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let mut waiter = unsafe { Pin::new_unchecked(&mut this.waiter) };
        if let Some(result) = (this.condition)() {
            waiter.finish();
            return Poll::Ready(result);
        }
        if waiter.as_mut().register(context.waker())
            && let Some(result) = (this.condition)()
        {
            waiter.finish();
            return Poll::Ready(result);
        }
        Poll::Pending
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
