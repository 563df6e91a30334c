//! Reading and writing.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use linux_abi::file::{Iovec, ReadWriteFlags};
use linux_abi::io_uring::{RequestFlags, SetupFlags};
use linux_object::file::limit::write_within_limit;
use linux_object::file::{self, Direction, OpenFile, Position};
use linux_object::obstacle::{Attempt, Obstacle};
use linux_object::user_buffer::UserBuffer;

use super::buffers::spend;
use super::socket::More;
use super::{Begun, Issue, Prepared, Waiting, attempt};
use crate::buffers::{Group, Taken};
use crate::request::Outcome;

/// A single transfer moves at most this much, like Linux's.
const MOST_BYTES: usize = 0x7fff_f000;
const MOST_VECTORS: usize = 1024;

/// Which memory.
enum Memory {
    /// What the request names.
    Named(UserBuffer<'static>),
    /// Part of a registered buffer.
    Registered { index: u16, start: u64, len: u32 },
    /// The next buffer of a group, so much of it at most (0: all).
    Chosen { most: u32 },
}

/// Moves bytes between a file and memory.
pub(crate) struct Transfer {
    direction: Direction,
    position: Position,
    flags: ReadWriteFlags,
    memory: Memory,
    is_multishot: bool,
}

/// An address of the program, which may be anything.
pub(crate) fn address(value: u64) -> VirtAddr {
    VirtAddr::new(value as usize)
}

/// The priority of a transfer, which changes nothing here: a class, and a level in it.
fn check_priority(priority: u16) -> Result<(), Errno> {
    const CLASS_SHIFT: u32 = 13;
    const IDLE: u16 = 3;
    match priority >> CLASS_SHIFT {
        0 if priority != 0 => Err(Errno::EINVAL),
        0..=IDLE => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

fn prepare_with(issue: &Issue<'_>, direction: Direction, memory: Memory) -> Attempt<Prepared> {
    check_priority(issue.entry.ioprio)?;
    let flags = ReadWriteFlags::from_bits(issue.entry.rw_flags).ok_or(Errno::EOPNOTSUPP)?;
    let position = match issue.entry.off {
        u64::MAX => Position::Current,
        offset if offset > i64::MAX as u64 => return Err(Errno::EINVAL.into()),
        offset => Position::At(offset),
    };
    Ok(Prepared::Transfer(Transfer { direction, position, flags, memory, is_multishot: false }))
}

fn prepare_simple(issue: &Issue<'_>, direction: Direction) -> Attempt<Prepared> {
    if issue.flags().contains(RequestFlags::BUFFER_SELECT) {
        return prepare_with(issue, direction, Memory::Chosen { most: issue.entry.len });
    }
    let len = (issue.entry.len as usize).min(MOST_BYTES);
    let buffer = issue.memory().simple_buffer(address(issue.entry.addr), len);
    prepare_with(issue, direction, Memory::Named(buffer))
}

fn prepare_vector(issue: &Issue<'_>, direction: Direction) -> Attempt<Prepared> {
    let count = issue.entry.len as usize;
    if count > MOST_VECTORS {
        return Err(Errno::EINVAL.into());
    }
    let memory = issue.memory();
    let vectors = memory.read_array::<Iovec>(address(issue.entry.addr), count)?;
    if issue.flags().contains(RequestFlags::BUFFER_SELECT) {
        let [vector] = vectors[..] else { return Err(Errno::EINVAL.into()) };
        let most = u32::try_from(vector.iov_len).unwrap_or(MOST_BYTES as u32);
        return prepare_with(issue, direction, Memory::Chosen { most });
    }
    let mut left = MOST_BYTES;
    let mut pieces = Vec::new();
    pieces.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for vector in vectors {
        let len = usize::try_from(vector.iov_len as i64).map_err(|_| Errno::EINVAL)?.min(left);
        left -= len;
        pieces.push((address(vector.iov_base), len));
    }
    prepare_with(issue, direction, Memory::Named(memory.buffer(pieces)))
}

fn prepare_registered(issue: &Issue<'_>, direction: Direction) -> Attempt<Prepared> {
    let (start, len) = (issue.entry.addr, issue.entry.len.min(MOST_BYTES as u32));
    prepare_with(issue, direction, Memory::Registered { index: issue.entry.buf_index, start, len })
}

pub(super) fn prepare_read_registered(issue: &Issue<'_>) -> Attempt<Prepared> {
    prepare_registered(issue, Direction::Read)
}

pub(super) fn prepare_write_registered(issue: &Issue<'_>) -> Attempt<Prepared> {
    prepare_registered(issue, Direction::Write)
}

/// Reads again and again, each time into a buffer of a group.
pub(super) fn prepare_read_multishot(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let chooses = issue.flags().contains(RequestFlags::BUFFER_SELECT);
    if !chooses || entry.addr != 0 || entry.len != 0 {
        return Err(Errno::EINVAL.into());
    }
    match prepare_simple(issue, Direction::Read)? {
        Prepared::Transfer(transfer) => Ok(Prepared::Transfer(Transfer { is_multishot: true, ..transfer })),
        other => Ok(other),
    }
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
        if issue.ring.flags().contains(SetupFlags::IOPOLL) {
            // No device here is polled for its completions.
            return Err(Errno::EOPNOTSUPP);
        }
        file.check_flags(self.flags)?;
        let Self { direction, position, flags, memory, is_multishot } = self;
        // A stream has no positions, and a ring's requests always name one.
        let position = if file.file().is_seekable() { position } else { Position::Current };
        if is_multishot && (file.file().is_seekable() || !file.file().is_watchable()) {
            return Err(Errno::EBADFD);
        }
        let mut transfer = file::Transfer::with_flags(position, flags).patient();
        let (mut buffer, held) = match memory {
            Memory::Named(buffer) => (buffer, None),
            Memory::Registered { index, start, len } => {
                let registered = issue.ring.registered_memory(index, start, len)?;
                (registered.buffer(start, len), Some(registered))
            }
            Memory::Chosen { most } => {
                let group = issue.ring.registered.groups.get(issue.entry.buf_index).ok_or(Errno::ENOBUFS)?;
                let more = is_multishot.then(|| More::of(issue));
                return Ok(begin_chosen(issue, file, (direction, position, flags), (group, most), more));
            }
        };
        let wanted = buffer.remaining();
        let thread = issue.thread.clone();
        let begun = attempt(Some(file.clone()), move || {
            let moved = match direction {
                Direction::Read => file.try_read(&mut transfer, &mut buffer)?,
                Direction::Write => write_within_limit(&thread, &file, &mut transfer, &mut buffer)?,
            };
            Ok(Outcome::moved(moved, wanted))
        });
        Ok(match begun {
            // What is registered stays so until the transfer is done.
            Begun::Waits(waiting) => Begun::Waits(Waiting { held, ..waiting }),
            ended => ended,
        })
    }
}

/// Moves bytes between a file and buffers of a group.
fn begin_chosen(
    issue: &Issue<'_>,
    file: Arc<OpenFile>,
    (direction, position, flags): (Direction, Position, ReadWriteFlags),
    (group, most): (Arc<Group>, u32),
    more: Option<More>,
) -> Begun {
    let (memory, thread) = (issue.memory(), issue.thread.clone());
    let fresh = move || file::Transfer::with_flags(position, flags).patient();
    let mut transfer = fresh();
    // A buffer that something was moved to, or that a page is brought for.
    let mut begun: Option<(Taken, UserBuffer<'static>)> = None;
    attempt(Some(file.clone()), move || {
        loop {
            let (taken, mut buffer) = match begun.take() {
                Some(begun) => begun,
                None => {
                    let taken = group.take().ok_or(Errno::ENOBUFS)?;
                    let len = if most == 0 { taken.len } else { taken.len.min(most) };
                    (taken, memory.simple_buffer(address(taken.address), len as usize))
                }
            };
            let wanted = buffer.done() + buffer.remaining();
            let attempted = match direction {
                Direction::Read => file.try_read(&mut transfer, &mut buffer),
                Direction::Write => write_within_limit(&thread, &file, &mut transfer, &mut buffer),
            };
            let moved = match attempted {
                Ok(moved) => moved,
                Err(obstacle) => {
                    let may_be_given_back = match &obstacle {
                        Obstacle::Wait(_) => false,
                        Obstacle::Error(_) => true,
                        _ => buffer.done() == 0,
                    };
                    if may_be_given_back {
                        group.give_back(taken);
                    } else {
                        begun = Some((taken, buffer));
                    }
                    return Err(obstacle);
                }
            };
            let outcome = spend(&group, taken, Outcome::moved(moved, wanted));
            match &more {
                Some(more) if moved > 0 && more.tell(outcome) => transfer = fresh(),
                // A short read is the usual one of many.
                Some(_) => return Ok(Outcome { is_success: true, ..outcome }),
                None => return Ok(outcome),
            }
        }
    })
}
