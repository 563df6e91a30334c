//! Making threads and processes.

use alloc::boxed::Box;

use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::process::{CLONE_ARGS_SIZE_VER0, CLONE_ARGS_SIZE_VER2, CSIGNAL, CloneArgs, CloneFlags};
use linux_abi::signal::Signal;
use linux_object::file::FileTable;
use linux_object::obstacle::{Obstacle, complete};
use linux_object::process::{self, CloneRequest};
use linux_object::thread::Thread;
use linux_object::user_buffer::UserMemory;
use zerocopy::{FromZeros, IntoBytes};

use crate::argument::{Bits, UserAddress};
use crate::call::{Call, Completion, Outcome, slow};
use crate::process_fd;

pub fn clone(
    call: &mut Call<'_>,
    flags: Bits,
    stack: UserAddress,
    parent_id: UserAddress,
    thread_pointer: usize,
    child_id: UserAddress,
) -> Result<Outcome, Errno> {
    // Only the lower half counts, as on Linux.
    let bits = u64::from(flags.0 as u32);
    let request = CloneRequest {
        flags: CloneFlags::from_bits(bits & !CSIGNAL).ok_or(Errno::EINVAL)?,
        exit_signal: (bits & CSIGNAL) as u8,
        stack: stack.0,
        thread_pointer,
        child_id: child_id.0,
        wanted_id: None,
    };
    let wants_both = CloneFlags::PIDFD | CloneFlags::PARENT_SETTID;
    // There is one place for the child's number or its descriptor.
    if request.flags.contains(wants_both) || request.flags.contains(CloneFlags::PIDFD | CloneFlags::DETACHED)
    {
        return Err(Errno::EINVAL);
    }
    run(call, request, parent_id, parent_id)
}

/// The largest structure that a caller may pass: a page, as on Linux.
const MOST_ARGUMENT_BYTES: usize = kernel_hal::PAGE_SIZE;
/// Levels of process-number namespaces that Linux knows; here there is one.
const MOST_LEVELS: u64 = 32;

pub fn clone3(call: &mut Call<'_>, arguments: UserAddress, size: usize) -> Result<Outcome, Errno> {
    if size > MOST_ARGUMENT_BYTES {
        return Err(Errno::E2BIG);
    }
    if size < CLONE_ARGS_SIZE_VER0 as usize {
        return Err(Errno::EINVAL);
    }
    let memory = call.memory();
    // The structure is on the caller's stack or in its data: present, or made so here.
    let outcome = match read_arguments(&memory, arguments, size) {
        Err(Obstacle::Error(errno)) => return Err(errno),
        Err(_) => return Err(Errno::EFAULT),
        Ok(outcome) => outcome,
    };
    let (request, parent_id, descriptor) = outcome;
    if request.flags.contains(CloneFlags::PIDFD | CloneFlags::PARENT_SETTID) && parent_id == descriptor {
        return Err(Errno::EINVAL);
    }
    run(call, request, parent_id, descriptor)
}

fn read_arguments(
    memory: &UserMemory,
    address: UserAddress,
    size: usize,
) -> Result<(CloneRequest, UserAddress, UserAddress), Obstacle> {
    const KNOWN: usize = CLONE_ARGS_SIZE_VER2 as usize;
    let mut bytes = [0; KNOWN];
    let known = size.min(KNOWN);
    memory.read_bytes(address.get(), &mut bytes[..known])?;
    for offset in KNOWN..size.max(KNOWN) {
        let mut byte = [0];
        memory.read_bytes(address.get() + offset, &mut byte)?;
        if byte != [0] {
            return Err(Errno::E2BIG.into());
        }
    }
    let mut arguments = CloneArgs::new_zeroed();
    arguments.as_mut_bytes().copy_from_slice(&bytes);
    let wanted_id = match (arguments.set_tid, arguments.set_tid_size) {
        (0, 0) => None,
        (0, _) | (_, 0) => return Err(Errno::EINVAL.into()),
        (_, levels) if levels > MOST_LEVELS => return Err(Errno::EINVAL.into()),
        (_, 2..) => return Err(Errno::EINVAL.into()),
        (list, _) => Some(memory.read::<i32>(UserAddress(list as usize).get())?),
    };
    let (parent_id, descriptor) = (arguments.parent_tid as usize, arguments.pidfd as usize);
    Ok((decode(&arguments, wanted_id)?, UserAddress(parent_id), UserAddress(descriptor)))
}

