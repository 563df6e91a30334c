//! `sstatus.SIE`, `wfi`, and software interrupts through the SBI.

use core::arch::asm;

use super::{hart, trap};
use crate::HartMask;
use crate::interrupt::SavedState;

const SUPERVISOR_INTERRUPT_ENABLE: usize = 1 << 1;

#[inline]
pub(crate) fn disable_and_save() -> SavedState {
    let before: usize;
    // SAFETY: masking interrupts is always sound. Not `nomem`: memory accesses must not move out of the section.
    unsafe {
        asm!("csrrci {}, sstatus, {bit}", out(reg) before, bit = const SUPERVISOR_INTERRUPT_ENABLE,
            options(nostack, preserves_flags));
    }
    SavedState(before & SUPERVISOR_INTERRUPT_ENABLE != 0)
}

#[inline]
pub(crate) fn enable() {
    // SAFETY: the trap entry is in place before the first call; handlers keep to the rules of the contract.
    unsafe {
        asm!("csrsi sstatus, {bit}", bit = const SUPERVISOR_INTERRUPT_ENABLE, options(nostack, preserves_flags));
    }
}

#[inline]
pub(crate) fn are_enabled() -> bool {
    let status: usize;
    // SAFETY: reads a register.
    unsafe { asm!("csrr {}, sstatus", out(reg) status, options(nomem, nostack, preserves_flags)) };
    status & SUPERVISOR_INTERRUPT_ENABLE != 0
}

/// `wfi` resumes for an interrupt that is enabled in `sie` even while `sstatus.SIE` masks it.
#[inline]
pub(crate) fn wait() {
    // SAFETY: `wfi` only waits.
    unsafe { asm!("wfi", options(nostack, preserves_flags)) };
}

/// Handles in place what is pending: nothing is interrupted, so there is nothing to save and to restore.
#[inline]
pub(crate) fn handle_pending() {
    let (pending, enabled): (usize, usize);
    // SAFETY: reads two registers.
    unsafe {
        asm!("csrr {}, sip", "csrr {}, sie", out(reg) pending, out(reg) enabled,
            options(nomem, nostack, preserves_flags));
    }
    trap::handle_pending(pending & enabled);
}

pub(crate) fn raise_software_interrupt(targets: HartMask) {
    for target in targets.iter() {
        // SAFETY: `hardware_id` was written before the hart came online and never changes.
        let hardware_id = unsafe { (*hart::local_of(target.index())).hardware_id };
        sbi_rt::send_ipi(sbi_rt::HartMask::from_mask_base(1, hardware_id));
    }
}

/// Clears the pending software interrupt of this hart.
#[inline]
pub(super) fn acknowledge_software_interrupt() {
    // SAFETY: SSIP is this hart's own and writable from supervisor mode.
    unsafe { asm!("csrci sip, 2", options(nostack, preserves_flags)) };
}
