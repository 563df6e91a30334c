//! Bytes from one end to the other.

use alloc::sync::Arc;
use core::sync::atomic::{Ordering, fence};

use ksync::AsyncMutexGuard;
use linux_abi::Errno;

use super::{Condition, Endpoint};
use crate::bytes::{ByteQueue, Bytes};
use crate::{Blocked, READABLE, WRITABLE};

/// How often a queue's turn is asked for before it is waited for.
const TRIES: usize = 64;

/// How bytes are received.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transfer {
    /// What is read stays (`MSG_PEEK`).
    pub peek: bool,
    /// Bytes are thrown away rather than copied (`MSG_TRUNC`).
    pub discard: bool,
    /// As many as there is room for (`MSG_WAITALL`).
    pub wait_all: bool,
    /// The caller can wait.
    pub may_wait: bool,
}

impl Endpoint {
    fn turn<S>(self: &Arc<Self>) -> Result<AsyncMutexGuard<'_, ByteQueue>, Blocked<S>> {
        for _ in 0..TRIES {
            if let Some(guard) = self.incoming.try_lock() {
                return Ok(guard);
            }
            core::hint::spin_loop();
        }
        Err(Blocked::Turn(self.clone()))
    }

    /// Sends what the peer has room for; if that is not all, it may be attempted again.
    pub fn send<B: Bytes>(self: &Arc<Self>, source: &mut B) -> Result<usize, Blocked<B::Stop>> {
        self.send_more(source, false)
    }

    /// The same; if the program says that more follows, an incomplete segment may wait for that.
    pub fn send_more<B: Bytes>(
        self: &Arc<Self>,
        source: &mut B,
        has_more: bool,
    ) -> Result<usize, Blocked<B::Stop>> {
        let condition = self.condition();
        if let Some(errno) = self.take_error() {
            return Err(errno.into());
        }
        if condition.intersects(Condition::SENDING_ENDED | Condition::OVER) {
            return Err(Errno::EPIPE.into());
        }
        if !condition.contains(Condition::CONNECTED) {
            let is_connecting = condition.contains(Condition::CONNECTING);
            return Err(if is_connecting { Blocked::NotReady(WRITABLE) } else { Errno::EPIPE.into() });
        }
        if source.remaining() == 0 {
            return Ok(source.done());
        }
        if let Some(channel) = self.channel() {
            return self.send_by_packets(channel, source, has_more);
        }
        let Some(peer) = self.peer() else { return Ok(self.send_in_vain(None, source)) };
        let mut queue = peer.turn()?;
        if peer.takes_nothing() {
            drop(queue);
            return Ok(self.send_in_vain(Some(&peer), source));
        }
        let room = self.capacity_to(&peer).saturating_sub(queue.len());
        let before = queue.len();
        let outcome = if room > 0 { queue.fill(source, room) } else { Ok(()) };
        let after = queue.len();
        peer.queued.store(after, Ordering::SeqCst);
        let is_full = outcome.is_ok() && source.remaining() > 0;
        if is_full {
            // In the turn: the receiver's next one sees it.
            self.condition.fetch_or(Condition::WANTS_ROOM.bits(), Ordering::SeqCst);
        }
        drop(queue);
        if after != before {
            self.sent.fetch_add((after - before) as u64, Ordering::Relaxed);
            if !peer.note_arrival() {
                // It was closed while the bytes came.
                self.refuse(Some(&peer));
            }
        }
        outcome.map_err(Blocked::Stopped)?;
        if is_full { Err(Blocked::NotReady(WRITABLE)) } else { Ok(source.done()) }
    }

    /// Bytes have come in; false if nobody is there any more to receive them.
    pub(super) fn note_arrival(self: &Arc<Self>) -> bool {
        fence(Ordering::SeqCst);
        let condition = self.condition();
        if condition.contains(Condition::DEFERRED) {
            self.be_accepted();
        }
        self.changed.wake_one_for(READABLE.bits());
        !condition.contains(Condition::CLOSED)
    }

    /// Whether what comes in is answered with a reset.
    fn takes_nothing(&self) -> bool {
        let condition = self.condition();
        let both = Condition::SENDING_ENDED | Condition::RECEIVING_ENDED;
        condition.intersects(Condition::CLOSED | Condition::OVER) || condition.contains(both)
    }

    /// Sends to an end that takes nothing any more: the bytes are on their way, and the answer is a reset.
    fn send_in_vain<B: Bytes>(&self, peer: Option<&Self>, source: &mut B) -> usize {
        let bytes = source.remaining();
        source.skip(bytes);
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.refuse(peer);
        source.done()
    }

    /// Receives what there is.
    pub fn receive<B: Bytes>(
        self: &Arc<Self>,
        sink: &mut B,
        how: Transfer,
    ) -> Result<usize, Blocked<B::Stop>> {
        // Before the bytes are looked at: what was sent before the end is there if the end is seen.
        let condition = self.condition();
        let ends = condition.intersects(Condition::PEER_ENDED | Condition::OVER | Condition::RECEIVING_ENDED);
        let wanted = sink.remaining();
        let target = if how.wait_all { wanted } else { wanted.min(self.low_water()) };
        let queued = self.queued.load(Ordering::Acquire);
        if queued == 0 || wanted == 0 {
            if sink.done() > 0 && (ends || wanted == 0) {
                return Ok(sink.done());
            }
            return self.receive_nothing(condition, wanted);
        }
        let more_may_come = !ends && self.error.load(Ordering::Relaxed) == 0;
        if how.peek && how.may_wait && queued < target && more_may_come {
            return Err(Blocked::NotReady(READABLE));
        }
        let mut queue = self.turn()?;
        self.collect(&mut queue);
        let before = queue.len();
        let outcome = if how.peek && !how.discard {
            queue.peek(sink)
        } else if how.discard {
            let bytes = if how.peek { queue.len().min(wanted) } else { queue.discard(wanted) };
            sink.skip(bytes);
            Ok(())
        } else {
            queue.drain(sink)
        };
        let after = queue.len();
        let channel = self.channel();
        if channel.is_none() {
            self.queued.store(after, Ordering::SeqCst);
        }
        drop(queue);
        if after != before {
            match channel {
                Some(channel) => self.note_read(channel, before - after),
                None => {
                    if let Some(peer) = self.peer() {
                        peer.tell_room(after);
                    }
                }
            }
        }
        outcome.map_err(Blocked::Stopped)?;
        let moved = wanted - sink.remaining();
        if moved < target && more_may_come && !how.peek {
            return Err(Blocked::NotReady(READABLE));
        }
        Ok(sink.done())
    }

    /// What a receiver is told for whom nothing is there.
    fn receive_nothing<S>(&self, condition: Condition, wanted: usize) -> Result<usize, Blocked<S>> {
        if condition.contains(Condition::LISTENING) {
            return Err(Errno::ENOTCONN.into());
        }
        if condition.contains(Condition::PEER_ENDED) {
            return Ok(0);
        }
        if let Some(errno) = self.take_error() {
            return Err(errno.into());
        }
        if condition.intersects(Condition::RECEIVING_ENDED | Condition::OVER) {
            return Ok(0);
        }
        if !condition.intersects(Condition::CONNECTED | Condition::CONNECTING) {
            return Err(Errno::ENOTCONN.into());
        }
        if wanted == 0 { Ok(0) } else { Err(Blocked::NotReady(READABLE)) }
    }
}
