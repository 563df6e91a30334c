//! Syscalls on signals, and what a thread does about those that came.

use linux_abi::Errno;
use linux_abi::process::WaitStatus;
use linux_abi::signal::{
    SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, SigAction, Signal, SignalSet,
};
use linux_object::process::{find_process, find_thread};
use linux_object::signal::{DefaultAction, default_action, killed_by, send_to_process, send_to_thread};
use linux_object::thread::Work;

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt};
use crate::user_loop::UserThread;

/// Does what is pending before the thread goes back to user mode. False: the thread must end.
#[inline]
pub(crate) fn handle_work(user: &mut UserThread) -> bool {
    user.thread.work().is_empty() && user.restart_argument.is_none() || handle(user)
}

#[inline(never)]
fn handle(user: &mut UserThread) -> bool {
    user.thread.clear_work(Work::SIGNAL);
    while !user.thread.work().contains(Work::EXIT)
        && let Some(signal) = user.thread.with_signals(|signals| signals.take_deliverable())
    {
        deliver(user, signal);
    }
    if user.thread.work().contains(Work::EXIT) {
        return false;
    }
    if let Some(first_argument) = user.restart_argument.take() {
        // No handler ran: the interrupted call is made again.
        user.context.registers[kernel_hal::UserContext::A0] = first_argument;
        user.context.program_counter -= 4;
    }
    true
}

fn deliver(user: &mut UserThread, signal: Signal) {
    let action = user.resources.signal_actions.get(signal);
    match action.sa_handler {
        SIG_IGN => {}
        SIG_DFL => match default_action(signal) {
            DefaultAction::Ignore | DefaultAction::Continue => {}
            DefaultAction::Stop | DefaultAction::Terminate { .. } => {
                user.thread.process().request_exit(killed_by(signal));
            }
        },
        handler => {
            log::debug!("signal {signal:?}: handler {handler:#x}");
            user.thread.process().request_exit(WaitStatus::Exited(1));
        }
    }
}

/// The size of the only signal set that there is.
const SIGNAL_SET_BYTES: usize = 8;

pub fn rt_sigaction(
    call: &mut Call<'_>,
    signal: i32,
    new: UserAddress,
    old: UserAddress,
    set_size: usize,
) -> Result<Outcome, Errno> {
    let signal = Signal::new(signal).filter(|_| set_size == SIGNAL_SET_BYTES).ok_or(Errno::EINVAL)?;
    let actions = call.resources.signal_actions.clone();
    let memory = call.memory();
    Ok(attempt(call, move || {
        let previous = if new.is_null() {
            actions.get(signal)
        } else {
            let action: SigAction = memory.read(new.get())?;
            actions.set(signal, action)?
        };
        if !old.is_null() {
            memory.write(old.get(), &previous)?;
        }
        Ok(0)
    }))
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
            let has_deliverable = thread.with_signals(|signals| {
                signals.set_blocked(blocked);
                !signals.pending.difference(signals.blocked).is_empty()
            });
            if has_deliverable {
                thread.add_work(Work::SIGNAL);
            }
        }
        if !old.is_null() {
            memory.write(old.get(), &previous)?;
        }
        Ok(0)
    }))
}

pub fn kill(call: &mut Call<'_>, id: i32, signal: i32) -> Result<usize, Errno> {
    let signal = if signal == 0 { None } else { Some(Signal::new(signal).ok_or(Errno::EINVAL)?) };
    let targets: alloc::vec::Vec<_> = match id {
        1.. => alloc::vec![find_process(id).ok_or(Errno::ESRCH)?],
        _ => {
            let own = call.thread.process();
            let group = if id == 0 { own.group() } else { id.checked_neg().ok_or(Errno::ESRCH)? };
            let mut all = linux_object::process::all_processes();
            all.retain(|process| match id {
                -1 => process.id() != 1 && process.id() != own.id(),
                _ => process.group() == group,
            });
            all
        }
    };
    if targets.is_empty() {
        return Err(Errno::ESRCH);
    }
    if let Some(signal) = signal {
        targets.iter().for_each(|target| send_to_process(target, signal));
    }
    Ok(0)
}

pub fn tgkill(call: &mut Call<'_>, process: i32, thread: i32, signal: i32) -> Result<usize, Errno> {
    let _ = call;
    if process <= 0 || thread <= 0 {
        return Err(Errno::EINVAL);
    }
    let target = find_thread(thread).filter(|found| found.process().id() == process).ok_or(Errno::ESRCH)?;
    if signal != 0 {
        send_to_thread(&target, Signal::new(signal).ok_or(Errno::EINVAL)?);
    }
    Ok(0)
}
