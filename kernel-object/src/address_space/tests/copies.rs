use std::pin::pin;
use std::task::Poll;

use super::*;
use crate::paged_object::{PagedObject, PagerError};
use crate::test_support::{Call, TestPager, block_on, poll_once};

fn map_file(
    space: &Arc<AddressSpace>,
    pages: usize,
    shared: bool,
) -> (TestPager, Arc<PagedObject>, VirtAddr) {
    let pager = TestPager::numbered(pages);
    let object = Arc::new(PagedObject::with_pager((pages * PAGE_SIZE) as u64, Arc::new(pager.clone())));
    let start =
        space.map(MapRequest::object(object.clone(), 0, pages * PAGE_SIZE, READ_WRITE, shared)).unwrap();
    (pager, object, start)
}

#[test]
fn copies_resolve_faults_and_say_how_far_they_came() {
    use_private(200);
    let space = new_space();
    let start = space.map(MapRequest::anonymous(3 * PAGE_SIZE, READ_WRITE)).unwrap();
    let data: Vec<u8> = (0..2 * PAGE_SIZE).map(|index| index as u8).collect();
    space.try_copy_out(start + 100, &data).unwrap();
    let mut back = std::vec![0; data.len()];
    space.try_copy_in(&mut back, start + 100).unwrap();
    assert!(back == data);
    let stop = space.try_copy_out(start + 2 * PAGE_SIZE, &data).unwrap_err();
    assert_eq!(stop.done, PAGE_SIZE);
    assert!(matches!(stop.reason, StopReason::BadAddress));
    space.try_zero(start + 100, data.len()).unwrap();
    space.try_copy_in(&mut back, start + 100).unwrap();
    assert!(back.iter().all(|byte| *byte == 0));

    let end = VirtAddr::new(USER_END - PAGE_SIZE);
    space.map(MapRequest::anonymous(PAGE_SIZE, READ_WRITE).at(end)).unwrap();
    assert!(
        space.try_copy_in(&mut back[..16], end + PAGE_SIZE - 8).is_err(),
        "a range may not leave user space"
    );
    for address in [0, USER_END, usize::MAX, usize::MAX - 100] {
        assert!(space.try_copy_in(&mut back[..16], VirtAddr::new(address)).is_err());
        assert!(space.try_load_u32(VirtAddr::new(address & !3)).is_err());
    }
}

#[test]
fn a_copy_waits_for_pages_and_goes_on_where_it_was() {
    use_private(400);
    let space = new_space();
    let (pager, object, start) = map_file(&space, 20, false);
    let mut bytes = std::vec![0xff; 3 * PAGE_SIZE];
    pager.hold(true);
    {
        let mut copy = pin!(space.copy_in(&mut bytes, start + 7 * PAGE_SIZE));
        assert!(poll_once(copy.as_mut()).is_pending());
        AddressSpace::deactivate();
        new_space().activate();
        pager.hold(false);
        assert_eq!(
            poll_once(copy.as_mut()),
            Poll::Ready(Ok(())),
            "it puts its address space in force itself"
        );
    }
    let numbers: Vec<u8> = bytes.chunks(PAGE_SIZE).map(|page| page[0]).collect();
    assert_eq!(numbers, [7, 8, 9]);
    pager.fail_next(PagerError::InputOutput);
    let error = block_on(space.copy_in(&mut bytes, start + 17 * PAGE_SIZE)).unwrap_err();
    assert_eq!(error, UserError { done: 0, kind: UserErrorKind::BadAddress });
    let stop = space.try_copy_out(start + 19 * PAGE_SIZE, &[1]).unwrap_err();
    assert_eq!(block_on(stop.settle()), Ok(0));
    space.try_copy_out(start + 19 * PAGE_SIZE, &[1]).unwrap();
    assert_eq!(object.dirty_pages(), 0, "private stores do not reach the object");
}

#[test]
fn values_arrays_and_strings() {
    use_private(200);
    let space = new_space();
    let start = space.map(MapRequest::anonymous(2 * PAGE_SIZE, READ_WRITE)).unwrap();
    let across = start + PAGE_SIZE - 4;
    block_on(space.write_value(across, &0x0123_4567_89ab_cdef_u64)).unwrap();
    assert_eq!(block_on(space.read_value::<u64>(across)), Ok(0x0123_4567_89ab_cdef));
    assert_eq!(space.try_read_value::<[u32; 2]>(across).unwrap(), [0x89ab_cdef, 0x0123_4567]);
    space.try_write_value(across, &[1u16, 2, 3, 4]).unwrap();
    assert_eq!(block_on(space.read_array::<u16>(across, 4)).unwrap(), [1, 2, 3, 4]);
    block_on(space.write_array(across, &[9u32, 8])).unwrap();
    assert_eq!(block_on(space.read_array::<u32>(across, 2)).unwrap(), [9, 8]);
    assert_eq!(space.try_compare_exchange_u32(start, 0, 5).unwrap(), 0);
    assert_eq!(space.try_load_u32(start).unwrap(), 5);

    let text = start + PAGE_SIZE - 300;
    space.try_copy_out(text, &[b'x'; 500]).unwrap();
    space.try_copy_out(text + 400, &[0]).unwrap();
    assert_eq!(block_on(space.read_string(text, 4096)).unwrap().len(), 400);
    assert_eq!(block_on(space.read_string(text, 401)).unwrap().len(), 400);
    assert_eq!(block_on(space.read_string(text, 400)).unwrap_err().kind, UserErrorKind::TooLong);
    space.try_copy_out(start + 2 * PAGE_SIZE - 3, b"ab\0").unwrap();
    assert_eq!(block_on(space.read_string(start + 2 * PAGE_SIZE - 3, 4096)).unwrap(), b"ab");
    space.try_copy_out(start + 2 * PAGE_SIZE - 3, b"abc").unwrap();
    let error = block_on(space.read_string(start + 2 * PAGE_SIZE - 3, 4096)).unwrap_err();
    assert_eq!(error, UserError { done: 3, kind: UserErrorKind::BadAddress });
    let mut name = [0; 64];
    assert_eq!(space.try_read_string(&mut name, text + 390).unwrap(), Some(10));
    assert_eq!(space.try_read_string(&mut name[..10], text + 390).unwrap(), None);
}

