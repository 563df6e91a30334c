//! Several harts in the same address space and the same object.

use std::sync::atomic::{AtomicBool, Ordering};

use kernel_hal::HartId;

use super::*;
use crate::frame::host::share_private;
use crate::paged_object::PagedObject;
use crate::test_support::Random;

const ROUNDS: usize = 800;

/// Runs `act(hart, random)` on three harts while this one does the same.
fn on_harts(act: impl Fn(usize, &mut Random) + Sync) {
    let allocator = use_private(4_000);
    let before = statistics();
    std::thread::scope(|scope| {
        for hart in 0..4 {
            let act = &act;
            scope.spawn(move || {
                kernel_hal::host::become_hart(HartId::new(hart));
                share_private(allocator);
                act(hart, &mut Random::new(hart as u64 + 1));
                AddressSpace::deactivate();
            });
        }
    });
    let after = statistics();
    assert!(after.free <= before.free);
}

#[test]
fn truncation_races_with_faults_forks_and_unmapping() {
    let pages = 32;
    let object = Arc::new(PagedObject::anonymous((pages * PAGE_SIZE) as u64));
    let start = VirtAddr::new(0x4000_0000);
    let stop = AtomicBool::new(false);
    on_harts(|hart, random| {
        if hart == 0 {
            for round in 0..ROUNDS {
                object.truncate((random.below(pages + 1) * PAGE_SIZE) as u64);
                object.truncate((pages * PAGE_SIZE) as u64);
                if round % 8 == 0 {
                    object.punch_hole(4..9);
                }
            }
            stop.store(true, Ordering::Release);
            return;
        }
        let map = |space: &Arc<AddressSpace>, shared: bool| {
            let request = MapRequest::object(object.clone(), 0, pages * PAGE_SIZE, READ_WRITE, shared);
            space.map(request.at(start)).unwrap();
        };
        let mut space = new_space();
        map(&space, true);
        while !stop.load(Ordering::Acquire) {
            for _ in 0..20 {
                let address = start + random.below(pages) * PAGE_SIZE;
                let ended = store(&space, address, 1);
                assert!(matches!(ended, Ended::Well | Ended::With(FaultResult::BusError)), "{ended:?}");
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
        // After the last truncation nobody may see a page that the object does not have.
        object.truncate(0);
        assert_eq!(space.usage().resident, 0, "a page outlived the truncation");
    });
    assert!(!object.is_mapped());
}

#[test]
fn threads_of_one_process_fault_unmap_and_fork_together() {
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
