//! A reader for flattened device trees, the form in which firmware hands over what it knows of the machine.
//!
//! The blob is somebody else's data, so nothing in it is believed: [`DeviceTree::parse`] walks all of it once and
//! refuses a tree whose offsets leave the blob, whose nodes do not nest, or whose names are not text. What comes
//! after (iterators, lookups) re-checks each step all the same, so no input makes it panic, read outside the blob or
//! go on forever: every step moves forward in the blob.
//!
//! Nothing is allocated and nothing is copied; all that is returned borrows from the blob. Only version 17 blobs
//! are read, the one version that anything has written since 2007. What the properties *mean* is the business of
//! [`crate::machine_description`].

mod node;
mod value;

#[cfg(test)]
pub(crate) mod builder;
#[cfg(test)]
mod tests;

use std::fmt;

pub use node::{Node, Property};
pub use value::{Cells, Strings, big_endian_u32, big_endian_u64};

/// Nodes nested deeper than this are refused: real trees stay below 10.
pub const MAX_DEPTH: usize = 32;
/// Blobs larger than this are refused: real ones stay below 100 KiB.
pub const MAX_BLOB_BYTES: usize = 2 << 20;

const MAGIC: u32 = 0xd00d_feed;
const HEADER_BYTES: usize = 40;
const VERSION: u32 = 17;

/// Why a blob is not a device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceTreeError {
    /// The pointer is null or not aligned to 8 bytes.
    BadPointer,
    /// The blob ends inside its header.
    HeaderTruncated,
    /// The first word is not the device tree's magic number.
    BadMagic(u32),
    /// The blob's layout is not that of version 17.
    UnsupportedVersion(u32),
    /// The header claims more bytes than there are, or more than [`MAX_BLOB_BYTES`].
    BadTotalSize(u32),
    /// A block lies outside the blob or is misaligned.
    BadBlock(Block),
    /// The structure block has something unreadable at this offset.
    BadToken(usize),
    /// A name at this offset of the structure block is not terminated or not text.
    BadName(usize),
    /// Nodes are nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// Nodes and their ends do not match.
    Unbalanced,
    /// A property follows a child node, at this offset of the structure block.
    PropertyAfterChild(usize),
}

/// The three blocks of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Nodes and properties.
    Structure,
    /// The names of properties.
    Strings,
    /// Memory that must be left alone.
    Reservations,
}

impl fmt::Display for DeviceTreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadPointer => write!(f, "the device tree's address is null or misaligned"),
            Self::HeaderTruncated => write!(f, "the device tree ends inside its header"),
            Self::BadMagic(found) => write!(f, "not a device tree: it starts with {found:#010x}"),
            Self::UnsupportedVersion(found) => write!(f, "device tree version {found} instead of 17"),
            Self::BadTotalSize(found) => write!(f, "the device tree claims to have {found} bytes"),
            Self::BadBlock(block) => write!(f, "the device tree's {block:?} block is out of place"),
            Self::BadToken(offset) => write!(f, "unreadable device tree structure at offset {offset:#x}"),
            Self::BadName(offset) => write!(f, "bad name in the device tree at offset {offset:#x}"),
            Self::TooDeep => write!(f, "the device tree nests more than {MAX_DEPTH} nodes"),
            Self::Unbalanced => write!(f, "the device tree's nodes do not nest"),
            Self::PropertyAfterChild(offset) => {
                write!(f, "a device tree property follows a child node at offset {offset:#x}")
            }
        }
    }
}

/// A device tree whose structure has been checked.
#[derive(Clone, Copy)]
pub struct DeviceTree<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    reservations: &'a [u8],
    blob: &'a [u8],
    boot_hart: u32,
}

impl<'a> DeviceTree<'a> {
    /// Checks the tree at the start of `blob`, which may be followed by anything.
    pub fn parse(blob: &'a [u8]) -> Result<Self, DeviceTreeError> {
        let total = total_bytes(blob)?;
        let blob = blob.get(..total).ok_or(DeviceTreeError::BadTotalSize(total as u32))?;
        let header = |index: usize| big_endian_u32(blob, index * 4).unwrap_or(0);
        let (version, oldest_reader) = (header(5), header(6));
        if version < VERSION || oldest_reader > VERSION {
            return Err(DeviceTreeError::UnsupportedVersion(version));
        }
        let block = |kind, offset: u32, bytes: Option<u32>, align: usize| {
            let offset = offset as usize;
            let part = match bytes {
                Some(bytes) => offset.checked_add(bytes as usize).and_then(|end| blob.get(offset..end)),
                None => blob.get(offset..),
            };
            part.filter(|_| offset >= HEADER_BYTES && offset.is_multiple_of(align))
                .ok_or(DeviceTreeError::BadBlock(kind))
        };
        let tree = Self {
            structure: block(Block::Structure, header(2), Some(header(9)), 4)?,
            strings: block(Block::Strings, header(3), Some(header(8)), 1)?,
            reservations: block(Block::Reservations, header(4), None, 8)?,
            blob,
            boot_hart: header(7),
        };
        tree.check_structure()?;
        Ok(tree)
    }

