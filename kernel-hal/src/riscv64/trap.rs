//! The one trap vector, and what happens to traps taken while the kernel runs.

use core::arch::{asm, global_asm, naked_asm};

use super::context::{self, CAUSE_FETCH_PAGE_FAULT, CAUSE_LOAD_PAGE_FAULT, CAUSE_STORE_PAGE_FAULT};
use super::hart::{self, EMERGENCY_STACK_TOP, SCRATCH};
use super::stacks::STACK_SIZE;
use super::{interrupt, plic};
use crate::{USER_END, interrupt as contract};

const INTERRUPT_SOFTWARE: usize = 1;
const INTERRUPT_TIMER: usize = 5;
const INTERRUPT_EXTERNAL: usize = 9;

const PREVIOUS_MODE_SUPERVISOR: usize = 1 << 8;
const USER_MEMORY_ACCESS: usize = 1 << 18;

/// The caller-saved registers of interrupted kernel code. The callee-saved ones are kept by the handlers, as by any
/// function.
#[repr(C)]
#[derive(Debug)]
pub struct KernelTrapFrame {
    /// ra, t0 to t6, a0 to a7.
    pub registers: [usize; 16],
    /// Where the trap was taken.
    pub program_counter: usize,
    /// The status register as it was.
    pub status: usize,
}

const FRAME_SIZE: usize = size_of::<KernelTrapFrame>();
const FRAME_A0: usize = 8;

#[unsafe(naked)]
unsafe extern "C" fn trap_entry() {
    naked_asm!(
        ".balign 4",
        // For backtraces: from here on, whoever was interrupted is the caller. Register 64 stands for its counter.
        ".cfi_startproc",
        ".cfi_signal_frame",
        ".cfi_return_column 64",
        ".cfi_def_cfa sp, {frame_size}",
        ".cfi_offset ra, 0 - {frame_size}",
        ".cfi_offset 64, 128 - {frame_size}",
        // From user mode `sscratch` holds the hart's data, from the kernel zero.
        "csrrw tp, sscratch, tp",
        "beqz tp, 2f",
        "j {leave_user}",
        "2:",
        "csrrw tp, sscratch, zero",
        // A kernel stack is the upper half of an aligned slot: below it this bit is clear.
        "addi sp, sp, -{frame_size}",
        "sd t0, {scratch}(tp)",
        "srli t0, sp, {stack_bit}",
        "andi t0, t0, 1",
        "beqz t0, 1f",
        "ld t0, {scratch}(tp)",
        "sd ra, 0(sp)",
        ".irp n,0,1,2",
        "sd t\\n, (8 + 8 * \\n)(sp)",
        ".endr",
        ".irp n,3,4,5,6",
        "sd t\\n, (8 + 8 * \\n)(sp)",
        ".endr",
        ".irp n,0,1,2,3,4,5,6,7",
        "sd a\\n, (64 + 8 * \\n)(sp)",
        ".endr",
        "csrr t0, sepc",
        "csrr t1, sstatus",
        "sd t0, 128(sp)",
        "sd t1, 136(sp)",
        "mv a0, sp",
        "csrr a1, scause",
        "csrr a2, stval",
        "call {kernel_trap}",
        "ld t0, 128(sp)",
        "ld t1, 136(sp)",
        "csrw sepc, t0",
        "csrw sstatus, t1",
        "ld ra, 0(sp)",
        ".irp n,0,1,2,3,4,5,6",
        "ld t\\n, (8 + 8 * \\n)(sp)",
        ".endr",
        ".irp n,0,1,2,3,4,5,6,7",
        "ld a\\n, (64 + 8 * \\n)(sp)",
        ".endr",
        "addi sp, sp, {frame_size}",
        "sret",
        "1:",
        "mv a0, sp",
        "csrr a1, sepc",
        "csrr a2, scause",
        // Nobody goes back: these are free, and tell a backtrace where the overflowed stack is.
        "mv s0, sp",
        "mv s1, ra",
        "mv s2, a1",
        ".cfi_def_cfa s0, {frame_size}",
        ".cfi_register ra, s1",
        ".cfi_register 64, s2",
        "ld sp, {emergency_stack_top}(tp)",
        "call {stack_overflow}",
        "unimp",
        ".cfi_endproc",
        leave_user = sym context::leave_user,
        kernel_trap = sym kernel_trap,
        stack_overflow = sym stack_overflow,
        frame_size = const FRAME_SIZE,
        scratch = const SCRATCH,
        stack_bit = const STACK_SIZE.trailing_zeros(),
        emergency_stack_top = const EMERGENCY_STACK_TOP,
    )
}

