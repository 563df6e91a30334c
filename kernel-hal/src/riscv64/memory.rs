//! The linear map: every physical address, at a fixed distance.

use crate::{LINEAR_MAP, PhysAddr};

/// Where the kernel sees this physical address.
#[inline]
pub fn phys_to_virt(address: PhysAddr) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(address.as_usize() + LINEAR_MAP)
}

/// The physical address of a kernel pointer into the linear map.
#[inline]
pub fn virt_to_phys(pointer: *const u8) -> PhysAddr {
    PhysAddr::new(pointer.addr() - LINEAR_MAP)
}
