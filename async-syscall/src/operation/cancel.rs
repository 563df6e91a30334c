//! Ending requests that wait.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::io_uring::{CancelFlags, Opcode};
use linux_object::file::OpenFile;
use linux_object::obstacle::Attempt;
use linux_object::thread::Resources;

use super::{Begun, Issue, Prepared};
use crate::request::{Outcome, Request};
use crate::ring::Ring;

/// Which requests are meant.
#[derive(Clone)]
pub(crate) struct Cancel {
    pub flags: CancelFlags,
    pub user_data: u64,
    pub fd: i32,
    pub opcode: u8,
}

pub(super) fn prepare(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.off != 0 || entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    let flags = CancelFlags::from_bits(entry.rw_flags).ok_or(Errno::EINVAL)?;
    let opcode = if flags.contains(CancelFlags::OP) { entry.len as u8 } else { 0 };
    let cancel = Cancel { flags, user_data: entry.addr, fd: entry.fd, opcode };
    cancel.check()?;
    Ok(Prepared::Cancel(cancel))
}

impl Cancel {
    /// Whether the flags go together.
    pub fn check(&self) -> Result<(), Errno> {
        let is_any = self.flags.contains(CancelFlags::ANY);
        if is_any && self.flags.intersects(CancelFlags::FD | CancelFlags::OP) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        self.carry_out(issue.ring, issue.resources).map(|count| Begun::Ended(Outcome::value(count)))
    }

    /// Ends the requests that are meant. How many, if all are; 0 if it is one. `ENOENT`: there is none;
    /// `EALREADY`: it is about to be done.
    pub fn carry_out(&self, ring: &Ring, resources: &Resources) -> Result<usize, Errno> {
        let file = self.file(ring, resources)?;
        let by_name = self.flags.is_empty()
            || self.flags.contains(CancelFlags::USERDATA)
            || !self.flags.intersects(CancelFlags::FD | CancelFlags::OP | CancelFlags::ANY);
        let is_all = self.flags.intersects(CancelFlags::ALL | CancelFlags::ANY);
        let user_data = (by_name && !self.flags.contains(CancelFlags::ANY)).then_some(self.user_data);
        let found = ring.find(user_data, |request| self.means(request, file.as_ref()));
        let mut ended = 0;
        let mut outcome = Err(Errno::ENOENT);
        for request in found {
            match request.cancel() {
                Ok(()) => {
                    ended += 1;
                    outcome = Ok(0);
                }
                Err(Errno::ENOENT) => continue,
                Err(errno) => outcome = outcome.or(Err(errno)),
            }
            if !is_all {
                return outcome;
            }
        }
        if is_all { Ok(ended) } else { outcome }
    }

    fn file(&self, ring: &Ring, resources: &Resources) -> Result<Option<Arc<OpenFile>>, Errno> {
        if !self.flags.contains(CancelFlags::FD) {
            return Ok(None);
        }
        let file = if self.flags.contains(CancelFlags::FD_FIXED) {
            ring.registered_file(self.fd)?
        } else {
            resources.files.get(self.fd)?
        };
        Ok(Some(file))
    }

    fn means(&self, request: &Request, file: Option<&Arc<OpenFile>>) -> bool {
        let identity = &request.identity;
        let is_file =
            file.is_none_or(|file| identity.file.as_ref().is_some_and(|other| Arc::ptr_eq(file, other)));
        let is_operation = !self.flags.contains(CancelFlags::OP)
            || Opcode::from_number(self.opcode) == Some(identity.opcode);
        is_file && is_operation
    }
}
