//! `mlock` and its like: who may lock how much.

use kernel_hal::{PAGE_SIZE, VirtAddr};
use kernel_object::address_space::{AddressSpace, LockAll, MapError};
use linux_abi::Errno;
use linux_abi::memory::LockAllFlags;
use linux_abi::resource::{RLIM_INFINITY, RLIMIT_MEMLOCK};

use crate::process::Process;

/// How much memory a process may lock.
#[derive(Clone, Copy, Debug)]
pub struct LockAllowance {
    bytes: usize,
}

impl LockAllowance {
    /// What a process may lock: its limit, or anything if it is privileged.
    pub fn of(process: &Process) -> Self {
        let limit = process.limits().get(RLIMIT_MEMLOCK as u32).rlim_cur;
        let is_unlimited = process.credentials().effective_user == 0 || limit == RLIM_INFINITY;
        Self { bytes: if is_unlimited { usize::MAX } else { limit as usize } }
    }

    /// Whether anything may be locked at all.
    pub fn check(self) -> Result<(), Errno> {
        if self.bytes == 0 { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Lets an address space heed it from now on.
    pub fn put_in_force(self, space: &AddressSpace) {
        space.set_lock_limit(self.bytes);
    }
}

/// A range of whole pages, as these calls round it; `None` if it is empty.
pub fn whole_pages(start: VirtAddr, len: usize) -> Result<Option<(VirtAddr, usize)>, Errno> {
    let inside = start.page_offset();
    let start = start.page_floor();
    let len = len
        .checked_add(inside)
        .and_then(|len| len.checked_next_multiple_of(PAGE_SIZE))
        .ok_or(Errno::EINVAL)?;
    start.checked_add(len).ok_or(Errno::EINVAL)?;
    Ok((len > 0).then_some((start, len)))
}

fn errno_of(error: MapError) -> Errno {
    match error {
        // Beyond user space there is nothing to lock.
        MapError::InvalidArgument => Errno::ENOMEM,
        other => super::map_errno(other),
    }
}

/// `mlock`, but for bringing the pages.
pub fn lock(
    space: &AddressSpace,
    start: VirtAddr,
    len: usize,
    on_fault: bool,
    allowance: LockAllowance,
) -> Result<(), Errno> {
    allowance.check()?;
    allowance.put_in_force(space);
    space.lock(start, len, on_fault).map_err(errno_of)
}

/// `munlock`.
pub fn unlock(space: &AddressSpace, start: VirtAddr, len: usize) -> Result<(), Errno> {
    space.unlock(start, len).map_err(errno_of)
}

/// `mlockall`, but for bringing the pages.
pub fn lock_all(space: &AddressSpace, flags: u32, allowance: LockAllowance) -> Result<LockAll, Errno> {
    let flags = LockAllFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if flags.is_empty() || flags == LockAllFlags::ONFAULT {
        return Err(Errno::EINVAL);
    }
    allowance.check()?;
    allowance.put_in_force(space);
    let what = LockAll {
        current: flags.contains(LockAllFlags::CURRENT),
        future: flags.contains(LockAllFlags::FUTURE),
        on_fault: flags.contains(LockAllFlags::ONFAULT),
    };
    space.lock_all(what).map_err(errno_of)?;
    Ok(what)
}
