//! What the kernel puts on a user stack to run a signal handler: `rt_sigframe` of riscv64.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::signal::{SignalSet, SignalStack};
use crate::signal_info::UserSignalInfo;
use crate::table::layout;

/// `struct user_regs_struct`: the program counter, then x1 to x31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UserRegisters {
    pub pc: u64,
    /// x1 to x31, so register n is at index n-1.
    pub x: [u64; 31],
}

layout!(USER_REGISTERS_LAYOUT = "struct user_regs_struct": UserRegisters, 256 { pc: 0 });
layout!(UserRegisters, 256 { x: 8 });

/// The floating-point part of a signal context: `struct __riscv_d_ext_state` in the union's 528 bytes, followed by the
/// header of the (absent) extensions: a magic and a size of zero end their list.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(16))]
pub struct FloatingPointContext {
    pub f: [u64; 32],
    pub fcsr: u32,
    unused: [u32; 64],
    /// Must be zero at `rt_sigreturn`.
    pub reserved: u32,
    /// Zero: the end of the list of extensions.
    pub extension_magic: u32,
    /// Zero, with the end of the list.
    pub extension_size: u32,
}

layout!(FLOATING_POINT_LAYOUT = "union __riscv_fp_state": FloatingPointContext, 528 {});
layout!(FloatingPointContext, 528 { f: 0, fcsr: 256, reserved: 516, extension_magic: 520, extension_size: 524 });

impl Default for FloatingPointContext {
    fn default() -> Self {
        Self { f: [0; 32], fcsr: 0, unused: [0; 64], reserved: 0, extension_magic: 0, extension_size: 0 }
    }
}

/// `struct sigcontext`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignalContext {
    pub sc_regs: UserRegisters,
    pub sc_fpregs: FloatingPointContext,
}

layout!(SIGNAL_CONTEXT_LAYOUT = "struct sigcontext": SignalContext, 784 { sc_regs: 0, sc_fpregs: 256 });

/// `struct ucontext`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UserContextFrame {
    pub uc_flags: u64,
    pub uc_link: u64,
    pub uc_stack: SignalStack,
    pub uc_sigmask: SignalSet,
    unused: [u8; 120],
    padding_before_context: u64,
    pub uc_mcontext: SignalContext,
}

layout!(UCONTEXT_LAYOUT = "struct ucontext": UserContextFrame, 960 {
    uc_flags: 0, uc_link: 8, uc_stack: 16, uc_sigmask: 40, uc_mcontext: 176,
});

impl UserContextFrame {
    /// The frame for a thread interrupted with these registers, this mask and this alternate stack.
    pub fn new(context: SignalContext, blocked: SignalSet, stack: SignalStack) -> Self {
        Self {
            uc_flags: 0,
            uc_link: 0,
            uc_stack: stack,
            uc_sigmask: blocked,
            unused: [0; 120],
            padding_before_context: 0,
            uc_mcontext: context,
        }
    }
}

/// `struct rt_sigframe`: what lies at the stack pointer when a handler starts. A handler gets the addresses of both
/// members.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignalFrame {
    pub info: UserSignalInfo,
    pub uc: UserContextFrame,
}

layout!(SignalFrame, 1088 { info: 0, uc: 128 });
const _: () = assert!(align_of::<SignalFrame>() == 16);
