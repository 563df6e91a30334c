//! Devices behind small traits.
//!
//! * [`serial::SerialPort`]: the NS16550 UART and the virtio console.
//! * [`block::BlockDevice`]: the virtio disk.
//! * [`network::NetworkDevice`]: the virtio network card.
//! * [`entropy::EntropySource`]: the virtio entropy device.
//!
//! Principles:
//! * **The device is hostile.** What it writes (ring indices, lengths, status bytes, configuration) is checked before
//!   it is used; nothing a device does makes the kernel panic, loop, or touch memory that is not the device's.
//! * **A device works on memory that it owns.** What a request needs stays in the driver until the device has answered,
//!   whoever still waits. A future that waits for a request may be dropped at any time.
//! * **Interrupt handlers acknowledge, collect, wake.** They take the device's one lock, and wake after releasing it.
//! * **No allocation per request.** What requests need is set aside when the device is found.
//! * Each trait has a wrapper that injects faults, so that what is above can be tested against bad devices.
//!
//! On the host, [`model`] plays the device side, so the drivers run under plain `cargo test`.
//!
//! `unsafe` is for registers and for memory shared with devices, and nowhere else.

#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;
#[cfg(target_os = "none")]
extern crate core as std;

pub mod block;
pub mod entropy;
pub mod interrupt_registry;
#[cfg(not(target_os = "none"))]
pub mod model;
pub mod network;
pub mod probe;
pub mod random;
pub mod real_time_clock;
pub mod serial;
pub mod virtio;

mod byte_ring;

pub use interrupt_registry::{InterruptHandler, InterruptRegistry};
