//! What memory there is, handed to the frame allocator.

use core::ops::Range;

use kernel_hal::device_tree::DeviceTree;
use kernel_hal::machine_description::MachineDescription;
use kernel_hal::{PhysAddr, machine, memory};
use kernel_object::frame::{self, Frame, FrameKind};

use crate::symbols;

/// What the kernel keeps for its own objects when programs have taken all else: so much of memory, within bounds. It
/// must be more than what harts keep in their caches.
const RESERVE_DIVISOR: usize = 64;
const LEAST_RESERVE_FRAMES: usize = 256;
const MOST_RESERVE_FRAMES: usize = 4096;

/// The first address above main memory.
pub fn end(description: &MachineDescription<'_>) -> PhysAddr {
    description.memory.iter().map(|region| region.end()).max().unwrap_or_default()
}

/// Gives all free memory to the frame allocator: what neither the tree reserves nor the kernel's image, the tree itself
/// and the initial ramdisk occupy.
pub fn hand_over(description: &MachineDescription<'_>, tree: DeviceTree<'_>) {
    let blob = tree.blob();
    let blob_start = memory::virt_to_phys(blob.as_ptr());
    let taken: [Range<PhysAddr>; 2] =
        [machine::image_range(symbols::table_bytes()), blob_start..blob_start + blob.len()];
    let free = description.free_memory(&taken);
    // SAFETY: the linear map covers all of main memory, and what others use was taken out.
    unsafe { frame::init(&free) };
    let statistics = frame::statistics();
    frame::set_reserve((statistics.total / RESERVE_DIVISOR).clamp(LEAST_RESERVE_FRAMES, MOST_RESERVE_FRAMES));
    log::info!("memory: {} MiB free", statistics.free >> 8);
}

/// A page for a kernel stack. Stacks live as long as the kernel.
pub fn stack_page() -> Option<PhysAddr> {
    let frame = Frame::allocate(FrameKind::Kernel).ok()?;
    let address = frame.address();
    core::mem::forget(frame);
    Some(address)
}
