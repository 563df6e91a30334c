//! One timer.

use alloc::sync::{Arc, Weak};
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use executor::TaskOptions;
use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::signal::Signal;
use linux_abi::signal_info::SignalInfo;

use super::clock::{CPU_TICK, TimerClock};
use crate::process::Process;
use crate::signal;
use crate::thread::Thread;
use crate::timer_fd::Setting;

/// Who is told of an expiry.
pub enum Telling {
    /// Nobody: somebody may ask how long it still takes.
    Nobody,
    /// The process, by a signal that says no more.
    Process {
        /// The signal.
        signal: Signal,
        /// Whether the timer goes on only when the signal was taken.
        waits_for_taking: bool,
    },
    /// The process or a thread, by a signal that says which timer it was.
    Signal {
        /// The signal.
        signal: Signal,
        /// The timer's number.
        id: i32,
        /// What the signal carries.
        value: u64,
        /// The thread; `None` for the process.
        thread: Option<Weak<Thread>>,
    },
}

/// The most that is told of what was missed.
const MOST_OVERRUN: u64 = i32::MAX as u64;

struct State {
    /// By which the expiry is reckoned.
    clock: TimerClock,
    /// The next expiry; `None` if it is not set.
    next: Option<Duration>,
    interval: Duration,
    /// The signal of the last expiry is pending; the timer stands still until it is taken.
    is_pending: bool,
    /// Tells the signals of a timer apart: who sets it again does not want to hear of the former setting.
    mark: u32,
    overrun: i32,
    /// Counts the changes that the task has to know of.
    generation: u64,
    has_task: bool,
    is_deleted: bool,
}

/// A timer that sends signals.
pub struct Timer {
    process: Weak<Process>,
    clock: TimerClock,
    telling: Telling,
    state: SpinLock<State>,
    changed: WaitQueue,
}

impl State {
    /// How often it has expired by `now`, of a periodic timer.
    fn expirations(&self, now: Duration) -> u64 {
        match (self.next, self.interval.as_nanos()) {
            (Some(next), interval) if interval > 0 && next <= now => {
                u64::try_from(1 + (now - next).as_nanos() / interval).unwrap_or(u64::MAX)
            }
            _ => 0,
        }
    }

    /// The next expiry after `now`, of a periodic timer.
    fn next_after(&self, now: Duration) -> Option<Duration> {
        let past = self.interval.as_nanos() * u128::from(self.expirations(now));
        self.next.map(|next| next + Duration::from_nanos(u64::try_from(past).unwrap_or(u64::MAX)))
    }

    fn change(&mut self) {
        self.generation += 1;
    }
}

impl Timer {
    /// A timer that is not set.
    pub fn new(process: &Arc<Process>, clock: TimerClock, telling: Telling) -> Arc<Self> {
        let state = State {
            clock: clock.clone(),
            next: None,
            interval: Duration::ZERO,
            is_pending: false,
            mark: 0,
            overrun: 0,
            generation: 0,
            has_task: false,
            is_deleted: false,
        };
        Arc::new(Self {
            process: Arc::downgrade(process),
            clock,
            telling,
            state: SpinLock::new(Rank::FILE, state),
            changed: WaitQueue::new("timer was set"),
        })
    }

    /// Sets the timer; returns how it was set.
    pub fn set(self: &Arc<Self>, setting: Setting, is_absolute: bool) -> Setting {
        let former = self.setting();
        let clock = if is_absolute { self.clock.clone() } else { self.clock.for_relative_times() };
        let now = clock.now();
        let begins = {
            let mut state = self.state.lock();
            let base = if is_absolute { Some(Duration::ZERO) } else { now };
            let is_set = !setting.value.is_zero();
            state.next = base.filter(|_| is_set).and_then(|base| base.checked_add(setting.value));
            state.interval = if is_set { setting.interval } else { Duration::ZERO };
            state.clock = clock;
            state.is_pending = false;
            state.overrun = 0;
            state.change();
            let is_needed = state.next.is_some() && !matches!(self.telling, Telling::Nobody);
            is_needed && !state.is_deleted && !core::mem::replace(&mut state.has_task, true)
        };
        if begins {
            let timer = self.clone();
            executor::spawn(TaskOptions::new("timer").boosted(), async move { timer.run().await }).detach();
        } else {
            self.changed.wake_all();
        }
        former
    }

