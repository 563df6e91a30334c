//! Pinning memory of a program.

use alloc::vec::Vec;

use kernel_hal::PAGE_SIZE;
use kernel_object::address_space::StopReason;
use kernel_object::paged_object::SharedPages;
use linux_abi::Errno;
use linux_object::obstacle::Attempt;
use linux_object::thread::Resources;
use linux_object::user_buffer::UserMemory;

use crate::operation::address;

/// Pins the pages of a range, for reading and writing. `EINVAL`: it does not begin with a page.
pub(crate) fn pin(resources: &Resources, start: u64, bytes: usize) -> Attempt<SharedPages> {
    if !start.is_multiple_of(PAGE_SIZE as u64) {
        return Err(Errno::EINVAL.into());
    }
    let memory = UserMemory::new(resources.address_space.clone());
    let count = bytes.div_ceil(PAGE_SIZE);
    let mut frames = Vec::new();
    frames.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for index in 0..count {
        let page = address(start) + index * PAGE_SIZE;
        match memory.space().try_pin(page, true) {
            Ok(frame) => frames.push(frame),
            Err(StopReason::OutOfMemory) => return Err(Errno::ENOMEM.into()),
            Err(StopReason::BadAddress) => return Err(Errno::EFAULT.into()),
            // Looking at it brings it, or says what brings it.
            Err(StopReason::Load(_)) => {
                memory.read::<u8>(page)?;
                frames.push(memory.space().try_pin(page, true).map_err(|_| Errno::EFAULT)?);
            }
        }
    }
    Ok(SharedPages::from_pins(frames))
}
