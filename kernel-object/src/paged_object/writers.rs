//! Who writes an object as a file, and who runs it as a program: they exclude each other.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicI32, Ordering};

use super::PagedObject;

/// Above zero: how many may write. Below: how many rely on it that nobody does.
pub(super) struct Writers(AtomicI32);

impl Writers {
    pub(super) const fn new() -> Self {
        Self(AtomicI32::new(0))
    }

    fn add(&self, step: i32) -> bool {
        let change = |count: i32| if count.signum() == -step { None } else { count.checked_add(step) };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, change).is_ok()
    }

    fn take_back(&self, step: i32) {
        self.0.fetch_sub(step, Ordering::AcqRel);
    }
}

/// The right to write an object, as long as it is held.
pub struct WriteAccess(Arc<PagedObject>);

/// As long as it is held nobody gets the right to write.
pub struct WriteDenial(Arc<PagedObject>);

impl WriteAccess {
    /// `None` if somebody relies on it that nobody writes.
    pub fn of(object: &Arc<PagedObject>) -> Option<Self> {
        object.writers.add(1).then(|| Self(object.clone()))
    }
}

impl WriteDenial {
    /// `None` if somebody may write.
    pub fn of(object: &Arc<PagedObject>) -> Option<Self> {
        object.writers.add(-1).then(|| Self(object.clone()))
    }
}

impl Drop for WriteAccess {
    fn drop(&mut self) {
        self.0.writers.take_back(1);
    }
}

impl Drop for WriteDenial {
    fn drop(&mut self) {
        self.0.writers.take_back(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_and_running_exclude_each_other() {
        let object = Arc::new(PagedObject::anonymous(0));
        let (first, second) = (WriteAccess::of(&object), WriteAccess::of(&object));
        assert!(first.is_some() && second.is_some() && WriteDenial::of(&object).is_none());
        drop(first);
        assert!(WriteDenial::of(&object).is_none());
        drop(second);
        let (first, second) = (WriteDenial::of(&object), WriteDenial::of(&object));
        assert!(first.is_some() && second.is_some() && WriteAccess::of(&object).is_none());
        drop((first, second));
        assert!(WriteAccess::of(&object).is_some());
    }
}
