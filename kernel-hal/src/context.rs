//! A user thread's registers, and the call that lets them run.

use core::mem::offset_of;

use crate::{TrapCause, VirtAddr, backend};

/// The floating-point registers (the D extension) as they stand in memory while no hart holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FloatRegisters {
    /// f0 to f31, as bits.
    pub registers: [u64; 32],
    /// fcsr: rounding mode and exception flags.
    pub control: u32,
    /// What a signal frame has there, without a meaning.
    padding: u32,
}

/// Everything a user thread has in its hart while it runs.
///
/// The integer registers and the program counter are always current here between two stays in user mode. The
/// floating-point registers may still be in a hart: they are current here only after
/// [`UserContext::save_float`], which the owner must call before the thread may run on another hart or before
/// it reads [`UserContext::float`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct UserContext {
    /// x1 to x31 at their own index; index 0 (x0 is not a register) holds nothing.
    pub registers: [usize; 32],
    /// The floating-point registers; see the type's comment.
    pub float: FloatRegisters,
    /// The program counter.
    pub program_counter: usize,
    /// Names the arrangement of a hart's floating-point unit for this context, of which the hart keeps the name of its
    /// last one; 0 for none.
    pub(crate) float_arrangement: u64,
    /// Whether it changed them the last time that it had a hart: then they are loaded before it runs again, and not only
    /// when it uses them.
    pub(crate) float_busy: bool,
}

impl UserContext {
    /// Size of [`UserContext::image`].
    pub const IMAGE_BYTES: usize = {
        let float = offset_of!(Self, float);
        assert!(
            float == offset_of!(Self, registers) + size_of::<[usize; 32]>()
                && offset_of!(Self, registers) == 0
        );
        float + size_of::<FloatRegisters>()
    };

    /// Index of the return address register.
    pub const RA: usize = 1;
    /// Index of the stack pointer.
    pub const SP: usize = 2;
    /// Index of the thread pointer.
    pub const TP: usize = 4;
    /// Index of the first argument and result register.
    pub const A0: usize = 10;
    /// Index of the register that carries the syscall number.
    pub const A7: usize = 17;

    /// Registers for a program that starts at `entry` with its stack at `stack`, everything else zero.
    pub fn new(entry: VirtAddr, stack: VirtAddr) -> Self {
        let mut context = Self { program_counter: entry.as_usize(), ..Self::default() };
        context.registers[Self::SP] = stack.as_usize();
        context
    }

    /// Copies all registers of a thread whose floating-point registers are saved.
    #[inline(always)]
    pub fn duplicate(&self) -> Self {
        Self {
            registers: self.registers,
            program_counter: self.program_counter,
            float: self.float.clone(),
            float_arrangement: 0,
            float_busy: self.float_busy,
        }
    }

    /// Lets the thread find the floating-point unit on when it runs first: it is known to use it at once, and the trap by
    /// which a use is noticed costs more than to load the registers.
    pub fn expect_float_use(&mut self) {
        self.float_busy = true;
    }

    /// Number of the requested syscall.
    #[inline]
    pub fn syscall_number(&self) -> usize {
        self.registers[Self::A7]
    }

    /// The six syscall arguments.
    #[inline]
    pub fn syscall_arguments(&self) -> [usize; 6] {
        let [.., a0, a1, a2, a3, a4, a5] = self.registers[..16] else { unreachable!() };
        [a0, a1, a2, a3, a4, a5]
    }

    /// Sets what the syscall returns.
    #[inline]
    pub fn set_syscall_result(&mut self, value: usize) {
        self.registers[Self::A0] = value;
    }

    /// Steps over the `ecall` that caused the trap.
    #[inline]
    pub fn skip_syscall_instruction(&mut self) {
        self.program_counter += 4;
    }

    /// Runs the thread in user mode until something happens, and says what.
    ///
    /// Must be called with interrupts off, and returns with interrupts off, on the same hart: whoever decides
    /// to enter user mode must not lose the interrupt that would have changed the decision. The active page
    /// tables are the caller's choice ([`crate::paging::activate`]). Interrupts that arrive meanwhile are
    /// handled before this returns [`TrapCause::Interrupt`].
    #[inline]
    pub fn run(&mut self) -> TrapCause {
        backend::context::run(self)
    }

    /// Brings [`UserContext::float`] up to date if this hart holds newer values. To be called on the hart
    /// where the thread last ran, before the thread can run elsewhere.
    #[inline]
    pub fn save_float(&mut self) {
        backend::context::save_float(self);
    }

    /// The integer registers, then f0 to f31 and fcsr, as one image: what a signal frame has side by side. The
    /// floating-point registers in it are those of [`UserContext::float`].
    #[inline]
    pub fn image(&self) -> &[u8; Self::IMAGE_BYTES] {
        // SAFETY: the first two fields of a `repr(C)` structure, of which the image is the beginning, are integers
        // without padding between or before them; the lengths are checked where the constant is.
        unsafe { &*(&raw const *self).cast() }
    }

    /// As [`UserContext::image`], to be overwritten. [`UserContext::float_replaced`] must be called afterwards.
    #[inline]
    pub fn image_mut(&mut self) -> &mut [u8; Self::IMAGE_BYTES] {
        // SAFETY: as in `image`; every pattern of bits is a value of an integer.
        unsafe { &mut *(&raw mut *self).cast() }
    }

    /// Forgets what any hart may hold of the floating-point registers: [`UserContext::float`] was replaced.
    pub fn float_replaced(&mut self) {
        self.float_arrangement = 0;
        self.float_busy = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syscall_arguments_are_a0_to_a5() {
        let mut context = UserContext::default();
        for (index, register) in context.registers.iter_mut().enumerate() {
            *register = index;
        }
        assert_eq!(context.syscall_arguments(), [10, 11, 12, 13, 14, 15]);
        assert_eq!(context.syscall_number(), 17);
    }
}
