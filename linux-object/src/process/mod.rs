//! Processes: who is whose child, who ended how.
//!
//! One lock, the process table's, guards the family tree and all numbers: forks, exits and waits are rare next to
//! everything else a process does, and a tree under one lock has no halfway states.

mod exit;
mod fork;
mod identity;
mod start;
mod stop;
mod wait;

pub mod execute;

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use kernel_hal::Instant;
use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::process::WaitStatus;
use linux_abi::signal::Signal;

use crate::credentials::Credentials;
use crate::signal::PendingSignals;
use crate::thread::{NAME_BYTES, Thread};
use identity::IdentityTable;
use stop::StopState;

pub use exit::end_thread;
pub use fork::{CloneRequest, clone};
pub use start::{StartedThread, first_process, set_thread_spawner, start_first_thread};
pub use wait::{WaitSelector, WaitedChild, try_wait};

static TABLE: SpinLock<IdentityTable> = SpinLock::new(Rank::PROCESS_TABLE, IdentityTable::new());

/// A process: what its threads share by being one process, and its place in the family.
pub struct Process {
    id: i32,
    parent_id: AtomicI32,
    group: AtomicI32,
    session: AtomicI32,
    family: SpinLock<Family>,
    /// [`ALIVE`], or how it ended. Written once, under the process table's lock.
    fate: AtomicU32,
    /// Woken when a child changes state.
    child_event: WaitQueue,
    credentials: SpinLock<Arc<Credentials>>,
    exit_signal: Option<Signal>,
    stop_state: StopState,
    pending_signals: SpinLock<PendingSignals>,
    started: Instant,
    last_name: SpinLock<[u8; NAME_BYTES]>,
    /// How much more (or less) willingly it is ended when memory runs out: -1000 to 1000.
    oom_adjustment: AtomicI32,
    /// The least that it may set without privilege.
    least_oom_adjustment: AtomicI32,
}

/// What `fate` holds before the end; no encoded status has these bits.
const ALIVE: u32 = u32::MAX;

struct Family {
    parent: Weak<Process>,
    children: Vec<Arc<Process>>,
    /// In ascending order of numbers.
    threads: Vec<Arc<Thread>>,
    /// How it was told to end: the first `exit_group` or fatal signal decides.
    ending: Option<WaitStatus>,
}

impl Family {
    fn add_thread(&mut self, thread: Arc<Thread>) {
        let index = self.threads.partition_point(|other| other.id() < thread.id());
        self.threads.insert(index, thread);
    }
}

impl Process {
    fn new(id: i32, parent: Option<&Arc<Process>>, exit_signal: Option<Signal>) -> Arc<Self> {
        let family = Family {
            parent: parent.map_or_else(Weak::new, Arc::downgrade),
            children: Vec::new(),
            threads: Vec::new(),
            ending: None,
        };
        let credentials = parent.map_or_else(Default::default, |parent| parent.credentials());
        let inherited = |number: fn(&Process) -> i32| parent.map_or(id, |parent| number(parent));
        Arc::new(Self {
            id,
            parent_id: AtomicI32::new(parent.map_or(0, |parent| parent.id)),
            group: AtomicI32::new(inherited(Self::group)),
            session: AtomicI32::new(inherited(Self::session)),
            family: SpinLock::new(Rank::PROCESS, family),
            fate: AtomicU32::new(ALIVE),
            child_event: WaitQueue::new("child event"),
            credentials: SpinLock::new(Rank::FILE, credentials),
            exit_signal,
            stop_state: StopState::default(),
            pending_signals: SpinLock::new(Rank::FILE, PendingSignals::default()),
            started: Instant::now(),
            last_name: SpinLock::new(Rank::INODE, [0; NAME_BYTES]),
            oom_adjustment: AtomicI32::new(parent.map_or(0, |parent| parent.oom_adjustment())),
            least_oom_adjustment: AtomicI32::new(
                parent.map_or(0, |parent| parent.least_oom_adjustment.load(Ordering::Relaxed)),
            ),
        })
    }

