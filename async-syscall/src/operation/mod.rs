//! What a request asks for: one row for each operation.
//!
//! An operation is *prepared* when it is submitted: its fields are checked and what its addresses point to is read, so
//! that the program may reuse that memory. It is *begun* at once, or when the request that it is linked to has ended:
//! it is attempted, exactly as the system call of the same meaning attempts it, and only if something stands in its
//! way does it become a future.

mod buffers;
mod cancel;
mod file;
mod nop;
mod poll;
mod socket;
mod timeout;
mod transfer;

pub(crate) use poll::Poll;
pub(crate) use timeout::Timeout;
pub(crate) use transfer::address;

use alloc::boxed::Box;
use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::io_uring::{IoUringSqe, Opcode, RequestFlags};
use linux_object::file::OpenFile;
use linux_object::obstacle::{Attempt, Obstacle, overcome};
use linux_object::thread::{Resources, Thread};
use linux_object::user_buffer::UserMemory;

use crate::request::{Details, Later, Manner, Outcome};
use crate::ring::Ring;

/// Who submits what.
#[derive(Clone, Copy)]
pub(crate) struct Issue<'a> {
    pub ring: &'a Arc<Ring>,
    pub thread: &'a Arc<Thread>,
    pub resources: &'a Resources,
    pub entry: &'a IoUringSqe,
}

impl Issue<'_> {
    /// Access to the submitter's memory.
    pub fn memory(&self) -> UserMemory {
        UserMemory::new(self.resources.address_space.clone())
    }

    /// What the request asks for beside its operation.
    pub fn flags(&self) -> RequestFlags {
        RequestFlags::from_bits_retain(self.entry.flags)
    }

    /// The opening that the request is about.
    pub fn file(&self) -> Result<Arc<OpenFile>, Errno> {
        if self.flags().contains(RequestFlags::FIXED_FILE) {
            return self.ring.registered_file(self.entry.fd);
        }
        self.resources.files.get(self.entry.fd)
    }
}

/// How an operation began.
pub(crate) enum Begun {
    /// It is over.
    Ended(Outcome),
    /// It waits.
    Waits(Waiting),
}

/// An operation that waits.
pub(crate) struct Waiting {
    pub manner: Manner,
    /// By what others find it.
    pub file: Option<Arc<OpenFile>>,
    pub details: Details,
    pub future: Later,
}

impl Waiting {
    /// For what may never come.
    pub fn for_events(
        file: Option<Arc<OpenFile>>,
        future: impl Future<Output = Outcome> + Send + 'static,
    ) -> Self {
        Self { manner: Manner::EndsAtOnce, file, details: Details::None, future: Box::pin(future) }
    }
}

/// Attempts an operation; if something stands in its way, goes on as a future that attempts again.
pub(crate) fn attempt(
    file: Option<Arc<OpenFile>>,
    mut operation: impl FnMut() -> Attempt<Outcome> + Send + 'static,
) -> Begun {
    match operation() {
        Ok(outcome) => Begun::Ended(outcome),
        Err(Obstacle::Error(errno)) => Begun::Ended(Outcome::error(errno)),
        Err(obstacle) => Begun::Waits(Waiting::for_events(file, async move {
            complete_from(Err(obstacle), operation).await.unwrap_or_else(Outcome::error)
        })),
    }
}

/// An operation whose fields were checked.
pub(crate) enum Prepared {
    /// What its addresses point to has to be brought first.
    Unread(Obstacle),
    Nop(nop::Nop),
    Transfer(transfer::Transfer),
    Poll(poll::Poll),
    PollChange(poll::Change),
    Timeout(timeout::Timeout),
    TimeoutChange(timeout::Change),
    Cancel(cancel::Cancel),
    Provide(buffers::Provide),
    Receive(socket::Receive),
    Send(socket::Send),
    Accept(socket::Accept),
    Connect(socket::Connect),
    SocketCall(socket::SocketCall),
    Close(file::Close),
    Install(file::Install),
}

impl Prepared {
    /// Checks a request's fields and reads what they point to.
    pub fn new(issue: &Issue<'_>, opcode: Opcode) -> Result<Self, Errno> {
        match ROWS[usize::from(opcode as u8)].prepare.ok_or(Errno::EOPNOTSUPP)?(issue) {
            Ok(prepared) => Ok(prepared),
            Err(Obstacle::Error(errno)) => Err(errno),
            Err(obstacle) => Ok(Self::Unread(obstacle)),
        }
    }

