//! The end of threads and processes.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use linux_abi::process::WaitStatus;
use linux_abi::signal::Signal;
use linux_abi::signal_info::{
    CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, ChildReport, SignalInfo,
};

use super::{Process, TABLE};
use crate::signal;
use crate::thread::Thread;

const FIRST_PROCESS: i32 = 1;

/// The last act of a thread's future: it has left user mode for good and let go of its resources.
pub fn end_thread(thread: &Arc<Thread>) {
    let process = thread.process();
    let status = thread.exit_status().unwrap_or(WaitStatus::Exited(0));
    let mut table = TABLE.lock();
    if thread.id() != process.id() {
        table.remove_thread(thread.id());
    }
    let mut family = process.family.lock();
    family.threads.retain(|other| !Arc::ptr_eq(other, thread));
    if !family.threads.is_empty() {
        return;
    }
    let status = family.ending.unwrap_or(status);
    *process.last_name.lock() = thread.name();
    process.fate.store(status.encode(), Ordering::Release);
    let orphans = core::mem::take(&mut family.children);
    let parent = family.parent.upgrade();
    drop(family);
    assert!(process.id() != FIRST_PROCESS, "the first process ended: {status:?}");

    let has_dead_orphans = adopt(&table, orphans);
    let adopter = has_dead_orphans.then(|| table.process(FIRST_PROCESS).cloned()).flatten();
    drop(table);

    let report = SignalInfo::child(report(process, status));
    if let Some(parent) = parent {
        match process.exit_signal {
            Some(Signal::SIGCHLD) => signal::send_to_process(&parent, Signal::SIGCHLD, report),
            Some(signal) => signal::send_to_process(&parent, signal, SignalInfo::kernel(signal)),
            None => {}
        }
        parent.child_event.wake_all();
    }
    if let Some(adopter) = adopter {
        signal::send_to_process(&adopter, Signal::SIGCHLD, report);
        adopter.child_event.wake_all();
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
    ChildReport { code, process: process.id(), user, status, user_ticks: 0, system_ticks: 0 }
}

/// Gives children without a parent to the first process. Returns whether one of them has already ended.
fn adopt(table: &super::identity::IdentityTable, orphans: Vec<Arc<Process>>) -> bool {
    let Some(adopter) = table.process(FIRST_PROCESS).cloned() else { return false };
    let mut has_ended = false;
    for orphan in orphans {
        orphan.parent_id.store(adopter.id, Ordering::Relaxed);
        orphan.family.lock().parent = Arc::downgrade(&adopter);
        has_ended |= orphan.fate().is_some();
        adopter.family.lock().children.push(orphan);
    }
    has_ended
}
