//! Kernel stacks: few, since a waiting thread owns none. Each lies in the upper half of an aligned slot of the stack
//! window; the lower half is never mapped, so an overflow faults, and one bit of the stack pointer tells the trap entry.

use core::arch::naked_asm;

use super::{boot, hart, kernel_space};
use crate::{HartId, KERNEL_STACK_WINDOW, MAX_HARTS, PAGE_SIZE, PhysAddr, VirtAddr};

/// Bytes in one stack.
pub(super) const STACK_SIZE: usize = 64 << 10;
const SLOT_SIZE: usize = 2 * STACK_SIZE;

/// What a stack is for. Each hart has one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Purpose {
    Executor,
    FirstPreemption,
    SecondPreemption,
    Emergency,
}

const PURPOSES: usize = 4;
pub(super) const WINDOW_SIZE: usize = MAX_HARTS * PURPOSES * SLOT_SIZE;

/// The address just above a stack.
pub(super) fn top(hart: HartId, purpose: Purpose) -> usize {
    let slot = hart.index() * PURPOSES + purpose as usize;
    KERNEL_STACK_WINDOW + (slot + 1) * SLOT_SIZE
}

/// Maps all stacks of a hart. `None`: out of memory.
pub(super) fn map_all(hart: HartId, allocate: &mut dyn FnMut() -> Option<PhysAddr>) -> Option<()> {
    let purposes =
        [Purpose::Executor, Purpose::FirstPreemption, Purpose::SecondPreemption, Purpose::Emergency];
    for purpose in purposes {
        let bottom = top(hart, purpose) - STACK_SIZE;
        for offset in (0..STACK_SIZE).step_by(PAGE_SIZE) {
            kernel_space::map_stack_page(VirtAddr::new(bottom + offset), allocate()?);
        }
    }
    Some(())
}

/// Whether the address is inside a kernel stack that is mapped: the boot hart's first one, or one of the window.
pub(super) fn contain(address: usize) -> bool {
    if address & STACK_SIZE == 0 {
        return false;
    }
    let Some(offset) = address.checked_sub(KERNEL_STACK_WINDOW).filter(|&offset| offset < WINDOW_SIZE) else {
        return boot::first_stack().contains(&address);
    };
    let hart = offset / (PURPOSES * SLOT_SIZE);
    // SAFETY: written once, before the hart starts; an aligned word cannot be torn.
    unsafe { (&raw const (*hart::local_of(hart)).boot_stack_top).read_volatile() != 0 }
}

/// Calls `function` on the stack whose top is `stack_top`, and comes back.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn call_on_stack(function: extern "C" fn(), stack_top: usize) {
    naked_asm!(
        "addi sp, sp, -16",
        "sd ra, 0(sp)",
        "sd s0, 8(sp)",
        "mv s0, sp",
        // For backtraces: the caller's frame is found through s0, whatever the stack.
        ".cfi_startproc",
        ".cfi_def_cfa s0, 16",
        ".cfi_offset ra, -16",
        ".cfi_offset s0, -8",
        "mv sp, a1",
        "jalr a0",
        "mv sp, s0",
        "ld ra, 0(sp)",
        "ld s0, 8(sp)",
        "addi sp, sp, 16",
        "ret",
        ".cfi_endproc",
    )
}
