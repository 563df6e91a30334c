//! Whose executor this thread uses, and the virtual machine's interrupts.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

use kernel_hal::host::alarm_of;
use kernel_hal::{HartId, HartMask, Instant};

use crate::executor::{Executor, ExecutorRef};

/// The part of an executor that only exists on the host.
pub(crate) struct Machine {
    online: AtomicU32,
    /// Harts with a reschedule interrupt pending.
    pending: AtomicU32,
}

impl Machine {
    pub(crate) const fn new() -> Self {
        Self { online: AtomicU32::new(1), pending: AtomicU32::new(0) }
    }

    pub(crate) fn online(&self) -> HartMask {
        HartMask::from_bits(self.online.load(Acquire))
    }

    pub(crate) fn interrupt(&self, hart: HartId) {
        self.pending.fetch_or(HartMask::only(hart).bits(), AcqRel);
    }

    pub(super) fn take_reschedule(&self, hart: HartId) -> bool {
        let bit = HartMask::only(hart).bits();
        self.pending.fetch_and(!bit, AcqRel) & bit != 0
    }

    /// The alarm that the hart has armed.
    pub(super) fn alarm(&self, hart: HartId) -> Option<Instant> {
        alarm_of(hart)
    }

    /// Whether the present hart's alarm is due. Its handler arms it anew.
    pub(super) fn take_alarm(&self, hart: HartId, now: Instant) -> bool {
        self.alarm(hart).is_some_and(|moment| moment <= now)
    }

    pub(super) fn has_interrupt(&self, hart: HartId, now: Instant) -> bool {
        self.take_alarm(hart, now) || self.pending.load(Acquire) & HartMask::only(hart).bits() != 0
    }
}

thread_local! {
    static CURRENT: Cell<Option<&'static Executor>> = const { Cell::new(None) };
}

/// This thread's executor; the first call makes one, which stays.
pub(crate) fn current_executor() -> &'static Executor {
    CURRENT.get().unwrap_or_else(|| {
        let executor = Box::leak(Box::new(Executor::new()));
        CURRENT.set(Some(executor));
        executor
    })
}

/// An executor that is this thread's while it is installed.
pub(super) struct OwnExecutor {
    executor: NonNull<Executor>,
    previous: Option<&'static Executor>,
}

impl OwnExecutor {
    pub(super) fn install(online: HartMask) -> Self {
        let executor = NonNull::from(Box::leak(Box::new(Executor::new())));
        // SAFETY: freed only by `Drop`, and only if nothing can refer to it any more.
        let reference: &'static Executor = unsafe { executor.as_ref() };
        reference.machine.online.store(online.bits(), Release);
        Self { executor, previous: CURRENT.replace(Some(reference)) }
    }

    pub(super) fn get(&self) -> ExecutorRef {
        // SAFETY: as in `install`.
        ExecutorRef::new(unsafe { self.executor.as_ref() })
    }
}

impl Drop for OwnExecutor {
    fn drop(&mut self) {
        let executor = self.get();
        CURRENT.set(self.previous);
        let is_unused =
            executor.registry.count() == 0 && HartMask::ALL.iter().all(|hart| !executor.has_timers(hart));
        if is_unused && !std::thread::panicking() {
            // SAFETY: it came from a box; every task and every armed timer, which alone would refer to it later, is
            // gone, and so is the thread's own reference.
            drop(unsafe { Box::from_raw(self.executor.as_ptr()) });
        }
    }
}
