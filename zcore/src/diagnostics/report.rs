//! The parts of the panic report. None takes a lock: what is locked is left out and said to be.

use executor::{Activity, Class, TaskRecord};
use kernel_hal::{HartId, Instant};
use kernel_object::frame::{self, FrameKind};

use super::halt;
use crate::backtrace;
use crate::panic::{BootConsole, say};

const MOST_TASKS: usize = 64;
const EVENTS_PER_HART: usize = 16;
const FRAMES_PER_MIB: usize = 256;

/// In the order in which they are printed; `panic.rs` says what happens if one fails.
pub static STAGES: [fn(); 6] = [current_task, own_backtrace, halt::let_others_report, events, tasks, memory];

fn current_task() {
    let here = HartId::current();
    match executor::current_task() {
        Some(task) => {
            let record = task.record();
            say!("{here} runs task {} ({}), {}", record.id(), record.name(), Shown(record.class()));
            // The report may be the last user of the task: it is never freed.
            core::mem::forget(task);
        }
        None => say!("{here} runs no task"),
    }
}

fn own_backtrace() {
    say!("call trace:");
    // Nobody listens to errors of the console.
    let _ = backtrace::print(&mut BootConsole);
}

/// One line about what a hart does, as the scheduler knows it.
pub fn hart(hart: HartId) {
    let state = executor::hart_state(hart);
    let activity = match (state.is_running, state.is_idle) {
        (true, _) => "runs",
        (false, true) => "sleeps, and last ran",
        (false, false) => "runs nothing, and last ran",
    };
    say!(
        "{hart} {activity} task {}; {} ready, {} preempted, alarm {}",
        state.last_task,
        state.ready,
        state.preemption_depth,
        In(state.alarm),
    );
}

fn events() {
    if !executor::is_trace_enabled() {
        return say!("no events (trace=on records them)");
    }
    for hart in HartId::online().iter() {
        say!("last events on {hart}:");
        executor::for_each_event(hart, EVENTS_PER_HART, |event| {
            let micros = event.time.as_nanos() / 1000;
            let [first, second] = event.arguments;
            say!(
                "  [{:5}.{:06}] {:?} task {} ({first}, {second})",
                micros / 1_000_000,
                micros % 1_000_000,
                event.kind,
                event.task,
            );
        });
    }
}

/// All tasks, or as many as fit: those that run, then the others, newest first.
fn tasks() {
    let mut count = 0;
    say!("tasks:");
    for running in [true, false] {
        let is_free = executor::try_for_each_task(|record| {
            if (record.activity() == Activity::Running) == running {
                count += 1;
                if count <= MOST_TASKS {
                    task(record);
                }
            }
        });
        if !is_free {
            return say!("  the list is locked");
        }
    }
    if count > MOST_TASKS {
        say!("  and {} more", count - MOST_TASKS);
    }
}

fn task(record: &TaskRecord) {
    let activity = match record.activity() {
        Activity::Running => "running",
        Activity::Ready => "ready",
        Activity::Waiting => "waiting",
    };
    let accounting = record.accounting();
    say!(
        "  {:5} {:15} {activity:7} {:9} {} ran {} ms in {} polls",
        record.id(),
        record.name().as_str(),
        Shown(record.class()),
        record.hart(),
        accounting.run_time.as_millis(),
        accounting.polls,
    );
}

fn memory() {
    let statistics = frame::statistics();
    say!("memory: {} of {} MiB free", statistics.free / FRAMES_PER_MIB, statistics.total / FRAMES_PER_MIB);
    for (kind, frames) in FrameKind::ALL.into_iter().zip(statistics.used) {
        say!("  {frames:8} frames of kind {kind:?}");
    }
}

/// A class in a word.
struct Shown(Class);

impl core::fmt::Display for Shown {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Class::Fifo(priority) => write!(f, "fifo {priority}"),
            Class::RoundRobin(priority) => write!(f, "rr {priority}"),
            Class::Fair { nice } => write!(f, "nice {nice}"),
            Class::Idle => write!(f, "idle"),
        }
    }
}

/// How far away a moment is.
struct In(Option<Instant>);

impl core::fmt::Display for In {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let now = Instant::now();
        match self.0 {
            None => write!(f, "off"),
            Some(moment) if moment > now => write!(f, "in {} us", moment.nanos_since(now) / 1000),
            Some(moment) => write!(f, "due for {} us", now.nanos_since(moment) / 1000),
        }
    }
}
