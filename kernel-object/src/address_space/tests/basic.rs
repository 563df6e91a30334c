use super::*;
use crate::paged_object::PagedObject;

#[test]
fn anonymous_pages_appear_when_touched_and_go_when_unmapped() {
    use_private(200);
    let before = statistics();
    let space = new_space();
    let start = space.map(MapRequest::anonymous(10 * PAGE_SIZE, READ_WRITE)).unwrap();
    assert_eq!(space.usage(), Usage { mapped: 10, data: 10, tables: 1, ..Usage::default() });
    assert_eq!(load(&space, start + 5), Ok(0));
    assert_eq!(store(&space, start + 5, 7), Ended::Well);
    assert_eq!(store(&space, start + 9 * PAGE_SIZE, 8), Ended::Well);
    assert_eq!(load(&space, start + 5), Ok(7));
    assert_eq!(space.usage().resident, 2);
    assert_eq!(load(&space, start + 10 * PAGE_SIZE), Err(not(FaultResult::NotMapped)));
    assert_eq!(load(&space, start - 1), Err(not(FaultResult::NotMapped)));

    space.unmap(start + PAGE_SIZE, 8 * PAGE_SIZE).unwrap();
    assert_eq!(load(&space, start + PAGE_SIZE), Err(not(FaultResult::NotMapped)));
    assert_eq!((load(&space, start + 5), load(&space, start + 9 * PAGE_SIZE)), (Ok(7), Ok(8)));
    space.unmap(start, 10 * PAGE_SIZE).unwrap();
    assert_eq!(space.usage(), Usage { most_resident: 2, tables: 1, ..Usage::default() });
    let tables = statistics().used_by(crate::frame::FrameKind::PageTable);
    assert_eq!(tables, 1, "only the root is left");
    leave(space);
    assert_eq!(statistics(), before);
}

#[test]
fn protections_are_kept_and_changed() {
    use_private(200);
    let before = statistics();
    let space = new_space();
    let start = space.map(MapRequest::anonymous(4 * PAGE_SIZE, READ_WRITE)).unwrap();
    assert_eq!(store(&space, start, 1), Ended::Well);
    space.protect(start, PAGE_SIZE, Protection::READ).unwrap();
    assert_eq!(load(&space, start), Ok(1));
    assert_eq!(store(&space, start, 2), not(FaultResult::NotPermitted));
    space.protect(start, 2 * PAGE_SIZE, Protection::empty()).unwrap();
    assert_eq!(load(&space, start), Err(not(FaultResult::NotPermitted)));
    assert_eq!(store(&space, start + 2 * PAGE_SIZE, 3), Ended::Well);
    space.protect(start, 4 * PAGE_SIZE, READ_WRITE).unwrap();
    assert_eq!(load(&space, start), Ok(1), "a page that may not be used keeps its content");
    assert_eq!(store(&space, start, 4), Ended::Well);
    assert_eq!(space.inner.lock().areas.len(), 1, "equal neighbours are united");
    let fetch = PageFault { address: start, access: Access::Execute };
    assert!(matches!(space.fault(fetch), FaultOutcome::Ready(FaultResult::NotPermitted)));
    assert_eq!(
        space.protect(start, 5 * PAGE_SIZE, Protection::READ),
        Err(MapError::OutOfMemory),
        "a hole is an error"
    );
    assert_eq!(
        store(&space, start, 5),
        not(FaultResult::NotPermitted),
        "what is before the hole has changed"
    );
    leave(space);
    assert_eq!(statistics(), before);
}

