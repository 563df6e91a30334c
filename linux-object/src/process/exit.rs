//! The end of threads and processes.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use linux_abi::process::WaitStatus;
use linux_abi::signal::{ActionFlags, SIG_IGN, SigAction, Signal};
use linux_abi::signal_info::{
    CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, ChildReport, SignalInfo,
};

use super::group::{newly_orphaned, release_orphaned};
use super::identity::IdentityTable;
use super::{FIRST_PROCESS, Process, TABLE};
use crate::thread::Thread;
use crate::{console, signal};

const CLOCK_TICK_MILLIS: u64 = 10;

/// The first act of a thread that ends, before anybody can learn of it. The last one to begin says how its process ended:
/// whoever learns of its end and ends then comes later.
pub fn begin_end(thread: &Thread) {
    let mut family = thread.process().family.lock();
    family.leaving += 1;
    if family.leaving == family.threads.len() && family.ending.is_none() {
        family.ending = thread.exit_status();
    }
}

/// The last act of a thread's future: it has left user mode for good and let go of its resources.
pub fn end_thread(thread: &Arc<Thread>) {
    let process = thread.process();
    let status = thread.exit_status().unwrap_or(WaitStatus::Exited(0));
    let usage = thread.usage();
    let resident = thread.resources().address_space.most_resident() * kernel_hal::PAGE_SIZE;
    let mut table = TABLE.lock();
    // The number of a process stays taken until somebody has waited for it: by the process.
    table.remove_thread(thread.id());
    let mut family = process.family.lock();
    family.remove_thread(thread.id());
    family.leaving -= 1;
    family.ended_threads.add(&usage);
    family.ended_threads.most_resident = family.ended_threads.most_resident.max(resident as u64);
    let bereaved = take_bereaved(&family.children, thread.id());
    if !family.threads.is_empty() {
        drop(family);
        drop(table);
        tell_of_death(&bereaved);
        process.thread_ended.wake_all();
        process.note_end_of_thread();
        return;
    }
    let status = family.ending.unwrap_or(status);
    *process.last_name.lock() = thread.name();
    process.fate.store(status.encode(), Ordering::Release);
    let orphans = core::mem::take(&mut family.children);
    let parent = family.parent.upgrade();
    drop(family);
    assert!(process.id() != FIRST_PROCESS, "the first process ended: {status:?}");

    let dead_orphans = adopt(&table, process, &orphans);
    let orphaned = newly_orphaned(&table, process, &orphans);
    drop(table);

    process.timers().end();
    tell_of_death(&bereaved);
    process.ended.wake_all();
    if process.session() == process.id() {
        console::session_ended(process.id());
    }
    release_orphaned(&orphaned);
    if let Some(parent) = parent {
        announce(&parent, process, status);
    }
    for orphan in dead_orphans {
        let adopter = orphan.family.lock().parent.upgrade();
        if let (Some(adopter), Some(fate)) = (adopter, orphan.fate()) {
            announce(&adopter, &orphan, decode(fate));
        }
    }
}

/// The children that get a signal because the thread that made them ends; they belong to the other threads from now on.
fn take_bereaved(children: &[Arc<Process>], thread: i32) -> Vec<(Arc<Process>, Signal)> {
    let mut bereaved = Vec::new();
    for child in children.iter().filter(|child| child.creator.load(Ordering::Relaxed) == thread) {
        child.creator.store(0, Ordering::Relaxed);
        if let Some(signal) = child.parent_death_signal() {
            bereaved.push((child.clone(), signal));
        }
    }
    bereaved
}

fn tell_of_death(bereaved: &[(Arc<Process>, Signal)]) {
    for (child, signal) in bereaved {
        signal::send_to_process(child, *signal, SignalInfo::kernel(*signal));
    }
}

fn decode(fate: u32) -> WaitStatus {
    match fate & 0x7f {
        0 => WaitStatus::Exited((fate >> 8) as u8),
        signal => WaitStatus::Killed { signal: signal as u8, core_dumped: fate & 0x80 != 0 },
    }
}

