//! Giving up the hart without waiting for anything.

use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use crate::executor::ExecutorRef;

/// Lets the others of this task's class go first: a real-time task goes to the end of its level, a fair one behind the
/// next in line.
pub fn yield_now() -> Yield {
    Yield { kind: Kind::ToOthers, yielded: false }
}

/// Makes room for what [`crate::need_resched`] announced. Unlike [`yield_now`] it gives nothing away: a real-time task
/// keeps its place at the head of its level until its turn is over, a fair one its age.
pub fn reschedule() -> Yield {
    Yield { kind: Kind::ToMoreUrgent, yielded: false }
}

#[derive(Debug)]
enum Kind {
    ToOthers,
    ToMoreUrgent,
}

/// The future of [`yield_now`] and [`reschedule`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Yield {
    kind: Kind,
    yielded: bool,
}

impl Future for Yield {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        let executor = ExecutorRef::current();
        // SAFETY: `current` is null or the task whose poll runs on this hart, in which we are.
        if let Some(record) = unsafe { executor.here().current.load(Relaxed).as_ref() } {
            match self.kind {
                Kind::ToOthers => record.state.request_yield(),
                Kind::ToMoreUrgent => record.state.request_place_at_head(),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