    /// Its number.
    #[inline]
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Its parent's number; 0 for the first process.
    #[inline]
    pub fn parent_id(&self) -> i32 {
        self.parent_id.load(Ordering::Relaxed)
    }

    /// Its process group.
    pub fn group(&self) -> i32 {
        self.group.load(Ordering::Relaxed)
    }

    /// Its session.
    pub fn session(&self) -> i32 {
        self.session.load(Ordering::Relaxed)
    }

    /// Who it acts as.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.lock().clone()
    }

    /// Puts it into a process group.
    pub fn set_group(&self, group: i32) {
        self.group.store(group, Ordering::Relaxed);
    }

    /// Makes it the leader of a session and a group of its own.
    pub fn start_session(&self) {
        self.session.store(self.id, Ordering::Relaxed);
        self.set_group(self.id);
    }

    /// Runs `look` on the signals that were sent to the process as a whole.
    pub fn with_pending_signals<R>(&self, look: impl FnOnce(&mut PendingSignals) -> R) -> R {
        look(&mut self.pending_signals.lock())
    }

    /// When it was created.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Its threads that have not ended.
    pub fn threads(&self) -> Vec<Arc<Thread>> {
        self.family.lock().threads.clone()
    }

    /// The lowest number that one of its threads has and that is not below `from`.
    pub fn next_thread(&self, from: i32) -> Option<i32> {
        let family = self.family.lock();
        let index = family.threads.partition_point(|thread| thread.id() < from);
        family.threads.get(index).map(|thread| thread.id())
    }

    /// How many threads it has.
    pub fn thread_count(&self) -> usize {
        self.family.lock().threads.len()
    }

    /// What a zombie is called: as its last thread was.
    pub fn last_name(&self) -> [u8; NAME_BYTES] {
        *self.last_name.lock()
    }

    /// Which signal tells its parent of its end.
    pub fn exit_signal(&self) -> Option<Signal> {
        self.exit_signal
    }

    /// What `oom_score_adj` says: -1000, never end it for want of memory, to 1000.
    pub fn oom_adjustment(&self) -> i32 {
        self.oom_adjustment.load(Ordering::Relaxed)
    }

    /// Sets it; without privilege not below what a privileged process last set.
    pub fn set_oom_adjustment(&self, adjustment: i32, is_privileged: bool) -> Result<(), Errno> {
        if is_privileged {
            self.least_oom_adjustment.store(adjustment, Ordering::Relaxed);
        } else if adjustment < self.least_oom_adjustment.load(Ordering::Relaxed) {
            return Err(Errno::EACCES);
        }
        self.oom_adjustment.store(adjustment, Ordering::Relaxed);
        Ok(())
    }

    /// How it was told to end, if it was.
    pub fn ending(&self) -> Option<WaitStatus> {
        self.family.lock().ending
    }

    /// How it ended, as `wait` reports it, once all its threads have.
    pub fn fate(&self) -> Option<u32> {
        Some(self.fate.load(Ordering::Acquire)).filter(|&fate| fate != ALIVE)
    }

    /// The queue that is woken when a child changes state.
    pub fn child_event(&self) -> &WaitQueue {
        &self.child_event
    }

    /// Makes all threads end; the first to ask decides the status.
    pub fn request_exit(&self, status: WaitStatus) {
        let threads = {
            let mut family = self.family.lock();
            family.ending.get_or_insert(status);
            family.threads.clone()
        };
        for thread in threads {
            thread.request_exit(status);
        }
    }
}

/// The process with this number.
pub fn find_process(id: i32) -> Option<Arc<Process>> {
    TABLE.lock().process(id).cloned()
}

/// The thread with this number.
pub fn find_thread(id: i32) -> Option<Arc<Thread>> {
    TABLE.lock().thread(id)
}

/// The process with the lowest number that is not below `from`, zombies included.
pub fn next_process(from: i32) -> Option<Arc<Process>> {
    TABLE.lock().process_from(from).cloned()
}

/// Every process that has a number, zombies included.
pub fn all_processes() -> Vec<Arc<Process>> {
    TABLE.lock().processes().cloned().collect()
}
