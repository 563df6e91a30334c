//! Signals: what each does, who blocks which, what is pending.
//!
//! What is sent to a process waits in one queue for all its threads, what is sent to a thread in its own. A standard
//! signal is queued once, a real-time one each time it is sent. The information travels with it.
//!
//! The file is long because sending, pending and taking are one protocol on two queues and a mask.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use kernel_hal::Instant;
use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::process::WaitStatus;
use linux_abi::signal::{
    ActionFlags, SIG_DFL, SIG_IGN, SS_DISABLE, SigAction, Signal, SignalSet, SignalStack,
};
use linux_abi::signal_info::{SI_KERNEL, SI_USER, SignalInfo};
use zerocopy::FromZeros;

use crate::process::Process;
use crate::thread::{Thread, Work};

/// Signals are numbered from 1 to this.
pub const SIGNALS: usize = 64;

/// Actions are kept by groups of so many signals.
const GROUP: usize = 8;

/// What each signal does, shared by the threads of a process.
///
/// Most programs change a few: a group of signals of which none was changed is an empty list, so that a copy for a new
/// process and a new start for a new program cost little.
pub struct SignalActions(SpinLock<ActionGroups>);

#[derive(Clone, Default)]
struct ActionGroups([Vec<SigAction>; SIGNALS / GROUP]);

/// Where a signal's action is: the group, and the place in it.
#[inline]
fn slot(signal: Signal) -> (usize, usize) {
    let index = usize::from(signal.number()) - 1;
    (index / GROUP, index % GROUP)
}

impl ActionGroups {
    #[inline]
    fn get(&self, signal: Signal) -> SigAction {
        let (group, place) = slot(signal);
        self.0[group].get(place).copied().unwrap_or_default()
    }

    /// Replaces an action; returns the former one. `ENOMEM`: there is no room for the group.
    fn replace(&mut self, signal: Signal, action: SigAction) -> Result<SigAction, Errno> {
        let (group, place) = slot(signal);
        let group = &mut self.0[group];
        if group.is_empty() {
            if action == SigAction::default() {
                return Ok(action);
            }
            group.try_reserve_exact(GROUP).map_err(|_| Errno::ENOMEM)?;
            group.resize(GROUP, SigAction::default());
        }
        Ok(core::mem::replace(&mut group[place], action))
    }
}

impl Default for SignalActions {
    fn default() -> Self {
        Self::with(ActionGroups::default())
    }
}

impl SignalActions {
    fn with(actions: ActionGroups) -> Self {
        Self(SpinLock::new(Rank::FILE_TABLE, actions))
    }

    /// What a signal does.
    pub fn get(&self, signal: Signal) -> SigAction {
        self.0.lock().get(signal)
    }

    /// Sets what a signal does; returns what it did.
    pub fn set(&self, signal: Signal, action: SigAction) -> Result<SigAction, Errno> {
        if signal == Signal::SIGKILL || signal == Signal::SIGSTOP {
            return Err(Errno::EINVAL);
        }
        self.0.lock().replace(signal, action)
    }

    /// What a signal does, to run its handler: one that is reset by running (`SA_RESETHAND`) is.
    pub fn take(&self, signal: Signal) -> SigAction {
        let mut actions = self.0.lock();
        let action = actions.get(signal);
        if ActionFlags::from_bits_retain(action.sa_flags).contains(ActionFlags::RESETHAND) {
            // It has an action of its own, so it has room for another.
            let _ = actions.replace(signal, SigAction { sa_handler: SIG_DFL, ..action });
        }
        action
    }

    /// A copy for a new process.
    pub fn duplicate(&self) -> Self {
        Self::with(self.0.lock().clone())
    }

    /// A copy for a new program: handlers are gone with the old one, ignored signals stay ignored.
    pub fn for_new_program(&self) -> Self {
        let mut actions = self.0.lock().clone();
        for action in actions.0.iter_mut().flatten() {
            if action.sa_handler != SIG_IGN {
                *action = SigAction::default();
            }
        }
        for group in &mut actions.0 {
            if group.iter().all(|action| *action == SigAction::default()) {
                *group = Vec::new();
            }
        }
        Self::with(actions)
    }
}

