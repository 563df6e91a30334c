//! The wait queue: the one way to wait.
//!
//! A waiter registers and *then* looks at its condition again; a waker changes the condition and *then* looks for
//! waiters. Each side puts a full fence between its two steps, so at least one of them sees the other. That makes
//! waking a queue nobody waits on as cheap as one load.
//!
//! [`WaitQueue::wake_one`] chooses the longest waiting and hands it a baton: if that waiter is dropped before it ran,
//! the baton passes to the next. It is for waiters that are interchangeable; where waiters on one queue wait for
//! different things, use [`WaitQueue::wake_all`]. A *listener* ([`Waiter::listener`]) watches without consuming: it is
//! told by every wake, beside the one waiter that is chosen.

use alloc::sync::Arc;
use std::fmt;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use crate::rank::Rank;
use crate::shim::atomic::{AtomicUsize, Ordering, fence};
use crate::spin_lock::SpinLock;
use crate::wait_list::{Node, NodeState, WaitList};

const WAITER: u8 = 0;
const LISTENER: u8 = 1;

/// How many wakers are collected under the lock before it is released to call them.
const BATCH: usize = 8;

struct Lists {
    waiters: WaitList,
    listeners: WaitList,
    count: usize,
}

impl Lists {
    fn list(&mut self, kind: u8) -> &mut WaitList {
        if kind == LISTENER { &mut self.listeners } else { &mut self.waiters }
    }
}

/// Tasks that wait for something to change.
pub struct WaitQueue {
    /// How many are queued; written under the lock, read by wakers without it.
    count: AtomicUsize,
    lists: SpinLock<Lists>,
    name: &'static str,
}

impl WaitQueue {
    const_unless_loom! {
        /// A queue nobody waits on. The name is what the debugger shows.
        pub fn new(name: &'static str) -> Self {
            let lists = Lists { waiters: WaitList::new(), listeners: WaitList::new(), count: 0 };
            Self { count: AtomicUsize::new(0), lists: SpinLock::new(Rank::WAIT_QUEUE, lists), name }
        }
    }

    /// What the queue is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many waiters and listeners were queued a moment ago.
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

    /// Wakes the longest waiting, and every listener. Returns whether a waiter was chosen.
    ///
    /// To be called after the change that it announces, and with no lock held that a waker takes.
    #[inline]
    pub fn wake_one(&self) -> bool {
        // Between the caller's change and the look for waiters; its twin is in `Waiter::register`.
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::Relaxed) == 0 { false } else { self.wake_one_slow() }
    }

    /// Wakes everybody who is queued now, in order of arrival.
    #[inline]
    pub fn wake_all(&self) {
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::Relaxed) != 0 {
            self.release_all(LISTENER);
            self.release_all(WAITER);
        }
    }

    fn wake_one_slow(&self) -> bool {
        let mut lists = self.lists.lock();
        let has_listeners = !lists.listeners.is_empty();
        let waker = lists.waiters.pop_front(NodeState::Chosen);
        if waker.is_some() {
            self.note_removed(&mut lists);
        }
        drop(lists);
        let chosen = waker.is_some();
        if let Some(waker) = waker {
            waker.wake();
        }
        if has_listeners {
            self.release_all(LISTENER);
        }
        chosen
    }

    /// Takes out everybody of a kind who was queued when the call began, a batch at a time.
    fn release_all(&self, kind: u8) {
        let mut end = None;
        loop {
            let mut batch: [Option<Waker>; BATCH] = [const { None }; BATCH];
            let mut lists = self.lists.lock();
            // Who queues again while we call wakers gets a later ticket and is left alone.
            let end = *end.get_or_insert(lists.list(kind).next_ticket());
            let mut taken = 0;
            while taken < BATCH
                && let Some(ticket) = lists.list(kind).head_ticket()
                && is_before(ticket, end)
            {
                batch[taken] = lists.list(kind).pop_front(NodeState::Released);
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

    fn note_removed(&self, lists: &mut Lists) {
        lists.count -= 1;
        self.count.store(lists.count, Ordering::Relaxed);
    }

    fn note_added(&self, lists: &mut Lists) {
        lists.count += 1;
        self.count.store(lists.count, Ordering::Relaxed);
    }
}

/// Whether ticket `a` was drawn before `b`, also across the counter's wrap.
fn is_before(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) > 0
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
    kind: u8,
}

impl<Q: QueueHandle> Waiter<Q> {
    /// A waiter that is not registered yet.
    pub fn new(queue: Q) -> Self {
        Self { queue, node: Node::new(), kind: WAITER }
    }

    /// A listener that is not registered yet: every wake tells it, and it never uses up a [`WaitQueue::wake_one`].
    pub fn listener(queue: Q) -> Self {
        Self { queue, node: Node::new(), kind: LISTENER }
    }

    fn queue(&self) -> &WaitQueue {
        self.queue.queue()
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
            unsafe { lists.list(this.kind).push_back(&this.node, this.kind, waker.clone()) };
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
            self.queue().wake_one();
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
