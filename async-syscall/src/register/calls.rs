//! Calls that register nothing: a cancellation that is waited for, the clock of waits, and what on Linux concerns the
//! worker threads, of which there are none here.

use alloc::boxed::Box;
use core::pin::pin;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::Poll;
use core::time::Duration;

use kernel_hal::{HartId, Instant};
use linux_abi::Errno;
use linux_abi::io_uring::{CancelFlags, ClockRegister, SyncCancel};
use linux_abi::resource::RLIMIT_NPROC;
use linux_object::obstacle::{Attempt, Obstacle};

use super::Registration;
use crate::operation::{Cancel, address};
use crate::ring::Ring;

/// The numbers of workers that a program asked for, which it is told when it asks for others.
pub(crate) struct Workers([AtomicU32; 2]);

impl Workers {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; 2])
    }
}

impl Ring {
    /// Ends requests, and waits for those that are in the middle of something.
    pub(super) fn cancel_and_wait(self: &alloc::sync::Arc<Self>, registration: &Registration<'_>) -> Attempt {
        if registration.argument == 0 || registration.count != 1 {
            return Err(Errno::EINVAL.into());
        }
        let given: SyncCancel = registration.memory().read(address(registration.argument))?;
        let flags = CancelFlags::from_bits(given.flags).ok_or(Errno::EINVAL)?;
        if given.pad != [0; 7] || given.pad2 != [0; 3] {
            return Err(Errno::EINVAL.into());
        }
        let cancel = Cancel { flags, user_data: given.addr, fd: given.fd, opcode: given.opcode };
        match cancel.carry_out(self, registration.resources) {
            Err(Errno::EALREADY) => {}
            other => return other.map_err(Into::into),
        }
        let deadline = match (given.timeout_seconds, given.timeout_nanoseconds) {
            (-1, -1) => Instant::FAR_FUTURE,
            (seconds, nanoseconds) => {
                let seconds = u64::try_from(seconds).map_err(|_| Errno::EINVAL)?;
                let nanoseconds = u64::try_from(nanoseconds).map_err(|_| Errno::EINVAL)?;
                Instant::now() + (Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds))
            }
        };
        let ring = self.clone();
        Err(Obstacle::Event(Box::pin(async move {
            let mut sleep = pin!(executor::sleep_until(deadline));
            let mut ended = pin!(ring.until_completed(1));
            core::future::poll_fn(|context| {
                if ended.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                sleep.as_mut().poll(context).map(|()| Err(Errno::ETIME))
            })
            .await
        })))
    }

    /// The clock by which waits are measured. Those that may be chosen are the same here: the machine never sleeps.
    pub(super) fn register_clock(registration: &Registration<'_>) -> Attempt {
        const MONOTONIC: u32 = 1;
        const BOOTTIME: u32 = 7;
        if registration.argument == 0 || registration.count != 0 {
            return Err(Errno::EINVAL.into());
        }
        let given: ClockRegister = registration.memory().read(address(registration.argument))?;
        let is_known = matches!(given.clockid, MONOTONIC | BOOTTIME);
        if given.resv == [0; 3] && is_known { Ok(0) } else { Err(Errno::EINVAL.into()) }
    }

    /// On which harts workers run: there are none whom it could concern.
    pub(super) fn set_worker_harts(registration: &Registration<'_>) -> Attempt {
        if registration.argument == 0 || registration.count == 0 {
            return Err(Errno::EINVAL.into());
        }
        let len = (registration.count as usize).min(size_of::<u64>());
        registration.memory().read_array::<u8>(address(registration.argument), len)?;
        Ok(0)
    }

    /// How many workers there may be: a number that is kept and told, and bounds nobody.
    pub(super) fn set_worker_count(&self, registration: &Registration<'_>) -> Attempt {
        if registration.argument == 0 || registration.count != 2 {
            return Err(Errno::EINVAL.into());
        }
        let memory = registration.memory();
        let at = address(registration.argument);
        let given: [u32; 2] = memory.read(at)?;
        if given.iter().any(|&count| count > i32::MAX as u32) {
            return Err(Errno::EINVAL.into());
        }
        let workers = &self.registered.workers.0;
        // Until it says something it is told what Linux would begin with.
        let processes = registration.thread.process().limits().get(RLIMIT_NPROC as u32).rlim_cur;
        let usual = [
            self.geometry().submissions.min(4 * HartId::count() as u32),
            u32::try_from(processes).unwrap_or(i32::MAX as u32).min(i32::MAX as u32),
        ];
        let former: [u32; 2] = core::array::from_fn(|kind| match workers[kind].load(Ordering::Relaxed) {
            0 => usual[kind],
            kept => kept,
        });
        memory.write(at, &former)?;
        for (kept, given) in workers.iter().zip(given) {
            if given != 0 {
                kept.store(given, Ordering::Relaxed);
            }
        }
        Ok(0)
    }
}
