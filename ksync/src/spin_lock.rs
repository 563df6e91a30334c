//! The spin lock: masks interrupts (so nothing preempts its holder), spins.

use std::fmt;
use std::marker::PhantomData;

use lock_api::RawMutex;

use crate::rank::Rank;
use crate::shim::atomic::{AtomicU32, Ordering};
use crate::shim::spin_hint;

#[cfg(not(loom))]
use kernel_hal::interrupt;
#[cfg(all(debug_assertions, not(loom)))]
use kernel_hal::preemption;

/// Data that harts and interrupt handlers share, for a few instructions at a time.
///
/// While the guard lives interrupts are masked on this hart, so nothing preempts its holder; when it is dropped the
/// interrupt state is what it was before. A hart that spins goes on answering TLB flushes and the halt request.
///
/// The guard must not live across an `.await`: the task would hold the lock while others run, and would release it
/// on another hart. The guard is therefore not `Send`, which makes the future that holds it not `Send`, which the
/// executor's `spawn` refuses ("future cannot be sent between threads safely ... this value is used across an
/// await"):
///
/// ```compile_fail
/// # use ksync::{Rank, SpinLock};
/// # async fn something_else() {}
/// fn spawn(_: impl Future + Send) {}
/// static COUNTER: SpinLock<u32> = SpinLock::new(Rank::FILE, 0);
/// spawn(async {
///     let mut guard = COUNTER.lock();
///     something_else().await;
///     *guard += 1;
/// });
/// ```
///
/// Dropping the guard first is fine:
///
/// ```
/// # use ksync::{Rank, SpinLock};
/// # async fn something_else() {}
/// fn spawn(_: impl Future + Send) {}
/// static COUNTER: SpinLock<u32> = SpinLock::new(Rank::FILE, 0);
/// spawn(async {
///     *COUNTER.lock() += 1;
///     something_else().await;
/// });
/// ```
#[cfg(not(loom))]
pub struct SpinLock<T: ?Sized>(lock_api::Mutex<RawSpinLock, T>);

/// Access to what a [`SpinLock`] guards; not `Send`.
#[cfg(not(loom))]
pub type SpinLockGuard<'a, T> = lock_api::MutexGuard<'a, RawSpinLock, T>;

#[cfg(loom)]
pub use modelled::{SpinLock, SpinLockGuard};

/// loom cannot explore a loop that waits for another thread, so models get its blocking mutex under the same names;
/// [`RawSpinLock`] has a model of its own that only tries.
#[cfg(loom)]
mod modelled {
    use crate::rank::Rank;

    /// Stands in for the spin lock in models.
    #[derive(Debug)]
    pub struct SpinLock<T>(loom::sync::Mutex<T>);

    /// Stands in for the spin lock's guard in models.
    pub type SpinLockGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

    impl<T> SpinLock<T> {
        /// A free lock.
        pub fn new(_rank: Rank, value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        /// Takes the lock.
        pub fn lock(&self) -> SpinLockGuard<'_, T> {
            self.0.lock().expect("a modelled thread panicked")
        }

        /// Takes the lock if it is free.
        pub fn try_lock(&self) -> Option<SpinLockGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

#[cfg(not(loom))]
impl<T> SpinLock<T> {
    /// A lock of this rank, free, around `value`.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self(lock_api::Mutex::from_raw(RawSpinLock::new(rank), value))
    }

    /// The value, out of its lock.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

#[cfg(not(loom))]
impl<T: ?Sized> SpinLock<T> {
    /// Takes the lock, spinning until it is free. Taking it twice on one hart is a rank violation.
    #[inline]
    pub fn lock(&self) -> SpinLockGuard<'_, T> {
        self.0.lock()
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<SpinLockGuard<'_, T>> {
        self.0.try_lock()
    }

    /// Whether somebody held the lock a moment ago.
    pub fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

#[cfg(not(loom))]
impl<T: ?Sized + fmt::Debug> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The lock without its data, as lock_api wants it.
pub struct RawSpinLock {
    /// 0 or 1; a whole word, since the machine swaps bytes only with effort.
    locked: AtomicU32,
    #[cfg(all(debug_assertions, not(loom)))]
    rank: Rank,
}

/// What a guard carries: the interrupt state to go back to.
#[derive(Debug)]
pub struct RawGuard {
    #[cfg(not(loom))]
    saved: interrupt::SavedState,
    not_send: PhantomData<*mut ()>,
}

// SAFETY: the guard's data is a plain flag; sharing a reference to it between harts does nothing.
unsafe impl Sync for RawGuard {}

impl RawGuard {
    #[inline]
    fn enter() -> Self {
        #[cfg(not(loom))]
        {
            let saved = interrupt::disable_and_save();
            // Masked interrupts already keep this hart from preempting; the count lets debug builds find a guard that
            // was forgotten.
            #[cfg(debug_assertions)]
            preemption::raise();
            Self { saved, not_send: PhantomData }
        }
        #[cfg(loom)]
        Self { not_send: PhantomData }
    }

