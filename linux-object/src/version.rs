//! What the system calls itself.

use ksync::{Rank, SpinLock};
use linux_abi::system::Utsname;

/// The version of Linux whose behaviour this kernel follows; programs decide by it.
pub const RELEASE: &str = "6.12.0-zcore";
/// The build.
pub const VERSION: &str = concat!("#1 SMP PREEMPT zCore Async ", env!("CARGO_PKG_VERSION"));

/// The most bytes that the machine's name has.
pub const LONGEST_HOST_NAME: usize = 64;

static HOST_NAME: SpinLock<[u8; LONGEST_HOST_NAME + 1]> = SpinLock::new(Rank::FILE, field(b"(none)"));

static DOMAIN_NAME: SpinLock<[u8; LONGEST_HOST_NAME + 1]> = SpinLock::new(Rank::FILE, field(b"(none)"));

/// Sets the name of the machine's domain; what is too long is cut off.
pub fn set_domain_name(name: &[u8]) {
    *DOMAIN_NAME.lock() = field(name);
}

/// Sets the machine's name; what is too long is cut off.
pub fn set_host_name(name: &[u8]) {
    *HOST_NAME.lock() = field(name);
}

const fn field<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < text.len() && at < N - 1 {
        bytes[at] = text[at];
        at += 1;
    }
    bytes
}

/// What `uname` tells.
pub fn system_name() -> Utsname {
    // One after the other: within the expression below both locks would be held.
    let nodename = *HOST_NAME.lock();
    let domainname = *DOMAIN_NAME.lock();
    Utsname {
        sysname: field(b"Linux"),
        nodename,
        release: field(RELEASE.as_bytes()),
        version: field(VERSION.as_bytes()),
        machine: field(b"riscv64"),
        domainname,
    }
}
