//! Waiting for children.

use alloc::boxed::Box;

use linux_abi::Errno;
use linux_abi::process::{
    __WALL, __WCLONE, __WNOTHREAD, P_ALL, P_PGID, P_PID, P_PIDFD, WaitFlags, WaitStatus,
};
use linux_abi::signal_info::{
    CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, ChildReport, SignalInfo, UserSignalInfo,
};
use linux_object::obstacle::{Attempt, complete};
use linux_object::process::{WaitRequest, WaitSelector, WaitedChild, try_wait};
use linux_object::process_fd::ProcessFd;
use linux_object::thread::Interrupted;
use linux_object::user_buffer::UserMemory;
use zerocopy::FromZeros;

use crate::argument::UserAddress;
use crate::call::{Call, Completion, Outcome};

const KINDS: u32 = __WALL | __WCLONE | __WNOTHREAD;

pub fn wait4(
    call: &mut Call<'_>,
    id: i32,
    status: UserAddress,
    options: u32,
    usage: UserAddress,
) -> Result<Outcome, Errno> {
    const ACCEPTED: WaitFlags = WaitFlags::NOHANG.union(WaitFlags::UNTRACED).union(WaitFlags::CONTINUED);
    let flags = WaitFlags::from_bits(options & !KINDS).filter(|flags| ACCEPTED.contains(*flags));
    let flags = flags.ok_or(Errno::EINVAL)? | WaitFlags::EXITED;
    let selector = match id {
        -1 => WaitSelector::Any,
        0 => WaitSelector::Group(call.thread.process().group()),
        1.. => WaitSelector::Process(id),
        _ => WaitSelector::Group(id.checked_neg().ok_or(Errno::ESRCH)?),
    };
    let request = WaitRequest { selector, flags, kinds: options & KINDS };
    Ok(wait(call, request, move |memory, child| {
        let Some(child) = child else { return Ok(0) };
        if !status.is_null() {
            memory.write(status.get(), &child.status)?;
        }
        if !usage.is_null() {
            memory.write(usage.get(), &child.usage.encode())?;
        }
        Ok(child.id as usize)
    }))
}

pub fn waitid(
    call: &mut Call<'_>,
    kind: u32,
    id: i32,
    info: UserAddress,
    options: u32,
    usage: UserAddress,
) -> Result<Outcome, Errno> {
    const CHANGES: WaitFlags = WaitFlags::EXITED.union(WaitFlags::UNTRACED).union(WaitFlags::CONTINUED);
    let flags = WaitFlags::from_bits(options & !KINDS).ok_or(Errno::EINVAL)?;
    if !flags.intersects(CHANGES) {
        return Err(Errno::EINVAL);
    }
    let mut is_impatient = false;
    let selector = match kind {
        P_ALL => WaitSelector::Any,
        P_PID if id > 0 => WaitSelector::Process(id),
        P_PGID if id == 0 => WaitSelector::Group(call.thread.process().group()),
        P_PGID if id > 0 => WaitSelector::Group(id),
        P_PIDFD if id >= 0 => {
            let file = call.resources.files.get(id)?;
            is_impatient = file.is_nonblocking() && !flags.contains(WaitFlags::NOHANG);
            // Whoever has been waited for is nobody's child.
            let process = ProcessFd::of(&file)?.process().map_err(|_| Errno::ECHILD)?;
            WaitSelector::Process(process.id())
        }
        _ => return Err(Errno::EINVAL),
    };
    let flags = if is_impatient { flags | WaitFlags::NOHANG } else { flags };
    let request = WaitRequest { selector, flags, kinds: options & KINDS };
    Ok(wait(call, request, move |memory, child| {
        if is_impatient && child.is_none() {
            return Err(Errno::EAGAIN.into());
        }
        if !usage.is_null()
            && let Some(child) = child
        {
            memory.write(usage.get(), &child.usage.encode())?;
        }
        if !info.is_null() {
            // Nothing has happened: the fields that a program looks at are zero.
            let found = child.map_or_else(SignalInfo::new_zeroed, describe);
            memory.write(info.get(), &UserSignalInfo::from(found))?;
        }
        Ok(0)
    }))
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

/// Waits as `request` says, and lets `tell` write down what was found.
fn wait(
    call: &Call<'_>,
    request: WaitRequest,
    tell: impl Fn(&UserMemory, Option<&WaitedChild>) -> Attempt + Send + Sync + 'static,
) -> Outcome {
    let (memory, thread) = (call.memory(), call.owned_thread());
    Outcome::Wait(Box::pin(async move {
        let look = || try_wait(&thread, &request).transpose();
        let waited = if request.flags.contains(WaitFlags::NOHANG) {
            Ok(look())
        } else {
            let event = thread.process().child_event();
            thread.interruptible(event.wait_until(look)).await.map(Some)
        };
        let child = match waited {
            Err(Interrupted) => return Completion::Interrupted,
            Ok(outcome) => outcome.transpose(),
        };
        match child {
            Err(errno) => Completion::Error(errno),
            Ok(child) => complete(|| tell(&memory, child.as_ref())).await.into(),
        }
    }))
}
