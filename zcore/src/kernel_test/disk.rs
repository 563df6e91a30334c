//! The first disk, a real one as far as the kernel can tell: reads, writes, flushes, refusals.
//!
//! The harness provides an image in which every 64-bit word holds its own number, and throws away what is written.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::TaskOptions;
use kernel_hal::PAGE_SIZE;
use kernel_object::frame::{Frame, FrameKind, PinnedFrame, SharedFrame};
use zcore_drivers::block::{BlockDevice, BlockError, BlockResult, SECTOR_BYTES, Segment, Segments};

use super::Entry;
use super::support::{Random, say};
use crate::devices;

pub const TESTS: &[Entry] = &[
    Entry::new("disk-absent", || Box::pin(async { assert!(devices::disks().is_empty()) })),
    Entry::new("disk-read", || Box::pin(read_everything())).disk("scratch"),
    Entry::new("disk-segments", || Box::pin(segments())).disk("scratch"),
    Entry::new("disk-write-flush", || Box::pin(write_and_flush())).disk("scratch"),
    Entry::new("disk-refusals", || Box::pin(refusals())).disk("scratch"),
];

/// Sectors in a block of the size that the tests use.
pub const BLOCK_SECTORS: u64 = (PAGE_SIZE / SECTOR_BYTES) as u64;
const WORDS_IN_BLOCK: u64 = (PAGE_SIZE / size_of::<u64>()) as u64;

/// The disk `vda`.
pub fn first_disk() -> Arc<dyn BlockDevice> {
    let disk = devices::disks().first().expect("the machine has no disk");
    disk.device.clone()
}

pub fn blocks_of(disk: &Arc<dyn BlockDevice>) -> u64 {
    disk.information().sectors / BLOCK_SECTORS
}

/// A frame for a device to fill.
pub fn buffer() -> SharedFrame {
    Frame::allocate(FrameKind::Device).expect("memory").into()
}

pub async fn read_block(disk: &Arc<dyn BlockDevice>, block: u64, frame: PinnedFrame) -> BlockResult {
    disk.read(block * BLOCK_SECTORS, &mut Segments::one(frame)).await
}

async fn write_block(disk: &Arc<dyn BlockDevice>, block: u64, frame: PinnedFrame) -> BlockResult {
    disk.write(block * BLOCK_SECTORS, &mut Segments::one(frame)).await
}

/// Whether the frame holds what the image has in this block.
pub fn is_pattern(frame: &SharedFrame, block: u64) -> bool {
    is_pattern_with(frame, block, 0)
}

/// The same with a number added to each word.
fn is_pattern_with(frame: &SharedFrame, block: u64, added: u64) -> bool {
    let mut bytes = alloc::vec![0; PAGE_SIZE];
    frame.read(0, &mut bytes);
    let (words, _) = bytes.as_chunks::<8>();
    let first = block * WORDS_IN_BLOCK + added;
    (first..).zip(words).all(|(number, word)| u64::from_le_bytes(*word) == number)
}

fn fill_with_pattern(frame: &SharedFrame, block: u64, added: u64) {
    let first = block * WORDS_IN_BLOCK + added;
    let bytes: Vec<u8> = (first..first + WORDS_IN_BLOCK).flat_map(u64::to_le_bytes).collect();
    frame.write(0, &bytes);
}

