//! Waiting for readiness: once, or each time, and changing what is waited for.

use alloc::sync::Arc;
use core::future::poll_fn;
use core::pin::pin;
use core::task;

use ksync::{SharedQueue, Waiter};
use linux_abi::Errno;
use linux_abi::io_uring::{CompletionFlags, Opcode, PollFlags, RequestFlags};
use linux_abi::poll::PollEvents;
use linux_object::file::OpenFile;
use linux_object::obstacle::{Attempt, Waitable};

use super::{Begun, Issue, Prepared, Waiting};
use crate::request::{Details, Identity, Outcome};
use crate::ring::Ring;

/// What is told whether it was asked for or not.
const ALWAYS: PollEvents = PollEvents::ERR.union(PollEvents::HUP);

/// Waits for events of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Poll {
    events: PollEvents,
    is_multishot: bool,
}

fn events_of(bits: u32) -> PollEvents {
    PollEvents::from_bits_truncate(bits) | ALWAYS
}

pub(super) fn prepare(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let flags = PollFlags::from_bits_retain(entry.len);
    let is_multishot = flags.contains(PollFlags::ADD_MULTI);
    let is_plain = entry.buf_index == 0 && entry.off == 0 && entry.addr == 0;
    let is_known = (PollFlags::ADD_MULTI | PollFlags::ADD_LEVEL).contains(flags);
    let skips = issue.flags().contains(RequestFlags::CQE_SKIP_SUCCESS);
    if !is_plain || !is_known || (is_multishot && skips) {
        return Err(Errno::EINVAL.into());
    }
    Ok(Prepared::Poll(Poll { events: events_of(entry.rw_flags), is_multishot }))
}

impl Poll {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        Ok(self.begin_on(issue.ring, file, issue.entry.user_data))
    }

    /// Looks, and waits if there is nothing to tell or more may come.
    fn begin_on(self, ring: &Arc<Ring>, file: Arc<OpenFile>, user_data: u64) -> Begun {
        if !self.is_multishot {
            let ready = file.file().ready() & self.events;
            if !ready.is_empty() {
                return Begun::Ended(told(ready));
            }
        }
        let details = Details::Poll(self);
        let is_told_itself = ring.registered.is_event(&file);
        let ring = Arc::downgrade(ring);
        // What is woken may depend on who asks: that is the submitter.
        let waitable = file.waitable();
        let waiting = Waiting::for_events(Some(file.clone()), async move {
            self.wait(&file, waitable, |ready| {
                if is_told_itself {
                    return false;
                }
                ring.upgrade().is_some_and(|ring| ring.post_more(user_data, told(ready)))
            })
            .await
        });
        Begun::Waits(Waiting { details, ..waiting })
    }

    /// Waits for the first event, or tells each with `tell` as long as that succeeds.
    async fn wait(
        self,
        file: &Arc<OpenFile>,
        waitable: Arc<dyn Waitable>,
        tell: impl Fn(PollEvents) -> bool,
    ) -> Outcome {
        let queue = SharedQueue::new(waitable, |file| file.wait_queue());
        let mut listener = pin!(Waiter::listener_for(queue, self.events.bits()));
        poll_fn(|context| {
            // What comes after the registration wakes us; each time that it did is looked at once.
            while listener.as_mut().register(context.waker()) {
                let ready = file.file().ready() & self.events;
                let is_last = !self.is_multishot || ready.intersects(ALWAYS);
                if !ready.is_empty() && (is_last || !tell(ready)) {
                    return task::Poll::Ready(told(ready));
                }
            }
            task::Poll::Pending
        })
        .await
    }
}

fn told(ready: PollEvents) -> Outcome {
    Outcome { flags: CompletionFlags::empty(), ..Outcome::value(ready.bits() as usize) }
}

/// Ends a poll, or changes what it waits for or is called.
pub(crate) struct Change {
    target: u64,
    new_events: Option<PollEvents>,
    is_multishot: bool,
    new_user_data: Option<u64>,
}

pub(super) fn prepare_change(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let flags = PollFlags::from_bits(entry.len).ok_or(Errno::EINVAL)?;
    let changes_events = flags.contains(PollFlags::UPDATE_EVENTS);
    let changes_name = flags.contains(PollFlags::UPDATE_USER_DATA);
    let is_wrong = entry.buf_index != 0
        || entry.file_index != 0
        || flags.contains(PollFlags::ADD_LEVEL)
        || flags == PollFlags::ADD_MULTI
        || (!changes_name && entry.off != 0)
        || (!changes_events && entry.rw_flags != 0);
    if is_wrong {
        return Err(Errno::EINVAL.into());
    }
    Ok(Prepared::PollChange(Change {
        target: entry.addr,
        new_events: changes_events.then(|| events_of(entry.rw_flags)),
        is_multishot: flags.contains(PollFlags::ADD_MULTI),
        new_user_data: changes_name.then_some(entry.off),
    }))
}

impl Change {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let ring = issue.ring;
        let found = ring.find(Some(self.target), |request| request.identity.opcode == Opcode::PollAdd);
        let request = found.into_iter().next().ok_or(Errno::ENOENT)?;
        if self.new_events.is_none() && self.new_user_data.is_none() {
            return request.cancel().map(|()| Begun::Ended(Outcome::value(0)));
        }
        let (Details::Poll(mut poll), Some(file)) = (request.identity.details, request.identity.file.clone())
        else {
            return Err(Errno::ENOENT);
        };
        let chain = request.withdraw()?;
        if let Some(events) = self.new_events {
            poll.events = events;
            poll.is_multishot |= self.is_multishot;
        }
        let user_data = self.new_user_data.unwrap_or(request.identity.user_data);
        let identity = Identity { user_data, ..request.identity.clone() };
        match poll.begin_on(ring, file, user_data) {
            Begun::Waits(waiting) => {
                ring.keep(identity, waiting, chain);
            }
            Begun::Ended(outcome) => {
                ring.complete(&identity, outcome);
                if let Some(chain) = chain {
                    chain.go_on(ring, outcome.is_success);
                }
            }
        }
        Ok(Begun::Ended(Outcome::value(0)))
    }
}
