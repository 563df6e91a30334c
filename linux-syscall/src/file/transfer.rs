//! Reading and writing: by position or not, one piece of memory or many.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use linux_abi::Errno;
use linux_abi::file::{Iovec, ReadWriteFlags, SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET};
use linux_abi::signal::Signal;
use linux_abi::signal_info::SignalInfo;
use linux_object::file::{Direction, OpenFile, Position, Seek, Transfer};
use linux_object::obstacle::{Attempt, Obstacle, complete};
use linux_object::signal::send_to_thread;
use linux_object::thread::{Interrupted, Thread};
use linux_object::user_buffer::{Progress, UserBuffer, UserMemory};

use super::descriptor;
use crate::argument::{Fd, UserAddress};
use crate::call::{
    Blocked, Call, Caller, Completion, Operation, Outcome, attempt, complete_unless_interrupted, slow,
};
use crate::socket::{conclude_limited, wait_within};
use linux_object::file::limit::write_within_limit;

/// A single transfer moves at most this much, like Linux's.
pub(super) const MOST_BYTES: usize = 0x7fff_f000;
const MOST_IOVECS: usize = 1024;

/// A transfer goes on as a future. A signal that comes while some bytes have been moved makes it a short one.
#[cold]
fn go_on(
    call: &Call<'_>,
    file: Arc<OpenFile>,
    transfer: Transfer,
    buffer: UserBuffer<'_>,
    direction: Direction,
    obstacle: Obstacle,
) -> Outcome {
    let thread = call.owned_thread();
    let buffer = buffer.into_owned();
    if let Some(limit) = time_limit(&file, direction) {
        let outcome = Err(obstacle);
        return Outcome::Wait(Box::pin(finish_within(
            limit, thread, file, transfer, buffer, direction, outcome,
        )));
    }
    Outcome::Wait(Box::pin(finish(thread, file, transfer, buffer, direction, Err(obstacle))))
}

