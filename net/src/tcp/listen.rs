//! Listeners: who asked and was not accepted yet.
//!
//! A connection is whole before it is accepted. A listener whose queue is full does not answer: who asks then stays in
//! a list and is let in when there is room, as if his repeated question came at the right moment.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use linux_abi::Errno;

use super::{Condition, Endpoint, PORTS};
use crate::{Blocked, READABLE, WRITABLE, settings};

/// The queue of a listener.
#[derive(Default)]
pub(crate) struct Listener {
    backlog: usize,
    acceptable: VecDeque<Arc<Endpoint>>,
    /// Ends that are being made for the queue.
    reserved: usize,
    /// Who asks while the queue is full.
    asking: VecDeque<Weak<Endpoint>>,
    /// Who has not sent anything yet, where that is waited for.
    deferred: Vec<Arc<Endpoint>>,
}

impl Listener {
    /// Linux lets one more in than it was asked for.
    fn has_room(&self) -> bool {
        self.acceptable.len() + self.reserved <= self.backlog
    }
}

/// What a listener answers.
pub(super) enum Admission {
    /// There is room, and it is kept.
    Granted,
    /// There is none now.
    Full,
    /// Nobody listens any more.
    Gone,
}

impl Endpoint {
    /// Lets others connect; a second time it changes the backlog.
    pub fn listen(self: &Arc<Self>, backlog: usize, user: u32) -> Result<(), Errno> {
        let condition = self.condition();
        if condition.intersects(Condition::CONNECTED | Condition::CONNECTING) {
            return Err(Errno::EINVAL);
        }
        let backlog = backlog.min(settings::LARGEST_BACKLOG.load(Ordering::Relaxed));
        if condition.contains(Condition::LISTENING) {
            if let Some(listener) = &mut self.details.lock().listener {
                listener.backlog = backlog;
            }
            self.let_in();
            return Ok(());
        }
        self.bind_any(user)?;
        let mut details = self.details.lock();
        details.listener = Some(Listener { backlog, ..Listener::default() });
        let outcome = PORTS.set_listening(details.local.port, self, true);
        match outcome {
            Ok(()) => drop(self.enter(Condition::LISTENING)),
            Err(_) => details.listener = None,
        }
        outcome
    }

    /// Keeps room for one more, or notes who asks.
    pub(super) fn reserve(&self, client: &Arc<Self>) -> Admission {
        let mut details = self.details.lock();
        let Some(listener) = &mut details.listener else { return Admission::Gone };
        if listener.has_room() {
            listener.reserved += 1;
            Admission::Granted
        } else {
            listener.asking.push_back(Arc::downgrade(client));
            Admission::Full
        }
    }

    /// Whether a connection that was made over packets could be accepted later.
    pub(super) fn has_place(&self) -> bool {
        self.details.lock().listener.as_ref().is_some_and(Listener::has_room)
    }

    /// A connection that was made over packets can be accepted; false if nobody listens any more.
    pub(super) fn enqueue_over_packets(self: &Arc<Self>, new: &Arc<Self>) -> bool {
        match &mut self.details.lock().listener {
            Some(listener) => listener.reserved += 1,
            None => return false,
        }
        self.enqueue(new.clone());
        true
    }

    pub(super) fn cancel_reservation(&self) {
        if let Some(listener) = &mut self.details.lock().listener {
            listener.reserved -= 1;
        }
    }

    /// An end for which room was kept is there to be accepted.
    pub(super) fn enqueue(self: &Arc<Self>, new: Arc<Self>) {
        let is_deferred = new.condition().contains(Condition::DEFERRED);
        if is_deferred {
            new.details.lock().kept_by = Some(Arc::downgrade(self));
        }
        let refused = {
            let mut details = self.details.lock();
            match &mut details.listener {
                Some(listener) => {
                    listener.reserved -= 1;
                    if is_deferred {
                        listener.deferred.push(new);
                    } else {
                        listener.acceptable.push_back(new);
                    }
                    None
                }
                None => Some(new),
            }
        };
        match refused {
            Some(new) => new.abort(),
            None if !is_deferred => drop(self.changed.wake_one_for(READABLE.bits())),
            None => {}
        }
    }

    /// An end that a listener kept back has received something.
    pub(super) fn be_accepted(self: &Arc<Self>) {
        if !self.leave(Condition::DEFERRED).contains(Condition::DEFERRED) {
            return;
        }
        let kept_by = self.details.lock().kept_by.take();
        let Some(keeper) = kept_by.and_then(|keeper| keeper.upgrade()) else { return };
        if let Some(listener) = &mut keeper.details.lock().listener
            && let Some(index) = listener.deferred.iter().position(|kept| Arc::ptr_eq(kept, self))
        {
            let end = listener.deferred.swap_remove(index);
            listener.acceptable.push_back(end);
        }
        keeper.changed.wake_one_for(READABLE.bits());
    }

    pub(super) fn has_acceptable(&self) -> bool {
        let details = self.details.lock();
        details.listener.as_ref().is_some_and(|listener| !listener.acceptable.is_empty())
    }

    /// How many can be accepted, and how many may be.
    pub fn backlog(&self) -> Option<(usize, usize)> {
        let details = self.details.lock();
        details.listener.as_ref().map(|listener| (listener.acceptable.len(), listener.backlog))
    }

    /// Takes a connection that somebody made.
    pub fn accept<S>(self: &Arc<Self>) -> Result<Arc<Self>, Blocked<S>> {
        let (accepted, others_ask) = {
            let mut details = self.details.lock();
            let listener = details.listener.as_mut().ok_or(Errno::EINVAL)?;
            let accepted = listener.acceptable.pop_front().ok_or(Blocked::NotReady(READABLE))?;
            (accepted, !listener.asking.is_empty())
        };
        if others_ask {
            self.let_in();
        }
        Ok(accepted)
    }

    /// Lets in who asked while the queue was full.
    fn let_in(self: &Arc<Self>) {
        loop {
            let client = {
                let mut details = self.details.lock();
                let Some(listener) = details.listener.as_mut().filter(|listener| listener.has_room()) else {
                    return;
                };
                let Some(client) = listener.asking.pop_front() else { return };
                listener.reserved += 1;
                client
            };
            let client = client.upgrade().filter(|client| client.condition().contains(Condition::CONNECTING));
            let Some(client) = client else {
                self.cancel_reservation();
                continue;
            };
            let (local, remote) = {
                let details = client.details.lock();
                (details.local, details.remote)
            };
            if self.admit(&client, local, remote).is_err() {
                client.be_refused();
            }
            client.changed.wake_all_for(WRITABLE.bits());
        }
    }

    /// Nobody is accepted any more: who waits to be is refused.
    pub(super) fn stop_listening(self: &Arc<Self>) {
        let (listener, port) = {
            let mut details = self.details.lock();
            (details.listener.take(), details.local.port)
        };
        let Some(listener) = listener else { return };
        // It has the port still, so it is found there.
        let _ = PORTS.set_listening(port, self, false);
        self.leave(Condition::LISTENING);
        for end in listener.acceptable.into_iter().chain(listener.deferred) {
            end.abort();
        }
        for client in listener.asking.iter().filter_map(Weak::upgrade) {
            client.be_refused();
        }
        self.changed.wake_all();
    }

    /// An end that nobody accepted goes away, and its peer is told by a reset.
    pub(super) fn abort(self: &Arc<Self>) {
        self.details.lock().options.linger = Some(0);
        self.close();
    }
}
