//! Bringing the data of files: a request for each run of blocks, all at once.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::PAGE_SIZE;
use kernel_object::frame::PinnedFrame;
use kernel_object::paged_object::{Pager, PagerError, PagerFuture};
use linux_abi::Errno;

use super::block_map::BlockMap;
use super::stall::finish;
use super::volume::Volume;

const PAGE: u64 = PAGE_SIZE as u64;

/// Brings the pages of one file. It is apart from the inode, whose pages own it.
pub(super) struct DataPager {
    pub volume: Arc<Volume>,
    pub map: Arc<BlockMap>,
    pub size: u64,
}

impl Pager for DataPager {
    fn load(self: Arc<Self>, first: u64, frames: Vec<PinnedFrame>) -> PagerFuture {
        Box::pin(async move { self.read(first, &frames).await })
    }

    fn write_back(self: Arc<Self>, _first: u64, _frames: Vec<PinnedFrame>) -> PagerFuture {
        // Nothing makes a page of a read-only filesystem dirty.
        Box::pin(core::future::ready(Err(PagerError::Gone)))
    }
}

impl DataPager {
    async fn read(&self, first: u64, frames: &[PinnedFrame]) -> Result<(), PagerError> {
        let block_bytes = self.volume.geometry.block_bytes as u64;
        let start = first * PAGE;
        let end = start + frames.len() as u64 * PAGE;
        // Blocks behind the end of the file may be there, and hold anything.
        let data_end = end.min(self.size.next_multiple_of(block_bytes)).max(start);
        let mut pieces = self.volume.disk.gather();
        let mut at = start;
        while at < data_end {
            let block = at / block_bytes;
            let run = finish(|| self.map.find(&self.volume, block)).await.map_err(|error| match error {
                Errno::ENOMEM => PagerError::OutOfMemory,
                _ => PagerError::InputOutput,
            })?;
            let run_end = run.blocks.saturating_mul(block_bytes).saturating_add(at).min(data_end);
            let mut source = run.start.map(|block| block * block_bytes);
            while at < run_end {
                let frame = &frames[((at - start) / PAGE) as usize];
                let inside = (at % PAGE) as usize;
                let bytes = (PAGE_SIZE - inside).min((run_end - at) as usize);
                match &mut source {
                    Some(source) => {
                        pieces.add(*source, frame.clone(), inside, bytes)?;
                        *source += bytes as u64;
                    }
                    None => frame.zero_range(inside..inside + bytes),
                }
                at += bytes as u64;
            }
        }
        self.volume.disk.read(pieces).await?;
        // What is behind the end of the file reads as zeros in a mapping.
        let mut at = self.size.clamp(start, end);
        while at < end {
            let inside = (at % PAGE) as usize;
            frames[((at - start) / PAGE) as usize].zero_range(inside..PAGE_SIZE);
            at += (PAGE_SIZE - inside) as u64;
        }
        Ok(())
    }
}