#[expect(clippy::manual_async_fn, reason = "an `async fn` keeps its arguments twice")]
fn finish(
    thread: Arc<Thread>,
    file: Arc<OpenFile>,
    mut transfer: Transfer,
    mut buffer: UserBuffer<'static>,
    direction: Direction,
    outcome: Attempt,
) -> impl Future<Output = Completion> + Send {
    async move {
        let again = || try_once(&thread, &file, &mut transfer, &mut buffer, direction);
        let completion = match complete_unless_interrupted(&thread, outcome, again).await {
            Ok(result) => result.into(),
            Err(Interrupted) => match buffer.done() {
                0 => Completion::Interrupted,
                moved => Completion::Value(moved),
            },
        };
        let flags = transfer.flags();
        if direction == Direction::Read || flags.is_empty() || buffer.done() == 0 {
            return completion;
        }
        match Box::pin(file.settle_write(flags)).await {
            Ok(()) => completion,
            Err(errno) => Completion::Error(errno),
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

async fn finish_within(
    limit: Duration,
    thread: Arc<Thread>,
    file: Arc<OpenFile>,
    mut transfer: Transfer,
    mut buffer: UserBuffer<'static>,
    direction: Direction,
    outcome: Attempt,
) -> Completion {
    let again = || try_once(&thread, &file, &mut transfer, &mut buffer, direction);
    let outcome = wait_within(&thread, Some(limit), outcome, again).await;
    conclude_limited(outcome, buffer.done())
}

#[inline(always)]
fn try_once(
    thread: &Arc<Thread>,
    file: &Arc<OpenFile>,
    transfer: &mut Transfer,
    buffer: &mut UserBuffer,
    direction: Direction,
) -> Attempt {
    match direction {
        Direction::Read => file.try_read(transfer, buffer),
        Direction::Write => note_broken_pipe(thread, write_within_limit(thread, file, transfer, buffer)),
    }
}

#[inline(always)]
fn simple_transfer(
    call: &mut Call<'_>,
    fd: Fd,
    address: UserAddress,
    count: usize,
    position: Result<Position, Errno>,
    direction: Direction,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let position = position?;
    let mut buffer = call.buffer(address.get(), count.min(MOST_BYTES));
    if position == Position::Current && !file.is_seekable() {
        return match file.try_stream(direction, &mut buffer) {
            Ok(_) => Ok(Outcome::Done(buffer.done())),
            Err(obstacle) => meet_obstacle(call, file, buffer, direction, obstacle),
        };
    }
    let mut transfer = Transfer::new(position);
    match try_once(call.thread, &file, &mut transfer, &mut buffer, direction) {
        Ok(moved) => Ok(Outcome::Done(moved)),
        Err(Obstacle::Error(errno)) => Err(errno),
        Err(obstacle) => Ok(go_on(call, file, transfer, buffer, direction, obstacle)),
    }
}

/// What is to be done about what stands in a stream's way.
#[cold]
fn meet_obstacle(
    call: &Call<'_>,
    file: Arc<OpenFile>,
    buffer: UserBuffer<'_>,
    direction: Direction,
    obstacle: Obstacle,
) -> Result<Outcome, Errno> {
    match judge_stream(call.thread, &file, &buffer, direction, obstacle) {
        Ok(moved) => Ok(Outcome::Done(moved)),
        Err(Obstacle::Error(errno)) => Err(errno),
        Err(obstacle) if time_limit(&file, direction).is_some() => {
            Ok(go_on(call, file, Transfer::new(Position::Current), buffer, direction, obstacle))
        }
        Err(obstacle) => {
            let transfer = StreamTransfer { file, progress: buffer.progress(), direction };
            call.blocked.set(Some(Blocked::Stream(transfer)));
            Ok(Outcome::Block(obstacle))
        }
    }
}

#[inline]
fn judge_stream(
    thread: &Arc<Thread>,
    file: &OpenFile,
    buffer: &UserBuffer<'_>,
    direction: Direction,
    obstacle: Obstacle,
) -> Attempt {
    let outcome = file.judge(&Transfer::new(Position::Current), buffer, obstacle);
    match direction {
        Direction::Read => outcome,
        Direction::Write => note_broken_pipe(thread, outcome),
    }
}

/// A transfer of one piece of memory by a stream that has to wait. A signal that comes while some bytes have been moved
/// makes it a short one.
pub struct StreamTransfer {
    file: Arc<OpenFile>,
    progress: Progress,
    direction: Direction,
}

impl Operation for StreamTransfer {
    fn attempt(&mut self, caller: Caller<'_>) -> Attempt {
        let mut buffer = UserBuffer::resumed(&caller.resources.address_space, self.progress);
        let outcome = self.file.try_stream(self.direction, &mut buffer);
        self.progress = buffer.progress();
        match outcome {
            Ok(_) => Ok(buffer.done()),
            Err(obstacle) => judge_stream(caller.thread, &self.file, &buffer, self.direction, obstacle),
        }
    }

    fn interrupted(&self) -> Completion {
        match self.progress.done() {
            0 => Completion::Interrupted,
            moved => Completion::Value(moved),
        }
    }
}

fn vector_transfer(
    call: &mut Call<'_>,
    fd: Fd,
    vectors: UserAddress,
    count: usize,
    transfer: Result<Transfer, Errno>,
    direction: Direction,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let mut transfer = transfer?;
    if count > MOST_IOVECS {
        return Err(Errno::EINVAL);
    }
    let memory = call.memory();
    let flags = transfer.flags();
    let lasts =
        direction == Direction::Write && flags.intersects(ReadWriteFlags::SYNC | ReadWriteFlags::DSYNC);
    match read_vectors(&memory, vectors, count) {
        Ok(mut buffer) => match try_once(call.thread, &file, &mut transfer, &mut buffer, direction) {
            Ok(moved) if lasts && moved > 0 => {
                Ok(slow(async move { file.settle_write(flags).await.map(|()| moved) }))
            }
            Ok(moved) => Ok(Outcome::Done(moved)),
            Err(Obstacle::Error(errno)) => Err(errno),
            Err(obstacle) => Ok(go_on(call, file, transfer, buffer, direction, obstacle)),
        },
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
                let outcome = try_once(&thread, &file, &mut transfer, &mut buffer, direction);
                finish(thread, file, transfer, buffer, direction, outcome).await
            })))
        }
    }
}

