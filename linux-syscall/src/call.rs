//! One syscall on its way: what a handler gets, and what it may answer.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::ready;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

use kernel_hal::{Instant, UserContext};
use linux_abi::Errno;
use linux_object::obstacle::{Attempt, Obstacle, overcome};
use linux_object::process::execute::NewProgram;
use linux_object::program::Tenancy;
use linux_object::thread::{Interrupted, Resources, Thread};
use linux_object::user_buffer::UserMemory;

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
}

impl Call<'_> {
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

/// A syscall's slow path.
pub type SlowCall = Pin<Box<dyn Future<Output = Completion> + Send>>;

/// What a handler answers.
pub enum Outcome {
    /// Done: this goes into the result register.
    Done(usize),
    /// The registers are as they should be.
    KeepRegisters,
    /// It has to wait.
    Wait(SlowCall),
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

/// Attempts; if it has to wait, goes on as a future that a signal interrupts.
pub fn attempt(call: &Call<'_>, mut operation: impl FnMut() -> Attempt + Send + 'static) -> Outcome {
    match operation() {
        Ok(value) => Outcome::Done(value),
        Err(Obstacle::Error(errno)) => Outcome::Done(encode_error(errno)),
        Err(obstacle) => {
            let thread = call.owned_thread();
            // As `complete_unless_interrupted`, which would keep the operation twice: ten thousand threads may wait here.
            Outcome::Wait(Box::pin(async move {
                let mut outcome = Err(obstacle);
                loop {
                    outcome = match outcome {
                        Ok(value) => return Completion::Value(value),
                        Err(Obstacle::Error(errno)) => return Completion::Error(errno),
                        Err(obstacle @ Obstacle::Wait(_)) => overcome(obstacle, &mut operation).await,
                        Err(obstacle) => {
                            let overcoming = pin!(overcome(obstacle, &mut operation));
                            match thread.interruptible_at(overcoming).await {
                                Ok(outcome) => outcome,
                                Err(Interrupted) => return Completion::Interrupted,
                            }
                        }
                    };
                }
            }))
        }
    }
}

/// As [`attempt`], for an operation that wants to know the caller each time: so it need own nothing of it.
#[inline]
pub fn attempt_for(
    call: &Call<'_>,
    mut operation: impl FnMut(Caller<'_>) -> Attempt + Send + 'static,
) -> Outcome {
    match operation(call.caller()) {
        Ok(value) => Outcome::Done(value),
        Err(Obstacle::Error(errno)) => Outcome::Done(encode_error(errno)),
        Err(obstacle) => attempt_again(call, obstacle, operation),
    }
}

#[cold]
fn attempt_again(
    call: &Call<'_>,
    obstacle: Obstacle,
    mut operation: impl FnMut(Caller<'_>) -> Attempt + Send + 'static,
) -> Outcome {
    let (thread, resources) = (call.owned_thread(), call.resources.clone());
    Outcome::Wait(Box::pin(async move {
        let again = || operation(Caller { thread: &thread, resources: &resources });
        match complete_unless_interrupted(&thread, Err(obstacle), again).await {
            Ok(result) => result.into(),
            Err(Interrupted) => Completion::Interrupted,
        }
    }))
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
