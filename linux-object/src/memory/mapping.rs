//! `mmap`: what a program asks for, made a request to its address space.

use alloc::sync::Arc;

use kernel_hal::{PAGE_SIZE, VirtAddr};
use kernel_object::address_space::{
    AddressSpace, AreaFlags, MapBacking, MapError, MapRequest, OnFork, Origin, Placement, Protection,
};
use kernel_object::paged_object::{PagedObject, Seals};
use linux_abi::Errno;
use linux_abi::file::{O_ACCMODE, O_RDWR, O_WRONLY};
use linux_abi::memory::{
    MAP_DROPPABLE, MAP_HUGE_MASK, MAP_HUGE_SHIFT, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_TYPE,
    MapFlags, Protection as ProtectionBits,
};

use super::lock::LockAllowance;
use super::map_errno;
use crate::file::OpenFile;
use crate::namespace::MountFlags;

/// What stands behind the addresses of a mapped file.
#[derive(Clone, Debug)]
pub enum MappedContent {
    /// These pages, from the offset on.
    Pages(Arc<PagedObject>),
    /// These pages from the first on: the offset says which of several objects is meant.
    Whole(Arc<PagedObject>),
    /// Zeros, as if no file were mapped.
    Zeros,
}

/// The arguments of `mmap`, but for the descriptor.
#[derive(Clone, Copy, Debug)]
pub struct MapArguments {
    /// Where; 0 for no wish.
    pub address: VirtAddr,
    /// Bytes.
    pub len: usize,
    /// `PROT_`; bits that mean nothing are passed over, as on Linux.
    pub protection: u32,
    /// `MAP_`.
    pub flags: u32,
    /// Where the mapping begins in the file.
    pub offset: u64,
}

/// What was mapped.
#[derive(Clone, Copy, Debug)]
pub struct Mapped {
    /// Where it begins.
    pub start: VirtAddr,
    /// Whether its pages are to be brought at once.
    pub populate: bool,
}

/// The sizes of huge pages that Sv39 has, as powers of two.
const HUGE_PAGE_SHIFTS: [u32; 3] = [16, 21, 30];

/// The flags that `MAP_SHARED_VALIDATE` lets pass.
const VALIDATED: MapFlags = MapFlags::FIXED
    .union(MapFlags::ANONYMOUS)
    .union(MapFlags::GROWSDOWN)
    .union(MapFlags::DENYWRITE)
    .union(MapFlags::EXECUTABLE)
    .union(MapFlags::LOCKED)
    .union(MapFlags::NORESERVE)
    .union(MapFlags::POPULATE)
    .union(MapFlags::NONBLOCK)
    .union(MapFlags::STACK)
    .union(MapFlags::HUGETLB)
    .union(MapFlags::FIXED_NOREPLACE)
    .union(MapFlags::UNINITIALIZED);

/// The part of `PROT_` that says what the program may do.
pub fn protection_of(bits: u32) -> Protection {
    let bits = ProtectionBits::from_bits_retain(bits);
    let mut protection = Protection::empty();
    protection.set(Protection::READ, bits.contains(ProtectionBits::READ));
    protection.set(Protection::WRITE, bits.contains(ProtectionBits::WRITE));
    protection.set(Protection::EXECUTE, bits.contains(ProtectionBits::EXEC));
    protection
}

/// There are no huge pages: a size that the machine does not know is an error, of the others there are none left.
fn refuse_huge_pages(flags: u32) -> Errno {
    let shift = (flags >> MAP_HUGE_SHIFT) & MAP_HUGE_MASK;
    if shift == 0 || HUGE_PAGE_SHIFTS.contains(&shift) { Errno::ENOMEM } else { Errno::EINVAL }
}

/// What the file allows and gives.
struct FilePart {
    backing: MapBacking,
    maximum: Protection,
    shared: bool,
    origin: Option<Origin>,
}

