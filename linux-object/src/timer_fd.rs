//! `timerfd`: a timer that is read through a descriptor.
//!
//! The executor's timer is armed for the next expiry only and tells who waits. How often a periodic timer has expired is
//! computed when somebody asks, and reading arms it again: a timer that nobody reads costs one interrupt.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;

use executor::Sleep;
use kernel_hal::Instant;
use ksync::{Observation, Observer, Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::poll::PollEvents;

use crate::clock::{self, Clock};
use crate::file::File;
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::user_buffer::UserBuffer;

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const BYTES: usize = size_of::<u64>();

/// How a timer is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// When it expires: a time of the clock, or from now. Zero: not at all.
    pub value: Duration,
    /// How long after that again, and so on. Zero: not again.
    pub interval: Duration,
}

#[derive(Default)]
struct State {
    /// The next expiry that was not read.
    next: Option<Instant>,
    interval: Duration,
    /// The same as a time of the clock, if that can be set and the timer follows it.
    follows: Option<Duration>,
    /// Whether setting the clock ends it, and whether that has happened.
    ends_when_set: bool,
    was_ended: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

struct Timer {
    clock: Clock,
    state: SpinLock<State>,
    expired: WaitQueue,
}

/// A timer behind a descriptor.
pub struct TimerFd {
    timer: Arc<Timer>,
    /// While the timer follows a clock that can be set.
    following: SpinLock<Option<Observation<&'static WaitQueue>>>,
}

impl State {
    /// How often it has expired by now and was not read.
    fn expirations(&self, now: Instant) -> u64 {
        match self.next {
            Some(next) if next <= now => match self.interval.as_nanos() as u64 {
                0 => 1,
                interval => 1 + now.since(next).as_nanos() as u64 / interval,
            },
            _ => 0,
        }
    }

    /// The expiry after those.
    fn following(&self, expirations: u64) -> Option<Instant> {
        if expirations == 0 {
            return self.next;
        }
        let interval = self.interval.as_nanos() as u64;
        let distance = Duration::from_nanos(interval.saturating_mul(expirations));
        self.next.filter(|_| interval != 0).map(|next| next + distance)
    }
}

impl Timer {
    /// Has the executor wake us at the next expiry. Returns the previous sleep, to be dropped without the lock.
    fn arm(self: &Arc<Self>, state: &mut State) -> Option<Pin<Box<Sleep>>> {
        let sleep = state.next.map(|next| {
            let mut sleep = Box::pin(executor::sleep_until(next));
            let waker = Waker::from(self.clone());
            if sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.clone().wake();
            }
            sleep
        });
        core::mem::replace(&mut state.sleep, sleep)
    }
}

impl Wake for Timer {
    /// Called by the executor's timer, also from its interrupt handler.
    fn wake(self: Arc<Self>) {
        self.expired.wake_one_for(READABLE.bits());
    }
}

impl Observer for Timer {
    /// The clock was set.
    fn notify(self: Arc<Self>, _events: u32) -> bool {
        let previous = {
            let mut state = self.state.lock();
            let Some(value) = state.follows else { return false };
            if state.ends_when_set {
                state.was_ended = true;
            }
            state.next = Some(self.clock.moment(value));
            self.arm(&mut state)
        };
        drop(previous);
        self.expired.wake_all_for(READABLE.bits());
        true
    }
}

impl TimerFd {
    /// A timer that is not set.
    pub fn new(clock: Clock) -> Result<Arc<Self>, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let state = SpinLock::new(Rank::FILE, State::default());
        let timer = Arc::new(Timer { clock, state, expired: WaitQueue::new("timerfd") });
        Ok(Arc::new(Self { timer, following: SpinLock::new(Rank::PROCESS, None) }))
    }

    /// Sets the timer; returns how it was set.
    pub fn set(&self, setting: Setting, is_absolute: bool, ends_when_set: bool) -> Setting {
        let timer = &self.timer;
        let is_set = !setting.value.is_zero();
        let follows = (is_set && is_absolute && timer.clock.can_be_set()).then_some(setting.value);
        let ends_when_set = ends_when_set && follows.is_some();
        {
            let mut following = self.following.lock();
            let observe = || {
                let timer: Arc<dyn Observer> = timer.clone();
                Observation::new(clock::was_set(), timer, ksync::EVERY_EVENT)
            };
            let wanted = follows.map(|_| observe());
            let previous = core::mem::replace(&mut *following, wanted);
            drop(previous);
        }
        let now = Instant::now();
        let (former, previous) = {
            let mut state = timer.state.lock();
            let former = describe(&state, now);
            state.next = is_set
                .then(|| if is_absolute { timer.clock.moment(setting.value) } else { now + setting.value });
            state.interval = setting.interval;
            state.follows = follows;
            state.ends_when_set = ends_when_set;
            state.was_ended = false;
            (former, timer.arm(&mut state))
        };
        drop(previous);
        former
    }

    /// How long until the next expiry, and the interval.
    pub fn setting(&self) -> Setting {
        describe(&self.timer.state.lock(), Instant::now())
    }
}

fn describe(state: &State, now: Instant) -> Setting {
    let next = state.following(state.expirations(now));
    let value = next.map_or(Duration::ZERO, |next| next.since(now).max(Duration::from_nanos(1)));
    Setting { value, interval: state.interval }
}

impl Waitable for Timer {
    fn wait_queue(&self) -> &WaitQueue {
        &self.expired
    }
}

impl Waitable for TimerFd {
    fn wait_queue(&self) -> &WaitQueue {
        &self.timer.expired
    }
}

impl File for TimerFd {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        if buffer.remaining() < BYTES {
            return Err(Errno::EINVAL.into());
        }
        let timer = &self.timer;
        let now = Instant::now();
        let mut previous = None;
        let (count, before) = {
            let mut state = timer.state.lock();
            if core::mem::take(&mut state.was_ended) {
                return Err(Errno::ECANCELED.into());
            }
            let count = state.expirations(now);
            let before = state.next;
            if count > 0 {
                state.next = state.following(count);
                state.follows = None;
                previous = timer.arm(&mut state);
            }
            (count, before)
        };
        drop(previous);
        if count == 0 {
            return Err(Obstacle::NotReadyFor(timer.clone(), READABLE));
        }
        let mark = buffer.mark();
        if let Err(obstacle) = buffer.copy_out(&count.to_le_bytes()) {
            // Nobody has learnt of it: it is still to be read.
            buffer.rewind(mark);
            timer.state.lock().next = before;
            return Err(obstacle);
        }
        Ok(buffer.done())
    }

    fn ready(&self) -> PollEvents {
        let state = self.timer.state.lock();
        let mut events = PollEvents::empty();
        let is_readable = state.was_ended || state.next.is_some_and(|next| next <= Instant::now());
        events.set(READABLE, is_readable);
        events
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        output.write_str("anon_inode:[timerfd]")
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        // The sleep's waker keeps the timer, so it is taken out of it.
        let sleep = self.timer.state.lock().sleep.take();
        drop(sleep);
    }
}
