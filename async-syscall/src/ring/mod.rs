//! A ring: the object behind the descriptor.

mod completion;
mod drain;
mod file;
pub(crate) mod memory;
pub(crate) mod poller;
mod submission;
mod wait;
mod work;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kernel_object::paged_object::PagedObject;
use ksync::{AsyncMutex, Once, Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::io_uring::{
    CompletionFlags, IORING_CQ_EVENTFD_DISABLED, IORING_CQE_BUFFER_SHIFT, IoUringCqe, Opcode, SetupFlags,
};
use linux_object::file::OpenFile;
use linux_object::thread::{Resources, Thread};
use linux_object::thread_rings::RequestKeeper;

pub use completion::Completion;
use completion::Completions;
use drain::Drain;
pub use file::RingFile;
pub use memory::Geometry;
use memory::RingMemory;
use poller::Submitter;
use work::Work;

use crate::operation::{Begun, Issue, Prepared, Timeout, Waiting};
use crate::register::Registered;
use crate::request::{Chain, Details, Identity, Link, Outcome, Request};

/// By what a request is found: what the program calls it, and its number.
type Key = (u64, u64);

/// A ring.
pub struct Ring {
    flags: SetupFlags,
    memory: RingMemory,
    /// What `mmap` shows of the memory.
    rings_object: Arc<PagedObject>,
    requests_object: Arc<PagedObject>,
    completions: Completions,
    /// Up to where submissions were taken; whoever holds it submits.
    submissions: AsyncMutex<u32>,
    /// Whether it was set up, or enabled since.
    is_enabled: AtomicBool,
    /// Nobody has it open any more.
    is_closed: AtomicBool,
    /// The one thread that submits, if only one may.
    issuer: Once<i32>,
    /// Requests that wait.
    requests: SpinLock<BTreeMap<Key, Arc<Request>>>,
    last_sequence: AtomicU64,
    work: Work,
    drain: Drain,
    /// Who submits without being called, if anybody does.
    submitter: Once<Submitter>,
    /// Who waits for room in the ring of submissions.
    room: WaitQueue,
    pub(crate) registered: Registered,
    /// Threads that have submitted.
    submitters: SpinLock<Vec<Weak<Thread>>>,
    /// Itself, for threads to note.
    keeper: Weak<dyn RequestKeeper>,
}

/// How a request went, for the one who began it.
pub(crate) enum Went {
    /// It is over; what follows it is the caller's still.
    Over { chain: Box<Chain>, is_success: bool },
    /// It waits, and has taken what follows it along.
    Waits,
}

impl Ring {
    /// A ring in this memory.
    pub(crate) fn new(memory: RingMemory, flags: SetupFlags) -> Result<Arc<Self>, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let rings_object = Arc::new(memory.rings().to_object().map_err(|_| Errno::ENOMEM)?);
        let requests_object = Arc::new(memory.requests().to_object().map_err(|_| Errno::ENOMEM)?);
        Ok(Arc::new_cyclic(|ring: &Weak<Self>| Self {
            flags,
            memory,
            rings_object,
            requests_object,
            completions: Completions::new(),
            submissions: AsyncMutex::new(0),
            is_enabled: AtomicBool::new(!flags.contains(SetupFlags::R_DISABLED)),
            is_closed: AtomicBool::new(false),
            issuer: Once::new(),
            requests: SpinLock::new(Rank::FILE, BTreeMap::new()),
            last_sequence: AtomicU64::new(0),
            work: Work::new(),
            drain: Drain::new(),
            submitter: Once::new(),
            room: WaitQueue::new("io_uring room"),
            registered: Registered::new(),
            submitters: SpinLock::new(Rank::FILE, Vec::new()),
            keeper: ring.clone(),
        }))
    }

    /// How it was set up.
    pub fn flags(&self) -> SetupFlags {
        self.flags
    }

    /// Its sizes.
    pub fn geometry(&self) -> &Geometry {
        self.memory.geometry()
    }

    /// Whether it may be used.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Acquire)
    }

    /// The thread is about to submit.
    fn note_submitter(&self, thread: &Arc<Thread>) {
        if thread.rings().note_keeper(&self.keeper) {
            let mut submitters = self.submitters.lock();
            submitters.retain(|known| known.strong_count() > 0);
            submitters.push(Arc::downgrade(thread));
        }
    }

    /// A thread that has submitted.
    fn submitter_with(&self, id: i32) -> Option<Arc<Thread>> {
        let submitters = self.submitters.lock();
        submitters.iter().filter_map(Weak::upgrade).find(|thread| thread.id() == id)
    }

    /// Whether nobody has it open any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Lets a task take the submissions; once, when the ring is made.
    pub(crate) fn set_submitter(&self, submitter: Submitter) {
        self.submitter.call_once(|| submitter);
    }

    /// Who takes the submissions without being called.
    pub(crate) fn submitter(&self) -> Option<&Submitter> {
        self.submitter.get()
    }

    /// Notes that this thread submits. `EEXIST`: only one may, and it is another.
    pub fn note_issuer(&self, thread: &Thread) -> Result<(), Errno> {
        if !self.flags.contains(SetupFlags::SINGLE_ISSUER) {
            return Ok(());
        }
        let issuer = *self.issuer.call_once(|| thread.id());
        if issuer == thread.id() { Ok(()) } else { Err(Errno::EEXIST) }
    }

    /// Whether this thread may wait for completions. `EEXIST`: only the one that submits may.
    pub fn check_waiter(&self, thread: &Thread) -> Result<(), Errno> {
        if self.flags.contains(SetupFlags::DEFER_TASKRUN) { self.note_issuer(thread) } else { Ok(()) }
    }

    /// Lets a ring be used that was set up disabled.
    pub fn enable(&self, thread: &Thread) -> Result<(), Errno> {
        if self.is_enabled() {
            return Err(Errno::EBADFD);
        }
        self.note_issuer(thread)?;
        self.is_enabled.store(true, Ordering::Release);
        self.call_poller();
        Ok(())
    }

    /// Posts the completion of a request, and tells whoever waits.
    pub(crate) fn complete(&self, identity: &Identity, outcome: Outcome) {
        if self.post(identity, outcome) {
            self.announce(true);
        }
    }

    /// Posts the completion of a request. Whether there is anything to be told.
    fn post(&self, identity: &Identity, outcome: Outcome) -> bool {
        let is_posted = !(identity.skips_success && outcome.is_success);
        let sends_from_place = matches!(identity.opcode, Opcode::SendZc | Opcode::SendmsgZc);
        if is_posted && sends_from_place {
            let flags = outcome.flags | CompletionFlags::MORE;
            let first = Outcome { flags, ..outcome };
            self.completions.post(&self.memory, completion_of(identity.user_data, first));
            let result = outcome.notification.unwrap_or(0);
            let second = Outcome { result, flags: CompletionFlags::NOTIF, buffer: None, ..outcome };
            self.completions.post(&self.memory, completion_of(identity.user_data, second));
        } else if is_posted {
            self.completions.post(&self.memory, completion_of(identity.user_data, outcome));
        }
        // Timeouts count what others complete.
        if !matches!(identity.details, Details::Timeout(_)) {
            self.completions.count();
        }
        is_posted
    }

    /// Posts a completion of something that is not a request.
    pub(crate) fn post_named(&self, user_data: u64, outcome: Outcome) {
        self.completions.post(&self.memory, completion_of(user_data, outcome));
        self.announce(true);
    }

    /// Posts one of several completions of a request, if there is room in the ring.
    pub(crate) fn post_more(&self, user_data: u64, outcome: Outcome) -> bool {
        let outcome = Outcome { flags: outcome.flags | CompletionFlags::MORE, ..outcome };
        let is_posted = self.completions.try_post(&self.memory, completion_of(user_data, outcome));
        if is_posted {
            self.announce(true);
        }
        is_posted
    }

    fn announce(&self, has_waited: bool) {
        self.completions.announce(&self.memory);
        if self.memory.completion_flags() & IORING_CQ_EVENTFD_DISABLED == 0 {
            self.registered.signal_event(has_waited);
        }
    }

    /// Waits until so many more requests have ended, timeouts left aside.
    pub(crate) async fn until_completed(&self, count: u64) {
        self.completions.until_counted(count).await;
    }

    /// Begins a request. What follows it goes along if it waits; a time limit that follows it begins with it.
    pub(crate) fn begin(
        self: &Arc<Self>,
        thread: &Arc<Thread>,
        resources: &Resources,
        link: Link,
        mut chain: Box<Chain>,
    ) -> Went {
        let limit = chain.take_limit();
        let issue = Issue { ring: self, thread, resources, entry: &link.entry };
        match link.operation.begin(&issue) {
            Begun::Ended(outcome) => {
                self.complete(&link.identity, outcome);
                if let Some(limit) = limit
                    && !limit.identity.skips_success
                {
                    self.complete(&limit.identity, Outcome::error(Errno::ECANCELED));
                }
                Went::Over { chain, is_success: outcome.is_success }
            }
            Begun::Waits(waiting) => {
                let request = self.keep(link.identity, waiting, Some(chain));
                if let Some(Link { identity, operation: Prepared::LinkTimeout(timeout), .. }) = limit {
                    self.limit(&request, identity, timeout);
                }
                Went::Waits
            }
        }
    }

    /// Lets a time limit run for a request.
    pub(crate) fn limit(self: &Arc<Self>, request: &Arc<Request>, identity: Identity, timeout: Timeout) {
        let limit = self.keep(identity, timeout.limiting(request), None);
        if !request.set_limit(&limit) {
            // It is over already.
            let _ = limit.cancel();
        }
    }

    /// Keeps a request that waits, and lets it register with what it waits for.
    pub(crate) fn keep(
        self: &Arc<Self>,
        identity: Identity,
        waiting: Waiting,
        chain: Option<Box<Chain>>,
    ) -> Arc<Request> {
        let sequence = self.last_sequence.fetch_add(1, Ordering::Relaxed);
        let user_data = identity.user_data;
        let request = Request::new(self.clone(), identity, sequence, waiting, chain);
        let count = {
            let mut requests = self.requests.lock();
            requests.insert((user_data, sequence), request.clone());
            requests.len()
        };
        self.work.make_room(count);
        request.run();
        if self.is_closed.load(Ordering::Acquire) {
            let _ = request.cancel();
        }
        request
    }

    /// A request has ended.
    pub(crate) fn forget(&self, request: &Request) {
        let key = (request.identity.user_data, request.sequence);
        let removed = self.requests.lock().remove(&key);
        drop(removed);
        if self.is_closed.load(Ordering::Acquire) {
            self.work.announce();
        }
    }

    /// The requests that wait and of which `wanted` is true, oldest first among those of one name.
    pub(crate) fn find(
        &self,
        user_data: Option<u64>,
        wanted: impl Fn(&Request) -> bool,
    ) -> Vec<Arc<Request>> {
        let requests = self.requests.lock();
        let range = match user_data {
            Some(user_data) => requests.range((user_data, 0)..=(user_data, u64::MAX)),
            None => requests.range(..),
        };
        range.map(|(_, request)| request).filter(|request| wanted(request)).cloned().collect()
    }

    /// Nobody has it open any more: what waits is ended.
    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.drain.clear();
        for request in self.find(None, |_| true) {
            // What a file system is in the middle of ends by itself, and then the ring's task.
            let _ = request.cancel();
        }
        self.work.announce();
        self.call_poller();
    }
}

