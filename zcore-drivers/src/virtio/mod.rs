//! Virtio drivers, on the transports of the `virtio-drivers` crate and a split ring of our own.
//!
//! The crate's `VirtQueue` is not used, for these reasons: it allocates an indirect table per request; its
//! notification test compares the available index with `>=`, which fails when the index wraps; it writes the used
//! event after every single completion and has no other way to hold interrupts back; and it panics when a device
//! returns a descriptor twice. See [`split_queue`] for ours.

pub mod block;
pub mod console;
pub mod entropy;
pub mod network;
pub mod split_queue;

use std::fmt;

use bitflags::bitflags;
use kernel_object::frame::{ContiguousFrames, FrameKind, OutOfMemory};
use virtio_drivers::transport::{DeviceStatus, Transport};

bitflags! {
    /// Features that belong to the ring and the transport, the same for all devices.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct RingFeatures: u64 {
        /// A descriptor may point at a table of descriptors.
        const INDIRECT_DESCRIPTORS = 1 << 28;
        /// Either side says at which index it wants to be told.
        const EVENT_INDEX = 1 << 29;
        /// The device follows version 1 of the specification.
        const VERSION_1 = 1 << 32;
    }
}

/// Why a virtio device cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtioError {
    /// The device did not accept the features that it offered.
    FeaturesRefused,
    /// A queue is missing, too small, or in use.
    BadQueue(u16),
    /// The configuration space is too small or never holds still.
    BadConfiguration,
    /// There is no memory for the device's rings and buffers.
    OutOfMemory,
}

impl fmt::Display for VirtioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FeaturesRefused => write!(f, "the device refuses the features that it offers"),
            Self::BadQueue(queue) => write!(f, "the device's queue {queue} cannot be used"),
            Self::BadConfiguration => write!(f, "the device's configuration cannot be read"),
            Self::OutOfMemory => write!(f, "out of memory"),
        }
    }
}

impl From<OutOfMemory> for VirtioError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// All bits, as the crate's `begin_init` wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FeatureBits(u64);

bitflags! {
    impl FeatureBits: u64 {
        const _ = !0;
    }
}

/// Resets the device and agrees on features: those of `wanted` that it offers.
pub(crate) fn negotiate<T: Transport>(transport: &mut T, wanted: u64) -> Result<u64, VirtioError> {
    let wanted = FeatureBits::from_bits_retain(wanted | RingFeatures::all().bits());
    let agreed = transport.begin_init(wanted).bits();
    let accepted = transport.get_status().contains(DeviceStatus::FEATURES_OK);
    // Before version 1 there was no such answer.
    if agreed & RingFeatures::VERSION_1.bits() != 0 && !accepted {
        transport.set_status(DeviceStatus::FAILED);
        return Err(VirtioError::FeaturesRefused);
    }
    Ok(agreed)
}

/// Reads several fields of the configuration as of one moment. A device that never holds still is given up.
pub(crate) fn read_configuration<T: Transport, R>(
    transport: &T,
    read: impl Fn(&T) -> virtio_drivers::Result<R>,
) -> Result<R, VirtioError> {
    const ATTEMPTS: usize = 16;
    for _ in 0..ATTEMPTS {
        let before = transport.read_config_generation();
        let result = read(transport);
        if transport.read_config_generation() == before {
            return result.map_err(|_| VirtioError::BadConfiguration);
        }
    }
    Err(VirtioError::BadConfiguration)
}

/// Zeroed memory for rings and buffers.
pub(crate) fn allocate_shared_memory(bytes: usize) -> Result<ContiguousFrames, VirtioError> {
    let pages = bytes.div_ceil(kernel_hal::PAGE_SIZE);
    Ok(ContiguousFrames::allocate_zeroed(pages, kernel_hal::PAGE_SIZE, FrameKind::Device)?)
}
