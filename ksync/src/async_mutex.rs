//! A mutex whose waiters sleep. It is handed over in the order of arrival: whoever unlocks gives it to the longest
//! waiting, and nobody overtakes.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::rank::Rank;
use crate::shim::atomic::{AtomicU8, Ordering};
use crate::spin_lock::SpinLock;
use crate::wait_list::{Node, NodeState, WaitList};

/// Waits to own the mutex.
const OWNER_TO_BE: u8 = 0;
/// Waits until nobody owns it.
const ONLOOKER: u8 = 1;

/// How many onlookers are collected under the list's lock before it is released to wake them.
const BATCH: usize = 8;

const FREE: u8 = 0;
const LOCKED: u8 = 1;
/// Locked, and the list may hold waiters: whoever unlocks must look.
const CONTENDED: u8 = 2;

/// Data that tasks share for longer than a spin lock allows: its guard may live across an `.await`.
///
/// Not to be taken by interrupt handlers, and not re-entrant.
pub struct AsyncMutex<T: ?Sized> {
    state: AtomicU8,
    waiters: SpinLock<WaitList>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through the one guard that exists at a time.
unsafe impl<T: ?Sized + Send> Sync for AsyncMutex<T> {}
// SAFETY: owning the mutex is owning the value.
unsafe impl<T: ?Sized + Send> Send for AsyncMutex<T> {}

impl<T> AsyncMutex<T> {
    const_unless_loom! {
        /// A free mutex around `value`.
        pub fn new(value: T) -> Self {
            Self {
                state: AtomicU8::new(FREE),
                waiters: SpinLock::new(Rank::WAIT_QUEUE, WaitList::new()),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value, out of its mutex.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> AsyncMutex<T> {
    /// Waits for the mutex.
    pub fn lock(&self) -> LockFuture<'_, T> {
        LockFuture { mutex: self, node: Node::new() }
    }

    /// Waits until somebody unlocks the mutex, without taking it: for who is going to try again. (To lock and unlock
    /// would not do: the mutex is handed over to who waits, so among several that do so it never becomes free.)
    pub fn until_free(&self) -> UntilFree<'_, T> {
        UntilFree { mutex: self, node: Node::new() }
    }

    /// Takes the mutex if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<AsyncMutexGuard<'_, T>> {
        self.try_acquire().then(|| AsyncMutexGuard { mutex: self })
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[inline]
    fn try_acquire(&self) -> bool {
        self.state.compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the mutex, or makes sure that its owner will look at the list. Called with the list locked.
    fn acquire_or_announce(&self) -> bool {
        loop {
            if self.try_acquire() {
                return true;
            }
            match self.state.compare_exchange(LOCKED, CONTENDED, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) | Err(CONTENDED) => return false,
                Err(_) => {}
            }
        }
    }

    /// Whether nobody owns the mutex; otherwise the owner will look at the list. Called with the list locked.
    fn is_free_or_announce(&self) -> bool {
        match self.state.compare_exchange(LOCKED, CONTENDED, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) | Err(CONTENDED) => false,
            Err(_) => true,
        }
    }

    #[inline]
    fn unlock(&self) {
        if self.state.compare_exchange(LOCKED, FREE, Ordering::Release, Ordering::Relaxed).is_err() {
            self.hand_over();
        }
    }

    /// Tells those who look on, and gives the mutex, which the caller owns, to the longest waiting.
    #[cold]
    fn hand_over(&self) {
        loop {
            let mut onlookers: [Option<Waker>; BATCH] = [const { None }; BATCH];
            let mut told = 0;
            let mut waiters = self.waiters.lock();
            while told < BATCH && waiters.head_kind() == Some(ONLOOKER) {
                onlookers[told] = waiters.pop_front(NodeState::Released);
                told += 1;
            }
            let mut next = None;
            if told < BATCH {
                next = waiters.pop_front(NodeState::Chosen);
                if next.is_none() {
                    self.state.store(FREE, Ordering::Release);
                } else if waiters.is_empty() {
                    self.state.store(LOCKED, Ordering::Relaxed);
                }
            }
            drop(waiters);
            onlookers.into_iter().flatten().chain(next).for_each(Waker::wake);
            if told < BATCH {
                return;
            }
        }
    }
}

impl AsyncMutex<()> {
    /// Unlocks a mutex whose guard was forgotten (`core::mem::forget`), for an owner that outlives the borrow. As it
    /// guards no data, unlocking a mutex that somebody else owns would be a mistake, but no unsoundness.
    pub fn unlock_forgotten(&self) {
        self.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for AsyncMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AsyncMutex");
        match self.try_lock() {
            Some(guard) => out.field("value", &&*guard),
            None => out.field("value", &format_args!("<locked>")),
        };
        out.finish()
    }
}

/// The future of [`AsyncMutex::lock`].
#[must_use = "futures do nothing unless polled"]
pub struct LockFuture<'a, T: ?Sized> {
    mutex: &'a AsyncMutex<T>,
    node: Node,
}

impl<'a, T: ?Sized> Future for LockFuture<'a, T> {
    type Output = AsyncMutexGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.into_ref().get_ref();
        let (mutex, node) = (this.mutex, &this.node);
        match node.state() {
            // Whoever unlocked left the mutex locked in our name.
            NodeState::Chosen => {
                node.reset();
                return Poll::Ready(AsyncMutexGuard { mutex });
            }
            NodeState::Idle if mutex.try_acquire() => return Poll::Ready(AsyncMutexGuard { mutex }),
            _ => {}
        }
        let mut waiters = mutex.waiters.lock();
        let mut outdated = None;
        let acquired = match node.state() {
            NodeState::Queued => {
                // SAFETY: a queued node is in this mutex's list, whose lock we hold.
                outdated = unsafe { waiters.refresh(node, context.waker()) };
                false
            }
            NodeState::Idle => {
                let acquired = mutex.acquire_or_announce();
                if !acquired {
                    // SAFETY: idle, so in no list; pinned by `self`; `Drop` takes it out.
                    unsafe { waiters.push_back(node, OWNER_TO_BE, context.waker().clone()) };
                }
                acquired
            }
            NodeState::Chosen | NodeState::Released => {
                node.reset();
                true
            }
        };
        drop(waiters);
        drop(outdated);
        if acquired { Poll::Ready(AsyncMutexGuard { mutex }) } else { Poll::Pending }
    }
}

