//! Sockets: what families of them have in common, and the local family.
//!
//! A family implements [`Socket`], which the calls find behind a descriptor by [`File::as_socket`]. Here are the families'
//! common words: kinds, flags, names, options.

mod control_message;
pub mod garbage;
pub mod internet;
pub mod make;
pub mod message;
pub mod netlink;
pub mod unix;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bitflags::bitflags;
use linux_abi::Errno;

use crate::file::{File, OpenFile};
use crate::obstacle::Attempt;
use crate::thread::Thread;
use crate::user_buffer::UserBuffer;

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
        /// What is told about errors beside them.
        const ERRQUEUE = 0x2000;
        /// No SIGPIPE.
        const NOSIGNAL = 0x4000;
        /// More will follow.
        const MORE = 0x8000;
        /// Connects with the first bytes.
        const FASTOPEN = 0x2000_0000;
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

/// Bytes of the longest name.
pub const MOST_NAME_BYTES: usize = 128;

/// An address as a program gives and gets it (`struct sockaddr` of some family), without anything after its end.
pub type SocketName = heapless::Vec<u8, MOST_NAME_BYTES>;

/// The value of an option, as `getsockopt` returns it.
pub type OptionValue = heapless::Vec<u8, 256>;

/// The value of an option that is a number.
pub fn number_value(number: i32) -> OptionValue {
    number.to_le_bytes().into_iter().collect()
}

/// Who sent something, or made a socket: process, user, group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCredentials {
    /// The process.
    pub process: i32,
    /// Its user.
    pub user: u32,
    /// Its group.
    pub group: u32,
}

impl PeerCredentials {
    /// What is said of the other end of a socket that has none.
    pub const NOBODY: Self = Self { process: 0, user: u32::MAX, group: u32::MAX };

    /// Those that a thread acts with.
    pub fn of(thread: &Thread) -> Self {
        let credentials = thread.credentials();
        Self {
            process: thread.process().id(),
            user: credentials.effective_user,
            group: credentials.effective_group,
        }
    }
}

/// What comes with bytes.
#[derive(Clone, Default)]
pub struct Ancillary {
    /// Openings that are given away.
    pub rights: Vec<Arc<OpenFile>>,
    /// Who sent it.
    pub credentials: Option<PeerCredentials>,
    /// The name of the socket that it was sent through.
    pub name: Option<SocketName>,
}

impl Ancillary {
    /// Whether a local socket is given away: such may come to lie in queues that nobody reads.
    fn has_local_socket(&self) -> bool {
        self.rights.iter().any(|file| garbage::local_socket(file).is_some())
    }
}

/// What is sent beside bytes.
#[derive(Default)]
pub struct Outgoing {
    /// Where to, if the call says so.
    pub name: Option<SocketName>,
    /// What comes with the bytes; taken with the first of them.
    pub ancillary: Option<Box<Ancillary>>,
}

/// What was received beside bytes.
#[derive(Default)]
pub struct Received {
    /// What came with them.
    pub ancillary: Option<Box<Ancillary>>,
    /// [`MessageFlags::TRUNC`] if a message was cut.
    pub flags: MessageFlags,
    /// Who sent it, where that is told.
    pub name: Option<SocketName>,
}

/// What every call on sockets comes to. What a family does not have it refuses as Linux does.
///
/// The `try_` operations never wait: they finish or name the obstacle. Doors make of an obstacle what `O_NONBLOCK`,
/// `MSG_DONTWAIT` and the time limits ask for.
pub trait Socket: File {
    /// The family's number (`AF_`).
    fn family(&self) -> i32;

    /// How bytes are cut into messages.
    fn socket_kind(&self) -> SocketKind;

    /// The protocol's number (`SO_PROTOCOL`).
    fn protocol(&self) -> i32 {
        0
    }

    /// Gives the socket a name.
    fn try_bind(&self, _name: &[u8], _caller: &Arc<Thread>) -> Attempt<()> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// Lets others connect.
    fn listen(&self, _backlog: i32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Connects. Attempted again by the same call (`is_first` is false) it says how that stands.
    fn try_connect(&self, _name: &[u8], _is_first: bool, _caller: &Arc<Thread>) -> Attempt<()> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// What a connection that may not wait answers while it is being made.
    fn connection_pending(&self) -> Errno {
        Errno::EINPROGRESS
    }

    /// Takes a connection that somebody made.
    fn try_accept(&self) -> Attempt<Arc<dyn File>> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// Its name.
    fn local_name(&self) -> Result<SocketName, Errno>;

    /// The name of who it is connected with.
    fn peer_name(&self) -> Result<SocketName, Errno>;

    /// The same for who has just accepted the connection: it is one even if it is over already.
    fn accepted_name(&self) -> SocketName {
        self.peer_name().unwrap_or_default()
    }

    /// Sends what fits.
    fn try_send(&self, buffer: &mut UserBuffer, flags: MessageFlags, outgoing: &mut Outgoing) -> Attempt;

    /// Receives what there is.
    fn try_receive(&self, buffer: &mut UserBuffer, flags: MessageFlags, received: &mut Received) -> Attempt;

    /// Ends one direction or both.
    fn shut_down(&self, what: Shutdown) -> Result<(), Errno>;

    /// An option's value.
    fn option(&self, level: i32, option: i32) -> Result<OptionValue, Errno>;

    /// Sets an option.
    fn set_option(&self, level: i32, option: i32, value: &[u8], caller: &Thread) -> Result<(), Errno>;

    /// How long a receiver waits at most (`SO_RCVTIMEO`).
    fn receive_limit(&self) -> Option<Duration> {
        None
    }

    /// How long a sender waits at most (`SO_SNDTIMEO`).
    fn send_limit(&self) -> Option<Duration> {
        None
    }

    /// Whether a message is to say who sent it.
    fn wants_credentials(&self) -> bool {
        false
    }

    /// Whether the receiver is told who sent (`SO_PASSCRED`).
    fn passes_credentials(&self) -> bool {
        false
    }
}

/// The socket behind an opening: `ENOTSOCK` if it is something else.
pub fn socket_of(file: &OpenFile) -> Result<&dyn Socket, Errno> {
    file.file().as_socket().ok_or(Errno::ENOTSOCK)
}

/// A number at the beginning of an option's value.
pub fn number_of(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|number| i32::from_le_bytes(*number)).ok_or(Errno::EINVAL)
}
