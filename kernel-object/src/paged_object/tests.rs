use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::vec::Vec;

use super::*;
use crate::frame::host::use_private;
use crate::frame::statistics;
use crate::test_support::{Call, TestPager, block_on, poll_once};

const PAGE: u64 = PAGE_SIZE as u64;

fn file(pages: usize) -> (TestPager, Arc<PagedObject>) {
    let pager = TestPager::numbered(pages);
    let object = PagedObject::with_pager(pages as u64 * PAGE, Arc::new(pager.clone()));
    (pager, Arc::new(object))
}

fn first_byte(object: &Arc<PagedObject>, page: u64) -> u8 {
    let mut byte = [0xff];
    assert_eq!(block_on(object.read(page * PAGE, &mut byte)), Ok(1));
    byte[0]
}

#[test]
fn anonymous_bytes_are_zero_until_written() {
    use_private(200);
    let before = statistics();
    let object = Arc::new(PagedObject::anonymous(10 * PAGE));
    let mut bytes = std::vec![1; 3 * PAGE_SIZE];
    assert_eq!(object.try_read(PAGE - 5, &mut bytes).done, 3 * PAGE_SIZE);
    assert!(bytes.iter().all(|byte| *byte == 0));
    let data: Vec<u8> = (0..3 * PAGE_SIZE).map(|index| index as u8).collect();
    assert_eq!(object.try_write(8 * PAGE + 100, &data).done, 3 * PAGE_SIZE);
    assert_eq!(object.size(), 11 * PAGE + 100, "writing behind the end makes the object grow");
    assert_eq!(object.try_read(8 * PAGE + 100, &mut bytes).done, 3 * PAGE_SIZE);
    assert!(bytes == data);
    assert_eq!(object.try_read(11 * PAGE + 90, &mut bytes).done, 10, "reading stops at the end");
    assert_eq!(object.try_read(20 * PAGE, &mut bytes).done, 0);
    assert_eq!(object.dirty_pages(), 0, "nobody stores these pages");
    assert!(matches!(object.try_write(u64::MAX - 1, &data).stop, Some(Stop::BeyondEnd)));
    drop(object);
    assert_eq!(statistics(), before);
}

#[test]
fn what_is_cut_off_does_not_come_back() {
    use_private(200);
    let object = Arc::new(PagedObject::anonymous(0));
    let _ = object.try_write(0, &[7; 3 * PAGE_SIZE]);
    object.truncate(PAGE + 10);
    object.truncate(3 * PAGE);
    let mut bytes = std::vec![1; 2 * PAGE_SIZE];
    assert_eq!(object.try_read(PAGE, &mut bytes).done, 2 * PAGE_SIZE);
    assert!(bytes[..10].iter().all(|byte| *byte == 7) && bytes[10..].iter().all(|byte| *byte == 0));
    object.punch_hole(0..1);
    assert_eq!(first_byte(&object, 0), 0);
    assert_eq!(first_byte(&object, 1), 7);

    object.truncate(PAGE / 2);
    let page = object.try_pin(0).unwrap();
    page.write(PAGE_SIZE / 2 + 5, &[9]);
    let _ = object.try_write(PAGE / 2 + 100, &[8]);
    let mut bytes = [1; 101];
    assert_eq!(object.try_read(PAGE / 2, &mut bytes).done, 101);
    assert!(
        bytes[..100].iter().all(|byte| *byte == 0),
        "what was stored behind the end is not part of the file"
    );
}

