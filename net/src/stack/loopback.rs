//! The way of packets from this machine to itself. What is fused does not come here.
//!
//! As on Linux whoever sends takes in what he sent before he goes on, so that programs see at once what comes of it; if
//! somebody is at it already, he goes on for both.

use alloc::collections::VecDeque;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use ksync::{Rank, SpinLock};

use crate::packet::Packet;

/// The largest packet, as programs are told.
pub const MTU: usize = 65536;
/// The largest that is taken in one piece: one of IPv6 with a full length beside its header.
pub const LARGEST: usize = 65535 + 40;
/// So many packets wait at most; more are lost.
const MOST_PACKETS: usize = 4096;

/// Packets on their way.
pub struct Queue {
    packets: SpinLock<VecDeque<Packet>>,
    /// Somebody takes them in.
    is_busy: AtomicBool,
    /// Packets and bytes that came through, and packets that were lost.
    pub counters: [AtomicU64; 3],
}

/// The one queue.
pub static QUEUE: Queue = Queue {
    packets: SpinLock::new(Rank::PACKETS, VecDeque::new()),
    is_busy: AtomicBool::new(false),
    counters: [const { AtomicU64::new(0) }; 3],
};

impl Queue {
    /// Puts a packet in. Call [`Queue::take_in`] when no lock is held.
    pub fn push(&self, packet: Packet) {
        let len = packet.as_ref().len() as u64;
        let mut packets = self.packets.lock();
        if packets.len() >= MOST_PACKETS || packets.try_reserve(1).is_err() {
            drop(packets);
            self.counters[2].fetch_add(1, Ordering::Relaxed);
            return;
        }
        packets.push_back(packet);
        drop(packets);
        self.counters[0].fetch_add(1, Ordering::Relaxed);
        self.counters[1].fetch_add(len, Ordering::Relaxed);
    }

    /// Takes in what waits, and what comes of that.
    pub fn take_in(&self) {
        loop {
            // Who pushes and then finds somebody busy, and who ends and then finds something pushed: one sees the other.
            fence(Ordering::SeqCst);
            if self.packets.lock().is_empty() || self.is_busy.swap(true, Ordering::SeqCst) {
                return;
            }
            loop {
                let packet = self.packets.lock().pop_front();
                let Some(packet) = packet else { break };
                super::receive(&packet, None);
            }
            self.is_busy.store(false, Ordering::SeqCst);
        }
    }
}
