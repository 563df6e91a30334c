//! The clock on the wall: the goldfish RTC of QEMU's `virt` machine.

use std::ptr::NonNull;

use kernel_hal::machine_description::Region;
use kernel_hal::memory::phys_to_virt;

const TIME_LOW: usize = 0;
const TIME_HIGH: usize = 4;

/// The device's registers.
#[derive(Debug)]
pub struct Goldfish(NonNull<u8>);

impl Goldfish {
    /// The clock with these registers.
    ///
    /// # Safety
    /// The region must be that of a real goldfish RTC, which the linear map covers and nobody else uses.
    pub unsafe fn new(region: &Region) -> Self {
        Self(NonNull::new(phys_to_virt(region.start)).expect("the linear map does not begin at null"))
    }

    /// Nanoseconds since 1970.
    pub fn nanoseconds(&self) -> u64 {
        // Reading the low half latches the high one.
        let low = self.read(TIME_LOW);
        let high = self.read(TIME_HIGH);
        u64::from(high) << 32 | u64::from(low)
    }

    fn read(&self, offset: usize) -> u32 {
        // SAFETY: a register of the device, by the promise made to `new`.
        unsafe { self.0.add(offset).cast::<u32>().read_volatile() }
    }
}
