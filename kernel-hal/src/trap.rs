//! What ended a stay in user mode.

use crate::VirtAddr;

/// The kind of access that faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// A load.
    Read,
    /// A store or an atomic read-modify-write.
    Write,
    /// An instruction fetch.
    Execute,
}

/// An access that the page tables do not allow (yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageFault {
    /// The faulting address.
    pub address: VirtAddr,
    /// What was attempted there.
    pub access: Access,
}

/// Why [`UserContext::run`](crate::UserContext::run) returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapCause {
    /// The program executed `ecall`; the program counter still points at it.
    Syscall,
    /// The program touched memory that its page tables do not allow.
    PageFault(PageFault),
    /// A timer, inter-hart or device interrupt; its handler has already run.
    Interrupt,
    /// An instruction that the machine does not know or that is privileged.
    IllegalInstruction {
        /// The instruction's bits as the machine reports them; 0 if it does not.
        bits: usize,
    },
    /// `ebreak`.
    Breakpoint,
    /// An access whose alignment the machine does not support.
    Misaligned(PageFault),
    /// The bus refused the access: no such physical memory.
    BusError(PageFault),
    /// A cause that the contract has no name for.
    Unknown {
        /// The machine's cause code.
        code: usize,
        /// The machine's trap value.
        value: usize,
    },
}
