//! Several harts in the same address space and the same object.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};

use kernel_hal::HartId;

use super::*;
use crate::frame::host::share_private;
use crate::paged_object::PagedObject;
use crate::test_support::Random;

const ROUNDS: usize = 800;
/// After so many rounds what has not happened will not happen.
const MOST_ROUNDS: usize = 100_000;

/// Calls its function at the end of its scope, or when that panics.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs `act(hart, random)` on four harts that begin together.
fn on_harts(act: impl Fn(usize, &mut Random) + Sync) {
    let allocator = crate::frame::allocator();
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for hart in 0..4 {
            let (act, barrier) = (&act, &barrier);
            scope.spawn(move || {
                kernel_hal::host::become_hart(HartId::new(hart));
                share_private(allocator);
                barrier.wait();
                act(hart, &mut Random::new(hart as u64 + 1));
                AddressSpace::deactivate();
            });
        }
    });
}

#[test]
fn truncation_races_with_faults_forks_and_unmapping() {
    use_private(4_000);
    let before = statistics();
    let pages = 32;
    let object = Arc::new(PagedObject::anonymous((pages * PAGE_SIZE) as u64));
    let start = VirtAddr::new(0x4000_0000);
    let working = AtomicUsize::new(3);
    let (stores, refusals) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let survivors = Mutex::new(Vec::new());
    on_harts(|hart, random| {
        if hart == 0 {
            while working.load(Ordering::Acquire) > 0 {
                object.truncate((random.below(pages + 1) * PAGE_SIZE) as u64);
                // Now and then the others have their turn while pages are missing, however few cores there are.
                if random.below(4) == 0 {
                    std::thread::yield_now();
                }
                object.truncate((pages * PAGE_SIZE) as u64);
                if random.below(8) == 0 {
                    object.punch_hole(4..9);
                }
            }
            return;
        }
        // However it ends: who truncates goes on until all have ended.
        let _working = OnDrop(|| _ = working.fetch_sub(1, Ordering::Release));
        let map = |space: &Arc<AddressSpace>, shared: bool| {
            let request = MapRequest::object(object.clone(), 0, pages * PAGE_SIZE, READ_WRITE, shared);
            space.map(request.at(start)).unwrap();
        };
        let mut space = new_space();
        map(&space, true);
        // At least so long, and until accesses have met both states of a page.
        let has_met_both = || stores.load(Ordering::Relaxed) > 0 && refusals.load(Ordering::Relaxed) > 0;
        for round in 0.. {
            if round >= ROUNDS && has_met_both() {
                break;
            }
            assert!(round < MOST_ROUNDS, "there was no race");
            for _ in 0..20 {
                let address = start + random.below(pages) * PAGE_SIZE;
                match store(&space, address, 1) {
                    Ended::Well => stores.fetch_add(1, Ordering::Relaxed),
                    Ended::With(FaultResult::BusError) => refusals.fetch_add(1, Ordering::Relaxed),
                    other => panic!("{other:?}"),
                };
            }
            match random.below(4) {
                0 => space = space.fork().unwrap(),
                1 => map(&space, random.below(2) == 0),
                2 => {
                    space.unmap(start + 3 * PAGE_SIZE, 5 * PAGE_SIZE).unwrap();
                    map(&space, true);
                }
                _ => space.protect(start, 4 * PAGE_SIZE, READ_WRITE).unwrap(),
            }
        }
        survivors.lock().unwrap().push(space);
    });
    let survivors = survivors.into_inner().unwrap();
    object.truncate(0);
    for space in &survivors {
        assert_eq!(space.usage().resident, 0, "a page outlived the truncation");
    }
    drop(survivors);
    assert!(!object.is_mapped());
    drop(object);
    // What other harts still have in their caches is free too.
    assert_eq!(statistics(), before);
}

#[test]
fn threads_of_one_process_fault_unmap_and_fork_together() {
    use_private(4_000);
    let pages = 64;
    let space_slot = std::sync::OnceLock::new();
    on_harts(|hart, random| {
        let space: &Arc<AddressSpace> = space_slot.get_or_init(|| {
            let space = new_space();
            let request = MapRequest::anonymous(pages * PAGE_SIZE, READ_WRITE);
            space.map(request.at(VirtAddr::new(0x4000_0000))).unwrap();
            space
        });
        let start = VirtAddr::new(0x4000_0000);
        for round in 0..ROUNDS {
            // Each hart owns every fourth page: nobody else stores there.
            let page = start + (random.below(pages / 4) * 4 + hart) * PAGE_SIZE;
            assert_eq!(store(space, page + 1, round as u8), Ended::Well);
            if round % 16 == 0 {
                let child = space.fork().unwrap();
                assert_eq!(load(&child, page + 1), Ok(round as u8));
                assert_eq!(store(&child, page + 1, 0xff), Ended::Well);
            }
            assert_eq!(load(space, page + 1), Ok(round as u8), "somebody else's store came through");
            if round % 32 == 5 {
                space.discard(page, PAGE_SIZE).unwrap();
                assert_eq!(load(space, page + 1), Ok(0));
            }
        }
        AddressSpace::deactivate();
        if hart == 0 {
            // Others may still be at work; the rest of the test only needs that nothing broke.
            assert!(space.usage().resident <= pages);
        }
    });
    let space = space_slot.into_inner().unwrap();
    let resident = space.usage().resident;
    assert_eq!(statistics().used_by(crate::frame::FrameKind::Anonymous), resident);
    space.clear();
    assert_eq!(statistics().used_by(crate::frame::FrameKind::Anonymous), 0);
    drop(space);
    assert_eq!(statistics().used_by(crate::frame::FrameKind::PageTable), 0);
}
