//! Directory entries: the records of `getdents64`, and a writer for them.

use crate::stat::FileType;
use crate::table::constants;

constants! { u8 {
    DT_UNKNOWN = 0;
    DT_FIFO = 1;
    DT_CHR = 2;
    DT_DIR = 4;
    DT_BLK = 6;
    DT_REG = 8;
    DT_LNK = 10;
    DT_SOCK = 12;
    DT_WHT = 14;
} }

/// Bytes before the name in a `struct linux_dirent64`: inode number (8), offset (8), record length (2), type (1).
pub const DIRECTORY_ENTRY_HEADER: usize = 19;

/// The length of the record for a name of `name_length` bytes: header, name, NUL, rounded up to 8.
pub const fn directory_entry_length(name_length: usize) -> usize {
    (DIRECTORY_ENTRY_HEADER + name_length + 1).next_multiple_of(8)
}

/// Writes `struct linux_dirent64` records one after the other into a buffer.
#[derive(Debug)]
pub struct DirectoryEntryWriter<'a> {
    buffer: &'a mut [u8],
    used: usize,
}

/// The buffer has no room for the record; nothing of it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferFull;

impl<'a> DirectoryEntryWriter<'a> {
    /// Starts at the beginning of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, used: 0 }
    }

    /// Bytes written so far: the result of `getdents64`.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Appends one entry. `next_cookie` is the position of the entry after it (`d_off`). Unused bytes of the record
    /// are zeroed, so that nothing of the buffer's past reaches user space.
    pub fn push(
        &mut self,
        inode: u64,
        next_cookie: i64,
        file_type: Option<FileType>,
        name: &[u8],
    ) -> Result<(), BufferFull> {
        let length = directory_entry_length(name.len());
        let record_length = u16::try_from(length).map_err(|_| BufferFull)?;
        let record = self.buffer[self.used..].get_mut(..length).ok_or(BufferFull)?;
        record[0..8].copy_from_slice(&inode.to_le_bytes());
        record[8..16].copy_from_slice(&next_cookie.to_le_bytes());
        record[16..18].copy_from_slice(&record_length.to_le_bytes());
        record[18] = file_type.map_or(DT_UNKNOWN, FileType::directory_entry_type);
        let (name_bytes, padding) = record[DIRECTORY_ENTRY_HEADER..].split_at_mut(name.len());
        name_bytes.copy_from_slice(name);
        padding.fill(0);
        self.used += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_follow_each_other() {
        let mut buffer = [0xaa; 64];
        let mut writer = DirectoryEntryWriter::new(&mut buffer);
        writer.push(7, 1, Some(FileType::Directory), b".").unwrap();
        writer.push(0x0102, 2, None, b"abcd").unwrap();
        assert_eq!(writer.used(), 48);
        assert_eq!(writer.push(9, 3, Some(FileType::Regular), b"x"), Err(BufferFull));
        assert_eq!(writer.used(), 48);
        assert_eq!(buffer[..24], *b"\x07\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x18\0\x04.\0\0\0\0");
        assert_eq!(buffer[24..48], *b"\x02\x01\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x18\0\0abcd\0");
        assert_eq!(buffer[48..], [0xaa; 16]);
    }

    #[test]
    fn lengths_round_up() {
        assert_eq!(directory_entry_length(1), 24);
        assert_eq!(directory_entry_length(4), 24);
        assert_eq!(directory_entry_length(5), 32);
    }
}
