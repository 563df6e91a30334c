//! The virtio disk against a modelled device that behaves.

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use common::{
    Wakes, frame_of, is_full_of, part, poll_once, poll_with, ready, start, start_read, start_write, whole,
};
use kernel_hal::host::VirtualTime;
use kernel_hal::{Instant, PAGE_SIZE};
use kernel_object::frame::{Frame, FrameKind, SharedFrame, host};
use virtio_drivers::transport::DeviceStatus;
use zcore_drivers::InterruptHandler;
use zcore_drivers::block::{
    BlockDevice, BlockError, BlockRequest, MAX_SEGMENTS, Operation, Segment, Segments, SubmitError,
};
use zcore_drivers::model::{DiskModel, ModelTransport};
use zcore_drivers::virtio::VirtioError;
use zcore_drivers::virtio::block::VirtioBlock;

const SECTORS: usize = 4096;
const SECTORS_PER_PAGE: u64 = 8;
const INDIRECT: u64 = 1 << 28;
const EVENT_INDEX: u64 = 1 << 29;
const READ_ONLY: u64 = 1 << 5;

type Disk = VirtioBlock<ModelTransport>;

fn disk(features: u64) -> (DiskModel, Disk) {
    host::use_private(1024);
    let model = DiskModel::new(SECTORS, features, 256, 1);
    let disk = VirtioBlock::new(model.transport()).expect("a disk");
    (model, disk)
}

/// Answers everything and delivers the interrupt, if there is one.
fn serve(model: &mut DiskModel, disk: &Disk) -> usize {
    let count = model.answer_all();
    if model.device.interrupt_pending() {
        disk.handle_interrupt();
    }
    count
}

#[test]
fn data_survives_the_round_trip_whatever_the_device_offers() {
    let base = DiskModel::ALL_FEATURES & !INDIRECT & !EVENT_INDEX;
    let version_1 = 1 << 32;
    for features in [base, base | INDIRECT, base | EVENT_INDEX, DiskModel::ALL_FEATURES] {
        // Without version 1 the device wants the layout of old.
        for features in [features, features & !version_1] {
            let (mut model, disk) = disk(features);
            let device: &dyn BlockDevice = &disk;
            assert_eq!(model.device.accepted_features(), features);
            for round in 0..600u64 {
                let (page, byte) = (round * 37 % 512, round as u8);
                let source = frame_of(byte);
                let mut write = start_write(device, page * SECTORS_PER_PAGE, whole(&source));
                assert_eq!(poll_once(write.as_mut()), Poll::Pending);
                serve(&mut model, &disk);
                assert_eq!(ready(write), Ok(()));
                let target = frame_of(!byte);
                let mut read = start_read(device, page * SECTORS_PER_PAGE, whole(&target));
                assert_eq!(poll_once(read.as_mut()), Poll::Pending);
                serve(&mut model, &disk);
                assert_eq!(ready(read), Ok(()));
                assert!(is_full_of(&target, byte));
                assert!(!target.is_pinned() && target.is_exclusive());
            }
        }
    }
}

#[test]
fn a_full_queue_of_requests_is_answered_with_few_interrupts() {
    let (mut model, disk) = disk(DiskModel::ALL_FEATURES);
    model.faults.reorder = true;
    for page in 0..256 {
        model.content[page * PAGE_SIZE..(page + 1) * PAGE_SIZE].fill(page as u8);
    }
    let device: &dyn BlockDevice = &disk;
    assert_eq!(device.information().queue_depth, 256);
    let frames: Vec<SharedFrame> = (0..256).map(|_| frame_of(0xee)).collect();
    let (wakes, waker) = Wakes::new();
    let mut reads: Vec<_> = frames
        .iter()
        .zip(0..)
        .map(|(frame, page)| {
            let mut segments = whole(frame);
            let read =
                async move { device.read(page * SECTORS_PER_PAGE, &mut segments).without_kick().await };
            Box::pin(read)
        })
        .collect();
    for read in &mut reads {
        assert!(poll_with(read.as_mut(), &waker).is_pending());
    }
    assert_eq!(model.device.notifications(0), 0);
    device.kick();
    device.kick();
    assert_eq!(model.device.notifications(0), 1);
    assert_eq!(serve(&mut model, &disk), 256);
    assert_eq!(wakes.count(), 256);
    assert_eq!(model.device.interrupts(), 1);
    for (page, (read, frame)) in reads.iter_mut().zip(&frames).enumerate() {
        assert_eq!(ready(read.as_mut()), Ok(()));
        assert!(is_full_of(frame, page as u8));
    }
    let statistics = device.statistics();
    assert_eq!((statistics.submitted, statistics.completed, statistics.interrupts), (256, 256, 1));
}

