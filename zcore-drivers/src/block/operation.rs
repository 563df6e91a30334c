//! The future of one request.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use ksync::{WaitQueue, Waiter};

use super::{BlockDevice, BlockRequest, BlockResult, Segments, SubmitError, Ticket};

/// A request on its way: resolves to its result.
///
/// The first poll submits it. Dropping the future before that does nothing; dropping it later gives up the result,
/// while the device goes on working on memory that the driver keeps for it.
#[must_use = "futures do nothing unless polled"]
pub struct BlockOperation<'d> {
    device: &'d dyn BlockDevice,
    request: BlockRequest,
    segments: &'d mut Segments,
    stage: Stage,
    /// The place in the queue for a free slot.
    waiter: Waiter<&'d WaitQueue>,
    kick: bool,
}

enum Stage {
    Submitting,
    Waiting(Ticket),
    Finished,
}

impl<'d> BlockOperation<'d> {
    #[inline]
    pub(super) fn new(
        device: &'d dyn BlockDevice,
        request: BlockRequest,
        segments: &'d mut Segments,
    ) -> Self {
        let waiter = Waiter::new(device.slots_free());
        Self { device, request, segments, stage: Stage::Submitting, waiter, kick: true }
    }

    /// Leaves it to the caller to [kick](BlockDevice::kick) the device after the first poll of this and maybe of other
    /// operations.
    pub fn without_kick(mut self) -> Self {
        self.kick = false;
        self
    }
}

impl Future for BlockOperation<'_> {
    type Output = BlockResult;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<BlockResult> {
        // SAFETY: `waiter` is pinned with `self` and never moved; nothing else is pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let mut waiter = unsafe { Pin::new_unchecked(&mut this.waiter) };
        loop {
            match &mut this.stage {
                Stage::Submitting => {
                    match this.device.submit(this.request, this.segments, Some(context.waker())) {
                        Ok(ticket) => {
                            this.stage = Stage::Waiting(ticket);
                            if waiter.is_queued() || waiter.was_woken() {
                                waiter.finish();
                            }
                            if this.kick {
                                this.device.kick();
                            }
                            return Poll::Pending;
                        }
                        Err(SubmitError::Refused(error)) => {
                            this.stage = Stage::Finished;
                            return Poll::Ready(Err(error));
                        }
                        Err(SubmitError::Full) => {
                            // Requests that others submitted without a kick would keep their slots for ever.
                            this.device.kick();
                            if !waiter.as_mut().register(context.waker()) {
                                return Poll::Pending;
                            }
                        }
                    }
                }
                Stage::Waiting(ticket) => {
                    let result = this.device.poll_result(ticket, context.waker());
                    if result.is_ready() {
                        // The ticket is used up: dropping the future must not abandon it.
                        this.stage = Stage::Finished;
                    }
                    return result;
                }
                Stage::Finished => panic!("a finished block operation was polled"),
            }
        }
    }
}

impl Drop for BlockOperation<'_> {
    fn drop(&mut self) {
        if let Stage::Waiting(ticket) = std::mem::replace(&mut self.stage, Stage::Finished) {
            self.device.abandon(ticket);
        }
    }
}

impl fmt::Debug for BlockOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Submitting => "submitting",
            Stage::Waiting(_) => "waiting",
            Stage::Finished => "finished",
        };
        f.debug_struct("BlockOperation").field("stage", &stage).finish()
    }
}
