//! What the executor knows of one hart.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Waker;

use kernel_hal::{HartId, HartMask, Instant, MAX_HARTS, time};
use ksync::{Rank, SpinLock};

use crate::class::Urgency;
use crate::run_queue::{Lists, LockedQueue, Summary};
use crate::task::TaskRecord;
use crate::timer::TimerQueue;

/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;

/// One hart's part of the executor. Fields without a lock are written by their hart alone unless their comment says
/// otherwise; others may read them.
///
/// What every switch touches comes first, and the size is a power of two: both save instructions.
#[repr(C, align(4096))]
pub(crate) struct Hart {
    /// When the present poll (or its part since the last interruption by a more urgent task) began.
    pub(crate) clock: AtomicU64,
    /// The task that is being polled: not null just as long as it cannot end.
    pub(crate) current: AtomicPtr<TaskRecord>,
    /// Its waker, valid while `current` is not null.
    pub(crate) current_waker: AtomicPtr<Waker>,
    /// The number of the task that was polled last.
    pub(crate) previous_task: AtomicU32,
    /// The running task should yield when it can. Others set it too.
    pub(crate) need_resched: AtomicBool,
    /// While tasks compete for this hart: the urgency of the running one for which the alarm was armed to look at it.
    contested_at: AtomicU8,
    pub(crate) interrupt_depth: AtomicU8,
    pub(crate) preemption_depth: AtomicU8,
    /// Which hart this is.
    index: u8,
    mask: HartMask,
    /// While a preemption is served: only what is at least this urgent may run.
    pub(crate) floor: AtomicU8,
    /// The running task told the watchdog that it gets on.
    pub(crate) made_progress: AtomicBool,
    /// Changed only with the queue locked.
    pub(crate) summary: Summary,

    /// When the alarm goes off, when the scheduler wants to look at the running task, and the earliest timer.
    pub(crate) armed: AtomicU64,
    pub(crate) slice_deadline: AtomicU64,
    /// Written under the timers' lock.
    pub(crate) timer_deadline: AtomicU64,

    /// Real-time tasks' use of the present period.
    pub(crate) realtime_nanos: AtomicU64,
    pub(crate) realtime_period_start: AtomicU64,

    /// Nanoseconds in polls, and how often the task changed. Written by the hart.
    busy_nanos: AtomicU64,
    switches: AtomicU64,

    /// Which poll of which task the watchdog saw last, and since when it has shown no progress.
    pub(crate) watched_poll: AtomicU64,
    pub(crate) watched_since: AtomicU64,

    lists: SpinLock<Lists>,
    pub(crate) timers: SpinLock<TimerQueue>,
}

impl Hart {
    pub(crate) const fn new(index: u8) -> Self {
        Self {
            clock: AtomicU64::new(0),
            current: AtomicPtr::new(ptr::null_mut()),
            current_waker: AtomicPtr::new(ptr::null_mut()),
            previous_task: AtomicU32::new(0),
            need_resched: AtomicBool::new(false),
            contested_at: AtomicU8::new(Urgency::NONE.0),
            interrupt_depth: AtomicU8::new(0),
            preemption_depth: AtomicU8::new(0),
            index,
            mask: HartMask::only(HartId::new(index as usize)),
            floor: AtomicU8::new(Urgency::NONE.0),
            made_progress: AtomicBool::new(false),
            summary: Summary::new(),
            armed: AtomicU64::new(NEVER),
            slice_deadline: AtomicU64::new(NEVER),
            timer_deadline: AtomicU64::new(NEVER),
            realtime_nanos: AtomicU64::new(0),
            realtime_period_start: AtomicU64::new(0),
            busy_nanos: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            watched_poll: AtomicU64::new(0),
            watched_since: AtomicU64::new(0),
            lists: SpinLock::new(Rank::RUN_QUEUE, Lists::new()),
            timers: SpinLock::new(Rank::TIMER_QUEUE, TimerQueue::new()),
        }
    }

    /// Counts time in polls.
    #[inline]
    pub(crate) fn add_busy_time(&self, nanos: u64) {
        self.busy_nanos.store(self.busy_nanos.load(Relaxed).wrapping_add(nanos), Relaxed);
    }

    /// Nanoseconds in polls so far.
    pub(crate) fn busy_nanos(&self) -> u64 {
        self.busy_nanos.load(Relaxed)
    }

    /// Counts a change of task.
    #[inline]
    pub(crate) fn count_switch(&self) {
        self.switches.store(self.switches.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// How often the task changed.
    pub(crate) fn switches(&self) -> u64 {
        self.switches.load(Relaxed)
    }

    /// Which hart this is.
    #[inline]
    pub(crate) fn id(&self) -> HartId {
        HartId::new(usize::from(self.index) & (MAX_HARTS - 1))
    }

    /// This hart's number.
    #[inline]
    pub(crate) fn index(&self) -> u8 {
        self.index
    }

    /// The set of just this hart.
    #[inline]
    pub(crate) fn mask(&self) -> HartMask {
        self.mask
    }

    #[inline]
    pub(crate) fn lock_queue(&self) -> LockedQueue<'_> {
        LockedQueue::new(self.lists.lock(), &self.summary)
    }

    /// The queue, if nobody holds it.
    #[inline]
    pub(crate) fn try_lock_queue(&self) -> Option<LockedQueue<'_>> {
        Some(LockedQueue::new(self.lists.try_lock()?, &self.summary))
    }

    #[inline]
    pub(crate) fn running(&self) -> Urgency {
        self.summary.running()
    }

    #[inline]
    pub(crate) fn clock(&self) -> Instant {
        Instant::from_nanos(self.clock.load(Relaxed))
    }

    /// Whether a running task of this urgency will be looked at in time.
    #[inline]
    pub(crate) fn is_contested_at(&self, urgency: Urgency) -> bool {
        self.contested_at.load(Relaxed) == urgency.0
    }

    /// The alarm is armed for a running task of this urgency.
    #[inline]
    pub(crate) fn set_contested_at(&self, urgency: Urgency) {
        self.contested_at.store(urgency.0, Relaxed);
    }

    /// Makes sure that the alarm goes off by `deadline`. Only on this hart, with interrupts masked.
    #[inline]
    pub(crate) fn arm_no_later_than(&self, deadline: u64) {
        if deadline < self.armed.load(Relaxed) {
            self.arm(deadline);
        }
    }

    /// Whether the running task will be looked at, sooner or later.
    #[inline]
    pub(crate) fn wants_to_look(&self) -> bool {
        self.slice_deadline.load(Relaxed) != NEVER
    }

    /// Wants to look at the running task by `deadline`. Only on this hart, with interrupts masked.
    pub(crate) fn look_no_later_than(&self, deadline: u64) {
        if deadline < self.slice_deadline.load(Relaxed) {
            self.slice_deadline.store(deadline, Relaxed);
            self.arm_no_later_than(deadline);
        }
    }

    /// Arms the alarm for the earliest deadline, or not at all. Only on this hart, with interrupts masked.
    #[inline]
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
