//! Who handles which interrupt line.

use alloc::boxed::Box;
use alloc::sync::Arc;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// How many lines an interrupt controller can have; line 0 does not exist.
pub const LINES: usize = 1024;

/// Something that an interrupt line belongs to.
pub trait InterruptHandler: Send + Sync {
    /// Acknowledges the device, collects what it finished, wakes who waits. Runs with interrupts masked; may run
    /// without the device having asked for it.
    fn handle_interrupt(&self);
}

/// A line cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// There is no such line.
    NoSuchLine(u32),
    /// The line has a handler.
    Taken(u32),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchLine(line) => write!(f, "there is no interrupt line {line}"),
            Self::Taken(line) => write!(f, "interrupt line {line} has a handler already"),
        }
    }
}

struct Entry {
    name: &'static str,
    handler: Arc<dyn InterruptHandler>,
    count: AtomicU64,
}

/// The table of interrupt lines. Lines are registered for good: dispatching takes no lock.
pub struct InterruptRegistry {
    entries: [AtomicPtr<Entry>; LINES],
    unexpected: AtomicU64,
}

impl InterruptRegistry {
    /// A table without handlers.
    pub const fn new() -> Self {
        Self { entries: [const { AtomicPtr::new(ptr::null_mut()) }; LINES], unexpected: AtomicU64::new(0) }
    }

    /// Gives a line its handler. To be called before the line is enabled at the controller.
    pub fn register(
        &self,
        line: u32,
        name: &'static str,
        handler: Arc<dyn InterruptHandler>,
    ) -> Result<(), RegisterError> {
        let slot = self.slot(line).ok_or(RegisterError::NoSuchLine(line))?;
        let entry = Box::into_raw(Box::new(Entry { name, handler, count: AtomicU64::new(0) }));
        let empty = ptr::null_mut();
        if slot.compare_exchange(empty, entry, Ordering::Release, Ordering::Relaxed).is_err() {
            // SAFETY: the pointer came from `Box::into_raw` above and was not published.
            drop(unsafe { Box::from_raw(entry) });
            return Err(RegisterError::Taken(line));
        }
        Ok(())
    }

    /// Runs the line's handler: what `kernel_hal::interrupt::Handlers::external` does.
    pub fn dispatch(&self, line: u32) {
        match self.entry(line) {
            Some(entry) => {
                entry.count.fetch_add(1, Ordering::Relaxed);
                entry.handler.handle_interrupt();
            }
            None => {
                self.unexpected.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The lines that have a handler: number, name, and how often it ran.
    pub fn lines(&self) -> impl Iterator<Item = (u32, &'static str, u64)> + '_ {
        (1..LINES as u32).filter_map(|line| {
            let entry = self.entry(line)?;
            Some((line, entry.name, entry.count.load(Ordering::Relaxed)))
        })
    }

    /// How many interrupts came on lines without a handler.
    pub fn unexpected(&self) -> u64 {
        self.unexpected.load(Ordering::Relaxed)
    }

    fn slot(&self, line: u32) -> Option<&AtomicPtr<Entry>> {
        self.entries.get(line as usize).filter(|_| line != 0)
    }

    fn entry(&self, line: u32) -> Option<&Entry> {
        let entry = self.slot(line)?.load(Ordering::Acquire);
        // SAFETY: null, or a leaked box that `register` published; entries are freed only with the registry.
        unsafe { entry.as_ref() }
    }
}

impl Default for InterruptRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for InterruptRegistry {
    fn drop(&mut self) {
        for slot in &mut self.entries {
            let entry = *slot.get_mut();
            if !entry.is_null() {
                // SAFETY: published once by `register`; `&mut self` says that nobody dispatches.
                drop(unsafe { Box::from_raw(entry) });
            }
        }
    }
}

impl fmt::Debug for InterruptRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counter(AtomicU64);
    impl InterruptHandler for Counter {
        fn handle_interrupt(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn lines_reach_their_handlers_and_only_those() {
        let registry = InterruptRegistry::new();
        let counter = Arc::new(Counter::default());
        assert_eq!(registry.register(8, "disk", counter.clone()), Ok(()));
        assert_eq!(registry.register(8, "again", counter.clone()), Err(RegisterError::Taken(8)));
        assert_eq!(registry.register(0, "none", counter.clone()), Err(RegisterError::NoSuchLine(0)));
        assert_eq!(registry.register(1024, "none", counter.clone()), Err(RegisterError::NoSuchLine(1024)));
        registry.dispatch(8);
        registry.dispatch(9);
        registry.dispatch(u32::MAX);
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        assert_eq!(registry.lines().collect::<Vec<_>>(), [(8, "disk", 1)]);
        assert_eq!(registry.unexpected(), 2);
    }
}
