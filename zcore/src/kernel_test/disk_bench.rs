//! What a read from the disk costs.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use executor::TaskOptions;
use zcore_drivers::block::BlockDevice;

use super::Entry;
use super::disk::{blocks_of, buffer, first_disk, is_pattern, read_block};
use super::support::{Random, mark_begin, mark_end, on, say};

pub const BENCHES: &[Entry] = &[Entry::new("disk", || Box::pin(random_reads())).disk("plain")];

const ROUNDS: usize = 5;

async fn random_reads() {
    let disk = first_disk();
    for (name, depth, reads) in [("disk-read-qd1", 1, 1_000), ("disk-read-qd32", 32, 4_000)] {
        for round in 0..ROUNDS {
            measure(&disk, name, depth, reads, round).await;
        }
    }
}

/// `depth` tasks that each read a block of 4 KiB, wait for it and read the next, until there were `reads`.
async fn measure(disk: &Arc<dyn BlockDevice>, name: &str, depth: u64, reads: u32, round: usize) {
    let blocks = blocks_of(disk) as usize;
    let left = Arc::new(AtomicU32::new(reads));
    let before = disk.statistics();
    mark_begin();
    let readers: Vec<_> = (0..depth)
        .map(|reader| {
            let (disk, left) = (disk.clone(), left.clone());
            let mut random = Random::new(reader + 1 + 1_000 * round as u64);
            executor::spawn(TaskOptions::new("reader").affinity(on(0)), async move {
                let frame = buffer();
                let mut last = 0;
                while left.fetch_sub(1, Ordering::Relaxed) as i32 > 0 {
                    last = random.below(blocks) as u64;
                    if let Err(error) = read_block(&disk, last, frame.pin()).await {
                        panic!("block {last}: {error}");
                    }
                }
                (frame, last)
            })
        })
        .collect();
    let mut buffers = Vec::with_capacity(readers.len());
    for reader in readers {
        buffers.extend(reader.join().await);
    }
    mark_end();
    let after = disk.statistics();
    for (frame, block) in &buffers {
        assert!(is_pattern(frame, *block), "block {block} has other contents");
    }
    let completed = after.completed - before.completed;
    assert_eq!(completed, u64::from(reads));
    let interrupts = after.interrupts - before.interrupts;
    say!("bench: {name} interrupt {reads}");
    say!(
        "note: {name}: {} completions per 100 interrupts, {} notifications",
        completed * 100 / interrupts.max(1),
        after.notifications - before.notifications
    );
}
