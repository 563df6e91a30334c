//! Syscalls on signals, and what a thread does about those that came.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::pin::Pin;

use kernel_hal::{Instant, UserContext};
use linux_abi::Errno;
use linux_abi::signal::{
    ActionFlags, MINSIGSTKSZ, SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, SS_AUTODISARM,
    SS_DISABLE, SS_ONSTACK, SigAction, Signal, SignalSet, SignalStack,
};
use linux_abi::signal_info::{SI_TKILL, SignalInfo, UserSignalInfo};
use linux_abi::time::Timespec;
use linux_object::credentials::{may_signal, may_signal_thread};
use linux_object::obstacle::{Attempt, Obstacle, complete};
use linux_object::process::{Process, find_process_of, find_thread};
use linux_object::signal::{
    DefaultAction, NO_STACK, SignalActions, default_action, forget_ignored, has_deliverable, killed_by,
    pending_for, restarts_calls, send_to_process, take_deliverable, try_send_to_process, try_send_to_thread,
};
use linux_object::thread::{Interrupted, Thread, Work};
use linux_object::user_buffer::UserMemory;
use zerocopy::FromZeros;

use crate::argument::UserAddress;
use crate::call::{Call, Completion, Outcome, attempt, encode_error};
use crate::user_loop::UserThread;
use crate::{rseq, signal_frame};

/// Length of `ecall`.
const SYSCALL_INSTRUCTION_BYTES: usize = 4;

/// Does what is pending before the thread goes back to user mode. False: the thread must end.
pub(crate) async fn handle_work(user: &mut UserThread) -> bool {
    if user.thread.rseq() != 0 {
        settle_rseq(user).await;
    }
    if user.thread.work().contains(Work::RINGS) {
        user.thread.clear_work(Work::RINGS);
        user.thread.rings().poll_woken();
    }
    user.thread.clear_work(Work::SIGNAL | Work::PREEMPTED);
    let mut has_more = true;
    while has_more && !user.thread.work().contains(Work::EXIT) {
        if let Some(slow) = deliver_next(user, &mut has_more) {
            slow.await;
        }
    }
    if user.thread.process().is_stopped() {
        user.leave_hart();
        let thread = user.thread.clone();
        Box::pin(async move { thread.until_process_goes_on().await }).await;
    }
    if user.thread.work().contains(Work::EXIT) {
        return false;
    }
    if user.interrupted.is_some() {
        // No handler ran: the call is made again, and the mask that a wait replaced is back.
        restart(user);
        user.thread.with_signals(|signals| {
            if let Some(mask) = signals.saved_mask.take() {
                signals.blocked = mask;
            }
        });
    }
    true
}

/// Aborts a restartable sequence that the thread may be in.
async fn settle_rseq(user: &mut UserThread) {
    let memory = UserMemory::new(user.resources.address_space.clone());
    let here = user.context.program_counter;
    let settled = match rseq::try_settle(&user.thread, &memory, here) {
        Ok(goes_on_at) => Ok(goes_on_at),
        Err(Obstacle::Error(errno)) => Err(errno),
        Err(_) => {
            // A page has to be brought.
            let thread = user.thread.clone();
            user.leave_hart();
            // Boxed: it is too large for the future of every thread that waits.
            Box::pin(async move { complete(|| rseq::try_settle(&thread, &memory, here)).await }).await
        }
    };
    match settled {
        Ok(goes_on_at) => user.context.program_counter = goes_on_at,
        Err(_) => {
            let info = SignalInfo::kernel(Signal::SIGSEGV);
            user.thread.set_rseq(0, 0);
            linux_object::signal::force(&user.thread, Signal::SIGSEGV, info);
        }
    }
}

/// Lets the interrupted call be made again, or answers it if it is not to be.
fn restart(user: &mut UserThread) {
    if let Some(call) = user.interrupted.take() {
        if call.is_told {
            user.context.set_syscall_result(encode_error(Errno::EINTR));
            return;
        }
        user.context.registers[UserContext::A0] = call.first_argument;
        user.context.program_counter -= SYSCALL_INSTRUCTION_BYTES;
        user.thread.set_restart_deadline(call.deadline);
    }
}

