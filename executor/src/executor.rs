//! The executor as a whole: where ready tasks go, and who is told.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, Ordering::Relaxed, fence};
use std::task::Waker;

use kernel_hal::{HartId, HartMask, Instant, MAX_HARTS};

use crate::class::{Policy, Urgency, aging};
use crate::hart::{Hart, NEVER};
use crate::parking::{Claimed, ParkingLot};
use crate::registry::Registry;
use crate::run_queue::LockedQueue;
use crate::slice::{ROUND_ROBIN_NANOS, SLEEPER_CREDIT_NANOS, WAKE_UP_GRANULARITY_NANOS};
use crate::state::Requests;
use crate::task::{self, TaskHandle, TaskName, TaskOptions, TaskRecord, TaskRef};
use crate::trace_ring::{EventKind, TraceRing};

/// Called once for each task whose poll overran: its name, its number, and how long the poll took so far in
/// nanoseconds. Runs in the alarm's handler or at the end of the poll.
pub type OverrunReport = fn(TaskName, u32, u64);

/// Why a task is put into a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It waited and was woken.
    Wake,
    /// Its poll is over and it was woken meanwhile; this hart is between two tasks.
    Requeue,
    /// It comes from another hart's queue; this hart is between two tasks.
    Steal,
    /// Its class or affinity was changed.
    Move,
}

/// All harts' run queues and timers, and the tasks. The kernel has one; a test or a simulation makes its own.
///
/// What every switch touches comes first.
#[repr(C)]
pub(crate) struct Executor {
    pub(crate) parking: ParkingLot,
    pub(crate) trace_enabled: AtomicBool,
    /// Whether `poll_budget_nanos` means anything.
    pub(crate) watchdog_enabled: AtomicBool,
    /// Polls from this many nanoseconds on are worth a second look: all of them while events are recorded, those that
    /// are over the watchdog's budget otherwise.
    pub(crate) notable_poll_nanos: AtomicU64,
    /// Longest poll in nanoseconds that the watchdog finds normal.
    pub(crate) poll_budget_nanos: AtomicU64,
    /// Nanoseconds per second that real-time tasks may use on a hart where others are ready.
    pub(crate) realtime_budget_nanos: AtomicU64,
    pub(crate) overrun_report: AtomicPtr<()>,
    next_task_id: AtomicU32,
    pub(crate) registry: Registry,
    #[cfg(not(target_os = "none"))]
    pub(crate) machine: crate::simulator::Machine,
    harts: [Hart; MAX_HARTS],
    traces: [TraceRing; MAX_HARTS],
}

impl Executor {
    pub(crate) const fn new() -> Self {
        Self {
            parking: ParkingLot::new(),
            trace_enabled: AtomicBool::new(false),
            watchdog_enabled: AtomicBool::new(false),
            notable_poll_nanos: AtomicU64::new(NEVER),
            poll_budget_nanos: AtomicU64::new(NEVER),
            realtime_budget_nanos: AtomicU64::new(crate::slice::DEFAULT_REALTIME_BUDGET_NANOS),
            overrun_report: AtomicPtr::new(ptr::null_mut()),
            next_task_id: AtomicU32::new(1),
            registry: Registry::new(),
            #[cfg(not(target_os = "none"))]
            machine: crate::simulator::Machine::new(),
            harts: Self::new_harts(),
            traces: [const { TraceRing::new() }; MAX_HARTS],
        }
    }

    const fn new_harts() -> [Hart; MAX_HARTS] {
        const _: () = assert!(MAX_HARTS == 8);
        [
            Hart::new(0),
            Hart::new(1),
            Hart::new(2),
            Hart::new(3),
            Hart::new(4),
            Hart::new(5),
            Hart::new(6),
            Hart::new(7),
        ]
    }

    /// Turns recording on or off.
    pub(crate) fn set_trace_enabled(&self, enabled: bool) {
        self.trace_enabled.store(enabled, Relaxed);
        self.update_notable_polls();
    }

    /// To be called when the watchdog's budget or the recording changes.
    pub(crate) fn update_notable_polls(&self) {
        let traced = self.trace_enabled.load(Relaxed);
        let nanos = if traced { 0 } else { self.poll_budget_nanos.load(Relaxed) };
        self.notable_poll_nanos.store(nanos, Relaxed);
    }

    /// Records an event in this hart's ring.
    #[inline(always)]
    pub(crate) fn trace(&self, kind: EventKind, task: u32, arguments: [u64; 2]) {
        if self.trace_enabled.load(Relaxed) {
            self.traces[HartId::current().index()].record(kind, task, arguments);
        }
    }

