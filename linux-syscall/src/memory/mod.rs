//! Syscalls on the address space. What they mean is in [`linux_object::memory`].

mod advice;
mod lock;
mod memory_file;

use alloc::boxed::Box;
use core::ops::Range;

use kernel_hal::{PAGE_SIZE, VirtAddr};
use kernel_object::address_space::{AreaFlags, Populate, RemapPlacement};
use linux_abi::Errno;
use linux_abi::memory::{MapFlags, RemapFlags};
use linux_object::memory::lock::LockAllowance;
use linux_object::memory::mapping::{self, MapArguments};
use linux_object::memory::{map_errno, populate};

use crate::argument::{Bits, Fd, UserAddress};
use crate::call::{Call, Completion, Outcome};

pub use advice::{madvise, mincore, msync};
pub use lock::{mlock, mlock2, mlockall, munlock, munlockall};
pub use memory_file::{memfd_create, process_vm_readv, process_vm_writev};

/// Brings what is left of a range, then answers with a value whatever came of it.
fn populate_then(call: &Call<'_>, rest: Range<VirtAddr>, value: usize) -> Outcome {
    let (thread, space) = (call.owned_thread(), call.resources.address_space.clone());
    Outcome::Wait(Box::pin(async move {
        // As on Linux, the mapping stands even if its pages cannot be brought.
        let _ = populate::populate(&thread, &space, rest, Populate::Usual).await;
        Completion::Value(value)
    }))
}

fn allowance(call: &Call<'_>) -> LockAllowance {
    LockAllowance::of(call.thread.process())
}

pub fn brk(call: &mut Call<'_>, end: UserAddress) -> Outcome {
    let space = &call.resources.address_space;
    let before = space.set_break(VirtAddr::new(0));
    let after = if end.is_null() { before } else { space.set_break(end.get()) };
    let grown = before.page_ceil().zip(after.page_ceil()).filter(|(before, after)| before < after);
    if let Some((from, to)) = grown
        && is_to_be_brought(call, from)
        && let Some(rest) = populate::try_populate(space, from, to - from, Populate::Usual)
    {
        return populate_then(call, rest, after.as_usize());
    }
    Outcome::Done(after.as_usize())
}

/// Whether what was mapped at an address is locked, so that its pages have to be brought.
fn is_to_be_brought(call: &Call<'_>, address: VirtAddr) -> bool {
    let area = call.resources.address_space.area_from(address);
    area.is_some_and(|area| area.flags & (AreaFlags::LOCKED | AreaFlags::ON_FAULT) == AreaFlags::LOCKED)
}

pub fn mmap(
    call: &mut Call<'_>,
    address: UserAddress,
    len: usize,
    protection: u32,
    flags: Bits,
    fd: Fd,
    offset: usize,
) -> Result<Outcome, Errno> {
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let flags = flags.0 as u32;
    let is_anonymous = MapFlags::from_bits_retain(flags).contains(MapFlags::ANONYMOUS);
    let file = if is_anonymous { None } else { Some(call.resources.files.get(fd.0)?) };
    let arguments = MapArguments { address: address.get(), len, protection, flags, offset: offset as u64 };
    let space = &call.resources.address_space;
    let mapped = mapping::map(space, file.as_deref(), &arguments, || allowance(call))?;
    let start = mapped.start.as_usize();
    if mapped.populate
        && let Some(rest) =
            populate::try_populate(space, mapped.start, len.next_multiple_of(PAGE_SIZE), Populate::Usual)
    {
        return Ok(populate_then(call, rest, start));
    }
    Ok(Outcome::Done(start))
}

pub fn munmap(call: &mut Call<'_>, address: UserAddress, len: usize) -> Result<usize, Errno> {
    call.resources.address_space.unmap(address.get(), len).map(|()| 0).map_err(map_errno)
}

pub fn mprotect(
    call: &mut Call<'_>,
    address: UserAddress,
    len: usize,
    protection: u32,
) -> Result<usize, Errno> {
    mapping::protect(&call.resources.address_space, address.get(), len, protection).map(|()| 0)
}

pub fn mremap(
    call: &mut Call<'_>,
    address: UserAddress,
    old_len: usize,
    new_len: usize,
    flags: u32,
    new_address: UserAddress,
) -> Result<Outcome, Errno> {
    let flags = RemapFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let leaves_source = flags.contains(RemapFlags::DONTUNMAP);
    let may_move = flags.contains(RemapFlags::MAYMOVE);
    let is_fixed = flags.contains(RemapFlags::FIXED);
    if (is_fixed || leaves_source) && !may_move || leaves_source && old_len != new_len {
        return Err(Errno::EINVAL);
    }
    let placement = match (is_fixed, leaves_source, may_move) {
        (true, true, _) => RemapPlacement::FixedAndLeave(new_address.get()),
        (true, false, _) => RemapPlacement::Fixed(new_address.get()),
        (false, true, _) => RemapPlacement::MayLeave,
        (false, false, true) => RemapPlacement::MayMove,
        (false, false, false) => RemapPlacement::Stay,
    };
    let space = &call.resources.address_space;
    allowance(call).put_in_force(space);
    let start = space.remap(address.get(), old_len, new_len, placement).map_err(map_errno)?;
    let len = new_len.next_multiple_of(PAGE_SIZE);
    if new_len > old_len
        && is_to_be_brought(call, start)
        && let Some(rest) = populate::try_populate(space, start, len, Populate::Usual)
    {
        return Ok(populate_then(call, rest, start.as_usize()));
    }
    Ok(Outcome::Done(start.as_usize()))
}
