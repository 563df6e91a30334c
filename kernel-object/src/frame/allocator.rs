//! Which frames are free, and what is noted about the others.
//!
//! Free frames are bits of `bitmap-allocator` trees. One tree has a fixed capacity, so memory is cut into chunks of
//! [`CHUNK_FRAMES`] (256 MiB); the trees, and eight bytes of notes per frame, are carved out of the memory itself at
//! boot. A machine of 8 GiB gives up 16.3 MiB for them, one of 128 MiB gives up 0.26 MiB; the kernel's image none.
//! The notes cover holes between the regions too, which is cheap on the machines we know (few, small holes).
//!
//! In front of the trees each hart has a small cache, so the usual allocation takes no lock. The price: up to
//! [`CACHE_CAPACITY`] free frames per hart are invisible to others, who may be told that memory is exhausted a
//! little early.

use core::ops::Range;
use core::sync::atomic::{AtomicIsize, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use bitmap_allocator::{BitAlloc, BitAlloc64K};
use kernel_hal::{PAGE_SHIFT, PAGE_SIZE, PhysAddr, memory};
use ksync::{PerHart, Rank, SpinLock};

use super::{FrameKind, OutOfMemory, Statistics, contents};

const CHUNK_FRAMES: usize = BitAlloc64K::CAP;
const CACHE_CAPACITY: usize = 64;
const CACHE_BATCH: usize = 32;
const NOTE_SIZE: usize = size_of::<Note>();

/// What is noted about one frame.
#[derive(Default)]
pub(super) struct Note {
    /// How many owners the frame has; 0 while it is free.
    pub(super) references: AtomicU32,
    /// The [`FrameKind`] in the low eight bits; above them how many of the references are pins, or whatever else a
    /// frame with a single owner counts. A table frame counts in sixteen bits, and has eight marks above them.
    pub(super) extra: AtomicU32,
}

pub(super) const COUNT_SHIFT: u32 = 8;
pub(super) const KIND_MASK: u32 = (1 << COUNT_SHIFT) - 1;
pub(super) const COUNT_MASK: u32 = u16::MAX as u32;
pub(super) const MARKS_SHIFT: u32 = 24;

/// The frames that only one hart can see. Only that hart changes it, interrupts masked; the fields are atomics so
/// that statistics may look, and cost what plain fields would.
struct Cache {
    frames: [AtomicU32; CACHE_CAPACITY],
    count: AtomicUsize,
    /// Frames handed out minus frames taken back by this hart; only the sum over all harts means something.
    used: [AtomicIsize; FrameKind::COUNT],
}

impl Cache {
    const fn new() -> Self {
        Self {
            frames: [const { AtomicU32::new(0) }; CACHE_CAPACITY],
            count: AtomicUsize::new(0),
            used: [const { AtomicIsize::new(0) }; FrameKind::COUNT],
        }
    }

    #[inline]
    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    #[inline]
    fn push(&self, number: u32) {
        let count = self.count();
        self.frames[count].store(number, Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Relaxed);
    }

    #[inline]
    fn pop(&self) -> Option<u32> {
        let count = self.count().checked_sub(1)?;
        self.count.store(count, Ordering::Relaxed);
        Some(self.frames[count].load(Ordering::Relaxed))
    }

    /// Takes the `taken` frames that were put in first out, after `act` saw each.
    fn take_coldest(&self, taken: usize, mut act: impl FnMut(u32)) {
        let count = self.count();
        for frame in &self.frames[..taken] {
            act(frame.load(Ordering::Relaxed));
        }
        for index in taken..count {
            self.frames[index - taken].store(self.frames[index].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.count.store(count - taken, Ordering::Relaxed);
    }

    #[inline]
    fn note_use(&self, kind: usize, change: isize) {
        let used = &self.used[kind];
        used.store(used.load(Ordering::Relaxed) + change, Ordering::Relaxed);
    }
}

struct Central {
    chunks: &'static mut [BitAlloc64K],
    /// No chunk below this one has a free frame.
    first_candidate: usize,
}

/// An allocator of frames. The kernel has one; tests make their own.
pub struct FrameAllocator {
    caches: PerHart<Cache>,
    central: SpinLock<Central>,
    notes: AtomicPtr<Note>,
    first_frame: AtomicUsize,
    frame_span: AtomicUsize,
    total: AtomicUsize,
    central_free: AtomicUsize,
    reserve: AtomicUsize,
    #[cfg(not(target_os = "none"))]
    fail_after: AtomicIsize,
}

impl FrameAllocator {
    /// An allocator that has no memory yet.
    pub const fn new() -> Self {
        Self {
            caches: PerHart::new([const { Cache::new() }; kernel_hal::MAX_HARTS]),
            central: SpinLock::new(Rank::FRAME_ALLOCATOR, Central { chunks: &mut [], first_candidate: 0 }),
            notes: AtomicPtr::new(core::ptr::null_mut()),
            first_frame: AtomicUsize::new(0),
            frame_span: AtomicUsize::new(0),
            total: AtomicUsize::new(0),
            central_free: AtomicUsize::new(0),
            reserve: AtomicUsize::new(0),
            #[cfg(not(target_os = "none"))]
            fail_after: AtomicIsize::new(isize::MAX),
        }
    }

    /// Takes over the free memory of the machine. Ends that are not page-aligned are cut off. Panics if called twice
    /// or if no region can hold the notes: a kernel without memory cannot even say so politely.
    ///
    /// # Safety
    /// The regions must be memory that the linear map covers, must not overlap, and must be used by nobody else.
    pub unsafe fn init(&self, regions: &[Range<PhysAddr>]) {
        let frames = |region: &Range<PhysAddr>| {
            // A handle is never zero, so the frame at address 0 is left alone.
            let start = region.start.as_usize().div_ceil(PAGE_SIZE).max(1);
            start..region.end.page_number().max(start)
        };
        let usable = || regions.iter().map(frames).filter(|frames| !frames.is_empty());
        let first = usable().map(|frames| frames.start).min().expect("no memory");
        let end = usable().map(|frames| frames.end).max().expect("no memory");
        let span = end - first;
        let chunk_count = span.div_ceil(CHUNK_FRAMES);

        let chunk_bytes = chunk_count * size_of::<BitAlloc64K>();
        let metadata_pages = (span * NOTE_SIZE).div_ceil(PAGE_SIZE) + chunk_bytes.div_ceil(PAGE_SIZE);
        let home = usable().max_by_key(Range::len).expect("no memory");
        assert!(home.len() > metadata_pages, "no region can hold the notes");
        let home = home.start;

        let notes: *mut Note = memory::phys_to_virt(PhysAddr::from_page_number(home)).cast();
        let chunks_at = home + (span * NOTE_SIZE).div_ceil(PAGE_SIZE);
        let chunks: *mut BitAlloc64K = memory::phys_to_virt(PhysAddr::from_page_number(chunks_at)).cast();
        // SAFETY: the pages from `home` on are ours by this function's contract and large enough by the computation
        // above; page alignment suffices for both types; all-zero bytes are valid notes.
        let chunks = unsafe {
            notes.write_bytes(0, span);
            for index in 0..chunk_count {
                chunks.add(index).write(BitAlloc64K::DEFAULT);
            }
            core::slice::from_raw_parts_mut(chunks, chunk_count)
        };

        let mut total = 0;
        for mut frames in usable() {
            if frames.start == home {
                frames.start += metadata_pages;
            }
            total += frames.len();
            each_chunk(frames.start - first, frames.len(), |chunk, bits| chunks[chunk].insert(bits));
        }
        let mut central = self.central.lock();
        assert!(central.chunks.is_empty(), "the frame allocator was initialised twice");
        central.chunks = chunks;
        self.first_frame.store(first, Ordering::Relaxed);
        self.frame_span.store(span, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.central_free.store(total, Ordering::Relaxed);
        self.notes.store(notes, Ordering::Release);
    }

    /// Keeps the last `frames` for the kernel itself: programs' pages and their tables are refused before.
    pub fn set_reserve(&self, frames: usize) {
        self.reserve.store(frames, Ordering::Relaxed);
    }

    /// Whether the reserve has not been touched: what a program asks for may still be tried.
    pub fn has_headroom(&self) -> bool {
        self.central_free.load(Ordering::Relaxed) >= self.reserve.load(Ordering::Relaxed)
    }

    /// Whether programs could have so many frames more.
    pub fn has_room(&self, frames: usize) -> bool {
        self.central_free.load(Ordering::Relaxed) >= self.reserve.load(Ordering::Relaxed) + frames
    }

    /// All frames that the allocator was given.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// How much memory there is, and who has it.
    pub fn statistics(&self) -> Statistics {
        let mut used = [0; FrameKind::COUNT];
        let mut cached = 0;
        for (_, cache) in self.caches.iter() {
            cached += cache.count();
            for (sum, part) in used.iter_mut().zip(&cache.used) {
                *sum += part.load(Ordering::Relaxed);
            }
        }
        Statistics {
            total: self.total.load(Ordering::Relaxed),
            free: self.central_free.load(Ordering::Relaxed) + cached,
            used: used.map(|sum: isize| sum.max(0) as usize),
        }
    }

    /// Whether the frame number belongs to the memory of this allocator.
    pub(super) fn manages(&self, number: u32) -> bool {
        (number as usize).wrapping_sub(self.first_frame.load(Ordering::Relaxed))
            < self.frame_span.load(Ordering::Relaxed)
    }

    /// The notes of a frame.
    #[inline]
    pub(super) fn note(&self, number: u32) -> &Note {
        debug_assert!(self.manages(number));
        let index = number as usize - self.first_frame.load(Ordering::Relaxed);
        // SAFETY: frame numbers come from this allocator, so there is a note for each; notes live for ever and are
        // atomics. `init` published them before the first frame was handed out.
        unsafe { &*self.notes.load(Ordering::Relaxed).add(index) }
    }

    /// Takes a frame. Its content is whatever it was.
    #[inline]
    pub(super) fn allocate(&self, kind: FrameKind) -> Result<u32, OutOfMemory> {
        #[cfg(not(target_os = "none"))]
        self.inject_failure()?;
        let cache = self.caches.masked();
        let number = match cache.pop() {
            Some(number) => number,
            None => self.refill(&cache, kind)?,
        };
        cache.note_use(kind as usize, 1);
        drop(cache);
        self.start_notes(number, kind);
        Ok(number)
    }

    #[inline]
    fn start_notes(&self, number: u32, kind: FrameKind) {
        let note = self.note(number);
        debug_assert_eq!(note.references.load(Ordering::Relaxed), 0, "a free frame has an owner");
        note.references.store(1, Ordering::Relaxed);
        note.extra.store(kind as u32, Ordering::Relaxed);
    }

    /// Fills an empty cache with a batch, of which one frame is returned instead.
    #[cold]
    fn refill(&self, cache: &Cache, kind: FrameKind) -> Result<u32, OutOfMemory> {
        let mut central = self.central.lock();
        let free = self.central_free.load(Ordering::Relaxed);
        let kept = if kind.may_use_reserve() { 0 } else { self.reserve.load(Ordering::Relaxed) };
        let batch = CACHE_BATCH.min(free.saturating_sub(kept));
        let first_frame = self.first_frame.load(Ordering::Relaxed);
        let mut numbers = [0; CACHE_BATCH];
        let mut taken = 0;
        while taken < batch {
            let candidate = central.first_candidate;
            let Some(chunk) = central.chunks.get_mut(candidate) else { break };
            match chunk.alloc() {
                Some(bit) => {
                    numbers[taken] = (first_frame + candidate * CHUNK_FRAMES + bit) as u32;
                    taken += 1;
                }
                None => central.first_candidate += 1,
            }
        }
        debug_assert_eq!(taken, batch, "the count of free frames is wrong");
        self.central_free.store(free - taken, Ordering::Relaxed);
        drop(central);
        let (&first, rest) = numbers[..taken].split_first().ok_or(OutOfMemory)?;
        // The cache is used from its end: neighbours in memory are handed out in ascending order.
        rest.iter().rev().for_each(|&number| cache.push(number));
        Ok(first)
    }

    /// Gives a frame back whose last owner is gone.
    #[inline]
    pub(super) fn free(&self, number: u32) {
        let note = self.note(number);
        let kind = (note.extra.load(Ordering::Relaxed) & KIND_MASK) as usize;
        debug_assert_eq!(note.references.load(Ordering::Relaxed), 0, "a frame with owners is freed");
        let cache = self.caches.masked();
        cache.note_use(kind, -1);
        if cache.count() == CACHE_CAPACITY {
            self.drain(&cache, CACHE_BATCH);
        }
        cache.push(number);
    }

    /// Returns the `count` coldest frames of a cache to the trees.
    #[cold]
    fn drain(&self, cache: &Cache, count: usize) {
        let mut central = self.central.lock();
        cache.take_coldest(count, |number| self.return_to_chunk(&mut central, number));
        self.central_free.fetch_add(count, Ordering::Relaxed);
    }

    fn return_to_chunk(&self, central: &mut Central, number: u32) {
        let index = number as usize - self.first_frame.load(Ordering::Relaxed);
        let chunk = index / CHUNK_FRAMES;
        let was_used = central.chunks[chunk].dealloc(index % CHUNK_FRAMES);
        debug_assert!(was_used, "frame {number:#x} is freed twice");
        central.first_candidate = central.first_candidate.min(chunk);
    }

    /// Returns this hart's cached frames to the trees, where every hart and contiguous requests can find them.
    pub fn drain_cache(&self) {
        let cache = self.caches.masked();
        self.drain(&cache, cache.count());
    }

    /// Takes `count` neighbouring frames whose first number is a multiple of `1 << alignment_log2`.
    pub(super) fn allocate_contiguous(
        &self,
        count: usize,
        alignment_log2: u32,
        kind: FrameKind,
    ) -> Result<u32, OutOfMemory> {
        #[cfg(not(target_os = "none"))]
        self.inject_failure()?;
        if count == 0 || count > CHUNK_FRAMES || alignment_log2 > CHUNK_FRAMES.ilog2() {
            return Err(OutOfMemory);
        }
        let found = self.find_contiguous(count, alignment_log2, kind).or_else(|_| {
            self.drain_cache();
            self.find_contiguous(count, alignment_log2, kind)
        })?;
        for number in found..found + count as u32 {
            self.start_notes(number, kind);
        }
        self.caches.masked().note_use(kind as usize, count as isize);
        Ok(found)
    }

    fn find_contiguous(
        &self,
        count: usize,
        alignment_log2: u32,
        kind: FrameKind,
    ) -> Result<u32, OutOfMemory> {
        let mut central = self.central.lock();
        let free = self.central_free.load(Ordering::Relaxed);
        let kept = if kind.may_use_reserve() { 0 } else { self.reserve.load(Ordering::Relaxed) };
        if free < kept + count {
            return Err(OutOfMemory);
        }
        let first_frame = self.first_frame.load(Ordering::Relaxed);
        // Bits are relative to the first frame, which need not be aligned itself: ask for enough to align within.
        let step = 1 << alignment_log2;
        let misaligned = !first_frame.is_multiple_of(step);
        let asked = if misaligned { count + step - 1 } else { count };
        let bit_alignment = if misaligned { 0 } else { alignment_log2 as usize };
        let start = central.first_candidate;
        for (index, chunk) in central.chunks.iter_mut().enumerate().skip(start) {
            let Some(bit) = chunk.alloc_contiguous(None, asked, bit_alignment) else { continue };
            let base = first_frame + index * CHUNK_FRAMES;
            let first = (base + bit).next_multiple_of(step);
            let (before, after) = (bit..first - base, first - base + count..bit + asked);
            for surplus in [before, after] {
                if !surplus.is_empty() {
                    chunk.insert(surplus);
                }
            }
            self.central_free.store(free - count, Ordering::Relaxed);
            return Ok(first as u32);
        }
        Err(OutOfMemory)
    }

    /// Gives back what [`Self::allocate_contiguous`] took.
    pub(super) fn free_contiguous(&self, first: u32, count: usize) {
        let kind = (self.note(first).extra.load(Ordering::Relaxed) & KIND_MASK) as usize;
        for number in first..first + count as u32 {
            self.note(number).references.store(0, Ordering::Relaxed);
        }
        let index = first as usize - self.first_frame.load(Ordering::Relaxed);
        {
            let mut central = self.central.lock();
            each_chunk(index, count, |chunk, bits| {
                central.chunks[chunk].insert(bits);
                central.first_candidate = central.first_candidate.min(chunk);
            });
            self.central_free.fetch_add(count, Ordering::Relaxed);
        }
        self.caches.masked().note_use(kind, -(count as isize));
    }

    /// Lets `successes` allocations pass and refuses one after them; `None` refuses nothing. For tests of what
    /// happens when memory runs out.
    #[cfg(not(target_os = "none"))]
    pub fn fail_after(&self, successes: Option<usize>) {
        self.fail_after.store(successes.map_or(isize::MAX, |count| count as isize), Ordering::Relaxed);
    }

    /// Whether the refusal that [`Self::fail_after`] ordered has happened.
    #[cfg(not(target_os = "none"))]
    pub fn has_failed(&self) -> bool {
        self.fail_after.load(Ordering::Relaxed) < 0
    }

    #[cfg(not(target_os = "none"))]
    fn inject_failure(&self) -> Result<(), OutOfMemory> {
        if self.fail_after.load(Ordering::Relaxed) == isize::MAX {
            return Ok(());
        }
        if self.fail_after.fetch_sub(1, Ordering::Relaxed) == 0 { Err(OutOfMemory) } else { Ok(()) }
    }
}

impl Default for FrameAllocator {
    fn default() -> Self {
        Self::new()
    }
}

/// Splits a run of frame indices at chunk boundaries.
fn each_chunk(start: usize, count: usize, mut act: impl FnMut(usize, Range<usize>)) {
    let (mut at, end) = (start, start + count);
    while at < end {
        let chunk = at / CHUNK_FRAMES;
        let stop = end.min((chunk + 1) * CHUNK_FRAMES);
        let base = chunk * CHUNK_FRAMES;
        act(chunk, at - base..stop - base);
        at = stop;
    }
}

/// Where the frame starts in physical memory.
#[inline]
pub(super) const fn address_of(number: u32) -> PhysAddr {
    PhysAddr::new((number as usize) << PAGE_SHIFT)
}

/// Fills a frame that nobody else can see with zeros.
#[inline]
pub(super) fn zero_fresh(number: u32) {
    // SAFETY: the frame was just allocated, so it exists and has no other owner.
    unsafe { contents::zero(address_of(number)) };
}
