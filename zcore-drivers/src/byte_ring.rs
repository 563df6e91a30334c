//! Bytes from an interrupt handler to readers, without a lock.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// A ring of bytes: one producer at a time, any number of consumers.
///
/// The producer is an interrupt handler, of which only one runs at a time (it holds the device's lock). Consumers
/// read bytes first and claim them afterwards with one compare-and-swap: if that fails, somebody else got them.
pub(crate) struct ByteRing<const SIZE: usize> {
    bytes: [AtomicU8; SIZE],
    /// Count of bytes ever pushed.
    head: AtomicUsize,
    /// Count of bytes ever taken.
    tail: AtomicUsize,
}

impl<const SIZE: usize> ByteRing<SIZE> {
    pub(crate) const fn new() -> Self {
        assert!(SIZE.is_power_of_two());
        Self {
            bytes: [const { AtomicU8::new(0) }; SIZE],
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) == self.tail.load(Ordering::Acquire)
    }

    /// Adds a byte; `false` if there is no room. One producer at a time.
    pub(crate) fn push(&self, byte: u8) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        if head.wrapping_sub(self.tail.load(Ordering::Acquire)) >= SIZE {
            return false;
        }
        self.bytes[head % SIZE].store(byte, Ordering::Relaxed);
        self.head.store(head.wrapping_add(1), Ordering::Release);
        true
    }

    /// Takes as many bytes as there are and fit.
    pub(crate) fn take(&self, destination: &mut [u8]) -> usize {
        loop {
            let tail = self.tail.load(Ordering::Acquire);
            let available = self.head.load(Ordering::Acquire).wrapping_sub(tail);
            if available > SIZE {
                // Others took and the producer went on between the two loads.
                continue;
            }
            let count = available.min(destination.len());
            for (index, byte) in destination[..count].iter_mut().enumerate() {
                *byte = self.bytes[tail.wrapping_add(index) % SIZE].load(Ordering::Relaxed);
            }
            let end = tail.wrapping_add(count);
            // A success says that the tail stood still, so the producer could not have reused these cells.
            if self.tail.compare_exchange(tail, end, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_a_full_ring_refuses() {
        let ring = ByteRing::<4>::new();
        let mut buffer = [0; 8];
        for round in 0..10u8 {
            assert!((0..4).all(|index| ring.push(round * 4 + index)));
            assert!(!ring.push(0));
            assert_eq!(ring.take(&mut buffer[..3]), 3);
            assert_eq!(ring.take(&mut buffer[3..]), 1);
            assert_eq!(buffer[..4], [0, 1, 2, 3].map(|index| round * 4 + index));
            assert!(ring.is_empty());
        }
    }

    #[test]
    fn two_readers_share_what_one_writer_sends() {
        const COUNT: usize = if cfg!(miri) { 300 } else { 100_000 };
        let ring = ByteRing::<64>::new();
        let taken = AtomicUsize::new(0);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut buffer = [0; 16];
                    while taken.load(Ordering::Relaxed) < COUNT {
                        let count = ring.take(&mut buffer);
                        taken.fetch_add(count, Ordering::Relaxed);
                        sum.fetch_add(
                            buffer[..count].iter().map(|&byte| usize::from(byte)).sum(),
                            Ordering::Relaxed,
                        );
                        std::thread::yield_now();
                    }
                });
            }
            for index in 0..COUNT {
                while !ring.push(index as u8) {
                    std::thread::yield_now();
                }
            }
        });
        assert_eq!(taken.into_inner(), COUNT);
        assert_eq!(sum.into_inner(), (0..COUNT).map(|index| index % 256).sum());
    }
}
