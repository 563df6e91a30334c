//! Process groups and sessions, and what happens to a stopped group that nobody is left to continue.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use linux_abi::Errno;
use linux_abi::signal::Signal;
use linux_abi::signal_info::SignalInfo;

use super::identity::IdentityTable;
use super::{Process, TABLE};
use crate::signal;

/// Why a process cannot be put into a group.
pub type GroupError = Errno;

/// Puts a process, the caller's own or its child, into a group of its session; 0 stands for the caller, and for the process's
/// own number.
pub fn set_group(caller: &Arc<Process>, id: i32, group: i32) -> Result<(), GroupError> {
    if group < 0 {
        return Err(Errno::EINVAL);
    }
    let table = TABLE.lock();
    let id = if id == 0 { caller.id() } else { id };
    let target = table.process(id).ok_or(Errno::ESRCH)?;
    if target.id() != caller.id() {
        if target.parent_id() != caller.id() {
            return Err(Errno::ESRCH);
        }
        if target.session() != caller.session() {
            return Err(Errno::EPERM);
        }
        if target.has_executed.load(Ordering::Relaxed) {
            return Err(Errno::EACCES);
        }
    }
    if target.session() == target.id() {
        return Err(Errno::EPERM);
    }
    let group = if group == 0 { target.id() } else { group };
    let exists = group == target.id()
        || table.processes().any(|other| other.group() == group && other.session() == caller.session());
    if !exists {
        return Err(Errno::EPERM);
    }
    target.group.store(group, Ordering::Relaxed);
    Ok(())
}

/// Makes a process the leader of a session and a group of its own; returns their number.
pub fn start_session(process: &Process) -> Result<i32, GroupError> {
    let table = TABLE.lock();
    if table.processes().any(|other| other.group() == process.id()) {
        return Err(Errno::EPERM);
    }
    process.session.store(process.id(), Ordering::Relaxed);
    process.group.store(process.id(), Ordering::Relaxed);
    Ok(process.id())
}

/// Whether nobody outside of a group, but in its session, is left who could continue its members.
fn is_orphaned(table: &IdentityTable, group: i32, session: i32) -> bool {
    let is_member = |other: &&Arc<Process>| other.group() == group && other.fate().is_none();
    !table.processes().filter(is_member).any(|member| {
        table.process(member.parent_id()).is_some_and(|parent| {
            !parent.is_first() && parent.group() != group && parent.session() == session
        })
    })
}

impl Process {
    /// Whether its group is an orphaned one, which the terminal cannot stop.
    pub fn is_in_orphaned_group(&self) -> bool {
        is_orphaned(&TABLE.lock(), self.group(), self.session())
    }
}

/// The members of stopped groups that are orphaned because `process` has ended: its own group, and those of its former
/// children. Called when its end is noted and the children have another parent.
pub(super) fn newly_orphaned(
    table: &IdentityTable,
    process: &Process,
    children: &[Arc<Process>],
) -> Vec<Arc<Process>> {
    let guards = |guardian: &Process, ward: &Process| {
        guardian.group() != ward.group() && guardian.session() == ward.session()
    };
    let mut groups: Vec<(i32, i32)> = Vec::new();
    if table.process(process.parent_id()).is_some_and(|parent| guards(parent, process)) {
        groups.push((process.group(), process.session()));
    }
    let wards = children.iter().filter(|child| guards(process, child));
    groups.extend(wards.map(|child| (child.group(), child.session())));
    groups.sort_unstable();
    groups.dedup();
    let mut members = Vec::new();
    for (group, session) in groups {
        let is_member = |other: &&Arc<Process>| other.group() == group && other.fate().is_none();
        let has_stopped = table.processes().filter(is_member).any(|member| member.is_stopped());
        if has_stopped && is_orphaned(table, group, session) {
            members.extend(table.processes().filter(is_member).cloned());
        }
    }
    members
}

/// Tells the members of an orphaned group.
pub(super) fn release_orphaned(members: &[Arc<Process>]) {
    for signal in [Signal::SIGHUP, Signal::SIGCONT] {
        for member in members {
            signal::send_to_process(member, signal, SignalInfo::kernel(signal));
        }
    }
}
