//! A value that is made once.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;

use std::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
const RUNNING: u8 = 1;
const COMPLETE: u8 = 2;

/// A cell that is filled once and then only read, from any hart.
///
/// Whoever comes second while the first is still making the value spins: the maker must be quick, must not wait, and
/// must not ask for the same cell.
pub struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by the one caller that moved the state to RUNNING and only shared after COMPLETE.
unsafe impl<T: Send + Sync> Sync for Once<T> {}
// SAFETY: owning the cell is owning the value.
unsafe impl<T: Send> Send for Once<T> {}

impl<T> Once<T> {
    /// An empty cell.
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// The value, if it was made.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) == COMPLETE {
            // SAFETY: COMPLETE is stored after the value was written, and the value never changes again.
            Some(unsafe { (*self.value.get()).assume_init_ref() })
        } else {
            None
        }
    }

    /// The value; the first caller makes it.
    pub fn call_once(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        // A maker that is preempted on its own hart would leave the others spinning.
        kernel_hal::preemption::raise();
        if self.state.compare_exchange(EMPTY, RUNNING, Ordering::Acquire, Ordering::Acquire).is_ok() {
            let value = make();
            // SAFETY: only the caller that moved the state from EMPTY comes here, once.
            unsafe { (*self.value.get()).write(value) };
            self.state.store(COMPLETE, Ordering::Release);
        }
        kernel_hal::preemption::lower();
        loop {
            if let Some(value) = self.get() {
                return value;
            }
            kernel_hal::interrupt::serve_while_spinning();
            std::hint::spin_loop();
        }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Once<T> {
    fn drop(&mut self) {
        if *self.state.get_mut() == COMPLETE {
            // SAFETY: COMPLETE means the value was written; nobody else holds a reference.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Once").field(&self.get()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn only_the_first_caller_makes_the_value() {
        let made = AtomicUsize::new(0);
        let once = Once::new();
        assert!(once.get().is_none());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let value = once.call_once(|| {
                        made.fetch_add(1, Ordering::Relaxed);
                        String::from("made")
                    });
                    assert_eq!(value, "made");
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
