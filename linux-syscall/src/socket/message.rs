//! Messages: bytes in several pieces, with a name and control messages, one at a time or many.

use alloc::boxed::Box;
use alloc::sync::Arc;

use kernel_hal::{Instant, VirtAddr};
use linux_abi::Errno;
use linux_abi::time::Timespec;
use linux_object::file::{FileTable, OpenFile};
use linux_object::obstacle::{Attempt, complete};
use linux_object::socket::message::{MessageHeader, Told, imply_credentials};
use linux_object::socket::{MessageFlags, socket_of};
use linux_object::thread::Thread;
use linux_object::user_buffer::{UserBuffer, UserMemory};

use super::transfer::Transfer;
use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Completion, Outcome};
use crate::file::descriptor;

/// More messages than that are cut.
const MOST_MESSAGES: u32 = 1024;
/// `recvmmsg` waits for the first message only.
const MSG_WAITFORONE: u32 = 0x10000;

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
        let pieces = header.try_pieces(&self.memory)?;
        Ok((header, self.memory.buffer(pieces)))
    }

    async fn prepare_to_send(&self, message: VirtAddr, flags: u32) -> Result<Transfer, Errno> {
        let (header, buffer) = complete(|| self.read_header(message)).await?;
        let mut transfer = Transfer::new(self.file.clone(), self.thread.clone(), buffer, flags, true);
        transfer.outgoing = complete(|| header.try_outgoing(&self.memory, &self.files, &self.thread)).await?;
        imply_credentials(&mut transfer.outgoing, socket_of(&self.file)?, &self.thread);
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
        let socket = socket_of(&self.file).map_err(Completion::Error)?;
        let told = Told::new(&header, &mut transfer.received, transfer.flags, socket, &self.files);
        let written = complete(|| told.try_write(memory, message, &header)).await;
        written.map(|()| moved).map_err(Completion::Error)
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
