//! Who called whom, from what lies on a stack.
//!
//! The kernel keeps no frame pointers and no unwind tables: both cost on every call or in every image. A word on the
//! stack that points just behind a call instruction is taken for a return address. That finds every caller, and now and
//! then one that has already returned.

use core::arch::asm;
use core::fmt::{self, Write};

use crate::symbols;

const MOST_WORDS: usize = 2048;
const MOST_LINES: usize = 48;

/// Whether the instruction before `address` is a call.
fn follows_a_call(address: usize) -> bool {
    let text = symbols::text();
    if !address.is_multiple_of(2) || address < text.start + 4 || address >= text.end {
        return false;
    }
    let halfword = |at: usize| {
        let pointer = core::ptr::with_exposed_provenance::<u16>(at);
        // SAFETY: inside the kernel's code, which is mapped readable.
        u32::from(unsafe { pointer.read() })
    };
    let compressed = halfword(address - 2);
    let full = halfword(address - 2) << 16 | halfword(address - 4);
    let is_compressed_jalr = compressed & 0xf07f == 0x9002 && compressed & 0x0f80 != 0;
    let links_ra = full & 0xf80 == 0x080;
    let is_jal = full & 0x7f == 0x6f;
    let is_jalr = full & 0x707f == 0x67;
    is_compressed_jalr || links_ra && (is_jal || is_jalr)
}

/// Prints the callers that the current stack names.
pub fn print(output: &mut impl Write) -> fmt::Result {
    let stack_pointer: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mv {}, sp", out(reg) stack_pointer, options(nomem, nostack, preserves_flags)) };
    writeln!(output, "call trace:")?;
    // A stack ends at a multiple of its slot's size.
    const STACK_SLOT: usize = 128 << 10;
    let end = (stack_pointer + 1).next_multiple_of(STACK_SLOT);
    let words = (stack_pointer.next_multiple_of(8)..end).step_by(8).take(MOST_WORDS);
    let mut lines = 0;
    for address in words {
        // SAFETY: between the stack pointer and the end of the stack it points into.
        let word = unsafe { core::ptr::with_exposed_provenance::<usize>(address).read_volatile() };
        if !follows_a_call(word) {
            continue;
        }
        // The call itself: what follows it may be another function, if this one never returned.
        match symbols::lookup(word - 2) {
            Some((name, offset)) => writeln!(output, "  {word:#x} {name}+{offset:#x}")?,
            None => writeln!(output, "  {word:#x}")?,
        }
        lines += 1;
        if lines == MOST_LINES {
            return writeln!(output, "  ...");
        }
    }
    Ok(())
}
