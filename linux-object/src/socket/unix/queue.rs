//! How bytes and messages go into a receiver's queue and out of it.

use kernel_hal::PAGE_SIZE;

use super::super::{MessageFlags, Received};
use super::{Attached, Ring};
use crate::file::SlotKind;
use crate::obstacle::{Attempt, Obstacle};
use crate::user_buffer::UserBuffer;

/// Whether so many bytes go where others are already.
pub(super) fn may_append(ring: &Ring, bytes: usize, ancillary: &Attached) -> bool {
    ancillary.is_none() && ring.last_attached().is_some_and(Option::is_none) && bytes <= ring.room_in_last()
}

pub(super) fn fill_stream(
    ring: &mut Ring,
    buffer: &mut UserBuffer,
    most_slots: usize,
    ancillary: &mut Attached,
) -> Result<(), Obstacle> {
    let mut left = buffer.remaining();
    if may_append(ring, left, ancillary) {
        return ring.append(buffer, left);
    }
    while left > 0 && ring.slots() < most_slots {
        let slots = ring.slots();
        // Put back if not even one byte could be copied.
        let attached = ancillary.take();
        let kept = attached.clone();
        if let Err(obstacle) = ring.push(buffer, PAGE_SIZE, SlotKind::Stream, attached) {
            if ring.slots() == slots {
                *ancillary = kept;
            }
            return Err(obstacle);
        }
        left = left.saturating_sub(PAGE_SIZE);
    }
    Ok(())
}

pub(super) fn fill_packet(
    ring: &mut Ring,
    buffer: &mut UserBuffer,
    ancillary: &mut Attached,
) -> Result<(), Obstacle> {
    let (slots, bytes, mark) = (ring.slots(), ring.bytes(), buffer.mark());
    let mut attached = ancillary.clone();
    if buffer.remaining() == 0 {
        return Ok(ring.push_empty(SlotKind::PacketEnd, attached)?);
    }
    while buffer.remaining() > 0 {
        let is_last = buffer.remaining() <= PAGE_SIZE;
        let kind = if is_last { SlotKind::PacketEnd } else { SlotKind::PacketPart };
        if let Err(obstacle) = ring.push(buffer, PAGE_SIZE, kind, attached.take()) {
            // All of it or nothing.
            ring.undo(slots, bytes);
            buffer.rewind(mark);
            return Err(obstacle);
        }
    }
    *ancillary = None;
    Ok(())
}

pub(super) fn read_stream(
    ring: &mut Ring,
    buffer: &mut UserBuffer,
    flags: MessageFlags,
    received: &mut Received,
) -> Attempt {
    let is_peek = flags.contains(MessageFlags::PEEK);
    let mark = buffer.mark();
    let mut index = 0;
    while buffer.remaining() > 0
        && let Some(slot) = ring.get(index)
    {
        let mut is_last = false;
        if let Some(attached) = &slot.attached {
            let has_bytes = buffer.done() > 0;
            let sender = received.ancillary.as_ref().and_then(|ancillary| ancillary.credentials);
            // Bytes of another sender begin a read of their own; descriptors end theirs.
            if has_bytes && attached.rights.is_empty() && attached.credentials != sender {
                break;
            }
            is_last = !attached.rights.is_empty();
            received.ancillary = Some(attached.clone());
        }
        let before = buffer.done();
        let outcome = slot.copy_out(0, buffer);
        let moved = buffer.done() - before;
        if is_peek {
            outcome?;
            index += 1;
        } else {
            if moved > 0
                && let Some(slot) = ring.front_mut()
            {
                slot.attached = None;
            } else if outcome.is_err() {
                received.ancillary = None;
            }
            ring.consume(moved);
            outcome?;
        }
        if is_last {
            break;
        }
    }
    let bytes = buffer.done();
    if is_peek && bytes == mark.done() {
        buffer.rewind(mark);
    }
    Ok(bytes)
}

pub(super) fn read_packet(
    ring: &mut Ring,
    buffer: &mut UserBuffer,
    flags: MessageFlags,
    received: &mut Received,
) -> Attempt {
    let mark = buffer.mark();
    let (mut len, mut index) = (0, 0);
    while let Some(slot) = ring.get(index) {
        len += slot.len();
        index += 1;
        if let Err(obstacle) = slot.copy_out(0, buffer) {
            buffer.rewind(mark);
            return Err(obstacle);
        }
        if slot.kind() == SlotKind::PacketEnd {
            break;
        }
    }
    received.ancillary = ring.front().and_then(|slot| slot.attached.clone());
    let moved = buffer.done() - mark.done();
    received.flags.set(MessageFlags::TRUNC, moved < len);
    if !flags.contains(MessageFlags::PEEK) {
        for _ in 0..index {
            drop(ring.pop());
        }
    }
    Ok(if flags.contains(MessageFlags::TRUNC) { len } else { moved })
}
