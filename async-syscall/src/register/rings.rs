//! Rings that a thread registers for itself, so that a call needs no look-up of a descriptor.

use linux_abi::Errno;
use linux_abi::io_uring::ResourceUpdate;
use linux_object::obstacle::Attempt;
use linux_object::thread_rings::MOST_REGISTERED;

use super::Registration;
use super::files::read_at;
use crate::operation::address;
use crate::ring::{Ring, ring_of};

impl Ring {
    pub(super) fn register_rings(registration: &Registration<'_>) -> Attempt {
        each(registration, |given, at| {
            if given.resv != 0 {
                return Err(Errno::EINVAL.into());
            }
            let file = registration.resources.files.get(given.data as i32)?;
            ring_of(&file)?;
            let wanted = if given.offset == u32::MAX { None } else { Some(given.offset) };
            let rings = registration.thread.rings();
            let index = rings.register(file, wanted)?;
            let told = ResourceUpdate { offset: index, ..given };
            let written = registration.memory().write(at, &told);
            if written.is_err() {
                // The program would not know where it is.
                let _ = rings.unregister(index);
            }
            written
        })
    }

    pub(super) fn unregister_rings(registration: &Registration<'_>) -> Attempt {
        each(registration, |given, _| {
            if given.resv != 0 || given.data != 0 {
                return Err(Errno::EINVAL.into());
            }
            registration.thread.rings().unregister(given.offset).map_err(Into::into)
        })
    }
}

/// Acts on each that is named; returns how many there were before one failed, unless it was the first.
fn each(
    registration: &Registration<'_>,
    mut act: impl FnMut(ResourceUpdate, kernel_hal::VirtAddr) -> Attempt<()>,
) -> Attempt {
    let count = registration.count as usize;
    if count == 0 || count > MOST_REGISTERED {
        return Err(Errno::EINVAL.into());
    }
    for done in 0..count {
        let given = read_at(registration, registration.argument, done)?;
        let at = address(registration.argument) + done * size_of::<ResourceUpdate>();
        match act(given, at) {
            Ok(()) => {}
            Err(linux_object::obstacle::Obstacle::Error(_)) if done > 0 => return Ok(done),
            Err(obstacle) => return Err(obstacle),
        }
    }
    Ok(count)
}
