//! `pidfd_open` and its kin: processes behind descriptors.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::process::{PIDFD_NONBLOCK, PIDFD_SIGNAL_THREAD_GROUP};
use linux_object::credentials::may_signal;
use linux_object::file::{FileTable, OpenFile};
use linux_object::process::{Process, find_process, find_thread};
use linux_object::process_fd::ProcessFd;
use linux_object::signal::try_send_to_process;

use crate::argument::{Fd, UserAddress};
use crate::call::Call;
use crate::signal::{read_info, sender, signal_or_probe};

/// Gives a process a number in the table. It is closed by `exec`, as every descriptor of a process.
pub(crate) fn open(files: &FileTable, process: &Arc<Process>, flags: OpenFlags) -> Result<i32, Errno> {
    let file = OpenFile::new(ProcessFd::new(process)?, None, OpenFlags::RDWR | flags);
    files.insert(file, 0, true)
}

pub fn pidfd_open(call: &mut Call<'_>, id: i32, flags: u32) -> Result<usize, Errno> {
    if flags & !PIDFD_NONBLOCK != 0 || id <= 0 {
        return Err(Errno::EINVAL);
    }
    let Some(process) = find_process(id) else {
        // A thread that is not its process's first has no descriptor of its own.
        return Err(if find_thread(id).is_some() { Errno::EINVAL } else { Errno::ESRCH });
    };
    open(&call.resources.files, &process, OpenFlags::from_bits_retain(flags)).map(|fd| fd as usize)
}

pub fn pidfd_send_signal(
    call: &mut Call<'_>,
    fd: Fd,
    signal: i32,
    info: UserAddress,
    flags: u32,
) -> Result<usize, Errno> {
    if flags & !PIDFD_SIGNAL_THREAD_GROUP != 0 {
        return Err(Errno::EINVAL);
    }
    let file = call.resources.files.get(fd.0)?;
    let target = ProcessFd::of(&file)?.process();
    let sent = match info.is_null() {
        true => None,
        false => {
            let is_own = target.as_ref().is_ok_and(|target| target.id() == call.thread.process().id());
            let sent = read_info(call, None, info, is_own)?;
            if sent.si_signo != signal {
                return Err(Errno::EINVAL);
            }
            Some(sent)
        }
    };
    let target = target?;
    let signal = signal_or_probe(signal)?;
    may_signal(call.thread, target, signal)?;
    if let Some(signal) = signal {
        let sent = sent.unwrap_or_else(|| sender(call, signal, linux_abi::signal_info::SignalInfo::kill));
        try_send_to_process(target, signal, sent)?;
    }
    Ok(0)
}

pub fn pidfd_getfd(call: &mut Call<'_>, fd: Fd, number: i32, flags: u32) -> Result<usize, Errno> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let file = call.resources.files.get(fd.0)?;
    let opening = ProcessFd::of(&file)?.opening(call.thread.process(), number)?;
    call.resources.files.insert(opening, 0, true).map(|fd| fd as usize)
}