/// Every block, by as many readers as the disk takes requests and some more.
async fn read_everything() {
    let disk = first_disk();
    let information = disk.information();
    say!("{information:?}");
    assert!(information.queue_depth >= 128, "only {} requests at a time", information.queue_depth);
    let readers = information.queue_depth as u64 + 10;
    let blocks = blocks_of(&disk);
    let tasks: Vec<_> = (0..readers)
        .map(|reader| {
            let disk = disk.clone();
            executor::spawn(TaskOptions::new("reader"), async move {
                let frame = buffer();
                let mut count = 0;
                for block in (reader..blocks).step_by(readers as usize) {
                    assert_eq!(read_block(&disk, block, frame.pin()).await, Ok(()));
                    assert!(is_pattern(&frame, block), "block {block} has other contents");
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.join().await.expect("a reader ended");
    }
    assert_eq!(count, blocks);
    let statistics = disk.statistics();
    say!("{statistics:?}");
    assert_eq!((statistics.submitted, statistics.completed), (blocks, blocks));
    assert_eq!((statistics.failed, statistics.bogus_answers, statistics.timeouts), (0, 0, 0));
}

/// One request into many pieces of memory, in all sizes.
async fn segments() {
    let disk = first_disk();
    let mut random = Random::new(3);
    for count in 1..=disk.information().max_segments.min(zcore_drivers::block::MAX_SEGMENTS) {
        let frames: Vec<_> = (0..count).map(|_| buffer()).collect();
        let mut pieces = Segments::new();
        let mut lengths = Vec::new();
        for frame in &frames {
            let sectors = 1 + random.below(BLOCK_SECTORS as usize);
            let offset = random.below(BLOCK_SECTORS as usize - sectors + 1) * SECTOR_BYTES;
            frame.write(0, &[0xee; PAGE_SIZE]);
            assert!(pieces.push(Segment::new(frame.pin(), offset, sectors * SECTOR_BYTES)).is_ok());
            lengths.push((offset, sectors * SECTOR_BYTES));
        }
        let sector = random.below(1_000) as u64;
        assert_eq!(disk.read(sector, &mut pieces).await, Ok(()));
        let mut expected = sector * (SECTOR_BYTES / 8) as u64;
        for (frame, (offset, len)) in frames.iter().zip(lengths) {
            let mut bytes = alloc::vec![0; PAGE_SIZE];
            frame.read(0, &mut bytes);
            let (words, _) = bytes[offset..offset + len].as_chunks::<8>();
            assert!((expected..).zip(words).all(|(number, word)| u64::from_le_bytes(*word) == number));
            let around = bytes[..offset].iter().chain(&bytes[offset + len..]);
            assert!(around.into_iter().all(|byte| *byte == 0xee), "written beside the segment");
            expected += (len / 8) as u64;
        }
    }
}

/// What was written is read back, and nothing else has changed.
async fn write_and_flush() {
    const ADDED: u64 = 1 << 40;
    let disk = first_disk();
    let blocks = blocks_of(&disk);
    let mut random = Random::new(4);
    let mut written = alloc::vec![false; blocks as usize];
    for _ in 0..300 {
        let block = random.below(blocks as usize) as u64;
        let frame = buffer();
        fill_with_pattern(&frame, block, ADDED);
        assert_eq!(write_block(&disk, block, frame.pin()).await, Ok(()));
        written[block as usize] = true;
        if random.below(20) == 0 {
            assert_eq!(disk.flush().await, Ok(()));
        }
    }
    assert_eq!(disk.flush().await, Ok(()));
    assert!(disk.information().needs_flush, "the harness gives the disk a cache");
    let frame = buffer();
    for block in 0..blocks {
        assert_eq!(read_block(&disk, block, frame.pin()).await, Ok(()));
        let added = if written[block as usize] { ADDED } else { 0 };
        assert!(is_pattern_with(&frame, block, added), "block {block} has other contents");
    }
}

/// What makes no sense is refused, and the disk goes on working.
async fn refusals() {
    let disk = first_disk();
    let sectors = disk.information().sectors;
    let frame = buffer();
    for sector in [sectors, sectors - 1, u64::MAX, u64::MAX / 512] {
        let result = disk.read(sector, &mut Segments::one(frame.pin())).await;
        assert_eq!(result, Err(BlockError::Invalid), "sector {sector}");
    }
    assert_eq!(disk.read(0, &mut Segments::new()).await, Err(BlockError::Invalid));
    assert_eq!(disk.statistics().submitted, 0, "nonsense reached the device");
    assert_eq!(read_block(&disk, 1, frame.pin()).await, Ok(()));
    assert!(is_pattern(&frame, 1));
}
