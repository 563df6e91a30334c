//! Syscalls on `io_uring`. What requests mean is in `async-syscall`; here is how a thread enters the kernel with them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use async_syscall::ring::{Ring, ring_of};
use async_syscall::{Made, Registration};
use kernel_hal::Instant;
use linux_abi::Errno;
use linux_abi::io_uring::{
    EnterFlags, GeteventsArgument, IORING_REGISTER_USE_REGISTERED_RING, IoUringParams,
};
use linux_abi::signal::SignalSet;
use linux_abi::time::Timespec;
use linux_object::clock::Clock;
use linux_object::file::OpenFile;
use linux_object::obstacle::{Attempt, Obstacle, complete};
use linux_object::thread::Interrupted;
use linux_object::user_buffer::UserMemory;

use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Completion, Outcome, attempt};
use crate::file::descriptor;
use crate::wait_mask::{SIGNAL_SET_BYTES, TemporaryMask, read_optional};

pub fn io_uring_setup(call: &mut Call<'_>, entries: u32, parameters: UserAddress) -> Result<Outcome, Errno> {
    let (memory, thread, resources) = (call.memory(), call.owned_thread(), call.resources.clone());
    let mut made = None;
    Ok(attempt(call, move || {
        // The ring is made once, however often the program cannot be told about it.
        let Made { file, told, is_registered } = match &made {
            Some(made) => made,
            None => {
                let given: IoUringParams = memory.read(parameters.get())?;
                made.insert(async_syscall::set_up(&thread, &resources, entries, &given)?)
            }
        };
        memory.write(parameters.get(), told)?;
        if *is_registered {
            return Ok(thread.rings().register(file.clone(), None)? as usize);
        }
        Ok(resources.files.insert(file.clone(), 0, true)? as usize)
    }))
}

/// The ring that a call means: by a descriptor, or by an index of the thread's own.
fn ring_file(call: &Call<'_>, fd: Fd, is_registered: bool) -> Result<Arc<OpenFile>, Errno> {
    if is_registered { call.thread.rings().registered(fd.0 as u32) } else { descriptor(call, fd) }
}

/// What a wait for completions was given, before it is read.
struct WaitArguments {
    flags: EnterFlags,
    argument: UserAddress,
    size: usize,
}

/// The same, read.
struct WaitTerms {
    deadline: Instant,
    /// From when on any completion is enough.
    contented: Option<Instant>,
    mask: Option<SignalSet>,
}

impl WaitArguments {
    fn is_plain(&self) -> bool {
        !self.flags.contains(EnterFlags::EXT_ARG) && self.argument.is_null()
    }

    fn read(&self, memory: &UserMemory) -> Attempt<WaitTerms> {
        let mut given = GeteventsArgument::default();
        if self.flags.contains(EnterFlags::EXT_ARG) {
            if self.size != size_of::<GeteventsArgument>() {
                return Err(Errno::EINVAL.into());
            }
            given = memory.read(self.argument.get())?;
        } else {
            given.sigmask = self.argument.0 as u64;
            given.sigmask_sz = self.size as u32;
        }
        let mask_at = UserAddress(given.sigmask as usize);
        if !mask_at.is_null() && given.sigmask_sz as usize != SIGNAL_SET_BYTES {
            return Err(Errno::EINVAL.into());
        }
        let deadline = match read_optional::<Timespec>(memory, UserAddress(given.ts as usize))? {
            None => Instant::FAR_FUTURE,
            Some(time) if self.flags.contains(EnterFlags::ABS_TIMER) => {
                Clock::Monotonic.moment(time.to_duration()?)
            }
            Some(span) => Instant::now() + span.to_duration()?,
        };
        let contented = match given.min_wait_usec {
            0 => None,
            micros => Some(Instant::now() + Duration::from_micros(u64::from(micros))),
        };
        Ok(WaitTerms { deadline, contented, mask: read_optional(memory, mask_at)? })
    }
}

