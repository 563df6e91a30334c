//! An inode.

use alloc::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kernel_object::paged_object::{LARGEST_SIZE, PagedObject};
use ksync::Once;
use linux_abi::Errno;
use linux_abi::limits::PATH_MAX;
use linux_abi::stat::{DeviceNumber, FileType, PERMISSION_BITS};
use linux_abi::time::Timespec;

use crate::attempt::Attempt;
use crate::inode::{Contents, Creation, DirectorySink, INode, RenameFlags};
use crate::metadata::{AttributeChanges, Metadata, Touch};
use crate::names::check_length;

use super::block_map::BlockMap;
use super::checksum::crc32c;
use super::data::DataPager;
use super::layout::{BLOCK_MAP_BYTES, InodeFlags, OLD_INODE_SIZE, ROOT_INODE, RawInode, u32_at};
use super::stall::{Step, attempt};
use super::volume::Volume;

/// Blocks in `stat` have this size.
const STAT_BLOCK: u64 = 512;
const CHECKSUM_LOW: usize = 0x7c;
const CHECKSUM_HIGH: usize = 0x82;
/// Bits of a time's extra word that extend its seconds; the others are nanoseconds.
const EPOCH_BITS: u32 = 2;
const NANOSECONDS: u32 = 1_000_000_000;

/// An inode.
pub(super) struct Node {
    pub number: u32,
    pub volume: Arc<Volume>,
    pub metadata: Metadata,
    pub flags: InodeFlags,
    pub map: Arc<BlockMap>,
    /// Of a regular file, from its first use on.
    pages: Once<Arc<PagedObject>>,
    /// Of a symbolic link, from its first use on.
    target: Once<Arc<[u8]>>,
    /// Whether somebody asked for it since the table of kept inodes last looked.
    used: AtomicBool,
}

impl Node {
    /// Makes an inode of its bytes.
    pub fn read(volume: &Arc<Volume>, number: u32, bytes: &[u8]) -> Result<Arc<Self>, Errno> {
        let geometry = &volume.geometry;
        let mut raw = RawInode([0; RawInode::SIZE]);
        let known = bytes.len().min(RawInode::SIZE);
        raw.0[..known].copy_from_slice(&bytes[..known]);
        let extra = if bytes.len() > OLD_INODE_SIZE { usize::from(raw.extra_size()) } else { 0 };
        if OLD_INODE_SIZE + extra > bytes.len() || !extra.is_multiple_of(4) {
            return Err(damaged(number, "its extra size"));
        }
        // What lies behind the extra part is not the inode's own.
        raw.0[(OLD_INODE_SIZE + extra).min(RawInode::SIZE)..].fill(0);
        let seed =
            crc32c(crc32c(geometry.checksum_seed, &number.to_le_bytes()), &raw.generation().to_le_bytes());
        if geometry.has_checksums && !is_sound(bytes, &raw, seed, OLD_INODE_SIZE + extra) {
            log::warn!("ext4: the checksum of inode {number} is wrong");
            return Err(Errno::EBADMSG);
        }
        if number < geometry.first_inode && number != ROOT_INODE {
            return Err(damaged(number, "being reserved"));
        }
        let mode = u32::from(raw.mode());
        if raw.links() == 0 {
            return Err(damaged(number, "being deleted"));
        }
        let file_type = FileType::from_mode(mode).ok_or_else(|| damaged(number, "its type"))?;
        let flags = InodeFlags::from_bits_retain(raw.flags());
        if flags.intersects(InodeFlags::INLINE_DATA | InodeFlags::ENCRYPTED | InodeFlags::CASE_FOLDED) {
            return Err(damaged(number, "features that the filesystem does not have"));
        }
        let has_high_size = matches!(file_type, FileType::Regular | FileType::Directory);
        let size =
            u64::from(raw.size_low()) | if has_high_size { u64::from(raw.size_high()) << 32 } else { 0 };
        if size > LARGEST_SIZE {
            return Err(damaged(number, "its size"));
        }
        let metadata = metadata(volume, number, file_type, size, &raw, flags);
        let map = BlockMap { root: raw.block_map(), is_extents: flags.contains(InodeFlags::EXTENTS), seed };
        Ok(Arc::new(Self {
            number,
            volume: volume.clone(),
            metadata,
            flags,
            map: Arc::new(map),
            pages: Once::new(),
            target: Once::new(),
            used: AtomicBool::new(true),
        }))
    }

