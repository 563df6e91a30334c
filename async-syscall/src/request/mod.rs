//! A request that waits.
//!
//! What can be done at once is done in the submission and never becomes a [`Request`]. What has to wait is a future that
//! owns all it needs; the request keeps it, is its waker, and posts its completion.

mod chain;
mod state;

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use core::pin::Pin;
use core::task::{Context, Waker};

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::io_uring::{CompletionFlags, IoUringSqe, Opcode};
use linux_object::file::OpenFile;

pub(crate) use chain::{Chain, Link};
pub(crate) use state::{Cancelled, Paused, State};

use crate::operation::{Poll, Timeout, Waiting};
use crate::register::Buffer;
use crate::ring::Ring;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The result, or a negative error.
    pub result: i32,
    /// What else the completion says.
    pub flags: CompletionFlags,
    /// The number of the provided buffer, if one was used; it goes into the flags.
    pub buffer: Option<u16>,
    /// Whether what is linked to it goes on.
    pub is_success: bool,
    /// A second completion follows, which says that the memory may be reused (`IORING_CQE_F_NOTIF`), with this result.
    pub notification: Option<i32>,
}

impl Outcome {
    /// It ended well.
    pub fn value(result: usize) -> Self {
        Self {
            result: i32::try_from(result).unwrap_or(i32::MAX),
            flags: CompletionFlags::empty(),
            buffer: None,
            is_success: true,
            notification: None,
        }
    }

    /// It failed.
    pub fn error(errno: Errno) -> Self {
        Self { result: -errno.code(), is_success: false, ..Self::value(0) }
    }

    /// A transfer: less than was asked for ends what is linked to it.
    pub fn moved(bytes: usize, wanted: usize) -> Self {
        Self { is_success: bytes == wanted, ..Self::value(bytes) }
    }
}

impl From<Result<usize, Errno>> for Outcome {
    fn from(result: Result<usize, Errno>) -> Self {
        result.map_or_else(Self::error, Self::value)
    }
}

/// The rest of an operation that waits.
pub(crate) type Later = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What becomes of an operation whose end is asked for while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It waits for what may never come: the future is dropped.
    EndsAtOnce,
    /// It is in the middle of something that a file system or a device finishes.
    RunsToItsEnd,
}

/// What a change of a request that waits has to know about it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Details {
    /// It cannot be changed.
    None,
    /// A poll.
    Poll(Poll),
    /// A timeout.
    Timeout(Timeout),
}

/// By what a cancellation finds a request.
#[derive(Clone)]
pub(crate) struct Identity {
    /// What the program calls it.
    pub user_data: u64,
    /// The number of the thread that submitted it.
    pub thread: i32,
    /// What it does.
    pub opcode: Opcode,
    /// The opening that it is about.
    pub file: Option<Arc<OpenFile>>,
    /// What a change of it has to know.
    pub details: Details,
    /// Its completion is not posted if it ends well.
    pub skips_success: bool,
}

impl Identity {
    /// That of a request that is not begun.
    pub(crate) fn of_refused(entry: &IoUringSqe) -> Self {
        Self {
            user_data: entry.user_data,
            thread: 0,
            opcode: Opcode::Nop,
            file: None,
            details: Details::None,
            skips_success: false,
        }
    }
}

/// What only the party that runs the request touches.
struct Body {
    future: Option<Later>,
    chain: Option<Box<Chain>>,
    /// The time limit that runs for it.
    limit: Option<Arc<Request>>,
}

/// A request that waits.
pub(crate) struct Request {
    ring: Arc<Ring>,
    pub(crate) identity: Identity,
    /// Its place among the requests of the ring.
    pub(crate) sequence: u64,
    manner: Manner,
    /// The request whose time it limits.
    target: Option<Weak<Request>>,
    /// What it uses, until its end was told.
    _held: Option<Arc<Buffer>>,
    state: State,
    body: SpinLock<Body>,
}

