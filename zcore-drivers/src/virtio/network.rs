//! The virtio network device.
//!
//! Two rings: buffers that the device fills, and frames that it sends. Each buffer is a slot of shared memory with a number
//! that is its head in the ring. What came in is copied out at once, so that the device cannot change it later; with
//! mergeable buffers a frame may lie in several. What goes out is copied in, so that its owner need not wait.
//!
//! Interrupts are asked for when there is nothing more to do: whoever takes frames out goes on without them as long as
//! there are frames.

use alloc::vec::Vec;
use std::fmt;

use kernel_object::frame::ContiguousFrames;
use ksync::{Rank, SpinLock, WaitQueue};
use virtio_drivers::transport::Transport;

use super::split_queue::{DEVICE_WRITES, Descriptor, RingBroken, SplitQueue};
use super::{RingFeatures, VirtioError, allocate_shared_memory, negotiate, read_configuration};
use crate::InterruptHandler;
use crate::network::{Frame, NetworkDevice, NetworkInformation};

/// The device verifies sums, and may leave them out between machines of one host.
const GUEST_CHECKSUM: u64 = 1 << 1;
/// The configuration tells the largest packet.
const MTU: u64 = 1 << 3;
/// The configuration has an Ethernet address.
const MAC: u64 = 1 << 5;
/// A frame may lie in several buffers.
const MERGEABLE: u64 = 1 << 15;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const QUEUE_SIZE: u16 = 256;
/// Room for a header and a frame of the usual size.
const SLOT_BYTES: usize = 2048;
/// What is before each frame: flags, offload, and since version 1 or with mergeable buffers their number.
const LEGACY_HEADER_BYTES: usize = 10;
const HEADER_BYTES: usize = 12;
const FLAG_NEEDS_CHECKSUM: u8 = 1;
const FLAG_VERIFIED: u8 = 2;
const ETHERNET_BYTES: usize = 14;
const DEFAULT_MTU: usize = 1500;
/// A frame does not lie in more buffers than that.
const MOST_BUFFERS: u16 = 34;
/// Who has no address gets one that says so (locally administered).
const MADE_UP_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A virtio network device.
pub struct VirtioNetwork<T: Transport> {
    core: SpinLock<Core<T>>,
    changed: WaitQueue,
    information: NetworkInformation,
}

struct Core<T: Transport> {
    /// Dropped first: that resets the device, so that it lets go of the memory below.
    transport: T,
    receive: SplitQueue,
    transmit: SplitQueue,
    received: ContiguousFrames,
    sent: ContiguousFrames,
    /// Which slots the device has, so that a head that it returns twice is seen.
    receive_is_out: Vec<bool>,
    transmit_is_out: Vec<bool>,
    free: Vec<u16>,
    header_bytes: usize,
    is_mergeable: bool,
    /// Somebody found no room.
    wants_room: bool,
    broken: bool,
}

/// One slot that came back.
struct Piece {
    head: u16,
    bytes: usize,
}

impl<T: Transport> Core<T> {
    fn offer_receive(&mut self, head: u16) {
        let address = (self.received.address() + usize::from(head) * SLOT_BYTES).as_usize() as u64;
        let descriptor = Descriptor { address, bytes: SLOT_BYTES as u32, flags: DEVICE_WRITES, next: 0 };
        self.receive_is_out[usize::from(head)] = true;
        // SAFETY: the slot lives as long as the device, and is read only after it came back.
        unsafe { self.receive.write_descriptor(head, descriptor) };
        self.receive.offer(head);
    }

    fn announce(&mut self, number: u16) {
        let queue = if number == RECEIVE { &mut self.receive } else { &mut self.transmit };
        if queue.should_notify() {
            kernel_hal::memory_barrier::before_device_access();
            self.transport.notify(number);
        }
    }

    /// The next slot with something in it.
    fn next_piece(&mut self) -> Option<Piece> {
        while !self.broken {
            match self.receive.pop() {
                Ok(Some(entry)) => {
                    let head = usize::try_from(entry.head).unwrap_or(usize::MAX);
                    match self.receive_is_out.get_mut(head) {
                        Some(is_out) if *is_out => {
                            *is_out = false;
                            return Some(Piece {
                                head: head as u16,
                                bytes: (entry.bytes as usize).min(SLOT_BYTES),
                            });
                        }
                        // Nothing is known of it.
                        _ => continue,
                    }
                }
                Ok(None) => return None,
                Err(RingBroken) => self.broken = true,
            }
        }
        None
    }

