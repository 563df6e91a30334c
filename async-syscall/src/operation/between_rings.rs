//! Messages between rings: a completion in another ring, or a registered file of this one.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::io_uring::{CompletionFlags, IORING_FILE_INDEX_ALLOC, MessageFlags};
use linux_object::file::OpenFile;
use linux_object::obstacle::Attempt;

use super::{Begun, Issue, Prepared};
use crate::request::Outcome;
use crate::ring::{Ring, ring_of};

/// What is sent.
#[derive(Clone, Copy)]
enum Content {
    /// A result and flags.
    Data,
    /// The registered file with this index.
    File(i32),
}

/// A message.
pub(crate) struct Message {
    content: Content,
    flags: MessageFlags,
    user_data: u64,
    result: u32,
    /// The completion's flags, or where the file is put.
    place: u32,
}

pub(super) fn prepare(issue: &Issue<'_>) -> Attempt<Prepared> {
    const DATA: u64 = 0;
    const SEND_FD: u64 = 1;
    let entry = issue.entry;
    let flags = MessageFlags::from_bits(entry.rw_flags).ok_or(Errno::EINVAL)?;
    if entry.buf_index != 0 || entry.personality != 0 {
        return Err(Errno::EINVAL.into());
    }
    let content = match entry.addr {
        DATA => Content::Data,
        SEND_FD => Content::File(entry.addr3 as i32),
        _ => return Err(Errno::EINVAL.into()),
    };
    let (user_data, result, place) = (entry.off, entry.len, entry.file_index);
    Ok(Prepared::Message(Message { content, flags, user_data, result, place }))
}

impl Message {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file: Arc<OpenFile> = issue.file()?;
        let target = ring_of(&file).map_err(|_| Errno::EBADFD)?;
        let result = match self.content {
            Content::Data => self.send_data(issue, target)?,
            Content::File(index) => self.send_file(issue, target, index)?,
        };
        Ok(Begun::Ended(Outcome::value(result)))
    }

    fn send_data(&self, issue: &Issue<'_>, target: &Arc<Ring>) -> Result<usize, Errno> {
        let passes = self.flags.contains(MessageFlags::FLAGS_PASS);
        let is_plain = issue.entry.addr3 == 0 && MessageFlags::FLAGS_PASS.contains(self.flags);
        if !is_plain || (!passes && self.place != 0) {
            return Err(Errno::EINVAL);
        }
        if !target.is_enabled() {
            return Err(Errno::EBADFD);
        }
        let flags = if passes { self.place } else { 0 };
        let flags = CompletionFlags::from_bits_retain(flags);
        let outcome = Outcome { result: self.result as i32, flags, ..Outcome::value(0) };
        target.post_named(self.user_data, outcome);
        Ok(0)
    }

    fn send_file(&self, issue: &Issue<'_>, target: &Arc<Ring>, index: i32) -> Result<usize, Errno> {
        if self.result != 0 || Arc::ptr_eq(issue.ring, target) {
            return Err(Errno::EINVAL);
        }
        if !target.is_enabled() {
            return Err(Errno::EBADFD);
        }
        let file = issue.ring.registered_file(index)?;
        if self.place == 0 {
            return Err(Errno::EINVAL);
        }
        let installed = target.install_file(file, self.place)?;
        if !self.flags.contains(MessageFlags::CQE_SKIP) {
            target.post_named(self.user_data, Outcome::value(installed));
        }
        Ok(if self.place == IORING_FILE_INDEX_ALLOC { installed } else { 0 })
    }
}
