//! Makes cpio archives and gzip members for the tests.

use std::format;
use std::vec::Vec;

/// A cpio archive under construction.
pub(super) struct Builder {
    bytes: Vec<u8>,
    next_inode: u32,
    with_checksums: bool,
}

/// What a header says beside name and size.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub inode: u32,
    pub mode: u32,
    pub links: u32,
    pub device: (u32, u32),
}

impl Builder {
    pub fn new() -> Self {
        Self { bytes: Vec::new(), next_inode: 1, with_checksums: false }
    }

    pub fn with_checksums() -> Self {
        Self { with_checksums: true, ..Self::new() }
    }

    pub fn entry(mut self, name: &str, fields: Fields, data: &[u8]) -> Self {
        let sum = data.iter().map(|&byte| u32::from(byte)).sum::<u32>();
        let Fields { inode, mode, links, device } = fields;
        let numbers = [
            inode,
            mode,
            1000,
            100,
            links,
            1_700_000_000,
            data.len() as u32,
            8,
            1,
            device.0,
            device.1,
            name.len() as u32 + 1,
            if self.with_checksums { sum } else { 0 },
        ];
        self.bytes.extend_from_slice(if self.with_checksums { b"070702" } else { b"070701" });
        for number in numbers {
            self.bytes.extend_from_slice(format!("{number:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        self
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }

    fn plain(self, name: &str, mode: u32, data: &[u8]) -> Self {
        let inode = self.next_inode;
        let mut builder = self.entry(name, Fields { inode, mode, links: 1, device: (0, 0) }, data);
        builder.next_inode += 1;
        builder
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.plain(name, 0o100644, data)
    }

    pub fn directory(self, name: &str) -> Self {
        self.plain(name, 0o040755, b"")
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.plain(name, 0o120777, target.as_bytes())
    }

    pub fn device(self, name: &str, major: u32, minor: u32) -> Self {
        self.entry(name, Fields { inode: 900, mode: 0o020600, links: 1, device: (major, minor) }, b"")
    }

    /// One of several names of a file.
    pub fn hard_link(self, name: &str, inode: u32, data: &[u8]) -> Self {
        self.entry(name, Fields { inode, mode: 0o100644, links: 2, device: (0, 0) }, data)
    }

    /// The archive without its end.
    pub fn without_trailer(self) -> Vec<u8> {
        self.bytes
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.with_checksums = false;
        self.entry("TRAILER!!!", Fields { inode: 0, mode: 0, links: 1, device: (0, 0) }, b"").bytes
    }
}

/// A gzip member with a file name in its header.
pub(super) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut member = b"\x1f\x8b\x08\x08\0\0\0\0\0\x03image\0".to_vec();
    member.extend(miniz_oxide::deflate::compress_to_vec(data, 6));
    member.extend(crc32fast::hash(data).to_le_bytes());
    member.extend((data.len() as u32).to_le_bytes());
    member
}
