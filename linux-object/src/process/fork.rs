//! `clone`, of which `fork`, `vfork` and `pthread_create` are cases.

use alloc::sync::Arc;

use kernel_hal::UserContext;
use linux_abi::Errno;
use linux_abi::process::CloneFlags;
use linux_abi::signal::Signal;

use super::start::{StartedThread, start};
use super::{Process, TABLE};
use crate::program::Tenancy;
use crate::thread::{Resources, Thread};

/// What a new thread or process is to be like.
#[derive(Clone, Copy, Debug)]
pub struct CloneRequest {
    /// What is shared, and what is set.
    pub flags: CloneFlags,
    /// What the parent gets when the child ends.
    pub exit_signal: Option<Signal>,
    /// The child's stack pointer; 0: the parent's.
    pub stack: usize,
    /// The child's thread pointer, with `SETTLS`.
    pub thread_pointer: usize,
    /// Where the child's number is to be stored, and zeroed when it ends.
    pub child_id: usize,
}

/// Flags that are honoured.
const SUPPORTED: CloneFlags = CloneFlags::VM
    .union(CloneFlags::FS)
    .union(CloneFlags::FILES)
    .union(CloneFlags::SIGHAND)
    .union(CloneFlags::THREAD)
    .union(CloneFlags::SYSVSEM)
    .union(CloneFlags::SETTLS)
    .union(CloneFlags::PARENT_SETTID)
    .union(CloneFlags::CHILD_CLEARTID)
    .union(CloneFlags::CHILD_SETTID)
    .union(CloneFlags::VFORK)
    .union(CloneFlags::DETACHED)
    .union(CloneFlags::UNTRACED)
    .union(CloneFlags::IO);

fn check(flags: CloneFlags) -> Result<(), Errno> {
    let implies = |flag, needed| !flags.contains(flag) || flags.contains(needed);
    let is_consistent = implies(CloneFlags::SIGHAND, CloneFlags::VM)
        && implies(CloneFlags::THREAD, CloneFlags::SIGHAND)
        && SUPPORTED.contains(flags);
    if is_consistent { Ok(()) } else { Err(Errno::EINVAL) }
}

fn share_or_copy(parent: &Resources, flags: CloneFlags) -> Result<Resources, Errno> {
    Ok(Resources {
        address_space: if flags.contains(CloneFlags::VM) {
            parent.address_space.clone()
        } else {
            parent.address_space.fork().map_err(|_| Errno::ENOMEM)?
        },
        files: if flags.contains(CloneFlags::FILES) {
            parent.files.clone()
        } else {
            Arc::new(parent.files.duplicate())
        },
        paths: if flags.contains(CloneFlags::FS) {
            parent.paths.clone()
        } else {
            Arc::new(parent.paths.duplicate())
        },
        signal_actions: if flags.contains(CloneFlags::SIGHAND) {
            parent.signal_actions.clone()
        } else {
            Arc::new(parent.signal_actions.duplicate())
        },
        image: parent.image.clone(),
    })
}

/// Makes a thread or process like the caller and lets it run. `store_parent_id` runs before the child does, with its
/// number; if it fails, nothing was made.
pub fn clone(
    caller: &Arc<Thread>,
    resources: &Resources,
    context: &UserContext,
    tenancy: &Tenancy,
    request: &CloneRequest,
    store_parent_id: impl FnOnce(i32) -> Result<(), Errno>,
) -> Result<Arc<Thread>, Errno> {
    check(request.flags)?;
    kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
    let resources = share_or_copy(resources, request.flags)?;
    let id = TABLE.lock().allocate()?;
    store_parent_id(id)?;

    let shares_memory = request.flags.contains(CloneFlags::VM);
    let tenancy = if shares_memory { tenancy.share() } else { tenancy.of_copy() };
    let shares_process = request.flags.contains(CloneFlags::THREAD);
    let parent = caller.process();
    let process =
        if shares_process { parent.clone() } else { Process::new(id, Some(parent), request.exit_signal) };
    let signals = caller.with_signals(|signals| signals.inherit(shares_memory));
    let thread = Thread::new(id, process.clone(), resources.clone(), signals);
    thread.set_name(&caller.name());
    if request.flags.contains(CloneFlags::CHILD_CLEARTID) {
        thread.set_clear_child_id(request.child_id);
    }
    let mut child_context = context.duplicate();
    child_context.set_syscall_result(0);
    if request.stack != 0 {
        child_context.registers[UserContext::SP] = request.stack;
    }
    if request.flags.contains(CloneFlags::SETTLS) {
        child_context.registers[UserContext::TP] = request.thread_pointer;
    }

    {
        let mut table = TABLE.lock();
        {
            let mut family = process.family.lock();
            if let Some(status) = family.ending {
                thread.request_exit(status);
            }
            family.add_thread(thread.clone());
        }
        table.insert_thread(&thread);
        if !shares_process {
            table.insert_process(process.clone());
            parent.family.lock().children.push(process);
        }
    }
    let wants_own_id = request.flags.contains(CloneFlags::CHILD_SETTID);
    let set_child_id = if wants_own_id { request.child_id } else { 0 };
    start(StartedThread { thread: thread.clone(), resources, context: child_context, tenancy, set_child_id });
    Ok(thread)
}
