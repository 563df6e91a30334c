//! Entering user mode as a function call, and the floating-point registers' lazy travel.
//!
//! The floating-point unit is off for a context that does not use it; the first use traps and turns it on. A context whose
//! registers were changed the last time that it had the hart has them loaded before it runs, one that left them alone
//! runs with the unit off again: most programs that use it do so seldom, and the registers are many. Each time the
//! unit is arranged for a context (turned off, or loaded) that arrangement gets a name which no other ever has, and both
//! the hart and the context keep it: a context that runs again where it ran last, with nobody in between, pays one
//! comparison.

use core::arch::{asm, naked_asm};
use core::mem::offset_of;

use super::hart::{self, FIRST_ARRANGEMENT, KERNEL_STACK_POINTER, SCRATCH, USER_CONTEXT};
use super::trap;
use crate::{Access, FloatRegisters, PageFault, TrapCause, UserContext, VirtAddr};

const PROGRAM_COUNTER: usize = offset_of!(UserContext, program_counter);
const FLOAT_CONTROL: usize = offset_of!(FloatRegisters, control);
const FLOAT_UNIT_STATE: usize = 0b11 << 13;
const FLOAT_UNIT_CLEAN: usize = 0b10 << 13;

const CAUSE_INTERRUPT: usize = 1 << 63;
const CAUSE_FETCH_MISALIGNED: usize = 0;
const CAUSE_FETCH_BUS_ERROR: usize = 1;
const CAUSE_ILLEGAL_INSTRUCTION: usize = 2;
const CAUSE_BREAKPOINT: usize = 3;
const CAUSE_LOAD_MISALIGNED: usize = 4;
const CAUSE_LOAD_BUS_ERROR: usize = 5;
const CAUSE_STORE_MISALIGNED: usize = 6;
const CAUSE_STORE_BUS_ERROR: usize = 7;
const CAUSE_USER_ECALL: usize = 8;
pub(super) const CAUSE_FETCH_PAGE_FAULT: usize = 12;
pub(super) const CAUSE_LOAD_PAGE_FAULT: usize = 13;
pub(super) const CAUSE_STORE_PAGE_FAULT: usize = 15;

#[inline]
pub(crate) fn run(context: &mut UserContext) -> TrapCause {
    loop {
        let local = hart::local();
        // SAFETY: `local` is this hart's own, and interrupts are off (the contract of `UserContext::run`).
        if unsafe { (*local).float_arrangement } != context.float_arrangement {
            arrange_float_unit(context);
        }
        let cause: usize;
        // SAFETY: interrupts are off, `tp` is right, and the context outlives the call. Of the registers that a function
        // keeps for its caller `enter_user` keeps `s0` and `s1`; the others are said to be lost.
        unsafe {
            asm!(
                "call {enter_user}",
                enter_user = sym enter_user,
                inlateout("a0") &raw mut *context => cause,
                lateout("s2") _, lateout("s3") _, lateout("s4") _, lateout("s5") _, lateout("s6") _,
                lateout("s7") _, lateout("s8") _, lateout("s9") _, lateout("s10") _, lateout("s11") _,
                clobber_abi("C"),
            );
        }
        if cause == CAUSE_USER_ECALL {
            return TrapCause::Syscall;
        }
        if let Some(cause) = classify(context, cause) {
            return cause;
        }
    }
}

