//! Clocks and sleeping.

use alloc::sync::Arc;
use core::time::Duration;

use kernel_hal::Instant;
use linux_abi::Errno;
use linux_abi::time::{
    CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW, CLOCK_PROCESS_CPUTIME_ID,
    CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCK_TAI, CLOCK_THREAD_CPUTIME_ID, TIMER_ABSTIME, Timespec,
    Timeval, Timezone,
};
use linux_object::clock;
use linux_object::credentials::{Capabilities, Credentials};
use linux_object::obstacle::{Attempt, complete};
use linux_object::process::{Process, find_process, find_thread};
use linux_object::thread::{Interrupted, Thread};
use linux_object::timers::TimerClock;

use crate::argument::UserAddress;
use crate::call::{Call, Completion, Outcome, attempt};

/// A clock by its number.
enum Clock {
    /// The time of day, or time since the machine's start.
    Wall { is_real: bool, is_coarse: bool },
    /// The time of day without leap seconds.
    Atomic,
    /// The time that a thread has used.
    Thread(Arc<Thread>),
    /// The time that a process has used.
    Process(Arc<Process>),
}

/// In the number of a CPU-time clock: it is a thread's.
const CPU_CLOCK_OF_THREAD: i32 = 4;
/// In the number of a CPU-time clock: what is counted; 3 would be a descriptor's clock.
const CPU_CLOCK_KIND: i32 = 3;
const CPU_CLOCK_USER: i32 = 1;
const TAI_OFFSET: Duration = Duration::from_secs(37);

