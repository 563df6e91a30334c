//! Interrupts as the executor sees them, and preemption of kernel code.
//!
//! User code is preempted by its own loop, which asks [`crate::need_resched`]. A kernel future that overruns is
//! preempted by real-time tasks alone: at the end of an interrupt, at preempt count 0, at most [`MOST_NESTED`] deep,
//! on a fresh stack, until nothing strictly above the preempted task is ready. The preempted stack stays on its hart.

use std::sync::atomic::Ordering::Relaxed;

use kernel_hal::{Instant, interrupt, preemption};

use crate::class::Urgency;
use crate::executor::{Executor, ExecutorRef};
use crate::hart::Hart;
use crate::task::Place;
use crate::trace_ring::EventKind;

/// How many preempted tasks may wait on one hart.
pub(crate) const MOST_NESTED: u8 = 2;

/// When to come back to a preemption that the preempt count does not allow.
const HELD_OFF_NANOS: u64 = 2_000;

/// Marks the time in which wakes come from an interrupt.
pub(crate) struct InterruptScope<'a>(&'a Hart);

impl<'a> InterruptScope<'a> {
    pub(crate) fn enter(hart: &'a Hart) -> Self {
        hart.interrupt_depth.store(hart.interrupt_depth.load(Relaxed) + 1, Relaxed);
        Self(hart)
    }
}

impl Drop for InterruptScope<'_> {
    fn drop(&mut self) {
        self.0.interrupt_depth.store(self.0.interrupt_depth.load(Relaxed) - 1, Relaxed);
    }
}

impl Executor {
    /// The alarm went off.
    pub(crate) fn on_timer(&self) {
        let hart = self.here();
        let _scope = InterruptScope::enter(hart);
        let now = Instant::now();
        // The alarm is armed anew at the end; nobody needs to do so before.
        hart.armed.store(0, Relaxed);
        let mut expired = 0;
        if hart.timer_deadline.load(Relaxed) <= now.as_nanos() {
            expired = self.expire_timers(hart, now);
        }
        self.trace(EventKind::Timer, 0, [expired, 0]);
        if hart.slice_deadline.load(Relaxed) <= now.as_nanos() {
            self.look_at_running_task(hart, now);
        }
        self.come_back_if_held_off(hart);
        hart.rearm_spent();
    }

    /// Another hart put something into this hart's queue.
    pub(crate) fn on_reschedule(&self) {
        let hart = self.here();
        self.trace(EventKind::Reschedule, 0, [0, 0]);
        if hart.current.load(Relaxed).is_null() {
            // Between two tasks. If the next one has been chosen already, whoever sent this found a competitor of it, and
            // it must look at its beginning, see `begin_poll`; if not, it sees everybody in the queue when it is chosen.
            hart.need_resched.store(true, Relaxed);
            return;
        }
        self.look_at_running_task(hart, Instant::now());
        self.come_back_if_held_off(hart);
        hart.rearm();
    }

    /// To be called at the end of an interrupt: what it interrupted may be pinned to its hart, for a moment only.
    #[inline]
    pub(crate) fn come_back_if_held_off(&self, hart: &Hart) {
        if preemption::count() != 0 && hart.summary.top() > hart.running().max(Urgency::BOOSTED) {
            hart.look_no_later_than(Instant::now().as_nanos() + HELD_OFF_NANOS);
        }
    }

    /// Whether there is something to do at a preemption point.
    #[inline]
    pub(crate) fn wants_preemption(&self) -> bool {
        let hart = self.here();
        hart.summary.top() > hart.running().max(Urgency::BOOSTED)
            && !hart.current.load(Relaxed).is_null()
            && hart.preemption_depth.load(Relaxed) < MOST_NESTED
            && preemption::count() == 0
    }

    /// The last thing before an interrupt returns to kernel code: runs real-time tasks that are strictly above the
    /// interrupted one. Interrupts are masked.
    pub(crate) fn preemption_point(&self) {
        if self.wants_preemption() {
            let hart = self.here();
            let floor = hart.running().max(Urgency::BOOSTED);
            self.preempt(hart, Urgency(floor.0 + 1));
        }
    }

    #[cold]
    fn preempt(&self, hart: &Hart, floor: Urgency) {
        let began = Instant::now();
        let preempted = hart.current.load(Relaxed);
        // SAFETY: the task that this interrupt interrupted; its poll goes on below us.
        let record = unsafe { &*preempted };
        let preempted_is_ordinary = !hart.running().is_realtime();
        if self.is_throttled(hart, began) && preempted_is_ordinary {
            return;
        }
        self.charge(hart, record, began);
        record.place.store(Place::PREEMPTED, Relaxed);
        let waker = hart.current_waker.load(Relaxed);
        let made_progress = hart.made_progress.load(Relaxed);
        let outer_floor = hart.floor.load(Relaxed);
        let running = hart.running();
        let depth = hart.preemption_depth.load(Relaxed) + 1;
        self.trace(EventKind::Preempt, record.id(), [u64::from(depth), 0]);
        hart.preemption_depth.store(depth, Relaxed);
        hart.floor.store(floor.0, Relaxed);

        loop {
            call_on_fresh_stack(run_urgent_tasks);
            // An interrupt after the last look there could not preempt anything. From here on none is taken.
            let throttled = self.is_throttled(hart, Instant::now());
            if hart.summary.top() < floor || throttled {
                break;
            }
        }

        hart.preemption_depth.store(depth - 1, Relaxed);
        hart.floor.store(outer_floor, Relaxed);
        let now = Instant::now();
        let mut queue = hart.lock_queue();
        queue.set_running(preempted, running, 0);
        hart.current.store(preempted, Relaxed);
        record.place.store(Place::NOWHERE, Relaxed);
        hart.current_waker.store(waker, Relaxed);
        hart.made_progress.store(made_progress, Relaxed);
        // The watchdog starts anew: the time that others ran does not count.
        hart.watched_poll.store(0, Relaxed);
        hart.clock.store(now.as_nanos(), Relaxed);
        hart.previous_task.store(record.id(), Relaxed);
        hart.set_contested_at(Urgency::NONE);
        hart.need_resched.store(queue.top() > running, Relaxed);
        if queue.len() != 0 {
            hart.look_no_later_than(self.next_look(hart, &queue, record, now));
        }
        drop(queue);
        self.trace(EventKind::Resume, record.id(), [u64::from(depth), 0]);
    }
}

/// Runs on the fresh stack, with interrupts enabled.
extern "C" fn run_urgent_tasks() {
    let executor = ExecutorRef::current();
    let hart = executor.here();
    let floor = Urgency(hart.floor.load(Relaxed));
    // The throttle applies as if the preempted task were in the queue.
    let preempted_is_ordinary = floor == Urgency::realtime(1);
    while !(preempted_is_ordinary && executor.is_throttled(hart, hart.clock()))
        && executor.run_above(hart, floor)
    {}
}

/// Calls `function` with interrupts enabled on a stack of its own, and comes back with interrupts masked.
fn call_on_fresh_stack(function: extern "C" fn()) {
    #[cfg(target_os = "none")]
    kernel_hal::machine::call_on_preemption_stack(function);
    #[cfg(not(target_os = "none"))]
    {
        interrupt::enable();
        function();
    }
    interrupt::disable();
}
