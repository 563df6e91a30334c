//! What an opening with `O_PATH` stands for: a place, and nothing that could be read, written or asked.
//!
//! The table of descriptors gives such an opening only to who asks for a place, so nobody comes to the object itself.

use alloc::sync::Arc;

use ksync::{Once, WaitQueue};

use super::File;
use crate::obstacle::Waitable;

static NEVER: WaitQueue = WaitQueue::new("always ready");
static OBJECT: Once<Arc<dyn File>> = Once::new();

struct PathOnly;

impl Waitable for PathOnly {
    fn wait_queue(&self) -> &WaitQueue {
        &NEVER
    }
}

impl File for PathOnly {
    fn is_watchable(&self) -> bool {
        false
    }
}

/// The one object behind them all.
pub(super) fn object() -> Arc<dyn File> {
    OBJECT.call_once(|| Arc::new(PathOnly)).clone()
}
