//! How threads share the harts: Linux's policies, and what the executor makes of them.
//!
//! `SCHED_FIFO` and `SCHED_RR` are the executor's real-time classes, `SCHED_OTHER` and `SCHED_BATCH` its fair one, `SCHED_IDLE`
//! its idle one. Deadline scheduling is not supported.

use executor::Class;
use kernel_hal::{HartId, HartMask};
use linux_abi::Errno;
use linux_abi::resource::{RLIMIT_NICE, RLIMIT_RTPRIO};
use linux_abi::schedule::{
    NICE_VALUES, REAL_TIME_PRIORITIES, SCHED_BATCH, SCHED_FIFO, SCHED_IDLE, SCHED_NORMAL, SCHED_RR,
};

use crate::credentials::Capabilities;
use crate::thread::Thread;

/// How a thread is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    policy: u8,
    nice: i8,
    priority: u8,
    /// Whether children start as normal ones.
    pub resets_on_fork: bool,
    affinity: HartMask,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            policy: SCHED_NORMAL as u8,
            nice: 0,
            priority: 0,
            resets_on_fork: false,
            affinity: HartMask::ALL,
        }
    }
}

impl Schedule {
    /// The policy's number.
    pub fn policy(&self) -> u32 {
        self.policy.into()
    }

    /// The nice value, which real-time policies remember.
    pub fn nice(&self) -> i32 {
        self.nice.into()
    }

    /// The real-time priority; 0 for the other policies.
    pub fn priority(&self) -> i32 {
        self.priority.into()
    }

    /// Where the thread may run, of the harts that are online.
    pub fn affinity(&self) -> HartMask {
        self.affinity.intersection(HartId::online())
    }

    /// The executor's class.
    pub fn class(&self) -> Class {
        match self.policy() {
            SCHED_FIFO => Class::Fifo(self.priority),
            SCHED_RR => Class::RoundRobin(self.priority),
            SCHED_IDLE => Class::Idle,
            _ => Class::Fair { nice: self.nice },
        }
    }

    /// The executor's affinity.
    pub fn hart_mask(&self) -> HartMask {
        self.affinity
    }

    /// What a thread starts with that one with this schedule makes.
    pub fn inherit(&self) -> Self {
        if !self.resets_on_fork {
            return *self;
        }
        let nice = if is_real_time(self.policy()) { 0 } else { self.nice.max(0) };
        Self { nice, affinity: self.affinity, ..Self::default() }
    }

    /// This schedule with another policy: `EINVAL` if that does not exist or the priority is none of its own.
    pub fn with_policy(&self, policy: u32, priority: i32) -> Result<Self, Errno> {
        let is_valid = match policy {
            SCHED_FIFO | SCHED_RR => REAL_TIME_PRIORITIES.contains(&priority),
            SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE => priority == 0,
            _ => false,
        };
        if !is_valid {
            return Err(Errno::EINVAL);
        }
        Ok(Self { policy: policy as u8, priority: priority as u8, ..*self })
    }

    /// This schedule with another nice value, brought into range.
    pub fn with_nice(&self, nice: i32) -> Self {
        Self { nice: nice.clamp(*NICE_VALUES.start(), *NICE_VALUES.end()) as i8, ..*self }
    }
}

/// Whether a policy has priorities.
pub fn is_real_time(policy: u32) -> bool {
    matches!(policy, SCHED_FIFO | SCHED_RR)
}

/// Whether `caller` may change how `target` is scheduled at all.
pub fn may_change(caller: &Thread, target: &Thread) -> bool {
    let own = caller.credentials();
    let other = target.credentials();
    let user = own.effective_user;
    own.has(Capabilities::SYS_NICE) || user == other.real_user || user == other.effective_user
}

/// Whether a thread may be given this nice value by its process's limits.
pub fn may_have_nice(target: &Thread, nice: i32) -> bool {
    let limit = target.process().limits().get(RLIMIT_NICE as u32).rlim_cur;
    nice >= target.schedule().nice() || u64::try_from(20 - nice).is_ok_and(|wanted| wanted <= limit)
}

/// Gives `target` another policy, nice value or both.
pub fn change(caller: &Thread, target: &Thread, new: Schedule) -> Result<(), Errno> {
    let present = target.schedule();
    if !may_change(caller, target) {
        return Err(Errno::EPERM);
    }
    if !caller.credentials().has(Capabilities::SYS_NICE) {
        let limit = target.process().limits().get(RLIMIT_RTPRIO as u32).rlim_cur;
        let wants_more = new.priority > present.priority && u64::from(new.priority) > limit;
        let changes_policy = new.policy != present.policy && limit == 0;
        if is_real_time(new.policy()) && (wants_more || changes_policy) {
            return Err(Errno::EPERM);
        }
        let leaves_idle = present.policy() == SCHED_IDLE && new.policy() != SCHED_IDLE;
        let is_limited = |nice: i32| {
            let limit = target.process().limits().get(RLIMIT_NICE as u32).rlim_cur;
            u64::try_from(20 - nice).is_ok_and(|wanted| wanted > limit)
        };
        if new.nice < present.nice && is_limited(new.nice()) || leaves_idle && is_limited(present.nice()) {
            return Err(Errno::EPERM);
        }
        if present.resets_on_fork && !new.resets_on_fork {
            return Err(Errno::EPERM);
        }
    }
    target.set_schedule(new);
    Ok(())
}

/// Says where `target` may run: `EINVAL` if no hart that is online is left.
pub fn set_affinity(caller: &Thread, target: &Thread, harts: HartMask) -> Result<(), Errno> {
    if !may_change(caller, target) {
        return Err(Errno::EPERM);
    }
    if harts.intersection(HartId::online()).is_empty() {
        return Err(Errno::EINVAL);
    }
    target.set_schedule(Schedule { affinity: harts, ..target.schedule() });
    Ok(())
}

impl Thread {
    /// How it is scheduled.
    pub fn schedule(&self) -> Schedule {
        *self.schedule.lock()
    }

    /// Schedules it in another way, from now on.
    pub(crate) fn set_schedule(&self, new: Schedule) {
        *self.schedule.lock() = new;
        self.apply_schedule();
    }

    /// Tells the executor how the thread is to be scheduled.
    pub fn apply_schedule(&self) {
        let schedule = self.schedule();
        let Some(task) = self.task() else { return };
        if task.record().class() != schedule.class() && task.set_class(schedule.class()).is_err() {
            log::warn!("thread {}: {:?} is no class of the executor", self.id(), schedule.class());
        }
        // A mask without a hart that is online was refused when it was set.
        if task.record().affinity() != schedule.affinity {
            let _ = task.set_affinity(schedule.affinity);
        }
    }
}
