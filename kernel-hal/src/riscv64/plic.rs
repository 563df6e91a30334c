//! The platform-level interrupt controller: lines, priorities, and one supervisor context per hart.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::memory::phys_to_virt;
use crate::{HartId, MAX_HARTS, PhysAddr};

const ENABLE_BASE: usize = 0x2000;
const ENABLE_STRIDE: usize = 0x80;
const CONTEXT_BASE: usize = 0x20_0000;
const CONTEXT_STRIDE: usize = 0x1000;
const CLAIM: usize = 4;

static BASE: AtomicUsize = AtomicUsize::new(0);
static CONTEXTS: [AtomicU32; MAX_HARTS] = [const { AtomicU32::new(u32::MAX) }; MAX_HARTS];

fn register(offset: usize) -> *mut u32 {
    phys_to_virt(PhysAddr::new(BASE.load(Ordering::Relaxed) + offset)).cast()
}

fn write(offset: usize, value: u32) {
    // SAFETY: the device tree names the controller's registers, and the linear map covers them.
    unsafe { register(offset).write_volatile(value) };
}

fn read(offset: usize) -> u32 {
    // SAFETY: as in `write`.
    unsafe { register(offset).read_volatile() }
}

fn context(hart: HartId) -> Option<usize> {
    match CONTEXTS[hart.index()].load(Ordering::Relaxed) {
        u32::MAX => None,
        context => Some(context as usize),
    }
}

/// Notes where the controller is.
pub(super) fn initialize(base: PhysAddr) {
    BASE.store(base.as_usize(), Ordering::Relaxed);
}

/// Notes which context is the supervisor's on `hart`.
pub(super) fn set_context(hart: HartId, context: u32) {
    CONTEXTS[hart.index()].store(context, Ordering::Relaxed);
}

/// Lets interrupts of every priority through to this hart.
pub(super) fn open(hart: HartId) {
    if let Some(context) = context(hart) {
        write(CONTEXT_BASE + CONTEXT_STRIDE * context, 0);
    }
}

/// Routes a line to a hart.
pub(super) fn enable(line: u32, hart: HartId) {
    let Some(context) = context(hart) else { return };
    write(4 * line as usize, 1);
    let word = ENABLE_BASE + ENABLE_STRIDE * context + 4 * (line as usize / 32);
    write(word, read(word) | 1 << (line % 32));
}

/// Takes the most urgent pending line of this hart.
pub(super) fn claim() -> Option<u32> {
    let context = context(HartId::current())?;
    match read(CONTEXT_BASE + CONTEXT_STRIDE * context + CLAIM) {
        0 => None,
        line => Some(line),
    }
}

/// Ends the handling of a claimed line: it may be raised again.
pub(super) fn complete(line: u32) {
    if let Some(context) = context(HartId::current()) {
        write(CONTEXT_BASE + CONTEXT_STRIDE * context + CLAIM, line);
    }
}
