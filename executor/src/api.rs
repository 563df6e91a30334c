//! The executor's functions: what tasks, interrupt handlers and the boot code call.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kernel_hal::{HartId, Instant};

use crate::class::Urgency;
use crate::executor::{ExecutorRef, OverrunReport};
use crate::hart::NEVER;
use crate::preempt::InterruptScope;
use crate::task::{TaskHandle, TaskOptions, TaskRecord, TaskRef};
use crate::trace_ring::{EventKind, TraceRecord};

/// Starts a task. It runs even if the handle is dropped.
pub fn spawn<F>(options: TaskOptions, future: F) -> TaskHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    ExecutorRef::current().spawn(options, future)
}

/// The task that this code is part of. `None` outside of a poll.
pub fn current_task() -> Option<TaskRef> {
    ExecutorRef::current().current_task()
}

/// Polls this hart's most urgent ready task once. Returns `false` if no task is ready.
pub fn run_one() -> bool {
    let executor = ExecutorRef::current();
    executor.run_one(executor.here())
}

/// Makes this hart run tasks for good, sleeping while there are none. Enables interrupts.
pub fn run_hart() -> ! {
    ExecutorRef::current().run_hart()
}

/// Whether something more urgent waits or the running task has had its share: user loops ask before they go back to
/// user mode, and `reschedule().await` if so. One load.
#[inline]
pub fn need_resched() -> bool {
    ExecutorRef::current().here().need_resched.load(Relaxed)
}

/// To be called when the hart's alarm goes off, with interrupts masked.
pub fn on_timer() {
    ExecutorRef::current().on_timer();
}

/// To be called when another hart asked this one to look at its run queue, with interrupts masked.
pub fn on_reschedule() {
    ExecutorRef::current().on_reschedule();
}

/// To be called as the last thing before an interrupt returns to kernel code, with interrupts masked and the preempt
/// count at zero. Runs real-time tasks that are above the interrupted one, and returns with interrupts masked.
pub fn preemption_point() {
    ExecutorRef::current().preemption_point();
}

/// Whether [`preemption_point`] would run something: for a caller who has something to keep for the interrupted code.
#[inline]
pub fn wants_preemption() -> bool {
    ExecutorRef::current().wants_preemption()
}

/// Runs a device's interrupt handler: tasks that it wakes know that an interrupt woke them.
#[inline]
pub fn in_interrupt<R>(handler: impl FnOnce() -> R) -> R {
    let executor = ExecutorRef::current();
    let hart = executor.here();
    let scope = InterruptScope::enter(hart);
    let result = handler();
    drop(scope);
    executor.come_back_if_held_off(hart);
    result
}

/// What a user loop calls each time before it enters user mode: the running task gets on with its work (the watchdog
/// starts anew), and is told whether it must give way, as by [`need_resched`]. A load and a store.
#[inline]
pub fn checkpoint() -> bool {
    let executor = ExecutorRef::current();
    let hart = executor.here();
    hart.made_progress.store(true, Relaxed);
    hart.need_resched.load(Relaxed)
}

/// Has polls reported that take longer than `budget`, each task once.
pub fn set_watchdog(budget: Duration, report: OverrunReport) {
    let nanos = u64::try_from(budget.as_nanos()).unwrap_or(NEVER);
    ExecutorRef::current().set_watchdog(nanos, report);
}

/// Sets how much of each second real-time tasks may use on a hart where others are ready. `None`: all of it.
pub fn set_realtime_budget(budget: Option<Duration>) {
    let nanos = budget.map_or(NEVER, |budget| u64::try_from(budget.as_nanos()).unwrap_or(NEVER));
    ExecutorRef::current().realtime_budget_nanos.store(nanos, Relaxed);
}

/// How many tasks there are.
pub fn task_count() -> usize {
    ExecutorRef::current().registry.count()
}

/// Calls `visit` for every task, newest first. No task can end meanwhile, so `visit` must be quick, and must not create
/// tasks.
pub fn for_each_task(visit: impl FnMut(&TaskRecord)) {
    ExecutorRef::current().registry.for_each(visit);
}

/// As [`for_each_task`] for a panicking kernel: returns `false` if the list is locked.
pub fn try_for_each_task(visit: impl FnMut(&TaskRecord)) -> bool {
    ExecutorRef::current().registry.try_for_each(visit)
}

/// Calls `function` while this hart's run queue is locked: for testing what a panic at that moment says. Nothing can be
/// woken meanwhile.
pub fn with_run_queue_locked<R>(function: impl FnOnce() -> R) -> R {
    let executor = ExecutorRef::current();
    let _queue = executor.here().lock_queue();
    function()
}

/// What a hart is doing, for reports.
#[derive(Clone, Copy, Debug)]
pub struct HartState {
    /// How many tasks are ready in its queue.
    pub ready: u32,
    /// Whether it runs a task.
    pub is_running: bool,
    /// Whether it sleeps.
    pub is_idle: bool,
    /// The number of the task that it runs or ran last.
    pub last_task: u32,
    /// How many preempted tasks wait on it.
    pub preemption_depth: u8,
    /// When its alarm goes off.
    pub alarm: Option<Instant>,
    /// Time that it spent on tasks; the present poll is not counted yet.
    pub busy: Duration,
    /// How often it changed from one task to another.
    pub switches: u64,
}

/// What a hart was doing a moment ago.
pub fn hart_state(hart: HartId) -> HartState {
    let executor = ExecutorRef::current();
    let state = executor.hart(hart);
    let armed = state.armed.load(Relaxed);
    HartState {
        ready: state.summary.len(),
        is_running: state.running() != Urgency::NONE,
        is_idle: executor.parking.idle().contains(hart),
        last_task: state.previous_task.load(Relaxed),
        preemption_depth: state.preemption_depth.load(Relaxed),
        busy: Duration::from_nanos(state.busy_nanos()),
        switches: state.switches(),
        alarm: (armed != NEVER).then(|| Instant::from_nanos(armed)),
    }
}

/// Turns recording in the trace rings on or off, on all harts.
pub fn set_trace_enabled(enabled: bool) {
    ExecutorRef::current().set_trace_enabled(enabled);
}

/// Whether events are recorded.
pub fn is_trace_enabled() -> bool {
    ExecutorRef::current().trace_enabled.load(Relaxed)
}

/// Calls `visit` for the last `count` events in a hart's trace ring, oldest first.
pub fn for_each_event(hart: HartId, count: usize, visit: impl FnMut(TraceRecord)) {
    ExecutorRef::current().trace_ring(hart).for_each_recent(count, visit);
}

/// Records an event of another crate in this hart's trace ring.
#[inline]
pub fn record_event(arguments: [u64; 2]) {
    let executor = ExecutorRef::current();
    executor.trace(EventKind::Custom, executor.here().previous_task.load(Relaxed), arguments);
}