/// Everything but a syscall. `None`: handled here, the program goes on.
#[inline(never)]
fn classify(context: &mut UserContext, cause: usize) -> Option<TrapCause> {
    let value: usize;
    // SAFETY: reads a register; no trap has come in between, interrupts are off.
    unsafe { asm!("csrr {}, stval", out(reg) value, options(nomem, nostack, preserves_flags)) };
    let fault = |access| PageFault { address: VirtAddr::new(value), access };
    Some(match cause {
        interrupt if interrupt & CAUSE_INTERRUPT != 0 => {
            trap::handle_interrupt(interrupt & !CAUSE_INTERRUPT);
            TrapCause::Interrupt
        }
        CAUSE_FETCH_PAGE_FAULT => TrapCause::PageFault(fault(Access::Execute)),
        CAUSE_LOAD_PAGE_FAULT => TrapCause::PageFault(fault(Access::Read)),
        CAUSE_STORE_PAGE_FAULT => TrapCause::PageFault(fault(Access::Write)),
        CAUSE_ILLEGAL_INSTRUCTION if float_unit_is_off() => {
            turn_float_unit_on(context);
            return None;
        }
        CAUSE_ILLEGAL_INSTRUCTION => TrapCause::IllegalInstruction { bits: value },
        CAUSE_BREAKPOINT => TrapCause::Breakpoint,
        CAUSE_FETCH_MISALIGNED => TrapCause::Misaligned(fault(Access::Execute)),
        CAUSE_LOAD_MISALIGNED => TrapCause::Misaligned(fault(Access::Read)),
        CAUSE_STORE_MISALIGNED => TrapCause::Misaligned(fault(Access::Write)),
        CAUSE_FETCH_BUS_ERROR => TrapCause::BusError(fault(Access::Execute)),
        CAUSE_LOAD_BUS_ERROR => TrapCause::BusError(fault(Access::Read)),
        CAUSE_STORE_BUS_ERROR => TrapCause::BusError(fault(Access::Write)),
        code => TrapCause::Unknown { code, value },
    })
}

fn float_unit_is_off() -> bool {
    let status: usize;
    // SAFETY: reads a register.
    unsafe { asm!("csrr {}, sstatus", out(reg) status, options(nomem, nostack, preserves_flags)) };
    status & FLOAT_UNIT_STATE == 0
}

fn set_float_unit_state(state: usize) {
    // SAFETY: the kernel itself never uses the unit; its state matters to user mode alone.
    unsafe {
        asm!("csrc sstatus, {}", in(reg) FLOAT_UNIT_STATE, options(nostack, preserves_flags));
        asm!("csrs sstatus, {}", in(reg) state, options(nostack, preserves_flags));
    }
}

#[cold]
fn arrange_float_unit(context: &mut UserContext) {
    if context.float_busy {
        set_float_unit_state(FLOAT_UNIT_CLEAN);
        // SAFETY: the unit is on; the previous owner's registers were saved when it stopped running.
        unsafe { load_float(&context.float) };
        set_float_unit_state(FLOAT_UNIT_CLEAN);
    } else {
        set_float_unit_state(0);
    }
    become_float_owner(context);
}

fn become_float_owner(context: &mut UserContext) {
    let local = hart::local();
    // SAFETY: this hart's own data.
    unsafe {
        (*local).float_owner = context;
        (*local).float_arrangement += FIRST_ARRANGEMENT;
        context.float_arrangement = (*local).float_arrangement;
    }
}

#[cold]
fn turn_float_unit_on(context: &mut UserContext) {
    context.float_busy = true;
    arrange_float_unit(context);
}

pub(crate) fn save_float(context: &mut UserContext) {
    let status: usize;
    // SAFETY: reads a register.
    unsafe { asm!("csrr {}, sstatus", out(reg) status, options(nomem, nostack, preserves_flags)) };
    // SAFETY: this hart's own data.
    let arrangement = unsafe { (*hart::local()).float_arrangement };
    if arrangement != context.float_arrangement {
        return;
    }
    context.float_busy = status & FLOAT_UNIT_STATE == FLOAT_UNIT_STATE;
    if context.float_busy {
        // SAFETY: the unit is on and holds this context's registers.
        unsafe { store_float(&mut context.float) };
        set_float_unit_state(FLOAT_UNIT_CLEAN);
    }
}

