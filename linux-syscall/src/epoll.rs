//! Syscalls on `epoll`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use kernel_hal::{Instant, VirtAddr};
use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::poll::{EPOLL_CLOEXEC, EPOLL_CTL_DEL, EpollEvent};
use linux_abi::signal::SignalSet;
use linux_abi::time::Timespec;
use linux_object::epoll::Epoll;
use linux_object::file::OpenFile;
use linux_object::obstacle::{Attempt, Obstacle, complete};
use linux_object::thread::{Interrupted, Thread};
use linux_object::user_buffer::UserMemory;

use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Completion, Outcome, SlowCall, attempt};
use crate::file::descriptor;
use crate::wait_mask::{SIGNAL_SET_BYTES, TemporaryMask, read_optional};

const MOST_EVENTS: usize = i32::MAX as usize / size_of::<EpollEvent>();

pub fn epoll_create1(call: &mut Call<'_>, flags: i32) -> Result<usize, Errno> {
    if flags & !EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let file = OpenFile::new(Epoll::new()?, None, OpenFlags::RDWR);
    let number = call.resources.files.insert(file, 0, flags & EPOLL_CLOEXEC != 0)?;
    Ok(number as usize)
}

pub fn epoll_ctl(
    call: &mut Call<'_>,
    epoll: Fd,
    operation: i32,
    fd: Fd,
    event: UserAddress,
) -> Result<Outcome, Errno> {
    let (memory, files) = (call.memory(), call.resources.files.clone());
    Ok(attempt(call, move || {
        let event: EpollEvent =
            if operation == EPOLL_CTL_DEL { EpollEvent::default() } else { memory.read(event.get())? };
        Epoll::control(&files, (epoll.0, fd.0), operation, event)?;
        Ok(0)
    }))
}

pub fn epoll_pwait(
    call: &mut Call<'_>,
    epoll: Fd,
    events: UserAddress,
    count: i32,
    timeout: i32,
    mask: UserAddress,
    set_size: usize,
) -> Result<Outcome, Errno> {
    let timeout = Timeout::Milliseconds(timeout);
    wait(call, Request { epoll, events, count, timeout, mask, set_size })
}

pub fn epoll_pwait2(
    call: &mut Call<'_>,
    epoll: Fd,
    events: UserAddress,
    count: i32,
    timeout: UserAddress,
    mask: UserAddress,
    set_size: usize,
) -> Result<Outcome, Errno> {
    let timeout = Timeout::Span(timeout);
    wait(call, Request { epoll, events, count, timeout, mask, set_size })
}

enum Timeout {
    /// Negative: for ever.
    Milliseconds(i32),
    /// The address of a span; null: for ever.
    Span(UserAddress),
}

struct Request {
    epoll: Fd,
    events: UserAddress,
    count: i32,
    timeout: Timeout,
    mask: UserAddress,
    set_size: usize,
}

fn wait(call: &mut Call<'_>, request: Request) -> Result<Outcome, Errno> {
    if !request.mask.is_null() && request.set_size != SIGNAL_SET_BYTES {
        return Err(Errno::EINVAL);
    }
    let most = usize::try_from(request.count).ok().filter(|count| (1..=MOST_EVENTS).contains(count));
    let most = most.ok_or(Errno::EINVAL)?;
    let memory = call.memory();
    let address = request.events.get();
    // What Linux asks before it looks at the descriptor: whether the program could have such an array at all.
    if !address.is_user_range(most * size_of::<EpollEvent>()) {
        return Err(Errno::EFAULT);
    }
    let file = descriptor(call, request.epoll)?;
    let epoll = Epoll::of(&file)?;
    let thread = call.owned_thread();
    // Without a mask and a span to read, what is ready is told at once.
    if let (Timeout::Milliseconds(milliseconds), true) = (&request.timeout, request.mask.is_null()) {
        let milliseconds = *milliseconds;
        match epoll.try_wait(&memory, address, most) {
            Ok(told) if told > 0 || milliseconds == 0 => return Ok(Outcome::Done(told)),
            Ok(_) => {
                return Ok(Outcome::Wait(wait_plainly(thread, file, memory, address, most, milliseconds)));
            }
            Err(Obstacle::Error(errno)) => return Err(errno),
            // A page of the array has to be brought first: the waiting path does it.
            Err(_) => {}
        }
    }
    Ok(Outcome::Wait(Box::pin(async move {
        let arguments = || -> Attempt<(Option<Timespec>, Option<SignalSet>)> {
            let span = match request.timeout {
                Timeout::Span(address) => read_optional(&memory, address)?,
                Timeout::Milliseconds(_) => None,
            };
            Ok((span, read_optional(&memory, request.mask)?))
        };
        let (span, mask) = match complete(arguments).await {
            Ok(arguments) => arguments,
            Err(errno) => return Completion::Error(errno),
        };
        let deadline = match request.timeout {
            Timeout::Milliseconds(milliseconds) => Ok(deadline_after(milliseconds)),
            Timeout::Span(_) => span
                .map(Timespec::to_duration)
                .transpose()
                .map(|span| span.map_or(Instant::FAR_FUTURE, |span| Instant::now() + span)),
        };
        let deadline = match deadline {
            Ok(deadline) => deadline,
            Err(errno) => return Completion::Error(errno),
        };
        let mask = TemporaryMask::set(&thread, mask);
        let wait = async {
            let epoll = Epoll::of(&file)?;
            match complete(|| epoll.try_wait(&memory, address, most)).await? {
                0 => epoll.wait(&memory, address, most, deadline).await,
                told => Ok(told),
            }
        };
        match thread.interruptible(wait).await {
            Ok(result) => {
                mask.restore(&thread);
                result.into()
            }
            Err(Interrupted) => Completion::InterruptedAndTold,
        }
    })))
}

/// Negative: for ever.
fn deadline_after(milliseconds: i32) -> Instant {
    match u64::try_from(milliseconds) {
        Ok(milliseconds) => Instant::now() + Duration::from_millis(milliseconds),
        Err(_) => Instant::FAR_FUTURE,
    }
}

/// Waits, when nothing was ready and there is no more to the call.
fn wait_plainly(
    thread: Arc<Thread>,
    file: Arc<OpenFile>,
    memory: UserMemory,
    address: VirtAddr,
    most: usize,
    milliseconds: i32,
) -> SlowCall {
    Box::pin(async move {
        let epoll = match Epoll::of(&file) {
            Ok(epoll) => epoll,
            Err(errno) => return Completion::Error(errno),
        };
        let wait = epoll.wait(&memory, address, most, deadline_after(milliseconds));
        match thread.interruptible(wait).await {
            Ok(result) => result.into(),
            Err(Interrupted) => Completion::InterruptedAndTold,
        }
    })
}