fn file_part(
    file: &OpenFile,
    kind: u32,
    flags: MapFlags,
    protection: Protection,
    arguments: &MapArguments,
) -> Result<FilePart, Errno> {
    let shared = matches!(kind, MAP_SHARED | MAP_SHARED_VALIDATE);
    let unknown = arguments.flags & !(VALIDATED.bits() | MAP_TYPE | MAP_HUGE_MASK << MAP_HUGE_SHIFT);
    match kind {
        MAP_SHARED_VALIDATE if unknown != 0 => return Err(Errno::EOPNOTSUPP),
        MAP_PRIVATE | MAP_SHARED | MAP_SHARED_VALIDATE => {}
        _ => return Err(Errno::EINVAL),
    }
    let access = file.flags() & O_ACCMODE;
    if shared && protection.contains(Protection::WRITE) && access != O_RDWR {
        return Err(Errno::EACCES);
    }
    if access == O_WRONLY {
        return Err(Errno::EACCES);
    }
    let content = file.file().mapped_content(arguments.offset)?;
    if flags.contains(MapFlags::GROWSDOWN) {
        return Err(Errno::EINVAL);
    }
    let mut maximum = Protection::all();
    if shared && access != O_RDWR {
        maximum.remove(Protection::WRITE);
    }
    if file.place().is_some_and(|place| place.mount().has(MountFlags::NOEXEC)) {
        if protection.contains(Protection::EXECUTE) {
            return Err(Errno::EPERM);
        }
        maximum.remove(Protection::EXECUTE);
    }
    let origin = file.place().map(|place| Arc::new(place.clone()) as Origin);
    let backing = match content {
        MappedContent::Zeros => {
            return Ok(FilePart { backing: MapBacking::Anonymous, maximum, shared, origin });
        }
        MappedContent::Pages(object) => MapBacking::Object { object, offset: arguments.offset },
        MappedContent::Whole(object) => MapBacking::Object { object, offset: 0 },
    };
    if let MapBacking::Object { object, .. } = &backing
        && shared
        && object.is_write_sealed()
    {
        if protection.contains(Protection::WRITE) {
            return Err(Errno::EPERM);
        }
        maximum.remove(Protection::WRITE);
    }
    Ok(FilePart { backing, maximum, shared, origin })
}

fn anonymous_part(kind: u32, flags: MapFlags) -> Result<FilePart, Errno> {
    let shared = match kind {
        MAP_SHARED if flags.contains(MapFlags::GROWSDOWN) => return Err(Errno::EINVAL),
        MAP_SHARED => true,
        MAP_PRIVATE => false,
        MAP_DROPPABLE if flags.contains(MapFlags::LOCKED) => return Err(Errno::EINVAL),
        MAP_DROPPABLE => false,
        _ => return Err(Errno::EINVAL),
    };
    Ok(FilePart { backing: MapBacking::Anonymous, maximum: Protection::all(), shared, origin: None })
}

