//! Links: requests that begin when the one before them has ended.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::io_uring::{IoUringSqe, Opcode, RequestFlags};
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

    /// Whether everything before it has to end first.
    pub(crate) fn is_barrier(&self) -> bool {
        RequestFlags::from_bits_retain(self.entry.flags).contains(RequestFlags::IO_DRAIN)
    }
}

/// What follows a request that is under way.
pub(crate) struct Chain {
    /// On whose behalf.
    pub thread: Arc<Thread>,
    /// Whether the request under way ends the chain by failing.
    pub is_soft: bool,
    /// Success of the request under way is not told: if it fails, the end of the others is not either.
    pub is_quiet: bool,
    /// The rest, in order.
    pub links: VecDeque<Link>,
}

impl Chain {
    /// The time limit of the request that is about to begin, if one follows it.
    pub(crate) fn take_limit(&mut self) -> Option<Link> {
        self.links.pop_front_if(|link| link.identity.opcode == Opcode::LinkTimeout)
    }

    /// The request before has ended: begins the next, and so on while they end at once.
    pub(crate) fn go_on(mut self: Box<Self>, ring: &Arc<Ring>, is_success: bool) {
        let mut goes_on = is_success || !self.is_soft;
        let mut is_quiet = self.is_quiet;
        while let Some(link) = self.links.pop_front() {
            if !goes_on {
                if !is_quiet {
                    ring.complete(&link.identity, Outcome::error(Errno::ECANCELED));
                }
                continue;
            }
            self.is_soft = link.is_soft();
            self.is_quiet = link.identity.skips_success;
            let resources = self.thread.resources();
            let thread = self.thread.clone();
            match ring.begin(&thread, &resources, link, self) {
                Went::Over { chain, is_success } => {
                    self = chain;
                    goes_on = is_success || !self.is_soft;
                    is_quiet = self.is_quiet;
                }
                // The request took the chain along.
                Went::Waits => return,
            }
        }
    }
}
