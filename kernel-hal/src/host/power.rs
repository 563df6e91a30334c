//! The end of the machine is the end of the process.

/// Ends the machine; `status` is what the outside sees.
pub fn off(status: u8) -> ! {
    std::process::exit(i32::from(status))
}

/// Restarts the machine, which a process cannot: it ends with status 0, as QEMU does under `-no-reboot`.
pub fn reboot() -> ! {
    std::process::exit(0)
}

/// Stops this hart for good: its thread sleeps until the process ends.
pub fn stop_hart() -> ! {
    loop {
        std::thread::park();
    }
}
