//! Tasks that change their place without having been woken: stealing, and changes of class and affinity.

use std::sync::atomic::{Ordering, Ordering::Relaxed, fence};

use kernel_hal::{HartId, HartMask, MAX_HARTS};

use crate::class::{Class, Policy, Urgency};
use crate::executor::{Cause, Executor, effective_urgency};
use crate::slice::SLICE_NANOS;
use crate::task::{Place, TaskRecord};
use crate::trace_ring::EventKind;

impl Executor {
    /// A fair task's age on another hart: as far from the minimum there as it was here.
    pub(crate) fn translate_age(&self, record: &TaskRecord, from: HartId, to: HartId) -> u64 {
        let minimum = |hart: HartId| self.hart(hart).summary.minimum_age();
        let lag = record.age.load(Relaxed).wrapping_sub(minimum(from)) as i64;
        minimum(to).saturating_add_signed(lag)
    }

    /// Takes a task from another hart's queue into this one's. Returns whether there was one.
    pub(crate) fn steal(&self, here: HartId) -> bool {
        let online = self.online();
        if online == HartMask::only(here) {
            return false;
        }
        for step in 1..MAX_HARTS {
            let victim = HartId::new((here.index() + step) % MAX_HARTS);
            if !online.contains(victim) || self.hart(victim).summary.len() == 0 {
                continue;
            }
            let mut queue = self.hart(victim).lock_queue();
            let Some(record) = queue.take_for_thief(|record| record.affinity().contains(here)) else {
                continue;
            };
            // SAFETY: it came out of a queue with its right to run, so it is alive.
            let record = unsafe { &*record };
            record.place.store(Place::NOWHERE, Relaxed);
            drop(queue);
            self.trace(EventKind::Steal, record.id(), [victim.index() as u64, 0]);
            let age = self.translate_age(record, victim, here);
            self.enqueue(record, here, here, Cause::Steal, record.state.peek(), age);
            return true;
        }
        false
    }

    /// Changes a task's class, wherever the task is.
    pub(crate) fn set_class(&self, record: &TaskRecord, class: Class) {
        record.store_policy(Policy::of(class));
        self.reinsert(record);
    }

    /// Changes where a task may run, wherever the task is.
    pub(crate) fn set_affinity(&self, record: &TaskRecord, affinity: HartMask) {
        record.store_affinity(affinity);
        self.reinsert(record);
    }

    /// Makes a change of a task's policy take effect: a ready task gets a new place, a running one is compared anew.
    fn reinsert(&self, record: &TaskRecord) {
        // Between storing the policy and reading where the task is; the twin is in `enqueue`. Whoever puts the task
        // into a queue meanwhile reads the new policy, or is seen here.
        fence(Ordering::SeqCst);
        loop {
            let home = record.hart();
            let hart = self.hart(home);
            let mut queue = hart.lock_queue();
            if record.hart() != home {
                continue;
            }
            if Place::is_queued(record.place.load(Relaxed)) {
                // SAFETY: `place` and `home`, read under this queue's lock, say that it is in this queue.
                unsafe { queue.remove(record) };
                record.place.store(Place::NOWHERE, Relaxed);
                drop(queue);
                let requests = record.state.peek();
                let urgency = effective_urgency(record.policy(), requests);
                let target = self.place_slow(record.affinity(), home, Cause::Move, urgency);
                let age = self.translate_age(record, home, target);
                self.enqueue(record, HartId::current(), target, Cause::Move, requests, age);
            } else if queue.is_current(record) {
                let running = effective_urgency(record.policy(), record.state.peek());
                queue.set_running(record, running, 0);
                // What was true of the slice of a task of the other class is not true of this one.
                hart.set_contested_at(Urgency::NONE);
                let must_leave = queue.top() > running || !record.affinity().contains(home);
                if must_leave {
                    hart.need_resched.store(true, Relaxed);
                }
                let is_remote = home != HartId::current();
                let has_others = queue.len() != 0;
                if has_others && !is_remote {
                    // Interrupts are masked by the lock.
                    hart.look_no_later_than(hart.clock().as_nanos() + SLICE_NANOS);
                }
                drop(queue);
                if is_remote && (must_leave || has_others) {
                    self.interrupt(home);
                }
            }
            return;
        }
    }
}
