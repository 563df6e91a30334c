//! The records of requests, and the memory through which the device learns of them.

use alloc::boxed::Box;
use std::mem;
use std::ptr::NonNull;
use std::task::{Poll, Waker};

use heapless::Vec;
use kernel_hal::{Instant, PhysAddr};
use kernel_object::frame::ContiguousFrames;

use crate::block::{
    BlockError, BlockRequest, BlockResult, MAX_SEGMENTS, Operation, Segment, Segments, Ticket,
};
use crate::virtio::split_queue::{
    DEVICE_WRITES, Descriptor, DescriptorTable, INDIRECT, NEXT, SplitQueue, UsedEntry,
};
use crate::virtio::{VirtioError, allocate_shared_memory};

/// Descriptors of a slot besides those of its segments: header and status.
const EXTRA_DESCRIPTORS: usize = 2;
/// How many of the ring's descriptors a slot has if there are no indirect tables.
const DIRECT_DESCRIPTORS: u16 = 8;

/// Offsets in a slot's shared memory.
const HEADER: usize = 0;
const RANGE: usize = 16;
const STATUS: usize = 32;
const TABLE: usize = 48;
const STRIDE: usize =
    (TABLE + (MAX_SEGMENTS + EXTRA_DESCRIPTORS) * size_of::<Descriptor>()).next_multiple_of(64);

/// What the device must overwrite in the status byte.
const STATUS_NOT_ANSWERED: u8 = 0xff;

/// What a request begins with.
#[repr(C)]
struct Header {
    kind: u32,
    reserved: u32,
    sector: u64,
}

/// What discard and write-zeroes work on.
#[repr(C)]
struct Range {
    sector: u64,
    sectors: u32,
    flags: u32,
}

/// Who has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody.
    Free,
    /// The device works on it, somebody waits.
    InFlight,
    /// The device works on it; it took too long, and who waits must be told.
    Failed(BlockError),
    /// The device works on it, nobody waits.
    Abandoned,
    /// The device has answered, somebody must be told.
    Answered(BlockResult),
}

struct Slot {
    state: State,
    generation: u32,
    /// How many bytes the device must have written for its success to be believed.
    least_written: u32,
    since: Instant,
    waker: Option<Waker>,
    segments: Segments,
    table: DescriptorTable,
}

/// What an answer of the device led to.
pub(super) struct Answer {
    pub(super) failed: bool,
    pub(super) slot_freed: bool,
    pub(super) waker: Option<Waker>,
}

/// All slots of a disk.
pub(super) struct Slots {
    slots: Box<[Slot]>,
    free: alloc::vec::Vec<u16>,
    /// One stride per slot.
    memory: ContiguousFrames,
    /// The distance between the heads of neighbouring slots.
    descriptors_per_head: u16,
    indirect: bool,
    /// Neighbouring segments are joined up to this size.
    max_piece_bytes: u32,
}

