//! One syscall on its way: what a handler gets, and what it may answer.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::Cell;
use core::future::{poll_fn, ready};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

use kernel_hal::{Instant, UserContext, VirtAddr};
use ksync::EVERY_EVENT;
use linux_abi::Errno;
use linux_object::futex;
use linux_object::obstacle::{Attempt, Obstacle, attempt_if_woken, overcome, place_at};
use linux_object::process::execute::NewProgram;
use linux_object::program::Tenancy;
use linux_object::thread::{Interrupted, Resources, Thread};
use linux_object::user_buffer::{UserBuffer, UserMemory};

use crate::file::StreamTransfer;

/// What a handler works on.
pub struct Call<'a> {
    /// The calling thread.
    pub thread: &'a Arc<Thread>,
    /// What it shares with others, or not.
    pub resources: &'a Resources,
    /// Its registers.
    pub context: &'a mut UserContext,
    /// Its stake in its memory.
    pub tenancy: &'a Tenancy,
    /// Where an operation goes that has to wait: there it stays while it does.
    pub blocked: &'a Cell<Option<Blocked>>,
}

impl<'a> Call<'a> {
    /// A piece of the caller's memory, for as long as the call does not wait.
    #[inline(always)]
    pub fn buffer(&self, address: VirtAddr, len: usize) -> UserBuffer<'a> {
        UserBuffer::lent(&self.resources.address_space, address, len)
    }

    /// Access to the caller's memory.
    pub fn memory(&self) -> UserMemory {
        UserMemory::new(self.resources.address_space.clone())
    }

    /// Who makes the call.
    #[inline]
    pub fn caller(&self) -> Caller<'_> {
        Caller { thread: self.thread, resources: self.resources }
    }

    /// The calling thread, for a future that outlives the call.
    pub fn owned_thread(&self) -> Arc<Thread> {
        self.thread.clone()
    }
}

/// Who makes a call, for an operation that is attempted now and perhaps again, when the call is a future.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The calling thread.
    pub thread: &'a Arc<Thread>,
    /// What it shares with others, or not.
    pub resources: &'a Resources,
}

impl Caller<'_> {
    /// Access to the caller's memory.
    #[inline]
    pub fn memory(&self) -> UserMemory {
        UserMemory::new(self.resources.address_space.clone())
    }
}

/// How a syscall that waited ended.
///
/// The representation keeps every variant's content at the same place, so it is moved by words.
#[repr(usize)]
pub enum Completion {
    /// With this value in the result register.
    Value(usize),
    /// With an error.
    Error(Errno),
    /// The thread has a new program.
    Program(Box<NewProgram>),
    /// A signal came first. The call is made again after it, unless a handler ran that says otherwise.
    Interrupted,
    /// A signal came first, and the call is not made again if a handler ran, whatever it says.
    InterruptedForGood,
    /// A signal came first, and that is what the call answers, whether a handler ran or not: a stop, too, is told.
    InterruptedAndTold,
    /// As [`Completion::InterruptedForGood`]; if the call is made again, it waits until then, whatever its argument says.
    InterruptedUntil(Instant),
    /// The thread has other resources than before; the value is 0.
    Resources(Box<Resources>),
    /// The registers were replaced: a signal handler has returned.
    Registers(Box<UserContext>),
}

/// What a call does again and again until it need not wait for anything any more. It is told each time who makes the call,
/// so it need own nothing of that.
pub trait Operation: Send {
    /// Does it, or says what stands in its way.
    fn attempt(&mut self, caller: Caller<'_>) -> Attempt;

    /// What the call answers if a signal came before it was done.
    fn interrupted(&self) -> Completion {
        Completion::Interrupted
    }
}

impl<F: FnMut(Caller<'_>) -> Attempt + Send> Operation for F {
    fn attempt(&mut self, caller: Caller<'_>) -> Attempt {
        self(caller)
    }
}

/// An operation that has to wait. What programs wait for most is here by itself: it needs no memory for that.
pub enum Blocked {
    /// A read from a stream, or a write to one.
    Stream(StreamTransfer),
    /// Anything else.
    Other(Box<dyn Operation>),
}

impl Blocked {
    fn attempt(&mut self, caller: Caller<'_>) -> Attempt {
        match self {
            Self::Stream(transfer) => transfer.attempt(caller),
            Self::Other(operation) => operation.attempt(caller),
        }
    }

