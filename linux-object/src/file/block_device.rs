//! Disks as files: `/dev/vda` and its like.
//!
//! Reads and writes go through the disk's own pages, which filesystems use for their metadata. A write is stored before
//! it returns; `fsync` makes it durable. With `O_DIRECT` a read goes past the pages, straight from the disk.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use kernel_hal::{PAGE_SIZE, VirtAddr};
use kernel_object::frame::{Frame, FrameKind, PinnedFrame, SharedFrame};
use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::stat::{DeviceNumber, FileType};
use linux_abi::terminal::{
    BLKBSZGET, BLKFLSBUF, BLKGETSIZE, BLKGETSIZE64, BLKIOMIN, BLKRAGET, BLKROGET, BLKSSZGET,
};
use rcore_fs::disk::Disk;
use zcore_drivers::block::{BlockDevice, SECTOR_BYTES};

use super::regular::{errno_of, read_pages, write_pages};
use super::{File, UserMemory};
use crate::device_files;
use crate::obstacle::{Attempt, Obstacle, Slow, Waitable};
use crate::thread::Thread;
use crate::user_buffer::UserBuffer;

/// The driver's number that virtio disks get, as on Linux where it is the first free one.
const DISK_MAJOR: u32 = 254;
/// Numbers set aside for the partitions of a disk.
const MINORS_PER_DISK: u32 = 16;
const PERMISSIONS: u32 = 0o600;
/// Read-ahead in sectors, as it is asked for.
const READ_AHEAD_SECTORS: u64 = 256;
/// Pages of one direct request; longer reads take several.
const MOST_DIRECT_PAGES: usize = 64;
/// Direct reads that are done and not yet fetched.
const MOST_FINISHED: usize = 64;

static NEVER: WaitQueue = WaitQueue::new("always ready");
static DISK_COUNT: AtomicU32 = AtomicU32::new(0);
static DISKS: SpinLock<Vec<(String, Arc<Disk>)>> = SpinLock::new(Rank::DEVICE_TABLE, Vec::new());

/// Makes a disk known by its name: filesystems can be mounted from it, and it has a node in `/dev`.
pub fn add_disk(name: &str, device: Arc<dyn BlockDevice>) -> Arc<Disk> {
    let minor = DISK_COUNT.fetch_add(1, Ordering::Relaxed) * MINORS_PER_DISK;
    let number = DeviceNumber::new(DISK_MAJOR, minor);
    // Not under the list's lock: a disk brings pages with it.
    let disk = Disk::new(device, number);
    DISKS.lock().push((name.to_string(), disk.clone()));
    device_files::add_block_device(name, number, PERMISSIONS);
    disk
}

/// The disk of this number; `ENXIO` if there is none.
pub fn disk_at(number: DeviceNumber) -> Result<Arc<Disk>, Errno> {
    let disks = DISKS.lock();
    let found = disks.iter().find(|(_, disk)| disk.number() == number);
    found.map(|(_, disk)| disk.clone()).ok_or(Errno::ENXIO)
}

/// The disk of this name, without `/dev/`.
pub fn disk_named(name: &str) -> Option<Arc<Disk>> {
    let disks = DISKS.lock();
    disks.iter().find(|(known, _)| known == name).map(|(_, disk)| disk.clone())
}

/// All disks and their names.
pub fn disks() -> Vec<(String, Arc<Disk>)> {
    DISKS.lock().clone()
}

/// One opening of a disk.
pub struct DiskFile {
    disk: Arc<Disk>,
    is_direct: bool,
    finished: Arc<SpinLock<Vec<DirectRead>>>,
}

/// What was read past the pages: an attempt has asked for it, the next one fetches it.
struct DirectRead {
    start: u64,
    bytes: usize,
    frames: Vec<PinnedFrame>,
}

impl DiskFile {
    /// An opening of a disk; `is_direct`: reads go past its pages.
    pub fn new(disk: Arc<Disk>, is_direct: bool) -> Self {
        Self { disk, is_direct, finished: Arc::new(SpinLock::new(Rank::FILE, Vec::new())) }
    }

    fn block_bytes(&self) -> u64 {
        u64::from(self.disk.information().logical_block_bytes)
    }