/// Acts on the next signal, if there is one. What it returns has to be awaited: a page of the stack comes from a device.
fn deliver_next<'a>(
    user: &'a mut UserThread,
    has_more: &mut bool,
) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>> {
    let mut info = SignalInfo::new_zeroed();
    let signal;
    (signal, *has_more) = match take_deliverable(&user.thread, &mut info) {
        Some(taken) => taken,
        None => {
            *has_more = false;
            return None;
        }
    };
    let action = user.resources.signal_actions.take(signal);
    match action.sa_handler {
        SIG_IGN => return None,
        SIG_DFL => {
            match default_action(signal) {
                DefaultAction::Ignore | DefaultAction::Continue => {}
                DefaultAction::Stop => stop(user.thread.process(), signal),
                DefaultAction::Terminate { .. } => {
                    user.thread.process().request_exit(killed_by(signal));
                }
            }
            return None;
        }
        _ => {}
    }
    match user.interrupted {
        Some(call) if call.may_restart && restarts_calls(&action) => restart(user),
        Some(_) => {
            user.interrupted = None;
            user.context.set_syscall_result(encode_error(Errno::EINTR));
        }
        None => {}
    }
    user.thread.set_restart_deadline(None);
    match signal_frame::try_push(user, signal, &info, &action) {
        Err(Obstacle::Error(_)) => end_without_stack(user),
        Ok(()) => block_for_handler(user, signal, &action),
        Err(obstacle) => {
            user.leave_hart();
            return Some(Box::pin(async move {
                let mut first = Some(obstacle);
                let push = || match first.take() {
                    Some(obstacle) => Err(obstacle),
                    None => signal_frame::try_push(user, signal, &info, &action),
                };
                match complete(push).await {
                    Ok(()) => block_for_handler(user, signal, &action),
                    Err(_) => end_without_stack(user),
                }
            }));
        }
    }
    None
}

/// The program has no stack to be told on.
fn end_without_stack(user: &UserThread) {
    user.thread.process().request_exit(killed_by(Signal::SIGSEGV));
}

/// What a handler does not want to be interrupted by.
fn block_for_handler(user: &UserThread, signal: Signal, action: &SigAction) {
    user.thread.with_signals(|signals| {
        let mut blocked = signals.blocked.union(action.sa_mask);
        if !ActionFlags::from_bits_retain(action.sa_flags).contains(ActionFlags::NODEFER) {
            blocked.insert(signal);
        }
        signals.set_blocked(blocked);
        signals.saved_mask = None;
    });
}

/// A group that nobody could continue is not stopped by its terminal.
fn stop(process: &Process, signal: Signal) {
    if signal == Signal::SIGSTOP || !process.is_in_orphaned_group() {
        process.stop(signal);
    }
}

pub fn rt_sigreturn(call: &mut Call<'_>) -> Outcome {
    let memory = call.memory();
    let stack_pointer = call.context.registers[UserContext::SP];
    match signal_frame::try_pop(call.thread, &memory, stack_pointer, call.context) {
        Ok(()) => return Outcome::KeepRegisters,
        Err(Obstacle::Error(_)) => {
            refuse_frame(call.thread);
            return Outcome::KeepRegisters;
        }
        Err(_) => {}
    }
    // A page of the stack has to be brought.
    let thread = call.owned_thread();
    Outcome::Wait(Box::pin(async move {
        let mut context = Box::new(UserContext::default());
        let pop = complete(|| signal_frame::try_pop(&thread, &memory, stack_pointer, &mut context)).await;
        match pop {
            Ok(()) => Completion::Registers(context),
            Err(_) => {
                refuse_frame(&thread);
                Completion::Interrupted
            }
        }
    }))
}

/// What a handler left on the stack makes no sense.
fn refuse_frame(thread: &Arc<Thread>) {
    let info = SignalInfo::kernel(Signal::SIGSEGV);
    linux_object::signal::force(thread, Signal::SIGSEGV, info);
}

