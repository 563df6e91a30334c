//! The end after a bug.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use kernel_hal::{console, power};

struct BootConsole;

impl Write for BootConsole {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        console::write(text.as_bytes());
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let _ = writeln!(BootConsole, "\n{info}");
    power::off(101)
}
