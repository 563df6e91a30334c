//! What a request asks for: one row for each operation.
//!
//! An operation is *prepared* when it is submitted: its fields are checked and what its addresses point to is read, so
//! that the program may reuse that memory. It is *begun* at once, or when the request that it is linked to has ended:
//! it is attempted, exactly as the system call of the same meaning attempts it, and only if something stands in its
//! way does it become a future.

mod between_rings;
mod buffers;
mod cancel;
mod command;
mod file;
mod message;
mod names;
mod nop;
mod open;
mod poll;
mod socket;
mod storage;
mod timeout;
mod transfer;
mod waiting;

pub(crate) use cancel::Cancel;
pub(crate) use poll::Poll;
pub(crate) use timeout::Timeout;
pub(crate) use transfer::address;

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::task::{self, Context, Waker};

use linux_abi::Errno;
use linux_abi::io_uring::{IoUringSqe, Opcode, RequestFlags};
use linux_object::credentials::Credentials;
use linux_object::file::OpenFile;
use linux_object::obstacle::{Attempt, Obstacle, overcome};
use linux_object::thread::{Resources, Thread};
use linux_object::user_buffer::UserMemory;

use crate::register::Buffer;
use crate::request::{Details, Later, Manner, Outcome, Request};
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

    /// With whose rights.
    pub fn credentials(&self) -> Arc<Credentials> {
        let registered = match self.entry.personality {
            0 => None,
            number => self.ring.registered.personalities.get(number).ok(),
        };
        registered.unwrap_or_else(|| self.thread.credentials())
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
    /// The request whose time it limits.
    pub target: Option<Weak<Request>>,
    /// What it uses, which is let go of when its end was told.
    pub held: Option<Arc<Buffer>>,
    pub future: Later,
}

