//! Closing files, and installing registered ones.

use linux_abi::Errno;
use linux_abi::io_uring::RequestFlags;
use linux_object::obstacle::Attempt;

use super::{Begun, Issue, Prepared};
use crate::request::Outcome;
use crate::ring::ring_of;

/// Closes a descriptor, or takes a file out of the table of registered ones.
pub(crate) struct Close {
    fd: i32,
    /// One more than the index of a registered file; 0 for none.
    place: u32,
}

pub(super) fn prepare_close(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let is_plain =
        entry.off == 0 && entry.addr == 0 && entry.len == 0 && entry.rw_flags == 0 && entry.buf_index == 0;
    if !is_plain || (entry.file_index != 0 && entry.fd != 0) {
        return Err(Errno::EINVAL.into());
    }
    if issue.flags().contains(RequestFlags::FIXED_FILE) {
        return Err(Errno::EBADF.into());
    }
    Ok(Prepared::Close(Close { fd: entry.fd, place: entry.file_index }))
}

impl Close {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        if self.place != 0 {
            issue.ring.remove_file(self.place - 1)?;
            return Ok(Begun::Ended(Outcome::value(0)));
        }
        let files = &issue.resources.files;
        // A ring cannot be closed through a ring.
        if ring_of(&*files.get(self.fd)?).is_ok() {
            return Err(Errno::EBADF);
        }
        drop(files.remove(self.fd)?);
        Ok(Begun::Ended(Outcome::value(0)))
    }
}

/// Gives a registered file an ordinary descriptor.
pub(crate) struct Install {
    close_on_exec: bool,
}

/// Its flag against closing on exec.
const NO_CLOEXEC: u32 = 1;

pub(super) fn prepare_install(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let is_plain =
        entry.off == 0 && entry.addr == 0 && entry.len == 0 && entry.buf_index == 0 && entry.file_index == 0;
    if !is_plain || entry.addr3 != 0 {
        return Err(Errno::EINVAL.into());
    }
    if !issue.flags().contains(RequestFlags::FIXED_FILE) {
        return Err(Errno::EBADF.into());
    }
    if entry.personality != 0 {
        return Err(Errno::EPERM.into());
    }
    match entry.rw_flags {
        0 => Ok(Prepared::Install(Install { close_on_exec: true })),
        NO_CLOEXEC => Ok(Prepared::Install(Install { close_on_exec: false })),
        _ => Err(Errno::EINVAL.into()),
    }
}

impl Install {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        let number = issue.resources.files.insert(file, 0, self.close_on_exec)?;
        Ok(Begun::Ended(Outcome::value(number as usize)))
    }
}
