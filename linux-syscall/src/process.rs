//! Syscalls on processes and threads.

use alloc::boxed::Box;
use alloc::vec::Vec;

use linux_abi::Errno;
use linux_abi::process::{CSIGNAL, CloneFlags, WaitFlags, WaitStatus};
use linux_abi::signal::Signal;
use linux_object::obstacle::{Attempt, Obstacle, complete};
use linux_object::process::execute::{ProgramRequest, execute};
use linux_object::process::{self, CloneRequest, WaitSelector, find_process};
use linux_object::thread::Interrupted;
use linux_object::user_buffer::UserMemory;

use crate::argument::{Bits, PathAddress, UserAddress};
use crate::call::{Call, Completion, Outcome, slow};

pub fn getpid(call: &mut Call<'_>) -> usize {
    call.thread.process().id() as usize
}

pub fn getppid(call: &mut Call<'_>) -> usize {
    call.thread.process().parent_id() as usize
}

pub fn gettid(call: &mut Call<'_>) -> usize {
    call.thread.id() as usize
}

pub fn set_tid_address(call: &mut Call<'_>, address: UserAddress) -> usize {
    call.thread.set_clear_child_id(address.0);
    call.thread.id() as usize
}

/// A process by number, 0 standing for the caller's own.
fn process_or_own(call: &Call<'_>, id: i32) -> Result<alloc::sync::Arc<process::Process>, Errno> {
    if id == 0 { Ok(call.thread.process().clone()) } else { find_process(id).ok_or(Errno::ESRCH) }
}

pub fn getpgid(call: &mut Call<'_>, id: i32) -> Result<usize, Errno> {
    Ok(process_or_own(call, id)?.group() as usize)
}

pub fn getsid(call: &mut Call<'_>, id: i32) -> Result<usize, Errno> {
    Ok(process_or_own(call, id)?.session() as usize)
}

pub fn setpgid(call: &mut Call<'_>, id: i32, group: i32) -> Result<usize, Errno> {
    if group < 0 {
        return Err(Errno::EINVAL);
    }
    let target = process_or_own(call, id)?;
    let own = call.thread.process();
    let is_child = target.parent_id() == own.id();
    if target.id() != own.id() && !is_child {
        return Err(Errno::ESRCH);
    }
    if target.session() != own.session() || target.session() == target.id() {
        return Err(Errno::EPERM);
    }
    let group = if group == 0 { target.id() } else { group };
    let exists = group == target.id()
        || process::all_processes()
            .iter()
            .any(|other| other.group() == group && other.session() == own.session());
    if !exists {
        return Err(Errno::EPERM);
    }
    target.set_group(group);
    Ok(0)
}

pub fn setsid(call: &mut Call<'_>) -> Result<usize, Errno> {
    let process = call.thread.process();
    if process::all_processes().iter().any(|other| other.group() == process.id()) {
        return Err(Errno::EPERM);
    }
    process.start_session();
    Ok(process.id() as usize)
}

pub fn exit(call: &mut Call<'_>, status: i32) -> Outcome {
    call.thread.request_exit(WaitStatus::Exited(status as u8));
    Outcome::KeepRegisters
}

pub fn exit_group(call: &mut Call<'_>, status: i32) -> Outcome {
    call.thread.process().request_exit(WaitStatus::Exited(status as u8));
    Outcome::KeepRegisters
}

pub fn clone(
    call: &mut Call<'_>,
    flags: Bits,
    stack: UserAddress,
    parent_id: UserAddress,
    thread_pointer: usize,
    child_id: UserAddress,
) -> Result<Outcome, Errno> {
    let exit_signal = (flags.0 as u64 & CSIGNAL) as i32;
    let request = CloneRequest {
        flags: CloneFlags::from_bits(flags.0 as u64 & !CSIGNAL).ok_or(Errno::EINVAL)?,
        exit_signal: Signal::new(exit_signal),
        stack: stack.0,
        thread_pointer,
        child_id: child_id.0,
    };
    if exit_signal != 0 && request.exit_signal.is_none() {
        return Err(Errno::EINVAL);
    }
    call.context.save_float();
    let memory = call.memory();
    let wants_id = request.flags.contains(CloneFlags::PARENT_SETTID);
    let thread = process::clone(call.thread, call.resources, call.context, call.tenancy, &request, |id| {
        if !wants_id {
            return Ok(());
        }
        match memory.write(parent_id.get(), &id) {
            Ok(()) => Ok(()),
            Err(Obstacle::Error(errno)) => Err(errno),
            // The word lies in a page that is not in memory: Linux gives up on it, too.
            Err(_) => Err(Errno::EFAULT),
        }
    })?;
    let id = thread.id() as usize;
    if !request.flags.contains(CloneFlags::VFORK) {
        return Ok(Outcome::Done(id));
    }
    Ok(slow(async move {
        thread.until_memory_released().await;
        Ok(id)
    }))
}