#[test]
fn an_awake_device_is_not_notified_and_interrupts_come_again_after_each_batch() {
    let (mut model, disk) = disk(DiskModel::ALL_FEATURES);
    let device: &dyn BlockDevice = &disk;
    let frames: Vec<SharedFrame> = (0..4).map(|_| frame_of(0)).collect();
    let mut reads: Vec<_> = frames.iter().map(|frame| start_read(device, 0, whole(frame))).collect();
    // The device sleeps at first: the first request wakes it, and until it sleeps again nothing more is said.
    for read in &mut reads {
        assert!(poll_once(read.as_mut()).is_pending());
    }
    assert_eq!(model.device.notifications(0), 1);
    model.take_offers();
    // One answer and its interrupt; then another answer: it must interrupt again.
    for expected in 1..=4 {
        assert!(model.answer_one());
        assert_eq!(model.device.interrupts(), expected);
        disk.handle_interrupt();
    }
    assert!(reads.iter_mut().all(|read| ready(read.as_mut()).is_ok()));
    // Now it sleeps: the next request must be announced.
    let mut read = start_read(device, 0, whole(&frames[0]));
    assert!(poll_once(read.as_mut()).is_pending());
    assert_eq!(model.device.notifications(0), 2);
    serve(&mut model, &disk);
    assert_eq!(ready(read), Ok(()));
}

#[test]
fn scattered_memory_is_one_request_and_neighbours_are_one_piece() {
    let (mut model, disk) = disk(DiskModel::ALL_FEATURES);
    let device: &dyn BlockDevice = &disk;
    assert_eq!(device.information().max_segments, MAX_SEGMENTS);
    for (index, byte) in model.content.iter_mut().enumerate() {
        *byte = (index / 512) as u8;
    }
    let frames: Vec<SharedFrame> = (0..MAX_SEGMENTS).map(|_| frame_of(0xff)).collect();
    let mut segments = Segments::new();
    for frame in &frames {
        segments.push(Segment::new(frame.pin(), 1024, 512)).unwrap();
    }
    assert!(segments.push(Segment::whole(frames[0].pin())).is_err());
    let mut read = start_read(device, 3, segments);
    assert!(poll_once(read.as_mut()).is_pending());
    model.take_offers();
    assert_eq!(model.taken()[0].writable_pieces(), MAX_SEGMENTS + 1);
    serve(&mut model, &disk);
    assert_eq!(ready(read), Ok(()));
    let mut content = [0; PAGE_SIZE];
    for (index, frame) in frames.iter().enumerate() {
        frame.read(0, &mut content);
        assert!(content[1024..1536].iter().all(|&byte| byte == (index + 3) as u8));
        assert!(content[..1024].iter().chain(&content[1536..]).all(|&byte| byte == 0xff));
    }
    // Three parts of one frame that follow each other.
    let mut segments = Segments::new();
    for (offset, bytes) in [(0, 512), (512, 1024), (1536, 512)] {
        segments.push(Segment::new(frames[0].pin(), offset, bytes)).unwrap();
    }
    let mut read = start_read(device, 0, segments);
    assert!(poll_once(read.as_mut()).is_pending());
    model.take_offers();
    assert_eq!(model.taken()[0].writable_pieces(), 2);
    serve(&mut model, &disk);
    assert_eq!(ready(read), Ok(()));
}

#[test]
fn who_finds_no_slot_waits_for_one() {
    let (mut model, disk) = disk(DiskModel::ALL_FEATURES);
    let device: &dyn BlockDevice = &disk;
    let frames: Vec<SharedFrame> = (0..600).map(|_| frame_of(1)).collect();
    let (_, waker) = Wakes::new();
    let mut reads: Vec<_> = frames.iter().map(|frame| Some(start_read(device, 0, whole(frame)))).collect();
    for read in reads.iter_mut().flatten() {
        assert!(poll_with(read.as_mut(), &waker).is_pending());
    }
    assert_eq!((device.statistics().submitted, device.slots_free().len()), (256, 600 - 256));
    let mut finished = 0;
    while finished < 600 {
        assert!(serve(&mut model, &disk) > 0, "no progress after {finished}");
        for slot in reads.iter_mut() {
            if let Some(read) = slot
                && let Poll::Ready(result) = poll_with(read.as_mut(), &waker)
            {
                assert_eq!(result, Ok(()));
                finished += 1;
                *slot = None;
            }
        }
    }
    assert!(device.slots_free().is_empty());
    assert!(frames.iter().all(|frame| is_full_of(frame, 0) && !frame.is_pinned()));
}

