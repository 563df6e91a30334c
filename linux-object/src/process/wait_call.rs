//! `waitid`: what is waited for, and how a program is told of what was found.

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use linux_abi::process::{
    __WALL, __WCLONE, __WNOTHREAD, P_ALL, P_PGID, P_PID, P_PIDFD, WaitFlags, WaitStatus,
};
use linux_abi::signal_info::{
    CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, ChildReport, SignalInfo, UserSignalInfo,
};
use zerocopy::FromZeros;

use super::{WaitRequest, WaitSelector, WaitedChild};
use crate::file::FileTable;
use crate::obstacle::Attempt;
use crate::process_fd::ProcessFd;
use crate::thread::Thread;
use crate::user_buffer::UserMemory;

/// Which kinds of children, among the options.
pub const KINDS: u32 = __WALL | __WCLONE | __WNOTHREAD;

/// What a call waits for.
pub struct WaitCall {
    /// Which children, and which changes of theirs.
    pub request: WaitRequest,
    /// That nothing has happened is an error: the descriptor by which the child is known does not wait.
    pub is_impatient: bool,
}

impl WaitCall {
    /// From the arguments of `waitid`.
    pub fn decode(
        thread: &Thread,
        files: &FileTable,
        (kind, id): (u32, i32),
        options: u32,
    ) -> Result<Self, Errno> {
        const CHANGES: WaitFlags = WaitFlags::EXITED.union(WaitFlags::UNTRACED).union(WaitFlags::CONTINUED);
        let flags = WaitFlags::from_bits(options & !KINDS).ok_or(Errno::EINVAL)?;
        if !flags.intersects(CHANGES) {
            return Err(Errno::EINVAL);
        }
        let mut is_impatient = false;
        let selector = match kind {
            P_ALL => WaitSelector::Any,
            P_PID if id > 0 => WaitSelector::Process(id),
            P_PGID if id == 0 => WaitSelector::Group(thread.process().group()),
            P_PGID if id > 0 => WaitSelector::Group(id),
            P_PIDFD if id >= 0 => {
                let file = files.get(id)?;
                is_impatient = file.is_nonblocking() && !flags.contains(WaitFlags::NOHANG);
                // Whoever has been waited for is nobody's child.
                let process = ProcessFd::of(&file)?.process().map_err(|_| Errno::ECHILD)?;
                WaitSelector::Process(process.id())
            }
            _ => return Err(Errno::EINVAL),
        };
        let flags = if is_impatient { flags | WaitFlags::NOHANG } else { flags };
        let request = WaitRequest { selector, flags, kinds: options & KINDS };
        Ok(Self { request, is_impatient })
    }
}

/// Tells the program what was found, if anything was.
pub fn try_tell(
    memory: &UserMemory,
    child: Option<&WaitedChild>,
    is_impatient: bool,
    info: VirtAddr,
    usage: VirtAddr,
) -> Attempt {
    if is_impatient && child.is_none() {
        return Err(Errno::EAGAIN.into());
    }
    if usage.as_usize() != 0
        && let Some(child) = child
    {
        memory.write(usage, &child.usage.encode())?;
    }
    if info.as_usize() != 0 {
        // Nothing has happened: the fields that a program looks at are zero.
        let found = child.map_or_else(SignalInfo::new_zeroed, describe);
        memory.write(info, &UserSignalInfo::from(found))?;
    }
    Ok(0)
}

fn describe(child: &WaitedChild) -> SignalInfo {
    let low = child.status & 0x7f;
    let (code, status) = match child.status {
        status if status == WaitStatus::Continued.encode() => (CLD_CONTINUED, 18),
        status if low == 0 => (CLD_EXITED, status >> 8),
        status if low == 0x7f => (CLD_STOPPED, status >> 8),
        status if status & 0x80 != 0 => (CLD_DUMPED, low),
        _ => (CLD_KILLED, low),
    };
    SignalInfo::child(ChildReport {
        code,
        process: child.id,
        user: child.user,
        status: status as i32,
        user_ticks: 0,
        system_ticks: 0,
    })
}
