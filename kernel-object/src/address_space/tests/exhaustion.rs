//! Memory runs out at every possible moment: nothing panics, nothing leaks, and what was there stays.

use super::*;
use crate::frame::Frame;
use crate::frame::FrameKind;
use crate::paged_object::PagedObject;
use crate::test_support::{TestPager, block_on};

/// Something of everything; errors are passed over.
fn scenario() {
    let Ok(space) = AddressSpace::new(Layout::default(), Limits::USUAL) else { return };
    let far = VirtAddr::new(1 << 35);
    for start in [VirtAddr::new(0x10_0000), far] {
        let _ = space.map(MapRequest::anonymous(8 * PAGE_SIZE, READ_WRITE).at(start));
        for page in 0..4 {
            let _ = store(&space, start + page * PAGE_SIZE, 1);
        }
    }
    let pager = TestPager::numbered(8);
    let object = Arc::new(PagedObject::with_pager(8 * PAGE_SIZE as u64, Arc::new(pager)));
    for shared in [false, true] {
        let request = MapRequest::object(object.clone(), 0, 8 * PAGE_SIZE, READ_WRITE, shared);
        if let Ok(start) = space.map(request) {
            let _ = block_on(space.copy_out(start + PAGE_SIZE - 2, &[1; 4]));
            let _ = block_on(space.copy_in(&mut [0; 9], start + 4 * PAGE_SIZE));
        }
    }
    let shared = MapRequest { shared: true, ..MapRequest::anonymous(3 * PAGE_SIZE, READ_WRITE) };
    if let Ok(start) = space.map(shared) {
        let _ = store(&space, start, 1);
    }
    if let Ok(child) = space.fork() {
        let _ = store(&child, far, 2);
        let _ = store(&space, far + PAGE_SIZE, 2);
        let _ = block_on(child.pin(far, 2 * PAGE_SIZE, true));
        let _ = child.fork();
    }
    let elsewhere = RemapPlacement::Fixed(VirtAddr::new(1 << 36));
    let _ = space.remap(far, 4 * PAGE_SIZE, 6 * PAGE_SIZE, elsewhere);
    let _ = block_on(object.write_back(0..8));
    let _ = object.try_write(20 * PAGE_SIZE as u64, &[5; 10]);
    space.set_break_start(VirtAddr::new(0x80_0000));
    space.set_break(VirtAddr::new(0x80_5000));
    let _ = store(&space, VirtAddr::new(0x80_4000), 1);
    AddressSpace::deactivate();
}

#[test]
fn every_single_allocation_may_fail() {
    let allocator = use_private(600);
    let before = statistics();
    for successes in 0.. {
        allocator.fail_after(Some(successes));
        scenario();
        let refused = allocator.has_failed();
        allocator.fail_after(None);
        assert_eq!(statistics(), before, "after {successes} successes");
        if !refused {
            assert!(successes > 40, "the scenario allocates more than that");
            return;
        }
    }
}

#[test]
fn a_refused_store_changes_nothing_and_works_later() {
    let allocator = use_private(200);
    let space = new_space();
    let start = space.map(MapRequest::anonymous(2 * PAGE_SIZE, READ_WRITE)).unwrap();
    assert_eq!(store(&space, start, 1), Ended::Well);
    let child = space.fork().unwrap();
    for (space, address) in [(&space, start), (&space, start + PAGE_SIZE)] {
        allocator.fail_after(Some(0));
        assert_eq!(store(space, address, 2), not(FaultResult::OutOfMemory));
        allocator.fail_after(None);
    }
    assert_eq!((load(&space, start), load(&child, start)), (Ok(1), Ok(1)));
    assert_eq!(store(&space, start, 2), Ended::Well);
    assert_eq!((load(&space, start), load(&child, start)), (Ok(2), Ok(1)));
}

#[test]
fn programs_are_refused_before_the_kernel_is() {
    use_private(200);
    crate::frame::set_reserve(20);
    let space = new_space();
    let wish = MapRequest::anonymous(1000 * PAGE_SIZE, READ_WRITE);
    assert_eq!(space.map(wish.clone()), Err(MapError::OutOfMemory), "more than the machine has");
    let start = space.map(MapRequest { flags: AreaFlags::NO_RESERVE, ..wish }).unwrap();
    let mut page = 0;
    while store(&space, start + page * PAGE_SIZE, 1) == Ended::Well {
        page += 1;
    }
    assert_eq!(store(&space, start + page * PAGE_SIZE, 1), not(FaultResult::OutOfMemory));
    let kernel: Vec<Frame> = std::iter::from_fn(|| Frame::allocate(FrameKind::Kernel).ok()).collect();
    assert!(kernel.len() >= 20);
    assert_eq!(space.map(MapRequest::anonymous(PAGE_SIZE, READ_WRITE)), Err(MapError::OutOfMemory));
    assert!(space.fork().is_err());
    drop(kernel);
    assert_eq!(space.unmap(start, 1000 * PAGE_SIZE), Ok(()), "giving back always works");
}
