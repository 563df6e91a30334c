use std::vec::Vec;

use kernel_hal::user_memory;

use super::*;
use crate::frame::host::use_private;
use crate::frame::statistics;

const READ_WRITE: PageFlags = PageFlags::VALID
    .union(PageFlags::READ)
    .union(PageFlags::WRITE)
    .union(PageFlags::USER)
    .union(PageFlags::ACCESSED)
    .union(PageFlags::DIRTY);

fn page(number: usize) -> VirtAddr {
    VirtAddr::from_page_number(number)
}

fn new_frame() -> SharedFrame {
    Frame::allocate_zeroed(FrameKind::Anonymous).unwrap().into()
}

#[test]
fn mapped_pages_are_reachable_by_a_program_and_come_back() {
    use_private(40);
    let before = statistics();
    let mut tables = PageTable::new().unwrap();
    let frame = new_frame();
    frame.write(5, b"hello");
    assert!(tables.map(page(7), frame, READ_WRITE).unwrap().is_none());
    paging::activate(tables.root(), 1);
    let mut bytes = [0; 5];
    user_memory::copy_in(&mut bytes, page(7) + 5).unwrap();
    assert_eq!(&bytes, b"hello");
    assert!(user_memory::copy_in(&mut bytes, page(8)).is_err());

    let replaced = tables.map(page(7), new_frame(), READ_WRITE).unwrap().unwrap();
    drop(replaced);
    let mut taken = Vec::new();
    tables.unmap(page(0)..page(1 << 26), |address, frame| taken.push((address, frame)));
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].0, page(7));
    assert!(user_memory::copy_in(&mut bytes, page(7)).is_err());
    drop((taken, tables));
    assert_eq!(statistics(), before);
}

#[test]
fn dropping_the_tables_drops_every_page_wherever_it_is() {
    use_private(40);
    let before = statistics();
    let shared = new_frame();
    let mut tables = PageTable::new().unwrap();
    for number in [0, 1, 511, 512, (1 << 18) - 1, 1 << 18, (1 << 26) - 1] {
        tables.map(page(number), shared.clone(), READ_WRITE).unwrap();
        tables.cursor(page(number)).set_flags(PageFlags::empty());
    }
    assert!(!tables.query(page(511)).is_valid());
    assert_eq!(tables.query(page(511)).frame(), shared.address(), "a parked page keeps its frame");
    drop(tables);
    assert!(shared.is_exclusive());
    drop(shared);
    assert_eq!(statistics(), before);
}

#[test]
fn a_cursor_finds_exactly_the_pages_in_its_range() {
    use_private(40);
    let mut tables = PageTable::new().unwrap();
    let numbers = [3, 4, 511, 512, 1500, 1 << 18, (1 << 18) + 513];
    let frame = new_frame();
    for number in numbers {
        tables.map(page(number), frame.clone(), READ_WRITE).unwrap();
    }
    let mut find = |from: usize, to: usize| {
        let mut found = Vec::new();
        let mut cursor = tables.cursor(page(from));
        while cursor.find(page(to)).is_some() {
            found.push(cursor.address().page_number());
            cursor.step();
        }
        found
    };
    assert_eq!(find(0, 1 << 26), numbers);
    assert_eq!(find(4, 512), [4, 511]);
    assert_eq!(find(5, 511), []);
    assert_eq!(find(513, (1 << 18) + 1), [1500, 1 << 18]);
    assert_eq!(find(9, 9), []);
}

#[test]
fn protecting_tells_whether_something_was_lost() {
    use_private(40);
    let mut tables = PageTable::new().unwrap();
    tables.map(page(1), new_frame(), READ_WRITE).unwrap();
    tables.map(page(2), new_frame(), READ_WRITE - PageFlags::WRITE).unwrap();
    let all = page(0)..page(600);
    assert!(!tables.protect(all.clone(), |_, entry| entry.flags()));
    assert!(tables.protect(all.clone(), |_, entry| entry.flags() - PageFlags::WRITE));
    assert!(!tables.protect(all.clone(), |_, _| READ_WRITE), "a new permission needs no flush");
    assert!(tables.protect(all.clone(), |_, entry| entry.flags() - PageFlags::VALID));
    assert!(!tables.protect(all, |_, _| READ_WRITE));
}

#[test]
fn empty_tables_are_taken_out_and_others_are_not() {
    use_private(40);
    let before = statistics();
    let mut tables = PageTable::new().unwrap();
    let far = 5 << 18;
    for number in [0, 600, 1300, far] {
        tables.map(page(number), new_frame(), READ_WRITE).unwrap();
    }
    let count = |tables: &mut PageTable, range: Range<VirtAddr>| {
        let mut taken = Vec::new();
        tables.take_empty_tables(range, |table| taken.push(table));
        taken.len()
    };
    assert_eq!(count(&mut tables, page(0)..page(1 << 26)), 0);
    tables.unmap(page(600)..page(1 << 26), |_, frame| drop(frame));
    assert_eq!(count(&mut tables, page(0)..page(500)), 0, "only the range is looked at");
    assert_eq!(count(&mut tables, page(0)..page(1024)), 1);
    assert_eq!(count(&mut tables, page(0)..page(1 << 26)), 3, "a leaf, and two levels at the far place");
    assert!(tables.query(page(0)).is_page());
    tables.map(page(far), new_frame(), READ_WRITE).unwrap();
    assert!(tables.query(page(far)).is_page());
    drop(tables);
    assert_eq!(statistics(), before);
}

#[test]
fn running_out_while_tables_are_made_loses_nothing() {
    let allocator = use_private(40);
    let before = statistics();
    for successes in 0..5 {
        let frame = new_frame();
        allocator.fail_after(Some(successes));
        let result =
            PageTable::new().and_then(|mut tables| tables.map(page(9), frame, READ_WRITE).map(|_| tables));
        let refused = allocator.has_failed();
        allocator.fail_after(None);
        assert_eq!(result.is_err(), refused);
        assert_eq!(refused, successes < 3);
        drop(result);
        assert_eq!(statistics(), before, "after {successes} successes");
    }
}