    /// Appends what is in a slot from an offset on, and gives the slot back to the device.
    fn collect(&mut self, piece: &Piece, skip: usize, bytes: &mut Vec<u8>) -> bool {
        let len = piece.bytes.saturating_sub(skip);
        let has_memory = bytes.try_reserve(len).is_ok();
        if has_memory {
            let start = bytes.len();
            bytes.resize(start + len, 0);
            // SAFETY: the slot is back; `skip + len` bytes are inside it, or nothing is copied.
            unsafe {
                let source =
                    self.received.as_ptr().add(usize::from(piece.head) * SLOT_BYTES + skip.min(SLOT_BYTES));
                source.copy_to_nonoverlapping(bytes[start..].as_mut_ptr(), len);
            }
        }
        self.offer_receive(piece.head);
        has_memory
    }

    /// The next frame; `None` if there is none.
    fn next_frame(&mut self) -> Option<Frame> {
        loop {
            let first = self.next_piece()?;
            let mut header = [0; HEADER_BYTES];
            let header_bytes = self.header_bytes;
            // SAFETY: the slot is back, and larger than a header.
            unsafe {
                let source = self.received.as_ptr().add(usize::from(first.head) * SLOT_BYTES);
                source.copy_to_nonoverlapping(header.as_mut_ptr(), header_bytes);
            }
            let buffers = if self.is_mergeable { u16::from_le_bytes([header[10], header[11]]) } else { 1 };
            let mut bytes = Vec::new();
            let mut is_whole = self.collect(&first, header_bytes, &mut bytes);
            is_whole &= (1..=MOST_BUFFERS).contains(&buffers);
            for _ in 1..buffers.min(MOST_BUFFERS) {
                match self.next_piece() {
                    Some(piece) => is_whole &= self.collect(&piece, 0, &mut bytes),
                    None => {
                        is_whole = false;
                        break;
                    }
                }
            }
            if is_whole && bytes.len() > ETHERNET_BYTES {
                let is_verified = header[0] & (FLAG_VERIFIED | FLAG_NEEDS_CHECKSUM) != 0;
                return Some(Frame { bytes, is_verified });
            }
        }
    }

    /// Takes back the slots of what was sent. Returns whether somebody wanted room and there is some now.
    fn reclaim(&mut self) -> bool {
        while !self.broken {
            match self.transmit.pop() {
                Ok(Some(entry)) => {
                    let head = usize::try_from(entry.head).unwrap_or(usize::MAX);
                    if let Some(is_out) = self.transmit_is_out.get_mut(head).filter(|is_out| **is_out) {
                        *is_out = false;
                        self.free.push(head as u16);
                    }
                }
                Ok(None) => break,
                Err(RingBroken) => self.broken = true,
            }
        }
        let has_room = self.wants_room && !self.free.is_empty();
        if has_room {
            self.wants_room = false;
        }
        has_room
    }
}

