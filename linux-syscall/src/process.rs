//! Syscalls on processes and threads.

use linux_abi::Errno;
use linux_abi::process::WaitStatus;
use linux_object::process::{self, find_process_of};

use crate::argument::UserAddress;
use crate::call::{Call, Outcome};

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
    if id == 0 { Ok(call.thread.process().clone()) } else { find_process_of(id).ok_or(Errno::ESRCH) }
}

pub fn getpgid(call: &mut Call<'_>, id: i32) -> Result<usize, Errno> {
    Ok(process_or_own(call, id)?.group() as usize)
}

pub fn getsid(call: &mut Call<'_>, id: i32) -> Result<usize, Errno> {
    Ok(process_or_own(call, id)?.session() as usize)
}

pub fn setpgid(call: &mut Call<'_>, id: i32, group: i32) -> Result<usize, Errno> {
    process::set_group(call.thread.process(), id, group).map(|()| 0)
}

pub fn setsid(call: &mut Call<'_>) -> Result<usize, Errno> {
    process::start_session(call.thread.process()).map(|id| id as usize)
}

pub fn exit(call: &mut Call<'_>, status: i32) -> Outcome {
    call.thread.request_exit(WaitStatus::Exited(status as u8));
    Outcome::KeepRegisters
}

pub fn exit_group(call: &mut Call<'_>, status: i32) -> Outcome {
    call.thread.process().request_exit(WaitStatus::Exited(status as u8));
    Outcome::KeepRegisters
}
