//! The page that kernel and programs share: 64-bit words, written by the kernel only.
//!
//! Neither side ever holds a reference into it: the kernel has it as shared pages, the image as an address, a test as
//! an array. All of them are [`ReadWords`], and the types below serve to compute offsets.

use core::mem::offset_of;
use core::sync::atomic::Ordering;

use crate::clock::Clock;

/// Bytes in the page.
pub const PAGE_BYTES: usize = 4096;

/// The clocks that have a place: every clock of Linux with a small number.
pub const CLOCK_COUNT: usize = 12;

/// The keys of `riscv_hwprobe` that Linux 6.12 knows: 0 to 9.
pub const PROBE_KEY_COUNT: usize = 10;

/// The numbers of the clocks that the page can serve.
pub mod clock_id {
    #![allow(missing_docs, reason = "Linux's names: clock_gettime(2) documents them")]
    pub const CLOCK_REALTIME: u32 = 0;
    pub const CLOCK_MONOTONIC: u32 = 1;
    pub const CLOCK_MONOTONIC_RAW: u32 = 4;
    pub const CLOCK_REALTIME_COARSE: u32 = 5;
    pub const CLOCK_MONOTONIC_COARSE: u32 = 6;
    pub const CLOCK_BOOTTIME: u32 = 7;
    pub const CLOCK_TAI: u32 = 11;
}

/// What lies where. Only its offsets are used.
#[repr(C)]
pub(crate) struct Layout {
    /// Odd while the kernel changes [`Layout::clocks`].
    pub sequence: u64,
    /// What `gettimeofday` says about the timezone: minutes west in the low half, the kind of daylight saving above.
    pub timezone: u64,
    /// For which harts [`Layout::probe`] speaks: see [`probe_scope`].
    pub probe_scope: u64,
    pub reserved: u64,
    /// By number.
    pub clocks: [Clock; CLOCK_COUNT],
    /// Values of `riscv_hwprobe`, by key.
    pub probe: [u64; PROBE_KEY_COUNT],
}

/// Values of [`Layout::probe_scope`].
pub(crate) mod probe_scope {
    /// There are no values.
    pub const NOTHING: u64 = 0;
    /// The values are those that all harts together have.
    pub const ALL_HARTS: u64 = 1;
    /// The values are also those of each hart.
    pub const EACH_HART: u64 = 2;
}

const _: () = {
    assert!(size_of::<Layout>() <= PAGE_BYTES);
    assert!(size_of::<Clock>() == 32);
    assert!(offset_of!(Layout, clocks) == 32);
    assert!(offset_of!(Layout, probe) == 416);
};

pub(crate) const SEQUENCE: usize = offset_of!(Layout, sequence);
pub(crate) const TIMEZONE: usize = offset_of!(Layout, timezone);
pub(crate) const PROBE_SCOPE: usize = offset_of!(Layout, probe_scope);

/// Where a clock lies.
#[inline(always)]
pub(crate) const fn clock_offset(number: usize) -> usize {
    offset_of!(Layout, clocks) + number * size_of::<Clock>()
}

/// Where a value of `riscv_hwprobe` lies.
#[inline(always)]
pub(crate) const fn probe_offset(key: usize) -> usize {
    offset_of!(Layout, probe) + key * size_of::<u64>()
}

/// The page, for reading.
pub trait ReadWords {
    /// Loads the word at a byte offset, which is a multiple of 8 within the page.
    fn load(&self, offset: usize, ordering: Ordering) -> u64;
}

/// The page, for its writer.
pub trait WriteWords: ReadWords {
    /// Stores the word at a byte offset, which is a multiple of 8 within the page.
    fn store(&self, offset: usize, value: u64, ordering: Ordering);
}

impl ReadWords for [crate::shim::AtomicU64] {
    #[inline]
    fn load(&self, offset: usize, ordering: Ordering) -> u64 {
        self[offset / size_of::<u64>()].load(ordering)
    }
}

impl WriteWords for [crate::shim::AtomicU64] {
    #[inline]
    fn store(&self, offset: usize, value: u64, ordering: Ordering) {
        self[offset / size_of::<u64>()].store(value, ordering);
    }
}

impl<W: ReadWords + ?Sized> ReadWords for &W {
    #[inline]
    fn load(&self, offset: usize, ordering: Ordering) -> u64 {
        (**self).load(offset, ordering)
    }
}

impl<W: WriteWords + ?Sized> WriteWords for &W {
    #[inline]
    fn store(&self, offset: usize, value: u64, ordering: Ordering) {
        (**self).store(offset, value, ordering);
    }
}
