//! Several requests at once.

use alloc::boxed::Box;
use alloc::vec::Vec;
use std::pin::Pin;
use std::task::{Context, Poll};

use ksync::{WaitQueue, Waiter};

use super::{BlockDevice, BlockError, BlockRequest, BlockResult, Operation, Segments, SubmitError, Ticket};

/// Requests of one kind on their way together: the device is told once, and works on all of them at a time. Resolves
/// when all were answered, to the first error if there was one.
///
/// Dropping it gives up the results, as with a single operation.
#[must_use = "futures do nothing unless polled"]
pub struct Transfer<'d> {
    device: &'d dyn BlockDevice,
    operation: Operation,
    /// What was not submitted yet, last first.
    waiting: Vec<(u64, Segments)>,
    under_way: Vec<Ticket>,
    result: BlockResult,
    /// The place in the queue for a free slot, while none of ours is under way.
    waiter: Option<Pin<Box<Waiter<&'d WaitQueue>>>>,
}

impl<'d> dyn BlockDevice + 'd {
    /// Carries out several requests, each given by its first sector and its memory.
    pub fn transfer(&self, operation: Operation, mut requests: Vec<(u64, Segments)>) -> Transfer<'_> {
        requests.reverse();
        Transfer {
            device: self,
            operation,
            under_way: Vec::with_capacity(requests.len()),
            waiting: requests,
            result: Ok(()),
            waiter: None,
        }
    }
}

impl Transfer<'_> {
    fn fail(&mut self, error: BlockError) {
        self.result = self.result.and(Err(error));
        // What has not begun is no longer wanted.
        self.waiting.clear();
    }

    /// Submits what there is room for.
    fn submit(&mut self, context: &Context<'_>) {
        let mut is_new = false;
        while let Some((sector, segments)) = self.waiting.last_mut() {
            let request = BlockRequest { operation: self.operation, sector: *sector };
            match self.device.submit(request, segments, Some(context.waker())) {
                Ok(ticket) => {
                    self.under_way.push(ticket);
                    self.waiting.pop();
                    is_new = true;
                }
                Err(SubmitError::Full) => {
                    is_new = true;
                    break;
                }
                Err(SubmitError::Refused(error)) => self.fail(error),
            }
        }
        if is_new {
            self.device.kick();
        }
    }

    /// Takes the answers that have come. Returns whether there were any.
    fn collect(&mut self, context: &Context<'_>) -> bool {
        let before = self.under_way.len();
        let mut first_error = None;
        let device = self.device;
        self.under_way.retain(|ticket| match device.poll_result(ticket, context.waker()) {
            Poll::Pending => true,
            Poll::Ready(result) => {
                first_error = first_error.or(result.err());
                false
            }
        });
        if let Some(error) = first_error {
            self.fail(error);
        }
        self.under_way.len() < before
    }
}

impl Future for Transfer<'_> {
    type Output = BlockResult;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<BlockResult> {
        let this = self.get_mut();
        loop {
            this.submit(context);
            let has_collected = this.collect(context);
            if this.waiting.is_empty() {
                this.waiter = None;
                return if this.under_way.is_empty() { Poll::Ready(this.result) } else { Poll::Pending };
            }
            if has_collected {
                continue;
            }
            if !this.under_way.is_empty() {
                // An answer of ours makes room.
                return Poll::Pending;
            }
            let queue = this.device.slots_free();
            let waiter = this.waiter.get_or_insert_with(|| Box::pin(Waiter::new(queue)));
            if !waiter.as_mut().register(context.waker()) {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        for ticket in self.under_way.drain(..) {
            self.device.abandon(ticket);
        }
    }
}
