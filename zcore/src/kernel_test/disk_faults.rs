//! Disks that fail or hesitate, and readers that lose interest.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::Poll;
use core::time::Duration;

use executor::{TaskOptions, sleep, yield_now};
use kernel_hal::{Instant, PAGE_SIZE};
use kernel_object::frame::SharedFrame;
use zcore_drivers::block::{BlockDevice, BlockError, FaultPlan, FaultyBlock};

use super::Entry;
use super::disk::{blocks_of, buffer, first_disk, is_pattern, read_block};
use super::support::{Random, eventually, say, spin_until};
use crate::devices::Timers;

pub const TESTS: &[Entry] = &[
    Entry::new("disk-injected-errors", || Box::pin(injected_errors())).disk("scratch"),
    Entry::new("disk-real-errors", || Box::pin(real_errors())).disk("failing"),
    Entry::new("disk-cancel", || Box::pin(cancel())).disk("scratch"),
    Entry::new("disk-cancel-slow", || Box::pin(cancel())).disk("slow"),
    Entry::new("disk-slow-beside-others", || Box::pin(slow_beside_others())).disk("scratch"),
];

fn with_faults(faults: FaultPlan) -> Arc<dyn BlockDevice> {
    Arc::new(FaultyBlock::new(first_disk(), Arc::new(Timers), faults))
}

/// One request in a hundred fails: every failure reaches its reader and nobody else, every other answer is right.
async fn injected_errors() {
    const READERS: u64 = 40;
    const READS: u64 = 200;
    let faults = FaultPlan {
        seed: 11,
        error_per_million: 10_000,
        jitter: Duration::from_micros(300),
        ..FaultPlan::default()
    };
    let disk = with_faults(faults);
    let blocks = blocks_of(&disk);
    let tasks: Vec<_> = (0..READERS)
        .map(|seed| {
            let disk = disk.clone();
            executor::spawn(TaskOptions::new("reader"), async move {
                let mut random = Random::new(seed + 1);
                let mut errors = 0;
                for _ in 0..READS {
                    let block = random.below(blocks as usize) as u64;
                    let frame = buffer();
                    match read_block(&disk, block, frame.pin()).await {
                        Ok(()) => assert!(is_pattern(&frame, block), "block {block} has other contents"),
                        Err(error) => {
                            assert_eq!(error, BlockError::Device);
                            errors += 1;
                            // Asking again is asking anew.
                            while read_block(&disk, block, frame.pin()).await.is_err() {
                                errors += 1;
                            }
                            assert!(is_pattern(&frame, block));
                        }
                    }
                }
                errors
            })
        })
        .collect();
    let mut errors = 0;
    for task in tasks {
        errors += task.join().await.expect("a reader ended");
    }
    let statistics = disk.statistics();
    say!("{errors} errors in {} requests", statistics.submitted);
    // Each read succeeded in the end, so what was asked beyond them are the errors.
    assert_eq!(statistics.submitted, READERS * READS + errors, "a failure was lost, or told twice");
    assert_eq!((statistics.completed, statistics.bogus_answers), (statistics.submitted, 0));
    assert!((40..130).contains(&errors), "{errors} errors are not one in a hundred");
    every_slot_is_free(&disk).await;
}

/// As many requests at a time as the disk says it takes find room.
async fn every_slot_is_free(disk: &Arc<dyn BlockDevice>) {
    let tasks: Vec<_> = (0..disk.information().queue_depth as u64)
        .map(|block| {
            let disk = disk.clone();
            executor::spawn(TaskOptions::new("reader"), async move {
                let frame = buffer();
                while read_block(&disk, block, frame.pin()).await.is_err() {}
                assert!(is_pattern(&frame, block));
            })
        })
        .collect();
    for task in tasks {
        assert!(task.join().await.is_some());
    }
}

/// QEMU itself fails reads of certain blocks (the harness says which): these and no others are errors.
async fn real_errors() {
    const BAD_BLOCKS: [u64; 3] = [3, 500, 2_047];
    let disk = first_disk();
    let blocks = blocks_of(&disk);
    let tasks: Vec<_> = (0..32)
        .map(|reader| {
            let disk = disk.clone();
            executor::spawn(TaskOptions::new("reader"), async move {
                let frame = buffer();
                let mut bad = Vec::new();
                for block in (reader..blocks).step_by(32) {
                    match read_block(&disk, block, frame.pin()).await {
                        Ok(()) => assert!(is_pattern(&frame, block), "block {block} has other contents"),
                        Err(error) => {
                            assert_eq!(error, BlockError::Device);
                            bad.push(block);
                        }
                    }
                }
                bad
            })
        })
        .collect();
    let mut bad = Vec::new();
    for task in tasks {
        bad.extend(task.join().await.expect("a reader ended"));
    }
    bad.sort_unstable();
    assert_eq!(bad, BAD_BLOCKS);
    let statistics = disk.statistics();
    assert_eq!((statistics.submitted, statistics.failed), (blocks, BAD_BLOCKS.len() as u64));
}

