//! Address spaces: what a process sees of memory.
//!
//! An address space is a map of [areas](area) and the page tables that realise it, both under one spin lock. Pages
//! appear on demand: [`AddressSpace::fault`] finds the area, takes a frame and writes an entry, without allocating
//! anything else. Private pages are owned by page-table entries alone; a fork shares them, write-protected on both sides,
//! and whoever stores first gets a copy, or the frame itself if nobody else has it any more. Shared pages and unmodified
//! pages of files belong to [`crate::paged_object`]s, which can find every address space that maps them.
//!
//! Rules:
//! * No change of a mapping is flushed under the lock: frames that were unmapped are gathered, the lock is released,
//!   the harts are told, then the frames go. (The one exception is in [`gather`].)
//! * Bytes are copied to and from a program's memory without any lock: see [`user_copy`].
//! * A request that fails leaves the address space as it was, unless Linux says otherwise (`mprotect` over a hole).
//!
//! Limits: pages are 4 KiB; a fork copies the entries of private areas under the parent's lock, so it masks
//! interrupts for about forty instructions per resident page. Areas of shared mappings are not copied; the child
//! faults them in.

mod advise;
mod area;
mod area_map;
mod fault;
mod fork;
mod gather;
mod lock;
mod map;
mod numbers;
mod pin;
mod remap;
#[cfg(all(test, not(miri)))]
mod tests;
mod translation;
mod usage;
pub mod user_copy;

use alloc::sync::{Arc, Weak};
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kernel_hal::{HartMask, PAGE_SIZE, PhysAddr, USER_END, VirtAddr, interrupt, paging};
use ksync::{Rank, SpinLock};

use crate::frame::{FrameKind, OutOfMemory, check_headroom};
use crate::page_table::{PageTable, Subtree};
use crate::paged_object::{Mapper, PagedObject, Unmapping};
use area_map::AreaMap;
use gather::Gather;
use translation::Translation;

pub use advise::{AreaInfo, MemoryKey, Populate, PopulateStop};
pub use area::{AreaFlags, Backing, OnFork, Origin, Protection};
pub use fault::{FaultOutcome, FaultResult};
pub use lock::LockAll;
pub use map::{MapBacking, MapError, MapRequest, Placement, promises_everything, set_promises_everything};
pub use remap::RemapPlacement;
pub use usage::RangeUsage;
pub use user_copy::{CopyStop, StopReason, UserError, UserErrorKind};

/// Where things may be put; the caller draws the random parts.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Nothing is mapped below, on request or not.
    pub lowest: VirtAddr,
    /// Mappings without an address of their own are put below this, downwards.
    pub mapping_top: VirtAddr,
}

/// Where no address space has anything below.
pub const LOWEST_ADDRESS: usize = 0x1_0000;

impl Default for Layout {
    fn default() -> Self {
        Self {
            lowest: VirtAddr::new(LOWEST_ADDRESS),
            mapping_top: VirtAddr::new(USER_END - 64 * 1024 * 1024),
        }
    }
}

/// Pages that are present, by what they are.
#[derive(Clone, Copy, Default)]
struct Resident {
    anonymous: usize,
    file: usize,
    shared: usize,
}

impl Resident {
    const fn total(&self) -> usize {
        self.anonymous + self.file + self.shared
    }

    #[inline]
    const fn of(&mut self, kind: FrameKind) -> &mut usize {
        match kind {
            FrameKind::Anonymous => &mut self.anonymous,
            FrameKind::Shared => &mut self.shared,
            _ => &mut self.file,
        }
    }
}

/// What an address space may grow to, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All areas together (`RLIMIT_AS`).
    pub address_space: usize,
    /// Private writable areas (`RLIMIT_DATA`).
    pub data: usize,
    /// An area that grows down (`RLIMIT_STACK`).
    pub stack: usize,
    /// Areas that are locked (`RLIMIT_MEMLOCK`); `usize::MAX` also for whoever may lock without a limit.
    pub locked: usize,
}

