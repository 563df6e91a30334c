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

use crate::file::{FileTable, OpenFile};
use crate::obstacle::Waitable;

/// One descriptor, what is wanted of it, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interest {
    /// The number.
    pub number: i32,
    /// The events that are waited for; errors and hang-ups always are.
    pub events: PollEvents,
    /// What of it is ready.
    pub ready: PollEvents,
}

/// What every poll waits for.
const ALWAYS: PollEvents = PollEvents::ERR.union(PollEvents::HUP);

/// Asks each file what it is ready for; returns how many are ready. A number without a file is ready with `NVAL`; a
/// negative one is passed over.
pub fn look(files: &FileTable, interests: &mut [Interest]) -> usize {
    let mut count = 0;
    for interest in interests {
        interest.ready = match files.get(interest.number) {
            Ok(file) => file.file().ready() & (interest.events | ALWAYS),
            Err(_) if interest.number < 0 => PollEvents::empty(),
            Err(_) => PollEvents::NVAL,
        };
        count += usize::from(!interest.ready.is_empty());
    }
    count
}

type Listener = Pin<Box<Waiter<SharedQueue<dyn Waitable>>>>;

/// Waits until something is ready or the deadline has passed; returns how many are.
///
/// The files are those that the numbers stand for when the wait begins.
pub async fn wait(files: &FileTable, interests: &mut [Interest], deadline: Instant) -> Result<usize, Errno> {
    let opened: Vec<(usize, Arc<OpenFile>)> = interests
        .iter()
        .enumerate()
        .filter_map(|(index, interest)| Some((index, files.get(interest.number).ok()?)))
        .collect();
    let bad = look(files, interests);
    if bad > 0 {
        return Ok(bad);
    }
    let mut listeners: Vec<Listener> = Vec::new();
    listeners.try_reserve_exact(opened.len()).map_err(|_| Errno::ENOMEM)?;
    for (index, file) in &opened {
        let waitable = file.waitable();
        let events = (interests[*index].events | ALWAYS).bits();
        let queue = SharedQueue::new(waitable, |file| file.wait_queue());
        listeners.push(Box::pin(Waiter::listener_for(queue, events)));
    }
    let mut look = || {
        let mut count = 0;
        for (index, file) in &opened {
            let interest = &mut interests[*index];
            interest.ready = file.file().ready() & (interest.events | ALWAYS);
            count += usize::from(!interest.ready.is_empty());
        }
        count
    };
    let mut sleep = pin!(executor::sleep_until(deadline));
    let count = poll_fn(|context| {
        loop {
            let count = look();
            if count > 0 || sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(count);
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
    Ok(count)
}