impl<T: Transport> VirtioNetwork<T> {
    /// Sets the device up and gives it buffers. Its interrupt may come from now on.
    pub fn new(mut transport: T) -> Result<Self, VirtioError> {
        let features = negotiate(&mut transport, GUEST_CHECKSUM | MTU | MAC | MERGEABLE)?;
        let event_index = features & RingFeatures::EVENT_INDEX.bits() != 0;
        let is_mergeable = features & MERGEABLE != 0;
        let is_modern = features & RingFeatures::VERSION_1.bits() != 0;
        let address = match features & MAC {
            0 => MADE_UP_ADDRESS,
            _ => read_configuration(&transport, |transport| transport.read_config_space::<[u8; 6]>(0))?,
        };
        let mtu = match features & MTU {
            0 => DEFAULT_MTU,
            _ => usize::from(read_configuration(&transport, |transport| {
                transport.read_config_space::<u16>(10)
            })?),
        };
        let receive = SplitQueue::new(&mut transport, RECEIVE, QUEUE_SIZE, event_index)?;
        let transmit = SplitQueue::new(&mut transport, TRANSMIT, QUEUE_SIZE, event_index)?;
        let (receive_slots, transmit_slots) = (usize::from(receive.size()), usize::from(transmit.size()));
        let received = allocate_shared_memory(receive_slots * SLOT_BYTES)?;
        let sent = allocate_shared_memory(transmit_slots * SLOT_BYTES)?;
        transport.finish_init();
        let mut core = Core {
            transport,
            receive,
            transmit,
            received,
            sent,
            receive_is_out: alloc::vec![false; receive_slots],
            transmit_is_out: alloc::vec![false; transmit_slots],
            free: (0..transmit_slots as u16).rev().collect(),
            header_bytes: if is_modern || is_mergeable { HEADER_BYTES } else { LEGACY_HEADER_BYTES },
            is_mergeable,
            wants_room: false,
            broken: false,
        };
        for head in 0..receive_slots as u16 {
            core.offer_receive(head);
        }
        let _nothing_yet = core.receive.rearm();
        core.transmit.disarm();
        core.announce(RECEIVE);
        let most = SLOT_BYTES - HEADER_BYTES - ETHERNET_BYTES;
        Ok(Self {
            core: SpinLock::new(Rank::DEVICE_QUEUE, core),
            changed: WaitQueue::new("virtio network"),
            information: NetworkInformation { address, mtu: mtu.clamp(68, most) },
        })
    }
}

impl<T: Transport + Send> InterruptHandler for VirtioNetwork<T> {
    fn handle_interrupt(&self) {
        let mut core = self.core.lock();
        core.transport.ack_interrupt();
        // Frames stay where they are: whoever takes them out asks for the next interrupt.
        core.receive.disarm();
        core.reclaim();
        drop(core);
        self.changed.wake_all();
    }
}

impl<T: Transport + Send> NetworkDevice for VirtioNetwork<T> {
    fn information(&self) -> NetworkInformation {
        self.information
    }

    fn transmit(&self, frame: &[u8]) -> bool {
        let mut core = self.core.lock();
        let header_bytes = core.header_bytes;
        let bytes = header_bytes + frame.len();
        if core.broken || bytes > SLOT_BYTES {
            // Nothing will ever come of it.
            return true;
        }
        if core.free.is_empty() {
            core.reclaim();
        }
        let Some(head) = core.free.pop() else {
            core.wants_room = true;
            // There may be room by now, of which no interrupt tells.
            if core.transmit.rearm() == Ok(true) {
                core.reclaim();
            }
            let Some(head) = core.free.pop() else { return false };
            core.wants_room = false;
            return core.send(head, frame);
        };
        core.send(head, frame)
    }

    fn receive(&self) -> Option<Frame> {
        let mut core = self.core.lock();
        loop {
            if let Some(frame) = core.next_frame() {
                core.announce(RECEIVE);
                return Some(frame);
            }
            match core.receive.rearm() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(RingBroken) => {
                    core.broken = true;
                    return None;
                }
            }
        }
    }

    fn changed(&self) -> &WaitQueue {
        &self.changed
    }
}

impl<T: Transport> Core<T> {
    fn send(&mut self, head: u16, frame: &[u8]) -> bool {
        let offset = usize::from(head) * SLOT_BYTES;
        // SAFETY: the slot is free, so ours, and the header with the frame fits: `transmit` has looked.
        unsafe {
            let target = self.sent.as_ptr().add(offset);
            target.write_bytes(0, self.header_bytes);
            target.add(self.header_bytes).copy_from_nonoverlapping(frame.as_ptr(), frame.len());
        }
        let address = (self.sent.address() + offset).as_usize() as u64;
        let bytes = (self.header_bytes + frame.len()) as u32;
        self.transmit_is_out[usize::from(head)] = true;
        // SAFETY: the slot is not touched before it came back.
        unsafe { self.transmit.write_descriptor(head, Descriptor { address, bytes, flags: 0, next: 0 }) };
        self.transmit.offer(head);
        self.announce(TRANSMIT);
        true
    }
}

impl<T: Transport> fmt::Debug for VirtioNetwork<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioNetwork").finish_non_exhaustive()
    }
}
