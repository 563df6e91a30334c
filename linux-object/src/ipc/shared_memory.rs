//! Segments of shared memory: `shmget` and its like.
//!
//! A segment is a paged object with a number. What is attached remembers its [`Attachment`] as the areas' origin, so a
//! segment knows how often it is attached by counting references, whatever forks, unmaps or exits. The table keeps a segment
//! until it is removed; after that only what is attached does, and when that goes the memory goes with it.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use kernel_hal::{PAGE_SIZE, VirtAddr};
use kernel_object::address_space::{
    AddressSpace, AreaInfo, MapError, MapRequest, Placement, Protection, promises_everything,
};
use kernel_object::frame;
use kernel_object::paged_object::PagedObject;
use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::ipc::{
    IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IpcPermissions, SHM_DEST, SHM_EXEC, SHM_HUGETLB, SHM_LOCKED,
    SHM_NORESERVE, SHM_RDONLY, SHM_REMAP, SHM_RND, ShmLimits, ShmUsage, ShmidStatus,
};

use super::access::Access;
use crate::clock;
use crate::credentials::{Capabilities, Credentials};
use crate::memory::map_errno;

/// The smallest and the largest segment, in bytes.
const SMALLEST: u64 = 1;
/// The largest segment in bytes, and the most pages of all together.
pub const LARGEST: u64 = u64::MAX - (1 << 24);
/// The most segments.
pub const MOST_SEGMENTS: usize = 4096;
/// A segment's number is its index in the table, and above that how often the table has begun anew.
const INDEX_BITS: u32 = 15;
const INDEX_MASK: i32 = (1 << INDEX_BITS) - 1;
const SEQUENCE_LIMIT: u16 = 1 << 15;
const READ_RIGHTS: u32 = 0o444;
const WRITE_RIGHTS: u32 = 0o222;
const EXECUTE_RIGHTS: u32 = 0o111;

struct State {
    key: i32,
    access: Access,
    is_removed: bool,
    is_locked: bool,
    attached_at: i64,
    changed_at: i64,
    attachments: Vec<Weak<Attachment>>,
}

/// A segment.
pub struct Segment {
    id: i32,
    bytes: u64,
    creator: i32,
    object: Arc<PagedObject>,
    last_user: AtomicI32,
    detached_at: AtomicI64,
    state: SpinLock<State>,
}

/// One `shmat`: the origin of its areas, here and in children.
pub struct Attachment {
    segment: Arc<Segment>,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.segment.detached_at.store(now(), Ordering::Relaxed);
    }
}

/// A segment in the table.
enum Entry {
    Present(Arc<Segment>),
    /// It was removed, and lives as long as it is attached.
    Removed(Weak<Segment>),
}

impl Entry {
    fn segment(&self) -> Option<Arc<Segment>> {
        match self {
            Self::Present(segment) => Some(segment.clone()),
            Self::Removed(segment) => segment.upgrade(),
        }
    }
}

struct Table {
    entries: BTreeMap<i32, Entry>,
    last_index: i32,
    sequence: u16,
}

static TABLE: SpinLock<Table> =
    SpinLock::new(Rank::IPC_TABLE, Table { entries: BTreeMap::new(), last_index: -1, sequence: 0 });

fn now() -> i64 {
    clock::time_stamp().tv_sec
}

impl Table {
    fn present(&self) -> impl Iterator<Item = Arc<Segment>> {
        self.entries.values().filter_map(Entry::segment)
    }

    /// The lowest index that is free, and the number of a segment there.
    fn next_id(&mut self) -> Option<(i32, i32)> {
        self.entries.retain(|_, entry| entry.segment().is_some());
        if self.entries.len() >= MOST_SEGMENTS {
            return None;
        }
        let index = (0..).zip(self.entries.keys()).find(|(index, key)| index != *key).map(|(index, _)| index);
        let index = index.unwrap_or(self.entries.len() as i32);
        if index <= self.last_index {
            self.sequence = (self.sequence + 1) % SEQUENCE_LIMIT;
        }
        self.last_index = index;
        Some((index, i32::from(self.sequence) << INDEX_BITS | index))
    }
}