#[test]
fn a_slot_that_becomes_free_goes_to_the_longest_waiting_even_if_the_first_left() {
    let (mut model, disk) = disk(DiskModel::ALL_FEATURES);
    let device: &dyn BlockDevice = &disk;
    let frame = frame_of(0);
    let mut reads: Vec<_> = (0..256).map(|_| start_read(device, 0, whole(&frame))).collect();
    assert!(reads.iter_mut().all(|read| poll_once(read.as_mut()).is_pending()));
    let (first_wakes, first_waker) = Wakes::new();
    let (second_wakes, second_waker) = Wakes::new();
    let mut first = start_read(device, 0, whole(&frame));
    let mut second = start_read(device, 0, whole(&frame));
    assert!(poll_with(first.as_mut(), &first_waker).is_pending());
    assert!(poll_with(second.as_mut(), &second_waker).is_pending());
    model.take_offers();
    model.answer_one();
    disk.handle_interrupt();
    assert!(reads[0].as_mut().poll(&mut std::task::Context::from_waker(&first_waker)).is_ready());
    assert_eq!((first_wakes.count(), second_wakes.count()), (1, 0));
    // Chosen, but gone: the choice passes on.
    drop(first);
    assert_eq!(second_wakes.count(), 1);
    assert!(poll_with(second.as_mut(), &second_waker).is_pending());
    assert_eq!(device.statistics().submitted, 257);
}

#[test]
fn the_memory_of_a_cancelled_read_stays_the_devices_until_it_answers() {
    let (mut model, disk) = disk(DiskModel::ALL_FEATURES);
    let device: &dyn BlockDevice = &disk;
    model.content.fill(0x77);
    let frame = frame_of(0);
    let mut read = start_read(device, 0, whole(&frame));
    assert!(poll_once(read.as_mut()).is_pending());
    drop(read);
    assert!(frame.is_pinned() && !frame.is_exclusive());
    let address = frame.address();
    drop(frame);
    // Everything that can be allocated now is something else.
    let mut others = Vec::new();
    while let Ok(other) = Frame::allocate(FrameKind::Object) {
        let other = SharedFrame::from(other);
        assert_ne!(other.address(), address);
        other.write(0, &[0x11; PAGE_SIZE]);
        others.push(other);
    }
    serve(&mut model, &disk);
    assert!(others.iter().all(|other| is_full_of(other, 0x11)));
    // The device has answered: now the frame is free, and the slot too.
    let again = Frame::allocate(FrameKind::Object).expect("the cancelled read's frame");
    assert_eq!(again.address(), address);
    assert_eq!(device.statistics().completed, 1);
}

#[test]
fn a_cancelled_reads_slot_is_not_given_away_early() {
    let (mut model, disk) = disk(DiskModel::ALL_FEATURES);
    let device: &dyn BlockDevice = &disk;
    let frame = frame_of(0);
    let mut reads: Vec<_> = (0..256).map(|_| start_read(device, 0, whole(&frame))).collect();
    assert!(reads.iter_mut().all(|read| poll_once(read.as_mut()).is_pending()));
    reads.clear();
    let (request, mut segments) = (BlockRequest { operation: Operation::Read, sector: 0 }, whole(&frame));
    assert_eq!(device.submit(request, &mut segments, None), Err(SubmitError::Full));
    assert_eq!(segments.bytes(), PAGE_SIZE, "a refused request keeps its memory");
    serve(&mut model, &disk);
    let ticket = device.submit(request, &mut segments, None).expect("a free slot");
    device.abandon(ticket);
}

