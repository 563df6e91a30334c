//! Bytes that were sent and not confirmed yet, and those that wait for their turn.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use linux_abi::Errno;

/// What is collected from small writes before another piece begins.
const PIECE_BYTES: usize = 4096;

/// A queue that is read at any offset and loses bytes at its front.
#[derive(Default)]
pub struct SendQueue {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that are gone.
    gone: usize,
    bytes: usize,
    /// Where the last copy ended: a piece, and its first byte's offset as of now.
    cursor: (usize, usize),
}

impl SendQueue {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Puts bytes at the end.
    pub fn push(&mut self, piece: Vec<u8>) -> Result<(), Errno> {
        self.bytes += piece.len();
        if let Some(last) = self.pieces.back_mut()
            && last.len() + piece.len() <= PIECE_BYTES
            && last.try_reserve(piece.len()).is_ok()
        {
            last.extend_from_slice(&piece);
            return Ok(());
        }
        if self.pieces.try_reserve(1).is_err() {
            self.bytes -= piece.len();
            return Err(Errno::ENOMEM);
        }
        self.pieces.push_back(piece);
        Ok(())
    }

    /// Copies bytes that begin at an offset; as many as there are.
    pub fn copy(&mut self, offset: usize, mut destination: &mut [u8]) {
        let (mut index, mut start) = self.cursor;
        if start > offset || index >= self.pieces.len() {
            (index, start) = (0, 0);
        }
        while let Some(piece) = self.pieces.get(index)
            && !destination.is_empty()
        {
            let skipped = if index == 0 { self.gone } else { 0 };
            let len = piece.len() - skipped;
            self.cursor = (index, start);
            let from = (offset.max(start) - start).min(len);
            let count = (len - from).min(destination.len());
            let (now, later) = destination.split_at_mut(count);
            now.copy_from_slice(&piece[skipped + from..skipped + from + count]);
            destination = later;
            (index, start) = (index + 1, start + len);
        }
    }

    /// The first bytes have arrived.
    pub fn discard(&mut self, mut bytes: usize) {
        bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.gone += bytes;
        let mut dropped = 0usize;
        while let Some(first) = self.pieces.front()
            && self.gone >= first.len()
        {
            self.gone -= first.len();
            self.pieces.pop_front();
            dropped += 1;
        }
        let (index, start) = self.cursor;
        self.cursor =
            if index > dropped && start >= bytes { (index - dropped, start - bytes) } else { (0, 0) };
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn bytes_are_found_at_every_offset_while_the_front_goes() {
        let mut queue = SendQueue::default();
        let mut model: Vec<u8> = Vec::new();
        let mut next = 0u8;
        for round in 0..400usize {
            let piece: Vec<u8> = (0..(round * 97) % 5000)
                .map(|_| {
                    next = next.wrapping_mul(31).wrapping_add(7);
                    next
                })
                .collect();
            model.extend_from_slice(&piece);
            queue.push(piece).unwrap();
            for offset in [0, model.len() / 3, model.len() / 2, model.len().saturating_sub(10)] {
                let mut copy = vec![0; 1400.min(model.len() - offset)];
                queue.copy(offset, &mut copy);
                assert_eq!(copy, model[offset..offset + copy.len()]);
            }
            let gone = (round * 61) % 5200;
            let gone = gone.min(model.len());
            queue.discard(gone);
            model.drain(..gone);
            assert_eq!(queue.len(), model.len());
        }
    }
}
