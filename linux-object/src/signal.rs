//! Signals: what each does, who blocks which, what is pending.
//!
//! A standard signal is pending or not; what cannot be blocked or ignored ends the process at once.

use alloc::sync::Arc;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::process::WaitStatus;
use linux_abi::signal::{SIG_DFL, SIG_IGN, SigAction, Signal, SignalSet};

use crate::process::Process;
use crate::thread::{Thread, Work};

/// Signals are numbered from 1 to this.
pub const SIGNALS: usize = 64;

/// What each signal does, shared by the threads of a process.
pub struct SignalActions(SpinLock<[SigAction; SIGNALS]>);

impl Default for SignalActions {
    fn default() -> Self {
        Self::with([SigAction::default(); SIGNALS])
    }
}

impl SignalActions {
    fn with(actions: [SigAction; SIGNALS]) -> Self {
        Self(SpinLock::new(Rank::FILE_TABLE, actions))
    }

    /// What a signal does.
    pub fn get(&self, signal: Signal) -> SigAction {
        self.0.lock()[usize::from(signal.number()) - 1]
    }

    /// Sets what a signal does; returns what it did.
    pub fn set(&self, signal: Signal, action: SigAction) -> Result<SigAction, Errno> {
        if signal == Signal::SIGKILL || signal == Signal::SIGSTOP {
            return Err(Errno::EINVAL);
        }
        Ok(core::mem::replace(&mut self.0.lock()[usize::from(signal.number()) - 1], action))
    }

    /// A copy for a new process.
    pub fn duplicate(&self) -> Self {
        Self::with(*self.0.lock())
    }

    /// A copy for a new program: handlers are gone with the old one, ignored signals stay ignored.
    pub fn for_new_program(&self) -> Self {
        let mut actions = *self.0.lock();
        for action in &mut actions {
            if action.sa_handler != SIG_IGN {
                *action = SigAction::default();
            }
        }
        Self::with(actions)
    }
}

/// One thread's mask and pending signals.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadSignals {
    /// Signals that wait until they are unblocked.
    pub blocked: SignalSet,
    /// Signals that were sent and not yet acted on.
    pub pending: SignalSet,
}

impl ThreadSignals {
    /// What a new thread begins with: the mask, nothing pending.
    pub fn inherit(&self) -> Self {
        Self { blocked: self.blocked, pending: SignalSet::EMPTY }
    }

    /// Takes the lowest pending signal that is not blocked.
    pub fn take_deliverable(&mut self) -> Option<Signal> {
        let signal = self.pending.difference(self.blocked).first()?;
        self.pending.remove(signal);
        Some(signal)
    }

    /// Replaces the mask; SIGKILL and SIGSTOP cannot be blocked.
    pub fn set_blocked(&mut self, mut blocked: SignalSet) {
        blocked.remove(Signal::SIGKILL);
        blocked.remove(Signal::SIGSTOP);
        self.blocked = blocked;
    }
}

/// What happens when a signal has no handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// Nothing.
    Ignore,
    /// The process ends.
    Terminate {
        /// Where core dumps are configured, one is written.
        with_core: bool,
    },
    /// The process stops.
    Stop,
    /// The process goes on if it was stopped.
    Continue,
}

/// What happens by default.
pub fn default_action(signal: Signal) -> DefaultAction {
    match signal {
        Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH => DefaultAction::Ignore,
        Signal::SIGCONT => DefaultAction::Continue,
        Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => DefaultAction::Stop,
        Signal::SIGQUIT
        | Signal::SIGILL
        | Signal::SIGTRAP
        | Signal::SIGABRT
        | Signal::SIGBUS
        | Signal::SIGFPE
        | Signal::SIGSEGV
        | Signal::SIGXCPU
        | Signal::SIGXFSZ
        | Signal::SIGSYS => DefaultAction::Terminate { with_core: true },
        _ => DefaultAction::Terminate { with_core: false },
    }
}

fn is_ignored(action: SigAction, signal: Signal) -> bool {
    match action.sa_handler {
        SIG_IGN => true,
        SIG_DFL => {
            matches!(default_action(signal), DefaultAction::Ignore | DefaultAction::Continue)
        }
        _ => false,
    }
}

/// Sends a signal to one thread.
pub fn send_to_thread(thread: &Arc<Thread>, signal: Signal) {
    let action = thread.resources().signal_actions.get(signal);
    let deliverable = thread.with_signals(|signals| {
        let is_blocked = signals.blocked.contains(signal);
        if is_blocked || !is_ignored(action, signal) {
            signals.pending.insert(signal);
        }
        !is_blocked && signals.pending.contains(signal)
    });
    if deliverable {
        thread.add_work(Work::SIGNAL);
    }
}

/// Sends a signal to a process: to a thread that does not block it, if there is one.
pub fn send_to_process(process: &Process, signal: Signal) {
    let threads = process.threads();
    let willing = |thread: &&Arc<Thread>| !thread.with_signals(|signals| signals.blocked.contains(signal));
    if let Some(thread) = threads.iter().find(willing).or(threads.first()) {
        send_to_thread(thread, signal);
    }
}

/// Sends a thread a signal that it brought upon itself: blocked or ignored, it ends the process.
pub fn force(thread: &Arc<Thread>, signal: Signal) {
    let actions = thread.resources().signal_actions;
    let is_blocked = thread.with_signals(|signals| signals.blocked.contains(signal));
    if is_blocked || actions.get(signal).sa_handler == SIG_IGN {
        thread.process().request_exit(killed_by(signal));
        return;
    }
    thread.with_signals(|signals| signals.pending.insert(signal));
    thread.add_work(Work::SIGNAL);
}

/// The status of a process that a signal ended.
pub fn killed_by(signal: Signal) -> WaitStatus {
    WaitStatus::Killed { signal: signal.number(), core_dumped: false }
}