/// Signals that tell of what the thread is just doing: they go before all others.
const SYNCHRONOUS: SignalSet = SignalSet::from_bits(
    SignalSet::of(Signal::SIGSEGV).bits()
        | SignalSet::of(Signal::SIGBUS).bits()
        | SignalSet::of(Signal::SIGILL).bits()
        | SignalSet::of(Signal::SIGTRAP).bits()
        | SignalSet::of(Signal::SIGFPE).bits()
        | SignalSet::of(Signal::SIGSYS).bits(),
);

/// Signals that were sent and not yet acted on.
#[derive(Default)]
pub struct PendingSignals {
    set: SignalSet,
    queue: VecDeque<SignalInfo>,
}

impl PendingSignals {
    /// Which signals are pending.
    pub fn set(&self) -> SignalSet {
        self.set
    }

    /// Adds a signal, if no more than `limit` are queued. A standard one that is pending already is sent once. `EAGAIN`: there
    /// is no room for a real-time one that carries something.
    pub fn push(&mut self, signal: Signal, info: &SignalInfo, limit: u64) -> Result<(), Errno> {
        if self.set.contains(signal) && !signal.is_real_time() {
            return Ok(());
        }
        // What the kernel says by a standard signal is not subject to the limit.
        let is_exempt = !signal.is_real_time() && info.si_code >= 0;
        let is_full = !is_exempt && self.queue.len() as u64 >= limit;
        if is_full || self.queue.try_reserve(1).is_err() {
            if signal.is_real_time() && info.si_code != SI_USER && info.si_code != SI_KERNEL {
                return Err(Errno::EAGAIN);
            }
            // Whether a signal is pending is never forgotten; what came with it may be.
            self.set.insert(signal);
            return Ok(());
        }
        self.set.insert(signal);
        self.queue.push_back(*info);
        Ok(())
    }

    /// Adds a signal that whoever sends it sends once at a time: it is queued beside others of its number, whatever the limit.
    fn push_own(&mut self, signal: Signal, info: SignalInfo) -> Result<(), Errno> {
        self.queue.try_reserve(1).map_err(|_| Errno::EAGAIN)?;
        self.set.insert(signal);
        self.queue.push_back(info);
        Ok(())
    }

    /// Puts a signal back that was taken and that nobody has learnt of: it is the next of its number again.
    fn give_back(&mut self, signal: Signal, info: SignalInfo) {
        self.set.insert(signal);
        if self.queue.try_reserve(1).is_ok() {
            self.queue.push_front(info);
        }
    }

    /// Takes the pending signal with the lowest number of those that are not blocked. What came with it goes to a place
    /// that the caller has: it is too large to be handed up from call to call.
    #[inline]
    pub fn take(&mut self, blocked: SignalSet, info: &mut SignalInfo) -> Option<Signal> {
        let deliverable = self.set.difference(blocked);
        if deliverable.is_empty() { None } else { self.take_first(deliverable, info) }
    }

    fn take_first(&mut self, deliverable: SignalSet, taken: &mut SignalInfo) -> Option<Signal> {
        let signal = deliverable.intersection(SYNCHRONOUS).first().or(deliverable.first())?;
        let is_it = |info: &SignalInfo| info.si_signo == i32::from(signal.number());
        // Most often one signal is pending, and it is this one.
        let index =
            if self.queue.front().is_some_and(is_it) { Some(0) } else { self.queue.iter().position(is_it) };
        match index {
            Some(index) => {
                *taken = self.queue[index];
                let _ = if index == 0 { self.queue.pop_front() } else { self.queue.remove(index) };
            }
            None => *taken = SignalInfo::kernel(signal),
        }
        if self.queue.is_empty() || !self.queue.iter().any(is_it) {
            self.set.remove(signal);
        }
        Some(signal)
    }

    /// Forgets a signal.
    pub fn discard(&mut self, signal: Signal) {
        self.set.remove(signal);
        self.queue.retain(|info| info.si_signo != i32::from(signal.number()));
    }
}

/// One thread's mask, its own pending signals, and the stack for its handlers.
pub struct ThreadSignals {
    /// Signals that wait until they are unblocked.
    pub blocked: SignalSet,
    /// Signals that the thread waits for right now, to take them itself: they wake it, and none of them is ignored.
    awaited: SignalSet,
    /// Signals that were sent to this thread.
    pub pending: PendingSignals,
    /// Where handlers that ask for it run.
    pub alternate_stack: SignalStack,
    /// The mask to return to after the next handler: `sigsuspend` and its kin replaced it for a wait.
    pub saved_mask: Option<SignalSet>,
}