#[test]
fn operations_without_data() {
    let (mut model, disk) = disk(DiskModel::ALL_FEATURES);
    let device: &dyn BlockDevice = &disk;
    model.content.fill(0x55);
    let mut flush = pin!(device.flush());
    assert!(poll_once(flush.as_mut()).is_pending());
    serve(&mut model, &disk);
    assert_eq!((ready(flush), model.flushes), (Ok(()), 1));

    let zeroes = Operation::WriteZeroes { sectors: 3, may_unmap: true };
    for (operation, sector) in [(Operation::Discard { sectors: 2 }, 10), (zeroes, 20)] {
        let mut operation = start(device, operation, sector, Segments::new());
        assert!(poll_once(operation.as_mut()).is_pending());
        serve(&mut model, &disk);
        assert_eq!(ready(operation), Ok(()));
    }
    let zero: Vec<usize> = (0..SECTORS).filter(|sector| model.content[sector * 512] == 0).collect();
    assert_eq!(zero, [10, 11, 20, 21, 22]);

    let frame = frame_of(0);
    let segments = part(&frame, Operation::SERIAL_BYTES);
    let mut identify = start(device, Operation::Identify, 0, segments);
    assert!(poll_once(identify.as_mut()).is_pending());
    serve(&mut model, &disk);
    assert_eq!(ready(identify), Ok(()));
    let mut serial = [0; 12];
    frame.read(0, &mut serial);
    assert_eq!(&serial, b"MODEL-0001\0\0");
}

#[test]
fn a_disk_without_a_cache_needs_no_flush() {
    let (model, disk) = disk(DiskModel::ALL_FEATURES & !(1 << 9));
    let device: &dyn BlockDevice = &disk;
    assert_eq!(ready(pin!(device.flush())), Ok(()));
    assert_eq!(model.device.notifications(0), 0);
}

#[test]
fn requests_that_do_not_fit_the_disk_are_refused_at_once() {
    let (_model, disk) = disk(DiskModel::ALL_FEATURES);
    let device: &dyn BlockDevice = &disk;
    let frame = frame_of(0);
    let end = SECTORS as u64;
    let refused =
        |operation, sector, segments| ready(start(device, operation, sector, segments)).unwrap_err();
    let read = |sector, segments| refused(Operation::Read, sector, segments);
    assert_eq!(read(end - 7, whole(&frame)), BlockError::Invalid);
    assert_eq!(read(u64::MAX, whole(&frame)), BlockError::Invalid);
    assert_eq!(read(0, part(&frame, 511)), BlockError::Invalid);
    assert_eq!(read(0, Segments::new()), BlockError::Invalid);
    let discard = |sector, sectors| refused(Operation::Discard { sectors }, sector, Segments::new());
    assert_eq!(discard(0, 0), BlockError::Invalid);
    assert_eq!(discard(0, 1025), BlockError::Invalid);
    assert_eq!(discard(end - 1, 2), BlockError::Invalid);
    assert_eq!(refused(Operation::Flush, 0, whole(&frame)), BlockError::Invalid);
    assert_eq!(refused(Operation::Identify, 0, whole(&frame)), BlockError::Invalid);
    assert_eq!(device.statistics().submitted, 0);
    assert!(!frame.is_pinned());
}

#[test]
fn a_read_only_disk_refuses_writes() {
    let (_model, disk) = disk(DiskModel::ALL_FEATURES | READ_ONLY);
    let device: &dyn BlockDevice = &disk;
    assert!(device.information().read_only);
    let frame = frame_of(0);
    assert_eq!(ready(start_write(device, 0, whole(&frame))), Err(BlockError::ReadOnly));
    assert!(poll_once(start_read(device, 0, whole(&frame))).is_pending());
}

#[test]
fn a_request_that_takes_too_long_ends_once_and_keeps_its_memory() {
    let time = VirtualTime::start_at(Instant::from_nanos(1_000_000_000));
    let (mut model, disk) = disk(DiskModel::ALL_FEATURES);
    let device: &dyn BlockDevice = &disk;
    let (first, second, third) = (frame_of(0), frame_of(0), frame_of(0));
    let (wakes, waker) = Wakes::new();
    let mut patient = start_read(device, 0, whole(&first));
    let mut gone = start_read(device, 0, whole(&second));
    assert!(poll_with(patient.as_mut(), &waker).is_pending());
    assert!(poll_once(gone.as_mut()).is_pending());
    drop(gone);
    let pass = |seconds| {
        time.advance_to(Instant::now() + Duration::from_secs(seconds));
        device.check_timeouts(Instant::now());
    };
    pass(20);
    let mut late = start_read(device, 0, whole(&third));
    assert!(poll_once(late.as_mut()).is_pending());
    assert_eq!(wakes.count(), 0);
    pass(11);
    assert_eq!((wakes.count(), device.statistics().timeouts), (1, 1));
    assert_eq!(ready(patient.as_mut()), Err(BlockError::TimedOut));
    drop(patient);
    assert!(first.is_pinned() && second.is_pinned(), "the device may still write");
    pass(1);
    assert_eq!(device.statistics().timeouts, 1, "a timeout is reported once");
    // The device wakes up after all.
    serve(&mut model, &disk);
    assert!(!first.is_pinned() && !second.is_pinned());
    assert_eq!(ready(late.as_mut()), Ok(()));
    assert_eq!(device.statistics().bogus_answers, 0);
}