impl Limits {
    /// No limits but the stack's usual one.
    pub const USUAL: Self =
        Self { address_space: usize::MAX, data: usize::MAX, stack: 8 * 1024 * 1024, locked: usize::MAX };
}

/// Sizes of an address space, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// Pages in all areas.
    pub mapped: usize,
    /// Pages in private writable areas.
    pub data: usize,
    /// Pages that are present.
    pub resident: usize,
    /// The most that were present at a time.
    pub most_resident: usize,
    /// Present pages of its own (`RssAnon`).
    pub anonymous: usize,
    /// Present pages of files (`RssFile`).
    pub file: usize,
    /// Present pages of shared memory (`RssShmem`).
    pub shared_memory: usize,
    /// Pages in areas that are locked.
    pub locked: usize,
    /// Pages in areas that can be executed.
    pub executable: usize,
    /// Pages in areas that grow down.
    pub stack: usize,
    /// Tables that translate addresses.
    pub tables: usize,
}

struct Inner {
    areas: AreaMap,
    tables: PageTable,
    layout: Layout,
    limits: Limits,
    break_start: VirtAddr,
    break_end: VirtAddr,
    resident: Resident,
    most_resident: usize,
    /// What new areas are locked with (`mlockall` with `MCL_FUTURE`).
    lock_new: AreaFlags,
}

/// What a process sees of memory.
pub struct AddressSpace {
    inner: SpinLock<Inner>,
    translation: Translation,
    number: u64,
    this: Weak<AddressSpace>,
    /// Whoever runs in it was told to end because memory ran out.
    condemned: AtomicBool,
}

static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);