    fn interrupted(&self) -> Completion {
        match self {
            Self::Stream(transfer) => transfer.interrupted(),
            Self::Other(operation) => operation.interrupted(),
        }
    }
}

/// A syscall's slow path.
pub type SlowCall = Pin<Box<dyn Future<Output = Completion> + Send>>;

/// What a handler answers.
///
/// The representation makes the look at the usual answer one comparison with zero.
#[repr(usize)]
pub enum Outcome {
    /// Done: this goes into the result register.
    Done(usize),
    /// The registers are as they should be.
    KeepRegisters,
    /// It has to wait, as this future does.
    Wait(SlowCall),
    /// The operation that is in [`Call::blocked`] has to wait until what stands in its way is gone. The waiting is part of
    /// the thread's own future.
    Block(Obstacle),
    /// It has to wait until a word's waiters are woken, among whom the thread is already.
    WaitForWord(WordWait),
    /// Done, but others have their turn first: this goes into the result register.
    Yield(usize),
}

/// A wait of the thread for a word of its memory.
pub struct WordWait {
    /// Its place among the waiters.
    pub waiting: futex::Waiting,
    /// When it ends at the latest.
    pub end: WaitEnd,
}

/// When a wait ends by itself.
#[derive(Clone, Copy)]
pub enum WaitEnd {
    /// It does not.
    Never,
    /// After a time that the call named; this is when.
    After(Instant),
    /// At a moment that the call named.
    At(Instant),
}

impl WaitEnd {
    /// What a signal makes of the wait.
    fn interrupted(self) -> Completion {
        match self {
            Self::Never => Completion::Interrupted,
            Self::After(deadline) => Completion::InterruptedUntil(deadline),
            Self::At(_) => Completion::InterruptedForGood,
        }
    }
}

/// Goes on with an operation in whose way something stands. See [`complete_unless_interrupted`]; this one is part of the
/// future of every thread, so it has no layers that keep things twice.
pub async fn complete_operation(
    caller: Caller<'_>,
    operation: &mut Blocked,
    mut obstacle: Obstacle,
) -> Completion {
    loop {
        let (object, events) = match obstacle {
            Obstacle::Error(errno) => return Completion::Error(errno),
            Obstacle::NotReady(object) => (object, EVERY_EVENT),
            Obstacle::NotReadyFor(object, events) => (object, events.bits()),
            Obstacle::Wait(future) => {
                match future.await.map_err(Obstacle::Error).and_then(|()| operation.attempt(caller)) {
                    Ok(value) => return Completion::Value(value),
                    Err(next) => obstacle = next,
                }
                continue;
            }
            Obstacle::Event(future) => {
                let Ok(outcome) = caller.thread.interruptible(future).await else {
                    return operation.interrupted();
                };
                match outcome.map_err(Obstacle::Error).and_then(|()| operation.attempt(caller)) {
                    Ok(value) => return Completion::Value(value),
                    Err(next) => obstacle = next,
                }
                continue;
            }
        };
        let mut place = pin!(place_at(object, events));
        let wait = poll_fn(|context| {
            match attempt_if_woken(place.as_mut(), context, &mut || operation.attempt(caller)) {
                Poll::Ready(outcome) => Poll::Ready(Ok(outcome)),
                Poll::Pending if caller.thread.is_interrupted() => Poll::Ready(Err(Interrupted)),
                Poll::Pending => Poll::Pending,
            }
        });
        match wait.await {
            Ok(Ok(value)) => return Completion::Value(value),
            Ok(Err(next)) => obstacle = next,
            Err(Interrupted) => return operation.interrupted(),
        }
    }
}

impl WordWait {
    /// Waits.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` keeps its arguments twice")]
    pub fn complete(self, thread: &Thread) -> impl Future<Output = Completion> {
        async move {
            let outcome = match self.end {
                WaitEnd::Never => {
                    let woken = poll_fn(|_| match self.waiting.is_woken() {
                        true => Poll::Ready(Ok(Ok(()))),
                        false if thread.is_interrupted() => Poll::Ready(Err(Interrupted)),
                        false => Poll::Pending,
                    });
                    woken.await
                }
                WaitEnd::After(deadline) | WaitEnd::At(deadline) => {
                    thread.interruptible(Box::pin(self.waiting.until_woken(deadline))).await
                }
            };
            match outcome {
                Ok(Ok(())) => Completion::Value(0),
                Ok(Err(errno)) => Completion::Error(errno),
                Err(Interrupted) => self.end.interrupted(),
            }
        }
    }
}

/// What can be answered with.
pub trait IntoOutcome {
    /// The answer.
    fn into_outcome(self) -> Outcome;
}

/// How an error looks in the result register.
pub const fn encode_error(errno: Errno) -> usize {
    -(errno as u8 as isize) as usize
}

/// Whether a result register holds an error.
#[inline]
pub const fn is_error(value: usize) -> bool {
    const LARGEST_ERROR: usize = 4095;
    value > usize::MAX - LARGEST_ERROR
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for usize {
    fn into_outcome(self) -> Outcome {
        Outcome::Done(self)
    }
}

impl<T: IntoOutcome> IntoOutcome for Result<T, Errno> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(value) => value.into_outcome(),
            Err(errno) => Outcome::Done(encode_error(errno)),
        }
    }
}