pub fn sigaltstack(call: &mut Call<'_>, new: UserAddress, old: UserAddress) -> Result<Outcome, Errno> {
    let stack_pointer = call.context.registers[UserContext::SP] as u64;
    let (memory, thread) = (call.memory(), call.owned_thread());
    Ok(attempt(call, move || {
        let current = thread.with_signals(|signals| signals.alternate_stack);
        let is_in_use = signal_frame::is_on(&current, stack_pointer);
        if !new.is_null() {
            let wanted: SignalStack = memory.read(new.get())?;
            let mode = wanted.ss_flags & !SS_AUTODISARM;
            if is_in_use {
                return Err(Errno::EPERM.into());
            }
            let stack = match mode {
                SS_DISABLE => NO_STACK,
                0 | SS_ONSTACK if wanted.ss_size < MINSIGSTKSZ as u64 => return Err(Errno::ENOMEM.into()),
                0 | SS_ONSTACK => SignalStack { ss_flags: wanted.ss_flags & SS_AUTODISARM, ..wanted },
                _ => return Err(Errno::EINVAL.into()),
            };
            thread.with_signals(|signals| signals.alternate_stack = stack);
        }
        if !old.is_null() {
            let flag = if is_in_use { SS_ONSTACK } else { 0 };
            memory.write(old.get(), &SignalStack { ss_flags: current.ss_flags | flag, ..current })?;
        }
        Ok(0)
    }))
}

pub fn rt_sigpending(call: &mut Call<'_>, result: UserAddress, set_size: usize) -> Result<Outcome, Errno> {
    if set_size > SIGNAL_SET_BYTES {
        return Err(Errno::EINVAL);
    }
    let blocked = call.thread.with_signals(|signals| signals.blocked);
    let pending = pending_for(call.thread).intersection(blocked);
    let memory = call.memory();
    Ok(attempt(call, move || memory.write(result.get(), &pending).map(|()| 0)))
}

pub fn rt_sigsuspend(call: &mut Call<'_>, mask: UserAddress, set_size: usize) -> Result<Outcome, Errno> {
    if set_size != SIGNAL_SET_BYTES {
        return Err(Errno::EINVAL);
    }
    let (memory, thread) = (call.memory(), call.owned_thread());
    Ok(Outcome::Wait(Box::pin(async move {
        let mask: SignalSet = match complete(|| memory.read(mask.get())).await {
            Ok(mask) => mask,
            Err(errno) => return Completion::Error(errno),
        };
        thread.with_signals(|signals| {
            signals.saved_mask = Some(signals.blocked);
            signals.set_blocked(mask);
        });
        if has_deliverable(&thread) {
            thread.add_work(Work::SIGNAL);
        }
        let Err(Interrupted) =
            thread.interruptible(core::future::pending::<core::convert::Infallible>()).await;
        Completion::InterruptedForGood
    })))
}

pub fn rt_sigtimedwait(
    call: &mut Call<'_>,
    set: UserAddress,
    info: UserAddress,
    timeout: UserAddress,
    set_size: usize,
) -> Result<Outcome, Errno> {
    if set_size != SIGNAL_SET_BYTES {
        return Err(Errno::EINVAL);
    }
    let (memory, thread) = (call.memory(), call.owned_thread());
    Ok(Outcome::Wait(Box::pin(async move {
        let read = complete(|| {
            let set: SignalSet = memory.read(set.get())?;
            let timeout =
                if timeout.is_null() { None } else { Some(memory.read::<Timespec>(timeout.get())?) };
            Ok((set, timeout))
        });
        let (set, deadline) = match read.await {
            Err(errno) => return Completion::Error(errno),
            Ok((set, None)) => (set, Instant::FAR_FUTURE),
            Ok((set, Some(timeout))) => match timeout.to_duration() {
                Ok(duration) => (set, Instant::now() + duration),
                Err(errno) => return Completion::Error(errno),
            },
        };
        match linux_object::signal::wait_for(&thread, set, deadline).await {
            Ok((signal, found)) => {
                if !info.is_null()
                    && let Err(errno) =
                        complete(|| memory.write(info.get(), &UserSignalInfo::from(found))).await
                {
                    return Completion::Error(errno);
                }
                Completion::Value(signal.number().into())
            }
            Err(Errno::EINTR) => Completion::InterruptedAndTold,
            Err(errno) => Completion::Error(errno),
        }
    })))
}

/// The size of the only signal set that there is.
const SIGNAL_SET_BYTES: usize = 8;

const UNSUPPORTED_FLAGS: ActionFlags = ActionFlags::UNSUPPORTED.union(ActionFlags::EXPOSE_TAGBITS);

