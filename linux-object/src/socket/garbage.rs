//! Local sockets that only queues refer to.
//!
//! A descriptor can be sent through a socket, so a socket can come to lie in its own queue, or two in each other's. When
//! nobody has a descriptor of them any more nobody will ever take them out, and references alone would keep them for
//! ever. [`collect`] finds them: of the sockets whose every reference lies in a queue, those that cannot be reached from
//! a queue that somebody can read.
//!
//! It holds the turns of all queues that sockets lie in, so what it looks at stands still: whoever could take a socket
//! out of a queue, or look at it there, waits for that queue's turn. If a turn is not free the next call looks again.
//!
//! Limits: a socket that something else than a queue or a descriptor refers to (an epoll instance on its way through
//! it) is taken to be reachable.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ksync::{AsyncMutexGuard, Rank, SpinLock};

use super::unix::{Endpoint, Ring, UnixSocket};
use crate::file::OpenFile;

/// The sockets whose queues have, or had when it was last looked, sockets in them.
static HOLDERS: SpinLock<Vec<Weak<Endpoint>>> = SpinLock::new(Rank::DEVICE_TABLE, Vec::new());
static HOLDER_COUNT: AtomicUsize = AtomicUsize::new(0);
/// One collection at a time; what it drops does not begin another.
static COLLECTING: AtomicBool = AtomicBool::new(false);

/// The local socket that an opening is of.
pub(super) fn local_socket(file: &OpenFile) -> Option<&UnixSocket> {
    let file: &dyn Any = &**file.file();
    file.downcast_ref()
}

/// Notes that sockets lie in the queue of `endpoint`. Who calls has its turn.
pub(super) fn note_holder(endpoint: &Arc<Endpoint>) {
    if !endpoint.holds_sockets.swap(true, Ordering::Relaxed) {
        let mut holders = HOLDERS.lock();
        holders.push(Arc::downgrade(endpoint));
        HOLDER_COUNT.store(holders.len(), Ordering::Release);
    }
}

/// One queue, while its turn is held.
struct Holder<'a> {
    endpoint: &'a Arc<Endpoint>,
    ring: AsyncMutexGuard<'a, Ring>,
    is_reachable: bool,
}

/// Lets go of all that nobody can reach. Returns how many sockets that was.
pub fn collect() -> usize {
    if HOLDER_COUNT.load(Ordering::Acquire) == 0 || COLLECTING.swap(true, Ordering::Acquire) {
        return 0;
    }
    let endpoints: Vec<Arc<Endpoint>> = HOLDERS.lock().iter().filter_map(Weak::upgrade).collect();
    let garbage = find(&endpoints);
    let count = garbage.len();
    // Here the sockets go, and with them what else lay in their queues.
    drop(garbage);
    drop(endpoints);
    COLLECTING.store(false, Ordering::Release);
    count
}

/// The openings of sockets that lie in a queue.
fn sockets_in(ring: &Ring) -> impl Iterator<Item = &Arc<OpenFile>> {
    let slots = (0..).map_while(|index| ring.get(index));
    let attached = slots.filter_map(|slot| slot.attached.as_ref());
    attached.flat_map(|ancillary| &ancillary.rights).filter(|file| local_socket(file).is_some())
}

/// Takes the queues of unreachable sockets, emptying them.
fn find(endpoints: &[Arc<Endpoint>]) -> Vec<Ring> {
    let mut holders = Vec::new();
    for endpoint in endpoints {
        let Some(ring) = endpoint.incoming.try_lock() else { return Vec::new() };
        holders.push(Holder { endpoint, ring, is_reachable: true });
    }
    forget_idle(&holders);
    // How often each opening lies in a queue, by its address: if that is as often as it is referred to, only queues
    // refer to it.
    let mut in_flight: BTreeMap<*const OpenFile, usize> = BTreeMap::new();
    for file in holders.iter().flat_map(|holder| sockets_in(&holder.ring)) {
        *in_flight.entry(Arc::as_ptr(file)).or_default() += 1;
    }
    let mut hidden = BTreeSet::new();
    for file in holders.iter().flat_map(|holder| sockets_in(&holder.ring)) {
        let is_hidden =
            Arc::strong_count(file) == in_flight[&Arc::as_ptr(file)] && Arc::strong_count(file.file()) == 1;
        if let Some(socket) = local_socket(file).filter(|_| is_hidden) {
            hidden.insert(Arc::as_ptr(socket.endpoint()));
        }
    }
    let indices: BTreeMap<*const Endpoint, usize> =
        holders.iter().enumerate().map(|(index, holder)| (Arc::as_ptr(holder.endpoint), index)).collect();
    for holder in &mut holders {
        holder.is_reachable = !hidden.contains(&Arc::as_ptr(holder.endpoint));
    }
    // What lies in a queue that somebody can read can be reached, and so can what lies in its queue.
    let mut to_visit: Vec<usize> = (0..holders.len()).filter(|&index| holders[index].is_reachable).collect();
    while let Some(index) = to_visit.pop() {
        let found: Vec<usize> = sockets_in(&holders[index].ring)
            .filter_map(|file| indices.get(&Arc::as_ptr(local_socket(file)?.endpoint())).copied())
            .collect();
        for next in found {
            if !core::mem::replace(&mut holders[next].is_reachable, true) {
                to_visit.push(next);
            }
        }
    }
    let unreachable = holders.iter_mut().filter(|holder| !holder.is_reachable);
    unreachable.map(|holder| core::mem::take(&mut *holder.ring)).collect()
}

/// Forgets queues without sockets, and those that are gone. Nobody can put a socket into one of these meanwhile.
fn forget_idle(holders: &[Holder<'_>]) {
    let mut idle = BTreeSet::new();
    for holder in holders.iter().filter(|holder| sockets_in(&holder.ring).next().is_none()) {
        holder.endpoint.holds_sockets.store(false, Ordering::Relaxed);
        idle.insert(Arc::as_ptr(holder.endpoint));
    }
    let mut known = HOLDERS.lock();
    known.retain(|holder| holder.strong_count() > 0 && !idle.contains(&holder.as_ptr()));
    if known.len() * 4 < known.capacity() {
        known.shrink_to_fit();
    }
    HOLDER_COUNT.store(known.len(), Ordering::Release);
}
