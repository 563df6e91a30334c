//! Timers that send signals: the three interval timers of a process, and those that it makes with `timer_create`.
//!
//! A timer that is set is a task of the kernel's, which waits for the expiry and sends the signal. A periodic timer sends one
//! signal at a time: it goes on when that was taken, and what it missed meanwhile is a number, the overrun. So a timer costs
//! nothing while its signal is blocked, however short its period.

mod clock;
mod timer;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::signal::Signal;
use linux_abi::signal_info::SignalInfo;
use linux_abi::time::{ITIMER_PROF, ITIMER_REAL, ITIMER_VIRTUAL};

use crate::clock::Clock;
use crate::process::Process;

pub use crate::timer_fd::Setting;
pub use clock::{CPU_TICK, TimerClock};
pub use timer::{Telling, Timer};

/// The interval timers, by the numbers that `setitimer` gives them.
const INTERVAL_TIMERS: usize = 3;

/// The timers of a process.
pub struct ProcessTimers(SpinLock<Table>);

#[derive(Default)]
struct Table {
    interval: [Option<Arc<Timer>>; INTERVAL_TIMERS],
    made: BTreeMap<i32, Arc<Timer>>,
    next: i32,
}

impl Default for ProcessTimers {
    fn default() -> Self {
        Self(SpinLock::new(Rank::FILE, Table::default()))
    }
}

/// Which interval timer a number stands for.
fn index_of(which: i32) -> Result<usize, Errno> {
    match which {
        ITIMER_REAL | ITIMER_VIRTUAL | ITIMER_PROF => Ok(which as usize),
        _ => Err(Errno::EINVAL),
    }
}

fn interval_timer(process: &Arc<Process>, which: i32) -> Arc<Timer> {
    let cpu = |is_user_only| TimerClock::Process { process: Arc::downgrade(process), is_user_only };
    let (clock, signal) = match which {
        ITIMER_REAL => (TimerClock::Wall(Clock::Monotonic), Signal::SIGALRM),
        ITIMER_VIRTUAL => (cpu(true), Signal::SIGVTALRM),
        _ => (cpu(false), Signal::SIGPROF),
    };
    let waits_for_taking = which == ITIMER_REAL;
    Timer::new(process, clock, Telling::Process { signal, waits_for_taking })
}

impl ProcessTimers {
    /// Sets an interval timer; returns how it was set.
    pub fn set_interval(
        &self,
        process: &Arc<Process>,
        which: i32,
        setting: Setting,
    ) -> Result<Setting, Errno> {
        let index = index_of(which)?;
        let known = self.0.lock().interval[index].clone();
        let timer = match known {
            Some(timer) => timer,
            None if setting.value.is_zero() => return Ok(Setting::default()),
            None => {
                kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
                let fresh = interval_timer(process, which);
                self.0.lock().interval[index].get_or_insert(fresh).clone()
            }
        };
        Ok(timer.set(setting, false))
    }

    /// How an interval timer is set.
    pub fn interval(&self, which: i32) -> Result<Setting, Errno> {
        let timer = self.0.lock().interval[index_of(which)?].clone();
        Ok(timer.map_or_else(Setting::default, |timer| timer.setting()))
    }

    /// The process has taken a SIGALRM: real time may go on.
    pub(crate) fn alarm_taken(&self) {
        let timer = self.0.lock().interval[ITIMER_REAL as usize].clone();
        if let Some(timer) = timer {
            timer.signal_taken(None);
        }
    }

    /// Makes a timer. `EAGAIN`: the process has as many as it may have signals.
    pub fn make(&self, process: &Process, timer: impl FnOnce(i32) -> Arc<Timer>) -> Result<i32, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::EAGAIN)?;
        let limit = process.limits().queued_signals();
        let id = {
            let mut table = self.0.lock();
            if table.made.len() as u64 >= limit {
                return Err(Errno::EAGAIN);
            }
            while table.made.contains_key(&table.next) {
                table.next = table.next.checked_add(1).unwrap_or(0);
            }
            let id = table.next;
            table.next = id.checked_add(1).unwrap_or(0);
            id
        };
        let timer = timer(id);
        self.0.lock().made.insert(id, timer);
        Ok(id)
    }

    /// The timer with this number.
    pub fn find(&self, id: i32) -> Result<Arc<Timer>, Errno> {
        self.0.lock().made.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// The numbers of all timers that were made.
    pub fn ids(&self) -> Vec<i32> {
        self.0.lock().made.keys().copied().collect()
    }

    /// Ends a timer.
    pub fn delete(&self, id: i32) -> Result<(), Errno> {
        let timer = self.0.lock().made.remove(&id).ok_or(Errno::EINVAL)?;
        timer.delete();
        Ok(())
    }

    /// A signal of one of the timers was taken: what is to be told with it.
    pub(crate) fn signal_taken(&self, info: SignalInfo) -> SignalInfo {
        let overrun = match self.find(info.process()) {
            Ok(timer) => timer.signal_taken(Some(info.mark())),
            Err(_) => 0,
        };
        info.marked(0).with_overrun(overrun)
    }

    /// The process executes another program: interval timers stay.
    pub(crate) fn forget_program(&self) {
        let made = core::mem::take(&mut self.0.lock().made);
        made.values().for_each(|timer| timer.delete());
    }

    /// The process has ended.
    pub(crate) fn end(&self) {
        self.forget_program();
        let interval = core::mem::take(&mut self.0.lock().interval);
        interval.iter().flatten().for_each(|timer| timer.delete());
    }
}