#[test]
fn a_forked_child_has_the_same_memory_until_somebody_stores() {
    use_private(400);
    let before = statistics();
    let parent = new_space();
    let start = parent.map(MapRequest::anonymous(8 * PAGE_SIZE, READ_WRITE)).unwrap();
    for page in 0..4 {
        assert_eq!(store(&parent, start + page * PAGE_SIZE, page as u8 + 1), Ended::Well);
    }
    parent.protect(start + PAGE_SIZE, PAGE_SIZE, Protection::empty()).unwrap();
    let frames = statistics().used_by(crate::frame::FrameKind::Anonymous);
    let child = parent.fork().unwrap();
    assert_eq!(statistics().used_by(crate::frame::FrameKind::Anonymous), frames, "nothing is copied yet");
    assert_eq!(child.usage().resident, 4);
    let grandchild = child.fork().unwrap();

    assert_eq!(store(&parent, start, 10), Ended::Well);
    assert_eq!(store(&child, start, 20), Ended::Well);
    assert_eq!(
        (load(&parent, start), load(&child, start), load(&grandchild, start)),
        (Ok(10), Ok(20), Ok(1))
    );
    assert_eq!(statistics().used_by(crate::frame::FrameKind::Anonymous), frames + 2);
    assert_eq!(store(&grandchild, start, 30), Ended::Well);
    assert_eq!(
        statistics().used_by(crate::frame::FrameKind::Anonymous),
        frames + 2,
        "the last owner stores without a copy"
    );
    assert_eq!(load(&child, start + PAGE_SIZE), Err(not(FaultResult::NotPermitted)));
    child.protect(start + PAGE_SIZE, PAGE_SIZE, READ_WRITE).unwrap();
    assert_eq!(load(&child, start + PAGE_SIZE), Ok(2));
    assert_eq!(store(&child, start + PAGE_SIZE, 22), Ended::Well);
    parent.protect(start + PAGE_SIZE, PAGE_SIZE, READ_WRITE).unwrap();
    assert_eq!(load(&parent, start + PAGE_SIZE), Ok(2));

    leave(grandchild);
    leave(parent);
    assert_eq!((load(&child, start), load(&child, start + 3 * PAGE_SIZE)), (Ok(20), Ok(4)));
    leave(child);
    assert_eq!(statistics(), before);
}

#[test]
fn shared_memory_is_shared_by_parent_and_child() {
    use_private(400);
    let before = statistics();
    let parent = new_space();
    let request = MapRequest { shared: true, ..MapRequest::anonymous(4 * PAGE_SIZE, READ_WRITE) };
    let start = parent.map(request).unwrap();
    assert_eq!(store(&parent, start, 1), Ended::Well);
    let child = parent.fork().unwrap();
    assert_eq!(load(&child, start), Ok(1));
    assert_eq!(store(&child, start + PAGE_SIZE, 2), Ended::Well);
    assert_eq!(load(&parent, start + PAGE_SIZE), Ok(2));
    assert_eq!(store(&parent, start, 3), Ended::Well);
    assert_eq!(load(&child, start), Ok(3));
    leave(child);
    leave(parent);
    assert_eq!(statistics(), before);
}