    pub(crate) fn trace_ring(&self, hart: HartId) -> &TraceRing {
        &self.traces[hart.index()]
    }

    #[inline]
    pub(crate) fn hart(&self, hart: HartId) -> &Hart {
        &self.harts[hart.index()]
    }

    /// The part of the hart that runs this code.
    #[cfg(target_os = "none")]
    #[inline]
    pub(crate) fn here(&self) -> &Hart {
        match kernel_hal::hart_word() {
            0 => self.introduce_hart(),
            // SAFETY: only `introduce_hart` sets the word, and there is only one executor, a static.
            word => unsafe { &*std::ptr::with_exposed_provenance(word) },
        }
    }

    /// The part of the hart that runs this code, which is about to poll a task: it has asked for its part before.
    #[inline(always)]
    pub(crate) fn here_in_poll(&self) -> &Hart {
        // SAFETY: as in `here`: tasks are polled by `run_hart` and by preemptions of what it polls, so the word is set.
        #[cfg(target_os = "none")]
        return unsafe { &*std::ptr::with_exposed_provenance(kernel_hal::hart_word()) };
        #[cfg(not(target_os = "none"))]
        self.here()
    }

    /// The first time that this hart asks for its part.
    #[cfg(target_os = "none")]
    #[cold]
    fn introduce_hart(&self) -> &Hart {
        let saved = kernel_hal::interrupt::disable_and_save();
        let hart = self.hart(HartId::current());
        kernel_hal::set_hart_word(ptr::from_ref(hart).expose_provenance());
        kernel_hal::interrupt::restore(saved);
        hart
    }

    /// The part of the hart that runs this code.
    #[cfg(not(target_os = "none"))]
    pub(crate) fn here(&self) -> &Hart {
        self.hart(HartId::current())
    }

    #[inline]
    pub(crate) fn online(&self) -> HartMask {
        #[cfg(target_os = "none")]
        return HartId::online();
        #[cfg(not(target_os = "none"))]
        self.machine.online()
    }

    /// Makes another hart look at its queue.
    pub(crate) fn interrupt(&self, hart: HartId) {
        #[cfg(target_os = "none")]
        kernel_hal::interrupt::send(hart, kernel_hal::interrupt::Reason::Reschedule);
        #[cfg(not(target_os = "none"))]
        self.machine.interrupt(hart);
    }

    pub(crate) fn current_task(&self) -> Option<TaskRef> {
        let hart = self.here();
        // SAFETY: both pointers are of the poll that runs on this hart, in which we are: the record and the waker
        // outlive it.
        unsafe {
            let record = hart.current.load(Relaxed).as_ref()?;
            let waker: &Waker = hart.current_waker.load(Relaxed).as_ref()?;
            Some(TaskRef::new(record, waker.clone()))
        }
    }

    /// The task, woken or after its poll, wants to run. Called by async-task, with the right to run the task.
    #[inline]
    pub(crate) fn make_ready(&self, record: &TaskRecord, was_running: bool) {
        if was_running { self.requeue_quickly::<false>(record) } else { self.wake_quickly::<false>(record) }
    }

    /// The usual wake: a fair task that nobody wants to treat in any special way was woken where it ran last, while a
    /// fair task runs there. Everything else is left to `make_ready_anywhere`, always as the last thing, so that this
    /// function needs no stack, unless other tasks are ready (`BUSY`).
    #[inline(never)]
    fn wake_quickly<const BUSY: bool>(&self, record: &TaskRecord) {
        let hart = self.here();
        if !record.is_at(hart.index()) {
            return self.make_ready_anywhere(record, false);
        }
        if !BUSY && hart.summary.len() != 0 {
            return self.wake_quickly::<true>(record);
        }
        let Some(mut queue) = hart.try_lock_queue() else { return self.make_ready_anywhere(record, false) };
        // Read under the lock: see `reinsert`.
        if !(self.is_fair_and_free(record, hart) && record.state.is_plain() && (BUSY || !queue.has_fair())) {
            drop(queue);
            return self.make_ready_anywhere(record, false);
        }
        let age = age_after_sleep(record.age.load(Relaxed), &queue);
        record.age.store(age, Relaxed);
        // SAFETY: the record is alive and in no queue: the caller has just got the right to run it.
        unsafe { if BUSY { queue.insert_fair(record) } else { queue.insert_only_fair(record) } };
        let running = queue.running();
        let is_quiet = running == Urgency::FAIR
            && !(hart.interrupt_depth.load(Relaxed) != 0 && queue.is_owed_the_hart(age))
            && hart.is_contested_at(Urgency::FAIR)
            && !self.trace_enabled.load(Relaxed);
        let (id, affinity) = (record.id(), record.affinity());
        // From here on the task may run and end: `record` is not touched any more.
        drop(queue);
        if !is_quiet {
            if running == Urgency::NONE && !self.trace_enabled.load(Relaxed) {
                // An interrupt woke it while this hart was idle, or the hart is between two tasks.
                return;
            }
            return self.tell_this_hart(hart, age, affinity, id);
        }
        // This hart runs something, so it is not idle itself.
        self.wake_idle_hart(affinity);
    }

