//! Numbers for open files.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use ksync::{Rank, SpinLock};
use linux_abi::Errno;

use super::OpenFile;
use crate::locks;

/// Numbers are below this, whatever the limits (Linux's `nr_open`).
pub const MOST_DESCRIPTORS: usize = 1 << 20;
/// Numbers are below this unless somebody sets another limit.
const USUAL_LIMIT: usize = 1024;

/// What a number is, beside its opening. The order counts: the first two are found by everybody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Kept,
    ClosedByExec,
    /// It only stands for a place (`O_PATH`).
    PathKept,
    PathClosedByExec,
}

impl Kind {
    fn of(file: &OpenFile, close_on_exec: bool) -> Self {
        match (file.is_path_only(), close_on_exec) {
            (false, false) => Self::Kept,
            (false, true) => Self::ClosedByExec,
            (true, false) => Self::PathKept,
            (true, true) => Self::PathClosedByExec,
        }
    }

    fn closes_on_exec(self) -> bool {
        matches!(self, Self::ClosedByExec | Self::PathClosedByExec)
    }
}

#[derive(Clone)]
struct Entry {
    file: Arc<OpenFile>,
    kind: Kind,
}

impl Entry {
    fn new(file: Arc<OpenFile>, close_on_exec: bool) -> Self {
        Self { kind: Kind::of(&file, close_on_exec), file }
    }
}

/// The descriptors of those threads that share it.
pub struct FileTable {
    entries: SpinLock<Vec<Option<Entry>>>,
    users: AtomicUsize,
    /// Numbers are below this (`RLIMIT_NOFILE`).
    limit: AtomicUsize,
}

impl Default for FileTable {
    fn default() -> Self {
        Self::with(Vec::new())
    }
}

impl FileTable {
    fn with(entries: Vec<Option<Entry>>) -> Self {
        Self {
            entries: SpinLock::new(Rank::FILE_TABLE, entries),
            users: AtomicUsize::new(0),
            limit: AtomicUsize::new(USUAL_LIMIT),
        }
    }

    /// How many threads use it. References to it do not tell: others look at it for a moment.
    pub fn users(&self) -> usize {
        self.users.load(Ordering::Acquire)
    }

    /// One more thread uses it.
    pub fn add_user(&self) {
        self.users.fetch_add(1, Ordering::Relaxed);
    }

    /// A thread no longer uses it. Whether it was the last one: then everything can be closed.
    pub fn remove_user(&self) -> bool {
        self.users.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// A copy: the same openings under the same numbers.
    pub fn duplicate(&self) -> Self {
        let copy = Self::with(self.entries.lock().clone());
        copy.set_limit(self.limit());
        copy
    }

    /// The number that all others are below.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets what new numbers are below; those that are in use stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit.min(MOST_DESCRIPTORS), Ordering::Relaxed);
    }

    /// The opening behind a number, which is more than a place.
    #[inline(always)]
    pub fn get(&self, number: i32) -> Result<Arc<OpenFile>, Errno> {
        let found = {
            let entries = self.entries.lock();
            // A negative number becomes one beyond the end.
            match entries.get(number as usize) {
                Some(Some(entry)) if entry.kind <= Kind::ClosedByExec => Some(entry.file.clone()),
                _ => None,
            }
        };
        found.ok_or(Errno::EBADF)
    }

    /// The opening behind a number, even if it only stands for a place.
    pub fn get_place(&self, number: i32) -> Result<Arc<OpenFile>, Errno> {
        let entries = self.entries.lock();
        let entry = usize::try_from(number).ok().and_then(|index| entries.get(index)?.as_ref());
        entry.map(|entry| entry.file.clone()).ok_or(Errno::EBADF)
    }

    /// Gives an opening the lowest free number from `lowest` on.
    pub fn insert(&self, file: Arc<OpenFile>, lowest: usize, close_on_exec: bool) -> Result<i32, Errno> {
        let mut entries = self.entries.lock();
        let free = entries.iter().skip(lowest).position(Option::is_none).map(|index| index + lowest);
        let number = free.unwrap_or(entries.len().max(lowest));
        put(&mut entries, self.limit(), number, Entry::new(file, close_on_exec))?;
        Ok(number as i32)
    }

