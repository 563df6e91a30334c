//! Waiting for children.

use alloc::boxed::Box;

use linux_abi::Errno;
use linux_abi::process::WaitFlags;
use linux_object::obstacle::{Attempt, complete};
use linux_object::process::wait_call::{KINDS, WaitCall, try_tell};
use linux_object::process::{WaitRequest, WaitSelector, WaitedChild, try_wait};
use linux_object::thread::Interrupted;
use linux_object::user_buffer::UserMemory;

use crate::argument::UserAddress;
use crate::call::{Call, Completion, Outcome};

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
    let (thread, files) = (call.thread, &call.resources.files);
    let wanted = WaitCall::decode(thread, files, (kind, id), options)?;
    let (is_impatient, request) = (wanted.is_impatient, wanted.request);
    Ok(wait(call, request, move |memory, child| {
        try_tell(memory, child, is_impatient, info.get(), usage.get())
    }))
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
