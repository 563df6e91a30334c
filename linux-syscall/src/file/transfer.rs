//! Reading and writing: by position or not, one piece of memory or many.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use linux_abi::Errno;
use linux_abi::file::{Iovec, ReadWriteFlags, SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET};
use linux_abi::signal::Signal;
use linux_abi::signal_info::SignalInfo;
use linux_object::file::{OpenFile, Position, Seek};
use linux_object::obstacle::{Attempt, Obstacle, complete};
use linux_object::signal::send_to_thread;
use linux_object::thread::{Interrupted, Thread};
use linux_object::user_buffer::{UserBuffer, UserMemory};

use super::descriptor;
use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Completion, Outcome, complete_unless_interrupted, encode_error};
use crate::limits::write_within_limit;
use crate::socket::{conclude_limited, wait_within};

/// A single transfer moves at most this much, like Linux's.
const MOST_BYTES: usize = 0x7fff_f000;
const MOST_IOVECS: usize = 1024;

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

/// Moves bytes. A signal that comes while some have been moved makes it a short transfer.
fn transfer(
    call: &Call<'_>,
    file: Arc<OpenFile>,
    position: Position,
    mut buffer: UserBuffer,
    direction: Direction,
) -> Outcome {
    match try_once(call.thread, &file, position, &mut buffer, direction) {
        Ok(moved) => Outcome::Done(moved),
        Err(Obstacle::Error(errno)) => Outcome::Done(encode_error(errno)),
        Err(obstacle) => {
            let thread = call.owned_thread();
            if let Some(limit) = time_limit(&file, direction) {
                return Outcome::Wait(Box::pin(async move {
                    let again = || try_once(&thread, &file, position, &mut buffer, direction);
                    let outcome = wait_within(&thread, Some(limit), Err(obstacle), again).await;
                    conclude_limited(outcome, buffer.done())
                }));
            }
            Outcome::Wait(Box::pin(async move {
                let again = || try_once(&thread, &file, position, &mut buffer, direction);
                match complete_unless_interrupted(&thread, Err(obstacle), again).await {
                    Ok(result) => result.into(),
                    Err(Interrupted) => match buffer.done() {
                        0 => Completion::Interrupted,
                        moved => Completion::Value(moved),
                    },
                }
            }))
        }
    }
}

/// How long a socket lets this wait at most.
fn time_limit(file: &OpenFile, direction: Direction) -> Option<Duration> {
    let socket = file.file().as_socket()?;
    match direction {
        Direction::Read => socket.receive_limit(),
        Direction::Write => socket.send_limit(),
    }
}

fn try_once(
    thread: &Arc<Thread>,
    file: &OpenFile,
    position: Position,
    buffer: &mut UserBuffer,
    direction: Direction,
) -> Attempt {
    match direction {
        Direction::Read => file.try_read(position, buffer),
        Direction::Write => note_broken_pipe(thread, write_within_limit(thread, file, position, buffer)),
    }
}

fn simple_transfer(
    call: &mut Call<'_>,
    fd: Fd,
    address: UserAddress,
    count: usize,
    position: Result<Position, Errno>,
    direction: Direction,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let buffer = call.memory().simple_buffer(address.get(), count.min(MOST_BYTES));
    Ok(transfer(call, file, position?, buffer, direction))
}

fn vector_transfer(
    call: &mut Call<'_>,
    fd: Fd,
    vectors: UserAddress,
    count: usize,
    position: Result<Position, Errno>,
    direction: Direction,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let position = position?;
    if count > MOST_IOVECS {
        return Err(Errno::EINVAL);
    }
    let memory = call.memory();
    match read_vectors(&memory, vectors, count) {
        Ok(buffer) => Ok(transfer(call, file, position, buffer, direction)),
        Err(Obstacle::Error(errno)) => Err(errno),
        // The array is not in memory: it is read again once it is, and the transfer is one that waits.
        Err(obstacle) => {
            let thread = call.owned_thread();
            Ok(Outcome::Wait(Box::pin(async move {
                let mut first = Some(obstacle);
                let arguments = complete(|| match first.take() {
                    Some(obstacle) => Err(obstacle),
                    None => read_vectors(&memory, vectors, count),
                });
                let mut buffer = match arguments.await {
                    Ok(buffer) => buffer,
                    Err(errno) => return Completion::Error(errno),
                };
                let first = try_once(&thread, &file, position, &mut buffer, direction);
                let again = || try_once(&thread, &file, position, &mut buffer, direction);
                match complete_unless_interrupted(&thread, first, again).await {
                    Ok(result) => result.into(),
                    Err(Interrupted) => match buffer.done() {
                        0 => Completion::Interrupted,
                        moved => Completion::Value(moved),
                    },
                }
            })))
        }
    }
}

