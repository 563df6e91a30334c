//! The RISC-V backend: RV64 with Sv39, supervisor mode under an SBI firmware.
//!
//! Register conventions while the kernel runs: `tp` points at this hart's [`hart::HartLocal`], `sscratch` is zero, and
//! the kernel uses neither `gp` nor the floating-point registers. While user mode runs, `sscratch` holds the
//! `HartLocal` and everything else belongs to the program.

pub(crate) mod context;
pub(crate) mod hart;
pub(crate) mod interrupt;
pub(crate) mod time;
pub(crate) mod user_memory;

mod boot;
mod kernel_space;
mod memory_functions;
mod plic;
mod stacks;
mod trap;

pub mod console;
pub mod machine;
pub mod memory;
pub mod paging;
pub mod power;
