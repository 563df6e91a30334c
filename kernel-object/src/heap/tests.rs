use std::vec::Vec;

use super::*;
use crate::frame::host::{share_private, use_private};
use crate::frame::statistics;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// A block that knows its layout and its filling.
struct Block {
    start: *mut u8,
    layout: Layout,
    filling: u8,
}

// SAFETY: a block owns its memory, which any thread may use.
unsafe impl Send for Block {}

impl Block {
    fn new(heap: &KernelHeap, layout: Layout, filling: u8) -> Option<Self> {
        // SAFETY: the layout is not empty.
        let start = unsafe { heap.alloc(layout) };
        if start.is_null() {
            return None;
        }
        // The physical address counts: the host's linear map starts page-aligned only.
        assert_eq!(memory::virt_to_phys(start).as_usize() % layout.align(), 0);
        // SAFETY: the block is at least that large.
        unsafe { start.write_bytes(filling, layout.size()) };
        Some(Self { start, layout, filling })
    }

    fn check(&self, len: usize) {
        // SAFETY: the block is alive and was filled.
        let bytes = unsafe { std::slice::from_raw_parts(self.start, len) };
        assert!(bytes.iter().all(|byte| *byte == self.filling), "a block was overwritten");
    }

    fn free(self, heap: &KernelHeap) {
        self.check(self.layout.size());
        // SAFETY: allocated with this layout, and gone with `self`.
        unsafe { heap.dealloc(self.start, self.layout) };
    }
}

#[test]
fn classes_cover_every_small_size() {
    for size in (1..=LARGEST_SMALL).step_by(if cfg!(miri) { 97 } else { 1 }) {
        for align in [1, 8, 16] {
            let Plan::Small(class) = plan(layout(size, align)) else { panic!("{size} is small") };
            assert!(CLASS_SIZES[class] >= size);
            assert!(class == 0 || CLASS_SIZES[class - 1] < size, "{size} wastes memory");
        }
    }
    assert!(matches!(plan(layout(LARGEST_SMALL + 1, 8)), Plan::Frames(1)));
    assert!(matches!(plan(layout(8, 4096)), Plan::Frames(1)));
    assert!(matches!(plan(layout(4097, 8)), Plan::Frames(2)));
}

#[test]
fn blocks_of_all_sizes_do_not_overlap_and_everything_comes_back() {
    use_private(if cfg!(miri) { 150 } else { 4000 });
    let before = statistics();
    let heap = KernelHeap::new();
    let mut blocks: Vec<Block> = Vec::new();
    let mut random = 12345u64;
    for round in 0..if cfg!(miri) { 25 } else { 20_000 } {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let number = random as usize;
        if blocks.len() < 700 && number % 5 < 3 {
            let size = match number >> 8 & 15 {
                0 => 1 + (number >> 16) % 20_000,
                1..4 => 1 + (number >> 16) % 2_048,
                _ => 1 + (number >> 16) % 200,
            };
            let align = 1 << ((number >> 40) % 8);
            blocks.extend(Block::new(&heap, layout(size, align), round as u8));
        } else if !blocks.is_empty() {
            let index = (number >> 16) % blocks.len();
            let block = blocks.swap_remove(index);
            if number & 0x1000_0000 == 0 {
                block.free(&heap);
                continue;
            }
            let new_size = 1 + (number >> 20) % 5_000;
            // SAFETY: the block is alive and was made with this layout.
            let start = unsafe { heap.realloc(block.start, block.layout, new_size) };
            assert!(!start.is_null());
            let grown =
                Block { start, layout: layout(new_size, block.layout.align()), filling: block.filling };
            grown.check(new_size.min(block.layout.size()));
            // SAFETY: the block is that large now.
            unsafe { start.write_bytes(grown.filling, new_size) };
            blocks.push(grown);
        }
    }
    assert!(heap.bytes_in_use() >= blocks.iter().map(|block| block.layout.size()).sum());
    blocks.into_iter().for_each(|block| block.free(&heap));
    assert_eq!(heap.bytes_in_use(), 0);
    heap.drain_lists();
    let kept = statistics().used_by(FrameKind::Kernel);
    assert!(kept <= CLASSES * 4, "at most one slab a class stays, not {kept} frames");
    assert_eq!(statistics().free + kept, before.free);
}

#[test]
fn exhaustion_is_a_null_pointer_and_passes() {
    use_private(if cfg!(miri) { 20 } else { 48 });
    let heap = KernelHeap::new();
    let sizes: &[usize] = if cfg!(miri) { &[200, 1500, 4096] } else { &[16, 200, 1500, 4096, 20_000] };
    for &size in sizes {
        let mut blocks: Vec<Block> =
            std::iter::from_fn(|| Block::new(&heap, layout(size, 8), size as u8)).collect();
        assert!(blocks.len() >= 4, "{size}");
        blocks.pop().unwrap().free(&heap);
        blocks.extend(Block::new(&heap, layout(size, 8), size as u8));
        blocks.into_iter().for_each(|block| block.free(&heap));
        assert_eq!(heap.bytes_in_use(), 0);
        heap.drain_lists();
    }
}

#[test]
fn objects_may_be_freed_on_another_hart() {
    let allocator = use_private(if cfg!(miri) { 60 } else { 1000 });
    let heap = KernelHeap::new();
    let (sender, receiver) = std::sync::mpsc::channel::<Block>();
    const COUNT: usize = if cfg!(miri) { 30 } else { 5_000 };
    std::thread::scope(|scope| {
        let heap = &heap;
        scope.spawn(move || {
            kernel_hal::host::become_hart(kernel_hal::HartId::new(1));
            share_private(allocator);
            for block in receiver {
                block.free(heap);
            }
        });
        for _ in 0..COUNT {
            let block = Block::new(heap, layout(96, 8), 7).expect("memory suffices for what is in flight");
            sender.send(block).unwrap();
        }
        drop(sender);
    });
    assert_eq!(heap.bytes_in_use(), 0);
}