pub fn rt_sigaction(
    call: &mut Call<'_>,
    signal: i32,
    new: UserAddress,
    old: UserAddress,
    set_size: usize,
) -> Result<Outcome, Errno> {
    let signal = Signal::new(signal).filter(|_| set_size == SIGNAL_SET_BYTES).ok_or(Errno::EINVAL)?;
    let memory = call.memory();
    match change_action(&memory, call.thread, &call.resources.signal_actions, signal, [new, old]) {
        Ok(()) => Ok(Outcome::Done(0)),
        Err(Obstacle::Error(errno)) => Err(errno),
        Err(_) => {
            // A page has to be brought.
            let (actions, thread) = (call.resources.signal_actions.clone(), call.owned_thread());
            Ok(attempt(call, move || {
                change_action(&memory, &thread, &actions, signal, [new, old]).map(|()| 0)
            }))
        }
    }
}

/// Sets what a signal does, unless there is nothing new, and writes what it did, if somebody wants to know.
fn change_action(
    memory: &UserMemory,
    thread: &Thread,
    actions: &SignalActions,
    signal: Signal,
    [new, old]: [UserAddress; 2],
) -> Attempt<()> {
    let previous = if new.is_null() {
        actions.get(signal)
    } else {
        let mut action: SigAction = memory.read(new.get())?;
        // What is not supported is gone when it is read back, as on Linux.
        action.sa_flags &= ActionFlags::all().difference(UNSUPPORTED_FLAGS).bits();
        action.sa_mask.remove(Signal::SIGKILL);
        action.sa_mask.remove(Signal::SIGSTOP);
        let previous = actions.set(signal, action)?;
        forget_ignored(thread.process(), signal, &action);
        previous
    };
    if old.is_null() { Ok(()) } else { memory.write(old.get(), &previous) }
}

pub fn rt_sigprocmask(
    call: &mut Call<'_>,
    how: i32,
    new: UserAddress,
    old: UserAddress,
    set_size: usize,
) -> Result<Outcome, Errno> {
    if set_size != SIGNAL_SET_BYTES {
        return Err(Errno::EINVAL);
    }
    let memory = call.memory();
    let thread = call.owned_thread();
    Ok(attempt(call, move || {
        let previous = thread.with_signals(|signals| signals.blocked);
        if !new.is_null() {
            let set: SignalSet = memory.read(new.get())?;
            let blocked = match how {
                SIG_BLOCK => previous.union(set),
                SIG_UNBLOCK => previous.difference(set),
                SIG_SETMASK => set,
                _ => return Err(Errno::EINVAL.into()),
            };
            thread.with_signals(|signals| signals.set_blocked(blocked));
            let unblocks = !previous.difference(blocked).is_empty();
            if unblocks && has_deliverable(&thread) {
                thread.add_work(Work::SIGNAL);
            }
        }
        if !old.is_null() {
            memory.write(old.get(), &previous)?;
        }
        Ok(0)
    }))
}

/// A signal by its number; 0 only asks whether it could be sent.
pub(crate) fn signal_or_probe(number: i32) -> Result<Option<Signal>, Errno> {
    if number == 0 { Ok(None) } else { Signal::new(number).map(Some).ok_or(Errno::EINVAL) }
}

/// What the receiver is told of who sent a signal.
pub(crate) fn sender(
    call: &Call<'_>,
    signal: Signal,
    make: fn(Signal, i32, u32) -> SignalInfo,
) -> SignalInfo {
    let own = call.thread.process();
    make(signal, own.id(), call.thread.real_user())
}