impl Default for ThreadSignals {
    fn default() -> Self {
        Self::with(SignalSet::EMPTY, NO_STACK)
    }
}

/// What `sigaltstack` says of a thread without an alternate stack.
pub const NO_STACK: SignalStack =
    SignalStack { ss_sp: 0, ss_flags: SS_DISABLE, padding_after_flags: 0, ss_size: 0 };

impl ThreadSignals {
    fn with(blocked: SignalSet, alternate_stack: SignalStack) -> Self {
        Self {
            blocked,
            awaited: SignalSet::EMPTY,
            pending: PendingSignals::default(),
            alternate_stack,
            saved_mask: None,
        }
    }

    /// What a new thread begins with: the mask, nothing pending; a new process keeps the alternate stack.
    pub fn inherit(&self, shares_memory: bool) -> Self {
        Self::with(self.blocked, if shares_memory { NO_STACK } else { self.alternate_stack })
    }

    /// Whether sending the signal gives the thread something to do at once.
    fn takes(&self, signal: Signal) -> bool {
        self.awaited.contains(signal) || !self.blocked.contains(signal)
    }

    /// Whether the signal stays pending even if the process ignores it: it may be taken later, or is waited for.
    fn keeps(&self, signal: Signal) -> bool {
        self.awaited.contains(signal) || self.blocked.contains(signal)
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

const STOP_SIGNALS: [Signal; 4] = [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// Signals that stop a process or let it go on.
const JOB_SIGNALS: SignalSet = SignalSet::from_bits(
    SignalSet::of(Signal::SIGSTOP).bits()
        | SignalSet::of(Signal::SIGTSTP).bits()
        | SignalSet::of(Signal::SIGTTIN).bits()
        | SignalSet::of(Signal::SIGTTOU).bits()
        | SignalSet::of(Signal::SIGCONT).bits(),
);

/// What sending some signals does at once, whatever the process does about them later: SIGCONT lets a stopped process go on,
/// and stopping and going on cancel each other.
#[inline]
fn act_on_sending(process: &Process, signal: Signal) {
    if JOB_SIGNALS.contains(signal) {
        act_on_job_signal(process, signal);
    }
}

fn act_on_job_signal(process: &Process, signal: Signal) {
    let cancelled: &[Signal] = match signal {
        Signal::SIGCONT => &STOP_SIGNALS,
        _ => &[Signal::SIGCONT],
    };
    for &other in cancelled {
        process.with_pending_signals(|pending| pending.discard(other));
        process.with_threads(|threads| {
            for thread in threads {
                thread.with_signals(|signals| signals.pending.discard(other));
            }
        });
    }
    if signal == Signal::SIGCONT {
        process.go_on();
    }
}

/// Whether sending a signal has no effect unless somebody keeps it. The first process gets only what it has a handler for.
fn is_ignored_by(process: &Process, thread: &Thread, signal: Signal) -> bool {
    let action = thread.signal_action(signal);
    is_ignored(action, signal) || process.is_first() && action.sa_handler == SIG_DFL
}

/// Sends a signal to one thread. `EAGAIN` if too many are queued.
pub fn try_send_to_thread(thread: &Arc<Thread>, signal: Signal, info: SignalInfo) -> Result<(), Errno> {
    let limit = thread.process().limits().queued_signals();
    add_to_thread(thread, signal, |pending| pending.push(signal, &info, limit)).map(drop)
}

/// Sends a signal to a process: a thread that does not block it is told, if there is one. `EAGAIN` if too many are queued.
pub fn try_send_to_process(process: &Process, signal: Signal, info: SignalInfo) -> Result<(), Errno> {
    let limit = process.limits().queued_signals();
    add_to_process(process, signal, |pending| pending.push(signal, &info, limit)).map(drop)
}

/// Sends the signal of a timer, of which one at a time is queued, to a thread or to the whole process. Returns whether it is
/// pending now, or ignored.
pub(crate) fn send_own(
    process: &Process,
    thread: Option<&Arc<Thread>>,
    signal: Signal,
    info: SignalInfo,
) -> Result<bool, Errno> {
    let push = |pending: &mut PendingSignals| pending.push_own(signal, info);
    match thread {
        Some(thread) => add_to_thread(thread, signal, push),
        None => add_to_process(process, signal, push),
    }
}

/// Sends a process a signal that says no more than that. Returns whether it is pending now, or ignored.
pub(crate) fn send_from_kernel(process: &Process, signal: Signal) -> bool {
    let info = SignalInfo::kernel(signal);
    add_to_process(process, signal, |pending| pending.push(signal, &info, u64::MAX))
        .is_ok_and(|is_added| is_added)
}

/// Adds a signal to those pending for a thread, unless it is ignored, and tells the thread.
fn add_to_thread(
    thread: &Arc<Thread>,
    signal: Signal,
    push: impl FnOnce(&mut PendingSignals) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    let process = thread.process();
    if signal == Signal::SIGKILL && !process.is_first() {
        // Who is stopped ends where it stands: it must not go on for a moment.
        process.request_exit(killed_by(signal));
        return Ok(true);
    }
    act_on_sending(process, signal);
    let is_ignored = is_ignored_by(process, thread, signal);
    let (is_added, is_deliverable) = thread.with_signals(|signals| {
        let is_added = signals.keeps(signal) || !is_ignored;
        if is_added {
            push(&mut signals.pending)?;
        }
        Ok::<_, Errno>((is_added, signals.takes(signal) && signals.pending.set().contains(signal)))
    })?;
    if is_deliverable {
        thread.add_work(Work::SIGNAL);
    }
    process.signal_arrival().announce();
    Ok(is_added)
}

/// Adds a signal to those pending for a process, unless it is ignored, and tells one of its threads.
fn add_to_process(
    process: &Process,
    signal: Signal,
    push: impl FnOnce(&mut PendingSignals) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    if signal == Signal::SIGKILL && !process.is_first() {
        // Who is stopped ends where it stands: it must not go on for a moment.
        process.request_exit(killed_by(signal));
        return Ok(true);
    }
    act_on_sending(process, signal);
    let is_added = process.with_threads(|threads| {
        let Some(first) = threads.first() else { return Ok(false) };
        let keeps = |thread: &Arc<Thread>| thread.with_signals(|signals| signals.keeps(signal));
        if is_ignored_by(process, first, signal) && !threads.iter().any(keeps) {
            return Ok(false);
        }
        process.with_pending_signals(push)?;
        let takes = |thread: &&Arc<Thread>| thread.with_signals(|signals| signals.takes(signal));
        // Somebody who has nothing to do about another signal yet, if there is one.
        let is_free = |thread: &&Arc<Thread>| !thread.work().contains(Work::SIGNAL) && takes(thread);
        if let Some(thread) = threads.iter().find(is_free).or_else(|| threads.iter().find(takes)) {
            thread.add_work(Work::SIGNAL);
        }
        Ok::<_, Errno>(true)
    })?;
    process.signal_arrival().announce();
    Ok(is_added)
}

/// Sends a signal to one thread; if too many are queued it is lost.
pub fn send_to_thread(thread: &Arc<Thread>, signal: Signal, info: SignalInfo) {
    let _ = try_send_to_thread(thread, signal, info);
}

/// Sends a signal to a process; if too many are queued it is lost.
pub fn send_to_process(process: &Process, signal: Signal, info: SignalInfo) {
    let _ = try_send_to_process(process, signal, info);
}

/// Signals that all threads of a process block, or that are not for them: after a change of what a signal does, those that
/// are pending and now ignored are forgotten.
pub fn forget_ignored(process: &Process, signal: Signal, action: &SigAction) {
    if !is_ignored(*action, signal) {
        return;
    }
    process.with_pending_signals(|pending| pending.discard(signal));
    process.with_threads(|threads| {
        for thread in threads {
            thread.with_signals(|signals| signals.pending.discard(signal));
        }
    });
}

/// Sends a thread a signal that it brought upon itself: blocked or ignored, it ends the process.
pub fn force(thread: &Arc<Thread>, signal: Signal, info: SignalInfo) {
    let actions = thread.resources().signal_actions;
    let is_blocked = thread.with_signals(|signals| signals.blocked.contains(signal));
    if is_blocked || actions.get(signal).sa_handler == SIG_IGN {
        thread.process().request_exit(killed_by(signal));
        return;
    }
    // The kernel's own word is never lost for want of room; without memory for it the signal alone is pending.
    let _ = thread.with_signals(|signals| signals.pending.push(signal, &info, u64::MAX));
    thread.add_work(Work::SIGNAL);
}

/// A thread's next signal that it does not block, the thread's own first, then the process's; and whether there may be
/// another one for a handler's mask that blocks no less.
#[inline]
pub fn take_deliverable(thread: &Thread, info: &mut SignalInfo) -> Option<(Signal, bool)> {
    let (own, blocked) =
        thread.with_signals(|signals| (signals.pending.take(signals.blocked, info), signals.blocked));
    let (signal, has_more) = match own {
        Some(signal) => (signal, true),
        None => thread.process().with_pending_signals(|pending| {
            let signal = pending.take(blocked, info)?;
            Some((signal, !pending.set().difference(blocked).is_empty()))
        })?,
    };
    note_taken(thread, signal, info, own.is_some());
    Some((signal, has_more))
}

/// A signal that was pending for a thread.
pub(crate) struct Taken {
    pub signal: Signal,
    pub info: SignalInfo,
    /// Whether it was the thread's own.
    was_own: bool,
}

/// Takes the next signal that is not in `blocked`: the thread's own first, then the process's.
pub(crate) fn take(thread: &Thread, blocked: SignalSet) -> Option<Taken> {
    let mut info = SignalInfo::new_zeroed();
    let own = thread.with_signals(|signals| signals.pending.take(blocked, &mut info));
    let take_shared = || thread.process().with_pending_signals(|pending| pending.take(blocked, &mut info));
    let signal = own.or_else(take_shared)?;
    note_taken(thread, signal, &mut info, own.is_some());
    Some(Taken { signal, info, was_own: own.is_some() })
}

/// Timers go on when their signal is taken.
#[inline]
fn note_taken(thread: &Thread, signal: Signal, info: &mut SignalInfo, was_own: bool) {
    if info.mark() != 0 {
        *info = thread.process().timers().signal_taken(*info);
    } else if signal == Signal::SIGALRM && !was_own {
        thread.process().timers().alarm_taken();
    }
}

/// Makes a signal pending again that was taken and that nobody has learnt of.
pub(crate) fn give_back(thread: &Thread, taken: &Taken) {
    let (signal, info) = (taken.signal, taken.info);
    match taken.was_own {
        true => thread.with_signals(|signals| signals.pending.give_back(signal, info)),
        false => thread.process().with_pending_signals(|pending| pending.give_back(signal, info)),
    }
}

/// Whether a thread has a signal that it does not block.
pub fn has_deliverable(thread: &Thread) -> bool {
    let (own, blocked) = thread.with_signals(|signals| (signals.pending.set(), signals.blocked));
    let shared = thread.process().with_pending_signals(|pending| pending.set());
    !own.union(shared).difference(blocked).is_empty()
}

/// Signals that are pending for a thread, blocked or not.
pub fn pending_for(thread: &Thread) -> SignalSet {
    let own = thread.with_signals(|signals| signals.pending.set());
    own.union(thread.process().with_pending_signals(|pending| pending.set()))
}

/// Waits until one of these signals is pending for the thread, and takes it. `EAGAIN` after the deadline, `EINTR` if
/// another signal comes that the thread does not block.
pub async fn wait_for(
    thread: &Thread,
    set: SignalSet,
    deadline: Instant,
) -> Result<(Signal, SignalInfo), Errno> {
    let others = SignalSet::from_bits(!set.bits());
    thread.with_signals(|signals| signals.awaited = set);
    let mut sleep = pin!(executor::sleep_until(deadline));
    let outcome = poll_fn(|context| {
        thread.clear_work(Work::SIGNAL);
        if let Some(Taken { signal, info, .. }) = take(thread, others) {
            return Poll::Ready(Ok((signal, info)));
        }
        if has_deliverable(thread) || thread.work().contains(Work::EXIT) {
            return Poll::Ready(Err(Errno::EINTR));
        }
        sleep.as_mut().poll(context).map(|_| Err(Errno::EAGAIN))
    })
    .await;
    thread.with_signals(|signals| signals.awaited = SignalSet::EMPTY);
    if has_deliverable(thread) {
        thread.add_work(Work::SIGNAL);
    }
    outcome
}

/// Whether an interrupted call is made again after this handler.
pub fn restarts_calls(action: &SigAction) -> bool {
    ActionFlags::from_bits_retain(action.sa_flags).contains(ActionFlags::RESTART)
}

/// The status of a process that a signal ended.
pub fn killed_by(signal: Signal) -> WaitStatus {
    WaitStatus::Killed { signal: signal.number(), core_dumped: false }
}
