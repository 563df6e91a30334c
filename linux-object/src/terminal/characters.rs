//! What kind of character a byte is, in the eyes of Linux's terminals: Latin-1, whatever the locale, with UTF-8 known
//! only by its continuation bytes.

/// The character that rubs out to the left, on paper and on screens.
pub(super) const BACKSPACE: u8 = 8;

/// A control character other than those of Latin-1's upper half.
pub(super) fn is_control(byte: u8) -> bool {
    byte < b' ' || byte == 0x7f
}

fn is_upper(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde)
}

fn is_lower(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | 0xdf..=0xf6 | 0xf8..=0xff)
}

/// A character that word erase takes for part of a word.
pub(super) fn is_word(byte: u8) -> bool {
    is_upper(byte) || is_lower(byte) || byte.is_ascii_digit() || byte == b'_'
}

/// `IUCLC`.
pub(super) fn to_lower(byte: u8) -> u8 {
    if is_upper(byte) { byte + 0x20 } else { byte }
}

/// `OLCUC`. The two small letters of Latin-1 without a capital lose their bit all the same.
pub(super) fn to_upper(byte: u8) -> u8 {
    if is_lower(byte) { byte - 0x20 } else { byte }
}

/// A byte of UTF-8 that continues a character and so takes no column of its own.
pub(super) fn continues_utf8(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// A set of bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct ByteSet([u64; 4]);

impl ByteSet {
    pub(super) fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub(super) fn remove(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
    }

    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }
}
