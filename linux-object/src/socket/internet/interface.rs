//! What `ioctl` tells about the machine's interfaces: there is `lo`, which leads to the machine itself.

use kernel_hal::VirtAddr;
use linux_abi::Errno;

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
/// `IFF_UP | IFF_LOOPBACK | IFF_RUNNING`.
pub(in crate::socket) const LOOPBACK_FLAGS: u16 = 1 | 8 | 0x40;
/// `ARPHRD_LOOPBACK`.
pub(in crate::socket) const LOOPBACK_HARDWARE: u16 = 772;
pub(in crate::socket) const LOOPBACK_INDEX: i32 = 1;
pub(in crate::socket) const LOOPBACK_NAME: &[u8] = b"lo";
pub(in crate::socket) const QUEUE_PACKETS: i32 = 1000;
/// The largest packet that it would take.
pub(crate) const LOOPBACK_MTU: i32 = 65536;

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

fn request(name: &[u8], value: [u8; NAME_BYTES]) -> [u8; REQUEST_BYTES] {
    let mut bytes = [0; REQUEST_BYTES];
    bytes[..name.len()].copy_from_slice(name);
    bytes[NAME_BYTES..2 * NAME_BYTES].copy_from_slice(&value);
    bytes
}

/// What is answered about `lo`.
fn answer(request: u32) -> Result<[u8; NAME_BYTES], Errno> {
    Ok(match request {
        SIOCGIFFLAGS => {
            let mut value = [0; NAME_BYTES];
            value[..2].copy_from_slice(&LOOPBACK_FLAGS.to_le_bytes());
            value
        }
        SIOCGIFADDR | SIOCGIFDSTADDR => v4([127, 0, 0, 1]),
        SIOCGIFBRDADDR => v4([0; 4]),
        SIOCGIFNETMASK => v4([255, 0, 0, 0]),
        SIOCGIFMETRIC => number(0),
        SIOCGIFMTU => number(LOOPBACK_MTU),
        SIOCGIFTXQLEN => number(QUEUE_PACKETS),
        SIOCGIFINDEX => number(LOOPBACK_INDEX),
        SIOCGIFHWADDR => {
            let mut value = [0; NAME_BYTES];
            value[..2].copy_from_slice(&LOOPBACK_HARDWARE.to_le_bytes());
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
            let one = request(LOOPBACK_NAME, v4([127, 0, 0, 1]));
            let mut told = 0;
            if place == 0 {
                told = REQUEST_BYTES;
            } else if len as usize >= REQUEST_BYTES && len > 0 {
                memory.write_bytes(VirtAddr::new(place as usize), &one)?;
                told = REQUEST_BYTES;
            }
            memory.write(address, &(told as i32))?;
        }
        SIOCGIFNAME => {
            let index: i32 = memory.read(address + NAME_BYTES)?;
            if index != LOOPBACK_INDEX {
                return Err(Errno::ENODEV.into());
            }
            let mut name = [0; NAME_BYTES];
            name[..LOOPBACK_NAME.len()].copy_from_slice(LOOPBACK_NAME);
            memory.write_bytes(address, &name)?;
        }
        _ => {
            let value = answer(kind)?;
            let mut name = [0; NAME_BYTES];
            memory.read_bytes(address, &mut name)?;
            let len = name.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
            if &name[..len] != LOOPBACK_NAME {
                return Err(Errno::ENODEV.into());
            }
            memory.write_bytes(address + NAME_BYTES, &value)?;
        }
    }
    Ok(0)
}
