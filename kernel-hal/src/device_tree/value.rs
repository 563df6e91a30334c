//! How a property's bytes are read: big-endian cells, and lists of NUL-terminated strings.

/// The big-endian word at `offset`, if it lies inside.
pub fn big_endian_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    let end = offset.checked_add(4)?;
    Some(u32::from_be_bytes(bytes.get(offset..end)?.try_into().ok()?))
}

/// The big-endian double word at `offset`, if it lies inside.
pub fn big_endian_u64(bytes: &[u8], offset: usize) -> Option<u64> {
    let end = offset.checked_add(8)?;
    Some(u64::from_be_bytes(bytes.get(offset..end)?.try_into().ok()?))
}

/// A property's cells, taken from the front in numbers of one or two cells.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'a>(&'a [u8]);

impl<'a> Cells<'a> {
    /// The cells of a property's value.
    pub fn new(value: &'a [u8]) -> Self {
        Self(value)
    }

    /// Whether every cell has been taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes are left.
    pub fn remaining_bytes(&self) -> usize {
        self.0.len()
    }

    /// Takes one cell.
    pub fn next_u32(&mut self) -> Option<u32> {
        self.next_number(1).map(|number| number as u32)
    }

    /// Takes a number of `cells` cells: at most the last two of them may be other than zero. Zero cells make zero.
    pub fn next_number(&mut self, cells: usize) -> Option<u64> {
        let bytes = cells.checked_mul(4)?;
        let (number, rest) = self.0.split_at_checked(bytes)?;
        let (ignored, significant) = number.split_at(bytes.saturating_sub(8));
        if ignored.iter().any(|&byte| byte != 0) {
            return None;
        }
        self.0 = rest;
        Some(significant.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

/// A property's value as a list of strings. What is not terminated or not text is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strings<'a>(&'a [u8]);

impl<'a> Strings<'a> {
    /// The strings of a property's value.
    pub fn new(value: &'a [u8]) -> Self {
        Self(value)
    }

    /// Whether one of them is `wanted`.
    pub fn contains(mut self, wanted: &str) -> bool {
        self.any(|found| found == wanted)
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let end = self.0.iter().position(|&byte| byte == 0)?;
            let (text, rest) = self.0.split_at(end);
            self.0 = &rest[1..];
            if let Ok(text) = std::str::from_utf8(text) {
                return Some(text);
            }
        }
    }
}
