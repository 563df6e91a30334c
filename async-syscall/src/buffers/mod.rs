//! Provided buffers: memory of the program out of which a request takes a piece when it has something to put there.
//!
//! A group is either a *ring* in memory that kernel and program share, or a list that requests have added to. A buffer is
//! taken for an attempt; if the attempt has to wait it is given back, unless others have taken the next ones meanwhile:
//! then it is the first of its group again.

mod group;
mod ring;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;

pub(crate) use group::{Group, Taken};
pub(crate) use ring::BufferRing;

/// The groups of one ring.
pub(crate) struct Groups(SpinLock<BTreeMap<u16, Arc<Group>>>);

impl Groups {
    pub(crate) const fn new() -> Self {
        Self(SpinLock::new(Rank::FILE_TABLE, BTreeMap::new()))
    }

    /// The group with this number.
    pub(crate) fn get(&self, number: u16) -> Option<Arc<Group>> {
        self.0.lock().get(&number).cloned()
    }

    /// The list with this number, made if it is not there. `EINVAL`: it is a ring.
    pub(crate) fn list(&self, number: u16) -> Result<Arc<Group>, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let group = self.0.lock().entry(number).or_insert_with(|| Arc::new(Group::list())).clone();
        if group.is_ring() { Err(Errno::EINVAL) } else { Ok(group) }
    }

    /// Adds a ring. `EEXIST`: the number is in use.
    pub(crate) fn add_ring(&self, number: u16, ring: BufferRing) -> Result<(), Errno> {
        let group = Arc::new(Group::ring(ring));
        let mut groups = self.0.lock();
        // An empty list makes way.
        if groups.get(&number).is_some_and(|group| group.is_ring() || !group.is_empty()) {
            return Err(Errno::EEXIST);
        }
        let former = groups.insert(number, group);
        drop(groups);
        drop(former);
        Ok(())
    }

    /// Removes a ring.
    pub(crate) fn remove_ring(&self, number: u16) -> Result<(), Errno> {
        let removed = {
            let mut groups = self.0.lock();
            let group = groups.get(&number).ok_or(Errno::ENOENT)?;
            if !group.is_ring() {
                return Err(Errno::EINVAL);
            }
            groups.remove(&number)
        };
        drop(removed);
        Ok(())
    }
}