/// Saves what the unit holds for a program that is in the kernel now: others are about to run on this hart before its
/// thread, which was interrupted, goes on.
pub(crate) fn save_float_of_interrupted() {
    let status: usize;
    // SAFETY: reads a register.
    unsafe { asm!("csrr {}, sstatus", out(reg) status, options(nomem, nostack, preserves_flags)) };
    if status & FLOAT_UNIT_STATE == FLOAT_UNIT_STATE {
        let local = hart::local();
        // SAFETY: the unit has been written to since its owner's registers were saved last, so its owner's thread has not
        // waited or ended since: it is the one that was interrupted, and its context is in its future.
        // Before the first program there is none.
        unsafe {
            let owner = (*local).float_owner;
            if !owner.is_null() && (*owner).float_arrangement == (*local).float_arrangement {
                store_float(&raw mut (*owner).float);
            }
        }
        set_float_unit_state(FLOAT_UNIT_CLEAN);
    }
}

macro_rules! for_each_float_register {
    ($instruction:literal) => {
        concat!(
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n",
            $instruction,
            " f\\n, (8 * \\n)(a0)\n",
            ".endr"
        )
    };
}

#[unsafe(naked)]
unsafe extern "C" fn load_float(registers: *const FloatRegisters) {
    naked_asm!(
        ".option push",
        ".option arch, +f, +d",
        for_each_float_register!("fld"),
        "lw t0, {control}(a0)",
        "fscsr t0",
        "ret",
        ".option pop",
        control = const FLOAT_CONTROL,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn store_float(registers: *mut FloatRegisters) {
    naked_asm!(
        ".option push",
        ".option arch, +f, +d",
        for_each_float_register!("fsd"),
        "frcsr t0",
        "sw t0, {control}(a0)",
        "ret",
        ".option pop",
        control = const FLOAT_CONTROL,
    )
}

/// Lets the program run until it traps; returns `scause`. Not by the convention of calls: of the callee-saved registers only
/// two wait on the kernel stack.
#[unsafe(naked)]
unsafe extern "C" fn enter_user(context: *mut UserContext) -> usize {
    naked_asm!(
        "addi sp, sp, -32",
        "sd ra, 0(sp)",
        "sd s0, 8(sp)",
        "sd s1, 16(sp)",
        "sd sp, {kernel_stack_pointer}(tp)",
        "sd a0, {user_context}(tp)",
        "ld t0, {program_counter}(a0)",
        "csrw sscratch, tp",
        "csrw sepc, t0",
        ".irp n,1,2,3,4,5,6,7,8,9,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "ld x\\n, (8 * \\n)(a0)",
        ".endr",
        "ld a0, 80(a0)",
        "sret",
        kernel_stack_pointer = const KERNEL_STACK_POINTER,
        user_context = const USER_CONTEXT,
        program_counter = const PROGRAM_COUNTER,
    )
}

/// The other half of [`enter_user`]: the trap entry jumps here when the trap came from user mode, with `tp` already the
/// kernel's and the program's `tp` in `sscratch`.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn leave_user() -> usize {
    naked_asm!(
        "sd a0, {scratch}(tp)",
        "ld a0, {user_context}(tp)",
        ".irp n,1,2,3,5,6,7,8,9,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "sd x\\n, (8 * \\n)(a0)",
        ".endr",
        "csrrw t0, sscratch, zero",
        "ld t1, {scratch}(tp)",
        "csrr t2, sepc",
        "sd t0, 32(a0)",
        "sd t1, 80(a0)",
        "sd t2, {program_counter}(a0)",
        "csrr a0, scause",
        "ld sp, {kernel_stack_pointer}(tp)",
        "ld ra, 0(sp)",
        "ld s0, 8(sp)",
        "ld s1, 16(sp)",
        "addi sp, sp, 32",
        "ret",
        kernel_stack_pointer = const KERNEL_STACK_POINTER,
        user_context = const USER_CONTEXT,
        scratch = const SCRATCH,
        program_counter = const PROGRAM_COUNTER,
    )
}
