//! The eventfd that is told of completions.

use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicBool, Ordering};

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_object::event_fd::EventFd;
use linux_object::file::OpenFile;
use linux_object::obstacle::Attempt;

use super::Registration;
use crate::ring::Ring;

pub(super) struct Event {
    /// A look that costs nothing where there is none.
    exists: AtomicBool,
    /// It is told only of requests that had to wait.
    is_for_waiting: AtomicBool,
    file: SpinLock<Option<Arc<OpenFile>>>,
}

fn counter(file: &OpenFile) -> Option<&EventFd> {
    let file: &dyn Any = &**file.file();
    file.downcast_ref()
}

impl Event {
    pub(super) const fn new() -> Self {
        Self {
            exists: AtomicBool::new(false),
            is_for_waiting: AtomicBool::new(false),
            file: SpinLock::new(Rank::FILE, None),
        }
    }

    /// Whether this opening is the one that is told.
    pub(super) fn is_told(&self, file: &OpenFile) -> bool {
        let is_same = |told: &Arc<OpenFile>| Arc::ptr_eq(told.file(), file.file());
        self.exists.load(Ordering::Acquire) && self.file.lock().as_ref().is_some_and(is_same)
    }

    #[inline]
    pub(super) fn signal(&self, has_waited: bool) {
        if self.exists.load(Ordering::Acquire) && (has_waited || !self.is_for_waiting.load(Ordering::Relaxed))
        {
            let file = self.file.lock().clone();
            if let Some(counter) = file.as_deref().and_then(counter) {
                counter.signal(1);
            }
        }
    }
}

impl Ring {
    pub(super) fn register_event(&self, registration: &Registration<'_>, is_for_waiting: bool) -> Attempt {
        if registration.count != 1 {
            return Err(Errno::EINVAL.into());
        }
        let event = &self.registered.event;
        if event.exists.load(Ordering::Acquire) {
            return Err(Errno::EBUSY.into());
        }
        let number: i32 = registration.memory().read(crate::operation::address(registration.argument))?;
        let file = registration.resources.files.get(number)?;
        counter(&file).ok_or(Errno::EINVAL)?;
        *event.file.lock() = Some(file);
        event.is_for_waiting.store(is_for_waiting, Ordering::Relaxed);
        event.exists.store(true, Ordering::Release);
        Ok(0)
    }

    pub(super) fn unregister_event(&self, registration: &Registration<'_>) -> Attempt {
        registration.without_argument()?;
        let event = &self.registered.event;
        event.exists.store(false, Ordering::Release);
        let file = event.file.lock().take();
        if file.is_some() { Ok(0) } else { Err(Errno::ENXIO.into()) }
    }
}
