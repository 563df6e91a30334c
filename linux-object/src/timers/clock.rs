//! What timers and sleepers go by.

use alloc::sync::Weak;
use core::time::Duration;

use kernel_hal::{HartId, Instant};

use crate::clock::{self, Clock};
use crate::process::Process;
use crate::thread::Thread;

/// How often it is looked at most how far a clock of time on a hart has come: Linux's timer interval.
pub const CPU_TICK: Duration = Duration::from_millis(4);

/// A clock that can be waited for.
#[derive(Clone)]
pub enum TimerClock {
    /// It goes on by itself.
    Wall(Clock),
    /// Time that a process has spent on harts.
    Process {
        /// Whose; the clock stops with it.
        process: Weak<Process>,
        /// Only the time in user mode.
        is_user_only: bool,
    },
    /// Time that a thread has spent on harts.
    Thread {
        /// Whose; the clock stops with it.
        thread: Weak<Thread>,
        /// Only the time in user mode.
        is_user_only: bool,
    },
}

impl TimerClock {
    /// What it shows; `None` if there will never be more.
    pub fn now(&self) -> Option<Duration> {
        match self {
            Self::Wall(Clock::Real) => Some(clock::real_time()),
            Self::Wall(Clock::Monotonic) => Some(Duration::from_nanos(Instant::now().as_nanos())),
            Self::Process { process, is_user_only } => {
                let process = process.upgrade().filter(|process| process.fate().is_none())?;
                Some(if *is_user_only { process.usage().user } else { process.cpu_time() })
            }
            Self::Thread { thread, is_user_only } => {
                let thread = thread.upgrade()?;
                Some(if *is_user_only { thread.usage().user } else { thread.cpu_time() })
            }
        }
    }

    /// As times from now on are counted: setting the time of day does not change how long they are.
    pub(super) fn for_relative_times(&self) -> Self {
        match self {
            Self::Wall(_) => Self::Wall(Clock::Monotonic),
            other => other.clone(),
        }
    }

    /// At how many harts at once it can go on.
    fn speed(&self) -> u32 {
        match self {
            Self::Process { .. } => HartId::count() as u32,
            _ => 1,
        }
    }

    /// Waits until it shows `time`; for ever if it stops before.
    ///
    /// Nothing happens when a thread has used a certain time, so somebody looks: when it could have been reached.
    pub async fn until(&self, time: Duration) {
        if let Self::Wall(clock) = self {
            return clock::sleep_until(*clock, time).await;
        }
        loop {
            match self.now() {
                None => core::future::pending::<()>().await,
                Some(now) if now >= time => return,
                Some(now) => executor::sleep(((time - now) / self.speed()).max(CPU_TICK)).await,
            };
        }
    }
}
