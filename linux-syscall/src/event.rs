//! `eventfd`, `signalfd` and `timerfd`.

use linux_abi::Errno;
use linux_abi::file::{EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE, OpenFlags, SFD_CLOEXEC, SFD_NONBLOCK};
use linux_abi::signal::SignalSet;
use linux_abi::time::{
    Itimerspec, TFD_CLOEXEC, TFD_NONBLOCK, TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET, Timespec,
};
use linux_object::clock::Clock;
use linux_object::credentials::Capabilities;
use linux_object::event_fd::EventFd;
use linux_object::file::OpenFile;
use linux_object::signal_fd::SignalFd;
use linux_object::timer_fd::{Setting, TimerFd};

use super::file::descriptor;
use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Outcome, attempt};
use crate::wait_mask::SIGNAL_SET_BYTES;

fn status(flags: i32, nonblocking: i32) -> OpenFlags {
    let is_nonblocking = flags & nonblocking != 0;
    OpenFlags::RDWR | if is_nonblocking { OpenFlags::NONBLOCK } else { OpenFlags::empty() }
}

pub fn eventfd2(call: &mut Call<'_>, count: u32, flags: i32) -> Result<usize, Errno> {
    if flags & !(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE) != 0 {
        return Err(Errno::EINVAL);
    }
    let event = EventFd::new(count, flags & EFD_SEMAPHORE != 0)?;
    let file = OpenFile::new(event, None, status(flags, EFD_NONBLOCK));
    call.resources.files.insert(file, 0, flags & EFD_CLOEXEC != 0).map(|number| number as usize)
}

/// In place of a descriptor: a new one is wanted.
const NEW_DESCRIPTOR: i32 = -1;

pub fn signalfd4(
    call: &mut Call<'_>,
    fd: Fd,
    mask: UserAddress,
    set_size: usize,
    flags: i32,
) -> Result<Outcome, Errno> {
    if set_size != SIGNAL_SET_BYTES {
        return Err(Errno::EINVAL);
    }
    let (memory, files, thread) = (call.memory(), call.resources.files.clone(), call.owned_thread());
    Ok(attempt(call, move || {
        let mask: SignalSet = memory.read(mask.get())?;
        if flags & !(SFD_CLOEXEC | SFD_NONBLOCK) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let process = thread.process();
        if fd.0 == NEW_DESCRIPTOR {
            let file = OpenFile::new(SignalFd::new(process, mask)?, None, status(flags, SFD_NONBLOCK));
            return Ok(files.insert(file, 0, flags & SFD_CLOEXEC != 0)? as usize);
        }
        let file = files.get(fd.0)?;
        SignalFd::of(&file)?.set_mask(process, mask);
        Ok(fd.0 as usize)
    }))
}

pub fn timerfd_create(call: &mut Call<'_>, clock: i32, flags: i32) -> Result<usize, Errno> {
    if flags & !(TFD_CLOEXEC | TFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let known = Clock::of(clock).filter(|_| clock != linux_abi::time::CLOCK_TAI).ok_or(Errno::EINVAL)?;
    let (clock, wakes_machine) = known;
    if wakes_machine {
        call.thread.credentials().require(Capabilities::WAKE_ALARM)?;
    }
    let file = OpenFile::new(TimerFd::new(clock)?, None, status(flags, TFD_NONBLOCK));
    call.resources.files.insert(file, 0, flags & TFD_CLOEXEC != 0).map(|number| number as usize)
}

fn as_specification(setting: Setting) -> Itimerspec {
    Itimerspec {
        it_interval: Timespec::from_duration(setting.interval),
        it_value: Timespec::from_duration(setting.value),
    }
}

fn timer(file: &OpenFile) -> Result<&TimerFd, Errno> {
    let file: &dyn core::any::Any = &**file.file();
    file.downcast_ref().ok_or(Errno::EINVAL)
}

pub fn timerfd_settime(
    call: &mut Call<'_>,
    fd: Fd,
    flags: i32,
    new: UserAddress,
    old: UserAddress,
) -> Result<Outcome, Errno> {
    let (memory, files) = (call.memory(), call.resources.files.clone());
    let mut former = None;
    Ok(attempt(call, move || {
        let former = match former {
            Some(former) => former,
            None => {
                let wanted: Itimerspec = memory.read(new.get())?;
                if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
                    return Err(Errno::EINVAL.into());
                }
                let setting = Setting {
                    value: wanted.it_value.to_duration()?,
                    interval: wanted.it_interval.to_duration()?,
                };
                let file = files.get(fd.0)?;
                let is_absolute = flags & TFD_TIMER_ABSTIME != 0;
                // Set once, however often the old setting cannot be stored.
                *former.insert(timer(&file)?.set(setting, is_absolute, flags & TFD_TIMER_CANCEL_ON_SET != 0))
            }
        };
        if !old.is_null() {
            memory.write(old.get(), &as_specification(former))?;
        }
        Ok(0)
    }))
}

pub fn timerfd_gettime(call: &mut Call<'_>, fd: Fd, result: UserAddress) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let setting = as_specification(timer(&file)?.setting());
    let memory = call.memory();
    Ok(attempt(call, move || memory.write(result.get(), &setting).map(|()| 0)))
}
