//! Locks, the wait queue and per-hart cells: everything the kernel uses to share data between harts.
//!
//! Principles:
//! * Two kinds of waiting, and no third. A [`SpinLock`] is held for a few instructions with interrupts masked; its
//!   guard is not `Send`, so the compiler refuses one that lives across an `.await` of a task. Everything longer
//!   waits on a [`WaitQueue`]: register, then look again; refresh the waker on every `Pending`; deregister on drop;
//!   wake after unlocking.
//! * Every spin lock has a documented [`Rank`]. Debug builds check on each hart that ranks only rise; a violation
//!   panics and names both locks, on the first run that takes the two in the wrong order, deadlock or not.
//! * The asynchronous locks are fair: they are handed over in the order of arrival, and a waiter that is dropped
//!   after it was chosen passes the choice on.
//! * Waiting and waking allocate nothing: a waiter's node lives in the future that waits. Only an [`Observation`] has a
//!   node on the heap, from its beginning to its end.
//!
//! Limits: a spin lock is not fair and not re-entrant; fairness between harts is left to the memory system because
//! holding times are short. Under `cfg(loom)` the crate is built on loom's primitives and knows no harts; that build
//! only serves the models in `tests/`.

#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
extern crate core as std;

extern crate alloc;

#[macro_use]
pub mod shim;

mod async_mutex;
mod async_rw_lock;
mod observer;
mod once;
mod per_hart;
mod spin_lock;
mod wait_list;
mod wait_queue;

pub mod rank;

pub use async_mutex::{AsyncMutex, AsyncMutexGuard, LockFuture, UntilFree};
pub use async_rw_lock::{AsyncRwLock, AsyncRwLockReadGuard, AsyncRwLockWriteGuard, ReadFuture, WriteFuture};
pub use observer::{Observation, Observer};
pub use once::Once;
pub use per_hart::{MaskedRef, PerHart, PinnedRef};
pub use rank::Rank;
pub use spin_lock::{RawSpinLock, SpinLock, SpinLockGuard};
pub use wait_queue::{EVERY_EVENT, QueueHandle, SharedQueue, WaitQueue, WaitUntil, Waiter};
