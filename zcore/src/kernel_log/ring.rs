//! The records of the log, oldest first, in a ring of bytes: each has its number, and the newest push out the oldest.

use core::ops::Range;

use linux_object::kernel_messages::{Header, Severity};

/// Bytes of the ring. The debugger reads it too (scripts/gdb).
pub const RING_BYTES: usize = 64 << 10;
/// No text is longer than this.
pub const LONGEST_TEXT: usize = 976;

/// Before each text: microseconds (8 bytes), length (2), severity (1).
const HEADER_BYTES: usize = 11;

/// Positions count all bytes ever written; position modulo length is the place.
pub struct Ring {
    bytes: [u8; RING_BYTES],
    end: usize,
    next_sequence: u64,
    oldest: Place,
    /// Where the last reader stopped: readers go on one by one.
    recent: Place,
}

#[derive(Clone, Copy)]
struct Place {
    sequence: u64,
    position: usize,
}

impl Ring {
    pub const fn new() -> Self {
        let start = Place { sequence: 0, position: 0 };
        Self { bytes: [0; RING_BYTES], end: 0, next_sequence: 0, oldest: start, recent: start }
    }

    /// The numbers of the records that are there.
    pub fn sequences(&self) -> Range<u64> {
        self.oldest.sequence..self.next_sequence
    }

    /// Adds a record.
    pub fn push(&mut self, micros: u64, severity: Severity, text: &[u8]) {
        let text = &text[..text.len().min(LONGEST_TEXT)];
        while self.end + HEADER_BYTES + text.len() - self.oldest.position > RING_BYTES {
            self.oldest = self.after(self.oldest);
        }
        self.write(&micros.to_le_bytes());
        self.write(&(text.len() as u16).to_le_bytes());
        self.write(&[severity as u8]);
        self.write(text);
        self.next_sequence += 1;
    }

    /// The record with this number, if it is there; as much of its text as fits.
    pub fn read(&mut self, sequence: u64, text: &mut [u8]) -> Option<Header> {
        if !self.sequences().contains(&sequence) {
            return None;
        }
        let mut place = match self.recent.sequence {
            recent if recent <= sequence && recent >= self.oldest.sequence => self.recent,
            _ => self.oldest,
        };
        while place.sequence < sequence {
            place = self.after(place);
        }
        self.recent = place;
        let length = self.length_at(place.position);
        let taken = length.min(text.len());
        self.copy(place.position + HEADER_BYTES, &mut text[..taken]);
        let mut micros = [0; 8];
        self.copy(place.position, &mut micros);
        let mut severity = [0];
        self.copy(place.position + 10, &mut severity);
        Some(Header {
            micros: u64::from_le_bytes(micros),
            severity: Severity::from_number(severity[0])?,
            text_bytes: length,
        })
    }

    fn after(&self, place: Place) -> Place {
        let position = place.position + HEADER_BYTES + self.length_at(place.position);
        Place { sequence: place.sequence + 1, position }
    }

    fn length_at(&self, position: usize) -> usize {
        let mut length = [0; 2];
        self.copy(position + 8, &mut length);
        usize::from(u16::from_le_bytes(length))
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.bytes[self.end % RING_BYTES] = byte;
            self.end += 1;
        }
    }

    fn copy(&self, position: usize, destination: &mut [u8]) {
        for (offset, byte) in destination.iter_mut().enumerate() {
            *byte = self.bytes[(position + offset) % RING_BYTES];
        }
    }
}
