//! The paged object: the one kind of memory that can be shared.
//!
//! Cached files, tmpfs files, memfd, shared anonymous memory and a filesystem's own metadata are all this: pages by
//! index, a size, and perhaps a [`Pager`] that brings and stores pages. `read`, `write` and `mmap` reach the same
//! frames, so they are coherent by construction. Private mappings read the object's frames and copy them before the
//! first store; the copies belong to the address space alone, so a fork tree needs no chain of shadow objects.
//!
//! Without a pager, a missing page is a page of zeros, made on demand, and nothing is ever dirty; a [`PageAccount`] may
//! limit how many are made. Reading from the kernel's side makes none: a hole stays one. With a pager, a missing
//! page is brought by [`PageLoad`], read ahead if access is sequential; whoever comes meanwhile waits on the object's
//! queue. A load that is cancelled leaves the page missing and wakes the others, who try for themselves; one that fails
//! fails for all who waited.
//!
//! Every operation is a pair: a synchronous attempt (`try_...`) that takes one spin lock and never waits, and an
//! `async` one built on it. No lock is held while bytes are copied or the pager works: pages are owned meanwhile.
//!
//! Limits: who writes a range and truncates it at the same time gets what the last of them left; callers that want
//! more (POSIX's atomic append) take [`PagedObject::write_turn`]. [`PagedObject::truncate`] does not wait for pages that are being
//! written out; a filesystem that is about to reuse their blocks calls [`PagedObject::wait_for_write_back`] first.

mod account;
mod holes;
mod index;
mod io;
mod load;
mod mapping;
mod pager;
mod read_ahead;
mod reclaim;
mod seals;
mod shared_pages;
mod size;
#[cfg(all(test, not(miri)))]
mod tests;
mod write_back;
mod writers;

use alloc::sync::Arc;
use core::fmt;
use core::num::NonZeroU32;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use kernel_hal::PAGE_SIZE;
use ksync::{AsyncMutex, Rank, SpinLock, WaitQueue};

use crate::frame::{Frame, FrameKind, OutOfMemory, SharedFrame};
use index::PageIndex;
use mapping::Mappers;

pub use account::PageAccount;
pub use io::{Progress, Stop, WritePin};
pub use mapping::{Mapper, Unmapping};
pub use pager::{PageLoad, Pager, PagerError, PagerFuture};
pub use read_ahead::{Spawner, set_spawner};
pub use reclaim::reclaim;
pub use seals::{Sealed, Seals};
pub use shared_pages::SharedPages;
pub use writers::{WriteAccess, WriteDenial};

/// The most bytes an object can have: page numbers stay far from the ends of their type.
pub const LARGEST_SIZE: u64 = i64::MAX as u64 & !(PAGE_SIZE as u64 - 1);

struct State {
    pages: PageIndex,
    size: u64,
    mappers: Mappers,
    read_ahead: read_ahead::ReadAhead,
    failures: load::Failures,
    last_token: NonZeroU32,
    write_error: Option<PagerError>,
}

/// Memory that can be shared: see the module.
pub struct PagedObject {
    state: SpinLock<State>,
    /// Woken when a page stops being loaded or written out.
    page_settled: WaitQueue,
    write_turn: AsyncMutex<()>,
    pager: Option<Arc<dyn Pager>>,
    account: Option<Arc<dyn PageAccount>>,
    /// A page was used that begins the next window of read-ahead.
    wants_read_ahead: AtomicBool,
    /// Its number among the objects whose pages can be given up.
    cache_number: Option<u64>,
    /// What may no longer be done to it: [`Seals`].
    seals: AtomicU8,
    writers: writers::Writers,
}

/// What a look for a page found.
pub(crate) enum Lookup {
    /// The page. `writable` says whether a store needs no further question: it is dirty, or nobody cares.
    Present {
        /// Its content.
        frame: SharedFrame,
        /// Whether it may be mapped writable.
        writable: bool,
    },
    /// The page has to be brought first.
    Absent,
    /// The page is there, but the pager wants to be asked before it becomes dirty.
    NeedsPrepareWrite,
    /// There is no such page: the object ends before it.
    BeyondEnd,
    /// There is no memory for the page.
    OutOfMemory,
    /// The page would be more than the object's account allows.
    NoSpace,
}

/// Number of the page that holds a byte.
const fn page_of(offset: u64) -> u64 {
    offset / PAGE_SIZE as u64
}

/// How many pages hold so many bytes.
const fn pages_for(size: u64) -> u64 {
    size.div_ceil(PAGE_SIZE as u64)
}

impl PagedObject {
    /// An object of zeros that nobody stores.
    pub fn anonymous(size: u64) -> Self {
        Self::new(size, None, None)
    }

    /// An object of zeros that nobody stores, and whose pages are charged to an account.
    pub fn accounted(size: u64, account: Arc<dyn PageAccount>) -> Self {
        Self::new(size, None, Some(account))
    }

    /// An object whose pages a pager brings and stores.
    pub fn with_pager(size: u64, pager: Arc<dyn Pager>) -> Self {
        Self::new(size, Some(pager), None)
    }

