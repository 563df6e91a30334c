//! Physical memory: one leaked, page-aligned allocation that starts at physical address 0x8000_0000.

use std::alloc::{Layout, alloc_zeroed};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{PAGE_SIZE, PhysAddr};

const BASE: usize = 0x8000_0000;
const SIZE: usize = if cfg!(miri) { 4 << 20 } else { 256 << 20 };

struct Arena(*mut u8);
// SAFETY: the pointer is to memory that lives as long as the process and is only handed out as raw addresses.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

static ARENA: OnceLock<Arena> = OnceLock::new();
static NEXT_PAGE: AtomicUsize = AtomicUsize::new(0);

fn arena() -> *mut u8 {
    ARENA
        .get_or_init(|| {
            let layout = Layout::from_size_align(SIZE, PAGE_SIZE).expect("a valid layout");
            // SAFETY: the layout is not empty.
            let base = unsafe { alloc_zeroed(layout) };
            assert!(!base.is_null(), "no memory for the machine's memory");
            Arena(base)
        })
        .0
}

/// Where the kernel sees this physical address. Valid for accesses inside physical memory.
#[inline]
pub fn phys_to_virt(address: PhysAddr) -> *mut u8 {
    debug_assert!((BASE..=BASE + SIZE).contains(&address.as_usize()), "{address:?}");
    arena().wrapping_add(address.as_usize().wrapping_sub(BASE))
}

/// The physical address of a kernel pointer into the linear map.
#[inline]
pub fn virt_to_phys(pointer: *const u8) -> PhysAddr {
    PhysAddr::new(pointer.addr() - arena().addr() + BASE)
}

/// Sets `count` pages of the machine's memory aside for one test, so that tests of one process do not meet.
pub fn reserve_pages(count: usize) -> PhysAddr {
    let first = NEXT_PAGE.fetch_add(count, Ordering::Relaxed);
    assert!(first + count <= SIZE / PAGE_SIZE, "the host's arena is used up");
    PhysAddr::new(BASE + first * PAGE_SIZE)
}

/// Fills a frame with zeros if the machine has a fast way to do so; this one has not.
///
/// # Safety
/// None here; on machines that have one, the frame must be one whose content the caller may change.
#[inline]
pub const unsafe fn zero_frame(_frame: PhysAddr) -> bool {
    false
}
