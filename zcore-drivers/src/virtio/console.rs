//! The virtio console's port 0.
//!
//! Both directions use buffers of one size in memory shared with the device. A receive buffer is given back to the
//! device when its bytes have been read, so a reader that sleeps holds the sender up instead of losing bytes.

use std::fmt;
use std::ptr::NonNull;

use heapless::{Deque, Vec};
use kernel_hal::PhysAddr;
use kernel_object::frame::ContiguousFrames;
use ksync::{Rank, SpinLock, WaitQueue};
use virtio_drivers::transport::Transport;

use super::split_queue::{DEVICE_WRITES, Descriptor, RingBroken, SplitQueue, UsedEntry};
use super::{RingFeatures, VirtioError, allocate_shared_memory, negotiate};
use crate::InterruptHandler;
use crate::serial::{SerialPort, SerialStatistics};

const RECEIVE_QUEUE: u16 = 0;
const SEND_QUEUE: u16 = 1;
/// Buffers per direction.
const BUFFERS: usize = 16;
const BUFFER_BYTES: usize = 512;
/// The device has a register that prints a character without any ring.
const FEATURE_EMERGENCY_WRITE: u64 = 1 << 2;
const OFFSET_EMERGENCY_WRITE: usize = 8;
/// How often a polled send looks before it gives up on the device.
const POLL_LIMIT: usize = 1_000_000;

/// A virtio console.
pub struct VirtioConsole<T: Transport> {
    core: SpinLock<Core<T>>,
    readable: WaitQueue,
    writable: WaitQueue,
}

struct Core<T: Transport> {
    /// Dropped first: that resets the device, so that it lets go of the memory below.
    transport: T,
    receive: Direction,
    send: Direction,
    /// Received and not yet read: buffer, first byte, end.
    filled: Deque<(u8, u16, u16), BUFFERS>,
    /// Buffers to send that the device does not have.
    idle: Vec<u8, BUFFERS>,
    has_emergency_write: bool,
    statistics: SerialStatistics,
}

/// One queue, and its buffers: buffer `n` is head `n`.
struct Direction {
    queue: SplitQueue,
    memory: ContiguousFrames,
    with_device: [bool; BUFFERS],
    /// The ring made no sense: nothing comes from it any more.
    broken: bool,
}

impl Direction {
    fn new<T: Transport>(transport: &mut T, number: u16, event_index: bool) -> Result<Self, VirtioError> {
        let queue = SplitQueue::new(transport, number, BUFFERS as u16, event_index)?;
        if usize::from(queue.size()) < BUFFERS {
            return Err(VirtioError::BadQueue(number));
        }
        let memory = allocate_shared_memory(BUFFERS * BUFFER_BYTES)?;
        Ok(Self { queue, memory, with_device: [false; BUFFERS], broken: false })
    }

    fn address(&self, buffer: u8) -> PhysAddr {
        self.memory.address() + usize::from(buffer) * BUFFER_BYTES
    }

    /// Where the kernel sees a buffer.
    fn bytes(&self, buffer: u8) -> NonNull<u8> {
        assert!(usize::from(buffer) < BUFFERS);
        // SAFETY: inside the memory by the check; an allocation is not at null.
        unsafe { NonNull::new_unchecked(self.memory.as_ptr().add(usize::from(buffer) * BUFFER_BYTES)) }
    }

    /// Gives a buffer to the device.
    fn offer(&mut self, buffer: u8, bytes: usize, flags: u16) {
        let (address, head) = (self.address(buffer).as_usize() as u64, u16::from(buffer));
        let descriptor = Descriptor { address, bytes: bytes as u32, flags, next: 0 };
        self.with_device[usize::from(buffer)] = true;
        // SAFETY: the buffer is ours for as long as the device lives, and nobody else touches it until it is popped.
        unsafe { self.queue.write_descriptor(head, descriptor) };
        self.queue.offer(head);
    }

    /// Takes a buffer back, with the number of bytes that the device claims; counts what makes no sense.
    fn pop(&mut self, bogus: &mut u64) -> Option<(u8, usize)> {
        while !self.broken {
            match self.queue.pop() {
                Ok(Some(UsedEntry { head, bytes })) => match self.with_device.get_mut(head as usize) {
                    Some(out) if *out => {
                        *out = false;
                        return Some((head as u8, (bytes as usize).min(BUFFER_BYTES)));
                    }
                    _ => *bogus += 1,
                },
                Ok(None) => match self.queue.rearm() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(RingBroken) => self.broken = true,
                },
                Err(RingBroken) => self.broken = true,
            }
        }
        None
    }
}

impl<T: Transport> Core<T> {
    fn notify_if_asked(&mut self, receive: bool) {
        let queue = if receive { &mut self.receive.queue } else { &mut self.send.queue };
        if queue.should_notify() {
            kernel_hal::memory_barrier::before_device_access();
            let number = queue.number();
            self.transport.notify(number);
        }
    }

    fn collect_received(&mut self) -> bool {
        let mut empty: Vec<u8, BUFFERS> = Vec::new();
        let mut found = false;
        while let Some((buffer, bytes)) = self.receive.pop(&mut self.statistics.bogus) {
            if bytes == 0 {
                let _has_room = empty.push(buffer);
                continue;
            }
            self.statistics.received += bytes as u64;
            // There is room: a buffer is either with the device or in this queue.
            let _has_room = self.filled.push_back((buffer, 0, bytes as u16));
            found = true;
        }
        // Only now, or a device that returns everything empty at once would keep us in the loop.
        for buffer in empty {
            self.receive.offer(buffer, BUFFER_BYTES, DEVICE_WRITES);
        }
        found
    }

