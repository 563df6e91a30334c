//! A disk as filesystems and device nodes see it: its pages, and transfers that go past them.
//!
//! The pages of a disk are one paged object, the only cache of its blocks. A filesystem's metadata and whoever reads
//! the device node share them. File data has pages of its own and comes by [`Disk::read`], straight from the device.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use std::any::Any;
use std::fmt;

use kernel_hal::PAGE_SIZE;
use kernel_object::frame::PinnedFrame;
use kernel_object::paged_object::{PagedObject, Pager, PagerError, PagerFuture};
use ksync::{Rank, SpinLock};
use linux_abi::stat::DeviceNumber;
use zcore_drivers::block::{
    BlockDevice, BlockError, BlockInformation, MAX_SEGMENTS, Operation, SECTOR_BYTES, Segment, Segments,
};

/// A disk.
pub struct Disk {
    number: DeviceNumber,
    device: Arc<dyn BlockDevice>,
    pages: Arc<PagedObject>,
    /// The mounted filesystem: a second mount is another view of the first.
    mounted: SpinLock<Option<Weak<dyn Any + Send + Sync>>>,
}

/// Pieces of frames in the order of the disk, gathered into as few requests as possible.
pub struct Gather {
    requests: Vec<(u64, Segments)>,
    /// Where the last request ends, in bytes.
    end: u64,
    most_segments: usize,
}

fn error_of(error: BlockError) -> PagerError {
    log::debug!("disk: {error}");
    PagerError::InputOutput
}

impl Gather {
    /// Adds the bytes of the disk from `start` on, to go to or come from this piece of a frame. Both are made of whole
    /// sectors.
    pub fn add(
        &mut self,
        start: u64,
        frame: PinnedFrame,
        offset: usize,
        bytes: usize,
    ) -> Result<(), PagerError> {
        let mut segment = Segment::new(frame, offset, bytes);
        if start == self.end
            && let Some((_, segments)) = self.requests.last_mut()
            && segments.as_slice().len() < self.most_segments
        {
            match segments.push(segment) {
                Ok(()) => {
                    self.end += bytes as u64;
                    return Ok(());
                }
                Err(refused) => segment = refused.0,
            }
        }
        let mut segments = Segments::new();
        segments.push(segment).map_err(|_| PagerError::InputOutput)?;
        self.requests.try_reserve(1).map_err(|_| PagerError::OutOfMemory)?;
        self.requests.push((start / SECTOR_BYTES as u64, segments));
        self.end = start + bytes as u64;
        Ok(())
    }

    /// How many requests there are.
    pub fn requests(&self) -> usize {
        self.requests.len()
    }
}

impl Disk {
    /// The disk behind a device, which programs know by this number.
    pub fn new(device: Arc<dyn BlockDevice>, number: DeviceNumber) -> Arc<Self> {
        let bytes = device.information().sectors.saturating_mul(SECTOR_BYTES as u64);
        let pager = Arc::new(DiskPager { device: device.clone(), bytes });
        let pages = PagedObject::cache(bytes, pager);
        Arc::new(Self { number, device, pages, mounted: SpinLock::new(Rank::FILE_SYSTEM, None) })
    }

    /// Its number.
    pub fn number(&self) -> DeviceNumber {
        self.number
    }

    /// The device.
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    /// What the device is like.
    pub fn information(&self) -> BlockInformation {
        self.device.information()
    }

    /// Its pages.
    pub fn pages(&self) -> &Arc<PagedObject> {
        &self.pages
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.pages.size()
    }

    /// Begins a list of pieces.
    pub fn gather(&self) -> Gather {
        let most_segments = self.device.information().max_segments.min(MAX_SEGMENTS);
        Gather { requests: Vec::new(), end: u64::MAX, most_segments }
    }

    /// Fills pieces from the disk, all requests at once.
    pub async fn read(&self, pieces: Gather) -> Result<(), PagerError> {
        self.device.transfer(Operation::Read, pieces.requests).await.map_err(error_of)
    }

    /// Stores pieces on the disk, all requests at once.
    pub async fn write(&self, pieces: Gather) -> Result<(), PagerError> {
        self.device.transfer(Operation::Write, pieces.requests).await.map_err(error_of)
    }

    /// Stores what is dirty in the cache, and makes it durable.
    pub async fn sync(&self) -> Result<(), PagerError> {
        self.pages.write_back(0..u64::MAX).await?;
        self.device.flush().await.map_err(error_of)?;
        self.pages.take_write_error().map_or(Ok(()), Err)
    }

    /// What is mounted from this disk, if it is a `T`.
    pub fn mounted<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let mounted = self.mounted.lock().clone();
        mounted?.upgrade()?.downcast().ok()
    }

    /// Whether something is mounted from this disk.
    pub fn is_mounted(&self) -> bool {
        self.mounted.lock().as_ref().is_some_and(|mounted| mounted.strong_count() > 0)
    }

    /// Notes what is mounted from this disk.
    pub fn set_mounted<T: Any + Send + Sync>(&self, file_system: &Arc<T>) {
        let weak: Weak<T> = Arc::downgrade(file_system);
        *self.mounted.lock() = Some(weak);
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({} bytes)", self.bytes())
    }
}

