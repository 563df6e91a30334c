//! Which port is tried next for whoever asks for none.

use core::sync::atomic::{AtomicU32, Ordering};

use kernel_hal::Instant;

use crate::settings;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// All ephemeral ports once, those first that others did not just try. As on Linux, ports of one parity are for sockets
/// that are bound and those of the other for connections, and each takes the other's if its own are all taken.
pub(super) fn candidates(is_binding: bool) -> impl Iterator<Item = u16> {
    let (first, last) = settings::ephemeral_ports();
    let count = u32::from(last - first) + 1;
    let pairs = count / 2;
    if NEXT.load(Ordering::Relaxed) == 0 {
        // Where it begins differs from boot to boot.
        NEXT.store(Instant::now().as_nanos() as u32 | 1, Ordering::Relaxed);
    }
    let start = NEXT.fetch_add(1, Ordering::Relaxed);
    (0..count).map(move |step| {
        let offset = if step < 2 * pairs {
            let is_second_half = step >= pairs;
            let parity = u32::from(is_binding != is_second_half);
            2 * (start.wrapping_add(step) % pairs) + parity
        } else {
            step
        };
        first + offset as u16
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_port_is_tried_once() {
        for is_binding in [true, false] {
            let ports: std::vec::Vec<u16> = candidates(is_binding).collect();
            let (first, last) = settings::ephemeral_ports();
            assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
            assert_eq!(ports.len(), usize::from(last - first) + 1);
            assert_eq!((ports[0] - first) % 2, u16::from(is_binding));
        }
    }
}
