//! Stopped processes: none of their threads goes back to user mode until somebody lets them go on.
//!
//! The parent is told when the last thread has come to rest.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

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

/// Whether a process is stopped, and what its parent has yet to be told of that. Changed under the process's lock.
pub(super) struct StopState {
    is_stopped: AtomicBool,
    /// The signal that stopped it.
    signal: AtomicU8,
    /// Counts stops, so that a thread is counted once in each.
    generation: AtomicU32,
    /// How many threads have come to rest.
    resting: AtomicUsize,
    /// [`NOTHING`], or a status that `wait` has not reported.
    report: AtomicU32,
    went_on: WaitQueue,
}

impl Default for StopState {
    fn default() -> Self {
        Self {
            is_stopped: AtomicBool::new(false),
            signal: AtomicU8::new(0),
            generation: AtomicU32::new(0),
            resting: AtomicUsize::new(0),
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
    /// Whether it is stopped, or about to be.
    pub fn is_stopped(&self) -> bool {
        self.stop_state.is_stopped.load(Ordering::Acquire)
    }

    /// Stops all threads before they next enter user mode. The last to come to rest tells the parent.
    pub fn stop(&self, signal: Signal) {
        let state = &self.stop_state;
        let family = self.family.lock();
        if family.ending.is_some() || state.is_stopped.load(Ordering::Relaxed) {
            return;
        }
        state.signal.store(signal.number(), Ordering::Relaxed);
        state.resting.store(0, Ordering::Relaxed);
        state.generation.fetch_add(1, Ordering::Relaxed);
        state.is_stopped.store(true, Ordering::Release);
        // Those that run or wait come to look.
        family.threads.iter().for_each(|thread| thread.add_work(Work::SIGNAL));
    }

    /// Lets the process go on if it is stopped.
    pub fn go_on(&self) {
        let state = &self.stop_state;
        let family = self.family.lock();
        if !state.is_stopped.swap(false, Ordering::AcqRel) {
            return;
        }
        let was_at_rest = state.resting.load(Ordering::Relaxed) >= family.threads.len();
        drop(family);
        if was_at_rest {
            self.tell_parent(WaitStatus::Continued);
        }
        state.went_on.wake_all();
    }

    /// One more thread has come to rest, or one that had not has ended.
    fn count_resting(&self, newly_resting: usize) {
        let state = &self.stop_state;
        let family = self.family.lock();
        let before = state.resting.fetch_add(newly_resting, Ordering::Relaxed);
        let is_whole = before + newly_resting == family.threads.len();
        if !is_whole || !state.is_stopped.load(Ordering::Relaxed) || family.threads.is_empty() {
            return;
        }
        drop(family);
        self.tell_parent(WaitStatus::Stopped(state.signal.load(Ordering::Relaxed)));
    }

    /// A thread has ended: perhaps it was the last that had not come to rest.
    pub(super) fn note_end_of_thread(&self) {
        if self.is_stopped() {
            self.count_resting(0);
        }
    }

    fn tell_parent(&self, status: WaitStatus) {
        self.stop_state.report.store(status.encode(), Ordering::Release);
        let Some(parent) = self.family.lock().parent.upgrade() else { return };
        let action = parent.signal_action(Signal::SIGCHLD);
        let wants_signal = action.is_some_and(|action| {
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
        let process = self.process();
        let state = &process.stop_state;
        if !state.is_stopped.load(Ordering::Acquire) {
            return;
        }
        let mut counted_in = None;
        state
            .went_on
            .wait_until(|| {
                if !state.is_stopped.load(Ordering::Acquire) || self.work().contains(Work::EXIT) {
                    return Some(());
                }
                let generation = state.generation.load(Ordering::Relaxed);
                if counted_in.replace(generation) != Some(generation) {
                    process.count_resting(1);
                }
                None
            })
            .await;
    }
}