/// Arguments and environment together may have this many bytes, and one string this many.
const MOST_STRING_BYTES: usize = 2 << 20;
const LONGEST_STRING: usize = 128 << 10;

/// Reads an array of strings that ends with a null pointer.
fn read_strings(memory: &UserMemory, array: UserAddress, left: &mut usize) -> Attempt<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    if array.is_null() {
        return Ok(strings);
    }
    loop {
        let slot = array.0.checked_add(strings.len() * size_of::<usize>()).ok_or(Errno::EFAULT)?;
        let pointer: usize = memory.read(UserAddress(slot).get())?;
        if pointer == 0 {
            return Ok(strings);
        }
        let string = memory.read_string(UserAddress(pointer).get(), LONGEST_STRING, Errno::E2BIG)?;
        let cost = string.len() + 1 + size_of::<usize>();
        *left = left.checked_sub(cost).ok_or(Errno::E2BIG)?;
        strings.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        strings.push(string);
    }
}

pub fn execve(
    call: &mut Call<'_>,
    path: PathAddress,
    arguments: UserAddress,
    environment: UserAddress,
) -> Outcome {
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Outcome::Wait(Box::pin(async move {
        let request = complete(|| {
            let mut left = MOST_STRING_BYTES;
            Ok(ProgramRequest {
                path: memory.read_path(UserAddress(path.0).get())?,
                arguments: read_strings(&memory, arguments, &mut left)?,
                environment: read_strings(&memory, environment, &mut left)?,
            })
        })
        .await;
        let program = match request {
            Ok(request) => execute(&thread, &resources, request).await,
            Err(errno) => Err(errno),
        };
        match program {
            Ok(program) => Completion::Program(Box::new(program)),
            Err(errno) => Completion::Error(errno),
        }
    }))
}

pub fn wait4(
    call: &mut Call<'_>,
    id: i32,
    status: UserAddress,
    options: u32,
    usage: UserAddress,
) -> Result<Outcome, Errno> {
    const ACCEPTED: WaitFlags = WaitFlags::NOHANG.union(WaitFlags::UNTRACED).union(WaitFlags::CONTINUED);
    let flags = WaitFlags::from_bits(options & !ANY_CHILD).filter(|flags| ACCEPTED.contains(*flags));
    let flags = flags.ok_or(Errno::EINVAL)?;
    if !usage.is_null() {
        return Err(Errno::EINVAL);
    }
    let selector = match id {
        -1 => WaitSelector::Any,
        0 => WaitSelector::Group(call.thread.process().group()),
        1.. => WaitSelector::Process(id),
        _ => WaitSelector::Group(id.checked_neg().ok_or(Errno::ESRCH)?),
    };
    let (memory, thread) = (call.memory(), call.owned_thread());
    Ok(Outcome::Wait(Box::pin(async move {
        let process = thread.process();
        let look = || process::try_wait(process, selector, flags).transpose();
        let waited = if flags.contains(WaitFlags::NOHANG) {
            Ok(look())
        } else {
            thread.interruptible(process.child_event().wait_until(look)).await.map(Some)
        };
        let child = match waited {
            Err(Interrupted) => return Completion::Interrupted,
            Ok(None) => return Completion::Value(0),
            Ok(Some(Err(errno))) => return Completion::Error(errno),
            Ok(Some(Ok(child))) => child,
        };
        if !status.is_null()
            && let Err(errno) = complete(|| memory.write(status.get(), &child.status)).await
        {
            return Completion::Error(errno);
        }
        Completion::Value(child.id as usize)
    })))
}

/// `__WNOTHREAD`, `__WALL` and `__WCLONE`: every child is waited for by any thread, whatever its exit signal.
const ANY_CHILD: u32 = 0xe000_0000;
