//! How long a task may run while others want to: slices, turns, the real-time throttle, the watchdog.
//!
//! A hart that runs the only task there is has no slice and no alarm for one. The first competitor makes it look at the
//! running task after a third of its slice, and again when the slice is over; the look is not moved when tasks change in the meantime, so a quick succession
//! of tasks costs no alarm. Nothing here stops kernel code: a look that finds the slice used up sets a flag that user
//! loops ask ([`crate::need_resched`]).

use std::sync::atomic::Ordering::Relaxed;

use kernel_hal::Instant;

use crate::class::Urgency;
use crate::executor::{Executor, OverrunReport};
use crate::hart::{Hart, NEVER};
use crate::run_queue::LockedQueue;
use crate::task::TaskRecord;
use crate::trace_ring::EventKind;

/// How long a fair task runs while another is ready: three milliseconds and a bit, since a constant with many zero bits
/// at its end is one instruction.
pub(crate) const SLICE_NANOS: u64 = 3 << 20;
/// Looks at the running task are at least this far apart.
const SHORTEST_LOOK_NANOS: u64 = 1_000_000;
/// How long a round-robin task runs while another of its priority is ready, as on Linux.
pub(crate) const ROUND_ROBIN_NANOS: u64 = 100_000_000;
/// The period of the real-time throttle, and what real-time tasks may use of it, as on Linux.
/// How long a fair task runs while another is ready.
pub const FAIR_SLICE: std::time::Duration = std::time::Duration::from_nanos(SLICE_NANOS);
/// How long a round-robin task runs while another of its priority is ready.
pub const ROUND_ROBIN_TURN: std::time::Duration = std::time::Duration::from_nanos(ROUND_ROBIN_NANOS);
const REALTIME_PERIOD_NANOS: u64 = 1_000_000_000;
pub(crate) const DEFAULT_REALTIME_BUDGET_NANOS: u64 = 950_000_000;
/// How far ahead of the others a fair task may come back from a sleep.
pub(crate) const SLEEPER_CREDIT_NANOS: u64 = 3 << 20;
/// How much younger than the running task a fair task must be to be run before its slice is over; so long the running
/// task has the hart in any case, or who answers many would be interrupted by each of them in turn. Only what an interrupt
/// woke need not wait for that.
pub(crate) const WAKE_UP_GRANULARITY_NANOS: u64 = 1 << 20;

impl Executor {
    /// Adds to what real-time tasks have used of the period.
    #[inline]
    pub(crate) fn charge_realtime(&self, hart: &Hart, nanos: u64, now: Instant) {
        self.roll_period(hart, now);
        let used = hart.realtime_nanos.load(Relaxed);
        let budget = self.realtime_budget_nanos.load(Relaxed);
        hart.realtime_nanos.store(used.saturating_add(nanos), Relaxed);
        if used < budget && used.saturating_add(nanos) >= budget {
            self.trace(EventKind::Throttle, 0, [used + nanos, 0]);
        }
    }

    #[inline]
    fn roll_period(&self, hart: &Hart, now: Instant) {
        let start = hart.realtime_period_start.load(Relaxed);
        let since = now.as_nanos().saturating_sub(start);
        if since >= REALTIME_PERIOD_NANOS {
            // Periods follow each other without a gap unless nothing happened for a whole one.
            let next = if since < 2 * REALTIME_PERIOD_NANOS {
                start + REALTIME_PERIOD_NANOS
            } else {
                now.as_nanos()
            };
            hart.realtime_period_start.store(next, Relaxed);
            hart.realtime_nanos.store(0, Relaxed);
        }
    }

    /// Whether real-time tasks have used up their share of the present period.
    #[inline]
    pub(crate) fn is_throttled(&self, hart: &Hart, now: Instant) -> bool {
        let budget = self.realtime_budget_nanos.load(Relaxed);
        if hart.realtime_nanos.load(Relaxed) < budget {
            return false;
        }
        self.roll_period(hart, now);
        hart.realtime_nanos.load(Relaxed) >= budget
    }

    /// When the running task is to be looked at, if it began at `now`. Called with the queue locked.
    #[inline]
    pub(crate) fn next_look(
        &self,
        hart: &Hart,
        queue: &LockedQueue<'_>,
        record: &TaskRecord,
        now: Instant,
    ) -> u64 {
        let watchdog = match self.poll_budget_nanos.load(Relaxed) {
            NEVER => NEVER,
            budget => now.as_nanos() + budget,
        };
        if queue.len() == 0 {
            return watchdog;
        }
        watchdog.min(self.next_contested_look(hart, queue, record, now))
    }

    fn next_contested_look(
        &self,
        hart: &Hart,
        queue: &LockedQueue<'_>,
        record: &TaskRecord,
        now: Instant,
    ) -> u64 {
        let now = now.as_nanos();
        if !queue.running().is_realtime() {
            let throttle = match queue.top().is_realtime() {
                true => hart.realtime_period_start.load(Relaxed) + REALTIME_PERIOD_NANOS,
                false => NEVER,
            };
            let is_owed = queue.front_age().is_some_and(|age| queue.is_owed_the_hart(age));
            let turn = if is_owed { WAKE_UP_GRANULARITY_NANOS } else { SLICE_NANOS };
            return throttle.max(now).min(now + turn);
        }
        let mut look = NEVER;
        if record.policy().is_round_robin() && queue.has_peer(queue.running()) {
            look = now + ROUND_ROBIN_NANOS.saturating_sub(record.turn_nanos.load(Relaxed));
        }
        let budget = self.realtime_budget_nanos.load(Relaxed);
        if queue.has_ordinary() && budget != NEVER {
            look = look.min(now + budget.saturating_sub(hart.realtime_nanos.load(Relaxed)));
        }
        look
    }