    /// Begins it.
    pub fn begin(self, issue: &Issue<'_>) -> Begun {
        let begun = match self {
            Self::Unread(obstacle) => Ok(begin_when_read(issue, obstacle)),
            Self::Nop(nop) => nop.begin(),
            Self::Transfer(transfer) => transfer.begin(issue),
            Self::Poll(poll) => poll.begin(issue),
            Self::PollChange(change) => change.begin(issue),
            Self::Timeout(timeout) => timeout.begin(issue),
            Self::TimeoutChange(change) => change.begin(issue),
            Self::Cancel(cancel) => cancel.begin(issue),
            Self::Provide(provide) => provide.begin(issue),
            Self::Receive(receive) => receive.begin(issue),
            Self::Send(send) => send.begin(issue),
            Self::Accept(accept) => accept.begin(issue),
            Self::Connect(connect) => connect.begin(issue),
            Self::SocketCall(call) => call.begin(issue),
            Self::Close(close) => close.begin(issue),
            Self::Install(install) => install.begin(issue),
        };
        begun.unwrap_or_else(|errno| Begun::Ended(Outcome::error(errno)))
    }
}

/// Brings what an operation's addresses point to, and then begins it.
fn begin_when_read(issue: &Issue<'_>, obstacle: Obstacle) -> Begun {
    let (ring, thread) = (issue.ring.clone(), issue.thread.clone());
    let (resources, entry) = (issue.resources.clone(), *issue.entry);
    Begun::Waits(Waiting::for_events(None, async move {
        let issue = || Issue { ring: &ring, thread: &thread, resources: &resources, entry: &entry };
        let row =
            Opcode::from_number(entry.opcode).and_then(|opcode| ROWS[usize::from(opcode as u8)].prepare);
        let Some(prepare) = row else { return Outcome::error(Errno::EINVAL) };
        match complete_from(Err(obstacle), || prepare(&issue())).await {
            Err(errno) => Outcome::error(errno),
            Ok(prepared) => match prepared.begin(&issue()) {
                Begun::Ended(outcome) => outcome,
                Begun::Waits(waiting) => waiting.future.await,
            },
        }
    }))
}

/// Goes on from the outcome of an attempt until the operation is done or has failed.
async fn complete_from<T>(
    mut outcome: Attempt<T>,
    mut operation: impl FnMut() -> Attempt<T> + Send,
) -> Result<T, Errno> {
    loop {
        outcome = match outcome {
            Ok(value) => return Ok(value),
            Err(Obstacle::Error(errno)) => return Err(errno),
            Err(obstacle) => overcome(obstacle, &mut operation).await,
        };
    }
}

/// How much of what Linux does an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// All of it.
    Full,
    /// Some; the note says what is missing.
    Partial,
    /// Nothing: it is answered with an error.
    Absent,
}

/// One operation.
pub struct Row {
    /// Which.
    pub opcode: Opcode,
    /// How much is supported.
    pub support: Support,
    /// What is missing, or worth knowing.
    pub note: &'static str,
    prepare: Option<Prepare>,
}

type Prepare = fn(&Issue<'_>) -> Attempt<Prepared>;

macro_rules! operations {
    ($( $opcode:ident => $prepare:expr, $support:ident, $note:literal; )*) => {
        /// Every operation of Linux 6.12, in the order of their numbers.
        pub static ROWS: [Row; Opcode::ALL.len()] = {
            let mut rows = [const { Row { opcode: Opcode::Nop, support: Support::Absent, note: "", prepare: None } };
                Opcode::ALL.len()];
            let mut number = 0;
            while number < Opcode::ALL.len() {
                rows[number].opcode = Opcode::ALL[number];
                number += 1;
            }
            $( rows[Opcode::$opcode as usize] = Row {
                opcode: Opcode::$opcode,
                support: Support::$support,
                note: $note,
                prepare: Some($prepare),
            }; )*
            rows
        };
    };
}

operations! {
    Nop => nop::prepare, Full, "";
    Readv => transfer::prepare_read_vector, Full, "";
    Writev => transfer::prepare_write_vector, Full, "";
    PollAdd => poll::prepare, Full, "";
    PollRemove => poll::prepare_change, Full, "";
    Timeout => timeout::prepare, Full, "";
    TimeoutRemove => timeout::prepare_change, Full, "";
    Accept => socket::prepare_accept, Full, "";
    AsyncCancel => cancel::prepare, Full, "";
    Connect => socket::prepare_connect, Full, "";
    Close => file::prepare_close, Full, "";
    Read => transfer::prepare_read, Full, "";
    Write => transfer::prepare_write, Full, "";
    Send => socket::prepare_send, Partial, "no bundles, no provided or registered buffers";
    Recv => socket::prepare_receive, Partial, "no bundles";
    ProvideBuffers => buffers::prepare_provide, Full, "";
    RemoveBuffers => buffers::prepare_remove, Full, "";
    Shutdown => socket::prepare_shutdown, Full, "";
    FixedFdInstall => file::prepare_install, Full, "";
    Bind => socket::prepare_bind, Full, "";
    Listen => socket::prepare_listen, Full, "";
}
