use super::*;
use crate::paged_object::PagedObject;

fn fill(space: &Arc<AddressSpace>, start: VirtAddr, pages: usize) {
    for page in 0..pages {
        assert_eq!(store(space, start + page * PAGE_SIZE, page as u8 + 1), Ended::Well);
    }
}

fn bytes(space: &Arc<AddressSpace>, start: VirtAddr, pages: usize) -> Vec<u8> {
    (0..pages).map(|page| load(space, start + page * PAGE_SIZE).unwrap()).collect()
}

#[test]
fn a_mapping_grows_in_place_if_it_can_and_moves_if_it_must() {
    use_private(200);
    let before = statistics();
    let space = new_space();
    let low = VirtAddr::new(0x1000_0000);
    let start = space.map(MapRequest::anonymous(3 * PAGE_SIZE, READ_WRITE).at(low)).unwrap();
    fill(&space, start, 3);
    let stay = RemapPlacement::Stay;
    assert_eq!(space.remap(start, 3 * PAGE_SIZE, 5 * PAGE_SIZE, stay), Ok(start));
    assert_eq!(bytes(&space, start, 5), [1, 2, 3, 0, 0]);
    space.map(MapRequest::anonymous(PAGE_SIZE, Protection::READ).at(start + 6 * PAGE_SIZE)).unwrap();
    assert_eq!(space.remap(start, 5 * PAGE_SIZE, 9 * PAGE_SIZE, stay), Err(MapError::OutOfMemory));
    let moved = space.remap(start, 5 * PAGE_SIZE, 9 * PAGE_SIZE, RemapPlacement::MayMove).unwrap();
    assert_ne!(moved, start);
    assert_eq!(bytes(&space, moved, 9), [1, 2, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(load(&space, start), Err(not(FaultResult::NotMapped)));
    assert_eq!(space.remap(moved, 9 * PAGE_SIZE, 2 * PAGE_SIZE, stay), Ok(moved));
    assert_eq!(load(&space, moved + 2 * PAGE_SIZE), Err(not(FaultResult::NotMapped)));

    let fixed = RemapPlacement::Fixed(start + 5 * PAGE_SIZE);
    assert_eq!(space.remap(moved, 2 * PAGE_SIZE, PAGE_SIZE, fixed), Ok(start + 5 * PAGE_SIZE));
    assert_eq!(load(&space, start + 5 * PAGE_SIZE), Ok(1));
    assert_eq!(load(&space, moved + PAGE_SIZE), Err(not(FaultResult::NotMapped)));
    let overlap = RemapPlacement::Fixed(start + 4 * PAGE_SIZE);
    let result = space.remap(start + 5 * PAGE_SIZE, PAGE_SIZE, 2 * PAGE_SIZE, overlap);
    assert_eq!(result, Err(MapError::InvalidArgument));
    assert_eq!(space.remap(start, PAGE_SIZE, PAGE_SIZE, stay), Err(MapError::NotMapped));
    assert_eq!(space.usage().mapped, 2);
    leave(space);
    assert_eq!(statistics(), before);
}

#[test]
fn the_middle_of_an_object_mapping_moves_with_its_offset() {
    use_private(200);
    let space = new_space();
    let object = Arc::new(PagedObject::anonymous(20 * PAGE_SIZE as u64));
    for page in 0..20 {
        let _ = object.try_write((page * PAGE_SIZE) as u64, &[page as u8]);
    }
    let request = MapRequest::object(object.clone(), 0, 10 * PAGE_SIZE, READ_WRITE, true);
    let start = space.map(request).unwrap();
    assert_eq!(load(&space, start + 4 * PAGE_SIZE), Ok(4));
    let moved =
        space.remap(start + 4 * PAGE_SIZE, 2 * PAGE_SIZE, 3 * PAGE_SIZE, RemapPlacement::MayMove).unwrap();
    assert_eq!(bytes(&space, moved, 3), [4, 5, 6]);
    assert_eq!(bytes(&space, start, 4), [0, 1, 2, 3]);
    assert_eq!(bytes(&space, start + 6 * PAGE_SIZE, 4), [6, 7, 8, 9]);
    let again = space.remap(moved, 0, 2 * PAGE_SIZE, RemapPlacement::MayMove).unwrap();
    assert_eq!(store(&space, again, 99), Ended::Well);
    assert_eq!(load(&space, moved), Ok(99), "mapped twice");
    object.truncate(0);
    for address in [start, moved, again] {
        assert_eq!(load(&space, address), Err(not(FaultResult::BusError)), "every mapping is found");
    }
}

#[test]
fn the_break_moves_both_ways_and_stops_where_it_must() {
    use_private(200);
    let before = statistics();
    let space = new_space();
    let start = VirtAddr::new(0x20_0010);
    assert_eq!(space.set_break(start), VirtAddr::new(0), "there is no heap before it has a start");
    space.set_break_start(start);
    assert_eq!(space.set_break(VirtAddr::new(0)), start);
    let end = start + 3 * PAGE_SIZE;
    assert_eq!(space.set_break(end), end);
    assert_eq!(store(&space, VirtAddr::new(0x20_1000), 5), Ended::Well);
    assert_eq!(store(&space, end, 6), Ended::Well, "the last page is whole");
    assert_eq!(space.set_break(end + 5), end + 5);
    assert_eq!(space.inner.lock().areas.len(), 1);
    assert_eq!(space.set_break(start + 1), start + 1);
    assert_eq!(load(&space, end), Err(not(FaultResult::NotMapped)));
    assert_eq!(space.set_break(end), end);
    assert_eq!(load(&space, VirtAddr::new(0x20_2000)), Ok(0), "pages come back as zeros");
    space.map(MapRequest::anonymous(PAGE_SIZE, READ_WRITE).at(VirtAddr::new(0x30_0000))).unwrap();
    assert_eq!(space.set_break(VirtAddr::new(0x30_0001)), end);
    space.set_limits(Limits { data: 6 * PAGE_SIZE, ..Limits::USUAL });
    assert_eq!(space.set_break(end + 10 * PAGE_SIZE), end);
    leave(space);
    assert_eq!(statistics(), before);
}

#[test]
fn advice_is_taken() {
    use_private(300);
    let space = new_space();
    let start = space.map(MapRequest::anonymous(6 * PAGE_SIZE, READ_WRITE)).unwrap();
    fill(&space, start, 6);
    space.discard(start + PAGE_SIZE, 2 * PAGE_SIZE).unwrap();
    assert_eq!(space.usage().resident, 4);
    let mut present = [false; 6];
    space.residency(start, &mut present).unwrap();
    assert_eq!(present, [true, false, false, true, true, true]);
    assert_eq!(bytes(&space, start, 6), [1, 0, 0, 4, 5, 6]);
    assert_eq!(space.discard(start, 7 * PAGE_SIZE), Err(MapError::OutOfMemory));

    fill(&space, start, 6);
    space.set_on_fork(start, PAGE_SIZE, OnFork::Omit).unwrap();
    space.set_on_fork(start + 2 * PAGE_SIZE, PAGE_SIZE, OnFork::Wipe).unwrap();
    let child = space.fork().unwrap();
    assert_eq!(load(&child, start), Err(not(FaultResult::NotMapped)));
    assert_eq!(bytes(&child, start + PAGE_SIZE, 5), [2, 0, 4, 5, 6]);
    space.set_on_fork(start, 6 * PAGE_SIZE, OnFork::Inherit).unwrap();
    assert_eq!(space.inner.lock().areas.len(), 1);

    let other = space.map(MapRequest::anonymous(9 * PAGE_SIZE, READ_WRITE)).unwrap();
    let (populated, waiting) = space.try_populate(other, 9 * PAGE_SIZE, Populate::Usual);
    assert!(populated == 9 * PAGE_SIZE && waiting.is_none());
    assert_eq!(space.usage().resident, 15);
    let (populated, _) = space.try_populate(other + 8 * PAGE_SIZE, 9 * PAGE_SIZE, Populate::Usual);
    assert!(populated >= PAGE_SIZE);
}

#[test]
fn areas_can_be_listed_and_words_have_keys() {
    use_private(200);
    let space = new_space();
    space.set_break_start(VirtAddr::new(0x20_0000));
    space.set_break(VirtAddr::new(0x20_1000));
    let object = Arc::new(PagedObject::anonymous(PAGE_SIZE as u64 * 4));
    let request = MapRequest::object(object.clone(), PAGE_SIZE as u64, 2 * PAGE_SIZE, Protection::READ, true);
    let shared = space.map(request).unwrap();
    let mut at = VirtAddr::new(0);
    let mut found = Vec::new();
    while let Some(area) = space.area_from(at) {
        at = area.range.end;
        found.push((area.range.start, area.is_break, area.shared));
    }
    assert_eq!(found, [(VirtAddr::new(0x20_0000), true, false), (shared, false, true)]);
    match space.memory_key(shared + PAGE_SIZE + 8) {
        Some(MemoryKey::Shared { object: of, offset }) => {
            assert!(Arc::ptr_eq(&of, &object));
            assert_eq!(offset, 2 * PAGE_SIZE as u64 + 8);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(space.memory_key(VirtAddr::new(0x20_0010)), Some(MemoryKey::Private { .. })));
    assert!(space.memory_key(VirtAddr::new(0x1000)).is_none());
}
