//! The network, as the command line wants it.
//!
//! `ip=dhcp` asks for an address; `ip=ADDRESS::GATEWAY:MASK` says what it is, in Linux's form (`ip=CLIENT:SERVER:GATEWAY:MASK:
//! NAME:DEVICE:AUTOCONF`, of which the others are passed over). `tcp_fusion=off` sends as packets what stays in this
//! machine, too. `network_faults=` lets cards lose and damage frames, for tests.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use net::address::Address;
use net::stack::card::{self, Source};
use zcore_drivers::network::{FaultyNetwork, NetworkDevice, NetworkFaults};
use zcore_drivers::probe::Named;

use crate::command_line;

/// Starts the cards.
pub fn start(cards: Vec<Named<dyn NetworkDevice>>) {
    net::random::set_source(random_number);
    match command_line().switch("tcp_fusion") {
        Ok(fused) => net::settings::set_fused(fused.unwrap_or(true)),
        Err(problem) => log::warn!("{problem}"),
    }
    let source = match command_line().value("ip").map(configuration) {
        Some(None) => {
            log::warn!("ip= is neither dhcp nor ADDRESS::GATEWAY:MASK");
            None
        }
        wanted => wanted.flatten(),
    };
    let cards: Vec<(String, Arc<dyn NetworkDevice>)> =
        cards.into_iter().map(|card| (card.name, with_faults(card.device))).collect();
    if !cards.is_empty() {
        card::start(cards, source);
    }
}

fn random_number() -> u64 {
    u64::from_ne_bytes(linux_object::random::bytes())
}

fn configuration(text: &str) -> Option<Source> {
    if matches!(text, "dhcp" | "on" | "any") {
        return Some(Source::Dhcp);
    }
    let mut parts = text.split(':');
    let address: Ipv4Addr = parts.next()?.parse().ok()?;
    let _server = parts.next();
    let gateway = match parts.next() {
        None | Some("") => None,
        Some(text) => Some(Address::v4(text.parse::<Ipv4Addr>().ok()?.octets())),
    };
    let bits = match parts.next() {
        None | Some("") => 24,
        Some(text) => {
            let mask = u32::from(text.parse::<Ipv4Addr>().ok()?);
            let bits = mask.leading_ones();
            if mask.checked_shl(bits).unwrap_or(0) != 0 {
                return None;
            }
            bits as u8
        }
    };
    Some(Source::Fixed { address: (Address::v4(address.octets()), bits), gateway })
}

fn with_faults(card: Arc<dyn NetworkDevice>) -> Arc<dyn NetworkDevice> {
    match command_line().parsed::<NetworkFaults>("network_faults") {
        Ok(None) => card,
        Ok(Some(faults)) => {
            log::warn!("network cards have faults on purpose: {faults:?}");
            Arc::new(FaultyNetwork::new(card, faults))
        }
        Err(problem) => {
            log::warn!("{problem}");
            card
        }
    }
}
