//! Syscalls on sockets: making them, names, connections, options. [`transfer`] moves bytes, [`message`] moves them with
//! what comes beside them.

pub mod message;
pub mod option;
pub mod transfer;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use kernel_hal::Instant;
use linux_abi::Errno;
use linux_object::file::{File, OpenFile};
use linux_object::obstacle::{Attempt, Obstacle, overcome};
use linux_object::socket::make::{create, creation_flags};
use linux_object::socket::message::try_read_name;
use linux_object::socket::unix::UnixSocket;
use linux_object::socket::{AF_UNIX, PeerCredentials, Shutdown, SocketKind, SocketName, socket_of};
use linux_object::thread::{Interrupted, Thread};
use linux_object::user_buffer::UserMemory;

use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Completion, Outcome, attempt, encode_error};
use crate::file::descriptor;

const SOCK_TYPE: i32 = 0xf;

pub fn socket(call: &mut Call<'_>, family: i32, kind: i32, protocol: i32) -> Result<usize, Errno> {
    let (status, close_on_exec) = creation_flags(kind & !SOCK_TYPE)?;
    let file = create(family, kind & SOCK_TYPE, protocol, call.thread)?;
    let number = call.resources.files.insert(OpenFile::new(file, None, status), 0, close_on_exec)?;
    Ok(number as usize)
}

pub fn socketpair(
    call: &mut Call<'_>,
    family: i32,
    kind: i32,
    protocol: i32,
    result: UserAddress,
) -> Result<Outcome, Errno> {
    let (status, close_on_exec) = creation_flags(kind & !SOCK_TYPE)?;
    if family != AF_UNIX {
        return Err(Errno::EAFNOSUPPORT);
    }
    if protocol != 0 && protocol != AF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let made = SocketKind::from_number(kind & SOCK_TYPE).ok_or(Errno::ESOCKTNOSUPPORT)?;
    let ends = UnixSocket::pair(made, PeerCredentials::of(call.thread))?;
    let files = call.resources.files.clone();
    let [first, second] = ends.map(|end| OpenFile::new(end, None, status));
    let first = files.insert(first, 0, close_on_exec)?;
    let second = files.insert(second, 0, close_on_exec).inspect_err(|_| drop(files.remove(first)))?;
    let memory = call.memory();
    Ok(attempt(call, move || {
        let outcome = memory.write(result.get(), &[first, second]);
        if let Err(Obstacle::Error(_)) = outcome {
            // The program does not know the numbers.
            drop((files.remove(first), files.remove(second)));
        }
        outcome.map(|()| 0)
    }))
}

/// Copies a name from the program.
fn read_name(memory: &UserMemory, address: UserAddress, len: u32) -> Attempt<SocketName> {
    try_read_name(memory, address.get(), len as usize)
}

/// Copies as much of a name to the program as it has room for, and says how long it is.
fn write_name(memory: &UserMemory, name: &[u8], address: UserAddress, len: UserAddress) -> Attempt<()> {
    let room: i32 = memory.read(len.get())?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    memory.write_bytes(address.get(), &name[..room.min(name.len())])?;
    memory.write(len.get(), &(name.len() as u32))
}

/// Attempts until it is done; a limited wait ends with `timed_out`, and then a signal ends it for good.
fn attempt_within(
    call: &Call<'_>,
    limit: Option<Duration>,
    timed_out: Errno,
    mut operation: impl FnMut() -> Attempt + Send + 'static,
) -> Outcome {
    let Some(limit) = limit else { return attempt(call, operation) };
    match operation() {
        Ok(value) => Outcome::Done(value),
        Err(Obstacle::Error(errno)) => Outcome::Done(encode_error(errno)),
        Err(obstacle) => {
            let thread = call.owned_thread();
            Outcome::Wait(Box::pin(async move {
                match wait_within(&thread, Some(limit), Err(obstacle), operation).await {
                    Ok(result) => result.unwrap_or(Err(timed_out)).into(),
                    Err(Interrupted) => Completion::Error(Errno::EINTR),
                }
            }))
        }
    }
}

/// Goes on from the outcome of an attempt; `None` if the time was up.
pub(crate) async fn wait_within(
    thread: &Thread,
    limit: Option<Duration>,
    mut outcome: Attempt,
    mut operation: impl FnMut() -> Attempt + Send,
) -> Result<Option<Result<usize, Errno>>, Interrupted> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        outcome = match outcome {
            Ok(value) => return Ok(Some(Ok(value))),
            Err(Obstacle::Error(errno)) => return Ok(Some(Err(errno))),
            Err(obstacle @ Obstacle::Wait(_)) => overcome(obstacle, &mut operation).await,
            Err(obstacle) => {
                let goes_on = overcome(obstacle, &mut operation);
                match deadline {
                    None => thread.interruptible(goes_on).await?,
                    Some(deadline) => {
                        let goes_on = core::pin::pin!(goes_on);
                        match thread.interruptible(executor::timeout(deadline, goes_on)).await? {
                            Ok(outcome) => outcome,
                            Err(_) => return Ok(None),
                        }
                    }
                }
            }
        };
    }
}

