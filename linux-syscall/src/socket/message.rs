//! Messages: bytes in several pieces, with a name and control messages, one at a time or many.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::{Instant, VirtAddr};
use linux_abi::Errno;
use linux_abi::file::Iovec;
use linux_abi::time::Timespec;
use linux_object::file::{FileTable, OpenFile};
use linux_object::obstacle::{Attempt, complete};
use linux_object::socket::{MessageFlags, socket_of};
use linux_object::thread::Thread;
use linux_object::user_buffer::{UserBuffer, UserMemory};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::control_message::{read_control, write_control};
use super::read_name;
use super::transfer::{MOST_BYTES, Transfer, implied_credentials};
use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Completion, Outcome};
use crate::file::descriptor;

const MOST_PIECES: usize = 1024;
const MOST_CONTROL_BYTES: usize = 20480;
/// More messages than that are cut.
const MOST_MESSAGES: u32 = 1024;
/// `recvmmsg` waits for the first message only.
const MSG_WAITFORONE: u32 = 0x10000;

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

/// `struct mmsghdr`: a header, and how much was moved.
const MANY_STRIDE: usize = size_of::<MessageHeader>() + 8;
const MANY_MOVED: usize = size_of::<MessageHeader>();

/// The socket that messages go through, and whose they are.
#[derive(Clone)]
struct Party {
    file: Arc<OpenFile>,
    memory: UserMemory,
    files: Arc<FileTable>,
    thread: Arc<Thread>,
}

impl Party {
    fn of(call: &Call<'_>, fd: Fd) -> Result<Self, Errno> {
        let file = descriptor(call, fd)?;
        socket_of(&file)?;
        let (memory, thread) = (call.memory(), call.owned_thread());
        Ok(Self { file, memory, files: call.resources.files.clone(), thread })
    }

    fn read_header(&self, address: VirtAddr) -> Attempt<(MessageHeader, UserBuffer<'static>)> {
        let header: MessageHeader = self.memory.read(address)?;
        let count = usize::try_from(header.piece_count).ok().filter(|&count| count <= MOST_PIECES);
        let vectors: Vec<Iovec> =
            self.memory.read_array(VirtAddr::new(header.pieces as usize), count.ok_or(Errno::EMSGSIZE)?)?;
        let mut left = MOST_BYTES;
        let mut pieces = Vec::new();
        for vector in vectors {
            let len = usize::try_from(vector.iov_len as i64).map_err(|_| Errno::EINVAL)?.min(left);
            left -= len;
            pieces.push((VirtAddr::new(vector.iov_base as usize), len));
        }
        Ok((header, self.memory.buffer(pieces)))
    }

    async fn prepare_to_send(&self, message: VirtAddr, flags: u32) -> Result<Transfer, Errno> {
        let (header, buffer) = complete(|| self.read_header(message)).await?;
        let mut transfer = Transfer::new(self.file.clone(), self.thread.clone(), buffer, flags, true);
        if header.name != 0 && header.name_len != 0 {
            let address = UserAddress(header.name as usize);
            transfer.outgoing.name =
                Some(complete(|| read_name(&self.memory, address, header.name_len)).await?);
        }
        let len = header.control_len as usize;
        if len > MOST_CONTROL_BYTES {
            return Err(Errno::ENOBUFS);
        }
        let mut ancillary = implied_credentials(socket_of(&self.file)?, &self.thread);
        if header.control != 0 && len > 0 {
            let mut control = alloc::vec![0; len];
            complete(|| self.memory.read_bytes(VirtAddr::new(header.control as usize), &mut control)).await?;
            read_control(&control, &self.files, &self.thread, &mut ancillary)?;
        }
        transfer.outgoing.ancillary = ancillary;
        Ok(transfer)
    }

    async fn send(&self, message: VirtAddr, flags: u32) -> Result<usize, Completion> {
        self.prepare_to_send(message, flags).await.map_err(Completion::Error)?.finish().await
    }

