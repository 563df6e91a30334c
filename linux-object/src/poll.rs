//! Waiting until one of several files is ready.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::Poll;

use kernel_hal::Instant;
use ksync::{SharedQueue, Waiter};
use linux_abi::Errno;
use linux_abi::poll::PollEvents;

use crate::file::OpenFile;
use crate::obstacle::Waitable;

/// One file, and what is wanted of it.
pub struct Interest {
    /// The file; `None` for one that is not looked at.
    pub file: Option<Arc<OpenFile>>,
    /// The events that are waited for; errors and hang-ups always are.
    pub events: PollEvents,
}

/// What every poll waits for.
const ALWAYS: PollEvents = PollEvents::ERR.union(PollEvents::HUP).union(PollEvents::NVAL);

impl Interest {
    /// What of it is ready now.
    pub fn ready(&self) -> PollEvents {
        match &self.file {
            Some(file) => file.file().ready() & (self.events | ALWAYS),
            None => PollEvents::empty(),
        }
    }
}

type Listener = Pin<Box<Waiter<SharedQueue<dyn Waitable>>>>;

/// Waits until something is ready or the deadline has passed.
pub async fn wait(interests: &[Interest], deadline: Instant) -> Result<(), Errno> {
    let is_ready = || interests.iter().any(|interest| !interest.ready().is_empty());
    if is_ready() {
        return Ok(());
    }
    let mut listeners: Vec<Listener> = Vec::new();
    listeners.try_reserve_exact(interests.len()).map_err(|_| Errno::ENOMEM)?;
    for file in interests.iter().filter_map(|interest| interest.file.as_ref()) {
        let waitable: Arc<dyn Waitable> = file.file().clone();
        listeners.push(Box::pin(Waiter::listener(SharedQueue::new(waitable, |file| file.wait_queue()))));
    }
    let mut sleep = pin!(executor::sleep_until(deadline));
    poll_fn(|context| {
        loop {
            if is_ready() || sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut is_new = false;
            for listener in &mut listeners {
                is_new |= listener.as_mut().register(context.waker());
            }
            // Newly registered: what changed before that woke nobody, so look again.
            if !is_new {
                return Poll::Pending;
            }
        }
    })
    .await;
    Ok(())
}