pub fn kill(call: &mut Call<'_>, id: i32, signal: i32) -> Result<usize, Errno> {
    let signal = signal_or_probe(signal)?;
    if id == call.thread.process().id() {
        if let Some(signal) = signal {
            send_to_process(call.thread.process(), signal, sender(call, signal, SignalInfo::kill));
        }
        return Ok(0);
    }
    if id > 0 {
        let target = find_process_of(id).ok_or(Errno::ESRCH)?;
        may_signal(call.thread, &target, signal)?;
        if let Some(signal) = signal {
            send_to_process(&target, signal, sender(call, signal, SignalInfo::kill));
        }
        return Ok(0);
    }
    let own = call.thread.process();
    let group = if id == 0 { own.group() } else { id.checked_neg().ok_or(Errno::ESRCH)? };
    let mut targets = linux_object::process::all_processes();
    targets.retain(|process| match id {
        -1 => process.id() != 1 && process.id() != own.id(),
        _ => process.group() == group,
    });
    // Success if one of them may be told; the last refusal otherwise.
    let mut outcome = Err(Errno::ESRCH);
    for target in targets {
        match may_signal(call.thread, &target, signal) {
            Ok(()) => {
                outcome = Ok(0);
                if let Some(signal) = signal {
                    send_to_process(&target, signal, sender(call, signal, SignalInfo::kill));
                }
            }
            Err(errno) if outcome.is_err() && id != -1 => outcome = Err(errno),
            Err(_) => {}
        }
    }
    outcome
}

pub fn tkill(call: &mut Call<'_>, thread: i32, signal: i32) -> Result<usize, Errno> {
    if thread <= 0 {
        return Err(Errno::EINVAL);
    }
    let target = find_thread(thread).ok_or(Errno::ESRCH)?;
    send_to(call, &target, signal)
}

pub fn tgkill(call: &mut Call<'_>, process: i32, thread: i32, signal: i32) -> Result<usize, Errno> {
    if process <= 0 || thread <= 0 {
        return Err(Errno::EINVAL);
    }
    let target = find_thread(thread).filter(|found| found.process().id() == process).ok_or(Errno::ESRCH)?;
    send_to(call, &target, signal)
}

fn send_to(call: &Call<'_>, target: &Arc<Thread>, signal: i32) -> Result<usize, Errno> {
    let signal = signal_or_probe(signal)?;
    may_signal_thread(call.thread, target, signal)?;
    if let Some(signal) = signal {
        try_send_to_thread(target, signal, sender(call, signal, SignalInfo::thread_kill))?;
    }
    Ok(0)
}

/// Reads what is to be sent with a signal. Only to itself may a process say that it came from the kernel or `kill`.
/// `signal`: what the call says, which is what counts; `None` if it has to agree with what is sent.
pub(crate) fn read_info(
    call: &Call<'_>,
    signal: Option<i32>,
    info: UserAddress,
    is_own: bool,
) -> Result<SignalInfo, Errno> {
    let memory = call.memory();
    let sent: UserSignalInfo = match memory.read(info.get()) {
        Ok(sent) => sent,
        Err(Obstacle::Error(errno)) => return Err(errno),
        Err(_) => return Err(Errno::EFAULT),
    };
    if !sent.fits() {
        return Err(Errno::E2BIG);
    }
    let mut sent = sent.info;
    if (sent.si_code >= 0 || sent.si_code == SI_TKILL) && !is_own {
        return Err(Errno::EPERM);
    }
    sent.si_signo = signal.unwrap_or(sent.si_signo);
    // What the kernel marks is its own.
    sent = sent.marked(0);
    Ok(sent)
}

pub fn rt_sigqueueinfo(
    call: &mut Call<'_>,
    process: i32,
    signal: i32,
    info: UserAddress,
) -> Result<usize, Errno> {
    let is_own = process == call.thread.process().id();
    let sent = read_info(call, Some(signal), info, is_own)?;
    let target = find_process_of(process).ok_or(Errno::ESRCH)?;
    let signal = signal_or_probe(signal)?;
    may_signal(call.thread, &target, signal)?;
    if let Some(signal) = signal {
        try_send_to_process(&target, signal, sent)?;
    }
    Ok(0)
}

pub fn rt_tgsigqueueinfo(
    call: &mut Call<'_>,
    process: i32,
    thread: i32,
    signal: i32,
    info: UserAddress,
) -> Result<usize, Errno> {
    if process <= 0 || thread <= 0 {
        return Err(Errno::EINVAL);
    }
    let is_own = thread == call.thread.id();
    let sent = read_info(call, Some(signal), info, is_own)?;
    let target = find_thread(thread).filter(|found| found.process().id() == process).ok_or(Errno::ESRCH)?;
    let signal = signal_or_probe(signal)?;
    may_signal_thread(call.thread, &target, signal)?;
    if let Some(signal) = signal {
        try_send_to_thread(&target, signal, sent)?;
    }
    Ok(0)
}
