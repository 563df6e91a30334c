use super::*;
use crate::paged_object::{PagedObject, Sealed, Seals};

fn anonymous(pages: usize) -> MapRequest {
    MapRequest::anonymous(pages * PAGE_SIZE, READ_WRITE)
}

#[test]
fn what_is_locked_counts_once_and_keeps_to_its_limit() {
    use_private(200);
    let space = new_space();
    space.set_lock_limit(8 * PAGE_SIZE);
    let start = space.map(anonymous(16)).unwrap();
    assert_eq!(space.lock(start, 8 * PAGE_SIZE, false), Ok(()));
    assert_eq!(space.lock(start + PAGE_SIZE, 4 * PAGE_SIZE, true), Ok(()));
    assert_eq!(space.usage().locked, 8);
    assert_eq!(space.lock(start + 8 * PAGE_SIZE, PAGE_SIZE, false), Err(MapError::OutOfMemory));
    let request = MapRequest { flags: AreaFlags::LOCKED, ..anonymous(1) };
    assert_eq!(space.map(request), Err(MapError::TooMuchLocked));
    assert_eq!(space.fork().unwrap().usage().locked, 0, "a child has locked nothing");
    assert_eq!(space.discard(start, PAGE_SIZE), Err(MapError::InvalidArgument));
    assert_eq!(space.unlock(start, 16 * PAGE_SIZE), Ok(()));
    assert_eq!((space.usage().locked, space.inner.lock().areas.len()), (0, 1));
    space.lock_all(LockAll { current: false, future: true, on_fault: true }).unwrap();
    space.map(anonymous(3)).unwrap();
    assert_eq!(space.usage().locked, 3);
    space.unlock_all();
    assert_eq!(space.usage().locked, 0);
    leave(space);
}

#[test]
fn sizes_by_kind_follow_the_pages() {
    use_private(300);
    let space = new_space();
    let private = space.map(anonymous(4)).unwrap();
    let shared = space.map(MapRequest { shared: true, ..anonymous(4) }).unwrap();
    let object = Arc::new(PagedObject::anonymous(4 * PAGE_SIZE as u64));
    let _ = object.try_write(0, &[1; 2 * PAGE_SIZE]);
    let copied = space.map(MapRequest::object(object.clone(), 0, 4 * PAGE_SIZE, READ_WRITE, false)).unwrap();
    for page in 0..3 {
        assert_eq!(store(&space, private + page * PAGE_SIZE, 1), Ended::Well);
        assert_eq!(store(&space, shared + page * PAGE_SIZE, 1), Ended::Well);
    }
    assert_eq!(load(&space, copied), Ok(1));
    let usage = space.usage();
    assert_eq!((usage.anonymous, usage.shared_memory, usage.file), (3, 5, 0));
    assert_eq!(store(&space, copied, 2), Ended::Well);
    let usage = space.usage();
    assert_eq!((usage.anonymous, usage.shared_memory, usage.resident), (4, 4, 8));
    let part = space.range_usage(copied..copied + 4 * PAGE_SIZE);
    assert_eq!(
        (part.resident, part.anonymous, part.private_dirty),
        (2 * PAGE_SIZE, PAGE_SIZE, 2 * PAGE_SIZE)
    );
    let child = space.fork().unwrap();
    assert_eq!(child.usage().anonymous, 4);
    assert_eq!(space.range_usage(private..private + PAGE_SIZE).proportional, PAGE_SIZE / 2);
    object.truncate(0);
    assert_eq!((space.usage().anonymous, child.usage().anonymous), (3, 3));
    leave(child);
    leave(space);
}

#[test]
fn an_object_that_is_mapped_for_storing_is_not_sealed() {
    use_private(200);
    let space = new_space();
    let object = Arc::new(PagedObject::anonymous(PAGE_SIZE as u64));
    assert_eq!(object.add_seals(Seals::WRITE), Err(Sealed::Closed));
    object.open_to_seals();
    let request = MapRequest::object(object.clone(), 0, PAGE_SIZE, Protection::READ, true);
    let start = space.map(request).unwrap();
    assert_eq!(object.add_seals(Seals::WRITE), Err(Sealed::Busy), "it could be made writable");
    assert_eq!(object.seals(), Seals::empty());
    assert_eq!(object.add_seals(Seals::FUTURE_WRITE), Ok(()));
    space.unmap(start, PAGE_SIZE).unwrap();
    assert_eq!(object.add_seals(Seals::WRITE | Seals::SEAL), Ok(()));
    assert_eq!(object.add_seals(Seals::GROW), Err(Sealed::Closed));
    leave(space);
}

#[test]
fn what_is_left_behind_is_empty() {
    use_private(200);
    let space = new_space();
    let start = space.map(anonymous(3)).unwrap();
    assert_eq!(store(&space, start + PAGE_SIZE, 9), Ended::Well);
    let moved = space.remap(start, 3 * PAGE_SIZE, 3 * PAGE_SIZE, RemapPlacement::MayLeave).unwrap();
    assert_eq!((load(&space, moved + PAGE_SIZE), load(&space, start + PAGE_SIZE)), (Ok(9), Ok(0)));
    assert_eq!(space.usage().mapped, 6);
    leave(space);
}
