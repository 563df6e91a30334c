//! `satp` and `sfence.vma`.

use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::{PAGE_SHIFT, PhysAddr, VirtAddr};

/// Whether there are other harts whose TLB must be asked.
pub const REMOTE_HARTS_EXIST: bool = true;

const MODE_SV39: usize = 8 << 60;
const ADDRESS_SPACE_SHIFT: usize = 44;
const ROOT_MASK: usize = (1 << ADDRESS_SPACE_SHIFT) - 1;

const ADDRESS_SPACE_MASK: usize = 0xffff;

static KERNEL_ROOT: AtomicUsize = AtomicUsize::new(0);
static ADDRESS_SPACE_NUMBERS: AtomicUsize = AtomicUsize::new(1);

/// How many address-space numbers the machine tells apart; 1 if it does not.
pub fn address_space_numbers() -> usize {
    ADDRESS_SPACE_NUMBERS.load(Ordering::Relaxed)
}

/// Finds out how many address-space numbers there are: bits that the machine does not implement stay zero.
pub(super) fn discover_address_space_numbers() {
    let (before, found): (usize, usize);
    // SAFETY: the root stays what it is, so the code goes on in the same mapping; what was remembered under the number
    // that is tried out is forgotten.
    unsafe {
        asm!(
            "csrr {before}, satp",
            "or {found}, {before}, {all}",
            "csrw satp, {found}",
            "csrr {found}, satp",
            "csrw satp, {before}",
            "sfence.vma",
            before = out(reg) before,
            found = out(reg) found,
            all = in(reg) ADDRESS_SPACE_MASK << ADDRESS_SPACE_SHIFT,
            options(nostack, preserves_flags),
        );
    }
    debug_assert_eq!(before >> ADDRESS_SPACE_SHIFT & ADDRESS_SPACE_MASK, 0);
    let highest = found >> ADDRESS_SPACE_SHIFT & ADDRESS_SPACE_MASK;
    ADDRESS_SPACE_NUMBERS.store(highest + 1, Ordering::Relaxed);
}

/// Makes the tables at `root` translate user addresses on this hart, under the number `address_space`.
#[inline]
pub fn activate(root: PhysAddr, address_space: u16) {
    let value = MODE_SV39 | (address_space as usize) << ADDRESS_SPACE_SHIFT | root.page_number();
    // SAFETY: every root shares the kernel's upper half, so the code goes on in the same mapping.
    unsafe { asm!("csrw satp, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// The root of the tables in force on this hart.
#[inline]
pub fn active_root() -> Option<PhysAddr> {
    let value: usize;
    // SAFETY: reads a register.
    unsafe { asm!("csrr {}, satp", out(reg) value, options(nomem, nostack, preserves_flags)) };
    (value != 0).then(|| PhysAddr::new((value & ROOT_MASK) << PAGE_SHIFT))
}

/// The table whose upper half every address space shares. Its upper entries never change once user space exists.
pub fn kernel_root() -> Option<PhysAddr> {
    match KERNEL_ROOT.load(Ordering::Acquire) {
        0 => None,
        root => Some(PhysAddr::new(root)),
    }
}

pub(super) fn set_kernel_root(root: PhysAddr) {
    KERNEL_ROOT.store(root.as_usize(), Ordering::Release);
}

/// Forgets one page's translation, in one address space or in all.
#[inline]
pub fn flush_page(address: VirtAddr, address_space: Option<u16>) {
    // SAFETY: flushing is always sound.
    unsafe {
        match address_space {
            Some(id) => asm!("sfence.vma {}, {}", in(reg) address.as_usize(), in(reg) usize::from(id),
                options(nostack, preserves_flags)),
            None => asm!("sfence.vma {}", in(reg) address.as_usize(), options(nostack, preserves_flags)),
        }
    }
}

/// Forgets an address space's translations, but not the global ones.
#[inline]
pub fn flush_address_space(address_space: u16) {
    // SAFETY: flushing is always sound.
    unsafe {
        asm!("sfence.vma zero, {}", in(reg) usize::from(address_space), options(nostack, preserves_flags))
    };
}

/// Forgets all translations.
#[inline]
pub fn flush_all() {
    // SAFETY: flushing is always sound.
    unsafe { asm!("sfence.vma", options(nostack, preserves_flags)) };
}
