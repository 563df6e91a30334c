//! The active page tables of a virtual hart, and a software walk through them.

use std::cell::Cell;

use super::memory::phys_to_virt;
use crate::{Access, LEVELS, PageFault, PageFlags, PageTableEntry, PhysAddr, VirtAddr};
use crate::{index_at_level, page_size_at_level};

/// Whether there are other harts whose TLB must be asked: a software walk keeps none.
pub const REMOTE_HARTS_EXIST: bool = false;
/// How many address-space numbers the machine tells apart.
pub const fn address_space_numbers() -> usize {
    1 << 16
}

thread_local! {
    static ROOT: Cell<Option<PhysAddr>> = const { Cell::new(None) };
}

/// Makes the tables at `root` translate user addresses on this hart.
pub fn activate(root: PhysAddr, _address_space: u16) {
    ROOT.set(Some(root));
}

/// The root of the tables in force on this hart.
pub fn active_root() -> Option<PhysAddr> {
    ROOT.get()
}

/// The table whose upper half every address space shares; the host's kernel half is the process itself.
pub fn kernel_root() -> Option<PhysAddr> {
    None
}

/// Forgets one page's translation.
pub fn flush_page(_address: VirtAddr, _address_space: Option<u16>) {}
/// Forgets an address space's translations.
pub fn flush_address_space(_address_space: u16) {}
/// Forgets all translations.
pub fn flush_all() {}

/// Translates a user address as the machine would for user mode, setting ACCESSED and DIRTY.
pub(crate) fn translate(address: VirtAddr, access: Access) -> Result<*mut u8, PageFault> {
    let fault = PageFault { address, access };
    let mut table = ROOT.get().ok_or(fault)?;
    for level in (0..LEVELS).rev() {
        let slot = phys_to_virt(table).cast::<u64>().wrapping_add(index_at_level(address, level));
        // SAFETY: `table` came from a page-table entry or from `activate`: a whole table in the arena. Other
        // threads of a test may change entries, so the access is atomic.
        let slot = unsafe { std::sync::atomic::AtomicU64::from_ptr(slot) };
        let entry = PageTableEntry::from_bits(slot.load(std::sync::atomic::Ordering::Acquire));
        if !entry.is_valid() {
            return Err(fault);
        }
        if entry.is_table() {
            table = entry.frame();
            continue;
        }
        let wanted = match access {
            Access::Read => PageFlags::READ,
            Access::Write => PageFlags::WRITE,
            Access::Execute => PageFlags::EXECUTE,
        };
        if !entry.flags().contains(wanted | PageFlags::USER) {
            return Err(fault);
        }
        let noted = match access {
            Access::Write => PageFlags::ACCESSED | PageFlags::DIRTY,
            _ => PageFlags::ACCESSED,
        };
        slot.fetch_or(noted.bits(), std::sync::atomic::Ordering::AcqRel);
        let offset = address.as_usize() & (page_size_at_level(level) - 1);
        return Ok(phys_to_virt(entry.frame() + offset));
    }
    Err(fault)
}