impl Waiting {
    /// For what may never come.
    pub fn for_events(
        file: Option<Arc<OpenFile>>,
        future: impl Future<Output = Outcome> + Send + 'static,
    ) -> Self {
        Self {
            manner: Manner::EndsAtOnce,
            file,
            details: Details::None,
            target: None,
            held: None,
            future: Box::pin(future),
        }
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

/// Runs an operation that a file system or a device finishes, whoever still waits: it is not cut short.
pub(crate) fn finish(
    file: Option<Arc<OpenFile>>,
    future: impl Future<Output = Result<usize, Errno>> + Send + 'static,
) -> Begun {
    run(Manner::RunsToItsEnd, file, future)
}

/// Runs an operation that is dropped if its end is asked for.
pub(crate) fn finish_unless_cancelled(
    file: Option<Arc<OpenFile>>,
    future: impl Future<Output = Result<usize, Errno>> + Send + 'static,
) -> Begun {
    run(Manner::EndsAtOnce, file, future)
}

/// The first poll is here: what need not wait after all never becomes a request. Its waker wakes nobody, since the request
/// polls again, with its own, before it waits.
fn run(
    manner: Manner,
    file: Option<Arc<OpenFile>>,
    future: impl Future<Output = Result<usize, Errno>> + Send + 'static,
) -> Begun {
    let mut future: Later = Box::pin(async move { Outcome::from(future.await) });
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        task::Poll::Ready(outcome) => Begun::Ended(outcome),
        task::Poll::Pending => {
            Begun::Waits(Waiting { manner, file, details: Details::None, target: None, held: None, future })
        }
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
    LinkTimeout(timeout::Timeout),
    Cancel(cancel::Cancel),
    Provide(buffers::Provide),
    Receive(socket::Receive),
    Send(socket::Send),
    Accept(socket::Accept),
    Connect(socket::Connect),
    SocketCall(socket::SocketCall),
    Close(file::Close),
    Install(file::Install),
    NameChange(Box<names::NameChange>),
    Open(Box<open::Open>),
    Status(Box<open::Status>),
    MakeSocket(open::MakeSocket),
    Storage(storage::Storage),
    MemoryAdvice(storage::MemoryAdvice),
    EpollChange(storage::EpollChange),
    FilesUpdate(storage::FilesUpdate),
    SendMessage(Box<message::SendMessage>),
    ReceiveMessage(Box<message::ReceiveMessage>),
    Message(between_rings::Message),
    FutexWait(waiting::FutexWait),
    FutexWake(waiting::FutexWake),
    ChildWait(Box<waiting::ChildWait>),
    Command(command::Command),
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
            // It begins with the request before it.
            Self::LinkTimeout(_) => Err(Errno::EINVAL),
            Self::Cancel(cancel) => cancel.begin(issue),
            Self::Provide(provide) => provide.begin(issue),
            Self::Receive(receive) => receive.begin(issue),
            Self::Send(send) => send.begin(issue),
            Self::Accept(accept) => accept.begin(issue),
            Self::Connect(connect) => connect.begin(issue),
            Self::SocketCall(call) => call.begin(issue),
            Self::Close(close) => close.begin(issue),
            Self::Install(install) => install.begin(issue),
            Self::NameChange(change) => change.begin(issue),
            Self::Open(open) => open.begin(issue),
            Self::Status(status) => status.begin(issue),
            Self::MakeSocket(make) => make.begin(issue),
            Self::Storage(storage) => storage.begin(issue),
            Self::MemoryAdvice(advice) => advice.begin(issue),
            Self::EpollChange(change) => change.begin(issue),
            Self::FilesUpdate(update) => update.begin(issue),
            Self::SendMessage(send) => send.begin(issue),
            Self::ReceiveMessage(receive) => receive.begin(issue),
            Self::Message(message) => message.begin(issue),
            Self::FutexWait(wait) => wait.begin(issue),
            Self::FutexWake(wake) => wake.begin(issue),
            Self::ChildWait(wait) => wait.begin(issue),
            Self::Command(command) => command.begin(issue),
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
    LinkTimeout => timeout::prepare_limit, Full, "";
    TimeoutRemove => timeout::prepare_change, Full, "";
    Accept => socket::prepare_accept, Full, "";
    AsyncCancel => cancel::prepare, Full, "";
    Connect => socket::prepare_connect, Full, "";
    Close => file::prepare_close, Full, "";
    Read => transfer::prepare_read, Full, "";
    Write => transfer::prepare_write, Full, "";
    Send => socket::prepare_send, Partial, "no bundles";
    Sendmsg => message::prepare_send, Partial, "no bundles";
    Recvmsg => message::prepare_receive, Full, "";
    ReadFixed => transfer::prepare_read_registered, Full, "";
    WriteFixed => transfer::prepare_write_registered, Full, "";
    ReadMultishot => transfer::prepare_read_multishot, Full, "";
    MsgRing => between_rings::prepare, Full, "";
    SendZc => socket::prepare_send, Full, "the bytes are copied, and the notification comes at once";
    SendmsgZc => message::prepare_send, Full, "the bytes are copied, and the notification comes at once";
    Recv => socket::prepare_receive, Partial, "no bundles";
    ProvideBuffers => buffers::prepare_provide, Full, "";
    RemoveBuffers => buffers::prepare_remove, Full, "";
    Shutdown => socket::prepare_shutdown, Full, "";
    Fsync => storage::prepare_synchronise, Full, "";
    SyncFileRange => storage::prepare_synchronise_range, Full, "";
    Fallocate => storage::prepare_allocate, Full, "";
    Openat => open::prepare_open, Partial, "O_PATH and O_TMPFILE are refused";
    FilesUpdate => storage::prepare_files_update, Full, "";
    Statx => open::prepare_status, Full, "";
    Fadvise => storage::prepare_advise, Full, "";
    Madvise => storage::prepare_memory_advice, Full, "";
    Openat2 => open::prepare_open_how, Partial, "as OPENAT, and the ways of resolving are refused";
    EpollCtl => storage::prepare_epoll_change, Full, "";
    Renameat => names::prepare_rename, Full, "";
    Unlinkat => names::prepare_unlink, Full, "";
    Mkdirat => names::prepare_make_directory, Full, "";
    Symlinkat => names::prepare_symbolic_link, Full, "";
    Linkat => names::prepare_link, Full, "";
    Socket => open::prepare_socket, Full, "";
    Ftruncate => storage::prepare_change_size, Full, "";
    UringCmd => command::prepare, Partial, "the options of sockets";
    Waitid => waiting::prepare_child_wait, Full, "";
    FutexWait => waiting::prepare_futex_wait, Full, "";
    FutexWake => waiting::prepare_futex_wake, Full, "";
    FutexWaitv => waiting::prepare_futex_wait_several, Full, "";
    FixedFdInstall => file::prepare_install, Full, "";
    Bind => socket::prepare_bind, Full, "";
    Listen => socket::prepare_listen, Full, "";
}