/// The segment with this number.
fn find(id: i32) -> Result<Arc<Segment>, Errno> {
    let table = TABLE.lock();
    let entry = table.entries.get(&(id & INDEX_MASK)).filter(|_| id >= 0);
    entry.and_then(Entry::segment).filter(|segment| segment.id == id).ok_or(Errno::EINVAL)
}

/// The segment at this index of the table.
pub fn at_index(index: i32) -> Result<Arc<Segment>, Errno> {
    TABLE.lock().entries.get(&index).and_then(Entry::segment).ok_or(Errno::EINVAL)
}

/// The largest index in use; 0 if there is none.
pub fn largest_index() -> usize {
    TABLE
        .lock()
        .entries
        .iter()
        .rev()
        .find(|(_, entry)| entry.segment().is_some())
        .map_or(0, |(index, _)| *index as usize)
}

/// `shmget`: the number of the segment with a key, or of a new one.
pub fn get(
    key: i32,
    bytes: usize,
    flags: i32,
    credentials: &Credentials,
    process: i32,
) -> Result<usize, Errno> {
    if key != IPC_PRIVATE {
        let found = TABLE.lock().present().find(|segment| segment.state.lock().key == key);
        if let Some(segment) = found {
            if flags & (IPC_CREAT | IPC_EXCL) == IPC_CREAT | IPC_EXCL {
                return Err(Errno::EEXIST);
            }
            if segment.bytes < bytes as u64 {
                return Err(Errno::EINVAL);
            }
            segment.state.lock().access.check(credentials, flags as u32)?;
            return Ok(segment.id as usize);
        }
        if flags & IPC_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
    }
    create(key, bytes as u64, flags, credentials, process)
}

fn create(key: i32, bytes: u64, flags: i32, credentials: &Credentials, process: i32) -> Result<usize, Errno> {
    if !(SMALLEST..=LARGEST).contains(&bytes) {
        return Err(Errno::EINVAL);
    }
    let pages = bytes.div_ceil(PAGE_SIZE as u64);
    if flags & SHM_HUGETLB != 0 {
        // There are no huge pages to be had.
        return Err(if credentials.has(Capabilities::IPC_LOCK) { Errno::ENOMEM } else { Errno::EPERM });
    }
    if flags & SHM_NORESERVE == 0 && !promises_everything() && pages > frame::total() as u64 {
        return Err(Errno::ENOMEM);
    }
    frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
    let state = State {
        key,
        access: Access::of_creator(credentials, flags as u32),
        is_removed: false,
        is_locked: false,
        attached_at: 0,
        changed_at: now(),
        attachments: Vec::new(),
    };
    let object = Arc::new(PagedObject::anonymous(pages * PAGE_SIZE as u64));
    let mut table = TABLE.lock();
    // Somebody may have been faster.
    if key != IPC_PRIVATE && table.present().any(|segment| segment.state.lock().key == key) {
        drop(table);
        return get(key, bytes as usize, flags, credentials, process);
    }
    let (index, id) = table.next_id().ok_or(Errno::ENOSPC)?;
    let segment = Arc::new(Segment {
        id,
        bytes,
        creator: process,
        object,
        last_user: AtomicI32::new(0),
        detached_at: AtomicI64::new(0),
        state: SpinLock::new(Rank::IPC_OBJECT, state),
    });
    table.entries.insert(index, Entry::Present(segment));
    Ok(id as usize)
}

