//! The device side of virtio, for tests on the host: a transport without hardware, rings read and written from the
//! other end, and devices that can be slow, faulty or hostile.
//!
//! Nothing happens by itself: a test decides when the device looks at its queues, which request it answers next, and
//! when its interrupt is delivered.

mod disk;
mod queue;
mod transport;

pub use disk::{DiskFaults, DiskModel};
pub use queue::Chain;
pub use transport::{DeviceModel, ModelTransport};
