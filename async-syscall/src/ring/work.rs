//! Requests that were woken, and who polls them.
//!
//! Whoever waits in `io_uring_enter` polls them himself: a wake then leads straight to the program. If nobody does, a task of
//! the ring's own polls them, so that completions appear while the program computes; a ring whose program asked for it
//! (`DEFER_TASKRUN`) has no such task.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use executor::TaskOptions;
use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::io_uring::{SetupFlags, SubmissionState};
use linux_abi::poll::PollEvents;

use super::Ring;
use crate::request::Request;

/// So many requests are polled before others have their turn.
const BATCH: usize = 32;

/// The list of work of one ring.
pub(super) struct Work {
    list: SpinLock<VecDeque<Arc<Request>>>,
    /// How many there are, for a look without the lock.
    len: AtomicU32,
    added: WaitQueue,
    has_task: AtomicBool,
}

impl Work {
    pub(super) fn new() -> Self {
        Self {
            list: SpinLock::new(Rank::READY_LIST, VecDeque::new()),
            len: AtomicU32::new(0),
            added: WaitQueue::new("io_uring work"),
            has_task: AtomicBool::new(false),
        }
    }

    /// Makes room for so many requests, so that a wake does not allocate.
    pub(super) fn make_room(&self, requests: usize) {
        let mut list = self.list.lock();
        let more = requests.saturating_sub(list.len());
        list.reserve(more);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    fn push(&self, request: Arc<Request>) {
        let mut list = self.list.lock();
        list.push_back(request);
        self.len.store(list.len() as u32, Ordering::Release);
    }

    fn pop(&self) -> Option<Arc<Request>> {
        let mut list = self.list.lock();
        let request = list.pop_front();
        self.len.store(list.len() as u32, Ordering::Release);
        request
    }

    /// Tells the ring's task that something has changed.
    pub(super) fn announce(&self) {
        self.added.wake_one();
    }
}

impl Ring {
    /// A request was woken.
    pub(crate) fn add_work(self: &Arc<Self>, request: Arc<Request>) {
        let waits_for_event =
            request.identity.file.as_ref().is_some_and(|file| self.registered.is_event(file));
        let thread = request.identity.thread;
        self.work.push(request);
        // Whoever waits in the kernel takes it.
        if self.completions.takers.wake_one() {
            return;
        }
        if self.flags.contains(SetupFlags::DEFER_TASKRUN) && !self.is_closed.load(Ordering::Acquire) {
            if self.flags.contains(SetupFlags::TASKRUN_FLAG) {
                self.memory.set_state(SubmissionState::TASKRUN);
            }
            self.completions.changed.wake_all_for(PollEvents::IN.bits());
            if !waits_for_event {
                self.registered.signal_event(true);
            }
            return;
        }
        // A thread that wakes a request of its own polls it before its program goes on; unless it has to wait first, so
        // the ring's task is told as well.
        let current = executor::current_task().map_or(0, |task| task.record().tag());
        if current == thread as u32
            && let Some(thread) = self.submitter_with(thread)
        {
            thread.note_ring_work();
        }
        self.hand_over_work();
    }

    /// Whoever was to poll what was woken is going: the ring's own task does.
    pub(super) fn hand_over_work(self: &Arc<Self>) {
        if !self.work.has_task.swap(true, Ordering::AcqRel) {
            executor::spawn(TaskOptions::new("io_uring"), self.clone().work_until_closed()).detach();
        }
        self.work.announce();
    }

    /// Polls the requests that were woken, a batch at most; whether there are more.
    pub(super) fn do_work(&self) -> bool {
        for _ in 0..BATCH {
            match self.work.pop() {
                Some(request) => request.run_scheduled(),
                None => return false,
            }
        }
        !self.work.is_empty()
    }

    async fn work_until_closed(self: Arc<Self>) {
        loop {
            let is_over = || self.is_closed.load(Ordering::Acquire) && self.requests.lock().is_empty();
            let found = || {
                if !self.work.is_empty() {
                    return Some(true);
                }
                is_over().then_some(false)
            };
            if !self.work.added.wait_until(found).await {
                return;
            }
            if self.do_work() {
                executor::yield_now().await;
            }
        }
    }
}
