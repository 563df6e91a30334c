//! `pidfd`: a process behind a descriptor, which goes on meaning that process when its number means another.

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;

use ksync::WaitQueue;
use linux_abi::Errno;
use linux_abi::poll::PollEvents;

use crate::file::{File, OpenFile};
use crate::memory::remote::may_look_into;
use crate::obstacle::Waitable;
use crate::process::{Process, find_process};

/// A process behind a descriptor. It becomes readable when the process has ended.
pub struct ProcessFd {
    process: Arc<Process>,
}

impl ProcessFd {
    /// For this process. `ENOMEM`: memory is short.
    pub fn new(process: &Arc<Process>) -> Result<Arc<Self>, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        Ok(Arc::new(Self { process: process.clone() }))
    }

    /// The process behind an opening: `EBADF` if it is something else.
    pub fn of(file: &OpenFile) -> Result<&Self, Errno> {
        let file: &dyn Any = &**file.file();
        file.downcast_ref().ok_or(Errno::EBADF)
    }

    /// The process, as long as it has a number: `ESRCH` when somebody has waited for its end.
    pub fn process(&self) -> Result<&Arc<Process>, Errno> {
        let known = find_process(self.process.id()).ok_or(Errno::ESRCH)?;
        if Arc::ptr_eq(&known, &self.process) { Ok(&self.process) } else { Err(Errno::ESRCH) }
    }

    /// What the process has open under a number, for a caller who may look into it.
    pub fn opening(&self, caller: &Process, number: i32) -> Result<Arc<OpenFile>, Errno> {
        let process = self.process()?;
        let thread = process.threads().first().cloned().ok_or(Errno::ESRCH)?;
        if !may_look_into(&caller.credentials(), &process.credentials()) {
            return Err(Errno::EPERM);
        }
        thread.resources().files.get_place(number)
    }
}

impl Waitable for ProcessFd {
    fn wait_queue(&self) -> &WaitQueue {
        self.process.end_event()
    }
}

impl File for ProcessFd {
    fn ready(&self) -> PollEvents {
        let mut events = PollEvents::empty();
        events.set(PollEvents::IN | PollEvents::RDNORM, self.process.fate().is_some());
        // There is nothing more to come from a process that is gone.
        events.set(PollEvents::HUP, self.process().is_err());
        events
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        output.write_str("anon_inode:[pidfd]")
    }

    fn describe_state(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        let id = self.process().map_or(-1, |process| process.id());
        writeln!(output, "Pid:\t{id}\nNSpid:\t{id}")
    }
}