    /// Notes that somebody asked for the inode.
    pub fn note_use(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody asked for it since the last call.
    pub fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    fn check_directory(&self) -> Result<(), Errno> {
        if self.metadata.file_type == FileType::Directory { Ok(()) } else { Err(Errno::ENOTDIR) }
    }

    fn read_target(&self) -> Step<Arc<[u8]>> {
        if let Some(target) = self.target.get() {
            return Ok(target.clone());
        }
        let size = self.metadata.size as usize;
        let target: Arc<[u8]> = if size < BLOCK_MAP_BYTES {
            self.map.root[..size].into()
        } else {
            if size >= PATH_MAX || size > self.volume.geometry.block_bytes {
                return Err(damaged(self.number, "its size").into());
            }
            let start = self.map.find(&self.volume, 0)?.start.ok_or(Errno::EUCLEAN)?;
            self.volume.block(start)?.bytes[..size].into()
        };
        if target.is_empty() || target.contains(&0) {
            return Err(damaged(self.number, "its target").into());
        }
        Ok(self.target.call_once(|| target).clone())
    }
}

fn damaged(number: u32, what: &str) -> Errno {
    log::warn!("ext4: inode {number} is damaged: {what}");
    Errno::EUCLEAN
}

/// Whether an inode's checksum is right. Its upper half is there if the inode is large enough.
fn is_sound(bytes: &[u8], raw: &RawInode, seed: u32, used: usize) -> bool {
    const EMPTY: [u8; 2] = [0; 2];
    let low = &bytes[..CHECKSUM_LOW];
    let sum = crc32c(crc32c(seed, low), &EMPTY);
    let behind_low = CHECKSUM_LOW + EMPTY.len();
    if used < CHECKSUM_HIGH + EMPTY.len() {
        return crc32c(sum, &bytes[behind_low..]) as u16 == raw.checksum_low();
    }
    let sum = crc32c(sum, &bytes[behind_low..CHECKSUM_HIGH]);
    let sum = crc32c(crc32c(sum, &EMPTY), &bytes[CHECKSUM_HIGH + EMPTY.len()..]);
    sum == u32::from(raw.checksum_low()) | u32::from(raw.checksum_high()) << 16
}

/// A time: seconds with a sign, whose extra bits count further epochs, and nanoseconds.
fn time(seconds: u32, extra: u32) -> Timespec {
    let epochs = i64::from(extra & ((1 << EPOCH_BITS) - 1)) << 32;
    let nanoseconds = (extra >> EPOCH_BITS).min(NANOSECONDS - 1);
    Timespec { tv_sec: i64::from(seconds as i32) + epochs, tv_nsec: i64::from(nanoseconds) }
}

fn metadata(
    volume: &Volume,
    number: u32,
    file_type: FileType,
    size: u64,
    raw: &RawInode,
    flags: InodeFlags,
) -> Metadata {
    let geometry = &volume.geometry;
    let mut blocks = u64::from(raw.blocks_low());
    if geometry.has_huge_files {
        blocks |= u64::from(raw.blocks_high()) << 32;
        if flags.contains(InodeFlags::HUGE_FILE) {
            blocks *= geometry.block_bytes as u64 / STAT_BLOCK;
        }
    }
    let device = match file_type {
        FileType::CharacterDevice | FileType::BlockDevice => device_number(&raw.block_map()),
        _ => DeviceNumber::default(),
    };
    Metadata {
        inode: u64::from(number),
        file_type,
        permissions: u32::from(raw.mode()) & PERMISSION_BITS,
        links: u32::from(raw.links()),
        user: u32::from(raw.user_low()) | u32::from(raw.user_high()) << 16,
        group: u32::from(raw.group_low()) | u32::from(raw.group_high()) << 16,
        size,
        blocks,
        block_size: geometry.block_bytes as u32,
        device,
        accessed: time(raw.accessed(), raw.accessed_extra()),
        modified: time(raw.modified(), raw.modified_extra()),
        changed: time(raw.changed(), raw.changed_extra()),
        created: time(raw.created(), raw.created_extra()),
    }
}

/// The device that a node stands for: in the encoding of old, or else in the present one.
fn device_number(map: &[u8; BLOCK_MAP_BYTES]) -> DeviceNumber {
    match u32_at(map, 0) {
        0 => DeviceNumber::decode(u32_at(map, 4)),
        old => DeviceNumber::new(old >> 8 & 0xff, old & 0xff),
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.volume.forget(self.number);
    }
}

impl INode for Node {
    fn number(&self) -> u64 {
        u64::from(self.number)
    }