/// Tells a parent that its child has ended. One that does not care for its children never sees them again.
fn announce(parent: &Arc<Process>, child: &Arc<Process>, status: WaitStatus) {
    let signal = Signal::new(child.exit_signal.load(Ordering::Relaxed).into());
    if signal == Some(Signal::SIGCHLD) {
        let action = parent.signal_action(Signal::SIGCHLD).unwrap_or_default();
        let reaps = ActionFlags::from_bits_retain(action.sa_flags).contains(ActionFlags::NOCLDWAIT);
        if action.sa_handler == SIG_IGN || reaps {
            reap(parent, child);
        }
    }
    match signal {
        Some(Signal::SIGCHLD) => {
            signal::send_to_process(parent, Signal::SIGCHLD, SignalInfo::child(report(child, status)));
        }
        Some(signal) => signal::send_to_process(parent, signal, SignalInfo::kernel(signal)),
        None => {}
    }
    parent.child_event.wake_all();
}

/// Takes an ended child off the table without its parent having waited for it.
fn reap(parent: &Process, child: &Arc<Process>) {
    let mut table = TABLE.lock();
    let mut family = parent.family.lock();
    family.children.retain(|other| !Arc::ptr_eq(other, child));
    drop(family);
    let entry = table.remove_process(child.id());
    drop(table);
    drop(entry);
}

impl Process {
    /// What a signal does to it; `None` if it has ended.
    pub(super) fn signal_action(&self, signal: Signal) -> Option<SigAction> {
        self.with_threads(|threads| threads.first().map(|thread| thread.signal_action(signal)))
    }
}

pub(super) fn report(process: &Process, status: WaitStatus) -> ChildReport {
    let (code, status) = match status {
        WaitStatus::Exited(code) => (CLD_EXITED, i32::from(code)),
        WaitStatus::Killed { signal, core_dumped: false } => (CLD_KILLED, i32::from(signal)),
        WaitStatus::Killed { signal, core_dumped: true } => (CLD_DUMPED, i32::from(signal)),
        WaitStatus::Stopped(signal) => (CLD_STOPPED, i32::from(signal)),
        WaitStatus::Continued => (CLD_CONTINUED, i32::from(Signal::SIGCONT.number())),
    };
    let user = process.credentials().real_user;
    let usage = process.family.lock().ended_threads;
    let ticks = |time: core::time::Duration| (time.as_millis() as u64 / CLOCK_TICK_MILLIS) as i64;
    ChildReport {
        code,
        process: process.id(),
        user,
        status,
        user_ticks: ticks(usage.user),
        system_ticks: ticks(usage.system),
    }
}

/// Gives children without a parent to the nearest ancestor that adopts orphans, or to the first process. Returns those that
/// have already ended.
fn adopt(table: &IdentityTable, process: &Process, orphans: &[Arc<Process>]) -> Vec<Arc<Process>> {
    if orphans.is_empty() {
        return Vec::new();
    }
    let mut ancestor = process.family.lock().parent.upgrade();
    let adopter = loop {
        match ancestor {
            None => break table.process(FIRST_PROCESS).cloned(),
            Some(found) if found.adopts_orphans() && found.fate().is_none() => break Some(found),
            Some(found) => ancestor = found.family.lock().parent.upgrade(),
        }
    };
    let Some(adopter) = adopter else { return Vec::new() };
    let mut ended = Vec::new();
    for orphan in orphans {
        orphan.parent_id.store(adopter.id, Ordering::Relaxed);
        // Whatever it was to send to the parent who made it: an adopter expects this.
        orphan.exit_signal.store(Signal::SIGCHLD.number(), Ordering::Relaxed);
        orphan.family.lock().parent = Arc::downgrade(&adopter);
        if orphan.fate().is_some() {
            ended.push(orphan.clone());
        }
        adopter.family.lock().children.push(orphan.clone());
    }
    ended
}
