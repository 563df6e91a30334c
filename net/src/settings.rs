//! What `/proc/sys/net` sets, and the sizes that follow.

use core::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

/// The largest backlog of a listener (`net.core.somaxconn`).
pub static LARGEST_BACKLOG: AtomicUsize = AtomicUsize::new(4096);

/// What a receiver may have in its queue at the beginning (`net.ipv4.tcp_rmem`, the middle one).
pub const TCP_RECEIVE_BYTES: usize = 131_072;
/// What a sender may have in flight at the beginning (`net.ipv4.tcp_wmem`, the middle one).
pub const TCP_SEND_BYTES: usize = 16_384;
/// What that grows to when there is a connection inside this machine.
pub const TCP_GROWN_BYTES: usize = 2_626_560;
/// The limits of datagrams (`net.core.rmem_default`).
pub const DATAGRAM_BYTES: usize = 212_992;
/// What a program may ask for at most (`net.core.rmem_max`); it is doubled.
pub const MOST_BUFFER_BYTES: usize = 212_992;
/// Limits are not smaller than that.
pub const LEAST_SEND_BYTES: usize = 4608;
/// The same of receivers.
pub const LEAST_RECEIVE_BYTES: usize = 2304;

static FIRST_EPHEMERAL: AtomicU16 = AtomicU16::new(32768);
static LAST_EPHEMERAL: AtomicU16 = AtomicU16::new(60999);

/// The ports that are given to who asks for none, first and last (`net.ipv4.ip_local_port_range`).
pub fn ephemeral_ports() -> (u16, u16) {
    (FIRST_EPHEMERAL.load(Ordering::Relaxed), LAST_EPHEMERAL.load(Ordering::Relaxed))
}

/// Sets them; false if they make no range.
pub fn set_ephemeral_ports(first: u16, last: u16) -> bool {
    if first == 0 || last < first {
        return false;
    }
    FIRST_EPHEMERAL.store(first, Ordering::Relaxed);
    LAST_EPHEMERAL.store(last, Ordering::Relaxed);
    true
}

static IS_FUSED: AtomicBool = AtomicBool::new(true);

/// Whether what stays in this machine is carried without packets.
pub fn is_fused() -> bool {
    IS_FUSED.load(Ordering::Relaxed)
}

/// Sets that, for connections that are made from now on.
pub fn set_fused(is_fused: bool) {
    IS_FUSED.store(is_fused, Ordering::Relaxed);
}
