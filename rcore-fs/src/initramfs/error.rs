//! What can be wrong with an image.

use alloc::string::String;
use std::fmt;

use linux_abi::Errno;

/// Why an image could not be unpacked, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArchiveError {
    /// The position of the entry in the archive, counted as if nothing were compressed.
    pub offset: u64,
    /// The name of the entry, as far as it was known.
    pub name: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// There is no archive.
    Empty,
    /// It does not begin like a cpio archive.
    BadMagic,
    /// The image ends inside an entry's header.
    TruncatedHeader,
    /// The image ends inside an entry's name.
    TruncatedName,
    /// The image ends before the data of an entry does.
    TruncatedData,
    /// The image ends where the next entry or the trailer is due.
    MissingTrailer,
    /// A field of the header is not a hexadecimal number.
    BadNumber,
    /// The mode names no type of file.
    BadMode(u32),
    /// The name is empty.
    EmptyName,
    /// The name is longer than a path may be.
    NameTooLong(u32),
    /// The name does not end where its length says.
    BadName,
    /// The name leads out of the root.
    UnsafeName,
    /// The path of a symbolic link is empty or longer than a path may be.
    BadLink(u32),
    /// The sum of the data is not what the header says.
    BadChecksum,
    /// The compressed data is damaged.
    BadCompression(&'static str),
    /// It is compressed in a way that is not known here.
    UnsupportedCompression(&'static str),
    /// There is not enough memory.
    OutOfMemory,
    /// The filesystem refused it.
    Refused(Errno),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no archive"),
            Self::BadMagic => f.write_str("not a cpio archive (newc)"),
            Self::TruncatedHeader => f.write_str("truncated inside a header"),
            Self::TruncatedName => f.write_str("truncated inside a name"),
            Self::TruncatedData => f.write_str("truncated: the data goes beyond the end"),
            Self::MissingTrailer => f.write_str("truncated: the trailer is missing"),
            Self::BadNumber => f.write_str("a header field is not a hexadecimal number"),
            Self::BadMode(mode) => write!(f, "mode {mode:#o} names no type of file"),
            Self::EmptyName => f.write_str("an entry without a name"),
            Self::NameTooLong(length) => write!(f, "a name of {length} bytes is too long"),
            Self::BadName => f.write_str("a name does not end where its length says"),
            Self::UnsafeName => f.write_str("the name leads out of the root"),
            Self::BadLink(length) => write!(f, "a symbolic link cannot hold {length} bytes"),
            Self::BadChecksum => f.write_str("wrong checksum"),
            Self::BadCompression(what) => write!(f, "damaged gzip data: {what}"),
            Self::UnsupportedCompression(name) => write!(f, "compressed with {name}, which is not supported"),
            Self::OutOfMemory => f.write_str("not enough memory"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (at byte {}): {}", self.offset, self.problem),
            None => write!(f, "at byte {}: {}", self.offset, self.problem),
        }
    }
}

impl std::error::Error for ArchiveError {}
