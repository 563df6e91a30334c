//! Who called whom, here and now.
//!
//! The compiler describes every function's frame in `.eh_frame`, which the linker script keeps beside the read-only
//! data: nothing at run time, a tenth of the image. [`print()`] follows these tables, through traps and from one stack
//! to another (the assembly that changes stacks describes itself too).
//!
//! Where there is no description, or what it leads to is no stack, the walk falls back on a guess: the next word on the
//! stack that points just behind a call. Such lines are marked with `?`; the function may have returned already.
//! Functions that were inlined have no line: `scripts/gdb` and `addr2line` on `target/zcore.elf` know them.

use core::arch::naked_asm;
use core::fmt::{self, Write};

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, Register, RegisterRule,
    UnwindContext, UnwindContextStorage, UnwindSection, UnwindTableRow,
};

use crate::symbols;

/// No more frames than these are looked at, and no more lines printed.
const MOST_FRAMES: usize = 4096;
const MOST_LINES: usize = 48;
/// How far a guess goes.
const MOST_WORDS: usize = 2048;

const RETURN_ADDRESS: usize = 1;
const STACK_POINTER: usize = 2;
/// Integer registers, and behind them the program counter of an interrupted function, which `.cfi_return_column 64`
/// in the trap entry names.
const REGISTERS: usize = 33;
const INTERRUPTED_COUNTER: u16 = 64;

type Bytes = EndianSlice<'static, LittleEndian>;

/// Room for the tables' interpreter without a heap.
struct Storage;

impl UnwindContextStorage<usize> for Storage {
    type Rules = [(Register, RegisterRule<usize>); REGISTERS];
    type Stack = [UnwindTableRow<usize, Self>; 2];
}

unsafe extern "C" {
    static __unwind_index_start: u8;
    static __unwind_index_end: u8;
    static __unwind_tables_start: u8;
    static __unwind_tables_end: u8;
}

/// One line of a backtrace.
#[derive(Clone, Copy)]
struct Frame {
    /// The next instruction of the function.
    address: usize,
    /// Whether the frame was guessed.
    is_guess: bool,
    /// Whether the function stands in the middle of an instruction, not behind a call.
    is_interrupted: bool,
}

/// What the walk knows: the registers of the frame that it has reached.
struct Walk {
    registers: [usize; REGISTERS],
    frame: Frame,
}

/// Stores this function's caller's registers: those that calls keep, and where it goes on.
#[unsafe(naked)]
extern "C" fn capture(registers: &mut [usize; REGISTERS]) {
    naked_asm!(
        "sd ra, 8(a0)",
        "sd sp, 16(a0)",
        "sd s0, 64(a0)",
        "sd s1, 72(a0)",
        ".irp n,18,19,20,21,22,23,24,25,26,27",
        "sd x\\n, (8 * \\n)(a0)",
        ".endr",
        "ret",
    )
}

/// Prints the callers of the caller.
#[inline(never)]
pub fn print(output: &mut dyn Write) -> fmt::Result {
    let mut registers = [0; REGISTERS];
    capture(&mut registers);
    let address = registers[RETURN_ADDRESS];
    let mut walk = Walk { registers, frame: Frame { address, is_guess: false, is_interrupted: false } };
    let mut lines = 0;
    let mut repetitions = 0;
    for _ in 0..MOST_FRAMES {
        let last = walk.frame.address;
        if !walk.step() {
            break;
        }
        if walk.frame.address == last {
            repetitions += 1;
            continue;
        }
        if repetitions > 0 {
            writeln!(output, "  ... {repetitions} more of the same")?;
            repetitions = 0;
        }
        if lines == MOST_LINES {
            return writeln!(output, "  ...");
        }
        lines += 1;
        writeln!(output, "  {}", walk.frame)?;
    }
    match repetitions {
        0 => Ok(()),
        _ => writeln!(output, "  ... {repetitions} more of the same"),
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        let mark = if self.is_guess { "? " } else { "" };
        // The call itself: what follows it may be another function, if this one never returned.
        match symbols::lookup(self.looked_up()) {
            Some((name, offset)) => {
                let offset = offset + address - self.looked_up();
                write!(f, "{address:#x} {mark}{name}+{offset:#x}")
            }
            None => write!(f, "{address:#x} {mark}"),
        }
    }
}

