//! Forgetting translations, here and on other harts.
//!
//! A remote flush is a rendezvous: the initiator publishes a request in its own slot, interrupts the targets and waits
//! for each to clear its bit. While it waits it serves requests of others, so two initiators never block each other.
//! Callers must not hold a lock that a target could be spinning on with interrupts masked, unless that lock's spin
//! loop calls [`crate::interrupt::serve_while_spinning`] (those of `ksync` do).

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::interrupt::{self, Reason};
use crate::{HartId, HartMask, MAX_HARTS, PAGE_SIZE, VirtAddr, paging};

/// Above this many pages a flush of everything in the address space is cheaper than one by one.
const MOST_SINGLE_PAGES: usize = 32;

/// What to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushRequest {
    /// The address space, or `None` for all of them and for global translations.
    pub address_space: Option<u16>,
    /// The first page.
    pub start: VirtAddr,
    /// How many pages; `usize::MAX` for the whole space.
    pub pages: usize,
}

impl FlushRequest {
    /// Nothing: the rendezvous alone counts, see [`crate::memory_barrier::synchronize_harts`].
    pub(crate) const BARRIER: Self = Self { address_space: None, start: VirtAddr::new(0), pages: 0 };

    /// Everything that belongs to one address space.
    pub const fn whole_space(address_space: u16) -> Self {
        Self { address_space: Some(address_space), start: VirtAddr::new(0), pages: usize::MAX }
    }
}

struct Slot {
    waiting_for: AtomicU32,
    address_space: AtomicUsize,
    start: AtomicUsize,
    pages: AtomicUsize,
}

const NO_ADDRESS_SPACE: usize = usize::MAX;

static SLOTS: [Slot; MAX_HARTS] = [const {
    Slot {
        waiting_for: AtomicU32::new(0),
        address_space: AtomicUsize::new(0),
        start: AtomicUsize::new(0),
        pages: AtomicUsize::new(0),
    }
}; MAX_HARTS];

/// Forgets translations on this hart.
pub fn flush_local(request: FlushRequest) {
    if request.pages > MOST_SINGLE_PAGES {
        match request.address_space {
            Some(id) => paging::flush_address_space(id),
            None => paging::flush_all(),
        }
        return;
    }
    if request.pages == 0 {
        std::sync::atomic::fence(Ordering::SeqCst);
        crate::memory_barrier::synchronize_instruction_fetch();
    }
    for page in 0..request.pages {
        paging::flush_page(request.start + page * PAGE_SIZE, request.address_space);
    }
}

/// Forgets translations on the `targets` (this hart included, if it is one), and returns when all have.
pub fn flush(targets: HartMask, request: FlushRequest) {
    let saved = interrupt::disable_and_save();
    let here = HartId::current();
    if targets.contains(here) {
        flush_local(request);
    }
    let others = targets.without(here).intersection(HartId::online());
    if !others.is_empty() {
        flush_remote(here, others, request);
    }
    interrupt::restore(saved);
}

fn flush_remote(here: HartId, others: HartMask, request: FlushRequest) {
    if !paging::REMOTE_HARTS_EXIST {
        return;
    }
    let slot = &SLOTS[here.index()];
    let address_space = request.address_space.map_or(NO_ADDRESS_SPACE, usize::from);
    slot.address_space.store(address_space, Ordering::Relaxed);
    slot.start.store(request.start.as_usize(), Ordering::Relaxed);
    slot.pages.store(request.pages, Ordering::Relaxed);
    slot.waiting_for.store(others.bits(), Ordering::SeqCst);
    for hart in others.iter() {
        interrupt::send(hart, Reason::FlushTlb);
    }
    while slot.waiting_for.load(Ordering::Acquire) != 0 {
        interrupt::serve_while_spinning();
        std::hint::spin_loop();
    }
}

/// Serves every request that names this hart.
pub(crate) fn serve_remote_requests() {
    let here = HartMask::only(HartId::current()).bits();
    for slot in &SLOTS {
        if slot.waiting_for.load(Ordering::SeqCst) & here == 0 {
            continue;
        }
        let address_space = match slot.address_space.load(Ordering::Relaxed) {
            NO_ADDRESS_SPACE => None,
            id => Some(id as u16),
        };
        flush_local(FlushRequest {
            address_space,
            start: VirtAddr::new(slot.start.load(Ordering::Relaxed)),
            pages: slot.pages.load(Ordering::Relaxed),
        });
        slot.waiting_for.fetch_and(!here, Ordering::AcqRel);
    }
}
