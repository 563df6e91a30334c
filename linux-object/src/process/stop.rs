//! Stopped processes: none of their threads goes back to user mode until somebody lets them go on.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ksync::WaitQueue;
use linux_abi::process::{WaitFlags, WaitStatus};
use linux_abi::signal::{ActionFlags, Signal};
use linux_abi::signal_info::SignalInfo;

use super::Process;
use super::exit::report;
use crate::signal;
use crate::thread::{Thread, Work};

/// What `report` holds when there is nothing to tell.
const NOTHING: u32 = 0;

/// Whether a process is stopped, and what its parent has yet to be told of that.
pub(super) struct StopState {
    is_stopped: AtomicBool,
    /// [`NOTHING`], or a status that `wait` has not reported.
    report: AtomicU32,
    went_on: WaitQueue,
}

impl Default for StopState {
    fn default() -> Self {
        Self {
            is_stopped: AtomicBool::new(false),
            report: AtomicU32::new(NOTHING),
            went_on: WaitQueue::new("stopped"),
        }
    }
}

impl StopState {
    /// What a `wait` with these flags is to report, once.
    pub(super) fn take_report(&self, flags: WaitFlags) -> Option<u32> {
        let status = self.report.load(Ordering::Acquire);
        let is_wanted = match status {
            NOTHING => false,
            _ if status == WaitStatus::Continued.encode() => flags.contains(WaitFlags::CONTINUED),
            _ => flags.contains(WaitFlags::UNTRACED),
        };
        if is_wanted && !flags.contains(WaitFlags::NOWAIT) {
            self.report.store(NOTHING, Ordering::Release);
        }
        is_wanted.then_some(status)
    }
}

impl Process {
    /// Stops all threads before they next enter user mode, and tells the parent.
    pub fn stop(&self, signal: Signal) {
        if self.stop_state.is_stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.tell_parent(WaitStatus::Stopped(signal.number()));
        // Those that run or wait come to look.
        self.threads().iter().for_each(|thread| thread.add_work(Work::SIGNAL));
    }

    /// Lets the process go on if it is stopped.
    pub fn go_on(&self) {
        if self.stop_state.is_stopped.swap(false, Ordering::AcqRel) {
            self.tell_parent(WaitStatus::Continued);
            self.stop_state.went_on.wake_all();
        }
    }

    /// Whether it is stopped.
    pub fn is_stopped(&self) -> bool {
        self.stop_state.is_stopped.load(Ordering::Acquire)
    }

    fn tell_parent(&self, status: WaitStatus) {
        self.stop_state.report.store(status.encode(), Ordering::Release);
        let Some(parent) = self.family.lock().parent.upgrade() else { return };
        let wants_signal = parent.threads().first().is_some_and(|thread| {
            let action = thread.resources().signal_actions.get(Signal::SIGCHLD);
            !ActionFlags::from_bits_retain(action.sa_flags).contains(ActionFlags::NOCLDSTOP)
        });
        if wants_signal {
            signal::send_to_process(&parent, Signal::SIGCHLD, SignalInfo::child(report(self, status)));
        }
        parent.child_event.wake_all();
    }
}

impl Thread {
    /// Waits while the process is stopped; not if the thread must end.
    pub async fn until_process_goes_on(&self) {
        let state = &self.process().stop_state;
        if !state.is_stopped.load(Ordering::Acquire) {
            return;
        }
        state
            .went_on
            .wait_until(|| {
                let goes_on = !state.is_stopped.load(Ordering::Acquire) || self.work().contains(Work::EXIT);
                goes_on.then_some(())
            })
            .await;
    }
}