impl AddressSpace {
    /// An address space without areas.
    pub fn new(layout: Layout, limits: Limits) -> Result<Arc<Self>, OutOfMemory> {
        check_headroom()?;
        let tables = PageTable::new()?;
        // Ascending: a forked child's number is larger than its parent's, on which reverse maps rely.
        let number = LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Arc::new_cyclic(|this: &Weak<Self>| {
            let translation = Translation::new(tables.root());
            let inner = Inner {
                areas: AreaMap::new(number, this.clone()),
                tables,
                layout,
                limits,
                break_start: VirtAddr::new(0),
                break_end: VirtAddr::new(0),
                resident: Resident::default(),
                most_resident: 0,
                lock_new: AreaFlags::empty(),
            };
            Self {
                inner: SpinLock::new(Rank::ADDRESS_SPACE, inner),
                translation,
                number,
                this: this.clone(),
                condemned: AtomicBool::new(false),
            }
        }))
    }

    /// A number that no other address space ever has.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The root of the page tables.
    pub fn root(&self) -> PhysAddr {
        self.inner.lock().tables.root()
    }

    /// Sizes, for /proc and for limits.
    pub fn usage(&self) -> Usage {
        let inner = self.inner.lock();
        let pages_where = |wanted: fn(&area::Area) -> bool| -> usize {
            let areas = inner.areas.iter().filter(|(_, area)| wanted(area));
            areas.map(|(start, area)| area.len_from(start) / PAGE_SIZE).sum()
        };
        Usage {
            mapped: inner.areas.pages(),
            data: inner.areas.data_pages(),
            resident: inner.resident.total(),
            most_resident: inner.most_resident,
            anonymous: inner.resident.anonymous,
            file: inner.resident.file,
            shared_memory: inner.resident.shared,
            locked: pages_where(|area| area.flags.contains(AreaFlags::LOCKED)),
            executable: pages_where(|area| area.protection.contains(Protection::EXECUTE)),
            stack: pages_where(|area| area.grows_down),
            tables: inner.tables.count(),
        }
    }

    /// The most pages that were ever present at a time.
    pub fn most_resident(&self) -> usize {
        self.inner.lock().most_resident
    }

    /// What the address space may grow to.
    pub fn limits(&self) -> Limits {
        self.inner.lock().limits
    }

    /// Sets what the address space may grow to from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.inner.lock().limits = limits;
    }

    /// Sets how much may be locked from now on.
    pub fn set_lock_limit(&self, bytes: usize) {
        self.inner.lock().limits.locked = bytes;
    }

    /// Notes that whoever runs in it was told to end because memory ran out: nobody may wait for memory on its behalf.
    pub fn condemn(&self) {
        self.condemned.store(true, Ordering::Relaxed);
    }

    /// Whether that was noted.
    pub fn is_condemned(&self) -> bool {
        self.condemned.load(Ordering::Relaxed)
    }

    /// Harts that run this address space now.
    pub fn running_harts(&self) -> HartMask {
        self.translation.running()
    }

    /// Puts the address space in force on this hart, until another one is. The hart keeps it alive meanwhile.
    #[inline]
    pub fn activate(self: &Arc<Self>) {
        if !self.translation.is_active_here() {
            self.activate_slowly();
        }
    }

    #[cold]
    fn activate_slowly(self: &Arc<Self>) {
        let saved = interrupt::disable_and_save();
        self.translation.enter();
        let previous = current::replace(Some(self.clone()));
        if let Some(previous) = &previous {
            previous.translation.left();
        }
        interrupt::restore(saved);
        // May be the last owner: then its pages are freed here.
        drop(previous);
    }

    /// The address space that is in force on this hart. Who interrupts kernel code to run something else holds it and
    /// activates it again: the interrupted code may be in the middle of a copy.
    pub fn active() -> Option<Arc<Self>> {
        current::get()
    }

    /// Puts the kernel's own tables in force on this hart, so that it no longer keeps an address space alive.
    pub fn deactivate() {
        let saved = interrupt::disable_and_save();
        if let Some(kernel_root) = paging::kernel_root() {
            paging::activate(kernel_root, 0);
        }
        let previous = current::replace(None);
        if let Some(previous) = &previous {
            previous.translation.left();
        }
        interrupt::restore(saved);
        drop(previous);
    }

    /// Unmaps everything. The last thread of a process calls it when it ends: the pages are free at once, even if a
    /// hart still has the (now empty) address space in force.
    pub fn clear(&self) {
        let mut areas = AreaMap::new(self.number, self.this.clone());
        core::mem::swap(&mut self.inner.lock().areas, &mut areas);
        // A fault finds no area any more, so nothing comes after what is taken out here.
        loop {
            let mut subtrees: [Option<Subtree>; 8] = [const { None }; 8];
            let is_all = {
                let mut inner = self.inner.lock();
                inner.resident = Resident::default();
                inner.tables.take_subtrees(&mut subtrees)
            };
            if subtrees[0].is_some() {
                self.translation.flush_everything();
            }
            drop(subtrees);
            if is_all {
                break;
            }
        }
        drop(areas);
    }
}

impl Inner {
    #[inline]
    fn note_most_resident(&mut self) {
        self.most_resident = self.most_resident.max(self.resident.total());
    }

    fn unmap_pages(&mut self, range: Range<VirtAddr>, gather: &mut Gather, translation: &Translation) {
        let resident = &mut self.resident;
        self.tables.unmap(range, |page, frame| {
            *resident.of(frame.kind()) -= 1;
            gather.keep(page, frame, translation);
        });
    }

    fn free_empty_tables(&mut self, range: Range<VirtAddr>, gather: &mut Gather, translation: &Translation) {
        self.tables.take_empty_tables(range, |table| gather.keep_table(table, translation));
    }
}

