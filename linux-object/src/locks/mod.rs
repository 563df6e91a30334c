//! Locks on files that programs agree on: `flock` on whole files, `fcntl` on ranges of bytes.
//!
//! All are in one table, by file: there are few, and who waits for whom goes across files. The table keeps no file: a lock
//! ends before the last opening of its file that its owner has.

mod record;
mod request;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::stat::DeviceNumber;

use crate::file::{FileTable, OpenFile};
use crate::obstacle::Waitable;
use record::Record;

pub use record::{LockKind, LockRange};
pub use request::{LockOwner, RecordRequest, WholeRequest};

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Those who share this descriptor table.
    Table(usize),
    /// An opening, whoever has it.
    Opening(usize),
}

impl Holder {
    fn table(files: &FileTable) -> Self {
        Self::Table(core::ptr::from_ref(files).addr())
    }

    fn opening(file: &OpenFile) -> Self {
        Self::Opening(core::ptr::from_ref(file).addr())
    }
}

/// A lock on a whole file.
struct Whole {
    opening: usize,
    kind: LockKind,
    process: i32,
}

/// What a file is called in `/proc/locks`.
#[derive(Clone, Copy, Default)]
struct FileName {
    device: DeviceNumber,
    inode: u64,
}

#[derive(Default)]
struct FileLocks {
    name: FileName,
    whole: Vec<Whole>,
    records: Vec<Record>,
}

/// Who waits for whom.
struct Edge {
    request: u64,
    waiter: Holder,
    blocker: Holder,
}

struct Table {
    files: BTreeMap<usize, FileLocks>,
    edges: Vec<Edge>,
    next_request: u64,
}

static TABLE: SpinLock<Table> =
    SpinLock::new(Rank::FILE_LOCKS, Table { files: BTreeMap::new(), edges: Vec::new(), next_request: 1 });

/// How many locks descriptor tables hold, and how many openings do: as long as there are none, closing costs a load.
static TABLES_HOLD: AtomicUsize = AtomicUsize::new(0);
static OPENINGS_HOLD: AtomicUsize = AtomicUsize::new(0);

/// How far a search for a circle of waiters goes, as on Linux.
const MOST_STEPS: usize = 10;

const QUEUES: usize = 16;
static WAITERS: [WaitQueue; QUEUES] = [const { WaitQueue::new("file lock") }; QUEUES];

/// The queue of a file: several files share one, and who is woken looks whether it was for him.
struct FileQueue(usize);

impl Waitable for FileQueue {
    fn wait_queue(&self) -> &WaitQueue {
        &WAITERS[self.0 % QUEUES]
    }
}

/// A file, by its address: the inode's, if it has one, else the object's.
fn key_of(file: &OpenFile) -> usize {
    match file.inode() {
        Some(inode) => Arc::as_ptr(inode).cast::<()>().addr(),
        None => Arc::as_ptr(file.file()).cast::<()>().addr(),
    }
}

fn queue_of(key: usize) -> usize {
    const UNUSED_BITS: u32 = 6;
    key >> UNUSED_BITS
}

fn wake(key: usize) {
    WAITERS[queue_of(key) % QUEUES].wake_all();
}

impl Table {
    fn file(&mut self, key: usize, name: FileName) -> &mut FileLocks {
        let locks = self.files.entry(key).or_default();
        locks.name = name;
        locks
    }

    fn forget_if_empty(&mut self, key: usize) {
        if self.files.get(&key).is_some_and(|locks| locks.whole.is_empty() && locks.records.is_empty()) {
            self.files.remove(&key);
        }
    }

    /// Who waits for this holder looks again; until then it is not known whether he still has to.
    fn forget_waits_for(&mut self, blocker: Holder) {
        self.edges.retain(|edge| edge.blocker != blocker);
    }

    fn count(&self) {
        let records = || self.files.values().flat_map(|locks| &locks.records);
        let of_tables = records().filter(|record| matches!(record.holder, Holder::Table(_))).count();
        let whole: usize = self.files.values().map(|locks| locks.whole.len()).sum();
        TABLES_HOLD.store(of_tables, Ordering::Relaxed);
        OPENINGS_HOLD.store(records().count() - of_tables + whole, Ordering::Relaxed);
    }

    /// Whether `blocker` waits, over others perhaps, for `waiter`.
    fn would_deadlock(&self, waiter: Holder, blocker: Holder) -> bool {
        let mut at = blocker;
        for _ in 0..MOST_STEPS {
            if at == waiter {
                return true;
            }
            match self.edges.iter().find(|edge| edge.waiter == at) {
                Some(edge) => at = edge.blocker,
                None => return false,
            }
        }
        false
    }
}

/// A descriptor was closed: whatever its table has locked in that file is free, whichever descriptor it came through.
#[inline]
pub fn descriptor_closed(files: &FileTable, file: &OpenFile) {
    if TABLES_HOLD.load(Ordering::Relaxed) != 0 {
        release(Holder::table(files), key_of(file));
    }
}

/// The last reference to an opening is gone.
#[inline]
pub fn opening_ended(file: &OpenFile) {
    if OPENINGS_HOLD.load(Ordering::Relaxed) != 0 {
        release(Holder::opening(file), key_of(file));
    }
}

#[cold]
fn release(holder: Holder, key: usize) {
    let has_released = {
        let mut table = TABLE.lock();
        let Some(locks) = table.files.get_mut(&key) else { return };
        let before = locks.records.len() + locks.whole.len();
        locks.records.retain(|record| record.holder != holder);
        locks.whole.retain(|whole| Holder::Opening(whole.opening) != holder);
        let has_released = locks.records.len() + locks.whole.len() != before;
        table.forget_waits_for(holder);
        table.forget_if_empty(key);
        table.count();
        has_released
    };
    if has_released {
        wake(key);
    }
}

/// A lock as `/proc/locks` shows it.
pub struct ListedLock {
    /// `FLOCK`, `POSIX` or `OFDLCK`.
    pub sort: &'static str,
    /// How it excludes others.
    pub kind: LockKind,
    /// Who took it; -1 for an opening's.
    pub process: i32,
    /// The device of its file.
    pub device: DeviceNumber,
    /// The inode of its file.
    pub inode: u64,
    /// What is locked.
    pub range: LockRange,
}

/// All locks.
pub fn list() -> Vec<ListedLock> {
    let table = TABLE.lock();
    let mut listed = Vec::new();
    for locks in table.files.values() {
        let FileName { device, inode } = locks.name;
        listed.extend(locks.whole.iter().map(|whole| ListedLock {
            sort: "FLOCK",
            kind: whole.kind,
            process: whole.process,
            device,
            inode,
            range: LockRange::ALL,
        }));
        listed.extend(locks.records.iter().map(|record| ListedLock {
            sort: if matches!(record.holder, Holder::Table(_)) { "POSIX" } else { "OFDLCK" },
            kind: record.kind,
            process: record.process,
            device,
            inode,
            range: record.range,
        }));
    }
    listed
}