/// `shmat`: shows a segment at an address, or wherever there is room; returns where.
pub fn attach(
    space: &AddressSpace,
    id: i32,
    address: VirtAddr,
    flags: i32,
    credentials: &Credentials,
    process: i32,
) -> Result<usize, Errno> {
    let is_wanted = |flag| flags & flag != 0;
    let address = if is_wanted(SHM_RND) { address.page_floor() } else { address };
    let has_address = address.as_usize() != 0;
    if !address.is_page_aligned() || is_wanted(SHM_REMAP) && !has_address {
        return Err(Errno::EINVAL);
    }
    let mut protection = Protection::READ;
    let mut rights = READ_RIGHTS;
    if !is_wanted(SHM_RDONLY) {
        protection |= Protection::WRITE;
        rights |= WRITE_RIGHTS;
    }
    if is_wanted(SHM_EXEC) {
        protection |= Protection::EXECUTE;
        rights |= EXECUTE_RIGHTS;
    }
    let segment = find(id)?;
    segment.state.lock().access.check(credentials, rights)?;
    let mut maximum = Protection::all();
    maximum.set(Protection::WRITE, !is_wanted(SHM_RDONLY));
    let attachment = Arc::new(Attachment { segment: segment.clone() });
    {
        let mut state = segment.state.lock();
        state.attachments.retain(|attachment| attachment.strong_count() > 0);
        state.attachments.push(Arc::downgrade(&attachment));
    }
    let len = segment.object.size() as usize;
    let request = MapRequest {
        placement: match (has_address, is_wanted(SHM_REMAP)) {
            (false, _) => Placement::Anywhere { hint: None },
            (true, true) => Placement::Fixed(address),
            (true, false) => Placement::FixedIfFree(address),
        },
        maximum,
        origin: Some(attachment),
        ..MapRequest::object(segment.object.clone(), 0, len, protection, true)
    };
    let start = space.map(request).map_err(|error| match error {
        MapError::Exists => Errno::EINVAL,
        other => map_errno(other),
    })?;
    segment.state.lock().attached_at = now();
    segment.last_user.store(process, Ordering::Relaxed);
    Ok(start.as_usize())
}

/// The attachment that an area belongs to.
fn attachment_of(area: &AreaInfo) -> Option<Arc<Attachment>> {
    area.origin.clone()?.downcast().ok()
}

/// `shmdt`: unmaps what is left of the attachment that began at an address.
pub fn detach(space: &AddressSpace, address: VirtAddr, process: i32) -> Result<(), Errno> {
    if !address.is_page_aligned() {
        return Err(Errno::EINVAL);
    }
    let mut from = address;
    let mut found: Option<Arc<Attachment>> = None;
    while let Some(area) = space.area_from(from) {
        let range = area.range.clone();
        let limit = found
            .as_ref()
            .map(|attachment| address.as_usize().saturating_add(attachment.segment.object.size() as usize));
        if limit.is_some_and(|limit| range.end.as_usize() > limit) {
            break;
        }
        from = range.end;
        let is_at_its_place = range.start >= address && area.offset() == (range.start - address) as u64;
        let Some(attachment) = attachment_of(&area).filter(|_| is_at_its_place) else { continue };
        if found.as_ref().is_some_and(|other| !Arc::ptr_eq(&other.segment, &attachment.segment)) {
            continue;
        }
        drop(area);
        space.unmap(range.start, range.end - range.start).map_err(map_errno)?;
        found = Some(attachment);
    }
    let attachment = found.ok_or(Errno::EINVAL)?;
    attachment.segment.last_user.store(process, Ordering::Relaxed);
    Ok(())
}

impl Segment {
    /// The segment with this number, if somebody may read it.
    pub fn readable(id: i32, credentials: &Credentials) -> Result<Arc<Self>, Errno> {
        let segment = find(id)?;
        segment.check_readable(credentials)?;
        Ok(segment)
    }

    /// `EACCES` unless somebody may read it.
    pub fn check_readable(&self, credentials: &Credentials) -> Result<(), Errno> {
        self.state.lock().access.check(credentials, READ_RIGHTS)
    }

    /// Its number.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// The key under which it was made, for names.
    pub fn key(&self) -> i32 {
        self.state.lock().key
    }

    /// How often it is attached.
    fn attached(&self) -> usize {
        self.state.lock().attachments.iter().map(Weak::strong_count).sum()
    }

