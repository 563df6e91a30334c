//! How messages are written: a header, a body, attributes, all at multiples of four bytes.

use alloc::vec::Vec;

/// Bytes of `struct nlmsghdr`.
pub(super) const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// An answer to a request (`NLM_F_REQUEST`).
pub(super) const FLAG_REQUEST: u16 = 1;
/// One of several (`NLM_F_MULTI`).
pub(super) const FLAG_MULTI: u16 = 2;
/// An acknowledgement is asked for (`NLM_F_ACK`).
pub(super) const FLAG_ACK: u16 = 4;
/// All there is is asked for (`NLM_F_ROOT | NLM_F_MATCH`).
pub(super) const FLAGS_DUMP: u16 = 0x300;
/// Of the request only the header is repeated (`NLM_F_CAPPED`).
pub(super) const FLAG_CAPPED: u16 = 0x100;

pub(super) const KIND_ERROR: u16 = 2;
pub(super) const KIND_DONE: u16 = 3;
/// Kinds below this are the protocol's own.
pub(super) const FIRST_KIND: u16 = 0x10;

/// The next multiple of four.
pub(super) fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// `struct nlmsghdr` of a request.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) len: usize,
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
}

impl Header {
    /// The header that bytes begin with.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (header, _) = bytes.split_at_checked(HEADER_BYTES)?;
        let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        Some(Self { len: word(0) as usize, kind: half(4), flags: half(6), sequence: word(8) })
    }
}

/// A message that is being written.
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// One for the socket with this port.
    pub(super) fn new(kind: u16, flags: u16, sequence: u32, port: u32) -> Self {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&port.to_le_bytes());
        Self { bytes }
    }

    fn pad(&mut self) {
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }

    /// Adds a body.
    pub(super) fn body(&mut self, body: &[u8]) {
        self.bytes.extend_from_slice(body);
        self.pad();
    }

    /// Adds an attribute.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = (ATTRIBUTE_HEADER_BYTES + value.len()) as u16;
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.body(value);
    }

    /// Adds an attribute that is a number.
    pub(super) fn number(&mut self, kind: u16, number: u32) {
        self.attribute(kind, &number.to_le_bytes());
    }

    /// Adds an attribute that is a text.
    pub(super) fn text(&mut self, kind: u16, text: &[u8]) {
        let mut value = Vec::from(text);
        value.push(0);
        self.attribute(kind, &value);
    }

    /// The message with its length in it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let len = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        self.bytes
    }
}

/// The value of an attribute among those that follow a body.
pub(super) fn find_attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    /// Above the number are two flags.
    const KIND_MASK: u16 = 0x3fff;
    loop {
        let (header, _) = bytes.split_at_checked(ATTRIBUTE_HEADER_BYTES)?;
        let len = usize::from(u16::from_le_bytes([header[0], header[1]]));
        let found = u16::from_le_bytes([header[2], header[3]]) & KIND_MASK;
        if len < ATTRIBUTE_HEADER_BYTES || len > bytes.len() {
            return None;
        }
        if found == kind {
            return Some(&bytes[ATTRIBUTE_HEADER_BYTES..len]);
        }
        bytes = bytes.get(aligned(len)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_again() {
        let mut message = Message::new(18, FLAG_MULTI, 7, 9);
        message.text(3, b"lo");
        message.number(4, 65536);
        let bytes = message.finish();
        let header = Header::read(&bytes).unwrap();
        assert_eq!(
            (header.len, header.kind, header.flags, header.sequence),
            (bytes.len(), 18, FLAG_MULTI, 7)
        );
        let attributes = &bytes[HEADER_BYTES..];
        assert_eq!(find_attribute(attributes, 3), Some(&b"lo\0"[..]));
        assert_eq!(find_attribute(attributes, 4), Some(&65536u32.to_le_bytes()[..]));
        assert_eq!(find_attribute(attributes, 5), None);
    }

    #[test]
    fn damaged_attributes_end_the_search() {
        assert_eq!(find_attribute(&[3, 0, 1, 0], 1), None);
        assert_eq!(find_attribute(&[9, 0, 1, 0, 1, 2, 3, 4], 1), None);
        assert_eq!(find_attribute(&[5, 0, 1, 0, 1], 2), None);
        assert!(Header::read(&[0; 15]).is_none());
    }
}
