//! A ring: the object behind the descriptor.

mod completion;
mod file;
pub(crate) mod memory;
mod submission;
mod wait;
mod work;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kernel_object::paged_object::PagedObject;
use ksync::{AsyncMutex, Once, Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::io_uring::{
    CompletionFlags, IORING_CQ_EVENTFD_DISABLED, IORING_CQE_BUFFER_SHIFT, IoUringCqe, SetupFlags,
};
use linux_object::file::OpenFile;
use linux_object::thread::{Resources, Thread};

pub use completion::Completion;
use completion::Completions;
pub use file::RingFile;
pub use memory::Geometry;
use memory::RingMemory;
use work::Work;

use crate::operation::{Begun, Issue, Waiting};
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
    pub(crate) registered: Registered,
}

/// How a request went, for the one who began it.
pub(crate) enum Went {
    /// It is over; what follows it is the caller's still.
    Over { chain: Box<Chain>, is_success: bool },
    /// It waits, and has taken what follows it along.
    Waits,
}

impl Ring {
    /// A ring of this shape.
    pub fn new(geometry: Geometry, flags: SetupFlags) -> Result<Arc<Self>, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let memory = RingMemory::allocate(geometry).map_err(|_| Errno::ENOMEM)?;
        let rings_object = Arc::new(memory.rings().to_object().map_err(|_| Errno::ENOMEM)?);
        let requests_object = Arc::new(memory.requests().to_object().map_err(|_| Errno::ENOMEM)?);
        Ok(Arc::new(Self {
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
            registered: Registered::new(),
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
        Ok(())
    }

    /// Posts the completion of a request, and tells whoever waits.
    pub(crate) fn complete(&self, identity: &Identity, outcome: Outcome) {
        if self.post(identity, outcome) {
            self.announce();
        }
    }

    /// Posts the completion of a request. Whether there is anything to be told.
    fn post(&self, identity: &Identity, outcome: Outcome) -> bool {
        let is_posted = !(identity.skips_success && outcome.is_success);
        if is_posted {
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
        self.announce();
    }

    /// Posts one of several completions of a request, if there is room in the ring.
    pub(crate) fn post_more(&self, user_data: u64, outcome: Outcome) -> bool {
        let outcome = Outcome { flags: outcome.flags | CompletionFlags::MORE, ..outcome };
        let is_posted = self.completions.try_post(&self.memory, completion_of(user_data, outcome));
        if is_posted {
            self.announce();
        }
        is_posted
    }

    fn announce(&self) {
        self.completions.announce(&self.memory);
        if self.memory.completion_flags() & IORING_CQ_EVENTFD_DISABLED == 0 {
            self.registered.signal_event();
        }
    }

    /// Waits until so many more requests have ended, timeouts left aside.
    pub(crate) async fn until_completed(&self, count: u64) {
        self.completions.until_counted(count).await;
    }

    /// Begins a request. What follows it goes along if it waits.
    pub(crate) fn begin(
        self: &Arc<Self>,
        thread: &Arc<Thread>,
        resources: &Resources,
        link: Link,
        chain: Box<Chain>,
    ) -> Went {
        let issue = Issue { ring: self, thread, resources, entry: &link.entry };
        match link.operation.begin(&issue) {
            Begun::Ended(outcome) => {
                self.complete(&link.identity, outcome);
                Went::Over { chain, is_success: outcome.is_success }
            }
            Begun::Waits(waiting) => {
                self.keep(link.identity, waiting, Some(chain));
                Went::Waits
            }
        }
    }

    /// Keeps a request that waits, and lets it register with what it waits for.
    pub(crate) fn keep(
        self: &Arc<Self>,
        identity: Identity,
        waiting: Waiting,
        chain: Option<Box<Chain>>,
    ) -> Arc<Request> {
        let Waiting { manner, file, details, future } = waiting;
        let identity = Identity { file, details, ..identity };
        let sequence = self.last_sequence.fetch_add(1, Ordering::Relaxed);
        let user_data = identity.user_data;
        let request = Request::new(self.clone(), identity, sequence, manner, future, chain);
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
        for request in self.find(None, |_| true) {
            // What a file system is in the middle of ends by itself, and then the ring's task.
            let _ = request.cancel();
        }
        self.work.announce();
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