#[test]
fn stores_to_a_mapped_file_are_noted_written_back_and_noted_again() {
    use_private(400);
    let space = new_space();
    let (pager, object, start) = map_file(&space, 4, true);
    block_on(space.copy_out(start + PAGE_SIZE, &[1])).unwrap();
    assert_eq!(object.dirty_pages(), 1);
    block_on(space.copy_in(&mut [0], start + 2 * PAGE_SIZE)).unwrap();
    assert_eq!(object.dirty_pages(), 1, "a load makes nothing dirty");
    block_on(object.write_back(0..4)).unwrap();
    assert_eq!((object.dirty_pages(), pager.stored(PAGE_SIZE)), (0, 1));
    assert_eq!(store(&space, start + PAGE_SIZE, 2), Ended::Well);
    assert_eq!(object.dirty_pages(), 1, "after write-back the page is write-protected");
    assert_eq!(store(&space, start + PAGE_SIZE, 3), Ended::Well);
    block_on(object.write_back(0..4)).unwrap();
    assert_eq!(pager.stored(PAGE_SIZE), 3);

    pager.want_prepare_write();
    pager.take_calls();
    block_on(space.copy_out(start + 3 * PAGE_SIZE, &[4])).unwrap();
    assert_eq!(pager.take_calls(), [Call::PrepareWrite { first: 3 }]);
    pager.fail_next(PagerError::NoSpace);
    let error = block_on(space.copy_out(start + 2 * PAGE_SIZE, &[4])).unwrap_err();
    assert_eq!(error.kind, UserErrorKind::BadAddress, "no room is a bus error, as on Linux");
    assert_eq!(object.dirty_pages(), 1);
}

#[test]
fn a_copy_between_a_file_and_its_own_mapping_holds_no_lock() {
    use_private(400);
    let space = new_space();
    let (_, object, start) = map_file(&space, 8, true);
    let page = block_on(object.pin(2)).unwrap();
    space.activate();
    // The destination faults on the very object whose page is the source.
    let fault = page.shared().copy_to_user(0, start + 2 * PAGE_SIZE + 64, 8).unwrap_err().fault;
    assert_eq!(block_on(space.fault_in(fault)), FaultResult::Resolved);
    page.shared().copy_to_user(0, start + 2 * PAGE_SIZE + 64, 8).unwrap();
    assert_eq!(load(&space, start + 2 * PAGE_SIZE + 64), Ok(2));
    let target = object.try_pin_for_write(2, 128..136).unwrap();
    target.frame().copy_from_user(128, start + 2 * PAGE_SIZE + 64, 8).unwrap();
    assert_eq!(target.commit(128, 8), 8);
    assert_eq!(load(&space, start + 2 * PAGE_SIZE + 128), Ok(2));
}

#[test]
fn pinned_pages_stay_the_parents_over_a_fork() {
    use_private(400);
    let before = statistics();
    let parent = new_space();
    let start = parent.map(MapRequest::anonymous(4 * PAGE_SIZE, READ_WRITE)).unwrap();
    assert_eq!(store(&parent, start, 1), Ended::Well);
    let pins = block_on(parent.pin(start + 10, 2 * PAGE_SIZE, true)).unwrap();
    assert_eq!(pins.len(), 3);
    let child = parent.fork().unwrap();
    pins[0].write(0, &[7]);
    assert_eq!(load(&parent, start), Ok(7), "what a device writes is what the parent sees");
    assert_eq!(store(&parent, start + 1, 8), Ended::Well);
    let mut bytes = [0; 2];
    pins[0].read(0, &mut bytes);
    assert_eq!(bytes, [7, 8], "and the other way round");
    assert_eq!(load(&child, start), Ok(1), "the child has the copy");
    parent.unmap(start, 4 * PAGE_SIZE).unwrap();
    pins[1].write(0, &[9]);
    drop(pins);
    assert!(block_on(parent.pin(start, 1, false)).is_err());
    leave(child);
    leave(parent);
    assert_eq!(statistics(), before);
}

#[test]
fn evicted_pages_leave_every_mapping_and_come_back() {
    use_private(400);
    let space = new_space();
    let (pager, object, start) = map_file(&space, 8, true);
    let mut bytes = [0; 1];
    block_on(space.copy_in(&mut bytes, start + 3 * PAGE_SIZE)).unwrap();
    let child = space.fork().unwrap();
    block_on(child.copy_in(&mut bytes, start + 3 * PAGE_SIZE)).unwrap();
    object.evict(100);
    assert_eq!(object.evict(100), 1);
    assert_eq!(load(&space, start + 3 * PAGE_SIZE), Err(Ended::Waiting));
    assert_eq!(load(&child, start + 3 * PAGE_SIZE), Err(Ended::Waiting));
    pager.take_calls();
    block_on(space.copy_in(&mut bytes, start + 3 * PAGE_SIZE)).unwrap();
    assert_eq!((bytes, pager.take_calls().len()), ([3], 1));
}
