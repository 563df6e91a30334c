//! Clocks and sleeping.

use core::time::Duration;

use kernel_hal::Instant;
use linux_abi::Errno;
use linux_abi::time::{
    CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME,
    CLOCK_REALTIME_COARSE, TIMER_ABSTIME, Timespec, Timeval,
};
use linux_object::clock;
use linux_object::obstacle::complete;
use linux_object::thread::Interrupted;

use crate::argument::UserAddress;
use crate::call::{Call, Completion, Outcome, attempt};

fn read_clock(clock: i32) -> Result<Duration, Errno> {
    match clock {
        CLOCK_REALTIME | CLOCK_REALTIME_COARSE => Ok(clock::real_time()),
        CLOCK_MONOTONIC | CLOCK_MONOTONIC_RAW | CLOCK_MONOTONIC_COARSE | CLOCK_BOOTTIME => {
            Ok(Duration::from_nanos(Instant::now().as_nanos()))
        }
        _ => Err(Errno::EINVAL),
    }
}

pub fn clock_gettime(call: &mut Call<'_>, clock: i32, result: UserAddress) -> Result<Outcome, Errno> {
    let time = Timespec::from_duration(read_clock(clock)?);
    let memory = call.memory();
    Ok(attempt(call, move || memory.write(result.get(), &time).map(|()| 0)))
}

pub fn clock_getres(call: &mut Call<'_>, clock: i32, result: UserAddress) -> Result<Outcome, Errno> {
    read_clock(clock)?;
    let memory = call.memory();
    let resolution = Timespec { tv_sec: 0, tv_nsec: 1 };
    Ok(attempt(call, move || {
        if !result.is_null() {
            memory.write(result.get(), &resolution)?;
        }
        Ok(0)
    }))
}

pub fn gettimeofday(call: &mut Call<'_>, time: UserAddress, zone: UserAddress) -> Result<Outcome, Errno> {
    if !zone.is_null() {
        return Err(Errno::EINVAL);
    }
    let memory = call.memory();
    let now = Timeval::from_duration(clock::real_time());
    Ok(attempt(call, move || {
        if !time.is_null() {
            memory.write(time.get(), &now)?;
        }
        Ok(0)
    }))
}

pub fn nanosleep(call: &mut Call<'_>, request: UserAddress, rest: UserAddress) -> Result<Outcome, Errno> {
    clock_nanosleep(call, CLOCK_MONOTONIC, 0, request, rest)
}

pub fn clock_nanosleep(
    call: &mut Call<'_>,
    clock: i32,
    flags: i32,
    request: UserAddress,
    rest: UserAddress,
) -> Result<Outcome, Errno> {
    let now_by_clock = read_clock(clock)?;
    let is_absolute = flags & TIMER_ABSTIME != 0;
    let (memory, thread) = (call.memory(), call.owned_thread());
    Ok(Outcome::Wait(alloc::boxed::Box::pin(async move {
        let duration = match complete(|| memory.read::<Timespec>(request.get())).await {
            Ok(request) => request.to_duration(),
            Err(errno) => Err(errno),
        };
        let duration = match duration {
            Ok(duration) if is_absolute => duration.saturating_sub(now_by_clock),
            Ok(duration) => duration,
            Err(errno) => return Completion::Error(errno),
        };
        let deadline = if is_absolute { Instant::now() + duration } else { thread.deadline_after(duration) };
        match thread.interruptible(executor::sleep_until(deadline)).await {
            Ok(_) => Completion::Value(0),
            // Whatever a handler says: absolute sleeps are not made again after one, either.
            Err(Interrupted) if is_absolute => Completion::InterruptedForGood,
            Err(Interrupted) if rest.is_null() => Completion::InterruptedUntil(deadline),
            Err(Interrupted) => {
                let left = Timespec::from_duration(deadline.since(Instant::now()));
                match complete(|| memory.write(rest.get(), &left)).await {
                    Ok(()) => Completion::InterruptedUntil(deadline),
                    Err(errno) => Completion::Error(errno),
                }
            }
        }
    })))
}
