//! The host twin: an ordinary process plays the machine.
//!
//! Physical memory is one leaked allocation; a virtual hart is whatever thread says it is one; interrupts are a flag;
//! time is the host's clock until a test takes it over. See [`host`] for what tests steer.

pub(crate) mod context;
pub(crate) mod hart;
pub(crate) mod interrupt;
pub(crate) mod time;
pub(crate) mod user_memory;

pub mod console;
pub mod memory;
pub mod paging;
pub mod power;

/// What only tests and the simulator may do: play the hardware.
pub mod host {
    pub use super::context::set_user_program;
    pub use super::hart::{become_hart, set_online_harts};
    pub use super::interrupt::software_interrupt_pending;
    pub use super::memory::reserve_pages;
    pub use super::time::{VirtualTime, alarm_of};
}