/// Who writes to a pipe that nobody reads is told twice.
#[inline(always)]
pub(crate) fn note_broken_pipe(thread: &Arc<Thread>, outcome: Attempt) -> Attempt {
    if let Err(Obstacle::Error(Errno::EPIPE)) = outcome {
        tell_of_broken_pipe(thread);
    }
    outcome
}

#[cold]
fn tell_of_broken_pipe(thread: &Arc<Thread>) {
    let own = thread.process();
    let info = SignalInfo::kill(Signal::SIGPIPE, own.id(), thread.credentials().real_user);
    send_to_thread(thread, Signal::SIGPIPE, info);
}

fn read_vectors(memory: &UserMemory, vectors: UserAddress, count: usize) -> Attempt<UserBuffer<'static>> {
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
    vector_transfer(call, fd, vectors, count, Ok(Transfer::new(Position::Current)), Direction::Read)
}

pub fn writev(call: &mut Call<'_>, fd: Fd, vectors: UserAddress, count: usize) -> Result<Outcome, Errno> {
    vector_transfer(call, fd, vectors, count, Ok(Transfer::new(Position::Current)), Direction::Write)
}

pub fn preadv(
    call: &mut Call<'_>,
    fd: Fd,
    vectors: UserAddress,
    count: usize,
    offset: i64,
) -> Result<Outcome, Errno> {
    vector_transfer(call, fd, vectors, count, at(offset).map(Transfer::new), Direction::Read)
}

pub fn pwritev(
    call: &mut Call<'_>,
    fd: Fd,
    vectors: UserAddress,
    count: usize,
    offset: i64,
) -> Result<Outcome, Errno> {
    vector_transfer(call, fd, vectors, count, at(offset).map(Transfer::new), Direction::Write)
}

/// What the calls with flags ask for: position -1 is the current one.
fn with_flags(
    call: &Call<'_>,
    fd: Fd,
    offset: i64,
    flags: u32,
    direction: Direction,
) -> Result<Transfer, Errno> {
    let file = descriptor(call, fd)?;
    file.check_access(direction)?;
    let position = if offset == -1 { Position::Current } else { at(offset)? };
    if position != Position::Current && !file.is_seekable() && !file.file().ignores_positions() {
        return Err(Errno::ESPIPE);
    }
    let flags = ReadWriteFlags::from_bits(flags).ok_or(Errno::EOPNOTSUPP)?;
    file.check_flags(flags)?;
    Ok(Transfer::with_flags(position, flags))
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
    let transfer = with_flags(call, fd, offset, flags, Direction::Read);
    vector_transfer(call, fd, vectors, count, transfer, Direction::Read)
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
    let transfer = with_flags(call, fd, offset, flags, Direction::Write);
    vector_transfer(call, fd, vectors, count, transfer, Direction::Write)
}

pub fn lseek(call: &mut Call<'_>, fd: Fd, offset: i64, whence: i32) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let seek = match whence {
        SEEK_SET => Seek::Start(offset),
        SEEK_CUR => Seek::Current(offset),
        SEEK_END => Seek::End(offset),
        SEEK_DATA => Seek::Data(offset),
        SEEK_HOLE => Seek::Hole(offset),
        _ => return Err(Errno::EINVAL),
    };
    Ok(attempt(call, move || file.try_seek(seek).map(|position| position as usize)))
}
