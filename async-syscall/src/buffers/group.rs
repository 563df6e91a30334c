//! One group of buffers.

use alloc::collections::VecDeque;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;

use super::ring::BufferRing;

/// A buffer that was taken out of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Where it is.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    /// Its number.
    pub number: u16,
}

enum Source {
    Ring(BufferRing),
    List,
}

struct Stock {
    /// Buffers that come before those of the ring: all of a list, and those that were given back late.
    first: VecDeque<Taken>,
    /// Up to where the ring's were taken.
    head: u16,
}

/// A group of buffers.
pub(crate) struct Group {
    source: Source,
    stock: SpinLock<Stock>,
}

/// A list has room for as many as there are numbers.
const MOST_BUFFERS: usize = 1 << 16;

impl Group {
    fn new(source: Source) -> Self {
        Self { source, stock: SpinLock::new(Rank::FILE, Stock { first: VecDeque::new(), head: 0 }) }
    }

    pub(super) fn list() -> Self {
        Self::new(Source::List)
    }

    pub(super) fn ring(ring: BufferRing) -> Self {
        Self::new(Source::Ring(ring))
    }

    pub(super) fn is_ring(&self) -> bool {
        matches!(self.source, Source::Ring(_))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stock.lock().first.is_empty()
    }

    /// The ring, if it is one.
    pub(crate) fn as_ring(&self) -> Option<&BufferRing> {
        match &self.source {
            Source::Ring(ring) => Some(ring),
            Source::List => None,
        }
    }

    /// Up to where the ring's buffers were taken.
    pub(crate) fn head(&self) -> u16 {
        self.stock.lock().head
    }

    /// Takes the next buffer.
    pub(crate) fn take(&self) -> Option<Taken> {
        let mut stock = self.stock.lock();
        if let Some(taken) = stock.first.pop_front() {
            return Some(taken);
        }
        let Source::Ring(ring) = &self.source else { return None };
        let taken = ring.get(stock.head)?;
        stock.head = stock.head.wrapping_add(1);
        Some(taken)
    }

    /// Nothing was put into it: it is the next again.
    pub(crate) fn give_back(&self, taken: Taken) {
        let mut stock = self.stock.lock();
        if self.is_ring() && stock.first.is_empty() {
            let before = stock.head.wrapping_sub(1);
            if let Source::Ring(ring) = &self.source
                && ring.get(before) == Some(taken)
            {
                stock.head = before;
                return;
            }
        }
        stock.first.push_front(taken);
    }

    /// Only the beginning of it was used: what is left is the next. Whether anything is left.
    pub(crate) fn use_part(&self, taken: Taken, used: u32) -> bool {
        let is_incremental = self.as_ring().is_some_and(BufferRing::is_incremental);
        let left = taken.len.saturating_sub(used);
        if !is_incremental || left == 0 {
            return false;
        }
        let rest = Taken { address: taken.address.wrapping_add(u64::from(used)), len: left, ..taken };
        self.stock.lock().first.push_front(rest);
        true
    }

    /// Adds buffers of equal size to a list, with ascending numbers.
    pub(crate) fn add(&self, first: Taken, count: u32) -> Result<(), Errno> {
        let mut stock = self.stock.lock();
        if stock.first.len() + count as usize > MOST_BUFFERS {
            return Err(Errno::EOVERFLOW);
        }
        stock.first.try_reserve(count as usize).map_err(|_| Errno::ENOMEM)?;
        for index in 0..count {
            stock.first.push_back(Taken {
                address: first.address.wrapping_add(u64::from(index) * u64::from(first.len)),
                len: first.len,
                number: first.number.wrapping_add(index as u16),
            });
        }
        Ok(())
    }

    /// Removes so many buffers of a list; returns how many there were.
    pub(crate) fn remove(&self, count: u32) -> usize {
        let mut stock = self.stock.lock();
        let count = stock.first.len().min(count as usize);
        stock.first.drain(..count);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(group: &Group) -> alloc::vec::Vec<u16> {
        core::iter::from_fn(|| group.take()).map(|taken| taken.number).collect()
    }

    #[test]
    fn a_list_gives_in_order_and_takes_back_in_front() {
        let group = Group::list();
        group.add(Taken { address: 0x1000, len: 16, number: 7 }, 3).unwrap();
        let first = group.take().unwrap();
        assert_eq!(first, Taken { address: 0x1000, len: 16, number: 7 });
        group.give_back(first);
        assert_eq!(numbers(&group), [7, 8, 9]);
        assert_eq!(group.take(), None);
    }

    #[test]
    fn a_list_has_an_end() {
        let group = Group::list();
        group.add(Taken { address: 0, len: 1, number: 0 }, 65536).unwrap();
        assert_eq!(group.add(Taken { address: 0, len: 1, number: 0 }, 1), Err(Errno::EOVERFLOW));
        assert_eq!(group.remove(70000), 65536);
    }

    #[test]
    fn a_ring_gives_what_the_program_has_put_in() {
        let ring = BufferRing::allocate(4, false).unwrap();
        let put = |tail: u16| {
            ring.put_for_test(tail, Taken { address: 0x100 * u64::from(tail), len: 8, number: tail });
        };
        (0..3).for_each(put);
        let group = Group::ring(ring);
        let (one, two) = (group.take().unwrap(), group.take().unwrap());
        // The second is the next again, the first comes before it.
        group.give_back(two);
        group.give_back(one);
        assert_eq!(group.head(), 0);
        let one = group.take().unwrap();
        let two = group.take().unwrap();
        group.give_back(one);
        assert_eq!((one.number, two.number, group.head()), (0, 1, 2));
        assert_eq!(numbers(&group), [0, 2]);
    }

    #[test]
    fn an_incremental_ring_gives_the_rest_of_a_buffer() {
        let ring = BufferRing::allocate(1, true).unwrap();
        ring.put_for_test(0, Taken { address: 0x1000, len: 100, number: 3 });
        let group = Group::ring(ring);
        let taken = group.take().unwrap();
        assert!(group.use_part(taken, 40));
        let rest = group.take().unwrap();
        assert_eq!(rest, Taken { address: 0x1028, len: 60, number: 3 });
        assert!(!group.use_part(rest, 60));
        assert_eq!(group.take(), None);
    }
}
