//! Where the parts of a program go, and how much of that is left to chance.
//!
//! From the top: the stack, a gap that it may grow into, mappings (downwards, the interpreter and the vDSO among them),
//! a program that may go anywhere with its heap two thirds up, and one that may not where it wants to be. Each part is
//! moved by a random number of pages of its own, unless the system or the program's personality says otherwise.

use core::sync::atomic::{AtomicU8, Ordering};

use kernel_hal::{PAGE_SIZE, USER_END, VirtAddr};
use kernel_object::address_space::Layout;

use crate::random;

/// Position-independent programs go two thirds up, as on Linux.
const RELOCATABLE_BASE: usize = USER_END / 3 * 2;
/// How many pages the random parts range over: 2 to the power of this.
const RANDOM_PAGE_BITS: u32 = 18;
/// The heap begins at most this far behind the program.
const RANDOM_HEAP_PAGE_BITS: u32 = 15;
/// Room for the stack: at least this much is kept free, whatever its limit is.
const LEAST_STACK_ROOM: usize = 128 << 20;
const MOST_STACK_ROOM: usize = USER_END / 6 * 5;
/// Linux keeps as much free between the stack's room and the mappings.
const STACK_GAP: usize = 256 * PAGE_SIZE;

/// How much of the layout is left to chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Randomness {
    /// Nothing.
    Nothing,
    /// Stack, mappings, vDSO and programs that may go anywhere.
    NotTheHeap,
    /// The heap too.
    Everything,
}

static SYSTEM: AtomicU8 = AtomicU8::new(Randomness::Everything as u8);

impl Randomness {
    /// What the system allows at most (`kernel.randomize_va_space`).
    pub fn of_system() -> Self {
        match SYSTEM.load(Ordering::Relaxed) {
            0 => Self::Nothing,
            1 => Self::NotTheHeap,
            _ => Self::Everything,
        }
    }

    /// Sets what the system allows.
    pub fn set_for_system(self) {
        SYSTEM.store(self as u8, Ordering::Relaxed);
    }
}

/// Random bytes for a whole program, drawn at once: drawing costs as much for one byte as for all of these. Four numbers,
/// then what the program itself gets.
struct Draw([u8; 32]);

impl Draw {
    /// A number of pages, as bytes, below 2 to the power of `bits` pages.
    fn pages(&self, which: usize, bits: u32) -> usize {
        let [drawn, ..] = self.0.as_chunks().0[which..] else { unreachable!("four numbers are drawn") };
        (u32::from_le_bytes(drawn) as usize & ((1 << bits) - 1)) * PAGE_SIZE
    }
}

/// Where the parts of a program go.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProgramLayout {
    pub(super) stack_top: usize,
    pub(super) space: Layout,
    /// Where a program goes that may go anywhere.
    pub(super) relocatable_base: usize,
    /// Bytes between the program and its heap.
    pub(super) heap_distance: usize,
    /// Random bytes for the program itself.
    pub(super) random: [u8; 16],
}

impl ProgramLayout {
    /// A layout for a program whose stack may become so large.
    pub(super) fn choose(randomness: Randomness, stack_limit: usize) -> Self {
        let draw = Draw(random::bytes());
        let pages = |which| match randomness {
            Randomness::Nothing => 0,
            Randomness::NotTheHeap | Randomness::Everything => draw.pages(which, RANDOM_PAGE_BITS),
        };
        let mut random = [0; 16];
        random.copy_from_slice(&draw.0[16..]);
        let stack_top = USER_END - PAGE_SIZE - pages(0);
        let room = stack_limit.clamp(LEAST_STACK_ROOM, MOST_STACK_ROOM) & !(PAGE_SIZE - 1);
        let most_random = PAGE_SIZE << RANDOM_PAGE_BITS;
        let mapping_top =
            USER_END - PAGE_SIZE - most_random - room.min(USER_END - 3 * most_random) - STACK_GAP - pages(1);
        Self {
            stack_top,
            space: Layout { mapping_top: VirtAddr::new(mapping_top), ..Layout::default() },
            relocatable_base: RELOCATABLE_BASE + pages(2),
            heap_distance: match randomness {
                Randomness::Everything => draw.pages(3, RANDOM_HEAP_PAGE_BITS),
                Randomness::Nothing | Randomness::NotTheHeap => 0,
            },
            random,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_do_not_meet_and_the_stack_has_its_room() {
        for limit in [0, 8 << 20, 1 << 30, usize::MAX] {
            for _ in 0..100 {
                let layout = ProgramLayout::choose(Randomness::Everything, limit);
                let mapping_top = layout.space.mapping_top.as_usize();
                assert!(mapping_top.is_multiple_of(PAGE_SIZE) && layout.stack_top.is_multiple_of(PAGE_SIZE));
                assert!(layout.space.lowest.as_usize() < mapping_top);
                assert!(layout.stack_top - mapping_top > limit.clamp(LEAST_STACK_ROOM, USER_END / 2));
                assert!(layout.stack_top < USER_END);
            }
        }
    }

    #[test]
    fn without_chance_every_layout_is_the_same() {
        let layouts = [(); 2].map(|()| ProgramLayout::choose(Randomness::Nothing, 8 << 20));
        assert_eq!(layouts[0].stack_top, layouts[1].stack_top);
        assert_eq!(layouts[0].space.mapping_top, layouts[1].space.mapping_top);
        assert_eq!((layouts[0].heap_distance, layouts[0].relocatable_base), (0, RELOCATABLE_BASE));
    }
}
