//! The run loop of a hart: take the most urgent task, poll it, repeat; steal; park.

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

use kernel_hal::{HartId, Instant, interrupt, preemption};

use crate::class::Urgency;
use crate::executor::Executor;
use crate::hart::{Hart, NEVER};
use crate::task::{Place, TaskRecord};
use crate::trace_ring::EventKind;

impl Executor {
    /// Polls the most urgent ready task of this hart. Returns `false` if none is ready.
    pub(crate) fn run_one(&self) -> bool {
        let hart = self.here();
        self.run_above(hart, Urgency::IDLE)
    }

    /// Polls the most urgent ready task of this hart that is at least as urgent as `floor`.
    #[inline]
    pub(crate) fn run_above(&self, hart: &Hart, floor: Urgency) -> bool {
        let now = hart.clock();
        let throttled = self.is_throttled(hart, now);
        let mut queue = hart.queue.lock();
        let picked = queue.pick(floor, throttled);
        let Some((record, urgency)) = picked else {
            if floor == Urgency::IDLE {
                queue.running = Urgency::NONE;
                queue.current = ptr::null();
                hart.publish(&queue);
            }
            return false;
        };
        queue.running = urgency;
        queue.current = record;
        // SAFETY: it came out of the queue with its right to run, so it is alive until `run` below.
        let task = unsafe { &*record };
        queue.running_age = task.virtual_runtime.load(Relaxed);
        task.place.store(Place::RUNNING, Relaxed);
        hart.publish(&queue);
        hart.need_resched.store(false, Relaxed);
        if queue.len() != 0 || self.poll_budget_nanos.load(Relaxed) != NEVER {
            hart.look_no_later_than(self.next_look(hart, &queue, task, now));
        }
        drop(queue);
        hart.trace.record(EventKind::Run, task.id(), [u64::from(urgency.0), 0]);
        if hart.previous_task.load(Relaxed) != task.id() {
            hart.previous_task.store(task.id(), Relaxed);
            task.count_switch();
        }
        // SAFETY: taken out of the queue just now, once.
        unsafe { TaskRecord::into_runnable(record) }.run();
        debug_assert_eq!(preemption::count(), 0, "a poll returned with the preempt count raised");
        ksync::rank::hold_none("at the end of a poll");
        true
    }

    #[inline]
    pub(crate) fn begin_poll(&self, record: &TaskRecord, waker: &Waker) {
        let hart = self.here();
        hart.current.store(ptr::from_ref(record).cast_mut(), Relaxed);
        hart.current_waker.store(ptr::from_ref(waker).cast_mut(), Relaxed);
        hart.made_progress.store(false, Relaxed);
        hart.watched_since.store(hart.clock.load(Relaxed), Relaxed);
    }

    /// The poll is over; the task is not in a queue yet, whether it was woken meanwhile or not.
    #[inline]
    pub(crate) fn end_poll(&self, record: &TaskRecord, is_finished: bool) {
        let hart = self.here();
        let nanos = self.charge(hart, record, Instant::now());
        record.count_poll();
        self.watch_end(hart, record, nanos);
        record.place.store(Place::WAITING, Relaxed);
        hart.current.store(ptr::null_mut(), Relaxed);
        hart.trace.record(EventKind::Stop, record.id(), [nanos, u64::from(is_finished)]);
    }

    /// Announces that this hart goes idle, unless there is something to do after all. Interrupts are masked. If it
    /// returns `true` the caller sleeps until an interrupt is pending, and then calls [`Executor::unpark`].
    pub(crate) fn park(&self, here: HartId) -> bool {
        debug_assert!(!interrupt::are_enabled());
        let hart = self.hart(here);
        self.parking.announce(here);
        if hart.load.load(Relaxed) != 0 || self.steal(here) {
            self.parking.retract(here);
            return false;
        }
        hart.slice_deadline.store(NEVER, Relaxed);
        hart.rearm();
        hart.trace.record(EventKind::Park, 0, [0, 0]);
        true
    }

    /// This hart is awake again. Interrupts are still masked.
    pub(crate) fn unpark(&self, here: HartId) {
        let hart = self.hart(here);
        self.parking.retract(here);
        hart.clock.store(Instant::now().as_nanos(), Relaxed);
        hart.trace.record(EventKind::Unpark, 0, [0, 0]);
    }

    /// Runs tasks on this hart for good.
    pub(crate) fn run_hart(&self) -> ! {
        let here = HartId::current();
        self.hart(here).clock.store(Instant::now().as_nanos(), Relaxed);
        interrupt::enable();
        loop {
            while self.run_one() {}
            interrupt::disable();
            if self.park(here) {
                interrupt::wait();
                self.unpark(here);
            }
            // What is pending is handled here.
            interrupt::enable();
        }
    }
}
