//! Numbers that nobody can guess, from whoever has them: the kernel's generator is above this crate.

use ksync::Once;

static SOURCE: Once<fn() -> u64> = Once::new();

/// Says where random numbers come from.
pub fn set_source(source: fn() -> u64) {
    SOURCE.call_once(|| source);
}

/// A random number. Without a source, as in tests, it is the time.
pub fn number() -> u64 {
    match SOURCE.get() {
        Some(source) => source(),
        None => kernel_hal::Instant::now().as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15),
    }
}
