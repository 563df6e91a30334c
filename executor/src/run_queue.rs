//! One hart's ready tasks. A plain data structure: its hart keeps it in a lock.
//!
//! Real-time levels and the boost are first-in first-out lists with one bit each in a bitmap; then comes the fair
//! class, then the idle class. A record in a queue stands for the right to run its task (async-task's `Runnable`),
//! which keeps it alive.

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

use crate::class::Urgency;
use crate::fair_queue::FairQueue;
use crate::fifo::FifoList;
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

pub(crate) struct RunQueue {
    /// Bit n: level n is not empty.
    occupied: [u64; 2],
    pub(crate) fair: FairQueue,
    idle: FifoList,
    idle_len: u32,
    len: u32,
    /// What was last taken out to run: its urgency and its age in the fair class. `current` is for comparing only: the
    /// task may have ended meanwhile.
    pub(crate) running: Urgency,
    pub(crate) running_age: u64,
    pub(crate) current: *const TaskRecord,
    levels: [FifoList; LEVELS],
}

// SAFETY: the records are `Send + Sync`, and the queue is only reached through its lock.
unsafe impl Send for RunQueue {}

impl RunQueue {
    pub(crate) const fn new() -> Self {
        Self {
            occupied: [0; 2],
            fair: FairQueue::new(),
            idle: FifoList::new(),
            idle_len: 0,
            len: 0,
            running: Urgency::NONE,
            running_age: 0,
            current: ptr::null(),
            levels: [const { FifoList::new() }; LEVELS],
        }
    }

    /// How many tasks are ready.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Whether a task that is neither real-time nor boosted is ready.
    #[inline]
    pub(crate) fn has_ordinary(&self) -> bool {
        self.fair.len() + self.idle_len != 0
    }

    /// Whether another task of this urgency is ready.
    pub(crate) fn has_peer(&self, urgency: Urgency) -> bool {
        match urgency {
            Urgency::NONE => false,
            Urgency::IDLE => self.idle_len != 0,
            Urgency::FAIR => self.fair.len() != 0,
            _ => !self.levels[level_of(urgency)].is_empty(),
        }
    }

    /// The urgency of the most urgent ready task.
    #[inline]
    pub(crate) fn top(&self) -> Urgency {
        match self.first_level() {
            Some(level) => Urgency(Urgency::MOST.0 - level as u8),
            None if self.fair.len() != 0 => Urgency::FAIR,
            None if self.idle_len != 0 => Urgency::IDLE,
            None => Urgency::NONE,
        }
    }

    #[inline]
    fn first_level(&self) -> Option<usize> {
        if self.occupied[0] | self.occupied[1] == 0 {
            return None;
        }
        Some(if self.occupied[0] != 0 {
            self.occupied[0].trailing_zeros() as usize
        } else {
            64 + self.occupied[1].trailing_zeros() as usize
        })
    }

    /// Puts a task in, at the end of its level or, after a preemption, at its head.
    ///
    /// # Safety
    /// The record is alive, in no queue, and its right to run comes with it.
    #[inline]
    pub(crate) unsafe fn insert(&mut self, record: *const TaskRecord, urgency: Urgency, at_head: bool) {
        self.len += 1;
        // SAFETY: the caller's promise, for all of these.
        unsafe {
            match urgency {
                Urgency::FAIR => {
                    self.fair.insert(record);
                    (*record).place.store(Place::FAIR, Relaxed);
                }
                Urgency::NONE | Urgency::IDLE => {
                    self.idle_len += 1;
                    self.idle.push_back(record);
                    (*record).place.store(Place::IDLE, Relaxed);
                }
                _ => {
                    let level = level_of(urgency);
                    self.occupied[level / 64] |= 1 << (level % 64);
                    match at_head {
                        true => self.levels[level].push_front(record),
                        false => self.levels[level].push_back(record),
                    }
                    (*record).place.store(level as u8, Relaxed);
                }
            }
        }
    }

    /// Takes out the most urgent task that is at least as urgent as `floor`. While real-time tasks are `throttled` they
    /// only run if nothing ordinary is ready.
    #[inline]
    pub(crate) fn pick(&mut self, floor: Urgency, throttled: bool) -> Option<(*const TaskRecord, Urgency)> {
        let mut top = self.top();
        if throttled && top.is_realtime() && self.has_ordinary() {
            top = match self.levels[level_of(Urgency::BOOSTED)].is_empty() {
                false => Urgency::BOOSTED,
                true if self.fair.len() != 0 => Urgency::FAIR,
                true => Urgency::IDLE,
            };
        }
        if top < floor || top == Urgency::NONE {
            return None;
        }
        let record = if top == Urgency::FAIR {
            self.len -= 1;
            self.fair.pop()?
        } else {
            let list = if top == Urgency::IDLE { &self.idle } else { &self.levels[level_of(top)] };
            let record = list.front();
            // SAFETY: the front of a list of this queue is in this queue.
            unsafe { self.remove(record) };
            record
        };
        Some((record, top))
    }

    /// # Safety
    /// The record is in this queue.
    pub(crate) unsafe fn remove(&mut self, record: *const TaskRecord) {
        self.len -= 1;
        // SAFETY: the record's place says in which list it is; both change only under this queue's lock.
        unsafe {
            match (*record).place.load(Relaxed) {
                Place::FAIR => self.fair.remove(record),
                Place::IDLE => {
                    self.idle_len -= 1;
                    self.idle.remove(record);
                }
                level => {
                    let level = usize::from(level);
                    self.levels[level].remove(record);
                    if self.levels[level].is_empty() {
                        self.occupied[level / 64] &= !(1 << (level % 64));
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
            let mut bits = self.occupied[word];
            while bits != 0 && found.is_none() {
                let level = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                found = find_in_list(&self.levels[level], &suits);
            }
        }
        let record = found
            .or_else(|| self.fair.find_from_back(MOST_LOOKED_AT, &suits))
            .or_else(|| find_in_list(&self.idle, &suits))?;
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