impl RequestKeeper for Ring {
    fn end_requests_of(&self, thread: i32, are_all: bool) {
        let keeps_ring =
            |request: &Request| request.identity.file.as_ref().is_some_and(|file| ring_of(file).is_ok());
        let is_meant =
            |request: &Request| request.identity.thread == thread && (are_all || keeps_ring(request));
        for request in self.find(None, is_meant) {
            // What a file system is in the middle of ends by itself.
            let _ = request.cancel();
        }
    }

    fn poll_woken(&self) {
        if !self.work.is_empty() && !self.flags.contains(SetupFlags::DEFER_TASKRUN) {
            self.do_work();
        }
    }
}

fn completion_of(user_data: u64, outcome: Outcome) -> Completion {
    let buffer = outcome.buffer.map_or(0, |number| u32::from(number) << IORING_CQE_BUFFER_SHIFT);
    let flags = outcome.flags.bits() | buffer;
    Completion { entry: IoUringCqe { user_data, res: outcome.result, flags }, extra: [0; 2] }
}

/// The ring behind an opening: `EOPNOTSUPP` if it is something else.
pub fn ring_of(file: &OpenFile) -> Result<&Arc<Ring>, Errno> {
    let file: &dyn core::any::Any = &**file.file();
    file.downcast_ref::<RingFile>().map(RingFile::ring).ok_or(Errno::EOPNOTSUPP)
}