    fn file_type(&self) -> FileType {
        self.metadata.file_type
    }

    fn metadata(&self) -> Attempt<'_, Metadata> {
        Attempt::ready(self.metadata)
    }

    fn set_attributes<'a>(&'a self, _changes: &'a AttributeChanges) -> Attempt<'a, ()> {
        Attempt::failed(Errno::EROFS)
    }

    fn touch(&self, _which: Touch) {}

    fn contents(&self) -> Contents {
        if self.metadata.file_type != FileType::Regular {
            return Contents::None;
        }
        let pages = self.pages.call_once(|| {
            let (volume, map, size) = (self.volume.clone(), self.map.clone(), self.metadata.size);
            PagedObject::cache(size, Arc::new(DataPager { volume, map, size }))
        });
        Contents::Pages(pages.clone())
    }

    fn read_link(&self) -> Attempt<'_, Arc<[u8]>> {
        if self.metadata.file_type != FileType::SymbolicLink {
            return Attempt::failed(Errno::EINVAL);
        }
        attempt(|| self.read_target())
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Attempt<'a, Arc<dyn INode>> {
        if let Err(error) = self.check_directory().and_then(|()| check_length(name)) {
            return Attempt::failed(error);
        }
        let mut scanned = 0;
        attempt(move || {
            let number = self.find(name, &mut scanned)?;
            Ok(self.volume.node(number)? as Arc<dyn INode>)
        })
    }

    fn create<'a>(&'a self, _name: &'a [u8], _creation: &'a Creation<'a>) -> Attempt<'a, Arc<dyn INode>> {
        Attempt::failed(self.check_directory().err().unwrap_or(Errno::EROFS))
    }

    fn create_unnamed<'a>(
        &'a self,
        _creation: &'a Creation<'a>,
        _may_be_named: bool,
    ) -> Attempt<'a, Arc<dyn INode>> {
        Attempt::failed(self.check_directory().err().unwrap_or(Errno::EROFS))
    }

    fn link<'a>(&'a self, _name: &'a [u8], _target: &'a Arc<dyn INode>) -> Attempt<'a, ()> {
        Attempt::failed(self.check_directory().err().unwrap_or(Errno::EROFS))
    }

    fn unlink<'a>(&'a self, _name: &'a [u8]) -> Attempt<'a, ()> {
        Attempt::failed(self.check_directory().err().unwrap_or(Errno::EROFS))
    }

    fn remove_directory<'a>(&'a self, _name: &'a [u8]) -> Attempt<'a, ()> {
        Attempt::failed(self.check_directory().err().unwrap_or(Errno::EROFS))
    }

    fn rename<'a>(
        &'a self,
        _old_name: &'a [u8],
        _new_directory: &'a Arc<dyn INode>,
        _new_name: &'a [u8],
        _flags: RenameFlags,
    ) -> Attempt<'a, ()> {
        Attempt::failed(self.check_directory().err().unwrap_or(Errno::EROFS))
    }

    fn iterate<'a>(&'a self, from: u64, sink: &'a mut dyn DirectorySink) -> Attempt<'a, ()> {
        if let Err(error) = self.check_directory() {
            return Attempt::failed(error);
        }
        let mut position = from;
        attempt(move || self.list(&mut position, sink))
    }
}
