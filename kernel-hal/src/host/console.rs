//! The boot console: standard error.

use std::io::Write;

/// Writes bytes, waiting until they are out.
pub fn write(bytes: &[u8]) {
    // A closed standard error leaves a test nothing to say it with.
    let _ = std::io::stderr().write_all(bytes);
}
