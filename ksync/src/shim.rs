//! What loom replaces: atomics, cells, the spin hint, and the constness of constructors.
//!
//! Code that is to be modelled uses these names instead of `core`'s. In an ordinary build they are `core`'s.

#[cfg(not(loom))]
pub use std::sync::atomic;

#[cfg(loom)]
pub use loom::sync::atomic;

/// Tells the machine (or the model, or the host's scheduler) that this hart waits for another.
#[inline]
pub fn spin_hint() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(all(not(loom), target_os = "none"))]
    std::hint::spin_loop();
    #[cfg(all(not(loom), not(target_os = "none")))]
    std::thread::yield_now();
}

/// Declares a function that is `const` except under loom, whose primitives cannot be made at compile time.
#[macro_export]
macro_rules! const_unless_loom {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty $body:block) => {
        #[cfg(not(loom))]
        $(#[$attribute])* $visibility const fn $name($($argument: $type),*) -> $result $body
        #[cfg(loom)]
        $(#[$attribute])* $visibility fn $name($($argument: $type),*) -> $result $body
    };
}

#[cfg(loom)]
pub use loom::cell::UnsafeCell;

/// `core`'s cell behind the closure interface that loom can watch.
#[cfg(not(loom))]
#[derive(Debug)]
#[repr(transparent)]
pub struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Calls `access` with a pointer for reading.
    #[inline(always)]
    pub fn with<R>(&self, access: impl FnOnce(*const T) -> R) -> R {
        access(self.0.get())
    }

    /// Calls `access` with a pointer for writing.
    #[inline(always)]
    pub fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}
