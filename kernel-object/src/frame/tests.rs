use std::collections::HashSet;
use std::vec::Vec;

use kernel_hal::{HartId, PAGE_SIZE};

use super::host::{share_private, use_private};
use super::*;

fn free_frames() -> usize {
    statistics().free
}

#[test]
fn every_frame_comes_out_once_and_goes_back() {
    use_private(60);
    let before = statistics();
    assert_eq!(before.free, before.total);
    assert!(before.total < 60, "the notes must come out of the memory");
    let mut frames = Vec::new();
    while let Ok(frame) = Frame::allocate(FrameKind::Anonymous) {
        frames.push(frame);
    }
    assert_eq!(frames.len(), before.total);
    let distinct: HashSet<usize> = frames.iter().map(|frame| frame.address().page_number()).collect();
    assert_eq!(distinct.len(), frames.len());
    let now = statistics();
    assert_eq!((now.free, now.used_by(FrameKind::Anonymous)), (0, before.total));
    drop(frames);
    assert_eq!(statistics(), before);
    assert!(Frame::allocate(FrameKind::Anonymous).is_ok(), "exhaustion must not be for ever");
}

#[test]
fn a_zeroed_frame_is_zero_whatever_was_in_it() {
    use_private(16);
    let dirty: Vec<Frame> = std::iter::from_fn(|| Frame::allocate(FrameKind::Kernel).ok()).collect();
    dirty.iter().for_each(|frame| frame.write(0, &[0xff; PAGE_SIZE]));
    drop(dirty);
    let frame = Frame::allocate_zeroed(FrameKind::Kernel).expect("all were dropped");
    let mut bytes = [1; PAGE_SIZE];
    frame.read(0, &mut bytes);
    assert_eq!(bytes, [0; PAGE_SIZE]);
}

#[test]
fn content_goes_in_and_out_at_any_offset_and_length() {
    use_private(16);
    let frame = Frame::allocate_zeroed(FrameKind::Kernel).unwrap();
    let mut model = [0u8; PAGE_SIZE];
    let edges: &[usize] = if cfg!(miri) { &[0, 3, 8] } else { &[0, 1, 3, 5, 7, 8, 9, 15, 64, 100] };
    let mut round = 0u8;
    for offset in edges.iter().flat_map(|edge| [*edge, PAGE_SIZE - edge]) {
        for len in edges.iter().flat_map(|edge| [*edge, PAGE_SIZE - offset - edge.min(&(PAGE_SIZE - offset))])
        {
            let len = len.min(PAGE_SIZE - offset);
            if cfg!(miri) && len > 200 {
                continue;
            }
            round = round.wrapping_add(1);
            // The buffer's own alignment varies too.
            let skew = usize::from(round) % 8;
            let data: Vec<u8> = (0..len + skew).map(|index| (index as u8).wrapping_mul(31) ^ round).collect();
            frame.write(offset, &data[skew..]);
            model[offset..offset + len].copy_from_slice(&data[skew..]);
            let mut back = vec![0; len + skew];
            frame.read(offset, &mut back[skew..]);
            assert_eq!(back[skew..], data[skew..], "{offset} {len}");
            let hole = offset + len / 5..offset + len / 2;
            frame.zero_range(hole.clone());
            model[hole].fill(0);
            let mut whole = [0; PAGE_SIZE];
            frame.read(0, &mut whole);
            assert!(whole == model, "{offset} {len}");
        }
    }
}

#[test]
#[should_panic]
fn reading_past_the_page_panics() {
    use_private(16);
    Frame::allocate(FrameKind::Kernel).unwrap().read(PAGE_SIZE - 1, &mut [0; 2]);
}

#[test]
fn a_shared_frame_lives_as_long_as_its_last_owner() {
    use_private(16);
    let before = free_frames();
    let first = SharedFrame::from(Frame::allocate(FrameKind::Object).unwrap());
    assert!(first.is_exclusive());
    let second = first.clone();
    assert!(!first.is_exclusive());
    drop(first);
    assert_eq!(free_frames(), before - 1);
    assert!(second.is_exclusive());
    drop(second);
    assert_eq!(free_frames(), before);
}

#[test]
fn pins_are_owners_that_can_be_told_apart() {
    use_private(16);
    let before = free_frames();
    let frame = SharedFrame::from(Frame::allocate(FrameKind::Anonymous).unwrap());
    let pin = frame.pin();
    let again = pin.clone();
    assert!(frame.is_pinned() && !frame.is_exclusive());
    assert_eq!(frame.owners_but_pins(), 1);
    drop(frame);
    drop(pin);
    assert_eq!(free_frames(), before - 1, "a pin keeps the frame");
    drop(again);
    assert_eq!(free_frames(), before);
}