    /// The usual end of a poll of a task that was woken meanwhile: a fair task yields to the others on its hart.
    #[inline(never)]
    fn requeue_quickly<const BUSY: bool>(&self, record: &TaskRecord) {
        let hart = self.here();
        if !BUSY && hart.summary.len() != 0 {
            return self.requeue_quickly::<true>(record);
        }
        let Some(mut queue) = hart.try_lock_queue() else { return self.make_ready_anywhere(record, true) };
        if !self.is_fair_and_free(record, hart)
            || self.trace_enabled.load(Relaxed)
            || !BUSY && queue.has_fair()
        {
            drop(queue);
            return self.make_ready_anywhere(record, true);
        }
        let Some(yielded) = record.state.take_plain_yield() else {
            drop(queue);
            return self.make_ready_anywhere(record, true);
        };
        record.count_requeue();
        if !BUSY {
            // SAFETY: the record is alive and in no queue: the caller has just got the right to run it.
            unsafe { queue.insert_only_fair(record) };
            return;
        }
        if yielded
            && let Some(front_age) = queue.front_age()
            && front_age > record.age.load(Relaxed)
        {
            record.age.store(front_age, Relaxed);
        }
        let affinity = record.affinity();
        // SAFETY: as above.
        unsafe { queue.insert_fair(record) };
        let others_wait = queue.len() > 1;
        drop(queue);
        if others_wait {
            self.wake_idle_hart(affinity);
        }
    }

    /// Whether the task is fair and has no reason to go elsewhere.
    #[inline(always)]
    fn is_fair_and_free(&self, record: &TaskRecord, here: &Hart) -> bool {
        record.policy().is_fair() && record.may_run_on(here.mask()) && self.parking.is_empty()
    }

    /// A fair task has come into this hart's queue, and it may be more than a matter of waiting.
    #[cold]
    #[inline(never)]
    fn tell_this_hart(&self, hart: &Hart, age: u64, affinity: HartMask, id: u32) {
        let here = hart.id();
        self.trace(EventKind::Wake, id, [here.index() as u64, 0]);
        let queue = hart.lock_queue();
        let tell = self.must_tell(hart, &queue, Urgency::FAIR, age, true);
        let must_wait = queue.running() >= Urgency::FAIR || queue.len() > 1;
        drop(queue);
        if tell {
            self.interrupt(here);
        }
        if must_wait {
            self.wake_idle_hart(affinity.without(here));
        }
    }

    /// [`Executor::make_ready`] for every other case.
    #[inline(never)]
    fn make_ready_anywhere(&self, record: &TaskRecord, was_running: bool) {
        let here = HartId::current();
        let (cause, requests) = if was_running {
            record.count_requeue();
            (Cause::Requeue, record.state.take_requests())
        } else {
            let in_interrupt = self.hart(here).interrupt_depth.load(Relaxed) != 0;
            let requests = record.state.wake(in_interrupt);
            if requests.is_boosted() {
                self.trace(EventKind::Boost, record.id(), [0, 0]);
            }
            (Cause::Wake, requests)
        };
        let last = record.hart();
        let target = self.place(record, last, cause, requests);
        self.trace(EventKind::Wake, record.id(), [target.index() as u64, was_running as u64]);
        let age = match target == last {
            true => record.age.load(Relaxed),
            false => self.translate_age(record, last, target),
        };
        self.enqueue(record, here, target, cause, requests, age);
    }

