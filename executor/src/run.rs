//! The run loop of a hart: take the most urgent task, poll it, repeat; steal; park.

use std::ptr;
use std::sync::atomic::{Ordering, Ordering::Relaxed, compiler_fence};
use std::task::Waker;

use kernel_hal::{HartId, Instant, interrupt, preemption};

use crate::class::Urgency;
use crate::executor::Executor;
use crate::hart::{Hart, NEVER};
use crate::run_queue::LockedQueue;
use crate::slice::WAKE_UP_GRANULARITY_NANOS;
use crate::task::{Place, TaskRecord};
use crate::trace_ring::EventKind;

impl Executor {
    /// Polls the most urgent ready task of this hart. Returns `false` if none is ready.
    #[inline]
    pub(crate) fn run_one(&self, hart: &Hart) -> bool {
        let mut queue = hart.lock_queue();
        let (record, age) = queue.pick_fair_if_first();
        if record.is_null() {
            if queue.len() == 0 {
                queue.set_running(ptr::null(), Urgency::NONE, 0);
                return false;
            }
            drop(queue);
            return self.run_above(hart, Urgency::IDLE);
        }
        // SAFETY: it came out of the queue with its right to run, so it is alive until it is run.
        let task = unsafe { &*record };
        let owed_below_age = age.wrapping_sub(WAKE_UP_GRANULARITY_NANOS);
        self.note_running(hart, &mut queue, task, Urgency::FAIR, owed_below_age);
        // An alarm that was armed for the task before this one will do.
        if !hart.is_contested_at(Urgency::FAIR)
            && (queue.len() != 0 || self.watchdog_enabled.load(Relaxed) && !hart.wants_to_look())
        {
            self.arm_first_look(hart, &queue, task);
        }
        drop(queue);
        // SAFETY: taken out of the queue just now, once.
        unsafe { self.run(hart, record, Urgency::FAIR) };
        true
    }

    /// Polls the most urgent ready task of this hart that is at least as urgent as `floor`.
    #[inline(never)]
    pub(crate) fn run_above(&self, hart: &Hart, floor: Urgency) -> bool {
        let throttled = hart.summary.has_levels() && self.is_throttled(hart, hart.clock());
        let mut queue = hart.lock_queue();
        let Some((record, urgency)) = queue.pick(floor, throttled) else {
            if floor == Urgency::IDLE {
                queue.set_running(ptr::null(), Urgency::NONE, 0);
            }
            return false;
        };
        // SAFETY: as in `run_one`.
        let task = unsafe { &*record };
        self.note_running(hart, &mut queue, task, urgency, 0);
        if queue.len() != 0 || self.watchdog_enabled.load(Relaxed) {
            self.arm_first_look(hart, &queue, task);
        }
        drop(queue);
        // SAFETY: as in `run_one`.
        unsafe { self.run(hart, record, urgency) };
        true
    }

    #[inline]
    fn note_running(
        &self,
        hart: &Hart,
        queue: &mut LockedQueue<'_>,
        task: &TaskRecord,
        urgency: Urgency,
        owed_below_age: u64,
    ) {
        queue.set_running(task, urgency, owed_below_age);
        task.place.store(Place::NOWHERE, Relaxed);
        hart.need_resched.store(false, Relaxed);
    }

    /// The task that is about to run has competitors or is watched.
    #[cold]
    fn arm_first_look(&self, hart: &Hart, queue: &LockedQueue<'_>, task: &TaskRecord) {
        hart.set_contested_at(if queue.len() != 0 { queue.running() } else { Urgency::NONE });
        hart.look_no_later_than(self.next_look(hart, queue, task, hart.clock()));
    }

    /// # Safety
    /// The record was taken out of a run queue for this call.
    #[inline]
    unsafe fn run(&self, hart: &Hart, record: *const TaskRecord, urgency: Urgency) {
        // SAFETY: alive until `run` below, which uses up its right to run.
        let task = unsafe { &*record };
        if self.trace_enabled.load(Relaxed) {
            self.trace_run(task, urgency);
        }
        let id = task.id();
        if hart.previous_task.load(Relaxed) == id {
            task.count_repeated_poll();
        } else {
            hart.previous_task.store(id, Relaxed);
            hart.count_switch();
        }
        // SAFETY: the caller's promise.
        unsafe { TaskRecord::into_runnable(record) }.run();
        debug_assert_eq!(preemption::count(), 0, "a poll returned with the preempt count raised");
        ksync::rank::hold_none("at the end of a poll");
    }

