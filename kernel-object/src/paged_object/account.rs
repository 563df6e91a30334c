//! Limits on the pages of objects that nobody stores.

/// Answers for the pages of objects without a pager: a filesystem in memory that has a size limit. It is called with
/// an object's lock held, so it only counts.
pub trait PageAccount: Send + Sync {
    /// Asks for one page more; `false` if there is no room for it.
    fn charge(&self) -> bool;

    /// Gives pages back.
    fn refund(&self, pages: u64);
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;
    use crate::frame::{self, FrameKind};
    use crate::paged_object::{Lookup, PagedObject, Stop};

    struct Purse {
        used: AtomicU64,
        limit: u64,
    }

    impl PageAccount for Purse {
        fn charge(&self) -> bool {
            self.used.try_update(Relaxed, Relaxed, |used| (used < self.limit).then_some(used + 1)).is_ok()
        }

        fn refund(&self, pages: u64) {
            assert!(self.used.fetch_sub(pages, Relaxed) >= pages);
        }
    }

    #[test]
    fn pages_are_charged_when_they_are_made_and_given_back_when_they_go() {
        let purse = Arc::new(Purse { used: AtomicU64::new(0), limit: 3 });
        let object = Arc::new(PagedObject::accounted(10 << 12, purse.clone()));
        let progress = object.try_write(1 << 12, &[7; 5 << 12]);
        assert_eq!(progress.done, 3 << 12);
        assert!(matches!(progress.stop, Some(Stop::NoSpace)));
        assert!(matches!(object.look_up(9, true), Lookup::NoSpace));
        object.truncate(2 << 12);
        assert_eq!(purse.used.load(Relaxed), 1);
        assert!(matches!(object.look_up(0, true), Lookup::Present { .. }));
        object.punch_hole(1..2);
        assert_eq!(purse.used.load(Relaxed), 1);
        drop(object);
        assert_eq!(purse.used.load(Relaxed), 0);
    }

    #[test]
    fn reading_a_hole_makes_no_page() {
        frame::host::use_private(64);
        let purse = Arc::new(Purse { used: AtomicU64::new(0), limit: 1 });
        let object = Arc::new(PagedObject::accounted(1 << 40, purse.clone()));
        let before = frame::statistics().used_by(FrameKind::Object);
        let mut bytes = [1; 9000];
        assert_eq!(object.try_read(5, &mut bytes).done, 9000);
        assert_eq!(bytes, [0; 9000]);
        let pin = object.try_pin(77).unwrap();
        pin.read(0, &mut bytes[..4096]);
        drop(pin);
        assert_eq!((object.resident_pages(), purse.used.load(Relaxed)), (0, 0));
        assert_eq!(frame::statistics().used_by(FrameKind::Object), before);
        assert!(matches!(object.try_pin(1 << 28), Err(Stop::BeyondEnd)));
    }
}
