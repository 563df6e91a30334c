//! The kernel's half of the address space: the linear map with W^X for the image, and the stack window.
//!
//! The tables are static: nothing needs to be allocated before memory is mapped, and the upper half of the root never
//! changes once it is built, so every user root can copy it.

use core::cell::UnsafeCell;

use super::stacks::WINDOW_SIZE;
use super::{memory, paging};
use crate::{
    ENTRIES_PER_TABLE, KERNEL_STACK_WINDOW, LINEAR_MAP, PAGE_SIZE, PageFlags, PageTableEntry, PhysAddr,
    VirtAddr, index_at_level, page_size_at_level,
};

#[repr(C, align(4096))]
struct Table(UnsafeCell<[PageTableEntry; ENTRIES_PER_TABLE]>);
// SAFETY: written by the boot hart only, before other harts run, but for stack pages, which are written while the
// boot hart is the only one that maps (see `map_stack_page`).
unsafe impl Sync for Table {}

impl Table {
    const fn new() -> Self {
        Self(UnsafeCell::new([PageTableEntry::EMPTY; ENTRIES_PER_TABLE]))
    }
    fn address(&self) -> PhysAddr {
        memory::virt_to_phys(self.0.get().cast())
    }
    fn set(&self, index: usize, entry: PageTableEntry) {
        assert!(index < ENTRIES_PER_TABLE);
        // SAFETY: inside the table; one writer (see above).
        unsafe { self.0.get().cast::<PageTableEntry>().add(index).write_volatile(entry) };
    }
}

/// The most that the kernel's image may occupy, in large pages: their small pages are mapped one by one.
const MOST_IMAGE_LARGE_PAGES: usize = 16;
const STACK_TABLES: usize = WINDOW_SIZE / page_size_at_level(1);

static ROOT: Table = Table::new();
static IMAGE_GIGAPAGE: Table = Table::new();
static IMAGE_LARGE_PAGES: [Table; MOST_IMAGE_LARGE_PAGES] = [const { Table::new() }; MOST_IMAGE_LARGE_PAGES];
static STACK_WINDOW_MIDDLE: Table = Table::new();
static STACK_WINDOW_LEAVES: [Table; STACK_TABLES] = [const { Table::new() }; STACK_TABLES];

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __read_only_end: u8;
    static __image_end: u8;
}

fn data_flags() -> PageFlags {
    PageFlags::READ | PageFlags::WRITE | PageFlags::GLOBAL | PageFlags::ACCESSED | PageFlags::DIRTY
}

/// First and last-but-one physical address of the kernel's image, symbols appended by the build included.
pub(super) fn image_range(appended_bytes: usize) -> core::ops::Range<PhysAddr> {
    let start = memory::virt_to_phys(&raw const __image_start);
    let end = memory::virt_to_phys(&raw const __image_end) + appended_bytes;
    start..PhysAddr::new(end.as_usize().next_multiple_of(PAGE_SIZE))
}

/// Builds the kernel's half for physical addresses up to `memory_end` and switches this hart to it.
pub(super) fn build(memory_end: PhysAddr) {
    let gigapage = page_size_at_level(2);
    let root_index = index_at_level(VirtAddr::new(LINEAR_MAP), 2);
    let gigapages = memory_end.as_usize().div_ceil(gigapage);
    assert!(root_index + gigapages <= index_at_level(VirtAddr::new(KERNEL_STACK_WINDOW), 2));
    for number in 0..gigapages {
        let entry = PageTableEntry::page(PhysAddr::new(number * gigapage), data_flags());
        ROOT.set(root_index + number, entry);
    }
    protect_image(root_index);

    let window = VirtAddr::new(KERNEL_STACK_WINDOW);
    ROOT.set(index_at_level(window, 2), PageTableEntry::table(STACK_WINDOW_MIDDLE.address()));
    for (number, leaf) in STACK_WINDOW_LEAVES.iter().enumerate() {
        let address = window + number * page_size_at_level(1);
        STACK_WINDOW_MIDDLE.set(index_at_level(address, 1), PageTableEntry::table(leaf.address()));
    }
    paging::set_kernel_root(ROOT.address());
    switch_to();
}

/// Splits the gigapage that holds the image: large pages around it, small pages with their own rights inside.
fn protect_image(root_index: usize) {
    let (gigapage, large_page) = (page_size_at_level(2), page_size_at_level(1));
    let image = image_range(0);
    let first_large_page = image.start.as_usize() / large_page * large_page;
    let gigapage_start = image.start.as_usize() / gigapage * gigapage;
    let text_end = memory::virt_to_phys(&raw const __text_end);
    let read_only_end = memory::virt_to_phys(&raw const __read_only_end);

    for index in 0..ENTRIES_PER_TABLE {
        let address = PhysAddr::new(gigapage_start + index * large_page);
        IMAGE_GIGAPAGE.set(index, PageTableEntry::page(address, data_flags()));
    }
    let split = image.end.as_usize().div_ceil(large_page) - first_large_page / large_page;
    assert!(split <= MOST_IMAGE_LARGE_PAGES, "the kernel image is too large for its page tables");
    for (number, table) in IMAGE_LARGE_PAGES[..split].iter().enumerate() {
        let start = PhysAddr::new(first_large_page + number * large_page);
        for index in 0..ENTRIES_PER_TABLE {
            let address = start + index * PAGE_SIZE;
            let fixed = PageFlags::GLOBAL | PageFlags::ACCESSED | PageFlags::READ;
            let flags = if (image.start..text_end).contains(&address) {
                fixed | PageFlags::EXECUTE
            } else if (text_end..read_only_end).contains(&address) {
                fixed
            } else {
                data_flags()
            };
            table.set(index, PageTableEntry::page(address, flags));
        }
        let index = (start.as_usize() - gigapage_start) / large_page;
        IMAGE_GIGAPAGE.set(index, PageTableEntry::table(table.address()));
    }
    let number = gigapage_start / gigapage;
    ROOT.set(root_index + number, PageTableEntry::table(IMAGE_GIGAPAGE.address()));
}

/// Switches this hart to the kernel's tables, with no user half.
pub(super) fn switch_to() {
    paging::activate(ROOT.address(), 0);
    paging::flush_all();
}

/// Maps one page of the stack window. Only the boot hart calls it, before it starts the hart that will use the stack.
pub(super) fn map_stack_page(address: VirtAddr, frame: PhysAddr) {
    let number = (address.as_usize() - KERNEL_STACK_WINDOW) / page_size_at_level(1);
    STACK_WINDOW_LEAVES[number].set(index_at_level(address, 0), PageTableEntry::page(frame, data_flags()));
    paging::flush_page(address, None);
}
