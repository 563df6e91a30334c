//! Allocation that can be refused, where the standard containers offer none.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

use crate::OutOfMemory;

/// A box whose creation can fail.
pub(crate) struct TryBox<T>(Box<[T; 1]>);

impl<T> TryBox<T> {
    pub(crate) fn new(value: T) -> Result<Self, OutOfMemory> {
        let mut cell = Vec::new();
        cell.try_reserve_exact(1).map_err(|_| OutOfMemory)?;
        cell.push(value);
        cell.into_boxed_slice().try_into().map(Self).map_err(|_| OutOfMemory)
    }
}

impl<T> Deref for TryBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        let [value] = &*self.0;
        value
    }
}

impl<T> DerefMut for TryBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        let [value] = &mut *self.0;
        value
    }
}
