//! Heap and frames from all harts at once; afterwards nothing is missing.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use executor::{TaskOptions, sleep, yield_now};
use kernel_hal::{HartMask, PAGE_SIZE};
use kernel_object::frame::{self, ContiguousFrames, Frame, FrameKind};
use ksync::AsyncMutex;

use super::Entry;
use super::support::{Random, eventually, harts, say};
use crate::HEAP;

pub const TESTS: &[Entry] = &[
    Entry::new("memory-stress", || Box::pin(memory())),
    Entry::new("memory-exhaustion", || Box::pin(async { exhaustion() })),
];

/// Slabs that a class keeps although they are empty, and what a task's own memory moves.
const TOLERATED_FRAMES: usize = 64;

/// Blocks on their way from one hart to another.
type Pool = Arc<AsyncMutex<Vec<Vec<u8>>>>;

async fn memory() {
    // The first round fills what the allocators keep for good.
    stress_all_harts(20).await;
    drain_all_harts().await;
    let (bytes, free) = (HEAP.bytes_in_use(), frame::statistics().free);
    stress_all_harts(150).await;
    drain_all_harts().await;
    eventually("heap memory is missing", || HEAP.bytes_in_use() <= bytes).await;
    let free_now = frame::statistics().free;
    say!("{free} frames were free before, {free_now} after");
    assert!(free_now + TOLERATED_FRAMES >= free, "{} frames are missing", free - free_now);
}

async fn on_all_harts<F: Future<Output = ()> + Send + 'static>(start: impl Fn(u64) -> F) {
    let tasks: Vec<_> = harts()
        .map(|hart| {
            let options = TaskOptions::new("stress").affinity(HartMask::only(hart));
            executor::spawn(options, start(hart.index() as u64 + 1))
        })
        .collect();
    for task in tasks {
        assert!(task.join().await.is_some());
    }
}

async fn drain_all_harts() {
    sleep(Duration::from_millis(5)).await;
    on_all_harts(|_| async {
        HEAP.drain_lists();
        frame::drain_cache();
    })
    .await;
}

async fn stress_all_harts(rounds: usize) {
    let pool = Pool::new(AsyncMutex::new(Vec::new()));
    on_all_harts(|seed| stress(seed, rounds, pool.clone())).await;
    let left = core::mem::take(&mut *pool.lock().await);
    left.iter().for_each(|block| check(block));
}

fn filled(random: &mut Random) -> Vec<u8> {
    let len = match random.below(8) {
        0 => 2_000 + random.below(3 * PAGE_SIZE),
        _ => 8 + random.below(700),
    };
    let byte = random.next() as u8;
    let mut block = alloc::vec![byte; len];
    block[..8].copy_from_slice(&(len as u64).to_le_bytes());
    block
}

fn check(block: &[u8]) {
    let (head, rest) = block.split_at(8);
    assert_eq!(head, (block.len() as u64).to_le_bytes(), "another block's length");
    assert!(rest.windows(2).all(|pair| pair[0] == pair[1]), "somebody else wrote here");
}

async fn stress(seed: u64, rounds: usize, pool: Pool) {
    let mut random = Random::new(seed);
    let mut blocks = Vec::new();
    for _ in 0..rounds {
        for _ in 0..20 {
            blocks.push(filled(&mut random));
            if random.below(3) == 0 {
                let block = blocks.swap_remove(random.below(blocks.len()));
                check(&block);
            }
        }
        frames(&mut random);
        // Half of the blocks end on another hart.
        let mut shared = pool.lock().await;
        let half = blocks.len() / 2;
        shared.extend(blocks.drain(..half));
        let others = shared.len().saturating_sub(20);
        blocks.extend(shared.drain(..others));
        drop(shared);
        blocks.retain(|block| {
            check(block);
            block.len() % 3 != 0
        });
        yield_now().await;
    }
    blocks.iter().for_each(|block| check(block));
}

fn frames(random: &mut Random) {
    let single: Vec<_> = (0..random.below(40))
        .map(|_| {
            let frame = Frame::allocate(FrameKind::Kernel).expect("memory");
            frame.write(8, &frame.address().as_usize().to_le_bytes());
            frame
        })
        .collect();
    let several =
        ContiguousFrames::allocate(1 + random.below(8), PAGE_SIZE, FrameKind::Device).expect("memory");
    for frame in single {
        let mut back = [0; 8];
        frame.read(8, &mut back);
        assert_eq!(back, frame.address().as_usize().to_le_bytes(), "two owners of a frame");
    }
    drop(several);
}

/// All frames that programs may have are taken; that is an error, not a panic, and the kernel keeps its reserve.
fn exhaustion() {
    frame::drain_cache();
    let before = frame::statistics();
    let mut taken = Vec::new();
    while let Ok(frame) = Frame::allocate(FrameKind::Anonymous) {
        taken.push(frame);
    }
    let exhausted = frame::statistics();
    say!("{} of {} frames could be had", taken.len(), before.free);
    assert!(taken.len() * 10 > before.free * 9, "most of memory cannot be had");
    assert!(Frame::allocate(FrameKind::PageTable).is_err());
    assert!(exhausted.free == 0 || Frame::allocate(FrameKind::Kernel).is_ok(), "there is no reserve");
    drop(taken);
    assert!(Frame::allocate(FrameKind::Anonymous).is_ok());
    frame::drain_cache();
    let after = frame::statistics();
    assert!(after.free + TOLERATED_FRAMES >= before.free, "frames are missing");
}
