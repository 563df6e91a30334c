//! Resource limits and usage.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::resource::{RLIM_INFINITY, RLIM_NLIMITS, Rlimit};
use linux_abi::signal::Signal;
use linux_abi::signal_info::SignalInfo;
use linux_object::credentials::Capabilities;
use linux_object::file::{OpenFile, Transfer};
use linux_object::obstacle::{Attempt, Obstacle};
use linux_object::process::{find_process_of, watch_time};
use linux_object::signal::send_to_thread;
use linux_object::thread::Thread;
use linux_object::user_buffer::UserBuffer;

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt};

pub fn prlimit64(
    call: &mut Call<'_>,
    process: i32,
    resource: u32,
    new: UserAddress,
    old: UserAddress,
) -> Result<Outcome, Errno> {
    let own = call.thread.process();
    let target = match process {
        0 => own.clone(),
        _ => find_process_of(process).ok_or(Errno::ESRCH)?,
    };
    if resource >= RLIM_NLIMITS as u32 {
        return Err(Errno::EINVAL);
    }
    let credentials = call.thread.credentials();
    let other = target.credentials();
    let is_own = target.id() == own.id();
    let is_same_user = [other.real_user, other.effective_user, other.saved_user]
        .iter()
        .all(|&user| user == credentials.real_user)
        && [other.real_group, other.effective_group, other.saved_group]
            .iter()
            .all(|&group| group == credentials.real_group);
    if !is_own && !is_same_user && !credentials.has(Capabilities::SYS_RESOURCE) {
        return Err(Errno::EPERM);
    }
    let is_privileged = credentials.has(Capabilities::SYS_RESOURCE);
    let memory = call.memory();
    Ok(attempt(call, move || {
        let former = if new.is_null() {
            target.limits().get(resource)
        } else {
            let wanted: Rlimit = memory.read(new.get())?;
            let former = target.limits().set(resource, wanted, is_privileged)?;
            if let Some(thread) = target.threads().first() {
                target.limits().apply_to(&thread.resources());
            }
            watch_time(&target);
            former
        };
        if !old.is_null() {
            memory.write(old.get(), &former)?;
        }
        Ok(0)
    }))
}

pub fn getrlimit(call: &mut Call<'_>, resource: u32, result: UserAddress) -> Result<Outcome, Errno> {
    if resource >= RLIM_NLIMITS as u32 {
        return Err(Errno::EINVAL);
    }
    let limit = call.thread.process().limits().get(resource);
    let memory = call.memory();
    Ok(attempt(call, move || memory.write(result.get(), &limit).map(|()| 0)))
}

pub fn setrlimit(call: &mut Call<'_>, resource: u32, limit: UserAddress) -> Result<Outcome, Errno> {
    if limit.is_null() {
        return Err(Errno::EFAULT);
    }
    prlimit64(call, 0, resource, limit, UserAddress(0))
}

/// A file may not become larger than the process's limit: `EFBIG`, and a signal, if it would.
pub(crate) fn check_file_size(thread: &Arc<Thread>, size: u64) -> Result<(), Errno> {
    if size <= thread.process().limits().file_size() {
        return Ok(());
    }
    send_to_thread(thread, Signal::SIGXFSZ, SignalInfo::kill(Signal::SIGXFSZ, 0, 0));
    Err(Errno::EFBIG)
}

/// Writes as much as the limit of file sizes allows.
#[inline(always)]
pub(crate) fn write_within_limit(
    thread: &Arc<Thread>,
    file: &Arc<OpenFile>,
    transfer: &mut Transfer,
    buffer: &mut UserBuffer,
) -> Attempt {
    let limit = thread.process().limits().file_size();
    if limit != RLIM_INFINITY
        && let Some(outcome) = keep_within(limit, thread, file, transfer, buffer)
    {
        return outcome;
    }
    file.try_write(transfer, buffer)
}

/// Leaves out what the limit does not allow; the outcome if that is all.
#[cold]
fn keep_within(
    limit: u64,
    thread: &Arc<Thread>,
    file: &Arc<OpenFile>,
    transfer: &Transfer,
    buffer: &mut UserBuffer,
) -> Option<Attempt> {
    let begin = match file.growth_begin(transfer, buffer) {
        Ok(begin) => begin?,
        Err(errno) => return Some(Err(errno.into())),
    };
    if buffer.remaining() == 0 {
        return None;
    }
    if begin >= limit {
        // What was written before counts.
        return Some(match buffer.done() {
            0 => check_file_size(thread, u64::MAX).map(|()| 0).map_err(Obstacle::from),
            done => Ok(done),
        });
    }
    buffer.cut(usize::try_from(limit - begin).unwrap_or(usize::MAX));
    None
}