#[test]
fn pages_are_loaded_once_and_read_ahead_when_access_is_sequential() {
    use_private(400);
    let (pager, object) = file(100);
    for page in 0..40 {
        assert_eq!(first_byte(&object, page), page as u8);
    }
    let calls = pager.take_calls();
    let loads: Vec<(u64, usize)> = calls
        .iter()
        .map(|call| match call {
            Call::Load { first, count } => (*first, *count),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(loads, [(0, 4), (4, 8), (12, 16), (28, 32)]);
    assert_eq!(first_byte(&object, 90), 90);
    assert_eq!(pager.take_calls(), [Call::Load { first: 90, count: 1 }], "a jump reads one page");
    assert_eq!(first_byte(&object, 90), 90);
    assert_eq!(pager.take_calls(), []);
}

#[test]
fn who_comes_second_waits_for_the_first() {
    use_private(200);
    let (pager, object) = file(10);
    pager.hold(true);
    let (mut one, mut two) = ([0; 1], [0; 1]);
    let mut first = std::boxed::Box::pin(object.read(5 * PAGE, &mut one));
    let mut second = std::boxed::Box::pin(object.read(5 * PAGE, &mut two));
    assert!(poll_once(first.as_mut()).is_pending() && poll_once(second.as_mut()).is_pending());
    pager.hold(false);
    assert!(poll_once(second.as_mut()).is_pending(), "it is the first's load");
    assert_eq!(poll_once(first.as_mut()), Poll::Ready(Ok(1)));
    assert_eq!(poll_once(second.as_mut()), Poll::Ready(Ok(1)));
    assert_eq!(pager.take_calls().len(), 1);
    drop((first, second));
    assert_eq!((one, two), ([5], [5]));
}

#[test]
fn a_cancelled_or_failed_load_leaves_the_page_to_others() {
    use_private(200);
    let before = statistics();
    let (pager, object) = file(10);
    pager.hold(true);
    let mut bytes = [0; 1];
    {
        let mut cancelled = std::boxed::Box::pin(object.load(3));
        assert!(poll_once(cancelled.as_mut()).is_pending());
        let mut waiting = pin!(object.read(3 * PAGE, &mut bytes));
        assert!(poll_once(waiting.as_mut()).is_pending());
        drop(cancelled);
        pager.hold(false);
        assert_eq!(poll_once(waiting.as_mut()), Poll::Ready(Ok(1)));
    }
    assert_eq!(bytes, [3]);
    pager.fail_next(PagerError::InputOutput);
    assert_eq!(block_on(object.read(7 * PAGE, &mut bytes)), Err(PagerError::InputOutput));
    assert_eq!(block_on(object.read(7 * PAGE, &mut bytes)), Ok(1), "the next one tries again");
    drop(object);
    drop(pager);
    assert_eq!(statistics(), before);
}

#[test]
fn a_load_that_was_overtaken_by_a_truncation_brings_nothing_back() {
    use_private(200);
    let before = statistics();
    let (pager, object) = file(10);
    pager.hold(true);
    let mut old = std::boxed::Box::pin(object.load(4));
    assert!(poll_once(old.as_mut()).is_pending());
    object.truncate(0);
    object.truncate(10 * PAGE);
    let mut new = std::boxed::Box::pin(object.load(4));
    assert!(poll_once(new.as_mut()).is_pending());
    pager.hold(false);
    assert_eq!(poll_once(old.as_mut()), Poll::Ready(Ok(())));
    assert!(!object.has_page(4), "the page of before the truncation is not wanted");
    assert_eq!(poll_once(new.as_mut()), Poll::Ready(Ok(())));
    assert!(object.has_page(4));
    drop((old, new, object, pager));
    assert_eq!(statistics(), before);
}

#[test]
fn whole_pages_are_overwritten_without_being_loaded() {
    use_private(200);
    let (pager, object) = file(10);
    assert_eq!(block_on(object.write(2 * PAGE, &[1; 2 * PAGE_SIZE])), Ok(2 * PAGE_SIZE));
    assert_eq!(pager.take_calls(), []);
    assert_eq!(block_on(object.write(5 * PAGE + 1, &[2; 10])), Ok(10));
    assert_eq!(pager.take_calls(), [Call::Load { first: 5, count: 1 }]);
    assert_eq!(first_byte(&object, 5), 5, "the rest of the page is the file's");
    assert_eq!(block_on(object.write(10 * PAGE + 3, &[3])), Ok(1));
    assert_eq!(pager.take_calls(), [], "behind the end there is nothing to load");
    assert_eq!(object.size(), 10 * PAGE + 4);
    assert_eq!(object.dirty_pages(), 4);

    assert_eq!(block_on(object.write_back(0..u64::MAX)), Ok(()));
    assert_eq!(
        pager.take_calls(),
        [
            Call::WriteBack { first: 2, count: 2 },
            Call::WriteBack { first: 5, count: 1 },
            Call::WriteBack { first: 10, count: 1 }
        ]
    );
    assert_eq!(object.dirty_pages(), 0);
    assert_eq!((pager.stored(2 * PAGE_SIZE), pager.stored(5 * PAGE_SIZE + 1)), (1, 2));
}

#[test]
fn a_page_that_was_to_be_overwritten_and_was_not_is_still_the_files() {
    use_private(200);
    let before = statistics();
    let (pager, object) = file(10);
    let page = object.try_pin_for_write(6, 0..PAGE_SIZE).unwrap();
    page.frame().write(0, &[1; 100]);
    assert_eq!(page.commit(0, 100), 0, "part of a page that was not loaded does not count");
    drop(object.try_pin_for_write(7, 0..PAGE_SIZE).unwrap());
    assert_eq!((first_byte(&object, 6), first_byte(&object, 7)), (6, 7));
    let page = object.try_pin_for_write(6, 0..PAGE_SIZE).unwrap();
    assert_eq!(page.commit(0, 100), 100, "of a loaded page it does");
    drop((object, pager));
    assert_eq!(statistics(), before);
}

#[test]
fn a_store_during_write_back_makes_the_page_dirty_again() {
    use_private(200);
    let (pager, object) = file(4);
    block_on(object.write(PAGE, &[1; PAGE_SIZE])).unwrap();
    pager.hold(true);
    let mut first = pin!(object.write_back(0..4));
    assert!(poll_once(first.as_mut()).is_pending());
    assert_eq!(object.dirty_pages(), 0);
    block_on(object.write(PAGE, &[2; PAGE_SIZE])).unwrap();
    assert_eq!(object.dirty_pages(), 1);
    let mut second = pin!(object.write_back(0..4));
    assert!(poll_once(second.as_mut()).is_pending());
    assert_eq!(pager.take_calls().len(), 1, "two writes of one page are never in flight together");
    pager.hold(false);
    assert_eq!(poll_once(first.as_mut()), Poll::Ready(Ok(())));
    assert_eq!(poll_once(second.as_mut()), Poll::Ready(Ok(())));
    assert_eq!(pager.take_calls().len(), 1);
    assert_eq!(pager.stored(PAGE_SIZE), 2);
}

#[test]
fn a_failed_write_back_keeps_the_pages_dirty_and_is_reported_once_more() {
    use_private(200);
    let (pager, object) = file(4);
    block_on(object.write(0, &[1; PAGE_SIZE])).unwrap();
    block_on(object.write(2 * PAGE, &[1; PAGE_SIZE])).unwrap();
    pager.fail_next(PagerError::NoSpace);
    assert_eq!(block_on(object.write_back(0..4)), Err(PagerError::NoSpace));
    assert_eq!(pager.stored(2 * PAGE_SIZE), 1, "the others are stored");
    assert_eq!(object.dirty_pages(), 1);
    assert_eq!((object.take_write_error(), object.take_write_error()), (Some(PagerError::NoSpace), None));
    {
        pager.hold(true);
        let mut cancelled = std::boxed::Box::pin(object.write_back(0..4));
        assert!(poll_once(cancelled.as_mut()).is_pending());
        pager.hold(false);
    }
    assert_eq!(object.dirty_pages(), 1, "a cancelled one does not count");
    assert_eq!(block_on(object.write_back(0..4)), Ok(()));
    assert_eq!(object.dirty_pages(), 0);
}

#[test]
fn clean_idle_pages_can_be_given_up() {
    use_private(200);
    let (pager, object) = file(10);
    for page in 0..6 {
        first_byte(&object, page);
    }
    block_on(object.write(0, &[9])).unwrap();
    let pin = object.try_pin(1).unwrap();
    assert_eq!(object.resident_pages(), 10);
    assert_eq!(object.evict(100), 4, "those that were read ahead and never used");
    assert_eq!(object.evict(100), 4, "all but the dirty and the pinned one");
    assert_eq!(object.resident_pages(), 2);
    drop(pin);
    assert_eq!(object.evict(100), 1);
    assert_eq!(first_byte(&object, 3), 3);
    drop(pager);
}

#[test]
fn running_out_of_memory_is_an_error_everywhere() {
    let allocator = use_private(300);
    let before = statistics();
    for successes in 0..12 {
        let (pager, object) = file(10);
        let mut buffer = std::vec![0; 6 * PAGE_SIZE];
        allocator.fail_after(Some(successes));
        let read = block_on(object.read(0, &mut buffer));
        let write = block_on(object.write(5 * PAGE + 1, &buffer));
        let refused = allocator.has_failed();
        allocator.fail_after(None);
        let short = read != Ok(buffer.len()) || write != Ok(buffer.len());
        // Read-ahead that gets fewer frames than it wants is no error.
        assert!(refused || !short, "{read:?} {write:?}");
        assert_eq!(block_on(object.read(0, &mut buffer)), Ok(buffer.len()), "the next one succeeds");
        drop((pager, object));
        assert_eq!(statistics(), before);
    }
}

#[test]
fn shared_pages_are_words_and_bytes_and_an_object() {
    use core::sync::atomic::Ordering::{Acquire, Release};
    use_private(200);
    let before = statistics();
    let pages = SharedPages::allocate(3).unwrap();
    pages.store_u32(PAGE_SIZE + 4, 0x1234_5678, Release);
    assert_eq!(pages.load_u32(PAGE_SIZE + 4, Acquire), 0x1234_5678);
    assert_eq!(pages.fetch_or_u32(PAGE_SIZE + 4, 1 << 31, Acquire), 0x1234_5678);
    assert_eq!(pages.compare_exchange_u32(PAGE_SIZE + 4, 0, 1), Err(0x9234_5678));
    pages.store_u64(2 * PAGE_SIZE - 8, u64::MAX, Release);
    assert_eq!(pages.fetch_and_u64(2 * PAGE_SIZE - 8, 1, Acquire), u64::MAX);
    pages.write(2 * PAGE_SIZE - 2, &[1, 2, 3, 4]);
    let mut bytes = [0; 4];
    pages.read(2 * PAGE_SIZE - 2, &mut bytes);
    assert_eq!(bytes, [1, 2, 3, 4]);
    let object = Arc::new(pages.to_object().unwrap());
    assert_eq!(object.size(), pages.len() as u64);
    let _ = object.try_write(PAGE + 4, &[0; 4]);
    assert_eq!(pages.load_u32(PAGE_SIZE + 4, Acquire), 0, "the object is these very pages");
    let outside =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pages.load_u32(3 * PAGE_SIZE, Acquire)));
    let misaligned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pages.load_u32(2, Acquire)));
    assert!(outside.is_err() && misaligned.is_err());
    drop((object, pages));
    assert_eq!(statistics(), before);
}