#[test]
fn setting_up_fails_politely() {
    host::use_private(1024);
    let attempt = |prepare: &dyn Fn(&DiskModel), queue_size| {
        let model = DiskModel::new(SECTORS, DiskModel::ALL_FEATURES, queue_size, 1);
        prepare(&model);
        let result = VirtioBlock::new(model.transport()).map(drop);
        assert_eq!(model.device.status(), DeviceStatus::empty(), "the device must be reset");
        result
    };
    assert_eq!(attempt(&|_| {}, 256), Ok(()));
    assert_eq!(attempt(&|_| {}, 0), Err(VirtioError::BadQueue(0)));
    assert_eq!(attempt(&|model| model.device.refuse_features(), 256), Err(VirtioError::FeaturesRefused));
    assert_eq!(attempt(&|model| model.device.be_restless(10), 256), Ok(()));
    assert_eq!(attempt(&|model| model.device.be_restless(1000), 256), Err(VirtioError::BadConfiguration));
    host::use_private(24);
    assert_eq!(attempt(&|_| {}, 256), Err(VirtioError::OutOfMemory));
    assert_eq!(attempt(&|_| {}, 16), Ok(()), "nothing was lost by failing");
}

#[test]
fn a_small_ring_makes_a_small_queue() {
    host::use_private(1024);
    for (features, depth) in [(DiskModel::ALL_FEATURES, 16), (DiskModel::ALL_FEATURES & !INDIRECT, 2)] {
        let mut model = DiskModel::new(SECTORS, features, 21, 1);
        let disk = VirtioBlock::new(model.transport()).unwrap();
        let device: &dyn BlockDevice = &disk;
        assert_eq!(device.information().queue_depth, depth);
        let frame = frame_of(0);
        let mut reads: Vec<_> = (0..40).map(|_| start_read(device, 8, whole(&frame))).collect();
        let mut finished = 0;
        for _ in 0..40 {
            reads.retain_mut(|read| poll_once(read.as_mut()).is_pending());
            serve(&mut model, &disk);
        }
        finished += 40 - reads.len();
        assert_eq!(finished, 40);
    }
}

/// Counts down even if its thread panics, so that nobody waits for it.
struct CountDown<'a>(&'a AtomicUsize);

impl Drop for CountDown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

#[test]
fn two_submitters_and_a_device_on_three_threads() {
    const READS: u64 = if cfg!(miri) { 20 } else { 3000 };
    let allocator = host::use_private(1024);
    let mut model = DiskModel::new(SECTORS, DiskModel::ALL_FEATURES, 64, 9);
    model.faults.reorder = true;
    for page in 0..SECTORS / 8 {
        model.content[page * PAGE_SIZE..(page + 1) * PAGE_SIZE].fill(page as u8);
    }
    let disk = Arc::new(VirtioBlock::new(model.transport()).unwrap());
    let running = AtomicUsize::new(2);
    std::thread::scope(|scope| {
        for seed in 0..2u64 {
            let (disk, running) = (disk.clone(), &running);
            scope.spawn(move || {
                host::share_private(allocator);
                let _until_dropped = CountDown(running);
                let device: &dyn BlockDevice = &*disk;
                for round in 0..READS {
                    let page = (round * 31 + seed * 17) % 512;
                    let frame = frame_of(!(page as u8));
                    let mut read = start_read(device, page * SECTORS_PER_PAGE, whole(&frame));
                    if round % 7 == 3 {
                        let _cancelled = poll_once(read.as_mut());
                        continue;
                    }
                    while poll_once(read.as_mut()).is_pending() {
                        std::thread::yield_now();
                    }
                    assert!(is_full_of(&frame, page as u8));
                }
            });
        }
        host::share_private(allocator);
        let started = std::time::Instant::now();
        while running.load(Ordering::Acquire) > 0 {
            if started.elapsed() > Duration::from_secs(60) {
                eprintln!("a wake-up or an interrupt was lost");
                std::process::abort();
            }
            model.answer_all();
            if model.device.interrupt_pending() {
                disk.handle_interrupt();
            }
            std::thread::yield_now();
        }
    });
    model.answer_all();
    disk.handle_interrupt();
    let statistics = disk.statistics();
    assert_eq!(statistics.submitted, statistics.completed);
    assert_eq!((statistics.failed, statistics.bogus_answers), (0, 0));
}
