//! One hart's ready tasks.
//!
//! Real-time levels and the boost are first-in first-out lists with one bit each in a bitmap; then comes the fair
//! class, then the idle class. A record in a queue stands for the right to run its task (async-task's `Runnable`),
//! which keeps it alive.
//!
//! The lists are in a lock. Beside them is a [`Summary`] that is changed only with the lists locked and may be read by
//! anyone at any time: by thieves, by those who choose a hart for a task, by interrupt handlers.

use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use ksync::SpinLockGuard;

use crate::class::Urgency;
use crate::fair_queue::FairQueue;
use crate::fifo::FifoList;
use crate::slice::SLEEPER_CREDIT_NANOS;
use crate::task::{Place, TaskRecord};

/// 99 real-time priorities and the boost.
const LEVELS: usize = (Urgency::MOST.0 - Urgency::BOOSTED.0) as usize + 1;

/// A thief looks at no more tasks than this in one list.
const MOST_LOOKED_AT: usize = 64;

/// The level's index: the most urgent has the smallest, so that it is the lowest bit.
#[inline]
const fn level_of(urgency: Urgency) -> usize {
    (Urgency::MOST.0 - urgency.0) as usize
}

/// What can be known of a run queue without locking it.
#[repr(C)]
pub(crate) struct Summary {
    /// Bit n: level n is not empty.
    occupied: [AtomicU64; 2],
    /// Where fair tasks start that come new or after a long sleep: follows the least aged, never goes back.
    minimum_age: AtomicU64,
    /// How many tasks are ready, and how many of them are in levels.
    len: AtomicU32,
    len_of_levels: AtomicU32,
    /// Urgency of what was last taken out to run.
    running: AtomicU8,
}

impl Summary {
    pub(crate) const fn new() -> Self {
        Self {
            occupied: [AtomicU64::new(0), AtomicU64::new(0)],
            // Far enough from zero that ages a little below it need no care.
            minimum_age: AtomicU64::new(2 * SLEEPER_CREDIT_NANOS),
            len: AtomicU32::new(0),
            len_of_levels: AtomicU32::new(0),
            running: AtomicU8::new(Urgency::NONE.0),
        }
    }

    /// How many tasks are ready.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len.load(Relaxed)
    }

    #[inline]
    pub(crate) fn running(&self) -> Urgency {
        Urgency(self.running.load(Relaxed))
    }

    #[inline]
    pub(crate) fn minimum_age(&self) -> u64 {
        self.minimum_age.load(Relaxed)
    }

    /// Whether a real-time or boosted task is ready.
    #[inline]
    pub(crate) fn has_levels(&self) -> bool {
        self.len_of_levels.load(Relaxed) != 0
    }

    /// The urgency of the most urgent ready task; an idle task passes for a fair one.
    pub(crate) fn top(&self) -> Urgency {
        match self.first_level() {
            Some(level) => Urgency(Urgency::MOST.0 - level as u8),
            None if self.len() != 0 => Urgency::FAIR,
            None => Urgency::NONE,
        }
    }

    fn first_level(&self) -> Option<usize> {
        let [first, second] = [0, 1].map(|word: usize| self.occupied[word].load(Relaxed));
        if first != 0 {
            Some(first.trailing_zeros() as usize)
        } else if second != 0 {
            Some(64 + second.trailing_zeros() as usize)
        } else {
            None
        }
    }
}

pub(crate) struct Lists {
    fair: FairQueue,
    idle: FifoList,
    /// A fair task younger than this need not wait for the end of the running task's slice.
    owed_below_age: u64,
    /// What was last taken out to run. For comparing only: the task may have ended meanwhile.
    current: *const TaskRecord,
    levels: [FifoList; LEVELS],
}

// SAFETY: the records are `Send + Sync`, and the lists are only reached through their lock.
unsafe impl Send for Lists {}

impl Lists {
    pub(crate) const fn new() -> Self {
        Self {
            fair: FairQueue::new(),
            idle: FifoList::new(),
            owed_below_age: 0,
            current: ptr::null(),
            levels: [const { FifoList::new() }; LEVELS],
        }
    }
}

/// A run queue whose lists are locked.
pub(crate) struct LockedQueue<'a> {
    lists: SpinLockGuard<'a, Lists>,
    summary: &'a Summary,
}

