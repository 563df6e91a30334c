//! One value per hart.
//!
//! [`PerHart::pinned`] keeps the caller on its hart (raises the preempt count); handlers may still interrupt it, so
//! the value must be fit for sharing (`Sync`: atomics, locks). [`PerHart::masked`] also masks interrupts: then nobody
//! else can touch the value, and plain cells will do.

use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;

use kernel_hal::interrupt::{self, SavedState};
use kernel_hal::{HartId, MAX_HARTS, preemption};

#[repr(align(64))]
struct Slot<T> {
    value: T,
    #[cfg(not(target_os = "none"))]
    owner: host_owner::Owner,
}

/// A value for each hart, each in cache lines of its own.
pub struct PerHart<T> {
    slots: [Slot<T>; MAX_HARTS],
}

// SAFETY: `pinned` and `of` share values between harts and ask for `T: Sync` themselves; `masked` gives a hart its own
// value, which no other hart can reach meanwhile, so that `Send` is enough.
unsafe impl<T: Send> Sync for PerHart<T> {}

impl<T> PerHart<T> {
    /// Hart n gets `values[n]`. In a static: `PerHart::new([const { ... }; MAX_HARTS])`.
    pub const fn new(values: [T; MAX_HARTS]) -> Self {
        let values = ManuallyDrop::new(values);
        let source = std::ptr::from_ref(&values).cast::<T>();
        let mut slots = [const { MaybeUninit::<Slot<T>>::uninit() }; MAX_HARTS];
        let mut index = 0;
        while index < MAX_HARTS {
            // SAFETY: `source` points at MAX_HARTS values; each is read once and `values` is never dropped.
            let value = unsafe { source.add(index).read() };
            slots[index] = MaybeUninit::new(Slot {
                value,
                #[cfg(not(target_os = "none"))]
                owner: host_owner::Owner::new(),
            });
            index += 1;
        }
        // SAFETY: every slot was initialised above; an array of `MaybeUninit<X>` has the layout of one of `X`.
        Self { slots: unsafe { std::mem::transmute_copy(&slots) } }
    }

    /// This hart's value; the caller stays on this hart while it looks.
    #[inline]
    pub fn pinned(&self) -> PinnedRef<'_, T>
    where
        T: Sync,
    {
        preemption::raise();
        PinnedRef { value: &self.slots[HartId::current().index()].value, not_send: PhantomData }
    }

    /// This hart's value, interrupts masked while it is looked at.
    #[inline]
    pub fn masked(&self) -> MaskedRef<'_, T> {
        let saved = interrupt::disable_and_save();
        preemption::raise();
        let slot = &self.slots[HartId::current().index()];
        #[cfg(not(target_os = "none"))]
        slot.owner.enter();
        MaskedRef { slot, saved, not_send: PhantomData }
    }

    /// Any hart's value.
    #[inline]
    pub fn of(&self, hart: HartId) -> &T
    where
        T: Sync,
    {
        &self.slots[hart.index()].value
    }

    /// All values, by hart.
    pub fn iter(&self) -> impl Iterator<Item = (HartId, &T)>
    where
        T: Sync,
    {
        self.slots.iter().enumerate().map(|(index, slot)| (HartId::new(index), &slot.value))
    }
}

impl<T> fmt::Debug for PerHart<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerHart").finish_non_exhaustive()
    }
}

/// What [`PerHart::pinned`] returns: not `Send`, lowers the preempt count when dropped.
pub struct PinnedRef<'a, T> {
    value: &'a T,
    not_send: PhantomData<*mut ()>,
}

impl<T> Deref for PinnedRef<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Drop for PinnedRef<'_, T> {
    #[inline]
    fn drop(&mut self) {
        preemption::lower();
    }
}

impl<T> fmt::Debug for PinnedRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedRef").finish_non_exhaustive()
    }
}

/// What [`PerHart::masked`] returns: not `Send`, goes back to the interrupt state before when dropped.
pub struct MaskedRef<'a, T> {
    slot: &'a Slot<T>,
    saved: SavedState,
    not_send: PhantomData<*mut ()>,
}

impl<T> Deref for MaskedRef<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.slot.value
    }
}

impl<T> Drop for MaskedRef<'_, T> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(not(target_os = "none"))]
        self.slot.owner.leave();
        preemption::lower();
        interrupt::restore(self.saved);
    }
}

impl<T> fmt::Debug for MaskedRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskedRef").finish_non_exhaustive()
    }
}

/// On the host several threads may call themselves the same hart; masking interrupts does not keep them apart, so
/// a re-entrant lock per value does.
#[cfg(not(target_os = "none"))]
mod host_owner {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    thread_local! {
        static MARK: Cell<u8> = const { Cell::new(0) };
    }

    pub(super) struct Owner {
        thread: AtomicUsize,
        depth: Cell<usize>,
    }

    impl Owner {
        pub(super) const fn new() -> Self {
            Self { thread: AtomicUsize::new(0), depth: Cell::new(0) }
        }

        pub(super) fn enter(&self) {
            let this_thread = MARK.with(|mark| std::ptr::from_ref(mark).addr());
            if self.thread.load(Ordering::Relaxed) != this_thread {
                while self
                    .thread
                    .compare_exchange_weak(0, this_thread, Ordering::Acquire, Ordering::Relaxed)
                    .is_err()
                {
                    std::thread::yield_now();
                }
            }
            self.depth.set(self.depth.get() + 1);
        }

        pub(super) fn leave(&self) {
            self.depth.set(self.depth.get() - 1);
            if self.depth.get() == 0 {
                self.thread.store(0, Ordering::Release);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn each_hart_sees_its_own_value() {
        static VALUES: PerHart<AtomicUsize> = PerHart::new([const { AtomicUsize::new(0) }; MAX_HARTS]);
        for index in [0, 3] {
            kernel_hal::host::become_hart(HartId::new(index));
            let value = VALUES.pinned();
            assert_eq!(preemption::count(), 1);
            value.store(index + 1, Ordering::Relaxed);
        }
        assert_eq!(preemption::count(), 0);
        let all: Vec<usize> = VALUES.iter().map(|(_, value)| value.load(Ordering::Relaxed)).collect();
        assert_eq!(all, [1, 0, 0, 4, 0, 0, 0, 0]);
    }

    #[test]
    fn a_masked_value_is_exclusive_and_may_be_a_plain_cell() {
        static VALUES: PerHart<Cell<usize>> = PerHart::new([const { Cell::new(0) }; MAX_HARTS]);
        const ROUNDS: usize = if cfg!(miri) { 20 } else { 5_000 };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    interrupt::enable();
                    for _ in 0..ROUNDS {
                        let value = VALUES.masked();
                        assert!(!interrupt::are_enabled());
                        value.set(value.get() + 1);
                    }
                    assert!(interrupt::are_enabled());
                });
            }
        });
        assert_eq!(VALUES.masked().get(), 2 * ROUNDS);
    }

    #[test]
    fn values_are_dropped_once() {
        let counted = std::sync::Arc::new(());
        let cell = PerHart::new([(); MAX_HARTS].map(|()| counted.clone()));
        drop(cell);
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    }
}