/// Points this hart's traps at the entry and enables the three kinds of interrupts (all still masked).
pub(super) fn install() {
    let entry = trap_entry as *const () as usize;
    let enabled: usize = 1 << INTERRUPT_SOFTWARE | 1 << INTERRUPT_TIMER | 1 << INTERRUPT_EXTERNAL;
    // SAFETY: the entry handles every trap; the rest are this hart's own mode registers. SPP is cleared and SPIE set:
    // from then on every trap's end leaves them so, as entering user mode needs.
    unsafe {
        asm!("csrw sscratch, zero", "csrw stvec, {}", "csrw sie, {}", in(reg) entry, in(reg) enabled);
    }
    prepare_status_for_user_entry();
    super::time::open_counters_to_programs();
}

fn prepare_status_for_user_entry() {
    // SAFETY: these bits matter only at the next `sret`, which is user entry or a trap's end that reloads them.
    unsafe {
        asm!("csrc sstatus, {}", in(reg) PREVIOUS_MODE_SUPERVISOR | USER_MEMORY_ACCESS);
        asm!("csrs sstatus, {}", in(reg) 1usize << 5);
    }
}

/// Runs the handlers of all interrupts in a set, which has a bit for each number.
#[inline]
pub(super) fn handle_pending(pending: usize) {
    for number in [INTERRUPT_TIMER, INTERRUPT_SOFTWARE, INTERRUPT_EXTERNAL] {
        if pending & 1 << number != 0 {
            handle_interrupt(number);
        }
    }
}

/// Runs the handler of an interrupt, wherever it was taken.
pub(super) fn handle_interrupt(number: usize) {
    let Some(handlers) = contract::handlers() else { return };
    match number {
        INTERRUPT_TIMER => (handlers.timer)(),
        INTERRUPT_SOFTWARE => {
            interrupt::acknowledge_software_interrupt();
            contract::serve_mailbox();
        }
        INTERRUPT_EXTERNAL => {
            while let Some(line) = plic::claim() {
                (handlers.external)(line);
                plic::complete(line);
            }
        }
        _ => {}
    }
}

extern "C" fn kernel_trap(frame: &mut KernelTrapFrame, cause: usize, value: usize) {
    if cause >> 63 != 0 {
        handle_interrupt(cause & (usize::MAX >> 1));
        if hart::preempt_count() == 0
            && let Some(handlers) = contract::handlers()
        {
            prepare_status_for_user_entry();
            (handlers.preemption_point)();
        }
        return;
    }
    let is_page_fault =
        matches!(cause, CAUSE_FETCH_PAGE_FAULT | CAUSE_LOAD_PAGE_FAULT | CAUSE_STORE_PAGE_FAULT);
    if is_page_fault
        && value < USER_END
        && let Some(landing) = find_landing(frame.program_counter)
    {
        frame.program_counter = landing;
        // The landing code takes the faulting address in t0, the second saved register.
        frame.registers[1] = value;
        return;
    }
    panic!(
        "trap in the kernel: {} at {:#x}, value {value:#x}, ra {:#x}, a0 {:#x}",
        cause_name(cause),
        frame.program_counter,
        frame.registers[0],
        frame.registers[FRAME_A0],
    );
}

extern "C" fn stack_overflow(stack_pointer: usize, program_counter: usize, cause: usize) -> ! {
    panic!("kernel stack overflow: sp {stack_pointer:#x} at {program_counter:#x} ({})", cause_name(cause));
}

fn cause_name(cause: usize) -> &'static str {
    match cause {
        0 => "misaligned instruction fetch",
        1 => "instruction bus error",
        2 => "illegal instruction",
        3 => "breakpoint",
        4 => "misaligned load",
        5 => "load bus error",
        6 => "misaligned store",
        7 => "store bus error",
        12 => "instruction page fault",
        13 => "load page fault",
        15 => "store page fault",
        _ => "unexpected cause",
    }
}

/// An instruction range that may fault on user memory, and where to go on if it does.
#[repr(C)]
struct Landing {
    start: usize,
    end: usize,
    landing: usize,
}

global_asm!(".pushsection .exception_table, \"a\"", ".balign 8", ".popsection",);

unsafe extern "C" {
    static __exception_table_start: [Landing; 0];
    static __exception_table_end: [Landing; 0];
}

fn find_landing(program_counter: usize) -> Option<usize> {
    let start = (&raw const __exception_table_start).cast::<Landing>();
    let end = (&raw const __exception_table_end).cast::<Landing>();
    // SAFETY: the linker script puts the table's entries between the two symbols.
    let table = unsafe { core::slice::from_raw_parts(start, end.offset_from_unsigned(start)) };
    let entry = table.iter().find(|entry| (entry.start..entry.end).contains(&program_counter))?;
    Some(entry.landing)
}
