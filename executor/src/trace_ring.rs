//! What happened lately, per hart: a ring that only its hart writes and anybody may read.
//!
//! Recording is off until [`crate::set_trace_enabled`]: till then an event costs one predicted branch. A slot is claimed before it is
//! filled, so an interrupt that records in the middle of a record takes the next slot. A reader checks the slot's
//! number before and after it copies and skips what was overwritten meanwhile.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use kernel_hal::Instant;

/// How many events a ring remembers.
pub const TRACE_CAPACITY: usize = if cfg!(miri) { 32 } else { 256 };

/// What an event tells. The numbers are part of the record's layout and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs, reason = "the table below says what they mean")]
pub enum EventKind {
    /// A task was created.
    Spawn = 1,
    /// A task became ready; first argument: the hart whose queue it entered.
    Wake = 2,
    /// A task starts to run; first argument: its urgency.
    Run = 3,
    /// A task's poll returned; first argument: nanoseconds, second: 1 if it is finished.
    Stop = 4,
    /// A task was taken from another hart's queue; first argument: that hart.
    Steal = 5,
    /// The hart goes to sleep.
    Park = 6,
    /// The hart is awake again.
    Unpark = 7,
    /// The alarm went off; first argument: how many timers expired.
    Timer = 8,
    /// Another hart asked this one to look at its queue.
    Reschedule = 9,
    /// A more urgent task preempts this one in the kernel; first argument: depth.
    Preempt = 10,
    /// The preempted task goes on.
    Resume = 11,
    /// An interrupt woke a task and raised it until it next waits.
    Boost = 12,
    /// Real-time tasks have used up their share of this period.
    Throttle = 13,
    /// A poll took longer than the watchdog allows; first argument: nanoseconds.
    Overrun = 14,
    /// Something that another crate records; both arguments are its own.
    Custom = 256,
}

impl EventKind {
    fn from_number(number: u16) -> Option<Self> {
        use EventKind::*;
        let all = [
            Spawn, Wake, Run, Stop, Steal, Park, Unpark, Timer, Reschedule, Preempt, Resume, Boost, Throttle,
            Overrun, Custom,
        ];
        all.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// One event, as a reader gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TraceRecord {
    /// When it happened.
    pub time: Instant,
    /// What happened.
    pub kind: EventKind,
    /// To which task; 0 for none.
    pub task: u32,
    /// What [`EventKind`] says.
    pub arguments: [u64; 2],
}

struct Slot {
    /// Number of the event in the slot, counted from 1; 0 while the slot is being written.
    number: AtomicU64,
    time: AtomicU64,
    kind_and_task: AtomicU64,
    arguments: [AtomicU64; 2],
}

/// One hart's ring.
pub(crate) struct TraceRing {
    slots: [Slot; TRACE_CAPACITY],
    written: AtomicU64,
}

impl TraceRing {
    pub(crate) const fn new() -> Self {
        let slots = [const {
            Slot {
                number: AtomicU64::new(0),
                time: AtomicU64::new(0),
                kind_and_task: AtomicU64::new(0),
                arguments: [AtomicU64::new(0), AtomicU64::new(0)],
            }
        }; TRACE_CAPACITY];
        Self { slots, written: AtomicU64::new(0) }
    }

    /// Records an event that happens now.
    #[cold]
    pub(crate) fn record(&self, kind: EventKind, task: u32, arguments: [u64; 2]) {
        self.record_at(Instant::now(), kind, task, arguments);
    }

    /// Records an event. Only the ring's own hart calls this.
    fn record_at(&self, time: Instant, kind: EventKind, task: u32, arguments: [u64; 2]) {
        let index = self.written.fetch_add(1, Ordering::Relaxed);
        let slot = &self.slots[index as usize % TRACE_CAPACITY];
        slot.number.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        slot.time.store(time.as_nanos(), Ordering::Relaxed);
        slot.kind_and_task.store((kind as u64) << 32 | u64::from(task), Ordering::Relaxed);
        slot.arguments[0].store(arguments[0], Ordering::Relaxed);
        slot.arguments[1].store(arguments[1], Ordering::Relaxed);
        slot.number.store(index + 1, Ordering::Release);
    }

    /// Calls `visit` for the last `count` events, oldest first, leaving out what is overwritten meanwhile.
    pub(crate) fn for_each_recent(&self, count: usize, mut visit: impl FnMut(TraceRecord)) {
        let end = self.written.load(Ordering::Acquire);
        let start = end.saturating_sub(count.min(TRACE_CAPACITY) as u64);
        for index in start..end {
            if let Some(record) = self.read(index) {
                visit(record);
            }
        }
    }

    fn read(&self, index: u64) -> Option<TraceRecord> {
        let slot = &self.slots[index as usize % TRACE_CAPACITY];
        if slot.number.load(Ordering::Acquire) != index + 1 {
            return None;
        }
        let time = slot.time.load(Ordering::Relaxed);
        let kind_and_task = slot.kind_and_task.load(Ordering::Relaxed);
        let arguments = [0, 1].map(|which: usize| slot.arguments[which].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if slot.number.load(Ordering::Relaxed) != index + 1 {
            return None;
        }
        Some(TraceRecord {
            time: Instant::from_nanos(time),
            kind: EventKind::from_number((kind_and_task >> 32) as u16)?,
            task: kind_and_task as u32,
            arguments,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(ring: &TraceRing, count: usize) -> Vec<TraceRecord> {
        let mut records = Vec::new();
        ring.for_each_recent(count, |record| records.push(record));
        records
    }

    #[test]
    fn the_ring_keeps_the_last_events_in_order() {
        let ring = Box::new(TraceRing::new());
        let total = TRACE_CAPACITY as u64 + 10;
        for number in 0..total {
            ring.record_at(Instant::from_nanos(number), EventKind::Run, number as u32, [number, 2]);
        }
        let last = recent(&ring, 3);
        let numbers: Vec<u64> = last.iter().map(|record| record.arguments[0]).collect();
        assert_eq!(numbers, [total - 3, total - 2, total - 1]);
        assert_eq!(last[2].kind, EventKind::Run);
        assert_eq!(u64::from(last[2].task), total - 1);
        assert_eq!(recent(&ring, usize::MAX).len(), TRACE_CAPACITY);
    }

    #[test]
    fn a_reader_beside_the_writer_sees_no_torn_event() {
        let rounds: u64 = if cfg!(miri) { 300 } else { 200_000 };
        let ring = Box::new(TraceRing::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..rounds {
                    let time = Instant::from_nanos(number);
                    ring.record_at(time, EventKind::Wake, number as u32, [number, number]);
                }
            });
            for _ in 0..20 {
                for record in recent(&ring, 64) {
                    let number = record.time.as_nanos();
                    assert_eq!((record.task, record.arguments), (number as u32, [number; 2]));
                }
            }
        });
    }
}