    async fn receive(&self, message: VirtAddr, flags: u32) -> Result<usize, Completion> {
        let memory = &self.memory;
        let prepared = complete(|| self.read_header(message)).await;
        let (header, buffer) = prepared.map_err(Completion::Error)?;
        let mut transfer = Transfer::new(self.file.clone(), self.thread.clone(), buffer, flags, false);
        let moved = transfer.finish().await?;
        let wants_credentials = socket_of(&self.file).is_ok_and(|socket| socket.passes_credentials());
        let mut told = transfer.received.flags | transfer.flags & MessageFlags::CMSG_CLOEXEC;
        let room = header.control_len as usize;
        let ancillary = transfer.received.ancillary.take();
        let control = write_control(ancillary, &self.files, wants_credentials, room, &mut told);
        let name = transfer.received.name.unwrap_or_default();
        let name_len = if header.name == 0 { header.name_len } else { name.len() as u32 };
        let answer =
            MessageHeader { name_len, control_len: control.len() as u64, flags: told.bits(), ..header };
        let write = || {
            if header.name != 0 {
                let room = (header.name_len as usize).min(name.len());
                memory.write_bytes(VirtAddr::new(header.name as usize), &name[..room])?;
            }
            memory.write_bytes(VirtAddr::new(header.control as usize), &control)?;
            memory.write(message, &answer)?;
            Ok(moved)
        };
        complete(write).await.map_err(Completion::Error)
    }

    /// Messages one after another until one fails or would wait; how many there were, or what became of the first.
    async fn many(&self, messages: VirtAddr, count: u32, many: Many) -> Completion {
        let mut flags = many.flags & !MSG_WAITFORONE;
        let mut moved_messages = 0;
        while moved_messages < count as usize {
            let message = messages + moved_messages * MANY_STRIDE;
            let outcome =
                if many.sends { self.send(message, flags).await } else { self.receive(message, flags).await };
            let outcome = match outcome {
                Ok(moved) => {
                    let moved = moved as u32;
                    let told = complete(|| self.memory.write(message + MANY_MOVED, &moved)).await;
                    told.map_err(Completion::Error)
                }
                Err(completion) => Err(completion),
            };
            match outcome {
                Ok(()) => moved_messages += 1,
                Err(completion) if moved_messages == 0 => return completion,
                Err(_) => break,
            }
            if many.flags & MSG_WAITFORONE != 0 {
                flags |= MessageFlags::DONTWAIT.bits();
            }
            if many.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        Completion::Value(moved_messages)
    }
}

/// How many messages are moved.
struct Many {
    flags: u32,
    sends: bool,
    deadline: Option<Instant>,
}

fn completion(result: Result<usize, Completion>) -> Completion {
    match result {
        Ok(moved) => Completion::Value(moved),
        Err(completion) => completion,
    }
}

pub fn sendmsg(call: &mut Call<'_>, fd: Fd, message: UserAddress, flags: u32) -> Result<Outcome, Errno> {
    let party = Party::of(call, fd)?;
    Ok(Outcome::Wait(Box::pin(async move { completion(party.send(message.get(), flags).await) })))
}

pub fn recvmsg(call: &mut Call<'_>, fd: Fd, message: UserAddress, flags: u32) -> Result<Outcome, Errno> {
    let party = Party::of(call, fd)?;
    Ok(Outcome::Wait(Box::pin(async move { completion(party.receive(message.get(), flags).await) })))
}

pub fn sendmmsg(
    call: &mut Call<'_>,
    fd: Fd,
    messages: UserAddress,
    count: u32,
    flags: u32,
) -> Result<Outcome, Errno> {
    let party = Party::of(call, fd)?;
    let count = count.min(MOST_MESSAGES);
    Ok(Outcome::Wait(Box::pin(async move {
        party.many(messages.get(), count, Many { flags, sends: true, deadline: None }).await
    })))
}

pub fn recvmmsg(
    call: &mut Call<'_>,
    fd: Fd,
    messages: UserAddress,
    count: u32,
    flags: u32,
    timeout: UserAddress,
) -> Result<Outcome, Errno> {
    let party = Party::of(call, fd)?;
    let count = count.min(MOST_MESSAGES);
    Ok(Outcome::Wait(Box::pin(async move {
        let mut deadline = None;
        if !timeout.is_null() {
            let limit: Timespec = match complete(|| party.memory.read(timeout.get())).await {
                Ok(limit) => limit,
                Err(errno) => return Completion::Error(errno),
            };
            match limit.to_duration() {
                Ok(limit) => deadline = Some(Instant::now() + limit),
                Err(errno) => return Completion::Error(errno),
            }
        }
        party.many(messages.get(), count, Many { flags, sends: false, deadline }).await
    })))
}