impl Request {
    /// A request in the hands of its maker, who is to [`Request::run`] it.
    pub(crate) fn new(
        ring: Arc<Ring>,
        identity: Identity,
        sequence: u64,
        waiting: Waiting,
        chain: Option<Box<Chain>>,
    ) -> Arc<Self> {
        let Waiting { manner, file, details, target, held, future } = waiting;
        let identity = Identity { file, details, ..identity };
        let body = SpinLock::new(Rank::FILE, Body { future: Some(future), chain, limit: None });
        Arc::new(Self {
            ring,
            identity,
            sequence,
            manner,
            target,
            _held: held,
            state: State::running(),
            body,
        })
    }

    /// The request whose time it limits, if that is not over.
    pub(crate) fn target(&self) -> Option<Arc<Self>> {
        self.target.as_ref().and_then(Weak::upgrade)
    }

    /// Polls it until it waits or is done. The caller has it running.
    pub(crate) fn run(self: &Arc<Self>) {
        let waker = Waker::from(self.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            let future = self.body.lock().future.take();
            let Some(mut future) = future else { return };
            if self.state.is_cancelled() {
                if self.manner == Manner::EndsAtOnce {
                    // That a time limit is not needed any more is no failure.
                    let is_success = self.target.is_some();
                    let outcome = Outcome { is_success, ..Outcome::error(Errno::ECANCELED) };
                    return self.conclude(outcome, future);
                }
                self.state.refuse_cancellation();
            }
            if let core::task::Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
                return self.conclude(outcome, future);
            }
            self.body.lock().future = Some(future);
            if self.state.pause() == Paused::Waits {
                return;
            }
        }
    }

    /// It was taken off the list of work.
    pub(crate) fn run_scheduled(self: &Arc<Self>) {
        self.state.begin();
        self.run();
    }

    /// Asks for its end. `EALREADY`: it cannot be ended any more, and will be done.
    pub(crate) fn cancel(self: &Arc<Self>) -> Result<(), Errno> {
        if self.manner == Manner::RunsToItsEnd {
            return Err(Errno::EALREADY);
        }
        match self.state.cancel() {
            Cancelled::Taken => {
                self.run();
                Ok(())
            }
            Cancelled::Noted => Ok(()),
            Cancelled::TooLate => Err(Errno::ENOENT),
        }
    }

    /// Takes a request that waits away without a completion, with what follows it. `EALREADY`: it is about to be done.
    pub(crate) fn withdraw(self: &Arc<Self>) -> Result<Option<Box<Chain>>, Errno> {
        match self.state.cancel_if_idle() {
            Cancelled::Taken => {}
            Cancelled::Noted => return Err(Errno::EALREADY),
            Cancelled::TooLate => return Err(Errno::ENOENT),
        }
        let (future, chain) = {
            let mut body = self.body.lock();
            (body.future.take(), body.chain.take())
        };
        drop(future);
        self.state.finish();
        self.ring.forget(self);
        Ok(chain)
    }

    /// A time limit runs for it. `false`: it is over already.
    pub(crate) fn set_limit(&self, limit: &Arc<Self>) -> bool {
        let mut body = self.body.lock();
        let is_over = self.state.is_done();
        if !is_over {
            body.limit = Some(limit.clone());
        }
        !is_over
    }

    /// Its end is told before anything that it used is let go of, and before what follows begins.
    fn conclude(self: &Arc<Self>, outcome: Outcome, future: Later) {
        self.state.finish();
        let (chain, limit) = {
            let mut body = self.body.lock();
            (body.chain.take(), body.limit.take())
        };
        self.ring.forget(self);
        self.ring.complete(&self.identity, outcome);
        drop(future);
        if let Some(limit) = limit {
            // If it is what has ended this request it is not cancelled by that.
            let _ = limit.cancel();
        }
        if let Some(chain) = chain {
            chain.go_on(&self.ring, outcome.is_success);
        }
        self.ring.note_end();
    }
}

impl Wake for Request {
    fn wake(self: Arc<Self>) {
        if self.state.schedule() {
            let ring = self.ring.clone();
            ring.add_work(self);
        }
    }
}