#[test]
fn private_and_shared_mappings_of_an_object() {
    use_private(400);
    let before = statistics();
    let object = Arc::new(PagedObject::anonymous(40 * PAGE_SIZE as u64));
    let _ = object.try_write(0, &[1; 40 * PAGE_SIZE]);
    let space = new_space();
    let len = 41 * PAGE_SIZE;
    let shared = space.map(MapRequest::object(object.clone(), 0, len, READ_WRITE, true)).unwrap();
    let offset = 2 * PAGE_SIZE as u64;
    let private = space.map(MapRequest::object(object.clone(), offset, len, READ_WRITE, false)).unwrap();

    assert_eq!(load(&space, private + 20 * PAGE_SIZE), Ok(1));
    assert_eq!(space.usage().resident, 16, "neighbours come along");
    assert_eq!(load(&space, private), Ok(1));
    assert_eq!(store(&space, shared + 2 * PAGE_SIZE, 5), Ended::Well);
    assert_eq!(load(&space, private), Ok(5), "an unmodified private page is the object's");
    assert_eq!(store(&space, private, 6), Ended::Well);
    assert_eq!(store(&space, shared + 2 * PAGE_SIZE, 7), Ended::Well);
    assert_eq!(load(&space, private), Ok(6));
    let mut byte = [0];
    assert_eq!(object.try_read(offset, &mut byte).done, 1);
    assert_eq!(byte, [7], "what is read is what is mapped");
    assert_eq!(store(&space, private + 30 * PAGE_SIZE, 8), Ended::Well, "a store to a page never read");
    assert_eq!(load(&space, shared + 32 * PAGE_SIZE), Ok(1));
    assert_eq!(load(&space, shared + 40 * PAGE_SIZE), Err(not(FaultResult::BusError)));
    assert_eq!(store(&space, private + 38 * PAGE_SIZE, 8), not(FaultResult::BusError));

    assert!(object.is_mapped());
    object.truncate(3 * PAGE_SIZE as u64 + 1);
    assert_eq!(load(&space, shared + 4 * PAGE_SIZE), Err(not(FaultResult::BusError)));
    assert_eq!(load(&space, private + 30 * PAGE_SIZE), Err(not(FaultResult::BusError)));
    assert_eq!(load(&space, private), Ok(6));
    assert_eq!(
        (load(&space, shared + 3 * PAGE_SIZE), load(&space, shared + 3 * PAGE_SIZE + 1)),
        (Ok(1), Ok(0))
    );
    space.clear();
    assert!(!object.is_mapped());
    leave(space);
    drop(object);
    assert_eq!(statistics(), before);
}

#[test]
fn a_stack_grows_to_its_limit_and_keeps_its_distance() {
    use_private(400);
    let space = new_space();
    let top = VirtAddr::new(0x3000_0000);
    let request = MapRequest { grows_down: true, ..MapRequest::anonymous(2 * PAGE_SIZE, READ_WRITE) };
    space.map(request.at(top - 2 * PAGE_SIZE)).unwrap();
    assert_eq!(store(&space, top - 100 * PAGE_SIZE, 1), Ended::Well);
    assert_eq!(load(&space, top - 50 * PAGE_SIZE), Ok(0), "all of it is mapped");
    let limit = Limits::USUAL.stack;
    assert_eq!(store(&space, top - limit, 1), Ended::Well);
    assert_eq!(store(&space, top - limit - 1, 1), not(FaultResult::NotMapped));

    space.set_limits(Limits { stack: 1 << 30, ..Limits::USUAL });
    let below = top - limit - 300 * PAGE_SIZE;
    space.map(MapRequest::anonymous(PAGE_SIZE, READ_WRITE).at(below)).unwrap();
    assert_eq!(store(&space, below + 257 * PAGE_SIZE, 1), Ended::Well);
    assert_eq!(store(&space, below + 256 * PAGE_SIZE, 1), not(FaultResult::NotMapped));
}

#[test]
fn gaps_are_found_from_the_top_and_hints_are_taken() {
    use_private(100);
    let space = new_space();
    let top = Layout::default().mapping_top;
    let map = |pages: usize| space.map(MapRequest::anonymous(pages * PAGE_SIZE, Protection::READ)).unwrap();
    let first = map(4);
    assert_eq!(first, top - 4 * PAGE_SIZE);
    assert_eq!(map(2), top - 6 * PAGE_SIZE);
    space.unmap(first, 3 * PAGE_SIZE).unwrap();
    assert_eq!(map(3), first, "an exact gap is used");
    assert_eq!(map(3), top - 9 * PAGE_SIZE);
    let hint = VirtAddr::new(0x5000_0123);
    let hinted = MapRequest {
        placement: Placement::Anywhere { hint: Some(hint) },
        ..MapRequest::anonymous(PAGE_SIZE, READ_WRITE)
    };
    assert_eq!(space.map(hinted.clone()).unwrap(), VirtAddr::new(0x5000_1000));
    assert_eq!(space.map(hinted.clone()).unwrap(), top - 10 * PAGE_SIZE);
    let taken = MapRequest { placement: Placement::FixedIfFree(first), ..hinted.clone() };
    assert_eq!(space.map(taken), Err(MapError::Exists));
    let stack = MapRequest { grows_down: true, ..hinted.at(top - 400 * PAGE_SIZE) };
    space.map(stack).unwrap();
    assert_eq!(map(395), top - (400 + 256 + 395) * PAGE_SIZE, "nothing is put where a stack may grow");
}

