//! Processes: who is whose child, who ended how.
//!
//! One lock, the process table's, guards the family tree and all numbers: forks, exits and waits are rare next to
//! everything else a process does, and a tree under one lock has no halfway states.

mod cpu_limit;
mod exit;
mod fork;
mod group;
mod identity;
mod only_thread;
mod start;
mod stop;
mod usage;
mod wait;
pub mod wait_call;

pub mod execute;

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, Ordering};

use kernel_hal::Instant;
use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::process::WaitStatus;
use linux_abi::signal::Signal;

use crate::credentials::Credentials;
use crate::resource_limits::ResourceLimits;
use crate::signal::PendingSignals;
use crate::signal_fd::SignalArrival;
use crate::thread::{NAME_BYTES, Thread};
use crate::timers::ProcessTimers;
use identity::IdentityTable;
use stop::StopState;

pub use cpu_limit::watch_time;
pub use exit::{begin_end, end_thread};
pub use fork::{CloneRequest, clone, fork_count};
pub use group::{GroupError, set_group, start_session};
pub use identity::ID_LIMIT;
pub use start::{StartedThread, first_process, set_thread_spawner, start_first_thread};
pub use usage::Usage;
pub use wait::{WaitRequest, WaitSelector, WaitedChild, try_wait};

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
    /// Nobody who needs memory waits for its end any more.
    given_up: AtomicBool,
    /// What the parent gets when the process ends; 0 for nothing.
    exit_signal: AtomicU8,
    /// What the process gets when the thread ends that made it; 0 for nothing.
    parent_death_signal: AtomicU8,
    /// The thread of the parent that made it.
    creator: AtomicI32,
    /// Whether orphans among its descendants become its children.
    adopts_orphans: AtomicBool,
    /// Whether it has executed a program since it was made.
    has_executed: AtomicBool,
    /// What it registered for with `membarrier`.
    barrier_registrations: AtomicI32,
    /// Of `prctl`: see [`ProcessFlags`].
    flags: AtomicU32,
    /// Woken when a thread has ended.
    thread_ended: WaitQueue,
    /// Woken when the process has ended.
    ended: WaitQueue,
    limits: Arc<ResourceLimits>,
    stop_state: StopState,
    pending_signals: SpinLock<PendingSignals>,
    signal_arrival: Arc<SignalArrival>,
    timers: ProcessTimers,
    started: Instant,
    last_name: SpinLock<[u8; NAME_BYTES]>,
    /// How much more (or less) willingly it is ended when memory runs out: -1000 to 1000.
    oom_adjustment: AtomicI32,
    /// The least that it may set without privilege.
    least_oom_adjustment: AtomicI32,
}

/// The first process's number.
const FIRST_PROCESS: i32 = 1;

/// What `fate` holds before the end; no encoded status has these bits.
const ALIVE: u32 = u32::MAX;

struct Family {
    parent: Weak<Process>,
    children: Vec<Arc<Process>>,
    /// In ascending order of numbers.
    threads: Vec<Arc<Thread>>,
    /// How many of them are on their way out.
    leaving: usize,
    /// How it was told to end: the first `exit_group` or fatal signal decides, or else the last thread that begins to leave.
    ending: Option<WaitStatus>,
    /// The thread that executes a program, and makes the others end for that.
    executing: Option<i32>,
    /// What threads that have ended used.
    ended_threads: Usage,
    /// What children that were waited for used.
    ended_children: Usage,
}

bitflags::bitflags! {
    /// What a process has said about itself by `prctl`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ProcessFlags: u32 {
        /// Others of its user may look at its memory.
        const DUMPABLE = 1 << 0;
        /// It wants no huge pages.
        const NO_HUGE_PAGES = 1 << 2;
        /// Nothing of the layout of its programs is left to chance (of `personality`).
        const NOT_RANDOMIZED = 1 << 3;
    }
}