    /// Whether there is a number for one more opening: `EMFILE` if not.
    pub fn check_room(&self) -> Result<(), Errno> {
        let entries = self.entries.lock();
        if entries.len() < self.limit() || entries.iter().take(self.limit()).any(Option::is_none) {
            Ok(())
        } else {
            Err(Errno::EMFILE)
        }
    }

    /// Gives an opening this very number; returns the one that had it.
    pub fn replace(
        &self,
        number: i32,
        file: Arc<OpenFile>,
        close_on_exec: bool,
    ) -> Result<Option<Arc<OpenFile>>, Errno> {
        let number = usize::try_from(number).map_err(|_| Errno::EBADF)?;
        if number >= self.limit() {
            return Err(Errno::EMFILE);
        }
        let mut entries = self.entries.lock();
        let previous = entries.get_mut(number).and_then(Option::take);
        put(&mut entries, self.limit(), number, Entry::new(file, close_on_exec))?;
        drop(entries);
        if let Some(entry) = &previous {
            locks::descriptor_closed(self, &entry.file);
        }
        Ok(previous.map(|entry| entry.file))
    }

    /// Takes a number back.
    pub fn remove(&self, number: i32) -> Result<Arc<OpenFile>, Errno> {
        let mut entries = self.entries.lock();
        let slot = usize::try_from(number).ok().and_then(|index| entries.get_mut(index));
        let entry = slot.and_then(Option::take).ok_or(Errno::EBADF)?;
        drop(entries);
        locks::descriptor_closed(self, &entry.file);
        Ok(entry.file)
    }

    /// The lowest number in use that is not below `from`, and its opening.
    pub fn next(&self, from: usize) -> Option<(i32, Arc<OpenFile>)> {
        let entries = self.entries.lock();
        let mut rest = entries.iter().enumerate().skip(from);
        rest.find_map(|(number, entry)| Some((number as i32, entry.as_ref()?.file.clone())))
    }

    /// How many numbers there is room for without growing.
    pub fn size(&self) -> usize {
        self.entries.lock().capacity()
    }

    /// Whether the number is given up by `exec`.
    pub fn is_close_on_exec(&self, number: i32) -> Result<bool, Errno> {
        let entries = self.entries.lock();
        let entry = usize::try_from(number).ok().and_then(|index| entries.get(index)?.as_ref());
        entry.map(|entry| entry.kind.closes_on_exec()).ok_or(Errno::EBADF)
    }

    /// Sets whether the number is given up by `exec`.
    pub fn set_close_on_exec(&self, number: i32, value: bool) -> Result<(), Errno> {
        let mut entries = self.entries.lock();
        let entry = usize::try_from(number).ok().and_then(|index| entries.get_mut(index)?.as_mut());
        let entry = entry.ok_or(Errno::EBADF)?;
        entry.kind = Kind::of(&entry.file, value);
        Ok(())
    }

    /// Takes all numbers back that `exec` gives up.
    pub fn close_for_exec(&self) -> Vec<Arc<OpenFile>> {
        self.take_all(|entry| entry.kind.closes_on_exec())
    }

    /// Takes all numbers back.
    pub fn close_all(&self) -> Vec<Arc<OpenFile>> {
        self.take_all(|_| true)
    }

    fn take_all(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Arc<OpenFile>> {
        let mut entries = self.entries.lock();
        let chosen = entries.iter_mut().filter(|slot| slot.as_ref().is_some_and(&wanted));
        let taken: Vec<Arc<OpenFile>> = chosen.filter_map(|slot| Some(slot.take()?.file)).collect();
        drop(entries);
        taken.iter().for_each(|file| locks::descriptor_closed(self, file));
        taken
    }
}

fn put(entries: &mut Vec<Option<Entry>>, limit: usize, number: usize, entry: Entry) -> Result<(), Errno> {
    if number >= limit {
        return Err(Errno::EMFILE);
    }
    if number >= entries.len() {
        entries.try_reserve(number + 1 - entries.len()).map_err(|_| Errno::ENOMEM)?;
        entries.resize(number + 1, None);
    }
    entries[number] = Some(entry);
    Ok(())
}
