//! Reading and writing.

use alloc::vec::Vec;

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use linux_abi::file::{Iovec, ReadWriteFlags};
use linux_object::file::{self, Direction, Position};
use linux_object::obstacle::Attempt;
use linux_object::user_buffer::UserBuffer;

use super::{Begun, Issue, Prepared, attempt};
use crate::request::Outcome;

/// A single transfer moves at most this much, like Linux's.
const MOST_BYTES: usize = 0x7fff_f000;
const MOST_VECTORS: usize = 1024;

/// Moves bytes between a file and memory.
pub(crate) struct Transfer {
    direction: Direction,
    position: Position,
    flags: ReadWriteFlags,
    buffer: UserBuffer<'static>,
}

/// An address of the program, which may be anything.
pub(crate) fn address(value: u64) -> VirtAddr {
    VirtAddr::new(value as usize)
}

fn prepare_with(issue: &Issue<'_>, direction: Direction, buffer: UserBuffer<'static>) -> Attempt<Prepared> {
    let flags = ReadWriteFlags::from_bits(issue.entry.rw_flags).ok_or(Errno::EOPNOTSUPP)?;
    let position = match issue.entry.off {
        u64::MAX => Position::Current,
        offset if offset > i64::MAX as u64 => return Err(Errno::EINVAL.into()),
        offset => Position::At(offset),
    };
    Ok(Prepared::Transfer(Transfer { direction, position, flags, buffer }))
}

fn prepare_simple(issue: &Issue<'_>, direction: Direction) -> Attempt<Prepared> {
    let len = (issue.entry.len as usize).min(MOST_BYTES);
    prepare_with(issue, direction, issue.memory().simple_buffer(address(issue.entry.addr), len))
}

fn prepare_vector(issue: &Issue<'_>, direction: Direction) -> Attempt<Prepared> {
    let count = issue.entry.len as usize;
    if count > MOST_VECTORS {
        return Err(Errno::EINVAL.into());
    }
    let memory = issue.memory();
    let vectors = memory.read_array::<Iovec>(address(issue.entry.addr), count)?;
    let mut left = MOST_BYTES;
    let mut pieces = Vec::new();
    pieces.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for vector in vectors {
        let len = usize::try_from(vector.iov_len as i64).map_err(|_| Errno::EINVAL)?.min(left);
        left -= len;
        pieces.push((address(vector.iov_base), len));
    }
    prepare_with(issue, direction, memory.buffer(pieces))
}

pub(super) fn prepare_read(issue: &Issue<'_>) -> Attempt<Prepared> {
    prepare_simple(issue, Direction::Read)
}

pub(super) fn prepare_write(issue: &Issue<'_>) -> Attempt<Prepared> {
    prepare_simple(issue, Direction::Write)
}

pub(super) fn prepare_read_vector(issue: &Issue<'_>) -> Attempt<Prepared> {
    prepare_vector(issue, Direction::Read)
}

pub(super) fn prepare_write_vector(issue: &Issue<'_>) -> Attempt<Prepared> {
    prepare_vector(issue, Direction::Write)
}

impl Transfer {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        file.check_flags(self.flags)?;
        let Self { direction, position, flags, mut buffer } = self;
        // A stream has no positions, and a ring's requests always name one.
        let position = if file.file().is_seekable() { position } else { Position::Current };
        let mut transfer = file::Transfer::with_flags(position, flags).patient();
        let wanted = buffer.remaining();
        Ok(attempt(Some(file.clone()), move || {
            let moved = match direction {
                Direction::Read => file.try_read(&mut transfer, &mut buffer)?,
                Direction::Write => file.try_write(&mut transfer, &mut buffer)?,
            };
            Ok(Outcome::moved(moved, wanted))
        }))
    }
}
