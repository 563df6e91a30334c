//! From the firmware to the first line of Rust.
//!
//! The image is linked inside the linear map and entered at its physical address with translation off. Early tables map
//! the first gigabytes twice, at their own addresses and in the linear map, so that the switch has ground under its feet;
//! they are replaced by tables with W^X as soon as the memory map is known.

use core::arch::naked_asm;

use super::hart::{self, BOOT_STACK_TOP};
use super::stacks::STACK_SIZE;
use crate::LINEAR_MAP;

unsafe extern "C" {
    /// The kernel proper: zcore's first function.
    fn kernel_main(hardware_hart: usize, device_tree: usize) -> !;
}

/// Read, write, execute, accessed, dirty, valid: only while the boot hart builds the real tables.
const EARLY_FLAGS: u64 = 0b1100_1111;
const GIGAPAGE_ENTRY: u64 = 1 << 28;
const LINEAR_ROOT_INDEX: usize = (LINEAR_MAP >> 30) & 511;

#[repr(C, align(4096))]
struct EarlyTable([u64; 512]);

/// The early tables: 16 GiB are enough to reach the image, the device tree and the devices of any machine so far.
#[unsafe(link_section = ".data")]
static EARLY_ROOT: EarlyTable = {
    let mut entries = [0; 512];
    let mut index = 0;
    while index < 16 {
        entries[index] = (index as u64 * GIGAPAGE_ENTRY) | EARLY_FLAGS;
        entries[LINEAR_ROOT_INDEX + index] = entries[index];
        index += 1;
    }
    EarlyTable(entries)
};

/// Aligned and placed like the stacks of the window, so that the trap entry's overflow check holds for it too.
#[repr(C, align(131072))]
struct BootStack([u8; 2 * STACK_SIZE]);
const _: () = assert!(align_of::<BootStack>() == 2 * STACK_SIZE);

#[unsafe(link_section = ".bss.boot_stack")]
static mut BOOT_STACK: BootStack = BootStack([0; 2 * STACK_SIZE]);

/// Where the boot hart's first stack is.
pub(super) fn first_stack() -> core::ops::Range<usize> {
    let start = (&raw const BOOT_STACK).addr();
    start..start + 2 * STACK_SIZE
}

/// Who takes it first is the boot hart: old firmware can let two harts in.
#[unsafe(link_section = ".data")]
static mut LOTTERY: u32 = 0;

/// The image header (the boot protocol of Linux on RISC-V) and the entry.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".head.image")]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        ".option push",
        ".option norvc",
        "j {entry}",
        "nop",
        ".dword 0x200000",
        ".dword __image_size",
        ".dword 0",
        ".word 2",
        ".word 0",
        ".dword 0",
        ".ascii \"RISCV\\0\\0\\0\"",
        ".ascii \"RSC\\x05\"",
        ".word 0",
        ".option pop",
        entry = sym entry,
    )
}

#[unsafe(naked)]
#[unsafe(link_section = ".head.text")]
unsafe extern "C" fn entry() -> ! {
    naked_asm!(
        ".option push",
        ".option arch, +a",
        "csrw sie, zero",
        "lla t0, {lottery}",
        "li t1, 1",
        "amoswap.w t2, t1, (t0)",
        "bnez t2, 2f",
        "lla sp, {boot_stack} + {boot_stack_size}",
        "lla tp, {first_local}",
        "lla t3, {kernel_main}",
        "li t4, {linear_map}",
        "add sp, sp, t4",
        "add tp, tp, t4",
        "add t3, t3, t4",
        "j {switch}",
        // A stray hart: hand it back to the firmware; the boot hart starts it when its turn comes.
        "2: li a7, 0x48534D",
        "li a6, 1",
        "ecall",
        "3: wfi",
        "j 3b",
        ".option pop",
        lottery = sym LOTTERY,
        boot_stack = sym BOOT_STACK,
        boot_stack_size = const 2 * STACK_SIZE,
        first_local = sym FIRST_LOCAL,
        kernel_main = sym kernel_main,
        linear_map = const LINEAR_MAP,
        switch = sym switch_to_early_tables,
    )
}

/// Turns translation on and jumps to t3 in the linear map; keeps a0, a1, sp and tp.
#[unsafe(naked)]
#[unsafe(link_section = ".head.text")]
unsafe extern "C" fn switch_to_early_tables() -> ! {
    naked_asm!(
        "lla t0, {early_root}",
        "srli t0, t0, 12",
        "li t1, 8 << 60",
        "or t0, t0, t1",
        "sfence.vma",
        "csrw satp, t0",
        "sfence.vma",
        "jr t3",
        early_root = sym EARLY_ROOT,
    )
}

/// Where a hart that the kernel starts comes in: a0 its hardware id, a1 the address of its `HartLocal` in the linear map.
#[unsafe(naked)]
#[unsafe(link_section = ".head.text")]
pub(super) unsafe extern "C" fn secondary_entry() -> ! {
    naked_asm!(
        "csrw sie, zero",
        "mv tp, a1",
        "lla t3, {continue_high}",
        "li t4, {linear_map}",
        "add t3, t3, t4",
        "j {switch}",
        continue_high = sym secondary_high,
        linear_map = const LINEAR_MAP,
        switch = sym switch_to_early_tables,
    )
}

/// Switches from the early tables, which lack the stack window, to the kernel's, and then to the hart's own stack.
#[unsafe(naked)]
unsafe extern "C" fn secondary_high() -> ! {
    naked_asm!(
        "lla t0, {secondary_root}",
        "ld t0, 0(t0)",
        "csrw satp, t0",
        "sfence.vma",
        "ld sp, {boot_stack_top}(tp)",
        "tail {secondary_main}",
        secondary_root = sym super::machine::SECONDARY_SATP,
        boot_stack_top = const BOOT_STACK_TOP,
        secondary_main = sym super::machine::secondary_main,
    )
}

// `sym` needs an item of its own: the boot hart's data is the first element of the array.
use hart::LOCALS as FIRST_LOCAL;
