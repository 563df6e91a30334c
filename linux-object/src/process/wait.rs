//! Waiting for children.

use linux_abi::Errno;
use linux_abi::process::WaitFlags;

use super::{Process, TABLE};

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

/// Looks for a child that ended, or that stopped or went on if the flags ask for that. One that ended is taken off the
/// table unless `NOWAIT`. `Ok(None)`: there are children, but nothing has happened to them. `ECHILD`: there is none to wait for.
pub fn try_wait(
    process: &Process,
    selector: WaitSelector,
    flags: WaitFlags,
) -> Result<Option<WaitedChild>, Errno> {
    let mut table = TABLE.lock();
    let mut family = process.family.lock();
    if !family.children.iter().any(|child| selector.matches(child)) {
        return Err(Errno::ECHILD);
    }
    let changed = family.children.iter().filter(|child| selector.matches(child)).find_map(|child| {
        let status = child.stop_state.take_report(flags)?;
        Some(WaitedChild { id: child.id(), status })
    });
    if changed.is_some() {
        return Ok(changed);
    }
    let ended = family.children.iter().enumerate().find_map(|(index, child)| {
        let status = child.fate().filter(|_| selector.matches(child))?;
        Some((index, WaitedChild { id: child.id(), status }))
    });
    let Some((index, waited)) = ended else { return Ok(None) };
    if !flags.contains(WaitFlags::NOWAIT) {
        let child = family.children.swap_remove(index);
        drop(family);
        let entry = table.remove_process(child.id());
        drop(table);
        // The last references may be these: not to be dropped under a lock.
        drop((child, entry));
    }
    Ok(Some(waited))
}