    /// Chooses the hart: where the task ran last, unless something at least as urgent runs there and an allowed hart is
    /// idle or, for a real-time task, runs something less urgent.
    #[inline]
    fn place(&self, record: &TaskRecord, last: HartId, cause: Cause, requests: Requests) -> HartId {
        let policy = record.policy();
        if record.affinity().contains(last)
            && (self.parking.idle().is_empty() && !policy.urgency().is_realtime()
                || cause == Cause::Requeue && self.hart(last).summary.len() == 0)
        {
            return last;
        }
        self.place_slow(record.affinity(), last, cause, effective_urgency(policy, requests))
    }

    pub(crate) fn place_slow(
        &self,
        allowed: HartMask,
        last: HartId,
        cause: Cause,
        urgency: Urgency,
    ) -> HartId {
        let online = self.online();
        // The mask may name only harts that never came; then it means nothing.
        let allowed = match allowed.intersection(online) {
            HartMask::EMPTY => online,
            some => some,
        };
        if allowed == HartMask::only(last) {
            return last;
        }
        // What the task would have to wait for. On the hart where it just ran, that is only what is ready.
        let contender = |hart: HartId| match cause {
            Cause::Requeue if hart == last => self.hart(hart).summary.top(),
            _ => self.hart(hart).running().max(self.hart(hart).summary.top()),
        };
        if allowed.contains(last) && contender(last) < urgency {
            return last;
        }
        if let Some(idle) = self.parking.idle().intersection(allowed).lowest() {
            return idle;
        }
        if urgency.is_realtime() {
            // A stable choice: the last hart unless another is strictly better.
            let best = allowed.iter().min_by_key(|hart| (contender(*hart), *hart != last));
            return best.unwrap_or(last);
        }
        if allowed.contains(last) {
            return last;
        }
        allowed.iter().min_by_key(|hart| self.hart(*hart).summary.len()).unwrap_or(last)
    }

    /// Puts the task into `target`'s queue and tells whoever must know.
    pub(crate) fn enqueue(
        &self,
        record: &TaskRecord,
        here: HartId,
        target: HartId,
        cause: Cause,
        requests: Requests,
        age: u64,
    ) {
        let hart = self.hart(target);
        let mut queue = hart.lock_queue();
        record.store_home(target);
        // Between saying where the task is and reading how it may run; the twin is in `reinsert`.
        fence(Ordering::SeqCst);
        let policy = record.policy();
        let urgency = effective_urgency(policy, requests);
        let mut at_head = requests.at_head();
        let mut age = age;
        if policy.is_fair() {
            age = age_after_sleep(age, &queue);
            if requests.yielded() {
                age = age.max(queue.front_age().unwrap_or(0));
            }
            record.age.store(age, Relaxed);
        } else if policy.is_round_robin() {
            // A round-robin task that was preempted goes on with its turn; otherwise a new one begins.
            at_head &= record.turn_nanos.load(Relaxed) < ROUND_ROBIN_NANOS;
            if !at_head {
                record.turn_nanos.store(0, Relaxed);
            }
        }
        // SAFETY: the record is alive and in no queue: the caller has just got the right to run it.
        unsafe { queue.insert(record, urgency, at_head) };
        let between_tasks = here == target && matches!(cause, Cause::Requeue | Cause::Steal);
        let tell = !between_tasks && self.must_tell(hart, &queue, urgency, age, here == target);
        let must_wait = !between_tasks && queue.running() >= urgency || queue.len() > 1;
        let affinity = record.affinity();
        // From here on the task may run and end: `record` is not touched any more.
        drop(queue);
        if tell {
            self.interrupt(target);
        }
        if must_wait {
            self.wake_idle_hart(affinity.without(target));
        }
    }

    /// What the new task means for the hart that runs something. Called with the queue locked. Returns whether the hart
    /// must be interrupted.
    fn must_tell(
        &self,
        hart: &Hart,
        queue: &LockedQueue<'_>,
        urgency: Urgency,
        age: u64,
        is_here: bool,
    ) -> bool {
        let running = queue.running();
        if running == Urgency::NONE {
            // Idle, or between two tasks: on this hart we are on our way to the queue ourselves.
            return !is_here;
        }
        let is_owed = urgency == Urgency::FAIR
            && running == Urgency::FAIR
            && queue.is_owed_the_hart(age)
            && (!is_here || hart.interrupt_depth.load(Relaxed) != 0);
        if urgency > running || is_owed {
            hart.need_resched.store(true, Relaxed);
            // Kernel code on this very hart is preempted at the end of an interrupt; if we are in none, send one.
            return !is_here || (urgency.is_realtime() && hart.interrupt_depth.load(Relaxed) == 0);
        }
        // The running task has got a competitor: it is to be looked at when its slice is over. An alarm that is armed for
        // a real-time task may be for the throttle alone, and too late for a turn.
        if hart.is_contested_at(running) && !(running.is_realtime() && urgency == running) {
            return false;
        }
        if is_here {
            hart.set_contested_at(running);
            hart.look_no_later_than(hart.clock.load(Relaxed) + WAKE_UP_GRANULARITY_NANOS);
        }
        !is_here
    }

