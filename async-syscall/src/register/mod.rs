//! What a program registers with a ring, so that requests can name it by an index.

mod buffer_rings;
mod event;
mod files;
mod probe;

use linux_abi::Errno;
use linux_abi::io_uring::{
    IORING_REGISTER_ENABLE_RINGS, IORING_REGISTER_EVENTFD, IORING_REGISTER_FILE_ALLOC_RANGE,
    IORING_REGISTER_FILES, IORING_REGISTER_FILES_UPDATE, IORING_REGISTER_FILES_UPDATE2,
    IORING_REGISTER_FILES2, IORING_REGISTER_PBUF_RING, IORING_REGISTER_PBUF_STATUS, IORING_REGISTER_PROBE,
    IORING_UNREGISTER_EVENTFD, IORING_UNREGISTER_FILES, IORING_UNREGISTER_PBUF_RING,
};
use linux_object::obstacle::Attempt;
use linux_object::thread::{Resources, Thread};
use linux_object::user_buffer::UserMemory;

use crate::buffers::Groups;
use crate::ring::Ring;
use event::Event;
use files::Files;

/// What is registered with one ring.
pub(crate) struct Registered {
    event: Event,
    files: Files,
    pub(crate) groups: Groups,
}

impl Registered {
    pub(crate) const fn new() -> Self {
        Self { event: Event::new(), files: Files::new(), groups: Groups::new() }
    }

    /// Tells the registered eventfd that there is a completion.
    pub(crate) fn signal_event(&self) {
        self.event.signal();
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

    /// Operations without an argument are refused with one.
    fn without_argument(&self) -> Result<(), Errno> {
        if self.argument == 0 && self.count == 0 { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

impl Ring {
    /// Carries out one call of `io_uring_register`.
    pub fn register(&self, registration: &Registration<'_>) -> Attempt {
        if !self.is_enabled() && registration.operation == IORING_REGISTER_ENABLE_RINGS {
            registration.without_argument()?;
            return self.enable(registration.thread).map(|()| 0).map_err(Into::into);
        }
        self.note_issuer(registration.thread)?;
        match registration.operation {
            IORING_REGISTER_FILES => self.register_files(registration),
            IORING_REGISTER_FILES2 => self.register_files_with_tags(registration),
            IORING_UNREGISTER_FILES => self.unregister_files(registration),
            IORING_REGISTER_FILES_UPDATE => self.update_files(registration),
            IORING_REGISTER_FILES_UPDATE2 => self.update_files_with_tags(registration),
            IORING_REGISTER_FILE_ALLOC_RANGE => self.set_file_range(registration),
            IORING_REGISTER_EVENTFD => self.register_event(registration),
            IORING_UNREGISTER_EVENTFD => self.unregister_event(registration),
            IORING_REGISTER_PBUF_RING => self.register_buffer_ring(registration),
            IORING_UNREGISTER_PBUF_RING => self.unregister_buffer_ring(registration),
            IORING_REGISTER_PBUF_STATUS => self.tell_buffer_ring(registration),
            IORING_REGISTER_PROBE => probe::probe(registration),
            IORING_REGISTER_ENABLE_RINGS => Err(Errno::EBADFD.into()),
            _ => Err(Errno::EINVAL.into()),
        }
    }
}
