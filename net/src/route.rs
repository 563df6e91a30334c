//! Where an address leads: here, or nowhere.

use linux_abi::Errno;

use crate::address::Address;

/// Whether an endpoint may have this address.
pub fn is_own(address: Address) -> bool {
    address.is_loopback()
}

/// The address that something sent to `destination` comes from, and the one where it arrives: to send to any address
/// is to send to this machine.
pub fn to(destination: Address) -> Result<(Address, Address), Errno> {
    let destination = match destination {
        Address::ANY_V4 => Address::LOOPBACK_V4,
        Address::ANY_V6 => Address::LOOPBACK_V6,
        other => other,
    };
    if !is_own(destination) {
        return Err(Errno::ENETUNREACH);
    }
    // Linux answers from the address that was asked, of IPv4 from the usual one.
    let source = if destination.is_v4() { Address::LOOPBACK_V4 } else { destination };
    Ok((source, destination))
}
