//! Registering rings of provided buffers.

use kernel_hal::PAGE_SIZE;
use linux_abi::Errno;
use linux_abi::io_uring::{BufferRingFlags, BufferRingRegister, BufferRingStatus, ProvidedBuffer};
use linux_object::obstacle::Attempt;

use super::Registration;
use super::pin::pin;
use crate::buffers::BufferRing;
use crate::operation::address;
use crate::ring::Ring;

const MOST_ENTRIES: u32 = 1 << 15;

impl Ring {
    pub(super) fn register_buffer_ring(&self, registration: &Registration<'_>) -> Attempt {
        if registration.count != 1 {
            return Err(Errno::EINVAL.into());
        }
        let given: BufferRingRegister = registration.memory().read(address(registration.argument))?;
        let flags = BufferRingFlags::from_bits(given.flags).ok_or(Errno::EINVAL)?;
        if given.resv != [0; 3] {
            return Err(Errno::EINVAL.into());
        }
        let is_ours = flags.contains(BufferRingFlags::MMAP);
        if is_ours && given.ring_addr != 0 {
            return Err(Errno::EINVAL.into());
        }
        if !is_ours && given.ring_addr == 0 {
            return Err(Errno::EFAULT.into());
        }
        if !given.ring_addr.is_multiple_of(PAGE_SIZE as u64) || !given.ring_entries.is_power_of_two() {
            return Err(Errno::EINVAL.into());
        }
        if given.ring_entries > MOST_ENTRIES {
            return Err(Errno::EINVAL.into());
        }
        let is_incremental = flags.contains(BufferRingFlags::INC);
        let ring = if is_ours {
            BufferRing::allocate(given.ring_entries, is_incremental)?
        } else {
            let bytes = given.ring_entries as usize * size_of::<ProvidedBuffer>();
            let pages = pin(registration.resources, given.ring_addr, bytes)?;
            BufferRing::new(pages, 0, given.ring_entries, is_incremental)
        };
        self.registered.groups.add_ring(given.bgid, ring)?;
        Ok(0)
    }

    pub(super) fn unregister_buffer_ring(&self, registration: &Registration<'_>) -> Attempt {
        if registration.count != 1 {
            return Err(Errno::EINVAL.into());
        }
        let given: BufferRingRegister = registration.memory().read(address(registration.argument))?;
        if given.resv != [0; 3] || given.flags != 0 {
            return Err(Errno::EINVAL.into());
        }
        self.registered.groups.remove_ring(given.bgid)?;
        Ok(0)
    }

    pub(super) fn tell_buffer_ring(&self, registration: &Registration<'_>) -> Attempt {
        if registration.count != 1 {
            return Err(Errno::EINVAL.into());
        }
        let memory = registration.memory();
        let mut status: BufferRingStatus = memory.read(address(registration.argument))?;
        if status.resv != [0; 8] {
            return Err(Errno::EINVAL.into());
        }
        let group = self.registered.groups.get(status.buf_group as u16).ok_or(Errno::ENOENT)?;
        group.as_ring().ok_or(Errno::EINVAL)?;
        status.head = u32::from(group.head());
        memory.write(address(registration.argument), &status)?;
        Ok(0)
    }
}
