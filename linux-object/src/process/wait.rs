//! Waiting for children.

use core::sync::atomic::Ordering;

use linux_abi::Errno;
use linux_abi::process::{__WALL, __WCLONE, __WNOTHREAD, WaitFlags};
use linux_abi::signal::Signal;

use super::{Process, TABLE, Usage};
use crate::thread::Thread;

/// Which children are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitSelector {
    /// Every child.
    Any,
    /// The child with this number.
    Process(i32),
    /// Children of this process group.
    Group(i32),
}

/// A child that changed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitedChild {
    /// Its number.
    pub id: i32,
    /// What happened to it, encoded as for `wait4`.
    pub status: u32,
    /// Its real user.
    pub user: u32,
    /// What it and the children that it waited for have used.
    pub usage: Usage,
}

impl WaitSelector {
    fn matches(self, child: &Process) -> bool {
        match self {
            Self::Any => true,
            Self::Process(id) => child.id() == id,
            Self::Group(group) => child.group() == group,
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub struct WaitRequest {
    /// Which children.
    pub selector: WaitSelector,
    /// Which changes.
    pub flags: WaitFlags,
    /// `__WALL`, `__WCLONE` and `__WNOTHREAD`.
    pub kinds: u32,
}

impl WaitRequest {
    fn matches(&self, thread: &Thread, child: &Process) -> bool {
        let is_clone = child.exit_signal.load(Ordering::Relaxed) != Signal::SIGCHLD.number();
        let is_of_kind = self.kinds & __WALL != 0 || is_clone == (self.kinds & __WCLONE != 0);
        let creator = child.creator.load(Ordering::Relaxed);
        let is_own = self.kinds & __WNOTHREAD == 0 || creator == thread.id() || creator == 0;
        is_of_kind && is_own && self.selector.matches(child)
    }
}

fn describe(child: &Process, status: u32) -> WaitedChild {
    let mut usage = child.usage();
    usage.add(&child.usage_of_children());
    WaitedChild { id: child.id(), status, user: child.credentials().real_user, usage }
}

/// Looks for a child that did what is waited for. One that ended is taken off the table unless `NOWAIT`. `Ok(None)`: there are
/// children, but nothing has happened to them. `ECHILD`: there is none to wait for.
pub fn try_wait(thread: &Thread, request: &WaitRequest) -> Result<Option<WaitedChild>, Errno> {
    let flags = request.flags;
    let mut table = TABLE.lock();
    let (child, status, index) = {
        let family = thread.process().family.lock();
        let mut candidates =
            family.children.iter().enumerate().filter(|(_, child)| request.matches(thread, child)).peekable();
        if candidates.peek().is_none() {
            return Err(Errno::ECHILD);
        }
        let found = candidates.find_map(|(index, child)| match child.fate() {
            Some(fate) => flags.contains(WaitFlags::EXITED).then_some((child.clone(), fate, Some(index))),
            None => Some((child.clone(), child.stop_state.take_report(flags)?, None)),
        });
        match found {
            Some(found) => found,
            None => return Ok(None),
        }
    };
    let waited = describe(&child, status);
    if let Some(index) = index.filter(|_| !flags.contains(WaitFlags::NOWAIT)) {
        let mut family = thread.process().family.lock();
        let removed = family.children.swap_remove(index);
        family.ended_children.add(&waited.usage);
        drop(family);
        let entry = table.remove_process(child.id());
        drop(table);
        // The last references may be these: not to be dropped under a lock.
        drop((removed, entry));
    }
    Ok(Some(waited))
}