impl From<Result<usize, Errno>> for Completion {
    fn from(result: Result<usize, Errno>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(errno) => Self::Error(errno),
        }
    }
}

/// Goes on from the outcome of an attempt until the operation is done or has failed. A signal interrupts it while it
/// waits for others to do something; what a device is doing for it is waited for to the end, as on Linux: a read from a
/// disk is not cut short by a signal.
pub async fn complete_unless_interrupted(
    thread: &Thread,
    mut outcome: Attempt,
    mut operation: impl FnMut() -> Attempt + Send,
) -> Result<Result<usize, Errno>, Interrupted> {
    loop {
        outcome = match outcome {
            Ok(value) => return Ok(Ok(value)),
            Err(Obstacle::Error(errno)) => return Ok(Err(errno)),
            Err(obstacle @ Obstacle::Wait(_)) => overcome(obstacle, &mut operation).await,
            Err(obstacle) => thread.interruptible_at(pin!(overcome(obstacle, &mut operation))).await?,
        };
    }
}

/// Attempts; if it has to wait, goes on until a signal comes.
pub fn attempt(call: &Call<'_>, mut operation: impl FnMut() -> Attempt + Send + 'static) -> Outcome {
    attempt_for(call, move |_| operation())
}

/// As [`attempt`], for an operation that wants to know the caller.
#[inline]
pub fn attempt_for(
    call: &Call<'_>,
    mut operation: impl FnMut(Caller<'_>) -> Attempt + Send + 'static,
) -> Outcome {
    match operation(call.caller()) {
        Ok(value) => Outcome::Done(value),
        Err(Obstacle::Error(errno)) => Outcome::Done(encode_error(errno)),
        Err(obstacle) => {
            call.blocked.set(Some(Blocked::Other(Box::new(operation))));
            Outcome::Block(obstacle)
        }
    }
}

/// Runs a future that is not interrupted: it waits for devices and locks at most.
///
/// It is polled at once: what need not wait after all is done without the thread giving its turn away. The waker of that
/// poll wakes nobody, since the thread polls again, with its own, before it waits.
pub fn slow(future: impl Future<Output = Result<usize, Errno>> + Send + 'static) -> Outcome {
    start(async move { future.await.into() })
}

/// As [`slow`], for a future that says itself how the call ends.
pub fn start(future: impl Future<Output = Completion> + Send + 'static) -> Outcome {
    let mut future = Box::pin(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Completion::Value(value)) => Outcome::Done(value),
        Poll::Ready(Completion::Error(errno)) => Outcome::Done(encode_error(errno)),
        Poll::Ready(other) => Outcome::Wait(Box::pin(ready(other))),
        Poll::Pending => Outcome::Wait(future),
    }
}
