//! `mlock` and its like.

use alloc::boxed::Box;

use kernel_object::address_space::Populate;
use linux_abi::Errno;
use linux_abi::memory::MLOCK_ONFAULT;
use linux_object::memory::lock::whole_pages;
use linux_object::memory::{lock, populate};

use super::allowance;
use crate::argument::UserAddress;
use crate::call::{Call, Completion, Outcome};

pub fn mlock(call: &mut Call<'_>, address: UserAddress, len: usize) -> Result<Outcome, Errno> {
    lock_range(call, address, len, false)
}

pub fn mlock2(call: &mut Call<'_>, address: UserAddress, len: usize, flags: u32) -> Result<Outcome, Errno> {
    if flags & !MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL);
    }
    lock_range(call, address, len, flags == MLOCK_ONFAULT)
}

fn lock_range(
    call: &mut Call<'_>,
    address: UserAddress,
    len: usize,
    on_fault: bool,
) -> Result<Outcome, Errno> {
    let allowance = allowance(call);
    allowance.check()?;
    let Some((start, len)) = whole_pages(address.get(), len)? else { return Ok(Outcome::Done(0)) };
    let space = &call.resources.address_space;
    lock::lock(space, start, len, on_fault, allowance)?;
    if on_fault {
        return Ok(Outcome::Done(0));
    }
    let Some(rest) = populate::try_populate(space, start, len, Populate::Usual) else {
        return Ok(Outcome::Done(0));
    };
    let (thread, space) = (call.owned_thread(), space.clone());
    Ok(Outcome::Wait(Box::pin(async move {
        let populated = populate::populate(&thread, &space, rest, Populate::Usual).await;
        Completion::from(populated.map(|()| 0).map_err(populate::Unpopulated::as_lock_error))
    })))
}

pub fn munlock(call: &mut Call<'_>, address: UserAddress, len: usize) -> Result<usize, Errno> {
    let Some((start, len)) = whole_pages(address.get(), len)? else { return Ok(0) };
    lock::unlock(&call.resources.address_space, start, len).map(|()| 0)
}

pub fn mlockall(call: &mut Call<'_>, flags: u32) -> Result<Outcome, Errno> {
    let space = &call.resources.address_space;
    let what = lock::lock_all(space, flags, allowance(call))?;
    if !what.current || what.on_fault {
        return Ok(Outcome::Done(0));
    }
    let (thread, space) = (call.owned_thread(), space.clone());
    Ok(Outcome::Wait(Box::pin(async move {
        populate::populate_locked(&thread, &space).await;
        Completion::Value(0)
    })))
}

pub fn munlockall(call: &mut Call<'_>) -> usize {
    call.resources.address_space.unlock_all();
    0
}
