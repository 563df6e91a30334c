//! Bringing the machine up, step by step, in the order in which `zcore`'s boot calls them.

use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::stacks::{self, Purpose};
use super::{boot, hart, kernel_space, memory, paging, plic, power, time, trap};
use crate::machine_description::{HartDescription, MachineDescription};
use crate::{HartId, MAX_HARTS, PhysAddr, interrupt};

pub use super::power::stop_hart;
pub use super::trap::KernelTrapFrame;

/// What `satp` holds on the kernel's own tables, for harts that start.
pub(super) static SECONDARY_SATP: AtomicUsize = AtomicUsize::new(0);
static SECONDARY_FUNCTION: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

const MODE_SV39: usize = 8 << 60;
const FLATTENED_TREE_MAGIC: u32 = 0xd00d_feed;

/// Why a hart could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No memory for its stacks.
    OutOfMemory,
    /// The firmware refused.
    Firmware,
}

/// First step: names the boot hart, and catches traps.
pub fn begin(hardware_hart: usize) {
    // SAFETY: only the boot hart runs.
    unsafe { (*hart::local()).hardware_id = hardware_hart };
    hart::mark_online();
    trap::install();
}

/// The device tree that the firmware left at this physical address.
pub fn device_tree(address: PhysAddr) -> Option<&'static [u8]> {
    if address.as_usize() == 0 || !address.as_usize().is_multiple_of(4) {
        return None;
    }
    let pointer = memory::phys_to_virt(address).cast::<u32>();
    // SAFETY: the boot protocol promises a tree there; a wrong magic number ends the look at once.
    let magic = u32::from_be(unsafe { pointer.read_volatile() });
    if magic != FLATTENED_TREE_MAGIC {
        return None;
    }
    // SAFETY: as above: the second word is the tree's size.
    let size = u32::from_be(unsafe { pointer.add(1).read_volatile() });
    // SAFETY: the boot protocol promises that the whole tree is in memory; the kernel reserves its frames.
    Some(unsafe { core::slice::from_raw_parts(pointer.cast(), size as usize) })
}

/// A piece of physical memory that holds data for the kernel, such as the initial RAM disk.
///
/// # Safety
/// The range must be memory that nobody writes while the slice is in use.
pub unsafe fn physical_slice(range: core::ops::Range<PhysAddr>) -> &'static [u8] {
    // SAFETY: the caller's promise; the linear map covers all of memory.
    unsafe { core::slice::from_raw_parts(memory::phys_to_virt(range.start), range.end - range.start) }
}

/// The kernel's image in physical memory, with what the build appended.
pub fn image_range(appended_bytes: usize) -> core::ops::Range<PhysAddr> {
    kernel_space::image_range(appended_bytes)
}

/// Second step: what the device tree says about clocks, interrupts and the way off. False if the clock's frequency
/// cannot be used.
pub fn configure(description: &MachineDescription) -> bool {
    if let Some(finisher) = description.test_finisher {
        power::set_test_device(finisher.start);
    }
    if let Some(plic) = &description.plic {
        plic::initialize(plic.registers.start);
        for (id, hardware_id) in numbered_harts(description) {
            if let Some(context) = plic.supervisor_context(hardware_id) {
                plic::set_context(id, context as u32);
            }
        }
        plic::open(HartId::BOOT);
    }
    let zero_block =
        |hart: &HartDescription<'_>| if hart.has_extension("zicboz") { hart.zero_block_bytes } else { 0 };
    if description.usable_harts().all(|hart| zero_block(hart) == memory::ZERO_BLOCK_BYTES) {
        memory::use_zero_blocks();
    }
    let has_stimecmp = description.usable_harts().all(|hart| hart.has_sstc());
    time::initialize(u64::from(description.timebase_frequency_hz), has_stimecmp)
}

/// Third step: the kernel's half of the address space, for physical addresses below `memory_end`.
pub fn build_kernel_space(memory_end: PhysAddr) {
    kernel_space::build(memory_end);
    paging::discover_address_space_numbers();
    let root = paging::kernel_root().expect("just built");
    SECONDARY_SATP.store(MODE_SV39 | root.page_number(), Ordering::Release);
}

/// Maps a hart's stacks. `None`: out of memory.
fn prepare(hart: HartId, allocate: &mut dyn FnMut() -> Option<PhysAddr>) -> Option<()> {
    stacks::map_all(hart, allocate)?;
    let local = hart::local_of(hart.index());
    // SAFETY: the hart does not run yet, or is this one and uses these fields only at a stack overflow.
    unsafe {
        (*local).boot_stack_top = stacks::top(hart, Purpose::Executor);
        (*local).emergency_stack_top = stacks::top(hart, Purpose::Emergency);
    }
    Some(())
}

