//! The header of a cpio entry: a magic and thirteen hexadecimal numbers of eight digits.

use linux_abi::stat::{DeviceNumber, S_IFMT, S_IFREG};

use super::error::Problem;

/// Bytes in a header.
pub(super) const HEADER_BYTES: usize = 6 + 13 * 8;
/// Bytes of the magic.
pub(super) const MAGIC_BYTES: usize = 6;

const MAGIC: &[u8; MAGIC_BYTES] = b"070701";
const MAGIC_WITH_CHECKSUM: &[u8; MAGIC_BYTES] = b"070702";

/// The name of the entry that ends an archive.
pub(super) const TRAILER: &[u8] = b"TRAILER!!!";

/// What an archive says about one of its files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where it begins in the archive.
    pub offset: u64,
    /// Tells names of one file: its device's numbers, and its own.
    pub identity: (u32, u32, u32),
    /// Type and permissions.
    pub mode: u32,
    /// Its owner.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// How many names it has.
    pub links: u32,
    /// When its content was changed, in seconds.
    pub modified: u32,
    /// Bytes of data.
    pub size: u32,
    /// What a device node stands for.
    pub device: DeviceNumber,
    pub(super) name_bytes: u32,
    /// The sum of its data, where there is one.
    pub(super) checksum: Option<u32>,
}

/// Whether these bytes begin a header.
pub(super) fn is_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || bytes.starts_with(MAGIC_WITH_CHECKSUM)
}

/// Whether these bytes, all that is left, might have become a magic; zeros stand for bytes that were not there.
pub(super) fn is_cut_magic(rest: &[u8]) -> bool {
    let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
    end > 0 && end < MAGIC_BYTES && MAGIC.starts_with(&rest[..end])
}

impl Entry {
    pub(super) fn parse(header: &[u8; HEADER_BYTES], offset: u64) -> Result<Self, Problem> {
        if !is_magic(header) {
            return Err(Problem::BadMagic);
        }
        let mut numbers = [0; 13];
        let (digits, _) = header[MAGIC_BYTES..].as_chunks::<8>();
        for (number, digits) in numbers.iter_mut().zip(digits) {
            *number = parse_number(digits)?;
        }
        let [
            inode,
            mode,
            user,
            group,
            links,
            modified,
            size,
            major,
            minor,
            device_major,
            device_minor,
            name,
            sum,
        ] = numbers;
        // Writers of archives compute it for the data of regular files alone.
        let has_checksum = header.starts_with(MAGIC_WITH_CHECKSUM) && mode & S_IFMT == S_IFREG && size > 0;
        Ok(Self {
            offset,
            identity: (major, minor, inode),
            mode,
            user,
            group,
            links,
            modified,
            size,
            device: DeviceNumber::new(device_major, device_minor),
            name_bytes: name,
            checksum: has_checksum.then_some(sum),
        })
    }

    /// Zeros between the name and the data.
    pub(super) fn padding_after_name(&self) -> usize {
        padding(HEADER_BYTES as u64 + u64::from(self.name_bytes))
    }

    /// Zeros after the data.
    pub(super) fn padding_after_data(&self) -> usize {
        padding(u64::from(self.size))
    }
}

fn padding(length: u64) -> usize {
    (length.next_multiple_of(4) - length) as usize
}

fn parse_number(digits: &[u8; 8]) -> Result<u32, Problem> {
    digits.iter().try_fold(0u32, |number, &digit| {
        let value = (digit as char).to_digit(16).ok_or(Problem::BadNumber)?;
        Ok(number << 4 | value)
    })
}