    fn read_direct(&self, offset: u64, buffer: &mut UserBuffer) -> Attempt {
        let left = usize::try_from(self.disk.bytes().saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = buffer.remaining().min(left);
        if most == 0 {
            return Ok(buffer.done());
        }
        let found = {
            let mut finished = self.finished.lock();
            let is_it = |read: &DirectRead| (read.start..read.start + read.bytes as u64).contains(&offset);
            finished.iter().position(is_it).map(|index| finished.swap_remove(index))
        };
        let Some(read) = found else {
            if !offset.is_multiple_of(self.block_bytes()) || !(most as u64).is_multiple_of(self.block_bytes())
            {
                return Err(Errno::EINVAL.into());
            }
            return Err(self.begin_direct(offset, most.min(MOST_DIRECT_PAGES * PAGE_SIZE))?);
        };
        let begin = buffer.done();
        let skip = (offset - read.start) as usize;
        let len = most.min(read.bytes - skip);
        let mut at = skip;
        while at < skip + len {
            let (frame, inside) = (&read.frames[at / PAGE_SIZE], at % PAGE_SIZE);
            let piece = (PAGE_SIZE - inside).min(skip + len - at);
            let before = buffer.done();
            let outcome = buffer.copy_out_of_page(frame.shared(), inside, piece);
            at += buffer.done() - before;
            if let Err(obstacle) = outcome {
                // The rest is fetched when the program's page is there.
                self.finished.lock().push(read);
                return Err(obstacle);
            }
        }
        self.read_direct(offset + (buffer.done() - begin) as u64, buffer)
    }

    /// Starts a read of the disk that the next attempt will find.
    fn begin_direct(&self, start: u64, bytes: usize) -> Result<Obstacle, Errno> {
        let mut frames = Vec::new();
        let mut pieces = self.disk.gather();
        for at in (0..bytes).step_by(PAGE_SIZE) {
            let frame = Frame::allocate(FrameKind::Object).map_err(|_| Errno::ENOMEM)?;
            let frame = SharedFrame::from(frame).into_pin();
            pieces.add(start + at as u64, frame.clone(), 0, PAGE_SIZE.min(bytes - at)).map_err(errno_of)?;
            frames.push(frame);
        }
        let (disk, finished) = (self.disk.clone(), self.finished.clone());
        Ok(Obstacle::Wait(Box::pin(async move {
            if disk.pages().dirty_pages() > 0 {
                disk.pages().write_back(0..u64::MAX).await.map_err(errno_of)?;
            }
            disk.read(pieces).await.map_err(errno_of)?;
            let mut finished = finished.lock();
            if finished.len() == MOST_FINISHED {
                finished.remove(0);
            }
            finished.push(DirectRead { start, bytes, frames });
            Ok(())
        })))
    }
}

impl Waitable for DiskFile {
    fn wait_queue(&self) -> &WaitQueue {
        &NEVER
    }
}

impl File for DiskFile {
    fn try_read(&self, offset: u64, buffer: &mut UserBuffer) -> Attempt {
        if self.is_direct {
            self.read_direct(offset, buffer)
        } else {
            read_pages(self.disk.pages(), offset, buffer)
        }
    }

    fn try_write(&self, offset: u64, buffer: &mut UserBuffer) -> Attempt {
        if self.disk.information().read_only {
            return Err(Errno::EPERM.into());
        }
        if buffer.remaining() > 0 {
            if self.is_direct {
                let is_aligned = |value: u64| value.is_multiple_of(self.block_bytes());
                if !is_aligned(offset) || !is_aligned(buffer.remaining() as u64) {
                    return Err(Errno::EINVAL.into());
                }
            }
            let room = usize::try_from(self.disk.bytes().saturating_sub(offset)).unwrap_or(usize::MAX);
            if room == 0 {
                return Err(Errno::ENOSPC.into());
            }
            write_pages(self.disk.pages(), offset, buffer, room, |_, _| Ok(()))?;
        }
        if self.disk.pages().dirty_pages() == 0 {
            return Ok(buffer.done());
        }
        // When this is done the next attempt finds nothing left to move and nothing to store.
        let pages = self.disk.pages().clone();
        Err(Obstacle::Wait(Box::pin(async move { pages.write_back(0..u64::MAX).await.map_err(errno_of) })))
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn end(&self) -> Result<u64, Errno> {
        Ok(self.disk.bytes())
    }

    fn kind(&self) -> FileType {
        FileType::BlockDevice
    }

    fn sync(&self) -> Option<Slow<Result<(), Errno>>> {
        let disk = self.disk.clone();
        Some(Box::pin(async move { disk.sync().await.map_err(errno_of) }))
    }

    fn try_control(&self, request: u32, argument: usize, memory: &UserMemory, caller: &Thread) -> Attempt {
        let information = self.disk.information();
        let address = VirtAddr::new(argument);
        match request {
            BLKGETSIZE64 => memory.write(address, &self.disk.bytes())?,
            BLKGETSIZE => memory.write(address, &(self.disk.bytes() / SECTOR_BYTES as u64))?,
            BLKSSZGET => memory.write(address, &information.logical_block_bytes)?,
            BLKIOMIN => memory.write(address, &information.physical_block_bytes)?,
            BLKBSZGET => memory.write(address, &(PAGE_SIZE as u32))?,
            BLKROGET => memory.write(address, &u32::from(information.read_only))?,
            BLKRAGET => memory.write(address, &READ_AHEAD_SECTORS)?,
            BLKFLSBUF => {
                if !caller.process().credentials().is_privileged() {
                    return Err(Errno::EACCES.into());
                }
                if self.disk.pages().dirty_pages() > 0 {
                    let disk = self.disk.clone();
                    return Err(Obstacle::Wait(Box::pin(async move { disk.sync().await.map_err(errno_of) })));
                }
                // Twice: what was used lately gets a second chance the first time.
                for _ in 0..2 {
                    self.disk.pages().evict(usize::MAX);
                }
            }
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }
}
