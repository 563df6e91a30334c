//! The virtio disk under seeded chaos: cancelled readers, errors, disorder, and a device that lies.

mod common;

use std::task::Poll;

use common::{Pending, Wakes, frame_of, is_full_of, iterations, poll_with, start_read, start_write, whole};
use kernel_object::frame::{FrameAllocator, FrameKind, SharedFrame, host};
use zcore_drivers::InterruptHandler;
use zcore_drivers::block::{
    BlockDevice, BlockError, BlockRequest, Operation, Segment, Segments, SubmitError, Ticket,
};
use zcore_drivers::model::{DiskFaults, DiskModel, ModelTransport};
use zcore_drivers::random::SeededRandom;
use zcore_drivers::virtio::block::VirtioBlock;

const PAGES: usize = 64;
const SECTORS: usize = PAGES * 8;

struct Outstanding<'d> {
    future: Pending<'d>,
    page: usize,
    frame: SharedFrame,
    /// What a write writes.
    written: Option<u8>,
}

/// A device that obeys the rules but fails, shortens and reorders; readers that vanish. At the end everything adds up.
fn soak(allocator: &FrameAllocator, seed: u64, features: u64, faults: DiskFaults) {
    let mut random = SeededRandom::new(seed);
    let mut model = DiskModel::new(SECTORS, features, 32, seed);
    model.faults = faults;
    let disk = VirtioBlock::new(model.transport()).unwrap();
    let device: &dyn BlockDevice = &disk;
    let free_at_first = allocator.statistics().free;
    let (_wakes, waker) = Wakes::new();

    // What each page may hold. More than one value after a write whose outcome is unknown.
    let mut possible: Vec<Vec<u8>> = vec![vec![0]; PAGES];
    // Pages of which nothing can be said: a cancelled write may be carried out at any later time.
    let mut unknown = [false; PAGES];
    let mut pending: Vec<Outstanding<'_>> = Vec::new();
    // Frames that were allocated after a cancellation: the device must not touch them.
    let mut bystanders: Vec<SharedFrame> = Vec::new();
    let (mut errors_seen, mut cancelled) = (0, 0);

    for _ in 0..iterations(1500) {
        match random.below(8) {
            0..=2 if pending.len() < 60 => {
                let page = random.below(PAGES);
                // One request per page at a time, or the outcome would depend on the device's order.
                if pending.iter().any(|other| other.page == page) {
                    continue;
                }
                let written = (random.below(2) == 0).then_some(random.next_u64() as u8);
                let frame = frame_of(written.unwrap_or(0xa5));
                let sector = page as u64 * 8;
                let mut future = match written {
                    Some(_) => start_write(device, sector, whole(&frame)),
                    None => start_read(device, sector, whole(&frame)),
                };
                assert!(poll_with(future.as_mut(), &waker).is_pending());
                if let Some(byte) = written {
                    possible[page].push(byte);
                }
                pending.push(Outstanding { future, page, frame, written });
            }
            3 if !pending.is_empty() && random.below(3) == 0 => {
                let victim = pending.swap_remove(random.below(pending.len()));
                cancelled += 1;
                unknown[victim.page] |= victim.written.is_some();
                drop(victim);
                bystanders.push(frame_of(0x3c));
                if bystanders.len() > 200 {
                    let intact = bystanders.drain(..100).all(|frame| is_full_of(&frame, 0x3c));
                    assert!(intact, "seed {seed}: memory was written after reuse");
                }
            }
            4 => {
                model.take_offers();
            }
            5 | 6 => {
                for _ in 0..random.below(6) {
                    model.answer_one();
                }
                // Now and then an interrupt comes late, or for nothing.
                if model.device.interrupt_pending() && random.below(4) > 0 || random.below(50) == 0 {
                    disk.handle_interrupt();
                }
            }
            _ => {
                let mut index = 0;
                while index < pending.len() {
                    let Poll::Ready(result) = poll_with(pending[index].future.as_mut(), &waker) else {
                        index += 1;
                        continue;
                    };
                    let Outstanding { page, frame, written, .. } = pending.swap_remove(index);
                    assert!(!frame.is_pinned(), "seed {seed}: answered, but still pinned");
                    match (result, written) {
                        (Ok(()), Some(byte)) => possible[page] = vec![byte],
                        (Ok(()), None) => {
                            let holds = possible[page].iter().any(|&byte| is_full_of(&frame, byte));
                            assert!(
                                holds || unknown[page],
                                "seed {seed}: page {page} holds what nobody wrote"
                            );
                        }
                        (Err(BlockError::Device | BlockError::ShortTransfer), _) => errors_seen += 1,
                        (Err(error), _) => panic!("seed {seed}: {error}"),
                    }
                }
            }
        }
    }
    drop(pending);
    for _ in 0..200 {
        model.answer_all();
        disk.handle_interrupt();
    }
    assert!(
        bystanders.iter().all(|frame| is_full_of(frame, 0x3c)),
        "seed {seed}: memory was written after reuse"
    );
    let statistics = device.statistics();
    assert_eq!(statistics.submitted, statistics.completed, "seed {seed}");
    assert_eq!(statistics.bogus_answers, 0, "seed {seed}");
    let lost_with_readers = statistics.failed - errors_seen;
    assert!(lost_with_readers <= cancelled, "seed {seed}: an error did not surface");
    drop(bystanders);
    assert_eq!(allocator.statistics().free, free_at_first, "seed {seed}: a frame was lost");
    drop(disk);
    assert_eq!(allocator.statistics().used_by(FrameKind::Device), 0);
}