impl Frame {
    fn looked_up(self) -> usize {
        if self.is_interrupted { self.address } else { self.address.wrapping_sub(1) }
    }
}

impl Walk {
    /// Goes to the caller. Returns `false` where there is none.
    fn step(&mut self) -> bool {
        let text = symbols::text();
        let next = self.described_caller().filter(|walk| walk.registers[STACK_POINTER].is_multiple_of(8));
        match next {
            // The first function of a stack was called by nobody.
            Some(walk) if !text.contains(&walk.frame.address) => false,
            Some(walk) => {
                *self = walk;
                true
            }
            None => self.guess(),
        }
    }

    /// The caller by the function's description.
    fn described_caller(&self) -> Option<Self> {
        let (index_start, tables_start) =
            ((&raw const __unwind_index_start).addr(), (&raw const __unwind_tables_start).addr());
        let bases = BaseAddresses::default()
            .set_eh_frame_hdr(index_start as u64)
            .set_eh_frame(tables_start as u64)
            .set_text(symbols::text().start as u64);
        let index = section(&raw const __unwind_index_start, &raw const __unwind_index_end);
        let tables = EhFrame::from(section(&raw const __unwind_tables_start, &raw const __unwind_tables_end));
        let index = EhFrameHdr::from(index).parse(&bases, 8).ok()?;
        let address = self.frame.looked_up() as u64;
        let description =
            index.table()?.fde_for_address(&tables, &bases, address, EhFrame::cie_from_offset).ok()?;
        let mut context = UnwindContext::<usize, Storage>::new_in();
        let row = description.unwind_info_for_address(&tables, &bases, &mut context, address).ok()?;

        let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else { return None };
        let frame_end = self.register(*register)?.wrapping_add_signed(*offset as isize);
        let mut caller = self.registers;
        caller[STACK_POINTER] = frame_end;
        for (register, rule) in row.registers() {
            let value = match rule {
                RegisterRule::SameValue => continue,
                RegisterRule::Undefined => 0,
                RegisterRule::Offset(offset) => read_stack(frame_end.wrapping_add_signed(*offset as isize))?,
                RegisterRule::ValOffset(offset) => frame_end.wrapping_add_signed(*offset as isize),
                RegisterRule::Register(other) => self.register(*other)?,
                _ => return None,
            };
            *caller.get_mut(slot(*register)?)? = value;
        }
        let return_column = slot(description.cie().return_address_register())?;
        Some(Self {
            frame: Frame {
                address: caller[return_column],
                is_guess: false,
                is_interrupted: description.is_signal_trampoline(),
            },
            registers: caller,
        })
    }

    fn register(&self, register: Register) -> Option<usize> {
        self.registers.get(slot(register)?).copied()
    }

    /// The next word on the stack that points behind a call.
    fn guess(&mut self) -> bool {
        let start = self.registers[STACK_POINTER].next_multiple_of(8);
        for address in (start..).step_by(8).take(MOST_WORDS) {
            let Some(word) = read_stack(address) else { return false };
            if follows_a_call(word) {
                self.registers[STACK_POINTER] = address + 8;
                self.registers[RETURN_ADDRESS] = word;
                self.frame = Frame { address: word, is_guess: true, is_interrupted: false };
                return true;
            }
        }
        false
    }
}

fn slot(register: Register) -> Option<usize> {
    match register.0 {
        INTERRUPTED_COUNTER => Some(REGISTERS - 1),
        number if usize::from(number) < REGISTERS - 1 => Some(usize::from(number)),
        _ => None,
    }
}

fn section(start: *const u8, end: *const u8) -> Bytes {
    // SAFETY: the linker script puts the section between the two symbols; it is read-only data.
    let bytes = unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) };
    EndianSlice::new(bytes, LittleEndian)
}

/// A word of a kernel stack; `None` if the address is none of a stack.
fn read_stack(address: usize) -> Option<usize> {
    if !address.is_multiple_of(8) || !kernel_hal::machine::is_on_a_kernel_stack(address) {
        return None;
    }
    // SAFETY: a kernel stack is mapped; others may write to it meanwhile, so the read is volatile and its value is
    // never trusted.
    Some(unsafe { core::ptr::with_exposed_provenance::<usize>(address).read_volatile() })
}

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
