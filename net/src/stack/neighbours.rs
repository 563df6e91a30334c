//! Which Ethernet address an IP address has, as far as somebody said.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use kernel_hal::Instant;

use crate::address::Address;
use crate::packet::Packet;

/// An Ethernet address.
pub type HardwareAddress = [u8; 6];

/// What was heard is believed so long, and asked for again from then on.
const FRESH: Duration = Duration::from_secs(60);
/// Who does not answer for so long is forgotten.
const STALE: Duration = Duration::from_secs(120);
const ASK_AGAIN: Duration = Duration::from_secs(1);
const MOST_QUESTIONS: u8 = 3;
const MOST_PENDING: usize = 32;
const MOST_NEIGHBOURS: usize = 1024;

#[derive(Default)]
struct Neighbour {
    hardware: Option<HardwareAddress>,
    heard: Instant,
    asked: Instant,
    questions: u8,
    pending: VecDeque<Packet>,
}

/// What is to be done about a packet.
pub enum Way {
    /// It goes there; whether to ask, since the answer is old.
    Known(HardwareAddress, Packet, bool),
    /// It waits; whether to ask.
    Waits(bool),
}

/// Everybody who is known, or asked for.
#[derive(Default)]
pub struct Neighbours {
    known: BTreeMap<Address, Neighbour>,
}

impl Neighbours {
    /// The way of a packet to a neighbour.
    pub fn way(&mut self, to: Address, packet: Packet, now: Instant) -> Way {
        if self.known.len() >= MOST_NEIGHBOURS && !self.known.contains_key(&to) {
            self.forget_oldest();
        }
        let neighbour = self.known.entry(to).or_default();
        let may_ask = neighbour.questions == 0 || now.since(neighbour.asked) >= ASK_AGAIN;
        match neighbour.hardware {
            Some(hardware) if now.since(neighbour.heard) < STALE => {
                let asks = now.since(neighbour.heard) >= FRESH && may_ask;
                if asks {
                    (neighbour.asked, neighbour.questions) = (now, 1);
                }
                Way::Known(hardware, packet, asks)
            }
            _ => {
                neighbour.hardware = None;
                if neighbour.pending.len() < MOST_PENDING && neighbour.pending.try_reserve(1).is_ok() {
                    neighbour.pending.push_back(packet);
                }
                if may_ask {
                    neighbour.asked = now;
                    neighbour.questions = neighbour.questions.saturating_add(1);
                }
                Way::Waits(may_ask)
            }
        }
    }

    /// Somebody said what his address is; what waited for that goes out. Only who is asked for, or known, is noted, unless
    /// `adds`.
    pub fn learn(
        &mut self,
        address: Address,
        hardware: HardwareAddress,
        adds: bool,
        now: Instant,
    ) -> VecDeque<Packet> {
        if !self.known.contains_key(&address) {
            if !adds {
                return VecDeque::new();
            }
            if self.known.len() >= MOST_NEIGHBOURS {
                self.forget_oldest();
            }
        }
        let neighbour = self.known.entry(address).or_default();
        (neighbour.hardware, neighbour.heard, neighbour.questions) = (Some(hardware), now, 0);
        core::mem::take(&mut neighbour.pending)
    }

    /// Who is to be asked again; who never answers is given up with what waited for him.
    pub fn tick(&mut self, now: Instant) -> Vec<Address> {
        let mut again = Vec::new();
        self.known.retain(|&address, neighbour| {
            if neighbour.hardware.is_some() {
                return now.since(neighbour.heard) < STALE;
            }
            if now.since(neighbour.asked) < ASK_AGAIN {
                return true;
            }
            if neighbour.questions >= MOST_QUESTIONS {
                return false;
            }
            neighbour.questions += 1;
            neighbour.asked = now;
            again.push(address);
            true
        });
        again
    }

    /// Whether [`Neighbours::tick`] has something to look after.
    pub fn is_waiting(&self) -> bool {
        self.known.values().any(|neighbour| neighbour.hardware.is_none())
    }

    /// Who is known, for `/proc/net/arp`.
    pub fn list(&self) -> Vec<(Address, Option<HardwareAddress>)> {
        self.known.iter().map(|(&address, neighbour)| (address, neighbour.hardware)).collect()
    }

    fn forget_oldest(&mut self) {
        let oldest =
            self.known.iter().min_by_key(|(_, neighbour)| neighbour.heard).map(|(&address, _)| address);
        if let Some(oldest) = oldest {
            self.known.remove(&oldest);
        }
    }
}