    /// How long until the next expiry, and the interval.
    pub fn setting(&self) -> Setting {
        let clock = self.state.lock().clock.clone();
        let now = clock.now();
        let state = self.state.lock();
        let interval = state.interval;
        let (Some(next), Some(now)) = (state.next_after(now.unwrap_or_default()), now) else {
            return Setting { value: Duration::ZERO, interval };
        };
        let (least, is_over) = match self.telling {
            // Who is told nothing learns that it is over by asking.
            Telling::Nobody => (Duration::from_nanos(1), interval.is_zero() && next <= now),
            Telling::Signal { .. } => (Duration::from_nanos(1), false),
            Telling::Process { waits_for_taking: true, .. } => (Duration::from_micros(1), state.is_pending),
            Telling::Process { .. } => (CPU_TICK, false),
        };
        let value = if is_over { Duration::ZERO } else { next.saturating_sub(now).max(least) };
        Setting { value, interval }
    }

    /// What was missed before the last signal was taken.
    pub fn overrun(&self) -> i32 {
        self.state.lock().overrun
    }

    /// Ends it.
    pub(super) fn delete(&self) {
        {
            let mut state = self.state.lock();
            state.is_deleted = true;
            state.change();
        }
        self.changed.wake_all();
    }

    /// Its signal was taken: it goes on, unless it was set again since. Returns what was missed meanwhile.
    pub(super) fn signal_taken(&self, mark: Option<u32>) -> i32 {
        let clock = self.state.lock().clock.clone();
        let now = clock.now().unwrap_or_default();
        let overrun = {
            let mut state = self.state.lock();
            if !state.is_pending || mark.is_some_and(|mark| mark != state.mark) {
                return 0;
            }
            state.is_pending = false;
            let expirations = state.expirations(now);
            state.next = state.next_after(now);
            state.overrun = expirations.saturating_sub(1).min(MOST_OVERRUN) as i32;
            state.change();
            state.overrun
        };
        self.changed.wake_all();
        overrun
    }

    /// The timer's task.
    async fn run(self: Arc<Self>) {
        loop {
            let (generation, expiry) = {
                let state = self.state.lock();
                if state.is_deleted {
                    return;
                }
                let expiry = state.next.filter(|_| !state.is_pending).map(|next| (state.clock.clone(), next));
                (state.generation, expiry)
            };
            let is_changed = || (self.state.lock().generation != generation).then_some(());
            let changed = self.changed.wait_until(is_changed);
            let Some((clock, next)) = expiry else {
                changed.await;
                continue;
            };
            let (mut changed, mut expired) = (pin!(changed), pin!(clock.until(next)));
            let is_expired = poll_fn(|context| {
                if changed.as_mut().poll(context).is_ready() {
                    return Poll::Ready(false);
                }
                expired.as_mut().poll(context).map(|()| true)
            });
            if is_expired.await {
                self.expire(generation);
            }
        }
    }

    /// Tells of an expiry, unless the timer was set again since `generation`.
    fn expire(&self, generation: u64) {
        let Some(process) = self.process.upgrade() else { return };
        let clock = self.state.lock().clock.clone();
        let now = clock.now().unwrap_or_default();
        let mark = {
            let mut state = self.state.lock();
            if state.generation != generation {
                return;
            }
            let goes_on = matches!(self.telling, Telling::Process { waits_for_taking: false, .. });
            if state.interval.is_zero() {
                state.next = None;
            } else if goes_on {
                state.next = state.next_after(now);
            } else {
                state.is_pending = true;
            }
            // 0 marks the signals of others.
            state.mark = state.mark.checked_add(1).unwrap_or(1);
            state.mark
        };
        let is_pending = match &self.telling {
            Telling::Nobody => true,
            Telling::Process { signal, .. } => signal::send_from_kernel(&process, *signal),
            Telling::Signal { signal, id, value, thread } => {
                let info = SignalInfo::timer(*signal, *id, 0, *value).marked(mark);
                let target = thread.as_ref().map(Weak::upgrade);
                match target {
                    // The thread has ended.
                    Some(None) => false,
                    Some(Some(thread)) => {
                        signal::send_own(&process, Some(&thread), *signal, info) == Ok(true)
                    }
                    None => signal::send_own(&process, None, *signal, info) == Ok(true),
                }
            }
        };
        if !is_pending {
            self.go_on_untold(mark);
        }
    }

    /// The signal is ignored: nobody will take it, and who began to listen now wants to hear of the next expiry. Whatever the
    /// period, that is not looked at more often than by the clock's tick.
    fn go_on_untold(&self, mark: u32) {
        let clock = self.state.lock().clock.clone();
        let now = clock.now().unwrap_or_default();
        let mut state = self.state.lock();
        if state.is_pending && state.mark == mark {
            state.is_pending = false;
            state.next = state.next_after(now + CPU_TICK);
        }
    }
}
