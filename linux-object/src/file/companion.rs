//! What goes with an inode but is no filesystem's business: the queue of a FIFO, locks, watches.
//!
//! A companion exists as long as somebody holds it, and keeps its inode in memory. While no inode has one, asking for
//! one costs a load.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicUsize, Ordering};

use ksync::{Once, Rank, SpinLock};
use rcore_fs::INode;

use super::pipe::Pipe;

static COMPANIONS: SpinLock<BTreeMap<usize, Weak<Companion>>> =
    SpinLock::new(Rank::FILE_SYSTEM, BTreeMap::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// What goes with one inode.
pub struct Companion {
    inode: Arc<dyn INode>,
    fifo: Once<Arc<Pipe>>,
}

/// An inode is one object in memory as long as anybody holds it; a companion does.
fn key(inode: &Arc<dyn INode>) -> usize {
    Arc::as_ptr(inode).cast::<()>().addr()
}

impl Companion {
    /// The companion of an inode, made if there is none.
    pub fn of(inode: &Arc<dyn INode>) -> Arc<Self> {
        let mut fresh = None;
        loop {
            {
                let mut companions = COMPANIONS.lock();
                if let Some(existing) = companions.get(&key(inode)).and_then(Weak::upgrade) {
                    return existing;
                }
                if let Some(fresh) = fresh.take() {
                    companions.insert(key(inode), Arc::downgrade(&fresh));
                    return fresh;
                }
            }
            COUNT.fetch_add(1, Ordering::SeqCst);
            fresh = Some(Arc::new(Self { inode: inode.clone(), fifo: Once::new() }));
        }
    }

    /// The companion of an inode, if it has one.
    #[inline]
    pub fn find(inode: &Arc<dyn INode>) -> Option<Arc<Self>> {
        if COUNT.load(Ordering::Relaxed) == 0 {
            return None;
        }
        COMPANIONS.lock().get(&key(inode)).and_then(Weak::upgrade)
    }

    /// The queue of a FIFO.
    pub fn fifo(&self) -> &Arc<Pipe> {
        self.fifo.call_once(Arc::default)
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::SeqCst);
        let mut companions = COMPANIONS.lock();
        // Another may have taken its place already.
        if companions.get(&key(&self.inode)).is_some_and(|companion| companion.strong_count() == 0) {
            companions.remove(&key(&self.inode));
        }
    }
}
