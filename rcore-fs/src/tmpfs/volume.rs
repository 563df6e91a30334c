//! What the inodes of one tmpfs share: its limits, what of them is used, its clock and its lock.

use alloc::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ksync::{Rank, SpinLock};
use linux_abi::Errno;

use crate::metadata::Clock;

/// A count that may not pass a limit.
#[derive(Debug)]
pub(super) struct Quota {
    used: AtomicU64,
    limit: AtomicU64,
}

impl Quota {
    fn new(limit: Option<u64>) -> Self {
        Self { used: AtomicU64::new(0), limit: AtomicU64::new(limit.unwrap_or(u64::MAX)) }
    }

    /// Takes `count` of them, or `ENOSPC`.
    pub fn take(&self, count: u64) -> Result<(), Errno> {
        let limit = self.limit.load(Ordering::Relaxed);
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(count).filter(|&sum| sum <= limit)
            })
            .map(|_| ())
            .map_err(|_| Errno::ENOSPC)
    }

    /// Gives back what was taken.
    pub fn give_back(&self, count: u64) {
        let before = self.used.fetch_sub(count, Ordering::Relaxed);
        debug_assert!(before >= count, "more given back than taken");
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// `None` where there is no limit.
    pub fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|&limit| limit != u64::MAX)
    }

    /// Sets another limit, if no more than that is used.
    pub fn set_limit(&self, limit: Option<u64>) -> Result<(), Errno> {
        let limit = limit.unwrap_or(u64::MAX);
        if self.used() > limit {
            return Err(Errno::EINVAL);
        }
        self.limit.store(limit, Ordering::Relaxed);
        Ok(())
    }
}

/// Shared by all inodes of one tmpfs.
pub(super) struct Volume {
    /// Held by whoever looks at a directory's entries or changes them, so that each operation, a rename across
    /// directories included, is one step for all others. The locks of single inodes are taken inside, one at a time.
    pub tree: SpinLock<()>,
    /// Inodes, and the further names of those that have several: each occupies kernel memory.
    pub inodes: Quota,
    /// Pages of file data.
    pub pages: Arc<Quota>,
    pub clock: Clock,
    next_inode: AtomicU64,
}

impl Volume {
    pub fn new(clock: Clock, most_pages: Option<u64>, most_inodes: Option<u64>) -> Self {
        Self {
            tree: SpinLock::new(Rank::FILE_SYSTEM, ()),
            inodes: Quota::new(most_inodes),
            pages: Arc::new(Quota::new(most_pages)),
            clock,
            next_inode: AtomicU64::new(1),
        }
    }

    pub fn next_inode_number(&self) -> u64 {
        self.next_inode.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_neither_passed_nor_wrapped() {
        let quota = Quota::new(Some(10));
        assert_eq!(quota.take(7), Ok(()));
        assert_eq!(quota.take(4), Err(Errno::ENOSPC));
        assert_eq!(quota.take(u64::MAX), Err(Errno::ENOSPC));
        assert_eq!(quota.take(3), Ok(()));
        quota.give_back(5);
        assert_eq!(quota.used(), 5);
        assert_eq!(quota.set_limit(Some(4)), Err(Errno::EINVAL));
        assert_eq!(quota.set_limit(None), Ok(()));
        assert_eq!(quota.limit(), None);
        assert_eq!(quota.take(1 << 40), Ok(()));
    }
}
