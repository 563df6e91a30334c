//! Adding to and taking from lists of provided buffers, and choosing one for a request.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::io_uring::{CompletionFlags, RequestFlags};
use linux_object::obstacle::{Attempt, Obstacle};

use super::{Begun, Issue, Prepared};
use crate::buffers::{Group, Taken};
use crate::request::Outcome;

/// Adds buffers to a list, or removes them.
pub(crate) struct Provide {
    group: u16,
    count: u32,
    /// The first to be added; none: buffers are removed.
    first: Option<Taken>,
}

pub(super) fn prepare_provide(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let count = entry.fd;
    if entry.rw_flags != 0 || entry.file_index != 0 || entry.len == 0 {
        return Err(Errno::EINVAL.into());
    }
    if !(1..=1 << 16).contains(&count) {
        return Err(Errno::E2BIG.into());
    }
    let number = u16::try_from(entry.off).map_err(|_| Errno::E2BIG)?;
    if usize::from(number) + count as usize > 1 << 16 {
        return Err(Errno::EINVAL.into());
    }
    let bytes = u64::from(entry.len) * count as u64;
    if entry.addr.checked_add(bytes).is_none() {
        return Err(Errno::EOVERFLOW.into());
    }
    if !super::address(entry.addr).is_user_range(bytes as usize) {
        return Err(Errno::EFAULT.into());
    }
    let first = Some(Taken { address: entry.addr, len: entry.len, number });
    Ok(Prepared::Provide(Provide { group: entry.buf_index, count: count as u32, first }))
}

pub(super) fn prepare_remove(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let is_plain = entry.rw_flags == 0 && entry.addr == 0 && entry.len == 0 && entry.off == 0;
    if !is_plain || entry.file_index != 0 || !(1..=1 << 16).contains(&entry.fd) {
        return Err(Errno::EINVAL.into());
    }
    Ok(Prepared::Provide(Provide { group: entry.buf_index, count: entry.fd as u32, first: None }))
}

impl Provide {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let groups = &issue.ring.registered.groups;
        let result = match self.first {
            Some(first) => {
                groups.list(self.group)?.add(first, self.count)?;
                0
            }
            None => {
                let group = groups.get(self.group).ok_or(Errno::ENOENT)?;
                if group.as_ring().is_some() {
                    return Err(Errno::EINVAL);
                }
                group.remove(self.count)
            }
        };
        Ok(Begun::Ended(Outcome::value(result)))
    }
}

/// Where a request puts what it gets: an address that it names, or a buffer of a group.
#[derive(Clone)]
pub(crate) enum Destination {
    /// This memory.
    Named { address: u64, len: u32 },
    /// So much at most (0: all) of the next buffer of the group.
    Chosen { group: Arc<Group>, most: u32 },
}

/// A piece of memory for one attempt.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    /// Where.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    taken: Option<Taken>,
}

impl Destination {
    /// What a request's fields say.
    pub fn of(issue: &Issue<'_>) -> Result<Self, Errno> {
        let entry = issue.entry;
        if !issue.flags().contains(RequestFlags::BUFFER_SELECT) {
            return Ok(Self::Named { address: entry.addr, len: entry.len });
        }
        Self::chosen(issue, entry.len)
    }

    /// The next buffer of the group that the request names.
    pub fn chosen(issue: &Issue<'_>, most: u32) -> Result<Self, Errno> {
        let group = issue.ring.registered.groups.get(issue.entry.buf_index).ok_or(Errno::ENOBUFS)?;
        Ok(Self::Chosen { group, most })
    }

    /// Attempts with a piece of memory. A buffer that was taken for it is given back if nothing came of it.
    pub fn with_piece(&self, attempt: impl FnOnce(Piece) -> Attempt<Outcome>) -> Attempt<Outcome> {
        let (group, most) = match self {
            Self::Named { address, len } => {
                return attempt(Piece { address: *address, len: *len, taken: None });
            }
            Self::Chosen { group, most } => (group, *most),
        };
        let taken = group.take().ok_or(Errno::ENOBUFS)?;
        let len = if most == 0 { taken.len } else { taken.len.min(most) };
        match attempt(Piece { address: taken.address, len, taken: Some(taken) }) {
            Ok(outcome) if outcome.result > 0 => Ok(spend(group, taken, outcome)),
            other => {
                group.give_back(taken);
                other
            }
        }
    }
}

/// A buffer was used: the completion says which.
pub(crate) fn spend(group: &Group, taken: Taken, outcome: Outcome) -> Outcome {
    let mut flags = outcome.flags | CompletionFlags::BUFFER;
    flags.set(CompletionFlags::BUF_MORE, group.use_part(taken, outcome.result as u32));
    Outcome { flags, buffer: Some(taken.number), ..outcome }
}

impl Piece {
    /// Whether it is a buffer of a group.
    pub fn is_chosen(&self) -> bool {
        self.taken.is_some()
    }
}

/// What a request on a file that may not wait makes of an obstacle.
pub(crate) fn refuse_to_wait<T>(outcome: Attempt<T>) -> Attempt<T> {
    match outcome {
        Err(Obstacle::NotReady(_) | Obstacle::NotReadyFor(..) | Obstacle::Event(_)) => {
            Err(Errno::EAGAIN.into())
        }
        other => other,
    }
}
