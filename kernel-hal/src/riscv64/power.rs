//! Switching off and restarting.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use super::memory::phys_to_virt;
use crate::{Instant, PhysAddr, interrupt};

/// Where the `sifive,test` device is, if the machine has one: the only way to hand a status to the outside.
static TEST_DEVICE: AtomicUsize = AtomicUsize::new(0);

/// How long the test device may take.
const MOST_TIME_TO_GO_DOWN: Duration = Duration::from_secs(10);

const TEST_DEVICE_PASS: u32 = 0x5555;
const TEST_DEVICE_FAIL: u32 = 0x3333;

pub(super) fn set_test_device(base: PhysAddr) {
    TEST_DEVICE.store(base.as_usize(), Ordering::Relaxed);
}

/// Switches the machine off; `status` is what the outside sees, if the machine can tell it.
pub fn off(status: u8) -> ! {
    interrupt::disable();
    let base = TEST_DEVICE.load(Ordering::Relaxed);
    if base != 0 {
        let command = match status {
            0 => TEST_DEVICE_PASS,
            failure => u32::from(failure) << 16 | TEST_DEVICE_FAIL,
        };
        // SAFETY: the device tree says that the device's register is there; the linear map covers it.
        unsafe { phys_to_virt(PhysAddr::new(base)).cast::<u32>().write_volatile(command) };
        // The machine goes down a moment later. The firmware's own way off, tried meanwhile, would hide the status.
        let end = Instant::now() + MOST_TIME_TO_GO_DOWN;
        while Instant::now() < end {
            core::hint::spin_loop();
        }
    }
    match status {
        0 => sbi_rt::system_reset(sbi_rt::Shutdown, sbi_rt::NoReason),
        _ => sbi_rt::system_reset(sbi_rt::Shutdown, sbi_rt::SystemFailure),
    };
    stop_hart()
}

/// Restarts the machine.
pub fn reboot() -> ! {
    interrupt::disable();
    sbi_rt::system_reset(sbi_rt::ColdReboot, sbi_rt::NoReason);
    stop_hart()
}

/// Stops this hart for good.
pub fn stop_hart() -> ! {
    loop {
        interrupt::disable();
        super::interrupt::wait();
    }
}
