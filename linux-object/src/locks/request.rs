//! What is asked for: attempts that take a lock, or say who is in the way.

use alloc::sync::Arc;

use linux_abi::Errno;

use super::record::{self, LockKind, LockRange, Record};
use super::{Edge, FileName, FileQueue, Holder, TABLE, Whole, key_of, queue_of, wake};
use crate::file::{FileTable, OpenFile};
use crate::obstacle::{Attempt, Obstacle};

fn name_of(file: &OpenFile) -> FileName {
    match file.place() {
        Some(place) => FileName { device: place.mount().device(), inode: place.inode().number() },
        None => FileName { inode: file.file().number(), ..FileName::default() },
    }
}

fn obstacle(key: usize) -> Obstacle {
    Obstacle::NotReady(Arc::new(FileQueue(queue_of(key))))
}

/// Whose a lock on a range is to be.
pub enum LockOwner {
    /// The process's, that is those who share this descriptor table.
    Process(Arc<FileTable>, i32),
    /// The opening's, whoever has it.
    Opening,
}

/// A lock on a range that somebody wants or gives up.
pub struct RecordRequest {
    file: Arc<OpenFile>,
    wanted: Record,
    /// `None`: the range is given up.
    kind: Option<LockKind>,
    /// In the list of who waits for whom, once it waits.
    waiting: Option<u64>,
    _owner: LockOwner,
}

impl RecordRequest {
    /// A request for the lock, or for none.
    pub fn new(file: Arc<OpenFile>, owner: LockOwner, kind: Option<LockKind>, range: LockRange) -> Self {
        let (holder, process) = match &owner {
            LockOwner::Process(files, process) => (Holder::table(files), *process),
            LockOwner::Opening => (Holder::opening(&file), -1),
        };
        let wanted = Record { holder, kind: kind.unwrap_or(LockKind::Shared), range, process };
        Self { file, wanted, kind, waiting: None, _owner: owner }
    }

    /// The lock of another that is in the way: how, where, whose.
    pub fn conflict(&self) -> Option<(LockKind, LockRange, i32)> {
        let table = TABLE.lock();
        let locks = table.files.get(&key_of(&self.file))?;
        let found = record::conflict(&locks.records, &self.wanted)?;
        Some((found.kind, found.range, found.process))
    }

    /// Gives the range up, whatever was wanted.
    pub fn give_up(&mut self) {
        self.kind = None;
        let _ = self.try_set(false);
    }

    /// Takes the lock or gives it up. `EDEADLK`: who is in the way waits for the asker.
    pub fn try_set(&mut self, may_wait: bool) -> Attempt {
        let key = key_of(&self.file);
        let name = name_of(&self.file);
        let mut table = TABLE.lock();
        if self.kind.is_none() {
            let Some(locks) = table.files.get_mut(&key) else { return Ok(0) };
            record::clear(&mut locks.records, self.wanted.holder, self.wanted.range);
            table.forget_waits_for(self.wanted.holder);
            table.forget_if_empty(key);
            table.count();
            drop(table);
            wake(key);
            return Ok(0);
        }
        let locks = table.file(key, name);
        let Some(other) = record::conflict(&locks.records, &self.wanted) else {
            locks.records.try_reserve(2).map_err(|_| Errno::ENOLCK)?;
            record::set(&mut locks.records, self.wanted);
            table.forget_waits_for(self.wanted.holder);
            table.count();
            drop(table);
            // One that was exclusive may be shared now.
            wake(key);
            return Ok(0);
        };
        if !may_wait {
            return Err(Errno::EAGAIN.into());
        }
        let waiter = self.wanted.holder;
        let is_of_process = matches!(waiter, Holder::Table(_));
        if is_of_process && table.would_deadlock(waiter, other.holder) {
            return Err(Errno::EDEADLK.into());
        }
        let request = *self.waiting.get_or_insert_with(|| {
            table.next_request += 1;
            table.next_request
        });
        table.edges.retain(|edge| edge.request != request);
        table.edges.push(Edge { request, waiter, blocker: other.holder });
        drop(table);
        Err(obstacle(key))
    }
}

impl Drop for RecordRequest {
    fn drop(&mut self) {
        if let Some(request) = self.waiting {
            TABLE.lock().edges.retain(|edge| edge.request != request);
        }
    }
}

/// A lock on a whole file that somebody wants or gives up.
pub struct WholeRequest {
    /// The opening whose it is.
    pub file: Arc<OpenFile>,
    /// `None`: it is given up.
    pub kind: Option<LockKind>,
    /// Who asks.
    pub process: i32,
}

impl WholeRequest {
    /// Takes the lock or gives it up. As on Linux, what the opening had is given up first, even if there is no other then.
    pub fn try_set(&self, may_wait: bool) -> Attempt {
        let key = key_of(&self.file);
        let name = name_of(&self.file);
        let opening = Arc::as_ptr(&self.file).addr();
        let mut table = TABLE.lock();
        let locks = table.file(key, name);
        let own = locks.whole.iter().position(|whole| whole.opening == opening);
        if let Some(index) = own {
            if Some(locks.whole[index].kind) == self.kind {
                return Ok(0);
            }
            locks.whole.swap_remove(index);
        }
        let outcome = match self.kind {
            None => Ok(0),
            Some(kind) if locks.whole.iter().any(|whole| whole.kind.excludes(kind)) => {
                Err(if may_wait { obstacle(key) } else { Errno::EAGAIN.into() })
            }
            Some(kind) => match locks.whole.try_reserve(1) {
                Ok(()) => {
                    locks.whole.push(Whole { opening, kind, process: self.process });
                    Ok(0)
                }
                Err(_) => Err(Errno::ENOLCK.into()),
            },
        };
        table.forget_if_empty(key);
        table.count();
        drop(table);
        if own.is_some() {
            wake(key);
        }
        outcome
    }
}