/// Where a new process comes from.
struct Origin<'a> {
    /// The process that it is a copy of.
    like: Option<&'a Process>,
    /// The thread that makes it.
    creator: i32,
    exit_signal: u8,
}

impl Family {
    fn add_thread(&mut self, thread: Arc<Thread>) {
        let index = self.threads.partition_point(|other| other.id() < thread.id());
        self.threads.insert(index, thread);
    }

    /// By number: a walk over all of them would make the end of many threads cost their square.
    fn remove_thread(&mut self, id: i32) {
        if let Ok(index) = self.threads.binary_search_by_key(&id, |thread| thread.id()) {
            self.threads.remove(index);
        }
    }
}

impl Process {
    fn new(
        id: i32,
        parent: Option<&Arc<Process>>,
        credentials: Arc<Credentials>,
        origin: Origin,
    ) -> Arc<Self> {
        let family = Family {
            parent: parent.map_or_else(Weak::new, Arc::downgrade),
            children: Vec::new(),
            threads: Vec::new(),
            leaving: 0,
            ending: None,
            executing: None,
            ended_threads: Usage::default(),
            ended_children: Usage::default(),
        };
        let inherited = |number: fn(&Process) -> i32| origin.like.map_or(id, number);
        Arc::new(Self {
            id,
            parent_id: AtomicI32::new(parent.map_or(0, |parent| parent.id)),
            group: AtomicI32::new(inherited(Self::group)),
            session: AtomicI32::new(inherited(Self::session)),
            family: SpinLock::new(Rank::PROCESS, family),
            fate: AtomicU32::new(ALIVE),
            child_event: WaitQueue::new("child event"),
            credentials: SpinLock::new(Rank::FILE, credentials),
            given_up: AtomicBool::new(false),
            exit_signal: AtomicU8::new(origin.exit_signal),
            parent_death_signal: AtomicU8::new(0),
            creator: AtomicI32::new(origin.creator),
            adopts_orphans: AtomicBool::new(false),
            has_executed: AtomicBool::new(parent.is_none()),
            barrier_registrations: AtomicI32::new(origin.like.map_or(0, |like| like.barrier_registrations())),
            flags: AtomicU32::new(origin.like.map_or(ProcessFlags::DUMPABLE, |like| like.flags()).bits()),
            thread_ended: WaitQueue::new("thread ended"),
            ended: WaitQueue::new("process ended"),
            limits: Arc::new(
                origin.like.map_or_else(ResourceLimits::default, |like| like.limits.duplicate()),
            ),
            stop_state: StopState::default(),
            pending_signals: SpinLock::new(Rank::FILE, PendingSignals::default()),
            signal_arrival: Arc::default(),
            timers: ProcessTimers::default(),
            started: Instant::now(),
            last_name: SpinLock::new(Rank::INODE, [0; NAME_BYTES]),
            oom_adjustment: AtomicI32::new(parent.map_or(0, |parent| parent.oom_adjustment())),
            least_oom_adjustment: AtomicI32::new(
                parent.map_or(0, |parent| parent.least_oom_adjustment.load(Ordering::Relaxed)),
            ),
        })
    }

    /// Notes that it does not end although memory is short: nobody waits for it any more.
    pub fn give_up_waiting_for_memory(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether that was noted.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
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

    /// Who its first thread acts as.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.lock().clone()
    }

    /// Notes who its first thread acts as.
    pub(crate) fn set_credentials(&self, credentials: Arc<Credentials>) {
        let previous = core::mem::replace(&mut *self.credentials.lock(), credentials);
        drop(previous);
    }

    /// What it may use at most.
    pub fn limits(&self) -> &Arc<ResourceLimits> {
        &self.limits
    }

    /// What it gets when the thread ends that made it.
    pub fn parent_death_signal(&self) -> Option<Signal> {
        Signal::new(self.parent_death_signal.load(Ordering::Relaxed).into())
    }