/// Maps what the arguments ask for. `file` is what the descriptor stands for, unless the mapping is anonymous.
pub fn map(
    space: &AddressSpace,
    file: Option<&OpenFile>,
    arguments: &MapArguments,
    allowance: impl FnOnce() -> LockAllowance,
) -> Result<Mapped, Errno> {
    let flags = MapFlags::from_bits_retain(arguments.flags);
    let kind = arguments.flags & MAP_TYPE;
    if flags.contains(MapFlags::HUGETLB) {
        return Err(if file.is_some() { Errno::EINVAL } else { refuse_huge_pages(arguments.flags) });
    }
    if arguments.len == 0 {
        return Err(Errno::EINVAL);
    }
    let protection = protection_of(arguments.protection);
    if flags.contains(MapFlags::LOCKED) || space.locks_new_mappings() {
        let allowance = allowance();
        if flags.contains(MapFlags::LOCKED) {
            allowance.check()?;
        }
        allowance.put_in_force(space);
    }
    let part = match file {
        Some(file) => file_part(file, kind, flags, protection, arguments)?,
        None => anonymous_part(kind, flags)?,
    };
    let mut area_flags = AreaFlags::empty();
    area_flags.set(AreaFlags::LOCKED, flags.contains(MapFlags::LOCKED));
    area_flags.set(AreaFlags::NO_RESERVE, flags.contains(MapFlags::NORESERVE));
    let is_droppable = file.is_none() && kind == MAP_DROPPABLE;
    area_flags.set(AreaFlags::DROPPABLE | AreaFlags::NO_DUMP, is_droppable);
    let placement = if flags.contains(MapFlags::FIXED_NOREPLACE) {
        Placement::FixedIfFree(arguments.address)
    } else if flags.contains(MapFlags::FIXED) {
        Placement::Fixed(arguments.address)
    } else {
        let wish = arguments.address.page_floor();
        Placement::Anywhere { hint: (wish.as_usize() != 0).then_some(wish) }
    };
    let sealable = match &part.backing {
        MapBacking::Object { object, .. } if part.shared => Some(object.clone()),
        _ => None,
    };
    let request = MapRequest {
        placement,
        maximum: part.maximum,
        shared: part.shared,
        backing: part.backing,
        grows_down: flags.contains(MapFlags::GROWSDOWN),
        origin: part.origin,
        on_fork: if is_droppable { OnFork::Wipe } else { OnFork::Inherit },
        flags: area_flags,
        ..MapRequest::anonymous(arguments.len, protection)
    };
    let start = space.map(request).map_err(|error| match error {
        MapError::NotPermitted => Errno::EACCES,
        other => map_errno(other),
    })?;
    // A seal that came in between did not see the mapping if it was too early, so the mapping sees the seal.
    if let Some(object) = sealable
        && part.maximum.contains(Protection::WRITE)
        && object.seals().contains(Seals::WRITE)
    {
        space.unmap(start, arguments.len).map_err(map_errno)?;
        return Err(Errno::EPERM);
    }
    let wants_pages = flags.contains(MapFlags::POPULATE) && !flags.contains(MapFlags::NONBLOCK);
    let is_locked = flags.contains(MapFlags::LOCKED) || space.locks_new_mappings();
    let is_brought = is_locked
        && space
            .area_from(start)
            .is_some_and(|area| area.flags & (AreaFlags::LOCKED | AreaFlags::ON_FAULT) == AreaFlags::LOCKED);
    Ok(Mapped { start, populate: wants_pages || is_brought })
}

/// `mprotect`.
pub fn protect(space: &AddressSpace, start: VirtAddr, len: usize, bits: u32) -> Result<(), Errno> {
    let bits = ProtectionBits::from_bits_retain(bits);
    let grows = bits & (ProtectionBits::GROWSDOWN | ProtectionBits::GROWSUP);
    if grows == ProtectionBits::GROWSDOWN | ProtectionBits::GROWSUP || !start.is_page_aligned() {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(());
    }
    let rounded = len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::ENOMEM)?;
    let end = start.checked_add(rounded).ok_or(Errno::ENOMEM)?;
    let known = ProtectionBits::READ | ProtectionBits::WRITE | ProtectionBits::EXEC | ProtectionBits::SEM;
    if !known.contains(bits - grows) {
        return Err(Errno::EINVAL);
    }
    let protection = protection_of(bits.bits());
    if grows.is_empty() {
        return space.protect(start, rounded, protection).map_err(map_errno);
    }
    let area = space.area_from(start).filter(|area| area.range.start < end).ok_or(Errno::ENOMEM)?;
    // No area of this machine grows upwards.
    if !area.grows_down || grows == ProtectionBits::GROWSUP {
        return Err(Errno::EINVAL);
    }
    space.protect(area.range.start, end - area.range.start, protection).map_err(map_errno)
}
