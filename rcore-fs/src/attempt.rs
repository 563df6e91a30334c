//! The result of an operation that usually need not wait.

use alloc::boxed::Box;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use linux_abi::Errno;

/// The future that finishes an operation which has to wait.
pub type SlowPath<'a, T> = Pin<Box<dyn Future<Output = Result<T, Errno>> + Send + 'a>>;

/// An operation that was tried: it is done, or it goes on as a future. Awaiting it gives the result in either case.
#[must_use = "an operation that has to wait does nothing until it is awaited"]
pub enum Attempt<'a, T> {
    /// It did not have to wait.
    Done(Result<T, Errno>),
    /// It has changed nothing so far that cannot be finished later; the future finishes it.
    Wait(SlowPath<'a, T>),
}

impl<'a, T> Attempt<'a, T> {
    /// Done, successfully.
    pub const fn ready(value: T) -> Self {
        Self::Done(Ok(value))
    }

    /// Done, with an error.
    pub const fn failed(error: Errno) -> Self {
        Self::Done(Err(error))
    }

    /// Has to wait: `future` goes on.
    pub fn wait(future: impl Future<Output = Result<T, Errno>> + Send + 'a) -> Self {
        Self::Wait(Box::pin(future))
    }

    /// The result, if there was nothing to wait for; otherwise the attempt itself.
    pub fn done(self) -> Result<Result<T, Errno>, Self> {
        match self {
            Self::Done(result) => Ok(result),
            waiting => Err(waiting),
        }
    }
}

impl<T> From<Result<T, Errno>> for Attempt<'_, T> {
    fn from(result: Result<T, Errno>) -> Self {
        Self::Done(result)
    }
}

impl<'a, T> IntoFuture for Attempt<'a, T> {
    type Output = Result<T, Errno>;
    type IntoFuture = Finish<'a, T>;

    fn into_future(self) -> Finish<'a, T> {
        match self {
            Self::Done(result) => Finish(Stage::Done(Some(result))),
            Self::Wait(future) => Finish(Stage::Wait(future)),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Attempt<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(result) => f.debug_tuple("Done").field(result).finish(),
            Self::Wait(_) => f.write_str("Wait(..)"),
        }
    }
}

/// An [`Attempt`] being awaited.
#[must_use = "futures do nothing unless polled"]
pub struct Finish<'a, T>(Stage<'a, T>);

enum Stage<'a, T> {
    Done(Option<Result<T, Errno>>),
    Wait(SlowPath<'a, T>),
}

// Nothing in it is pinned in place: the future of the slow path has its own box.
impl<T> Unpin for Finish<'_, T> {}

impl<T> Future for Finish<'_, T> {
    type Output = Result<T, Errno>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Stage::Done(result) => Poll::Ready(result.take().expect("polled after it was ready")),
            Stage::Wait(future) => future.as_mut().poll(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn what_is_done_is_ready_at_the_first_poll() {
        let mut finish = Attempt::ready(7).into_future();
        let poll = Pin::new(&mut finish).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(poll, Poll::Ready(Ok(7)));
        assert_eq!(Attempt::<()>::failed(Errno::EIO).done().unwrap(), Err(Errno::EIO));
    }

    #[test]
    fn what_waits_goes_on_where_it_stopped() {
        let mut turns = 0;
        let attempt = Attempt::wait(std::future::poll_fn(move |_| {
            turns += 1;
            if turns == 3 { Poll::Ready(Ok("done")) } else { Poll::Pending }
        }));
        let mut finish = attempt.done().expect_err("it has to wait").into_future();
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut finish).poll(&mut context).is_pending());
        assert!(Pin::new(&mut finish).poll(&mut context).is_pending());
        assert_eq!(Pin::new(&mut finish).poll(&mut context), Poll::Ready(Ok("done")));
    }
}
