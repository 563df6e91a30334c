//! Connections: who listens, who connects, who is connected with whom.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use ksync::{Rank, SpinLock};
use linux_abi::Errno;

use super::super::{PeerCredentials, SocketKind};
use super::names::{LocalName, try_bind, try_find};
use super::{Endpoint, READABLE, UnixSocket, WRITABLE};
use crate::obstacle::{Attempt, Obstacle};
use crate::thread::{Thread, current_thread};

/// The most connections that wait to be accepted, whatever a program asks for (`somaxconn`).
const MOST_WAITING: usize = 4096;

/// What a socket that listens has.
pub(super) struct Listener {
    /// Connections that were made and not accepted.
    waiting: SpinLock<VecDeque<Arc<UnixSocket>>>,
    most: AtomicUsize,
    made_by: PeerCredentials,
}

impl Listener {
    pub fn has_waiting(&self) -> bool {
        !self.waiting.lock().is_empty()
    }

    /// The socket is closed: those who wait are turned away.
    pub fn turn_away(&self) {
        let waiting = core::mem::take(&mut *self.waiting.lock());
        drop(waiting);
    }

    pub fn made_by(&self) -> PeerCredentials {
        self.made_by
    }
}

impl Endpoint {
    /// Whether it has been connected, even if the other end is gone.
    pub(super) fn has_been_connected(&self) -> bool {
        match self.kind {
            SocketKind::Datagram => self.destination.lock().is_some(),
            _ => self.peer.get().is_some(),
        }
    }

    pub(super) fn listen(&self, backlog: i32) -> Result<(), Errno> {
        if !self.kind.is_connected() {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.binding.get().is_none() || self.has_been_connected() {
            return Err(Errno::EINVAL);
        }
        let caller = current_thread().ok_or(Errno::EINVAL)?;
        let listener = self.listener.call_once(|| Listener {
            waiting: SpinLock::new(Rank::FILE, VecDeque::new()),
            most: AtomicUsize::new(0),
            made_by: PeerCredentials::of(&caller),
        });
        // A negative number is a large one.
        listener.most.store((backlog as u32 as usize).min(MOST_WAITING), Ordering::Relaxed);
        self.changed.wake_all_for(WRITABLE.bits());
        Ok(())
    }

    pub(super) fn try_accept(self: &Arc<Self>) -> Attempt<Arc<UnixSocket>> {
        if !self.kind.is_connected() {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let listener = self.listener.get().ok_or(Errno::EINVAL)?;
        let Some(connection) = listener.waiting.lock().pop_front() else {
            let is_over = self.no_more_receiving.load(Ordering::Acquire);
            return Err(if is_over {
                Errno::EINVAL.into()
            } else {
                Obstacle::NotReadyFor(self.clone(), READABLE)
            });
        };
        connection.endpoint.is_waiting.store(false, Ordering::Release);
        self.changed.wake_all_for(WRITABLE.bits());
        Ok(connection)
    }

    pub(super) fn try_connect(self: &Arc<Self>, name: &[u8], caller: &Arc<Thread>) -> Attempt<()> {
        const AF_UNSPEC: [u8; 2] = [0, 0];
        if self.kind == SocketKind::Datagram && name.get(..2) == Some(&AF_UNSPEC) {
            *self.destination.lock() = None;
            self.changed.wake_all();
            return Ok(());
        }
        let name = LocalName::parse(name)?;
        if self.passes_credentials.load(Ordering::Relaxed) && self.binding.get().is_none() {
            // Who is told who sent wants to be answered.
            try_bind(self, &super::names::no_name(), caller)?;
        }
        let other = try_find(self, &name, caller)?;
        if other.kind != self.kind {
            return Err(Errno::EPROTOTYPE.into());
        }
        if self.kind == SocketKind::Datagram {
            self.may_send_to(&other)?;
            let previous = self.destination.lock().replace(Arc::downgrade(&other));
            drop(previous);
            self.changed.wake_all();
            return Ok(());
        }
        if self.listener.get().is_some() {
            return Err(Errno::EINVAL.into());
        }
        if self.has_been_connected() {
            return Err(Errno::EISCONN.into());
        }
        let listener = other.listener.get().ok_or(Errno::ECONNREFUSED)?;
        if other.no_more_receiving.load(Ordering::Acquire) {
            return Err(Errno::ECONNREFUSED.into());
        }
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let accepted = Endpoint::new(self.kind);
        accepted.is_waiting.store(true, Ordering::Relaxed);
        if let Some(binding) = other.binding.get() {
            accepted.inherited_name.call_once(|| binding.name.clone());
        }
        accepted.peer_made_by.call_once(|| PeerCredentials::of(caller));
        accepted.peer.call_once(|| Arc::downgrade(self));
        {
            let mut waiting = listener.waiting.lock();
            if waiting.len() > listener.most.load(Ordering::Relaxed) {
                drop(waiting);
                // Nobody has heard of it: it goes without telling the other end.
                return Err(Obstacle::NotReadyFor(other.clone(), WRITABLE));
            }
            // The first of those who connect at the same time.
            let mut is_first = false;
            self.peer.call_once(|| {
                is_first = true;
                Arc::downgrade(&accepted)
            });
            if !is_first {
                return Err(Errno::EISCONN.into());
            }
            self.peer_made_by.call_once(|| listener.made_by);
            waiting.push_back(Arc::new(UnixSocket { endpoint: accepted }));
        }
        other.changed.wake_one_for(READABLE.bits());
        self.changed.wake_all();
        Ok(())
    }

    /// Whether datagrams go there: who is connected hears only the other end.
    pub(super) fn may_send_to(self: &Arc<Self>, other: &Arc<Self>) -> Result<(), Errno> {
        let is_for_another =
            |destination: &alloc::sync::Weak<Self>| destination.as_ptr() != Arc::as_ptr(self);
        match other.destination.lock().as_ref() {
            Some(destination) if is_for_another(destination) => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }
}
