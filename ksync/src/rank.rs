//! The order in which spin locks are taken, and its checker.
//!
//! A hart may take a lock only if its rank is above every rank it holds: a larger level is further inside. Two locks
//! of one rank are never held together. `try_lock` cannot deadlock and is not checked, but what it took counts.
//! The check costs a few instructions in builds with debug assertions and nothing, not even space, in others.

/// A place in the lock order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    level: u16,
    name: &'static str,
}

/// One line per lock: what it guards, and who takes it under whom. Outermost first.
///
/// The levels leave gaps: a new lock gets a number between its neighbours.
impl Rank {
    // Processes and files.
    /// The choice of who is ended because memory ran out: it looks at every process.
    pub const OUT_OF_MEMORY: Self = Self::new(900, "out of memory");
    /// Tables of processes, threads, sessions: taken first, by whoever looks an id up.
    pub const PROCESS_TABLE: Self = Self::new(1000, "process table");
    /// One process: its thread list, signal state, file table. Under the process table.
    pub const PROCESS: Self = Self::new(1100, "process");
    /// What one thread shares with others. Under its process.
    pub const THREAD: Self = Self::new(1150, "thread");
    /// One file table. Under a process (fork copies it).
    pub const FILE_TABLE: Self = Self::new(1200, "file table");
    /// Which `epoll` watches which, while another is added.
    pub const EPOLL_NESTING: Self = Self::new(1250, "epoll nesting");
    /// One open file, pipe, socket or terminal.
    pub const FILE: Self = Self::new(1300, "file");
    /// What an endpoint of the network seldom needs: names, options, the queue of a listener.
    pub const ENDPOINT: Self = Self::new(1310, "endpoint");
    /// A shard of the table of ports. Under an endpoint.
    pub const PORTS: Self = Self::new(1320, "ports");
    /// A queue of datagrams, and who an endpoint for them is connected with. Under the ports.
    pub const DATAGRAMS: Self = Self::new(1330, "datagrams");
    /// Connections that are kept alive by nobody but the network: handshakes, and closed ones that still have something to do.
    pub const KEPT_CONNECTIONS: Self = Self::new(1332, "kept connections");
    /// The state of one connection over packets. What it sends is sent under it.
    pub const FLOW: Self = Self::new(1340, "flow");
    /// The deadlines of flows. Under a flow.
    pub const NETWORK_TIMERS: Self = Self::new(1345, "network timers");
    /// What a network interface is called by, and whom it knows. Under a flow.
    pub const INTERFACE: Self = Self::new(1350, "interface");
    /// Packets that wait to be sent or taken in. Under an interface.
    pub const PACKETS: Self = Self::new(1355, "packets");
    /// The mount table, looked up during path walks.
    pub const MOUNT_TABLE: Self = Self::new(1400, "mount table");
    /// A filesystem's own tables: superblock, allocation groups.
    pub const FILE_SYSTEM: Self = Self::new(1500, "file system");
    /// One inode's or directory's fields. Under its filesystem.
    pub const INODE: Self = Self::new(1600, "inode");
    /// The table of System V's objects.
    pub const IPC_TABLE: Self = Self::new(1650, "ipc table");
    /// One of those objects. Under their table.
    pub const IPC_OBJECT: Self = Self::new(1660, "ipc object");
    /// One bucket of futex waiters: taken with nothing held, or with another bucket of a lower number.
    pub const FUTEX: Self = Self::new(1700, "futex bucket");

    /// The table of locks on files: a closing file gives its own up, whatever its owner holds.
    pub const FILE_LOCKS: Self = Self::new(1750, "file locks");
    /// Which inodes are watched, and what was seen of them: told of by whoever changes a file, under anything but memory.
    pub const FILE_WATCHES: Self = Self::new(1760, "file watches");

    // Memory.
    /// One address space's map of areas. Taken by faults and by mmap; above it only process and file state.
    pub const ADDRESS_SPACE: Self = Self::new(2000, "address space");
    /// One paged object's table of pages. Under the address space that faults on it.
    pub const PAGED_OBJECT: Self = Self::new(2100, "paged object");
    /// Who maps a page. Under the paged object.
    pub const REVERSE_MAP: Self = Self::new(2200, "reverse map");
    /// One address space's page tables. Under area map and paged object.
    pub const PAGE_TABLE: Self = Self::new(2300, "page table");
    /// The queues of reclaimable pages. Under a paged object.
    pub const RECLAIM: Self = Self::new(2400, "reclaim queues");
    /// The allocator of address-space numbers.
    pub const ADDRESS_SPACE_NUMBERS: Self = Self::new(2500, "address-space numbers");

    // Devices.
    /// The list of devices by name.
    pub const DEVICE_TABLE: Self = Self::new(3000, "device table");
    /// A device's request queue: taken by submitters and by its interrupt handler.
    pub const DEVICE_QUEUE: Self = Self::new(3100, "device queue");
    /// A device's registers. Under its queue.
    pub const DEVICE_REGISTERS: Self = Self::new(3200, "device registers");
    /// The table of interrupt lines and their handlers.
    pub const INTERRUPT_TABLE: Self = Self::new(3300, "interrupt table");

    // Waiting and scheduling: anyone may wake a task whatever it holds.
    /// A list of what is ready, to which observers of wait queues append: `epoll`'s.
    pub const READY_LIST: Self = Self::new(4900, "ready list");
    /// A wait queue's list of waiters. Wakers are called only after it was released.
    pub const WAIT_QUEUE: Self = Self::new(5000, "wait queue");
    /// A hart's timers. Expired wakers are called after it was released.
    pub const TIMER_QUEUE: Self = Self::new(5100, "timer queue");
    /// The list of all tasks.
    pub const TASK_REGISTRY: Self = Self::new(5200, "task registry");
    /// A hart's run queue. Taken by whoever wakes a task; nothing is called under it.
    pub const RUN_QUEUE: Self = Self::new(5300, "run queue");

