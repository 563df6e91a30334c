//! A queue of bytes in page frames: what pipes and local sockets keep their bytes in.
//!
//! Bytes are copied once on their way in and once on their way out, straight between a program's memory and the frame.
//! Small writes share a frame. A slot may be a *packet*, which is read alone, and may have something attached to it,
//! which then begins a slot of its own.

use alloc::collections::VecDeque;

use kernel_hal::PAGE_SIZE;
use kernel_object::frame::{Frame, FrameKind};
use linux_abi::Errno;

use crate::obstacle::Obstacle;
use crate::user_buffer::UserBuffer;

/// How a slot is read, and whether it may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// Bytes of a stream.
    Stream,
    /// A part of a packet that goes on in the next slot.
    PacketPart,
    /// The end of a packet.
    PacketEnd,
}

/// Bytes in one frame.
pub struct Slot<T> {
    frame: Option<Frame>,
    start: u32,
    len: u32,
    kind: SlotKind,
    /// What came with these bytes.
    pub attached: T,
}

impl<T> Slot<T> {
    /// Bytes that have not been read.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether everything in it has been read.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How it is read.
    pub fn kind(&self) -> SlotKind {
        self.kind
    }

    /// Moves bytes from so far inside the slot to the program, as many as it has room for; nothing is taken out.
    #[inline]
    pub fn copy_out(&self, skip: usize, buffer: &mut UserBuffer) -> Result<(), Obstacle> {
        let Some(frame) = &self.frame else { return Ok(()) };
        let start = self.start as usize + skip;
        buffer.copy_out_of_frame(frame, start, self.len() - skip)
    }
}

#[cold]
fn new_frame() -> Result<Frame, Errno> {
    Frame::allocate(FrameKind::Kernel).map_err(|_| Errno::ENOMEM)
}

/// The queue.
pub struct PageRing<T> {
    slots: VecDeque<Slot<T>>,
    /// A frame that was read empty, for the next write.
    spare: Option<Frame>,
    bytes: usize,
}

impl<T> Default for PageRing<T> {
    fn default() -> Self {
        Self { slots: VecDeque::new(), spare: None, bytes: 0 }
    }
}

impl<T> PageRing<T> {
    /// Slots in use.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Bytes in it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The slot that is read next.
    pub fn front(&self) -> Option<&Slot<T>> {
        self.slots.front()
    }

    /// The same, to be changed.
    pub fn front_mut(&mut self) -> Option<&mut Slot<T>> {
        self.slots.front_mut()
    }

    /// A slot, counted from the one that is read next.
    pub fn get(&self, index: usize) -> Option<&Slot<T>> {
        self.slots.get(index)
    }

    /// How many bytes the last slot can still take, if it is part of a stream.
    pub fn room_in_last(&self) -> usize {
        match self.slots.back() {
            Some(Slot { frame: Some(_), kind: SlotKind::Stream, start, len, .. }) => {
                PAGE_SIZE - (start + len) as usize
            }
            _ => 0,
        }
    }

    /// What is attached to the last slot.
    pub fn last_attached(&self) -> Option<&T> {
        self.slots.back().map(|slot| &slot.attached)
    }

    /// Appends at most `most` of the program's bytes to the last slot, which has room for them. What was copied before an
    /// obstacle stays.
    #[inline]
    pub fn append(&mut self, buffer: &mut UserBuffer, most: usize) -> Result<(), Obstacle> {
        let Some(slot) = self.slots.back_mut() else { return Ok(()) };
        let Some(frame) = &mut slot.frame else { return Ok(()) };
        let before = buffer.done();
        let outcome = buffer.copy_into_frame(frame, (slot.start + slot.len) as usize, most);
        let moved = buffer.done() - before;
        slot.len += moved as u32;
        self.bytes += moved;
        outcome
    }

    /// Puts at most a page of the program's bytes into a new slot. What was copied before an obstacle stays.
    #[inline]
    pub fn push(
        &mut self,
        buffer: &mut UserBuffer,
        most: usize,
        kind: SlotKind,
        attached: T,
    ) -> Result<(), Obstacle> {
        if self.slots.len() == self.slots.capacity() {
            self.make_room()?;
        }
        let mut frame = match self.spare.take() {
            Some(frame) => frame,
            None => new_frame()?,
        };
        let before = buffer.done();
        let outcome = buffer.copy_into_frame(&mut frame, 0, most.min(PAGE_SIZE));
        let moved = buffer.done() - before;
        if moved == 0 && outcome.is_err() {
            self.spare = Some(frame);
            return outcome;
        }
        self.slots.push_back(Slot { frame: Some(frame), start: 0, len: moved as u32, kind, attached });
        self.bytes += moved;
        outcome
    }

    #[cold]
    fn make_room(&mut self) -> Result<(), Errno> {
        self.slots.try_reserve(1).map_err(|_| Errno::ENOMEM)
    }

    /// An empty packet: it has no frame.
    pub fn push_empty(&mut self, kind: SlotKind, attached: T) -> Result<(), Errno> {
        self.slots.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.slots.push_back(Slot { frame: None, start: 0, len: 0, kind, attached });
        Ok(())
    }

    /// Takes back what was appended since the ring had so many slots and bytes.
    pub fn undo(&mut self, slots: usize, bytes: usize) {
        while self.slots.len() > slots {
            self.bytes -= self.slots.pop_back().map_or(0, |slot| slot.len());
        }
        let excess = self.bytes - bytes;
        if let Some(slot) = self.slots.back_mut() {
            slot.len -= excess as u32;
        }
        self.bytes = bytes;
    }

    /// Takes `bytes` out of the first slot; a slot that is used up leaves the ring.
    #[inline]
    pub fn consume(&mut self, bytes: usize) {
        let Some(slot) = self.slots.front_mut() else { return };
        slot.start += bytes as u32;
        slot.len -= bytes as u32;
        self.bytes -= bytes;
        if slot.len == 0 {
            drop(self.pop());
        }
    }

    /// Takes the first slot out, whatever is left in it.
    #[inline]
    pub fn pop(&mut self) -> Option<Slot<T>> {
        let mut slot = self.slots.pop_front()?;
        self.bytes -= slot.len();
        if self.spare.is_none() {
            self.spare = slot.frame.take();
        }
        Some(slot)
    }

    /// Moves bytes of the first slot to the program, as many as it has room for, and takes them out. A packet goes
    /// whole: what does not fit is lost.
    #[inline]
    pub fn move_out(&mut self, buffer: &mut UserBuffer) -> Result<(), Obstacle> {
        let Some(slot) = self.slots.front() else { return Ok(()) };
        let before = buffer.done();
        let outcome = slot.copy_out(0, buffer);
        let moved = buffer.done() - before;
        let taken = if slot.kind == SlotKind::Stream || outcome.is_err() { moved } else { slot.len() };
        self.consume(taken);
        outcome
    }

    /// Lets go of the spare frame.
    pub fn drop_spare(&mut self) {
        self.spare = None;
    }
}