fn decode(arguments: &CloneArgs, wanted_id: Option<i32>) -> Result<CloneRequest, Errno> {
    let flags = CloneFlags::from_bits(arguments.flags).ok_or(Errno::EINVAL)?;
    let signal = i32::try_from(arguments.exit_signal).map_err(|_| Errno::EINVAL)?;
    if signal != 0 && Signal::new(signal).is_none() {
        return Err(Errno::EINVAL);
    }
    let is_silent = flags.intersects(CloneFlags::THREAD | CloneFlags::PARENT);
    if flags.contains(CloneFlags::DETACHED) || is_silent && signal != 0 {
        return Err(Errno::EINVAL);
    }
    let (stack, size) = (arguments.stack as usize, arguments.stack_size as usize);
    if (stack == 0) != (size == 0) || !kernel_hal::VirtAddr::new(stack).is_user_range(size) {
        return Err(Errno::EINVAL);
    }
    Ok(CloneRequest {
        flags,
        exit_signal: signal as u8,
        stack: stack + size,
        thread_pointer: arguments.tls as usize,
        child_id: arguments.child_tid as usize,
        wanted_id,
    })
}

/// Gives the caller a descriptor of the child, and stores it. Without both there is no child.
fn store_descriptor(
    memory: &UserMemory,
    files: &FileTable,
    child: &Thread,
    address: UserAddress,
) -> Result<(), Errno> {
    let fd = process_fd::open(files, child.process(), OpenFlags::empty())?;
    // The caller has just named the place: it is present, or made so here.
    memory.write(address.get(), &fd).map_err(|_| {
        drop(files.remove(fd));
        Errno::EFAULT
    })
}

fn run(
    call: &mut Call<'_>,
    request: CloneRequest,
    parent_id: UserAddress,
    descriptor: UserAddress,
) -> Result<Outcome, Errno> {
    if request.wanted_id.is_some() && !call.thread.credentials().is_privileged() {
        return Err(Errno::EPERM);
    }
    call.context.save_float();
    let memory = call.memory();
    let wants_id = request.flags.contains(CloneFlags::PARENT_SETTID);
    let mut is_unwritten = false;
    let files = &call.resources.files;
    let thread =
        process::clone(call.thread, call.resources, call.context, call.tenancy, &request, |child| {
            if request.flags.contains(CloneFlags::PIDFD) {
                store_descriptor(&memory, files, child, descriptor)?;
            }
            // A bad address is ignored, as on Linux; a page that has to be brought is waited for below.
            let store_id = || memory.write(parent_id.get(), &child.id());
            is_unwritten = wants_id && matches!(store_id(), Err(Obstacle::Wait(_)));
            Ok(())
        })?;
    let id = thread.id();
    let is_vfork = request.flags.contains(CloneFlags::VFORK);
    if is_unwritten {
        return Ok(slow(async move {
            let _ = complete(|| memory.write(parent_id.get(), &id)).await;
            if is_vfork {
                thread.until_memory_released().await;
            }
            Ok(id as usize)
        }));
    }
    if !is_vfork {
        return Ok(Outcome::Done(id as usize));
    }
    let caller = call.owned_thread();
    Ok(Outcome::Wait(Box::pin(async move {
        // Signals wait as well; only the caller's own end does not.
        caller.unless_ending(thread.until_memory_released()).await;
        Completion::Value(id as usize)
    })))
}
