//! Barriers (`IOSQE_IO_DRAIN`): a request that begins when all before it have ended, and those behind it.
//!
//! While a barrier waits what is submitted after it waits in a queue. The first that follows a barrier waits for it as well.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use ksync::{Rank, SpinLock};
use linux_object::thread::{Resources, Thread};

use super::{Ring, Went};
use crate::request::{Chain, Link};

/// A request, or a chain, that has not begun.
struct Deferred {
    thread: Arc<Thread>,
    links: VecDeque<Link>,
    /// Everything that began before it has to end first.
    is_barrier: bool,
}

#[derive(Default)]
struct Queue {
    deferred: VecDeque<Deferred>,
    /// The last was a barrier that the program asked for: the next is one, too.
    is_next_barrier: bool,
}

/// The queue of one ring.
pub(super) struct Drain {
    queue: SpinLock<Queue>,
    /// Whether a submission has to look at it.
    is_active: AtomicBool,
}

impl Drain {
    pub(super) fn new() -> Self {
        let queue = Queue { deferred: VecDeque::new(), is_next_barrier: false };
        Self { queue: SpinLock::new(Rank::FILE_TABLE, queue), is_active: AtomicBool::new(false) }
    }

    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Acquire)
    }

    /// Forgets what has not begun.
    pub(super) fn clear(&self) {
        let former = core::mem::take(&mut *self.queue.lock());
        drop(former);
    }
}

impl Ring {
    /// Puts a chain behind those that wait, and begins what may begin.
    pub(super) fn defer(self: &Arc<Self>, thread: &Arc<Thread>, links: VecDeque<Link>) {
        let is_asked_for = links.iter().any(Link::is_barrier);
        {
            let mut queue = self.drain.queue.lock();
            let is_barrier = is_asked_for || queue.is_next_barrier;
            queue.is_next_barrier = is_asked_for;
            queue.deferred.push_back(Deferred { thread: thread.clone(), links, is_barrier });
            self.drain.is_active.store(true, Ordering::Release);
        }
        self.begin_deferred();
    }

    /// Begins what may begin now.
    pub(crate) fn begin_deferred(self: &Arc<Self>) {
        loop {
            let deferred = {
                let mut queue = self.drain.queue.lock();
                let Some(first) = queue.deferred.front() else {
                    self.drain.is_active.store(queue.is_next_barrier, Ordering::Release);
                    return;
                };
                if first.is_barrier && !self.requests.lock().is_empty() {
                    return;
                }
                queue.deferred.pop_front()
            };
            if let Some(Deferred { thread, links, .. }) = deferred {
                let resources = thread.resources();
                self.begin_links(&thread, &resources, links);
            }
        }
    }

    /// Begins the first of a chain, which takes the others along.
    pub(super) fn begin_links(
        self: &Arc<Self>,
        thread: &Arc<Thread>,
        resources: &Resources,
        mut links: VecDeque<Link>,
    ) {
        let Some(first) = links.pop_front() else { return };
        let (is_soft, is_quiet) = (first.is_soft(), first.identity.skips_success);
        let chain = Box::new(Chain { thread: thread.clone(), is_soft, is_quiet, links });
        if let Went::Over { chain, is_success } = self.begin(thread, resources, first, chain) {
            chain.go_on(self, is_success);
        }
    }

    /// A request has ended, and its completion is posted.
    pub(crate) fn note_end(self: &Arc<Self>) {
        if self.drain.is_active() {
            self.begin_deferred();
        }
    }
}