    /// A task waits although it may run on a hart that is idle: wakes one, to steal it.
    #[inline(always)]
    fn wake_idle_hart(&self, allowed: HartMask) {
        if self.parking.has_idle(allowed) {
            self.wake_idle_hart_slow(allowed);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_idle_hart_slow(&self, allowed: HartMask) {
        if let Some(Claimed(idle)) = self.parking.claim(allowed) {
            self.interrupt(idle);
        }
    }

    /// Charges the task for the time since the hart's clock was set, and sets it to `now`.
    #[inline]
    pub(crate) fn charge(&self, hart: &Hart, record: &TaskRecord, now: Instant) -> u64 {
        // Both were read on this hart, whose time never goes back.
        let nanos = now.as_nanos().wrapping_sub(hart.clock.load(Relaxed));
        hart.clock.store(now.as_nanos(), Relaxed);
        record.add_run_time(nanos);
        hart.add_busy_time(nanos);
        let policy = record.policy();
        if policy.is_fair() {
            record.age.store(record.age.load(Relaxed).wrapping_add(aging(nanos, policy)), Relaxed);
        } else {
            self.charge_other(hart, record, nanos, now);
        }
        nanos
    }

    #[inline(never)]
    fn charge_other(&self, hart: &Hart, record: &TaskRecord, nanos: u64, now: Instant) {
        if record.policy().urgency().is_realtime() {
            self.charge_realtime(hart, nanos, now);
            record.turn_nanos.store(record.turn_nanos.load(Relaxed).wrapping_add(nanos), Relaxed);
        }
    }
}

/// A fair task comes back a little ahead of the others at most, however long it slept.
#[inline]
fn age_after_sleep(age: u64, queue: &LockedQueue<'_>) -> u64 {
    // The minimum never is below the credit.
    age.max(queue.minimum_age().wrapping_sub(SLEEPER_CREDIT_NANOS))
}

/// The urgency of a task of this policy that asks for this.
#[inline]
pub(crate) fn effective_urgency(policy: Policy, requests: Requests) -> Urgency {
    let urgency = policy.urgency();
    if requests.is_boosted() && urgency < Urgency::BOOSTED { Urgency::BOOSTED } else { urgency }
}

/// Which executor: on the machine there is only one, on the host each simulation has its own.
#[derive(Clone, Copy)]
pub(crate) struct ExecutorRef {
    #[cfg(not(target_os = "none"))]
    executor: &'static Executor,
}

#[cfg(target_os = "none")]
static EXECUTOR: Executor = Executor::new();

impl ExecutorRef {
    /// The executor of the machine that this code runs on.
    #[inline]
    pub(crate) fn current() -> Self {
        Self {
            #[cfg(not(target_os = "none"))]
            executor: crate::simulator::current_executor(),
        }
    }

    #[cfg(not(target_os = "none"))]
    pub(crate) fn new(executor: &'static Executor) -> Self {
        Self { executor }
    }

    #[inline]
    pub(crate) fn get(self) -> &'static Executor {
        #[cfg(target_os = "none")]
        return &EXECUTOR;
        #[cfg(not(target_os = "none"))]
        self.executor
    }

    pub(crate) fn spawn<F>(self, options: TaskOptions, future: F) -> TaskHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let here = HartId::current();
        let id = self.next_task_id.fetch_add(1, Relaxed);
        let record = TaskRecord::new(self, id, &options, here);
        record.age.store(self.hart(here).summary.minimum_age(), Relaxed);
        let (runnable, task) = task::create(record, future);
        self.trace(EventKind::Spawn, id, [0, 0]);
        // SAFETY: the waker is this task's.
        let reference = unsafe { TaskRef::new(runnable.metadata(), runnable.waker()) };
        runnable.schedule();
        TaskHandle::new(task, reference)
    }
}

impl std::ops::Deref for ExecutorRef {
    type Target = Executor;
    #[inline]
    fn deref(&self) -> &Executor {
        self.get()
    }
}
