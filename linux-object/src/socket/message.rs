//! Messages as a program describes them: bytes in several pieces, a name, and control messages.

use alloc::boxed::Box;
use alloc::vec::Vec;

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use linux_abi::file::Iovec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::control_message::read_control;
pub use super::control_message::write_control;
use super::{
    Ancillary, MOST_NAME_BYTES, MessageFlags, Outgoing, PeerCredentials, Received, Socket, SocketName,
};
use crate::file::FileTable;
use crate::obstacle::Attempt;
use crate::thread::Thread;
use crate::user_buffer::UserMemory;

/// A single transfer moves at most this much, like Linux's.
pub const MOST_BYTES: usize = 0x7fff_f000;
const MOST_PIECES: usize = 1024;
const MOST_CONTROL_BYTES: usize = 20480;

/// `struct msghdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MessageHeader {
    /// Where the name is.
    pub name: u64,
    /// Bytes of it.
    pub name_len: u32,
    padding_after_name_len: u32,
    /// Where the pieces are described.
    pub pieces: u64,
    /// How many there are.
    pub piece_count: u64,
    /// Where the control messages are.
    pub control: u64,
    /// Bytes of them.
    pub control_len: u64,
    /// What is told of a message that was received.
    pub flags: u32,
    padding_after_flags: u32,
}

/// Reads a name.
pub fn try_read_name(memory: &UserMemory, address: VirtAddr, len: usize) -> Attempt<SocketName> {
    if len > MOST_NAME_BYTES {
        return Err(Errno::EINVAL.into());
    }
    let mut name = SocketName::new();
    let _ = name.resize_default(len);
    memory.read_bytes(address, &mut name)?;
    Ok(name)
}

/// Who sends, if the receiver wants to know.
pub fn implied_credentials(socket: &dyn Socket, thread: &Thread) -> Option<Box<Ancillary>> {
    let mut outgoing = Outgoing::default();
    imply_credentials(&mut outgoing, socket, thread);
    outgoing.ancillary
}

/// Adds who sends, if the receiver wants to know and the message does not say it.
pub fn imply_credentials(outgoing: &mut Outgoing, socket: &dyn Socket, thread: &Thread) {
    if socket.wants_credentials() {
        let ancillary = outgoing.ancillary.get_or_insert_default();
        ancillary.credentials.get_or_insert_with(|| PeerCredentials::of(thread));
    }
}

impl MessageHeader {
    /// The pieces that it describes.
    pub fn try_pieces(&self, memory: &UserMemory) -> Attempt<Vec<(VirtAddr, usize)>> {
        let count = usize::try_from(self.piece_count).ok().filter(|&count| count <= MOST_PIECES);
        let vectors: Vec<Iovec> =
            memory.read_array(VirtAddr::new(self.pieces as usize), count.ok_or(Errno::EMSGSIZE)?)?;
        let mut left = MOST_BYTES;
        let mut pieces = Vec::new();
        for vector in vectors {
            let len = usize::try_from(vector.iov_len as i64).map_err(|_| Errno::EINVAL)?.min(left);
            left -= len;
            pieces.push((VirtAddr::new(vector.iov_base as usize), len));
        }
        Ok(pieces)
    }

    /// What is sent beside the bytes; see [`imply_credentials`].
    pub fn try_outgoing(&self, memory: &UserMemory, files: &FileTable, thread: &Thread) -> Attempt<Outgoing> {
        let mut outgoing = Outgoing::default();
        if self.name != 0 && self.name_len != 0 {
            let address = VirtAddr::new(self.name as usize);
            outgoing.name = Some(try_read_name(memory, address, self.name_len as usize)?);
        }
        let len = self.control_len as usize;
        if len > MOST_CONTROL_BYTES {
            return Err(Errno::ENOBUFS.into());
        }
        let mut ancillary = None;
        if self.control != 0 && len > 0 {
            let mut control = alloc::vec![0; len];
            memory.read_bytes(VirtAddr::new(self.control as usize), &mut control)?;
            read_control(&control, files, thread, &mut ancillary)?;
        }
        outgoing.ancillary = ancillary;
        Ok(outgoing)
    }
}

/// What a program is told of a message that it has received; descriptors have their numbers.
pub struct Told {
    header: MessageHeader,
    name: SocketName,
    control: Vec<u8>,
}

impl Told {
    /// Of what came beside the bytes; `header` says how much of it there is room for.
    pub fn new(
        header: &MessageHeader,
        received: &mut Received,
        flags: MessageFlags,
        socket: &dyn Socket,
        files: &FileTable,
    ) -> Self {
        let mut told = received.flags | flags & MessageFlags::CMSG_CLOEXEC;
        let room = header.control_len as usize;
        let ancillary = received.ancillary.take();
        let control = write_control(ancillary, files, socket.passes_credentials(), room, &mut told);
        let name = received.name.take().unwrap_or_default();
        let name_len = if header.name == 0 { header.name_len } else { name.len() as u32 };
        let header =
            MessageHeader { name_len, control_len: control.len() as u64, flags: told.bits(), ..*header };
        Self { header, name, control }
    }

    /// Writes it where the program wants it, `given` being what it said about that.
    pub fn try_write(&self, memory: &UserMemory, at: VirtAddr, given: &MessageHeader) -> Attempt<()> {
        if given.name != 0 {
            let room = (given.name_len as usize).min(self.name.len());
            memory.write_bytes(VirtAddr::new(given.name as usize), &self.name[..room])?;
        }
        memory.write_bytes(VirtAddr::new(given.control as usize), &self.control)?;
        memory.write(at, &self.header)
    }

    /// Its name, its control messages, and the flags.
    pub fn parts(&self) -> (&[u8], &[u8], u32) {
        (&self.name, &self.control, self.header.flags)
    }
}