/// Who writes to a pipe that nobody reads is told twice.
pub(crate) fn note_broken_pipe(thread: &Arc<Thread>, outcome: Attempt) -> Attempt {
    if let Err(Obstacle::Error(Errno::EPIPE)) = outcome {
        let own = thread.process();
        let info = SignalInfo::kill(Signal::SIGPIPE, own.id(), thread.credentials().real_user);
        send_to_thread(thread, Signal::SIGPIPE, info);
    }
    outcome
}

fn read_vectors(memory: &UserMemory, vectors: UserAddress, count: usize) -> Attempt<UserBuffer> {
    let vectors: Vec<Iovec> = memory.read_array(vectors.get(), count)?;
    let mut left = MOST_BYTES;
    let mut pieces = Vec::new();
    pieces.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for vector in vectors {
        let len = usize::try_from(vector.iov_len as i64).map_err(|_| Errno::EINVAL)?.min(left);
        left -= len;
        pieces.push((UserAddress(vector.iov_base as usize).get(), len));
    }
    Ok(memory.buffer(pieces))
}

fn at(offset: i64) -> Result<Position, Errno> {
    u64::try_from(offset).map(Position::At).map_err(|_| Errno::EINVAL)
}

pub fn read(call: &mut Call<'_>, fd: Fd, buffer: UserAddress, count: usize) -> Result<Outcome, Errno> {
    simple_transfer(call, fd, buffer, count, Ok(Position::Current), Direction::Read)
}

pub fn write(call: &mut Call<'_>, fd: Fd, buffer: UserAddress, count: usize) -> Result<Outcome, Errno> {
    simple_transfer(call, fd, buffer, count, Ok(Position::Current), Direction::Write)
}

pub fn pread64(
    call: &mut Call<'_>,
    fd: Fd,
    buffer: UserAddress,
    count: usize,
    offset: i64,
) -> Result<Outcome, Errno> {
    simple_transfer(call, fd, buffer, count, at(offset), Direction::Read)
}

pub fn pwrite64(
    call: &mut Call<'_>,
    fd: Fd,
    buffer: UserAddress,
    count: usize,
    offset: i64,
) -> Result<Outcome, Errno> {
    simple_transfer(call, fd, buffer, count, at(offset), Direction::Write)
}

pub fn readv(call: &mut Call<'_>, fd: Fd, vectors: UserAddress, count: usize) -> Result<Outcome, Errno> {
    vector_transfer(call, fd, vectors, count, Ok(Position::Current), Direction::Read)
}

pub fn writev(call: &mut Call<'_>, fd: Fd, vectors: UserAddress, count: usize) -> Result<Outcome, Errno> {
    vector_transfer(call, fd, vectors, count, Ok(Position::Current), Direction::Write)
}

pub fn preadv(
    call: &mut Call<'_>,
    fd: Fd,
    vectors: UserAddress,
    count: usize,
    offset: i64,
) -> Result<Outcome, Errno> {
    vector_transfer(call, fd, vectors, count, at(offset), Direction::Read)
}

pub fn pwritev(
    call: &mut Call<'_>,
    fd: Fd,
    vectors: UserAddress,
    count: usize,
    offset: i64,
) -> Result<Outcome, Errno> {
    vector_transfer(call, fd, vectors, count, at(offset), Direction::Write)
}

/// The position of the calls with flags: -1 is the current one. The flags that only ask for speed are honoured by doing
/// nothing; what the others promise is not given, and so they are refused.
fn position_with_flags(offset: i64, flags: u32) -> Result<Position, Errno> {
    let flags = ReadWriteFlags::from_bits(flags).ok_or(Errno::EOPNOTSUPP)?;
    if !ReadWriteFlags::HIPRI.contains(flags) {
        return Err(Errno::EOPNOTSUPP);
    }
    if offset == -1 { Ok(Position::Current) } else { at(offset) }
}

pub fn preadv2(
    call: &mut Call<'_>,
    fd: Fd,
    vectors: UserAddress,
    count: usize,
    offset: i64,
    _high: usize,
    flags: u32,
) -> Result<Outcome, Errno> {
    vector_transfer(call, fd, vectors, count, position_with_flags(offset, flags), Direction::Read)
}

pub fn pwritev2(
    call: &mut Call<'_>,
    fd: Fd,
    vectors: UserAddress,
    count: usize,
    offset: i64,
    _high: usize,
    flags: u32,
) -> Result<Outcome, Errno> {
    vector_transfer(call, fd, vectors, count, position_with_flags(offset, flags), Direction::Write)
}

pub fn lseek(call: &mut Call<'_>, fd: Fd, offset: i64, whence: i32) -> Result<usize, Errno> {
    let seek = match whence {
        SEEK_SET => Seek::Start(offset),
        SEEK_CUR => Seek::Current(offset),
        SEEK_END => Seek::End(offset),
        SEEK_DATA | SEEK_HOLE => {
            let found = descriptor(call, fd)?.seek_extent(offset, whence == SEEK_DATA)?;
            return Ok(found as usize);
        }
        _ => return Err(Errno::EINVAL),
    };
    descriptor(call, fd)?.seek(seek).map(|position| position as usize)
}
