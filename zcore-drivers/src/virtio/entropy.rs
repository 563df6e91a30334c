//! The virtio entropy device.
//!
//! One buffer goes back and forth. What the device gave is copied out of shared memory at once, so that it cannot be
//! read or changed later, and every byte is handed out once.

use std::fmt;

use kernel_object::frame::ContiguousFrames;
use ksync::{Rank, SpinLock, WaitQueue};
use virtio_drivers::transport::Transport;

use super::split_queue::{DEVICE_WRITES, Descriptor, RingBroken, SplitQueue};
use super::{RingFeatures, VirtioError, allocate_shared_memory, negotiate};
use crate::InterruptHandler;
use crate::entropy::EntropySource;

const QUEUE: u16 = 0;
const QUEUE_SIZE: u16 = 8;
const HEAD: u16 = 0;
const BUFFER_BYTES: usize = 256;

/// A virtio entropy device.
pub struct VirtioEntropy<T: Transport> {
    core: SpinLock<Core<T>>,
    available: WaitQueue,
}

struct Core<T: Transport> {
    /// Dropped first: that resets the device, so that it lets go of the memory below.
    transport: T,
    queue: SplitQueue,
    shared: ContiguousFrames,
    /// What was received; the last `left` bytes have not been handed out.
    pool: [u8; BUFFER_BYTES],
    left: usize,
    with_device: bool,
    broken: bool,
}

impl<T: Transport> Core<T> {
    /// Asks for bytes if there are none and none are on their way.
    fn request_if_empty(&mut self) {
        if self.left > 0 || self.with_device || self.broken {
            return;
        }
        self.with_device = true;
        let address = self.shared.address().as_usize() as u64;
        let descriptor = Descriptor { address, bytes: BUFFER_BYTES as u32, flags: DEVICE_WRITES, next: 0 };
        // SAFETY: the buffer lives as long as the device and is read only after it came back.
        unsafe { self.queue.write_descriptor(HEAD, descriptor) };
        self.queue.offer(HEAD);
        if self.queue.should_notify() {
            kernel_hal::memory_barrier::before_device_access();
            self.transport.notify(QUEUE);
        }
    }

    /// Collects the buffer if it came back. Returns whether there are bytes to hand out.
    fn collect(&mut self) -> bool {
        while !self.broken {
            match self.queue.pop() {
                Ok(Some(entry)) if self.with_device && entry.head == u32::from(HEAD) => {
                    self.with_device = false;
                    self.left = (entry.bytes as usize).min(BUFFER_BYTES);
                    let first = BUFFER_BYTES - self.left;
                    // SAFETY: the buffer is back, and the pool is as large.
                    unsafe {
                        let target = self.pool[first..].as_mut_ptr();
                        self.shared.as_ptr().copy_to_nonoverlapping(target, self.left);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => match self.queue.rearm() {
                    Ok(true) => {}
                    Ok(false) => return self.left > 0,
                    Err(RingBroken) => self.broken = true,
                },
                Err(RingBroken) => self.broken = true,
            }
        }
        self.left > 0
    }

    fn take(&mut self, destination: &mut [u8]) -> usize {
        let count = self.left.min(destination.len());
        let first = BUFFER_BYTES - self.left;
        let source = &mut self.pool[first..first + count];
        destination[..count].copy_from_slice(source);
        source.fill(0);
        self.left -= count;
        count
    }
}

impl<T: Transport> VirtioEntropy<T> {
    /// Sets the device up and asks it for the first bytes. Its interrupt may come from now on.
    pub fn new(mut transport: T) -> Result<Self, VirtioError> {
        let features = negotiate(&mut transport, 0)?;
        let event_index = features & RingFeatures::EVENT_INDEX.bits() != 0;
        let queue = SplitQueue::new(&mut transport, QUEUE, QUEUE_SIZE, event_index)?;
        let shared = allocate_shared_memory(BUFFER_BYTES)?;
        transport.finish_init();
        let mut core = Core {
            transport,
            queue,
            shared,
            pool: [0; BUFFER_BYTES],
            left: 0,
            with_device: false,
            broken: false,
        };
        let _nothing_yet = core.queue.rearm();
        core.request_if_empty();
        Ok(Self {
            core: SpinLock::new(Rank::DEVICE_QUEUE, core),
            available: WaitQueue::new("virtio entropy"),
        })
    }
}

impl<T: Transport + Send> InterruptHandler for VirtioEntropy<T> {
    fn handle_interrupt(&self) {
        let mut core = self.core.lock();
        core.transport.ack_interrupt();
        let available = core.collect();
        // A device that returns nothing is asked again, once per interrupt.
        core.request_if_empty();
        drop(core);
        if available {
            self.available.wake_all();
        }
    }
}

impl<T: Transport + Send> EntropySource for VirtioEntropy<T> {
    fn try_take(&self, destination: &mut [u8]) -> usize {
        let mut core = self.core.lock();
        let mut count = core.take(destination);
        if count < destination.len() && core.collect() {
            count += core.take(&mut destination[count..]);
        }
        core.request_if_empty();
        count
    }

    fn available(&self) -> &WaitQueue {
        &self.available
    }
}

impl<T: Transport> fmt::Debug for VirtioEntropy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioEntropy").finish_non_exhaustive()
    }
}
