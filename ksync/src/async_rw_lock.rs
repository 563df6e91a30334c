//! A read-write lock whose waiters sleep. Fair: readers that come after a waiting writer wait behind it, and whoever
//! unlocks gives the lock to the longest waiting, together with all readers right behind it if that is a reader.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::rank::Rank;
use crate::shim::atomic::{AtomicUsize, Ordering};
use crate::spin_lock::SpinLock;
use crate::wait_list::{Node, NodeState, WaitList};

/// A writer holds the lock.
const WRITER: usize = 1;
/// The list is not empty: newcomers queue, and unlocking looks at it. Changes only under the list's lock.
const WAITERS: usize = 2;
/// One reader; the count of readers is above the two flags.
const READER: usize = 4;

const READ: u8 = 0;
const WRITE: u8 = 1;

/// Data that tasks share, read more often than written. Guards may live across an `.await`.
///
/// A task must not read-lock twice at once: a writer that came in between would wait for the first and be waited
/// for by the second.
pub struct AsyncRwLock<T: ?Sized> {
    state: AtomicUsize,
    waiters: SpinLock<WaitList>,
    value: UnsafeCell<T>,
}

// SAFETY: readers share `&T` between harts, a writer moves the right to `&mut T`.
unsafe impl<T: ?Sized + Send + Sync> Sync for AsyncRwLock<T> {}
// SAFETY: owning the lock is owning the value.
unsafe impl<T: ?Sized + Send> Send for AsyncRwLock<T> {}

impl<T> AsyncRwLock<T> {
    const_unless_loom! {
        /// A free lock around `value`.
        pub fn new(value: T) -> Self {
            Self {
                state: AtomicUsize::new(0),
                waiters: SpinLock::new(Rank::WAIT_QUEUE, WaitList::new()),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value, out of its lock.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> AsyncRwLock<T> {
    /// Waits until the value may be read.
    pub fn read(&self) -> ReadFuture<'_, T> {
        ReadFuture(Acquire { lock: self, node: Node::new() })
    }

    /// Waits until the value may be written.
    pub fn write(&self) -> WriteFuture<'_, T> {
        WriteFuture(Acquire { lock: self, node: Node::new() })
    }

    /// Read access, if no writer holds the lock or waits for it.
    #[inline]
    pub fn try_read(&self) -> Option<AsyncRwLockReadGuard<'_, T>> {
        self.try_acquire(READ).then(|| AsyncRwLockReadGuard { lock: self })
    }

    /// Write access, if the lock is free.
    #[inline]
    pub fn try_write(&self) -> Option<AsyncRwLockWriteGuard<'_, T>> {
        self.try_acquire(WRITE).then(|| AsyncRwLockWriteGuard { lock: self })
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Takes the lock unless it is held against us or somebody waits already.
    #[inline]
    fn try_acquire(&self, kind: u8) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let new = match kind {
                READ if state & (WRITER | WAITERS) == 0 => state + READER,
                WRITE if state == 0 => WRITER,
                _ => return false,
            };
            match self.state.compare_exchange_weak(state, new, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(found) => state = found,
            }
        }
    }

    /// Takes the lock, or sets the flag that makes its holders look at the list. Called with the list locked.
    fn acquire_or_announce(&self, kind: u8) -> bool {
        loop {
            if self.try_acquire(kind) {
                return true;
            }
            let state = self.state.load(Ordering::Relaxed);
            if state & WAITERS != 0 {
                return false;
            }
            let free_for_us = if kind == READ { state & WRITER == 0 } else { state == 0 };
            if !free_for_us
                && self
                    .state
                    .compare_exchange(state, state | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                return false;
            }
        }
    }

    fn release(&self, kind: u8) {
        let held = if kind == READ { READER } else { WRITER };
        let before = self.state.fetch_sub(held, Ordering::Release);
        if before - held == WAITERS {
            self.hand_over();
        }
    }

    /// Gives the lock to as many at the head of the list as may hold it together.
    #[cold]
    fn hand_over(&self) {
        const BATCH: usize = 8;
        loop {
            let mut batch: [Option<Waker>; BATCH] = [const { None }; BATCH];
            let mut granted = 0;
            let mut waiters = self.waiters.lock();
            while granted < BATCH
                && let Some(kind) = waiters.head_kind()
                && self.grant(kind)
            {
                batch[granted] = waiters.pop_front(NodeState::Chosen);
                granted += 1;
            }
            if waiters.is_empty() {
                self.state.fetch_and(!WAITERS, Ordering::Relaxed);
            }
            drop(waiters);
            batch.into_iter().flatten().for_each(Waker::wake);
            if granted < BATCH {
                return;
            }
        }
    }

    /// Takes the lock in the name of the waiter at the head. Called with the list locked, so WAITERS stands still;
    /// while it is set only releases change the rest, and they only lower it.
    fn grant(&self, kind: u8) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let new = match kind {
                READ if state & WRITER == 0 => state + READER,
                WRITE if state & !WAITERS == 0 => state | WRITER,
                _ => return false,
            };
            match self.state.compare_exchange_weak(state, new, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(found) => state = found,
            }
        }
    }
}