/// How a transfer ends that waited with a limit: what was moved before the end of the time, or before a signal, counts.
pub(crate) fn conclude_limited(
    outcome: Result<Option<Result<usize, Errno>>, Interrupted>,
    moved: usize,
) -> Completion {
    match (outcome, moved) {
        (Ok(Some(result)), _) => result.into(),
        (Ok(None), 0) => Completion::Error(Errno::EAGAIN),
        (Err(Interrupted), 0) => Completion::Error(Errno::EINTR),
        (_, moved) => Completion::Value(moved),
    }
}

/// What an operation that may not wait makes of an obstacle.
fn refuse_to_wait<T>(outcome: Attempt<T>, errno: Errno) -> Attempt<T> {
    match outcome {
        Err(Obstacle::NotReady(_) | Obstacle::NotReadyFor(..) | Obstacle::Event(_)) => Err(errno.into()),
        other => other,
    }
}

pub fn bind(call: &mut Call<'_>, fd: Fd, address: UserAddress, len: u32) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    socket_of(&file)?;
    let (memory, thread) = (call.memory(), call.owned_thread());
    let mut name = None;
    Ok(attempt(call, move || {
        let name = match &mut name {
            Some(name) => name,
            none => none.insert(read_name(&memory, address, len)?),
        };
        socket_of(&file)?.try_bind(name, &thread).map(|()| 0)
    }))
}

pub fn listen(call: &mut Call<'_>, fd: Fd, backlog: i32) -> Result<usize, Errno> {
    let file = descriptor(call, fd)?;
    socket_of(&file)?.listen(backlog)?;
    Ok(0)
}

pub fn connect(call: &mut Call<'_>, fd: Fd, address: UserAddress, len: u32) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let socket = socket_of(&file)?;
    let (limit, pending) = (socket.send_limit(), socket.connection_pending());
    let (memory, thread) = (call.memory(), call.owned_thread());
    let (mut name, mut is_first) = (None, true);
    Ok(attempt_within(call, limit, pending, move || {
        let name = match &mut name {
            Some(name) => name,
            none => none.insert(read_name(&memory, address, len)?),
        };
        let outcome = socket_of(&file)?.try_connect(name, is_first, &thread).map(|()| 0);
        is_first = false;
        if file.is_nonblocking() { refuse_to_wait(outcome, pending) } else { outcome }
    }))
}

pub fn accept(call: &mut Call<'_>, fd: Fd, address: UserAddress, len: UserAddress) -> Result<Outcome, Errno> {
    accept4(call, fd, address, len, 0)
}

pub fn accept4(
    call: &mut Call<'_>,
    fd: Fd,
    address: UserAddress,
    len: UserAddress,
    flags: i32,
) -> Result<Outcome, Errno> {
    let (status, close_on_exec) = creation_flags(flags)?;
    let file = descriptor(call, fd)?;
    let limit = socket_of(&file)?.receive_limit();
    let (memory, files) = (call.memory(), call.resources.files.clone());
    let mut accepted: Option<Arc<dyn File>> = None;
    Ok(attempt_within(call, limit, Errno::EAGAIN, move || {
        let new = match &accepted {
            Some(new) => new,
            None => {
                // Where there is no number for it, a connection stays in the queue.
                files.check_room()?;
                let outcome = socket_of(&file)?.try_accept();
                let outcome =
                    if file.is_nonblocking() { refuse_to_wait(outcome, Errno::EAGAIN) } else { outcome };
                accepted.insert(outcome?)
            }
        };
        if !address.is_null() {
            let name = new.as_socket().ok_or(Errno::ENOTSOCK)?.accepted_name();
            write_name(&memory, &name, address, len)?;
        }
        let opening = OpenFile::new(new.clone(), None, status);
        Ok(files.insert(opening, 0, close_on_exec)? as usize)
    }))
}

pub fn shutdown(call: &mut Call<'_>, fd: Fd, how: i32) -> Result<usize, Errno> {
    let file = descriptor(call, fd)?;
    let socket = socket_of(&file)?;
    socket.shut_down(Shutdown::from_number(how)?)?;
    Ok(0)
}

fn tell_name(
    call: &Call<'_>,
    name: Result<SocketName, Errno>,
    address: UserAddress,
    len: UserAddress,
) -> Result<Outcome, Errno> {
    let (name, memory) = (name?, call.memory());
    Ok(attempt(call, move || write_name(&memory, &name, address, len).map(|()| 0)))
}

pub fn getsockname(
    call: &mut Call<'_>,
    fd: Fd,
    address: UserAddress,
    len: UserAddress,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    tell_name(call, socket_of(&file)?.local_name(), address, len)
}

pub fn getpeername(
    call: &mut Call<'_>,
    fd: Fd,
    address: UserAddress,
    len: UserAddress,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    tell_name(call, socket_of(&file)?.peer_name(), address, len)
}
