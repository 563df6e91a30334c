//! Reading and writing.

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use linux_abi::file::{Iovec, ReadWriteFlags};
use linux_object::file::Position;
use linux_object::obstacle::Attempt;
use linux_object::user_buffer::UserBuffer;

use super::{Begun, Issue, Prepared, attempt};
use crate::request::Outcome;

/// A single transfer moves at most this much, like Linux's.
const MOST_BYTES: usize = 0x7fff_f000;
const MOST_VECTORS: usize = 1024;

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

/// Moves bytes between a file and memory.
pub(crate) struct Transfer {
    direction: Direction,
    position: Position,
    buffer: UserBuffer,
}

/// An address of the program, which may be anything.
pub(crate) fn address(value: u64) -> VirtAddr {
    VirtAddr::new(value as usize)
}

fn position(issue: &Issue<'_>) -> Result<Position, Errno> {
    match issue.entry.off {
        u64::MAX => Ok(Position::Current),
        offset if offset > i64::MAX as u64 => Err(Errno::EINVAL),
        offset => Ok(Position::At(offset)),
    }
}

fn check_flags(issue: &Issue<'_>) -> Result<(), Errno> {
    let flags = ReadWriteFlags::from_bits(issue.entry.rw_flags).ok_or(Errno::EOPNOTSUPP)?;
    if ReadWriteFlags::HIPRI.contains(flags) { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

fn prepare_simple(issue: &Issue<'_>, direction: Direction) -> Attempt<Prepared> {
    check_flags(issue)?;
    let len = (issue.entry.len as usize).min(MOST_BYTES);
    let buffer = issue.memory().simple_buffer(address(issue.entry.addr), len);
    Ok(Prepared::Transfer(Transfer { direction, position: position(issue)?, buffer }))
}

fn prepare_vector(issue: &Issue<'_>, direction: Direction) -> Attempt<Prepared> {
    check_flags(issue)?;
    let count = issue.entry.len as usize;
    if count > MOST_VECTORS {
        return Err(Errno::EINVAL.into());
    }
    let memory = issue.memory();
    let vectors = memory.read_array::<Iovec>(address(issue.entry.addr), count)?;
    let mut left = MOST_BYTES;
    let mut pieces = alloc::vec::Vec::new();
    pieces.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for vector in vectors {
        let len = usize::try_from(vector.iov_len as i64).map_err(|_| Errno::EINVAL)?.min(left);
        left -= len;
        pieces.push((address(vector.iov_base), len));
    }
    let buffer = memory.buffer(pieces);
    Ok(Prepared::Transfer(Transfer { direction, position: position(issue)?, buffer }))
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
    pub(super) fn begin(mut self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        if matches!(self.position, Position::At(_)) && !file.file().is_seekable() {
            // A stream has no positions, and a ring's requests always name one.
            self.position = Position::Current;
        }
        let wanted = self.buffer.remaining();
        Ok(attempt(Some(file.clone()), move || {
            let moved = match self.direction {
                Direction::Read => file.try_read(self.position, &mut self.buffer)?,
                Direction::Write => file.try_write(self.position, &mut self.buffer)?,
            };
            Ok(Outcome::moved(moved, wanted))
        }))
    }
}
