//! Sockets: what families of them have in common, and the local family.
//!
//! A family is a [`crate::file::File`] of its own beside `unix`; the calls find it behind the descriptor. Here are the families'
//! common words: kinds, flags, options.

pub mod unix;

use bitflags::bitflags;
use linux_abi::Errno;

/// The local family.
pub const AF_UNIX: i32 = 1;
/// The level of options that all sockets have, and of their control messages.
pub const SOL_SOCKET: i32 = 1;
/// A control message with descriptors.
pub const SCM_RIGHTS: i32 = 1;
/// A control message that says who sent.
pub const SCM_CREDENTIALS: i32 = 2;
/// Descriptors in one message.
pub const MOST_RIGHTS: usize = 253;

/// How bytes are cut into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// Not at all.
    Stream,
    /// Messages, with whoever.
    Datagram,
    /// Messages, over a connection.
    SequencedPacket,
}

impl SocketKind {
    /// The kind with this number (`SOCK_`).
    pub fn from_number(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::Stream),
            2 => Some(Self::Datagram),
            5 => Some(Self::SequencedPacket),
            _ => None,
        }
    }

    /// Its number.
    pub fn number(self) -> i32 {
        match self {
            Self::Stream => 1,
            Self::Datagram => 2,
            Self::SequencedPacket => 5,
        }
    }

    /// Whether its two ends live and end together.
    pub fn is_connected(self) -> bool {
        self != Self::Datagram
    }
}

bitflags! {
    /// Flags of one transfer (`MSG_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct MessageFlags: u32 {
        /// Out-of-band bytes.
        const OOB = 0x01;
        /// What is read stays.
        const PEEK = 0x02;
        /// Control messages were cut.
        const CTRUNC = 0x08;
        /// A message was cut; asked for: its true length is returned.
        const TRUNC = 0x20;
        /// Fail rather than wait.
        const DONTWAIT = 0x40;
        /// The end of a record.
        const EOR = 0x80;
        /// Wait for all bytes.
        const WAITALL = 0x100;
        /// No SIGPIPE.
        const NOSIGNAL = 0x4000;
        /// More will follow.
        const MORE = 0x8000;
        /// Descriptors that are received are closed by exec.
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// Which directions `shutdown` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Nothing is received any more.
    pub receiving: bool,
    /// Nothing is sent any more.
    pub sending: bool,
}

impl Shutdown {
    /// The directions with this number (`SHUT_`).
    pub fn from_number(number: i32) -> Result<Self, Errno> {
        match number {
            0 => Ok(Self { receiving: true, sending: false }),
            1 => Ok(Self { receiving: false, sending: true }),
            2 => Ok(Self { receiving: true, sending: true }),
            _ => Err(Errno::EINVAL),
        }
    }
}