impl Mapper for AddressSpace {
    fn unmap_pages(&self, object: &PagedObject, pages: Range<u64>, why: Unmapping) {
        let mut gather = Gather::new();
        {
            let mut guard = self.inner.lock();
            let inner = &mut *guard;
            let stays =
                |area: &area::Area| why == Unmapping::Evicted && area.flags.contains(AreaFlags::LOCKED);
            let areas = inner.areas.iter().filter(|(_, area)| area.maps(object) && !stays(area));
            for (start, area) in areas {
                let addresses = area.addresses_of(start, &pages);
                let mut cursor = inner.tables.cursor(addresses.start);
                while cursor.find(addresses.end).is_some() {
                    let page = cursor.address();
                    let is_copy = cursor.frame().is_some_and(|frame| fault::is_private(&frame));
                    if (why == Unmapping::Truncated || !is_copy)
                        && let Some(frame) = cursor.take()
                    {
                        *inner.resident.of(frame.kind()) -= 1;
                        gather.keep(page, frame, &self.translation);
                    }
                    cursor.step();
                }
            }
        }
        gather.finish(&self.translation);
    }

    fn may_write(&self, object: &PagedObject) -> bool {
        let inner = self.inner.lock();
        let mut areas = inner.areas.iter();
        areas.any(|(_, area)| area.shared && area.maximum.contains(Protection::WRITE) && area.maps(object))
    }

    fn write_protect_pages(&self, object: &PagedObject, pages: Range<u64>) {
        let mut gather = Gather::new();
        {
            let mut guard = self.inner.lock();
            let inner = &mut *guard;
            let shared = inner.areas.iter().filter(|(_, area)| area.shared && area.maps(object));
            for (start, area) in shared {
                let addresses = area.addresses_of(start, &pages);
                let mut cursor = inner.tables.cursor(addresses.start);
                while let Some(entry) = cursor.find(addresses.end) {
                    if entry.flags().contains(kernel_hal::PageFlags::WRITE) {
                        cursor.set_flags(area.protection.page_flags(false));
                        gather.note(cursor.address());
                    }
                    cursor.step();
                }
            }
        }
        gather.finish(&self.translation);
    }
}

impl fmt::Debug for AddressSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (areas, resident) = {
            let inner = self.inner.lock();
            (inner.areas.len(), inner.resident.total())
        };
        write!(f, "AddressSpace({}, {areas} areas, {resident} pages)", self.number)
    }
}

/// The address space that each hart has in force.
#[cfg(target_os = "none")]
mod current {
    use core::cell::Cell;

    use kernel_hal::MAX_HARTS;
    use ksync::PerHart;

    use super::{AddressSpace, Arc};

    static CURRENT: PerHart<Cell<Option<Arc<AddressSpace>>>> =
        PerHart::new([const { Cell::new(None) }; MAX_HARTS]);

    pub(super) fn replace(new: Option<Arc<AddressSpace>>) -> Option<Arc<AddressSpace>> {
        CURRENT.masked().replace(new)
    }

    pub(super) fn get() -> Option<Arc<AddressSpace>> {
        let slot = CURRENT.masked();
        let space = slot.take();
        slot.set(space.clone());
        space
    }
}

/// On the host several threads may be the same hart, so the slot belongs to the thread.
#[cfg(not(target_os = "none"))]
mod current {
    use std::cell::Cell;

    use super::{AddressSpace, Arc};

    thread_local! {
        static CURRENT: Cell<Option<Arc<AddressSpace>>> = const { Cell::new(None) };
    }

    pub(super) fn replace(new: Option<Arc<AddressSpace>>) -> Option<Arc<AddressSpace>> {
        // A thread that ends has no slot any more.
        CURRENT.try_with(|slot| slot.replace(new)).unwrap_or(None)
    }

    pub(super) fn get() -> Option<Arc<AddressSpace>> {
        let get = |slot: &Cell<Option<Arc<AddressSpace>>>| {
            let space = slot.take();
            slot.set(space.clone());
            space
        };
        CURRENT.try_with(get).unwrap_or(None)
    }
}

/// Rounds a length up to whole pages; `None` if it is too large for any address space.
pub(crate) const fn round_up(len: usize) -> Option<usize> {
    if len > USER_END { None } else { Some(len.next_multiple_of(PAGE_SIZE)) }
}
