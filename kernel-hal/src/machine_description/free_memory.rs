//! What is left of main memory when everything that is taken is taken out.

use std::ops::Range;

use heapless::Vec;

use super::MachineDescription;
use crate::{PAGE_SIZE, PhysAddr};

/// The most pieces of free memory that are kept; smaller rests are given up.
pub const MAX_FREE_REGIONS: usize = 64;

/// Free memory in ascending order, in whole pages.
pub type FreeMemory = Vec<Range<PhysAddr>, MAX_FREE_REGIONS>;

impl MachineDescription<'_> {
    /// Main memory without what the tree reserves, the initial ramdisk, and what the caller names.
    pub fn free_memory(&self, taken: &[Range<PhysAddr>]) -> FreeMemory {
        let mut free = FreeMemory::new();
        for region in &self.memory {
            add(&mut free, region.start..region.end());
        }
        let reserved = self.reserved.iter().map(|reserved| reserved.region);
        for region in reserved.chain(self.chosen.initial_ramdisk) {
            subtract(&mut free, &(region.start..region.end()));
        }
        for range in taken {
            subtract(&mut free, range);
        }
        free
    }
}

/// Adds a range's whole pages. What finds no place any more is given up: memory unused, nothing worse.
fn add(free: &mut FreeMemory, range: Range<PhysAddr>) {
    let Some(start) = range.start.page_ceil() else { return };
    let end = range.end.page_floor();
    if start < end {
        let _ = free.push(start..end);
    }
}

fn subtract(free: &mut FreeMemory, taken: &Range<PhysAddr>) {
    let taken_end = taken.end.page_ceil().unwrap_or(PhysAddr::new(usize::MAX & !(PAGE_SIZE - 1)));
    let taken = taken.start.page_floor()..taken_end;
    let before = core::mem::take(free);
    for range in before {
        if taken.end <= range.start || range.end <= taken.start {
            add(free, range);
        } else {
            add(free, range.start..taken.start.max(range.start));
            add(free, taken.end.min(range.end)..range.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: usize, end: usize) -> Range<PhysAddr> {
        PhysAddr::new(start)..PhysAddr::new(end)
    }

    fn without(taken: &[Range<PhysAddr>]) -> std::vec::Vec<Range<PhysAddr>> {
        let mut free = FreeMemory::new();
        add(&mut free, range(0x10_0000, 0x20_0000));
        for taken in taken {
            subtract(&mut free, taken);
        }
        free.into_iter().collect()
    }

    #[test]
    fn a_hole_in_the_middle_leaves_two_pieces() {
        let pieces = without(&[range(0x14_0001, 0x14_2001)]);
        assert_eq!(pieces, [range(0x10_0000, 0x14_0000), range(0x14_3000, 0x20_0000)]);
    }

    #[test]
    fn ends_and_everything_can_be_taken() {
        assert_eq!(without(&[range(0, 0x11_0000)]), [range(0x11_0000, 0x20_0000)]);
        assert_eq!(without(&[range(0x1f_0000, usize::MAX)]), [range(0x10_0000, 0x1f_0000)]);
        assert_eq!(without(&[range(0, usize::MAX)]), []);
        assert_eq!(without(&[range(0x30_0000, 0x40_0000)]), [range(0x10_0000, 0x20_0000)]);
    }
}
