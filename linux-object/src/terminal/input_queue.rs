//! The bytes that have been received and not been read, with the ends of lines marked.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// How many bytes the queue holds.
pub(super) const CAPACITY: usize = 4096;
const WORD_BITS: usize = 64;

/// A ring. Positions count bytes and wrap. While readers get lines, `tail <= line_head <= head`; while they get what
/// comes, `line_head` stays where it was and only tells whether anything has come since.
pub(super) struct InputQueue {
    bytes: Vec<u8>,
    /// A bit for each byte: a line ends here. A NUL with that mark is an end of file, which readers do not see.
    line_ends: [u64; CAPACITY / WORD_BITS],
    head: usize,
    line_head: usize,
    tail: usize,
}

impl InputQueue {
    pub(super) fn new() -> Result<Self, TryReserveError> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(CAPACITY)?;
        bytes.resize(CAPACITY, 0);
        Ok(Self { bytes, line_ends: [0; CAPACITY / WORD_BITS], head: 0, line_head: 0, tail: 0 })
    }

    pub(super) fn clear(&mut self) {
        self.line_ends.fill(0);
        (self.head, self.line_head, self.tail) = (0, 0, 0);
    }

    /// All bytes, those of the unfinished line included.
    pub(super) fn len(&self) -> usize {
        self.head.wrapping_sub(self.tail)
    }

    /// The bytes of finished lines, ends of file included.
    pub(super) fn finished_len(&self) -> usize {
        self.line_head.wrapping_sub(self.tail)
    }

    /// The bytes of the line that is being typed.
    pub(super) fn unfinished_len(&self) -> usize {
        self.head.wrapping_sub(self.line_head)
    }

    /// The byte so many after the oldest.
    pub(super) fn byte(&self, offset: usize) -> u8 {
        self.bytes[self.tail.wrapping_add(offset) % CAPACITY]
    }

    /// The byte at this place of the line that is being typed.
    pub(super) fn unfinished_byte(&self, offset: usize) -> u8 {
        self.byte(self.finished_len() + offset)
    }

    /// Adds a byte; in place of the newest one if there is no room.
    pub(super) fn push(&mut self, byte: u8) {
        if self.len() >= CAPACITY {
            self.shorten(1);
        }
        self.bytes[self.head % CAPACITY] = byte;
        self.head = self.head.wrapping_add(1);
    }

    /// Takes the newest bytes back; no further than to the beginning of the unfinished line.
    pub(super) fn shorten(&mut self, count: usize) {
        self.head = self.head.wrapping_sub(count.min(self.unfinished_len()));
    }

    /// Adds the byte that ends a line, or zero for an end of file; readers may have the line now.
    pub(super) fn finish_line(&mut self, byte: u8) {
        self.push(byte);
        self.mark_newest();
        self.line_head = self.head;
    }

    fn mark_newest(&mut self) {
        let index = self.head.wrapping_sub(1) % CAPACITY;
        self.line_ends[index / WORD_BITS] |= 1 << (index % WORD_BITS);
    }

    /// Begins to hand out lines (what is there becomes one), or ceases to.
    pub(super) fn switch_lines(&mut self, lines: bool) {
        self.line_ends.fill(0);
        if lines && self.len() > 0 {
            self.mark_newest();
            self.line_head = self.head;
        } else {
            self.line_head = self.tail;
        }
    }

    pub(super) fn ends_line(&self, offset: usize) -> bool {
        let index = self.tail.wrapping_add(offset) % CAPACITY;
        self.line_ends[index / WORD_BITS] & (1 << (index % WORD_BITS)) != 0
    }

    pub(super) fn is_end_of_file(&self, offset: usize) -> bool {
        self.ends_line(offset) && self.byte(offset) == 0
    }

    /// Removes the oldest bytes, as many as there are.
    pub(super) fn remove_oldest(&mut self, count: usize) {
        for _ in 0..count.min(self.len()) {
            let index = self.tail % CAPACITY;
            self.line_ends[index / WORD_BITS] &= !(1 << (index % WORD_BITS));
            self.tail = self.tail.wrapping_add(1);
        }
    }
}
