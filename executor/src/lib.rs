//! Tasks, priorities, run queues, stealing, preemption, parking, timers.
//!
//! Principles:
//! * A task is a future and a record in one allocation. Nothing on the way from a wake to the next poll allocates: run
//!   queues, timers and the list of tasks are linked through the records and through the futures that wait.
//! * Every hart has its own run queue. Real-time levels are strict and first-in first-out; the fair class shares by
//!   weight; a task goes back to the hart where it ran last unless it would wait there while another hart is idle; an
//!   idle hart steals before it sleeps.
//! * No tick. The alarm is armed for the earliest timer and, only while tasks compete for a hart, for the moment at
//!   which the running one has had its share. An idle hart without timers has no alarm.
//! * Two ways to lose the hart. User code is asked to ([`need_resched`]); kernel code is interrupted by real-time tasks
//!   only ([`preemption_point`]).
//! * The machine is a parameter: on the host each thread has an executor of its own, which the [`simulator`] drives
//!   with virtual time and seeded choices.
//!
//! Limits: a task cannot be created if there is no memory for it (the allocator's error ends the kernel); priorities are
//! not inherited through locks; real-time tasks are balanced only when they are woken.
//!
//! `docs/executor.md` tells the whole story.

#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
extern crate core as std;

pub mod parking;

// loom sees the parking protocol alone: async-task and the host twin are built on other atomics than its own.
#[cfg(not(loom))]
mod api;
#[cfg(not(loom))]
mod class;
#[cfg(not(loom))]
mod executor;
#[cfg(not(loom))]
mod fair_queue;
#[cfg(not(loom))]
mod fifo;
#[cfg(not(loom))]
mod hart;
#[cfg(not(loom))]
mod moving;
#[cfg(not(loom))]
mod preempt;
#[cfg(not(loom))]
mod registry;
#[cfg(not(loom))]
mod run;
#[cfg(not(loom))]
mod run_queue;
#[cfg(not(loom))]
mod slice;
#[cfg(not(loom))]
mod state;
#[cfg(not(loom))]
mod task;
#[cfg(not(loom))]
mod timer;
#[cfg(not(loom))]
mod yielding;

#[cfg(all(not(loom), not(target_os = "none")))]
pub mod simulator;
#[cfg(not(loom))]
pub mod trace_ring;

#[cfg(not(loom))]
pub use crate::{
    api::{
        HartState, checkpoint, current_task, for_each_event, for_each_task, hart_state, in_interrupt,
        is_trace_enabled, need_resched, on_reschedule, on_timer, preemption_point, record_event, run_hart,
        run_one, set_realtime_budget, set_trace_enabled, set_watchdog, spawn, task_count, try_for_each_task,
        wants_preemption, with_run_queue_locked,
    },
    class::Class,
    executor::OverrunReport,
    slice::{FAIR_SLICE, ROUND_ROBIN_TURN},
    task::{
        Accounting, Activity, InvalidClass, NoHartLeft, TaskHandle, TaskName, TaskOptions, TaskRecord,
        TaskRef,
    },
    timer::{Elapsed, Sleep, Timeout, sleep, sleep_until, timeout},
    yielding::{Yield, reschedule, yield_now},
};
