//! Links: requests that begin when the one before them has ended.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::io_uring::{IoUringSqe, RequestFlags};
use linux_object::thread::Thread;

use super::{Identity, Outcome};
use crate::operation::Prepared;
use crate::ring::{Ring, Went};

/// One request of a chain that has not begun.
pub(crate) struct Link {
    /// The request as it was submitted.
    pub entry: IoUringSqe,
    /// By what it is known.
    pub identity: Identity,
    /// What it is to do.
    pub operation: Prepared,
}

impl Link {
    /// Whether the next begins only if this ends well.
    pub(crate) fn is_soft(&self) -> bool {
        let flags = RequestFlags::from_bits_retain(self.entry.flags);
        !flags.contains(RequestFlags::IO_HARDLINK)
    }
}

/// What follows a request that is under way.
pub(crate) struct Chain {
    /// On whose behalf.
    pub thread: Arc<Thread>,
    /// Whether the request under way ends the chain by failing.
    pub is_soft: bool,
    /// The rest, in order.
    pub links: VecDeque<Link>,
}

impl Chain {
    /// The request before has ended: begins the next, and so on while they end at once.
    pub(crate) fn go_on(mut self: Box<Self>, ring: &Arc<Ring>, is_success: bool) {
        let mut goes_on = is_success || !self.is_soft;
        while let Some(link) = self.links.pop_front() {
            if !goes_on {
                ring.complete(&link.identity, Outcome::error(Errno::ECANCELED));
                continue;
            }
            self.is_soft = link.is_soft();
            let resources = self.thread.resources();
            let thread = self.thread.clone();
            match ring.begin(&thread, &resources, link, self) {
                Went::Over { chain, is_success } => {
                    self = chain;
                    goes_on = is_success || !self.is_soft;
                }
                // The request took the chain along.
                Went::Waits => return,
            }
        }
    }
}
