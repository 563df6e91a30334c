//! What the executor knows of one hart.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Waker;

use kernel_hal::{Instant, time};
use ksync::{Rank, SpinLock};

use crate::class::Urgency;
use crate::run_queue::RunQueue;
use crate::task::TaskRecord;
use crate::timer::TimerQueue;
use crate::trace_ring::TraceRing;

/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;

/// One hart's part of the executor. Fields without a lock are written by their hart alone unless their comment says
/// otherwise; others may read them.
#[repr(align(64))]
pub(crate) struct Hart {
    pub(crate) queue: SpinLock<RunQueue>,

    /// Copies of parts of the queue, written under its lock and read without it.
    ///
    /// How many tasks are ready: where a thief looks.
    pub(crate) load: AtomicU32,
    /// Urgency of the most urgent ready task.
    pub(crate) top: AtomicU8,
    /// Urgency of what runs.
    pub(crate) running: AtomicU8,
    /// The fair class's minimum age.
    pub(crate) minimum_age: AtomicU64,

    /// The running task should yield when it can. Others set it too.
    pub(crate) need_resched: AtomicBool,

    /// The task that is being polled: not null just as long as it cannot end.
    pub(crate) current: AtomicPtr<TaskRecord>,
    /// Its waker, valid while `current` is not null.
    pub(crate) current_waker: AtomicPtr<Waker>,
    /// The number of the task that was polled last.
    pub(crate) previous_task: AtomicU32,
    /// When the present poll (or its part since the last interruption by a more urgent task) began.
    pub(crate) clock: AtomicU64,
    pub(crate) interrupt_depth: AtomicU8,
    pub(crate) preemption_depth: AtomicU8,
    /// While a preemption is served: only what is above this may run.
    pub(crate) floor: AtomicU8,
    /// The running task told the watchdog that it gets on.
    pub(crate) made_progress: AtomicBool,
    /// Since when the running task has shown no progress, as far as the alarm saw.
    pub(crate) watched_since: AtomicU64,

    /// When the alarm goes off, when the scheduler wants to look at the running task, and the earliest timer.
    pub(crate) armed: AtomicU64,
    pub(crate) slice_deadline: AtomicU64,
    /// Written under the timers' lock.
    pub(crate) timer_deadline: AtomicU64,
    pub(crate) timers: SpinLock<TimerQueue>,

    /// Real-time tasks' use of the present period.
    pub(crate) realtime_nanos: AtomicU64,
    pub(crate) realtime_period_start: AtomicU64,

    pub(crate) trace: TraceRing,
}

impl Hart {
    pub(crate) const fn new() -> Self {
        Self {
            queue: SpinLock::new(Rank::RUN_QUEUE, RunQueue::new()),
            load: AtomicU32::new(0),
            top: AtomicU8::new(Urgency::NONE.0),
            running: AtomicU8::new(Urgency::NONE.0),
            minimum_age: AtomicU64::new(0),
            need_resched: AtomicBool::new(false),
            current: AtomicPtr::new(ptr::null_mut()),
            current_waker: AtomicPtr::new(ptr::null_mut()),
            previous_task: AtomicU32::new(0),
            clock: AtomicU64::new(0),
            interrupt_depth: AtomicU8::new(0),
            preemption_depth: AtomicU8::new(0),
            floor: AtomicU8::new(Urgency::NONE.0),
            made_progress: AtomicBool::new(false),
            watched_since: AtomicU64::new(0),
            armed: AtomicU64::new(NEVER),
            slice_deadline: AtomicU64::new(NEVER),
            timer_deadline: AtomicU64::new(NEVER),
            timers: SpinLock::new(Rank::TIMER_QUEUE, TimerQueue::new()),
            realtime_nanos: AtomicU64::new(0),
            realtime_period_start: AtomicU64::new(0),
            trace: TraceRing::new(),
        }
    }

    /// Makes the copies of the queue's state current. Called with the queue locked, after every change.
    #[inline]
    pub(crate) fn publish(&self, queue: &RunQueue) {
        self.load.store(queue.len(), Relaxed);
        self.top.store(queue.top().0, Relaxed);
        self.running.store(queue.running.0, Relaxed);
        self.minimum_age.store(queue.fair.minimum(), Relaxed);
    }

    #[inline]
    pub(crate) fn running(&self) -> Urgency {
        Urgency(self.running.load(Relaxed))
    }

    #[inline]
    pub(crate) fn top(&self) -> Urgency {
        Urgency(self.top.load(Relaxed))
    }

    #[inline]
    pub(crate) fn clock(&self) -> Instant {
        Instant::from_nanos(self.clock.load(Relaxed))
    }

    /// Makes sure that the alarm goes off by `deadline`. Only on this hart, with interrupts masked.
    #[inline]
    pub(crate) fn arm_no_later_than(&self, deadline: u64) {
        if deadline < self.armed.load(Relaxed) {
            self.arm(deadline);
        }
    }

    /// Wants to look at the running task by `deadline`. Only on this hart, with interrupts masked.
    #[inline]
    pub(crate) fn look_no_later_than(&self, deadline: u64) {
        if deadline < self.slice_deadline.load(Relaxed) {
            self.slice_deadline.store(deadline, Relaxed);
            self.arm_no_later_than(deadline);
        }
    }

    /// Arms the alarm for the earliest deadline, or not at all. Only on this hart, with interrupts masked.
    pub(crate) fn rearm(&self) {
        let earliest = self.slice_deadline.load(Relaxed).min(self.timer_deadline.load(Relaxed));
        if earliest != self.armed.load(Relaxed) {
            self.arm(earliest);
        }
    }

    /// Arms the alarm, which has gone off, for the earliest deadline. Only on this hart, with interrupts masked.
    pub(crate) fn rearm_spent(&self) {
        self.arm(self.slice_deadline.load(Relaxed).min(self.timer_deadline.load(Relaxed)));
    }

    fn arm(&self, deadline: u64) {
        self.armed.store(deadline, Relaxed);
        time::set_alarm((deadline != NEVER).then(|| Instant::from_nanos(deadline)));
    }
}
