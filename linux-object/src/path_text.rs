//! A path as a program names it, copied once.

use alloc::vec::Vec;

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use linux_abi::limits::PATH_MAX;
use zerocopy::IntoBytes;

use crate::obstacle::Attempt;
use crate::user_buffer::UserMemory;

/// Paths that end within so many bytes need no allocation.
const INLINE_BYTES: usize = INLINE_WORDS * WORD;
const INLINE_WORDS: usize = 12;
/// Read at once: a multiple of a word that divides pages, and longer than most paths.
const PIECE_BYTES: usize = 64;
/// What the copy moves at once.
const WORD: usize = size_of::<u64>();

/// Room for a path. Short ones stay on the stack.
pub struct PathText {
    inline: [u64; INLINE_WORDS],
    /// Where the path lies in it.
    range: (u16, u16),
    /// The path, if it is longer than that.
    long: Vec<u8>,
}

impl Default for PathText {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the first zero byte of some words is, the first `skipped` bytes left out.
#[inline]
fn end_of(words: &[u64], skipped: usize) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; WORD]);
    const TOPS: u64 = ONES << 7;
    let mut filled = (1 << (8 * skipped)) - 1;
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le(*word) | filled;
        filled = 0;
        // The lowest bit that is set belongs to the first zero byte; behind it there may be others too many.
        let zeros = word.wrapping_sub(ONES) & !word & TOPS;
        if zeros != 0 {
            return Some(index * WORD + zeros.trailing_zeros() as usize / 8);
        }
    }
    None
}

impl PathText {
    /// Room for a path.
    #[inline]
    pub const fn new() -> Self {
        Self { inline: [0; INLINE_WORDS], range: (0, 0), long: Vec::new() }
    }

    /// The path that was read.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        if self.long.is_empty() {
            &self.inline.as_bytes()[self.range.0 as usize..self.range.1 as usize]
        } else {
            &self.long
        }
    }

    /// Reads the path at an address: up to a zero byte, and less than [`PATH_MAX`] bytes.
    #[inline]
    pub fn load(&mut self, memory: &UserMemory, address: VirtAddr) -> Attempt<()> {
        // From the beginning of its first word on, which lies in the same page.
        let start = address.as_usize() % WORD;
        let address = VirtAddr::new(address.as_usize() - start);
        let mut len = 0;
        while len < INLINE_BYTES {
            // Up to a boundary: a path may end before a page that is not there.
            let most = PIECE_BYTES - (address.as_usize() + len) % PIECE_BYTES;
            let end = INLINE_BYTES.min(len + most);
            memory.read_bytes(address + len, &mut self.inline.as_mut_bytes()[len..end])?;
            let skipped = if len == 0 { start } else { 0 };
            if let Some(path_end) = end_of(&self.inline[len / WORD..end / WORD], skipped) {
                self.range = (start as u16, (len + path_end) as u16);
                self.long.clear();
                return Ok(());
            }
            len = end;
        }
        self.load_long(memory, address, start)
    }

    /// Goes on behind what is inline, which has no end.
    #[cold]
    fn load_long(&mut self, memory: &UserMemory, address: VirtAddr, start: usize) -> Attempt<()> {
        self.long.clear();
        self.long.try_reserve_exact(PATH_MAX).map_err(|_| Errno::ENOMEM)?;
        self.long.extend_from_slice(&self.inline.as_bytes()[start..]);
        let mut at = address.checked_add(INLINE_BYTES).ok_or(Errno::EFAULT)?;
        while self.long.len() < PATH_MAX {
            let before = self.long.len();
            let to_boundary = PIECE_BYTES - at.as_usize() % PIECE_BYTES;
            self.long.resize(before + to_boundary.min(PATH_MAX - before), 0);
            memory.read_bytes(at, &mut self.long[before..])?;
            if let Some(len) = self.long[before..].iter().position(|&byte| byte == 0) {
                self.long.truncate(before + len);
                return Ok(());
            }
            at = at.checked_add(to_boundary).ok_or(Errno::EFAULT)?;
        }
        self.long.clear();
        Err(Errno::ENAMETOOLONG.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_first_zero_byte_that_counts() {
        let end = |bytes: [u8; 24], skipped| {
            let mut words = [0; 3];
            words.as_mut_bytes().copy_from_slice(&bytes);
            end_of(&words, skipped)
        };
        assert_eq!(end([7; 24], 0), None);
        for at in 0..24 {
            let mut bytes = [1; 24];
            bytes[at..].fill(0);
            assert_eq!(end(bytes, 0), Some(at));
            bytes[at + 1..].fill(0x80);
            assert_eq!(end(bytes, at.min(7)), Some(at));
        }
        assert_eq!(end([0; 24], 3), Some(3));
    }
}
