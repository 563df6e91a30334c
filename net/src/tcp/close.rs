//! How connections end: each direction by itself, or both at once by a reset.

use alloc::sync::Arc;
use core::sync::atomic::{Ordering, fence};

use linux_abi::Errno;

use super::{Condition, Endpoint, PORTS};
use crate::address::Name;
use crate::ports::Remains;

impl Endpoint {
    pub(super) fn names(&self) -> (Name, Name) {
        let details = self.details.lock();
        (details.local, details.remote)
    }

    /// Ends directions (`shutdown`).
    pub fn shut_down(self: &Arc<Self>, receiving: bool, sending: bool) -> Result<(), Errno> {
        let condition = self.condition();
        if condition.contains(Condition::LISTENING) {
            if receiving {
                self.stop_listening();
            }
            return Ok(());
        }
        if condition.contains(Condition::CONNECTING) {
            self.give_up(None);
            return Ok(());
        }
        if !condition.contains(Condition::CONNECTED) || condition.contains(Condition::OVER) {
            return Err(Errno::ENOTCONN);
        }
        if receiving {
            self.enter(Condition::RECEIVING_ENDED);
        }
        if sending {
            self.end_sending();
        }
        self.changed.wake_all();
        Ok(())
    }

    /// Tells the peer that nothing more comes.
    fn end_sending(self: &Arc<Self>) {
        let before = self.enter(Condition::SENDING_ENDED);
        if before.intersects(Condition::SENDING_ENDED | Condition::OVER) {
            return;
        }
        if let Some(channel) = self.channel() {
            return self.end_by_packets(channel);
        }
        let peer = self.peer();
        let peer_was = peer.as_ref().map(|peer| peer.enter(Condition::PEER_ENDED));
        if before.contains(Condition::PEER_ENDED) {
            // The peer was first: this end knows that all is over when its own last word is confirmed, which is now.
            self.enter(Condition::OVER);
            let (local, remote) = self.names();
            PORTS.disconnect(local, remote, None);
        }
        if before.contains(Condition::PEER_ENDED)
            || peer_was.is_some_and(|was| was.contains(Condition::SENDING_ENDED))
        {
            let (local, remote) = self.names();
            if let Some(peer) = &peer {
                peer.enter(Condition::OVER);
            }
            PORTS.disconnect(remote, local, Some(Remains::TimeWait));
        }
        if let Some(peer) = &peer {
            if peer.condition().contains(Condition::DEFERRED) {
                peer.be_accepted();
            }
            peer.changed.wake_all();
        }
    }

    /// The connection ends at once: the peer loses what it has not sent, and is told by an error.
    fn reset(self: &Arc<Self>) {
        self.enter(Condition::OVER);
        let (local, remote) = self.names();
        if let Some(channel) = self.channel() {
            self.reset_by_packets(channel);
            PORTS.disconnect(local, remote, None);
            return;
        }
        PORTS.disconnect(local, remote, None);
        PORTS.disconnect(remote, local, None);
        if let Some(peer) = self.peer() {
            peer.be_reset();
        }
    }

    /// The peer has ended the connection at once.
    pub(super) fn be_reset(&self) {
        let condition = self.condition();
        if condition.contains(Condition::OVER) {
            return;
        }
        let is_half_closed =
            condition.contains(Condition::PEER_ENDED) && !condition.contains(Condition::SENDING_ENDED);
        self.fail(if is_half_closed { Errno::EPIPE } else { Errno::ECONNRESET });
        self.enter(Condition::OVER);
        self.changed.wake_all();
    }

    /// What was sent to this end's peer is refused with a reset, which ends what is left of the peer, too.
    pub(super) fn refuse(&self, peer: Option<&Self>) {
        let (local, remote) = self.names();
        PORTS.disconnect(local, remote, None);
        PORTS.disconnect(remote, local, None);
        self.be_reset();
        if let Some(peer) = peer {
            peer.be_reset();
        }
    }

    /// The program has closed it.
    pub fn close(self: &Arc<Self>) {
        let before = self.enter(Condition::CLOSED);
        if before.contains(Condition::LISTENING) {
            self.stop_listening();
        } else if before.contains(Condition::CONNECTING) {
            self.give_up(None);
        } else if before.contains(Condition::CONNECTED) && !before.contains(Condition::OVER) {
            // A sender puts bytes in and then looks for the flag; here it is the other way round.
            fence(Ordering::SeqCst);
            let has_unread = self.queued.load(Ordering::SeqCst) > 0;
            let lingers_not = self.details.lock().options.linger == Some(0);
            if has_unread || lingers_not {
                self.reset();
            } else {
                self.end_sending();
                if let Some(channel) = self.channel() {
                    self.orphan(channel);
                } else if !self.condition().contains(Condition::OVER) {
                    let (local, remote) = self.names();
                    PORTS.disconnect(local, remote, Some(Remains::FinWait));
                }
            }
        }
        self.release_port();
    }

    fn release_port(&self) {
        let (port, was_bound) = {
            let mut details = self.details.lock();
            (details.local.port, details.bound.take().is_some())
        };
        if was_bound {
            PORTS.unbind(port, self);
        }
    }
}
