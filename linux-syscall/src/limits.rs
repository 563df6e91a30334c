//! Resource limits and usage.

use linux_abi::Errno;
use linux_abi::resource::{RLIM_NLIMITS, Rlimit};
use linux_object::credentials::Capabilities;
use linux_object::process::{find_process_of, watch_time};

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