impl<T: ?Sized> Drop for LockFuture<'_, T> {
    fn drop(&mut self) {
        let node = &self.node;
        if node.state() == NodeState::Queued {
            let mut waiters = self.mutex.waiters.lock();
            let mut unused = None;
            if node.state() == NodeState::Queued {
                // SAFETY: a queued node is in this mutex's list, whose lock we hold.
                unused = unsafe { waiters.take_out(node, NodeState::Idle) };
            }
            drop(waiters);
            drop(unused);
        }
        if node.state() == NodeState::Chosen {
            // The mutex was given to us; we will not use it.
            self.mutex.unlock();
        }
    }
}

impl<T: ?Sized> fmt::Debug for LockFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockFuture").field("state", &self.node.state()).finish()
    }
}

/// The future of [`AsyncMutex::until_free`].
#[must_use = "futures do nothing unless polled"]
pub struct UntilFree<'a, T: ?Sized> {
    mutex: &'a AsyncMutex<T>,
    node: Node,
}

impl<T: ?Sized> Future for UntilFree<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref().get_ref();
        let (mutex, node) = (this.mutex, &this.node);
        let mut waiters = mutex.waiters.lock();
        let mut outdated = None;
        let is_free = match node.state() {
            NodeState::Queued => {
                // SAFETY: a queued node is in this mutex's list, whose lock we hold.
                outdated = unsafe { waiters.refresh(node, context.waker()) };
                false
            }
            NodeState::Idle => {
                let is_free = mutex.is_free_or_announce();
                if !is_free {
                    // SAFETY: idle, so in no list; pinned by `self`; `Drop` takes it out.
                    unsafe { waiters.push_back(node, ONLOOKER, context.waker().clone()) };
                }
                is_free
            }
            NodeState::Chosen | NodeState::Released => true,
        };
        drop(waiters);
        drop(outdated);
        if is_free { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T: ?Sized> Drop for UntilFree<'_, T> {
    fn drop(&mut self) {
        let node = &self.node;
        if node.state() == NodeState::Queued {
            let mut waiters = self.mutex.waiters.lock();
            let mut unused = None;
            if node.state() == NodeState::Queued {
                // SAFETY: a queued node is in this mutex's list, whose lock we hold.
                unused = unsafe { waiters.take_out(node, NodeState::Idle) };
            }
            drop(waiters);
            drop(unused);
        }
    }
}

impl<T: ?Sized> fmt::Debug for UntilFree<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilFree").field("state", &self.node.state()).finish()
    }
}

/// Access to what an [`AsyncMutex`] guards.
#[must_use = "the mutex is unlocked at once if the guard is dropped"]
pub struct AsyncMutexGuard<'a, T: ?Sized> {
    mutex: &'a AsyncMutex<T>,
}

// SAFETY: sharing the guard shares `&T`.
unsafe impl<T: ?Sized + Sync> Sync for AsyncMutexGuard<'_, T> {}
// SAFETY: the guard is the exclusive right to the value, wherever it goes.
unsafe impl<T: ?Sized + Send> Send for AsyncMutexGuard<'_, T> {}

impl<T: ?Sized> Deref for AsyncMutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard is the only one.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for AsyncMutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the only one.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for AsyncMutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for AsyncMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
