//! What keeps an operation from being done at once.
//!
//! Every operation that may have to wait is written as an *attempt*: a plain function that either finishes or says what
//! stands in its way. A door that gets [`Obstacle::Wait`] or [`Obstacle::NotReady`] waits for it, in whatever way the
//! door waits (a thread's own future, a ring request, a caller of `poll`), and attempts again. So what an operation
//! means is written once, and the path that does not wait allocates nothing.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use ksync::{EVERY_EVENT, SharedQueue, WaitQueue, Waiter};
use linux_abi::Errno;
use linux_abi::poll::PollEvents;

/// A future without a borrow, for the slow path.
pub type Slow<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Why an attempt did not finish.
///
/// The representation keeps every variant's content at the same place, so it is moved by words.
#[repr(usize)]
pub enum Obstacle {
    /// It failed.
    Error(Errno),
    /// It can be attempted again when the queue of this object is woken.
    NotReady(Arc<dyn Waitable>),
    /// The same, when the wake is for one of these events. Whoever attempts after such a wake has it for himself; when
    /// he is done the next who waits for the same has his turn.
    NotReadyFor(Arc<dyn Waitable>, PollEvents),
    /// It can be attempted again when this is done: a page comes from a device. Signals do not interrupt it, so it ends
    /// by itself.
    Wait(Slow<Result<(), Errno>>),
    /// The same, for what may never come: a signal interrupts it.
    Event(Slow<Result<(), Errno>>),
}

/// What an attempt returns.
pub type Attempt<T = usize> = Result<T, Obstacle>;

/// An object whose readiness changes, and the queue that is woken each time it does.
pub trait Waitable: Send + Sync {
    /// The queue.
    fn wait_queue(&self) -> &WaitQueue;

    /// Whether an attempt that waits for one of these events could be done now. Whoever has just queued himself asks that
    /// before he waits; it has to be a look of a few instructions, since the answer `true` costs no more than an attempt.
    fn is_worth_an_attempt(&self, _events: u32) -> bool {
        true
    }
}

impl From<Errno> for Obstacle {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}

/// What a filesystem says at once. Otherwise the obstacle: `again` asks it once more with all the waiting that it takes,
/// after which it answers from memory.
#[inline]
pub(crate) fn at_once<T, F>(answer: rcore_fs::Attempt<'_, T>, again: impl FnOnce() -> F) -> Attempt<T>
where
    F: Future<Output = Result<(), Errno>> + Send + 'static,
{
    match answer {
        rcore_fs::Attempt::Done(result) => result.map_err(Obstacle::Error),
        // It borrows what it asked; the obstacle has to stand alone.
        rcore_fs::Attempt::Wait(_) => Err(Obstacle::Wait(Box::pin(again()))),
    }
}

/// Attempts until the operation is done or has failed.
pub async fn complete<T>(mut attempt: impl FnMut() -> Attempt<T> + Send) -> Result<T, Errno> {
    let mut outcome = attempt();
    loop {
        outcome = match outcome {
            Ok(value) => return Ok(value),
            Err(Obstacle::Error(errno)) => return Err(errno),
            Err(obstacle) => overcome(obstacle, &mut attempt).await,
        };
    }
}

/// Waits until an obstacle is gone, and attempts again.
pub async fn overcome<T>(obstacle: Obstacle, attempt: &mut impl FnMut() -> Attempt<T>) -> Attempt<T> {
    match obstacle {
        Obstacle::Error(errno) => Err(errno.into()),
        Obstacle::Wait(future) | Obstacle::Event(future) => {
            future.await?;
            attempt()
        }
        Obstacle::NotReady(object) => until_changed(object, EVERY_EVENT, attempt).await,
        Obstacle::NotReadyFor(object, events) => until_changed(object, events.bits(), attempt).await,
    }
}

/// A place in the queue of an object.
pub type Place = Waiter<SharedQueue<dyn Waitable>>;

/// A place that is not taken yet.
pub fn place_at(object: Arc<dyn Waitable>, events: u32) -> Place {
    Waiter::new_for(SharedQueue::new(object, |object| object.wait_queue()), events)
}

/// Attempts if the queue was woken, and otherwise makes sure that its next wake is not missed. Before the first time the
/// caller has attempted.
pub fn attempt_if_woken<T>(
    mut place: Pin<&mut Place>,
    context: &Context<'_>,
    attempt: &mut impl FnMut() -> Attempt<T>,
) -> Poll<Attempt<T>> {
    let mut look = || match attempt() {
        Err(Obstacle::NotReady(_) | Obstacle::NotReadyFor(..)) => Poll::Pending,
        outcome => Poll::Ready(outcome),
    };
    if place.was_woken()
        && let Poll::Ready(outcome) = look()
    {
        return Poll::Ready(outcome);
    }
    // Newly registered: what changed between the last attempt and the registration woke nobody, so look again.
    while place.as_mut().register(context.waker()) {
        if !place.queue_handle().owner().is_worth_an_attempt(place.interest()) {
            break;
        }
        if let Poll::Ready(outcome) = look() {
            return Poll::Ready(outcome);
        }
        if place.is_queued() {
            break;
        }
    }
    Poll::Pending
}

/// Attempts each time the object's queue is woken, until the outcome is something else than "not ready". It was that just
/// before.
async fn until_changed<T>(
    object: Arc<dyn Waitable>,
    events: u32,
    attempt: &mut impl FnMut() -> Attempt<T>,
) -> Attempt<T> {
    let mut place = pin!(place_at(object, events));
    poll_fn(|context| attempt_if_woken(place.as_mut(), context, attempt)).await
}