    fn collect_sent(&mut self) -> bool {
        let mut found = false;
        while let Some((buffer, _)) = self.send.pop(&mut self.statistics.bogus) {
            let _has_room = self.idle.push(buffer);
            found = true;
        }
        found
    }

    /// Copies bytes into idle buffers and gives them to the device.
    fn send(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len()
            && let Some(buffer) = self.idle.pop()
        {
            let piece = &bytes[done..(done + BUFFER_BYTES).min(bytes.len())];
            let target = self.send.bytes(buffer).as_ptr();
            // SAFETY: an idle buffer is not with the device, and the piece is no longer than a buffer.
            unsafe { target.copy_from_nonoverlapping(piece.as_ptr(), piece.len()) };
            self.send.offer(buffer, piece.len(), 0);
            done += piece.len();
        }
        self.statistics.sent += done as u64;
        self.notify_if_asked(false);
        done
    }
}

impl<T: Transport> VirtioConsole<T> {
    /// Sets the device up. Its interrupt may come from now on.
    pub fn new(mut transport: T) -> Result<Self, VirtioError> {
        let features = negotiate(&mut transport, FEATURE_EMERGENCY_WRITE)?;
        let event_index = features & RingFeatures::EVENT_INDEX.bits() != 0;
        let receive = Direction::new(&mut transport, RECEIVE_QUEUE, event_index)?;
        let send = Direction::new(&mut transport, SEND_QUEUE, event_index)?;
        transport.finish_init();
        let mut core = Core {
            transport,
            receive,
            send,
            filled: Deque::new(),
            idle: (0..BUFFERS as u8).collect(),
            has_emergency_write: features & FEATURE_EMERGENCY_WRITE != 0,
            statistics: SerialStatistics::default(),
        };
        for buffer in 0..BUFFERS as u8 {
            core.receive.offer(buffer, BUFFER_BYTES, DEVICE_WRITES);
        }
        // What is there so early will be followed by more, or is nonsense.
        let _nothing_yet = (core.receive.queue.rearm(), core.send.queue.rearm());
        core.notify_if_asked(true);
        Ok(Self {
            core: SpinLock::new(Rank::DEVICE_QUEUE, core),
            readable: WaitQueue::new("virtio console input"),
            writable: WaitQueue::new("virtio console output"),
        })
    }
}

impl<T: Transport + Send> InterruptHandler for VirtioConsole<T> {
    fn handle_interrupt(&self) {
        let mut core = self.core.lock();
        core.transport.ack_interrupt();
        let received = core.collect_received();
        let sent = core.collect_sent();
        core.notify_if_asked(true);
        drop(core);
        if received {
            self.readable.wake_all();
        }
        if sent {
            self.writable.wake_all();
        }
    }
}

impl<T: Transport + Send> SerialPort for VirtioConsole<T> {
    fn try_read(&self, destination: &mut [u8]) -> usize {
        let mut core = self.core.lock();
        let core = &mut *core;
        let mut done = 0;
        while done < destination.len()
            && let Some((buffer, start, end)) = core.filled.front_mut()
        {
            let count = usize::from(*end - *start).min(destination.len() - done);
            // SAFETY: a filled buffer is not with the device; `end` was capped at its size. A device that writes all
            // the same changes bytes of which nothing is assumed.
            unsafe {
                let source = core.receive.bytes(*buffer).as_ptr().add(usize::from(*start));
                source.copy_to_nonoverlapping(destination[done..].as_mut_ptr(), count);
            }
            done += count;
            *start += count as u16;
            if start == end {
                let buffer = *buffer;
                core.filled.pop_front();
                core.receive.offer(buffer, BUFFER_BYTES, DEVICE_WRITES);
            }
        }
        core.notify_if_asked(true);
        done
    }

    fn try_write(&self, bytes: &[u8]) -> usize {
        let mut core = self.core.lock();
        if core.idle.is_empty() {
            core.collect_sent();
        }
        core.send(bytes)
    }

    fn is_readable(&self) -> bool {
        !self.core.lock().filled.is_empty()
    }

    fn is_writable(&self) -> bool {
        !self.core.lock().idle.is_empty()
    }

    fn is_drained(&self) -> bool {
        self.core.lock().idle.is_full()
    }

    fn readable(&self) -> &WaitQueue {
        &self.readable
    }

    fn writable(&self) -> &WaitQueue {
        &self.writable
    }

    fn write_polled(&self, bytes: &[u8]) {
        // Whoever holds the lock may never run again; then this console stays silent.
        let Some(mut core) = self.core.try_lock() else { return };
        if core.has_emergency_write {
            for &byte in bytes {
                if core.transport.write_config_space(OFFSET_EMERGENCY_WRITE, u32::from(byte)).is_err() {
                    return;
                }
            }
            return;
        }
        let (mut done, mut patience) = (0, POLL_LIMIT);
        while (done < bytes.len() || !core.idle.is_full()) && patience > 0 {
            core.collect_sent();
            done += core.send(&bytes[done..]);
            patience -= 1;
            std::hint::spin_loop();
        }
    }

    fn statistics(&self) -> SerialStatistics {
        self.core.lock().statistics
    }
}

impl<T: Transport> fmt::Debug for VirtioConsole<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioConsole").finish_non_exhaustive()
    }
}