/// Readers lose interest at any moment. What they used is used for something else at once, and stays as it was left.
async fn cancel() {
    const ROUNDS: u32 = 30;
    const AT_ONCE: usize = 60;
    let disk = first_disk();
    let blocks = blocks_of(&disk) as usize;
    let mut random = Random::new(5);
    let mut kept: Vec<(SharedFrame, u8)> = Vec::new();
    let (mut dropped, mut answered) = (0, 0);
    for round in 0..ROUNDS {
        for _ in 0..AT_ONCE {
            let frame = buffer();
            let block = random.below(blocks) as u64;
            let mut read = pin!(read_block(&disk, block, frame.pin()));
            let first_poll = core::future::poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await;
            assert!(first_poll.is_pending());
            // Only the device and the driver know the frame from here on.
            drop(frame);
            match random.below(3) {
                0 => {}
                1 => yield_now().await,
                _ => {
                    spin_until(Duration::from_micros(random.below(100) as u64), || false);
                }
            }
            let polled = core::future::poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await;
            if polled.is_ready() { answered += 1 } else { dropped += 1 }
            // Whatever frame comes next: if the device still had it, it would write to it.
        }
        for _ in 0..AT_ONCE {
            let frame = buffer();
            let byte = random.next() as u8;
            frame.write(0, &[byte; PAGE_SIZE]);
            kept.push((frame, byte));
        }
        if round % 4 == 0 {
            sleep(Duration::from_millis(2)).await;
        }
        kept.truncate(10 * AT_ONCE);
    }
    say!("{dropped} reads were given up, {answered} were answered before");
    assert!(dropped > 0, "no read was under way when it was given up");
    eventually("the device owes answers", || {
        let statistics = disk.statistics();
        statistics.completed == statistics.submitted
    })
    .await;
    for (frame, byte) in &kept {
        let mut bytes = alloc::vec![0; PAGE_SIZE];
        frame.read(0, &mut bytes);
        assert!(bytes.iter().all(|found| found == byte), "the device wrote to memory that is not its own");
    }
    assert_eq!(disk.statistics().bogus_answers, 0);
    every_slot_is_free(&disk).await;
}

/// While a reader waits for a disk that takes 50 ms for each request, others go on as if it were not there.
async fn slow_beside_others() {
    const DELAY: Duration = Duration::from_millis(50);
    const WINDOW: Duration = Duration::from_millis(600);
    let disk = with_faults(FaultPlan { delay: DELAY, ..FaultPlan::default() });
    let alone = steps_in(WINDOW).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..8)
        .map(|block| {
            let (disk, stop, reads) = (disk.clone(), stop.clone(), reads.clone());
            executor::spawn(TaskOptions::new("slow reader"), async move {
                let frame = buffer();
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    assert_eq!(read_block(&disk, block, frame.pin()).await, Ok(()));
                    assert!(Instant::now().since(began) >= DELAY, "the disk was not slow");
                    assert!(is_pattern(&frame, block));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let beside = steps_in(WINDOW).await;
    stop.store(true, Ordering::Relaxed);
    let mut polls = 0;
    for reader in readers {
        polls += reader.task().record().accounting().polls;
        assert!(reader.join().await.is_some());
    }
    let reads = reads.load(Ordering::Relaxed);
    say!("{alone} steps alone, {beside} beside {reads} slow reads, {polls} polls of their readers");
    assert!(reads > 0);
    assert!(beside * 2 > alone, "a slow disk slows others down: {beside} steps instead of {alone}");
    // One to submit, one when the disk answers, one when the answer is let through.
    assert!(polls <= 4 * (reads + 8), "readers that wait are polled {polls} times for {reads} reads");
}

/// How many short steps of work a task gets done in this time.
async fn steps_in(window: Duration) -> u64 {
    let end = Instant::now() + window;
    let mut steps = 0;
    while Instant::now() < end {
        for step in 0..1_000 {
            core::hint::black_box(step);
        }
        steps += 1;
        yield_now().await;
    }
    steps
}