#[test]
fn contiguous_frames_are_aligned_and_survive_an_unaligned_start() {
    kernel_hal::host::reserve_pages(3);
    use_private(90);
    let before = free_frames();
    let mut taken = Vec::new();
    for (count, alignment) in [(1, 4096), (3, 4096), (4, 16384), (5, 65536), (16, 65536)] {
        let run = ContiguousFrames::allocate_zeroed(count, alignment, FrameKind::Device).unwrap();
        assert_eq!(run.address().as_usize() % alignment, 0);
        taken.push(run);
    }
    let mut pages: Vec<usize> = taken
        .iter()
        .flat_map(|run| {
            let first = run.address().page_number();
            first..first + run.frame_count()
        })
        .collect();
    pages.sort_unstable();
    pages.dedup();
    assert_eq!(pages.len(), 29);
    assert_eq!(free_frames(), before - 29);
    assert_eq!(statistics().used_by(FrameKind::Device), 29);
    drop(taken);
    assert_eq!(free_frames(), before);
    assert!(ContiguousFrames::allocate(before + 1, 4096, FrameKind::Device).is_err());
    assert!(ContiguousFrames::allocate(usize::MAX, 4096, FrameKind::Device).is_err());
    assert!(ContiguousFrames::allocate(1, 1 << 40, FrameKind::Device).is_err());
}

#[test]
fn contiguous_frames_can_be_made_of_cached_ones() {
    use_private(40);
    let all: Vec<Frame> = std::iter::from_fn(|| Frame::allocate(FrameKind::Kernel).ok()).collect();
    let count = all.len();
    drop(all);
    assert!(ContiguousFrames::allocate(count, 4096, FrameKind::Device).is_ok());
}

#[test]
fn several_regions_with_a_hole_between_them() {
    let start = kernel_hal::host::reserve_pages(40);
    let allocator = super::host::keep(FrameAllocator::new());
    let page = |number: usize| start + number * PAGE_SIZE;
    // SAFETY: the pages were reserved for this test. The second region's ends are not aligned.
    unsafe { allocator.init(&[page(30)..page(35), page(0) + 1..page(20) - 1, page(36)..page(36)]) };
    share_private(allocator);
    let frames: Vec<Frame> = std::iter::from_fn(|| Frame::allocate(FrameKind::Kernel).ok()).collect();
    let numbers: HashSet<usize> =
        frames.iter().map(|frame| (frame.address() - start.as_usize()).page_number()).collect();
    assert_eq!(numbers.len(), frames.len());
    assert_eq!(frames.len(), statistics().total);
    assert!(numbers.iter().all(|number| (1..19).contains(number) || (30..35).contains(number)));
    assert!((30..35).all(|number| numbers.contains(&number)));
}

#[test]
fn the_reserve_is_for_the_kernel() {
    use_private(40);
    let total = statistics().total;
    set_reserve(10);
    let user: Vec<Frame> = std::iter::from_fn(|| Frame::allocate(FrameKind::Anonymous).ok()).collect();
    assert_eq!(user.len(), total - 10);
    let kernel: Vec<Frame> = std::iter::from_fn(|| Frame::allocate(FrameKind::Kernel).ok()).collect();
    assert_eq!(kernel.len(), 10);
    assert_eq!(check_headroom(), Err(OutOfMemory));
    drop((user, kernel));
    drain_cache();
    assert_eq!(check_headroom(), Ok(()));
}

#[test]
fn the_nth_allocation_can_be_made_to_fail() {
    let allocator = use_private(40);
    allocator.fail_after(Some(2));
    let first = Frame::allocate(FrameKind::Kernel);
    let second = ContiguousFrames::allocate(2, 4096, FrameKind::Kernel);
    assert!(first.is_ok() && second.is_ok() && !allocator.has_failed());
    assert!(Frame::allocate(FrameKind::Kernel).is_err());
    assert!(allocator.has_failed());
    assert!(Frame::allocate(FrameKind::Kernel).is_ok());
}

#[test]
fn harts_share_memory_and_the_counts_come_out_even() {
    let allocator = use_private(if cfg!(miri) { 60 } else { 400 });
    let before = statistics();
    std::thread::scope(|scope| {
        for hart in 0..4 {
            scope.spawn(move || {
                kernel_hal::host::become_hart(HartId::new(hart));
                share_private(allocator);
                let mut held = Vec::new();
                for round in 0..if cfg!(miri) { 20 } else { 2_000 } {
                    if round % 7 < 4 && held.len() < 80 {
                        held.extend(Frame::allocate(FrameKind::Anonymous).ok());
                    } else {
                        held.pop();
                    }
                }
            });
        }
    });
    assert_eq!(statistics(), before);
}
