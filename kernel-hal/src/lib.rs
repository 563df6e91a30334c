//! The machine contract: everything the kernel asks of the hardware, and nothing else.
//!
//! This is the only crate that knows RISC-V. Each module of the contract is implemented twice: by
//! [`riscv64`](self) for the bare machine and by a *host twin* for ordinary processes, so that every
//! crate above builds and tests with plain `cargo test`, under Miri, and in the deterministic simulator.
//!
//! Principles:
//! * Types first. An address is a [`PhysAddr`] or a [`VirtAddr`], a hart is a [`HartId`], a moment is an
//!   [`Instant`]; raw integers appear only at the edge.
//! * The contract has no policy. It does not allocate, it does not schedule, it never waits except for
//!   another hart's acknowledgement of a TLB flush.
//! * What must call upwards does so through the [`interrupt::Handlers`] registered once at boot.
//! * The host twin behaves like the machine where it can be observed: user memory is reached through the
//!   very page tables that the kernel built, by a software walk; time and interrupts are driven by the test.

#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
extern crate core as std;

mod address;
mod context;
#[cfg(test)]
mod fuzzing;
mod hart;
mod page_table_entry;
mod trap;

pub mod command_line;
pub mod device_tree;
pub mod interrupt;
pub mod machine_description;
pub mod memory_barrier;
pub mod preemption;
pub mod time;
pub mod tlb;
pub mod user_memory;

#[cfg(target_os = "none")]
#[path = "riscv64/mod.rs"]
mod backend;
#[cfg(not(target_os = "none"))]
#[path = "host/mod.rs"]
mod backend;

pub use address::{KERNEL_STACK_WINDOW, LINEAR_MAP, PAGE_SHIFT, PAGE_SIZE, PhysAddr, USER_END, VirtAddr};
pub use context::{FloatRegisters, UserContext};
pub use hart::{HartId, HartMask, MAX_HARTS, hart_word, set_hart_word};
pub use page_table_entry::{
    ENTRIES_PER_TABLE, LEVELS, PageFlags, PageTableEntry, index_at_level, page_size_at_level,
};
pub use time::Instant;
pub use trap::{Access, PageFault, TrapCause};

pub use backend::{console, memory, paging, power};

#[cfg(not(target_os = "none"))]
pub use backend::host;
#[cfg(target_os = "none")]
pub use backend::machine;