pub fn io_uring_enter(
    call: &mut Call<'_>,
    fd: Fd,
    to_submit: u32,
    least: u32,
    flags: u32,
    argument: UserAddress,
    size: usize,
) -> Result<Outcome, Errno> {
    let flags = EnterFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let file = ring_file(call, fd, flags.contains(EnterFlags::REGISTERED_RING))?;
    let ring = ring_of(&file)?;
    if !ring.is_enabled() {
        return Err(Errno::EBADFD);
    }
    let wait = WaitArguments { flags, argument, size };
    if ring.is_polled() {
        return enter_polled(call, ring.clone(), to_submit, least, wait);
    }
    let submitted = match to_submit {
        0 => 0,
        _ => {
            ring.note_issuer(call.thread)?;
            match ring.try_submit(to_submit, call.thread, call.resources) {
                Some(submitted) => submitted,
                None => return Ok(enter_when_free(call, ring.clone(), to_submit, least, wait)),
            }
        }
    };
    if submitted != to_submit || !flags.contains(EnterFlags::GETEVENTS) {
        return Ok(Outcome::Done(submitted as usize));
    }
    if submitted == 0 {
        ring.check_waiter(call.thread)?;
    }
    let memory = call.memory();
    if ring.catch_up(least.min(ring.geometry().completions)) {
        let terms = if wait.is_plain() { Ok(()) } else { wait.read(&memory).map(|_| ()) };
        match terms {
            Ok(()) => return Ok(Outcome::Done(submitted as usize)),
            Err(Obstacle::Error(errno)) if submitted == 0 => return Err(errno),
            Err(Obstacle::Error(_)) => return Ok(Outcome::Done(submitted as usize)),
            Err(_) => {}
        }
    }
    let (ring, thread) = (ring.clone(), call.owned_thread());
    Ok(Outcome::Wait(Box::pin(
        async move { wait_for(&thread, &memory, &ring, submitted, least, wait).await },
    )))
}

/// Enters a ring whose submissions a task takes: it is called, if it is to be, and waited for.
fn enter_polled(
    call: &Call<'_>,
    ring: Arc<Ring>,
    to_submit: u32,
    least: u32,
    wait: WaitArguments,
) -> Result<Outcome, Errno> {
    if wait.flags.contains(EnterFlags::SQ_WAKEUP) {
        ring.call_poller();
    }
    let waits_for_room = wait.flags.contains(EnterFlags::SQ_WAIT);
    let waits = wait.flags.contains(EnterFlags::GETEVENTS);
    if !waits_for_room && !waits {
        return Ok(Outcome::Done(to_submit as usize));
    }
    let (thread, memory) = (call.owned_thread(), call.memory());
    Ok(Outcome::Wait(Box::pin(async move {
        if waits_for_room && thread.interruptible(ring.until_room()).await.is_err() {
            return Completion::Interrupted;
        }
        match waits {
            true => wait_for(&thread, &memory, &ring, to_submit, least, wait).await,
            false => Completion::Value(to_submit as usize),
        }
    })))
}

/// Submits when whoever submits now is done, and then waits.
fn enter_when_free(
    call: &Call<'_>,
    ring: Arc<Ring>,
    to_submit: u32,
    least: u32,
    wait: WaitArguments,
) -> Outcome {
    let (thread, resources, memory) = (call.owned_thread(), call.resources.clone(), call.memory());
    Outcome::Wait(Box::pin(async move {
        let submitted = loop {
            // Whoever has it waits for nobody.
            ring.until_submission_is_free().await;
            if let Some(submitted) = ring.try_submit(to_submit, &thread, &resources) {
                break submitted;
            }
        };
        if submitted != to_submit || !wait.flags.contains(EnterFlags::GETEVENTS) {
            return Completion::Value(submitted as usize);
        }
        wait_for(&thread, &memory, &ring, submitted, least, wait).await
    }))
}

/// Waits for completions. What was submitted counts, whatever becomes of the wait.
async fn wait_for(
    thread: &linux_object::thread::Thread,
    memory: &UserMemory,
    ring: &Arc<Ring>,
    submitted: u32,
    least: u32,
    arguments: WaitArguments,
) -> Completion {
    let conclude = |error: Completion| match submitted {
        0 => error,
        _ => Completion::Value(submitted as usize),
    };
    let terms = match complete(|| arguments.read(memory)).await {
        Ok(terms) => terms,
        Err(errno) => return conclude(Completion::Error(errno)),
    };
    let mask = TemporaryMask::set(thread, terms.mask);
    match thread.interruptible(ring.wait(least, terms.contented, terms.deadline)).await {
        Ok(outcome) => {
            mask.restore(thread);
            match outcome {
                Ok(()) => Completion::Value(submitted as usize),
                Err(errno) => conclude(Completion::Error(errno)),
            }
        }
        Err(Interrupted) if submitted == 0 && ring.available() == 0 => Completion::InterruptedForGood,
        Err(Interrupted) => {
            mask.restore(thread);
            Completion::Value(submitted as usize)
        }
    }
}

pub fn io_uring_register(
    call: &mut Call<'_>,
    fd: Fd,
    operation: u32,
    argument: UserAddress,
    count: u32,
) -> Result<Outcome, Errno> {
    let is_registered = operation & IORING_REGISTER_USE_REGISTERED_RING != 0;
    let operation = operation & !IORING_REGISTER_USE_REGISTERED_RING;
    let file = ring_file(call, fd, is_registered)?;
    ring_of(&file)?;
    let (thread, resources) = (call.owned_thread(), call.resources.clone());
    Ok(attempt(call, move || {
        let argument = argument.0 as u64;
        let registration =
            Registration { thread: &thread, resources: &resources, operation, argument, count };
        ring_of(&file)?.register(&registration)
    }))
}
