//! One gzip member, inflated through a window.

use alloc::boxed::Box;
use alloc::vec::Vec;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, TINFL_LZ_DICT_SIZE, decompress};

use super::error::Problem;

/// How a gzip member begins.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

const METHOD_DEFLATE: u8 = 8;
const HAS_HEADER_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA_FIELD: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED_FLAGS: u8 = 0xe0;

const TRUNCATED: Problem = Problem::BadCompression("it ends too early");

/// A member whose content is taken out piece by piece.
pub(super) struct Inflater<'a> {
    /// Compressed bytes that were not looked at, and whatever follows the member.
    input: &'a [u8],
    /// One, boxed as an array because only vectors can be allocated with the chance to fail.
    state: Box<[DecompressorOxide; 1]>,
    /// What was inflated last; a ring, to which later data refers.
    window: Vec<u8>,
    /// The part of the window that nobody has taken.
    ready_start: usize,
    ready_end: usize,
    checksum: crc32fast::Hasher,
    length: u32,
    finished: bool,
}

impl<'a> Inflater<'a> {
    /// A member at the beginning of `input`.
    pub fn new(input: &'a [u8]) -> Result<Self, Problem> {
        let input = skip_header(input)?;
        let mut window = Vec::new();
        window.try_reserve_exact(TINFL_LZ_DICT_SIZE).map_err(|_| Problem::OutOfMemory)?;
        window.resize(TINFL_LZ_DICT_SIZE, 0);
        Ok(Self {
            input,
            state: new_state()?,
            window,
            ready_start: 0,
            ready_end: 0,
            checksum: crc32fast::Hasher::new(),
            length: 0,
            finished: false,
        })
    }

    /// The next bytes; none at the end of the member, which then proved to be whole.
    pub fn chunk(&mut self) -> Result<&[u8], Problem> {
        while self.ready_start == self.ready_end && !self.finished {
            self.inflate()?;
        }
        Ok(&self.window[self.ready_start..self.ready_end])
    }

    /// Takes bytes of the last [`Self::chunk`].
    pub fn consume(&mut self, count: usize) {
        self.ready_start += count;
        debug_assert!(self.ready_start <= self.ready_end);
    }

    /// What follows the member, once its end was reached.
    pub fn rest(&self) -> &'a [u8] {
        self.input
    }

    fn inflate(&mut self) -> Result<(), Problem> {
        let start = if self.ready_end == self.window.len() { 0 } else { self.ready_end };
        // Input is always all there: with the flag, running out of it is told apart from damage.
        let [state] = &mut *self.state;
        let (status, taken, made) =
            decompress(state, self.input, &mut self.window, start, TINFL_FLAG_HAS_MORE_INPUT);
        self.input = &self.input[taken..];
        (self.ready_start, self.ready_end) = (start, start + made);
        self.checksum.update(&self.window[start..start + made]);
        self.length = self.length.wrapping_add(made as u32);
        match status {
            TINFLStatus::Done => self.finish(),
            TINFLStatus::HasMoreOutput => Ok(()),
            TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => Err(TRUNCATED),
            _ => Err(Problem::BadCompression("its codes make no sense")),
        }
    }

    fn finish(&mut self) -> Result<(), Problem> {
        let (trailer, rest) = self.input.split_first_chunk::<8>().ok_or(TRUNCATED)?;
        let [c0, c1, c2, c3, l0, l1, l2, l3] = *trailer;
        if u32::from_le_bytes([c0, c1, c2, c3]) != self.checksum.clone().finalize() {
            return Err(Problem::BadCompression("wrong checksum"));
        }
        if u32::from_le_bytes([l0, l1, l2, l3]) != self.length {
            return Err(Problem::BadCompression("wrong length"));
        }
        self.input = rest;
        self.finished = true;
        Ok(())
    }
}

fn new_state() -> Result<Box<[DecompressorOxide; 1]>, Problem> {
    let mut states = Vec::new();
    states.try_reserve_exact(1).map_err(|_| Problem::OutOfMemory)?;
    states.push(DecompressorOxide::new());
    states.into_boxed_slice().try_into().map_err(|_| Problem::OutOfMemory)
}

fn skip_header(input: &[u8]) -> Result<&[u8], Problem> {
    let (header, mut rest) = input.split_first_chunk::<10>().ok_or(TRUNCATED)?;
    let [_, _, method, flags, ..] = *header;
    if method != METHOD_DEFLATE || flags & RESERVED_FLAGS != 0 {
        return Err(Problem::BadCompression("unknown method"));
    }
    if flags & HAS_EXTRA_FIELD != 0 {
        let (length, after) = rest.split_first_chunk::<2>().ok_or(TRUNCATED)?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..).ok_or(TRUNCATED)?;
    }
    for text in [HAS_NAME, HAS_COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|&byte| byte == 0).ok_or(TRUNCATED)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & HAS_HEADER_CHECKSUM != 0 {
        rest = rest.get(2..).ok_or(TRUNCATED)?;
    }
    Ok(rest)
}
