//! What each hart knows of itself, reached through `tp`.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::{HartId, HartMask, MAX_HARTS, PageFault, UserContext};

/// A hart's own data. Only the hart itself touches it (the assembly included), but for `hardware_id` and
/// `boot_stack_top`, which are written before the hart starts.
#[repr(C, align(128))]
pub(super) struct HartLocal {
    /// The kernel's stack pointer while user mode runs.
    pub(super) kernel_stack_pointer: usize,
    /// The registers of the program that runs in user mode.
    pub(super) user_context: *mut UserContext,
    /// Room for the trap entry to free a register.
    pub(super) scratch: usize,
    /// Where the hart starts, and where it goes when a kernel stack overflows.
    pub(super) boot_stack_top: usize,
    pub(super) emergency_stack_top: usize,
    /// The context for which the floating-point unit is arranged, and the name of that arrangement; see `context.rs`.
    pub(super) float_owner: *mut UserContext,
    pub(super) float_arrangement: u64,
    pub(super) index: u32,
    pub(super) preempt_count: u32,
    pub(super) hardware_id: usize,
    /// The last page fault taken in user mode, for the trap cause.
    pub(super) preemption_depth: usize,
    pub(super) last_kernel_fault: Option<PageFault>,
    /// See [`crate::hart_word`].
    pub(super) word: usize,
}

pub(super) struct HartLocals(UnsafeCell<[HartLocal; MAX_HARTS]>);
// SAFETY: see `HartLocal`: each element has one user at a time.
unsafe impl Sync for HartLocals {}

/// Names of arrangements are multiples of this, so that each hart has its own.
pub(super) const FIRST_ARRANGEMENT: u64 = MAX_HARTS as u64;

const fn new_local(index: usize) -> HartLocal {
    HartLocal {
        kernel_stack_pointer: 0,
        user_context: core::ptr::null_mut(),
        scratch: 0,
        boot_stack_top: 0,
        emergency_stack_top: 0,
        float_owner: core::ptr::null_mut(),
        // No context's: theirs begin with 0.
        float_arrangement: FIRST_ARRANGEMENT + index as u64,
        index: index as u32,
        preempt_count: 0,
        hardware_id: usize::MAX,
        preemption_depth: 0,
        last_kernel_fault: None,
        word: 0,
    }
}

const _: () = assert!(MAX_HARTS == 8);
pub(super) static LOCALS: HartLocals = HartLocals(UnsafeCell::new([
    new_local(0),
    new_local(1),
    new_local(2),
    new_local(3),
    new_local(4),
    new_local(5),
    new_local(6),
    new_local(7),
]));

static ONLINE: AtomicU32 = AtomicU32::new(0);

pub(super) const KERNEL_STACK_POINTER: usize = offset_of!(HartLocal, kernel_stack_pointer);
pub(super) const USER_CONTEXT: usize = offset_of!(HartLocal, user_context);
pub(super) const SCRATCH: usize = offset_of!(HartLocal, scratch);
pub(super) const BOOT_STACK_TOP: usize = offset_of!(HartLocal, boot_stack_top);
pub(super) const EMERGENCY_STACK_TOP: usize = offset_of!(HartLocal, emergency_stack_top);
const INDEX: usize = offset_of!(HartLocal, index);
const PREEMPT_COUNT: usize = offset_of!(HartLocal, preempt_count);
const WORD: usize = offset_of!(HartLocal, word);

/// The data of the hart with this logical number.
pub(super) fn local_of(index: usize) -> *mut HartLocal {
    assert!(index < MAX_HARTS);
    LOCALS.0.get().cast::<HartLocal>().wrapping_add(index)
}

/// This hart's own data.
#[inline]
pub(super) fn local() -> *mut HartLocal {
    let pointer;
    // SAFETY: reads a register; the convention of this backend keeps `tp` right.
    unsafe { asm!("mv {}, tp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

#[inline]
pub(crate) fn current() -> HartId {
    let index: u32;
    // SAFETY: `tp` points at this hart's `HartLocal`; one instruction, so that the value is this hart's even if
    // the code is moved to another right after.
    unsafe {
        asm!("lw {}, {offset}(tp)", out(reg) index, offset = const INDEX,
            options(nostack, readonly, preserves_flags));
    }
    // The assembly wrote a number below MAX_HARTS.
    HartId::new(index as usize & (MAX_HARTS - 1))
}

#[inline]
pub(crate) fn word() -> usize {
    let word;
    // SAFETY: as in `current`.
    unsafe {
        asm!("ld {}, {offset}(tp)", out(reg) word, offset = const WORD,
            options(nostack, readonly, preserves_flags));
    }
    word
}

pub(crate) fn set_word(word: usize) {
    // SAFETY: as in `current`; one instruction.
    unsafe {
        asm!("sd {}, {offset}(tp)", in(reg) word, offset = const WORD, options(nostack, preserves_flags));
    }
}

pub(crate) fn online() -> HartMask {
    HartMask::from_bits(ONLINE.load(Ordering::Acquire))
}

/// Counts this hart as online.
pub(super) fn mark_online() {
    ONLINE.fetch_or(HartMask::only(current()).bits(), Ordering::AcqRel);
}

macro_rules! change_preempt_count {
    ($by:literal) => {
        // SAFETY: the word belongs to this hart. An interrupt between load and store restores the count to what
        // it found before it returns, and code is moved to another hart only while the count is zero.
        unsafe {
            asm!("lw {value}, {offset}(tp)", "addiw {value}, {value}, {by}", "sw {value}, {offset}(tp)",
                value = out(reg) _, offset = const PREEMPT_COUNT, by = const $by,
                options(nostack, preserves_flags));
        }
    };
}

#[inline]
pub(crate) fn raise_preempt_count() {
    change_preempt_count!(1);
}

#[inline]
pub(crate) fn lower_preempt_count() {
    change_preempt_count!(-1);
}

#[inline]
pub(crate) fn preempt_count() -> u32 {
    let count;
    // SAFETY: as in `current`.
    unsafe {
        asm!("lw {}, {offset}(tp)", out(reg) count, offset = const PREEMPT_COUNT,
            options(nostack, readonly, preserves_flags));
    }
    count
}

#[inline]
pub(crate) fn synchronize_instruction_fetch() {
    // SAFETY: `fence.i` has no effect but the ordering it is for.
    unsafe { asm!("fence.i", options(nostack, preserves_flags)) };
}