    fn new(size: u64, pager: Option<Arc<dyn Pager>>, account: Option<Arc<dyn PageAccount>>) -> Self {
        let state = State {
            pages: PageIndex::default(),
            size: size.min(LARGEST_SIZE),
            mappers: Mappers::default(),
            read_ahead: read_ahead::ReadAhead::default(),
            failures: [None; _],
            last_token: NonZeroU32::MIN,
            write_error: None,
        };
        Self {
            state: SpinLock::new(Rank::PAGED_OBJECT, state),
            page_settled: WaitQueue::new("page settled"),
            write_turn: AsyncMutex::new(()),
            pager,
            account,
            wants_read_ahead: AtomicBool::new(false),
            cache_number: None,
            seals: AtomicU8::new(Seals::SEAL.bits()),
            writers: writers::Writers::new(),
        }
    }

    /// The right to write while no other writes who asks for it too. Nothing here takes it by itself.
    #[inline]
    pub fn write_turn(&self) -> &AsyncMutex<()> {
        &self.write_turn
    }

    /// Bytes in the object.
    pub fn size(&self) -> u64 {
        self.state.lock().size
    }

    /// Pages that are in memory or on their way.
    pub fn resident_pages(&self) -> usize {
        self.state.lock().pages.len()
    }

    /// Pages that the pager has yet to store.
    pub fn dirty_pages(&self) -> usize {
        self.state.lock().pages.dirty_len()
    }

    /// Whether pages come from a pager.
    pub fn has_pager(&self) -> bool {
        self.pager.is_some()
    }

    /// Whether a page is in memory.
    pub fn has_page(&self, index: u64) -> bool {
        self.state.lock().pages.get(index).is_some_and(|slot| slot.frame.is_some())
    }

    /// Looks for a page. `for_store` means that the caller will change the page: it becomes dirty.
    pub(crate) fn look_up(&self, index: u64, for_store: bool) -> Lookup {
        let mut state = self.state.lock();
        if index >= pages_for(state.size) {
            return Lookup::BeyondEnd;
        }
        self.look_up_locked(&mut state, index, for_store)
    }

    fn look_up_locked(&self, state: &mut State, index: u64, for_store: bool) -> Lookup {
        let found = state.pages.get(index).and_then(|slot| {
            slot.referenced = true;
            if core::mem::take(&mut slot.begins_read_ahead) {
                self.wants_read_ahead.store(true, Ordering::Relaxed);
            }
            slot.frame.clone()
        });
        let Some(pager) = &self.pager else {
            return match found {
                Some(frame) => Lookup::Present { frame, writable: true },
                None => self.add_zero_page(state, index),
            };
        };
        let Some(frame) = found else { return Lookup::Absent };
        let mut writable = state.pages.is_dirty(index);
        if for_store && !writable {
            if pager.wants_prepare_write() {
                return Lookup::NeedsPrepareWrite;
            }
            state.pages.set_dirty(index, true);
            writable = true;
        }
        Lookup::Present { frame, writable }
    }

    /// Shows every page of a short range that is in memory, with whether it may be mapped writable.
    pub(crate) fn for_each_present(&self, range: Range<u64>, mut act: impl FnMut(u64, &SharedFrame, bool)) {
        let mut state = self.state.lock();
        let range = range.start..range.end.min(pages_for(state.size));
        state.pages.for_each(range, |index, slot, dirty| {
            if let Some(frame) = &slot.frame {
                act(index, frame, self.pager.is_none() || dirty);
            }
        });
    }

    /// Puts a frame in as a page, in place of what was there: for content that the kernel makes itself, before
    /// anybody maps it.
    pub fn insert_page(&self, index: u64, frame: Frame) -> Result<(), OutOfMemory> {
        self.insert_shared(index, frame.into())
    }

    pub(crate) fn insert_shared(&self, index: u64, frame: SharedFrame) -> Result<(), OutOfMemory> {
        let old = {
            let mut state = self.state.lock();
            if state.pages.get(index).is_none() && !self.charge() {
                return Err(OutOfMemory);
            }
            let slot = state.pages.make(index).inspect_err(|_| self.refund(1))?;
            slot.loading = None;
            slot.frame.replace(frame)
        };
        drop(old);
        Ok(())
    }

    fn add_zero_page(&self, state: &mut State, index: u64) -> Lookup {
        if !self.charge() {
            return Lookup::NoSpace;
        }
        match make_zero_page(state, index, self.frame_kind()) {
            Ok(frame) => Lookup::Present { frame, writable: true },
            Err(OutOfMemory) => {
                self.refund(1);
                Lookup::OutOfMemory
            }
        }
    }

    /// What its pages count as.
    fn frame_kind(&self) -> FrameKind {
        if self.pager.is_some() { FrameKind::Object } else { FrameKind::Shared }
    }

    fn charge(&self) -> bool {
        self.account.as_ref().is_none_or(|account| account.charge())
    }

    fn refund(&self, pages: u64) {
        if let Some(account) = &self.account
            && pages > 0
        {
            account.refund(pages);
        }
    }
}

impl Drop for PagedObject {
    fn drop(&mut self) {
        let pages = self.state.get_mut().pages.len() as u64;
        self.refund(pages);
        if let Some(number) = self.cache_number {
            reclaim::forget(number);
        }
    }
}

fn make_zero_page(state: &mut State, index: u64, kind: FrameKind) -> Result<SharedFrame, OutOfMemory> {
    let frame = SharedFrame::from(Frame::allocate_zeroed(kind)?);
    let slot = state.pages.make(index)?;
    slot.referenced = true;
    slot.frame = Some(frame.clone());
    Ok(frame)
}

impl fmt::Debug for PagedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, pages, dirty) = {
            let state = self.state.lock();
            (state.size, state.pages.len(), state.pages.dirty_len())
        };
        write!(f, "PagedObject({size} bytes, {pages} pages, {dirty} dirty)")
    }
}