    /// The moment to look at the running task has come: decides whether it should yield, and when to look again.
    /// On the hart itself, with interrupts masked.
    pub(crate) fn look_at_running_task(&self, hart: &Hart, now: Instant) {
        hart.slice_deadline.store(NEVER, Relaxed);
        let queue = hart.lock_queue();
        // SAFETY: the running task of this hart; it cannot end while we interrupt it.
        let Some(record) = (unsafe { hart.current.load(Relaxed).as_ref() }) else {
            // This hart is between two tasks. The next one is chosen without an alarm to rely on, so it gets one of its
            // own if there are others; or it has been chosen already, and looks itself, see `begin_poll`.
            hart.set_contested_at(Urgency::NONE);
            hart.need_resched.store(true, Relaxed);
            return;
        };
        let elapsed = now.nanos_since(hart.clock());
        let running = queue.running();
        let top = queue.top();
        let over = if running.is_realtime() {
            let turn = record.turn_nanos.load(Relaxed) + elapsed;
            let turn_over =
                record.policy().is_round_robin() && turn >= ROUND_ROBIN_NANOS && queue.has_peer(running);
            if turn_over {
                record.state.expire_slice();
            }
            let used = hart.realtime_nanos.load(Relaxed) + elapsed;
            let period_is_new =
                now.as_nanos() >= hart.realtime_period_start.load(Relaxed) + REALTIME_PERIOD_NANOS;
            let budget_over =
                used >= self.realtime_budget_nanos.load(Relaxed) && queue.has_ordinary() && !period_is_new;
            turn_over || budget_over || top > running
        } else {
            let slice_over = elapsed >= SLICE_NANOS;
            let younger_waits = elapsed >= WAKE_UP_GRANULARITY_NANOS
                && running == Urgency::FAIR
                && queue.front_age().is_some_and(|age| queue.is_owed_the_hart(age));
            if slice_over && running == Urgency::BOOSTED {
                record.state.expire_slice();
            }
            let realtime_may_run = top.is_realtime() && !self.is_throttled(hart, now);
            realtime_may_run
                || younger_waits
                || (slice_over && top >= running.min(Urgency::FAIR))
                || (top > running && !top.is_realtime())
        };
        if over {
            hart.need_resched.store(true, Relaxed);
        }
        // A task that has just begun is looked at when its own slice is over.
        let begin = if over { now } else { hart.clock() };
        let mut look = self.next_look(hart, &queue, record, begin);
        if look <= now.as_nanos() {
            // That moment has passed and nothing came of it: the next one counts from now, or the alarm would go off
            // again at once, for ever.
            look = self.next_look(hart, &queue, record, now);
        }
        hart.slice_deadline.store(look.max(now.as_nanos() + SHORTEST_LOOK_NANOS), Relaxed);
        hart.set_contested_at(if queue.len() != 0 { running } else { Urgency::NONE });
        drop(queue);
        self.watch(hart, record, now);
    }

    /// The watchdog's look during a poll.
    fn watch(&self, hart: &Hart, record: &TaskRecord, now: Instant) {
        let budget = self.poll_budget_nanos.load(Relaxed);
        if budget == NEVER {
            return;
        }
        // Another poll than the last look saw, or one that has got on since.
        let poll = u64::from(record.id()) << 32 | record.polls() & u64::from(u32::MAX);
        let is_new = hart.watched_poll.swap(poll, Relaxed) != poll;
        if is_new {
            hart.watched_since.store(hart.clock.load(Relaxed), Relaxed);
        }
        if hart.made_progress.swap(false, Relaxed) {
            hart.watched_since.store(now.as_nanos(), Relaxed);
        }
        let nanos = now.as_nanos().saturating_sub(hart.watched_since.load(Relaxed));
        if nanos > budget {
            self.report_overrun(record, nanos);
        }
    }

    /// The watchdog's look at the end of a poll that took too long since it began or was last interrupted.
    #[cold]
    pub(crate) fn watch_end(&self, hart: &Hart, record: &TaskRecord, nanos: u64) {
        if !hart.made_progress.load(Relaxed) {
            self.report_overrun(record, nanos);
        }
    }

    #[cold]
    fn report_overrun(&self, record: &TaskRecord, nanos: u64) {
        if !record.state.report_overrun() {
            return;
        }
        self.trace(EventKind::Overrun, record.id(), [nanos, 0]);
        let report = self.overrun_report.load(Relaxed);
        if !report.is_null() {
            // SAFETY: only `set_watchdog` stores here, an `OverrunReport`.
            let report = unsafe { std::mem::transmute::<*mut (), OverrunReport>(report) };
            report(record.name(), record.id(), nanos);
        }
    }

    pub(crate) fn set_watchdog(&self, budget_nanos: u64, report: OverrunReport) {
        self.overrun_report.store(report as *mut (), Relaxed);
        self.poll_budget_nanos.store(budget_nanos, Relaxed);
        self.watchdog_enabled.store(budget_nanos != NEVER, Relaxed);
        self.update_notable_polls();
    }
}