    #[cold]
    #[inline(never)]
    fn trace_run(&self, task: &TaskRecord, urgency: Urgency) {
        self.trace(EventKind::Run, task.id(), [u64::from(urgency.0), 0]);
    }

    #[inline]
    pub(crate) fn begin_poll(&self, record: &TaskRecord, waker: &Waker) -> &Hart {
        #[cfg(not(target_os = "none"))]
        crate::simulator::before_poll();
        let hart = self.here_in_poll();
        hart.current.store(ptr::from_ref(record).cast_mut(), Relaxed);
        hart.current_waker.store(ptr::from_ref(waker).cast_mut(), Relaxed);
        hart.made_progress.store(false, Relaxed);
        // An interrupt between the choice of this task and here could not preempt it yet; one from here on can.
        compiler_fence(Ordering::SeqCst);
        if hart.need_resched.load(Relaxed) {
            self.interrupt_this_hart();
        }
        hart
    }

    /// What an interrupt that came too early would have done is done by another one.
    #[cold]
    fn interrupt_this_hart(&self) {
        self.interrupt(HartId::current());
    }

    /// The poll is over; the task is not in a queue yet, whether it was woken meanwhile or not.
    #[inline]
    pub(crate) fn end_poll(&self, hart: &Hart, record: &TaskRecord, is_finished: bool) {
        let nanos = self.charge(hart, record, Instant::now());
        record.count_poll();
        hart.current.store(ptr::null_mut(), Relaxed);
        if nanos >= self.notable_poll_nanos.load(Relaxed) {
            self.end_notable_poll(hart, record, nanos, is_finished);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_notable_poll(&self, hart: &Hart, record: &TaskRecord, nanos: u64, is_finished: bool) {
        self.trace(EventKind::Stop, record.id(), [nanos, u64::from(is_finished)]);
        if nanos > self.poll_budget_nanos.load(Relaxed) {
            self.watch_end(hart, record, nanos);
        }
    }

    /// Announces that this hart goes idle, unless there is something to do after all. Interrupts are masked. If it
    /// returns `true` the caller sleeps until an interrupt is pending, and then calls [`Executor::unpark`].
    pub(crate) fn park(&self, here: HartId) -> bool {
        debug_assert!(!interrupt::are_enabled());
        let hart = self.hart(here);
        self.parking.announce(here);
        if hart.summary.len() != 0 || self.steal(here) {
            self.parking.retract(here);
            return false;
        }
        // A look that is only the watchdog's is left armed: this hart may be awake again long before it, and would have to
        // arm it anew each time. If not, it goes off once and finds nothing.
        if !(self.watchdog_enabled.load(Relaxed) && hart.is_contested_at(Urgency::NONE)) {
            hart.slice_deadline.store(NEVER, Relaxed);
            hart.set_contested_at(Urgency::NONE);
        }
        hart.rearm();
        self.trace(EventKind::Park, 0, [0, 0]);
        true
    }

    /// This hart is awake again. Interrupts are still masked.
    pub(crate) fn unpark(&self, here: HartId) {
        let hart = self.hart(here);
        self.parking.retract(here);
        hart.clock.store(Instant::now().as_nanos(), Relaxed);
        self.trace(EventKind::Unpark, 0, [0, 0]);
    }

    /// Runs tasks on this hart for good.
    pub(crate) fn run_hart(&self) -> ! {
        let here = HartId::current();
        let hart = self.here();
        hart.clock.store(Instant::now().as_nanos(), Relaxed);
        interrupt::enable();
        loop {
            while self.run_one(hart) {}
            interrupt::disable();
            if self.park(here) {
                interrupt::wait();
                self.unpark(here);
                interrupt::handle_pending();
            }
            // What is pending now is handled here.
            interrupt::enable();
        }
    }
}