    /// What there is to know about it.
    pub fn status(&self) -> ShmidStatus {
        let attached = self.attached();
        let state = self.state.lock();
        let mut mode_flags = 0;
        if state.is_removed {
            mode_flags |= SHM_DEST as u32;
        }
        if state.is_locked {
            mode_flags |= SHM_LOCKED as u32;
        }
        ShmidStatus {
            shm_perm: state.access.encode(state.key, (self.id >> INDEX_BITS) as u16, mode_flags),
            shm_segsz: self.bytes,
            shm_atime: state.attached_at,
            shm_dtime: self.detached_at.load(Ordering::Relaxed),
            shm_ctime: state.changed_at,
            shm_cpid: self.creator,
            shm_lpid: self.last_user.load(Ordering::Relaxed),
            shm_nattch: attached as u64,
            ..ShmidStatus::default()
        }
    }
}

/// `IPC_RMID`: no key finds it any more, and it goes when nothing is attached.
pub fn remove(id: i32, credentials: &Credentials) -> Result<(), Errno> {
    let segment = find(id)?;
    segment.state.lock().access.check_control(credentials, Capabilities::SYS_ADMIN)?;
    {
        let mut state = segment.state.lock();
        state.is_removed = true;
        state.key = IPC_PRIVATE;
    }
    let removed = {
        let mut table = TABLE.lock();
        let entry = table.entries.get_mut(&(id & INDEX_MASK));
        entry.map(|entry| core::mem::replace(entry, Entry::Removed(Arc::downgrade(&segment))))
    };
    drop(removed);
    Ok(())
}

/// `IPC_SET`.
pub fn change(id: i32, new: &IpcPermissions, credentials: &Credentials) -> Result<(), Errno> {
    let segment = find(id)?;
    let mut state = segment.state.lock();
    state.access.check_control(credentials, Capabilities::SYS_ADMIN)?;
    state.access.change(new);
    state.changed_at = now();
    Ok(())
}

/// `SHM_LOCK` and `SHM_UNLOCK`. There is no swap that a segment's pages could go to: the mark is all.
pub fn set_locked(id: i32, locked: bool, credentials: &Credentials) -> Result<(), Errno> {
    let segment = find(id)?;
    let mut state = segment.state.lock();
    state.access.check_control(credentials, Capabilities::IPC_LOCK)?;
    state.is_locked = locked;
    Ok(())
}

/// `IPC_INFO`.
pub fn limits() -> ShmLimits {
    ShmLimits {
        shmmax: LARGEST,
        shmmin: SMALLEST,
        shmmni: MOST_SEGMENTS as u64,
        shmseg: MOST_SEGMENTS as u64,
        shmall: LARGEST,
        ..ShmLimits::default()
    }
}

/// `SHM_INFO`.
pub fn usage() -> ShmUsage {
    let segments: Vec<Arc<Segment>> = TABLE.lock().present().collect();
    let pages = |segment: &Arc<Segment>| segment.bytes.div_ceil(PAGE_SIZE as u64);
    ShmUsage {
        used_ids: segments.len() as i32,
        shm_tot: segments.iter().map(pages).sum(),
        shm_rss: segments.iter().map(|segment| segment.object.resident_pages() as u64).sum(),
        ..ShmUsage::default()
    }
}

/// `/proc/sysvipc/shm`.
pub fn write_table(output: &mut dyn Write) -> fmt::Result {
    writeln!(
        output,
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      \
         dtime      ctime                   rss                  swap"
    )?;
    let segments: Vec<Arc<Segment>> = TABLE.lock().present().collect();
    for segment in segments {
        let status = segment.status();
        let owner = status.shm_perm;
        let resident = segment.object.resident_pages() * PAGE_SIZE;
        writeln!(
            output,
            "{:10} {:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {resident:21} {:21}",
            owner.key,
            segment.id,
            owner.mode,
            status.shm_segsz,
            status.shm_cpid,
            status.shm_lpid,
            status.shm_nattch,
            owner.uid,
            owner.gid,
            owner.cuid,
            owner.cgid,
            status.shm_atime,
            status.shm_dtime,
            status.shm_ctime,
            0,
        )?;
    }
    Ok(())
}

impl Attachment {
    /// What `/proc/PID/maps` shows.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}
