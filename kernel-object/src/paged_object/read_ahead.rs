//! Guessing what will be read next.
//!
//! A reader that goes from page to page gets windows that double up to [`MOST_PAGES`]. Each window has a marked page:
//! when it is used, the next window is brought by a task of its own, so that the reader finds it when it comes there.
//! What follows a page that is in memory counts as continued, so several readers of one object get windows too.

use alloc::boxed::Box;
use core::ops::Range;
use core::pin::Pin;

use ksync::Once;

/// The most pages of a window: 256 KiB, which are two requests of most disks.
pub(super) const MOST_PAGES: u64 = 64;
/// Pages brought when access starts to look sequential, for a reader that wants one.
const FIRST_WINDOW: u64 = 4;

/// Runs a future beside everything else.
pub type Spawner = fn(Pin<Box<dyn Future<Output = ()> + Send>>);

static SPAWNER: Once<Spawner> = Once::new();

/// Says how the next window is brought while the reader is still busy with the last; without this it is brought when
/// it is needed.
pub fn set_spawner(spawner: Spawner) {
    SPAWNER.call_once(|| spawner);
}

pub(super) fn spawner() -> Option<Spawner> {
    SPAWNER.get().copied()
}

/// The last window, from which the next follows.
#[derive(Default)]
pub(super) struct ReadAhead {
    window: Range<u64>,
}

/// What to bring now.
pub(super) struct Window {
    pub pages: u64,
    /// The page whose use begins the next window.
    pub marker: Option<u64>,
}

impl ReadAhead {
    fn len(&self) -> u64 {
        self.window.end - self.window.start
    }

    /// How many pages to bring for a reader that misses the page at `index` and wants so many.
    pub(super) fn window_for(&mut self, index: u64, wanted: u64, has_previous: bool) -> Window {
        let wanted = wanted.clamp(1, MOST_PAGES);
        if index == self.window.end && (index > 0 || self.len() > 0) {
            self.window = self.following();
            return Window { pages: self.len(), marker: Some(index) };
        }
        let is_sequence = index == 0 || has_previous;
        let pages = match wanted.next_power_of_two() {
            _ if !is_sequence => wanted,
            1 => FIRST_WINDOW,
            wanted => (2 * wanted).min(MOST_PAGES),
        };
        self.window = index..index + pages;
        let marker = if pages > wanted { index + wanted } else { index };
        Window { pages, marker: is_sequence.then_some(marker) }
    }

    fn following(&self) -> Range<u64> {
        let pages = (2 * self.len()).clamp(FIRST_WINDOW, MOST_PAGES);
        self.window.end..self.window.end + pages
    }

    /// The window after the last, which becomes the last.
    pub(super) fn next_window(&mut self) -> Range<u64> {
        self.window = self.following();
        self.window.clone()
    }
}
