//! Network cards: Ethernet frames out and in.

mod faulty;

use alloc::vec::Vec;

pub use faulty::{FaultyNetwork, NetworkFaults};
use ksync::WaitQueue;

/// What a card is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkInformation {
    /// Its Ethernet address.
    pub address: [u8; 6],
    /// The largest packet, without the Ethernet header.
    pub mtu: usize,
}

/// A frame that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// The device has verified the sums above IP, or the frame never was on a wire.
    pub is_verified: bool,
}

/// A network card.
pub trait NetworkDevice: Send + Sync {
    /// What it is.
    fn information(&self) -> NetworkInformation;

    /// Sends a frame, Ethernet header first; false if there is no room, in which case [`NetworkDevice::changed`] is woken when
    /// there is.
    fn transmit(&self, frame: &[u8]) -> bool;

    /// The next frame that came in.
    fn receive(&self) -> Option<Frame>;

    /// Woken when frames came in, or there is room again.
    fn changed(&self) -> &WaitQueue;
}
