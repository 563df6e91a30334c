//! Syscalls on sockets.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use linux_abi::file::{Iovec, OpenFlags};
use linux_object::file::{FileTable, OpenFile};
use linux_object::obstacle::{Attempt, Obstacle, complete};
use linux_object::socket::unix::{Ancillary, PeerCredentials, Received, UnixSocket};
use linux_object::socket::{
    AF_UNIX, MOST_RIGHTS, MessageFlags, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET, Shutdown, SocketKind,
};
use linux_object::thread::{Interrupted, Thread};
use linux_object::user_buffer::{UserBuffer, UserMemory};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Completion, Outcome, attempt, encode_error};
use crate::file::{descriptor, note_broken_pipe};

const SOCK_TYPE: i32 = 0xf;
const SOCK_NONBLOCK: i32 = OpenFlags::NONBLOCK.bits() as i32;
const SOCK_CLOEXEC: i32 = OpenFlags::CLOEXEC.bits() as i32;
const MOST_PIECES: usize = 1024;
const MOST_CONTROL_BYTES: usize = 20480;
const MOST_BYTES: usize = 0x7fff_f000;

const SO_TYPE: i32 = 3;
const SO_ERROR: i32 = 4;
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_PASSCRED: i32 = 16;
const SO_PEERCRED: i32 = 17;
const SO_ACCEPTCONN: i32 = 30;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;

/// `struct msghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MessageHeader {
    name: u64,
    name_len: u32,
    padding_after_name_len: u32,
    pieces: u64,
    piece_count: u64,
    control: u64,
    control_len: u64,
    flags: u32,
    padding_after_flags: u32,
}

/// `struct cmsghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ControlHeader {
    len: u64,
    level: i32,
    kind: i32,
}

const CONTROL_HEADER: usize = size_of::<ControlHeader>();
const ALIGNMENT: usize = 8;

fn own_credentials(thread: &Thread) -> PeerCredentials {
    let credentials = thread.credentials();
    PeerCredentials {
        process: thread.process().id(),
        user: credentials.effective_user,
        group: credentials.effective_group,
    }
}

