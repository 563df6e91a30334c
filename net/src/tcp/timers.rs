//! The deadlines of flows, in one queue.
//!
//! A flow has at most one entry that counts, for the earliest moment it was ever armed for; when that comes and the
//! deadline has moved, which is the rule, a new entry is made. So a flow that is busy seldom touches the queue.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicU64, Ordering};

use executor::TaskOptions;
use kernel_hal::Instant;
use ksync::{Once, Rank, SpinLock, WaitQueue};

use super::Endpoint;
use super::packets::Channel;

struct Queue {
    entries: BTreeMap<(u64, u64), Weak<Endpoint>>,
    number: u64,
}

static QUEUE: SpinLock<Queue> =
    SpinLock::new(Rank::NETWORK_TIMERS, Queue { entries: BTreeMap::new(), number: 0 });
/// The earliest entry.
static EARLIEST: AtomicU64 = AtomicU64::new(u64::MAX);
static CHANGED: WaitQueue = WaitQueue::new("network timers");
static TASK: Once<()> = Once::new();

/// A flow wants to be called at this moment. Called with the flow locked.
pub(super) fn arm(endpoint: &Arc<Endpoint>, channel: &Channel, deadline: Option<Instant>) {
    let Some(deadline) = deadline else { return };
    let nanos = deadline.as_nanos();
    if nanos >= channel.armed.load(Ordering::Relaxed) {
        return;
    }
    channel.armed.store(nanos, Ordering::Relaxed);
    let mut queue = QUEUE.lock();
    queue.number += 1;
    let key = (nanos, queue.number);
    queue.entries.insert(key, Arc::downgrade(endpoint));
    let is_first = nanos < EARLIEST.load(Ordering::Relaxed);
    if is_first {
        EARLIEST.store(nanos, Ordering::Relaxed);
    }
    drop(queue);
    if is_first {
        start();
        CHANGED.wake_all();
    }
}

fn start() {
    TASK.call_once(|| {
        if cfg!(target_os = "none") {
            executor::spawn(TaskOptions::new("network timers"), run()).detach();
        }
    });
}

/// Calls everybody whose moment has come; returns the next moment.
pub(crate) fn expire(now: Instant) -> Option<Instant> {
    loop {
        let endpoint = {
            let mut queue = QUEUE.lock();
            let first = queue.entries.first_key_value().map(|(&(nanos, _), _)| nanos);
            EARLIEST.store(first.unwrap_or(u64::MAX), Ordering::Relaxed);
            match first {
                Some(nanos) if nanos <= now.as_nanos() => {
                    let (_, endpoint) = queue.entries.pop_first()?;
                    endpoint
                }
                first => return first.map(Instant::from_nanos),
            }
        };
        if let Some(endpoint) = endpoint.upgrade() {
            if let Some(channel) = endpoint.channel() {
                channel.armed.store(u64::MAX, Ordering::Relaxed);
            }
            endpoint.expire();
        }
    }
}

async fn run() {
    loop {
        match expire(Instant::now()) {
            None => CHANGED.wait_until(|| (EARLIEST.load(Ordering::Relaxed) != u64::MAX).then_some(())).await,
            Some(next) => {
                let is_earlier = || (EARLIEST.load(Ordering::Relaxed) < next.as_nanos()).then_some(());
                let _ = executor::timeout(next, CHANGED.wait_until(is_earlier)).await;
            }
        }
    }
}