    /// Sets what it gets when the thread ends that made it.
    pub fn set_parent_death_signal(&self, signal: Option<Signal>) {
        self.parent_death_signal.store(signal.map_or(0, Signal::number), Ordering::Relaxed);
    }

    /// Whether orphans among its descendants become its children.
    pub fn adopts_orphans(&self) -> bool {
        self.adopts_orphans.load(Ordering::Relaxed)
    }

    /// Sets whether orphans among its descendants become its children.
    pub fn set_adopts_orphans(&self, adopts: bool) {
        self.adopts_orphans.store(adopts, Ordering::Relaxed);
    }

    /// What it registered for with `membarrier`.
    pub fn barrier_registrations(&self) -> i32 {
        self.barrier_registrations.load(Ordering::Relaxed)
    }

    /// Registers it for a kind of barriers.
    pub fn register_for_barriers(&self, registration: i32) {
        self.barrier_registrations.fetch_or(registration, Ordering::Relaxed);
    }

    /// What it has said about itself.
    pub fn flags(&self) -> ProcessFlags {
        ProcessFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Changes what it says about itself.
    pub fn set_flag(&self, flag: ProcessFlags, value: bool) {
        if value {
            self.flags.fetch_or(flag.bits(), Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!flag.bits(), Ordering::Relaxed);
        }
    }

    /// Forgets what the program said that was replaced.
    pub(crate) fn forget_program(&self) {
        self.barrier_registrations.store(0, Ordering::Relaxed);
        self.has_executed.store(true, Ordering::Relaxed);
        self.exit_signal.store(Signal::SIGCHLD.number(), Ordering::Relaxed);
        self.set_flag(ProcessFlags::DUMPABLE, true);
    }

    /// Whether it is the first process, which nothing but its own doing ends.
    pub fn is_first(&self) -> bool {
        self.id == FIRST_PROCESS
    }

    /// Runs `look` on the signals that were sent to the process as a whole.
    pub fn with_pending_signals<R>(&self, look: impl FnOnce(&mut PendingSignals) -> R) -> R {
        look(&mut self.pending_signals.lock())
    }

    /// Who waits for signals to be sent to it.
    pub fn signal_arrival(&self) -> &Arc<SignalArrival> {
        &self.signal_arrival
    }

    /// Its interval timers.
    pub fn timers(&self) -> &ProcessTimers {
        &self.timers
    }

    /// When it was created.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Its threads that have not ended.
    pub fn threads(&self) -> Vec<Arc<Thread>> {
        self.family.lock().threads.clone()
    }

    /// Runs `look` on its threads that have not ended, under the process's lock.
    pub fn with_threads<R>(&self, look: impl FnOnce(&[Arc<Thread>]) -> R) -> R {
        look(&self.family.lock().threads)
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
        Signal::new(self.exit_signal.load(Ordering::Relaxed).into())
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

    /// The queue that is woken when the process has ended.
    pub fn end_event(&self) -> &WaitQueue {
        &self.ended
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

/// The process that the thread with this number belongs to: any of its threads' numbers will do.
pub fn find_process_of(id: i32) -> Option<Arc<Process>> {
    let table = TABLE.lock();
    table.process(id).cloned().or_else(|| table.thread(id).map(|thread| thread.process().clone()))
}

/// The thread with this number.
pub fn find_thread(id: i32) -> Option<Arc<Thread>> {
    TABLE.lock().thread(id)
}

/// The number that was given last, and how many processes there are, zombies included.
pub fn population() -> (i32, usize) {
    let table = TABLE.lock();
    (table.last(), table.processes().count())
}

/// The process with the lowest number that is not below `from`, zombies included.
pub fn next_process(from: i32) -> Option<Arc<Process>> {
    TABLE.lock().process_from(from).cloned()
}

/// Every process that has a number, zombies included.
pub fn all_processes() -> Vec<Arc<Process>> {
    TABLE.lock().processes().cloned().collect()
}
