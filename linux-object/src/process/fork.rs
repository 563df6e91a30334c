//! `clone`, of which `fork`, `vfork` and `pthread_create` are cases.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel_hal::UserContext;
use linux_abi::Errno;
use linux_abi::process::{CloneFlags, WaitStatus};
use linux_abi::resource::{RLIM_INFINITY, RLIMIT_NPROC};

use super::start::{StartedThread, start};
use super::{Origin, Process, TABLE};
use crate::credentials::Capabilities;
use crate::program::Tenancy;
use crate::thread::{Resources, Thread};

/// What a new thread or process is to be like.
#[derive(Clone, Copy, Debug)]
pub struct CloneRequest {
    /// What is shared, and what is set.
    pub flags: CloneFlags,
    /// What the parent gets when the child ends; 0 for nothing.
    pub exit_signal: u8,
    /// The child's stack pointer; 0: the parent's.
    pub stack: usize,
    /// The child's thread pointer, with `SETTLS`.
    pub thread_pointer: usize,
    /// Where the child's number is to be stored, and zeroed when it ends.
    pub child_id: usize,
    /// The number that the child is to have, instead of the next one.
    pub wanted_id: Option<i32>,
}

/// Flags that are honoured.
const SUPPORTED: CloneFlags = CloneFlags::VM
    .union(CloneFlags::FS)
    .union(CloneFlags::FILES)
    .union(CloneFlags::PIDFD)
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
    .union(CloneFlags::PTRACE)
    .union(CloneFlags::PARENT)
    .union(CloneFlags::CLEAR_SIGHAND)
    .union(CloneFlags::IO);

fn check(flags: CloneFlags) -> Result<(), Errno> {
    let implies = |flag, needed| !flags.contains(flag) || flags.contains(needed);
    let is_consistent = implies(CloneFlags::SIGHAND, CloneFlags::VM)
        && implies(CloneFlags::THREAD, CloneFlags::SIGHAND)
        && !flags.contains(CloneFlags::SIGHAND | CloneFlags::CLEAR_SIGHAND)
        // There are descriptors of processes, not of threads.
        && !flags.contains(CloneFlags::PIDFD | CloneFlags::THREAD)
        && SUPPORTED.contains(flags);
    if is_consistent { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Whether a user may have one more thread. Root may have any number.
fn check_count(process: &Process) -> Result<(), Errno> {
    let credentials = process.credentials();
    let limit = process.limits().get(RLIMIT_NPROC as u32).rlim_cur;
    let is_free = Capabilities::SYS_ADMIN | Capabilities::SYS_RESOURCE;
    if credentials.real_user == 0 || credentials.effective.intersects(is_free) || limit == RLIM_INFINITY {
        return Ok(());
    }
    let table = TABLE.lock();
    let own = table.processes().filter(|other| other.credentials().real_user == credentials.real_user);
    let count: usize = own.map(|other| other.with_threads(<[_]>::len).max(1)).sum();
    if (count as u64) < limit { Ok(()) } else { Err(Errno::EAGAIN) }
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
        } else if flags.contains(CloneFlags::CLEAR_SIGHAND) {
            Arc::new(parent.signal_actions.for_new_program())
        } else {
            Arc::new(parent.signal_actions.duplicate())
        },
        image: parent.image.clone(),
    })
}

static FORKS: AtomicU64 = AtomicU64::new(0);

/// How many processes and threads were made since the boot.
pub fn fork_count() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Makes a thread or process like the caller and lets it run. `prepare` runs before anybody can find the child: if it
/// fails there is none.
pub fn clone(
    caller: &Arc<Thread>,
    resources: &Resources,
    context: &UserContext,
    tenancy: &Tenancy,
    request: &CloneRequest,
    prepare: impl FnOnce(&Thread) -> Result<(), Errno>,
) -> Result<Arc<Thread>, Errno> {
    check(request.flags)?;
    if request.flags.contains(CloneFlags::PARENT) && caller.process().is_first() {
        return Err(Errno::EINVAL);
    }
    check_count(caller.process())?;
    kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
    let resources = share_or_copy(resources, request.flags)?;
    let id = {
        let mut table = TABLE.lock();
        match request.wanted_id {
            Some(id) => table.claim(id)?,
            None => table.allocate()?,
        }
    };
    FORKS.fetch_add(1, Ordering::Relaxed);

    let shares_memory = request.flags.contains(CloneFlags::VM);
    let shares_process = request.flags.contains(CloneFlags::THREAD);
    let credentials = caller.credentials();
    let own_process = caller.process();
    let parent = match request.flags.contains(CloneFlags::PARENT) {
        true => own_process.family.lock().parent.upgrade().ok_or(Errno::EINVAL)?,
        false => own_process.clone(),
    };
    let process = if shares_process {
        own_process.clone()
    } else {
        let is_sibling = request.flags.contains(CloneFlags::PARENT);
        let exit_signal = match is_sibling {
            true => own_process.exit_signal.load(Ordering::Relaxed),
            false => request.exit_signal,
        };
        let creator = if is_sibling { 0 } else { caller.id() };
        Process::new(
            id,
            Some(&parent),
            credentials.clone(),
            Origin { like: Some(own_process), creator, exit_signal },
        )
    };
    let signals = caller.with_signals(|signals| signals.inherit(shares_memory));
    let thread = Thread::new(id, process.clone(), resources.clone(), credentials, signals);
    thread.set_name(&caller.name());
    thread.set_timer_slack_nanos(caller.timer_slack_nanos());
    if !shares_memory {
        thread.set_rseq(caller.rseq(), caller.rseq_signature());
    }
    prepare(&thread)?;
    let tenancy = if shares_memory { tenancy.share() } else { tenancy.of_copy() };
    thread.set_schedule(caller.schedule().inherit());
    resources.files.add_user();
    if request.flags.contains(CloneFlags::CHILD_CLEARTID) {
        thread.set_clear_child_id(request.child_id);
    }
    // Written where they stay: the registers are many.
    let mut child_context = Box::write(Box::new_uninit(), context.duplicate());
    child_context.set_syscall_result(0);
    if request.stack != 0 {
        child_context.registers[UserContext::SP] = request.stack;
        // The C library's threads begin by saving all registers.
        child_context.expect_float_use();
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
            } else if family.executing.is_some() {
                thread.request_exit(WaitStatus::Exited(0));
            }
            family.add_thread(thread.clone());
        }
        table.insert_thread(&thread);
        if !shares_process {
            table.insert_process(process.clone());
            parent.family.lock().children.push(process.clone());
        }
    }
    if !shares_process {
        super::watch_time(thread.process());
    }
    let wants_own_id = request.flags.contains(CloneFlags::CHILD_SETTID);
    let set_child_id = if wants_own_id { request.child_id } else { 0 };
    start(StartedThread { thread: thread.clone(), resources, context: child_context, tenancy, set_child_id });
    Ok(thread)
}