impl<'a> LockedQueue<'a> {
    /// The summary is that of the lists.
    #[inline]
    pub(crate) fn new(lists: SpinLockGuard<'a, Lists>, summary: &'a Summary) -> Self {
        Self { lists, summary }
    }

    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.summary.len()
    }

    #[inline]
    pub(crate) fn running(&self) -> Urgency {
        self.summary.running()
    }

    #[inline]
    pub(crate) fn minimum_age(&self) -> u64 {
        self.summary.minimum_age()
    }

    /// The age of the fair task that would be next.
    #[inline]
    pub(crate) fn front_age(&self) -> Option<u64> {
        self.lists.fair.front_age()
    }

    /// Whether this task was the last to be taken out to run.
    pub(crate) fn is_current(&self, record: &TaskRecord) -> bool {
        ptr::eq(self.lists.current, record)
    }

    /// Whether a fair task of this age is so much younger than the fair task that runs that it need not wait.
    #[inline]
    pub(crate) fn is_owed_the_hart(&self, age: u64) -> bool {
        age < self.lists.owed_below_age
    }

    /// Whether a task that is neither real-time nor boosted is ready.
    #[inline]
    pub(crate) fn has_ordinary(&self) -> bool {
        !self.lists.fair.is_empty() || !self.lists.idle.is_empty()
    }

    /// Whether a fair task is ready.
    #[inline]
    pub(crate) fn has_fair(&self) -> bool {
        !self.lists.fair.is_empty()
    }

    /// Whether another task of this urgency is ready.
    pub(crate) fn has_peer(&self, urgency: Urgency) -> bool {
        match urgency {
            Urgency::NONE => false,
            Urgency::IDLE => !self.lists.idle.is_empty(),
            Urgency::FAIR => !self.lists.fair.is_empty(),
            _ => !self.lists.levels[level_of(urgency)].is_empty(),
        }
    }

    /// The urgency of the most urgent ready task.
    pub(crate) fn top(&self) -> Urgency {
        match self.summary.top() {
            Urgency::FAIR if self.lists.fair.is_empty() => Urgency::IDLE,
            top => top,
        }
    }

    /// Notes what runs on the hart now, and which fair tasks are owed the hart from here on.
    #[inline]
    pub(crate) fn set_running(&mut self, record: *const TaskRecord, urgency: Urgency, owed_below_age: u64) {
        self.summary.running.store(urgency.0, Relaxed);
        self.lists.owed_below_age = owed_below_age;
        self.lists.current = record;
    }

    #[inline]
    fn change_len(&self, by: u32) {
        self.summary.len.store(self.summary.len().wrapping_add(by), Relaxed);
    }

    fn change_len_of_levels(&self, by: u32) {
        let len = &self.summary.len_of_levels;
        len.store(len.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// Puts a fair task in.
    ///
    /// # Safety
    /// The record is alive, in no queue, and its right to run comes with it.
    #[inline(always)]
    pub(crate) unsafe fn insert_fair(&mut self, record: &TaskRecord) {
        self.change_len(1);
        record.place.store(Place::FAIR, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.lists.fair.insert(record) };
    }

    /// Puts a fair task in while no other is ready.
    ///
    /// # Safety
    /// As for [`LockedQueue::insert_fair`], and [`LockedQueue::has_fair`] is false.
    #[inline(always)]
    pub(crate) unsafe fn insert_only_fair(&mut self, record: &TaskRecord) {
        self.change_len(1);
        record.place.store(Place::FAIR, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.lists.fair.insert_as_only(record) };
    }

    /// Puts a task in, at the end of its level or, after a preemption, at its head.
    ///
    /// # Safety
    /// As for [`LockedQueue::insert_fair`].
    pub(crate) unsafe fn insert(&mut self, record: &TaskRecord, urgency: Urgency, at_head: bool) {
        // SAFETY: the caller's promise, for all of these.
        unsafe {
            match urgency {
                Urgency::FAIR => self.insert_fair(record),
                Urgency::NONE | Urgency::IDLE => {
                    self.change_len(1);
                    self.lists.idle.push_back(record);
                    record.place.store(Place::IDLE, Relaxed);
                }
                _ => {
                    self.change_len(1);
                    self.change_len_of_levels(1);
                    let level = level_of(urgency);
                    let word = &self.summary.occupied[level / 64];
                    word.store(word.load(Relaxed) | 1 << (level % 64), Relaxed);
                    match at_head {
                        true => self.lists.levels[level].push_front(record),
                        false => self.lists.levels[level].push_back(record),
                    }
                    record.place.store(level as u8, Relaxed);
                }
            }
        }
    }

    /// Takes out the youngest fair task, and says its age, if nothing goes before the fair class. Null if there is none.
    #[inline]
    pub(crate) fn pick_fair_if_first(&mut self) -> (*const TaskRecord, u64) {
        if self.summary.has_levels() || self.lists.fair.is_empty() {
            return (ptr::null(), 0);
        }
        self.pop_fair()
    }

    #[inline]
    fn pop_fair(&mut self) -> (*const TaskRecord, u64) {
        self.change_len(u32::MAX);
        let record = self.lists.fair.pop();
        // SAFETY: the fair queue was not empty, and what was in it is alive.
        let age = unsafe { (*record).age.load(Relaxed) };
        if age > self.minimum_age() {
            self.summary.minimum_age.store(age, Relaxed);
        }
        (record, age)
    }

    /// Takes out the most urgent task that is at least as urgent as `floor`. While real-time tasks are `throttled` they
    /// only run if nothing ordinary is ready.
    pub(crate) fn pick(&mut self, floor: Urgency, throttled: bool) -> Option<(*const TaskRecord, Urgency)> {
        let mut top = self.top();
        if throttled && top.is_realtime() && self.has_ordinary() {
            top = match self.lists.levels[level_of(Urgency::BOOSTED)].is_empty() {
                false => Urgency::BOOSTED,
                true if !self.lists.fair.is_empty() => Urgency::FAIR,
                true => Urgency::IDLE,
            };
        }
        if top < floor || top == Urgency::NONE {
            return None;
        }
        let record = match top {
            Urgency::FAIR => self.pop_fair().0,
            _ => {
                let list =
                    if top == Urgency::IDLE { &self.lists.idle } else { &self.lists.levels[level_of(top)] };
                let record = list.front();
                // SAFETY: the front of a list of this queue is in this queue.
                unsafe { self.remove(record) };
                record
            }
        };
        Some((record, top))
    }

    /// # Safety
    /// The record is in this queue.
    pub(crate) unsafe fn remove(&mut self, record: *const TaskRecord) {
        self.change_len(u32::MAX);
        // SAFETY: the record's place says in which list it is; both change only under this queue's lock.
        unsafe {
            match (*record).place.load(Relaxed) {
                Place::FAIR => self.lists.fair.remove(record),
                Place::IDLE => self.lists.idle.remove(record),
                level => {
                    self.change_len_of_levels(u32::MAX);
                    let level = usize::from(level);
                    self.lists.levels[level].remove(record);
                    if self.lists.levels[level].is_empty() {
                        let word = &self.summary.occupied[level / 64];
                        word.store(word.load(Relaxed) & !(1 << (level % 64)), Relaxed);
                    }
                }
            }
        }
    }

    /// Takes out a task that `suits`: the most urgent; within the fair class the one that would wait longest.
    pub(crate) fn take_for_thief(
        &mut self,
        suits: impl Fn(&TaskRecord) -> bool,
    ) -> Option<*const TaskRecord> {
        let mut found = None;
        for word in 0..2 {
            let mut bits = self.summary.occupied[word].load(Relaxed);
            while bits != 0 && found.is_none() {
                let level = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                found = find_in_list(&self.lists.levels[level], &suits);
            }
        }
        let record = found
            .or_else(|| self.lists.fair.find_from_back(MOST_LOOKED_AT, &suits))
            .or_else(|| find_in_list(&self.lists.idle, &suits))?;
        // SAFETY: it was found in this queue.
        unsafe { self.remove(record) };
        Some(record)
    }
}

fn find_in_list(list: &FifoList, suits: impl Fn(&TaskRecord) -> bool) -> Option<*const TaskRecord> {
    let mut record = list.front();
    for _ in 0..MOST_LOOKED_AT {
        // SAFETY: records in the list are alive.
        match unsafe { record.as_ref() } {
            None => break,
            Some(candidate) if suits(candidate) => return Some(record),
            // SAFETY: the record is in this list.
            Some(_) => record = unsafe { list.next(record) },
        }
    }
    None
}
