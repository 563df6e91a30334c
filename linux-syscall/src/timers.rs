//! Interval timers, and those of `timer_create`.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::signal::{SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID, SigEvent, Signal};
use linux_abi::time::{Itimerspec, Itimerval, TIMER_ABSTIME, Timespec, Timeval};
use linux_object::obstacle::Attempt;
use linux_object::process::find_thread;
use linux_object::timers::{Setting, Telling, Timer, TimerClock};
use linux_object::user_buffer::UserMemory;

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt};
use crate::time::timer_clock;

fn as_interval(setting: Setting) -> Itimerval {
    Itimerval {
        it_interval: Timeval::from_duration(setting.interval),
        it_value: Timeval::from_duration(setting.value),
    }
}

fn as_specification(setting: Setting) -> Itimerspec {
    Itimerspec {
        it_interval: Timespec::from_duration(setting.interval),
        it_value: Timespec::from_duration(setting.value),
    }
}

pub fn getitimer(call: &mut Call<'_>, which: i32, result: UserAddress) -> Result<Outcome, Errno> {
    let setting = as_interval(call.thread.process().timers().interval(which)?);
    let memory = call.memory();
    Ok(attempt(call, move || memory.write(result.get(), &setting).map(|()| 0)))
}

pub fn setitimer(call: &mut Call<'_>, which: i32, new: UserAddress, old: UserAddress) -> Outcome {
    let (memory, process) = (call.memory(), call.thread.process().clone());
    let mut former = None;
    attempt(call, move || {
        let former = match former {
            Some(former) => former,
            None => {
                // Without a setting the timer is ended, as ever.
                let wanted = if new.is_null() { Itimerval::default() } else { memory.read(new.get())? };
                let setting = Setting {
                    value: wanted.it_value.to_duration()?,
                    interval: wanted.it_interval.to_duration()?,
                };
                // Set once, however often the old setting cannot be stored.
                *former.insert(process.timers().set_interval(&process, which, setting)?)
            }
        };
        if !old.is_null() {
            memory.write(old.get(), &as_interval(former))?;
        }
        Ok(0)
    })
}

/// How a timer tells of its expiry. Without an event: by SIGALRM, with its number.
fn telling(
    caller: &linux_object::thread::Thread,
    id: i32,
    event: Option<SigEvent>,
) -> Result<Telling, Errno> {
    let Some(event) = event else {
        return Ok(Telling::Signal { signal: Signal::SIGALRM, id, value: id as u32 as u64, thread: None });
    };
    let thread = match event.sigev_notify {
        SIGEV_NONE => return Ok(Telling::Nobody),
        SIGEV_SIGNAL | SIGEV_THREAD => None,
        SIGEV_THREAD_ID => {
            let thread = find_thread(event.sigev_notify_thread_id);
            let is_own =
                |found: &Arc<linux_object::thread::Thread>| Arc::ptr_eq(found.process(), caller.process());
            Some(Arc::downgrade(&thread.filter(is_own).ok_or(Errno::EINVAL)?))
        }
        _ => return Err(Errno::EINVAL),
    };
    let signal = Signal::new(event.sigev_signo).ok_or(Errno::EINVAL)?;
    Ok(Telling::Signal { signal, id, value: event.sigev_value, thread })
}

fn read_event(memory: &UserMemory, event: UserAddress) -> Attempt<Option<SigEvent>> {
    if event.is_null() { Ok(None) } else { memory.read(event.get()).map(Some) }
}

pub fn timer_create(
    call: &mut Call<'_>,
    clock: i32,
    event: UserAddress,
    result: UserAddress,
) -> Result<Outcome, Errno> {
    let clock = timer_clock(call, clock);
    let (memory, thread) = (call.memory(), call.owned_thread());
    let mut made = None;
    Ok(attempt(call, move || {
        let process = thread.process();
        let id = match made {
            Some(id) => id,
            None => {
                let event = read_event(&memory, event)?;
                let clock: TimerClock = clock.clone()?;
                let check = telling(&thread, 0, event)?;
                drop(check);
                let id = process.timers().make(process, |id| {
                    let told = telling(&thread, id, event).unwrap_or(Telling::Nobody);
                    Timer::new(process, clock, told)
                })?;
                *made.insert(id)
            }
        };
        let stored = memory.write(result.get(), &id);
        if let Err(linux_object::obstacle::Obstacle::Error(errno)) = stored {
            process.timers().delete(id)?;
            return Err(errno.into());
        }
        stored.map(|()| 0)
    }))
}

pub fn timer_settime(
    call: &mut Call<'_>,
    timer: i32,
    flags: i32,
    new: UserAddress,
    old: UserAddress,
) -> Result<Outcome, Errno> {
    if new.is_null() {
        return Err(Errno::EINVAL);
    }
    let (memory, process) = (call.memory(), call.thread.process().clone());
    let mut former = None;
    Ok(attempt(call, move || {
        let former = match former {
            Some(former) => former,
            None => {
                let wanted: Itimerspec = memory.read(new.get())?;
                let setting = Setting {
                    value: wanted.it_value.to_duration()?,
                    interval: wanted.it_interval.to_duration()?,
                };
                let found = process.timers().find(timer)?;
                *former.insert(found.set(setting, flags & TIMER_ABSTIME != 0))
            }
        };
        if !old.is_null() {
            memory.write(old.get(), &as_specification(former))?;
        }
        Ok(0)
    }))
}

pub fn timer_gettime(call: &mut Call<'_>, timer: i32, result: UserAddress) -> Result<Outcome, Errno> {
    let setting = as_specification(call.thread.process().timers().find(timer)?.setting());
    let memory = call.memory();
    Ok(attempt(call, move || memory.write(result.get(), &setting).map(|()| 0)))
}

pub fn timer_getoverrun(call: &mut Call<'_>, timer: i32) -> Result<usize, Errno> {
    call.thread.process().timers().find(timer).map(|timer| timer.overrun() as usize)
}

pub fn timer_delete(call: &mut Call<'_>, timer: i32) -> Result<usize, Errno> {
    call.thread.process().timers().delete(timer).map(|()| 0)
}