/// Brings and stores a disk's own pages. It is apart from the disk, which owns the pages that own it.
struct DiskPager {
    device: Arc<dyn BlockDevice>,
    bytes: u64,
}

impl DiskPager {
    /// Requests for these pages; what the disk does not have of its last page is left out.
    fn requests(&self, first: u64, frames: &[PinnedFrame]) -> Result<Vec<(u64, Segments)>, PagerError> {
        let most_segments = self.device.information().max_segments.min(MAX_SEGMENTS);
        let mut pieces = Gather { requests: Vec::new(), end: u64::MAX, most_segments };
        for (page, frame) in (first..).zip(frames) {
            let start = page * PAGE_SIZE as u64;
            let bytes = self.bytes.saturating_sub(start).min(PAGE_SIZE as u64) as usize;
            if bytes > 0 {
                pieces.add(start, frame.clone(), 0, bytes)?;
            }
        }
        Ok(pieces.requests)
    }
}

impl Pager for DiskPager {
    fn load(self: Arc<Self>, first: u64, frames: Vec<PinnedFrame>) -> PagerFuture {
        alloc::boxed::Box::pin(async move {
            let requests = self.requests(first, &frames)?;
            self.device.transfer(Operation::Read, requests).await.map_err(error_of)?;
            for (page, frame) in (first..).zip(&frames) {
                let bytes = self.bytes.saturating_sub(page * PAGE_SIZE as u64).min(PAGE_SIZE as u64) as usize;
                frame.zero_range(bytes..PAGE_SIZE);
            }
            Ok(())
        })
    }

    fn write_back(self: Arc<Self>, first: u64, frames: Vec<PinnedFrame>) -> PagerFuture {
        alloc::boxed::Box::pin(async move {
            let requests = self.requests(first, &frames)?;
            self.device.transfer(Operation::Write, requests).await.map_err(error_of)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_disk::{MemoryDisk, block_on};

    #[test]
    fn pages_come_from_the_disk_and_go_back() {
        const BYTES: usize = 10 * PAGE_SIZE + 1536;
        let content: Vec<u8> = (0..BYTES).map(|at| (at / 100) as u8).collect();
        let device = MemoryDisk::new(content.clone());
        let disk = Disk::new(device.clone(), DeviceNumber::new(254, 0));
        let mut bytes = alloc::vec![0; BYTES + 10];
        assert_eq!(block_on(disk.pages().read(0, &mut bytes)), Ok(BYTES));
        assert!(bytes[..BYTES] == content);
        assert!(
            device.take_reads().iter().map(|(_, sectors)| sectors).sum::<usize>() == BYTES / SECTOR_BYTES
        );
        assert_eq!(block_on(disk.pages().write(5000, &[0xaa; 9000])), Ok(9000));
        assert_eq!(block_on(disk.pages().write(BYTES as u64 - 3, &[0xbb; 3])), Ok(3));
        assert!(device.content() == content);
        assert_eq!(block_on(disk.sync()), Ok(()));
        let stored = device.content();
        assert!(stored[5000..14000].iter().all(|&byte| byte == 0xaa) && stored[BYTES - 3..] == [0xbb; 3]);
        assert!(stored[..5000] == content[..5000] && stored[14000..BYTES - 3] == content[14000..BYTES - 3]);
    }

    #[test]
    fn pieces_become_few_requests_and_more_than_the_disk_takes_at_a_time() {
        use kernel_object::frame::{Frame, FrameKind, SharedFrame};
        let device = MemoryDisk::new((0..400 * 512).map(|at| (at / 512) as u8).collect());
        let disk = Disk::new(device.clone(), DeviceNumber::new(254, 0));
        let frames: Vec<_> =
            (0..40).map(|_| SharedFrame::from(Frame::allocate(FrameKind::Object).unwrap()).pin()).collect();
        let mut pieces = disk.gather();
        for (index, frame) in frames.iter().enumerate() {
            // Two pieces of each page that belong together, then a gap.
            pieces.add(index as u64 * 8 * 512, frame.clone(), 0, 1024).unwrap();
            pieces.add((index as u64 * 8 + 2) * 512, frame.clone(), 1024, 512).unwrap();
        }
        assert_eq!(pieces.requests(), 40);
        assert_eq!(block_on(disk.read(pieces)), Ok(()));
        assert_eq!(device.take_reads().len(), 40);
        for (index, frame) in frames.iter().enumerate() {
            let mut bytes = [0; 1536];
            frame.read(0, &mut bytes);
            assert!((0..1536).all(|at| bytes[at] == (index * 8 + at / 512) as u8));
        }
        let mut pieces = disk.gather();
        device.spoil(77);
        for (index, frame) in frames.iter().enumerate() {
            pieces.add(index as u64 * 8 * 512, frame.clone(), 0, 4096).unwrap();
        }
        assert_eq!(pieces.requests(), 2);
        assert_eq!(block_on(disk.read(pieces)), Err(PagerError::InputOutput));
    }
}
