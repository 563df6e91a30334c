//! Who runs in a piece of memory.

use alloc::sync::Arc;

use kernel_hal::VirtAddr;

/// One thread's stake in the memory that it runs in. References to an address space do not tell who runs in it: a hart keeps
/// one after its last thread has gone, and whoever looks at a process has another for a moment.
pub struct Tenancy {
    signal_return: VirtAddr,
    tenants: Arc<()>,
}

impl Tenancy {
    /// The first stake in new memory, where signal handlers return to `signal_return`.
    pub fn new(signal_return: VirtAddr) -> Self {
        Self { signal_return, tenants: Arc::new(()) }
    }

    /// A stake in the same memory, for another thread.
    pub fn share(&self) -> Self {
        Self { signal_return: self.signal_return, tenants: self.tenants.clone() }
    }

    /// The first stake in a copy of the memory.
    pub fn of_copy(&self) -> Self {
        Self::new(self.signal_return)
    }

    /// Where signal handlers return to.
    pub fn signal_return(&self) -> VirtAddr {
        self.signal_return
    }

    /// Whether other threads run in the memory.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.tenants) > 1
    }

    /// Gives the stake up. Whether it was the last one: then the memory can be cleared.
    pub fn end(self) -> bool {
        Arc::into_inner(self.tenants).is_some()
    }
}