/// Local sockets come in pairs; no family has sockets that are made alone.
pub fn socket(_call: &mut Call<'_>, _family: i32, kind: i32, _protocol: i32) -> Result<usize, Errno> {
    if kind & !(SOCK_TYPE | SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    Err(Errno::EAFNOSUPPORT)
}

pub fn socketpair(
    call: &mut Call<'_>,
    family: i32,
    kind: i32,
    protocol: i32,
    result: UserAddress,
) -> Result<Outcome, Errno> {
    if kind & !(SOCK_TYPE | SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    if family != AF_UNIX {
        return Err(Errno::EAFNOSUPPORT);
    }
    if protocol != 0 && protocol != AF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let made = SocketKind::from_number(kind & SOCK_TYPE).ok_or(Errno::ESOCKTNOSUPPORT)?;
    let ends = UnixSocket::pair(made, own_credentials(call.thread))?;
    let is_nonblocking = kind & SOCK_NONBLOCK != 0;
    let status = OpenFlags::RDWR | if is_nonblocking { OpenFlags::NONBLOCK } else { OpenFlags::empty() };
    let files = call.resources.files.clone();
    let close_on_exec = kind & SOCK_CLOEXEC != 0;
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

/// What a transfer moves, and how.
struct Transfer {
    file: Arc<OpenFile>,
    thread: Arc<Thread>,
    buffer: UserBuffer,
    flags: MessageFlags,
    ancillary: Option<Box<Ancillary>>,
    received: Received,
    sends: bool,
}

impl Transfer {
    fn attempt(&mut self) -> Attempt {
        let socket = UnixSocket::of(&self.file)?;
        let outcome = if self.sends {
            socket.try_send(&mut self.buffer, self.flags, &mut self.ancillary)
        } else {
            socket.try_receive(&mut self.buffer, self.flags, &mut self.received)
        };
        let may_wait = !self.file.is_nonblocking() && !self.flags.contains(MessageFlags::DONTWAIT);
        let outcome = match outcome {
            Err(Obstacle::NotReady(_) | Obstacle::NotReadyFor(..)) if !may_wait => Err(Errno::EAGAIN.into()),
            other => other,
        };
        match outcome {
            Err(Obstacle::Error(_)) if self.buffer.done() > 0 => Ok(self.buffer.done()),
            other if self.sends && !self.flags.contains(MessageFlags::NOSIGNAL) => {
                note_broken_pipe(&self.thread, other)
            }
            other => other,
        }
    }

    /// Goes on until it is done. A signal that comes while something has been moved makes it short.
    async fn finish(&mut self) -> Result<usize, Completion> {
        let thread = self.thread.clone();
        match thread.interruptible(complete(|| self.attempt())).await {
            Ok(result) => result.map_err(Completion::Error),
            Err(Interrupted) => match self.buffer.done() {
                0 => Err(Completion::Interrupted),
                moved => Ok(moved),
            },
        }
    }
}

fn start(call: &Call<'_>, file: Arc<OpenFile>, buffer: UserBuffer, flags: u32, sends: bool) -> Transfer {
    let thread = call.owned_thread();
    let flags = MessageFlags::from_bits_retain(flags);
    Transfer { file, thread, buffer, flags, ancillary: None, received: Received::default(), sends }
}

/// A transfer without control messages.
fn simple(mut transfer: Transfer) -> Outcome {
    match transfer.attempt() {
        Ok(moved) => Outcome::Done(moved),
        Err(Obstacle::Error(errno)) => Outcome::Done(encode_error(errno)),
        // The next attempt says the same if nothing has changed.
        Err(_) => Outcome::Wait(Box::pin(async move {
            match transfer.finish().await {
                Ok(moved) => Completion::Value(moved),
                Err(completion) => completion,
            }
        })),
    }
}

pub fn sendto(
    call: &mut Call<'_>,
    fd: Fd,
    bytes: UserAddress,
    len: usize,
    flags: u32,
    address: UserAddress,
    _address_len: u32,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let socket = UnixSocket::of(&file)?;
    if !address.is_null() {
        return Err(Errno::EISCONN);
    }
    let ancillary = implied_credentials(socket, call.thread);
    let buffer = call.memory().simple_buffer(bytes.get(), len.min(MOST_BYTES));
    let mut transfer = start(call, file, buffer, flags, true);
    transfer.ancillary = ancillary;
    Ok(simple(transfer))
}

fn implied_credentials(socket: &UnixSocket, thread: &Thread) -> Option<Box<Ancillary>> {
    let credentials = || Ancillary { rights: Vec::new(), credentials: Some(own_credentials(thread)) };
    socket.wants_credentials().then(|| Box::new(credentials()))
}

pub fn recvfrom(
    call: &mut Call<'_>,
    fd: Fd,
    bytes: UserAddress,
    len: usize,
    flags: u32,
    address: UserAddress,
    address_len: UserAddress,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    UnixSocket::of(&file)?;
    let memory = call.memory();
    let buffer = memory.simple_buffer(bytes.get(), len.min(MOST_BYTES));
    let mut transfer = start(call, file, buffer, flags, false);
    if address.is_null() {
        return Ok(simple(transfer));
    }
    Ok(Outcome::Wait(Box::pin(async move {
        let moved = match transfer.finish().await {
            Ok(moved) => moved,
            Err(completion) => return completion,
        };
        // The other end has no name.
        complete(|| memory.write(address_len.get(), &0u32)).await.map(|()| moved).into()
    })))
}

fn read_header(memory: &UserMemory, address: UserAddress) -> Attempt<(MessageHeader, UserBuffer)> {
    let header: MessageHeader = memory.read(address.get())?;
    let count = usize::try_from(header.piece_count).ok().filter(|&count| count <= MOST_PIECES);
    let vectors: Vec<Iovec> =
        memory.read_array(VirtAddr::new(header.pieces as usize), count.ok_or(Errno::EMSGSIZE)?)?;
    let mut left = MOST_BYTES;
    let mut pieces = Vec::new();
    for vector in vectors {
        let len = usize::try_from(vector.iov_len as i64).map_err(|_| Errno::EINVAL)?.min(left);
        left -= len;
        pieces.push((VirtAddr::new(vector.iov_base as usize), len));
    }
    Ok((header, memory.buffer(pieces)))
}

pub fn sendmsg(call: &mut Call<'_>, fd: Fd, message: UserAddress, flags: u32) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    UnixSocket::of(&file)?;
    let (memory, files, thread) = (call.memory(), call.resources.files.clone(), call.owned_thread());
    Ok(Outcome::Wait(Box::pin(async move {
        let prepared = async {
            let (header, buffer) = complete(|| read_header(&memory, message)).await?;
            if header.name != 0 {
                return Err(Errno::EISCONN);
            }
            let len = header.control_len as usize;
            if len > MOST_CONTROL_BYTES {
                return Err(Errno::ENOBUFS);
            }
            let mut control = alloc::vec![0; len];
            complete(|| memory.read_bytes(VirtAddr::new(header.control as usize), &mut control)).await?;
            let socket = UnixSocket::of(&file)?;
            let mut ancillary = implied_credentials(socket, &thread);
            read_control(&control, &files, &thread, &mut ancillary)?;
            Ok((buffer, ancillary))
        };
        let (buffer, ancillary) = match prepared.await {
            Ok(prepared) => prepared,
            Err(errno) => return Completion::Error(errno),
        };
        let flags = MessageFlags::from_bits_retain(flags);
        let received = Received::default();
        let mut transfer = Transfer { file, thread, buffer, flags, ancillary, received, sends: true };
        match transfer.finish().await {
            Ok(moved) => Completion::Value(moved),
            Err(completion) => completion,
        }
    })))
}

/// What the control messages of a send ask for.
fn read_control(
    mut control: &[u8],
    files: &FileTable,
    thread: &Thread,
    ancillary: &mut Option<Box<Ancillary>>,
) -> Result<(), Errno> {
    while control.len() >= CONTROL_HEADER {
        let (header, _) = ControlHeader::read_from_prefix(control).map_err(|_| Errno::EINVAL)?;
        let len = usize::try_from(header.len).map_err(|_| Errno::EINVAL)?;
        let payload = control.get(CONTROL_HEADER..len).ok_or(Errno::EINVAL)?;
        if header.level == SOL_SOCKET {
            let ancillary = ancillary.get_or_insert_default();
            match header.kind {
                SCM_RIGHTS => {
                    for number in payload.as_chunks::<4>().0 {
                        ancillary.rights.push(files.get(i32::from_le_bytes(*number))?);
                    }
                    if ancillary.rights.len() > MOST_RIGHTS {
                        return Err(Errno::EINVAL);
                    }
                }
                SCM_CREDENTIALS => ancillary.credentials = Some(alleged_credentials(payload, thread)?),
                _ => return Err(Errno::EINVAL),
            }
        }
        control = control.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    if ancillary.as_ref().is_some_and(|found| found.rights.is_empty() && found.credentials.is_none()) {
        *ancillary = None;
    }
    Ok(())
}

/// A program may say who it is; only a privileged one may say that it is somebody else.
fn alleged_credentials(payload: &[u8], thread: &Thread) -> Result<PeerCredentials, Errno> {
    let ([process, user, group], rest) = <[i32; 3]>::read_from_prefix(payload).map_err(|_| Errno::EINVAL)?;
    if !rest.is_empty() {
        return Err(Errno::EINVAL);
    }
    let alleged = PeerCredentials { process, user: user as u32, group: group as u32 };
    let own = thread.credentials();
    let is_own_user = [own.real_user, own.effective_user, own.saved_user].contains(&alleged.user);
    let is_own_group = [own.real_group, own.effective_group, own.saved_group].contains(&alleged.group);
    let is_own = process == thread.process().id() && is_own_user && is_own_group;
    if is_own || own.is_privileged() { Ok(alleged) } else { Err(Errno::EPERM) }
}

pub fn recvmsg(call: &mut Call<'_>, fd: Fd, message: UserAddress, flags: u32) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    UnixSocket::of(&file)?;
    let (memory, files, thread) = (call.memory(), call.resources.files.clone(), call.owned_thread());
    Ok(Outcome::Wait(Box::pin(async move {
        let (header, buffer) = match complete(|| read_header(&memory, message)).await {
            Ok(prepared) => prepared,
            Err(errno) => return Completion::Error(errno),
        };
        let flags = MessageFlags::from_bits_retain(flags);
        let received = Received::default();
        let mut transfer = Transfer { file, thread, buffer, flags, ancillary: None, received, sends: false };
        let moved = match transfer.finish().await {
            Ok(moved) => moved,
            Err(completion) => return completion,
        };
        let wants_credentials =
            UnixSocket::of(&transfer.file).is_ok_and(|socket| socket.passes_credentials());
        let mut told = transfer.received.flags | flags & MessageFlags::CMSG_CLOEXEC;
        let room = header.control_len as usize;
        let ancillary = transfer.received.ancillary.take();
        let control = write_control(ancillary, &files, wants_credentials, room, &mut told);
        let answer =
            MessageHeader { name_len: 0, control_len: control.len() as u64, flags: told.bits(), ..header };
        let write = || {
            memory.write_bytes(VirtAddr::new(header.control as usize), &control)?;
            memory.write(message.get(), &answer)?;
            Ok(moved)
        };
        complete(write).await.into()
    })))
}

/// The control messages of what was received; descriptors get their numbers here.
fn write_control(
    ancillary: Option<Box<Ancillary>>,
    files: &FileTable,
    wants_credentials: bool,
    room: usize,
    told: &mut MessageFlags,
) -> Vec<u8> {
    let mut control = Vec::new();
    let Some(ancillary) = ancillary else { return control };
    let put = |control: &mut Vec<u8>, kind: i32, payload: &[u8]| {
        let len = CONTROL_HEADER + payload.len();
        let header = ControlHeader { len: len as u64, level: SOL_SOCKET, kind };
        control.resize(control.len().next_multiple_of(ALIGNMENT), 0);
        control.extend_from_slice(header.as_bytes());
        control.extend_from_slice(payload);
        // What follows a message begins aligned, if there is room.
        control.resize(control.len().next_multiple_of(ALIGNMENT).min(room.max(control.len())), 0);
    };
    if wants_credentials && let Some(sender) = ancillary.credentials {
        let payload = [sender.process, sender.user as i32, sender.group as i32];
        if CONTROL_HEADER + size_of_val(&payload) <= room {
            put(&mut control, SCM_CREDENTIALS, payload.as_bytes());
        } else {
            told.insert(MessageFlags::CTRUNC);
        }
    }
    if !ancillary.rights.is_empty() {
        let left = room.saturating_sub(control.len() + CONTROL_HEADER) / size_of::<i32>();
        let close_on_exec = told.contains(MessageFlags::CMSG_CLOEXEC);
        let mut numbers = Vec::new();
        for right in ancillary.rights.into_iter() {
            let number = if numbers.len() < left { files.insert(right, 0, close_on_exec).ok() } else { None };
            match number {
                Some(number) => numbers.push(number),
                None => told.insert(MessageFlags::CTRUNC),
            }
        }
        if !numbers.is_empty() {
            put(&mut control, SCM_RIGHTS, numbers.as_bytes());
        }
    }
    control
}

pub fn shutdown(call: &mut Call<'_>, fd: Fd, how: i32) -> Result<usize, Errno> {
    let file = descriptor(call, fd)?;
    let socket = UnixSocket::of(&file)?;
    socket.shut_down(Shutdown::from_number(how)?);
    Ok(0)
}

/// The name of a local socket that has none: its family.
fn unnamed(call: &Call<'_>, fd: Fd, address: UserAddress, len: UserAddress) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    UnixSocket::of(&file)?;
    let memory = call.memory();
    Ok(attempt(call, move || {
        let room: i32 = memory.read(len.get())?;
        let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
        let name = (AF_UNIX as u16).to_le_bytes();
        memory.write_bytes(address.get(), &name[..room.min(name.len())])?;
        memory.write(len.get(), &(name.len() as u32))?;
        Ok(0)
    }))
}

pub fn getsockname(
    call: &mut Call<'_>,
    fd: Fd,
    address: UserAddress,
    len: UserAddress,
) -> Result<Outcome, Errno> {
    unnamed(call, fd, address, len)
}

pub fn getpeername(
    call: &mut Call<'_>,
    fd: Fd,
    address: UserAddress,
    len: UserAddress,
) -> Result<Outcome, Errno> {
    unnamed(call, fd, address, len)
}

pub fn getsockopt(
    call: &mut Call<'_>,
    fd: Fd,
    level: i32,
    option: i32,
    value: UserAddress,
    len: UserAddress,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let socket = UnixSocket::of(&file)?;
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let number = |number: i32| number.to_le_bytes().to_vec();
    let answer = match option {
        SO_TYPE => number(socket.kind().number()),
        SO_ERROR => number(socket.take_error()),
        SO_SNDBUF => number(socket.limits().0 as i32),
        SO_RCVBUF => number(socket.limits().1 as i32),
        SO_PASSCRED => number(i32::from(socket.passes_credentials())),
        SO_ACCEPTCONN | SO_PROTOCOL => number(0),
        SO_DOMAIN => number(AF_UNIX),
        SO_PEERCRED => {
            let peer = socket.peer_credentials();
            [peer.process, peer.user as i32, peer.group as i32].as_bytes().to_vec()
        }
        _ => return Err(Errno::ENOPROTOOPT),
    };
    let memory = call.memory();
    Ok(attempt(call, move || {
        let room: i32 = memory.read(len.get())?;
        let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?.min(answer.len());
        memory.write_bytes(value.get(), &answer[..room])?;
        memory.write(len.get(), &(room as u32))?;
        Ok(0)
    }))
}

pub fn setsockopt(
    call: &mut Call<'_>,
    fd: Fd,
    level: i32,
    option: i32,
    value: UserAddress,
    len: i32,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    UnixSocket::of(&file)?;
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    if len < size_of::<i32>() as i32 {
        return Err(Errno::EINVAL);
    }
    let memory = call.memory();
    Ok(attempt(call, move || {
        let number: i32 = memory.read(value.get())?;
        let socket = UnixSocket::of(&file)?;
        match option {
            SO_SNDBUF | SO_RCVBUF => socket.set_limit(option == SO_SNDBUF, number.max(0) as usize),
            SO_PASSCRED => socket.set_passes_credentials(number != 0),
            _ => return Err(Errno::ENOPROTOOPT.into()),
        }
        Ok(0)
    }))
}