#[test]
fn a_fixed_mapping_replaces_what_is_there() {
    use_private(200);
    let space = new_space();
    let start = space.map(MapRequest::anonymous(10 * PAGE_SIZE, READ_WRITE)).unwrap();
    for page in 0..10 {
        assert_eq!(store(&space, start + page * PAGE_SIZE, 9), Ended::Well);
    }
    let object = Arc::new(PagedObject::anonymous(4 * PAGE_SIZE as u64));
    let request = MapRequest::object(object, 0, 3 * PAGE_SIZE, Protection::READ, false);
    space.map(request.at(start + 4 * PAGE_SIZE)).unwrap();
    let bytes: Vec<u8> = (0..10).map(|page| load(&space, start + page * PAGE_SIZE).unwrap()).collect();
    assert_eq!(bytes, [9, 9, 9, 9, 0, 0, 0, 9, 9, 9]);
    assert_eq!(store(&space, start + 4 * PAGE_SIZE, 1), not(FaultResult::NotPermitted));
}

#[test]
fn limits_are_kept_and_wrong_arguments_refused() {
    use_private(100);
    let space = new_space();
    let anonymous = |len: usize| MapRequest::anonymous(len, READ_WRITE);
    space.set_limits(Limits { address_space: 20 * PAGE_SIZE, data: 10 * PAGE_SIZE, ..Limits::USUAL });
    assert_eq!(space.map(anonymous(11 * PAGE_SIZE)), Err(MapError::OutOfMemory));
    let start = space.map(anonymous(10 * PAGE_SIZE)).unwrap();
    assert_eq!(space.map(anonymous(1)), Err(MapError::OutOfMemory));
    let readable = MapRequest { protection: Protection::READ, ..anonymous(10 * PAGE_SIZE) };
    let other = space.map(readable.clone()).unwrap();
    assert_eq!(space.map(readable.clone()), Err(MapError::OutOfMemory));
    assert!(
        space.map(anonymous(PAGE_SIZE).at(start)).is_err(),
        "data is counted before it is replaced, as on Linux"
    );
    assert_eq!(space.protect(other, PAGE_SIZE, READ_WRITE), Err(MapError::OutOfMemory));

    space.set_limits(Limits::USUAL);
    assert_eq!(space.map(anonymous(0)), Err(MapError::InvalidArgument));
    assert_eq!(space.map(anonymous(usize::MAX)), Err(MapError::OutOfMemory));
    assert_eq!(space.map(anonymous(PAGE_SIZE).at(start + 1)), Err(MapError::InvalidArgument));
    assert_eq!(space.map(anonymous(PAGE_SIZE).at(VirtAddr::new(0))), Err(MapError::TooLow));
    let end = VirtAddr::new(USER_END - PAGE_SIZE);
    assert_eq!(space.map(anonymous(2 * PAGE_SIZE).at(end)), Err(MapError::OutOfMemory));
    assert_eq!(space.unmap(start + 1, PAGE_SIZE), Err(MapError::InvalidArgument));
    assert_eq!(space.unmap(end, 2 * PAGE_SIZE), Err(MapError::InvalidArgument));
    assert_eq!(space.unmap(end, 0), Err(MapError::InvalidArgument));
    let object = Arc::new(PagedObject::anonymous(0));
    let request = MapRequest::object(object, 0, PAGE_SIZE, Protection::READ, true);
    let sealed = MapRequest { maximum: Protection::READ, ..request };
    let address = space.map(sealed.clone()).unwrap();
    assert_eq!(space.protect(address, PAGE_SIZE, READ_WRITE), Err(MapError::NotPermitted));
    assert_eq!(space.map(MapRequest { protection: READ_WRITE, ..sealed }), Err(MapError::NotPermitted));
}