    #[inline]
    fn leave(self) {
        #[cfg(not(loom))]
        {
            #[cfg(debug_assertions)]
            preemption::lower();
            interrupt::restore(self.saved);
        }
    }
}

impl RawSpinLock {
    const_unless_loom! {
        /// A free lock of this rank.
        pub fn new(rank: Rank) -> Self {
            #[cfg(not(all(debug_assertions, not(loom))))]
            let _ = rank;
            Self {
                locked: AtomicU32::new(0),
                #[cfg(all(debug_assertions, not(loom)))]
                rank,
            }
        }
    }

    #[inline]
    fn try_acquire(&self) -> bool {
        self.locked.swap(1, Ordering::Acquire) == 0
    }

    #[cold]
    fn spin(&self) {
        loop {
            while self.locked.load(Ordering::Relaxed) != 0 {
                #[cfg(not(loom))]
                interrupt::serve_while_spinning();
                spin_hint();
            }
            if self.try_acquire() {
                return;
            }
        }
    }
}

// SAFETY: `locked` is set by exactly one swap at a time with acquire order and cleared with release order.
unsafe impl RawMutex for RawSpinLock {
    #[cfg(not(loom))]
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait's way to make a lock")]
    const INIT: Self = Self::new(Rank::CONSOLE);
    #[cfg(loom)]
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait's way to make a lock")]
    const INIT: Self = panic!("loom's locks cannot be made at compile time");

    type Guard = RawGuard;

    #[inline]
    fn lock(&self) -> RawGuard {
        let guard = RawGuard::enter();
        #[cfg(all(debug_assertions, not(loom)))]
        {
            crate::rank::check(self.rank);
            crate::rank::acquired(self.rank);
        }
        if !self.try_acquire() {
            self.spin();
        }
        guard
    }

    #[inline]
    fn try_lock(&self) -> Option<RawGuard> {
        let guard = RawGuard::enter();
        if self.try_acquire() {
            #[cfg(all(debug_assertions, not(loom)))]
            crate::rank::acquired(self.rank);
            Some(guard)
        } else {
            guard.leave();
            None
        }
    }

    #[inline]
    unsafe fn unlock(&self, guard: RawGuard) {
        self.locked.store(0, Ordering::Release);
        #[cfg(all(debug_assertions, not(loom)))]
        crate::rank::released(self.rank);
        guard.leave();
    }

    fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed) != 0
    }
}

impl fmt::Debug for RawSpinLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSpinLock").field("locked", &self.is_locked()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_guard_masks_interrupts_and_gives_the_state_back() {
        let lock = SpinLock::new(Rank::FILE, 5);
        interrupt::enable();
        {
            let _outer = lock.lock();
            assert!(!interrupt::are_enabled());
            #[cfg(debug_assertions)]
            assert_eq!(preemption::count(), 1);
            assert!(lock.try_lock().is_none());
            let inner = SpinLock::new(Rank::INODE, ());
            drop(inner.lock());
            assert!(!interrupt::are_enabled(), "the inner guard must leave interrupts masked");
        }
        assert!(interrupt::are_enabled());
        #[cfg(debug_assertions)]
        assert_eq!(preemption::count(), 0);
        interrupt::disable();
    }

    #[test]
    fn two_threads_exclude_each_other() {
        const ROUNDS: usize = if cfg!(miri) { 20 } else { 10_000 };
        let lock = SpinLock::new(Rank::FILE, 0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..ROUNDS).for_each(|_| *lock.lock() += 1));
            }
        });
        assert_eq!(lock.into_inner(), 2 * ROUNDS);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "`file` (rank 1300) taken while `inode` (rank 1600) is held")]
    fn a_rank_violation_panics_and_names_both() {
        let outer = SpinLock::new(Rank::FILE, ());
        let inner = SpinLock::new(Rank::INODE, ());
        let _inner = inner.lock();
        let _outer = outer.lock();
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "lock order violated")]
    fn two_locks_of_one_rank_are_a_violation() {
        let (first, second) = (SpinLock::new(Rank::FILE, ()), SpinLock::new(Rank::FILE, ()));
        let _first = first.lock();
        let _second = second.lock();
    }

    #[test]
    fn locks_may_be_released_in_any_order() {
        let outer = SpinLock::new(Rank::FILE, ());
        let middle = SpinLock::new(Rank::INODE, ());
        let first = outer.lock();
        let second = middle.lock();
        drop(first);
        drop(outer.try_lock());
        drop(second);
        let _again = outer.lock();
        drop(middle.lock());
    }
}
