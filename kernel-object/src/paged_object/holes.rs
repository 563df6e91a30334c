//! Where an object has pages and where it has none.

use super::PagedObject;

impl PagedObject {
    /// The first page from `from` on that is in memory.
    pub fn next_present(&self, from: u64) -> Option<u64> {
        self.state.lock().pages.next(from)
    }

    /// The first page from `from` on that is not in memory.
    pub fn next_absent(&self, from: u64) -> u64 {
        let state = self.state.lock();
        let mut at = from;
        while state.pages.next(at) == Some(at) {
            at += 1;
        }
        at
    }
}
