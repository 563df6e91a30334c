//! What the machine remembers of an address space, and making it forget.
//!
//! A hart that runs the address space is interrupted to forget; one that ran it earlier may still remember, and forgets
//! when it comes back. The order of the two sets' accesses decides a race between a flush and an arrival: a hart first
//! says that it runs, then asks whether it is stale; a flush first calls everybody stale, then asks who runs.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use kernel_hal::tlb::{self, FlushRequest};
use kernel_hal::{HartId, HartMask, PhysAddr, VirtAddr, interrupt, paging};

use super::numbers::{Numbers, number_of};

static NUMBERS: Numbers = Numbers::new(paging::address_space_numbers);

pub(super) struct Translation {
    root: PhysAddr,
    context: AtomicU64,
    /// Harts whose satp is this address space's.
    running: AtomicU32,
    /// Harts that must forget before they run it again.
    stale: AtomicU32,
}

impl Translation {
    pub(super) const fn new(root: PhysAddr) -> Self {
        Self { root, context: AtomicU64::new(0), running: AtomicU32::new(0), stale: AtomicU32::new(0) }
    }

    /// Whether this hart runs the address space already.
    #[inline]
    pub(super) fn is_active_here(&self) -> bool {
        paging::active_root() == Some(self.root)
    }

    /// The harts that run the address space.
    pub(super) fn running(&self) -> HartMask {
        HartMask::from_bits(self.running.load(Ordering::SeqCst))
    }

    /// Puts the address space in force on this hart. Interrupts are masked.
    pub(super) fn enter(&self) {
        let hart = HartId::current();
        let bit = HartMask::only(hart).bits();
        self.running.fetch_or(bit, Ordering::SeqCst);
        let is_stale = self.stale.load(Ordering::SeqCst) & bit != 0;
        if is_stale {
            self.stale.fetch_and(!bit, Ordering::SeqCst);
        }
        let activation = NUMBERS.activate(&self.context, hart);
        if activation.flush_all {
            paging::flush_all();
        } else if is_stale {
            paging::flush_address_space(activation.number);
        }
        paging::activate(self.root, activation.number);
    }

    /// Notes that this hart has put something else in force. Interrupts are masked.
    pub(super) fn left(&self) {
        self.running.fetch_and(!HartMask::only(HartId::current()).bits(), Ordering::SeqCst);
    }

    /// Makes every hart forget pages: at once where the address space runs, elsewhere before it runs again. To be
    /// called without a lock that another hart's fault could wait for, unless there is no other way.
    pub(super) fn flush(&self, start: VirtAddr, pages: usize) {
        // The tables were changed before the context is read: a hart that arrives under a context which is not seen here
        // reads the changed tables.
        fence(Ordering::SeqCst);
        let context = self.context.load(Ordering::Acquire);
        if context == 0 {
            // It never ran anywhere.
            return;
        }
        let saved = interrupt::disable_and_save();
        let here = HartId::current();
        self.stale.fetch_or(HartMask::ALL.without(here).bits(), Ordering::SeqCst);
        let running = self.running();
        if !running.contains(here) {
            self.stale.fetch_or(HartMask::only(here).bits(), Ordering::SeqCst);
        }
        if !running.is_empty() {
            let request = FlushRequest { address_space: Some(number_of(context)), start, pages };
            tlb::flush(running, request);
        }
        interrupt::restore(saved);
    }

    /// Makes every hart forget everything about the address space.
    pub(super) fn flush_everything(&self) {
        self.flush(VirtAddr::new(0), usize::MAX);
    }

    /// Makes this hart forget one page: it faulted although the tables allow the access.
    pub(super) fn flush_page_here(&self, page: VirtAddr) {
        paging::flush_page(page, Some(number_of(self.context.load(Ordering::Relaxed))));
    }
}