    /// Checks the tree at `pointer`, as firmware passes it.
    ///
    /// # Safety
    /// If the pointer is not null, [`MAX_BLOB_BYTES`] from there are readable (or, if the blob's header is sound,
    /// as many as it claims), and the blob does not change for `'a`.
    pub unsafe fn from_pointer(pointer: *const u8) -> Result<Self, DeviceTreeError> {
        if pointer.is_null() || !pointer.addr().is_multiple_of(8) {
            return Err(DeviceTreeError::BadPointer);
        }
        // SAFETY: the caller promises at least a header's worth of readable, unchanging bytes.
        let header = unsafe { std::slice::from_raw_parts(pointer, HEADER_BYTES) };
        let total = total_bytes(header)?;
        // SAFETY: `total` is what the header claims, at most MAX_BLOB_BYTES; the caller vouches for it.
        Self::parse(unsafe { std::slice::from_raw_parts(pointer, total) })
    }

    /// The blob itself.
    pub fn blob(&self) -> &'a [u8] {
        self.blob
    }

    /// The hardware number of the hart that the header names as the boot hart. Firmware that passes a hart number in
    /// a register knows better.
    pub fn boot_hart(&self) -> u32 {
        self.boot_hart
    }

    /// The root node.
    pub fn root(&self) -> Node<'a> {
        let mut cursor = 0;
        while let Ok((token, next)) = self.token_at(cursor) {
            match token {
                Token::BeginNode(name) => return Node::new(*self, name, next),
                Token::Nop => cursor = next,
                _ => break,
            }
        }
        // `check_structure` has seen a root node; a node without a body has no properties and no children.
        Node::new(*self, "", self.structure.len())
    }

    /// The node at an absolute path such as `/soc/serial@10000000`. A component without `@` also matches a node
    /// that has a unit address.
    pub fn find(&self, path: &str) -> Option<Node<'a>> {
        let mut node = self.root();
        for part in path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty()) {
            node = node.child(part)?;
        }
        Some(node)
    }

    /// The header's list of memory to leave alone: address and size.
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let block = self.reservations;
        (0..block.len() / 16)
            .map_while(move |index| {
                Some((big_endian_u64(block, index * 16)?, big_endian_u64(block, index * 16 + 8)?))
            })
            .take_while(|&entry| entry != (0, 0))
    }

    fn check_structure(&self) -> Result<(), DeviceTreeError> {
        let (mut cursor, mut depth, mut roots) = (0, 0usize, 0);
        // Whether the node at each depth has had a child, after which it may have no more properties.
        let mut had_child = [false; MAX_DEPTH + 1];
        loop {
            let (token, next) = self.token_at(cursor)?;
            match token {
                Token::BeginNode(_) => {
                    if depth == MAX_DEPTH {
                        return Err(DeviceTreeError::TooDeep);
                    }
                    if depth == 0 {
                        roots += 1;
                    }
                    had_child[depth] = true;
                    depth += 1;
                    had_child[depth] = false;
                }
                Token::EndNode => depth = depth.checked_sub(1).ok_or(DeviceTreeError::Unbalanced)?,
                Token::Property(_) if depth == 0 => return Err(DeviceTreeError::Unbalanced),
                Token::Property(_) if had_child[depth] => {
                    return Err(DeviceTreeError::PropertyAfterChild(cursor));
                }
                Token::Property(_) | Token::Nop => {}
                Token::End if depth == 0 && roots == 1 => return Ok(()),
                Token::End => return Err(DeviceTreeError::Unbalanced),
            }
            cursor = next;
        }
    }

    /// The token at `offset` of the structure block and where the next one starts, which is always further on.
    fn token_at(&self, offset: usize) -> Result<(Token<'a>, usize), DeviceTreeError> {
        let bad = DeviceTreeError::BadToken(offset);
        let body = offset + 4;
        match big_endian_u32(self.structure, offset).ok_or(bad)? {
            1 => {
                let name = terminated_text(self.structure, body).ok_or(DeviceTreeError::BadName(offset))?;
                Ok((Token::BeginNode(name), (body + name.len() + 1).next_multiple_of(4)))
            }
            2 => Ok((Token::EndNode, body)),
            3 => {
                let bytes = big_endian_u32(self.structure, body).ok_or(bad)? as usize;
                let name_offset = big_endian_u32(self.structure, body + 4).ok_or(bad)? as usize;
                let start = body + 8;
                let end = start.checked_add(bytes).ok_or(bad)?;
                let value = self.structure.get(start..end).ok_or(bad)?;
                let name =
                    terminated_text(self.strings, name_offset).ok_or(DeviceTreeError::BadName(offset))?;
                Ok((Token::Property(Property { name, value }), end.next_multiple_of(4)))
            }
            4 => Ok((Token::Nop, body)),
            9 => Ok((Token::End, body)),
            _ => Err(bad),
        }
    }
}

impl fmt::Debug for DeviceTree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceTree({} bytes)", self.blob.len())
    }
}

/// One element of the structure block.
#[derive(Clone, Copy)]
enum Token<'a> {
    BeginNode(&'a str),
    EndNode,
    Property(Property<'a>),
    Nop,
    End,
}

/// The size that a header claims, if it can be true.
fn total_bytes(header: &[u8]) -> Result<usize, DeviceTreeError> {
    if header.len() < HEADER_BYTES {
        return Err(DeviceTreeError::HeaderTruncated);
    }
    let word = |index: usize| big_endian_u32(header, index * 4).unwrap_or(0);
    if word(0) != MAGIC {
        return Err(DeviceTreeError::BadMagic(word(0)));
    }
    let total = word(1) as usize;
    if !(HEADER_BYTES..=MAX_BLOB_BYTES).contains(&total) {
        return Err(DeviceTreeError::BadTotalSize(word(1)));
    }
    Ok(total)
}

/// The NUL-terminated text at `offset`.
fn terminated_text(block: &[u8], offset: usize) -> Option<&str> {
    let rest = block.get(offset..)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(&rest[..end]).ok()
}
