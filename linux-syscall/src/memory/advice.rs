//! `madvise`, `mincore` and `msync`.

use alloc::boxed::Box;

use kernel_hal::{PAGE_SIZE, VirtAddr};
use kernel_object::address_space::MapError;
use linux_abi::Errno;
use linux_object::memory::advice::{self, Advice};
use linux_object::memory::{map_errno, populate, synchronize};

use crate::argument::UserAddress;
use crate::call::{Call, Completion, Outcome, attempt, slow};

/// Pages that `mincore` tells of at a time.
const PAGES_AT_A_TIME: usize = 256;

pub fn madvise(call: &mut Call<'_>, address: UserAddress, len: usize, advice: i32) -> Result<Outcome, Errno> {
    let advice = Advice::decode(advice)?;
    let Some(range) = advice::range(address.get(), len)? else { return Ok(Outcome::Done(0)) };
    let space = &call.resources.address_space;
    let Advice::Populate(how) = advice else {
        return advice::follow(space, range, advice).map(|()| Outcome::Done(0));
    };
    let Some(rest) = populate::try_populate(space, range.start, range.end - range.start, how) else {
        return Ok(Outcome::Done(0));
    };
    let (thread, space) = (call.owned_thread(), space.clone());
    Ok(Outcome::Wait(Box::pin(async move {
        let populated = populate::populate(&thread, &space, rest, how).await;
        Completion::from(populated.map(|()| 0).map_err(populate::Unpopulated::as_advice_error))
    })))
}

pub fn mincore(
    call: &mut Call<'_>,
    address: UserAddress,
    len: usize,
    result: UserAddress,
) -> Result<Outcome, Errno> {
    let start = address.get();
    if !start.is_page_aligned() {
        return Err(Errno::EINVAL);
    }
    let pages = len.div_ceil(PAGE_SIZE);
    if !start.is_user_range(len) {
        return Err(Errno::ENOMEM);
    }
    let (memory, space) = (call.memory(), call.resources.address_space.clone());
    let mut done = 0;
    Ok(attempt(call, move || {
        while done < pages {
            let mut present = [false; PAGES_AT_A_TIME];
            let count = PAGES_AT_A_TIME.min(pages - done);
            let looked = space.residency(start + done * PAGE_SIZE, &mut present[..count]);
            looked.map_err(|error| match error {
                MapError::InvalidArgument => Errno::ENOMEM,
                other => map_errno(other),
            })?;
            let bytes = present.map(u8::from);
            let to = result.get().checked_add(done).unwrap_or(VirtAddr::new(usize::MAX));
            memory.write_bytes(to, &bytes[..count])?;
            done += count;
        }
        Ok(0)
    }))
}

pub fn msync(call: &mut Call<'_>, address: UserAddress, len: usize, flags: u32) -> Result<Outcome, Errno> {
    let storing = synchronize::begin(&call.resources.address_space, address.get(), len, flags)?;
    if storing.is_empty() {
        return storing.conclude().map(|()| Outcome::Done(0));
    }
    Ok(slow(async move { storing.store().await.map(|()| 0) }))
}
