//! Waiting for completions.

use alloc::sync::Arc;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use kernel_hal::Instant;
use ksync::Waiter;
use linux_abi::Errno;
use linux_abi::io_uring::{SetupFlags, SubmissionState};

use super::Ring;

impl Ring {
    /// Completions that the program has not taken.
    pub fn available(&self) -> u32 {
        self.completions.available(&self.memory)
    }

    /// Does what is to be done on entering the kernel: moves what overflowed, polls what was woken. Whether so many
    /// completions are there.
    pub fn catch_up(&self, wanted: u32) -> bool {
        self.completions.flush(&self.memory);
        self.memory.clear_state(SubmissionState::TASKRUN & self.memory.state());
        while !self.work.is_empty() && self.do_work() && self.available() < wanted {}
        self.available() >= wanted
    }

    /// Waits until there are so many completions, or from `contented` on any. `ETIME`: it is too late; `EBADR`:
    /// completions were lost.
    pub async fn wait(
        self: &Arc<Self>,
        wanted: u32,
        contented: Option<Instant>,
        deadline: Instant,
    ) -> Result<(), Errno> {
        let wanted = wanted.min(self.geometry().completions);
        let told = if contented.is_some() { wanted.min(1) } else { wanted };
        let _taking = self.completions.begin_taking(told);
        let mut waiter = pin!(Waiter::new(&self.completions.takers));
        let mut sleep = pin!(executor::sleep_until(deadline));
        let mut patience = pin!(executor::sleep_until(contented.unwrap_or(Instant::FAR_FUTURE)));
        let outcome = poll_fn(|context| {
            loop {
                if self.catch_up(wanted) {
                    return Poll::Ready(Ok(()));
                }
                if contented.is_some() && patience.as_mut().poll(context).is_ready() && self.available() > 0 {
                    return Poll::Ready(Ok(()));
                }
                if self.completions.take_lost() {
                    return Poll::Ready(Err(Errno::EBADR));
                }
                if deadline != Instant::FAR_FUTURE && sleep.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(Errno::ETIME));
                }
                // Newly registered: what came before that woke nobody, so look again.
                if !waiter.as_mut().register(context.waker()) && self.work.is_empty() {
                    return Poll::Pending;
                }
            }
        })
        .await;
        if !self.work.is_empty() && !self.flags.contains(SetupFlags::DEFER_TASKRUN) {
            // It was meant for us, but we are going.
            self.hand_over_work();
        }
        outcome
    }
}
