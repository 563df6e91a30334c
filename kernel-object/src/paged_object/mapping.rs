//! Who maps an object: the reverse map.
//!
//! An object knows the address spaces that map it, not the addresses: an address space finds those under its own
//! lock. So splitting and moving areas costs nothing here.
//!
//! Truncation and write-back change the object first and then visit every mapper in ascending order of its number. A
//! fork registers the child (whose number is larger than its parent's) and copies page-table entries while it holds
//! the parent's lock. So either the parent was visited before the copy and there is nothing to copy, or the child is
//! still ahead. A fault that comes later looks at the changed object.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::{Arc, Weak};
use core::ops::Range;

use super::PagedObject;

/// Why pages are unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmapping {
    /// The object ends before them: private copies of them go too.
    Truncated,
    /// They are zeros from now on; private copies stay.
    Punched,
    /// Memory is short: private copies stay, and so does what is locked.
    Evicted,
}

/// Something that maps pages of objects: an address space.
pub trait Mapper: Send + Sync {
    /// Unmaps these pages wherever they are mapped, and returns when no hart remembers them.
    fn unmap_pages(&self, object: &PagedObject, pages: Range<u64>, why: Unmapping);

    /// Whether the object is mapped here so that it can be stored to, now or after a change of protection.
    fn may_write(&self, object: &PagedObject) -> bool;

    /// Makes the next store to these pages a fault, and returns when every hart has heard of it.
    fn write_protect_pages(&self, object: &PagedObject, pages: Range<u64>);
}

struct Registration {
    mapper: Weak<dyn Mapper>,
    areas: usize,
}

/// The mappers of one object, by number.
#[derive(Default)]
pub(super) struct Mappers(BTreeMap<u64, Registration>);

impl PagedObject {
    /// Notes that a mapper has `areas` more areas of this object.
    pub(crate) fn add_mapper(&self, number: u64, mapper: &Weak<dyn Mapper>, areas: usize) {
        let mut state = self.state.lock();
        match state.mappers.0.entry(number) {
            Entry::Occupied(mut entry) => entry.get_mut().areas += areas,
            Entry::Vacant(entry) => {
                entry.insert(Registration { mapper: mapper.clone(), areas });
            }
        }
    }

    /// Notes that a mapper has `areas` fewer areas of this object.
    pub(crate) fn remove_mapper(&self, number: u64, areas: usize) {
        let mut state = self.state.lock();
        if let Entry::Occupied(mut entry) = state.mappers.0.entry(number) {
            entry.get_mut().areas -= areas;
            if entry.get().areas == 0 {
                // What is removed holds only a weak reference, whose drop runs no foreign code.
                entry.remove();
            }
        }
    }

    /// Whether somebody maps this object.
    pub fn is_mapped(&self) -> bool {
        !self.state.lock().mappers.0.is_empty()
    }

    /// Whether some mapping of this object can be stored to, now or after a change of protection.
    pub fn is_mapped_writable(&self) -> bool {
        let mut is_writable = false;
        self.for_each_mapper(|mapper| is_writable |= mapper.may_write(self));
        is_writable
    }

    /// Lets `act` visit every mapper, in ascending order, without a lock.
    pub(super) fn for_each_mapper(&self, mut act: impl FnMut(&dyn Mapper)) {
        let mut next = 0;
        while let Some((number, mapper)) = self.mapper_from(next) {
            if let Some(mapper) = mapper {
                act(&*mapper);
            }
            next = number + 1;
        }
    }

    fn mapper_from(&self, number: u64) -> Option<(u64, Option<Arc<dyn Mapper>>)> {
        let state = self.state.lock();
        let (number, registration) = state.mappers.0.range(number..).next()?;
        Some((*number, registration.mapper.upgrade()))
    }
}
