//! Submissions without system calls (`IORING_SETUP_SQPOLL`): a task that looks at rings all the time.
//!
//! It takes what programs submit and polls what was woken. When nothing has happened for the time that the program asked
//! for it says so (`IORING_SQ_NEED_WAKEUP`) and sleeps until it is called. Rings that are attached to one another
//! (`IORING_SETUP_ATTACH_WQ`) share one. It acts with the rights and the resources of the thread that made the ring, and
//! ends when its last ring is closed.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use core::time::Duration;

use executor::TaskOptions;
use kernel_hal::{HartMask, Instant};
use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::io_uring::SubmissionState;
use linux_object::thread::{Resources, Thread};

use super::Ring;

/// What the task works with.
pub(crate) struct Poller {
    rings: SpinLock<Vec<Weak<Ring>>>,
    /// Somebody called.
    is_called: AtomicBool,
    called: WaitQueue,
    idle_nanos: AtomicU64,
}

/// On whose behalf a polled ring submits.
pub(crate) struct Submitter {
    pub poller: Arc<Poller>,
    thread: Arc<Thread>,
    resources: Resources,
}

impl Submitter {
    /// The thread that makes the ring.
    pub fn new(poller: Arc<Poller>, thread: Arc<Thread>, resources: Resources) -> Self {
        Self { poller, thread, resources }
    }
}

impl Poller {
    /// A new one, whose task runs on this hart only if there is one given.
    pub fn start(idle: Duration, hart: Option<HartMask>) -> Arc<Self> {
        let poller = Arc::new(Self {
            rings: SpinLock::new(Rank::FILE_TABLE, Vec::new()),
            is_called: AtomicBool::new(false),
            called: WaitQueue::new("io_uring poller"),
            idle_nanos: AtomicU64::new(idle.as_nanos() as u64),
        });
        let options = TaskOptions::new("iou-sqp").affinity(hart.unwrap_or(HartMask::ALL));
        executor::spawn(options, poller.clone().run()).detach();
        poller
    }

    /// Looks at this ring, too. The longest of the rings' idle times counts.
    pub fn add(&self, ring: &Arc<Ring>, idle: Duration) {
        self.rings.lock().push(Arc::downgrade(ring));
        self.idle_nanos.fetch_max(idle.as_nanos() as u64, Ordering::Relaxed);
        self.call();
    }

    /// Wakes it, if it sleeps.
    pub fn call(&self) {
        self.is_called.store(true, Ordering::Release);
        self.called.wake_one();
    }

    fn rings(&self, open: &mut Vec<Arc<Ring>>) {
        open.clear();
        let mut rings = self.rings.lock();
        rings.retain(|ring| ring.upgrade().is_some_and(|ring| !ring.is_closed()));
        open.extend(rings.iter().filter_map(Weak::upgrade));
    }

    async fn run(self: Arc<Self>) {
        let mut open = Vec::new();
        let mut last_work = Instant::now();
        // It begins with the call of its first ring.
        self.until_called().await;
        loop {
            self.rings(&mut open);
            if open.is_empty() {
                return;
            }
            let mut has_worked = false;
            for ring in &open {
                has_worked |= ring.poll_submissions();
            }
            let now = Instant::now();
            if has_worked {
                last_work = now;
            }
            if now.nanos_since(last_work) < self.idle_nanos.load(Ordering::Relaxed) {
                executor::yield_now().await;
                continue;
            }
            for ring in &open {
                ring.memory.set_state(SubmissionState::NEED_WAKEUP);
            }
            // A program stores its tail and then looks whether it has to call; here it is the other way round.
            fence(Ordering::SeqCst);
            if !open.iter().any(|ring| ring.has_submissions() || !ring.work.is_empty()) {
                open.clear();
                self.until_called().await;
                self.rings(&mut open);
            }
            for ring in &open {
                ring.memory.clear_state(SubmissionState::NEED_WAKEUP);
            }
            last_work = Instant::now();
        }
    }

    async fn until_called(&self) {
        self.called.wait_until(|| self.is_called.swap(false, Ordering::AcqRel).then_some(())).await;
    }
}

impl Ring {
    fn has_submissions(&self) -> bool {
        self.is_enabled() && self.memory.submission_tail() != self.memory.told_submission_head()
    }

    /// What the task does with one ring; whether there was anything.
    fn poll_submissions(self: &Arc<Self>) -> bool {
        if !self.is_enabled() {
            return false;
        }
        let mut has_worked = false;
        if !self.work.is_empty() {
            self.do_work();
            has_worked = true;
        }
        if self.has_submissions()
            && let Some(submitter) = self.submitter.get()
            && let Some(taken) = self.try_submit(u32::MAX, &submitter.thread, &submitter.resources)
        {
            self.room.wake_all();
            has_worked |= taken > 0;
        }
        has_worked
    }

    /// The task that takes the submissions, if the program need not call for them.
    pub fn is_polled(&self) -> bool {
        self.submitter.get().is_some()
    }

    /// Calls the task, if it sleeps.
    pub fn call_poller(&self) {
        if let Some(submitter) = self.submitter.get() {
            submitter.poller.call();
        }
    }

    /// Waits until there is room for a submission.
    pub async fn until_room(&self) {
        let has_room = || {
            let queued = self.memory.submission_tail().wrapping_sub(self.memory.told_submission_head());
            (queued < self.geometry().submissions).then_some(())
        };
        self.room.wait_until(has_room).await;
    }
}
