//! The data page, as seen from the image.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::layout::ReadWords;

/// The page right below the image.
pub(super) struct MappedPage(*const u8);

impl MappedPage {
    #[inline(always)]
    pub(super) fn here() -> Self {
        let address: *const u8;
        // A symbol of the linker script. By name it would be looked up in a table that needs relocation.
        // SAFETY: computes an address.
        unsafe {
            asm!("lla {}, data_page", out(reg) address, options(pure, nomem, nostack, preserves_flags))
        };
        Self(address)
    }
}

impl ReadWords for MappedPage {
    #[inline(always)]
    fn load(&self, offset: usize, ordering: Ordering) -> u64 {
        // SAFETY: the kernel maps the page with the image, and the offset is a multiple of 8 within it.
        unsafe { (*self.0.add(offset).cast::<AtomicU64>()).load(ordering) }
    }
}
