//! Reads the entries of an image one after the other.

use alloc::string::String;
use alloc::vec::Vec;

use linux_abi::limits::PATH_MAX;

use super::error::{ArchiveError, Problem};
use super::gzip::{self, Inflater};
use super::header::{Entry, HEADER_BYTES, MAGIC_BYTES, TRAILER, is_cut_magic, is_magic};

/// The most bytes of data that are handed out at once.
const MOST_BYTES_AT_ONCE: usize = 64 << 10;

/// How archives begin that are compressed in other ways than gzip.
const OTHER_COMPRESSIONS: [(&[u8], &str); 6] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x5d\0\0", "lzma"),
    (b"\x89LZO", "lzo"),
];

/// Where bytes come from: the image itself, or a compressed member of it.
enum Source<'a> {
    Plain(&'a [u8]),
    Gzip(Inflater<'a>),
}

impl Source<'_> {
    fn chunk(&mut self) -> Result<&[u8], Problem> {
        match self {
            Self::Plain(rest) => Ok(rest),
            Self::Gzip(inflater) => inflater.chunk(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Self::Plain(rest) => *rest = &rest[count..],
            Self::Gzip(inflater) => inflater.consume(count),
        }
    }
}

/// Reads an image: [`Reader::next_entry`], then its name and data, then the next.
pub struct Reader<'a> {
    source: Source<'a>,
    /// Bytes taken from all sources.
    position: u64,
    entry_offset: u64,
    name: Vec<u8>,
    /// Of the present entry: data not taken, and the zeros after it.
    data_left: u64,
    padding: usize,
    sum: u32,
    expected_sum: Option<u32>,
    inside_archive: bool,
    archives: usize,
    trailing_bytes: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of an image.
    pub fn new(image: &'a [u8]) -> Self {
        Self {
            source: Source::Plain(image),
            position: 0,
            entry_offset: 0,
            name: Vec::new(),
            data_left: 0,
            padding: 0,
            sum: 0,
            expected_sum: None,
            inside_archive: false,
            archives: 0,
            trailing_bytes: 0,
        }
    }

    /// The next entry, or none after the last archive. Data of the present entry that was not taken is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.finish_entry()?;
        self.name.clear();
        loop {
            self.entry_offset = self.position;
            if !self.inside_archive && !self.find_archive().map_err(|problem| self.error(problem))? {
                return Ok(None);
            }
            match self.read_header() {
                Ok(Some(entry)) => return Ok(Some(entry)),
                // A trailer: the next archive has its own inode numbers.
                Ok(None) => self.inside_archive = false,
                Err(problem) => return Err(self.error(problem)),
            }
        }
    }

    /// The name of the present entry: not empty, without NUL.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Which archive of the image the present entry is in, counted from 1.
    pub fn archive(&self) -> usize {
        self.archives
    }

    /// Bytes after the last archive, once there are no more entries.
    pub fn trailing_bytes(&self) -> usize {
        self.trailing_bytes
    }

    /// The next piece of the present entry's data; empty at its end, where the checksum was found to be right.
    pub fn data(&mut self) -> Result<&[u8], ArchiveError> {
        if self.data_left == 0 {
            return match self.expected_sum.take() {
                Some(sum) if sum != self.sum => Err(self.error(Problem::BadChecksum)),
                _ => Ok(&[]),
            };
        }
        match self.source.chunk() {
            Err(problem) => Err(self.error(problem)),
            Ok([]) => Err(self.error(Problem::TruncatedData)),
            Ok(_) => self.present_data(),
        }
    }

    /// Takes bytes of the last [`Self::data`].
    pub fn consume(&mut self, count: usize) {
        if self.expected_sum.is_some()
            && let Ok(chunk) = self.source.chunk()
        {
            let taken = chunk.iter().take(count);
            self.sum = taken.fold(self.sum, |sum, &byte| sum.wrapping_add(u32::from(byte)));
        }
        self.data_left -= count as u64;
        self.advance(count);
    }

    /// What is wrong, at the present entry.
    pub fn error(&self, problem: Problem) -> ArchiveError {
        let name = (!self.name.is_empty()).then(|| String::from_utf8_lossy(&self.name).into_owned());
        ArchiveError { offset: self.entry_offset, name, problem }
    }

    /// The bytes that [`Self::data`] found, again: a borrow that its error paths need not share.
    fn present_data(&mut self) -> Result<&[u8], ArchiveError> {
        let (offset, most) = (self.entry_offset, self.data_left.min(MOST_BYTES_AT_ONCE as u64) as usize);
        match self.source.chunk() {
            Ok(chunk) => Ok(&chunk[..chunk.len().min(most)]),
            Err(problem) => Err(ArchiveError { offset, name: None, problem }),
        }
    }

    fn finish_entry(&mut self) -> Result<(), ArchiveError> {
        loop {
            let count = self.data()?.len();
            if count == 0 {
                break;
            }
            self.consume(count);
        }
        let padding = std::mem::take(&mut self.padding);
        self.skip(padding).map_err(|problem| self.error(problem))
    }

    /// Goes to the beginning of the next archive; `false` if there is none.
    fn find_archive(&mut self) -> Result<bool, Problem> {
        loop {
            self.skip_zeros()?;
            self.entry_offset = self.position;
            if matches!(self.source, Source::Gzip(_)) && self.is_at_end()? {
                if let Source::Gzip(inflater) = &self.source {
                    self.source = Source::Plain(inflater.rest());
                }
                continue;
            }
            match &self.source {
                Source::Plain([]) if self.archives == 0 => return Err(Problem::Empty),
                Source::Plain([]) => return Ok(false),
                Source::Plain(rest) if rest.starts_with(&gzip::MAGIC) => {
                    self.source = Source::Gzip(Inflater::new(rest)?);
                    continue;
                }
                Source::Plain(rest) if !is_magic(rest) => {
                    if let Some((_, name)) =
                        OTHER_COMPRESSIONS.iter().find(|(magic, _)| rest.starts_with(magic))
                    {
                        return Err(Problem::UnsupportedCompression(name));
                    }
                    return match self.archives {
                        _ if is_cut_magic(rest) => Err(Problem::TruncatedHeader),
                        0 => Err(Problem::BadMagic),
                        _ => {
                            self.trailing_bytes = rest.len();
                            Ok(false)
                        }
                    };
                }
                Source::Plain(_) | Source::Gzip(_) => {}
            }
            self.inside_archive = true;
            self.archives += 1;
            return Ok(true);
        }
    }

    /// Reads a header and a name. `None` is the trailer.
    fn read_header(&mut self) -> Result<Option<Entry>, Problem> {
        if self.is_at_end()? {
            return Err(Problem::MissingTrailer);
        }
        let mut header = [0; HEADER_BYTES];
        let (magic, numbers) = header.split_at_mut(MAGIC_BYTES);
        let has_magic = self.read_exactly(magic)?;
        if has_magic && !is_magic(magic) || !has_magic && !is_cut_magic(magic) {
            return Err(Problem::BadMagic);
        }
        if !has_magic || !self.read_exactly(numbers)? {
            return Err(Problem::TruncatedHeader);
        }
        let entry = Entry::parse(&header, self.entry_offset)?;
        let length = entry.name_bytes as usize;
        match length {
            0 | 1 => return Err(Problem::EmptyName),
            2..=PATH_MAX => {}
            _ => return Err(Problem::NameTooLong(entry.name_bytes)),
        }
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        name.try_reserve(length).map_err(|_| Problem::OutOfMemory)?;
        name.resize(length, 0);
        if !self.read_exactly(&mut name)? {
            return Err(Problem::TruncatedName);
        }
        let terminator = name.pop();
        if terminator != Some(0) || name.contains(&0) {
            return Err(Problem::BadName);
        }
        self.name = name;
        self.skip(entry.padding_after_name())?;
        self.data_left = u64::from(entry.size);
        self.padding = entry.padding_after_data();
        self.sum = 0;
        self.expected_sum = entry.checksum;
        if self.name == TRAILER {
            (self.data_left, self.padding, self.expected_sum) = (0, 0, None);
            self.name.clear();
            return Ok(None);
        }
        if let Source::Plain(rest) = &self.source
            && (rest.len() as u64) < self.data_left
        {
            return Err(Problem::TruncatedData);
        }
        Ok(Some(entry))
    }

    fn advance(&mut self, count: usize) {
        self.source.consume(count);
        self.position += count as u64;
    }

    fn is_at_end(&mut self) -> Result<bool, Problem> {
        Ok(self.source.chunk()?.is_empty())
    }

    /// Fills a buffer; `false` if the source ends before.
    fn read_exactly(&mut self, buffer: &mut [u8]) -> Result<bool, Problem> {
        let mut done = 0;
        while done < buffer.len() {
            let chunk = self.source.chunk()?;
            if chunk.is_empty() {
                return Ok(false);
            }
            let count = chunk.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&chunk[..count]);
            self.advance(count);
            done += count;
        }
        Ok(true)
    }

    /// Skips padding, as far as there is any: the end of an image need not be padded.
    fn skip(&mut self, mut count: usize) -> Result<(), Problem> {
        while count > 0 {
            let step = self.source.chunk()?.len().min(count);
            if step == 0 {
                break;
            }
            self.advance(step);
            count -= step;
        }
        Ok(())
    }

    fn skip_zeros(&mut self) -> Result<(), Problem> {
        loop {
            let chunk = self.source.chunk()?;
            let zeros = chunk.iter().take_while(|&&byte| byte == 0).count();
            let is_last = zeros < chunk.len() || chunk.is_empty();
            self.advance(zeros);
            if is_last {
                return Ok(());
            }
        }
    }
}
