//! Where an address leads: here, to a card, or nowhere.

use linux_abi::Errno;

use crate::address::Address;
use crate::stack::card;

/// Whether an endpoint may have this address.
pub fn is_own(address: Address) -> bool {
    address.is_loopback() || card::has_address(address)
}

/// The address that something sent to `destination` comes from, and the one where it arrives: to send to any address
/// is to send to this machine.
pub fn to(destination: Address) -> Result<(Address, Address), Errno> {
    let destination = match destination {
        Address::ANY_V4 => Address::LOOPBACK_V4,
        Address::ANY_V6 => Address::LOOPBACK_V6,
        other => other,
    };
    if !destination.is_loopback() {
        if card::has_address(destination) {
            return Ok((destination, destination));
        }
        let (card, _) = card::towards(destination).ok_or(Errno::ENETUNREACH)?;
        return Ok((card.source_for(destination).ok_or(Errno::ENETUNREACH)?, destination));
    }
    // Linux answers from the address that was asked, of IPv4 from the usual one.
    let source = if destination.is_v4() { Address::LOOPBACK_V4 } else { destination };
    Ok((source, destination))
}
