//! What a thread has to do with `io_uring`: rings that it has registered for itself, and rings that have requests of it.
//!
//! What a ring is, is known above; here it is an opening, and somebody who ends requests.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use ksync::{Rank, SpinLock};
use linux_abi::Errno;

use crate::file::OpenFile;

/// A thread may register so many.
pub const MOST_REGISTERED: usize = 16;

/// Keeps requests of threads.
pub trait RequestKeeper: Send + Sync {
    /// The thread with this number begins another program: its requests end. If the thread itself ends (`are_all` is
    /// false), those do that would keep a ring, as on Linux; the others end when they are woken next.
    fn end_requests_of(&self, thread: i32, are_all: bool);

    /// Polls what was woken.
    fn poll_woken(&self);
}

/// A thread's rings.
pub struct ThreadRings {
    /// Whether there is anything at all.
    is_used: AtomicBool,
    registered: SpinLock<Vec<Option<Arc<OpenFile>>>>,
    keepers: SpinLock<Vec<Weak<dyn RequestKeeper>>>,
}

impl ThreadRings {
    pub(crate) const fn new() -> Self {
        Self {
            is_used: AtomicBool::new(false),
            registered: SpinLock::new(Rank::FILE_TABLE, Vec::new()),
            keepers: SpinLock::new(Rank::FILE_TABLE, Vec::new()),
        }
    }

    /// The registered ring with this index. `EINVAL`: there is no such index; `EBADF`: nothing is there.
    pub fn registered(&self, index: u32) -> Result<Arc<OpenFile>, Errno> {
        if index as usize >= MOST_REGISTERED {
            return Err(Errno::EINVAL);
        }
        let registered = self.registered.lock();
        registered.get(index as usize).cloned().flatten().ok_or(Errno::EBADF)
    }

    /// Registers a ring at an index, or wherever there is room. `EBUSY`: there is none.
    pub fn register(&self, file: Arc<OpenFile>, index: Option<u32>) -> Result<u32, Errno> {
        let mut registered = self.registered.lock();
        registered.resize(MOST_REGISTERED, None);
        let index = match index {
            Some(index) if index as usize >= MOST_REGISTERED => return Err(Errno::EINVAL),
            Some(index) => index as usize,
            None => registered.iter().position(Option::is_none).ok_or(Errno::EBUSY)?,
        };
        let slot = &mut registered[index];
        if slot.is_some() {
            return Err(Errno::EBUSY);
        }
        *slot = Some(file);
        self.is_used.store(true, Ordering::Relaxed);
        Ok(index as u32)
    }

    /// Takes a registered ring away, if one is there.
    pub fn unregister(&self, index: u32) -> Result<(), Errno> {
        if index as usize >= MOST_REGISTERED {
            return Err(Errno::EINVAL);
        }
        let former = self.registered.lock().get_mut(index as usize).and_then(Option::take);
        drop(former);
        Ok(())
    }

    /// Notes who keeps requests of the thread; whether that is new.
    pub fn note_keeper(&self, keeper: &Weak<dyn RequestKeeper>) -> bool {
        let mut keepers = self.keepers.lock();
        if keepers.iter().any(|known| known.ptr_eq(keeper)) {
            return false;
        }
        keepers.retain(|known| known.strong_count() > 0);
        keepers.push(keeper.clone());
        self.is_used.store(true, Ordering::Relaxed);
        true
    }

    /// Polls what was woken in the thread's rings.
    #[cold]
    pub fn poll_woken(&self) {
        let keepers = self.keepers.lock().clone();
        for keeper in keepers.iter().filter_map(Weak::upgrade) {
            keeper.poll_woken();
        }
    }

    /// The thread ends, or (`are_all`) begins another program.
    pub fn end(&self, thread: i32, are_all: bool) {
        if !self.is_used.swap(false, Ordering::Relaxed) {
            return;
        }
        let keepers = core::mem::take(&mut *self.keepers.lock());
        for keeper in keepers.iter().filter_map(Weak::upgrade) {
            keeper.end_requests_of(thread, are_all);
        }
        let registered = core::mem::take(&mut *self.registered.lock());
        drop(registered);
    }
}