#[test]
fn soak_with_disorder_errors_and_cancellation() {
    let faults = DiskFaults { reorder: true, error_per_million: 20_000, short_per_million: 10_000 };
    let allocator = host::use_private(512);
    for seed in 0..if cfg!(miri) { 1 } else { 12 } {
        let features = DiskModel::ALL_FEATURES & !((seed % 2) << 28) & !((seed / 2 % 2) << 29);
        soak(allocator, seed, features, faults);
    }
}

#[test]
fn one_percent_of_errors_surface_once_each() {
    host::use_private(1024);
    let mut model = DiskModel::new(SECTORS, DiskModel::ALL_FEATURES, 256, 3);
    model.faults = DiskFaults { reorder: true, error_per_million: 10_000, ..DiskFaults::default() };
    let disk = VirtioBlock::new(model.transport()).unwrap();
    let device: &dyn BlockDevice = &disk;
    let (_wakes, waker) = Wakes::new();
    let (mut errors, mut successes) = (0, 0);
    let rounds = iterations(2000) / 100;
    for _ in 0..rounds {
        let mut reads: Vec<_> = (0..100u64)
            .map(|page| {
                let frame = frame_of(1);
                (start_read(device, page % 64 * 8, whole(&frame)), frame)
            })
            .collect();
        for (read, _) in &mut reads {
            assert!(poll_with(read.as_mut(), &waker).is_pending());
        }
        model.answer_all();
        disk.handle_interrupt();
        for (read, frame) in &mut reads {
            match poll_with(read.as_mut(), &waker) {
                Poll::Ready(Ok(())) => {
                    assert!(is_full_of(frame, 0));
                    successes += 1;
                }
                Poll::Ready(Err(BlockError::Device)) => errors += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((errors, successes + errors), (model.errors_made, rounds as u64 * 100));
    assert_eq!(device.statistics().failed, errors);
    assert!(cfg!(miri) || errors > 0, "no error was injected");
}

/// Outstanding requests that were submitted by hand.
struct Hostage {
    ticket: Ticket,
    frame: SharedFrame,
}

fn submit(disk: &VirtioBlock<ModelTransport>, random: &mut SeededRandom) -> Result<Hostage, SubmitError> {
    let frame = frame_of(0xaa);
    let mut segments = Segments::new();
    for _ in 0..=random.below(4) {
        segments.push(Segment::new(frame.pin(), 512 * random.below(8), 512)).expect("room");
    }
    let request = BlockRequest { operation: Operation::Read, sector: 0 };
    disk.submit(request, &mut segments, None).map(|ticket| Hostage { ticket, frame })
}

/// A device that returns whatever heads and lengths it likes. It must not make the driver panic, hang, answer a request
/// twice, or let go of memory that the device was not done with by its own word.
fn hostile(allocator: &FrameAllocator, seed: u64) {
    let mut random = SeededRandom::new(seed);
    let features = DiskModel::ALL_FEATURES & !((seed % 2) << 28) & !((seed / 2 % 2) << 29);
    let mut model = DiskModel::new(SECTORS, features, 32, seed);
    let disk = VirtioBlock::new(model.transport()).unwrap();
    let free_at_first = allocator.statistics().free;
    let (_wakes, waker) = Wakes::new();
    let mut hostages: Vec<Hostage> = Vec::new();
    let mut broken = false;
    for _ in 0..if cfg!(miri) { 60 } else { 400 } {
        match random.below(12) {
            0..=4 => match submit(&disk, &mut random) {
                Ok(hostage) => hostages.push(hostage),
                Err(SubmitError::Full) => {}
                Err(SubmitError::Refused(error)) => {
                    assert_eq!(error, BlockError::Broken);
                    broken = true;
                }
            },
            5 => {
                model.answer_all();
            }
            6 => {
                // Answers to requests that may never have been asked, or were answered before.
                let head = match random.below(3) {
                    0 => random.next_u64() as u32,
                    1 => random.below(40) as u32,
                    _ => random.below(40) as u32 | 0x1_0000,
                };
                model.device.complete(0, head, random.next_u64() as u32);
            }
            7 if random.below(20) == 0 => model.device.jump_used_index(0, random.next_u64() as u16),
            8 if !hostages.is_empty() => {
                let hostage = hostages.swap_remove(random.below(hostages.len()));
                disk.abandon(hostage.ticket);
            }
            9 | 10 => disk.handle_interrupt(),
            _ => {
                let mut index = 0;
                while index < hostages.len() {
                    match disk.poll_result(&hostages[index].ticket, &waker) {
                        Poll::Pending => index += 1,
                        Poll::Ready(result) => {
                            let hostage = hostages.swap_remove(index);
                            broken |= result == Err(BlockError::Broken);
                            let given_up = matches!(result, Err(BlockError::Broken | BlockError::TimedOut));
                            assert!(given_up || !hostage.frame.is_pinned(), "seed {seed}");
                        }
                    }
                }
            }
        }
    }
    let statistics = disk.statistics();
    assert!(statistics.completed <= statistics.submitted, "seed {seed}: something was answered twice");
    if broken {
        assert!(model.device.status().contains(virtio_drivers::transport::DeviceStatus::FAILED));
    }
    for hostage in hostages.drain(..) {
        disk.abandon(hostage.ticket);
    }
    // Dropping the driver resets the device, after which all memory is free again.
    let resets = model.device.resets();
    drop(disk);
    assert_eq!(model.device.resets(), resets + 1);
    let statistics = allocator.statistics();
    assert_eq!(
        statistics.used_by(FrameKind::Device) + statistics.used_by(FrameKind::Object),
        0,
        "seed {seed}"
    );
    assert!(statistics.free >= free_at_first);
}

#[test]
fn fuzz_a_device_that_lies() {
    let allocator = host::use_private(512);
    for seed in 0..if cfg!(miri) { 2 } else { iterations(300) as u64 } {
        hostile(allocator, seed);
    }
}

#[test]
fn a_ring_that_makes_no_sense_ends_all_requests_once_and_keeps_their_memory() {
    host::use_private(512);
    let model = DiskModel::new(SECTORS, DiskModel::ALL_FEATURES, 256, 1);
    let disk = VirtioBlock::new(model.transport()).unwrap();
    let device: &dyn BlockDevice = &disk;
    let frames: Vec<SharedFrame> = (0..100).map(|_| frame_of(0)).collect();
    let (wakes, waker) = Wakes::new();
    let mut reads: Vec<_> = frames.iter().map(|frame| start_read(device, 0, whole(frame))).collect();
    assert!(reads.iter_mut().all(|read| poll_with(read.as_mut(), &waker).is_pending()));
    model.device.jump_used_index(0, 101);
    disk.handle_interrupt();
    assert_eq!(wakes.count(), 100);
    for read in &mut reads {
        assert_eq!(poll_with(read.as_mut(), &waker), Poll::Ready(Err(BlockError::Broken)));
    }
    drop(reads);
    assert!(frames.iter().all(SharedFrame::is_pinned), "the device may still write");
    let mut late = start_read(device, 0, whole(&frames[0]));
    assert_eq!(poll_with(late.as_mut(), &waker), Poll::Ready(Err(BlockError::Broken)));
    drop(late);
    drop(disk);
    assert!(!frames.iter().any(SharedFrame::is_pinned), "after the reset the device is done");
}

#[test]
fn a_success_that_wrote_too_little_is_no_success() {
    host::use_private(512);
    let mut model = DiskModel::new(SECTORS, DiskModel::ALL_FEATURES, 256, 1);
    model.faults.short_per_million = 1_000_000;
    let disk = VirtioBlock::new(model.transport()).unwrap();
    let device: &dyn BlockDevice = &disk;
    let frame = frame_of(0);
    let (_wakes, waker) = Wakes::new();
    let mut read = start_read(device, 0, whole(&frame));
    assert!(poll_with(read.as_mut(), &waker).is_pending());
    model.answer_all();
    disk.handle_interrupt();
    assert_eq!(poll_with(read.as_mut(), &waker), Poll::Ready(Err(BlockError::ShortTransfer)));
}

#[test]
fn an_answer_that_is_repeated_does_not_count() {
    host::use_private(512);
    let mut model = DiskModel::new(SECTORS, DiskModel::ALL_FEATURES, 256, 1);
    let disk = VirtioBlock::new(model.transport()).unwrap();
    let device: &dyn BlockDevice = &disk;
    let (first, second) = (frame_of(1), frame_of(2));
    let (_wakes, waker) = Wakes::new();
    let mut reads = [&first, &second].map(|frame| start_read(device, 0, whole(frame)));
    assert!(reads.iter_mut().all(|read| poll_with(read.as_mut(), &waker).is_pending()));
    model.take_offers();
    let head = model.taken()[0].head;
    model.answer_one();
    // The same again, now claiming that nothing was written.
    model.device.complete(0, head, 0);
    disk.handle_interrupt();
    let statistics = device.statistics();
    assert_eq!((statistics.completed, statistics.failed, statistics.bogus_answers), (1, 0, 1));
    assert_eq!(poll_with(reads[0].as_mut(), &waker), Poll::Ready(Ok(())));
    assert_eq!(poll_with(reads[1].as_mut(), &waker), Poll::Pending);
    assert!(second.is_pinned());
}

#[test]
fn spurious_interrupts_are_counted_and_do_nothing() {
    host::use_private(512);
    let model = DiskModel::new(SECTORS, DiskModel::ALL_FEATURES, 256, 1);
    let disk = VirtioBlock::new(model.transport()).unwrap();
    for _ in 0..3 {
        model.device.raise_interrupt();
        disk.handle_interrupt();
        assert!(!model.device.interrupt_pending());
    }
    assert_eq!(disk.statistics().spurious_interrupts, 3);
}
