//! What `ioctl` tells about the machine's interfaces; `net` has their table.

use alloc::vec::Vec;

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use net::address::Address;
use net::stack::interfaces::{self, Interface};

use super::AF_INET;
use crate::file::UserMemory;
use crate::obstacle::Attempt;

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;

const NAME_BYTES: usize = 16;
/// `struct ifreq`: a name, and what is asked about it.
const REQUEST_BYTES: usize = 40;
/// `IFF_UP | IFF_RUNNING`.
const UP: u16 = 1 | 0x40;
/// `IFF_LOOPBACK`.
const LOOPBACK: u16 = 8;
/// `IFF_BROADCAST | IFF_MULTICAST`.
const SHARED: u16 = 2 | 0x1000;
/// `ARPHRD_LOOPBACK`.
pub(in crate::socket) const LOOPBACK_HARDWARE: u16 = 772;
/// `ARPHRD_ETHER`.
pub(in crate::socket) const ETHERNET_HARDWARE: u16 = 1;
pub(in crate::socket) const QUEUE_PACKETS: i32 = 1000;

/// What `IFF_` flags an interface has.
pub(crate) fn flags(interface: &Interface) -> u16 {
    UP | if interface.is_loopback { LOOPBACK } else { SHARED }
}

/// The mask of so many bits.
pub(crate) fn mask(bits: u8) -> [u8; 4] {
    u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0).to_be_bytes()
}

/// The address that all of an interface's network have.
pub(crate) fn broadcast(interface: &Interface) -> [u8; 4] {
    match interface.v4 {
        Some((address, bits)) if !interface.is_loopback => {
            let host = !u32::from_be_bytes(mask(bits));
            (u32::from_be_bytes(address.v4_octets()) | host).to_be_bytes()
        }
        _ => [0; 4],
    }
}

fn v4(address: [u8; 4]) -> [u8; NAME_BYTES] {
    let mut value = [0; NAME_BYTES];
    value[..2].copy_from_slice(&(AF_INET as u16).to_le_bytes());
    value[4..8].copy_from_slice(&address);
    value
}

fn number(number: i32) -> [u8; NAME_BYTES] {
    let mut value = [0; NAME_BYTES];
    value[..4].copy_from_slice(&number.to_le_bytes());
    value
}

fn name_bytes(interface: &Interface) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    let name = interface.name.as_bytes();
    let len = name.len().min(NAME_BYTES - 1);
    bytes[..len].copy_from_slice(&name[..len]);
    bytes
}

fn own_address(interface: &Interface) -> Result<(Address, u8), Errno> {
    interface.v4.ok_or(Errno::EADDRNOTAVAIL)
}

/// What is answered about an interface.
fn answer(request: u32, interface: &Interface) -> Result<[u8; NAME_BYTES], Errno> {
    Ok(match request {
        SIOCGIFFLAGS => {
            let mut value = [0; NAME_BYTES];
            value[..2].copy_from_slice(&flags(interface).to_le_bytes());
            value
        }
        SIOCGIFADDR | SIOCGIFDSTADDR => v4(own_address(interface)?.0.v4_octets()),
        SIOCGIFBRDADDR => {
            own_address(interface)?;
            v4(broadcast(interface))
        }
        SIOCGIFNETMASK => v4(mask(own_address(interface)?.1)),
        SIOCGIFMETRIC => number(0),
        SIOCGIFMTU => number(interface.mtu as i32),
        SIOCGIFTXQLEN => number(QUEUE_PACKETS),
        SIOCGIFINDEX => number(interface.index as i32),
        SIOCGIFHWADDR => {
            let kind = if interface.is_loopback { LOOPBACK_HARDWARE } else { ETHERNET_HARDWARE };
            let mut value = [0; NAME_BYTES];
            value[..2].copy_from_slice(&kind.to_le_bytes());
            value[2..8].copy_from_slice(&interface.hardware);
            value
        }
        _ => return Err(Errno::ENOTTY),
    })
}

/// `ioctl` about interfaces.
pub(in crate::socket) fn control(kind: u32, argument: usize, memory: &UserMemory) -> Attempt {
    let address = VirtAddr::new(argument);
    match kind {
        SIOCGIFCONF => {
            // `struct ifconf`: a length, and where the requests are to be written, or nowhere to ask for the length.
            let [len, _]: [i32; 2] = memory.read(address)?;
            let place: u64 = memory.read(address + 8)?;
            let mut requests = Vec::new();
            for interface in interfaces::all() {
                if let Some((own, _)) = interface.v4 {
                    requests.extend_from_slice(&name_bytes(&interface));
                    requests.extend_from_slice(&v4(own.v4_octets()));
                    requests.resize(requests.len().next_multiple_of(REQUEST_BYTES), 0);
                }
            }
            if place != 0 {
                let fits = usize::try_from(len).unwrap_or(0) / REQUEST_BYTES * REQUEST_BYTES;
                requests.truncate(fits);
                memory.write_bytes(VirtAddr::new(place as usize), &requests)?;
            }
            memory.write(address, &(requests.len() as i32))?;
        }
        SIOCGIFNAME => {
            let index: i32 = memory.read(address + NAME_BYTES)?;
            let all = interfaces::all();
            let interface =
                all.iter().find(|interface| interface.index as i32 == index).ok_or(Errno::ENODEV)?;
            memory.write_bytes(address, &name_bytes(interface))?;
        }
        SIOCGIFFLAGS..=SIOCGIFTXQLEN => {
            let mut name = [0; NAME_BYTES];
            memory.read_bytes(address, &mut name)?;
            let len = name.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
            // A request that is none is told so before a name that is none.
            let all = interfaces::all();
            answer(kind, &all[0])?;
            let interface = all.iter().find(|interface| interface.name.as_bytes() == &name[..len]);
            let value = answer(kind, interface.ok_or(Errno::ENODEV)?)?;
            memory.write_bytes(address + NAME_BYTES, &value)?;
        }
        _ => return Err(Errno::ENOTTY.into()),
    }
    Ok(0)
}
