//! `prctl`, `personality` and `unshare`: what a thread or process says about itself, each a small call of its own.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::process::{
    CloneFlags, PR_GET_CHILD_SUBREAPER, PR_GET_DUMPABLE, PR_GET_NAME, PR_GET_PDEATHSIG, PR_GET_SECCOMP,
    PR_GET_THP_DISABLE, PR_GET_TID_ADDRESS, PR_GET_TIMERSLACK, PR_GET_TIMING, PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_PDEATHSIG, PR_SET_THP_DISABLE, PR_SET_TIMERSLACK, PR_SET_TIMING,
};
use linux_abi::signal::Signal;
use linux_object::process::ProcessFlags;
use linux_object::thread::NAME_BYTES;
use zerocopy::{Immutable, IntoBytes};

use crate::argument::{Bits, UserAddress};
use crate::call::{Call, Completion, Outcome, attempt};
use crate::identity;

/// Timers may be late by this much unless a program says otherwise; ours never are.
const USUAL_SLACK_NANOS: u64 = 50_000;

fn store<T: IntoBytes + Immutable + Send + 'static>(
    call: &Call<'_>,
    address: usize,
    value: T,
) -> Result<Outcome, Errno> {
    let memory = call.memory();
    Ok(attempt(call, move || memory.write(UserAddress(address).get(), &value).map(|()| 0)))
}

/// Arguments that have no meaning must be zero.
fn check_unused(unused: &[usize]) -> Result<(), Errno> {
    if unused.iter().all(|&argument| argument == 0) { Ok(()) } else { Err(Errno::EINVAL) }
}

pub fn prctl(
    call: &mut Call<'_>,
    option: i32,
    second: usize,
    third: usize,
    fourth: usize,
    fifth: usize,
) -> Result<Outcome, Errno> {
    if let Some(answer) = identity::control(call, option, [second, third, fourth, fifth]) {
        return answer.map(Outcome::Done);
    }
    let process = call.thread.process().clone();
    let unused = [third, fourth, fifth];
    let done = |value: usize| Ok(Outcome::Done(value));
    let truth = |value: usize| if value <= 1 { Ok(value == 1) } else { Err(Errno::EINVAL) };
    match option {
        PR_SET_PDEATHSIG => {
            let signal = i32::try_from(second).map_err(|_| Errno::EINVAL)?;
            let signal = if signal == 0 { None } else { Some(Signal::new(signal).ok_or(Errno::EINVAL)?) };
            process.set_parent_death_signal(signal);
            done(0)
        }
        PR_GET_PDEATHSIG => {
            store(call, second, process.parent_death_signal().map_or(0, |signal| i32::from(signal.number())))
        }
        PR_GET_DUMPABLE => done(usize::from(process.flags().contains(ProcessFlags::DUMPABLE))),
        PR_SET_DUMPABLE => {
            process.set_flag(ProcessFlags::DUMPABLE, truth(second)?);
            done(0)
        }
        PR_SET_NAME => {
            let (memory, thread) = (call.memory(), call.owned_thread());
            Ok(attempt(call, move || {
                let name = read_name(&memory, second)?;
                let end = name.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
                thread.set_name(&name[..end]);
                Ok(0)
            }))
        }
        PR_GET_NAME => store(call, second, call.thread.name()),
        PR_GET_TIMING | PR_GET_SECCOMP => done(0),
        PR_SET_TIMING if second == 0 => done(0),
        PR_GET_TIMERSLACK => done(call.thread.timer_slack_nanos() as usize),
        PR_SET_TIMERSLACK => {
            let is_default = (second as isize) <= 0;
            call.thread.set_timer_slack_nanos(if is_default { USUAL_SLACK_NANOS } else { second as u64 });
            done(0)
        }
        PR_SET_CHILD_SUBREAPER => {
            process.set_adopts_orphans(second != 0);
            done(0)
        }
        PR_GET_CHILD_SUBREAPER => store(call, second, i32::from(process.adopts_orphans())),
        PR_SET_THP_DISABLE => {
            check_unused(&unused)?;
            process.set_flag(ProcessFlags::NO_HUGE_PAGES, second != 0);
            done(0)
        }
        PR_GET_THP_DISABLE => {
            check_unused(&[second, third, fourth, fifth])?;
            done(usize::from(process.flags().contains(ProcessFlags::NO_HUGE_PAGES)))
        }
        PR_GET_TID_ADDRESS => store(call, second, call.thread.clear_child_id()),
        _ => Err(Errno::EINVAL),
    }
}

/// A thread's name may lie at the very end of a page, shorter than the longest one.
fn read_name(
    memory: &linux_object::user_buffer::UserMemory,
    address: usize,
) -> linux_object::obstacle::Attempt<[u8; NAME_BYTES]> {
    let mut name = [0; NAME_BYTES];
    for (offset, byte) in name[..NAME_BYTES - 1].iter_mut().enumerate() {
        let at = UserAddress(address).get().checked_add(offset).ok_or(Errno::EFAULT)?;
        *byte = memory.read(at)?;
        if *byte == 0 {
            break;
        }
    }
    Ok(name)
}

/// Asks for the present personality.
const QUERY: u32 = u32::MAX;
/// Nothing of the layout of programs is left to chance.
const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;

pub fn personality(call: &mut Call<'_>, wanted: u32) -> Result<usize, Errno> {
    let process = call.thread.process();
    let is_fixed = process.flags().contains(ProcessFlags::NOT_RANDOMIZED);
    // There is one, Linux's own, and of its flags this one.
    match wanted {
        QUERY => {}
        0 | ADDR_NO_RANDOMIZE => process.set_flag(ProcessFlags::NOT_RANDOMIZED, wanted != 0),
        _ => return Err(Errno::EINVAL),
    }
    Ok(if is_fixed { ADDR_NO_RANDOMIZE as usize } else { 0 })
}

pub fn unshare(call: &mut Call<'_>, flags: Bits) -> Result<Outcome, Errno> {
    const ACCEPTED: CloneFlags = CloneFlags::FS
        .union(CloneFlags::FILES)
        .union(CloneFlags::SYSVSEM)
        .union(CloneFlags::THREAD)
        .union(CloneFlags::SIGHAND)
        .union(CloneFlags::VM);
    let flags = CloneFlags::from_bits(flags.0 as u64).filter(|&flags| ACCEPTED.contains(flags));
    let flags = flags.ok_or(Errno::EINVAL)?;
    // What only a process of one thread, in memory of its own, has for itself already.
    let alone = CloneFlags::THREAD | CloneFlags::SIGHAND | CloneFlags::VM;
    let is_alone =
        call.thread.process().with_threads(|threads| threads.len() == 1) && !call.tenancy.is_shared();
    if flags.intersects(alone) && !is_alone {
        return Err(Errno::EINVAL);
    }
    let mut resources = call.resources.clone();
    if flags.contains(CloneFlags::FS) {
        resources.paths = Arc::new(resources.paths.duplicate());
    }
    if flags.contains(CloneFlags::FILES) && resources.files.users() > 1 {
        let own = Arc::new(resources.files.duplicate());
        own.add_user();
        if core::mem::replace(&mut resources.files, own).remove_user() {
            return Err(Errno::EINVAL);
        }
    }
    Ok(Outcome::Wait(alloc::boxed::Box::pin(async move {
        Completion::Resources(alloc::boxed::Box::new(resources))
    })))
}

pub fn setns(call: &mut Call<'_>, fd: crate::argument::Fd, _kind: i32) -> Result<usize, Errno> {
    call.resources.files.get(fd.0)?;
    // No descriptor is that of a namespace.
    Err(Errno::EINVAL)
}
