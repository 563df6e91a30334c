//! Syscalls on the address space.

use kernel_hal::PAGE_SIZE;
use kernel_object::address_space::{MapBacking, MapRequest, Origin, Placement, Protection};
use linux_abi::Errno;
use linux_abi::file::{O_ACCMODE, O_RDWR, O_WRONLY};
use linux_abi::memory::{
    MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_TYPE, MapFlags, Protection as ProtectionBits,
};
use linux_object::program::map_errno;
use rcore_fs::Contents;

use crate::argument::{Bits, Fd, UserAddress};
use crate::call::Call;

fn protection(bits: u32) -> Result<Protection, Errno> {
    let known = ProtectionBits::READ | ProtectionBits::WRITE | ProtectionBits::EXEC;
    let bits = ProtectionBits::from_bits(bits).filter(|&bits| known.contains(bits)).ok_or(Errno::EINVAL)?;
    let mut protection = Protection::empty();
    protection.set(Protection::READ, bits.contains(ProtectionBits::READ));
    protection.set(Protection::WRITE, bits.contains(ProtectionBits::WRITE));
    protection.set(Protection::EXECUTE, bits.contains(ProtectionBits::EXEC));
    Ok(protection)
}

pub fn brk(call: &mut Call<'_>, end: UserAddress) -> usize {
    call.resources.address_space.set_break(end.get()).as_usize()
}

pub fn mmap(
    call: &mut Call<'_>,
    address: UserAddress,
    len: usize,
    bits: u32,
    flags: Bits,
    fd: Fd,
    offset: usize,
) -> Result<usize, Errno> {
    let shared = match flags.0 as u32 & MAP_TYPE {
        MAP_PRIVATE => false,
        MAP_SHARED | MAP_SHARED_VALIDATE => true,
        _ => return Err(Errno::EINVAL),
    };
    let flags = MapFlags::from_bits_retain(flags.0 as u32);
    if len == 0 || !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let protection = protection(bits)?;
    let mut maximum = Protection::all();
    let mut origin: Option<Origin> = None;
    let backing = if flags.contains(MapFlags::ANONYMOUS) {
        MapBacking::Anonymous
    } else {
        let file = call.resources.files.get(fd.0)?;
        let access = file.flags() & O_ACCMODE;
        if access == O_WRONLY || (shared && protection.contains(Protection::WRITE) && access != O_RDWR) {
            return Err(Errno::EACCES);
        }
        if shared && access != O_RDWR {
            maximum.remove(Protection::WRITE);
        }
        origin = file.place().map(|place| place.clone() as Origin);
        match file.inode().map(|inode| inode.contents()) {
            Some(Contents::Pages(object)) => MapBacking::Object { object, offset: offset as u64 },
            _ => return Err(Errno::ENODEV),
        }
    };
    let placement = if flags.contains(MapFlags::FIXED_NOREPLACE) {
        Placement::FixedIfFree(address.get())
    } else if flags.contains(MapFlags::FIXED) {
        Placement::Fixed(address.get())
    } else {
        Placement::Anywhere { hint: (!address.is_null()).then(|| address.get()) }
    };
    let request = MapRequest {
        placement,
        maximum,
        shared,
        backing,
        origin,
        grows_down: flags.contains(MapFlags::GROWSDOWN),
        ..MapRequest::anonymous(len, protection)
    };
    call.resources.address_space.map(request).map(|start| start.as_usize()).map_err(map_errno)
}

pub fn munmap(call: &mut Call<'_>, address: UserAddress, len: usize) -> Result<usize, Errno> {
    call.resources.address_space.unmap(address.get(), len).map(|()| 0).map_err(map_errno)
}

pub fn mprotect(call: &mut Call<'_>, address: UserAddress, len: usize, bits: u32) -> Result<usize, Errno> {
    let protection = protection(bits)?;
    call.resources.address_space.protect(address.get(), len, protection).map(|()| 0).map_err(map_errno)
}
