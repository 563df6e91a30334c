//! The boot console: the firmware's, which works before any driver and in a panic.

/// Writes bytes, waiting until they are out.
pub fn write(bytes: &[u8]) {
    for &byte in bytes {
        if byte == b'\n' {
            sbi_rt::console_write_byte(b'\r');
        }
        sbi_rt::console_write_byte(byte);
    }
}