impl Slots {
    pub(super) fn new(queue: &SplitQueue, indirect: bool, max_piece_bytes: u32) -> Result<Self, VirtioError> {
        let descriptors_per_head = if indirect { 1 } else { DIRECT_DESCRIPTORS };
        let count = queue.size() / descriptors_per_head;
        if count == 0 {
            return Err(VirtioError::BadQueue(queue.number()));
        }
        let memory = allocate_shared_memory(usize::from(count) * STRIDE)?;
        let slot = |number: u16| {
            // SAFETY: one stride per slot was allocated.
            let shared = unsafe { NonNull::new_unchecked(memory.as_ptr().add(usize::from(number) * STRIDE)) };
            let table = if indirect {
                // SAFETY: the table is the last part of the stride.
                let table = unsafe { shared.add(TABLE) };
                DescriptorTable::indirect(table, (MAX_SEGMENTS + EXTRA_DESCRIPTORS) as u16)
            } else {
                DescriptorTable::in_ring(queue, number * DIRECT_DESCRIPTORS, DIRECT_DESCRIPTORS)
            };
            Slot {
                state: State::Free,
                generation: 0,
                least_written: 0,
                since: Instant::default(),
                waker: None,
                segments: Segments::new(),
                table,
            }
        };
        Ok(Self {
            slots: (0..count).map(slot).collect(),
            free: (0..count).rev().collect(),
            memory,
            descriptors_per_head,
            indirect,
            max_piece_bytes,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn max_segments(&self) -> usize {
        if self.indirect { MAX_SEGMENTS } else { usize::from(DIRECT_DESCRIPTORS) - EXTRA_DESCRIPTORS }
    }

    /// The ring's head for a slot.
    pub(super) fn head_of(&self, slot: u16) -> u16 {
        slot * self.descriptors_per_head
    }

    /// Puts a request into a free slot; its memory moves there. `None` if no slot is free.
    #[inline]
    pub(super) fn fill(
        &mut self,
        queue: &mut SplitQueue,
        request: BlockRequest,
        segments: &mut Segments,
        bytes: usize,
        waker: Option<&Waker>,
        now: Instant,
    ) -> Option<Ticket> {
        let number = self.free.pop()?;
        let address = self.memory.address() + usize::from(number) * STRIDE;
        // SAFETY: one stride per slot was allocated.
        let shared = unsafe { self.memory.as_ptr().add(usize::from(number) * STRIDE) };
        let slot = &mut self.slots[usize::from(number)];
        debug_assert_eq!(slot.state, State::Free);
        let (kind, device_writes) = match request.operation {
            Operation::Read => (0, true),
            Operation::Write => (1, false),
            Operation::Flush => (4, false),
            Operation::Identify => (8, true),
            Operation::Discard { .. } => (11, false),
            Operation::WriteZeroes { .. } => (13, false),
        };
        let sector =
            if matches!(request.operation, Operation::Read | Operation::Write) { request.sector } else { 0 };
        // SAFETY: the slot is free, so its stride is ours; the parts are inside it and aligned, as strides are.
        unsafe {
            shared.add(HEADER).cast::<Header>().write_volatile(Header { kind, reserved: 0, sector });
            shared.add(STATUS).write_volatile(STATUS_NOT_ANSWERED);
        }
        segments.move_to(&mut slot.segments);
        let range = match request.operation {
            Operation::Discard { sectors } => Some((sectors, 0)),
            Operation::WriteZeroes { sectors, may_unmap } => Some((sectors, u32::from(may_unmap))),
            _ => None,
        };
        if let Some((sectors, flags)) = range {
            // SAFETY: as above.
            unsafe {
                let range = Range { sector: request.sector, sectors, flags };
                shared.add(RANGE).cast::<Range>().write_volatile(range);
            }
        }
        let direction = if device_writes { DEVICE_WRITES } else { 0 };
        let pieces = Pieces::new(&slot.segments, range.map(|_| address + RANGE), self.max_piece_bytes);
        // SAFETY: header, range and status belong to the slot, and `slot.segments` owns the rest; all of it stays until
        // the device has answered (`answered`), and the table is not in the device's hands.
        let used = unsafe { write_chain(&slot.table, address, pieces, direction) };
        if self.indirect {
            let table = Descriptor {
                address: (address + TABLE).as_usize() as u64,
                bytes: u32::from(used) * size_of::<Descriptor>() as u32,
                flags: INDIRECT,
                next: 0,
            };
            // SAFETY: the table is part of the slot.
            unsafe { queue.write_descriptor(number, table) };
        }
        slot.state = State::InFlight;
        slot.generation = slot.generation.wrapping_add(1);
        slot.least_written = if device_writes { bytes as u32 + 1 } else { 1 };
        slot.since = now;
        slot.waker = waker.cloned();
        Some(Ticket { slot: number, generation: slot.generation })
    }

    /// Takes note of a head that the device returned; `None` if it does not have that head.
    #[inline]
    pub(super) fn answered(&mut self, entry: UsedEntry) -> Option<Answer> {
        let per_head = u32::from(self.descriptors_per_head);
        if !entry.head.is_multiple_of(per_head) {
            return None;
        }
        let number = (entry.head / per_head) as usize;
        let slot = self.slots.get_mut(number)?;
        let before = slot.state;
        if matches!(before, State::Free | State::Answered(_)) {
            return None;
        }
        // SAFETY: one stride per slot was allocated.
        let status = unsafe { self.memory.as_ptr().add(number * STRIDE + STATUS).read_volatile() };
        let result = match status {
            0 if entry.bytes < slot.least_written => Err(BlockError::ShortTransfer),
            0 => Ok(()),
            2 => Err(BlockError::Unsupported),
            _ => Err(BlockError::Device),
        };
        slot.segments.clear();
        let slot_freed = before == State::Abandoned;
        slot.state = match before {
            State::Abandoned => State::Free,
            State::Failed(error) => State::Answered(Err(error)),
            _ => State::Answered(result),
        };
        let waker = slot.waker.take();
        if slot_freed {
            self.free.push(number as u16);
        }
        Some(Answer { failed: result.is_err(), slot_freed, waker })
    }

    /// The result for a ticket, and whether its slot became free by asking. The waker is one that is not needed any
    /// more, to be dropped without the lock.
    #[inline]
    pub(super) fn collect(
        &mut self,
        ticket: &Ticket,
        waker: &Waker,
    ) -> (Poll<BlockResult>, bool, Option<Waker>) {
        let slot = self.slot_of(ticket);
        match slot.state {
            State::Answered(result) => {
                slot.state = State::Free;
                self.free.push(ticket.slot);
                (Poll::Ready(result), true, None)
            }
            State::Failed(error) => {
                slot.state = State::Abandoned;
                (Poll::Ready(Err(error)), false, None)
            }
            State::InFlight => {
                let current = slot.waker.as_ref().is_some_and(|current| current.will_wake(waker));
                let outdated = if current { None } else { slot.waker.replace(waker.clone()) };
                (Poll::Pending, false, outdated)
            }
            State::Free | State::Abandoned => unreachable!("slot_of checked the ticket"),
        }
    }

    /// Gives up a ticket. Returns whether its slot became free, and a waker to be dropped without the lock.
    pub(super) fn abandon(&mut self, ticket: &Ticket) -> (bool, Option<Waker>) {
        let slot = self.slot_of(ticket);
        let freed = matches!(slot.state, State::Answered(_));
        slot.state = if freed { State::Free } else { State::Abandoned };
        let waker = slot.waker.take();
        if freed {
            self.free.push(ticket.slot);
        }
        (freed, waker)
    }

    /// Ends the wait for requests that are out since a moment that `applies`, as long as `woken` has room. Returns for
    /// how many, and whether there may be more.
    pub(super) fn fail_some<const N: usize>(
        &mut self,
        error: BlockError,
        applies: impl Fn(Instant) -> bool,
        woken: &mut Vec<Waker, N>,
    ) -> (usize, bool) {
        let mut count = 0;
        for slot in self.slots.iter_mut() {
            if slot.state != State::InFlight || !applies(slot.since) {
                continue;
            }
            if woken.is_full() {
                return (count, true);
            }
            slot.state = State::Failed(error);
            count += 1;
            if let Some(waker) = slot.waker.take() {
                let _has_room = woken.push(waker);
            }
        }
        (count, false)
    }

    /// The slot of a ticket. A ticket is not `Clone` and is used up by value or by a ready result, so one that does not
    /// fit is a mistake in the kernel, not of a device.
    #[inline]
    fn slot_of(&mut self, ticket: &Ticket) -> &mut Slot {
        let slot = &mut self.slots[usize::from(ticket.slot)];
        let open = !matches!(slot.state, State::Free | State::Abandoned);
        assert!(open && slot.generation == ticket.generation, "a ticket was used twice");
        slot
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // The transport was dropped before us and has reset the device, so that even what it had is free to go.
        for slot in self.slots.iter_mut() {
            drop(mem::take(&mut slot.segments));
        }
    }
}

/// The memory between header and status, neighbours joined.
struct Pieces<'a> {
    segments: std::slice::Iter<'a, Segment>,
    next: Option<(PhysAddr, u32)>,
    max_bytes: u32,
}

impl<'a> Pieces<'a> {
    #[inline]
    fn new(segments: &'a Segments, range: Option<PhysAddr>, max_bytes: u32) -> Self {
        let mut segments = segments.as_slice().iter();
        let next = match range {
            Some(address) => Some((address, size_of::<Range>() as u32)),
            None => segments.next().map(piece),
        };
        Self { segments, next, max_bytes }
    }
}

#[inline]
fn piece(segment: &Segment) -> (PhysAddr, u32) {
    (segment.address(), segment.bytes() as u32)
}

impl Iterator for Pieces<'_> {
    type Item = (PhysAddr, u32);

    #[inline]
    fn next(&mut self) -> Option<(PhysAddr, u32)> {
        let (start, mut bytes) = self.next.take()?;
        for segment in self.segments.by_ref() {
            let (address, more) = piece(segment);
            if address != start + bytes as usize || bytes + more > self.max_bytes {
                self.next = Some((address, more));
                break;
            }
            bytes += more;
        }
        Some((start, bytes))
    }
}

/// Writes the chain of a request: header, pieces, status. Returns how many descriptors it took.
///
/// # Safety
/// As for [`DescriptorTable::write`], for all of the memory.
#[inline]
unsafe fn write_chain(table: &DescriptorTable, shared: PhysAddr, pieces: Pieces<'_>, direction: u16) -> u16 {
    let mut index = 0;
    // SAFETY: passed on to the caller; the same for the other two.
    unsafe { table.write(index, shared + HEADER, size_of::<Header>() as u32, NEXT) };
    for (address, bytes) in pieces {
        index += 1;
        // SAFETY: see above.
        unsafe { table.write(index, address, bytes, direction | NEXT) };
    }
    index += 1;
    // SAFETY: see above.
    unsafe { table.write(index, shared + STATUS, 1, DEVICE_WRITES) };
    index + 1
}