impl<T: ?Sized> fmt::Debug for AsyncRwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Ordering::Relaxed);
        f.debug_struct("AsyncRwLock")
            .field("readers", &(state / READER))
            .field("writer", &(state & WRITER != 0))
            .finish_non_exhaustive()
    }
}

/// What both futures are made of.
struct Acquire<'a, T: ?Sized> {
    lock: &'a AsyncRwLock<T>,
    node: Node,
}

impl<T: ?Sized> Acquire<'_, T> {
    /// Whether the lock is ours now. The node must be pinned and `abandon`ed before it is freed.
    fn poll(&self, kind: u8, context: &mut Context<'_>) -> bool {
        let node = &self.node;
        if node.state() == NodeState::Idle && self.lock.try_acquire(kind) {
            return true;
        }
        let mut waiters = self.lock.waiters.lock();
        let mut outdated = None;
        let acquired = match node.state() {
            NodeState::Queued => {
                // SAFETY: a queued node is in this lock's list, which we have locked.
                outdated = unsafe { waiters.refresh(node, context.waker()) };
                false
            }
            NodeState::Idle => {
                let acquired = self.lock.acquire_or_announce(kind);
                if !acquired {
                    // SAFETY: idle, so in no list; our caller pinned it and takes it out.
                    unsafe { waiters.push_back(node, kind, context.waker().clone()) };
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
        acquired
    }

    fn abandon(&self, kind: u8) {
        let node = &self.node;
        if node.state() == NodeState::Idle {
            return;
        }
        let mut waiters = self.lock.waiters.lock();
        if node.state() == NodeState::Queued {
            // SAFETY: a queued node is in this lock's list, which we have locked.
            let unused = unsafe { waiters.take_out(node, NodeState::Idle) };
            drop(waiters);
            drop(unused);
            // A writer that leaves may have kept readers behind it from joining those that hold the lock.
            self.lock.hand_over();
        } else {
            drop(waiters);
            self.lock.release(kind);
        }
    }
}

macro_rules! acquire_future {
    ($(#[$doc:meta])* $name:ident, $kind:expr, $guard:ident) => {
        $(#[$doc])*
        #[must_use = "futures do nothing unless polled"]
        pub struct $name<'a, T: ?Sized>(Acquire<'a, T>);

        impl<'a, T: ?Sized> Future for $name<'a, T> {
            type Output = $guard<'a, T>;

            fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                let acquire = &self.into_ref().get_ref().0;
                if acquire.poll($kind, context) {
                    Poll::Ready($guard { lock: acquire.lock })
                } else {
                    Poll::Pending
                }
            }
        }

        impl<T: ?Sized> Drop for $name<'_, T> {
            fn drop(&mut self) {
                self.0.abandon($kind);
            }
        }

        impl<T: ?Sized> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("state", &self.0.node.state()).finish()
            }
        }

        impl<T: ?Sized> Deref for $guard<'_, T> {
            type Target = T;
            #[inline]
            fn deref(&self) -> &T {
                // SAFETY: this guard's right excludes writers other than itself.
                unsafe { &*self.lock.value.get() }
            }
        }

        impl<T: ?Sized> Drop for $guard<'_, T> {
            #[inline]
            fn drop(&mut self) {
                self.lock.release($kind);
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

/// Read access to what an [`AsyncRwLock`] guards.
#[must_use = "the lock is released at once if the guard is dropped"]
pub struct AsyncRwLockReadGuard<'a, T: ?Sized> {
    lock: &'a AsyncRwLock<T>,
}

/// Write access to what an [`AsyncRwLock`] guards.
#[must_use = "the lock is released at once if the guard is dropped"]
pub struct AsyncRwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a AsyncRwLock<T>,
}

acquire_future!(
    /// The future of [`AsyncRwLock::read`].
    ReadFuture,
    READ,
    AsyncRwLockReadGuard
);
acquire_future!(
    /// The future of [`AsyncRwLock::write`].
    WriteFuture,
    WRITE,
    AsyncRwLockWriteGuard
);

impl<T: ?Sized> DerefMut for AsyncRwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: a write guard excludes every other guard.
        unsafe { &mut *self.lock.value.get() }
    }
}

// SAFETY: a write guard is the exclusive right to the value; sharing it shares `&T`.
unsafe impl<T: ?Sized + Send> Send for AsyncRwLockWriteGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for AsyncRwLockWriteGuard<'_, T> {}
// SAFETY: a read guard is a `&T` that can be released from any hart.
unsafe impl<T: ?Sized + Sync> Send for AsyncRwLockReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for AsyncRwLockReadGuard<'_, T> {}
