//! Serial ports: bytes in, bytes out.
//!
//! The port moves bytes and knows nothing of lines or terminals. Received bytes wait in the driver until they are
//! read; sent ones are accepted as long as there is room. Both sides are plain attempts plus a queue to wait on, so
//! that a terminal can be polled, read and written by anybody.

mod faulty;
mod ns16550;

pub use faulty::{FaultySerial, SerialFaults};
pub use ns16550::{MmioRegisters, Ns16550, UartRegisters};

use ksync::WaitQueue;

/// What a serial port has moved and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SerialStatistics {
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes that were lost because nobody read them in time.
    pub lost: u64,
    /// Things that the device did and should not have done.
    pub bogus: u64,
}

/// A serial port.
pub trait SerialPort: Send + Sync {
    /// Takes what was received, as much as fits; 0 if there is nothing.
    fn try_read(&self, destination: &mut [u8]) -> usize;

    /// Accepts bytes for sending, as many as there is room for; 0 if there is none.
    fn try_write(&self, bytes: &[u8]) -> usize;

    /// Whether [`SerialPort::try_read`] would return something.
    fn is_readable(&self) -> bool;

    /// Whether [`SerialPort::try_write`] would accept something.
    fn is_writable(&self) -> bool;

    /// Whether everything that was accepted has been sent.
    fn is_drained(&self) -> bool;

    /// Woken when there is something to read.
    fn readable(&self) -> &WaitQueue;

    /// Woken when there is room to write, and when everything was sent.
    fn writable(&self) -> &WaitQueue;

    /// Sends bytes now, waiting by polling, without locks or interrupts: for a kernel that is about to end. What was
    /// accepted before may be overtaken or lost. Gives up on a device that does not move.
    fn write_polled(&self, bytes: &[u8]);

    /// What the port has moved and lost.
    fn statistics(&self) -> SerialStatistics;
}

impl dyn SerialPort + '_ {
    /// Waits until something was received and takes as much as fits. An empty destination is not waited for.
    pub async fn read(&self, destination: &mut [u8]) -> usize {
        if destination.is_empty() {
            return 0;
        }
        self.readable().wait_until(|| Some(self.try_read(destination)).filter(|&count| count > 0)).await
    }

    /// Accepts all bytes, waiting for room.
    pub async fn write_all(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count =
                self.writable().wait_until(|| Some(self.try_write(bytes)).filter(|&count| count > 0)).await;
            bytes = &bytes[count..];
        }
    }

    /// Waits until everything that was accepted has been sent.
    pub async fn drain(&self) {
        self.writable().wait_until(|| self.is_drained().then_some(())).await;
    }
}
