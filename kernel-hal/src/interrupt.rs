//! Masking interrupts, waiting for one, sending one to another hart, and what runs when one arrives.

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::{HartId, HartMask, MAX_HARTS, backend, tlb};

/// Whether interrupts were enabled before [`disable_and_save`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct SavedState(pub(crate) bool);

impl SavedState {
    /// Whether interrupts were enabled.
    pub const fn were_enabled(self) -> bool {
        self.0
    }
}

/// Masks interrupts on this hart and says what to [`restore`].
#[inline]
pub fn disable_and_save() -> SavedState {
    backend::interrupt::disable_and_save()
}

/// Goes back to what [`disable_and_save`] found.
#[inline]
pub fn restore(saved: SavedState) {
    if saved.0 {
        backend::interrupt::enable();
    }
}

/// Unmasks interrupts on this hart.
#[inline]
pub fn enable() {
    backend::interrupt::enable();
}

/// Masks interrupts on this hart.
#[inline]
pub fn disable() {
    let _ = backend::interrupt::disable_and_save();
}

/// Whether this hart takes interrupts.
#[inline]
pub fn are_enabled() -> bool {
    backend::interrupt::are_enabled()
}

/// Sleeps until an interrupt is pending for this hart. To be called with interrupts masked, so that no wake-up
/// slips in between the last look at the work and the sleep; returns with interrupts masked, the interrupt still
/// pending: it is taken at the next [`enable`].
#[inline]
pub fn wait() {
    debug_assert!(!are_enabled());
    backend::interrupt::wait();
}

/// Handles the interrupts that are pending for this hart, without enabling any: cheaper than to be interrupted, for code
/// that is between two things anyway. To be called with interrupts masked. On the host the test delivers interrupts.
#[inline]
pub fn handle_pending() {
    debug_assert!(!are_enabled());
    backend::interrupt::handle_pending();
}

/// What runs when an interrupt arrives. All run with interrupts masked.
pub struct Handlers {
    /// The hart's alarm went off.
    pub timer: fn(),
    /// Another hart asked this one to look at its run queue.
    pub reschedule: fn(),
    /// A device raised this line of the interrupt controller; it is completed when the handler returns.
    pub external: fn(line: u32),
    /// The last thing before going back to interrupted *kernel* code whose preempt count is zero. May run other
    /// work (on another stack) before it returns.
    pub preemption_point: fn(),
    /// Another hart panicked: report this hart's state and stop for good.
    pub halt: fn(),
}

static HANDLERS: AtomicPtr<Handlers> = AtomicPtr::new(std::ptr::null_mut());

/// Registers what runs when an interrupt arrives. Called once, before interrupts are first enabled.
pub fn set_handlers(handlers: &'static Handlers) {
    HANDLERS.store(std::ptr::from_ref(handlers).cast_mut(), Ordering::Release);
}

/// The registered handlers.
pub fn handlers() -> Option<&'static Handlers> {
    // SAFETY: the pointer is null or came from a `&'static Handlers` in `set_handlers`.
    unsafe { HANDLERS.load(Ordering::Acquire).as_ref() }
}

/// Why one hart interrupts another: bits of a per-hart mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// Look at the run queue.
    Reschedule = 1,
    /// Serve the TLB mailbox.
    FlushTlb = 2,
    /// Stop for good: another hart panicked.
    Halt = 4,
}

#[repr(align(64))]
struct Mailbox(AtomicU32);

static MAILBOXES: [Mailbox; MAX_HARTS] = [const { Mailbox(AtomicU32::new(0)) }; MAX_HARTS];

/// Interrupts another hart (or this one). Signals of the same reason that are still pending are merged.
pub fn send(target: HartId, reason: Reason) {
    let before = MAILBOXES[target.index()].0.fetch_or(reason as u32, Ordering::AcqRel);
    // A non-empty mailbox has an interrupt on its way already: the receiver empties it in one exchange.
    if before == 0 {
        backend::interrupt::raise_software_interrupt(HartMask::only(target));
    }
}

/// Handles what is in this hart's mailbox. The backend calls it for a software interrupt.
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "the host twin has no trap entry"))]
pub(crate) fn serve_mailbox() {
    let reasons = MAILBOXES[HartId::current().index()].0.swap(0, Ordering::AcqRel);
    if reasons & Reason::FlushTlb as u32 != 0 {
        tlb::serve_remote_requests();
    }
    let Some(handlers) = handlers() else { return };
    if reasons & Reason::Halt as u32 != 0 {
        (handlers.halt)();
    }
    if reasons & Reason::Reschedule as u32 != 0 {
        (handlers.reschedule)();
    }
}

/// Takes the pending reasons out of a hart's mailbox: what the simulator delivers to a virtual hart.
#[cfg(not(target_os = "none"))]
pub fn take_pending(hart: HartId) -> u32 {
    MAILBOXES[hart.index()].0.swap(0, Ordering::AcqRel)
}

/// What a hart that spins with interrupts masked must keep doing: flush for others, stop if told to. Without it two
/// harts that wait for each other (one for a lock, one for a flush) would never go on.
#[inline]
pub fn serve_while_spinning() {
    let mailbox = &MAILBOXES[HartId::current().index()].0;
    let urgent = Reason::FlushTlb as u32 | Reason::Halt as u32;
    if mailbox.load(Ordering::Relaxed) & urgent == 0 {
        return;
    }
    let reasons = mailbox.fetch_and(!urgent, Ordering::AcqRel);
    if reasons & Reason::FlushTlb as u32 != 0 {
        tlb::serve_remote_requests();
    }
    if reasons & Reason::Halt as u32 != 0
        && let Some(handlers) = handlers()
    {
        (handlers.halt)();
    }
}
