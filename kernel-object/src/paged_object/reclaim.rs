//! Memory for new pages from pages that can be brought again.
//!
//! Every object whose pages have another home than memory is listed here. When memory runs low, or when somebody asks,
//! clean pages that were not used lately are given up, one object after the other.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::ops::Bound;
use core::sync::atomic::{AtomicU64, Ordering};

use ksync::{Rank, SpinLock};

use super::{PagedObject, Pager};
use crate::frame;

/// Loads make room first when less than this share of memory is free.
const LOW_SHARE: usize = 16;
/// Twice round: what was used lately gets a second chance.
const ROUNDS: usize = 2;

static CACHES: SpinLock<BTreeMap<u64, Weak<PagedObject>>> = SpinLock::new(Rank::RECLAIM, BTreeMap::new());
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);
/// Where the last search ended.
static CURSOR: AtomicU64 = AtomicU64::new(0);

impl PagedObject {
    /// An object whose pages a pager brings, and whose clean pages are given up when memory is short.
    pub fn cache(size: u64, pager: Arc<dyn Pager>) -> Arc<Self> {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut object = Self::with_pager(size, pager);
        object.cache_number = Some(number);
        let object = Arc::new(object);
        CACHES.lock().insert(number, Arc::downgrade(&object));
        object
    }
}

/// Forgets an object that is going.
pub(super) fn forget(number: u64) {
    CACHES.lock().remove(&number);
}

/// The next object after a number, in a circle that ends at the last number.
fn next_after(number: u64) -> Option<(u64, Option<Arc<PagedObject>>)> {
    let caches = CACHES.lock();
    let (number, object) = caches.range((Bound::Excluded(number), Bound::Unbounded)).next()?;
    Some((*number, object.upgrade()))
}

/// Gives up to `most` pages back, from all objects that can bring theirs again. Returns how many.
pub fn reclaim(most: usize) -> usize {
    let mut freed = 0;
    let mut at = CURSOR.load(Ordering::Relaxed);
    // The rest of the round that the last search began does not count.
    let mut rounds = 0;
    while freed < most && rounds <= ROUNDS {
        match next_after(at) {
            Some((number, object)) => {
                at = number;
                freed += object.map_or(0, |object| object.evict(most - freed));
            }
            None => {
                at = 0;
                rounds += 1;
            }
        }
    }
    CURSOR.store(at, Ordering::Relaxed);
    freed
}

/// Makes room for so many pages if memory is running low.
pub(super) fn make_room(pages: usize) {
    let statistics = frame::statistics();
    if statistics.free < statistics.total / LOW_SHARE + pages {
        // Twice as much, so that it is not asked for again at once.
        reclaim(2 * pages);
    }
}
