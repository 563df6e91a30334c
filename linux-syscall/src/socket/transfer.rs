//! Sending and receiving bytes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use linux_abi::Errno;
use linux_object::file::OpenFile;
use linux_object::obstacle::{Attempt, Obstacle};
use linux_object::socket::message::{MOST_BYTES, implied_credentials};
use linux_object::socket::{MessageFlags, Outgoing, Received, SocketKind, socket_of};
use linux_object::thread::{Interrupted, Thread};
use linux_object::user_buffer::{UserBuffer, UserMemory};

use super::{conclude_limited, read_name, refuse_to_wait, wait_within, write_name};
use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Completion, Outcome, encode_error};
use crate::file::{descriptor, note_broken_pipe};

/// What a transfer moves, and how.
pub(super) struct Transfer {
    pub file: Arc<OpenFile>,
    pub thread: Arc<Thread>,
    pub buffer: UserBuffer<'static>,
    pub flags: MessageFlags,
    pub outgoing: Outgoing,
    pub received: Received,
    pub sends: bool,
}

impl Transfer {
    pub fn new(
        file: Arc<OpenFile>,
        thread: Arc<Thread>,
        buffer: UserBuffer<'static>,
        flags: u32,
        sends: bool,
    ) -> Self {
        let flags = MessageFlags::from_bits_retain(flags);
        let (outgoing, received) = (Outgoing::default(), Received::default());
        Self { file, thread, buffer, flags, outgoing, received, sends }
    }

    fn attempt(&mut self) -> Attempt {
        let socket = socket_of(&self.file)?;
        let mut outcome = if self.sends {
            socket.try_send(&mut self.buffer, self.flags, &mut self.outgoing)
        } else {
            socket.try_receive(&mut self.buffer, self.flags, &mut self.received)
        };
        if self.file.is_nonblocking() || self.flags.contains(MessageFlags::DONTWAIT) {
            outcome = refuse_to_wait(outcome, Errno::EAGAIN);
        }
        match outcome {
            Err(Obstacle::Error(_)) if self.buffer.done() > 0 => Ok(self.buffer.done()),
            Err(Obstacle::Error(Errno::EPIPE)) if self.sends => {
                let is_told = socket.socket_kind() == SocketKind::Stream;
                if is_told && !self.flags.contains(MessageFlags::NOSIGNAL) {
                    note_broken_pipe(&self.thread, outcome)
                } else {
                    outcome
                }
            }
            other => other,
        }
    }

    fn limit(&self) -> Option<Duration> {
        let socket = socket_of(&self.file).ok()?;
        if self.sends { socket.send_limit() } else { socket.receive_limit() }
    }

    /// Goes on from an obstacle until it is done. A signal, or the end of the time, that comes while something has been
    /// moved makes it short.
    async fn go_on(&mut self, first: Attempt) -> Result<usize, Completion> {
        let (thread, limit) = (self.thread.clone(), self.limit());
        let outcome = wait_within(&thread, limit, first, || self.attempt()).await;
        match (outcome, self.buffer.done()) {
            (Ok(Some(result)), _) => result.map_err(Completion::Error),
            (Err(Interrupted), 0) if limit.is_none() => Err(Completion::Interrupted),
            (outcome, moved) => match conclude_limited(outcome, moved) {
                Completion::Value(moved) => Ok(moved),
                other => Err(other),
            },
        }
    }

    /// Goes on until it is done.
    pub async fn finish(&mut self) -> Result<usize, Completion> {
        let first = self.attempt();
        self.go_on(first).await
    }
}

/// A transfer without control messages, and the names of it: who is sent to, or where to write who sent.
struct NamedTransfer {
    transfer: Transfer,
    memory: UserMemory,
    name: UserAddress,
    /// A length, or where the length is.
    name_len: usize,
    moved: Option<usize>,
}

impl NamedTransfer {
    fn attempt(&mut self) -> Attempt {
        if self.transfer.sends && self.transfer.outgoing.name.is_none() {
            let name = read_name(&self.memory, self.name, self.name_len as u32)?;
            self.transfer.outgoing.name = Some(name);
        }
        let moved = match self.moved {
            Some(moved) => moved,
            None => self.transfer.attempt()?,
        };
        self.moved = Some(moved);
        if !self.transfer.sends {
            let told = self.transfer.received.name.as_deref().unwrap_or_default();
            write_name(&self.memory, told, self.name, UserAddress(self.name_len))?;
        }
        Ok(moved)
    }

    async fn go_on(mut self, first: Attempt) -> Completion {
        let (thread, limit) = (self.transfer.thread.clone(), self.transfer.limit());
        let outcome = wait_within(&thread, limit, first, || self.attempt()).await;
        match (outcome, self.transfer.buffer.done()) {
            (Err(Interrupted), 0) if limit.is_none() => Completion::Interrupted,
            (outcome, moved) => conclude_limited(outcome, moved),
        }
    }
}

fn start(mut transfer: Transfer, memory: UserMemory, name: UserAddress, name_len: usize) -> Outcome {
    if name.is_null() {
        return match transfer.attempt() {
            Ok(moved) => Outcome::Done(moved),
            Err(Obstacle::Error(errno)) => Outcome::Done(encode_error(errno)),
            Err(obstacle) => Outcome::Wait(Box::pin(async move {
                match transfer.go_on(Err(obstacle)).await {
                    Ok(moved) => Completion::Value(moved),
                    Err(completion) => completion,
                }
            })),
        };
    }
    let mut named = NamedTransfer { transfer, memory, name, name_len, moved: None };
    match named.attempt() {
        Ok(moved) => Outcome::Done(moved),
        Err(Obstacle::Error(errno)) => Outcome::Done(encode_error(errno)),
        Err(obstacle) => Outcome::Wait(Box::pin(named.go_on(Err(obstacle)))),
    }
}

pub fn sendto(
    call: &mut Call<'_>,
    fd: Fd,
    bytes: UserAddress,
    len: usize,
    flags: u32,
    address: UserAddress,
    address_len: u32,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let ancillary = implied_credentials(socket_of(&file)?, call.thread);
    let memory = call.memory();
    let buffer = memory.simple_buffer(bytes.get(), len.min(MOST_BYTES));
    let mut transfer = Transfer::new(file, call.owned_thread(), buffer, flags, true);
    transfer.outgoing.ancillary = ancillary;
    Ok(start(transfer, memory, address, address_len as usize))
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
    socket_of(&file)?;
    let memory = call.memory();
    let buffer = memory.simple_buffer(bytes.get(), len.min(MOST_BYTES));
    let transfer = Transfer::new(file, call.owned_thread(), buffer, flags, false);
    Ok(start(transfer, memory, address, address_len.0))
}