impl Clock {
    fn find(call: &Call<'_>, number: i32) -> Result<Self, Errno> {
        let wall = |is_real, is_coarse| Ok(Self::Wall { is_real, is_coarse });
        match number {
            CLOCK_REALTIME => wall(true, false),
            CLOCK_REALTIME_COARSE => wall(true, true),
            CLOCK_MONOTONIC | CLOCK_MONOTONIC_RAW | CLOCK_BOOTTIME => wall(false, false),
            CLOCK_MONOTONIC_COARSE => wall(false, true),
            CLOCK_TAI => Ok(Self::Atomic),
            CLOCK_PROCESS_CPUTIME_ID => Ok(Self::Process(call.thread.process().clone())),
            CLOCK_THREAD_CPUTIME_ID => Ok(Self::Thread(call.owned_thread())),
            ..0 => Self::find_cpu_clock(call, number),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The number has the process's or thread's in its upper bits, inverted.
    fn find_cpu_clock(call: &Call<'_>, number: i32) -> Result<Self, Errno> {
        let id = !(number >> 3);
        if number & CPU_CLOCK_KIND == CPU_CLOCK_KIND {
            return Err(Errno::EINVAL);
        }
        let own = call.thread.process();
        if number & CPU_CLOCK_OF_THREAD != 0 {
            let thread = if id == 0 { Some(call.owned_thread()) } else { find_thread(id) };
            let thread = thread.filter(|thread| thread.process().id() == own.id());
            return thread.map(Self::Thread).ok_or(Errno::EINVAL);
        }
        let process = if id == 0 { Some(own.clone()) } else { find_process(id) };
        process.map(Self::Process).ok_or(Errno::EINVAL)
    }

    fn read(&self) -> Duration {
        let wall = |is_real| match is_real {
            true => clock::real_time(),
            false => Duration::from_nanos(Instant::now().as_nanos()),
        };
        match self {
            Self::Wall { is_real, is_coarse: true } => clock::coarse(*is_real),
            Self::Wall { is_real, is_coarse: false } => wall(*is_real),
            Self::Atomic => clock::real_time() + TAI_OFFSET,
            Self::Thread(thread) => thread.cpu_time(),
            Self::Process(process) => process.cpu_time(),
        }
    }

    fn resolution(&self) -> Duration {
        match self {
            Self::Wall { is_coarse: true, .. } => clock::COARSE_RESOLUTION,
            _ => Duration::from_nanos(1),
        }
    }
}

fn read_clock(call: &Call<'_>, number: i32) -> Result<Duration, Errno> {
    let user_time = |process: &Process| process.usage().user;
    match Clock::find(call, number)? {
        Clock::Process(process) if number < 0 && number & CPU_CLOCK_KIND == CPU_CLOCK_USER => {
            Ok(user_time(&process))
        }
        found => Ok(found.read()),
    }
}

pub fn clock_gettime(call: &mut Call<'_>, clock: i32, result: UserAddress) -> Result<Outcome, Errno> {
    let time = Timespec::from_duration(read_clock(call, clock)?);
    let memory = call.memory();
    Ok(attempt(call, move || memory.write(result.get(), &time).map(|()| 0)))
}

pub fn clock_getres(call: &mut Call<'_>, clock: i32, result: UserAddress) -> Result<Outcome, Errno> {
    let resolution = Timespec::from_duration(Clock::find(call, clock)?.resolution());
    let memory = call.memory();
    Ok(attempt(call, move || {
        if !result.is_null() {
            memory.write(result.get(), &resolution)?;
        }
        Ok(0)
    }))
}

pub fn gettimeofday(call: &mut Call<'_>, time: UserAddress, zone: UserAddress) -> Result<Outcome, Errno> {
    let memory = call.memory();
    let now = Timeval::from_duration(clock::real_time());
    Ok(attempt(call, move || {
        if !time.is_null() {
            memory.write(time.get(), &now)?;
        }
        if !zone.is_null() {
            // There is no time zone in the kernel: that of Greenwich, as on Linux until somebody sets another.
            memory.write(zone.get(), &Timezone::default())?;
        }
        Ok(0)
    }))
}

pub fn nanosleep(call: &mut Call<'_>, request: UserAddress, rest: UserAddress) -> Result<Outcome, Errno> {
    clock_nanosleep(call, CLOCK_MONOTONIC, 0, request, rest)
}

/// The clock that timers and sleepers mean by a number. `EOPNOTSUPP`: a clock that can be read, but not waited for.
pub(crate) fn timer_clock(call: &Call<'_>, number: i32) -> Result<TimerClock, Errno> {
    if let Some((wall, wakes_machine)) = clock::Clock::of(number) {
        if wakes_machine {
            call.thread.credentials().require(Capabilities::WAKE_ALARM)?;
        }
        return Ok(TimerClock::Wall(wall));
    }
    let is_user_only = number < 0 && number & CPU_CLOCK_KIND == CPU_CLOCK_USER;
    match Clock::find(call, number)? {
        Clock::Atomic => Ok(TimerClock::Wall(clock::Clock::Real)),
        Clock::Thread(thread) => Ok(TimerClock::Thread { thread: Arc::downgrade(&thread), is_user_only }),
        Clock::Process(process) => {
            Ok(TimerClock::Process { process: Arc::downgrade(&process), is_user_only })
        }
        Clock::Wall { .. } => Err(Errno::EOPNOTSUPP),
    }
}

/// The clock to sleep by: nobody sleeps until he himself has worked.
fn sleeping_clock(call: &Call<'_>, number: i32) -> Result<TimerClock, Errno> {
    let clock = timer_clock(call, number)?;
    match &clock {
        TimerClock::Thread { .. } if number == CLOCK_THREAD_CPUTIME_ID => Err(Errno::EOPNOTSUPP),
        TimerClock::Thread { thread, .. } if core::ptr::eq(thread.as_ptr(), Arc::as_ptr(call.thread)) => {
            Err(Errno::EINVAL)
        }
        _ => Ok(clock),
    }
}

pub fn clock_nanosleep(
    call: &mut Call<'_>,
    clock: i32,
    flags: i32,
    request: UserAddress,
    rest: UserAddress,
) -> Result<Outcome, Errno> {
    let clock = sleeping_clock(call, clock)?;
    let is_absolute = flags & TIMER_ABSTIME != 0;
    let (memory, thread) = (call.memory(), call.owned_thread());
    Ok(Outcome::Wait(alloc::boxed::Box::pin(async move {
        let asked =
            match complete(|| memory.read::<Timespec>(request.get())).await.and_then(Timespec::to_duration) {
                Ok(asked) => asked,
                Err(errno) => return Completion::Error(errno),
            };
        if is_absolute {
            // It ends when the clock shows that time, also if the clock is set meanwhile. Whatever a handler says, it is not
            // made again after one.
            return match thread.interruptible(clock.until(asked)).await {
                Ok(()) => Completion::Value(0),
                Err(Interrupted) => Completion::InterruptedForGood,
            };
        }
        // How long that is does not change when the time of day is set.
        let clock = match clock {
            TimerClock::Wall(_) => TimerClock::Wall(clock::Clock::Monotonic),
            other => other,
        };
        let now = clock.now().unwrap_or_default();
        let deadline = thread.deadline_after_on(now, asked);
        if thread.interruptible(clock.until(deadline)).await.is_ok() {
            return Completion::Value(0);
        }
        let again = Completion::InterruptedUntil(Instant::from_nanos(deadline.as_nanos() as u64));
        if rest.is_null() {
            return again;
        }
        let left = deadline.saturating_sub(clock.now().unwrap_or_default());
        match complete(|| memory.write(rest.get(), &Timespec::from_duration(left))).await {
            Ok(()) => again,
            Err(errno) => Completion::Error(errno),
        }
    })))
}

/// Sets the time of day, if the caller may.
fn set_time(credentials: &Credentials, time: Duration) -> Attempt {
    credentials.require(Capabilities::SYS_TIME)?;
    // The time of day is not before the machine was started.
    if time < Duration::from_nanos(Instant::now().as_nanos()) {
        return Err(Errno::EINVAL.into());
    }
    clock::set_real_time(time)?;
    Ok(0)
}

pub fn settimeofday(call: &mut Call<'_>, time: UserAddress, zone: UserAddress) -> Result<Outcome, Errno> {
    const MICROSECONDS: i64 = 1_000_000;
    let (memory, credentials) = (call.memory(), call.thread.credentials());
    Ok(attempt(call, move || {
        let mut wanted = None;
        if !time.is_null() {
            let time = memory.read::<Timeval>(time.get())?;
            // Linux takes a million for a second more.
            if !(0..=MICROSECONDS).contains(&time.tv_usec) {
                return Err(Errno::EINVAL.into());
            }
            wanted = Some(time);
        }
        if !zone.is_null() && memory.read::<Timezone>(zone.get())? != Timezone::default() {
            // Only that of Greenwich: there is no time zone in the kernel.
            return Err(Errno::EINVAL.into());
        }
        match wanted {
            Some(time) => set_time(&credentials, time.to_duration()?),
            None => Ok(credentials.require(Capabilities::SYS_TIME).map(|()| 0)?),
        }
    }))
}

pub fn clock_settime(call: &mut Call<'_>, clock: i32, time: UserAddress) -> Result<Outcome, Errno> {
    if clock != CLOCK_REALTIME {
        // Linux has other clocks, but none that can be set.
        return Err(Errno::EINVAL);
    }
    let (memory, credentials) = (call.memory(), call.thread.credentials());
    Ok(attempt(call, move || {
        let time = memory.read::<Timespec>(time.get())?.to_duration()?;
        set_time(&credentials, time)
    }))
}