    // Memory for everyone: anyone may allocate or free whatever it holds, but a run queue.
    /// The kernel heap.
    pub const HEAP: Self = Self::new(6000, "heap");
    /// A hart's cache of free frames. Under the heap, which grows by frames.
    pub const FRAME_CACHE: Self = Self::new(6100, "frame cache");
    /// The bitmap of free frames. Under a hart's cache.
    pub const FRAME_ALLOCATOR: Self = Self::new(6200, "frame allocator");

    // Messages: anyone may log whatever it holds.
    /// The kernel log.
    pub const LOG: Self = Self::new(7000, "kernel log");
    /// The boot console. Under the log.
    pub const CONSOLE: Self = Self::new(7100, "console");

    const fn new(level: u16, name: &'static str) -> Self {
        Self { level, name }
    }

    /// A rank for locks that only tests have.
    #[cfg(not(target_os = "none"))]
    pub const fn for_test(level: u16, name: &'static str) -> Self {
        Self::new(level, name)
    }

    /// How far inside: larger is taken later.
    pub const fn level(self) -> u16 {
        self.level
    }

    /// The lock's name in messages.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

#[cfg(all(debug_assertions, not(loom)))]
pub(crate) use checker::{acquired, check, released};
#[cfg(all(debug_assertions, not(loom)))]
pub use checker::{hold_none, suspend_checks};

/// Stops all checking for good: a panicking kernel takes the locks that it needs for its report.
#[cfg(not(all(debug_assertions, not(loom))))]
pub fn suspend_checks() {}

/// Panics if this hart holds a spin lock; release builds do not know.
#[cfg(not(all(debug_assertions, not(loom))))]
#[inline(always)]
pub fn hold_none(_place: &str) {}

#[cfg(all(debug_assertions, not(loom)))]
mod checker {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::Rank;

    const MOST_HELD: usize = 16;

    #[derive(Clone, Copy)]
    struct HeldRanks {
        ranks: [Option<Rank>; MOST_HELD],
        count: usize,
    }

    impl HeldRanks {
        const EMPTY: Self = Self { ranks: [None; MOST_HELD], count: 0 };
    }

    static SUSPENDED: AtomicBool = AtomicBool::new(false);

    /// Stops all checking for good: a panicking kernel takes the locks that it needs for its report.
    pub fn suspend_checks() {
        SUSPENDED.store(true, Ordering::Relaxed);
    }

    #[cfg(target_os = "none")]
    fn with_held<R>(access: impl FnOnce(&mut HeldRanks) -> R) -> R {
        use kernel_hal::{HartId, MAX_HARTS};
        use std::cell::UnsafeCell;

        struct PerHartRanks([UnsafeCell<HeldRanks>; MAX_HARTS]);
        // SAFETY: each element is only used by its hart, with interrupts masked (the lock masks them first).
        unsafe impl Sync for PerHartRanks {}
        static HELD: PerHartRanks = PerHartRanks([const { UnsafeCell::new(HeldRanks::EMPTY) }; MAX_HARTS]);

        let saved = kernel_hal::interrupt::disable_and_save();
        // SAFETY: this hart's element, interrupts masked, and `access` (three functions below) takes no lock.
        let result = access(unsafe { &mut *HELD.0[HartId::current().index()].get() });
        kernel_hal::interrupt::restore(saved);
        result
    }

    // On the host several threads may call themselves the same hart, so the record belongs to the thread.
    #[cfg(not(target_os = "none"))]
    fn with_held<R>(access: impl FnOnce(&mut HeldRanks) -> R) -> R {
        thread_local! {
            static HELD: std::cell::RefCell<HeldRanks> = const { std::cell::RefCell::new(HeldRanks::EMPTY) };
        }
        HELD.with_borrow_mut(access)
    }

    /// Panics unless `rank` is above everything that this hart holds.
    pub(crate) fn check(rank: Rank) {
        if SUSPENDED.load(Ordering::Relaxed) {
            return;
        }
        let offender = with_held(|held| {
            held.ranks[..held.count].iter().flatten().find(|other| other.level() >= rank.level()).copied()
        });
        if let Some(other) = offender {
            panic!(
                "lock order violated: `{}` (rank {}) taken while `{}` (rank {}) is held",
                rank.name(),
                rank.level(),
                other.name(),
                other.level()
            );
        }
    }

    /// Notes that this hart took a lock.
    pub(crate) fn acquired(rank: Rank) {
        let fits = with_held(|held| {
            let fits = held.count < MOST_HELD;
            if fits {
                held.ranks[held.count] = Some(rank);
                held.count += 1;
            }
            fits
        });
        assert!(fits || SUSPENDED.load(Ordering::Relaxed), "too many spin locks held at once");
    }

    /// Notes that this hart released a lock; the order of releases is free.
    pub(crate) fn released(rank: Rank) {
        with_held(|held| {
            let found = held.ranks[..held.count].iter().rposition(|other| *other == Some(rank));
            if let Some(index) = found {
                held.ranks.copy_within(index + 1..held.count, index);
                held.count -= 1;
            }
        });
    }

    /// Panics if this hart holds a spin lock: to be called where none may be held, like the end of a poll.
    pub fn hold_none(place: &str) {
        if SUSPENDED.load(Ordering::Relaxed) {
            return;
        }
        if let Some(rank) = with_held(|held| held.ranks[..held.count].first().copied().flatten()) {
            panic!("lock `{}` (rank {}) still held: {place}", rank.name(), rank.level());
        }
    }
}