/// Fourth step: goes on with `then` on the boot hart's own guarded stack.
pub fn leave_boot_stack(
    allocate: &mut dyn FnMut() -> Option<PhysAddr>,
    then: extern "C" fn(),
) -> Result<core::convert::Infallible, StartError> {
    prepare(HartId::BOOT, allocate).ok_or(StartError::OutOfMemory)?;
    // SAFETY: the stack was just mapped and nobody else uses it.
    unsafe { stacks::call_on_stack(then, stacks::top(HartId::BOOT, Purpose::Executor)) };
    unreachable!("the boot continuation does not return")
}

/// Fifth step: starts the other harts, at most [`MAX_HARTS`] in all; each calls `run` on its own stack.
/// Returns the number of harts that could not be started with the last reason.
pub fn start_other_harts(
    description: &MachineDescription,
    allocate: &mut dyn FnMut() -> Option<PhysAddr>,
    run: fn() -> !,
) -> Result<(), StartError> {
    SECONDARY_FUNCTION.store(run as *mut (), Ordering::Release);
    let mut result = Ok(());
    for (id, hardware_id) in numbered_harts(description).filter(|(id, _)| *id != HartId::BOOT) {
        if let Err(error) = start(id, hardware_id, allocate) {
            result = Err(error);
        }
    }
    result
}

/// The harts that the kernel uses, with their logical numbers: the boot hart is 0, the others follow in the tree's order.
fn numbered_harts<'a>(description: &'a MachineDescription<'_>) -> impl Iterator<Item = (HartId, usize)> + 'a {
    // SAFETY: written in `begin`, on this hart.
    let boot_hardware_id = unsafe { (*hart::local_of(HartId::BOOT.index())).hardware_id };
    let others = description.usable_harts().filter(move |hart| hart.hardware_id != boot_hardware_id);
    let numbers = (1..MAX_HARTS).map(HartId::new);
    let others = numbers.zip(others).map(|(id, hart)| (id, hart.hardware_id));
    core::iter::once((HartId::BOOT, boot_hardware_id)).chain(others)
}

fn start(
    id: HartId,
    hardware_id: usize,
    allocate: &mut dyn FnMut() -> Option<PhysAddr>,
) -> Result<(), StartError> {
    prepare(id, allocate).ok_or(StartError::OutOfMemory)?;
    let local = hart::local_of(id.index());
    // SAFETY: the hart does not run yet.
    unsafe { (*local).hardware_id = hardware_id };
    let entry = memory::virt_to_phys(boot::secondary_entry as *const u8);
    // A stray hart may still be on its way back into the firmware, which then answers that it is running.
    const TRIES: usize = 1_000_000;
    for _ in 0..TRIES {
        let answer = sbi_rt::hart_start(hardware_id, entry.as_usize(), local.addr());
        if answer.is_ok() {
            return Ok(());
        }
        let stopping = matches!(sbi_rt::hart_get_status(hardware_id).value, 0 | 3);
        if !stopping {
            break;
        }
        core::hint::spin_loop();
    }
    Err(StartError::Firmware)
}

/// The first Rust code of a hart that was started: the kernel's tables and its own stack are in place.
pub(super) extern "C" fn secondary_main() -> ! {
    trap::install();
    plic::open(HartId::current());
    hart::mark_online();
    let run = SECONDARY_FUNCTION.load(Ordering::Acquire);
    // SAFETY: the pointer came from a `fn() -> !` in `start_other_harts`.
    let run: fn() -> ! = unsafe { core::mem::transmute(run) };
    run()
}

/// Routes an interrupt line to a hart.
pub fn enable_interrupt_line(line: u32, hart: HartId) {
    plic::enable(line, hart);
}

/// Whether the address is inside a kernel stack that is mapped, and may be read: for backtraces.
pub fn is_on_a_kernel_stack(address: usize) -> bool {
    stacks::contain(address)
}

/// Calls `function` on this hart's next free preemption stack, with interrupts enabled, and comes back with interrupts
/// masked. At most two deep; to be called with interrupts masked.
pub fn call_on_preemption_stack(function: extern "C" fn()) {
    let local = hart::local();
    // SAFETY: this hart's own data, interrupts are masked.
    let depth = unsafe { (*local).preemption_depth };
    let purpose = match depth {
        0 => Purpose::FirstPreemption,
        1 => Purpose::SecondPreemption,
        _ => return,
    };
    // SAFETY: as above; the stack is free because the depth says so.
    unsafe {
        (*local).preemption_depth = depth + 1;
        interrupt::enable();
        stacks::call_on_stack(function, stacks::top(HartId::current(), purpose));
        interrupt::disable();
        (*local).preemption_depth = depth;
    }
}
