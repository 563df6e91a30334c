//! The sequence lock: an even number when all is quiet, odd while the one writer is at work.
//!
//! A reader that meets a writer gives up at once. It must, because it runs where the writer may be what it holds up:
//! it then asks the kernel, which knows how to wait.

use core::sync::atomic::Ordering;

use crate::layout::{ReadWords, SEQUENCE, WriteWords};
use crate::shim::{fence, read_fence};

/// Loads some words as of one moment; none if a writer is at work, or if `load` finds nothing to say.
#[inline(always)]
pub(crate) fn read<W: ReadWords, R>(page: &W, load: impl FnOnce(&W) -> Option<R>) -> Option<R> {
    let before = page.load(SEQUENCE, Ordering::Relaxed);
    if before & 1 != 0 {
        return None;
    }
    read_fence();
    let result = load(page)?;
    read_fence();
    (page.load(SEQUENCE, Ordering::Relaxed) == before).then_some(result)
}

/// Stores some words as one change. The caller is the only writer.
pub(crate) fn write<W: WriteWords>(page: &mut W, store: impl FnOnce(&mut W)) {
    let before = page.load(SEQUENCE, Ordering::Relaxed);
    page.store(SEQUENCE, before.wrapping_add(1), Ordering::Relaxed);
    fence(Ordering::Release);
    store(page);
    page.store(SEQUENCE, before.wrapping_add(2), Ordering::Release);
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;
    use std::vec::Vec;

    use super::*;
    use crate::shim::AtomicU64;

    const FIRST: usize = 8;
    const SECOND: usize = 16;

    struct Page(Vec<AtomicU64>);

    impl ReadWords for Page {
        fn load(&self, offset: usize, ordering: Ordering) -> u64 {
            self.0[offset / 8].load(ordering)
        }
    }

    impl WriteWords for Arc<Page> {
        fn store(&self, offset: usize, value: u64, ordering: Ordering) {
            self.0[offset / 8].store(value, ordering);
        }
    }

    impl ReadWords for Arc<Page> {
        fn load(&self, offset: usize, ordering: Ordering) -> u64 {
            (**self).load(offset, ordering)
        }
    }

    fn pair(page: &Arc<Page>) -> Option<(u64, u64)> {
        read(page, |page| Some((page.load(FIRST, Ordering::Relaxed), page.load(SECOND, Ordering::Relaxed))))
    }

    #[test]
    fn loom_readers_see_whole_changes_in_order() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(4);
        model.check(|| {
            let page = Arc::new(Page((0..3).map(|_| AtomicU64::new(0)).collect()));
            let mut writers_page = page.clone();
            let writer = loom::thread::spawn(move || {
                for value in 1..=2 {
                    write(&mut writers_page, |page| {
                        page.store(FIRST, value, Ordering::Relaxed);
                        page.store(SECOND, value * 10, Ordering::Relaxed);
                    });
                }
            });
            let mut newest = 0;
            for _ in 0..2 {
                if let Some((first, second)) = pair(&page) {
                    assert_eq!(second, first * 10, "half of a change");
                    assert!(first >= newest, "an older state after a newer one");
                    newest = first;
                }
            }
            writer.join().unwrap();
            assert_eq!(pair(&page), Some((2, 20)), "nobody writes, so nothing may be refused");
        });
    }
}
