//! What a program registers with a ring, so that requests can name it by an index.

mod buffer_rings;
mod buffers;
mod calls;
mod event;
mod files;
mod personality;
mod pin;
mod probe;
mod restrictions;
mod rings;

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::io_uring as abi;
use linux_object::file::OpenFile;
use linux_object::obstacle::Attempt;
use linux_object::thread::{Resources, Thread};
use linux_object::user_buffer::UserMemory;

use crate::buffers::Groups;
use crate::operation::Support;
use crate::ring::Ring;
pub(crate) use buffers::Buffer;
use buffers::Buffers;
use calls::Workers;
use event::Event;
use files::Files;
use personality::Personalities;
pub(crate) use pin::pin;
use restrictions::Restrictions;

/// What is registered with one ring.
pub(crate) struct Registered {
    event: Event,
    files: Files,
    pub(crate) buffers: Buffers,
    pub(crate) groups: Groups,
    pub(crate) personalities: Personalities,
    pub(crate) restrictions: Restrictions,
    workers: Workers,
}

impl Registered {
    pub(crate) const fn new() -> Self {
        Self {
            event: Event::new(),
            files: Files::new(),
            buffers: Buffers::new(),
            groups: Groups::new(),
            personalities: Personalities::new(),
            restrictions: Restrictions::new(),
            workers: Workers::new(),
        }
    }

    /// How many places for files and for buffers there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.files.len(), self.buffers.len())
    }

    /// Whether the file is the eventfd that is told of completions: what waits for it must not be told to it for ever.
    pub(crate) fn is_event(&self, file: &OpenFile) -> bool {
        self.event.is_told(file)
    }

    /// Tells the registered eventfd that there is a completion.
    pub(crate) fn signal_event(&self, has_waited: bool) {
        self.event.signal(has_waited);
    }
}

/// One call of `io_uring_register`.
#[derive(Clone, Copy)]
pub struct Registration<'a> {
    /// Who calls.
    pub thread: &'a Thread,
    /// What the caller shares.
    pub resources: &'a Resources,
    /// What is to be done.
    pub operation: u32,
    /// Where its argument is.
    pub argument: u64,
    /// How many there are.
    pub count: u32,
}

impl Registration<'_> {
    fn memory(&self) -> UserMemory {
        UserMemory::new(self.resources.address_space.clone())
    }

    /// A ring that the call names by a descriptor, or by an index of the thread's own.
    fn ring_file(&self, number: i32, is_registered: bool) -> Result<Arc<OpenFile>, Errno> {
        if is_registered {
            return self.thread.rings().registered(number as u32);
        }
        self.resources.files.get(number)
    }

    /// Operations without an argument are refused with one.
    fn without_argument(&self) -> Result<(), Errno> {
        if self.argument == 0 && self.count == 0 { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

/// How much of a call is supported, and what is worth knowing about it.
pub(crate) fn support(operation: u32) -> (Support, &'static str) {
    match operation {
        abi::IORING_REGISTER_BUFFERS
        | abi::IORING_REGISTER_BUFFERS2
        | abi::IORING_REGISTER_BUFFERS_UPDATE
        | abi::IORING_REGISTER_CLONE_BUFFERS => (
            Support::Partial,
            "the memory is reached by its address: a request for memory that was unmapped fails",
        ),
        abi::IORING_REGISTER_IOWQ_AFF
        | abi::IORING_UNREGISTER_IOWQ_AFF
        | abi::IORING_REGISTER_IOWQ_MAX_WORKERS => {
            (Support::Full, "there are no workers whom it could concern")
        }
        abi::IORING_REGISTER_NAPI | abi::IORING_UNREGISTER_NAPI => {
            (Support::Absent, "`EOPNOTSUPP`: nobody polls a network card")
        }
        _ => (Support::Full, ""),
    }
}

impl Ring {
    /// Carries out one call of `io_uring_register`.
    pub fn register(self: &Arc<Self>, registration: &Registration<'_>) -> Attempt {
        if !self.is_enabled() && registration.operation == abi::IORING_REGISTER_ENABLE_RINGS {
            registration.without_argument()?;
            return self.enable(registration.thread).map(|()| 0).map_err(Into::into);
        }
        self.check_registrant(registration)?;
        if self.is_enabled() {
            self.registered.restrictions.check_call(registration.operation)?;
        }
        match registration.operation {
            abi::IORING_REGISTER_BUFFERS => self.register_buffers(registration),
            abi::IORING_UNREGISTER_BUFFERS => self.unregister_buffers(registration),
            abi::IORING_REGISTER_BUFFERS2 => self.register_buffers_with_tags(registration),
            abi::IORING_REGISTER_BUFFERS_UPDATE => self.update_buffers(registration),
            abi::IORING_REGISTER_CLONE_BUFFERS => self.clone_buffers(registration),
            abi::IORING_REGISTER_FILES => self.register_files(registration),
            abi::IORING_REGISTER_FILES2 => self.register_files_with_tags(registration),
            abi::IORING_UNREGISTER_FILES => self.unregister_files(registration),
            abi::IORING_REGISTER_FILES_UPDATE => self.update_files(registration),
            abi::IORING_REGISTER_FILES_UPDATE2 => self.update_files_with_tags(registration),
            abi::IORING_REGISTER_FILE_ALLOC_RANGE => self.set_file_range(registration),
            abi::IORING_REGISTER_EVENTFD => self.register_event(registration, false),
            abi::IORING_REGISTER_EVENTFD_ASYNC => self.register_event(registration, true),
            abi::IORING_UNREGISTER_EVENTFD => self.unregister_event(registration),
            abi::IORING_REGISTER_PBUF_RING => self.register_buffer_ring(registration),
            abi::IORING_UNREGISTER_PBUF_RING => self.unregister_buffer_ring(registration),
            abi::IORING_REGISTER_PBUF_STATUS => self.tell_buffer_ring(registration),
            abi::IORING_REGISTER_PERSONALITY => self.register_personality(registration),
            abi::IORING_UNREGISTER_PERSONALITY => self.unregister_personality(registration),
            abi::IORING_REGISTER_RESTRICTIONS => self.register_restrictions(registration),
            abi::IORING_REGISTER_RING_FDS => Self::register_rings(registration),
            abi::IORING_UNREGISTER_RING_FDS => Self::unregister_rings(registration),
            abi::IORING_REGISTER_SYNC_CANCEL => self.cancel_and_wait(registration),
            abi::IORING_REGISTER_CLOCK => Self::register_clock(registration),
            abi::IORING_REGISTER_IOWQ_AFF => Self::set_worker_harts(registration),
            abi::IORING_UNREGISTER_IOWQ_AFF => {
                registration.without_argument().map(|()| 0).map_err(Into::into)
            }
            abi::IORING_REGISTER_IOWQ_MAX_WORKERS => self.set_worker_count(registration),
            abi::IORING_REGISTER_PROBE => probe::probe(registration),
            abi::IORING_REGISTER_ENABLE_RINGS => Err(Errno::EBADFD.into()),
            // Nobody polls a network card.
            abi::IORING_REGISTER_NAPI | abi::IORING_UNREGISTER_NAPI => Err(Errno::EOPNOTSUPP.into()),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// Only the thread that submits may register, if only one submits.
    fn check_registrant(&self, registration: &Registration<'_>) -> Result<(), Errno> {
        if self.is_enabled() { self.note_issuer(registration.thread) } else { Ok(()) }
    }
}
